/* SPDX-License-Identifier: MIT */
/* Setters of the keys under tls and certificate. */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/config/load.h"
#include "lib/config/set.h"
#include "lib/config/value.h"

enum { ALPN_MAX_BYTES = 255, PINS_MAX = 32 };

void set_ciphers(const struct spot *spot, struct node *node)
{
	const char *text = set_checked_text(spot, node, spot->path);
	const struct config_env *env = spot->load->env;
	struct error err;

	if (text == NULL)
		return;
	if (env->check_ciphers != NULL && !env->check_ciphers(text, &err))
		mistake(spot->load, node, spot->path, "%s", err.text);
	else
		*(char **)((char *)spot->object + spot->key->offset) = mem_strdup(text);
}

/* The place of a regular expression in config->patterns, new or old. */
static size_t pattern_index(const struct spot *spot, const struct node *node, const char *text)
{
	struct load *load = spot->load;
	struct config *config = load->config;
	uintptr_t index = (uintptr_t)names_find(&load->patterns, text);
	size_t capacity = config->pattern_count;

	if (index != 0)
		return index;
	index = config->pattern_count++;
	config->patterns = mem_grow(config->patterns, &capacity, config->pattern_count, sizeof(*config->patterns));
	config->patterns[index] = (struct pattern_config){
		.text = mem_strdup(text), .where = document_where(node), .path = path_text(spot->path)
	};
	names_put(&load->patterns, document_text(load->files[0].document, text), (void *)index);
	return index;
}

static void read_pattern(const struct spot *spot, struct node *node, size_t *pattern)
{
	const char *text = set_checked_text(spot, node, spot->path);

	if (text != NULL)
		*pattern = pattern_index(spot, node, text);
}

void set_pattern(const struct spot *spot, struct node *node)
{
	read_pattern(spot, node, (size_t *)(void *)((char *)spot->object + spot->key->offset));
}

/* tls.require: a map of its own within that of tls. */

static void require_version(const struct spot *spot, struct node *node, struct target_config *target)
{
	const char *text = set_checked_text(spot, node, spot->path);
	int index = text != NULL ? set_word_index(spot, node, text) : -1;

	if (index >= 0)
		target->require.version = (enum tls_version)index;
}

static void require_alpn(const struct spot *spot, struct node *node, struct target_config *target)
{
	const char *text = set_checked_text(spot, node, spot->path);

	free(TAKE(target->require.alpn));
	target->require.alpn = mem_strdup(text);
}

static void require_ciphers(const struct spot *spot, struct node *node, struct target_config *target)
{
	read_pattern(spot, node, &target->require.ciphers);
}

static void require_group(const struct spot *spot, struct node *node, struct target_config *target)
{
	read_pattern(spot, node, &target->require.group);
}

static void require_level(const struct spot *spot, struct node *node, struct target_config *target)
{
	const char *text = set_checked_text(spot, node, spot->path);

	if (text != NULL && set_word_index(spot, node, text) >= 0)
		level_parse(text, &target->rules.tls_level);
}

static const struct {
	struct key key;
	void (*set)(const struct spot *spot, struct node *node, struct target_config *target);
} require_keys[] = {
	{ { .name = "version", .words = (const char *const[]){ "1.0", "1.1", "1.2", "1.3", NULL } },
	  require_version },
	{ { .name = "ciphers" }, require_ciphers },
	{ { .name = "group" }, require_group },
	{ { .name = "alpn", .max = ALPN_MAX_BYTES }, require_alpn },
	{ { .name = "level", .words = (const char *const[]){ "warning", "critical", NULL } }, require_level },
};

enum { REQUIRE_KEYS = sizeof(require_keys) / sizeof(require_keys[0]) };

static void require_one(const struct spot *spot, struct pair *pair)
{
	struct path here = { spot->path, pair->key->text, 0 };
	const char *names[REQUIRE_KEYS + 1] = { NULL };
	AUTO(string) char *hint = NULL;

	for (size_t i = 0; i < REQUIRE_KEYS; i++) {
		const struct spot part = { spot->load, &require_keys[i].key, &here, spot->object };

		names[i] = require_keys[i].key.name;
		if (strcmp(names[i], pair->key->text) == 0) {
			require_keys[i].set(&part, pair->value, spot->object);
			return;
		}
	}
	hint = did_you_mean(pair->key->text, names);
	mistake(spot->load, pair->key, &here, "unknown key%s", hint);
}

void set_require(const struct spot *spot, struct node *node)
{
	struct target_config *target = spot->object;
	struct error ignored;
	bool on;

	if (node->kind == NODE_SCALAR && value_switch(node->text, &on, &ignored) && !on)
		return;
	if (node->kind != NODE_MAP) {
		mistake(spot->load, node, spot->path, "must be off or a map of keys");
		return;
	}
	target->rules.tls_required = true;
	target->rules.tls_level = LEVEL_WARNING;
	for (uint32_t i = 0; i < node->count; i++)
		if (!node->pairs[i].key->bad)
			require_one(spot, &node->pairs[i]);
}

void done_require(const struct key *key, void *object)
{
	struct target_config *target = object;

	(void)key;
	free(TAKE(target->require.alpn));
}

/* certificate.pins */

static void add_pin(const struct spot *spot, struct node *node, const struct path *path,
		    struct target_config *target)
{
	static const char prefix[] = "sha256//";
	const char *text = set_checked_text(spot, node, path);
	uint8_t pin[PIN_BYTES + 1];
	size_t bytes = 0;

	if (text == NULL)
		return;
	if (!str_starts(text, prefix) || !str_unbase64(text + strlen(prefix), pin, sizeof(pin), &bytes) ||
	    bytes != PIN_BYTES)
		mistake(spot->load, node, path,
			"a pin is sha256// and the base64 of the 32 bytes of a public key's SHA-256");
	else
		memcpy(target->pins[target->pin_count++], pin, PIN_BYTES);
}

void set_pins(const struct spot *spot, struct node *node)
{
	struct target_config *target = spot->object;

	if (node->kind != NODE_LIST) {
		target->pins = mem_array(1, PIN_BYTES);
		add_pin(spot, node, spot->path, target);
		return;
	}
	if (node->count > PINS_MAX) {
		mistake(spot->load, node, spot->path, "must have at most %d entries", PINS_MAX);
		return;
	}
	if (node->count == 0)
		return;
	target->pins = mem_array(node->count, PIN_BYTES);
	for (uint32_t i = 0; i < node->count; i++) {
		struct path item = { spot->path, NULL, i };

		add_pin(spot, node->items[i], &item, target);
	}
}

void done_pins(const struct key *key, void *object)
{
	struct target_config *target = object;

	(void)key;
	free(TAKE(target->pins));
	target->pin_count = 0;
}
