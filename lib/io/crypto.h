/* SPDX-License-Identifier: MIT */
/* crypto - the few primitives that are not TLS: HMAC-SHA256 for webhook signatures, random bytes for ids. */
#ifndef PORTBELL_IO_CRYPTO_H
#define PORTBELL_IO_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

void crypto_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes, uint8_t out[32]);
void crypto_random(void *out, size_t bytes);

#endif
