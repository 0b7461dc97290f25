/* SPDX-License-Identifier: MIT */
/* Any bytes as the body of a message from the database; what is taken for one must render, twice the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/notify/alerts.h"
#include "daemon/notify/message.h"
#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef char *render_fn(const struct message *message);

static char *text(const struct message *message)
{
	return message_text(message, message->created_unix_us);
}

static char *html(const struct message *message)
{
	return message_html(message, INT64_C(1) << 40);
}

static void render_twice(const struct message *message, render_fn *render)
{
	AUTO(string) char *first = render(message);
	AUTO(string) char *second = render(message);

	assert(strcmp(first, second) == 0);
	assert(strpbrk(first, "\r\x1b\x7f") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	AUTO(string) char *body = mem_strndup((const char *)data, bytes);
	struct error err = { 0 };
	struct message *message = message_parse(body, &err);

	if (message == NULL) {
		assert(err.text[0] != '\0');
		return 0;
	}
	render_twice(message, message_title);
	render_twice(message, text);
	render_twice(message, html);
	render_twice(message, alerts_body);
	message_free(message);
	return 0;
}
