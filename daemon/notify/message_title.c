/* SPDX-License-Identifier: MIT */
/* The titles of messages, and what they are made of. */
#include <stdlib.h>
#include <string.h>

#include "daemon/notify/message_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

bool message_item_is_over(const struct message_item *item)
{
	return item->ended_unix_us != 0 || item->unwatched || item->event == EVENT_RECOVERED;
}

bool message_item_is_news(const struct message_item *item)
{
	return item->event == EVENT_NOTICE && item->reason == REASON_OK && item->detail != NULL &&
	       !item->unwatched;
}

static int by_target(const void *a, const void *b)
{
	const struct message_item *const *left = a;
	const struct message_item *const *right = b;

	return strcmp((*left)->target, (*right)->target);
}

static size_t count_targets(const struct digest *digest)
{
	const struct message_item **sorted = mem_array(digest->shown_count, sizeof(const struct message_item *));
	size_t targets = 0;

	memcpy(sorted, digest->shown, digest->shown_count * sizeof(const struct message_item *));
	qsort(sorted, digest->shown_count, sizeof(const struct message_item *), by_target);
	for (size_t i = 0; i < digest->shown_count; i++)
		if (i == 0 || strcmp(sorted[i]->target, sorted[i - 1]->target) != 0)
			targets++;
	free(sorted);
	return targets;
}

void digest_init(struct digest *digest, const struct message *message)
{
	bool open = false;

	for (size_t i = 0; i < message->item_count; i++)
		open = open || !message_item_is_over(&message->items[i]);
	*digest = (struct digest){ .message = message };
	digest->shown = mem_array(message->item_count, sizeof(const struct message_item *));
	for (size_t i = 0; i < message->item_count; i++) {
		if (open && message_item_is_over(&message->items[i]))
			digest->over++;
		else
			digest->shown[digest->shown_count++] = &message->items[i];
	}
	digest->targets = count_targets(digest);
}

void digest_done(struct digest *digest)
{
	free(digest->shown);
	*digest = (struct digest){ 0 };
}

static enum level digest_level(const struct digest *digest)
{
	enum level level = LEVEL_OK;

	for (size_t i = 0; i < digest->shown_count; i++)
		if (!message_item_is_over(digest->shown[i]) && digest->shown[i]->level > level)
			level = digest->shown[i]->level;
	return level;
}

enum level message_level(const struct message *message)
{
	AUTO(digest) struct digest digest;

	digest_init(&digest, message);
	return digest_level(&digest);
}

static bool all_are(const struct digest *digest, enum event_kind event)
{
	for (size_t i = 0; i < digest->shown_count; i++)
		if (digest->shown[i]->event != event)
			return false;
	return true;
}

static bool all_unwatched(const struct digest *digest)
{
	for (size_t i = 0; i < digest->shown_count; i++)
		if (!digest->shown[i]->unwatched)
			return false;
	return true;
}

static bool all_are_news(const struct digest *digest)
{
	for (size_t i = 0; i < digest->shown_count; i++)
		if (!message_item_is_news(digest->shown[i]))
			return false;
	return true;
}

static const char *good_again(enum check check)
{
	static const char *const phrases[CHECK_COUNT] = {
		[CHECK_AVAILABILITY] = "up again",
		[CHECK_LATENCY] = "fast again",
		[CHECK_CERTIFICATE] = "certificate is good again",
		[CHECK_TLS] = "TLS is as required again",
		[CHECK_SELF] = "working again",
	};

	return phrases[check];
}

void message_add_days(struct str *out, int64_t left_s)
{
	if (left_s >= S_PER_DAY)
		str_addf(out, "%lld d", (long long)(left_s / S_PER_DAY));
	else if (left_s >= 3600)
		str_addf(out, "%lld h", (long long)(left_s / 3600));
	else
		str_addf(out, "%lld min", (long long)(left_s / 60));
}

int64_t message_certificate_left_s(const struct message *message, const struct message_certificate *certificate)
{
	return certificate->not_after_unix_s - message->created_unix_us / US_PER_S;
}

static void add_reason(struct str *out, const struct message *message, const struct message_item *item)
{
	int64_t left_s = item->certificate != NULL ? message_certificate_left_s(message, item->certificate) : 0;

	if (item->reason == REASON_CERT_EXPIRING && left_s > 0) {
		str_add(out, "certificate expires in ");
		message_add_days(out, left_s);
	} else if (item->reason == REASON_CERT_EXPIRED && left_s < 0) {
		str_add(out, "certificate expired ");
		message_add_days(out, -left_s);
		str_add(out, " ago");
	} else {
		str_add(out, reason_text(item->reason));
	}
}

void message_item_story(struct str *out, const struct message *message, const struct message_item *item)
{
	if (item->unwatched) {
		str_add(out, "no longer watched");
	} else if (item->event == EVENT_TEST) {
		str_add(out, "test message");
	} else if (message_item_is_over(item)) {
		str_add(out, good_again(item->check));
		if (item->ended_unix_us > item->since_unix_us && item->since_unix_us > 0) {
			str_add(out, " after ");
			str_add_duration(out, item->ended_unix_us - item->since_unix_us);
		}
	} else if (message_item_is_news(item)) {
		str_add(out, item->detail);
	} else {
		add_reason(out, message, item);
	}
}

static void add_common_phrase(struct str *out, const struct digest *digest)
{
	const struct message_item *first = digest->shown[0];
	bool over = message_item_is_over(first);
	bool same_check = true;
	bool same_reason = true;

	for (size_t i = 1; i < digest->shown_count; i++) {
		same_check = same_check && digest->shown[i]->check == first->check;
		same_reason = same_reason && digest->shown[i]->reason == first->reason;
	}
	if (all_unwatched(digest))
		str_add(out, "no longer watched");
	else if (all_are_news(digest))
		str_add(out,
			first->check == CHECK_CERTIFICATE && same_check ? "certificates changed" : "various news");
	else if (over)
		str_add(out, same_check ? good_again(first->check) : "good again");
	else
		str_add(out, same_reason ? reason_text(first->reason) : "various reasons");
}

/* "shop", "14 targets in dc2", "14 targets". */
static void add_subject(struct str *out, const struct digest *digest)
{
	const char *group = digest->shown[0]->group;

	if (digest->targets == 1) {
		str_add(out, digest->shown[0]->target);
		return;
	}
	str_addf(out, "%zu targets", digest->targets);
	for (size_t i = 1; i < digest->shown_count; i++)
		if (!str_equal(group, digest->shown[i]->group))
			return;
	if (group != NULL)
		str_addf(out, " in %s", group);
}

void digest_add_story(struct str *out, const struct digest *digest)
{
	if (digest->shown_count == 1)
		message_item_story(out, digest->message, digest->shown[0]);
	else
		add_common_phrase(out, digest);
	if (digest->over > 0)
		str_addf(out, ", %zu recovered", digest->over);
}

/* "[CRITICAL] ", "Reminder: [CRITICAL] ", "Notice: ". */
static void add_mark(struct str *out, const struct digest *digest)
{
	if (digest->message->drill || all_are(digest, EVENT_TEST)) {
		str_add(out, "[TEST] ");
		return;
	}
	if (all_unwatched(digest) || all_are(digest, EVENT_NOTICE)) {
		str_add(out, "Notice: ");
		return;
	}
	if (all_are(digest, EVENT_FLAPPING)) {
		str_add(out, "[FLAPPING] ");
		return;
	}
	if (all_are(digest, EVENT_REMINDER))
		str_add(out, "Reminder: ");
	else if (all_are(digest, EVENT_ESCALATION))
		str_add(out, "Escalated: ");
	str_addf(out, "[%s] ", level_shout(digest_level(digest)));
}

static void add_title(struct str *out, const struct digest *digest)
{
	add_mark(out, digest);
	add_subject(out, digest);
	str_add(out, ": ");
	digest_add_story(out, digest);
	for (size_t i = 0; i < digest->shown_count; i++) {
		if (digest->shown[i]->incident == 0)
			continue;
		str_addf(out, " #%lld", (long long)digest->shown[i]->incident);
		return;
	}
}

char *message_title(const struct message *message)
{
	AUTO(digest) struct digest digest;
	struct str title = { 0 };

	digest_init(&digest, message);
	add_title(&title, &digest);
	return str_take(&title);
}

void message_add_item_title(struct str *out, const struct message *message, const struct message_item *item)
{
	struct digest digest = { .message = message, .shown = &item, .shown_count = 1, .targets = 1 };

	add_title(out, &digest);
}
