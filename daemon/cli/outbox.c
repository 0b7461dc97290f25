/* SPDX-License-Identifier: MIT */
#include "daemon/cli/cli_private.h"
#include "daemon/cli/table.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static const char *const titles[] = {
	"ID", "SENDER", "STATE", "CREATED", "ATTEMPTS", "NEXT TRY", "ERROR", "TITLE", NULL
};

static char *build_request(const char *command, const char *key, const char *value)
{
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_string(&w, "command", command);
	if (key != NULL)
		json_key_string(&w, key, value);
	json_object_end(&w);
	return str_take(&text);
}

static void add_row(struct table *table, const struct json *message, bool dead)
{
	AUTO(string) char *attempts = mem_printf("%lld", (long long)json_get_int(message, "attempts", 0));

	table_add(table, TABLE_PLAIN, json_get_string(message, "id"));
	table_add(table, TABLE_PLAIN, json_get_string(message, "sender"));
	table_add(table, dead ? TABLE_BAD : TABLE_WARNING, json_get_string(message, "state"));
	table_add_time(table, json_get_string(message, "created"));
	table_add(table, TABLE_PLAIN, attempts);
	table_add_time(table, json_get_string(message, "next_try"));
	table_add(table, TABLE_PLAIN, json_get_string(message, "error"));
	table_add(table, TABLE_PLAIN, json_get_string(message, "title"));
}

static void print_messages(const struct cli *cli, const struct json *messages)
{
	struct table table;
	size_t dead_count = 0;

	table_start(&table, titles, cli->io->terminal, cli->color, clock_unix_us());
	for (size_t i = 0; i < json_size(messages); i++) {
		const struct json *message = json_at(messages, i);
		bool dead = str_equal(json_get_string(message, "state"), "dead");

		dead_count += dead;
		add_row(&table, message, dead);
	}
	table_print(&table, cli->out);
	if (cli->io->terminal)
		fprintf(cli->out, "%s%zu waiting, %zu dead\n", table.count > 0 ? "\n" : "",
			json_size(messages) - dead_count, dead_count);
	table_done(&table);
}

static enum cli_exit change_message(const struct cli *cli, const char *command, const char *id, const char *done)
{
	AUTO(string) char *request = build_request(command, "id", id);
	struct json *answer = NULL;
	const struct json *data = NULL;
	enum cli_exit result = cli_ask(cli, request, CLI_ANSWER_MS, &answer, &data);

	if (result == CLI_FINE && cli_given(cli, CLI_OPTION_JSON))
		cli_print_json(cli, data);
	else if (result == CLI_FINE)
		fprintf(cli->out, "%s: %s\n", id, done);
	json_free(answer);
	return result;
}

enum cli_exit cli_outbox(const struct cli *cli)
{
	const char *retry = cli->options[CLI_OPTION_RETRY];
	const char *drop = cli->options[CLI_OPTION_DROP];
	AUTO(string) char *request = NULL;
	struct json *answer = NULL;
	const struct json *data = NULL;
	enum cli_exit result;

	if (retry != NULL && drop != NULL)
		return cli_usage(cli, "--retry and --drop do not go together");
	if (retry != NULL)
		return change_message(cli, "outbox_retry", retry, "is tried again");
	if (drop != NULL)
		return change_message(cli, "outbox_drop", drop, "dropped");
	request = build_request("outbox", NULL, NULL);
	result = cli_ask(cli, request, CLI_ANSWER_MS, &answer, &data);
	if (result == CLI_FINE && cli_given(cli, CLI_OPTION_JSON))
		cli_print_json(cli, data);
	else if (result == CLI_FINE)
		print_messages(cli, json_get(data, "messages"));
	json_free(answer);
	return result;
}

enum cli_exit cli_test(const struct cli *cli)
{
	AUTO(string) char *request = build_request("test", "sender", cli->words[0]);
	struct json *answer = NULL;
	const struct json *data = NULL;
	enum cli_exit result = cli_ask(cli, request, CLI_SLOW_ANSWER_MS, &answer, &data);
	const char *text = json_get_string(data, "text");

	if (result == CLI_FINE && cli_given(cli, CLI_OPTION_JSON)) {
		cli_print_json(cli, data);
	} else if (result == CLI_FINE) {
		AUTO(string) char *line = mem_printf("%s: %s", cli->words[0], text != NULL ? text : "delivered");

		cli_print_lines(cli->out, line);
	}
	json_free(answer);
	return result;
}
