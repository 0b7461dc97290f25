/* SPDX-License-Identifier: MIT */
#include "daemon/service.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { STATUS_MAX_BYTES = 512 };

void service_ready(void)
{
	sd_notify(0, "READY=1");
}

void service_reloading(int64_t mono_us)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, mono_us);
}

void service_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void service_status(const char *format, ...)
{
	AUTO(str) struct str text = { 0 };
	AUTO(string) char *clean = NULL;
	va_list args;

	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	/* A line end in the text would begin another assignment. */
	clean = str_clean(text.data != NULL ? text.data : "", text.bytes, STATUS_MAX_BYTES);
	sd_notifyf(0, "STATUS=%s", clean);
}

int64_t service_watchdog_us(void)
{
	uint64_t limit_us = 0;

	return sd_watchdog_enabled(0, &limit_us) > 0 ? (int64_t)(limit_us / 2) : 0;
}

void service_watchdog(void)
{
	sd_notify(0, "WATCHDOG=1");
}
