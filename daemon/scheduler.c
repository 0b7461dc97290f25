/* SPDX-License-Identifier: MIT */
#include "daemon/scheduler.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/wheel.h"

enum {
	LATE_US = PROBE_LATE_US,
	REFUSED_ALONE_MAX = 3,
	FIRST_ROUND_US = 2 * 1000 * 1000,
	START_EACH_US = 500, /* of those that start outside their place: 2,000 a second */
	/* A loop that is this late has more in flight than it can serve: for a while there shall not be more. */
	HEAVY_US = 100 * 1000,
	GATE_US = 1000 * 1000,
	GATE_MIN = 64
};

enum target_state {
	TARGET_IDLE,
	TARGET_WAITING, /* in line for a socket */
	TARGET_IN_FLIGHT
};

struct target {
	struct timer timer;      /* the next start; armed unless paused */
	struct list node;        /* in scheduler->waiting while TARGET_WAITING */
	struct scheduler *scheduler;
	const struct plan *plan; /* of the present assignment */
	struct probe *probe;     /* TARGET_IN_FLIGHT */
	struct certificate *told; /* NULL: no facts were reported yet */
	int64_t due_us;          /* of the start that waits or is in flight */
	int64_t owed_us;         /* when it should have started, if a stall came between; 0 = none did */
	int64_t ended_us;        /* of the last probe; 0 = none yet */
	uint8_t state;           /* enum target_state */
	uint8_t pace;            /* enum pace */
	uint8_t last_reason;     /* enum reason */
	bool off_place;          /* the timer is set for a first probe or to make up for a stall */
	bool recheck;            /* the timer is set for a recheck */
	bool tried_again;        /* the probe that waits or is in flight is a recheck */
	bool again;              /* it was asked for while one waits or is in flight */
	bool old_plan;           /* the probe in flight uses a plan of an older assignment */
	uint8_t refused_alone;   /* times in a row that it got no descriptor with no other socket of ours open */
};

struct scheduler {
	struct probe_loop *loop;
	struct wheel *wheel;
	size_t max_sockets;
	size_t room;             /* max_sockets, or less while the system refuses descriptors */
	size_t gate;             /* at most so many in flight; SIZE_MAX while the loop keeps up */
	struct timer gate_timer; /* opens it */
	scheduler_result_fn *on_result;
	void *arg;
	struct target **targets; /* as in the assignment */
	size_t count;
	struct list waiting;     /* first come, first served */
	size_t waiting_count;
	size_t old_in_flight;    /* targets with old_plan */
	int64_t next_slot_us;    /* for the next start outside its place */
	struct prober_stats stats;
};

static void target_due(struct timer *timer, int64_t now_us);
static void on_probe_done(struct probe *probe, struct result *result, void *arg);

/* Places */

/* The first moment of the target's rhythm after `after_us`. */
static int64_t place_after_us(const struct plan *plan, int64_t after_us)
{
	int64_t interval_us = plan->interval_us;
	int64_t place_us = after_us - after_us % interval_us + (int64_t)(plan->spread % (uint64_t)interval_us);

	return place_us > after_us ? place_us : place_us + interval_us;
}

/* Starts lie on whole milliseconds, as the wheel's slots do: then all of the lag is somebody's fault. */
static void target_arm(struct target *target, int64_t due_us)
{
	int64_t over_us = due_us % US_PER_MS;

	target->off_place = false;
	target->recheck = false;
	target->owed_us = 0;
	if (over_us != 0)
		due_us += US_PER_MS - over_us;
	wheel_arm(target->scheduler->wheel, &target->timer, due_us);
}

static void target_arm_place(struct target *target, int64_t after_us)
{
	target_arm(target, place_after_us(target->plan, after_us));
}

/* After a stall, in a slot of their own each, so that many do not come at once. */
static void target_arm_slot(struct target *target, int64_t owed_us, int64_t now_us)
{
	struct scheduler *scheduler = target->scheduler;

	if (scheduler->next_slot_us < now_us)
		scheduler->next_slot_us = now_us;
	target_arm(target, scheduler->next_slot_us);
	target->off_place = true;
	target->owed_us = owed_us;
	scheduler->next_slot_us += START_EACH_US;
}

static void target_arm_now(struct target *target, int64_t now_us)
{
	target_arm(target, now_us);
	target->off_place = true;
	target->again = false;
}

/* A recheck counts from the end of the last probe; the regular place may come first. */
static void target_arm_recheck(struct target *target, int64_t now_us)
{
	int64_t due_us = target->ended_us + target->plan->recheck_us;

	if (due_us < now_us)
		due_us = now_us;
	if (due_us >= target->timer.due_us)
		return;
	target_arm(target, due_us);
	target->recheck = true;
}

/* Starting and ending */

static void target_set_waiting(struct target *target, bool in_front)
{
	struct scheduler *scheduler = target->scheduler;

	target->state = TARGET_WAITING;
	scheduler->waiting_count++;
	list_insert(in_front ? scheduler->waiting.next : &scheduler->waiting, &target->node);
}

static void target_stop_waiting(struct target *target)
{
	list_remove(&target->node);
	target->scheduler->waiting_count--;
	target->state = TARGET_IDLE;
}

static void target_start(struct target *target)
{
	struct scheduler *scheduler = target->scheduler;

	target->state = TARGET_IN_FLIGHT;
	target->old_plan = false;
	target->probe =
		probe_start(scheduler->loop, target->plan, target->due_us, target->told, on_probe_done, target);
	scheduler->stats.started++;
}

static bool has_room(const struct scheduler *scheduler)
{
	return probe_loop_sockets(scheduler->loop) < scheduler->room &&
	       probe_loop_in_flight(scheduler->loop) < scheduler->gate;
}

static void start_waiting(struct scheduler *scheduler)
{
	while (!list_empty(&scheduler->waiting) && has_room(scheduler)) {
		struct target *target = list_entry(scheduler->waiting.next, struct target, node);

		target_stop_waiting(target);
		target_start(target);
	}
}

static void on_room(void *arg)
{
	start_waiting(arg);
}

/* After a start outside its place, a place that is very near would only repeat it. */
static int64_t rest_us(const struct target *target)
{
	if (target->off_place)
		return target->plan->interval_us / 2;
	if (target->recheck && target->plan->recheck_us < target->plan->interval_us)
		return target->plan->recheck_us / 2;
	return 0;
}

static void target_due(struct timer *timer, int64_t now_us)
{
	struct target *target = list_entry(timer, struct target, timer);
	struct scheduler *scheduler = target->scheduler;
	int64_t due_us = target->owed_us != 0 ? target->owed_us : timer->due_us;
	int64_t next_after_us = now_us + rest_us(target);

	if (now_us - timer->due_us > LATE_US) {
		target_arm_slot(target, due_us, now_us);
		return;
	}
	if (target->state == TARGET_IDLE) {
		target->due_us = due_us;
		target->tried_again = target->recheck;
		if (list_empty(&scheduler->waiting) && has_room(scheduler)) {
			target_start(target);
		} else {
			scheduler->stats.waited++;
			target_set_waiting(target, false);
		}
	}
	target_arm_place(target, next_after_us);
}

static void target_tell(struct target *target, const struct result *result)
{
	if (result->facts == NULL)
		return;
	if (target->told == NULL)
		target->told = mem_new(struct certificate);
	*target->told = result->certificate;
}

static void target_not_old(struct target *target)
{
	if (target->old_plan)
		target->scheduler->old_in_flight--;
	target->old_plan = false;
}

/* The system has no descriptor or memory for one more socket. */
static bool is_refused(const struct result *result)
{
	int number = result->error_number;

	return result->reason == REASON_LOCAL_ERROR &&
	       (number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM);
}

/*
 * True: it waits in line again. Others may have ended between the refusal and its report: only a target that is
 * refused several times in a row with nothing else open has nothing to wait for.
 */
static bool target_waits_again(struct target *target, struct result *result)
{
	struct scheduler *scheduler = target->scheduler;
	size_t sockets = probe_loop_sockets(scheduler->loop);

	target->refused_alone = sockets > 0 ? 0 : (uint8_t)(target->refused_alone + 1);
	if (target->refused_alone > REFUSED_ALONE_MAX) {
		target->refused_alone = 0;
		return false;
	}
	result_done(result);
	scheduler->room = sockets > 0 ? sockets : 1;
	scheduler->stats.waited++;
	target_set_waiting(target, true);
	return true;
}

static void on_probe_done(struct probe *probe, struct result *result, void *arg)
{
	struct target *target = arg;
	struct scheduler *scheduler = target->scheduler;
	bool urgent = result->reason != REASON_OK || result->reason != target->last_reason;

	(void)probe;
	target->probe = NULL;
	target->state = TARGET_IDLE;
	target_not_old(target);
	if (is_refused(result) && target_waits_again(target, result)) {
		start_waiting(scheduler);
		return;
	}
	target->refused_alone = 0;
	if (scheduler->room < scheduler->max_sockets)
		scheduler->room++;
	histogram_add(&scheduler->stats.lag, result->late_us);
	target->ended_us = clock_mono_us();
	target->last_reason = (uint8_t)result->reason;
	if (result->target_id == target->plan->target_id) /* else main drops it: it is of the target before a change */
		target_tell(target, result);
	result->tried_again = target->tried_again;
	if (target->pace == PACE_RECHECK)
		target_arm_recheck(target, target->ended_us);
	if (target->again)
		target_arm_now(target, target->ended_us);
	scheduler->on_result(result, urgent, scheduler->arg);
	start_waiting(scheduler);
}

/* Targets */

static struct target *target_new(struct scheduler *scheduler)
{
	struct target *target = mem_new(struct target);

	target->scheduler = scheduler;
	timer_init(&target->timer, target_due);
	list_init(&target->node);
	target->last_reason = REASON_OK;
	return target;
}

/* What it was doing ends without a result. */
static void target_halt(struct target *target)
{
	wheel_cancel(target->scheduler->wheel, &target->timer);
	if (target->state == TARGET_WAITING)
		target_stop_waiting(target);
	if (target->state == TARGET_IN_FLIGHT)
		probe_cancel(TAKE(target->probe));
	target_not_old(target);
	target->state = TARGET_IDLE;
	target->again = false;
}

static void target_free(struct target *target)
{
	if (target == NULL)
		return;
	target_halt(target);
	free(target->told);
	free(target);
}

/* Those of one round are spread over its window by the same hash that gives them their place. */
static void target_arm_first(struct target *target, int64_t window_us, int64_t now_us)
{
	const struct plan *plan = target->plan;

	if (window_us >= plan->interval_us) {
		target_arm_place(target, now_us);
		return;
	}
	target_arm(target, now_us + (int64_t)(plan->spread % (uint64_t)window_us));
	target->off_place = true;
}

/* `plan` is its new one; the old one may differ in anything but the name. */
static void target_set_plan(struct target *target, const struct plan *plan, int64_t window_us, int64_t now_us)
{
	const struct plan *old = target->plan;
	bool same_rhythm = old != NULL && old->interval_us == plan->interval_us && old->spread == plan->spread;

	target->plan = plan;
	if (old != NULL && old->target_id != plan->target_id)
		free(TAKE(target->told));
	if (target->state == TARGET_IN_FLIGHT && !target->old_plan) {
		target->old_plan = true;
		target->scheduler->old_in_flight++;
	}
	if (plan->paused)
		target_halt(target);
	else if (!timer_armed(&target->timer))
		target_arm_first(target, window_us, now_us);
	else if (!same_rhythm && !target->off_place && !target->recheck)
		target_arm_place(target, now_us);
}

static int64_t first_round_us(size_t count)
{
	int64_t needed_us = (int64_t)count * START_EACH_US;

	return needed_us > FIRST_ROUND_US ? needed_us : FIRST_ROUND_US;
}

/* Moves what is in both lists to `targets`; what stays behind is in the old list only. */
static size_t take_over(struct scheduler *scheduler, const struct assignment *assignment, struct target **targets)
{
	size_t fresh = 0;

	for (size_t i = 0; i < assignment->count; i++) {
		int32_t previous = assignment->plans[i].previous;

		assert(previous < 0 || (size_t)previous < scheduler->count);
		if (previous >= 0)
			targets[i] = TAKE(scheduler->targets[previous]);
		else
			fresh++;
	}
	return fresh;
}

void scheduler_set_targets(struct scheduler *scheduler, const struct assignment *assignment, int64_t now_us)
{
	struct target **targets = mem_array(assignment->count + 1, sizeof(*targets));
	int64_t window_us = first_round_us(take_over(scheduler, assignment, targets));

	for (size_t i = 0; i < scheduler->count; i++)
		target_free(scheduler->targets[i]);
	free(scheduler->targets);
	scheduler->targets = targets;
	scheduler->count = assignment->count;
	for (size_t i = 0; i < assignment->count; i++) {
		if (targets[i] == NULL)
			targets[i] = target_new(scheduler);
		target_set_plan(targets[i], &assignment->plans[i], window_us, now_us);
	}
	start_waiting(scheduler);
}

bool scheduler_settled(const struct scheduler *scheduler)
{
	return scheduler->old_in_flight == 0;
}

void scheduler_set_pace(struct scheduler *scheduler, size_t index, enum pace pace, int64_t now_us)
{
	struct target *target;

	assert(index < scheduler->count);
	target = scheduler->targets[index];
	target->pace = (uint8_t)pace;
	if (target->plan->paused || target->state != TARGET_IDLE)
		return;
	if (pace == PACE_RECHECK && target->ended_us != 0)
		target_arm_recheck(target, now_us);
	else if (pace == PACE_NORMAL && target->recheck)
		target_arm_place(target, now_us);
}

void scheduler_probe_now(struct scheduler *scheduler, size_t index, int64_t now_us)
{
	struct target *target;

	assert(index < scheduler->count);
	target = scheduler->targets[index];
	if (target->plan->paused)
		return;
	if (target->state == TARGET_IDLE)
		target_arm_now(target, now_us);
	else
		target->again = true;
}

/* Late loops */

static void target_discard(struct target *target, int64_t now_us)
{
	probe_cancel(TAKE(target->probe));
	target_not_old(target);
	target->state = TARGET_IDLE;
	target->scheduler->stats.discarded++;
	target_arm_slot(target, target->due_us, now_us);
}

static void shut_gate(struct scheduler *scheduler, int64_t now_us)
{
	size_t in_flight = probe_loop_in_flight(scheduler->loop);

	scheduler->gate = in_flight > GATE_MIN ? in_flight : GATE_MIN;
	wheel_arm(scheduler->wheel, &scheduler->gate_timer, now_us + GATE_US);
}

static void open_gate(struct timer *timer, int64_t now_us)
{
	struct scheduler *scheduler = list_entry(timer, struct scheduler, gate_timer);

	(void)now_us;
	scheduler->gate = SIZE_MAX;
	start_waiting(scheduler);
}

void scheduler_note_late(struct scheduler *scheduler, int64_t late_us, int64_t now_us)
{
	if (late_us > scheduler->stats.loop_late_us)
		scheduler->stats.loop_late_us = late_us;
	if (late_us > HEAVY_US)
		shut_gate(scheduler, now_us);
	if (late_us <= LATE_US)
		return;
	scheduler->next_slot_us = now_us;
	for (size_t i = 0; i < scheduler->count; i++) {
		if (scheduler->targets[i]->state == TARGET_IN_FLIGHT)
			target_discard(scheduler->targets[i], now_us);
	}
	start_waiting(scheduler);
}

/* The whole */

struct scheduler *scheduler_new(struct probe_loop *loop, struct wheel *wheel, size_t max_sockets,
				scheduler_result_fn *on_result, void *arg)
{
	struct scheduler *scheduler = mem_new(struct scheduler);

	assert(max_sockets > 0);
	scheduler->loop = loop;
	scheduler->wheel = wheel;
	scheduler->max_sockets = max_sockets;
	scheduler->room = max_sockets;
	scheduler->gate = SIZE_MAX;
	timer_init(&scheduler->gate_timer, open_gate);
	scheduler->on_result = on_result;
	scheduler->arg = arg;
	list_init(&scheduler->waiting);
	probe_loop_on_room(loop, on_room, scheduler);
	return scheduler;
}

void scheduler_free(struct scheduler *scheduler)
{
	if (scheduler == NULL)
		return;
	probe_loop_on_room(scheduler->loop, NULL, NULL);
	wheel_cancel(scheduler->wheel, &scheduler->gate_timer);
	for (size_t i = 0; i < scheduler->count; i++)
		target_free(scheduler->targets[i]);
	free(scheduler->targets);
	free(scheduler);
}

void scheduler_stats(struct scheduler *scheduler, struct prober_stats *stats)
{
	*stats = scheduler->stats;
	stats->in_flight = probe_loop_in_flight(scheduler->loop);
	stats->waiting = scheduler->waiting_count;
	memset(&scheduler->stats, 0, sizeof(scheduler->stats));
}
