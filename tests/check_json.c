/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/mem.h"

START_TEST(a_document_is_written)
{
	AUTO(str) struct str out = { 0 };
	struct json_writer w;

	json_start(&w, &out);
	json_object(&w);
	json_key_string(&w, "name", "shop \"a\"\\\n\t\x01");
	json_key_string(&w, "group", NULL);
	json_key_int(&w, "count", INT64_MIN);
	json_key_seconds(&w, "latency", 123);
	json_key_bool(&w, "up", true);
	json_key_time(&w, "since", INT64_C(1795455509000000));
	json_key_time(&w, "until", 0);
	json_key(&w, "list");
	json_array(&w);
	json_array(&w);
	json_array_end(&w);
	json_object(&w);
	json_object_end(&w);
	json_int(&w, 1);
	json_raw(&w, "[2]");
	json_bool(&w, false);
	json_array_end(&w);
	json_key(&w, "last");
	json_null(&w);
	json_object_end(&w);
	ck_assert_str_eq(out.data, "{\"name\":\"shop \\\"a\\\"\\\\\\n\\t\\u0001\",\"group\":null,"
				   "\"count\":-9223372036854775808,\"latency\":0.000123,\"up\":true,"
				   "\"since\":\"2026-11-23T17:38:29Z\",\"until\":null,"
				   "\"list\":[[],{},1,[2],false],\"last\":null}");
}
END_TEST

START_TEST(seconds_are_exact)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ 0, "0" }, { 1, "0.000001" }, { 1500000, "1.5" }, { 2000000, "2" }, { -1, "-0.000001" },
		{ -2500000, "-2.5" }, { INT64_MAX, "9223372036854.775807" }, { INT64_MIN, "-9223372036854.775808" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(str) struct str out = { 0 };
		struct json_writer w;

		json_start(&w, &out);
		json_seconds(&w, rows[i].us);
		ck_assert_str_eq(out.data, rows[i].text);
	}
}
END_TEST

START_TEST(what_is_no_text_becomes_text)
{
	AUTO(str) struct str out = { 0 };
	struct json_writer w;
	struct json *root;
	struct error err;

	json_start(&w, &out);
	json_array(&w);
	json_string(&w, "a\xff\xc0\xaf\xed\xa0\x80z\x7f");
	json_string(&w, "\xe2\x82\xac");
	json_array_end(&w);
	root = json_parse(out.data, out.bytes, &err);
	ck_assert_ptr_nonnull(root);
	ck_assert_str_eq(json_text(json_at(root, 0)),
			 "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\x7f");
	ck_assert_str_eq(json_text(json_at(root, 1)), "\xe2\x82\xac");
	json_free(root);
}
END_TEST

START_TEST(a_document_is_read)
{
	static const char text[] = "{\"s\": \"t\", \"i\": -3, \"r\": 1.5, \"b\": true, \"n\": null, \"a\": [1, \"x\"]}";
	AUTO(string) char *dump = NULL;
	const struct json *array;
	struct json *root;
	struct error err;

	root = json_parse(text, strlen(text), &err);
	ck_assert_ptr_nonnull(root);
	ck_assert_str_eq(json_get_string(root, "s"), "t");
	ck_assert_ptr_null(json_get_string(root, "i"));
	ck_assert_int_eq(json_get_int(root, "i", 7), -3);
	ck_assert_int_eq(json_get_int(root, "r", 7), 7);
	ck_assert_int_eq(json_get_int(root, "none", 7), 7);
	ck_assert(json_get_number(root, "r", 0) > 1.4);
	ck_assert(json_get_number(root, "i", 0) < -2.9);
	ck_assert(json_get_bool(root, "b", false));
	ck_assert(json_get_bool(root, "n", true));
	array = json_get(root, "a");
	ck_assert_uint_eq(json_size(array), 2);
	ck_assert_str_eq(json_text(json_at(array, 1)), "x");
	ck_assert_ptr_null(json_at(array, 2));
	dump = json_dump(array);
	ck_assert_str_eq(dump, "[1,\"x\"]");
	json_free(root);
}
END_TEST

START_TEST(nothing_answers_with_nothing)
{
	void *iter = NULL;
	const struct json *value = NULL;

	ck_assert_ptr_null(json_get(NULL, "a"));
	ck_assert_ptr_null(json_get_string(NULL, "a"));
	ck_assert_int_eq(json_get_int(NULL, "a", 5), 5);
	ck_assert_uint_eq(json_size(NULL), 0);
	ck_assert_ptr_null(json_at(NULL, 0));
	ck_assert_ptr_null(json_text(NULL));
	ck_assert_ptr_null(json_next(NULL, &iter, &value));
	json_free(NULL);
}
END_TEST

START_TEST(an_object_is_walked)
{
	static const char text[] = "{\"a\": 1, \"b\": 2, \"c\": 3}";
	struct error err;
	struct json *root = json_parse(text, strlen(text), &err);
	const struct json *value = NULL;
	void *iter = NULL;
	const char *key;
	char seen[8] = "";

	while ((key = json_next(root, &iter, &value)) != NULL) {
		ck_assert_ptr_nonnull(value);
		strcat(seen, key);
	}
	ck_assert_str_eq(seen, "abc");
	json_free(root);
}
END_TEST

START_TEST(bad_documents)
{
	static const char *const rows[] = {
		"", " ", "{", "[1,]", "{\"a\":1,\"a\":2}", "{} x", "{}{}", "[1] ]", "\"\xff\"", "\"\\ud800\"", "nul", "'a'",
		"{a:1}", "[\"\n\"]", "\"\\u0000\"", "01",
	};
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(json_parse(rows[i], strlen(rows[i]), &err) == NULL, "%s", rows[i]);
		ck_assert_str_ne(err.text, "");
	}
}
END_TEST

static bool nested_is_read(int depth)
{
	AUTO(str) struct str text = { 0 };
	struct error err;
	struct json *root;

	for (int i = 0; i < depth; i++)
		str_add(&text, i % 2 == 0 ? "[\"]}{[\\\"[\"," : "{\"a\":");
	str_add(&text, "1");
	for (int i = depth - 1; i >= 0; i--)
		str_add_char(&text, i % 2 == 0 ? ']' : '}');
	root = json_parse(text.data, text.bytes, &err);
	json_free(root);
	return root != NULL;
}

START_TEST(depth_is_capped)
{
	ck_assert(nested_is_read(1));
	ck_assert(nested_is_read(JSON_MAX_DEPTH));
	ck_assert(!nested_is_read(JSON_MAX_DEPTH + 1));
	ck_assert(!nested_is_read(100000));
}
END_TEST

/* Whole documents only: no prefix of one is taken for one. */
START_TEST(no_prefix_is_whole)
{
	static const char text[] = "{\"a\": [1, {\"b\": \"\\u20ac \\\" ]\"}, null], \"c\": -1.5e3}";
	struct error err;

	for (size_t bytes = 0; bytes < strlen(text); bytes++) {
		char *exact = malloc(bytes > 0 ? bytes : 1);

		memcpy(exact, text, bytes);
		ck_assert_ptr_null(json_parse(exact, bytes, &err));
		free(exact);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tcase = tcase_create("json");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, a_document_is_written);
	tcase_add_test(tcase, seconds_are_exact);
	tcase_add_test(tcase, what_is_no_text_becomes_text);
	tcase_add_test(tcase, a_document_is_read);
	tcase_add_test(tcase, nothing_answers_with_nothing);
	tcase_add_test(tcase, an_object_is_walked);
	tcase_add_test(tcase, bad_documents);
	tcase_add_test(tcase, depth_is_capped);
	tcase_add_test(tcase, no_prefix_is_whole);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
