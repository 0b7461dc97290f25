/* SPDX-License-Identifier: MIT */
/*
 * probe_private - what the engine (probe.c), the phases (connect.c, tls.c) and the closing list (goodbye.c) share.
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

struct event;

enum step {
	STEP_DONE,
	STEP_SKIPPED, /* there was nothing to do: it has no time of its own */
	STEP_WAIT,
	STEP_FAILED   /* probe_fail() was called */
};

struct probe_phase {
	enum phase name;
	enum reason timeout;
	enum step (*run)(struct probe *probe);
};

enum probe_state {
	PROBE_STARTING, /* inside probe_start(): `done` has to wait */
	PROBE_RUNNING,
	PROBE_ENDED     /* inside probe_start() already: the timer reports it */
};

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
};

struct probe {
	struct list node; /* in loop->in_flight or loop->spare */
	struct probe_loop *loop;
	const struct plan *plan;
	const struct probe_phase *phase;
	enum probe_state state;
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
	struct lookup *lookup;
	enum lookup_state lookup_state;
	enum lookup_status lookup_status;
	bool lookup_cached;
	struct address addresses[RESOLVER_ADDRESSES_MAX];
	size_t address_count;
	size_t address_next;
	int64_t attempt_started_us;
	struct tls_session *session;
	bool told;
	struct certificate told_certificate;
	probe_done_fn *done;
	void *arg;
	struct result result;
};

/* engine */

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
enum step phase_connect(struct probe *probe);
enum step phase_tls(struct probe *probe);
/* Asks again, of the loop's new resolver. */
void dns_ask(struct probe *probe);

/* closing list */

/* Takes the descriptor: FIN, then drains until the peer's FIN or for 200 ms, then closes. */
void goodbye_start(struct probe_loop *loop, int fd, int64_t now_us, int64_t rtt_us);
void goodbye_free_all(struct probe_loop *loop);

#endif
