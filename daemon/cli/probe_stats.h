/* SPDX-License-Identifier: MIT */
/*
 * probe_stats - many probes of one target in figures, as mtr has them: how many were lost, and for each phase the
 * least, the mean, percentiles by the nearest rank, the most and the standard deviation of those that were not
 * lost. Pure.
 */
#ifndef PORTBELL_CLI_PROBE_STATS_H
#define PORTBELL_CLI_PROBE_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/json.h"
#include "lib/base/words.h"

struct probe_series {
	int64_t *values_us;
	size_t count;
	size_t capacity;
};

struct probe_stats {
	size_t sent;
	size_t lost; /* no good end of the connection */
	struct probe_series series[PHASE_COUNT];
};

struct probe_figures {
	int64_t min_us, avg_us, p50_us, p95_us, p99_us, max_us, deviation_us;
};

void probe_stats_add(struct probe_stats *stats, const struct json *probe);
/* False: no value. Sorts the series. */
bool probe_stats_figures(struct probe_stats *stats, enum phase phase, struct probe_figures *figures);
void probe_stats_write(struct json_writer *w, struct probe_stats *stats); /* the value of "summary" */
void probe_stats_done(struct probe_stats *stats);

#endif
