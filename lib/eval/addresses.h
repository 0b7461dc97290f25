/* SPDX-License-Identifier: MIT */
/*
 * addresses - one verdict on a name from the probes of all its addresses. Pure.
 *
 * An address is good when its probe ended ok. As many as are needed and none bad: ok. As many as are needed, some
 * bad: some_addresses. Fewer: the reason that most of the bad ones have. Where it was our side that failed (no way to
 * IPv6, say) nothing is known of the address: it does not count, unless there is nothing else.
 * Latency is that of the slowest good address (of the slowest, if none is good), the certificate the one that is worth
 * least: refused by a client, else the first to end.
 */
#ifndef PORTBELL_EVAL_ADDRESSES_H
#define PORTBELL_EVAL_ADDRESSES_H

#include <stddef.h>

#include "lib/eval/result.h"

/* Fills what a probe of one address would have found, and the list. `single` (at least one) are left empty; need: how
 * many must be good, 0 = all. What `result` had before stays where the addresses say nothing: its id, its times of
 * start, its dns phase. Total is the dns phase and the slowest address. */
void addresses_merge(struct result *single, size_t count, size_t need, struct result *result);

#endif
