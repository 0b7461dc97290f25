/* SPDX-License-Identifier: MIT */
/*
 * schema - every key that a configuration may have: one row each. From the rows come the checks, the defaults,
 * "did you mean", --print-config and what frees a config again; a new key is a new row.
 */
#ifndef PORTBELL_CONFIG_SCHEMA_H
#define PORTBELL_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/config/config.h"
#include "lib/config/document.h"

enum { SCHEMA_MAX_KEYS = 64 };

struct load;
struct path;
struct key;

enum key_type {
	KEY_PART,       /* read by config.c itself */
	KEY_MAP,        /* a map of keys, whose rows follow as "map.key" */
	KEY_TEXT,       /* char * */
	KEY_SWITCH,     /* bool */
	KEY_COUNT,      /* int */
	KEY_DURATION,   /* int64_t, in milliseconds x scale */
	KEY_WORD,       /* an enum whose values are the indexes of `words` */
	KEY_LIST,       /* char ** and size_t: texts, or a single one */
	KEY_PATH,       /* char *: a file that need not exist */
	KEY_TRUST,      /* size_t: CA files, as an index into config->trust */
	KEY_SECRET_FILE, /* char *: what the named file holds */
	KEY_CREDENTIAL, /* char *: the same, from the credentials directory */
	KEY_OTHER,      /* has its own `set` and, if it needs one, `done` */
	KEY_TYPE_COUNT
};

enum key_flags {
	NOT_IN_DEFAULTS = 1 << 0, /* defaults and profiles */
	NOT_IN_INCLUDED = 1 << 1,
	KEY_REQUIRED = 1 << 2,    /* with one_of: any of them */
	KEY_IS_SECRET = 1 << 3,   /* never shown */
	KEY_OFF_IS_ZERO = 1 << 4, /* a duration may be off */
	KEY_MERGES = 1 << 5,      /* a map with the user's own keys */
	MAP_MAY_BE_ON = 1 << 6,
	MAP_MAY_BE_OFF = 1 << 7,
	MAP_IS_STORED = 1 << 8,   /* whether it is on: a bool at `offset` */
};

enum place { PLACE_OWN = 0, PLACE_DEFAULTS = NOT_IN_DEFAULTS, PLACE_INCLUDED = NOT_IN_INCLUDED };

/* What a setter is told: for which key, into which object. */
struct spot {
	struct load *load;
	const struct key *key;
	const struct path *path;
	void *object;
};

typedef void set_fn(const struct spot *spot, struct node *node);
typedef void done_fn(const struct key *key, void *object);
typedef bool check_fn(const char *text, struct error *err);

struct key {
	const char *name;
	enum key_type type;
	unsigned int flags;
	int64_t min;            /* of a count, of a duration in ms, of a list's length */
	int64_t max;            /* the same; of a text's bytes (0: 2000) */
	const char *fallback;   /* the default as text, several words are a list; NULL: none, or worked out */
	const char *const *words; /* that may stand here, ended by NULL */
	size_t offset;
	size_t count_offset;    /* KEY_LIST, and secrets that may hold any byte */
	int64_t scale;          /* KEY_DURATION: 0 is 1 */
	const char *one_of;     /* of the keys with the same word only one may be given */
	check_fn *check;        /* of a text, each text of a list, a secret */
	set_fn *set;            /* instead of the type's */
	done_fn *done;          /* instead of the type's */
	const char *help;       /* a line for people */
};

struct section {
	const struct key *keys;
	size_t count;
	bool extras;            /* `x-*` keys are allowed, and a key without a value counts as absent */
};

extern const struct section schema_top;
extern const struct section schema_target; /* struct target_config */
extern const struct section schema_route;  /* struct route */
extern const struct section schema_sender; /* what all senders share; struct sender_config */
extern const struct section schema_senders[SENDER_KIND_COUNT]; /* a sender's keys, with the shared ones */

set_fn *schema_setter(const struct key *key);
done_fn *schema_done(const struct key *key); /* NULL: nothing to free */

#endif
