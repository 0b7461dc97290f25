/* SPDX-License-Identifier: MIT */
#include "lib/eval/addresses.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { DETAIL_NAMED_MAX = 5 };

static bool is_bad(const struct result *result)
{
	return result->reason != REASON_OK && !reason_is_ours(result->reason);
}

/* The reason that most of those have for which `counts` holds; of several the first. */
static const struct result *most_common(const struct result *single, size_t count, bool counts(const struct result *))
{
	const struct result *common = NULL;
	size_t most = 0;

	for (size_t i = 0; i < count; i++) {
		size_t same = 0;

		if (!counts(&single[i]))
			continue;
		for (size_t j = 0; j < count; j++)
			same += single[j].reason == single[i].reason;
		if (same > most) {
			most = same;
			common = &single[i];
		}
	}
	return common;
}

static bool is_not_good(const struct result *result)
{
	return result->reason != REASON_OK;
}

/* The system had no room for its socket: nobody looked, and it passes. A way that is missing stays so. */
static bool is_starved(const struct result *result)
{
	const int number = result->error_number;

	return result->reason == REASON_LOCAL_ERROR &&
	       (number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM);
}

static const struct result *slowest(const struct result *single, size_t count)
{
	const struct result *slowest = &single[0];

	for (size_t i = 1; i < count; i++) {
		const bool good = single[i].reason == REASON_OK;
		const bool better = good == (slowest->reason == REASON_OK) ?
					    single[i].phase_us[PHASE_TOTAL] > slowest->phase_us[PHASE_TOTAL] :
					    good;

		if (better)
			slowest = &single[i];
	}
	return slowest;
}

static int64_t first_end_unix_s(const struct certificate *certificate)
{
	return certificate->not_after_unix_s < certificate->chain_not_after_unix_s ?
		       certificate->not_after_unix_s :
		       certificate->chain_not_after_unix_s;
}

/* Of what is wrong with it, and is not its end, the parts that are at most a warning or as the rules say. */
static int count_flaws(const struct certificate *certificate)
{
	return (certificate->revocation != REASON_OK) + (certificate->weak_leaf != REASON_OK) +
	       (certificate->weak_chain != REASON_OK) + (certificate->tls != REASON_OK);
}

/* The same one may be shown by all and yet be worth less at one: without a staple, or with an old version of TLS. */
static bool is_worth_less(const struct certificate *a, const struct certificate *b)
{
	if (!b->present || !a->present)
		return a->present && !b->present;
	if ((a->verdict == REASON_OK) != (b->verdict == REASON_OK))
		return a->verdict != REASON_OK;
	if ((a->revocation == REASON_CERT_REVOKED) != (b->revocation == REASON_CERT_REVOKED))
		return a->revocation == REASON_CERT_REVOKED;
	if (first_end_unix_s(a) != first_end_unix_s(b))
		return first_end_unix_s(a) < first_end_unix_s(b);
	return count_flaws(a) > count_flaws(b);
}

static struct result *worst_certificate(struct result *single, size_t count)
{
	struct result *worst = &single[0];

	for (size_t i = 1; i < count; i++)
		if (is_worth_less(&single[i].certificate, &worst->certificate))
			worst = &single[i];
	return worst;
}

/* What was agreed on is judged apart from the certificate: the first that is not as required counts for all. */
static void take_agreed(const struct result *single, size_t count, struct certificate *certificate)
{
	for (size_t i = 0; i < count && certificate->tls == REASON_OK; i++) {
		if (single[i].certificate.agreed == 0)
			continue;
		certificate->tls = single[i].certificate.tls;
		if (certificate->agreed == 0)
			certificate->agreed = single[i].certificate.agreed;
	}
}

/* "192.0.2.8: connection refused; 192.0.2.9: ...": those that are not good. */
static char *describe(const struct result *single, size_t count)
{
	struct str text = { 0 };
	size_t named = 0, left = 0;
	char address[ADDRESS_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (!is_bad(&single[i]))
			continue;
		if (named == DETAIL_NAMED_MAX) {
			left++;
			continue;
		}
		address_print_ip(&single[i].address, address);
		str_addf(&text, "%s%s: %s", named > 0 ? "; " : "", address, reason_text(single[i].reason));
		named++;
	}
	if (left > 0)
		str_addf(&text, "; and %zu more", left);
	return text.bytes > 0 ? str_take(&text) : NULL;
}

static void fill_list(struct result *single, size_t count, struct result *result)
{
	result->addresses = mem_array(count, sizeof(*result->addresses));
	result->address_count = count;
	for (size_t i = 0; i < count; i++)
		result->addresses[i] = (struct address_result){
			.address = single[i].address,
			.reason = single[i].reason,
			.phase = single[i].phase,
			.total_us = single[i].phase_us[PHASE_TOTAL],
			.certificate = single[i].certificate,
			.detail = TAKE(single[i].detail),
		};
}

static void take_numbers(const struct result *from, struct result *result)
{
	const int64_t dns_us = result->phase_us[PHASE_DNS];

	memcpy(result->phase_us, from->phase_us, sizeof(result->phase_us));
	result->phase_us[PHASE_DNS] = dns_us;
	if (dns_us > 0)
		result->phase_us[PHASE_TOTAL] += dns_us;
	result->rtt_us = from->rtt_us;
	result->rtt_variance_us = from->rtt_variance_us;
}

/* Who speaks for all: the address that the reason is about, else the slowest one. */
static const struct result *judge(const struct result *single, size_t count, size_t need, struct result *result)
{
	const struct result *bad = most_common(single, count, is_bad);
	size_t good = 0, known = 0;

	for (size_t i = 0; i < count; i++) {
		good += single[i].reason == REASON_OK;
		known += !reason_is_ours(single[i].reason);
	}
	if (need == 0 || need > known)
		need = known;
	if (known == 0)
		bad = most_common(single, count, is_not_good);
	if (bad == NULL)
		bad = most_common(single, count, is_starved);
	if (bad == NULL) {
		result->reason = REASON_OK;
		return slowest(single, count);
	}
	result->reason = is_bad(bad) && good > 0 && good >= need ? REASON_SOME_ADDRESSES : bad->reason;
	return bad;
}

void addresses_merge(struct result *single, size_t count, size_t need, struct result *result)
{
	const struct result *speaker = judge(single, count, need, result);
	struct result *shown = worst_certificate(single, count);

	result->address = speaker->address;
	result->phase = result->reason == REASON_OK ? PHASE_TOTAL : speaker->phase;
	result->error_number = result->reason == REASON_OK ? 0 : speaker->error_number;
	result->detail = describe(single, count);
	if (result->detail == NULL && speaker->detail != NULL)
		result->detail = mem_strdup(speaker->detail);
	result->certificate = shown->certificate;
	take_agreed(single, count, &result->certificate);
	result->facts = TAKE(shown->facts);
	take_numbers(slowest(single, count), result);
	for (size_t i = 0; i < count; i++) {
		result->retransmits += single[i].retransmits;
		result->bytes_sent += single[i].bytes_sent;
		result->bytes_received += single[i].bytes_received;
	}
	fill_list(single, count, result);
	for (size_t i = 0; i < count; i++)
		result_done(&single[i]);
}
