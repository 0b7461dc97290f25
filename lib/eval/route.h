/* SPDX-License-Identifier: MIT */
/*
 * route - which senders hear of an incident, and with what it is grouped. Pure.
 */
#ifndef PORTBELL_EVAL_ROUTE_H
#define PORTBELL_EVAL_ROUTE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/rules.h"
#include "lib/base/str.h"

struct route_table {
	const struct route *routes; /* the last one matches everything */
	size_t count;
};

/* What is asked about: the match's view of it, and what only grouping needs. All lent. */
struct route_subject {
	struct match_subject match;
	const char *address;
	const char *const *send_to; /* the target's own, instead of the routes */
	size_t send_to_count;
	bool send_to_set;
};

typedef void route_visit_fn(const struct route *route, const char *sender, void *arg);

/* Calls visit for each sender once, by the first route that names it. A target's own send_to groups, waits and reminds
 * as the last route does. */
void route_each(const struct route_table *table, const struct route_subject *subject, route_visit_fn *visit, void *arg);
/* The route by which `sender` would hear of the subject; the last route if none names it. */
const struct route *route_of(const struct route_table *table, const struct route_subject *subject, const char *sender);
/* "group=web,check=availability": notices of one sender with one key leave together. */
void route_group_key(struct str *key, const struct route *route, const struct route_subject *subject);
/* How long after the last word to `sender` a reminder is due; 0 = never. */
int64_t route_remind_ms(const struct route *route, enum check check, enum level level);

#endif
