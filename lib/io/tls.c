/* SPDX-License-Identifier: MIT */
#include "lib/io/tls.h"

#include <assert.h>
#include <errno.h>
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

#include "lib/base/address.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/crypto.h"

enum {
	KEY_BYTES = 32,
	TRUST_NUMBER_BYTES = 16,
	VERDICT_MAX = 4096,
	VERDICT_BUCKETS = 4096,
	VERIFY_DEPTH = 10,
	/* OpenSSL decodes and computes in one go, on a loop that others share: these keep the longest step of a
	 * handshake near 10 ms. Its own 100 KiB are too few for real certificates with thousands of names. */
	CERT_LIST_BYTES = 384 * 1024,
	CERT_COUNT_MAX = 100,
	STEP_BYTES = 64 * 1024,
	HANDSHAKE_BYTES = 1024 * 1024,
	LISTEN_BYTES = 4096,
	ODD_DH_BITS_MAX = 4096,
	NAME_BYTES = 256 /* of a server name, with its end */
};

/* Whatever can show a certificate is offered, and written out, since the system's openssl.cnf may ask for less. */
static const char probe_ciphers[] = "ALL:!aNULL:!eNULL";
static const char probe_ciphersuites[] =
	"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:"
	"TLS_AES_128_CCM_8_SHA256";

/* What verifying a presented chain gave: it depends on nothing but what is in the cache's key, and the time. */
struct verdict {
	int error;        /* X509_V_* of the chain */
	int depth;        /* where in the chain; 0 is the leaf */
	bool other_name;  /* the leaf is not for the name that was asked for */
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
	OSSL_LIB_CTX *library;
	EVP_MD *sha256;
	EVP_MD_CTX *digest;
	uint8_t *der; /* where certificates are encoded to be hashed */
	size_t der_capacity;
	uint64_t cached;
	uint64_t verified;
	struct verdict_cache cache;
};

struct tls_trust {
	X509_STORE *store;
	uint8_t number[TRUST_NUMBER_BYTES]; /* random: no counter to share between threads */
};

struct tls_context {
	SSL_CTX *ssl_ctx;
	struct tls_domain *domain;
	const struct tls_trust *trust;
};

struct tls_session {
	struct tls_context *context;
	SSL *ssl;
	const char *name;  /* lent by the wish */
	size_t name_bytes; /* without the root's dot */
	struct address literal; /* family 0: a name */
	enum verify verify;
	int64_t now_unix_s;
	struct certificate certificate;
	struct verdict verdict;
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
};


static const char *library_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return words != NULL ? words : "no reason given";
}

/* Verdict cache */

static uint16_t *verdict_bucket(struct verdict_cache *cache, const uint8_t *key)
{
	return &cache->buckets[(key[0] | key[1] << 8) % VERDICT_BUCKETS];
}

static struct verdict_entry *verdict_find(struct verdict_cache *cache, const uint8_t *key)
{
	for (uint16_t at = *verdict_bucket(cache, key); at != 0; at = cache->entries[at - 1].next) {
		if (memcmp(cache->entries[at - 1].key, key, KEY_BYTES) == 0)
			return &cache->entries[at - 1];
	}
	return NULL;
}

/* An entry of the future (the clock was set back) is as useless as one that has ended. */
static const struct verdict *verdict_get(struct verdict_cache *cache, const uint8_t *key, int64_t now_unix_s)
{
	const struct verdict_entry *entry = verdict_find(cache, key);

	if (entry == NULL || now_unix_s < entry->made_unix_s || now_unix_s >= entry->until_unix_s)
		return NULL;
	return &entry->verdict;
}

static void verdict_unlink(struct verdict_cache *cache, const struct verdict_entry *entry)
{
	uint16_t *link = verdict_bucket(cache, entry->key);

	while (&cache->entries[*link - 1] != entry)
		link = &cache->entries[*link - 1].next;
	*link = entry->next;
}

/* A random one has to go: with the oldest, one round over more than VERDICT_MAX targets would never hit. */
static struct verdict_entry *verdict_room(struct verdict_cache *cache, const uint8_t *key)
{
	struct verdict_entry *entry;

	if (cache->count < VERDICT_MAX)
		return &cache->entries[cache->count++];
	entry = &cache->entries[(key[2] | key[3] << 8) % VERDICT_MAX];
	verdict_unlink(cache, entry);
	return entry;
}

static void verdict_put(struct verdict_cache *cache, const uint8_t *key, const struct verdict *verdict,
			int64_t made_unix_s, int64_t until_unix_s)
{
	struct verdict_entry *entry = verdict_find(cache, key);

	if (entry == NULL) {
		uint16_t *bucket = verdict_bucket(cache, key);

		entry = verdict_room(cache, key);
		memcpy(entry->key, key, KEY_BYTES);
		entry->next = *bucket;
		*bucket = (uint16_t)(entry - cache->entries + 1);
	}
	entry->verdict = *verdict;
	entry->made_unix_s = made_unix_s;
	entry->until_unix_s = until_unix_s;
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
		error_set(err, "OpenSSL cannot be set up: %s", library_words());
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

static bool domain_encode(struct tls_domain *domain, X509 *x509, size_t *bytes)
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

static bool domain_hash_certificate(struct tls_domain *domain, X509 *x509, uint8_t fingerprint[FINGERPRINT_BYTES])
{
	size_t bytes;

	return domain_encode(domain, x509, &bytes) &&
	       EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
	       EVP_DigestUpdate(domain->digest, domain->der, bytes) == 1 &&
	       EVP_DigestFinal_ex(domain->digest, fingerprint, NULL) == 1;
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
			return error_where(err, file, "certificate %d: %s", added + 1, library_words());
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
		return error_where(err, file, "%s", library_words());
	}
	list = PEM_X509_INFO_read_bio_ex(bio, NULL, no_password, NULL, NULL, NULL);
	if (list == NULL)
		return error_where(err, file, "cannot be read as PEM: %s", library_words());
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

/* Verification */

static bool session_hash_chain(struct tls_session *session, const STACK_OF(X509) *shown, uint8_t key[KEY_BYTES])
{
	struct tls_domain *domain = session->context->domain;
	uint8_t verify = (uint8_t)session->verify;
	/* The name is not part of the question unless it is verified; its end keeps it apart from what follows. */
	size_t name_bytes = session->verify == VERIFY_FULL ? session->name_bytes : 0;
	bool good = EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
		    EVP_DigestUpdate(domain->digest, session->context->trust->number, TRUST_NUMBER_BYTES) == 1 &&
		    EVP_DigestUpdate(domain->digest, &verify, 1) == 1 &&
		    EVP_DigestUpdate(domain->digest, session->name, name_bytes) == 1 &&
		    EVP_DigestUpdate(domain->digest, "", 1) == 1 &&
		    EVP_DigestUpdate(domain->digest, session->certificate.fingerprint, FINGERPRINT_BYTES) == 1;

	for (int i = 1; good && i < sk_X509_num(shown); i++) {
		size_t bytes;

		good = domain_encode(domain, sk_X509_value(shown, i), &bytes) &&
		       EVP_DigestUpdate(domain->digest, domain->der, bytes) == 1;
	}
	return good && EVP_DigestFinal_ex(domain->digest, key, NULL) == 1;
}

static bool session_is_named(const struct tls_session *session, X509 *leaf)
{
	if (session->literal.family != 0)
		return cert_is_for_address(leaf, &session->literal);
	return cert_is_for_name(leaf, session->name, session->name_bytes);
}

/* False: OpenSSL ran out of memory, and nothing is known. */
static bool session_verify(const struct tls_session *session, X509_STORE_CTX *store, struct verdict *verdict)
{
	const STACK_OF(X509) *chain;
	bool built;

	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(store), session->now_unix_s);
	if (X509_verify_cert(store) == 1) {
		verdict->error = X509_V_OK;
	} else {
		verdict->error = X509_STORE_CTX_get_error(store);
		verdict->depth = X509_STORE_CTX_get_error_depth(store);
		if (verdict->error == X509_V_OK)
			verdict->error = X509_V_ERR_UNSPECIFIED;
	}
	if (verdict->error == X509_V_ERR_OUT_OF_MEM)
		return false;
	verdict->other_name = session->verify == VERIFY_FULL &&
			      !session_is_named(session, X509_STORE_CTX_get0_cert(store));
	/* A chain that ends in something trusted was built, though a date or the like in it may be wrong. */
	chain = X509_STORE_CTX_get0_chain(store);
	built = sk_X509_num(chain) > X509_STORE_CTX_get_num_untrusted(store);
	verdict->verified_not_after_unix_s = built ? cert_earliest_end_unix_s(chain, 0) : 0;
	verdict->chain_not_after_unix_s =
		cert_earliest_end_unix_s(built ? chain : X509_STORE_CTX_get0_untrusted(store), 1);
	return true;
}

static int64_t verdict_until_unix_s(X509_STORE_CTX *store, int64_t now_unix_s)
{
	int64_t until = now_unix_s + S_PER_DAY;
	int64_t bounds[] = {
		cert_next_bound_unix_s(X509_STORE_CTX_get0_untrusted(store), now_unix_s),
		cert_next_bound_unix_s(X509_STORE_CTX_get0_chain(store), now_unix_s),
	};

	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		if (bounds[i] < until)
			until = bounds[i];
	}
	return until;
}

static bool session_verdict(struct tls_session *session, X509_STORE_CTX *store, struct verdict *verdict)
{
	struct tls_domain *domain = session->context->domain;
	const struct verdict *known;
	uint8_t key[KEY_BYTES];

	if (!session_hash_chain(session, X509_STORE_CTX_get0_untrusted(store), key))
		return false;
	known = verdict_get(&domain->cache, key, session->now_unix_s);
	if (known != NULL) {
		domain->cached++;
		*verdict = *known;
		return true;
	}
	if (!session_verify(session, store, verdict))
		return false;
	domain->verified++;
	verdict_put(&domain->cache, key, verdict, session->now_unix_s,
		    verdict_until_unix_s(store, session->now_unix_s));
	return true;
}

static enum reason verdict_reason(const struct verdict *verdict)
{
	if (verdict->error == X509_V_OK && verdict->other_name)
		return REASON_CERT_HOSTNAME;
	return cert_reason(verdict->error);
}

static bool session_judge(struct tls_session *session, X509_STORE_CTX *store)
{
	struct certificate *certificate = &session->certificate;
	X509 *leaf = X509_STORE_CTX_get0_cert(store);

	if (!domain_hash_certificate(session->context->domain, leaf, certificate->fingerprint))
		return false;
	if (session->verify == VERIFY_OFF)
		session->verdict.chain_not_after_unix_s =
			cert_earliest_end_unix_s(X509_STORE_CTX_get0_untrusted(store), 1);
	else if (!session_verdict(session, store, &session->verdict))
		return false;
	certificate->not_before_unix_s = cert_not_before_unix_s(leaf);
	certificate->not_after_unix_s = cert_not_after_unix_s(leaf);
	certificate->chain_not_after_unix_s = session->verdict.chain_not_after_unix_s;
	certificate->verdict = verdict_reason(&session->verdict);
	certificate->present = true;
	return true;
}

/* The server asks who we are: we have nothing to show, but remember that it asked. */
static int on_client_certificate(SSL *ssl, X509 **certificate, EVP_PKEY **key)
{
	struct tls_session *session = SSL_get_app_data(ssl);

	(void)certificate;
	(void)key;
	session->asked = true;
	return 0;
}

/*
 * OpenSSL's place for a verification of one's own. Whatever the verdict, the handshake goes on; only when there is
 * none it ends. What this leaves in the error queue OpenSSL clears, as it does after its own verification.
 */
static int on_chain(X509_STORE_CTX *store, void *arg)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_session *session = SSL_get_app_data(ssl);

	(void)arg;
	session->local_trouble = !session_judge(session, store);
	if (session->local_trouble)
		X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
	return !session->local_trouble;
}

/* Limits of ours that OpenSSL does not have */

static const char too_many_certificates[] = "certificate list too big (more than 100 certificates)";
static const char list_too_long[] = "certificate list too big (more than 384 KiB)";
static const char endless[] = "handshake too long (more than 1 MiB and no end)";
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
static void on_message(int sent, int version, int type, const void *data, size_t bytes, SSL *ssl, void *arg)
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

/*
 * OpenSSL goes on as long as there is something to read, and some messages lead nowhere: HelloRequests in a
 * handshake, tickets and new keys after it. A peer that says nothing else and is fast would hold the loop for ever.
 */
static long on_bio(BIO *bio, int operation, const char *data, size_t bytes, int number, long larger, int status,
		   size_t *processed)
{
	struct tls_session *session = (struct tls_session *)BIO_get_callback_arg(bio);

	(void)data;
	(void)bytes;
	(void)number;
	(void)larger;
	if (operation == (BIO_CB_READ | BIO_CB_RETURN) && status > 0)
		session->bytes += *processed;
	if (operation != BIO_CB_READ || session->bytes < session->bytes_max)
		return status;
	session->cut = true;
	BIO_clear_retry_flags(bio);
	BIO_set_retry_read(bio);
	return -1;
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

static bool context_set_up(SSL_CTX *ctx, const struct tls_trust *trust)
{
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_security_callback(ctx, on_security);
	SSL_CTX_set_msg_callback(ctx, on_message);
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
	SSL_CTX_set_client_cert_cb(ctx, on_client_certificate);
	SSL_CTX_set1_cert_store(ctx, trust->store);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, probe_ciphers) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, probe_ciphersuites) == 1;
}

struct tls_context *tls_context_new(struct tls_domain *domain, const struct tls_trust *trust, struct error *err)
{
	struct tls_context *context = mem_new(struct tls_context);

	ERR_clear_error();
	context->domain = domain;
	context->trust = trust;
	context->ssl_ctx = SSL_CTX_new_ex(domain->library, NULL, TLS_client_method());
	if (context->ssl_ctx == NULL || !context_set_up(context->ssl_ctx, trust)) {
		error_set(err, "a TLS context cannot be made: %s", library_words());
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

/* Session */

static bool session_set_name(struct tls_session *session, const char *name)
{
	char sni[NAME_BYTES];

	session->name = name;
	session->name_bytes = strlen(name);
	if (address_from_literal(name, 0, &session->literal))
		return true;
	session->literal.family = 0;
	if (session->name_bytes > 0 && name[session->name_bytes - 1] == '.')
		session->name_bytes--;
	if (session->name_bytes == 0 || session->name_bytes >= sizeof(sni))
		return false;
	memcpy(sni, name, session->name_bytes);
	sni[session->name_bytes] = '\0';
	return SSL_set_tlsext_host_name(session->ssl, sni) == 1;
}

struct tls_session *tls_session_new(struct tls_context *context, int fd, const struct tls_wish *wish,
				    struct error *err)
{
	struct tls_session *session = mem_new(struct tls_session);

	ERR_clear_error();
	session->context = context;
	session->verify = wish->verify;
	session->ssl = SSL_new(context->ssl_ctx);
	if (session->ssl == NULL || SSL_set_fd(session->ssl, fd) != 1 ||
	    SSL_set_app_data(session->ssl, session) != 1 || !session_set_name(session, wish->server_name)) {
		error_set(err, "a TLS session cannot be made: %s", library_words());
		tls_session_free(TAKE(session));
		return NULL;
	}
	BIO_set_callback_ex(SSL_get_rbio(session->ssl), on_bio);
	BIO_set_callback_arg(SSL_get_rbio(session->ssl), (char *)session);
	return session;
}

/* What the error queue tells; it is empty afterwards. All strings are OpenSSL's constants. */
struct cause {
	const char *first;  /* the root of it */
	const char *newest;
	int ssl_reason;     /* SSL_R_*, the newest; 0: none */
	bool memory;
};

static struct cause cause_take(void)
{
	struct cause cause = { 0 };
	unsigned long code;

	while ((code = ERR_get_error()) != 0) {
		cause.newest = ERR_reason_error_string(code);
		if (cause.first == NULL)
			cause.first = cause.newest;
		if (ERR_GET_LIB(code) == ERR_LIB_SSL)
			cause.ssl_reason = ERR_GET_REASON(code);
		cause.memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
	}
	return cause;
}

/* The library's common reasons (ERR_R_ASN1_LIB) are far above those that stand for alerts. */
static bool is_alert(const struct cause *cause)
{
	return cause->ssl_reason >= SSL_AD_REASON_OFFSET && cause->ssl_reason <= SSL_AD_REASON_OFFSET + UINT8_MAX;
}

static char *alert_text(const struct cause *cause)
{
	int alert = cause->ssl_reason - SSL_AD_REASON_OFFSET;
	const char *name = SSL_alert_desc_string_long(alert);

	if (strcmp(name, "unknown") == 0)
		name = cause->newest != NULL ? cause->newest : "unknown alert";
	return mem_printf("%s (alert %d)", name, alert);
}

static char *protocol_text(const struct tls_session *session, const struct cause *cause)
{
	const char *newest = cause->newest != NULL ? cause->newest : "no reason given";

	if (session->refused != NULL)
		return mem_strdup(session->refused);
	switch (cause->ssl_reason) {
	case SSL_R_EXCESSIVE_MESSAGE_SIZE:
		if (SSL_get_state(session->ssl) == TLS_ST_CR_CERT)
			return mem_strdup(list_too_long);
		break;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_UNEXPECTED_RECORD:
		return mem_printf("%s (not TLS?)", newest);
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_WRONG_SSL_VERSION:
		return mem_printf("%s (older than TLS 1.0?)", newest);
	default:
		break;
	}
	if (cause->first != NULL && strcmp(cause->first, newest) != 0)
		return mem_printf("%s: %s", newest, cause->first);
	return mem_strdup(newest);
}

static char *errno_text(int error_number)
{
	errno = error_number;
	return mem_printf("%m");
}

static enum reason errno_reason(int error_number)
{
	switch (error_number) {
	case ECONNRESET:
		return REASON_CONNECT_RESET;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
		return REASON_CONNECT_UNREACHABLE;
	case ETIMEDOUT:
		return REASON_TLS_TIMEOUT;
	case ENOMEM:
	case ENOBUFS:
		return REASON_LOCAL_ERROR;
	default:
		return REASON_TLS_CLOSED;
	}
}

static void session_fail(struct tls_session *session, int ssl_error, int error_number)
{
	struct cause cause = cause_take();

	if (session->local_trouble || cause.memory) {
		session->failure = REASON_LOCAL_ERROR;
		session->failure_text = mem_strdup("out of memory inside OpenSSL");
	} else if (is_alert(&cause)) {
		session->failure = REASON_TLS_ALERT;
		session->failure_text = alert_text(&cause);
	} else if (ssl_error == SSL_ERROR_SYSCALL && error_number != 0) {
		session->failure = errno_reason(error_number);
		session->error_number = error_number;
		session->failure_text = errno_text(error_number);
	} else if (ssl_error != SSL_ERROR_SSL || cause.ssl_reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		session->failure = REASON_TLS_CLOSED;
		session->failure_text = mem_strdup("closed by the peer during the handshake");
	} else {
		session->failure = REASON_TLS_PROTOCOL;
		session->failure_text = protocol_text(session, &cause);
	}
}

static enum tls_step session_step(struct tls_session *session, int status)
{
	const int error_number = errno;
	const int ssl_error = SSL_get_error(session->ssl, status);

	switch (ssl_error) {
	case SSL_ERROR_NONE:
		ERR_clear_error();
		return TLS_STEP_DONE;
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_STEP_WANT_WRITE;
	default:
		session_fail(session, ssl_error, error_number);
		return TLS_STEP_FAILED;
	}
}

enum tls_step tls_session_handshake(struct tls_session *session, int64_t now_unix_s)
{
	enum tls_step step;

	assert(session->failure == REASON_OK);
	session->now_unix_s = now_unix_s;
	session->bytes_max = session->bytes + STEP_BYTES;
	session->cut = false;
	ERR_clear_error();
	errno = 0;
	step = session_step(session, SSL_connect(session->ssl));
	if (step != TLS_STEP_WANT_READ || !session->cut)
		return step;
	if (session->bytes < HANDSHAKE_BYTES)
		return TLS_STEP_AGAIN;
	session->refused = endless;
	session_fail(session, SSL_ERROR_SSL, 0);
	return TLS_STEP_FAILED;
}

bool tls_session_may_be_refused(const struct tls_session *session)
{
	return session->asked && SSL_version(session->ssl) >= TLS1_3_VERSION;
}

enum tls_step tls_session_listen(struct tls_session *session)
{
	enum tls_step step;
	char unused;

	if (!session->listening) {
		session->listening = true;
		session->bytes_max = session->bytes + LISTEN_BYTES;
		session->cut = false;
		SSL_set_read_ahead(session->ssl, 0); /* else a read would take 16 KiB */
	}
	ERR_clear_error();
	errno = 0;
	step = session_step(session, SSL_peek(session->ssl, &unused, sizeof(unused)));
	return step == TLS_STEP_WANT_READ && session->cut ? TLS_STEP_DONE : step;
}

enum tls_step tls_session_read(struct tls_session *session, void *data, size_t capacity, size_t *got)
{
	enum tls_step step;

	*got = 0;
	session->bytes_max = session->bytes + STEP_BYTES;
	session->cut = false;
	ERR_clear_error();
	errno = 0;
	step = session_step(session, SSL_read_ex(session->ssl, data, capacity, got));
	return step == TLS_STEP_WANT_READ && session->cut ? TLS_STEP_AGAIN : step;
}

/* A write that had to wait may be given again from another place, and part of it may go. */
enum tls_step tls_session_write(struct tls_session *session, const void *data, size_t bytes, size_t *sent)
{
	*sent = 0;
	ERR_clear_error();
	errno = 0;
	return session_step(session, SSL_write_ex(session->ssl, data, bytes, sent));
}

enum reason tls_session_failure(const struct tls_session *session, const char **text, int *error_number)
{
	*text = session->failure_text;
	*error_number = session->error_number;
	return session->failure;
}

void tls_session_certificate(const struct tls_session *session, struct certificate *certificate)
{
	*certificate = session->certificate;
}

static const char *version_text(const SSL *ssl)
{
	switch (SSL_version(ssl)) {
	case TLS1_VERSION:
		return "TLS 1.0";
	case TLS1_1_VERSION:
		return "TLS 1.1";
	case TLS1_2_VERSION:
		return "TLS 1.2";
	case TLS1_3_VERSION:
		return "TLS 1.3";
	default:
		return SSL_get_version(ssl);
	}
}

static char *verdict_text(const struct tls_session *session)
{
	const struct verdict *verdict = &session->verdict;
	bool literal = session->literal.family != 0;
	int name_error = literal ? X509_V_ERR_IP_ADDRESS_MISMATCH : X509_V_ERR_HOSTNAME_MISMATCH;
	struct str str = { 0 };

	if (verdict->error != X509_V_OK)
		str_add(&str, X509_verify_cert_error_string(verdict->error));
	if (verdict->error != X509_V_OK && verdict->depth > 0)
		str_addf(&str, " (certificate %d above the server's)", verdict->depth);
	if (verdict->other_name)
		str_addf(&str, "%s%s", str.bytes > 0 ? "; " : "", X509_verify_cert_error_string(name_error));
	return str.bytes > 0 ? str_take(&str) : NULL;
}

struct tls_facts *tls_session_facts(const struct tls_session *session)
{
	const STACK_OF(X509) *chain = SSL_get_peer_cert_chain(session->ssl);
	const SSL_CIPHER *cipher = SSL_get_current_cipher(session->ssl);
	struct tls_facts *facts;

	if (!session->certificate.present || chain == NULL)
		return NULL;
	facts = cert_chain_facts(chain);
	facts->version = mem_strdup(version_text(session->ssl));
	facts->cipher = cipher == NULL ? NULL : mem_strdup(SSL_CIPHER_standard_name(cipher));
	facts->verify_text = verdict_text(session);
	facts->verified_not_after_unix_s = session->verdict.verified_not_after_unix_s;
	return facts;
}

void tls_session_goodbye(struct tls_session *session)
{
	if (session->failure != REASON_OK || !SSL_is_init_finished(session->ssl))
		return;
	ERR_clear_error();
	SSL_shutdown(session->ssl);
	ERR_clear_error();
}

void tls_session_free(struct tls_session *session)
{
	if (session == NULL)
		return;
	SSL_free(session->ssl);
	free(session->failure_text);
	free(session);
}
