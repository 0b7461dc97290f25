/* SPDX-License-Identifier: MIT */
#include "lib/base/json.h"

/* jansson declares functions of these names, which we do not use; json.h tells why they do not meet when linking. */
#define json_array jansson_array
#define json_null jansson_null
#define json_object jansson_object
#define json_string jansson_string
#include <jansson.h>
#undef json_array
#undef json_null
#undef json_object
#undef json_string

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

void json_start(struct json_writer *w, struct str *out)
{
	w->out = out;
	w->comma = false;
}

/* Before each value: the comma that it needs; after it the next one does. */
static void begin_value(struct json_writer *w)
{
	if (w->comma)
		str_add_char(w->out, ',');
	w->comma = true;
}

static void open_with(struct json_writer *w, char bracket)
{
	begin_value(w);
	str_add_char(w->out, bracket);
	w->comma = false;
}

static void close_with(struct json_writer *w, char bracket)
{
	str_add_char(w->out, bracket);
	w->comma = true;
}

void json_object(struct json_writer *w)
{
	open_with(w, '{');
}

void json_object_end(struct json_writer *w)
{
	close_with(w, '}');
}

void json_array(struct json_writer *w)
{
	open_with(w, '[');
}

void json_array_end(struct json_writer *w)
{
	close_with(w, ']');
}

static void add_quoted(struct str *out, const char *text)
{
	size_t bytes = strlen(text);
	size_t at = 0;

	str_add_char(out, '"');
	while (at < bytes) {
		uint32_t character;
		size_t length = str_utf8(text + at, bytes - at, &character);

		if (length == 0)
			str_add(out, "\xef\xbf\xbd"); /* U+FFFD stands for a byte that is no text */
		else if (character == '"' || character == '\\')
			str_addf(out, "\\%c", text[at]);
		else if (character == '\n')
			str_add(out, "\\n");
		else if (character == '\t')
			str_add(out, "\\t");
		else if (character < 0x20 || character == 0x7f)
			str_addf(out, "\\u%04x", character);
		else
			str_add_bytes(out, text + at, length);
		at += length > 0 ? length : 1;
	}
	str_add_char(out, '"');
}

void json_key(struct json_writer *w, const char *key)
{
	begin_value(w);
	add_quoted(w->out, key);
	str_add_char(w->out, ':');
	w->comma = false;
}

void json_string(struct json_writer *w, const char *text)
{
	if (text == NULL) {
		json_null(w);
		return;
	}
	begin_value(w);
	add_quoted(w->out, text);
}

void json_int(struct json_writer *w, int64_t value)
{
	begin_value(w);
	str_addf(w->out, "%lld", (long long)value);
}

void json_seconds(struct json_writer *w, int64_t value_us)
{
	uint64_t us = value_us < 0 ? -(uint64_t)value_us : (uint64_t)value_us;
	char fraction[8];
	size_t digits = 6;

	begin_value(w);
	snprintf(fraction, sizeof(fraction), "%06u", (unsigned int)(us % 1000000));
	while (digits > 0 && fraction[digits - 1] == '0')
		digits--;
	str_addf(w->out, "%s%llu", value_us < 0 ? "-" : "", (unsigned long long)(us / 1000000));
	if (digits > 0)
		str_addf(w->out, ".%.*s", (int)digits, fraction);
}

void json_bool(struct json_writer *w, bool value)
{
	json_raw(w, value ? "true" : "false");
}

void json_null(struct json_writer *w)
{
	json_raw(w, "null");
}

void json_time(struct json_writer *w, int64_t unix_us)
{
	if (unix_us == 0) {
		json_null(w);
		return;
	}
	begin_value(w);
	str_add_char(w->out, '"');
	str_add_time(w->out, unix_us);
	str_add_char(w->out, '"');
}

void json_raw(struct json_writer *w, const char *json)
{
	begin_value(w);
	str_add(w->out, json);
}

void json_key_string(struct json_writer *w, const char *key, const char *text)
{
	json_key(w, key);
	json_string(w, text);
}

void json_key_int(struct json_writer *w, const char *key, int64_t value)
{
	json_key(w, key);
	json_int(w, value);
}

void json_key_seconds(struct json_writer *w, const char *key, int64_t value_us)
{
	json_key(w, key);
	json_seconds(w, value_us);
}

void json_key_bool(struct json_writer *w, const char *key, bool value)
{
	json_key(w, key);
	json_bool(w, value);
}

void json_key_time(struct json_writer *w, const char *key, int64_t unix_us)
{
	json_key(w, key);
	json_time(w, unix_us);
}

/* A struct json is jansson's value under another name; it is const for our callers, who only read. */
static json_t *value_of(const struct json *json)
{
	return (json_t *)(void *)(uintptr_t)json;
}

static const struct json *json_of(json_t *value)
{
	return (const struct json *)value;
}

/* jansson's own limit is far above ours, and it recurses: look before it reads. Strings are skipped. */
static bool depth_is_fine(const char *text, size_t bytes)
{
	bool quoted = false;
	int depth = 0;

	for (size_t i = 0; i < bytes; i++) {
		char c = text[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']'))
			depth--;
		if (depth > JSON_MAX_DEPTH)
			return false;
	}
	return true;
}

struct json *json_parse(const char *text, size_t bytes, struct error *err)
{
	json_error_t problem;
	json_t *root;

	if (!depth_is_fine(text, bytes)) {
		error_set(err, "JSON: more than %d levels", JSON_MAX_DEPTH);
		return NULL;
	}
	root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
	if (root == NULL) {
		AUTO(string) char *clean = str_clean(problem.text, strlen(problem.text), sizeof(problem.text));

		error_set(err, "JSON, line %d: %s", problem.line, clean);
		return NULL;
	}
	return (struct json *)root;
}

void json_free(struct json *root)
{
	json_decref(value_of(root));
}

const struct json *json_get(const struct json *object, const char *key)
{
	return json_of(json_object_get(value_of(object), key));
}

const char *json_get_string(const struct json *object, const char *key)
{
	return json_text(json_get(object, key));
}

int64_t json_get_int(const struct json *object, const char *key, int64_t fallback)
{
	const json_t *value = value_of(json_get(object, key));

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

double json_get_number(const struct json *object, const char *key, double fallback)
{
	const json_t *value = value_of(json_get(object, key));

	return json_is_number(value) ? json_number_value(value) : fallback;
}

bool json_get_bool(const struct json *object, const char *key, bool fallback)
{
	const json_t *value = value_of(json_get(object, key));

	return json_is_boolean(value) ? json_is_true(value) : fallback;
}

size_t json_size(const struct json *array)
{
	return json_array_size(value_of(array));
}

const struct json *json_at(const struct json *array, size_t index)
{
	return json_of(json_array_get(value_of(array), index));
}

const char *json_text(const struct json *value)
{
	return json_string_value(value_of(value));
}

const char *json_next(const struct json *object, void **iter, const struct json **value)
{
	json_t *here = value_of(object);

	*iter = *iter != NULL ? json_object_iter_next(here, *iter) : json_object_iter(here);
	if (*iter == NULL)
		return NULL;
	*value = json_of(json_object_iter_value(*iter));
	return json_object_iter_key(*iter);
}

char *json_dump(const struct json *value)
{
	char *text = json_dumps(value_of(value), JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));

	return text != NULL ? text : mem_strdup("null");
}
