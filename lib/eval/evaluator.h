/* SPDX-License-Identifier: MIT */
/*
 * evaluator - results to levels: pure judgement of one target, one result after the other. No clock, no socket.
 *
 * availability  `after` failures in a row: critical; then `recover` successes in a row: ok. Some of several addresses
 *               bad is a failure at most a warning. Trouble of our own neither confirms nor clears a failure; `after` of
 *               them in a row on a good target: unknown.
 * latency       rows of `latency_after` values at or over a threshold; failed probes give no value.
 * tls           what was agreed on against what is required: rows as of availability, but for handshakes that were
 *               completed.
 * certificate   judged for each certificate that the target shows, by fingerprint; one leaves the set when `recover`
 *               handshakes in a row did not show it; the level is the worst of the set. One that is new to a set
 *               that was not empty is a change, compared with all of the set.
 * Owns: struct standing owns its certificates; standing_done().
 */
#ifndef PORTBELL_EVAL_EVALUATOR_H
#define PORTBELL_EVAL_EVALUATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/rules.h"
#include "lib/base/words.h"
#include "lib/eval/result.h"
#include "lib/eval/traits.h"

enum { CERTIFICATE_SET_MAX = 16, UNKNOWN_OPENS_AFTER_S = 600 };

/* How one check stands: confirmed, and since when. */
struct verdict {
	enum level level;
	enum reason reason;
	int64_t since_unix_us;
};

struct seen_certificate {
	struct certificate certificate;
	int64_t first_seen_unix_us;
	int missed;              /* handshakes in a row that did not show it */
	struct traits *traits;   /* NULL: no facts of it have come */
};

struct standing {
	struct verdict checks[CHECK_COUNT];
	bool judged;             /* a first verdict was found: no longer pending */
	bool unknown_opened;     /* the unknown of availability has an incident */
	struct {
		int bad, down, good, up, ours;       /* availability: not well; critical; well; not critical */
		int tls_bad, tls_good;
		int critical, warning, below, fast;  /* latency: at or over critical; at or over warning; below critical; below warning */
	} rows;
	int64_t departed_unix_us;       /* of the first probe of the row of failures, or of our own troubles */
	int64_t down_unix_us;           /* of the first probe of the row of critical ones */
	int64_t slow_since_unix_us;     /* the same for latency */
	int64_t tls_since_unix_us;      /* and for tls */
	struct seen_certificate *certificates;
	size_t certificate_count;
	size_t certificate_capacity;
};

/* A confirmed change of one check: opened, worse, better, ended (level ok), or another reason at one level. */
struct change {
	enum check check;
	enum level level;
	enum reason reason;
	int64_t since_unix_us;
	bool quiet;              /* for display only: short trouble of our own opens and closes no incident */
	const struct certificate *certificate; /* CHECK_CERTIFICATE: the one that decides; lent by the standing */
};

struct changes {
	struct change list[CHECK_COUNT];
	size_t count;
	const struct certificate *added;  /* first seen in this handshake; lent by the standing */
	uint8_t dropped[CERTIFICATE_SET_MAX][FINGERPRINT_BYTES];
	size_t dropped_count;
	/* A change that people are told of, in two lengths; NULL: none. changes_done() frees them. */
	char *certificate_change;      /* "another issuer" */
	char *certificate_explanation; /* "issued by CN=R4 instead of CN=R3"; may be NULL */
};

void changes_done(struct changes *changes);

/* explained: an open self incident accounts for troubles of our own, so lasting unknown opens nothing. */
void evaluator_next(const struct rules *rules, struct standing *standing, const struct result *result, bool explained,
		    int64_t now_unix_us, struct changes *changes);
/* True while a failure or a recovery of availability is unconfirmed: probe again soon. */
bool evaluator_wants_recheck(const struct rules *rules, const struct standing *standing);
/* What the target does was changed: windows and counters start anew, levels stay until judged. */
void standing_reset_windows(struct standing *standing);
/* It was not probed for a while: what was unconfirmed then says nothing now. */
void standing_forget_rows(struct standing *standing);
void standing_done(struct standing *standing);
/* The worst of its checks. */
enum level standing_level(const struct standing *standing, enum check *worst);
/* The present verdict on the certificates, as if it had just been found; false where all is well. */
bool evaluator_certificate_change(const struct rules *rules, const struct standing *standing, int64_t now_unix_us,
				  struct change *change);
/* How much time a certificate must have left: the smaller of a percentage and a duration, for one that lives so long; of
 * one without a lifetime (-1) only the duration counts. -1: no bound. */
int64_t evaluator_bound_s(const struct expiry_bound *bound, int64_t lifetime_s);
/* What was found out beside the probes of a certificate of the set: changes as of evaluator_next(). False: nothing
 * that was not known. */
bool evaluator_set_revocation(const struct rules *rules, struct standing *standing,
			      const uint8_t fingerprint[FINGERPRINT_BYTES], enum reason revocation,
			      int64_t now_unix_us, struct changes *changes);
/* NULL: not in the set. Lent until the next result. */
const struct seen_certificate *standing_certificate(const struct standing *standing,
						    const uint8_t fingerprint[FINGERPRINT_BYTES]);
/* How one certificate is judged at `now`. */
enum level evaluator_judge_certificate(const struct rules *rules, const struct certificate *certificate,
				       int64_t now_unix_s, enum reason *reason);

#endif
