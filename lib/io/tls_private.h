/* SPDX-License-Identifier: MIT */
/*
 * tls_private - what the files of tls share: domains and contexts (tls_context.c), verdicts and their cache
 * (tls_verdict.c), sessions (tls.c). The struct names below without a body here are OpenSSL's.
 */
#ifndef PORTBELL_IO_TLS_PRIVATE_H
#define PORTBELL_IO_TLS_PRIVATE_H

#include "lib/base/address.h"
#include "lib/io/tls.h"
#include "lib/io/tls_revocation.h"

struct evp_md_ctx_st;
struct evp_md_st;
struct ossl_lib_ctx_st;
struct ssl_ctx_st;
struct ssl_st;
struct stack_st_X509;
struct x509_st;
struct x509_store_ctx_st;
struct x509_store_st;

enum {
	KEY_BYTES = 32,
	TRUST_NUMBER_BYTES = 16,
	VERDICT_MAX = 4096,
	VERDICT_BUCKETS = 4096
};

/* What verifying a presented chain gave: it depends on nothing but what is in the cache's key, and the time. */
struct verdict {
	int error;        /* X509_V_* of the chain */
	bool other_name;  /* the leaf is not for the name that was asked for */
	uint8_t pin[PIN_BYTES]; /* of the leaf */
	bool other_issuer; /* than the wish's pattern wants */
	enum reason weak_leaf;  /* cert_weak_key, cert_weak_signature or ok */
	enum reason weak_chain; /* the same, of the others */
	enum reason revocation; /* of a staple's entry; a chain's has none */
	int64_t chain_not_after_unix_s;
	int64_t verified_not_after_unix_s; /* 0: no chain up to something trusted */
};

struct verdict_entry {
	uint8_t key[KEY_BYTES];
	struct verdict verdict;
	int64_t made_unix_s;
	int64_t until_unix_s; /* exclusive */
	uint16_t next;        /* in the bucket: index + 1, 0 ends */
};

/* The keys are SHA-256 sums: their bytes serve as hash and as the dice of eviction. */
struct verdict_cache {
	struct verdict_entry entries[VERDICT_MAX];
	uint16_t buckets[VERDICT_BUCKETS]; /* index + 1 */
	uint16_t count;
};

struct tls_domain {
	struct ossl_lib_ctx_st *library;
	struct evp_md_st *sha256;
	struct evp_md_ctx_st *digest;
	uint8_t *der; /* where certificates are encoded to be hashed */
	size_t der_capacity;
	uint64_t cached;
	uint64_t verified;
	struct verdict_cache cache;
};

struct tls_trust {
	struct x509_store_st *store;
	uint8_t number[TRUST_NUMBER_BYTES]; /* random: no counter to share between threads */
};

struct tls_context {
	struct ssl_ctx_st *ssl_ctx;
	struct tls_domain *domain;
	const struct tls_trust *trust;
};

/* The way from the leaf up, as a client builds it. */
struct way {
	struct stack_st_X509 *chain; /* NULL: not known, the verdict came from the cache */
	bool built;       /* its end is trusted */
	int error;        /* X509_V_* */
	int depth;        /* where the error is; 0 is the leaf */
};

struct tls_session {
	struct tls_context *context;
	struct ssl_st *ssl;
	const struct tls_wish *wish; /* lent */
	size_t name_bytes; /* of the wish's name, without the root's dot */
	struct address literal; /* family 0: a name */
	int64_t now_unix_s;
	struct certificate certificate;
	struct verdict verdict;
	struct way way;
	size_t bytes;       /* read from the socket */
	size_t bytes_max;   /* of this step: from there on the socket seems to be empty */
	bool cut;           /* it did in this step */
	bool listening;     /* the handshake is done */
	bool asked;         /* for a certificate of ours */
	bool local_trouble; /* not the peer's fault: memory inside OpenSSL */
	const char *refused; /* what of the peer's we would not take: a constant; else NULL */
	enum reason failure;
	int error_number;
	char *failure_text;
	tls_message_fn *on_message; /* NULL: nobody reads along */
	void *on_message_arg;
};

/* tls_verdict.c: for each chain that is presented. False: there is no verdict, OpenSSL ran out of memory. */
bool verdict_judge(struct tls_session *session, struct x509_store_ctx_st *store);
/* Fills facts->verified, verify_text and weak_text. */
void verdict_explain(struct tls_session *session, struct tls_facts *facts);
void way_done(struct way *way);
/* Finds session->way if the verdict came from the cache; it may stay unknown. */
void verdict_find_way(struct tls_session *session);
/* The cache. An entry is served until the second before until_unix_s. */
const struct verdict *verdict_get(struct verdict_cache *cache, const uint8_t *key, int64_t now_unix_s);
void verdict_put(struct verdict_cache *cache, const uint8_t *key, const struct verdict *verdict,
		 int64_t made_unix_s, int64_t until_unix_s);

/* tls_inquiry.c. */
struct inquiry *inquiry_new(struct tls_session *session); /* NULL: the wish has none */
bool issuer_hash(const struct x509_st *issuer, uint8_t id[FINGERPRINT_BYTES]); /* an inquiry's issuer_id */
struct asn1_string_st *inquiry_serial(const struct inquiry *inquiry); /* the caller: ASN1_INTEGER_free() */

/* Fills the URLs, from any certificate. */
void inquiry_find_urls(struct inquiry *inquiry, const struct x509_st *leaf);

/* tls_crl.c: what a list says, whoever signed it; for the fuzzer, which cannot sign. */
struct crl *crl_read_unsigned(const uint8_t *data, size_t bytes, struct error *err);

/* tls_ocsp.c. */
struct ocsp_question {
	struct x509_st *issuer; /* NULL: not known */
	const struct asn1_string_st *serial;
	const char *about;      /* "the stapled OCSP response" */
	int64_t lasts_s;        /* see ocsp_judge() */
	int64_t now_unix_s;
};
void ocsp_judge_with(const struct ocsp_question *question, const uint8_t *data, size_t bytes,
		     struct revocation_verdict *revocation, struct str *text);

/* tls_staple.c. done: the handshake came to its end. */
void staple_judge(struct tls_session *session, bool done);
char *staple_explain(struct tls_session *session); /* NULL: none was asked for. The caller frees */

/* tls_agreed.c: after the handshake. */
bool tls_pattern_holds(const struct tls_pattern *pattern, const char *text); /* NULL matches no pattern */
void agreed_judge(struct tls_session *session);
/* Fills facts->version, cipher, group, alpn and tls_text. */
void agreed_explain(const struct tls_session *session, struct tls_facts *facts);

/* tls_offer.c */
bool tls_offer_apply(const struct tls_offer *offer, struct ssl_st *ssl); /* false: no memory */

/* tls_client.c */
bool tls_client_use(const struct tls_client *client, struct ssl_ctx_st *ctx);

/* tls_context.c */
extern const char tls_probe_ciphersuites[]; /* all of TLS 1.3 */
/* OpenSSL's callback of each message, which keeps our limits: who takes its place has to call it. */
void context_on_message(int sent, int version, int type, const void *data, size_t bytes, struct ssl_st *ssl,
			void *arg);
const char *tls_library_words(void); /* of the newest error; empties the queue */
bool tls_domain_encode(struct tls_domain *domain, struct x509_st *x509, size_t *bytes); /* into domain->der */

#endif
