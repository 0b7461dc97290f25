/* SPDX-License-Identifier: MIT */
/* notifier_private - what notifier.c (from notices to deliveries) and outbox.c (what people ask of it) share. */
#ifndef PORTBELL_NOTIFY_NOTIFIER_PRIVATE_H
#define PORTBELL_NOTIFY_NOTIFIER_PRIVATE_H

#include "daemon/notify/notifier.h"
#include "daemon/notify/outlet.h"
#include "lib/base/list.h"
#include "lib/base/str.h"

struct notifier {
	struct notifier_options options;
	const struct config *config;
	struct list outlets;
	struct list drills;
	struct event *timer;
	struct str trouble;      /* what was reported last */
	bool running;            /* guards against a run inside a run */
	bool paused;
};

struct drill {
	struct list node;
	struct notifier *notifier;
	const struct sender *sender;
	const struct config *config;
	struct message *message;
	struct delivery *delivery;
	delivery_done_fn *done;
	void *arg;
};

struct now notifier_now(const struct notifier *notifier);
struct outlet *notifier_outlet(struct notifier *notifier, const char *name); /* made if it is new */
/* Sets the timer to when something is due next. */
void notifier_rearm(struct notifier *notifier);
/* Hands a batch to the store when nothing waits for it. */
void notifier_commit(struct notifier *notifier, struct store_batch *batch);
char *notifier_new_id(int64_t unix_us);
/* Which incidents a letter tells of, from its own text. */
void letter_read_incidents(struct letter *letter);
void letter_forget(struct letter *letter); /* out of the line, and freed */
void drill_free(struct drill *drill);

#endif
