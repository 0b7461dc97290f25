/* SPDX-License-Identifier: MIT */
/*
 * What the chain that a server presents is worth. Two chains are told apart: the one that is presented, which may
 * hold what nobody needs, and the way that a client builds from the leaf up, which is the one that is judged.
 */
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum { NAMES_SHOWN = 5, NAME_SHOWN_BYTES = 100 };

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
const struct verdict *verdict_get(struct verdict_cache *cache, const uint8_t *key, int64_t now_unix_s)
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

void verdict_put(struct verdict_cache *cache, const uint8_t *key, const struct verdict *verdict,
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

/* Verification */

static bool hash_certificate(struct tls_domain *domain, X509 *x509, uint8_t fingerprint[FINGERPRINT_BYTES])
{
	size_t bytes;

	return tls_domain_encode(domain, x509, &bytes) &&
	       EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
	       EVP_DigestUpdate(domain->digest, domain->der, bytes) == 1 &&
	       EVP_DigestFinal_ex(domain->digest, fingerprint, NULL) == 1;
}

/* All that a verdict depends on. */
static bool hash_question(const struct tls_session *session, const STACK_OF(X509) *shown, uint8_t key[KEY_BYTES])
{
	struct tls_domain *domain = session->context->domain;
	const struct tls_wish *wish = session->wish;
	uint8_t verify = (uint8_t)wish->verify;
	/* The name is not part of the question unless it is verified; its end keeps it apart from what follows. */
	size_t name_bytes = wish->verify == VERIFY_FULL ? session->name_bytes : 0;
	const char *issuer = wish->issuer.text != NULL ? wish->issuer.text : "";
	bool good = EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
		    EVP_DigestUpdate(domain->digest, session->context->trust->number, TRUST_NUMBER_BYTES) == 1 &&
		    EVP_DigestUpdate(domain->digest, &verify, 1) == 1 &&
		    EVP_DigestUpdate(domain->digest, wish->server_name, name_bytes) == 1 &&
		    EVP_DigestUpdate(domain->digest, "", 1) == 1 &&
		    EVP_DigestUpdate(domain->digest, issuer, strlen(issuer) + 1) == 1 &&
		    EVP_DigestUpdate(domain->digest, session->certificate.fingerprint, FINGERPRINT_BYTES) == 1;

	for (int i = 1; good && i < sk_X509_num(shown); i++) {
		size_t bytes;

		good = tls_domain_encode(domain, sk_X509_value(shown, i), &bytes) &&
		       EVP_DigestUpdate(domain->digest, domain->der, bytes) == 1;
	}
	return good && EVP_DigestFinal_ex(domain->digest, key, NULL) == 1;
}

void way_done(struct way *way)
{
	sk_X509_pop_free(way->chain, X509_free);
	*way = (struct way){ 0 };
}

/* Whoever does not verify still wants to know when it is over. */
static void judge_dates_only(struct way *way, int64_t now_unix_s)
{
	way->error = X509_V_OK;
	for (int i = 0; i < sk_X509_num(way->chain) && way->error == X509_V_OK; i++) {
		const X509 *x509 = sk_X509_value(way->chain, i);

		way->depth = i;
		if (now_unix_s >= cert_not_after_unix_s(x509))
			way->error = X509_V_ERR_CERT_HAS_EXPIRED;
		else if (now_unix_s < cert_not_before_unix_s(x509))
			way->error = X509_V_ERR_CERT_NOT_YET_VALID;
	}
}

/* False: OpenSSL ran out of memory, and nothing is known. */
static bool find_way(const struct tls_session *session, X509_STORE_CTX *store, struct way *way)
{
	*way = (struct way){ .error = X509_V_OK };
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(store), session->now_unix_s);
	if (X509_verify_cert(store) != 1) {
		way->error = X509_STORE_CTX_get_error(store);
		way->depth = X509_STORE_CTX_get_error_depth(store);
		if (way->error == X509_V_OK)
			way->error = X509_V_ERR_UNSPECIFIED;
	}
	way->chain = X509_STORE_CTX_get1_chain(store);
	if (way->error == X509_V_ERR_OUT_OF_MEM || way->chain == NULL) {
		way_done(way);
		return false;
	}
	/* A chain that ends in something trusted was built, though a date or the like in it may be wrong. */
	way->built = sk_X509_num(way->chain) > X509_STORE_CTX_get_num_untrusted(store);
	if (session->wish->verify == VERIFY_OFF)
		judge_dates_only(way, session->now_unix_s);
	return true;
}

static bool is_named(const struct tls_session *session, X509 *leaf)
{
	if (session->literal.family != 0)
		return cert_is_for_address(leaf, &session->literal);
	return cert_is_for_name(leaf, session->wish->server_name, session->name_bytes);
}

/* Whoever writes ^R3$ means the CN, whoever writes the whole RFC 4514 text the whole. */
static bool is_issuer_fine(const struct tls_pattern *pattern, const X509 *leaf)
{
	static const int parts[] = { NID_commonName, NID_organizationName };
	AUTO(string) char *whole = pattern->expect != NULL ? cert_issuer_text(leaf) : NULL;

	if (tls_pattern_holds(pattern, whole))
		return true;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		AUTO(string) char *part = cert_issuer_part(leaf, parts[i]);

		if (tls_pattern_holds(pattern, part))
			return true;
	}
	return false;
}

/* The first weak one from index `first` on, before `end`; *at is where. What is trusted needs no signature. */
static enum reason find_weak(const struct way *way, int first, int end, int *at)
{
	for (int i = first; i < end; i++) {
		const bool anchor = way->built && i == sk_X509_num(way->chain) - 1;
		const enum reason reason = cert_weakness(sk_X509_value(way->chain, i), anchor);

		*at = i;
		if (reason != REASON_OK)
			return reason;
	}
	return REASON_OK;
}

static bool hash_key(struct tls_domain *domain, X509 *x509, uint8_t pin[PIN_BYTES])
{
	uint8_t *der = NULL;
	int bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);
	bool good = bytes > 0 && EVP_DigestInit_ex2(domain->digest, domain->sha256, NULL) == 1 &&
		    EVP_DigestUpdate(domain->digest, der, (size_t)bytes) == 1 &&
		    EVP_DigestFinal_ex(domain->digest, pin, NULL) == 1;

	OPENSSL_free(der);
	return good;
}

static bool make_verdict(const struct tls_session *session, const struct way *way, struct verdict *verdict)
{
	int unused;

	*verdict = (struct verdict){
		.error = way->error,
		.other_name = session->wish->verify == VERIFY_FULL &&
			      !is_named(session, sk_X509_value(way->chain, 0)),
		.other_issuer = !is_issuer_fine(&session->wish->issuer, sk_X509_value(way->chain, 0)),
		.weak_leaf = find_weak(way, 0, 1, &unused),
		.weak_chain = find_weak(way, 1, sk_X509_num(way->chain), &unused),
		.chain_not_after_unix_s = cert_earliest_end_unix_s(way->chain, 1),
		.verified_not_after_unix_s = way->built ? cert_earliest_end_unix_s(way->chain, 0) : 0,
	};
	return hash_key(session->context->domain, sk_X509_value(way->chain, 0), verdict->pin);
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

static bool look_up_verdict(struct tls_session *session, X509_STORE_CTX *store, struct verdict *verdict)
{
	struct tls_domain *domain = session->context->domain;
	const struct verdict *known;
	uint8_t key[KEY_BYTES];

	if (!hash_question(session, X509_STORE_CTX_get0_untrusted(store), key))
		return false;
	known = verdict_get(&domain->cache, key, session->now_unix_s);
	if (known != NULL) {
		domain->cached++;
		*verdict = *known;
		return true;
	}
	if (!find_way(session, store, &session->way) || !make_verdict(session, &session->way, verdict))
		return false;
	domain->verified++;
	verdict_put(&domain->cache, key, verdict, session->now_unix_s,
		    verdict_until_unix_s(store, session->now_unix_s));
	return true;
}

static bool is_pinned(const struct tls_wish *wish, const struct verdict *verdict)
{
	for (size_t i = 0; i < wish->pin_count; i++)
		if (memcmp(wish->pins[i], verdict->pin, PIN_BYTES) == 0)
			return true;
	return wish->pin_count == 0;
}

static enum reason verdict_reason(const struct tls_wish *wish, const struct verdict *verdict)
{
	if (verdict->error != X509_V_OK)
		return cert_reason(verdict->error);
	if (verdict->other_name)
		return REASON_CERT_HOSTNAME;
	if (!is_pinned(wish, verdict))
		return REASON_CERT_PIN;
	return verdict->other_issuer ? REASON_CERT_ISSUER : REASON_OK;
}

bool verdict_judge(struct tls_session *session, X509_STORE_CTX *store)
{
	struct certificate *certificate = &session->certificate;
	const struct verdict *verdict = &session->verdict;
	X509 *leaf = X509_STORE_CTX_get0_cert(store);

	if (!hash_certificate(session->context->domain, leaf, certificate->fingerprint) ||
	    !look_up_verdict(session, store, &session->verdict))
		return false;
	certificate->not_before_unix_s = cert_not_before_unix_s(leaf);
	certificate->not_after_unix_s = cert_not_after_unix_s(leaf);
	certificate->chain_not_after_unix_s = verdict->chain_not_after_unix_s;
	certificate->verdict = verdict_reason(session->wish, verdict);
	certificate->weak_leaf = verdict->weak_leaf;
	certificate->weak_chain = verdict->weak_chain;
	certificate->present = true;
	certificate->inquired = session->wish->inquiry;
	return true;
}

/* Words */

/* The verdict came from the cache: the way to it is found once more, as OpenSSL sets it up for a handshake. */
void verdict_find_way(struct tls_session *session)
{
	STACK_OF(X509) *shown = SSL_get_peer_cert_chain(session->ssl);
	X509_STORE_CTX *store;

	if (session->way.chain != NULL)
		return;
	store = X509_STORE_CTX_new_ex(session->context->domain->library, NULL);
	if (store != NULL &&
	    X509_STORE_CTX_init(store, session->context->trust->store, sk_X509_value(shown, 0), shown) == 1 &&
	    X509_STORE_CTX_set_default(store, "ssl_server") == 1 &&
	    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(store), SSL_get0_param(session->ssl)) == 1) {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(store), 0);
		find_way(session, store, &session->way);
	}
	X509_STORE_CTX_free(store);
}

static void add_place(struct str *str, int depth)
{
	if (depth > 0)
		str_addf(str, " (certificate %d above the server's)", depth);
}

static bool is_issuer_missing(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

/* A certificate of an authority may lack a root that we do not have; a server's own lacks what it has to show. */
static void explain_missing(struct str *str, const X509 *top, int depth)
{
	AUTO(string) char *issuer = cert_issuer_text(top);
	AUTO(string) char *url = cert_issuer_url(top);

	str_addf(str,
		 "an intermediate is missing%s: the issuer of %s, %s, is neither shown by the server nor trusted",
		 depth > 0 ? ", or the root is not trusted" : "",
		 depth > 0 ? "the last certificate shown" : "the certificate", issuer);
	if (url != NULL)
		str_addf(str, " (it is at %s)", url);
}

static void explain_error(struct str *str, const struct way *way)
{
	const int count = sk_X509_num(way->chain);

	if (is_issuer_missing(way->error) && count > 0) {
		explain_missing(str, sk_X509_value(way->chain, count - 1), count - 1);
		return;
	}
	str_add(str, X509_verify_cert_error_string(way->error));
	if (way->depth > 0 && way->depth < count) {
		AUTO(string) char *subject = cert_subject_text(sk_X509_value(way->chain, way->depth));

		str_addf(str, ": %s", subject);
	}
	add_place(str, way->depth);
}

static void explain_name(struct str *str, const struct tls_session *session, const struct certificate_facts *leaf)
{
	bool literal = session->literal.family != 0;
	int error = literal ? X509_V_ERR_IP_ADDRESS_MISMATCH : X509_V_ERR_HOSTNAME_MISMATCH;
	size_t shown = leaf->san_count < NAMES_SHOWN ? leaf->san_count : NAMES_SHOWN;

	str_addf(str, "%s: it is for ", X509_verify_cert_error_string(error));
	for (size_t i = 0; i < shown; i++) {
		const char *name = str_starts(leaf->sans[i], "DNS:") ? leaf->sans[i] + 4 : leaf->sans[i];

		str_add(str, i > 0 ? ", " : "");
		str_add_clean(str, name, strlen(name), NAME_SHOWN_BYTES);
	}
	if (shown == 0)
		str_add_clean(str, leaf->subject, strlen(leaf->subject), NAME_SHOWN_BYTES);
	if (leaf->san_total > shown)
		str_addf(str, " and %zu more", leaf->san_total - shown);
	str_addf(str, ", not for %s", session->wish->server_name);
}

static void explain_pin(struct str *str, const struct verdict *verdict)
{
	str_add(str, str->bytes > 0 ? "; " : "");
	str_add(str, "the key is sha256//");
	str_add_base64(str, verdict->pin, PIN_BYTES);
}

static char *weak_text(const struct way *way)
{
	struct str str = { 0 };
	int at = 0;
	enum reason reason = find_weak(way, 0, sk_X509_num(way->chain), &at);

	if (reason == REASON_OK)
		return NULL;
	AUTO(string)
	char *what = reason == REASON_CERT_WEAK_KEY ? cert_key_text(sk_X509_value(way->chain, at)) :
						      cert_signature_text(sk_X509_value(way->chain, at));
	AUTO(string) char *subject = cert_subject_text(sk_X509_value(way->chain, at));

	str_addf(&str, "%s: %s", what, subject);
	add_place(&str, at);
	return str_take(&str);
}

void verdict_explain(struct tls_session *session, struct tls_facts *facts)
{
	const struct verdict *verdict = &session->verdict;
	struct str str = { 0 };

	ERR_set_mark();
	verdict_find_way(session);
	if (session->way.chain != NULL && verdict->error != X509_V_OK)
		explain_error(&str, &session->way);
	if (verdict->other_name) {
		str_add(&str, str.bytes > 0 ? "; " : "");
		explain_name(&str, session, &facts->chain[0]);
	}
	if (!is_pinned(session->wish, verdict))
		explain_pin(&str, verdict);
	if (verdict->other_issuer)
		str_addf(&str, "%sissued by %s, not by one like \"%s\"", str.bytes > 0 ? "; " : "",
			 facts->chain[0].issuer, session->wish->issuer.text);
	facts->verify_text = str.bytes > 0 ? str_take(&str) : NULL;
	if (session->way.chain != NULL) {
		facts->weak_text = weak_text(&session->way);
		if (session->way.built)
			facts->verified = cert_read_chain(session->way.chain, &facts->verified_count);
	}
	ERR_pop_to_mark();
}
