/* SPDX-License-Identifier: MIT */
/* The program `portbell` against a scripted control socket: what it asks, what it prints where, how it exits. */
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "daemon/cli/table.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { ARGS_MAX = 16, VARIABLES_MAX = 8, DEADLINE_MS = 20000, OTHER_ID = 65534 };

/* How the scripted daemon behaves towards its one client. */
enum manner { ANSWER, ANSWER_IN_BYTES, CLOSE_AT_ONCE, CLOSE_AFTER_REQUEST, NEVER_ANSWER };

struct fixture {
	char directory[64];
	char path[96];
	int listener;
	pthread_t thread;
	bool serving;
	enum manner manner;
	const char *answer;
	struct str request;
	int held;             /* the client of NEVER_ANSWER */
	const char *variables[VARIABLES_MAX][2];
	size_t variable_count;
	bool terminal;
	bool utf8;
	char *out;
	char *err;
};

static struct fixture f;

static void set_up(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(&f, 0, sizeof(f));
	strcpy(f.directory, "/tmp/portbell-cli-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f.directory));
	snprintf(f.path, sizeof(f.path), "%s/control.sock", f.directory);
	strcpy(address.sun_path, f.path);
	f.held = -1;
	f.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(f.listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(f.listener, 4), 0);
}

static void drop_output(void)
{
	free(f.out);
	free(f.err);
	f.out = NULL;
	f.err = NULL;
}

static void stop_serving(void)
{
	if (f.serving)
		pthread_join(f.thread, NULL);
	f.serving = false;
	if (f.held >= 0)
		close(f.held);
	f.held = -1;
}

static void tear_down(void)
{
	stop_serving();
	drop_output();
	str_done(&f.request);
	if (f.listener >= 0)
		close(f.listener);
	unlink(f.path);
	ck_assert_int_eq(rmdir(f.directory), 0);
}

static bool wait_readable(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	return poll(&ready, 1, DEADLINE_MS) == 1;
}

static void read_request(int fd)
{
	char c;

	str_clear(&f.request);
	while (wait_readable(fd) && recv(fd, &c, 1, 0) == 1 && c != '\n')
		str_add_char(&f.request, c);
}

static void send_answer(int fd)
{
	size_t bytes = strlen(f.answer);
	size_t step = f.manner == ANSWER_IN_BYTES ? 1 : bytes;

	for (size_t at = 0; at < bytes; at += step)
		if (send(fd, f.answer + at, step, MSG_NOSIGNAL) < 0)
			break;
	if (send(fd, "\n", 1, MSG_NOSIGNAL) < 0)
		return;
}

static void *serve(void *arg)
{
	int fd = wait_readable(f.listener) ? accept(f.listener, NULL, NULL) : -1;

	(void)arg;
	if (fd < 0)
		return NULL;
	if (f.manner != CLOSE_AT_ONCE)
		read_request(fd);
	if (f.manner == ANSWER || f.manner == ANSWER_IN_BYTES)
		send_answer(fd);
	if (f.manner == NEVER_ANSWER)
		f.held = fd;
	else
		close(fd);
	return NULL;
}

/* The next connection is dealt with so. */
static void script(enum manner manner, const char *answer)
{
	stop_serving();
	f.manner = manner;
	f.answer = answer;
	ck_assert_int_eq(pthread_create(&f.thread, NULL, serve, NULL), 0);
	f.serving = true;
}

static const char *get_variable(const char *name, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < f.variable_count; i++)
		if (strcmp(f.variables[i][0], name) == 0)
			return f.variables[i][1];
	return NULL;
}

static void set_variable(const char *name, const char *value)
{
	f.variables[f.variable_count][0] = name;
	f.variables[f.variable_count][1] = value;
	f.variable_count++;
}

/* `line` is split at blanks; what it prints is in f.out and f.err. */
static enum cli_exit run_line(const char *line)
{
	AUTO(string) char *text = mem_strdup(line);
	char *args[ARGS_MAX] = { "portbell" };
	char *rest = NULL;
	size_t out_bytes;
	size_t err_bytes;
	enum cli_exit result;
	int count = 1;
	struct cli_io io = {
		.terminal = f.terminal, .utf8 = f.utf8, .variable = get_variable, .version = "1.2.3",
		.config_file = "/nowhere/portbell.yaml", .socket = "/nowhere/control.sock",
	};

	drop_output();
	for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		ck_assert_int_lt(count, ARGS_MAX);
		args[count++] = word;
	}
	io.out = open_memstream(&f.out, &out_bytes);
	io.err = open_memstream(&f.err, &err_bytes);
	result = cli_main(&io, count, args);
	fclose(io.out);
	fclose(io.err);
	return result;
}

/* The same with --socket, and the daemon answering with `answer`. */
static enum cli_exit ask(const char *line, const char *answer)
{
	AUTO(string) char *whole = mem_printf("--socket %s %s", f.path, line);
	enum cli_exit result;

	script(ANSWER, answer);
	result = run_line(whole);
	stop_serving();
	return result;
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

/* Words, options, help: nobody is asked */

static const struct {
	const char *line;
	enum cli_exit result;
	const char *out; /* a part of it; "": nothing was printed */
	const char *err;
} lines[] = {
	{ "", CLI_USAGE, "", "Usage: portbell" },
	{ "--help", CLI_FINE, "config check [FILE]", "" },
	{ "-h", CLI_FINE, "Exit status: 0 fine", "" },
	{ "help", CLI_FINE, "Commands:", "" },
	{ "help status", CLI_FINE, "portbell status --failing", "" },
	{ "status --help", CLI_FINE, "--failing", "" },
	{ "outbox -h", CLI_FINE, "--retry ID", "" },
	{ "config check --help", CLI_FINE, "Usage: portbell config check [FILE]", "" },
	{ "version", CLI_FINE, "portbell 1.2.3\n", "" },
	{ "--version", CLI_FINE, "portbell 1.2.3\n", "" },
	{ "--json version", CLI_FINE, "{\"version\":\"1.2.3\"}\n", "" },
	{ "version -q", CLI_FINE, "", "" },
	{ "statsu", CLI_USAGE, "", "unknown command \"statsu\" (did you mean \"status\"?)" },
	{ "relaod", CLI_USAGE, "", "(did you mean \"reload\"?)" },
	{ "frobnicate", CLI_USAGE, "", "unknown command \"frobnicate\"\n" },
	{ "config", CLI_USAGE, "", "say \"config check\" or \"config show\"" },
	{ "config chekc", CLI_USAGE, "", "unknown command \"config chekc\" (did you mean \"config check\"?)" },
	{ "confg check", CLI_USAGE, "", "unknown command \"confg check\" (did you mean \"config check\"?)" },
	{ "status --fialing", CLI_USAGE, "", "unknown option --fialing (did you mean --failing?)" },
	{ "status -z", CLI_USAGE, "", "unknown option -z" },
	{ "reload --failing", CLI_USAGE, "", "reload does not take --failing" },
	{ "reload now", CLI_USAGE, "", "one word too many: \"now\"" },
	{ "test", CLI_USAGE, "", "test needs SENDER" },
	{ "outbox --retry", CLI_USAGE, "", "--retry needs a value: ID" },
	{ "outbox --retry a --drop b", CLI_USAGE, "", "do not go together" },
	{ "outbox --retry a --retry b", CLI_USAGE, "", "--retry is given twice" },
	{ "-c", CLI_USAGE, "", "-c needs a value: FILE" },
	{ "status --json=yes", CLI_USAGE, "", "--json takes no value" },
	{ "status --color=pink", CLI_USAGE, "", "--color is auto, always or never" },
	{ "status level=criticl", CLI_USAGE, "", "critical" },
	{ "status colour=red", CLI_USAGE, "", "colour" },
	{ "config show --json", CLI_USAGE, "", "no --json" },
	{ "st\x1b[31matus", CLI_USAGE, "", "unknown command \"st\\x1b[31matus\"" },
};

START_TEST(a_line)
{
	ck_assert_int_eq(run_line(lines[_i].line), lines[_i].result);
	if (lines[_i].out[0] != '\0')
		has(f.out, lines[_i].out);
	else
		ck_assert_str_eq(f.out, "");
	if (lines[_i].err[0] != '\0')
		has(f.err, lines[_i].err);
	else
		ck_assert_str_eq(f.err, "");
}
END_TEST

/* status */

#define SHOP                                                                                                      \
	"{\"name\":\"shop\",\"address\":\"shop.example.com:443\",\"group\":\"web\",\"labels\":{},"                \
	"\"level\":\"critical\",\"state\":\"active\",\"since\":\"2026-11-23T17:34:17.500Z\","                     \
	"\"reason\":\"connect_refused\",\"latency\":null,\"certificate_days\":null,\"incident\":412}"
#define MAIL                                                                                                      \
	"{\"name\":\"mail\",\"address\":\"192.0.2.1:25\",\"group\":null,\"labels\":{},"                           \
	"\"level\":\"ok\",\"state\":\"active\",\"since\":\"2026-11-22T17:38:29Z\","                               \
	"\"reason\":\"ok\",\"latency\":0.012345,\"certificate_days\":42,\"incident\":null}"
#define FRESH                                                                                                     \
	"{\"name\":\"fresh\",\"address\":\"[::1]:1\",\"level\":\"ok\",\"state\":\"pending\",\"since\":null,"      \
	"\"reason\":\"no_data\",\"latency\":null,\"certificate_days\":null}"
#define ASLEEP                                                                                                    \
	"{\"name\":\"asleep\",\"address\":\"[::1]:2\",\"level\":\"critical\",\"state\":\"paused\","               \
	"\"since\":null,\"reason\":\"ok\",\"latency\":null,\"certificate_days\":-3}"
#define STATUS(targets, self)                                                                                     \
	"{\"ok\":true,\"data\":{\"now\":\"2026-11-23T17:38:29.750Z\",\"location\":\"berlin\",\"generation\":1,"   \
	"\"targets\":[" targets "],\"self\":[" self "],\"config_error\":null}}"
#define OUR_TROUBLE                                                                                               \
	"{\"reason\":\"sender_failed\",\"since\":\"2026-11-23T17:00:00Z\",\"text\":\"mail: \\u001b refused\","    \
	"\"incident\":7}"

START_TEST(status_in_a_pipe)
{
	ck_assert_int_eq(ask("status", STATUS(SHOP "," MAIL "," FRESH "," ASLEEP, "")), CLI_FAILED);
	ck_assert_str_eq(f.request.data, "{\"command\":\"status\",\"match\":[]}");
	ck_assert_str_eq(f.out, "shop\tcritical\t2026-11-23T17:34:17.500Z\tconnect_refused\t\t\tshop.example.com:443\n"
				"mail\tok\t2026-11-22T17:38:29Z\tok\t0.012345\t42\t192.0.2.1:25\n"
				"fresh\tpending\t\tno_data\t\t\t[::1]:1\n"
				"asleep\tpaused\t\tok\t\t-3\t[::1]:2\n");
	ck_assert_str_eq(f.err, "");
}
END_TEST

START_TEST(status_on_a_terminal)
{
	f.terminal = true;
	set_variable("NO_COLOR", "1");
	ck_assert_int_eq(ask("status", STATUS(SHOP "," MAIL, "")), CLI_FAILED);
	ck_assert_str_eq(f.out,
			 "TARGET  LEVEL     SINCE       REASON           LATENCY  CERTIFICATE  ADDRESS\n"
			 "shop    critical  4 min 12 s  connect_refused  -        -            shop.example.com:443\n"
			 "mail    ok        1 d         ok               12 ms    42 d         192.0.2.1:25\n"
			 "\n2 targets: 1 critical, 1 ok\n");
}
END_TEST

START_TEST(status_with_colour_and_glyphs)
{
	f.terminal = true;
	f.utf8 = true;
	ck_assert_int_eq(ask("status", STATUS(SHOP "," MAIL, "")), CLI_FAILED);
	has(f.out, "\033[1mTARGET\033[0m");
	has(f.out, "\033[1;31m✖ critical\033[0m  4 min");
	has(f.out, "\033[32m✔ ok\033[0m        1 d");
}
END_TEST

static const struct {
	const char *option;
	const char *variable;
	const char *value;
	bool terminal;
	bool color;
} colors[] = {
	{ "", NULL, NULL, true, true },
	{ "", NULL, NULL, false, false },
	{ "--color=always", NULL, NULL, false, true },
	{ "--color never", NULL, NULL, true, false },
	{ "--color=auto", NULL, NULL, true, true },
	{ "", "NO_COLOR", "1", true, false },
	{ "", "NO_COLOR", "", true, true },
	{ "--color=always", "NO_COLOR", "1", true, false },
	{ "", "TERM", "dumb", true, false },
	{ "", "CLICOLOR_FORCE", "1", false, true },
	{ "", "FORCE_COLOR", "0", false, false },
	{ "--color=never", "FORCE_COLOR", "1", true, false },
};

START_TEST(when_there_is_colour)
{
	AUTO(string) char *line = mem_printf("status %s", colors[_i].option);

	f.terminal = colors[_i].terminal;
	if (colors[_i].variable != NULL)
		set_variable(colors[_i].variable, colors[_i].value);
	ask(line, STATUS(SHOP, ""));
	ck_assert_int_eq(strchr(f.out, '\033') != NULL, colors[_i].color);
}
END_TEST

START_TEST(status_all_is_well)
{
	ck_assert_int_eq(ask("status", STATUS(MAIL "," FRESH "," ASLEEP, "")), CLI_FINE);
	ck_assert_int_eq(ask("status", STATUS("", "")), CLI_FINE);
	ck_assert_str_eq(f.out, "");
	f.terminal = true;
	ck_assert_int_eq(ask("status", STATUS("", "")), CLI_FINE);
	ck_assert_str_eq(f.out, "0 targets\n");
}
END_TEST

START_TEST(status_failing_only)
{
	ck_assert_int_eq(ask("status --failing", STATUS(SHOP "," MAIL, "")), CLI_FAILED);
	ck_assert_str_eq(f.out,
			 "shop\tcritical\t2026-11-23T17:34:17.500Z\tconnect_refused\t\t\tshop.example.com:443\n");
	ck_assert_int_eq(ask("status --failing", STATUS(MAIL, "")), CLI_FINE);
	ck_assert_str_eq(f.out, "");
	ck_assert_int_eq(ask("--json status --failing", STATUS(SHOP "," MAIL, "")), CLI_FAILED);
	has(f.out, "\"location\":\"berlin\"");
	has(f.out, "connect_refused");
	ck_assert_ptr_null(strstr(f.out, "192.0.2.1"));
}
END_TEST

START_TEST(status_of_some)
{
	ck_assert_int_eq(ask("status group=web,db -- -odd", STATUS(MAIL, "")), CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"status\",\"match\":[\"group=web,db\",\"-odd\"]}");
	ck_assert_int_eq(ask("status nobody", STATUS("", "")), CLI_FAILED);
	ck_assert_str_eq(f.err, "portbell: no target matches\n");
}
END_TEST

START_TEST(status_own_troubles)
{
	ck_assert_int_eq(ask("status", STATUS(MAIL, OUR_TROUBLE)), CLI_FAILED);
	ck_assert_str_eq(f.err, "portbell: portbelld itself: sender_failed since 2026-11-23T17:00:00Z: "
				"mail: \\x1b refused\n");
}
END_TEST

START_TEST(status_quietly)
{
	ck_assert_int_eq(ask("status -q", STATUS(SHOP, OUR_TROUBLE)), CLI_FAILED);
	ck_assert_str_eq(f.out, "");
	ck_assert_str_eq(f.err, "");
}
END_TEST

START_TEST(status_as_json)
{
	ck_assert_int_eq(ask("status --json", STATUS(MAIL, "")), CLI_FINE);
	has(f.out, "{\"now\":\"2026-11-23T17:38:29.750Z\",");
	ck_assert_int_eq(f.out[strlen(f.out) - 1], '\n');
}
END_TEST

START_TEST(status_with_a_hostile_name)
{
	ask("status", STATUS("{\"name\":\"a\\tb\\n\\u001b]0;x\\u202e\",\"level\":\"ok\",\"state\":\"active\"}", ""));
	ck_assert_str_eq(f.out, "a\\x09b\\x0a\\x1b]0;x\\xe2\\x80\\xae\tok\t\t\t\t\t\n");
}
END_TEST

/* The other commands */

START_TEST(reload_difference)
{
	static const char answer[] = "{\"ok\":true,\"data\":{\"generation\":3,\"added\":2,\"changed\":1,\"removed\":0,"
				     "\"unchanged\":509,\"notes\":[\"portbell.yaml:1:1: note: a: b\"]}}";

	ck_assert_int_eq(ask("reload", answer), CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"reload\"}");
	ck_assert_str_eq(f.out, "reloaded, generation 3: 2 added, 1 changed, 0 removed, 509 unchanged\n");
	ck_assert_str_eq(f.err, "portbell.yaml:1:1: note: a: b\n");
	ck_assert_int_eq(ask("reload -q", answer), CLI_FINE);
	ck_assert_str_eq(f.out, "");
	ck_assert_str_eq(f.err, "");
}
END_TEST

START_TEST(reload_refused)
{
	ck_assert_int_eq(ask("reload", "{\"ok\":false,\"error\":{\"code\":\"config_refused\",\"message\":"
				       "\"portbell.yaml:1:1: a: b\\nportbell.yaml:2:1: c: \\u001bd\"}}"),
			 CLI_FAILED);
	ck_assert_str_eq(f.out, "");
	ck_assert_str_eq(f.err, "portbell.yaml:1:1: a: b\nportbell.yaml:2:1: c: \\x1bd\n"
				"portbell: configuration refused: the one before runs on\n");
}
END_TEST

START_TEST(test_a_sender)
{
	ck_assert_int_eq(ask("test mail", "{\"ok\":true,\"data\":{\"sender\":\"mail\",\"text\":\"250 2.0.0 Ok\"}}"),
			 CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"test\",\"sender\":\"mail\"}");
	ck_assert_str_eq(f.out, "mail: 250 2.0.0 Ok\n");
	ck_assert_int_eq(ask("test mail", "{\"ok\":false,\"error\":{\"code\":\"delivery_failed\","
					  "\"message\":\"550 no such user\"}}"),
			 CLI_FAILED);
	ck_assert_str_eq(f.out, "");
	ck_assert_str_eq(f.err, "portbell: 550 no such user\n");
}
END_TEST

#define MESSAGES                                                                                                  \
	"{\"ok\":true,\"data\":{\"messages\":["                                                                   \
	"{\"id\":\"7.a\",\"sender\":\"mail\",\"state\":\"waiting\",\"created\":\"2026-11-23T17:00:00Z\","         \
	"\"attempts\":3,\"next_try\":\"2026-11-23T17:09:00Z\",\"error\":\"timeout\",\"title\":\"[OK] shop\"},"    \
	"{\"id\":\"6.b\",\"sender\":\"hook\",\"state\":\"dead\",\"created\":\"2026-11-23T16:00:00Z\","            \
	"\"attempts\":1,\"next_try\":null,\"error\":\"404\",\"title\":\"[CRITICAL] shop\"}]}}"

START_TEST(outbox_list)
{
	ck_assert_int_eq(ask("outbox", MESSAGES), CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"outbox\"}");
	ck_assert_str_eq(f.out,
			 "7.a\tmail\twaiting\t2026-11-23T17:00:00Z\t3\t2026-11-23T17:09:00Z\ttimeout\t[OK] shop\n"
			 "6.b\thook\tdead\t2026-11-23T16:00:00Z\t1\t\t404\t[CRITICAL] shop\n");
	f.terminal = true;
	ck_assert_int_eq(ask("outbox --color=never", MESSAGES), CLI_FINE);
	has(f.out, "ID   SENDER  STATE");
	has(f.out, "\n1 waiting, 1 dead\n");
	ck_assert_int_eq(ask("outbox", "{\"ok\":true,\"data\":{\"messages\":[]}}"), CLI_FINE);
	ck_assert_str_eq(f.out, "0 waiting, 0 dead\n");
}
END_TEST

START_TEST(outbox_changes)
{
	ck_assert_int_eq(ask("outbox --retry 7.a", "{\"ok\":true,\"data\":{\"id\":\"7.a\"}}"), CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"outbox_retry\",\"id\":\"7.a\"}");
	ck_assert_str_eq(f.out, "7.a: is tried again\n");
	ck_assert_int_eq(ask("outbox --drop=7.a", "{\"ok\":true,\"data\":{\"id\":\"7.a\"}}"), CLI_FINE);
	ck_assert_str_eq(f.request.data, "{\"command\":\"outbox_drop\",\"id\":\"7.a\"}");
	ck_assert_str_eq(f.out, "7.a: dropped\n");
	ck_assert_int_eq(ask("outbox --drop 9", "{\"ok\":false,\"error\":{\"code\":\"not_found\","
						"\"message\":\"no message 9\"}}"),
			 CLI_FAILED);
	ck_assert_str_eq(f.err, "portbell: no message 9\n");
}
END_TEST

/* Where the daemon is, and what it may do to us */

START_TEST(not_running)
{
	AUTO(string) char *line = mem_printf("status --socket=%s/none.sock", f.directory);
	AUTO(string) char *expected = mem_printf(
		"portbell: the daemon is not running: nothing listens on %s/none.sock\n", f.directory);
	AUTO(string) char *leftover = mem_printf("reload --socket=%s", f.path);

	ck_assert_int_eq(run_line(line), CLI_NOT_RUNNING);
	ck_assert_str_eq(f.err, expected);
	ck_assert_str_eq(f.out, "");
	close(f.listener);
	f.listener = -1;
	ck_assert_int_eq(run_line(leftover), CLI_NOT_RUNNING);
	ck_assert_int_eq(run_line("status"), CLI_NOT_RUNNING);
	has(f.err, "/nowhere/control.sock");
}
END_TEST

START_TEST(socket_from_the_environment)
{
	set_variable("PORTBELL_SOCKET", f.path);
	script(ANSWER, STATUS(MAIL, ""));
	ck_assert_int_eq(run_line("status"), CLI_FINE);
}
END_TEST

START_TEST(socket_in_the_users_own_directory)
{
	AUTO(string) char *directory = mem_printf("%s/portbell", f.directory);
	AUTO(string) char *path = mem_printf("%s/control.sock", directory);

	ck_assert_int_eq(mkdir(directory, 0700), 0);
	ck_assert_int_eq(rename(f.path, path), 0);
	set_variable("XDG_RUNTIME_DIR", f.directory);
	script(ANSWER, STATUS(MAIL, ""));
	ck_assert_int_eq(run_line("status"), CLI_FINE);
	unlink(path);
	rmdir(directory);
	ck_assert_int_eq(run_line("status"), CLI_NOT_RUNNING);
	has(f.err, "/nowhere/control.sock"); /* the system's is the one to name */
}
END_TEST

static const struct {
	enum manner manner;
	const char *answer;
	enum cli_exit result;
	const char *err;
} daemons[] = {
	{ ANSWER_IN_BYTES, STATUS(MAIL, ""), CLI_FINE, "" },
	{ CLOSE_AT_ONCE, "", CLI_FAILED, "without an answer" },
	{ CLOSE_AFTER_REQUEST, "", CLI_FAILED, "without an answer" },
	{ ANSWER, "SSH-2.0-OpenSSH_9.2", CLI_FAILED, "not an answer of portbelld" },
	{ ANSWER, "", CLI_FAILED, "not an answer of portbelld" },
	{ ANSWER, "[]", CLI_FAILED, "not an answer of portbelld" },
	{ ANSWER, "{\"ok\":true}", CLI_FAILED, "not an answer of portbelld" },
	{ ANSWER, "{\"ok\":false}", CLI_FAILED, "not an answer of portbelld" },
	{ ANSWER, "{\"ok\":true,\"data\":[]}", CLI_FINE, "" },
	{ ANSWER, "{\"ok\":true,\"data\":{\"targets\":[7,null,\"x\"],\"self\":7}}", CLI_FAILED, "" },
	{ ANSWER, "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":\"what?\"}}", CLI_USAGE, "what?" },
	{ ANSWER, "{\"ok\":false,\"error\":{\"code\":\"no_permission\",\"message\":\"no\"}}", CLI_NO_PERMISSION,
	  "no permission for" },
	{ ANSWER, "{\"ok\":false,\"error\":{\"code\":\"overload\",\"message\":\"later\"}}", CLI_FAILED, "later" },
};

START_TEST(daemons_of_all_sorts)
{
	AUTO(string) char *line = mem_printf("status --socket=%s", f.path);

	script(daemons[_i].manner, daemons[_i].answer);
	ck_assert_int_eq(run_line(line), daemons[_i].result);
	has(f.err, daemons[_i].err);
}
END_TEST

START_TEST(a_daemon_that_never_answers)
{
	struct json *answer = NULL;
	struct error err = { 0 };

	script(NEVER_ANSWER, NULL);
	ck_assert_int_eq(client_ask(f.path, "{\"command\":\"status\"}", 100, &answer, &err), CLIENT_FAILED);
	ck_assert_ptr_null(answer);
	ck_assert_str_eq(err.where, f.path);
	has(err.text, "no answer within");
}
END_TEST

START_TEST(a_path_too_long_for_a_socket)
{
	AUTO(string) char *line = mem_printf("status --socket=/%0200d", 7);

	ck_assert_int_eq(run_line(line), CLI_FAILED);
	has(f.err, "too long");
}
END_TEST

/* Exits with what the command line did, 100 if it did not name the group. */
static void ask_as_somebody_else(void)
{
	AUTO(string) char *line = mem_printf("status --socket=%s", f.path);
	enum cli_exit result;

	if (getuid() == 0 && (setgid(OTHER_ID) != 0 || setuid(OTHER_ID) != 0))
		_exit(101);
	result = run_line(line);
	_exit(strstr(f.err, "join the group \"") != NULL || strstr(f.err, "only root") != NULL ? (int)result : 100);
}

START_TEST(no_permission)
{
	int status = 0;
	pid_t child;

	ck_assert_int_eq(chmod(f.directory, getuid() == 0 ? 0711 : 0700), 0);
	ck_assert_int_eq(chmod(f.path, 0), 0);
	child = fork();
	if (child == 0)
		ask_as_somebody_else();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), CLI_NO_PERMISSION);
}
END_TEST

/* config */

static char *write_config(const char *text)
{
	char *path = mem_printf("%s/portbell.yaml", f.directory);
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	chmod(path, 0600);
	return path;
}

START_TEST(config_check_good)
{
	AUTO(string) char *path = write_config("targets:\n  - 127.0.0.1:22\n  - 127.0.0.1:25\n");
	AUTO(string) char *word = mem_printf("config check %s", path);
	AUTO(string) char *option = mem_printf("-c %s config check", path);
	AUTO(string) char *json = mem_printf("config check --json %s", path);

	ck_assert_int_eq(run_line(word), CLI_FINE);
	ck_assert_str_eq(f.out, "configuration ok: 2 targets, 0 senders\n");
	ck_assert_str_eq(f.err, "");
	ck_assert_int_eq(run_line(option), CLI_FINE);
	ck_assert_str_eq(f.out, "configuration ok: 2 targets, 0 senders\n");
	ck_assert_int_eq(run_line(json), CLI_FINE);
	ck_assert_str_eq(f.out, "{\"ok\":true,\"targets\":2,\"senders\":0,\"problems\":[]}\n");
	unlink(path);
}
END_TEST

START_TEST(config_check_bad)
{
	AUTO(string) char *path = write_config("targets:\n  - {address: \"127.0.0.1:22\", intervall: 1s}\n"
					       "  - {address: nowhere}\n"
					       "  - {address: \"127.0.0.1:23\", tls: {ciphers: NOPE}}\n");
	AUTO(string) char *line = mem_printf("config check %s", path);
	AUTO(string) char *json = mem_printf("config check --json %s", path);

	ck_assert_int_eq(run_line(line), CLI_FAILED);
	ck_assert_str_eq(f.out, "");
	has(f.err, "portbell.yaml:2:");
	has(f.err, "did you mean \"interval\"?");
	has(f.err, "portbell.yaml:3:");
	has(f.err, "targets[2].tls.ciphers: no cipher is called \"NOPE\"");
	ck_assert_int_eq(run_line(json), CLI_FAILED);
	has(f.out, "{\"ok\":false,\"problems\":[{\"note\":false,\"where\":");
	unlink(path);
}
END_TEST

START_TEST(config_show_it)
{
	AUTO(string) char *path = write_config("targets:\n  - 127.0.0.1:22\n");
	AUTO(string) char *line = mem_printf("config show %s", path);

	ck_assert_int_eq(run_line(line), CLI_FINE);
	has(f.out, "127.0.0.1:22");
	ck_assert_str_eq(f.err, "");
	unlink(path);
}
END_TEST

START_TEST(config_missing)
{
	ck_assert_int_eq(run_line("config check"), CLI_FAILED);
	has(f.err, "/nowhere/portbell.yaml");
	ck_assert_int_eq(run_line("config show"), CLI_FAILED);
	has(f.err, "/nowhere/portbell.yaml");
	ck_assert_str_eq(f.out, "");
}
END_TEST

/* What is printed goes nowhere: a full disk. */
START_TEST(output_that_cannot_be_written)
{
	char *args[] = { "portbell", "version" };
	struct cli_io io = { .variable = get_variable, .version = "1.2.3" };
	size_t bytes;

	io.out = fopen("/dev/full", "we");
	ck_assert_ptr_nonnull(io.out);
	io.err = open_memstream(&f.err, &bytes);
	ck_assert_int_eq(cli_main(&io, 2, args), CLI_FAILED);
	fclose(io.err);
	fclose(io.out);
	has(f.err, "cannot write the output");
}
END_TEST

/* table */

static const struct {
	const char *text;
	bool good;
	int64_t unix_us;
} times[] = {
	{ "1970-01-01T00:00:00Z", true, 0 },
	{ "2026-11-23T17:38:29Z", true, INT64_C(1795455509000000) },
	{ "2026-11-23T17:38:29.123Z", true, INT64_C(1795455509123000) },
	{ "2026-11-23T17:38:29.1234567Z", true, INT64_C(1795455509123456) },
	{ "2026-11-23T17:38:29", false, 0 },
	{ "2026-11-23T17:38:29+01:00", false, 0 },
	{ "yesterday", false, 0 },
	{ "", false, 0 },
	{ NULL, false, 0 },
};

START_TEST(a_time)
{
	int64_t unix_us = 0;

	ck_assert_int_eq(table_parse_time(times[_i].text, &unix_us), times[_i].good);
	ck_assert_int_eq(unix_us, times[_i].unix_us);
}
END_TEST

START_TEST(columns_stand_with_more_than_ascii)
{
	static const char *const titles[] = { "A", "B", NULL };
	struct table table;
	size_t bytes;
	FILE *out = open_memstream(&f.out, &bytes);

	table_start(&table, titles, true, false, 0);
	table_add(&table, TABLE_PLAIN, "grün");
	table_add(&table, TABLE_BAD, "x");
	table_add(&table, TABLE_PLAIN, "abcdef");
	table_add(&table, TABLE_PLAIN, NULL);
	table_print(&table, out);
	table_done(&table);
	fclose(out);
	ck_assert_str_eq(f.out, "A       B\ngrün    x\nabcdef  -\n");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_line, 0, (int)(sizeof(lines) / sizeof(lines[0])));
	tcase_add_test(tcase, status_in_a_pipe);
	tcase_add_test(tcase, status_on_a_terminal);
	tcase_add_test(tcase, status_with_colour_and_glyphs);
	tcase_add_loop_test(tcase, when_there_is_colour, 0, (int)(sizeof(colors) / sizeof(colors[0])));
	tcase_add_test(tcase, status_all_is_well);
	tcase_add_test(tcase, status_failing_only);
	tcase_add_test(tcase, status_of_some);
	tcase_add_test(tcase, status_own_troubles);
	tcase_add_test(tcase, status_quietly);
	tcase_add_test(tcase, status_as_json);
	tcase_add_test(tcase, status_with_a_hostile_name);
	tcase_add_test(tcase, reload_difference);
	tcase_add_test(tcase, reload_refused);
	tcase_add_test(tcase, test_a_sender);
	tcase_add_test(tcase, outbox_list);
	tcase_add_test(tcase, outbox_changes);
	tcase_add_test(tcase, not_running);
	tcase_add_test(tcase, socket_from_the_environment);
	tcase_add_test(tcase, socket_in_the_users_own_directory);
	tcase_add_loop_test(tcase, daemons_of_all_sorts, 0, (int)(sizeof(daemons) / sizeof(daemons[0])));
	tcase_add_test(tcase, a_daemon_that_never_answers);
	tcase_add_test(tcase, a_path_too_long_for_a_socket);
	tcase_add_test(tcase, no_permission);
	tcase_add_test(tcase, config_check_good);
	tcase_add_test(tcase, config_check_bad);
	tcase_add_test(tcase, config_show_it);
	tcase_add_test(tcase, config_missing);
	tcase_add_test(tcase, output_that_cannot_be_written);
	tcase_add_loop_test(tcase, a_time, 0, (int)(sizeof(times) / sizeof(times[0])));
	tcase_add_test(tcase, columns_stand_with_more_than_ascii);
}

int main(void)
{
	Suite *suite = suite_create("cli");
	TCase *tcase = tcase_create("cli");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
