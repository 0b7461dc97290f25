/* SPDX-License-Identifier: MIT */
#include <event2/event.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/notify/compose.h"
#include "daemon/notify/notifier_private.h"
#include "lib/base/mem.h"
#include "lib/io/crypto.h"

enum { GIVE_UP_TRIES_MIN = 5, ORPHANS_KEPT_S = 86400 };

struct now notifier_now(const struct notifier *notifier)
{
	return notifier->options.now();
}

static struct outlet *find_outlet(const struct notifier *notifier, const char *name)
{
	struct outlet *outlet;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		if (str_equal(outlet->name, name))
			return outlet;
	return NULL;
}

struct outlet *notifier_outlet(struct notifier *notifier, const char *name)
{
	struct outlet *outlet = find_outlet(notifier, name);

	if (outlet != NULL)
		return outlet;
	outlet = outlet_new(name);
	outlet->notifier = notifier;
	if (notifier->config != NULL)
		outlet->config = config_sender(notifier->config, name);
	list_push(&notifier->outlets, &outlet->node);
	return outlet;
}

void notifier_rearm(struct notifier *notifier)
{
	const int64_t mono_us = notifier_now(notifier).mono_us;
	int64_t due_us = INT64_MAX;
	struct outlet *outlet;

	list_each(outlet, &notifier->outlets, struct outlet, node) {
		const int64_t at_us = outlet_due(outlet, mono_us);

		if (at_us < due_us)
			due_us = at_us;
	}
	if (due_us == INT64_MAX || notifier->paused) {
		evtimer_del(notifier->timer);
		return;
	}
	const int64_t wait_us = due_us > mono_us ? due_us - mono_us : 0;
	const struct timeval wait = { .tv_sec = wait_us / US_PER_S, .tv_usec = (suseconds_t)(wait_us % US_PER_S) };

	evtimer_add(notifier->timer, &wait);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	notifier_run(arg);
}

static void committed(void *arg, bool durable)
{
	(void)arg;
	(void)durable; /* the store keeps what it could not write, and says so in its health */
}

void notifier_commit(struct notifier *notifier, struct store_batch *batch)
{
	store_commit(notifier->options.store, batch, notifier_now(notifier).mono_us, committed, NULL);
}

/* Time, then chance: ids sort as they were made, and no two hosts make the same. */
char *notifier_new_id(int64_t unix_us)
{
	uint64_t chance;

	crypto_random(&chance, sizeof(chance));
	return mem_printf("%014" PRIx64 ".%016" PRIx64, (uint64_t)unix_us, chance);
}

/* Self incident: which senders do not deliver */

static void report_trouble(struct notifier *notifier)
{
	const struct outlet *outlet;
	AUTO(str) struct str text = { 0 };

	list_each(outlet, &notifier->outlets, struct outlet, node)
		if (outlet->trouble)
			str_addf(&text, "%s%s: %s", text.bytes > 0 ? "; " : "", outlet->name, outlet->trouble_text);
	if (text.bytes == notifier->trouble.bytes &&
	    (text.bytes == 0 || str_equal(text.data, notifier->trouble.data)))
		return;
	str_clear(&notifier->trouble);
	str_add(&notifier->trouble, text.data);
	notifier->options.hooks.trouble(notifier->options.hooks.arg, text.bytes > 0 ? text.data : NULL);
}

static void note_trouble(struct notifier *notifier, struct outlet *outlet, const char *text)
{
	outlet->trouble = true;
	snprintf(outlet->trouble_text, sizeof(outlet->trouble_text), "%s", text);
	report_trouble(notifier);
}

void notifier_assume_trouble(struct notifier *notifier)
{
	str_add(&notifier->trouble, "?");
}

/* Letters */

/* A message about ourselves: how it fares must not start or end a trouble that is told by such messages. */
static bool is_own(const struct letter *letter)
{
	return letter->message != NULL && letter->message->items[0].check == CHECK_SELF;
}

void letter_forget(struct letter *letter)
{
	outlet_take_out(letter);
	letter_free(letter);
}

static void bury_letter(struct notifier *notifier, struct letter *letter, const char *why)
{
	struct store_batch *batch = store_batch_new();

	letter->row.state = MESSAGE_DEAD;
	letter->row.ended_unix_us = notifier_now(notifier).unix_us;
	store_put_message(batch, &letter->row);
	notifier_commit(notifier, batch);
	log_write(LOG_LEVEL_ERROR, LOG_DEAD_LETTER, NULL, "message %s to %s was not delivered: %s: %s", letter->row.id,
		  letter->row.sender, why, letter->row.error != NULL ? letter->row.error : "");
	if (letter->outlet->config != NULL && !is_own(letter))
		note_trouble(notifier, letter->outlet, letter->row.error != NULL ? letter->row.error : why);
	letter_forget(letter);
}

/* Another try would come twice to those who have it. */
static void delivered_partly(struct notifier *notifier, const struct letter *letter, const char *answer)
{
	log_write(LOG_LEVEL_WARNING, LOG_DELIVERY_FAILED, NULL, "message %s to %s has not reached everybody: %s",
		  letter->row.id, letter->row.sender, answer);
	note_trouble(notifier, letter->outlet, answer);
}

/* The store knows of a delivery, or does not answer: then to go on matters more. */
static void on_settled(void *arg, bool durable)
{
	struct settling *settling = arg;
	struct notifier *notifier = settling->outlet->notifier;

	(void)durable;
	outlet_settled(settling, notifier_now(notifier).mono_us);
	notifier_rearm(notifier);
}

static void letter_delivered(struct notifier *notifier, struct letter *letter, const struct delivery_outcome *outcome)
{
	struct store_batch *batch = store_batch_new();
	char *title = message_title(letter->message);

	store_drop_message(batch, letter->row.id);
	store_commit(notifier->options.store, batch, notifier_now(notifier).mono_us, on_settled,
		     outlet_settle(letter->outlet, notifier_now(notifier).mono_us));
	log_info("delivered to %s: %s (%s)", letter->row.sender, title, outcome->text);
	free(title);
	outlet_succeeded(letter->outlet, notifier_now(notifier).mono_us);
	if (!is_own(letter))
		letter->outlet->trouble = false;
	if (outcome->partly)
		delivered_partly(notifier, letter, outcome->text);
	else
		report_trouble(notifier);
	letter_forget(letter);
}

/* True when a message has been tried for so long that it becomes a dead letter. The number of tries guards against a
 * wall clock that jumped. */
static bool given_up(const struct letter *letter, int64_t unix_us)
{
	const struct sender_config *config = letter->outlet->config;
	const int64_t since_unix_us =
		letter->alive_unix_us != 0 ? letter->alive_unix_us : letter->row.created_unix_us;

	return config != NULL && letter->row.attempts >= GIVE_UP_TRIES_MIN &&
	       unix_us - since_unix_us > config->give_up_ms * US_PER_MS;
}

static void letter_failed(struct notifier *notifier, struct letter *letter, const struct delivery_outcome *outcome)
{
	const struct now now = notifier_now(notifier);
	struct store_batch *batch;
	uint8_t jitter;

	crypto_random(&jitter, sizeof(jitter));
	outlet_failed(letter->outlet, letter, outcome->retry_after_ms, jitter, now.mono_us);
	letter->row.next_try_unix_us = now.unix_us + (letter->try_mono_us - now.mono_us);
	if (given_up(letter, now.unix_us)) {
		bury_letter(notifier, letter, "given up");
		return;
	}
	batch = store_batch_new();
	store_put_message(batch, &letter->row);
	notifier_commit(notifier, batch);
	log_write(LOG_LEVEL_WARNING, LOG_DELIVERY_FAILED, NULL,
		  "message %s to %s is tried again in %" PRId64 " s%s: %s", letter->row.id, letter->row.sender,
		  (letter->try_mono_us - now.mono_us) / US_PER_S,
		  outcome->in_doubt ? " (it may have arrived; the id stays the same)" : "", outcome->text);
	if (now.mono_us - letter->outlet->failing_since_mono_us > OUTLET_TROUBLE_AFTER_S * US_PER_S)
		note_trouble(notifier, letter->outlet, outcome->text);
}

static void letter_ended(const struct delivery_outcome *outcome, void *arg)
{
	struct letter *letter = arg;
	struct notifier *notifier = letter->outlet->notifier;

	letter->delivery = NULL;
	letter->state = LETTER_READY;
	letter->outlet->flights--;
	free(letter->row.error);
	letter->row.error = mem_strdup(outcome->text);
	switch (outcome->status) {
	case DELIVERY_DONE:
		letter_delivered(notifier, letter, outcome);
		break;
	case DELIVERY_REFUSED:
		bury_letter(notifier, letter, "refused for good");
		break;
	case DELIVERY_RETRY:
		message_free(TAKE(letter->message));
		letter_failed(notifier, letter, outcome);
		break;
	}
	notifier_rearm(notifier);
}

static void start_letter(struct notifier *notifier, struct letter *letter)
{
	struct outlet *outlet = letter->outlet;
	struct error err;

	letter->message = message_parse(letter->row.body, &err);
	if (letter->message == NULL) {
		free(letter->row.error);
		letter->row.error = mem_strdup(err.text);
		bury_letter(notifier, letter, "its text in the store cannot be read");
		return;
	}
	letter->state = LETTER_SENDING;
	letter->asked_to_wait = false;
	letter->row.attempts++;
	outlet->flights++;
	letter->sender = sender_of(outlet->config->kind);
	letter->config = notifier->config;
	letter->delivery = letter->sender->start(&notifier->options.world, outlet->config, letter->message,
						 notifier_now(notifier).unix_us, letter_ended, letter);
}

/* Fills in which incidents a letter tells of, from its own text. */
void letter_read_incidents(struct letter *letter)
{
	struct error err;
	struct message *message = message_parse(letter->row.body, &err);

	if (message == NULL)
		return; /* start_letter() will say so */
	letter->incidents = mem_array(message->item_count + 1, sizeof(*letter->incidents));
	for (size_t i = 0; i < message->item_count; i++)
		if (message->items[i].incident > 0)
			letter->incidents[letter->incident_count++] = message->items[i].incident;
	message_free(message);
}

/* Groups */

static void letter_committed(void *arg, bool durable)
{
	struct letter *letter = arg;

	letter->state = LETTER_READY;
	if (!durable)
		log_write(LOG_LEVEL_WARNING, LOG_STORE_FAILED, NULL,
			  "message %s leaves from memory: the store does not answer; it may come twice after a crash",
			  letter->row.id);
	notifier_rearm(letter->outlet->notifier);
}

/* One letter from all notices of the groups in `list`; frees them. */
static void write_letter(struct notifier *notifier, struct outlet *outlet, struct list *groups)
{
	const struct notifier_hooks *hooks = &notifier->options.hooks;
	struct store_batch *batch = store_batch_new();
	struct letter *letter = mem_new(struct letter);
	struct notice **notices = NULL;
	size_t count = 0, capacity = 0;
	struct group *group;

	letter->row.id = notifier_new_id(notifier_now(notifier).unix_us);
	letter->row.sender = mem_strdup(outlet->name);
	letter->row.created_unix_us = notifier_now(notifier).unix_us;
	list_each(group, groups, struct group, node) {
		notices = mem_grow(notices, &capacity, count + group->count, sizeof(struct notice *));
		memcpy(&notices[count], group->notices, group->count * sizeof(struct notice *));
		count += group->count;
	}
	const bool folded = groups->next != groups->prev;
	const char *first_key = list_entry(groups->next, struct group, node)->key;

	letter->row.body = compose_body(
		&(struct compose_frame){
			.id = letter->row.id,
			.sender = outlet->name,
			.group_key = folded ? "digest" : first_key,
			.thread = hooks->thread(hooks->arg, notices[0]->incident, outlet->name),
			.created_unix_us = letter->row.created_unix_us,
		},
		notices, count);
	store_put_message(batch, &letter->row);
	for (size_t i = 0; i < count; i++) {
		store_drop_notice(batch, notices[i]->id);
		hooks->grouped(hooks->arg, notices[i]->incident, outlet->name, letter->row.id, batch);
	}
	free(notices);
	list_each(group, groups, struct group, node)
		group_free(group);
	letter_read_incidents(letter);
	outlet_line_up(outlet, letter);
	letter->state = LETTER_COMMITTING;
	store_commit(notifier->options.store, batch, notifier_now(notifier).mono_us, letter_committed, letter);
}

/* What is due becomes letters, as many as the rate lets go; the last of them takes what is left, up to a size. */
static void write_letters(struct notifier *notifier, struct outlet *outlet, int64_t mono_us)
{
	int allowed = outlet_allowance(outlet, mono_us);
	size_t due = 0;
	struct group *group;

	list_each(group, &outlet->groups, struct group, node)
		due += group->due_mono_us <= mono_us;
	while (due > 0 && allowed > 0) {
		struct list going;

		list_init(&going);
		size_t notices = 0;

		list_each(group, &outlet->groups, struct group, node) {
			if (group->due_mono_us > mono_us)
				continue;
			if (notices > 0 && notices + group->count > LETTER_NOTICES_MAX)
				break;
			notices += group->count;
			list_remove(&group->node);
			list_push(&going, &group->node);
			due--;
			if (allowed > 1 || due == 0)
				break;
		}
		write_letter(notifier, outlet, &going);
		outlet_spend(outlet);
		allowed--;
	}
}

void notifier_run(struct notifier *notifier)
{
	struct outlet *outlet;
	struct letter *letter;

	if (notifier->running || notifier->paused)
		return;
	notifier->running = true;
	list_each(outlet, &notifier->outlets, struct outlet, node) {
		const int64_t mono_us = notifier_now(notifier).mono_us;

		write_letters(notifier, outlet, mono_us);
		while ((letter = outlet_next(outlet, mono_us)) != NULL)
			start_letter(notifier, letter);
	}
	notifier->running = false;
	notifier_rearm(notifier);
}

void notifier_pause(struct notifier *notifier)
{
	notifier->paused = true;
	evtimer_del(notifier->timer);
}

void notifier_add(struct notifier *notifier, struct notice *notice)
{
	struct outlet *outlet = notifier_outlet(notifier, notice->sender);
	struct group *group = outlet_group(outlet, notice, notifier_now(notifier).mono_us);

	group->notices = mem_grow(group->notices, &group->capacity, group->count + 1, sizeof(struct notice *));
	group->notices[group->count++] = notice;
	notifier_rearm(notifier);
}

/* Start, end, configuration */

struct notifier *notifier_new(const struct notifier_options *options)
{
	struct notifier *notifier = mem_new(struct notifier);

	notifier->options = *options;
	list_init(&notifier->outlets);
	list_init(&notifier->drills);
	notifier->timer = evtimer_new(options->base, on_timer, notifier);
	return notifier;
}

void drill_free(struct drill *drill)
{
	list_remove(&drill->node);
	message_free(drill->message);
	free(drill);
}

void notifier_free(struct notifier *notifier)
{
	struct outlet *outlet;
	struct letter *letter;
	struct drill *drill;

	if (notifier == NULL)
		return;
	list_each(outlet, &notifier->outlets, struct outlet, node) {
		list_each(letter, &outlet->letters, struct letter, node)
			if (letter->delivery != NULL)
				letter->sender->cancel(letter->delivery);
		outlet_free(outlet);
	}
	list_each(drill, &notifier->drills, struct drill, node) {
		drill->sender->cancel(drill->delivery);
		drill_free(drill);
	}
	event_free(notifier->timer);
	str_done(&notifier->trouble);
	free(notifier);
}

void notifier_set_config(struct notifier *notifier, const struct config *config)
{
	struct outlet *outlet;

	notifier->config = config;
	notifier->options.world.config = config;
	list_each(outlet, &notifier->outlets, struct outlet, node) {
		outlet->config = config_sender(config, outlet->name);
		if (outlet->config == NULL)
			outlet->trouble = false;
	}
	report_trouble(notifier);
	notifier_rearm(notifier);
}

void notifier_clean(struct notifier *notifier)
{
	const int64_t oldest_unix_us = notifier_now(notifier).unix_us - ORPHANS_KEPT_S * US_PER_S;
	struct outlet *outlet;
	struct letter *letter;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		list_each(letter, &outlet->letters, struct letter, node)
			if (outlet->config == NULL && letter->state == LETTER_READY &&
			    letter->row.created_unix_us < oldest_unix_us)
				bury_letter(notifier, letter, "its sender is no longer in the configuration");
}

void notifier_set_resolver(struct notifier *notifier, struct resolver *resolver)
{
	notifier->options.world.resolver = resolver;
}

bool notifier_uses(const struct notifier *notifier, const struct config *config)
{
	const struct outlet *outlet;
	const struct letter *letter;
	const struct drill *drill;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		list_each(letter, &outlet->letters, struct letter, node)
			if (letter->delivery != NULL && letter->config == config)
				return true;
	list_each(drill, &notifier->drills, struct drill, node)
		if (drill->config == config)
			return true;
	return notifier->config == config;
}

/* One that cannot be read would make the whole message that it gets into unreadable. */
static bool is_readable(const struct notice *notice)
{
	const struct compose_frame frame = { .id = "0", .sender = notice->sender, .group_key = notice->group_key };
	AUTO(string) char *body = compose_body(&frame, (struct notice *const *)&notice, 1);
	struct error err;
	struct message *message = message_parse(body, &err);

	message_free(message);
	return message != NULL;
}

static void drop_notice(struct notifier *notifier, struct notice *notice)
{
	struct store_batch *batch = store_batch_new();

	log_error("notice %" PRId64 " of incident %" PRId64 " in the store cannot be read: it is left out", notice->id,
		  notice->incident);
	store_drop_notice(batch, notice->id);
	notifier_commit(notifier, batch);
	notice_free(notice);
}

void notifier_restore(struct notifier *notifier, struct store_state *state)
{
	const int64_t mono_us = notifier_now(notifier).mono_us;

	for (size_t i = 0; i < state->message_count; i++) {
		struct message_row *row = &state->messages[i];
		struct letter *letter = mem_new(struct letter);

		letter->row = *row;
		*row = (struct message_row){ 0 };
		letter->state = LETTER_READY;
		letter->try_mono_us = mono_us;
		letter_read_incidents(letter);
		outlet_line_up(notifier_outlet(notifier, letter->row.sender), letter);
	}
	for (size_t i = 0; i < state->notice_count; i++) {
		struct notice *notice = mem_new(struct notice);

		*notice = state->notices[i];
		state->notices[i] = (struct notice){ 0 };
		if (is_readable(notice))
			notifier_add(notifier, notice);
		else
			drop_notice(notifier, notice);
	}
	notifier_rearm(notifier);
}

size_t notifier_in_flight(const struct notifier *notifier)
{
	const struct outlet *outlet;
	const struct drill *drill;
	size_t flights = 0;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		flights += outlet->flights;
	list_each(drill, &notifier->drills, struct drill, node)
		flights += drill->delivery != NULL;
	return flights;
}

size_t notifier_waiting(const struct notifier *notifier)
{
	const struct outlet *outlet;
	const struct letter *letter;
	size_t waiting = 0;

	list_each(outlet, &notifier->outlets, struct outlet, node)
		list_each(letter, &outlet->letters, struct letter, node)
			waiting += letter->row.state == MESSAGE_WAITING;
	return waiting;
}
