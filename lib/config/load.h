/* SPDX-License-Identifier: MIT */
/*
 * load - one run of config_load(): what the files of this folder share while it lasts.
 * A mistake is reported at a node and marks it bad, so that what many targets inherit is complained about once.
 */
#ifndef PORTBELL_CONFIG_LOAD_H
#define PORTBELL_CONFIG_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/config/names.h"
#include "lib/config/schema.h"
#include "lib/config/document.h"

/* Where in the document: {{NULL, "targets"}, NULL, 3} is "targets[3]". Lives on the stack. */
struct path {
	const struct path *up;
	const char *key; /* NULL: an item of a list */
	size_t index;
};

/* What a map says, by the rows of its section. */
struct layer {
	struct node *values[SCHEMA_MAX_KEYS];
};

struct file {
	struct document *document;
	struct layer top;
	struct layer defaults; /* of the main file, and over them the file's own */
};

struct load {
	const struct config_env *env;
	struct report *report;
	struct config *config;
	struct str *print; /* the effective configuration, as it is made; NULL: not wanted */
	struct file *files; /* the main file is the first */
	size_t file_count;
	size_t file_capacity;
	struct names profiles; /* struct profile */
	struct names senders;  /* struct sender_config */
	struct names targets;  /* struct target_config */
	struct names trusts;   /* the files of a set, a line each: its index */
	struct names patterns; /* text: its index */
	struct names clients;  /* certificate, key and a hash of the password, a line each: its index */
	struct names exchanges; /* the steps as one text: its index */
	size_t stamp;          /* one for each target: which profiles it has had */
	bool broken;           /* a file could not be read: names that seem to be missing may stand in it */
};

/* Both clean the path. `node` is marked bad by a mistake. */
void mistake(struct load *load, struct node *node, const struct path *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void note(struct load *load, const struct node *node, const struct path *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
char *path_text(const struct path *path); /* "targets[3].interval", cleaned; the caller frees */
/* ` (did you mean "x"?)`, or "". The caller frees. */
char *did_you_mean(const char *word, const char *const *words);
/* `there is no sender "x" (did you mean "y"?)`, unless a broken file may have it. */
void mistake_unknown(struct load *load, struct node *node, const struct path *path, const char *what,
		     const struct names *names);

/* layer.c: maps by the rows of a section. */
/* Takes a written map apart; `where` is the PLACE_... it is in. Reports keys that are unknown or not allowed. */
void layer_read(struct load *load, const struct section *section, struct node *map, const struct path *path,
		unsigned int where, struct layer *layer);
/* `over` wins; maps merge, lists replace, `off` clears a map. */
void layer_merge(struct load *load, const struct section *section, struct layer *base, const struct layer *over);
/* Reports pairs of keys of which only one may be there. */
void layer_check_pairs(struct load *load, const struct section *section, const struct layer *layer,
		       const struct path *path);
/* Reports required keys that are missing from `owner`, and pairs of keys of which only one may be there. */
void layer_check(struct load *load, const struct section *section, const struct layer *layer, struct node *owner,
		 const struct path *path);
/* Fills `object`: each key's value or its default. */
void layer_set(struct load *load, const struct section *section, const struct layer *layer, void *object,
	       const struct path *path);
struct node *layer_get(const struct section *section, const struct layer *layer, const char *key);
/* Whether a map of keys is switched on: by a map, by on, or by default. */
bool layer_is_on(const struct key *key, const struct node *node);
void section_done(const struct section *section, void *object); /* frees what layer_set() made */

/* print.c */
void print_title(struct load *load, const char *title); /* "targets:" */
/* One object as YAML: an item of a list, or (name not NULL) the value of a key; NULL and false: the top. */
void print_object(struct load *load, const struct section *section, const struct layer *layer, const void *object,
		  const char *name, bool item);

#endif
