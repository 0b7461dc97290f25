/* SPDX-License-Identifier: MIT */
/*
 * names - a table from names to what they name, so that 100,000 targets need no loop in a loop.
 * Owns: only its slots; names and values are lent and must outlive the table. A zeroed struct is an empty table.
 */
#ifndef PORTBELL_CONFIG_NAMES_H
#define PORTBELL_CONFIG_NAMES_H

#include <stddef.h>

struct names_slot;

struct names {
	struct names_slot *slots;
	size_t count;
	size_t capacity; /* a power of two, or 0 */
};

void *names_find(const struct names *names, const char *name); /* NULL if there is none */
/* Puts `value` (not NULL) in and returns NULL; or, if the name is taken, changes nothing and returns its value. */
void *names_add(struct names *names, const char *name, void *value);
/* As names_add(), but the new value counts. */
void names_put(struct names *names, const char *name, void *value);
/* All names, ended by NULL, for str_nearest(). The caller frees the array. */
const char **names_words(const struct names *names);
void names_done(struct names *names);

#endif
