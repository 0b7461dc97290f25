/* SPDX-License-Identifier: MIT */
/*
 * table - rows for people (aligned, with header, colour and units) or for programs (tab-separated, plain values).
 * Cells are added row by row from the left; text is cleaned here: it may come from strangers.
 * Without a value a cell is "-" for people and empty for programs.
 */
#ifndef PORTBELL_CLI_TABLE_H
#define PORTBELL_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/words.h"

enum table_style { TABLE_PLAIN, TABLE_GOOD, TABLE_WARNING, TABLE_BAD, TABLE_UNKNOWN, TABLE_DIM };

struct table_cell {
	char *text;
	enum table_style style;
};

struct table {
	const char *const *titles; /* ended by NULL; lent */
	size_t columns;
	bool people;
	bool color;
	int64_t now_unix_us;
	struct table_cell *cells;
	size_t count;
	size_t capacity;
};

void table_start(struct table *table, const char *const *titles, bool people, bool color, int64_t now_unix_us);
void table_add(struct table *table, enum table_style style, const char *text); /* NULL: no value */
/* `time` as in JSON: how long ago for people; in the future "in ...". */
void table_add_time(struct table *table, const char *time);
void table_add_seconds(struct table *table, double seconds); /* negative: no value */
void table_print(const struct table *table, FILE *out);
void table_done(struct table *table);

/* What it is made of, for pages that are none. */
size_t table_width(const char *text);                  /* columns that a terminal needs for clean text */
const char *table_escape(enum table_style style);
const char *table_normal(void);                        /* ends what an escape began */
const char *table_level_sign(enum level level);        /* with a blank behind it */
enum table_style table_level_style(enum level level);

/* RFC 3339 in UTC, as the daemon writes it. */
bool table_parse_time(const char *text, int64_t *unix_us);

#endif
