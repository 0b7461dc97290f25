/* SPDX-License-Identifier: MIT */
/*
 * probe_run - probes of one target without a daemon: an event loop of its own, which runs while somebody waits.
 * Owns:    the configuration is lent, and stays until probe_run_free().
 * Fails:   a CA file that cannot be read, no system bundle: err says so. All else is the result's.
 * Signals: SIGPIPE is ignored from new to free; with `interruptible` SIGINT and SIGTERM end a wait.
 */
#ifndef PORTBELL_CLI_PROBE_RUN_H
#define PORTBELL_CLI_PROBE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/probe/probe.h"
#include "lib/base/error.h"
#include "lib/config/config.h"
#include "lib/eval/result.h"

struct probe_run;

/* Of `config` the first target. */
struct probe_run *probe_run_new(const struct config *config, bool interruptible, struct error *err);
/* One probe, to its end. False: interrupted; there is no result. */
bool probe_run_once(struct probe_run *run, struct result *result);
/* False: interrupted. */
bool probe_run_sleep_until(struct probe_run *run, int64_t mono_us);
/* Lets somebody read along. */
void probe_run_on_trace(struct probe_run *run, probe_trace_fn *on_trace, void *arg);
/* Leaves the peers as a good guest, which may take some milliseconds. NULL is fine. */
void probe_run_free(struct probe_run *run);

#endif
