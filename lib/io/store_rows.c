/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/store_private.h"

#define CERTIFICATE_INCIDENT_KEPT_US (7 * S_PER_DAY * US_PER_S)
/* Bounds of what is believed: the years 0 and 9999. */
#define UNIX_S_MIN INT64_C(-62167219200)
#define UNIX_S_MAX INT64_C(253402300799)

#define MESSAGE_COLUMNS \
	"id, sender, created_unix_us, body, state, attempts, next_try_unix_us, error, ended_unix_us"

const char rows_dead_sql[] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE state = 'dead'"
			     " ORDER BY ended_unix_us DESC, rowid DESC LIMIT 1000";

static char *column_text(sqlite3_stmt *statement, int column)
{
	return mem_strdup((const char *)sqlite3_column_text(statement, column));
}

static const char *column_word(sqlite3_stmt *statement, int column)
{
	return (const char *)sqlite3_column_text(statement, column);
}

static bool column_in(sqlite3_stmt *statement, int column, int64_t min, int64_t max, int64_t *value)
{
	*value = sqlite3_column_int64(statement, column);
	return *value >= min && *value <= max;
}

static bool column_time(sqlite3_stmt *statement, int column, int64_t *unix_us)
{
	return column_in(statement, column, 0, UNIX_S_MAX * US_PER_S, unix_us);
}

static bool column_seconds(sqlite3_stmt *statement, int column, int64_t *unix_s)
{
	return column_in(statement, column, UNIX_S_MIN, UNIX_S_MAX, unix_s);
}

static bool column_fingerprint(sqlite3_stmt *statement, int column, uint8_t fingerprint[FINGERPRINT_BYTES])
{
	const void *blob = sqlite3_column_blob(statement, column);

	if (blob == NULL || sqlite3_column_bytes(statement, column) != FINGERPRINT_BYTES)
		return false;
	memcpy(fingerprint, blob, FINGERPRINT_BYTES);
	return true;
}

static bool read_level(sqlite3_stmt *statement, void *arg)
{
	struct level_row *row = arg;

	row->target = column_text(statement, 0);
	return row->target != NULL && check_parse(column_word(statement, 1), &row->check) &&
	       level_parse(column_word(statement, 2), &row->level) &&
	       reason_parse(column_word(statement, 3), &row->reason) &&
	       column_time(statement, 4, &row->since_unix_us);
}

static void level_row_done(void *arg)
{
	struct level_row *row = arg;

	free(row->target);
}

static bool read_certificate(sqlite3_stmt *statement, void *arg)
{
	struct certificate_row *row = arg;
	int64_t chain = sqlite3_column_int64(statement, 5);

	row->target = column_text(statement, 0);
	row->facts = column_text(statement, 7);
	row->chain_not_after_unix_s = chain;
	return row->target != NULL && column_fingerprint(statement, 1, row->fingerprint) &&
	       column_time(statement, 2, &row->first_seen_unix_us) &&
	       column_seconds(statement, 3, &row->not_before_unix_s) &&
	       column_seconds(statement, 4, &row->not_after_unix_s) &&
	       (chain == INT64_MAX || column_seconds(statement, 5, &chain)) &&
	       reason_parse(column_word(statement, 6), &row->verdict);
}

static void certificate_row_done(void *arg)
{
	struct certificate_row *row = arg;

	free(row->target);
	free(row->facts);
}

static bool read_incident(sqlite3_stmt *statement, void *arg)
{
	struct incident *row = arg;

	row->target = column_text(statement, 1);
	row->address = column_text(statement, 10);
	row->detail = column_text(statement, 11);
	row->about = column_text(statement, 13);
	row->has_fingerprint = sqlite3_column_type(statement, 12) != SQLITE_NULL;
	return column_in(statement, 0, 1, STORE_NUMBER_MAX - 1, &row->number) && row->target != NULL &&
	       check_parse(column_word(statement, 2), &row->check) &&
	       level_parse(column_word(statement, 3), &row->level) &&
	       level_parse(column_word(statement, 4), &row->worst) &&
	       reason_parse(column_word(statement, 5), &row->reason) &&
	       phase_parse(column_word(statement, 6), &row->phase) &&
	       column_time(statement, 7, &row->since_unix_us) && column_time(statement, 8, &row->opened_unix_us) &&
	       column_time(statement, 9, &row->ended_unix_us) &&
	       (!row->has_fingerprint || column_fingerprint(statement, 12, row->fingerprint));
}

static void incident_row_done(void *arg)
{
	incident_done(arg);
}

static bool read_told(sqlite3_stmt *statement, void *arg)
{
	struct told *row = arg;

	row->sender = column_text(statement, 0);
	row->first_message = column_text(statement, 3);
	return row->sender != NULL && level_parse(column_word(statement, 1), &row->level) &&
	       column_time(statement, 2, &row->at_unix_us);
}

static void told_row_done(void *arg)
{
	struct told *row = arg;

	free(row->sender);
	free(row->first_message);
}

static bool read_notice(sqlite3_stmt *statement, void *arg)
{
	struct notice *row = arg;

	row->sender = column_text(statement, 2);
	row->group_key = column_text(statement, 5);
	row->item = column_text(statement, 8);
	return column_in(statement, 0, 1, STORE_NUMBER_MAX - 1, &row->id) &&
	       column_in(statement, 1, 0, STORE_NUMBER_MAX, &row->incident) && row->sender != NULL &&
	       event_parse(column_word(statement, 3), &row->event) &&
	       level_parse(column_word(statement, 4), &row->level) && row->group_key != NULL &&
	       column_time(statement, 6, &row->created_unix_us) &&
	       column_in(statement, 7, 0, UNIX_S_MAX * MS_PER_S, &row->wait_ms) && row->item != NULL;
}

static void notice_row_done(void *arg)
{
	notice_done(arg);
}

static bool read_message(sqlite3_stmt *statement, void *arg)
{
	struct message_row *row = arg;
	int64_t attempts;

	row->id = column_text(statement, 0);
	row->sender = column_text(statement, 1);
	row->body = column_text(statement, 3);
	row->error = column_text(statement, 7);
	if (!column_in(statement, 5, 0, INT_MAX - 1, &attempts))
		return false;
	row->attempts = (int)attempts;
	return row->id != NULL && row->sender != NULL && column_time(statement, 2, &row->created_unix_us) &&
	       row->body != NULL && message_state_parse(column_word(statement, 4), &row->state) &&
	       column_time(statement, 6, &row->next_try_unix_us) && column_time(statement, 8, &row->ended_unix_us);
}

void message_row_done(struct message_row *row)
{
	free(row->id);
	free(row->sender);
	free(row->body);
	free(row->error);
}

static void message_row_done_any(void *arg)
{
	message_row_done(arg);
}

struct row_kind {
	const char *sql;
	size_t bytes;
	bool (*read)(sqlite3_stmt *statement, void *row);
	void (*done)(void *row);
};

static const struct row_kind level_rows = {
	"SELECT target, \"check\", level, reason, since_unix_us FROM level",
	sizeof(struct level_row), read_level, level_row_done,
};

static const struct row_kind certificate_rows = {
	"SELECT target, fingerprint, first_seen_unix_us, not_before_unix_s, not_after_unix_s,"
	" chain_not_after_unix_s, verdict, facts FROM certificate ORDER BY target, first_seen_unix_us",
	sizeof(struct certificate_row), read_certificate, certificate_row_done,
};

/* A UNION, so that each part has its index. */
static const struct row_kind incident_rows = {
	"SELECT number, target, \"check\", level, worst, reason, phase, since_unix_us, opened_unix_us,"
	" ended_unix_us, address, detail, fingerprint, about FROM incident WHERE number IN"
	" (SELECT number FROM incident WHERE ended_unix_us = 0 UNION SELECT number FROM incident"
	" WHERE \"check\" = 'certificate' AND ended_unix_us >= ?1"
	" UNION SELECT incident FROM notice) ORDER BY number",
	sizeof(struct incident), read_incident, incident_row_done,
};

static const struct row_kind told_rows = {
	"SELECT sender, level, at_unix_us, first_message FROM told WHERE incident = ?1",
	sizeof(struct told), read_told, told_row_done,
};

static const struct row_kind notice_rows = {
	"SELECT id, incident, sender, event, level, group_key, created_unix_us, wait_ms, item FROM notice"
	" ORDER BY id",
	sizeof(struct notice), read_notice, notice_row_done,
};

static const struct row_kind message_rows = {
	"SELECT " MESSAGE_COLUMNS " FROM message WHERE state = 'waiting' ORDER BY rowid",
	sizeof(struct message_row), read_message, message_row_done_any,
};

/* Runs `statement` to its end; *rows is the caller's also on failure. A row that does not make sense is skipped:
 * what is left is better than nothing. */
static int read_rows(sqlite3_stmt *statement, const struct row_kind *kind, void **rows, size_t *count,
		     size_t *skipped)
{
	size_t capacity = 0;
	int rc;

	*rows = NULL;
	*count = 0;
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		void *row;

		*rows = mem_grow(*rows, &capacity, *count + 1, kind->bytes);
		row = (char *)*rows + *count * kind->bytes;
		if (kind->read(statement, row)) {
			++*count;
		} else {
			++*skipped;
			kind->done(row);
			memset(row, 0, kind->bytes);
		}
	}
	sqlite3_reset(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int load_rows(sqlite3 *sqlite, const struct row_kind *kind, int64_t parameter, void **rows, size_t *count,
		     size_t *skipped)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(sqlite, kind->sql, -1, &statement, NULL);

	*rows = NULL;
	*count = 0;
	if (rc == SQLITE_OK && sqlite3_bind_parameter_count(statement) > 0)
		rc = sqlite3_bind_int64(statement, 1, parameter);
	if (rc == SQLITE_OK)
		rc = read_rows(statement, kind, rows, count, skipped);
	sqlite3_finalize(statement);
	return rc;
}

static int load_told(sqlite3 *sqlite, struct store_state *state)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(sqlite, told_rows.sql, -1, &statement, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < state->incident_count; i++) {
		struct incident *incident = &state->incidents[i];
		void *rows = NULL;

		rc = sqlite3_bind_int64(statement, 1, incident->number);
		if (rc == SQLITE_OK)
			rc = read_rows(statement, &told_rows, &rows, &incident->told_count, &state->skipped_rows);
		incident->told = rows;
	}
	sqlite3_finalize(statement);
	return rc;
}

/* What was read before a failure is in *state too. */
#define LOAD(rows_kind, member, number, parameter)							\
	do {												\
		void *rows_ = NULL;									\
		if (rc == SQLITE_OK)									\
			rc = load_rows(sqlite, &(rows_kind), (parameter), &rows_, &state->number,	\
				       &state->skipped_rows);						\
		if (rows_ != NULL)									\
			state->member = rows_;								\
	} while (0)

int rows_load(sqlite3 *sqlite, int64_t now_unix_us, struct store_state *state)
{
	int rc = SQLITE_OK;

	LOAD(level_rows, levels, level_count, 0);
	LOAD(certificate_rows, certificates, certificate_count, 0);
	LOAD(incident_rows, incidents, incident_count, now_unix_us - CERTIFICATE_INCIDENT_KEPT_US);
	LOAD(notice_rows, notices, notice_count, 0);
	LOAD(message_rows, messages, message_count, 0);
	return rc == SQLITE_OK ? load_told(sqlite, state) : rc;
}

int rows_read_dead(sqlite3_stmt *statement, struct message_row **rows, size_t *count)
{
	size_t skipped = 0;
	void *found = NULL;
	int rc = read_rows(statement, &message_rows, &found, count, &skipped);

	*rows = found;
	if (rc == SQLITE_OK)
		return rc;
	for (size_t i = 0; i < *count; i++)
		message_row_done(&(*rows)[i]);
	free(found);
	*rows = NULL;
	*count = 0;
	return rc;
}

void store_state_free(struct store_state *state)
{
	if (state == NULL)
		return;
	for (size_t i = 0; i < state->level_count; i++)
		level_row_done(&state->levels[i]);
	for (size_t i = 0; i < state->certificate_count; i++)
		certificate_row_done(&state->certificates[i]);
	for (size_t i = 0; i < state->incident_count; i++)
		incident_done(&state->incidents[i]);
	for (size_t i = 0; i < state->notice_count; i++)
		notice_done(&state->notices[i]);
	for (size_t i = 0; i < state->message_count; i++)
		message_row_done(&state->messages[i]);
	free(state->levels);
	free(state->certificates);
	free(state->incidents);
	free(state->notices);
	free(state->messages);
	free(state->moved_to);
	free(state->moved_why);
	free(state);
}
