/* SPDX-License-Identifier: MIT */
#include "lib/base/histogram.h"

/*
 * Buckets 0..15 hold one microsecond each. From there on an octave [2^e, 2^(e+1)) has 16 buckets of 2^(e-4):
 * index = (e - 3) * 16 + the four bits after the leading one. What is beyond the last octave counts in the last bucket.
 */
enum { BUCKETS_PER_OCTAVE = 16, FIRST_OCTAVE = 4 };

static int bucket_of(int64_t value_us)
{
	int octave;
	int index;

	if (value_us < BUCKETS_PER_OCTAVE)
		return (int)value_us;
	octave = 63 - __builtin_clzll((unsigned long long)value_us);
	index = (octave - FIRST_OCTAVE + 1) * BUCKETS_PER_OCTAVE +
		(int)((value_us >> (octave - FIRST_OCTAVE)) & (BUCKETS_PER_OCTAVE - 1));
	return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static int64_t upper_edge_us(int index)
{
	int octave;
	int64_t within;

	if (index < BUCKETS_PER_OCTAVE)
		return index;
	if (index == HISTOGRAM_BUCKETS - 1)
		return INT64_MAX;
	octave = index / BUCKETS_PER_OCTAVE - 1 + FIRST_OCTAVE;
	within = index % BUCKETS_PER_OCTAVE;
	return ((BUCKETS_PER_OCTAVE + within + 1) << (octave - FIRST_OCTAVE)) - 1;
}

static void count_in(uint32_t *bucket, uint32_t more)
{
	*bucket = *bucket > UINT32_MAX - more ? UINT32_MAX : *bucket + more;
}

void histogram_add(struct histogram *histogram, int64_t value_us)
{
	if (value_us < 0)
		value_us = 0;
	histogram->count++;
	histogram->sum_us += value_us;
	if (value_us > histogram->max_us)
		histogram->max_us = value_us;
	count_in(&histogram->buckets[bucket_of(value_us)], 1);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	into->sum_us += from->sum_us;
	if (from->max_us > into->max_us)
		into->max_us = from->max_us;
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		count_in(&into->buckets[i], from->buckets[i]);
}

/* ceil(percent of count), at least 1; a product like 99.9 x 1000 must not round up past its rank. */
static uint64_t nearest_rank(uint64_t count, double percent)
{
	double exact = percent * (double)count / 100.0;
	uint64_t rank;

	if (exact <= 1)
		return 1;
	if (exact >= (double)count)
		return count;
	rank = (uint64_t)exact;
	return exact - (double)rank > 1e-6 ? rank + 1 : rank;
}

int64_t histogram_percentile_us(const struct histogram *histogram, double percent)
{
	uint64_t rank;
	uint64_t seen = 0;

	if (histogram->count == 0)
		return 0;
	rank = nearest_rank(histogram->count, percent);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank) {
			int64_t edge_us = upper_edge_us(i);

			return edge_us < histogram->max_us ? edge_us : histogram->max_us;
		}
	}
	return histogram->max_us;
}
