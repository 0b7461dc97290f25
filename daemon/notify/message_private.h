/* SPDX-License-Identifier: MIT */
/*
 * message_private - what titles and bodies share: a message looked at as a whole, and the phrases for one item.
 * Everything here is told as of the message's creation, so that each try says the same.
 */
#ifndef PORTBELL_NOTIFY_MESSAGE_PRIVATE_H
#define PORTBELL_NOTIFY_MESSAGE_PRIVATE_H

#include "daemon/notify/message.h"
#include "lib/base/str.h"

/* The items that the title speaks of: those that are open, or all if none is. */
struct digest {
	const struct message *message;
	const struct message_item **shown; /* lent by the message; at least one */
	size_t shown_count;
	size_t over;             /* items that are over and not shown */
	size_t targets;          /* different ones among those shown */
};

void digest_init(struct digest *digest, const struct message *message);
void digest_done(struct digest *digest);
/* "connection refused", "various reasons, 2 recovered". */
void digest_add_story(struct str *out, const struct digest *digest);

static inline void digest_auto(struct digest *digest)
{
	digest_done(digest);
}

/* It tells of a moment: nothing is wrong, nothing stays open, its detail is all of it. */
bool message_item_is_news(const struct message_item *item);
/* The title that `item` would have if it were alone. */
void message_add_item_title(struct str *out, const struct message *message, const struct message_item *item);
/* Whole days as soon as there is one, else hours, else minutes: nobody plans a renewal by the second. */
void message_add_days(struct str *out, int64_t left_s);
/* Until the certificate ends; negative if it has. */
int64_t message_certificate_left_s(const struct message *message, const struct message_certificate *certificate);

#endif
