/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/io/store_private.h"

/*
 * A step is: operation (1 byte), size of what follows (size_t), values. A value is: kind (1 byte), then nothing,
 * or an int64_t, or a size_t and so many bytes. None is the beginning of another: keys can be compared as bytes.
 */
enum { STEP_HEAD_BYTES = 1 + sizeof(size_t) };

enum table { TABLE_LEVEL, TABLE_CERTIFICATE, TABLE_INCIDENT, TABLE_TOLD, TABLE_NOTICE, TABLE_MESSAGE };

/* A key with fewer values than the table has stands for all that begin so. */
struct shape {
	enum table table;
	int key_values; /* 0: not by key; stays as it is */
};

static const struct shape shapes[OPERATION_COUNT] = {
	[OPERATION_PUT_LEVEL] = { TABLE_LEVEL, 2 },
	[OPERATION_DROP_LEVELS] = { TABLE_LEVEL, 1 },
	[OPERATION_PUT_CERTIFICATE] = { TABLE_CERTIFICATE, 2 },
	[OPERATION_DROP_CERTIFICATE] = { TABLE_CERTIFICATE, 2 },
	[OPERATION_DROP_CERTIFICATES] = { TABLE_CERTIFICATE, 1 },
	[OPERATION_PUT_INCIDENT] = { TABLE_INCIDENT, 1 },
	[OPERATION_PUT_TOLD] = { TABLE_TOLD, 2 },
	[OPERATION_DROP_TOLD] = { TABLE_TOLD, 1 },
	[OPERATION_PUT_NOTICE] = { TABLE_NOTICE, 1 },
	[OPERATION_DROP_NOTICE] = { TABLE_NOTICE, 1 },
	[OPERATION_PUT_MESSAGE] = { TABLE_MESSAGE, 1 },
	[OPERATION_DROP_MESSAGE] = { TABLE_MESSAGE, 1 },
	[OPERATION_DROP_DEAD] = { TABLE_MESSAGE, 0 },
};

static const char *const message_states[] = { [MESSAGE_WAITING] = "waiting", [MESSAGE_DEAD] = "dead" };

const char *message_state_name(enum message_state state)
{
	assert(state == MESSAGE_WAITING || state == MESSAGE_DEAD);
	return message_states[state];
}

bool message_state_parse(const char *word, enum message_state *state)
{
	for (int i = MESSAGE_WAITING; i <= MESSAGE_DEAD; i++) {
		if (word != NULL && strcmp(word, message_states[i]) == 0) {
			*state = (enum message_state)i;
			return true;
		}
	}
	return false;
}

struct store_batch *store_batch_new(void)
{
	struct store_batch *batch = mem_new(struct store_batch);

	list_init(&batch->node);
	return batch;
}

void store_batch_free(struct store_batch *batch)
{
	if (batch == NULL)
		return;
	free(batch->data);
	free(batch);
}

bool store_batch_empty(const struct store_batch *batch)
{
	return batch->bytes == 0;
}

static void add_bytes(struct store_batch *batch, const void *data, size_t bytes)
{
	batch->data = mem_grow(batch->data, &batch->capacity, batch->bytes + bytes, 1);
	memcpy(batch->data + batch->bytes, data, bytes);
	batch->bytes += bytes;
}

static void add_kind(struct store_batch *batch, enum value_kind kind)
{
	unsigned char byte = (unsigned char)kind;

	add_bytes(batch, &byte, 1);
}

static void add_integer(struct store_batch *batch, int64_t integer)
{
	add_kind(batch, VALUE_INTEGER);
	add_bytes(batch, &integer, sizeof(integer));
}

static void add_sized(struct store_batch *batch, enum value_kind kind, const void *data, size_t bytes)
{
	add_kind(batch, kind);
	add_bytes(batch, &bytes, sizeof(bytes));
	add_bytes(batch, data, bytes);
}

static void add_text(struct store_batch *batch, const char *text)
{
	assert(text != NULL);
	add_sized(batch, VALUE_TEXT, text, strlen(text));
}

static void add_text_or_null(struct store_batch *batch, const char *text)
{
	if (text != NULL)
		add_text(batch, text);
	else
		add_kind(batch, VALUE_NULL);
}

static size_t step_begin(struct store_batch *batch, enum operation operation)
{
	size_t start = batch->bytes;
	unsigned char head[STEP_HEAD_BYTES] = { (unsigned char)operation };

	add_bytes(batch, head, sizeof(head));
	return start;
}

static void step_end(struct store_batch *batch, size_t start)
{
	size_t bytes = batch->bytes - start - STEP_HEAD_BYTES;

	memcpy(batch->data + start + 1, &bytes, sizeof(bytes));
}

void store_put_level(struct store_batch *batch, const struct level_row *row)
{
	size_t start = step_begin(batch, OPERATION_PUT_LEVEL);

	add_text(batch, row->target);
	add_text(batch, check_name(row->check));
	add_text(batch, level_name(row->level));
	add_text(batch, reason_name(row->reason));
	add_integer(batch, row->since_unix_us);
	step_end(batch, start);
}

void store_put_certificate(struct store_batch *batch, const struct certificate_row *row)
{
	size_t start = step_begin(batch, OPERATION_PUT_CERTIFICATE);

	add_text(batch, row->target);
	add_sized(batch, VALUE_BLOB, row->fingerprint, FINGERPRINT_BYTES);
	add_integer(batch, row->first_seen_unix_us);
	add_integer(batch, row->not_before_unix_s);
	add_integer(batch, row->not_after_unix_s);
	add_integer(batch, row->chain_not_after_unix_s);
	add_text(batch, reason_name(row->verdict));
	add_text_or_null(batch, row->facts);
	step_end(batch, start);
}

void store_drop_certificate(struct store_batch *batch, const char *target,
			    const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	size_t start = step_begin(batch, OPERATION_DROP_CERTIFICATE);

	add_text(batch, target);
	add_sized(batch, VALUE_BLOB, fingerprint, FINGERPRINT_BYTES);
	step_end(batch, start);
}

void store_drop_target(struct store_batch *batch, const char *target)
{
	size_t start = step_begin(batch, OPERATION_DROP_LEVELS);

	add_text(batch, target);
	step_end(batch, start);
	start = step_begin(batch, OPERATION_DROP_CERTIFICATES);
	add_text(batch, target);
	step_end(batch, start);
}

static void put_told(struct store_batch *batch, int64_t incident, const struct told *told)
{
	size_t start = step_begin(batch, OPERATION_PUT_TOLD);

	add_integer(batch, incident);
	add_text(batch, told->sender);
	add_text(batch, level_name(told->level));
	add_integer(batch, told->at_unix_us);
	add_text_or_null(batch, told->first_message);
	step_end(batch, start);
}

void store_put_incident(struct store_batch *batch, const struct incident *incident)
{
	size_t start = step_begin(batch, OPERATION_PUT_INCIDENT);

	add_integer(batch, incident->number);
	add_text(batch, incident->target);
	add_text(batch, check_name(incident->check));
	add_text(batch, level_name(incident->level));
	add_text(batch, level_name(incident->worst));
	add_text(batch, reason_name(incident->reason));
	add_text(batch, phase_name(incident->phase));
	add_integer(batch, incident->since_unix_us);
	add_integer(batch, incident->opened_unix_us);
	add_integer(batch, incident->ended_unix_us);
	add_text_or_null(batch, incident->address);
	add_text_or_null(batch, incident->detail);
	if (incident->has_fingerprint)
		add_sized(batch, VALUE_BLOB, incident->fingerprint, FINGERPRINT_BYTES);
	else
		add_kind(batch, VALUE_NULL);
	add_text_or_null(batch, incident->about);
	step_end(batch, start);

	start = step_begin(batch, OPERATION_DROP_TOLD);
	add_integer(batch, incident->number);
	step_end(batch, start);
	for (size_t i = 0; i < incident->told_count; i++)
		put_told(batch, incident->number, &incident->told[i]);
}

void store_put_notice(struct store_batch *batch, const struct notice *notice)
{
	size_t start = step_begin(batch, OPERATION_PUT_NOTICE);

	add_integer(batch, notice->id);
	add_integer(batch, notice->incident);
	add_text(batch, notice->sender);
	add_text(batch, event_name(notice->event));
	add_text(batch, level_name(notice->level));
	add_text(batch, notice->group_key);
	add_integer(batch, notice->created_unix_us);
	add_integer(batch, notice->wait_ms);
	add_text(batch, notice->item);
	step_end(batch, start);
}

void store_drop_notice(struct store_batch *batch, int64_t id)
{
	size_t start = step_begin(batch, OPERATION_DROP_NOTICE);

	add_integer(batch, id);
	step_end(batch, start);
}

void store_put_message(struct store_batch *batch, const struct message_row *row)
{
	size_t start = step_begin(batch, OPERATION_PUT_MESSAGE);

	add_text(batch, row->id);
	add_text(batch, row->sender);
	add_integer(batch, row->created_unix_us);
	add_text(batch, row->body);
	add_text(batch, message_state_name(row->state));
	add_integer(batch, row->attempts);
	add_integer(batch, row->next_try_unix_us);
	add_text_or_null(batch, row->error);
	add_integer(batch, row->ended_unix_us);
	step_end(batch, start);
}

void store_drop_message(struct store_batch *batch, const char *id)
{
	size_t start = step_begin(batch, OPERATION_DROP_MESSAGE);

	add_text(batch, id);
	step_end(batch, start);
}

void store_drop_dead_before(struct store_batch *batch, int64_t unix_us)
{
	size_t start = step_begin(batch, OPERATION_DROP_DEAD);

	add_integer(batch, unix_us);
	step_end(batch, start);
}

bool batch_next(const struct store_batch *batch, size_t *offset, struct step *step)
{
	if (*offset == batch->bytes)
		return false;
	step->operation = (enum operation)batch->data[*offset];
	memcpy(&step->bytes, batch->data + *offset + 1, sizeof(step->bytes));
	step->values = batch->data + *offset + STEP_HEAD_BYTES;
	*offset += STEP_HEAD_BYTES + step->bytes;
	return true;
}

bool step_next(const struct step *step, size_t *offset, struct value *value)
{
	const unsigned char *at = step->values + *offset;

	if (*offset == step->bytes)
		return false;
	memset(value, 0, sizeof(*value));
	value->kind = (enum value_kind)*at++;
	switch (value->kind) {
	case VALUE_NULL:
		break;
	case VALUE_INTEGER:
		memcpy(&value->integer, at, sizeof(value->integer));
		at += sizeof(value->integer);
		break;
	case VALUE_TEXT:
	case VALUE_BLOB:
		memcpy(&value->bytes, at, sizeof(value->bytes));
		at += sizeof(value->bytes);
		value->data = at;
		at += value->bytes;
		break;
	}
	*offset = (size_t)(at - step->values);
	return true;
}

void batch_append(struct store_batch *to, struct store_batch *from)
{
	if (from->bytes > 0)
		add_bytes(to, from->data, from->bytes);
	from->bytes = 0;
}

struct key {
	enum table table;
	const unsigned char *data;
	size_t bytes;
	size_t index; /* of its step in the batch */
};

/* What is later comes first among equals, and the beginning of a key before the key. */
static int key_compare(const void *left, const void *right)
{
	const struct key *a = left;
	const struct key *b = right;
	int order;

	if (a->table != b->table)
		return a->table < b->table ? -1 : 1;
	order = memcmp(a->data, b->data, a->bytes < b->bytes ? a->bytes : b->bytes);
	if (order != 0)
		return order;
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	return a->index > b->index ? -1 : 1;
}

static bool key_begins_with(const struct key *key, const struct key *beginning)
{
	return key->table == beginning->table && key->bytes >= beginning->bytes &&
	       memcmp(key->data, beginning->data, beginning->bytes) == 0;
}

static struct key *batch_keys(const struct store_batch *batch, size_t *key_count, size_t *step_count)
{
	struct key *keys = NULL;
	size_t capacity = 0;
	size_t offset = 0;
	struct step step;

	*key_count = 0;
	for (*step_count = 0; batch_next(batch, &offset, &step); ++*step_count) {
		const struct shape *shape = &shapes[step.operation];
		struct value value;
		size_t bytes = 0;

		if (shape->key_values == 0)
			continue;
		for (int i = 0; i < shape->key_values; i++)
			step_next(&step, &bytes, &value);
		keys = mem_grow(keys, &capacity, *key_count + 1, sizeof(*keys));
		keys[(*key_count)++] = (struct key){ .table = shape->table, .data = step.values, .bytes = bytes,
						     .index = *step_count };
	}
	return keys;
}

static bool *find_void(struct key *keys, size_t key_count, size_t step_count)
{
	bool *is_void = mem_array(step_count, sizeof(*is_void));
	const struct key *cover = NULL; /* the shortest beginning of the present key, its last step */

	if (key_count > 0)
		qsort(keys, key_count, sizeof(*keys), key_compare);
	for (size_t i = 0; i < key_count; i++) {
		const struct key *key = &keys[i];
		bool repeated = i > 0 && key->bytes == keys[i - 1].bytes && key_begins_with(key, &keys[i - 1]);

		if (cover == NULL || !key_begins_with(key, cover))
			cover = key;
		is_void[key->index] = repeated || key->index < cover->index;
	}
	return is_void;
}

void batch_compact(struct store_batch *batch)
{
	size_t key_count, step_count;
	struct key *keys = batch_keys(batch, &key_count, &step_count);
	bool *is_void = find_void(keys, key_count, step_count);
	struct store_batch kept = { .data = NULL };
	size_t offset = 0;

	for (size_t i = 0; i < step_count; i++) {
		size_t start = offset;
		struct step step;

		batch_next(batch, &offset, &step);
		if (!is_void[i])
			add_bytes(&kept, batch->data + start, offset - start);
	}
	free(batch->data);
	batch->data = kept.data;
	batch->bytes = kept.bytes;
	batch->capacity = kept.capacity;
	free(is_void);
	free(keys);
}
