/* SPDX-License-Identifier: MIT */
/*
 * inquirer - asks authorities whether certificates were revoked, beside the probes and their time: lists by GET,
 * OCSP by POST (RFC 6960 appendix A), of the URLs that a certificate names.
 *
 * A URL (for OCSP: a URL and a certificate) is fetched at most once an hour, however many targets ask. What came
 * is kept until its nextUpdate, and renewed when three quarters of the time that is left are over, at the latest
 * after a day: authorities publish a revocation within that (CA/Browser Forum Baseline Requirements 4.9.7), and a
 * server that is away for a while is no matter. The newest answer that could be used stays until it is too old,
 * whatever came later. After a restart all is fetched again.
 * Owns:   sources belong to it. Reading is done by a thread of its own, which starts with the first answer.
 * Calls:  nobody. Who asks asks again: inquirer_tick() says whether some answer may be another.
 * Safety: http only, no redirect, no private address unless private_too; 20 MiB a list, 64 KiB a response; 30 s.
 * Caps:   FETCHES_MAX at a time; SOURCES_MAX; the serial numbers of ENTRIES_MAX in all lists, 32 bytes each.
 */
#ifndef PORTBELL_INQUIRER_H
#define PORTBELL_INQUIRER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/rules.h"
#include "lib/base/str.h"
#include "lib/eval/result.h"

struct event_base;
struct http_client;
struct inquirer;
struct resolver;

struct inquirer_options {
	struct event_base *base;
	struct http_client *http;
	struct resolver *resolver;
	struct now (*now)(void);
};

struct inquirer *inquirer_new(const struct inquirer_options *options, struct error *err);
/* Waits for the answer that is being read. NULL is fine. */
void inquirer_free(struct inquirer *inquirer);
/* Lookups under way begin anew with this one; the one before may go. */
void inquirer_set_resolver(struct inquirer *inquirer, struct resolver *resolver);

/*
 * What is known of a certificate, and sees to it that more is: what is not asked about for keep_ms is forgotten.
 * `how`: REVOCATION_CRL or REVOCATION_OCSP. False: it is being asked for the first time. Else *reason is ok,
 * cert_revoked or cert_revocation_unknown, and the text says more.
 */
bool inquirer_judge(struct inquirer *inquirer, const struct inquiry *inquiry, enum revocation how,
		    bool private_too, int64_t keep_ms, enum reason *reason, struct str *text);
/* Once a second. True: what inquirer_judge() says may have changed. */
bool inquirer_tick(struct inquirer *inquirer);

#endif
