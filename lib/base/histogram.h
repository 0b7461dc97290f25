/* SPDX-License-Identifier: MIT */
/*
 * histogram - counts of durations in log-linear buckets (16 per octave: within 6.25%), 1 us to about 19 hours.
 * A plain value: copy, merge and clear it freely.
 */
#ifndef PORTBELL_BASE_HISTOGRAM_H
#define PORTBELL_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 33 * 16 };

struct histogram {
	uint64_t count;
	int64_t sum_us;
	int64_t max_us;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, int64_t value_us); /* below 0 counts as 0 */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The upper edge of the bucket that holds the nearest-rank percentile, at most max_us; 0 if empty. */
int64_t histogram_percentile_us(const struct histogram *histogram, double percent);

#endif
