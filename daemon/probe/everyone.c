/* SPDX-License-Identifier: MIT */
/* All addresses of a name, each with a probe of its own, at the same time and under one deadline. */
#include <string.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/mem.h"
#include "lib/eval/addresses.h"

/* The deadline is the members'; the leader's own comes behind it, so that it never ends before they have reported. */
enum { GRACE_US = 100 * 1000 };

struct member {
	struct probe *leader;
	struct probe *probe; /* NULL: it has reported */
	struct result result;
};

static void member_done(struct probe *probe, struct result *result, void *arg)
{
	struct member *member = arg;
	struct probe *leader = member->leader;

	(void)probe;
	member->probe = NULL;
	result_move(&member->result, result);
	if (--leader->members_left == 0)
		probe_resume(leader);
}

static void start_all(struct probe *leader)
{
	leader->member_count = leader->address_count;
	leader->members_left = leader->member_count;
	leader->members = mem_array(leader->member_count, sizeof(*leader->members));
	for (size_t i = 0; i < leader->member_count; i++) {
		struct member *member = &leader->members[i];

		member->leader = leader;
		member->probe = probe_start_member(leader, &leader->addresses[i], member_done, member);
	}
	leader->deadline_us += GRACE_US;
}

static enum step all_done(struct probe *leader)
{
	struct result single[RESOLVER_ADDRESSES_MAX];

	for (size_t i = 0; i < leader->member_count; i++)
		result_move(&single[i], &leader->members[i].result);
	addresses_merge(single, leader->member_count, leader->plan->need, &leader->result);
	leader->total_us = leader->result.phase_us[PHASE_TOTAL];
	return leader->result.reason == REASON_OK ? STEP_SKIPPED : STEP_FAILED;
}

enum step phase_everyone(struct probe *probe)
{
	if (probe->members == NULL)
		start_all(probe);
	return probe->members_left == 0 ? all_done(probe) : STEP_WAIT;
}

void everyone_end(struct probe *probe)
{
	for (size_t i = 0; i < probe->member_count; i++) {
		probe_cancel(TAKE(probe->members[i].probe));
		result_done(&probe->members[i].result);
	}
	free(TAKE(probe->members));
	probe->member_count = 0;
}
