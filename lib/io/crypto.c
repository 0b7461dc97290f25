/* SPDX-License-Identifier: MIT */
#include "lib/io/crypto.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

/* Neither can fail but for want of memory: as with mem_*(), one line, and systemd restarts us. */
static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "portbell: %s failed\n", what);
	abort();
}

void crypto_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes, uint8_t out[32])
{
	assert(key_bytes <= INT_MAX);
	/* To OpenSSL a NULL key means "the same as before". */
	if (HMAC(EVP_sha256(), key_bytes == 0 ? "" : key, (int)key_bytes, data, bytes, out, NULL) == NULL)
		give_up("HMAC-SHA256");
}

void crypto_random(void *out, size_t bytes)
{
	uint8_t *next = out;

	while (bytes > 0) {
		ssize_t got = getrandom(next, bytes, 0);

		if (got < 0 && errno != EINTR)
			give_up("getrandom");
		if (got > 0) {
			next += got;
			bytes -= (size_t)got;
		}
	}
}
