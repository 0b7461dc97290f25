/* SPDX-License-Identifier: MIT */
/*
 * loader - a configuration made ready to run: parsed, checked, its TLS contexts built, its targets dealt to the probers.
 * struct generation is const once built and belongs to main; probers use it until they have settled on a newer one.
 * The loader's thread does the work of a reload; main's loop reads no file.
 */
#ifndef PORTBELL_LOADER_H
#define PORTBELL_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/scheduler.h"
#include "lib/base/error.h"
#include "lib/config/config.h"
#include "lib/io/tls.h"

/* Where a target of the configuration is probed. */
struct watch {
	uint32_t id;             /* stays while what the probe does stays the same */
	int prober;
	size_t index;            /* in that prober's assignment */
};

struct reload_summary {
	size_t added, changed, removed, unchanged;
};

struct generation {
	uint64_t number;         /* 1, 2, ... */
	struct config *config;
	struct watch *watches;   /* by index of config->targets */
	struct assignment *assignments; /* by prober */
	size_t prober_count;
	struct outfit *outfit;
	uint32_t next_id;
	struct reload_summary summary;  /* against the previous generation */
};

/* Reads the files that the configuration names and tries its exchanges, for --check; mistakes go to the report. */
bool loader_check_files(const struct config *config, struct report *report);
/* Takes the config, also on failure; mistakes found in the files it names go to the report. */
struct generation *generation_build(struct config *config, struct tls_domain *const *domains, size_t domain_count,
				    const struct generation *previous, struct report *report);
void generation_free(struct generation *generation); /* NULL is fine */

struct loader;
/* On main, from loader_dispatch(): generation NULL means refused. The report is lent; the generation the callee's. */
typedef void loader_done_fn(void *arg, struct generation *generation, const struct report *report);

struct loader *loader_new(struct tls_domain *const *domains, size_t domain_count, loader_done_fn *done, void *arg,
			  struct error *err);
void loader_free(struct loader *loader); /* waits for a load under way; its outcome is dropped */
int loader_fd(const struct loader *loader); /* readable: call loader_dispatch() */
void loader_dispatch(struct loader *loader);
/* One at a time. `previous` must stay until done. */
void loader_start(struct loader *loader, const char *file, const struct generation *previous);

/* The environment as the daemon sees it. lenient: a missing credential or variable is a note. */
struct config_env loader_env(bool lenient);

#endif
