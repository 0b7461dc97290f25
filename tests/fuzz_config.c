/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memfd_create(), memmem() */
/*
 * Any bytes as portbell.yaml: what loads must print and load again, what does not must say why. The file is in
 * memory. Inputs that include files are left out: a glob over the real disk takes long and finds nothing new.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *variable(const char *name, void *arg)
{
	(void)arg;
	return name[0] == 'A' ? "[value" : NULL;
}

static const struct config_env env = { .variable = variable, .lenient = true };

/* A file in memory that only we may write, and its name; -1 if there is none to be had. */
static int file_make(const void *data, size_t bytes, char name[32])
{
	int fd = memfd_create("config", MFD_CLOEXEC);

	if (fd < 0 || fchmod(fd, 0600) < 0 || write(fd, data, bytes) != (ssize_t)bytes)
		abort();
	snprintf(name, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void check_report(const struct report *report, bool loaded)
{
	assert((report->mistakes == 0) == loaded);
	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		assert(strpbrk(report->problems[i].path, "\r\n\x1b") == NULL);
		assert(line[0] != '\0');
	}
}

/* What was printed must load, to as many targets and senders. */
static void check_print(const char *name, const struct config *config)
{
	struct report report = { 0 };
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);
	struct config *again;
	char printed[32];
	int fd;

	if (!config_print(name, &env, out, &report))
		abort();
	fclose(out);
	fd = file_make(text, bytes, printed);
	again = config_load(printed, &env, &report);
	assert(again != NULL);
	assert(again->target_count == config->target_count && again->sender_count == config->sender_count);
	config_free(again);
	close(fd);
	free(text);
	report_done(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct report report = { 0 };
	struct config *config;
	char name[32];
	int fd;

	if (memmem(data, bytes, "include", 7) != NULL)
		return 0;
	fd = file_make(data, bytes, name);
	config = config_load(name, &env, &report);
	check_report(&report, config != NULL);
	/* In a lenient load values that hang on something missing stay empty. */
	if (config != NULL && report.count == 0)
		check_print(name, config);
	config_free(config);
	report_done(&report);
	close(fd);
	return 0;
}
