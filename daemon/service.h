/* SPDX-License-Identifier: MIT */
/*
 * service - what systemd hears from us (sd_notify(3), Type=notify). Silent when NOTIFY_SOCKET is not set.
 */
#ifndef PORTBELL_SERVICE_H
#define PORTBELL_SERVICE_H

#include <stdint.h>

void service_ready(void);
void service_reloading(int64_t mono_us);          /* RELOADING=1 with MONOTONIC_USEC; service_ready() ends it */
void service_stopping(void);
void service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Half of WatchdogSec in us, 0 = no watchdog asked for. */
int64_t service_watchdog_us(void);
void service_watchdog(void);                      /* WATCHDOG=1 */

#endif
