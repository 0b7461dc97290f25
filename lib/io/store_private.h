/* SPDX-License-Identifier: MIT */
/*
 * store_private - what the files of the store share: batches as bytes, the database, the file it lies in.
 * A batch is a run of steps in the order they were put; a step is an operation and its values. Every operation
 * writes or deletes by key and reads nothing: of two with one key only the later matters (batch_compact()).
 */
#ifndef PORTBELL_IO_STORE_PRIVATE_H
#define PORTBELL_IO_STORE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/list.h"
#include "lib/io/store.h"

/* Batches (store_batch.c). An operation's values stand in the order of its SQL parameters, the key first. */
enum operation {
	OPERATION_PUT_LEVEL, OPERATION_DROP_LEVELS,
	OPERATION_PUT_CERTIFICATE, OPERATION_DROP_CERTIFICATE, OPERATION_DROP_CERTIFICATES,
	OPERATION_PUT_INCIDENT, OPERATION_PUT_TOLD, OPERATION_DROP_TOLD,
	OPERATION_PUT_NOTICE, OPERATION_DROP_NOTICE,
	OPERATION_PUT_MESSAGE, OPERATION_DROP_MESSAGE, OPERATION_DROP_DEAD,
	OPERATION_COUNT
};

struct store_batch {
	struct list node;
	uint64_t sequence;      /* of its commit */
	unsigned char *data;
	size_t bytes;
	size_t capacity;
};

struct step {
	enum operation operation;
	const unsigned char *values; /* encoded */
	size_t bytes;
};

enum value_kind { VALUE_NULL, VALUE_INTEGER, VALUE_TEXT, VALUE_BLOB };

struct value {
	enum value_kind kind;
	int64_t integer;
	const void *data;       /* never NULL, not terminated */
	size_t bytes;
};

/* Both walk: *offset starts at 0; false at the end. */
bool batch_next(const struct store_batch *batch, size_t *offset, struct step *step);
bool step_next(const struct step *step, size_t *offset, struct value *value);
/* Moves the steps of `from` to the end of `to`. */
void batch_append(struct store_batch *to, struct store_batch *from);
/* Removes steps that a later one makes void. */
void batch_compact(struct store_batch *batch);

const char *message_state_name(enum message_state state);
bool message_state_parse(const char *word, enum message_state *state);

/* The file (store_file.c): none of this knows SQLite but for the head of its files. */
enum { STORE_SCHEMA_VERSION = 1, STORE_APPLICATION_ID = 0x70624c31 };

enum file_verdict { FILE_USABLE, FILE_UNUSABLE /* err says why */, FILE_REFUSED /* err says why */ };

/* `path` without symbolic links in its directory, which is made (0700) if it is missing. The caller frees. */
char *file_resolve(const char *path, struct error *err);
/* Held until the descriptor is closed, by one process on the machine; -1 fails. */
int file_lock(const char *path, struct error *err);
/* Makes an empty one (0600) if there is none. Closes what it opens: SQLite must not have the file open. */
enum file_verdict file_inspect(const char *path, struct error *err);
/* Renames it and what belongs to it; *moved_to is the caller's. */
bool file_move_aside(const char *path, int64_t now_unix_us, char **moved_to, struct error *err);

/* The database (store_sqlite.c). A connection is used by one thread at a time. */
struct database;

struct failure {
	bool disk_full;
	char text[256];
};

/* Makes what is missing in an empty file. *database is NULL unless FILE_USABLE. */
enum file_verdict database_open(const char *path, struct database **database, struct error *err);
enum file_verdict database_load(struct database *database, int64_t now_unix_us, struct store_state *state,
				struct error *err);
/* A second connection, which only reads. */
struct database *database_open_reader(const char *path, struct error *err);
void database_close(struct database *database); /* NULL is fine */
/* One transaction: `backlog`, then `batches` (a list of struct store_batch). On failure nothing is written. */
bool database_write(struct database *database, const struct store_batch *backlog, const struct list *batches,
		    struct failure *failure);
/* Brings the write-ahead log home and cuts it; gives way to whoever reads. */
void database_checkpoint(struct database *database);
/* Newest first, at most 1,000; on failure *rows is NULL. */
bool database_query_dead(struct database *database, struct message_row **rows, size_t *count,
			 struct failure *failure);

/* Its rows as values (store_rows.c). Both return an SQLite code. */
#define STORE_NUMBER_MAX (INT64_C(1) << 53) /* of an incident or a notice; beyond it a row is not believed */

struct sqlite3;
struct sqlite3_stmt;

int rows_load(struct sqlite3 *sqlite, int64_t now_unix_us, struct store_state *state);
extern const char rows_dead_sql[];
int rows_read_dead(struct sqlite3_stmt *statement, struct message_row **rows, size_t *count);
void message_row_done(struct message_row *row);

#endif
