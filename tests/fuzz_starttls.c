/* SPDX-License-Identifier: MIT */
/*
 * The first byte chooses the protocol, the rest is what the server says. A line end is where it waits for us,
 * unless the line has a NUL: then the next one comes in one breath with it. In what pieces it comes makes no
 * difference.
 */
#include "lib/proto/starttls.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool held)
{
	if (!held)
		abort();
}

struct run {
	struct starttls_talk *starttls;
	enum starttls_next next;
	struct str said;
};

static void speak(struct run *run)
{
	size_t bytes;
	const char *data = starttls_output(run->starttls, &bytes);

	str_add_bytes(&run->said, data, bytes);
	starttls_output_sent(run->starttls, bytes);
}

static void run_start(struct run *run, uint8_t wish)
{
	const struct starttls_wish starttls_wish = {
		.protocol = (enum starttls)(wish % (STARTTLS_COUNT - 1) + 1),
		.ehlo = "mon.test",
		.host = "peer.test",
	};

	*run = (struct run){ .starttls = starttls_new(&starttls_wish), .next = STARTTLS_GO_ON };
	if ((wish & 0x80) == 0)
		speak(run);
}

static void run_end(struct run *run)
{
	starttls_free(run->starttls);
	str_done(&run->said);
}

/* What follows the go-ahead is told by its piece, so it is left to the end. */
static void hear(struct run *run, const uint8_t *data, size_t bytes, size_t most)
{
	size_t at = 0;

	while (at < bytes && run->next == STARTTLS_GO_ON) {
		size_t piece = bytes - at < most ? bytes - at : most;

		run->next = starttls_input(run->starttls, data + at, piece);
		at += piece;
	}
}

static bool is_injected(const struct run *run)
{
	const char *text;

	starttls_failure(run->starttls, &text);
	return strstr(text, "after the go-ahead") != NULL;
}

static void check_clean(const char *text)
{
	for (const char *c = text; c != NULL && *c != '\0'; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f);
	require(text == NULL || strlen(text) <= 1000);
}

static void check_ending(struct run *run)
{
	const char *text;
	enum reason reason = starttls_failure(run->starttls, &text);
	size_t bytes;

	check_clean(text);
	check_clean(starttls_said(run->starttls));
	require(starttls_waits_for(run->starttls) != NULL);
	require((run->next == STARTTLS_BROKEN) == (text[0] != '\0'));
	require((run->next == STARTTLS_BROKEN) == (reason != REASON_OK));
	require(run->said.bytes <= 1000);
	if (run->next == STARTTLS_GO_AHEAD) {
		require(starttls_input(run->starttls, "x", 1) == STARTTLS_BROKEN);
		require(is_injected(run) ||
			strstr((starttls_failure(run->starttls, &text), text), "too much") != NULL);
	}
	if (run->next == STARTTLS_BROKEN) {
		starttls_output(run->starttls, &bytes);
		require(bytes == 0);
		require(starttls_input(run->starttls, "x", 1) == STARTTLS_BROKEN);
	}
}

/* Whole lines against single bytes: the same end, or the go-ahead and what came too much. */
static void compare(const struct run *whole, const struct run *singly)
{
	const char *whole_text;
	const char *single_text;

	if (singly->next == STARTTLS_GO_AHEAD && whole->next == STARTTLS_BROKEN) {
		require(is_injected(whole));
		return;
	}
	require(whole->next == singly->next);
	require(starttls_failure(whole->starttls, &whole_text) ==
		starttls_failure(singly->starttls, &single_text));
	require(strcmp(whole_text, single_text) == 0);
	require(strcmp(starttls_waits_for(whole->starttls), starttls_waits_for(singly->starttls)) == 0);
	require(whole->said.bytes == singly->said.bytes);
	require(whole->said.bytes == 0 || memcmp(whole->said.data, singly->said.data, whole->said.bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const uint8_t *end = data + bytes;
	struct run whole;
	struct run singly;
	uint8_t wish;

	if (bytes == 0)
		return 0;
	wish = *data++;
	run_start(&whole, wish);
	run_start(&singly, wish);
	while (data < end && whole.next == STARTTLS_GO_ON) {
		const uint8_t *line_end = memchr(data, '\n', (size_t)(end - data));
		size_t line = line_end != NULL ? (size_t)(line_end + 1 - data) : (size_t)(end - data);

		hear(&whole, data, line, line);
		hear(&singly, data, line, 1);
		if (memchr(data, '\0', line) == NULL) {
			speak(&whole);
			speak(&singly);
		}
		data += line;
	}
	compare(&whole, &singly);
	check_ending(&whole);
	check_ending(&singly);
	run_end(&whole);
	run_end(&singly);
	return 0;
}
