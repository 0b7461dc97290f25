/* SPDX-License-Identifier: MIT */
#include "daemon/probe/plan.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/config/config.h"

/* Most targets take none of these: their probes need not look. */
static bool has_a_way(const struct target_config *target)
{
	return target->family != FAMILY_AUTO || target->resolve_count > 0 || target->source.text != NULL ||
	       target->proxy.kind != PROXY_KIND_NONE || target->proxy_protocol.version != PROXY_HEADER_NONE;
}

void plan_set(struct plan *plan, const struct target_config *target)
{
	*plan = (struct plan){
		.previous = -1,
		.spread = str_hash(target->name, strlen(target->name), 0),
		.host = target->host,
		.literal = target->literal,
		.port = target->port,
		.interval_us = target->interval_ms * US_PER_MS,
		.timeout_us = target->timeout_ms * US_PER_MS,
		.recheck_us = target->recheck_ms * US_PER_MS,
		.wish = { .server_name = target->server_name, .verify = target->rules.verify },
		.way = has_a_way(target) ? target : NULL,
		.starttls = target->starttls,
		.ehlo = target->ehlo,
		.expected = target->expected,
		.all_addresses = target->all_addresses,
		.need = (uint8_t)target->need,
		.paused = target->paused,
	};
}
