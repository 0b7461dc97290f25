/* SPDX-License-Identifier: MIT */
/*
 * str - growing text, and what makes a stranger's bytes fit to be shown.
 * Owns: a struct str owns `data`, which is NULL or terminated; str_take() hands it to the caller (never NULL).
 */
#ifndef PORTBELL_BASE_STR_H
#define PORTBELL_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
	char *data;
	size_t bytes; /* without the terminator */
	size_t capacity;
};

void str_done(struct str *str);
void str_clear(struct str *str); /* keeps the memory */
void str_add(struct str *str, const char *text); /* NULL adds nothing */
void str_add_bytes(struct str *str, const void *data, size_t bytes);
void str_add_char(struct str *str, char c);
void str_addf(struct str *str, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_vaddf(struct str *str, const char *format, va_list args);
char *str_take(struct str *str);

static inline void str_auto(struct str *str)
{
	str_done(str);
}

/*
 * A stranger's bytes as printable UTF-8: controls (C0, DEL, C1), bidi and zero-width marks, and what is not UTF-8
 * become \xNN; at most `max_bytes` of input are shown, "..." tells that there was more.
 */
void str_add_clean(struct str *str, const void *data, size_t bytes, size_t max_bytes);
char *str_clean(const void *data, size_t bytes, size_t max_bytes); /* the caller frees */

/* How many bytes the well-formed UTF-8 character at `data` has, and which it is; 0 if there is none. */
size_t str_utf8(const void *data, size_t bytes, uint32_t *character);

bool str_equal(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *text, const char *prefix);
/* The word of `words` (ended by NULL) nearest to `word`, or NULL if none is near enough to be meant. */
const char *str_nearest(const char *word, const char *const *words);

/* Binary and text: hex is lower case; base64 is RFC 4648 section 4 with padding. `out` must hold the result. */
void str_hex(const uint8_t *data, size_t bytes, char *out); /* 2 x bytes + 1 */
bool str_unhex(const char *hex, uint8_t *out, size_t bytes); /* exactly `bytes` */
bool str_add_unhex(struct str *str, const char *hex); /* bytes of two digits, blanks between them; false: not that */
void str_add_base64(struct str *str, const void *data, size_t bytes);
bool str_unbase64(const char *text, uint8_t *out, size_t capacity, size_t *bytes);

/* Durations for people: "250 ms", "4 min 12 s", "2 h 5 min", "12 d"; times as RFC 3339 UTC with milliseconds or none. */
void str_add_duration(struct str *str, int64_t duration_us);
void str_add_time(struct str *str, int64_t unix_us); /* 2026-11-23T17:38:29Z */
uint64_t str_hash(const void *data, size_t bytes, uint64_t seed); /* FNV-1a 64, not for hostile keys */

#endif
