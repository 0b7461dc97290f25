/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/loader.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

/* Without TLS no prober's domain is asked for. */
static struct tls_domain *const no_domains[1];

static struct config *load(const char *yaml)
{
	char file[] = "/tmp/check_loader.XXXXXX";
	int fd = mkstemp(file);
	const struct config_env env = { 0 };
	struct report report = { 0 };
	struct config *config;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
	close(fd);
	config = config_load(file, &env, &report);
	unlink(file);
	ck_assert_uint_eq(report.mistakes, 0);
	report_done(&report);
	return config;
}

/* "3:14: targets[0].exchange[0].expect: text", a line each. */
static char *report_text(struct report *report)
{
	struct str text = { 0 };

	for (size_t i = 0; i < report->count; i++)
		str_addf(&text, "%s: %s: %s\n", strchr(report->problems[i].where, ':') + 1,
			 report->problems[i].path, report->problems[i].text);
	report_done(report);
	return str_take(&text);
}

START_TEST(gives_each_exchange_one_plan)
{
	struct report report = { 0 };
	struct generation *generation =
		generation_build(load("defaults: {exchange: [{expect: a}]}\n"
				      "targets: ['a:1', 'b:1', {address: 'c:1', exchange: [{expect: b}]},\n"
				      "  {address: 'd:1', exchange: []}, {address: 'e:1', exchange: [{expect: a}]}]\n"),
				 no_domains, 1, NULL, &report);
	const struct exchange_plan *plans[5];

	ck_assert_ptr_nonnull(generation);
	for (int i = 0; i < ROWS(plans); i++)
		plans[i] = generation->assignments[0].plans[generation->watches[i].index].exchange;
	ck_assert_ptr_nonnull(plans[0]);
	ck_assert_ptr_eq(plans[1], plans[0]);
	ck_assert_ptr_nonnull(plans[2]);
	ck_assert_ptr_ne(plans[2], plans[0]);
	ck_assert_ptr_null(plans[3]);
	ck_assert_ptr_eq(plans[4], plans[0]);
	generation_free(generation);
	report_done(&report);
}
END_TEST

/* All of them, each once, at the place where the step was written. */
START_TEST(reports_what_cannot_be_compiled)
{
	static const char yaml[] = "profiles:\n"
				   "  p:\n"
				   "    exchange:\n"
				   "    - expect: \"a\"\n"
				   "    - expect: \"(\"\n"
				   "targets:\n"
				   "- {address: 'a:1', profile: p}\n"
				   "- {address: 'b:1', profile: p}\n"
				   "- {address: 'c:1', exchange: [{send: \"${capture.host}\"}]}\n";
	static const char wanted[] =
		"5:15: profiles.p.exchange[1].expect: not a regular expression: missing closing parenthesis (at "
		"character 2)\n"
		"9:38: targets[2].exchange[0].send: no expect before this has a group (?<host>...)\n";
	struct report report = { 0 };
	struct config *config = load(yaml);
	AUTO(string) char *checked = NULL;
	AUTO(string) char *built = NULL;

	ck_assert(!loader_check_files(config, &report));
	checked = report_text(&report);
	ck_assert_str_eq(checked, wanted);
	report = (struct report){ 0 };
	ck_assert_ptr_null(generation_build(config, no_domains, 1, NULL, &report));
	built = report_text(&report);
	ck_assert_str_eq(built, wanted);
}
END_TEST

START_TEST(another_exchange_is_another_target)
{
	static const char *const yaml[] = {
		"targets: [{address: 'a:1', exchange: [{expect: a}]}, 'b:1']\n",
		"targets: [{address: 'a:1', exchange: [{expect: b}]}, 'b:1']\n",
		"targets: [{address: 'a:1', exchange: [{expect: b}]}, 'b:1']\n# the same\n",
	};
	struct report report = { 0 };
	struct generation *generations[3] = { NULL };

	for (int i = 0; i < ROWS(yaml); i++) {
		generations[i] = generation_build(load(yaml[i]), no_domains, 1, i > 0 ? generations[i - 1] : NULL,
						  &report);
		ck_assert_ptr_nonnull(generations[i]);
	}
	ck_assert_uint_ne(generations[0]->watches[0].id, generations[1]->watches[0].id);
	ck_assert_uint_eq(generations[0]->watches[1].id, generations[1]->watches[1].id);
	ck_assert_uint_eq(generations[1]->summary.changed, 1);
	ck_assert_uint_eq(generations[1]->watches[0].id, generations[2]->watches[0].id);
	ck_assert_uint_eq(generations[2]->summary.changed, 0);
	for (int i = 0; i < ROWS(yaml); i++)
		generation_free(generations[i]);
	report_done(&report);
}
END_TEST

static Suite *loader_suite(void)
{
	Suite *suite = suite_create("loader");
	TCase *tcase = tcase_create("loader");

	tcase_add_test(tcase, gives_each_exchange_one_plan);
	tcase_add_test(tcase, reports_what_cannot_be_compiled);
	tcase_add_test(tcase, another_exchange_is_another_target);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(loader_suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
