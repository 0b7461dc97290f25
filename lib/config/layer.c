/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/config/load.h"
#include "lib/config/value.h"

enum { FALLBACK_WORDS = 4, FALLBACK_BYTES = 64 };

static void path_add(struct str *out, const struct path *path)
{
	if (path == NULL)
		return;
	path_add(out, path->up);
	if (path->key == NULL)
		str_addf(out, "[%zu]", path->index);
	else
		str_addf(out, "%s%s", out->bytes > 0 ? "." : "", path->key);
}

char *path_text(const struct path *path)
{
	AUTO(str) struct str raw = { 0 };

	path_add(&raw, path);
	return str_clean(raw.data, raw.bytes, 300);
}

static void report_at(struct load *load, bool is_note, const struct node *node, const struct path *path,
		      const char *format, va_list args)
{
	AUTO(string) char *where = document_where(node);
	AUTO(string) char *clean = path_text(path);
	AUTO(str) struct str text = { 0 };

	str_vaddf(&text, format, args);
	report_add(load->report, is_note, where, clean, "%s", text.data);
}

void mistake(struct load *load, struct node *node, const struct path *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report_at(load, false, node, path, format, args);
	va_end(args);
	node->bad = true;
}

void note(struct load *load, const struct node *node, const struct path *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report_at(load, true, node, path, format, args);
	va_end(args);
}

char *did_you_mean(const char *word, const char *const *words)
{
	const char *nearest = str_nearest(word, words);

	return nearest != NULL ? mem_printf(" (did you mean \"%s\"?)", nearest) : mem_strdup("");
}

void mistake_unknown(struct load *load, struct node *node, const struct path *path, const char *what,
		     const struct names *names)
{
	AUTO(string) char *clean = str_clean(node->text, strlen(node->text), 120);
	AUTO(string) char *hint = NULL;
	const char **words;

	if (load->broken) {
		node->bad = true;
		return;
	}
	words = names_words(names);
	hint = did_you_mean(node->text, words);
	mistake(load, node, path, "there is no %s \"%s\"%s", what, clean, hint);
	free(words);
}

/* The row's name without its map, if it is a row of that map: "verify" for "tls.verify" and map "tls". */
static const char *name_in(const struct key *key, const char *map)
{
	size_t bytes;

	if (map == NULL)
		return strchr(key->name, '.') == NULL ? key->name : NULL;
	bytes = strlen(map);
	return strncmp(key->name, map, bytes) == 0 && key->name[bytes] == '.' ? key->name + bytes + 1 : NULL;
}

static const struct key *key_find(const struct section *section, const char *map, const char *name)
{
	for (size_t i = 0; i < section->count; i++) {
		const char *own = name_in(&section->keys[i], map);

		if (own != NULL && strcmp(own, name) == 0)
			return &section->keys[i];
	}
	return NULL;
}

/* A key that exists elsewhere in the section: "server_name" where "tls.server_name" is meant. */
static const char *key_elsewhere(const struct section *section, const char *name)
{
	for (size_t i = 0; i < section->count; i++) {
		const char *dot = strchr(section->keys[i].name, '.');

		if (strcmp(dot != NULL ? dot + 1 : section->keys[i].name, name) == 0)
			return section->keys[i].name;
	}
	return NULL;
}

static void mistake_key(struct load *load, const struct section *section, const char *map, struct node *key,
			const struct path *path)
{
	const char *words[SCHEMA_MAX_KEYS + 1] = { NULL };
	const char *elsewhere = key_elsewhere(section, key->text);
	AUTO(string) char *hint = NULL;
	size_t count = 0;

	for (size_t i = 0; i < section->count; i++)
		if (name_in(&section->keys[i], map) != NULL)
			words[count++] = name_in(&section->keys[i], map);
	hint = did_you_mean(key->text, words);
	if (elsewhere != NULL)
		mistake(load, key, path, "unknown key (is \"%s\" meant?)", elsewhere);
	else
		mistake(load, key, path, "unknown key%s", hint);
}

/* A map's row with something else than a map: on or off, where the row allows it. */
static void read_map_switch(struct load *load, const struct key *key, struct node *value, const struct path *path)
{
	bool may_be_on = (key->flags & MAP_MAY_BE_ON) != 0;
	bool may_be_off = (key->flags & MAP_MAY_BE_OFF) != 0;
	struct error ignored;
	bool on;

	if (value->kind == NODE_SCALAR && value_switch(value->text, &on, &ignored) &&
	    (on ? may_be_on : may_be_off))
		return;
	mistake(load, value, path, "must be %s%sa map of keys", may_be_on ? "on, " : "",
		may_be_off ? "off or " : "");
}

static void read_pairs(struct load *load, const struct section *section, const char *map_name, struct node *map,
		       const struct path *path, unsigned int where, struct layer *layer);

static void read_pair(struct load *load, const struct section *section, const char *map_name, struct pair *pair,
		      const struct path *path, unsigned int where, struct layer *layer)
{
	const struct key *key = key_find(section, map_name, pair->key->text);
	struct path here = { path, pair->key->text, 0 };

	if (pair->key->bad || (section->extras && map_name == NULL && str_starts(pair->key->text, "x-")))
		return;
	if (key == NULL) {
		mistake_key(load, section, map_name, pair->key, &here);
		return;
	}
	if ((key->flags & where) != 0) {
		mistake(load, pair->key, &here, "may not stand %s",
			where == PLACE_INCLUDED ? "in an included file" : "in defaults or profiles");
		return;
	}
	if (pair->value->null && pair->value->kind == NODE_SCALAR) {
		if (!section->extras || map_name != NULL)
			mistake(load, pair->value, &here, "has no value");
		return;
	}
	layer->values[key - section->keys] = pair->value;
	if (key->type != KEY_MAP || pair->value->bad)
		return;
	if (pair->value->kind == NODE_MAP)
		read_pairs(load, section, key->name, pair->value, &here, where, layer);
	else
		read_map_switch(load, key, pair->value, &here);
}

static void read_pairs(struct load *load, const struct section *section, const char *map_name, struct node *map,
		       const struct path *path, unsigned int where, struct layer *layer)
{
	for (uint32_t i = 0; i < map->count; i++)
		read_pair(load, section, map_name, &map->pairs[i], path, where, layer);
}

void layer_read(struct load *load, const struct section *section, struct node *map, const struct path *path,
		unsigned int where, struct layer *layer)
{
	if (map->bad)
		return;
	if (map->kind == NODE_MAP)
		read_pairs(load, section, NULL, map, path, where, layer);
	else
		mistake(load, map, path, "must be a map of keys");
}

bool layer_is_on(const struct key *key, const struct node *node)
{
	struct error ignored;
	bool on = true;

	if (node != NULL && (node->kind != NODE_SCALAR || node->bad))
		return true;
	value_switch(node != NULL ? node->text : key->fallback, &on, &ignored);
	return on;
}

/* What is given instead of it further down gives way: a credential of the defaults to a file of the target. */
static void drop_others(const struct section *section, struct layer *base, const struct key *key)
{
	for (size_t i = 0; key->one_of != NULL && i < section->count; i++)
		if (str_equal(section->keys[i].one_of, key->one_of))
			base->values[i] = NULL;
}

void layer_merge(struct load *load, const struct section *section, struct layer *base, const struct layer *over)
{
	bool cleared = false;

	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];
		struct node *value = over->values[i];

		if (strchr(key->name, '.') == NULL)
			cleared = key->type == KEY_MAP && value != NULL && !layer_is_on(key, value);
		else if (cleared)
			base->values[i] = NULL;
		if (value == NULL)
			continue;
		if ((key->flags & KEY_MERGES) != 0 && base->values[i] != NULL && value->kind == NODE_MAP &&
		    base->values[i]->kind == NODE_MAP)
			value = document_merge(load->files[0].document, base->values[i], value);
		drop_others(section, base, key);
		base->values[i] = value;
	}
}

struct node *layer_get(const struct section *section, const struct layer *layer, const char *key)
{
	for (size_t i = 0; i < section->count; i++)
		if (strcmp(section->keys[i].name, key) == 0)
			return layer->values[i];
	return NULL;
}

/* The value given for one of the keys that exclude each other, before row `end`; NULL if there is none. */
static const struct key *given_before(const struct section *section, const struct layer *layer, const char *one_of,
				      size_t end)
{
	for (size_t i = 0; i < end; i++)
		if (str_equal(section->keys[i].one_of, one_of) && layer->values[i] != NULL)
			return &section->keys[i];
	return NULL;
}

void layer_check_pairs(struct load *load, const struct section *section, const struct layer *layer,
		       const struct path *path)
{
	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];
		const struct key *other =
			key->one_of == NULL ? NULL : given_before(section, layer, key->one_of, i);
		struct path here = { path, key->name, 0 };

		if (layer->values[i] != NULL && other != NULL)
			mistake(load, layer->values[i], &here, "only one of \"%s\" and \"%s\" may be given",
				other->name, key->name);
	}
}

void layer_check(struct load *load, const struct section *section, const struct layer *layer, struct node *owner,
		 const struct path *path)
{
	layer_check_pairs(load, section, layer, path);
	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];

		if ((key->flags & KEY_REQUIRED) == 0 || layer->values[i] != NULL)
			continue;
		if (key->one_of == NULL || given_before(section, layer, key->one_of, section->count) == NULL)
			mistake(load, owner, path, "\"%s\" is missing", key->name);
	}
}

/* The default goes the way of a written value: one set of rules for both. */
static void set_fallback(const struct spot *spot, set_fn *set)
{
	char words[FALLBACK_BYTES];
	struct node scalars[FALLBACK_WORDS] = { 0 };
	struct node *items[FALLBACK_WORDS];
	struct node list = { .kind = NODE_LIST, .items = items };
	char *rest = words;
	char *word;

	snprintf(words, sizeof(words), "%s", spot->key->fallback);
	while (list.count < FALLBACK_WORDS && (word = strsep(&rest, " ")) != NULL) {
		items[list.count] = &scalars[list.count];
		scalars[list.count++] = (struct node){ .kind = NODE_SCALAR, .text = word };
	}
	set(spot, list.count == 1 ? items[0] : &list);
}

static void set_map(const struct key *key, const struct node *node, void *object)
{
	bool on = layer_is_on(key, node);

	if ((key->flags & MAP_IS_STORED) != 0)
		*(bool *)(void *)((char *)object + key->offset) = on;
}

void layer_set(struct load *load, const struct section *section, const struct layer *layer, void *object,
	       const struct path *path)
{
	bool on = true;

	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];
		struct node *node = layer->values[i];
		struct path here = { path, key->name, 0 };
		struct spot spot = { load, key, &here, object };

		if (strchr(key->name, '.') == NULL)
			on = key->type != KEY_MAP || layer_is_on(key, node);
		if (key->type == KEY_MAP)
			set_map(key, node, object);
		else if (key->type == KEY_PART || !on)
			continue;
		else if (node != NULL && !node->bad)
			schema_setter(key)(&spot, node);
		else if (key->fallback != NULL)
			set_fallback(&spot, schema_setter(key));
	}
}

void section_done(const struct section *section, void *object)
{
	for (size_t i = 0; i < section->count; i++) {
		done_fn *done = schema_done(&section->keys[i]);

		if (done != NULL)
			done(&section->keys[i], object);
	}
}
