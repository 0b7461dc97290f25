/* SPDX-License-Identifier: MIT */
/*
 * The OCSP response that a server staples to its handshake (RFC 6066 section 8, RFC 6960): whether it is there,
 * fresh, signed by who may, about this certificate, and good. Nothing is fetched.
 */
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum { STAPLE_BYTES_MAX = 64 << 10, SINGLES_MAX = 16, SLACK_S = 300 };

/* What a staple says. */
struct staple {
	enum reason reason;
	int64_t until_unix_s; /* exclusive: then it has to be judged anew */
	struct str *text;     /* where to say it; NULL: nobody asks */
};

static enum reason unknown(const struct staple *staple, const char *why)
{
	if (staple->text != NULL)
		str_add(staple->text, why);
	return REASON_CERT_REVOCATION_UNKNOWN;
}

static void say_time(const struct staple *staple, const char *what, const char *more, int64_t unix_s)
{
	if (staple->text == NULL)
		return;
	str_addf(staple->text, "%s%s ", what, more);
	str_add_time(staple->text, unix_s * US_PER_S);
}

/* Who signed the leaf, not who bears the issuer's name: a server can show anything. NULL: nobody that we know. */
static X509 *find_issuer(struct tls_session *session, X509 *leaf)
{
	X509 *issuer;

	verdict_find_way(session);
	issuer = sk_X509_num(session->way.chain) > 1 ? sk_X509_value(session->way.chain, 1) : NULL;
	return issuer != NULL && X509_verify(leaf, X509_get0_pubkey(issuer)) == 1 ? issuer : NULL;
}

/* By the issuer itself, or by one that it made a signer of such answers. */
static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer, int64_t now_unix_s)
{
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509) *signers = sk_X509_new_null();
	bool good = false;

	if (store != NULL && signers != NULL && X509_STORE_add_cert(store, issuer) == 1 &&
	    sk_X509_push(signers, issuer) > 0) {
		X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
		X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), now_unix_s);
		good = OCSP_basic_verify(basic, signers, store, 0) == 1;
	}
	sk_X509_free(signers);
	X509_STORE_free(store);
	return good;
}

static bool is_about(OCSP_SINGLERESP *single, const X509 *leaf, const X509 *issuer)
{
	const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(single);
	ASN1_OBJECT *algorithm = NULL;
	const EVP_MD *digest;
	OCSP_CERTID *ours;
	bool same;

	OCSP_id_get0_info(NULL, &algorithm, NULL, NULL, (OCSP_CERTID *)theirs);
	digest = EVP_get_digestbyobj(algorithm);
	if (digest == NULL)
		return false;
	ours = OCSP_cert_to_id(digest, leaf, issuer);
	same = ours != NULL && OCSP_id_cmp(ours, theirs) == 0;
	OCSP_CERTID_free(ours);
	return same;
}

static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, const X509 *leaf, const X509 *issuer)
{
	for (int i = 0; i < OCSP_resp_count(basic) && i < SINGLES_MAX; i++)
		if (is_about(OCSP_resp_get0(basic, i), leaf, issuer))
			return OCSP_resp_get0(basic, i);
	return NULL;
}

static void sooner(int64_t *until_unix_s, int64_t bound_unix_s)
{
	if (bound_unix_s < *until_unix_s)
		*until_unix_s = bound_unix_s;
}

static enum reason judge_single(struct staple *staple, OCSP_SINGLERESP *single, int64_t now_unix_s)
{
	ASN1_GENERALIZEDTIME *revoked = NULL;
	ASN1_GENERALIZEDTIME *from = NULL;
	ASN1_GENERALIZEDTIME *until = NULL;
	int why = -1;
	int status = OCSP_single_get0_status(single, &why, &revoked, &from, &until);
	const int64_t from_unix_s = cert_time_unix_s(from) - SLACK_S;
	const int64_t until_unix_s = cert_time_unix_s(until) + SLACK_S + 1;

	/* That does not become untrue by age. */
	if (status == V_OCSP_CERTSTATUS_REVOKED) {
		say_time(staple, "revoked on", "", cert_time_unix_s(revoked));
		if (staple->text != NULL && why >= 0)
			str_addf(staple->text, " (%s)", OCSP_crl_reason_str(why));
		return REASON_CERT_REVOKED;
	}
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return unknown(staple, "the stapled OCSP response does not know the certificate");
	if (until == NULL)
		return unknown(staple, "the stapled OCSP response does not say how long it holds");
	if (now_unix_s < from_unix_s) {
		say_time(staple, "the stapled OCSP response ", "holds only from", from_unix_s + SLACK_S);
		sooner(&staple->until_unix_s, from_unix_s);
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	if (now_unix_s >= until_unix_s) {
		say_time(staple, "the stapled OCSP response ", "is too old: it held until",
			 until_unix_s - SLACK_S - 1);
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	say_time(staple, "good", " until", until_unix_s - SLACK_S - 1);
	sooner(&staple->until_unix_s, until_unix_s);
	return REASON_OK;
}

static enum reason judge_basic(struct tls_session *session, struct staple *staple, OCSP_BASICRESP *basic)
{
	X509 *leaf = SSL_get0_peer_certificate(session->ssl);
	X509 *issuer = find_issuer(session, leaf);
	OCSP_SINGLERESP *single;

	if (issuer == NULL) {
		staple->until_unix_s = session->now_unix_s; /* it may be shown the next time */
		return unknown(staple, "there is no issuer's certificate to check the stapled OCSP response with");
	}
	single = find_single(basic, leaf, issuer);
	if (single == NULL)
		return unknown(staple, "the stapled OCSP response is about another certificate");
	if (!is_signed(basic, issuer, session->now_unix_s))
		return unknown(staple,
			       "the stapled OCSP response is not signed by the issuer or who speaks for it");
	return judge_single(staple, single, session->now_unix_s);
}

static enum reason judge_response(struct tls_session *session, struct staple *staple, const uint8_t *data,
				  size_t bytes)
{
	const unsigned char *at = data;
	OCSP_RESPONSE *response = bytes <= STAPLE_BYTES_MAX ? d2i_OCSP_RESPONSE(NULL, &at, (long)bytes) : NULL;
	OCSP_BASICRESP *basic = NULL;
	enum reason reason;

	if (response == NULL) {
		reason = unknown(staple, "what the server staples is no OCSP response");
	} else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		reason = unknown(staple, "the stapled OCSP response is an error: ");
		if (staple->text != NULL)
			str_add(staple->text, OCSP_response_status_str(OCSP_response_status(response)));
	} else {
		basic = OCSP_response_get1_basic(response);
		reason = basic != NULL ? judge_basic(session, staple, basic) :
					 unknown(staple, "what the server staples is no OCSP response");
	}
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return reason;
}

static void judge(struct tls_session *session, struct staple *staple, const uint8_t *data, size_t bytes)
{
	staple->until_unix_s = session->now_unix_s + S_PER_DAY;
	ERR_set_mark();
	staple->reason = judge_response(session, staple, data, bytes);
	ERR_pop_to_mark();
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
	struct staple staple = { .reason = REASON_CERT_REVOCATION_UNKNOWN };
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
	judge(session, &staple, data, bytes);
	certificate->revocation = staple.reason;
	verdict_put(cache, key, &(struct verdict){ .revocation = staple.reason }, session->now_unix_s,
		    staple.until_unix_s);
}

char *staple_explain(struct tls_session *session)
{
	struct str text = { 0 };
	struct staple staple = { .text = &text };
	const uint8_t *data;
	size_t bytes = get_response(session->ssl, &data);

	if (!session->wish->staple)
		return NULL;
	if (bytes == 0)
		return mem_strdup("the server staples no OCSP response");
	judge(session, &staple, data, bytes);
	return str_take(&text);
}
