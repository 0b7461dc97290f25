/* SPDX-License-Identifier: MIT */
/*
 * expect - a regular expression, for what a peer sent. The only user of PCRE2; its interpreter, no just-in-time code.
 * Reads:   bytes, never UTF-8. Multiline: ^ and $ match at the lines' ends; CR LF, CR and LF end a line, and "." matches
 *          none of them unless the expression says (?s).
 * Settled: a search through bytes that come bit by bit finds the same wherever they are cut. What could still become
 *          another match when more comes (`\S+` or `$` at the very end, `.*` that has not seen the end of its line) is
 *          UNSETTLED, until more comes or the caller says that nothing will.
 * Owns:    a struct expect is const once made, and threads may share it; a struct expect_search is one user's.
 * Caps:    4 KiB of expression; steps, depth and memory of a search: beyond them it is TOO_HARD, for good.
 * Fails:   an expression that is none fills err.
 */
#ifndef PORTBELL_PROTO_EXPECT_H
#define PORTBELL_PROTO_EXPECT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

enum expect_outcome {
	EXPECT_FOUND,
	EXPECT_UNSETTLED, /* found in what is there, but more could change it. Never if nothing more will come */
	EXPECT_NOT_FOUND, /* not yet, if more may come */
	EXPECT_TOO_HARD   /* a limit was hit: neither yes nor no */
};

struct expect;
struct expect_search;

struct expect *expect_new(const char *text, struct error *err);
void expect_free(struct expect *expect); /* NULL is fine */
bool expect_has_group(const struct expect *expect, const char *name);
/* In these bytes and no others. Never UNSETTLED. */
enum expect_outcome expect_matches(const struct expect *expect, const void *data, size_t bytes);

/* `expect` must outlive it. */
struct expect_search *expect_search_new(const struct expect *expect);
void expect_search_free(struct expect_search *search); /* NULL is fine */
/* `data` begins where it did the last time, and may only have become longer. Nothing at all matches nothing. */
enum expect_outcome expect_search(struct expect_search *search, const void *data, size_t bytes,
				  bool more_may_come);
/* No match begins before this. */
size_t expect_search_bound(const struct expect_search *search);
/* After FOUND or UNSETTLED: where the match ends, and what a group caught (false: it had no part in the match). */
size_t expect_search_end(const struct expect_search *search);
bool expect_search_group(const struct expect_search *search, const char *name, size_t *start, size_t *bytes);

#endif
