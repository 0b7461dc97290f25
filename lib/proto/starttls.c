/* SPDX-License-Identifier: MIT */
#include "lib/proto/starttls.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

enum { NAME_BYTES_MAX = 255 };

#define GOODBYE(bytes) .goodbye = (bytes), .goodbye_bytes = sizeof(bytes) - 1

/*
 * No goodbye: after TLS an XMPP stream is not open again before we open it; postgres wants a login next, and would
 * note anything else as a broken one.
 */
static const struct starttls_row rows[STARTTLS_COUNT] = {
	[STARTTLS_SMTP] = { "SMTP", { 25, 587 }, "greeting", .start = starttls_smtp_start,
			.done = starttls_smtp_done, .line = starttls_smtp_line, GOODBYE("QUIT\r\n") },
	[STARTTLS_LMTP] = { "LMTP", { 24 }, "greeting", .start = starttls_smtp_start, .done = starttls_smtp_done,
			.line = starttls_smtp_line, GOODBYE("QUIT\r\n") },
	[STARTTLS_IMAP] = { "IMAP", { 143 }, "greeting", .line = starttls_imap_line, GOODBYE("a9 LOGOUT\r\n") },
	[STARTTLS_POP3] = { "POP3", { 110 }, "greeting", .line = starttls_pop3_line, GOODBYE("QUIT\r\n") },
	[STARTTLS_SIEVE] = { "ManageSieve", { 4190 }, "greeting", .line = starttls_sieve_line, .literals = true,
			GOODBYE("LOGOUT\r\n") },
	[STARTTLS_FTP] = { "FTP", { 21 }, "greeting", .start = starttls_ftp_start, .line = starttls_ftp_line,
			GOODBYE("QUIT\r\n") },
	[STARTTLS_NNTP] = { "NNTP", { 119 }, "greeting", .line = starttls_nntp_line, GOODBYE("QUIT\r\n") },
	[STARTTLS_IRC] = { "IRC", { 6667 }, "CAP LS", .start = starttls_irc_start, .line = starttls_irc_line,
			GOODBYE("QUIT\r\n") },
	[STARTTLS_XMPP] = { "XMPP", { 5222 }, "stream", .start = starttls_xmpp_start, .done = starttls_xmpp_done,
			.packet = starttls_xmpp_byte },
	[STARTTLS_XMPP_SERVER] = { "XMPP", { 5269 }, "stream", .start = starttls_xmpp_start,
			.done = starttls_xmpp_done, .packet = starttls_xmpp_byte },
	/* UnbindRequest, RFC 4511 4.3 */
	[STARTTLS_LDAP] = { "LDAP", { 389 }, "StartTLS", .start = starttls_ldap_start,
			.packet = starttls_ldap_packet, GOODBYE("\x30\x05\x02\x01\x02\x42\x00") },
	[STARTTLS_POSTGRES] = { "PostgreSQL", { 5432 }, "SSLRequest", .start = starttls_postgres_start,
			.packet = starttls_postgres_packet },
	[STARTTLS_MYSQL] = { "MySQL", { 3306 }, "greeting", .packet = starttls_mysql_packet,
			GOODBYE(STARTTLS_MYSQL_LOGIN) },
};

static const struct starttls_row *row_of(enum starttls protocol)
{
	assert(protocol > STARTTLS_NONE && protocol < STARTTLS_COUNT && rows[protocol].title != NULL);
	return &rows[protocol];
}

const char *starttls_goodbye(enum starttls protocol, size_t *bytes)
{
	*bytes = row_of(protocol)->goodbye_bytes;
	return row_of(protocol)->goodbye;
}

enum starttls starttls_of_port(uint16_t port)
{
	for (int i = STARTTLS_NONE + 1; port != 0 && i < STARTTLS_COUNT; i++)
		if (rows[i].ports[0] == port || rows[i].ports[1] == port)
			return (enum starttls)i;
	return STARTTLS_NONE;
}

/* ---- what a protocol does ---- */

bool starttls_was_asked(const struct starttls_talk *starttls)
{
	return starttls->out_sent == starttls->out.bytes;
}

bool starttls_is_at(const struct starttls_talk *starttls, const char *waits_for)
{
	return strcmp(starttls->waits_for, waits_for) == 0;
}

void starttls_note_words(struct starttls_talk *starttls, const void *data, size_t bytes)
{
	free(starttls->said);
	starttls->said = str_clean(data, bytes, STARTTLS_WORDS_MAX);
}

static void fail(struct starttls_talk *starttls, enum reason reason)
{
	starttls->next = STARTTLS_BROKEN;
	starttls->reason = reason;
	str_clear(&starttls->out);
	starttls->out_sent = 0;
}

static void fail_with_words(struct starttls_talk *starttls, enum reason reason, const char *about)
{
	str_add(&starttls->text, starttls->waits_for);
	if (about != NULL)
		str_addf(&starttls->text, ": %s", about);
	if (starttls->said != NULL)
		str_addf(&starttls->text, ": %s", starttls->said);
	fail(starttls, reason);
}

void starttls_not_offered(struct starttls_talk *starttls, const char *about)
{
	fail_with_words(starttls, REASON_STARTTLS_NOT_OFFERED, about);
}

void starttls_refused(struct starttls_talk *starttls, const char *about)
{
	fail_with_words(starttls, REASON_STARTTLS_REFUSED, about);
}

void starttls_note_listed(struct starttls_talk *starttls, const char *words)
{
	if (starttls->list.bytes > STARTTLS_WORDS_MAX)
		return;
	if (starttls->list.bytes > 0)
		str_add_char(&starttls->list, ' ');
	str_add(&starttls->list, words);
}

void starttls_not_listed(struct starttls_talk *starttls, const char *wanted)
{
	AUTO(string) char *about = mem_printf("no %s among", wanted);

	starttls_note_words(starttls, starttls->list.data != NULL ? starttls->list.data : "",
			    starttls->list.bytes);
	fail_with_words(starttls, REASON_STARTTLS_NOT_OFFERED, about);
}

void starttls_broken(struct starttls_talk *starttls, const char *format, ...)
{
	va_list args;

	str_addf(&starttls->text, "%s: ", starttls->waits_for);
	va_start(args, format);
	str_vaddf(&starttls->text, format, args);
	va_end(args);
	fail(starttls, REASON_STARTTLS_PROTOCOL);
}

void starttls_strange(struct starttls_talk *starttls)
{
	starttls_broken(starttls, "not %s: %s", starttls->row->title,
			starttls->said != NULL ? starttls->said : "");
}

/* A yes to what was not asked yet is another's, or a server's that is out of step. */
static bool in_step(struct starttls_talk *starttls)
{
	if (!starttls_was_asked(starttls))
		starttls_broken(starttls, "the server answered before it was asked");
	return starttls->next == STARTTLS_GO_ON;
}

void starttls_say_bytes(struct starttls_talk *starttls, const char *waits_for, const void *data, size_t bytes)
{
	if (!in_step(starttls))
		return;
	str_clear(&starttls->out);
	str_add_bytes(&starttls->out, data, bytes);
	starttls->out_sent = 0;
	starttls->waits_for = waits_for;
}

void starttls_say(struct starttls_talk *starttls, const char *waits_for, const char *format, ...)
{
	AUTO(str) struct str command = { 0 };
	va_list args;

	va_start(args, format);
	str_vaddf(&command, format, args);
	va_end(args);
	starttls_say_bytes(starttls, waits_for, command.data, command.bytes);
}

void starttls_go_ahead(struct starttls_talk *starttls)
{
	if (in_step(starttls))
		starttls->next = STARTTLS_GO_AHEAD;
}

int starttls_code(const char *line)
{
	int code = 0;

	for (size_t i = 0; i < 3; i++) {
		if (line[i] < '0' || line[i] > '9')
			return 0;
		code = code * 10 + (line[i] - '0');
	}
	return line[3] == '\0' || line[3] == ' ' || line[3] == '-' ? code : 0;
}

bool starttls_word_is(const char *line, const char *word)
{
	size_t bytes = strlen(word);

	return strncasecmp(line, word, bytes) == 0 && (line[bytes] == '\0' || line[bytes] == ' ');
}

bool starttls_has_word(const char *list, const char *word)
{
	size_t bytes;

	for (list += strspn(list, " "); *list != '\0' && *list != ']'; list += strspn(list, " ")) {
		bytes = strcspn(list, " ]");
		if (bytes == strlen(word) && strncasecmp(list, word, bytes) == 0)
			return true;
		list += bytes;
	}
	return false;
}

/* ---- cutting what comes ---- */

/* RFC 5804 1.2: "{12}" or "{12+}" at its end says that so many bytes follow it. */
static bool has_literal(const struct str *line, size_t *bytes)
{
	const char *end = line->data + line->bytes;
	const char *at;

	*bytes = 0;
	if (line->bytes < 3 || *--end != '}')
		return false;
	if (end[-1] == '+')
		end--;
	for (at = end; at > line->data && at[-1] >= '0' && at[-1] <= '9'; at--)
		;
	if (at == line->data || at[-1] != '{' || at == end)
		return false;
	for (; at < end && *bytes <= STARTTLS_LINE_MAX; at++)
		*bytes = *bytes * 10 + (size_t)(*at - '0');
	return true;
}

static void on_line(struct starttls_talk *starttls)
{
	struct str *line = &starttls->held;

	if (line->bytes > 0 && line->data[line->bytes - 1] == '\r')
		line->data[--line->bytes] = '\0';
	if (starttls->row->literals && line->bytes > 0 && has_literal(line, &starttls->literal)) {
		str_add(line, "\r\n");
		return;
	}
	starttls_note_words(starttls, line->data != NULL ? line->data : "", line->bytes);
	if (line->bytes > 0 && memchr(line->data, '\0', line->bytes) != NULL)
		starttls_strange(starttls);
	else
		starttls->row->line(starttls, line->bytes > 0 ? line->data : "");
	str_clear(line);
}

static size_t take_line(struct starttls_talk *starttls, const char *data, size_t bytes)
{
	bool in_literal = starttls->literal > 0;
	const char *end = in_literal ? NULL : memchr(data, '\n', bytes);
	size_t taken = end != NULL ? (size_t)(end - data) : bytes;

	if (in_literal && taken > starttls->literal)
		taken = starttls->literal;
	if (starttls->held.bytes + taken > STARTTLS_LINE_MAX || starttls->literal > STARTTLS_LINE_MAX) {
		starttls_broken(starttls, "too much: a line of more than %d bytes", STARTTLS_LINE_MAX);
		return bytes;
	}
	str_add_bytes(&starttls->held, data, taken);
	if (in_literal)
		starttls->literal -= taken;
	if (end != NULL)
		on_line(starttls);
	return taken + (end != NULL);
}

static size_t take_packet(struct starttls_talk *starttls, const char *data, size_t bytes)
{
	size_t missing = starttls->wanted - starttls->held.bytes;
	size_t taken = bytes < missing ? bytes : missing;
	size_t wanted;

	str_add_bytes(&starttls->held, data, taken);
	if (taken < missing)
		return taken;
	wanted = starttls->row->packet(starttls, (const uint8_t *)starttls->held.data, starttls->held.bytes);
	assert(starttls->next == STARTTLS_BROKEN || wanted == 0 || wanted > starttls->held.bytes);
	if (wanted > STARTTLS_BYTES_MAX && starttls->next == STARTTLS_GO_ON)
		starttls_broken(starttls, "too much: a packet of %zu bytes", wanted);
	if (wanted == 0)
		str_clear(&starttls->held);
	starttls->wanted = wanted == 0 ? 1 : wanted;
	return taken;
}

static void take(struct starttls_talk *starttls, const char *data, size_t bytes)
{
	while (bytes > 0 && starttls->next == STARTTLS_GO_ON) {
		size_t taken = starttls->row->line != NULL ? take_line(starttls, data, bytes) :
							     take_packet(starttls, data, bytes);

		data += taken;
		bytes -= taken;
	}
	if (bytes > 0 && starttls->next == STARTTLS_GO_AHEAD) {
		starttls_note_words(starttls, data, bytes);
		starttls_broken(starttls, "%zu byte%s after the go-ahead, before TLS: injected? %s", bytes,
				bytes == 1 ? "" : "s", starttls->said);
	} else if (starttls->row->line != NULL && starttls->held.bytes > 0) {
		starttls_note_words(starttls, starttls->held.data, starttls->held.bytes);
	}
}

/* A record of a handshake or an alert (RFC 8446 5.1): its TLS begins with the first byte. */
static bool is_tls(const char first[2])
{
	return (first[0] == 0x15 || first[0] == 0x16) && first[1] == 0x03;
}

/* Whether the second byte decides: a protocol that does not take the first one must not be asked before. */
static bool may_be_tls(struct starttls_talk *starttls, const char *data, size_t bytes)
{
	const char alone[2] = { data[0], 0x03 };

	if (starttls->taken > 0 || bytes > 1 || !is_tls(alone))
		return false;
	starttls->first = data[0];
	starttls->first_is_held = true;
	starttls->taken = 1;
	return true;
}

/* Of the first two bytes, in one piece or two. */
static bool begins_tls(const struct starttls_talk *starttls, const char *data, size_t bytes)
{
	if (starttls->first_is_held)
		return data[0] == 0x03;
	return starttls->taken == 0 && bytes >= 2 && is_tls(data);
}

enum starttls_next starttls_input(struct starttls_talk *starttls, const void *data, size_t bytes)
{
	size_t room = STARTTLS_BYTES_MAX - starttls->taken;

	if (starttls->next == STARTTLS_BROKEN || bytes == 0 || may_be_tls(starttls, data, bytes))
		return starttls->next;
	if (begins_tls(starttls, data, bytes)) {
		starttls_broken(starttls, "the server speaks TLS from the first byte: tls without starttls?");
		return starttls->next;
	}
	if (starttls->first_is_held) {
		starttls->first_is_held = false;
		take(starttls, &starttls->first, 1);
	}
	starttls->taken += bytes < room ? bytes : room;
	take(starttls, data, bytes < room ? bytes : room);
	if (bytes > room && starttls->next != STARTTLS_BROKEN)
		starttls_broken(starttls, "too much: more than %d bytes", STARTTLS_BYTES_MAX);
	return starttls->next;
}

/* ---- the rest ---- */

const char *starttls_output(const struct starttls_talk *starttls, size_t *bytes)
{
	*bytes = starttls->out.bytes - starttls->out_sent;
	return *bytes > 0 ? starttls->out.data + starttls->out_sent : "";
}

void starttls_output_sent(struct starttls_talk *starttls, size_t bytes)
{
	assert(bytes <= starttls->out.bytes - starttls->out_sent);
	starttls->out_sent += bytes;
}

enum reason starttls_failure(const struct starttls_talk *starttls, const char **text)
{
	*text = starttls->text.data != NULL ? starttls->text.data : "";
	return starttls->reason;
}

const char *starttls_waits_for(const struct starttls_talk *starttls)
{
	return starttls->waits_for;
}

const char *starttls_said(const struct starttls_talk *starttls)
{
	return starttls->said;
}

/* A name goes into a command or an attribute, and must not end it. */
static char *name_of(const char *name)
{
	static const char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";

	if (name == NULL || name[0] == '\0' || strlen(name) > NAME_BYTES_MAX || name[strspn(name, fit)] != '\0')
		return mem_strdup("localhost");
	return mem_strdup(name);
}

struct starttls_talk *starttls_new(const struct starttls_wish *wish)
{
	struct starttls_talk *starttls = mem_new(struct starttls_talk);

	starttls->row = row_of(wish->protocol);
	starttls->protocol = wish->protocol;
	starttls->ehlo = name_of(wish->ehlo);
	starttls->host = name_of(wish->host);
	starttls->waits_for = starttls->row->first;
	starttls->reason = REASON_OK;
	starttls->wanted = 1;
	if (starttls->row->start != NULL)
		starttls->row->start(starttls);
	return starttls;
}

void starttls_free(struct starttls_talk *starttls)
{
	if (starttls == NULL)
		return;
	if (starttls->row->done != NULL)
		starttls->row->done(starttls);
	free(starttls->own);
	free(starttls->ehlo);
	free(starttls->host);
	free(starttls->said);
	str_done(&starttls->held);
	str_done(&starttls->list);
	str_done(&starttls->out);
	str_done(&starttls->text);
	free(starttls);
}
