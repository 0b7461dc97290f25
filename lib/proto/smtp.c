/* SPDX-License-Identifier: MIT */
#include "lib/proto/smtp.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"

enum {
	LINE_BYTES_MAX = 4096,
	REPLY_LINES_MAX = 128,
	ADDRESS_BYTES_MAX = 320,
	EHLO_BYTES_MAX = 255,
	WORDS_BYTES_MAX = 400,    /* of a server's, that are shown */
	REFUSAL_BYTES_MAX = 200,  /* the same, of each recipient's refusal */
	REFUSALS_SHOWN_MAX = 8
};

/* ---- one reply ---- */

void smtp_reply_clear(struct smtp_reply *reply)
{
	str_clear(&reply->text);
	str_clear(&reply->line);
	reply->code = 0;
	reply->lines = 0;
	reply->trouble = NULL;
}

void smtp_reply_done(struct smtp_reply *reply)
{
	str_done(&reply->text);
	str_done(&reply->line);
}

static enum smtp_reading reply_broken(struct smtp_reply *reply, const char *trouble)
{
	reply->trouble = trouble;
	return SMTP_READING_BROKEN;
}

/* 0: that is none. */
static int code_of(const char *line, size_t bytes)
{
	int code = 0;

	if (bytes < 3)
		return 0;
	for (size_t i = 0; i < 3; i++) {
		if (line[i] < '0' || line[i] > '9')
			return 0;
		code = code * 10 + (line[i] - '0');
	}
	return code >= 200 && code <= 599 ? code : 0;
}

/* RFC 5321 4.2: "250", "250 text", and "250-text" if more follow. */
static enum smtp_reading read_line(struct smtp_reply *reply)
{
	const char *line = reply->line.data != NULL ? reply->line.data : "";
	size_t bytes = reply->line.bytes;

	if (bytes > 0 && line[bytes - 1] == '\r')
		bytes--;
	reply->code = code_of(line, bytes);
	if (reply->code == 0 || (bytes > 3 && line[3] != ' ' && line[3] != '-'))
		return reply_broken(reply, "what the server says is not SMTP");
	if (++reply->lines > REPLY_LINES_MAX)
		return reply_broken(reply, "the server talks without end");
	if (reply->lines > 1)
		str_add_char(&reply->text, '\n');
	if (bytes > 4)
		str_add_bytes(&reply->text, line + 4, bytes - 4);
	return bytes > 3 && line[3] == '-' ? SMTP_READING_MORE : SMTP_READING_WHOLE;
}

enum smtp_reading smtp_reply_read(struct smtp_reply *reply, const void *data, size_t bytes, size_t *used)
{
	enum smtp_reading reading = SMTP_READING_MORE;
	const char *at = data;

	*used = 0;
	while (reading == SMTP_READING_MORE && *used < bytes) {
		const char *end = memchr(at + *used, '\n', bytes - *used);
		size_t taken = (end != NULL ? (size_t)(end - at) : bytes) - *used;

		if (taken > LINE_BYTES_MAX - reply->line.bytes)
			return reply_broken(reply, "what the server says is not SMTP: a line without end");
		str_add_bytes(&reply->line, at + *used, taken);
		*used += taken;
		if (end == NULL)
			break;
		(*used)++;
		reading = read_line(reply);
		str_clear(&reply->line);
	}
	return reading;
}

/* ---- the dialogue ---- */

/* What was said last, and so what the next reply answers. */
enum step {
	STEP_GREETING, STEP_EHLO, STEP_STARTTLS, STEP_LOGIN_USERNAME, STEP_LOGIN_PASSWORD, STEP_AUTH,
	STEP_MAIL_FROM, STEP_RCPT_TO, STEP_DATA, STEP_MESSAGE, STEP_QUIT
};

struct offers { /* of the server, in its answer to EHLO */
	bool starttls;
	bool plain;
	bool login;
	bool utf8;
};

struct smtp {
	enum smtp_starttls starttls;
	char *ehlo;
	char *username;
	char *password;
	char *from;
	char **to;
	size_t to_count;
	bool utf8;              /* an address is not ASCII */
	struct str message;     /* dots stuffed, the final one included */

	enum step step;
	enum smtp_next next;
	bool under_tls;
	struct offers offers;
	size_t to_asked;
	size_t to_refused;
	int refused_code;       /* of the first of them */
	struct str refusals;    /* "a@b: 550 words; c@d: 550 words" */
	struct smtp_reply reply;
	struct str command;
	const struct str *out;  /* one of ours */
	size_t out_sent;
	struct str text;        /* the outcome's */
};

static void wipe(struct str *str)
{
	if (str->data != NULL)
		explicit_bzero(str->data, str->capacity);
	str_clear(str);
}

static bool all_is_sent(const struct smtp *smtp)
{
	return smtp->out_sent == smtp->out->bytes;
}

static void say(struct smtp *smtp, enum step step, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(struct smtp *smtp, enum step step, const char *format, ...)
{
	va_list args;

	wipe(&smtp->command); /* a password, perhaps */
	va_start(args, format);
	str_vaddf(&smtp->command, format, args);
	va_end(args);
	str_add(&smtp->command, "\r\n");
	smtp->out = &smtp->command;
	smtp->out_sent = 0;
	smtp->step = step;
}

static void say_base64(struct smtp *smtp, enum step step, const char *before, const struct str *secret)
{
	struct str token = { 0 };

	str_add_base64(&token, secret->data, secret->bytes);
	say(smtp, step, "%s%s", before, token.data != NULL ? token.data : "");
	wipe(&token);
	str_done(&token);
}

/* ---- how it ends ---- */

static bool is_over(const struct smtp *smtp)
{
	return smtp->next == SMTP_DONE || smtp->next == SMTP_REFUSED || smtp->next == SMTP_BROKEN;
}

static void broken(struct smtp *smtp, const char *text)
{
	str_add(&smtp->text, text);
	smtp->next = SMTP_BROKEN;
}

static void over(struct smtp *smtp, enum smtp_next next)
{
	smtp->next = next;
	if (all_is_sent(smtp)) /* within the message a QUIT would be part of it */
		say(smtp, STEP_QUIT, "QUIT");
}

static void scrub_base64(struct str *text, const struct str *secret)
{
	struct str token = { 0 };

	str_add_base64(&token, secret->data, secret->bytes);
	str_scrub(text, token.data, token.bytes);
	wipe(&token);
	str_done(&token);
}

/* RFC 4616: what AUTH PLAIN says. */
static void add_plain(const struct smtp *smtp, struct str *plain)
{
	str_add_char(plain, '\0');
	str_add(plain, smtp->username);
	str_add_char(plain, '\0');
	str_add(plain, smtp->password);
}

/* A server may repeat what it was told. */
static void scrub_secrets(const struct smtp *smtp, struct str *text)
{
	struct str secret = { 0 };

	if (smtp->password == NULL)
		return;
	str_scrub(text, smtp->password, strlen(smtp->password));
	add_plain(smtp, &secret); /* before the password's own, which may be a part of it */
	scrub_base64(text, &secret);
	wipe(&secret);
	str_add(&secret, smtp->password);
	scrub_base64(text, &secret);
	wipe(&secret);
	str_done(&secret);
}

/* "550 no such user": scrubbed first, for cutting or escaping could split a secret. */
static void add_reply(const struct smtp *smtp, struct str *out, size_t bytes_max)
{
	const struct str *text = &smtp->reply.text;
	AUTO(str) struct str words = { 0 };

	for (size_t i = 0; i < text->bytes; i++) {
		bool line_end = text->data[i] == '\n';

		if (!line_end || (words.bytes > 0 && words.data[words.bytes - 1] != ' '))
			str_add_char(&words, line_end ? ' ' : text->data[i]);
	}
	scrub_secrets(smtp, &words);
	str_addf(out, "%d ", smtp->reply.code);
	str_add_clean(out, words.data, words.bytes, bytes_max);
}

static void refused(struct smtp *smtp)
{
	str_addf(&smtp->text, "%s: ", smtp_waits_for(smtp));
	if (smtp->step == STEP_RCPT_TO) {
		const char *to = smtp->to[smtp->to_asked - 1];

		str_add_clean(&smtp->text, to, strlen(to), ADDRESS_BYTES_MAX);
		str_add(&smtp->text, ": ");
	}
	add_reply(smtp, &smtp->text, WORDS_BYTES_MAX);
	smtp->refused_code = smtp->reply.code;
	over(smtp, SMTP_REFUSED);
}

static void accepted(struct smtp *smtp)
{
	str_add(&smtp->text, smtp->to_refused > 0 ? "accepted" : "accepted: ");
	if (smtp->to_refused == 0)
		add_reply(smtp, &smtp->text, WORDS_BYTES_MAX);
	if (smtp->to_refused > 0)
		str_addf(&smtp->text, ", but not for %s", smtp->refusals.data);
	if (smtp->to_refused > REFUSALS_SHOWN_MAX)
		str_addf(&smtp->text, "; and %zu more", smtp->to_refused - REFUSALS_SHOWN_MAX);
	over(smtp, SMTP_DONE);
}

/* ---- what follows a reply that was hoped for ---- */

static void say_ehlo(struct smtp *smtp)
{
	smtp->offers = (struct offers){ 0 }; /* what was offered without TLS does not hold under it */
	say(smtp, STEP_EHLO, "EHLO %s", smtp->ehlo);
}

static void say_from(struct smtp *smtp)
{
	if (smtp->utf8 && !smtp->offers.utf8)
		broken(smtp, "the server takes no addresses beyond ASCII (SMTPUTF8)");
	else
		say(smtp, STEP_MAIL_FROM, "MAIL FROM:<%s>%s", smtp->from, smtp->utf8 ? " SMTPUTF8" : "");
}

static void say_auth(struct smtp *smtp)
{
	struct str plain = { 0 };

	if (smtp->username == NULL) {
		say_from(smtp);
	} else if (smtp->offers.plain) {
		add_plain(smtp, &plain);
		say_base64(smtp, STEP_AUTH, "AUTH PLAIN ", &plain);
		wipe(&plain);
		str_done(&plain);
	} else if (smtp->offers.login) {
		say(smtp, STEP_LOGIN_USERNAME, "AUTH LOGIN");
	} else {
		broken(smtp, "the server offers neither AUTH PLAIN nor LOGIN");
	}
}

static void say_username(struct smtp *smtp)
{
	const struct str username = { .data = smtp->username, .bytes = strlen(smtp->username) };

	say_base64(smtp, STEP_LOGIN_PASSWORD, "", &username);
}

static void say_password(struct smtp *smtp)
{
	const struct str password = { .data = smtp->password, .bytes = strlen(smtp->password) };

	say_base64(smtp, STEP_AUTH, "", &password);
}

static bool has_word(const char *list, const char *word)
{
	size_t bytes;

	for (list += strspn(list, " "); *list != '\0'; list += strspn(list, " ")) {
		bytes = strcspn(list, " ");
		if (bytes == strlen(word) && strncasecmp(list, word, bytes) == 0)
			return true;
		list += bytes;
	}
	return false;
}

static void note_offer(struct offers *offers, const char *offer)
{
	offers->starttls |= strcasecmp(offer, "STARTTLS") == 0;
	offers->utf8 |= strcasecmp(offer, "SMTPUTF8") == 0;
	/* Old servers write "AUTH=". */
	if (strncasecmp(offer, "AUTH ", 5) == 0 || strncasecmp(offer, "AUTH=", 5) == 0) {
		offers->plain |= has_word(offer + 5, "PLAIN");
		offers->login |= has_word(offer + 5, "LOGIN");
	}
}

/* The first line is a greeting, each other one an offer. */
static void after_ehlo(struct smtp *smtp)
{
	bool wants_tls = !smtp->under_tls && smtp->starttls != SMTP_STARTTLS_NEVER;
	char *rest = smtp->reply.text.data;

	strsep(&rest, "\n");
	while (rest != NULL)
		note_offer(&smtp->offers, strsep(&rest, "\n"));
	if (wants_tls && smtp->offers.starttls)
		say(smtp, STEP_STARTTLS, "STARTTLS");
	else if (wants_tls && smtp->starttls == SMTP_STARTTLS_REQUIRED)
		broken(smtp, "the server does not offer STARTTLS, and TLS is required");
	else
		say_auth(smtp);
}

static void start_tls(struct smtp *smtp)
{
	smtp->next = SMTP_START_TLS;
}

static void say_recipient(struct smtp *smtp)
{
	if (smtp->to_asked < smtp->to_count) {
		say(smtp, STEP_RCPT_TO, "RCPT TO:<%s>", smtp->to[smtp->to_asked++]);
	} else if (smtp->to_refused < smtp->to_count) {
		say(smtp, STEP_DATA, "DATA");
	} else {
		str_addf(&smtp->text, "RCPT TO: %s", smtp->refusals.data);
		over(smtp, SMTP_REFUSED);
	}
}

static void recipient_refused(struct smtp *smtp)
{
	const char *to = smtp->to[smtp->to_asked - 1];

	if (smtp->to_refused++ == 0)
		smtp->refused_code = smtp->reply.code;
	if (smtp->to_refused <= REFUSALS_SHOWN_MAX) {
		str_add(&smtp->refusals, smtp->to_refused > 1 ? "; " : "");
		str_add_clean(&smtp->refusals, to, strlen(to), ADDRESS_BYTES_MAX);
		str_add(&smtp->refusals, ": ");
		add_reply(smtp, &smtp->refusals, REFUSAL_BYTES_MAX);
	}
	say_recipient(smtp);
}

static void say_message(struct smtp *smtp)
{
	smtp->out = &smtp->message;
	smtp->out_sent = 0;
	smtp->step = STEP_MESSAGE;
}

static const struct {
	const char *name;
	int wanted; /* the reply's code; below 10 only its first digit */
	void (*then)(struct smtp *smtp);
} steps[] = {
	[STEP_GREETING] = { "greeting", 2, say_ehlo },
	[STEP_EHLO] = { "EHLO", 2, after_ehlo },
	[STEP_STARTTLS] = { "STARTTLS", 2, start_tls },
	[STEP_LOGIN_USERNAME] = { "AUTH", 334, say_username },
	[STEP_LOGIN_PASSWORD] = { "AUTH", 334, say_password },
	[STEP_AUTH] = { "AUTH", 235, say_from },
	[STEP_MAIL_FROM] = { "MAIL FROM", 2, say_recipient },
	[STEP_RCPT_TO] = { "RCPT TO", 2, say_recipient },
	[STEP_DATA] = { "DATA", 354, say_message },
	[STEP_MESSAGE] = { "message", 2, accepted },
	[STEP_QUIT] = { "QUIT", 2, NULL }, /* all is over before it is said */
};

static void on_reply(struct smtp *smtp)
{
	int code = smtp->reply.code;
	int wanted = steps[smtp->step].wanted;
	bool answer = all_is_sent(smtp); /* else it comes before its question was asked */

	if (answer && (wanted < 10 ? code / 100 == wanted : code == wanted)) {
		steps[smtp->step].then(smtp);
	} else if (answer && code >= 500 && smtp->step == STEP_RCPT_TO) {
		recipient_refused(smtp);
	} else if (answer && code >= 400 && smtp->step == STEP_STARTTLS &&
		   smtp->starttls == SMTP_STARTTLS_IF_OFFERED) {
		say_auth(smtp);
	} else if (code >= 400) {
		refused(smtp);
	} else {
		str_addf(&smtp->text, "%s: unexpected answer %d", steps[smtp->step].name, code);
		broken(smtp, "");
	}
	smtp_reply_clear(&smtp->reply);
}

enum smtp_next smtp_input(struct smtp *smtp, const void *data, size_t bytes)
{
	const char *at = data;
	size_t used;

	while (smtp->next == SMTP_GO_ON && bytes > 0) {
		switch (smtp_reply_read(&smtp->reply, at, bytes, &used)) {
		case SMTP_READING_MORE:
			break;
		case SMTP_READING_WHOLE:
			on_reply(smtp);
			break;
		case SMTP_READING_BROKEN:
			broken(smtp, smtp->reply.trouble);
			break;
		}
		at += used;
		bytes -= used;
	}
	if (smtp->next == SMTP_START_TLS && bytes > 0)
		broken(smtp, "the server spoke between STARTTLS and TLS");
	return smtp->next;
}

enum smtp_next smtp_tls_started(struct smtp *smtp)
{
	assert(smtp->next == SMTP_START_TLS);
	smtp->under_tls = true;
	smtp->next = SMTP_GO_ON;
	say_ehlo(smtp);
	return smtp->next;
}

const char *smtp_output(const struct smtp *smtp, size_t *bytes)
{
	bool silent = is_over(smtp) && smtp->step != STEP_QUIT;

	*bytes = silent ? 0 : smtp->out->bytes - smtp->out_sent;
	return *bytes > 0 ? smtp->out->data + smtp->out_sent : "";
}

void smtp_output_sent(struct smtp *smtp, size_t bytes)
{
	assert(bytes <= smtp->out->bytes - smtp->out_sent);
	smtp->out_sent += bytes;
}

struct smtp_outcome smtp_outcome(const struct smtp *smtp)
{
	return (struct smtp_outcome){
		.status = smtp->next == SMTP_DONE ? 250 : smtp->next == SMTP_REFUSED ? smtp->refused_code : 0,
		.partly = smtp->next == SMTP_DONE && smtp->to_refused > 0,
		.text = smtp->text.data != NULL ? smtp->text.data : "",
	};
}

const char *smtp_waits_for(const struct smtp *smtp)
{
	return steps[smtp->step].name;
}

bool smtp_in_doubt(const struct smtp *smtp)
{
	return smtp->step == STEP_MESSAGE && all_is_sent(smtp);
}

/* ---- the mail ---- */

void smtp_add_stuffed(struct str *out, const void *data, size_t bytes)
{
	const char *text = data;
	bool line_start = true;

	for (size_t i = 0; i < bytes; i++) {
		/* A bare LF before a dot must not end the message early. */
		if (text[i] == '\r' || text[i] == '\n') {
			if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n')
				i++;
			str_add_bytes(out, "\r\n", 2);
			line_start = true;
			continue;
		}
		if (line_start && text[i] == '.')
			str_add_char(out, '.');
		str_add_char(out, text[i]);
		line_start = false;
	}
	if (!line_start)
		str_add_bytes(out, "\r\n", 2);
	str_add_bytes(out, ".\r\n", 3);
}

/* May be empty: the null sender. */
static bool address_is_fit(const char *address, bool *utf8)
{
	for (const char *at = address; *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		if (c <= ' ' || c == 0x7f || c == '<' || c == '>')
			return false;
		*utf8 |= c >= 0x80;
	}
	return strlen(address) <= ADDRESS_BYTES_MAX;
}

static bool envelope_is_fit(struct smtp *smtp)
{
	for (size_t i = 0; i < smtp->to_count; i++) {
		if (smtp->to[i][0] == '\0' || !address_is_fit(smtp->to[i], &smtp->utf8))
			return false;
	}
	return smtp->to_count > 0 && address_is_fit(smtp->from, &smtp->utf8);
}

static char *ehlo_of(const char *name)
{
	static const char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";

	if (name == NULL || name[0] == '\0' || strlen(name) > EHLO_BYTES_MAX || name[strspn(name, fit)] != '\0')
		return mem_strdup("localhost");
	return mem_strdup(name);
}

struct smtp *smtp_new(const struct smtp_mail *mail, struct error *err)
{
	struct smtp *smtp = mem_new(struct smtp);

	smtp->out = &smtp->command;
	smtp->starttls = mail->starttls;
	smtp->ehlo = ehlo_of(mail->ehlo);
	smtp->username = mem_strdup(mail->username);
	if (mail->username != NULL)
		smtp->password = mem_strdup(mail->password != NULL ? mail->password : "");
	smtp->from = mem_strdup(mail->from != NULL ? mail->from : "");
	smtp->to = mem_array(mail->to_count + 1, sizeof(*smtp->to));
	smtp->to_count = mail->to_count;
	for (size_t i = 0; i < mail->to_count; i++)
		smtp->to[i] = mem_strdup(mail->to[i]);
	if (!envelope_is_fit(smtp)) {
		error_set(err, "a mail address is missing or has what it must not have");
		smtp_free(smtp);
		return NULL;
	}
	smtp_add_stuffed(&smtp->message, mail->data, mail->data_bytes);
	return smtp;
}

void smtp_free(struct smtp *smtp)
{
	if (smtp == NULL)
		return;
	free(smtp->ehlo);
	free(smtp->username);
	mem_wipe_free(smtp->password);
	free(smtp->from);
	for (size_t i = 0; i < smtp->to_count; i++)
		free(smtp->to[i]);
	free(smtp->to);
	str_done(&smtp->message);
	str_done(&smtp->refusals);
	smtp_reply_done(&smtp->reply);
	wipe(&smtp->command);
	str_done(&smtp->command);
	str_done(&smtp->text);
	free(smtp);
}
