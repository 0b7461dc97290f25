/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/address.h"
#include "lib/base/mem.h"

struct split_row {
	const char *text;
	const char *host; /* NULL: refused */
	uint16_t port;
};

static const struct split_row split_rows[] = {
	{ "shop.example.com:443", "shop.example.com", 443 },
	{ "localhost:1", "localhost", 1 },
	{ "_dmarc.example:65535", "_dmarc.example", 65535 },
	{ "192.0.2.1:443", "192.0.2.1", 443 },
	{ "[2001:db8::1]:443", "2001:db8::1", 443 },
	{ "[::ffff:192.0.2.1]:25", "::ffff:192.0.2.1", 25 },
	{ "[fe80::1%1]:22", "fe80::1%1", 22 },
	{ "[fe80::1%lo]:22", "fe80::1%lo", 22 },
	{ "[fe80::1%4294967295]:22", "fe80::1%4294967295", 22 },
	{ "xn--bcher-kva.example:0443", "xn--bcher-kva.example", 443 },
	{ "", NULL, 0 },
	{ "shop", NULL, 0 },
	{ "shop:", NULL, 0 },
	{ ":443", NULL, 0 },
	{ "shop:0", NULL, 0 },
	{ "shop:65536", NULL, 0 },
	{ "shop:4294967739", NULL, 0 },
	{ "shop:443x", NULL, 0 },
	{ "shop:-1", NULL, 0 },
	{ "shop:+1", NULL, 0 },
	{ "shop: 443", NULL, 0 },
	{ "shop:https", NULL, 0 },
	{ "2001:db8::1:443", NULL, 0 },
	{ "::1", NULL, 0 },
	{ "[2001:db8::1]", NULL, 0 },
	{ "[2001:db8::1", NULL, 0 },
	{ "[2001:db8::1]443", NULL, 0 },
	{ "[192.0.2.1]:443", NULL, 0 },
	{ "[shop]:443", NULL, 0 },
	{ "[]:443", NULL, 0 },
	{ "[fe80::1%]:22", NULL, 0 },
	{ "[fe80::1%nothing0]:22", NULL, 0 },
	{ "[fe80::1%no-such-interface]:22", NULL, 0 },
	{ "[fe80::1%0]:22", NULL, 0 },
	{ "[fe80::1%4294967296]:22", NULL, 0 },
	{ "[fe80::1%lo%lo]:22", NULL, 0 },
	{ "[fe80::x%lo]:22", NULL, 0 },
	{ "[lo%lo]:22", NULL, 0 },
	{ "192.0.2.300:443", NULL, 0 },
	{ "127.1:443", NULL, 0 },
	{ "2130706433:443", NULL, 0 },
	{ "shop.example.com.:443", NULL, 0 },
	{ "shop..example:443", NULL, 0 },
	{ "-shop:443", NULL, 0 },
	{ "shop-:443", NULL, 0 },
	{ "b\xc3\xbc" "cher.example:443", NULL, 0 },
	{ "shop/path:443", NULL, 0 },
	{ "user@shop:443", NULL, 0 },
	{ "sh op:443", NULL, 0 },
};

START_TEST(host_and_port)
{
	const struct split_row *row = &split_rows[_i];
	AUTO(string) char *host = NULL;
	uint16_t port = 0;
	struct error err = { .text = "" };
	bool fine = address_split(row->text, &host, &port, &err);

	ck_assert_msg(fine == (row->host != NULL), "%s: %s", row->text, err.text);
	if (fine) {
		ck_assert_str_eq(host, row->host);
		ck_assert_uint_eq(port, row->port);
	} else {
		ck_assert_ptr_null(host);
		ck_assert_str_ne(err.text, "");
	}
}
END_TEST

START_TEST(a_url_is_named_as_such)
{
	static const char *const urls[] = { "https://shop.example", "https://shop.example:443/", "http://[::1]:80/x" };
	AUTO(string) char *host = NULL;
	uint16_t port = 0;
	struct error err;

	ck_assert(!address_split(urls[_i], &host, &port, &err));
	ck_assert_str_eq(err.text, "a URL: write host:port, like www.example.com:443");
}
END_TEST

START_TEST(lengths_of_names)
{
	char name[300];

	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	ck_assert(address_host_is_valid(name));
	name[63] = 'a';
	name[64] = '\0';
	ck_assert(!address_host_is_valid(name));
	memset(name, 'a', sizeof(name));
	for (size_t i = 63; i < sizeof(name); i += 64)
		name[i] = '.';
	name[253] = '\0';
	ck_assert(address_host_is_valid(name));
	name[253] = 'a';
	name[254] = '\0';
	ck_assert(!address_host_is_valid(name));
	ck_assert(!address_host_is_valid(""));
}
END_TEST

START_TEST(there_and_back)
{
	static const char *const hosts[] = { "192.0.2.1", "0.0.0.0", "2001:db8::1", "::", "::1", "fe80::1%lo",
					     "fe80::1%4294967294",
					     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct sockaddr_storage sockaddr;
		struct address address;
		struct address back;
		char text[ADDRESS_TEXT_BYTES];
		char *host = NULL;
		uint16_t port = 0;
		struct error err;

		ck_assert(address_from_literal(hosts[i], 65535, &address));
		ck_assert(address_to_sockaddr(&address, &sockaddr) > 0);
		ck_assert(address_from_sockaddr((struct sockaddr *)&sockaddr, &back));
		ck_assert(address_equal(&address, &back));
		address_print_ip(&address, text);
		ck_assert_str_eq(text, hosts[i]);
		address_print(&address, text);
		ck_assert(address_split(text, &host, &port, &err));
		ck_assert_str_eq(host, hosts[i]);
		ck_assert_uint_eq(port, 65535);
		free(host);
	}
}
END_TEST

/* Each interface that there is: its zone by name and by number is the same, and what goes to connect(2). */
START_TEST(zones)
{
	struct if_nameindex *interfaces = if_nameindex();

	ck_assert_ptr_nonnull(interfaces);
	for (const struct if_nameindex *at = interfaces; at->if_index != 0; at++) {
		AUTO(string) char *by_name = mem_printf("fe80::1%%%s", at->if_name);
		AUTO(string) char *by_number = mem_printf("fe80::1%%%u", at->if_index);
		struct sockaddr_storage sockaddr;
		struct address address;
		struct address other;
		char text[ADDRESS_TEXT_BYTES];

		ck_assert(address_from_literal(by_name, 443, &address));
		ck_assert(address_from_literal(by_number, 443, &other));
		ck_assert(address_equal(&address, &other));
		ck_assert_int_eq((int)address_to_sockaddr(&address, &sockaddr), (int)sizeof(struct sockaddr_in6));
		ck_assert_uint_eq(((struct sockaddr_in6 *)&sockaddr)->sin6_scope_id, at->if_index);
		address_print_ip(&other, text);
		ck_assert_str_eq(text, by_name);
	}
	if_freenameindex(interfaces);
}
END_TEST

START_TEST(unknown_zone_is_named)
{
	struct error err = { .text = "" };
	AUTO(string) char *host = NULL;
	uint16_t port;

	ck_assert(!address_split("[fe80::1%nothing0]:22", &host, &port, &err));
	ck_assert_str_eq(err.text, "this machine has no interface of the name that stands after \"%\"");
}
END_TEST

START_TEST(no_address)
{
	struct sockaddr_storage sockaddr;
	struct sockaddr local = { .sa_family = AF_UNIX };
	struct address address = { 0 };
	char text[ADDRESS_TEXT_BYTES] = "x";

	ck_assert_int_eq((int)address_to_sockaddr(&address, &sockaddr), 0);
	address_print(&address, text);
	ck_assert_str_eq(text, "");
	ck_assert(!address_from_sockaddr(&local, &address));
	ck_assert(!address_is_loopback(&address));
	ck_assert(!address_is_link_local(&address));
	ck_assert(!address_from_literal("localhost", 1, &address));
	ck_assert(!address_from_literal("", 1, &address));
	ck_assert_int_eq(address.family, 0);
}
END_TEST

START_TEST(differences)
{
	struct address a;
	struct address b;

	ck_assert(address_from_literal("192.0.2.1", 443, &a) && address_from_literal("192.0.2.1", 444, &b));
	ck_assert(!address_equal(&a, &b));
	ck_assert(address_from_literal("::ffff:192.0.2.1", 443, &b));
	ck_assert(!address_equal(&a, &b));
	ck_assert(address_from_literal("fe80::1%1", 443, &a) && address_from_literal("fe80::1%2", 443, &b));
	ck_assert(!address_equal(&a, &b));
}
END_TEST

START_TEST(special_addresses)
{
	static const struct {
		const char *text;
		bool loopback;
		bool link_local;
	} rows[] = {
		{ "127.0.0.1", true, false }, { "127.255.255.254", true, false }, { "::1", true, false },
		{ "::ffff:127.0.0.1", true, false }, { "128.0.0.1", false, false }, { "0.0.0.0", false, false },
		{ "10.0.0.1", false, false }, { "169.254.169.254", false, true }, { "169.253.0.1", false, false },
		{ "::ffff:169.254.169.254", false, true }, { "64:ff9b::a9fe:a9fe", false, true },
		{ "fe80::1", false, true }, { "febf::1", false, true }, { "fec0::1", false, false },
		{ "fd00:ec2::254", false, true }, { "fd20:ce::254", false, true }, { "fd00:ec2::255", false, false },
		{ "100.100.100.200", false, true }, { "168.63.129.16", false, true }, { "192.0.0.192", false, true },
		{ "2001:db8::1", false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct address address;

		ck_assert(address_from_literal(rows[i].text, 1, &address));
		ck_assert_msg(address_is_loopback(&address) == rows[i].loopback, "%s", rows[i].text);
		ck_assert_msg(address_is_link_local(&address) == rows[i].link_local, "%s", rows[i].text);
	}
}
END_TEST

START_TEST(public_addresses)
{
	static const char *const public[] = {
		"8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.0.0.1",
		"172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2001:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
	};
	static const char *const apart[] = {
		"0.0.0.0", "0.255.0.1", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.127.255.255",
		"127.0.0.1", "169.254.1.1", "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.168.0.0", "192.168.255.255",
		"198.18.0.0", "198.19.255.255", "224.0.0.1", "240.0.0.1", "255.255.255.255", "100.100.100.200",
		"168.63.129.16", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
		"64:ff9b:1::808:808", "100::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1",
		"2002:7f00:1::", "2002:a00:1::1",
	};
	struct address address = { 0 };

	ck_assert(!address_is_public(&address));
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++) {
		ck_assert(address_from_literal(public[i], 1, &address));
		ck_assert_msg(address_is_public(&address), "%s", public[i]);
	}
	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++) {
		ck_assert(address_from_literal(apart[i], 1, &address));
		ck_assert_msg(!address_is_public(&address), "%s", apart[i]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address");
	TCase *tcase = tcase_create("address");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_loop_test(tcase, host_and_port, 0, (int)(sizeof(split_rows) / sizeof(split_rows[0])));
	tcase_add_loop_test(tcase, a_url_is_named_as_such, 0, 3);
	tcase_add_test(tcase, lengths_of_names);
	tcase_add_test(tcase, there_and_back);
	tcase_add_test(tcase, zones);
	tcase_add_test(tcase, unknown_zone_is_named);
	tcase_add_test(tcase, no_address);
	tcase_add_test(tcase, differences);
	tcase_add_test(tcase, special_addresses);
	tcase_add_test(tcase, public_addresses);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
