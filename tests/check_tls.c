/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls.h"
#include "lib/proto/expect.h"
#include "tests/make_cert.h"
#include "tests/tls_world.h"

/* Versions, facts */

static const struct {
	int version;
	const char *shown;
} version_rows[] = {
	{ TLS1_VERSION, "TLS 1.0" }, { TLS1_1_VERSION, "TLS 1.1" }, { TLS1_2_VERSION, "TLS 1.2" },
	{ TLS1_3_VERSION, "TLS 1.3" },
};

START_TEST(a_good_server_of_each_version)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	const struct made *others[] = { &world.between };
	struct certificate certificate;
	struct tls_session *session;
	uint8_t fingerprint[FINGERPRINT_BYTES];

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	peer_init(&peer, &leaf, others, 1);
	SSL_CTX_set_max_proto_version(peer.ctx, version_rows[_i].version);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_ptr_null(tls_session_facts(session));
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	ck_assert_str_eq(reason_name(certificate.verdict), "ok");
	X509_digest(leaf.x509, EVP_sha256(), fingerprint, NULL);
	ck_assert_mem_eq(certificate.fingerprint, fingerprint, sizeof(fingerprint));
	ck_assert_int_eq(certificate.not_before_unix_s, noon - 10 * day);
	ck_assert_int_eq(certificate.not_after_unix_s, noon + 80 * day);
	ck_assert_int_eq(certificate.chain_not_after_unix_s, noon + 1000 * day);
	facts = tls_session_facts(session);
	ck_assert_str_eq(facts->version, version_rows[_i].shown);
	ck_assert_str_eq(facts->group, "x25519");
	ck_assert_ptr_null(facts->alpn);
	ck_assert(!facts->asked);
	ck_assert_int_eq(strncmp(facts->cipher, "TLS_", 4), 0);
	ck_assert_ptr_null(facts->verify_text);
	ck_assert_uint_eq(facts->chain_count, 2);
	ck_assert_str_eq(facts->chain[1].subject, "CN=Between,O=Example");
	ck_assert_int_eq(facts->verified_not_after_unix_s, noon + 80 * day);
	tls_session_goodbye(session);
	ck_assert_int_eq(SSL_do_handshake(peer.ssl), 1);
	ck_assert_int_eq(SSL_read(peer.ssl, fingerprint, 1), 0);
	ck_assert_int_eq(SSL_get_error(peer.ssl, 0), SSL_ERROR_ZERO_RETURN);
	tls_session_free(session);
}
END_TEST

static int note_name(SSL *ssl, int *alert, void *arg)
{
	char *seen = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	snprintf(seen, 300, "%s", name != NULL ? name : "(none)");
	return SSL_TLSEXT_ERR_OK;
}

static const struct {
	const char *server_name;
	const char *sni;
	const char *verdict;
} sni_rows[] = {
	{ "shop.example.com", "shop.example.com", "ok" },
	{ "shop.example.com.", "shop.example.com", "ok" },
	{ "www.example.com", "www.example.com", "cert_hostname" },
	{ "192.0.2.1", "(none)", "ok" },
	{ "192.0.2.2", "(none)", "cert_hostname" },
	{ "2001:db8::1", "(none)", "ok" },
};

START_TEST(the_name_is_asked_for_and_verified)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	const struct tls_wish wish = { .server_name = sni_rows[_i].server_name, .verify = VERIFY_FULL };
	struct certificate certificate;
	struct tls_session *session;
	char seen[300] = "";

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com,IP:192.0.2.1,IP:2001:db8::1");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_tlsext_servername_callback(peer.ctx, note_name);
	SSL_CTX_set_tlsext_servername_arg(peer.ctx, seen);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &wish);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	facts = tls_session_facts(session);
	tls_session_free(session);
	ck_assert_str_eq(seen, sni_rows[_i].sni);
	ck_assert_str_eq(reason_name(certificate.verdict), sni_rows[_i].verdict);
	ck_assert((facts->verify_text == NULL) == (certificate.verdict == REASON_OK));
}
END_TEST

START_TEST(a_name_too_long_is_refused)
{
	AUTO(world) struct world world;
	char name[400];
	const struct tls_wish wish = { .server_name = name, .verify = VERIFY_FULL };
	struct error err = { 0 };

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	world_init(&world);
	ck_assert_ptr_null(tls_session_new(world.context, 0, &wish, &err));
	ck_assert_str_ne(err.text, "");
}
END_TEST

/* What is offered, and what must have been agreed on */

static int pick_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_bytes, const unsigned char *in,
		     unsigned int in_bytes, void *arg)
{
	unsigned char *picked = NULL;

	(void)ssl;
	if (SSL_select_next_proto(&picked, out_bytes, arg, (unsigned int)strlen(arg), in, in_bytes) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = picked;
	return SSL_TLSEXT_ERR_OK;
}

static const struct agreed_row {
	const char *what;
	enum tls_version server_max;
	const char *server_alpn; /* as on the wire; NULL: it knows none */
	enum tls_version max;
	const char *ciphers;
	const char *alpn;        /* offered; NULL: none */
	struct tls_requirement require; /* its expressions are compiled by the test */
	const char *agreed;
	const char *reason;
	const char *text;
} agreed_rows[] = {
	{ "all is offered, nothing required", TLS_1_3, NULL, TLS_1_3, NULL, NULL, { 0 },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "ok", NULL },
	{ "nothing newer than 1.2", TLS_1_3, NULL, TLS_1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL, { 0 },
	  "TLS 1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 x25519 -", "ok", NULL },
	{ "one suite of 1.3 alone", TLS_1_3, NULL, TLS_1_3, "TLS_CHACHA20_POLY1305_SHA256", NULL, { 0 },
	  "TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 x25519 -", "ok", NULL },
	{ "older ones by list leave 1.3 as it is", TLS_1_3, NULL, TLS_1_3, "ECDHE+AESGCM:!aNULL", NULL, { 0 },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "ok", NULL },
	{ "a protocol is agreed on", TLS_1_3, "\2h2", TLS_1_3, NULL, "h2", { 0 },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 h2", "ok", NULL },
	{ "new enough", TLS_1_2, NULL, TLS_1_3, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL, { .version = TLS_1_2 },
	  "TLS 1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 x25519 -", "ok", NULL },
	{ "too old", TLS_1_2, NULL, TLS_1_3, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL, { .version = TLS_1_3 },
	  "TLS 1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 x25519 -", "tls_version",
	  "TLS 1.2, at least TLS 1.3 is required" },
	{ "much too old", TLS_1_0, NULL, TLS_1_3, "AES128-SHA:ECDHE-ECDSA-AES128-SHA", NULL,
	  { .version = TLS_1_2 },
	  "TLS 1.0 TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA x25519 -", "tls_version",
	  "TLS 1.0, at least TLS 1.2 is required" },
	{ "a cipher like that", TLS_1_3, NULL, TLS_1_3, NULL, NULL, { .ciphers = { NULL, "AES_(128|256)_GCM" } },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "ok", NULL },
	{ "by OpenSSL's name", TLS_1_2, NULL, TLS_1_3, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL,
	  { .ciphers = { NULL, "^ECDHE-" } }, "TLS 1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 x25519 -", "ok",
	  NULL },
	{ "no cipher like that", TLS_1_3, NULL, TLS_1_3, NULL, NULL, { .ciphers = { NULL, "CHACHA20" } },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "tls_cipher",
	  "TLS_AES_256_GCM_SHA384, one like \"CHACHA20\" is required" },
	{ "a group like that", TLS_1_3, NULL, TLS_1_3, NULL, NULL,
	  { .group = { NULL, "^(x25519|X25519MLKEM768)$" } },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "ok", NULL },
	{ "no group like that", TLS_1_3, NULL, TLS_1_3, NULL, NULL, { .group = { NULL, "MLKEM" } },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "tls_group", "x25519, one like \"MLKEM\" is required" },
	{ "the protocol required", TLS_1_3, "\2h2\3foo", TLS_1_3, NULL, "h2", { .alpn = "h2" },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 h2", "ok", NULL },
	{ "another protocol", TLS_1_3, "\3foo\2h2", TLS_1_3, NULL, "foo", { .alpn = "h2" },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 foo", "tls_alpn", "foo, h2 is required" },
	{ "no protocol", TLS_1_3, NULL, TLS_1_3, NULL, "h2", { .alpn = "h2" },
	  "TLS 1.3 TLS_AES_256_GCM_SHA384 x25519 -", "tls_alpn", "none, h2 is required" },
};

START_TEST(what_is_agreed_on_is_told_and_judged)
{
	static const int versions[] = { TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION };
	const struct agreed_row *row = &agreed_rows[_i];
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	AUTO(string) char *agreed = NULL;
	struct error err = { 0 };
	struct tls_offer *offer = tls_offer_new(row->max, row->ciphers, &row->alpn, row->alpn != NULL, &err);
	struct tls_wish wish = { .server_name = "shop.example.com", .offer = offer, .require = row->require };
	struct expect *ciphers =
		row->require.ciphers.text != NULL ? expect_new(row->require.ciphers.text, &err) : NULL;
	struct expect *group = row->require.group.text != NULL ? expect_new(row->require.group.text, &err) : NULL;
	struct certificate certificate;
	struct tls_session *session;

	wish.require.ciphers.expect = ciphers;
	wish.require.group.expect = group;
	ck_assert_msg(offer != NULL, "%s: %s", row->what, err.text);
	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_max_proto_version(peer.ctx, versions[row->server_max]);
	if (row->server_alpn != NULL)
		SSL_CTX_set_alpn_select_cb(peer.ctx, pick_alpn, (void *)row->server_alpn);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &wish);
	tls_session_certificate(session, &certificate);
	ck_assert_uint_eq(certificate.agreed, 0);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	facts = tls_session_facts(session);
	tls_session_free(session);
	tls_offer_free(offer);
	expect_free(ciphers);
	expect_free(group);
	agreed = mem_printf("%s %s %s %s", facts->version, facts->cipher, facts->group,
			    facts->alpn != NULL ? facts->alpn : "-");
	ck_assert_str_eq(agreed, row->agreed);
	ck_assert_str_eq(reason_name(certificate.tls), row->reason);
	ck_assert_msg(str_equal(facts->tls_text, row->text), "%s: %s", row->what, facts->tls_text);
	ck_assert_uint_ne(certificate.agreed, 0);
}
END_TEST

static const struct {
	enum tls_version max;
	const char *ciphers;
	const char *text; /* NULL: it is fine */
} offer_rows[] = {
	{ TLS_1_3, "ALL", NULL },
	{ TLS_1_3, "HIGH:!aNULL:!RC4:-SHA1:+AES:@STRENGTH", NULL },
	{ TLS_1_3, "ECDHE-RSA-AES128-GCM-SHA256, TLS_AES_128_GCM_SHA256", NULL },
	{ TLS_1_2, "ECDHE+AESGCM", NULL },
	{ TLS_1_3, "", "names no cipher" },
	{ TLS_1_3, "ECDHE-RSA-AES128-GCM-SHA265", "no cipher is called \"ECDHE-RSA-AES128-GCM-SHA265\"" },
	{ TLS_1_3, "ALL:NONSENSE", "no cipher is called \"NONSENSE\"" },
	{ TLS_1_3, "TLS_AES_128_GCM", "there is no TLS 1.3 cipher suite \"TLS_AES_128_GCM\"" },
	{ TLS_1_3, "ALL:!ALL", "no cipher is left of this list" },
	{ TLS_1_2, "TLS_AES_128_GCM_SHA256", "names only suites of TLS 1.3, which max_version does not allow" },
};

START_TEST(a_list_of_ciphers_is_checked)
{
	struct error err = { 0 };
	struct tls_offer *offer = tls_offer_new(offer_rows[_i].max, offer_rows[_i].ciphers, NULL, 0, &err);

	ck_assert_msg((offer == NULL) == (offer_rows[_i].text != NULL), "%s: %s", offer_rows[_i].ciphers,
		err.text);
	if (offer == NULL)
		ck_assert_str_eq(err.text, offer_rows[_i].text);
	tls_offer_free(offer);
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

/* Our own certificate */

static void write_key(const char *file, EVP_PKEY *key, const char *password, const char *mode)
{
	FILE *stream = fopen(file, mode);

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(PEM_write_PrivateKey(stream, key, password != NULL ? EVP_aes_128_cbc() : NULL,
					      (const unsigned char *)password,
					      password != NULL ? (int)strlen(password) : 0,
					      NULL, NULL), 1);
	ck_assert_int_eq(fclose(stream), 0);
}

static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)store;
	(void)arg;
	return 1;
}

static const struct {
	const char *what;
	bool one_file;
	const char *password;
	int version;
} client_rows[] = {
	{ "two files, TLS 1.3", false, NULL, TLS1_3_VERSION },
	{ "two files, TLS 1.2", false, NULL, TLS1_2_VERSION },
	{ "one file", true, NULL, TLS1_3_VERSION },
	{ "a key with a password", false, "s3cret", TLS1_3_VERSION },
};

START_TEST(a_server_that_asks_sees_our_certificate)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(made) struct made ours = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	const struct made *files[] = { &ours, &world.between };
	char certificate_file[128];
	char key_file[128];
	struct error err = { 0 };
	struct tls_client *client;
	struct tls_context *context;
	struct tls_session *session;
	int64_t from;
	int64_t until;
	X509 *seen;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	ours = make_leaf(&world.between, "DNS:probe.example.com");
	snprintf(certificate_file, sizeof(certificate_file), "%s/client.pem", world.directory);
	snprintf(key_file, sizeof(key_file), "%s/%s.pem", world.directory,
		client_rows[_i].one_file ? "client" : "key");
	made_write_pem(files, 2, certificate_file);
	write_key(key_file, ours.key, client_rows[_i].password, client_rows[_i].one_file ? "ae" : "we");
	client = tls_client_new(certificate_file, key_file, client_rows[_i].password, &err);
	ck_assert_msg(client != NULL, "%s: %s", client_rows[_i].what, err.text);
	tls_client_validity(client, &from, &until);
	ck_assert_int_eq(from, noon - 10 * day);
	ck_assert_int_eq(until, noon + 80 * day);
	context = tls_context_new(world.domain, world.trust, client, &err);
	tls_client_free(client);
	unlink(certificate_file);
	unlink(key_file);
	ck_assert_ptr_nonnull(context);
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_max_proto_version(peer.ctx, client_rows[_i].version);
	SSL_CTX_set_verify(peer.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(peer.ctx, accept_any, NULL);
	peer_listen(&peer);
	session = session_open(context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	ck_assert_int_eq(SSL_do_handshake(peer.ssl), 1);
	seen = SSL_get0_peer_certificate(peer.ssl);
	ck_assert_ptr_nonnull(seen);
	ck_assert_int_eq(X509_cmp(seen, ours.x509), 0);
	ck_assert_int_eq(sk_X509_num(SSL_get_peer_cert_chain(peer.ssl)), 1); /* the server's view has no leaf */
	/* It may not like what it saw, and says so only now. */
	ck_assert(tls_session_may_be_refused(session) == (client_rows[_i].version == TLS1_3_VERSION));
	facts = tls_session_facts(session);
	ck_assert(facts->asked);
	tls_session_free(session);
	tls_context_free(context);
}
END_TEST

enum { FILE_GOOD, FILE_MISSING, FILE_EMPTY, FILE_NOISE, FILE_LOCKED, FILE_OTHER };

static const struct {
	int certificate;
	int key;
	const char *password;
	const char *file; /* the end of the name of the one to blame */
	const char *text;
} bad_client_rows[] = {
	{ FILE_MISSING, FILE_GOOD, NULL, "client.pem", "No such file or directory" },
	{ FILE_EMPTY, FILE_GOOD, NULL, "client.pem", "is no file of 1 byte to 1 MiB" },
	{ FILE_NOISE, FILE_GOOD, NULL, "client.pem", "holds no certificate in PEM form" },
	{ FILE_GOOD, FILE_MISSING, NULL, "key.pem", "No such file or directory" },
	{ FILE_GOOD, FILE_NOISE, NULL, "key.pem", "holds no key in PEM form" },
	{ FILE_GOOD, FILE_LOCKED, NULL, "key.pem", "the key is encrypted: client_key_password_file is missing" },
	{ FILE_GOOD, FILE_LOCKED, "wrong", "key.pem", "the key cannot be decrypted: another password?" },
	{ FILE_GOOD, FILE_OTHER, NULL, "key.pem", "the key is not that of the certificate" },
};

static void write_text(const char *file, const char *text)
{
	FILE *stream = fopen(file, "we");

	fputs(text, stream);
	fclose(stream);
}

START_TEST(bad_files_of_our_own_are_named)
{
	AUTO(world) struct world world;
	AUTO(made) struct made ours = { 0 };
	const struct made *files[] = { &ours };
	const int key = bad_client_rows[_i].key;
	char certificate_file[128];
	char key_file[128];
	struct error err = { 0 };

	world_init(&world);
	ours = make_leaf(&world.root, "DNS:probe.example.com");
	snprintf(certificate_file, sizeof(certificate_file), "%s/client.pem", world.directory);
	snprintf(key_file, sizeof(key_file), "%s/key.pem", world.directory);
	if (bad_client_rows[_i].certificate == FILE_GOOD)
		made_write_pem(files, 1, certificate_file);
	else if (bad_client_rows[_i].certificate != FILE_MISSING)
		write_text(certificate_file, bad_client_rows[_i].certificate == FILE_EMPTY ? "" : "hello\n");
	if (key == FILE_GOOD || key == FILE_LOCKED || key == FILE_OTHER)
		write_key(key_file, key == FILE_OTHER ? world.root.key : ours.key,
			key == FILE_LOCKED ? "s3cret" : NULL,
			  "we");
	else if (key != FILE_MISSING)
		write_text(key_file, "hello\n");
	ck_assert_ptr_null(tls_client_new(certificate_file, key_file, bad_client_rows[_i].password, &err));
	ck_assert_msg(strstr(err.where, bad_client_rows[_i].file) != NULL, "%s", err.where);
	ck_assert_msg(str_starts(err.text, bad_client_rows[_i].text), "%s", err.text);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	unlink(certificate_file);
	unlink(key_file);
}
END_TEST

/* Verdicts */

enum issuer { BY_BETWEEN, BY_ROOT, BY_STRANGER, BY_ITSELF };

static const struct verdict_row {
	const char *what;
	enum issuer issuer;
	bool between_shown;
	bool issuer_shown; /* the stranger's root */
	int from_day;
	int to_day;
	const char *sans;
	const char *usage;
	const char *full;
	const char *chain;
	int chain_end_day; /* 0: none */
} verdict_rows[] = {
	{ "all good", BY_BETWEEN, true, false, -1, 1, "DNS:shop.example.com", NULL, "ok", "ok", 1000 },
	{ "the root itself signed", BY_ROOT, false, false, -1, 1, "DNS:shop.example.com", NULL, "ok", "ok", 3000 },
	{ "expired", BY_BETWEEN, true, false, -9, -1, "DNS:shop.example.com", NULL, "cert_expired", "cert_expired",
	  1000 },
	{ "ends now", BY_BETWEEN, true, false, -9, 0, "DNS:shop.example.com", NULL, "cert_expired", "cert_expired",
	  1000 },
	{ "begins now", BY_BETWEEN, true, false, 0, 9, "DNS:shop.example.com", NULL, "ok", "ok", 1000 },
	{ "begins tomorrow", BY_BETWEEN, true, false, 1, 9, "DNS:shop.example.com", NULL, "cert_not_yet_valid",
	  "cert_not_yet_valid", 1000 },
	{ "another name", BY_BETWEEN, true, false, -1, 1, "DNS:other.example.com", NULL, "cert_hostname", "ok",
	  1000 },
	{ "another name and expired", BY_BETWEEN, true, false, -9, -1, "DNS:other.example.com", NULL,
	  "cert_expired", "cert_expired", 1000 },
	{ "self-signed", BY_ITSELF, false, false, -1, 1, "DNS:shop.example.com", NULL, "cert_self_signed",
	  "cert_self_signed", 0 },
	{ "unknown CA", BY_STRANGER, false, false, -1, 1, "DNS:shop.example.com", NULL, "cert_untrusted",
	  "cert_untrusted", 0 },
	{ "unknown CA, shown", BY_STRANGER, false, true, -1, 1, "DNS:shop.example.com", NULL, "cert_untrusted",
	  "cert_untrusted", 3000 },
	{ "intermediate not sent", BY_BETWEEN, false, false, -1, 1, "DNS:shop.example.com", NULL, "cert_untrusted",
	  "cert_untrusted", 0 },
	{ "for mail only", BY_BETWEEN, true, false, -1, 1, "DNS:shop.example.com", "emailProtection",
	  "cert_untrusted", "cert_untrusted", 1000 },
};

static struct made make_row_leaf(const struct world *world, const struct verdict_row *row)
{
	const struct made *issuers[] = { &world->between, &world->root, &world->stranger, NULL };

	return make_cert(&(struct cert_plan){ .cn = "leaf", .issuer = issuers[row->issuer], .sans = row->sans,
					      .usage = row->usage, .not_before_unix_s = noon + row->from_day * day,
					      .not_after_unix_s = noon + row->to_day * day });
}

START_TEST(verdicts)
{
	const struct verdict_row *row = &verdict_rows[_i];
	const bool dates = strcmp(row->chain, "cert_expired") == 0 || strcmp(row->chain,
		"cert_not_yet_valid") == 0;
	const char *const expected[] = { row->full, row->chain, dates ? row->chain : "ok" };
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	const struct made *second;

	world_init(&world);
	leaf = make_row_leaf(&world, row);
	second = row->between_shown ? &world.between : row->issuer_shown ? &world.stranger : NULL;
	for (enum verify verify = VERIFY_FULL; verify <= VERIFY_OFF; verify++) {
		const struct tls_wish wish = { .server_name = "shop.example.com", .verify = verify };
		int64_t chain_end = row->chain_end_day != 0 ? noon + row->chain_end_day * day : INT64_MAX;
		struct certificate certificate = probe(world.context, &leaf, second, &wish, noon);

		ck_assert_msg(strcmp(reason_name(certificate.verdict), expected[verify]) == 0, "%s (%d): %s",
			      row->what, (int)verify, reason_name(certificate.verdict));
		ck_assert_int_eq(certificate.not_after_unix_s, noon + row->to_day * day);
		ck_assert_msg(certificate.chain_not_after_unix_s == chain_end, "%s (%d): %lld", row->what,
			      (int)verify, (long long)certificate.chain_not_after_unix_s);
	}
}
END_TEST

static const struct {
	const char *what;
	const char *verdict;
	const char *text;
} text_rows[] = {
	{ "old intermediate", "cert_expired",
	  "certificate has expired: CN=Old,O=Example (certificate 1 above the server's)" },
	{ "self-signed", "cert_self_signed", 
	  "self-signed certificate; hostname mismatch: it is for other.example.com, not for shop.example.com" },
	{ "name", "cert_hostname", "hostname mismatch: it is for other.example.com, not for shop.example.com" },
};

START_TEST(verdicts_come_with_words)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made old = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	const struct made *others[] = { &old };
	struct certificate certificate;
	struct tls_session *session;

	world_init(&world);
	old = make_ca("Old", &world.root, noon - day);
	leaf = make_leaf(_i == 0 ? &old : _i == 1 ? NULL : &world.root,
			 _i == 0 ? "DNS:shop.example.com" : "DNS:other.example.com");
	peer_init(&peer, &leaf, others, _i == 0);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	facts = tls_session_facts(session);
	tls_session_free(session);
	ck_assert_str_eq(reason_name(certificate.verdict), text_rows[_i].verdict);
	ck_assert_str_eq(facts->verify_text, text_rows[_i].text);
	if (_i == 0)
		ck_assert_int_eq(certificate.chain_not_after_unix_s, noon - day);
}
END_TEST

START_TEST(a_chain_deeper_than_ten_is_untrusted)
{
	enum { LINKS_MAX = 11 };
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	struct made chain[LINKS_MAX];
	const struct made *others[LINKS_MAX] = { NULL };
	int links = 10 + _i;
	struct certificate certificate;
	struct tls_session *session;

	world_init(&world);
	for (int i = 0; i < links; i++) {
		char cn[32];

		snprintf(cn, sizeof(cn), "Link %d", i);
		chain[i] = make_ca(cn, i == 0 ? &world.root : &chain[i - 1], noon + 500 * day);
		others[i] = &chain[i];
	}
	leaf = make_leaf(&chain[links - 1], "DNS:shop.example.com");
	peer_init(&peer, &leaf, others, (size_t)links);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	tls_session_free(session);
	for (int i = 0; i < links; i++)
		made_done(&chain[i]);
	ck_assert_str_eq(reason_name(certificate.verdict), _i == 0 ? "ok" : "cert_untrusted");
}
END_TEST

START_TEST(weak_and_old_certificates_are_read)
{
	AUTO(world) struct world world;
	EVP_PKEY *key = EVP_RSA_gen(1024);
	AUTO(made) struct made leaf = { 0 };

	world_init(&world);
	leaf = make_cert(&(struct cert_plan){ .cn = "weak", .issuer = &world.root, .sans = "DNS:shop.example.com",
					      .key = key, .digest = EVP_sha1(), .not_before_unix_s = noon,
					      .not_after_unix_s = noon + day });
	EVP_PKEY_free(key);
	ck_assert_str_eq(reason_name(probe(world.context, &leaf, NULL, &shop, noon).verdict), "ok");
}
END_TEST

/* Trust */

START_TEST(a_named_file_may_hold_an_intermediate_or_the_leaf)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	const struct made *trusted[2];
	char file[128];
	const char *files[] = { file };

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	trusted[0] = &world.between;
	trusted[1] = &leaf;
	for (int i = 0; i < 2; i++) {
		struct error err;
		struct tls_trust *trust;
		struct tls_context *context;

		snprintf(file, sizeof(file), "%s/some.pem", world.directory);
		made_write_pem(&trusted[i], 1, file);
		trust = tls_trust_new(files, 1, &err);
		context = tls_context_new(world.domain, trust, NULL, &err);
		ck_assert_str_eq(reason_name(probe(context, &leaf, NULL, &shop, noon).verdict), "ok");
		tls_context_free(context);
		tls_trust_free(trust);
		unlink(file);
	}
}
END_TEST

static const struct {
	const char *content; /* NULL: there is no such file */
	const char *text;
} file_rows[] = {
	{ NULL, "No such file or directory" },
	{ "", "holds no certificate in PEM form" },
	{ "hello\n", "holds no certificate in PEM form" },
	{ "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read as PEM" },
	{ "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
	  "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n-----END CERTIFICATE-----\n",
	  "cannot be read as PEM" },
};

START_TEST(a_bad_ca_file_is_named)
{
	AUTO(world) struct world world;
	char file[128];
	const char *files[] = { world.root_file, file };
	struct error err = { 0 };

	world_init(&world);
	snprintf(file, sizeof(file), "%s/bad.pem", world.directory);
	if (file_rows[_i].content != NULL) {
		FILE *stream = fopen(file, "we");

		fputs(file_rows[_i].content, stream);
		fclose(stream);
	}
	ck_assert_ptr_null(tls_trust_new(files, 2, &err));
	ck_assert_str_eq(err.where, file);
	ck_assert_msg(str_starts(err.text, file_rows[_i].text), "%s", err.text);
	unlink(file);
}
END_TEST

START_TEST(without_files_the_systems_store_is_used)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	struct error err = { 0 };
	struct tls_trust *trust;
	struct tls_context *context;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	ck_assert_int_eq(setenv("SSL_CERT_FILE", world.root_file, 1), 0);
	trust = tls_trust_new(NULL, 0, &err);
	unsetenv("SSL_CERT_FILE");
	ck_assert_msg(trust != NULL, "%s", err.text);
	context = tls_context_new(world.domain, trust, NULL, &err);
	ck_assert_str_eq(reason_name(probe(context, &leaf, NULL, &shop, noon).verdict), "ok");
	tls_context_free(context);
	tls_trust_free(trust);
}
END_TEST

/* Verdict cache */

static void expect_counts(const struct tls_domain *domain, uint64_t cached, uint64_t verified)
{
	uint64_t got_cached;
	uint64_t got_verified;

	tls_domain_counts(domain, &got_cached, &got_verified);
	ck_assert_uint_eq(got_cached, cached);
	ck_assert_uint_eq(got_verified, verified);
}

START_TEST(a_verdict_is_kept_until_a_bound)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	const struct {
		int64_t now_unix_s;
		const char *verdict;
		uint64_t cached;
		uint64_t verified;
	} steps[] = {
		{ noon, "ok", 0, 1 },
		{ noon, "ok", 1, 1 },
		{ noon + day - 1, "ok", 2, 1 },       /* a day less a second */
		{ noon + day, "ok", 2, 2 },           /* a day */
		{ noon + 79 * day, "ok", 2, 3 },
		{ noon + 80 * day - 1, "ok", 3, 3 },
		{ noon + 80 * day, "cert_expired", 3, 4 }, /* a bound: not a second late */
		{ noon + 80 * day + 1, "cert_expired", 4, 4 },
		{ noon + 79 * day, "ok", 4, 5 },      /* set back: nothing of the future is used */
		{ noon - 11 * day, "cert_not_yet_valid", 4, 6 },
		{ noon - 10 * day - 1, "cert_not_yet_valid", 5, 6 },
		{ noon - 10 * day, "ok", 5, 7 },
	};

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		struct certificate certificate = probe(world.context, &leaf, &world.between, &shop,
						       steps[i].now_unix_s);

		ck_assert_str_eq(reason_name(certificate.verdict), steps[i].verdict);
		ck_assert_int_eq(certificate.chain_not_after_unix_s, noon + 1000 * day);
		expect_counts(world.domain, steps[i].cached, steps[i].verified);
	}
}
END_TEST

START_TEST(a_verdict_is_of_one_chain_name_mode_and_trust)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	AUTO(made) struct made twin = { 0 };
	const struct tls_wish www = { .server_name = "www.example.com", .verify = VERIFY_FULL };
	const struct tls_wish chain_only = { .server_name = "shop.example.com", .verify = VERIFY_CHAIN };
	const struct tls_wish other_chain_only = { .server_name = "www.example.com", .verify = VERIFY_CHAIN };
	const struct tls_wish off = { .server_name = "shop.example.com", .verify = VERIFY_OFF };
	const char *files[] = { world.root_file };
	struct error err;
	struct tls_trust *trust;
	struct tls_context *context;

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	twin = make_leaf(&world.between, "DNS:shop.example.com");
	trust = tls_trust_new(files, 1, &err);
	context = tls_context_new(world.domain, trust, NULL, &err);
	ck_assert_int_eq(probe(world.context, &leaf, &world.between, &shop, noon).verdict, REASON_OK);
	expect_counts(world.domain, 0, 1);
	ck_assert_int_eq(probe(world.context, &twin, &world.between, &shop, noon).verdict, REASON_OK);
	expect_counts(world.domain, 0, 2);
	ck_assert_int_eq(probe(world.context, &leaf, NULL, &shop, noon).verdict, REASON_CERT_UNTRUSTED);
	expect_counts(world.domain, 0, 3);
	ck_assert_int_eq(probe(world.context, &leaf, &world.between, &www, noon).verdict, REASON_CERT_HOSTNAME);
	expect_counts(world.domain, 0, 4);
	ck_assert_int_eq(probe(world.context, &leaf, &world.between, &chain_only, noon).verdict, REASON_OK);
	expect_counts(world.domain, 0, 5);
	ck_assert_int_eq(probe(world.context, &leaf, &world.between, &other_chain_only, noon).verdict, REASON_OK);
	expect_counts(world.domain, 1, 5);
	ck_assert_int_eq(probe(context, &leaf, &world.between, &shop, noon).verdict, REASON_OK);
	expect_counts(world.domain, 1, 6);
	ck_assert_int_eq(probe(world.context, &leaf, &world.between, &off, noon).verdict, REASON_OK);
	expect_counts(world.domain, 1, 7);
	ck_assert_int_eq(probe(world.context, &leaf, NULL, &shop, noon).verdict, REASON_CERT_UNTRUSTED);
	expect_counts(world.domain, 2, 7);
	tls_context_free(context);
	tls_trust_free(trust);
}
END_TEST

/* More names than the cache holds: it goes on to serve, and what it serves is right. */
START_TEST(a_full_cache_makes_room)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	uint64_t cached;
	uint64_t verified;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:*.even.example.com");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
	for (int i = 0; i < 4600; i++) {
		char name[64];
		const struct tls_wish wish = { .server_name = name, .verify = VERIFY_FULL };
		struct certificate certificate;
		struct tls_session *session;
		int pair[2];

		snprintf(name, sizeof(name), "n%d.%s.example.com", i % 4300, i % 2 == 0 ? "even" : "odd");
		pair_open(pair);
		peer.ssl = SSL_new(peer.ctx);
		SSL_set_fd(peer.ssl, pair[1]);
		SSL_set_accept_state(peer.ssl);
		session = session_open(world.context, pair[0], &wish);
		/* The verdict is made when the certificate comes: nobody needs the rest. */
		tls_session_handshake(session, noon);
		SSL_do_handshake(peer.ssl);
		ERR_clear_error();
		tls_session_handshake(session, noon);
		tls_session_certificate(session, &certificate);
		ck_assert(certificate.present);
		ck_assert_int_eq(certificate.verdict, i % 2 == 0 ? REASON_OK : REASON_CERT_HOSTNAME);
		tls_session_free(session);
		SSL_free(TAKE(peer.ssl));
		close(pair[0]);
		close(pair[1]);
	}
	/* The last 300 were asked for before; of 204 that had to go some are among them, never all. */
	tls_domain_counts(world.domain, &cached, &verified);
	ck_assert_uint_eq(cached + verified, 4600);
	ck_assert_uint_ge(cached, 200);
	ck_assert_uint_ge(verified, 4300);
}
END_TEST

/* What goes wrong */

static void expect_failure(struct tls_session *session, const char *reason, const char *part, int error_number)
{
	const char *text = NULL;
	int got = -1;

	ck_assert_str_eq(reason_name(tls_session_failure(session, &text, &got)), reason);
	ck_assert_msg(text != NULL && strstr(text, part) != NULL, "%s", text);
	ck_assert_int_eq(got, error_number);
}

static const struct {
	const char *bytes;
	size_t count;
	const char *reason;
	const char *text;
} speech_rows[] = {
	{ "220 mail.example.com ESMTP\r\n", 28, "tls_protocol", "not TLS?" },
	{ "SSH-2.0-OpenSSH_9.2\r\n", 21, "tls_protocol", "not TLS?" },
	{ "HTTP/1.1 400 Bad Request\r\n\r\n", 28, "tls_protocol", "not TLS?" },
	{ "\x15\x03\x03\x00\x02\x02\x28", 7, "tls_alert", "handshake failure (alert 40)" },
	{ "\x15\x03\x03\x00\x02\x02\x46", 7, "tls_alert", "protocol version (alert 70)" },
	{ "\x15\x03\x03\x00\x02\x02\x70", 7, "tls_alert", "unrecognized name (alert 112)" },
	{ "\x15\x03\x03\x00\x02\x02\xe7", 7, "tls_alert", "(alert 231)" },
	{ "\x15\x03\x03\x00\x02\x01\x00", 7, "tls_closed", "closed by the peer" },
	{ "\x16\x03\x03\xff\xff\x02\x00\x00\x00", 9, "tls_protocol", "" },
	{ "\x16\x03\x03\x00\x04\x0b\x00\x00\x00", 9, "tls_protocol", "unexpected message" },
	{ "\x16\x03\x03\x00\x04\x02\xff\xff\xff", 9, "tls_protocol", "excessive message size" },
	{ "\0\0\0\0\0\0\0\0\0\0\0\0", 12, "tls_protocol", "" },
	/* ServerHello of TLS 1.2 and a certificate that is none */
	{ "\x16\x03\x03\0\x37\x02\0\0\x26\x03\x03" "0123456789abcdef0123456789abcdef" "\0\0\x2f\0"
	  "\x0b\0\0\x09\0\0\x06\0\0\x03" "DER", 60, "tls_protocol", "ASN1 lib" },
};

START_TEST(a_server_that_speaks_otherwise)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	struct certificate certificate;
	struct tls_session *session;

	world_init(&world);
	peer_init(&peer, &world.root, NULL, 0);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_WANT_READ);
	ck_assert_int_eq(write(peer.far, speech_rows[_i].bytes, speech_rows[_i].count),
			 (ssize_t)speech_rows[_i].count);
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_FAILED);
	expect_failure(session, speech_rows[_i].reason, speech_rows[_i].text, 0);
	tls_session_certificate(session, &certificate);
	ck_assert(!certificate.present);
	ck_assert_ptr_null(tls_session_facts(session));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	tls_session_goodbye(session);
	tls_session_free(session);
}
END_TEST

START_TEST(a_server_that_hangs_up_at_once)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	struct tls_session *session;
	char hello[4096];

	world_init(&world);
	peer_init(&peer, &world.root, NULL, 0);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_WANT_READ);
	ck_assert_int_gt(read(peer.far, hello, sizeof(hello)), 0);
	close(peer.far);
	peer.far = -1;
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_FAILED);
	expect_failure(session, "tls_closed", "closed by the peer", 0);
	tls_session_free(session);
}
END_TEST

/* What is left unread turns a close into a reset, with TCP as with these pairs. */
START_TEST(a_server_that_resets)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	struct tls_session *session;

	world_init(&world);
	peer_init(&peer, &world.root, NULL, 0);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_WANT_READ);
	close(peer.far);
	peer.far = -1;
	ck_assert_int_eq(tls_session_handshake(session, noon), TLS_STEP_FAILED);
	expect_failure(session, "connect_reset", "reset", ECONNRESET);
	tls_session_free(session);
}
END_TEST

START_TEST(a_server_without_a_common_version)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	struct tls_session *session;

	world_init(&world);
	peer_init(&peer, &world.root, NULL, 0);
	SSL_CTX_set_cipher_list(peer.ctx, "PSK");
	SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_FAILED);
	expect_failure(session, "tls_alert", "handshake failure (alert 40)", 0);
	tls_session_free(session);
}
END_TEST

START_TEST(facts_come_although_a_client_certificate_is_demanded)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	struct certificate certificate;
	struct tls_session *session;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(peer.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_FAILED);
	expect_failure(session, "tls_alert", "(alert ", 0);
	tls_session_certificate(session, &certificate);
	ck_assert(certificate.present);
	ck_assert_int_eq(certificate.verdict, REASON_OK);
	facts = tls_session_facts(session);
	ck_assert_str_eq(facts->chain[0].subject, "CN=leaf,O=Example");
	ck_assert_str_eq(facts->version, "TLS 1.2");
	ck_assert(facts->asked);
	tls_session_free(session);
}
END_TEST

/* TLS 1.3: the handshake is over for us before the server has seen that it gets no certificate. */
START_TEST(the_first_failure_stays)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	struct tls_session *session;
	size_t sent;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_verify(peer.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	SSL_do_handshake(peer.ssl);
	ERR_clear_error();
	ck_assert_int_eq(tls_session_listen(session), TLS_STEP_FAILED);
	expect_failure(session, "tls_alert", "(alert 116)", 0);
	ck_assert_int_eq(tls_session_write(session, "QUIT\r\n", 6, &sent), TLS_STEP_FAILED);
	expect_failure(session, "tls_alert", "(alert 116)", 0);
	tls_session_free(session);
}
END_TEST

/* What a server can say without an end. One is ignored in a handshake (RFC 5246 section 7.4.1.1). */
START_TEST(hello_requests_do_not_hold_a_step_for_ever)
{
	static const char request[9] = "\x16\x03\x03\0\x04\0\0\0";
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	enum tls_step step = TLS_STEP_WANT_READ;
	struct tls_session *session;
	char requests[20000 * sizeof(request)];
	size_t said = 0;
	int again = 0;

	world_init(&world);
	peer_init(&peer, &world.root, NULL, 0);
	for (size_t i = 0; i < sizeof(requests); i++)
		requests[i] = request[i % sizeof(request)];
	session = session_open(world.context, peer.near, &shop);
	while (step != TLS_STEP_FAILED) {
		/* From where the last write was cut. */
		ssize_t written = write(peer.far, requests + said % sizeof(request),
					sizeof(requests) - sizeof(request));

		said += written > 0 ? (size_t)written : 0;
		step = tls_session_handshake(session, noon);
		again += step == TLS_STEP_AGAIN;
		ck_assert_int_ne(step, TLS_STEP_DONE);
		ck_assert_uint_lt(said, 8 << 20);
	}
	ck_assert_int_ge(again, 15);
	expect_failure(session, "tls_protocol", "handshake too long", 0);
	tls_session_free(session);
}
END_TEST

START_TEST(tickets_are_not_listened_to_for_ever)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	struct tls_session *session;
	char left[1 << 16];
	size_t unread = 0;
	ssize_t got;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_verify(peer.ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_num_tickets(peer.ctx, 400);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	ck_assert(tls_session_may_be_refused(session));
	ck_assert_int_eq(tls_session_listen(session), TLS_STEP_WANT_READ);
	SSL_do_handshake(peer.ssl); /* as many tickets as the socket takes */
	ERR_clear_error();
	ck_assert_int_eq(tls_session_listen(session), TLS_STEP_DONE);
	while ((got = read(peer.near, left, sizeof(left))) > 0)
		unread += (size_t)got;
	ck_assert_uint_gt(unread, 20000);
	tls_session_free(session);
}
END_TEST

/* Between two socket pairs, `limit` bytes of what the server says, one at a time; then it hangs up. */
struct relay {
	int client[2];
	size_t limit;
	size_t said;
};

static void relay_turn(struct relay *relay, const struct peer *peer)
{
	char buffer[4096];
	char byte;
	ssize_t got;

	if (relay->client[1] < 0)
		return;
	got = read(relay->client[1], buffer, sizeof(buffer));
	if (got > 0)
		ck_assert_int_eq(write(peer->near, buffer, (size_t)got), got);
	if (relay->said == relay->limit) {
		close(relay->client[1]);
		relay->client[1] = -1;
		return;
	}
	if (read(peer->near, &byte, 1) == 1) {
		ck_assert_int_eq(write(relay->client[1], &byte, 1), 1);
		relay->said++;
	}
}

/* How many bytes the server had said when the client was through. */
static size_t relayed(struct world *world, const struct made *leaf, const struct made *between, int version,
		      size_t limit, enum tls_step expected)
{
	AUTO(peer) struct peer peer = { 0 };
	struct relay relay = { .limit = limit };
	struct tls_session *session;
	enum tls_step step = TLS_STEP_WANT_READ;

	peer_init(&peer, leaf, &between, 1);
	SSL_CTX_set_max_proto_version(peer.ctx, version);
	peer_listen(&peer);
	pair_open(relay.client);
	session = session_open(world->context, relay.client[0], &shop);
	for (int turn = 0; turn < TURNS_MAX && step == TLS_STEP_WANT_READ; turn++) {
		step = tls_session_handshake(session, noon);
		ck_assert_uint_eq(ERR_peek_error(), 0);
		SSL_do_handshake(peer.ssl);
		ERR_clear_error();
		relay_turn(&relay, &peer);
	}
	ck_assert_int_eq(step, expected);
	if (step == TLS_STEP_FAILED)
		expect_failure(session, "tls_closed", "closed by the peer", 0);
	tls_session_free(session);
	close(relay.client[0]);
	if (relay.client[1] >= 0)
		close(relay.client[1]);
	return relay.said;
}

START_TEST(byte_by_byte_and_cut_anywhere)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
	size_t whole;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	whole = relayed(&world, &leaf, NULL, version, SIZE_MAX, TLS_STEP_DONE);
	ck_assert_uint_gt(whole, 500);
	for (size_t limit = 0; limit + 100 < whole; limit += 83)
		relayed(&world, &leaf, NULL, version, limit, TLS_STEP_FAILED);
}
END_TEST

/* It leaves errors in OpenSSL's queue, which must not end a handshake that only waits for the socket. */
START_TEST(a_forged_signature_is_a_verdict_too)
{
	AUTO(world) struct world world;
	EVP_PKEY *key = EVP_RSA_gen(2048);
	EVP_PKEY *other_key = EVP_RSA_gen(2048);
	struct cert_plan plan = { .cn = "CA", .ca = true, .not_before_unix_s = noon,
				  .not_after_unix_s = noon + 2 * day };
	AUTO(made) struct made ca = { 0 };
	AUTO(made) struct made forger = { 0 };
	AUTO(made) struct made leaf = { 0 };

	world_init(&world);
	plan.issuer = &world.root;
	plan.key = key;
	ca = make_cert(&plan);
	plan.key = other_key;
	forger = make_cert(&plan);
	leaf = make_leaf(&forger, "DNS:shop.example.com");
	relayed(&world, &leaf, &ca, TLS1_2_VERSION, SIZE_MAX, TLS_STEP_DONE);
	ck_assert_int_eq(probe(world.context, &leaf, &ca, &shop, noon).verdict, REASON_CERT_UNTRUSTED);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
}
END_TEST

/* Certificate lists of size */

static void add_many_sans(X509 *x509)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();

	for (int i = 0; i < 10000; i++) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();
		char host[64];

		snprintf(host, sizeof(host), "host-%05d.example.com", i);
		ASN1_STRING_set(text, host, -1);
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
		sk_GENERAL_NAME_push(names, name);
	}
	X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT);
	GENERAL_NAMES_free(names);
}

START_TEST(ten_thousand_names_are_read_and_a_longer_list_is_named)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;
	const struct tls_wish wish = { .server_name = "host-09999.example.com", .verify = VERIFY_FULL };
	const struct made *others[] = { &leaf };
	struct certificate certificate;
	struct tls_session *session;

	world_init(&world);
	leaf = make_cert(&(struct cert_plan){ .cn = "huge", .issuer = &world.root, .not_before_unix_s = noon,
					      .not_after_unix_s = noon + day, .finish = add_many_sans });
	peer_init(&peer, &leaf, others, _i == 0 ? 0 : 1);
	SSL_CTX_set_max_proto_version(peer.ctx, _i == 1 ? TLS1_2_VERSION : 0);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &wish);
	ck_assert_int_eq(shake(session, &peer, noon), _i == 0 ? TLS_STEP_DONE : TLS_STEP_FAILED);
	tls_session_certificate(session, &certificate);
	facts = tls_session_facts(session);
	if (_i == 0) {
		ck_assert_int_eq(certificate.verdict, REASON_OK);
		ck_assert_uint_eq(facts->chain[0].san_total, 10000);
	} else {
		expect_failure(session, "tls_protocol", "certificate list too big (more than 384 KiB)", 0);
		ck_assert_ptr_null(facts);
	}
	tls_session_free(session);
}
END_TEST

static void hear(void *arg, bool sent, const char *name, size_t bytes)
{
	(void)arg;
	(void)sent;
	(void)name;
	(void)bytes;
}

START_TEST(a_hundred_certificates_are_enough)
{
	enum { LIST_MAX = 101 };
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	const struct made *others[LIST_MAX];
	size_t shown = _i < 2 ? 100 : 101;
	struct tls_session *session;

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	for (int i = 0; i < LIST_MAX; i++)
		others[i] = &world.between;
	peer_init(&peer, &leaf, others, shown - 1);
	SSL_CTX_set_max_proto_version(peer.ctx, _i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	if (_i >= 4) /* somebody reads along */
		tls_session_on_message(session, hear, NULL);
	ck_assert_int_eq(shake(session, &peer, noon), shown == 100 ? TLS_STEP_DONE : TLS_STEP_FAILED);
	if (shown > 100)
		expect_failure(session, "tls_protocol", "certificate list too big (more than 100", 0);
	tls_session_free(session);
}
END_TEST

/* Diffie-Hellman groups */

static int all_is_allowed(const SSL *ssl, const SSL_CTX *ctx, int operation, int bits, int nid, void *other,
			  void *arg)
{
	(void)ssl, (void)ctx, (void)operation, (void)bits, (void)nid, (void)other, (void)arg;
	return 1;
}

/* With a prime that is none: nobody looks. */
static EVP_PKEY *make_dh(int bits)
{
	BIGNUM *p = BN_new();
	BIGNUM *g = BN_new();
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	EVP_PKEY *group = NULL;
	OSSL_PARAM *params;

	BN_rand(p, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD);
	BN_set_word(g, 2);
	OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_P, p);
	OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_G, g);
	params = OSSL_PARAM_BLD_to_param(builder);
	ck_assert_int_eq(EVP_PKEY_fromdata_init(maker), 1);
	ck_assert_int_eq(EVP_PKEY_fromdata(maker, &group, EVP_PKEY_KEY_PARAMETERS, params), 1);
	EVP_PKEY_CTX_free(maker);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(builder);
	BN_free(p);
	BN_free(g);
	return group;
}

/* The standard one: RFC 7919. */
static EVP_PKEY *make_named_dh(const char *name)
{
	OSSL_PARAM params[] = { OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)name, 0),
				OSSL_PARAM_END };
	EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	EVP_PKEY *group = NULL;

	params[0].data_size = strlen(name);
	ck_assert_int_eq(EVP_PKEY_fromdata_init(maker), 1);
	ck_assert_int_eq(EVP_PKEY_fromdata(maker, &group, EVP_PKEY_KEY_PARAMETERS, params), 1);
	EVP_PKEY_CTX_free(maker);
	return group;
}

static const struct {
	int bits;
	const char *name;
	bool taken;
} group_rows[] = {
	{ 512, NULL, true }, { 1024, NULL, true }, { 2048, NULL, true }, { 4200, NULL, false },
	{ 0, "ffdhe6144", true },
};

START_TEST(diffie_hellman_short_and_endless)
{
	AUTO(world) struct world world;
	AUTO(peer) struct peer peer = { 0 };
	AUTO(made) struct made leaf = { 0 };
	EVP_PKEY *key = EVP_RSA_gen(2048);
	struct tls_session *session;

	world_init(&world);
	leaf = make_cert(&(struct cert_plan){ .cn = "dh", .issuer = &world.root, .key = key,
					      .not_before_unix_s = noon, .not_after_unix_s = noon + day });
	EVP_PKEY_free(key);
	peer_init(&peer, &leaf, NULL, 0);
	SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
	SSL_CTX_set_security_callback(peer.ctx, all_is_allowed);
	ck_assert_int_eq(SSL_CTX_set_cipher_list(peer.ctx, "DHE-RSA-AES128-SHA256"), 1);
	SSL_CTX_set0_tmp_dh_pkey(peer.ctx, group_rows[_i].name != NULL ? make_named_dh(group_rows[_i].name) :
									  make_dh(group_rows[_i].bits));
	peer_listen(&peer);
	session = session_open(world.context, peer.near, &shop);
	ck_assert_int_eq(shake(session, &peer, noon), group_rows[_i].taken ? TLS_STEP_DONE : TLS_STEP_FAILED);
	if (!group_rows[_i].taken) {
		struct certificate certificate;

		expect_failure(session, "tls_protocol", "Diffie-Hellman group too big", 0);
		tls_session_certificate(session, &certificate);
		ck_assert(certificate.present);
	}
	tls_session_free(session);
}
END_TEST

/* Threads */

struct worker {
	pthread_t thread;
	const struct tls_trust *trust;
	const struct made *leaves;
	const struct made *between;
	int good;
};

enum { LEAVES = 5, WORKERS = 2 };

static void *worker_run(void *arg)
{
	struct worker *worker = arg;
	struct error err;
	struct tls_domain *domain = tls_domain_new(&err);
	struct tls_context *context = tls_context_new(domain, worker->trust, NULL, &err);

	for (int i = 0; i < 4 * LEAVES; i++) {
		const struct made *leaf = &worker->leaves[i % LEAVES];

		worker->good += probe(context, leaf, worker->between, &shop, noon + i * day).verdict == REASON_OK;
	}
	tls_context_free(context);
	tls_domain_free(domain);
	return NULL;
}

START_TEST(two_domains_share_one_trust)
{
	AUTO(world) struct world world;
	struct made leaves[LEAVES];
	struct worker workers[WORKERS];

	world_init(&world);
	for (int i = 0; i < LEAVES; i++)
		leaves[i] = make_leaf(&world.between, "DNS:shop.example.com");
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .trust = world.trust, .leaves = leaves, .between = &world.between };
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++) {
		ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
		ck_assert_int_eq(workers[i].good, 4 * LEAVES);
	}
	/* The trust set goes on to serve after a domain that used it is gone. */
	ck_assert_int_eq(probe(world.context, &leaves[0], &world.between, &shop, noon).verdict, REASON_OK);
	for (int i = 0; i < LEAVES; i++)
		made_done(&leaves[i]);
}
END_TEST

/* As in the daemon: the loader makes contexts while a prober uses its domain, and outlives it. */
struct loader {
	struct world *world;
	struct tls_context *context;
	pthread_barrier_t made;
	pthread_barrier_t over;
};

static void *loader_run(void *arg)
{
	struct loader *loader = arg;
	struct error err;

	loader->context = tls_context_new(loader->world->domain, loader->world->trust, NULL, &err);
	pthread_barrier_wait(&loader->made);
	pthread_barrier_wait(&loader->over);
	return NULL;
}

START_TEST(a_context_made_by_another_thread)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	struct loader loader = { .world = &world };
	pthread_t thread;

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	pthread_barrier_init(&loader.made, NULL, 2);
	pthread_barrier_init(&loader.over, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, loader_run, &loader), 0);
	ck_assert_int_eq(probe(world.context, &leaf, NULL, &shop, noon).verdict, REASON_OK);
	pthread_barrier_wait(&loader.made);
	ck_assert_int_eq(probe(loader.context, &leaf, NULL, &shop, noon).verdict, REASON_OK);
	expect_counts(world.domain, 1, 1);
	tls_context_free(loader.context);
	tls_context_free(TAKE(world.context));
	tls_domain_free(TAKE(world.domain));
	pthread_barrier_wait(&loader.over);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	pthread_barrier_destroy(&loader.made);
	pthread_barrier_destroy(&loader.over);
}
END_TEST

static void add_all(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_good_server_of_each_version, 0, ROWS(version_rows));
	tcase_add_loop_test(tcase, the_name_is_asked_for_and_verified, 0, ROWS(sni_rows));
	tcase_add_test(tcase, a_name_too_long_is_refused);
	tcase_add_loop_test(tcase, verdicts, 0, ROWS(verdict_rows));
	tcase_add_loop_test(tcase, verdicts_come_with_words, 0, ROWS(text_rows));
	tcase_add_loop_test(tcase, a_chain_deeper_than_ten_is_untrusted, 0, 2);
	tcase_add_test(tcase, weak_and_old_certificates_are_read);
	tcase_add_test(tcase, a_named_file_may_hold_an_intermediate_or_the_leaf);
	tcase_add_loop_test(tcase, a_bad_ca_file_is_named, 0, ROWS(file_rows));
	tcase_add_test(tcase, without_files_the_systems_store_is_used);
	tcase_add_test(tcase, a_verdict_is_kept_until_a_bound);
	tcase_add_test(tcase, a_verdict_is_of_one_chain_name_mode_and_trust);
	tcase_add_test(tcase, a_full_cache_makes_room);
	tcase_add_loop_test(tcase, a_server_that_speaks_otherwise, 0, ROWS(speech_rows));
	tcase_add_test(tcase, hello_requests_do_not_hold_a_step_for_ever);
	tcase_add_test(tcase, tickets_are_not_listened_to_for_ever);
	tcase_add_test(tcase, a_server_that_hangs_up_at_once);
	tcase_add_test(tcase, a_server_that_resets);
	tcase_add_test(tcase, a_server_without_a_common_version);
	tcase_add_loop_test(tcase, a_server_that_asks_sees_our_certificate, 0, ROWS(client_rows));
	tcase_add_loop_test(tcase, bad_files_of_our_own_are_named, 0, ROWS(bad_client_rows));
	tcase_add_loop_test(tcase, what_is_agreed_on_is_told_and_judged, 0, ROWS(agreed_rows));
	tcase_add_loop_test(tcase, a_list_of_ciphers_is_checked, 0, ROWS(offer_rows));
	tcase_add_test(tcase, facts_come_although_a_client_certificate_is_demanded);
	tcase_add_test(tcase, the_first_failure_stays);
	tcase_add_loop_test(tcase, byte_by_byte_and_cut_anywhere, 0, 2);
	tcase_add_test(tcase, a_forged_signature_is_a_verdict_too);
	tcase_add_loop_test(tcase, ten_thousand_names_are_read_and_a_longer_list_is_named, 0, 3);
	tcase_add_loop_test(tcase, a_hundred_certificates_are_enough, 0, 6);
	tcase_add_loop_test(tcase, diffie_hellman_short_and_endless, 0, ROWS(group_rows));
	tcase_add_test(tcase, two_domains_share_one_trust);
	tcase_add_test(tcase, a_context_made_by_another_thread);
}

int main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tcase = tcase_create("tls");
	SRunner *runner = srunner_create(suite);
	int failures;

	signal(SIGPIPE, SIG_IGN);
	/* Sanitizers make thousands of handshakes slow; this is a net, not a measurement. */
	tcase_set_timeout(tcase, 120);
	add_all(tcase);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
