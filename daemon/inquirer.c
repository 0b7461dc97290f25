/* SPDX-License-Identifier: MIT */
#include "daemon/inquirer.h"

#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <uthash.h>

#include "daemon/log.h"
#include "lib/base/inbox.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/io/http_client.h"
#include "lib/io/resolver.h"
#include "lib/io/tls_revocation.h"

enum {
	FETCHES_MAX = 8,
	SOURCES_MAX = 20000,
	ENTRIES_MAX = 4 << 20,
	ISSUERS_MAX = 8,
	FETCH_MS = 30 * 1000,
	FETCH_EVERY_S = 3600,
	RENEW_AFTER_S = 86400,
	OCSP_LASTS_S = 2 * 3600,   /* a response that does not say how long it holds */
	TEXT_BYTES_MAX = 300
};

static const char ocsp_about[] = "the OCSP response";

/* Who may have signed what a source gives. */
struct issuer {
	uint8_t *der;
	size_t der_bytes;
	uint8_t id[FINGERPRINT_BYTES];
};

enum source_state { SOURCE_IDLE, SOURCE_WAITING, SOURCE_FETCHING, SOURCE_READING };

/* One URL, or one question to one URL. */
struct source {
	struct list node;        /* in `waiting` or `fetching`, or in none */
	struct inquirer *inquirer;
	char *key;
	char *url;
	char *host;
	uint16_t port;
	bool private_too;
	enum source_state state;
	uint8_t *request;        /* OCSP; NULL: a list */
	size_t request_bytes;
	struct inquiry about;    /* OCSP: serial number and issuer; the latter is lent from below */
	struct issuer issuers[ISSUERS_MAX];
	size_t issuer_count;
	int64_t started_mono_us; /* the last fetch */
	int64_t due_mono_us;
	int64_t wanted_mono_us;  /* until then */
	struct lookup *lookup;
	struct transfer *transfer;
	/* What came. */
	bool tried;
	char *failure;           /* of the last fetch; NULL: it was of use */
	struct crl *crl;         /* NULL: none yet */
	bool answered;           /* OCSP: the next two are from a response that was of use */
	struct revocation_verdict verdict;
	char *text;
	bool was_fresh;          /* at the last tick */
	UT_hash_handle hh;
};

/* An answer to be read. */
struct job {
	struct list item;
	bool stop;               /* the thread ends */
	struct source *source;   /* main's; the thread reads only what no longer changes while it is READING */
	struct str body;
	struct crl_issuer issuers[ISSUERS_MAX]; /* their DER is the source's, which never lets go of one */
	size_t issuer_count;
	int64_t now_unix_s;
	/* found */
	struct crl *crl;
	struct revocation_verdict verdict;
	char *text;              /* the verdict's, or why there is none */
};

struct inquirer {
	struct inquirer_options options;
	struct source *sources;
	struct list waiting;
	struct list fetching;
	size_t fetch_count;      /* fetching or reading */
	size_t entry_count;      /* in all lists */
	bool news;
	bool full_said;
	struct inbox *jobs;
	struct inbox *outcomes;
	struct event *outcomes_event;
	pthread_t thread;
	bool threaded;
};

static struct now now_of(const struct inquirer *inquirer)
{
	return inquirer->options.now();
}

static int64_t seconds_us(int64_t s)
{
	return s * US_PER_S;
}

/* Sources */

static void source_stop(struct source *source)
{
	resolver_cancel(TAKE(source->lookup));
	transfer_cancel(TAKE(source->transfer));
	list_remove(&source->node);
}

static void keep_list(struct source *source, struct crl *crl)
{
	struct inquirer *inquirer = source->inquirer;

	if (source->crl != NULL)
		inquirer->entry_count -= crl_entry_count(source->crl);
	crl_free(source->crl);
	source->crl = crl;
	if (crl != NULL)
		inquirer->entry_count += crl_entry_count(crl);
}

static void source_free(struct source *source)
{
	source_stop(source);
	keep_list(source, NULL);
	HASH_DELETE(hh, source->inquirer->sources, source);
	for (size_t i = 0; i < source->issuer_count; i++)
		free(source->issuers[i].der);
	free(source->failure);
	free(source->text);
	free(source->request);
	free(source->host);
	free(source->url);
	free(source->key);
	free(source);
}

static void source_fail(struct source *source, const char *text)
{
	free(source->failure);
	source->failure = str_clean(text, strlen(text), TEXT_BYTES_MAX);
}

/* Whether what is kept still says something. */
static bool is_fresh(const struct source *source, int64_t now_unix_s)
{
	int64_t from_unix_s, until_unix_s;

	if (source->crl != NULL)
		crl_validity(source->crl, &from_unix_s, &until_unix_s);
	else
		until_unix_s = source->answered ? source->verdict.until_unix_s : 0;
	return now_unix_s <= until_unix_s + REVOCATION_SLACK_S;
}

/* When it is to be fetched again. */
static void set_due(struct source *source)
{
	const struct now now = now_of(source->inquirer);
	int64_t from_unix_s, until_unix_s = source->verdict.until_unix_s;
	int64_t after_s;

	if (source->crl != NULL)
		crl_validity(source->crl, &from_unix_s, &until_unix_s);
	after_s = source->failure == NULL ? (until_unix_s - now.unix_us / US_PER_S) * 3 / 4 : 0;
	if (after_s > RENEW_AFTER_S)
		after_s = RENEW_AFTER_S;
	if (after_s < FETCH_EVERY_S)
		after_s = FETCH_EVERY_S;
	source->due_mono_us = source->started_mono_us + seconds_us(after_s);
}

/* Reading, on a thread of its own */

static void read_job(struct job *job)
{
	struct error err = { 0 };
	struct str text = { 0 };

	if (job->source->request != NULL) {
		ocsp_judge((const uint8_t *)job->body.data, job->body.bytes, &job->source->about, ocsp_about,
			   OCSP_LASTS_S, job->now_unix_s, &job->verdict, &text);
		job->text = str_take(&text);
	} else {
		job->crl = crl_read((const uint8_t *)job->body.data, job->body.bytes, job->issuers,
				    job->issuer_count, &err);
		if (job->crl == NULL)
			job->text = mem_strdup(err.text);
	}
	str_done(&job->body); /* here, and not on main: giving 20 MiB back takes its time */
}

static void *run_reader(void *arg)
{
	struct inquirer *inquirer = arg;
	struct pollfd poll_fd = { .fd = inbox_fd(inquirer->jobs), .events = POLLIN };
	bool stop = false;

	prctl(PR_SET_NAME, "inquirer");
	while (!stop) {
		struct list jobs;
		struct job *job;

		poll(&poll_fd, 1, -1);
		inbox_take(inquirer->jobs, &jobs);
		list_each(job, &jobs, struct job, item) {
			stop = stop || job->stop;
			if (!stop)
				read_job(job);
			list_remove(&job->item);
			inbox_push(inquirer->outcomes, &job->item);
		}
	}
	return NULL;
}

static bool start_thread(struct inquirer *inquirer)
{
	sigset_t all, before;

	if (inquirer->threaded)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	inquirer->threaded = pthread_create(&inquirer->thread, NULL, run_reader, inquirer) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return inquirer->threaded;
}

static void job_free(struct job *job)
{
	str_done(&job->body);
	crl_free(job->crl);
	free(job->text);
	free(job);
}

/* Fetching */

static void start_waiting(struct inquirer *inquirer);

static void source_idle(struct source *source)
{
	struct inquirer *inquirer = source->inquirer;

	list_remove(&source->node);
	source->state = SOURCE_IDLE;
	source->tried = true;
	inquirer->fetch_count--;
	inquirer->news = true;
	set_due(source);
	log_debug("revocation: %s: %s", source->url, source->failure != NULL ? source->failure : "answered");
}

static void fetch_failed(struct source *source, const char *text)
{
	struct inquirer *inquirer = source->inquirer;

	source_fail(source, text);
	source_idle(source);
	start_waiting(inquirer);
}

static void hand_to_reader(struct source *source, struct str *body)
{
	struct inquirer *inquirer = source->inquirer;
	struct job *job;

	if (!start_thread(inquirer)) {
		fetch_failed(source, "no thread could be started to read the answer");
		return;
	}
	job = mem_new(struct job);
	list_init(&job->item);
	job->source = source;
	job->body.bytes = body->bytes;
	job->body.data = str_take(body);
	job->now_unix_s = now_of(inquirer).unix_us / US_PER_S;
	job->issuer_count = source->issuer_count;
	for (size_t i = 0; i < source->issuer_count; i++) {
		job->issuers[i].der = source->issuers[i].der;
		job->issuers[i].der_bytes = source->issuers[i].der_bytes;
		memcpy(job->issuers[i].id, source->issuers[i].id, FINGERPRINT_BYTES);
	}
	source->state = SOURCE_READING;
	inbox_push(inquirer->jobs, &job->item);
}

static void on_answer(const struct transfer_answer *answer, void *arg)
{
	struct source *source = arg;
	AUTO(str) struct str text = { 0 };

	source->transfer = NULL;
	if (answer->kind == TRANSFER_ANSWERED && answer->status == 200 && answer->whole->bytes > 0) {
		hand_to_reader(source, answer->whole);
		return;
	}
	str_addf(&text, "%s: %s", source->host, answer->text != NULL ? answer->text : "no answer");
	if (answer->kind == TRANSFER_FORBIDDEN && !source->private_too)
		str_add(&text, " (certificate.revocation_private)");
	else if (answer->kind == TRANSFER_ANSWERED && answer->status == 200)
		str_add(&text, " and nothing else");
	fetch_failed(source, text.data);
}

static int64_t left_ms(const struct source *source)
{
	const int64_t over_ms = (now_of(source->inquirer).mono_us - source->started_mono_us) / US_PER_MS;

	return over_ms < FETCH_MS ? FETCH_MS - over_ms : 1;
}

static void send_request(struct source *source, const struct address *addresses, size_t count)
{
	static const struct http_header ocsp_headers[] = {
		{ "Content-Type", "application/ocsp-request" }, { "Accept", "application/ocsp-response" }
	};
	const bool ocsp = source->request != NULL;
	const struct http_request request = {
		.url = source->url,
		.method = ocsp ? "POST" : "GET",
		.headers = ocsp_headers,
		.header_count = ocsp ? 2 : 0,
		.body = source->request,
		.body_bytes = source->request_bytes,
		.addresses = addresses,
		.address_count = count,
		.timeout_ms = left_ms(source),
		.whole_bytes = ocsp ? OCSP_BYTES_MAX : CRL_BYTES_MAX,
		.public_only = !source->private_too,
	};

	source->transfer = transfer_start_http(source->inquirer->options.http, &request, on_answer, source);
}

static void on_found(const struct found *found, void *arg)
{
	struct source *source = arg;
	struct address addresses[RESOLVER_ADDRESSES_MAX];
	const size_t count =
		found->address_count < RESOLVER_ADDRESSES_MAX ? found->address_count : RESOLVER_ADDRESSES_MAX;

	source->lookup = NULL;
	if (found->status != LOOKUP_OK || count == 0) {
		AUTO(str) struct str text = { 0 };

		str_addf(&text, "%s: %s", source->host, found->text != NULL ? found->text : "it has no address");
		fetch_failed(source, text.data);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		addresses[i] = found->addresses[i];
		addresses[i].port = source->port;
	}
	send_request(source, addresses, count);
}

/* All that comes of it comes later, from the loop. */
static void find_host(struct source *source)
{
	struct address literal;

	if (address_from_literal(source->host, source->port, &literal))
		send_request(source, &literal, 1);
	else
		source->lookup = resolver_start(source->inquirer->options.resolver, source->host, left_ms(source),
						on_found, source);
}

static void start_waiting(struct inquirer *inquirer)
{
	while (inquirer->fetch_count < FETCHES_MAX && !list_empty(&inquirer->waiting)) {
		struct source *source = list_entry(inquirer->waiting.next, struct source, node);

		list_remove(&source->node);
		list_push(&inquirer->fetching, &source->node);
		inquirer->fetch_count++;
		source->state = SOURCE_FETCHING;
		source->started_mono_us = now_of(inquirer).mono_us;
		find_host(source);
	}
}

/* What was read */

/* Of two answers the newer one counts: the older may be sent again by somebody on the way who likes it better. */
static bool is_older(const struct source *source, int64_t from_unix_s)
{
	int64_t kept_from_unix_s = source->verdict.from_unix_s, unused;

	if (source->crl != NULL)
		crl_validity(source->crl, &kept_from_unix_s, &unused);
	else if (!source->answered)
		return false;
	return from_unix_s < kept_from_unix_s;
}

static void take_list(struct source *source, struct job *job)
{
	struct inquirer *inquirer = source->inquirer;
	const size_t kept = source->crl != NULL ? crl_entry_count(source->crl) : 0;
	int64_t from_unix_s, until_unix_s;

	if (job->crl == NULL) {
		source_fail(source, job->text);
		return;
	}
	crl_validity(job->crl, &from_unix_s, &until_unix_s);
	if (is_older(source, from_unix_s))
		source_fail(source, "an older list came than the one before");
	else if (inquirer->entry_count - kept + crl_entry_count(job->crl) > ENTRIES_MAX)
		source_fail(source, "the lists that are kept already take all the memory that they may");
	else
		keep_list(source, TAKE(job->crl));
}

static void take_response(struct source *source, struct job *job)
{
	if (job->verdict.reason == REASON_CERT_REVOCATION_UNKNOWN) {
		source_fail(source, job->text);
		return;
	}
	if (is_older(source, job->verdict.from_unix_s)) {
		source_fail(source, "an older OCSP response came than the one before");
		return;
	}
	source->answered = true;
	source->verdict = job->verdict;
	free(source->text);
	source->text = TAKE(job->text);
}

static void take_job(struct job *job)
{
	struct source *source = job->source;

	free(TAKE(source->failure));
	if (source->request != NULL)
		take_response(source, job);
	else
		take_list(source, job);
	source_idle(source);
}

static void on_outcomes(evutil_socket_t fd, short what, void *arg)
{
	struct inquirer *inquirer = arg;
	struct list outcomes;
	struct job *job;

	(void)fd;
	(void)what;
	inbox_take(inquirer->outcomes, &outcomes);
	list_each(job, &outcomes, struct job, item) {
		take_job(job);
		job_free(job);
	}
	start_waiting(inquirer);
}

/* Judging */

static void add_issuer(struct source *source, const struct inquiry *inquiry)
{
	struct issuer *issuer;

	for (size_t i = 0; i < source->issuer_count; i++)
		if (memcmp(source->issuers[i].id, inquiry->issuer_id, FINGERPRINT_BYTES) == 0)
			return;
	if (source->issuer_count == ISSUERS_MAX)
		return;
	issuer = &source->issuers[source->issuer_count++];
	issuer->der = mem_alloc(inquiry->issuer_bytes + 1);
	issuer->der_bytes = inquiry->issuer_bytes;
	memcpy(issuer->der, inquiry->issuer, inquiry->issuer_bytes);
	memcpy(issuer->id, inquiry->issuer_id, FINGERPRINT_BYTES);
	/* What is here was not compared with this one. */
	if (source->tried && source->due_mono_us > source->started_mono_us + seconds_us(FETCH_EVERY_S))
		source->due_mono_us = source->started_mono_us + seconds_us(FETCH_EVERY_S);
}

static char *key_of(const char *url, const struct inquiry *inquiry, bool ocsp, bool private_too)
{
	struct str key = { 0 };

	str_addf(&key, "%s %s", private_too ? "private" : "public", url);
	if (ocsp) {
		AUTO(string) char *hex = mem_alloc(2 * inquiry->ocsp_request_bytes + 1);

		str_hex(inquiry->ocsp_request, inquiry->ocsp_request_bytes, hex);
		str_addf(&key, " %s", hex);
	}
	return str_take(&key);
}

static void enqueue(struct source *source)
{
	source->state = SOURCE_WAITING;
	list_push(&source->inquirer->waiting, &source->node);
}

/* NULL: there are too many. */
static struct source *source_new(struct inquirer *inquirer, const char *key, const char *url,
				 const struct inquiry *inquiry, bool ocsp, bool private_too)
{
	struct source *source;
	struct error err = { 0 };
	bool https;

	if (HASH_COUNT(inquirer->sources) >= SOURCES_MAX)
		return NULL;
	source = mem_new(struct source);
	list_init(&source->node);
	source->inquirer = inquirer;
	source->key = mem_strdup(key);
	source->url = mem_strdup(url);
	source->private_too = private_too;
	if (ocsp) {
		source->request = mem_alloc(inquiry->ocsp_request_bytes + 1);
		memcpy(source->request, inquiry->ocsp_request, inquiry->ocsp_request_bytes);
		source->request_bytes = inquiry->ocsp_request_bytes;
	}
	HASH_ADD_KEYPTR(hh, inquirer->sources, source->key, strlen(source->key), source);
	add_issuer(source, inquiry);
	if (ocsp) {
		source->about.serial_bytes = inquiry->serial_bytes;
		memcpy(source->about.serial, inquiry->serial, inquiry->serial_bytes);
		source->about.issuer = source->issuers[0].der;
		source->about.issuer_bytes = source->issuers[0].der_bytes;
	}
	if (http_url_split(url, &https, &source->host, &source->port, &err)) {
		enqueue(source);
		return source;
	}
	source_fail(source, err.text);
	source->tried = true;
	source->due_mono_us = INT64_MAX;
	return source;
}

static struct source *find_source(struct inquirer *inquirer, const char *url, const struct inquiry *inquiry,
				  bool ocsp, bool private_too, int64_t keep_ms)
{
	AUTO(string) char *key = key_of(url, inquiry, ocsp, private_too);
	const int64_t until_mono_us = now_of(inquirer).mono_us + keep_ms * US_PER_MS;
	struct source *source;

	HASH_FIND(hh, inquirer->sources, key, strlen(key), source);
	if (source == NULL)
		source = source_new(inquirer, key, url, inquiry, ocsp, private_too);
	else
		add_issuer(source, inquiry);
	if (source != NULL && source->wanted_mono_us < until_mono_us)
		source->wanted_mono_us = until_mono_us;
	return source;
}

static void add_failure(const struct source *source, struct str *text)
{
	if (source->failure != NULL)
		str_addf(text, "%s%s", text->bytes > 0 ? "; since then " : "", source->failure);
}

static void judge_response(const struct source *source, int64_t now_unix_s, enum reason *reason, struct str *text)
{
	*reason = REASON_CERT_REVOCATION_UNKNOWN;
	if (source->answered && (source->verdict.reason == REASON_CERT_REVOKED || is_fresh(source, now_unix_s))) {
		*reason = source->verdict.reason;
		str_add(text, source->text);
		return;
	}
	if (source->answered) {
		str_addf(text, "%s is too old: it held until ", ocsp_about);
		str_add_time(text, source->verdict.until_unix_s * US_PER_S);
	}
	add_failure(source, text);
}

static void judge_list(const struct source *source, const struct inquiry *inquiry, int64_t now_unix_s,
		       enum reason *reason, struct str *text)
{
	struct revocation_verdict verdict = { .reason = REASON_CERT_REVOCATION_UNKNOWN };

	if (source->crl != NULL)
		crl_judge(source->crl, inquiry, now_unix_s, &verdict, text);
	if (verdict.reason == REASON_CERT_REVOCATION_UNKNOWN)
		add_failure(source, text);
	*reason = verdict.reason;
}

/* False: nobody has answered yet. */
static bool judge_source(const struct source *source, const struct inquiry *inquiry, enum reason *reason,
			 struct str *text)
{
	const int64_t now_unix_s = now_of(source->inquirer).unix_us / US_PER_S;

	if (!source->tried)
		return false;
	if (source->request != NULL)
		judge_response(source, now_unix_s, reason, text);
	else
		judge_list(source, inquiry, now_unix_s, reason, text);
	return true;
}

static bool say_unknown(enum reason *reason, struct str *text, const char *why)
{
	*reason = REASON_CERT_REVOCATION_UNKNOWN;
	str_add(text, why);
	return true;
}

static bool judge_lists(struct inquirer *inquirer, const struct inquiry *inquiry, bool private_too,
			int64_t keep_ms, enum reason *reason, struct str *text)
{
	/* One is enough: the next is asked only if those before are of no use. */
	for (size_t i = 0; i < inquiry->crl_url_count; i++) {
		AUTO(str) struct str said = { 0 };
		struct source *source =
			find_source(inquirer, inquiry->crl_urls[i], inquiry, false, private_too, keep_ms);

		if (source == NULL)
			return say_unknown(reason, text, "too many lists are asked for already");
		if (!judge_source(source, inquiry, reason, &said))
			return false;
		if (*reason != REASON_CERT_REVOCATION_UNKNOWN)
			str_clear(text);
		if (text->bytes == 0)
			str_add(text, said.data);
		if (*reason != REASON_CERT_REVOCATION_UNKNOWN)
			return true;
	}
	if (inquiry->crl_url_count > 0)
		return true;
	if (inquiry->crl_other_count > 0)
		return say_unknown(reason, text,
				   "the certificate names no list (CRL) that can be fetched: http only, whole and of its "
				   "issuer");
	return say_unknown(reason, text, "the certificate names no list (CRL distribution point)");
}

bool inquirer_judge(struct inquirer *inquirer, const struct inquiry *inquiry, enum revocation how,
		    bool private_too, int64_t keep_ms, enum reason *reason, struct str *text)
{
	struct source *source;
	bool known;

	if (inquiry->trouble != NULL)
		return say_unknown(reason, text, inquiry->trouble);
	if (how == REVOCATION_CRL) {
		known = judge_lists(inquirer, inquiry, private_too, keep_ms, reason, text);
	} else {
		if (inquiry->ocsp_url == NULL)
			return say_unknown(reason, text, "the certificate names no OCSP responder (over http)");
		source = find_source(inquirer, inquiry->ocsp_url, inquiry, true, private_too, keep_ms);
		if (source == NULL)
			return say_unknown(reason, text, "too many certificates are asked about already");
		known = judge_source(source, inquiry, reason, text);
	}
	start_waiting(inquirer);
	return known;
}

/* The tick */

bool inquirer_tick(struct inquirer *inquirer)
{
	const struct now now = now_of(inquirer);
	struct source *source, *next;
	const bool news = inquirer->news;
	bool aged = false;

	inquirer->news = false;
	HASH_ITER(hh, inquirer->sources, source, next) {
		const bool fresh = is_fresh(source, now.unix_us / US_PER_S);

		aged = aged || fresh != source->was_fresh;
		source->was_fresh = fresh;
		if (source->state != SOURCE_IDLE)
			continue;
		if (now.mono_us >= source->wanted_mono_us &&
		    (source->due_mono_us == INT64_MAX || now.mono_us >= source->due_mono_us))
			source_free(source);
		else if (now.mono_us >= source->due_mono_us)
			enqueue(source);
	}
	start_waiting(inquirer);
	return news || aged;
}

void inquirer_set_resolver(struct inquirer *inquirer, struct resolver *resolver)
{
	struct source *source;

	inquirer->options.resolver = resolver;
	list_each(source, &inquirer->fetching, struct source, node) {
		if (source->lookup == NULL)
			continue;
		resolver_cancel(TAKE(source->lookup));
		find_host(source);
	}
}

/* Start and end */

struct inquirer *inquirer_new(const struct inquirer_options *options, struct error *err)
{
	struct inquirer *inquirer = mem_new(struct inquirer);

	inquirer->options = *options;
	list_init(&inquirer->waiting);
	list_init(&inquirer->fetching);
	inquirer->jobs = inbox_new(err);
	inquirer->outcomes = inquirer->jobs != NULL ? inbox_new(err) : NULL;
	if (inquirer->outcomes == NULL) {
		inquirer_free(inquirer);
		return NULL;
	}
	inquirer->outcomes_event = event_new(options->base, inbox_fd(inquirer->outcomes), EV_READ | EV_PERSIST,
					     on_outcomes, inquirer);
	if (inquirer->outcomes_event == NULL || event_add(inquirer->outcomes_event, NULL) != 0) {
		error_set(err, "an event loop cannot be set up: %m");
		inquirer_free(inquirer);
		return NULL;
	}
	return inquirer;
}

static void end_thread(struct inquirer *inquirer)
{
	struct list outcomes;
	struct job *job;

	if (inquirer->threaded) {
		struct job *stop = mem_new(struct job);

		list_init(&stop->item);
		stop->stop = true;
		inbox_push(inquirer->jobs, &stop->item);
		pthread_join(inquirer->thread, NULL);
	}
	if (inquirer->outcomes == NULL)
		return;
	inbox_take(inquirer->outcomes, &outcomes);
	list_each(job, &outcomes, struct job, item)
		job_free(job);
}

void inquirer_free(struct inquirer *inquirer)
{
	struct source *source, *next;

	if (inquirer == NULL)
		return;
	end_thread(inquirer);
	if (inquirer->outcomes_event != NULL)
		event_free(inquirer->outcomes_event);
	HASH_ITER(hh, inquirer->sources, source, next)
		source_free(source);
	inbox_free(inquirer->jobs);
	inbox_free(inquirer->outcomes);
	free(inquirer);
}
