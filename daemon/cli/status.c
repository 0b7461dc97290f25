/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "daemon/cli/cli_private.h"
#include "daemon/cli/table.h"
#include "lib/base/clock.h"
#include "lib/base/match.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/base/words.h"

/* What a target is, for its cell and for the count: its state where that says more than its level. */
enum verdict {
	OK = LEVEL_OK, WARNING = LEVEL_WARNING, UNKNOWN = LEVEL_UNKNOWN, CRITICAL = LEVEL_CRITICAL,
	PENDING, PAUSED, VERDICT_COUNT
};

static const char *verdict_word(enum verdict verdict)
{
	return verdict == PENDING ? "pending" : verdict == PAUSED ? "paused" : level_name((enum level)verdict);
}

static const char *verdict_sign(enum verdict verdict)
{
	return verdict == PENDING ? "… " : verdict == PAUSED ? "‖ " : table_level_sign((enum level)verdict);
}

static enum table_style verdict_style(enum verdict verdict)
{
	return verdict > CRITICAL ? TABLE_DIM : table_level_style((enum level)verdict);
}

static const char *const titles[] = {
	"TARGET", "LEVEL", "SINCE", "REASON", "LATENCY", "CERTIFICATE", "ADDRESS", NULL
};

static enum verdict verdict_of(const struct json *target)
{
	const char *state = json_get_string(target, "state");
	const char *level = json_get_string(target, "level");

	if (str_equal(state, "paused"))
		return PAUSED;
	if (str_equal(state, "pending") && (level == NULL || str_equal(level, "ok")))
		return PENDING;
	enum level known = LEVEL_UNKNOWN;

	level_parse(level, &known);
	return (enum verdict)known;
}

static bool is_failing(enum verdict verdict)
{
	return verdict == WARNING || verdict == UNKNOWN || verdict == CRITICAL;
}

/* Says what is wrong with the words before the daemon is asked; an empty match is fine. */
static bool check_words(const struct cli *cli, struct error *err)
{
	struct match match = { 0 };
	bool good = match_from_words(&match, cli->words, cli->word_count, err);

	match_done(&match);
	return good;
}

static char *build_request(const struct cli *cli)
{
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_string(&w, "command", "status");
	json_key(&w, "match");
	json_array(&w);
	for (size_t i = 0; i < cli->word_count; i++)
		json_string(&w, cli->words[i]);
	json_array_end(&w);
	json_object_end(&w);
	return str_take(&text);
}

static void add_row(struct table *table, const struct json *target, enum verdict verdict, bool glyphs)
{
	AUTO(string) char *level = mem_printf("%s%s", glyphs ? verdict_sign(verdict) : "", verdict_word(verdict));
	const char *reason = json_get_string(target, "reason");
	int64_t days = json_get_int(target, "certificate_days", INT64_MIN);
	AUTO(string) char *days_text = NULL;

	if (days != INT64_MIN)
		days_text = mem_printf("%lld%s", (long long)days, table->people ? " d" : "");
	table_add(table, TABLE_PLAIN, json_get_string(target, "name"));
	table_add(table, verdict_style(verdict), level);
	table_add_time(table, json_get_string(target, "since"));
	table_add(table, TABLE_PLAIN, reason);
	table_add_seconds(table, json_get_number(target, "latency", -1));
	table_add(table, TABLE_PLAIN, days_text);
	table_add(table, TABLE_PLAIN, json_get_string(target, "address"));
}

static void print_counts(const struct cli *cli, const size_t *counts, size_t total)
{
	static const enum verdict order[] = { CRITICAL, UNKNOWN, WARNING, OK, PENDING, PAUSED };
	const char *separator = ": ";

	fprintf(cli->out, "%zu target%s", total, total == 1 ? "" : "s");
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (counts[order[i]] == 0)
			continue;
		fprintf(cli->out, "%s%zu %s", separator, counts[order[i]], verdict_word(order[i]));
		separator = ", ";
	}
	fputc('\n', cli->out);
}

static void print_table(const struct cli *cli, const struct json *data, const size_t *counts)
{
	const struct json *targets = json_get(data, "targets");
	int64_t now_unix_us = clock_unix_us();
	struct table table;

	table_parse_time(json_get_string(data, "now"), &now_unix_us);
	table_start(&table, titles, cli->io->terminal, cli->color, now_unix_us);
	for (size_t i = 0; i < json_size(targets); i++) {
		const struct json *target = json_at(targets, i);
		enum verdict verdict = verdict_of(target);

		if (is_failing(verdict) || !cli_given(cli, CLI_OPTION_FAILING))
			add_row(&table, target, verdict, cli->io->terminal && cli->io->utf8);
	}
	table_print(&table, cli->out);
	if (cli->io->terminal) {
		fputs(table.count > 0 ? "\n" : "", cli->out);
		print_counts(cli, counts, json_size(targets));
	}
	table_done(&table);
}

/* The answer as it came, but for the targets that nobody asked for. */
static void print_failing_json(const struct cli *cli, const struct json *data)
{
	AUTO(str) struct str text = { 0 };
	const struct json *value;
	struct json_writer w;
	void *iter = NULL;
	const char *key;

	json_start(&w, &text);
	json_object(&w);
	while ((key = json_next(data, &iter, &value)) != NULL) {
		bool targets = strcmp(key, "targets") == 0;
		AUTO(string) char *whole = targets ? NULL : json_dump(value);

		json_key(&w, key);
		if (!targets) {
			json_raw(&w, whole);
			continue;
		}
		json_array(&w);
		for (size_t i = 0; i < json_size(value); i++) {
			AUTO(string) char *target = NULL;

			if (!is_failing(verdict_of(json_at(value, i))))
				continue;
			target = json_dump(json_at(value, i));
			json_raw(&w, target);
		}
		json_array_end(&w);
	}
	json_object_end(&w);
	fprintf(cli->out, "%s\n", text.data);
}

static void tell_own_troubles(const struct cli *cli, const struct json *data)
{
	const struct json *self = json_get(data, "self");
	const char *config_error = json_get_string(data, "config_error");
	bool told = false;

	for (size_t i = 0; i < json_size(self); i++) {
		const struct json *trouble = json_at(self, i);
		const char *reason = json_get_string(trouble, "reason");
		const char *text = json_get_string(trouble, "text");
		const char *since = json_get_string(trouble, "since");

		told = told || str_equal(reason, "config_refused");
		cli_note(cli, "portbelld itself: %s since %s%s%s", reason != NULL ? reason : "trouble",
			 since != NULL ? since : "?", text != NULL ? ": " : "", text != NULL ? text : "");
	}
	if (config_error != NULL && !told)
		cli_note(cli, "the configuration file was refused, the one before runs on:\n%s", config_error);
}

static void tell_waiting(const struct cli *cli, const struct json *data)
{
	const int64_t waiting = json_get_int(data, "messages_waiting", 0);

	if (waiting > 0)
		cli_note(cli, "%" PRId64 " messages are not delivered yet: portbell outbox", waiting);
}

static enum cli_exit show_status(const struct cli *cli, const struct json *data)
{
	const struct json *targets = json_get(data, "targets");
	size_t counts[VERDICT_COUNT] = { 0 };
	bool failing = json_size(json_get(data, "self")) > 0;

	for (size_t i = 0; i < json_size(targets); i++) {
		enum verdict verdict = verdict_of(json_at(targets, i));

		counts[verdict]++;
		failing = failing || is_failing(verdict);
	}
	if (!cli_given(cli, CLI_OPTION_JSON))
		print_table(cli, data, counts);
	else if (cli_given(cli, CLI_OPTION_FAILING))
		print_failing_json(cli, data);
	else
		cli_print_json(cli, data);
	tell_own_troubles(cli, data);
	tell_waiting(cli, data);
	if (cli->word_count > 0 && json_size(targets) == 0)
		return cli_fail(cli, "no target matches");
	return failing ? CLI_FAILED : CLI_FINE;
}

enum cli_exit cli_status(const struct cli *cli)
{
	AUTO(string) char *request = build_request(cli);
	struct error err = { 0 };
	struct json *answer = NULL;
	const struct json *data = NULL;
	enum cli_exit result;

	if (!check_words(cli, &err))
		return cli_usage(cli, "%s", err.text);
	result = cli_ask(cli, request, CLI_ANSWER_MS, &answer, &data);
	if (result == CLI_FINE)
		result = show_status(cli, data);
	json_free(answer);
	return result;
}
