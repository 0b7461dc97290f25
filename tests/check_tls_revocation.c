/* SPDX-License-Identifier: MIT */
/* Revocation lists and OCSP responses that are good, wrong, old, broken and large, against certificates of our
 * own. */
#include "lib/io/tls_revocation.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/words.h"
#include "tests/make_revocation.h"
#include "tests/tls_world.h"

enum { LARGE = 1000000 };

static const char point[] = "http://crl.example.com/between.crl";

/* A leaf that says where its list and its responder are, and what a prober makes of it. */
struct scene {
	struct world world;
	struct made leaf;
	struct tls_facts *facts;
};

static void add_points(X509 *x509)
{
	made_add_extension(x509, NID_crl_distribution_points,
			   "URI:ldap://x.example.com/,URI:http://crl.example.com/between.crl");
	made_add_extension(
		x509, NID_info_access,
		"caIssuers;URI:http://ca.example.com/,OCSP;URI:http://ocsp.example.com/,OCSP;URI:http://b.example.com/");
}

static struct tls_facts *facts_of(struct world *world, const struct made *leaf, const struct made *const *others,
				  size_t count, const struct tls_wish *wish)
{
	__attribute__((cleanup(peer_auto))) struct peer peer = { 0 };
	struct tls_session *session;
	struct tls_facts *facts;

	peer_init(&peer, leaf, others, count);
	peer_listen(&peer);
	session = session_open(world->context, peer.near, wish);
	ck_assert_int_eq(shake(session, &peer, noon), TLS_STEP_DONE);
	facts = tls_session_facts(session);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	tls_session_free(session);
	return facts;
}

static const struct tls_wish asked = { .server_name = "shop.example.com", .verify = VERIFY_FULL, .inquiry = true };

static struct made make_shop(const struct made *issuer, void (*finish)(X509 *))
{
	return make_cert(&(struct cert_plan){ .cn = "leaf",
					      .issuer = issuer,
					      .sans = "DNS:shop.example.com",
					      .not_before_unix_s = noon - 10 * day,
					      .not_after_unix_s = noon + 80 * day,
					      .finish = finish });
}

static void scene_init(struct scene *scene)
{
	world_init(&scene->world);
	scene->leaf = make_shop(&scene->world.between, add_points);
	const struct made *between = &scene->world.between;

	scene->facts = facts_of(&scene->world, &scene->leaf, &between, 1, &asked);
	ck_assert_ptr_nonnull(scene->facts->inquiry);
	ck_assert_ptr_null(scene->facts->inquiry->trouble);
}

static void scene_auto(struct scene *scene)
{
	tls_facts_free(scene->facts);
	made_done(&scene->leaf);
	world_auto(&scene->world);
}

/* ---- what is asked ---- */

START_TEST(what_is_asked)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	const struct inquiry *inquiry;
	const uint8_t *at;
	OCSP_REQUEST *request;
	OCSP_CERTID *id;
	ASN1_INTEGER *serial;

	scene_init(&scene);
	inquiry = scene.facts->inquiry;
	ck_assert_uint_eq(inquiry->crl_url_count, 1);
	ck_assert_str_eq(inquiry->crl_urls[0], point);
	ck_assert_str_eq(inquiry->ocsp_url, "http://ocsp.example.com/");
	ck_assert(!inquiry->ca);
	at = inquiry->ocsp_request;
	request = d2i_OCSP_REQUEST(NULL, &at, (long)inquiry->ocsp_request_bytes);
	ck_assert_ptr_nonnull(request);
	ck_assert_int_eq(OCSP_request_onereq_count(request), 1);
	id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0));
	OCSP_id_get0_info(NULL, NULL, NULL, &serial, id);
	ck_assert_int_eq(ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(scene.leaf.x509)), 0);
	OCSP_REQUEST_free(request);
}
END_TEST

static void add_nothing(X509 *x509)
{
	(void)x509;
}

static void add_useless(X509 *x509)
{
	made_add_extension(
		x509, NID_crl_distribution_points,
		"URI:ldap://x.example.com/,URI:https://x.example.com/,URI:file:///etc/passwd,URI:http://a b/");
	made_add_extension(x509, NID_info_access, "OCSP;URI:https://ocsp.example.com/");
}

START_TEST(what_cannot_be_asked)
{
	__attribute__((cleanup(world_auto))) struct world world;
	const struct tls_wish silent = { .server_name = "shop.example.com", .verify = VERIFY_FULL };
	const struct tls_wish careless = { .server_name = "other.example.com",
					   .verify = VERIFY_OFF,
					   .inquiry = true };
	struct made bare, useless, strange, alone;
	struct tls_facts *facts;

	world_init(&world);
	const struct made *others[] = { &world.between };

	bare = make_shop(&world.between, add_nothing);
	useless = make_shop(&world.between, add_useless);
	strange = make_shop(&world.stranger, add_points);
	alone = make_shop(NULL, add_points);
	facts = facts_of(&world, &bare, others, 1, &silent);
	ck_assert_ptr_null(facts->inquiry);
	tls_facts_free(facts);
	facts = facts_of(&world, &bare, others, 1, &asked);
	ck_assert_ptr_null(facts->inquiry->trouble);
	ck_assert_uint_eq(facts->inquiry->crl_url_count, 0);
	ck_assert_uint_eq(facts->inquiry->crl_other_count, 0);
	ck_assert_ptr_null(facts->inquiry->ocsp_url);
	tls_facts_free(facts);
	facts = facts_of(&world, &useless, others, 1, &careless);
	ck_assert_ptr_null(facts->inquiry->trouble);
	ck_assert_uint_eq(facts->inquiry->crl_url_count, 0);
	ck_assert_uint_eq(facts->inquiry->crl_other_count, 4);
	ck_assert_ptr_null(facts->inquiry->ocsp_url);
	tls_facts_free(facts);
	/* Addresses that a server wrote itself are not followed, whatever is verified. */
	facts = facts_of(&world, &strange, others, 1, &careless);
	ck_assert_str_eq(facts->inquiry->trouble,
			 "nobody is asked about a certificate that no trusted authority signed");
	ck_assert_uint_eq(facts->inquiry->crl_url_count, 0);
	tls_facts_free(facts);
	facts = facts_of(&world, &alone, NULL, 0, &careless);
	ck_assert_str_eq(facts->inquiry->trouble,
			 "nobody is asked about a certificate that no trusted authority signed");
	tls_facts_free(facts);
	made_done(&bare);
	made_done(&useless);
	made_done(&strange);
	made_done(&alone);
}
END_TEST

/* A chain whose leaf claims an authority that never signed it. */
START_TEST(forged_signature)
{
	__attribute__((cleanup(world_auto))) struct world world;
	const struct tls_wish careless = { .server_name = "shop.example.com",
					   .verify = VERIFY_OFF,
					   .inquiry = true };
	struct made liar, forged;
	struct tls_facts *facts;

	world_init(&world);
	const struct made *others[] = { &world.between };

	liar = make_ca("Between", &world.stranger, noon + 1000 * day);
	forged = make_shop(&liar, add_points);
	facts = facts_of(&world, &forged, others, 1, &careless);
	ck_assert_str_eq(facts->inquiry->trouble,
			 "nobody is asked about a certificate that no trusted authority signed");
	tls_facts_free(facts);
	made_done(&forged);
	made_done(&liar);
}
END_TEST

/* ---- lists ---- */

enum signer { BY_ISSUER, BY_STRANGER, BY_NAMESAKE };

struct crl_row {
	const char *says;
	enum signer signer;
	bool lists_leaf;
	int reason;              /* -1: none is given */
	int64_t from_s;          /* from now */
	int64_t until_s;         /* 0: not said */
	const char *point;       /* issuingDistributionPoint, as OpenSSL's configuration has it */
	bool delta;
	int critical_nid;        /* an extension that nobody knows; 0: none */
	bool entry_critical;
	const char *reason_name; /* what is found; NULL: the list cannot be read */
	const char *text;
};

static const struct crl_row crl_rows[] = {
	{ "good", BY_ISSUER, false, -1, -3600, 3600, NULL, false, 0, false, "ok", "good until 2026-11-23T13:00:00Z" },
	{ "revoked", BY_ISSUER, true, CRL_REASON_KEY_COMPROMISE, -3600, 3600, NULL, false, 0, false, "cert_revoked",
	  "revoked on 2026-11-23T11:00:00Z (keyCompromise)" },
	{ "revoked, nobody says why", BY_ISSUER, true, -1, -3600, 3600, NULL, false, 0, false, "cert_revoked",
	  "revoked on 2026-11-23T11:00:00Z" },
	{ "revoked is revoked, however old", BY_ISSUER, true, -1, -7200, -3600, NULL, false, 0, false, "cert_revoked",
	  "revoked on 2026-11-23T11:00:00Z" },
	{ "five minutes too old are the clocks'", BY_ISSUER, false, -1, -3600, -300, NULL, false, 0, false, "ok",
	  "good until 2026-11-23T11:55:00Z" },
	{ "a second more is too old", BY_ISSUER, false, -1, -3600, -301, NULL, false, 0, false, "cert_revocation_unknown",
	  "the list is too old: it held until 2026-11-23T11:54:59Z" },
	{ "five minutes in the future too", BY_ISSUER, false, -1, 300, 3600, NULL, false, 0, false, "ok",
	  "good until 2026-11-23T13:00:00Z" },
	{ "a second more is not", BY_ISSUER, false, -1, 301, 3600, NULL, false, 0, false, "cert_revocation_unknown",
	  "the list holds only from 2026-11-23T12:05:01Z" },
	{ "for ever", BY_ISSUER, false, -1, -3600, 0, NULL, false, 0, false, NULL, "the list does not say how long it holds" },
	{ "of a stranger", BY_STRANGER, true, -1, -3600, 3600, NULL, false, 0, false, NULL, "the list is of another issuer" },
	{ "of one who has only the name", BY_NAMESAKE, true, -1, -3600, 3600, NULL, false, 0, false, NULL,
	  "the list is not signed by the issuer" },
	{ "a part, ours", BY_ISSUER, false, -1, -3600, 3600, "fullname:URI:http://crl.example.com/between.crl", false, 0,
	  false, "ok", "good until 2026-11-23T13:00:00Z" },
	{ "a part, another", BY_ISSUER, false, -1, -3600, 3600, "fullname:URI:http://crl.example.com/other.crl", false, 0,
	  false, "cert_revocation_unknown", "the list is a part that is about other certificates" },
	{ "for servers", BY_ISSUER, false, -1, -3600, 3600, "onlyuser:TRUE", false, 0, false, "ok",
	  "good until 2026-11-23T13:00:00Z" },
	{ "for authorities", BY_ISSUER, false, -1, -3600, 3600, "onlyCA:TRUE", false, 0, false, "cert_revocation_unknown",
	  "the list is about certificates of another kind" },
	{ "indirect", BY_ISSUER, false, -1, -3600, 3600, "indirectCRL:TRUE", false, 0, false, NULL,
	  "the list is of a kind that is not supported (indirect, or for some reasons only)" },
	{ "for some reasons", BY_ISSUER, false, -1, -3600, 3600, "onlysomereasons:keyCompromise", false, 0, false, NULL,
	  "the list is of a kind that is not supported (indirect, or for some reasons only)" },
	{ "by a relative name", BY_ISSUER, false, -1, -3600, 3600, "relative", false, 0, false, NULL,
	  "the list is a part that is named in a way that is not supported" },
	{ "a delta", BY_ISSUER, false, -1, -3600, 3600, NULL, true, 0, false, NULL,
	  "the list has only changes to another (a delta CRL)" },
	{ "more than we understand", BY_ISSUER, false, -1, -3600, 3600, NULL, false, NID_netscape_comment, false, NULL,
	  "the list has an extension that must be understood, and is not" },
	{ "an entry of somebody else", BY_ISSUER, false, -1, -3600, 3600, NULL, false, 0, true, NULL,
	  "the list has entries of a kind that is not supported (indirect)" },
};

static void crl_add_number(X509_CRL *crl, int64_t number, bool critical)
{
	ASN1_INTEGER *serial = ASN1_INTEGER_new();

	ASN1_INTEGER_set_int64(serial, number);
	crl_add(crl, serial, noon - 3600, -1, critical);
	ASN1_INTEGER_free(serial);
}

/* OpenSSL's configuration needs a section for a relative name, and has no way to write one for a CRL without a
 * file. */
static void crl_add_point(X509_CRL *crl, const char *text)
{
	X509_EXTENSION *extension;
	ISSUING_DIST_POINT *relative;

	if (strcmp(text, "relative") != 0) {
		extension = X509V3_EXT_conf_nid(NULL, NULL, NID_issuing_distribution_point, text);
		ck_assert_ptr_nonnull(extension);
		X509_EXTENSION_set_critical(extension, 1);
		ck_assert_int_eq(X509_CRL_add_ext(crl, extension, -1), 1);
		X509_EXTENSION_free(extension);
		return;
	}
	relative = ISSUING_DIST_POINT_new();
	relative->distpoint = DIST_POINT_NAME_new();
	relative->distpoint->type = 1;
	relative->distpoint->name.relativename = sk_X509_NAME_ENTRY_new_null();
	sk_X509_NAME_ENTRY_push(relative->distpoint->name.relativename,
				X509_NAME_ENTRY_create_by_NID(NULL, NID_commonName, V_ASN1_UTF8STRING,
							      (const unsigned char *)"part", 4));
	ck_assert_int_eq(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, relative, 1, 0), 1);
	ISSUING_DIST_POINT_free(relative);
}

static void crl_add_extensions(X509_CRL *crl, const struct crl_row *row)
{
	if (row->point != NULL)
		crl_add_point(crl, row->point);
	if (row->delta) {
		ASN1_INTEGER *base = ASN1_INTEGER_new();

		ASN1_INTEGER_set(base, 1);
		ck_assert_int_eq(X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0), 1);
		ASN1_INTEGER_free(base);
	}
	if (row->critical_nid != 0) {
		ASN1_IA5STRING *comment = ASN1_IA5STRING_new();

		ASN1_STRING_set(comment, "x", 1);
		ck_assert_int_eq(X509_CRL_add1_ext_i2d(crl, row->critical_nid, comment, 1, 0), 1);
		ASN1_IA5STRING_free(comment);
	}
}

static int make_crl(const struct scene *scene, const struct crl_row *row, uint8_t **der)
{
	const struct world *world = &scene->world;
	const struct made *name = row->signer == BY_STRANGER ? &world->stranger : &world->between;
	const struct made *signer = row->signer == BY_ISSUER ? &world->between : &world->stranger;
	X509_CRL *crl = crl_begin(name, noon + row->from_s, row->until_s != 0 ? noon + row->until_s : 0);

	for (int64_t i = -3; i < 3; i++)
		crl_add_number(crl, i * INT64_C(1000000007), row->entry_critical && i == 2);
	if (row->lists_leaf)
		crl_add(crl, X509_get0_serialNumber(scene->leaf.x509), noon - 3600, row->reason, false);
	crl_add_extensions(crl, row);
	return crl_end(crl, signer, der);
}

static struct crl *read_crl(const struct scene *scene, const uint8_t *der, size_t bytes, struct error *err)
{
	const struct inquiry *inquiry = scene->facts->inquiry;
	/* The first is another one. */
	struct crl_issuer issuers[2] = { { .der_bytes = 0 }, { inquiry->issuer, inquiry->issuer_bytes, { 0 } } };
	struct crl *crl;
	uint8_t *other = NULL;
	int other_bytes = i2d_X509(scene->world.root.x509, &other);

	memcpy(issuers[1].id, inquiry->issuer_id, FINGERPRINT_BYTES);
	issuers[0].der = other;
	issuers[0].der_bytes = (size_t)other_bytes;
	crl = crl_read(der, bytes, issuers, 2, err);
	OPENSSL_free(other);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	return crl;
}

START_TEST(list)
{
	const struct crl_row *row = &crl_rows[_i];
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	AUTO(str) struct str text = { 0 };
	struct revocation_verdict verdict;
	struct error err = { 0 };
	struct crl *crl;
	uint8_t *der;
	int bytes;

	scene_init(&scene);
	bytes = make_crl(&scene, row, &der);
	crl = read_crl(&scene, der, (size_t)bytes, &err);
	OPENSSL_free(der);
	if (row->reason_name == NULL) {
		ck_assert_msg(crl == NULL, "%s", row->says);
		ck_assert_msg(strcmp(err.text, row->text) == 0, "%s: %s", row->says, err.text);
		return;
	}
	ck_assert_msg(crl != NULL, "%s: %s", row->says, err.text);
	crl_judge(crl, scene.facts->inquiry, noon, &verdict, &text);
	ck_assert_msg(strcmp(reason_name(verdict.reason), row->reason_name) == 0 &&
			      strcmp(text.data, row->text) == 0,
		      "%s: %s, %s", row->says, reason_name(verdict.reason), text.data);
	crl_judge(crl, scene.facts->inquiry, noon, &verdict, NULL);
	ck_assert_str_eq(reason_name(verdict.reason), row->reason_name);
	ck_assert_int_eq(verdict.from_unix_s, noon + row->from_s);
	ck_assert_int_eq(verdict.until_unix_s, noon + row->until_s);
	crl_free(crl);
}
END_TEST

/* Issuers that share a list: each certificate is judged by it only if its own issuer signed it. */
START_TEST(list_of_another_issuer)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	AUTO(str) struct str text = { 0 };
	struct revocation_verdict verdict;
	struct error err = { 0 };
	struct inquiry other;
	struct crl *crl;
	uint8_t *der;
	int bytes;

	scene_init(&scene);
	bytes = make_crl(&scene, &crl_rows[1], &der);
	crl = read_crl(&scene, der, (size_t)bytes, &err);
	ck_assert_ptr_nonnull(crl);
	other = *scene.facts->inquiry;
	other.issuer_id[0] ^= 1;
	crl_judge(crl, &other, noon, &verdict, &text);
	ck_assert_int_eq(verdict.reason, REASON_CERT_REVOCATION_UNKNOWN);
	ck_assert_str_eq(text.data, "the list is of another issuer");
	crl_free(crl);
	OPENSSL_free(der);
}
END_TEST

static void add_sign_usage(X509 *x509)
{
	made_add_extension(x509, NID_key_usage, "critical,keyCertSign");
}

START_TEST(issuer_may_not_sign_lists)
{
	__attribute__((cleanup(world_auto))) struct world world;
	struct made issuer;
	struct error err;
	uint8_t *der;
	uint8_t *issuer_der = NULL;
	int bytes;

	world_init(&world);
	issuer = make_cert(&(struct cert_plan){ .cn = "Signer",
						.issuer = &world.root,
						.ca = true,
						.finish = add_sign_usage,
						.not_before_unix_s = noon - day,
						.not_after_unix_s = noon + day });
	bytes = crl_end(crl_begin(&issuer, noon - 60, noon + 60), &issuer, &der);
	struct crl_issuer one = { .der_bytes = (size_t)i2d_X509(issuer.x509, &issuer_der) };

	one.der = issuer_der;
	ck_assert_ptr_null(crl_read(der, (size_t)bytes, &one, 1, &err));
	ck_assert_str_eq(err.text, "the issuer's certificate is not made for signing lists");
	OPENSSL_free(der);
	OPENSSL_free(issuer_der);
	made_done(&issuer);
}
END_TEST

/* Cut anywhere, or changed anywhere, it is not believed; that nothing is read beyond is the sanitizer's to see. */
START_TEST(broken_lists)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	struct error err = { 0 };
	uint8_t *der;
	size_t bytes;

	scene_init(&scene);
	bytes = (size_t)make_crl(&scene, &crl_rows[1], &der);
	for (size_t cut = 0; cut < bytes; cut++) {
		uint8_t *copy = mem_alloc(cut + 1);

		memcpy(copy, der, cut);
		ck_assert_msg(read_crl(&scene, copy, cut, &err) == NULL, "cut at %zu", cut);
		free(copy);
	}
	for (size_t at = 0; at < bytes; at++) {
		der[at] ^= 0x21;
		struct crl *crl = read_crl(&scene, der, bytes, &err);

		ck_assert_msg(crl == NULL, "changed at %zu", at);
		der[at] ^= 0x21;
	}
	ck_assert_ptr_null(read_crl(&scene, (const uint8_t *)"<html>not found</html>", 22, &err));
	ck_assert_str_eq(err.text, "what came is no list (CRL)");
	ck_assert_ptr_null(read_crl(
		&scene, (const uint8_t *)"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n", 53, &err));
	OPENSSL_free(der);
}
END_TEST

START_TEST(list_in_pem)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	X509_CRL *made;
	BIO *bio = BIO_new(BIO_s_mem());
	struct error err = { 0 };
	struct crl *crl;
	char *pem;
	long bytes;

	scene_init(&scene);
	made = crl_begin(&scene.world.between, noon - 60, noon + 60);
	X509_CRL_sign(made, scene.world.between.key, EVP_sha256());
	PEM_write_bio_X509_CRL(bio, made);
	bytes = BIO_get_mem_data(bio, &pem);
	crl = read_crl(&scene, (const uint8_t *)pem, (size_t)bytes, &err);
	ck_assert_msg(crl != NULL, "%s", err.text);
	ck_assert_uint_eq(crl_entry_count(crl), 0);
	crl_free(crl);
	X509_CRL_free(made);
	BIO_free(bio);
}
END_TEST

/* A million entries by hand: OpenSSL would take a gigabyte to make them. The same 25 bytes, but for the number. */
static uint8_t *make_large(const struct made *issuer, const ASN1_INTEGER *serial, size_t count, size_t *bytes)
{
	static const uint8_t model[] = { 0x30, 0x17, 0x02, 0x06, 0x11, 0,   0,	 0,   0,   0,	0x17, 0x0d, '2',
					 '6',  '1',  '1',  '2',	 '3',  '1', '1', '0', '0', '0', '0',  'Z' };
	X509_CRL *small = crl_begin(issuer, noon - 60, noon + 3600);
	uint8_t *der, *body, *at;
	const unsigned char *tbs_at;
	AUTO(str) struct str tbs = { 0 };
	AUTO(str) struct str all = { 0 };
	const size_t list_bytes = count * sizeof(model);
	int small_bytes;
	long length;
	int tag, class;

	crl_add(small, serial, noon - 3600, -1, false);
	small_bytes = crl_end(small, issuer, &der);
	/* The tbsCertList's inside, of which the only entry is the last thing. */
	tbs_at = der;
	ASN1_get_object(&tbs_at, &length, &tag, &class, small_bytes);
	ASN1_get_object(&tbs_at, &length, &tag, &class, small_bytes);
	body = (uint8_t *)tbs_at;
	size_t entry_bytes = 0;

	for (at = body; at < body + length;) {
		const unsigned char *in = at;
		long inner;

		ASN1_get_object(&in, &inner, &tag, &class, length);
		entry_bytes = (size_t)(in + inner - at);
		at = (uint8_t *)in + inner;
	}
	const uint8_t *own = body + length - entry_bytes + 2; /* without the tag and length of the list of one */
	const size_t own_bytes = entry_bytes - 2;
	const size_t head_bytes = (size_t)length - entry_bytes;
	const size_t total = list_bytes + own_bytes;
	const uint8_t list_head[] = {
		0x30, 0x84, (uint8_t)(total >> 24), (uint8_t)(total >> 16), (uint8_t)(total >> 8), (uint8_t)total
	};
	const size_t tbs_bytes = head_bytes + sizeof(list_head) + total;
	const uint8_t tbs_head[] = { 0x30, 0x84, (uint8_t)(tbs_bytes >> 24), (uint8_t)(tbs_bytes >> 16),
				     (uint8_t)(tbs_bytes >> 8), (uint8_t)tbs_bytes };

	str_add_bytes(&tbs, tbs_head, sizeof(tbs_head));
	str_add_bytes(&tbs, body, head_bytes);
	str_add_bytes(&tbs, list_head, sizeof(list_head));
	for (size_t i = 0; i < count; i++) {
		uint8_t entry[sizeof(model)];
		const uint64_t mixed = i * UINT64_C(0x9e3779b97f4a7c15);

		memcpy(entry, model, sizeof(model));
		for (size_t j = 0; j < 5; j++)
			entry[5 + j] = (uint8_t)(mixed >> (8 * j + 16));
		str_add_bytes(&tbs, entry, sizeof(entry));
		if (i == count / 2)
			str_add_bytes(&tbs, own, own_bytes);
	}
	/* Signed as it lies. */
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	uint8_t signature[256];
	size_t signature_bytes = sizeof(signature);
	static const uint8_t algorithm[] = {
		0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02
	};

	EVP_DigestSignInit(digest, NULL, EVP_sha256(), NULL, issuer->key);
	ck_assert_int_eq(EVP_DigestSign(digest, signature, &signature_bytes, (uint8_t *)tbs.data, tbs.bytes), 1);
	EVP_MD_CTX_free(digest);
	const size_t bits = signature_bytes + 1;
	const size_t whole = tbs.bytes + sizeof(algorithm) + 2 + bits;
	const uint8_t whole_head[] = {
		0x30, 0x84, (uint8_t)(whole >> 24), (uint8_t)(whole >> 16), (uint8_t)(whole >> 8), (uint8_t)whole
	};
	const uint8_t bits_head[] = { 0x03, (uint8_t)bits, 0 };

	str_add_bytes(&all, whole_head, sizeof(whole_head));
	str_add_bytes(&all, tbs.data, tbs.bytes);
	str_add_bytes(&all, algorithm, sizeof(algorithm));
	str_add_bytes(&all, bits_head, sizeof(bits_head));
	str_add_bytes(&all, signature, signature_bytes);
	OPENSSL_free(der);
	*bytes = all.bytes;
	return (uint8_t *)str_take(&all);
}

/* What it took is printed, for whoever wants to know. A full 20 MiB are some 800,000 entries. */
START_TEST(large_list)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	AUTO(str) struct str text = { 0 };
	struct revocation_verdict verdict;
	struct error err = { 0 };
	size_t bytes;
	const size_t count = LARGE * 4 / 5;

	scene_init(&scene);
	uint8_t *der = make_large(&scene.world.between, X509_get0_serialNumber(scene.leaf.x509), count, &bytes);

	ck_assert_uint_le(bytes, CRL_BYTES_MAX);
	const int64_t started_us = clock_mono_us();
	struct crl *crl = read_crl(&scene, der, bytes, &err);
	const int64_t read_us = clock_mono_us();

	ck_assert_msg(crl != NULL, "%s", err.text);
	ck_assert_uint_eq(crl_entry_count(crl), count + 1);
	crl_judge(crl, scene.facts->inquiry, noon, &verdict, &text);
	const int64_t judged_us = clock_mono_us();

	ck_assert_int_eq(verdict.reason, REASON_CERT_REVOKED);
	ck_assert_str_eq(text.data, "revoked on 2026-11-23T11:00:00Z");
	printf("a list of %zu entries, %zu bytes: read in %lld ms, judged in %lld us\n", count, bytes,
	       (long long)(read_us - started_us) / 1000, (long long)(judged_us - read_us));
	crl_free(crl);
	free(der);
	uint8_t *more = make_large(&scene.world.between, X509_get0_serialNumber(scene.leaf.x509), LARGE, &bytes);

	ck_assert_uint_gt(bytes, CRL_BYTES_MAX);
	ck_assert_ptr_null(read_crl(&scene, more, bytes, &err));
	free(more);
}
END_TEST

/* ---- OCSP: the staple's judgement (tests/check_tls_verdict.c), without a handshake ---- */

static const struct {
	const char *says;
	bool stranger;
	int status;
	int64_t until_s;
	int64_t now_s;
	const char *reason_name;
	const char *text;
} ocsp_rows[] = {
	{ "good", false, V_OCSP_CERTSTATUS_GOOD, 600, 0, "ok", "good until 2026-11-23T12:10:00Z" },
	{ "revoked", false, V_OCSP_CERTSTATUS_REVOKED, 600, 0, "cert_revoked", "revoked on 2026-11-23T11:59:00Z (superseded)" },
	{ "not known", false, V_OCSP_CERTSTATUS_UNKNOWN, 600, 0, "cert_revocation_unknown",
	  "the OCSP response does not know the certificate" },
	{ "no end, fresh", false, V_OCSP_CERTSTATUS_GOOD, 0, 0, "ok", "good until 2026-11-23T12:59:00Z" },
	{ "no end, old", false, V_OCSP_CERTSTATUS_GOOD, 0, 7200, "cert_revocation_unknown",
	  "the OCSP response is too old: it held until 2026-11-23T12:59:00Z" },
	{ "old", false, V_OCSP_CERTSTATUS_GOOD, 600, 1000, "cert_revocation_unknown",
	  "the OCSP response is too old: it held until 2026-11-23T12:10:00Z" },
	{ "of a stranger", true, V_OCSP_CERTSTATUS_GOOD, 600, 0, "cert_revocation_unknown",
	  "the OCSP response is not signed by the issuer or who speaks for it" },
};

START_TEST(response)
{
	__attribute__((cleanup(scene_auto))) struct scene scene = { 0 };
	AUTO(str) struct str text = { 0 };
	struct revocation_verdict verdict;
	uint8_t *der;

	scene_init(&scene);
	const struct made *signer = ocsp_rows[_i].stranger ? &scene.world.stranger : &scene.world.between;
	const int bytes = ocsp_make(&scene.leaf, &scene.world.between, signer, ocsp_rows[_i].status, noon - 60,
				    ocsp_rows[_i].until_s != 0 ? noon + ocsp_rows[_i].until_s : 0, &der);

	ocsp_judge(der, (size_t)bytes, scene.facts->inquiry, "the OCSP response", 3600, noon + ocsp_rows[_i].now_s, &verdict,
		   &text);
	ck_assert_msg(strcmp(reason_name(verdict.reason), ocsp_rows[_i].reason_name) == 0 &&
			      strcmp(text.data, ocsp_rows[_i].text) == 0,
		      "%s: %s, %s", ocsp_rows[_i].says, reason_name(verdict.reason), text.data);
	for (int cut = 0; cut < bytes; cut++) {
		uint8_t *copy = mem_alloc((size_t)cut + 1);

		memcpy(copy, der, (size_t)cut);
		ocsp_judge(copy, (size_t)cut, scene.facts->inquiry, "the OCSP response", 3600, noon, &verdict,
			   NULL);
		ck_assert_int_eq(verdict.reason, REASON_CERT_REVOCATION_UNKNOWN);
		free(copy);
	}
	ck_assert_uint_eq(ERR_peek_error(), 0);
	OPENSSL_free(der);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls_revocation");
	TCase *tests = tcase_create("tls_revocation");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, what_is_asked);
	tcase_add_test(tests, what_cannot_be_asked);
	tcase_add_test(tests, forged_signature);
	tcase_add_loop_test(tests, list, 0, ROWS(crl_rows));
	tcase_add_test(tests, list_of_another_issuer);
	tcase_add_test(tests, issuer_may_not_sign_lists);
	tcase_add_test(tests, broken_lists);
	tcase_add_test(tests, list_in_pem);
	tcase_add_test(tests, large_list);
	tcase_add_loop_test(tests, response, 0, ROWS(ocsp_rows));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
