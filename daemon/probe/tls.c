/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"

enum { LISTEN_US = 100000 };

/* Facts are costly: they travel when what is shown, or what it is worth, is not what was told last. */
static bool is_told(const struct probe *probe)
{
	const struct certificate *now = &probe->result.certificate;
	const struct certificate *told = &probe->told_certificate;

	return probe->told && now->verdict == told->verdict && now->weak_leaf == told->weak_leaf &&
	       now->weak_chain == told->weak_chain && now->revocation == told->revocation &&
	       now->inquired == told->inquired &&
	       now->agreed == told->agreed && now->tls == told->tls &&
	       now->chain_not_after_unix_s == told->chain_not_after_unix_s &&
	       memcmp(now->fingerprint, told->fingerprint, FINGERPRINT_BYTES) == 0;
}

static void keep_certificate(struct probe *probe)
{
	tls_session_certificate(probe->session, &probe->result.certificate);
	if (probe->result.certificate.present && probe->result.facts == NULL && !is_told(probe))
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

/* What the server says to a client without a certificate, if it asked for one. It gets as long as it needed before. */
static enum step tls_listen(struct probe *probe)
{
	switch (tls_session_listen(probe->session)) {
	case TLS_STEP_DONE:
		return STEP_DONE;
	case TLS_STEP_FAILED:
		return tls_failed(probe);
	default:
		return probe->now_us >= probe->share_until_us || probe->now_us >= probe->deadline_us ? STEP_DONE :
												      STEP_WAIT;
	}
}

static enum step tls_done(struct probe *probe)
{
	probe->secure = true;
	keep_certificate(probe);
	if (!tls_session_may_be_refused(probe->session))
		return STEP_DONE;
	const int64_t now_us = clock_mono_us();

	probe->better_us = now_us - probe->phase_started_us; /* the handshake, without the listening */
	probe->share_until_us = now_us + 2 * probe->better_us + LISTEN_US;
	return tls_listen(probe);
}

enum step phase_tls(struct probe *probe)
{
	if (probe->share_until_us != INT64_MAX)
		return tls_listen(probe);
	if (probe->session == NULL) {
		struct error err;

		probe->session = tls_session_new(probe->plan->tls, probe->fd, &probe->plan->wish, &err);
		if (probe->session == NULL) {
			probe_fail(probe, REASON_LOCAL_ERROR, 0, err.text);
			return STEP_FAILED;
		}
		stream_trace_tls(probe);
	}
	switch (tls_session_handshake(probe->session, clock_unix_us() / US_PER_S)) {
	case TLS_STEP_DONE:
		return tls_done(probe);
	case TLS_STEP_WANT_READ:
	case TLS_STEP_WANT_WRITE:
		return STEP_WAIT;
	case TLS_STEP_AGAIN:
		probe->again = true;
		return STEP_WAIT;
	case TLS_STEP_FAILED:
		break;
	}
	return tls_failed(probe);
}
