/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/scheduler.h"
#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/base/wheel.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(*(table)))

/*
 * Instead of daemon/probe and of the clock: probes that take as long as the test says, in a time that the test
 * makes. As in the real one a result comes from the wheel, and a socket says goodbye for a while.
 */

struct probe_loop {
	struct wheel *wheel;
	int64_t takes_us;
	int64_t goodbye_us;
	enum reason reason;
	bool shows_facts;
	size_t descriptors; /* that the system gives */
	size_t in_flight;
	size_t most_sockets;
	size_t goodbyes;
	int started;
	int cancelled;
	struct list probes;
	probe_room_fn *room;
	void *room_arg;
};

struct probe {
	struct list node;
	struct probe_loop *loop;
	const struct plan *plan;
	struct timer timer;
	struct timer goodbye;
	bool refused;
	bool had_told;
	probe_done_fn *done;
	void *arg;
	struct result result;
};

/* The time; single-threaded, as everything here. */
static int64_t fake_now_us;

int64_t clock_mono_us(void)
{
	return fake_now_us;
}

static void on_fake_goodbye(struct timer *timer, int64_t now_us)
{
	struct probe *probe = list_entry(timer, struct probe, goodbye);
	struct probe_loop *loop = probe->loop;

	(void)now_us;
	loop->goodbyes -= !probe->refused;
	list_remove(&probe->node);
	if (!probe->refused && loop->room != NULL)
		loop->room(loop->room_arg);
	free(probe);
}

static void fake_leave(struct probe *probe)
{
	struct probe_loop *loop = probe->loop;

	wheel_cancel(loop->wheel, &probe->timer);
	loop->in_flight--;
	/* A socket that there never was needs no goodbye. */
	loop->goodbyes += !probe->refused;
	wheel_arm(loop->wheel, &probe->goodbye, fake_now_us + loop->goodbye_us);
}

static void on_fake_end(struct timer *timer, int64_t now_us)
{
	struct probe *probe = list_entry(timer, struct probe, timer);
	struct probe_loop *loop = probe->loop;

	(void)now_us;
	probe->result.reason = probe->refused ? REASON_LOCAL_ERROR : loop->reason;
	probe->result.error_number = probe->refused ? EMFILE : 0;
	if (loop->shows_facts && !probe->had_told) {
		probe->result.certificate.present = true;
		probe->result.facts = mem_new(struct tls_facts);
	}
	fake_leave(probe);
	probe->done(probe, &probe->result, probe->arg);
}

struct probe *probe_start(struct probe_loop *loop, const struct plan *plan, int64_t due_us,
			  const struct certificate *told, probe_done_fn *done, void *arg)
{
	struct probe *probe = mem_new(struct probe);

	probe->loop = loop;
	probe->plan = plan;
	probe->done = done;
	probe->arg = arg;
	probe->had_told = told != NULL;
	probe->refused = probe_loop_sockets(loop) >= loop->descriptors;
	result_init(&probe->result, plan->target_id);
	probe->result.late_us = fake_now_us - due_us;
	timer_init(&probe->timer, on_fake_end);
	timer_init(&probe->goodbye, on_fake_goodbye);
	wheel_arm(loop->wheel, &probe->timer, fake_now_us + (probe->refused ? 0 : loop->takes_us));
	list_push(&loop->probes, &probe->node);
	loop->in_flight++;
	loop->started++;
	if (probe_loop_sockets(loop) > loop->most_sockets)
		loop->most_sockets = probe_loop_sockets(loop);
	return probe;
}

void probe_cancel(struct probe *probe)
{
	probe->loop->cancelled++;
	fake_leave(probe);
}

size_t probe_loop_in_flight(const struct probe_loop *loop)
{
	return loop->in_flight;
}

size_t probe_loop_sockets(const struct probe_loop *loop)
{
	return loop->in_flight + loop->goodbyes;
}

void probe_loop_on_room(struct probe_loop *loop, probe_room_fn *room, void *arg)
{
	loop->room = room;
	loop->room_arg = arg;
}

/* The test's world */

enum { TARGETS_MAX = 5000, STARTS_MAX = 64 };

static const int64_t begin_us = INT64_C(86400) * US_PER_S + 123456;

struct world {
	struct wheel *wheel;
	struct probe_loop loop;
	struct scheduler *scheduler;
	struct assignment assignment;
	int results;
	int urgent;
	int bad;            /* not ok */
	int again;          /* tried_again */
	int64_t worst_late_us;
	int per_target[TARGETS_MAX];
	int64_t at_us[STARTS_MAX]; /* when results of target 0 came */
};

static void on_result(struct result *result, bool urgent, void *arg)
{
	struct world *world = arg;
	int *count = &world->per_target[result->target_id % TARGETS_MAX];

	if (result->target_id == 0 && *count < STARTS_MAX)
		world->at_us[*count] = fake_now_us;
	(*count)++;
	world->results++;
	world->urgent += urgent;
	world->bad += result->reason != REASON_OK;
	world->again += result->tried_again;
	if (result->late_us > world->worst_late_us)
		world->worst_late_us = result->late_us;
	result_done(result);
}

static struct plan *plans_new(size_t count, int64_t interval_us)
{
	struct plan *plans = mem_array(count, sizeof(*plans));

	for (size_t i = 0; i < count; i++) {
		char name[32];
		int bytes = snprintf(name, sizeof(name), "target-%zu", i);

		plans[i] = (struct plan){ .target_id = (uint32_t)i, .previous = -1, .interval_us = interval_us,
					  .timeout_us = interval_us / 2, .recheck_us = 5 * US_PER_S,
					  .spread = str_hash(name, (size_t)bytes, 1) };
	}
	return plans;
}

static void world_init(struct world *world, size_t count, int64_t interval_us, size_t max_sockets)
{
	fake_now_us = begin_us;
	memset(world, 0, sizeof(*world));
	world->wheel = wheel_new(fake_now_us);
	world->loop = (struct probe_loop){ .wheel = world->wheel, .takes_us = 5 * US_PER_MS,
					   .goodbye_us = 2 * US_PER_MS, .descriptors = SIZE_MAX };
	list_init(&world->loop.probes);
	world->scheduler = scheduler_new(&world->loop, world->wheel, max_sockets, on_result, world);
	world->assignment = (struct assignment){ .generation = 1, .plans = plans_new(count, interval_us),
						 .count = count };
	scheduler_set_targets(world->scheduler, &world->assignment, fake_now_us);
}

static void world_auto(struct world *world)
{
	struct probe *probe;

	scheduler_free(world->scheduler);
	list_each(probe, &world->loop.probes, struct probe, node)
		free(probe);
	free(world->assignment.plans);
	wheel_free(world->wheel);
}

/* As a prober does, in time. */
static void pass(struct world *world, int64_t us)
{
	int64_t until_us = fake_now_us + us;
	int64_t next_us;

	while ((next_us = wheel_next_us(world->wheel)) <= until_us) {
		if (next_us > fake_now_us)
			fake_now_us = next_us;
		scheduler_note_late(world->scheduler, 0, fake_now_us);
		wheel_advance(world->wheel, fake_now_us);
	}
	fake_now_us = until_us;
}

/* The loop does nothing for so long, then wakes up. */
static void stall(struct world *world, int64_t us)
{
	int64_t should_us = wheel_next_us(world->wheel);

	fake_now_us += us;
	scheduler_note_late(world->scheduler, fake_now_us - should_us, fake_now_us);
	wheel_advance(world->wheel, fake_now_us);
}

/* A new list of the same targets; the old plans are the caller's to free. */
static struct plan *reload(struct world *world, size_t count, int64_t interval_us)
{
	struct plan *old = world->assignment.plans;
	size_t old_count = world->assignment.count;

	world->assignment.plans = plans_new(count, interval_us);
	world->assignment.count = count;
	world->assignment.generation++;
	for (size_t i = 0; i < count && i < old_count; i++)
		world->assignment.plans[i].previous = (int32_t)i;
	return old;
}

/* Rhythm */

static const struct {
	size_t count;
	int64_t interval_us;
	int64_t first_round_us; /* all have been probed once after that */
} round_rows[] = {
	{ 1, 1 * US_PER_S, 1 * US_PER_S },
	{ 100, 1 * US_PER_S, 1 * US_PER_S },
	{ 100, 30 * US_PER_S, 2 * US_PER_S },
	{ 100, 7 * 86400 * US_PER_S, 2 * US_PER_S },
	{ 5000, 30 * US_PER_S, 2500 * US_PER_MS },
	{ 5000, 1 * US_PER_S, 1 * US_PER_S },
};

START_TEST(the_first_round_comes_early)
{
	AUTO(world) struct world world;

	world_init(&world, round_rows[_i].count, round_rows[_i].interval_us, 10000);
	pass(&world, round_rows[_i].first_round_us + 10 * US_PER_MS);
	for (size_t i = 0; i < round_rows[_i].count; i++) {
		if (world.per_target[i] == 0)
			ck_abort_msg("target %zu was not probed in the first round", i);
	}
}
END_TEST

START_TEST(each_interval_has_one_probe_of_each)
{
	enum { COUNT = 500, ROUNDS = 10 };
	AUTO(world) struct world world;

	world_init(&world, COUNT, 10 * US_PER_S, 10000);
	pass(&world, 20 * US_PER_S);
	memset(world.per_target, 0, sizeof(world.per_target));
	pass(&world, ROUNDS * 10 * US_PER_S);
	for (int i = 0; i < COUNT; i++) {
		if (abs(world.per_target[i] - ROUNDS) > 1)
			ck_abort_msg("target %d: %d probes in %d intervals", i, world.per_target[i], ROUNDS);
	}
	ck_assert_int_le(world.worst_late_us, US_PER_MS);
	ck_assert_int_eq(world.urgent, 0);
	ck_assert_int_eq(world.again, 0);
}
END_TEST

/* 5,000 at 1 s are 5 a millisecond, not 5,000 in one. */
START_TEST(they_are_spread)
{
	AUTO(world) struct world world;
	int worst = 0;

	world_init(&world, 5000, US_PER_S, 10000);
	pass(&world, US_PER_S);
	for (int ms = 0; ms < 1000; ms++) {
		int before = world.loop.started;

		pass(&world, US_PER_MS);
		if (world.loop.started - before > worst)
			worst = world.loop.started - before;
	}
	ck_assert_int_lt(worst, 40);
	ck_assert_uint_lt(world.loop.most_sockets, 200);
}
END_TEST

/* A probe that takes longer than the interval: the places it covers are skipped, and never are there two. */
START_TEST(never_two_at_once)
{
	AUTO(world) struct world world;

	world_init(&world, 1, US_PER_S, 10);
	world.loop.takes_us = 2500 * US_PER_MS;
	pass(&world, 30 * US_PER_S);
	ck_assert_uint_eq(world.loop.most_sockets, 1);
	ck_assert_int_ge(world.results, 9);
	ck_assert_int_le(world.results, 10);
	for (int i = 1; i < world.results; i++)
		ck_assert_int_eq(world.at_us[i] - world.at_us[i - 1], 3 * US_PER_S);
}
END_TEST

START_TEST(a_paused_target_rests)
{
	AUTO(world) struct world world;
	struct plan *old;

	world_init(&world, 2, US_PER_S, 10);
	pass(&world, 5 * US_PER_S);
	old = reload(&world, 2, US_PER_S);
	world.assignment.plans[0].paused = true;
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	memset(world.per_target, 0, sizeof(world.per_target));
	scheduler_set_pace(world.scheduler, 0, PACE_RECHECK, fake_now_us);
	pass(&world, 5 * US_PER_S);
	ck_assert_int_eq(world.per_target[0], 0);
	ck_assert_int_ge(world.per_target[1], 4);
	scheduler_set_pace(world.scheduler, 0, PACE_NORMAL, fake_now_us);
	old = reload(&world, 2, US_PER_S);
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	pass(&world, 5 * US_PER_S);
	ck_assert_int_ge(world.per_target[0], 4);
}
END_TEST

/* Recheck */

START_TEST(a_recheck_counts_from_the_end)
{
	AUTO(world) struct world world;
	int64_t gap_us;
	int64_t ended_us;

	world_init(&world, 1, 60 * US_PER_S, 10);
	world.loop.takes_us = 300 * US_PER_MS;
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.results, 1);
	ended_us = world.at_us[0];
	scheduler_set_pace(world.scheduler, 0, PACE_RECHECK, fake_now_us);
	pass(&world, 30 * US_PER_S);
	gap_us = world.at_us[1] - ended_us;
	ck_assert_int_ge(gap_us, 5300 * US_PER_MS);
	ck_assert_int_le(gap_us, 5305 * US_PER_MS);
	gap_us = world.at_us[2] - world.at_us[1];
	ck_assert_int_ge(gap_us, 5300 * US_PER_MS);
	ck_assert_int_le(gap_us, 5305 * US_PER_MS);
	ck_assert_int_ge(world.again, 4);
	scheduler_set_pace(world.scheduler, 0, PACE_NORMAL, fake_now_us);
	world.results = 0;
	pass(&world, 120 * US_PER_S);
	ck_assert_int_le(world.results, 3);
}
END_TEST

START_TEST(who_is_asked_for_is_probed_at_once)
{
	AUTO(world) struct world world;

	world_init(&world, 1, 3600 * US_PER_S, 10);
	world.loop.takes_us = 300 * US_PER_MS;
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.results, 1);
	scheduler_probe_now(world.scheduler, 0, fake_now_us);
	pass(&world, 100 * US_PER_MS);
	ck_assert_int_eq(world.loop.started, 2);
	/* One is in flight, which began before: another follows, once. */
	scheduler_probe_now(world.scheduler, 0, fake_now_us);
	scheduler_probe_now(world.scheduler, 0, fake_now_us);
	ck_assert_int_eq(world.loop.started, 2);
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.results, 3);
	ck_assert_int_eq(world.again, 0);
	/* The rhythm goes on. */
	pass(&world, 2 * INT64_C(3600) * US_PER_S);
	ck_assert_int_ge(world.results, 4);
}
END_TEST

START_TEST(who_is_paused_is_not_probed_for_asking)
{
	AUTO(world) struct world world;
	struct plan *old;

	world_init(&world, 1, US_PER_S, 10);
	old = reload(&world, 1, US_PER_S);
	world.assignment.plans[0].paused = true;
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	scheduler_probe_now(world.scheduler, 0, fake_now_us);
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.loop.started, 0);
}
END_TEST

START_TEST(the_place_may_come_before_the_recheck)
{
	AUTO(world) struct world world;

	world_init(&world, 1, 3 * US_PER_S, 10);
	pass(&world, 6 * US_PER_S);
	scheduler_set_pace(world.scheduler, 0, PACE_RECHECK, fake_now_us);
	world.results = 0;
	pass(&world, 30 * US_PER_S);
	ck_assert_int_eq(world.results, 10);
	ck_assert_int_eq(world.again, 0);
}
END_TEST

START_TEST(failures_and_changes_are_urgent)
{
	AUTO(world) struct world world;

	world_init(&world, 1, US_PER_S, 10);
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.urgent, 0);
	world.loop.reason = REASON_CONNECT_REFUSED;
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.urgent, 3);
	world.loop.reason = REASON_OK;
	pass(&world, 3 * US_PER_S);
	ck_assert_int_eq(world.urgent, 4);
}
END_TEST

START_TEST(facts_are_told_once)
{
	AUTO(world) struct world world;
	struct plan *old;
	const struct probe *probe;

	world_init(&world, 1, US_PER_S, 10);
	world.loop.shows_facts = true;
	world.loop.goodbye_us = US_PER_S;
	pass(&world, 1100 * US_PER_MS);
	pass(&world, US_PER_S);
	probe = list_entry(world.loop.probes.prev, struct probe, node);
	ck_assert(probe->had_told);
	/* Another address: what was told was about something else. */
	old = reload(&world, 1, US_PER_S);
	world.assignment.plans[0].target_id = 9;
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	pass(&world, US_PER_S);
	probe = list_entry(world.loop.probes.prev, struct probe, node);
	ck_assert(!probe->had_told);
}
END_TEST

/* Sockets */

START_TEST(above_the_maximum_they_wait)
{
	enum { COUNT = 500, MOST = 20 };
	AUTO(world) struct world world;
	struct prober_stats stats;

	world_init(&world, COUNT, 10 * US_PER_S, MOST);
	world.loop.takes_us = 100 * US_PER_MS;
	world.loop.goodbye_us = 20 * US_PER_MS;
	pass(&world, 4 * US_PER_S);
	ck_assert_uint_eq(world.loop.most_sockets, MOST);
	for (int i = 0; i < COUNT; i++) {
		if (world.per_target[i] != 1)
			ck_abort_msg("target %d: %d results", i, world.per_target[i]);
	}
	ck_assert_int_gt(world.worst_late_us, 500 * US_PER_MS);
	scheduler_stats(world.scheduler, &stats);
	ck_assert_uint_gt(stats.waited, 100);
	ck_assert_uint_eq(stats.started, COUNT);
	ck_assert_uint_eq(stats.waiting, 0);
	ck_assert_uint_eq(stats.lag.count, COUNT);
	scheduler_stats(world.scheduler, &stats);
	ck_assert_uint_eq(stats.started, 0);
	ck_assert_int_eq(world.bad, 0);
}
END_TEST

/* The system gives fewer descriptors than it promised: nobody is bad for that. */
START_TEST(refused_descriptors_are_waited_for)
{
	enum { COUNT = 500 };
	AUTO(world) struct world world;

	world_init(&world, COUNT, 10 * US_PER_S, 1000);
	world.loop.descriptors = 20;
	world.loop.takes_us = 100 * US_PER_MS;
	pass(&world, 100 * US_PER_S);
	ck_assert_int_eq(world.bad, 0);
	ck_assert_int_ge(world.results, COUNT * 9);
	world.loop.descriptors = SIZE_MAX;
	world.loop.most_sockets = 0;
	pass(&world, 20 * US_PER_S);
	ck_assert_int_eq(world.bad, 0);
}
END_TEST

START_TEST(no_descriptor_at_all_is_a_result)
{
	AUTO(world) struct world world;

	world_init(&world, 5, US_PER_S, 1000);
	world.loop.descriptors = 0;
	pass(&world, 3 * US_PER_S);
	ck_assert_int_ge(world.bad, 10);
}
END_TEST

/* Late loops */

START_TEST(a_short_stall_is_none)
{
	AUTO(world) struct world world;

	world_init(&world, 100, 10 * US_PER_S, 1000);
	world.loop.takes_us = 3 * US_PER_S;
	pass(&world, 2 * US_PER_S);
	stall(&world, 400 * US_PER_MS);
	ck_assert_int_eq(world.loop.cancelled, 0);
}
END_TEST

/* A loop that cannot keep up gets no more to do until it can. */
START_TEST(a_heavy_loop_starts_no_more)
{
	AUTO(world) struct world world;
	size_t in_flight;

	world_init(&world, 1000, 30 * US_PER_S, 5000);
	world.loop.takes_us = 10 * US_PER_S;
	pass(&world, US_PER_S);
	in_flight = world.loop.in_flight;
	ck_assert_uint_gt(in_flight, 100);
	ck_assert_uint_lt(in_flight, 900);
	stall(&world, 200 * US_PER_MS);
	pass(&world, 900 * US_PER_MS);
	ck_assert_uint_eq(world.loop.in_flight, in_flight);
	pass(&world, US_PER_S);
	ck_assert_uint_eq(world.loop.in_flight, 1000);
	ck_assert_int_eq(world.loop.cancelled, 0);
	pass(&world, 20 * US_PER_S);
	ck_assert_int_eq(world.results, 1000);
}
END_TEST

START_TEST(a_long_stall_discards_and_starts_again)
{
	AUTO(world) struct world world;
	struct prober_stats stats;
	int started;

	world_init(&world, 100, 10 * US_PER_S, 1000);
	world.loop.takes_us = 5 * US_PER_S;
	pass(&world, 2 * US_PER_S);
	ck_assert_uint_eq(world.loop.in_flight, 100);
	/* All that is in flight would now be called too late. */
	world.loop.reason = REASON_CONNECT_TIMEOUT;
	stall(&world, 6 * US_PER_S);
	ck_assert_int_eq(world.loop.cancelled, 100);
	ck_assert_int_eq(world.results, 0);
	world.loop.reason = REASON_OK;
	started = world.loop.started;
	pass(&world, 10 * US_PER_MS);
	ck_assert_int_lt(world.loop.started - started, 30);
	pass(&world, 100 * US_PER_MS);
	ck_assert_int_eq(world.loop.started - started, 100);
	pass(&world, 5 * US_PER_S);
	ck_assert_int_eq(world.results, 100);
	ck_assert_int_eq(world.bad, 0);
	ck_assert_int_gt(world.worst_late_us, 6 * US_PER_S);
	scheduler_stats(world.scheduler, &stats);
	ck_assert_uint_eq(stats.discarded, 100);
	ck_assert_int_gt(stats.loop_late_us, US_PER_S);
}
END_TEST

START_TEST(what_a_stall_missed_comes_once_and_not_in_one_heap)
{
	enum { COUNT = 1000 };
	AUTO(world) struct world world;

	world_init(&world, COUNT, US_PER_S, 5000);
	pass(&world, 2 * US_PER_S);
	stall(&world, 5 * US_PER_S);
	world.loop.started = 0;
	memset(world.per_target, 0, sizeof(world.per_target));
	pass(&world, 10 * US_PER_MS);
	ck_assert_int_lt(world.loop.started, 100);
	pass(&world, 3 * US_PER_S);
	for (int i = 0; i < COUNT; i++) {
		if (world.per_target[i] < 2 || world.per_target[i] > 4)
			ck_abort_msg("target %d: %d probes in 3 intervals", i, world.per_target[i]);
	}
}
END_TEST

/* Reload */

START_TEST(a_reload_keeps_the_schedule)
{
	AUTO(world) struct world world;
	struct plan *old;
	int64_t place_us;

	world_init(&world, 1, 10 * US_PER_S, 10);
	pass(&world, 30 * US_PER_S);
	place_us = world.at_us[world.per_target[0] - 1] % (10 * US_PER_S);
	for (int i = 0; i < 50; i++) {
		old = reload(&world, 1, 10 * US_PER_S);
		scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
		ck_assert(scheduler_settled(world.scheduler));
		free(old);
		pass(&world, US_PER_S);
	}
	ck_assert_int_ge(world.per_target[0], 7);
	ck_assert_int_le(world.per_target[0], 9);
	ck_assert_int_eq(world.at_us[world.per_target[0] - 1] % (10 * US_PER_S), place_us);
}
END_TEST

START_TEST(old_plans_are_in_use_until_settled)
{
	AUTO(world) struct world world;
	struct plan *old;
	struct plan *older;

	world_init(&world, 10, 10 * US_PER_S, 10);
	world.loop.takes_us = 3 * US_PER_S;
	pass(&world, 2 * US_PER_S);
	ck_assert_uint_eq(world.loop.in_flight, 10);
	older = reload(&world, 10, 10 * US_PER_S);
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	ck_assert(!scheduler_settled(world.scheduler));
	old = reload(&world, 10, 10 * US_PER_S);
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	ck_assert(!scheduler_settled(world.scheduler));
	pass(&world, 3100 * US_PER_MS);
	ck_assert_int_eq(world.results, 10);
	ck_assert(scheduler_settled(world.scheduler));
	free(old);
	free(older);
	pass(&world, 10 * US_PER_S);
}
END_TEST

START_TEST(removed_targets_end_and_new_ones_begin)
{
	AUTO(world) struct world world;
	struct plan *old;

	world_init(&world, 10, 10 * US_PER_S, 5);
	world.loop.takes_us = 3 * US_PER_S;
	pass(&world, 2 * US_PER_S);
	ck_assert_uint_eq(world.loop.in_flight, 5);
	/* The list turned round, with the first half gone: those in flight and those that wait. */
	old = reload(&world, 10, 10 * US_PER_S);
	for (int i = 0; i < 10; i++) {
		world.assignment.plans[i].previous = i < 5 ? 9 - i : -1;
		world.assignment.plans[i].target_id = (uint32_t)(i < 5 ? 9 - i : 100 + i);
	}
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	pass(&world, 30 * US_PER_S);
	ck_assert(scheduler_settled(world.scheduler));
	free(old);
	memset(world.per_target, 0, sizeof(world.per_target));
	pass(&world, 30 * US_PER_S);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(world.per_target[i], 0);
	for (int i = 5; i < 10; i++)
		ck_assert_int_ge(world.per_target[i], 2);
	for (int i = 105; i < 110; i++)
		ck_assert_int_ge(world.per_target[i], 2);
	old = reload(&world, 0, 10 * US_PER_S);
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	world.results = 0;
	pass(&world, 30 * US_PER_S);
	ck_assert_int_eq(world.results, 0);
}
END_TEST

START_TEST(a_new_interval_has_a_new_place)
{
	AUTO(world) struct world world;
	struct plan *old;

	world_init(&world, 20, 100 * US_PER_S, 100);
	pass(&world, 200 * US_PER_S);
	old = reload(&world, 20, US_PER_S);
	scheduler_set_targets(world.scheduler, &world.assignment, fake_now_us);
	free(old);
	memset(world.per_target, 0, sizeof(world.per_target));
	pass(&world, 10 * US_PER_S);
	for (int i = 0; i < 20; i++)
		ck_assert_int_ge(world.per_target[i], 9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scheduler");
	TCase *tcase = tcase_create("scheduler");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, the_first_round_comes_early, 0, ROWS(round_rows));
	tcase_add_test(tcase, each_interval_has_one_probe_of_each);
	tcase_add_test(tcase, they_are_spread);
	tcase_add_test(tcase, never_two_at_once);
	tcase_add_test(tcase, a_paused_target_rests);
	tcase_add_test(tcase, a_recheck_counts_from_the_end);
	tcase_add_test(tcase, who_is_asked_for_is_probed_at_once);
	tcase_add_test(tcase, who_is_paused_is_not_probed_for_asking);
	tcase_add_test(tcase, the_place_may_come_before_the_recheck);
	tcase_add_test(tcase, failures_and_changes_are_urgent);
	tcase_add_test(tcase, facts_are_told_once);
	tcase_add_test(tcase, above_the_maximum_they_wait);
	tcase_add_test(tcase, refused_descriptors_are_waited_for);
	tcase_add_test(tcase, no_descriptor_at_all_is_a_result);
	tcase_add_test(tcase, a_short_stall_is_none);
	tcase_add_test(tcase, a_heavy_loop_starts_no_more);
	tcase_add_test(tcase, a_long_stall_discards_and_starts_again);
	tcase_add_test(tcase, what_a_stall_missed_comes_once_and_not_in_one_heap);
	tcase_add_test(tcase, a_reload_keeps_the_schedule);
	tcase_add_test(tcase, old_plans_are_in_use_until_settled);
	tcase_add_test(tcase, removed_targets_end_and_new_ones_begin);
	tcase_add_test(tcase, a_new_interval_has_a_new_place);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
