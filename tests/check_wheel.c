/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/wheel.h"

enum { FIRED_MAX = 64 };

/* What fired, in order; a timer's name is its number. */
struct log {
	int count;
	int numbers[FIRED_MAX];
	int64_t at_us[FIRED_MAX];
};

struct named {
	struct timer timer;
	struct wheel *wheel;
	struct log *log;
	int number;
	struct named *cancels;   /* what it cancels when it fires */
	int64_t again_us;        /* re-arms itself this much later; 0 = no */
	int times_left;
};

static void named_fire(struct timer *timer, int64_t now_us)
{
	struct named *named = list_entry(timer, struct named, timer);

	ck_assert(!timer_armed(timer));
	ck_assert_int_lt(named->log->count, FIRED_MAX);
	named->log->numbers[named->log->count] = named->number;
	named->log->at_us[named->log->count++] = now_us;
	if (named->cancels != NULL)
		wheel_cancel(named->wheel, &named->cancels->timer);
	if (named->again_us != 0 && named->times_left-- > 0)
		wheel_arm(named->wheel, timer, now_us + named->again_us);
}

static void named_init(struct named *named, struct wheel *wheel, struct log *log, int number)
{
	*named = (struct named){ .wheel = wheel, .log = log, .number = number };
	timer_init(&named->timer, named_fire);
}

static const struct one_row {
	const char *says;
	int64_t start_us;
	int64_t due_us;
	int64_t too_early_us;
	int64_t in_time_us;
} one_rows[] = {
	{ "on a whole millisecond", 0, 5000, 4999, 5000 },
	{ "rounded up to the next one", 0, 5001, 5999, 6000 },
	{ "the very next millisecond", 999, 1000, 999, 1000 },
	{ "due now: at the next millisecond", 7000, 7000, 7999, 8000 },
	{ "long past: at the next millisecond", 7000, 10, 7999, 8000 },
	{ "the last slot of the first level", 0, 63000, 62999, 63000 },
	{ "the first of the second level", 0, 64000, 63999, 64000 },
	{ "over the edge of a level though near", 63000, 65000, 64999, 65000 },
	{ "over the edge of three levels", 262143000, 262145000, 262144999, 262145000 },
	{ "a second", 123456789, 124456789, 124456999, 124457000 },
	{ "seven days", 5, 604800 * US_PER_S, 604800 * US_PER_S - 1, 604800 * US_PER_S },
	{ "ten years", 5, 3650 * 86400 * US_PER_S, 3650 * 86400 * US_PER_S - 1, 3650 * 86400 * US_PER_S },
};

/* Calls wheel_advance() whenever the wheel asks for it, up to `until_us`. */
static void run_as_asked(struct wheel *wheel, int64_t until_us)
{
	int64_t next_us;
	int calls = 0;

	while ((next_us = wheel_next_us(wheel)) <= until_us) {
		wheel_advance(wheel, next_us);
		ck_assert_int_lt(++calls, 1000);
	}
	wheel_advance(wheel, until_us);
}

static void one_timer(const struct one_row *row, bool as_asked)
{
	struct wheel *wheel = wheel_new(row->start_us);
	struct log log = { 0 };
	struct named named;

	named_init(&named, wheel, &log, 1);
	wheel_arm(wheel, &named.timer, row->due_us);
	ck_assert(timer_armed(&named.timer));
	if (as_asked)
		run_as_asked(wheel, row->too_early_us);
	else
		wheel_advance(wheel, row->too_early_us);
	ck_assert_msg(log.count == 0, "%s: too early", row->says);
	ck_assert_msg(wheel_next_us(wheel) <= row->in_time_us, "%s: would be called too late", row->says);
	if (as_asked)
		run_as_asked(wheel, row->in_time_us);
	else
		wheel_advance(wheel, row->in_time_us);
	ck_assert_msg(log.count == 1, "%s: not in time", row->says);
	ck_assert(!timer_armed(&named.timer));
	ck_assert_msg(wheel_next_us(wheel) == INT64_MAX, "%s: something is left", row->says);
	wheel_free(wheel);
}

START_TEST(one)
{
	one_timer(&one_rows[_i], false);
	one_timer(&one_rows[_i], true);
}
END_TEST

START_TEST(same_millisecond_fires_together)
{
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named[4];

	for (int i = 0; i < 4; i++) {
		named_init(&named[i], wheel, &log, i);
		wheel_arm(wheel, &named[i].timer, 100 * US_PER_MS + 200 * (i + 1));
	}
	ck_assert_int_le(wheel_next_us(wheel), 101 * US_PER_MS);
	wheel_advance(wheel, 100 * US_PER_MS + 999);
	ck_assert_int_eq(log.count, 0);
	wheel_advance(wheel, 101 * US_PER_MS);
	ck_assert_int_eq(log.count, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(log.numbers[i], i);
	wheel_free(wheel);
}
END_TEST

START_TEST(arming_again_moves)
{
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named;

	named_init(&named, wheel, &log, 1);
	wheel_arm(wheel, &named.timer, 10 * US_PER_MS);
	wheel_arm(wheel, &named.timer, 20 * US_PER_MS);
	wheel_advance(wheel, 19 * US_PER_MS);
	ck_assert_int_eq(log.count, 0);
	wheel_arm(wheel, &named.timer, 30 * US_PER_MS);
	wheel_advance(wheel, 29 * US_PER_MS);
	ck_assert_int_eq(log.count, 0);
	wheel_advance(wheel, 30 * US_PER_MS);
	ck_assert_int_eq(log.count, 1);
	wheel_free(wheel);
}
END_TEST

START_TEST(cancelling)
{
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named[2];

	for (int i = 0; i < 2; i++) {
		named_init(&named[i], wheel, &log, i);
		wheel_cancel(wheel, &named[i].timer);
		wheel_arm(wheel, &named[i].timer, 500 * US_PER_MS);
	}
	wheel_cancel(wheel, &named[0].timer);
	ck_assert(!timer_armed(&named[0].timer));
	ck_assert(wheel_next_us(wheel) != INT64_MAX);
	wheel_cancel(wheel, &named[1].timer);
	ck_assert(wheel_next_us(wheel) == INT64_MAX);
	wheel_cancel(wheel, &named[1].timer);
	wheel_advance(wheel, US_PER_S);
	ck_assert_int_eq(log.count, 0);
	wheel_free(wheel);
}
END_TEST

START_TEST(a_timer_cancels_another_of_its_millisecond)
{
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named[3];

	for (int i = 0; i < 3; i++) {
		named_init(&named[i], wheel, &log, i);
		wheel_arm(wheel, &named[i].timer, 5 * US_PER_MS);
	}
	named[0].cancels = &named[1];
	named[2].cancels = &named[2];
	wheel_advance(wheel, 5 * US_PER_MS);
	ck_assert_int_eq(log.count, 2);
	ck_assert_int_eq(log.numbers[1], 2);
	wheel_free(wheel);
}
END_TEST

START_TEST(a_timer_arms_itself_again)
{
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named;

	named_init(&named, wheel, &log, 1);
	named.again_us = 70 * US_PER_MS;
	named.times_left = 3;
	wheel_arm(wheel, &named.timer, 10 * US_PER_MS);
	run_as_asked(wheel, US_PER_S);
	ck_assert_int_eq(log.count, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(log.at_us[i], (10 + 70 * i) * US_PER_MS);
	wheel_free(wheel);
}
END_TEST

START_TEST(a_late_call_fires_all_in_order)
{
	static const int64_t due_ms[] = { 4000, 3, 70, 64, 65000, 63, 5000 };
	static const int order[] = { 1, 5, 3, 2, 0, 6, 4 };
	struct wheel *wheel = wheel_new(0);
	struct log log = { 0 };
	struct named named[7];

	for (int i = 0; i < 7; i++) {
		named_init(&named[i], wheel, &log, i);
		wheel_arm(wheel, &named[i].timer, due_ms[i] * US_PER_MS);
	}
	wheel_advance(wheel, 100 * US_PER_S);
	ck_assert_int_eq(log.count, 7);
	for (int i = 0; i < 7; i++) {
		ck_assert_int_eq(log.numbers[i], order[i]);
		ck_assert_int_eq(log.at_us[i], 100 * US_PER_S);
	}
	wheel_free(wheel);
}
END_TEST

/* Against the simplest thing that can be right: every timer looked at, at every call. */
enum { MANY = 300, ROUNDS = 4000 };

struct counted {
	struct timer timer;
	int64_t due_tick; /* 0 = not armed, as the model has it */
	int fired;
};

/* ck_assert() tells the parent process each time, which a million of them would feel. */
static void must(bool holds, const char *what)
{
	if (!holds)
		ck_abort_msg("%s", what);
}

static void counted_fire(struct timer *timer, int64_t now_us)
{
	struct counted *counted = list_entry(timer, struct counted, timer);

	must(counted->timer.due_us <= now_us, "fired too early");
	counted->fired++;
}

/* Mostly near, sometimes far, now and then in the past. */
static int64_t random_due_us(int64_t now_us)
{
	int64_t spread_us = INT64_C(1) << (rand() % 33);

	return now_us + (int64_t)(((uint64_t)rand() << 31 | (uint64_t)rand()) % (uint64_t)spread_us) - 2000;
}

static void change_some(struct wheel *wheel, struct counted *all, int64_t now_us)
{
	for (int i = rand() % 20; i > 0; i--) {
		struct counted *counted = &all[rand() % MANY];

		if (rand() % 3 == 0) {
			wheel_cancel(wheel, &counted->timer);
			counted->due_tick = 0;
		} else {
			int64_t due_us = random_due_us(now_us);
			int64_t next_tick = now_us / US_PER_MS + 1;
			int64_t tick = (due_us + US_PER_MS - 1) / US_PER_MS;

			wheel_arm(wheel, &counted->timer, due_us);
			counted->due_tick = tick < next_tick ? next_tick : tick;
		}
	}
}

static void compare(const struct wheel *wheel, struct counted *all, int64_t now_us)
{
	int64_t first_us = INT64_MAX;

	for (int i = 0; i < MANY; i++) {
		struct counted *counted = &all[i];
		bool due = counted->due_tick != 0 && counted->due_tick <= now_us / US_PER_MS;

		must(counted->fired == due, "fired although not due, or not although due");
		counted->fired = 0;
		if (due)
			counted->due_tick = 0;
		must(timer_armed(&counted->timer) == (counted->due_tick != 0), "armed is not what it should be");
		if (counted->due_tick != 0 && counted->due_tick * US_PER_MS < first_us)
			first_us = counted->due_tick * US_PER_MS;
	}
	ck_assert_int_le(wheel_next_us(wheel), first_us);
	ck_assert(first_us == INT64_MAX || wheel_next_us(wheel) > now_us - now_us % US_PER_MS);
	ck_assert(first_us != INT64_MAX || wheel_next_us(wheel) == INT64_MAX);
}

START_TEST(random_against_a_plain_list)
{
	const char *given = getenv("PORTBELL_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)atoi(given) : (unsigned)time(NULL);
	int64_t now_us = 977 * US_PER_S + 123;
	struct wheel *wheel = wheel_new(now_us);
	struct counted *all = mem_array(MANY, sizeof(*all));

	printf("PORTBELL_TEST_SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < MANY; i++)
		timer_init(&all[i].timer, counted_fire);
	for (int round = 0; round < ROUNDS; round++) {
		change_some(wheel, all, now_us);
		now_us += rand() % 10 == 0 ? rand() % (20 * US_PER_S) : rand() % (3 * US_PER_MS);
		wheel_advance(wheel, now_us);
		compare(wheel, all, now_us);
	}
	free(all);
	wheel_free(wheel);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");
	TCase *tcase = tcase_create("wheel");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_loop_test(tcase, one, 0, (int)(sizeof(one_rows) / sizeof(*one_rows)));
	tcase_add_test(tcase, same_millisecond_fires_together);
	tcase_add_test(tcase, arming_again_moves);
	tcase_add_test(tcase, cancelling);
	tcase_add_test(tcase, a_timer_cancels_another_of_its_millisecond);
	tcase_add_test(tcase, a_timer_arms_itself_again);
	tcase_add_test(tcase, a_late_call_fires_all_in_order);
	tcase_add_test(tcase, random_against_a_plain_list);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
