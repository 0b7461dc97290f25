/* SPDX-License-Identifier: MIT */
/*
 * wheel - a hierarchical timer wheel with slots of one millisecond: any number of timers, one loop timer.
 * What is due within the same millisecond fires together. Time is an argument.
 * Owns:  nothing; a timer is embedded in what it times. A timer that is not armed has an empty node.
 * Calls: `fire` from wheel_advance() only; it may arm and cancel any timer, itself included.
 */
#ifndef PORTBELL_BASE_WHEEL_H
#define PORTBELL_BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/list.h"

struct timer;
typedef void timer_fire_fn(struct timer *timer, int64_t now_us);

struct timer {
	struct list node;
	int64_t due_us;
	timer_fire_fn *fire;
};

struct wheel;
struct wheel *wheel_new(int64_t now_us);
void wheel_free(struct wheel *wheel); /* armed timers are forgotten */
void timer_init(struct timer *timer, timer_fire_fn *fire);
/* At due_us (monotonic), never before it, at most 1 ms after if the loop is in time. Re-arms if armed. */
void wheel_arm(struct wheel *wheel, struct timer *timer, int64_t due_us);
void wheel_cancel(struct wheel *wheel, struct timer *timer);
bool timer_armed(const struct timer *timer);
/* Fires all that is due at now_us. */
void wheel_advance(struct wheel *wheel, int64_t now_us);
/* When wheel_advance() has to be called next (it may then find nothing to fire); INT64_MAX if nothing is armed. */
int64_t wheel_next_us(const struct wheel *wheel);

#endif
