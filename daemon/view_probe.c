/* SPDX-License-Identifier: MIT */
#include "daemon/view_probe.h"

#include <string.h>

#include "daemon/view.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

static const char
	*const verify_words[] = { [VERIFY_FULL] = "full", [VERIFY_CHAIN] = "chain", [VERIFY_OFF] = "off" };

void probed_judge(struct probed *probed, const struct target_config *config, const struct result *result,
		  const struct tls_facts *facts, int64_t now_unix_us)
{
	struct rules rules = config->rules;
	struct standing standing = { 0 };
	struct changes changes;

	rules.after = 1;
	rules.recover = 1;
	rules.latency_after = 1;
	rules.certificate = rules.certificate && config->tls;
	evaluator_next(&rules, &standing, result, false, now_unix_us, &changes);
	*probed =
		(struct probed){ .config = config, .result = result, .facts = facts, .now_unix_us = now_unix_us };
	memcpy(probed->checks, standing.checks, sizeof(probed->checks));
	standing_level(&standing, &probed->worst);
	standing_done(&standing);
}

/* NULL where there is none: -1 us, no threshold. */
static void key_seconds(struct json_writer *w, const char *key, int64_t us)
{
	json_key(w, key);
	if (us >= 0)
		json_seconds(w, us);
	else
		json_null(w);
}

static int64_t threshold(int64_t us)
{
	return us > 0 ? us : -1;
}

static int64_t bound_us(const struct expiry_bound *bound, const struct certificate *certificate)
{
	const int64_t lifetime_s =
		certificate->present ? certificate->not_after_unix_s - certificate->not_before_unix_s : -1;
	const int64_t bound_s = evaluator_bound_s(bound, lifetime_s);

	return bound_s >= 0 ? bound_s * US_PER_S : -1;
}

static void write_check(struct json_writer *w, const struct probed *probed, enum check check)
{
	const struct rules *rules = &probed->config->rules;
	const struct certificate *certificate = &probed->result->certificate;

	json_key(w, check_name(check));
	json_object(w);
	json_key_string(w, "level", level_name(probed->checks[check].level));
	json_key_string(w, "reason", reason_name(probed->checks[check].reason));
	if (check == CHECK_LATENCY) {
		json_key_string(w, "phase", phase_name(rules->latency_phase));
		key_seconds(w, "warning", threshold(rules->latency_warning_us));
		key_seconds(w, "critical", threshold(rules->latency_critical_us));
	} else if (check == CHECK_CERTIFICATE) {
		key_seconds(w, "warning", bound_us(&rules->certificate_warning, certificate));
		key_seconds(w, "critical", bound_us(&rules->certificate_critical, certificate));
	}
	json_object_end(w);
}

static void write_checks(struct json_writer *w, const struct probed *probed)
{
	json_key(w, "checks");
	json_object(w);
	for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++)
		if (view_has_check(probed->config, check))
			write_check(w, probed, check);
	json_object_end(w);
}

static void write_numbers(struct json_writer *w, const struct result *result)
{
	json_key(w, "phases");
	json_object(w);
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++)
		if (result->phase_us[phase] >= 0)
			json_key_seconds(w, phase_name(phase), result->phase_us[phase]);
	json_object_end(w);
	json_key(w, "steps");
	json_array(w);
	for (size_t i = 0; i < result->step_count; i++)
		json_seconds(w, result->step_us[i]);
	json_array_end(w);
	key_seconds(w, "rtt", result->rtt_us);
	key_seconds(w, "rtt_variance", result->rtt_variance_us);
	json_key_int(w, "retransmits", result->retransmits);
	json_key_int(w, "bytes_sent", (int64_t)result->bytes_sent);
	json_key_int(w, "bytes_received", (int64_t)result->bytes_received);
}

static void write_address(struct json_writer *w, const struct address_result *each)
{
	char text[ADDRESS_TEXT_BYTES];
	char fingerprint[2 * FINGERPRINT_BYTES + 1];

	address_print(&each->address, text);
	json_object(w);
	json_key_string(w, "address", text);
	json_key_string(w, "reason", reason_name(each->reason));
	json_key_string(w, "text", reason_text(each->reason));
	json_key_string(w, "phase", phase_name(each->phase));
	json_key_string(w, "detail", each->detail);
	key_seconds(w, "total", each->total_us);
	if (each->certificate.present) {
		str_hex(each->certificate.fingerprint, FINGERPRINT_BYTES, fingerprint);
		json_key_string(w, "certificate", fingerprint);
		json_key_time(w, "not_after", each->certificate.not_after_unix_s * US_PER_S);
	}
	json_object_end(w);
}

/* All that were tried. Where one that works was looked for, the list has those that did not, and it comes last. */
static void write_addresses(struct json_writer *w, const struct probed *probed)
{
	const struct result *result = probed->result;
	const struct address_result last = {
		.address = result->address,
		.reason = result->reason,
		.phase = result->phase,
		.total_us = result->phase_us[PHASE_TOTAL],
		.certificate = result->certificate,
		.detail = result->detail,
	};
	bool listed = probed->config->all_addresses;

	json_key(w, "addresses");
	json_array(w);
	for (size_t i = 0; i < result->address_count; i++) {
		write_address(w, &result->addresses[i]);
		listed = listed || address_equal(&result->addresses[i].address, &result->address);
	}
	if (!listed && result->address.family != 0)
		write_address(w, &last);
	json_array_end(w);
}

/* Whole days, rounded down: expired an hour ago is -1. */
static int64_t days_left(int64_t not_after_unix_s, int64_t now_unix_us)
{
	const int64_t left_s = not_after_unix_s - now_unix_us / US_PER_S;

	return left_s >= 0 ? left_s / S_PER_DAY : -((-left_s + S_PER_DAY - 1) / S_PER_DAY);
}

/* How the time that it has left is judged. Of the others than the leaf only durations count, as in evaluator.h. */
static enum level expiry_level(const struct probed *probed, const struct certificate_facts *facts, bool leaf)
{
	const struct rules *rules = &probed->config->rules;
	const int64_t left_s = facts->not_after_unix_s - probed->now_unix_us / US_PER_S;
	const int64_t lifetime_s = leaf ? facts->not_after_unix_s - facts->not_before_unix_s : -1;

	if (left_s < 0)
		return LEVEL_CRITICAL;
	if (!rules->certificate || (rules->certificate_leaf_only && !leaf))
		return LEVEL_OK;
	if (left_s < evaluator_bound_s(&rules->certificate_critical, lifetime_s))
		return LEVEL_CRITICAL;
	return left_s < evaluator_bound_s(&rules->certificate_warning, lifetime_s) ? LEVEL_WARNING : LEVEL_OK;
}

static bool is_in(const struct certificate_facts *facts, const struct certificate_facts *chain, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(facts->fingerprint, chain[i].fingerprint, FINGERPRINT_BYTES) == 0)
			return true;
	return false;
}

/* Whether the client needs it for the chain that it builds; if it builds none, it may need all. */
static bool is_needed(const struct probed *probed, const struct certificate_facts *facts)
{
	return probed->facts->verified_count == 0 ||
	       is_in(facts, probed->facts->verified, probed->facts->verified_count);
}

static void write_certificate(struct json_writer *w, const struct probed *probed,
			      const struct certificate_facts *facts, bool leaf)
{
	const bool needed = is_needed(probed, facts);
	char fingerprint[2 * FINGERPRINT_BYTES + 1];

	str_hex(facts->fingerprint, FINGERPRINT_BYTES, fingerprint);
	json_object(w);
	json_key_string(w, "subject", facts->subject);
	json_key_string(w, "issuer", facts->issuer);
	json_key_string(w, "serial", facts->serial);
	json_key(w, "sans");
	json_array(w);
	for (size_t i = 0; i < facts->san_count; i++)
		json_string(w, facts->sans[i]);
	json_array_end(w);
	json_key_int(w, "san_total", (int64_t)facts->san_total);
	json_key_time(w, "not_before", facts->not_before_unix_s * US_PER_S);
	json_key_time(w, "not_after", facts->not_after_unix_s * US_PER_S);
	json_key_int(w, "days_left", days_left(facts->not_after_unix_s, probed->now_unix_us));
	json_key_string(w, "level", level_name(needed ? expiry_level(probed, facts, leaf) : LEVEL_OK));
	json_key_bool(w, "needed", needed);
	json_key_bool(w, "sent", is_in(facts, probed->facts->chain, probed->facts->chain_count));
	json_key_string(w, "key", facts->key);
	json_key_string(w, "signature", facts->signature);
	json_key_string(w, "fingerprint", fingerprint);
	json_object_end(w);
}

static void write_certificates(struct json_writer *w, const struct probed *probed)
{
	const struct tls_facts *facts = probed->facts;

	json_key(w, "certificates");
	json_array(w);
	for (size_t i = 0; facts != NULL && i < facts->chain_count; i++)
		write_certificate(w, probed, &facts->chain[i], i == 0);
	json_array_end(w);
	json_key(w, "verified_chain");
	json_array(w);
	for (size_t i = 0; facts != NULL && i < facts->verified_count; i++)
		write_certificate(w, probed, &facts->verified[i], i == 0);
	json_array_end(w);
	json_key_int(w, "certificates_total", facts != NULL ? (int64_t)facts->chain_total : 0);
}

static void write_tls(struct json_writer *w, const struct probed *probed)
{
	const struct target_config *config = probed->config;
	const struct certificate *certificate = &probed->result->certificate;
	const struct tls_facts *facts = probed->facts;

	json_key(w, "tls");
	if (!config->tls) {
		json_null(w);
		return;
	}
	json_object(w);
	json_key_string(w, "starttls", config->starttls != STARTTLS_NONE ? starttls_name(config->starttls) : NULL);
	json_key_string(w, "server_name", config->server_name);
	json_key_string(w, "verify", verify_words[config->rules.verify]);
	json_key_string(w, "version", facts != NULL ? facts->version : NULL);
	json_key_string(w, "cipher", facts != NULL ? facts->cipher : NULL);
	json_key_string(w, "group", facts != NULL ? facts->group : NULL);
	json_key_string(w, "alpn", facts != NULL ? facts->alpn : NULL);
	json_key_bool(w, "client_certificate_asked", facts != NULL && facts->asked);
	json_key(w, "verified");
	if (certificate->present && config->rules.verify != VERIFY_OFF)
		json_bool(w, certificate->verdict == REASON_OK);
	else
		json_null(w);
	json_key_string(w, "verdict", certificate->present ? reason_name(certificate->verdict) : NULL);
	json_key_string(w, "verify_text", facts != NULL ? facts->verify_text : NULL);
	json_key_string(w, "weak_text", facts != NULL ? facts->weak_text : NULL);
	json_key_string(w, "staple_text", facts != NULL ? facts->staple_text : NULL);
	json_key_string(w, "revocation_text", facts != NULL ? facts->revocation_text : NULL);
	json_key_string(w, "tls_text", facts != NULL ? facts->tls_text : NULL);
	json_object_end(w);
}

static void write_verdict(struct json_writer *w, const struct probed *probed)
{
	const struct verdict *verdict = &probed->checks[probed->worst];

	json_key_string(w, "level", level_name(verdict->level));
	json_key_string(w, "check", check_name(probed->worst));
	json_key_string(w, "reason", reason_name(verdict->reason));
	json_key_string(w, "text", reason_text(verdict->reason));
}

void view_probe(struct json_writer *w, const struct probed *probed)
{
	const struct result *result = probed->result;
	char address[ADDRESS_TEXT_BYTES];

	address_print(&result->address, address);
	json_object(w);
	json_key_string(w, "target", probed->config->name);
	json_key_string(w, "address", address[0] != '\0' ? address : NULL);
	json_key_time(w, "at", result->started_unix_us);
	write_verdict(w, probed);
	json_key_string(w, "phase", phase_name(result->phase));
	json_key_string(w, "detail", result->detail);
	json_key_seconds(w, "timeout", probed->config->timeout_ms * US_PER_MS);
	write_checks(w, probed);
	write_numbers(w, result);
	write_addresses(w, probed);
	write_tls(w, probed);
	write_certificates(w, probed);
	json_object_end(w);
}
