/* SPDX-License-Identifier: MIT */
/*
 * A plan, a step in a line, its first byte the kind; after an empty line what the peer says, a line at a time. Whatever
 * that is, it makes no difference in what pieces it comes, and what people read of it is clean.
 */
#include "lib/proto/exchange.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { STEPS_MAX = 12, EXPRESSION_BYTES_MAX = 60 };

static const char letters[] = "sxnSXt"; /* by enum exchange_kind */

static void require(bool held)
{
	if (!held)
		abort();
}

struct run {
	struct exchange *exchange;
	enum exchange_next next;
	struct str said; /* "[TLS]" where it was made */
};

static void speak(struct run *run, size_t part_max)
{
	size_t bytes;
	const char *data = exchange_output(run->exchange, &bytes);

	while (bytes > 0) {
		size_t part = bytes < part_max ? bytes : part_max;

		str_add_bytes(&run->said, data, part);
		run->next = exchange_output_sent(run->exchange, part);
		data = exchange_output(run->exchange, &bytes);
	}
}

static void hear(struct run *run, const uint8_t *data, size_t bytes, bool singly)
{
	for (size_t i = 0; singly && i < bytes; i++)
		run->next = exchange_input(run->exchange, data + i, 1);
	if (!singly)
		run->next = exchange_input(run->exchange, data, bytes);
	speak(run, singly ? 1 : SIZE_MAX);
	while (run->next == EXCHANGE_START_TLS) {
		str_add(&run->said, "[TLS]");
		run->next = exchange_tls_started(run->exchange);
		speak(run, singly ? 1 : SIZE_MAX);
	}
}

static void finish(struct run *run, size_t how)
{
	switch (how % 3) {
	case 0:
		for (int i = 0; i < STEPS_MAX && exchange_is_unsettled(run->exchange); i++) {
			run->next = exchange_quiet(run->exchange);
			speak(run, SIZE_MAX);
		}
		return;
	case 1: run->next = exchange_closed(run->exchange); break;
	default: run->next = exchange_timed_out(run->exchange); break;
	}
	require(run->next == EXCHANGE_DONE || run->next == EXCHANGE_FAILED);
}

static void check_end(const struct run *run, size_t count)
{
	size_t bytes;
	const char *text;
	enum reason reason = exchange_failure(run->exchange, &text);

	exchange_output(run->exchange, &bytes);
	require((run->next == EXCHANGE_FAILED) == (reason != REASON_OK));
	require((run->next == EXCHANGE_FAILED) == (text[0] != '\0'));
	require((run->next == EXCHANGE_DONE) == (exchange_step(run->exchange) == count));
	require(run->next == EXCHANGE_GO_ON || bytes == 0);
	for (const char *c = text; *c != '\0'; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f);
}

/* By its words: nobody can tell what the answer would have been. */
static bool gave_up(const struct run *run)
{
	const char *text;

	return exchange_failure(run->exchange, &text) != REASON_OK &&
	       (strstr(text, ": gave up: ") != NULL || strstr(text, " captured more than ") != NULL);
}

static void check_dialogue(const struct exchange_plan *plan, size_t count, const uint8_t *data, size_t bytes)
{
	struct run whole = { .exchange = exchange_new(plan) };
	struct run singly = { .exchange = exchange_new(plan) };
	const size_t how = bytes;
	const char *text;

	whole.next = exchange_begin(whole.exchange);
	singly.next = exchange_begin(singly.exchange);
	hear(&whole, data, 0, false);
	hear(&singly, data, 0, true);
	while (bytes > 0) {
		const uint8_t *line_end = memchr(data, '\n', bytes);
		size_t line = line_end != NULL ? (size_t)(line_end + 1 - data) : bytes;

		hear(&whole, data, line, false);
		hear(&singly, data, line, true);
		data += line;
		bytes -= line;
	}
	finish(&whole, how);
	finish(&singly, how);
	/* Searching bit by bit is more work, and may come to its limit first. */
	if (!gave_up(&whole) && !gave_up(&singly)) {
		require(whole.next == singly.next);
		require(exchange_step(whole.exchange) == exchange_step(singly.exchange));
		require(exchange_failure(whole.exchange, &text) == exchange_failure(singly.exchange, &text));
		require(whole.said.bytes == singly.said.bytes);
		require(whole.said.bytes == 0 ||
			memcmp(whole.said.data, singly.said.data, whole.said.bytes) == 0);
	}
	check_end(&whole, count);
	check_end(&singly, count);
	exchange_free(whole.exchange);
	exchange_free(singly.exchange);
	str_done(&whole.said);
	str_done(&singly.said);
}

/* Lines up to an empty one; *used is what they take. */
static size_t read_steps(const uint8_t *data, size_t bytes, struct exchange_step *steps, size_t *used)
{
	size_t count = 0;

	*used = 0;
	while (*used < bytes) {
		const uint8_t *line = data + *used;
		const uint8_t *end = memchr(line, '\n', bytes - *used);
		size_t line_bytes = end != NULL ? (size_t)(end - line) : bytes - *used;
		const char *letter = line_bytes > 0 && line[0] != '\0' ? strchr(letters, line[0]) : NULL;

		*used += line_bytes + (end != NULL);
		if (line_bytes == 0)
			break;
		if (letter == NULL || count == STEPS_MAX)
			continue;
		/* Long expressions are PCRE2's to fuzz, and only slow here. */
		if (line_bytes > EXPRESSION_BYTES_MAX)
			line_bytes = EXPRESSION_BYTES_MAX;
		steps[count].kind = (enum exchange_kind)(letter - letters);
		steps[count++].text = mem_strndup((const char *)line + 1, line_bytes - 1);
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct exchange_step steps[STEPS_MAX] = { 0 };
	struct error err = { 0 };
	size_t bad_step = 0;
	size_t used;
	size_t count = read_steps(data, bytes, steps, &used);
	struct exchange_plan *plan = exchange_plan_new(steps, count, &bad_step, &err);

	require((plan == NULL) == (err.text[0] != '\0'));
	require(plan != NULL || bad_step < count);
	if (plan != NULL)
		check_dialogue(plan, count, data + used, bytes - used);
	exchange_plan_free(plan);
	for (size_t i = 0; i < count; i++)
		free(steps[i].text);
	return 0;
}
