/* SPDX-License-Identifier: MIT */
/*
 * scripted_peer - a server on the test's own event loop that does to each client what a script says.
 * Owns:   a peer closes all it holds in scripted_peer_free(). The script is lent and ends with PEER_END: from
 *         there on the peer only listens, and closes when the client has.
 * Shows:  struct peer_seen, what clients did; `ended_by_reset` is a client's bad manners (or its death).
 */
#ifndef PORTBELL_TESTS_SCRIPTED_PEER_H
#define PORTBELL_TESTS_SCRIPTED_PEER_H

#include <stddef.h>

#include "lib/base/address.h"

struct event_base;
struct ssl_ctx_st;
struct scripted_peer;

enum peer_manner {
	PEER_LISTENS,
	PEER_REFUSES, /* the port is taken but nobody listens: a reset answers */
	PEER_STALLS   /* the backlog is full: nothing answers */
};

enum peer_act {
	PEER_END,
	PEER_SEND,     /* text */
	PEER_TRICKLE,  /* text, a byte at a time with pause_ms between */
	PEER_EXPECT,   /* a line that begins with text; any other is counted in seen.unexpected */
	PEER_PAUSE,    /* pause_ms */
	PEER_TLS,      /* a handshake, then all goes through it */
	PEER_CLOSE,    /* at once */
	PEER_RESET,    /* at once, with a reset */
	PEER_IGNORE    /* reads nothing more and never closes */
};

struct peer_step {
	enum peer_act act;
	const char *text;
	int pause_ms;
};

struct peer_seen {
	int connections;
	int open;             /* now */
	int most_open;
	int handshakes;
	int unexpected;
	int ended_by_close_notify; /* TLS, before the FIN */
	int ended_by_fin;
	int ended_by_reset;
	size_t bytes;         /* received, without TLS's own */
};

/* ip: "127.0.0.1", "127.0.0.3", "::1". port 0: any. */
struct scripted_peer *scripted_peer_new(struct event_base *base, const char *ip, uint16_t port,
					enum peer_manner manner, const struct peer_step *script);
/* For PEER_TLS; lent. */
void scripted_peer_set_tls(struct scripted_peer *peer, struct ssl_ctx_st *context);
void scripted_peer_free(struct scripted_peer *peer);
const struct peer_seen *scripted_peer_seen(const struct scripted_peer *peer);
struct address scripted_peer_address(const struct scripted_peer *peer);

#endif
