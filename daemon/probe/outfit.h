/* SPDX-License-Identifier: MIT */
/*
 * outfit - what the probes of a configuration need besides their plans: authorities and certificates of our own as parsed,
 * TLS contexts, compiled expressions and dialogues. Each is made once, however many targets use it.
 * Owns:   all of it. The configuration and the domains are lent and must outlive it; plans lend from it.
 * Fails:  what is wrong with a file or an expression goes to the report, with the place that names it.
 * Blocks: reads files. Never on a loop.
 */
#ifndef PORTBELL_PROBE_OUTFIT_H
#define PORTBELL_PROBE_OUTFIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

struct config;
struct outfit;
struct plan;
struct report;
struct tls_domain;

/* Reads and tries all that outfit_new() would, and keeps nothing. */
bool outfit_check(const struct config *config, struct report *report);
/* NULL: the report says why. */
struct outfit *outfit_new(const struct config *config, struct tls_domain *const *domains, size_t domain_count,
			  struct report *report);
void outfit_free(struct outfit *outfit); /* NULL is fine */
/* Fills the plan of config->targets[target], for the thread of domains[domain]; all but its id and its predecessor. */
bool outfit_plan(struct outfit *outfit, size_t domain, size_t target, struct plan *plan, struct report *report);
/* Those of our own certificates that end soon, each with its file and date; NULL: none. The caller frees. */
char *outfit_own_trouble(const struct outfit *outfit, int64_t now_unix_s);
/* Whether OpenSSL takes it for a list of ciphers. */
bool outfit_check_ciphers(const char *text, struct error *err);

#endif
