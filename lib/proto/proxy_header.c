/* SPDX-License-Identifier: MIT */
#include "lib/proto/proxy_header.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* proxy-protocol.txt 2.2: version and command in one byte, family and transport in the next. */
enum { V2_LOCAL = 0x20, V2_PROXY = 0x21, V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };
enum { V2_HEAD_BYTES = 16 };

static bool is_pair(const struct address *source, const struct address *destination)
{
	return source != NULL && destination != NULL && source->family != 0 &&
	       source->family == destination->family;
}

static void print_bare(const struct address *address, char out[ADDRESS_TEXT_BYTES])
{
	struct address bare = *address;

	bare.scope = 0;
	address_print_ip(&bare, out);
}

static size_t build_v1(const struct address *source, const struct address *destination, uint8_t *out)
{
	char text[PROXY_HEADER_BYTES_MAX + 1] = "PROXY UNKNOWN\r\n";
	char from[ADDRESS_TEXT_BYTES];
	char to[ADDRESS_TEXT_BYTES];
	size_t bytes;

	if (is_pair(source, destination)) {
		print_bare(source, from);
		print_bare(destination, to);
		snprintf(text, sizeof(text), "PROXY TCP%d %.39s %.39s %u %u\r\n", source->family, from, to,
			 (unsigned int)source->port, (unsigned int)destination->port);
	}
	bytes = strlen(text);
	assert(text[bytes - 1] == '\n');
	memcpy(out, text, bytes);
	return bytes;
}

static uint8_t *put(uint8_t *at, const void *data, size_t bytes)
{
	memcpy(at, data, bytes);
	return at + bytes;
}

static uint8_t *put_port(uint8_t *at, uint16_t port)
{
	*at++ = (uint8_t)(port >> 8);
	*at++ = (uint8_t)port;
	return at;
}

/* Without a pair of addresses it is LOCAL. */
static size_t build_v2(const struct address *source, const struct address *destination, uint8_t *out)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
	bool pair = is_pair(source, destination);
	size_t address_bytes = pair && source->family == 4 ? 4 : 16;
	uint8_t *at = put(out, signature, sizeof(signature));

	*at++ = pair ? V2_PROXY : V2_LOCAL;
	*at++ = !pair ? V2_UNSPEC : source->family == 4 ? V2_TCP4 : V2_TCP6;
	at = put_port(at, pair ? (uint16_t)(2 * (address_bytes + 2)) : 0); /* the length of what follows */
	assert(at == out + V2_HEAD_BYTES);
	if (!pair)
		return V2_HEAD_BYTES;
	at = put(at, source->bytes, address_bytes);
	at = put(at, destination->bytes, address_bytes);
	at = put_port(at, source->port);
	at = put_port(at, destination->port);
	return (size_t)(at - out);
}

size_t proxy_header_build(const struct proxy_header *header, const struct address *source,
			  const struct address *destination, uint8_t *out)
{
	bool written = is_pair(&header->source, &header->destination);

	switch (header->version) {
	case PROXY_HEADER_NONE: return 0;
	case PROXY_HEADER_V1:
		return written ? build_v1(&header->source, &header->destination, out) :
				 build_v1(source, destination, out);
	case PROXY_HEADER_V2: return build_v2(&header->source, &header->destination, out);
	}
	return 0;
}
