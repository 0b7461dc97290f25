/* SPDX-License-Identifier: MIT */
/* `portbell probe`: from options to a target, probes, and what is printed of them. */
#include <inttypes.h>
#include <string.h>

#include "daemon/cli/cli_private.h"
#include "daemon/cli/probe_nagios.h"
#include "daemon/cli/probe_page.h"
#include "daemon/cli/probe_run.h"
#include "daemon/cli/probe_stats.h"
#include "daemon/cli/probe_trace.h"
#include "daemon/cli/table.h"
#include "daemon/probe/outfit.h"
#include "daemon/view_probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/value.h"
#include "lib/proto/starttls.h"

enum {
	SETTINGS_MAX = 160,
	STEPS_MAX = 100,
	COLUMNS = 80,
	PROBES_MAX = 1000000,
	INTERVAL_MS = 1000,
	INTERVAL_MIN_MS = 10
};

/* From an option to keys of the target. */
static const struct {
	enum cli_option_id option;
	const char *origin;
	const char *key;
	const char *text; /* NULL: the option's value */
} rows[] = {
	{ CLI_OPTION_PROFILE, "--profile", "profile", NULL },
	{ CLI_OPTION_TLS, "--tls", "tls", "on" },
	{ CLI_OPTION_NO_TLS, "--no-tls", "tls", "off" },
	{ CLI_OPTION_STARTTLS, "--starttls", "tls", "on" },
	{ CLI_OPTION_STARTTLS, "--starttls", "tls.starttls", NULL },
	{ CLI_OPTION_SERVER_NAME, "--server-name", "tls.server_name", NULL },
	{ CLI_OPTION_CA_FILE, "--ca-file", "tls.ca_file", NULL },
	{ CLI_OPTION_VERIFY, "--verify", "tls.verify", NULL },
	{ CLI_OPTION_IPV4, "--ipv4", "family", "ipv4" },
	{ CLI_OPTION_IPV6, "--ipv6", "family", "ipv6" },
	{ CLI_OPTION_ALL, "--all", "addresses", "all" },
	{ CLI_OPTION_PROXY, "--proxy", "proxy", NULL },
	{ CLI_OPTION_TIMEOUT, "--timeout", "timeout", NULL },
	{ CLI_OPTION_TIMEOUT, "--timeout", "interval", "7d" }, /* which must be longer, and is of no use here */
	{ CLI_OPTION_WARNING, "--warning", "latency", "on" },
	{ CLI_OPTION_WARNING, "--warning", "latency.warning", NULL },
	{ CLI_OPTION_CRITICAL, "--critical", "latency", "on" },
	{ CLI_OPTION_CRITICAL, "--critical", "latency.critical", NULL },
	{ CLI_OPTION_CERT_WARNING, "--cert-warning", "certificate", "on" },
	{ CLI_OPTION_CERT_WARNING, "--cert-warning", "certificate.warning", NULL },
	{ CLI_OPTION_CERT_CRITICAL, "--cert-critical", "certificate", "on" },
	{ CLI_OPTION_CERT_CRITICAL, "--cert-critical", "certificate.critical", NULL },
};

/* Options that make no sense together. */
static const enum cli_option_id rivals[][2] = {
	{ CLI_OPTION_TLS, CLI_OPTION_NO_TLS },		{ CLI_OPTION_TLS, CLI_OPTION_STARTTLS },
	{ CLI_OPTION_NO_TLS, CLI_OPTION_STARTTLS },	{ CLI_OPTION_NO_TLS, CLI_OPTION_SERVER_NAME },
	{ CLI_OPTION_NO_TLS, CLI_OPTION_CA_FILE },	{ CLI_OPTION_NO_TLS, CLI_OPTION_VERIFY },
	{ CLI_OPTION_NO_TLS, CLI_OPTION_CERT_WARNING }, { CLI_OPTION_NO_TLS, CLI_OPTION_CERT_CRITICAL },
	{ CLI_OPTION_IPV4, CLI_OPTION_IPV6 },		{ CLI_OPTION_NAGIOS, CLI_OPTION_JSON },
	{ CLI_OPTION_NAGIOS, CLI_OPTION_PROBES },	{ CLI_OPTION_NAGIOS, CLI_OPTION_INTERVAL },
};

static const enum cli_option_id tls_options[] = { CLI_OPTION_SERVER_NAME, CLI_OPTION_CA_FILE, CLI_OPTION_VERIFY,
						  CLI_OPTION_CERT_WARNING, CLI_OPTION_CERT_CRITICAL };

struct settings {
	struct setting list[SETTINGS_MAX];
	char *owned[SETTINGS_MAX]; /* a text by the same index, if it was made here */
	size_t count;
};

/* What is said of a run of probes. */
struct course {
	size_t count; /* 0: until it is interrupted */
	bool many;
	int64_t interval_us;
	enum level worst;
	struct probe_stats stats;
	struct str json; /* of all probes */
	struct json_writer w;
};

/* Settings */

static void settings_add(struct settings *settings, const char *key, const char *text, const char *origin,
			 bool weak)
{
	settings->list[settings->count++] =
		(struct setting){ .key = key, .text = text, .origin = origin, .weak = weak };
}

/* "25%,21d" is a list. */
static void settings_add_parts(struct settings *settings, const char *key, const char *text, const char *origin)
{
	size_t parts = 0;

	do {
		const size_t bytes = strcspn(text, ",");

		settings->owned[settings->count] = mem_strndup(text, bytes);
		settings_add(settings, key, settings->owned[settings->count], origin, false);
		text += bytes + (text[bytes] == ',' ? 1 : 0);
	} while (*text != '\0' && ++parts < 3);
}

static bool has_key(const struct settings *settings, const char *key)
{
	for (size_t i = 0; i < settings->count; i++)
		if (strcmp(settings->list[i].key, key) == 0)
			return true;
	return false;
}

static int digit_of(char c)
{
	const char *digits = "0123456789abcdef";
	const char *found = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return found != NULL ? (int)(found - digits) : -1;
}

/* A shell has no good way to write line ends: \r \n \t \\ and \xNN are those of YAML. NULL: it is none of them. */
static char *unescape(const char *text)
{
	static const char letters[] = "rnt\\", meanings[] = "\r\n\t\\";
	AUTO(str) struct str plain = { 0 };

	for (const char *p = text; *p != '\0'; p++) {
		const char *letter = p[0] == '\\' && p[1] != '\0' ? strchr(letters, p[1]) : NULL;
		const bool hex = p[0] == '\\' && p[1] == 'x' && digit_of(p[2]) >= 0 && digit_of(p[3]) >= 0;

		if (p[0] != '\\') {
			str_add_char(&plain, p[0]);
		} else if (letter != NULL) {
			str_add_char(&plain, meanings[letter - letters]);
			p++;
		} else if (hex && digit_of(p[2]) + digit_of(p[3]) > 0) {
			str_add_char(&plain, (char)(digit_of(p[2]) * 16 + digit_of(p[3])));
			p += 3;
		} else {
			return NULL;
		}
	}
	return str_take(&plain);
}

static void settings_done(struct settings *settings)
{
	for (size_t i = 0; i < settings->count; i++)
		free(settings->owned[i]);
}

static bool is_given(const struct cli *cli, const enum cli_option_id *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (cli_given(cli, options[i]))
			return true;
	return false;
}

/* How TLS begins where nobody says it: by the port; by an option that makes sense only with it. */
static void add_usual_tls(const struct cli *cli, struct settings *settings, uint16_t port)
{
	static const uint16_t tls_ports[] = { 443, 465, 636, 853, 993, 995 };
	const enum starttls starttls = starttls_of_port(port);
	bool tls = starttls != STARTTLS_NONE ||
		   is_given(cli, tls_options, sizeof(tls_options) / sizeof(tls_options[0]));

	for (size_t i = 0; i < sizeof(tls_ports) / sizeof(tls_ports[0]); i++)
		tls = tls || port == tls_ports[i];
	if (tls)
		settings_add(settings, "tls", "on", cli->words[0], true);
	if (starttls != STARTTLS_NONE)
		settings_add(settings, "tls.starttls", starttls_name(starttls), cli->words[0], true);
}

static void add_step(struct settings *settings, const struct cli_step *step)
{
	const bool send = step->option == CLI_OPTION_SEND;
	char *text = send ? unescape(step->value) : mem_strdup(step->value);

	settings->owned[settings->count] = text;
	settings_add(settings, "exchange", text, send ? "--send" : "--expect", false);
	settings->list[settings->count - 1].step = send ? "send" : "expect";
}

static void add_settings(const struct cli *cli, struct settings *settings, uint16_t port)
{
	settings_add(settings, "address", cli->words[0], cli->words[0], false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *text = rows[i].text != NULL ? rows[i].text : cli->options[rows[i].option];

		if (!cli_given(cli, rows[i].option))
			continue;
		/* Two options may switch on one map. */
		if (rows[i].text != NULL && has_key(settings, rows[i].key))
			continue;
		if (str_starts(rows[i].key, "certificate."))
			settings_add_parts(settings, rows[i].key, text, rows[i].origin);
		else
			settings_add(settings, rows[i].key, text, rows[i].origin, false);
	}
	if (cli_given(cli, CLI_OPTION_WARNING) || cli_given(cli, CLI_OPTION_CRITICAL))
		settings_add(settings, "latency.phase", phase_name(PHASE_TOTAL), "--warning", false);
	for (size_t i = 0; i < cli->step_count; i++)
		add_step(settings, &cli->steps[i]);
	add_usual_tls(cli, settings, port);
}

/* Complaints */

/* With --nagios it is the plugin's line as well. */
static enum cli_exit give_up(const struct cli *cli, const char *text)
{
	AUTO(str) struct str line = { 0 };

	if (!cli_given(cli, CLI_OPTION_NAGIOS))
		return cli_usage(cli, "%s", text);
	probe_nagios_unknown(&line, text);
	fprintf(cli->out, "%s\n", line.data);
	return CLI_PROBE_UNKNOWN;
}

static bool is_origin(const struct settings *settings, const char *where)
{
	for (size_t i = 0; i < settings->count; i++)
		if (strcmp(settings->list[i].origin, where) == 0)
			return true;
	return false;
}

/* Of options the place is the option, of a file it is the line. */
static enum cli_exit tell_mistakes(const struct cli *cli, const struct settings *settings,
				   const struct report *report)
{
	const char *separator = cli_given(cli, CLI_OPTION_NAGIOS) ? "; " : "\nportbell: ";
	AUTO(str) struct str text = { 0 };

	for (size_t i = 0; i < report->count; i++) {
		const struct problem *problem = &report->problems[i];
		AUTO(string) char *whole = problem_print(problem);
		AUTO(string) char *short_text = mem_printf("%s: %s", problem->where, problem->text);

		if (!problem->note)
			str_addf(&text, "%s%s", text.bytes > 0 ? separator : "",
				 is_origin(settings, problem->where) ? short_text : whole);
	}
	return give_up(cli, text.data != NULL ? text.data : "that cannot be probed");
}

static enum cli_exit check_rivals(const struct cli *cli)
{
	for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++)
		if (cli_given(cli, rivals[i][0]) && cli_given(cli, rivals[i][1]))
			return cli_usage(cli, "--%s and --%s do not go together", cli_option_name(rivals[i][0]),
					 cli_option_name(rivals[i][1]));
	return CLI_PROBE_OK;
}

/* The target's own configuration says how it is probed. */
static enum cli_exit check_name_options(const struct cli *cli)
{
	static const enum cli_option_id others[] = { CLI_OPTION_PROBES, CLI_OPTION_INTERVAL, CLI_OPTION_TRACE };
	const char *wrong = cli->step_count > 0 ? cli_option_name(cli->steps[0].option) : NULL;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (cli_given(cli, rows[i].option))
			wrong = cli_option_name(rows[i].option);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (cli_given(cli, others[i]))
			wrong = cli_option_name(others[i]);
	if (wrong == NULL)
		return CLI_PROBE_OK;
	return cli_usage(cli, "--%s goes with HOST:PORT; the daemon probes \"%s\" as its configuration says",
			 wrong, cli->words[0]);
}

static enum cli_exit check_steps(const struct cli *cli)
{
	if (cli->step_count > STEPS_MAX)
		return cli_usage(cli, "--send and --expect: at most %d together", STEPS_MAX);
	for (size_t i = 0; i < cli->step_count; i++) {
		AUTO(string) char *text = unescape(cli->steps[i].value);

		if (text == NULL && cli->steps[i].option == CLI_OPTION_SEND)
			return cli_usage(
				cli, "--send: a backslash stands before r, n, t, another one or x and two digits "
				     "(not 00)");
	}
	return CLI_PROBE_OK;
}

static enum cli_exit read_course(const struct cli *cli, struct course *course)
{
	const char *count_text = cli->options[CLI_OPTION_PROBES];
	const char *interval_text = cli->options[CLI_OPTION_INTERVAL];
	int64_t count = 0, interval_ms = INTERVAL_MS;
	struct error err;

	if (count_text != NULL && (!value_count(count_text, &count, &err) || count < 1 || count > PROBES_MAX))
		return cli_usage(cli, "--count: a whole number from 1 to %d", PROBES_MAX);
	if (interval_text != NULL && !value_duration(interval_text, &interval_ms, &err))
		return cli_usage(cli, "--interval: %s", err.text);
	if (interval_ms < INTERVAL_MIN_MS)
		return cli_usage(cli, "--interval: at least %dms", INTERVAL_MIN_MS);
	course->many = count_text != NULL || interval_text != NULL;
	course->count = count_text != NULL ? (size_t)count : course->many ? 0 : 1;
	course->interval_us = interval_ms * US_PER_MS;
	return CLI_PROBE_OK;
}

/* Output */

static struct page_style style_of(const struct cli *cli)
{
	return (struct page_style){
		.signs = cli->io->terminal && cli->io->utf8,
		.blocks = cli->io->utf8,
		.color = cli->color,
		.columns = COLUMNS,
	};
}

static void print_probe(const struct cli *cli, const struct json *probe)
{
	const struct page_style style = style_of(cli);
	AUTO(str) struct str text = { 0 };

	if (cli_given(cli, CLI_OPTION_NAGIOS)) {
		probe_nagios(&text, probe);
		str_add_char(&text, '\n');
	} else {
		probe_page(&text, probe, &style);
	}
	fputs(text.data, cli->out);
	fflush(cli->out);
}

static void print_line(const struct cli *cli, const struct json *probe, size_t number)
{
	const struct page_style style = style_of(cli);
	AUTO(str) struct str text = { 0 };

	probe_line(&text, probe, number, &style);
	fputs(text.data, cli->out);
	fflush(cli->out);
}

static void print_summary(const struct cli *cli, struct course *course)
{
	static const char *const titles[] = {
		"PHASE", "MIN", "AVG", "P50", "P95", "P99", "MAX", "DEVIATION", NULL
	};
	struct probe_stats *stats = &course->stats;
	struct table table;

	fprintf(cli->out, "\n%s: %zu sent, %zu lost (%.1f %%)\n", cli->words[0], stats->sent, stats->lost,
		stats->sent > 0 ? 100.0 * (double)stats->lost / (double)stats->sent : 0);
	table_start(&table, titles, true, cli->color, 0);
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++) {
		struct probe_figures figures;

		if (!probe_stats_figures(stats, phase, &figures))
			continue;
		const int64_t values_us[] = { figures.min_us, figures.avg_us, figures.p50_us,	   figures.p95_us,
					      figures.p99_us, figures.max_us, figures.deviation_us };

		table_add(&table, TABLE_PLAIN, phase_name(phase));
		for (size_t i = 0; i < sizeof(values_us) / sizeof(values_us[0]); i++)
			table_add_seconds(&table, (double)values_us[i] / 1e6);
	}
	table_print(&table, cli->out);
	table_done(&table);
}

/* Probing */

static void on_result(const struct cli *cli, const struct config *config, const struct result *result,
		      struct course *course)
{
	AUTO(str) struct str text = { 0 };
	struct probed probed;
	struct json_writer w;
	struct json *probe;
	struct error err;

	probed_judge(&probed, &config->targets[0], result, result->facts, clock_unix_us());
	json_start(&w, &text);
	view_probe(&w, &probed);
	if (probed.checks[probed.worst].level > course->worst)
		course->worst = probed.checks[probed.worst].level;
	if (cli_given(cli, CLI_OPTION_JSON) && !course->many) {
		fprintf(cli->out, "%s\n", text.data);
		fflush(cli->out);
		return;
	}
	probe = json_parse(text.data, text.bytes, &err);
	probe_stats_add(&course->stats, probe);
	if (cli_given(cli, CLI_OPTION_JSON))
		json_raw(&course->w, text.data);
	else if (course->many)
		print_line(cli, probe, course->stats.sent);
	else
		print_probe(cli, probe);
	json_free(probe);
}

/* The next place in the rhythm; those that a slow probe took are left out. */
static int64_t next_start_us(int64_t last_us, int64_t interval_us)
{
	const int64_t now_us = clock_mono_us();

	return now_us <= last_us + interval_us ? last_us + interval_us :
						 now_us + interval_us - (now_us - last_us) % interval_us;
}

struct tracing {
	FILE *err;
	struct trace_style style;
};

static void on_trace(const struct probe_trace *trace, void *arg)
{
	const struct tracing *tracing = arg;
	AUTO(str) struct str text = { 0 };

	probe_trace(&text, trace, &tracing->style);
	if (text.data != NULL)
		fputs(text.data, tracing->err);
}

static void run_course(const struct cli *cli, const struct config *config, struct probe_run *run,
		       struct course *course)
{
	int64_t start_us = clock_mono_us();

	for (size_t i = 0; course->count == 0 || i < course->count; i++) {
		struct result result;

		if (i > 0) {
			start_us = next_start_us(start_us, course->interval_us);
			if (!probe_run_sleep_until(run, start_us))
				break;
		}
		if (!probe_run_once(run, &result))
			break;
		on_result(cli, config, &result, course);
		result_done(&result);
		if (ferror(cli->out))
			break;
	}
}

static void finish_course(const struct cli *cli, struct course *course)
{
	if (!course->many)
		return;
	if (!cli_given(cli, CLI_OPTION_JSON)) {
		print_summary(cli, course);
		return;
	}
	json_array_end(&course->w);
	json_key(&course->w, "summary");
	probe_stats_write(&course->w, &course->stats);
	json_object_end(&course->w);
	fprintf(cli->out, "%s\n", course->json.data);
}

static enum cli_exit exit_of(enum level level)
{
	static const enum cli_exit exits[LEVEL_COUNT] = {
		[LEVEL_OK] = CLI_PROBE_OK,
		[LEVEL_WARNING] = CLI_PROBE_WARNING,
		[LEVEL_CRITICAL] = CLI_PROBE_CRITICAL,
		[LEVEL_UNKNOWN] = CLI_PROBE_UNKNOWN,
	};

	return exits[level];
}

static enum cli_exit probe_config(const struct cli *cli, const struct config *config, struct course *course)
{
	struct error err;
	struct probe_run *run = probe_run_new(config, course->many, &err);
	struct tracing tracing = {
		.err = cli->io->err,
		.style = {
			.hide_proxy = config->targets[0].proxy.username != NULL,
			.hide_exchange = cli->step_count == 0,
			.addresses = config->targets[0].all_addresses,
		},
	};

	if (run == NULL)
		return give_up(cli, err.text);
	if (cli_given(cli, CLI_OPTION_TRACE))
		probe_run_on_trace(run, on_trace, &tracing);
	json_start(&course->w, &course->json);
	json_object(&course->w);
	json_key(&course->w, "probes");
	json_array(&course->w);
	run_course(cli, config, run, course);
	finish_course(cli, course);
	fflush(cli->out);
	probe_run_free(run);
	return course->stats.sent > 0 || !course->many ? exit_of(course->worst) : CLI_PROBE_UNKNOWN;
}

/* The daemon, asked to probe a target of its own. */
static enum cli_exit probe_name(const struct cli *cli)
{
	AUTO(str) struct str request = { 0 };
	struct json_writer w;
	struct json *answer = NULL;
	const struct json *probe = NULL;
	enum level level = LEVEL_UNKNOWN;

	json_start(&w, &request);
	json_object(&w);
	json_key_string(&w, "command", "probe");
	json_key_string(&w, "target", cli->words[0]);
	json_object_end(&w);
	if (cli_ask(cli, request.data, CLI_SLOW_ANSWER_MS, &answer, &probe) != CLI_FINE) {
		if (cli_given(cli, CLI_OPTION_NAGIOS))
			fprintf(cli->out, "TCP UNKNOWN - portbelld could not be asked\n");
		else
			cli_note(cli, "HOST:PORT is probed without it");
		return CLI_PROBE_UNKNOWN;
	}
	if (cli_given(cli, CLI_OPTION_JSON))
		cli_print_json(cli, probe);
	else
		print_probe(cli, probe);
	level_parse(json_get_string(probe, "level"), &level);
	json_free(answer);
	return exit_of(level);
}

/* Nobody shall take a certificate for good because nobody was asked. */
static void note_revocation(const struct cli *cli, const struct target_config *target)
{
	if (target->tls && (target->revocation == REVOCATION_CRL || target->revocation == REVOCATION_OCSP))
		cli_note(cli, "certificate.revocation: %s is asked by the daemon only",
			 target->revocation == REVOCATION_CRL ? "crl" : "ocsp");
}

static enum cli_exit probe_address(const struct cli *cli, uint16_t port, struct course *course)
{
	const struct config_env env = {
		.variable = cli->io->variable,
		.arg = cli->io->arg,
		.credentials_directory = cli->io->variable("CREDENTIALS_DIRECTORY", cli->io->arg),
		.check_ciphers = outfit_check_ciphers,
		.lenient = true,
	};
	struct settings settings = { .count = 0 };
	struct report report = { 0 };
	const char *file = NULL;
	struct config *config;
	enum cli_exit result;

	add_settings(cli, &settings, port);
	if (cli_given(cli, CLI_OPTION_CONFIG))
		file = cli->options[CLI_OPTION_CONFIG];
	else if (cli_given(cli, CLI_OPTION_PROFILE))
		file = cli->io->config_file;
	config = config_load_target(file, settings.list, settings.count, &env, &report);
	if (config == NULL)
		result = tell_mistakes(cli, &settings, &report);
	else if (!config->targets[0].tls &&
		 is_given(cli, tls_options, sizeof(tls_options) / sizeof(tls_options[0])))
		result = give_up(cli, "the profile says that there is no TLS: --tls if there is");
	else
		result = probe_config(cli, config, course);
	if (config != NULL)
		note_revocation(cli, &config->targets[0]);
	config_free(config);
	report_done(&report);
	settings_done(&settings);
	return result;
}

enum cli_exit cli_probe(const struct cli *cli)
{
	AUTO(string) char *host = NULL;
	AUTO(string) char *text = NULL;
	struct course course = { .worst = LEVEL_OK };
	enum cli_exit result = check_rivals(cli);
	uint16_t port = 0;
	struct error err;

	if (result == CLI_PROBE_OK)
		result = read_course(cli, &course);
	if (result == CLI_PROBE_OK)
		result = check_steps(cli);
	if (result == CLI_PROBE_OK && strchr(cli->words[0], ':') == NULL) {
		result = check_name_options(cli);
		if (result == CLI_PROBE_OK)
			result = probe_name(cli);
	} else if (result == CLI_PROBE_OK && !address_split(cli->words[0], &host, &port, &err)) {
		text = mem_printf("%s: %s", cli->words[0], err.text);
		result = give_up(cli, text);
	} else if (result == CLI_PROBE_OK) {
		result = probe_address(cli, port, &course);
	}
	probe_stats_done(&course.stats);
	str_done(&course.json);
	return result;
}
