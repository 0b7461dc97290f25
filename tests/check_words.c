/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/words.h"

/* The order is part of the contract: the worst of two levels is the larger. */
START_TEST(levels_are_ordered)
{
	ck_assert_int_lt(LEVEL_OK, LEVEL_WARNING);
	ck_assert_int_lt(LEVEL_WARNING, LEVEL_UNKNOWN);
	ck_assert_int_lt(LEVEL_UNKNOWN, LEVEL_CRITICAL);
}
END_TEST

START_TEST(every_word_is_read_back)
{
	enum level level = LEVEL_COUNT;
	enum check check = CHECK_COUNT;
	enum phase phase = PHASE_COUNT;
	enum event_kind event = EVENT_COUNT;
	enum reason reason = REASON_COUNT;
	enum starttls starttls = STARTTLS_COUNT;

	for (int i = 0; i < LEVEL_COUNT; i++)
		ck_assert(level_parse(level_name((enum level)i), &level) && (int)level == i);
	for (int i = 0; i < CHECK_COUNT; i++)
		ck_assert(check_parse(check_name((enum check)i), &check) && (int)check == i);
	for (int i = 0; i < PHASE_COUNT; i++)
		ck_assert(phase_parse(phase_name((enum phase)i), &phase) && (int)phase == i);
	for (int i = 0; i < EVENT_COUNT; i++)
		ck_assert(event_parse(event_name((enum event_kind)i), &event) && (int)event == i);
	for (int i = STARTTLS_NONE + 1; i < STARTTLS_COUNT; i++)
		ck_assert(starttls_parse(starttls_name((enum starttls)i), &starttls) && (int)starttls == i);
	for (int i = 0; i < REASON_COUNT; i++)
		ck_assert(reason_parse(reason_name((enum reason)i), &reason) && (int)reason == i);
}
END_TEST

START_TEST(no_table_has_a_hole)
{
	for (int i = 0; i < REASON_COUNT; i++) {
		const char *name = reason_name((enum reason)i);

		ck_assert_ptr_nonnull(name);
		ck_assert_ptr_nonnull(reason_text((enum reason)i));
		for (; *name != '\0'; name++)
			ck_assert(islower((unsigned char)*name) || *name == '_');
	}
	for (int i = 0; i < STATE_COUNT; i++)
		ck_assert_ptr_nonnull(state_name((enum state)i));
	for (int i = 0; i < LEVEL_COUNT; i++)
		ck_assert_ptr_nonnull(level_shout((enum level)i));
}
END_TEST

START_TEST(strange_words_are_refused)
{
	static const char *const words[] = { "", "OK", "Critical", "critical ", "none", NULL };
	enum level level = LEVEL_WARNING;
	enum reason reason = REASON_LATENCY_HIGH;
	enum starttls starttls = STARTTLS_XMPP;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		ck_assert(!level_parse(words[i], &level));
		ck_assert(!reason_parse(words[i], &reason));
		ck_assert(!starttls_parse(words[i], &starttls));
	}
	ck_assert_int_eq(starttls, STARTTLS_XMPP);
	ck_assert_int_eq(level, LEVEL_WARNING);
	ck_assert_int_eq(reason, REASON_LATENCY_HIGH);
}
END_TEST

START_TEST(our_own_troubles)
{
	ck_assert(reason_is_ours(REASON_LOCAL_ERROR));
	ck_assert(reason_is_ours(REASON_OWN_NETWORK));
	ck_assert(reason_is_ours(REASON_BAD_CLOCK));
	ck_assert(!reason_is_ours(REASON_OK));
	ck_assert(!reason_is_ours(REASON_CONNECT_UNREACHABLE));
	ck_assert(!reason_is_ours(REASON_CERT_MISSING));
	ck_assert_str_eq(reason_text(REASON_CONNECT_REFUSED), "connection refused");
	ck_assert_str_eq(level_shout(LEVEL_CRITICAL), "CRITICAL");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("words");
	TCase *tcase = tcase_create("words");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, levels_are_ordered);
	tcase_add_test(tcase, every_word_is_read_back);
	tcase_add_test(tcase, no_table_has_a_hole);
	tcase_add_test(tcase, strange_words_are_refused);
	tcase_add_test(tcase, our_own_troubles);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
