/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"

enum { DETAIL_BYTES = 256 };

/* The name that is looked up now, and with which port its addresses are used. */
static const char *question(const struct probe *probe, uint16_t *port)
{
	const struct plan *plan = probe->plan;

	*port = probe->asks_for_proxy ? plan->way->proxy.port : plan->port;
	return probe->asks_for_proxy ? plan->way->proxy.host : plan->host;
}

/* 0: any. A connection to a proxy, too, is made from the source. */
static uint8_t wanted_family(const struct probe *probe)
{
	const struct target_config *way = probe->plan->way;

	if (way == NULL)
		return 0;
	if (probe->asks_for_proxy && way->source.address.family != 0)
		return way->source.address.family;
	return way->family == FAMILY_AUTO ? 0 : way->family == FAMILY_IPV4 ? 4 : 6;
}

static void take_addresses(struct probe *probe, const struct address *addresses, size_t count)
{
	const uint8_t family = wanted_family(probe);
	uint16_t port;

	question(probe, &port);
	probe->address_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (family != 0 && addresses[i].family != family)
			continue;
		probe->addresses[probe->address_count] = addresses[i];
		probe->addresses[probe->address_count++].port = port;
	}
	if (probe->address_count == 0 && count > 0)
		probe->result.detail = mem_printf("it has no IPv%d address", family);
}

static void on_found(const struct found *found, void *arg)
{
	struct probe *probe = arg;

	probe->lookup = NULL;
	probe->lookup_state = LOOKUP_ANSWERED;
	probe->lookup_status = found->status;
	probe->lookup_cached = found->cached;
	if (found->status == LOOKUP_OK)
		take_addresses(probe, found->addresses, found->address_count);
	else if (found->text != NULL)
		probe->result.detail = str_clean(found->text, strlen(found->text), DETAIL_BYTES);
	stream_trace_note(probe, "%zu address%s%s%s", probe->address_count, probe->address_count == 1 ? "" : "es",
			  probe->result.detail != NULL ? ": " : "",
			  probe->result.detail != NULL ? probe->result.detail : "");
	probe_resume(probe);
}

void dns_ask(struct probe *probe)
{
	/* Our own deadline comes first; the lookup's is a little behind, so that both cannot race. */
	int64_t left_ms = (probe->deadline_us - probe->now_us) / US_PER_MS + 2;
	uint16_t port;

	probe->lookup_state = LOOKUP_ASKED;
	probe->lookup = resolver_start(probe->loop->resolver, question(probe, &port), left_ms > 0 ? left_ms : 1,
				       on_found, probe);
}

/* Without its proxy's address nothing is known of the target. */
static enum step dns_failed(struct probe *probe, enum reason reason)
{
	probe->result.reason = reason;
	if (probe->asks_for_proxy)
		probe_blame_proxy(probe);
	return STEP_FAILED;
}

static enum step dns_answered(struct probe *probe)
{
	switch (probe->lookup_status) {
	case LOOKUP_OK:
		if (probe->address_count == 0)
			return dns_failed(probe, REASON_DNS_NOT_FOUND);
		return probe->lookup_cached ? STEP_SKIPPED : STEP_DONE;
	case LOOKUP_NOT_FOUND:
		return dns_failed(probe, REASON_DNS_NOT_FOUND);
	case LOOKUP_TIMEOUT:
		return dns_failed(probe, REASON_DNS_TIMEOUT);
	case LOOKUP_FAILED:
		break;
	}
	return dns_failed(probe, REASON_DNS_FAILED);
}

void dns_time_out(struct probe *probe)
{
	probe_fail(probe, REASON_DNS_TIMEOUT, 0, "no answer before the end of the probe");
	if (probe->asks_for_proxy)
		probe_blame_proxy(probe);
}

/* The addresses of what is asked for now; skipped where none has to be looked up. */
static enum step look_up(struct probe *probe, const struct address *known, size_t known_count)
{
	if (known_count > 0) {
		take_addresses(probe, known, known_count);
		return STEP_SKIPPED;
	}
	if (probe->lookup_state == LOOKUP_NOT_ASKED)
		dns_ask(probe);
	return probe->lookup_state == LOOKUP_ANSWERED ? dns_answered(probe) : STEP_WAIT;
}

static enum step look_up_target(struct probe *probe)
{
	const struct plan *plan = probe->plan;
	const struct target_config *way = plan->way;

	if (probe->role == PROBE_MEMBER) /* it was given its address */
		return STEP_SKIPPED;
	if (way != NULL && way->resolve_count > 0)
		return look_up(probe, way->resolve, way->resolve_count);
	/* Other proxies look the name up themselves. */
	if (way != NULL && way->proxy.kind != PROXY_KIND_NONE && way->proxy.kind != PROXY_KIND_SOCKS5)
		return STEP_SKIPPED;
	return look_up(probe, &plan->literal, plan->literal.family != 0);
}

static enum step look_up_proxy(struct probe *probe)
{
	const struct proxy_config *proxy = &probe->plan->way->proxy;

	return look_up(probe, &proxy->literal, proxy->literal.family != 0);
}

/* First the target, then the proxy if there is one: its addresses are then those that are connected to. */
enum step phase_dns(struct probe *probe)
{
	enum step step;

	if (!probe->asks_for_proxy) {
		step = look_up_target(probe);
		if (step == STEP_WAIT || step == STEP_FAILED || probe->role == PROBE_LEADER ||
		    probe->plan->way == NULL || probe->plan->way->proxy.kind == PROXY_KIND_NONE)
			return step;
		probe->looked_up = step == STEP_DONE;
		if (probe->address_count > 0)
			probe->behind_proxy = probe->addresses[0];
		probe->asks_for_proxy = true;
		probe->lookup_state = LOOKUP_NOT_ASKED;
	}
	step = look_up_proxy(probe);
	return step == STEP_SKIPPED && probe->looked_up ? STEP_DONE : step;
}
