/* SPDX-License-Identifier: MIT */
/*
 * store - what must not be lost, in SQLite (state.db, synchronous=FULL), behind one writer and one reader thread.
 * One thread (main) uses the interface; nothing of it blocks but store_open() and store_close().
 * Owns:    rows are copied into a batch; a batch belongs to the store once committed. What a load or a query found is
 *          the taker's.
 * Calls:   `done` (may be NULL) and query answers from store_dispatch() and store_tick() only, `done` in the order of
 *          the commits. A callback may use the interface, but not close the store.
 * Commit:  many batches share one transaction, at most 20 transactions a second. `durable` is false when the commit
 *          failed or had not ended after 5 s: go on from memory; the store keeps the rows and tries again (at most once
 *          a second) until they are written, in order. done is called once either way.
 * Fails:   a file that cannot be used (corrupt, not ours) is renamed aside and a new one started: store_open() succeeds
 *          and says so. A newer schema or no permission is an error and the file is untouched.
 */
#ifndef PORTBELL_IO_STORE_H
#define PORTBELL_IO_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/eval/incident.h"

struct store;
struct store_batch;

struct level_row {
	char *target;
	enum check check;
	enum level level;
	enum reason reason;
	int64_t since_unix_us;
};

/* A certificate that a target shows. */
struct certificate_row {
	char *target;
	uint8_t fingerprint[FINGERPRINT_BYTES];
	int64_t first_seen_unix_us;
	int64_t not_before_unix_s;
	int64_t not_after_unix_s;
	int64_t chain_not_after_unix_s;
	enum reason verdict;
	char *facts; /* JSON for people; may be NULL */
};

enum message_state { MESSAGE_WAITING, MESSAGE_DEAD };

struct message_row {
	char *id;
	char *sender;
	int64_t created_unix_us;
	char *body;              /* JSON: what the sender renders, the same at each try */
	enum message_state state;
	int attempts;
	int64_t next_try_unix_us;
	char *error;             /* of the last try; NULL if none */
	int64_t ended_unix_us;   /* MESSAGE_DEAD: since when */
};

/* All that is needed to go on after a restart. */
struct store_state {
	struct level_row *levels;
	size_t level_count;
	struct certificate_row *certificates;
	size_t certificate_count;
	struct incident *incidents;      /* open ones; ended ones of check certificate of the last 7 days, and those
	                                  * whose notices are not grouped yet */
	size_t incident_count;
	struct notice *notices;          /* not grouped yet */
	size_t notice_count;
	struct message_row *messages;    /* MESSAGE_WAITING, oldest first */
	size_t message_count;
	int64_t next_incident;           /* numbers never used before */
	int64_t next_notice;
	bool moved_aside;                /* the file before could not be used: */
	char *moved_to;                  /* it is here now */
	char *moved_why;
	size_t skipped_rows;             /* not understood: written by another version, or damaged */
};

struct store_health {
	size_t pending_batches;
	int64_t oldest_pending_us;       /* age; 0 if none */
	bool failing;                    /* the last try to write failed */
	bool disk_full;
	char error[256];                 /* of the last failure; "" if none */
};

/* Opens (makes, checks, migrates) `path`; *state is what was in it, the caller frees it with store_state_free(). */
struct store *store_open(const char *path, int64_t now_unix_us, struct store_state **state, struct error *err);
void store_state_free(struct store_state *state);
/* Writes what is pending (waits at most `wait_ms`) and ends the threads. Callbacks no longer come. */
void store_close(struct store *store, int64_t wait_ms);
int store_fd(const struct store *store);     /* readable: call store_dispatch() */
void store_dispatch(struct store *store);
/* Calls done(durable = false) for what has waited 5 s; call it at least once a second. */
void store_tick(struct store *store, int64_t mono_us);
void store_get_health(const struct store *store, int64_t mono_us, struct store_health *health);

struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *batch); /* one that was not committed; NULL is fine */
bool store_batch_empty(const struct store_batch *batch);
void store_put_level(struct store_batch *batch, const struct level_row *row);
void store_put_certificate(struct store_batch *batch, const struct certificate_row *row);
void store_drop_certificate(struct store_batch *batch, const char *target,
			    const uint8_t fingerprint[FINGERPRINT_BYTES]);
void store_drop_target(struct store_batch *batch, const char *target); /* its levels and certificates */
void store_put_incident(struct store_batch *batch, const struct incident *incident); /* and its told rows */
void store_put_notice(struct store_batch *batch, const struct notice *notice);
void store_drop_notice(struct store_batch *batch, int64_t id);
void store_put_message(struct store_batch *batch, const struct message_row *row); /* new, or in place of its id */
void store_drop_message(struct store_batch *batch, const char *id);
/* Dead letters older than this. */
void store_drop_dead_before(struct store_batch *batch, int64_t unix_us);

typedef void store_done_fn(void *arg, bool durable);
void store_commit(struct store *store, struct store_batch *batch, int64_t mono_us, store_done_fn *done, void *arg);

/* Dead letters, newest first, at most 1,000; rows are lent to the callback. err text NULL if fine. */
typedef void store_messages_fn(void *arg, const struct message_row *rows, size_t count, const char *error);
void store_query_dead(struct store *store, store_messages_fn *done, void *arg);

#endif
