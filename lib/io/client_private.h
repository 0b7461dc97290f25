/* SPDX-License-Identifier: MIT */
/*
 * client_private - what http_client.c (HTTP, and what both share) and mail_client.c (mail) know of each other.
 * A transfer is running, then ready (its answer is final), then told (`done` was called); a mail that was told may
 * stay for its goodbye.
 */
#ifndef PORTBELL_IO_CLIENT_PRIVATE_H
#define PORTBELL_IO_CLIENT_PRIVATE_H

#include <curl/curl.h>
#include <event2/event_struct.h>

#include "lib/base/list.h"
#include "lib/base/str.h"
#include "lib/io/http_client.h"

enum {
	CLIENT_CONNECT_MS = 5000, /* one address may take */
	CLIENT_TEXT_BYTES = 400   /* of curl's words */
};

extern const char client_forbidden_text[];
extern const char client_private_text[];

struct transfer {
	struct list node; /* in one of the client's lists */
	struct http_client *client;
	transfer_done_fn *done;
	void *arg;

	CURL *easy; /* in the multi handle as long as it is here */
	void (*curl_over)(struct transfer *transfer, CURLcode code);
	struct curl_slist *headers;
	struct curl_slist *resolve;
	struct curl_slist *connect_to;
	char trouble[CURL_ERROR_SIZE];
	bool forbidden; /* an address was */
	bool opened;    /* a socket to another one was */
	bool head_done;
	bool public_only;
	size_t whole_bytes;
	size_t request_bytes; /* of the body */
	size_t body_seen;

	bool ended;     /* the answer is final */
	bool told;      /* and `done` was called: only a goodbye is left */
	enum transfer_kind kind;
	int status;
	int64_t retry_after_ms;
	bool in_doubt;
	bool partly;
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

/* ---- of http_client.c ---- */

struct timeval client_timeval(int64_t ms);
struct transfer *transfer_new(struct http_client *client, transfer_done_fn *done, void *arg);
void transfer_free(struct transfer *transfer);
void transfer_drop_curl(struct transfer *transfer);
/* The answer is final, with what is in transfer->text; `done` is called from the loop. */
void transfer_ended(struct transfer *transfer, enum transfer_kind kind, int status);
void transfer_fail(struct transfer *transfer, enum transfer_kind kind, const char *text);
/* What holds for every connection that curl has to do with: HTTP and TLS as the header promises. */
bool transfer_set_safety(struct transfer *transfer, const struct str *ca_pem);
bool transfer_set_addresses(struct transfer *transfer, uint16_t port, const struct address *addresses,
			    size_t count);
void transfer_add_tls_trouble(struct transfer *transfer, CURLcode code);
bool client_read_ca_files(struct str *pem, const char *const *paths, size_t count, struct error *err);
/* Copies those of `from` that may be connected to. */
size_t client_allow_addresses(const struct address *from, size_t count, bool public_only, struct address *to);

/* ---- of mail_client.c ---- */

bool mail_is_connected(const struct mail *mail);
void mail_free(struct transfer *transfer); /* closes, too */

#endif
