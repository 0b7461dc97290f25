/* SPDX-License-Identifier: MIT */
/*
 * exchange - the send and expect dialogue of a target, as a machine without socket or clock. Whoever holds the
 * connection moves the bytes: exchange_begin(), send what exchange_output() has, tell exchange_output_sent(), receive,
 * exchange_input(), do what each of them says, and again.
 * send, send_hex:  the step is over when all of it was sent.
 * expect:          waits until the expression matches what was received and not yet consumed; the match consumes up to
 *                  its end. It counts once nothing that may follow could make it another match (expect.h), so that it
 *                  does not matter in what pieces a peer's words come. While a match waits for that,
 *                  exchange_is_unsettled(): if nothing more comes for EXCHANGE_QUIET_MS, the holder of the connection
 *                  says exchange_quiet(), and it counts as it is. Who does not keep such a time loses only time:
 *                  closing and the deadline settle it too.
 * expect_not:      guards the next expect or expect_hex, alone or with others; sends may stand between. If the expect
 *                  matches, its guards are held against what that match consumed, from the first byte that was not consumed before, as if nothing followed: one
 *                  that matches there is a mismatch. A guard that matches where nothing the expect could match has
 *                  begun is one at once, and so is one that matches while the peer closes or the time runs out.
 * expect_hex:      exactly these bytes come next; the first wrong one is a mismatch.
 * starttls:        the line in which the last expect's match ended is the go-ahead: the rest of it is awaited and
 *                  consumed, and whatever follows it breaks the dialogue (a reply put in by another must not be taken
 *                  for one that came under TLS). After expect_hex nothing is awaited: a protocol without lines has its
 *                  go-ahead there.
 * Captures:        ${capture.NAME} in a send is what the group NAME caught last in an expect before; a group that never
 *                  had a part in a match is empty.
 * Owns:            a struct exchange_plan is const once made, and threads may share it; it must outlive its exchanges.
 *                  What is sent is wiped when it is freed.
 * Caps:            100 steps, 64 KiB received and not consumed, 64 KiB a send, 256 bytes a capture.
 * Fails:           all that a peer does is an outcome, with a reason and a text for people.
 */
#ifndef PORTBELL_PROTO_EXCHANGE_H
#define PORTBELL_PROTO_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"
#include "lib/base/rules.h"
#include "lib/base/words.h"

enum {
	EXCHANGE_STEPS_MAX = 100, EXCHANGE_INPUT_BYTES_MAX = 64 << 10, EXCHANGE_SEND_BYTES_MAX = 64 << 10,
	EXCHANGE_CAPTURE_BYTES_MAX = 256, EXCHANGE_QUIET_MS = 300
};

struct exchange_plan;
struct exchange;

/* NULL with err: the step *bad_step cannot be. The steps are copied. */
struct exchange_plan *exchange_plan_new(const struct exchange_step *steps, size_t count, size_t *bad_step,
					struct error *err);
void exchange_plan_free(struct exchange_plan *plan); /* NULL is fine */
bool exchange_plan_starts_tls(const struct exchange_plan *plan); /* TLS begins at a step, not at the first byte */

enum exchange_next {
	EXCHANGE_GO_ON,     /* send what there is to send, then feed what comes */
	EXCHANGE_START_TLS, /* feed nothing more, make TLS, then exchange_tls_started() */
	EXCHANGE_DONE,      /* these two stay, whatever is fed; nothing is left to send */
	EXCHANGE_FAILED
};

struct exchange *exchange_new(const struct exchange_plan *plan);
void exchange_free(struct exchange *exchange); /* NULL is fine */
enum exchange_next exchange_begin(struct exchange *exchange); /* once, before anything else */
enum exchange_next exchange_input(struct exchange *exchange, const void *data, size_t bytes);
enum exchange_next exchange_tls_started(struct exchange *exchange);
/* What is to be sent; it stays at its place until something is fed or sent. */
const char *exchange_output(const struct exchange *exchange, size_t *bytes);
enum exchange_next exchange_output_sent(struct exchange *exchange, size_t bytes);

bool exchange_is_unsettled(const struct exchange *exchange);
enum exchange_next exchange_quiet(struct exchange *exchange);
/* The peer will send nothing more, the deadline is there: DONE if what came is enough, else FAILED. */
enum exchange_next exchange_closed(struct exchange *exchange);
enum exchange_next exchange_timed_out(struct exchange *exchange);

/*
 * Of one that FAILED: `step 2, expect "^220": received "554 no service\r\n"`, cleaned; lent until exchange_free().
 * Never what was sent: it may hold a password.
 */
enum reason exchange_failure(const struct exchange *exchange, const char **text);
/* Which step is under way, from 0: as many are done. A guard belongs to its expect and is done at once. */
size_t exchange_step(const struct exchange *exchange);

#endif
