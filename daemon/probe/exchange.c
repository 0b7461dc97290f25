/* SPDX-License-Identifier: MIT */
#include "lib/proto/exchange.h"

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum { TURN_BYTES = 64 << 10 };

/* When each step was done; those of one look have one time. */
static void lap_steps(struct probe *probe)
{
	struct result *result = &probe->result;
	const size_t done = exchange_step(probe->exchange);
	const int64_t took_us = clock_mono_us() - probe->exchange_started_us;

	while (result->step_count < done)
		result->step_us[result->step_count++] = took_us;
}

/* How the phase goes on, or ends. */
static enum step exchange_end(struct probe *probe, enum exchange_next next, int why)
{
	const char *text;
	enum reason reason;

	lap_steps(probe);
	if (next != EXCHANGE_FAILED) {
		probe->exchanging = false; /* the phase may come again, after TLS */
		return STEP_DONE;
	}
	reason = exchange_failure(probe->exchange, &text);
	probe_fail(probe, reason, why, text);
	return STEP_FAILED;
}

/* The deadline settles what waited for more; it may have been enough. */
void exchange_time_out(struct probe *probe)
{
	const enum exchange_next next = exchange_timed_out(probe->exchange);

	exchange_end(probe, next, 0);
	if (next == EXCHANGE_START_TLS)
		probe_fail(probe, REASON_TLS_TIMEOUT, 0, "no time was left for TLS");
}

static enum stream_step send_output(struct probe *probe, enum exchange_next *next, int *why)
{
	enum stream_step step;
	const char *output;
	size_t bytes, sent;

	while (output = exchange_output(probe->exchange, &bytes), bytes > 0) {
		step = stream_send(probe, output, bytes, &sent, why);
		if (step != STREAM_MOVED)
			return step;
		*next = exchange_output_sent(probe->exchange, sent);
	}
	return STREAM_MOVED;
}

static enum exchange_next exchange_enter(struct probe *probe)
{
	probe->exchanging = true;
	if (probe->exchange != NULL)
		return exchange_tls_started(probe->exchange);
	probe->exchange = exchange_new(probe->plan->exchange);
	probe->exchange_started_us = clock_mono_us();
	probe->result.step_us = mem_array(EXCHANGE_STEPS_MAX, sizeof(int64_t));
	return exchange_begin(probe->exchange);
}

/* A match that more bytes could still change counts when none have come for a moment. */
static enum exchange_next exchange_settle(struct probe *probe)
{
	if (probe->share_until_us == INT64_MAX || probe->now_us < probe->share_until_us)
		return EXCHANGE_GO_ON;
	probe->share_until_us = INT64_MAX;
	return exchange_quiet(probe->exchange);
}

static enum step exchange_wait(struct probe *probe)
{
	lap_steps(probe);
	if (!exchange_is_unsettled(probe->exchange))
		probe->share_until_us = INT64_MAX;
	else if (probe->share_until_us == INT64_MAX)
		probe->share_until_us = clock_mono_us() + EXCHANGE_QUIET_MS * US_PER_MS;
	return STEP_WAIT;
}

enum step phase_exchange(struct probe *probe)
{
	enum exchange_next next = probe->exchanging ? exchange_settle(probe) : exchange_enter(probe);
	char data[STREAM_BYTES];
	size_t got, taken = 0;
	int why = 0;

	while (next == EXCHANGE_GO_ON) {
		enum stream_step step = send_output(probe, &next, &why);

		if (step == STREAM_MOVED && next == EXCHANGE_GO_ON)
			step = stream_receive(probe, data, sizeof(data), &got, &why);
		else if (step == STREAM_MOVED)
			break;
		if (step == STREAM_WAIT)
			return exchange_wait(probe);
		if (step == STREAM_FAILED)
			return STEP_FAILED;
		probe->share_until_us = INT64_MAX;
		taken += got;
		next = step == STREAM_MOVED ? exchange_input(probe->exchange, data, got) :
					      exchange_closed(probe->exchange);
		lap_steps(probe);
		if (next == EXCHANGE_GO_ON && taken >= TURN_BYTES) { /* others have a turn */
			probe->again = true;
			return STEP_WAIT;
		}
	}
	return exchange_end(probe, next, why);
}
