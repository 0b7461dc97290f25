/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/prober.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls.h"
#include "tests/make_cert.h"
#include "tests/scripted_peer.h"

enum { PROBERS = 2, TARGETS = 500, PATIENCE_US = 30 * 1000 * 1000, TARGETS_MAX = 1024 };

/* What main does with what probers say. */
struct world {
	struct event_base *base;
	struct inbox *reports;
	struct event *reports_event;
	struct prober *probers[PROBERS];
	int prober_count;
	int results;
	int bad;
	int with_facts;
	int per_target[TARGETS_MAX];
	enum reason last_reason;
	int stats_reports;
	uint64_t started;
	uint64_t discarded;
	uint64_t waited;
	int64_t loop_late_us;
	uint64_t settled[PROBERS];
};

static void world_take_results(struct world *world, const struct prober_report *report)
{
	if (report->as.batch.count == 0 || report->as.batch.count > PROBER_BATCH)
		ck_abort_msg("a batch of %zu", report->as.batch.count);
	for (size_t i = 0; i < report->as.batch.count; i++) {
		const struct result *result = &report->as.batch.results[i];

		world->results++;
		world->bad += result->reason != REASON_OK;
		world->with_facts += result->facts != NULL;
		world->per_target[result->target_id]++;
		world->last_reason = result->reason;
	}
}

static void world_take(struct world *world, const struct prober_report *report)
{
	switch (report->kind) {
	case PROBER_RESULTS:
		world_take_results(world, report);
		break;
	case PROBER_SETTLED:
		world->settled[report->prober] = report->as.settled;
		break;
	case PROBER_STATS:
		world->stats_reports++;
		world->started += report->as.stats.started;
		world->discarded += report->as.stats.discarded;
		world->waited += report->as.stats.waited;
		if (report->as.stats.loop_late_us > world->loop_late_us)
			world->loop_late_us = report->as.stats.loop_late_us;
		break;
	}
}

static void on_reports(evutil_socket_t fd, short what, void *arg)
{
	struct world *world = arg;
	struct prober_report *report;
	struct list items;

	(void)fd;
	(void)what;
	inbox_take(world->reports, &items);
	list_each(report, &items, struct prober_report, item) {
		world_take(world, report);
		prober_report_free(report);
	}
}

static void world_init(struct world *world, int prober_count, size_t max_sockets)
{
	struct error err;

	*world = (struct world){ .prober_count = prober_count };
	world->base = event_base_new();
	world->reports = inbox_new(&err);
	world->reports_event = event_new(world->base, inbox_fd(world->reports), EV_READ | EV_PERSIST, on_reports,
					 world);
	event_add(world->reports_event, NULL);
	for (int i = 0; i < prober_count; i++) {
		struct prober_options options = { .number = i, .max_sockets = max_sockets,
						  .reports = world->reports,
						  .resolver = { .timeout_ms = 2000, .tries = 2, .cache = true } };

		world->probers[i] = prober_new(&options, &err);
		ck_assert_msg(world->probers[i] != NULL, "%s", err.text);
	}
}

static void world_auto(struct world *world)
{
	for (int i = 0; i < world->prober_count; i++)
		prober_free(world->probers[i]);
	on_reports(-1, 0, world);
	event_free(world->reports_event);
	inbox_free(world->reports);
	event_base_free(world->base);
}

static void world_turn(struct world *world, int64_t give_up_us)
{
	const struct timeval tick = { .tv_usec = 20 * 1000 };

	ck_assert_msg(clock_mono_us() < give_up_us, "it takes for ever");
	event_base_loopexit(world->base, &tick);
	event_base_loop(world->base, 0);
}

/* Until each of `count` targets has had that many results. */
static void wait_results(struct world *world, int count, int each)
{
	int64_t give_up_us = clock_mono_us() + PATIENCE_US;
	int i = 0;

	while (i < count) {
		if (world->per_target[i] >= each)
			i++;
		else
			world_turn(world, give_up_us);
	}
}

static void wait_settled(struct world *world, uint64_t generation)
{
	int64_t give_up_us = clock_mono_us() + PATIENCE_US;

	for (int i = 0; i < world->prober_count; i++) {
		while (world->settled[i] < generation)
			world_turn(world, give_up_us);
	}
}

/* Targets numbered from `first`, all at one address. */
static struct assignment assignment_new(uint64_t generation, size_t count, uint32_t first,
					const struct address *address, bool same_as_before)
{
	struct plan *plans = mem_array(count + 1, sizeof(*plans));

	for (size_t i = 0; i < count; i++) {
		uint32_t id = first + (uint32_t)i;

		plans[i] = (struct plan){ .target_id = id, .previous = same_as_before ? (int32_t)i : -1,
					  .spread = str_hash(&id, sizeof(id), 1), .host = "127.0.0.1",
					  .literal = *address, .port = address->port, .interval_us = US_PER_S,
					  .timeout_us = 900 * US_PER_MS, .recheck_us = 200 * US_PER_MS };
	}
	return (struct assignment){ .generation = generation, .plans = plans, .count = count };
}

static const struct peer_step just_there[] = { { PEER_END, NULL, 0 } };
static const struct peer_step shakes[] = { { PEER_TLS, NULL, 0 }, { PEER_END, NULL, 0 } };
static const struct peer_step shakes_slowly[] = { { PEER_PAUSE, NULL, 400 }, { PEER_TLS, NULL, 0 },
						  { PEER_END, NULL, 0 } };

START_TEST(two_probers)
{
	AUTO(world) struct world world;
	struct assignment assignments[PROBERS];
	struct assignment next[PROBERS];
	struct scripted_peer *peer;
	struct address address;

	world_init(&world, PROBERS, 1000);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	address = scripted_peer_address(peer);
	for (int i = 0; i < PROBERS; i++) {
		assignments[i] =
			assignment_new(1, TARGETS / PROBERS, (uint32_t)(i * TARGETS / PROBERS), &address, false);
		prober_post_targets(world.probers[i], &assignments[i]);
	}
	wait_settled(&world, 1);
	wait_results(&world, TARGETS, 2);
	for (int i = 0; i < PROBERS; i++) {
		next[i] = assignment_new(2, TARGETS / PROBERS, (uint32_t)(i * TARGETS / PROBERS), &address, true);
		prober_post_targets(world.probers[i], &next[i]);
	}
	wait_settled(&world, 2);
	for (int i = 0; i < PROBERS; i++)
		free(assignments[i].plans);
	memset(world.per_target, 0, sizeof(world.per_target));
	wait_results(&world, TARGETS, 2);
	ck_assert_int_eq(world.bad, 0);
	ck_assert_int_ge(world.stats_reports, 2);
	ck_assert_uint_ge(world.started, TARGETS);
	for (int i = 0; i < PROBERS; i++)
		prober_stop(world.probers[i]);
	for (int i = 0; i < PROBERS; i++)
		free(next[i].plans);
	ck_assert_int_eq(scripted_peer_seen(peer)->ended_by_reset, 0);
	scripted_peer_free(peer);
}
END_TEST

START_TEST(pace_and_resolver)
{
	AUTO(world) struct world world;
	struct assignment assignment;
	struct scripted_peer *peer;
	struct address address;
	int64_t give_up_us = clock_mono_us() + PATIENCE_US;

	world_init(&world, 1, 10);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_REFUSES, just_there);
	address = scripted_peer_address(peer);
	assignment = assignment_new(1, 1, 0, &address, false);
	assignment.plans[0].interval_us = 3600 * US_PER_S;
	prober_post_targets(world.probers[0], &assignment);
	wait_results(&world, 1, 1);
	ck_assert_str_eq(reason_name(world.last_reason), "connect_refused");
	prober_post_pace(world.probers[0], 0, PACE_RECHECK);
	wait_results(&world, 1, 4);
	prober_post_pace(world.probers[0], 0, PACE_NORMAL);
	prober_post_resolver(world.probers[0], &(struct resolver_options){ .timeout_ms = 1000, .tries = 1 });
	world.stats_reports = 0;
	while (world.stats_reports < 2)
		world_turn(&world, give_up_us);
	ck_assert_int_le(world.results, 6);
	prober_stop(world.probers[0]);
	free(assignment.plans);
	scripted_peer_free(peer);
}
END_TEST

/* A server, a root of its own, and contexts for each prober, made while it runs. */
struct tls_side {
	char directory[64];
	char root_file[96];
	struct made root;
	struct made leaf;
	SSL_CTX *server;
	struct tls_trust *trust;
};

static void tls_side_init(struct tls_side *side)
{
	const struct made *roots[] = { &side->root };
	const char *files[] = { side->root_file };
	int64_t now_unix_s = clock_unix_us() / US_PER_S;
	struct error err;

	*side = (struct tls_side){ .directory = "/tmp/check_prober.XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(side->directory));
	snprintf(side->root_file, sizeof(side->root_file), "%s/root.pem", side->directory);
	side->root = make_cert(&(struct cert_plan){ .cn = "Root", .ca = true,
						    .not_before_unix_s = now_unix_s - 100,
						    .not_after_unix_s = now_unix_s + 100 * S_PER_DAY });
	side->leaf = make_cert(&(struct cert_plan){ .cn = "leaf", .issuer = &side->root,
						    .sans = "DNS:shop.example.com",
						    .not_before_unix_s = now_unix_s - 100,
						    .not_after_unix_s = now_unix_s + 50 * S_PER_DAY });
	made_write_pem(roots, 1, side->root_file);
	side->server = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(side->server, side->leaf.x509);
	SSL_CTX_use_PrivateKey(side->server, side->leaf.key);
	side->trust = tls_trust_new(files, 1, &err);
	ck_assert_ptr_nonnull(side->trust);
}

static void tls_side_auto(struct tls_side *side)
{
	tls_trust_free(side->trust);
	SSL_CTX_free(side->server);
	made_done(&side->root);
	made_done(&side->leaf);
	unlink(side->root_file);
	rmdir(side->directory);
}

static void use_tls(struct assignment *assignment, struct tls_context *context)
{
	for (size_t i = 0; i < assignment->count; i++) {
		assignment->plans[i].tls = context;
		assignment->plans[i].wish =
			(struct tls_wish){ .server_name = "shop.example.com", .verify = VERIFY_FULL };
	}
}

START_TEST(tls_on_two_probers)
{
	enum { COUNT = 40 };
	__attribute__((cleanup(tls_side_auto))) struct tls_side side;
	AUTO(world) struct world world;
	struct assignment assignments[PROBERS];
	struct tls_context *contexts[PROBERS];
	struct scripted_peer *peer;
	struct address address;
	struct error err;

	tls_side_init(&side);
	world_init(&world, PROBERS, 1000);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_LISTENS, shakes);
	scripted_peer_set_tls(peer, side.server);
	address = scripted_peer_address(peer);
	for (int i = 0; i < PROBERS; i++) {
		contexts[i] = tls_context_new(prober_tls_domain(world.probers[i]), side.trust, NULL, &err);
		ck_assert_ptr_nonnull(contexts[i]);
		assignments[i] =
			assignment_new(1, COUNT / PROBERS, (uint32_t)(i * COUNT / PROBERS), &address, false);
		use_tls(&assignments[i], contexts[i]);
		prober_post_targets(world.probers[i], &assignments[i]);
	}
	wait_results(&world, COUNT, 3);
	ck_assert_int_eq(world.bad, 0);
	ck_assert_int_eq(world.with_facts, COUNT);
	for (int i = 0; i < PROBERS; i++) {
		prober_stop(world.probers[i]);
		tls_context_free(contexts[i]);
		free(assignments[i].plans);
	}
	ck_assert_int_eq(scripted_peer_seen(peer)->ended_by_reset, 0);
	scripted_peer_free(peer);
}
END_TEST

/* Another process, so that it needs none of our descriptors and is not stopped with us. */
static pid_t serve_elsewhere(struct address *address)
{
	struct event_base *base = event_base_new();
	struct scripted_peer *peer = scripted_peer_new(base, "127.0.0.1", 0, PEER_LISTENS, just_there);
	pid_t pid;

	*address = scripted_peer_address(peer);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		event_reinit(base);
		event_base_loop(base, 0);
		_exit(0);
	}
	scripted_peer_free(peer);
	event_base_free(base);
	return pid;
}

START_TEST(few_descriptors)
{
	AUTO(world) struct world world;
	struct assignment assignment;
	struct address address;
	struct rlimit limit;
	pid_t server = serve_elsewhere(&address);
	int next;

	world_init(&world, 1, 5000);
	assignment = assignment_new(1, TARGETS, 0, &address, false);
	getrlimit(RLIMIT_NOFILE, &limit);
	next = dup(0);
	close(next);
	limit.rlim_cur = (rlim_t)next + 5;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	prober_post_targets(world.probers[0], &assignment);
	wait_results(&world, TARGETS, 3);
	ck_assert_int_eq(world.bad, 0);
	ck_assert_uint_gt(world.waited, 0);
	prober_stop(world.probers[0]);
	free(assignment.plans);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}
END_TEST

/* In a process of its own, which is stopped while probes are in flight; the exit status says how it went. */
static int be_stopped(const struct address *address, const struct tls_side *side, int ready_fd)
{
	struct world world;
	struct assignment assignment;
	struct tls_context *context;
	struct error err;
	int64_t give_up_us = clock_mono_us() + PATIENCE_US;
	int status;

	world_init(&world, 1, 1000);
	context = tls_context_new(prober_tls_domain(world.probers[0]), side->trust, NULL, &err);
	assignment = assignment_new(1, 20, 0, address, false);
	use_tls(&assignment, context);
	prober_post_targets(world.probers[0], &assignment);
	wait_results(&world, 20, 1);
	if (write(ready_fd, "r", 1) != 1)
		return 2;
	while (world.discarded == 0 && clock_mono_us() < give_up_us)
		world_turn(&world, give_up_us);
	memset(world.per_target, 0, sizeof(world.per_target));
	wait_results(&world, 20, 1);
	status = world.bad == 0 && world.discarded > 0 ? 0 : 1;
	prober_stop(world.probers[0]);
	tls_context_free(context);
	free(assignment.plans);
	world_auto(&world);
	return status;
}

static void run_for(struct event_base *base, int64_t us)
{
	struct timeval time = { .tv_sec = us / US_PER_S, .tv_usec = us % US_PER_S };

	event_base_loopexit(base, &time);
	event_base_loop(base, 0);
}

/* Handshakes of 400 ms each second, a timeout of 900 ms, nobody at home for 2 s: none of that is the target's. */
START_TEST(a_stopped_process_judges_nobody)
{
	__attribute__((cleanup(tls_side_auto))) struct tls_side side;
	struct event_base *base = event_base_new();
	struct scripted_peer *peer;
	struct address address;
	int ready[2];
	int status;
	pid_t pid;

	tls_side_init(&side);
	peer = scripted_peer_new(base, "127.0.0.1", 0, PEER_LISTENS, shakes_slowly);
	scripted_peer_set_tls(peer, side.server);
	address = scripted_peer_address(peer);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(be_stopped(&address, &side, ready[1]));
	while (read(ready[0], &status, 1) != 1)
		run_for(base, 20 * US_PER_MS);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	run_for(base, 2 * US_PER_S);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	while (waitpid(pid, &status, WNOHANG) == 0)
		run_for(base, 20 * US_PER_MS);
	ck_assert_int_eq(status, 0);
	close(ready[0]);
	close(ready[1]);
	scripted_peer_free(peer);
	event_base_free(base);
}
END_TEST

START_TEST(ends_while_all_is_in_flight)
{
	AUTO(world) struct world world;
	struct assignment assignment;
	struct scripted_peer *peer;
	struct address address;

	world_init(&world, 1, 1000);
	peer = scripted_peer_new(world.base, "127.0.0.1", 0, PEER_STALLS, just_there);
	address = scripted_peer_address(peer);
	assignment = assignment_new(1, 100, 0, &address, false);
	prober_post_targets(world.probers[0], &assignment);
	wait_settled(&world, 1);
	prober_post_targets(world.probers[0], &assignment);
	prober_free(TAKE(world.probers[0]));
	free(assignment.plans);
	scripted_peer_free(peer);
	prober_free(NULL);
	prober_report_free(NULL);
}
END_TEST

START_TEST(bad_servers_are_an_error)
{
	static const char *const servers[] = { "not an address" };
	struct error err = { 0 };
	struct inbox *reports = inbox_new(&err);
	struct prober_options options = { .max_sockets = 10, .reports = reports,
					  .resolver = { .servers = servers, .server_count = 1, .timeout_ms = 1000,
							.tries = 1 } };

	ck_assert_ptr_null(prober_new(&options, &err));
	ck_assert_str_ne(err.text, "");
	inbox_free(reports);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("prober");
	TCase *tcase = tcase_create("prober");
	SRunner *runner = srunner_create(suite);
	int failures;

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, two_probers);
	tcase_add_test(tcase, pace_and_resolver);
	tcase_add_test(tcase, tls_on_two_probers);
	tcase_add_test(tcase, a_stopped_process_judges_nobody);
	tcase_add_test(tcase, ends_while_all_is_in_flight);
	tcase_add_test(tcase, bad_servers_are_an_error);
	/* The last one, since with CK_FORK=no the limit stays. */
	tcase_add_test(tcase, few_descriptors);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
