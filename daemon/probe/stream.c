/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/tcp.h> /* the C library's tcp_info ends too early */
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

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

static void trace(struct probe *probe, struct probe_trace *trace)
{
	trace->phase = probe->phase->name;
	trace->address = &probe->result.address;
	trace->at_us = clock_mono_us() - probe->started_us;
	probe->loop->on_trace(trace, probe->loop->trace_arg);
}

void stream_trace(struct probe *probe, enum probe_trace_kind kind, const void *data, size_t bytes)
{
	struct probe_trace what = { .kind = kind, .secure = probe->secure, .data = data, .bytes = bytes };

	if (probe->loop->on_trace != NULL && bytes > 0)
		trace(probe, &what);
}

void stream_trace_note(struct probe *probe, const char *format, ...)
{
	AUTO(str) struct str text = { 0 };
	va_list args;

	if (probe->loop->on_trace == NULL)
		return;
	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	struct probe_trace what = { .kind = PROBE_TRACE_NOTE, .data = text.data, .bytes = text.bytes };

	trace(probe, &what);
}

static void on_tls_message(void *arg, bool sent, const char *name, size_t bytes)
{
	struct probe_trace what = {
		.kind = sent ? PROBE_TRACE_SENT : PROBE_TRACE_RECEIVED, .message = true, .data = name,
		.bytes = strlen(name), .size_bytes = bytes,
	};

	trace(arg, &what);
}

void stream_trace_tls(struct probe *probe)
{
	if (probe->loop->on_trace != NULL)
		tls_session_on_message(probe->session, on_tls_message, probe);
}

enum stream_step stream_send(struct probe *probe, const void *data, size_t bytes, size_t *sent, int *why)
{
	enum stream_step step;

	*sent = 0;
	if (probe->secure)
		step = secure_step(probe, tls_session_write(probe->session, data, bytes, sent), why);
	else
		step = plain_step(send(probe->fd, data, bytes, MSG_NOSIGNAL), false, sent, why);
	stream_trace(probe, PROBE_TRACE_SENT, data, *sent);
	return step;
}

enum stream_step stream_receive(struct probe *probe, void *data, size_t capacity, size_t *got, int *why)
{
	enum stream_step step;
	ssize_t moved;

	*got = 0;
	if (probe->secure) {
		step = secure_step(probe, tls_session_read(probe->session, data, capacity, got), why);
	} else {
		moved = recv(probe->fd, data, capacity, 0);
		step = plain_step(moved, moved == 0, got, why);
	}
	stream_trace(probe, PROBE_TRACE_RECEIVED, data, *got);
	return step;
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
		stream_trace(probe, PROBE_TRACE_RECEIVED, unused, (size_t)got);
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
