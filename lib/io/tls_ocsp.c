/* SPDX-License-Identifier: MIT */
/*
 * An OCSP response (RFC 6960), stapled or asked for: whether it is fresh, signed by who may, about this
 * certificate, and good.
 */
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>

#include "lib/base/clock.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum { SINGLES_MAX = 16 };

/* What is judged, and where it is said. */
struct judging {
	const struct ocsp_question *question;
	struct revocation_verdict *revocation;
	struct str *text; /* NULL: nobody asks */
};

static void say(const struct judging *judging, const char *what)
{
	if (judging->text == NULL)
		return;
	str_addf(judging->text, "%s %s", judging->question->about, what);
}

static void say_time(const struct judging *judging, const char *what, int64_t unix_s)
{
	if (judging->text == NULL)
		return;
	str_addf(judging->text, "%s ", what);
	str_add_time(judging->text, unix_s * US_PER_S);
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

static bool is_about(OCSP_SINGLERESP *single, const struct ocsp_question *question)
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
	ours = OCSP_cert_id_new(digest, X509_get_subject_name(question->issuer),
				X509_get0_pubkey_bitstr(question->issuer), question->serial);
	same = ours != NULL && OCSP_id_cmp(ours, theirs) == 0;
	OCSP_CERTID_free(ours);
	return same;
}

static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, const struct ocsp_question *question)
{
	for (int i = 0; i < OCSP_resp_count(basic) && i < SINGLES_MAX; i++)
		if (is_about(OCSP_resp_get0(basic, i), question))
			return OCSP_resp_get0(basic, i);
	return NULL;
}

static enum reason judge_time(const struct judging *judging)
{
	const struct revocation_verdict *revocation = judging->revocation;
	const int64_t now_unix_s = judging->question->now_unix_s;

	if (revocation->until_unix_s == 0) {
		say(judging, "does not say how long it holds");
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	if (now_unix_s < revocation->from_unix_s - REVOCATION_SLACK_S) {
		say(judging, "");
		say_time(judging, "holds only from", revocation->from_unix_s);
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	if (now_unix_s > revocation->until_unix_s + REVOCATION_SLACK_S) {
		say(judging, "");
		say_time(judging, "is too old: it held until", revocation->until_unix_s);
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	say_time(judging, "good until", revocation->until_unix_s);
	return REASON_OK;
}

static enum reason judge_single(const struct judging *judging, OCSP_SINGLERESP *single)
{
	ASN1_GENERALIZEDTIME *revoked = NULL;
	ASN1_GENERALIZEDTIME *from = NULL;
	ASN1_GENERALIZEDTIME *until = NULL;
	int why = -1;
	int status = OCSP_single_get0_status(single, &why, &revoked, &from, &until);

	judging->revocation->from_unix_s = cert_time_unix_s(from);
	judging->revocation->until_unix_s = cert_time_unix_s(until);
	if (until == NULL && judging->question->lasts_s > 0)
		judging->revocation->until_unix_s = cert_time_unix_s(from) + judging->question->lasts_s;
	/* That does not become untrue by age. */
	if (status == V_OCSP_CERTSTATUS_REVOKED) {
		say_time(judging, "revoked on", cert_time_unix_s(revoked));
		if (judging->text != NULL && why >= 0)
			str_addf(judging->text, " (%s)", OCSP_crl_reason_str(why));
		return REASON_CERT_REVOKED;
	}
	if (status != V_OCSP_CERTSTATUS_GOOD) {
		say(judging, "does not know the certificate");
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	return judge_time(judging);
}

static enum reason judge_basic(const struct judging *judging, OCSP_BASICRESP *basic)
{
	const struct ocsp_question *question = judging->question;
	OCSP_SINGLERESP *single;

	if (question->issuer == NULL) {
		if (judging->text != NULL)
			str_addf(judging->text, "there is no issuer's certificate to check %s with",
				 question->about);
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	single = find_single(basic, question);
	if (single == NULL) {
		say(judging, "is about another certificate");
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	if (!is_signed(basic, question->issuer, question->now_unix_s)) {
		say(judging, "is not signed by the issuer or who speaks for it");
		return REASON_CERT_REVOCATION_UNKNOWN;
	}
	return judge_single(judging, single);
}

static enum reason judge_response(const struct judging *judging, OCSP_RESPONSE *response)
{
	OCSP_BASICRESP *basic;
	enum reason reason = REASON_CERT_REVOCATION_UNKNOWN;

	if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		say(judging, "is an error: ");
		if (judging->text != NULL)
			str_add(judging->text, OCSP_response_status_str(OCSP_response_status(response)));
		return reason;
	}
	basic = OCSP_response_get1_basic(response);
	if (basic != NULL)
		reason = judge_basic(judging, basic);
	else
		say(judging, "cannot be read");
	OCSP_BASICRESP_free(basic);
	return reason;
}

void ocsp_judge_with(const struct ocsp_question *question, const uint8_t *data, size_t bytes,
		     struct revocation_verdict *revocation, struct str *text)
{
	const struct judging judging = { .question = question, .revocation = revocation, .text = text };
	const unsigned char *at = data;
	OCSP_RESPONSE *response;

	ERR_set_mark();
	*revocation = (struct revocation_verdict){ .reason = REASON_CERT_REVOCATION_UNKNOWN };
	response = bytes <= OCSP_BYTES_MAX ? d2i_OCSP_RESPONSE(NULL, &at, (long)bytes) : NULL;
	if (response != NULL)
		revocation->reason = judge_response(&judging, response);
	else
		say(&judging, "cannot be read");
	OCSP_RESPONSE_free(response);
	ERR_pop_to_mark();
}

void ocsp_judge(const uint8_t *data, size_t bytes, const struct inquiry *inquiry, const char *about,
		int64_t lasts_s, int64_t now_unix_s, struct revocation_verdict *revocation, struct str *text)
{
	const unsigned char *at = inquiry->issuer;
	X509 *issuer = d2i_X509(NULL, &at, (long)inquiry->issuer_bytes);
	ASN1_INTEGER *serial = inquiry_serial(inquiry);
	const struct ocsp_question question = {
		.issuer = serial != NULL ? issuer : NULL,
		.serial = serial,
		.about = about,
		.lasts_s = lasts_s,
		.now_unix_s = now_unix_s,
	};

	ocsp_judge_with(&question, data, bytes, revocation, text);
	ASN1_INTEGER_free(serial);
	X509_free(issuer);
}
