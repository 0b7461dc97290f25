/* SPDX-License-Identifier: MIT */
/*
 * result - what one probe found: plain values that travel from a prober thread to main.
 * Owns: what its pointers point to belongs to the result; result_done() frees it. All are NULL in the ordinary case:
 *       facts come along only when the certificate is not the one this prober sent last for the target.
 * Units: phase_us, rtt_us and rtt_variance_us in microseconds, monotonic; -1 = the phase did not run (a cached DNS
 *        answer has no time), or not known.
 */
#ifndef PORTBELL_EVAL_RESULT_H
#define PORTBELL_EVAL_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/words.h"

enum { FINGERPRINT_BYTES = 32, FACT_TEXT_BYTES = 256, FACT_SAN_MAX = 64, FACT_CHAIN_MAX = 10 };
enum { INQUIRY_URLS_MAX = 4, INQUIRY_SERIAL_BYTES = 20, INQUIRY_ISSUER_BYTES = 16 << 10 };

/* What judging a certificate needs, for each handshake. */
struct certificate {
	uint8_t fingerprint[FINGERPRINT_BYTES]; /* SHA-256 of the leaf's DER */
	int64_t not_before_unix_s;
	int64_t not_after_unix_s;
	/* The earliest end of the other certificates of the chain that a client builds (root included), else of the
	 * presented ones; INT64_MAX if there are none. */
	int64_t chain_not_after_unix_s;
	enum reason verdict;  /* REASON_OK, or why a client that verifies as configured would refuse (cert_*) */
	enum reason weak_leaf;  /* cert_weak_key, cert_weak_signature or ok */
	enum reason weak_chain; /* the same, of the others of the chain that a client builds */
	enum reason revocation; /* cert_revoked, cert_revocation_unknown; ok also where nobody asks */
	uint64_t agreed;      /* stands for version, cipher, group and ALPN: another number, other facts. 0: no
	                       * handshake was completed */
	enum reason tls;      /* REASON_OK, or what of that is not as required (tls_*) */
	bool present;         /* there was a handshake that showed a certificate */
	bool inquired;        /* its facts say what is to be asked elsewhere about it */
};

/* One certificate of a chain, for people: all text is cleaned (str_clean) and capped. */
struct certificate_facts {
	char *subject;          /* RFC 4514, e.g. "CN=shop.example.com,O=Example" */
	char *issuer;
	char *serial;           /* hex */
	char **sans;            /* "DNS:shop.example.com", "IP:192.0.2.1"; at most FACT_SAN_MAX */
	size_t san_count;
	size_t san_total;       /* how many there really were */
	int64_t not_before_unix_s;
	int64_t not_after_unix_s;
	char *key;              /* "EC P-256", "RSA 2048", "ED25519" */
	int key_bits;
	int strength_bits;      /* the key's, comparable across algorithms (NIST SP 800-57); 0 = not known */
	char *signature;        /* "ecdsa-with-SHA256" */
	bool ca;                /* it may sign others */
	bool self_signed;
	uint8_t fingerprint[FINGERPRINT_BYTES];
};

/* What it takes to ask an authority whether it has revoked the server's own certificate, and to judge what it says. */
struct inquiry {
	const char *trouble;             /* why nothing can be asked: a constant; NULL: it can */
	char *crl_urls[INQUIRY_URLS_MAX]; /* http only, in the certificate's order */
	size_t crl_url_count;
	size_t crl_other_count;          /* distribution points that we cannot use */
	char *ocsp_url;                  /* the first; NULL: none over http */
	uint8_t *ocsp_request;           /* DER */
	size_t ocsp_request_bytes;
	uint8_t serial[INQUIRY_SERIAL_BYTES]; /* the INTEGER's bytes */
	size_t serial_bytes;
	bool ca;                         /* the certificate may sign others */
	uint8_t *issuer;                 /* its certificate, DER */
	size_t issuer_bytes;
	uint8_t issuer_id[FINGERPRINT_BYTES]; /* SHA-256 of its name and key: a renewed one is the same */
};

struct tls_facts {
	struct certificate_facts *chain; /* as presented, leaf first */
	size_t chain_count;              /* at most FACT_CHAIN_MAX */
	size_t chain_total;
	char *version;                   /* "TLS 1.3" */
	char *cipher;                    /* "TLS_AES_256_GCM_SHA384" */
	char *group;                     /* of the key exchange: "x25519", "X25519MLKEM768"; NULL without one */
	char *alpn;                      /* "h2"; NULL if none was agreed on */
	bool asked;                      /* it wanted to see a certificate of ours */
	struct certificate_facts *verified; /* the chain a client builds, leaf first, up to what it trusts */
	size_t verified_count;           /* 0: there is none. At most FACT_CHAIN_MAX */
	char *verify_text;               /* why a client would refuse, with names; NULL if it would not */
	char *tls_text;                  /* what is not as required; NULL if all is */
	char *staple_text;               /* what the OCSP staple says, or what is wrong with it; NULL if not asked for */
	char *revocation_text;           /* what was found out elsewhere; NULL: nothing yet, or not asked for */
	struct inquiry *inquiry;         /* NULL: nothing is to be asked */
	char *weak_text;                 /* which certificate is weak, and how; NULL if none is */
	int64_t verified_not_after_unix_s; /* of the chain a client builds, leaf included; 0 if none was built */
};

/* How one address fared, where all of a name are probed. */
struct address_result {
	struct address address;
	enum reason reason;
	enum phase phase;        /* where it ended */
	int64_t total_us;
	struct certificate certificate;
	char *detail;            /* as in struct result */
};

struct result {
	uint32_t target_id;
	enum reason reason;     /* of the connection: REASON_OK although a client would refuse the certificate */
	enum phase phase;       /* where it ended; PHASE_TOTAL when all went well */
	int error_number;       /* errno, 0 = none */
	int64_t started_unix_us;
	int64_t late_us;        /* how long after its due time it started */
	int64_t phase_us[PHASE_COUNT];
	int64_t rtt_us;         /* tcpi_rtt at connect */
	int64_t rtt_variance_us; /* tcpi_rttvar at the end */
	uint32_t retransmits;
	uint64_t bytes_sent;    /* acknowledged by the peer */
	uint64_t bytes_received;
	bool tried_again;       /* a recheck, not in the regular rhythm */
	struct address address; /* the one that worked, or was tried last */
	struct certificate certificate;
	char *detail;           /* cleaned: errno text, alert, OpenSSL's words, the resolver's; NULL if none */
	struct tls_facts *facts;
	/* Where all of a name were probed: in their order. Else, if the plan wants them told: those in vain. */
	struct address_result *addresses;
	size_t address_count;
	int64_t *step_us;       /* when each step of the exchange was done, from the start of the exchange */
	size_t step_count;
};

void result_init(struct result *result, uint32_t target_id);
void result_done(struct result *result);
/* `to` is overwritten, not freed; `from` keeps its values and owns nothing any more. */
void result_move(struct result *to, struct result *from);
void tls_facts_free(struct tls_facts *facts); /* NULL is fine */
void inquiry_free(struct inquiry *inquiry); /* NULL is fine */
void certificate_facts_free(struct certificate_facts *chain, size_t count);

#endif
