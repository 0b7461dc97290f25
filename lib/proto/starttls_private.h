/* SPDX-License-Identifier: MIT */
/*
 * starttls_private - what a protocol's file has of the machine's frame, and what it is called for.
 * A protocol is a word in words.h, a row in starttls.c, and functions here. They are called with one thing that is
 * whole, a line or a packet, and answer it with at most one of starttls_say(), _go_ahead(), _not_offered(),
 * _not_listed(), _refused(), _broken(), _strange(). Cutting, caps, the server's last words and bytes after the
 * go-ahead are the frame's business.
 */
#ifndef PORTBELL_PROTO_STARTTLS_PRIVATE_H
#define PORTBELL_PROTO_STARTTLS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/proto/starttls.h"

enum {
	STARTTLS_BYTES_MAX = 65536, /* taken in all */
	STARTTLS_LINE_MAX = 4096,
	STARTTLS_WORDS_MAX = 200 /* of the server's, that are shown */
};

struct starttls_row {
	const char *title; /* "SMTP", for people */
	uint16_t ports[2]; /* the usual ones */
	const char *first; /* what is waited for at first */
	void (*start)(struct starttls_talk *starttls); /* NULL: nothing to prepare, nor to say before the server */
	void (*done)(struct starttls_talk *starttls);  /* what `own` holds; NULL: nothing. `own` itself is freed */
	/* One of the two. A line has no CR LF and no NUL. */
	void (*line)(struct starttls_talk *starttls, const char *line);
	/* How many bytes it must see in all to go on, or 0: these were a packet. Called with 1 at first. */
	size_t (*packet)(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes);
	bool literals; /* a line goes on after "{5}", CR LF and five bytes of any kind */
	const char *goodbye;
	size_t goodbye_bytes;
};

struct starttls_talk {
	const struct starttls_row *row;
	enum starttls protocol;
	char *ehlo;
	char *host;

	enum starttls_next next;
	enum reason reason;
	const char *waits_for; /* static; the protocol's state, too: compare with starttls_is_at() */
	bool listed;           /* TLS, in what the server listed */
	struct str list;       /* the beginning of that */
	void *own;             /* the protocol's */

	size_t taken;    /* in all */
	char first;      /* byte of the peer, while it takes the second to tell whether it speaks TLS */
	bool first_is_held;
	struct str held; /* what has come of a line or a packet */
	size_t literal;  /* bytes of it that are still to come */
	size_t wanted;   /* bytes of a packet */
	struct str out;
	size_t out_sent;
	char *said;      /* cleaned */
	struct str text; /* of BROKEN */
};

/* `waits_for` is what will be answered. It breaks the dialogue while what we said last was not sent. */
void starttls_say(struct starttls_talk *starttls, const char *waits_for, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void starttls_say_bytes(struct starttls_talk *starttls, const char *waits_for, const void *data, size_t bytes);
void starttls_go_ahead(struct starttls_talk *starttls);
/* The text is "what it waits for: `about`: last words", `about` may be NULL. */
void starttls_not_offered(struct starttls_talk *starttls, const char *about);
void starttls_refused(struct starttls_talk *starttls, const char *about);
/* The list has ended: "EHLO: no STARTTLS among: PIPELINING SIZE". */
void starttls_note_listed(struct starttls_talk *starttls, const char *words);
void starttls_not_listed(struct starttls_talk *starttls, const char *wanted);
/* The text is "what it waits for: ...", without last words. */
void starttls_broken(struct starttls_talk *starttls, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "greeting: not SMTP: last words". */
void starttls_strange(struct starttls_talk *starttls);

/* Whether all that we said was sent, so that an answer can be one. */
bool starttls_was_asked(const struct starttls_talk *starttls);
bool starttls_is_at(const struct starttls_talk *starttls, const char *waits_for);
void starttls_note_words(struct starttls_talk *starttls, const void *data, size_t bytes); /* the last ones */

/* Of a line that starts with three digits and then has a space, a hyphen or no more; else 0. */
int starttls_code(const char *line);
/* Whether `line` starts with `word`, in any case, and then has a space or no more. */
bool starttls_word_is(const char *line, const char *word);
/* Whether `word` is one of those in `list`, in any case; a ']' ends it. */
bool starttls_has_word(const char *list, const char *word);

/* ---- the rows' functions ---- */

/*
 * Who leaves before the login is an error of connection for MySQL and MariaDB, of which 100 in a row
 * (max_connect_errors) block the host, and with us everybody on it. A login that is denied is none: it is a
 * HandshakeResponse41 with the flags of our SSLRequest, as user "portbell" without a password.
 */
#define STARTTLS_MYSQL_LOGIN                                                                        \
	"\x40\0\0\2" "\1\x8a\x08\0" "\0\0\0\1" "\x2d"                                             \
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" "portbell\0" "\0" "mysql_native_password\0"

void starttls_smtp_start(struct starttls_talk *starttls);
void starttls_smtp_done(struct starttls_talk *starttls);
void starttls_smtp_line(struct starttls_talk *starttls, const char *line);
void starttls_imap_line(struct starttls_talk *starttls, const char *line);
void starttls_pop3_line(struct starttls_talk *starttls, const char *line);
void starttls_sieve_line(struct starttls_talk *starttls, const char *line);
void starttls_ftp_start(struct starttls_talk *starttls);
void starttls_ftp_line(struct starttls_talk *starttls, const char *line);
void starttls_nntp_line(struct starttls_talk *starttls, const char *line);
void starttls_irc_start(struct starttls_talk *starttls);
void starttls_irc_line(struct starttls_talk *starttls, const char *line);
void starttls_xmpp_start(struct starttls_talk *starttls);
void starttls_xmpp_done(struct starttls_talk *starttls);
size_t starttls_xmpp_byte(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes);
void starttls_ldap_start(struct starttls_talk *starttls);
size_t starttls_ldap_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes);
void starttls_postgres_start(struct starttls_talk *starttls);
size_t starttls_postgres_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes);
size_t starttls_mysql_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes);

#endif
