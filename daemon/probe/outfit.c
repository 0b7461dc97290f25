/* SPDX-License-Identifier: MIT */
#include "daemon/probe/outfit.h"

#include <string.h>

#include "daemon/probe/plan.h"
#include "daemon/probe/probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/eval/evaluator.h"
#include "lib/io/tls.h"
#include "lib/proto/exchange.h"
#include "lib/proto/expect.h"

struct outfit {
	const struct config *config;
	struct tls_domain *const *domains;
	size_t domain_count;
	struct tls_trust **trusts;      /* by index of config->trust */
	struct tls_client **clients;    /* by index of config->clients; the first is NULL */
	struct exchange_plan **exchanges; /* by index of config->exchanges; the first is NULL */
	struct expect **patterns;       /* by index of config->patterns; the first is NULL */
	struct tls_context **contexts;  /* [(domain * trust_count + trust) * client_count + client]; NULL where no
					 * target needs it */
	struct tls_offer **offers;      /* by index of config->targets; NULL where it is all */
};

/* The system's store takes time and memory, and may not be there: only where a target asks for it. */
static bool trust_is_used(const struct config *config, size_t trust)
{
	for (size_t i = 0; i < config->target_count; i++)
		if (config->targets[i].tls && config->targets[i].trust == trust)
			return true;
	return config->trust[trust].file_count > 0;
}

/* One for each entry of config->trust; NULL where its files cannot be used, as the report says, or need not be. */
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

/* One for each entry of config->clients; NULL for the first, and where its files cannot be used, as reported. */
static struct tls_client **build_clients(const struct config *config, struct report *report, bool *good)
{
	struct tls_client **clients = mem_array(config->client_count, sizeof(struct tls_client *));

	for (size_t i = 1; i < config->client_count; i++) {
		const struct client_config *client = &config->clients[i];
		struct error err;

		clients[i] = tls_client_new(client->certificate_file, client->key_file, client->password, &err);
		if (clients[i] != NULL)
			continue;
		*good = false;
		report_add(report, false, client->where, client->path, "%s: %s", err.where, err.text);
	}
	return clients;
}

static void free_clients(struct tls_client **clients, size_t count)
{
	for (size_t i = 0; clients != NULL && i < count; i++)
		tls_client_free(clients[i]);
	free(clients);
}

/* One for each entry of config->patterns; NULL for the first, and where it is none, which the report says. */
static struct expect **build_patterns(const struct config *config, struct report *report, bool *good)
{
	struct expect **patterns = mem_array(config->pattern_count, sizeof(struct expect *));

	for (size_t i = 1; i < config->pattern_count; i++) {
		const struct pattern_config *pattern = &config->patterns[i];
		struct error err;

		patterns[i] = expect_new(pattern->text, &err);
		if (patterns[i] != NULL)
			continue;
		*good = false;
		report_add(report, false, pattern->where, pattern->path, "%s", err.text);
	}
	return patterns;
}

static void free_patterns(struct expect **patterns, size_t count)
{
	for (size_t i = 0; patterns != NULL && i < count; i++)
		expect_free(patterns[i]);
	free(patterns);
}

/* One for each entry of config->exchanges; NULL for the first, and where there is a mistake, which the report says. */
static struct exchange_plan **build_exchanges(const struct config *config, struct report *report, bool *good)
{
	struct exchange_plan **plans = mem_array(config->exchange_count, sizeof(struct exchange_plan *));

	for (size_t i = 1; i < config->exchange_count; i++) {
		const struct exchange_config *exchange = &config->exchanges[i];
		struct error err;
		size_t bad;

		plans[i] = exchange_plan_new(exchange->steps, exchange->count, &bad, &err);
		if (plans[i] != NULL)
			continue;
		*good = false;
		report_add(report, false, exchange->steps[bad].where, exchange->steps[bad].path, "%s", err.text);
	}
	return plans;
}

static void free_exchanges(struct exchange_plan **plans, size_t count)
{
	for (size_t i = 0; plans != NULL && i < count; i++)
		exchange_plan_free(plans[i]);
	free(plans);
}

bool outfit_check(const struct config *config, struct report *report)
{
	bool good;
	struct tls_trust **trusts = build_trusts(config, report, &good);
	struct tls_client **clients = build_clients(config, report, &good);
	struct expect **patterns = build_patterns(config, report, &good);
	struct exchange_plan **exchanges = build_exchanges(config, report, &good);

	free_exchanges(exchanges, config->exchange_count);
	free_patterns(patterns, config->pattern_count);
	free_clients(clients, config->client_count);
	free_trusts(trusts, config->trust_count);
	return good;
}

static size_t context_count(const struct outfit *outfit)
{
	return outfit->domain_count * outfit->config->trust_count * outfit->config->client_count;
}

struct outfit *outfit_new(const struct config *config, struct tls_domain *const *domains, size_t domain_count,
			  struct report *report)
{
	struct outfit *outfit = mem_new(struct outfit);
	bool good;

	outfit->config = config;
	outfit->domains = domains;
	outfit->domain_count = domain_count;
	outfit->contexts = mem_array(context_count(outfit) + 1, sizeof(struct tls_context *));
	outfit->offers = mem_array(config->target_count + 1, sizeof(struct tls_offer *));
	outfit->trusts = build_trusts(config, report, &good);
	outfit->clients = build_clients(config, report, &good);
	outfit->patterns = build_patterns(config, report, &good);
	outfit->exchanges = build_exchanges(config, report, &good);
	if (good)
		return outfit;
	outfit_free(outfit);
	return NULL;
}

static struct tls_context *context_of(struct outfit *outfit, size_t domain, const struct target_config *target,
				      struct error *err)
{
	const struct config *config = outfit->config;
	const size_t row = domain * config->trust_count + target->trust;
	struct tls_context **context = &outfit->contexts[row * config->client_count + target->client];

	if (*context == NULL)
		*context = tls_context_new(outfit->domains[domain], outfit->trusts[target->trust],
					   outfit->clients[target->client], err);
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

static struct tls_pattern pattern_of(const struct outfit *outfit, size_t index)
{
	return (struct tls_pattern){ outfit->patterns[index], outfit->config->patterns[index].text };
}

static bool plan_tls(struct outfit *outfit, size_t domain, size_t index, struct plan *plan, struct report *report)
{
	const struct target_config *target = &outfit->config->targets[index];
	struct tls_offer **offer = &outfit->offers[index];
	struct error err;

	plan->tls = context_of(outfit, domain, target, &err);
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
		.issuer = pattern_of(outfit, target->issuer),
		.staple = target->rules.certificate && target->revocation == REVOCATION_STAPLE,
		.inquiry = target->rules.certificate &&
			   (target->revocation == REVOCATION_CRL || target->revocation == REVOCATION_OCSP),
	};
	if (target->rules.tls_required)
		plan->wish.require = (struct tls_requirement){
			.version = target->require.version,
			.alpn = target->require.alpn,
			.ciphers = pattern_of(outfit, target->require.ciphers),
			.group = pattern_of(outfit, target->require.group),
		};
	return true;
}

bool outfit_plan(struct outfit *outfit, size_t domain, size_t index, struct plan *plan, struct report *report)
{
	const struct target_config *target = &outfit->config->targets[index];

	plan_set(plan, target);
	plan->exchange = outfit->exchanges[target->exchange];
	plan->tls_in_exchange = plan->exchange != NULL && exchange_plan_starts_tls(plan->exchange);
	return !target->tls || plan_tls(outfit, domain, index, plan, report);
}

void outfit_free(struct outfit *outfit)
{
	const struct config *config;

	if (outfit == NULL)
		return;
	config = outfit->config;
	for (size_t i = 0; i < context_count(outfit); i++)
		tls_context_free(outfit->contexts[i]);
	for (size_t i = 0; i < config->target_count; i++)
		tls_offer_free(outfit->offers[i]);
	free_exchanges(outfit->exchanges, config->exchange_count);
	free_patterns(outfit->patterns, config->pattern_count);
	free_clients(outfit->clients, config->client_count);
	free_trusts(outfit->trusts, config->trust_count);
	free(outfit->contexts);
	free(outfit->offers);
	free(outfit);
}

char *outfit_own_trouble(const struct outfit *outfit, int64_t now_unix_s)
{
	static const struct expiry_bound bound = { .percent = 25, .left_s = 21 * S_PER_DAY };
	struct str text = { 0 };

	for (size_t i = 1; i < outfit->config->client_count; i++) {
		int64_t from_unix_s;
		int64_t end_unix_s;

		tls_client_validity(outfit->clients[i], &from_unix_s, &end_unix_s);
		if (end_unix_s - now_unix_s >= evaluator_bound_s(&bound, end_unix_s - from_unix_s))
			continue;
		str_addf(&text, "%s%s %s ", text.bytes > 0 ? "; " : "",
			 outfit->config->clients[i].certificate_file,
			 end_unix_s < now_unix_s ? "has ended on" : "ends on");
		str_add_time(&text, end_unix_s * US_PER_S);
	}
	return text.bytes > 0 ? str_take(&text) : NULL;
}

bool outfit_check_ciphers(const char *text, struct error *err)
{
	struct tls_offer *offer = tls_offer_new(TLS_1_3, text, NULL, 0, err);

	tls_offer_free(offer);
	return offer != NULL;
}
