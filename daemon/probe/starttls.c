/* SPDX-License-Identifier: MIT */
#include "daemon/probe/probe_private.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static enum step starttls_broken(struct probe *probe)
{
	const char *text;
	enum reason reason = starttls_failure(probe->starttls, &text);

	probe_fail(probe, reason, 0, text);
	return STEP_FAILED;
}

/* What the server said last is often why it left. */
static char *left_text(const struct probe *probe, const char *what)
{
	const char *said = starttls_said(probe->starttls);

	return mem_printf("%s while waiting for %s%s%s", what, starttls_waits_for(probe->starttls),
			  said != NULL ? "; it said: " : "", said != NULL ? said : "");
}

static enum step starttls_closed(struct probe *probe, int why)
{
	AUTO(string) char *text = left_text(probe, why == 0 ? "closed" : "connection lost");

	probe_fail(probe, REASON_STARTTLS_CLOSED, why, text);
	return STEP_FAILED;
}

void starttls_time_out(struct probe *probe)
{
	AUTO(string) char *text = left_text(probe, "time over");

	probe_fail(probe, REASON_STARTTLS_TIMEOUT, 0, text);
}

static enum stream_step send_output(struct probe *probe, int *why)
{
	enum stream_step step;
	const char *output;
	size_t bytes, sent;

	while (output = starttls_output(probe->starttls, &bytes), bytes > 0) {
		step = stream_send(probe, output, bytes, &sent, why);
		if (step != STREAM_MOVED)
			return step;
		starttls_output_sent(probe->starttls, sent);
	}
	return STREAM_MOVED;
}

/* A byte that is there before we have begun TLS cannot be the answer to it. */
static enum step go_ahead(struct probe *probe)
{
	if (!stream_has_more(probe))
		return STEP_DONE;
	probe_fail(probe, REASON_STARTTLS_PROTOCOL, 0, "the server said more after the go-ahead, before TLS: injected?");
	return STEP_FAILED;
}

enum step phase_starttls(struct probe *probe)
{
	const struct starttls_wish wish = {
		.protocol = probe->plan->starttls, .ehlo = probe->plan->ehlo, .host = probe->plan->wish.server_name
	};
	char data[STREAM_BYTES];
	size_t got;
	int why;

	if (probe->starttls == NULL)
		probe->starttls = starttls_new(&wish);
	for (;;) {
		enum stream_step step = send_output(probe, &why);

		if (step == STREAM_MOVED && probe->starttls_next == STARTTLS_GO_AHEAD)
			return go_ahead(probe);
		if (step == STREAM_MOVED)
			step = stream_receive(probe, data, sizeof(data), &got, &why);
		if (step == STREAM_WAIT)
			return STEP_WAIT;
		if (step != STREAM_MOVED)
			return starttls_closed(probe, why);
		probe->starttls_next = starttls_input(probe->starttls, data, got);
		if (probe->starttls_next == STARTTLS_BROKEN)
			return starttls_broken(probe);
	}
}
