/* SPDX-License-Identifier: MIT */
/*
 * The OCSP response that a server staples to its handshake (RFC 6066 section 8, RFC 6960): whether it is there,
 * fresh, signed by who may, about this certificate, and good. Nothing is fetched.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls_private.h"

static const char about[] = "the stapled OCSP response";

/* Who signed the leaf, not who bears the issuer's name: a server can show anything. NULL: nobody that we know. */
static X509 *find_issuer(struct tls_session *session, X509 *leaf)
{
	X509 *issuer;

	verdict_find_way(session);
	issuer = sk_X509_num(session->way.chain) > 1 ? sk_X509_value(session->way.chain, 1) : NULL;
	return issuer != NULL && X509_verify(leaf, X509_get0_pubkey(issuer)) == 1 ? issuer : NULL;
}

/* False: the issuer is not known yet, it may be shown the next time. */
static bool judge(struct tls_session *session, const uint8_t *data, size_t bytes,
		  struct revocation_verdict *revocation, struct str *text)
{
	X509 *leaf = SSL_get0_peer_certificate(session->ssl);
	struct ocsp_question question = {
		.serial = X509_get0_serialNumber(leaf), .about = about, .now_unix_s = session->now_unix_s
	};

	ERR_set_mark();
	question.issuer = find_issuer(session, leaf);
	ocsp_judge_with(&question, data, bytes, revocation, text);
	ERR_pop_to_mark();
	return question.issuer != NULL;
}

/* Exclusive: then it has to be judged anew. */
static int64_t holds_until(const struct revocation_verdict *revocation, int64_t now_unix_s)
{
	int64_t until_unix_s = now_unix_s + S_PER_DAY;
	int64_t bound_unix_s = until_unix_s;

	if (revocation->reason == REASON_OK)
		bound_unix_s = revocation->until_unix_s + REVOCATION_SLACK_S + 1;
	else if (revocation->reason != REASON_CERT_REVOKED &&
		 now_unix_s < revocation->from_unix_s - REVOCATION_SLACK_S)
		bound_unix_s = revocation->from_unix_s - REVOCATION_SLACK_S;
	return bound_unix_s < until_unix_s ? bound_unix_s : until_unix_s;
}

static size_t get_response(SSL *ssl, const uint8_t **data)
{
	long bytes = SSL_get_tlsext_status_ocsp_resp(ssl, data);

	return bytes > 0 && *data != NULL ? (size_t)bytes : 0;
}

/* Beside the chain's questions in one cache: no chain begins with this word. */
static bool hash_question(const struct tls_session *session, const uint8_t *data, size_t bytes,
			  uint8_t key[KEY_BYTES])
{
	static const char word[] = "staple";
	struct tls_domain *domain = session->context->domain;

	return EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
	       EVP_DigestUpdate(domain->digest, word, sizeof(word)) == 1 &&
	       EVP_DigestUpdate(domain->digest, session->context->trust->number, TRUST_NUMBER_BYTES) == 1 &&
	       EVP_DigestUpdate(domain->digest, session->certificate.fingerprint, FINGERPRINT_BYTES) == 1 &&
	       EVP_DigestUpdate(domain->digest, data, bytes) == 1 &&
	       EVP_DigestFinal_ex(domain->digest, key, NULL) == 1;
}

void staple_judge(struct tls_session *session, bool done)
{
	struct verdict_cache *cache = &session->context->domain->cache;
	struct certificate *certificate = &session->certificate;
	struct revocation_verdict revocation;
	const struct verdict *known;
	const uint8_t *data;
	size_t bytes = get_response(session->ssl, &data);
	uint8_t key[KEY_BYTES];

	/* It comes after the certificate: a handshake that broke off says nothing of it. */
	if (!certificate->present || (bytes == 0 && !done))
		return;
	certificate->revocation = REASON_CERT_REVOCATION_UNKNOWN;
	if (bytes == 0 || !hash_question(session, data, bytes, key))
		return;
	known = verdict_get(cache, key, session->now_unix_s);
	if (known != NULL) {
		certificate->revocation = known->revocation;
		return;
	}
	const bool lasts = judge(session, data, bytes, &revocation, NULL);

	certificate->revocation = revocation.reason;
	if (lasts)
		verdict_put(cache, key, &(struct verdict){ .revocation = revocation.reason }, session->now_unix_s,
			    holds_until(&revocation, session->now_unix_s));
}

char *staple_explain(struct tls_session *session)
{
	struct str text = { 0 };
	struct revocation_verdict unused;
	const uint8_t *data;
	size_t bytes = get_response(session->ssl, &data);

	if (!session->wish->staple)
		return NULL;
	if (bytes == 0)
		return mem_strdup("the server staples no OCSP response");
	judge(session, data, bytes, &unused, &text);
	return str_take(&text);
}
