/* SPDX-License-Identifier: MIT */
/* The resolver against DNS servers of our own on the same loop: every way to answer badly has its name. */
#include "lib/io/resolver.h"

#include <arpa/inet.h>
#include <check.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28, RCODE_FORMERR = 1, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3,
       RCODE_NOTIMP = 4, RCODE_REFUSED = 5 };

/* ---- a scripted DNS server ---- */

struct dns {
	int udp;
	int tcp;
	struct event udp_event;
	struct event tcp_event;
	struct event_base *base;
	uint16_t port;
	const char *only;    /* answers nothing but this rcode word, whatever is asked */
	int queries;
	int tcp_queries;
	uint8_t last_octet;  /* of the address it gives: tells servers apart */
};

struct message {
	uint8_t data[4096];
	size_t bytes;
};

static void put16(struct message *message, unsigned value)
{
	message->data[message->bytes++] = (uint8_t)(value >> 8);
	message->data[message->bytes++] = (uint8_t)value;
}

static void put_record(struct message *message, int type, uint32_t ttl_s, const void *data, size_t bytes)
{
	put16(message, 0xc00c); /* the name of the question */
	put16(message, (unsigned)type);
	put16(message, 1);
	put16(message, ttl_s >> 16);
	put16(message, ttl_s & 0xffff);
	put16(message, (unsigned)bytes);
	memcpy(message->data + message->bytes, data, bytes);
	message->bytes += bytes;
	message->data[7]++;
}

static void put_a(struct message *message, uint32_t ttl_s, uint8_t last)
{
	put_record(message, TYPE_A, ttl_s, (uint8_t[]){ 127, 0, 0, last }, 4);
}

static void put_aaaa(struct message *message, uint32_t ttl_s, uint8_t last)
{
	uint8_t address[16] = { [15] = last };

	put_record(message, TYPE_AAAA, ttl_s, address, 16);
}

static void set_rcode(struct message *message, int rcode)
{
	message->data[3] = (uint8_t)((message->data[3] & 0xf0) | rcode);
}

/* The first label of the name says what is answered; false: nothing is. */
static bool dns_script(const struct dns *dns, const char *word, int type, bool by_tcp, struct message *message)
{
	bool a = type == TYPE_A;

	if (strcmp(word, "ok") == 0 && a) {
		put_a(message, 60, dns->last_octet);
	} else if (strcmp(word, "both") == 0) {
		if (a)
			put_a(message, 60, 1);
		else
			put_aaaa(message, 60, 1);
	} else if (strcmp(word, "v6") == 0 && !a) {
		put_aaaa(message, 60, 1);
	} else if (strcmp(word, "nx") == 0) {
		set_rcode(message, RCODE_NXDOMAIN);
	} else if (strcmp(word, "servfail") == 0 || (strcmp(word, "afails") == 0 && a) ||
		   (strcmp(word, "aaaafails") == 0 && !a)) {
		set_rcode(message, RCODE_SERVFAIL);
	} else if (strcmp(word, "refused") == 0) {
		set_rcode(message, RCODE_REFUSED);
	} else if (strcmp(word, "notimp") == 0) {
		set_rcode(message, RCODE_NOTIMP);
	} else if (strcmp(word, "formerr") == 0) {
		set_rcode(message, RCODE_FORMERR);
	} else if (strcmp(word, "halfgood") == 0) {
		if (a)
			put_a(message, 60, 1);
		else
			set_rcode(message, RCODE_SERVFAIL);
	} else if (strcmp(word, "badaaaa") == 0) {
		put_a(message, 60, 1);
		message->bytes -= a ? 0 : 3;
	} else if (strcmp(word, "truncated") == 0) {
		put_a(message, 60, 1);
		message->bytes -= 3;
	} else if (strcmp(word, "many") == 0 && a) {
		if (!by_tcp)
			message->data[2] |= 2; /* TC */
		for (int i = 0; by_tcp && i < 40; i++)
			put_a(message, 60, (uint8_t)(i + 1));
	} else if (strcmp(word, "big") == 0 && a) {
		for (int i = 0; i < 100; i++) /* over 512 bytes, and TC is not set */
			put_a(message, 60, (uint8_t)(i + 1));
	} else if (strcmp(word, "twice") == 0 && a) {
		put_a(message, 60, 1);
		put_a(message, 60, 1);
		put_a(message, 60, 2);
	} else if (strcmp(word, "loop") == 0) {
		put_record(message, TYPE_CNAME, 60, "\xc0\x0c", 2);
	} else if (strcmp(word, "ttl0") == 0 && a) {
		put_a(message, 0, 1);
	} else if (strcmp(word, "ttlhuge") == 0 && a) {
		put_a(message, 0x7fffffff, 1);
	} else if (strcmp(word, "ttlnegative") == 0 && a) {
		put_a(message, 0xffffffff, 1);
	} else if (strcmp(word, "silent") == 0) {
		return false;
	} else if (strcmp(word, "garbage") == 0) {
		memset(message->data, 0xff, message->bytes);
	}
	return true;
}

static size_t dns_answer(struct dns *dns, const uint8_t *query, size_t bytes, bool by_tcp, struct message *message)
{
	char word[64] = "";
	size_t end = 12;
	int type;

	if (bytes < 17 || query[12] > 63)
		return 0;
	memcpy(word, query + 13, query[12]);
	while (end < bytes && query[end] != 0)
		end += query[end] + 1u;
	end += 5;
	if (end > bytes)
		return 0;
	type = query[end - 3];
	dns->queries++;
	if (by_tcp)
		dns->tcp_queries++;
	memset(message, 0, sizeof(*message));
	memcpy(message->data, query, end);
	message->bytes = end;
	message->data[2] = 0x81; /* QR, RD */
	message->data[3] = 0x80; /* RA */
	memset(message->data + 6, 0, 6);
	return dns_script(dns, dns->only != NULL ? dns->only : word, type, by_tcp, message) ? message->bytes : 0;
}

static void on_udp(evutil_socket_t fd, short what, void *arg)
{
	struct dns *dns = arg;
	struct sockaddr_storage from;
	socklen_t from_bytes = sizeof(from);
	struct message message;
	uint8_t query[512];
	ssize_t bytes = recvfrom(fd, query, sizeof(query), 0, (struct sockaddr *)&from, &from_bytes);

	(void)what;
	if (bytes > 0 && dns_answer(dns, query, (size_t)bytes, false, &message) > 0)
		sendto(fd, message.data, message.bytes, 0, (struct sockaddr *)&from, from_bytes);
}

/* The query comes in one piece: c-ares writes it so, and loopback keeps it. */
static void on_tcp_query(evutil_socket_t peer, short what, void *arg)
{
	struct dns *dns = arg;
	struct message message;
	uint8_t query[514];
	uint8_t head[2];
	ssize_t bytes = recv(peer, query, sizeof(query), 0);

	(void)what;
	if (bytes > 2 && dns_answer(dns, query + 2, (size_t)bytes - 2, true, &message) > 0) {
		head[0] = (uint8_t)(message.bytes >> 8);
		head[1] = (uint8_t)message.bytes;
		send(peer, head, 2, MSG_NOSIGNAL);
		send(peer, message.data, message.bytes, MSG_NOSIGNAL);
	}
	close(peer);
}

static void on_tcp(evutil_socket_t fd, short what, void *arg)
{
	struct dns *dns = arg;
	int peer = accept(fd, NULL, NULL);

	(void)what;
	ck_assert_int_ge(peer, 0);
	event_base_once(dns->base, peer, EV_READ, on_tcp_query, dns, NULL);
}

static bool dns_bind(struct dns *dns, const char *ip, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	socklen_t bytes = sizeof(address);

	inet_pton(AF_INET, ip, &address.sin_addr);
	dns->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	dns->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(dns->udp, (struct sockaddr *)&address, bytes) == 0 &&
	    getsockname(dns->udp, (struct sockaddr *)&address, &bytes) == 0 &&
	    bind(dns->tcp, (struct sockaddr *)&address, bytes) == 0 && listen(dns->tcp, 16) == 0) {
		dns->port = ntohs(address.sin_port);
		return true;
	}
	close(dns->udp);
	close(dns->tcp);
	return false;
}

static void dns_open(struct dns *dns, struct event_base *base, const char *ip, uint16_t port, uint8_t last_octet)
{
	int tries = 100; /* the port may be taken in TCP */

	memset(dns, 0, sizeof(*dns));
	while (!dns_bind(dns, ip, port))
		ck_assert_int_gt(--tries, 0);
	dns->base = base;
	dns->last_octet = last_octet;
	event_assign(&dns->udp_event, base, dns->udp, EV_READ | EV_PERSIST, on_udp, dns);
	event_assign(&dns->tcp_event, base, dns->tcp, EV_READ | EV_PERSIST, on_tcp, dns);
	event_add(&dns->udp_event, NULL);
	event_add(&dns->tcp_event, NULL);
}

static void dns_close(struct dns *dns)
{
	event_del(&dns->udp_event);
	event_del(&dns->tcp_event);
	close(dns->udp);
	close(dns->tcp);
}

/* ---- the resolver under test ---- */

struct bench {
	struct event_base *base;
	struct dns dns;
	struct resolver *resolver;
	int64_t now_us; /* the resolver's clock */
};

static int64_t bench_clock(void *arg)
{
	return ((struct bench *)arg)->now_us;
}

static struct resolver_options bench_options(struct bench *bench)
{
	return (struct resolver_options){
		.timeout_ms = 100, .tries = 2, .cache = true, .clock_us = bench_clock, .clock_arg = bench,
	};
}

static void bench_resolver(struct bench *bench, const char *const *servers, size_t count)
{
	struct resolver_options options = bench_options(bench);
	struct error err;

	options.servers = servers;
	options.server_count = count;
	bench->resolver = resolver_new(bench->base, &options, &err);
	ck_assert_msg(bench->resolver != NULL, "%s", err.text);
}

static void bench_base(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	bench->now_us = US_PER_S;
	bench->base = event_base_new();
	dns_open(&bench->dns, bench->base, "127.0.0.1", 0, 1);
}

static void bench_open(struct bench *bench)
{
	char server[32];

	bench_base(bench);
	snprintf(server, sizeof(server), "127.0.0.1:%u", bench->dns.port);
	bench_resolver(bench, (const char *const[]){ server }, 1);
}

static void bench_close(struct bench *bench)
{
	resolver_free(bench->resolver);
	dns_close(&bench->dns);
	event_base_free(bench->base);
}

/* What a lookup ended with, and what its callback is to do besides. */
struct heard {
	int calls;
	struct found found;
	struct address addresses[RESOLVER_ADDRESSES_MAX];
	char text[200];
	struct resolver **free_it;
	struct lookup **cancel_it;
	struct heard *start_it;
	const char *start_name;
	struct resolver *resolver;
};

static void on_found(const struct found *found, void *arg)
{
	struct heard *heard = arg;

	heard->calls++;
	heard->found = *found;
	ck_assert_uint_le(found->address_count, RESOLVER_ADDRESSES_MAX);
	memcpy(heard->addresses, found->addresses, found->address_count * sizeof(*found->addresses));
	snprintf(heard->text, sizeof(heard->text), "%s", found->text != NULL ? found->text : "");
	if (heard->cancel_it != NULL) {
		resolver_cancel(*heard->cancel_it);
		*heard->cancel_it = NULL;
	}
	if (heard->start_it != NULL)
		resolver_start(heard->resolver, heard->start_name, 5000, on_found, heard->start_it);
	if (heard->free_it != NULL) {
		resolver_free(*heard->free_it);
		*heard->free_it = NULL;
	}
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

static void ask_for(struct bench *bench, const char *name, int64_t timeout_ms, struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	ck_assert_ptr_nonnull(resolver_start(bench->resolver, name, timeout_ms, on_found, heard));
	ck_assert_int_eq(heard->calls, 0);
	wait_for(bench->base, &heard->calls, 1);
}

static void ask(struct bench *bench, const char *name, struct heard *heard)
{
	ask_for(bench, name, 10000, heard);
}

/* ---- the tests ---- */

static const struct {
	const char *name;
	enum lookup_status status;
	size_t addresses;
	const char *text;
} answers[] = {
	{ "ok.test", LOOKUP_OK, 1, "" },
	{ "OK.Test", LOOKUP_OK, 1, "" },
	{ "ok.test.", LOOKUP_OK, 1, "" },
	{ "ok", LOOKUP_OK, 1, "" },
	{ "both.test", LOOKUP_OK, 2, "" },
	{ "v6.test", LOOKUP_OK, 1, "" },
	{ "localhost", LOOKUP_OK, 0, "" },
	{ "nx.test", LOOKUP_NOT_FOUND, 0, "no such name (NXDOMAIN)" },
	{ "nodata.test", LOOKUP_NOT_FOUND, 0, "the name has no address" },
	{ "loop.test", LOOKUP_NOT_FOUND, 0, "the name has no address" },
	{ "servfail.test", LOOKUP_FAILED, 0, "server failure (SERVFAIL)" },
	{ "refused.test", LOOKUP_FAILED, 0, "refused by the server (REFUSED)" },
	{ "notimp.test", LOOKUP_FAILED, 0, "not implemented by the server (NOTIMP)" },
	{ "formerr.test", LOOKUP_FAILED, 0, "not understood by the server (FORMERR)" },
	{ "truncated.test", LOOKUP_FAILED, 0, "the server's answer is malformed" },
	{ "silent.test", LOOKUP_TIMEOUT, 0, "the DNS servers do not answer" },
	{ "garbage.test", LOOKUP_TIMEOUT, 0, "the DNS servers do not answer" },
	{ "halfgood.test", LOOKUP_OK, 1, "" },  /* A is there, AAAA fails */
	{ "badaaaa.test", LOOKUP_OK, 1, "" },   /* A is there, AAAA is malformed */
	{ "afails.test", LOOKUP_FAILED, 0, "server failure (SERVFAIL)" },    /* and AAAA says: no data */
	{ "aaaafails.test", LOOKUP_FAILED, 0, "server failure (SERVFAIL)" }, /* and A says: no data */
	{ "many.test", LOOKUP_OK, 16, "" },
	{ "twice.test", LOOKUP_OK, 2, "" },
	{ "", LOOKUP_FAILED, 0, "not a host name" },
	{ ".", LOOKUP_FAILED, 0, "not a host name" },
	{ "a b.test", LOOKUP_FAILED, 0, "not a host name" },
	{ "a..test", LOOKUP_FAILED, 0, "not a host name" },
};

START_TEST(names_what_came)
{
	struct bench bench;
	struct heard heard;

	bench_open(&bench);
	ask(&bench, answers[_i].name, &heard);
	ck_assert_msg(heard.found.status == answers[_i].status, "%s: status %d, %s", answers[_i].name,
		      heard.found.status, heard.text);
	ck_assert_str_eq(heard.text, answers[_i].text);
	ck_assert(!heard.found.cached);
	if (answers[_i].addresses > 0)
		ck_assert_uint_eq(heard.found.address_count, answers[_i].addresses);
	for (size_t i = 0; i < heard.found.address_count; i++)
		ck_assert_uint_eq(heard.addresses[i].port, 0);
	bench_close(&bench);
}
END_TEST

START_TEST(asks_tcp_when_truncated)
{
	struct bench bench;
	struct heard heard;

	bench_open(&bench);
	ask(&bench, "many.test", &heard);
	ck_assert_int_eq(bench.dns.tcp_queries, 1);
	ask(&bench, "big.test", &heard);
	ck_assert_int_eq(bench.dns.tcp_queries, 2);
	ck_assert_int_eq(heard.found.status, LOOKUP_OK);
	bench_close(&bench);
}
END_TEST

START_TEST(closed_port_is_refused)
{
	struct bench bench;
	struct heard heard;

	bench_open(&bench);
	event_del(&bench.dns.udp_event);
	event_del(&bench.dns.tcp_event);
	close(bench.dns.udp);
	close(bench.dns.tcp);
	ask(&bench, "ok.test", &heard);
	ck_assert_int_eq(heard.found.status, LOOKUP_FAILED);
	ck_assert_str_eq(heard.text, "no DNS server answers (connection refused or unreachable)");
	dns_open(&bench.dns, bench.base, "127.0.0.1", bench.dns.port, 1);
	ask(&bench, "ok.test", &heard);
	ck_assert_int_eq(heard.found.status, LOOKUP_OK);
	bench_close(&bench);
}
END_TEST

START_TEST(own_deadline_holds)
{
	struct bench bench;
	struct heard heard;
	struct resolver_options options;
	struct error err;
	char server[32];
	const char *servers[] = { server };

	bench_base(&bench);
	options = bench_options(&bench);
	options.timeout_ms = 3600000;
	options.servers = servers;
	options.server_count = 1;
	snprintf(server, sizeof(server), "127.0.0.1:%u", bench.dns.port);
	bench.resolver = resolver_new(bench.base, &options, &err);
	ask_for(&bench, "silent.test", 20, &heard);
	ck_assert_int_eq(heard.found.status, LOOKUP_TIMEOUT);
	ck_assert_str_eq(heard.text, "no answer from DNS in time");
	/* The question is still out; a new lookup asks anew. */
	ck_assert_int_eq(bench.dns.queries, 2);
	bench.dns.only = "ok";
	ask(&bench, "silent.test", &heard);
	ck_assert_int_eq(heard.found.status, LOOKUP_OK);
	ck_assert_int_eq(bench.dns.queries, 4);
	bench_close(&bench);
}
END_TEST

static const struct {
	const char *name;
	int64_t kept_s;
} ttls[] = {
	{ "ok.test", 60 }, { "ttl0.test", 1 }, { "ttlhuge.test", 3600 }, { "ttlnegative.test", 1 },
	{ "nx.test", 5 }, { "nodata.test", 5 },
};

START_TEST(cache_hears_ttl)
{
	struct bench bench;
	struct heard first;
	struct heard heard;
	int queries;

	bench_open(&bench);
	ask(&bench, ttls[_i].name, &first);
	queries = bench.dns.queries;
	ck_assert_int_ge(queries, 2);
	bench.now_us += ttls[_i].kept_s * US_PER_S - 1;
	ask(&bench, ttls[_i].name, &heard);
	ck_assert(heard.found.cached);
	ck_assert_int_eq(heard.found.status, first.found.status);
	ck_assert_uint_eq(heard.found.address_count, first.found.address_count);
	ck_assert_str_eq(heard.text, first.text);
	ck_assert_int_eq(bench.dns.queries, queries);
	bench.now_us += 1;
	ask(&bench, ttls[_i].name, &heard);
	ck_assert(!heard.found.cached);
	ck_assert_int_eq(bench.dns.queries, 2 * queries);
	bench_close(&bench);
}
END_TEST

START_TEST(failures_are_not_kept)
{
	static const char *const names[] = { "servfail.test", "refused.test", "truncated.test" };
	struct bench bench;
	struct heard heard;

	bench_open(&bench);
	for (size_t i = 0; i < 3; i++) {
		ask(&bench, names[i], &heard);
		bench.dns.only = "ok";
		ask(&bench, names[i], &heard);
		ck_assert_int_eq(heard.found.status, LOOKUP_OK);
		bench.dns.only = NULL;
	}
	bench_close(&bench);
}
END_TEST

START_TEST(without_cache_asks_each_time)
{
	struct bench bench;
	struct heard heard;
	struct resolver_options options;
	struct error err;
	char server[32];
	const char *servers[] = { server };

	bench_base(&bench);
	options = bench_options(&bench);
	options.cache = false;
	options.servers = servers;
	options.server_count = 1;
	snprintf(server, sizeof(server), "127.0.0.1:%u", bench.dns.port);
	bench.resolver = resolver_new(bench.base, &options, &err);
	for (int i = 1; i <= 3; i++) {
		ask(&bench, "ok.test", &heard);
		ck_assert(!heard.found.cached);
		ck_assert_int_eq(bench.dns.queries, 2 * i);
	}
	bench_close(&bench);
}
END_TEST

START_TEST(waiting_lookups_share)
{
	struct heard heard[50];
	struct lookup *cancelled;
	struct bench bench;

	bench_open(&bench);
	memset(heard, 0, sizeof(heard));
	for (int i = 0; i < 50; i++)
		resolver_start(bench.resolver, i % 2 == 0 ? "ok.test" : "OK.test.", 10000, on_found, &heard[i]);
	cancelled = resolver_start(bench.resolver, "ok.test", 10000, on_found, NULL);
	resolver_cancel(cancelled);
	for (int i = 0; i < 50; i++) {
		wait_for(bench.base, &heard[i].calls, 1);
		ck_assert_int_eq(heard[i].found.status, LOOKUP_OK);
		ck_assert(!heard[i].found.cached);
	}
	ck_assert_int_eq(bench.dns.queries, 2);
	bench_close(&bench);
}
END_TEST

START_TEST(next_server_after_failure)
{
	static const char *const bad[] = { "servfail", "refused", "notimp", "formerr", "silent", NULL };
	char first[32];
	char second[32];
	struct bench bench;
	struct heard heard;
	struct dns other;

	bench_base(&bench);
	dns_open(&other, bench.base, "127.0.0.1", 0, 2);
	snprintf(first, sizeof(first), "127.0.0.1:%u", bench.dns.port);
	snprintf(second, sizeof(second), "127.0.0.1:%u", other.port);
	bench_resolver(&bench, (const char *const[]){ first, second }, 2);
	bench.dns.only = bad[_i];
	ask(&bench, "ok.test", &heard);
	ck_assert_int_eq(heard.found.status, LOOKUP_OK);
	ck_assert_int_eq(heard.addresses[0].bytes[3], bad[_i] != NULL ? 2 : 1);
	/* Both bad: said by the last. */
	bench.now_us += 3600 * US_PER_S;
	bench.dns.only = "refused";
	other.only = "servfail";
	ask(&bench, "ok.test", &heard);
	ck_assert_str_eq(heard.text, "server failure (SERVFAIL)");
	dns_close(&other);
	bench_close(&bench);
}
END_TEST

START_TEST(callbacks_may_do_anything)
{
	struct bench bench;
	struct heard a = { 0 };
	struct heard b = { 0 };
	struct heard c = { 0 };
	struct lookup *second;

	bench_open(&bench);
	/* a and b end in the same round; a cancels b and starts c. */
	a.resolver = bench.resolver;
	a.cancel_it = &second;
	a.start_it = &c;
	a.start_name = "both.test";
	resolver_start(bench.resolver, "ok.test", 10000, on_found, &a);
	second = resolver_start(bench.resolver, "ok.test", 10000, on_found, &b);
	wait_for(bench.base, &c.calls, 1);
	ck_assert_int_eq(a.calls, 1);
	ck_assert_int_eq(b.calls, 0);
	ck_assert_int_eq(c.found.status, LOOKUP_OK);
	/* From the cache, with one that cancels itself being pending. */
	memset(&b, 0, sizeof(b));
	second = resolver_start(bench.resolver, "ok.test", 10000, on_found, &b);
	resolver_cancel(second);
	event_base_loop(bench.base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(b.calls, 0);
	bench_close(&bench);
}
END_TEST

START_TEST(free_at_any_time)
{
	struct bench bench;
	struct heard a = { 0 };
	struct heard b = { 0 };

	/* With questions out, answers come and lookups waiting. */
	bench_open(&bench);
	ask(&bench, "ok.test", &a);
	resolver_start(bench.resolver, "ok.test", 10000, on_found, &b);
	resolver_start(bench.resolver, "silent.test", 10000, on_found, &b);
	resolver_start(bench.resolver, "many.test", 10000, on_found, &b);
	resolver_start(bench.resolver, "", 10000, on_found, &b);
	resolver_cancel(resolver_start(bench.resolver, "both.test", 10000, on_found, &b));
	bench_close(&bench);
	/* From a callback, with another one due in the same round. */
	bench_open(&bench);
	memset(&a, 0, sizeof(a));
	a.free_it = &bench.resolver;
	resolver_start(bench.resolver, "ok.test", 10000, on_found, &a);
	resolver_start(bench.resolver, "ok.test", 10000, on_found, &b);
	resolver_start(bench.resolver, "silent.test", 10000, on_found, &b);
	wait_for(bench.base, &a.calls, 1);
	event_base_loop(bench.base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(b.calls, 0);
	bench_close(&bench);
	/* From a lookup's own deadline. */
	bench_open(&bench);
	memset(&a, 0, sizeof(a));
	a.free_it = &bench.resolver;
	resolver_start(bench.resolver, "silent.test", 10, on_found, &a);
	wait_for(bench.base, &a.calls, 1);
	bench_close(&bench);
}
END_TEST

static void write_conf(const char *path, const char *text)
{
	char *fresh = mem_printf("%s.new", path);
	FILE *file = fopen(fresh, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	ck_assert_int_eq(rename(fresh, path), 0);
	free(fresh);
}

START_TEST(follows_resolv_conf)
{
	char dir[] = "/tmp/check_resolver.XXXXXX";
	struct resolver_options options;
	struct heard waiting = { 0 };
	struct heard late = { 0 };
	struct heard heard;
	struct bench bench;
	struct error err;
	struct dns other;
	char *path;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	path = mem_printf("%s/resolv.conf", dir);
	bench_base(&bench);
	dns_open(&other, bench.base, "127.0.0.2", bench.dns.port, 2);
	write_conf(path, "search example.invalid\nnameserver 127.0.0.1\noptions rotate ndots:3\n");
	options = bench_options(&bench);
	options.resolv_conf = path;
	options.port = bench.dns.port;
	options.timeout_ms = 3600000;
	bench.resolver = resolver_new(bench.base, &options, &err);
	ask(&bench, "ok.test", &heard);
	ck_assert_int_eq(heard.addresses[0].bytes[3], 1);
	ask(&bench, "nx", &heard);
	ck_assert_int_eq(bench.dns.queries, 4); /* no search */

	/* In flight at the old server, which stays silent; the new one is asked the same. */
	bench.dns.only = "silent";
	resolver_start(bench.resolver, "both.test", 10000, on_found, &waiting);
	write_conf(path, "nameserver 127.0.0.2\n");
	bench.now_us += US_PER_S - 1;
	ask(&bench, "ok.test", &heard);
	ck_assert(heard.found.cached); /* not looked at yet */
	bench.now_us += 1;
	ask(&bench, "ok.test", &heard);
	ck_assert(!heard.found.cached);
	ck_assert_int_eq(heard.addresses[0].bytes[3], 2);
	wait_for(bench.base, &waiting.calls, 1);
	ck_assert_int_eq(waiting.found.status, LOOKUP_OK);

	/* Gone: the old servers stay. And what changed is noticed from within a callback too. */
	unlink(path);
	bench.now_us += 61 * US_PER_S;
	ask(&bench, "ok.test", &heard);
	ck_assert_int_eq(heard.addresses[0].bytes[3], 2);
	bench.dns.only = NULL;
	write_conf(path, "nameserver 127.0.0.1\n");
	bench.now_us += US_PER_S;
	memset(&waiting, 0, sizeof(waiting));
	waiting.resolver = bench.resolver;
	waiting.start_it = &late;
	waiting.start_name = "v6.test";
	resolver_start(bench.resolver, "ok.test", 10000, on_found, &waiting);
	wait_for(bench.base, &late.calls, 1);
	ck_assert_int_eq(late.found.status, LOOKUP_OK);
	unlink(path);
	rmdir(dir);
	free(path);
	dns_close(&other);
	bench_close(&bench);
}
END_TEST

/* More names than c-ares is given at once: all end, none is lost. */
START_TEST(many_names_at_once)
{
	enum { NAMES = 10000 };
	struct heard *heard = mem_array(NAMES, sizeof(*heard));
	struct bench bench;
	char name[32];
	int good = 0;

	bench_open(&bench);
	bench.dns.only = "ok";
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		resolver_start(bench.resolver, name, 15000, on_found, &heard[i]);
		if (i % 64 == 0) /* the server's socket buffer is not endless */
			event_base_loop(bench.base, EVLOOP_NONBLOCK);
	}
	for (int i = 0; i < NAMES; i++)
		wait_for(bench.base, &heard[i].calls, 1);
	for (int i = 0; i < NAMES; i++)
		good += heard[i].found.status == LOOKUP_OK;
	ck_assert_int_gt(good, NAMES / 2);
	bench.dns.only = "silent";
	memset(heard, 0, NAMES * sizeof(*heard));
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "m%d.test", i);
		resolver_start(bench.resolver, name, 1500, on_found, &heard[i]);
	}
	for (int i = 0; i < NAMES; i++) {
		wait_for(bench.base, &heard[i].calls, 1);
		ck_assert_int_eq(heard[i].found.status, LOOKUP_TIMEOUT);
	}
	bench_close(&bench);
	free(heard);
}
END_TEST

START_TEST(bad_servers_are_errors)
{
	static const char *const bad[] = { "ns.example.com", "ns.example.com:53", "127.0.0.1:0", "", "[::1" };
	struct event_base *base = event_base_new();
	struct resolver_options options = { .servers = &bad[_i], .server_count = 1 };
	struct error err;

	ck_assert_ptr_null(resolver_new(base, &options, &err));
	ck_assert(strchr(err.text, '"') != NULL);
	event_base_free(base);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resolver");
	TCase *tcase = tcase_create("resolver");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, names_what_came, 0, sizeof(answers) / sizeof(answers[0]));
	tcase_add_test(tcase, asks_tcp_when_truncated);
	tcase_add_test(tcase, closed_port_is_refused);
	tcase_add_test(tcase, own_deadline_holds);
	tcase_add_loop_test(tcase, cache_hears_ttl, 0, sizeof(ttls) / sizeof(ttls[0]));
	tcase_add_test(tcase, failures_are_not_kept);
	tcase_add_test(tcase, without_cache_asks_each_time);
	tcase_add_test(tcase, waiting_lookups_share);
	tcase_add_loop_test(tcase, next_server_after_failure, 0, 6);
	tcase_add_test(tcase, callbacks_may_do_anything);
	tcase_add_test(tcase, free_at_any_time);
	tcase_add_test(tcase, follows_resolv_conf);
	tcase_add_test(tcase, many_names_at_once);
	tcase_add_loop_test(tcase, bad_servers_are_errors, 0, 5);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
