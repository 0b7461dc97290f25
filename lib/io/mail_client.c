/* SPDX-License-Identifier: MIT */
/*
 * Mail: the bytes between the server and lib/proto/smtp. The connection is our own until TLS, which curl lays over
 * the socket that is there (CONNECT_ONLY): so its verification is HTTP's.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/client_private.h"
#include "lib/proto/smtp.h"

enum { GOODBYE_MS = 500 };

enum stage { STAGE_CONNECT, STAGE_HANDSHAKE, STAGE_DIALOGUE, STAGE_GOODBYE };

struct mail {
	struct smtp *smtp;
	char *host;
	uint16_t port;
	bool implicit_tls;
	struct str ca_pem;
	struct address *addresses;
	size_t address_count;
	size_t address_next;
	int64_t deadline_mono_us;

	enum stage stage;
	int fd;           /* ours until curl makes TLS of it, then only watched; -1: none */
	bool over_tls;
	bool closing;
	struct event io;
	struct event deadline;
};

static void mail_connect(struct transfer *transfer);

/* ---- the end ---- */

bool mail_is_connected(const struct mail *mail)
{
	return mail != NULL && mail->fd >= 0;
}

static void disconnect(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	mail->closing = true;
	event_del(&mail->io);
	if (!mail->over_tls && mail->fd >= 0)
		close(mail->fd);
	transfer_drop_curl(transfer); /* which closes what curl was handed */
	mail->fd = -1;
}

void mail_free(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	if (mail == NULL)
		return;
	disconnect(transfer);
	event_del(&mail->deadline);
	smtp_free(mail->smtp);
	free(mail->host);
	free(mail->addresses);
	str_done(&mail->ca_pem);
	free(TAKE(transfer->mail));
}

static void goodbye_over(struct transfer *transfer)
{
	event_del(&transfer->mail->deadline);
	disconnect(transfer);
	if (transfer->told)
		transfer_free(transfer);
}

/* It goes no further. */
static void mail_fail(struct transfer *transfer, const char *text)
{
	struct mail *mail = transfer->mail;

	if (mail->stage == STAGE_GOODBYE) {
		goodbye_over(transfer);
		return;
	}
	transfer->in_doubt = smtp_in_doubt(mail->smtp);
	event_del(&mail->deadline);
	disconnect(transfer);
	transfer_fail(transfer, TRANSFER_NO_ANSWER, text);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;

	(void)fd;
	(void)what;
	str_clear(&transfer->text);
	switch (mail->stage) {
	case STAGE_CONNECT:
		mail_fail(transfer, "timeout while connecting");
		break;
	case STAGE_HANDSHAKE:
		mail_fail(transfer, "timeout in the TLS handshake");
		break;
	case STAGE_DIALOGUE:
		str_add(&transfer->text, "timeout: no answer to ");
		mail_fail(transfer, smtp_waits_for(mail->smtp));
		break;
	case STAGE_GOODBYE:
		goodbye_over(transfer);
		break;
	}
}

/* ---- bytes ---- */

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

	if (!transfer->mail->over_tls)
		return send(transfer->mail->fd, data, bytes, MSG_NOSIGNAL);
	return curl_easy_send(transfer->easy, data, bytes, &sent) == CURLE_OK ? (ssize_t)sent : -1;
}

/*
 * What cannot be sent is no trouble yet: the server may have said why, and that is read. After "again" TLS wants
 * the same bytes at the same place, and has them there.
 */
static void mail_flush(struct transfer *transfer)
{
	struct smtp *smtp = transfer->mail->smtp;
	const char *data;
	ssize_t sent = 1;
	size_t bytes;

	while (sent > 0 && (data = smtp_output(smtp, &bytes), bytes > 0)) {
		sent = mail_send(transfer, data, bytes);
		if (sent > 0)
			smtp_output_sent(smtp, (size_t)sent);
	}
}

/* ---- TLS ---- */

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
	if (!mail->closing && mail->stage != STAGE_HANDSHAKE)
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
	return good && transfer_set_addresses(transfer, mail->port, address, 1);
}

static void mail_handshake(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;

	mail->stage = STAGE_HANDSHAKE;
	event_del(&mail->io);
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !transfer_set_safety(transfer, &mail->ca_pem) || !set_handshake(transfer) ||
	    curl_multi_add_handle(transfer->client->multi, transfer->easy) != CURLM_OK)
		mail_fail(transfer, "TLS cannot be set up");
}

/* ---- the dialogue ---- */

/* The outcome is known. Whoever waits for it does not wait for the goodbye. */
static void mail_over(struct transfer *transfer, enum transfer_kind kind)
{
	struct mail *mail = transfer->mail;
	struct smtp_outcome outcome = smtp_outcome(mail->smtp);
	struct timeval limit = client_timeval(GOODBYE_MS);
	size_t goodbye_bytes;

	smtp_output(mail->smtp, &goodbye_bytes);
	event_del(&mail->deadline);
	if (goodbye_bytes == 0) {
		disconnect(transfer);
	} else {
		mail->stage = STAGE_GOODBYE;
		event_add(&mail->deadline, &limit);
		mail_flush(transfer);
	}
	str_add(&transfer->text, outcome.text);
	transfer->partly = outcome.partly;
	transfer_ended(transfer, kind, outcome.status);
}

/* Does what the machine says. */
static void mail_follow(struct transfer *transfer, enum smtp_next next)
{
	switch (next) {
	case SMTP_GO_ON:
		mail_flush(transfer);
		break;
	case SMTP_START_TLS:
		mail_handshake(transfer);
		break;
	case SMTP_DONE:
		mail_over(transfer, TRANSFER_ANSWERED);
		break;
	case SMTP_REFUSED:
		mail_over(transfer, TRANSFER_REFUSED);
		break;
	case SMTP_BROKEN:
		mail_fail(transfer, smtp_outcome(transfer->mail->smtp).text);
		break;
	}
}

static bool is_talking(const struct transfer *transfer)
{
	enum stage stage = transfer->mail->stage;

	return stage == STAGE_GOODBYE || (stage == STAGE_DIALOGUE && !transfer->ended);
}

static void mail_watch(struct transfer *transfer);

static void on_io(evutil_socket_t fd, short what, void *arg)
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
	while (is_talking(transfer) && (bytes = mail_recv(transfer, data, sizeof(data), &lost)) >= 0) {
		if (bytes == 0 || mail->stage == STAGE_GOODBYE) {
			mail_fail(transfer, lost);
			return;
		}
		mail_follow(transfer, smtp_input(mail->smtp, data, (size_t)bytes));
	}
	if (is_talking(transfer))
		mail_watch(transfer);
}

static void mail_watch(struct transfer *transfer)
{
	struct mail *mail = transfer->mail;
	short what = EV_READ | EV_PERSIST;
	size_t bytes;

	smtp_output(mail->smtp, &bytes);
	if (bytes > 0)
		what |= EV_WRITE;
	event_del(&mail->io);
	event_assign(&mail->io, transfer->client->base, mail->fd, what, on_io, transfer);
	event_add(&mail->io, NULL);
}

static void on_handshake_over(struct transfer *transfer, CURLcode code)
{
	struct mail *mail = transfer->mail;

	if (code == CURLE_OK && mail->over_tls && mail->fd >= 0) {
		mail->stage = STAGE_DIALOGUE;
		if (!mail->implicit_tls)
			smtp_tls_started(mail->smtp);
		mail_watch(transfer);
		event_active(&mail->io, EV_READ, 0); /* the greeting may have come with the handshake's end */
		return;
	}
	if (code == CURLE_OPERATION_TIMEDOUT)
		str_add(&transfer->text, "timeout in the TLS handshake");
	else
		transfer_add_tls_trouble(transfer, code);
	mail_fail(transfer, "");
}

/* ---- the connection ---- */

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct transfer *transfer = arg;
	struct mail *mail = transfer->mail;
	socklen_t bytes = sizeof(int);
	int trouble = ETIMEDOUT;

	if (what & EV_WRITE)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &trouble, &bytes);
	str_clear(&transfer->text);
	if (trouble != 0) {
		close(mail->fd);
		mail->fd = -1;
		str_addf(&transfer->text, "connect: %s", strerror(trouble));
		mail_connect(transfer);
	} else if (mail->implicit_tls) {
		mail_handshake(transfer);
	} else {
		mail->stage = STAGE_DIALOGUE;
		mail_watch(transfer);
	}
}

static int connecting_socket(const struct address *address)
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
		limit = client_timeval(share_ms > CLIENT_CONNECT_MS ? CLIENT_CONNECT_MS : share_ms);
		mail->fd = connecting_socket(&mail->addresses[mail->address_next++]);
		if (mail->fd >= 0) {
			event_assign(&mail->io, transfer->client->base, mail->fd, EV_WRITE, on_connected,
				     transfer);
			event_add(&mail->io, &limit);
			return;
		}
		str_clear(&transfer->text);
		str_addf(&transfer->text, "connect: %s", strerror(errno));
	}
	mail_fail(transfer, transfer->text.bytes == 0 ? "no address of the host is known" : "");
}

/* ---- the start ---- */

static enum smtp_starttls starttls_of(enum mail_tls tls)
{
	switch (tls) {
	case MAIL_TLS_IF_OFFERED:
		return SMTP_STARTTLS_IF_OFFERED;
	case MAIL_TLS_REQUIRED:
		return SMTP_STARTTLS_REQUIRED;
	case MAIL_TLS_NONE:
	case MAIL_TLS_IMPLICIT:
		break;
	}
	return SMTP_STARTTLS_NEVER;
}

static struct smtp *dialogue_of(const struct mail_request *request, struct error *err)
{
	const struct smtp_mail mail = {
		.starttls = starttls_of(request->tls),
		.ehlo = request->ehlo,
		.username = request->username,
		.password = request->password,
		.from = request->envelope_from,
		.to = request->envelope_to,
		.to_count = request->envelope_to_count,
		.data = request->data,
		.data_bytes = request->data_bytes,
	};

	return smtp_new(&mail, err);
}

static void take_addresses(struct mail *mail, const struct mail_request *request)
{
	struct address literal;

	mail->addresses = mem_array(request->address_count + 1, sizeof(*mail->addresses));
	if (request->address_count > 0)
		mail->address_count = client_allow_addresses(request->addresses, request->address_count, false,
							     mail->addresses);
	else if (address_from_literal(request->host, request->port, &literal))
		mail->address_count = client_allow_addresses(&literal, 1, false, mail->addresses);
	for (size_t i = 0; i < mail->address_count; i++)
		mail->addresses[i].port = request->port;
}

static struct mail *mail_new(struct transfer *transfer, const struct mail_request *request)
{
	struct event_base *base = transfer->client->base;
	struct mail *mail = mem_new(struct mail);

	mail->fd = -1;
	event_assign(&mail->io, base, -1, 0, on_io, transfer);
	evtimer_assign(&mail->deadline, base, on_deadline, transfer);
	mail->host = mem_strdup(request->host);
	mail->port = request->port;
	mail->implicit_tls = request->tls == MAIL_TLS_IMPLICIT;
	mail->deadline_mono_us = clock_mono_us() + request->timeout_ms * US_PER_MS;
	take_addresses(mail, request);
	return mail;
}

struct transfer *transfer_start_mail(struct http_client *client, const struct mail_request *request,
				     transfer_done_fn *done, void *arg)
{
	struct transfer *transfer = transfer_new(client, done, arg);
	struct mail *mail = mail_new(transfer, request);
	struct timeval limit = client_timeval(request->timeout_ms > 0 ? request->timeout_ms : 0);
	struct address literal;
	struct error err;

	transfer->mail = mail;
	transfer->curl_over = on_handshake_over;
	mail->smtp = dialogue_of(request, &err);
	if (mail->smtp == NULL) {
		transfer_fail(transfer, TRANSFER_FORBIDDEN, err.text);
	} else if (!client_read_ca_files(&mail->ca_pem, request->ca_files, request->ca_file_count, &err)) {
		transfer_fail(transfer, TRANSFER_NO_ANSWER, err.text);
	} else if (mail->address_count == 0 &&
		   (request->address_count > 0 || address_from_literal(request->host, 0, &literal))) {
		transfer_fail(transfer, TRANSFER_FORBIDDEN, client_forbidden_text);
	} else {
		event_add(&mail->deadline, &limit);
		mail_connect(transfer);
	}
	return transfer;
}
