/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"

/* Facts are costly: they travel when what is shown, or what it is worth, is not what was told last. */
static bool is_told(const struct probe *probe)
{
	const struct certificate *now = &probe->result.certificate;
	const struct certificate *told = &probe->told_certificate;

	return probe->told && now->verdict == told->verdict &&
	       now->chain_not_after_unix_s == told->chain_not_after_unix_s &&
	       memcmp(now->fingerprint, told->fingerprint, FINGERPRINT_BYTES) == 0;
}

static void keep_certificate(struct probe *probe)
{
	tls_session_certificate(probe->session, &probe->result.certificate);
	if (probe->result.certificate.present && !is_told(probe))
		probe->result.facts = tls_session_facts(probe->session);
}

static enum step tls_failed(struct probe *probe)
{
	const char *text;
	int error_number;
	enum reason reason = tls_session_failure(probe->session, &text, &error_number);

	probe_fail(probe, reason, error_number, text);
	keep_certificate(probe);
	return STEP_FAILED;
}

enum step phase_tls(struct probe *probe)
{
	if (probe->session == NULL) {
		struct error err;

		probe->session = tls_session_new(probe->plan->tls, probe->fd, &probe->plan->wish, &err);
		if (probe->session == NULL) {
			probe_fail(probe, REASON_LOCAL_ERROR, 0, err.text);
			return STEP_FAILED;
		}
	}
	switch (tls_session_handshake(probe->session, clock_unix_us() / US_PER_S)) {
	case TLS_STEP_DONE:
		keep_certificate(probe);
		return STEP_DONE;
	case TLS_STEP_WANT_READ:
	case TLS_STEP_WANT_WRITE:
		return STEP_WAIT;
	case TLS_STEP_FAILED:
		break;
	}
	return tls_failed(probe);
}
