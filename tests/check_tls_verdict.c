/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/proto/expect.h"
#include "tests/tls_world.h"

enum { SHOWN_MAX = 4 };

struct seen {
	struct certificate certificate;
	struct tls_facts *facts;
};

static void seen_auto(struct seen *seen)
{
	tls_facts_free(seen->facts);
}

static struct seen look(struct world *world, const struct made *leaf, const struct made *const *others,
	size_t count,
			const struct tls_wish *wish)
{
	AUTO(peer) struct peer peer = { 0 };
	struct tls_session *session;
	struct seen seen;

	peer_init(&peer, leaf, others, count);
	peer_listen(&peer);
	session = session_open(world->context, peer.near, wish);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	tls_session_certificate(session, &seen.certificate);
	seen.facts = tls_session_facts(session);
	tls_session_free(session);
	return seen;
}

/* What is shown and not needed */

enum extra { NOTHING, OLD_CROSS_ROOT, OLD_TWIN_FIRST, OLD_STRANGER, ONLY_OLD_TWIN };

static const struct extra_row {
	const char *what;
	enum extra extra;
	const char *full;
	const char *off;
	const char *text; /* NULL: none */
} extra_rows[] = {
	{ "nothing else", NOTHING, "ok", "ok", NULL },
	{ "the root cross-signed by one that has ended", OLD_CROSS_ROOT, "ok", "ok", NULL },
	{ "the intermediate as it was before, then as it is", OLD_TWIN_FIRST, "ok", "ok", NULL },
	{ "an old certificate that has nothing to do with it", OLD_STRANGER, "ok", "ok", NULL },
	{ "the intermediate that clients need has ended", ONLY_OLD_TWIN, "cert_expired", "cert_expired",
	  "certificate has expired: CN=Between,O=Example (certificate 1 above the server's)" },
};

static struct made make_extra(const struct world *world, enum extra extra)
{
	struct cert_plan plan = { .cn = "Between", .issuer = &world->root, .ca = true, .key = world->between.key,
				  .not_before_unix_s = noon - 900 * day, .not_after_unix_s = noon - 5 * day };

	if (extra == OLD_CROSS_ROOT) {
		plan.cn = "Root";
		plan.issuer = &world->stranger;
		plan.key = world->root.key;
	} else if (extra == OLD_STRANGER) {
		plan.cn = "Somebody";
		plan.issuer = NULL;
		plan.key = NULL;
	}
	return make_cert(&plan);
}

START_TEST(only_what_clients_need_is_judged)
{
	const struct extra_row *row = &extra_rows[_i];
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	AUTO(made) struct made extra = { 0 };
	const struct made *shown[SHOWN_MAX] = { NULL };

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	extra = make_extra(&world, row->extra);
	shown[row->extra == OLD_TWIN_FIRST ? 1 : 0] = row->extra != ONLY_OLD_TWIN ? &world.between : NULL;
	shown[row->extra == OLD_TWIN_FIRST ? 0 : 1] = row->extra != NOTHING ? &extra : NULL;
	for (enum verify verify = VERIFY_FULL; verify <= VERIFY_OFF; verify += 2) {
		const struct tls_wish wish = { .server_name = "shop.example.com", .verify = verify };
		AUTO(seen) struct seen seen = look(&world, &leaf, shown, SHOWN_MAX, &wish);
		const char *expected = verify == VERIFY_FULL ? row->full : row->off;

		ck_assert_msg(strcmp(reason_name(seen.certificate.verdict), expected) == 0, "%s: %s", row->what,
			      reason_name(seen.certificate.verdict));
		ck_assert_msg(str_equal(seen.facts->verify_text, row->text), "%s: %s", row->what,
			      seen.facts->verify_text);
		ck_assert_int_eq(seen.certificate.chain_not_after_unix_s,
				 row->text != NULL ? noon - 5 * day : noon + 1000 * day);
		ck_assert_uint_eq(seen.facts->verified_count, 3);
		ck_assert_str_eq(seen.facts->verified[2].subject, "CN=Root,O=Example");
		ck_assert(seen.facts->verified[2].self_signed && seen.facts->verified[2].ca);
		ck_assert(!seen.facts->verified[0].ca && !seen.facts->verified[0].self_signed);
		ck_assert_int_eq(seen.facts->verified[0].key_bits, 256);
		ck_assert_int_eq(seen.facts->verified[0].strength_bits, 128);
	}
}
END_TEST

/* What is missing */

static void add_issuer_url(X509 *x509)
{
	made_add_extension(x509, NID_info_access,
			   "OCSP;URI:http://ocsp.example.com/,caIssuers;URI:http://ca.example.com/between.der");
}

static const struct {
	const char *what;
	bool by_root_of_nobody; /* an intermediate of it is shown */
	bool url;
	const char *text;
} missing_rows[] = {
	{ "an intermediate", false, false,
	  "an intermediate is missing: the issuer of the certificate, CN=Between,O=Example, is neither shown by the "
	  "server nor trusted" },
	{ "an intermediate that says where it is", false, true,
	  "an intermediate is missing: the issuer of the certificate, CN=Between,O=Example, is neither shown by the "
	  "server nor trusted (it is at http://ca.example.com/between.der)" },
	{ "the root", true, false,
	  "an intermediate is missing, or the root is not trusted: the issuer of the last certificate shown, "
	  "CN=Stranger,O=Example, is neither shown by the server nor trusted" },
};

START_TEST(what_is_missing_is_named)
{
	AUTO(world) struct world world;
	AUTO(made) struct made between = { 0 };
	AUTO(made) struct made leaf = { 0 };
	const struct made *shown[] = { missing_rows[_i].by_root_of_nobody ? &between : NULL };

	world_init(&world);
	between = make_ca("Other", &world.stranger, noon + 100 * day);
	leaf = make_cert(&(struct cert_plan){
		.cn = "leaf", .issuer = missing_rows[_i].by_root_of_nobody ? &between : &world.between,
		.sans = "DNS:shop.example.com", .not_before_unix_s = noon - day,
			.not_after_unix_s = noon + 80 * day,
		.finish = missing_rows[_i].url ? add_issuer_url : NULL });
	for (int again = 0; again < 2; again++) { /* from the cache too */
		AUTO(seen) struct seen seen = look(&world, &leaf, shown, 1, &shop);

		ck_assert_int_eq(seen.certificate.verdict, REASON_CERT_UNTRUSTED);
		ck_assert_msg(str_equal(seen.facts->verify_text, missing_rows[_i].text), "%s: %s",
			      missing_rows[_i].what, seen.facts->verify_text);
		ck_assert_uint_eq(seen.facts->verified_count, 0);
	}
}
END_TEST

/* Whose it is */

static const struct {
	const char *sans;
	const char *server_name;
	const char *text;
} name_rows[] = {
	{ "DNS:a.example,DNS:*.b.example,IP:192.0.2.1", "shop.example.com",
	  "hostname mismatch: it is for a.example, *.b.example, IP:192.0.2.1, not for shop.example.com" },
	{ "DNS:a,DNS:b,DNS:c,DNS:d,DNS:e,DNS:f,DNS:g", "shop.example.com",
	  "hostname mismatch: it is for a, b, c, d, e and 2 more, not for shop.example.com" },
	{ NULL, "shop.example.com", "hostname mismatch: it is for CN=leaf,O=Example, not for shop.example.com" },
	{ "IP:192.0.2.1", "192.0.2.2", "IP address mismatch: it is for IP:192.0.2.1, not for 192.0.2.2" },
};

START_TEST(a_wrong_name_says_whose_it_is)
{
	const struct tls_wish wish = { .server_name = name_rows[_i].server_name, .verify = VERIFY_FULL };
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };

	world_init(&world);
	leaf = make_leaf(&world.root, name_rows[_i].sans);
	AUTO(seen) struct seen seen = look(&world, &leaf, NULL, 0, &wish);

	ck_assert_int_eq(seen.certificate.verdict, REASON_CERT_HOSTNAME);
	ck_assert_str_eq(seen.facts->verify_text, name_rows[_i].text);
}
END_TEST

/* Weak ones */

static const struct weak_row {
	const char *what;
	int leaf_rsa_bits;     /* 0: P-256 */
	const char *between_curve; /* a server's own of a curve that small nobody agrees on */
	const char *leaf_digest;
	int between_rsa_bits;
	const char *between_digest;
	bool untrusted;        /* by a root that nobody trusts, which is shown, signed with SHA-1 by itself */
	const char *leaf;
	const char *chain;
	const char *text;
} weak_rows[] = {
	{ "all strong", 0, NULL, NULL, 0, NULL, false, "ok", "ok", NULL },
	{ "RSA 1024", 1024, NULL, NULL, 0, NULL, false, "cert_weak_key", "ok", "RSA 1024: CN=leaf,O=Example" },
	{ "RSA 2048", 2048, NULL, NULL, 0, NULL, false, "ok", "ok", NULL },
	{ "EC of 192 bits", 0, "prime192v1", NULL, 0, NULL, false, "ok", "cert_weak_key",
	  "EC P-192: CN=Between,O=Example (certificate 1 above the server's)" },
	{ "EC of 224 bits", 0, "secp224r1", NULL, 0, NULL, false, "ok", "ok", NULL },
	{ "signed with SHA-1", 0, NULL, "SHA1", 0, NULL, false, "cert_weak_signature", "ok",
	  "ecdsa-with-SHA1: CN=leaf,O=Example" },
	{ "intermediate signed with SHA-1", 0, NULL, NULL, 0, "SHA1", false, "ok", "cert_weak_signature",
	  "ecdsa-with-SHA1: CN=Between,O=Example (certificate 1 above the server's)" },
	{ "intermediate with RSA 1024", 0, NULL, NULL, 1024, NULL, false, "ok", "cert_weak_key",
	  "RSA 1024: CN=Between,O=Example (certificate 1 above the server's)" },
	{ "signed with MD5 by RSA 1024", 0, NULL, "MD5", 1024, NULL, false, "cert_weak_signature", "cert_weak_key",
	  "md5WithRSAEncryption: CN=leaf,O=Example" },
	{ "a root's own signature proves nothing", 0, NULL, NULL, 0, NULL, true, "ok", "ok", NULL },
};

static struct made make_weak(const char *cn, const struct made *issuer, bool ca, int rsa_bits, const char *curve,
			     const char *digest)
{
	EVP_PKEY *key = rsa_bits > 0 ? EVP_RSA_gen((unsigned int)rsa_bits) :
				       EVP_EC_gen(curve != NULL ? curve : "P-256");
	struct made made = make_cert(&(struct cert_plan){
		.cn = cn, .issuer = issuer, .ca = ca, .sans = ca ? NULL : "DNS:shop.example.com", .key = key,
		.digest = digest != NULL ? EVP_get_digestbyname(digest) : NULL, .not_before_unix_s = noon - day,
		.not_after_unix_s = noon + 80 * day });

	EVP_PKEY_free(key);
	return made;
}

START_TEST(weak_certificates_are_told_apart)
{
	const struct weak_row *row = &weak_rows[_i];
	AUTO(world) struct world world;
	AUTO(made) struct made root = { 0 };
	AUTO(made) struct made between = { 0 };
	AUTO(made) struct made leaf = { 0 };
	const struct made *shown[] = { &between, &root };

	world_init(&world);
	root = make_weak("Old Root", NULL, true, 0, NULL, "SHA1");
	between = make_weak("Between", row->untrusted ? &root : &world.root, true, row->between_rsa_bits,
			    row->between_curve, row->between_digest);
	leaf = make_weak("leaf", &between, false, row->leaf_rsa_bits, NULL, row->leaf_digest);
	for (enum verify verify = VERIFY_FULL; verify <= VERIFY_OFF; verify += 2) {
		const struct tls_wish wish = { .server_name = "shop.example.com", .verify = verify };
		AUTO(seen) struct seen seen = look(&world, &leaf, shown, 2, &wish);

		ck_assert_msg(strcmp(reason_name(seen.certificate.weak_leaf), row->leaf) == 0, "%s: %s", row->what,
			      reason_name(seen.certificate.weak_leaf));
		ck_assert_msg(strcmp(reason_name(seen.certificate.weak_chain), row->chain) == 0, "%s: %s",
			row->what,
			      reason_name(seen.certificate.weak_chain));
		ck_assert_msg(str_equal(seen.facts->weak_text, row->text), "%s: %s", row->what,
			      seen.facts->weak_text);
		ck_assert_int_eq(seen.certificate.verdict,
				 row->untrusted && verify == VERIFY_FULL ? REASON_CERT_UNTRUSTED : REASON_OK);
	}
}
END_TEST

/* Pins */

static void pin_of(const struct made *made, uint8_t pin[PIN_BYTES])
{
	uint8_t *der = NULL;
	int bytes = i2d_PUBKEY(made->key, &der);

	ck_assert_int_eq(EVP_Digest(der, (size_t)bytes, pin, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
}

START_TEST(a_key_must_be_one_of_the_pinned)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	AUTO(made) struct made renewed = { 0 };
	AUTO(made) struct made other = { 0 };
	AUTO(str) struct str expected = { 0 };
	uint8_t pins[2][PIN_BYTES] = { { 1 }, { 0 } };
	uint8_t other_pin[PIN_BYTES];
	struct tls_wish wish = { .server_name = "shop.example.com", .pins = (const uint8_t (*)[PIN_BYTES])pins,
				 .pin_count = 2 };

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	renewed = make_cert(&(struct cert_plan){ .cn = "renewed", .issuer = &world.root, .key = leaf.key,
						 .sans = "DNS:shop.example.com", .not_before_unix_s = noon - day,
						 .not_after_unix_s = noon + 80 * day });
	other = make_leaf(&world.root, "DNS:shop.example.com");
	pin_of(&leaf, pins[1]);
	pin_of(&other, other_pin);
	str_add(&expected, "the key is sha256//");
	str_add_base64(&expected, other_pin, PIN_BYTES);
	for (wish.verify = VERIFY_FULL; wish.verify <= VERIFY_OFF; wish.verify++) {
		AUTO(seen) struct seen good = look(&world, &leaf, NULL, 0, &wish);
		AUTO(seen) struct seen still = look(&world, &renewed, NULL, 0, &wish);
		AUTO(seen) struct seen bad = look(&world, &other, NULL, 0, &wish);

		ck_assert_int_eq(good.certificate.verdict, REASON_OK);
		ck_assert_ptr_null(good.facts->verify_text);
		ck_assert_int_eq(still.certificate.verdict, REASON_OK);
		ck_assert_int_eq(bad.certificate.verdict, REASON_CERT_PIN);
		ck_assert_str_eq(bad.facts->verify_text, expected.data);
	}
	/* Pins are not part of the cache's question: what another target has pinned is its own business. */
	wish.verify = VERIFY_FULL;
	wish.pin_count = 1;
	AUTO(seen) struct seen unpinned = look(&world, &leaf, NULL, 0, &wish);

	ck_assert_int_eq(unpinned.certificate.verdict, REASON_CERT_PIN);
}
END_TEST

/* Issuers */

static const struct {
	const char *pattern;
	enum reason verdict;
} issuer_rows[] = {
	{ "^Between$", REASON_OK },
	{ "^Example$", REASON_OK },
	{ "^CN=Between,O=Example$", REASON_OK },
	{ "Exam", REASON_OK },
	{ "^Root$", REASON_CERT_ISSUER },
	{ "(a+)+$", REASON_CERT_ISSUER },
};

START_TEST(an_issuer_must_be_like_that)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };
	AUTO(string) char *text = mem_printf("issued by CN=Between,O=Example, not by one like \"%s\"",
					     issuer_rows[_i].pattern);
	const struct made *others[] = { &world.between };
	struct error err;
	struct expect *expect = expect_new(issuer_rows[_i].pattern, &err);
	struct tls_wish wish = { .server_name = "shop.example.com",
				 .issuer = { .expect = expect, .text = issuer_rows[_i].pattern } };

	world_init(&world);
	leaf = make_leaf(&world.between, "DNS:shop.example.com");
	/* Another target wants nothing of the kind: the cache does not mix them up. */
	AUTO(seen) struct seen any = look(&world, &leaf, others, 1, &shop);
	AUTO(seen) struct seen first = look(&world, &leaf, others, 1, &wish);
	AUTO(seen) struct seen again = look(&world, &leaf, others, 1, &wish);

	expect_free(expect);
	ck_assert_int_eq(any.certificate.verdict, REASON_OK);
	ck_assert_int_eq(first.certificate.verdict, issuer_rows[_i].verdict);
	ck_assert_int_eq(again.certificate.verdict, issuer_rows[_i].verdict);
	if (issuer_rows[_i].verdict == REASON_OK)
		ck_assert_ptr_null(again.facts->verify_text);
	else
		ck_assert_str_eq(again.facts->verify_text, text);
}
END_TEST

/* Staples */

enum signer { BY_ISSUER, BY_DELEGATE, BY_SERVER_CERTIFICATE, BY_STRANGER_ROOT, BY_TWIN };
enum form { FORM_GOOD, FORM_NONE, FORM_NOISE, FORM_TRY_LATER };

static const struct staple_row {
	const char *what;
	enum form form;
	enum signer signer;
	bool about_another;
	int status;
	int64_t from_s; /* from now */
	int64_t until_s;
	const char *reason;
	const char *text; /* its beginning */
} staple_rows[] = {
	{ "good", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, -3600, 3600, "ok",
	  "good until 2026-11-23T13:00:00Z" },
	{ "good, by a delegate", FORM_GOOD, BY_DELEGATE, false, V_OCSP_CERTSTATUS_GOOD, -3600, 3600, "ok",
	  "good until 2026-11-23T13:00:00Z" },
	{ "none", FORM_NONE, BY_ISSUER, false, 0, 0, 0, "cert_revocation_unknown",
	  "the server staples no OCSP response" },
	{ "noise", FORM_NOISE, BY_ISSUER, false, 0, 0, 0, "cert_revocation_unknown",
	  "the stapled OCSP response cannot be read" },
	{ "try later", FORM_TRY_LATER, BY_ISSUER, false, 0, 0, 0, "cert_revocation_unknown",
	  "the stapled OCSP response is an error: trylater" },
	{ "revoked", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_REVOKED, -3600, 3600, "cert_revoked",
	  "revoked on 2026-11-22T12:00:00Z (keyCompromise)" },
	{ "revoked is revoked, however old", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_REVOKED, -7200, -3600,
	  "cert_revoked", "revoked on 2026-11-22T12:00:00Z (keyCompromise)" },
	{ "not known", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_UNKNOWN, -3600, 3600,
	  "cert_revocation_unknown",
	  "the stapled OCSP response does not know the certificate" },
	{ "five minutes too old are the clocks'", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, -3600,
	  -300, "ok",
	  "good until" },
	{ "a second more is too old", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, -3600, -301,
	  "cert_revocation_unknown", "the stapled OCSP response is too old: it held until 2026-11-23T11:54:59Z" },
	{ "five minutes in the future too", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, 300, 3600, "ok",
	  "good until" },
	{ "a second more is not", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, 301, 3600,
	  "cert_revocation_unknown", "the stapled OCSP response holds only from 2026-11-23T12:05:01Z" },
	{ "for ever", FORM_GOOD, BY_ISSUER, false, V_OCSP_CERTSTATUS_GOOD, -3600, 0, "cert_revocation_unknown",
	  "the stapled OCSP response does not say how long it holds" },
	{ "of another certificate", FORM_GOOD, BY_ISSUER, true, V_OCSP_CERTSTATUS_GOOD, -3600, 3600,
	  "cert_revocation_unknown", "the stapled OCSP response is about another certificate" },
	{ "signed by a stranger", FORM_GOOD, BY_STRANGER_ROOT, false, V_OCSP_CERTSTATUS_GOOD, -3600, 3600,
	  "cert_revocation_unknown",
	  "the stapled OCSP response is not signed by the issuer or who speaks for it" },
	{ "signed by another server", FORM_GOOD, BY_SERVER_CERTIFICATE, false, V_OCSP_CERTSTATUS_GOOD, -3600, 3600,
	  "cert_revocation_unknown",
	  "the stapled OCSP response is not signed by the issuer or who speaks for it" },
	{ "signed by one of the issuer's name", FORM_GOOD, BY_TWIN, false, V_OCSP_CERTSTATUS_GOOD, -3600, 3600,
	  "cert_revocation_unknown",
	  "there is no issuer's certificate to check the stapled OCSP response with" },
	{ "a stranger's revocation", FORM_GOOD, BY_STRANGER_ROOT, false, V_OCSP_CERTSTATUS_REVOKED, -3600, 3600,
	  "cert_revocation_unknown",
	  "the stapled OCSP response is not signed by the issuer or who speaks for it" },
};

struct response {
	uint8_t *der;
	int bytes;
};

/* What the response is made of. */
struct parts {
	struct made leaf;
	struct made other;
	struct made twin; /* of the issuer's name, with a key of its own */
};

static void parts_auto(struct parts *parts)
{
	made_done(&parts->leaf);
	made_done(&parts->other);
	made_done(&parts->twin);
}

static OCSP_BASICRESP *make_basic(const struct world *world, const struct staple_row *row,
	const struct parts *parts)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	const X509 *issuer = row->signer == BY_TWIN ? parts->twin.x509 : world->between.x509;
	OCSP_CERTID *id =
		OCSP_cert_to_id(EVP_sha1(), row->about_another ? parts->other.x509 : parts->leaf.x509, issuer);
	ASN1_TIME *revoked = ASN1_TIME_set(NULL, noon - day);
	ASN1_TIME *from = ASN1_TIME_set(NULL, noon + row->from_s);
	ASN1_TIME *until = row->until_s != 0 ? ASN1_TIME_set(NULL, noon + row->until_s) : NULL;
	AUTO(made) struct made delegate = make_cert(&(struct cert_plan){
		.cn = "OCSP", .issuer = &world->between, .not_before_unix_s = noon - day,
			.not_after_unix_s = noon + day,
		.usage = row->signer == BY_DELEGATE ? "OCSPSigning" : "serverAuth" });
	const struct made *signers[] = { &world->between, &delegate, &delegate, &world->stranger, &parts->twin };
	const struct made *signer = signers[row->signer];

	ck_assert_ptr_nonnull(OCSP_basic_add1_status(basic, id, row->status, OCSP_REVOKED_STATUS_KEYCOMPROMISE,
		revoked,
						     from, until));
	ck_assert_int_eq(OCSP_basic_sign(basic, signer->x509, signer->key, EVP_sha256(), NULL, 0), 1);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(revoked);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return basic;
}

static struct response make_response(const struct world *world, const struct staple_row *row,
	const struct parts *parts)
{
	struct response out = { NULL, 0 };
	OCSP_BASICRESP *basic = row->form == FORM_GOOD ? make_basic(world, row, parts) : NULL;
	OCSP_RESPONSE *response = OCSP_response_create(
		basic != NULL ? OCSP_RESPONSE_STATUS_SUCCESSFUL : OCSP_RESPONSE_STATUS_TRYLATER, basic);

	out.bytes = i2d_OCSP_RESPONSE(response, &out.der);
	if (row->form == FORM_NOISE)
		out.bytes--;
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return out;
}

static int staple_it(SSL *ssl, void *arg)
{
	const struct response *response = arg;

	SSL_set_tlsext_status_ocsp_resp(ssl, OPENSSL_memdup(response->der, (size_t)response->bytes),
		response->bytes);
	return SSL_TLSEXT_ERR_OK;
}

START_TEST(a_staple_must_be_there_fresh_and_good)
{
	const struct staple_row *row = &staple_rows[_i / 2];
	const struct tls_wish wish = { .server_name = "shop.example.com", .staple = true };
	AUTO(world) struct world world;
	AUTO(parts) struct parts parts = { 0 };
	struct response response;

	world_init(&world);
	parts.leaf = make_leaf(&world.between, "DNS:shop.example.com");
	parts.other = make_leaf(&world.between, "DNS:shop.example.com");
	parts.twin = make_ca("Between", &world.stranger, noon + 1000 * day);
	response = make_response(&world, row, &parts);
	for (int again = 0; again < 2; again++) { /* from the cache too */
		AUTO(peer) struct peer peer = { 0 };
		AUTO(facts) struct tls_facts *facts = NULL;
		const struct made *others[] = { row->signer == BY_TWIN ? &parts.twin : NULL, &world.between };
		struct certificate certificate;
		struct tls_session *session;

		peer_init(&peer, &parts.leaf, others, 2);
		SSL_CTX_set_max_proto_version(peer.ctx, _i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
		if (row->form != FORM_NONE) {
			SSL_CTX_set_tlsext_status_cb(peer.ctx, staple_it);
			SSL_CTX_set_tlsext_status_arg(peer.ctx, &response);
		}
		peer_listen(&peer);
		session = session_open(world.context, peer.near, &wish);
		ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
		tls_session_certificate(session, &certificate);
		facts = tls_session_facts(session);
		tls_session_free(session);
		ck_assert_int_eq(certificate.verdict, row->signer == BY_TWIN ? REASON_CERT_UNTRUSTED : REASON_OK);
		ck_assert_msg(strcmp(reason_name(certificate.revocation), row->reason) == 0, "%s: %s: %s",
			row->what,
			      reason_name(certificate.revocation), facts->staple_text);
		ck_assert_msg(str_starts(facts->staple_text, row->text), "%s: %s", row->what, facts->staple_text);
	}
	OPENSSL_free(response.der);
}
END_TEST

START_TEST(a_staple_is_not_asked_for_unless_wished)
{
	AUTO(world) struct world world;
	AUTO(made) struct made leaf = { 0 };

	world_init(&world);
	leaf = make_leaf(&world.root, "DNS:shop.example.com");
	AUTO(seen) struct seen seen = look(&world, &leaf, NULL, 0, &shop);

	ck_assert_int_eq(seen.certificate.revocation, REASON_OK);
	ck_assert_ptr_null(seen.facts->staple_text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls_verdict");
	TCase *tests = tcase_create("tls_verdict");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tests, 30);
	tcase_add_loop_test(tests, only_what_clients_need_is_judged, 0, ROWS(extra_rows));
	tcase_add_loop_test(tests, what_is_missing_is_named, 0, ROWS(missing_rows));
	tcase_add_loop_test(tests, a_wrong_name_says_whose_it_is, 0, ROWS(name_rows));
	tcase_add_loop_test(tests, weak_certificates_are_told_apart, 0, ROWS(weak_rows));
	tcase_add_loop_test(tests, an_issuer_must_be_like_that, 0, ROWS(issuer_rows));
	tcase_add_test(tests, a_key_must_be_one_of_the_pinned);
	tcase_add_loop_test(tests, a_staple_must_be_there_fresh_and_good, 0, 2 * ROWS(staple_rows));
	tcase_add_test(tests, a_staple_is_not_asked_for_unless_wished);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
