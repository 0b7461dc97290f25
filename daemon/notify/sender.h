/* SPDX-License-Identifier: MIT */
/*
 * sender - a way to deliver. A sender is one constant; adding one is one file and one row in sender.c.
 * start() cannot fail: the outcome comes later, once, from the loop, through `done`; never after cancel().
 * A sender tries once. Waiting, order, retry and grouping are the notifier's.
 */
#ifndef PORTBELL_NOTIFY_SENDER_H
#define PORTBELL_NOTIFY_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/notify/message.h"
#include "lib/config/config.h"

struct event_base;
struct http_client;
struct resolver;
struct delivery;

/* What senders stand on; lent for the life of a delivery. */
struct sender_world {
	struct event_base *base;
	struct http_client *http;
	struct resolver *resolver;
	const struct config *config;  /* of now: for trust files */
	const char *host_name;        /* EHLO, Message-ID */
};

enum delivery_status { DELIVERY_DONE, DELIVERY_RETRY, DELIVERY_REFUSED };

struct delivery_outcome {
	enum delivery_status status;
	int64_t retry_after_ms;       /* the receiver's wish, -1 = none */
	bool in_doubt;                /* RETRY, but it may have arrived: the id lets the receiver drop a double */
	bool partly;                  /* DONE, but not for all receivers; `text` names them and why */
	char text[256];               /* what the receiver answered or why not, cleaned, without secrets */
};
typedef void delivery_done_fn(const struct delivery_outcome *outcome, void *arg);

struct sender {
	enum sender_kind kind;
	const char *name;             /* the word users write in YAML */
	/* config and message are lent until `done` or cancel. */
	struct delivery *(*start)(const struct sender_world *world, const struct sender_config *config,
				  const struct message *message, int64_t now_unix_us, delivery_done_fn *done, void *arg);
	void (*cancel)(struct delivery *delivery);
};

extern const struct sender sender_email;
extern const struct sender sender_webhook;
extern const struct sender sender_log;
const struct sender *sender_of(enum sender_kind kind);

#endif
