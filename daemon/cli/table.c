/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* strptime(), wcwidth() */
#include "daemon/cli/table.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { CELL_MAX_BYTES = 1024, GAP = 2 };

static const char *const escapes[] = {
	[TABLE_PLAIN] = "", [TABLE_GOOD] = "\033[32m", [TABLE_WARNING] = "\033[33m", [TABLE_BAD] = "\033[1;31m",
	[TABLE_UNKNOWN] = "\033[35m", [TABLE_DIM] = "\033[2m",
};

static const char bold[] = "\033[1m";
static const char normal[] = "\033[0m";

static const struct {
	const char *sign;
	enum table_style style;
} levels[LEVEL_COUNT] = {
	[LEVEL_OK] = { "✔ ", TABLE_GOOD },
	[LEVEL_WARNING] = { "▲ ", TABLE_WARNING },
	[LEVEL_UNKNOWN] = { "? ", TABLE_UNKNOWN },
	[LEVEL_CRITICAL] = { "✖ ", TABLE_BAD },
};

const char *table_escape(enum table_style style)
{
	return escapes[style];
}

const char *table_normal(void)
{
	return normal;
}

const char *table_level_sign(enum level level)
{
	return levels[level].sign;
}

enum table_style table_level_style(enum level level)
{
	return levels[level].style;
}

void table_start(struct table *table, const char *const *titles, bool people, bool color, int64_t now_unix_us)
{
	*table = (struct table){ .titles = titles, .people = people, .color = color, .now_unix_us = now_unix_us };
	while (titles[table->columns] != NULL)
		table->columns++;
}

void table_done(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].text);
	free(table->cells);
	*table = (struct table){ 0 };
}

void table_add(struct table *table, enum table_style style, const char *text)
{
	struct table_cell *cell;

	table->cells = mem_grow(table->cells, &table->capacity, table->count + 1, sizeof(*table->cells));
	cell = &table->cells[table->count++];
	cell->style = style;
	if (text == NULL)
		cell->text = mem_strdup(table->people ? "-" : "");
	else
		cell->text = str_clean(text, strlen(text), CELL_MAX_BYTES);
}

bool table_parse_time(const char *text, int64_t *unix_us)
{
	struct tm tm = { 0 };
	const char *rest;
	int64_t part_us = 0;

	if (text == NULL)
		return false;
	rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest == NULL)
		return false;
	if (*rest == '.') {
		int64_t unit_us = US_PER_S / 10;

		for (rest++; isdigit((unsigned char)*rest); rest++, unit_us /= 10)
			part_us += (*rest - '0') * unit_us;
	}
	if (strcmp(rest, "Z") != 0)
		return false;
	*unix_us = (int64_t)timegm(&tm) * US_PER_S + part_us;
	return true;
}

void table_add_time(struct table *table, const char *time)
{
	AUTO(str) struct str text = { 0 };
	int64_t unix_us;
	int64_t ago_us;

	if (!table->people || !table_parse_time(time, &unix_us)) {
		table_add(table, TABLE_PLAIN, time);
		return;
	}
	ago_us = table->now_unix_us - unix_us;
	if (ago_us < 0) {
		str_add(&text, "in ");
		ago_us = -ago_us;
	}
	/* Nobody wants to know it to the tenth of a second. */
	str_add_duration(&text, ago_us / US_PER_S * US_PER_S);
	table_add(table, TABLE_PLAIN, text.data);
}

void table_add_seconds(struct table *table, double seconds)
{
	AUTO(str) struct str text = { 0 };

	if (seconds >= 0 && seconds < 1e9 && table->people)
		str_add_duration(&text, (int64_t)(seconds * 1e6 + 0.5));
	else if (seconds >= 0)
		str_addf(&text, "%.6f", seconds);
	table_add(table, TABLE_PLAIN, text.data);
}

size_t table_width(const char *text)
{
	size_t bytes = strlen(text);
	size_t width = 0;

	for (size_t at = 0; at < bytes;) {
		uint32_t character = 0;
		size_t length = str_utf8(text + at, bytes - at, &character);
		int columns = length > 0 ? wcwidth((wchar_t)character) : 1;

		at += length > 0 ? length : 1;
		width += columns >= 0 ? (size_t)columns : 1;
	}
	return width;
}

static void print_padded(const char *text, const char *escape, size_t width, FILE *out)
{
	fprintf(out, "%s%s%s", escape, text, escape[0] != '\0' ? normal : "");
	for (size_t have = table_width(text); have < width; have++)
		fputc(' ', out);
}

static void print_header(const struct table *table, const size_t *widths, FILE *out)
{
	for (size_t i = 0; i < table->columns; i++)
		print_padded(table->titles[i], table->color ? bold : "",
			     i + 1 < table->columns ? widths[i] + GAP : 0, out);
	fputc('\n', out);
}

static void print_rows(const struct table *table, const size_t *widths, FILE *out)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct table_cell *cell = &table->cells[i];
		size_t column = i % table->columns;
		bool last = column + 1 == table->columns;

		print_padded(cell->text, table->color ? escapes[cell->style] : "",
			     table->people && !last ? widths[column] + GAP : 0, out);
		if (last || !table->people)
			fputc(last ? '\n' : '\t', out);
	}
}

void table_print(const struct table *table, FILE *out)
{
	size_t *widths = mem_array(table->columns, sizeof(*widths));

	assert(table->count % table->columns == 0);
	for (size_t i = 0; i < table->columns; i++)
		widths[i] = table_width(table->titles[i]);
	for (size_t i = 0; i < table->count; i++) {
		size_t width = table_width(table->cells[i].text);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	if (table->people && table->count > 0)
		print_header(table, widths, out);
	print_rows(table, widths, out);
	free(widths);
}
