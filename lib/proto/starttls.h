/* SPDX-License-Identifier: MIT */
/*
 * starttls - how a server is asked to go over to TLS, in thirteen protocols, as a machine without socket or clock.
 * Whoever holds the connection moves the bytes:
 *     send what starttls_output() has, tell starttls_output_sent(), receive, starttls_input(), again while GO_ON.
 * Some protocols speak first, so there may be output before there is any input.
 *
 *   smtp         RFC 5321, 3207: EHLO, STARTTLS           imap      RFC 9051 6.2.1: CAPABILITY, STARTTLS
 *   lmtp         RFC 2033: the same with LHLO             pop3      RFC 2449, 2595: CAPA, STLS
 *   ftp          RFC 4217: AUTH TLS                       sieve     RFC 5804: capabilities unasked, STARTTLS
 *   nntp         RFC 3977, 4642: CAPABILITIES, STARTTLS   irc       IRCv3 tls: CAP LS 302, STARTTLS, 670 or 691
 *   xmpp         RFC 6120 5: <stream/>, <starttls/>       ldap      RFC 4511 4.14: an ExtendedRequest
 *   xmpp-server  the same with jabber:server              postgres  manual, "Message Flow", SSLRequest
 *                                                         mysql     manual, "Connection Phase", SSLRequest
 *
 * GO_AHEAD:  send what output there is left (MySQL has no answer to its request), then begin TLS. Feed no more.
 * BROKEN:    stays. Why, in the words of `enum reason`:
 *     not_offered  the server speaks the protocol, but without TLS: it is not in its list (EHLO, CAPABILITY, CAPA,
 *                  features, the MySQL flags), or it does not know the command (ftp 500 502 504 530, LDAP
 *                  protocolError and unwillingToPerform, postgres 'N'), or EHLO itself. A setting was lost there.
 *     refused      it knows TLS or us, and says no, now or at all: a no for a greeting or to EHLO (421, 550, BYE,
 *                  ERROR, "Host is blocked"), to what it had listed, LDAP unavailable, postgres 'E', <failure/>.
 *     protocol     that is not the protocol, is out of step (an answer before the question, bytes between the
 *                  go-ahead and TLS: another may have put them in), or is too much.
 *     A list is believed: what it lacks is not tried. Where there is none (an old pop3, nntp or irc server) it is.
 * Calls:     nothing is called back; all is bytes in, bytes out.
 * Caps:      64 KiB taken in all, so also held; 4 KiB a line; of the server's words 200 bytes are shown.
 * Safety:    what is shown of a server is clean (str.h). What we say depends on the wish alone, in which a name
 *            with strange characters becomes "localhost". XMPP may be 16 elements deep, with no DTD or entities.
 */
#ifndef PORTBELL_PROTO_STARTTLS_H
#define PORTBELL_PROTO_STARTTLS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/words.h"

enum starttls_next { STARTTLS_GO_ON, STARTTLS_GO_AHEAD, STARTTLS_BROKEN };

struct starttls_wish {
	enum starttls protocol; /* not NONE */
	const char *ehlo;       /* what we call ourselves, for smtp and lmtp */
	const char *host;       /* whom we want to talk to, for xmpp and xmpp-server */
};

/* A tag of its own: `enum starttls` is the protocol. */
struct starttls_talk;

struct starttls_talk *starttls_new(const struct starttls_wish *wish);
void starttls_free(struct starttls_talk *starttls); /* NULL is fine */
enum starttls_next starttls_input(struct starttls_talk *starttls, const void *data, size_t bytes); /* takes all */
/* What is to be sent, never NULL; it stays at its place until all of it was sent. */
const char *starttls_output(const struct starttls_talk *starttls, size_t *bytes);
void starttls_output_sent(struct starttls_talk *starttls, size_t bytes);

/* BROKEN: why, and the server's words with what they answer: "STARTTLS: 454 TLS not available". Else OK and "". */
enum reason starttls_failure(const struct starttls_talk *starttls, const char **text);
/* "greeting", "EHLO", "STARTTLS": what a timeout or a close came upon. */
const char *starttls_waits_for(const struct starttls_talk *starttls);
/* The server's last words, or NULL. Of lines, also of one that has not ended. */
const char *starttls_said(const struct starttls_talk *starttls);

/*
 * What a polite client says under TLS before it goes; NULL (and 0) where nothing can be said before a login. For
 * mysql it is more than manners: without it a hundred probes lock our host out, if nobody logs in between. It must
 * have been read before the server sees us go.
 */
const char *starttls_goodbye(enum starttls protocol, size_t *bytes);
enum starttls starttls_of_port(uint16_t port); /* by the usual ports; NONE for others */

#endif
