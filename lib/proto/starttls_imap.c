/* SPDX-License-Identifier: MIT */
/*
 * imap (RFC 9051 6.1.1, 6.2.1). A greeting may list the capabilities, and saves a question if it has STARTTLS; one
 * that has not may be short, so that CAPABILITY decides.
 */
#include <string.h>
#include <strings.h>

#include "lib/proto/starttls_private.h"

static void say_starttls(struct starttls_talk *starttls)
{
	starttls_say(starttls, "STARTTLS", "a2 STARTTLS\r\n");
}

static void on_greeting(struct starttls_talk *starttls, const char *words)
{
	static const char code[] = "OK [CAPABILITY ";

	if (starttls_word_is(words, "PREAUTH")) /* 7.1.4: logged in, where TLS cannot begin any more */
		starttls_not_offered(starttls, "logged in already");
	else if (!starttls_word_is(words, "OK"))
		starttls_strange(starttls);
	else if (strncasecmp(words, code, strlen(code)) == 0 &&
		 starttls_has_word(words + strlen(code), "STARTTLS"))
		say_starttls(starttls);
	else
		starttls_say(starttls, "CAPABILITY", "a1 CAPABILITY\r\n");
}

/* What comes unasked between the others is no answer and may be anything. */
static void on_untagged(struct starttls_talk *starttls, const char *words)
{
	if (starttls_word_is(words, "BYE")) {
		starttls_refused(starttls, NULL);
	} else if (starttls_is_at(starttls, "greeting")) {
		on_greeting(starttls, words);
	} else if (starttls_is_at(starttls, "CAPABILITY") && starttls_word_is(words, "CAPABILITY")) {
		words += strlen("CAPABILITY");
		starttls->listed |= starttls_has_word(words, "STARTTLS");
		starttls_note_listed(starttls, words + strspn(words, " "));
	}
}

static void on_tagged(struct starttls_talk *starttls, const char *words)
{
	if (starttls_word_is(words, "NO") || starttls_word_is(words, "BAD"))
		starttls_refused(starttls, NULL);
	else if (!starttls_word_is(words, "OK"))
		starttls_strange(starttls);
	else if (starttls_is_at(starttls, "STARTTLS"))
		starttls_go_ahead(starttls);
	else if (starttls->listed)
		say_starttls(starttls);
	else
		starttls_not_listed(starttls, "STARTTLS");
}

void starttls_imap_line(struct starttls_talk *starttls, const char *line)
{
	const char *tag = starttls_is_at(starttls, "STARTTLS") ? "a2 " : "a1 ";

	if (strncmp(line, "* ", 2) == 0)
		on_untagged(starttls, line + 2);
	else if (strncmp(line, tag, 3) == 0 && !starttls_is_at(starttls, "greeting"))
		on_tagged(starttls, line + 3);
	else
		starttls_strange(starttls);
}
