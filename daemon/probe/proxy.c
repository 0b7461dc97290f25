/* SPDX-License-Identifier: MIT */
/* The way through a proxy, and the header that tells a server for whom a connection is. */
#include "lib/proto/proxy.h"

#include <errno.h>
#include <sys/socket.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/proto/proxy_header.h"

void probe_blame_proxy(struct probe *probe)
{
	const struct proxy_config *proxy = &probe->plan->way->proxy;
	const enum reason reason = probe->result.reason;
	const int error_number = probe->result.error_number;
	const char *why = probe->result.detail != NULL ? probe->result.detail : reason_text(reason);
	AUTO(string) char *text = mem_printf("proxy %s:%u: %s", proxy->host, (unsigned int)proxy->port, why);

	if (reason_is_ours(reason))
		return;
	probe_fail(probe,
		   reason == REASON_CONNECT_TIMEOUT || reason == REASON_DNS_TIMEOUT ? REASON_PROXY_TIMEOUT :
										      REASON_PROXY_FAILED,
		   error_number, text);
}

static enum step proxy_begin(struct probe *probe)
{
	const struct plan *plan = probe->plan;
	const struct proxy_wish wish = {
		.kind = plan->way->proxy.kind,
		.username = plan->way->proxy.username,
		.password = plan->way->proxy.password,
		.host = plan->host,
		.address = probe->behind_proxy.family != 0 ? &probe->behind_proxy : NULL,
		.port = plan->port,
	};
	struct error err;

	probe->proxy = proxy_new(&wish, &err);
	if (probe->proxy != NULL)
		return STEP_DONE;
	probe_fail(probe, REASON_PROXY_FAILED, 0, err.text);
	return STEP_FAILED;
}

static enum step proxy_broken(struct probe *probe, int why)
{
	const char *text;
	enum reason reason = proxy_failure(probe->proxy, &text);

	probe_fail(probe, reason, why, text);
	return STEP_FAILED;
}

void proxy_time_out(struct probe *probe)
{
	AUTO(string) char *text = mem_printf("no answer of the proxy to %s", proxy_waits_for(probe->proxy));

	probe_fail(probe, REASON_PROXY_TIMEOUT, 0, text);
}

static enum stream_step send_output(struct probe *probe, int *why)
{
	enum stream_step step;
	const char *output;
	size_t bytes, sent;

	while (output = proxy_output(probe->proxy, &bytes), bytes > 0) {
		step = stream_send(probe, output, bytes, &sent, why);
		if (step != STREAM_MOVED)
			return step;
		proxy_output_sent(probe->proxy, sent);
	}
	return STREAM_MOVED;
}

static enum step proxy_opened(struct probe *probe)
{
	if (probe->behind_proxy.family != 0)
		probe->result.address = probe->behind_proxy;
	return STEP_DONE;
}

enum step phase_proxy(struct probe *probe)
{
	char data[STREAM_BYTES];
	enum proxy_next next;
	size_t got, used;
	int why;

	if (probe->proxy == NULL && proxy_begin(probe) == STEP_FAILED)
		return STEP_FAILED;
	for (;;) {
		enum stream_step step = send_output(probe, &why);

		/* What comes behind its answer is the target's: only what was the proxy's is taken. */
		if (step == STREAM_MOVED)
			step = stream_peek(probe, data, sizeof(data), &got, &why);
		if (step == STREAM_WAIT)
			return STEP_WAIT;
		if (step == STREAM_MOVED) {
			next = proxy_input(probe->proxy, data, got, &used);
			stream_skip(probe, used);
		} else {
			next = proxy_closed(probe->proxy);
		}
		if (next == PROXY_OPEN)
			return proxy_opened(probe);
		if (next == PROXY_BROKEN)
			return proxy_broken(probe, why);
	}
}

/* The first bytes on a new connection always fit into its buffer. */
enum step phase_header(struct probe *probe)
{
	uint8_t header[PROXY_HEADER_BYTES_MAX];
	const bool direct = probe->proxy == NULL; /* else the connection's addresses are not the target's */
	struct sockaddr_storage sockaddr;
	socklen_t bytes = sizeof(sockaddr);
	struct address own;
	size_t length, sent;
	bool known;
	int why;

	known = direct && getsockname(probe->fd, (struct sockaddr *)&sockaddr, &bytes) == 0 &&
		address_from_sockaddr((const struct sockaddr *)&sockaddr, &own);
	length = proxy_header_build(&probe->plan->way->proxy_protocol, known ? &own : NULL,
				    known ? &probe->result.address : NULL, header);
	if (stream_send(probe, header, length, &sent, &why) == STREAM_MOVED && sent == length)
		return STEP_SKIPPED;
	probe_fail(probe, REASON_CONNECT_RESET, why, "closed before the PROXY protocol's header was sent");
	return STEP_FAILED;
}
