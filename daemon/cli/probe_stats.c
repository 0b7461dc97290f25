/* SPDX-License-Identifier: MIT */
#include "daemon/cli/probe_stats.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

void probe_stats_add(struct probe_stats *stats, const struct json *probe)
{
	const struct json *phases = json_get(probe, "phases");
	const struct json *availability = json_get(json_get(probe, "checks"), check_name(CHECK_AVAILABILITY));

	stats->sent++;
	if (!str_equal(json_get_string(availability, "level"), level_name(LEVEL_OK))) {
		stats->lost++;
		return;
	}
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++) {
		struct probe_series *series = &stats->series[phase];
		const double seconds = json_get_number(phases, phase_name(phase), -1);

		if (seconds < 0)
			continue;
		series->values_us = mem_grow(series->values_us, &series->capacity, series->count + 1,
					     sizeof(*series->values_us));
		series->values_us[series->count++] = (int64_t)(seconds * 1e6 + 0.5);
	}
}

static int compare(const void *a, const void *b)
{
	const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

/* The smallest value that so many percent of all do not exceed. */
static int64_t percentile(const struct probe_series *series, size_t percent)
{
	const size_t rank = (series->count * percent + 99) / 100;

	return series->values_us[rank > 0 ? rank - 1 : 0];
}

/* By Newton's way, which needs no library; 64 rounds are plenty for what microseconds can be. */
static int64_t square_root(double square)
{
	double root = square > 1 ? square : 1;

	for (int i = 0; i < 64; i++)
		root = (root + square / root) / 2;
	return (int64_t)(root + 0.5);
}

bool probe_stats_figures(struct probe_stats *stats, enum phase phase, struct probe_figures *figures)
{
	struct probe_series *series = &stats->series[phase];
	double sum = 0, squares = 0, mean;

	if (series->count == 0)
		return false;
	qsort(series->values_us, series->count, sizeof(*series->values_us), compare);
	for (size_t i = 0; i < series->count; i++)
		sum += (double)series->values_us[i];
	mean = sum / (double)series->count;
	for (size_t i = 0; i < series->count; i++)
		squares += ((double)series->values_us[i] - mean) * ((double)series->values_us[i] - mean);
	*figures = (struct probe_figures){
		.min_us = series->values_us[0],
		.avg_us = (int64_t)(mean + 0.5),
		.p50_us = percentile(series, 50),
		.p95_us = percentile(series, 95),
		.p99_us = percentile(series, 99),
		.max_us = series->values_us[series->count - 1],
		.deviation_us = square_root(squares / (double)series->count),
	};
	return true;
}

void probe_stats_write(struct json_writer *w, struct probe_stats *stats)
{
	const double lost = stats->sent > 0 ? (double)stats->lost / (double)stats->sent : 0;
	AUTO(string) char *loss = mem_printf("%.2f", 100 * lost);
	struct probe_figures figures;

	json_object(w);
	json_key_int(w, "sent", (int64_t)stats->sent);
	json_key_int(w, "lost", (int64_t)stats->lost);
	json_key(w, "loss_percent");
	json_raw(w, loss);
	json_key(w, "phases");
	json_object(w);
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++) {
		if (!probe_stats_figures(stats, phase, &figures))
			continue;
		json_key(w, phase_name(phase));
		json_object(w);
		json_key_seconds(w, "min", figures.min_us);
		json_key_seconds(w, "avg", figures.avg_us);
		json_key_seconds(w, "p50", figures.p50_us);
		json_key_seconds(w, "p95", figures.p95_us);
		json_key_seconds(w, "p99", figures.p99_us);
		json_key_seconds(w, "max", figures.max_us);
		json_key_seconds(w, "deviation", figures.deviation_us);
		json_object_end(w);
	}
	json_object_end(w);
	json_object_end(w);
}

void probe_stats_done(struct probe_stats *stats)
{
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++)
		free(stats->series[phase].values_us);
	*stats = (struct probe_stats){ 0 };
}
