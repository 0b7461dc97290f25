/* SPDX-License-Identifier: MIT */
/* pop3 (RFC 2449, 2595). A server that knows no CAPA is asked for STLS all the same. */
#include <string.h>

#include "lib/proto/starttls_private.h"

static void say_stls(struct starttls_talk *starttls)
{
	starttls_say(starttls, "STLS", "STLS\r\n");
}

static void on_yes(struct starttls_talk *starttls)
{
	if (starttls_is_at(starttls, "STLS"))
		starttls_go_ahead(starttls);
	else if (starttls_is_at(starttls, "greeting"))
		starttls_say(starttls, "CAPA", "CAPA\r\n");
	else if (starttls_was_asked(starttls))
		starttls->waits_for = "list of CAPA";
	else
		starttls_broken(starttls, "the server answered before it was asked");
}

static void on_no(struct starttls_talk *starttls)
{
	if (starttls_is_at(starttls, "CAPA"))
		say_stls(starttls);
	else if (starttls_is_at(starttls, "STLS") && !starttls->listed)
		starttls_not_offered(starttls, NULL);
	else
		starttls_refused(starttls, NULL);
}

static void on_listed(struct starttls_talk *starttls, const char *line)
{
	if (strcmp(line, ".") != 0) {
		starttls->listed |= starttls_word_is(line, "STLS");
		starttls_note_listed(starttls, line);
	} else if (starttls->listed) {
		say_stls(starttls);
	} else {
		starttls_not_listed(starttls, "STLS");
	}
}

void starttls_pop3_line(struct starttls_talk *starttls, const char *line)
{
	if (starttls_is_at(starttls, "list of CAPA"))
		on_listed(starttls, line);
	else if (starttls_word_is(line, "+OK"))
		on_yes(starttls);
	else if (starttls_word_is(line, "-ERR"))
		on_no(starttls);
	else
		starttls_strange(starttls);
}
