/* SPDX-License-Identifier: MIT */
/*
 * tls_revocation - what an authority says of a certificate that it issued: revocation lists (RFC 5280 section 5)
 * and OCSP responses (RFC 6960). Pure: bytes and a time in, a verdict in our words out; nothing is fetched here.
 * Owns:  a struct crl is the caller's: crl_free(). Const once read, and of any thread.
 * Fails: whatever is wrong with an answer makes it cert_revocation_unknown, with a text that says why.
 * Caps:  a list of CRL_BYTES_MAX, a response of OCSP_BYTES_MAX; of a list the serial numbers are kept, 32 bytes each.
 * Blocks: reading the largest list, some 800,000 entries, takes a quarter of a second: not on a loop.
 */
#ifndef PORTBELL_IO_TLS_REVOCATION_H
#define PORTBELL_IO_TLS_REVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/str.h"
#include "lib/eval/result.h"

enum { CRL_BYTES_MAX = 20 << 20, OCSP_BYTES_MAX = 64 << 10, REVOCATION_SLACK_S = 300 };

/* What is known of one certificate. */
struct revocation_verdict {
	enum reason reason;   /* REASON_OK, cert_revoked or cert_revocation_unknown */
	int64_t from_unix_s;  /* thisUpdate and nextUpdate: when it holds, without slack. 0: there is none */
	int64_t until_unix_s;
};

/* Who may have signed a list: a certificate in DER and its inquiry's issuer_id. */
struct crl_issuer {
	const uint8_t *der;
	size_t der_bytes;
	uint8_t id[FINGERPRINT_BYTES];
};

struct crl;

/* DER, or PEM as some serve it. NULL: none of the issuers has signed it, or it is of no use; err has the reason.
 * */
struct crl *crl_read(const uint8_t *data, size_t bytes, const struct crl_issuer *issuers, size_t issuer_count,
		     struct error *err);
void crl_free(struct crl *crl); /* NULL is fine */
void crl_validity(const struct crl *crl, int64_t *from_unix_s, int64_t *until_unix_s);
size_t crl_entry_count(const struct crl *crl);
/* Fast. The text (may be NULL) gets the verdict's words: "revoked on ... (keyCompromise)", "good until ...". */
void crl_judge(const struct crl *crl, const struct inquiry *inquiry, int64_t now_unix_s,
	       struct revocation_verdict *revocation, struct str *text);

/*
 * One response. `about` is its name in the text: "the stapled OCSP response". lasts_s: for how long one that does
 * not say it holds (RFC 6960 section 2.4: newer information is always there); 0: it is of no use.
 */
void ocsp_judge(const uint8_t *data, size_t bytes, const struct inquiry *inquiry, const char *about,
		int64_t lasts_s, int64_t now_unix_s, struct revocation_verdict *revocation, struct str *text);

#endif
