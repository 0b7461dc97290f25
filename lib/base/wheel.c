/* SPDX-License-Identifier: MIT */
#include "lib/base/wheel.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"

/*
 * A tick is a millisecond of the monotonic clock. A timer lies on the level of the highest group of 6 bits in
 * which its tick differs from the present one: level 0 holds what is left of the present 64 ms, each slot a tick
 * of its own; a slot of level n stands for 64^n ticks and is dealt out to lower levels when the present reaches
 * its first one. So all that is on a level lies before all that is on the level above, and a used slot is always
 * ahead of the present one. 9 levels hold every int64_t of microseconds: no due time has to be cut.
 */
enum { LEVELS = 9, SLOT_BITS = 6, SLOTS = 1 << SLOT_BITS };

struct wheel {
	int64_t tick; /* all timers up to it have fired */
	uint64_t used[LEVELS]; /* a bit for each slot that holds a timer */
	struct list slots[LEVELS][SLOTS];
	struct list firing;
};

struct wheel *wheel_new(int64_t now_us)
{
	struct wheel *wheel = mem_new(struct wheel);

	wheel->tick = now_us / US_PER_MS;
	for (int level = 0; level < LEVELS; level++) {
		for (int slot = 0; slot < SLOTS; slot++)
			list_init(&wheel->slots[level][slot]);
	}
	list_init(&wheel->firing);
	return wheel;
}

void wheel_free(struct wheel *wheel)
{
	free(wheel);
}

void timer_init(struct timer *timer, timer_fire_fn *fire)
{
	list_init(&timer->node);
	timer->due_us = 0;
	timer->fire = fire;
}

bool timer_armed(const struct timer *timer)
{
	return !list_empty(&timer->node);
}

/* Rounded up: never before it. */
static int64_t due_tick(const struct timer *timer)
{
	return timer->due_us / US_PER_MS + (timer->due_us % US_PER_MS > 0);
}

static void wheel_place(struct wheel *wheel, struct timer *timer)
{
	int64_t tick = due_tick(timer);
	int level;
	int slot;

	if (tick <= wheel->tick)
		tick = wheel->tick + 1;
	level = (63 - __builtin_clzll((uint64_t)(tick ^ wheel->tick))) / SLOT_BITS;
	slot = (int)(tick >> (level * SLOT_BITS)) & (SLOTS - 1);
	list_push(&wheel->slots[level][slot], &timer->node);
	wheel->used[level] |= UINT64_C(1) << slot;
}

void wheel_arm(struct wheel *wheel, struct timer *timer, int64_t due_us)
{
	wheel_cancel(wheel, timer);
	timer->due_us = due_us;
	wheel_place(wheel, timer);
}

/* Who takes the last timer out of a slot has the slot's head as its neighbour on both sides. */
void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
	struct list *head = timer->node.next;
	ptrdiff_t place;

	list_remove(&timer->node);
	if (head == &timer->node || !list_empty(head) || head == &wheel->firing)
		return;
	place = head - &wheel->slots[0][0];
	wheel->used[place / SLOTS] &= ~(UINT64_C(1) << (place % SLOTS));
}

/* The first tick of the nearest used slot, its level and place; false if nothing is armed. */
static bool wheel_nearest(const struct wheel *wheel, int64_t *tick, int *level, int *slot)
{
	for (*level = 0; *level < LEVELS; (*level)++) {
		int shift = *level * SLOT_BITS;

		if (wheel->used[*level] == 0)
			continue;
		*slot = __builtin_ctzll(wheel->used[*level]);
		*tick = ((wheel->tick >> shift & ~(int64_t)(SLOTS - 1)) | *slot) << shift;
		return true;
	}
	return false;
}

static void wheel_fire(struct wheel *wheel, int64_t now_us)
{
	while (!list_empty(&wheel->firing)) {
		struct timer *timer = list_entry(wheel->firing.next, struct timer, node);

		list_remove(&timer->node);
		timer->fire(timer, now_us);
	}
}

void wheel_advance(struct wheel *wheel, int64_t now_us)
{
	int64_t now_tick = now_us / US_PER_MS;
	struct list dealt;
	int64_t tick;
	int level;
	int slot;

	while (wheel_nearest(wheel, &tick, &level, &slot) && tick <= now_tick) {
		struct timer *timer;

		wheel->tick = tick;
		list_init(&dealt);
		list_splice(&dealt, &wheel->slots[level][slot]);
		wheel->used[level] &= ~(UINT64_C(1) << slot);
		list_each(timer, &dealt, struct timer, node) {
			list_remove(&timer->node);
			if (level == 0 || due_tick(timer) <= tick)
				list_push(&wheel->firing, &timer->node);
			else
				wheel_place(wheel, timer);
		}
		wheel_fire(wheel, now_us);
	}
	if (wheel->tick < now_tick)
		wheel->tick = now_tick;
}

int64_t wheel_next_us(const struct wheel *wheel)
{
	int64_t tick;
	int level;
	int slot;

	return wheel_nearest(wheel, &tick, &level, &slot) ? tick * US_PER_MS : INT64_MAX;
}
