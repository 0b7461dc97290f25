/* SPDX-License-Identifier: MIT */
#include "daemon/notify/message.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	TEXT_MAX = 2048,      /* bytes of one field */
	LABELS_MAX = 64
};
/* Four digits for the year: what a certificate claims beyond is shown as the last second that has them. */
#define UNIX_S_MIN INT64_C(-62135596800)
#define UNIX_S_MAX INT64_C(253402300799)
#define UNIX_US_MAX (UNIX_S_MAX * US_PER_S)

AUTO_DEFINE(message, struct message *, message_free)
AUTO_DEFINE(document, struct json *, json_free)

static void write_labels(struct json_writer *w, const struct message_item *item)
{
	json_key(w, "labels");
	json_object(w);
	for (size_t i = 0; i < item->label_count; i++)
		json_key_string(w, item->labels[i].name, item->labels[i].value);
	json_object_end(w);
}

static void write_certificate(struct json_writer *w, const struct message_certificate *certificate)
{
	if (certificate == NULL)
		return;
	json_key(w, "certificate");
	json_object(w);
	json_key_string(w, "subject", certificate->subject);
	json_key_string(w, "issuer", certificate->issuer);
	json_key_int(w, "not_before_unix_s", certificate->not_before_unix_s);
	json_key_int(w, "not_after_unix_s", certificate->not_after_unix_s);
	json_key_string(w, "fingerprint", certificate->fingerprint);
	json_key_string(w, "key", certificate->key);
	json_key_string(w, "signature", certificate->signature);
	json_key_string(w, "chain", certificate->chain);
	json_key_string(w, "tls", certificate->tls);
	json_key_string(w, "changed", certificate->changed);
	json_object_end(w);
}

static void write_probes(struct json_writer *w, const struct message_item *item)
{
	json_key(w, "probes");
	json_array(w);
	for (size_t i = 0; i < item->probe_count; i++) {
		json_object(w);
		json_key_int(w, "at_unix_us", item->probes[i].at_unix_us);
		json_key_string(w, "reason", reason_name(item->probes[i].reason));
		json_key_int(w, "total_us", item->probes[i].total_us);
		json_object_end(w);
	}
	json_array_end(w);
}

void message_item_write(struct json_writer *w, const struct message_item *item)
{
	json_object(w);
	json_key_int(w, "incident", item->incident);
	json_key_string(w, "event", event_name(item->event));
	json_key_string(w, "target", item->target);
	json_key_string(w, "address", item->address);
	json_key_string(w, "reached", item->reached);
	json_key_string(w, "group", item->group);
	json_key_string(w, "location", item->location);
	write_labels(w, item);
	json_key_string(w, "description", item->description);
	json_key_string(w, "runbook", item->runbook);
	json_key_string(w, "check", check_name(item->check));
	json_key_string(w, "level", level_name(item->level));
	json_key_string(w, "before", level_name(item->before));
	json_key_string(w, "reason", reason_name(item->reason));
	json_key_string(w, "phase", phase_name(item->phase));
	json_key_string(w, "detail", item->detail);
	json_key_int(w, "since_unix_us", item->since_unix_us);
	json_key_int(w, "ended_unix_us", item->ended_unix_us);
	json_key_bool(w, "missed", item->missed);
	json_key_bool(w, "unwatched", item->unwatched);
	write_certificate(w, item->certificate);
	write_probes(w, item);
	json_object_end(w);
}

char *message_compose(const char *id, const char *sender, const char *group_key, const char *thread,
		      int64_t created_unix_us, bool drill, const char *const *items, size_t item_count)
{
	struct str body = { 0 };
	struct json_writer w;

	json_start(&w, &body);
	json_object(&w);
	json_key_string(&w, "id", id);
	json_key_string(&w, "sender", sender);
	json_key_string(&w, "group_key", group_key);
	json_key_string(&w, "thread", thread);
	json_key_int(&w, "created_unix_us", created_unix_us);
	json_key_bool(&w, "drill", drill);
	json_key(&w, "items");
	json_array(&w);
	for (size_t i = 0; i < item_count; i++)
		json_raw(&w, items[i]);
	json_array_end(&w);
	json_object_end(&w);
	return str_take(&body);
}

/* Cleaned once more: a body is shown in many places, and a database can be written by others. "" is no text. */
static char *read_text(const struct json *object, const char *key)
{
	const char *text = json_get_string(object, key);

	return text != NULL && text[0] != '\0' ? str_clean(text, strlen(text), TEXT_MAX) : NULL;
}

static bool read_time(const struct json *object, const char *key, int64_t *unix_us, struct error *err)
{
	*unix_us = json_get_int(object, key, -1);
	if (*unix_us < 0 || *unix_us > UNIX_US_MAX)
		return error_set(err, "message: %s is not a time", key);
	return true;
}

static int64_t read_unix_s(const struct json *object, const char *key)
{
	int64_t unix_s = json_get_int(object, key, 0);

	if (unix_s < UNIX_S_MIN)
		return UNIX_S_MIN;
	return unix_s > UNIX_S_MAX ? UNIX_S_MAX : unix_s;
}

static bool read_labels(const struct json *object, struct message_item *item, struct error *err)
{
	const struct json *labels = json_get(object, "labels");
	const struct json *value = NULL;
	const char *name;
	void *iter = NULL;

	item->labels = mem_array(LABELS_MAX, sizeof(*item->labels));
	while ((name = json_next(labels, &iter, &value)) != NULL) {
		const char *text = json_text(value);
		struct label *label = &item->labels[item->label_count];

		if (text == NULL || item->label_count == LABELS_MAX)
			return error_set(err, "message: labels are not as we write them");
		label->name = str_clean(name, strlen(name), TEXT_MAX);
		label->value = str_clean(text, strlen(text), TEXT_MAX);
		item->label_count++;
	}
	return true;
}

static void read_certificate(const struct json *object, struct message_item *item)
{
	const struct json *facts = json_get(object, "certificate");

	if (facts == NULL)
		return;
	item->certificate = mem_new(struct message_certificate);
	item->certificate->subject = read_text(facts, "subject");
	item->certificate->issuer = read_text(facts, "issuer");
	item->certificate->not_before_unix_s = read_unix_s(facts, "not_before_unix_s");
	item->certificate->not_after_unix_s = read_unix_s(facts, "not_after_unix_s");
	item->certificate->fingerprint = read_text(facts, "fingerprint");
	item->certificate->key = read_text(facts, "key");
	item->certificate->signature = read_text(facts, "signature");
	item->certificate->chain = read_text(facts, "chain");
	item->certificate->tls = read_text(facts, "tls");
	item->certificate->changed = read_text(facts, "changed");
}

static bool read_probes(const struct json *object, struct message_item *item, struct error *err)
{
	const struct json *probes = json_get(object, "probes");

	item->probe_count = json_size(probes);
	if (item->probe_count > MESSAGE_PROBES_MAX) {
		item->probe_count = 0;
		return error_set(err, "message: more than %d probes", MESSAGE_PROBES_MAX);
	}
	for (size_t i = 0; i < item->probe_count; i++) {
		const struct json *from = json_at(probes, i);
		struct message_probe *probe = &item->probes[i];

		probe->total_us = json_get_int(from, "total_us", -1);
		if (!read_time(from, "at_unix_us", &probe->at_unix_us, err))
			return false;
		if (!reason_parse(json_get_string(from, "reason"), &probe->reason))
			return error_set(err, "message: probes[%zu]: unknown reason", i);
	}
	return true;
}

static bool read_words(const struct json *object, struct message_item *item, struct error *err)
{
	if (!event_parse(json_get_string(object, "event"), &item->event) ||
	    !check_parse(json_get_string(object, "check"), &item->check) ||
	    !level_parse(json_get_string(object, "level"), &item->level) ||
	    !level_parse(json_get_string(object, "before"), &item->before) ||
	    !reason_parse(json_get_string(object, "reason"), &item->reason) ||
	    !phase_parse(json_get_string(object, "phase"), &item->phase))
		return error_set(err, "message: a word that we do not know (of a newer version?)");
	return true;
}

static bool read_item(const struct json *object, struct message_item *item, struct error *err)
{
	item->incident = json_get_int(object, "incident", -1);
	item->target = read_text(object, "target");
	item->address = read_text(object, "address");
	item->reached = read_text(object, "reached");
	item->group = read_text(object, "group");
	item->location = read_text(object, "location");
	item->description = read_text(object, "description");
	item->runbook = read_text(object, "runbook");
	item->detail = read_text(object, "detail");
	item->missed = json_get_bool(object, "missed", false);
	item->unwatched = json_get_bool(object, "unwatched", false);
	read_certificate(object, item);
	if (item->incident < 0 || item->target == NULL)
		return error_set(err, "message: an item without incident or target");
	return read_words(object, item, err) && read_time(object, "since_unix_us", &item->since_unix_us, err) &&
	       read_time(object, "ended_unix_us", &item->ended_unix_us, err) && read_labels(object, item, err) &&
	       read_probes(object, item, err);
}

/* Ids become parts of headers: nothing else may stand in them. */
static bool read_id(const struct json *object, const char *key, char **id, struct error *err)
{
	const char *text = json_get_string(object, key);
	size_t bytes = text != NULL ? strlen(text) : 0;

	if (bytes == 0 || bytes > MESSAGE_ID_BYTES ||
	    strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz.-") != bytes)
		return error_set(err, "message: %s is not an id", key);
	*id = mem_strdup(text);
	return true;
}

static bool read_message(const struct json *root, struct message *message, struct error *err)
{
	const struct json *items = json_get(root, "items");

	message->sender = read_text(root, "sender");
	message->group_key = read_text(root, "group_key");
	message->drill = json_get_bool(root, "drill", false);
	if (!read_id(root, "id", &message->id, err))
		return false;
	if (json_get_string(root, "thread") != NULL && !read_id(root, "thread", &message->thread, err))
		return false;
	if (!read_time(root, "created_unix_us", &message->created_unix_us, err))
		return false;
	if (json_size(items) == 0)
		return error_set(err, "message: it has no items");
	message->items = mem_array(json_size(items), sizeof(*message->items));
	while (message->item_count < json_size(items)) {
		size_t index = message->item_count++;

		if (!read_item(json_at(items, index), &message->items[index], err))
			return false;
	}
	return true;
}

struct message *message_parse(const char *body, struct error *err)
{
	AUTO(document) struct json *root = json_parse(body, strlen(body), err);
	AUTO(message) struct message *message = NULL;

	if (root == NULL)
		return NULL;
	message = mem_new(struct message);
	if (!read_message(root, message, err))
		return NULL;
	return TAKE(message);
}

static void certificate_free(struct message_certificate *certificate)
{
	if (certificate == NULL)
		return;
	free(certificate->subject);
	free(certificate->issuer);
	free(certificate->fingerprint);
	free(certificate->key);
	free(certificate->signature);
	free(certificate->chain);
	free(certificate->tls);
	free(certificate->changed);
	free(certificate);
}

void message_item_done(struct message_item *item)
{
	for (size_t i = 0; i < item->label_count; i++) {
		free(item->labels[i].name);
		free(item->labels[i].value);
	}
	free(item->labels);
	free(item->target);
	free(item->address);
	free(item->reached);
	free(item->group);
	free(item->location);
	free(item->description);
	free(item->runbook);
	free(item->detail);
	certificate_free(item->certificate);
	*item = (struct message_item){ 0 };
}

void message_free(struct message *message)
{
	if (message == NULL)
		return;
	for (size_t i = 0; i < message->item_count; i++)
		message_item_done(&message->items[i]);
	free(message->items);
	free(message->id);
	free(message->sender);
	free(message->group_key);
	free(message->thread);
	free(message);
}
