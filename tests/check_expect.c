/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/proto/expect.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

static struct expect *make(const char *text)
{
	struct error err;
	struct expect *expect = expect_new(text, &err);

	ck_assert_msg(expect != NULL, "%s: %s", text, err.text);
	return expect;
}

/* What of `data` matches, with what came so far; "more": not settled; "none"; "hard". */
static const struct {
	const char *expression;
	const char *data;
	const char *now;   /* up to the match's end, if more may come */
	const char *final; /* the same if nothing will */
} searches[] = {
	/* settled at once */
	{ "^220", "220", "220", "220" },
	{ "^220", "220 mx ready\r\n", "220", "220" },
	{ "^220", "x220", "none", "none" },
	{ "^220", "x\r\n220", "x\r\n220", "x\r\n220" },
	{ "^220", "x\n220", "x\n220", "x\n220" },
	{ "^220", "22", "none", "none" },
	{ "\\A220", "x\r\n220", "none", "none" },
	{ "OK.*STARTTLS", "* OK [CAPABILITY STARTTLS] ready\r\n", "* OK [CAPABILITY STARTTLS",
	  "* OK [CAPABILITY STARTTLS" },
	{ "(?s)A.*?C", "A\r\nBC", "A\r\nBC", "A\r\nBC" },
	{ "\\x00\\xff", "\xff", "none", "none" },
	{ "\\xff", "a\xff", "a\xff", "a\xff" },
	/* "." and "$" end at a line's end, of any kind */
	{ "^220 .*", "220 mx\r\n", "220 mx", "220 mx" },
	{ "ready$", "ready\r\n", "ready", "ready" },
	{ "ready$", "ready\n", "ready", "ready" },
	{ "ready$", "readying\nready\r", "readying\nready", "readying\nready" },
	/* what could grow is not settled */
	{ "^220 \\S+", "220 mail.exam", "more", "220 mail.exam" },
	{ "^220 \\S+", "220 mail.example.com ", "220 mail.example.com", "220 mail.example.com" },
	{ "ready$", "ready", "more", "ready" },
	{ ".*", "hello", "more", "hello" },
	{ ".*ogin: ", "my login: ", "more", "my login: " },
	{ "(?s).*READY", "READY\r\n", "more", "READY" },
	{ "ok(?!ay)", "ok", "more", "ok" },
	{ "ok(?!ay)", "okay", "none", "none" },
	{ "ok(?!ay)", "oka", "none", "ok" },
	{ "\\bok\\b", "ok", "more", "ok" },
	{ "a|ab", "a", "a", "a" },
	{ "ab|a", "a", "more", "a" },
	/* nothing is nothing */
	{ ".*", "", "none", "none" },
	{ "x*", "a", "", "" },
	/* between CR and LF nothing begins */
	{ "$^", "a\r\nb", "none", "none" },
	{ "^$", "a\r\n\r\n", "a\r\n", "a\r\n" },
	/* not UTF-8 */
	{ "^.$", "\xc3\xa4\n", "none", "none" },
	{ "^\xc3\xa4$", "\xc3\xa4\n", "\xc3\xa4", "\xc3\xa4" },
	/* limits */
	{ "(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n", "hard", "hard" },
};

static void check_outcome(enum expect_outcome outcome, const struct expect_search *search, const char *data,
			  const char *wanted, const char *row)
{
	if (strcmp(wanted, "none") == 0) {
		ck_assert_msg(outcome == EXPECT_NOT_FOUND || outcome == EXPECT_UNSETTLED, "%s", row);
	} else if (strcmp(wanted, "more") == 0) {
		ck_assert_msg(outcome == EXPECT_UNSETTLED, "%s: %d", row, (int)outcome);
	} else if (strcmp(wanted, "hard") == 0) {
		ck_assert_msg(outcome == EXPECT_TOO_HARD, "%s: %d", row, (int)outcome);
	} else {
		ck_assert_msg(outcome == EXPECT_FOUND, "%s: %d", row, (int)outcome);
		ck_assert_msg(expect_search_end(search) == strlen(wanted) &&
				      memcmp(data, wanted, strlen(wanted)) == 0,
			      "%s: %zu", row, expect_search_end(search));
	}
}

START_TEST(finds_the_same_wherever_it_is_cut)
{
	const char *data = searches[_i].data;
	AUTO(string) char *row = mem_printf("%s in \"%s\"", searches[_i].expression, data);
	struct expect *expect = make(searches[_i].expression);
	struct expect_search *whole = expect_search_new(expect);
	struct expect_search *singly = expect_search_new(expect);
	enum expect_outcome outcome = expect_search(whole, data, strlen(data), true);
	enum expect_outcome single = EXPECT_NOT_FOUND;

	check_outcome(outcome, whole, data, searches[_i].now, row);
	for (size_t i = 0; i <= strlen(data) && (single == EXPECT_NOT_FOUND || single == EXPECT_UNSETTLED); i++)
		single = expect_search(singly, data, i, true);
	ck_assert_msg(single == outcome, "%s: singly %d", row, (int)single);
	if (outcome == EXPECT_FOUND)
		ck_assert_uint_eq(expect_search_end(singly), expect_search_end(whole));
	expect_search_free(singly);
	singly = expect_search_new(expect);
	outcome = expect_search(singly, data, strlen(data), false);
	ck_assert_msg(outcome != EXPECT_UNSETTLED, "%s", row);
	check_outcome(outcome, singly, data, searches[_i].final, row);
	expect_search_free(singly);
	expect_search_free(whole);
	expect_free(expect);
}
END_TEST

static const struct {
	const char *expression;
	const char *report;
} mistakes[] = {
	{ "(", "not a regular expression: missing closing parenthesis (at character 2)" },
	{ "ab)", "not a regular expression: unmatched closing parenthesis (at character 3)" },
	{ "[z-a]", "not a regular expression: range out of order in character class (at character 4)" },
	{ "\\C", "not a regular expression: using \\C is disabled by the application (at character 3)" },
	{ "(*UTF)a", "not a regular expression: using UTF is disabled by the application (at character 7)" },
	{ "(?:a{1,60000}){1,60000}", NULL },
};

START_TEST(refuses_what_is_no_expression)
{
	struct error err;

	ck_assert_ptr_null(expect_new(mistakes[_i].expression, &err));
	if (mistakes[_i].report != NULL)
		ck_assert_str_eq(err.text, mistakes[_i].report);
}
END_TEST

START_TEST(refuses_a_long_expression)
{
	struct str text = { 0 };
	struct error err;
	struct expect *expect;

	for (int i = 0; i < 4096; i++)
		str_add_char(&text, 'a');
	expect = make(text.data);
	expect_free(expect);
	str_add_char(&text, 'a');
	ck_assert_ptr_null(expect_new(text.data, &err));
	str_done(&text);
}
END_TEST

START_TEST(tells_groups)
{
	static const char data[] = "* OK mail.example.com IMAP\r\n";
	struct expect *expect = make("(?J)^\\* (?:OK (?<host>\\S+)|BYE (?<host>\\S+)) (?<what>\\w+)(?<none>x)?");
	struct expect_search *search = expect_search_new(expect);
	size_t start;
	size_t bytes;

	ck_assert(expect_has_group(expect, "host") && expect_has_group(expect, "none"));
	ck_assert(!expect_has_group(expect, "hos") && !expect_has_group(expect, ""));
	ck_assert_int_eq(expect_search(search, data, strlen(data), true), EXPECT_FOUND);
	ck_assert(expect_search_group(search, "host", &start, &bytes));
	ck_assert_uint_eq(start, 5);
	ck_assert_uint_eq(bytes, 16);
	ck_assert(expect_search_group(search, "what", &start, &bytes) && start == 22 && bytes == 4);
	ck_assert(!expect_search_group(search, "none", &start, &bytes));
	ck_assert(!expect_search_group(search, "other", &start, &bytes));
	expect_search_free(search);
	expect_free(expect);
}
END_TEST

START_TEST(matches_a_whole_text)
{
	struct expect *expect = make("^Let's Encrypt$");

	ck_assert_int_eq(expect_matches(expect, "Let's Encrypt", 13), EXPECT_FOUND);
	ck_assert_int_eq(expect_matches(expect, "Let's Encrypt!", 14), EXPECT_NOT_FOUND);
	ck_assert_int_eq(expect_matches(expect, "", 0), EXPECT_NOT_FOUND);
	expect_free(expect);
	expect = make("^$");
	ck_assert_int_eq(expect_matches(expect, "", 0), EXPECT_FOUND);
	expect_free(expect);
}
END_TEST

/* Each stays below PCRE2's own limits at any one place, and would take minutes at all of them. */
static const char *const greedy[] = { "(?:a|b)+?c", "a+b", "a*a*a*b", "(a?){50}b", "(?=(a+))\\1b", "(?s)a(?:.*?b){3}" };

START_TEST(gives_up_where_a_peer_makes_it_take_forever)
{
	struct str data = { 0 };
	struct expect *expect = make(greedy[_i]);
	struct expect_search *search = expect_search_new(expect);
	enum expect_outcome outcome;

	for (int i = 0; i < 65535; i++)
		str_add_char(&data, 'a');
	str_add(&data, " bc \nb"); /* what the expression needs is there, or PCRE2 sees at once that it cannot match */
	outcome = expect_search(search, data.data, data.bytes, false);
	ck_assert_int_eq(outcome, EXPECT_TOO_HARD);
	ck_assert_int_eq(expect_search(search, data.data, data.bytes, true), EXPECT_TOO_HARD);
	expect_search_free(search);
	expect_free(expect);
	str_done(&data);
}
END_TEST

/* A long answer that comes in segments is no work, though it is looked at with each. */
START_TEST(does_not_give_up_on_long_answers)
{
	struct str data = { 0 };
	struct expect *expect = make("^END (?<n>\\d+)$");
	struct expect *dotted = make("(?s)^\\* .*END");
	struct expect_search *search = expect_search_new(expect);
	struct expect_search *slow = expect_search_new(dotted);

	for (int i = 0; data.bytes < 65000; i++) {
		str_addf(&data, "* line %d of an answer with words\r\n", i);
		ck_assert_int_eq(expect_search(search, data.data, data.bytes, true), EXPECT_NOT_FOUND);
		if (i % 30 == 0)
			ck_assert_int_eq(expect_search(slow, data.data, data.bytes, true), EXPECT_NOT_FOUND);
	}
	str_add(&data, "END 5\r\n");
	ck_assert_int_eq(expect_search(search, data.data, data.bytes, true), EXPECT_FOUND);
	ck_assert_int_eq(expect_search(slow, data.data, data.bytes, true), EXPECT_UNSETTLED);
	expect_search_free(search);
	expect_search_free(slow);
	expect_free(expect);
	expect_free(dotted);
	str_done(&data);
}
END_TEST

static Suite *expect_suite(void)
{
	Suite *suite = suite_create("expect");
	TCase *tcase = tcase_create("expect");

	tcase_add_loop_test(tcase, finds_the_same_wherever_it_is_cut, 0, ROWS(searches));
	tcase_add_loop_test(tcase, refuses_what_is_no_expression, 0, ROWS(mistakes));
	tcase_add_test(tcase, refuses_a_long_expression);
	tcase_add_test(tcase, tells_groups);
	tcase_add_test(tcase, matches_a_whole_text);
	tcase_add_loop_test(tcase, gives_up_where_a_peer_makes_it_take_forever, 0, ROWS(greedy));
	tcase_add_test(tcase, does_not_give_up_on_long_answers);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(expect_suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
