/* SPDX-License-Identifier: MIT */
/*
 * make_cert - certificates for tests, made on the spot, good ones and evil ones.
 * Owns: a struct made holds references to its certificate and key; made_done() drops them.
 */
#ifndef PORTBELL_TESTS_MAKE_CERT_H
#define PORTBELL_TESTS_MAKE_CERT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct made {
	X509 *x509;
	EVP_PKEY *key;
};

struct cert_plan {
	const char *cn;
	int cn_bytes;              /* 0: up to its end */
	int cn_type;               /* V_ASN1_*; 0: UTF8String; the bytes are taken as they are */
	const struct made *issuer; /* NULL: self-signed */
	bool ca;
	int64_t not_before_unix_s;
	int64_t not_after_unix_s;
	const char *sans;          /* as OpenSSL's subjectAltName: "DNS:a.example,IP:192.0.2.1" */
	const char *usage;         /* extendedKeyUsage */
	EVP_PKEY *key;             /* NULL: a new P-256 one */
	const EVP_MD *digest;      /* NULL: SHA-256 */
	void (*finish)(X509 *x509); /* the last word before signing */
};

static inline void made_add_extension(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension;

	if (value == NULL)
		return;
	extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	ck_assert_msg(extension != NULL, "extension %s", value);
	ck_assert_int_eq(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static inline void made_set_subject(X509 *x509, const struct cert_plan *plan)
{
	X509_NAME *name = X509_NAME_new();
	int bytes = plan->cn_bytes != 0 ? plan->cn_bytes : (int)strlen(plan->cn);
	ASN1_STRING *value = ASN1_STRING_type_new(plan->cn_type != 0 ? plan->cn_type : V_ASN1_UTF8STRING);
	X509_NAME_ENTRY *entry;

	ASN1_STRING_set(value, plan->cn, bytes);
	X509_NAME_add_entry_by_NID(name, NID_organizationName, V_ASN1_UTF8STRING, (const unsigned char *)"Example",
				   -1, -1, 0);
	/* Set as data, not through the setter, which would judge it. */
	entry = X509_NAME_ENTRY_new();
	X509_NAME_ENTRY_set_object(entry, OBJ_nid2obj(NID_commonName));
	X509_NAME_ENTRY_set_data(entry, ASN1_STRING_type(value), ASN1_STRING_get0_data(value), bytes);
	X509_NAME_add_entry(name, entry, -1, 0);
	X509_set_subject_name(x509, name);
	X509_NAME_ENTRY_free(entry);
	ASN1_STRING_free(value);
	X509_NAME_free(name);
}

static inline struct made make_cert(const struct cert_plan *plan)
{
	static _Atomic long serial = 4096;
	struct made made = { .x509 = X509_new(), .key = plan->key };
	const struct made *issuer = plan->issuer != NULL ? plan->issuer : &made;
	const EVP_MD *digest = plan->digest != NULL ? plan->digest : EVP_sha256();

	if (made.key == NULL)
		made.key = EVP_EC_gen("P-256");
	else
		EVP_PKEY_up_ref(made.key);
	ck_assert_ptr_nonnull(made.key);
	X509_set_version(made.x509, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(made.x509), ++serial);
	made_set_subject(made.x509, plan);
	X509_set_issuer_name(made.x509, X509_get_subject_name(issuer->x509));
	ASN1_TIME_set(X509_getm_notBefore(made.x509), plan->not_before_unix_s);
	ASN1_TIME_set(X509_getm_notAfter(made.x509), plan->not_after_unix_s);
	X509_set_pubkey(made.x509, made.key);
	made_add_extension(made.x509, NID_basic_constraints, plan->ca ? "critical,CA:TRUE" : NULL);
	made_add_extension(made.x509, NID_ext_key_usage, plan->usage);
	made_add_extension(made.x509, NID_subject_alt_name, plan->sans);
	if (plan->finish != NULL)
		plan->finish(made.x509);
	/* Ed25519 has its own digest. */
	if (EVP_PKEY_get_base_id(issuer->key) == EVP_PKEY_ED25519)
		digest = NULL;
	ck_assert_int_gt(X509_sign(made.x509, issuer->key, digest), 0);
	return made;
}

static inline void made_done(struct made *made)
{
	X509_free(made->x509);
	EVP_PKEY_free(made->key);
	*made = (struct made){ 0 };
}

static inline void made_auto(struct made *made)
{
	made_done(made);
}

static inline void made_write_pem(const struct made *const *all, size_t count, const char *file)
{
	FILE *stream = fopen(file, "we");

	ck_assert_ptr_nonnull(stream);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(PEM_write_X509(stream, all[i]->x509), 1);
	ck_assert_int_eq(fclose(stream), 0);
}

#endif
