/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/value.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *text;
	int64_t ms; /* -1: refused */
	const char *part; /* of what is said then */
} durations[] = {
	{ "250ms", 250, NULL },
	{ "30s", 30000, NULL },
	{ "5m", 300000, NULL },
	{ "4h", 14400000, NULL },
	{ "7d", INT64_C(604800000), NULL },
	{ "2w", INT64_C(1209600000), NULL },
	{ "1y", INT64_C(31536000000), NULL },
	{ "0s", 0, NULL },
	{ "1000y", INT64_C(31536000000000), NULL },
	{ "1001y", -1, "longer than 1000 years" },
	{ "999999999999y", -1, "longer than 1000 years" },
	{ "9999999999999s", -1, "not a duration" },
	{ "18446744073709551617s", -1, "not a duration" },
	{ "30", -1, "write 30s" },
	{ "0", -1, "write 0s" },
	{ "", -1, "not a duration" },
	{ "s", -1, "not a duration" },
	{ "-5s", -1, "not a duration" },
	{ "1.5s", -1, "not a duration" },
	{ "1h30m", -1, "not a duration" },
	{ "5 m", -1, "not a duration" },
	{ "5M", -1, "not a duration" },
	{ "5 seconds", -1, "not a duration" },
	{ "5s ", -1, "not a duration" },
};

START_TEST(reads_durations)
{
	struct error err = { .text = "" };
	int64_t ms = -2;
	bool fine = value_duration(durations[_i].text, &ms, &err);

	ck_assert_msg(fine == (durations[_i].ms >= 0), "%s: %s", durations[_i].text, err.text);
	if (fine)
		ck_assert_int_eq(ms, durations[_i].ms);
	else
		ck_assert_ptr_nonnull(strstr(err.text, durations[_i].part));
}
END_TEST

START_TEST(prints_durations_that_read_back)
{
	static const char *const texts[] = {
		"0s", "1ms", "999ms", "1s", "1500ms", "90s", "2m", "24h", "1d", "21d", "365d",
	};
	struct error err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char printed[32];
		int64_t ms;
		int64_t again;

		ck_assert(value_duration(texts[i], &ms, &err));
		value_print_duration(ms, printed);
		ck_assert(value_duration(printed, &again, &err));
		ck_assert_int_eq(ms, again);
	}
}
END_TEST

static const struct {
	const char *text;
	int count; /* -1: refused */
	int64_t per_ms;
} rates[] = {
	{ "10/m", 10, 60000 }, { "1/s", 1, 1000 },   { "1/30s", 1, 30000 }, { "5/2h", 5, 7200000 },
	{ "off", 0, 0 },       { "OFF", 0, 0 },      { "10", -1, 0 },       { "10/", -1, 0 },
	{ "/m", -1, 0 },       { "0/m", -1, 0 },     { "10/0s", -1, 0 },    { "-1/m", -1, 0 },
	{ "10/x", -1, 0 },     { "10001/m", -1, 0 }, { "", -1, 0 },         { "10/m/m", -1, 0 },
};

START_TEST(reads_rates)
{
	struct error err;
	int64_t per_ms;
	int count;
	bool fine = value_rate(rates[_i].text, &count, &per_ms, &err);

	ck_assert_msg(fine == (rates[_i].count >= 0), "%s", rates[_i].text);
	if (fine) {
		ck_assert_int_eq(count, rates[_i].count);
		ck_assert_int_eq(per_ms, rates[_i].per_ms);
	}
}
END_TEST

START_TEST(reads_switches_percentages_and_counts)
{
	static const char *const on[] = { "on", "On", "ON", "yes", "Yes", "true", "TRUE" };
	static const char *const off[] = { "off", "no", "NO", "false", "False" };
	static const char *const neither[] = { "", "o", "y", "1", "0", "onn", "enabled" };
	struct error err;
	int64_t count;
	int percent;
	bool answer;

	for (int i = 0; i < ROWS(on); i++)
		ck_assert(value_switch(on[i], &answer, &err) && answer);
	for (int i = 0; i < ROWS(off); i++)
		ck_assert(value_switch(off[i], &answer, &err) && !answer);
	for (int i = 0; i < ROWS(neither); i++)
		ck_assert(!value_switch(neither[i], &answer, &err));
	ck_assert(value_percent("25%", &percent, &err) && percent == 25);
	ck_assert(value_percent("1%", &percent, &err) && value_percent("99%", &percent, &err));
	ck_assert(!value_percent("0%", &percent, &err) && !value_percent("100%", &percent, &err));
	ck_assert(!value_percent("25", &percent, &err) && !value_percent("%", &percent, &err));
	ck_assert(!value_percent("25%%", &percent, &err) && !value_percent("2.5%", &percent, &err));
	ck_assert(value_count("0012", &count, &err) && count == 12);
	ck_assert(!value_count("", &count, &err) && !value_count("1e3", &count, &err));
	ck_assert(!value_count("-1", &count, &err));
	ck_assert(!value_count("99999999999999999999", &count, &err));
}
END_TEST

struct check_row {
	bool (*check)(const char *text, struct error *err);
	const char *text;
	bool fine;
};

static const struct check_row checks[] = {
	{ value_is_mailbox, "ops@example.com", true },
	{ value_is_mailbox, "first.last+tag@mail.example.com", true },
	{ value_is_mailbox, "Portbell <portbell@example.com>", true },
	{ value_is_mailbox, "\"On, Call\" <a@b.example>", true },
	{ value_is_mailbox, "root@localhost", true },
	{ value_is_mailbox, "ops", false },
	{ value_is_mailbox, "@example.com", false },
	{ value_is_mailbox, "ops@", false },
	{ value_is_mailbox, "ops@example.com\nBcc: x@example.com", false },
	{ value_is_mailbox, "ops@example.com\r", false },
	{ value_is_mailbox, "Ops\n <ops@example.com>", false },
	{ value_is_mailbox, "Ops <ops@example.com", false },
	{ value_is_mailbox, "Ops <ops@example.com> x", false },
	{ value_is_mailbox, "a b@example.com", false },
	{ value_is_mailbox, "a@b@example.com", false },
	{ value_is_mailbox, "a<b@example.com", false },
	{ value_is_mailbox, "\xc3\xa9@example.com", false },
	{ value_is_mailbox, "<>", false },
	{ value_is_mailbox, ">", false },
	{ value_is_mailbox, "", false },
	{ value_is_url, "https://example.com", true },
	{ value_is_url, "http://example.com:8080/hook?token=a%20b#x", true },
	{ value_is_url, "HTTPS://user:secret@example.com/", true },
	{ value_is_url, "https://[2001:db8::1]:8443/x", true },
	{ value_is_url, "https://192.0.2.1/", true },
	{ value_is_url, "ftp://example.com/", false },
	{ value_is_url, "example.com/hook", false },
	{ value_is_url, "https://", false },
	{ value_is_url, "https:///path", false },
	{ value_is_url, "https://example.com:0/", false },
	{ value_is_url, "https://example.com:99999/", false },
	{ value_is_url, "https://exa mple.com/", false },
	{ value_is_url, "https://example.com/a b", false },
	{ value_is_url, "https://example.com/\r\nX: y", false },
	{ value_is_url, "https://[::1/", false },
	{ value_is_host, "example.com", true },
	{ value_is_host, "2001:db8::1", true },
	{ value_is_host, "192.0.2.1", true },
	{ value_is_host, "example.com:443", false },
	{ value_is_host, "-x", false },
	{ value_is_nameserver, "192.0.2.53", true },
	{ value_is_nameserver, "192.0.2.53:5353", true },
	{ value_is_nameserver, "2001:db8::53", true },
	{ value_is_nameserver, "[2001:db8::53]:5353", true },
	{ value_is_nameserver, "dns.example.com", false },
	{ value_is_nameserver, "dns.example.com:53", false },
	{ value_is_nameserver, "", false },
	{ value_is_label_name, "team", true },
	{ value_is_label_name, "_Team2", true },
	{ value_is_label_name, "2team", false },
	{ value_is_label_name, "te-am", false },
	{ value_is_label_name, "", false },
	{ value_is_label_name, "__name", false },
	{ value_is_label_name, "target", false },
	{ value_is_label_name, "severity", false },
	{ value_is_label_name, "alertname", false },
	{ value_is_header_name, "X-Env", true },
	{ value_is_header_name, "Authorization", true },
	{ value_is_header_name, "X Env", false },
	{ value_is_header_name, "X-Env:", false },
	{ value_is_header_name, "X-\xc3\xa9", false },
	{ value_is_header_name, "", false },
	{ value_is_header_name, "content-length", false },
	{ value_is_header_name, "Webhook-Id", false },
	{ value_is_header_value, "Bearer abc", true },
	{ value_is_header_value, "", true },
	{ value_is_header_value, "a\tb", true },
	{ value_is_header_value, "a\r\nX: y", false },
	{ value_is_header_value, "a\nb", false },
	{ value_is_printable, "The shop\xe2\x80\x99s door", true },
	{ value_is_printable, "two\nlines", false },
	{ value_is_printable, "\x1b[31m", false },
	{ value_is_printable, "not UTF-8: \xff", false },
	{ value_is_printable, "hidden \xe2\x80\x8b mark", false },
	{ value_is_printable, "turned \xe2\x80\xae round", false },
	{ value_is_prose, "two\nlines\tand a tab", true },
	{ value_is_prose, "a bell \x07", false },
};

START_TEST(checks_texts)
{
	const struct check_row *row = &checks[_i];
	struct error err = { .text = "" };

	ck_assert_msg(row->check(row->text, &err) == row->fine, "row %d, \"%s\": %s", _i, row->text, err.text);
	ck_assert(row->fine || err.text[0] != '\0');
}
END_TEST

static const struct {
	const char *text;
	bool implicit_tls;
	const char *host; /* NULL: refused */
	int port;
} servers[] = {
	{ "smtp://mail.example.com", false, "mail.example.com", 587 },
	{ "smtp://mail.example.com:25", false, "mail.example.com", 25 },
	{ "smtps://mail.example.com", true, "mail.example.com", 465 },
	{ "smtps://[2001:db8::1]", true, "2001:db8::1", 465 },
	{ "smtp://[2001:db8::1]:2525", false, "2001:db8::1", 2525 },
	{ "smtp://127.0.0.1:1025", false, "127.0.0.1", 1025 },
	{ "mail.example.com:25", false, NULL, 0 },
	{ "smtp://", false, NULL, 0 },
	{ "smtp://user:secret@mail.example.com", false, NULL, 0 },
	{ "smtp://mail.example.com/path", false, NULL, 0 },
	{ "smtp://mail.example.com:0", false, NULL, 0 },
	{ "smtp://[2001:db8::1", false, NULL, 0 },
	{ "smtp://2001:db8::1", false, NULL, 0 },
	{ "http://mail.example.com", false, NULL, 0 },
};

START_TEST(reads_mail_servers)
{
	AUTO(string) char *host = NULL;
	struct error err = { .text = "" };
	bool implicit_tls;
	uint16_t port;
	bool fine = value_mail_server(servers[_i].text, &implicit_tls, &host, &port, &err);

	ck_assert_msg(fine == (servers[_i].host != NULL), "%s: %s", servers[_i].text, err.text);
	if (!fine)
		return;
	ck_assert_str_eq(host, servers[_i].host);
	ck_assert_int_eq(port, servers[_i].port);
	ck_assert(implicit_tls == servers[_i].implicit_tls);
}
END_TEST

START_TEST(hides_what_of_a_url_may_be_secret)
{
	static const char *const rows[][2] = {
		{ "https://example.com/hook/T0KEN", "https://example.com/<hidden>" },
		{ "https://user:T0KEN@example.com:8443", "https://example.com:8443/<hidden>" },
		{ "http://example.com?T0KEN", "http://example.com/<hidden>" },
		{ "https://T0KEN@a@example.com/@x", "https://example.com/<hidden>" },
		{ "T0KEN", "<hidden>" },
	};

	for (int i = 0; i < ROWS(rows); i++) {
		AUTO(string) char *shown = value_url_shown(rows[i][0]);

		ck_assert_str_eq(shown, rows[i][1]);
	}
}
END_TEST

static const char *variable(const char *name, void *arg)
{
	(void)arg;
	if (strcmp(name, "NAME") == 0)
		return "value";
	if (strcmp(name, "EMPTY") == 0)
		return "";
	if (strcmp(name, "DOLLAR") == 0)
		return "$";
	return strcmp(name, "YAML") == 0 ? "[a, ${NAME}]" : NULL;
}

static const struct {
	const char *text;
	enum expansion expansion;
	const char *expanded;
} expansions[] = {
	{ "plain", EXPANSION_NONE, NULL },
	{ "a lone $ and $NAME", EXPANSION_NONE, NULL },
	{ "", EXPANSION_NONE, NULL },
	{ "${NAME}", EXPANSION_MADE, "value" },
	{ "<${NAME}${NAME}>", EXPANSION_MADE, "<valuevalue>" },
	{ "${EMPTY}", EXPANSION_MADE, "" },
	{ "${YAML}", EXPANSION_MADE, "[a, ${NAME}]" },
	{ "$${NAME}", EXPANSION_MADE, "${NAME}" },
	{ "$$${NAME}", EXPANSION_MADE, "$${NAME}" },
	{ "$5 ${NAME}$", EXPANSION_MADE, "$5 value$" },
	{ "${NONE}", EXPANSION_UNSET, NULL },
	{ "${NAME", EXPANSION_BAD, NULL },
	{ "${}", EXPANSION_BAD, NULL },
	{ "${", EXPANSION_BAD, NULL },
	{ "${1A}", EXPANSION_BAD, NULL },
	{ "${NAME:-x}", EXPANSION_BAD, NULL },
	{ "${NAME ${NAME}", EXPANSION_BAD, NULL },
	/* no variable has a dot: these are left for later */
	{ "${capture.host}", EXPANSION_MADE, "${capture.host}" },
	{ "${NAME}${capture.a_1}$", EXPANSION_MADE, "value${capture.a_1}$" },
	{ "$${capture.host}", EXPANSION_MADE, "${capture.host}" },
	{ "${capture.}", EXPANSION_BAD, NULL },
	{ "${capture.a-b}", EXPANSION_BAD, NULL },
	{ "${capture.a", EXPANSION_BAD, NULL },
	{ "${captured.a}", EXPANSION_BAD, NULL },
	{ "${capture}", EXPANSION_UNSET, NULL },
};

/* As an exchange reads it again. */
static const struct {
	const char *text;
	enum expansion expansion;
	const char *expanded;
	bool names_capture;
} sends[] = {
	{ "plain", EXPANSION_MADE, "plain", false },
	{ "${NAME}\r\n", EXPANSION_MADE, "${[}value${]}\r\n", false },
	{ "${capture.a} $${capture.a} $", EXPANSION_MADE, "${capture.a} $${capture.a} $", true },
	{ "$${capture.a}", EXPANSION_MADE, "$${capture.a}", false },
	{ "$$${capture.a}", EXPANSION_MADE, "$$${capture.a}", false },
	{ "x$${${capture.a}", EXPANSION_MADE, "x$${${capture.a}", true },
	{ "${YAML}", EXPANSION_MADE, "${[}[a, ${$}{NAME}]${]}", false },
	{ "${DOLLAR}{capture.a}", EXPANSION_MADE, "${[}${$}${]}{capture.a}", false },
	{ "${DOLLAR}${capture.a}", EXPANSION_MADE, "${[}${$}${]}${capture.a}", true },
	{ "${$}", EXPANSION_BAD, NULL, false },
	{ "${NONE}", EXPANSION_UNSET, NULL, false },
};

START_TEST(expands_variables)
{
	const struct config_env env = { .variable = variable };
	AUTO(string) char *expanded = NULL;
	struct error err;

	ck_assert_int_eq(value_expand(expansions[_i].text, &env, &expanded, &err), expansions[_i].expansion);
	if (expansions[_i].expanded != NULL)
		ck_assert_str_eq(expanded, expansions[_i].expanded);
	else
		ck_assert_ptr_null(expanded);
}
END_TEST

static const struct {
	const char *text;
	enum proxy_kind kind; /* NONE: refused */
	const char *username;
	const char *host; /* or a part of what is said then */
	uint16_t port;
	uint8_t family;
} proxies[] = {
	{ "socks5h://u@127.0.0.1:1080", PROXY_KIND_SOCKS5H, "u", "127.0.0.1", 1080, 4 },
	{ "socks5h://127.0.0.1", PROXY_KIND_SOCKS5H, NULL, "127.0.0.1", 1080, 4 },
	{ "socks5://proxy.example.com/", PROXY_KIND_SOCKS5, NULL, "proxy.example.com", 1080, 0 },
	{ "SOCKS5://proxy:9050", PROXY_KIND_SOCKS5, NULL, "proxy", 9050, 0 },
	{ "http://proxy:3128", PROXY_KIND_HTTP, NULL, "proxy", 3128, 0 },
	{ "http://u@[2001:db8::1]:3128/", PROXY_KIND_HTTP, "u", "2001:db8::1", 3128, 6 },
	{ "socks5://[::1]", PROXY_KIND_SOCKS5, NULL, "::1", 1080, 6 },
	{ "socks5://[fe80::1%lo]:1", PROXY_KIND_SOCKS5, NULL, "fe80::1%lo", 1, 6 },
	{ "socks5://a%40b%25@proxy", PROXY_KIND_SOCKS5, "a@b%", "proxy", 1080, 0 },
	{ "socks5://a@b@proxy", PROXY_KIND_SOCKS5, "a@b", "proxy", 1080, 0 },
	{ "socks5://a%3ab@proxy", PROXY_KIND_SOCKS5, "a:b", "proxy", 1080, 0 },
	{ "socks5://j%C3%B6rg@proxy", PROXY_KIND_SOCKS5, "j\xc3\xb6rg", "proxy", 1080, 0 },
	{ "http://a%3ab@proxy:1", PROXY_KIND_NONE, NULL, "no colon", 0, 0 },
	{ "socks5://u:secret@proxy", PROXY_KIND_NONE, NULL, "name that in proxy_password_file", 0, 0 },
	{ "socks5://:secret@proxy", PROXY_KIND_NONE, NULL, "name that in proxy_password_file", 0, 0 },
	{ "socks5://@proxy", PROXY_KIND_NONE, NULL, "1 to 255 bytes", 0, 0 },
	{ "socks5://a%@proxy", PROXY_KIND_NONE, NULL, "%25 is the", 0, 0 },
	{ "socks5://a%4@proxy", PROXY_KIND_NONE, NULL, "%25 is the", 0, 0 },
	{ "socks5://a%00@proxy", PROXY_KIND_NONE, NULL, "%25 is the", 0, 0 },
	{ "socks5://a%0a@proxy", PROXY_KIND_NONE, NULL, "control character", 0, 0 },
	{ "socks5://a%ff@proxy", PROXY_KIND_NONE, NULL, "not UTF-8", 0, 0 },
	{ "http://proxy", PROXY_KIND_NONE, NULL, "write the port of the proxy", 0, 0 },
	{ "http://[::1]", PROXY_KIND_NONE, NULL, "write the port of the proxy", 0, 0 },
	{ "http://proxy:0", PROXY_KIND_NONE, NULL, "from 1 to 65535", 0, 0 },
	{ "http://proxy:3128/path", PROXY_KIND_NONE, NULL, "only a user, a host and a port", 0, 0 },
	{ "socks5://proxy?x", PROXY_KIND_NONE, NULL, "only a user, a host and a port", 0, 0 },
	{ "socks5://", PROXY_KIND_NONE, NULL, "a host is missing", 0, 0 },
	{ "socks5://2001:db8::1", PROXY_KIND_NONE, NULL, "IPv6 address is written", 0, 0 },
	{ "socks5://a b", PROXY_KIND_NONE, NULL, "neither a name nor an IP address", 0, 0 },
	{ "https://proxy:443", PROXY_KIND_NONE, NULL, "not a proxy: write socks5://", 0, 0 },
	{ "socks4://proxy", PROXY_KIND_NONE, NULL, "not a proxy: write socks5://", 0, 0 },
	{ "proxy:3128", PROXY_KIND_NONE, NULL, "not a proxy: write socks5://", 0, 0 },
	{ "", PROXY_KIND_NONE, NULL, "not a proxy: write socks5://", 0, 0 },
};

START_TEST(reads_proxies)
{
	struct error err = { .text = "" };
	struct proxy_config proxy = { .kind = PROXY_KIND_NONE };
	bool fine = value_proxy(proxies[_i].text, &proxy, &err);

	ck_assert_msg(fine == (proxies[_i].kind != PROXY_KIND_NONE), "%s: %s", proxies[_i].text, err.text);
	ck_assert_int_eq(proxy.kind, proxies[_i].kind);
	ck_assert_ptr_null(strstr(err.text, "secret"));
	if (fine) {
		ck_assert_str_eq(proxy.host, proxies[_i].host);
		ck_assert_uint_eq(proxy.port, proxies[_i].port);
		ck_assert_uint_eq(proxy.literal.family, proxies[_i].family);
		ck_assert_uint_eq(proxy.literal.port, proxies[_i].family != 0 ? proxy.port : 0);
		ck_assert(str_equal(proxy.username, proxies[_i].username));
	} else {
		ck_assert_msg(strstr(err.text, proxies[_i].host) != NULL, "%s: %s", proxies[_i].text, err.text);
		ck_assert_ptr_null(proxy.host);
	}
	free(proxy.host);
	free(proxy.username);
}
END_TEST

static const struct {
	const char *text;
	int family; /* 0: an interface; -1: refused */
} sources[] = {
	{ "eth1", 0 }, { "wg0.100", 0 }, { "br-0123456789ab", 0 }, { "eth0@x", 0 }, { "192.0.2.1", 4 },
	{ "2001:db8::1", 6 }, { "fe80::1%lo", 6 }, { "::1", 6 }, { "fe80::1", -1 }, { "0.0.0.0", -1 }, { "::",
	-1 },
	{ "192.0.2.300", -1 }, { "127.1", -1 }, { "1", -1 }, { "", -1 }, { "eth0:1", -1 }, { "a/b", -1 }, { "a b",
	-1 },
	{ "sixteen-letters!", -1 }, { "fe80::1%nothing0", -1 }, { "192.0.2.1:80", -1 }, { "\x7f", -1 },
	{ "\xc3\xa9", -1 },
};

START_TEST(reads_sources)
{
	struct error err = { .text = "" };
	struct source_config source = { .text = NULL };
	bool fine = value_source(sources[_i].text, &source, &err);

	ck_assert_msg(fine == (sources[_i].family >= 0), "%s: %s", sources[_i].text, err.text);
	ck_assert_int_eq(fine, err.text[0] == '\0');
	ck_assert(str_equal(source.text, fine ? sources[_i].text : NULL));
	if (fine)
		ck_assert_int_eq(source.address.family, sources[_i].family);
	free(source.text);
}
END_TEST

START_TEST(expands_what_is_sent)
{
	const struct config_env env = { .variable = variable };
	AUTO(string) char *expanded = NULL;
	struct error err;

	ck_assert_int_eq(value_expand_send(sends[_i].text, &env, &expanded, &err), sends[_i].expansion);
	ck_assert(str_equal(expanded, sends[_i].expanded));
	ck_assert_int_eq(value_names_capture(sends[_i].text), sends[_i].names_capture);
}
END_TEST

static Suite *value_suite(void)
{
	Suite *suite = suite_create("value");
	TCase *tcase = tcase_create("value");

	tcase_add_loop_test(tcase, reads_durations, 0, ROWS(durations));
	tcase_add_test(tcase, prints_durations_that_read_back);
	tcase_add_loop_test(tcase, reads_rates, 0, ROWS(rates));
	tcase_add_test(tcase, reads_switches_percentages_and_counts);
	tcase_add_loop_test(tcase, checks_texts, 0, ROWS(checks));
	tcase_add_loop_test(tcase, reads_mail_servers, 0, ROWS(servers));
	tcase_add_loop_test(tcase, reads_proxies, 0, ROWS(proxies));
	tcase_add_loop_test(tcase, reads_sources, 0, ROWS(sources));
	tcase_add_test(tcase, hides_what_of_a_url_may_be_secret);
	tcase_add_loop_test(tcase, expands_variables, 0, ROWS(expansions));
	tcase_add_loop_test(tcase, expands_what_is_sent, 0, ROWS(sends));
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(value_suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
