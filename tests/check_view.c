/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/view.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static struct tls_facts facts_with(struct certificate_facts *leaf, size_t count)
{
	return (struct tls_facts){
		.chain = leaf, .chain_count = count, .chain_total = count, .version = (char *)"TLS 1.3",
	};
}

START_TEST(what_is_kept_of_a_certificate_comes_back)
{
	char *sans[] = { (char *)"DNS:a.example", (char *)"DNS:\"\\" };
	struct certificate_facts leaf = {
		.subject = (char *)"CN=a", .issuer = (char *)"CN=Issuer \"x\"", .strength_bits = 112, .sans = sans,
		.san_count = 2, .san_total = _i == 0 ? 2 : 70,
	};
	const struct tls_facts facts = facts_with(&leaf, 1);
	const struct certificate certificate = {
		.weak_leaf = REASON_CERT_WEAK_KEY, .weak_chain = REASON_CERT_WEAK_SIGNATURE,
		.revocation = REASON_CERT_REVOCATION_UNKNOWN,
	};
	AUTO(string) char *text = view_certificate(&facts, &certificate);
	struct certificate back = { .not_before_unix_s = 77 };
	struct traits *traits = view_read_certificate(text, &back);

	ck_assert_ptr_nonnull(traits);
	ck_assert_str_eq(traits->issuer, leaf.issuer);
	ck_assert_int_eq(traits->strength_bits, 112);
	ck_assert_int_eq(traits->not_before_unix_s, 77);
	ck_assert_uint_eq(traits->name_count, 2);
	ck_assert_str_eq(traits->names[1], sans[1]);
	ck_assert(traits->cut == (_i == 1));
	ck_assert_int_eq(back.weak_leaf, REASON_CERT_WEAK_KEY);
	ck_assert_int_eq(back.weak_chain, REASON_CERT_WEAK_SIGNATURE);
	ck_assert_int_eq(back.revocation, REASON_CERT_REVOCATION_UNKNOWN);
	traits_free(traits);
}
END_TEST

/* What an older version kept, or somebody broke. */
static const char *const strange[] = {
	NULL, "", "{", "[]", "{}", "{\"chain\":[]}", "{\"chain\":[{}]}",
		"{\"chain\":[{\"issuer\":7,\"subject\":null}]}",
	"{\"chain\":{\"0\":1},\"weak_leaf\":\"nonsense\"}",
};

START_TEST(strange_facts_are_no_facts)
{
	struct certificate certificate = { .weak_leaf = REASON_OK };

	ck_assert_ptr_null(view_read_certificate(strange[_i], &certificate));
	ck_assert_int_eq(certificate.weak_leaf, REASON_OK);
}
END_TEST

START_TEST(an_older_version_kept_less)
{
	static const char text[] =
		"{\"version\":\"TLS 1.3\",\"chain\":[{\"subject\":\"CN=a\",\"issuer\":\"CN=b\",\"sans\":[\"DNS:a\",5],"
		"\"key\":\"RSA 2048\"}]}";
	struct certificate certificate = { 0 };
	struct traits *traits = view_read_certificate(text, &certificate);

	ck_assert_ptr_nonnull(traits);
	ck_assert_int_eq(traits->strength_bits, 0);
	ck_assert_uint_eq(traits->name_count, 1);
	ck_assert(!traits->cut);
	traits_free(traits);
}
END_TEST

static const struct {
	const char *what;
	struct verdict checks[CHECK_COUNT];
	const char *since;
} sinces[] = {
	{ "all is well since the last check was",
	  { [CHECK_AVAILABILITY] = { LEVEL_OK, REASON_OK, 5 * US_PER_S },
	    [CHECK_CERTIFICATE] = { LEVEL_OK, REASON_OK, 9 * US_PER_S } },
	  "\"level\":\"ok\",\"state\":\"active\",\"since\":\"1970-01-01T00:00:09Z\"" },
	{ "a check that is not made does not count",
	  { [CHECK_AVAILABILITY] = { LEVEL_OK, REASON_OK, 5 * US_PER_S },
	    [CHECK_CERTIFICATE] = { LEVEL_OK, REASON_OK, 4 * US_PER_S },
	    [CHECK_TLS] = { LEVEL_OK, REASON_OK, 9 * US_PER_S } },
	  "\"since\":\"1970-01-01T00:00:05Z\"" },
	{ "what is not well is so since its check is",
	  { [CHECK_AVAILABILITY] = { LEVEL_OK, REASON_OK, 9 * US_PER_S },
	    [CHECK_CERTIFICATE] = { LEVEL_WARNING, REASON_CERT_EXPIRING, 5 * US_PER_S } },
	  "\"level\":\"warning\",\"state\":\"active\",\"since\":\"1970-01-01T00:00:05Z\"" },
};

START_TEST(since_when)
{
	const struct target_config config = {
		.name = (char *)"shop", .address = (char *)"shop.example:443", .tls = true, .rules.certificate = true,
	};
	const struct incident *const incidents[CHECK_COUNT] = { NULL };
	struct watched watched = { .config = &config, .standing.judged = true };
	AUTO(str) struct str text = { 0 };
	struct json_writer w;

	memcpy(watched.standing.checks, sinces[_i].checks, sizeof(watched.standing.checks));
	json_start(&w, &text);
	view_target(&w, &watched, incidents, 0);
	ck_assert_msg(strstr(text.data, sinces[_i].since) != NULL, "%s: %s", sinces[_i].what, text.data);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("view");
	TCase *tests = tcase_create("view");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, what_is_kept_of_a_certificate_comes_back, 0, 2);
	tcase_add_loop_test(tests, strange_facts_are_no_facts, 0, (int)(sizeof(strange) / sizeof(strange[0])));
	tcase_add_test(tests, an_older_version_kept_less);
	tcase_add_loop_test(tests, since_when, 0, (int)(sizeof(sinces) / sizeof(sinces[0])));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
