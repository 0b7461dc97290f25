/* SPDX-License-Identifier: MIT */
/*
 * plan - from a target's configuration to what its probe does. Pure.
 * Owns: nothing; the plan lends all it points to from the target.
 */
#ifndef PORTBELL_PROBE_PLAN_H
#define PORTBELL_PROBE_PLAN_H

#include "daemon/probe/probe.h"

struct target_config;

/* All but what a configuration does not have: id, predecessor, TLS context, compiled exchange. */
void plan_set(struct plan *plan, const struct target_config *target);

#endif
