/* SPDX-License-Identifier: MIT */
/* Trust sets, contexts, and what each target offers and requires. */
#include <string.h>

#include "daemon/loader_private.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

/* The system's store takes time and memory, and may not be there: only where a target asks for it. */
static bool trust_is_used(const struct config *config, size_t trust)
{
	for (size_t i = 0; i < config->target_count; i++)
		if (config->targets[i].tls && config->targets[i].trust == trust)
			return true;
	return config->trust[trust].file_count > 0;
}

/* One for each entry of config->trust; NULL where its files cannot be used, which the report says, or need not be. */
static struct tls_trust **build_trusts(const struct config *config, struct report *report, bool *good)
{
	struct tls_trust **trusts = mem_array(config->trust_count, sizeof(struct tls_trust *));

	*good = true;
	for (size_t i = 0; i < config->trust_count; i++) {
		const struct trust_config *trust = &config->trust[i];
		struct error err;

		if (!trust_is_used(config, i))
			continue;
		trusts[i] = tls_trust_new((const char *const *)trust->files, trust->file_count, &err);
		if (trusts[i] != NULL)
			continue;
		*good = false;
		report_add(report, false, trust->where != NULL ? trust->where : config->file,
			   trust->path != NULL ? trust->path : "", "%s", err.text);
	}
	return trusts;
}

static void free_trusts(struct tls_trust **trusts, size_t count)
{
	for (size_t i = 0; trusts != NULL && i < count; i++)
		tls_trust_free(trusts[i]);
	free(trusts);
}

bool loader_check_files(const struct config *config, struct report *report)
{
	bool good;
	struct tls_trust **trusts = build_trusts(config, report, &good);

	free_trusts(trusts, config->trust_count);
	return good;
}

bool loader_tls_build(struct generation *generation, struct report *report)
{
	const struct config *config = generation->config;
	bool good;

	generation->contexts =
		mem_array(generation->prober_count * config->trust_count + 1, sizeof(struct tls_context *));
	generation->offers = mem_array(config->target_count + 1, sizeof(struct tls_offer *));
	generation->trusts = build_trusts(config, report, &good);
	return good;
}

static struct tls_context *context_of(struct generation *generation, struct tls_domain *const *domains, int prober,
				      size_t trust, struct error *err)
{
	struct tls_context **context =
		&generation->contexts[(size_t)prober * generation->config->trust_count + trust];

	if (*context == NULL)
		*context = tls_context_new(domains[prober], generation->trusts[trust], err);
	return *context;
}

/* Most targets offer all that there is, and need no list of it. */
static bool make_offer(const struct target_config *target, struct tls_offer **offer, struct error *err)
{
	if (target->max_version == TLS_1_3 && target->ciphers == NULL && target->alpn_count == 0)
		return true;
	*offer = tls_offer_new(target->max_version, target->ciphers, (const char *const *)target->alpn,
			       target->alpn_count, err);
	return *offer != NULL;
}

bool loader_tls_plan(struct generation *generation, struct tls_domain *const *domains, size_t index, struct plan *plan,
		     struct report *report)
{
	const struct target_config *target = &generation->config->targets[index];
	struct tls_offer **offer = &generation->offers[index];
	struct error err;

	plan->tls = context_of(generation, domains, generation->watches[index].prober, target->trust, &err);
	if (plan->tls == NULL || !make_offer(target, offer, &err)) {
		report_add(report, false, target->where, target->name, "%s", err.text);
		return false;
	}
	plan->wish = (struct tls_wish){
		.server_name = target->server_name,
		.verify = target->rules.verify,
		.offer = *offer,
		.pins = (const uint8_t (*)[PIN_BYTES])target->pins,
		.pin_count = target->pin_count,
		.staple = target->rules.certificate && target->revocation == REVOCATION_STAPLE,
	};
	if (target->rules.tls_required)
		plan->wish.require = (struct tls_requirement){
			.version = target->require.version,
			.alpn = target->require.alpn,
		};
	return true;
}

void loader_tls_free(struct generation *generation)
{
	const struct config *config = generation->config;

	for (size_t i = 0; generation->contexts != NULL && i < generation->prober_count * config->trust_count; i++)
		tls_context_free(generation->contexts[i]);
	for (size_t i = 0; generation->offers != NULL && i < config->target_count; i++)
		tls_offer_free(generation->offers[i]);
	free_trusts(generation->trusts, config->trust_count);
	free(generation->contexts);
	free(generation->offers);
}

bool loader_tls_check_ciphers(const char *text, struct error *err)
{
	struct tls_offer *offer = tls_offer_new(TLS_1_3, text, NULL, 0, err);

	tls_offer_free(offer);
	return offer != NULL;
}
