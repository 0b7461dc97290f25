/* SPDX-License-Identifier: MIT */
/* make_revocation - revocation lists and OCSP responses for tests, made on the spot. */
#ifndef PORTBELL_TESTS_MAKE_REVOCATION_H
#define PORTBELL_TESTS_MAKE_REVOCATION_H

#include <openssl/ocsp.h>

#include "tests/make_cert.h"

/* until_unix_s 0: not said. */
static inline X509_CRL *crl_begin(const struct made *issuer, int64_t from_unix_s, int64_t until_unix_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = ASN1_TIME_set(NULL, from_unix_s);
	ASN1_TIME *until = until_unix_s != 0 ? ASN1_TIME_set(NULL, until_unix_s) : NULL;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x509));
	X509_CRL_set1_lastUpdate(crl, from);
	if (until != NULL)
		X509_CRL_set1_nextUpdate(crl, until);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return crl;
}

/* why: CRL_REASON_*, -1: none is given; critical: an extension that makes the list an indirect one. */
static inline void crl_add(X509_CRL *crl, const ASN1_INTEGER *serial, int64_t at_unix_s, int why, bool critical)
{
	X509_REVOKED *revoked = X509_REVOKED_new();
	ASN1_TIME *at = ASN1_TIME_set(NULL, at_unix_s);

	X509_REVOKED_set_serialNumber(revoked, (ASN1_INTEGER *)serial);
	X509_REVOKED_set_revocationDate(revoked, at);
	if (why >= 0) {
		ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();

		ASN1_ENUMERATED_set(code, why);
		ck_assert_int_eq(X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, code, 0, 0), 1);
		ASN1_ENUMERATED_free(code);
	}
	if (critical) {
		GENERAL_NAMES *names = GENERAL_NAMES_new();

		ck_assert_int_eq(X509_REVOKED_add1_ext_i2d(revoked, NID_certificate_issuer, names, 1, 0), 1);
		GENERAL_NAMES_free(names);
	}
	ck_assert_int_eq(X509_CRL_add0_revoked(crl, revoked), 1);
	ASN1_TIME_free(at);
}

/* Signs and encodes it; the caller: OPENSSL_free(). */
static inline int crl_end(X509_CRL *crl, const struct made *signer, uint8_t **der)
{
	int bytes;

	*der = NULL;
	X509_CRL_sort(crl);
	ck_assert_int_gt(X509_CRL_sign(crl, signer->key, EVP_sha256()), 0);
	bytes = i2d_X509_CRL(crl, der);
	ck_assert_int_gt(bytes, 0);
	X509_CRL_free(crl);
	return bytes;
}

/* until_unix_s 0: not said. */
static inline int ocsp_make(const struct made *leaf, const struct made *issuer, const struct made *signer,
			    int status, int64_t from_unix_s, int64_t until_unix_s, uint8_t **der)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf->x509, issuer->x509);
	ASN1_TIME *from = ASN1_TIME_set(NULL, from_unix_s);
	ASN1_TIME *until = until_unix_s != 0 ? ASN1_TIME_set(NULL, until_unix_s) : NULL;
	OCSP_RESPONSE *response;
	int bytes;

	ck_assert_ptr_nonnull(
		OCSP_basic_add1_status(basic, id, status, OCSP_REVOKED_STATUS_SUPERSEDED, from, from, until));
	ck_assert_int_eq(OCSP_basic_sign(basic, signer->x509, signer->key, EVP_sha256(), NULL, 0), 1);
	response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	*der = NULL;
	bytes = i2d_OCSP_RESPONSE(response, der);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return bytes;
}

#endif
