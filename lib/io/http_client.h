/* SPDX-License-Identifier: MIT */
/*
 * http_client - one HTTP request or one mail (SMTP) on the event loop. HTTP and all TLS are libcurl's, by its
 * multi interface. The SMTP dialogue is lib/proto/smtp: curl's own waits for the answer after the final dot and
 * after QUIT with the whole loop standing still.
 * It is given addresses: who calls resolves first, nothing here looks up a name (curl would block in it).
 * SIGPIPE must be ignored: a server that goes away while TLS is being spoken raises it.
 * Owns:    a transfer belongs to the client and ends by itself. The request is copied where needed: it may go away
 *          when transfer_start() returns. `answer` is lent to the callback.
 * Calls:   `done` runs from the loop, never inside transfer_start(), exactly once, never after a cancel.
 * Fails:   all trouble is an answer (answer->kind).
 * Caps:    64 KiB of an answer's body are kept, the rest is read and dropped up to 1 MiB, then the transfer ends.
 *          Who needs the body says how much of it may come (whole_bytes); more, or less than was announced, is no
 *          answer.
 * HTTP:    the head decides: once it has come the transfer is ANSWERED, even if a body that is for people breaks off.
 * Mail:    AUTH is PLAIN or LOGIN. Recipients refused for good (5xx) are left out as long as one is accepted; a
 *          4xx to any refuses the whole before it is sent, so that another try makes no doubles. After the outcome
 *          is told a QUIT is said, for half a second at most.
 * Safety:  http and https only, beside mail; no redirect, no proxy or .netrc from the environment, HTTP/1.1; an
 *          address that is link-local or a cloud's metadata service is refused before connecting, with public_only
 *          any that is not of the internet; TLS is always verified, with the ca_files instead of the system's
 *          store if there are any. CR, LF and NUL cannot get into a header.
 */
#ifndef PORTBELL_IO_HTTP_CLIENT_H
#define PORTBELL_IO_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/error.h"

struct event_base;
struct http_client;
struct str;
struct transfer;

enum transfer_kind {
	TRANSFER_ANSWERED,   /* HTTP: `status` is the answer's; SMTP: the mail was accepted, status 250 */
	TRANSFER_REFUSED,    /* SMTP only: the server answered `status` (4xx, 5xx); `text` has its words, cleaned */
	TRANSFER_NO_ANSWER,  /* refused, reset, timeout, TLS trouble: `text` says; may be tried again */
	TRANSFER_FORBIDDEN   /* our own rules: a link-local address, a URL or mail address that cannot be; final */
};

struct transfer_answer {
	enum transfer_kind kind;
	int status;
	int64_t retry_after_ms;  /* from Retry-After, 0 to 7 days; -1 = none */
	bool in_doubt;           /* all was sent, the answer did not come: it may have been accepted */
	bool partly;             /* SMTP, ANSWERED: but not for all recipients; `text` names them and why */
	const char *text;        /* cleaned, without secrets: no URL, no credential */
	const char *body;        /* HTTP; terminated, `body_bytes` long */
	size_t body_bytes;
	struct str *whole;       /* the same, of a request with whole_bytes: str_take() it to keep it */
};
typedef void transfer_done_fn(const struct transfer_answer *answer, void *arg);

struct http_header {
	const char *name;
	const char *value;
};

struct http_request {
	const char *url;
	const char *method;              /* "GET", "POST", "PUT" */
	const struct http_header *headers;
	size_t header_count;
	const void *body;
	size_t body_bytes;
	const struct address *addresses; /* of the URL's host, tried in order; none needed for an IP literal */
	size_t address_count;
	const char *const *ca_files;     /* none: the system's */
	size_t ca_file_count;
	int64_t timeout_ms;
	size_t whole_bytes; /* the most that the body may have, which is wanted whole; 0: it is for people */
	bool public_only;
};

enum mail_tls { MAIL_TLS_NONE, MAIL_TLS_IF_OFFERED, MAIL_TLS_REQUIRED, MAIL_TLS_IMPLICIT };

struct mail_request {
	const char *host;                /* for the certificate's name */
	uint16_t port;
	enum mail_tls tls;               /* if offered: without it also when STARTTLS is refused */
	const char *ehlo;                /* what we call ourselves */
	const char *username;            /* NULL: no AUTH */
	const char *password;
	const char *envelope_from;       /* bare address; NULL or "": the null sender */
	const char *const *envelope_to;
	size_t envelope_to_count;
	const void *data;                /* the whole message, CRLF lines; dots are stuffed here */
	size_t data_bytes;
	const struct address *addresses;
	size_t address_count;
	const char *const *ca_files;
	size_t ca_file_count;
	int64_t timeout_ms;
};

struct http_client *http_client_new(struct event_base *base, struct error *err);
/* Pending transfers end without a call. May be called from a `done`. NULL is fine. */
void http_client_free(struct http_client *client);
struct transfer *transfer_start_http(struct http_client *client, const struct http_request *request,
				     transfer_done_fn *done, void *arg);
struct transfer *transfer_start_mail(struct http_client *client, const struct mail_request *request,
				     transfer_done_fn *done, void *arg);
void transfer_cancel(struct transfer *transfer); /* NULL is fine */
/* "https", host (without brackets; beyond ASCII is refused), port of an http(s) URL; false with the reason, which
 * does not show the URL. The caller frees host. */
bool http_url_split(const char *url, bool *https, char **host, uint16_t *port, struct error *err);

#endif
