/* SPDX-License-Identifier: MIT */
/*
 * smtp - the client's side of handing in one mail (RFC 5321), with STARTTLS (RFC 3207) and AUTH PLAIN or LOGIN
 * (RFC 4954), as a machine without socket or clock. Whoever holds the connection moves the bytes:
 *     send what smtp_output() has, tell smtp_output_sent(), receive, smtp_input(), do what it says, and again.
 * PIPELINING is not used: a command waits for the reply to the one before. A yes to what was not said yet is a
 * server out of step, a no is taken as one.
 * Owns:       the mail is copied. smtp_free() wipes the password; so is each command after the next.
 * Recipients: refused for good (5xx) they are left out as long as one is accepted; a 4xx to any of them refuses
 *             the mail before DATA, so that it can be tried again whole without doubles.
 * Fails:      all that a server does is an outcome, never an error.
 * Caps:       4 KiB a line (RFC 5321 4.5.3.1.5 says 512), 128 lines a reply.
 * Safety:     what is left in the buffer after the go-ahead for TLS breaks the dialogue (a reply put in by another
 *             must not be taken for one that came under TLS); what was offered before TLS is forgotten. Addresses
 *             and data cannot end their command or the mail.
 */
#ifndef PORTBELL_PROTO_SMTP_H
#define PORTBELL_PROTO_SMTP_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"
#include "lib/base/str.h"

/* ---- one reply ---- */

enum smtp_reading { SMTP_READING_MORE, SMTP_READING_WHOLE, SMTP_READING_BROKEN };

/* "250-first", "250 last". All zero before its first byte. */
struct smtp_reply {
	int code;             /* 200 to 599, of its last line so far */
	size_t lines;
	struct str text;      /* of its lines, '\n' between them; as the server wrote it: to be cleaned */
	struct str line;      /* what has come of one that is not whole */
	const char *trouble;  /* BROKEN: what is wrong with it */
};

/* Reads on; *used says how many bytes belong to this reply, which is all of them unless it is WHOLE or BROKEN. */
enum smtp_reading smtp_reply_read(struct smtp_reply *reply, const void *data, size_t bytes, size_t *used);
void smtp_reply_clear(struct smtp_reply *reply); /* for the next one */
void smtp_reply_done(struct smtp_reply *reply);

/* ---- the dialogue ---- */

enum smtp_starttls {
	SMTP_STARTTLS_NEVER,      /* also where TLS is there before the greeting */
	SMTP_STARTTLS_IF_OFFERED, /* without it also when the server then refuses */
	SMTP_STARTTLS_REQUIRED
};

struct smtp_mail {
	enum smtp_starttls starttls;
	const char *ehlo;         /* what we call ourselves; "localhost" for what is not a name */
	const char *username;     /* NULL: no AUTH */
	const char *password;
	const char *from;         /* bare address; NULL or "": the null sender */
	const char *const *to;
	size_t to_count;
	const void *data;         /* the whole message */
	size_t data_bytes;
};

enum smtp_next {
	SMTP_GO_ON,     /* send what there is to send, then feed what comes */
	SMTP_START_TLS, /* feed nothing more, make TLS and verify it, then smtp_tls_started() */
	SMTP_DONE,      /* accepted. These three stay; a QUIT may be left to send, its answer is not needed */
	SMTP_REFUSED,
	SMTP_BROKEN     /* not SMTP, out of step, or without what we need; nothing more is to be sent */
};

struct smtp_outcome {
	int status;       /* DONE: 250; REFUSED: 4xx, 5xx */
	bool partly;      /* DONE: some recipients were refused for good, `text` names them */
	const char *text; /* cleaned, without secrets; lent until smtp_free() */
};

struct smtp;

/* NULL with err: an address is missing or has what it must not have. */
struct smtp *smtp_new(const struct smtp_mail *mail, struct error *err);
void smtp_free(struct smtp *smtp); /* NULL is fine */
enum smtp_next smtp_input(struct smtp *smtp, const void *data, size_t bytes);
enum smtp_next smtp_tls_started(struct smtp *smtp);
/* What is to be sent; it stays at its place, whole, until all of it was sent. */
const char *smtp_output(const struct smtp *smtp, size_t *bytes);
void smtp_output_sent(struct smtp *smtp, size_t bytes);
struct smtp_outcome smtp_outcome(const struct smtp *smtp);
/* "EHLO", "RCPT TO", ...: what the next reply is the answer to. */
const char *smtp_waits_for(const struct smtp *smtp);
/* All was handed over, the final dot included, and there is no answer: it may have been accepted. */
bool smtp_in_doubt(const struct smtp *smtp);

/* `data` as it follows DATA: dots stuffed (RFC 5321 4.5.2), every line end a CRLF, the final dot included. */
void smtp_add_stuffed(struct str *out, const void *data, size_t bytes);

#endif
