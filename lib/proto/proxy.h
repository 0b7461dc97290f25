/* SPDX-License-Identifier: MIT */
/*
 * proxy - the client's side of asking a proxy for a way to a target, as a machine without socket or clock: SOCKS5
 * (RFC 1928, login RFC 1929) and HTTP CONNECT (RFC 9110 9.3.6, form RFC 9112, Basic login RFC 7617). Whoever holds
 * the connection to the proxy moves the bytes:
 *     send what proxy_output() has, tell proxy_output_sent(), receive, proxy_input(), until it is not GO_ON.
 * After OPEN the connection is the target's, from the first byte that was not `used` on.
 * Owns:   the wish is copied. proxy_free() wipes the login; so is what said it, after the next message.
 * Fails:  all that a proxy does is an outcome, never an error.
 * Caps:   a SOCKS message has at most 262 bytes by its form; all heads of an HTTP answer (1xx included) 16 KiB.
 * Safety: a login is sent only to a proxy that asks for it (SOCKS) or with the request (HTTP), in clear text both.
 *         The password is in no text, not even if the proxy repeats it. A yes to what was not sent yet breaks the
 *         dialogue.
 *
 * What an answer means, for the reason of a result:
 *     proxy_refused  the proxy works and says no, of itself or for the target behind it:
 *                    SOCKS replies 1 (general failure), 2 (not allowed), 3 (network unreachable), 4 (host
 *                    unreachable, which many also say of a name that does not exist), 5 (the target refused), 6
 *                    (timed out, by the letter "TTL expired") and those without a meaning of their own;
 *                    HTTP 403, 429, 451 and 5xx but for those below (502, 503: target down; 504: it timed out).
 *     proxy_failed   there is no way through this proxy as it is configured, whatever the target does:
 *                    no such proxy (it speaks something else, or not to the end), no common login, login refused;
 *                    SOCKS replies 7 (no CONNECT) and 8 (no such kind of address: there socks5 and socks5h
 *                    differ); HTTP 407 (login) and what servers that are no proxy answer: 101, 3xx, other 4xx,
 *                    501, 505, 511 (a captive portal).
 */
#ifndef PORTBELL_PROTO_PROXY_H
#define PORTBELL_PROTO_PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/error.h"
#include "lib/base/rules.h"
#include "lib/base/words.h"

struct proxy_wish {
	enum proxy_kind kind;           /* not NONE */
	const char *username;           /* NULL: no login */
	const char *password;           /* NULL is "" */
	const char *host;               /* name or IP literal of the target */
	const struct address *address;  /* asked for instead of `host`: what we resolved; without its port */
	uint16_t port;
};

enum proxy_next {
	PROXY_GO_ON,  /* send what there is to send, then feed what comes */
	PROXY_OPEN,   /* the connection is the target's now. These two stay */
	PROXY_BROKEN  /* proxy_failure() says why; nothing more is to be sent */
};

struct proxy;

/* NULL with err: something in the wish does not fit into the protocol. */
struct proxy *proxy_new(const struct proxy_wish *wish, struct error *err);
void proxy_free(struct proxy *proxy); /* NULL is fine */
/*
 * *used: how many bytes are the proxy's. What follows them at OPEN is the target's, which may speak first: peek,
 * and take only so many. All, as long as it is GO_ON; of no meaning when BROKEN.
 */
enum proxy_next proxy_input(struct proxy *proxy, const void *data, size_t bytes, size_t *used);
/* The proxy has closed or reset the connection: BROKEN, unless it is OPEN. */
enum proxy_next proxy_closed(struct proxy *proxy);
/* What is to be sent; it stays at its place, whole, until all of it was sent. Not terminated. */
const char *proxy_output(const struct proxy *proxy, size_t *bytes);
void proxy_output_sent(struct proxy *proxy, size_t bytes);
/* BROKEN: REASON_PROXY_REFUSED or _FAILED; *text is cleaned and lent until proxy_free(). Else REASON_OK and "". */
enum reason proxy_failure(const struct proxy *proxy, const char **text);
/* "greeting", "login", "connect" (SOCKS), "CONNECT" (HTTP): what the next answer is the answer to. */
const char *proxy_waits_for(const struct proxy *proxy);

#endif
