/* SPDX-License-Identifier: MIT */
/*
 * compose - notices that leave together become the body of one message. Pure.
 */
#ifndef PORTBELL_NOTIFY_COMPOSE_H
#define PORTBELL_NOTIFY_COMPOSE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/eval/incident.h"

struct compose_frame {
	const char *id;
	const char *sender;
	const char *group_key;
	const char *thread;      /* NULL: the first of its thread */
	int64_t created_unix_us;
};

/* Several notices of one incident become one item: a problem that is over by now is told once, as recovered and
 * `missed`. The caller frees. */
char *compose_body(const struct compose_frame *frame, struct notice *const *notices, size_t count);

#endif
