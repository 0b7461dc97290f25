/* SPDX-License-Identifier: MIT */
/*
 * ledger - the incidents: opens, changes and ends them, decides with the routes who is told, and remembers who was.
 * An incident's change and its notices are one batch of the store; the notices reach the notifier once that is written
 * (or when the store does not answer).
 *
 * Who was told of a problem is told of worse, better and recovered; a rise that another route matches opens it there.
 * An incident for one certificate (target, fingerprint, reason, level) opens at most once in 7 days.
 * Owns:  all incidents. Main thread only.
 */
#ifndef PORTBELL_LEDGER_H
#define PORTBELL_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/notify/message.h"
#include "daemon/notify/notifier.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "lib/eval/evaluator.h"
#include "lib/eval/incident.h"

struct ledger;

/* What is known of a target when an incident of it is told; all lent. */
struct ledger_subject {
	const struct target_config *config;
	const struct address *reached;          /* NULL or family 0: none */
	enum phase phase;
	const char *detail;                     /* of the last failed probe */
	const struct tls_facts *facts;          /* of the last handshake; NULL if none */
	const struct address_result *addresses; /* where all of a name are probed */
	size_t address_count;
	const struct message_probe *probes;     /* oldest first */
	size_t probe_count;
	const char *changed;                    /* in which way the certificate is another; the ledger's own */
};

/* False: no such target. */
typedef bool ledger_subject_fn(void *arg, const char *target, struct ledger_subject *subject);

struct ledger_options {
	struct store *store;
	ledger_subject_fn *subject;
	void *arg;
	struct now (*now)(void);
};

struct ledger *ledger_new(const struct ledger_options *options);
void ledger_free(struct ledger *ledger);
void ledger_set_notifier(struct ledger *ledger, struct notifier *notifier);
/* Routes, senders and location of a new configuration; lent until the next one. */
void ledger_set_config(struct ledger *ledger, const struct config *config);
/* Takes the incidents out of what the store had. */
void ledger_restore(struct ledger *ledger, struct store_state *state);

void ledger_change(struct ledger *ledger, const char *target, const struct change *change);
/* Another certificate: one message to whom it concerns, no incident. explanation may be NULL. */
void ledger_notice_certificate(struct ledger *ledger, const char *target, const char *story,
			       const char *explanation);
/* Trouble of our own: text says what; NULL: it is over. */
void ledger_self(struct ledger *ledger, enum reason reason, const char *text);
/* The target, or one check of it (CHECK_COUNT: all), is no longer watched: what was told of it is ended. */
void ledger_unwatch(struct ledger *ledger, const char *target, enum check check);
/* Ends what is open for targets that `subject` does not know: they were removed while we were not running. */
void ledger_unwatch_missing(struct ledger *ledger);
/* Reminders that are due. */
void ledger_remind(struct ledger *ledger);
/* Rows of other modules that belong into the same transaction. Lent until ledger_commit(). */
struct store_batch *ledger_batch(struct ledger *ledger);
/* Hands over all that was written since the last time; nothing happens if there is nothing. */
void ledger_commit(struct ledger *ledger);

/* The open incident of a check; NULL if there is none. */
const struct incident *ledger_open_incident(const struct ledger *ledger, const char *target, enum check check);
const struct incident *ledger_self_incident(const struct ledger *ledger, enum reason reason);
size_t ledger_open_count(const struct ledger *ledger);
bool ledger_own_trouble(const struct ledger *ledger); /* some self incident is open */
/* An open self incident accounts for probes that fail on our side. */
bool ledger_explains_unknown(const struct ledger *ledger);

/* The notifier's questions. `ledger` is the arg. */
const char *ledger_thread(void *ledger, int64_t incident, const char *sender);
void ledger_sender_trouble(void *ledger, const char *text);
void ledger_grouped(void *ledger, int64_t incident, const char *sender, const char *message_id,
		    struct store_batch *batch);

#endif
