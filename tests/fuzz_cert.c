/* SPDX-License-Identifier: MIT */
/* Any bytes that OpenSSL takes for a certificate give facts that are short and fit to be shown. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

/* Cleaning again changes nothing, so it was clean; each byte may have become four ("\xNN"), "..." tells a cut. */
static void check_text(const char *text)
{
	char *again = text == NULL ? NULL : str_clean(text, strlen(text), SIZE_MAX);

	if (!str_equal(text, again) || text == NULL || strlen(text) > 4 * FACT_TEXT_BYTES + 16)
		abort();
	free(again);
}

static void check_facts(const struct certificate_facts *facts)
{
	check_text(facts->subject);
	check_text(facts->issuer);
	check_text(facts->serial);
	check_text(facts->key);
	check_text(facts->signature);
	if (facts->san_count > FACT_SAN_MAX || facts->san_count > facts->san_total)
		abort();
	for (size_t i = 0; i < facts->san_count; i++)
		check_text(facts->sans[i]);
}

/* What is said of an issuer; none of it has to be there. */
static void check_issuer(const X509 *x509)
{
	char *parts[] = { cert_issuer_url(x509), cert_issuer_part(x509, NID_commonName),
			  cert_issuer_part(x509, NID_organizationName) };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i] != NULL)
			check_text(parts[i]);
		free(parts[i]);
	}
}

static void check_weakness(X509 *x509)
{
	const enum reason reason = cert_weakness(x509, false);

	if (reason != REASON_OK && reason != REASON_CERT_WEAK_KEY && reason != REASON_CERT_WEAK_SIGNATURE)
		abort();
	/* Trust forgives a signature, never a key. */
	if (cert_weakness(x509, true) != (reason == REASON_CERT_WEAK_SIGNATURE ? REASON_OK : reason))
		abort();
}

/* Where an authority is asked: http, and nothing in it that could be more than a URL. */
static void check_urls(const X509 *x509)
{
	struct inquiry *inquiry = mem_new(struct inquiry);

	inquiry_find_urls(inquiry, x509);
	if (inquiry->crl_url_count > INQUIRY_URLS_MAX)
		abort();
	for (size_t i = 0; i <= inquiry->crl_url_count; i++) {
		const char *url = i < inquiry->crl_url_count ? inquiry->crl_urls[i] : inquiry->ocsp_url;

		if (url != NULL && (strncasecmp(url, "http://", 7) != 0 || strpbrk(url, " \r\n\t") != NULL))
			abort();
	}
	inquiry_free(inquiry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const uint8_t *at = data;
	X509 *x509 = d2i_X509(NULL, &at, (long)bytes);
	STACK_OF(X509) *chain = sk_X509_new_null();
	const struct address address = { .family = 4, .bytes = { 192, 0, 2, 1 } };
	struct tls_facts *facts;

	if (x509 != NULL && sk_X509_push(chain, x509) > 0) {
		facts = cert_chain_facts(chain);
		check_facts(&facts->chain[0]);
		tls_facts_free(facts);
		check_issuer(x509);
		check_weakness(x509);
		cert_next_bound_unix_s(chain, 0);
		cert_is_for_name(x509, "www.example.com", 15);
		cert_is_for_address(x509, &address);
		check_urls(x509);
	}
	sk_X509_free(chain);
	X509_free(x509);
	ERR_clear_error();
	return 0;
}
