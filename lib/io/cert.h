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

/* The chain for people, in its order and capped; the rest of the facts is empty. The caller: tls_facts_free(). */
struct tls_facts *cert_chain_facts(const struct stack_st_X509 *chain);

#endif
