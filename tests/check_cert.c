/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/crypto.h"
#include "tests/make_cert.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(*(table)))

static const int64_t noon = INT64_C(1795435200); /* 2026-11-23 */
static const int64_t day = 86400;

AUTO_DEFINE(facts, struct tls_facts *, tls_facts_free)

static struct tls_facts *facts_of(const struct made *made)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct tls_facts *facts;

	sk_X509_push(chain, made->x509);
	facts = cert_chain_facts(chain);
	sk_X509_free(chain);
	ck_assert_uint_eq(facts->chain_count, 1);
	return facts;
}

static struct made simple(const char *cn, const char *sans)
{
	return make_cert(&(struct cert_plan){ .cn = cn, .sans = sans, .not_before_unix_s = noon,
					      .not_after_unix_s = noon + 90 * day });
}

START_TEST(an_ordinary_certificate)
{
	AUTO(made) struct made made = simple("shop.example.com",
					     "DNS:shop.example.com,DNS:*.example.com,IP:192.0.2.1,IP:2001:db8::1,"
					     "email:a@example.com,URI:https://example.com/,RID:1.2.3.4");
	AUTO(facts) struct tls_facts *facts = facts_of(&made);
	const struct certificate_facts *leaf = &facts->chain[0];
	const char *const sans[] = { "DNS:shop.example.com", "DNS:*.example.com", "IP:192.0.2.1", "IP:2001:db8::1",
				     "email:a@example.com", "URI:https://example.com/", "RID:1.2.3.4" };
	uint8_t fingerprint[FINGERPRINT_BYTES];

	ck_assert_str_eq(leaf->subject, "CN=shop.example.com,O=Example");
	ck_assert_str_eq(leaf->issuer, leaf->subject);
	ck_assert_int_eq(leaf->not_before_unix_s, noon);
	ck_assert_int_eq(leaf->not_after_unix_s, noon + 90 * day);
	ck_assert_str_eq(leaf->key, "EC P-256");
	ck_assert_str_eq(leaf->signature, "ecdsa-with-SHA256");
	ck_assert_uint_eq(leaf->san_count, 7);
	ck_assert_uint_eq(leaf->san_total, 7);
	for (size_t i = 0; i < leaf->san_count; i++)
		ck_assert_str_eq(leaf->sans[i], sans[i]);
	X509_digest(made.x509, EVP_sha256(), fingerprint, NULL);
	ck_assert_mem_eq(leaf->fingerprint, fingerprint, sizeof(fingerprint));
	ck_assert_uint_eq(facts->chain_total, 1);
}
END_TEST

static const char sixty_four_kilobytes[65536] = { [0 ... 65535] = 'x' };

static const struct {
	const char *what;
	const char *cn;
	int bytes;
	int type;
	const char *shown; /* NULL: only that it is cut */
} subject_rows[] = {
	{ "NUL", "good.example\0.evil", 18, V_ASN1_UTF8STRING, "CN=good.example\\x00.evil,O=Example" },
	{ "terminal escape", "\x1b[2Jx", 5, V_ASN1_UTF8STRING, "CN=\\x1b[2Jx,O=Example" },
	{ "mail header", "a\r\nBcc: b@c", 11, V_ASN1_UTF8STRING, "CN=a\\x0d\\x0aBcc: b@c,O=Example" },
	{ "bidi", "a\xe2\x80\xae" "b", 5, V_ASN1_UTF8STRING, "CN=a\\xe2\\x80\\xaeb,O=Example" },
	{ "zero width", "a\xe2\x80\x8b" "b", 5, V_ASN1_UTF8STRING, "CN=a\\xe2\\x80\\x8bb,O=Example" },
	{ "not text at all", "a\xff\xfe", 3, V_ASN1_BIT_STRING, "CN=a\\xff\\xfe,O=Example" },
	{ "UTF-8", "b\xc3\xbc" "cher", 7, V_ASN1_UTF8STRING, "CN=b\xc3\xbc" "cher,O=Example" },
	{ "Latin-1", "b\xfc" "cher", 6, V_ASN1_T61STRING, "CN=b\xc3\xbc" "cher,O=Example" },
	{ "wide", "\0b\0\xfc", 4, V_ASN1_BMPSTRING, "CN=b\xc3\xbc,O=Example" },
	{ "C1 control", "a\x9b" "2J", 4, V_ASN1_PRINTABLESTRING, "CN=a\\xc2\\x9b2J,O=Example" },
	{ "RFC 4514 signs", "a,b+c\"d\\e<f>;", 13, V_ASN1_UTF8STRING,
	  "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>\\;,O=Example" },
	{ "spaces at the ends", " a b ", 5, V_ASN1_UTF8STRING, "CN=\\ a b\\ ,O=Example" },
	{ "a number sign first", "#a#", 3, V_ASN1_UTF8STRING, "CN=\\#a#,O=Example" },
	{ "markup stays for the sink", "<script>", 8, V_ASN1_UTF8STRING, "CN=\\<script\\>,O=Example" },
	{ "64 kB", sixty_four_kilobytes, sizeof(sixty_four_kilobytes), V_ASN1_UTF8STRING, NULL },
};

START_TEST(a_stranger_names_himself)
{
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = subject_rows[_i].cn, .cn_bytes = subject_rows[_i].bytes, .cn_type = subject_rows[_i].type,
		.not_before_unix_s = noon, .not_after_unix_s = noon + day });
	AUTO(facts) struct tls_facts *facts = facts_of(&made);
	const char *subject = facts->chain[0].subject;

	if (subject_rows[_i].shown != NULL) {
		ck_assert_msg(strcmp(subject, subject_rows[_i].shown) == 0, "%s: %s", subject_rows[_i].what,
			      subject);
		return;
	}
	ck_assert_uint_eq(strlen(subject), FACT_TEXT_BYTES + 3);
	ck_assert_str_eq(subject + FACT_TEXT_BYTES, "...");
}
END_TEST

static void add_part(X509 *x509, const char *type, const void *value, int bytes)
{
	ck_assert_int_eq(X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), type, V_ASN1_UTF8STRING, value, bytes,
						    -1, 0), 1);
}

static void name_by_number(X509 *x509)
{
	add_part(x509, "1.3.6.1.4.1.99999.1", "own", 3);
}

static void name_by_much(X509 *x509)
{
	add_part(x509, "1.3.6.1.4.1.99999.1", sixty_four_kilobytes, sizeof(sixty_four_kilobytes));
}

/* RFC 4514 section 2.4: "#" and the hex of all of the DER. */
START_TEST(a_type_without_a_name_shows_its_bytes)
{
	const struct cert_plan plan = { .cn = "x", .not_before_unix_s = noon, .not_after_unix_s = noon + day,
					.finish = _i == 0 ? name_by_number : name_by_much };
	AUTO(made) struct made made = make_cert(&plan);
	AUTO(facts) struct tls_facts *facts = facts_of(&made);
	const char *subject = facts->chain[0].subject;

	if (_i == 0) {
		ck_assert_str_eq(subject, "1.3.6.1.4.1.99999.1=#0c036f776e,CN=x,O=Example");
		return;
	}
	ck_assert_msg(str_starts(subject, "1.3.6.1.4.1.99999.1=#0c830100007878"), "%s", subject);
	ck_assert_uint_eq(strlen(subject), FACT_TEXT_BYTES + 3);
	ck_assert_str_eq(subject + FACT_TEXT_BYTES, "...");
}
END_TEST

static void add_evil_sans(X509 *x509)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();

	for (int i = 0; i < 300; i++) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();

		if (i == 0)
			ASN1_STRING_set(text, "good.example\0\x1b\r\n", 16);
		else
			ASN1_STRING_set(text, "n.example", -1);
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
		sk_GENERAL_NAME_push(names, name);
	}
	X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT);
	GENERAL_NAMES_free(names);
}

START_TEST(three_hundred_names_are_capped)
{
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = "many", .not_before_unix_s = noon, .not_after_unix_s = noon + day,
		.finish = add_evil_sans });
	AUTO(facts) struct tls_facts *facts = facts_of(&made);

	ck_assert_uint_eq(facts->chain[0].san_total, 300);
	ck_assert_uint_eq(facts->chain[0].san_count, FACT_SAN_MAX);
	ck_assert_str_eq(facts->chain[0].sans[0], "DNS:good.example\\x00\\x1b\\x0d\\x0a");
	ck_assert_str_eq(facts->chain[0].sans[FACT_SAN_MAX - 1], "DNS:n.example");
	ck_assert(!cert_is_for_name(made.x509, "good.example", 12));
	ck_assert(cert_is_for_name(made.x509, "n.example", 9));
}
END_TEST

/* 1950 and 2049 are the ends of UTCTime, 9999 that of GeneralizedTime. */
static const int64_t date_rows[] = { INT64_C(-631152000), 0, INT64_C(2147483648), INT64_C(2524607999),
				     INT64_C(2524608000), INT64_C(4102444800), INT64_C(253402300799) };

START_TEST(dates_of_all_centuries)
{
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = "old", .not_before_unix_s = date_rows[_i], .not_after_unix_s = date_rows[_i] });
	AUTO(facts) struct tls_facts *facts = facts_of(&made);

	ck_assert_int_eq(facts->chain[0].not_before_unix_s, date_rows[_i]);
	ck_assert_int_eq(facts->chain[0].not_after_unix_s, date_rows[_i]);
	ck_assert_int_eq(cert_not_after_unix_s(made.x509), date_rows[_i]);
}
END_TEST

static void spoil_dates(X509 *x509)
{
	ASN1_STRING_set(X509_getm_notBefore(x509), "gibberish", -1);
	ASN1_STRING_set(X509_getm_notAfter(x509), "", 0);
}

START_TEST(a_date_nobody_can_read_has_passed)
{
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = "odd", .not_before_unix_s = noon, .not_after_unix_s = noon, .finish = spoil_dates });

	ck_assert_int_eq(cert_not_before_unix_s(made.x509), 0);
	ck_assert_int_eq(cert_not_after_unix_s(made.x509), 0);
}
END_TEST

static const struct {
	const char *algorithm;
	int bits;
	const char *curve;
	const char *key;
	const char *signature;
} key_rows[] = {
	{ "RSA", 1024, NULL, "RSA 1024", "sha256WithRSAEncryption" },
	{ "RSA", 2048, NULL, "RSA 2048", "sha256WithRSAEncryption" },
	{ "EC", 0, "P-384", "EC P-384", "ecdsa-with-SHA256" },
	{ "EC", 0, "secp256k1", "EC secp256k1", "ecdsa-with-SHA256" },
	{ "ED25519", 0, NULL, "Ed25519", "ED25519" },
};

START_TEST(keys_have_names)
{
	EVP_PKEY *key = key_rows[_i].bits != 0 ? EVP_RSA_gen((unsigned)key_rows[_i].bits) :
			key_rows[_i].curve != NULL ? EVP_EC_gen(key_rows[_i].curve) :
						     EVP_PKEY_Q_keygen(NULL, NULL, key_rows[_i].algorithm);
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = "key", .not_before_unix_s = noon, .not_after_unix_s = noon, .key = key });
	AUTO(facts) struct tls_facts *facts = facts_of(&made);

	EVP_PKEY_free(key);
	ck_assert_str_eq(facts->chain[0].key, key_rows[_i].key);
	ck_assert_str_eq(facts->chain[0].signature, key_rows[_i].signature);
}
END_TEST

static void set_odd_key(X509 *x509)
{
	unsigned char *bits = OPENSSL_zalloc(16);
	ASN1_OBJECT *algorithm = OBJ_txt2obj("1.3.6.1.4.1.99999.7", 1);

	X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(x509), algorithm, V_ASN1_UNDEF, NULL, bits, 16);
}

START_TEST(a_key_nobody_knows_shows_its_number)
{
	AUTO(made) struct made made = make_cert(&(struct cert_plan){
		.cn = "key", .not_before_unix_s = noon, .not_after_unix_s = noon, .finish = set_odd_key });
	unsigned char *der = NULL;
	int bytes = i2d_X509(made.x509, &der);
	const unsigned char *at = der;

	X509_free(made.x509);
	made.x509 = d2i_X509(NULL, &at, bytes);
	OPENSSL_free(der);
	ck_assert_ptr_nonnull(made.x509);
	{
		AUTO(facts) struct tls_facts *facts = facts_of(&made);

		ck_assert_str_eq(facts->chain[0].key, "1.3.6.1.4.1.99999.7");
	}
}
END_TEST

static void set_negative_serial(X509 *x509)
{
	ASN1_INTEGER_set(X509_get_serialNumber(x509), -258);
}

static void set_endless_serial(X509 *x509)
{
	unsigned char bytes[1000];

	memset(bytes, 0xab, sizeof(bytes));
	ASN1_STRING_set(X509_get_serialNumber(x509), bytes, sizeof(bytes));
}

START_TEST(serials_are_hex)
{
	struct cert_plan plan = { .cn = "serial", .not_before_unix_s = noon, .not_after_unix_s = noon };
	AUTO(made) struct made negative = { 0 };
	AUTO(made) struct made endless = { 0 };
	AUTO(facts) struct tls_facts *facts = NULL;

	plan.finish = set_negative_serial;
	negative = make_cert(&plan);
	facts = facts_of(&negative);
	ck_assert_str_eq(facts->chain[0].serial, "-0102");
	tls_facts_free(TAKE(facts));
	plan.finish = set_endless_serial;
	endless = make_cert(&plan);
	facts = facts_of(&endless);
	ck_assert_uint_eq(strlen(facts->chain[0].serial), 2 * 64 + 3);
}
END_TEST

static const struct {
	const char *sans;
	const char *name;
	bool is;
} name_rows[] = {
	{ "DNS:shop.example.com", "shop.example.com", true },
	{ "DNS:shop.example.com", "SHOP.example.COM", true },
	{ "DNS:shop.example.com", "www.example.com", false },
	{ "DNS:*.example.com", "www.example.com", true },
	{ "DNS:*.example.com", "a.www.example.com", false },
	{ "DNS:*.example.com", "example.com", false },
	{ "DNS:w*.example.com", "www.example.com", false },
	{ "DNS:*.com", "example.com", false },
	{ "DNS:a.example.com", ".example.com", false },
	{ "DNS:a.example.com", "", false },
	{ NULL, "cn.example.com", true },
	{ "IP:192.0.2.1", "cn.example.com", true },
	{ "DNS:other.example.com", "cn.example.com", false },
};

START_TEST(names_are_compared_as_clients_do)
{
	AUTO(made) struct made made = simple("cn.example.com", name_rows[_i].sans);

	ck_assert_msg(cert_is_for_name(made.x509, name_rows[_i].name, strlen(name_rows[_i].name)) ==
		      name_rows[_i].is, "%s for %s", name_rows[_i].sans, name_rows[_i].name);
}
END_TEST

START_TEST(addresses_are_compared_as_bytes)
{
	AUTO(made) struct made made = simple("192.0.2.9", "IP:192.0.2.1,IP:2001:db8::1,DNS:192.0.2.3");
	struct address address = { .family = 4, .bytes = { 192, 0, 2, 1 } };

	ck_assert(cert_is_for_address(made.x509, &address));
	address.bytes[3] = 3;
	ck_assert(!cert_is_for_address(made.x509, &address));
	address.bytes[3] = 9;
	ck_assert(!cert_is_for_address(made.x509, &address));
	address.family = 6;
	inet_pton(AF_INET6, "2001:db8::1", address.bytes);
	ck_assert(cert_is_for_address(made.x509, &address));
}
END_TEST

START_TEST(a_chain_has_ends_and_bounds)
{
	AUTO(made) struct made early = make_cert(&(struct cert_plan){
		.cn = "early", .not_before_unix_s = noon, .not_after_unix_s = noon + day });
	AUTO(made) struct made late = make_cert(&(struct cert_plan){
		.cn = "late", .not_before_unix_s = noon + 2 * day, .not_after_unix_s = noon + 9 * day });
	STACK_OF(X509) *chain = sk_X509_new_null();

	sk_X509_push(chain, early.x509);
	sk_X509_push(chain, late.x509);
	ck_assert_int_eq(cert_earliest_end_unix_s(chain, 0), noon + day);
	ck_assert_int_eq(cert_earliest_end_unix_s(chain, 1), noon + 9 * day);
	ck_assert_int_eq(cert_earliest_end_unix_s(chain, 2), INT64_MAX);
	ck_assert_int_eq(cert_earliest_end_unix_s(NULL, 0), INT64_MAX);
	ck_assert_int_eq(cert_next_bound_unix_s(chain, noon - 1), noon);
	ck_assert_int_eq(cert_next_bound_unix_s(chain, noon), noon + day);
	ck_assert_int_eq(cert_next_bound_unix_s(chain, noon + day), noon + 2 * day);
	ck_assert_int_eq(cert_next_bound_unix_s(chain, noon + 9 * day), INT64_MAX);
	ck_assert_int_eq(cert_next_bound_unix_s(NULL, noon), INT64_MAX);
	sk_X509_free(chain);
}
END_TEST

START_TEST(of_a_long_chain_ten_are_shown)
{
	AUTO(made) struct made made = simple("again", NULL);
	AUTO(facts) struct tls_facts *facts = NULL;
	STACK_OF(X509) *chain = sk_X509_new_null();

	for (int i = 0; i < 12; i++)
		sk_X509_push(chain, made.x509);
	facts = cert_chain_facts(chain);
	sk_X509_free(chain);
	ck_assert_uint_eq(facts->chain_count, FACT_CHAIN_MAX);
	ck_assert_uint_eq(facts->chain_total, 12);
}
END_TEST

static const struct {
	int code;
	enum reason reason;
} reason_rows[] = {
	{ X509_V_OK, REASON_OK },
	{ X509_V_ERR_CERT_HAS_EXPIRED, REASON_CERT_EXPIRED },
	{ X509_V_ERR_CERT_NOT_YET_VALID, REASON_CERT_NOT_YET_VALID },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, REASON_CERT_SELF_SIGNED },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, REASON_CERT_UNTRUSTED },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, REASON_CERT_UNTRUSTED },
	{ X509_V_ERR_HOSTNAME_MISMATCH, REASON_CERT_HOSTNAME },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, REASON_CERT_HOSTNAME },
	{ X509_V_ERR_CERT_REVOKED, REASON_CERT_REVOKED },
	{ X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD, REASON_CERT_UNTRUSTED },
};

START_TEST(verdicts_have_reasons)
{
	ck_assert_int_eq(cert_reason(reason_rows[_i].code), reason_rows[_i].reason);
}
END_TEST

/* RFC 4231, cases 1, 2 and 6. */
START_TEST(hmac)
{
	uint8_t key[131];
	uint8_t out[32];
	char hex[65];

	memset(key, 0x0b, 20);
	crypto_hmac_sha256(key, 20, "Hi There", 8, out);
	str_hex(out, sizeof(out), hex);
	ck_assert_str_eq(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
	str_hex(out, sizeof(out), hex);
	ck_assert_str_eq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	crypto_hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
	str_hex(out, sizeof(out), hex);
	ck_assert_str_eq(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	crypto_hmac_sha256(NULL, 0, "", 0, out);
	str_hex(out, sizeof(out), hex);
	ck_assert_str_eq(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(random_bytes_fill_everything)
{
	uint8_t seen[600] = { 0 };
	uint8_t got[600];

	/* A byte that is never written stays 0 in all of 32 rounds; one that is has a chance of 2^-256. */
	for (int round = 0; round < 32; round++) {
		memset(got, 0, sizeof(got));
		crypto_random(got, sizeof(got));
		for (size_t i = 0; i < sizeof(got); i++)
			seen[i] |= got[i];
	}
	for (size_t i = 0; i < sizeof(seen); i++)
		ck_assert_uint_ne(seen[i], 0);
	crypto_random(NULL, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cert");
	TCase *tcase = tcase_create("cert");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_test(tcase, an_ordinary_certificate);
	tcase_add_loop_test(tcase, a_stranger_names_himself, 0, ROWS(subject_rows));
	tcase_add_loop_test(tcase, a_type_without_a_name_shows_its_bytes, 0, 2);
	tcase_add_test(tcase, three_hundred_names_are_capped);
	tcase_add_loop_test(tcase, dates_of_all_centuries, 0, ROWS(date_rows));
	tcase_add_test(tcase, a_date_nobody_can_read_has_passed);
	tcase_add_loop_test(tcase, keys_have_names, 0, ROWS(key_rows));
	tcase_add_test(tcase, a_key_nobody_knows_shows_its_number);
	tcase_add_test(tcase, serials_are_hex);
	tcase_add_loop_test(tcase, names_are_compared_as_clients_do, 0, ROWS(name_rows));
	tcase_add_test(tcase, addresses_are_compared_as_bytes);
	tcase_add_test(tcase, a_chain_has_ends_and_bounds);
	tcase_add_test(tcase, of_a_long_chain_ten_are_shown);
	tcase_add_loop_test(tcase, verdicts_have_reasons, 0, ROWS(reason_rows));
	tcase_add_test(tcase, hmac);
	tcase_add_test(tcase, random_bytes_fill_everything);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
