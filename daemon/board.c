/* SPDX-License-Identifier: MIT */
#include "daemon/board.h"

#include <string.h>

#include "lib/base/mem.h"

struct target *board_find(const struct board *board, const char *name)
{
	struct target *target;

	HASH_FIND(by_name, board->names, name, strlen(name), target);
	return target;
}

struct target *board_find_id(const struct board *board, uint32_t id)
{
	struct target *target;

	HASH_FIND(by_id, board->ids, &id, sizeof(id), target);
	return target;
}

size_t board_count(const struct board *board)
{
	return HASH_CNT(by_name, board->names);
}

static void target_free(struct target *target)
{
	standing_done(&target->watched.standing);
	result_done(&target->watched.last);
	tls_facts_free(target->watched.facts);
	free(target);
}

/* Hash keys point into the configuration, so a target is taken out before its configuration changes. */
static void hang_up(struct board *board, struct target *target, const struct target_config *config)
{
	target->watched.config = config;
	HASH_ADD_KEYPTR(by_name, board->names, config->name, strlen(config->name), target);
}

static void renumber(struct board *board, struct target *target, uint32_t id)
{
	if (target->id == id)
		return;
	if (target->id != 0) {
		HASH_DELETE(by_id, board->ids, target);
		standing_reset_windows(&target->watched.standing);
		tls_facts_free(TAKE(target->watched.facts));
		target->watched.probe_count = 0;
		target->watched.probed = false;
	}
	target->id = id;
	HASH_ADD(by_id, board->ids, id, sizeof(target->id), target);
}

static void put_up_one(struct board *board, const struct target_config *config, const struct watch *watch,
		       uint64_t generation, const struct board_changes *changes)
{
	struct target *target = board_find(board, config->name);

	if (target == NULL) {
		target = mem_new(struct target);
		result_init(&target->watched.last, watch->id);
	} else {
		changes->changed(changes->arg, target, config);
		if (target->watched.config->paused != config->paused)
			standing_forget_rows(&target->watched.standing);
		HASH_DELETE(by_name, board->names, target);
	}
	hang_up(board, target, config);
	renumber(board, target, watch->id);
	if (target->prober != watch->prober)
		target->pace = PACE_NORMAL;
	target->prober = watch->prober;
	target->index = watch->index;
	target->generation = generation;
}

void board_put_up(struct board *board, const struct generation *generation, const struct board_changes *changes)
{
	const struct config *config = generation->config;
	struct target *target, *next;

	for (size_t i = 0; i < config->target_count; i++)
		put_up_one(board, &config->targets[i], &generation->watches[i], generation->number, changes);
	HASH_ITER(by_name, board->names, target, next) {
		if (target->generation == generation->number)
			continue;
		changes->removed(changes->arg, target);
		HASH_DELETE(by_name, board->names, target);
		HASH_DELETE(by_id, board->ids, target);
		target_free(target);
	}
}

static void restore_certificate(struct standing *standing, const struct certificate_row *row)
{
	if (standing->certificate_count >= CERTIFICATE_SET_MAX)
		return;
	standing->certificates = mem_grow(standing->certificates, &standing->certificate_capacity,
					  standing->certificate_count + 1, sizeof(*standing->certificates));
	struct seen_certificate *seen = &standing->certificates[standing->certificate_count++];
	struct certificate *certificate = &seen->certificate;

	*seen = (struct seen_certificate){ .first_seen_unix_us = row->first_seen_unix_us };
	*certificate = (struct certificate){
		.not_before_unix_s = row->not_before_unix_s,
		.not_after_unix_s = row->not_after_unix_s,
		.chain_not_after_unix_s = row->chain_not_after_unix_s,
		.verdict = row->verdict,
		.present = true,
	};
	memcpy(certificate->fingerprint, row->fingerprint, FINGERPRINT_BYTES);
	seen->traits = view_read_certificate(row->facts, certificate);
}

void board_restore(struct board *board, const struct store_state *state)
{
	for (size_t i = 0; i < state->level_count; i++) {
		const struct level_row *row = &state->levels[i];
		struct target *target = board_find(board, row->target);

		if (target == NULL)
			continue;
		target->watched.standing.checks[row->check] = (struct verdict){
			.level = row->level, .reason = row->reason, .since_unix_us = row->since_unix_us
		};
		/* What was not ok is so until it is judged again. */
		if (row->level != LEVEL_OK)
			target->watched.standing.judged = true;
	}
	for (size_t i = 0; i < state->certificate_count; i++) {
		struct target *target = board_find(board, state->certificates[i].target);

		if (target != NULL)
			restore_certificate(&target->watched.standing, &state->certificates[i]);
	}
}

static void remember_probe(struct watched *watched, const struct result *result)
{
	if (watched->probe_count == MESSAGE_PROBES_MAX) {
		watched->probe_count--;
		memmove(&watched->probes[0], &watched->probes[1], watched->probe_count * sizeof(*watched->probes));
	}
	watched->probes[watched->probe_count++] = (struct message_probe){
		.at_unix_us = result->started_unix_us,
		.reason = result->reason,
		.total_us = result->phase_us[PHASE_TOTAL],
	};
}

void target_take_result(struct target *target, struct result *result)
{
	struct watched *watched = &target->watched;

	if (result->facts != NULL) {
		tls_facts_free(watched->facts);
		watched->facts = TAKE(result->facts);
	}
	remember_probe(watched, result);
	result_done(&watched->last);
	result_move(&watched->last, result);
	watched->probed = true;
}

void board_done(struct board *board)
{
	struct target *target, *next;

	HASH_CLEAR(by_id, board->ids);
	HASH_ITER(by_name, board->names, target, next) {
		HASH_DELETE(by_name, board->names, target);
		target_free(target);
	}
}
