/* SPDX-License-Identifier: MIT */
/*
 * json - a writer that appends to a str, and a reader with caps (jansson behind it).
 * Writer: commas are its own business; text is escaped and made valid UTF-8. Nothing checks that a document is whole.
 * Reader: refuses duplicate keys, more than JSON_MAX_DEPTH levels, trailing text. Values are lent by the document.
 */
#ifndef PORTBELL_BASE_JSON_H
#define PORTBELL_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/str.h"

/* libjansson has functions of the same names: one of ours that is visible to it would be called in place of its own. */
#pragma GCC visibility push(hidden)

enum { JSON_MAX_DEPTH = 32 };

struct json_writer {
	struct str *out;
	bool comma; /* a value stands before, in the same object or array */
};

void json_start(struct json_writer *w, struct str *out);
void json_object(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, const char *text); /* NULL writes null */
void json_int(struct json_writer *w, int64_t value);
void json_seconds(struct json_writer *w, int64_t value_us); /* microseconds as seconds: 0.000123 */
void json_bool(struct json_writer *w, bool value);
void json_null(struct json_writer *w);
void json_time(struct json_writer *w, int64_t unix_us); /* RFC 3339, or null for 0 */
void json_raw(struct json_writer *w, const char *json); /* a whole value, written elsewhere */
/* Key and value in one. */
void json_key_string(struct json_writer *w, const char *key, const char *text);
void json_key_int(struct json_writer *w, const char *key, int64_t value);
void json_key_seconds(struct json_writer *w, const char *key, int64_t value_us);
void json_key_bool(struct json_writer *w, const char *key, bool value);
void json_key_time(struct json_writer *w, const char *key, int64_t unix_us);

struct json; /* a value in a parsed document */
struct json *json_parse(const char *text, size_t bytes, struct error *err); /* the root; json_free() it */
void json_free(struct json *root); /* NULL is fine */
/* All accept NULL and the wrong type, and answer with nothing: NULL, the fallback, 0. */
const struct json *json_get(const struct json *object, const char *key);
const char *json_get_string(const struct json *object, const char *key); /* NULL if not a string */
int64_t json_get_int(const struct json *object, const char *key, int64_t fallback);
double json_get_number(const struct json *object, const char *key, double fallback);
bool json_get_bool(const struct json *object, const char *key, bool fallback);
size_t json_size(const struct json *array);
const struct json *json_at(const struct json *array, size_t index);
const char *json_text(const struct json *value); /* of a string, else NULL */
/* Walks an object: returns the next key after `iter` state; start with *iter = NULL, ends with NULL. */
const char *json_next(const struct json *object, void **iter, const struct json **value);
/* Any value as compact text; the caller frees. */
char *json_dump(const struct json *value);

#pragma GCC visibility pop

#endif
