/* SPDX-License-Identifier: MIT */
/*
 * log - one line per event: to the journal with fields where standard error is the journal, else logfmt on standard error.
 * Text from outside must have been cleaned before; line ends are made safe here all the same. Never a secret.
 * A standard error that takes nothing (a stopped terminal, a pipe nobody reads) loses lines, which are counted and told
 * once it takes them again; it never blocks the loop.
 * One mutable global: the level (whether there is a journal, lines lost). Main thread only.
 */
#ifndef PORTBELL_LOG_H
#define PORTBELL_LOG_H

#include <stdint.h>

#include "lib/config/config.h"

/* What an event is, for the journal's catalog (MESSAGE_ID). */
enum log_event {
	LOG_PLAIN, LOG_STARTED, LOG_STOPPING, LOG_RELOADED, LOG_RELOAD_REFUSED, LOG_INCIDENT_OPENED, LOG_INCIDENT_CHANGED,
	LOG_INCIDENT_ENDED, LOG_DELIVERY_FAILED, LOG_DEAD_LETTER, LOG_STORE_FAILED, LOG_STATE_MOVED_ASIDE, LOG_EVENT_COUNT
};

/* Fields PORTBELL_*; NULL or 0: not there. */
struct log_fields {
	const char *target;
	const char *check;
	const char *level;
	const char *reason;
	int64_t incident;
};

void log_open(void); /* looks at JOURNAL_STREAM; level info */
void log_set_level(enum log_level level);
void log_write(enum log_level level, enum log_event event, const struct log_fields *fields, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
const char *log_event_id(enum log_event event); /* its MESSAGE_ID, 32 hex digits; NULL for LOG_PLAIN */
#define log_error(...) log_write(LOG_LEVEL_ERROR, LOG_PLAIN, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, LOG_PLAIN, NULL, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, LOG_PLAIN, NULL, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, LOG_PLAIN, NULL, __VA_ARGS__)

#endif
