/* SPDX-License-Identifier: MIT */
#include "daemon/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/cli/cli_private.h"
#include "daemon/cli/client.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { ANY_WORDS = 1000, HELP_COLUMN = 34, PRINT_MAX_BYTES = 4096 };

struct cli_option {
	const char *name;
	char letter;          /* 0: none */
	const char *argument; /* NULL: takes none */
	const char *help;
};

struct cli_command {
	const char *name;      /* one or two words */
	const char *arguments; /* as help shows them */
	const char *help;
	const char *details;   /* for `portbell COMMAND --help`; may be NULL */
	size_t words_min;
	size_t words_max;
	uint64_t options;      /* besides the global ones */
	enum cli_exit (*run)(const struct cli *cli);
};

static const struct cli_option options[CLI_OPTION_COUNT] = {
	[CLI_OPTION_CONFIG] = { "config", 'c', "FILE", "the file for `config`, and for the profiles of `probe`" },
	[CLI_OPTION_SOCKET] = { "socket", 0, "PATH", "the daemon's control socket" },
	[CLI_OPTION_JSON] = { "json", 0, NULL, "print JSON" },
	[CLI_OPTION_COLOR] = { "color", 0, "WHEN", "auto, always or never" },
	[CLI_OPTION_QUIET] = { "quiet", 'q', NULL, "print only errors: the exit status answers" },
	[CLI_OPTION_HELP] = { "help", 'h', NULL, "print help, also on a command" },
	[CLI_OPTION_VERSION] = { "version", 0, NULL, "print the version" },
	[CLI_OPTION_FAILING] = { "failing", 0, NULL, "only targets that are not ok" },
	[CLI_OPTION_RETRY] = { "retry", 0, "ID", "try this message again now, a dead letter too" },
	[CLI_OPTION_DROP] = { "drop", 0, "ID", "forget this message: it is not delivered" },
	[CLI_OPTION_TLS] = { "tls", 0, NULL, "TLS from the first byte" },
	[CLI_OPTION_NO_TLS] = { "no-tls", 0, NULL, "the TCP connection alone" },
	[CLI_OPTION_STARTTLS] = { "starttls", 0, "PROTOCOL", "smtp, imap, ...: TLS once that is asked for" },
	[CLI_OPTION_IPV4] = { "ipv4", '4', NULL, "only IPv4 addresses" },
	[CLI_OPTION_IPV6] = { "ipv6", '6', NULL, "only IPv6 addresses" },
	[CLI_OPTION_ALL] = { "all", 0, NULL, "every address of the name, not one that works" },
	[CLI_OPTION_PROFILE] = { "profile", 0, "NAME", "a profile of the configuration file" },
	[CLI_OPTION_SERVER_NAME] = { "server-name", 0, "NAME", "the name that is sent and verified" },
	[CLI_OPTION_CA_FILE] = { "ca-file", 0, "FILE", "authorities in PEM, instead of the system's" },
	[CLI_OPTION_VERIFY] = { "verify", 0, "HOW", "full, chain (not the name) or off" },
	[CLI_OPTION_PROXY] = { "proxy", 0, "URL", "socks5://, socks5h:// or http://host:port" },
	[CLI_OPTION_SEND] = { "send", 0, "TEXT", "send that once connected (\\r \\n \\xNN)" },
	[CLI_OPTION_EXPECT] = { "expect", 0, "REGEX", "wait for a match; both in the order given" },
	[CLI_OPTION_TIMEOUT] = { "timeout", 0, "TIME", "for the whole probe (10s)" },
	[CLI_OPTION_PROBES] = { "count", 0, "N", "so many probes, and a summary" },
	[CLI_OPTION_INTERVAL] = { "interval", 0, "TIME", "from one to the next (1s)" },
	[CLI_OPTION_WARNING] = { "warning", 0, "TIME", "taking longer is a warning" },
	[CLI_OPTION_CRITICAL] = { "critical", 0, "TIME", "taking longer is critical" },
	[CLI_OPTION_CERT_WARNING] = { "cert-warning", 0, "LEFT", "21d, 25% or 25%,21d: less left is a warning" },
	[CLI_OPTION_CERT_CRITICAL] = { "cert-critical", 0, "LEFT", "the same for critical" },
	[CLI_OPTION_TRACE] = { "trace", 0, NULL, "on standard error: what was sent and received" },
	[CLI_OPTION_NAGIOS] = { "nagios", 0, NULL, "print the line of a monitoring plugin" },
};

#define OPTION_BIT(id) (UINT64_C(1) << (id))
_Static_assert(CLI_OPTION_COUNT <= 64, "a set holds every option");

static const uint64_t global_options = OPTION_BIT(CLI_OPTION_CONFIG) | OPTION_BIT(CLI_OPTION_SOCKET) |
				       OPTION_BIT(CLI_OPTION_JSON) | OPTION_BIT(CLI_OPTION_COLOR) |
				       OPTION_BIT(CLI_OPTION_QUIET) | OPTION_BIT(CLI_OPTION_HELP) |
				       OPTION_BIT(CLI_OPTION_VERSION);

static const uint64_t probe_options =
	OPTION_BIT(CLI_OPTION_TLS) | OPTION_BIT(CLI_OPTION_NO_TLS) | OPTION_BIT(CLI_OPTION_STARTTLS) |
	OPTION_BIT(CLI_OPTION_IPV4) | OPTION_BIT(CLI_OPTION_IPV6) | OPTION_BIT(CLI_OPTION_ALL) |
	OPTION_BIT(CLI_OPTION_PROFILE) | OPTION_BIT(CLI_OPTION_SERVER_NAME) | OPTION_BIT(CLI_OPTION_CA_FILE) |
	OPTION_BIT(CLI_OPTION_VERIFY) | OPTION_BIT(CLI_OPTION_PROXY) | OPTION_BIT(CLI_OPTION_TIMEOUT) |
	OPTION_BIT(CLI_OPTION_SEND) | OPTION_BIT(CLI_OPTION_EXPECT) |
	OPTION_BIT(CLI_OPTION_PROBES) | OPTION_BIT(CLI_OPTION_INTERVAL) | OPTION_BIT(CLI_OPTION_WARNING) |
	OPTION_BIT(CLI_OPTION_CRITICAL) | OPTION_BIT(CLI_OPTION_CERT_WARNING) |
	OPTION_BIT(CLI_OPTION_CERT_CRITICAL) | OPTION_BIT(CLI_OPTION_NAGIOS) | OPTION_BIT(CLI_OPTION_TRACE);

static const struct cli_command commands[] = {
	{ "probe", "HOST:PORT | NAME", "one probe now: what is wrong, and why",
	  "HOST:PORT is probed from here, without the daemon; a NAME by the daemon, as the target of that name.\n"
	  "With TLS by the usual ports: at once on 443 465 636 853 993 995, after STARTTLS on those of\n"
	  "mail, directories and databases, and not at all on others.\n"
	  "Exit status as a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown or usage.\n\n"
	  "Examples:\n"
	  "  portbell probe www.example.com:443\n"
	  "  portbell probe --starttls smtp mail.example.com:25\n"
	  "  portbell probe --count 20 --interval 500ms '[2001:db8::1]:22'\n",
	  1, 1, probe_options, cli_probe },
	{ "status", "[--failing] [MATCH]...", "every target, worst first",
	  "MATCH is a target's name, a pattern like 'shop*', or key=value with the keys target, group,\n"
	  "check, level, reason, location, label.NAME: all keys must hold, of several values one.\n"
	  "Exit status 1 if something that was asked for is not ok.\n\n"
	  "Examples:\n"
	  "  portbell status --failing\n"
	  "  portbell status group=web,db 'label.env=prod'\n"
	  "  portbell status -q shop || echo down\n",
	  0, ANY_WORDS, OPTION_BIT(CLI_OPTION_FAILING), cli_status },
	{ "reload", "", "apply the configuration file, and wait until it is applied",
	  "With a mistake in it nothing changes: every mistake is printed, the exit status is 1.\n", 0, 0, 0,
	  cli_reload },
	{ "test", "SENDER", "send a test message, and print what the receiver answered",
	  "Examples:\n"
	  "  portbell test mail\n",
	  1, 1, 0, cli_test },
	{ "outbox", "[--retry ID | --drop ID]", "messages that are not delivered yet, and dead letters",
	  "Examples:\n"
	  "  portbell outbox\n"
	  "  portbell outbox --retry ID\n",
	  0, 0, OPTION_BIT(CLI_OPTION_RETRY) | OPTION_BIT(CLI_OPTION_DROP), cli_outbox },
	{ "config check", "[FILE]", "look for mistakes in a configuration, without the daemon",
	  "Examples:\n"
	  "  portbell config check\n"
	  "  portbell config check ./portbell.yaml\n",
	  0, 1, 0, cli_config_check },
	{ "config show", "[FILE]", "the effective configuration, with the origin of each value", NULL, 0, 1, 0,
	  cli_config_show },
	{ "version", "", "print the version", NULL, 0, 0, 0, cli_version },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, NULL },
};

bool cli_given(const struct cli *cli, enum cli_option_id option)
{
	return cli->options[option] != NULL;
}

const char *cli_option_name(enum cli_option_id option)
{
	return options[option].name;
}

/* Complaints */

/* Before the command was looked for it is the first word. */
static bool is_plugin(const struct cli *cli)
{
	if (cli->command != NULL)
		return cli->command->run == cli_probe;
	return cli->word_count > 0 && strcmp(cli->words[0], "probe") == 0;
}

void cli_print_lines(FILE *out, const char *text)
{
	while (*text != '\0') {
		size_t bytes = strcspn(text, "\n");
		AUTO(string) char *clean = str_clean(text, bytes, PRINT_MAX_BYTES);

		fprintf(out, "%s\n", clean);
		text += bytes + (text[bytes] == '\n' ? 1 : 0);
	}
}

static void __attribute__((format(printf, 2, 0))) complain(const struct cli *cli, const char *format, va_list args)
{
	AUTO(str) struct str text = { 0 };

	str_add(&text, "portbell: ");
	str_vaddf(&text, format, args);
	cli_print_lines(cli->io->err, text.data);
}

enum cli_exit cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(cli, format, args);
	va_end(args);
	fprintf(cli->io->err, "Try 'portbell %s%s--help'.\n", cli->command != NULL ? cli->command->name : "",
		cli->command != NULL ? " " : "");
	return is_plugin(cli) ? CLI_PROBE_UNKNOWN : CLI_USAGE;
}

enum cli_exit cli_fail(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(cli, format, args);
	va_end(args);
	return is_plugin(cli) ? CLI_PROBE_UNKNOWN : CLI_FAILED;
}

void cli_note(const struct cli *cli, const char *format, ...)
{
	va_list args;

	if (cli_given(cli, CLI_OPTION_QUIET))
		return;
	va_start(args, format);
	complain(cli, format, args);
	va_end(args);
}

/* Help */

static void print_option(FILE *out, const struct cli_option *option)
{
	AUTO(str) struct str left = { 0 };

	if (option->letter != 0)
		str_addf(&left, "  -%c, --%s", option->letter, option->name);
	else
		str_addf(&left, "      --%s", option->name);
	if (option->argument != NULL)
		str_addf(&left, " %s", option->argument);
	fprintf(out, "%-*s%s\n", HELP_COLUMN, left.data, option->help);
}

static void print_options(FILE *out, const char *title, uint64_t which)
{
	if (which == 0)
		return;
	fprintf(out, "\n%s:\n", title);
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if ((which & OPTION_BIT(i)) != 0)
			print_option(out, &options[i]);
}

static void print_help(FILE *out)
{
	fprintf(out, "Usage: portbell [OPTION]... COMMAND [ARGUMENT]...\n"
		     "Asks portbelld, the monitor of TCP and TLS services, and tells it what to do.\n\nCommands:\n");
	for (const struct cli_command *command = commands; command->name != NULL; command++) {
		AUTO(string) char *left = mem_printf("  %s %s", command->name, command->arguments);

		fprintf(out, "%-*s%s\n", HELP_COLUMN, left, command->help);
	}
	print_options(out, "Options", global_options);
	fprintf(out, "\nExit status: 0 fine, 1 failed or something is not ok, 2 usage, 3 the daemon is not running,\n"
		     "4 no permission. Of probe: 0 ok, 1 warning, 2 critical, 3 unknown or usage.\n"
		     "More in portbell(1).\n");
}

static void print_command_help(FILE *out, const struct cli_command *command)
{
	fprintf(out, "Usage: portbell %s%s%s\n", command->name, command->arguments[0] != '\0' ? " " : "",
		command->arguments);
	fprintf(out, "%s: %s.\n", command->name, command->help);
	if (command->details != NULL)
		fprintf(out, "\n%s", command->details);
	print_options(out, "Options", command->options);
	print_options(out, "Options of every command", global_options);
}

/* Options */

static enum cli_exit set_option(struct cli *cli, int id, const char *value)
{
	if (id == CLI_OPTION_SEND || id == CLI_OPTION_EXPECT)
		cli->steps[cli->step_count++] = (struct cli_step){ (enum cli_option_id)id, value };
	else if (cli->options[id] != NULL && options[id].argument != NULL)
		return cli_usage(cli, "--%s is given twice", options[id].name);
	cli->options[id] = value;
	return CLI_FINE;
}

static enum cli_exit unknown_option(struct cli *cli, const char *name)
{
	const char *names[CLI_OPTION_COUNT + 1] = { NULL };
	const char *nearest;

	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		names[i] = options[i].name;
	nearest = str_nearest(name, names);
	if (nearest == NULL)
		return cli_usage(cli, "unknown option --%s", name);
	return cli_usage(cli, "unknown option --%s (did you mean --%s?)", name, nearest);
}

/* "--name", "--name=value", "--name value"; *next is the argument behind, or NULL; taken if it is the value. */
static enum cli_exit parse_long(struct cli *cli, const char *text, const char **next)
{
	size_t bytes = strcspn(text, "=");
	AUTO(string) char *name = mem_strndup(text, bytes);
	int id = 0;

	while (id < CLI_OPTION_COUNT && strcmp(options[id].name, name) != 0)
		id++;
	if (id == CLI_OPTION_COUNT)
		return unknown_option(cli, name);
	if (options[id].argument == NULL)
		return text[bytes] == '=' ? cli_usage(cli, "--%s takes no value", name) : set_option(cli, id, "");
	if (text[bytes] == '=')
		return set_option(cli, id, text + bytes + 1);
	if (*next == NULL)
		return cli_usage(cli, "--%s needs a value: %s", name, options[id].argument);
	return set_option(cli, id, TAKE(*next));
}

/* "-q", "-qh", "-cFILE", "-c FILE" */
static enum cli_exit parse_short(struct cli *cli, const char *letters, const char **next)
{
	enum cli_exit result = CLI_FINE;

	for (; *letters != '\0' && result == CLI_FINE; letters++) {
		int id = 0;

		while (id < CLI_OPTION_COUNT && (options[id].letter == 0 || options[id].letter != *letters))
			id++;
		if (id == CLI_OPTION_COUNT)
			return cli_usage(cli, "unknown option -%c", *letters);
		if (options[id].argument == NULL) {
			result = set_option(cli, id, "");
			continue;
		}
		if (letters[1] != '\0')
			return set_option(cli, id, letters + 1);
		if (*next == NULL)
			return cli_usage(cli, "-%c needs a value: %s", *letters, options[id].argument);
		return set_option(cli, id, TAKE(*next));
	}
	return result;
}

/* Options may stand anywhere before a "--"; what is left are the words. */
static enum cli_exit parse_arguments(struct cli *cli, int argc, char *const *argv)
{
	enum cli_exit result = CLI_FINE;
	bool only_words = false;

	for (int i = 1; i < argc && result == CLI_FINE; i++) {
		const char *argument = argv[i];
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;
		bool had_next = next != NULL;

		if (only_words || argument[0] != '-' || argument[1] == '\0')
			cli->words[cli->word_count++] = argument;
		else if (strcmp(argument, "--") == 0)
			only_words = true;
		else if (argument[1] == '-')
			result = parse_long(cli, argument + 2, &next);
		else
			result = parse_short(cli, argument + 1, &next);
		if (had_next && next == NULL)
			i++;
	}
	return result;
}

static bool decide_color(struct cli *cli)
{
	const char *when = cli->options[CLI_OPTION_COLOR];
	static const char *const forcing[] = { "CLICOLOR_FORCE", "FORCE_COLOR" };
	const char *value = cli->io->variable("NO_COLOR", cli->io->arg);

	if (when != NULL && strcmp(when, "auto") != 0 && strcmp(when, "always") != 0 && strcmp(when, "never") != 0)
		return false;
	if (value != NULL && value[0] != '\0')
		return true;
	if (when != NULL && strcmp(when, "auto") != 0) {
		cli->color = strcmp(when, "always") == 0;
		return true;
	}
	cli->color = cli->io->terminal && !str_equal(cli->io->variable("TERM", cli->io->arg), "dumb");
	for (size_t i = 0; i < sizeof(forcing) / sizeof(forcing[0]); i++) {
		value = cli->io->variable(forcing[i], cli->io->arg);
		if (value != NULL && value[0] != '\0' && strcmp(value, "0") != 0)
			cli->color = true;
	}
	return true;
}

/* Commands */

static bool is_first_word(const char *name, const char *word)
{
	size_t bytes = strcspn(name, " ");

	return strlen(word) == bytes && memcmp(name, word, bytes) == 0;
}

static enum cli_exit half_command(const struct cli *cli)
{
	AUTO(str) struct str names = { 0 };

	for (const struct cli_command *command = commands; command->name != NULL; command++)
		if (is_first_word(command->name, cli->words[0]))
			str_addf(&names, "%s\"%s\"", names.bytes > 0 ? " or " : "", command->name);
	return cli_usage(cli, "\"%s\" alone is no command: say %s", cli->words[0], names.data);
}

static enum cli_exit unknown_command(const struct cli *cli)
{
	const char *names[sizeof(commands) / sizeof(commands[0])] = { NULL };
	AUTO(string) char *both = NULL;
	const char *wanted = cli->words[0];
	const char *nearest;
	size_t count = 0;
	bool group = false;

	for (size_t i = 0; commands[i].name != NULL; i++) {
		names[count++] = commands[i].name;
		group = group || is_first_word(commands[i].name, wanted);
	}
	if (group && cli->word_count < 2)
		return half_command(cli);
	if (cli->word_count >= 2)
		both = mem_printf("%s %s", wanted, cli->words[1]);
	nearest = str_nearest(wanted, names);
	if (nearest == NULL && both != NULL)
		nearest = str_nearest(both, names);
	if (nearest == NULL)
		return cli_usage(cli, "unknown command \"%s\"", group ? both : wanted);
	return cli_usage(cli, "unknown command \"%s\" (did you mean \"%s\"?)",
			 group || strchr(nearest, ' ') != NULL ? both : wanted, nearest);
}

/* Sets cli->command and takes its name off the words. Two words come before one. */
static bool find_command(struct cli *cli)
{
	size_t taken = 0;

	for (const struct cli_command *command = commands; command->name != NULL; command++) {
		const char *blank = strchr(command->name, ' ');

		if (!is_first_word(command->name, cli->words[0]))
			continue;
		if (blank == NULL && taken == 0) {
			cli->command = command;
			taken = 1;
		} else if (blank != NULL && cli->word_count > 1 && strcmp(blank + 1, cli->words[1]) == 0) {
			cli->command = command;
			taken = 2;
		}
	}
	cli->words += taken;
	cli->word_count -= taken;
	return taken > 0;
}

static enum cli_exit check_options(const struct cli *cli)
{
	const uint64_t allowed = global_options | cli->command->options;

	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (cli->options[i] != NULL && (allowed & OPTION_BIT(i)) == 0)
			return cli_usage(cli, "%s does not take --%s", cli->command->name, options[i].name);
	if (cli->word_count < cli->command->words_min)
		return cli_usage(cli, "%s needs %s", cli->command->name, cli->command->arguments);
	if (cli->word_count > cli->command->words_max)
		return cli_usage(cli, "%s: one word too many: \"%s\"", cli->command->name,
				 cli->words[cli->command->words_max]);
	return CLI_FINE;
}

static enum cli_exit run_command(struct cli *cli)
{
	bool help = cli_given(cli, CLI_OPTION_HELP);
	enum cli_exit result;

	if (cli->word_count > 0 && strcmp(cli->words[0], "help") == 0) {
		help = true;
		cli->words++;
		cli->word_count--;
	}
	if (cli->word_count == 0 && cli_given(cli, CLI_OPTION_VERSION))
		return cli_version(cli);
	if (cli->word_count == 0) {
		print_help(help ? cli->io->out : cli->io->err);
		return help ? CLI_FINE : CLI_USAGE;
	}
	if (!find_command(cli))
		return unknown_command(cli);
	if (help) {
		print_command_help(cli->io->out, cli->command);
		return CLI_FINE;
	}
	if (cli_given(cli, CLI_OPTION_VERSION))
		return cli_version(cli);
	result = check_options(cli);
	return result == CLI_FINE ? cli->command->run(cli) : result;
}

static enum cli_exit flush_output(const struct cli *cli, enum cli_exit result)
{
	if (fflush(cli->io->out) == 0 && !ferror(cli->io->out))
		return result;
	const enum cli_exit failed = cli_fail(cli, "cannot write the output: %s", strerror(errno));

	return result == CLI_FINE ? failed : result;
}

enum cli_exit cli_main(const struct cli_io *io, int argc, char *const *argv)
{
	struct cli cli = { .io = io, .out = io->out };
	const char **words = mem_array((size_t)argc + 1, sizeof(*words));
	FILE *nowhere = NULL;
	enum cli_exit result;

	cli.words = words;
	cli.steps = mem_array((size_t)argc + 1, sizeof(*cli.steps));
	result = parse_arguments(&cli, argc, argv);
	if (result == CLI_FINE && !decide_color(&cli))
		result = cli_usage(&cli, "--color is auto, always or never");
	if (result == CLI_FINE && cli_given(&cli, CLI_OPTION_QUIET)) {
		nowhere = fopen("/dev/null", "we");
		if (nowhere != NULL)
			cli.out = nowhere;
	}
	if (result == CLI_FINE)
		result = run_command(&cli);
	if (nowhere != NULL)
		fclose(nowhere);
	free(words);
	free(cli.steps);
	return flush_output(&cli, result);
}

enum cli_exit cli_version(const struct cli *cli)
{
	if (!cli_given(cli, CLI_OPTION_JSON)) {
		fprintf(cli->out, "portbell %s\n", cli->io->version);
		return CLI_FINE;
	}
	AUTO(str) struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_string(&w, "version", cli->io->version);
	json_object_end(&w);
	fprintf(cli->out, "%s\n", text.data);
	return CLI_FINE;
}

/* The daemon */

/* Where there is none, and where we may not even look, it is the system's that is meant. */
static char *socket_path(const struct cli *cli)
{
	const char *variable = cli->io->variable("PORTBELL_SOCKET", cli->io->arg);
	const char *runtime = cli->io->variable("XDG_RUNTIME_DIR", cli->io->arg);
	struct stat status;
	char *own;

	if (cli_given(cli, CLI_OPTION_SOCKET))
		return mem_strdup(cli->options[CLI_OPTION_SOCKET]);
	if (variable != NULL && variable[0] != '\0')
		return mem_strdup(variable);
	if (stat(cli->io->socket, &status) == 0 || (errno != ENOENT && errno != ENOTDIR) || runtime == NULL ||
	    runtime[0] == '\0')
		return mem_strdup(cli->io->socket);
	own = mem_printf("%s/portbell/control.sock", runtime);
	if (stat(own, &status) == 0)
		return own;
	free(own);
	return mem_strdup(cli->io->socket);
}

static const char *socket_group(const char *path)
{
	AUTO(string) char *directory = mem_strdup(path);
	char *slash = strrchr(directory, '/');
	const struct group *group = NULL;
	struct stat status;

	if (slash != NULL)
		*slash = '\0';
	if (stat(path, &status) == 0 || (slash != NULL && stat(directory, &status) == 0)) {
		if (status.st_gid == 0)
			return NULL;
		group = getgrgid(status.st_gid);
	}
	return group != NULL ? group->gr_name : "portbell";
}

static enum cli_exit tell_no_permission(const struct cli *cli, const char *path)
{
	const char *group = socket_group(path);

	if (group == NULL)
		cli_fail(cli, "no permission for %s: only root may use it", path);
	else
		cli_fail(cli, "no permission for %s: join the group \"%s\" (usermod -aG %s USER, then log in again)",
			 path, group, group);
	return CLI_NO_PERMISSION;
}

static enum cli_exit tell_outcome(const struct cli *cli, enum client_outcome outcome, const char *path,
				  const struct error *err)
{
	switch (outcome) {
	case CLIENT_NOT_RUNNING:
		cli_fail(cli, "the daemon is not running: nothing listens on %s", path);
		return CLI_NOT_RUNNING;
	case CLIENT_NO_PERMISSION:
		return tell_no_permission(cli, path);
	default:
		return cli_fail(cli, "%s: %s", err->where, err->text);
	}
}

static enum cli_exit tell_error(const struct cli *cli, const struct json *error, const char *path)
{
	const char *code = json_get_string(error, "code");
	const char *message = json_get_string(error, "message");

	if (message == NULL)
		return cli_fail(cli, "%s: not an answer of portbelld", path);
	if (str_equal(code, "no_permission"))
		return tell_no_permission(cli, path);
	if (str_equal(code, "usage"))
		return cli_usage(cli, "%s", message);
	if (!str_equal(code, "config_refused"))
		return cli_fail(cli, "%s", message);
	cli_print_lines(cli->io->err, message);
	return cli_fail(cli, "configuration refused: the one before runs on");
}

enum cli_exit cli_ask(const struct cli *cli, const char *request, int64_t timeout_ms, struct json **answer,
		      const struct json **data)
{
	AUTO(string) char *path = socket_path(cli);
	struct error err = { 0 };
	enum client_outcome outcome = client_ask(path, request, timeout_ms, answer, &err);
	enum cli_exit result;

	*data = NULL;
	if (outcome != CLIENT_ANSWERED)
		return tell_outcome(cli, outcome, path, &err);
	*data = json_get(*answer, "data");
	if (json_get_bool(*answer, "ok", false) && *data != NULL)
		return CLI_FINE;
	result = tell_error(cli, json_get(*answer, "error"), path);
	json_free(TAKE(*answer));
	return result;
}

void cli_print_json(const struct cli *cli, const struct json *value)
{
	AUTO(string) char *text = json_dump(value);

	fprintf(cli->out, "%s\n", text);
}
