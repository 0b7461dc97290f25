/* SPDX-License-Identifier: MIT */
/*
 * irc (RFC 2812, IRCv3 "capability negotiation" and "tls"). There is no greeting: a server may say nothing before
 * we do, or any notices at any time. The open negotiation keeps it from wanting a registration. A server that
 * knows no CAP is asked for STARTTLS all the same.
 */
#include <string.h>

#include "lib/proto/starttls_private.h"

void starttls_irc_start(struct starttls_talk *starttls)
{
	starttls_say(starttls, "CAP LS", "CAP LS 302\r\n");
}

static void say_starttls(struct starttls_talk *starttls)
{
	starttls_say(starttls, "STARTTLS", "STARTTLS\r\n");
}

/* "* LS * :some capabilities" if there are more to come, else "* LS :capabilities". */
static void on_capabilities(struct starttls_talk *starttls, const char *params)
{
	const char *list = strchr(params, ' ');
	bool more;

	if (list == NULL || !starttls_word_is(list + 1, "LS"))
		return;
	list += strcspn(list + 1, " ") + 1;
	list += strspn(list, " ");
	more = strncmp(list, "* ", 2) == 0;
	list += more ? 2 : 0;
	list += *list == ':';
	starttls->listed |= starttls_has_word(list, "tls");
	starttls_note_listed(starttls, list);
	if (more)
		return;
	if (starttls->listed)
		say_starttls(starttls);
	else
		starttls_not_listed(starttls, "tls");
}

static bool is_unknown(int numeric)
{
	return numeric == 410 || numeric == 421 || numeric == 451; /* CAP subcommand, command, "not registered" */
}

static void on_numeric(struct starttls_talk *starttls, int numeric)
{
	bool at_starttls = starttls_is_at(starttls, "STARTTLS");

	if (numeric == 670 && at_starttls)
		starttls_go_ahead(starttls);
	else if (numeric == 670)
		starttls_strange(starttls);
	else if (numeric == 691 || numeric == 465) /* STARTTLS failed, "you are banned" */
		starttls_refused(starttls, NULL);
	else if (is_unknown(numeric) && at_starttls && starttls->listed)
		starttls_refused(starttls, NULL);
	else if (is_unknown(numeric) && at_starttls)
		starttls_not_offered(starttls, NULL);
	else if (is_unknown(numeric))
		say_starttls(starttls);
}

static const char *next_word(const char *line)
{
	line += strcspn(line, " ");
	return line + strspn(line, " ");
}

static bool is_command(const char *line)
{
	size_t bytes = strcspn(line, " ");

	return bytes > 0 && (starttls_code(line) > 0 || strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == bytes);
}

void starttls_irc_line(struct starttls_talk *starttls, const char *line)
{
	if (line[0] == '@')
		line = next_word(line);
	if (line[0] == ':')
		line = next_word(line);
	if (line[0] == '\0')
		return;
	if (!is_command(line))
		starttls_strange(starttls);
	else if (starttls_word_is(line, "ERROR"))
		starttls_refused(starttls, NULL);
	else if (starttls_word_is(line, "CAP") && starttls_is_at(starttls, "CAP LS"))
		on_capabilities(starttls, next_word(line));
	else if (starttls_code(line) > 0)
		on_numeric(starttls, starttls_code(line));
}
