/* SPDX-License-Identifier: MIT */
#include "lib/base/clock.h"

#include <time.h>

static int64_t read_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

int64_t clock_unix_us(void)
{
	return read_us(CLOCK_REALTIME);
}

struct now clock_now(void)
{
	return (struct now){ .mono_us = clock_mono_us(), .unix_us = clock_unix_us() };
}
