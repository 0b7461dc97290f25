/* SPDX-License-Identifier: MIT */
/*
 * prober - a thread with its own event_base, resolver, TLS domain and scheduler.
 * Speaks:  only through inboxes. In: TARGETS, PACE, PROBE_NOW, STOP (a command inbox each). Out: struct prober_report, to the
 *          inbox given at start. Results that failed or changed their reason are flushed at once, others every
 *          50 ms or 256. Once a second a report of kind PROBER_STATS: a prober that sends none is stuck.
 * Owns:    a report belongs to whoever takes it from the inbox: prober_report_free(). An assignment stays the
 *          sender's and must live until PROBER_SETTLED names its generation's successor (or prober_stop()
 *          returned).
 * Signals: all are blocked in the thread, SIGPIPE too, so that a peer that has gone is EPIPE.
 */
#ifndef PORTBELL_PROBER_H
#define PORTBELL_PROBER_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/scheduler.h"
#include "lib/base/inbox.h"
#include "lib/base/list.h"
#include "lib/eval/result.h"
#include "lib/io/resolver.h"

enum { PROBER_BATCH = 256 };

enum prober_report_kind { PROBER_RESULTS, PROBER_SETTLED, PROBER_STATS };

struct prober_report {
	struct list item; /* in the inbox */
	enum prober_report_kind kind;
	int prober;       /* its number */
	union {
		struct {
			size_t count;           /* at most PROBER_BATCH */
			struct result *results;
		} batch;
		uint64_t settled;       /* nothing in flight uses anything older than this generation */
		struct prober_stats stats;
	} as;
};

struct prober;

struct prober_options {
	int number;
	size_t max_sockets;
	struct resolver_options resolver; /* copied */
	struct inbox *reports;            /* lent */
};

/* Starts the thread (all signals blocked in it). */
struct prober *prober_new(const struct prober_options *options, struct error *err);
struct tls_domain *prober_tls_domain(struct prober *prober);
void prober_post_targets(struct prober *prober, const struct assignment *assignment);
/* The resolver's settings changed: from now on lookups use these. Copied. */
void prober_post_resolver(struct prober *prober, const struct resolver_options *options);
/* `index` is the place in the assignment posted last. */
void prober_post_pace(struct prober *prober, size_t index, enum pace pace);
/* Its result comes as all others do; one that has begun before does not count. */
void prober_post_probe_now(struct prober *prober, size_t index);
/* Stops the thread and joins it; cuts probes short. Afterwards nothing uses an assignment, and the TLS contexts
 * that were made with prober_tls_domain() have to be freed before prober_free(), which takes the domain away. */
void prober_stop(struct prober *prober);
/* Stops it if need be. NULL is fine. */
void prober_free(struct prober *prober);
void prober_report_free(struct prober_report *report); /* also what is left in a batch */

#endif
