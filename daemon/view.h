/* SPDX-License-Identifier: MIT */
/*
 * view - what is shown of targets and of ourselves, as JSON, for the control socket and the command line alike.
 * Pure: it writes what it is given. Keys are the words of the manual in snake_case; durations in seconds, times RFC 3339.
 */
#ifndef PORTBELL_VIEW_H
#define PORTBELL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/notify/message.h"
#include "lib/base/json.h"
#include "lib/base/match.h"
#include "lib/config/config.h"
#include "lib/eval/evaluator.h"
#include "lib/eval/incident.h"
#include "lib/eval/result.h"

/* One target as main knows it. */
struct watched {
	const struct target_config *config;
	struct standing standing;
	struct result last;              /* of the last probe; its facts are below */
	bool probed;                     /* there was one */
	struct tls_facts *facts;         /* of the last certificate seen; NULL if none */
	struct message_probe probes[MESSAGE_PROBES_MAX]; /* the last ones, oldest first */
	size_t probe_count;
};

struct view_counts {
	size_t targets;
	size_t levels[LEVEL_COUNT];      /* of active ones */
	size_t pending;
	size_t paused;
};

struct view_self {
	const struct incident *const *incidents;
	size_t count;
};

enum state watched_state(const struct watched *watched);
void view_count(struct view_counts *counts, const struct watched *watched);
/* Worst first, then by name: for qsort() over `const struct watched *`. */
int view_order(const void *a, const void *b);
bool view_has_check(const struct target_config *config, enum check check); /* whether it is judged */
bool view_matches(const struct match *match, const struct watched *watched, const char *location);
/* incidents: the open ones by check, NULL where there is none. */
void view_target(struct json_writer *w, const struct watched *watched,
		 const struct incident *const incidents[CHECK_COUNT], int64_t now_unix_us);
void view_counts(struct json_writer *w, const struct view_counts *counts);
void view_self(struct json_writer *w, const struct view_self *self);
/* What is kept of a certificate beside its row. The caller frees. */
char *view_certificate(const struct tls_facts *facts, const struct certificate *certificate);
/* The way back, for a verdict and a comparison; NULL if it cannot be read. The caller: traits_free(). */
struct traits *view_read_certificate(const char *text, struct certificate *certificate);

#endif
