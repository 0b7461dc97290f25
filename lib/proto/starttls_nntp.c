/* SPDX-License-Identifier: MIT */
/*
 * nntp (RFC 3977, 4642). A server that knows no CAPABILITIES is older than they and is asked all the same. What is
 * listed may yet be refused: nnrpd without a certificate lists STARTTLS and answers it with 580.
 */
#include <string.h>

#include "lib/proto/starttls_private.h"

static void on_greeting(struct starttls_talk *starttls, int code)
{
	if (code >= 400)
		starttls_refused(starttls, NULL);
	else if (code == 200 || code == 201)
		starttls_say(starttls, "CAPABILITIES", "CAPABILITIES\r\n");
	else
		starttls_strange(starttls);
}

static void on_capabilities(struct starttls_talk *starttls, int code)
{
	if (code == 101 && starttls_was_asked(starttls))
		starttls->waits_for = "list of CAPABILITIES";
	else if (code == 500 || code == 501 || code == 502)
		starttls_say(starttls, "STARTTLS", "STARTTLS\r\n");
	else if (code >= 400)
		starttls_refused(starttls, NULL);
	else
		starttls_strange(starttls);
}

static void on_listed(struct starttls_talk *starttls, const char *line)
{
	if (strcmp(line, ".") != 0) {
		starttls->listed |= starttls_word_is(line, "STARTTLS");
		starttls_note_listed(starttls, line);
	} else if (starttls->listed) {
		starttls_say(starttls, "STARTTLS", "STARTTLS\r\n");
	} else {
		starttls_not_listed(starttls, "STARTTLS");
	}
}

static void on_starttls(struct starttls_talk *starttls, int code)
{
	if (code == 382)
		starttls_go_ahead(starttls);
	else if (!starttls->listed && (code == 500 || code == 501 || code == 502))
		starttls_not_offered(starttls, NULL);
	else if (code >= 400)
		starttls_refused(starttls, NULL);
	else
		starttls_strange(starttls);
}

void starttls_nntp_line(struct starttls_talk *starttls, const char *line)
{
	int code = starttls_code(line);

	if (starttls_is_at(starttls, "list of CAPABILITIES"))
		on_listed(starttls, line);
	else if (code < 100 || code > 599)
		starttls_strange(starttls);
	else if (starttls_is_at(starttls, "CAPABILITIES"))
		on_capabilities(starttls, code);
	else if (starttls_is_at(starttls, "STARTTLS"))
		on_starttls(starttls, code);
	else
		on_greeting(starttls, code);
}
