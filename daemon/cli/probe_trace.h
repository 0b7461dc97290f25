/* SPDX-License-Identifier: MIT */
/*
 * probe_trace - what was said in a probe, as lines for people: when, in which phase, by whom. Pure.
 * Secrets: what is sent to a proxy with a login, and steps of an exchange that the user has not typed in, are only
 *          counted.
 */
#ifndef PORTBELL_CLI_PROBE_TRACE_H
#define PORTBELL_CLI_PROBE_TRACE_H

#include <stdbool.h>

#include "daemon/probe/probe.h"
#include "lib/base/str.h"

struct trace_style {
	bool hide_proxy;    /* there is a login for it */
	bool hide_exchange; /* it came from a file */
	bool addresses;	    /* several at the same time: each line says whose it is */
};

void probe_trace(struct str *out, const struct probe_trace *trace, const struct trace_style *style);

#endif
