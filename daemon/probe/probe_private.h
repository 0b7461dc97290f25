/* SPDX-License-Identifier: MIT */
/*
 * probe_private - what the engine (probe.c), the phases (dns.c, everyone.c, connect.c, proxy.c, starttls.c, tls.c,
 *                 exchange.c), the way bytes take (stream.c) and the closing list (goodbye.c) share.
 * A phase does what it can without waiting and says how it went; it is called again after each wait. Its wait ends
 * when the socket or the lookup has something, when `share_until_us` has come, within a millisecond if it set
 * `again` (others have their turn first), or with the deadline: then it gets a last look, and if it still waits the
 * engine ends the probe with the phase's `timeout` reason.
 * Signals: writing to a peer that has gone raises SIGPIPE in the writing thread. Probers block signals; whoever
 *          runs a probe on another thread ignores or blocks SIGPIPE.
 */
#ifndef PORTBELL_PROBE_PROBE_PRIVATE_H
#define PORTBELL_PROBE_PROBE_PRIVATE_H

#include "daemon/probe/probe.h"
#include "lib/base/list.h"
#include "lib/base/wheel.h"
#include "lib/io/resolver.h"
#include "lib/proto/starttls.h"

struct event;
struct exchange;
struct proxy;

enum step {
	STEP_DONE,
	STEP_SKIPPED, /* there was nothing to do: it has no time of its own */
	STEP_WAIT,
	STEP_FAILED   /* probe_fail() was called */
};

/* A row of what a probe may do. A phase may have two rows, its times are added. */
struct probe_phase {
	enum phase name;
	enum reason timeout;
	enum step (*run)(struct probe *probe);
	bool (*wanted)(const struct probe *probe);   /* NULL: always */
	void (*time_out)(struct probe *probe);       /* NULL: `timeout` says it all; else it calls probe_fail() */
};

enum probe_state {
	PROBE_STARTING, /* inside probe_start(): `done` has to wait */
	PROBE_RUNNING,
	PROBE_ENDED     /* inside probe_start() already: the timer reports it */
};

/* Where all addresses of a name are probed, one probe leads: it looks the name up, and has one probe for each. */
enum probe_role { PROBE_ALONE, PROBE_LEADER, PROBE_MEMBER };

enum lookup_state { LOOKUP_NOT_ASKED, LOOKUP_ASKED, LOOKUP_ANSWERED };

struct probe_loop {
	struct event_base *base;
	struct wheel *wheel;
	struct resolver *resolver;
	int64_t seen_us;    /* somebody looked at the clock last; 0 = nobody watches for a loop that stands still */
	bool stood_still;
	struct list in_flight;
	size_t in_flight_count;
	struct list spare; /* probes that ended, for the next ones */
	size_t spare_count;
	struct list goodbyes;
	size_t goodbye_count;
	struct list spare_goodbyes;
	size_t spare_goodbye_count;
	probe_room_fn *room;
	void *room_arg;
	probe_trace_fn *on_trace; /* NULL: nobody reads along */
	void *trace_arg;
};

struct probe {
	struct list node; /* in loop->in_flight or loop->spare */
	struct probe_loop *loop;
	const struct plan *plan;
	const struct probe_phase *phase;
	enum probe_state state;
	enum probe_role role;
	struct timer timer;
	struct event *event; /* lives as long as the memory; watches fd from connect to the end */
	bool watching;
	bool connected;
	bool again;          /* the phase could go on at once, and lets others have a turn first */
	int fd;              /* -1 = none */
	int64_t now_us;      /* of the present look */
	int64_t started_us;
	int64_t deadline_us;
	int64_t phase_started_us;
	int64_t share_until_us; /* of one address; INT64_MAX = none */
	int64_t better_us;   /* what the phase took by a better clock than the loop's; -1 = none */
	int64_t uncounted_us; /* time that was the loop's, not the peer's: not part of the total */
	int64_t total_us;    /* another's total, instead of our own; -1 = none */
	struct lookup *lookup;
	enum lookup_state lookup_state;
	enum lookup_status lookup_status;
	bool lookup_cached;
	bool asks_for_proxy; /* the target's own address is known, or the proxy looks it up */
	bool looked_up;      /* the target's: it took time */
	struct address behind_proxy; /* the target's, if it is not the proxy that looks it up */
	struct address addresses[RESOLVER_ADDRESSES_MAX]; /* to connect to */
	size_t address_count;
	size_t address_next;
	int64_t attempt_started_us;
	uint32_t connect_retransmits; /* of this connection, counted at connect */
	struct tls_session *session;
	bool secure;         /* the session is there: what is said goes through it */
	struct proxy *proxy;
	struct starttls_talk *starttls;
	enum starttls_next starttls_next;
	struct exchange *exchange;
	int64_t exchange_started_us;
	bool exchanging;     /* in one of its phases */
	struct member *members; /* PROBE_LEADER */
	size_t member_count;
	size_t members_left;
	bool told;
	struct certificate told_certificate;
	probe_done_fn *done;
	void *arg;
	struct result result;
};

/* engine */

/* A probe of one address of the leader's, under its deadline. The leader's phase ends when all have reported. */
struct probe *probe_start_member(struct probe *leader, const struct address *address, probe_done_fn *done, void *arg);

/* Overwrites an earlier failure. `text` is copied; NULL: errno's words. */
void probe_fail(struct probe *probe, enum reason reason, int error_number, const char *text);
void probe_forgive(struct probe *probe);
/* Watches probe->fd for whatever happens, edge-triggered: one registration serves all phases. False: it failed. */
bool probe_watch(struct probe *probe);
/* The socket is closed without a word. */
void probe_drop_socket(struct probe *probe);
/* Something has come that the phase waits for. Nothing may follow: the probe may be gone. */
void probe_resume(struct probe *probe);

/* phases */

enum step phase_dns(struct probe *probe);
void dns_time_out(struct probe *probe);
enum step phase_everyone(struct probe *probe);
void everyone_end(struct probe *probe);
enum step phase_connect(struct probe *probe);
enum step phase_proxy(struct probe *probe);
void proxy_time_out(struct probe *probe);
enum step phase_header(struct probe *probe);
/* What failed is the way to the proxy: of the target nothing is known. */
void probe_blame_proxy(struct probe *probe);
enum step phase_starttls(struct probe *probe);
void starttls_time_out(struct probe *probe);
enum step phase_tls(struct probe *probe);
enum step phase_exchange(struct probe *probe);
void exchange_time_out(struct probe *probe);
/* Asks again, of the loop's new resolver. */
void dns_ask(struct probe *probe);

/* the way bytes take: plain, or through the session once there is one */

enum stream_step {
	STREAM_MOVED,
	STREAM_WAIT,
	STREAM_CLOSED, /* by the peer, or the way to it is gone: *why is errno, 0 for an orderly end */
	STREAM_FAILED  /* TLS itself; probe_fail() was called */
};
enum { STREAM_BYTES = 16384 }; /* of one look */

enum stream_step stream_send(struct probe *probe, const void *data, size_t bytes, size_t *sent, int *why);
enum stream_step stream_receive(struct probe *probe, void *data, size_t capacity, size_t *got, int *why);
/* Plain only. What is peeked at stays to be received, but for what is skipped. */
enum stream_step stream_peek(struct probe *probe, void *data, size_t capacity, size_t *got, int *why);
void stream_skip(struct probe *probe, size_t bytes);
/* Bytes that came before they were due: there is something to receive. */
bool stream_has_more(struct probe *probe);

/* For who reads along; does nothing if nobody does. */
void stream_trace(struct probe *probe, enum probe_trace_kind kind, const void *data, size_t bytes);
void stream_trace_note(struct probe *probe, const char *format, ...) __attribute__((format(printf, 2, 3)));
void stream_trace_tls(struct probe *probe); /* the session's own messages, from now on */
/* What the kernel knows of the connection at its end. */
void stream_read_numbers(struct probe *probe);

/* closing list */

/* Takes the descriptor: FIN, then drains until the peer's FIN or for 200 ms, then closes. */
void goodbye_start(struct probe_loop *loop, int fd, int64_t now_us, int64_t rtt_us);
void goodbye_free_all(struct probe_loop *loop);

#endif
