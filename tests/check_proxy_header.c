/* SPDX-License-Identifier: MIT */
/* What is sent, byte by byte, against the examples and the layout of HAProxy's proxy-protocol.txt. */
#include "lib/proto/proxy_header.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define BYTES(text) text, sizeof(text) - 1
#define SIGNATURE "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
#define ONES "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
#define ONES_BYTES "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

static const struct {
	const char *name;
	enum proxy_header_version version;
	const char *written[2]; /* source and destination; NULL: none */
	const char *own[2];     /* the connection's */
	const char *header;
	size_t bytes;
} rows[] = {
	{ "no header", PROXY_HEADER_NONE, { NULL }, { "192.0.2.1:1", "192.0.2.2:2" }, BYTES("") },
	{ "v1 says the connection's own addresses", PROXY_HEADER_V1, { NULL },
	  { "192.168.0.1:56324", "192.168.0.11:443" },
	  BYTES("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n") },
	{ "v1 of IPv6", PROXY_HEADER_V1, { NULL }, { "[2001:db8::1]:1", "[::1]:65535" },
	  BYTES("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n") },
	{ "v1 without the zone", PROXY_HEADER_V1, { NULL }, { "[fe80::1%1]:1", "[fe80::2%1]:2" },
	  BYTES("PROXY TCP6 fe80::1 fe80::2 1 2\r\n") },
	{ "v1 as long as may be", PROXY_HEADER_V1, { NULL }, { "[" ONES "]:65535", "[" ONES "]:65535" },
	  BYTES("PROXY TCP6 " ONES " " ONES " 65535 65535\r\n") },
	{ "v1 says the written addresses", PROXY_HEADER_V1, { "192.0.2.9:1", "192.0.2.1:443" },
	  { "[2001:db8::1]:1", "[::1]:2" }, BYTES("PROXY TCP4 192.0.2.9 192.0.2.1 1 443\r\n") },
	{ "v1 through a proxy", PROXY_HEADER_V1, { NULL }, { NULL }, BYTES("PROXY UNKNOWN\r\n") },
	{ "v1, half known", PROXY_HEADER_V1, { NULL }, { "192.0.2.1:1" }, BYTES("PROXY UNKNOWN\r\n") },
	{ "v1 of two families", PROXY_HEADER_V1, { NULL }, { "192.0.2.1:1", "[::1]:2" },
	  BYTES("PROXY UNKNOWN\r\n") },
	{ "v2 is LOCAL, whatever the connection", PROXY_HEADER_V2, { NULL }, { "192.0.2.1:1", "192.0.2.2:2" },
	  BYTES(SIGNATURE "\x20\x00\x00\x00") },
	{ "v2 is LOCAL through a proxy, too", PROXY_HEADER_V2, { NULL }, { NULL },
	  BYTES(SIGNATURE "\x20\x00\x00\x00") },
	{ "v2 says the written addresses", PROXY_HEADER_V2, { "192.0.2.9:1", "198.51.100.1:443" }, { NULL },
	  BYTES(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x09\xc6\x33\x64\x01\x00\x01\x01\xbb") },
	{ "v2 of IPv6", PROXY_HEADER_V2, { "[2001:db8::9]:65535", "[" ONES "]:256" }, { NULL },
	  BYTES(SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"
			  ONES_BYTES "\xff\xff\x01\x00") },
};

/* The address of "host:port"; NULL of NULL. */
static const struct address *address_of(const char *text, struct address *address)
{
	AUTO(string) char *host = NULL;
	struct error err;
	uint16_t port;

	*address = (struct address){ 0 };
	if (text == NULL)
		return NULL;
	ck_assert(address_split(text, &host, &port, &err));
	ck_assert(address_from_literal(host, port, address));
	return address;
}

START_TEST(header_is_built)
{
	struct proxy_header header = { .version = rows[_i].version };
	uint8_t out[PROXY_HEADER_BYTES_MAX + 8];
	struct address own[2];
	const struct address *source = address_of(rows[_i].own[0], &own[0]);
	const struct address *destination = address_of(rows[_i].own[1], &own[1]);
	size_t bytes;

	address_of(rows[_i].written[0], &header.source);
	address_of(rows[_i].written[1], &header.destination);
	memset(out, 0xa5, sizeof(out));
	bytes = proxy_header_build(&header, source, destination, out);
	ck_assert_msg(bytes == rows[_i].bytes && memcmp(out, rows[_i].header, bytes) == 0, "%s: %zu bytes: %.*s",
		      rows[_i].name, bytes, (int)bytes, (const char *)out);
	for (size_t i = bytes; i < sizeof(out); i++)
		ck_assert_uint_eq(out[i], 0xa5);
}
END_TEST

/* A header that does not fit would be a receiver's trouble, and ours. */
START_TEST(nothing_is_longer_than_it_says)
{
	size_t longest = 0;

	for (int i = 0; i < ROWS(rows); i++)
		longest = rows[i].bytes > longest ? rows[i].bytes : longest;
	ck_assert_uint_le(longest, PROXY_HEADER_BYTES_MAX);
	ck_assert_uint_eq(longest, strlen("PROXY TCP6 " ONES " " ONES " 65535 65535\r\n"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proxy_header");
	TCase *tcase = tcase_create("proxy_header");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, header_is_built, 0, ROWS(rows));
	tcase_add_test(tcase, nothing_is_longer_than_it_says);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
