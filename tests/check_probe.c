/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* unshare() */
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/probe/probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/wheel.h"
#include "lib/config/config.h"
#include "lib/io/resolver.h"
#include "lib/io/tls.h"
#include "lib/proto/exchange.h"
#include "tests/make_cert.h"
#include "tests/scripted_peer.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(*(table)))

enum { PATIENCE_US = 20 * 1000 * 1000, TIMEOUT_US = 5 * 1000 * 1000, SHORT_US = 300 * 1000 };

/* A name server for the names of one test. */
struct zone {
	const char *name;
	const char *ips[4];
	int rcode;   /* 0 answers */
	bool silent;
};

/* A loop with all that a probe needs, and the result of the last probe. */
struct world {
	struct event_base *base;
	struct event *timer_event;
	struct wheel *wheel;
	struct resolver *resolver;
	struct probe_loop *loop;
	int dns_fd;
	struct event *dns_event;
	const struct zone *zones;
	char dns_server[32];
	bool inside_start;
	int done_count;
	struct result result;
};

/* The name server */

static const struct zone *zone_find(const struct zone *zones, const uint8_t *question)
{
	char name[256] = "";

	for (size_t used = 0; *question != 0 && used + *question < sizeof(name) - 2; question += *question + 1) {
		if (used > 0)
			name[used++] = '.';
		memcpy(name + used, question + 1, *question);
		used += *question;
	}
	for (; zones != NULL && zones->name != NULL; zones++) {
		if (strcasecmp(zones->name, name) == 0)
			return zones;
	}
	return NULL;
}

static size_t add_answer(uint8_t *at, const char *ip, int type)
{
	static const uint8_t head[] = { 0xc0, 12, 0, 0, 0, 1, 0, 0, 0, 60, 0, 0 };
	struct address address;
	size_t bytes;

	ck_assert(address_from_literal(ip, 0, &address));
	if ((type == 28) != (address.family == 6))
		return 0;
	bytes = type == 28 ? 16 : 4;
	memcpy(at, head, sizeof(head));
	at[3] = (uint8_t)type;
	at[11] = (uint8_t)bytes;
	memcpy(at + sizeof(head), address.bytes, bytes);
	return sizeof(head) + bytes;
}

static void on_question(evutil_socket_t fd, short what, void *arg)
{
	const struct world *world = arg;
	const struct zone *zone;
	struct sockaddr_storage from;
	socklen_t from_bytes = sizeof(from);
	uint8_t packet[1024];
	ssize_t got = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &from_bytes);
	size_t end = 12;
	int type;

	(void)what;
	if (got < 17)
		return;
	while (packet[end] != 0)
		end += packet[end] + 1u;
	type = packet[end + 2];
	end += 5;
	zone = zone_find(world->zones, packet + 12);
	if (zone != NULL && zone->silent)
		return;
	packet[2] = 0x84;
	packet[3] = (uint8_t)(zone == NULL ? 3 : zone->rcode);
	memset(packet + 6, 0, 6);
	for (int i = 0; zone != NULL && i < ROWS(zone->ips) && zone->ips[i] != NULL; i++) {
		size_t bytes = add_answer(packet + end, zone->ips[i], type);

		end += bytes;
		packet[7] = (uint8_t)(packet[7] + (bytes > 0));
	}
	sendto(fd, packet, end, 0, (const struct sockaddr *)&from, from_bytes);
}

static void name_server_open(struct world *world)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(own);

	world->dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(world->dns_fd, (struct sockaddr *)&own, sizeof(own)), 0);
	ck_assert_int_eq(getsockname(world->dns_fd, (struct sockaddr *)&own, &bytes), 0);
	snprintf(world->dns_server, sizeof(world->dns_server), "127.0.0.1:%d", ntohs(own.sin_port));
	world->dns_event = event_new(world->base, world->dns_fd, EV_READ | EV_PERSIST, on_question, world);
	event_add(world->dns_event, NULL);
}

/* The world */

static void on_wheel(evutil_socket_t fd, short what, void *arg)
{
	struct world *world = arg;

	(void)fd;
	(void)what;
	wheel_advance(world->wheel, clock_mono_us());
}

static struct resolver *world_resolver(struct world *world)
{
	const char *servers[] = { world->dns_server };
	struct error err;
	struct resolver_options options = { .servers = servers, .server_count = 1, .timeout_ms = 2000, .tries = 2,
					    .cache = true };
	struct resolver *resolver = resolver_new(world->base, &options, &err);

	ck_assert_msg(resolver != NULL, "%s", err.text);
	return resolver;
}

static void world_init(struct world *world, const struct zone *zones)
{
	struct event_config *config = event_config_new();

	*world = (struct world){ .zones = zones };
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	world->base = event_base_new_with_config(config);
	event_config_free(config);
	ck_assert_ptr_nonnull(world->base);
	world->timer_event = event_new(world->base, -1, 0, on_wheel, world);
	world->wheel = wheel_new(clock_mono_us());
	name_server_open(world);
	world->resolver = world_resolver(world);
	world->loop = probe_loop_new(world->base, world->wheel, world->resolver);
	signal(SIGPIPE, SIG_IGN);
}

static void world_auto(struct world *world)
{
	probe_loop_free(world->loop);
	resolver_free(world->resolver);
	event_free(world->timer_event);
	event_free(world->dns_event);
	close(world->dns_fd);
	event_base_free(world->base);
	wheel_free(world->wheel);
	result_done(&world->result);
}

static void world_turn(struct world *world)
{
	int64_t left_us = wheel_next_us(world->wheel) - clock_mono_us();
	struct timeval left;

	if (left_us < 0)
		left_us = 0;
	if (left_us > 50 * US_PER_MS)
		left_us = 50 * US_PER_MS;
	left = (struct timeval){ .tv_usec = left_us };
	event_add(world->timer_event, &left);
	event_base_loop(world->base, EVLOOP_ONCE);
}

static void on_done(struct probe *probe, struct result *result, void *arg)
{
	struct world *world = arg;

	(void)probe;
	ck_assert(!world->inside_start);
	result_done(&world->result);
	world->result = *result;
	world->done_count++;
}

static struct probe *start(struct world *world, const struct plan *plan, const struct certificate *told)
{
	struct probe *probe;

	world->inside_start = true;
	probe = probe_start(world->loop, plan, clock_mono_us(), told, on_done, world);
	world->inside_start = false;
	return probe;
}

static void wait_done(struct world *world, int count)
{
	int64_t until_us = clock_mono_us() + PATIENCE_US;

	while (world->done_count < count) {
		ck_assert_msg(clock_mono_us() < until_us, "the probe does not end");
		world_turn(world);
	}
}

static void wait_goodbyes(struct world *world)
{
	int64_t until_us = clock_mono_us() + PATIENCE_US;

	while (probe_loop_sockets(world->loop) > 0) {
		ck_assert_msg(clock_mono_us() < until_us, "the goodbye does not end");
		world_turn(world);
	}
}

/* Until the peer has seen the end of that many connections. */
static void wait_ends(struct world *world, const struct scripted_peer *peer, int count)
{
	const struct peer_seen *seen = scripted_peer_seen(peer);
	int64_t until_us = clock_mono_us() + PATIENCE_US;

	while (seen->ended_by_fin + seen->ended_by_reset < count) {
		ck_assert_msg(clock_mono_us() < until_us, "the peer sees no end");
		world_turn(world);
	}
}

static const struct result *run(struct world *world, const struct plan *plan)
{
	int count = world->done_count;

	start(world, plan, NULL);
	wait_done(world, count + 1);
	return &world->result;
}

static struct plan plan_for(const struct address *address)
{
	return (struct plan){ .target_id = 7, .previous = -1, .host = "127.0.0.1", .literal = *address,
			      .port = address->port, .interval_us = 30 * US_PER_S, .timeout_us = TIMEOUT_US };
}

static struct plan plan_for_name(const char *name, uint16_t port)
{
	return (struct plan){ .target_id = 7, .previous = -1, .host = name, .port = port,
			      .interval_us = 30 * US_PER_S, .timeout_us = TIMEOUT_US };
}

/* One address */

static const struct peer_step just_there[] = { { PEER_END, NULL, 0 } };
static const struct peer_step speaks_early[] = { { PEER_SEND, "220 hello\r\n", 0 }, { PEER_END, NULL, 0 } };
static const struct peer_step speaks_late[] = { { PEER_PAUSE, NULL, 20 }, { PEER_SEND, "220 hello\r\n", 0 },
						{ PEER_END, NULL, 0 } };
static const struct peer_step drops_mid_line[] = { { PEER_SEND, "220 he", 0 }, { PEER_CLOSE, NULL, 0 } };
static const struct peer_step closes[] = { { PEER_CLOSE, NULL, 0 } };
static const struct peer_step slow[] = { { PEER_TRICKLE, "220 hello, this takes a while\r\n", 2 },
					 { PEER_END, NULL, 0 } };
static const struct peer_step ignores[] = { { PEER_IGNORE, NULL, 0 } };

static const struct one_row {
	const char *says;
	enum peer_manner manner;
	const struct peer_step *script;
	const char *reason;
	const char *phase;
	int error_number;
	int fins;     /* how the peer sees it end */
} one_rows[] = {
	{ "is there", PEER_LISTENS, just_there, "ok", "total", 0, 1 },
	{ "speaks early", PEER_LISTENS, speaks_early, "ok", "total", 0, 1 },
	{ "speaks when we have said goodbye", PEER_LISTENS, speaks_late, "ok", "total", 0, 1 },
	{ "speaks slowly", PEER_LISTENS, slow, "ok", "total", 0, 1 },
	{ "drops mid-line", PEER_LISTENS, drops_mid_line, "ok", "total", 0, 0 },
	{ "closes at once", PEER_LISTENS, closes, "ok", "total", 0, 0 },
	{ "never closes", PEER_LISTENS, ignores, "ok", "total", 0, 0 },
	{ "refuses", PEER_REFUSES, just_there, "connect_refused", "connect", ECONNREFUSED, 0 },
	{ "stalls", PEER_STALLS, just_there, "connect_timeout", "connect", ETIMEDOUT, 0 },
};

START_TEST(one_address)
{
	const struct one_row *row = &one_rows[_i];
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, row->manner, row->script);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	plan.timeout_us = row->manner == PEER_STALLS ? SHORT_US : TIMEOUT_US;
	run(&world, &plan);
	ck_assert_str_eq(reason_name(result->reason), row->reason);
	ck_assert_str_eq(phase_name(result->phase), row->phase);
	ck_assert_int_eq(result->error_number, row->error_number);
	ck_assert((result->detail == NULL) == (result->reason == REASON_OK));
	ck_assert(address_equal(&result->address, &address));
	ck_assert_int_eq(result->phase_us[PHASE_DNS], -1);
	ck_assert_int_ge(result->phase_us[PHASE_CONNECT], 0);
	ck_assert_int_eq(result->phase_us[PHASE_TLS], -1);
	ck_assert_int_ge(result->phase_us[PHASE_TOTAL], result->phase_us[PHASE_CONNECT]);
	ck_assert_int_eq(result->rtt_us >= 0, result->reason == REASON_OK);
	ck_assert_int_eq(result->target_id, 7);
	ck_assert_uint_eq(probe_loop_in_flight(world.loop), 0);
	wait_goodbyes(&world);
	wait_ends(&world, peer, row->fins);
	ck_assert_msg(scripted_peer_seen(peer)->ended_by_reset == 0, "%s: got a reset", row->says);
	ck_assert_uint_eq(scripted_peer_seen(peer)->bytes, 0);
	scripted_peer_free(peer);
}
END_TEST

START_TEST(a_goodbye_is_short)
{
	AUTO(world) struct world world;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;
	int64_t started_us;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, ignores);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	run(&world, &plan);
	started_us = clock_mono_us();
	ck_assert_uint_eq(probe_loop_in_flight(world.loop), 0);
	ck_assert_uint_eq(probe_loop_sockets(world.loop), 1);
	wait_goodbyes(&world);
	ck_assert_int_ge(clock_mono_us() - started_us, 150 * US_PER_MS);
	scripted_peer_free(peer);
}
END_TEST

/* The loop was busy when the answer came: the figure is the kernel's. */
START_TEST(latency_is_the_kernels)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	start(&world, &plan, NULL);
	nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
	wait_done(&world, 1);
	ck_assert_int_eq(result->reason, REASON_OK);
	ck_assert_int_ge(result->phase_us[PHASE_CONNECT], result->rtt_us);
	ck_assert_int_lt(result->phase_us[PHASE_CONNECT], 90 * US_PER_MS);
	ck_assert_int_lt(result->phase_us[PHASE_TOTAL], 90 * US_PER_MS);
	ck_assert_uint_eq(result->retransmits, 0);
	scripted_peer_free(peer);
}
END_TEST

/* The deadline passed while the loop was busy, but the answer had come in time. */
START_TEST(a_last_look_at_the_deadline)
{
	AUTO(world) struct world world;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	plan.timeout_us = 20 * US_PER_MS;
	start(&world, &plan, NULL);
	nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
	wheel_advance(world.wheel, clock_mono_us());
	ck_assert_int_eq(world.done_count, 1);
	ck_assert_str_eq(reason_name(world.result.reason), "ok");
	scripted_peer_free(peer);
}
END_TEST

/* A SYN was lost: the kernel's round trip would hide the second that it took. */
START_TEST(a_lost_syn_shows)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_STALLS, just_there);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	plan.timeout_us = 1300 * US_PER_MS;
	run(&world, &plan);
	ck_assert_str_eq(reason_name(result->reason), "connect_timeout");
	ck_assert_uint_eq(result->retransmits, 1);
	ck_assert_int_ge(result->phase_us[PHASE_CONNECT], plan.timeout_us);
	scripted_peer_free(peer);
}
END_TEST

/* Names */

static const struct zone names[] = {
	{ .name = "one.test", .ips = { "127.0.0.1" } },
	{ .name = "two.test", .ips = { "127.0.0.2", "127.0.0.3" } },
	{ .name = "six.test", .ips = { "2001:db8::1" } },
	{ .name = "both.test", .ips = { "2001:db8::1", "127.0.0.1" } },
	{ .name = "broken.test", .rcode = 2 },
	{ .name = "silent.test", .silent = true },
	{ 0 },
};

static const struct {
	const char *host;
	const char *reason;
	const char *phase;
	int64_t timeout_us;
} name_rows[] = {
	{ "one.test", "ok", "total", TIMEOUT_US },
	{ "none.test", "dns_not_found", "dns", TIMEOUT_US },
	{ "broken.test", "dns_failed", "dns", TIMEOUT_US },
	{ "silent.test", "dns_timeout", "dns", SHORT_US },
};

START_TEST(names_are_looked_up)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct plan plan;

	world_init(&world, names);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	plan = plan_for_name(name_rows[_i].host, scripted_peer_address(peer).port);
	plan.timeout_us = name_rows[_i].timeout_us;
	run(&world, &plan);
	ck_assert_str_eq(reason_name(result->reason), name_rows[_i].reason);
	ck_assert_str_eq(phase_name(result->phase), name_rows[_i].phase);
	ck_assert_int_gt(result->phase_us[PHASE_DNS], 0);
	ck_assert((result->detail == NULL) == (result->reason == REASON_OK));
	if (result->reason == REASON_OK) {
		run(&world, &plan);
		ck_assert_int_eq(result->phase_us[PHASE_DNS], -1);
		ck_assert_int_lt(result->phase_us[PHASE_TOTAL], US_PER_S);
	}
	scripted_peer_free(peer);
}
END_TEST

static void on_lookup(const struct found *found, void *arg)
{
	struct address *first = arg;

	*first = found->addresses[0];
}

/* Which of two.test's comes first is the resolver's business: peers are put where the order wants them. */
static void order_of_two(struct world *world, const char **first, const char **second)
{
	struct address address = { 0 };
	char text[ADDRESS_TEXT_BYTES];

	resolver_start(world->resolver, "two.test", 5000, on_lookup, &address);
	while (address.family == 0)
		world_turn(world);
	address_print_ip(&address, text);
	*first = strcmp(text, "127.0.0.2") == 0 ? "127.0.0.2" : "127.0.0.3";
	*second = strcmp(text, "127.0.0.2") == 0 ? "127.0.0.3" : "127.0.0.2";
}

static const struct {
	const char *says;
	enum peer_manner first;
	enum peer_manner second;
	const char *reason;
	bool second_address;
} two_rows[] = {
	{ "the first works", PEER_LISTENS, PEER_LISTENS, "ok", false },
	{ "the first refuses, the second works", PEER_REFUSES, PEER_LISTENS, "ok", true },
	{ "the first stalls, the second works within its share", PEER_STALLS, PEER_LISTENS, "ok", true },
	{ "both refuse", PEER_REFUSES, PEER_REFUSES, "connect_refused", true },
	{ "one refuses, one stalls: the last counts", PEER_REFUSES, PEER_STALLS, "connect_timeout", true },
	{ "both stall", PEER_STALLS, PEER_STALLS, "connect_timeout", true },
};

START_TEST(several_addresses)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peers[2];
	const char *ips[2];
	struct address address;
	struct plan plan;

	world_init(&world, names);
	order_of_two(&world, &ips[0], &ips[1]);
	peers[0] = scripted_peer_new(world.base, ips[0], 0, two_rows[_i].first, just_there);
	address = scripted_peer_address(peers[0]);
	peers[1] = scripted_peer_new(world.base, ips[1], address.port, two_rows[_i].second, just_there);
	plan = plan_for_name("two.test", address.port);
	plan.timeout_us = 600 * US_PER_MS;
	run(&world, &plan);
	ck_assert_msg(strcmp(reason_name(result->reason), two_rows[_i].reason) == 0, "%s: %s", two_rows[_i].says,
		      reason_name(result->reason));
	address = scripted_peer_address(peers[two_rows[_i].second_address]);
	ck_assert(address_equal(&result->address, &address));
	ck_assert((result->detail == NULL) == (result->reason == REASON_OK));
	if (two_rows[_i].first == PEER_STALLS)
		ck_assert_int_ge(result->phase_us[PHASE_CONNECT], 295 * US_PER_MS);
	if (two_rows[_i].first == PEER_STALLS && two_rows[_i].second == PEER_LISTENS)
		ck_assert_int_lt(result->phase_us[PHASE_CONNECT], 550 * US_PER_MS);
	scripted_peer_free(peers[0]);
	scripted_peer_free(peers[1]);
}
END_TEST

/* A network of its own, in which only loopback is up, or not even that. False: not allowed here. */
static bool enter_own_network(bool loopback)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;
	bool up;

	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	if (!loopback)
		return true;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	close(fd);
	return up;
}

START_TEST(no_route_at_all_is_ours)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct address address;
	struct plan plan;

	if (!enter_own_network(false))
		return;
	world_init(&world, NULL);
	ck_assert(address_from_literal("192.0.2.1", 443, &address));
	plan = plan_for(&address);
	run(&world, &plan);
	ck_assert_str_eq(reason_name(result->reason), "local_error");
	ck_assert_int_eq(result->error_number, ENETUNREACH);
	ck_assert_str_eq(phase_name(result->phase), "connect");
	ck_assert(address_equal(&result->address, &address));
}
END_TEST

static const struct {
	const char *host;
	enum peer_manner manner;
	const char *reason;
} family_rows[] = {
	{ "both.test", PEER_LISTENS, "ok" },
	{ "both.test", PEER_REFUSES, "connect_refused" },
	{ "six.test", PEER_LISTENS, "local_error" },
};

START_TEST(a_family_without_a_route_is_skipped)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct plan plan;

	if (!enter_own_network(true))
		return;
	world_init(&world, names);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, family_rows[_i].manner, just_there);
	plan = plan_for_name(family_rows[_i].host, scripted_peer_address(peer).port);
	run(&world, &plan);
	ck_assert_str_eq(reason_name(result->reason), family_rows[_i].reason);
	ck_assert_int_eq(result->address.family, strcmp(family_rows[_i].host, "both.test") == 0 ? 4 : 6);
	scripted_peer_free(peer);
}
END_TEST

START_TEST(no_descriptor_is_ours)
{
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peer;
	struct address address;
	struct rlimit limit;
	struct plan plan;
	int next;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	next = dup(0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	run(&world, &plan);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_str_eq(reason_name(result->reason), "local_error");
	ck_assert_int_eq(result->error_number, EMFILE);
	scripted_peer_free(peer);
}
END_TEST

START_TEST(a_new_resolver_is_asked_again)
{
	static const struct zone silent[] = { { .name = "one.test", .silent = true }, { 0 } };
	AUTO(world) struct world world;
	struct scripted_peer *peer;
	struct resolver *old;
	struct plan plan;

	world_init(&world, silent);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	plan = plan_for_name("one.test", scripted_peer_address(peer).port);
	start(&world, &plan, NULL);
	for (int i = 0; i < 3; i++)
		world_turn(&world);
	world.zones = names;
	old = world.resolver;
	world.resolver = world_resolver(&world);
	probe_loop_set_resolver(world.loop, world.resolver);
	resolver_free(old);
	wait_done(&world, 1);
	ck_assert_str_eq(reason_name(world.result.reason), "ok");
	scripted_peer_free(peer);
}
END_TEST

/* All addresses of a name */

static const struct zone several[] = { { .name = "two.test", .ips = { "127.0.0.1", "127.0.0.3" } }, { 0 } };

static const struct everyone_row {
	const char *says;
	enum peer_manner first, second;
	uint8_t need;
	const char *reason;
	const char *phase;
	const char *detail; /* how it begins; NULL: none */
} everyone_rows[] = {
	{ "both are there", PEER_LISTENS, PEER_LISTENS, 0, "ok", "total", NULL },
	{ "one refuses, both are needed", PEER_LISTENS, PEER_REFUSES, 0, "connect_refused", "connect",
	  "127.0.0.3: connection refused" },
	{ "one refuses, any will do", PEER_REFUSES, PEER_LISTENS, 1, "some_addresses", "connect",
	  "127.0.0.1: connection refused" },
	{ "one stalls to the end", PEER_STALLS, PEER_LISTENS, 1, "some_addresses", "connect",
	  "127.0.0.1: connect timeout" },
	{ "both stall", PEER_STALLS, PEER_STALLS, 1, "connect_timeout", "connect",
	  "127.0.0.1: connect timeout; 127.0.0.3: connect timeout" },
};

START_TEST(all_addresses)
{
	const struct everyone_row *row = &everyone_rows[_i];
	AUTO(world) struct world world;
	const struct result *result = &world.result;
	struct scripted_peer *peers[2];
	struct plan plan;

	world_init(&world, several);
	peers[0] = scripted_peer_new(world.base, "127.0.0.1", 0, row->first, just_there);
	peers[1] = scripted_peer_new(world.base, "127.0.0.3", scripted_peer_address(peers[0]).port, row->second,
				     just_there);
	plan = plan_for_name("two.test", scripted_peer_address(peers[0]).port);
	plan.timeout_us = row->first == PEER_STALLS ? SHORT_US : TIMEOUT_US;
	plan.all_addresses = true;
	plan.need = row->need;
	run(&world, &plan);
	ck_assert_msg(strcmp(reason_name(result->reason), row->reason) == 0, "%s: %s", row->says,
		      reason_name(result->reason));
	ck_assert_str_eq(phase_name(result->phase), row->phase);
	ck_assert_uint_eq(result->address_count, 2);
	ck_assert_int_eq(result->addresses[0].reason == REASON_OK, row->first == PEER_LISTENS);
	ck_assert_int_eq(result->addresses[1].reason == REASON_OK, row->second == PEER_LISTENS);
	ck_assert((result->detail == NULL) == (row->detail == NULL));
	if (row->detail != NULL)
		ck_assert_str_eq(result->detail, row->detail);
	ck_assert_int_ge(result->phase_us[PHASE_DNS], 0);
	ck_assert_int_ge(result->phase_us[PHASE_TOTAL], result->phase_us[PHASE_DNS]);
	ck_assert_uint_eq(probe_loop_in_flight(world.loop), 0);
	wait_goodbyes(&world);
	scripted_peer_free(peers[0]);
	scripted_peer_free(peers[1]);
}
END_TEST

START_TEST(to_cancel_the_leader_cancels_all)
{
	AUTO(world) struct world world;
	struct scripted_peer *peers[2];
	struct probe *probe;
	struct plan plan;

	world_init(&world, several);
	peers[0] = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_STALLS, just_there);
	peers[1] = scripted_peer_new(world.base, "127.0.0.3", scripted_peer_address(peers[0]).port, PEER_STALLS,
				     just_there);
	plan = plan_for_name("two.test", scripted_peer_address(peers[0]).port);
	plan.all_addresses = true;
	for (int i = 0; i < 2; i++) {
		probe = start(&world, &plan, NULL);
		while (probe_loop_in_flight(world.loop) < 3)
			world_turn(&world);
		if (i == 0)
			probe_cancel(probe);
		ck_assert_uint_eq(probe_loop_in_flight(world.loop), i == 0 ? 0 : 3);
	}
	ck_assert_int_eq(world.done_count, 0); /* the second ends with the loop */
	scripted_peer_free(peers[0]);
	scripted_peer_free(peers[1]);
}
END_TEST

/* What is expected */

static const struct expected_row {
	const char *says;
	enum peer_manner manner;
	enum reason expected[2];
	const char *reason;
	const char *detail; /* NULL: none */
} expected_rows[] = {
	{ "must be closed, and is", PEER_REFUSES, { REASON_CONNECT_REFUSED }, "ok", "connection refused, as expected" },
	{ "must be closed, and is open", PEER_LISTENS, { REASON_CONNECT_REFUSED }, "open_unexpectedly", NULL },
	{ "must be closed, not silent", PEER_STALLS, { REASON_CONNECT_REFUSED }, "connect_timeout",
	  "Connection timed out" },
	{ "open or closed: the host answers", PEER_LISTENS, { REASON_OK, REASON_CONNECT_REFUSED }, "ok", NULL },
	{ "closed or open: the host answers", PEER_REFUSES, { REASON_OK, REASON_CONNECT_REFUSED }, "ok",
	  "connection refused, as expected" },
};

START_TEST(expected_reasons)
{
	const struct expected_row *row = &expected_rows[_i];
	AUTO(world) struct world world;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, row->manner, just_there);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	plan.timeout_us = row->manner == PEER_STALLS ? SHORT_US : TIMEOUT_US;
	for (int i = 0; i < ROWS(row->expected); i++)
		if (i == 0 || row->expected[i] != REASON_OK)
			reason_set_add(&plan.expected, row->expected[i]);
	run(&world, &plan);
	ck_assert_msg(strcmp(reason_name(world.result.reason), row->reason) == 0, "%s: %s", row->says,
		      reason_name(world.result.reason));
	ck_assert((world.result.detail == NULL) == (row->detail == NULL));
	if (row->detail != NULL)
		ck_assert_str_eq(world.result.detail, row->detail);
	scripted_peer_free(peer);
}
END_TEST

/* Cancelling */

START_TEST(a_cancelled_probe_is_silent)
{
	static const struct {
		const char *host;
		enum peer_manner manner;
		int turns;
	} rows[] = {
		{ "silent.test", PEER_LISTENS, 2 }, { "127.0.0.1", PEER_STALLS, 2 },
		{ "127.0.0.1", PEER_REFUSES, 0 },   { "127.0.0.1", PEER_LISTENS, 0 },
	};
	AUTO(world) struct world world;

	world_init(&world, names);
	for (int i = 0; i < ROWS(rows); i++) {
		struct scripted_peer *peer =
			scripted_peer_new(world.base, "127.0.0.1", 0, rows[i].manner, just_there);
		struct plan plan = plan_for_name(rows[i].host, scripted_peer_address(peer).port);
		struct probe *probe;

		address_from_literal(rows[i].host, plan.port, &plan.literal);
		probe = start(&world, &plan, NULL);
		ck_assert_uint_eq(probe_loop_in_flight(world.loop), 1);
		for (int turn = 0; turn < rows[i].turns; turn++)
			world_turn(&world);
		probe_cancel(probe);
		ck_assert_uint_eq(probe_loop_in_flight(world.loop), 0);
		wait_goodbyes(&world);
		for (int turn = 0; turn < 3; turn++)
			world_turn(&world);
		ck_assert_int_eq(world.done_count, 0);
		scripted_peer_free(peer);
	}
	probe_cancel(NULL);
}
END_TEST

START_TEST(the_end_of_the_loop_ends_all)
{
	AUTO(world) struct world world;
	struct scripted_peer *peers[3];
	struct plan plans[4];

	world_init(&world, names);
	peers[0] = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, ignores);
	peers[1] = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_STALLS, just_there);
	peers[2] = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_REFUSES, just_there);
	for (int i = 0; i < 3; i++) {
		struct address address = scripted_peer_address(peers[i]);

		plans[i] = plan_for(&address);
	}
	plans[3] = plan_for_name("silent.test", 1);
	run(&world, &plans[0]);
	for (int i = 0; i < 4; i++)
		start(&world, &plans[i], NULL);
	ck_assert_uint_eq(probe_loop_sockets(world.loop), 5);
	probe_loop_free(TAKE(world.loop));
	for (int i = 0; i < 3; i++)
		world_turn(&world);
	ck_assert_int_eq(world.done_count, 1);
	for (int i = 0; i < 3; i++)
		scripted_peer_free(peers[i]);
}
END_TEST

/* TLS */

struct tls_world {
	struct world world;
	char directory[64];
	char root_file[96];
	struct made root;
	struct made leaf;
	SSL_CTX *server;
	struct tls_domain *domain;
	struct tls_trust *trust;
	struct tls_context *context;
	struct scripted_peer *peer;
	struct plan plan;
};

static const struct peer_step shakes[] = { { PEER_TLS, NULL, 0 }, { PEER_END, NULL, 0 } };
static const struct peer_step shakes_and_speaks[] = { { PEER_TLS, NULL, 0 }, { PEER_SEND, "hello\r\n", 0 },
						      { PEER_END, NULL, 0 } };
static const struct peer_step speaks_plain[] = { { PEER_SEND, "220 mail.example.com ESMTP\r\n", 0 },
						 { PEER_END, NULL, 0 } };
static const struct peer_step closes_on_hello[] = { { PEER_PAUSE, NULL, 20 }, { PEER_CLOSE, NULL, 0 } };
static const struct peer_step resets_on_hello[] = { { PEER_PAUSE, NULL, 20 }, { PEER_RESET, NULL, 0 } };

static void tls_world_set_leaf(struct tls_world *tls, int64_t from_s, int64_t to_s)
{
	int64_t now_unix_s = clock_unix_us() / US_PER_S;

	made_done(&tls->leaf);
	tls->leaf = make_cert(&(struct cert_plan){ .cn = "leaf", .issuer = &tls->root,
						   .sans = "DNS:shop.example.com",
						   .not_before_unix_s = now_unix_s + from_s,
						   .not_after_unix_s = now_unix_s + to_s });
	ck_assert_int_eq(SSL_CTX_use_certificate(tls->server, tls->leaf.x509), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(tls->server, tls->leaf.key), 1);
}

static void tls_world_init(struct tls_world *tls, const struct peer_step *script)
{
	const struct made *roots[] = { &tls->root };
	const char *files[] = { tls->root_file };
	int64_t now_unix_s = clock_unix_us() / US_PER_S;
	struct address address;
	struct error err;

	*tls = (struct tls_world){ .directory = "/tmp/check_probe.XXXXXX" };
	world_init(&tls->world, NULL);
	ck_assert_ptr_nonnull(mkdtemp(tls->directory));
	snprintf(tls->root_file, sizeof(tls->root_file), "%s/root.pem", tls->directory);
	tls->root = make_cert(&(struct cert_plan){ .cn = "Root", .ca = true, .not_before_unix_s = now_unix_s - 100,
						   .not_after_unix_s = now_unix_s + 100 * S_PER_DAY });
	made_write_pem(roots, 1, tls->root_file);
	tls->server = SSL_CTX_new(TLS_server_method());
	tls_world_set_leaf(tls, -100, 10 * S_PER_DAY);
	tls->domain = tls_domain_new(&err);
	tls->trust = tls_trust_new(files, 1, &err);
	tls->context = tls_context_new(tls->domain, tls->trust, NULL, &err);
	ck_assert_ptr_nonnull(tls->context);
	tls->peer = scripted_peer_new(tls->world.base, "127.0.0.1", 0, PEER_LISTENS, script);
	scripted_peer_set_tls(tls->peer, tls->server);
	address = scripted_peer_address(tls->peer);
	tls->plan = plan_for(&address);
	tls->plan.tls = tls->context;
	tls->plan.wish = (struct tls_wish){ .server_name = "shop.example.com", .verify = VERIFY_FULL };
}

static void tls_world_auto(struct tls_world *tls)
{
	scripted_peer_free(tls->peer);
	world_auto(&tls->world);
	tls_context_free(tls->context);
	tls_trust_free(tls->trust);
	tls_domain_free(tls->domain);
	SSL_CTX_free(tls->server);
	made_done(&tls->root);
	made_done(&tls->leaf);
	unlink(tls->root_file);
	rmdir(tls->directory);
}

static const struct {
	const char *says;
	const struct peer_step *script;
	const char *reason;
	const char *phase;
	bool shown;
} tls_rows[] = {
	{ "shakes hands", shakes, "ok", "total", true },
	{ "shakes hands and speaks", shakes_and_speaks, "ok", "total", true },
	{ "is silent", just_there, "tls_timeout", "tls", false },
	{ "is silent for ever", ignores, "tls_timeout", "tls", false },
	{ "speaks something else", speaks_plain, "tls_protocol", "tls", false },
	{ "closes", closes_on_hello, "tls_closed", "tls", false },
	{ "resets", resets_on_hello, "connect_reset", "tls", false },
};

START_TEST(handshakes)
{
	__attribute__((cleanup(tls_world_auto))) struct tls_world tls;
	const struct result *result = &tls.world.result;

	tls_world_init(&tls, tls_rows[_i].script);
	if (strcmp(tls_rows[_i].reason, "tls_timeout") == 0)
		tls.plan.timeout_us = SHORT_US;
	run(&tls.world, &tls.plan);
	ck_assert_str_eq(reason_name(result->reason), tls_rows[_i].reason);
	ck_assert_str_eq(phase_name(result->phase), tls_rows[_i].phase);
	ck_assert_int_eq(result->certificate.present, tls_rows[_i].shown);
	ck_assert_int_eq(result->facts != NULL, tls_rows[_i].shown);
	ck_assert((result->detail == NULL) == (result->reason == REASON_OK));
	ck_assert_int_gt(result->phase_us[PHASE_TLS], 0);
	ck_assert_int_ge(result->phase_us[PHASE_TOTAL], result->phase_us[PHASE_TLS]);
	wait_goodbyes(&tls.world);
	if (tls_rows[_i].shown) {
		wait_ends(&tls.world, tls.peer, 1);
		ck_assert_int_eq(scripted_peer_seen(tls.peer)->ended_by_close_notify, 1);
		ck_assert_int_eq(scripted_peer_seen(tls.peer)->ended_by_fin, 1);
	}
	ck_assert_int_eq(scripted_peer_seen(tls.peer)->ended_by_reset, 0);
}
END_TEST

/* STARTTLS */

#define SAYS(text) { PEER_SEND, text, 0 }
#define HEARS(text) { PEER_EXPECT, text, 0 }
#define SHAKES { PEER_TLS, NULL, 0 }
#define ENDS { PEER_END, NULL, 0 }

static const struct peer_step goes_ahead[] = {
	SAYS("220 peer\r\n"), HEARS("EHLO mon.test"), SAYS("250-peer\r\n250 STARTTLS\r\n"), HEARS("STARTTLS"),
	SAYS("220 go\r\n"), SHAKES, HEARS("QUIT"), ENDS,
};
static const struct peer_step offers_nothing[] = {
	SAYS("220 peer\r\n"), HEARS("EHLO"), SAYS("250-peer\r\n250 HELP\r\n"), ENDS,
};
static const struct peer_step says_no[] = { SAYS("554 go away\r\n"), ENDS };
static const struct peer_step leaves[] = { SAYS("220 peer\r\n"), HEARS("EHLO"), { PEER_CLOSE, NULL, 0 } };
static const struct peer_step injects[] = {
	SAYS("220 peer\r\n"), HEARS("EHLO"), SAYS("250-peer\r\n250 STARTTLS\r\n"), HEARS("STARTTLS"),
	SAYS("220 go\r\n250 mine\r\n"), SHAKES, ENDS,
};
static const struct peer_step half_a_greeting[] = { SAYS("220 pe"), ENDS };

static const struct {
	const char *says;
	const struct peer_step *script;
	const char *reason;
	const char *phase;
	const char *detail; /* how it begins; NULL: none */
} starttls_rows[] = {
	{ "goes ahead", goes_ahead, "ok", "total", NULL },
	{ "offers nothing", offers_nothing, "starttls_not_offered", "starttls", "EHLO: no STARTTLS among: HELP" },
	{ "says no", says_no, "starttls_refused", "starttls", "greeting: 554 go away" },
	{ "leaves", leaves, "starttls_closed", "starttls", "closed while waiting for EHLO; it said: 220 peer" },
	{ "injects", injects, "starttls_protocol", "starttls", "STARTTLS: 10 bytes after the go-ahead" },
	{ "stops", half_a_greeting, "starttls_timeout", "starttls",
	  "time over while waiting for greeting; it said: 220 pe" },
};

START_TEST(asks_for_tls)
{
	__attribute__((cleanup(tls_world_auto))) struct tls_world tls;
	const struct result *result = &tls.world.result;
	const bool well = strcmp(starttls_rows[_i].reason, "ok") == 0;

	tls_world_init(&tls, starttls_rows[_i].script);
	tls.plan.starttls = STARTTLS_SMTP;
	tls.plan.ehlo = "mon.test";
	if (strcmp(starttls_rows[_i].reason, "starttls_timeout") == 0)
		tls.plan.timeout_us = SHORT_US;
	run(&tls.world, &tls.plan);
	ck_assert_str_eq(reason_name(result->reason), starttls_rows[_i].reason);
	ck_assert_str_eq(phase_name(result->phase), starttls_rows[_i].phase);
	ck_assert((result->detail == NULL) == (starttls_rows[_i].detail == NULL));
	if (result->detail != NULL)
		ck_assert_msg(strncmp(result->detail, starttls_rows[_i].detail, strlen(starttls_rows[_i].detail)) == 0,
			      "%s", result->detail);
	ck_assert_int_ge(result->phase_us[PHASE_STARTTLS], 0);
	ck_assert_int_eq(result->phase_us[PHASE_TLS] >= 0, well);
	ck_assert_int_eq(result->certificate.present, well);
	wait_goodbyes(&tls.world);
	if (well)
		wait_ends(&tls.world, tls.peer, 1);
	ck_assert_int_eq(scripted_peer_seen(tls.peer)->unexpected, 0);
}
END_TEST

/* Exchanges */

static const struct peer_step greets[] = { SAYS("220 peer ESMTP\r\n"), ENDS };
static const struct peer_step greets_in_pieces[] = { { PEER_TRICKLE, "220 peer ESMTP\r\n", 1 }, ENDS };
static const struct peer_step greets_without_end[] = { SAYS("220 peer"), ENDS };
static const struct peer_step hears_its_name[] = { SAYS("220 peer ESMTP\r\n"), HEARS("EHLO peer"), SAYS("250 ok\r\n"),
						   ENDS };
static const struct peer_step starts_tls[] = {
	SAYS("220 peer\r\n"), HEARS("STARTTLS"), SAYS("220 go\r\n"), SHAKES, HEARS("NOOP"), SAYS("250 ok\r\n"), ENDS,
};

#define STEP(kind, text) { EXCHANGE_##kind, (char *)text, (char *)"", (char *)"" }

static const struct {
	const char *says;
	const struct peer_step *script;
	struct exchange_step steps[6];
	size_t count;
	const char *reason;
	const char *detail; /* how it begins; NULL: none */
} exchange_rows[] = {
	{ "a banner", greets, { STEP(EXPECT, "^220 ") }, 1, "ok", NULL },
	{ "in pieces", greets_in_pieces, { STEP(EXPECT, "^220 .*\\r\\n") }, 1, "ok", NULL },
	{ "one that may go on counts when it is quiet", greets_without_end, { STEP(EXPECT, "^220 \\S+") }, 1, "ok", NULL },
	{ "another banner", greets, { STEP(EXPECT, "^554 ") }, 1, "exchange_mismatch",
	  "step 1, expect \"^554 \": received \"220 peer ESMTP\\r\\n\"" },
	{ "silence", just_there, { STEP(EXPECT, "^220 ") }, 1, "exchange_timeout", "step 1, expect \"^220 \": received nothing" },
	{ "leaves", closes, { STEP(EXPECT, "^220 ") }, 1, "exchange_closed", "step 1, expect \"^220 \": the peer closed" },
	{ "a capture", hears_its_name,
	  { STEP(EXPECT, "^220 (?<host>\\S+) "), STEP(SEND, "EHLO ${capture.host}\r\n"), STEP(EXPECT, "^250 ") }, 3, "ok",
	  NULL },
	{ "TLS on the way", starts_tls,
	  { STEP(EXPECT, "^220 "), STEP(SEND, "STARTTLS\r\n"), STEP(EXPECT, "^220 "), STEP(STARTTLS, "now"),
	    STEP(SEND, "NOOP\r\n"), STEP(EXPECT, "^250 ") }, 6, "ok", NULL },
};

START_TEST(exchanges)
{
	__attribute__((cleanup(tls_world_auto))) struct tls_world tls;
	const struct result *result = &tls.world.result;
	struct exchange_plan *plan;
	struct error err;
	size_t bad;

	tls_world_init(&tls, exchange_rows[_i].script);
	plan = exchange_plan_new(exchange_rows[_i].steps, exchange_rows[_i].count, &bad, &err);
	ck_assert_ptr_nonnull(plan);
	tls.plan.exchange = plan;
	tls.plan.tls_in_exchange = exchange_plan_starts_tls(plan);
	if (!tls.plan.tls_in_exchange)
		tls.plan.tls = NULL;
	if (strcmp(exchange_rows[_i].reason, "exchange_timeout") == 0 ||
	    strcmp(exchange_rows[_i].reason, "exchange_mismatch") == 0)
		tls.plan.timeout_us = SHORT_US;
	run(&tls.world, &tls.plan);
	ck_assert_msg(strcmp(reason_name(result->reason), exchange_rows[_i].reason) == 0, "%s: %s: %s",
		      exchange_rows[_i].says, reason_name(result->reason), result->detail != NULL ? result->detail : "");
	ck_assert((result->detail == NULL) == (exchange_rows[_i].detail == NULL));
	if (result->detail != NULL)
		ck_assert_msg(strncmp(result->detail, exchange_rows[_i].detail, strlen(exchange_rows[_i].detail)) == 0,
			      "%s", result->detail);
	ck_assert_int_ge(result->phase_us[PHASE_EXCHANGE], 0);
	ck_assert_int_eq(result->phase_us[PHASE_TLS] >= 0, tls.plan.tls_in_exchange);
	if (result->reason == REASON_OK)
		ck_assert_uint_eq(result->step_count, exchange_rows[_i].count);
	for (size_t i = 1; i < result->step_count; i++)
		ck_assert_int_ge(result->step_us[i], result->step_us[i - 1]);
	ck_assert_int_eq(scripted_peer_seen(tls.peer)->unexpected, 0);
	wait_goodbyes(&tls.world);
	exchange_plan_free(plan);
}
END_TEST

/* Ways */

static const struct peer_step opens[] = {
	HEARS("CONNECT shop.test:443 HTTP/1.1"), HEARS("Host: shop.test:443"), HEARS(""),
	SAYS("HTTP/1.1 200 fine\r\n\r\n220 the target speaks first\r\n"), ENDS,
};
static const struct peer_step forbids[] = {
	HEARS("CONNECT"), HEARS("Host:"), HEARS(""), SAYS("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), ENDS,
};
static const struct peer_step hears_a_header[] = { HEARS("PROXY TCP4 127.0.0.1 127.0.0.1 "), SAYS("220 hi\r\n"), ENDS };

static const struct {
	const char *says;
	enum peer_manner manner;
	const struct peer_step *script;
	bool by_proxy;
	const char *reason;
	const char *phase;
	const char *detail; /* how it begins; NULL: none */
} way_rows[] = {
	{ "the proxy opens, and the target's first words are not lost", PEER_LISTENS, opens, true, "ok", "total", NULL },
	{ "the proxy forbids", PEER_LISTENS, forbids, true, "proxy_refused", "proxy", "the proxy says: 403 Forbidden" },
	{ "the proxy is down", PEER_REFUSES, just_there, true, "proxy_failed", "connect", "proxy 127.0.0.1:" },
	{ "the proxy is silent", PEER_LISTENS, just_there, true, "proxy_timeout", "proxy", "no answer of the proxy to " },
	{ "the PROXY protocol comes first", PEER_LISTENS, hears_a_header, false, "ok", "total", NULL },
};

START_TEST(ways)
{
	static const struct exchange_step steps[] = { STEP(EXPECT, "^220 ") };
	AUTO(world) struct world world;
	struct target_config way = { 0 };
	struct exchange_plan *exchange;
	struct scripted_peer *peer;
	struct address address;
	struct error err;
	struct plan plan;
	size_t bad;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, way_rows[_i].manner, way_rows[_i].script);
	address = scripted_peer_address(peer);
	exchange = exchange_plan_new(steps, 1, &bad, &err);
	plan = way_rows[_i].by_proxy ? plan_for_name("shop.test", 443) : plan_for(&address);
	plan.way = &way;
	plan.exchange = exchange;
	if (way_rows[_i].by_proxy)
		way.proxy = (struct proxy_config){ .kind = PROXY_KIND_HTTP, .host = (char *)"127.0.0.1",
						   .port = address.port, .literal = address };
	else
		way.proxy_protocol.version = PROXY_HEADER_V1;
	if (strcmp(way_rows[_i].reason, "proxy_timeout") == 0)
		plan.timeout_us = SHORT_US;
	run(&world, &plan);
	ck_assert_msg(strcmp(reason_name(world.result.reason), way_rows[_i].reason) == 0, "%s: %s: %s", way_rows[_i].says,
		      reason_name(world.result.reason), world.result.detail != NULL ? world.result.detail : "");
	ck_assert_str_eq(phase_name(world.result.phase), way_rows[_i].phase);
	ck_assert((world.result.detail == NULL) == (way_rows[_i].detail == NULL));
	if (way_rows[_i].detail != NULL)
		ck_assert_msg(strncmp(world.result.detail, way_rows[_i].detail, strlen(way_rows[_i].detail)) == 0, "%s",
			      world.result.detail);
	ck_assert_int_eq(world.result.phase_us[PHASE_DNS], -1); /* the proxy looks the name up */
	ck_assert_int_eq(scripted_peer_seen(peer)->unexpected, 0);
	wait_goodbyes(&world);
	scripted_peer_free(peer);
	exchange_plan_free(exchange);
}
END_TEST

/* With what was told the last time; true: facts came along. */
static bool brings_facts(struct tls_world *tls, struct certificate *told, const char *verdict)
{
	const struct result *result = &tls->world.result;
	int count = tls->world.done_count;

	start(&tls->world, &tls->plan, told->present ? told : NULL);
	wait_done(&tls->world, count + 1);
	ck_assert_str_eq(reason_name(result->reason), "ok");
	ck_assert_str_eq(reason_name(result->certificate.verdict), verdict);
	*told = result->certificate;
	return result->facts != NULL;
}

START_TEST(facts_come_when_something_changed)
{
	__attribute__((cleanup(tls_world_auto))) struct tls_world tls;
	struct certificate told = { 0 };

	tls_world_init(&tls, shakes);
	ck_assert(brings_facts(&tls, &told, "ok"));
	ck_assert(!brings_facts(&tls, &told, "ok"));
	ck_assert(!brings_facts(&tls, &told, "ok"));
	tls.plan.wish.server_name = "other.example.com";
	ck_assert(brings_facts(&tls, &told, "cert_hostname"));
	ck_assert(!brings_facts(&tls, &told, "cert_hostname"));
	tls.plan.wish.server_name = "shop.example.com";
	tls_world_set_leaf(&tls, -100, -50);
	ck_assert(brings_facts(&tls, &told, "cert_expired"));
	ck_assert(!brings_facts(&tls, &told, "cert_expired"));
	/* A reload may want to know what is to be asked of an authority. */
	ck_assert_ptr_null(tls.world.result.facts);
	tls.plan.wish.inquiry = true;
	ck_assert(brings_facts(&tls, &told, "cert_expired"));
	ck_assert_ptr_nonnull(tls.world.result.facts->inquiry);
	ck_assert(!brings_facts(&tls, &told, "cert_expired"));
}
END_TEST

START_TEST(a_cancelled_handshake)
{
	__attribute__((cleanup(tls_world_auto))) struct tls_world tls;
	struct probe *probe;

	tls_world_init(&tls, just_there);
	probe = start(&tls.world, &tls.plan, NULL);
	for (int i = 0; i < 5; i++)
		world_turn(&tls.world);
	ck_assert_int_eq(scripted_peer_seen(tls.peer)->open, 1);
	probe_cancel(probe);
	wait_goodbyes(&tls.world);
	wait_ends(&tls.world, tls.peer, 1);
	ck_assert_int_eq(tls.world.done_count, 0);
	ck_assert_int_eq(scripted_peer_seen(tls.peer)->ended_by_reset, 0);
}
END_TEST

/* Many at once, over and over: memory is used again, and each gets its own result. */
START_TEST(many)
{
	enum { EACH = 200, ROUNDS = 5 };
	AUTO(world) struct world world;
	struct scripted_peer *peer;
	struct address address;
	struct plan plan;

	world_init(&world, NULL);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, speaks_early);
	address = scripted_peer_address(peer);
	plan = plan_for(&address);
	for (int round = 1; round <= ROUNDS; round++) {
		for (int i = 0; i < EACH; i++)
			start(&world, &plan, NULL);
		ck_assert_uint_eq(probe_loop_in_flight(world.loop), EACH);
		wait_done(&world, round * EACH);
		ck_assert_str_eq(reason_name(world.result.reason), "ok");
	}
	wait_goodbyes(&world);
	wait_ends(&world, peer, EACH * ROUNDS);
	ck_assert_int_eq(scripted_peer_seen(peer)->ended_by_reset, 0);
	scripted_peer_free(peer);
}
END_TEST

static void add_all(TCase *tcase)
{
	tcase_add_loop_test(tcase, one_address, 0, ROWS(one_rows));
	tcase_add_test(tcase, a_goodbye_is_short);
	tcase_add_test(tcase, latency_is_the_kernels);
	tcase_add_test(tcase, a_last_look_at_the_deadline);
	tcase_add_test(tcase, a_lost_syn_shows);
	tcase_add_loop_test(tcase, names_are_looked_up, 0, ROWS(name_rows));
	tcase_add_loop_test(tcase, several_addresses, 0, ROWS(two_rows));
	tcase_add_test(tcase, no_descriptor_is_ours);
	tcase_add_test(tcase, a_new_resolver_is_asked_again);
	tcase_add_loop_test(tcase, all_addresses, 0, ROWS(everyone_rows));
	tcase_add_test(tcase, to_cancel_the_leader_cancels_all);
	tcase_add_loop_test(tcase, expected_reasons, 0, ROWS(expected_rows));
	tcase_add_test(tcase, a_cancelled_probe_is_silent);
	tcase_add_test(tcase, the_end_of_the_loop_ends_all);
	tcase_add_loop_test(tcase, handshakes, 0, ROWS(tls_rows));
	tcase_add_loop_test(tcase, asks_for_tls, 0, ROWS(starttls_rows));
	tcase_add_loop_test(tcase, exchanges, 0, ROWS(exchange_rows));
	tcase_add_loop_test(tcase, ways, 0, ROWS(way_rows));
	tcase_add_test(tcase, facts_come_when_something_changed);
	tcase_add_test(tcase, a_cancelled_handshake);
	tcase_add_test(tcase, many);
	/* They leave the network behind, which with CK_FORK=no is that of all who come after them. */
	tcase_add_loop_test(tcase, a_family_without_a_route_is_skipped, 0, ROWS(family_rows));
	tcase_add_test(tcase, no_route_at_all_is_ours);
}

int main(void)
{
	Suite *suite = suite_create("probe");
	TCase *tcase = tcase_create("probe");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 60);
	add_all(tcase);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
