/* SPDX-License-Identifier: MIT */
#include "lib/io/http_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	BODY_KEPT_BYTES = 64 * 1024,
	BODY_READ_BYTES = 1024 * 1024,
	CA_FILE_BYTES = 4 * 1024 * 1024,
	CONNECT_MS = 5000,          /* one address may take */
	RETRY_AFTER_MAX_S = 7 * 24 * 3600,
	TEXT_BYTES = 400,           /* of a server's words */
	REPLY_LINE_BYTES = 2048,    /* RFC 5321 4.5.3.1.5 says 512 */
	DIALOGUE_BYTES = 64 * 1024, /* all that an SMTP server may say */
	MAIL_ADDRESS_BYTES = 320,
	GOODBYE_MS = 500
};

static const char forbidden_text[] = "link-local and metadata addresses are not connected to";

/* Where a mail is: what was sent last, and so what the next reply answers. */
enum mail_step {
	STEP_CONNECT, STEP_GREETING, STEP_EHLO, STEP_STARTTLS, STEP_HANDSHAKE, STEP_LOGIN_USERNAME,
	STEP_LOGIN_PASSWORD, STEP_AUTH, STEP_MAIL_FROM, STEP_RCPT_TO, STEP_DATA, STEP_BODY, STEP_LEAVING
};

static const struct {
	const char *name;
	int wanted; /* the reply's code; below 10 only its first digit */
} steps[] = {
	[STEP_CONNECT] = { "connect", 0 },
	[STEP_GREETING] = { "greeting", 2 },
	[STEP_EHLO] = { "EHLO", 2 },
	[STEP_STARTTLS] = { "STARTTLS", 2 },
	[STEP_HANDSHAKE] = { "TLS", 0 },
	[STEP_LOGIN_USERNAME] = { "AUTH", 334 },
	[STEP_LOGIN_PASSWORD] = { "AUTH", 334 },
	[STEP_AUTH] = { "AUTH", 235 },
	[STEP_MAIL_FROM] = { "MAIL FROM", 2 },
	[STEP_RCPT_TO] = { "RCPT TO", 2 },
	[STEP_DATA] = { "DATA", 354 },
	[STEP_BODY] = { "message", 2 },
	[STEP_LEAVING] = { "QUIT", 0 },
};

struct mail {
	char *host;
	uint16_t port;
	enum mail_tls tls;
	char *ehlo;
	char *username;
	char *password;
	char *from;
	char **to;
	size_t to_count;
	size_t to_next;
	bool utf8; /* an address is not ASCII */
	struct str data; /* dots stuffed, the final one included */
	struct str ca_pem;
	struct address *addresses;
	size_t address_count;
	size_t address_next;
	int64_t deadline_mono_us;

	enum mail_step step;
	int fd;           /* ours until curl makes TLS of it, then only watched; -1: none */
	bool over_tls;
	bool closing;
	struct event io;
	struct event deadline;
	struct str out;
	size_t out_sent;
	struct str in;    /* no more than one line that is not whole, between two reads */
	size_t in_total;
	struct str words; /* of the reply so far */
	size_t lines;
	bool offers_starttls;
	bool offers_plain;
	bool offers_login;
	bool offers_utf8;
};

struct transfer {
	struct list node; /* in one of the client's lists */
	struct http_client *client;
	transfer_done_fn *done;
	void *arg;

	CURL *easy; /* in the multi handle as long as it is here */
	struct curl_slist *headers;
	struct curl_slist *resolve;
	struct curl_slist *connect_to;
	char trouble[CURL_ERROR_SIZE];
	bool forbidden; /* an address was */
	bool opened;    /* a socket to another one was */
	bool head_done;
	size_t request_bytes; /* of the body */
	size_t body_seen;

	bool ended;     /* the answer is final */
	bool told;      /* and `done` was called: only a goodbye is left */
	enum transfer_kind kind;
	int status;
	int64_t retry_after_ms;
	bool in_doubt;
	struct str text;
	struct str body;
	struct mail *mail; /* NULL: HTTP */
};

struct http_client {
	struct event_base *base;
	CURLM *multi;
	struct event timer;
	/* All that ends ends here, on a stack without curl in it: so a `done` may start, cancel and free. */
	struct event deliver;
	struct list running;
	struct list ready;   /* ended */
	struct list calling; /* whose `done` is next */
	struct list leaving; /* told */
	struct list watches;
	uint64_t serial;
	bool *freed; /* set while `done`s are being called */
};

/* A socket of curl's on the loop. */
struct watch {
	struct list node;
	struct http_client *client;
	struct event event;
};

static struct timeval timeval_of_ms(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / MS_PER_S, .tv_usec = ms % MS_PER_S * US_PER_MS };
}

static void timer_set(struct event *event, int64_t ms)
{
	struct timeval in = timeval_of_ms(ms > 0 ? ms : 0);

	event_add(event, &in);
}

/* ---- transfers ---- */

static void transfer_drop_curl(struct transfer *transfer)
{
	if (transfer->easy != NULL) {
		curl_multi_remove_handle(transfer->client->multi, transfer->easy);
		curl_easy_cleanup(TAKE(transfer->easy));
	}
	curl_slist_free_all(TAKE(transfer->headers));
	curl_slist_free_all(TAKE(transfer->resolve));
	curl_slist_free_all(TAKE(transfer->connect_to));
}

static void mail_disconnect(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	mail->closing = true;
	event_del(&mail->io);
	if (!mail->over_tls && mail->fd >= 0)
		close(mail->fd);
	transfer_drop_curl(transfer); /* which closes what curl was handed */
	mail->fd = -1;
}

static void str_wipe(struct str *str)
{
	if (str->data != NULL)
		explicit_bzero(str->data, str->capacity);
	str_done(str);
}

static void mail_free(struct mail *mail)
{
	event_del(&mail->deadline);
	free(mail->host);
	free(mail->ehlo);
	free(mail->username);
	mem_wipe_free(mail->password);
	free(mail->from);
	for (size_t i = 0; i < mail->to_count; i++)
		free(mail->to[i]);
	free(mail->to);
	free(mail->addresses);
	str_done(&mail->data);
	str_done(&mail->ca_pem);
	str_wipe(&mail->out);
	str_done(&mail->in);
	str_done(&mail->words);
	free(mail);
}

static void transfer_free(struct transfer *transfer)
{
	if (transfer->mail != NULL) {
		mail_disconnect(transfer);
		mail_free(transfer->mail);
	}
	transfer_drop_curl(transfer);
	list_remove(&transfer->node);
	str_done(&transfer->text);
	str_done(&transfer->body);
	free(transfer);
}

static struct transfer *transfer_new(struct http_client *client, transfer_done_fn *done, void *arg)
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

static void transfer_ended(struct transfer *transfer, enum transfer_kind kind, int status)
{
	transfer->ended = true;
	transfer->kind = kind;
	transfer->status = status;
	list_remove(&transfer->node);
	list_push(&transfer->client->ready, &transfer->node);
	event_active(&transfer->client->deliver, 0, 0);
}

static void transfer_fail(struct transfer *transfer, enum transfer_kind kind, const char *text)
{
	str_add(&transfer->text, text);
	transfer_ended(transfer, kind, 0);
}

static void transfer_tell(struct transfer *transfer)
{
	size_t body_bytes = transfer->body.bytes;
	AUTO(string) char *text = str_take(&transfer->text);
	AUTO(string) char *body = str_take(&transfer->body);
	struct transfer_answer answer = {
		.kind = transfer->kind,
		.status = transfer->status,
		.retry_after_ms = transfer->retry_after_ms,
		.in_doubt = transfer->in_doubt,
		.text = text,
		.body = body,
		.body_bytes = body_bytes,
	};
	transfer_done_fn *done = transfer->done;
	void *arg = transfer->arg;

	/* The caller's handle is gone before the callback runs. */
	list_remove(&transfer->node);
	transfer->told = true;
	if (transfer->mail != NULL && transfer->mail->fd >= 0)
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

static void http_over(struct transfer *transfer, CURLcode code);
static void mail_handshake_over(struct transfer *transfer, CURLcode code);

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
		if (transfer->mail != NULL)
			mail_handshake_over(transfer, code);
		else
			http_over(transfer, code);
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

static bool ca_files_read(struct str *pem, const char *const *paths, size_t count, struct error *err)
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
	if (!address_from_sockaddr(&curl_address->addr, &address) || address_is_link_local(&address)) {
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	transfer->opened = true;
	return socket(curl_address->family, curl_address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      curl_address->protocol);
}

static bool set_safety(struct transfer *transfer, const struct str *ca_pem)
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
static bool set_addresses(struct transfer *transfer, uint16_t port, const struct address *addresses, size_t count)
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

/* Those of `from` that may be connected to. */
static size_t addresses_allowed(const struct address *from, size_t count, struct address *to)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (!address_is_link_local(&from[i]))
			to[kept++] = from[i];
	}
	return kept;
}

/* curl's own words where they say more than the code; they may name the host, never the URL or a credential. */
static void add_tls_trouble(struct transfer *transfer, CURLcode code)
{
	const char *words = transfer->trouble[0] != '\0' ? transfer->trouble : curl_easy_strerror(code);

	str_add(&transfer->text, "TLS: ");
	str_add_clean(&transfer->text, words, strlen(words), TEXT_BYTES);
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

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	size_t bytes = size * count;
	size_t room = BODY_KEPT_BYTES - transfer->body.bytes;

	transfer->body_seen += bytes;
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
		add_tls_trouble(transfer, code);
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
		transfer_fail(transfer, TRANSFER_FORBIDDEN, forbidden_text);
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
	int64_t connect_ms = timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS;
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

/* NULL if the transfer is under way, else why not; *kind says what that means. */
static const char *http_begin(struct transfer *transfer, const struct http_request *request,
			      enum transfer_kind *kind, struct error *err)
{
	AUTO(str) struct str ca_pem = { 0 };
	AUTO(string) char *host = NULL;
	struct address *allowed;
	struct address literal;
	uint16_t port;
	size_t count;
	bool https;
	bool good;

	*kind = TRANSFER_FORBIDDEN;
	if (!http_url_split(request->url, &https, &host, &port, err))
		return err->text;
	*kind = TRANSFER_NO_ANSWER;
	if (!ca_files_read(&ca_pem, request->ca_files, request->ca_file_count, err))
		return err->text;
	if (request->address_count == 0 && !address_from_literal(host, port, &literal))
		return "no address of the host is known";
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
		return "out of memory";
	allowed = mem_array(request->address_count + 1, sizeof(*allowed));
	count = addresses_allowed(request->addresses, request->address_count, allowed);
	*kind = TRANSFER_FORBIDDEN;
	good = count > 0 || request->address_count == 0;
	if (good) {
		*kind = TRANSFER_NO_ANSWER;
		good = set_safety(transfer, &ca_pem) && set_request(transfer, request) &&
		       (count == 0 || set_addresses(transfer, port, allowed, count)) &&
		       curl_multi_add_handle(transfer->client->multi, transfer->easy) == CURLM_OK;
	}
	free(allowed);
	if (good)
		return NULL;
	return *kind == TRANSFER_FORBIDDEN ? forbidden_text : "the request cannot be made";
}

struct transfer *transfer_start_http(struct http_client *client, const struct http_request *request,
				     transfer_done_fn *done, void *arg)
{
	struct transfer *transfer = transfer_new(client, done, arg);
	enum transfer_kind kind;
	struct error err;
	const char *why = http_begin(transfer, request, &kind, &err);

	if (why != NULL) {
		transfer_drop_curl(transfer);
		transfer_fail(transfer, kind, why);
	}
	return transfer;
}

/* ---- mail: the connection ---- */

static void mail_watch(struct transfer *transfer);
static void mail_reply(struct transfer *transfer, int code);
static void mail_say_ehlo(struct transfer *transfer);

static void on_goodbye_over(struct transfer *transfer)
{
	mail_disconnect(transfer);
	if (transfer->told)
		transfer_free(transfer);
}

/* The dialogue goes no further. */
static void mail_fail(struct transfer *transfer, const char *text)
{
	struct mail *mail = transfer->mail;

	if (mail->step == STEP_LEAVING) {
		on_goodbye_over(transfer);
		return;
	}
	/* All was handed over, dot included, and what became of it is not known. */
	transfer->in_doubt = mail->step == STEP_BODY && mail->out_sent == mail->out.bytes;
	event_del(&mail->deadline);
	mail_disconnect(transfer);
	transfer_fail(transfer, TRANSFER_NO_ANSWER, text);
}

/* -1: would wait; 0: closed or broken (*lost says how). */
static ssize_t mail_recv(struct transfer *transfer, char *data, size_t room, const char **lost)
{
	size_t got = 0;
	ssize_t bytes;
	CURLcode code;

	*lost = "the server closed the connection";
	if (!transfer->mail->over_tls) {
		bytes = recv(transfer->mail->fd, data, room, 0);
		if (bytes >= 0)
			return bytes;
		*lost = strerror(errno);
		return errno == EAGAIN || errno == EINTR ? -1 : 0;
	}
	code = curl_easy_recv(transfer->easy, data, room, &got);
	if (code == CURLE_AGAIN)
		return -1;
	return code == CURLE_OK ? (ssize_t)got : 0;
}

static ssize_t mail_send(struct transfer *transfer, const char *data, size_t bytes)
{
	size_t sent = 0;
	CURLcode code;

	if (!transfer->mail->over_tls) {
		ssize_t result = send(transfer->mail->fd, data, bytes, MSG_NOSIGNAL);

		return result >= 0 ? result : errno == EAGAIN || errno == EINTR ? -1 : 0;
	}
	code = curl_easy_send(transfer->easy, data, bytes, &sent);
	if (code == CURLE_AGAIN)
		return -1;
	return code == CURLE_OK ? (ssize_t)sent : 0;
}

/* What cannot be sent is no trouble yet: the server may have said why, and that is read. */
static void mail_flush(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	ssize_t sent = 1;

	while (mail->out_sent < mail->out.bytes && sent > 0) {
		/* After "again" TLS wants the same bytes at the same place: nothing is added to `out` before. */
		sent = mail_send(transfer, mail->out.data + mail->out_sent, mail->out.bytes - mail->out_sent);
		if (sent > 0)
			mail->out_sent += (size_t)sent;
	}
}

static bool has_word(const char *list, const char *word)
{
	size_t bytes;

	for (list += strspn(list, " "); *list != '\0'; list += strspn(list, " ")) {
		bytes = strcspn(list, " ");
		if (bytes == strlen(word) && strncasecmp(list, word, bytes) == 0)
			return true;
		list += bytes;
	}
	return false;
}

/* One line that has come, without its end. */
static void mail_line(struct transfer *transfer, const char *line, size_t bytes)
{
	struct mail *mail = transfer->mail;
	int code = 0;

	for (size_t i = 0; i < 3 && bytes >= 3; i++)
		code = isdigit((unsigned char)line[i]) ? code * 10 + line[i] - '0' : -1000;
	if (code < 200 || code > 599 || (bytes > 3 && line[3] != ' ' && line[3] != '-')) {
		mail_fail(transfer, "what the server says is not SMTP");
		return;
	}
	if (mail->step == STEP_EHLO && mail->lines > 0 && bytes > 4) {
		AUTO(string) char *offer = mem_strndup(line + 4, bytes - 4);

		mail->offers_starttls |= strcasecmp(offer, "STARTTLS") == 0;
		mail->offers_utf8 |= strcasecmp(offer, "SMTPUTF8") == 0;
		if (strncasecmp(offer, "AUTH ", 5) == 0 || strncasecmp(offer, "AUTH=", 5) == 0) {
			mail->offers_plain |= has_word(offer + 5, "PLAIN");
			mail->offers_login |= has_word(offer + 5, "LOGIN");
		}
	}
	mail->lines++;
	if (bytes > 4) {
		if (mail->words.bytes > 0)
			str_add_char(&mail->words, ' ');
		str_add_bytes(&mail->words, line + 4, bytes - 4);
	}
	if (bytes > 3 && line[3] == '-')
		return;
	mail->lines = 0;
	mail_reply(transfer, code);
	str_clear(&mail->words);
}

static bool mail_is_over(const struct transfer *transfer)
{
	return transfer->ended && transfer->mail->step != STEP_LEAVING;
}

/* Takes the lines that are whole out of `in`. */
static void mail_lines(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	AUTO(str) struct str in = mail->in;
	const char *at = in.data;
	const char *end;

	mail->in = (struct str){ 0 };
	while (!mail_is_over(transfer) && mail->step != STEP_LEAVING &&
	       (end = memchr(at, '\n', in.bytes - (size_t)(at - in.data))) != NULL) {
		size_t bytes = (size_t)(end - at);
		bool last = (size_t)(end + 1 - in.data) == in.bytes;

		/* What comes before TLS must not be taken for what was said under it. */
		if (mail->step == STEP_STARTTLS && !last && !(bytes > 3 && at[3] == '-')) {
			mail_fail(transfer, "the server spoke between STARTTLS and TLS");
			return;
		}
		mail_line(transfer, at, bytes > 0 && at[bytes - 1] == '\r' ? bytes - 1 : bytes);
		at = end + 1;
	}
	str_add_bytes(&mail->in, at, in.bytes - (size_t)(at - in.data));
	if (!mail_is_over(transfer) && mail->in.bytes > REPLY_LINE_BYTES)
		mail_fail(transfer, "what the server says is not SMTP: a line without end");
}

static void on_mail_io(evutil_socket_t fd, short what, void *arg)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;
	char data[4096];
	const char *lost;
	ssize_t bytes;

	(void)fd;
	(void)what;
	mail_flush(transfer);
	/* TLS may hold more than the descriptor tells: read until it would wait. */
	while ((bytes = mail_recv(transfer, data, sizeof(data), &lost)) >= 0) {
		if (bytes == 0 || mail->step == STEP_LEAVING) {
			mail_fail(transfer, lost);
			return;
		}
		mail->in_total += (size_t)bytes;
		if (mail->in_total > DIALOGUE_BYTES) {
			mail_fail(transfer, "the server talks without end");
			return;
		}
		str_add_bytes(&mail->in, data, (size_t)bytes);
		mail_lines(transfer);
		if (mail_is_over(transfer) || mail->step == STEP_HANDSHAKE)
			return;
	}
	mail_watch(transfer);
}

static void mail_watch(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	short what = EV_READ | EV_PERSIST;

	if (mail->fd < 0)
		return;
	if (mail->out_sent < mail->out.bytes)
		what |= EV_WRITE;
	event_del(&mail->io);
	event_assign(&mail->io, transfer->client->base, mail->fd, what, on_mail_io, transfer);
	event_add(&mail->io, NULL);
}

static void mail_connect(struct transfer *transfer);
static void mail_handshake(struct transfer *transfer);

static void on_mail_connected(evutil_socket_t fd, short what, void *arg)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;
	socklen_t bytes = sizeof(int);
	int trouble = ETIMEDOUT;

	if (what & EV_WRITE)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &trouble, &bytes);
	if (trouble != 0) {
		close(mail->fd);
		mail->fd = -1;
		str_clear(&transfer->text);
		str_addf(&transfer->text, "connect: %s", strerror(trouble));
		mail_connect(transfer);
		return;
	}
	str_clear(&transfer->text);
	if (mail->tls == MAIL_TLS_IMPLICIT) {
		mail_handshake(transfer);
		return;
	}
	mail->step = STEP_GREETING;
	mail_watch(transfer);
}

static int mail_socket(const struct address *address)
{
	struct sockaddr_storage sockaddr;
	socklen_t bytes = address_to_sockaddr(address, &sockaddr);
	int fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&sockaddr, bytes) != 0 && errno != EINPROGRESS) {
		int trouble = errno;

		close(fd);
		errno = trouble;
		return -1;
	}
	return fd;
}

/* To the next address that is left; each has its share of the time. */
static void mail_connect(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	int64_t left_ms = (mail->deadline_mono_us - clock_mono_us()) / US_PER_MS;

	while (mail->address_next < mail->address_count) {
		int64_t share_ms = left_ms / (int64_t)(mail->address_count - mail->address_next);
		struct timeval limit;

		share_ms = share_ms < 1 ? 1 : share_ms;
		limit = timeval_of_ms(share_ms > CONNECT_MS ? CONNECT_MS : share_ms);
		mail->fd = mail_socket(&mail->addresses[mail->address_next++]);
		if (mail->fd >= 0) {
			event_assign(&mail->io, transfer->client->base, mail->fd, EV_WRITE, on_mail_connected,
				     transfer);
			event_add(&mail->io, &limit);
			return;
		}
		str_clear(&transfer->text);
		str_addf(&transfer->text, "connect: %s", strerror(errno));
	}
	mail_fail(transfer, transfer->text.bytes == 0 ? "no address of the host is known" : "");
}

/* ---- mail: TLS, which curl lays over the connection that is there ---- */

static curl_socket_t on_hand_over(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;

	(void)purpose;
	(void)address;
	if (mail->over_tls) /* asked for a second one */
		return CURL_SOCKET_BAD;
	mail->over_tls = true;
	return mail->fd;
}

static int on_socket_options(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void)arg;
	(void)fd;
	(void)purpose;
	return CURL_SOCKOPT_ALREADY_CONNECTED;
}

/* curl may find a connection dead that it thinks idle, while it looks for one for another transfer. */
static int on_close_socket(void *arg, curl_socket_t fd)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;

	event_del(&mail->io);
	mail->fd = -1;
	if (!mail->closing && mail->step != STEP_HANDSHAKE)
		event_active(&mail->io, EV_READ, 0); /* finds that it is gone */
	return close(fd);
}

static bool set_handshake(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	int64_t left_ms = (mail->deadline_mono_us - clock_mono_us()) / US_PER_MS;
	const struct address *address = &mail->addresses[mail->address_next - 1];
	bool bracket = strchr(mail->host, ':') != NULL;
	AUTO(string) char *url = mem_printf(bracket ? "https://[%s]:%u/" : "https://%s:%u/", mail->host,
					    mail->port);
	CURL *easy = transfer->easy;
	bool good = true;

	good &= curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1)) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_hand_over) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_options) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket) == CURLE_OK;
	good &= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer) == CURLE_OK;
	return good && set_addresses(transfer, mail->port, address, 1);
}

static void mail_handshake(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	mail->step = STEP_HANDSHAKE;
	event_del(&mail->io);
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !set_safety(transfer, &mail->ca_pem) || !set_handshake(transfer) ||
	    curl_multi_add_handle(transfer->client->multi, transfer->easy) != CURLM_OK)
		mail_fail(transfer, "TLS cannot be set up");
}

static void mail_handshake_over(struct transfer *transfer, CURLcode code)
{
	struct mail *mail = transfer->mail;

	if (code == CURLE_OK && mail->over_tls && mail->fd >= 0) {
		str_clear(&mail->in);
		mail->step = mail->tls == MAIL_TLS_IMPLICIT ? STEP_GREETING : STEP_EHLO;
		if (mail->step == STEP_EHLO)
			mail_say_ehlo(transfer);
		mail_watch(transfer);
		event_active(&mail->io, EV_READ, 0); /* the greeting may have come with the handshake's end */
		return;
	}
	if (code == CURLE_OPERATION_TIMEDOUT)
		str_add(&transfer->text, "timeout in the TLS handshake");
	else
		add_tls_trouble(transfer, code);
	mail_fail(transfer, "");
}

/* ---- mail: the dialogue ---- */

static void mail_say(struct transfer *transfer, enum mail_step step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void mail_say(struct transfer *transfer, enum mail_step step, const char *format, ...)
{
	struct mail *mail = transfer->mail;
	va_list args;

	if (mail->out.data != NULL)
		explicit_bzero(mail->out.data, mail->out.capacity); /* a password, perhaps */
	str_clear(&mail->out);
	mail->out_sent = 0;
	va_start(args, format);
	str_vaddf(&mail->out, format, args);
	va_end(args);
	str_add(&mail->out, "\r\n");
	mail->step = step;
	mail_flush(transfer);
}

/* The outcome is known. Whoever waits for it does not wait for the goodbye. */
static void mail_over(struct transfer *transfer, enum transfer_kind kind, int status)
{
	struct mail *mail = transfer->mail;

	if (mail->out_sent < mail->out.bytes) { /* refused within the message: a QUIT would be part of it */
		event_del(&mail->deadline);
		mail_disconnect(transfer);
	} else {
		mail_say(transfer, STEP_LEAVING, "QUIT");
		timer_set(&mail->deadline, GOODBYE_MS);
	}
	transfer_ended(transfer, kind, status);
}

/* A server may repeat what it was told. */
static void scrub(char *text, const char *secret)
{
	size_t bytes = secret != NULL ? strlen(secret) : 0;
	char *at = text;

	if (bytes < 3)
		return;
	while ((at = strstr(at, secret)) != NULL) {
		memset(at, '*', bytes);
		at += bytes;
	}
}

static void mail_login_token(const struct mail *mail, struct str *token)
{
	AUTO(str) struct str plain = { 0 };

	str_add_char(&plain, '\0');
	str_add(&plain, mail->username);
	str_add_char(&plain, '\0');
	str_add(&plain, mail->password);
	str_add_base64(token, plain.data, plain.bytes);
	explicit_bzero(plain.data, plain.capacity);
}

static void mail_scrub(const struct mail *mail, char *text)
{
	struct str token = { 0 };

	if (mail->password == NULL)
		return;
	scrub(text, mail->password);
	mail_login_token(mail, &token);
	scrub(text, token.data);
	str_wipe(&token);
	str_add_base64(&token, mail->password, strlen(mail->password));
	scrub(text, token.data);
	str_wipe(&token);
}

static void mail_refused(struct transfer *transfer, int code)
{
	struct mail *mail = transfer->mail;

	/* Scrubbed first: cutting or escaping could split a secret. */
	str_add_char(&mail->words, '\0');
	mail_scrub(mail, mail->words.data);
	str_addf(&transfer->text, "%s: %d ", steps[mail->step].name, code);
	str_add_clean(&transfer->text, mail->words.data, mail->words.bytes - 1, TEXT_BYTES);
	mail_over(transfer, TRANSFER_REFUSED, code);
}

static void mail_say_ehlo(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	/* What was offered without TLS does not hold under it. */
	mail->offers_starttls = false;
	mail->offers_plain = false;
	mail->offers_login = false;
	mail->offers_utf8 = false;
	mail_say(transfer, STEP_EHLO, "EHLO %s", mail->ehlo);
}

static void mail_say_from(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	if (mail->utf8 && !mail->offers_utf8) {
		mail_fail(transfer, "the server takes no addresses beyond ASCII (SMTPUTF8)");
		return;
	}
	mail_say(transfer, STEP_MAIL_FROM, "MAIL FROM:<%s>%s", mail->from, mail->utf8 ? " SMTPUTF8" : "");
}

static void mail_say_auth(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	if (mail->username == NULL) {
		mail_say_from(transfer);
	} else if (mail->offers_plain) {
		struct str token = { 0 };

		mail_login_token(mail, &token);
		mail_say(transfer, STEP_AUTH, "AUTH PLAIN %s", token.data);
		str_wipe(&token);
	} else if (mail->offers_login) {
		mail_say(transfer, STEP_LOGIN_USERNAME, "AUTH LOGIN");
	} else {
		mail_fail(transfer, "the server offers neither AUTH PLAIN nor LOGIN");
	}
}

static void mail_say_base64(struct transfer *transfer, enum mail_step step, const char *text)
{
	struct str token = { 0 };

	str_add_base64(&token, text, strlen(text));
	mail_say(transfer, step, "%s", token.data != NULL ? token.data : "");
	str_wipe(&token);
}

static void mail_after_ehlo(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	bool wants_tls = !mail->over_tls && mail->tls != MAIL_TLS_NONE;

	if (wants_tls && mail->offers_starttls)
		mail_say(transfer, STEP_STARTTLS, "STARTTLS");
	else if (wants_tls && mail->tls == MAIL_TLS_REQUIRED)
		mail_fail(transfer, "the server does not offer STARTTLS, and TLS is required");
	else
		mail_say_auth(transfer);
}

static void mail_say_data(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	str_clear(&mail->out);
	mail->out_sent = 0;
	str_add_bytes(&mail->out, mail->data.data, mail->data.bytes);
	mail->step = STEP_BODY;
	mail_flush(transfer);
}

/* The reply is the one that was hoped for: on to the next. */
static void mail_next(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	switch (mail->step) {
	case STEP_GREETING:
		mail_say_ehlo(transfer);
		break;
	case STEP_EHLO:
		mail_after_ehlo(transfer);
		break;
	case STEP_STARTTLS:
		mail_handshake(transfer);
		break;
	case STEP_LOGIN_USERNAME:
		mail_say_base64(transfer, STEP_LOGIN_PASSWORD, mail->username);
		break;
	case STEP_LOGIN_PASSWORD:
		mail_say_base64(transfer, STEP_AUTH, mail->password);
		break;
	case STEP_AUTH:
		mail_say_from(transfer);
		break;
	case STEP_MAIL_FROM:
	case STEP_RCPT_TO:
		if (mail->to_next < mail->to_count)
			mail_say(transfer, STEP_RCPT_TO, "RCPT TO:<%s>", mail->to[mail->to_next++]);
		else
			mail_say(transfer, STEP_DATA, "DATA");
		break;
	case STEP_DATA:
		mail_say_data(transfer);
		break;
	case STEP_BODY:
		str_add(&transfer->text, "accepted");
		mail_over(transfer, TRANSFER_ANSWERED, 250);
		break;
	case STEP_CONNECT:
	case STEP_HANDSHAKE:
	case STEP_LEAVING:
		break;
	}
}

static void mail_reply(struct transfer *transfer, int code)
{
	struct mail *mail = transfer->mail;
	int wanted = steps[mail->step].wanted;
	bool good = wanted < 10 ? code / 100 == wanted : code == wanted;

	if (good && mail->step == STEP_BODY && mail->out_sent < mail->out.bytes)
		good = false; /* before it has all of it */
	if (good) {
		mail_next(transfer);
	} else if (code >= 400 && mail->step == STEP_STARTTLS && mail->tls == MAIL_TLS_IF_OFFERED) {
		mail_say_auth(transfer);
	} else if (code >= 400) {
		mail_refused(transfer, code);
	} else {
		str_addf(&transfer->text, "%s: unexpected answer %d", steps[mail->step].name, code);
		mail_fail(transfer, "");
	}
}

static void on_mail_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct transfer *transfer = arg;
	enum mail_step step = transfer->mail->step;

	(void)fd;
	(void)what;
	if (step == STEP_LEAVING) {
		on_goodbye_over(transfer);
		return;
	}
	str_clear(&transfer->text);
	if (step == STEP_CONNECT)
		str_add(&transfer->text, "timeout while connecting");
	else if (step == STEP_HANDSHAKE)
		str_add(&transfer->text, "timeout in the TLS handshake");
	else
		str_addf(&transfer->text, "timeout: no answer to %s", steps[step].name);
	mail_fail(transfer, "");
}

/* ---- mail: the start ---- */

/* RFC 5321 4.5.2, and every line end a CRLF: a bare LF before a dot must not end the message early. */
static void stuff_dots(struct str *out, const char *data, size_t bytes)
{
	bool line_start = true;

	for (size_t i = 0; i < bytes; i++) {
		if (data[i] == '\r' || data[i] == '\n') {
			if (data[i] == '\r' && i + 1 < bytes && data[i + 1] == '\n')
				i++;
			str_add_bytes(out, "\r\n", 2);
			line_start = true;
			continue;
		}
		if (line_start && data[i] == '.')
			str_add_char(out, '.');
		str_add_char(out, data[i]);
		line_start = false;
	}
	if (!line_start)
		str_add_bytes(out, "\r\n", 2);
	str_add_bytes(out, ".\r\n", 3);
}

static bool mail_address_is_fit(const char *address, bool *utf8)
{
	for (const char *at = address; *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		if (c <= ' ' || c == 0x7f || c == '<' || c == '>')
			return false;
		*utf8 |= c >= 0x80;
	}
	return strlen(address) <= MAIL_ADDRESS_BYTES;
}

static bool mail_envelope(struct mail *mail, const struct mail_request *request)
{
	mail->from = mem_strdup(request->envelope_from != NULL ? request->envelope_from : "");
	mail->to = mem_array(request->envelope_to_count + 1, sizeof(*mail->to));
	mail->to_count = request->envelope_to_count;
	for (size_t i = 0; i < mail->to_count; i++)
		mail->to[i] = mem_strdup(request->envelope_to[i]);
	for (size_t i = 0; i < mail->to_count; i++) {
		if (mail->to[i][0] == '\0' || !mail_address_is_fit(mail->to[i], &mail->utf8))
			return false;
	}
	return mail->to_count > 0 && mail_address_is_fit(mail->from, &mail->utf8);
}

static char *ehlo_of(const char *name)
{
	static const char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";

	if (name == NULL || name[0] == '\0' || strlen(name) > 255 || name[strspn(name, fit)] != '\0')
		return mem_strdup("localhost");
	return mem_strdup(name);
}

static struct mail *mail_new(struct transfer *transfer, const struct mail_request *request)
{
	struct event_base *base = transfer->client->base;
	struct mail *mail = mem_new(struct mail);

	mail->fd = -1;
	event_assign(&mail->io, base, -1, 0, on_mail_io, transfer);
	evtimer_assign(&mail->deadline, base, on_mail_deadline, transfer);
	mail->host = mem_strdup(request->host);
	mail->port = request->port;
	mail->tls = request->tls;
	mail->ehlo = ehlo_of(request->ehlo);
	mail->username = mem_strdup(request->username);
	if (request->username != NULL)
		mail->password = mem_strdup(request->password != NULL ? request->password : "");
	mail->deadline_mono_us = clock_mono_us() + request->timeout_ms * US_PER_MS;
	stuff_dots(&mail->data, request->data, request->data_bytes);
	return mail;
}

static void mail_addresses(struct mail *mail, const struct mail_request *request)
{
	struct address literal;

	mail->addresses = mem_array(request->address_count + 1, sizeof(*mail->addresses));
	if (request->address_count > 0)
		mail->address_count = addresses_allowed(request->addresses, request->address_count,
							mail->addresses);
	else if (address_from_literal(request->host, request->port, &literal))
		mail->address_count = addresses_allowed(&literal, 1, mail->addresses);
	for (size_t i = 0; i < mail->address_count; i++)
		mail->addresses[i].port = request->port;
}

struct transfer *transfer_start_mail(struct http_client *client, const struct mail_request *request,
				     transfer_done_fn *done, void *arg)
{
	struct transfer *transfer = transfer_new(client, done, arg);
	struct mail *mail = mail_new(transfer, request);
	struct address literal;
	struct error err;

	transfer->mail = mail;
	mail_addresses(mail, request);
	if (!mail_envelope(mail, request)) {
		transfer_fail(transfer, TRANSFER_FORBIDDEN,
			      "a mail address is missing or has what it must not have");
	} else if (!ca_files_read(&mail->ca_pem, request->ca_files, request->ca_file_count, &err)) {
		transfer_fail(transfer, TRANSFER_NO_ANSWER, err.text);
	} else if (mail->address_count == 0 &&
		   (request->address_count > 0 || address_from_literal(request->host, 0, &literal))) {
		transfer_fail(transfer, TRANSFER_FORBIDDEN, forbidden_text);
	} else {
		timer_set(&mail->deadline, request->timeout_ms);
		mail_connect(transfer);
	}
	return transfer;
}
