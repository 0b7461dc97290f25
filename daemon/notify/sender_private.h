/* SPDX-License-Identifier: MIT */
/*
 * sender_private - what the senders share: a delivery finds the host's addresses, has its own sender start a
 * transfer, and turns the answer into an outcome; all within the sender's timeout.
 * Owns: a delivery frees itself when it calls `done`, or in delivery_cancel().
 */
#ifndef PORTBELL_NOTIFY_SENDER_PRIVATE_H
#define PORTBELL_NOTIFY_SENDER_PRIVATE_H

#include "daemon/notify/sender.h"
#include "lib/io/http_client.h"
#include "lib/io/resolver.h"

struct event;

/* How one kind of sender sends and hears. */
struct manner {
	/* Starts the transfer with delivery_on_answer() as its callback. */
	struct transfer *(*send)(struct delivery *delivery, const struct address *addresses, size_t count);
	/* Of a transfer that was answered or refused; status is DELIVERY_REFUSED and text is empty so far. */
	void (*judge)(const struct delivery *delivery, const struct transfer_answer *answer,
		      struct delivery_outcome *outcome);
};

struct delivery {
	const struct sender_world *world;
	const struct sender_config *config;
	const struct message *message;
	const struct trust_config *trust; /* belongs to `config`; the world may have a newer configuration later */
	const struct manner *manner;
	int64_t now_unix_us;
	int64_t deadline_mono_us;
	char *host;
	uint16_t port;
	struct lookup *lookup;
	struct transfer *transfer;
	struct event *later;
	struct delivery_outcome outcome; /* what `later` will report */
	delivery_done_fn *done;
	void *arg;
};

struct delivery *delivery_new(const struct sender_world *world, const struct sender_config *config,
			      const struct message *message, int64_t now_unix_us, delivery_done_fn *done,
			      void *arg);
/* On its way: looks up `host` (copied) unless it is an IP literal, then manner->send(). */
void delivery_start(struct delivery *delivery, const struct manner *manner, const char *host, uint16_t port);
/* Ends without a transfer, from the loop. */
void delivery_end_later(struct delivery *delivery, enum delivery_status status, const char *text);
void delivery_cancel(struct delivery *delivery); /* NULL is fine */
transfer_done_fn delivery_on_answer; /* arg: the delivery */
/* What is left of the timeout, for the transfer; at least 1. */
int64_t delivery_left_ms(const struct delivery *delivery);
void outcome_text(struct delivery_outcome *outcome, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
