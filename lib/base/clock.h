/* SPDX-License-Identifier: MIT */
/*
 * clock - the two clocks. Monotonic (CLOCK_MONOTONIC) for scheduling, timeouts and latency; wall (CLOCK_REALTIME)
 * only for certificates and what people read. Pure code gets the time as an argument and never calls these.
 */
#ifndef PORTBELL_BASE_CLOCK_H
#define PORTBELL_BASE_CLOCK_H

#include <stdint.h>

#define US_PER_MS INT64_C(1000)
#define US_PER_S INT64_C(1000000)
#define MS_PER_S INT64_C(1000)
#define S_PER_DAY INT64_C(86400)

/* One moment on both clocks. */
struct now {
	int64_t mono_us;
	int64_t unix_us;
};

int64_t clock_mono_us(void);
int64_t clock_unix_us(void);
struct now clock_now(void);

#endif
