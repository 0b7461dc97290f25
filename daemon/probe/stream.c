/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/tcp.h> /* the C library's tcp_info ends too early */
#include <netinet/in.h>
#include <sys/socket.h>

#include "daemon/probe/probe_private.h"

static enum stream_step plain_step(ssize_t moved, bool ended, size_t *bytes, int *why)
{
	*bytes = 0;
	*why = 0;
	if (moved < 0 && (errno == EAGAIN || errno == EINTR))
		return STREAM_WAIT;
	if (moved < 0)
		*why = errno;
	if (moved < 0 || ended)
		return STREAM_CLOSED;
	*bytes = (size_t)moved;
	return STREAM_MOVED;
}

static enum stream_step secure_step(struct probe *probe, enum tls_step step, int *why)
{
	const char *text;
	enum reason reason;

	*why = 0;
	if (step == TLS_STEP_DONE)
		return STREAM_MOVED;
	if (step == TLS_STEP_AGAIN)
		probe->again = true;
	if (step != TLS_STEP_FAILED)
		return STREAM_WAIT;
	reason = tls_session_failure(probe->session, &text, why);
	if (reason == REASON_TLS_CLOSED || *why != 0)
		return STREAM_CLOSED;
	probe_fail(probe, reason, 0, text);
	return STREAM_FAILED;
}

enum stream_step stream_send(struct probe *probe, const void *data, size_t bytes, size_t *sent, int *why)
{
	*sent = 0;
	if (probe->secure)
		return secure_step(probe, tls_session_write(probe->session, data, bytes, sent), why);
	return plain_step(send(probe->fd, data, bytes, MSG_NOSIGNAL), false, sent, why);
}

enum stream_step stream_receive(struct probe *probe, void *data, size_t capacity, size_t *got, int *why)
{
	ssize_t moved;

	*got = 0;
	if (probe->secure)
		return secure_step(probe, tls_session_read(probe->session, data, capacity, got), why);
	moved = recv(probe->fd, data, capacity, 0);
	return plain_step(moved, moved == 0, got, why);
}

enum stream_step stream_peek(struct probe *probe, void *data, size_t capacity, size_t *got, int *why)
{
	const ssize_t seen = recv(probe->fd, data, capacity, MSG_PEEK);

	return plain_step(seen, seen == 0, got, why);
}

void stream_skip(struct probe *probe, size_t bytes)
{
	char unused[STREAM_BYTES];

	while (bytes > 0) {
		const ssize_t got = recv(probe->fd, unused, bytes < sizeof(unused) ? bytes : sizeof(unused), 0);

		if (got <= 0)
			return;
		bytes -= (size_t)got;
	}
}

bool stream_has_more(struct probe *probe)
{
	char byte;

	return recv(probe->fd, &byte, 1, MSG_PEEK) > 0;
}

void stream_read_numbers(struct probe *probe)
{
	struct tcp_info info = { 0 };
	socklen_t bytes = sizeof(info);

	if (!probe->connected || getsockopt(probe->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0)
		return;
	probe->result.rtt_variance_us = info.tcpi_rttvar;
	probe->result.retransmits += info.tcpi_total_retrans - probe->connect_retransmits;
	/* The kernel counts the SYN as well. */
	probe->result.bytes_sent = info.tcpi_bytes_acked > 0 ? info.tcpi_bytes_acked - 1 : 0;
	probe->result.bytes_received = info.tcpi_bytes_received;
}
