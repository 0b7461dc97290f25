/* SPDX-License-Identifier: MIT */
/* Dialogues as tables: what the server says in, what we say and how it ends out; each whole and byte by byte. */
#include "lib/proto/smtp.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

AUTO_DEFINE(smtp, struct smtp *, smtp_free)

/* ---- replies ---- */

static void reply_auto(struct smtp_reply *reply)
{
	smtp_reply_done(reply);
}

/* In two halves at `cut`. */
static enum smtp_reading read_cut(struct smtp_reply *reply, const char *bytes, size_t cut, size_t *used)
{
	size_t first;
	enum smtp_reading reading = smtp_reply_read(reply, bytes, cut, &first);

	*used = first;
	if (reading != SMTP_READING_MORE)
		return reading;
	ck_assert_uint_eq(first, cut);
	reading = smtp_reply_read(reply, bytes + cut, strlen(bytes) - cut, used);
	*used += cut;
	return reading;
}

static const struct {
	const char *bytes;
	enum smtp_reading reading;
	int code;
	const char *text;
	size_t left; /* bytes after the reply */
} replies[] = {
	{ "220 ready\r\n", SMTP_READING_WHOLE, 220, "ready", 0 },
	{ "220 ready\n", SMTP_READING_WHOLE, 220, "ready", 0 },
	{ "220\r\n", SMTP_READING_WHOLE, 220, "", 0 },
	{ "220 \r\n", SMTP_READING_WHOLE, 220, "", 0 },
	{ "250-a\r\n250-b c\r\n250 d\r\n", SMTP_READING_WHOLE, 250, "a\nb c\nd", 0 },
	{ "250-\r\n250 d\r\n", SMTP_READING_WHOLE, 250, "\nd", 0 },
	{ "250-a\r\n550 changed its mind\r\n", SMTP_READING_WHOLE, 550, "a\nchanged its mind", 0 },
	{ "220 one\r\n250 two\r\n", SMTP_READING_WHOLE, 220, "one", 9 },
	{ "599 x\ry\r\n", SMTP_READING_WHOLE, 599, "x\ry", 0 },
	{ "", SMTP_READING_MORE, 0, "", 0 },
	{ "220 ready", SMTP_READING_MORE, 0, "", 0 },
	{ "250-a\r\n", SMTP_READING_MORE, 250, "a", 0 },
	{ "250-a\r\n250", SMTP_READING_MORE, 250, "a", 0 },
	{ "\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "22\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "22x hello\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "220hello\r\n", SMTP_READING_BROKEN, 220, "", 0 },
	{ "2200 hello\r\n", SMTP_READING_BROKEN, 220, "", 0 },
	{ "199 x\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "600 x\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "-20 x\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "SSH-2.0-OpenSSH_9.2\r\n", SMTP_READING_BROKEN, 0, "", 0 },
	{ "250-a\r\nb\r\n250 c\r\n", SMTP_READING_BROKEN, 0, "a", 7 },
};

START_TEST(reply_is_read)
{
	const char *bytes = replies[_i].bytes;

	for (size_t cut = 0; cut <= strlen(bytes); cut++) {
		__attribute__((cleanup(reply_auto))) struct smtp_reply reply = { 0 };
		size_t used;

		ck_assert_int_eq(read_cut(&reply, bytes, cut, &used), replies[_i].reading);
		ck_assert_int_eq(reply.code, replies[_i].code);
		ck_assert_str_eq(reply.text.data != NULL ? reply.text.data : "", replies[_i].text);
		ck_assert_uint_eq(used, strlen(bytes) - replies[_i].left);
		ck_assert_int_eq(reply.trouble != NULL, replies[_i].reading == SMTP_READING_BROKEN);
		smtp_reply_clear(&reply);
		ck_assert_int_eq(smtp_reply_read(&reply, "354 go on\r\n", 11, &used), SMTP_READING_WHOLE);
		ck_assert_int_eq(reply.code, 354);
		ck_assert_str_eq(reply.text.data, "go on");
	}
}
END_TEST

/* A line as long as may be, and one that is a byte longer; then the same with the number of lines. */
START_TEST(reply_is_capped)
{
	__attribute__((cleanup(reply_auto))) struct smtp_reply reply = { 0 };
	char line[4098] = "250-";
	size_t used;

	memset(line + 4, 'x', 4092);
	line[4096] = '\n';
	ck_assert_int_eq(smtp_reply_read(&reply, line, 4097, &used), SMTP_READING_MORE);
	ck_assert_uint_eq(reply.text.bytes, 4092);
	line[4096] = 'x';
	line[4097] = '\n';
	ck_assert_int_eq(smtp_reply_read(&reply, line, 4098, &used), SMTP_READING_BROKEN);
	ck_assert_str_eq(reply.trouble, "what the server says is not SMTP: a line without end");
	smtp_reply_clear(&reply);
	for (int i = 0; i < 4096; i++)
		ck_assert_int_eq(smtp_reply_read(&reply, "x", 1, &used), SMTP_READING_MORE);
	ck_assert_int_eq(smtp_reply_read(&reply, "x", 1, &used), SMTP_READING_BROKEN);
	smtp_reply_clear(&reply);
	for (int i = 0; i < 128; i++)
		ck_assert_int_eq(smtp_reply_read(&reply, "250-\r\n", 6, &used), SMTP_READING_MORE);
	ck_assert_int_eq(smtp_reply_read(&reply, "250 x\r\n", 7, &used), SMTP_READING_BROKEN);
	ck_assert_str_eq(reply.trouble, "the server talks without end");
}
END_TEST

/* ---- dialogues ---- */

static const char *const recipients[] = {
	"ops@example.com", "anna@example.com", "b3@example.com", "b4@example.com", "b5@example.com",
	"b6@example.com", "b7@example.com", "b8@example.com", "b9@example.com", "b10@example.com",
};

struct dialogue {
	const char *name;
	enum smtp_starttls starttls;
	bool auth;
	size_t to_count;        /* 0: two */
	const char *server[20]; /* what it says at a time, each after what we said to the one before */
	const char *client;     /* all that we say; "[TLS]" where it is made */
	enum smtp_next next;
	int status;
	bool partly;
	bool in_doubt;
	const char *text;
};

#define HELLO "220 peer\r\n", "250-peer\r\n250 HELP\r\n"
#define HELLO_AUTH(how) "220 peer\r\n", "250-peer\r\n250-AUTH " how "\r\n250 HELP\r\n"
#define HELLO_TLS "220 peer\r\n", "250-peer\r\n250 STARTTLS\r\n"
#define OK "250 fine\r\n"
#define EHLO "EHLO mon.test\r\n"
#define FROM "MAIL FROM:<me@example.com>\r\n"
#define TO_BOTH "RCPT TO:<ops@example.com>\r\nRCPT TO:<anna@example.com>\r\n"
#define MAIL "DATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
#define QUIT "QUIT\r\n"
#define NEVER SMTP_STARTTLS_NEVER
#define OFFERED SMTP_STARTTLS_IF_OFFERED
#define REQUIRED SMTP_STARTTLS_REQUIRED

static const struct dialogue dialogues[] = {
	/* the usual ones */
	{ "plain", NEVER, false, 0, { HELLO, OK, OK, OK, "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
	{ "forwarded (251, 252) is accepted", NEVER, false, 0,
	  { HELLO, OK, "251 will forward\r\n", "252 will try\r\n", "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
	{ "AUTH PLAIN", NEVER, true, 0,
	  { HELLO_AUTH("LOGIN PLAIN"), "235 in\r\n", OK, OK, OK, "354 go on\r\n", OK },
	  EHLO "AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n" FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false,
	  "accepted: 250 fine" },
	{ "AUTH LOGIN", NEVER, true, 0,
	  { HELLO_AUTH("LOGIN"), "334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", "235 in\r\n", OK, OK, OK,
	    "354 go on\r\n", OK },
	  EHLO "AUTH LOGIN\r\ndXNlcg==\r\naHVudGVyMg==\r\n" FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false,
	  "accepted: 250 fine" },
	{ "STARTTLS", REQUIRED, true, 0,
	  { HELLO_TLS, "220 go\r\n", "250-peer\r\n250 AUTH PLAIN\r\n", "235 in\r\n", OK, OK, OK, "354 go on\r\n",
	    OK },
	  EHLO "STARTTLS\r\n[TLS]" EHLO "AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n" FROM TO_BOTH MAIL QUIT, SMTP_DONE,
	  250, false, false, "accepted: 250 fine" },
	{ "STARTTLS if offered, and it is", OFFERED, false, 0,
	  { HELLO_TLS, "220-go\r\n220 now\r\n", OK, OK, OK, OK, "354 go on\r\n", OK },
	  EHLO "STARTTLS\r\n[TLS]" EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
	{ "STARTTLS if offered, and it is not", OFFERED, false, 0, { HELLO, OK, OK, OK, "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
	{ "STARTTLS if offered, and then refused", OFFERED, false, 0,
	  { HELLO_TLS, "454 not now\r\n", OK, OK, OK, "354 go on\r\n", OK },
	  EHLO "STARTTLS\r\n" FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
	{ "STARTTLS though offered is not wanted", NEVER, false, 0, { HELLO_TLS, OK, OK, OK, "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },

	/* STARTTLS and what may go wrong with it */
	{ "offered in the greeting line only", REQUIRED, false, 0, { "220 peer\r\n", "250-STARTTLS\r\n250 X\r\n" },
	  EHLO, SMTP_BROKEN, 0, false, false, "the server does not offer STARTTLS, and TLS is required" },
	{ "required but not offered", REQUIRED, true, 0, { HELLO_AUTH("PLAIN") }, EHLO, SMTP_BROKEN, 0, false,
	  false, "the server does not offer STARTTLS, and TLS is required" },
	{ "required but refused", REQUIRED, true, 0, { HELLO_TLS, "454 not now\r\n" }, EHLO "STARTTLS\r\n" QUIT,
	  SMTP_REFUSED, 454, false, false, "STARTTLS: 454 not now" },
	{ "a reply put in after the go-ahead", REQUIRED, true, 0, { HELLO_TLS, "220 go\r\n250 AUTH PLAIN\r\n" },
	  EHLO "STARTTLS\r\n", SMTP_BROKEN, 0, false, false, "the server spoke between STARTTLS and TLS" },
	{ "a byte is enough", OFFERED, false, 0, { HELLO_TLS, "220 go\r\nx" }, EHLO "STARTTLS\r\n", SMTP_BROKEN, 0,
	  false, false, "the server spoke between STARTTLS and TLS" },
	{ "what was offered before TLS does not hold", REQUIRED, true, 0,
	  { "220 peer\r\n", "250-peer\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", "220 go\r\n", OK },
	  EHLO "STARTTLS\r\n[TLS]" EHLO, SMTP_BROKEN, 0, false, false,
	  "the server offers neither AUTH PLAIN nor LOGIN" },
	{ "STARTTLS offered again under TLS", REQUIRED, false, 0,
	  { HELLO_TLS, "220 go\r\n", "250-peer\r\n250 STARTTLS\r\n", OK, OK, OK, "354 go on\r\n", OK },
	  EHLO "STARTTLS\r\n[TLS]" EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },

	/* AUTH */
	{ "AUTH in the old form and any case", NEVER, true, 0,
	  { "220 peer\r\n", "250-peer\r\n250 auth=plain\r\n", "235 in\r\n", "550 no\r\n" },
	  EHLO "AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n" FROM QUIT, SMTP_REFUSED, 550, false, false,
	  "MAIL FROM: 550 no" },
	{ "AUTH of other kinds", NEVER, true, 0, { HELLO_AUTH("CRAM-MD5 XPLAIN LOGINS") }, EHLO, SMTP_BROKEN, 0,
	  false, false, "the server offers neither AUTH PLAIN nor LOGIN" },
	{ "AUTH refused, and the secrets repeated", NEVER, true, 0,
	  { HELLO_AUTH("PLAIN"), "535-hunter2 AHVzZXIAaHVudGVyMg==\r\n535 aHVudGVyMg==\r\n" },
	  EHLO "AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n" QUIT, SMTP_REFUSED, 535, false, false,
	  "AUTH: 535 ******* ******************** ************" },
	{ "LOGIN refused at the name", NEVER, true, 0, { HELLO_AUTH("LOGIN"), "334 a\r\n", "535 who?\r\n" },
	  EHLO "AUTH LOGIN\r\ndXNlcg==\r\n" QUIT, SMTP_REFUSED, 535, false, false, "AUTH: 535 who?" },
	{ "LOGIN accepted before the password", NEVER, true, 0, { HELLO_AUTH("LOGIN"), "235 in\r\n" },
	  EHLO "AUTH LOGIN\r\n", SMTP_BROKEN, 0, false, false, "AUTH: unexpected answer 235" },

	/* recipients */
	{ "the second is refused for good", NEVER, false, 0,
	  { HELLO, OK, OK, "550 5.1.1 no\r\n", "354 go on\r\n", OK }, EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250,
	  true, false, "accepted, but not for anna@example.com: 550 5.1.1 no" },
	{ "the first is refused for good", NEVER, false, 0,
	  { HELLO, OK, "550-no\r\n550 such user: hunter2\r\n", OK, "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, true, false,
	  "accepted, but not for ops@example.com: 550 no such user: hunter2" },
	{ "words with control characters", NEVER, false, 0,
	  { HELLO, OK, "550 \x1b[2J\xff\r\n", OK, "354 go on\r\n", OK }, EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE,
	  250, true, false, "accepted, but not for ops@example.com: 550 \\x1b[2J\\xff" },
	{ "all are refused for good", NEVER, false, 0, { HELLO, OK, "551 gone\r\n", "550 no\r\n" },
	  EHLO FROM TO_BOTH QUIT, SMTP_REFUSED, 551, false, false,
	  "RCPT TO: ops@example.com: 551 gone; anna@example.com: 550 no" },
	{ "the only one is refused for good", NEVER, false, 1, { HELLO, OK, "550 no\r\n" },
	  EHLO FROM "RCPT TO:<ops@example.com>\r\n" QUIT, SMTP_REFUSED, 550, false, false,
	  "RCPT TO: ops@example.com: 550 no" },
	{ "the second is refused for now", NEVER, false, 0, { HELLO, OK, OK, "452 full\r\n" },
	  EHLO FROM TO_BOTH QUIT, SMTP_REFUSED, 452, false, false, "RCPT TO: anna@example.com: 452 full" },
	{ "one for good, one for now", NEVER, false, 0, { HELLO, OK, "550 no\r\n", "450 grey\r\n" },
	  EHLO FROM TO_BOTH QUIT, SMTP_REFUSED, 450, false, false, "RCPT TO: anna@example.com: 450 grey" },
	{ "the first for now: the others are not asked", NEVER, false, 0, { HELLO, OK, "450 grey\r\n" },
	  EHLO FROM "RCPT TO:<ops@example.com>\r\n" QUIT, SMTP_REFUSED, 450, false, false,
	  "RCPT TO: ops@example.com: 450 grey" },
	{ "partly, then the mail is refused", NEVER, false, 0,
	  { HELLO, OK, OK, "550 no\r\n", "354 go on\r\n", "554 spam\r\n" }, EHLO FROM TO_BOTH MAIL QUIT,
	  SMTP_REFUSED, 554, false, false, "message: 554 spam" },
	{ "more are refused than are named", NEVER, false, 10,
	  { HELLO, OK, OK, "550 no\r\n", "550 no\r\n", "550 no\r\n", "550 no\r\n", "550 no\r\n", "550 no\r\n",
	    "550 no\r\n", "550 no\r\n", "550 no\r\n", "354 go on\r\n", OK },
	  EHLO FROM TO_BOTH "RCPT TO:<b3@example.com>\r\nRCPT TO:<b4@example.com>\r\n"
	  "RCPT TO:<b5@example.com>\r\nRCPT TO:<b6@example.com>\r\nRCPT TO:<b7@example.com>\r\n"
	  "RCPT TO:<b8@example.com>\r\nRCPT TO:<b9@example.com>\r\nRCPT TO:<b10@example.com>\r\n" MAIL QUIT,
	  SMTP_DONE, 250, true, false,
	  "accepted, but not for anna@example.com: 550 no; b3@example.com: 550 no; b4@example.com: 550 no; "
	  "b5@example.com: 550 no; b6@example.com: 550 no; b7@example.com: 550 no; b8@example.com: 550 no; "
	  "b9@example.com: 550 no; and 1 more" },

	/* refused and unexpected at each step */
	{ "greeting refused", NEVER, false, 0, { "554 go away\r\n" }, QUIT, SMTP_REFUSED, 554, false, false,
	  "greeting: 554 go away" },
	{ "greeting odd", NEVER, false, 0, { "354 what?\r\n" }, "", SMTP_BROKEN, 0, false, false,
	  "greeting: unexpected answer 354" },
	{ "greeting not SMTP", NEVER, false, 0, { "SSH-2.0-OpenSSH\r\n" }, "", SMTP_BROKEN, 0, false, false,
	  "what the server says is not SMTP" },
	{ "EHLO refused", NEVER, false, 0, { "220 peer\r\n", "502 what?\r\n" }, EHLO QUIT, SMTP_REFUSED, 502,
	  false, false, "EHLO: 502 what?" },
	{ "MAIL refused for now", NEVER, false, 0, { HELLO, "451 later\r\n" }, EHLO FROM QUIT, SMTP_REFUSED, 451,
	  false, false, "MAIL FROM: 451 later" },
	{ "MAIL without a word", NEVER, false, 0, { HELLO, "550\r\n" }, EHLO FROM QUIT, SMTP_REFUSED, 550, false,
	  false, "MAIL FROM: 550 " },
	{ "DATA refused", NEVER, false, 0, { HELLO, OK, OK, OK, "554 no\r\n" }, EHLO FROM TO_BOTH "DATA\r\n" QUIT,
	  SMTP_REFUSED, 554, false, false, "DATA: 554 no" },
	{ "DATA odd", NEVER, false, 0, { HELLO, OK, OK, OK, "250 eh?\r\n" }, EHLO FROM TO_BOTH "DATA\r\n",
	  SMTP_BROKEN, 0, false, false, "DATA: unexpected answer 250" },
	{ "message refused for now", NEVER, false, 0, { HELLO, OK, OK, OK, "354 go on\r\n", "452 full\r\n" },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_REFUSED, 452, false, false, "message: 452 full" },
	{ "message odd", NEVER, false, 0, { HELLO, OK, OK, OK, "354 go on\r\n", "354 more?\r\n" },
	  EHLO FROM TO_BOTH MAIL, SMTP_BROKEN, 0, false, true, "message: unexpected answer 354" },
	{ "message without an answer", NEVER, false, 0, { HELLO, OK, OK, OK, "354 go on\r\n", "250-half" },
	  EHLO FROM TO_BOTH MAIL, SMTP_GO_ON, 0, false, true, "" },
	{ "nothing at all", NEVER, false, 0, { "" }, "", SMTP_GO_ON, 0, false, false, "" },

	/* out of step: in one breath with the reply before, so before our question */
	{ "two yeses for one question", NEVER, false, 0, { HELLO, OK OK }, EHLO FROM, SMTP_BROKEN, 0, false, false,
	  "RCPT TO: unexpected answer 250" },
	{ "a yes to the message before it came", NEVER, false, 0,
	  { HELLO, OK, OK, OK, "354 go on\r\n250 thanks\r\n" }, EHLO FROM TO_BOTH "DATA\r\n", SMTP_BROKEN, 0,
	  false, false, "message: unexpected answer 250" },
	{ "a no to the message before it came", NEVER, false, 0,
	  { HELLO, OK, OK, OK, "354 go on\r\n552 too large\r\n" }, EHLO FROM TO_BOTH "DATA\r\n", SMTP_REFUSED, 552,
	  false, false, "message: 552 too large" },
	{ "closing down between two commands", NEVER, false, 0, { HELLO, OK "421 closing\r\n" }, EHLO FROM,
	  SMTP_REFUSED, 421, false, false, "RCPT TO: ops@example.com: 421 closing" },
	{ "what comes after the end is not heard", NEVER, false, 0,
	  { HELLO, OK, OK, OK, "354 go on\r\n", "250 fine\r\n554 or not\r\n", "junk\r\n" },
	  EHLO FROM TO_BOTH MAIL QUIT, SMTP_DONE, 250, false, false, "accepted: 250 fine" },
};

static struct smtp *new_of(const struct dialogue *dialogue)
{
	static const char data[] = "Subject: x\n\n.";
	const struct smtp_mail mail = {
		.starttls = dialogue->starttls, .ehlo = "mon.test",
		.username = dialogue->auth ? "user" : NULL, .password = "hunter2",
		.from = "me@example.com", .to = recipients,
		.to_count = dialogue->to_count > 0 ? dialogue->to_count : 2,
		.data = data, .data_bytes = sizeof(data) - 1,
	};
	struct error err = { 0 };
	struct smtp *smtp = smtp_new(&mail, &err);

	ck_assert_msg(smtp != NULL, "%s", err.text);
	return smtp;
}

/* At most `most` at a time. */
static void take_output(struct smtp *smtp, struct str *said, size_t most)
{
	const char *data;
	size_t bytes;

	while (data = smtp_output(smtp, &bytes), bytes > 0) {
		bytes = bytes < most ? bytes : most;
		str_add_bytes(said, data, bytes);
		smtp_output_sent(smtp, bytes);
	}
}

/* All that the server says, `most` bytes at a time. */
static enum smtp_next converse(struct smtp *smtp, const struct dialogue *dialogue, size_t most, struct str *said)
{
	enum smtp_next next = SMTP_GO_ON;

	for (size_t i = 0; dialogue->server[i] != NULL; i++) {
		const char *at = dialogue->server[i];

		for (size_t left = strlen(at), bytes; left > 0; left -= bytes, at += bytes) {
			bytes = left < most ? left : most;
			next = smtp_input(smtp, at, bytes);
		}
		if (next == SMTP_START_TLS) {
			str_add(said, "[TLS]");
			next = smtp_tls_started(smtp);
		}
		take_output(smtp, said, most);
	}
	return next;
}

START_TEST(dialogue_goes_as_it_should)
{
	static const size_t most[] = { 1000000, 1, 7 };
	const struct dialogue *dialogue = &dialogues[_i];

	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		AUTO(smtp) struct smtp *smtp = new_of(dialogue);
		AUTO(str) struct str said = { 0 };
		enum smtp_next next = converse(smtp, dialogue, most[i], &said);
		struct smtp_outcome outcome = smtp_outcome(smtp);

		ck_assert_msg(strcmp(said.data != NULL ? said.data : "", dialogue->client) == 0, "%s: said:\n%s",
			      dialogue->name, said.data);
		ck_assert_msg(strcmp(outcome.text, dialogue->text) == 0, "%s: %s", dialogue->name, outcome.text);
		ck_assert_msg(next == dialogue->next, "%s", dialogue->name);
		ck_assert_msg(outcome.status == dialogue->status, "%s", dialogue->name);
		ck_assert_msg(outcome.partly == dialogue->partly, "%s", dialogue->name);
		ck_assert_msg(smtp_in_doubt(smtp) == dialogue->in_doubt, "%s", dialogue->name);
	}
}
END_TEST

/* What a timeout is put down to, and from where on it is in doubt. */
START_TEST(waiting_has_a_name)
{
	static const char *const awaited[] = {
		"greeting", "EHLO", "MAIL FROM", "RCPT TO", "RCPT TO", "DATA", "message", "QUIT",
	};
	const struct dialogue *dialogue = &dialogues[0];
	AUTO(smtp) struct smtp *smtp = new_of(dialogue);
	AUTO(str) struct str said = { 0 };

	for (size_t i = 0; i < sizeof(awaited) / sizeof(awaited[0]); i++) {
		ck_assert_str_eq(smtp_waits_for(smtp), awaited[i]);
		ck_assert(!smtp_in_doubt(smtp));
		take_output(smtp, &said, 1000);
		ck_assert_int_eq(smtp_in_doubt(smtp), strcmp(awaited[i], "message") == 0);
		if (dialogue->server[i] != NULL)
			smtp_input(smtp, dialogue->server[i], strlen(dialogue->server[i]));
	}
}
END_TEST

/* TLS wants what could not be sent at the same place again. */
START_TEST(output_stays_at_its_place)
{
	AUTO(smtp) struct smtp *smtp = new_of(&dialogues[0]);
	const char *data;
	size_t bytes;

	data = smtp_output(smtp, &bytes);
	ck_assert_uint_eq(bytes, 0);
	ck_assert_ptr_nonnull(data);
	ck_assert_int_eq(smtp_input(smtp, "220 peer\r\n", 10), SMTP_GO_ON);
	data = smtp_output(smtp, &bytes);
	ck_assert_uint_eq(bytes, strlen(EHLO));
	smtp_output_sent(smtp, 3);
	ck_assert_int_eq(smtp_input(smtp, "250-", 4), SMTP_GO_ON);
	ck_assert_ptr_eq(smtp_output(smtp, &bytes), data + 3);
	ck_assert_uint_eq(bytes, strlen(EHLO) - 3);
}
END_TEST

/* A secret behind a NUL, or across two lines, is one all the same. */
START_TEST(secrets_are_not_shown)
{
	static const char words[] = "535-a\0hunter2\r\n535-\r\n535 bhunter2hunter2\r\n";
	struct dialogue dialogue = { .auth = true, .server = { HELLO_AUTH("PLAIN") } };
	AUTO(smtp) struct smtp *smtp = new_of(&dialogue);
	AUTO(str) struct str said = { 0 };

	ck_assert_int_eq(converse(smtp, &dialogue, 1000, &said), SMTP_GO_ON);
	ck_assert_int_eq(smtp_input(smtp, words, sizeof(words) - 1), SMTP_REFUSED);
	ck_assert_str_eq(smtp_outcome(smtp).text, "AUTH: 535 a\\x00******* b**************");
}
END_TEST

/* ---- the mail ---- */

static const struct {
	const char *data;
	const char *sent;
} bodies[] = {
	{ "", ".\r\n" },
	{ "x", "x\r\n.\r\n" },
	{ "x\r\n", "x\r\n.\r\n" },
	{ "x\n", "x\r\n.\r\n" },
	{ "x\r", "x\r\n.\r\n" },
	{ ".", "..\r\n.\r\n" },
	{ ".\r\n", "..\r\n.\r\n" },
	{ "..x", "...x\r\n.\r\n" },
	{ "a.b.\r\n.c", "a.b.\r\n..c\r\n.\r\n" },
	{ "a\n.\nQUIT\n", "a\r\n..\r\nQUIT\r\n.\r\n" },
	{ "a\r.\rQUIT", "a\r\n..\r\nQUIT\r\n.\r\n" },
	{ "a\n\r.\r\n", "a\r\n\r\n..\r\n.\r\n" },
	{ "\r\r\n\n", "\r\n\r\n\r\n.\r\n" },
};

START_TEST(dots_are_stuffed)
{
	AUTO(str) struct str out = { 0 };

	smtp_add_stuffed(&out, bodies[_i].data, strlen(bodies[_i].data));
	ck_assert_str_eq(out.data, bodies[_i].sent);
}
END_TEST

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct {
	const char *address;
	bool as_recipient;
	bool as_sender;
} envelopes[] = {
	{ "ops@example.com", true, true },
	{ "ops", true, true }, /* the server will say what it thinks of it */
	{ "j\xc3\xb6rg@example.com", true, true },
	{ "", false, true },
	{ "a b@c", false, false },
	{ "<a@b>", false, false },
	{ "a@b>\r\nRCPT TO:<c@d", false, false },
	{ "a@b\nDATA", false, false },
	{ "a@b\x7f", false, false },
	{ HUNDRED HUNDRED HUNDRED "@" TEN "012345678", true, true },
	{ HUNDRED HUNDRED HUNDRED "@" TEN TEN, false, false },
};

START_TEST(envelope_is_checked)
{
	const char *to[2] = { "ops@example.com", envelopes[_i].address };
	struct smtp_mail mail = { .from = "me@example.com", .to = to, .to_count = 2, .data = "", .data_bytes = 0 };
	struct error err = { 0 };
	AUTO(smtp) struct smtp *one = smtp_new(&mail, &err);

	ck_assert_int_eq(one != NULL, envelopes[_i].as_recipient);
	ck_assert_int_eq(err.text[0] == '\0', one != NULL);
	mail.to_count = 1;
	mail.from = envelopes[_i].address;
	AUTO(smtp) struct smtp *other = smtp_new(&mail, &err);

	ck_assert_int_eq(other != NULL, envelopes[_i].as_sender);
	mail.to_count = 0;
	ck_assert_ptr_null(smtp_new(&mail, &err));
}
END_TEST

static const struct {
	const char *ehlo;
	const char *said;
} names[] = {
	{ "mon.test", "EHLO mon.test\r\n" },
	{ "[192.0.2.1]", "EHLO [192.0.2.1]\r\n" },
	{ NULL, "EHLO localhost\r\n" },
	{ "", "EHLO localhost\r\n" },
	{ "x\r\nRSET", "EHLO localhost\r\n" },
	{ "b\xc3\xbc.test", "EHLO localhost\r\n" },
	{ HUNDRED HUNDRED HUNDRED, "EHLO localhost\r\n" },
};

/* The null sender, too. */
START_TEST(we_have_a_name)
{
	struct smtp_mail mail = { .ehlo = names[_i].ehlo, .to = recipients, .to_count = 1, .data = "" };
	struct dialogue dialogue = { .server = { HELLO } };
	struct error err;
	AUTO(smtp) struct smtp *smtp = smtp_new(&mail, &err);
	AUTO(str) struct str said = { 0 };
	AUTO(string) char *expected = mem_printf("%sMAIL FROM:<>\r\n", names[_i].said);

	converse(smtp, &dialogue, 1000, &said);
	ck_assert_str_eq(said.data, expected);
}
END_TEST

/* RFC 6531: addresses beyond ASCII only to a server that takes them. */
static const struct {
	const char *offer;
	enum smtp_next next;
	const char *said;
} wide[] = {
	{ "250-peer\r\n250 SMTPUTF8\r\n", SMTP_GO_ON, EHLO "MAIL FROM:<j\xc3\xb6rg@example.com> SMTPUTF8\r\n" },
	{ "250-peer\r\n250 8BITMIME\r\n", SMTP_BROKEN, EHLO },
};

START_TEST(addresses_beyond_ascii)
{
	struct smtp_mail mail = {
		.ehlo = "mon.test", .from = "j\xc3\xb6rg@example.com", .to = recipients, .to_count = 1, .data = "",
	};
	struct dialogue dialogue = { .server = { "220 peer\r\n", wide[_i].offer } };
	struct error err;
	AUTO(smtp) struct smtp *smtp = smtp_new(&mail, &err);
	AUTO(str) struct str said = { 0 };

	ck_assert_int_eq(converse(smtp, &dialogue, 1000, &said), wide[_i].next);
	ck_assert_str_eq(said.data, wide[_i].said);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("smtp");
	TCase *tcase = tcase_create("smtp");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, reply_is_read, 0, ROWS(replies));
	tcase_add_test(tcase, reply_is_capped);
	tcase_add_loop_test(tcase, dialogue_goes_as_it_should, 0, ROWS(dialogues));
	tcase_add_test(tcase, waiting_has_a_name);
	tcase_add_test(tcase, output_stays_at_its_place);
	tcase_add_test(tcase, secrets_are_not_shown);
	tcase_add_loop_test(tcase, dots_are_stuffed, 0, ROWS(bodies));
	tcase_add_loop_test(tcase, envelope_is_checked, 0, ROWS(envelopes));
	tcase_add_loop_test(tcase, we_have_a_name, 0, ROWS(names));
	tcase_add_loop_test(tcase, addresses_beyond_ascii, 0, ROWS(wide));
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
