/* SPDX-License-Identifier: MIT */
#include "daemon/view.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"

enum state watched_state(const struct watched *watched)
{
	if (watched->config->paused)
		return STATE_PAUSED;
	return watched->standing.judged ? STATE_ACTIVE : STATE_PENDING;
}

static enum level level_of(const struct watched *watched)
{
	enum check worst;

	return standing_level(&watched->standing, &worst);
}

void view_count(struct view_counts *counts, const struct watched *watched)
{
	counts->targets++;
	switch (watched_state(watched)) {
	case STATE_PENDING:
		counts->pending++;
		break;
	case STATE_PAUSED:
		counts->paused++;
		break;
	default:
		counts->levels[level_of(watched)]++;
	}
}

int view_order(const void *a, const void *b)
{
	const struct watched *left = *(const struct watched *const *)a;
	const struct watched *right = *(const struct watched *const *)b;
	const enum level left_level = level_of(left), right_level = level_of(right);

	if (left_level != right_level)
		return left_level > right_level ? -1 : 1;
	return strcmp(left->config->name, right->config->name);
}

/* A match on check, level or reason holds for a target when it holds for one of its checks. */
bool view_matches(const struct match *match, const struct watched *watched, const char *location)
{
	struct match_subject subject = {
		.values = {
			[MATCH_TARGET] = watched->config->name,
			[MATCH_GROUP] = watched->config->group,
			[MATCH_LOCATION] = location,
		},
		.labels = watched->config->labels,
		.label_count = watched->config->label_count,
	};

	for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++) {
		const struct verdict *verdict = &watched->standing.checks[check];

		subject.values[MATCH_CHECK] = check_name(check);
		subject.values[MATCH_LEVEL] = level_name(verdict->level);
		subject.values[MATCH_REASON] = reason_name(verdict->reason);
		if (match_holds(match, &subject))
			return true;
	}
	return false;
}

bool view_has_check(const struct target_config *config, enum check check)
{
	const struct rules *rules = &config->rules;

	switch (check) {
	case CHECK_AVAILABILITY:
		return true;
	case CHECK_LATENCY:
		return rules->latency_warning_us > 0 || rules->latency_critical_us > 0;
	case CHECK_CERTIFICATE:
		return config->tls && rules->certificate;
	case CHECK_TLS:
		return config->tls && rules->tls_required;
	default:
		return false;
	}
}

static void write_checks(struct json_writer *w, const struct watched *watched,
			 const struct incident *const incidents[CHECK_COUNT])
{
	json_key(w, "checks");
	json_object(w);
	for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++) {
		const struct verdict *verdict = &watched->standing.checks[check];

		if (!view_has_check(watched->config, check))
			continue;
		json_key(w, check_name(check));
		json_object(w);
		json_key_string(w, "level", level_name(verdict->level));
		json_key_string(w, "reason", reason_name(verdict->reason));
		json_key_time(w, "since", verdict->since_unix_us);
		if (incidents[check] != NULL)
			json_key_int(w, "incident", incidents[check]->number);
		json_object_end(w);
	}
	json_object_end(w);
}

static void write_addresses(struct json_writer *w, const struct result *result)
{
	char address[ADDRESS_TEXT_BYTES];

	json_key(w, "addresses");
	json_array(w);
	for (size_t i = 0; i < result->address_count; i++) {
		const struct address_result *each = &result->addresses[i];
		char fingerprint[2 * FINGERPRINT_BYTES + 1];

		address_print(&each->address, address);
		json_object(w);
		json_key_string(w, "address", address);
		json_key_string(w, "reason", reason_name(each->reason));
		json_key_string(w, "phase", phase_name(each->phase));
		json_key_string(w, "detail", each->detail);
		json_key(w, "latency");
		if (each->reason == REASON_OK)
			json_seconds(w, each->total_us);
		else
			json_null(w);
		if (each->certificate.present) {
			str_hex(each->certificate.fingerprint, FINGERPRINT_BYTES, fingerprint);
			json_key_string(w, "certificate", fingerprint);
			json_key_time(w, "not_after", each->certificate.not_after_unix_s * US_PER_S);
		}
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_microseconds(struct json_writer *w, const char *key, int64_t us)
{
	json_key(w, key);
	if (us >= 0)
		json_seconds(w, us);
	else
		json_null(w);
}

static void write_last_probe(struct json_writer *w, const struct watched *watched)
{
	const struct result *last = &watched->last;
	char address[ADDRESS_TEXT_BYTES];

	json_key(w, "last_probe");
	if (!watched->probed) {
		json_null(w);
		return;
	}
	address_print(&last->address, address);
	json_object(w);
	json_key_time(w, "at", last->started_unix_us);
	json_key_string(w, "reason", reason_name(last->reason));
	json_key_string(w, "phase", phase_name(last->phase));
	json_key_string(w, "address", address[0] != '\0' ? address : NULL);
	json_key_string(w, "detail", last->detail);
	json_key(w, "phases");
	json_object(w);
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++)
		if (last->phase_us[phase] >= 0)
			json_key_seconds(w, phase_name(phase), last->phase_us[phase]);
	json_object_end(w);
	write_microseconds(w, "rtt", last->rtt_us);
	write_microseconds(w, "rtt_variance", last->rtt_variance_us);
	json_key_int(w, "retransmits", last->retransmits);
	json_key_int(w, "bytes_sent", (int64_t)last->bytes_sent);
	json_key_int(w, "bytes_received", (int64_t)last->bytes_received);
	if (last->address_count > 0)
		write_addresses(w, last);
	json_object_end(w);
}

/* Days left of the certificate that ends first, of those the target shows. */
static void write_certificate_days(struct json_writer *w, const struct watched *watched, int64_t now_unix_us)
{
	const struct standing *standing = &watched->standing;
	int64_t first_s = INT64_MAX;

	for (size_t i = 0; i < standing->certificate_count; i++)
		if (standing->certificates[i].certificate.not_after_unix_s < first_s)
			first_s = standing->certificates[i].certificate.not_after_unix_s;
	json_key(w, "certificate_days");
	if (first_s == INT64_MAX) {
		json_null(w);
		return;
	}
	const int64_t left_s = first_s - now_unix_us / US_PER_S;

	/* Whole days, rounded down: expired an hour ago is -1. */
	json_int(w, left_s >= 0 ? left_s / S_PER_DAY : -((-left_s + S_PER_DAY - 1) / S_PER_DAY));
}

static void write_labels(struct json_writer *w, const struct target_config *config)
{
	json_key(w, "labels");
	json_object(w);
	for (size_t i = 0; i < config->label_count; i++)
		json_key_string(w, config->labels[i].name, config->labels[i].value);
	json_object_end(w);
}

/* All is well since the last of its checks is; else it is as bad since the worst one is. */
static int64_t since_of(const struct watched *watched, enum check worst)
{
	const struct verdict *checks = watched->standing.checks;
	int64_t since_unix_us = checks[worst].since_unix_us;

	if (checks[worst].level != LEVEL_OK)
		return since_unix_us;
	for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++)
		if (view_has_check(watched->config, check) && checks[check].since_unix_us > since_unix_us)
			since_unix_us = checks[check].since_unix_us;
	return since_unix_us;
}

void view_target(struct json_writer *w, const struct watched *watched,
		 const struct incident *const incidents[CHECK_COUNT], int64_t now_unix_us)
{
	const struct target_config *config = watched->config;
	const struct result *last = &watched->last;
	enum check worst;
	const enum level level = standing_level(&watched->standing, &worst);
	const struct verdict *verdict = &watched->standing.checks[worst];

	json_object(w);
	json_key_string(w, "name", config->name);
	json_key_string(w, "address", config->address);
	json_key_string(w, "group", config->group);
	write_labels(w, config);
	json_key_string(w, "level", level_name(level));
	json_key_string(w, "state", state_name(watched_state(watched)));
	json_key_time(w, "since", since_of(watched, worst));
	json_key_string(w, "reason", reason_name(verdict->reason));
	json_key(w, "latency");
	if (watched->probed && last->reason == REASON_OK && last->phase_us[PHASE_TOTAL] >= 0)
		json_seconds(w, last->phase_us[PHASE_TOTAL]);
	else
		json_null(w);
	write_certificate_days(w, watched, now_unix_us);
	json_key(w, "incident");
	if (incidents[worst] != NULL)
		json_int(w, incidents[worst]->number);
	else
		json_null(w);
	write_checks(w, watched, incidents);
	write_last_probe(w, watched);
	json_object_end(w);
}

void view_counts(struct json_writer *w, const struct view_counts *counts)
{
	json_key(w, "counts");
	json_object(w);
	json_key_int(w, "targets", (int64_t)counts->targets);
	for (enum level level = LEVEL_OK; level < LEVEL_COUNT; level++)
		json_key_int(w, level_name(level), (int64_t)counts->levels[level]);
	json_key_int(w, "pending", (int64_t)counts->pending);
	json_key_int(w, "paused", (int64_t)counts->paused);
	json_object_end(w);
}

void view_self(struct json_writer *w, const struct view_self *self)
{
	json_key(w, "self");
	json_array(w);
	for (size_t i = 0; i < self->count; i++) {
		json_object(w);
		json_key_string(w, "level", level_name(self->incidents[i]->level));
		json_key_string(w, "reason", reason_name(self->incidents[i]->reason));
		json_key_time(w, "since", self->incidents[i]->since_unix_us);
		json_key_string(w, "text", self->incidents[i]->detail);
		json_key_int(w, "incident", self->incidents[i]->number);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_certificates(struct json_writer *w, const char *key, const struct certificate_facts *chain,
			       size_t count)
{
	char fingerprint[2 * FINGERPRINT_BYTES + 1];

	json_key(w, key);
	json_array(w);
	for (size_t i = 0; i < count; i++) {
		const struct certificate_facts *certificate = &chain[i];

		json_object(w);
		json_key_string(w, "subject", certificate->subject);
		json_key_string(w, "issuer", certificate->issuer);
		json_key_string(w, "serial", certificate->serial);
		json_key(w, "sans");
		json_array(w);
		for (size_t j = 0; j < certificate->san_count; j++)
			json_string(w, certificate->sans[j]);
		json_array_end(w);
		json_key_int(w, "san_total", (int64_t)certificate->san_total);
		json_key_time(w, "not_before", certificate->not_before_unix_s * US_PER_S);
		json_key_time(w, "not_after", certificate->not_after_unix_s * US_PER_S);
		json_key_string(w, "key", certificate->key);
		json_key_int(w, "key_bits", certificate->key_bits);
		json_key_int(w, "strength_bits", certificate->strength_bits);
		json_key_string(w, "signature", certificate->signature);
		json_key_bool(w, "ca", certificate->ca);
		json_key_bool(w, "self_signed", certificate->self_signed);
		str_hex(certificate->fingerprint, FINGERPRINT_BYTES, fingerprint);
		json_key_string(w, "fingerprint", fingerprint);
		json_object_end(w);
	}
	json_array_end(w);
}

char *view_certificate(const struct tls_facts *facts, const struct certificate *certificate)
{
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_string(&w, "version", facts->version);
	json_key_string(&w, "cipher", facts->cipher);
	json_key_string(&w, "group", facts->group);
	json_key_string(&w, "alpn", facts->alpn);
	json_key_bool(&w, "client_certificate_asked", facts->asked);
	json_key_string(&w, "verify", facts->verify_text);
	json_key_string(&w, "weak", facts->weak_text);
	json_key_string(&w, "staple", facts->staple_text);
	json_key_string(&w, "revocation_text", facts->revocation_text);
	json_key_string(&w, "required", facts->tls_text);
	json_key_string(&w, "weak_leaf", reason_name(certificate->weak_leaf));
	json_key_string(&w, "weak_chain", reason_name(certificate->weak_chain));
	json_key_string(&w, "revocation", reason_name(certificate->revocation));
	json_key_int(&w, "chain_total", (int64_t)facts->chain_total);
	write_certificates(&w, "chain", facts->chain, facts->chain_count);
	write_certificates(&w, "verified", facts->verified, facts->verified_count);
	json_object_end(&w);
	return str_take(&text);
}

static void read_reason(const struct json *object, const char *key, enum reason *reason)
{
	if (!reason_parse(json_get_string(object, key), reason))
		*reason = REASON_OK;
}

static struct traits *read_traits(const struct json *leaf, int64_t not_before_unix_s)
{
	char *sans[FACT_SAN_MAX];
	struct certificate_facts facts = {
		.subject = (char *)json_get_string(leaf, "subject"),
		.issuer = (char *)json_get_string(leaf, "issuer"),
		.strength_bits = (int)json_get_int(leaf, "strength_bits", 0),
		.not_before_unix_s = not_before_unix_s,
		.sans = sans,
	};
	const struct json *list = json_get(leaf, "sans");

	if (facts.subject == NULL || facts.issuer == NULL)
		return NULL;
	for (size_t i = 0; i < json_size(list) && facts.san_count < FACT_SAN_MAX; i++) {
		sans[facts.san_count] = (char *)json_text(json_at(list, i));
		facts.san_count += sans[facts.san_count] != NULL;
	}
	facts.san_total = (size_t)json_get_int(leaf, "san_total", (int64_t)facts.san_count);
	return traits_new(&facts);
}

struct traits *view_read_certificate(const char *text, struct certificate *certificate)
{
	struct error err;
	struct json *root = text != NULL ? json_parse(text, strlen(text), &err) : NULL;
	struct traits *traits = read_traits(json_at(json_get(root, "chain"), 0), certificate->not_before_unix_s);

	read_reason(root, "weak_leaf", &certificate->weak_leaf);
	read_reason(root, "weak_chain", &certificate->weak_chain);
	read_reason(root, "revocation", &certificate->revocation);
	json_free(root);
	return traits;
}
