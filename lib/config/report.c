/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"

void report_add(struct report *report, bool note, const char *where, const char *path, const char *format, ...)
{
	struct str text = { 0 };
	struct problem *problem;
	va_list args;

	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	report->problems =
		mem_grow(report->problems, &report->capacity, report->count + 1, sizeof(*report->problems));
	problem = &report->problems[report->count++];
	problem->note = note;
	problem->where = mem_strdup(where);
	problem->path = mem_strdup(path);
	problem->text = str_take(&text);
	if (!note)
		report->mistakes++;
}

/* Where a place is: how long its file's name is, and line and column as one number. */
static size_t split_place(const char *where, uint64_t *position)
{
	const char *column = strrchr(where, ':');
	const char *line = column != NULL ? memrchr(where, ':', (size_t)(column - where)) : NULL;

	*position = 0;
	if (line == NULL)
		return strlen(where);
	*position = strtoull(line + 1, NULL, 10) << 32 | strtoull(column + 1, NULL, 10);
	return (size_t)(line - where);
}

static bool comes_before(const struct problem *a, const struct problem *b)
{
	uint64_t a_position, b_position;
	const size_t a_bytes = split_place(a->where, &a_position), b_bytes = split_place(b->where, &b_position);

	return a_bytes == b_bytes && memcmp(a->where, b->where, a_bytes) == 0 && a_position < b_position;
}

/* Within a file by line; files in the order in which they were read. Insertion: what is nearly sorted stays cheap. */
void report_sort(struct report *report)
{
	for (size_t i = 1; i < report->count; i++) {
		const struct problem moved = report->problems[i];
		size_t j = i;

		for (; j > 0 && comes_before(&moved, &report->problems[j - 1]); j--)
			report->problems[j] = report->problems[j - 1];
		report->problems[j] = moved;
	}
}

char *problem_print(const struct problem *problem)
{
	return mem_printf("%s: %s%s%s%s", problem->where, problem->note ? "note: " : "", problem->path,
			  problem->path[0] != '\0' ? ": " : "", problem->text);
}

void report_print(const struct report *report, FILE *out)
{
	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		fprintf(out, "%s\n", line);
	}
}

void report_done(struct report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		free(report->problems[i].where);
		free(report->problems[i].path);
		free(report->problems[i].text);
	}
	free(report->problems);
	*report = (struct report){ 0 };
}
