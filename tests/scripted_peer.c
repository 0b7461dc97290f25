/* SPDX-License-Identifier: MIT */
#include "tests/scripted_peer.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { BACKLOG = 4096, LINE_BYTES = 4096, FILLERS = 3, FILL_MS = 200 };

struct scripted_peer {
	struct event_base *base;
	const struct peer_step *script;
	struct peer_seen seen;
	SSL_CTX *tls;
	struct address address;
	int fd;
	int fillers[FILLERS];
	struct event *accept_event;
	struct list clients;
};

struct client {
	struct list node;
	struct scripted_peer *peer;
	const struct peer_step *step;
	size_t sent; /* of the step's text */
	int fd;
	SSL *ssl;    /* NULL: plain */
	bool quiet;  /* the client has said close_notify */
	struct event *read_event;
	struct event *timer_event;
	size_t line_bytes;
	char line[LINE_BYTES];
};

static void client_run(struct client *client);

static void client_free(struct client *client)
{
	list_remove(&client->node);
	client->peer->seen.open--;
	event_free(client->read_event);
	event_free(client->timer_event);
	SSL_free(client->ssl);
	close(client->fd);
	free(client);
}

static void client_reset(struct client *client)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	client_free(client);
}

static void client_send(struct client *client, const char *text, size_t bytes)
{
	/* A client that has gone is what the script may be about. */
	if (client->ssl != NULL)
		SSL_write(client->ssl, text, (int)bytes);
	else
		(void)!send(client->fd, text, bytes, MSG_NOSIGNAL);
}

static void client_wait(struct client *client, int pause_ms)
{
	struct timeval pause = { .tv_sec = pause_ms / 1000, .tv_usec = pause_ms % 1000 * 1000 };

	event_add(client->timer_event, &pause);
}

/* True: the line has come. */
static bool client_expect(struct client *client)
{
	char *end = memchr(client->line, '\n', client->line_bytes);
	size_t bytes;

	if (end == NULL)
		return false;
	bytes = (size_t)(end + 1 - client->line);
	if (strncmp(client->line, client->step->text, strlen(client->step->text)) != 0)
		client->peer->seen.unexpected++;
	client->line_bytes -= bytes;
	memmove(client->line, end + 1, client->line_bytes);
	return true;
}

/* True: it is over, well or not. */
static bool client_shake(struct client *client)
{
	int status;

	if (client->ssl == NULL) {
		client->ssl = SSL_new(client->peer->tls);
		SSL_set_fd(client->ssl, client->fd);
		SSL_set_accept_state(client->ssl);
	}
	ERR_clear_error();
	status = SSL_do_handshake(client->ssl);
	if (status != 1 && SSL_get_error(client->ssl, status) == SSL_ERROR_WANT_READ)
		return false;
	client->peer->seen.handshakes += status == 1;
	return true;
}

/* True: go on with the next step. False: wait, or the client is gone. */
static bool client_step(struct client *client)
{
	const struct peer_step *step = client->step;

	switch (step->act) {
	case PEER_SEND:
		client_send(client, step->text, strlen(step->text));
		return true;
	case PEER_TRICKLE:
		if (client->sent == strlen(step->text)) {
			client->sent = 0;
			return true;
		}
		client_send(client, &step->text[client->sent++], 1);
		client_wait(client, step->pause_ms);
		return false;
	case PEER_EXPECT:
		return client_expect(client);
	case PEER_PAUSE:
		/* What comes in the meantime is for the next step. */
		if (client->sent++ == 0) {
			event_del(client->read_event);
			client_wait(client, step->pause_ms);
			return false;
		}
		client->sent = 0;
		event_add(client->read_event, NULL);
		return true;
	case PEER_TLS:
		return client_shake(client);
	case PEER_CLOSE:
		/* What lies unread would turn it into a reset. */
		while (recv(client->fd, client->line, LINE_BYTES, MSG_DONTWAIT) > 0)
			continue;
		client_free(client);
		return false;
	case PEER_RESET:
		client_reset(client);
		return false;
	case PEER_IGNORE:
		event_del(client->read_event);
		return false;
	case PEER_END:
		break;
	}
	return false;
}

static void client_run(struct client *client)
{
	while (client_step(client))
		client->step++;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_run(arg);
}

static ssize_t client_receive(struct client *client)
{
	char *at = client->line + client->line_bytes;
	size_t room = LINE_BYTES - client->line_bytes;
	int got;

	if (client->ssl == NULL || client->quiet)
		return recv(client->fd, at, room, 0);
	ERR_clear_error();
	got = SSL_read(client->ssl, at, (int)room);
	if (got > 0)
		return got;
	switch (SSL_get_error(client->ssl, got)) {
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		client->peer->seen.ended_by_close_notify++;
		client->quiet = true;
		return recv(client->fd, at, room, 0);
	case SSL_ERROR_SYSCALL:
		return errno == ECONNRESET ? -1 : 0;
	default:
		return 0;
	}
}

static void client_ended(struct client *client, bool reset)
{
	if (reset)
		client->peer->seen.ended_by_reset++;
	else
		client->peer->seen.ended_by_fin++;
	client_free(client);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	ssize_t got;

	(void)fd;
	(void)what;
	if (client->step->act == PEER_TLS) {
		client_run(client);
		return;
	}
	got = client_receive(client);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		client_ended(client, got < 0);
		return;
	}
	client->peer->seen.bytes += (size_t)got;
	client->line_bytes += (size_t)got;
	if (client->line_bytes == LINE_BYTES || client->step->act == PEER_END)
		client->line_bytes = 0;
	if (client->step->act == PEER_EXPECT)
		client_run(client);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct scripted_peer *peer = arg;
	struct client *client;
	int fd;

	(void)what;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		evutil_make_socket_nonblocking(fd);
		evutil_make_socket_closeonexec(fd);
		client = mem_new(struct client);
		client->peer = peer;
		client->fd = fd;
		client->step = peer->script;
		client->read_event = event_new(peer->base, fd, EV_READ | EV_PERSIST, on_readable, client);
		client->timer_event = event_new(peer->base, -1, 0, on_timer, client);
		event_add(client->read_event, NULL);
		list_push(&peer->clients, &client->node);
		peer->seen.connections++;
		if (++peer->seen.open > peer->seen.most_open)
			peer->seen.most_open = peer->seen.open;
		client_run(client);
	}
}

static void peer_listen(struct scripted_peer *peer)
{
	ck_assert_int_eq(listen(peer->fd, BACKLOG), 0);
	peer->accept_event = event_new(peer->base, peer->fd, EV_READ | EV_PERSIST, on_accept, peer);
	event_add(peer->accept_event, NULL);
}

/* A backlog of 0 holds one connection that nobody accepts; the SYN of any other is dropped. */
static void peer_stall(struct scripted_peer *peer)
{
	struct sockaddr_storage sockaddr;
	socklen_t bytes = address_to_sockaddr(&peer->address, &sockaddr);

	ck_assert_int_eq(listen(peer->fd, 0), 0);
	for (int i = 0; i < FILLERS; i++) {
		struct pollfd pollfd = { .events = POLLOUT };

		peer->fillers[i] = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		pollfd.fd = peer->fillers[i];
		(void)!connect(pollfd.fd, (const struct sockaddr *)&sockaddr, bytes);
		if (poll(&pollfd, 1, FILL_MS) == 0)
			return;
	}
	ck_abort_msg("the backlog does not fill");
}

struct scripted_peer *scripted_peer_new(struct event_base *base, const char *ip, uint16_t port,
					enum peer_manner manner, const struct peer_step *script)
{
	struct scripted_peer *peer = mem_new(struct scripted_peer);
	struct sockaddr_storage sockaddr;
	struct address address;
	socklen_t bytes;
	const int on = 1;

	peer->base = base;
	peer->script = script;
	list_init(&peer->clients);
	for (int i = 0; i < FILLERS; i++)
		peer->fillers[i] = -1;
	ck_assert(address_from_literal(ip, port, &address));
	bytes = address_to_sockaddr(&address, &sockaddr);
	peer->fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(peer->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ck_assert_msg(bind(peer->fd, (const struct sockaddr *)&sockaddr, bytes) == 0, "bind %s: %s", ip,
		      strerror(errno));
	bytes = sizeof(sockaddr);
	ck_assert_int_eq(getsockname(peer->fd, (struct sockaddr *)&sockaddr, &bytes), 0);
	ck_assert(address_from_sockaddr((const struct sockaddr *)&sockaddr, &peer->address));
	if (manner == PEER_LISTENS)
		peer_listen(peer);
	else if (manner == PEER_STALLS)
		peer_stall(peer);
	return peer;
}

void scripted_peer_set_tls(struct scripted_peer *peer, struct ssl_ctx_st *context)
{
	peer->tls = context;
}

void scripted_peer_free(struct scripted_peer *peer)
{
	struct client *client;

	if (peer == NULL)
		return;
	list_each(client, &peer->clients, struct client, node)
		client_free(client);
	if (peer->accept_event != NULL)
		event_free(peer->accept_event);
	for (int i = 0; i < FILLERS; i++) {
		if (peer->fillers[i] >= 0)
			close(peer->fillers[i]);
	}
	close(peer->fd);
	free(peer);
}

const struct peer_seen *scripted_peer_seen(const struct scripted_peer *peer)
{
	return &peer->seen;
}

struct address scripted_peer_address(const struct scripted_peer *peer)
{
	return peer->address;
}
