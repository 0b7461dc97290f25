/* SPDX-License-Identifier: MIT */
/* loader_private - what loader.c leaves to loader_tls.c: all of a generation that is OpenSSL's. */
#ifndef PORTBELL_LOADER_PRIVATE_H
#define PORTBELL_LOADER_PRIVATE_H

#include "daemon/loader.h"

/* Reads the files that the configuration names, and no more. False: the report says why. */
bool loader_tls_check(const struct config *config, struct report *report);
/* The same, for use. */
bool loader_tls_build(struct generation *generation, struct report *report);
/* The TLS part of the plan of config->targets[target]. */
bool loader_tls_plan(struct generation *generation, struct tls_domain *const *domains, size_t target,
		     struct plan *plan, struct report *report);
void loader_tls_free(struct generation *generation); /* a half-built one too */
bool loader_tls_check_ciphers(const char *text, struct error *err);

#endif
