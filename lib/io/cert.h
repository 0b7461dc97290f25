/* SPDX-License-Identifier: MIT */
/*
 * cert - what an X.509 certificate says, as plain values, and OpenSSL's verdicts in our words. For lib/io only:
 *        the types below are OpenSSL's X509 and STACK_OF(X509).
 * Owns:  nothing of what it is given; what it returns is the caller's.
 * Fails: never on account of the certificate: a date that cannot be read is 0 (1970, so it has expired), a key
 *        that is not known shows its algorithm's name or number, bytes that are not text are shown as \xNN.
 */
#ifndef PORTBELL_IO_CERT_H
#define PORTBELL_IO_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/eval/result.h"

struct x509_st;
struct stack_st_X509;

struct asn1_string_st;

int64_t cert_time_unix_s(const struct asn1_string_st *time); /* NULL: 0 */
int64_t cert_not_before_unix_s(const struct x509_st *x509);
int64_t cert_not_after_unix_s(const struct x509_st *x509);
/* The earliest not_after from index `first` on; INT64_MAX if there is none. NULL is an empty chain. */
int64_t cert_earliest_end_unix_s(const struct stack_st_X509 *chain, int first);
/* When the first of them becomes valid or ends after now: until then a verdict on them holds. INT64_MAX: never. */
int64_t cert_next_bound_unix_s(const struct stack_st_X509 *chain, int64_t now_unix_s);

/* A name as clients compare it: no partial wildcards; the CN counts only where there is no DNS name. */
bool cert_is_for_name(struct x509_st *x509, const char *name, size_t name_bytes);
bool cert_is_for_address(struct x509_st *x509, const struct address *address);

/* For an X509_V_* code; REASON_OK for X509_V_OK. */
enum reason cert_reason(int verify_error);

/* cert_weak_key or cert_weak_signature where nobody should rely on it any more: RSA, DSA and DH below 2048 bits,
 * EC below 224, MD5, SHA-1 and older. `anchor`: it is trusted whoever signed it. A self-signed one's signature
 * proves nothing. */
enum reason cert_weakness(struct x509_st *x509, bool anchor);

/* Parts for people, cleaned and capped; the caller frees. */
char *cert_subject_text(const struct x509_st *x509);
char *cert_issuer_text(const struct x509_st *x509);
char *cert_issuer_part(const struct x509_st *x509, int nid); /* the first of that kind; NULL: there is none */
char *cert_key_text(const struct x509_st *x509);
char *cert_signature_text(const struct x509_st *x509);
/* Where it says that its issuer's certificate is (RFC 5280 section 4.2.2.1, caIssuers); NULL if it does not. */
char *cert_issuer_url(const struct x509_st *x509);
/* A chain in its order, capped. The caller: certificate_facts_free(). */
struct certificate_facts *cert_read_chain(const struct stack_st_X509 *chain, size_t *count);
/* What is presented, for people; the rest of the facts is empty. The caller: tls_facts_free(). */
struct tls_facts *cert_chain_facts(const struct stack_st_X509 *chain);

#endif
