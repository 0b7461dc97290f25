/* SPDX-License-Identifier: MIT */
/* unshare() and nftw() */
#define _GNU_SOURCE 1
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/store.h"
#include "lib/io/store_private.h"

#define NOW_US INT64_C(1800000000000000)
#define DAY_US (S_PER_DAY * US_PER_S)

enum { DEADLINE_S = 30, FLIP_ROUNDS = 200, CRASH_ROUNDS = 30, BODY_BYTES = 100 << 10, NOBODY = 65534 };

/* Dispatches until the condition holds; fails the test when it does not come true. */
#define PUMP_UNTIL(store, condition)                                                        \
	do {                                                                                \
		int64_t deadline_ = clock_mono_us() + DEADLINE_S * US_PER_S;                \
		while (!(condition)) {                                                      \
			ck_assert_msg(clock_mono_us() < deadline_, "never: %s", #condition); \
			pump_once(store);                                                   \
		}                                                                           \
	} while (0)

static char directory[256];
static char path[512];

static void pump_once(struct store *store)
{
	struct pollfd pollfd = { .fd = store_fd(store), .events = POLLIN };

	if (poll(&pollfd, 1, 100) > 0)
		store_dispatch(store);
}

static void make_directory(void)
{
	const char *parent = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%s/check_store.XXXXXX", parent != NULL ? parent : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/state.db", directory);
}

static int remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(name);
}

static void remove_directory(void)
{
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *beside(const char *suffix)
{
	static char name[600];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return name;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
	FILE *file = fopen(name, "wb");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
	ck_assert_int_eq(fclose(file), 0);
}

static unsigned char *read_file(const char *name, size_t *bytes)
{
	FILE *file = fopen(name, "rb");
	unsigned char *data;
	long size;

	ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	data = mem_alloc((size_t)size + 1);
	*bytes = fread(data, 1, (size_t)size, file);
	fclose(file);
	return data;
}

static struct store *open_good(struct store_state **state)
{
	struct error err = { .text = "" };
	struct store *store = store_open(path, NOW_US, state, &err);

	ck_assert_msg(store != NULL, "%s: %s", err.where, err.text);
	ck_assert_msg(!(*state)->moved_aside, "%s", (*state)->moved_why);
	ck_assert_ptr_null((*state)->moved_to);
	return store;
}

static struct store *open_empty(void)
{
	struct store_state *state;
	struct store *store = open_good(&state);

	store_state_free(state);
	return store;
}

static sqlite3 *connect_beside(void)
{
	sqlite3 *sqlite = NULL;

	ck_assert_int_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
	return sqlite;
}

static void execute(sqlite3 *sqlite, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(sqlite, sql, NULL, NULL, &text) != SQLITE_OK)
		ck_abort_msg("%s: %s", sql, text);
}

static void execute_beside(const char *sql)
{
	sqlite3 *sqlite = connect_beside();

	execute(sqlite, sql);
	sqlite3_close(sqlite);
}

static unsigned print_seed(const char *what)
{
	const char *given = getenv("PORTBELL_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_mono_us();

	printf("%s: PORTBELL_SEED=%u\n", what, seed);
	fflush(stdout);
	return seed;
}

/* What was announced, in order. */
struct heard {
	int numbers[4096];
	bool durable[4096];
	int count;
};

struct expected {
	struct heard *heard;
	int number;
};

static void on_done(void *arg, bool durable)
{
	struct expected *expected = arg;
	struct heard *heard = expected->heard;

	ck_assert_int_lt(heard->count, 4096);
	heard->numbers[heard->count] = expected->number;
	heard->durable[heard->count++] = durable;
	free(expected);
}

static void commit_numbered(struct store *store, struct store_batch *batch, struct heard *heard, int number)
{
	struct expected *expected = mem_new(struct expected);

	expected->heard = heard;
	expected->number = number;
	store_commit(store, batch, clock_mono_us(), on_done, expected);
}

static void check_heard(const struct heard *heard, int from, int to, bool durable)
{
	for (int i = from; i < to; i++) {
		ck_assert_int_eq(heard->numbers[i], i);
		ck_assert_int_eq(heard->durable[i], durable);
	}
}

static void put_numbered_notice(struct store_batch *batch, int64_t id)
{
	struct notice notice = { .id = id, .incident = 1, .sender = "ops", .event = EVENT_PROBLEM,
				 .level = LEVEL_CRITICAL, .group_key = "g", .created_unix_us = NOW_US,
				 .wait_ms = 100, .item = "{}" };

	store_put_notice(batch, &notice);
}

static void commit_notice(struct store *store, struct heard *heard, int number)
{
	struct store_batch *batch = store_batch_new();

	put_numbered_notice(batch, number + 1);
	commit_numbered(store, batch, heard, number);
}

static size_t stored_notices(void)
{
	struct store_state *state;
	struct store *store = open_good(&state);
	size_t count = state->notice_count;

	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(state->notices[i].id, (int64_t)i + 1);
	store_state_free(state);
	store_close(store, 10000);
	return count;
}

static void commit_and_wait(struct store *store, struct store_batch *batch)
{
	struct heard heard = { .count = 0 };

	commit_numbered(store, batch, &heard, 0);
	PUMP_UNTIL(store, heard.count == 1);
	ck_assert(heard.durable[0]);
}

/* Round trips. */

static struct incident sample_incident(int64_t number)
{
	return (struct incident){
		.number = number, .target = "shop", .check = CHECK_AVAILABILITY, .level = LEVEL_CRITICAL,
		.worst = LEVEL_CRITICAL, .reason = REASON_CONNECT_REFUSED, .phase = PHASE_CONNECT,
		.since_unix_us = NOW_US - 7, .opened_unix_us = NOW_US - 5,
	};
}

static void put_levels(struct store_batch *batch)
{
	struct level_row row = { "it's; \"quoted\" \xc3\xa4", CHECK_LATENCY, LEVEL_WARNING, REASON_LATENCY_HIGH,
				 NOW_US };

	store_put_level(batch, &row);
	row.check = CHECK_SELF;
	store_put_level(batch, &row);
	row.level = LEVEL_UNKNOWN;
	row.reason = REASON_DISK_FULL;
	row.since_unix_us = 0;
	store_put_level(batch, &row);
	row.target = "gone";
	store_put_level(batch, &row);
}

static void put_certificates(struct store_batch *batch)
{
	struct certificate_row row = { "shop", { 1, 0, 255 }, NOW_US, -62135596800, 253402300799, INT64_MAX,
				       REASON_CERT_EXPIRING, "{\"subject\":\"CN=shop\"}" };

	store_put_certificate(batch, &row);
	row.fingerprint[0] = 2;
	row.first_seen_unix_us++;
	row.facts = NULL;
	row.chain_not_after_unix_s = 5;
	store_put_certificate(batch, &row);
	row.fingerprint[0] = 3;
	store_put_certificate(batch, &row);
	store_drop_certificate(batch, "shop", row.fingerprint);
	row.target = "gone";
	store_put_certificate(batch, &row);
	store_drop_target(batch, "gone");
}

static void put_incidents(struct store_batch *batch)
{
	struct told told[] = {
		{ "mail", LEVEL_CRITICAL, NOW_US, NULL }, { "chat", LEVEL_WARNING, NOW_US + 1, "m1" },
	};
	struct incident incident = sample_incident(41);

	incident.told = told;
	incident.told_count = 1;
	store_put_incident(batch, &incident);
	incident.told_count = 2;
	incident.address = "192.0.2.1:443";
	incident.detail = "";
	store_put_incident(batch, &incident);
	incident = sample_incident(42);
	incident.check = CHECK_CERTIFICATE;
	incident.has_fingerprint = true;
	incident.fingerprint[31] = 9;
	store_put_incident(batch, &incident);
}

static void put_messages(struct store_batch *batch, const char *body)
{
	struct message_row row = { .id = "m2", .sender = "mail", .created_unix_us = NOW_US, .body = (char *)body };

	store_put_message(batch, &row);
	row.id = "m1";
	store_put_message(batch, &row);
	row.id = "m0";
	row.created_unix_us--;
	store_put_message(batch, &row);
	row.id = "m2";
	row.created_unix_us++;
	row.attempts = 3;
	row.next_try_unix_us = NOW_US + 60;
	row.error = "421 try later";
	store_put_message(batch, &row);
	row.id = "dead";
	row.state = MESSAGE_DEAD;
	row.ended_unix_us = NOW_US;
	store_put_message(batch, &row);
	row.id = "dropped";
	store_put_message(batch, &row);
	store_drop_message(batch, "dropped");
}

static void check_levels(const struct store_state *state)
{
	ck_assert_uint_eq(state->level_count, 2);
	ck_assert_str_eq(state->levels[0].target, "it's; \"quoted\" \xc3\xa4");
	ck_assert_int_eq(state->levels[0].check, CHECK_LATENCY);
	ck_assert_int_eq(state->levels[0].level, LEVEL_WARNING);
	ck_assert_int_eq(state->levels[0].reason, REASON_LATENCY_HIGH);
	ck_assert_int_eq(state->levels[0].since_unix_us, NOW_US);
	ck_assert_int_eq(state->levels[1].check, CHECK_SELF);
	ck_assert_int_eq(state->levels[1].level, LEVEL_UNKNOWN);
	ck_assert_int_eq(state->levels[1].reason, REASON_DISK_FULL);
	ck_assert_int_eq(state->levels[1].since_unix_us, 0);
}

static void check_certificates(const struct store_state *state)
{
	const struct certificate_row *row = state->certificates;

	ck_assert_uint_eq(state->certificate_count, 2);
	ck_assert_str_eq(row[0].target, "shop");
	ck_assert_mem_eq(row[0].fingerprint, ((uint8_t[FINGERPRINT_BYTES]){ 1, 0, 255 }), FINGERPRINT_BYTES);
	ck_assert_int_eq(row[0].first_seen_unix_us, NOW_US);
	ck_assert_int_eq(row[0].not_before_unix_s, -62135596800);
	ck_assert_int_eq(row[0].not_after_unix_s, 253402300799);
	ck_assert_int_eq(row[0].chain_not_after_unix_s, INT64_MAX);
	ck_assert_int_eq(row[0].verdict, REASON_CERT_EXPIRING);
	ck_assert_str_eq(row[0].facts, "{\"subject\":\"CN=shop\"}");
	ck_assert_int_eq(row[1].fingerprint[0], 2);
	ck_assert_int_eq(row[1].chain_not_after_unix_s, 5);
	ck_assert_ptr_null(row[1].facts);
}

static void check_incidents(const struct store_state *state)
{
	struct incident *row = state->incidents;
	struct told *told;

	ck_assert_uint_eq(state->incident_count, 2);
	ck_assert_int_eq(row[0].number, 41);
	ck_assert_str_eq(row[0].target, "shop");
	ck_assert_int_eq(row[0].check, CHECK_AVAILABILITY);
	ck_assert_int_eq(row[0].level, LEVEL_CRITICAL);
	ck_assert_int_eq(row[0].worst, LEVEL_CRITICAL);
	ck_assert_int_eq(row[0].reason, REASON_CONNECT_REFUSED);
	ck_assert_int_eq(row[0].phase, PHASE_CONNECT);
	ck_assert_int_eq(row[0].since_unix_us, NOW_US - 7);
	ck_assert_int_eq(row[0].opened_unix_us, NOW_US - 5);
	ck_assert_int_eq(row[0].ended_unix_us, 0);
	ck_assert_str_eq(row[0].address, "192.0.2.1:443");
	ck_assert_str_eq(row[0].detail, "");
	ck_assert(!row[0].has_fingerprint);
	ck_assert_uint_eq(row[0].told_count, 2);
	told = incident_told(&row[0], "chat");
	ck_assert_int_eq(told->level, LEVEL_WARNING);
	ck_assert_int_eq(told->at_unix_us, NOW_US + 1);
	ck_assert_str_eq(told->first_message, "m1");
	ck_assert_ptr_null(incident_told(&row[0], "mail")->first_message);
	ck_assert_ptr_null(row[1].address);
	ck_assert_ptr_null(row[1].detail);
	ck_assert(row[1].has_fingerprint);
	ck_assert_int_eq(row[1].fingerprint[31], 9);
	ck_assert_uint_eq(row[1].told_count, 0);
}

static void check_notices(const struct store_state *state)
{
	const struct notice *row = state->notices;

	ck_assert_uint_eq(state->notice_count, 1);
	ck_assert_int_eq(row->id, 7);
	ck_assert_int_eq(row->incident, 1);
	ck_assert_str_eq(row->sender, "ops");
	ck_assert_int_eq(row->event, EVENT_PROBLEM);
	ck_assert_int_eq(row->level, LEVEL_CRITICAL);
	ck_assert_str_eq(row->group_key, "g");
	ck_assert_int_eq(row->created_unix_us, NOW_US);
	ck_assert_int_eq(row->wait_ms, 100);
	ck_assert_str_eq(row->item, "{}");
}

static void check_messages(const struct store_state *state, const char *body)
{
	const struct message_row *row = state->messages;

	ck_assert_uint_eq(state->message_count, 3);
	/* As they were put first, whatever the clock said. */
	ck_assert_str_eq(row[0].id, "m2");
	ck_assert_str_eq(row[1].id, "m1");
	ck_assert_str_eq(row[2].id, "m0");
	row--; /* what follows is about m2 */
	ck_assert_str_eq(row[1].sender, "mail");
	ck_assert_int_eq(row[1].created_unix_us, NOW_US);
	ck_assert_str_eq(row[1].body, body);
	ck_assert_int_eq(row[1].state, MESSAGE_WAITING);
	ck_assert_int_eq(row[1].attempts, 3);
	ck_assert_int_eq(row[1].next_try_unix_us, NOW_US + 60);
	ck_assert_str_eq(row[1].error, "421 try later");
	ck_assert_ptr_null(row[2].error);
	ck_assert_int_eq(row[2].attempts, 0);
}

START_TEST(every_kind_of_row_comes_back)
{
	AUTO(string) char *body = mem_alloc(BODY_BYTES + 1);
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	struct store_state *state;

	memset(body, 'x', BODY_BYTES);
	ck_assert(store_batch_empty(batch));
	put_levels(batch);
	ck_assert(!store_batch_empty(batch));
	put_certificates(batch);
	put_incidents(batch);
	put_numbered_notice(batch, 7);
	put_numbered_notice(batch, 8);
	store_drop_notice(batch, 8);
	put_messages(batch, body);
	commit_and_wait(store, batch);
	store_close(store, 10000);

	/* The second time it is only read. */
	for (int i = 0; i < 2; i++) {
		store = open_good(&state);
		check_levels(state);
		check_certificates(state);
		check_incidents(state);
		check_notices(state);
		check_messages(state, body);
		ck_assert_int_eq(state->next_incident, 43);
		ck_assert_int_eq(state->next_notice, 9);
		ck_assert_uint_eq(state->skipped_rows, 0);
		store_state_free(state);
		store_close(store, 10000);
	}
}
END_TEST

START_TEST(incidents_that_matter_are_loaded)
{
	static const struct {
		enum check check;
		int64_t ended_unix_us;
		bool loaded;
	} rows[] = {
		{ CHECK_AVAILABILITY, 0, true },
		{ CHECK_AVAILABILITY, NOW_US - 1, false },
		{ CHECK_CERTIFICATE, 0, true },
		{ CHECK_CERTIFICATE, NOW_US - 1, true },
		{ CHECK_CERTIFICATE, NOW_US - 7 * DAY_US, true },
		{ CHECK_CERTIFICATE, NOW_US - 7 * DAY_US - 1, false },
		{ CHECK_TLS, NOW_US - 1, false },
	};
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	struct store_state *state;
	size_t found = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct incident incident = sample_incident((int64_t)i + 1);
		struct told told = { "mail", LEVEL_CRITICAL, NOW_US, "m" };

		incident.check = rows[i].check;
		incident.ended_unix_us = rows[i].ended_unix_us;
		incident.told = &told;
		incident.told_count = 1;
		store_put_incident(batch, &incident);
	}
	commit_and_wait(store, batch);
	store_close(store, 10000);

	store = open_good(&state);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].loaded)
			continue;
		ck_assert_uint_lt(found, state->incident_count);
		ck_assert_int_eq(state->incidents[found].number, (int64_t)i + 1);
		ck_assert_uint_eq(state->incidents[found++].told_count, 1);
	}
	ck_assert_uint_eq(found, state->incident_count);
	ck_assert_int_eq(state->next_incident, 8);
	store_state_free(state);
	store_close(store, 10000);
}
END_TEST

START_TEST(numbers_are_never_used_twice)
{
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	struct incident incident = sample_incident(12);
	struct store_state *state;

	store_put_incident(batch, &incident);
	put_numbered_notice(batch, 30);
	commit_and_wait(store, batch);
	batch = store_batch_new();
	store_drop_notice(batch, 30);
	commit_and_wait(store, batch);
	store_close(store, 10000);
	execute_beside("DELETE FROM incident");

	store = open_good(&state);
	ck_assert_int_eq(state->next_incident, 13);
	ck_assert_int_eq(state->next_notice, 31);
	store_state_free(state);
	store_close(store, 10000);
	execute_beside("DELETE FROM counter;"
		       "INSERT INTO notice VALUES (50, 1, 's', 'problem', 'ok', 'g', 0, 0, '')");
	store = open_good(&state);
	ck_assert_int_eq(state->next_incident, 1);
	ck_assert_int_eq(state->next_notice, 51);
	store_state_free(state);
	store_close(store, 10000);
}
END_TEST

START_TEST(rows_of_another_version_are_skipped)
{
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	struct store_state *state;

	put_levels(batch);
	put_certificates(batch);
	put_incidents(batch);
	put_numbered_notice(batch, 7);
	put_messages(batch, "{}");
	commit_and_wait(store, batch);
	store_close(store, 10000);
	execute_beside("UPDATE level SET reason = 'phase_of_the_moon' WHERE \"check\" = 'self';"
		       "UPDATE certificate SET fingerprint = x'00' WHERE facts IS NULL;"
		       "UPDATE incident SET phase = 'quantum' WHERE number = 42;"
		       "UPDATE told SET level = 'purple' WHERE sender = 'chat';"
		       "UPDATE notice SET created_unix_us = -1;"
		       "UPDATE message SET attempts = 99999999999 WHERE id = 'm1';"
		       "UPDATE message SET state = 'lost' WHERE id = 'm2';");
	store = open_good(&state);
	ck_assert_uint_eq(state->level_count, 1);
	ck_assert_uint_eq(state->certificate_count, 1);
	ck_assert_uint_eq(state->incident_count, 1);
	ck_assert_uint_eq(state->incidents[0].told_count, 1);
	ck_assert_uint_eq(state->notice_count, 0);
	ck_assert_uint_eq(state->message_count, 1); /* "lost" is not waiting */
	ck_assert_uint_eq(state->skipped_rows, 6);
	ck_assert_int_eq(state->next_incident, 43);
	store_state_free(state);
	store_close(store, 10000);
}
END_TEST

/* Dead letters. */

struct answer {
	struct message_row first;
	char *id;
	size_t count;
	bool failed;
	int calls;
};

static void on_dead(void *arg, const struct message_row *rows, size_t count, const char *error)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->failed = error != NULL;
	answer->count = count;
	free(answer->id);
	answer->id = count > 0 ? mem_strdup(rows[0].id) : NULL;
	for (size_t i = 1; i < count; i++)
		ck_assert_int_ge(rows[i - 1].ended_unix_us, rows[i].ended_unix_us);
}

static void put_dead(struct store_batch *batch, int number)
{
	char id[32];
	struct message_row row = { .id = id, .sender = "mail", .body = "{}", .state = MESSAGE_DEAD,
				   .ended_unix_us = NOW_US + number * 7919 % 1200 };

	snprintf(id, sizeof(id), "d%lld", (long long)row.ended_unix_us - NOW_US);
	store_put_message(batch, &row);
}

START_TEST(dead_letters_are_listed_newest_first)
{
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	struct answer answer = { .id = NULL };
	struct message_row waiting = { .id = "w", .sender = "mail", .body = "{}" };

	store_query_dead(store, on_dead, &answer);
	ck_assert_int_eq(answer.calls, 0);
	PUMP_UNTIL(store, answer.calls == 1);
	ck_assert(!answer.failed && answer.count == 0);
	for (int i = 0; i < 1200; i++)
		put_dead(batch, i);
	store_put_message(batch, &waiting);
	commit_and_wait(store, batch);
	store_query_dead(store, on_dead, &answer);
	PUMP_UNTIL(store, answer.calls == 2);
	ck_assert(!answer.failed);
	ck_assert_uint_eq(answer.count, 1000);
	ck_assert_str_eq(answer.id, "d1199");

	batch = store_batch_new();
	store_drop_dead_before(batch, NOW_US + 1190);
	commit_and_wait(store, batch);
	store_query_dead(store, on_dead, &answer);
	PUMP_UNTIL(store, answer.calls == 3);
	ck_assert_uint_eq(answer.count, 10);
	free(answer.id);
	store_query_dead(store, on_dead, &answer);
	store_close(store, 10000); /* no answer comes now */
	ck_assert_int_eq(answer.calls, 3);
}
END_TEST

/* Order, grouping, pace. */

START_TEST(callbacks_come_in_order)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();

	for (int i = 0; i < 500; i++) {
		commit_notice(store, &heard, i);
		ck_assert_int_le(heard.count, i);
		if (i % 50 == 49)
			pump_once(store);
	}
	PUMP_UNTIL(store, heard.count == 500);
	check_heard(&heard, 0, 500, true);
	store_close(store, 10000);
	ck_assert_int_eq(heard.count, 500);
	ck_assert_uint_eq(stored_notices(), 500);
}
END_TEST

START_TEST(an_empty_batch_keeps_its_place)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();

	store_batch_free(NULL);
	store_batch_free(store_batch_new());
	commit_notice(store, &heard, 0);
	commit_numbered(store, store_batch_new(), &heard, 1);
	store_commit(store, store_batch_new(), clock_mono_us(), NULL, NULL);
	commit_notice(store, &heard, 2);
	PUMP_UNTIL(store, heard.count == 3);
	check_heard(&heard, 0, 3, true);
	store_close(store, 10000);
	store_close(NULL, 0);
}
END_TEST

/* Transactions in the write-ahead log: frames that carry the size of the database (fileformat2.html, 4.1). */
static int logged_transactions(void)
{
	size_t bytes;
	unsigned char *data = read_file(beside("-wal"), &bytes);
	int count = 0;

	if (bytes >= 32) {
		size_t page = (size_t)data[8] << 24 | (size_t)data[9] << 16 | (size_t)data[10] << 8 | data[11];

		for (size_t at = 32; at + 24 + page <= bytes; at += 24 + page)
			if (memcmp(data + at + 4, "\0\0\0\0", 4) != 0 && memcmp(data + at + 8, data + 16, 8) == 0)
				count++;
	}
	free(data);
	return count;
}

START_TEST(waiting_batches_share_a_transaction)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();
	sqlite3 *beside_it = connect_beside();
	int before;

	commit_notice(store, &heard, 0);
	PUMP_UNTIL(store, heard.count == 1);
	execute(beside_it, "BEGIN IMMEDIATE");
	before = logged_transactions();
	for (int i = 1; i <= 300; i++)
		commit_notice(store, &heard, i);
	execute(beside_it, "ROLLBACK");
	PUMP_UNTIL(store, heard.count == 301);
	check_heard(&heard, 0, 301, true);
	/* The writer may have been about to write the first of them alone when it met the lock. */
	ck_assert_int_le(logged_transactions() - before, 2);
	sqlite3_close(beside_it);
	store_close(store, 10000);
}
END_TEST

START_TEST(at_most_twenty_transactions_a_second)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();
	int before = logged_transactions();
	int64_t started_us = clock_mono_us();
	int64_t elapsed_us;

	for (int i = 0; i < 12; i++) {
		commit_notice(store, &heard, i);
		PUMP_UNTIL(store, heard.count == i + 1);
	}
	elapsed_us = clock_mono_us() - started_us;
	ck_assert_int_le(logged_transactions() - before, 1 + elapsed_us / 50000);
	store_close(store, 10000);
}
END_TEST

/* Late and failing. */

START_TEST(late_is_announced_once_and_written_all_the_same)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();
	sqlite3 *beside_it = connect_beside();
	struct store_health health;
	int64_t now_us;

	execute(beside_it, "BEGIN IMMEDIATE");
	for (int i = 0; i < 5; i++)
		commit_notice(store, &heard, i);
	now_us = clock_mono_us();
	store_tick(store, now_us);
	ck_assert_int_eq(heard.count, 0);
	store_get_health(store, now_us + 3 * US_PER_S, &health);
	ck_assert_uint_eq(health.pending_batches, 5);
	ck_assert_int_ge(health.oldest_pending_us, 3 * US_PER_S);
	ck_assert(!health.failing);
	store_tick(store, now_us + 5 * US_PER_S);
	store_tick(store, now_us + 5 * US_PER_S);
	ck_assert_int_eq(heard.count, 5);
	check_heard(&heard, 0, 5, false);
	store_get_health(store, now_us + 6 * US_PER_S, &health);
	ck_assert_uint_eq(health.pending_batches, 5);
	ck_assert_int_ge(health.oldest_pending_us, 6 * US_PER_S);
	commit_notice(store, &heard, 5);
	execute(beside_it, "ROLLBACK");
	sqlite3_close(beside_it);
	PUMP_UNTIL(store, heard.count == 6);
	check_heard(&heard, 5, 6, true);
	store_get_health(store, clock_mono_us(), &health);
	ck_assert_uint_eq(health.pending_batches, 0);
	ck_assert_int_eq(health.oldest_pending_us, 0);
	store_close(store, 10000);
	ck_assert_int_eq(heard.count, 6);
	ck_assert_uint_eq(stored_notices(), 6);
}
END_TEST

struct chain {
	struct store *store;
	struct heard *heard;
	int64_t mono_us;
};

static void on_late_commit_again(void *arg, bool durable)
{
	struct chain *chain = arg;

	ck_assert(!durable);
	commit_numbered(chain->store, store_batch_new(), chain->heard, 0);
}

START_TEST(a_callback_may_commit)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();
	sqlite3 *beside_it = connect_beside();
	struct chain chain = { .store = store, .heard = &heard };

	execute(beside_it, "BEGIN IMMEDIATE");
	store_commit(store, store_batch_new(), clock_mono_us(), on_late_commit_again, &chain);
	store_commit(store, store_batch_new(), clock_mono_us(), on_late_commit_again, &chain);
	store_tick(store, clock_mono_us() + 5 * US_PER_S - US_PER_MS);
	ck_assert_int_eq(heard.count, 0);
	store_tick(store, clock_mono_us() + 20 * US_PER_S);
	execute(beside_it, "ROLLBACK");
	sqlite3_close(beside_it);
	PUMP_UNTIL(store, heard.count == 2);
	store_close(store, 10000);
}
END_TEST

static void forbid_done(void *arg, bool durable)
{
	(void)arg;
	(void)durable;
	ck_abort_msg("a callback after the close");
}

START_TEST(closing_writes_what_is_pending)
{
	struct store *store = open_empty();

	for (int i = 0; i < 50; i++) {
		struct store_batch *batch = store_batch_new();

		put_numbered_notice(batch, i + 1);
		store_commit(store, batch, clock_mono_us(), forbid_done, NULL);
	}
	store_close(store, 10000);
	ck_assert_uint_eq(stored_notices(), 50);
}
END_TEST

START_TEST(closing_does_not_wait_for_ever)
{
	struct store *store = open_empty();
	struct store_batch *batch = store_batch_new();
	sqlite3 *beside_it = connect_beside();
	int64_t deadline_us = clock_mono_us() + DEADLINE_S * US_PER_S;
	struct store_state *state;
	struct error err;

	execute(beside_it, "BEGIN IMMEDIATE");
	put_numbered_notice(batch, 1);
	store_commit(store, batch, clock_mono_us(), forbid_done, NULL);
	store_close(store, 50);
	ck_assert_ptr_null(store_open(path, NOW_US, &state, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "in use by another portbelld"));
	execute(beside_it, "ROLLBACK");
	sqlite3_close(beside_it);
	/* The thread that was left behind ends by itself. */
	while ((store = store_open(path, NOW_US, &state, &err)) == NULL) {
		ck_assert_msg(clock_mono_us() < deadline_us, "%s", err.text);
		poll(NULL, 0, 20);
	}
	ck_assert_uint_eq(state->notice_count, 1);
	store_state_free(state);
	store_close(store, 10000);
}
END_TEST

static void commit_big(struct store *store, struct heard *heard, int number)
{
	AUTO(string) char *body = mem_alloc(BODY_BYTES + 1);
	char id[16];
	struct message_row row = { .id = id, .sender = "mail", .body = body };
	struct store_batch *batch = store_batch_new();

	memset(body, 'b', BODY_BYTES);
	snprintf(id, sizeof(id), "m%02d", number);
	store_put_message(batch, &row);
	put_numbered_notice(batch, number + 1);
	commit_numbered(store, batch, heard, number);
}

static void write_until_full(struct store *store, struct heard *heard)
{
	for (int i = 0; i < 20; i++) {
		commit_big(store, heard, i);
		PUMP_UNTIL(store, heard->count == i + 1);
		if (!heard->durable[i])
			return;
	}
	ck_abort_msg("the disk never filled up");
}

static void check_full_health(struct store *store, bool is_full)
{
	struct store_health health;

	store_get_health(store, clock_mono_us(), &health);
	ck_assert_int_eq(health.failing, is_full);
	ck_assert_msg(health.disk_full == is_full, "%s", health.error);
	ck_assert_uint_eq(health.pending_batches > 0, is_full);
	ck_assert(!is_full || health.error[0] != '\0');
}

static bool is_healthy(struct store *store)
{
	struct store_health health;

	store_get_health(store, clock_mono_us(), &health);
	return !health.failing && health.pending_batches == 0;
}

static void check_all_written(const struct heard *heard)
{
	struct store_state *state;
	struct store *store = open_good(&state);

	ck_assert_int_eq((int)state->message_count, heard->count);
	ck_assert_int_eq((int)state->notice_count, heard->count);
	for (int i = 0; i < heard->count; i++) {
		ck_assert_int_eq(heard->numbers[i], i);
		ck_assert_uint_eq(strlen(state->messages[i].body), BODY_BYTES);
	}
	store_state_free(state);
	store_close(store, 10000);
}

START_TEST(a_file_that_may_not_grow)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_empty();
	struct rlimit limit, small;
	int failed;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 600 << 10;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	write_until_full(store, &heard);
	check_full_health(store, true);
	/* What comes while it fails is announced too, in order, at the next try; more than is kept as it came. */
	failed = heard.count - 1;
	for (int i = heard.count; i < failed + 16; i++)
		commit_big(store, &heard, i);
	PUMP_UNTIL(store, heard.count == failed + 16);
	check_heard(&heard, failed, heard.count, false);
	check_full_health(store, true);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	PUMP_UNTIL(store, is_healthy(store));
	check_full_health(store, false);
	store_close(store, 10000);
	check_all_written(&heard);
}
END_TEST

/* In a mount namespace of its own; false: this machine does not let us. */
static bool mount_small_disk(void)
{
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") != 0 ||
	    mount("small", directory, "tmpfs", 0, "size=1m,mode=0700") != 0) {
		printf("a full disk: skipped, cannot mount here: %s\n", strerror(errno));
		fflush(stdout);
		return false;
	}
	return true;
}

static void fill_disk(void)
{
	static const char block[4096];
	int fd = open(beside(".filler"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	close(fd);
}

static void on_full_disk(void)
{
	struct heard heard = { .count = 0 };
	struct store_state *state;
	struct error err;
	struct store *store = open_empty();

	fill_disk();
	write_until_full(store, &heard);
	check_full_health(store, true);
	unlink(beside(".filler"));
	PUMP_UNTIL(store, is_healthy(store));
	store_close(store, 10000);
	check_all_written(&heard);

	/* Starting on a full disk, after a clean stop. */
	fill_disk();
	store = open_good(&state);
	ck_assert_int_eq((int)state->notice_count, heard.count);
	store_state_free(state);
	store_close(store, 10000);

	/* A first start on a full disk is refused in words, and leaves nothing in the way. */
	for (int i = 0; i < 3; i++) {
		static const char *const parts[] = { "", "-wal", "-shm" };

		unlink(beside(parts[i]));
	}
	fill_disk();
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_null(store_open(path, NOW_US, &state, &err));
		ck_assert_msg(strstr(err.text, "full") != NULL || strstr(err.text, "No space") != NULL, "%s",
			      err.text);
	}
	unlink(beside(".filler"));
	store = open_empty();
	store_close(store, 10000);
}

START_TEST(a_full_disk)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (mount_small_disk())
			on_full_disk();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* What may be found at the path. */

static struct store *open_moved(const char *why)
{
	struct error err = { .text = "" };
	struct store_state *state;
	struct store *store = store_open(path, NOW_US, &state, &err);
	struct stat st;

	ck_assert_msg(store != NULL, "%s: %s", err.where, err.text);
	ck_assert(state->moved_aside);
	ck_assert_msg(strstr(state->moved_why, why) != NULL, "%s", state->moved_why);
	ck_assert_msg(strstr(state->moved_to, ".aside-20270115T080000Z") != NULL, "%s", state->moved_to);
	if (strncmp(why, "missing", 7) != 0)
		ck_assert_int_eq(lstat(state->moved_to, &st), 0);
	ck_assert_uint_eq(state->notice_count, 0);
	ck_assert_int_eq(state->next_incident, 1);
	store_state_free(state);
	return store;
}

static void check_moved(const char *why)
{
	struct heard heard = { .count = 0 };
	struct store *store = open_moved(why);

	commit_notice(store, &heard, 0);
	PUMP_UNTIL(store, heard.count == 1);
	ck_assert(heard.durable[0]);
	store_close(store, 10000);
	ck_assert_uint_eq(stored_notices(), 1);
	unlink(path);
	unlink(beside("-wal"));
}

START_TEST(what_is_not_ours_is_renamed_aside)
{
	AUTO(string) char *aside = mem_printf("%s.aside-20270115T080000Z", path);
	AUTO(string) char *second = mem_printf("%s.2-wal", aside);
	static const char text[] = "this is a text file, not a database; somebody made a mistake; it must stay";
	unsigned char *data;
	size_t bytes;

	write_file(path, text, sizeof(text));
	check_moved("not an SQLite database");
	data = read_file(aside, &bytes);
	ck_assert_uint_eq(bytes, sizeof(text));
	ck_assert_mem_eq(data, text, bytes);
	free(data);

	write_file(path, "", 0);
	write_file(beside("-wal"), text, sizeof(text));
	check_moved("empty, although its log is not");
	data = read_file(second, &bytes);
	ck_assert_uint_eq(bytes, sizeof(text));
	free(data);

	write_file(beside("-wal"), text, sizeof(text));
	check_moved("missing, although its log is there");
	execute_beside("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
	check_moved("another program");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	check_moved("not a file");
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	check_moved("not a file");
}
END_TEST

START_TEST(a_database_without_our_tables_is_renamed_aside)
{
	store_close(open_empty(), 10000);
	execute_beside("DROP TABLE told");
	check_moved("told");
}
END_TEST

START_TEST(an_empty_file_is_a_new_one)
{
	write_file(path, "", 0);
	ck_assert_int_eq(chmod(path, 0644), 0);
	store_close(open_empty(), 10000);
	ck_assert_uint_eq(stored_notices(), 0);
	unlink(path);
	unlink(beside("-wal"));
	execute_beside("PRAGMA journal_mode=WAL"); /* killed before there were tables */
	ck_assert_uint_eq(stored_notices(), 0);
}
END_TEST

static void check_refused(const char *why)
{
	struct error err = { .text = "" };
	struct store_state *state;

	ck_assert_ptr_null(store_open(path, NOW_US, &state, &err));
	ck_assert_ptr_null(state);
	ck_assert_msg(strstr(err.text, why) != NULL, "%s", err.text);
	ck_assert_str_ne(err.where, "");
}

START_TEST(a_symbolic_link_is_refused)
{
	static const char text[] = "precious";
	AUTO(string) char *target = mem_printf("%s/elsewhere", directory);
	unsigned char *data;
	size_t bytes;

	write_file(target, text, sizeof(text));
	ck_assert_int_eq(symlink(target, path), 0);
	check_refused("symbolic link");
	data = read_file(target, &bytes);
	ck_assert_mem_eq(data, text, sizeof(text));
	free(data);
	unlink(path);
	unlink(beside(".lock"));
	ck_assert_int_eq(symlink(target, beside(".lock")), 0);
	check_refused("cannot open");
}
END_TEST

START_TEST(a_linked_directory_is_fine)
{
	AUTO(string) char *linked = mem_printf("%s/link", directory);
	AUTO(string) char *real = mem_printf("%s/real", directory);
	struct stat st;

	ck_assert_int_eq(mkdir(real, 0700), 0);
	ck_assert_int_eq(symlink(real, linked), 0);
	snprintf(path, sizeof(path), "%s/link/a/b/state.db", directory);
	store_close(open_empty(), 10000);
	snprintf(path, sizeof(path), "%s/real/a/b/state.db", directory);
	ck_assert_int_eq(stat(path, &st), 0);
	store_close(open_empty(), 10000);
}
END_TEST

START_TEST(a_newer_schema_is_refused_and_left_alone)
{
	size_t before_bytes, after_bytes;
	unsigned char *before, *after;
	struct stat st;

	store_close(open_empty(), 10000);
	execute_beside("PRAGMA user_version=2; PRAGMA wal_checkpoint(TRUNCATE)");
	before = read_file(path, &before_bytes);
	check_refused("newer portbell (schema 2, this one knows 1)");
	after = read_file(path, &after_bytes);
	ck_assert_uint_eq(after_bytes, before_bytes);
	ck_assert_mem_eq(before, after, before_bytes);
	ck_assert_int_ne(lstat(beside(".aside-20270115T080000Z"), &st), 0);
	free(before);
	free(after);
}
END_TEST

/* What a newer one wrote just before it was killed. */
START_TEST(a_newer_schema_in_the_log_is_refused_and_left_alone)
{
	static const char *const parts[] = { "", "-wal" };
	unsigned char *before[2];
	size_t before_bytes[2];
	sqlite3 *sqlite;

	store_close(open_empty(), 10000);
	sqlite = connect_beside();
	execute(sqlite, "PRAGMA user_version=2");
	for (int i = 0; i < 2; i++)
		before[i] = read_file(beside(parts[i]), &before_bytes[i]);
	sqlite3_close(sqlite);
	for (int i = 0; i < 2; i++)
		write_file(beside(parts[i]), before[i], before_bytes[i]);
	unlink(beside("-shm"));
	for (int round = 0; round < 2; round++) {
		check_refused("newer portbell");
		for (int i = 0; i < 2; i++) {
			size_t bytes;
			unsigned char *after = read_file(beside(parts[i]), &bytes);

			ck_assert_uint_eq(bytes, before_bytes[i]);
			ck_assert_mem_eq(after, before[i], bytes);
			free(after);
		}
	}
	free(before[0]);
	free(before[1]);
}
END_TEST

START_TEST(without_permission_nothing_happens)
{
	struct stat st;

	ck_assert_int_eq(chmod(directory, 0555), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(NOBODY), 0);
	check_refused("Permission denied");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(chmod(directory, 0700), 0);
	ck_assert_int_ne(lstat(path, &st), 0);

	store_close(open_empty(), 10000);
	ck_assert_int_eq(chmod(directory, 0777), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(NOBODY), 0);
	else
		ck_assert_int_eq(chmod(path, 0000), 0);
	if (getuid() == 0)
		check_refused("Permission denied");
	else
		check_refused("cannot open");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(lstat(path, &st), 0);
}
END_TEST

START_TEST(files_are_for_us_alone)
{
	static const char *const parts[] = { "", "-wal", "-shm", ".lock" };
	static const mode_t masks[] = { 0000, 0022, 0077, 0277 };

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t before = umask(masks[i]);
		struct store *store = open_empty();
		struct stat st;

		umask(before);
		for (int part = 0; part < 4; part++) {
			ck_assert_int_eq(stat(beside(parts[part]), &st), 0);
			ck_assert_msg((st.st_mode & 0777 & ~masks[i]) == (0600 & ~masks[i]), "%s: %o", parts[part],
				      st.st_mode);
			ck_assert_int_eq(st.st_mode & 0177, 0);
		}
		store_close(store, 10000);
		for (int part = 0; part < 4; part++)
			unlink(beside(parts[part]));
	}
	snprintf(path, sizeof(path), "%s/new/deep/state.db", directory);
	store_close(open_empty(), 10000);
	snprintf(path, sizeof(path), "%s/new", directory);
	for (int i = 0; i < 2; i++) {
		struct stat st;

		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_mode & 0777, 0700);
		strcat(path, "/deep");
	}
	snprintf(path, sizeof(path), "%s/new/", directory);
	check_refused("not the name of a file");
	snprintf(path, sizeof(path), "/dev/null/sub/state.db");
	check_refused("cannot make the directory");
}
END_TEST

START_TEST(one_process_at_a_time)
{
	struct store *store = open_empty();
	char words[64];
	pid_t child;
	int status;

	snprintf(words, sizeof(words), "in use by another portbelld (process %ld)", (long)getpid());
	child = fork();
	if (child == 0) {
		struct store_state *state;
		struct error err = { .text = "" };

		_exit(store_open(path, NOW_US, &state, &err) == NULL && strcmp(err.text, words) == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	check_refused(words);
	store_close(store, 10000);
	store_close(open_empty(), 10000);
}
END_TEST

/* "SigBlk:\tfffffffe7ffbfeff": all that can be blocked. */
static void check_thread(const char *task, int *writers, int *readers)
{
	char name[300], line[128];
	bool ours = false;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/self/task/%s/status", task);
	file = fopen(name, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		unsigned long long blocked;

		if (strcmp(line, "Name:\tstore-writer\n") == 0)
			ours = ++*writers == 1;
		if (strcmp(line, "Name:\tstore-reader\n") == 0)
			ours = ++*readers == 1;
		if (!ours || sscanf(line, "SigBlk: %llx", &blocked) != 1)
			continue;
		for (int number = 1; number < 32; number++)
			if (number != SIGKILL && number != SIGSTOP)
				ck_assert_msg((blocked >> (number - 1) & 1) == 1, "signal %d", number);
	}
	fclose(file);
}

START_TEST(threads_have_names_and_no_signals)
{
	struct store *store = open_empty();
	struct answer answer = { .id = NULL };
	struct heard heard = { .count = 0 };
	DIR *tasks = opendir("/proc/self/task");
	int writers = 0, readers = 0;
	struct dirent *entry;
	sigset_t mask;

	ck_assert_ptr_nonnull(tasks);
	/* Both have begun. */
	commit_notice(store, &heard, 0);
	store_query_dead(store, on_dead, &answer);
	PUMP_UNTIL(store, heard.count == 1 && answer.calls == 1);
	while ((entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.')
			check_thread(entry->d_name, &writers, &readers);
	closedir(tasks);
	ck_assert_int_eq(writers, 1);
	ck_assert_int_eq(readers, 1);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ck_assert(!sigismember(&mask, SIGTERM));
	store_close(store, 10000);
}
END_TEST

/* Compaction: what is left does the same. */

static void put_random(struct store_batch *batch, unsigned *seed)
{
	static char *const names[] = { "a", "b", "ab", "" };
	char *name = names[rand_r(seed) % 4];
	int number = rand_r(seed) % 5 + 1;
	struct level_row level = { name, (enum check)(rand_r(seed) % 3), LEVEL_OK, REASON_OK, rand_r(seed) };
	struct certificate_row certificate = { .target = name, .fingerprint = { (uint8_t)number },
					       .first_seen_unix_us = rand_r(seed) };
	struct told told[2] = { { "x", LEVEL_OK, rand_r(seed), NULL }, { "y", LEVEL_OK, rand_r(seed), "m" } };
	struct incident incident = { .number = number, .target = name, .since_unix_us = rand_r(seed), .told = told,
				     .told_count = (size_t)rand_r(seed) % 3 };
	struct message_row message = { .id = name, .sender = "s", .body = "b", .created_unix_us = rand_r(seed),
				       .state = (enum message_state)(rand_r(seed) % 2),
				       .ended_unix_us = rand_r(seed) % 1000 };

	switch (rand_r(seed) % 10) {
	case 0: store_put_level(batch, &level); break;
	case 1: store_drop_target(batch, name); break;
	case 2: store_put_certificate(batch, &certificate); break;
	case 3: store_drop_certificate(batch, name, certificate.fingerprint); break;
	case 4: store_put_incident(batch, &incident); break;
	case 5: put_numbered_notice(batch, number); break;
	case 6: store_drop_notice(batch, number); break;
	case 7: store_put_message(batch, &message); break;
	case 8: store_drop_message(batch, name); break;
	default: store_drop_dead_before(batch, rand_r(seed) % 1000); break;
	}
}

static int append_row(void *arg, int columns, char **values, char **names)
{
	struct str *text = arg;

	(void)names;
	for (int i = 0; i < columns; i++)
		str_addf(text, "%s|", values[i] != NULL ? values[i] : "NULL");
	str_add_char(text, '\n');
	return 0;
}

static char *write_and_dump(const struct store_batch *batch)
{
	static const char *const tables[] = { "level", "certificate", "incident", "told", "notice", "message",
					      "counter" };
	struct store_state *state = mem_new(struct store_state);
	struct str text = { .data = NULL };
	struct list none;
	struct database *database;
	struct failure failure;
	struct error err;
	sqlite3 *sqlite;

	list_init(&none);
	write_file(path, "", 0);
	ck_assert_int_eq(database_open(path, &database, &err), FILE_USABLE);
	ck_assert_int_eq(database_load(database, NOW_US, state, &err), FILE_USABLE);
	store_state_free(state);
	ck_assert(database_write(database, batch, &none, &failure));
	database_checkpoint(database);
	database_close(database);
	sqlite = connect_beside();
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		AUTO(string) char *sql = mem_printf("SELECT * FROM %s ORDER BY 1, 2", tables[i]);

		ck_assert_int_eq(sqlite3_exec(sqlite, sql, append_row, &text, NULL), SQLITE_OK);
	}
	sqlite3_close(sqlite);
	unlink(path);
	unlink(beside("-wal"));
	return str_take(&text);
}

START_TEST(compacted_batches_do_the_same)
{
	unsigned seed = print_seed("compaction");

	for (int round = 0; round < 30; round++) {
		struct store_batch *batch = store_batch_new();
		AUTO(string) char *whole = NULL;
		AUTO(string) char *compacted = NULL;
		size_t bytes;

		for (int i = 0; i < 5 << round % 6; i++)
			put_random(batch, &seed);
		bytes = batch->bytes;
		whole = write_and_dump(batch);
		batch_compact(batch);
		ck_assert_uint_le(batch->bytes, bytes);
		compacted = write_and_dump(batch);
		ck_assert_str_eq(whole, compacted);
		bytes = batch->bytes;
		batch_compact(batch);
		ck_assert_uint_eq(batch->bytes, bytes);
		store_batch_free(batch);
	}
}
END_TEST

START_TEST(compacting_bounds_a_long_outage)
{
	struct store_batch *batch = store_batch_new();

	batch_compact(batch);
	ck_assert(store_batch_empty(batch));
	for (int i = 0; i < 1000; i++) {
		put_incidents(batch);
		put_levels(batch);
		put_messages(batch, "{}");
		if (i == 0)
			batch_compact(batch);
	}
	ck_assert_uint_gt(batch->bytes, 100000);
	batch_compact(batch);
	ck_assert_uint_lt(batch->bytes, 3000);
	store_batch_free(batch);
}
END_TEST

/* Damage. */

struct picture {
	unsigned char *data[2]; /* database, log */
	size_t bytes[2];
};

static const char *const picture_parts[] = { "", "-wal" };

static void take_picture(struct picture *picture)
{
	for (int i = 0; i < 2; i++)
		picture->data[i] = read_file(beside(picture_parts[i]), &picture->bytes[i]);
}

/* One with all in the database, one with much in the log, as kill -9 leaves it. */
static void make_pictures(struct picture pictures[2])
{
	struct store_batch *batch = store_batch_new();
	struct store *store = open_empty();
	AUTO(string) char *body = mem_alloc(BODY_BYTES + 1);

	memset(body, 'x', BODY_BYTES);
	put_levels(batch);
	put_certificates(batch);
	put_incidents(batch);
	put_messages(batch, body);
	for (int i = 0; i < 200; i++)
		put_numbered_notice(batch, i + 1);
	commit_and_wait(store, batch);
	take_picture(&pictures[0]);
	store_close(store, 10000);
	take_picture(&pictures[1]);
}

static void remove_all(void)
{
	DIR *entries = opendir(directory);
	struct dirent *entry;

	while ((entry = readdir(entries)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(entries), entry->d_name, 0);
	closedir(entries);
}

static void put_damaged(const struct picture *picture, unsigned *seed)
{
	for (int part = 0; part < 2; part++) {
		size_t bytes = picture->bytes[part];
		AUTO(string) char *data = mem_alloc(bytes + 1);
		int flips = 1 << rand_r(seed) % 6;

		memcpy(data, picture->data[part], bytes);
		for (int i = 0; i < flips && bytes > 0; i++) {
			/* Every other one where the structure is: the heads of the pages. */
			size_t at = (size_t)rand_r(seed) % bytes;

			if (i % 2 == 0)
				at = at / 4096 * 4096 + (size_t)rand_r(seed) % 128;
			if (at < bytes)
				data[at] = (char)(data[at] ^ 1 << rand_r(seed) % 8);
		}
		if (rand_r(seed) % 10 == 0)
			bytes = bytes > 0 ? (size_t)rand_r(seed) % bytes : 0;
		write_file(beside(picture_parts[part]), data, bytes);
	}
}

static void open_damaged(int *good, int *moved, int *refused)
{
	struct error err = { .text = "" };
	struct answer answer = { .id = NULL };
	struct heard heard = { .count = 0 };
	struct store_state *state;
	struct store *store = store_open(path, NOW_US, &state, &err);

	if (store == NULL) {
		/* Damage that looks just like it. */
		ck_assert_msg(strstr(err.text, "newer portbell") != NULL, "%s", err.text);
		++*refused;
		return;
	}
	++*(state->moved_aside ? moved : good);
	commit_notice(store, &heard, 0);
	store_query_dead(store, on_dead, &answer);
	PUMP_UNTIL(store, heard.count == 1 && answer.calls == 1);
	ck_assert(heard.durable[0] || !state->moved_aside);
	free(answer.id);
	store_state_free(state);
	store_close(store, 0);
}

/* A store that was left behind ends by itself, soon. */
static void wait_for_lock(void)
{
	int64_t deadline_us = clock_mono_us() + DEADLINE_S * US_PER_S;
	struct error err;
	int fd;

	while ((fd = file_lock(path, &err)) < 0) {
		ck_assert_msg(clock_mono_us() < deadline_us, "%s", err.text);
		poll(NULL, 0, 1);
	}
	close(fd);
}

START_TEST(damage_is_survived)
{
	unsigned seed = print_seed("damage");
	struct picture pictures[2];
	int good = 0, moved = 0, refused = 0;

	make_pictures(pictures);
	for (int round = 0; round < FLIP_ROUNDS; round++) {
		remove_all();
		put_damaged(&pictures[round % 2], &seed);
		open_damaged(&good, &moved, &refused);
		wait_for_lock();
	}
	printf("damage: %d good, %d renamed aside, %d taken for newer\n", good, moved, refused);
	ck_assert_int_gt(moved, 0);
	for (int i = 0; i < 2; i++) {
		free(pictures[i].data[0]);
		free(pictures[i].data[1]);
	}
}
END_TEST

/* Killed at any moment: what was acknowledged is there, and of each batch all or nothing. */

struct storm {
	int pipe;
	struct store *store;
	int64_t next;
	int in_flight;
};

struct storm_commit {
	struct storm *storm;
	int64_t number;
};

static void on_storm_done(void *arg, bool durable)
{
	struct storm_commit *commit = arg;

	commit->storm->in_flight--;
	if (durable && write(commit->storm->pipe, &commit->number, sizeof(commit->number)) < 0)
		_exit(1);
	free(commit);
}

static void storm_commit_next(struct storm *storm)
{
	struct storm_commit *commit = mem_new(struct storm_commit);
	struct store_batch *batch = store_batch_new();
	int64_t number = storm->next++;
	struct told told = { "ops", LEVEL_CRITICAL, NOW_US, NULL };
	struct incident incident = sample_incident(number);
	char id[32];
	struct message_row message = { .id = id, .sender = "ops", .created_unix_us = number,
				       .body = "a body of some length, so that pages fill and the log is cut" };

	incident.told = &told;
	incident.told_count = 1;
	snprintf(id, sizeof(id), "%lld", (long long)number);
	store_put_incident(batch, &incident);
	put_numbered_notice(batch, number);
	store_put_message(batch, &message);
	commit->storm = storm;
	commit->number = number;
	storm->in_flight++;
	store_commit(storm->store, batch, clock_mono_us(), on_storm_done, commit);
}

static void __attribute__((noreturn)) run_storm(int pipe)
{
	struct storm storm = { .pipe = pipe };
	struct store_state *state;
	struct error err;

	storm.store = store_open(path, NOW_US, &state, &err);
	if (storm.store == NULL)
		_exit(1);
	storm.next = state->next_notice;
	store_state_free(state);
	for (;;) {
		while (storm.in_flight < 16)
			storm_commit_next(&storm);
		pump_once(storm.store);
	}
}

/* The next number, or `last` at the end. */
static int64_t read_acknowledged(int pipe, int64_t last)
{
	int64_t number;

	if (read(pipe, &number, sizeof(number)) != (ssize_t)sizeof(number))
		return last;
	ck_assert_int_gt(number, last);
	return number;
}

/* The highest number acknowledged, 0 if none. */
static int64_t kill_in_storm(unsigned *seed)
{
	int64_t number, last = 0;
	struct pollfd pollfd;
	int pipe_fds[2];
	pid_t child;

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	child = fork();
	if (child == 0)
		run_storm(pipe_fds[1]);
	close(pipe_fds[1]);
	pollfd = (struct pollfd){ .fd = pipe_fds[0], .events = POLLIN };
	/* At any moment while it opens or in full swing, or the very moment it says that something is written. */
	if (rand_r(seed) % 5 > 0)
		ck_assert_int_eq(poll(&pollfd, 1, DEADLINE_S * 1000), 1);
	if (rand_r(seed) % 2 == 0)
		usleep((useconds_t)(rand_r(seed) % 150000));
	else
		for (int i = rand_r(seed) % 4 * 16; i >= 0; i--)
			last = read_acknowledged(pipe_fds[0], last);
	kill(child, SIGKILL);
	while ((number = read_acknowledged(pipe_fds[0], last)) != last)
		last = number;
	close(pipe_fds[0]);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	return last;
}

static void check_integrity(void)
{
	struct str text = { .data = NULL };
	sqlite3 *sqlite = connect_beside();

	ck_assert_int_eq(sqlite3_exec(sqlite, "PRAGMA integrity_check", append_row, &text, NULL), SQLITE_OK);
	ck_assert_str_eq(text.data, "ok|\n");
	str_done(&text);
	sqlite3_close(sqlite);
}

/* Returns how many batches there are: 1, 2, 3, ... without a gap. */
static int64_t check_whole(void)
{
	struct store_state *state;
	struct store *store = open_good(&state);
	int64_t count = (int64_t)state->notice_count;

	ck_assert_uint_eq(state->incident_count, (size_t)count);
	ck_assert_uint_eq(state->message_count, (size_t)count);
	ck_assert_int_eq(state->next_incident, count + 1);
	ck_assert_int_eq(state->next_notice, count + 1);
	for (int64_t i = 0; i < count; i++) {
		ck_assert_int_eq(state->notices[i].id, i + 1);
		ck_assert_int_eq(state->incidents[i].number, i + 1);
		ck_assert_uint_eq(state->incidents[i].told_count, 1);
		ck_assert_int_eq(strtoll(state->messages[i].id, NULL, 10), i + 1);
	}
	store_state_free(state);
	store_close(store, 10000);
	return count;
}

START_TEST(killed_at_any_moment)
{
	unsigned seed = print_seed("crash");
	int64_t acknowledged = 0;
	int64_t count = 0;

	for (int round = 0; round < CRASH_ROUNDS; round++) {
		int64_t last = kill_in_storm(&seed);

		if (last > acknowledged)
			acknowledged = last;
		if (round % 2 == 0)
			check_integrity();
		count = check_whole();
		ck_assert_msg(count >= acknowledged, "round %d: %lld rows, %lld acknowledged", round,
			      (long long)count, (long long)acknowledged);
		check_integrity();
	}
	printf("crash: %d rounds, %lld acknowledged, %lld there\n", CRASH_ROUNDS, (long long)acknowledged,
	       (long long)count);
	ck_assert_int_gt(acknowledged, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 300);
	tcase_add_checked_fixture(tcase, make_directory, remove_directory);
	tcase_add_test(tcase, every_kind_of_row_comes_back);
	tcase_add_test(tcase, incidents_that_matter_are_loaded);
	tcase_add_test(tcase, numbers_are_never_used_twice);
	tcase_add_test(tcase, rows_of_another_version_are_skipped);
	tcase_add_test(tcase, dead_letters_are_listed_newest_first);
	tcase_add_test(tcase, callbacks_come_in_order);
	tcase_add_test(tcase, an_empty_batch_keeps_its_place);
	tcase_add_test(tcase, waiting_batches_share_a_transaction);
	tcase_add_test(tcase, at_most_twenty_transactions_a_second);
	tcase_add_test(tcase, late_is_announced_once_and_written_all_the_same);
	tcase_add_test(tcase, a_callback_may_commit);
	tcase_add_test(tcase, closing_writes_what_is_pending);
	tcase_add_test(tcase, closing_does_not_wait_for_ever);
	tcase_add_test(tcase, a_file_that_may_not_grow);
	tcase_add_test(tcase, a_full_disk);
	tcase_add_test(tcase, what_is_not_ours_is_renamed_aside);
	tcase_add_test(tcase, a_database_without_our_tables_is_renamed_aside);
	tcase_add_test(tcase, an_empty_file_is_a_new_one);
	tcase_add_test(tcase, a_symbolic_link_is_refused);
	tcase_add_test(tcase, a_linked_directory_is_fine);
	tcase_add_test(tcase, a_newer_schema_is_refused_and_left_alone);
	tcase_add_test(tcase, a_newer_schema_in_the_log_is_refused_and_left_alone);
	tcase_add_test(tcase, without_permission_nothing_happens);
	tcase_add_test(tcase, files_are_for_us_alone);
	tcase_add_test(tcase, one_process_at_a_time);
	tcase_add_test(tcase, threads_have_names_and_no_signals);
	tcase_add_test(tcase, compacted_batches_do_the_same);
	tcase_add_test(tcase, compacting_bounds_a_long_outage);
	tcase_add_test(tcase, damage_is_survived);
	tcase_add_test(tcase, killed_at_any_moment);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
