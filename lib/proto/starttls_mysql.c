/* SPDX-License-Identifier: MIT */
/*
 * mysql (manual of the client/server protocol, "Connection Phase": Protocol::HandshakeV10, SSLRequest,
 * ERR_Packet), also MariaDB. The server greets, we answer with the flags that we want TLS, and TLS begins without
 * another word. The greeting may be an error: too many connections, a host that is not allowed, or is blocked.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

enum {
	HEADER_BYTES = 4, /* length, 3 bytes, and a sequence number */
	PACKET_BYTES_MAX = 4096,
	CONNECTION_BYTES = 13 /* after the version's NUL: connection id, the first half of a challenge, a filler */
};

enum {
	CLIENT_LONG_PASSWORD = 0x1, /* without it MariaDB takes the filler below for flags of its own */
	CLIENT_PROTOCOL_41 = 0x200,
	CLIENT_SSL = 0x800,
	CLIENT_SECURE_CONNECTION = 0x8000,
	CLIENT_PLUGIN_AUTH = 0x80000,
	CHARSET_UTF8MB4 = 45
};

/* Flags, the largest packet, the charset, and 23 bytes of nothing; the packet after the greeting. */
static void say_request(struct starttls_talk *starttls)
{
	static const uint32_t flags = CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SSL |
				      CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH;
	const uint8_t request[HEADER_BYTES + 32] = {
		32,
		0,
		0,
		1,
		flags & 0xff,
		flags >> 8 & 0xff,
		flags >> 16 & 0xff,
		flags >> 24,
		0,
		0,
		0,
		1, /* 16 MiB */
		CHARSET_UTF8MB4,
	};

	starttls_say_bytes(starttls, "SSLRequest", request, sizeof(request));
}

/* "ff", the number, and the words, before which there may be "#" and an SQL state. */
static void on_error(struct starttls_talk *starttls, const uint8_t *payload, size_t bytes)
{
	AUTO(str) struct str words = { 0 };

	if (bytes < 3) {
		starttls_broken(starttls, "an error that is cut short");
		return;
	}
	str_addf(&words, "%u ", payload[1] | (unsigned int)payload[2] << 8);
	payload += 3;
	bytes -= 3;
	if (bytes >= 6 && payload[0] == '#') {
		payload += 6;
		bytes -= 6;
	}
	str_add_bytes(&words, payload, bytes);
	starttls_note_words(starttls, words.data, words.bytes);
	starttls_refused(starttls, NULL);
}

static void on_greeting(struct starttls_talk *starttls, const uint8_t *payload, size_t bytes)
{
	const uint8_t *version = payload + 1;
	const uint8_t *nul = memchr(version, '\0', bytes - 1);
	const uint8_t *flags = nul != NULL ? nul + 1 + CONNECTION_BYTES : NULL;

	starttls_note_words(starttls, version, nul != NULL ? (size_t)(nul - version) : bytes - 1);
	if (nul == NULL || payload + bytes < flags + 2) {
		starttls_broken(starttls, "a greeting that is cut short");
	} else if (((flags[0] | flags[1] << 8) & CLIENT_SSL) == 0) {
		starttls_not_offered(starttls, "no SSL among the flags of");
	} else {
		say_request(starttls);
		if (starttls->next == STARTTLS_GO_ON)
			starttls->next = STARTTLS_GO_AHEAD;
	}
}

size_t starttls_mysql_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	size_t length;

	if (bytes < HEADER_BYTES + 1)
		return HEADER_BYTES + 1;
	length = packet[0] | (size_t)packet[1] << 8 | (size_t)packet[2] << 16;
	starttls_note_words(starttls, packet, bytes);
	if (length == 0 || length > PACKET_BYTES_MAX || packet[3] != 0 ||
	    (packet[HEADER_BYTES] != 10 && packet[HEADER_BYTES] != 0xff))
		starttls_strange(starttls);
	else if (bytes < HEADER_BYTES + length)
		return HEADER_BYTES + length;
	else if (packet[HEADER_BYTES] == 10)
		on_greeting(starttls, packet + HEADER_BYTES, length);
	else
		on_error(starttls, packet + HEADER_BYTES, length);
	return 0;
}
