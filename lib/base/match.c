/* SPDX-License-Identifier: MIT */
#include "lib/base/match.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/base/words.h"

enum { WORD_SHOWN_BYTES = 80 };

static const char *const key_names[MATCH_KEY_COUNT] = {
	[MATCH_TARGET] = "target", [MATCH_GROUP] = "group", [MATCH_CHECK] = "check", [MATCH_LEVEL] = "level",
	[MATCH_REASON] = "reason", [MATCH_EVENT] = "event", [MATCH_LOCATION] = "location", [MATCH_LABEL] = "label",
};

static size_t character_bytes(const char *text)
{
	uint32_t character;
	size_t bytes = str_utf8(text, strlen(text), &character);

	return bytes > 0 ? bytes : 1;
}

/* "[abc]", "[0-9]", "[!a]": whether *text is one of them; *glob moves behind the set. Without its end `[` is itself. */
static bool set_fits(const char **glob, char c)
{
	const char *p = *glob + 1;
	bool exclude = *p == '!' || *p == '^';
	bool found = false;

	if (exclude)
		p++;
	for (bool first = true; *p != '\0' && (*p != ']' || first); first = false) {
		char from = *p++;
		char to = from;

		if (p[0] == '-' && p[1] != ']' && p[1] != '\0') {
			to = p[1];
			p += 2;
		}
		found = found || (c >= from && c <= to);
	}
	if (*p == '\0') {
		++*glob;
		return c == '[';
	}
	*glob = p + 1;
	return found != exclude;
}

/* Whether what stands at *glob (no star) fits what stands at *text; both move behind it. */
static bool one_fits(const char **glob, const char **text)
{
	switch (**glob) {
	case '?':
		++*glob;
		*text += character_bytes(*text);
		return true;
	case '[':
		return set_fits(glob, *(*text)++);
	case '\\':
		if ((*glob)[1] != '\0')
			++*glob;
		break;
	default:
		break;
	}
	return *(*glob)++ == *(*text)++;
}

/* Goes back only to the last star: time is bounded by the product of the lengths. */
static bool glob_fits(const char *glob, const char *text)
{
	const char *after_star = NULL;
	const char *retry = NULL;

	while (*text != '\0') {
		if (*glob == '*') {
			after_star = ++glob;
			retry = text;
		} else if (*glob == '\0' || !one_fits(&glob, &text)) {
			if (after_star == NULL)
				return false;
			glob = after_star;
			text = ++retry;
		}
	}
	while (*glob == '*')
		glob++;
	return *glob == '\0';
}

/* A name with brackets, "[2001:db8::1]:443", fits itself although it reads as a set. */
static bool term_fits(const struct match_term *term, const char *value)
{
	if (value == NULL)
		return false;
	for (size_t i = 0; i < term->glob_count; i++)
		if (strcmp(term->globs[i], value) == 0 || glob_fits(term->globs[i], value))
			return true;
	return false;
}

static const char *subject_value(const struct match_subject *subject, const struct match_term *term)
{
	if (term->key != MATCH_LABEL)
		return subject->values[term->key];
	for (size_t i = 0; i < subject->label_count; i++)
		if (strcmp(subject->labels[i].name, term->label) == 0)
			return subject->labels[i].value;
	return NULL;
}

bool match_holds(const struct match *match, const struct match_subject *subject)
{
	for (size_t i = 0; i < match->term_count; i++)
		if (!term_fits(&match->terms[i], subject_value(subject, &match->terms[i])))
			return false;
	/* An empty `not` would exclude everything without a word: it excludes nothing. */
	if (match->without == NULL || (match->without->term_count == 0 && match->without->without == NULL))
		return true;
	return !match_holds(match->without, subject);
}

static const char *check_word(int index)
{
	return check_name((enum check)index);
}

static const char *level_word(int index)
{
	return level_name((enum level)index);
}

static const char *reason_word(int index)
{
	return reason_name((enum reason)index);
}

static const char *event_word(int index)
{
	return event_name((enum event_kind)index);
}

struct vocabulary {
	const char *(*word)(int index);
	int count;
};

/* Keys whose words are fixed. */
static const struct vocabulary vocabularies[MATCH_KEY_COUNT] = {
	[MATCH_CHECK] = { check_word, CHECK_COUNT },
	[MATCH_LEVEL] = { level_word, LEVEL_COUNT },
	[MATCH_REASON] = { reason_word, REASON_COUNT },
	[MATCH_EVENT] = { event_word, EVENT_COUNT },
};

static bool unknown(struct error *err, const char *what, const char *word, const char *const *words)
{
	AUTO(string) char *clean = str_clean(word, strlen(word), WORD_SHOWN_BYTES);
	const char *nearest = str_nearest(word, words);

	if (nearest == NULL)
		return error_set(err, "unknown %s \"%s\"", what, clean);
	return error_set(err, "unknown %s \"%s\" (did you mean \"%s\"?)", what, clean, nearest);
}

static bool word_exists(enum match_key key, const char *glob, struct error *err)
{
	const struct vocabulary *vocabulary = &vocabularies[key];
	const char *words[REASON_COUNT + 1] = { NULL };

	if (vocabulary->word == NULL || strpbrk(glob, "*?[\\") != NULL)
		return true;
	for (int i = 0; i < vocabulary->count; i++) {
		words[i] = vocabulary->word(i);
		if (strcmp(words[i], glob) == 0)
			return true;
	}
	return unknown(err, key_names[key], glob, words);
}

/* "label.env" is MATCH_LABEL and *label = "env". */
static bool key_parse(const char *text, enum match_key *key, const char **label, struct error *err)
{
	const char *words[MATCH_KEY_COUNT + 1] = { NULL };

	*label = NULL;
	if (str_starts(text, "label.") && text[6] != '\0') {
		*key = MATCH_LABEL;
		*label = text + 6;
		return true;
	}
	for (int i = 0; i < MATCH_LABEL; i++) {
		words[i] = key_names[i];
		if (strcmp(text, key_names[i]) == 0) {
			*key = (enum match_key)i;
			return true;
		}
	}
	if (str_starts(text, "label"))
		return error_set(err, "a label is matched by its name: label.NAME");
	return unknown(err, "key", text, words);
}

static struct match_term *term_for(struct match *match, enum match_key key, const char *label)
{
	struct match_term *term;
	size_t capacity = match->term_count;

	for (size_t i = 0; i < match->term_count; i++)
		if (match->terms[i].key == key && str_equal(match->terms[i].label, label))
			return &match->terms[i];
	match->terms = mem_grow(match->terms, &capacity, match->term_count + 1, sizeof(*match->terms));
	term = &match->terms[match->term_count++];
	term->key = key;
	term->label = mem_strdup(label);
	return term;
}

bool match_add(struct match *match, const char *key, const char *glob, struct error *err)
{
	struct match_term *term;
	enum match_key parsed = MATCH_TARGET;
	const char *label;
	size_t capacity;

	if (!key_parse(key, &parsed, &label, err))
		return false;
	if (glob[0] == '\0') {
		AUTO(string) char *clean = str_clean(key, strlen(key), WORD_SHOWN_BYTES);

		return error_set(err, "%s: a value is missing", clean);
	}
	if (!word_exists(parsed, glob, err))
		return false;
	term = term_for(match, parsed, label);
	capacity = term->glob_count;
	term->globs = mem_grow(term->globs, &capacity, term->glob_count + 1, sizeof(*term->globs));
	term->globs[term->glob_count++] = mem_strdup(glob);
	return true;
}

/* key=a,b: each of the values is a glob. */
static bool add_assignment(struct match *match, const char *word, const char *equals, struct error *err)
{
	AUTO(string) char *key = mem_strndup(word, (size_t)(equals - word));
	const char *value = equals + 1;

	for (;;) {
		size_t bytes = strcspn(value, ",");
		AUTO(string) char *glob = mem_strndup(value, bytes);

		if (!match_add(match, key, glob, err))
			return false;
		if (value[bytes] == '\0')
			return true;
		value += bytes + 1;
	}
}

bool match_from_words(struct match *match, const char *const *words, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const char *equals = strchr(words[i], '=');
		bool fine = equals != NULL ? add_assignment(match, words[i], equals, err) :
					     match_add(match, "target", words[i], err);

		if (!fine) {
			match_done(match);
			return false;
		}
	}
	return true;
}

void match_done(struct match *match)
{
	for (size_t i = 0; i < match->term_count; i++) {
		struct match_term *term = &match->terms[i];

		for (size_t j = 0; j < term->glob_count; j++)
			free(term->globs[j]);
		free(term->globs);
		free(term->label);
	}
	free(match->terms);
	if (match->without != NULL) {
		match_done(match->without);
		free(match->without);
	}
	*match = (struct match){ 0 };
}
