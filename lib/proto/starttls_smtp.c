/* SPDX-License-Identifier: MIT */
/* smtp (RFC 5321, 3207) and lmtp (RFC 2033), which differ in one word. */
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"
#include "lib/proto/smtp.h"
#include "lib/proto/starttls_private.h"

void starttls_smtp_start(struct starttls_talk *starttls)
{
	starttls->own = mem_new(struct smtp_reply);
}

void starttls_smtp_done(struct starttls_talk *starttls)
{
	smtp_reply_done(starttls->own);
}

/* Its first line is a greeting, each other one an offer. */
static void on_offers(struct starttls_talk *starttls, struct smtp_reply *reply)
{
	char *rest = reply->text.data;
	char *offer;

	strsep(&rest, "\n");
	while ((offer = strsep(&rest, "\n")) != NULL) {
		starttls->listed |= strcasecmp(offer, "STARTTLS") == 0;
		starttls_note_listed(starttls, offer);
	}
	if (starttls->listed)
		starttls_say(starttls, "STARTTLS", "STARTTLS\r\n");
	else
		starttls_not_listed(starttls, "STARTTLS");
}

/* Not the command, but whoever says it, is what 550 and others are about. */
static bool is_unknown(int code)
{
	return code == 500 || code == 502 || code == 504;
}

static void on_reply(struct starttls_talk *starttls, struct smtp_reply *reply)
{
	const char *hello = starttls->protocol == STARTTLS_LMTP ? "LHLO" : "EHLO";
	bool at_hello = starttls_is_at(starttls, hello);

	if (at_hello && is_unknown(reply->code))
		starttls_not_offered(starttls, NULL);
	else if (reply->code >= 400)
		starttls_refused(starttls, NULL);
	else if (!starttls_was_asked(starttls))
		starttls_broken(starttls, "the server answered before it was asked");
	else if (reply->code >= 300)
		starttls_strange(starttls);
	else if (at_hello)
		on_offers(starttls, reply);
	else if (starttls_is_at(starttls, "STARTTLS"))
		starttls_go_ahead(starttls);
	else
		starttls_say(starttls, hello, "%s %s\r\n", hello, starttls->ehlo);
}

static void note_reply(struct starttls_talk *starttls, const struct smtp_reply *reply)
{
	AUTO(str) struct str words = { 0 };

	str_addf(&words, "%d ", reply->code);
	str_add_bytes(&words, reply->text.data != NULL ? reply->text.data : "", reply->text.bytes);
	for (size_t i = 0; i < words.bytes; i++)
		if (words.data[i] == '\n')
			words.data[i] = ' ';
	starttls_note_words(starttls, words.data, words.bytes);
}

void starttls_smtp_line(struct starttls_talk *starttls, const char *line)
{
	struct smtp_reply *reply = starttls->own;
	enum smtp_reading reading;
	size_t used;

	smtp_reply_read(reply, line, strlen(line), &used);
	reading = smtp_reply_read(reply, "\n", 1, &used);
	if (reading == SMTP_READING_BROKEN) {
		starttls_strange(starttls);
	} else if (reading == SMTP_READING_WHOLE) {
		note_reply(starttls, reply);
		on_reply(starttls, reply);
		smtp_reply_clear(reply);
	}
}
