/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/match.h"
#include "lib/base/mem.h"

static struct label labels[] = { { (char *)"env", (char *)"prod" }, { (char *)"team", (char *)"core" } };

static const struct match_subject shop = {
	.values = {
		[MATCH_TARGET] = "shop", [MATCH_GROUP] = "web", [MATCH_CHECK] = "availability",
		[MATCH_LEVEL] = "critical", [MATCH_REASON] = "connect_refused", [MATCH_EVENT] = "problem",
		[MATCH_LOCATION] = NULL,
	},
	.labels = labels,
	.label_count = 2,
};

struct row {
	const char *what;
	const char *words[5];
	bool holds;
};

static const struct row rows[] = {
	{ "nothing is asked", { NULL }, true },
	{ "the target", { "shop" }, true },
	{ "another target", { "mail" }, false },
	{ "one of two targets", { "mail", "shop" }, true },
	{ "a glob", { "sh*" }, true },
	{ "a star alone", { "*" }, true },
	{ "a star for nothing", { "*shop*" }, true },
	{ "stars that must go back", { "*s*h*op" }, true },
	{ "one character", { "sho?" }, true },
	{ "one too many", { "shop?" }, false },
	{ "a set", { "s[a-h]op" }, true },
	{ "an excluded set", { "s[!a-h]op" }, false },
	{ "a set without end", { "s[hop" }, false },
	{ "a prefix is not enough", { "sho" }, false },
	{ "case counts", { "Shop" }, false },
	{ "an escaped star", { "sho\\*" }, false },
	{ "all keys hold", { "shop", "level=critical", "group=web" }, true },
	{ "one key does not", { "shop", "level=warning" }, false },
	{ "one of several values", { "level=warning,critical" }, true },
	{ "a key twice", { "level=warning", "level=critical" }, true },
	{ "a glob over fixed words", { "reason=connect_*" }, true },
	{ "a label", { "label.env=prod" }, true },
	{ "a label of another value", { "label.env=lab" }, false },
	{ "a label that is not there", { "label.owner=*" }, false },
	{ "two labels", { "label.env=prod", "label.team=c*" }, true },
	{ "nothing has no value", { "location=*" }, false },
};

START_TEST(words_match)
{
	const struct row *row = &rows[_i];
	struct match match = { 0 };
	struct error err = { .text = "" };
	size_t count = 0;

	while (row->words[count] != NULL)
		count++;
	ck_assert_msg(match_from_words(&match, row->words, count, &err), "%s: %s", row->what, err.text);
	ck_assert_msg(match_holds(&match, &shop) == row->holds, "%s", row->what);
	match_done(&match);
	match_done(&match);
}
END_TEST

START_TEST(bad_words)
{
	static const struct {
		const char *word;
		const char *text;
	} bad[] = {
		{ "level=critcal", "unknown level \"critcal\" (did you mean \"critical\"?)" },
		{ "level=CRITICAL", "unknown level \"CRITICAL\" (did you mean \"critical\"?)" },
		{ "reason=connect_refuse", "unknown reason \"connect_refuse\" (did you mean \"connect_refused\"?)" },
		{ "event=xyzzy", "unknown event \"xyzzy\"" },
		{ "gruop=web", "unknown key \"gruop\" (did you mean \"group\"?)" },
		{ "x\x1b=web", "unknown key \"x\\x1b\"" },
		{ "=web", "unknown key \"\"" },
		{ "label=web", "a label is matched by its name: label.NAME" },
		{ "label.=web", "a label is matched by its name: label.NAME" },
		{ "group=", "group: a value is missing" },
		{ "group=web,", "group: a value is missing" },
		{ "label.\n=", "label.\\x0a: a value is missing" },
		{ "", "target: a value is missing" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *words[] = { "shop", bad[i].word };
		struct match match = { 0 };
		struct error err = { .text = "" };

		ck_assert(!match_from_words(&match, words, 2, &err));
		ck_assert_str_eq(err.text, bad[i].text);
		ck_assert_ptr_null(match.terms);
	}
}
END_TEST

START_TEST(exclusions)
{
	struct match match = { 0 };
	struct error err;

	ck_assert(match_add(&match, "group", "web", &err));
	match.without = mem_new(struct match);
	ck_assert_msg(match_holds(&match, &shop), "an empty `not` excludes nothing");
	ck_assert(match_add(match.without, "label.env", "lab", &err));
	ck_assert(match_holds(&match, &shop));
	ck_assert(match_add(match.without, "label.env", "prod", &err));
	ck_assert(!match_holds(&match, &shop));
	ck_assert(match_add(match.without, "level", "warning", &err));
	ck_assert_msg(match_holds(&match, &shop), "all keys of `not` must hold");
	match_done(&match);
}
END_TEST

START_TEST(a_literal_fits_itself)
{
	static const char name[] = "[2001:db8::1]:443";
	const struct match_subject subject = { .values = { [MATCH_TARGET] = name } };
	const struct match_subject other = { .values = { [MATCH_TARGET] = "\xe2\x82\xac" } };
	const struct match_subject star = { .values = { [MATCH_TARGET] = "a*" } };
	const struct match_subject ab = { .values = { [MATCH_TARGET] = "ab" } };
	struct match match = { 0 };
	struct error err;

	ck_assert(match_add(&match, "target", name, &err));
	ck_assert(match_holds(&match, &subject));
	match_done(&match);
	ck_assert(match_add(&match, "target", "?", &err));
	ck_assert_msg(match_holds(&match, &other), "? is a character, not a byte");
	match_done(&match);
	ck_assert(match_add(&match, "target", "a\\*", &err));
	ck_assert(match_holds(&match, &star));
	ck_assert(!match_holds(&match, &ab));
	match_done(&match);
}
END_TEST

/* Exponential if each star were tried again. */
START_TEST(hostile_globs_end)
{
	char text[2001];
	const struct match_subject subject = { .values = { [MATCH_TARGET] = text } };
	struct match match = { 0 };
	struct error err;

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert(match_add(&match, "target", "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", &err));
	ck_assert(!match_holds(&match, &subject));
	match_done(&match);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("match");
	TCase *tcase = tcase_create("match");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_loop_test(tcase, words_match, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(tcase, bad_words);
	tcase_add_test(tcase, exclusions);
	tcase_add_test(tcase, a_literal_fits_itself);
	tcase_add_test(tcase, hostile_globs_end);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
