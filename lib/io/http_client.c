/* SPDX-License-Identifier: MIT */
#include "lib/io/http_client.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/client_private.h"

enum {
	BODY_KEPT_BYTES = 64 * 1024,
	BODY_READ_BYTES = 1024 * 1024,
	CA_FILE_BYTES = 4 * 1024 * 1024,
	RETRY_AFTER_MAX_S = 7 * 24 * 3600
};

const char client_forbidden_text[] = "link-local and metadata addresses are not connected to";
const char client_private_text[] = "private, loopback and link-local addresses are not connected to";

AUTO_DEFINE(addresses, struct address *, free)

/* A socket of curl's on the loop. */
struct watch {
	struct list node;
	struct http_client *client;
	struct event event;
};

struct timeval client_timeval(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / MS_PER_S, .tv_usec = ms % MS_PER_S * US_PER_MS };
}

static void timer_set(struct event *event, int64_t ms)
{
	struct timeval in = client_timeval(ms > 0 ? ms : 0);

	event_add(event, &in);
}

/* ---- transfers ---- */

void transfer_drop_curl(struct transfer *transfer)
{
	if (transfer->easy != NULL) {
		curl_multi_remove_handle(transfer->client->multi, transfer->easy);
		curl_easy_cleanup(TAKE(transfer->easy));
	}
	curl_slist_free_all(TAKE(transfer->headers));
	curl_slist_free_all(TAKE(transfer->resolve));
	curl_slist_free_all(TAKE(transfer->connect_to));
}

void transfer_free(struct transfer *transfer)
{
	mail_free(transfer);
	transfer_drop_curl(transfer);
	list_remove(&transfer->node);
	str_done(&transfer->text);
	str_done(&transfer->body);
	free(transfer);
}

struct transfer *transfer_new(struct http_client *client, transfer_done_fn *done, void *arg)
{
	struct transfer *transfer = mem_new(struct transfer);

	transfer->client = client;
	transfer->done = done;
	transfer->arg = arg;
	transfer->retry_after_ms = -1;
	list_init(&transfer->node);
	list_push(&client->running, &transfer->node);
	return transfer;
}

void transfer_ended(struct transfer *transfer, enum transfer_kind kind, int status)
{
	transfer->ended = true;
	transfer->kind = kind;
	transfer->status = status;
	list_remove(&transfer->node);
	list_push(&transfer->client->ready, &transfer->node);
	event_active(&transfer->client->deliver, 0, 0);
}

void transfer_fail(struct transfer *transfer, enum transfer_kind kind, const char *text)
{
	str_add(&transfer->text, text);
	transfer_ended(transfer, kind, 0);
}

static void transfer_tell(struct transfer *transfer)
{
	AUTO(string) char *text = str_take(&transfer->text);
	AUTO(str) struct str body = transfer->body;
	const bool whole = transfer->whole_bytes > 0;
	struct transfer_answer answer = {
		.kind = transfer->kind,
		.status = transfer->status,
		.retry_after_ms = transfer->retry_after_ms,
		.in_doubt = transfer->in_doubt,
		.partly = transfer->partly,
		.text = text,
		.body = body.data != NULL ? body.data : "",
		.body_bytes = body.bytes,
		.whole = whole ? &body : NULL,
	};
	transfer_done_fn *done = transfer->done;
	void *arg = transfer->arg;

	transfer->body = (struct str){ 0 };
	/* The caller's handle is gone before the callback runs. */
	list_remove(&transfer->node);
	transfer->told = true;
	if (mail_is_connected(transfer->mail))
		list_push(&transfer->client->leaving, &transfer->node);
	else
		transfer_free(transfer);
	done(&answer, arg);
}

void transfer_cancel(struct transfer *transfer)
{
	if (transfer != NULL)
		transfer_free(transfer);
}

/* ---- curl on the loop ---- */

static void client_harvest(struct http_client *client)
{
	const CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
		CURLcode code = message->data.result;
		struct transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		transfer->curl_over(transfer, code);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	client_harvest(client);
}

static int on_timer_change(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_client *client = arg;

	(void)multi;
	if (timeout_ms < 0)
		event_del(&client->timer);
	else
		timer_set(&client->timer, timeout_ms);
	return 0;
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = ((struct watch *)arg)->client; /* the watch may go in the call */
	int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int running;

	curl_multi_socket_action(client->multi, fd, action, &running);
	client_harvest(client);
}

static int on_socket_change(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_client *client = arg;
	struct watch *watch = socket_arg;
	short events = EV_PERSIST;

	(void)easy;
	if (watch != NULL)
		event_del(&watch->event);
	if (what == CURL_POLL_REMOVE) {
		if (watch != NULL) {
			list_remove(&watch->node);
			free(watch);
		}
		return 0;
	}
	if (watch == NULL) {
		watch = mem_new(struct watch);
		watch->client = client;
		list_push(&client->watches, &watch->node);
		curl_multi_assign(client->multi, fd, watch);
	}
	events |= what & CURL_POLL_IN ? EV_READ : 0;
	events |= what & CURL_POLL_OUT ? EV_WRITE : 0;
	event_assign(&watch->event, client->base, fd, events, on_watch, watch);
	event_add(&watch->event, NULL);
	return 0;
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = arg;
	bool freed = false;

	(void)fd;
	(void)what;
	list_splice(&client->calling, &client->ready);
	client->freed = &freed;
	while (!freed && !list_empty(&client->calling))
		transfer_tell(list_entry(client->calling.next, struct transfer, node));
	if (freed)
		return;
	client->freed = NULL;
	if (!list_empty(&client->ready))
		event_active(&client->deliver, 0, 0);
}

struct http_client *http_client_new(struct event_base *base, struct error *err)
{
	struct http_client *client;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		error_set(err, "libcurl cannot start");
		return NULL;
	}
	client = mem_new(struct http_client);
	client->base = base;
	list_init(&client->running);
	list_init(&client->ready);
	list_init(&client->calling);
	list_init(&client->leaving);
	list_init(&client->watches);
	evtimer_assign(&client->timer, base, on_timer, client);
	event_assign(&client->deliver, base, -1, 0, on_deliver, client);
	client->multi = curl_multi_init();
	if (client->multi == NULL) {
		error_set(err, "libcurl cannot start");
		http_client_free(client);
		return NULL;
	}
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket_change);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	return client;
}

void http_client_free(struct http_client *client)
{
	struct transfer *transfer;
	struct watch *watch;

	if (client == NULL)
		return;
	if (client->freed != NULL)
		*client->freed = true;
	list_splice(&client->running, &client->ready);
	list_splice(&client->running, &client->calling);
	list_splice(&client->running, &client->leaving);
	list_each(transfer, &client->running, struct transfer, node)
		transfer_free(transfer);
	curl_multi_cleanup(client->multi);
	list_each(watch, &client->watches, struct watch, node) {
		event_del(&watch->event);
		free(watch);
	}
	event_del(&client->timer);
	event_del(&client->deliver);
	free(client);
	curl_global_cleanup();
}

/* ---- what HTTP and the TLS of mail have in common ---- */

static bool ca_file_add(struct str *pem, const char *path, struct error *err)
{
	size_t before = pem->bytes;
	char buffer[16384];
	ssize_t bytes = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, "%s: %s", path, strerror(errno));
	while (pem->bytes - before <= CA_FILE_BYTES && (bytes = read(fd, buffer, sizeof(buffer))) > 0)
		str_add_bytes(pem, buffer, (size_t)bytes);
	close(fd);
	if (bytes < 0)
		return error_set(err, "%s: %s", path, strerror(errno));
	if (pem->bytes - before > CA_FILE_BYTES)
		return error_set(err, "%s: larger than %d bytes", path, CA_FILE_BYTES);
	str_add_char(pem, '\n');
	return true;
}

bool client_read_ca_files(struct str *pem, const char *const *paths, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!ca_file_add(pem, paths[i], err))
			return false;
	}
	return true;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *curl_address)
{
	struct transfer *transfer = arg;
	struct address address;

	(void)purpose;
	if (!address_from_sockaddr(&curl_address->addr, &address) || address_is_link_local(&address) ||
	    (transfer->public_only && !address_is_public(&address))) {
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	transfer->opened = true;
	return socket(curl_address->family, curl_address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      curl_address->protocol);
}

bool transfer_set_safety(struct transfer *transfer, const struct str *ca_pem)
{
	CURL *easy = transfer->easy;
	struct curl_blob pem = { .data = ca_pem->data, .len = ca_pem->bytes, .flags = CURL_BLOB_COPY };
	bool good = true;

	good &= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->trouble) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
	if (ca_pem->bytes > 0) {
		/* Debian's default CApath would be believed as well. */
		good &= curl_easy_setopt(easy, CURLOPT_CAPATH, (char *)NULL) == CURLE_OK;
		good &= curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &pem) == CURLE_OK;
	}
	return good;
}

/*
 * Whatever name the URL has, curl connects to these addresses and has no name to look up. The stand-in's name is
 * new each time: the multi handle's DNS cache is shared, and "+" lets the entry leave it.
 */
bool transfer_set_addresses(struct transfer *transfer, uint16_t port, const struct address *addresses,
			    size_t count)
{
	uint64_t serial = ++transfer->client->serial;
	AUTO(string) char *connect_to = mem_printf("::t%" PRIu64 ".invalid:%u", serial, port);
	AUTO(str) struct str resolve = { 0 };
	char ip[ADDRESS_TEXT_BYTES];

	str_addf(&resolve, "+t%" PRIu64 ".invalid:%u:", serial, port);
	for (size_t i = 0; i < count; i++) {
		address_print_ip(&addresses[i], ip);
		str_addf(&resolve, addresses[i].family == 6 ? "%s[%s]" : "%s%s", i > 0 ? "," : "", ip);
	}
	transfer->connect_to = curl_slist_append(NULL, connect_to);
	transfer->resolve = curl_slist_append(NULL, resolve.data);
	return transfer->connect_to != NULL && transfer->resolve != NULL &&
	       curl_easy_setopt(transfer->easy, CURLOPT_CONNECT_TO, transfer->connect_to) == CURLE_OK &&
	       curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->resolve) == CURLE_OK;
}

size_t client_allow_addresses(const struct address *from, size_t count, bool public_only, struct address *to)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (public_only ? address_is_public(&from[i]) : !address_is_link_local(&from[i]))
			to[kept++] = from[i];
	}
	return kept;
}

/* curl's own words where they say more than the code; they may name the host, never the URL or a credential. */
void transfer_add_tls_trouble(struct transfer *transfer, CURLcode code)
{
	const char *words = transfer->trouble[0] != '\0' ? transfer->trouble : curl_easy_strerror(code);

	str_add(&transfer->text, "TLS: ");
	str_add_clean(&transfer->text, words, strlen(words), CLIENT_TEXT_BYTES);
}

static bool code_is_of_tls(CURLcode code)
{
	return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	       code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CIPHER ||
	       code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_INVALIDCERTSTATUS;
}

static void add_errno(struct transfer *transfer, const char *what)
{
	long os_errno = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno);
	str_add(&transfer->text, what);
	if (os_errno != 0)
		str_addf(&transfer->text, ": %s", strerror((int)os_errno));
}

/* ---- HTTP ---- */

static const char *url_part(CURLU *parts, CURLUPart part, struct str *out)
{
	char *text = NULL;
	CURLUcode code = curl_url_get(parts, part, &text, CURLU_DEFAULT_PORT);

	if (code != CURLUE_OK)
		return curl_url_strerror(code);
	str_add(out, text);
	curl_free(text);
	return NULL;
}

/* NULL, or what is wrong with it. */
static const char *url_parse(CURLU *parts, const char *url, struct str *host, uint16_t *port)
{
	AUTO(str) struct str number = { 0 };
	CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
	const char *why;

	if (code != CURLUE_OK)
		return curl_url_strerror(code);
	why = url_part(parts, CURLUPART_HOST, host);
	if (why == NULL)
		why = url_part(parts, CURLUPART_PORT, &number);
	if (why != NULL)
		return why;
	for (size_t i = 0; i < host->bytes; i++) {
		if (host->data[i] & 0x80) /* curl would translate it by the locale, and ours is C */
			return "a host beyond ASCII is written in its xn-- form";
	}
	*port = (uint16_t)atoi(number.data);
	return *port == 0 ? "the port must be 1 to 65535" : NULL;
}

bool http_url_split(const char *url, bool *https, char **host, uint16_t *port, struct error *err)
{
	AUTO(str) struct str name = { 0 };
	const char *why = "out of memory";
	CURLU *parts;

	*https = strncasecmp(url, "https://", 8) == 0;
	if (!*https && strncasecmp(url, "http://", 7) != 0)
		return error_set(err, "the URL must begin with https:// or http://");
	parts = curl_url();
	if (parts != NULL)
		why = url_parse(parts, url, &name, port);
	curl_url_cleanup(parts);
	if (why != NULL)
		return error_set(err, "not a URL: %s", why);
	*host = name.data[0] == '[' ? mem_strndup(name.data + 1, name.bytes - 2) : str_take(&name);
	return true;
}

/* All at once, which the kernel gives page by page as it is filled: growing to 20 MiB holds the loop for 40 ms. */
static void reserve_whole(struct transfer *transfer)
{
	curl_off_t announced = -1;
	size_t bytes = transfer->whole_bytes;

	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
	if (announced >= 0 && (size_t)announced < bytes)
		bytes = (size_t)announced;
	transfer->body.data = mem_alloc(bytes + 1);
	transfer->body.capacity = bytes + 1;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	size_t bytes = size * count;
	size_t room = BODY_KEPT_BYTES - transfer->body.bytes;

	transfer->body_seen += bytes;
	if (transfer->whole_bytes > 0) {
		if (transfer->body_seen > transfer->whole_bytes)
			return 0;
		if (transfer->body.data == NULL)
			reserve_whole(transfer);
		str_add_bytes(&transfer->body, data, bytes);
		return bytes;
	}
	str_add_bytes(&transfer->body, data, bytes < room ? bytes : room);
	return transfer->body_seen > BODY_READ_BYTES ? 0 : bytes;
}

/* RFC 9110 10.2.3: seconds or a date. */
static int64_t retry_after_ms(const char *value)
{
	char *end;
	long long seconds;
	time_t date;

	errno = 0;
	seconds = strtoll(value, &end, 10);
	if (end == value || (*end != '\0' && !isspace((unsigned char)*end))) {
		date = curl_getdate(value, NULL);
		if (date == -1)
			return -1;
		seconds = (long long)date - clock_unix_us() / US_PER_S;
	}
	if (seconds < 0)
		seconds = 0;
	return (seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : seconds) * MS_PER_S;
}

static size_t on_head(char *data, size_t size, size_t count, void *arg)
{
	static const char name[] = "Retry-After:";
	struct transfer *transfer = arg;
	size_t bytes = size * count;
	long status = 0;

	if (transfer->head_done) /* a trailer */
		return bytes;
	if (bytes >= 5 && memcmp(data, "HTTP/", 5) == 0)
		transfer->retry_after_ms = -1;
	if (bytes >= sizeof(name) && strncasecmp(data, name, sizeof(name) - 1) == 0) {
		AUTO(string) char *value = mem_strndup(data + sizeof(name) - 1, bytes - (sizeof(name) - 1));

		transfer->retry_after_ms = retry_after_ms(value);
	}
	if (data[0] == '\r' || data[0] == '\n') {
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		transfer->head_done = status >= 200;
	}
	return bytes;
}

static void http_answered(struct transfer *transfer, CURLcode code)
{
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	str_addf(&transfer->text, "answered %ld", status);
	if (code != CURLE_OK && transfer->whole_bytes > 0) {
		if (transfer->body_seen > transfer->whole_bytes)
			str_addf(&transfer->text, ", with more than %zu bytes", transfer->whole_bytes);
		else
			str_add(&transfer->text, ", the rest of the answer did not come");
		transfer_drop_curl(transfer);
		transfer_ended(transfer, TRANSFER_NO_ANSWER, (int)status);
		return;
	}
	if (code != CURLE_OK && transfer->body_seen <= BODY_READ_BYTES)
		str_add(&transfer->text, ", the rest of the answer did not come");
	transfer_drop_curl(transfer);
	transfer_ended(transfer, TRANSFER_ANSWERED, (int)status);
}

static void add_timeout(struct transfer *transfer)
{
	long local_port = 0; /* CURLINFO_CONNECT_TIME_T is set only after TLS */
	curl_off_t secured_us = 0;
	curl_off_t sending_us = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_LOCAL_PORT, &local_port);
	curl_easy_getinfo(transfer->easy, CURLINFO_APPCONNECT_TIME_T, &secured_us);
	curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &sending_us);
	if (local_port == 0)
		str_add(&transfer->text, "timeout while connecting");
	else if (secured_us == 0 && sending_us == 0)
		str_add(&transfer->text, "timeout in the TLS handshake");
	else
		str_add(&transfer->text, "timeout while waiting for the answer");
}

static void add_http_trouble(struct transfer *transfer, CURLcode code)
{
	if (code_is_of_tls(code))
		transfer_add_tls_trouble(transfer, code);
	else if (code == CURLE_COULDNT_CONNECT)
		add_errno(transfer, "connect");
	else if (code == CURLE_OPERATION_TIMEDOUT)
		add_timeout(transfer);
	else if (code == CURLE_GOT_NOTHING)
		str_add(&transfer->text, "the server closed the connection without an answer");
	else if (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR)
		add_errno(transfer, "connection lost");
	else
		str_add(&transfer->text, curl_easy_strerror(code));
}

static void http_over(struct transfer *transfer, CURLcode code)
{
	curl_off_t uploaded = 0;
	long head_bytes = 0;

	if (transfer->head_done) {
		http_answered(transfer, code);
		return;
	}
	if (transfer->forbidden && !transfer->opened) {
		transfer_drop_curl(transfer);
		transfer_fail(transfer, TRANSFER_FORBIDDEN,
			      transfer->public_only ? client_private_text : client_forbidden_text);
		return;
	}
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &head_bytes);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	transfer->in_doubt = head_bytes > 0 && uploaded == (curl_off_t)transfer->request_bytes;
	/* A handshake or an HTTP/0.9 answer may end so without an error of its own. */
	if (code == CURLE_OK)
		code = CURLE_GOT_NOTHING;
	add_http_trouble(transfer, code);
	transfer_drop_curl(transfer);
	transfer_ended(transfer, TRANSFER_NO_ANSWER, 0);
}

/* What a header must not have becomes a space. */
static void add_header_text(struct str *line, const char *text)
{
	for (; *text != '\0'; text++)
		str_add_char(line, *text == '\r' || *text == '\n' ? ' ' : *text);
}

static bool add_header(struct transfer *transfer, const char *line)
{
	struct curl_slist *longer = curl_slist_append(transfer->headers, line);

	if (longer == NULL)
		return false;
	transfer->headers = longer;
	return true;
}

static bool set_headers(struct transfer *transfer, const struct http_request *request)
{
	bool good = add_header(transfer, "Expect:"); /* no pause before a large body */
	bool typed = false;

	for (size_t i = 0; good && i < request->header_count; i++) {
		AUTO(str) struct str line = { 0 };

		add_header_text(&line, request->headers[i].name);
		/* curl's way to write a header without a value. */
		str_add(&line, request->headers[i].value[0] != '\0' ? ": " : ";");
		add_header_text(&line, request->headers[i].value);
		typed |= strcasecmp(request->headers[i].name, "Content-Type") == 0;
		good = add_header(transfer, line.data);
	}
	if (!typed)
		good = good && add_header(transfer, "Content-Type:"); /* else curl says it is a form */
	return good && curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static bool set_body(struct transfer *transfer, const struct http_request *request)
{
	CURL *easy = transfer->easy;
	bool good = true;

	if (strcmp(request->method, "GET") != 0 || request->body_bytes > 0) {
		good &= curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
		good &= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes) ==
			CURLE_OK;
		good &= curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS,
					 request->body_bytes > 0 ? (const char *)request->body : "") == CURLE_OK;
		good &= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
	}
	transfer->request_bytes = request->body_bytes;
	return good;
}

static bool set_request(struct transfer *transfer, const struct http_request *request)
{
	CURL *easy = transfer->easy;
	int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : 1; /* 0 would mean for ever */
	int64_t connect_ms = timeout_ms < CLIENT_CONNECT_MS ? timeout_ms : CLIENT_CONNECT_MS;
	bool good = true;

	good &= curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_USERAGENT, "portbell") == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK;
	return good && set_headers(transfer, request) && set_body(transfer, request);
}

static bool set_up(struct transfer *transfer, const struct http_request *request, const struct str *ca_pem,
		   uint16_t port, const struct address *addresses, size_t count)
{
	transfer->easy = curl_easy_init();
	return transfer->easy != NULL && transfer_set_safety(transfer, ca_pem) && set_request(transfer, request) &&
	       (count == 0 || transfer_set_addresses(transfer, port, addresses, count)) &&
	       curl_multi_add_handle(transfer->client->multi, transfer->easy) == CURLM_OK;
}

/* NULL if the transfer is under way, else why not; *kind says what that means. */
static const char *http_begin(struct transfer *transfer, const struct http_request *request,
			      enum transfer_kind *kind, struct error *err)
{
	AUTO(str) struct str ca_pem = { 0 };
	AUTO(string) char *host = NULL;
	AUTO(addresses) struct address *allowed = mem_array(request->address_count + 1, sizeof(*allowed));
	struct address literal;
	uint16_t port;
	size_t count;
	bool https;

	*kind = TRANSFER_FORBIDDEN;
	if (!http_url_split(request->url, &https, &host, &port, err))
		return err->text;
	count = client_allow_addresses(request->addresses, request->address_count, request->public_only, allowed);
	*kind = TRANSFER_NO_ANSWER;
	if (!client_read_ca_files(&ca_pem, request->ca_files, request->ca_file_count, err))
		return err->text;
	if (request->address_count == 0 && !address_from_literal(host, port, &literal))
		return "no address of the host is known";
	if (request->address_count > 0 && count == 0) {
		*kind = TRANSFER_FORBIDDEN;
		return request->public_only ? client_private_text : client_forbidden_text;
	}
	return set_up(transfer, request, &ca_pem, port, allowed, count) ? NULL : "the request cannot be made";
}

struct transfer *transfer_start_http(struct http_client *client, const struct http_request *request,
				     transfer_done_fn *done, void *arg)
{
	struct transfer *transfer = transfer_new(client, done, arg);
	enum transfer_kind kind;
	struct error err;
	const char *why;

	transfer->curl_over = http_over;
	transfer->public_only = request->public_only;
	transfer->whole_bytes = request->whole_bytes;
	why = http_begin(transfer, request, &kind, &err);
	if (why != NULL) {
		transfer_drop_curl(transfer);
		transfer_fail(transfer, kind, why);
	}
	return transfer;
}
