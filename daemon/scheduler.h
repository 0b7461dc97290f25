/* SPDX-License-Identifier: MIT */
/*
 * scheduler - when each probe of one thread runs, and how many at once. No target is ever probed twice at the same
 * time. The interval is kept by place (the name's hash within the interval), so 5,000 targets at 1 s are spread
 * over it. The first round after a start comes early: within min(interval, max(2 s, targets / 2,000 s)); then each
 * has its place.
 * Recheck: while app says PACE_RECHECK, the next probe starts recheck_us after the end of the last one (unless the
 *          regular place comes sooner). A missed place is skipped, not made up for.
 * Now:     a target that is asked for is probed at once; if a probe of it waits or is in flight, again after that.
 * Late:    a loop more than 500 ms late discards its probes in flight (not judged) and starts them again, at most
 *          2,000 a second, so that the burst does not make it late again. Above 100 ms probes wait in line until
 *          there are fewer than at that moment, for a second: a loop that has more in flight than it can serve
 *          would else measure its own queue.
 * Full:    above max_sockets probes wait in line (FIFO) and start when one ends. A descriptor that the system
 *          refuses lowers that bound for a while, and the probe waits like the others; it is a result
 *          (local_error) only if nothing of ours could be waited for.
 */
#ifndef PORTBELL_SCHEDULER_H
#define PORTBELL_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/probe/probe.h"
#include "lib/base/histogram.h"

enum pace { PACE_NORMAL, PACE_RECHECK };

/* One prober's share of one generation of the configuration. Main makes and frees it. */
struct assignment {
	uint64_t generation;
	struct plan *plans;
	size_t count;
};

/* What happened since the last scheduler_stats(). */
struct prober_stats {
	uint64_t started;
	uint64_t discarded;      /* by a late loop */
	uint64_t waited;         /* had to wait for a socket */
	size_t in_flight;        /* now */
	size_t waiting;          /* now */
	int64_t loop_late_us;    /* the worst lateness of the loop itself */
	struct histogram lag;    /* start minus due */
	uint64_t verdicts_cached; /* the prober fills these in */
	uint64_t verdicts_made;
	bool resolver_refused;    /* too: the settings posted last could not be used, the old ones still are */
};

struct scheduler;
/* Takes the result. `urgent`: it failed, or it is another reason than the target's last one. */
typedef void scheduler_result_fn(struct result *result, bool urgent, void *arg);

struct scheduler *scheduler_new(struct probe_loop *loop, struct wheel *wheel, size_t max_sockets,
				scheduler_result_fn *on_result, void *arg);
void scheduler_free(struct scheduler *scheduler);
/* The new list replaces the old; what has plan.previous keeps schedule and pace. Probes in flight go on with
 * the plan they started with. */
void scheduler_set_targets(struct scheduler *scheduler, const struct assignment *assignment, int64_t now_us);
/* True when no probe in flight uses a plan older than the current assignment. */
bool scheduler_settled(const struct scheduler *scheduler);
void scheduler_set_pace(struct scheduler *scheduler, size_t index, enum pace pace, int64_t now_us);
/* A paused one stays so. */
void scheduler_probe_now(struct scheduler *scheduler, size_t index, int64_t now_us);
void scheduler_stats(struct scheduler *scheduler, struct prober_stats *stats);
/* The loop woke up this late: above 500 ms, probes in flight are discarded and started again. To be told at each
 * wake-up before anything else of that moment: what expired or came in the meantime must not be judged. */
void scheduler_note_late(struct scheduler *scheduler, int64_t late_us, int64_t now_us);

#endif
