/* SPDX-License-Identifier: MIT */
/* The input is cut at its NULs into the parts of a message; whatever they are, the message keeps its form. */
#include "lib/proto/mime.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool held)
{
	if (!held)
		abort();
}

/* CRLF only, no control character, a CRLF at the end. */
static void check_form(const struct str *out)
{
	size_t line = 0; /* bytes of the one that is not ended */

	for (size_t i = 0; i < out->bytes; i++) {
		unsigned char c = (unsigned char)out->data[i];

		if (c == '\n') {
			require(i > 0 && out->data[i - 1] == '\r');
			line = 0;
			continue;
		}
		require(c == '\r' ? out->data[i + 1] == '\n' : c == '\t' || (c >= ' ' && c != 0x7f));
		line++;
	}
	require(line == 0);
}

static size_t count_headers(const char *text)
{
	size_t count = 0;

	while (strncmp(text, "\r\n", 2) != 0) {
		count += *text != ' ' && *text != '\t';
		text = strstr(text, "\r\n");
		require(text != NULL);
		text += 2;
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	AUTO(string) char *input = mem_alloc(bytes + 1);
	const char *parts[8];
	const char *at = input;
	const char *end = input + bytes;
	struct mime_message message = {
		.date_unix_s = 1795455509, .to_count = 2, .reference_count = 2, .header_count = 1,
	};
	struct mime_header header = { .name = "X-Fuzz" };
	AUTO(str) struct str out = { 0 };
	AUTO(string) char *bare = NULL;
	AUTO(string) char *name = NULL;

	if (bytes > 0)
		memcpy(input, data, bytes);
	for (size_t i = 0; i < 8; i++) {
		parts[i] = at;
		at += at < end ? strlen(at) : 0;
		at += at < end ? 1 : 0;
	}
	message.id = parts[0];
	message.from = parts[1];
	message.to = &parts[1];
	message.subject = parts[3];
	message.references = &parts[4];
	header.value = parts[6];
	message.headers = &header;
	message.text = parts[6];
	message.html = parts[7];
	mime_add_message(&out, &message);
	check_form(&out);
	require(count_headers(out.data) == 10);
	bare = mime_bare_address(parts[1]);
	name = mime_display_name(parts[1]);
	require(bare == NULL || strpbrk(bare, " <>\r\n") == NULL);
	return 0;
}
