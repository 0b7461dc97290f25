/* SPDX-License-Identifier: MIT */
/* What authorities said of certificates, as part of the certificate check. */
#include <string.h>

#include "daemon/app_private.h"
#include "lib/base/mem.h"

enum { KEPT_INTERVALS = 3, KEPT_MS = 60 * 1000 };

static bool is_asked(const struct target_config *config)
{
	return config->tls && config->rules.certificate &&
	       (config->revocation == REVOCATION_CRL || config->revocation == REVOCATION_OCSP);
}

static bool is_about(const struct tls_facts *facts, const uint8_t *fingerprint)
{
	return facts != NULL && facts->inquiry != NULL && facts->chain_count > 0 &&
	       memcmp(facts->chain[0].fingerprint, fingerprint, FINGERPRINT_BYTES) == 0;
}

/* False: nobody has answered yet, or only that it cannot be known, which takes back no revocation. The facts get
 * the words. */
static bool look_up(struct app *app, const struct target_config *config, struct tls_facts *facts,
		    enum reason known, enum reason *reason)
{
	AUTO(str) struct str text = { 0 };

	if (!inquirer_judge(app->inquirer, facts->inquiry, config->revocation, config->revocation_private,
			    KEPT_INTERVALS * config->interval_ms + KEPT_MS, reason, &text) ||
	    (*reason == REASON_CERT_REVOCATION_UNKNOWN && known == REASON_CERT_REVOKED))
		return false;
	free(facts->revocation_text);
	facts->revocation_text = str_take(&text);
	return true;
}

bool app_look_up_revocation(struct app *app, struct target *target, struct result *result)
{
	struct certificate *certificate = &result->certificate;
	struct tls_facts *facts = result->facts != NULL ? result->facts : target->watched.facts;

	if (!is_asked(target->watched.config) || !certificate->present)
		return false;
	const struct seen_certificate *seen =
		standing_certificate(&target->watched.standing, certificate->fingerprint);
	const enum reason known = seen != NULL ? seen->certificate.revocation : REASON_OK;

	/* Until somebody answers it is as it was: perhaps before a restart. */
	if (!is_about(facts, certificate->fingerprint) ||
	    !look_up(app, target->watched.config, facts, known, &certificate->revocation))
		certificate->revocation = known;
	return seen != NULL && certificate->revocation != known;
}

static void judge_anew(struct app *app, struct target *target)
{
	struct watched *watched = &target->watched;
	struct changes changes;
	enum reason reason;

	if (!is_asked(watched->config) || watched->config->paused || watched->facts == NULL ||
	    watched->facts->inquiry == NULL || watched->facts->chain_count == 0)
		return;
	const uint8_t *fingerprint = watched->facts->chain[0].fingerprint;
	const struct seen_certificate *seen = standing_certificate(&watched->standing, fingerprint);

	if (seen == NULL ||
	    !look_up(app, watched->config, watched->facts, seen->certificate.revocation, &reason) ||
	    !evaluator_set_revocation(&watched->config->rules, &watched->standing, fingerprint, reason,
				      clock_unix_us(), &changes))
		return;
	app_take_changes(app, target, &changes);
	app_store_certificate(app, target, standing_certificate(&watched->standing, fingerprint));
	changes_done(&changes);
}

void app_judge_revocations(struct app *app)
{
	struct target *target, *next;

	HASH_ITER(by_name, app->board.names, target, next)
		judge_anew(app, target);
}
