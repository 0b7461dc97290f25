/* SPDX-License-Identifier: MIT */
/*
 * notifier - notices to messages to deliveries: grouping, rate, order, retry, dead letters. Each sender has an outlet of
 * its own, so one dead receiver delays no other.
 *
 * A notice waits for company (group_wait), then becomes part of one message, which is committed before its first try and
 * leaves only when it is delivered, refused for good, given up (both: a dead letter, kept 30 days) or dropped by a person.
 * What is over a sender's `rate` waits and is folded into one digest.
 * Order: within one sender a message waits for earlier ones that tell of the same incident.
 * Retry: 5 s, doubled each time, at most 15 min, jitter 20%; the receiver's Retry-After is heard. After three failures in
 *        a row only one message at a time tries; the first that arrives lets the others go at once.
 * Owns:  notices and rows given to it. Main thread only. Time comes from options.now.
 */
#ifndef PORTBELL_NOTIFY_NOTIFIER_H
#define PORTBELL_NOTIFY_NOTIFIER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/notify/sender.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/eval/incident.h"
#include "lib/io/store.h"

struct notifier;

/* What the notifier asks of who keeps the incidents. */
struct notifier_hooks {
	/* The first message that `sender` heard of the incident; NULL if none yet. Lent. */
	const char *(*thread)(void *arg, int64_t incident, const char *sender);
	/* A message about the incident was made; what is noted goes into the batch that makes it last. */
	void (*grouped)(void *arg, int64_t incident, const char *sender, const char *message_id,
			struct store_batch *batch);
	/* Deliveries of some sender fail for good or for long (text says which and why), or all work again (NULL). */
	void (*trouble)(void *arg, const char *text);
	void *arg;
};

struct notifier_options {
	struct event_base *base;
	struct store *store;
	struct sender_world world;      /* copied; its config is set by notifier_set_config() */
	struct notifier_hooks hooks;
	struct now (*now)(void);
};

struct notifier *notifier_new(const struct notifier_options *options);
/* Deliveries in flight are cancelled; what is waiting stays in the store. NULL is fine. */
void notifier_free(struct notifier *notifier);
/* The senders of a new configuration. The old one is in use until notifier_uses() says no. */
void notifier_set_config(struct notifier *notifier, const struct config *config);
/* Once in a while: messages whose sender left the configuration a day ago become dead letters. */
void notifier_clean(struct notifier *notifier);
/* Deliveries from now on ask this one; the old one is in use while any is in flight. */
void notifier_set_resolver(struct notifier *notifier, struct resolver *resolver);
bool notifier_uses(const struct notifier *notifier, const struct config *config);
/* After a restart: messages go on under their ids, notices are grouped again. Takes the rows, leaves empty ones. */
void notifier_restore(struct notifier *notifier, struct store_state *state);
/* Trouble was reported before a restart: the first delivery that succeeds reports that it is over. */
void notifier_assume_trouble(struct notifier *notifier);
/* Takes the notice, which is in the store or will be. */
void notifier_add(struct notifier *notifier, struct notice *notice);
/* Nothing is started any more; what is in flight may end. */
void notifier_pause(struct notifier *notifier);
/* Does all that is due now; its own timer calls it. */
void notifier_run(struct notifier *notifier);
/* Deliveries in flight, drills among them. */
size_t notifier_in_flight(const struct notifier *notifier);
size_t notifier_waiting(const struct notifier *notifier); /* messages not delivered yet */

/* A drill: one try, not stored. `done` once, from the loop; false if there is no such sender. */
bool notifier_test(struct notifier *notifier, const char *sender, delivery_done_fn *done, void *arg);

/* The outbox as a JSON array, waiting first, then dead letters; json is lent, or NULL with an error's text. */
typedef void notifier_outbox_fn(void *arg, const char *json, const char *error);
void notifier_outbox(struct notifier *notifier, notifier_outbox_fn *done, void *arg);
/* A waiting message is tried at once; a dead letter gets a new life. error NULL: done. */
typedef void notifier_answer_fn(void *arg, const char *error);
void notifier_retry(struct notifier *notifier, const char *id, notifier_answer_fn *done, void *arg);
void notifier_drop(struct notifier *notifier, const char *id, notifier_answer_fn *done, void *arg);

#endif
