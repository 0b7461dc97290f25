/* SPDX-License-Identifier: MIT */
/*
 * probe - one attempt at one target, in flight: a list of phases under one deadline.
 * Owns:    a probe belongs to its probe_loop and ends by itself. The plan is lent and stays until `done`.
 * Calls:   `done` from the loop, never inside probe_start(), exactly once, never after a cancel. The result is the
 *          callee's to take (result_take semantics: it must call result_done or move it).
 * Fails:   all trouble is a reason in the result; trouble of our own (no descriptor, no route at all) is
 *          local_error.
 * Ends:    what a probe leaves open says goodbye from a closing list of the probe_loop, at most 200 ms, outside
 *          the in-flight count and after the clock stopped.
 */
#ifndef PORTBELL_PROBE_PROBE_H
#define PORTBELL_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/error.h"
#include "lib/eval/result.h"
#include "lib/io/tls.h"

struct event_base;
struct resolver;
struct wheel;
struct probe;
struct probe_loop;

struct exchange_plan;
struct target_config;

/* What the probe of one target does (plan.h makes it from the configuration). Const while a prober may use it; what
 * it points to is lent. All that is zero is not wanted. */
struct plan {
	uint32_t target_id;      /* results carry it; stays over reloads that do not change what the probe does */
	int32_t previous;        /* index of the same target in this prober's list before; -1 = it is new */
	uint64_t spread;         /* hash of the name: its place in the interval */
	const char *host;
	struct address literal;  /* with port; family 0: host is to be looked up */
	uint16_t port;
	int64_t interval_us;
	int64_t timeout_us;
	int64_t recheck_us;
	struct tls_context *tls; /* NULL: a TCP target */
	struct tls_wish wish;
	const struct target_config *way; /* its proxy, source, resolve, ... if the way is not the plain one; else NULL */
	enum starttls starttls;  /* how TLS begins, if not with the first byte */
	const char *ehlo;        /* what we call ourselves where a protocol asks */
	const struct exchange_plan *exchange;
	bool tls_in_exchange;    /* TLS begins with a step of the exchange */
	struct reason_set expected; /* reasons that are well; empty: only ok */
	bool all_addresses;
	uint8_t need;            /* of all addresses, how many must be good; 0 = all */
	bool tell_attempts;      /* where one address that works is looked for: those that did not come along too */
	bool paused;             /* in the list, never probed */
};

/* What all probes of one thread share. */
struct probe_loop *probe_loop_new(struct event_base *base, struct wheel *wheel, struct resolver *resolver);
/* Probes still in flight are cancelled, goodbyes are cut short. NULL is fine. */
void probe_loop_free(struct probe_loop *loop);
/* What is said, for who reads along: called from within the phases, for each of them. Nobody does in the daemon. */
enum probe_trace_kind { PROBE_TRACE_NOTE, PROBE_TRACE_SENT, PROBE_TRACE_RECEIVED };
struct probe_trace {
	enum probe_trace_kind kind;
	enum phase phase;        /* PHASE_TOTAL: it is over, and says goodbye */
	bool secure;             /* said within TLS */
	bool message;            /* a message of TLS itself: data is its name, size_bytes its length */
	const struct address *address;
	const char *data;        /* a note and a name are clean text; all else is as it came */
	size_t bytes;
	size_t size_bytes;
	int64_t at_us;           /* from the start of the probe */
};
typedef void probe_trace_fn(const struct probe_trace *trace, void *arg);
void probe_loop_on_trace(struct probe_loop *loop, probe_trace_fn *on_trace, void *arg);
/* For a program that ends: waits, blocking, until the peers have said goodbye too, but no longer than that. */
void probe_loop_part(struct probe_loop *loop, int64_t wait_us);
/* From now on lookups go there; those in flight are asked again, of the new one. Then the old one may be freed. */
void probe_loop_set_resolver(struct probe_loop *loop, struct resolver *resolver);
/* `room` is called from the loop after a goodbye has ended, so that there is a socket more. */
typedef void probe_room_fn(void *arg);
void probe_loop_on_room(struct probe_loop *loop, probe_room_fn *room, void *arg);

typedef void probe_done_fn(struct probe *probe, struct result *result, void *arg);
/* due_us: when it should have started (monotonic), for result.late_us. told: the certificate that was last
 * reported with facts, copied; NULL = none. Facts come along only if what is shown or its verdict is another. */
struct probe *probe_start(struct probe_loop *loop, const struct plan *plan, int64_t due_us,
			  const struct certificate *told, probe_done_fn *done, void *arg);
void probe_cancel(struct probe *probe); /* NULL is fine; `done` is not called */
/* Whose loop it is calls this at each look at its timers. True: it, or the machine, stood still for more than
 * PROBE_LATE_US since somebody looked last, and nothing that was in flight can be judged; from then on nothing is. */
enum { PROBE_LATE_US = 500 * 1000 };
bool probe_loop_stood_still(struct probe_loop *loop, int64_t now_us);
size_t probe_loop_in_flight(const struct probe_loop *loop);
/* Sockets in use: in flight (all addresses of a name each) and saying goodbye. */
size_t probe_loop_sockets(const struct probe_loop *loop);

#endif
