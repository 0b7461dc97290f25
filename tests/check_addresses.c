/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/eval/addresses.h"

enum { SINGLE_MAX = 16 };

/* One letter an address: + well, - refused, t timeout, ! trouble of our own. */
static enum reason reason_of(char letter)
{
	switch (letter) {
	case '-':
		return REASON_CONNECT_REFUSED;
	case 't':
		return REASON_CONNECT_TIMEOUT;
	case '!':
		return REASON_LOCAL_ERROR;
	default:
		return REASON_OK;
	}
}

/* The nth address is 192.0.2.n, from 1; it takes n milliseconds. */
static size_t make(const char *letters, struct result single[SINGLE_MAX])
{
	const size_t count = strlen(letters);

	for (size_t i = 0; i < count; i++) {
		char text[32];

		result_init(&single[i], 1);
		snprintf(text, sizeof(text), "192.0.2.%zu", i + 1);
		ck_assert(address_from_literal(text, 443, &single[i].address));
		single[i].reason = reason_of(letters[i]);
		single[i].phase = single[i].reason == REASON_OK ? PHASE_TOTAL : PHASE_CONNECT;
		single[i].phase_us[PHASE_CONNECT] = (int64_t)(i + 1) * 1000;
		single[i].phase_us[PHASE_TOTAL] = (int64_t)(i + 1) * 1000;
	}
	return count;
}

struct row {
	const char *what;
	const char *addresses;
	size_t need; /* 0 = all */
	enum reason reason;
	const char *speaker;
	const char *detail; /* NULL: none */
};

static const struct row rows[] = {
	{ "all are well: the slowest speaks", "+++", 0, REASON_OK, "192.0.2.3", NULL },
	{ "one of one is down", "-", 0, REASON_CONNECT_REFUSED, "192.0.2.1", "192.0.2.1: connection refused" },
	{ "one of two is down, all are needed", "+-", 0, REASON_CONNECT_REFUSED, "192.0.2.2",
	  "192.0.2.2: connection refused" },
	{ "one of two is down, any will do", "+-", 1, REASON_SOME_ADDRESSES, "192.0.2.2",
	  "192.0.2.2: connection refused" },
	{ "two of three are needed and there", "+t+", 2, REASON_SOME_ADDRESSES, "192.0.2.2",
	  "192.0.2.2: connect timeout" },
	{ "two of three are needed, one is there", "t+-", 2, REASON_CONNECT_TIMEOUT, "192.0.2.1",
	  "192.0.2.1: connect timeout; 192.0.2.3: connection refused" },
	{ "the common reason", "t--", 1, REASON_CONNECT_REFUSED, "192.0.2.2",
	  "192.0.2.1: connect timeout; 192.0.2.2: connection refused; 192.0.2.3: connection refused" },
	{ "no way of ours to one of them", "+!", 0, REASON_OK, "192.0.2.1", NULL },
	{ "that is not the target's fault", "-!", 0, REASON_CONNECT_REFUSED, "192.0.2.1",
	  "192.0.2.1: connection refused" },
	{ "no way to any", "!!", 0, REASON_LOCAL_ERROR, "192.0.2.1", NULL },
	{ "more are needed than there are", "++", 5, REASON_OK, "192.0.2.2", NULL },
	{ "none is well, any will do", "--", 1, REASON_CONNECT_REFUSED, "192.0.2.1",
	  "192.0.2.1: connection refused; 192.0.2.2: connection refused" },
	{ "not all of many are named", "-------", 0, REASON_CONNECT_REFUSED, "192.0.2.1",
	  "192.0.2.1: connection refused; 192.0.2.2: connection refused; 192.0.2.3: connection refused; "
	  "192.0.2.4: connection refused; 192.0.2.5: connection refused; and 2 more" },
};

START_TEST(test_reason)
{
	const struct row *row = &rows[_i];
	struct result single[SINGLE_MAX];
	struct result result;
	char address[ADDRESS_TEXT_BYTES];
	const size_t count = make(row->addresses, single);

	result_init(&result, 7);
	addresses_merge(single, count, row->need, &result);
	ck_assert_msg(result.reason == row->reason, "%s: %s", row->what, reason_name(result.reason));
	address_print_ip(&result.address, address);
	ck_assert_msg(strcmp(address, row->speaker) == 0, "%s: %s speaks", row->what, address);
	ck_assert_msg((result.detail == NULL) == (row->detail == NULL) &&
			      (row->detail == NULL || strcmp(result.detail, row->detail) == 0),
		      "%s: %s", row->what, result.detail != NULL ? result.detail : "no detail");
	ck_assert_uint_eq(result.address_count, count);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(result.addresses[i].reason, reason_of(row->addresses[i]));
	result_done(&result);
}
END_TEST

/* Where descriptors ran out in the middle, the rest was not looked at: the scheduler has to see that. */
START_TEST(test_starved_is_not_well)
{
	struct result single[SINGLE_MAX];
	struct result result;

	make("+!", single);
	single[1].error_number = EMFILE;
	result_init(&result, 7);
	addresses_merge(single, 2, 0, &result);
	ck_assert_int_eq(result.reason, REASON_LOCAL_ERROR);
	ck_assert_int_eq(result.error_number, EMFILE);
	result_done(&result);

	make("-!", single);
	single[1].error_number = EMFILE;
	result_init(&result, 7);
	addresses_merge(single, 2, 0, &result);
	ck_assert_int_eq(result.reason, REASON_CONNECT_REFUSED);
	result_done(&result);
}
END_TEST

START_TEST(test_latency_is_of_the_slowest_good_one)
{
	struct result single[SINGLE_MAX];
	struct result result;
	const size_t count = make("++t", single);

	result_init(&result, 7);
	result.phase_us[PHASE_DNS] = 300;
	addresses_merge(single, count, 1, &result);
	ck_assert_int_eq(result.phase_us[PHASE_DNS], 300);
	ck_assert_int_eq(result.phase_us[PHASE_CONNECT], 2000);
	ck_assert_int_eq(result.phase_us[PHASE_TOTAL], 2300);
	result_done(&result);
}
END_TEST

START_TEST(test_the_certificate_that_is_worth_least)
{
	struct result single[SINGLE_MAX];
	struct result result;
	const size_t count = make("+++", single);

	for (size_t i = 0; i < count; i++) {
		single[i].certificate = (struct certificate){
			.not_after_unix_s = 90 - (int64_t)i,
			.chain_not_after_unix_s = INT64_MAX,
			.present = i != 2,
		};
		single[i].certificate.fingerprint[0] = (uint8_t)(i + 1);
	}
	single[1].facts = mem_new(struct tls_facts);
	result_init(&result, 7);
	addresses_merge(single, count, 0, &result);
	ck_assert_uint_eq(result.certificate.fingerprint[0], 2);
	ck_assert_ptr_nonnull(result.facts);
	ck_assert_uint_eq(result.addresses[0].certificate.fingerprint[0], 1);
	result_done(&result);

	make("++", single);
	single[0].certificate = (struct certificate){ .not_after_unix_s = 90, .verdict = REASON_CERT_HOSTNAME, .present = true };
	single[1].certificate = (struct certificate){ .not_after_unix_s = 1, .present = true };
	result_init(&result, 7);
	addresses_merge(single, 2, 0, &result);
	ck_assert_int_eq(result.certificate.verdict, REASON_CERT_HOSTNAME);
	result_done(&result);
}
END_TEST

/* Two addresses, the first with nothing to complain of: what is wrong with the second one is not lost. */
static const struct other_row {
	const char *what;
	struct certificate other;
} other_rows[] = {
	{ "revoked, and ends later", { .not_after_unix_s = 99, .revocation = REASON_CERT_REVOKED } },
	{ "revoked", { .not_after_unix_s = 90, .revocation = REASON_CERT_REVOKED } },
	{ "without a staple", { .not_after_unix_s = 90, .revocation = REASON_CERT_REVOCATION_UNKNOWN } },
	{ "a weak key", { .not_after_unix_s = 90, .weak_leaf = REASON_CERT_WEAK_KEY } },
	{ "a weak chain", { .not_after_unix_s = 90, .weak_chain = REASON_CERT_WEAK_SIGNATURE } },
	{ "an old version", { .not_after_unix_s = 90, .tls = REASON_TLS_VERSION } },
	{ "an old version, and ends later", { .not_after_unix_s = 99, .tls = REASON_TLS_VERSION } },
};

START_TEST(test_what_is_wrong_at_one_address_is_told)
{
	const struct other_row *row = &other_rows[_i];

	for (size_t place = 0; place < 2; place++) {
		struct result single[SINGLE_MAX];
		struct result result;

		make("++", single);
		single[1 - place].certificate =
			(struct certificate){ .not_after_unix_s = 90, .chain_not_after_unix_s = INT64_MAX };
		single[place].certificate = row->other;
		single[place].certificate.chain_not_after_unix_s = INT64_MAX;
		for (size_t i = 0; i < 2; i++) {
			single[i].certificate.present = true;
			single[i].certificate.agreed = 1;
		}
		result_init(&result, 7);
		addresses_merge(single, 2, 0, &result);
		ck_assert_msg(result.certificate.revocation == row->other.revocation, "%s", row->what);
		ck_assert_msg(result.certificate.weak_leaf == row->other.weak_leaf, "%s", row->what);
		ck_assert_msg(result.certificate.weak_chain == row->other.weak_chain, "%s", row->what);
		ck_assert_msg(result.certificate.tls == row->other.tls, "%s", row->what);
		result_done(&result);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("addresses");
	TCase *tests = tcase_create("addresses");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_reason, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(tests, test_starved_is_not_well);
	tcase_add_test(tests, test_latency_is_of_the_slowest_good_one);
	tcase_add_test(tests, test_the_certificate_that_is_worth_least);
	tcase_add_loop_test(tests, test_what_is_wrong_at_one_address_is_told, 0,
			    (int)(sizeof(other_rows) / sizeof(other_rows[0])));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
