/* SPDX-License-Identifier: MIT */
/*
 * probe_page - what one probe found, for people: verdict and reason first, then where the time went, what
 * answered, and the certificates. Drawn from the JSON that view_probe() writes, here or in the daemon. Pure.
 */
#ifndef PORTBELL_CLI_PROBE_PAGE_H
#define PORTBELL_CLI_PROBE_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/json.h"
#include "lib/base/str.h"

struct page_style {
	bool signs;  /* in front of the level */
	bool blocks; /* bars and trees beyond ASCII */
	bool color;
	size_t columns;
};

void probe_page(struct str *out, const struct json *probe, const struct page_style *style);
/* "2  critical  10 s  connection refused (connect)  192.0.2.7:443": one of many. */
void probe_line(struct str *out, const struct json *probe, size_t number, const struct page_style *style);

#endif
