/* SPDX-License-Identifier: MIT */
#include "lib/io/store.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/mem.h"
#include "lib/io/store_private.h"

#define LATE_US (5 * US_PER_S)
#define PACE_US (50 * US_PER_MS)   /* 20 transactions a second */
#define RETRY_US US_PER_S
#define IDLE_US (30 * US_PER_S)
#define COMPACT_BYTES ((size_t)1 << 20)

/* What main owes for a commit; the batch itself is the writer's. */
struct promise {
	struct list node;
	uint64_t sequence;
	int64_t committed_mono_us;
	store_done_fn *done;
	void *arg;
};

struct query {
	struct list node;
	store_messages_fn *done;
	void *arg;
	struct message_row *rows;
	size_t count;
	struct failure failure;
	bool failed;
};

enum report_kind { REPORT_WRITTEN, REPORT_FAILED, REPORT_ANSWER };

/* From a thread to main. */
struct report {
	struct list node;
	enum report_kind kind;
	uint64_t through;       /* all commits up to this one */
	struct failure failure;
	struct query *query;    /* REPORT_ANSWER */
};

struct store {
	struct database *database;    /* the writer's */
	struct database *reader;      /* the reader's */
	struct inbox *inbox;          /* reports */
	int lock_fd;
	pthread_t writer_thread;
	pthread_t reader_thread;

	/* main's */
	struct list waiting;          /* promises, in order */
	struct list late;             /* announced, not yet written; of what failed only the oldest */
	uint64_t committed;           /* sequences of the last ones */
	uint64_t written;
	bool failing;
	struct failure failure;

	/* shared, under the mutex */
	pthread_mutex_t mutex;
	pthread_cond_t work;          /* for the writer */
	pthread_cond_t question;      /* for the reader */
	pthread_cond_t ended;         /* for main */
	struct list batches;
	struct list queries;
	bool stopping;                /* write what is there, then end */
	bool abandoned;               /* main is gone: end as soon as you can, the last one frees the store */
	int threads;
};

/* What only the writer's thread knows. */
struct writer {
	struct store *store;
	struct store_batch backlog;   /* what could not be written, before `round` */
	struct list round;
	uint64_t through;
	size_t compact_above;         /* bytes of backlog */
	int64_t next_mono_us;
	bool hurried;                 /* has tried at once because the store is closing */
	bool unsettled;               /* wrote since the last checkpoint */
};

static void query_free(struct query *query)
{
	for (size_t i = 0; i < query->count; i++)
		message_row_done(&query->rows[i]);
	free(query->rows);
	free(query);
}

static void free_promises(struct list *promises)
{
	struct promise *promise;

	list_each(promise, promises, struct promise, node)
		free(promise);
}

static void free_reports(struct inbox *inbox)
{
	struct report *report;
	struct list reports;

	inbox_take(inbox, &reports);
	list_each(report, &reports, struct report, node) {
		if (report->query != NULL)
			query_free(report->query);
		free(report);
	}
}

/* Also one that store_open() did not finish. No thread is left. */
static void store_free(struct store *store)
{
	struct store_batch *batch;
	struct query *query;

	list_each(batch, &store->batches, struct store_batch, node)
		store_batch_free(batch);
	list_each(query, &store->queries, struct query, node)
		query_free(query);
	free_promises(&store->waiting);
	free_promises(&store->late);
	if (store->inbox != NULL)
		free_reports(store->inbox);
	inbox_free(store->inbox);
	/* The last one to close brings the log home, and only the writer's can. */
	database_close(store->reader);
	database_close(store->database);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	pthread_cond_destroy(&store->work);
	pthread_cond_destroy(&store->question);
	pthread_cond_destroy(&store->ended);
	pthread_mutex_destroy(&store->mutex);
	free(store);
}

static struct timespec timespec_of(int64_t mono_us)
{
	return (struct timespec){ .tv_sec = (time_t)(mono_us / US_PER_S),
				  .tv_nsec = (long)(mono_us % US_PER_S * 1000) };
}

/* False when the time has come. */
static bool wait_until(struct store *store, pthread_cond_t *cond, int64_t mono_us)
{
	struct timespec until = timespec_of(mono_us);

	return pthread_cond_timedwait(cond, &store->mutex, &until) == 0;
}

/* The end of a thread; the store may be gone after it. */
static void leave(struct store *store)
{
	bool last;

	pthread_mutex_lock(&store->mutex);
	last = --store->threads == 0 && store->abandoned;
	pthread_cond_signal(&store->ended);
	pthread_mutex_unlock(&store->mutex);
	if (last)
		store_free(store);
}

static void report(struct store *store, enum report_kind kind, uint64_t through, const struct failure *failure,
		   struct query *query)
{
	struct report *item = mem_new(struct report);

	list_init(&item->node);
	item->kind = kind;
	item->through = through;
	if (failure != NULL)
		item->failure = *failure;
	item->query = query;
	inbox_push(store->inbox, &item->node);
}

/* The writer. */

static bool writer_has_work(const struct writer *writer)
{
	return !list_empty(&writer->store->batches) || !store_batch_empty(&writer->backlog);
}

/* A store that closes does not keep the pace; after a failure it tries once at once, then as ever. */
static int64_t writer_due(struct writer *writer)
{
	if (!writer->store->stopping || writer->hurried)
		return writer->next_mono_us;
	writer->hurried = true;
	return 0;
}

static void writer_idle(struct writer *writer)
{
	struct store *store = writer->store;

	if (!writer->unsettled) {
		pthread_cond_wait(&store->work, &store->mutex);
		return;
	}
	if (wait_until(store, &store->work, clock_mono_us() + IDLE_US))
		return;
	if (writer_has_work(writer) || store->stopping)
		return;
	pthread_mutex_unlock(&store->mutex);
	database_checkpoint(store->database);
	writer->unsettled = false;
	pthread_mutex_lock(&store->mutex);
}

/* Fills writer->round with all that is pending; false: end. */
static bool writer_wait(struct writer *writer)
{
	struct store *store = writer->store;
	bool go_on = false;

	pthread_mutex_lock(&store->mutex);
	while (!store->abandoned) {
		if (!writer_has_work(writer)) {
			if (store->stopping)
				break;
			writer_idle(writer);
			continue;
		}
		int64_t due_mono_us = writer_due(writer);

		if (clock_mono_us() >= due_mono_us) {
			list_splice(&writer->round, &store->batches);
			go_on = true;
			break;
		}
		wait_until(store, &store->work, due_mono_us);
	}
	pthread_mutex_unlock(&store->mutex);
	return go_on;
}

/* An outage may last: what was overtaken goes, so that memory does not grow with how often things change. */
static void writer_keep_backlog(struct writer *writer)
{
	struct store_batch *batch;

	list_each(batch, &writer->round, struct store_batch, node) {
		batch_append(&writer->backlog, batch);
		list_remove(&batch->node);
		store_batch_free(batch);
	}
	if (writer->backlog.bytes < writer->compact_above)
		return;
	batch_compact(&writer->backlog);
	writer->compact_above = writer->backlog.bytes * 2;
	if (writer->compact_above < COMPACT_BYTES)
		writer->compact_above = COMPACT_BYTES;
}

static void writer_forget_round(struct writer *writer)
{
	struct store_batch *batch;

	list_each(batch, &writer->round, struct store_batch, node) {
		list_remove(&batch->node);
		store_batch_free(batch);
	}
	free(TAKE(writer->backlog.data));
	writer->backlog.bytes = 0;
	writer->backlog.capacity = 0;
	writer->compact_above = COMPACT_BYTES;
}

static void writer_write(struct writer *writer)
{
	struct failure failure = { .text = "" };
	int64_t started_mono_us = clock_mono_us();

	if (!list_empty(&writer->round))
		writer->through = list_entry(writer->round.prev, struct store_batch, node)->sequence;
	if (database_write(writer->store->database, &writer->backlog, &writer->round, &failure)) {
		writer->next_mono_us = started_mono_us + PACE_US;
		writer->unsettled = true;
		writer_forget_round(writer);
		report(writer->store, REPORT_WRITTEN, writer->through, NULL, NULL);
	} else {
		writer->next_mono_us = clock_mono_us() + RETRY_US;
		writer_keep_backlog(writer);
		report(writer->store, REPORT_FAILED, writer->through, &failure, NULL);
	}
}

static void *writer_run(void *arg)
{
	struct writer writer = { .store = arg, .compact_above = COMPACT_BYTES };

	prctl(PR_SET_NAME, "store-writer");
	list_init(&writer.backlog.node);
	list_init(&writer.round);
	while (writer_wait(&writer))
		writer_write(&writer);
	free(writer.backlog.data);
	leave(writer.store);
	return NULL;
}

/* The reader. */

static struct query *reader_wait(struct store *store)
{
	struct query *query = NULL;

	pthread_mutex_lock(&store->mutex);
	while (list_empty(&store->queries) && !store->stopping)
		pthread_cond_wait(&store->question, &store->mutex);
	if (!store->stopping) {
		query = list_entry(store->queries.next, struct query, node);
		list_remove(&query->node);
	}
	pthread_mutex_unlock(&store->mutex);
	return query;
}

static void *reader_run(void *arg)
{
	struct store *store = arg;
	struct query *query;

	prctl(PR_SET_NAME, "store-reader");
	while ((query = reader_wait(store)) != NULL) {
		query->failed = !database_query_dead(store->reader, &query->rows, &query->count, &query->failure);
		report(store, REPORT_ANSWER, 0, NULL, query);
	}
	leave(store);
	return NULL;
}

/* Opening and closing. */

static bool start_thread(struct store *store, pthread_t *thread, void *(*run)(void *), struct error *err)
{
	int failed;

	store->threads++;
	failed = pthread_create(thread, NULL, run, store);
	if (failed == 0)
		return true;
	store->threads--;
	return error_set(err, "cannot start a thread: %s", strerror(failed));
}

/* Signals are for main: both threads inherit a mask that blocks all. */
static bool start_threads(struct store *store, struct error *err)
{
	sigset_t all, before;
	bool writer, reader;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	writer = start_thread(store, &store->writer_thread, writer_run, err);
	reader = writer && start_thread(store, &store->reader_thread, reader_run, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (writer && !reader) {
		pthread_mutex_lock(&store->mutex);
		store->stopping = true;
		pthread_cond_signal(&store->work);
		pthread_mutex_unlock(&store->mutex);
		pthread_join(store->writer_thread, NULL);
	}
	return reader;
}

static enum file_verdict open_once(struct store *store, const char *path, int64_t now_unix_us,
				   struct store_state **state, struct error *err)
{
	enum file_verdict verdict = file_inspect(path, err);

	if (verdict == FILE_USABLE)
		verdict = database_open(path, &store->database, err);
	if (verdict != FILE_USABLE)
		return verdict;
	*state = mem_new(struct store_state);
	verdict = database_load(store->database, now_unix_us, *state, err);
	if (verdict != FILE_USABLE) {
		store_state_free(TAKE(*state));
		database_close(TAKE(store->database));
	}
	return verdict;
}

static bool open_files(struct store *store, const char *path, int64_t now_unix_us, struct store_state **state,
		       struct error *err)
{
	AUTO(string) char *moved_to = NULL;
	AUTO(string) char *moved_why = NULL;
	enum file_verdict verdict = open_once(store, path, now_unix_us, state, err);

	if (verdict == FILE_UNUSABLE) {
		moved_why = mem_strdup(err->text);
		if (!file_move_aside(path, now_unix_us, &moved_to, err))
			return false;
		verdict = open_once(store, path, now_unix_us, state, err);
	}
	if (verdict != FILE_USABLE)
		return false;
	(*state)->moved_aside = moved_to != NULL;
	(*state)->moved_to = TAKE(moved_to);
	(*state)->moved_why = TAKE(moved_why);
	store->reader = database_open_reader(path, err);
	return store->reader != NULL;
}

static struct store *store_new(void)
{
	struct store *store = mem_new(struct store);
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&store->mutex, NULL);
	pthread_cond_init(&store->work, &monotonic);
	pthread_cond_init(&store->question, &monotonic);
	pthread_cond_init(&store->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	list_init(&store->waiting);
	list_init(&store->late);
	list_init(&store->batches);
	list_init(&store->queries);
	store->lock_fd = -1;
	return store;
}

struct store *store_open(const char *path, int64_t now_unix_us, struct store_state **state, struct error *err)
{
	AUTO(string) char *real = file_resolve(path, err);
	struct store *store;

	*state = NULL;
	if (real == NULL)
		return NULL;
	store = store_new();
	store->inbox = inbox_new(err);
	store->lock_fd = store->inbox != NULL ? file_lock(real, err) : -1;
	if (store->lock_fd >= 0 && open_files(store, real, now_unix_us, state, err) && start_threads(store, err))
		return store;
	store_state_free(TAKE(*state));
	store_free(store);
	return NULL;
}

void store_close(struct store *store, int64_t wait_ms)
{
	int64_t deadline_mono_us = clock_mono_us() + wait_ms * US_PER_MS;
	bool ended;

	if (store == NULL)
		return;
	pthread_mutex_lock(&store->mutex);
	store->stopping = true;
	pthread_cond_signal(&store->work);
	pthread_cond_signal(&store->question);
	while (store->threads > 0 && wait_until(store, &store->ended, deadline_mono_us))
		;
	ended = store->threads == 0;
	if (ended) {
		pthread_mutex_unlock(&store->mutex);
		pthread_join(store->writer_thread, NULL);
		pthread_join(store->reader_thread, NULL);
		store_free(store);
		return;
	}
	/* A thread hangs in the disk: it frees the store, if it ever comes back. */
	pthread_detach(store->writer_thread);
	pthread_detach(store->reader_thread);
	store->abandoned = true;
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->mutex);
}

/* Main's side. */

int store_fd(const struct store *store)
{
	return inbox_fd(store->inbox);
}

void store_commit(struct store *store, struct store_batch *batch, int64_t mono_us, store_done_fn *done, void *arg)
{
	struct promise *promise = mem_new(struct promise);

	promise->sequence = ++store->committed;
	promise->committed_mono_us = mono_us;
	promise->done = done;
	promise->arg = arg;
	list_push(&store->waiting, &promise->node);

	batch->sequence = promise->sequence;
	pthread_mutex_lock(&store->mutex);
	list_push(&store->batches, &batch->node);
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->mutex);
}

void store_query_dead(struct store *store, store_messages_fn *done, void *arg)
{
	struct query *query = mem_new(struct query);

	query->done = done;
	query->arg = arg;
	pthread_mutex_lock(&store->mutex);
	list_push(&store->queries, &query->node);
	pthread_cond_signal(&store->question);
	pthread_mutex_unlock(&store->mutex);
}

static struct promise *first_of(const struct list *promises)
{
	return list_empty(promises) ? NULL : list_entry(promises->next, struct promise, node);
}

/* The callback may commit again: each time the list is looked at anew. */
static void announce_late(struct store *store, struct promise *promise)
{
	list_remove(&promise->node);
	list_push(&store->late, &promise->node);
	if (promise->done != NULL)
		promise->done(promise->arg, false);
}

static void on_failed(struct store *store, uint64_t through)
{
	struct promise *promise;

	while ((promise = first_of(&store->waiting)) != NULL && promise->sequence <= through)
		announce_late(store, promise);
	/* They will be written in one: the oldest is enough to know their age. */
	list_each(promise, &store->late, struct promise, node) {
		if (promise == first_of(&store->late) || promise->sequence > through)
			continue;
		list_remove(&promise->node);
		free(promise);
	}
}

static void on_written(struct store *store, uint64_t through)
{
	struct promise *promise;

	store->written = through;
	while ((promise = first_of(&store->late)) != NULL && promise->sequence <= through) {
		list_remove(&promise->node);
		free(promise);
	}
	while ((promise = first_of(&store->waiting)) != NULL && promise->sequence <= through) {
		list_remove(&promise->node);
		if (promise->done != NULL)
			promise->done(promise->arg, true);
		free(promise);
	}
}

static void on_report(struct store *store, const struct report *report)
{
	if (report->kind == REPORT_ANSWER) {
		struct query *query = report->query;

		query->done(query->arg, query->rows, query->count, query->failed ? query->failure.text : NULL);
		query_free(query);
		return;
	}
	store->failing = report->kind == REPORT_FAILED;
	if (store->failing)
		store->failure = report->failure;
	if (store->failing)
		on_failed(store, report->through);
	else
		on_written(store, report->through);
}

void store_dispatch(struct store *store)
{
	struct report *report;
	struct list reports;

	inbox_take(store->inbox, &reports);
	list_each(report, &reports, struct report, node) {
		list_remove(&report->node);
		on_report(store, report);
		free(report);
	}
}

void store_tick(struct store *store, int64_t mono_us)
{
	struct promise *promise;

	while ((promise = first_of(&store->waiting)) != NULL && mono_us - promise->committed_mono_us >= LATE_US)
		announce_late(store, promise);
}

void store_get_health(const struct store *store, int64_t mono_us, struct store_health *health)
{
	const struct promise *oldest = first_of(&store->late);

	if (oldest == NULL)
		oldest = first_of(&store->waiting);
	memset(health, 0, sizeof(*health));
	health->pending_batches = (size_t)(store->committed - store->written);
	health->oldest_pending_us = oldest != NULL ? mono_us - oldest->committed_mono_us : 0;
	health->failing = store->failing;
	health->disk_full = store->failing && store->failure.disk_full;
	snprintf(health->error, sizeof(health->error), "%s", store->failure.text);
}
