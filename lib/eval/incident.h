/* SPDX-License-Identifier: MIT */
/*
 * incident - from the confirmed departure of a check from ok until its confirmed return, and who was told of it.
 * Plain values that own their strings.
 */
#ifndef PORTBELL_EVAL_INCIDENT_H
#define PORTBELL_EVAL_INCIDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/words.h"
#include "lib/eval/result.h"

/* What one sender was last told of an incident: a notice was written, and what is written leaves. */
struct told {
	char *sender;
	enum level level;
	int64_t at_unix_us;
	char *first_message;     /* id of the message it heard first; NULL until that is grouped */
};

struct incident {
	int64_t number;
	char *target;            /* "portbell" for self */
	enum check check;
	enum level level;
	enum level worst;
	enum reason reason;
	enum phase phase;
	int64_t since_unix_us;   /* of the first probe that departed */
	int64_t opened_unix_us;
	int64_t ended_unix_us;   /* 0 = open */
	char *address;           /* "192.0.2.1:443"; may be NULL */
	char *detail;            /* cleaned; may be NULL */
	char *about;             /* JSON: address, group and labels of the target when it opened. They stay as long as the
	                          * incident lives, also when the target changes or goes. NULL for self */
	bool has_fingerprint;    /* check certificate */
	uint8_t fingerprint[FINGERPRINT_BYTES];
	struct told *told;
	size_t told_count;
};

/* One thing to tell one sender; grouped with others into a message. */
struct notice {
	int64_t id;
	int64_t incident;
	char *sender;
	enum event_kind event;
	enum level level;
	char *group_key;         /* notices of one sender with one key leave together */
	int64_t created_unix_us;
	int64_t wait_ms;         /* the route's group_wait */
	char *item;              /* JSON object: what a message shows of it */
};

void incident_free(struct incident *incident); /* NULL is fine */
void incident_done(struct incident *incident); /* an embedded one: what it holds; leaves it zeroed */
struct told *incident_told(struct incident *incident, const char *sender); /* NULL: never told */
/* Notes that `sender` was told; makes the entry if it is the first time. */
struct told *incident_tell(struct incident *incident, const char *sender, enum level level, int64_t at_unix_us);
void notice_free(struct notice *notice); /* NULL is fine */
void notice_done(struct notice *notice);

#endif
