/* SPDX-License-Identifier: MIT */
/*
 * The first byte says what we want of the dialogue, the rest is what the server says, a line at a time. Whatever
 * that is, we keep our form and our secrets, and it makes no difference in what pieces it comes. It is the mail's
 * data, too.
 */
#include "lib/proto/smtp.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const secrets[] = { "hunter2", "AHVzZXIAaHVudGVyMg==", "aHVudGVyMg==" };

static void require(bool held)
{
	if (!held)
		abort();
}

struct run {
	struct smtp *smtp;
	enum smtp_next next;
	struct str said; /* "[TLS]" where it was made */
};

static void run_start(struct run *run, uint8_t wish, const void *data, size_t bytes)
{
	static const char *const to[] = { "a@example.com", "b@example.com", "c@example.com", "d@example.com" };
	const struct smtp_mail mail = {
		.starttls = (enum smtp_starttls)(wish % 3), .ehlo = "mon.test",
		.username = wish & 0x10 ? "user" : NULL, .password = "hunter2",
		.from = wish & 0x20 ? "j\xc3\xb6rg@example.com" : "me@example.com",
		.to = to, .to_count = (wish >> 6) + 1u, .data = data, .data_bytes = bytes,
	};
	struct error err;

	*run = (struct run){ .smtp = smtp_new(&mail, &err), .next = SMTP_GO_ON };
	require(run->smtp != NULL);
}

static void run_end(struct run *run)
{
	smtp_free(run->smtp);
	str_done(&run->said);
}

static void hear(struct run *run, const uint8_t *data, size_t bytes, bool singly)
{
	for (size_t i = 0; singly && i < bytes; i++)
		run->next = smtp_input(run->smtp, data + i, 1);
	if (!singly)
		run->next = smtp_input(run->smtp, data, bytes);
	if (run->next == SMTP_START_TLS) {
		str_add(&run->said, "[TLS]\r\n");
		run->next = smtp_tls_started(run->smtp);
	}
}

static void speak(struct run *run)
{
	const char *data;
	size_t bytes;

	data = smtp_output(run->smtp, &bytes);
	str_add_bytes(&run->said, data, bytes);
	smtp_output_sent(run->smtp, bytes);
}

/* No bare CR or LF, and the sequence that ends a mail only at the end of one. */
static void check_form(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		require(text[i] != '\r' || (i + 1 < bytes && text[i + 1] == '\n'));
		require(text[i] != '\n' || (i > 0 && text[i - 1] == '\r'));
	}
	require(bytes == 0 || text[bytes - 1] == '\n');
}

static void check_outcome(const struct run *run, uint8_t wish)
{
	struct smtp_outcome outcome = smtp_outcome(run->smtp);
	const char *said = run->said.data != NULL ? run->said.data : "";
	const char *tls = strstr(said, "[TLS]");
	const char *auth = strstr(said, "AUTH ");
	/* An escape ends in a letter, which may complete what only looks like a secret. */
	bool secrets_known = (wish & 0x10) && strchr(outcome.text, '\\') == NULL;

	for (const char *c = outcome.text; *c != '\0'; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f);
	for (size_t i = 0; secrets_known && i < sizeof(secrets) / sizeof(secrets[0]); i++)
		require(strstr(outcome.text, secrets[i]) == NULL);
	require(run->next != SMTP_DONE || outcome.status == 250);
	require(run->next != SMTP_REFUSED || (outcome.status >= 400 && outcome.status <= 599));
	require((run->next == SMTP_GO_ON) == (outcome.text[0] == '\0'));
	require(!outcome.partly || run->next == SMTP_DONE);
	if (wish % 3 == SMTP_STARTTLS_REQUIRED) {
		require(auth == NULL || (tls != NULL && tls < auth));
		require(tls != NULL || strstr(said, "MAIL FROM") == NULL);
	}
}

static void check_dialogue(uint8_t wish, const uint8_t *data, size_t bytes)
{
	const uint8_t *end = data + bytes;
	struct run whole;
	struct run singly;

	run_start(&whole, wish, data, bytes);
	run_start(&singly, wish, data, bytes);
	while (data < end) {
		const uint8_t *line_end = memchr(data, '\n', (size_t)(end - data));
		size_t line = line_end != NULL ? (size_t)(line_end + 1 - data) : (size_t)(end - data);

		hear(&whole, data, line, false);
		hear(&singly, data, line, true);
		require(whole.next == singly.next);
		/* NUL is out of step: the next line comes in one breath with this one. */
		if (memchr(data, '\0', line) == NULL) {
			speak(&whole);
			speak(&singly);
		}
		data += line;
	}
	require(whole.said.bytes == singly.said.bytes);
	require(whole.said.bytes == 0 || memcmp(whole.said.data, singly.said.data, whole.said.bytes) == 0);
	require(strcmp(smtp_outcome(whole.smtp).text, smtp_outcome(singly.smtp).text) == 0);
	require(smtp_in_doubt(whole.smtp) == smtp_in_doubt(singly.smtp));
	check_form(whole.said.data, whole.said.bytes);
	check_outcome(&whole, wish);
	run_end(&whole);
	run_end(&singly);
}

static void check_stuffed(const uint8_t *data, size_t bytes)
{
	AUTO(str) struct str out = { 0 };
	const char *end;

	smtp_add_stuffed(&out, data, bytes);
	check_form(out.data, out.bytes);
	require(out.bytes == 3 || memcmp(out.data + out.bytes - 5, "\r\n.\r\n", 5) == 0);
	end = memmem(out.data, out.bytes, "\r\n.\r\n", 5);
	require(end == NULL || end == out.data + out.bytes - 5);
	require(out.bytes == 3 || memcmp(out.data, ".\r\n", 3) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	check_stuffed(data, bytes);
	if (bytes > 0)
		check_dialogue(data[0], data + 1, bytes - 1);
	return 0;
}
