/* SPDX-License-Identifier: MIT */
/*
 * What an authority answers about a revocation. The first byte says whether the rest is a list or an OCSP
 * response. A list is read whoever signed it, and judged at any time for any number; what OpenSSL reads of it too
 * must be read alike.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls_private.h"

static const int64_t noon = INT64_C(1795435200);

static void check_verdict(const struct revocation_verdict *verdict, const struct str *text)
{
	if (verdict->reason != REASON_OK && verdict->reason != REASON_CERT_REVOKED &&
	    verdict->reason != REASON_CERT_REVOCATION_UNKNOWN)
		abort();
	if (text->bytes == 0 || text->bytes > 1000)
		abort();
}

static void judge_list(const struct crl *crl, const uint8_t *serial, size_t bytes, bool expected)
{
	struct inquiry inquiry = { .serial_bytes = bytes };
	struct revocation_verdict verdict;
	struct str text = { 0 };

	memcpy(inquiry.serial, serial, bytes);
	crl_judge(crl, &inquiry, noon, &verdict, &text);
	check_verdict(&verdict, &text);
	/* A list that is only a part, or of authorities, says nothing at all. */
	if (expected && verdict.reason == REASON_OK)
		abort();
	str_done(&text);
}

/* Each entry that OpenSSL finds is found. */
static void compare(const struct crl *crl, const uint8_t *data, size_t bytes)
{
	const uint8_t *at = data;
	X509_CRL *theirs = bytes > 0 && data[0] == '-' ? NULL : d2i_X509_CRL(NULL, &at, (long)bytes);
	STACK_OF(X509_REVOKED) *entries = theirs != NULL ? X509_CRL_get_REVOKED(theirs) : NULL;

	for (int i = 0; i < sk_X509_REVOKED_num(entries) && i < 100; i++) {
		const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i));
		uint8_t *der = NULL;
		int der_bytes = i2d_ASN1_INTEGER(serial, &der);

		if (der_bytes > 2 && der_bytes - 2 <= INQUIRY_SERIAL_BYTES)
			judge_list(crl, der + 2, (size_t)der_bytes - 2, true);
		OPENSSL_free(der);
	}
	X509_CRL_free(theirs);
}

static void read_list(const uint8_t *data, size_t bytes)
{
	static const uint8_t serial[INQUIRY_SERIAL_BYTES] = { 0x10, 0x01 };
	struct error err = { 0 };
	struct crl *crl = crl_read_unsigned(data, bytes, &err);

	if (crl == NULL) {
		if (err.text[0] == '\0')
			abort();
		return;
	}
	judge_list(crl, serial, 2, false);
	judge_list(crl, serial, sizeof(serial), false);
	judge_list(crl, serial, 0, false);
	compare(crl, data, bytes);
	crl_free(crl);
}

static void read_response(const uint8_t *data, size_t bytes)
{
	struct inquiry inquiry = { .serial = { 0x10, 0x01 }, .serial_bytes = 2 };
	struct revocation_verdict verdict;
	struct str text = { 0 };

	ocsp_judge(data, bytes, &inquiry, "the OCSP response", 3600, noon, &verdict, &text);
	check_verdict(&verdict, &text);
	if (verdict.reason != REASON_CERT_REVOCATION_UNKNOWN)
		abort(); /* nobody signed it */
	str_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return 0;
	if (data[0] == 'O')
		read_response(data + 1, bytes - 1);
	else
		read_list(data + 1, bytes - 1);
	ERR_clear_error();
	return 0;
}
