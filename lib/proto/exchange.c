/* SPDX-License-Identifier: MIT */
#include "lib/proto/exchange.h"

#include <assert.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/proto/expect.h"

enum {
	SHOWN_RECEIVED_BYTES_MAX = 200,
	SHOWN_EXPRESSION_BYTES_MAX = 80,
	NAME_BYTES_MAX = 32 /* PCRE2's own */
};

/* ---- the plan ---- */

/* A part of a send: what a group caught, or bytes as they are. */
struct piece {
	size_t capture; /* 1 + its index in the plan; 0: the bytes */
	bool secret;
	struct str bytes;
};

struct step {
	enum exchange_kind kind;
	char *text;            /* as written */
	struct expect *expect; /* expect, expect_not */
	struct piece *pieces;  /* send, send_hex; expect_hex has one */
	size_t piece_count;
	size_t piece_capacity;
};

struct exchange_plan {
	struct step *steps;
	size_t count;
	char **captures;       /* the names that a send mentions */
	size_t capture_count;
	size_t capture_capacity;
	bool starts_tls;
};

static const char *const kinds[] = {
	[EXCHANGE_SEND] = "send", [EXCHANGE_EXPECT] = "expect", [EXCHANGE_EXPECT_NOT] = "expect_not",
	[EXCHANGE_SEND_HEX] = "send_hex", [EXCHANGE_EXPECT_HEX] = "expect_hex", [EXCHANGE_STARTTLS] = "starttls",
};

static bool is_send(enum exchange_kind kind)
{
	return kind == EXCHANGE_SEND || kind == EXCHANGE_SEND_HEX;
}

/* What is sent may be a password. */
static void wipe_done(struct str *str)
{
	if (str->data != NULL)
		explicit_bzero(str->data, str->capacity);
	str_done(str);
}

static struct piece *piece_add(struct step *step)
{
	step->pieces = mem_grow(step->pieces, &step->piece_capacity, step->piece_count + 1, sizeof(*step->pieces));
	return &step->pieces[step->piece_count++];
}

/* The piece of such bytes at the end. */
static struct str *bytes_at_end(struct step *step, bool secret)
{
	const struct piece *last = step->piece_count > 0 ? &step->pieces[step->piece_count - 1] : NULL;

	if (last == NULL || last->capture != 0 || last->secret != secret)
		piece_add(step)->secret = secret;
	return &step->pieces[step->piece_count - 1].bytes;
}

static size_t capture_index(struct exchange_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->capture_count; i++)
		if (strcmp(plan->captures[i], name) == 0)
			return i;
	plan->captures =
		mem_grow(plan->captures, &plan->capture_capacity, plan->capture_count + 1, sizeof(char *));
	plan->captures[plan->capture_count] = mem_strdup(name);
	return plan->capture_count++;
}

static bool is_captured_before(const struct exchange_plan *plan, const struct step *end, const char *name)
{
	for (const struct step *step = plan->steps; step < end; step++)
		if (step->kind == EXCHANGE_EXPECT && expect_has_group(step->expect, name))
			return true;
	return false;
}

/* "${capture.NAME}" at `dollar`; *end is behind it. */
static bool add_capture(struct exchange_plan *plan, struct step *step, const char *dollar, const char **end,
			struct error *err)
{
	static const char prefix[] = "${capture.";
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
	const char *begin = dollar + strlen(prefix);
	AUTO(string) char *name = NULL;
	size_t bytes;

	if (!str_starts(dollar, prefix))
		return error_set(err, "\"${\" must be \"${capture.NAME}\" (a literal one is written \"$${\")");
	bytes = strspn(begin, allowed);
	if (bytes == 0 || bytes > NAME_BYTES_MAX || begin[bytes] != '}')
		return error_set(err, "\"${capture.\" needs a group's name and \"}\"");
	name = mem_strndup(begin, bytes);
	if (!is_captured_before(plan, step, name))
		return error_set(err, "no expect before this has a group (?<%s>...)", name);
	piece_add(step)->capture = 1 + capture_index(plan, name);
	*end = begin + bytes + 1;
	return true;
}

static bool read_send(struct exchange_plan *plan, struct step *step, const char *text, struct error *err)
{
	bool secret = false;

	while (*text != '\0') {
		if (str_starts(text, "$${")) {
			str_add(bytes_at_end(step, secret), "${");
			text += 3;
		} else if (str_starts(text, "${$}")) {
			str_add_char(bytes_at_end(step, secret), '$');
			text += 4;
		} else if (str_starts(text, "${[}") || str_starts(text, "${]}")) {
			secret = text[2] == '[';
			text += 4;
		} else if (str_starts(text, "${")) {
			if (!add_capture(plan, step, text, &text, err))
				return false;
		} else {
			str_add_char(bytes_at_end(step, secret), *text++);
		}
	}
	return true;
}

static bool read_hex(struct step *step, const char *text, struct error *err)
{
	struct str *bytes = bytes_at_end(step, false);

	if (!str_add_unhex(bytes, text))
		return error_set(err, "must be bytes of two hexadecimal digits, like \"00 ff\"");
	return bytes->bytes > 0 || error_set(err, "must be at least one byte, like \"00 ff\"");
}

/* Also with every capture at its longest it must be possible to send it. */
static bool size_is_fine(const struct step *step, struct error *err)
{
	size_t bytes = 0;

	for (size_t i = 0; i < step->piece_count; i++)
		bytes += step->pieces[i].capture != 0 ? (size_t)EXCHANGE_CAPTURE_BYTES_MAX :
							step->pieces[i].bytes.bytes;
	return bytes <= EXCHANGE_SEND_BYTES_MAX || error_set(err, "is more than 64 KiB to send or expect");
}

/* Before `end` there is a guard that has no expect yet. */
static bool guard_waits(const struct step *first, const struct step *end)
{
	while (end > first && is_send(end[-1].kind))
		end--;
	return end > first && end[-1].kind == EXCHANGE_EXPECT_NOT;
}

static bool step_read(struct exchange_plan *plan, const struct exchange_step *from, struct error *err)
{
	struct step *step = &plan->steps[plan->count++];

	step->kind = from->kind;
	step->text = mem_strdup(from->text != NULL ? from->text : "");
	if (step->kind == EXCHANGE_STARTTLS && guard_waits(plan->steps, step))
		return error_set(err, "expect_not guards the next expect: an expect must follow it");
	switch (step->kind) {
	case EXCHANGE_SEND: return read_send(plan, step, step->text, err) && size_is_fine(step, err);
	case EXCHANGE_SEND_HEX:
	case EXCHANGE_EXPECT_HEX: return read_hex(step, step->text, err) && size_is_fine(step, err);
	case EXCHANGE_EXPECT:
	case EXCHANGE_EXPECT_NOT:
		step->expect = expect_new(step->text, err);
		return step->expect != NULL;
	case EXCHANGE_STARTTLS:
		if (plan->starts_tls)
			return error_set(err, "starttls can be only once");
		plan->starts_tls = true;
		return true;
	}
	return error_set(err, "is no kind of step");
}

struct exchange_plan *exchange_plan_new(const struct exchange_step *steps, size_t count, size_t *bad_step,
					struct error *err)
{
	struct exchange_plan *plan = mem_new(struct exchange_plan);
	bool good = true;

	*bad_step = 0;
	plan->steps = mem_array(count + 1, sizeof(*plan->steps));
	for (size_t i = 0; good && i < count; i++) {
		*bad_step = i;
		if (i == EXCHANGE_STEPS_MAX)
			good = error_set(err, "an exchange has at most %d steps", EXCHANGE_STEPS_MAX);
		else
			good = step_read(plan, &steps[i], err);
	}
	if (good && guard_waits(plan->steps, plan->steps + plan->count))
		good = error_set(err, "expect_not guards the next expect: an expect must follow it");
	if (good)
		return plan;
	exchange_plan_free(plan);
	return NULL;
}

void exchange_plan_free(struct exchange_plan *plan)
{
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->count; i++) {
		struct step *step = &plan->steps[i];

		for (size_t j = 0; j < step->piece_count; j++)
			wipe_done(&step->pieces[j].bytes);
		free(step->pieces);
		mem_wipe_free(step->text);
		expect_free(step->expect);
	}
	for (size_t i = 0; i < plan->capture_count; i++)
		free(plan->captures[i]);
	free(plan->captures);
	free(plan->steps);
	free(plan);
}

bool exchange_plan_starts_tls(const struct exchange_plan *plan)
{
	return plan->starts_tls;
}

/* ---- one that runs ---- */

/* Whether there can be more input than what is there. */
enum ending { ENDING_NOT, ENDING_QUIET, ENDING_CLOSED, ENDING_TIMED_OUT };

struct exchange {
	const struct exchange_plan *plan;
	enum exchange_next next;
	size_t step;
	bool begun;            /* the step has been entered */
	enum ending ending;
	struct str input;      /* received and not consumed */
	size_t before_send;    /* of it, what came before the last send was over: no answer to that */
	bool mid_line;         /* the last match ended within a line, the rest of which is (or comes) first in input */
	bool skip_line;        /* the same when the last send was over: that rest is no answer either */
	struct str output;
	size_t sent;
	struct expect_search **searches; /* of the guards, and the expect last */
	size_t search_count;
	bool unsettled;
	struct str *captured;  /* by the plan's captures */
	enum reason reason;
	struct str text;
};

static const struct step *step_of(const struct exchange *exchange)
{
	return &exchange->plan->steps[exchange->step];
}

static bool is_final(const struct exchange *exchange)
{
	return exchange->ending != ENDING_NOT;
}

/* How bytes are shown: line ends as they are known, anything else that is not fit to be seen as \xNN. */
static void add_shown(struct str *out, const char *data, size_t bytes, size_t max_bytes)
{
	static const char special[] = "\r\n\t";
	static const char letters[] = "rnt";
	size_t shown = bytes < max_bytes ? bytes : max_bytes;

	str_add_char(out, '"');
	for (size_t i = 0, end; i < shown; i = end) {
		const char *which = data[i] != '\0' ? strchr(special, data[i]) : NULL;

		end = i + 1;
		if (which != NULL) {
			str_addf(out, "\\%c", letters[which - special]);
			continue;
		}
		while (end < shown && (data[end] == '\0' || strchr(special, data[end]) == NULL))
			end++;
		str_add_clean(out, data + i, end - i, end - i);
	}
	str_add(out, bytes > shown ? "...\"" : "\"");
}

/* What came, from `start` on. A peer may repeat what it was told; scrubbed first, for cutting could split a secret. */
static void add_input(struct exchange *exchange, size_t start)
{
	const struct exchange_plan *plan = exchange->plan;
	struct str shown = { 0 };

	str_add_bytes(&shown, exchange->input.data + start, exchange->input.bytes - start);
	for (size_t i = 0; i < plan->count; i++)
		for (size_t j = 0; j < plan->steps[i].piece_count; j++) {
			const struct piece *piece = &plan->steps[i].pieces[j];

			if (piece->secret)
				str_scrub(&shown, piece->bytes.data, piece->bytes.bytes);
		}
	add_shown(&exchange->text, shown.data, shown.bytes, SHOWN_RECEIVED_BYTES_MAX);
	wipe_done(&shown);
}

/* "step 2, expect "^220": "; what is sent is not shown. */
static void name_step(struct exchange *exchange, size_t index)
{
	const struct step *step = &exchange->plan->steps[index];

	str_clear(&exchange->text);
	str_addf(&exchange->text, "step %zu, %s", index + 1, kinds[step->kind]);
	if (step->kind == EXCHANGE_EXPECT || step->kind == EXCHANGE_EXPECT_NOT ||
	    step->kind == EXCHANGE_EXPECT_HEX) {
		str_add_char(&exchange->text, ' ');
		add_shown(&exchange->text, step->text, strlen(step->text), SHOWN_EXPRESSION_BYTES_MAX);
	}
	str_add(&exchange->text, ": ");
}

static void fail(struct exchange *exchange, size_t index, enum reason reason, const char *text)
{
	name_step(exchange, index);
	str_add(&exchange->text, text);
	exchange->reason = reason;
	exchange->next = EXCHANGE_FAILED;
}

/* Where in the input the answer begins that the present step waits for. */
static size_t answer_start(const struct exchange *exchange)
{
	const struct str *input = &exchange->input;
	size_t start = exchange->before_send;
	const char *line_end;

	if (!exchange->skip_line || start == input->bytes ||
	    (start > 0 && memchr(input->data, '\n', start) != NULL))
		return start;
	line_end = memchr(input->data + start, '\n', input->bytes - start);
	return line_end != NULL ? (size_t)(line_end + 1 - input->data) : input->bytes;
}

static const char *ending_text(const struct exchange *exchange)
{
	switch (exchange->ending) {
	case ENDING_CLOSED: return ", then the peer closed";
	case ENDING_TIMED_OUT: return " until the time was over";
	default: return "";
	}
}

static void fail_with_input(struct exchange *exchange, size_t index, enum reason reason)
{
	const struct str *input = &exchange->input;
	size_t start = answer_start(exchange);

	if (start == input->bytes) /* a guard that fits what came before: that is what was wrong */
		start = 0;
	fail(exchange, index, reason, "received ");
	add_input(exchange, start);
	str_add(&exchange->text, ending_text(exchange));
}

/* What came is wrong. */
static void mismatch(struct exchange *exchange, size_t index)
{
	fail_with_input(exchange, index, REASON_EXCHANGE_MISMATCH);
}

/* What came is right, as far as it goes: of bytes no other come this far. */
static bool has_begun(const struct exchange *exchange)
{
	return step_of(exchange)->kind == EXCHANGE_EXPECT_HEX ||
	       expect_search_has_begun(exchange->searches[exchange->search_count - 1]);
}

/* The present step waits for what will not come. */
static void not_come(struct exchange *exchange)
{
	bool closed = exchange->ending == ENDING_CLOSED;
	enum reason reason = closed ? REASON_EXCHANGE_CLOSED : REASON_EXCHANGE_TIMEOUT;
	enum exchange_kind kind = step_of(exchange)->kind;

	if (is_send(kind))
		fail(exchange, exchange->step, reason,
		     closed ? "the peer closed before all was sent" : "not all was sent until the time was over");
	else if (kind == EXCHANGE_STARTTLS)
		fail(exchange, exchange->step, reason,
		     closed ? "the peer closed before TLS" :
			      "the line of the go-ahead had no end until the time was over (expect_hex is for "
			      "protocols without lines)");
	else if (answer_start(exchange) < exchange->input.bytes)
		fail_with_input(exchange, exchange->step, has_begun(exchange) ? reason : REASON_EXCHANGE_MISMATCH);
	else
		fail(exchange, exchange->step, reason,
		     closed ? "the peer closed and had sent nothing" : "received nothing until the time was over");
}

static void too_long(struct exchange *exchange, size_t index, const char *text)
{
	fail(exchange, index, REASON_EXCHANGE_TOO_LONG, text);
}

/* Neither yes nor no: what came is not what was expected, as far as anybody can tell. */
static void gave_up(struct exchange *exchange, size_t index, const char *text)
{
	fail(exchange, index, REASON_EXCHANGE_MISMATCH, text);
}

static void consume(struct exchange *exchange, size_t bytes)
{
	struct str *input = &exchange->input;

	if (bytes == 0)
		return;
	exchange->mid_line = input->data[bytes - 1] != '\n';
	if (memchr(input->data, '\n', bytes) != NULL)
		exchange->skip_line = false;
	memmove(input->data, input->data + bytes, input->bytes - bytes + 1); /* and the terminator */
	input->bytes -= bytes;
	exchange->before_send -= exchange->before_send < bytes ? exchange->before_send : bytes;
}

static void searches_done(struct exchange *exchange)
{
	for (size_t i = 0; i < exchange->search_count; i++)
		expect_search_free(exchange->searches[i]);
	free(exchange->searches);
	exchange->searches = NULL;
	exchange->search_count = 0;
	exchange->unsettled = false;
}

static void step_over(struct exchange *exchange)
{
	searches_done(exchange);
	exchange->step++;
	exchange->begun = false;
}

/* ---- send ---- */

static bool run_send(struct exchange *exchange)
{
	const struct step *step = step_of(exchange);

	if (!exchange->begun) {
		str_clear(&exchange->output);
		exchange->sent = 0;
		for (size_t i = 0; i < step->piece_count; i++) {
			const struct piece *piece = &step->pieces[i];
			const struct str *bytes =
				piece->capture != 0 ? &exchange->captured[piece->capture - 1] : &piece->bytes;

			str_add_bytes(&exchange->output, bytes->data, bytes->bytes);
		}
		exchange->begun = true;
	}
	if (exchange->sent < exchange->output.bytes) {
		if (exchange->ending == ENDING_CLOSED || exchange->ending == ENDING_TIMED_OUT)
			not_come(exchange);
		return false;
	}
	if (exchange->sent > 0) {
		exchange->before_send = exchange->input.bytes;
		exchange->skip_line = exchange->mid_line;
	}
	step_over(exchange);
	return true;
}

/* ---- expect ---- */

/* The guards stand before their expect, which is the step under way; sends may stand between. */
static size_t guard_index(const struct exchange *exchange, size_t guard)
{
	size_t index = exchange->step;

	for (size_t ahead = exchange->search_count - 1 - guard; ahead > 0; ahead--)
		do
			index--;
		while (exchange->plan->steps[index].kind != EXCHANGE_EXPECT_NOT);
	return index;
}

static void searches_start(struct exchange *exchange)
{
	const struct step *steps = exchange->plan->steps;
	size_t first = exchange->step;

	exchange->search_count = 1;
	for (; first > 0 && (steps[first - 1].kind == EXCHANGE_EXPECT_NOT || is_send(steps[first - 1].kind)); first--)
		exchange->search_count += steps[first - 1].kind == EXCHANGE_EXPECT_NOT;
	exchange->searches = mem_array(exchange->search_count, sizeof(*exchange->searches));
	for (size_t i = 0, step = first; step <= exchange->step; step++)
		if (steps[step].expect != NULL)
			exchange->searches[i++] = expect_search_new(steps[step].expect);
	exchange->begun = true;
}

static bool is_too_hard(struct exchange *exchange, enum expect_outcome outcome, size_t index)
{
	if (outcome == EXPECT_TOO_HARD)
		gave_up(exchange, index, "gave up: the expression takes too many steps on what was received");
	return outcome == EXPECT_TOO_HARD;
}

/* True: the exchange is over. */
static bool guards_object(struct exchange *exchange, size_t consumed)
{
	for (size_t i = 0; i + 1 < exchange->search_count; i++) {
		size_t index = guard_index(exchange, i);
		enum expect_outcome outcome =
			consumed == 0 ? EXPECT_NOT_FOUND :
					expect_matches(exchange->plan->steps[index].expect, exchange->input.data,
						       consumed);

		if (outcome == EXPECT_FOUND)
			mismatch(exchange, index);
		if (outcome == EXPECT_FOUND || is_too_hard(exchange, outcome, index))
			return true;
	}
	return false;
}

/*
 * While the expect has not matched, and cannot before `bound`: what comes before that it will consume, if it ever does,
 * so a guard that is settled there will object then. True: the exchange is over.
 */
static bool guards_object_early(struct exchange *exchange, size_t bound)
{
	const struct str *input = &exchange->input;
	bool over = exchange->ending == ENDING_CLOSED || exchange->ending == ENDING_TIMED_OUT;

	for (size_t i = 0; i + 1 < exchange->search_count; i++) {
		size_t index = guard_index(exchange, i);
		enum expect_outcome outcome =
			expect_search(exchange->searches[i], input->data, over ? input->bytes : bound, !over);

		if (is_too_hard(exchange, outcome, index))
			return true;
		if (outcome == EXPECT_FOUND) {
			mismatch(exchange, index);
			return true;
		}
	}
	return false;
}

/* False: one is too long, and the exchange over. */
static bool keep_captures(struct exchange *exchange, const struct expect_search *search)
{
	const struct exchange_plan *plan = exchange->plan;

	for (size_t i = 0; i < plan->capture_count; i++) {
		size_t start;
		size_t bytes;

		if (!expect_search_group(search, plan->captures[i], &start, &bytes))
			continue;
		if (bytes > EXCHANGE_CAPTURE_BYTES_MAX) {
			AUTO(string) char *text = mem_printf("%s captured more than %d bytes", plan->captures[i],
							     EXCHANGE_CAPTURE_BYTES_MAX);

			too_long(exchange, exchange->step, text);
			return false;
		}
		str_clear(&exchange->captured[i]);
		str_add_bytes(&exchange->captured[i], exchange->input.data + start, bytes);
	}
	return true;
}

static bool run_expect(struct exchange *exchange)
{
	const struct str *input = &exchange->input;
	struct expect_search *search;
	enum expect_outcome outcome;

	if (!exchange->begun)
		searches_start(exchange);
	search = exchange->searches[exchange->search_count - 1];
	outcome = expect_search(search, input->data, input->bytes, !is_final(exchange));
	if (is_too_hard(exchange, outcome, exchange->step))
		return false;
	if (outcome == EXPECT_FOUND) {
		if (guards_object(exchange, expect_search_end(search)) || !keep_captures(exchange, search))
			return false;
		consume(exchange, expect_search_end(search));
		step_over(exchange);
		return true;
	}
	exchange->unsettled = outcome == EXPECT_UNSETTLED;
	if (guards_object_early(exchange, expect_search_bound(search)))
		return false;
	if (exchange->ending == ENDING_CLOSED || exchange->ending == ENDING_TIMED_OUT)
		not_come(exchange);
	return false;
}

static bool run_expect_hex(struct exchange *exchange)
{
	const struct str *wanted = &step_of(exchange)->pieces[0].bytes;
	const struct str *input = &exchange->input;
	size_t common = input->bytes < wanted->bytes ? input->bytes : wanted->bytes;

	if (!exchange->begun)
		searches_start(exchange);
	if (common > 0 && memcmp(input->data, wanted->data, common) != 0) {
		mismatch(exchange, exchange->step);
		return false;
	}
	if (common < wanted->bytes) {
		if (exchange->ending == ENDING_CLOSED || exchange->ending == ENDING_TIMED_OUT)
			not_come(exchange);
		return false;
	}
	if (guards_object(exchange, common))
		return false;
	consume(exchange, common);
	exchange->mid_line = false;
	step_over(exchange);
	return true;
}

/* ---- starttls ---- */

static bool run_starttls(struct exchange *exchange)
{
	const struct str *input = &exchange->input;

	if (exchange->mid_line) {
		const char *line_end = input->bytes > 0 ? memchr(input->data, '\n', input->bytes) : NULL;

		if (line_end != NULL)
			consume(exchange, (size_t)(line_end + 1 - input->data));
	}
	if (!exchange->mid_line && input->bytes > 0) {
		fail(exchange, exchange->step, REASON_EXCHANGE_MISMATCH, "the peer spoke between the go-ahead and TLS: ");
		add_input(exchange, 0);
	} else if (exchange->ending == ENDING_CLOSED || exchange->ending == ENDING_TIMED_OUT) {
		not_come(exchange);
	} else if (!exchange->mid_line) {
		exchange->next = EXCHANGE_START_TLS;
	}
	return false;
}

/* ---- the whole ---- */

/* True: the step is done. */
static bool run_step(struct exchange *exchange)
{
	switch (step_of(exchange)->kind) {
	case EXCHANGE_SEND:
	case EXCHANGE_SEND_HEX: return run_send(exchange);
	case EXCHANGE_EXPECT: return run_expect(exchange);
	case EXCHANGE_EXPECT_HEX: return run_expect_hex(exchange);
	case EXCHANGE_STARTTLS: return run_starttls(exchange);
	case EXCHANGE_EXPECT_NOT: break;
	}
	step_over(exchange);
	return true;
}

static enum exchange_next advance(struct exchange *exchange)
{
	while (exchange->next == EXCHANGE_GO_ON) {
		if (exchange->step == exchange->plan->count)
			exchange->next = EXCHANGE_DONE;
		else if (!run_step(exchange))
			break;
		else if (exchange->ending == ENDING_QUIET)
			exchange->ending = ENDING_NOT; /* it settled one match */
	}
	if (exchange->ending == ENDING_QUIET)
		exchange->ending = ENDING_NOT;
	return exchange->next;
}

struct exchange *exchange_new(const struct exchange_plan *plan)
{
	struct exchange *exchange = mem_new(struct exchange);

	exchange->plan = plan;
	exchange->captured = mem_array(plan->capture_count + 1, sizeof(*exchange->captured));
	return exchange;
}

void exchange_free(struct exchange *exchange)
{
	if (exchange == NULL)
		return;
	searches_done(exchange);
	for (size_t i = 0; i < exchange->plan->capture_count; i++)
		str_done(&exchange->captured[i]);
	free(exchange->captured);
	str_done(&exchange->input);
	wipe_done(&exchange->output);
	str_done(&exchange->text);
	free(exchange);
}

enum exchange_next exchange_begin(struct exchange *exchange)
{
	return advance(exchange);
}

enum exchange_next exchange_input(struct exchange *exchange, const void *data, size_t bytes)
{
	const char *at = data;

	while (exchange->next == EXCHANGE_GO_ON && bytes > 0) {
		size_t room = EXCHANGE_INPUT_BYTES_MAX - exchange->input.bytes;
		size_t taken = bytes < room ? bytes : room;

		if (room == 0) {
			too_long(exchange, exchange->step, "received more than 64 KiB without a match");
			break;
		}
		str_add_bytes(&exchange->input, at, taken);
		at += taken;
		bytes -= taken;
		advance(exchange);
	}
	/* What came beyond the cap behind the go-ahead is no less a word out of place. */
	if (exchange->next == EXCHANGE_START_TLS && bytes > 0)
		fail(exchange, exchange->step, REASON_EXCHANGE_MISMATCH, "the peer spoke between the go-ahead and TLS");
	return exchange->next;
}

enum exchange_next exchange_tls_started(struct exchange *exchange)
{
	assert(exchange->next == EXCHANGE_START_TLS);
	exchange->next = EXCHANGE_GO_ON;
	exchange->skip_line = false;
	step_over(exchange);
	return advance(exchange);
}

const char *exchange_output(const struct exchange *exchange, size_t *bytes)
{
	*bytes = exchange->next == EXCHANGE_GO_ON ? exchange->output.bytes - exchange->sent : 0;
	return *bytes > 0 ? exchange->output.data + exchange->sent : "";
}

enum exchange_next exchange_output_sent(struct exchange *exchange, size_t bytes)
{
	assert(bytes <= exchange->output.bytes - exchange->sent);
	exchange->sent += bytes;
	return advance(exchange);
}

bool exchange_is_unsettled(const struct exchange *exchange)
{
	return exchange->next == EXCHANGE_GO_ON && exchange->unsettled;
}

enum exchange_next exchange_quiet(struct exchange *exchange)
{
	if (exchange_is_unsettled(exchange)) {
		exchange->ending = ENDING_QUIET;
		advance(exchange);
	}
	return exchange->next;
}

static enum exchange_next end(struct exchange *exchange, enum ending ending)
{
	bool unsettled = exchange_is_unsettled(exchange);
	size_t step = exchange->step;

	exchange->ending = ending;
	if (exchange->next == EXCHANGE_START_TLS)
		not_come(exchange);
	advance(exchange);
	/* Settled only now, and too late for what follows: the step to blame is not that, nor the peer's silence. */
	if (unsettled && exchange->next == EXCHANGE_FAILED && exchange->step > step && ending == ENDING_TIMED_OUT)
		fail(exchange, step, REASON_EXCHANGE_TIMEOUT,
		     "what was received matches only if nothing follows, which was not sure before the time was over: "
		     "the expression should end where the answer does");
	return exchange->next;
}

enum exchange_next exchange_closed(struct exchange *exchange)
{
	return end(exchange, ENDING_CLOSED);
}

enum exchange_next exchange_timed_out(struct exchange *exchange)
{
	return end(exchange, ENDING_TIMED_OUT);
}

enum reason exchange_failure(const struct exchange *exchange, const char **text)
{
	*text = exchange->text.data != NULL ? exchange->text.data : "";
	return exchange->next == EXCHANGE_FAILED ? exchange->reason : REASON_OK;
}

size_t exchange_step(const struct exchange *exchange)
{
	return exchange->step;
}
