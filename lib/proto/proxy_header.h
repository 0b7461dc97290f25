/* SPDX-License-Identifier: MIT */
/*
 * proxy_header - the PROXY protocol's header (HAProxy's proxy-protocol.txt, versions 1 and 2), which is sent
 * before any other byte to a server that expects it; TLS and everything else follows. The server does not answer
 * it. What it says where the configuration writes no addresses:
 *     v1  the addresses of the connection itself. There is no LOCAL in version 1; for health checks the
 *         specification (2.1) asks for just this, and advises senders against UNKNOWN, which some servers refuse.
 *         UNKNOWN is sent only if the addresses are not known or not of one family.
 *     v2  LOCAL: no client, the sender itself. The server takes the addresses that it sees.
 * Written addresses are sent as they are: PROXY, TCP over IPv4 or IPv6. A zone (%eth0) is not part of either form.
 */
#ifndef PORTBELL_PROTO_PROXY_HEADER_H
#define PORTBELL_PROTO_PROXY_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/rules.h"

enum { PROXY_HEADER_BYTES_MAX = 107 }; /* v1 with two IPv6 addresses; v2 has at most 52 */

/*
 * Writes the header to `out`, at least PROXY_HEADER_BYTES_MAX large, and returns its bytes; 0 for
 * PROXY_HEADER_NONE. `source` and `destination` are the connection's own addresses, ours first; NULL: not known,
 * or not those of the target (the way leads through a proxy).
 */
size_t proxy_header_build(const struct proxy_header *header, const struct address *source,
			  const struct address *destination, uint8_t *out);

#endif
