/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/eval/evaluator.h"

enum { START_S = 1700000000, EVERY_S = 30 };

static struct rules ordinary_rules(void)
{
	return (struct rules){
		.after = 3,
		.recover = 2,
		.latency_warning_us = 300000,
		.latency_critical_us = 1000000,
		.latency_phase = PHASE_TOTAL,
		.latency_after = 3,
		.certificate = true,
		.certificate_warning = { .percent = 25, .left_s = 21 * S_PER_DAY },
		.certificate_critical = { .percent = 10, .left_s = 7 * S_PER_DAY },
	};
}

/* + well, - refused, t timeout, h half of the addresses, ! trouble of our own */
static void probe(char what, size_t nth, struct result *result)
{
	result_init(result, 1);
	result->started_unix_us = (START_S + (int64_t)nth * EVERY_S) * US_PER_S;
	result->phase_us[PHASE_TOTAL] = 1000;
	result->reason = what == '-' ? REASON_CONNECT_REFUSED :
			 what == 't' ? REASON_CONNECT_TIMEOUT :
			 what == 'h' ? REASON_SOME_ADDRESSES :
			 what == '!' ? REASON_LOCAL_ERROR :
				       REASON_OK;
}

/* What people would see after each probe: ? pending, o ok, W warning, C critical, u unknown; O, w and c: the next probe
 * comes soon, because a failure or a recovery is unconfirmed. */
static char seen(const struct rules *rules, const struct standing *standing)
{
	const bool soon = evaluator_wants_recheck(rules, standing);

	switch (standing->checks[CHECK_AVAILABILITY].level) {
	case LEVEL_CRITICAL:
		return soon ? 'c' : 'C';
	case LEVEL_WARNING:
		return soon ? 'w' : 'W';
	case LEVEL_UNKNOWN:
		return 'u';
	default:
		return soon ? 'O' : standing->judged ? 'o' : '?';
	}
}

struct availability_row {
	const char *what;
	const char *probes;
	const char *levels;
	const char *changes; /* levels of what opens or changes (C, w), ends (o), gets another reason (=) */
};

static const struct availability_row availability_rows[] = {
	{ "all is well", "++++", "oooo", "" },
	{ "third in a row", "++---", "ooOOC", "C" },
	{ "down from the start", "---", "OOC", "C" },
	{ "two failures are not three", "+--+--+", "oOOoOOo", "" },
	{ "a second success confirms", "---++", "OOCco", "Co" },
	{ "one success does not", "---+-+-", "OOCcCcC", "C" },
	{ "down stays down without a word", "------", "OOCCCC", "C" },
	{ "another reason is told to nobody, but noted", "---tt", "OOCCC", "C=" },
	{ "two outages", "---++---++", "OOCcoOOCco", "CoCo" },
	{ "our own trouble neither confirms", "+--!-", "oOOOC", "C" },
	{ "nor clears", "---!!!!", "OOCCCCC", "C" },
	{ "but three of it and we do not know", "+!!!", "ooou", "" },
	{ "one success and we know again", "+!!!+", "ooouo", "" },
	{ "from unknown to down", "+!!!---", "ooouuuC", "C" },
	{ "nothing but our own trouble", "!!", "??", "" },
	{ "one of two addresses is a warning", "+hhh", "oOOW", "w" },
	{ "then both are well", "hhh++", "OOWwo", "wo" },
	{ "then both are down", "hhh---", "OOWwwC", "wC" },
	{ "then one of them is back", "---hh", "OOCcW", "Cw" },
	{ "one back, one not, as before", "---h-h", "OOCcCc", "C" },
	{ "down, or half down: three in a row at least are bad", "-h-h", "OOwW", "w=" },
	{ "our own trouble does not end a warning", "hhh!!!!", "OOWWWWW", "w" },
	{ "from down through half down to well", "---hh++", "OOCcWwo", "Cwo" },
};

START_TEST(test_availability)
{
	const struct availability_row *row = &availability_rows[_i];
	const struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	char levels[32] = "", told[32] = "";
	size_t told_count = 0;

	for (size_t i = 0; row->probes[i] != '\0'; i++) {
		struct result result;
		struct changes changes;

		const enum level before = standing.checks[CHECK_AVAILABILITY].level;

		probe(row->probes[i], i, &result);
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		levels[i] = seen(&rules, &standing);
		for (size_t j = 0; j < changes.count; j++) {
			const struct change *change = &changes.list[j];

			if (!change->quiet)
				told[told_count++] = before == change->level ? '=' :
						     change->level == LEVEL_OK	     ? 'o' :
						     change->level == LEVEL_WARNING  ? 'w' :
										       'C';
		}
	}
	ck_assert_msg(strcmp(levels, row->levels) == 0, "%s: %s gives %s, not %s", row->what, row->probes, levels,
		      row->levels);
	ck_assert_msg(strcmp(told, row->changes) == 0, "%s: %s tells %s, not %s", row->what, row->probes, told,
		      row->changes);
	standing_done(&standing);
}
END_TEST

/* Ten minutes of our own trouble open an incident, unless a self incident explains it; ended by `recover` successes. */
START_TEST(test_lasting_unknown)
{
	const struct rules rules = ordinary_rules();
	const bool explained = _i == 1;
	struct standing standing = { 0 };
	struct result result;
	struct changes changes;
	size_t opened = 0;
	size_t i = 0;

	for (; i < 30; i++) {
		probe('!', i, &result);
		evaluator_next(&rules, &standing, &result, explained, result.started_unix_us, &changes);
		for (size_t j = 0; j < changes.count; j++)
			if (!changes.list[j].quiet) {
				opened++;
				ck_assert_int_eq(changes.list[j].level, LEVEL_UNKNOWN);
				/* Since the first probe that departed, told when 600 s had gone. */
				ck_assert_int_eq(changes.list[j].since_unix_us, START_S * US_PER_S);
				ck_assert_uint_eq(i, UNKNOWN_OPENS_AFTER_S / EVERY_S);
			}
	}
	ck_assert_uint_eq(opened, explained ? 0 : 1);
	probe('+', i++, &result);
	evaluator_next(&rules, &standing, &result, explained, result.started_unix_us, &changes);
	ck_assert_uint_eq(changes.count, explained ? 1 : 0);
	probe('+', i++, &result);
	evaluator_next(&rules, &standing, &result, explained, result.started_unix_us, &changes);
	ck_assert_int_eq(standing.checks[CHECK_AVAILABILITY].level, LEVEL_OK);
	if (!explained) {
		ck_assert_uint_eq(changes.count, 1);
		ck_assert(!changes.list[0].quiet);
	}
}
END_TEST

START_TEST(test_since_is_the_first_failure)
{
	const struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	struct result result;
	struct changes changes;

	for (size_t i = 0; i < 5; i++) {
		probe("++---"[i], i, &result);
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
	}
	ck_assert_uint_eq(changes.count, 1);
	ck_assert_int_eq(changes.list[0].since_unix_us, (START_S + 2 * EVERY_S) * US_PER_S);
	ck_assert_int_eq(changes.list[0].reason, REASON_CONNECT_REFUSED);
}
END_TEST

/* Latency: f fast, s over the warning, S over the critical threshold, - a failed probe. Levels o w C. */
struct latency_row {
	const char *what;
	const char *probes;
	const char *levels;
};

static const struct latency_row latency_rows[] = {
	{ "fast", "ffff", "oooo" },
	{ "slow three times in a row", "fsss", "ooow" },
	{ "one fast value breaks the row", "ssfss", "ooooo" },
	{ "a failed probe has no value", "ss-s", "ooow" },
	{ "very slow", "SSS", "ooC" },
	{ "a row of both is at least slow", "sSs", "oow" },
	{ "worse", "sssSSS", "oowwwC" },
	{ "better, then well", "SSSssff", "ooCCwwo" },
	{ "straight back", "SSSff", "ooCCo" },
	{ "fast again takes two", "sssfsff", "oowwwwo" },
};

START_TEST(test_latency)
{
	const struct latency_row *row = &latency_rows[_i];
	const struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	char levels[32] = "";

	for (size_t i = 0; row->probes[i] != '\0'; i++) {
		struct result result;
		struct changes changes;

		probe(row->probes[i], i, &result);
		if (row->probes[i] != '-')
			result.phase_us[PHASE_TOTAL] = row->probes[i] == 'f' ? 1000 :
						       row->probes[i] == 's' ? 300000 :
									       2000000;
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		levels[i] = "ow?C"[standing.checks[CHECK_LATENCY].level];
	}
	ck_assert_msg(strcmp(levels, row->levels) == 0, "%s: %s gives %s, not %s", row->what, row->probes, levels,
		      row->levels);
}
END_TEST

START_TEST(test_latency_of_a_phase_and_without_thresholds)
{
	struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	struct result result;
	struct changes changes;

	rules.latency_phase = PHASE_TLS;
	for (size_t i = 0; i < 5; i++) {
		probe('+', i, &result);
		result.phase_us[PHASE_TOTAL] = 5000000;
		result.phase_us[PHASE_TLS] = 200000;
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		ck_assert_uint_eq(changes.count, 0);
	}
	rules.latency_phase = PHASE_TOTAL;
	rules.latency_warning_us = 0;
	rules.latency_critical_us = 0;
	for (size_t i = 0; i < 5; i++) {
		probe('+', i, &result);
		result.phase_us[PHASE_TOTAL] = 5000000;
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		ck_assert_uint_eq(changes.count, 0);
	}
}
END_TEST

/* + as required, v another version, a another protocol, . no handshake. Levels: o, w. */
struct tls_row {
	const char *what;
	const char *probes;
	const char *levels;
	const char *changes; /* v and a: opened or changed with that reason, o: ended */
};

static const struct tls_row tls_rows[] = {
	{ "as required", "+++", "ooo", "" },
	{ "third in a row", "+vvvv", "oooww", "v" },
	{ "two are not three", "vv+vv+", "oooooo", "" },
	{ "a failed handshake says nothing", "vv..v", "oooow", "v" },
	{ "two successes end it", "vvv+v++", "oowwwwo", "vo" },
	{ "another reason is noted", "vvvaa", "oowww", "va" },
};

START_TEST(test_tls)
{
	const struct tls_row *row = &tls_rows[_i];
	struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	char levels[32] = "", told[32] = "";
	size_t told_count = 0;

	rules.certificate = false;
	rules.tls_required = true;
	rules.tls_level = LEVEL_WARNING;
	for (size_t i = 0; row->probes[i] != '\0'; i++) {
		struct result result;
		struct changes changes;

		probe('+', i, &result);
		result.certificate.agreed = row->probes[i] != '.';
		result.certificate.tls = row->probes[i] == 'v' ? REASON_TLS_VERSION :
					 row->probes[i] == 'a' ? REASON_TLS_ALPN :
								 REASON_OK;
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		levels[i] = "ow?C"[standing.checks[CHECK_TLS].level];
		for (size_t j = 0; j < changes.count; j++)
			if (changes.list[j].check == CHECK_TLS)
				told[told_count++] = changes.list[j].reason == REASON_TLS_VERSION ? 'v' :
						     changes.list[j].reason == REASON_TLS_ALPN	  ? 'a' :
												    'o';
	}
	ck_assert_msg(strcmp(levels, row->levels) == 0, "%s: %s gives %s, not %s", row->what, row->probes, levels,
		      row->levels);
	ck_assert_msg(strcmp(told, row->changes) == 0, "%s: %s tells %s, not %s", row->what, row->probes, told,
		      row->changes);
}
END_TEST

/* Certificates */

struct bound_row {
	const char *what;
	int64_t lifetime_days;
	int64_t left_hours;
	enum level level;
	enum reason reason;
};

/* 25% or 21 days, 10% or 7 days: the smaller counts. */
static const struct bound_row bound_rows[] = {
	{ "a year, half of it left", 365, 180 * 24, LEVEL_OK, REASON_OK },
	{ "a year, 22 days left", 365, 22 * 24, LEVEL_OK, REASON_OK },
	{ "a year, 20 days left", 365, 20 * 24, LEVEL_WARNING, REASON_CERT_EXPIRING },
	{ "a year, 6 days left", 365, 6 * 24, LEVEL_CRITICAL, REASON_CERT_EXPIRING },
	{ "ninety days, 22 left: 25% is 22.5, but 21 days are smaller", 90, 22 * 24, LEVEL_OK, REASON_OK },
	{ "ninety days, 20 left", 90, 20 * 24, LEVEL_WARNING, REASON_CERT_EXPIRING },
	{ "47 days, 12 left: 25% is 11.75", 47, 12 * 24, LEVEL_OK, REASON_OK },
	{ "47 days, 11 left", 47, 11 * 24, LEVEL_WARNING, REASON_CERT_EXPIRING },
	{ "47 days, 4 left: 10% is 4.7", 47, 4 * 24, LEVEL_CRITICAL, REASON_CERT_EXPIRING },
	{ "six days, 2 left: 25% is 1.5", 6, 48, LEVEL_OK, REASON_OK },
	{ "six days, 30 hours left", 6, 30, LEVEL_WARNING, REASON_CERT_EXPIRING },
	{ "six days, 14 hours left: 10% is 14.4", 6, 14, LEVEL_CRITICAL, REASON_CERT_EXPIRING },
	{ "expired an hour ago", 90, -1, LEVEL_CRITICAL, REASON_CERT_EXPIRED },
};

static struct certificate certificate_of(uint8_t id, int64_t lifetime_days, int64_t left_hours)
{
	struct certificate certificate = {
		.present = true,
		.not_after_unix_s = START_S + left_hours * 3600,
		.not_before_unix_s = START_S + left_hours * 3600 - lifetime_days * S_PER_DAY,
		.chain_not_after_unix_s = INT64_MAX,
	};

	certificate.fingerprint[0] = id;
	return certificate;
}

START_TEST(test_certificate_bounds)
{
	const struct bound_row *row = &bound_rows[_i];
	const struct rules rules = ordinary_rules();
	const struct certificate certificate = certificate_of(1, row->lifetime_days, row->left_hours);
	enum reason reason;
	const enum level level = evaluator_judge_certificate(&rules, &certificate, START_S, &reason);

	ck_assert_msg(level == row->level && reason == row->reason, "%s: %s %s", row->what, level_name(level),
		      reason_name(reason));
}
END_TEST

START_TEST(test_certificate_chain_and_verdict)
{
	struct rules rules = ordinary_rules();
	struct certificate certificate = certificate_of(1, 90, 80 * 24);
	enum reason reason;

	/* A CA of ten years: 25% of that must not alarm, 20 days must. */
	certificate.chain_not_after_unix_s = START_S + 400 * S_PER_DAY;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_OK);
	certificate.chain_not_after_unix_s = START_S + 20 * S_PER_DAY;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_WARNING);
	rules.certificate_leaf_only = true;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_OK);
	certificate.verdict = REASON_CERT_HOSTNAME;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_CRITICAL);
	ck_assert_int_eq(reason, REASON_CERT_HOSTNAME);
}
END_TEST

struct finding_row {
	const char *what;
	enum reason verdict;
	enum reason weak_leaf;
	enum reason weak_chain;
	int64_t left_days;
	int64_t chain_left_days;
	bool leaf_only;
	enum level weak;
	enum level level;
	enum reason reason;
};

#define OK REASON_OK
#define WEAK REASON_CERT_WEAK_KEY
#define SHA1 REASON_CERT_WEAK_SIGNATURE

/* Of ninety days, with an authority of years. */
static const struct finding_row finding_rows[] = {
	{ "nothing", OK, OK, OK, 80, 400, false, LEVEL_WARNING, LEVEL_OK, OK },
	{ "a weak key is a warning", OK, WEAK, OK, 80, 400, false, LEVEL_WARNING, LEVEL_WARNING, WEAK },
	{ "or critical", OK, WEAK, OK, 80, 400, false, LEVEL_CRITICAL, LEVEL_CRITICAL, WEAK },
	{ "or all the same", OK, WEAK, SHA1, 80, 400, false, LEVEL_OK, LEVEL_OK, OK },
	{ "a weak authority", OK, OK, SHA1, 80, 400, false, LEVEL_WARNING, LEVEL_WARNING, SHA1 },
	{ "is not the leaf", OK, OK, SHA1, 80, 400, true, LEVEL_WARNING, LEVEL_OK, OK },
	{ "the leaf comes first", OK, WEAK, SHA1, 80, 400, false, LEVEL_WARNING, LEVEL_WARNING, WEAK },
	{ "expiring comes before weak", OK, WEAK, OK, 20, 400, false, LEVEL_WARNING, LEVEL_WARNING,
	  REASON_CERT_EXPIRING },
	{ "but not before worse", OK, WEAK, OK, 20, 400, false, LEVEL_CRITICAL, LEVEL_CRITICAL, WEAK },
	{ "what clients refuse comes first", REASON_CERT_UNTRUSTED, WEAK, OK, 5, 400, false, LEVEL_CRITICAL,
	  LEVEL_CRITICAL, REASON_CERT_UNTRUSTED },
	{ "an expired authority has expired", OK, OK, OK, 80, -1, false, LEVEL_WARNING, LEVEL_CRITICAL,
	  REASON_CERT_EXPIRED },
	{ "an authority that ends", OK, OK, OK, 80, 5, false, LEVEL_WARNING, LEVEL_CRITICAL,
	  REASON_CERT_EXPIRING },
};

START_TEST(test_revocation)
{
	const struct rules rules = ordinary_rules();
	struct certificate certificate = certificate_of(1, 90, 80 * 24);
	enum reason reason;

	certificate.revocation = REASON_CERT_REVOKED;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_CRITICAL);
	ck_assert_int_eq(reason, REASON_CERT_REVOKED);
	certificate.revocation = REASON_CERT_REVOCATION_UNKNOWN;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_WARNING);
	ck_assert_int_eq(reason, REASON_CERT_REVOCATION_UNKNOWN);
	certificate = certificate_of(1, 90, 20 * 24);
	certificate.revocation = REASON_CERT_REVOCATION_UNKNOWN;
	ck_assert_int_eq(evaluator_judge_certificate(&rules, &certificate, START_S, &reason), LEVEL_WARNING);
	ck_assert_int_eq(reason, REASON_CERT_EXPIRING);
}
END_TEST

/* Found out beside the probes: at once, without a handshake, and until another finding. */
START_TEST(test_revocation_found_later)
{
	const int64_t now_us = START_S * US_PER_S;
	struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	struct changes changes;
	struct result result;
	const uint8_t other[FINGERPRINT_BYTES] = { 99 };

	result_init(&result, 1);
	result.started_unix_us = now_us;
	result.certificate = certificate_of(1, 90, 80 * 24);
	evaluator_next(&rules, &standing, &result, false, now_us, &changes);
	ck_assert_uint_eq(changes.count, 0);
	const uint8_t *fingerprint = result.certificate.fingerprint;

	ck_assert_int_eq(standing_certificate(&standing, fingerprint)->first_seen_unix_us, now_us);
	ck_assert_ptr_null(standing_certificate(&standing, other));
	ck_assert(!evaluator_set_revocation(&rules, &standing, fingerprint, REASON_OK, now_us + 1, &changes));
	ck_assert(!evaluator_set_revocation(&rules, &standing, other, REASON_CERT_REVOKED, now_us + 1, &changes));
	ck_assert(evaluator_set_revocation(&rules, &standing, fingerprint, REASON_CERT_REVOCATION_UNKNOWN,
					   now_us + 2, &changes));
	ck_assert_uint_eq(changes.count, 1);
	ck_assert_int_eq(changes.list[0].level, LEVEL_WARNING);
	ck_assert_int_eq(changes.list[0].since_unix_us, now_us + 2);
	ck_assert_mem_eq(changes.list[0].certificate->fingerprint, fingerprint, FINGERPRINT_BYTES);
	ck_assert(evaluator_set_revocation(&rules, &standing, fingerprint, REASON_CERT_REVOKED, now_us + 3,
					   &changes));
	ck_assert_uint_eq(changes.count, 1);
	ck_assert_int_eq(changes.list[0].level, LEVEL_CRITICAL);
	ck_assert_int_eq(changes.list[0].reason, REASON_CERT_REVOKED);
	ck_assert_int_eq(standing.checks[CHECK_CERTIFICATE].level, LEVEL_CRITICAL);
	ck_assert(evaluator_set_revocation(&rules, &standing, fingerprint, REASON_OK, now_us + 4, &changes));
	ck_assert_uint_eq(changes.count, 1);
	ck_assert_int_eq(changes.list[0].level, LEVEL_OK);
	rules.certificate = false;
	ck_assert(!evaluator_set_revocation(&rules, &standing, fingerprint, REASON_CERT_REVOKED, now_us + 5,
					    &changes));
	standing_done(&standing);
}
END_TEST

START_TEST(test_the_worst_finding_decides)
{
	const struct finding_row *row = &finding_rows[_i];
	struct rules rules = ordinary_rules();
	struct certificate certificate = certificate_of(1, 90, row->left_days * 24);
	enum reason reason;
	enum level level;

	rules.certificate_leaf_only = row->leaf_only;
	rules.certificate_weak = row->weak;
	certificate.verdict = row->verdict;
	certificate.weak_leaf = row->weak_leaf;
	certificate.weak_chain = row->weak_chain;
	certificate.chain_not_after_unix_s = START_S + row->chain_left_days * S_PER_DAY;
	level = evaluator_judge_certificate(&rules, &certificate, START_S, &reason);
	ck_assert_msg(level == row->level && reason == row->reason, "%s: %s %s", row->what, level_name(level),
		      reason_name(reason));
}
END_TEST

/* Certificates that come one after the other, each "issuer bits begin names..."; what is told of each, "|" between. */
struct change_row {
	const char *what;
	enum certificate_changes changes;
	const char *shown[6];
	const char *told;
	const char *explained;
};

static const struct change_row change_rows[] = {
	{ "the first one is no change", CHANGES_ALL, { "A 128 1 x.a" }, "-", "-" },
	{ "a renewal is nothing unusual", CHANGES_UNUSUAL, { "A 128 1 x.a", "A 128 2 x.a" }, "-|-", "-|-" },
	{ "but one of all", CHANGES_ALL, { "A 128 1 x.a", "A 128 2 x.a" }, "-|another one from the same issuer",
	  "-|-" },
	{ "nobody is told", CHANGES_IGNORE, { "A 128 1 x.a", "B 80 0 y.a" }, "-|-", "-|-" },
	{ "another issuer", CHANGES_UNUSUAL, { "A 128 1 x.a", "B 128 2 x.a" }, "-|another issuer",
	  "-|issued by CN=B instead of CN=A" },
	{ "is told once", CHANGES_UNUSUAL, { "A 128 1 x.a", "B 128 2 x.a", "A 128 1 x.a", "B 128 2 x.a" },
	  "-|another issuer|-|-", NULL },
	{ "and again when it has left the set", CHANGES_UNUSUAL,
	  { "A 128 1 x.a", "B 128 2 x.a", "B 128 2 x.a", "A 128 1 x.a" },
	  "-|another issuer|-|another issuer, an old certificate is back", NULL },
	{ "a weaker key", CHANGES_UNUSUAL, { "A 128 1 x.a", "A 112 2 x.a" }, "-|a weaker key",
	  "-|a key of 112 bits of strength instead of 128" },
	{ "a name lost", CHANGES_UNUSUAL, { "A 128 1 x.a y.a", "A 128 2 x.a" }, "-|a name lost",
	  "-|no longer for y.a" },
	{ "names lost", CHANGES_UNUSUAL, { "A 128 1 a b c d e f g", "A 128 2 g" }, "-|names lost",
	  "-|no longer for a, b, c, d, e and 1 more" },
	{ "a name gained", CHANGES_UNUSUAL, { "A 128 1 x.a", "A 128 2 X.a y.a" }, "-|-", "-|-" },
	{ "a wildcard covers one label", CHANGES_UNUSUAL, { "A 128 1 x.a", "A 128 2 *.a", "A 128 3 *.b.a" },
	  "-|-|a name lost", NULL },
	{ "an old one is back", CHANGES_UNUSUAL, { "A 128 5 x.a", "A 128 2 x.a" },
	  "-|an old certificate is back", NULL },
	{ "everything at once", CHANGES_UNUSUAL, { "A 128 5 x.a", "B 80 2 y.a" },
	  "-|another issuer, a weaker key, a name lost, an old certificate is back", NULL },
	{ "two nodes: the new one is like one of them", CHANGES_UNUSUAL,
	  { "A 128 1 x.a", "B 112 2 x.a y.a", "A 128 1 x.a", "B 112 3 x.a" },
	  "-|another issuer, a weaker key|-|-", NULL },
	{ "without facts nothing is unusual", CHANGES_UNUSUAL, { "A 128 1 x.a", "?" }, "-|-", "-|-" },
	{ "but another one it is", CHANGES_ALL, { "A 128 1 x.a", "?" }, "-|another one from the same issuer",
	  "-|-" },
};

/* NULL for "?". The caller: tls_facts_free(). */
static struct tls_facts *facts_of(const char *text)
{
	struct tls_facts *facts = mem_new(struct tls_facts);
	AUTO(string) char *words = mem_strdup(text);
	char *rest = words;
	const char *issuer = strsep(&rest, " ");
	struct certificate_facts *leaf;
	char *name;

	if (strcmp(text, "?") == 0) {
		free(facts);
		return NULL;
	}
	facts->chain = mem_array(1, sizeof(*facts->chain));
	facts->chain_count = 1;
	leaf = facts->chain;
	leaf->issuer = mem_printf("CN=%s", issuer);
	leaf->subject = mem_strdup("CN=leaf");
	leaf->strength_bits = atoi(strsep(&rest, " "));
	leaf->not_before_unix_s = START_S + atoi(strsep(&rest, " ")) * S_PER_DAY;
	leaf->sans = mem_array(10, sizeof(*leaf->sans));
	while ((name = strsep(&rest, " ")) != NULL)
		leaf->sans[leaf->san_count++] = mem_printf("DNS:%s", name);
	leaf->san_total = leaf->san_count;
	return facts;
}

START_TEST(test_changes_of_the_certificate)
{
	const struct change_row *row = &change_rows[_i];
	struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	AUTO(str) struct str told = { 0 };
	AUTO(str) struct str explained = { 0 };

	rules.certificate_changes = row->changes;
	for (size_t i = 0; i < 6 && row->shown[i] != NULL; i++) {
		struct result result;
		struct changes changes;

		probe('+', i, &result);
		result.certificate = certificate_of(0, 90, 80 * 24);
		str_hex((const uint8_t *)row->shown[i], strlen(row->shown[i]) < 15 ? strlen(row->shown[i]) : 15,
			(char *)result.certificate.fingerprint);
		result.facts = facts_of(row->shown[i]);
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		str_addf(&told, "%s%s", i > 0 ? "|" : "", changes.certificate_change ?: "-");
		str_addf(&explained, "%s%s", i > 0 ? "|" : "", changes.certificate_explanation ?: "-");
		changes_done(&changes);
		result_done(&result);
	}
	ck_assert_msg(strcmp(told.data, row->told) == 0, "%s: %s", row->what, told.data);
	ck_assert_msg(row->explained == NULL || strcmp(explained.data, row->explained) == 0, "%s: %s", row->what,
		      explained.data);
	standing_done(&standing);
}
END_TEST

/* Which certificate each handshake shows: g good, w expiring, x expired, . no handshake. */
struct set_row {
	const char *what;
	const char *shown;
	const char *levels;
	size_t dropped;
};

static const struct set_row set_rows[] = {
	{ "good", "ggg", "ooo", 0 },
	{ "expired at once", "x", "C", 0 },
	{ "two nodes with two certificates do not flap", "gxgxgxgx", "oCCCCCCC", 0 },
	{ "renewed: the old one is gone after two handshakes", "wwgg", "wwwo", 1 },
	{ "a failed handshake says nothing", "w....", "wwwww", 0 },
	{ "from expiring to expired and back", "wxxgg", "wCCCo", 2 },
	{ "what was not shown for a while cannot raise the level", "Ggg", "ooo", 1 },
};

START_TEST(test_certificate_set)
{
	const struct set_row *row = &set_rows[_i];
	const struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	char levels[32] = "";
	size_t dropped = 0;

	for (size_t i = 0; row->shown[i] != '\0'; i++) {
		struct result result;
		struct changes changes;

		probe('+', i, &result);
		if (row->shown[i] != '.')
			result.certificate = certificate_of((uint8_t)row->shown[i], 90,
							    row->shown[i] == 'g' ? 80 * 24 :
							    row->shown[i] == 'w' ? 12 * 24 :
							    row->shown[i] == 'G' ? 24 * 24 :
										   -24);
		/* G is good when it is shown, and long over at the next handshake. */
		if (i > 0 && row->shown[0] == 'G') {
			result.started_unix_us += 40 * S_PER_DAY * US_PER_S;
			result.certificate.not_after_unix_s += 40 * S_PER_DAY;
			result.certificate.not_before_unix_s += 40 * S_PER_DAY;
		}
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		levels[i] = "ow?C"[standing.checks[CHECK_CERTIFICATE].level];
		dropped += changes.dropped_count;
	}
	ck_assert_msg(strcmp(levels, row->levels) == 0, "%s: %s gives %s, not %s", row->what, row->shown, levels,
		      row->levels);
	ck_assert_uint_eq(dropped, row->dropped);
	standing_done(&standing);
}
END_TEST

/* A balancer with more certificates than we keep must not grow our memory. */
START_TEST(test_certificate_set_is_bounded)
{
	struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	struct result result;
	struct changes changes;

	rules.recover = 1000;
	for (size_t i = 0; i < 200; i++) {
		probe('+', i, &result);
		result.certificate = certificate_of((uint8_t)i, 90, 80 * 24);
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
		ck_assert_uint_le(standing.certificate_count, CERTIFICATE_SET_MAX);
		ck_assert_ptr_nonnull(changes.added);
	}
	standing_done(&standing);
}
END_TEST

START_TEST(test_reset_keeps_levels_and_starts_rows_anew)
{
	const struct rules rules = ordinary_rules();
	struct standing standing = { 0 };
	struct result result;
	struct changes changes;

	for (size_t i = 0; i < 4; i++) {
		probe("---+"[i], i, &result);
		evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
	}
	standing_reset_windows(&standing);
	ck_assert_int_eq(standing.checks[CHECK_AVAILABILITY].level, LEVEL_CRITICAL);
	probe('+', 4, &result);
	evaluator_next(&rules, &standing, &result, false, result.started_unix_us, &changes);
	ck_assert_uint_eq(changes.count, 0); /* the success before the change does not count */
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("evaluator");
	TCase *tests = tcase_create("evaluator");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_availability, 0, ROWS(availability_rows));
	tcase_add_loop_test(tests, test_lasting_unknown, 0, 2);
	tcase_add_test(tests, test_since_is_the_first_failure);
	tcase_add_loop_test(tests, test_latency, 0, ROWS(latency_rows));
	tcase_add_test(tests, test_latency_of_a_phase_and_without_thresholds);
	tcase_add_loop_test(tests, test_certificate_bounds, 0, ROWS(bound_rows));
	tcase_add_loop_test(tests, test_tls, 0, (int)(sizeof(tls_rows) / sizeof(tls_rows[0])));
	tcase_add_loop_test(tests, test_changes_of_the_certificate, 0,
			    (int)(sizeof(change_rows) / sizeof(change_rows[0])));
	tcase_add_test(tests, test_revocation);
	tcase_add_test(tests, test_revocation_found_later);
	tcase_add_test(tests, test_certificate_chain_and_verdict);
	tcase_add_loop_test(tests, test_the_worst_finding_decides, 0,
			    (int)(sizeof(finding_rows) / sizeof(finding_rows[0])));
	tcase_add_loop_test(tests, test_certificate_set, 0, ROWS(set_rows));
	tcase_add_test(tests, test_certificate_set_is_bounded);
	tcase_add_test(tests, test_reset_keeps_levels_and_starts_rows_anew);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
