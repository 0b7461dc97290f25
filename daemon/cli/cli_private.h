/* SPDX-License-Identifier: MIT */
/*
 * cli_private - what the command groups share: one run of the program, and how they ask the daemon and complain.
 */
#ifndef PORTBELL_CLI_CLI_PRIVATE_H
#define PORTBELL_CLI_CLI_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cli/cli.h"
#include "lib/base/json.h"

enum {
	CLI_ANSWER_MS = 10000,
	CLI_SLOW_ANSWER_MS = 60000 /* where the daemon itself must wait: a reload, a delivery */
};

enum cli_option_id {
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, CLI_OPTION_JSON, CLI_OPTION_COLOR, CLI_OPTION_QUIET, CLI_OPTION_HELP,
	CLI_OPTION_VERSION, CLI_OPTION_FAILING, CLI_OPTION_RETRY, CLI_OPTION_DROP,
	/* probe */
	CLI_OPTION_TLS, CLI_OPTION_NO_TLS, CLI_OPTION_STARTTLS, CLI_OPTION_IPV4, CLI_OPTION_IPV6, CLI_OPTION_ALL,
	CLI_OPTION_PROFILE, CLI_OPTION_SERVER_NAME, CLI_OPTION_CA_FILE, CLI_OPTION_VERIFY, CLI_OPTION_PROXY,
	CLI_OPTION_SEND, CLI_OPTION_EXPECT,
	CLI_OPTION_TIMEOUT, CLI_OPTION_PROBES, CLI_OPTION_INTERVAL, CLI_OPTION_WARNING, CLI_OPTION_CRITICAL,
	CLI_OPTION_CERT_WARNING, CLI_OPTION_CERT_CRITICAL, CLI_OPTION_NAGIOS, CLI_OPTION_TRACE,
	CLI_OPTION_COUNT
};

struct cli_command;

/* An option that may be given several times, by its place among its like. */
struct cli_step {
	enum cli_option_id option;
	const char *value;
};

struct cli {
	const struct cli_io *io;
	FILE *out;               /* io->out, or nowhere with -q */
	const char *options[CLI_OPTION_COUNT]; /* NULL: not given; "" for one without a value */
	struct cli_step *steps;  /* all that are repeatable, in the order given */
	size_t step_count;
	const char **words;      /* behind the command's name */
	size_t word_count;
	const struct cli_command *command;
	bool color;
};

bool cli_given(const struct cli *cli, enum cli_option_id option);
const char *cli_option_name(enum cli_option_id option); /* without the dashes */
/* Both print one line on `err`: "portbell: ...". They give the exit status for that: a plugin has another. */
enum cli_exit cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum cli_exit cli_fail(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for what is no failure; -q wants none of it. */
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text that was written elsewhere, cleaned for a terminal, line by line. */
void cli_print_lines(FILE *out, const char *text);

/*
 * Asks the daemon. On CLI_FINE *answer is the whole answer (json_free() it) and *data what it brings; else the
 * trouble was told on `err`.
 */
enum cli_exit cli_ask(const struct cli *cli, const char *request, int64_t timeout_ms, struct json **answer,
		      const struct json **data);
void cli_print_json(const struct cli *cli, const struct json *value);

enum cli_exit cli_status(const struct cli *cli);
enum cli_exit cli_reload(const struct cli *cli);
enum cli_exit cli_test(const struct cli *cli);
enum cli_exit cli_outbox(const struct cli *cli);
enum cli_exit cli_probe(const struct cli *cli);
enum cli_exit cli_config_check(const struct cli *cli);
enum cli_exit cli_config_show(const struct cli *cli);
enum cli_exit cli_version(const struct cli *cli);

#endif
