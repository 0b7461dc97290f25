/* SPDX-License-Identifier: MIT */
#include <stdarg.h>

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
