/* SPDX-License-Identifier: MIT */
/* The ledger with a real store and a real notifier that writes to the log; the clock is the test's. */
#include <check.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ledger.h"
#include "daemon/log.h"
#include "lib/base/mem.h"
#include "lib/io/store.h"

static struct now fake;

static struct now fake_now(void)
{
	return fake;
}

static void pass(int64_t seconds)
{
	fake.mono_us += seconds * US_PER_S;
	fake.unix_us += seconds * US_PER_S;
}

/* A configuration: two targets, three senders, critical goes to pager too. */
static char *to_log[] = { (char *)"log" };
static char *to_both[] = { (char *)"log", (char *)"pager" };
static struct sender_config senders[] = {
	{ .name = (char *)"log", .kind = SENDER_LOG },
	{ .name = (char *)"pager", .kind = SENDER_LOG },
};
static struct target_config targets[] = {
	{ .name = (char *)"shop", .address = (char *)"shop.example:443" },
	{ .name = (char *)"mail", .address = (char *)"mail.example:25" },
};
static struct config config = {
	.location = (char *)"berlin",
	.senders = senders,
	.sender_count = 2,
	.targets = targets,
	.target_count = 2,
};

struct world {
	char directory[64];
	struct event_base *base;
	struct store *store;
	struct ledger *ledger;
	struct notifier *notifier;
	bool mail_is_gone;
	const struct tls_facts *facts; /* of shop */
};

static bool find_subject(void *arg, const char *name, struct ledger_subject *subject)
{
	const struct world *world = arg;

	*subject = (struct ledger_subject){ 0 };
	for (size_t i = 0; i < config.target_count; i++)
		if (strcmp(targets[i].name, name) == 0 && !(i == 1 && world->mail_is_gone)) {
			subject->config = &targets[i];
			subject->facts = i == 0 ? world->facts : NULL;
			return true;
		}
	return false;
}

static void no_trouble(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static void open_world(struct world *world)
{
	struct store_state *state;
	struct error err;
	char path[128];

	snprintf(path, sizeof(path), "%s/state.db", world->directory);
	world->base = event_base_new();
	world->store = store_open(path, fake.unix_us, &state, &err);
	ck_assert_msg(world->store != NULL, "%s", err.text);
	world->ledger = ledger_new(&(struct ledger_options){
		.store = world->store, .subject = find_subject, .arg = world, .now = fake_now });
	world->notifier = notifier_new(&(struct notifier_options){
		.base = world->base,
		.store = world->store,
		.world = { .base = world->base, .host_name = "test" },
		.hooks = { .thread = ledger_thread, .grouped = ledger_grouped, .trouble = no_trouble, .arg = world->ledger },
		.now = fake_now,
	});
	ledger_set_notifier(world->ledger, world->notifier);
	ledger_set_config(world->ledger, &config);
	notifier_set_config(world->notifier, &config);
	ledger_restore(world->ledger, state);
	notifier_restore(world->notifier, state);
	store_state_free(state);
}

static void close_world(struct world *world)
{
	notifier_free(world->notifier);
	store_close(world->store, 5000);
	ledger_free(world->ledger);
	event_base_free(world->base);
}

static void restart(struct world *world)
{
	close_world(world);
	open_world(world);
}

static struct route *make_routes(void)
{
	struct route *routes = mem_array(2, sizeof(*routes));
	struct error err;

	ck_assert(match_add(&routes[0].match, "level", "critical", &err));
	routes[0].send_to = to_both;
	routes[0].send_to_count = 2;
	routes[1].send_to = to_log;
	routes[1].send_to_count = 1;
	for (size_t i = 0; i < 2; i++) {
		routes[i].group_wait_ms = 2000;
		routes[i].remind_ms[LEVEL_CRITICAL] = 4 * 3600 * MS_PER_S;
		routes[i].remind_certificate_ms = 24 * 3600 * MS_PER_S;
	}
	return routes;
}

static struct world *world_new(void)
{
	struct world *world = mem_new(struct world);

	fake = (struct now){ .mono_us = 1000 * US_PER_S, .unix_us = INT64_C(1700000000) * US_PER_S };
	log_open();
	log_set_level(LOG_LEVEL_ERROR);
	strcpy(world->directory, "/tmp/check_ledger.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->directory));
	config.routes = make_routes();
	config.route_count = 2;
	open_world(world);
	return world;
}

static void world_free(struct world *world)
{
	char command[128];

	close_world(world);
	for (size_t i = 0; i < config.route_count; i++)
		match_done(&config.routes[i].match);
	free(config.routes);
	snprintf(command, sizeof(command), "rm -rf '%s'", world->directory);
	ck_assert_int_eq(system(command), 0);
	free(world);
}

static void change(struct world *world, const char *target, enum check check, enum level level, enum reason reason)
{
	const struct change one = {
		.check = check, .level = level, .reason = reason, .since_unix_us = fake.unix_us
	};

	ledger_change(world->ledger, target, &one);
	ledger_commit(world->ledger);
}

/* Until the store has written everything and all that is due has been delivered. */
static void settle(struct world *world)
{
	struct store_health health;

	for (int i = 0; i < 2000; i++) {
		store_dispatch(world->store);
		notifier_run(world->notifier);
		event_base_loop(world->base, EVLOOP_NONBLOCK);
		store_get_health(world->store, fake.mono_us, &health);
		if (health.pending_batches == 0 && notifier_in_flight(world->notifier) == 0 &&
		    notifier_waiting(world->notifier) == 0) {
			store_dispatch(world->store);
			return;
		}
		usleep(1000);
	}
	ck_abort_msg("it does not settle");
}

static struct told told_of(struct world *world, const char *target, enum check check, const char *sender)
{
	const struct incident *incident = ledger_open_incident(world->ledger, target, check);

	ck_assert_ptr_nonnull(incident);
	for (size_t i = 0; i < incident->told_count; i++)
		if (strcmp(incident->told[i].sender, sender) == 0)
			return incident->told[i];
	return (struct told){ 0 };
}

START_TEST(test_open_tell_end)
{
	struct world *world = world_new();

	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	ck_assert_int_eq(ledger_open_incident(world->ledger, "shop", CHECK_AVAILABILITY)->number, 1);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "pager").level, LEVEL_CRITICAL);
	settle(world);
	pass(3);
	settle(world);
	ck_assert_ptr_nonnull(told_of(world, "shop", CHECK_AVAILABILITY, "pager").first_message);
	ck_assert_ptr_nonnull(ledger_thread(world->ledger, 1, "log"));
	change(world, "shop", CHECK_AVAILABILITY, LEVEL_OK, REASON_OK);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	/* The thread is known until the recovery is in a message. */
	ck_assert_ptr_nonnull(ledger_thread(world->ledger, 1, "log"));
	settle(world);
	pass(3);
	settle(world);
	ck_assert_ptr_null(ledger_thread(world->ledger, 1, "log"));
	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	ck_assert_int_eq(ledger_open_incident(world->ledger, "shop", CHECK_AVAILABILITY)->number, 2);
	world_free(world);
}
END_TEST

START_TEST(test_a_rise_tells_whom_the_new_level_concerns)
{
	struct world *world = world_new();

	change(world, "shop", CHECK_LATENCY, LEVEL_WARNING, REASON_LATENCY_HIGH);
	ck_assert_ptr_null(told_of(world, "shop", CHECK_LATENCY, "pager").sender);
	change(world, "shop", CHECK_LATENCY, LEVEL_CRITICAL, REASON_LATENCY_HIGH);
	ck_assert_int_eq(told_of(world, "shop", CHECK_LATENCY, "pager").level, LEVEL_CRITICAL);
	change(world, "shop", CHECK_LATENCY, LEVEL_WARNING, REASON_LATENCY_HIGH);
	/* Who heard the problem hears that it is better, although its route asks for critical. */
	ck_assert_int_eq(told_of(world, "shop", CHECK_LATENCY, "pager").level, LEVEL_WARNING);
	world_free(world);
}
END_TEST

START_TEST(test_restart_is_silent)
{
	struct world *world = world_new();

	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	settle(world);
	pass(3);
	settle(world);
	const int64_t told_at = told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us;

	restart(world);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us, told_at);
	/* The same verdict again, as the first probes after a restart give it, tells nobody. */
	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us, told_at);
	pass(3);
	settle(world);
	/* A crash between the end and its message: the recovery still threads under the problem. */
	change(world, "shop", CHECK_AVAILABILITY, LEVEL_OK, REASON_OK);
	restart(world);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	ck_assert_ptr_nonnull(ledger_thread(world->ledger, 1, "log"));
	settle(world);
	pass(3);
	settle(world);
	ck_assert_ptr_null(ledger_thread(world->ledger, 1, "log"));
	world_free(world);
}
END_TEST

START_TEST(test_reminders)
{
	struct world *world = world_new();

	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	const int64_t told_at = told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us;

	pass(4 * 3600 - 1);
	ledger_remind(world->ledger);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us, told_at);
	pass(1);
	ledger_remind(world->ledger);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us, told_at + 4 * 3600 * US_PER_S);
	pass(4 * 3600); /* and not only once */
	ledger_remind(world->ledger);
	ck_assert_int_eq(told_of(world, "shop", CHECK_AVAILABILITY, "log").at_unix_us, told_at + 8 * 3600 * US_PER_S);
	ledger_commit(world->ledger);
	world_free(world);
}
END_TEST

static void show_certificate(struct world *world, uint8_t id, enum level level)
{
	struct certificate certificate = { .present = true, .fingerprint = { id } };
	const struct change one = {
		.check = CHECK_CERTIFICATE,
		.level = level,
		.reason = level == LEVEL_OK ? REASON_OK : REASON_CERT_EXPIRING,
		.since_unix_us = fake.unix_us,
		.certificate = &certificate,
	};

	ledger_change(world->ledger, "shop", &one);
	ledger_commit(world->ledger);
}

START_TEST(test_one_certificate_opens_once_in_seven_days)
{
	struct world *world = world_new();

	show_certificate(world, 1, LEVEL_WARNING);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	show_certificate(world, 2, LEVEL_OK);
	pass(86400);
	show_certificate(world, 1, LEVEL_WARNING); /* an old node is back */
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	restart(world);
	show_certificate(world, 1, LEVEL_WARNING);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	show_certificate(world, 1, LEVEL_CRITICAL); /* that is new */
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	show_certificate(world, 2, LEVEL_OK);
	show_certificate(world, 3, LEVEL_WARNING); /* another certificate is too */
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	show_certificate(world, 2, LEVEL_OK);
	pass(7 * 86400);
	show_certificate(world, 1, LEVEL_WARNING);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	world_free(world);
}
END_TEST

START_TEST(test_which_certificate_ends_and_when)
{
	struct certificate_facts chain[2] = {
		{ .subject = (char *)"CN=shop", .fingerprint = { 1 }, .not_after_unix_s = 1795000000 },
		{ .subject = (char *)"CN=R3", .not_after_unix_s = 1794000000 },
	};
	const struct tls_facts facts = { .chain = chain, .chain_count = 2, .chain_total = 2 };
	struct world *world = world_new();

	world->facts = &facts;
	show_certificate(world, 1, LEVEL_WARNING);
	ck_assert_str_eq(ledger_open_incident(world->ledger, "shop", CHECK_CERTIFICATE)->detail,
			 "CN=R3 ends 2026-11-06T21:20:00Z");
	show_certificate(world, 1, LEVEL_OK);
	show_certificate(world, 2, LEVEL_WARNING); /* the facts are another's */
	ck_assert_ptr_null(ledger_open_incident(world->ledger, "shop", CHECK_CERTIFICATE)->detail);
	world_free(world);
}
END_TEST

static size_t waiting(struct world *world)
{
	struct store_state *state;
	struct error err;
	char path[128];
	size_t count;

	restart(world);
	close_world(world);
	snprintf(path, sizeof(path), "%s/state.db", world->directory);
	world->store = store_open(path, fake.unix_us, &state, &err);
	ck_assert_ptr_nonnull(world->store);
	count = state->notice_count + state->message_count;
	store_state_free(state);
	store_close(world->store, 5000);
	open_world(world);
	return count;
}

START_TEST(test_news_is_told_without_an_incident)
{
	struct world *world = world_new();

	ledger_notice_certificate(world->ledger, "shop", "another issuer", "issued by CN=B instead of CN=A");
	ledger_notice_certificate(world->ledger, "shop", "a weaker key", NULL);
	ledger_commit(world->ledger);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	/* It is a warning: log hears of it, pager does not. It survives a restart, and leaves. */
	ck_assert_uint_eq(waiting(world), 2);
	pass(3);
	settle(world);
	ck_assert_uint_eq(waiting(world), 0);
	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	ck_assert_int_eq(ledger_open_incident(world->ledger, "shop", CHECK_AVAILABILITY)->number, 1);
	world_free(world);
}
END_TEST

START_TEST(test_no_longer_watched)
{
	struct world *world = world_new();

	change(world, "shop", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	change(world, "shop", CHECK_LATENCY, LEVEL_WARNING, REASON_LATENCY_HIGH);
	change(world, "mail", CHECK_AVAILABILITY, LEVEL_CRITICAL, REASON_CONNECT_REFUSED);
	ledger_unwatch(world->ledger, "shop", CHECK_LATENCY);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 2);
	ledger_unwatch(world->ledger, "shop", CHECK_COUNT);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 1);
	ledger_commit(world->ledger);
	world->mail_is_gone = true; /* removed while we were not running */
	restart(world);
	ledger_unwatch_missing(world->ledger);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	ledger_commit(world->ledger);
	world_free(world);
}
END_TEST

START_TEST(test_self)
{
	struct world *world = world_new();

	ledger_self(world->ledger, REASON_CONFIG_REFUSED, NULL); /* nothing to end */
	ledger_self(world->ledger, REASON_CONFIG_REFUSED, "portbell.yaml:1:1: no");
	ledger_self(world->ledger, REASON_STORE_FAILED, "disk I/O error");
	ck_assert_uint_eq(ledger_open_count(world->ledger), 2);
	ck_assert(ledger_own_trouble(world->ledger));
	ledger_commit(world->ledger);
	restart(world);
	ck_assert_str_eq(ledger_self_incident(world->ledger, REASON_CONFIG_REFUSED)->detail, "portbell.yaml:1:1: no");
	ledger_self(world->ledger, REASON_CONFIG_REFUSED, NULL);
	ck_assert_ptr_null(ledger_self_incident(world->ledger, REASON_CONFIG_REFUSED));
	ledger_self(world->ledger, REASON_STORE_FAILED, NULL);
	ck_assert(!ledger_own_trouble(world->ledger));
	ledger_commit(world->ledger);
	world_free(world);
}
END_TEST

START_TEST(test_quiet_changes_leave_no_trace)
{
	struct world *world = world_new();
	const struct change quiet = {
		.check = CHECK_AVAILABILITY, .level = LEVEL_UNKNOWN, .reason = REASON_LOCAL_ERROR, .quiet = true
	};

	ledger_change(world->ledger, "shop", &quiet);
	ck_assert_uint_eq(ledger_open_count(world->ledger), 0);
	world_free(world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tests = tcase_create("ledger");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_open_tell_end);
	tcase_add_test(tests, test_a_rise_tells_whom_the_new_level_concerns);
	tcase_add_test(tests, test_restart_is_silent);
	tcase_add_test(tests, test_reminders);
	tcase_add_test(tests, test_news_is_told_without_an_incident);
	tcase_add_test(tests, test_one_certificate_opens_once_in_seven_days);
	tcase_add_test(tests, test_which_certificate_ends_and_when);
	tcase_add_test(tests, test_no_longer_watched);
	tcase_add_test(tests, test_self);
	tcase_add_test(tests, test_quiet_changes_leave_no_trace);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
