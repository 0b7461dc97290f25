/* SPDX-License-Identifier: MIT */
/* Each sender against a receiver that follows a script, on one event loop. */
#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/notify/alerts.h"
#include "daemon/notify/notifier.h"
#include "daemon/notify/sender.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/http_client.h"
#include "lib/io/resolver.h"

AUTO_DEFINE(message, struct message *, message_free)

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))
enum { DEADLINE_S = 20, SHORT_MS = 300, LONG_MS = 10000 };
static const int64_t noon_s = 1795521509; /* 2026-11-24T11:58:29Z */

/* ---- the receiver ---- */

enum dialogue { DIALOGUE_HTTP, DIALOGUE_SMTP };

/* What a receiver does at one point instead of what is usual. */
#define CLOSE "\001"
#define STALL "\002"

struct peer {
	struct event_base *base;
	struct evconnlistener *listener;
	struct bufferevent *caller;
	enum dialogue dialogue;
	const char *at;       /* SMTP: at which command ("", the greeting; ".", the end of the mail) ... */
	const char *answer;   /* ... to answer so; HTTP: always */
	bool in_mail;
	struct str heard;     /* HTTP: the request; SMTP: the commands */
	struct str mail;
	int calls;
	uint16_t port;
};

static void peer_hang_up(struct peer *peer)
{
	if (peer->caller != NULL)
		bufferevent_free(peer->caller);
	peer->caller = NULL;
}

static void peer_say(struct peer *peer, const char *answer)
{
	if (strcmp(answer, CLOSE) == 0)
		peer_hang_up(peer);
	else if (strcmp(answer, STALL) != 0)
		bufferevent_write(peer->caller, answer, strlen(answer));
}

static void hear_http(struct peer *peer)
{
	struct evbuffer *input = bufferevent_get_input(peer->caller);
	size_t bytes = evbuffer_get_length(input);
	const char *end;
	const char *length;

	str_add_bytes(&peer->heard, evbuffer_pullup(input, -1), bytes);
	evbuffer_drain(input, bytes);
	end = strstr(peer->heard.data, "\r\n\r\n");
	length = strcasestr(peer->heard.data, "\r\nContent-Length:");
	if (end == NULL || length == NULL)
		return;
	if (strlen(end + 4) >= strtoul(length + 17, NULL, 10))
		peer_say(peer, peer->answer);
}

static const char *usual_answer(const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		return "250-peer\r\n250 AUTH PLAIN\r\n";
	if (strncasecmp(line, "AUTH", 4) == 0)
		return "235 welcome\r\n";
	if (strncasecmp(line, "DATA", 4) == 0)
		return "354 go on\r\n";
	return "250 fine\r\n";
}

static void hear_smtp_line(struct peer *peer, const char *line)
{
	const char *at = peer->at != NULL ? peer->at : "none";

	if (peer->in_mail && strcmp(line, ".") != 0) {
		str_addf(&peer->mail, "%s\r\n", line[0] == '.' ? line + 1 : line);
		return;
	}
	str_addf(&peer->heard, "%s\n", line);
	peer->in_mail = false;
	if (at[0] != '\0' && strncasecmp(line, at, strlen(at)) == 0)
		peer_say(peer, peer->answer);
	else
		peer_say(peer, usual_answer(line));
	peer->in_mail = strncasecmp(line, "DATA", 4) == 0;
}

static void hear_smtp(struct peer *peer)
{
	char *line;

	while (peer->caller != NULL &&
	       (line = evbuffer_readln(bufferevent_get_input(peer->caller), NULL, EVBUFFER_EOL_CRLF_STRICT))) {
		hear_smtp_line(peer, line);
		free(line);
	}
}

static void on_heard(struct bufferevent *caller, void *arg)
{
	struct peer *peer = arg;

	(void)caller;
	if (peer->dialogue == DIALOGUE_HTTP)
		hear_http(peer);
	else
		hear_smtp(peer);
}

static void on_gone(struct bufferevent *caller, short what, void *arg)
{
	(void)caller;
	(void)what;
	peer_hang_up(arg);
}

static void on_call(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int bytes,
		    void *arg)
{
	struct peer *peer = arg;

	(void)listener;
	(void)from;
	(void)bytes;
	peer->calls++;
	peer_hang_up(peer);
	peer->caller = bufferevent_socket_new(peer->base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(peer->caller, on_heard, NULL, on_gone, peer);
	bufferevent_enable(peer->caller, EV_READ | EV_WRITE);
	if (peer->dialogue == DIALOGUE_SMTP)
		peer_say(peer, peer->at != NULL && peer->at[0] == '\0' ? peer->answer : "220 peer\r\n");
}

static void peer_open(struct peer *peer, struct event_base *base, enum dialogue dialogue)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);

	peer->base = base;
	peer->dialogue = dialogue;
	peer->listener = evconnlistener_new_bind(base, on_call, peer,
						 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 8,
						 (struct sockaddr *)&address, sizeof(address));
	ck_assert_ptr_nonnull(peer->listener);
	ck_assert_int_eq(getsockname(evconnlistener_get_fd(peer->listener), (struct sockaddr *)&address, &bytes),
			 0);
	peer->port = ntohs(address.sin_port);
}

static void peer_close(struct peer *peer)
{
	peer_hang_up(peer);
	if (peer->listener != NULL)
		evconnlistener_free(peer->listener);
	peer->listener = NULL;
	str_done(&peer->heard);
	str_done(&peer->mail);
}

/* ---- the bench ---- */

struct bench {
	struct event_base *base;
	struct http_client *http;
	struct resolver *resolver;
	struct trust_config trust;
	struct config config;
	struct sender_world world;
	struct sender_config sender;
	struct peer peer;
	int calls;                /* of done */
	struct delivery_outcome outcome;
};

static void bench_open(struct bench *bench, enum dialogue dialogue)
{
	/* Nobody answers there: a name that is not in the hosts file is not found out about. */
	static const char *const servers[] = { "127.0.0.1:1" };
	struct resolver_options options = { .servers = servers, .server_count = 1, .timeout_ms = 100, .tries = 1 };
	struct error err = { 0 };

	*bench = (struct bench){ .base = event_base_new() };
	bench->http = http_client_new(bench->base, &err);
	ck_assert_msg(bench->http != NULL, "%s", err.text);
	bench->resolver = resolver_new(bench->base, &options, &err);
	ck_assert_msg(bench->resolver != NULL, "%s", err.text);
	bench->config.trust = &bench->trust;
	bench->config.trust_count = 1;
	bench->world = (struct sender_world){
		.base = bench->base, .http = bench->http, .resolver = bench->resolver, .config = &bench->config,
		.host_name = "mon.example.com",
	};
	bench->sender.name = "test";
	bench->sender.timeout_ms = LONG_MS;
	peer_open(&bench->peer, bench->base, dialogue);
}

static void bench_close(struct bench *bench)
{
	peer_close(&bench->peer);
	http_client_free(bench->http);
	resolver_free(bench->resolver);
	event_base_free(bench->base);
}

static void on_done(const struct delivery_outcome *outcome, void *arg)
{
	struct bench *bench = arg;

	bench->calls++;
	bench->outcome = *outcome;
	event_base_loopbreak(bench->base);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	ck_abort_msg("no outcome in time");
}

/* Runs the loop until the outcome is there. */
static void await(struct bench *bench)
{
	const struct timeval deadline = { DEADLINE_S, 0 };
	struct event *late = event_new(bench->base, -1, 0, on_late, NULL);

	event_add(late, &deadline);
	while (bench->calls == 0)
		event_base_dispatch(bench->base);
	event_free(late);
	ck_assert_int_eq(bench->calls, 1);
}

static void deliver(struct bench *bench, const struct message *message)
{
	const struct sender *sender = sender_of(bench->sender.kind);

	bench->calls = 0;
	ck_assert_int_eq(sender->kind, bench->sender.kind);
	ck_assert_ptr_nonnull(sender->start(&bench->world, &bench->sender, message, (noon_s + 15) * US_PER_S,
					    on_done, bench));
	ck_assert_int_eq(bench->calls, 0); /* never inside start */
	await(bench);
}

static struct message_item shop(void)
{
	return (struct message_item){
		.incident = 412, .event = EVENT_PROBLEM, .target = "shop", .address = "shop.example.com:443",
		.check = CHECK_AVAILABILITY, .level = LEVEL_CRITICAL, .reason = REASON_CONNECT_REFUSED,
		.phase = PHASE_CONNECT, .since_unix_us = noon_s * US_PER_S,
	};
}

static struct message *message_of(const struct message_item *item, const char *thread)
{
	struct str text = { 0 };
	struct json_writer w;
	struct error err = { 0 };

	json_start(&w, &text);
	message_item_write(&w, item);
	AUTO(string) char *one = str_take(&text);
	const char *items[] = { one };
	AUTO(string) char *body = message_compose("412.1.a", "test", "group=web", thread, (noon_s + 10) * US_PER_S,
						  false, items, 1);
	struct message *message = message_parse(body, &err);

	ck_assert_msg(message != NULL, "%s", err.text);
	return message;
}

/* Name and value of the header that starts a line of `head`; NULL: none. */
static char *header_of(const char *head, const char *name)
{
	AUTO(string) char *start = mem_printf("\r\n%s:", name);
	const char *at = strcasestr(head, start);

	if (at == NULL || at > strstr(head, "\r\n\r\n"))
		return NULL;
	at += strlen(start);
	at += strspn(at, " ");
	return mem_strndup(at, strcspn(at, "\r"));
}

/* ---- webhook ---- */

/* What must never be shown: "canary" stands in each secret. */
static void webhook_open(struct bench *bench)
{
	static struct header_config headers[] = {
		{ "X-Env", "prod" }, { "Authorization", "Bearer canarytoken" }, { "webhook-id", "forged" },
	};

	bench_open(bench, DIALOGUE_HTTP);
	bench->sender.kind = SENDER_WEBHOOK;
	bench->sender.as.webhook = (struct webhook_config){
		.url = mem_printf("http://127.0.0.1:%u/hook/canarypath?key=canaryquery", bench->peer.port),
		.method = "POST", .headers = headers, .header_count = 3,
		.signing_secret = "canarysecretcanarysecret",
		.signing_secret_bytes = 24,
	};
}

static void webhook_close(struct bench *bench)
{
	free(bench->sender.as.webhook.url);
	bench_close(bench);
}

struct webhook_row {
	const char *answer;
	enum delivery_status status;
	int64_t retry_after_ms;
	bool in_doubt;
	const char *text; /* that is in the outcome's */
};

static const struct webhook_row webhook_rows[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", DELIVERY_DONE, -1, false, "answered 200: ok" },
	{ "HTTP/1.1 204 No Content\r\n\r\n", DELIVERY_DONE, -1, false, "answered 204" },
	{ "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", DELIVERY_DONE, -1, false, "answered 202" },
	{ "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", DELIVERY_REFUSED, -1,
	  false, "answered 301: redirects are not followed" },
	{ "HTTP/1.1 400 Bad\r\nContent-Length: 15\r\n\r\ninvalid_payload", DELIVERY_REFUSED, -1, false,
	  "answered 400: invalid_payload" },
	{ "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", DELIVERY_REFUSED, -1, false, "answered 401" },
	{ "HTTP/1.1 404 No\r\nContent-Length: 28\r\n\r\nCannot POST /hook/CanaryPath\n", DELIVERY_REFUSED, -1,
	  false, "answered 404" },
	{ "HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\n<p>no</p>", DELIVERY_REFUSED, -1, false, "answered 410" },
	{ "HTTP/1.1 403 No\r\nContent-Length: 22\r\n\r\nbad token: canarytoken!", DELIVERY_REFUSED, -1, false,
	  "answered 403" },
	{ "HTTP/1.1 408 Slow\r\nContent-Length: 0\r\n\r\n", DELIVERY_RETRY, -1, false, "answered 408" },
	{ "HTTP/1.1 425 Early\r\nContent-Length: 0\r\n\r\n", DELIVERY_RETRY, -1, false, "answered 425" },
	{ "HTTP/1.1 429 Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", DELIVERY_RETRY, 7000, false,
	  "answered 429" },
	{ "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\n\x1b[31", DELIVERY_RETRY, -1, false,
	  "answered 500: \\x1b[31" },
	{ "HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", DELIVERY_RETRY, 120000, false,
	  "answered 503" },
	{ CLOSE, DELIVERY_RETRY, -1, true, "127.0.0.1: " },
	{ STALL, DELIVERY_RETRY, -1, true, "127.0.0.1: " },
};

START_TEST(webhook_outcomes)
{
	const struct webhook_row *row = &webhook_rows[_i];
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	webhook_open(&bench);
	bench.peer.answer = row->answer;
	if (strcmp(row->answer, STALL) == 0)
		bench.sender.timeout_ms = SHORT_MS;
	deliver(&bench, message);
	ck_assert_int_eq(bench.outcome.status, row->status);
	ck_assert_int_eq(bench.outcome.retry_after_ms, row->retry_after_ms);
	ck_assert_int_eq(bench.outcome.in_doubt, row->in_doubt);
	if (row->answer[0] == 'H')
		ck_assert_str_eq(bench.outcome.text, row->text);
	ck_assert_msg(strstr(bench.outcome.text, row->text) != NULL, "%s", bench.outcome.text);
	ck_assert_ptr_null(strcasestr(bench.outcome.text, "canary"));
	ck_assert_int_eq(bench.peer.calls, 1);
	webhook_close(&bench);
}
END_TEST

struct url_row {
	const char *url;
	enum delivery_status status;
	const char *text;
};

/* Nobody is asked at these. */
static const struct url_row url_rows[] = {
	{ "http://127.0.0.1:1/canary", DELIVERY_RETRY, "127.0.0.1: " },
	{ "http://no-such-name.invalid/canary", DELIVERY_RETRY, "no-such-name.invalid: " },
	{ "http://169.254.169.254/canary", DELIVERY_REFUSED, "169.254.169.254: " },
	{ "http://[fe80::1]/canary", DELIVERY_REFUSED, "fe80::1: " },
	{ "ftp://127.0.0.1/canary", DELIVERY_REFUSED, "the url is not one" },
};

START_TEST(webhook_without_a_receiver)
{
	const struct url_row *row = &url_rows[_i];
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	webhook_open(&bench);
	free(bench.sender.as.webhook.url);
	bench.sender.as.webhook.url = mem_strdup(row->url);
	deliver(&bench, message);
	ck_assert_msg(bench.outcome.status == row->status, "%s", bench.outcome.text);
	ck_assert_msg(strstr(bench.outcome.text, row->text) != NULL, "%s", bench.outcome.text);
	ck_assert_ptr_null(strstr(bench.outcome.text, "canary"));
	ck_assert(!bench.outcome.in_doubt);
	webhook_close(&bench);
}
END_TEST

/* By name: the hosts file knows localhost. */
START_TEST(webhook_finds_its_host)
{
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	webhook_open(&bench);
	free(bench.sender.as.webhook.url);
	bench.sender.as.webhook.url = mem_printf("http://localhost:%u/", bench.peer.port);
	bench.peer.answer = webhook_rows[0].answer;
	deliver(&bench, message);
	ck_assert_msg(bench.outcome.status == DELIVERY_DONE, "%s", bench.outcome.text);
	webhook_close(&bench);
}
END_TEST

static void check_signature(const char *head, const char *body)
{
	AUTO(string) char *id = header_of(head, "webhook-id");
	AUTO(string) char *timestamp = header_of(head, "webhook-timestamp");
	AUTO(string) char *signature = header_of(head, "webhook-signature");
	AUTO(string) char *text = mem_printf("%s.%s.%s", id, timestamp, body);
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned char base64[EVP_MAX_MD_SIZE * 2];
	unsigned int bytes;

	ck_assert_str_eq(id, "412.1.a");
	ck_assert_str_eq(timestamp, "1795521524");
	ck_assert_ptr_nonnull(HMAC(EVP_sha256(), "canarysecretcanarysecret", 24, (const unsigned char *)text,
				   strlen(text), mac, &bytes));
	EVP_EncodeBlock(base64, mac, (int)bytes);
	ck_assert(str_starts(signature, "v1,"));
	ck_assert_str_eq(signature + 3, (char *)base64);
}

START_TEST(webhook_request_is_signed)
{
	static const char *const headers[][2] = {
		{ "Content-Type", "application/json" }, { "X-Env", "prod" },
		{ "Authorization", "Bearer canarytoken" },
	};
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	AUTO(string) char *expected = alerts_body(message);
	struct bench bench;

	webhook_open(&bench);
	bench.peer.answer = webhook_rows[0].answer;
	deliver(&bench, message);
	const char *request = bench.peer.heard.data;
	const char *body = strstr(request, "\r\n\r\n") + 4;
	AUTO(string) char *agent = header_of(request, "User-Agent");

	ck_assert(str_starts(request, "POST /hook/canarypath?key=canaryquery HTTP/1.1\r\n"));
	ck_assert(str_starts(agent, "portbell/"));
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		AUTO(string) char *value = header_of(request, headers[i][0]);

		ck_assert_ptr_nonnull(value);
		ck_assert_str_eq(value, headers[i][1]);
	}
	ck_assert_ptr_null(strstr(request, "forged"));
	ck_assert_ptr_null(strcasestr(request, "\r\nExpect:"));
	ck_assert_str_eq(body, expected);
	check_signature(request, body);
	webhook_close(&bench);
}
END_TEST

START_TEST(webhook_without_a_secret_is_not_signed)
{
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	webhook_open(&bench);
	bench.peer.answer = webhook_rows[0].answer;
	bench.sender.as.webhook.signing_secret = NULL;
	bench.sender.as.webhook.method = "PUT";
	deliver(&bench, message);
	AUTO(string) char *id = header_of(bench.peer.heard.data, "webhook-id");

	ck_assert(str_starts(bench.peer.heard.data, "PUT "));
	ck_assert_str_eq(id, "412.1.a");
	ck_assert_ptr_null(strcasestr(bench.peer.heard.data, "webhook-signature"));
	webhook_close(&bench);
}
END_TEST

/* ---- cancel ---- */

/* Whatever it waits for (a lookup, an answer, its own event), nothing is called after a cancel. */
static const char *const cancelled_urls[] = { "http://no-such-name.invalid/", NULL, "ftp://127.0.0.1/" };

START_TEST(cancel_ends_it)
{
	const struct timeval while_ms = { 0, 150 * 1000 };
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	webhook_open(&bench);
	bench.peer.answer = webhook_rows[0].answer;
	if (cancelled_urls[_i] != NULL) {
		free(bench.sender.as.webhook.url);
		bench.sender.as.webhook.url = mem_strdup(cancelled_urls[_i]);
	}
	sender_webhook.cancel(sender_webhook.start(&bench.world, &bench.sender, message, 0, on_done, &bench));
	sender_webhook.cancel(NULL);
	event_base_loopexit(bench.base, &while_ms);
	event_base_dispatch(bench.base);
	ck_assert_int_eq(bench.calls, 0);
	webhook_close(&bench);
}
END_TEST

/* ---- log ---- */

START_TEST(log_is_delivered_at_once)
{
	struct message_item item = shop();
	char line[1024] = "";
	int tube[2];
	int real_stderr = dup(STDERR_FILENO);
	struct bench bench;

	item.detail = "Connection refused";
	AUTO(message) struct message *message = message_of(&item, NULL);

	ck_assert_int_eq(pipe(tube), 0);
	bench_open(&bench, DIALOGUE_HTTP);
	bench.sender.kind = SENDER_LOG;
	dup2(tube[1], STDERR_FILENO);
	deliver(&bench, message);
	dup2(real_stderr, STDERR_FILENO);
	ck_assert_int_gt(read(tube[0], line, sizeof(line) - 1), 0);
	ck_assert_int_eq(bench.outcome.status, DELIVERY_DONE);
	ck_assert_ptr_nonnull(strstr(line, "[CRITICAL] shop: connection refused #412: Connection refused"));
	ck_assert_ptr_nonnull(strstr(line, "incident=412"));
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	bench.calls = 0;
	dup2(tube[1], STDERR_FILENO);
	sender_log.cancel(sender_log.start(&bench.world, &bench.sender, message, 0, on_done, &bench));
	dup2(real_stderr, STDERR_FILENO);
	event_base_loop(bench.base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(bench.calls, 0);
	bench_close(&bench);
	close(tube[0]);
	close(tube[1]);
	close(real_stderr);
}
END_TEST

/* ---- email ---- */

static void email_open(struct bench *bench)
{
	static char *to[] = { "ops@example.com", "\"Anna, on call\" <anna@example.com>" };

	bench_open(bench, DIALOGUE_SMTP);
	bench->sender.kind = SENDER_EMAIL;
	bench->sender.as.email = (struct email_config){
		.host = "127.0.0.1", .port = bench->peer.port, .starttls = MAIL_STARTTLS_OFF,
		.from = "Portbell <portbell@example.com>", .to = to, .to_count = 2,
		.username = "me", .password = "canarypassword",
	};
}

struct email_row {
	const char *at;
	const char *answer;
	enum delivery_status status;
	bool in_doubt;
	const char *text;
};

static const struct email_row email_rows[] = {
	{ NULL, NULL, DELIVERY_DONE, false, "" },
	{ "", "421 too busy\r\n", DELIVERY_RETRY, false, "too busy" },
	{ "", "554 go away\r\n", DELIVERY_REFUSED, false, "go away" },
	{ "", CLOSE, DELIVERY_RETRY, false, "127.0.0.1: " },
	{ "AUTH", "535 5.7.8 no\r\n", DELIVERY_RETRY, false, "535" },
	{ "AUTH", "454 later\r\n", DELIVERY_RETRY, false, "later" },
	{ "MAIL", "550 not you\r\n", DELIVERY_REFUSED, false, "not you" },
	{ "MAIL", "451 later\r\n", DELIVERY_RETRY, false, "later" },
	{ "RCPT", "550 no such user\r\n", DELIVERY_REFUSED, false, "no such user" },
	{ "RCPT", "450 greylisted\r\n", DELIVERY_RETRY, false, "greylisted" },
	{ "RCPT TO:<anna", "450 greylisted\r\n", DELIVERY_RETRY, false, "anna@example.com: 450 greylisted" },
	{ "RCPT TO:<anna", "550 gone\r\n", DELIVERY_DONE, false, "but not for anna@example.com: 550 gone" },
	{ "DATA", "554 no\r\n", DELIVERY_REFUSED, false, "554" },
	{ "DATA", CLOSE, DELIVERY_RETRY, false, "127.0.0.1: " },
	{ ".", "554 spam\r\n", DELIVERY_REFUSED, false, "spam" },
	{ ".", "452 full\r\n", DELIVERY_RETRY, false, "full" },
	{ ".", CLOSE, DELIVERY_RETRY, true, "127.0.0.1: " },
	{ ".", STALL, DELIVERY_RETRY, true, "127.0.0.1: " },
	{ "EHLO", STALL, DELIVERY_RETRY, false, "127.0.0.1: " },
};

START_TEST(email_outcomes)
{
	const struct email_row *row = &email_rows[_i];
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	email_open(&bench);
	bench.peer.at = row->at;
	bench.peer.answer = row->answer;
	if (row->answer != NULL && strcmp(row->answer, STALL) == 0)
		bench.sender.timeout_ms = SHORT_MS;
	deliver(&bench, message);
	ck_assert_msg(bench.outcome.status == row->status, "%s", bench.outcome.text);
	ck_assert_int_eq(bench.outcome.in_doubt, row->in_doubt);
	ck_assert_int_eq(bench.outcome.partly, strstr(row->text, "but not for") != NULL);
	ck_assert_int_eq(bench.outcome.retry_after_ms, -1);
	ck_assert_msg(strstr(bench.outcome.text, row->text) != NULL, "%s", bench.outcome.text);
	ck_assert_ptr_null(strstr(bench.outcome.text, "canary"));
	ck_assert_int_eq(bench.peer.calls, 1);
	bench_close(&bench);
}
END_TEST

START_TEST(email_without_a_server)
{
	static char *const hosts[] = { "127.0.0.1", "no-such-name.invalid" };
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	email_open(&bench);
	bench.sender.as.email.host = hosts[_i];
	bench.sender.as.email.port = 1;
	deliver(&bench, message);
	ck_assert_int_eq(bench.outcome.status, DELIVERY_RETRY);
	ck_assert(!bench.outcome.in_doubt);
	ck_assert(str_starts(bench.outcome.text, hosts[_i]));
	bench_close(&bench);
}
END_TEST

/* A server that no longer offers STARTTLS gets neither password nor mail. */
START_TEST(email_keeps_the_password_without_tls)
{
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	struct bench bench;

	email_open(&bench);
	bench.sender.as.email.starttls = MAIL_STARTTLS_REQUIRED;
	deliver(&bench, message);
	ck_assert_int_eq(bench.outcome.status, DELIVERY_RETRY);
	ck_assert_ptr_null(strstr(bench.peer.heard.data, "AUTH"));
	ck_assert_ptr_null(strstr(bench.peer.heard.data, "MAIL"));
	bench_close(&bench);
}
END_TEST

/* The mail as it arrives. */
static char *mail_of(const struct message *message)
{
	struct bench bench;
	char *mail;

	email_open(&bench);
	deliver(&bench, message);
	ck_assert_msg(bench.outcome.status == DELIVERY_DONE, "%s", bench.outcome.text);
	ck_assert_ptr_nonnull(strcasestr(bench.peer.heard.data, "MAIL FROM:<portbell@example.com>"));
	ck_assert_ptr_nonnull(strcasestr(bench.peer.heard.data, "RCPT TO:<ops@example.com>"));
	ck_assert_ptr_nonnull(strcasestr(bench.peer.heard.data, "RCPT TO:<anna@example.com>"));
	mail = mem_printf("\r\n%s", bench.peer.mail.data); /* so that each header starts a line */
	bench_close(&bench);
	return mail;
}

/* The names of the headers, in their order. */
static char *header_names(const char *mail)
{
	struct str names = { 0 };
	const char *at = mail + 2;

	while (!str_starts(at, "\r\n")) {
		if (*at != ' ' && *at != '\t')
			str_addf(&names, "%.*s ", (int)strcspn(at, ":\r"), at);
		ck_assert_uint_le(strcspn(at, "\r"), 998);
		at = strstr(at, "\r\n") + 2;
	}
	return str_take(&names);
}

static const char *const first_headers[][2] = {
	{ "Subject", "[CRITICAL] shop: connection refused #412" },
	{ "From", "Portbell <portbell@example.com>" },
	{ "To", "<ops@example.com>," }, /* the other on a line of its own */
	{ "Date", "Tue, 24 Nov 2026 11:58:39 +0000" },
	{ "Message-ID", "<412.1.a@mon.example.com>" },
	{ "In-Reply-To", NULL },
	{ "References", NULL },
	{ "Auto-Submitted", "auto-generated" },
	{ "X-Auto-Response-Suppress", "All" },
	{ "List-Id", "<alerts.portbell.mon.example.com>" },
	{ "X-Portbell-Target", "shop" },
	{ "X-Portbell-Check", "availability" },
	{ "X-Portbell-Level", "critical" },
	{ "X-Portbell-Incident", "412" },
	{ "MIME-Version", "1.0" },
	{ "Precedence", NULL },
	{ "Bcc", NULL },
};

START_TEST(email_has_its_headers)
{
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of(&item, NULL);
	AUTO(string) char *mail = mail_of(message);
	AUTO(string) char *again = mail_of(message);
	AUTO(string) char *value = header_of(mail, first_headers[_i][0]);

	ck_assert_str_eq(mail, again);
	if (first_headers[_i][1] == NULL)
		ck_assert_ptr_null(value);
	else
		ck_assert_msg(str_equal(value, first_headers[_i][1]), "%s", mail);
	ck_assert_ptr_nonnull(strstr(mail, "Content-Type: multipart/alternative"));
	ck_assert(strstr(mail, "text/plain") < strstr(mail, "text/html"));
}
END_TEST

START_TEST(email_answers_the_first)
{
	struct message_item item = shop();

	item.event = EVENT_RECOVERED;
	item.level = LEVEL_OK;
	item.before = LEVEL_CRITICAL;
	item.ended_unix_us = (noon_s + 252) * US_PER_S;
	AUTO(message) struct message *message = message_of(&item, "400.1.z");
	AUTO(string) char *mail = mail_of(message);
	AUTO(string) char *reply = header_of(mail, "In-Reply-To");
	AUTO(string) char *references = header_of(mail, "References");
	AUTO(string) char *level = header_of(mail, "X-Portbell-Level");

	ck_assert_str_eq(reply, "<400.1.z@mon.example.com>");
	ck_assert_str_eq(references, "<400.1.z@mon.example.com>");
	ck_assert_str_eq(level, "ok");
}
END_TEST

static char *const hostile_names[] = {
	"x\r\nBcc: evil@example.com", "x\nSubject: y\n\nbody", "\x1b]0;x\x07", "\xe2\x80\xae.evil",
	"<script>alert(1)</script>", "\"quoted\" 'name'", "=?UTF-8?Q?x?=", "\xff\xfe",
	"t\xc3\xbcr und t\xc3\xb6r und t\xc3\xbcr und t\xc3\xb6r", ".", "a: b",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

START_TEST(hostile_names_add_no_header)
{
	struct message_item item = shop();
	struct label labels[] = { { "l", hostile_names[_i] } };
	AUTO(message) struct message *tame = message_of(&item, NULL);
	AUTO(string) char *tame_mail = mail_of(tame);
	AUTO(string) char *tame_names = header_names(tame_mail);

	item.target = item.group = item.detail = item.address = item.description = hostile_names[_i];
	item.runbook = item.location = item.reached = hostile_names[_i];
	item.labels = labels;
	item.label_count = 1;
	AUTO(message) struct message *message = message_of(&item, NULL);
	AUTO(string) char *mail = mail_of(message);
	AUTO(string) char *names = header_names(mail);

	ck_assert_str_eq(names, tame_names);
	for (const char *c = mail; *c != '\0'; c++)
		ck_assert(*c == '\r' || *c == '\n' || *c == '\t' || (*c >= ' ' && *c <= '~'));
}
END_TEST

/* ---- the notifier, to a server that takes a mail for one of two ---- */

struct office {
	struct bench bench;
	char directory[64];
	struct store *store;
	struct notifier *notifier;
	int troubles; /* how often it was told of one, or of none */
	char trouble[400];
};

static void on_trouble(void *arg, const char *text)
{
	struct office *office = arg;

	office->troubles++;
	snprintf(office->trouble, sizeof(office->trouble), "%s", text != NULL ? text : "none");
}

static const char *no_thread(void *arg, int64_t incident, const char *sender)
{
	(void)arg;
	(void)incident;
	(void)sender;
	return NULL;
}

static struct now real_now(void)
{
	return (struct now){ .mono_us = clock_mono_us(), .unix_us = noon_s * US_PER_S };
}

static void office_open(struct office *office)
{
	struct store_state *state;
	struct error err = { 0 };
	char path[128];

	*office = (struct office){ .directory = "/tmp/check_senders.XXXXXX" };
	log_open();
	log_set_level(LOG_LEVEL_ERROR);
	email_open(&office->bench);
	office->bench.config.senders = &office->bench.sender;
	office->bench.config.sender_count = 1;
	ck_assert_ptr_nonnull(mkdtemp(office->directory));
	snprintf(path, sizeof(path), "%s/state.db", office->directory);
	office->store = store_open(path, noon_s * US_PER_S, &state, &err);
	ck_assert_msg(office->store != NULL, "%s", err.text);
	store_state_free(state);
	office->notifier = notifier_new(&(struct notifier_options){
		.base = office->bench.base, .store = office->store, .world = office->bench.world,
		.hooks = { .thread = no_thread, .trouble = on_trouble, .arg = office }, .now = real_now,
	});
	notifier_set_config(office->notifier, &office->bench.config);
}

static void office_close(struct office *office)
{
	AUTO(string) char *remove = mem_printf("rm -rf '%s'", office->directory);

	notifier_free(office->notifier);
	store_close(office->store, 5000);
	bench_close(&office->bench);
	ck_assert_int_eq(system(remove), 0);
}

/* A message that was written down before goes its way. */
static void office_deliver(struct office *office)
{
	struct message_item item = shop();
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	message_item_write(&w, &item);
	AUTO(string) char *one = str_take(&text);
	const char *items[] = { one };
	struct message_row row = {
		.id = mem_strdup("412.1.a"), .sender = mem_strdup("test"),
		.body = message_compose("412.1.a", "test", "group=web", NULL, noon_s * US_PER_S, false, items, 1),
	};
	struct store_state state = { .messages = &row, .message_count = 1 };
	struct event *late = event_new(office->bench.base, -1, 0, on_late, NULL);

	event_add(late, &(struct timeval){ DEADLINE_S, 0 });
	notifier_restore(office->notifier, &state);
	while (notifier_waiting(office->notifier) > 0) {
		event_base_loop(office->bench.base, EVLOOP_ONCE);
		store_dispatch(office->store);
	}
	event_free(late);
}

START_TEST(partly_delivered_is_a_trouble_of_ours)
{
	struct office office;

	office_open(&office);
	office.bench.peer.at = "RCPT TO:<anna";
	office.bench.peer.answer = "550 gone\r\n";
	office_deliver(&office);
	ck_assert_int_eq(office.troubles, 1);
	ck_assert_str_eq(office.trouble, "test: 127.0.0.1: accepted, but not for anna@example.com: 550 gone");
	office_deliver(&office); /* nothing new */
	ck_assert_int_eq(office.troubles, 1);
	office.bench.peer.at = NULL;
	office_deliver(&office);
	ck_assert_int_eq(office.troubles, 2);
	ck_assert_str_eq(office.trouble, "none");
	ck_assert_int_eq(office.bench.peer.calls, 3); /* once each */
	office_close(&office);
}
END_TEST

static void in_utc(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
}

int main(void)
{
	Suite *suite = suite_create("senders");
	TCase *tcase = tcase_create("senders");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, DEADLINE_S + 10);
	tcase_add_checked_fixture(tcase, in_utc, NULL);
	tcase_add_loop_test(tcase, webhook_outcomes, 0, ROWS(webhook_rows));
	tcase_add_loop_test(tcase, webhook_without_a_receiver, 0, ROWS(url_rows));
	tcase_add_test(tcase, webhook_finds_its_host);
	tcase_add_test(tcase, webhook_request_is_signed);
	tcase_add_test(tcase, webhook_without_a_secret_is_not_signed);
	tcase_add_loop_test(tcase, cancel_ends_it, 0, ROWS(cancelled_urls));
	tcase_add_test(tcase, log_is_delivered_at_once);
	tcase_add_loop_test(tcase, email_outcomes, 0, ROWS(email_rows));
	tcase_add_loop_test(tcase, email_without_a_server, 0, 2);
	tcase_add_test(tcase, email_keeps_the_password_without_tls);
	tcase_add_loop_test(tcase, email_has_its_headers, 0, ROWS(first_headers));
	tcase_add_test(tcase, email_answers_the_first);
	tcase_add_loop_test(tcase, hostile_names_add_no_header, 0, ROWS(hostile_names));
	tcase_add_test(tcase, partly_delivered_is_a_trouble_of_ours);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
