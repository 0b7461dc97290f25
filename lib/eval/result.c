/* SPDX-License-Identifier: MIT */
#include "lib/eval/result.h"

#include <string.h>

#include "lib/base/mem.h"

void result_init(struct result *result, uint32_t target_id)
{
	memset(result, 0, sizeof(*result));
	result->target_id = target_id;
	result->reason = REASON_OK;
	result->phase = PHASE_TOTAL;
	for (int i = 0; i < PHASE_COUNT; i++)
		result->phase_us[i] = -1;
	result->rtt_us = -1;
	result->rtt_variance_us = -1;
}

void result_done(struct result *result)
{
	free(TAKE(result->detail));
	tls_facts_free(TAKE(result->facts));
	for (size_t i = 0; i < result->address_count; i++)
		free(result->addresses[i].detail);
	free(TAKE(result->addresses));
	result->address_count = 0;
	free(TAKE(result->step_us));
	result->step_count = 0;
}

void result_move(struct result *to, struct result *from)
{
	*to = *from;
	from->detail = NULL;
	from->facts = NULL;
	from->addresses = NULL;
	from->address_count = 0;
	from->step_us = NULL;
	from->step_count = 0;
}

static void certificate_facts_done(struct certificate_facts *facts)
{
	free(facts->subject);
	free(facts->issuer);
	free(facts->serial);
	for (size_t i = 0; i < facts->san_count; i++)
		free(facts->sans[i]);
	free(facts->sans);
	free(facts->key);
	free(facts->signature);
}

void certificate_facts_free(struct certificate_facts *chain, size_t count)
{
	for (size_t i = 0; i < count; i++)
		certificate_facts_done(&chain[i]);
	free(chain);
}

void inquiry_free(struct inquiry *inquiry)
{
	if (inquiry == NULL)
		return;
	for (size_t i = 0; i < inquiry->crl_url_count; i++)
		free(inquiry->crl_urls[i]);
	free(inquiry->ocsp_url);
	free(inquiry->ocsp_request);
	free(inquiry->issuer);
	free(inquiry);
}

void tls_facts_free(struct tls_facts *facts)
{
	if (facts == NULL)
		return;
	certificate_facts_free(facts->chain, facts->chain_count);
	certificate_facts_free(facts->verified, facts->verified_count);
	free(facts->version);
	free(facts->cipher);
	free(facts->group);
	free(facts->alpn);
	free(facts->verify_text);
	free(facts->tls_text);
	free(facts->staple_text);
	free(facts->revocation_text);
	inquiry_free(facts->inquiry);
	free(facts->weak_text);
	free(facts);
}
