/* SPDX-License-Identifier: MIT */
/*
 * address - an IP address and port as a plain value, and "host:port" as people write it.
 */
#ifndef PORTBELL_BASE_ADDRESS_H
#define PORTBELL_BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/error.h"

enum { ADDRESS_TEXT_BYTES = 64 }; /* "[ffff:...%fifteen-letters]:65535" just fits */

struct address {
	uint8_t bytes[16];  /* network order; IPv4 in the first 4 */
	uint32_t scope;     /* IPv6 zone, 0 = none */
	uint16_t port;      /* host order */
	uint8_t family;     /* 4 or 6; 0 = no address */
};

/* "host:port", "192.0.2.1:443", "[2001:db8::1]:443". host (caller frees) is without brackets. port 1..65535. */
bool address_split(const char *text, char **host, uint16_t *port, struct error *err);
/*
 * An IP literal without brackets, with a zone (RFC 4007: fe80::1%eth0, fe80::1%2) or none; false for a name, and
 * for a zone that is no interface of this machine. It is kept as a number: an interface that is made anew gets
 * another.
 */
bool address_from_literal(const char *host, uint16_t port, struct address *address);
/* Strict form of a host name (RFC 1123 plus underscore; at most 253 octets, labels at most 63). */
bool address_host_is_valid(const char *host);
bool address_from_sockaddr(const struct sockaddr *sockaddr, struct address *address);
socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *sockaddr);
/* "192.0.2.1:443", "[fe80::1%eth0]:443"; without the port "fe80::1%eth0". "" if there is none. */
void address_print(const struct address *address, char out[ADDRESS_TEXT_BYTES]);
void address_print_ip(const struct address *address, char out[ADDRESS_TEXT_BYTES]);
bool address_equal(const struct address *a, const struct address *b);
bool address_is_loopback(const struct address *address);
/* Of the internet: not private, shared, unique local, loopback, link-local, multicast or otherwise set apart
 * (RFC 6890), also where IPv6 stands for IPv4. */
bool address_is_public(const struct address *address);
bool address_is_link_local(const struct address *address); /* 169.254/16, fe80::/10, the metadata addresses, mapped forms */

#endif
