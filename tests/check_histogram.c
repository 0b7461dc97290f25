/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/histogram.h"

START_TEST(an_empty_one_has_no_percentile)
{
	struct histogram histogram = { 0 };

	ck_assert_int_eq(histogram_percentile_us(&histogram, 95), 0);
}
END_TEST

START_TEST(small_values_are_exact)
{
	struct histogram histogram = { 0 };

	for (int i = -3; i < 16; i++)
		histogram_add(&histogram, i);
	ck_assert_uint_eq(histogram.count, 19);
	ck_assert_int_eq(histogram.sum_us, 120);
	ck_assert_int_eq(histogram.max_us, 15);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 0), 0);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 100), 15);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 50), 6); /* the 10th of 0 0 0 0 1 2 3 4 5 6 ... */
}
END_TEST

/* One value and a far larger one: what is told about the first is the edge of its bucket. */
START_TEST(edges_are_within_a_sixteenth)
{
	for (int64_t value_us = 1; value_us < INT64_C(1) << 35; value_us += value_us / 37 + 1) {
		struct histogram histogram = { 0 };
		int64_t told_us;

		histogram_add(&histogram, value_us);
		ck_assert_int_eq(histogram_percentile_us(&histogram, 50), value_us);
		histogram_add(&histogram, INT64_C(1) << 40);
		told_us = histogram_percentile_us(&histogram, 50);
		ck_assert_int_ge(told_us, value_us);
		ck_assert_int_le(told_us - value_us, value_us / 16);
	}
}
END_TEST

START_TEST(every_octave_follows_the_one_before)
{
	for (int bit = 4; bit < 36; bit++) {
		struct histogram histogram = { 0 };
		int64_t edge_us = (INT64_C(1) << bit) - 1;

		histogram_add(&histogram, edge_us);
		histogram_add(&histogram, edge_us + 1);
		ck_assert_int_eq(histogram_percentile_us(&histogram, 50), edge_us);
	}
}
END_TEST

START_TEST(beyond_the_end)
{
	struct histogram histogram = { 0 };

	histogram_add(&histogram, INT64_C(1) << 62);
	ck_assert_uint_eq(histogram.buckets[HISTOGRAM_BUCKETS - 1], 1);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 99), INT64_C(1) << 62);
}
END_TEST

START_TEST(nearest_rank)
{
	struct histogram histogram = { 0 };

	for (int i = 0; i < 99; i++)
		histogram_add(&histogram, 1);
	histogram_add(&histogram, 10);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 99), 1);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 99.1), 10);
	ck_assert_int_eq(histogram_percentile_us(&histogram, 100), 10);
}
END_TEST

START_TEST(merging_is_adding)
{
	struct histogram a = { 0 };
	struct histogram b = { 0 };
	struct histogram both = { 0 };

	for (int64_t value_us = 1; value_us < 1000000; value_us = value_us * 3 + 1) {
		histogram_add(value_us % 2 == 0 ? &a : &b, value_us);
		histogram_add(&both, value_us);
	}
	histogram_merge(&a, &b);
	ck_assert_mem_eq(&a, &both, sizeof(a));
	a.buckets[0] = UINT32_MAX;
	histogram_add(&a, 0);
	ck_assert_uint_eq(a.buckets[0], UINT32_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");
	TCase *tcase = tcase_create("histogram");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, an_empty_one_has_no_percentile);
	tcase_add_test(tcase, small_values_are_exact);
	tcase_add_test(tcase, edges_are_within_a_sixteenth);
	tcase_add_test(tcase, every_octave_follows_the_one_before);
	tcase_add_test(tcase, beyond_the_end);
	tcase_add_test(tcase, nearest_rank);
	tcase_add_test(tcase, merging_is_adding);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
