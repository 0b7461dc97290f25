/* SPDX-License-Identifier: MIT */
/* Dialogues as tables: what the proxy says in, what we say and how it ends out; each whole and byte by byte. */
#include "lib/proto/proxy.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define B(text) { text, sizeof(text) - 1 }

AUTO_DEFINE(proxy, struct proxy *, proxy_free)

struct bytes {
	const char *data;
	size_t bytes;
};

struct dialogue {
	const char *name;
	enum proxy_kind kind;
	const char *username;
	const char *password;
	const char *host;
	const char *address;    /* what we resolved; NULL: nothing */
	struct bytes proxy[5];  /* what it says at a time, each after we said all that we had to */
	struct bytes said;
	enum proxy_next next;
	const char *rest;       /* OPEN: what is the target's */
	enum reason reason;
	const char *text;
};

#define S5 PROXY_KIND_SOCKS5
#define S5H PROXY_KIND_SOCKS5H
#define HTTP PROXY_KIND_HTTP
#define OPENS(rest) PROXY_OPEN, rest, REASON_OK, ""
#define REFUSED(text) PROXY_BROKEN, "", REASON_PROXY_REFUSED, text
#define FAILED(text) PROXY_BROKEN, "", REASON_PROXY_FAILED, text
#define HEARS_MORE PROXY_GO_ON, "", REASON_OK, ""

#define HELLO "\5\1\0"
#define HELLO_USER "\5\2\0\2"
#define ASK_NAME "\5\1\0\3\6shop.a\1\xbb"
#define ASK_IPV4 "\5\1\0\1\xc0\0\2\1\1\xbb"
#define YES "\5\0\0\1\0\0\0\0\0\0"
#define NO(reply) "\5" reply "\0\1\0\0\0\0\0\0"
#define SAYS_NO(reply) { B("\5\0"), B(NO(reply)) }, B(HELLO ASK_NAME)

static const struct dialogue socks[] = {
	{ "the proxy resolves", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B(YES) }, B(HELLO ASK_NAME),
	  OPENS("") },
	{ "we resolved", S5, NULL, NULL, "shop.a", "192.0.2.1", { B("\5\0"), B(YES) }, B(HELLO ASK_IPV4),
	  OPENS("") },
	{ "we resolved to IPv6", S5, NULL, NULL, "shop.a", "2001:db8::1", { B("\5\0"), B(YES) },
	  B(HELLO "\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb"), OPENS("") },
	{ "a literal is no name", S5H, NULL, NULL, "192.0.2.1", NULL, { B("\5\0"), B(YES) }, B(HELLO ASK_IPV4),
	  OPENS("") },
	{ "an IPv6 literal is no name", S5H, NULL, NULL, "::1", NULL, { B("\5\0"), B(YES) },
	  B(HELLO "\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb"), OPENS("") },
	{ "an address for socks5h, too", S5H, NULL, NULL, "shop.a", "192.0.2.1", { B("\5\0"), B(YES) },
	  B(HELLO ASK_IPV4), OPENS("") },
	{ "the target speaks first", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B(YES "220 hello\r\n") },
	  B(HELLO ASK_NAME), OPENS("220 hello\r\n") },
	{ "bound to IPv6", S5H, NULL, NULL, "shop.a", NULL,
	  { B("\5\0"), B("\5\0\0\4" "0123456789abcdef\1\2" "x") }, B(HELLO ASK_NAME), OPENS("x") },
	{ "bound to a name", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("\5\0\0\3\4name\1\2" "x") },
	  B(HELLO ASK_NAME), OPENS("x") },
	{ "bound to no name", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("\5\0\0\3\0\1\2" "x") },
	  B(HELLO ASK_NAME), OPENS("x") },
	{ "what is reserved is not looked at", S5H, NULL, NULL, "shop.a", NULL,
	  { B("\5\0"), B("\5\0\7\1\0\0\0\0\0\0") }, B(HELLO ASK_NAME), OPENS("") },
	{ "the reply is not whole", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("\5\0\0\1\0\0\0\0\0") },
	  B(HELLO ASK_NAME), HEARS_MORE },
	/* login */
	{ "a login", S5H, "user", "hunter2", "shop.a", NULL, { B("\5\2"), B("\1\0"), B(YES) },
	  B(HELLO_USER "\1\4user\7hunter2" ASK_NAME), OPENS("") },
	{ "a login that is not needed is not told", S5H, "user", "hunter2", "shop.a", NULL, { B("\5\0"), B(YES) },
	  B(HELLO_USER ASK_NAME), OPENS("") },
	{ "a login answered with the wrong version", S5H, "user", "hunter2", "shop.a", NULL,
	  { B("\5\2"), B("\5\0"), B(YES) }, B(HELLO_USER "\1\4user\7hunter2" ASK_NAME), OPENS("") },
	{ "a login without a password", S5H, "user", NULL, "shop.a", NULL, { B("\5\2"), B("\1\0"), B(YES) },
	  B(HELLO_USER "\1\4user\0" ASK_NAME), OPENS("") },
	{ "login refused", S5H, "user", "hunter2", "shop.a", NULL, { B("\5\2"), B("\1\1") },
	  B(HELLO_USER "\1\4user\7hunter2"), FAILED("the proxy refuses the login") },
	{ "login without a password refused", S5H, "user", "", "shop.a", NULL, { B("\5\2"), B("\1\xff") },
	  B(HELLO_USER "\1\4user\0"), FAILED("the proxy refuses the login, which has no password") },
	{ "a login is missing", S5H, NULL, NULL, "shop.a", NULL, { B("\5\xff") }, B(HELLO),
	  FAILED("the proxy wants a login, and none is configured") },
	{ "another kind of login is wanted", S5H, "user", "x", "shop.a", NULL, { B("\5\xff") }, B(HELLO_USER),
	  FAILED("the proxy takes no login by user and password") },
	{ "GSSAPI, which nobody offered", S5H, "user", "x", "shop.a", NULL, { B("\5\1") }, B(HELLO_USER),
	  FAILED("the proxy chose a login that was not offered") },
	{ "a login, which nobody offered", S5H, NULL, NULL, "shop.a", NULL, { B("\5\2") }, B(HELLO),
	  FAILED("the proxy chose a login that was not offered") },
	{ "the login's answer is of no version", S5H, "user", "x", "shop.a", NULL, { B("\5\2"), B("\2\0") },
	  B(HELLO_USER "\1\4user\1x"), FAILED("what answers is no SOCKS5 proxy") },
	/* replies */
	{ "reply 1", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\1"),
	  REFUSED("the proxy says: general failure (SOCKS reply 1)") },
	{ "reply 2", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\2"),
	  REFUSED("the proxy says: not allowed (SOCKS reply 2)") },
	{ "reply 3", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\3"),
	  REFUSED("the proxy says: network unreachable (SOCKS reply 3)") },
	{ "reply 4", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\4"),
	  REFUSED("the proxy says: host unreachable, or its name not found (SOCKS reply 4)") },
	{ "reply 4 to an address", S5, NULL, NULL, "shop.a", "192.0.2.1", { B("\5\0"), B(NO("\4")) },
	  B(HELLO ASK_IPV4), REFUSED("the proxy says: host unreachable (SOCKS reply 4)") },
	{ "reply 5", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\5"),
	  REFUSED("the proxy says: connection refused (SOCKS reply 5)") },
	{ "reply 6", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\6"),
	  REFUSED("the proxy says: timed out (SOCKS reply 6)") },
	{ "reply 7", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\7"),
	  FAILED("the proxy says: no connections are made (SOCKS reply 7)") },
	{ "reply 8 to a name", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\x8"),
	  FAILED("the proxy says: this kind of address is not supported (is socks5:// meant?) (SOCKS reply 8)") },
	{ "reply 8 to an address", S5, NULL, NULL, "shop.a", "192.0.2.1", { B("\5\0"), B(NO("\x8")) },
	  B(HELLO ASK_IPV4),
	  FAILED("the proxy says: this kind of address is not supported (is socks5h:// meant?) (SOCKS reply 8)") },
	{ "a reply of no meaning", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\x9"),
	  REFUSED("the proxy says: no (SOCKS reply 9)") },
	{ "the last of them", S5H, NULL, NULL, "shop.a", NULL, SAYS_NO("\xff"),
	  REFUSED("the proxy says: no (SOCKS reply 255)") },
	{ "a no that ends early", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("\5\5") }, B(HELLO ASK_NAME),
	  REFUSED("the proxy says: connection refused (SOCKS reply 5)") },
	{ "an address of no kind", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("\5\0\0\2\0\0\0\0\0\0") },
	  B(HELLO ASK_NAME), FAILED("what the proxy says is not SOCKS5: an address of no known kind") },
	/* strangers */
	{ "a web server", S5H, NULL, NULL, "shop.a", NULL, { B("HTTP/1.1 400 Bad Request\r\n\r\n") }, B(HELLO),
	  FAILED("what answers is no SOCKS5 proxy but speaks HTTP (is http:// meant?)") },
	{ "a TLS server", S5H, NULL, NULL, "shop.a", NULL, { B("\x15\3\1\0\2\2\x46") }, B(HELLO),
	  FAILED("what answers is no SOCKS5 proxy but speaks TLS") },
	{ "SOCKS4", S5H, NULL, NULL, "shop.a", NULL, { B("\0\x5b\0\0\0\0\0\0") }, B(HELLO),
	  FAILED("what answers is no SOCKS5 proxy but perhaps SOCKS4") },
	{ "a mail server", S5H, NULL, NULL, "shop.a", NULL, { B("220 mail\r\n") }, B(HELLO),
	  FAILED("what answers is no SOCKS5 proxy") },
	{ "lost in the middle", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0"), B("HTTP/1.1 ") }, B(HELLO ASK_NAME),
	  FAILED("what answers is no SOCKS5 proxy") },
	{ "both answers in one breath", S5H, NULL, NULL, "shop.a", NULL, { B("\5\0" YES) }, B(HELLO),
	  FAILED("the proxy answers before it was asked") },
};

#define CONNECT(authority, more) \
	B("CONNECT " authority " HTTP/1.1\r\nHost: " authority "\r\nUser-Agent: portbell\r\n" more "\r\n")
#define TO_SHOP CONNECT("shop.a:443", "")
#define AS_USER CONNECT("shop.a:443", "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n")
#define HTTP_ROW(name, answer) { name, HTTP, NULL, NULL, "shop.a", NULL, { B(answer) }, TO_SHOP
#define NO_PROXY "what answers is no proxy for CONNECT, it says: "

static const struct dialogue http[] = {
	HTTP_ROW("a yes", "HTTP/1.1 200 OK\r\n\r\n"), OPENS("") },
	HTTP_ROW("any 2xx", "HTTP/1.1 299 Why not\r\n\r\n"), OPENS("") },
	HTTP_ROW("HTTP/1.0", "HTTP/1.0 200 Connection established\r\n\r\n"), OPENS("") },
	HTTP_ROW("no reason", "HTTP/1.1 200 \r\n\r\n"), OPENS("") },
	HTTP_ROW("not even a space", "HTTP/1.1 200\r\n\r\n"), OPENS("") },
	HTTP_ROW("bare line ends", "HTTP/1.1 200 OK\nVia: x\n\n"), OPENS("") },
	HTTP_ROW("the target speaks first", "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n\r\n220 hello\r\n"),
	  OPENS("\r\n220 hello\r\n") },
	HTTP_ROW("there is no body after a yes (RFC 9110 9.3.6)",
		 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n220 hello"),
	  OPENS("220 hello") },
	HTTP_ROW("1xx first",
		 "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"),
	  OPENS("x") },
	HTTP_ROW("1xx and nothing more", "HTTP/1.1 100 Continue\r\n\r\n"), HEARS_MORE },
	HTTP_ROW("not whole", "HTTP/1.1 200 OK\r\nVia: x\r\n\r"), HEARS_MORE },
	{ "by address", HTTP, NULL, NULL, "shop.a", "192.0.2.1", { B("HTTP/1.1 200 OK\r\n\r\n") },
	  CONNECT("192.0.2.1:443", ""), OPENS("") },
	{ "a literal", HTTP, NULL, NULL, "2001:db8::1", NULL, { B("HTTP/1.1 200 OK\r\n\r\n") },
	  CONNECT("[2001:db8::1]:443", ""), OPENS("") },
	{ "a login", HTTP, "user", "hunter2", "shop.a", NULL, { B("HTTP/1.1 200 OK\r\n\r\n") }, AS_USER,
	  OPENS("") },
	{ "a login without a password", HTTP, "user", NULL, "shop.a", NULL, { B("HTTP/1.1 200 OK\r\n\r\n") },
	  CONNECT("shop.a:443", "Proxy-Authorization: Basic dXNlcjo=\r\n"), OPENS("") },
	/* a no */
	HTTP_ROW("403", "HTTP/1.1 403 Forbidden\r\n\r\n"), REFUSED("the proxy says: 403 Forbidden") },
	HTTP_ROW("429", "HTTP/1.1 429\r\n\r\n"), REFUSED("the proxy says: 429") },
	HTTP_ROW("451", "HTTP/1.1 451 By Law\r\n\r\n"), REFUSED("the proxy says: 451 By Law") },
	HTTP_ROW("500", "HTTP/1.0 500 Unable to connect\r\nX: y\r\n\r\n<html>"),
	  REFUSED("the proxy says: 500 Unable to connect") },
	HTTP_ROW("502", "HTTP/1.1 502 Bad Gateway\r\nProxy-Status:  p; error=connection_refused \r\n\r\n"),
	  REFUSED("the proxy says: 502 Bad Gateway (p; error=connection_refused)") },
	HTTP_ROW("503", "HTTP/1.1 503 Service Unavailable\r\nx-squid-error: ERR_CONNECT_FAIL 111\r\n\r\n"),
	  REFUSED("the proxy says: 503 Service Unavailable (ERR_CONNECT_FAIL 111)") },
	HTTP_ROW("504", "HTTP/1.1 504 Gateway Timeout\r\n\r\n"), REFUSED("the proxy says: 504 Gateway Timeout") },
	HTTP_ROW("the first of two that say why", "HTTP/1.1 502 x\r\nProxy-Status: a\r\nX-Squid-Error: b\r\n\r\n"),
	  REFUSED("the proxy says: 502 x (a)") },
	HTTP_ROW("what a 1xx said is forgotten",
		 "HTTP/1.1 100 c\r\nProxy-Status: a\r\n\r\nHTTP/1.1 502 x\r\n\r\n"),
	  REFUSED("the proxy says: 502 x") },
	HTTP_ROW("a no is cleaned", "HTTP/1.1 403 \x1b[31mNo\xff\r\n\r\n"),
	  REFUSED("the proxy says: 403 \\x1b[31mNo\\xff") },
	HTTP_ROW("a NUL is shown", "HTTP/1.1 403 a\0b\r\n\r\n"), REFUSED("the proxy says: 403 a\\x00b") },
	/* no way through */
	HTTP_ROW("400", "HTTP/1.1 400 Bad Request\r\n\r\n"), FAILED(NO_PROXY "400 Bad Request") },
	HTTP_ROW("405", "HTTP/1.1 405 Not Allowed\r\n\r\n"), FAILED(NO_PROXY "405 Not Allowed") },
	HTTP_ROW("404", "HTTP/1.1 404 Not Found\r\n\r\n"), FAILED(NO_PROXY "404 Not Found") },
	HTTP_ROW("302", "HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n"), FAILED(NO_PROXY "302 Found") },
	HTTP_ROW("501", "HTTP/1.1 501 Not Implemented\r\n\r\n"), FAILED(NO_PROXY "501 Not Implemented") },
	HTTP_ROW("505", "HTTP/1.1 505 x\r\n\r\n"), FAILED(NO_PROXY "505 x") },
	HTTP_ROW("511", "HTTP/1.1 511 Network Authentication Required\r\n\r\n"),
	  FAILED(NO_PROXY "511 Network Authentication Required") },
	HTTP_ROW("101", "HTTP/1.1 101 Switching Protocols\r\n\r\n"), FAILED(NO_PROXY "101 Switching Protocols") },
	HTTP_ROW("407", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"),
	  FAILED("the proxy wants a login, and none is configured: 407 Proxy Authentication Required") },
	{ "407 to a login", HTTP, "user", "hunter2", "shop.a", NULL,
	  { B("HTTP/1.1 407 no\r\nProxy-Authenticate: basic realm=x\r\n\r\n") }, AS_USER,
	  FAILED("the proxy refuses the login: 407 no") },
	{ "407 to a login of the wrong kind", HTTP, "user", "hunter2", "shop.a", NULL,
	  { B("HTTP/1.1 407 no\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate:NTLM abc=\r\n\r\n") },
	  AS_USER,
	  FAILED("the proxy refuses the login: 407 no; it takes Negotiate, NTLM, not Basic") },
	{ "the login is repeated", HTTP, "user", "hunter2", "shop.a", NULL,
	  { B("HTTP/1.1 407 hunter2 dXNlcjpodW50ZXIy\r\nX-Squid-Error: hunter2\r\n"
	      "Proxy-Authenticate: hunter2\r\n\r\n") },
	  AS_USER,
	  FAILED("the proxy refuses the login: 407 ******* **************** (*******); it takes *******, not "
		 "Basic") },
	/* strangers */
	HTTP_ROW("a mail server", "220 mail\r\n"), FAILED("what answers is no HTTP proxy") },
	HTTP_ROW("SOCKS", "\5\xff"), FAILED("what answers is no HTTP proxy") },
	HTTP_ROW("HTTP/2", "HTTP/2 200\r\n\r\n"), FAILED("what answers is no HTTP proxy") },
	HTTP_ROW("an empty line", "\r\nHTTP/1.1 200 OK\r\n\r\n"), FAILED("what answers is no HTTP proxy") },
	HTTP_ROW("not HTTP to the end", "HTTP/1.1 100 c\r\n\r\nHTTQ"), FAILED("what answers is no HTTP proxy") },
	HTTP_ROW("no status", "HTTP/1.1\r\n\r\n"),
	  FAILED("what the proxy says is not HTTP: a status line of the wrong form") },
	HTTP_ROW("a short status", "HTTP/1.1 20\r\n\r\n"),
	  FAILED("what the proxy says is not HTTP: a status line of the wrong form") },
	HTTP_ROW("a long status", "HTTP/1.1 2000\r\n\r\n"),
	  FAILED("what the proxy says is not HTTP: a status line of the wrong form") },
	HTTP_ROW("a status of letters", "HTTP/1.1 2OO OK\r\n\r\n"),
	  FAILED("what the proxy says is not HTTP: a status line of the wrong form") },
	HTTP_ROW("a status of no class", "HTTP/1.1 600 OK\r\n\r\n"),
	  FAILED("what the proxy says is not HTTP: a status line of the wrong form") },
};

static struct proxy *new_of(const struct dialogue *dialogue)
{
	struct address address = { 0 };
	const struct proxy_wish wish = {
		.kind = dialogue->kind, .username = dialogue->username, .password = dialogue->password,
		.host = dialogue->host, .address = dialogue->address != NULL ? &address : NULL, .port = 443,
	};
	struct error err = { .text = "" };
	struct proxy *proxy;

	ck_assert(dialogue->address == NULL || address_from_literal(dialogue->address, 0, &address));
	proxy = proxy_new(&wish, &err);
	ck_assert_msg(proxy != NULL, "%s", err.text);
	return proxy;
}

/* At most `most` at a time. */
static void take_output(struct proxy *proxy, struct str *said, size_t most)
{
	const char *data;
	size_t bytes;

	while (data = proxy_output(proxy, &bytes), bytes > 0) {
		bytes = bytes < most ? bytes : most;
		str_add_bytes(said, data, bytes);
		proxy_output_sent(proxy, bytes);
	}
}

/* All that the proxy says, `most` bytes at a time; what was not used goes to `rest`. */
static enum proxy_next converse(struct proxy *proxy, const struct dialogue *dialogue, size_t most,
				struct str *said, struct str *rest)
{
	enum proxy_next next = PROXY_GO_ON;

	take_output(proxy, said, most);
	for (size_t i = 0; i < 5 && dialogue->proxy[i].data != NULL; i++) {
		const char *at = dialogue->proxy[i].data;

		for (size_t left = dialogue->proxy[i].bytes, bytes; left > 0; left -= bytes, at += bytes) {
			size_t used = 99;

			bytes = left < most ? left : most;
			next = proxy_input(proxy, at, bytes, &used);
			ck_assert_uint_le(used, bytes);
			ck_assert(next != PROXY_GO_ON || used == bytes);
			if (next == PROXY_OPEN)
				str_add_bytes(rest, at + used, bytes - used);
		}
		take_output(proxy, said, most);
	}
	return next;
}

static void check_dialogue(const struct dialogue *dialogue)
{
	static const size_t most[] = { 1000000, 1, 7 };

	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		AUTO(proxy) struct proxy *proxy = new_of(dialogue);
		AUTO(str) struct str said = { 0 };
		AUTO(str) struct str rest = { 0 };
		enum proxy_next next = converse(proxy, dialogue, most[i], &said, &rest);
		const char *text = NULL;

		ck_assert_msg(next == dialogue->next, "%s: %d", dialogue->name, next);
		ck_assert_msg(proxy_failure(proxy, &text) == dialogue->reason, "%s", dialogue->name);
		ck_assert_msg(strcmp(text, dialogue->text) == 0, "%s: %s", dialogue->name, text);
		ck_assert_msg(strcmp(rest.data != NULL ? rest.data : "", dialogue->rest) == 0, "%s: left: %s",
			      dialogue->name, rest.data);
		ck_assert_msg(said.bytes == dialogue->said.bytes &&
				      memcmp(said.data, dialogue->said.data, said.bytes) == 0,
			      "%s: said %zu bytes: %s", dialogue->name, said.bytes, said.data);
	}
}

START_TEST(socks_goes_as_it_should)
{
	check_dialogue(&socks[_i]);
}
END_TEST

START_TEST(http_goes_as_it_should)
{
	check_dialogue(&http[_i]);
}
END_TEST

/* A yes while our question is on its way is none to it. */
START_TEST(yes_comes_too_early)
{
	static const struct {
		enum proxy_kind kind;
		struct bytes said;
	} early[] = {
		{ HTTP, B("HTTP/1.1 200 OK\r\n\r\n") },
		{ S5H, B("\5\0") },
	};

	for (int i = 0; i < ROWS(early); i++) {
		struct dialogue dialogue = { .kind = early[i].kind, .host = "shop.a" };
		AUTO(proxy) struct proxy *proxy = new_of(&dialogue);
		const char *text;
		size_t used;

		proxy_output_sent(proxy, 1);
		ck_assert_int_eq(proxy_input(proxy, early[i].said.data, early[i].said.bytes, &used), PROXY_BROKEN);
		ck_assert_int_eq(proxy_failure(proxy, &text), REASON_PROXY_FAILED);
		ck_assert_str_eq(text, "the proxy answers before it was asked");
		proxy_output(proxy, &used);
		ck_assert_uint_eq(used, 0);
	}
}
END_TEST

/* A no does not wait for our question. */
START_TEST(no_comes_early)
{
	struct dialogue dialogue = { .kind = HTTP, .host = "shop.a" };
	AUTO(proxy) struct proxy *proxy = new_of(&dialogue);
	const char *text;
	size_t used;

	ck_assert_int_eq(proxy_input(proxy, "HTTP/1.1 403 Go\r\n\r\n", 19, &used), PROXY_BROKEN);
	ck_assert_int_eq(proxy_failure(proxy, &text), REASON_PROXY_REFUSED);
}
END_TEST

/* A head as long as may be, and one that is a byte longer. */
START_TEST(head_is_capped)
{
	enum { MAX = 16384 };

	for (size_t more = 0; more < 2; more++) {
		struct dialogue dialogue = { .kind = HTTP, .host = "shop.a" };
		AUTO(proxy) struct proxy *whole = new_of(&dialogue);
		AUTO(proxy) struct proxy *singly = new_of(&dialogue);
		AUTO(str) struct str head = { 0 };
		AUTO(str) struct str ignored = { 0 };
		enum proxy_next next = PROXY_GO_ON;
		const char *text;
		size_t used = 0;

		take_output(whole, &ignored, 1000);
		take_output(singly, &ignored, 1000);
		str_add(&head, "HTTP/1.1 100 c\r\n\r\nHTTP/1.1 200 OK\r\nX: ");
		while (head.bytes < MAX - 4 + more)
			str_add_char(&head, 'x');
		str_add(&head, "\r\n\r\n");
		ck_assert_int_eq(proxy_input(whole, head.data, head.bytes, &used),
				 more ? PROXY_BROKEN : PROXY_OPEN);
		ck_assert(more || used == MAX);
		for (size_t i = 0; i < head.bytes && next == PROXY_GO_ON; i++)
			next = proxy_input(singly, head.data + i, 1, &used);
		ck_assert_int_eq(next, more ? PROXY_BROKEN : PROXY_OPEN);
		proxy_failure(singly, &text);
		ck_assert_str_eq(text, more ? "the proxy's answer has a head without end" : "");
		proxy_failure(whole, &text);
		ck_assert_str_eq(text, more ? "the proxy's answer has a head without end" : "");
	}
}
END_TEST

/* Nothing changes what has ended. */
START_TEST(ends_stay)
{
	static const struct {
		const char *answer;
		enum proxy_next next;
	} ends[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n", PROXY_OPEN },
		{ "HTTP/1.1 403 no\r\n\r\n", PROXY_BROKEN },
	};

	for (int i = 0; i < ROWS(ends); i++) {
		struct dialogue dialogue = { .kind = HTTP, .host = "shop.a" };
		AUTO(proxy) struct proxy *proxy = new_of(&dialogue);
		AUTO(str) struct str said = { 0 };
		const char *before;
		const char *after;
		size_t used;

		take_output(proxy, &said, 1000);
		ck_assert_int_eq(proxy_input(proxy, ends[i].answer, strlen(ends[i].answer), &used), ends[i].next);
		proxy_failure(proxy, &before);
		ck_assert_int_eq(proxy_input(proxy, "HTTP/1.1 500 x\r\n\r\n", 18, &used), ends[i].next);
		ck_assert_uint_eq(used, 0);
		ck_assert_int_eq(proxy_closed(proxy), ends[i].next);
		proxy_failure(proxy, &after);
		ck_assert_str_eq(before, after);
	}
}
END_TEST

static const struct {
	enum proxy_kind kind;
	struct bytes heard;
	const char *text;
	enum reason reason;
} closings[] = {
	{ S5H, B(""), "the proxy closed the connection instead of answering to \"greeting\"",
	  REASON_PROXY_FAILED },
	{ S5H, B("\5\0"), "the proxy closed the connection instead of answering to \"connect\"",
	  REASON_PROXY_FAILED },
	{ S5H, B("\5\0\5"), "the proxy closed the connection instead of answering to \"connect\"",
	  REASON_PROXY_FAILED },
	{ HTTP, B(""), "the proxy closed the connection instead of answering to \"CONNECT\"",
	  REASON_PROXY_FAILED },
	{ HTTP, B("HTTP/1.1 200 OK\r\n"), "the proxy closed the connection instead of answering to \"CONNECT\"",
	  REASON_PROXY_FAILED },
	{ HTTP, B("HTTP/1.1 403 Forbidden\r\nServer:"), "the proxy says: 403 Forbidden", REASON_PROXY_REFUSED },
	{ HTTP, B("HTTP/1.1 400 Bad\r\n"), NO_PROXY "400 Bad", REASON_PROXY_FAILED },
};

START_TEST(proxy_closes)
{
	struct dialogue dialogue = { .kind = closings[_i].kind, .host = "shop.a", .proxy = { B("") } };
	AUTO(proxy) struct proxy *proxy = NULL;
	AUTO(str) struct str said = { 0 };
	AUTO(str) struct str rest = { 0 };
	const char *text;

	dialogue.proxy[0] = closings[_i].heard;
	if (closings[_i].kind == S5H && closings[_i].heard.bytes > 2) {
		dialogue.proxy[0].bytes = 2;
		dialogue.proxy[1].data = closings[_i].heard.data + 2;
		dialogue.proxy[1].bytes = closings[_i].heard.bytes - 2;
	}
	proxy = new_of(&dialogue);
	ck_assert_int_eq(converse(proxy, &dialogue, 1000, &said, &rest), PROXY_GO_ON);
	ck_assert_int_eq(proxy_closed(proxy), PROXY_BROKEN);
	ck_assert_int_eq(proxy_failure(proxy, &text), closings[_i].reason);
	ck_assert_str_eq(text, closings[_i].text);
}
END_TEST

/* What a timeout is put down to. */
START_TEST(waiting_has_a_name)
{
	static const char *const awaited[] = { "greeting", "login", "connect" };
	static const struct bytes answers[] = { B("\5\2"), B("\1\0"), B(YES) };
	struct dialogue dialogue = { .kind = S5H, .username = "user", .host = "shop.a" };
	AUTO(proxy) struct proxy *proxy = new_of(&dialogue);
	AUTO(str) struct str said = { 0 };
	size_t used;

	for (int i = 0; i < ROWS(awaited); i++) {
		ck_assert_str_eq(proxy_waits_for(proxy), awaited[i]);
		take_output(proxy, &said, 1000);
		proxy_input(proxy, answers[i].data, answers[i].bytes, &used);
	}
}
END_TEST

/* A send that could not be done wants the same place again. */
START_TEST(output_stays_at_its_place)
{
	struct dialogue dialogue = { .kind = HTTP, .host = "shop.a" };
	AUTO(proxy) struct proxy *proxy = new_of(&dialogue);
	const char *data;
	size_t bytes, used;

	data = proxy_output(proxy, &bytes);
	proxy_output_sent(proxy, 3);
	ck_assert_int_eq(proxy_input(proxy, "HTTP/1.1 100 c\r\n", 16, &used), PROXY_GO_ON);
	ck_assert_ptr_eq(proxy_output(proxy, &used), data + 3);
	ck_assert_uint_eq(used, bytes - 3);
}
END_TEST

#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
#define BYTES_255 FIFTY FIFTY FIFTY FIFTY FIFTY "01234"

static const struct {
	struct proxy_wish wish;
	const char *text; /* NULL: fine */
} wishes[] = {
	{ { S5H, BYTES_255, BYTES_255, "shop.a", NULL, 65535 }, NULL },
	{ { S5H, "a:b\n", "\x01", "shop.a", NULL, 1 }, NULL },
	{ { S5H, BYTES_255 "5", "x", "shop.a", NULL, 1 }, "the user of a SOCKS proxy has 1 to 255 bytes" },
	{ { S5H, "", "x", "shop.a", NULL, 1 }, "the user of a SOCKS proxy has 1 to 255 bytes" },
	{ { S5H, "u", BYTES_255 "5", "shop.a", NULL, 1 }, "the password of a SOCKS proxy has at most 255 bytes" },
	{ { S5H, NULL, NULL, "shop a", NULL, 1 }, "the host is neither a name nor an IP address" },
	{ { S5H, NULL, NULL, "", NULL, 1 }, "the host is neither a name nor an IP address" },
	{ { S5H, NULL, NULL, BYTES_255, NULL, 1 }, "the host is neither a name nor an IP address" },
	{ { S5H, NULL, NULL, "shop.a", NULL, 0 }, "a port is missing" },
	{ { S5H, NULL, NULL, "fe80::1%1", NULL, 1 }, "an address with a zone means nothing to a proxy" },
	{ { HTTP, "u", "a:b", "shop.a", NULL, 1 }, NULL },
	{ { HTTP, "j\xc3\xb6rg", "\xc3\xa9", "shop.a", NULL, 1 }, NULL },
	{ { HTTP, NULL, NULL, "shop.a\r\nX: y", NULL, 1 }, "the host is neither a name nor an IP address" },
	{ { HTTP, "a:b", "x", "shop.a", NULL, 1 },
	  "the user of an HTTP proxy holds no colon and no control characters" },
	{ { HTTP, "a\n", "x", "shop.a", NULL, 1 },
	  "the user of an HTTP proxy holds no colon and no control characters" },
	{ { HTTP, "a", "x\n", "shop.a", NULL, 1 }, "the password of an HTTP proxy holds no control characters" },
};

START_TEST(wish_is_checked)
{
	struct error err = { .text = "" };
	AUTO(proxy) struct proxy *proxy = proxy_new(&wishes[_i].wish, &err);

	ck_assert_int_eq(proxy != NULL, wishes[_i].text == NULL);
	ck_assert_str_eq(err.text, wishes[_i].text != NULL ? wishes[_i].text : "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proxy");
	TCase *tcase = tcase_create("proxy");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, socks_goes_as_it_should, 0, ROWS(socks));
	tcase_add_loop_test(tcase, http_goes_as_it_should, 0, ROWS(http));
	tcase_add_test(tcase, yes_comes_too_early);
	tcase_add_test(tcase, no_comes_early);
	tcase_add_test(tcase, head_is_capped);
	tcase_add_test(tcase, ends_stay);
	tcase_add_loop_test(tcase, proxy_closes, 0, ROWS(closings));
	tcase_add_test(tcase, waiting_has_a_name);
	tcase_add_test(tcase, output_stays_at_its_place);
	tcase_add_loop_test(tcase, wish_is_checked, 0, ROWS(wishes));
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
