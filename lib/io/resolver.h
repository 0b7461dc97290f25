/* SPDX-License-Identifier: MIT */
/*
 * resolver - host names to addresses (c-ares) with a cache that hears TTLs, without blocking the loop.
 * One per event loop; not thread-safe.
 * Owns:    a lookup belongs to the resolver and ends by itself. `found` is lent: copy what must outlive the callback.
 * Calls:   `done` runs from the loop, never inside resolver_start(), exactly once, and never after a cancel.
 * Fails:   a name that does not exist is an answer (found->status), not an error.
 * Units:   timeout_ms, monotonic; the lookup's own deadline, kept even if every server is silent.
 * Cache:   good answers for their TTL (at least 1 s, at most 1 h), "not found" for at most 5 s; nothing else.
 *          At most 16 addresses an answer, in RFC 6724 order. /etc/hosts is heard; search domains are not.
 *          Lookups of one name that wait at the same time share one question.
 * Servers: in their order; the next one is asked after silence, "server failure", "refused" and the like.
 *          A resolv.conf that changed is read by the next lookup, at most once a second: the cache is emptied and
 *          what is in flight is asked again, of the new servers.
 */
#ifndef PORTBELL_IO_RESOLVER_H
#define PORTBELL_IO_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/error.h"

enum { RESOLVER_ADDRESSES_MAX = 16 };

struct event_base;
struct resolver;
struct lookup;

enum lookup_status { LOOKUP_OK, LOOKUP_NOT_FOUND, LOOKUP_TIMEOUT, LOOKUP_FAILED };

struct found {
	enum lookup_status status;
	const struct address *addresses; /* port 0 */
	size_t address_count;
	bool cached;             /* answered from our own cache: the lookup has no time of its own */
	const char *text;        /* the cause in words ("server failure (SERVFAIL)"); NULL if ok */
};
typedef void lookup_done_fn(const struct found *found, void *arg);

struct resolver_options {
	const char *const *servers; /* "192.0.2.53" or "[2001:db8::53]:5353"; none: /etc/resolv.conf, heard when it changes */
	size_t server_count;
	int64_t timeout_ms;      /* of one try to one server */
	int tries;
	bool cache;
	/* For tests; zeroed means the real thing. */
	const char *resolv_conf; /* instead of /etc/resolv.conf */
	uint16_t port;           /* of the servers that resolv.conf names, instead of 53 */
	int64_t (*clock_us)(void *arg); /* instead of clock_mono_us(), for TTLs and for looking at resolv.conf */
	void *clock_arg;
};

struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options, struct error *err);
/* Pending lookups end without a call. May be called from a `done`. NULL is fine. */
void resolver_free(struct resolver *resolver);
struct lookup *resolver_start(struct resolver *resolver, const char *host, int64_t timeout_ms,
			      lookup_done_fn *done, void *arg);
void resolver_cancel(struct lookup *lookup); /* NULL is fine */

#endif
