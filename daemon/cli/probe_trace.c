/* SPDX-License-Identifier: MIT */
#include "daemon/cli/probe_trace.h"

#include <string.h>

#include "lib/base/mem.h"

enum { LINE_MAX_BYTES = 256, SHOWN_MAX_BYTES = 2048 };

static void add_head(struct str *out, const struct probe_trace *trace, const struct trace_style *style)
{
	static const char *const arrows[] = {
		[PROBE_TRACE_NOTE] = "*", [PROBE_TRACE_SENT] = ">", [PROBE_TRACE_RECEIVED] = "<"
	};
	AUTO(str) struct str time = { 0 };
	char address[ADDRESS_TEXT_BYTES];

	str_add_duration(&time, trace->at_us);
	str_addf(out, "%9s  ", time.data);
	if (style->addresses) {
		address_print(trace->address, address);
		str_addf(out, "%-21s  ", address);
	}
	str_addf(out, "%-8s %s %s ", trace->phase == PHASE_TOTAL ? "goodbye" : phase_name(trace->phase),
		 trace->secure ? "tls" : "   ", arrows[trace->kind]);
}

static bool is_hidden(const struct probe_trace *trace, const struct trace_style *style)
{
	if (trace->kind != PROBE_TRACE_SENT || trace->message)
		return false;
	return trace->phase == PHASE_PROXY ? style->hide_proxy :
					     trace->phase == PHASE_EXCHANGE && style->hide_exchange;
}

/* A line of the peer's is a line here. */
static void add_data(struct str *out, const struct probe_trace *trace, const struct trace_style *style)
{
	const size_t shown = trace->bytes < SHOWN_MAX_BYTES ? trace->bytes : SHOWN_MAX_BYTES;
	size_t at = 0;

	while (at < shown) {
		const char *end = memchr(trace->data + at, '\n', shown - at);
		size_t bytes = end != NULL ? (size_t)(end - trace->data) + 1 - at : shown - at;

		if (bytes > LINE_MAX_BYTES)
			bytes = LINE_MAX_BYTES;
		add_head(out, trace, style);
		str_add_clean(out, trace->data + at, bytes, bytes);
		str_add_char(out, '\n');
		at += bytes;
	}
	if (shown < trace->bytes) {
		add_head(out, trace, style);
		str_addf(out, "(%zu bytes more)\n", trace->bytes - shown);
	}
}

void probe_trace(struct str *out, const struct probe_trace *trace, const struct trace_style *style)
{
	AUTO(string) char *clean = NULL;

	if (is_hidden(trace, style)) {
		add_head(out, trace, style);
		str_addf(out, "(%zu bytes, hidden)\n", trace->bytes);
	} else if (trace->message) {
		clean = str_clean(trace->data, trace->bytes, LINE_MAX_BYTES);
		add_head(out, trace, style);
		str_addf(out, "%s, %zu bytes\n", clean, trace->size_bytes);
	} else {
		add_data(out, trace, style);
	}
}
