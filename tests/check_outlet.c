/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/notify/outlet.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum { S = 1000000 };

static struct sender_config config = { .rate_count = 3, .rate_per_ms = 60000, .give_up_ms = 86400000 };

static struct outlet *make_outlet(void)
{
	struct outlet *outlet = outlet_new("mail");

	outlet->config = &config;
	return outlet;
}

static struct letter *line_up(struct outlet *outlet, int64_t incident, int64_t second)
{
	struct letter *letter = mem_new(struct letter);

	letter->state = LETTER_READY;
	letter->incidents = mem_array(2, sizeof(int64_t));
	letter->incidents[0] = incident;
	letter->incidents[1] = second;
	letter->incident_count = second > 0 ? 2 : 1;
	outlet_line_up(outlet, letter);
	return letter;
}

static void deliver(struct letter *letter)
{
	outlet_take_out(letter);
	letter_free(letter);
}

START_TEST(test_a_recovery_does_not_overtake_its_problem)
{
	struct outlet *outlet = make_outlet();
	struct letter *problem = line_up(outlet, 1, 0);
	struct letter *other = line_up(outlet, 2, 0);
	struct letter *recovery = line_up(outlet, 1, 2);

	problem->try_mono_us = 100 * S; /* it failed and waits */
	ck_assert_ptr_eq(outlet_next(outlet, 10 * S), other);
	other->try_mono_us = 50 * S;
	ck_assert_ptr_null(outlet_next(outlet, 10 * S));
	ck_assert_int_eq(outlet_due(outlet, 10 * S), 50 * S);
	deliver(other);
	ck_assert_ptr_null(outlet_next(outlet, 60 * S)); /* still behind its problem */
	ck_assert_ptr_eq(outlet_next(outlet, 100 * S), problem);
	deliver(problem);
	ck_assert_ptr_eq(outlet_next(outlet, 100 * S), recovery);
	outlet_free(outlet);
}
END_TEST

START_TEST(test_while_failing_one_tries_at_a_time)
{
	struct outlet *outlet = make_outlet();
	struct letter *letters[5];
	int64_t now = 1000 * (int64_t)S;

	for (int i = 0; i < 5; i++)
		letters[i] = line_up(outlet, i + 1, 0);
	for (int i = 0; i < 3; i++) {
		letters[i]->row.attempts = 1;
		outlet_failed(outlet, letters[i], -1, 128, now);
	}
	ck_assert_ptr_null(outlet_next(outlet, now)); /* the gate is closed */
	now = outlet_due(outlet, now);
	struct letter *next = outlet_next(outlet, now);

	ck_assert_ptr_nonnull(next);
	next->state = LETTER_SENDING;
	outlet->flights = 1;
	ck_assert_ptr_null(outlet_next(outlet, now));
	ck_assert_int_eq(outlet_due(outlet, now), INT64_MAX);
	outlet->flights = 0;
	outlet_succeeded(outlet, now);
	deliver(next);
	ck_assert_ptr_nonnull(outlet_next(outlet, now)); /* and all others may go at once */
	for (int i = 0; i < 5; i++)
		if (letters[i] != next)
			ck_assert_int_le(letters[i]->try_mono_us, now);
	outlet_free(outlet);
}
END_TEST

START_TEST(test_retry_after_is_heard)
{
	struct outlet *outlet = make_outlet();
	struct letter *letter = line_up(outlet, 1, 0);

	letter->row.attempts = 1;
	outlet_failed(outlet, letter, 120000, 0, 0);
	ck_assert_int_eq(letter->try_mono_us, 120 * (int64_t)S);
	outlet_succeeded(outlet, 10 * S); /* of another one */
	ck_assert_int_eq(letter->try_mono_us, 120 * (int64_t)S);
	outlet_failed(outlet, letter, INT64_C(86400000), 0, 0);
	ck_assert_int_eq(letter->try_mono_us, 3600 * (int64_t)S); /* but nobody silences us for a day */
	outlet_free(outlet);
}
END_TEST

struct backoff_row {
	int attempts;
	int64_t least_s, most_s;
};

static const struct backoff_row backoff_rows[] = {
	{ 1, 4, 6 }, { 2, 8, 12 }, { 3, 16, 24 }, { 7, 256, 384 }, { 9, 720, 1080 }, { 1000, 720, 1080 },
};

START_TEST(test_backoff)
{
	const struct backoff_row *row = &backoff_rows[_i];

	ck_assert_int_eq(outlet_backoff_us(row->attempts, 0), row->least_s * S);
	ck_assert_int_eq(outlet_backoff_us(row->attempts, 255), row->most_s * S);
}
END_TEST

START_TEST(test_rate)
{
	struct outlet *outlet = make_outlet();

	ck_assert_int_eq(outlet_allowance(outlet, 0), 3);
	for (int i = 0; i < 3; i++)
		outlet_spend(outlet);
	ck_assert_int_eq(outlet_allowance(outlet, 0), 0);
	const int64_t at = outlet_allowance_at(outlet, 0);

	ck_assert_int_eq(outlet_allowance_at(outlet, 10 * S), at); /* to ask does not push it away */
	ck_assert_int_ge(at, 20 * S); /* one in 20 s */
	ck_assert_int_le(at, 21 * S);
	ck_assert_int_eq(outlet_allowance(outlet, at), 1);
	ck_assert_int_eq(outlet_allowance(outlet, 3600 * (int64_t)S), 3); /* saved up, but not more */
	config.rate_per_ms = 0;
	ck_assert_int_eq(outlet_allowance(outlet, 0), INT32_MAX);
	config.rate_per_ms = 60000;
	outlet_free(outlet);
}
END_TEST

START_TEST(test_groups_wait_for_company)
{
	struct outlet *outlet = make_outlet();
	struct notice web = { .incident = 1, .group_key = (char *)"group=web", .wait_ms = 2000 };
	struct notice more = { .incident = 2, .group_key = (char *)"group=web", .wait_ms = 2000 };
	struct notice db = { .incident = 3, .group_key = (char *)"group=db", .wait_ms = 2000 };
	struct notice worse = { .incident = 1, .group_key = (char *)"level=critical", .wait_ms = 100 };
	struct group *group = outlet_group(outlet, &web, 0);

	ck_assert_ptr_eq(outlet_group(outlet, &more, 1 * S), group);
	ck_assert_int_eq(group->due_mono_us, 2 * S); /* company does not make it wait longer */
	ck_assert_ptr_ne(outlet_group(outlet, &db, 1 * S), group);
	ck_assert_int_eq(outlet_due(outlet, 1 * S), 2 * S);
	/* What is said of one incident leaves together, whatever its key, and as soon as the most urgent of it. */
	group->notices = mem_array(1, sizeof(struct notice *));
	group->notices[0] = mem_new(struct notice);
	group->notices[0]->incident = 1;
	group->count = 1;
	ck_assert_ptr_eq(outlet_group(outlet, &worse, 1 * S), group);
	ck_assert_int_eq(group->due_mono_us, 1 * S + 100000);
	outlet_free(outlet);
}
END_TEST

START_TEST(test_what_the_store_has_not_noted_counts_as_on_its_way)
{
	struct outlet *outlet = make_outlet();

	for (int i = 0; i < 3; i++)
		line_up(outlet, i + 1, 0);
	outlet->flights = OUTLET_FLIGHTS_MAX - 1;
	ck_assert_ptr_nonnull(outlet_next(outlet, S));
	struct settling *first = outlet_settle(outlet, S);
	ck_assert_ptr_null(outlet_next(outlet, S));
	ck_assert_int_eq(outlet_due(outlet, S), INT64_MAX);
	outlet_settled(first, S + 50000);
	ck_assert_ptr_nonnull(outlet_next(outlet, 2 * S));
	/* On a slow disk alerts that go out matter more; also when it notes several at once. */
	first = outlet_settle(outlet, 2 * S);
	struct settling *second = outlet_settle(outlet, 2 * S);
	outlet_settle(outlet, 2 * S);
	ck_assert_ptr_null(outlet_next(outlet, 3 * S));
	outlet_settled(first, 4 * S);
	ck_assert_ptr_nonnull(outlet_next(outlet, 4 * S));
	outlet_settled(second, 4 * S);
	ck_assert_ptr_nonnull(outlet_next(outlet, 4 * S));
	/* But not without end. */
	for (int i = 0; i < OUTLET_UNSETTLED_MAX; i++)
		outlet_settle(outlet, 4 * S);
	ck_assert_ptr_null(outlet_next(outlet, 4 * S));
	while (outlet->unsettled > 0)
		outlet_settled(list_entry(outlet->settling.next, struct settling, node), 6 * S);
	/* One that is quick again. */
	outlet_settled(outlet_settle(outlet, 5 * S), 5 * S + 50000);
	outlet_settle(outlet, 6 * S);
	ck_assert_ptr_null(outlet_next(outlet, 6 * S));
	outlet_free(outlet);
}
END_TEST

START_TEST(test_a_sender_that_is_gone_sends_nothing)
{
	struct outlet *outlet = make_outlet();

	line_up(outlet, 1, 0);
	outlet->config = NULL;
	ck_assert_ptr_null(outlet_next(outlet, S));
	ck_assert_int_eq(outlet_due(outlet, S), INT64_MAX);
	outlet_free(outlet);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outlet");
	TCase *tests = tcase_create("outlet");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_a_recovery_does_not_overtake_its_problem);
	tcase_add_test(tests, test_while_failing_one_tries_at_a_time);
	tcase_add_test(tests, test_retry_after_is_heard);
	tcase_add_loop_test(tests, test_backoff, 0, (int)(sizeof(backoff_rows) / sizeof(backoff_rows[0])));
	tcase_add_test(tests, test_rate);
	tcase_add_test(tests, test_groups_wait_for_company);
	tcase_add_test(tests, test_what_the_store_has_not_noted_counts_as_on_its_way);
	tcase_add_test(tests, test_a_sender_that_is_gone_sends_nothing);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
