/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/config/load.h"
#include "lib/config/set.h"
#include "lib/config/value.h"

/* Text that is the same to every YAML reader without quotes. */
static bool is_safe_plain(const char *text)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./%+-@:<>";
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/<";
	size_t bytes = strlen(text);

	return bytes > 0 && strchr(first, text[0]) != NULL && text[strspn(text, safe)] == '\0' &&
	       text[bytes - 1] != ':' && strcmp(text, "null") != 0 && strcmp(text, "Null") != 0 &&
	       strcmp(text, "NULL") != 0;
}

/* In double quotes; what a YAML reader would fold or refuse is escaped. */
static void add_quoted(struct str *out, const char *text)
{
	uint32_t character;
	size_t bytes;

	str_add_char(out, '"');
	for (; *text != '\0'; text += bytes) {
		character = 0;
		bytes = str_utf8(text, strlen(text), &character);
		if (*text == '"' || *text == '\\')
			str_addf(out, "\\%c", *text);
		else if (*text == '\n')
			str_add(out, "\\n");
		else if (*text == '\r')
			str_add(out, "\\r");
		else if (bytes == 0 || character < 0x20 || character == 0x7f)
			str_addf(out, "\\x%02x", (unsigned int)(unsigned char)*text);
		else if ((character > 0x7e && character < 0xa1) || (character & 0xfffffffe) == 0x2028 ||
			 character == 0xfeff)
			str_addf(out, "\\u%04x", character);
		else
			str_add_bytes(out, text, bytes);
		bytes = bytes > 0 ? bytes : 1;
	}
	str_add_char(out, '"');
}

static void add_text(struct str *out, const char *text)
{
	if (is_safe_plain(text))
		str_add(out, text);
	else
		add_quoted(out, text);
}

/* A text that is not as it was written: what would be a variable again is made literal. */
static void add_made(struct str *out, const char *text)
{
	AUTO(str) struct str escaped = { 0 };

	for (; *text != '\0'; text++) {
		if (text[0] == '$' && text[1] == '{')
			str_add_char(&escaped, '$');
		str_add_char(&escaped, *text);
	}
	add_text(out, escaped.data != NULL ? escaped.data : "");
}

static bool names_file(const struct key *key)
{
	return key->type == KEY_PATH || key->type == KEY_TRUST || key->type == KEY_SECRET_FILE;
}

static void add_scalar(struct str *out, const struct key *key, const struct node *node)
{
	AUTO(string) char *made = NULL;

	if ((key->flags & KEY_IS_SECRET) == 0 && !names_file(key)) {
		add_text(out, node->written);
		return;
	}
	if (names_file(key))
		made = set_resolve(node);
	else
		made = key->type == KEY_TEXT ? value_url_shown(node->text) : mem_strdup("<hidden>");
	add_made(out, made);
}

static void add_node(struct str *out, const struct key *key, const struct node *node)
{
	if (node->kind == NODE_SCALAR) {
		add_scalar(out, key, node);
		return;
	}
	str_add_char(out, node->kind == NODE_LIST ? '[' : '{');
	for (uint32_t i = 0; i < node->count; i++) {
		str_add(out, i > 0 ? ", " : "");
		if (node->kind == NODE_MAP) {
			add_made(out, node->pairs[i].key->text);
			str_add(out, ": ");
		}
		add_node(out, key, node->kind == NODE_LIST ? node->items[i] : node->pairs[i].value);
	}
	str_add_char(out, node->kind == NODE_LIST ? ']' : '}');
}

/* A default from the table: "25% 21d" is [25%, 21d]. */
static void add_fallback(struct str *out, const char *fallback)
{
	bool list = strchr(fallback, ' ') != NULL;

	str_add(out, list ? "[" : "");
	for (; *fallback != '\0'; fallback++)
		if (*fallback == ' ')
			str_add(out, ", ");
		else
			str_add_char(out, *fallback);
	str_add(out, list ? "]" : "");
}

static void add_texts(struct str *out, char *const *texts, size_t count)
{
	str_add_char(out, '[');
	for (size_t i = 0; i < count; i++) {
		str_add(out, i > 0 ? ", " : "");
		add_made(out, texts[i]);
	}
	str_add_char(out, ']');
}

/* A default that was worked out while loading; false if there is none. */
static bool add_worked_out(struct str *out, const struct key *key, const void *object)
{
	const void *field = (const char *)object + key->offset;
	const size_t *count = (const void *)((const char *)object + key->count_offset);
	char *const *const *texts = field;
	const int64_t *number = field;
	char *const *text = field;
	char duration[32];
	unsigned int word;

	switch (key->type) {
	case KEY_TEXT:
		if (*text == NULL || (key->flags & KEY_IS_SECRET) != 0)
			return false;
		add_made(out, *text);
		return true;
	case KEY_LIST:
		if (*texts == NULL)
			return false;
		add_texts(out, *texts, *count);
		return true;
	case KEY_DURATION:
		if (*number == 0)
			return false;
		value_print_duration(*number / (key->scale != 0 ? key->scale : 1), duration);
		str_add(out, duration);
		return true;
	case KEY_WORD:
		memcpy(&word, field, sizeof(word));
		str_add(out, key->words[word]);
		return true;
	default: return false;
	}
}

static bool add_value(struct str *out, const struct key *key, const struct node *node, const void *object)
{
	if (node != NULL)
		add_node(out, key, node);
	else if (key->fallback != NULL)
		add_fallback(out, key->fallback);
	else
		return add_worked_out(out, key, object);
	return true;
}

/* Where the value comes from, as a comment. */
static void add_origin(struct str *out, const struct node *node)
{
	AUTO(string) char *where = node != NULL ? document_where(node) : mem_strdup("default");
	AUTO(string) char *clean = str_clean(where, strlen(where), strlen(where));

	str_addf(out, " # %s\n", clean);
}

struct printer {
	struct str *out;
	const struct section *section;
	const struct layer *layer;
	const void *object;
	int indent;
	bool dash; /* the next line begins an item of a list */
};

static void add_line(struct printer *printer, const char *name, int indent)
{
	str_addf(printer->out, "%*s%s: ", indent, printer->dash ? "- " : "", name);
	printer->dash = false;
}

static void print_key(struct printer *printer, size_t index, const char *name, int indent)
{
	const struct key *key = &printer->section->keys[index];
	const struct node *node = printer->layer->values[index];
	AUTO(str) struct str value = { 0 };

	if (!add_value(&value, key, node, printer->object))
		return;
	add_line(printer, name, indent);
	str_add(printer->out, value.data);
	add_origin(printer->out, node);
}

/* A map of keys and its rows, from `index` on. */
static void print_map(struct printer *printer, size_t index)
{
	const struct section *section = printer->section;
	const struct key *map = &section->keys[index];
	const struct node *node = printer->layer->values[index];
	struct str *out = printer->out;

	add_line(printer, map->name, printer->indent);
	out->data[--out->bytes] = '\0'; /* what follows on the line is a word or a comment */
	if (!layer_is_on(map, node)) {
		str_add(out, " off");
		add_origin(out, node);
		return;
	}
	add_origin(out, node);
	for (size_t i = index + 1; i < section->count && strchr(section->keys[i].name, '.') != NULL; i++)
		print_key(printer, i, strchr(section->keys[i].name, '.') + 1, printer->indent + 2);
}

void print_title(struct load *load, const char *title)
{
	if (load->print != NULL)
		str_addf(load->print, "%s\n", title);
}

void print_object(struct load *load, const struct section *section, const struct layer *layer, const void *object,
		  const char *name, bool item)
{
	struct printer printer = { load->print, section, layer, object, item || name != NULL ? 4 : 0, item };

	if (load->print == NULL)
		return;
	if (name != NULL) {
		str_add(load->print, "  ");
		add_made(load->print, name);
		str_add(load->print, ":\n");
	}
	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];

		if (key->type == KEY_MAP)
			print_map(&printer, i);
		else if (key->type != KEY_PART && strchr(key->name, '.') == NULL)
			print_key(&printer, i, key->name, printer.indent);
	}
}
