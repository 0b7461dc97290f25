/* SPDX-License-Identifier: MIT */
/*
 * board - all targets of the configuration that runs, as main knows them: by name, by id, in no order.
 * Owns: its targets. A target's `watched.config` belongs to the generation that was put up last.
 */
#ifndef PORTBELL_BOARD_H
#define PORTBELL_BOARD_H

#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "daemon/loader.h"
#include "daemon/view.h"
#include "lib/io/store.h"

struct target {
	struct watched watched;
	uint32_t id;             /* results carry it */
	int prober;
	size_t index;            /* in that prober's assignment */
	enum pace pace;          /* as the prober was told last */
	uint64_t generation;     /* that named it last */
	UT_hash_handle by_name;
	UT_hash_handle by_id;
};

struct board {
	struct target *names;
	struct target *ids;
};

struct target *board_find(const struct board *board, const char *name);
struct target *board_find_id(const struct board *board, uint32_t id);
size_t board_count(const struct board *board);

/* Told of each target before it changes for good: `target` still has the configuration before. */
struct board_changes {
	void (*removed)(void *arg, struct target *target);
	void (*changed)(void *arg, struct target *target, const struct target_config *next);
	void *arg;
};

/* Puts up the targets of a generation: the same name keeps its levels; another identity starts its windows anew. */
void board_put_up(struct board *board, const struct generation *generation, const struct board_changes *changes);
/* Levels and certificates from before the restart. */
void board_restore(struct board *board, const struct store_state *state);
/* Takes over what a probe found (facts and detail move out of the result). */
void target_take_result(struct target *target, struct result *result);
void board_done(struct board *board);

#endif
