/* SPDX-License-Identifier: MIT */
/*
 * cli - the program `portbell`: options, the table of commands (help is printed from it), exit codes.
 * What a terminal or an environment is comes in through struct cli_io, so that tests bring their own.
 * Data goes to `out`, words about it to `err`.
 */
#ifndef PORTBELL_CLI_CLI_H
#define PORTBELL_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

struct config;
struct report;

enum cli_exit {
	CLI_FINE, CLI_FAILED, CLI_USAGE, CLI_NOT_RUNNING, CLI_NO_PERMISSION,
	/* `probe` exits as a plugin of a monitoring system does; what is wrong with its options is unknown too. */
	CLI_PROBE_OK = 0, CLI_PROBE_WARNING, CLI_PROBE_CRITICAL, CLI_PROBE_UNKNOWN
};

struct cli_io {
	FILE *out;
	FILE *err;
	bool terminal;            /* `out` is one: tables; else tab-separated lines */
	bool utf8;                /* it can show more than ASCII */
	const char *(*variable)(const char *name, void *arg); /* of the environment; NULL: not set */
	void *arg;
	const char *version;
	const char *config_file;  /* without -c */
	/* Reads the files that a configuration names; mistakes go to the report. */
	bool (*check_files)(const struct config *config, struct report *report);
	const char *socket;       /* the system's, where it exists */
};

enum cli_exit cli_main(const struct cli_io *io, int argc, char *const *argv);

#endif
