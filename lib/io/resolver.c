/* SPDX-License-Identifier: MIT */
#include "lib/io/resolver.h"

#include <ares.h>
#include <ctype.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"

#define uthash_malloc(bytes) mem_alloc(bytes)
#define uthash_free(pointer, bytes) free(pointer)
#include <uthash.h>

#define RESOLV_CONF "/etc/resolv.conf"

enum {
	NAME_MAX_BYTES = 253,
	CACHE_MAX = 100000,
	SERVERS_MAX = 16,
	/* c-ares draws query ids (65,536, two a name) until one is free: it must be far from full. */
	ASKED_MAX = 8192,
	TTL_MIN_S = 1,
	TTL_MAX_S = 3600,
	TTL_NOT_FOUND_S = 5,
	/* ares_timeout() walks over all that is in flight: never more often than this. */
	TICK_MIN_US = 20000
};

/* What came out, shared by the cache and all lookups that were given it. */
struct answer {
	int refs;
	enum lookup_status status;
	const char *text; /* static */
	int64_t ttl_s;
	size_t address_count;
	struct address addresses[RESOLVER_ADDRESSES_MAX];
};

/* A name that is cached, asked for, or waited for. */
struct entry {
	UT_hash_handle hh;
	struct list cached;  /* in resolver->cached while there is an answer */
	struct list parked;  /* in resolver->parked while too much is asked already */
	struct list waiting; /* lookups */
	int questions;       /* what c-ares has of this name; may outlive who waited */
	struct answer *answer;
	int64_t expires_us;
	char name[];
};

/* One name in the hands of c-ares, or just out of them. */
struct question {
	struct list node; /* in resolver->asked or ->ended */
	struct resolver *resolver;
	struct entry *entry;
	int family;
	size_t server;    /* which of the servers is asked first */
	int other_status; /* how the question for the other family ended */
	int status;
	struct answer *answer;
};

struct lookup {
	struct list node; /* in entry->waiting or resolver->ready */
	struct resolver *resolver;
	struct entry *entry; /* NULL once it is ready */
	struct answer *answer;
	bool cached;
	struct event deadline;
	lookup_done_fn *done;
	void *arg;
};

struct watch {
	struct list node;
	struct resolver *resolver;
	struct event event;
};

struct resolver {
	struct event_base *base;
	int64_t timeout_ms;
	int tries;
	bool cache;
	char *resolv_conf; /* NULL: the servers are given */
	uint16_t port;
	int64_t (*clock_us)(void *arg);
	void *clock_arg;

	struct stat conf;
	int64_t conf_seen_us;
	struct address servers[SERVERS_MAX];
	size_t server_count;
	/* The same servers, each time beginning with another one; made when first needed. */
	ares_channel channels[SERVERS_MAX];
	bool destroying;

	struct entry *entries;
	size_t cached_count;
	struct list cached;  /* entries, the oldest answer first */
	struct list parked;  /* entries */
	struct list asked;   /* questions */
	struct list ended;   /* questions */
	struct list ready;   /* lookups */
	struct list calling; /* lookups whose `done` is next */
	size_t asked_count;
	struct list watches;
	struct event tick;
	int64_t tick_due_us;
	/* All that ends ends here, on a stack without c-ares in it: so a `done` may start, cancel and free. */
	struct event deliver;
	bool *freed; /* set while `done`s are being called */
};

static int64_t real_clock(void *arg)
{
	(void)arg;
	return clock_mono_us();
}

static struct timeval timeval_of_us(int64_t us)
{
	return (struct timeval){ .tv_sec = us / US_PER_S, .tv_usec = us % US_PER_S };
}

/* ---- answers ---- */

static struct answer *answer_new(enum lookup_status status, const char *text)
{
	struct answer *answer = mem_new(struct answer);

	answer->refs = 1;
	answer->status = status;
	answer->text = text;
	answer->ttl_s = TTL_NOT_FOUND_S;
	return answer;
}

static struct answer *answer_ref(struct answer *answer)
{
	answer->refs++;
	return answer;
}

static void answer_unref(struct answer *answer)
{
	if (answer != NULL && --answer->refs == 0)
		free(answer);
}

static void answer_add(struct answer *answer, const struct sockaddr *sockaddr)
{
	struct address address;

	if (answer->address_count == RESOLVER_ADDRESSES_MAX || !address_from_sockaddr(sockaddr, &address))
		return;
	address.port = 0;
	for (size_t i = 0; i < answer->address_count; i++) {
		if (address_equal(&answer->addresses[i], &address))
			return;
	}
	answer->addresses[answer->address_count++] = address;
}

static int64_t ttl_clamp(int64_t ttl_s)
{
	if (ttl_s < TTL_MIN_S) /* /etc/hosts says 0, a TTL with the top bit set is 0 (RFC 2181 8) */
		return TTL_MIN_S;
	return ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
}

static struct answer *answer_from_ares(const struct ares_addrinfo *found)
{
	struct answer *answer = answer_new(LOOKUP_OK, NULL);
	int64_t ttl_s = TTL_MAX_S;

	for (const struct ares_addrinfo_node *node = found->nodes; node != NULL; node = node->ai_next) {
		if (node->ai_ttl < ttl_s)
			ttl_s = node->ai_ttl;
		answer_add(answer, node->ai_addr);
	}
	for (const struct ares_addrinfo_cname *alias = found->cnames; alias != NULL; alias = alias->next) {
		if (alias->ttl < ttl_s)
			ttl_s = alias->ttl;
	}
	answer->ttl_s = ttl_clamp(ttl_s);
	return answer;
}

static struct answer *answer_from_status(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
		return answer_new(LOOKUP_NOT_FOUND, "no such name (NXDOMAIN)");
	case ARES_ENODATA:
		return answer_new(LOOKUP_NOT_FOUND, "the name has no address");
	case ARES_ETIMEOUT:
		return answer_new(LOOKUP_TIMEOUT, "the DNS servers do not answer");
	case ARES_ESERVFAIL:
		return answer_new(LOOKUP_FAILED, "server failure (SERVFAIL)");
	case ARES_EREFUSED:
		return answer_new(LOOKUP_FAILED, "refused by the server (REFUSED)");
	case ARES_ENOTIMP:
		return answer_new(LOOKUP_FAILED, "not implemented by the server (NOTIMP)");
	case ARES_EFORMERR:
		return answer_new(LOOKUP_FAILED, "not understood by the server (FORMERR)");
	case ARES_EBADRESP:
		return answer_new(LOOKUP_FAILED, "the server's answer is malformed");
	case ARES_ECONNREFUSED:
		return answer_new(LOOKUP_FAILED, "no DNS server answers (connection refused or unreachable)");
	case ARES_EBADNAME:
		return answer_new(LOOKUP_FAILED, "not a host name");
	default:
		return answer_new(LOOKUP_FAILED, ares_strerror(status));
	}
}

/* ---- entries ---- */

static void entry_forget_answer(struct resolver *resolver, struct entry *entry)
{
	if (entry->answer == NULL)
		return;
	answer_unref(TAKE(entry->answer));
	list_remove(&entry->cached);
	resolver->cached_count--;
}

static void entry_release(struct resolver *resolver, struct entry *entry)
{
	if (entry->answer != NULL || entry->questions > 0 || !list_empty(&entry->waiting))
		return;
	list_remove(&entry->parked);
	HASH_DEL(resolver->entries, entry);
	free(entry);
}

static struct entry *entry_get(struct resolver *resolver, const char *name, size_t bytes)
{
	struct entry *entry;

	HASH_FIND(hh, resolver->entries, name, bytes, entry);
	if (entry != NULL)
		return entry;
	entry = mem_alloc(sizeof(*entry) + bytes + 1);
	memcpy(entry->name, name, bytes);
	list_init(&entry->cached);
	list_init(&entry->parked);
	list_init(&entry->waiting);
	HASH_ADD(hh, resolver->entries, name, bytes, entry);
	return entry;
}

static void cache_drop_oldest(struct resolver *resolver)
{
	struct entry *oldest = list_entry(resolver->cached.next, struct entry, cached);

	entry_forget_answer(resolver, oldest);
	entry_release(resolver, oldest);
}

static void cache_empty(struct resolver *resolver)
{
	while (!list_empty(&resolver->cached))
		cache_drop_oldest(resolver);
}

static void cache_put(struct resolver *resolver, struct entry *entry, struct answer *answer)
{
	int64_t now_us = resolver->clock_us(resolver->clock_arg);

	if (!resolver->cache || answer->status == LOOKUP_TIMEOUT || answer->status == LOOKUP_FAILED)
		return;
	entry_forget_answer(resolver, entry);
	/* What nobody asks for any more leaves from the old end, two for each that comes. */
	for (int i = 0; i < 2 && !list_empty(&resolver->cached); i++) {
		if (list_entry(resolver->cached.next, struct entry, cached)->expires_us > now_us)
			break;
		cache_drop_oldest(resolver);
	}
	if (resolver->cached_count == CACHE_MAX)
		cache_drop_oldest(resolver);
	entry->answer = answer_ref(answer);
	entry->expires_us = now_us + answer->ttl_s * US_PER_S;
	list_push(&resolver->cached, &entry->cached);
	resolver->cached_count++;
}

/* ---- lookups ---- */

static void resolver_deliver_soon(struct resolver *resolver)
{
	event_active(&resolver->deliver, 0, 0);
}

/* Takes over one reference of `answer`. */
static void lookup_ready(struct lookup *lookup, struct answer *answer)
{
	event_del(&lookup->deadline);
	list_remove(&lookup->node);
	lookup->entry = NULL;
	lookup->answer = answer;
	list_push(&lookup->resolver->ready, &lookup->node);
	resolver_deliver_soon(lookup->resolver);
}

static void lookup_free(struct lookup *lookup)
{
	event_del(&lookup->deadline);
	list_remove(&lookup->node);
	if (lookup->entry != NULL)
		entry_release(lookup->resolver, lookup->entry);
	answer_unref(lookup->answer);
	free(lookup);
}

/* Ends the lookup: the handle is gone before the callback runs, so that it may do what it likes. */
static void lookup_finish(struct lookup *lookup)
{
	struct answer *answer = TAKE(lookup->answer);
	lookup_done_fn *done = lookup->done;
	void *arg = lookup->arg;
	struct found found = {
		.status = answer->status,
		.addresses = answer->addresses,
		.address_count = answer->address_count,
		.cached = lookup->cached,
		.text = answer->text,
	};

	lookup_free(lookup);
	done(&found, arg);
	answer_unref(answer);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *lookup = arg;

	(void)fd;
	(void)what;
	lookup->answer = answer_new(LOOKUP_TIMEOUT, "no answer from DNS in time");
	lookup_finish(lookup);
}

void resolver_cancel(struct lookup *lookup)
{
	if (lookup != NULL)
		lookup_free(lookup);
}

/* ---- c-ares on the loop ---- */

static void tick_within(struct resolver *resolver, int64_t us)
{
	int64_t due_us = clock_mono_us() + us;
	struct timeval in = timeval_of_us(us);

	if (event_pending(&resolver->tick, EV_TIMEOUT, NULL) && resolver->tick_due_us <= due_us)
		return;
	resolver->tick_due_us = due_us;
	event_add(&resolver->tick, &in);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *resolver = arg;
	int64_t next_us = INT64_MAX;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < SERVERS_MAX; i++) {
		struct timeval in;

		if (resolver->channels[i] == NULL)
			continue;
		ares_process_fd(resolver->channels[i], ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		if (ares_timeout(resolver->channels[i], NULL, &in) != NULL) {
			int64_t us = (int64_t)in.tv_sec * US_PER_S + in.tv_usec;

			next_us = us < next_us ? us : next_us;
		}
	}
	if (next_us != INT64_MAX)
		tick_within(resolver, next_us < TICK_MIN_US ? TICK_MIN_US : next_us);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	/* The watch may go in the first call, the resolver does not: nothing of the caller's runs in here. */
	struct resolver *resolver = ((struct watch *)arg)->resolver;

	for (size_t i = 0; i < SERVERS_MAX; i++) {
		if (resolver->channels[i] != NULL)
			ares_process_fd(resolver->channels[i], what & EV_READ ? fd : ARES_SOCKET_BAD,
					what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	}
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = arg;
	struct watch *watch = NULL;
	struct watch *one;
	short what = EV_PERSIST;

	list_each(one, &resolver->watches, struct watch, node) {
		if (event_get_fd(&one->event) == fd)
			watch = one;
	}
	if (watch != NULL) {
		event_del(&watch->event);
		if (!readable && !writable) {
			list_remove(&watch->node);
			free(watch);
			return;
		}
	} else {
		if (!readable && !writable)
			return;
		watch = mem_new(struct watch);
		watch->resolver = resolver;
		list_push(&resolver->watches, &watch->node);
	}
	what |= readable ? EV_READ : 0;
	what |= writable ? EV_WRITE : 0;
	event_assign(&watch->event, resolver->base, fd, what, on_socket, watch);
	event_add(&watch->event, NULL);
}

/* ares_init_options() with what we want of it; the servers as resolv.conf has them. */
static int channel_init(struct resolver *resolver, ares_channel *channel)
{
	char lookups[] = "fb";
	struct ares_options options = {
		/* Without NOCHECKRESP a "server failure" would end as "connection refused". */
		.flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOCHECKRESP,
		.timeout = (int)resolver->timeout_ms,
		.tries = resolver->tries,
		/* No domains and no dots needed: a name is asked as it is. A trailing dot would do that too, but
		 * no line of /etc/hosts matches it then. */
		.ndots = 0,
		.ndomains = 0,
		.lookups = lookups,
		.udp_port = resolver->port,
		.tcp_port = resolver->port,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
		.resolvconf_path = resolver->resolv_conf,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_DOMAINS |
		   ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE;

	if (resolver->resolv_conf != NULL)
		mask |= ARES_OPT_RESOLVCONF;
	if (resolver->port != 0)
		mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
	return ares_init_options(channel, &options, mask);
}

/* The servers of resolv.conf, in their order. */
static int servers_learn(struct resolver *resolver, ares_channel channel)
{
	struct ares_addr_port_node *all = NULL;
	int status = ares_get_servers_ports(channel, &all);

	if (status != ARES_SUCCESS)
		return status;
	resolver->server_count = 0;
	for (const struct ares_addr_port_node *one = all; one != NULL; one = one->next) {
		struct address *server = &resolver->servers[resolver->server_count];

		if (resolver->server_count == SERVERS_MAX)
			break;
		*server = (struct address){ .family = one->family == AF_INET ? 4 : 6, .port = resolver->port };
		memcpy(server->bytes, &one->addr, one->family == AF_INET ? 4 : 16);
		resolver->server_count++;
	}
	ares_free_data(all);
	return ARES_SUCCESS;
}

static int servers_set(struct resolver *resolver, ares_channel channel, size_t first)
{
	struct ares_addr_port_node nodes[SERVERS_MAX] = { 0 };

	for (size_t i = 0; i < resolver->server_count; i++) {
		const struct address *server = &resolver->servers[(first + i) % resolver->server_count];

		nodes[i].next = i + 1 < resolver->server_count ? &nodes[i + 1] : NULL;
		nodes[i].family = server->family == 4 ? AF_INET : AF_INET6;
		memcpy(&nodes[i].addr, server->bytes, server->family == 4 ? 4 : 16);
		nodes[i].udp_port = server->port;
		nodes[i].tcp_port = server->port;
	}
	return ares_set_servers_ports(channel, nodes);
}

static int channel_get(struct resolver *resolver, size_t first, ares_channel *channel)
{
	int status;

	if (resolver->channels[first] == NULL) {
		status = channel_init(resolver, &resolver->channels[first]);
		if (status != ARES_SUCCESS) {
			resolver->channels[first] = NULL;
			return status;
		}
		if (resolver->server_count == 0)
			status = servers_learn(resolver, resolver->channels[first]);
		else
			status = servers_set(resolver, resolver->channels[first], first);
		if (status != ARES_SUCCESS) {
			ares_destroy(TAKE(resolver->channels[first]));
			return status;
		}
	}
	*channel = resolver->channels[first];
	return ARES_SUCCESS;
}

static void channels_destroy(struct resolver *resolver)
{
	resolver->destroying = true;
	for (size_t i = 0; i < SERVERS_MAX; i++) {
		if (resolver->channels[i] != NULL)
			ares_destroy(TAKE(resolver->channels[i]));
	}
	resolver->destroying = false;
}

/* ---- questions ---- */

static void question_ended(struct question *question, int status)
{
	question->status = status;
	list_remove(&question->node);
	list_push(&question->resolver->ended, &question->node);
	resolver_deliver_soon(question->resolver);
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
	struct question *question = arg;

	(void)timeouts;
	if (status == ARES_SUCCESS && found != NULL && found->nodes != NULL) {
		question->answer = answer_from_ares(found);
		if (question->answer->address_count == 0)
			answer_unref(TAKE(question->answer));
	}
	if (found != NULL)
		ares_freeaddrinfo(found);
	if (status == ARES_SUCCESS && question->answer == NULL)
		status = ARES_ENODATA;
	/* The channel went under it: it stays in `asked`, for who destroyed the channel. */
	if (status == ARES_EDESTRUCTION && question->resolver->destroying)
		return;
	question_ended(question, status);
}

static void question_ask(struct question *question)
{
	struct resolver *resolver = question->resolver;
	struct ares_addrinfo_hints hints = { .ai_family = question->family };
	ares_channel channel;
	int status = channel_get(resolver, question->server, &channel);

	list_remove(&question->node);
	list_push(&resolver->asked, &question->node);
	if (status != ARES_SUCCESS) {
		question_ended(question, status);
		return;
	}
	tick_within(resolver, resolver->timeout_ms * US_PER_MS);
	ares_getaddrinfo(channel, question->entry->name, NULL, &hints, on_addrinfo, question);
}

static void entry_ask(struct resolver *resolver, struct entry *entry)
{
	struct question *question;

	if (resolver->asked_count == ASKED_MAX) {
		if (list_empty(&entry->parked))
			list_push(&resolver->parked, &entry->parked);
		return;
	}
	question = mem_new(struct question);
	list_init(&question->node);
	question->resolver = resolver;
	question->entry = entry;
	question->family = AF_UNSPEC;
	entry->questions++;
	resolver->asked_count++;
	question_ask(question);
}

/* A server that says so may be the only one that is broken. */
static bool status_is_of_one_server(int status)
{
	return status == ARES_ESERVFAIL || status == ARES_EREFUSED || status == ARES_ENOTIMP ||
	       status == ARES_EFORMERR;
}

/*
 * Of the two questions (A and AAAA) c-ares tells only how the last to come ended. "No data" may then hide that the
 * other one failed, and a malformed answer may hide good addresses: each family is asked alone.
 */
static bool question_again(struct question *question)
{
	int status = question->status;

	if (status == ARES_SUCCESS || status == ARES_ENOTFOUND)
		return false;
	if (status_is_of_one_server(status) && question->server + 1 < question->resolver->server_count) {
		question->server++;
		question_ask(question);
		return true;
	}
	if (question->family == AF_UNSPEC && (status == ARES_ENODATA || status == ARES_EBADRESP)) {
		question->family = AF_INET;
		question->server = 0;
		question_ask(question);
		return true;
	}
	if (question->family == AF_INET) {
		question->other_status = status;
		question->family = AF_INET6;
		question->server = 0;
		question_ask(question);
		return true;
	}
	if (question->other_status != 0 && question->other_status != ARES_ENODATA)
		question->status = question->other_status;
	return false;
}

/* The entry's lookups get the answer, unless it is a failure and the same name is asked once more already. */
static void entry_settle(struct resolver *resolver, struct entry *entry, struct answer *answer)
{
	bool final = answer->status == LOOKUP_OK || answer->status == LOOKUP_NOT_FOUND;
	struct lookup *lookup;

	cache_put(resolver, entry, answer);
	if (!final && (entry->questions > 0 || !list_empty(&entry->parked)))
		return;
	list_each(lookup, &entry->waiting, struct lookup, node)
		lookup_ready(lookup, answer_ref(answer));
	list_remove(&entry->parked);
}

static void question_free(struct question *question)
{
	list_remove(&question->node);
	answer_unref(question->answer);
	free(question);
}

static void entry_unpark(struct resolver *resolver)
{
	while (!list_empty(&resolver->parked) && resolver->asked_count < ASKED_MAX) {
		struct entry *entry = list_entry(resolver->parked.next, struct entry, parked);

		list_remove(&entry->parked);
		if (!list_empty(&entry->waiting))
			entry_ask(resolver, entry);
	}
}

static void question_conclude(struct question *question)
{
	struct resolver *resolver = question->resolver;
	struct entry *entry = question->entry;
	struct answer *answer;

	if (question_again(question))
		return;
	answer = TAKE(question->answer);
	if (answer == NULL)
		answer = answer_from_status(question->status);
	question_free(question);
	entry->questions--;
	resolver->asked_count--;
	entry_settle(resolver, entry, answer);
	answer_unref(answer);
	entry_release(resolver, entry);
	entry_unpark(resolver);
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *resolver = arg;
	struct list batch;
	bool freed = false;

	(void)fd;
	(void)what;
	list_init(&batch);
	list_splice(&batch, &resolver->ended);
	while (!list_empty(&batch))
		question_conclude(list_entry(batch.next, struct question, node));
	list_splice(&resolver->calling, &resolver->ready);
	resolver->freed = &freed;
	while (!freed && !list_empty(&resolver->calling))
		lookup_finish(list_entry(resolver->calling.next, struct lookup, node));
	if (freed)
		return;
	resolver->freed = NULL;
	if (!list_empty(&resolver->ended) || !list_empty(&resolver->ready))
		resolver_deliver_soon(resolver);
}

/* ---- resolv.conf ---- */

static bool conf_changed(struct resolver *resolver)
{
	struct stat now;

	/* Gone for a moment while it is replaced: the servers known stay. */
	if (stat(resolver->resolv_conf, &now) != 0)
		return false;
	if (now.st_mtim.tv_sec == resolver->conf.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == resolver->conf.st_mtim.tv_nsec && now.st_ino == resolver->conf.st_ino &&
	    now.st_size == resolver->conf.st_size)
		return false;
	resolver->conf = now;
	return true;
}

static void conf_follow(struct resolver *resolver)
{
	int64_t now_us = resolver->clock_us(resolver->clock_arg);
	struct question *question;
	struct list again;

	if (resolver->resolv_conf == NULL || now_us - resolver->conf_seen_us < US_PER_S)
		return;
	resolver->conf_seen_us = now_us;
	if (!conf_changed(resolver))
		return;
	channels_destroy(resolver);
	resolver->server_count = 0;
	cache_empty(resolver);
	list_init(&again);
	list_splice(&again, &resolver->asked);
	list_each(question, &again, struct question, node) {
		question->family = AF_UNSPEC;
		question->server = 0;
		question->other_status = 0;
		question_ask(question);
	}
}

/* ---- the public side ---- */

static bool server_parse(const char *text, struct address *server, struct error *err)
{
	char *host = NULL;
	uint16_t port = 53;
	bool good;

	if (address_from_literal(text, port, server))
		return true;
	if (!address_split(text, &host, &port, err))
		return error_set(err, "\"%s\" is not the address of a DNS server", text);
	good = address_from_literal(host, port, server);
	free(host);
	return good || error_set(err, "\"%s\": a DNS server is named by its IP address", text);
}

static bool servers_given(struct resolver *resolver, const struct resolver_options *options, struct error *err)
{
	if (options->server_count > SERVERS_MAX)
		return error_set(err, "more than %d DNS servers", SERVERS_MAX);
	for (size_t i = 0; i < options->server_count; i++) {
		if (!server_parse(options->servers[i], &resolver->servers[i], err))
			return false;
	}
	resolver->server_count = options->server_count;
	return true;
}

static void library_init(void)
{
	ares_library_init(ARES_LIB_INIT_ALL);
}

struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT; /* not thread-safe in itself */
	struct resolver *resolver = mem_new(struct resolver);
	ares_channel channel;
	int status;

	pthread_once(&once, library_init);
	resolver->base = base;
	resolver->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 2000;
	resolver->tries = options->tries > 0 ? options->tries : 2;
	resolver->cache = options->cache;
	resolver->port = options->port;
	resolver->clock_us = options->clock_us != NULL ? options->clock_us : real_clock;
	resolver->clock_arg = options->clock_arg;
	list_init(&resolver->cached);
	list_init(&resolver->parked);
	list_init(&resolver->asked);
	list_init(&resolver->ended);
	list_init(&resolver->ready);
	list_init(&resolver->calling);
	list_init(&resolver->watches);
	evtimer_assign(&resolver->tick, base, on_tick, resolver);
	event_assign(&resolver->deliver, base, -1, 0, on_deliver, resolver);
	if (!servers_given(resolver, options, err)) {
		resolver_free(resolver);
		return NULL;
	}
	if (options->server_count == 0) {
		resolver->resolv_conf = mem_strdup(options->resolv_conf);
		if (resolver->resolv_conf == NULL)
			resolver->resolv_conf = mem_strdup(RESOLV_CONF);
		resolver->conf_seen_us = resolver->clock_us(resolver->clock_arg);
		conf_changed(resolver);
	}
	status = channel_get(resolver, 0, &channel);
	if (status != ARES_SUCCESS) {
		error_set(err, "DNS client: %s", ares_strerror(status));
		resolver_free(resolver);
		return NULL;
	}
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	struct question *question;
	struct lookup *lookup;
	struct entry *entry;
	struct entry *next;

	if (resolver == NULL)
		return;
	if (resolver->freed != NULL)
		*resolver->freed = true;
	channels_destroy(resolver);
	list_splice(&resolver->asked, &resolver->ended);
	list_each(question, &resolver->asked, struct question, node) {
		question->entry->questions--;
		question_free(question);
	}
	cache_empty(resolver);
	HASH_ITER(hh, resolver->entries, entry, next) {
		/* Its last lookup takes the entry along; without one it is released here. */
		entry->questions++;
		list_each(lookup, &entry->waiting, struct lookup, node)
			lookup_free(lookup);
		entry->questions--;
		entry_release(resolver, entry);
	}
	list_splice(&resolver->ready, &resolver->calling);
	list_each(lookup, &resolver->ready, struct lookup, node)
		lookup_free(lookup);
	event_del(&resolver->tick);
	event_del(&resolver->deliver);
	free(resolver->resolv_conf);
	free(resolver);
}

/* Lower case, without a dot at the end; 0 if it cannot be a host's name. */
static size_t name_normal(const char *host, char name[NAME_MAX_BYTES + 2])
{
	size_t bytes = strlen(host);

	if (bytes > 0 && host[bytes - 1] == '.')
		bytes--;
	if (bytes == 0 || bytes > NAME_MAX_BYTES)
		return 0;
	for (size_t i = 0; i < bytes; i++)
		name[i] = (char)tolower((unsigned char)host[i]);
	name[bytes] = '\0';
	return address_host_is_valid(name) ? bytes : 0;
}

struct lookup *resolver_start(struct resolver *resolver, const char *host, int64_t timeout_ms,
			      lookup_done_fn *done, void *arg)
{
	struct lookup *lookup = mem_new(struct lookup);
	struct timeval deadline = timeval_of_us(timeout_ms > 0 ? timeout_ms * US_PER_MS : 0);
	char name[NAME_MAX_BYTES + 2];
	size_t bytes = name_normal(host, name);
	struct entry *entry;
	bool first;

	list_init(&lookup->node);
	lookup->resolver = resolver;
	lookup->done = done;
	lookup->arg = arg;
	evtimer_assign(&lookup->deadline, resolver->base, on_deadline, lookup);
	if (bytes == 0) {
		lookup_ready(lookup, answer_from_status(ARES_EBADNAME));
		return lookup;
	}
	conf_follow(resolver);
	entry = entry_get(resolver, name, bytes);
	if (entry->answer != NULL && resolver->clock_us(resolver->clock_arg) < entry->expires_us) {
		lookup->cached = true;
		lookup_ready(lookup, answer_ref(entry->answer));
		return lookup;
	}
	entry_forget_answer(resolver, entry);
	first = list_empty(&entry->waiting);
	lookup->entry = entry;
	list_push(&entry->waiting, &lookup->node);
	event_add(&lookup->deadline, &deadline);
	/* A question whose lookups have all gone may be at the end of its tries: it is not joined. */
	if (first)
		entry_ask(resolver, entry);
	return lookup;
}
