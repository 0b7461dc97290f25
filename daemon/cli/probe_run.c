/* SPDX-License-Identifier: MIT */
#include "daemon/cli/probe_run.h"

#include <event2/event.h>
#include <signal.h>

#include "daemon/probe/outfit.h"
#include "daemon/probe/probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/wheel.h"
#include "lib/config/config.h"
#include "lib/io/resolver.h"
#include "lib/io/tls.h"

/* A peer that closes when we do needs a round trip for it; who does not is not waited for. */
enum { PARTING_US = 5 * 1000, PARTING_ROUND_TRIPS = 2 };

struct probe_run {
	struct event_base *base;
	struct event *timer;
	struct event *interrupts[2];
	struct wheel *wheel;
	struct timer nap;
	struct resolver *resolver;
	struct probe_loop *loop;
	struct tls_domain *domain;
	struct outfit *outfit;
	struct plan plan;
	struct sigaction pipe_before;
	struct result *result; /* where the present one goes */
	bool waiting;
	bool interrupted;
	int64_t rtt_us; /* the longest seen */
};

static void on_done(struct probe *probe, struct result *result, void *arg)
{
	struct probe_run *run = arg;

	(void)probe;
	if (result->rtt_us > run->rtt_us)
		run->rtt_us = result->rtt_us;
	result_move(run->result, result);
	run->waiting = false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	const struct probe_run *run = arg;

	(void)fd;
	(void)what;
	wheel_advance(run->wheel, clock_mono_us());
}

static void on_nap_over(struct timer *timer, int64_t now_us)
{
	struct probe_run *run = list_entry(timer, struct probe_run, nap);

	(void)now_us;
	run->waiting = false;
}

static void on_interrupt(evutil_socket_t number, short what, void *arg)
{
	struct probe_run *run = arg;

	(void)number;
	(void)what;
	run->interrupted = true;
}

static void turn_loop(struct probe_run *run)
{
	const int64_t next_us = wheel_next_us(run->wheel);

	if (next_us != INT64_MAX) {
		const int64_t now_us = clock_mono_us();
		const int64_t left_us = next_us > now_us ? next_us - now_us : 0;
		const struct timeval left = { .tv_sec = left_us / US_PER_S, .tv_usec = left_us % US_PER_S };

		event_add(run->timer, &left);
	}
	event_base_loop(run->base, EVLOOP_ONCE);
}

static bool wait_for_it(struct probe_run *run)
{
	run->waiting = true;
	while (run->waiting && !run->interrupted)
		turn_loop(run);
	return !run->interrupted;
}

bool probe_run_once(struct probe_run *run, struct result *result)
{
	struct probe *probe;

	run->result = result;
	probe = probe_start(run->loop, &run->plan, clock_mono_us(), NULL, on_done, run);
	if (wait_for_it(run))
		return true;
	/* It may have ended in the very turn in which the signal came. */
	if (run->waiting)
		probe_cancel(probe);
	return !run->waiting;
}

bool probe_run_sleep_until(struct probe_run *run, int64_t mono_us)
{
	bool slept;

	wheel_arm(run->wheel, &run->nap, mono_us);
	slept = wait_for_it(run);
	wheel_cancel(run->wheel, &run->nap);
	return slept;
}

/* Making and ending */

static bool set_up_loop(struct probe_run *run, bool interruptible, struct error *err)
{
	static const int numbers[] = { SIGINT, SIGTERM };
	struct event_config *config = event_config_new();

	if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		run->base = event_base_new_with_config(config);
	if (config != NULL)
		event_config_free(config);
	if (run->base != NULL)
		run->timer = event_new(run->base, -1, 0, on_timer, run);
	if (run->timer == NULL)
		return error_set(err, "an event loop cannot be made: %m");
	for (size_t i = 0; interruptible && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		run->interrupts[i] = evsignal_new(run->base, numbers[i], on_interrupt, run);
		if (run->interrupts[i] == NULL || event_add(run->interrupts[i], NULL) != 0)
			return error_set(err, "signals cannot be watched: %m");
	}
	return true;
}

static bool set_up_resolver(struct probe_run *run, const struct resolver_config *config, struct error *err)
{
	const struct resolver_options options = {
		.servers = (const char *const *)config->servers,
		.server_count = config->server_count,
		.timeout_ms = config->timeout_ms,
		.tries = config->tries,
		.cache = config->cache,
	};

	run->resolver = resolver_new(run->base, &options, err);
	return run->resolver != NULL;
}

/* Plan and outfit. The system's bundle takes longer to parse than the handshake: without TLS it is not touched. */
static bool set_up_plan(struct probe_run *run, const struct config *config, struct error *err)
{
	struct report report = { 0 };
	bool good;

	if (config->targets[0].tls)
		run->domain = tls_domain_new(err);
	if (config->targets[0].tls && run->domain == NULL)
		return false;
	run->outfit = outfit_new(config, &run->domain, 1, &report);
	good = run->outfit != NULL && outfit_plan(run->outfit, 0, 0, &run->plan, &report);
	for (size_t i = 0; !good && i < report.count; i++)
		if (!report.problems[i].note) /* where: the option */
			error_set(err, "%s: %s", report.problems[i].where, report.problems[i].text);
	report_done(&report);
	return good;
}

struct probe_run *probe_run_new(const struct config *config, bool interruptible, struct error *err)
{
	const struct sigaction ignored = { .sa_handler = SIG_IGN };
	struct probe_run *run = mem_new(struct probe_run);

	sigaction(SIGPIPE, &ignored, &run->pipe_before);
	timer_init(&run->nap, on_nap_over);
	if (!set_up_loop(run, interruptible, err) || !set_up_resolver(run, &config->resolver, err) ||
	    !set_up_plan(run, config, err)) {
		probe_run_free(run);
		return NULL;
	}
	run->plan.tell_attempts = true;
	run->wheel = wheel_new(clock_mono_us());
	run->loop = probe_loop_new(run->base, run->wheel, run->resolver);
	return run;
}

void probe_run_on_trace(struct probe_run *run, probe_trace_fn *on_trace, void *arg)
{
	probe_loop_on_trace(run->loop, on_trace, arg);
}

void probe_run_free(struct probe_run *run)
{
	if (run == NULL)
		return;
	if (run->loop != NULL)
		probe_loop_part(run->loop, PARTING_US + PARTING_ROUND_TRIPS * run->rtt_us);
	probe_loop_free(run->loop);
	resolver_free(run->resolver);
	for (size_t i = 0; i < sizeof(run->interrupts) / sizeof(run->interrupts[0]); i++)
		if (run->interrupts[i] != NULL)
			event_free(run->interrupts[i]);
	if (run->timer != NULL)
		event_free(run->timer);
	if (run->base != NULL)
		event_base_free(run->base);
	wheel_free(run->wheel);
	outfit_free(run->outfit);
	tls_domain_free(run->domain);
	sigaction(SIGPIPE, &run->pipe_before, NULL);
	free(run);
}
