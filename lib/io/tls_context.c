/* SPDX-License-Identifier: MIT */
/* What handshakes stand on: the library of a thread, trusted certificates, contexts. */
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/io/crypto.h"
#include "lib/io/tls_private.h"

enum {
	VERIFY_DEPTH = 10,
	/* OpenSSL decodes and computes in one go, on a loop that others share: these keep the longest step of a
	 * handshake near 10 ms. Its own 100 KiB are too few for real certificates with thousands of names. */
	CERT_LIST_BYTES = 384 * 1024,
	CERT_COUNT_MAX = 100,
	ODD_DH_BITS_MAX = 4096
};

/* Whatever can show a certificate is offered, and written out, since the system's openssl.cnf may ask for less. */
static const char probe_ciphers[] = "ALL:!aNULL:!eNULL";
const char tls_probe_ciphersuites[] =
	"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:"
	"TLS_AES_128_CCM_8_SHA256";

const char *tls_library_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return words != NULL ? words : "no reason given";
}

/* Domain */

struct tls_domain *tls_domain_new(struct error *err)
{
	struct tls_domain *domain = mem_new(struct tls_domain);

	ERR_clear_error();
	domain->library = OSSL_LIB_CTX_new();
	if (domain->library != NULL)
		domain->sha256 = EVP_MD_fetch(domain->library, "SHA256", NULL);
	domain->digest = EVP_MD_CTX_new();
	if (domain->sha256 == NULL || domain->digest == NULL) {
		error_set(err, "OpenSSL cannot be set up: %s", tls_library_words());
		tls_domain_free(TAKE(domain));
	}
	return domain;
}

void tls_domain_free(struct tls_domain *domain)
{
	if (domain == NULL)
		return;
	EVP_MD_CTX_free(domain->digest);
	EVP_MD_free(domain->sha256);
	OSSL_LIB_CTX_free(domain->library);
	free(domain->der);
	free(domain);
}

void tls_domain_counts(const struct tls_domain *domain, uint64_t *cached, uint64_t *verified)
{
	*cached = domain->cached;
	*verified = domain->verified;
}

bool tls_domain_encode(struct tls_domain *domain, X509 *x509, size_t *bytes)
{
	int needed = i2d_X509(x509, NULL);
	uint8_t *end;

	if (needed <= 0)
		return false;
	domain->der = mem_grow(domain->der, &domain->der_capacity, (size_t)needed, 1);
	end = domain->der;
	*bytes = (size_t)i2d_X509(x509, &end);
	return true;
}

/* Trust */

static void pem_list_free(STACK_OF(X509_INFO) *list)
{
	sk_X509_INFO_pop_free(list, X509_INFO_free);
}

AUTO_DEFINE(bio, BIO *, BIO_free_all)
AUTO_DEFINE(pem_list, STACK_OF(X509_INFO) *, pem_list_free)

/* Instead of OpenSSL's own, which asks on the terminal. */
static int no_password(char *buffer, int capacity, int writing, void *arg)
{
	(void)buffer;
	(void)capacity;
	(void)writing;
	(void)arg;
	return -1;
}

static bool trust_add_list(X509_STORE *store, const STACK_OF(X509_INFO) *list, const char *file,
			   struct error *err)
{
	int added = 0;

	for (int i = 0; i < sk_X509_INFO_num(list); i++) {
		X509 *x509 = sk_X509_INFO_value(list, i)->x509;

		if (x509 == NULL)
			continue;
		/* What OpenSSL finds out about a certificate at its first use is found out now, by one thread. */
		X509_check_purpose(x509, -1, 0);
		if (X509_STORE_add_cert(store, x509) != 1)
			return error_where(err, file, "certificate %d: %s", added + 1, tls_library_words());
		added++;
	}
	return added > 0 || error_where(err, file, "holds no certificate in PEM form");
}

static bool trust_add_file(X509_STORE *store, const char *file, struct error *err)
{
	AUTO(bio) BIO *bio = NULL;
	AUTO(pem_list) STACK_OF(X509_INFO) *list = NULL;
	FILE *stream = fopen(file, "re");

	if (stream == NULL)
		return error_where(err, file, "%m");
	bio = BIO_new_fp(stream, BIO_CLOSE);
	if (bio == NULL) {
		fclose(stream);
		return error_where(err, file, "%s", tls_library_words());
	}
	list = PEM_X509_INFO_read_bio_ex(bio, NULL, no_password, NULL, NULL, NULL);
	if (list == NULL)
		return error_where(err, file, "cannot be read as PEM: %s", tls_library_words());
	return trust_add_list(store, list, file, err);
}

/* A bundle, not a directory of hashed links: that would be read during handshakes, and a prober opens no file. */
static bool trust_add_system(X509_STORE *store, struct error *err)
{
	const char *const files[] = { X509_get_default_cert_file(), "/etc/ssl/certs/ca-certificates.crt" };
	const char *chosen = getenv(X509_get_default_cert_file_env());

	if (chosen != NULL)
		return trust_add_file(store, chosen, err);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (trust_add_file(store, files[i], err))
			return true;
	}
	return error_where(err, files[0], "the system has no CA certificates (package ca-certificates), "
			   "and no others were named");
}

static bool trust_fill(X509_STORE *store, const char *const *files, size_t file_count, struct error *err)
{
	if (file_count == 0)
		return trust_add_system(store, err);
	for (size_t i = 0; i < file_count; i++) {
		if (!trust_add_file(store, files[i], err))
			return false;
	}
	/* Who names a file trusts what is in it, be it an intermediate or the server's own certificate. */
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	return true;
}

struct tls_trust *tls_trust_new(const char *const *files, size_t file_count, struct error *err)
{
	struct tls_trust *trust = mem_new(struct tls_trust);
	bool filled;

	ERR_clear_error();
	crypto_random(trust->number, sizeof(trust->number));
	trust->store = X509_STORE_new();
	filled = trust->store != NULL ? trust_fill(trust->store, files, file_count, err) :
					error_set(err, "out of memory inside OpenSSL");
	if (!filled)
		tls_trust_free(TAKE(trust));
	ERR_clear_error();
	return trust;
}

void tls_trust_free(struct tls_trust *trust)
{
	if (trust == NULL)
		return;
	X509_STORE_free(trust->store);
	free(trust);
}

/* Limits of ours that OpenSSL does not have */

static const char too_many_certificates[] = "certificate list too big (more than 100 certificates)";
static const char odd_dh_group[] = "Diffie-Hellman group too big (more than 4096 bits and not a standard one)";

static size_t number(const uint8_t *data, size_t bytes)
{
	size_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | data[i];
	return value;
}

/* RFC 8446 section 4.4.2, RFC 5246 section 7.4.2; `list` begins with its length. Stops where it makes no sense. */
static int count_certificates(const uint8_t *list, size_t bytes, bool has_extensions)
{
	size_t at = 3;
	int count = 0;

	while (at + 3 <= bytes && count <= CERT_COUNT_MAX) {
		at += 3 + number(list + at, 3);
		if (has_extensions && at + 2 <= bytes)
			at += 2 + number(list + at, 2);
		count++;
	}
	return count;
}

/*
 * OpenSSL tells of a message when it has come whole and before it looks into it; then it decodes any number of
 * certificates (1 MiB of small ones: 300 ms). A callback cannot refuse, but what it is shown is the very buffer
 * that is read next, and a list of a wrong length ends the handshake there. If that changes, this limit is lost.
 */
void context_on_message(int sent, int version, int type, const void *data, size_t bytes, SSL *ssl, void *arg)
{
	struct tls_session *session = SSL_get_app_data(ssl);
	uint8_t *message = (uint8_t *)data;
	size_t list = 4;

	(void)arg;
	if (sent != 0 || type != SSL3_RT_HANDSHAKE || bytes < 8 || message[0] != SSL3_MT_CERTIFICATE)
		return;
	if (version == TLS1_3_VERSION)
		list += 1 + (size_t)message[4];
	if (list + 3 > bytes)
		return;
	if (count_certificates(message + list, bytes - list, version == TLS1_3_VERSION) > CERT_COUNT_MAX) {
		session->refused = too_many_certificates;
		memset(message + list, 0xff, 3);
	}
}

/* More is allowed than at OpenSSL's level 0, which refuses short Diffie-Hellman groups; not what burns time. */
static int on_security(const SSL *ssl, const SSL_CTX *ctx, int operation, int bits, int nid, void *other,
		       void *arg)
{
	struct tls_session *session;
	char group[64];

	(void)ctx;
	(void)bits;
	(void)nid;
	(void)arg;
	if (operation != SSL_SECOP_TMP_DH || other == NULL || EVP_PKEY_get_bits(other) <= ODD_DH_BITS_MAX ||
	    EVP_PKEY_get_group_name(other, group, sizeof(group), NULL) == 1)
		return 1;
	/* For a group that is not known OpenSSL takes an exponent as long as the group: 10,000 bits, 600 ms. */
	session = SSL_get_app_data(ssl);
	session->refused = odd_dh_group;
	return 0;
}

/* Context */

/*
 * OpenSSL's place for a verification of one's own. Whatever the verdict, the handshake goes on; only when there is
 * none it ends. What this leaves in the error queue OpenSSL clears, as it does after its own verification.
 */
static int on_chain(X509_STORE_CTX *store, void *arg)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_session *session = SSL_get_app_data(ssl);

	(void)arg;
	session->local_trouble = !verdict_judge(session, store);
	if (session->local_trouble)
		X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
	return !session->local_trouble;
}

/* The server asks who we are. Called before OpenSSL looks whether we have something to show. */
static int on_asked(SSL *ssl, void *arg)
{
	struct tls_session *session = SSL_get_app_data(ssl);

	(void)arg;
	session->asked = true;
	return 1;
}

static bool context_set_up(SSL_CTX *ctx, const struct tls_trust *trust)
{
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_security_callback(ctx, on_security);
	SSL_CTX_set_msg_callback(ctx, context_on_message);
	SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
				 SSL_OP_TLSEXT_PADDING);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(ctx, CERT_LIST_BYTES);
	/* One read for a flight instead of two a record; it also takes the tickets a server sends unasked off the
	 * socket, whose close would else become a reset. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(ctx, VERIFY_DEPTH);
	SSL_CTX_set_cert_verify_callback(ctx, on_chain, NULL);
	SSL_CTX_set_cert_cb(ctx, on_asked, NULL);
	SSL_CTX_set1_cert_store(ctx, trust->store);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, probe_ciphers) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, tls_probe_ciphersuites) == 1;
}

struct tls_context *tls_context_new(struct tls_domain *domain, const struct tls_trust *trust,
				    const struct tls_client *client, struct error *err)
{
	struct tls_context *context = mem_new(struct tls_context);

	ERR_clear_error();
	context->domain = domain;
	context->trust = trust;
	context->ssl_ctx = SSL_CTX_new_ex(domain->library, NULL, TLS_client_method());
	if (context->ssl_ctx == NULL || !context_set_up(context->ssl_ctx, trust) ||
	    (client != NULL && !tls_client_use(client, context->ssl_ctx))) {
		error_set(err, "a TLS context cannot be made: %s", tls_library_words());
		tls_context_free(TAKE(context));
	}
	/* The random numbers a context needs leave a generator behind that belongs to this thread and this library
	 * context, and the thread may outlive the domain. */
	OPENSSL_thread_stop_ex(domain->library);
	return context;
}

void tls_context_free(struct tls_context *context)
{
	if (context == NULL)
		return;
	SSL_CTX_free(context->ssl_ctx);
	free(context);
}
