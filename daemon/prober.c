/* SPDX-License-Identifier: MIT */
#include "daemon/prober.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "daemon/probe/probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/wheel.h"
#include "lib/io/tls.h"

enum {
	FLUSH_US = 50 * 1000,
	STATS_US = 1000 * 1000,
	/* While probes are in flight the loop wakes at least this often: a stall is a wake-up that came late. */
	BEAT_US = 100 * 1000,
	THREAD_NAME_BYTES = 16 /* the kernel's limit */
};

/* The timer goes before descriptors: after a stall, probes are discarded before anybody looks at what came. */
enum { PRIORITY_TIMER, PRIORITY_REST, PRIORITIES };

enum command_kind { COMMAND_TARGETS, COMMAND_RESOLVER, COMMAND_PACE, COMMAND_PROBE_NOW, COMMAND_STOP };

struct command {
	struct list item;
	enum command_kind kind;
	const struct assignment *assignment;
	struct resolver_options resolver; /* deep copy */
	size_t index;
	enum pace pace;
};

struct prober {
	int number;
	pthread_t thread;
	bool started;
	struct inbox *commands;
	struct inbox *reports;
	struct event_base *base;
	struct event *timer_event;
	struct event *commands_event;
	struct wheel *wheel;
	struct resolver *resolver;
	struct tls_domain *domain;
	struct probe_loop *loop;
	struct scheduler *scheduler;

	/* the thread's own */
	bool stopping;
	int64_t wake_us;             /* when timer_event fires; INT64_MAX = it is not set */
	struct timer flush_timer;
	struct timer stats_timer;
	struct timer beat_timer;
	bool urgent;                 /* something in the batch must not wait for flush_timer */
	bool resolver_refused;
	bool settling;               /* PROBER_SETTLED(generation) is owed */
	uint64_t generation;
	uint64_t verdicts_cached;    /* as told last */
	uint64_t verdicts_made;
	size_t batch_count;
	struct result batch[PROBER_BATCH];
};

/* Options */

static void resolver_options_copy(struct resolver_options *to, const struct resolver_options *from)
{
	char **servers = mem_array(from->server_count + 1, sizeof(*servers));

	*to = *from;
	for (size_t i = 0; i < from->server_count; i++)
		servers[i] = mem_strdup(from->servers[i]);
	to->servers = (const char *const *)servers;
	to->resolv_conf = mem_strdup(from->resolv_conf);
}

static void resolver_options_done(struct resolver_options *options)
{
	for (size_t i = 0; i < options->server_count; i++)
		free((void *)options->servers[i]);
	free((void *)options->servers);
	free((void *)options->resolv_conf);
	memset(options, 0, sizeof(*options));
}

/* Reports */

static struct prober_report *report_new(const struct prober *prober, enum prober_report_kind kind)
{
	struct prober_report *report = mem_new(struct prober_report);

	list_init(&report->item);
	report->kind = kind;
	report->prober = prober->number;
	return report;
}

static void report_push(struct prober *prober, struct prober_report *report)
{
	inbox_push(prober->reports, &report->item);
}

void prober_report_free(struct prober_report *report)
{
	if (report == NULL)
		return;
	if (report->kind == PROBER_RESULTS) {
		for (size_t i = 0; i < report->as.batch.count; i++)
			result_done(&report->as.batch.results[i]);
		free(report->as.batch.results);
	}
	free(report);
}

static void prober_flush(struct prober *prober)
{
	struct prober_report *report;

	wheel_cancel(prober->wheel, &prober->flush_timer);
	prober->urgent = false;
	if (prober->batch_count == 0)
		return;
	report = report_new(prober, PROBER_RESULTS);
	report->as.batch.count = prober->batch_count;
	report->as.batch.results = mem_array(prober->batch_count, sizeof(*report->as.batch.results));
	memcpy(report->as.batch.results, prober->batch, prober->batch_count * sizeof(*prober->batch));
	prober->batch_count = 0;
	report_push(prober, report);
}

static void on_flush(struct timer *timer, int64_t now_us)
{
	(void)now_us;
	prober_flush(list_entry(timer, struct prober, flush_timer));
}

static void on_result(struct result *result, bool urgent, void *arg)
{
	struct prober *prober = arg;

	if (prober->batch_count == PROBER_BATCH)
		prober_flush(prober);
	prober->batch[prober->batch_count++] = *result;
	prober->urgent |= urgent || prober->batch_count == PROBER_BATCH;
	if (!timer_armed(&prober->flush_timer))
		wheel_arm(prober->wheel, &prober->flush_timer, clock_mono_us() + FLUSH_US);
}

static void on_stats(struct timer *timer, int64_t now_us)
{
	struct prober *prober = list_entry(timer, struct prober, stats_timer);
	struct prober_report *report = report_new(prober, PROBER_STATS);
	uint64_t cached;
	uint64_t made;

	scheduler_stats(prober->scheduler, &report->as.stats);
	tls_domain_counts(prober->domain, &cached, &made);
	report->as.stats.verdicts_cached = cached - prober->verdicts_cached;
	report->as.stats.verdicts_made = made - prober->verdicts_made;
	report->as.stats.resolver_refused = prober->resolver_refused;
	prober->verdicts_cached = cached;
	prober->verdicts_made = made;
	report_push(prober, report);
	wheel_arm(prober->wheel, timer, now_us + STATS_US);
}

static void prober_settle(struct prober *prober)
{
	struct prober_report *report;

	if (!prober->settling || !scheduler_settled(prober->scheduler))
		return;
	prober->settling = false;
	report = report_new(prober, PROBER_SETTLED);
	report->as.settled = prober->generation;
	report_push(prober, report);
}

/* Commands */

static void prober_set_resolver(struct prober *prober, const struct resolver_options *options)
{
	struct error err;
	struct resolver *resolver = resolver_new(prober->base, options, &err);

	prober->resolver_refused = resolver == NULL;
	if (resolver == NULL)
		return;
	probe_loop_set_resolver(prober->loop, resolver);
	resolver_free(prober->resolver);
	prober->resolver = resolver;
}

static void prober_obey(struct prober *prober, const struct command *command)
{
	switch (command->kind) {
	case COMMAND_TARGETS:
		scheduler_set_targets(prober->scheduler, command->assignment, clock_mono_us());
		prober->generation = command->assignment->generation;
		prober->settling = true;
		break;
	case COMMAND_RESOLVER:
		prober_set_resolver(prober, &command->resolver);
		break;
	case COMMAND_PACE:
		scheduler_set_pace(prober->scheduler, command->index, command->pace, clock_mono_us());
		break;
	case COMMAND_PROBE_NOW:
		scheduler_probe_now(prober->scheduler, command->index, clock_mono_us());
		break;
	case COMMAND_STOP:
		prober->stopping = true;
		break;
	}
}

static void command_free(struct command *command)
{
	resolver_options_done(&command->resolver);
	free(command);
}

static void on_commands(evutil_socket_t fd, short what, void *arg)
{
	struct prober *prober = arg;
	struct command *command;
	struct list items;

	(void)fd;
	(void)what;
	inbox_take(prober->commands, &items);
	list_each(command, &items, struct command, item) {
		prober_obey(prober, command);
		command_free(command);
	}
}

static struct command *command_new(enum command_kind kind)
{
	struct command *command = mem_new(struct command);

	list_init(&command->item);
	command->kind = kind;
	return command;
}

void prober_post_targets(struct prober *prober, const struct assignment *assignment)
{
	struct command *command = command_new(COMMAND_TARGETS);

	command->assignment = assignment;
	inbox_push(prober->commands, &command->item);
}

void prober_post_resolver(struct prober *prober, const struct resolver_options *options)
{
	struct command *command = command_new(COMMAND_RESOLVER);

	resolver_options_copy(&command->resolver, options);
	inbox_push(prober->commands, &command->item);
}

void prober_post_pace(struct prober *prober, size_t index, enum pace pace)
{
	struct command *command = command_new(COMMAND_PACE);

	command->index = index;
	command->pace = pace;
	inbox_push(prober->commands, &command->item);
}

void prober_post_probe_now(struct prober *prober, size_t index)
{
	struct command *command = command_new(COMMAND_PROBE_NOW);

	command->index = index;
	inbox_push(prober->commands, &command->item);
}

/* The thread */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct prober *prober = arg;
	int64_t now_us = clock_mono_us();

	(void)fd;
	(void)what;
	int64_t late_us = now_us - prober->wake_us;

	/* A stop of the process may fall between two callbacks, where no timer sees all of it. */
	if (probe_loop_stood_still(prober->loop, now_us) && late_us <= PROBE_LATE_US)
		late_us = PROBE_LATE_US + 1;
	scheduler_note_late(prober->scheduler, late_us, now_us);
	prober->wake_us = INT64_MAX;
	wheel_advance(prober->wheel, now_us);
}

static void on_beat(struct timer *timer, int64_t now_us)
{
	struct prober *prober = list_entry(timer, struct prober, beat_timer);

	if (probe_loop_in_flight(prober->loop) > 0)
		wheel_arm(prober->wheel, timer, now_us + BEAT_US);
}

static void prober_set_timer(struct prober *prober)
{
	int64_t next_us = wheel_next_us(prober->wheel);
	int64_t left_us;
	struct timeval left;

	if (next_us == prober->wake_us)
		return;
	left_us = next_us - clock_mono_us();
	if (left_us < 0)
		left_us = 0;
	left.tv_sec = left_us / US_PER_S;
	left.tv_usec = left_us % US_PER_S;
	event_add(prober->timer_event, &left);
	prober->wake_us = next_us;
}

/* Between two waits: what the callbacks left to do. */
static void prober_tidy(struct prober *prober)
{
	if (prober->urgent)
		prober_flush(prober);
	prober_settle(prober);
	if (probe_loop_in_flight(prober->loop) > 0 && !timer_armed(&prober->beat_timer))
		wheel_arm(prober->wheel, &prober->beat_timer, clock_mono_us() + BEAT_US);
	prober_set_timer(prober);
}

static void *prober_run(void *arg)
{
	struct prober *prober = arg;
	char name[THREAD_NAME_BYTES];

	snprintf(name, sizeof(name), "prober-%d", prober->number);
	prctl(PR_SET_NAME, name);
	wheel_arm(prober->wheel, &prober->stats_timer, clock_mono_us() + STATS_US);
	while (!prober->stopping) {
		prober_tidy(prober);
		event_base_loop(prober->base, EVLOOP_ONCE);
	}
	scheduler_free(TAKE(prober->scheduler));
	probe_loop_free(TAKE(prober->loop));
	prober_flush(prober);
	return NULL;
}

/* Making and ending */

static struct event_base *base_new(struct error *err)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* One thread uses it, and a millisecond is one. */
	if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	if (config != NULL)
		event_config_free(config);
	if (base == NULL || event_base_priority_init(base, PRIORITIES) != 0) {
		error_set(err, "an event loop cannot be made: %m");
		if (base != NULL)
			event_base_free(TAKE(base));
	}
	return base;
}

static bool prober_set_up_events(struct prober *prober, struct error *err)
{
	prober->timer_event = event_new(prober->base, -1, 0, on_timer, prober);
	prober->commands_event = event_new(prober->base, inbox_fd(prober->commands), EV_READ | EV_PERSIST,
					   on_commands, prober);
	if (prober->timer_event == NULL || prober->commands_event == NULL ||
	    event_priority_set(prober->timer_event, PRIORITY_TIMER) != 0 ||
	    event_priority_set(prober->commands_event, PRIORITY_REST) != 0 ||
	    event_add(prober->commands_event, NULL) != 0)
		return error_set(err, "an event loop cannot be set up: %m");
	return true;
}

static bool prober_set_up(struct prober *prober, const struct prober_options *options, struct error *err)
{
	prober->commands = inbox_new(err);
	if (prober->commands == NULL)
		return false;
	prober->base = base_new(err);
	if (prober->base == NULL || !prober_set_up_events(prober, err))
		return false;
	prober->domain = tls_domain_new(err);
	if (prober->domain == NULL)
		return false;
	prober->resolver = resolver_new(prober->base, &options->resolver, err);
	if (prober->resolver == NULL)
		return false;
	prober->wheel = wheel_new(clock_mono_us());
	prober->loop = probe_loop_new(prober->base, prober->wheel, prober->resolver);
	prober->scheduler = scheduler_new(prober->loop, prober->wheel, options->max_sockets, on_result, prober);
	return true;
}

static bool prober_start_thread(struct prober *prober, struct error *err)
{
	sigset_t all;
	sigset_t before;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&prober->thread, NULL, prober_run, prober);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	prober->started = status == 0;
	return prober->started || error_set(err, "a thread cannot be started: %s", strerror(status));
}

struct prober *prober_new(const struct prober_options *options, struct error *err)
{
	struct prober *prober = mem_new(struct prober);

	prober->number = options->number;
	prober->reports = options->reports;
	prober->wake_us = INT64_MAX;
	timer_init(&prober->flush_timer, on_flush);
	timer_init(&prober->stats_timer, on_stats);
	timer_init(&prober->beat_timer, on_beat);
	if (!prober_set_up(prober, options, err) || !prober_start_thread(prober, err)) {
		prober_free(prober);
		return NULL;
	}
	return prober;
}

struct tls_domain *prober_tls_domain(struct prober *prober)
{
	return prober->domain;
}

void prober_stop(struct prober *prober)
{
	if (!prober->started)
		return;
	inbox_push(prober->commands, &command_new(COMMAND_STOP)->item);
	pthread_join(prober->thread, NULL);
	prober->started = false;
}

static void event_release(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

void prober_free(struct prober *prober)
{
	struct command *command;
	struct list items;

	if (prober == NULL)
		return;
	prober_stop(prober);
	scheduler_free(prober->scheduler);
	probe_loop_free(prober->loop);
	resolver_free(prober->resolver);
	event_release(prober->timer_event);
	event_release(prober->commands_event);
	if (prober->base != NULL)
		event_base_free(prober->base);
	tls_domain_free(prober->domain);
	wheel_free(prober->wheel);
	if (prober->commands != NULL) {
		inbox_take(prober->commands, &items);
		list_each(command, &items, struct command, item)
			command_free(command);
	}
	inbox_free(prober->commands);
	free(prober);
}
