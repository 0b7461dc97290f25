/* SPDX-License-Identifier: MIT */
#include "lib/proto/mime.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/mem.h"

enum {
	LINE_MAX_CHARS = 78,     /* RFC 5322 2.1.1; a line with an encoded word: 76 */
	ENCODED_LINE_MAX = 76,
	ENCODED_WORD_MAX = 75,
	ENCODED_WORD_MIN = 24,   /* the frame and one character of four bytes */
	PLAIN_WORD_MAX = 70,     /* a longer one cannot be folded and is encoded instead */
	BODY_LINE_MAX = 76
};

static const char word_begin[] = "=?UTF-8?Q?";
static const char word_end[] = "?=";

/* Where the current line is: the column counts characters, not bytes of what they stand for. */
static size_t column_of(const struct str *out)
{
	size_t column = 0;

	while (column < out->bytes && out->data[out->bytes - 1 - column] != '\n')
		column++;
	return column;
}

static void add_fold(struct str *out)
{
	str_add_bytes(out, "\r\n ", 3);
}

/* ---- values made fit ---- */

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

/* The bytes of the character that begins here, 0 if it is not UTF-8. */
static size_t utf8_bytes(const char *text)
{
	uint32_t character;

	return str_utf8(text, strnlen(text, 4), &character);
}

static char *made_fit(const char *text)
{
	struct str fit = { 0 };

	while (*text != '\0') {
		size_t bytes = utf8_bytes(text);

		if (bytes == 0)
			str_add(&fit, "\xef\xbf\xbd");
		else if (is_control(*text))
			str_add_char(&fit, ' ');
		else
			str_add_bytes(&fit, text, bytes);
		text += bytes == 0 ? 1 : bytes;
	}
	return str_take(&fit);
}

/* Without all that could end an address, an id or a header. */
static void add_token(struct str *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (!is_control(*text) && *text != ' ' && *text != '<' && *text != '>')
			str_add_char(out, *text);
	}
}

/* ASCII that folds at its spaces and that nobody takes for an encoded word. */
static bool is_plain(const char *text)
{
	size_t word = 0;

	if (text[0] == ' ' || strstr(text, "=?") != NULL)
		return false;
	for (size_t i = 0; text[i] != '\0'; i++) {
		if (text[i] & 0x80)
			return false;
		word = text[i] == ' ' ? 0 : word + 1;
		if (word > PLAIN_WORD_MAX || (text[i] == ' ' && (text[i + 1] == ' ' || text[i + 1] == '\0')))
			return false;
	}
	return true;
}

/* ---- header values ---- */

static void add_plain(struct str *out, const char *text)
{
	size_t column = column_of(out);

	while (*text != '\0') {
		size_t bytes = strcspn(text + 1, " ") + 1; /* a word, with the space before it */

		if (column + bytes > LINE_MAX_CHARS && text[0] == ' ') {
			str_add_bytes(out, "\r\n", 2);
			column = 0;
		}
		str_add_bytes(out, text, bytes);
		column += bytes;
		text += bytes;
	}
}

/* RFC 2047 5 (3): what may stand for itself even in the name of an address. */
static bool is_q_safe(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != '\0' && strchr("!*+-/", c) != NULL);
}

static size_t q_cost(const char *text, size_t bytes)
{
	return bytes == 1 && (is_q_safe(*text) || *text == ' ') ? 1 : 3 * bytes;
}

static void add_q(struct str *out, const char *text, size_t bytes)
{
	if (*text == ' ') {
		str_add_char(out, '_');
		return;
	}
	if (is_q_safe(*text)) {
		str_add_char(out, *text);
		return;
	}
	for (size_t i = 0; i < bytes; i++)
		str_addf(out, "=%02X", (unsigned char)text[i]);
}

/* As many encoded words as it takes, a line each. `text` is valid UTF-8. */
static void add_encoded(struct str *out, const char *text)
{
	size_t column = column_of(out);

	while (*text != '\0') {
		size_t room;
		size_t used = sizeof(word_begin) - 1 + sizeof(word_end) - 1;

		if (column + ENCODED_WORD_MIN > ENCODED_LINE_MAX) {
			add_fold(out);
			column = 1;
		}
		room = ENCODED_LINE_MAX - column;
		room = room > ENCODED_WORD_MAX ? ENCODED_WORD_MAX : room;
		str_add(out, word_begin);
		while (*text != '\0') {
			size_t bytes = utf8_bytes(text);

			if (used + q_cost(text, bytes) > room)
				break;
			add_q(out, text, bytes);
			used += q_cost(text, bytes);
			text += bytes;
		}
		str_add(out, word_end);
		column = ENCODED_LINE_MAX;
	}
}

static bool is_header_name(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0'; i++) {
		if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
			return false;
	}
	return i > 0 && i <= PLAIN_WORD_MAX;
}

void mime_add_header(struct str *out, const char *name, const char *value)
{
	AUTO(string) char *fit = made_fit(value != NULL ? value : "");

	if (!is_header_name(name))
		return;
	str_add(out, name);
	str_add(out, ": ");
	if (is_plain(fit) && column_of(out) + strcspn(fit, " ") <= LINE_MAX_CHARS)
		add_plain(out, fit);
	else
		add_encoded(out, fit);
	str_add(out, "\r\n");
}

/* ---- addresses ---- */

/* The last "<" that is not within quotes. */
static const char *angle_of(const char *text)
{
	const char *angle = NULL;
	bool quoted = false;

	for (; *text != '\0'; text++) {
		if (*text == '\\' && quoted && text[1] != '\0')
			text++;
		else if (*text == '"')
			quoted = !quoted;
		else if (*text == '<' && !quoted)
			angle = text;
	}
	return angle;
}

static const char *skip_blanks(const char *text)
{
	while (*text != '\0' && (*text == ' ' || is_control(*text)))
		text++;
	return text;
}

char *mime_bare_address(const char *text)
{
	const char *angle = angle_of(text);
	const char *begin = skip_blanks(angle != NULL ? angle + 1 : text);
	const char *end = angle != NULL ? strchr(begin, '>') : begin + strlen(begin);
	const char *at;

	if (end == NULL || (angle != NULL && *skip_blanks(end + 1) != '\0'))
		return NULL;
	while (end > begin && (end[-1] == ' ' || is_control(end[-1])))
		end--;
	at = memchr(begin, '@', (size_t)(end - begin));
	if (at == NULL || at == begin || at + 1 == end)
		return NULL;
	for (const char *c = begin; c < end; c++) {
		if (is_control(*c) || *c == ' ' || *c == '<' || *c == '>')
			return NULL;
	}
	return mem_strndup(begin, (size_t)(end - begin));
}

char *mime_display_name(const char *text)
{
	const char *end = angle_of(text);
	struct str name = { 0 };

	if (end == NULL)
		return NULL;
	text = skip_blanks(text);
	while (end > text && (end[-1] == ' ' || is_control(end[-1])))
		end--;
	if (end == text)
		return NULL;
	if (end - text >= 2 && *text == '"' && end[-1] == '"') {
		text++;
		end--;
	}
	for (; text < end; text++) {
		if (*text == '\\' && text + 1 < end)
			text++;
		str_add_char(&name, *text);
	}
	return str_take(&name);
}

/* RFC 5322 3.2.3: words of these need no quotes. */
static bool is_phrase(const char *name)
{
	for (; *name != '\0'; name++) {
		if (!is_q_safe(*name) && strchr(" #$%&'=?^_`{|}~", *name) == NULL)
			return false;
	}
	return true;
}

static void add_quoted(struct str *out, const char *name)
{
	str_add_char(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '\\')
			str_add_char(out, '\\');
		str_add_char(out, *name);
	}
	str_add_char(out, '"');
}

static void add_address(struct str *out, const char *text)
{
	AUTO(string) char *raw = mime_display_name(text);
	AUTO(string) char *name = made_fit(raw != NULL ? raw : "");
	AUTO(string) char *bare = mime_bare_address(text);
	AUTO(str) struct str address = { 0 };

	add_token(&address, bare != NULL ? bare : text);
	if (name[0] == '\0') {
		str_addf(out, "<%s>", address.data != NULL ? address.data : "");
		return;
	}
	if (!is_plain(name) || strlen(name) > PLAIN_WORD_MAX / 2)
		add_encoded(out, name);
	else if (is_phrase(name))
		str_add(out, name);
	else
		add_quoted(out, name);
	if (column_of(out) + address.bytes + sizeof(" <>,") - 1 > ENCODED_LINE_MAX)
		str_add(out, "\r\n");
	str_addf(out, " <%s>", address.data != NULL ? address.data : "");
}

static void add_addresses(struct str *out, const char *name, const char *const *list, size_t count)
{
	str_addf(out, "%s: ", name);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			str_add(out, ",\r\n ");
		add_address(out, list[i]);
	}
	if (count == 0)
		str_add(out, "undisclosed-recipients:;");
	str_add(out, "\r\n");
}

/* ---- the other headers ---- */

static void add_date(struct str *out, int64_t unix_s)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
					      "Nov", "Dec" };
	time_t time = (time_t)unix_s;
	struct tm tm = { .tm_mday = 1, .tm_year = 70, .tm_wday = 4 };

	gmtime_r(&time, &tm);
	str_addf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday], tm.tm_mday,
		 months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void add_ids(struct str *out, const char *name, const char *const *ids, size_t count)
{
	if (count == 0)
		return;
	str_addf(out, "%s:", name);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			str_add(out, "\r\n");
		str_add(out, " <");
		add_token(out, ids[i]);
		str_add_char(out, '>');
	}
	str_add(out, "\r\n");
}

/* ---- bodies ---- */

static bool is_literal(unsigned char c)
{
	return c > ' ' && c <= '~' && c != '=';
}

/* One line without its end, as quoted-printable. */
static void add_body_line(struct str *out, const char *line, size_t bytes)
{
	size_t column = 0;

	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)line[i];
		bool last = i + 1 == bytes;
		/* A blank at the end would be lost; "From " at the beginning is changed by some who store mail. */
		bool literal = (is_literal(c) || ((c == ' ' || c == '\t') && !last)) &&
			       !(i == 0 && bytes >= 5 && memcmp(line, "From ", 5) == 0);
		size_t cost = literal ? 1 : 3;

		if (column + cost > BODY_LINE_MAX - (last ? 0u : 1u)) {
			str_add(out, "=\r\n");
			column = 0;
		}
		if (literal)
			str_add_char(out, line[i]);
		else
			str_addf(out, "=%02X", c);
		column += cost;
	}
}

static void add_body(struct str *out, const char *text)
{
	while (*text != '\0') {
		size_t bytes = strcspn(text, "\r\n");

		add_body_line(out, text, bytes);
		text += bytes;
		if (*text == '\0')
			break;
		text += text[0] == '\r' && text[1] == '\n' ? 2 : 1;
		str_add(out, "\r\n");
	}
}

static void add_part(struct str *out, const char *type, const char *body)
{
	str_addf(out, "Content-Type: %s; charset=utf-8\r\n", type);
	str_add(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
	add_body(out, body != NULL ? body : "");
	str_add(out, "\r\n");
}

void mime_add_message(struct str *out, const struct mime_message *message)
{
	/* "=_" cannot come out of quoted-printable: the boundary is in no body. */
	uint64_t boundary = str_hash(message->id, strlen(message->id), 0);

	add_date(out, message->date_unix_s);
	add_addresses(out, "From", &message->from, 1);
	add_addresses(out, "To", message->to, message->to_count);
	add_ids(out, "Message-ID", &message->id, 1);
	if (message->reference_count > 0)
		add_ids(out, "In-Reply-To", &message->references[message->reference_count - 1], 1);
	add_ids(out, "References", message->references, message->reference_count);
	mime_add_header(out, "Subject", message->subject);
	for (size_t i = 0; i < message->header_count; i++)
		mime_add_header(out, message->headers[i].name, message->headers[i].value);
	str_add(out, "MIME-Version: 1.0\r\n");
	if (message->html == NULL) {
		add_part(out, "text/plain", message->text);
		return;
	}
	str_addf(out, "Content-Type: multipart/alternative; boundary=\"=_%016" PRIx64 "\"\r\n\r\n", boundary);
	str_addf(out, "--=_%016" PRIx64 "\r\n", boundary);
	add_part(out, "text/plain", message->text);
	str_addf(out, "--=_%016" PRIx64 "\r\n", boundary);
	add_part(out, "text/html", message->html);
	str_addf(out, "--=_%016" PRIx64 "--\r\n", boundary);
}
