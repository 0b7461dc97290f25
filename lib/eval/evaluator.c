/* SPDX-License-Identifier: MIT */
#include "lib/eval/evaluator.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

static void count_up(int *row)
{
	if (*row < INT32_MAX)
		(*row)++;
}

/* Notes the new verdict of a check and the change that it is. */
static struct change *turn(struct standing *standing, struct changes *changes, enum check check, enum level level,
			   enum reason reason, int64_t since_unix_us)
{
	struct verdict *verdict = &standing->checks[check];
	struct change *change = &changes->list[changes->count++];

	*change = (struct change){
		.check = check,
		.level = level,
		.reason = reason,
		.since_unix_us = since_unix_us,
	};
	if (verdict->level != level)
		verdict->since_unix_us = since_unix_us;
	verdict->level = level;
	verdict->reason = reason;
	return change;
}

/* Availability */

static enum level level_of(enum reason reason)
{
	if (reason == REASON_OK)
		return LEVEL_OK;
	return reason == REASON_SOME_ADDRESSES || reason == REASON_SOME_LOCATIONS ? LEVEL_WARNING : LEVEL_CRITICAL;
}

/* One row goes on when the value belongs to it, else it starts anew. */
static void row_step(int *row, bool belongs)
{
	if (belongs)
		count_up(row);
	else
		*row = 0;
}

/* Where the rows lead after a probe that was not well. A row of bad ones that were not all critical is a warning. */
static enum level availability_level(const struct rules *rules, const struct standing *standing)
{
	const enum level now = standing->checks[CHECK_AVAILABILITY].level;

	if (standing->rows.down >= rules->after)
		return LEVEL_CRITICAL;
	if (now == LEVEL_CRITICAL)
		return standing->rows.up >= rules->recover ? LEVEL_WARNING : now;
	return standing->rows.bad >= rules->after ? LEVEL_WARNING : now;
}

static void availability_bad(const struct rules *rules, struct standing *standing, const struct result *result,
			     struct changes *changes)
{
	const struct verdict *verdict = &standing->checks[CHECK_AVAILABILITY];
	const enum level found = level_of(result->reason);

	if (standing->rows.bad == 0)
		standing->departed_unix_us = result->started_unix_us;
	if (standing->rows.down == 0)
		standing->down_unix_us = result->started_unix_us;
	count_up(&standing->rows.bad);
	row_step(&standing->rows.down, found == LEVEL_CRITICAL);
	row_step(&standing->rows.up, found != LEVEL_CRITICAL);
	standing->rows.good = 0;
	standing->rows.ours = 0;
	const enum level level = availability_level(rules, standing);

	if (level == verdict->level) {
		if (level == found && verdict->reason != result->reason)
			turn(standing, changes, CHECK_AVAILABILITY, level, result->reason, verdict->since_unix_us);
		return;
	}
	turn(standing, changes, CHECK_AVAILABILITY, level, result->reason,
	     level == LEVEL_CRITICAL	     ? standing->down_unix_us :
	     verdict->level == LEVEL_CRITICAL ? result->started_unix_us :
						standing->departed_unix_us);
	standing->unknown_opened = false;
}

static void availability_good(const struct rules *rules, struct standing *standing, const struct result *result,
			      struct changes *changes)
{
	const struct verdict *verdict = &standing->checks[CHECK_AVAILABILITY];

	standing->rows.bad = 0;
	standing->rows.down = 0;
	standing->rows.ours = 0;
	count_up(&standing->rows.good);
	count_up(&standing->rows.up);
	if (verdict->level == LEVEL_OK)
		return;
	bool told = verdict->level != LEVEL_UNKNOWN || standing->unknown_opened;

	if (told && standing->rows.good < rules->recover)
		return;
	struct change *change = turn(standing, changes, CHECK_AVAILABILITY, LEVEL_OK, REASON_OK,
				     result->started_unix_us);

	change->quiet = !told;
	standing->unknown_opened = false;
}

/* Our own trouble says nothing of the target: it neither confirms nor clears, but a good level does not stay for ever. */
static void availability_ours(const struct rules *rules, struct standing *standing, const struct result *result,
			      bool explained, int64_t now_unix_us, struct changes *changes)
{
	const struct verdict *verdict = &standing->checks[CHECK_AVAILABILITY];

	if (standing->rows.ours == 0 && verdict->level != LEVEL_UNKNOWN && standing->rows.bad == 0)
		standing->departed_unix_us = result->started_unix_us;
	count_up(&standing->rows.ours);
	if (verdict->level == LEVEL_CRITICAL || verdict->level == LEVEL_WARNING)
		return;
	if (verdict->level == LEVEL_OK) {
		if (standing->rows.ours < rules->after)
			return;
		turn(standing, changes, CHECK_AVAILABILITY, LEVEL_UNKNOWN, result->reason, standing->departed_unix_us)
			->quiet = true;
		return;
	}
	if (standing->unknown_opened || explained ||
	    now_unix_us - verdict->since_unix_us < UNKNOWN_OPENS_AFTER_S * US_PER_S)
		return;
	standing->unknown_opened = true;
	turn(standing, changes, CHECK_AVAILABILITY, LEVEL_UNKNOWN, result->reason, verdict->since_unix_us);
}

static void judge_availability(const struct rules *rules, struct standing *standing, const struct result *result,
			       bool explained, int64_t now_unix_us, struct changes *changes)
{
	if (reason_is_ours(result->reason))
		availability_ours(rules, standing, result, explained, now_unix_us, changes);
	else if (result->reason != REASON_OK)
		availability_bad(rules, standing, result, changes);
	else
		availability_good(rules, standing, result, changes);
}

/* Latency */

static enum level latency_level(const struct rules *rules, const struct standing *standing)
{
	const enum level now = standing->checks[CHECK_LATENCY].level;

	if (rules->latency_critical_us > 0 && standing->rows.critical >= rules->latency_after)
		return LEVEL_CRITICAL;
	if (standing->rows.fast >= rules->recover)
		return LEVEL_OK;
	if (now == LEVEL_CRITICAL)
		return standing->rows.below >= rules->recover && rules->latency_warning_us > 0 ? LEVEL_WARNING : now;
	if (rules->latency_warning_us > 0 && standing->rows.warning >= rules->latency_after)
		return LEVEL_WARNING;
	return now;
}

static void judge_latency(const struct rules *rules, struct standing *standing, const struct result *result,
			  struct changes *changes)
{
	const int64_t value_us = result->phase_us[rules->latency_phase];
	const bool critical = rules->latency_critical_us > 0 && value_us >= rules->latency_critical_us;
	const bool warning = critical || (rules->latency_warning_us > 0 && value_us >= rules->latency_warning_us);

	if (result->reason != REASON_OK || value_us < 0 ||
	    (rules->latency_warning_us == 0 && rules->latency_critical_us == 0))
		return;
	if (warning && standing->rows.warning == 0)
		standing->slow_since_unix_us = result->started_unix_us;
	row_step(&standing->rows.critical, critical);
	row_step(&standing->rows.warning, warning);
	row_step(&standing->rows.below, !critical);
	row_step(&standing->rows.fast, !warning);
	const enum level level = latency_level(rules, standing);

	if (level == standing->checks[CHECK_LATENCY].level)
		return;
	if (level == LEVEL_OK)
		turn(standing, changes, CHECK_LATENCY, LEVEL_OK, REASON_OK, result->started_unix_us);
	else
		turn(standing, changes, CHECK_LATENCY, level, REASON_LATENCY_HIGH, standing->slow_since_unix_us);
}

/* TLS */

static void judge_tls(const struct rules *rules, struct standing *standing, const struct result *result,
		      struct changes *changes)
{
	const struct verdict *verdict = &standing->checks[CHECK_TLS];
	const enum reason reason = result->certificate.tls;

	if (!rules->tls_required || result->certificate.agreed == 0)
		return;
	if (reason != REASON_OK && standing->rows.tls_bad == 0)
		standing->tls_since_unix_us = result->started_unix_us;
	row_step(&standing->rows.tls_bad, reason != REASON_OK);
	row_step(&standing->rows.tls_good, reason == REASON_OK);
	if (reason == REASON_OK) {
		if (verdict->level != LEVEL_OK && standing->rows.tls_good >= rules->recover)
			turn(standing, changes, CHECK_TLS, LEVEL_OK, REASON_OK, result->started_unix_us);
		return;
	}
	if (verdict->level == LEVEL_OK && standing->rows.tls_bad < rules->after)
		return;
	if (verdict->level != rules->tls_level || verdict->reason != reason)
		turn(standing, changes, CHECK_TLS, rules->tls_level, reason,
		     verdict->level == LEVEL_OK ? standing->tls_since_unix_us : verdict->since_unix_us);
}

/* Certificate */

int64_t evaluator_bound_s(const struct expiry_bound *bound, int64_t lifetime_s)
{
	int64_t share_s = lifetime_s / 100 * bound->percent + lifetime_s % 100 * bound->percent / 100;

	if (bound->percent == 0 || lifetime_s < 0)
		return bound->left_s > 0 ? bound->left_s : -1;
	return bound->left_s > 0 && bound->left_s < share_s ? bound->left_s : share_s;
}

static enum level left_level(const struct rules *rules, int64_t left_s, int64_t lifetime_s)
{
	if (left_s < evaluator_bound_s(&rules->certificate_critical, lifetime_s))
		return LEVEL_CRITICAL;
	if (left_s < evaluator_bound_s(&rules->certificate_warning, lifetime_s))
		return LEVEL_WARNING;
	return LEVEL_OK;
}

struct finding {
	enum level level;
	enum reason reason;
};

/* Of two that are as bad the one found first stays. */
static void find(struct finding *worst, enum level level, enum reason reason)
{
	if (level > worst->level)
		*worst = (struct finding){ level, reason };
}

static void find_in_chain(const struct rules *rules, const struct certificate *certificate, int64_t now_unix_s,
			  struct finding *worst)
{
	const int64_t end_unix_s = certificate->chain_not_after_unix_s;

	if (end_unix_s != INT64_MAX && now_unix_s > end_unix_s)
		find(worst, LEVEL_CRITICAL, REASON_CERT_EXPIRED);
	/* A CA certificate lives for years: a share of that would alarm too early, so only durations count. */
	if (end_unix_s != INT64_MAX)
		find(worst, left_level(rules, end_unix_s - now_unix_s, -1), REASON_CERT_EXPIRING);
	if (certificate->weak_chain != REASON_OK)
		find(worst, rules->certificate_weak, certificate->weak_chain);
}

enum level evaluator_judge_certificate(const struct rules *rules, const struct certificate *certificate,
				       int64_t now_unix_s, enum reason *reason)
{
	const int64_t left_s = certificate->not_after_unix_s - now_unix_s;
	const int64_t lifetime_s = certificate->not_after_unix_s - certificate->not_before_unix_s;
	struct finding worst = { LEVEL_OK, REASON_OK };

	if (left_s < 0)
		find(&worst, LEVEL_CRITICAL, REASON_CERT_EXPIRED);
	if (certificate->verdict != REASON_OK)
		find(&worst, LEVEL_CRITICAL, certificate->verdict);
	if (certificate->revocation == REASON_CERT_REVOKED)
		find(&worst, LEVEL_CRITICAL, REASON_CERT_REVOKED);
	find(&worst, left_level(rules, left_s, lifetime_s), REASON_CERT_EXPIRING);
	if (certificate->weak_leaf != REASON_OK)
		find(&worst, rules->certificate_weak, certificate->weak_leaf);
	if (!rules->certificate_leaf_only)
		find_in_chain(rules, certificate, now_unix_s, &worst);
	if (certificate->revocation != REASON_OK)
		find(&worst, LEVEL_WARNING, certificate->revocation);
	*reason = worst.reason;
	return worst.level;
}

static struct seen_certificate *find_certificate(struct standing *standing, const uint8_t *fingerprint)
{
	for (size_t i = 0; i < standing->certificate_count; i++) {
		struct seen_certificate *seen = &standing->certificates[i];

		if (memcmp(seen->certificate.fingerprint, fingerprint, FINGERPRINT_BYTES) == 0)
			return seen;
	}
	return NULL;
}

static void drop_certificate(struct standing *standing, size_t index, struct changes *changes)
{
	memcpy(changes->dropped[changes->dropped_count++], standing->certificates[index].certificate.fingerprint,
	       FINGERPRINT_BYTES);
	traits_free(standing->certificates[index].traits);
	standing->certificate_count--;
	memmove(&standing->certificates[index], &standing->certificates[index + 1],
		(standing->certificate_count - index) * sizeof(*standing->certificates));
}

/* One that the set does not have yet. Without facts nobody can say what is unusual about it. */
static void note_change(const struct rules *rules, const struct standing *standing, const struct traits *now,
			struct changes *changes)
{
	const struct traits *known[CERTIFICATE_SET_MAX] = { NULL };
	struct str story = { 0 };
	struct str explanation = { 0 };

	if (rules->certificate_changes == CHANGES_IGNORE || standing->certificate_count == 0)
		return;
	for (size_t i = 0; i < standing->certificate_count; i++)
		known[i] = standing->certificates[i].traits;
	if (now != NULL)
		traits_compare(known, standing->certificate_count, now, &story, &explanation);
	if (story.bytes == 0 && rules->certificate_changes == CHANGES_ALL)
		str_add(&story, "another one from the same issuer");
	if (story.bytes > 0)
		changes->certificate_change = str_take(&story);
	if (explanation.bytes > 0)
		changes->certificate_explanation = str_take(&explanation);
	str_done(&story);
	str_done(&explanation);
}

/* The set after one more handshake: what it showed is in, what was not shown for `recover` handshakes is out. */
static void update_set(const struct rules *rules, struct standing *standing, const struct result *result,
		       struct changes *changes)
{
	const struct certificate *shown = &result->certificate;
	struct traits *traits = result->facts != NULL ? traits_new(&result->facts->chain[0]) : NULL;
	struct seen_certificate *seen = find_certificate(standing, shown->fingerprint);
	const size_t room = seen != NULL ? CERTIFICATE_SET_MAX : CERTIFICATE_SET_MAX - 1;

	if (seen == NULL)
		note_change(rules, standing, traits, changes);
	for (size_t i = standing->certificate_count; i-- > 0;) {
		struct seen_certificate *other = &standing->certificates[i];

		if (memcmp(other->certificate.fingerprint, shown->fingerprint, FINGERPRINT_BYTES) == 0)
			continue;
		if (++other->missed >= rules->recover || standing->certificate_count > room)
			drop_certificate(standing, i, changes);
	}
	seen = find_certificate(standing, shown->fingerprint);
	if (seen == NULL) {
		standing->certificates = mem_grow(standing->certificates, &standing->certificate_capacity,
						  standing->certificate_count + 1, sizeof(*standing->certificates));
		seen = &standing->certificates[standing->certificate_count++];
		*seen = (struct seen_certificate){ .first_seen_unix_us = result->started_unix_us };
		changes->added = &seen->certificate;
	}
	seen->certificate = *shown;
	seen->missed = 0;
	if (traits != NULL) {
		traits_free(seen->traits);
		seen->traits = traits;
	}
}

/* The certificate that decides, with its verdict. One that was not shown just now may have been replaced since: it can
 * hold the level, not raise it. */
static const struct certificate *worst_certificate(const struct rules *rules, const struct standing *standing,
						   int64_t now_unix_s, enum level *level, enum reason *reason)
{
	const enum level before = standing->checks[CHECK_CERTIFICATE].level;
	const struct certificate *worst = NULL;

	for (size_t i = 0; i < standing->certificate_count; i++) {
		const struct seen_certificate *seen = &standing->certificates[i];
		enum reason why;
		const enum level judged = evaluator_judge_certificate(rules, &seen->certificate, now_unix_s, &why);

		if ((seen->missed > 0 && judged > before) ||
		    (worst != NULL && (judged < *level || (judged == *level && seen->missed > 0))))
			continue;
		worst = &seen->certificate;
		*level = judged;
		*reason = why;
	}
	return worst;
}

static void judge_set(const struct rules *rules, struct standing *standing, int64_t found_unix_us,
		      int64_t now_unix_us, struct changes *changes)
{
	const struct verdict *verdict = &standing->checks[CHECK_CERTIFICATE];
	const struct certificate *worst;
	enum level level = LEVEL_OK;
	enum reason reason = REASON_OK;

	worst = worst_certificate(rules, standing, now_unix_us / US_PER_S, &level, &reason);
	if (level == verdict->level && reason == verdict->reason)
		return;
	turn(standing, changes, CHECK_CERTIFICATE, level, reason,
	     verdict->level == LEVEL_OK || level == LEVEL_OK ? found_unix_us : verdict->since_unix_us)
		->certificate = worst;
}

static void judge_certificate(const struct rules *rules, struct standing *standing, const struct result *result,
			      int64_t now_unix_us, struct changes *changes)
{
	if (!rules->certificate || !result->certificate.present)
		return;
	update_set(rules, standing, result, changes);
	judge_set(rules, standing, result->started_unix_us, now_unix_us, changes);
}

bool evaluator_set_revocation(const struct rules *rules, struct standing *standing,
			      const uint8_t fingerprint[FINGERPRINT_BYTES], enum reason revocation,
			      int64_t now_unix_us, struct changes *changes)
{
	struct seen_certificate *seen = find_certificate(standing, fingerprint);

	memset(changes, 0, sizeof(*changes));
	if (!rules->certificate || seen == NULL || seen->certificate.revocation == revocation)
		return false;
	seen->certificate.revocation = revocation;
	judge_set(rules, standing, now_unix_us, now_unix_us, changes);
	return true;
}

const struct seen_certificate *standing_certificate(const struct standing *standing,
						    const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	return find_certificate((struct standing *)standing, fingerprint);
}

bool evaluator_certificate_change(const struct rules *rules, const struct standing *standing, int64_t now_unix_us,
				  struct change *change)
{
	const struct verdict *verdict = &standing->checks[CHECK_CERTIFICATE];
	enum level level = LEVEL_OK;
	enum reason reason = REASON_OK;

	*change = (struct change){
		.check = CHECK_CERTIFICATE,
		.level = verdict->level,
		.reason = verdict->reason,
		.since_unix_us = verdict->since_unix_us,
		.certificate = worst_certificate(rules, standing, now_unix_us / US_PER_S, &level, &reason),
	};
	return verdict->level != LEVEL_OK && change->certificate != NULL && level == verdict->level;
}

/* What is well from the start is so since the first probe. */
static void first_verdict(struct standing *standing, int64_t since_unix_us)
{
	standing->judged = true;
	for (enum check check = CHECK_AVAILABILITY; check < CHECK_COUNT; check++)
		if (standing->checks[check].since_unix_us == 0)
			standing->checks[check].since_unix_us = since_unix_us;
}

void evaluator_next(const struct rules *rules, struct standing *standing, const struct result *result, bool explained,
		    int64_t now_unix_us, struct changes *changes)
{
	memset(changes, 0, sizeof(*changes));
	judge_availability(rules, standing, result, explained, now_unix_us, changes);
	judge_latency(rules, standing, result, changes);
	judge_tls(rules, standing, result, changes);
	judge_certificate(rules, standing, result, now_unix_us, changes);
	if (!standing->judged && (result->reason == REASON_OK || changes->count > 0))
		first_verdict(standing, result->started_unix_us);
}

bool evaluator_wants_recheck(const struct rules *rules, const struct standing *standing)
{
	const enum level level = standing->checks[CHECK_AVAILABILITY].level;
	const bool recovers = standing->rows.good > 0 && standing->rows.good < rules->recover;

	if (level == LEVEL_CRITICAL)
		return standing->rows.up > 0 && standing->rows.up < rules->recover;
	if (level == LEVEL_WARNING)
		return recovers || (standing->rows.down > 0 && standing->rows.down < rules->after);
	if (standing->unknown_opened)
		return recovers;
	return standing->rows.bad > 0 && standing->rows.bad < rules->after;
}

void standing_forget_rows(struct standing *standing)
{
	memset(&standing->rows, 0, sizeof(standing->rows));
}

void standing_reset_windows(struct standing *standing)
{
	standing_forget_rows(standing);
	standing->judged = false;
	standing_done(standing);
}

void changes_done(struct changes *changes)
{
	free(TAKE(changes->certificate_change));
	free(TAKE(changes->certificate_explanation));
}

void standing_done(struct standing *standing)
{
	for (size_t i = 0; i < standing->certificate_count; i++)
		traits_free(standing->certificates[i].traits);
	free(TAKE(standing->certificates));
	standing->certificate_count = 0;
	standing->certificate_capacity = 0;
}

enum level standing_level(const struct standing *standing, enum check *worst)
{
	*worst = CHECK_AVAILABILITY;
	for (enum check check = CHECK_AVAILABILITY; check < CHECK_COUNT; check++)
		if (standing->checks[check].level > standing->checks[*worst].level)
			*worst = check;
	return standing->checks[*worst].level;
}
