/* SPDX-License-Identifier: MIT */
/* The `webhook` sender: alerts_body() by HTTP, signed as Standard Webhooks 1.0 says where there is a secret. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/notify/alerts.h"
#include "daemon/notify/sender_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/crypto.h"

#ifndef PORTBELL_VERSION
#define PORTBELL_VERSION "0"
#endif

enum { OUR_HEADERS_MAX = 5, ANSWER_SHOWN_MAX = 120, SECRET_PART_BYTES = 6 };

/* "v1,<base64>" over "id.timestamp.body". */
static char *sign(const struct webhook_config *webhook, const char *id, const char *timestamp, const char *body)
{
	AUTO(str) struct str signed_text = { 0 };
	struct str signature = { 0 };
	uint8_t mac[32];

	str_addf(&signed_text, "%s.%s.", id, timestamp);
	str_add(&signed_text, body);
	crypto_hmac_sha256(webhook->signing_secret, webhook->signing_secret_bytes, signed_text.data,
			   signed_text.bytes, mac);
	str_add(&signature, "v1,");
	str_add_base64(&signature, mac, sizeof(mac));
	return str_take(&signature);
}

/* Headers of the configuration come last and win, but not over what the receiver trusts us by. */
static bool is_configured(const struct webhook_config *webhook, const char *name)
{
	for (size_t i = 0; i < webhook->header_count; i++)
		if (strcasecmp(webhook->headers[i].name, name) == 0)
			return true;
	return false;
}

static bool is_reserved(const char *name)
{
	return strncasecmp(name, "webhook-", strlen("webhook-")) == 0;
}

static struct http_header *make_headers(const struct webhook_config *webhook, const char *id,
					const char *timestamp, const char *signature, size_t *count)
{
	struct http_header *headers = mem_array(OUR_HEADERS_MAX + webhook->header_count, sizeof(*headers));

	if (!is_configured(webhook, "Content-Type"))
		headers[(*count)++] = (struct http_header){ "Content-Type", "application/json" };
	if (!is_configured(webhook, "User-Agent"))
		headers[(*count)++] = (struct http_header){ "User-Agent", "portbell/" PORTBELL_VERSION };
	headers[(*count)++] = (struct http_header){ "webhook-id", id };
	headers[(*count)++] = (struct http_header){ "webhook-timestamp", timestamp };
	if (signature != NULL)
		headers[(*count)++] = (struct http_header){ "webhook-signature", signature };
	for (size_t i = 0; i < webhook->header_count; i++)
		if (!is_reserved(webhook->headers[i].name))
			headers[(*count)++] =
				(struct http_header){ webhook->headers[i].name, webhook->headers[i].value };
	return headers;
}

static struct transfer *webhook_send(struct delivery *delivery, const struct address *addresses, size_t count)
{
	const struct webhook_config *webhook = &delivery->config->as.webhook;
	const char *id = delivery->message->id;
	AUTO(string) char *body = alerts_body(delivery->message);
	AUTO(string) char *timestamp = mem_printf("%lld", (long long)(delivery->now_unix_us / US_PER_S));
	AUTO(string) char *signature = webhook->signing_secret != NULL ? sign(webhook, id, timestamp, body) : NULL;
	struct http_request request = {
		.url = webhook->url,
		.method = webhook->method != NULL ? webhook->method : "POST",
		.body = body,
		.body_bytes = strlen(body),
		.addresses = addresses,
		.address_count = count,
		.timeout_ms = delivery_left_ms(delivery),
	};
	struct http_header *headers = make_headers(webhook, id, timestamp, signature, &request.header_count);
	struct transfer *transfer;

	request.headers = headers;
	if (delivery->trust != NULL) {
		request.ca_files = (const char *const *)delivery->trust->files;
		request.ca_file_count = delivery->trust->file_count;
	}
	transfer = transfer_start_http(delivery->world->http, &request, delivery_on_answer, delivery);
	free(headers);
	return transfer;
}

/* Whether some part of `secret` stands in `text`: cut or escaped, a token would still show so. */
static bool shows(const char *text, const char *secret, size_t bytes)
{
	for (size_t at = 0; at + SECRET_PART_BYTES <= bytes; at++) {
		char part[SECRET_PART_BYTES + 1] = { 0 };

		memcpy(part, secret + at, SECRET_PART_BYTES);
		if (strcasestr(text, part) != NULL)
			return true;
	}
	return false;
}

/* A receiver's page may tell us our own path or headers back. */
static bool shows_a_secret(const char *text, const struct webhook_config *webhook)
{
	const char *authority = strstr(webhook->url, "://");
	size_t host_at;

	authority = authority != NULL ? authority + 3 : webhook->url;
	host_at = strcspn(authority, "/?#@");
	if (authority[host_at] == '@') /* a login travels as Basic, which has many spellings */
		return true;
	if (shows(text, authority + host_at, strlen(authority + host_at)))
		return true;
	for (size_t i = 0; i < webhook->header_count; i++)
		if (shows(text, webhook->headers[i].value, strlen(webhook->headers[i].value)))
			return true;
	return false;
}

static void tell_answer(const struct webhook_config *webhook, const struct transfer_answer *answer,
			struct delivery_outcome *outcome)
{
	AUTO(string) char *shown = NULL;
	size_t bytes;

	if (answer->status >= 300 && answer->status <= 399) {
		outcome_text(outcome, "answered %d: redirects are not followed", answer->status);
		return;
	}
	outcome_text(outcome, "answered %d", answer->status);
	if (answer->body == NULL)
		return;
	bytes = strcspn(answer->body, "\r\n");
	if (bytes == 0 || answer->body[0] == '<' || shows_a_secret(answer->body, webhook))
		return;
	shown = str_clean(answer->body, bytes, ANSWER_SHOWN_MAX);
	outcome_text(outcome, "answered %d: %s", answer->status, shown);
}

static void webhook_judge(const struct delivery *delivery, const struct transfer_answer *answer,
			  struct delivery_outcome *outcome)
{
	int status = answer->status;

	if (status >= 200 && status <= 299)
		outcome->status = DELIVERY_DONE;
	else if (status == 408 || status == 425 || status == 429 || (status >= 500 && status <= 599))
		outcome->status = DELIVERY_RETRY;
	tell_answer(&delivery->config->as.webhook, answer, outcome);
}

static const struct manner webhook_manner = { .send = webhook_send, .judge = webhook_judge };

static struct delivery *webhook_start(const struct sender_world *world, const struct sender_config *config,
				      const struct message *message, int64_t now_unix_us, delivery_done_fn *done,
				      void *arg)
{
	struct delivery *delivery = delivery_new(world, config, message, now_unix_us, done, arg);
	AUTO(string) char *host = NULL;
	struct error err = { 0 };
	uint16_t port;
	bool https;

	if (http_url_split(config->as.webhook.url, &https, &host, &port, &err))
		delivery_start(delivery, &webhook_manner, host, port);
	else
		delivery_end_later(delivery, DELIVERY_REFUSED, "the url is not one");
	return delivery;
}

const struct sender sender_webhook = {
	.kind = SENDER_WEBHOOK,
	.name = "webhook",
	.start = webhook_start,
	.cancel = delivery_cancel,
};
