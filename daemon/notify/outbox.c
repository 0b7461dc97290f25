/* SPDX-License-Identifier: MIT */
/* What people ask of the notifier: a drill, the list of what waits, another try, an end. */
#include "daemon/notify/notifier_private.h"
#include "lib/base/mem.h"

/* Drills */

static void drill_ended(const struct delivery_outcome *outcome, void *arg)
{
	struct drill *drill = arg;

	drill->done(outcome, drill->arg);
	drill_free(drill);
}

static struct message *drill_message(struct notifier *notifier, const char *sender)
{
	const int64_t unix_us = notifier_now(notifier).unix_us;
	struct message_item item = {
		.event = EVENT_TEST,
		.target = (char *)"portbell",
		.check = CHECK_SELF,
		.level = LEVEL_OK,
		.reason = REASON_OK,
		.phase = PHASE_TOTAL,
		.detail = (char *)"This is a test: messages of portbell reach you here.",
		.location = notifier->config->location,
		.since_unix_us = unix_us,
	};
	AUTO(string) char *id = notifier_new_id(unix_us);
	AUTO(str) struct str text = { 0 };
	struct json_writer w;
	struct error err;

	json_start(&w, &text);
	message_item_write(&w, &item);
	AUTO(string) char *body =
		message_compose(id, sender, "test", NULL, unix_us, true, (const char *const *)&text.data, 1);

	return message_parse(body, &err);
}

bool notifier_test(struct notifier *notifier, const char *sender, delivery_done_fn *done, void *arg)
{
	const struct sender_config *config = config_sender(notifier->config, sender);
	struct drill *drill;

	if (config == NULL)
		return false;
	drill = mem_new(struct drill);
	drill->notifier = notifier;
	drill->config = notifier->config;
	drill->sender = sender_of(config->kind);
	drill->message = drill_message(notifier, sender);
	drill->done = done;
	drill->arg = arg;
	list_push(&notifier->drills, &drill->node);
	drill->delivery = drill->sender->start(&notifier->options.world, config, drill->message,
					       notifier_now(notifier).unix_us, drill_ended, drill);
	return true;
}

/* The outbox, for people */

static void write_row(struct json_writer *w, const struct message_row *row)
{
	struct error err;
	struct message *message = message_parse(row->body, &err);
	char *title = message != NULL ? message_title(message) : NULL;

	json_object(w);
	json_key_string(w, "id", row->id);
	json_key_string(w, "sender", row->sender);
	json_key_string(w, "state", row->state == MESSAGE_DEAD ? "dead" : "waiting");
	json_key_time(w, "created", row->created_unix_us);
	json_key_int(w, "attempts", row->attempts);
	json_key_time(w, "next_try", row->state == MESSAGE_DEAD ? 0 : row->next_try_unix_us);
	json_key_string(w, "error", row->error);
	json_key_string(w, "title", title);
	json_object_end(w);
	free(title);
	message_free(message);
}

struct listing {
	struct notifier *notifier;
	notifier_outbox_fn *done;
	void *arg;
};

static void list_outbox(void *arg, const struct message_row *rows, size_t count, const char *error)
{
	struct listing *listing = arg;
	const struct outlet *outlet;
	const struct letter *letter;
	AUTO(str) struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_array(&w);
	list_each(outlet, &listing->notifier->outlets, struct outlet, node)
		list_each(letter, &outlet->letters, struct letter, node)
			write_row(&w, &letter->row);
	for (size_t i = 0; i < count; i++)
		write_row(&w, &rows[i]);
	json_array_end(&w);
	listing->done(listing->arg, error == NULL ? text.data : NULL, error);
	free(listing);
}

void notifier_outbox(struct notifier *notifier, notifier_outbox_fn *done, void *arg)
{
	struct listing *listing = mem_new(struct listing);

	*listing = (struct listing){ .notifier = notifier, .done = done, .arg = arg };
	store_query_dead(notifier->options.store, list_outbox, listing);
}

static struct letter *find_letter(const struct notifier *notifier, const char *id)
{
	const struct outlet *outlet;
	struct letter *letter;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		list_each(letter, &outlet->letters, struct letter, node)
			if (str_equal(letter->row.id, id))
				return letter;
	return NULL;
}

struct revival {
	struct notifier *notifier;
	bool drop;
	char *id;
	notifier_answer_fn *done;
	void *arg;
};

static const struct message_row *find_row(const struct message_row *rows, size_t count, const char *id)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(rows[i].id, id))
			return &rows[i];
	return NULL;
}

static void revive(struct notifier *notifier, const struct message_row *row)
{
	struct store_batch *batch = store_batch_new();
	struct letter *letter = mem_new(struct letter);

	letter->row = (struct message_row){
		.id = mem_strdup(row->id),
		.sender = mem_strdup(row->sender),
		.created_unix_us = row->created_unix_us,
		.body = mem_strdup(row->body),
		.error = mem_strdup(row->error),
		.state = MESSAGE_WAITING,
	};
	letter->state = LETTER_READY;
	letter->alive_unix_us = notifier_now(notifier).unix_us;
	letter->try_mono_us = notifier_now(notifier).mono_us;
	letter_read_incidents(letter);
	store_put_message(batch, &letter->row);
	notifier_commit(notifier, batch);
	outlet_line_up(notifier_outlet(notifier, letter->row.sender), letter);
	notifier_rearm(notifier);
}

/* It may have been revived, or its sender removed, while the store was asked. NULL: go on. */
static const char *why_not(const struct revival *revival, const struct message_row *row)
{
	if (find_letter(revival->notifier, row->id) != NULL)
		return "it is being delivered again already";
	if (!revival->drop && config_sender(revival->notifier->config, row->sender) == NULL)
		return "its sender is no longer in the configuration";
	return NULL;
}

static void on_dead_letters(void *arg, const struct message_row *rows, size_t count, const char *error)
{
	struct revival *revival = arg;
	struct notifier *notifier = revival->notifier;
	const struct message_row *row = error == NULL ? find_row(rows, count, revival->id) : NULL;

	if (row != NULL)
		error = why_not(revival, row);
	if (error != NULL)
		row = NULL;
	if (row != NULL && revival->drop) {
		struct store_batch *batch = store_batch_new();

		store_drop_message(batch, row->id);
		notifier_commit(notifier, batch);
	} else if (row != NULL) {
		revive(notifier, row);
	}
	revival->done(revival->arg, row != NULL ? NULL : error != NULL ? error : "no message has this id");
	free(revival->id);
	free(revival);
}

static void ask_the_dead(struct notifier *notifier, const char *id, bool drop, notifier_answer_fn *done, void *arg)
{
	struct revival *revival = mem_new(struct revival);

	*revival = (struct revival){
		.notifier = notifier, .drop = drop, .id = mem_strdup(id), .done = done, .arg = arg
	};
	store_query_dead(notifier->options.store, on_dead_letters, revival);
}

void notifier_retry(struct notifier *notifier, const char *id, notifier_answer_fn *done, void *arg)
{
	struct letter *letter = find_letter(notifier, id);

	if (letter == NULL) {
		ask_the_dead(notifier, id, false, done, arg);
		return;
	}
	if (letter->outlet->config == NULL) {
		done(arg, "its sender is no longer in the configuration");
		return;
	}
	letter->try_mono_us = notifier_now(notifier).mono_us;
	letter->outlet->gate_mono_us = 0;
	notifier_rearm(notifier);
	done(arg, NULL);
}

void notifier_drop(struct notifier *notifier, const char *id, notifier_answer_fn *done, void *arg)
{
	struct letter *letter = find_letter(notifier, id);
	struct store_batch *batch;

	if (letter == NULL) {
		ask_the_dead(notifier, id, true, done, arg);
		return;
	}
	if (letter->state != LETTER_READY) {
		done(arg, "the message is just being sent: try again in a moment");
		return;
	}
	batch = store_batch_new();
	store_drop_message(batch, id);
	notifier_commit(notifier, batch);
	letter_forget(letter);
	notifier_rearm(notifier);
	done(arg, NULL);
}
