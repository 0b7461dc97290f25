/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/eval/incident.h"

START_TEST(each_sender_is_told_by_itself)
{
	struct incident *incident = mem_new(struct incident);
	struct told *told;

	ck_assert_ptr_null(incident_told(incident, "mail"));
	for (int i = 0; i < 20; i++) {
		char sender[16];

		snprintf(sender, sizeof(sender), "s%d", i);
		told = incident_tell(incident, sender, LEVEL_WARNING, i);
		ck_assert_str_eq(told->sender, sender);
		ck_assert_ptr_null(told->first_message);
	}
	ck_assert_uint_eq(incident->told_count, 20);
	ck_assert_int_eq(incident_told(incident, "s7")->at_unix_us, 7);
	ck_assert_ptr_null(incident_told(incident, "s"));
	incident_free(incident);
	incident_free(NULL);
}
END_TEST

START_TEST(telling_again_keeps_the_first_message)
{
	struct incident incident = { .target = mem_strdup("shop"), .detail = mem_strdup("reset") };
	struct told *told = incident_tell(&incident, "mail", LEVEL_WARNING, 1);

	told->first_message = mem_strdup("m1");
	told = incident_tell(&incident, "mail", LEVEL_CRITICAL, 2);
	ck_assert_uint_eq(incident.told_count, 1);
	ck_assert_int_eq(told->level, LEVEL_CRITICAL);
	ck_assert_int_eq(told->at_unix_us, 2);
	ck_assert_str_eq(told->first_message, "m1");
	incident_done(&incident);
	ck_assert_ptr_null(incident.target);
	ck_assert_uint_eq(incident.told_count, 0);
	incident_done(&incident);
}
END_TEST

START_TEST(notices_own_their_strings)
{
	struct notice *notice = mem_new(struct notice);

	notice->sender = mem_strdup("mail");
	notice->item = mem_strdup("{}");
	notice_free(notice);
	notice_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("incident");
	TCase *tcase = tcase_create("incident");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, each_sender_is_told_by_itself);
	tcase_add_test(tcase, telling_again_keeps_the_first_message);
	tcase_add_test(tcase, notices_own_their_strings);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
