/* SPDX-License-Identifier: MIT */
/*
 * sieve (ManageSieve, RFC 5804 1.7, 2.2). The greeting is the list of capabilities, a name and perhaps a value in
 * a line, each a quoted string or a literal, and OK. A name that has to be escaped is not STARTTLS.
 */
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

/* The string a line starts with; 0 if it does not. */
static size_t first_string(const char *line, const char **string)
{
	const char *end;

	if (line[0] == '"') {
		*string = line + 1;
		end = strchr(*string, '"');
		return end != NULL ? (size_t)(end - *string) : 0;
	}
	end = line[0] == '{' ? strstr(line, "}\r\n") : NULL;
	if (end == NULL)
		return 0;
	*string = end + 3;
	return strcspn(*string, " \r\n"); /* of a name, which has none of these */
}

static void on_capability(struct starttls_talk *starttls, const char *name, size_t bytes)
{
	AUTO(str) struct str word = { 0 };

	str_add_bytes(&word, name, bytes);
	starttls->listed |= strcasecmp(word.data, "STARTTLS") == 0;
	starttls_note_listed(starttls, word.data);
}

static void on_ok(struct starttls_talk *starttls)
{
	if (starttls_is_at(starttls, "STARTTLS"))
		starttls_go_ahead(starttls);
	else if (starttls->listed)
		starttls_say(starttls, "STARTTLS", "STARTTLS\r\n");
	else
		starttls_not_listed(starttls, "STARTTLS");
}

void starttls_sieve_line(struct starttls_talk *starttls, const char *line)
{
	const char *name;
	size_t bytes = first_string(line, &name);

	if (bytes > 0 && starttls_is_at(starttls, "greeting"))
		on_capability(starttls, name, bytes);
	else if (starttls_word_is(line, "OK"))
		on_ok(starttls);
	else if (starttls_word_is(line, "NO") || starttls_word_is(line, "BYE"))
		starttls_refused(starttls, NULL);
	else
		starttls_strange(starttls);
}
