/* SPDX-License-Identifier: MIT */
#include "lib/base/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

static bool port_parse(const char *text, uint16_t *port)
{
	unsigned int value = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	for (; *text != '\0'; text++)
		value = value * 10 + (unsigned int)(*text - '0');
	if (value == 0 || value > 65535)
		return false;
	*port = (uint16_t)value;
	return true;
}

/* fe80::1%eht0: right but for the zone. */
static bool zone_is_unknown(const char *literal)
{
	const char *zone = strchr(literal, '%');
	AUTO(string) char *bare = zone != NULL ? mem_strndup(literal, (size_t)(zone - literal)) : NULL;
	struct address address;

	return bare != NULL && zone[1] != '\0' && address_from_literal(bare, 0, &address) &&
	       !address_from_literal(literal, 0, &address);
}

static bool split_bracketed(const char *text, char **host, uint16_t *port, struct error *err)
{
	const char *end = strchr(text, ']');
	AUTO(string) char *inside = NULL;
	struct address address;

	if (end == NULL || end[1] != ':')
		return error_set(err, "an IPv6 address is written [2001:db8::1]:443");
	inside = mem_strndup(text + 1, (size_t)(end - text - 1));
	if (strchr(inside, ':') != NULL && zone_is_unknown(inside))
		return error_set(err, "this machine has no interface of the name that stands after \"%%\"");
	if (strchr(inside, ':') == NULL || !address_from_literal(inside, 0, &address))
		return error_set(err, "what stands in [...] is no IPv6 address");
	if (!port_parse(end + 2, port))
		return error_set(err, "the port must be a number from 1 to 65535");
	*host = TAKE(inside);
	return true;
}

bool address_split(const char *text, char **host, uint16_t *port, struct error *err)
{
	const char *colon = strrchr(text, ':');
	AUTO(string) char *name = NULL;
	struct address address;

	if (strstr(text, "://") != NULL)
		return error_set(err, "a URL: write host:port, like www.example.com:443");
	if (text[0] == '[')
		return split_bracketed(text, host, port, err);
	if (colon == NULL)
		return error_set(err, "a port is missing: host:port");
	if (strchr(text, ':') != colon)
		return error_set(err, "an IPv6 address is written [2001:db8::1]:443");
	if (colon == text)
		return error_set(err, "a host is missing: host:port");
	name = mem_strndup(text, (size_t)(colon - text));
	if (!address_from_literal(name, 0, &address) && !address_host_is_valid(name))
		return error_set(err, "the host is neither a name nor an IP address%s",
				 colon[-1] == '.' ? " (no dot at its end)" : "");
	if (!port_parse(colon + 1, port))
		return error_set(err, "the port must be a number from 1 to 65535");
	*host = TAKE(name);
	return true;
}

/* "eth0" or "2"; 0 if there is no such interface. */
static uint32_t scope_parse(const char *zone)
{
	uint64_t number = 0;

	if (zone[0] == '\0' || strlen(zone) > 15)
		return 0;
	if (zone[strspn(zone, "0123456789")] != '\0')
		return if_nametoindex(zone);
	for (; *zone != '\0'; zone++)
		number = number * 10 + (uint64_t)(*zone - '0');
	return number <= UINT32_MAX ? (uint32_t)number : 0;
}

bool address_from_literal(const char *host, uint16_t port, struct address *address)
{
	char bare[INET6_ADDRSTRLEN];
	size_t bytes = strcspn(host, "%");

	*address = (struct address){ .port = port };
	if (inet_pton(AF_INET, host, address->bytes) == 1) {
		address->family = 4;
		return true;
	}
	if (bytes >= sizeof(bare))
		return false;
	memcpy(bare, host, bytes);
	bare[bytes] = '\0';
	if (inet_pton(AF_INET6, bare, address->bytes) != 1)
		return false;
	if (host[bytes] == '%') {
		address->scope = scope_parse(host + bytes + 1);
		if (address->scope == 0)
			return false;
	}
	address->family = 6;
	return true;
}

static bool label_is_valid(const char *label, size_t bytes)
{
	if (bytes == 0 || bytes > 63 || label[0] == '-' || label[bytes - 1] == '-')
		return false;
	for (size_t i = 0; i < bytes; i++) {
		char c = label[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
	}
	return true;
}

bool address_host_is_valid(const char *host)
{
	const char *label = host;
	size_t bytes;

	if (strnlen(host, 254) > 253)
		return false;
	for (;;) {
		bytes = strcspn(label, ".");
		if (!label_is_valid(label, bytes))
			return false;
		if (label[bytes] == '\0')
			break;
		label += bytes + 1;
	}
	/* A name whose last label is a number is an IPv4 address gone wrong: 192.0.2.300, 127.1 (RFC 1123, 2.1). */
	return strspn(label, "0123456789") != bytes;
}

bool address_from_sockaddr(const struct sockaddr *sockaddr, struct address *address)
{
	*address = (struct address){ 0 };
	if (sockaddr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sockaddr;

		memcpy(address->bytes, &in->sin_addr, 4);
		address->port = ntohs(in->sin_port);
		address->family = 4;
	} else if (sockaddr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sockaddr;

		memcpy(address->bytes, &in6->sin6_addr, 16);
		address->port = ntohs(in6->sin6_port);
		address->scope = in6->sin6_scope_id;
		address->family = 6;
	}
	return address->family != 0;
}

socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *sockaddr)
{
	memset(sockaddr, 0, sizeof(*sockaddr));
	if (address->family == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)sockaddr;

		in->sin_family = AF_INET;
		in->sin_port = htons(address->port);
		memcpy(&in->sin_addr, address->bytes, 4);
		return sizeof(*in);
	}
	if (address->family == 6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sockaddr;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(address->port);
		in6->sin6_scope_id = address->scope;
		memcpy(&in6->sin6_addr, address->bytes, 16);
		return sizeof(*in6);
	}
	return 0;
}

/* The interface's name, which says more than its number; "" if it has none that reads back as the same. */
static void scope_print(uint32_t scope, char out[IF_NAMESIZE])
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@";

	if (if_indextoname(scope, out) == NULL || out[strspn(out, "0123456789")] == '\0' ||
	    out[strspn(out, safe)] != '\0')
		out[0] = '\0';
}

void address_print_ip(const struct address *address, char out[ADDRESS_TEXT_BYTES])
{
	char zone[IF_NAMESIZE];
	size_t used;

	out[0] = '\0';
	if (address->family == 0)
		return;
	inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, out, ADDRESS_TEXT_BYTES);
	used = strlen(out);
	if (address->scope == 0)
		return;
	scope_print(address->scope, zone);
	if (zone[0] != '\0')
		snprintf(out + used, ADDRESS_TEXT_BYTES - used, "%%%s", zone);
	else
		snprintf(out + used, ADDRESS_TEXT_BYTES - used, "%%%u", address->scope);
}

void address_print(const struct address *address, char out[ADDRESS_TEXT_BYTES])
{
	struct str text = { 0 };
	char ip[ADDRESS_TEXT_BYTES];

	out[0] = '\0';
	if (address->family == 0)
		return;
	address_print_ip(address, ip);
	str_addf(&text, address->family == 6 ? "[%s]:%u" : "%s:%u", ip, address->port);
	snprintf(out, ADDRESS_TEXT_BYTES, "%s", text.data);
	str_done(&text);
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && a->port == b->port && a->scope == b->scope &&
	       memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

/* The IPv4 address that is meant: itself, mapped (::ffff:0:0/96) or translated (64:ff9b::/96); NULL if none. */
static const uint8_t *ipv4_of(const struct address *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t translated[12] = { 0x00, 0x64, 0xff, 0x9b };

	if (address->family == 4)
		return address->bytes;
	if (address->family == 6 && (memcmp(address->bytes, mapped, sizeof(mapped)) == 0 ||
				     memcmp(address->bytes, translated, sizeof(translated)) == 0))
		return address->bytes + 12;
	return NULL;
}

bool address_is_loopback(const struct address *address)
{
	static const uint8_t loopback[16] = { [15] = 1 };
	const uint8_t *ipv4 = ipv4_of(address);

	if (ipv4 != NULL)
		return ipv4[0] == 127;
	return address->family == 6 && memcmp(address->bytes, loopback, sizeof(loopback)) == 0;
}

bool address_is_link_local(const struct address *address)
{
	/* Where clouds answer for metadata beside 169.254.169.254. */
	static const uint8_t metadata_ipv4[][4] = { { 100, 100, 100, 200 }, { 168, 63, 129, 16 }, { 192, 0, 0, 192 } };
	static const uint8_t metadata_ipv6[][16] = {
		{ 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 },
		{ 0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54 },
	};
	const uint8_t *ipv4 = ipv4_of(address);

	if (ipv4 != NULL) {
		for (size_t i = 0; i < sizeof(metadata_ipv4) / sizeof(metadata_ipv4[0]); i++)
			if (memcmp(ipv4, metadata_ipv4[i], 4) == 0)
				return true;
		return ipv4[0] == 169 && ipv4[1] == 254;
	}
	if (address->family != 6)
		return false;
	for (size_t i = 0; i < sizeof(metadata_ipv6) / sizeof(metadata_ipv6[0]); i++)
		if (memcmp(address->bytes, metadata_ipv6[i], 16) == 0)
			return true;
	return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
}

struct net {
	uint8_t bytes[16];
	int bits;
};

static bool is_in(const uint8_t *bytes, const struct net *nets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct net *net = &nets[i];
		const size_t whole = (size_t)net->bits / 8;
		const int rest = net->bits % 8;

		if (memcmp(bytes, net->bytes, whole) == 0 &&
		    (rest == 0 || (bytes[whole] ^ net->bytes[whole]) >> (8 - rest) == 0))
			return true;
	}
	return false;
}

bool address_is_public(const struct address *address)
{
	static const struct net apart_ipv4[] = {
		{ { 0 }, 8 }, { { 10 }, 8 }, { { 100, 64 }, 10 }, { { 127 }, 8 }, { { 169, 254 }, 16 },
		{ { 172, 16 }, 12 }, { { 192, 0, 0 }, 24 }, { { 192, 168 }, 16 }, { { 198, 18 }, 15 },
		{ { 224 }, 3 },
	};
	static const struct net apart_ipv6[] = {
		{ { 0 }, 96 }, /* ::, ::1 and addresses that once stood for IPv4 */
		{ { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48 }, { { 0x01 }, 8 }, { { 0xfc }, 7 }, { { 0xfe }, 7 },
		{ { 0xff }, 8 },
	};
	static const struct net six_to_four = { { 0x20, 0x02 }, 16 };
	const uint8_t *ipv4 = ipv4_of(address);

	if (address->family == 0 || address_is_link_local(address))
		return false;
	if (ipv4 == NULL && is_in(address->bytes, &six_to_four, 1))
		ipv4 = address->bytes + 2;
	if (ipv4 != NULL)
		return !is_in(ipv4, apart_ipv4, sizeof(apart_ipv4) / sizeof(apart_ipv4[0]));
	return !is_in(address->bytes, apart_ipv6, sizeof(apart_ipv6) / sizeof(apart_ipv6[0]));
}
