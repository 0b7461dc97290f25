/* SPDX-License-Identifier: MIT */
#include "lib/base/str.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

static void reserve(struct str *str, size_t more)
{
	str->data = mem_grow(str->data, &str->capacity, str->bytes + more + 1, 1);
}

void str_done(struct str *str)
{
	free(str->data);
	*str = (struct str){ 0 };
}

void str_clear(struct str *str)
{
	str->bytes = 0;
	if (str->data != NULL)
		str->data[0] = '\0';
}

void str_add(struct str *str, const char *text)
{
	if (text != NULL)
		str_add_bytes(str, text, strlen(text));
}

void str_add_bytes(struct str *str, const void *data, size_t bytes)
{
	if (bytes == 0)
		return;
	reserve(str, bytes);
	memcpy(str->data + str->bytes, data, bytes);
	str->bytes += bytes;
	str->data[str->bytes] = '\0';
}

void str_add_char(struct str *str, char c)
{
	str_add_bytes(str, &c, 1);
}

void str_addf(struct str *str, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	str_vaddf(str, format, args);
	va_end(args);
}

void str_vaddf(struct str *str, const char *format, va_list args)
{
	va_list again;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, args);
	assert(length >= 0);
	reserve(str, (size_t)length);
	vsnprintf(str->data + str->bytes, (size_t)length + 1, format, again);
	va_end(again);
	str->bytes += (size_t)length;
}

char *str_take(struct str *str)
{
	char *text = str->data != NULL ? str->data : mem_alloc(1);

	*str = (struct str){ 0 };
	return text;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t str_utf8(const void *data, size_t bytes, uint32_t *character)
{
	static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = data;
	uint32_t value;
	size_t length;

	if (bytes == 0)
		return 0;
	if (p[0] < 0x80) {
		*character = p[0];
		return 1;
	}
	if ((p[0] & 0xe0) == 0xc0)
		length = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		length = 3;
	else if ((p[0] & 0xf8) == 0xf0)
		length = 4;
	else
		return 0;
	if (bytes < length)
		return 0;
	value = p[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (p[i] & 0x3fu);
	}
	if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*character = value;
	return length;
}

struct range {
	uint32_t first;
	uint32_t last;
};

/* What moves the cursor, turns the direction of writing, breaks a line or cannot be seen. */
static const struct range unfit[] = {
	{ 0x00, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c }, { 0x180e, 0x180e },
	{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },
	{ 0xfffe, 0xffff }, { 0xe0000, 0xe0fff },
};

static bool is_fit(uint32_t character)
{
	for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++)
		if (character >= unfit[i].first && character <= unfit[i].last)
			return false;
	return true;
}

void str_add_clean(struct str *str, const void *data, size_t bytes, size_t max_bytes)
{
	const uint8_t *p = data;
	size_t at = 0;

	while (at < bytes) {
		uint32_t character = 0;
		size_t length = str_utf8(p + at, bytes - at, &character);
		bool fit = length > 0 && is_fit(character);

		if (length == 0)
			length = 1;
		if (at + length > max_bytes) {
			str_add(str, "...");
			return;
		}
		if (fit)
			str_add_bytes(str, p + at, length);
		for (size_t i = 0; !fit && i < length; i++)
			str_addf(str, "\\x%02x", p[at + i]);
		at += length;
	}
}

char *str_clean(const void *data, size_t bytes, size_t max_bytes)
{
	struct str str = { 0 };

	str_add_clean(&str, data, bytes, max_bytes);
	return str_take(&str);
}

bool str_equal(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

enum { NEAREST_MAX = 40 };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many letters must be put in, left out, changed or swapped with their neighbour (optimal string alignment). */
static size_t distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	size_t table[NEAREST_MAX + 1][NEAREST_MAX + 1];

	for (size_t i = 0; i <= a_bytes; i++)
		table[i][0] = i;
	for (size_t j = 0; j <= b_bytes; j++)
		table[0][j] = j;
	for (size_t i = 1; i <= a_bytes; i++) {
		for (size_t j = 1; j <= b_bytes; j++) {
			size_t cost = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;
			size_t best = least(table[i - 1][j], table[i][j - 1]) + 1;

			best = least(best, table[i - 1][j - 1] + cost);
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
				best = least(best, table[i - 2][j - 2] + 1);
			table[i][j] = best;
		}
	}
	return table[a_bytes][b_bytes];
}

const char *str_nearest(const char *word, const char *const *words)
{
	size_t word_bytes = strnlen(word, NEAREST_MAX + 1);
	size_t best = word_bytes / 3 + 1; /* a third of the letters may be wrong, one in a short word */
	const char *nearest = NULL;

	if (word_bytes == 0 || word_bytes > NEAREST_MAX)
		return NULL;
	for (; *words != NULL; words++) {
		size_t bytes = strnlen(*words, NEAREST_MAX + 1);
		size_t far;

		if (bytes > NEAREST_MAX)
			continue;
		far = distance(word, word_bytes, *words, bytes);
		if (far < bytes && (far < best || (far == best && nearest == NULL))) {
			best = far;
			nearest = *words;
		}
	}
	return nearest;
}

void str_hex(const uint8_t *data, size_t bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 0xf];
	}
	out[2 * bytes] = '\0';
}

/* The digit's value, or -1. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_unhex(const char *hex, uint8_t *out, size_t bytes)
{
	if (strnlen(hex, 2 * bytes + 1) != 2 * bytes)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		int high = hex_value(hex[2 * i]);
		int low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool str_add_unhex(struct str *str, const char *hex)
{
	for (hex += strspn(hex, " \t\r\n"); *hex != '\0'; hex += strspn(hex, " \t\r\n")) {
		int high = hex_value(hex[0]);
		int low = high < 0 ? -1 : hex_value(hex[1]);

		if (low < 0)
			return false;
		str_add_char(str, (char)(high << 4 | low));
		hex += 2;
	}
	return true;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void str_add_base64(struct str *str, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	while (bytes > 0) {
		size_t here = least(bytes, 3);
		uint32_t group = (uint32_t)p[0] << 16 | (here > 1 ? (uint32_t)p[1] << 8 : 0) | (here > 2 ? p[2] : 0u);
		char four[4] = { base64_digits[group >> 18], base64_digits[group >> 12 & 63], '=', '=' };

		if (here > 1)
			four[2] = base64_digits[group >> 6 & 63];
		if (here > 2)
			four[3] = base64_digits[group & 63];
		str_add_bytes(str, four, sizeof(four));
		p += here;
		bytes -= here;
	}
}

/* The value of the digits before the padding, or false; four digits give 24 bits. */
static bool base64_group(const char *four, size_t digits, uint32_t *group)
{
	*group = 0;
	for (size_t i = 0; i < 4; i++) {
		const char *digit = i < digits ? strchr(base64_digits, four[i]) : base64_digits;

		if (digit == NULL || *digit == '\0')
			return false;
		*group = *group << 6 | (uint32_t)(digit - base64_digits);
	}
	return true;
}

bool str_unbase64(const char *text, uint8_t *out, size_t capacity, size_t *bytes)
{
	size_t length = strlen(text);
	size_t used = 0;

	if (length % 4 != 0)
		return false;
	for (size_t at = 0; at < length; at += 4) {
		bool last = at + 4 == length;
		size_t digits = last && text[at + 3] == '=' ? (text[at + 2] == '=' ? 2 : 3) : 4;
		uint32_t group;

		if (!base64_group(text + at, digits, &group))
			return false;
		/* Bits that no byte takes must be zero: one text for one value. */
		if ((group & (0xffffffu >> (8 * (digits - 1)))) != 0 || capacity - used < digits - 1)
			return false;
		for (size_t i = 0; i < digits - 1; i++)
			out[used++] = (uint8_t)(group >> (16 - 8 * i));
	}
	*bytes = used;
	return true;
}

/* "4 min 12 s", "4 min". */
static void add_two(struct str *str, int64_t whole, const char *whole_unit, int64_t rest, const char *rest_unit)
{
	str_addf(str, "%lld %s", (long long)whole, whole_unit);
	if (rest > 0)
		str_addf(str, " %lld %s", (long long)rest, rest_unit);
}

/* "1.5 s", "2 s", "12 s": a decimal only where it tells something. */
static void add_tenths(struct str *str, int64_t tenths, const char *unit)
{
	if (tenths < 100 && tenths % 10 != 0)
		str_addf(str, "%lld.%lld %s", (long long)(tenths / 10), (long long)(tenths % 10), unit);
	else
		str_addf(str, "%lld %s", (long long)(tenths / 10), unit);
}

void str_add_duration(struct str *str, int64_t duration_us)
{
	int64_t s;

	if (duration_us < 0) {
		str_add_char(str, '-');
		duration_us = duration_us == INT64_MIN ? INT64_MAX : -duration_us;
	}
	s = duration_us / US_PER_S;
	if (duration_us == 0)
		str_add(str, "0 s");
	else if (duration_us < US_PER_MS)
		str_addf(str, "%lld us", (long long)duration_us);
	else if (duration_us < US_PER_S)
		add_tenths(str, duration_us / (US_PER_MS / 10), "ms");
	else if (s < 60)
		add_tenths(str, duration_us / (US_PER_S / 10), "s");
	else if (s < 3600)
		add_two(str, s / 60, "min", s % 60, "s");
	else if (s < S_PER_DAY)
		add_two(str, s / 3600, "h", s % 3600 / 60, "min");
	else if (s < 7 * S_PER_DAY)
		add_two(str, s / S_PER_DAY, "d", s % S_PER_DAY / 3600, "h");
	else
		str_addf(str, "%lld d", (long long)(s / S_PER_DAY));
}

void str_add_time(struct str *str, int64_t unix_us)
{
	int64_t ms = unix_us / US_PER_MS - (unix_us % US_PER_MS < 0 ? 1 : 0);
	int64_t rest_ms = ms % MS_PER_S + (ms % MS_PER_S < 0 ? MS_PER_S : 0);
	time_t s = (time_t)((ms - rest_ms) / MS_PER_S);
	struct tm tm;

	/* RFC 3339 has four digits for the year; a certificate can claim any. */
	if (gmtime_r(&s, &tm) == NULL || tm.tm_year > 9999 - 1900) {
		str_add(str, "9999-12-31T23:59:59Z");
		return;
	}
	if (tm.tm_year < -1900) {
		str_add(str, "0000-01-01T00:00:00Z");
		return;
	}
	str_addf(str, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec);
	if (rest_ms != 0)
		str_addf(str, ".%03d", (int)rest_ms);
	str_add_char(str, 'Z');
}

uint64_t str_hash(const void *data, size_t bytes, uint64_t seed)
{
	const uint8_t *p = data;
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}
