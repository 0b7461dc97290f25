/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "daemon/cli/cli_private.h"
#include "daemon/probe/outfit.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"

static const char *config_file(const struct cli *cli)
{
	if (cli->word_count > 0)
		return cli->words[0];
	return cli_given(cli, CLI_OPTION_CONFIG) ? cli->options[CLI_OPTION_CONFIG] : cli->io->config_file;
}

/* Only in the unit are its credentials and variables there: elsewhere one that is missing is no mistake. */
static struct config_env real_environment(const struct cli *cli)
{
	const char *credentials = cli->io->variable("CREDENTIALS_DIRECTORY", cli->io->arg);

	return (struct config_env){
		.variable = cli->io->variable, .arg = cli->io->arg,
		.credentials_directory = credentials, .lenient = credentials == NULL,
		.check_ciphers = outfit_check_ciphers,
	};
}

static void print_json(const struct cli *cli, const struct config *config, const struct report *report)
{
	AUTO(str) struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_bool(&w, "ok", config != NULL);
	if (config != NULL) {
		json_key_int(&w, "targets", (int64_t)config->target_count);
		json_key_int(&w, "senders", (int64_t)config->sender_count);
	}
	json_key(&w, "problems");
	json_array(&w);
	for (size_t i = 0; i < report->count; i++) {
		const struct problem *problem = &report->problems[i];

		json_object(&w);
		json_key_bool(&w, "note", problem->note);
		json_key_string(&w, "where", problem->where);
		json_key_string(&w, "path", problem->path);
		json_key_string(&w, "text", problem->text);
		json_object_end(&w);
	}
	json_array_end(&w);
	json_object_end(&w);
	fprintf(cli->out, "%s\n", text.data);
}

static void print_words(const struct cli *cli, const struct config *config, const struct report *report)
{
	if (config == NULL || !cli_given(cli, CLI_OPTION_QUIET))
		report_print(report, cli->io->err);
	if (config != NULL)
		fprintf(cli->out, "configuration ok: %zu targets, %zu senders\n", config->target_count,
			config->sender_count);
}

enum cli_exit cli_config_check(const struct cli *cli)
{
	struct config_env env = real_environment(cli);
	struct report report = { 0 };
	struct config *config = config_load(config_file(cli), &env, &report);
	enum cli_exit result;

	if (config != NULL && cli->io->check_files != NULL && !cli->io->check_files(config, &report)) {
		config_free(config);
		config = NULL;
	}
	result = config != NULL ? CLI_FINE : CLI_FAILED;
	if (cli_given(cli, CLI_OPTION_JSON))
		print_json(cli, config, &report);
	else
		print_words(cli, config, &report);
	config_free(config);
	report_done(&report);
	return result;
}

enum cli_exit cli_config_show(const struct cli *cli)
{
	struct config_env env = real_environment(cli);
	struct report report = { 0 };
	bool good;

	if (cli_given(cli, CLI_OPTION_JSON))
		return cli_usage(cli, "config show prints YAML: there is no --json for it");
	good = config_print(config_file(cli), &env, cli->out, &report);
	if (!good)
		report_print(&report, cli->io->err);
	report_done(&report);
	return good ? CLI_FINE : CLI_FAILED;
}
