/* SPDX-License-Identifier: MIT */
#include "daemon/notify/sender_private.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

const struct sender *sender_of(enum sender_kind kind)
{
	static const struct sender *const senders[SENDER_KIND_COUNT] = {
		[SENDER_EMAIL] = &sender_email, [SENDER_WEBHOOK] = &sender_webhook, [SENDER_LOG] = &sender_log,
	};

	assert(kind < SENDER_KIND_COUNT);
	return senders[kind];
}

struct delivery *delivery_new(const struct sender_world *world, const struct sender_config *config,
			      const struct message *message, int64_t now_unix_us, delivery_done_fn *done,
			      void *arg)
{
	struct delivery *delivery = mem_new(struct delivery);

	delivery->world = world;
	delivery->config = config;
	delivery->message = message;
	delivery->now_unix_us = now_unix_us;
	delivery->deadline_mono_us = clock_mono_us() + config->timeout_ms * US_PER_MS;
	delivery->done = done;
	delivery->arg = arg;
	if (config->trust < world->config->trust_count)
		delivery->trust = &world->config->trust[config->trust];
	return delivery;
}

static void delivery_free(struct delivery *delivery)
{
	if (delivery->later != NULL)
		event_del(delivery->later);
	free(delivery->later);
	free(delivery->host);
	free(delivery);
}

void delivery_cancel(struct delivery *delivery)
{
	if (delivery == NULL)
		return;
	resolver_cancel(delivery->lookup);
	transfer_cancel(delivery->transfer);
	delivery_free(delivery);
}

static void delivery_end(struct delivery *delivery, const struct delivery_outcome *outcome)
{
	struct delivery_outcome last = *outcome;
	delivery_done_fn *done = delivery->done;
	void *arg = delivery->arg;

	delivery_free(delivery);
	done(&last, arg);
}

int64_t delivery_left_ms(const struct delivery *delivery)
{
	int64_t left_ms = (delivery->deadline_mono_us - clock_mono_us()) / US_PER_MS;

	return left_ms > 0 ? left_ms : 1;
}

void outcome_text(struct delivery_outcome *outcome, const char *format, ...)
{
	AUTO(str) struct str text = { 0 };
	AUTO(string) char *clean = NULL;
	va_list args;

	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	clean = str_clean(text.data, text.bytes, sizeof(outcome->text) - sizeof("..."));
	snprintf(outcome->text, sizeof(outcome->text), "%s", clean);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct delivery *delivery = arg;

	(void)fd;
	(void)what;
	delivery_end(delivery, &delivery->outcome);
}

void delivery_end_later(struct delivery *delivery, enum delivery_status status, const char *text)
{
	static const struct timeval at_once = { 0, 0 };

	delivery->outcome = (struct delivery_outcome){ .status = status, .retry_after_ms = -1 };
	outcome_text(&delivery->outcome, "%s", text);
	delivery->later = mem_new(struct event);
	event_assign(delivery->later, delivery->world->base, -1, 0, on_later, delivery);
	event_add(delivery->later, &at_once);
}

static void on_found(const struct found *found, void *arg)
{
	struct delivery *delivery = arg;
	struct address addresses[RESOLVER_ADDRESSES_MAX];
	struct delivery_outcome outcome = { .status = DELIVERY_RETRY, .retry_after_ms = -1 };
	size_t count = found->address_count;

	delivery->lookup = NULL;
	if (found->status != LOOKUP_OK || count == 0) {
		outcome_text(&outcome, "%s: %s", delivery->host,
			     found->text != NULL ? found->text : "it has no address");
		delivery_end(delivery, &outcome);
		return;
	}
	if (count > RESOLVER_ADDRESSES_MAX)
		count = RESOLVER_ADDRESSES_MAX;
	for (size_t i = 0; i < count; i++) {
		addresses[i] = found->addresses[i];
		addresses[i].port = delivery->port;
	}
	delivery->transfer = delivery->manner->send(delivery, addresses, count);
}

void delivery_start(struct delivery *delivery, const struct manner *manner, const char *host, uint16_t port)
{
	struct address literal;

	delivery->manner = manner;
	delivery->host = mem_strdup(host);
	delivery->port = port;
	if (address_from_literal(host, port, &literal))
		delivery->transfer = manner->send(delivery, &literal, 1);
	else
		delivery->lookup = resolver_start(delivery->world->resolver, host, delivery_left_ms(delivery),
						  on_found, delivery);
}

void delivery_on_answer(const struct transfer_answer *answer, void *arg)
{
	struct delivery *delivery = arg;
	struct delivery_outcome outcome = { .status = DELIVERY_REFUSED, .retry_after_ms = answer->retry_after_ms };

	delivery->transfer = NULL;
	switch (answer->kind) {
	case TRANSFER_ANSWERED:
	case TRANSFER_REFUSED:
		delivery->manner->judge(delivery, answer, &outcome);
		break;
	case TRANSFER_NO_ANSWER:
		outcome.status = DELIVERY_RETRY;
		outcome.in_doubt = answer->in_doubt;
		break;
	case TRANSFER_FORBIDDEN:
		break;
	}
	if (outcome.text[0] == '\0')
		outcome_text(&outcome, "%s: %s", delivery->host,
			     answer->text != NULL ? answer->text : "no answer");
	delivery_end(delivery, &outcome);
}
