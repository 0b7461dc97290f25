/* SPDX-License-Identifier: MIT */
/*
 * match - the one grammar that says "which": keys target group check level reason event location label.NAME, each
 * with globs of which one must fit; all keys must hold; `not` excludes what its own keys hold for.
 * A glob: * ? [a-z] [!a-z] and \ before one of them; a text always fits itself.
 * Built by lib/config from YAML and by the command line from key=value words.
 */
#ifndef PORTBELL_BASE_MATCH_H
#define PORTBELL_BASE_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

struct label {
	char *name;
	char *value;
};

enum match_key {
	MATCH_TARGET, MATCH_GROUP, MATCH_CHECK, MATCH_LEVEL, MATCH_REASON, MATCH_EVENT, MATCH_LOCATION, MATCH_LABEL,
	MATCH_KEY_COUNT
};

struct match_term {
	enum match_key key;
	char *label;     /* MATCH_LABEL: the label's name, else NULL */
	char **globs;
	size_t glob_count;
};

struct match {
	struct match_term *terms;
	size_t term_count;
	struct match *without; /* `not`, or NULL */
};

/* What is asked about; all lent. NULL is "has none": no glob fits it. */
struct match_subject {
	const char *values[MATCH_LABEL]; /* by enum match_key */
	const struct label *labels;
	size_t label_count;
};

/* An empty match holds for everything. */
bool match_holds(const struct match *match, const struct match_subject *subject);
/* Adds a glob to `key` ("group", "label.env"); makes the term if it is new. Fixed words (check, level, reason, event)
 * without a wildcard must exist: else an error with the nearest. */
bool match_add(struct match *match, const char *key, const char *glob, struct error *err);
/* Words of a command line: key=value, key=a,b, or a bare target glob. Bare words are alternatives. Adds to `match`,
 * which starts as zeroes; after a mistake it is empty. */
bool match_from_words(struct match *match, const char *const *words, size_t count, struct error *err);
void match_done(struct match *match);

#endif
