/* SPDX-License-Identifier: MIT */
/*
 * What it takes to ask an authority about the server's certificate: where its list is and who answers (RFC 5280
 * sections 4.2.1.13 and 4.2.2.1), and the question. The addresses come from the certificate, so only one that a
 * trusted authority signed is believed: a server cannot send us anywhere with one that it made itself.
 */
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum { URL_BYTES_MAX = 1024 };

/* A URL as we may use it: http, and nothing in it that does not belong into one. NULL: not such a one. */
static char *url_of(const ASN1_STRING *uri)
{
	const char *data = (const char *)ASN1_STRING_get0_data(uri);
	const int bytes = ASN1_STRING_length(uri);

	if (bytes <= 7 || bytes > URL_BYTES_MAX || strncasecmp(data, "http://", 7) != 0)
		return NULL;
	for (int i = 0; i < bytes; i++)
		if (data[i] <= 0x20 || data[i] >= 0x7f)
			return NULL;
	return mem_strndup(data, (size_t)bytes);
}

/* Lists for some reasons only, or signed by somebody else, say nothing for sure. */
static void add_point(struct inquiry *inquiry, const DIST_POINT *point)
{
	const GENERAL_NAMES *names = NULL;
	size_t before = inquiry->crl_url_count;

	if (point->reasons == NULL && point->CRLissuer == NULL && point->distpoint != NULL &&
	    point->distpoint->type == 0)
		names = point->distpoint->name.fullname;
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && inquiry->crl_url_count < INQUIRY_URLS_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char *url = name->type == GEN_URI ? url_of(name->d.uniformResourceIdentifier) : NULL;

		if (url != NULL)
			inquiry->crl_urls[inquiry->crl_url_count++] = url;
	}
	if (inquiry->crl_url_count == before)
		inquiry->crl_other_count++;
}

static void find_crls(struct inquiry *inquiry, const X509 *leaf)
{
	CRL_DIST_POINTS *points = X509_get_ext_d2i(leaf, NID_crl_distribution_points, NULL, NULL);

	for (int i = 0; i < sk_DIST_POINT_num(points); i++)
		add_point(inquiry, sk_DIST_POINT_value(points, i));
	CRL_DIST_POINTS_free(points);
}

static void find_responder(struct inquiry *inquiry, const X509 *leaf)
{
	AUTHORITY_INFO_ACCESS *infos = X509_get_ext_d2i(leaf, NID_info_access, NULL, NULL);

	for (int i = 0; inquiry->ocsp_url == NULL && i < sk_ACCESS_DESCRIPTION_num(infos); i++) {
		const ACCESS_DESCRIPTION *info = sk_ACCESS_DESCRIPTION_value(infos, i);

		if (OBJ_obj2nid(info->method) == NID_ad_OCSP && info->location->type == GEN_URI)
			inquiry->ocsp_url = url_of(info->location->d.uniformResourceIdentifier);
	}
	AUTHORITY_INFO_ACCESS_free(infos);
}

void inquiry_find_urls(struct inquiry *inquiry, const X509 *leaf)
{
	find_crls(inquiry, leaf);
	find_responder(inquiry, leaf);
}

/* With SHA-1, which is what every responder knows (RFC 5019 section 2.1.1), and without a nonce, so that it may
 * answer with what it has. */
static void write_request(struct inquiry *inquiry, X509 *leaf, X509 *issuer)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf, issuer);
	uint8_t *der = NULL;
	int bytes = -1;

	if (request != NULL && id != NULL && OCSP_request_add0_id(request, id) != NULL)
		bytes = i2d_OCSP_REQUEST(request, &der);
	else
		OCSP_CERTID_free(id);
	if (bytes > 0) {
		inquiry->ocsp_request = mem_alloc((size_t)bytes);
		memcpy(inquiry->ocsp_request, der, (size_t)bytes);
		inquiry->ocsp_request_bytes = (size_t)bytes;
	}
	OPENSSL_free(der);
	OCSP_REQUEST_free(request);
}

bool issuer_hash(const X509 *issuer, uint8_t id[FINGERPRINT_BYTES])
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	uint8_t *name = NULL;
	uint8_t *key = NULL;
	int name_bytes = i2d_X509_NAME(X509_get_subject_name(issuer), &name);
	int key_bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(issuer), &key);
	bool good = digest != NULL && name_bytes > 0 && key_bytes > 0 &&
		    EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestUpdate(digest, name, (size_t)name_bytes) == 1 &&
		    EVP_DigestUpdate(digest, key, (size_t)key_bytes) == 1 &&
		    EVP_DigestFinal_ex(digest, id, NULL) == 1;

	OPENSSL_free(name);
	OPENSSL_free(key);
	EVP_MD_CTX_free(digest);
	return good;
}

static bool write_issuer(struct inquiry *inquiry, X509 *issuer)
{
	int bytes = i2d_X509(issuer, NULL);

	if (bytes <= 0 || bytes > INQUIRY_ISSUER_BYTES || !issuer_hash(issuer, inquiry->issuer_id))
		return false;
	uint8_t *at = inquiry->issuer = mem_alloc((size_t)bytes);

	inquiry->issuer_bytes = (size_t)bytes;
	return i2d_X509(issuer, &at) == bytes;
}

static bool write_serial(struct inquiry *inquiry, const X509 *leaf)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
	uint8_t *der = NULL;
	int bytes = i2d_ASN1_INTEGER(serial, &der);
	/* What follows tag and length, of which the latter is one byte here. */
	bool good = bytes > 2 && bytes - 2 <= INQUIRY_SERIAL_BYTES;

	if (good) {
		inquiry->serial_bytes = (size_t)bytes - 2;
		memcpy(inquiry->serial, der + 2, inquiry->serial_bytes);
	}
	OPENSSL_free(der);
	return good;
}

ASN1_INTEGER *inquiry_serial(const struct inquiry *inquiry)
{
	uint8_t der[2 + INQUIRY_SERIAL_BYTES] = { V_ASN1_INTEGER, (uint8_t)inquiry->serial_bytes };
	const uint8_t *at = der;

	memcpy(der + 2, inquiry->serial, inquiry->serial_bytes);
	return d2i_ASN1_INTEGER(NULL, &at, (long)(2 + inquiry->serial_bytes));
}

/* From the leaf up each is signed by the next, and the last is trusted; a date or a name may be wrong all the
 * same. */
static bool is_way_signed(const struct way *way)
{
	const int count = sk_X509_num(way->chain);

	for (int i = 0; i + 1 < count; i++)
		if (X509_verify(sk_X509_value(way->chain, i),
				X509_get0_pubkey(sk_X509_value(way->chain, i + 1))) != 1)
			return false;
	return way->built;
}

static const char *fill(struct inquiry *inquiry, struct tls_session *session)
{
	X509 *leaf = SSL_get0_peer_certificate(session->ssl);
	X509 *issuer;

	verdict_find_way(session);
	if (!is_way_signed(&session->way))
		return "nobody is asked about a certificate that no trusted authority signed";
	if (sk_X509_num(session->way.chain) < 2)
		return "the certificate is trusted by itself: there is no authority to ask";
	issuer = sk_X509_value(session->way.chain, 1);
	if (!write_serial(inquiry, leaf) || !write_issuer(inquiry, issuer))
		return "the certificate's serial number or its issuer's certificate is too large";
	inquiry->ca = X509_check_ca(leaf) > 0;
	inquiry_find_urls(inquiry, leaf);
	write_request(inquiry, leaf, issuer);
	return inquiry->ocsp_request != NULL ? NULL : "out of memory in OpenSSL";
}

struct inquiry *inquiry_new(struct tls_session *session)
{
	struct inquiry *inquiry;

	if (!session->wish->inquiry)
		return NULL;
	inquiry = mem_new(struct inquiry);
	ERR_set_mark();
	inquiry->trouble = fill(inquiry, session);
	ERR_pop_to_mark();
	return inquiry;
}
