/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/control_private.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { DEADLINE_S = 20, CALLS_MAX = 64, OTHER_ID = 65534 };

/* The program behind the socket: some commands are answered at once, `reload` when the test says so. */
struct fixture {
	struct event_base *base;
	struct control *control;
	char directory[64];
	char path[160];
	struct control_call *calls[CALLS_MAX];
	size_t call_count;
	char *big;          /* what `outbox` answers, if set */
	int asked;          /* calls of any command */
	uid_t caller;
};

static struct fixture f;

static void fake_status(void *arg, const struct match *match, struct control_call *call)
{
	struct fixture *fixture = arg;
	AUTO(string) char *json = mem_printf("{\"terms\":%zu}", match->term_count);

	fixture->asked++;
	fixture->caller = control_caller(call);
	control_answer(call, json);
}

static void fake_reload(void *arg, struct control_call *call)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	ck_assert_uint_lt(fixture->call_count, CALLS_MAX);
	fixture->calls[fixture->call_count++] = call;
}

static void fake_test(void *arg, const char *sender, struct control_call *call)
{
	struct fixture *fixture = arg;
	AUTO(string) char *message = mem_printf("no sender \"%s\"", sender);

	fixture->asked++;
	control_answer_error(call, "not_found", message);
}

static void fake_probe(void *arg, const char *target, struct control_call *call)
{
	AUTO(string) char *json = mem_printf("{\"target\":\"%s\"}", target);

	(void)arg;
	control_answer(call, json);
}

static void fake_outbox(void *arg, struct control_call *call)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	control_answer(call, fixture->big != NULL ? fixture->big : "{\"messages\":[]}");
}

static void fake_retry(void *arg, const char *id, struct control_call *call)
{
	AUTO(string) char *json = mem_printf("{\"retry\":\"%s\"}", id);

	(void)arg;
	control_answer(call, json);
}

static void fake_drop(void *arg, const char *id, struct control_call *call)
{
	AUTO(string) char *json = mem_printf("{\"drop\":\"%s\"}", id);

	(void)arg;
	control_answer(call, json);
}

static struct control *open_control(struct error *err)
{
	const struct control_backend backend = {
		.status = fake_status, .probe = fake_probe, .reload = fake_reload, .test = fake_test, .outbox = fake_outbox,
		.outbox_retry = fake_retry, .outbox_drop = fake_drop, .arg = &f,
	};

	return control_new(f.base, f.path, &backend, err);
}

static void set_up(void)
{
	struct error err = { 0 };

	signal(SIGPIPE, SIG_IGN);
	memset(&f, 0, sizeof(f));
	strcpy(f.directory, "/tmp/portbell-control-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f.directory));
	snprintf(f.path, sizeof(f.path), "%s/control.sock", f.directory);
	f.base = event_base_new();
	f.control = open_control(&err);
	ck_assert_msg(f.control != NULL, "%s", err.text);
}

static void tear_down(void)
{
	control_free(f.control);
	for (size_t i = 0; i < f.call_count; i++)
		control_answer(f.calls[i], "null");
	event_base_free(f.base);
	free(f.big);
	unlink(f.path);
	ck_assert_int_eq(rmdir(f.directory), 0);
}

static void turn_loop(void)
{
	event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static int client_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int64_t end = clock_mono_us() + DEADLINE_S * US_PER_S;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	strcpy(address.sun_path, f.path);
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		ck_assert_int_eq(errno, EAGAIN); /* the backlog is full */
		ck_assert(clock_mono_us() < end);
		turn_loop();
	}
	return fd;
}

static void client_send_bytes(int fd, const char *data, size_t bytes)
{
	int64_t end = clock_mono_us() + DEADLINE_S * US_PER_S;

	while (bytes > 0) {
		ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);

		if (sent > 0) {
			data += sent;
			bytes -= (size_t)sent;
		} else {
			ck_assert_int_eq(errno, EAGAIN);
			ck_assert(clock_mono_us() < end);
			turn_loop();
		}
	}
}

static void say(int fd, const char *text)
{
	client_send_bytes(fd, text, strlen(text));
}

/* Reads on until a whole line or the end of the connection; both leave the line in `line`. False: it is closed. */
static bool hear(int fd, struct str *line)
{
	int64_t end = clock_mono_us() + DEADLINE_S * US_PER_S;

	str_clear(line);
	for (;;) {
		char c[65536];
		ssize_t bytes = recv(fd, c, sizeof(c), MSG_PEEK);

		if (bytes > 0) {
			const char *eol = memchr(c, '\n', (size_t)bytes);
			size_t take = eol != NULL ? (size_t)(eol - c) + 1 : (size_t)bytes;

			ck_assert_int_eq(recv(fd, c, take, 0), (ssize_t)take);
			str_add_bytes(line, c, take);
			if (eol != NULL)
				return true;
		} else if (bytes == 0 || errno != EAGAIN) {
			return false;
		} else {
			struct pollfd ready = { .fd = fd, .events = POLLIN };

			ck_assert_msg(clock_mono_us() < end, "no answer");
			turn_loop();
			poll(&ready, 1, 2);
		}
	}
}

static void hear_exactly(int fd, const char *expected)
{
	AUTO(str) struct str line = { 0 };

	ck_assert(hear(fd, &line));
	ck_assert_str_eq(line.data, expected);
}

static void hear_error(int fd, const char *code)
{
	AUTO(str) struct str line = { 0 };
	struct error err = { 0 };
	struct json *root;

	ck_assert(hear(fd, &line));
	root = json_parse(line.data, line.bytes, &err);
	ck_assert_msg(root != NULL, "%s: %s", line.data, err.text);
	ck_assert(!json_get_bool(root, "ok", true));
	ck_assert_str_eq(json_get_string(json_get(root, "error"), "code"), code);
	ck_assert_str_ne(json_get_string(json_get(root, "error"), "message"), "");
	json_free(root);
}

static void hear_end(int fd)
{
	AUTO(str) struct str line = { 0 };

	ck_assert_msg(!hear(fd, &line), "%s", line.data);
	ck_assert_uint_eq(line.bytes, 0);
	close(fd);
}

static void turn_until_asked(int asked)
{
	int64_t end = clock_mono_us() + DEADLINE_S * US_PER_S;

	while (f.asked < asked) {
		ck_assert_msg(clock_mono_us() < end, "asked %d of %d times", f.asked, asked);
		event_base_loop(f.base, EVLOOP_ONCE);
	}
}

static void send_nothing(void)
{
	turn_loop();
	turn_loop();
}

/* Requests */

static const struct {
	const char *line;
	const char *answer; /* whole line, or the error's code */
} requests[] = {
	{ "{\"command\":\"status\"}", "{\"ok\":true,\"data\":{\"terms\":0}}\n" },
	{ "{\"command\":\"status\",\"match\":[]}", "{\"ok\":true,\"data\":{\"terms\":0}}\n" },
	{ "{\"command\":\"status\",\"match\":[\"group=web\",\"shop\"]}", "{\"ok\":true,\"data\":{\"terms\":2}}\n" },
	{ "  {\"match\": [\"group=web\"], \"command\": \"status\"} \r", "{\"ok\":true,\"data\":{\"terms\":1}}\n" },
	{ "{\"command\":\"probe\",\"target\":\"shop\"}", "{\"ok\":true,\"data\":{\"target\":\"shop\"}}\n" },
	{ "{\"command\":\"probe\"}", "usage" },
	{ "{\"command\":\"outbox\"}", "{\"ok\":true,\"data\":{\"messages\":[]}}\n" },
	{ "{\"command\":\"outbox_retry\",\"id\":\"7.a\"}", "{\"ok\":true,\"data\":{\"retry\":\"7.a\"}}\n" },
	{ "{\"command\":\"outbox_drop\",\"id\":\"7.a\"}", "{\"ok\":true,\"data\":{\"drop\":\"7.a\"}}\n" },
	{ "{\"command\":\"test\",\"sender\":\"a\\\"b\"}",
	  "{\"ok\":false,\"error\":{\"code\":\"not_found\",\"message\":\"no sender \\\"a\\\"b\\\"\"}}\n" },
	{ "{\"command\":\"status\",\"match\":{\"group\":\"web\"}}", "usage" },
	{ "{\"command\":\"status\",\"match\":null}", "usage" },
	{ "{\"command\":\"status\",\"match\":\"shop\"}", "usage" },
	{ "{\"command\":\"status\",\"match\":[7]}", "usage" },
	{ "{\"command\":\"status\",\"match\":[\"level=bad\"]}", "usage" },
	{ "{\"command\":\"status\",\"match\":[\"colour=red\"]}", "usage" },
	{ "{\"command\":\"status\",\"failing\":true}", "usage" },
	{ "{\"command\":\"reload\",\"match\":[]}", "usage" },
	{ "{\"command\":\"test\"}", "usage" },
	{ "{\"command\":\"test\",\"sender\":\"\"}", "usage" },
	{ "{\"command\":\"test\",\"sender\":1}", "usage" },
	{ "{\"command\":\"test\",\"sender\":\"a\\u0000b\"}", "usage" },
	{ "{\"command\":\"outbox_drop\"}", "usage" },
	{ "{\"command\":\"stop\"}",
	  "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":"
	  "\"the daemon does not know the command \\\"stop\\\"\"}}\n" },
	{ "{\"command\":\"reload\",\"a\\nb\":1}",
	  "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":\"reload does not take \\\"a\\\\x0ab\\\"\"}}\n" },
	{ "{\"command\":7}", "usage" },
	{ "{}", "usage" },
	{ "[]", "usage" },
	{ "\"status\"", "usage" },
	{ "GET / HTTP/1.1\r", "usage" },
	{ "{\"command\":\"status\"} {\"command\":\"status\"}", "usage" },
	{ "{\"command\":\"status\",\"command\":\"reload\"}", "usage" },
	{ "\xff\xfe", "usage" },
	{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "usage" },
};

static void hear_row(int fd, const char *answer)
{
	if (answer[0] == '{')
		hear_exactly(fd, answer);
	else
		hear_error(fd, answer);
}

START_TEST(a_request_whole)
{
	int fd = client_open();

	say(fd, requests[_i].line);
	say(fd, "\n");
	hear_row(fd, requests[_i].answer);
	close(fd);
}
END_TEST

START_TEST(a_request_byte_by_byte)
{
	int fd = client_open();

	for (const char *c = requests[_i].line; *c != '\0'; c++) {
		client_send_bytes(fd, c, 1);
		turn_loop();
	}
	say(fd, "\n");
	hear_row(fd, requests[_i].answer);
	close(fd);
}
END_TEST

START_TEST(all_requests_in_one_go)
{
	int fd = client_open();

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		say(fd, requests[i].line);
		say(fd, "\n\n");
	}
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		hear_row(fd, requests[i].answer);
	close(fd);
}
END_TEST

START_TEST(who_asks_is_told)
{
	int fd = client_open();

	f.caller = (uid_t)-1;
	say(fd, "{\"command\":\"status\"}\n");
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	ck_assert_uint_eq(f.caller, getuid());
	close(fd);
}
END_TEST

START_TEST(a_last_line_without_its_end)
{
	int fd = client_open();

	say(fd, "{\"command\":\"outbox\"}\n{\"command\":\"status\"}");
	shutdown(fd, SHUT_WR);
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"messages\":[]}}\n");
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	hear_end(fd);
}
END_TEST

START_TEST(nul_bytes)
{
	static const char line[] = "{\"command\":\"status\0\"}\n\0\0\n";
	int fd = client_open();

	client_send_bytes(fd, line, sizeof(line) - 1);
	hear_error(fd, "usage");
	hear_error(fd, "usage");
	say(fd, "{\"command\":\"status\"}\n");
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	close(fd);
}
END_TEST

/* A status request padded with blanks to `bytes`, without its line end. */
static char *padded_request(size_t bytes)
{
	char *line = mem_printf("%-*s", (int)bytes, "{\"command\":\"status\"}");

	ck_assert_uint_eq(strlen(line), bytes);
	return line;
}

START_TEST(longest_line)
{
	AUTO(string) char *line = padded_request(CONTROL_LINE_MAX_BYTES);
	int fd = client_open();

	for (int i = 0; i < 3; i++) {
		say(fd, line);
		say(fd, "\n");
		hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	}
	close(fd);
}
END_TEST

START_TEST(line_one_too_long)
{
	AUTO(string) char *line = padded_request(CONTROL_LINE_MAX_BYTES + 1);
	int fd = client_open();

	say(fd, line);
	say(fd, "\n");
	hear_error(fd, "usage");
	hear_end(fd);
	ck_assert_int_eq(f.asked, 0);
}
END_TEST

START_TEST(line_without_end)
{
	char zeros[8192] = { 0 };
	int fd = client_open();

	/* Nobody reads on behind the cap: what is sent fills the kernel's buffer, then the other end is gone. */
	for (int i = 0; i < 200; i++) {
		ssize_t sent = send(fd, zeros, sizeof(zeros), MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			break;
		turn_loop();
	}
	hear_error(fd, "usage");
	hear_end(fd);
	ck_assert_int_eq(f.asked, 0);
}
END_TEST

/* Answers that come later */

START_TEST(answers_keep_the_order_of_requests)
{
	int fd = client_open();
	int other = client_open();

	say(fd, "{\"command\":\"reload\"}\n{\"command\":\"status\"}\n");
	turn_until_asked(1);
	say(other, "{\"command\":\"status\"}\n");
	hear_exactly(other, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	ck_assert_int_eq(f.asked, 2);
	f.call_count = 0;
	control_answer(f.calls[0], "{\"generation\":2}");
	ck_assert_int_eq(f.asked, 2); /* the next request waits for the loop */
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"generation\":2}}\n");
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	close(fd);
	close(other);
}
END_TEST

START_TEST(an_error_of_many_lines)
{
	AUTO(str) struct str line = { 0 };
	int fd = client_open();
	struct error err;
	struct json *root;

	say(fd, "{\"command\":\"reload\"}\n");
	turn_until_asked(1);
	f.call_count = 0;
	control_answer_error(f.calls[0], "config_refused", "portbell.yaml:1:1: a: b\nportbell.yaml:2:1: c: d");
	ck_assert(hear(fd, &line));
	root = json_parse(line.data, line.bytes, &err);
	ck_assert_str_eq(json_get_string(json_get(root, "error"), "message"),
			 "portbell.yaml:1:1: a: b\nportbell.yaml:2:1: c: d");
	json_free(root);
	close(fd);
}
END_TEST

START_TEST(gone_before_the_answer)
{
	int fd = client_open();
	int other;

	say(fd, "{\"command\":\"reload\"}\n{\"command\":\"status\"}\n");
	turn_until_asked(1);
	close(fd);
	send_nothing();
	f.call_count = 0;
	control_answer(f.calls[0], "{}");
	other = client_open();
	say(other, "{\"command\":\"test\",\"sender\":\"x\"}\n");
	hear_error(other, "not_found");
	close(other);
}
END_TEST

START_TEST(gone_with_half_a_line)
{
	int fd = client_open();

	say(fd, "{\"command\":\"rel");
	send_nothing();
	close(fd);
	send_nothing();
	ck_assert_int_eq(f.asked, 0);
}
END_TEST

START_TEST(control_ends_before_the_answer)
{
	int fd = client_open();

	say(fd, "{\"command\":\"reload\"}\n");
	turn_until_asked(1);
	control_free(f.control);
	f.control = NULL;
	hear_end(fd);
	ck_assert_int_ne(access(f.path, F_OK), 0);
	/* tear_down() answers the call that nobody waits for. */
}
END_TEST

/* Readers */

static char *big_answer(size_t bytes)
{
	char *json = mem_alloc(bytes + 1);

	memset(json, 'x', bytes);
	json[0] = '"';
	json[bytes - 1] = '"';
	return json;
}

START_TEST(one_answer_over_the_cap)
{
	AUTO(str) struct str line = { 0 };
	int fd = client_open();

	f.big = big_answer(2 * CONTROL_WAITING_MAX_BYTES);
	say(fd, "{\"command\":\"outbox\"}\n");
	ck_assert(hear(fd, &line));
	ck_assert_uint_eq(line.bytes, strlen(f.big) + strlen("{\"ok\":true,\"data\":}\n"));
	close(fd);
}
END_TEST

START_TEST(reader_that_never_reads)
{
	int fd = client_open();
	int other = client_open();
	AUTO(str) struct str line = { 0 };
	int heard = 0;

	f.big = big_answer(1024 * 1024);
	for (int i = 0; i < 12; i++)
		say(fd, "{\"command\":\"outbox\"}\n");
	turn_until_asked(4);
	say(other, "{\"command\":\"status\"}\n");
	hear_exactly(other, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	for (int i = 0; i < 20; i++)
		turn_loop();
	ck_assert_int_lt(f.asked, 8);
	while (hear(fd, &line))
		heard++;
	ck_assert_int_lt(heard, 5);
	close(fd);
	close(other);
}
END_TEST

/* Many */

START_TEST(a_hundred_clients)
{
	int fds[100];
	int open_count = 0;

	for (int i = 0; i < 100; i++) {
		fds[i] = client_open();
		send_nothing();
	}
	for (int i = 0; i < 100; i++) {
		struct pollfd ended = { .fd = fds[i], .events = POLLIN };

		open_count += poll(&ended, 1, 0) == 0;
	}
	ck_assert_int_eq(open_count, CONTROL_CLIENTS_MAX);
	for (int i = 0; i < 100; i++) {
		if (i < 100 - CONTROL_CLIENTS_MAX) {
			hear_end(fds[i]);
			continue;
		}
		say(fds[i], "{\"command\":\"status\"}\n");
		hear_exactly(fds[i], "{\"ok\":true,\"data\":{\"terms\":0}}\n");
		close(fds[i]);
	}
}
END_TEST

START_TEST(a_hundred_in_the_backlog)
{
	int fds[64];

	/* All there before the loop turns: each must be served or sent away, and the listener must live on. */
	for (int i = 0; i < 64; i++) {
		fds[i] = client_open();
		say(fds[i], "{\"command\":\"status\"}\n");
	}
	for (int i = 0; i < 64; i++) {
		AUTO(str) struct str line = { 0 };

		if (hear(fds[i], &line))
			ck_assert_str_eq(line.data, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
		close(fds[i]);
	}
	fds[0] = client_open();
	say(fds[0], "{\"command\":\"status\"}\n");
	hear_exactly(fds[0], "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	close(fds[0]);
}
END_TEST

START_TEST(who_waits_for_us_is_not_sent_away)
{
	int waiting = client_open();
	int fds[CONTROL_CLIENTS_MAX];

	say(waiting, "{\"command\":\"reload\"}\n");
	turn_until_asked(1);
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = client_open();
		send_nothing();
	}
	hear_end(fds[0]);
	f.call_count = 0;
	control_answer(f.calls[0], "true");
	hear_exactly(waiting, "{\"ok\":true,\"data\":true}\n");
	for (int i = 1; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	close(waiting);
}
END_TEST

START_TEST(out_of_descriptors)
{
	int fds[4];
	struct rlimit before;
	struct rlimit limit;

	send_nothing();
	for (int i = 0; i < 4; i++)
		fds[i] = client_open();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)fds[3] + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* The first gets the reserve and keeps it; the others wait until it has been silent long enough, or leaves. */
	for (int i = 0; i < 4; i++) {
		say(fds[i], "{\"command\":\"status\"}\n");
		hear_exactly(fds[i], "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}
END_TEST

/* The socket and who may */

START_TEST(mode_and_removal)
{
	struct stat status;

	ck_assert_int_eq(stat(f.path, &status), 0);
	ck_assert(S_ISSOCK(status.st_mode));
	ck_assert_uint_eq(status.st_mode & 07777, 0660);
	control_free(f.control);
	f.control = NULL;
	ck_assert_int_ne(access(f.path, F_OK), 0);
	control_free(NULL);
}
END_TEST

START_TEST(already_running)
{
	struct error err = { 0 };
	int fd;

	ck_assert_ptr_null(open_control(&err));
	ck_assert_str_eq(err.where, f.path);
	ck_assert_ptr_nonnull(strstr(err.text, "already running"));
	fd = client_open();
	say(fd, "{\"command\":\"status\"}\n");
	hear_exactly(fd, "{\"ok\":true,\"data\":{\"terms\":0}}\n");
	close(fd);
}
END_TEST

START_TEST(a_leftover_is_replaced)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct error err = { 0 };
	int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	control_free(f.control);
	strcpy(address.sun_path, f.path);
	ck_assert_int_eq(bind(dead, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(dead);
	f.control = open_control(&err);
	ck_assert_msg(f.control != NULL, "%s: %s", err.where, err.text);
}
END_TEST

START_TEST(what_is_no_socket_stays)
{
	struct error err = { 0 };
	int fd;

	control_free(f.control);
	fd = open(f.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	f.control = open_control(&err);
	ck_assert_ptr_null(f.control);
	ck_assert_ptr_nonnull(strstr(err.text, "not a socket"));
	ck_assert_int_eq(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(another_ones_socket_stays)
{
	int fd;

	unlink(f.path);
	fd = open(f.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	control_free(f.control);
	f.control = NULL;
	ck_assert_int_eq(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(places_that_cannot_be)
{
	struct error err = { 0 };

	control_free(f.control);
	f.control = NULL;
	snprintf(f.path, sizeof(f.path), "%s/no/where/control.sock", f.directory);
	ck_assert_ptr_null(open_control(&err));
	ck_assert_ptr_nonnull(strstr(err.where, "/no/where"));
	memset(f.path + strlen(f.directory) + 1, 'x', sizeof(f.path) - strlen(f.directory) - 2);
	f.path[sizeof(f.path) - 1] = '\0';
	ck_assert_ptr_null(open_control(&err));
	snprintf(f.path, sizeof(f.path), "%s/control.sock", f.directory);
}
END_TEST

START_TEST(a_missing_directory_is_made)
{
	struct error err = { 0 };
	AUTO(string) char *directory = mem_printf("%s/run", f.directory);
	struct stat status;

	control_free(f.control);
	snprintf(f.path, sizeof(f.path), "%s/control.sock", directory);
	f.control = open_control(&err);
	ck_assert_msg(f.control != NULL, "%s: %s", err.where, err.text);
	ck_assert_int_eq(stat(directory, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0027, 0);
	control_free(f.control);
	f.control = NULL;
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* Runs in a child as another user: asks, and exits 0 if the answer has `expected` in it. */
static void ask_as(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count, const char *expected)
{
	static const char request[] = "{\"command\":\"status\"}\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char answer[512] = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f.path);
	if (setgroups(group_count, groups) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
		_exit(10);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		_exit(11);
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		_exit(12);
	if (recv(fd, answer, sizeof(answer) - 1, 0) <= 0)
		_exit(13);
	_exit(strstr(answer, expected) != NULL ? 0 : 14);
}

static const struct {
	const char *name;
	gid_t gid;
	gid_t groups[3];
	size_t group_count;
	bool may;
} callers[] = {
	{ "nobody", OTHER_ID, { 0 }, 0, false },
	{ "nobody with other groups", OTHER_ID, { 7, 8, 9 }, 3, false },
	{ "nobody whose own group is the socket's", 4321, { 0 }, 0, true },
	{ "a member of the socket's group", OTHER_ID, { 7, 4321, 9 }, 3, true },
};

START_TEST(who_may)
{
	struct error err = { 0 };
	int64_t end = clock_mono_us() + DEADLINE_S * US_PER_S;
	int status = 0;
	pid_t child;

	if (getuid() != 0)
		return; /* only root can be somebody else */
	/* The directory gives its group to the socket; an admin has opened the mode to everybody. */
	control_free(f.control);
	ck_assert_int_eq(chown(f.directory, 0, 4321), 0);
	ck_assert_int_eq(chmod(f.directory, 02755), 0);
	f.control = open_control(&err);
	ck_assert_ptr_nonnull(f.control);
	ck_assert_int_eq(chmod(f.path, 0666), 0);
	child = fork();
	if (child == 0)
		ask_as(OTHER_ID, callers[_i].gid, callers[_i].groups, callers[_i].group_count,
		       callers[_i].may ? "\"ok\":true" : "no_permission");
	while (waitpid(child, &status, WNOHANG) == 0) {
		struct timeval nap = { .tv_usec = 2000 };

		ck_assert(clock_mono_us() < end);
		event_base_loopexit(f.base, &nap);
		event_base_loop(f.base, 0);
	}
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %d", callers[_i].name,
		      WEXITSTATUS(status));
	ck_assert_int_eq(f.asked, callers[_i].may ? 1 : 0);
}
END_TEST

/* Random bytes are the fuzz target's; here, lines of every length up to the cap end in an answer each. */
START_TEST(lines_of_any_length)
{
	int fd = client_open();

	for (size_t bytes = 1; bytes <= CONTROL_LINE_MAX_BYTES; bytes += 97) {
		AUTO(string) char *line = mem_alloc(bytes + 2);

		memset(line, '[', bytes);
		line[bytes] = '\n';
		say(fd, line);
		hear_error(fd, "usage");
	}
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control");
	TCase *tcase = tcase_create("control");
	SRunner *runner = srunner_create(suite);
	int rows = (int)(sizeof(requests) / sizeof(requests[0]));
	int failures;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, a_request_whole, 0, rows);
	tcase_add_loop_test(tcase, a_request_byte_by_byte, 0, rows);
	tcase_add_test(tcase, all_requests_in_one_go);
	tcase_add_test(tcase, who_asks_is_told);
	tcase_add_test(tcase, a_last_line_without_its_end);
	tcase_add_test(tcase, nul_bytes);
	tcase_add_test(tcase, longest_line);
	tcase_add_test(tcase, line_one_too_long);
	tcase_add_test(tcase, line_without_end);
	tcase_add_test(tcase, lines_of_any_length);
	tcase_add_test(tcase, answers_keep_the_order_of_requests);
	tcase_add_test(tcase, an_error_of_many_lines);
	tcase_add_test(tcase, gone_before_the_answer);
	tcase_add_test(tcase, gone_with_half_a_line);
	tcase_add_test(tcase, control_ends_before_the_answer);
	tcase_add_test(tcase, one_answer_over_the_cap);
	tcase_add_test(tcase, reader_that_never_reads);
	tcase_add_test(tcase, a_hundred_clients);
	tcase_add_test(tcase, a_hundred_in_the_backlog);
	tcase_add_test(tcase, who_waits_for_us_is_not_sent_away);
	tcase_add_test(tcase, out_of_descriptors);
	tcase_add_test(tcase, mode_and_removal);
	tcase_add_test(tcase, already_running);
	tcase_add_test(tcase, a_leftover_is_replaced);
	tcase_add_test(tcase, what_is_no_socket_stays);
	tcase_add_test(tcase, another_ones_socket_stays);
	tcase_add_test(tcase, places_that_cannot_be);
	tcase_add_test(tcase, a_missing_directory_is_made);
	tcase_add_loop_test(tcase, who_may, 0, (int)(sizeof(callers) / sizeof(callers[0])));
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
