/* SPDX-License-Identifier: MIT */
/*
 * outlet - what waits for one sender: groups of notices, and letters (messages on their way). Plain structures with the
 * judgement of when something may go; time is an argument. The notifier moves them, only it and outlet.c look inside.
 */
#ifndef PORTBELL_NOTIFY_OUTLET_H
#define PORTBELL_NOTIFY_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/notify/sender.h"
#include "lib/base/list.h"
#include "lib/eval/incident.h"
#include "lib/io/store.h"

struct notifier;

enum {
	OUTLET_FLIGHTS_MAX = 4,
	OUTLET_STORE_SLOW_MS = 1000,
	OUTLET_UNSETTLED_MAX = 64, /* while the store is slow */
	OUTLET_TROUBLE_AFTER_S = 300,
	LETTER_NOTICES_MAX = 1000
};

/* Notices of one group key that wait for company. */
struct group {
	struct list node;
	char *key;
	int64_t due_mono_us;
	struct notice **notices;
	size_t count;
	size_t capacity;
};

enum letter_state { LETTER_COMMITTING, LETTER_READY, LETTER_SENDING };

struct letter {
	struct list node;
	struct outlet *outlet;
	enum letter_state state;
	struct message_row row;
	int64_t *incidents;      /* what it tells of */
	size_t incident_count;
	struct letter *after;    /* an earlier letter about one of them; NULL: none is before it */
	int64_t try_mono_us;     /* not before this */
	int64_t alive_unix_us;   /* a dead letter was revived then; 0 = it never was one */
	bool asked_to_wait;      /* by the receiver (Retry-After): a success of others does not shorten it */
	struct message *message; /* LETTER_SENDING */
	struct delivery *delivery;
	const struct sender *sender; /* LETTER_SENDING: who carries it, and under which configuration */
	const struct config *config;
};

/* A delivery that the store has not noted: after a crash it would go out again. */
struct settling {
	struct list node;
	struct outlet *outlet;
	int64_t since_mono_us;
};

struct outlet {
	struct list node;
	struct notifier *notifier; /* whose it is */
	char *name;
	const struct sender_config *config; /* NULL: no such sender in the configuration now */
	struct list groups;      /* struct group, oldest first */
	struct list letters;     /* struct letter, oldest first */
	size_t flights;          /* being delivered */
	struct list settling;    /* struct settling, oldest first */
	size_t unsettled;        /* how many these are */
	bool store_is_slow;      /* by the last one noted: then to go out matters more than that few are repeated */
	int failures;            /* in a row */
	int64_t failing_since_mono_us;
	int64_t gate_mono_us;    /* while failing: nobody tries before this */
	double tokens;           /* of `rate` */
	int64_t tokens_mono_us;
	bool trouble;
	char trouble_text[300];
};

struct outlet *outlet_new(const char *name);
void outlet_free(struct outlet *outlet); /* with all that waits */
void group_free(struct group *group);
void letter_free(struct letter *letter);

/* The group a notice belongs to; made, due wait_ms from now, if none waits yet. */
struct group *outlet_group(struct outlet *outlet, const struct notice *notice, int64_t mono_us);
/* At the end of the line; finds out after which it has to come. */
void outlet_line_up(struct outlet *outlet, struct letter *letter);
/* Out of the line: who had to come after it need not any longer. Does not free. */
void outlet_take_out(struct letter *letter);

/* How many messages `rate` lets go now; INT32_MAX without a limit. */
int outlet_allowance(struct outlet *outlet, int64_t mono_us);
void outlet_spend(struct outlet *outlet);
/* When the next one may go. */
int64_t outlet_allowance_at(const struct outlet *outlet, int64_t mono_us);

/* The next letter that may try now; NULL: none. */
struct letter *outlet_next(const struct outlet *outlet, int64_t mono_us);
/* When outlet_next() or a group may have something; INT64_MAX: nothing waits. */
int64_t outlet_due(const struct outlet *outlet, int64_t mono_us);

/* A delivery has been handed to the store; it has noted one (or does not answer). */
struct settling *outlet_settle(struct outlet *outlet, int64_t mono_us); /* the outlet's until it is settled */
void outlet_settled(struct settling *settling, int64_t mono_us);        /* gone after it */

/* Notes how a try ended. `jitter` is 0..255, chance. */
void outlet_succeeded(struct outlet *outlet, int64_t mono_us);
void outlet_failed(struct outlet *outlet, struct letter *letter, int64_t retry_after_ms, uint8_t jitter,
		   int64_t mono_us);
int64_t outlet_backoff_us(int attempts, uint8_t jitter);

#endif
