/* SPDX-License-Identifier: MIT */
/* The client against servers of our own on the same loop, and against Python's for TLS. */
#include "lib/io/http_client.h"

#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

extern char **environ;

/* ---- scripted servers ---- */

enum act { SAY, STALL, RESET, CLOSE, DRIP, FLOOD };

/* What a mail server does at one command instead of the usual; `nth` counts from 0 (recipients). */
struct fault {
	const char *at; /* "greeting", "EHLO", ..., "." */
	enum act act;
	const char *say;
	int nth;
};

struct peer {
	struct event_base *base;
	int fd;
	uint16_t port;
	struct event *event;
	bool mail;
	const char *offers; /* lines after the first of the answer to EHLO */
	struct fault fault;
	int requests;
	int connections;
	struct str heard;   /* all that clients said */
	struct str data;    /* what came after DATA */
};

struct client_side { /* one connection, seen from the server */
	bool stalled;        /* says nothing more: a ClientHello may hold what looks like a line */
	struct peer *peer;
	struct bufferevent *bev;
	struct event *drip;
	bool in_data;
	const char *login; /* "username", "password": what of AUTH LOGIN comes next */
	int rcpt;
};

static void side_close(struct client_side *side, bool reset)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	int fd = bufferevent_getfd(side->bev);

	if (reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (side->drip != NULL)
		event_free(side->drip);
	bufferevent_free(side->bev);
	free(side);
}

static void on_side_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	side_close(arg, false);
}

static void on_drip(evutil_socket_t fd, short what, void *arg)
{
	struct client_side *side = arg;

	(void)fd;
	(void)what;
	bufferevent_write(side->bev, "x", 1);
}

static void side_say(struct client_side *side, const char *text)
{
	bufferevent_write(side->bev, text, strlen(text));
}

/* true: the connection is still there. */
static bool side_act(struct client_side *side, enum act act, const char *text)
{
	struct timeval often = { .tv_usec = 10000 };

	if (act == RESET || act == CLOSE) {
		if (text != NULL)
			send(bufferevent_getfd(side->bev), text, strlen(text), MSG_NOSIGNAL);
		side_close(side, act == RESET);
		return false;
	}
	if (text != NULL)
		side_say(side, text);
	side->stalled = act == STALL;
	if (act == DRIP) {
		side->drip = event_new(side->peer->base, -1, EV_PERSIST, on_drip, side);
		event_add(side->drip, &often);
	}
	for (int i = 0; act == FLOOD && i < 3000; i++)
		side_say(side, "250-and so on and so on and so on and so on\r\n");
	return true;
}

static const char *smtp_usual(struct client_side *side, const char *verb)
{
	if (strcmp(verb, "DATA") == 0) {
		side->in_data = true;
		return "354 go on\r\n";
	}
	if (strcmp(verb, "LOGIN") == 0) {
		side->login = "username";
		return "334 VXNlcm5hbWU6\r\n";
	}
	if (strcmp(verb, "username") == 0) {
		side->login = "password";
		return "334 UGFzc3dvcmQ6\r\n";
	}
	if (strcmp(verb, "password") == 0) {
		side->login = NULL;
		return "235 welcome\r\n";
	}
	return strcmp(verb, "PLAIN") == 0 ? "235 welcome\r\n" : "250 fine\r\n";
}

static bool smtp_command(struct client_side *side, const char *verb)
{
	struct peer *peer = side->peer;
	const struct fault *fault = &peer->fault;
	bool is_rcpt = strcmp(verb, "RCPT") == 0;
	const char *usual;

	if (fault->at != NULL && strcmp(verb, fault->at) == 0 && (!is_rcpt || side->rcpt == fault->nth))
		return side_act(side, fault->act, fault->say);
	side->rcpt += is_rcpt;
	if (strcmp(verb, "EHLO") == 0) {
		AUTO(string) char *answer = mem_printf("250-here.test hello\r\n%s250 HELP\r\n", peer->offers);

		side_say(side, answer);
	} else if (strcmp(verb, "QUIT") == 0) {
		side_say(side, "221 bye\r\n");
	} else if (strcmp(verb, "greeting") == 0) {
		side_say(side, "220-here.test\r\n220 ready\r\n");
	} else {
		usual = smtp_usual(side, verb);
		side_say(side, usual);
	}
	return true;
}

static bool smtp_line(struct client_side *side, const char *line)
{
	char verb[16] = "";

	if (side->in_data && strcmp(line, ".") != 0) {
		str_addf(&side->peer->data, "%s\n", line);
		return true;
	}
	if (side->in_data) {
		side->in_data = false;
		return smtp_command(side, ".");
	}
	if (side->login != NULL)
		return smtp_command(side, side->login);
	snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(line, " :"), line);
	if (strcmp(verb, "AUTH") == 0)
		snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(line + 5, " "), line + 5);
	return smtp_command(side, verb);
}

static void on_mail_read(struct bufferevent *bev, void *arg)
{
	struct client_side *side = arg;
	char *line;

	while ((line = evbuffer_readln(bufferevent_get_input(bev), NULL, EVBUFFER_EOL_CRLF_STRICT)) != NULL) {
		bool alive;

		if (!side->stalled)
			str_addf(&side->peer->heard, "%s\n", line);
		alive = side->stalled || smtp_line(side, line);
		free(line);
		if (!alive)
			return;
	}
}

static const struct {
	const char *path;
	enum act act;
	const char *answer;
} pages[] = {
	{ "/200", SAY, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" },
	{ "/204", SAY, "HTTP/1.1 204 No Content\r\n\r\n" },
	{ "/100", SAY, "HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\n"
		       "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n" },
	{ "/302", SAY, "HTTP/1.1 302 Found\r\nLocation: /canary\r\nContent-Length: 0\r\n\r\n" },
	{ "/429", SAY, "HTTP/1.1 429 Slow down\r\nRETRY-AFTER:  120 \r\nContent-Length: 0\r\n\r\n" },
	{ "/503-huge", SAY, "HTTP/1.1 503 x\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n" },
	{ "/503-past", SAY, "HTTP/1.1 503 x\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			    "Content-Length: 0\r\n\r\n" },
	{ "/503-junk", SAY, "HTTP/1.1 503 x\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n" },
	{ "/400", SAY, "HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n" },
	{ "/500", SAY, "HTTP/1.1 500 x\r\nContent-Length: 3\r\n\r\nbad" },
	{ "/stall", STALL, NULL },
	{ "/stall-head", STALL, "HTTP/1.1 200 OK\r\nX: y\r\n" },
	{ "/stall-body", STALL, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
	{ "/reset", RESET, NULL },
	{ "/reset-body", RESET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
	{ "/close", CLOSE, NULL },
	{ "/drip", DRIP, "HTTP/1.1 200 OK\r\nX-Long: " },
	{ "/drip-body", DRIP, "HTTP/1.1 500 x\r\nContent-Length: 100000\r\n\r\n" },
	{ "/junk", CLOSE, "what do you want?\r\n\r\n" },
	{ "/http09", CLOSE, "<html>" },
};

static bool side_big(struct client_side *side)
{
	char chunk[1024];

	memset(chunk, 'b', sizeof(chunk));
	side_say(side, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");
	for (int i = 0; i < 2048; i++)
		bufferevent_write(side->bev, chunk, sizeof(chunk));
	return true;
}

static bool http_page(struct client_side *side, const char *path)
{
	char date[200];
	char stamp[64];
	time_t soon = time(NULL) + 300;
	struct tm tm;

	side->peer->requests++;
	if (strcmp(path, "/big") == 0)
		return side_big(side);
	if (strcmp(path, "/429-date") == 0) {
		strftime(stamp, sizeof(stamp), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&soon, &tm));
		snprintf(date, sizeof(date), "HTTP/1.1 429 x\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
			 stamp);
		side_say(side, date);
		return true;
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strcmp(path, pages[i].path) == 0)
			return side_act(side, pages[i].act, pages[i].answer);
	}
	side_say(side, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
	return true;
}

static void on_http_read(struct bufferevent *bev, void *arg)
{
	struct client_side *side = arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	size_t bytes = evbuffer_get_length(input);
	AUTO(string) char *text = mem_strndup((const char *)evbuffer_pullup(input, -1), bytes);
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strstr(text, "Content-Length:");
	char path[64];

	if (end == NULL || (length != NULL && strlen(end + 4) < strtoul(length + 15, NULL, 10)))
		return;
	str_add_bytes(&side->peer->heard, text, bytes);
	evbuffer_drain(input, bytes);
	ck_assert_int_eq(sscanf(text, "%*s %63[^ ?]", path), 1);
	http_page(side, path);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;
	struct client_side *side = mem_new(struct client_side);
	int accepted = accept(fd, NULL, NULL);

	(void)what;
	ck_assert_int_ge(accepted, 0);
	evutil_make_socket_nonblocking(accepted);
	evutil_make_socket_closeonexec(accepted);
	peer->connections++;
	side->peer = peer;
	side->bev = bufferevent_socket_new(peer->base, accepted, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(side->bev, peer->mail ? on_mail_read : on_http_read, NULL, on_side_event, side);
	bufferevent_enable(side->bev, EV_READ | EV_WRITE);
	if (peer->mail)
		smtp_command(side, "greeting");
}

static void peer_open(struct peer *peer, struct event_base *base, bool mail)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t bytes = sizeof(address);

	memset(peer, 0, sizeof(*peer));
	peer->base = base;
	peer->mail = mail;
	peer->offers = "";
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(peer->fd, (struct sockaddr *)&address, bytes), 0);
	ck_assert_int_eq(listen(peer->fd, 16), 0);
	getsockname(peer->fd, (struct sockaddr *)&address, &bytes);
	peer->port = ntohs(address.sin_port);
	peer->event = event_new(base, peer->fd, EV_READ | EV_PERSIST, on_accept, peer);
	event_add(peer->event, NULL);
}

/* Connections end when their clients close. */
static void peer_close(struct peer *peer)
{
	event_free(peer->event);
	close(peer->fd);
	str_done(&peer->heard);
	str_done(&peer->data);
}

/* ---- the client under test ---- */

struct bench {
	struct event_base *base;
	struct http_client *client;
	struct peer peer;
	struct address address;
	int files_before;
};

struct heard {
	int calls;
	struct transfer_answer answer;
	char text[1024];
	struct str body;
	bool keep; /* takes the body over */
	struct http_client **free_it;
	struct transfer **cancel_it;
	struct bench *again; /* starts one more of the same, which does nothing besides */
	struct heard *again_heard;
};

static int open_files(void)
{
	int count = 0;

	for (int fd = 0; fd < 1000; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

static void bench_open(struct bench *bench, bool mail)
{
	struct error err;

	memset(bench, 0, sizeof(*bench));
	bench->files_before = open_files();
	bench->base = event_base_new();
	bench->client = http_client_new(bench->base, &err);
	ck_assert_ptr_nonnull(bench->client);
	peer_open(&bench->peer, bench->base, mail);
	ck_assert(address_from_literal("127.0.0.1", 0, &bench->address));
}

static void bench_close(struct bench *bench)
{
	http_client_free(bench->client);
	for (int i = 0; i < 50; i++)
		event_base_loop(bench->base, EVLOOP_NONBLOCK); /* the servers see their clients leave */
	peer_close(&bench->peer);
	event_base_free(bench->base);
	ck_assert_int_eq(open_files(), bench->files_before);
}

static struct transfer *get(struct bench *bench, const char *path, int64_t timeout_ms, struct heard *heard);

static void on_answer(const struct transfer_answer *answer, void *arg)
{
	struct heard *heard = arg;

	heard->calls++;
	heard->answer = *answer;
	ck_assert_ptr_nonnull(answer->text);
	ck_assert_uint_eq(answer->body_bytes == 0 ? 0 : strlen(answer->body), answer->body_bytes);
	snprintf(heard->text, sizeof(heard->text), "%s", answer->text);
	str_clear(&heard->body);
	if (heard->keep && answer->whole != NULL) {
		str_done(&heard->body);
		heard->body.bytes = answer->whole->bytes;
		heard->body.data = str_take(answer->whole);
	} else {
		str_add_bytes(&heard->body, answer->body, answer->body_bytes);
	}
	if (heard->cancel_it != NULL)
		transfer_cancel(TAKE(*heard->cancel_it));
	if (heard->again != NULL)
		get(heard->again, "/200", 5000, heard->again_heard);
	if (heard->free_it != NULL)
		http_client_free(TAKE(*heard->free_it));
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

static void wait_for(struct event_base *base, const int *calls, int wanted)
{
	struct timeval limit = { .tv_sec = 20 };
	bool late = false;
	struct event *timer = event_new(base, -1, 0, on_late, &late);

	event_add(timer, &limit);
	while (*calls < wanted) {
		ck_assert_msg(!late, "no answer within 20 s");
		event_base_loop(base, EVLOOP_ONCE);
	}
	event_free(timer);
}

static struct transfer *get(struct bench *bench, const char *path, int64_t timeout_ms, struct heard *heard)
{
	AUTO(string) char *url = mem_printf("http://hook.test:%u%s?token=s3cr3t", bench->peer.port, path);
	struct http_request request = {
		.url = url, .method = "POST", .body = "{\"a\": 1}", .body_bytes = 8, .addresses = &bench->address,
		.address_count = 1, .timeout_ms = timeout_ms,
	};

	return transfer_start_http(bench->client, &request, on_answer, heard);
}

static void fetch(struct bench *bench, const struct http_request *request, struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	ck_assert_ptr_nonnull(transfer_start_http(bench->client, request, on_answer, heard));
	ck_assert_int_eq(heard->calls, 0);
	wait_for(bench->base, &heard->calls, 1);
}

/* ---- HTTP ---- */

static const struct {
	const char *path;
	enum transfer_kind kind;
	int status;
	int64_t retry_after_ms;
	bool in_doubt;
	const char *text;
	const char *body;
} answers[] = {
	{ "/200", TRANSFER_ANSWERED, 200, -1, false, "answered 200", "hello" },
	{ "/204", TRANSFER_ANSWERED, 204, -1, false, "answered 204", "" },
	{ "/100", TRANSFER_ANSWERED, 201, -1, false, "answered 201", "" },
	{ "/302", TRANSFER_ANSWERED, 302, -1, false, "answered 302", "" },
	{ "/429", TRANSFER_ANSWERED, 429, 120000, false, "answered 429", "" },
	{ "/503-huge", TRANSFER_ANSWERED, 503, 604800000, false, "answered 503", "" },
	{ "/503-past", TRANSFER_ANSWERED, 503, 0, false, "answered 503", "" },
	{ "/503-junk", TRANSFER_ANSWERED, 503, -1, false, "answered 503", "" },
	{ "/400", TRANSFER_ANSWERED, 400, -1, false, "answered 400", "" },
	{ "/500", TRANSFER_ANSWERED, 500, -1, false, "answered 500", "bad" },
	{ "/stall", TRANSFER_NO_ANSWER, 0, -1, true, "timeout while waiting for the answer", "" },
	{ "/stall-head", TRANSFER_NO_ANSWER, 0, -1, true, "timeout while waiting for the answer", "" },
	{ "/stall-body", TRANSFER_ANSWERED, 200, -1, false, "answered 200, the rest of the answer did not come",
	  "half" },
	{ "/reset", TRANSFER_NO_ANSWER, 0, -1, true, "connection lost: Connection reset by peer", "" },
	{ "/reset-body", TRANSFER_ANSWERED, 200, -1, false, "answered 200, the rest of the answer did not come",
	  "half" },
	{ "/close", TRANSFER_NO_ANSWER, 0, -1, true, "the server closed the connection without an answer", "" },
	{ "/drip", TRANSFER_NO_ANSWER, 0, -1, true, "timeout while waiting for the answer", "" },
	{ "/junk", TRANSFER_NO_ANSWER, 0, -1, true, NULL, "" },
	{ "/http09", TRANSFER_NO_ANSWER, 0, -1, true, NULL, "" },
};

START_TEST(http_names_what_came)
{
	struct bench bench;
	struct heard heard = { 0 };

	bench_open(&bench, false);
	get(&bench, answers[_i].path, 300, &heard);
	wait_for(bench.base, &heard.calls, 1);
	ck_assert_int_eq(heard.answer.kind, answers[_i].kind);
	ck_assert_int_eq(heard.answer.status, answers[_i].status);
	ck_assert_int_eq(heard.answer.retry_after_ms, answers[_i].retry_after_ms);
	ck_assert_int_eq(heard.answer.in_doubt, answers[_i].in_doubt);
	if (answers[_i].text != NULL)
		ck_assert_str_eq(heard.text, answers[_i].text);
	ck_assert_str_ne(heard.text, "");
	ck_assert_str_eq(heard.body.data != NULL ? heard.body.data : "", answers[_i].body);
	ck_assert_ptr_null(strstr(heard.text, "s3cr3t"));
	ck_assert_ptr_null(strstr(heard.text, "hook"));
	ck_assert_int_eq(bench.peer.requests, 1); /* a redirect is not followed */
	str_done(&heard.body);
	bench_close(&bench);
}
END_TEST

START_TEST(http_retry_after_date)
{
	struct bench bench;
	struct heard heard = { 0 };

	bench_open(&bench, false);
	get(&bench, "/429-date", 5000, &heard);
	wait_for(bench.base, &heard.calls, 1);
	ck_assert_int_ge(heard.answer.retry_after_ms, 290000);
	ck_assert_int_le(heard.answer.retry_after_ms, 300000);
	bench_close(&bench);
}
END_TEST

START_TEST(http_body_is_capped)
{
	struct bench bench;
	struct heard heard = { 0 };

	bench_open(&bench, false);
	get(&bench, "/big", 5000, &heard);
	wait_for(bench.base, &heard.calls, 1);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	ck_assert_int_eq(heard.answer.status, 200);
	ck_assert_str_eq(heard.text, "answered 200");
	ck_assert_uint_eq(heard.answer.body_bytes, 65536);
	memset(&heard.answer, 0, sizeof(heard.answer));
	heard.calls = 0;
	get(&bench, "/drip-body", 200, &heard);
	wait_for(bench.base, &heard.calls, 1);
	ck_assert_int_eq(heard.answer.status, 500);
	str_done(&heard.body);
	bench_close(&bench);
}
END_TEST

/* What is wanted whole comes whole, to be kept, or not at all. */
START_TEST(http_body_is_whole)
{
	static const struct {
		const char *path;
		size_t whole_bytes;
		enum transfer_kind kind;
		const char *text;
		size_t bytes;
	} rows[] = {
		{ "/200", 5, TRANSFER_ANSWERED, "answered 200", 5 },
		{ "/200", 4, TRANSFER_NO_ANSWER, "answered 200, with more than 4 bytes", 0 },
		{ "/204", 5, TRANSFER_ANSWERED, "answered 204", 0 },
		{ "/big", 2 << 20, TRANSFER_ANSWERED, "answered 200", 2 << 20 },
		{ "/stall-body", 100, TRANSFER_NO_ANSWER, "answered 200, the rest of the answer did not come", 0 },
		{ "/reset-body", 100, TRANSFER_NO_ANSWER, "answered 200, the rest of the answer did not come", 0 },
		{ "/close", 100, TRANSFER_NO_ANSWER, "the server closed the connection without an answer", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bench bench;
		struct heard heard = { 0 };

		bench_open(&bench, false);
		AUTO(string) char *url = mem_printf("http://127.0.0.1:%u%s", bench.peer.port, rows[i].path);
		struct http_request request = {
			.url = url, .method = "GET", .timeout_ms = 500, .whole_bytes = rows[i].whole_bytes,
		};

		heard.keep = true;
		ck_assert_ptr_nonnull(transfer_start_http(bench.client, &request, on_answer, &heard));
		wait_for(bench.base, &heard.calls, 1);
		ck_assert_msg(heard.answer.kind == rows[i].kind && strcmp(heard.text, rows[i].text) == 0, "%s: %s",
			      rows[i].path, heard.text);
		if (rows[i].kind == TRANSFER_ANSWERED)
			ck_assert_uint_eq(heard.body.bytes, rows[i].bytes);
		str_done(&heard.body);
		bench_close(&bench);
	}
}
END_TEST

/* The address that is judged is the one that is connected to, written or looked up. */
START_TEST(http_public_only)
{
	static const char *const hosts[] = { "127.0.0.1",	   "[::1]",    "0x7f000001",
					     "[::ffff:127.0.0.1]", "10.0.0.1", "crl.test" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct bench bench;
		struct heard heard;

		bench_open(&bench, false);
		AUTO(string) char *url = mem_printf("http://%s:%u/200", hosts[i], bench.peer.port);
		const bool name = strcmp(hosts[i], "crl.test") == 0;
		const struct http_request request = {
			.url = url, .method = "GET", .timeout_ms = 5000, .whole_bytes = 100, .public_only = true,
			.addresses = &bench.address, .address_count = name,
		};

		fetch(&bench, &request, &heard);
		ck_assert_msg(heard.answer.kind == TRANSFER_FORBIDDEN, "%s: %s", hosts[i], heard.text);
		ck_assert_str_eq(heard.text, "private, loopback and link-local addresses are not connected to");
		ck_assert_int_eq(bench.peer.connections, 0);
		str_done(&heard.body);
		bench_close(&bench);
	}
}
END_TEST

START_TEST(http_request_is_as_asked)
{
	static const struct http_header headers[] = {
		{ "X-Env", "prod\r\nX-Evil: 1" }, { "Content-Type", "application/json" }, { "X-Empty", "" },
	};
	struct bench bench;
	struct heard heard;
	struct http_request request = {
		.method = "PUT", .headers = headers, .header_count = 3, .timeout_ms = 5000,
	};
	AUTO(string) char *url = NULL;

	bench_open(&bench, false);
	url = mem_printf("http://u:p@127.0.0.1:%u/200?q=1", bench.peer.port); /* a literal needs no address */
	request.url = url;
	request.body = "body\0with NUL";
	request.body_bytes = 4;
	fetch(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.status, 200);
	ck_assert(str_starts(bench.peer.heard.data, "PUT /200?q=1 HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "\r\nX-Env: prod  X-Evil: 1\r\n"));
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "\r\nContent-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "\r\nX-Empty:\r\n"));
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "\r\nAuthorization: Basic dTpw\r\n"));
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "\r\n\r\nbody"));
	ck_assert_ptr_null(strstr(bench.peer.heard.data, "Expect"));
	str_done(&heard.body);
	str_clear(&bench.peer.heard);
	request = (struct http_request){ .url = url, .method = "GET", .timeout_ms = 5000 };
	fetch(&bench, &request, &heard);
	ck_assert(str_starts(bench.peer.heard.data, "GET /200?q=1 HTTP/1.1\r\n"));
	ck_assert_ptr_null(strstr(bench.peer.heard.data, "Content-"));
	str_done(&heard.body);
	bench_close(&bench);
}
END_TEST

static const struct {
	const char *url;
	const char *address; /* NULL: none given */
	enum transfer_kind kind;
	const char *text;
} refusals[] = {
	{ "http://169.254.169.254/latest", NULL, TRANSFER_FORBIDDEN, "link-local" },
	{ "http://[fe80::1]/", NULL, TRANSFER_FORBIDDEN, "link-local" },
	{ "http://[::ffff:169.254.169.254]/", NULL, TRANSFER_FORBIDDEN, "link-local" },
	{ "http://0xa9fea9fe/", NULL, TRANSFER_FORBIDDEN, "link-local" },
	{ "http://2852039166/", NULL, TRANSFER_FORBIDDEN, "link-local" },
	{ "http://meta.test/", "169.254.169.254", TRANSFER_FORBIDDEN, "link-local" },
	{ "file:///etc/passwd", NULL, TRANSFER_FORBIDDEN, "the URL must begin" },
	{ "gopher://x/", "127.0.0.1", TRANSFER_FORBIDDEN, "the URL must begin" },
	{ "data:x", NULL, TRANSFER_FORBIDDEN, "the URL must begin" },
	{ "http://a b/", "127.0.0.1", TRANSFER_FORBIDDEN, "not a URL" },
	{ "http://x.test:0/", "127.0.0.1", TRANSFER_FORBIDDEN, "" },
	{ "http://x.test:65536/", "127.0.0.1", TRANSFER_FORBIDDEN, "not a URL" },
	{ "", NULL, TRANSFER_FORBIDDEN, "the URL must begin" },
	{ "http://nowhere.test/", NULL, TRANSFER_NO_ANSWER, "no address of the host is known" },
	{ "http://127.0.0.1:1/", NULL, TRANSFER_NO_ANSWER, "connect: Connection refused" },
};

START_TEST(http_refuses)
{
	struct bench bench;
	struct heard heard;
	struct address address;
	struct http_request request = { .url = refusals[_i].url, .method = "GET", .timeout_ms = 2000 };

	bench_open(&bench, false);
	if (refusals[_i].address != NULL) {
		ck_assert(address_from_literal(refusals[_i].address, 0, &address));
		request.addresses = &address;
		request.address_count = 1;
	}
	fetch(&bench, &request, &heard);
	ck_assert_msg(heard.answer.kind == refusals[_i].kind, "%d %s", heard.answer.kind, heard.text);
	ck_assert_msg(str_starts(heard.text, refusals[_i].text), "%s", heard.text);
	ck_assert(!heard.answer.in_doubt);
	bench_close(&bench);
}
END_TEST

START_TEST(http_tries_the_next_address)
{
	struct bench bench;
	struct heard heard;
	struct address addresses[3];
	struct http_request request = {
		.method = "GET", .timeout_ms = 5000, .addresses = addresses, .address_count = 3,
	};
	AUTO(string) char *url = NULL;

	bench_open(&bench, false);
	ck_assert(address_from_literal("127.0.0.2", 0, &addresses[0])); /* nothing listens there */
	ck_assert(address_from_literal("169.254.169.254", 0, &addresses[1]));
	ck_assert(address_from_literal("127.0.0.1", 0, &addresses[2]));
	url = mem_printf("http://hook.test:%u/200", bench.peer.port);
	request.url = url;
	fetch(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.status, 200);
	str_done(&heard.body);
	bench_close(&bench);
}
END_TEST

START_TEST(callbacks_may_do_anything)
{
	struct heard a = { 0 };
	struct heard b = { 0 };
	struct heard c = { 0 };
	struct transfer *other;
	struct bench bench;

	bench_open(&bench, false);
	other = get(&bench, "/stall", 10000, &b);
	a.cancel_it = &other;
	a.again = &bench;
	a.again_heard = &c;
	get(&bench, "/200", 5000, &a);
	wait_for(bench.base, &c.calls, 1);
	ck_assert_int_eq(a.calls, 1);
	ck_assert_int_eq(b.calls, 0);
	ck_assert_int_eq(c.answer.status, 200);
	/* One that has ended but was not told yet. */
	other = get(&bench, "", 5000, &b);
	transfer_cancel(other);
	transfer_cancel(NULL);
	/* The client goes in the callback, with others under way. */
	str_done(&a.body);
	memset(&a, 0, sizeof(a));
	a.free_it = &bench.client;
	get(&bench, "/stall", 10000, &b);
	get(&bench, "/200", 5000, &a);
	wait_for(bench.base, &a.calls, 1);
	ck_assert_int_eq(b.calls, 0);
	str_done(&a.body);
	str_done(&c.body);
	bench_close(&bench);
}
END_TEST

static const struct {
	const char *url;
	const char *host; /* NULL: refused */
	bool https;
	uint16_t port;
} urls[] = {
	{ "https://example.com/x", "example.com", true, 443 },
	{ "http://example.com", "example.com", false, 80 },
	{ "HTTPS://Example.com:8443/?a", "Example.com", true, 8443 },
	{ "http://[2001:db8::1]:81/", "2001:db8::1", false, 81 },
	{ "http://user:pw@192.0.2.1/", "192.0.2.1", false, 80 },
	{ "https://xn--bcher-kva.example/", "xn--bcher-kva.example", true, 443 },
	{ "https://b\xc3\xbc" "cher.example/", NULL, false, 0 },
	{ "ftp://example.com/", NULL, false, 0 },
	{ "example.com", NULL, false, 0 },
	{ "https://", NULL, false, 0 },
	{ "https://x:0/", NULL, false, 0 },
	{ "https://x:99999/", NULL, false, 0 },
};

START_TEST(url_split)
{
	AUTO(string) char *host = NULL;
	struct error err = { .text = "" };
	uint16_t port = 0;
	bool https = false;
	bool good = http_url_split(urls[_i].url, &https, &host, &port, &err);

	ck_assert_int_eq(good, urls[_i].host != NULL);
	if (good) {
		ck_assert_str_eq(host, urls[_i].host);
		ck_assert_int_eq(https, urls[_i].https);
		ck_assert_uint_eq(port, urls[_i].port);
	} else {
		ck_assert_str_ne(err.text, "");
		ck_assert_ptr_null(host);
	}
}
END_TEST

/* ---- mail ---- */

static const char *const two[] = { "ops@example.com", "alice@example.com" };
static const char message[] = "Subject: hello\r\n\r\nfirst\r\n.\r\n..two\r\nbare\nline\r.end";

static struct mail_request mail_to(struct bench *bench)
{
	return (struct mail_request){
		.host = "mail.test", .port = bench->peer.port, .tls = MAIL_TLS_NONE, .ehlo = "mon.test",
		.envelope_from = "portbell@example.com", .envelope_to = two, .envelope_to_count = 2,
		.data = message, .data_bytes = sizeof(message) - 1, .addresses = &bench->address,
		.address_count = 1, .timeout_ms = 5000,
	};
}

static void post(struct bench *bench, const struct mail_request *request, struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	ck_assert_ptr_nonnull(transfer_start_mail(bench->client, request, on_answer, heard));
	ck_assert_int_eq(heard->calls, 0);
	wait_for(bench->base, &heard->calls, 1);
}

START_TEST(mail_dialogue)
{
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	request = mail_to(&bench);
	post(&bench, &request, &heard);
	ck_assert_msg(heard.answer.kind == TRANSFER_ANSWERED, "%s", heard.text);
	ck_assert_int_eq(heard.answer.status, 250);
	ck_assert(!heard.answer.in_doubt);
	while (strstr(bench.peer.heard.data, "QUIT") == NULL) /* said after `done` */
		event_base_loop(bench.base, EVLOOP_ONCE);
	ck_assert_str_eq(bench.peer.heard.data,
			 "EHLO mon.test\nMAIL FROM:<portbell@example.com>\nRCPT TO:<ops@example.com>\n"
			 "RCPT TO:<alice@example.com>\nDATA\nSubject: hello\n\nfirst\n..\n...two\nbare\nline\n"
			 "..end\n.\nQUIT\n");
	ck_assert_int_eq(bench.peer.connections, 1);
	bench_close(&bench);
}
END_TEST

/* One of two recipients is refused for good, or for now; then QUIT ends the mail that was begun. */
static const struct {
	const char *refusal;
	bool data;
	const char *next;
} halves[] = {
	{ "550 no\r\n", true, "RCPT TO:<alice@example.com>\nDATA\n" },
	{ "451 later\r\n", false, "RCPT TO:<alice@example.com>\nQUIT\n" },
};

START_TEST(mail_half_refused)
{
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	bench.peer.fault = (struct fault){ "RCPT", SAY, halves[_i].refusal, 1 };
	request = mail_to(&bench);
	post(&bench, &request, &heard);
	while (strstr(bench.peer.heard.data, "QUIT") == NULL)
		event_base_loop(bench.base, EVLOOP_ONCE);
	ck_assert_int_eq(heard.answer.kind, halves[_i].data ? TRANSFER_ANSWERED : TRANSFER_REFUSED);
	ck_assert_int_eq(heard.answer.partly, halves[_i].data);
	ck_assert_int_eq(bench.peer.data.bytes > 0, halves[_i].data);
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, halves[_i].next));
	bench_close(&bench);
}
END_TEST

#define BUSY "451 4.3.0 try later\r\n"
#define NEVER "550-5.1.1 no such user\r\n550 see \x1b[31m https://help.test\r\n"

static const struct {
	struct fault fault;
	enum transfer_kind kind;
	int status;
	bool in_doubt;
	const char *text;
} faults[] = {
	{ { "greeting", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false, "greeting: 451 4.3.0 try later" },
	{ { "greeting", SAY, "554 go away\r\n", 0 }, TRANSFER_REFUSED, 554, false, "greeting: 554 go away" },
	{ { "greeting", RESET, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "Connection reset by peer" },
	{ { "greeting", CLOSE, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "the server closed the connection" },
	{ { "greeting", STALL, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to greeting" },
	{ { "greeting", SAY, "SSH-2.0-OpenSSH\r\n", 0 }, TRANSFER_NO_ANSWER, 0, false,
	  "what the server says is not SMTP" },
	{ { "greeting", DRIP, "220-", 0 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to greeting" },
	{ { "EHLO", FLOOD, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "the server talks without end" },
	{ { "EHLO", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false, "EHLO: 451 4.3.0 try later" },
	{ { "EHLO", SAY, "502 what?\r\n", 0 }, TRANSFER_REFUSED, 502, false, "EHLO: 502 what?" },
	{ { "EHLO", RESET, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "Connection reset by peer" },
	{ { "EHLO", STALL, "250-half", 0 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to EHLO" },
	{ { "MAIL", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false, "MAIL FROM: 451 4.3.0 try later" },
	{ { "MAIL", SAY, NEVER, 0 }, TRANSFER_REFUSED, 550, false,
	  "MAIL FROM: 550 5.1.1 no such user see \\x1b[31m https://help.test" },
	{ { "MAIL", SAY, "550\r\n", 0 }, TRANSFER_REFUSED, 550, false, "MAIL FROM: 550 " },
	{ { "MAIL", RESET, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "Connection reset by peer" },
	{ { "MAIL", STALL, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to MAIL FROM" },
	{ { "MAIL", SAY, "354 go on\r\n", 0 }, TRANSFER_NO_ANSWER, 0, false, "MAIL FROM: unexpected answer 354" },
	{ { "RCPT", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false,
	  "RCPT TO: ops@example.com: 451 4.3.0 try later" },
	{ { "RCPT", SAY, BUSY, 1 }, TRANSFER_REFUSED, 451, false,
	  "RCPT TO: alice@example.com: 451 4.3.0 try later" },
	{ { "RCPT", SAY, "550 no\r\n", 0 }, TRANSFER_REFUSED, 550, false,
	  "RCPT TO: ops@example.com: 550 no; alice@example.com: 550 no" },
	{ { "RCPT", SAY, NEVER, 1 }, TRANSFER_ANSWERED, 250, false,
	  "accepted, but not for alice@example.com: 550 5.1.1 no such user see \\x1b[31m https://help.test" },
	{ { "RCPT", RESET, NULL, 1 }, TRANSFER_NO_ANSWER, 0, false, "Connection reset by peer" },
	{ { "RCPT", STALL, NULL, 1 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to RCPT TO" },
	{ { "DATA", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false, "DATA: 451 4.3.0 try later" },
	{ { "DATA", SAY, "554 no\r\n", 0 }, TRANSFER_REFUSED, 554, false, "DATA: 554 no" },
	{ { "DATA", SAY, "250 eh?\r\n", 0 }, TRANSFER_NO_ANSWER, 0, false, "DATA: unexpected answer 250" },
	{ { "DATA", RESET, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "Connection reset by peer" },
	{ { "DATA", STALL, NULL, 0 }, TRANSFER_NO_ANSWER, 0, false, "timeout: no answer to DATA" },
	{ { ".", SAY, BUSY, 0 }, TRANSFER_REFUSED, 451, false, "message: 451 4.3.0 try later" },
	{ { ".", SAY, "554 spam\r\n", 0 }, TRANSFER_REFUSED, 554, false, "message: 554 spam" },
	{ { ".", RESET, NULL, 0 }, TRANSFER_NO_ANSWER, 0, true, "Connection reset by peer" },
	{ { ".", CLOSE, NULL, 0 }, TRANSFER_NO_ANSWER, 0, true, "the server closed the connection" },
	{ { ".", STALL, NULL, 0 }, TRANSFER_NO_ANSWER, 0, true, "timeout: no answer to message" },
	{ { "QUIT", RESET, NULL, 0 }, TRANSFER_ANSWERED, 250, false, "accepted: 250 fine" },
	{ { "QUIT", STALL, NULL, 0 }, TRANSFER_ANSWERED, 250, false, "accepted: 250 fine" },
	{ { "QUIT", SAY, "451 no\r\n", 0 }, TRANSFER_ANSWERED, 250, false, "accepted: 250 fine" },
};

START_TEST(mail_names_what_came)
{
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	bench.peer.fault = faults[_i].fault;
	request = mail_to(&bench);
	request.timeout_ms = faults[_i].fault.act == STALL || faults[_i].fault.act == DRIP ? 300 : 10000;
	post(&bench, &request, &heard);
	ck_assert_str_eq(heard.text, faults[_i].text);
	ck_assert_int_eq(heard.answer.kind, faults[_i].kind);
	ck_assert_int_eq(heard.answer.status, faults[_i].status);
	ck_assert_int_eq(heard.answer.in_doubt, faults[_i].in_doubt);
	ck_assert_int_eq(heard.answer.partly, str_starts(heard.text, "accepted, but"));
	bench_close(&bench);
}
END_TEST

static const struct {
	enum mail_tls tls;
	const char *offers;
	struct fault fault;
	enum transfer_kind kind;
	const char *text;
	const char *said; /* among what the client said */
} logins[] = {
	{ MAIL_TLS_NONE, "250-AUTH PLAIN LOGIN\r\n", { 0 }, TRANSFER_ANSWERED, "accepted: 250 fine",
	  "AUTH PLAIN AHVzZXIAaHVudGVyMg==\nMAIL" },
	{ MAIL_TLS_NONE, "250-auth=LOGIN\r\n", { 0 }, TRANSFER_ANSWERED, "accepted: 250 fine",
	  "AUTH LOGIN\ndXNlcg==\naHVudGVyMg==\nMAIL" },
	{ MAIL_TLS_NONE, "250-AUTH CRAM-MD5 XPLAIN\r\n", { 0 }, TRANSFER_NO_ANSWER,
	  "the server offers neither AUTH PLAIN nor LOGIN", "EHLO mon.test\n" },
	{ MAIL_TLS_NONE, "", { 0 }, TRANSFER_NO_ANSWER, "the server offers neither AUTH PLAIN nor LOGIN", "" },
	{ MAIL_TLS_NONE, "250-AUTH PLAIN\r\n",
	  { "PLAIN", SAY, "535 user hunter2, AHVzZXIAaHVudGVyMg== or aHVudGVyMg== is wrong\r\n", 0 },
	  TRANSFER_REFUSED, "AUTH: 535 user *******, ******************** or ************ is wrong",
	  "AUTH PLAIN" },
	{ MAIL_TLS_NONE, "250-AUTH LOGIN\r\n", { "LOGIN", SAY, "454 later\r\n", 0 }, TRANSFER_REFUSED,
	  "AUTH: 454 later", "AUTH LOGIN\n" },
	{ MAIL_TLS_NONE, "250-AUTH LOGIN\r\n", { "username", SAY, "535 who?\r\n", 0 }, TRANSFER_REFUSED,
	  "AUTH: 535 who?", "AUTH LOGIN\ndXNlcg==\n" },
	{ MAIL_TLS_NONE, "250-AUTH LOGIN\r\n", { "password", RESET, NULL, 0 }, TRANSFER_NO_ANSWER,
	  "Connection reset by peer", "AUTH LOGIN\n" },
	{ MAIL_TLS_NONE, "250-AUTH PLAIN\r\n", { "PLAIN", STALL, NULL, 0 }, TRANSFER_NO_ANSWER,
	  "timeout: no answer to AUTH", "AUTH PLAIN" },
	{ MAIL_TLS_REQUIRED, "250-AUTH PLAIN\r\n", { 0 }, TRANSFER_NO_ANSWER,
	  "the server does not offer STARTTLS, and TLS is required", "EHLO mon.test\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", SAY, "454 not now\r\n", 0 }, TRANSFER_REFUSED,
	  "STARTTLS: 454 not now", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", SAY, "501 no\r\n", 0 }, TRANSFER_REFUSED,
	  "STARTTLS: 501 no", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", RESET, NULL, 0 }, TRANSFER_NO_ANSWER,
	  "Connection reset by peer", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", STALL, NULL, 0 }, TRANSFER_NO_ANSWER,
	  "timeout: no answer to STARTTLS", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", SAY, "220 go\r\n250 injected\r\n", 0 },
	  TRANSFER_NO_ANSWER, "the server spoke between STARTTLS and TLS", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", SAY, "220\r\n250 injected\r\n", 0 },
	  TRANSFER_NO_ANSWER, "the server spoke between STARTTLS and TLS", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", STALL, "220 go\r\n", 0 }, TRANSFER_NO_ANSWER,
	  "timeout in the TLS handshake", "STARTTLS\n" },
	{ MAIL_TLS_REQUIRED, "250-STARTTLS\r\n", { "STARTTLS", CLOSE, "220 go\r\n", 0 }, TRANSFER_NO_ANSWER, NULL,
	  "STARTTLS\n" },
	{ MAIL_TLS_IF_OFFERED, "250-AUTH PLAIN\r\n", { 0 }, TRANSFER_ANSWERED, "accepted: 250 fine", "AUTH PLAIN" },
	{ MAIL_TLS_IF_OFFERED, "250-STARTTLS\r\n250-AUTH PLAIN\r\n", { "STARTTLS", SAY, "454 not now\r\n", 0 },
	  TRANSFER_ANSWERED, "accepted: 250 fine", "STARTTLS\nAUTH PLAIN" },
	{ MAIL_TLS_IMPLICIT, "", { "greeting", STALL, NULL, 0 }, TRANSFER_NO_ANSWER,
	  "timeout in the TLS handshake", NULL },
	{ MAIL_TLS_IMPLICIT, "", { 0 }, TRANSFER_NO_ANSWER, NULL, NULL },
};

START_TEST(mail_login_and_starttls)
{
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	bench.peer.offers = logins[_i].offers;
	bench.peer.fault = logins[_i].fault;
	request = mail_to(&bench);
	request.tls = logins[_i].tls;
	request.username = "user";
	request.password = "hunter2";
	request.timeout_ms = logins[_i].fault.act == STALL && logins[_i].fault.at != NULL ? 300 : 10000;
	post(&bench, &request, &heard);
	if (logins[_i].text != NULL)
		ck_assert_str_eq(heard.text, logins[_i].text);
	else
		ck_assert_msg(str_starts(heard.text, "TLS: "), "%s", heard.text);
	ck_assert_int_eq(heard.answer.kind, logins[_i].kind);
	if (logins[_i].said != NULL)
		ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, logins[_i].said));
	if (logins[_i].tls == MAIL_TLS_REQUIRED) /* nothing is given away */
		ck_assert_ptr_null(strstr(bench.peer.heard.data, "AUTH"));
	bench_close(&bench);
}
END_TEST

START_TEST(mail_envelope_is_checked)
{
	static const char *const bad[] = { "a@b\r\nRCPT TO:<evil@x>", "a b@c", "<a@b>", "", "a@b\x7f" };
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	request = mail_to(&bench);
	for (size_t i = 0; i < 5; i++) {
		request.envelope_to = &bad[i];
		request.envelope_to_count = 1;
		post(&bench, &request, &heard);
		ck_assert_int_eq(heard.answer.kind, TRANSFER_FORBIDDEN);
	}
	request.envelope_to_count = 0;
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_FORBIDDEN);
	request = mail_to(&bench);
	request.envelope_from = "a@b>\r\nX";
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_FORBIDDEN);
	ck_assert_int_eq(bench.peer.connections, 0);
	/* The null sender, a bad name for ourselves, no data at all. */
	request.envelope_from = NULL;
	request.ehlo = "x\r\nRSET";
	request.data_bytes = 0;
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	ck_assert(str_starts(bench.peer.heard.data, "EHLO localhost\nMAIL FROM:<>\nRCPT"));
	/* Beyond ASCII: only where the server takes it. */
	request = mail_to(&bench);
	request.envelope_from = "j\xc3\xb6rg@example.com";
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	bench.peer.offers = "250-SMTPUTF8\r\n";
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	ck_assert_ptr_nonnull(strstr(bench.peer.heard.data, "MAIL FROM:<j\xc3\xb6rg@example.com> SMTPUTF8\n"));
	bench_close(&bench);
}
END_TEST

START_TEST(mail_addresses)
{
	struct address addresses[3];
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	bench_open(&bench, true);
	request = mail_to(&bench);
	request.addresses = addresses;
	request.address_count = 3;
	ck_assert(address_from_literal("127.0.0.2", 0, &addresses[0]));
	ck_assert(address_from_literal("169.254.169.254", 0, &addresses[1]));
	ck_assert(address_from_literal("127.0.0.1", 0, &addresses[2]));
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	request.address_count = 1;
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	ck_assert_str_eq(heard.text, "connect: Connection refused");
	request.addresses = &addresses[1];
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_FORBIDDEN);
	request.address_count = 0;
	post(&bench, &request, &heard);
	ck_assert_str_eq(heard.text, "no address of the host is known");
	request.host = "127.0.0.1";
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	request.ca_files = (const char *const[]){ "/nonexistent/ca.pem" };
	request.ca_file_count = 1;
	post(&bench, &request, &heard);
	ck_assert_str_eq(heard.text, "/nonexistent/ca.pem: No such file or directory");
	bench_close(&bench);
}
END_TEST

START_TEST(mail_large_and_slow_reader)
{
	AUTO(string) char *large = mem_alloc(4 * 1024 * 1024);
	struct bench bench;
	struct heard heard;
	struct mail_request request;

	memset(large, '.', 4 * 1024 * 1024);
	for (size_t i = 70; i + 1 < 4 * 1024 * 1024; i += 72)
		memcpy(large + i, "\r\n", 2);
	bench_open(&bench, true);
	request = mail_to(&bench);
	request.data = large;
	request.data_bytes = 4 * 1024 * 1024;
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	ck_assert_uint_gt(bench.peer.data.bytes, 4 * 1024 * 1024);
	/* Refused, or taken, before all of it was sent. */
	bench.peer.fault = (struct fault){ "DATA", STALL, "354 go on\r\n552 too large\r\n", 0 };
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.status, 552);
	bench.peer.fault.say = "354 go on\r\n250 thanks\r\n";
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	ck_assert(!heard.answer.in_doubt);
	bench_close(&bench);
}
END_TEST

/* A server that stalls after the dot or at QUIT holds nobody up: another mail goes through meanwhile. */
START_TEST(mail_stall_is_its_own)
{
	static const char *const at[] = { ".", "QUIT" };
	struct bench bench;
	struct peer slow;
	struct heard stuck = { 0 };
	struct heard heard;
	struct mail_request request;
	struct transfer *transfer;

	bench_open(&bench, true);
	peer_open(&slow, bench.base, true);
	slow.fault = (struct fault){ at[_i], STALL, NULL, 0 };
	request = mail_to(&bench);
	request.port = slow.port;
	request.timeout_ms = 15000;
	transfer = transfer_start_mail(bench.client, &request, on_answer, &stuck);
	while (slow.data.bytes == 0)
		event_base_loop(bench.base, EVLOOP_ONCE);
	request = mail_to(&bench);
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_ANSWERED);
	if (stuck.calls == 0)
		transfer_cancel(transfer);
	peer_close(&slow);
	bench_close(&bench);
}
END_TEST

/* ---- TLS, with Python's servers ---- */

static const char python_servers[] =
	"import asyncio, logging, ssl, sys, warnings\n"
	"warnings.simplefilter('ignore')\n"
	"logging.disable(logging.CRITICAL)\n"
	"from aiosmtpd.smtp import SMTP, AuthResult\n"
	"class Handler:\n"
	"    async def handle_DATA(self, server, session, envelope):\n"
	"        print('mail', session.ssl is not None or session.implicit, session.authenticated,\n"
	"              ','.join(envelope.rcpt_tos), envelope.content.hex(), flush=True)\n"
	"        return '250 OK'\n"
	"class Implicit(SMTP):\n"
	"    def _create_session(self):\n"
	"        session = super()._create_session()\n"
	"        session.implicit = self.implicit\n"
	"        return session\n"
	"def login(server, session, envelope, mechanism, data):\n"
	"    return AuthResult(success=data.login == b'user' and data.password == b'hunter2', handled=False)\n"
	"async def page(reader, writer):\n"
	"    await reader.readuntil(b'\\r\\n\\r\\n')\n"
	"    writer.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n"
	"    await writer.drain()\n"
	"    writer.close()\n"
	"def smtp(tls, implicit):\n"
	"    def make():\n"
	"        s = Implicit(Handler(), hostname='localhost', tls_context=None if implicit else tls,\n"
	"                     require_starttls=not implicit, authenticator=login, auth_required=True,\n"
	"                     auth_require_tls=not implicit)\n"
	"        s.implicit = implicit\n"
	"        return s\n"
	"    return make\n"
	"async def main():\n"
	"    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"    tls.load_cert_chain(sys.argv[1], sys.argv[2])\n"
	"    loop = asyncio.get_running_loop()\n"
	"    a = await loop.create_server(smtp(tls, False), '127.0.0.1', 0)\n"
	"    b = await loop.create_server(smtp(tls, True), '127.0.0.1', 0, ssl=tls)\n"
	"    c = await asyncio.start_server(page, '127.0.0.1', 0, ssl=tls)\n"
	"    print('ports', *[s.sockets[0].getsockname()[1] for s in (a, b, c)], flush=True)\n"
	"    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)\n"
	"asyncio.run(main())\n";

struct python {
	pid_t pid;
	FILE *from;
	int to; /* it ends when this is closed */
	unsigned starttls, implicit, https;
	char dir[64];
	char cert[96], key[96], other[96];
};

static void python_open(struct python *python)
{
	AUTO(string) char *openssl = NULL;
	char line[100];
	posix_spawn_file_actions_t actions;
	int out[2];
	int in[2];
	char *argv[] = {
		"/usr/bin/python3", "-c", (char *)(uintptr_t)python_servers, python->cert, python->key, NULL,
	};

	strcpy(python->dir, "/tmp/check_http_client.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(python->dir));
	snprintf(python->cert, sizeof(python->cert), "%s/cert.pem", python->dir);
	snprintf(python->key, sizeof(python->key), "%s/key.pem", python->dir);
	snprintf(python->other, sizeof(python->other), "%s/other.pem", python->dir);
	openssl = mem_printf("for n in key other; do openssl req -x509 -newkey ec -nodes -days 2 "
			     "-pkeyopt ec_paramgen_curve:P-256 -subj /CN=localhost "
			     "-addext subjectAltName=DNS:localhost "
			     "-keyout %s/$n.pem -out %s/$n.crt 2>/dev/null || exit 1; done; "
			     "mv %s/key.crt %s && mv %s/other.crt %s", python->dir, python->dir, python->dir,
			     python->cert, python->dir, python->other);
	ck_assert_int_eq(system(openssl), 0);
	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(pipe(in), 0);
	for (int i = 0; i < 2; i++) {
		evutil_make_socket_closeonexec(out[i]);
		evutil_make_socket_closeonexec(in[i]);
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	ck_assert_int_eq(posix_spawn(&python->pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	python->to = in[1];
	python->from = fdopen(out[0], "r");
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), python->from));
	ck_assert_int_eq(sscanf(line, "ports %u %u %u", &python->starttls, &python->implicit, &python->https), 3);
}

static void python_close(struct python *python)
{
	AUTO(string) char *remove = mem_printf("rm -rf %s", python->dir);
	int status;

	close(python->to);
	fclose(python->from);
	ck_assert_int_eq(waitpid(python->pid, &status, 0), python->pid);
	ck_assert_int_eq(system(remove), 0);
}

static void expect_mail(struct python *python)
{
	char line[4096];

	ck_assert_ptr_nonnull(fgets(line, sizeof(line), python->from));
	ck_assert_msg(str_starts(line, "mail True True ops@example.com,alice@example.com 5375626a6563743a206865"
				       "6c6c6f0d0a0d0a66697273740d0a2e0d0a2e2e74776f0d0a"), "%s", line);
}

START_TEST(tls_mail)
{
	struct bench bench;
	struct python python;
	struct heard heard;
	struct mail_request request;
	const char *ca_files[2] = { python.other, python.cert };

	bench_open(&bench, true);
	python_open(&python);
	request = mail_to(&bench);
	request.host = "localhost";
	request.username = "user";
	request.password = "hunter2";
	request.ca_files = ca_files;
	request.ca_file_count = 2;
	for (int i = 0; i < 3; i++) {
		request.tls = i == 0 ? MAIL_TLS_REQUIRED : i == 1 ? MAIL_TLS_IF_OFFERED : MAIL_TLS_IMPLICIT;
		request.port = (uint16_t)(i == 2 ? python.implicit : python.starttls);
		request.host = "localhost";
		request.ca_file_count = 2;
		request.password = "hunter2";
		post(&bench, &request, &heard);
		ck_assert_msg(heard.answer.kind == TRANSFER_ANSWERED, "%d: %s", i, heard.text);
		expect_mail(&python);
		request.password = "wrong";
		post(&bench, &request, &heard);
		ck_assert_int_eq(heard.answer.kind, TRANSFER_REFUSED);
		ck_assert_int_eq(heard.answer.status, 535);
		/* Another's certificate, another's name. */
		request.ca_file_count = 1;
		post(&bench, &request, &heard);
		ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
		ck_assert_msg(str_starts(heard.text, "TLS: SSL certificate problem"), "%s", heard.text);
		request.ca_file_count = 2;
		request.host = "other.test";
		post(&bench, &request, &heard);
		ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
		ck_assert_msg(strstr(heard.text, "other.test") != NULL, "%s", heard.text);
		request.host = "localhost";
		request.ca_file_count = 0;
		post(&bench, &request, &heard);
		ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	}
	/* Plain to where TLS is demanded: its refusal is passed on. */
	request.tls = MAIL_TLS_NONE;
	request.port = (uint16_t)python.starttls;
	request.username = NULL;
	post(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.status, 530);
	python_close(&python);
	bench_close(&bench);
}
END_TEST

START_TEST(tls_http)
{
	struct bench bench;
	struct python python;
	struct heard heard;
	struct http_request request = { .method = "POST", .timeout_ms = 5000, .body = "x", .body_bytes = 1 };
	const char *ca_files[2] = { python.other, python.cert };
	AUTO(string) char *good = NULL;
	AUTO(string) char *bad = NULL;

	bench_open(&bench, false);
	python_open(&python);
	good = mem_printf("https://localhost:%u/s3cr3t", python.https);
	bad = mem_printf("https://other.test:%u/s3cr3t", python.https);
	request.addresses = &bench.address;
	request.address_count = 1;
	request.ca_files = ca_files;
	request.url = good;
	for (size_t count = 0; count <= 2; count++) {
		request.ca_file_count = count;
		fetch(&bench, &request, &heard);
		ck_assert_msg(heard.answer.kind == (count == 2 ? TRANSFER_ANSWERED : TRANSFER_NO_ANSWER), "%s",
			      heard.text);
		ck_assert(count == 2 || str_starts(heard.text, "TLS: SSL certificate problem"));
		ck_assert(!heard.answer.in_doubt);
		str_done(&heard.body);
	}
	request.url = bad;
	fetch(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	ck_assert_ptr_null(strstr(heard.text, "s3cr3t"));
	ck_assert(!heard.answer.in_doubt);
	/* What is not TLS at all. */
	free(TAKE(good));
	good = mem_printf("https://localhost:%u/", bench.peer.port);
	request.url = good;
	request.timeout_ms = 300;
	fetch(&bench, &request, &heard);
	ck_assert_int_eq(heard.answer.kind, TRANSFER_NO_ANSWER);
	ck_assert_str_eq(heard.text, "timeout in the TLS handshake");
	python_close(&python);
	bench_close(&bench);
}
END_TEST

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

int main(void)
{
	Suite *suite = suite_create("http_client");
	TCase *tcase = tcase_create("http_client");
	SRunner *runner;
	int failed;

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, http_names_what_came, 0, COUNT(answers));
	tcase_add_test(tcase, http_retry_after_date);
	tcase_add_test(tcase, http_body_is_capped);
	tcase_add_test(tcase, http_body_is_whole);
	tcase_add_test(tcase, http_public_only);
	tcase_add_test(tcase, http_request_is_as_asked);
	tcase_add_loop_test(tcase, http_refuses, 0, COUNT(refusals));
	tcase_add_test(tcase, http_tries_the_next_address);
	tcase_add_test(tcase, callbacks_may_do_anything);
	tcase_add_loop_test(tcase, url_split, 0, COUNT(urls));
	tcase_add_test(tcase, mail_dialogue);
	tcase_add_loop_test(tcase, mail_half_refused, 0, COUNT(halves));
	tcase_add_loop_test(tcase, mail_names_what_came, 0, COUNT(faults));
	tcase_add_loop_test(tcase, mail_login_and_starttls, 0, COUNT(logins));
	tcase_add_test(tcase, mail_envelope_is_checked);
	tcase_add_test(tcase, mail_addresses);
	tcase_add_test(tcase, mail_large_and_slow_reader);
	tcase_add_loop_test(tcase, mail_stall_is_its_own, 0, 2);
	tcase_add_test(tcase, tls_mail);
	tcase_add_test(tcase, tls_http);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
