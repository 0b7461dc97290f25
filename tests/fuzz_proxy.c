/* SPDX-License-Identifier: MIT */
/*
 * The first byte says what we ask of which proxy, the rest is what that says: a byte that tells how many come at a
 * time, then these. Whatever it is, our secrets are in no text, nothing is taken that is the target's, and it
 * makes no difference in what pieces it comes.
 */
#include "lib/proto/proxy.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { HEAD_BYTES_MAX = 16 << 10 };

static const char *const secrets[] = { "hunter2", "dXNlcjpodW50ZXIy" };

static void require(bool held)
{
	if (!held)
		abort();
}

struct run {
	struct proxy *proxy;
	enum proxy_next next;
	struct str said;
	size_t used; /* in all */
	bool has_login; /* else what looks like our secrets is none */
};

static void run_start(struct run *run, uint8_t wish_byte)
{
	static const struct address resolved = { .bytes = { 192, 0, 2, 1 }, .family = 4 };
	const struct proxy_wish wish = {
		.kind = wish_byte & 1 ? PROXY_KIND_HTTP : wish_byte & 8 ? PROXY_KIND_SOCKS5 : PROXY_KIND_SOCKS5H,
		.username = wish_byte & 2 ? "user" : NULL, .password = wish_byte & 4 ? "hunter2" : NULL,
		.host = "shop.example.com", .address = wish_byte & 8 ? &resolved : NULL, .port = 443,
	};
	struct error err;

	*run = (struct run){ .proxy = proxy_new(&wish, &err), .next = PROXY_GO_ON };
	run->has_login = wish.username != NULL && wish.password != NULL;
	require(run->proxy != NULL);
}

static void run_end(struct run *run)
{
	proxy_free(run->proxy);
	str_done(&run->said);
}

static void speak(struct run *run)
{
	const char *data;
	size_t bytes;

	data = proxy_output(run->proxy, &bytes);
	str_add_bytes(&run->said, data, bytes);
	proxy_output_sent(run->proxy, bytes);
}

static void hear(struct run *run, const uint8_t *data, size_t bytes)
{
	size_t used;

	run->next = proxy_input(run->proxy, data, bytes, &used);
	require(used <= bytes);
	require(run->next != PROXY_GO_ON || used == bytes);
	run->used += used;
}

static void check_end(const struct run *run)
{
	const char *text;
	enum reason reason = proxy_failure(run->proxy, &text);
	/* An escape ends in a letter, which may complete what only looks like a secret. */
	bool secrets_known = run->has_login && strchr(text, '\\') == NULL;

	require((run->next == PROXY_BROKEN) == (text[0] != '\0'));
	require((run->next == PROXY_BROKEN) == (reason == REASON_PROXY_REFUSED || reason == REASON_PROXY_FAILED));
	for (const char *c = text; *c != '\0'; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f);
	for (size_t i = 0; secrets_known && i < sizeof(secrets) / sizeof(secrets[0]); i++)
		require(strstr(text, secrets[i]) == NULL);
	require(strlen(text) < 4096);
	require(run->used <= HEAD_BYTES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const uint8_t *end = data + bytes;
	struct run whole;
	struct run singly;
	const char *text;
	const char *other;

	if (bytes == 0)
		return 0;
	run_start(&whole, data[0]);
	run_start(&singly, data[0]);
	/* 0x80: the proxy does not wait for us. */
	for (bool waits = !(*data++ & 0x80); data < end;) {
		size_t piece = (size_t)*data++ + 1;

		piece = piece < (size_t)(end - data) ? piece : (size_t)(end - data);
		if (waits) {
			speak(&whole);
			speak(&singly);
		}
		hear(&whole, data, piece);
		for (size_t i = 0; i < piece; i++)
			hear(&singly, data + i, 1);
		require(whole.next == singly.next);
		require(whole.next == PROXY_BROKEN || whole.used == singly.used);
		data += piece;
	}
	proxy_closed(whole.proxy);
	whole.next = proxy_closed(whole.proxy);
	singly.next = proxy_closed(singly.proxy);
	require(whole.next == singly.next && whole.next != PROXY_GO_ON);
	require(whole.said.bytes == singly.said.bytes);
	require(whole.said.bytes == 0 || memcmp(whole.said.data, singly.said.data, whole.said.bytes) == 0);
	require(proxy_failure(whole.proxy, &text) == proxy_failure(singly.proxy, &other));
	require(strcmp(text, other) == 0);
	check_end(&whole);
	run_end(&whole);
	run_end(&singly);
	return 0;
}
