/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/io/store_private.h"

/* What is longer than this in a file was not written by us. */
enum { VALUE_BYTES_MAX = 64 << 20, BUSY_MS = 5000 };

struct database {
	sqlite3 *sqlite;
	sqlite3_stmt *operations[OPERATION_COUNT];
	sqlite3_stmt *begin;
	sqlite3_stmt *commit;
	sqlite3_stmt *rollback;
	sqlite3_stmt *count_up;
	sqlite3_stmt *dead;       /* of the reader */
	int64_t next_incident;    /* as the file has them */
	int64_t next_notice;
};

/* From version N to N + 1. Never changed once released. */
static const char *const migrations[STORE_SCHEMA_VERSION] = {
	/* `counter` keeps numbers from being used twice when the rows that had them are gone. */
	"CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"INSERT INTO counter (name, next) VALUES ('incident', 1), ('notice', 1);"
	"CREATE TABLE level (target TEXT NOT NULL, \"check\" TEXT NOT NULL, level TEXT NOT NULL,"
	" reason TEXT NOT NULL, since_unix_us INTEGER NOT NULL,"
	" PRIMARY KEY (target, \"check\")) STRICT, WITHOUT ROWID;"
	"CREATE TABLE certificate (target TEXT NOT NULL, fingerprint BLOB NOT NULL,"
	" first_seen_unix_us INTEGER NOT NULL, not_before_unix_s INTEGER NOT NULL,"
	" not_after_unix_s INTEGER NOT NULL, chain_not_after_unix_s INTEGER NOT NULL, verdict TEXT NOT NULL,"
	" facts TEXT, PRIMARY KEY (target, fingerprint)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE incident (number INTEGER NOT NULL PRIMARY KEY, target TEXT NOT NULL,"
	" \"check\" TEXT NOT NULL, level TEXT NOT NULL, worst TEXT NOT NULL, reason TEXT NOT NULL,"
	" phase TEXT NOT NULL, since_unix_us INTEGER NOT NULL, opened_unix_us INTEGER NOT NULL,"
	" ended_unix_us INTEGER NOT NULL, address TEXT, detail TEXT, fingerprint BLOB, about TEXT) STRICT;"
	"CREATE INDEX incident_open ON incident (number) WHERE ended_unix_us = 0;"
	"CREATE INDEX incident_certificate ON incident (ended_unix_us) WHERE \"check\" = 'certificate';"
	"CREATE TABLE told (incident INTEGER NOT NULL, sender TEXT NOT NULL, level TEXT NOT NULL,"
	" at_unix_us INTEGER NOT NULL, first_message TEXT,"
	" PRIMARY KEY (incident, sender)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE notice (id INTEGER NOT NULL PRIMARY KEY, incident INTEGER NOT NULL, sender TEXT NOT NULL,"
	" event TEXT NOT NULL, level TEXT NOT NULL, group_key TEXT NOT NULL, created_unix_us INTEGER NOT NULL,"
	" wait_ms INTEGER NOT NULL, item TEXT NOT NULL) STRICT;"
	"CREATE TABLE message (id TEXT NOT NULL PRIMARY KEY, sender TEXT NOT NULL,"
	" created_unix_us INTEGER NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,"
	" next_try_unix_us INTEGER NOT NULL, error TEXT, ended_unix_us INTEGER NOT NULL) STRICT;"
	"CREATE INDEX message_state ON message (state, ended_unix_us);",
};

static const char *const operation_sql[OPERATION_COUNT] = {
	[OPERATION_PUT_LEVEL] =
		"REPLACE INTO level (target, \"check\", level, reason, since_unix_us) VALUES (?, ?, ?, ?, ?)",
	[OPERATION_DROP_LEVELS] = "DELETE FROM level WHERE target = ?",
	[OPERATION_PUT_CERTIFICATE] =
		"REPLACE INTO certificate (target, fingerprint, first_seen_unix_us, not_before_unix_s,"
		" not_after_unix_s, chain_not_after_unix_s, verdict, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
	[OPERATION_DROP_CERTIFICATE] = "DELETE FROM certificate WHERE target = ? AND fingerprint = ?",
	[OPERATION_DROP_CERTIFICATES] = "DELETE FROM certificate WHERE target = ?",
	[OPERATION_PUT_INCIDENT] =
		"REPLACE INTO incident (number, target, \"check\", level, worst, reason, phase, since_unix_us,"
		" opened_unix_us, ended_unix_us, address, detail, fingerprint, about)"
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[OPERATION_PUT_TOLD] =
		"REPLACE INTO told (incident, sender, level, at_unix_us, first_message) VALUES (?, ?, ?, ?, ?)",
	[OPERATION_DROP_TOLD] = "DELETE FROM told WHERE incident = ?",
	[OPERATION_PUT_NOTICE] =
		"REPLACE INTO notice (id, incident, sender, event, level, group_key, created_unix_us, wait_ms,"
		" item) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[OPERATION_DROP_NOTICE] = "DELETE FROM notice WHERE id = ?",
	/* Not REPLACE: the rowid orders messages of one microsecond. */
	[OPERATION_PUT_MESSAGE] =
		"INSERT INTO message (id, sender, created_unix_us, body, state, attempts, next_try_unix_us, error,"
		" ended_unix_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
		" sender = excluded.sender, created_unix_us = excluded.created_unix_us, body = excluded.body,"
		" state = excluded.state, attempts = excluded.attempts,"
		" next_try_unix_us = excluded.next_try_unix_us, error = excluded.error,"
		" ended_unix_us = excluded.ended_unix_us",
	[OPERATION_DROP_MESSAGE] = "DELETE FROM message WHERE id = ?",
	[OPERATION_DROP_DEAD] = "DELETE FROM message WHERE state = 'dead' AND ended_unix_us < ?",
};

static const char connection_pragmas[] =
	"PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
	"PRAGMA secure_delete=OFF; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
	"PRAGMA journal_size_limit=67108864; PRAGMA wal_autocheckpoint=1000;";

/* Our side's trouble, as far as SQLite tells it from the file's. */
static bool is_environment(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_IOERR:
		return rc != SQLITE_IOERR_READ && rc != SQLITE_IOERR_SHORT_READ && rc != SQLITE_IOERR_DATA &&
		       rc != SQLITE_IOERR_CORRUPTFS;
	case SQLITE_PERM:
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_NOMEM:
	case SQLITE_READONLY:
	case SQLITE_INTERRUPT:
	case SQLITE_FULL:
	case SQLITE_CANTOPEN:
	case SQLITE_PROTOCOL:
	case SQLITE_NOLFS:
	case SQLITE_AUTH:
	case SQLITE_MISUSE:
		return true;
	default:
		return false;
	}
}

static void describe(sqlite3 *sqlite, int rc, int error_number, struct failure *failure)
{
	int primary = rc & 0xff;
	int number = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? error_number : 0;
	const char *text = sqlite != NULL && sqlite3_extended_errcode(sqlite) == rc ? sqlite3_errmsg(sqlite) :
			   sqlite3_errstr(rc);

	failure->disk_full = primary == SQLITE_FULL || number == ENOSPC || number == EDQUOT || number == EFBIG;
	if (number != 0)
		snprintf(failure->text, sizeof(failure->text), "%s (%s)", text, strerror(number));
	else
		snprintf(failure->text, sizeof(failure->text), "%s", text);
}

static enum file_verdict verdict_of(sqlite3 *sqlite, int rc, const char *path, struct error *err)
{
	struct failure failure;

	describe(sqlite, rc, sqlite3_system_errno(sqlite), &failure);
	error_where(err, path, "%s", failure.text);
	return is_environment(rc) ? FILE_REFUSED : FILE_UNUSABLE;
}

static int prepare(sqlite3 *sqlite, const char *sql, sqlite3_stmt **statement)
{
	return sqlite3_prepare_v3(sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

static int execute(sqlite3 *sqlite, const char *sql)
{
	return sqlite3_exec(sqlite, sql, NULL, NULL, NULL);
}

/* The first column of the first row; 0 if there is no row. */
static int read_integer(sqlite3 *sqlite, const char *sql, int64_t *value)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(sqlite, sql, -1, &statement, NULL);

	*value = 0;
	if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		*value = sqlite3_column_int64(statement, 0);
	return rc == SQLITE_OK ? sqlite3_finalize(statement) : rc;
}

static int read_text(sqlite3 *sqlite, const char *sql, char *text, size_t bytes)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(sqlite, sql, -1, &statement, NULL);

	text[0] = '\0';
	if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
		snprintf(text, bytes, "%s", (const char *)sqlite3_column_text(statement, 0));
	return rc == SQLITE_OK ? sqlite3_finalize(statement) : rc;
}

static int connect_to(const char *path, int flags, sqlite3 **sqlite)
{
	int rc = sqlite3_open_v2(path, sqlite, flags | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX |
				 SQLITE_OPEN_PRIVATECACHE, NULL);

	if (*sqlite == NULL)
		return SQLITE_NOMEM;
	sqlite3_extended_result_codes(*sqlite, 1);
	if (rc != SQLITE_OK)
		return sqlite3_extended_errcode(*sqlite);
	sqlite3_db_config(*sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(*sqlite, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(*sqlite, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_limit(*sqlite, SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX);
	sqlite3_busy_timeout(*sqlite, BUSY_MS);
	return execute(*sqlite, connection_pragmas);
}

/* Until the file has passed, closing it must leave it as it was. */
static void set_checkpoint_on_close(sqlite3 *sqlite, bool on)
{
	sqlite3_db_config(sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on ? 0 : 1, NULL);
}

static int migrate(sqlite3 *sqlite, int64_t version)
{
	char pragmas[96];
	int rc = execute(sqlite, "BEGIN IMMEDIATE");

	for (int64_t i = version; rc == SQLITE_OK && i < STORE_SCHEMA_VERSION; i++)
		rc = execute(sqlite, migrations[i]);
	snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		 STORE_APPLICATION_ID, STORE_SCHEMA_VERSION);
	return rc == SQLITE_OK ? execute(sqlite, pragmas) : rc;
}

static bool is_empty(sqlite3 *sqlite)
{
	int64_t count;

	return read_integer(sqlite, "SELECT count(*) FROM sqlite_schema", &count) == SQLITE_OK && count == 0;
}

static enum file_verdict check_file(sqlite3 *sqlite, const char *path, int64_t *version, struct error *err)
{
	int64_t application_id;
	char answer[256];
	int rc = read_integer(sqlite, "PRAGMA application_id", &application_id);

	if (rc == SQLITE_OK)
		rc = read_integer(sqlite, "PRAGMA user_version", version);
	if (rc != SQLITE_OK)
		return verdict_of(sqlite, rc, path, err);
	/* A new file, also one that we were making when we were killed. */
	if (application_id == 0 && *version == 0 && is_empty(sqlite))
		return FILE_USABLE;
	if (application_id != STORE_APPLICATION_ID || *version < 1) {
		error_where(err, path, "a database of another program");
		return FILE_UNUSABLE;
	}
	if (*version > STORE_SCHEMA_VERSION) {
		error_where(err, path, "written by a newer portbell (schema %lld, this one knows %d)",
			    (long long)*version, STORE_SCHEMA_VERSION);
		return FILE_REFUSED;
	}
	rc = read_text(sqlite, "PRAGMA quick_check(1)", answer, sizeof(answer));
	if (rc != SQLITE_OK)
		return verdict_of(sqlite, rc, path, err);
	if (strcmp(answer, "ok") != 0) {
		error_where(err, path, "damaged: %s", answer);
		return FILE_UNUSABLE;
	}
	return FILE_USABLE;
}

static enum file_verdict set_up(sqlite3 *sqlite, const char *path, int64_t version, struct error *err)
{
	char mode[16];
	int persist = 1;
	int rc = version == 0 ? execute(sqlite, "PRAGMA auto_vacuum=INCREMENTAL") : SQLITE_OK;

	if (rc == SQLITE_OK)
		rc = read_text(sqlite, "PRAGMA journal_mode=WAL", mode, sizeof(mode));
	if (rc == SQLITE_OK && strcmp(mode, "wal") != 0) {
		error_where(err, path, "its file system cannot hold a database with a write-ahead log");
		return FILE_REFUSED;
	}
	if (rc == SQLITE_OK && version < STORE_SCHEMA_VERSION)
		rc = migrate(sqlite, version);
	/* Files that are there need no room: we must be able to start on a full disk. */
	sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
	return rc == SQLITE_OK ? FILE_USABLE : verdict_of(sqlite, rc, path, err);
}

static int prepare_all(struct database *database)
{
	sqlite3 *sqlite = database->sqlite;
	int rc = SQLITE_OK;

	for (int i = 0; rc == SQLITE_OK && i < OPERATION_COUNT; i++)
		rc = prepare(sqlite, operation_sql[i], &database->operations[i]);
	if (rc == SQLITE_OK)
		rc = prepare(sqlite, "BEGIN IMMEDIATE", &database->begin);
	if (rc == SQLITE_OK)
		rc = prepare(sqlite, "COMMIT", &database->commit);
	if (rc == SQLITE_OK)
		rc = prepare(sqlite, "ROLLBACK", &database->rollback);
	if (rc == SQLITE_OK)
		rc = prepare(sqlite, "REPLACE INTO counter (name, next) VALUES (?, ?)", &database->count_up);
	return rc;
}

enum file_verdict database_open(const char *path, struct database **database, struct error *err)
{
	struct database *opened = mem_new(struct database);
	int rc = connect_to(path, SQLITE_OPEN_READWRITE, &opened->sqlite);
	enum file_verdict verdict = FILE_USABLE;
	int64_t version = 0;

	*database = NULL;
	if (opened->sqlite != NULL)
		set_checkpoint_on_close(opened->sqlite, false);
	if (rc != SQLITE_OK)
		verdict = verdict_of(opened->sqlite, rc, path, err);
	if (verdict == FILE_USABLE)
		verdict = check_file(opened->sqlite, path, &version, err);
	if (verdict == FILE_USABLE)
		verdict = set_up(opened->sqlite, path, version, err);
	if (verdict == FILE_USABLE) {
		rc = prepare_all(opened);
		if (rc != SQLITE_OK)
			verdict = verdict_of(opened->sqlite, rc, path, err);
	}
	if (verdict == FILE_USABLE)
		*database = TAKE(opened);
	database_close(opened);
	return verdict;
}

struct database *database_open_reader(const char *path, struct error *err)
{
	struct database *reader = mem_new(struct database);
	int rc = connect_to(path, SQLITE_OPEN_READONLY, &reader->sqlite);

	if (rc == SQLITE_OK)
		rc = prepare(reader->sqlite, rows_dead_sql, &reader->dead);
	if (rc == SQLITE_OK)
		return reader;
	verdict_of(reader->sqlite, rc, path, err);
	database_close(reader);
	return NULL;
}

void database_close(struct database *database)
{
	if (database == NULL)
		return;
	for (int i = 0; i < OPERATION_COUNT; i++)
		sqlite3_finalize(database->operations[i]);
	sqlite3_finalize(database->begin);
	sqlite3_finalize(database->commit);
	sqlite3_finalize(database->rollback);
	sqlite3_finalize(database->count_up);
	sqlite3_finalize(database->dead);
	sqlite3_close(database->sqlite);
	free(database);
}

/* Writing. */

/* Leaves errno as the step did: sqlite3_system_errno() does not know of a COMMIT that failed. */
static int run(sqlite3_stmt *statement)
{
	int error_number;
	int rc;

	errno = 0;
	rc = sqlite3_step(statement);
	error_number = errno;
	sqlite3_reset(statement);
	errno = error_number;
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int bind_value(sqlite3_stmt *statement, int index, const struct value *value)
{
	switch (value->kind) {
	case VALUE_INTEGER:
		return sqlite3_bind_int64(statement, index, value->integer);
	case VALUE_TEXT:
		return sqlite3_bind_text64(statement, index, value->data, value->bytes, SQLITE_STATIC,
					   SQLITE_UTF8);
	case VALUE_BLOB:
		return sqlite3_bind_blob64(statement, index, value->data, value->bytes, SQLITE_STATIC);
	case VALUE_NULL:
		break;
	}
	return sqlite3_bind_null(statement, index);
}

static int run_step(struct database *database, const struct step *step)
{
	sqlite3_stmt *statement = database->operations[step->operation];
	int rc = SQLITE_OK;
	size_t offset = 0;
	struct value value;

	for (int i = 1; rc == SQLITE_OK && step_next(step, &offset, &value); i++)
		rc = bind_value(statement, i, &value);
	if (rc == SQLITE_OK)
		rc = run(statement);
	sqlite3_clear_bindings(statement);
	return rc;
}

/* The numbers that the transaction makes used. */
struct counters {
	int64_t next_incident;
	int64_t next_notice;
};

static void count_step(struct counters *counters, const struct step *step)
{
	bool incident = step->operation == OPERATION_PUT_INCIDENT;
	int64_t *next = incident ? &counters->next_incident : &counters->next_notice;
	size_t offset = 0;
	struct value value;

	if (!incident && step->operation != OPERATION_PUT_NOTICE && step->operation != OPERATION_DROP_NOTICE)
		return;
	step_next(step, &offset, &value);
	if (value.integer >= *next && value.integer < STORE_NUMBER_MAX)
		*next = value.integer + 1;
}

static int run_batch(struct database *database, const struct store_batch *batch, struct counters *counters)
{
	int rc = SQLITE_OK;
	size_t offset = 0;
	struct step step;

	while (rc == SQLITE_OK && batch_next(batch, &offset, &step)) {
		count_step(counters, &step);
		rc = run_step(database, &step);
	}
	return rc;
}

static int count_up(struct database *database, const char *name, int64_t next)
{
	int rc = sqlite3_bind_text(database->count_up, 1, name, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(database->count_up, 2, next);
	return rc == SQLITE_OK ? run(database->count_up) : rc;
}

static int run_all(struct database *database, const struct store_batch *backlog, const struct list *batches,
		   struct counters *counters)
{
	int rc = run_batch(database, backlog, counters);
	struct store_batch *batch;

	list_each(batch, batches, struct store_batch, node) {
		if (rc == SQLITE_OK)
			rc = run_batch(database, batch, counters);
	}
	if (rc == SQLITE_OK && counters->next_incident > database->next_incident)
		rc = count_up(database, "incident", counters->next_incident);
	if (rc == SQLITE_OK && counters->next_notice > database->next_notice)
		rc = count_up(database, "notice", counters->next_notice);
	return rc;
}

bool database_write(struct database *database, const struct store_batch *backlog, const struct list *batches,
		    struct failure *failure)
{
	struct counters counters = { database->next_incident, database->next_notice };
	int rc = run(database->begin);

	if (rc == SQLITE_OK)
		rc = run_all(database, backlog, batches, &counters);
	if (rc == SQLITE_OK)
		rc = run(database->commit);
	if (rc == SQLITE_OK) {
		database->next_incident = counters.next_incident;
		database->next_notice = counters.next_notice;
		return true;
	}
	describe(database->sqlite, rc, errno, failure);
	/* After some failures SQLite has rolled back by itself. */
	if (!sqlite3_get_autocommit(database->sqlite))
		run(database->rollback);
	return false;
}

void database_checkpoint(struct database *database)
{
	sqlite3_busy_timeout(database->sqlite, 0);
	sqlite3_wal_checkpoint_v2(database->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite3_busy_timeout(database->sqlite, BUSY_MS);
}

/* Reading. */

/* The counter, or what the rows say if that is more: a counter can be damaged too. */
static int load_counters(struct database *database, struct store_state *state)
{
	static const char sql[] =
		"SELECT max(1,"
		" coalesce((SELECT next FROM counter WHERE name = '%s' AND next BETWEEN 1 AND %lld), 1),"
		" coalesce((SELECT max(%s) FROM %s WHERE %s BETWEEN 1 AND %lld), 0) + 1)";
	char text[sizeof(sql) + 128];
	int rc;

	snprintf(text, sizeof(text), sql, "incident", (long long)STORE_NUMBER_MAX, "number", "incident", "number",
		 (long long)STORE_NUMBER_MAX - 1);
	rc = read_integer(database->sqlite, text, &state->next_incident);
	if (rc != SQLITE_OK)
		return rc;
	snprintf(text, sizeof(text), sql, "notice", (long long)STORE_NUMBER_MAX, "id", "notice", "id",
		 (long long)STORE_NUMBER_MAX - 1);
	rc = read_integer(database->sqlite, text, &state->next_notice);
	database->next_incident = state->next_incident;
	database->next_notice = state->next_notice;
	return rc;
}

enum file_verdict database_load(struct database *database, int64_t now_unix_us, struct store_state *state,
				struct error *err)
{
	sqlite3 *sqlite = database->sqlite;
	int rc = load_counters(database, state);

	if (rc == SQLITE_OK)
		rc = rows_load(sqlite, now_unix_us, state);
	if (rc != SQLITE_OK)
		return verdict_of(sqlite, rc, sqlite3_db_filename(sqlite, "main"), err);
	set_checkpoint_on_close(sqlite, true);
	return FILE_USABLE;
}

bool database_query_dead(struct database *database, struct message_row **rows, size_t *count,
			 struct failure *failure)
{
	int rc = rows_read_dead(database->dead, rows, count);

	if (rc != SQLITE_OK)
		describe(database->sqlite, rc, sqlite3_system_errno(database->sqlite), failure);
	return rc == SQLITE_OK;
}
