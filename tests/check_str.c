/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

START_TEST(text_grows)
{
	AUTO(str) struct str str = { 0 };
	AUTO(string) char *taken = NULL;

	str_add(&str, NULL);
	ck_assert_ptr_null(str.data);
	for (int i = 0; i < 1000; i++)
		str_addf(&str, "%d,", i);
	ck_assert_uint_eq(str.bytes, 10 * 2 + 90 * 3 + 900 * 4);
	ck_assert_uint_eq(strlen(str.data), str.bytes);
	str_clear(&str);
	ck_assert_str_eq(str.data, "");
	str_add_bytes(&str, "a\0b", 3);
	ck_assert_uint_eq(str.bytes, 3);
	ck_assert_mem_eq(str.data, "a\0b", 4);
	taken = str_take(&str);
	ck_assert_ptr_null(str.data);
	ck_assert_str_eq(taken, "a");
}
END_TEST

START_TEST(taking_nothing_gives_an_empty_text)
{
	struct str str = { 0 };
	AUTO(string) char *taken = str_take(&str);

	ck_assert_str_eq(taken, "");
}
END_TEST

struct clean_row {
	const char *what;
	const char *in;
	size_t bytes; /* 0 = up to the terminator */
	size_t max_bytes;
	const char *out;
};

static const struct clean_row clean_rows[] = {
	{ "plain", "220 mail.example.com ESMTP", 0, 99, "220 mail.example.com ESMTP" },
	{ "nothing", "", 0, 99, "" },
	{ "letters and signs of UTF-8", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x94", 0, 99,
	  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x94" },
	{ "C0", "a\r\n\tb\x1b[31m", 0, 99, "a\\x0d\\x0a\\x09b\\x1b[31m" },
	{ "NUL", "a\0b", 3, 99, "a\\x00b" },
	{ "DEL", "a\x7f", 0, 99, "a\\x7f" },
	{ "C1, first", "\xc2\x80", 0, 99, "\\xc2\\x80" },
	{ "C1, CSI", "\xc2\x9b", 0, 99, "\\xc2\\x9b" },
	{ "C1, last", "\xc2\x9f", 0, 99, "\\xc2\\x9f" },
	{ "behind C1", "\xc2\xa0", 0, 99, "\xc2\xa0" },
	{ "soft hyphen", "\xc2\xad", 0, 99, "\\xc2\\xad" },
	{ "U+061C", "\xd8\x9c", 0, 99, "\\xd8\\x9c" },
	{ "before U+200B", "\xe2\x80\x8a", 0, 99, "\xe2\x80\x8a" },
	{ "U+200B", "\xe2\x80\x8b", 0, 99, "\\xe2\\x80\\x8b" },
	{ "U+200F", "\xe2\x80\x8f", 0, 99, "\\xe2\\x80\\x8f" },
	{ "U+2010 is a hyphen", "\xe2\x80\x90", 0, 99, "\xe2\x80\x90" },
	{ "U+2028 breaks lines", "\xe2\x80\xa8", 0, 99, "\\xe2\\x80\\xa8" },
	{ "U+202A", "\xe2\x80\xaa", 0, 99, "\\xe2\\x80\\xaa" },
	{ "U+202E", "\xe2\x80\xae", 0, 99, "\\xe2\\x80\\xae" },
	{ "U+202F", "\xe2\x80\xaf", 0, 99, "\xe2\x80\xaf" },
	{ "U+2066", "\xe2\x81\xa6", 0, 99, "\\xe2\\x81\\xa6" },
	{ "U+2069", "\xe2\x81\xa9", 0, 99, "\\xe2\\x81\\xa9" },
	{ "U+FEFF", "\xef\xbb\xbf", 0, 99, "\\xef\\xbb\\xbf" },
	{ "tags", "\xf3\xa0\x81\xa1", 0, 99, "\\xf3\\xa0\\x81\\xa1" },
	{ "lone continuation", "a\x80z", 0, 99, "a\\x80z" },
	{ "never valid", "\xfe\xff\xc0\xc1\xf5", 0, 99, "\\xfe\\xff\\xc0\\xc1\\xf5" },
	{ "overlong slash, two bytes", "\xc0\xaf", 0, 99, "\\xc0\\xaf" },
	{ "overlong slash, three bytes", "\xe0\x80\xaf", 0, 99, "\\xe0\\x80\\xaf" },
	{ "overlong slash, four bytes", "\xf0\x80\x80\xaf", 0, 99, "\\xf0\\x80\\x80\\xaf" },
	{ "surrogate", "\xed\xa0\x80", 0, 99, "\\xed\\xa0\\x80" },
	{ "beyond U+10FFFF", "\xf4\x90\x80\x80", 0, 99, "\\xf4\\x90\\x80\\x80" },
	{ "cut short by the end", "a\xe2\x82", 0, 99, "a\\xe2\\x82" },
	{ "cut short by a letter", "\xe2\x82z", 0, 99, "\\xe2\\x82z" },
	{ "exactly as much as is shown", "12345", 0, 5, "12345" },
	{ "one more than is shown", "123456", 0, 5, "12345..." },
	{ "nothing is shown", "1", 0, 0, "..." },
	{ "no half characters", "1234\xe2\x82\xac", 0, 5, "1234..." },
	{ "no half escapes", "12\xe2\x80\xae", 0, 4, "12..." },
	{ "the rest is not looked at", "ab\xff\xff", 0, 2, "ab..." },
};

START_TEST(strangers_are_cleaned)
{
	const struct clean_row *row = &clean_rows[_i];
	size_t bytes = row->bytes != 0 ? row->bytes : strlen(row->in);
	/* On the heap and exactly as long, so that ASan sees a byte read too far. */
	char *in = malloc(bytes > 0 ? bytes : 1);
	AUTO(string) char *out = NULL;

	memcpy(in, row->in, bytes);
	out = str_clean(in, bytes, row->max_bytes);
	free(in);
	ck_assert_msg(strcmp(out, row->out) == 0, "%s: got \"%s\", want \"%s\"", row->what, out, row->out);
}
END_TEST

START_TEST(what_is_clean_stays)
{
	AUTO(str) struct str all = { 0 };
	AUTO(string) char *once = NULL;
	AUTO(string) char *twice = NULL;

	for (int c = 0; c < 256; c++)
		str_add_char(&all, (char)c);
	once = str_clean(all.data, all.bytes, all.bytes);
	twice = str_clean(once, strlen(once), strlen(once));
	ck_assert_str_eq(once, twice);
}
END_TEST

START_TEST(compares)
{
	ck_assert(str_equal(NULL, NULL));
	ck_assert(!str_equal(NULL, ""));
	ck_assert(!str_equal("a", NULL));
	ck_assert(str_equal("a", "a"));
	ck_assert(str_starts("label.env", "label."));
	ck_assert(!str_starts("lab", "label."));
	ck_assert(str_starts("a", ""));
}
END_TEST

START_TEST(nearest_word)
{
	static const char *const keys[] = { "interval", "timeout", "tls", "name", "address", "group", NULL };
	static const struct {
		const char *word;
		const char *nearest;
	} rows[] = {
		{ "intervall", "interval" }, { "INTERVAL", "interval" }, { "inetrval", "interval" }, { "tiemout", "timeout" },
		{ "adress", "address" }, { "tsl", "tls" }, { "gruop", "group" }, { "names", "name" },
		{ "colour", NULL }, { "", NULL }, { "x", NULL }, { "zzz", NULL },
		{ "a-word-that-is-far-too-long-to-be-any-of-them", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *nearest = str_nearest(rows[i].word, keys);

		ck_assert_msg(str_equal(nearest, rows[i].nearest), "%s: %s", rows[i].word, nearest != NULL ? nearest : "-");
	}
}
END_TEST

START_TEST(hex)
{
	static const uint8_t data[] = { 0x00, 0x9f, 0xa0, 0xff };
	struct str spaced = { 0 };
	uint8_t back[4];
	char text[9];

	str_hex(data, sizeof(data), text);
	ck_assert_str_eq(text, "009fa0ff");
	ck_assert(str_unhex("009FA0ff", back, sizeof(back)));
	ck_assert_mem_eq(back, data, sizeof(data));
	ck_assert(!str_unhex("009fa0f", back, sizeof(back)));
	ck_assert(!str_unhex("009fa0ff00", back, sizeof(back)));
	ck_assert(!str_unhex("009fa0fg", back, sizeof(back)));
	ck_assert(!str_unhex(" 09fa0ff", back, sizeof(back)));
	ck_assert(str_add_unhex(&spaced, " 00 9FA0\n\tff ") && spaced.bytes == 4);
	ck_assert_mem_eq(spaced.data, "\0\x9f\xa0\xff", 4);
	ck_assert(str_add_unhex(&spaced, "") && str_add_unhex(&spaced, " ") && spaced.bytes == 4);
	ck_assert(!str_add_unhex(&spaced, "0") && !str_add_unhex(&spaced, "0 0") && !str_add_unhex(&spaced, "0x00"));
	str_done(&spaced);
}
END_TEST

/* RFC 4648, section 10, and bytes that need the last two digits. */
START_TEST(base64)
{
	static const struct {
		const char *plain;
		const char *coded;
	} rows[] = {
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbf", "+/+/" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(str) struct str coded = { 0 };
		uint8_t back[8];
		size_t bytes = 99;

		str_add_base64(&coded, rows[i].plain, strlen(rows[i].plain));
		ck_assert_str_eq(coded.data != NULL ? coded.data : "", rows[i].coded);
		ck_assert(str_unbase64(rows[i].coded, back, sizeof(back), &bytes));
		ck_assert_uint_eq(bytes, strlen(rows[i].plain));
		ck_assert_mem_eq(back, rows[i].plain, bytes);
	}
}
END_TEST

START_TEST(bad_base64)
{
	static const char *const rows[] = { "Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zh==", "Zm9=", "Zm9v\n",
					    "Zm 9v", "Zg==Zg==", "Zm9-", "Zm9_", "Zm8=\xff" };
	uint8_t out[8];
	size_t bytes;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(!str_unbase64(rows[i], out, sizeof(out), &bytes), "%s", rows[i]);
	ck_assert(str_unbase64("Zm9v", out, 3, &bytes));
	ck_assert(!str_unbase64("Zm9v", out, 2, &bytes));
	ck_assert(!str_unbase64("Zg==", out, 0, &bytes));
}
END_TEST

START_TEST(durations)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ 0, "0 s" }, { 1, "1 us" }, { 999, "999 us" }, { 1000, "1 ms" }, { 1500, "1.5 ms" },
		{ 9990, "9.9 ms" }, { 250 * US_PER_MS, "250 ms" }, { 999999, "999 ms" }, { US_PER_S, "1 s" },
		{ 1500 * US_PER_MS, "1.5 s" }, { 12300 * US_PER_MS, "12 s" }, { 59 * US_PER_S, "59 s" },
		{ 60 * US_PER_S, "1 min" }, { 252 * US_PER_S, "4 min 12 s" }, { 3599 * US_PER_S, "59 min 59 s" },
		{ 3600 * US_PER_S, "1 h" }, { 7500 * US_PER_S, "2 h 5 min" }, { 7559 * US_PER_S, "2 h 5 min" },
		{ S_PER_DAY * US_PER_S, "1 d" }, { (S_PER_DAY + 7200) * US_PER_S, "1 d 2 h" },
		{ (12 * S_PER_DAY + 7200) * US_PER_S, "12 d" }, { -252 * US_PER_S, "-4 min 12 s" },
		{ INT64_MIN, "-106751991 d" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(str) struct str text = { 0 };

		str_add_duration(&text, rows[i].us);
		ck_assert_str_eq(text.data, rows[i].text);
	}
}
END_TEST

START_TEST(times)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00Z" }, { INT64_C(1795455509000000), "2026-11-23T17:38:29Z" },
		{ INT64_C(1795455509007900), "2026-11-23T17:38:29.007Z" }, { -1, "1969-12-31T23:59:59.999Z" },
		{ -US_PER_S, "1969-12-31T23:59:59Z" }, { INT64_C(253402300799000000), "9999-12-31T23:59:59Z" },
		{ INT64_MAX, "9999-12-31T23:59:59Z" }, { INT64_MIN, "0000-01-01T00:00:00Z" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(str) struct str text = { 0 };

		str_add_time(&text, rows[i].us);
		ck_assert_str_eq(text.data, rows[i].text);
	}
}
END_TEST

START_TEST(hashes)
{
	ck_assert_uint_eq(str_hash("", 0, 0), UINT64_C(0xcbf29ce484222325));
	ck_assert_uint_eq(str_hash("foobar", 6, 0), UINT64_C(0x85944171f73967e8));
	ck_assert_uint_ne(str_hash("foobar", 6, 1), str_hash("foobar", 6, 0));
}
END_TEST

START_TEST(errors_are_cut_between_characters)
{
	struct error err;
	char long_text[600];
	char out[12];

	memset(long_text, 'a', sizeof(long_text));
	memcpy(long_text + 510, "\xe2\x82\xac", 3);
	long_text[599] = '\0';
	ck_assert(!error_set(&err, "%s", long_text));
	ck_assert_uint_eq(strlen(err.text), 510);
	ck_assert(!error_where(&err, "file:1:2", "not %s", "there"));
	error_print(&err, long_text, sizeof(long_text));
	ck_assert_str_eq(long_text, "file:1:2: not there");
	ck_assert(!error_set(&err, "12345678\xf0\x9f\x94\x94"));
	ck_assert_str_eq(err.where, "");
	error_print(&err, out, sizeof(out));
	ck_assert_str_eq(out, "12345678");
	ck_assert(!error_set(NULL, "nobody listens"));
}
END_TEST

START_TEST(memory_grows_zeroed)
{
	size_t capacity = 0;
	int *numbers = mem_grow(NULL, &capacity, 0, sizeof(*numbers));

	ck_assert_uint_ge(capacity, 1);
	for (size_t i = 0; i < capacity; i++)
		numbers[i] = 7;
	numbers = mem_grow(numbers, &capacity, 1000, sizeof(*numbers));
	ck_assert_uint_ge(capacity, 1000);
	ck_assert_int_eq(numbers[0], 7);
	ck_assert_int_eq(numbers[capacity - 1], 0);
	free(numbers);
	free(mem_array(0, 8));
	mem_wipe_free(NULL);
	mem_wipe_free(mem_printf("%s-%d", "secret", 1));
	ck_assert_ptr_null(mem_strdup(NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("str");
	TCase *tcase = tcase_create("str");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, text_grows);
	tcase_add_test(tcase, taking_nothing_gives_an_empty_text);
	tcase_add_loop_test(tcase, strangers_are_cleaned, 0, (int)(sizeof(clean_rows) / sizeof(clean_rows[0])));
	tcase_add_test(tcase, what_is_clean_stays);
	tcase_add_test(tcase, compares);
	tcase_add_test(tcase, nearest_word);
	tcase_add_test(tcase, hex);
	tcase_add_test(tcase, base64);
	tcase_add_test(tcase, bad_base64);
	tcase_add_test(tcase, durations);
	tcase_add_test(tcase, times);
	tcase_add_test(tcase, hashes);
	tcase_add_test(tcase, errors_are_cut_between_characters);
	tcase_add_test(tcase, memory_grows_zeroed);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
