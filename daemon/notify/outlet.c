/* SPDX-License-Identifier: MIT */
#include "daemon/notify/outlet.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	BACKOFF_FIRST_S = 5,
	BACKOFF_MAX_S = 900,
	RETRY_AFTER_MAX_S = 3600,
	FAILURES_UNTIL_SINGLE = 3, /* then only one letter at a time tries */
};

struct outlet *outlet_new(const char *name)
{
	struct outlet *outlet = mem_new(struct outlet);

	outlet->name = mem_strdup(name);
	list_init(&outlet->groups);
	list_init(&outlet->letters);
	list_init(&outlet->settling);
	outlet->tokens = -1;
	return outlet;
}

void group_free(struct group *group)
{
	list_remove(&group->node);
	for (size_t i = 0; i < group->count; i++)
		notice_free(group->notices[i]);
	free(group->notices);
	free(group->key);
	free(group);
}

void letter_free(struct letter *letter)
{
	message_free(letter->message);
	free(letter->incidents);
	free(letter->row.id);
	free(letter->row.sender);
	free(letter->row.body);
	free(letter->row.error);
	free(letter);
}

void outlet_free(struct outlet *outlet)
{
	struct settling *settling;
	struct group *group;
	struct letter *letter;

	list_each(group, &outlet->groups, struct group, node)
		group_free(group);
	list_each(letter, &outlet->letters, struct letter, node)
		letter_free(letter);
	list_each(settling, &outlet->settling, struct settling, node)
		free(settling);
	free(outlet->name);
	free(outlet);
}

static bool tells_of(const struct group *group, int64_t incident)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->notices[i]->incident == incident)
			return true;
	return false;
}

struct group *outlet_group(struct outlet *outlet, const struct notice *notice, int64_t mono_us)
{
	struct group *group;

	list_each(group, &outlet->groups, struct group, node)
		if (tells_of(group, notice->incident)) {
			if (group->due_mono_us > mono_us + notice->wait_ms * US_PER_MS)
				group->due_mono_us = mono_us + notice->wait_ms * US_PER_MS;
			return group;
		}
	list_each(group, &outlet->groups, struct group, node)
		if (group->count < LETTER_NOTICES_MAX && str_equal(group->key, notice->group_key))
			return group;
	group = mem_new(struct group);
	group->key = mem_strdup(notice->group_key);
	group->due_mono_us = mono_us + notice->wait_ms * US_PER_MS;
	list_push(&outlet->groups, &group->node);
	return group;
}

static bool share_an_incident(const struct letter *a, const struct letter *b)
{
	for (size_t i = 0; i < a->incident_count; i++)
		for (size_t j = 0; j < b->incident_count; j++)
			if (a->incidents[i] == b->incidents[j])
				return true;
	return false;
}

/* The last one before `letter` that it must not overtake. */
static struct letter *whom_to_follow(const struct outlet *outlet, const struct letter *letter)
{
	for (const struct list *node = letter->node.prev; node != &outlet->letters; node = node->prev) {
		struct letter *earlier = list_entry(node, struct letter, node);

		if (share_an_incident(earlier, letter))
			return earlier;
	}
	return NULL;
}

void outlet_line_up(struct outlet *outlet, struct letter *letter)
{
	letter->outlet = outlet;
	list_push(&outlet->letters, &letter->node);
	letter->after = whom_to_follow(outlet, letter);
}

void outlet_take_out(struct letter *letter)
{
	struct outlet *outlet = letter->outlet;
	struct letter *other;
	struct list *node = letter->node.next;

	for (; node != &outlet->letters; node = node->next) {
		other = list_entry(node, struct letter, node);
		if (other->after == letter) {
			/* It may share other incidents with one still further ahead. */
			struct letter *ahead = letter;

			while (ahead != NULL && (ahead == letter || !share_an_incident(ahead, other)))
				ahead = ahead->node.prev == &outlet->letters ?
						NULL :
						list_entry(ahead->node.prev, struct letter, node);
			other->after = ahead;
		}
	}
	list_remove(&letter->node);
}

static bool limited(const struct outlet *outlet)
{
	return outlet->config != NULL && outlet->config->rate_per_ms > 0;
}

int outlet_allowance(struct outlet *outlet, int64_t mono_us)
{
	if (!limited(outlet))
		return INT32_MAX;
	const struct sender_config *config = outlet->config;
	const double gained = (double)(mono_us - outlet->tokens_mono_us) * config->rate_count /
			      ((double)config->rate_per_ms * US_PER_MS);

	if (outlet->tokens < 0)
		outlet->tokens = config->rate_count;
	else
		outlet->tokens += gained;
	if (outlet->tokens > config->rate_count)
		outlet->tokens = config->rate_count;
	outlet->tokens_mono_us = mono_us;
	return (int)outlet->tokens;
}

void outlet_spend(struct outlet *outlet)
{
	if (limited(outlet))
		outlet->tokens = outlet->tokens > 1 ? outlet->tokens - 1 : 0;
}

int64_t outlet_allowance_at(const struct outlet *outlet, int64_t mono_us)
{
	if (!limited(outlet) || outlet->tokens < 0 || outlet->tokens >= 1)
		return mono_us;
	const double each_us = (double)outlet->config->rate_per_ms * US_PER_MS / outlet->config->rate_count;

	/* A little later than computed, so that rounding never wakes us a moment too early. */
	return outlet->tokens_mono_us + (int64_t)((1 - outlet->tokens) * each_us) + US_PER_MS;
}

static size_t flights_allowed(const struct outlet *outlet)
{
	return outlet->failures >= FAILURES_UNTIL_SINGLE ? 1 : OUTLET_FLIGHTS_MAX;
}

/* What is delivered counts as on its way until the store knows: a crash repeats no more than that. */
static bool is_busy(const struct outlet *outlet)
{
	const size_t on_their_way = outlet->flights + outlet->unsettled;

	if (outlet->store_is_slow)
		return outlet->flights >= flights_allowed(outlet) || on_their_way >= OUTLET_UNSETTLED_MAX;
	return on_their_way >= flights_allowed(outlet);
}

struct settling *outlet_settle(struct outlet *outlet, int64_t mono_us)
{
	struct settling *settling = mem_new(struct settling);

	settling->outlet = outlet;
	settling->since_mono_us = mono_us;
	list_push(&outlet->settling, &settling->node);
	outlet->unsettled++;
	return settling;
}

void outlet_settled(struct settling *settling, int64_t mono_us)
{
	struct outlet *outlet = settling->outlet;

	outlet->unsettled--;
	outlet->store_is_slow = mono_us - settling->since_mono_us > OUTLET_STORE_SLOW_MS * US_PER_MS;
	list_remove(&settling->node);
	free(settling);
}

static bool may_try(const struct letter *letter)
{
	return letter->state == LETTER_READY && letter->after == NULL;
}

struct letter *outlet_next(const struct outlet *outlet, int64_t mono_us)
{
	struct letter *letter;

	if (outlet->config == NULL || is_busy(outlet) || mono_us < outlet->gate_mono_us)
		return NULL;
	list_each(letter, &outlet->letters, struct letter, node)
		if (may_try(letter) && letter->try_mono_us <= mono_us)
			return letter;
	return NULL;
}

static int64_t groups_due(const struct outlet *outlet, int64_t mono_us)
{
	int64_t due_us = INT64_MAX;
	struct group *group;

	list_each(group, &outlet->groups, struct group, node)
		if (group->due_mono_us < due_us)
			due_us = group->due_mono_us;
	const int64_t allowed_us = outlet_allowance_at(outlet, mono_us);

	return due_us != INT64_MAX && due_us < allowed_us ? allowed_us : due_us;
}

int64_t outlet_due(const struct outlet *outlet, int64_t mono_us)
{
	int64_t due_us = groups_due(outlet, mono_us);
	struct letter *letter;

	/* A delivery that ends, or is noted, runs the notifier again: while all flights are taken nothing is due. */
	if (outlet->config == NULL || is_busy(outlet))
		return due_us;
	list_each(letter, &outlet->letters, struct letter, node) {
		if (!may_try(letter))
			continue;
		const int64_t at_us = letter->try_mono_us > outlet->gate_mono_us ? letter->try_mono_us :
										   outlet->gate_mono_us;

		if (at_us < due_us)
			due_us = at_us;
	}
	return due_us;
}

int64_t outlet_backoff_us(int attempts, uint8_t jitter)
{
	int64_t wait_s = BACKOFF_FIRST_S;

	for (int i = 1; i < attempts && wait_s < BACKOFF_MAX_S; i++)
		wait_s *= 2;
	if (wait_s > BACKOFF_MAX_S)
		wait_s = BACKOFF_MAX_S;
	/* 80% to 120% */
	return wait_s * US_PER_S / 100 * (80 + 40 * (int64_t)jitter / 255);
}

void outlet_succeeded(struct outlet *outlet, int64_t mono_us)
{
	struct letter *letter;

	outlet->failures = 0;
	outlet->gate_mono_us = 0;
	list_each(letter, &outlet->letters, struct letter, node)
		if (!letter->asked_to_wait && letter->try_mono_us > mono_us)
			letter->try_mono_us = mono_us;
}

void outlet_failed(struct outlet *outlet, struct letter *letter, int64_t retry_after_ms, uint8_t jitter,
		   int64_t mono_us)
{
	int64_t wait_us = outlet_backoff_us(letter->row.attempts, jitter);

	if (outlet->failures++ == 0)
		outlet->failing_since_mono_us = mono_us;
	letter->asked_to_wait = retry_after_ms >= 0;
	if (retry_after_ms > RETRY_AFTER_MAX_S * MS_PER_S)
		retry_after_ms = RETRY_AFTER_MAX_S * MS_PER_S;
	if (retry_after_ms * US_PER_MS > wait_us)
		wait_us = retry_after_ms * US_PER_MS;
	letter->try_mono_us = mono_us + wait_us;
	if (outlet->failures >= FAILURES_UNTIL_SINGLE)
		outlet->gate_mono_us = mono_us + outlet_backoff_us(outlet->failures - FAILURES_UNTIL_SINGLE + 1, jitter);
}
