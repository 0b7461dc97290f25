/* SPDX-License-Identifier: MIT */
#include "daemon/probe/probe.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/config/config.h"
#include "lib/proto/exchange.h"
#include "lib/proto/proxy.h"

/* Of probes that ended, for the next ones: a burst may not keep its memory for ever. */
enum { SPARE_MAX = 512 };

static bool wants_everyone(const struct probe *probe)
{
	return probe->role == PROBE_LEADER;
}

static bool wants_connect(const struct probe *probe)
{
	return probe->role != PROBE_LEADER;
}

static bool wants_proxy(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->way != NULL && probe->plan->way->proxy.kind != PROXY_KIND_NONE;
}

static bool wants_header(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->way != NULL &&
	       probe->plan->way->proxy_protocol.version != PROXY_HEADER_NONE;
}

static bool wants_starttls(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->starttls != STARTTLS_NONE;
}

static bool wants_exchange_before_tls(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->exchange != NULL && probe->plan->tls_in_exchange;
}

static bool wants_exchange(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->exchange != NULL;
}

static bool wants_tls(const struct probe *probe)
{
	return wants_connect(probe) && probe->plan->tls != NULL;
}

/* What a probe does, in this order, as far as its plan wants it. */
static const struct probe_phase phases[] = {
	{ PHASE_DNS, REASON_DNS_TIMEOUT, phase_dns, NULL, dns_time_out },
	{ PHASE_TOTAL, REASON_LOCAL_ERROR, phase_everyone, wants_everyone, NULL },
	{ PHASE_CONNECT, REASON_CONNECT_TIMEOUT, phase_connect, wants_connect, NULL },
	{ PHASE_PROXY, REASON_PROXY_TIMEOUT, phase_proxy, wants_proxy, proxy_time_out },
	{ PHASE_CONNECT, REASON_CONNECT_TIMEOUT, phase_header, wants_header, NULL },
	{ PHASE_STARTTLS, REASON_STARTTLS_TIMEOUT, phase_starttls, wants_starttls, starttls_time_out },
	{ PHASE_EXCHANGE, REASON_EXCHANGE_TIMEOUT, phase_exchange, wants_exchange_before_tls, exchange_time_out },
	{ PHASE_TLS, REASON_TLS_TIMEOUT, phase_tls, wants_tls, NULL },
	{ PHASE_EXCHANGE, REASON_EXCHANGE_TIMEOUT, phase_exchange, wants_exchange, exchange_time_out },
	{ PHASE_TOTAL, REASON_OK, NULL, NULL, NULL },
};

static void on_timer(struct timer *timer, int64_t now_us);
static void probe_end(struct probe *probe);

/* Memory */

static struct probe *probe_take(struct probe_loop *loop)
{
	struct probe *probe;

	if (!list_empty(&loop->spare)) {
		probe = list_entry(loop->spare.next, struct probe, node);
		list_remove(&probe->node);
		loop->spare_count--;
		return probe;
	}
	probe = mem_new(struct probe);
	list_init(&probe->node);
	probe->loop = loop;
	timer_init(&probe->timer, on_timer);
	probe->event = mem_alloc(event_get_struct_event_size());
	return probe;
}

static void probe_release(struct probe *probe)
{
	free(probe->event);
	free(probe);
}

static void probe_give_back(struct probe *probe)
{
	struct probe_loop *loop = probe->loop;

	if (loop->spare_count >= SPARE_MAX) {
		probe_release(probe);
		return;
	}
	/* In front: what was used last is in the processor's cache. */
	list_insert(loop->spare.next, &probe->node);
	loop->spare_count++;
}

/* What phases need */

void probe_fail(struct probe *probe, enum reason reason, int error_number, const char *text)
{
	probe_forgive(probe);
	probe->result.reason = reason;
	probe->result.error_number = error_number;
	if (text == NULL && error_number != 0) {
		errno = error_number;
		probe->result.detail = mem_printf("%m");
	} else {
		probe->result.detail = mem_strdup(text);
	}
}

void probe_forgive(struct probe *probe)
{
	probe->result.reason = REASON_OK;
	probe->result.error_number = 0;
	free(TAKE(probe->result.detail));
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	probe_resume(arg);
}

bool probe_watch(struct probe *probe)
{
	if (event_assign(probe->event, probe->loop->base, probe->fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST,
			 on_ready, probe) != 0 || event_add(probe->event, NULL) != 0) {
		probe_fail(probe, REASON_LOCAL_ERROR, errno, NULL);
		return false;
	}
	probe->watching = true;
	return true;
}

static void probe_unwatch(struct probe *probe)
{
	if (probe->watching)
		event_del(probe->event);
	probe->watching = false;
}

void probe_drop_socket(struct probe *probe)
{
	probe_unwatch(probe);
	if (probe->fd >= 0)
		close(probe->fd);
	probe->fd = -1;
	probe->connected = false;
}

/* The way through the phases */

/* The first from `phase` on that is wanted. */
static void probe_enter_phase(struct probe *probe, const struct probe_phase *phase)
{
	while (phase->wanted != NULL && !phase->wanted(probe))
		phase++;
	probe->phase = phase;
	probe->phase_started_us = probe->now_us;
	probe->share_until_us = INT64_MAX;
	probe->better_us = -1;
}

static void probe_lap(struct probe *probe, enum step step)
{
	int64_t *phase_us = &probe->result.phase_us[probe->phase->name];
	int64_t took_us = probe->now_us - probe->phase_started_us;

	if (step == STEP_SKIPPED) {
		probe->uncounted_us += took_us;
		return;
	}
	if (probe->better_us >= 0 && probe->better_us < took_us) {
		probe->uncounted_us += took_us - probe->better_us;
		took_us = probe->better_us;
	}
	*phase_us = took_us + (*phase_us > 0 ? *phase_us : 0);
}

static void probe_wait(struct probe *probe)
{
	int64_t until_us = probe->share_until_us < probe->deadline_us ? probe->share_until_us : probe->deadline_us;

	if (probe->again)
		until_us = probe->now_us;
	if (!timer_armed(&probe->timer) || probe->timer.due_us != until_us)
		wheel_arm(probe->loop->wheel, &probe->timer, until_us);
}

static void probe_time_out(struct probe *probe)
{
	if (probe->phase->time_out != NULL) {
		probe->phase->time_out(probe);
		return;
	}
	AUTO(string) char *text = mem_printf("not done %lld ms after the start of the probe",
					     (long long)((probe->now_us - probe->started_us) / US_PER_MS));

	probe_fail(probe, probe->phase->timeout, 0, text);
}

static bool stands_still(struct probe_loop *loop, int64_t now_us)
{
	if (loop->seen_us == 0)
		return false;
	if (now_us - loop->seen_us > PROBE_LATE_US && loop->in_flight_count > 0)
		loop->stood_still = true;
	loop->seen_us = now_us;
	return loop->stood_still;
}

bool probe_loop_stood_still(struct probe_loop *loop, int64_t now_us)
{
	if (loop->seen_us == 0)
		loop->seen_us = now_us;
	const bool still = stands_still(loop, now_us);

	loop->stood_still = false;
	return still;
}

/* Runs phases until one has to wait, one fails, or none is left. */
static void probe_advance(struct probe *probe)
{
	enum step step;

	do {
		bool over = probe->now_us >= probe->deadline_us;

		probe->again = false;
		step = probe->phase->run(probe);
		probe->now_us = clock_mono_us();
		if (stands_still(probe->loop, probe->now_us)) {
			probe_wait(probe); /* it will be discarded */
			return;
		}
		if (step == STEP_WAIT && over) {
			probe_time_out(probe);
			step = STEP_FAILED;
		}
		if (step == STEP_WAIT) {
			probe_wait(probe);
			return;
		}
		probe_lap(probe, step);
		if (step == STEP_FAILED)
			break;
		probe_enter_phase(probe, probe->phase + 1);
	} while (probe->phase->run != NULL);
	probe_end(probe);
}

void probe_resume(struct probe *probe)
{
	probe->now_us = clock_mono_us();
	if (stands_still(probe->loop, probe->now_us))
		probe_wait(probe);
	else
		probe_advance(probe);
}

/* The end */

/* A server that we spoke its protocol with hears that we go, in its own words, if they go out without waiting. */
static void probe_say_goodbye(struct probe *probe)
{
	const char *words;
	size_t bytes, sent;
	int why;

	if (!probe->secure || probe->plan->starttls == STARTTLS_NONE || probe->plan->exchange != NULL ||
	    probe->result.reason != REASON_OK)
		return;
	words = starttls_goodbye(probe->plan->starttls, &bytes);
	if (bytes > 0)
		stream_send(probe, words, bytes, &sent, &why);
}

/* Lets go of all that is open; a connected peer gets a goodbye. */
static void probe_close(struct probe *probe)
{
	wheel_cancel(probe->loop->wheel, &probe->timer);
	resolver_cancel(TAKE(probe->lookup));
	everyone_end(probe);
	proxy_free(TAKE(probe->proxy));
	starttls_free(TAKE(probe->starttls));
	exchange_free(TAKE(probe->exchange));
	probe_say_goodbye(probe);
	if (probe->session != NULL) {
		tls_session_goodbye(probe->session);
		tls_session_free(TAKE(probe->session));
	}
	if (!probe->connected) {
		probe_drop_socket(probe);
		return;
	}
	probe_unwatch(probe);
	goodbye_start(probe->loop, probe->fd, probe->now_us, probe->result.rtt_us);
	probe->fd = -1;
	probe->connected = false;
}

static void probe_leave(struct probe *probe)
{
	list_remove(&probe->node);
	probe->loop->in_flight_count--;
}

static void probe_report(struct probe *probe)
{
	probe_leave(probe);
	probe->done(probe, &probe->result, probe->arg);
	probe_give_back(probe);
}

/* What the plan expects is well, whatever it is; not to get it is not. Our own troubles are never well. */
static void probe_judge(struct probe *probe)
{
	const struct reason_set *expected = &probe->plan->expected;
	const enum reason reason = probe->result.reason;

	if (reason_set_empty(expected) || reason_is_ours(reason))
		return;
	if (reason != REASON_OK && reason_set_has(expected, reason)) {
		probe_forgive(probe);
		probe->result.detail = mem_printf("%s, as expected", reason_text(reason));
	} else if (reason == REASON_OK && !reason_set_has(expected, REASON_OK)) {
		probe_fail(probe, REASON_OPEN_UNEXPECTEDLY, 0, NULL);
	}
}

static void probe_end(struct probe *probe)
{
	probe->result.phase_us[PHASE_TOTAL] = probe->total_us >= 0 ?
						      probe->total_us :
						      probe->now_us - probe->started_us - probe->uncounted_us;
	if (probe->role != PROBE_LEADER || probe->members == NULL)
		probe->result.phase = probe->result.reason == REASON_OK ? PHASE_TOTAL : probe->phase->name;
	stream_read_numbers(probe);
	if (probe->role != PROBE_LEADER || probe->members == NULL) /* else each of them was judged */
		probe_judge(probe);
	probe_close(probe);
	if (probe->state == PROBE_STARTING) {
		probe->state = PROBE_ENDED;
		wheel_arm(probe->loop->wheel, &probe->timer, probe->now_us);
		return;
	}
	probe_report(probe);
}

/* The report of what ended in probe_start(), the end of an address's share, or the deadline. */
static void on_timer(struct timer *timer, int64_t now_us)
{
	struct probe *probe = list_entry(timer, struct probe, timer);

	(void)now_us; /* of the loop: there was work since */
	if (probe->state == PROBE_ENDED)
		probe_report(probe);
	else
		probe_resume(probe);
}

/* The interface */

/* A probe at its start; what it is to begin with is still to be set. */
static struct probe *probe_prepare(struct probe_loop *loop, const struct plan *plan, const struct now *now,
				   const struct certificate *told, probe_done_fn *done, void *arg)
{
	struct probe *probe = probe_take(loop);

	probe->plan = plan;
	probe->state = PROBE_STARTING;
	probe->role = PROBE_ALONE;
	probe->watching = false;
	probe->connected = false;
	probe->again = false;
	probe->fd = -1;
	probe->now_us = now->mono_us;
	probe->started_us = now->mono_us;
	probe->deadline_us = now->mono_us + plan->timeout_us;
	probe->uncounted_us = 0;
	probe->total_us = -1;
	probe->lookup = NULL;
	probe->lookup_state = LOOKUP_NOT_ASKED;
	probe->address_count = 0;
	probe->address_next = 0;
	probe->connect_retransmits = 0;
	probe->session = NULL;
	probe->secure = false;
	probe->asks_for_proxy = false;
	probe->looked_up = false;
	probe->behind_proxy.family = 0;
	probe->proxy = NULL;
	probe->starttls = NULL;
	probe->starttls_next = STARTTLS_GO_ON;
	probe->exchange = NULL;
	probe->exchanging = false;
	probe->members = NULL;
	probe->member_count = 0;
	probe->told = told != NULL;
	if (told != NULL)
		probe->told_certificate = *told;
	probe->done = done;
	probe->arg = arg;
	result_init(&probe->result, plan->target_id);
	probe->result.started_unix_us = now->unix_us;
	list_push(&loop->in_flight, &probe->node);
	loop->in_flight_count++;
	return probe;
}

static void probe_begin(struct probe *probe)
{
	probe_enter_phase(probe, phases);
	probe_advance(probe);
	if (probe->state == PROBE_STARTING)
		probe->state = PROBE_RUNNING;
}

struct probe *probe_start(struct probe_loop *loop, const struct plan *plan, int64_t due_us,
			  const struct certificate *told, probe_done_fn *done, void *arg)
{
	const struct now now = clock_now();
	struct probe *probe = probe_prepare(loop, plan, &now, told, done, arg);

	if (plan->all_addresses)
		probe->role = PROBE_LEADER;
	probe->result.late_us = now.mono_us > due_us ? now.mono_us - due_us : 0;
	probe_begin(probe);
	return probe;
}

struct probe *probe_start_member(struct probe *leader, const struct address *address, probe_done_fn *done, void *arg)
{
	const struct now now = clock_now();
	struct probe *probe = probe_prepare(leader->loop, leader->plan, &now,
					    leader->told ? &leader->told_certificate : NULL, done, arg);

	probe->role = PROBE_MEMBER;
	probe->deadline_us = leader->deadline_us;
	probe->addresses[0] = *address;
	probe->address_count = 1;
	probe_begin(probe);
	return probe;
}

void probe_cancel(struct probe *probe)
{
	if (probe == NULL)
		return;
	probe->now_us = clock_mono_us();
	probe_close(probe);
	result_done(&probe->result);
	probe_leave(probe);
	probe_give_back(probe);
}

struct probe_loop *probe_loop_new(struct event_base *base, struct wheel *wheel, struct resolver *resolver)
{
	struct probe_loop *loop = mem_new(struct probe_loop);

	loop->base = base;
	loop->wheel = wheel;
	loop->resolver = resolver;
	list_init(&loop->in_flight);
	list_init(&loop->spare);
	list_init(&loop->goodbyes);
	list_init(&loop->spare_goodbyes);
	return loop;
}

void probe_loop_free(struct probe_loop *loop)
{
	struct probe *probe;

	if (loop == NULL)
		return;
	while (!list_empty(&loop->in_flight)) /* one that leads takes others with it */
		probe_cancel(list_entry(loop->in_flight.next, struct probe, node));
	assert(loop->in_flight_count == 0);
	list_each(probe, &loop->spare, struct probe, node)
		probe_release(probe);
	goodbye_free_all(loop);
	free(loop);
}

void probe_loop_set_resolver(struct probe_loop *loop, struct resolver *resolver)
{
	struct probe *probe;

	loop->resolver = resolver;
	list_each(probe, &loop->in_flight, struct probe, node) {
		if (probe->lookup == NULL)
			continue;
		resolver_cancel(TAKE(probe->lookup));
		dns_ask(probe);
	}
}

void probe_loop_on_room(struct probe_loop *loop, probe_room_fn *room, void *arg)
{
	loop->room = room;
	loop->room_arg = arg;
}

void probe_loop_on_trace(struct probe_loop *loop, probe_trace_fn *on_trace, void *arg)
{
	loop->on_trace = on_trace;
	loop->trace_arg = arg;
}

size_t probe_loop_in_flight(const struct probe_loop *loop)
{
	return loop->in_flight_count;
}

size_t probe_loop_sockets(const struct probe_loop *loop)
{
	return loop->in_flight_count + loop->goodbye_count;
}
