/* SPDX-License-Identifier: MIT */
#include "lib/proto/expect.h"

#include <stdint.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lib/base/mem.h"

enum {
	TEXT_BYTES_MAX = 4096,
	MATCH_LIMIT = 100 * 1000,   /* PCRE2 counts anew for each place where a match could begin: see on_item() */
	DEPTH_LIMIT = 1000,
	HEAP_LIMIT_KIB = 1024,
	WORK_MAX = 4 * 1000 * 1000, /* items of the expression, of all runs of a search: some 10 ms, 70 at most */
	WORK_BYTES = 4              /* passed over by one item, count as one more */
};

struct expect {
	pcre2_code *code;
	bool from_floor; /* a search may begin where the last one found that a match could */
};

struct expect_search {
	const struct expect *expect;
	pcre2_match_data *data;
	pcre2_match_context *context;
	size_t floor;    /* where the next run begins */
	size_t bound;    /* no match begins before */
	size_t work;
	size_t position; /* in the present run, of the last item */
	bool too_hard;
};

static void *pcre2_get(size_t bytes, void *arg)
{
	(void)arg;
	return mem_alloc(bytes);
}

static void pcre2_release(void *memory, void *arg)
{
	(void)arg;
	free(memory);
}

static bool complain(struct error *err, int code, size_t offset)
{
	PCRE2_UCHAR message[200];

	if (pcre2_get_error_message(code, message, sizeof(message)) < 0)
		message[0] = '\0';
	return error_set(err, "not a regular expression: %s (at character %zu)", (const char *)message,
			 offset + 1);
}

/* \G means where a run begins, and verbs like (*COMMIT) what comes after: such a search always begins at the start. */
static bool may_begin_later(const char *text)
{
	return strstr(text, "\\G") == NULL && strstr(text, "(*") == NULL;
}

struct expect *expect_new(const char *text, struct error *err)
{
	const uint32_t options = PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
				 PCRE2_AUTO_CALLOUT;
	pcre2_general_context *memory = pcre2_general_context_create(pcre2_get, pcre2_release, NULL);
	pcre2_compile_context *context = pcre2_compile_context_create(memory);
	struct expect *expect = NULL;
	pcre2_code *code;
	size_t offset = 0;
	int status = 0;

	pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
	pcre2_set_max_pattern_length(context, TEXT_BYTES_MAX);
	code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &status, &offset, context);
	if (code != NULL) {
		expect = mem_new(struct expect);
		*expect = (struct expect){ .code = code, .from_floor = may_begin_later(text) };
	} else {
		complain(err, status, offset);
	}
	pcre2_compile_context_free(context);
	pcre2_general_context_free(memory);
	return expect;
}

void expect_free(struct expect *expect)
{
	if (expect == NULL)
		return;
	pcre2_code_free(expect->code);
	free(expect);
}

/* A run of table entries: two bytes of group number, the name, NUL. */
struct group_names {
	const unsigned char *entry;
	uint32_t count;
	uint32_t bytes_each;
};

static struct group_names names_of(const struct expect *expect)
{
	struct group_names names = { 0 };
	PCRE2_SPTR table = NULL;

	pcre2_pattern_info(expect->code, PCRE2_INFO_NAMECOUNT, &names.count);
	pcre2_pattern_info(expect->code, PCRE2_INFO_NAMEENTRYSIZE, &names.bytes_each);
	pcre2_pattern_info(expect->code, PCRE2_INFO_NAMETABLE, &table);
	names.entry = table;
	return names;
}

bool expect_has_group(const struct expect *expect, const char *name)
{
	struct group_names names = names_of(expect);

	for (uint32_t i = 0; i < names.count; i++)
		if (strcmp((const char *)names.entry + i * names.bytes_each + 2, name) == 0)
			return true;
	return false;
}

/*
 * Before each item of the expression. PCRE2's own limit holds for each place where a match could begin, of which a
 * peer can make 65,536; this one for all of them together.
 */
static int on_item(pcre2_callout_block *block, void *arg)
{
	struct expect_search *search = arg;
	size_t passed = block->current_position > search->position ? block->current_position - search->position :
								     search->position - block->current_position;

	search->position = block->current_position;
	search->work += 1 + passed / WORK_BYTES;
	return search->work > WORK_MAX ? PCRE2_ERROR_CALLOUT : 0;
}

struct expect_search *expect_search_new(const struct expect *expect)
{
	pcre2_general_context *memory = pcre2_general_context_create(pcre2_get, pcre2_release, NULL);
	struct expect_search *search = mem_new(struct expect_search);

	search->expect = expect;
	search->data = pcre2_match_data_create_from_pattern(expect->code, memory);
	search->context = pcre2_match_context_create(memory);
	pcre2_set_match_limit(search->context, MATCH_LIMIT);
	pcre2_set_depth_limit(search->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(search->context, HEAP_LIMIT_KIB);
	pcre2_set_callout(search->context, on_item, search);
	pcre2_general_context_free(memory);
	return search;
}

void expect_search_free(struct expect_search *search)
{
	if (search == NULL)
		return;
	pcre2_match_data_free(search->data);
	pcre2_match_context_free(search->context);
	free(search);
}

static int run(struct expect_search *search, const void *data, size_t bytes, uint32_t options)
{
	search->position = search->floor;
	return pcre2_match(search->expect->code, data, bytes, search->floor, options, search->data,
			   search->context);
}

static enum expect_outcome outcome_of(struct expect_search *search, int status)
{
	if (status >= 0)
		return EXPECT_FOUND;
	if (status == PCRE2_ERROR_NOMATCH)
		return EXPECT_NOT_FOUND;
	search->too_hard = true;
	return EXPECT_TOO_HARD;
}

/*
 * No match begins before `bound`, whatever will come. A CR before it is tried again with the next run, for then PCRE2
 * sees that between a CR and its LF nothing may begin.
 */
static void begin_later(struct expect_search *search, const char *data, size_t bound)
{
	if (!search->expect->from_floor)
		return;
	search->bound = bound;
	search->floor = bound - (bound > search->floor && data[bound - 1] == '\r');
}

enum expect_outcome expect_search(struct expect_search *search, const void *data, size_t bytes, bool more_may_come)
{
	enum expect_outcome outcome;
	int status;

	if (search->too_hard)
		return EXPECT_TOO_HARD;
	if (bytes == 0)
		return EXPECT_NOT_FOUND;
	if (!more_may_come)
		return outcome_of(search, run(search, data, bytes, 0));
	/* "Hard": as soon as a try would look beyond the end, it gives up. What is decided without, stays. */
	status = run(search, data, bytes, PCRE2_PARTIAL_HARD);
	if (status == PCRE2_ERROR_NOMATCH)
		begin_later(search, data, bytes);
	if (status != PCRE2_ERROR_PARTIAL)
		return outcome_of(search, status);
	begin_later(search, data, pcre2_get_ovector_pointer(search->data)[0]);
	outcome = outcome_of(search, run(search, data, bytes, 0));
	return outcome == EXPECT_FOUND ? EXPECT_UNSETTLED : outcome;
}

enum expect_outcome expect_matches(const struct expect *expect, const void *data, size_t bytes)
{
	struct expect_search *search = expect_search_new(expect);
	enum expect_outcome outcome = outcome_of(search, run(search, data, bytes, 0));

	expect_search_free(search);
	return outcome;
}

size_t expect_search_bound(const struct expect_search *search)
{
	return search->bound;
}

size_t expect_search_end(const struct expect_search *search)
{
	return pcre2_get_ovector_pointer(search->data)[1];
}

/* With (?J) a name may have several groups: the first that had a part in the match counts. */
bool expect_search_group(const struct expect_search *search, const char *name, size_t *start, size_t *bytes)
{
	const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(search->data);
	struct group_names names = names_of(search->expect);

	for (uint32_t i = 0; i < names.count; i++) {
		const unsigned char *entry = names.entry + i * names.bytes_each;
		size_t group = (size_t)entry[0] << 8 | entry[1];

		if (strcmp((const char *)entry + 2, name) != 0 || offsets[2 * group] == PCRE2_UNSET)
			continue;
		*start = offsets[2 * group];
		*bytes = offsets[2 * group + 1] - *start;
		return true;
	}
	return false;
}
