/* SPDX-License-Identifier: MIT */
/* The inquirer against an authority's web server on the same loop, at times that the test says. */
#include "daemon/inquirer.h"

#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/list.h"
#include "lib/io/http_client.h"
#include "lib/io/resolver.h"
#include "lib/io/tls_revocation.h"
#include "tests/make_revocation.h"
#include "tests/tls_world.h"

enum { PAGES = 3, HOUR_S = 3600, KEEP_MS = 24 * HOUR_S * 1000 };

static struct now fake_now;
static uint16_t fake_port;   /* for the certificate's URLs, which its maker has no argument for */
static const char *fake_host;

static struct now now(void)
{
	return fake_now;
}

static void pass_s(int64_t s)
{
	fake_now.mono_us += s * US_PER_S;
	fake_now.unix_us += s * US_PER_S;
}

/* ---- the authority ---- */

struct page {
	const char *path;
	int status;
	uint8_t *body;
	size_t bytes;
	bool stalls;         /* does not answer */
	int requests;
};

struct authority {
	struct event_base *base;
	struct evconnlistener *listener;
	struct page pages[PAGES];
	struct list sides;   /* connections */
	int connections;
	struct str heard;    /* the last request */
};

struct side {
	struct list node;
	struct bufferevent *bev;
	struct authority *authority;
	struct str heard;
};

static void side_free(struct side *side)
{
	list_remove(&side->node);
	bufferevent_free(side->bev);
	str_done(&side->heard);
	free(side);
}

static void on_side_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	side_free(arg);
}

static bool is_whole(const struct str *heard)
{
	const char *head_end = heard->bytes > 0 ? strstr(heard->data, "\r\n\r\n") : NULL;
	const char *length = heard->bytes > 0 ? strcasestr(heard->data, "\r\nContent-Length:") : NULL;

	if (head_end == NULL)
		return false;
	return heard->bytes >= (size_t)(head_end + 4 - heard->data) +
				       (length != NULL ? (size_t)atoi(length + strlen("\r\nContent-Length:")) : 0);
}

static void on_side(struct bufferevent *bev, void *arg)
{
	struct side *side = arg;
	struct authority *authority = side->authority;
	char chunk[4096];
	size_t got;

	while ((got = bufferevent_read(bev, chunk, sizeof(chunk))) > 0)
		str_add_bytes(&side->heard, chunk, got);
	if (!is_whole(&side->heard))
		return;
	str_done(&authority->heard);
	authority->heard = side->heard;
	side->heard = (struct str){ 0 };
	for (size_t i = 0; i < PAGES; i++) {
		struct page *page = &authority->pages[i];
		AUTO(string) char *line = page->path != NULL ? mem_printf(" %s HTTP/1.1\r\n", page->path) : NULL;

		if (line == NULL || strstr(authority->heard.data, line) == NULL)
			continue;
		page->requests++;
		if (page->stalls)
			return;
		AUTO(string) char *head = mem_printf("HTTP/1.1 %d x\r\nLocation: http://127.0.0.1:1/\r\n"
						     "Content-Length: %zu\r\n\r\n", page->status, page->bytes);

		bufferevent_write(bev, head, strlen(head));
		bufferevent_write(bev, page->body, page->bytes);
	}
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int from_bytes,
		      void *arg)
{
	struct authority *authority = arg;
	struct side *side = mem_new(struct side);
	struct bufferevent *bev = bufferevent_socket_new(authority->base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)listener;
	(void)from;
	(void)from_bytes;
	authority->connections++;
	side->authority = authority;
	side->bev = bev;
	list_push(&authority->sides, &side->node);
	bufferevent_setcb(bev, on_side, NULL, on_side_event, side);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void authority_open(struct authority *authority, struct event_base *base)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(sin);

	*authority = (struct authority){ .base = base };
	list_init(&authority->sides);
	authority->listener = evconnlistener_new_bind(base, on_accept, authority,
						      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 16,
						      (struct sockaddr *)&sin, sizeof(sin));
	ck_assert_ptr_nonnull(authority->listener);
	getsockname(evconnlistener_get_fd(authority->listener), (struct sockaddr *)&sin, &bytes);
	fake_port = ntohs(sin.sin_port);
	authority->pages[0] = (struct page){ .path = "/one.crl", .status = 404 };
	authority->pages[1] = (struct page){ .path = "/two.crl", .status = 404 };
	authority->pages[2] = (struct page){ .path = "/ocsp", .status = 404 };
}

static void page_set(struct page *page, int status, const void *body, size_t bytes)
{
	free(page->body);
	page->status = status;
	page->body = mem_alloc(bytes + 1);
	page->bytes = bytes;
	if (bytes > 0)
		memcpy(page->body, body, bytes);
}

/* ---- the scene ---- */

struct scene {
	struct world world;
	struct made leaf;
	struct tls_facts *facts;
	struct event_base *base;
	struct http_client *http;
	struct resolver *resolver;
	struct authority authority;
	struct inquirer *inquirer;
	struct str text;
};

static void add_urls(X509 *x509)
{
	AUTO(string) char *lists = mem_printf("URI:http://%s:%u/one.crl,URI:http://%s:%u/two.crl", fake_host,
					      fake_port, fake_host, fake_port);
	AUTO(string) char *responder = mem_printf("OCSP;URI:http://%s:%u/ocsp", fake_host, fake_port);

	made_add_extension(x509, NID_crl_distribution_points, lists);
	made_add_extension(x509, NID_info_access, responder);
}

static struct tls_facts *facts_of(struct world *world, const struct made *leaf)
{
	static const struct tls_wish wish = { .server_name = "shop.example.com",
					      .verify = VERIFY_FULL,
					      .inquiry = true };
	__attribute__((cleanup(peer_auto))) struct peer peer = { 0 };
	const struct made *between = &world->between;
	struct tls_session *session;
	struct tls_facts *facts;

	peer_init(&peer, leaf, &between, 1);
	peer_listen(&peer);
	session = session_open(world->context, peer.near, &wish);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	facts = tls_session_facts(session);
	tls_session_free(session);
	ck_assert_ptr_nonnull(facts->inquiry);
	return facts;
}

static struct resolver *resolver_make(struct event_base *base)
{
	static const char *const nowhere[] = { "127.0.0.1:1" };
	struct error err;
	struct resolver *resolver = resolver_new(base,
						 &(struct resolver_options){ .servers = nowhere, .server_count = 1,
									     .timeout_ms = 500, .tries = 1 },
						 &err);

	ck_assert_ptr_nonnull(resolver);
	return resolver;
}

static void scene_init_at(struct scene *scene, const char *host)
{
	struct error err;

	signal(SIGPIPE, SIG_IGN);
	fake_now = (struct now){ .mono_us = 1000 * US_PER_S, .unix_us = noon * US_PER_S };
	fake_host = host;
	world_init(&scene->world);
	scene->base = event_base_new();
	scene->http = http_client_new(scene->base, &err);
	scene->resolver = resolver_make(scene->base);
	authority_open(&scene->authority, scene->base);
	scene->leaf = make_cert(&(struct cert_plan){ .cn = "leaf",
						     .issuer = &scene->world.between,
						     .sans = "DNS:shop.example.com",
						     .not_before_unix_s = noon - 10 * day,
						     .not_after_unix_s = noon + 80 * day,
						     .finish = add_urls });
	scene->facts = facts_of(&scene->world, &scene->leaf);
	scene->inquirer = inquirer_new(&(struct inquirer_options){ .base = scene->base, .http = scene->http,
								   .resolver = scene->resolver, .now = now },
				       &err);
	ck_assert_ptr_nonnull(scene->inquirer);
}

static void scene_init(struct scene *scene)
{
	scene_init_at(scene, "127.0.0.1");
}

static void scene_auto(struct scene *scene)
{
	struct side *side;

	inquirer_free(scene->inquirer);
	http_client_free(scene->http);
	resolver_free(scene->resolver);
	list_each(side, &scene->authority.sides, struct side, node)
		side_free(side);
	if (scene->authority.listener != NULL)
		evconnlistener_free(scene->authority.listener);
	for (size_t i = 0; i < PAGES; i++)
		free(scene->authority.pages[i].body);
	str_done(&scene->authority.heard);
	event_base_free(scene->base);
	tls_facts_free(scene->facts);
	made_done(&scene->leaf);
	str_done(&scene->text);
	world_auto(&scene->world);
}

/* A list from from_s to until_s, from noon on. */
static void serve_list(struct scene *scene, struct page *page, const struct made *signer, bool revoked,
		       int64_t from_s, int64_t until_s)
{
	X509_CRL *crl = crl_begin(&scene->world.between, noon + from_s, noon + until_s);
	uint8_t *der;
	int bytes;

	if (revoked)
		crl_add(crl, X509_get0_serialNumber(scene->leaf.x509), noon + from_s, CRL_REASON_KEY_COMPROMISE,
			false);
	bytes = crl_end(crl, signer, &der);
	page_set(page, 200, der, (size_t)bytes);
	OPENSSL_free(der);
}

static void serve_response(struct scene *scene, int status, int64_t from_s, int64_t until_s)
{
	uint8_t *der;
	const int bytes = ocsp_make(&scene->leaf, &scene->world.between, &scene->world.between, status,
				    noon + from_s, until_s != 0 ? noon + until_s : 0, &der);

	page_set(&scene->authority.pages[2], 200, der, (size_t)bytes);
	OPENSSL_free(der);
}

/* "": nobody has answered; else the reason. The text is in scene->text. */
static const char *judge(struct scene *scene, enum revocation how, bool private_too)
{
	enum reason reason;

	str_clear(&scene->text);
	if (!inquirer_judge(scene->inquirer, scene->facts->inquiry, how, private_too, KEEP_MS, &reason,
			    &scene->text))
		return "";
	ck_assert_uint_gt(scene->text.bytes, 0);
	return reason_name(reason);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Until there is news. */
static void wait_for_news(struct scene *scene)
{
	struct timeval limit = { .tv_sec = 20 };
	struct event *timer;
	bool late = false;

	timer = event_new(scene->base, -1, 0, on_late, &late);
	event_add(timer, &limit);
	while (!inquirer_tick(scene->inquirer)) {
		ck_assert_msg(!late, "no news within 20 s");
		event_base_loop(scene->base, EVLOOP_ONCE);
	}
	event_free(timer);
}

/* What is ready now, and no more. */
static void run_idle(struct scene *scene)
{
	for (int i = 0; i < 20; i++) {
		inquirer_tick(scene->inquirer);
		event_base_loop(scene->base, EVLOOP_NONBLOCK);
	}
}

#define SCENE __attribute__((cleanup(scene_auto))) struct scene scene = { 0 }

/* ---- lists ---- */

START_TEST(good_then_revoked)
{
	SCENE;
	struct page *page = &scene.authority.pages[0];

	scene_init(&scene);
	serve_list(&scene, page, &scene.world.between, false, -60, 4 * HOUR_S);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	ck_assert_str_eq(scene.text.data, "good until 2026-11-23T16:00:00Z");
	ck_assert_ptr_nonnull(strstr(scene.authority.heard.data, "GET /one.crl HTTP/1.1\r\n"));
	/* It is kept until three quarters of its time are over. */
	serve_list(&scene, page, &scene.world.between, true, HOUR_S, 8 * HOUR_S);
	pass_s(3 * HOUR_S - 1);
	for (int i = 0; i < 100; i++)
		ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	run_idle(&scene);
	ck_assert_int_eq(page->requests, 1);
	pass_s(1);
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 2);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revoked");
	ck_assert_str_eq(scene.text.data, "revoked on 2026-11-23T13:00:00Z (keyCompromise)");
	ck_assert_int_eq(scene.authority.pages[1].requests, 0);
}
END_TEST

/* Also a list that holds for weeks is looked at again after a day. */
START_TEST(a_day_at_most)
{
	SCENE;
	struct page *page = &scene.authority.pages[0];

	scene_init(&scene);
	serve_list(&scene, page, &scene.world.between, false, -60, 30 * 24 * HOUR_S);
	judge(&scene, REVOCATION_CRL, true);
	wait_for_news(&scene);
	pass_s(24 * HOUR_S - 1);
	judge(&scene, REVOCATION_CRL, true);
	run_idle(&scene);
	ck_assert_int_eq(page->requests, 1);
	pass_s(1);
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 2);
}
END_TEST

START_TEST(gone_and_too_old)
{
	SCENE;
	struct page *page = &scene.authority.pages[0];

	scene_init(&scene);
	serve_list(&scene, page, &scene.world.between, false, -60, 2 * HOUR_S);
	judge(&scene, REVOCATION_CRL, true);
	wait_for_news(&scene);
	evconnlistener_free(TAKE(scene.authority.listener));
	pass_s(HOUR_S * 3 / 2);
	wait_for_news(&scene);
	/* What is known holds although nobody answers. */
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	run_idle(&scene);
	pass_s(HOUR_S / 2 + REVOCATION_SLACK_S);
	ck_assert(!inquirer_tick(scene.inquirer));
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	pass_s(1);
	ck_assert(inquirer_tick(scene.inquirer));
	ck_assert(!inquirer_tick(scene.inquirer));
	/* Now the second is asked too, as far as an hour lets it. */
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data,
			 "the list is too old: it held until 2026-11-23T14:00:00Z; since then 127.0.0.1: "
			 "connect: Connection refused");
}
END_TEST

START_TEST(once_an_hour_and_back)
{
	SCENE;
	struct page *first = &scene.authority.pages[0];
	struct page *second = &scene.authority.pages[1];

	scene_init(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), ""); /* the second is asked */
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data, "127.0.0.1: answered 404");
	serve_list(&scene, first, &scene.world.stranger, false, -60, 9 * HOUR_S);
	serve_list(&scene, second, &scene.world.between, false, -60, 9 * HOUR_S);
	pass_s(HOUR_S - 1);
	judge(&scene, REVOCATION_CRL, true);
	run_idle(&scene);
	ck_assert_int_eq(first->requests, 1);
	ck_assert_int_eq(second->requests, 1);
	pass_s(1);
	while (strcmp(judge(&scene, REVOCATION_CRL, true), "ok") != 0)
		wait_for_news(&scene);
	ck_assert_int_eq(first->requests, 2);
	ck_assert_int_eq(second->requests, 2);
}
END_TEST

/* Somebody on the way cannot bring back a list from before. */
START_TEST(older_list_is_not_taken)
{
	SCENE;
	struct page *page = &scene.authority.pages[0];

	scene_init(&scene);
	serve_list(&scene, page, &scene.world.between, true, -60, 9 * HOUR_S);
	judge(&scene, REVOCATION_CRL, true);
	wait_for_news(&scene);
	serve_list(&scene, page, &scene.world.between, false, -120, 99 * HOUR_S);
	pass_s(8 * HOUR_S);
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 2);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revoked");
	serve_list(&scene, page, &scene.world.between, false, 60, 99 * HOUR_S);
	pass_s(HOUR_S);
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
}
END_TEST

static const struct {
	const char *says;
	int status;
	const char *body;
	size_t bytes;
	const char *text;
} wrong_rows[] = {
	{ "not there", 404, "", 0, "127.0.0.1: answered 404" },
	{ "elsewhere", 302, "", 0, "127.0.0.1: answered 302" },
	{ "empty", 200, "", 0, "127.0.0.1: answered 200 and nothing else" },
	{ "a page", 200, "<html>sorry</html>", 18, "what came is no list (CRL)" },
	{ "too much", 200, NULL, CRL_BYTES_MAX + 1, "127.0.0.1: answered 200, with more than 20971520 bytes" },
};

START_TEST(wrong_list)
{
	SCENE;
	AUTO(string) char *large = NULL;

	scene_init(&scene);
	if (wrong_rows[_i].body == NULL)
		large = mem_alloc(wrong_rows[_i].bytes);
	page_set(&scene.authority.pages[0], wrong_rows[_i].status, large != NULL ? large : wrong_rows[_i].body,
		 wrong_rows[_i].bytes);
	while (strcmp(judge(&scene, REVOCATION_CRL, true), "") == 0)
		wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data, wrong_rows[_i].text);
	ck_assert_int_eq(scene.authority.pages[0].requests, 1);
}
END_TEST

START_TEST(private_address)
{
	SCENE;

	scene_init(&scene);
	serve_list(&scene, &scene.authority.pages[0], &scene.world.between, false, -60, 9 * HOUR_S);
	while (strcmp(judge(&scene, REVOCATION_CRL, false), "") == 0)
		wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, false), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data,
			 "127.0.0.1: private, loopback and link-local addresses are not connected to "
			 "(certificate.revocation_private)");
	ck_assert_int_eq(scene.authority.connections, 0);
	/* Another target's permission is not this one's. */
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, false), "cert_revocation_unknown");
}
END_TEST

START_TEST(name_is_looked_up)
{
	SCENE;
	struct resolver *before;

	scene_init_at(&scene, "localhost");
	serve_list(&scene, &scene.authority.pages[0], &scene.world.between, false, -60, 9 * HOUR_S);
	judge(&scene, REVOCATION_CRL, true);
	before = scene.resolver;
	scene.resolver = resolver_make(scene.base);
	inquirer_set_resolver(scene.inquirer, scene.resolver);
	resolver_free(before);
	while (strcmp(judge(&scene, REVOCATION_CRL, true), "") == 0)
		wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "ok");
	while (strcmp(judge(&scene, REVOCATION_CRL, false), "") == 0)
		wait_for_news(&scene);
	ck_assert_ptr_nonnull(strstr(scene.text.data, "localhost: private"));
}
END_TEST

START_TEST(name_that_is_none)
{
	SCENE;

	scene_init_at(&scene, "nobody.invalid");
	while (strcmp(judge(&scene, REVOCATION_CRL, true), "") == 0)
		wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "cert_revocation_unknown");
	ck_assert(str_starts(scene.text.data, "nobody.invalid: "));
}
END_TEST

/* Nobody asks any more: it is not fetched again. */
START_TEST(forgotten)
{
	SCENE;
	struct page *page = &scene.authority.pages[0];

	scene_init(&scene);
	serve_list(&scene, page, &scene.world.between, false, -60, 2 * HOUR_S);
	judge(&scene, REVOCATION_CRL, true);
	wait_for_news(&scene);
	pass_s(KEEP_MS / 1000 + 1);
	run_idle(&scene);
	ck_assert_int_eq(page->requests, 1);
	ck_assert_str_eq(judge(&scene, REVOCATION_CRL, true), "");
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 2);
}
END_TEST

/* ---- OCSP ---- */

START_TEST(ocsp_good_then_revoked)
{
	SCENE;
	struct page *page = &scene.authority.pages[2];

	scene_init(&scene);
	serve_response(&scene, V_OCSP_CERTSTATUS_GOOD, -60, 4 * HOUR_S);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "");
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "ok");
	ck_assert_str_eq(scene.text.data, "good until 2026-11-23T16:00:00Z");
	ck_assert_ptr_nonnull(strstr(scene.authority.heard.data, "POST /ocsp HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(
		strstr(scene.authority.heard.data, "\r\nContent-Type: application/ocsp-request\r\n"));
	const struct inquiry *inquiry = scene.facts->inquiry;

	ck_assert_mem_eq(scene.authority.heard.data + scene.authority.heard.bytes - inquiry->ocsp_request_bytes,
			 inquiry->ocsp_request, inquiry->ocsp_request_bytes);
	serve_response(&scene, V_OCSP_CERTSTATUS_REVOKED, HOUR_S, 9 * HOUR_S);
	pass_s(3 * HOUR_S);
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 2);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "cert_revoked");
	ck_assert_str_eq(scene.text.data, "revoked on 2026-11-23T13:00:00Z (superseded)");
	/* However old, and whatever is said that nobody signed or that is from before. */
	serve_response(&scene, V_OCSP_CERTSTATUS_GOOD, -60, 99 * HOUR_S);
	pass_s(30 * HOUR_S);
	judge(&scene, REVOCATION_OCSP, true);
	wait_for_news(&scene); /* it is too old */
	wait_for_news(&scene);
	ck_assert_int_eq(page->requests, 3);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "cert_revoked");
}
END_TEST

START_TEST(ocsp_gone_and_too_old)
{
	SCENE;

	scene_init(&scene);
	serve_response(&scene, V_OCSP_CERTSTATUS_GOOD, -60, 2 * HOUR_S);
	judge(&scene, REVOCATION_OCSP, true);
	wait_for_news(&scene);
	page_set(&scene.authority.pages[2], 200, "0\003\012\001\003", 5);
	pass_s(2 * HOUR_S);
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "ok");
	run_idle(&scene);
	pass_s(REVOCATION_SLACK_S + 1);
	ck_assert(inquirer_tick(scene.inquirer));
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data,
			 "the OCSP response is too old: it held until 2026-11-23T14:00:00Z; since then the "
			 "OCSP response is an error: trylater");
}
END_TEST

/* One that says no end holds for two hours and is asked for again each hour. */
START_TEST(ocsp_without_an_end)
{
	SCENE;

	scene_init(&scene);
	serve_response(&scene, V_OCSP_CERTSTATUS_GOOD, 0, 0);
	judge(&scene, REVOCATION_OCSP, true);
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "ok");
	serve_response(&scene, V_OCSP_CERTSTATUS_GOOD, 2 * HOUR_S, 0);
	pass_s(3 * HOUR_S / 2);
	wait_for_news(&scene);
	ck_assert_int_eq(scene.authority.pages[2].requests, 2);
}
END_TEST

START_TEST(ocsp_too_large)
{
	SCENE;
	AUTO(string) char *large = mem_alloc(OCSP_BYTES_MAX + 1);

	scene_init(&scene);
	page_set(&scene.authority.pages[2], 200, large, OCSP_BYTES_MAX + 1);
	judge(&scene, REVOCATION_OCSP, true);
	wait_for_news(&scene);
	ck_assert_str_eq(judge(&scene, REVOCATION_OCSP, true), "cert_revocation_unknown");
	ck_assert_str_eq(scene.text.data, "127.0.0.1: answered 200, with more than 65536 bytes");
}
END_TEST

/* ---- what cannot be asked, and ends ---- */

START_TEST(nothing_to_ask)
{
	SCENE;
	struct inquiry inquiry = { 0 };
	enum reason reason;

	scene_init(&scene);
	ck_assert(inquirer_judge(scene.inquirer, &inquiry, REVOCATION_CRL, true, 1, &reason, &scene.text));
	ck_assert_int_eq(reason, REASON_CERT_REVOCATION_UNKNOWN);
	ck_assert_str_eq(scene.text.data, "the certificate names no list (CRL distribution point)");
	str_clear(&scene.text);
	inquiry.crl_other_count = 1;
	ck_assert(inquirer_judge(scene.inquirer, &inquiry, REVOCATION_CRL, true, 1, &reason, &scene.text));
	ck_assert_str_eq(scene.text.data,
			 "the certificate names no list (CRL) that can be fetched: http only, whole and of "
			 "its issuer");
	str_clear(&scene.text);
	ck_assert(inquirer_judge(scene.inquirer, &inquiry, REVOCATION_OCSP, true, 1, &reason, &scene.text));
	ck_assert_str_eq(scene.text.data, "the certificate names no OCSP responder (over http)");
	str_clear(&scene.text);
	inquiry.trouble = "no";
	ck_assert(inquirer_judge(scene.inquirer, &inquiry, REVOCATION_OCSP, true, 1, &reason, &scene.text));
	ck_assert_str_eq(scene.text.data, "no");
	ck_assert_int_eq(scene.authority.connections, 0);
}
END_TEST

/* A list is on its way, one is being read, one waits: all may end. */
START_TEST(ends_in_the_middle)
{
	SCENE;

	scene_init(&scene);
	scene.authority.pages[2].stalls = true;
	serve_list(&scene, &scene.authority.pages[0], &scene.world.between, false, -60, 9 * HOUR_S);
	judge(&scene, REVOCATION_OCSP, true);
	judge(&scene, REVOCATION_CRL, true);
	while (scene.authority.pages[0].requests + scene.authority.pages[2].requests < 2)
		event_base_loop(scene.base, EVLOOP_ONCE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inquirer");
	TCase *tests = tcase_create("inquirer");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, good_then_revoked);
	tcase_add_test(tests, a_day_at_most);
	tcase_add_test(tests, gone_and_too_old);
	tcase_add_test(tests, once_an_hour_and_back);
	tcase_add_test(tests, older_list_is_not_taken);
	tcase_add_loop_test(tests, wrong_list, 0, ROWS(wrong_rows));
	tcase_add_test(tests, private_address);
	tcase_add_test(tests, name_is_looked_up);
	tcase_add_test(tests, name_that_is_none);
	tcase_add_test(tests, forgotten);
	tcase_add_test(tests, ocsp_good_then_revoked);
	tcase_add_test(tests, ocsp_gone_and_too_old);
	tcase_add_test(tests, ocsp_without_an_end);
	tcase_add_test(tests, ocsp_too_large);
	tcase_add_test(tests, nothing_to_ask);
	tcase_add_test(tests, ends_in_the_middle);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
