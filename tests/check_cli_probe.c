/* SPDX-License-Identifier: MIT */
/* `portbell probe`: from a result to JSON, page, plugin line and figures; and the whole command against loopback. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/probe_nagios.h"
#include "daemon/cli/probe_page.h"
#include "daemon/cli/probe_stats.h"
#include "daemon/cli/probe_trace.h"
#include "daemon/cli/table.h"
#include "daemon/view_probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { ARGS_MAX = 24, COLUMNS = 80, DAY_S = 86400 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* 2026-11-23T12:00:00Z */
static const int64_t now_unix_s = INT64_C(1795435200);

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

static void has_not(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) == NULL, "\"%s\" in:\n%s", part, text);
}

/* From a result */

struct found {
	enum reason reason;
	enum phase phase;
	const char *detail;
	int64_t connect_us;
	int64_t tls_us;       /* -1: no TLS */
	int days_left;        /* of the leaf, which lives 90 days */
	enum reason verdict;
	const char *revocation; /* why it is not known */
};

static struct target_config target_of(const struct found *found)
{
	return (struct target_config){
		.name = (char *)"shop.example.com:443",
		.address = (char *)"shop.example.com:443",
		.server_name = (char *)"shop.example.com",
		.timeout_ms = 10000,
		.tls = found->tls_us >= 0,
		.rules = {
			.after = 3,
			.recover = 2,
			.latency_warning_us = 300 * US_PER_MS,
			.latency_critical_us = US_PER_S,
			.latency_phase = PHASE_TOTAL,
			.latency_after = 5,
			.certificate = true,
			.certificate_warning = { 25, 21 * DAY_S },
			.certificate_critical = { 10, 7 * DAY_S },
		},
	};
}

/* A leaf of those days, and an authority that lives for years. All is lent from here. */
static struct tls_facts *facts_of(const struct found *found)
{
	static char *sans[] = { (char *)"DNS:shop.example.com", (char *)"IP:192.0.2.7" };
	static struct certificate_facts chain[2];
	static struct tls_facts facts;

	chain[0] = (struct certificate_facts){
		.subject = (char *)"CN=shop.example.com", .issuer = (char *)"CN=R3,O=Example", .serial = (char *)"0a0b",
		.sans = sans, .san_count = 2, .san_total = 2, .key = (char *)"EC P-256",
		.signature = (char *)"ecdsa-with-SHA256",
		.not_before_unix_s = now_unix_s + (int64_t)(found->days_left - 90) * DAY_S,
		.not_after_unix_s = now_unix_s + (int64_t)found->days_left * DAY_S + 3600,
	};
	chain[1] = (struct certificate_facts){
		.subject = (char *)"CN=R3,O=Example", .issuer = (char *)"CN=Root,O=Example", .serial = (char *)"01",
		.key = (char *)"RSA 2048", .signature = (char *)"sha256WithRSAEncryption",
		.not_before_unix_s = now_unix_s - INT64_C(1000) * DAY_S,
		.not_after_unix_s = now_unix_s + INT64_C(1000) * DAY_S,
	};
	facts = (struct tls_facts){
		.chain = chain, .chain_count = 2, .chain_total = 2, .version = (char *)"TLS 1.3",
		.cipher = (char *)"TLS_AES_256_GCM_SHA384",
		.verify_text = found->verdict != REASON_OK ? (char *)"unable to get local issuer certificate" : NULL,
		.revocation_text = (char *)found->revocation,
	};
	return &facts;
}

static char *json_of(const struct found *found)
{
	const struct target_config target = target_of(found);
	struct str text = { 0 };
	struct result result;
	struct probed probed;
	struct json_writer w;

	result_init(&result, 1);
	result.reason = found->reason;
	result.phase = found->phase;
	result.detail = (char *)found->detail;
	result.started_unix_us = now_unix_s * US_PER_S;
	result.phase_us[PHASE_DNS] = 2000;
	result.phase_us[PHASE_CONNECT] = found->connect_us;
	result.phase_us[PHASE_TLS] = found->tls_us;
	result.phase_us[PHASE_TOTAL] = 2000 + found->connect_us + (found->tls_us > 0 ? found->tls_us : 0);
	result.rtt_us = 1500;
	address_from_literal("192.0.2.7", 443, &result.address);
	if (found->tls_us > 0 && found->reason == REASON_OK) {
		result.facts = facts_of(found);
		result.certificate = (struct certificate){
			.present = true, .verdict = found->verdict,
			.revocation = found->revocation != NULL ? REASON_CERT_REVOCATION_UNKNOWN : REASON_OK,
			.not_before_unix_s = result.facts->chain[0].not_before_unix_s,
			.not_after_unix_s = result.facts->chain[0].not_after_unix_s,
			.chain_not_after_unix_s = result.facts->chain[1].not_after_unix_s,
		};
	}
	probed_judge(&probed, &target, &result, result.facts, now_unix_s * US_PER_S);
	json_start(&w, &text);
	view_probe(&w, &probed);
	return str_take(&text);
}

static const struct {
	const char *what;
	struct found found;
	const char *json;      /* a part of it */
	const char *page;      /* how it begins */
	const char *also;      /* is somewhere on the page */
	const char *plugin;    /* the whole line */
} probes[] = {
	{ "all is well", { REASON_OK, PHASE_TOTAL, NULL, 12000, 30000, 80, REASON_OK, NULL },
	  "\"level\":\"ok\",\"check\":\"availability\",\"reason\":\"ok\"", "ok  shop.example.com:443  44 ms\n\n",
	  "verdict   trusted as shop.example.com\n",
	  "TCP OK - shop.example.com:443 ok, 44 ms, certificate 80 d left | time=0.044000s;0.300000;1.000000;0;10.000000"
	  " dns=0.002000s;;;0; connect=0.012000s;;;0; tls=0.030000s;;;0; cert_days=80;21.00:;7.00:" },
	{ "a port without TLS", { REASON_OK, PHASE_TOTAL, NULL, 1000, -1, 0, REASON_OK, NULL },
	  "\"tls\":null,\"certificates\":[]", "ok  shop.example.com:443  3 ms\n", "address   192.0.2.7:443\n",
	  "TCP OK - shop.example.com:443 ok, 3 ms | time=0.003000s;0.300000;1.000000;0;10.000000"
	  " dns=0.002000s;;;0; connect=0.001000s;;;0;" },
	{ "nobody listens", { REASON_CONNECT_REFUSED, PHASE_CONNECT, "Connection refused", 1000, -1, 0, REASON_OK, NULL },
	  "\"level\":\"critical\",\"check\":\"availability\",\"reason\":\"connect_refused\","
	  "\"text\":\"connection refused\",\"phase\":\"connect\",\"detail\":\"Connection refused\"",
	  "critical  shop.example.com:443  connection refused\n  in phase connect after 3 ms: Connection refused\n",
	  "\n! connect ",
	  "TCP CRITICAL - shop.example.com:443 connection refused: Connection refused, 3 ms | "
	  "time=0.003000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0;" },
	{ "nobody listens, as it must be",
	  { REASON_OK, PHASE_CONNECT, "connection refused, as expected", 1000, -1, 0, REASON_OK, NULL },
	  "\"detail\":\"connection refused, as expected\"",
	  "ok  shop.example.com:443  3 ms\n  connection refused, as expected\n\n", "\n  connect ",
	  "TCP OK - shop.example.com:443 ok, 3 ms | "
	  "time=0.003000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0;" },
	{ "somebody listens who must not",
	  { REASON_OPEN_UNEXPECTEDLY, PHASE_TOTAL, NULL, 1000, -1, 0, REASON_OK, NULL },
	  "\"reason\":\"open_unexpectedly\"",
	  "critical  shop.example.com:443  open unexpectedly\n  after 3 ms\n", "something listens where nothing should",
	  "TCP CRITICAL - shop.example.com:443 open unexpectedly, 3 ms | "
	  "time=0.003000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0;" },
	{ "nobody says whether it was revoked",
	  { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, 80, REASON_OK, "crl.example.com: no answer" },
	  "\"revocation_text\":\"crl.example.com: no answer\"",
	  "warning  shop.example.com:443  certificate revocation not knowable\n  crl.example.com: no answer\n",
	  "trusted as shop.example.com\n",
	  "TCP WARNING - shop.example.com:443 certificate revocation not knowable, 4 ms, certificate 80 d left | "
	  "time=0.004000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0; tls=0.001000s;;;0;"
	  " cert_days=80;21.00:;7.00:" },
	{ "the fault is ours", { REASON_LOCAL_ERROR, PHASE_CONNECT, "Too many open files", 0, -1, 0, REASON_OK, NULL },
	  "\"level\":\"unknown\"", "unknown  shop.example.com:443  could not probe: trouble on our side\n",
	  "this says nothing about the target",
	  "TCP UNKNOWN - shop.example.com:443 could not probe: trouble on our side: Too many open files, 2 ms | "
	  "time=0.002000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.000000s;;;0;" },
	{ "slow once is enough", { REASON_OK, PHASE_TOTAL, NULL, 400000, -1, 0, REASON_OK, NULL },
	  "\"level\":\"warning\",\"check\":\"latency\",\"reason\":\"latency_high\"",
	  "warning  shop.example.com:443  latency high\n  total took 402 ms; warning from 300 ms\n", "connect      400 ms",
	  "TCP WARNING - shop.example.com:443 latency high, 402 ms | time=0.402000s;0.300000;1.000000;0;10.000000"
	  " dns=0.002000s;;;0; connect=0.400000s;;;0;" },
	{ "it expires soon", { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, 12, REASON_OK, NULL },
	  "\"days_left\":12,\"level\":\"warning\"",
	  "warning  shop.example.com:443  certificate expires soon\n"
	  "  12 d left (2026-12-05): CN=shop.example.com; warning below 21 d\n", "for shop.example.com, IP:192.0.2.7\n",
	  "TCP WARNING - shop.example.com:443 certificate expires soon, 4 ms, certificate 12 d left | "
	  "time=0.004000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0; tls=0.001000s;;;0;"
	  " cert_days=12;21.00:;7.00:" },
	{ "it expired yesterday", { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, -1, REASON_CERT_EXPIRED, NULL },
	  "\"days_left\":-1,\"level\":\"critical\"",
	  "critical  shop.example.com:443  certificate expired\n  expired 23 h ago (2026-11-22): CN=shop.example.com\n",
	  "the server has not loaded the new one",
	  "TCP CRITICAL - shop.example.com:443 certificate expired, 4 ms, certificate -1 d left | "
	  "time=0.004000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0; tls=0.001000s;;;0;"
	  " cert_days=-1;21.00:;7.00:" },
	{ "nobody knows its authority", { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, 80, REASON_CERT_UNTRUSTED, NULL },
	  "\"verified\":false,\"verdict\":\"cert_untrusted\",\"verify_text\":\"unable to get local issuer certificate\"",
	  "critical  shop.example.com:443  certificate not trusted\n  unable to get local issuer certificate\n",
	  "signed by CN=Root,O=Example\n",
	  "TCP CRITICAL - shop.example.com:443 certificate not trusted, 4 ms, certificate 80 d left | "
	  "time=0.004000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0; tls=0.001000s;;;0;"
	  " cert_days=80;21.00:;7.00:" },
	{ "what the peer said cannot break the line",
	  { REASON_EXCHANGE_MISMATCH, PHASE_EXCHANGE, "a|b\nc\x1b[31m", 1000, -1, 0, REASON_OK, NULL },
	  "\"reason\":\"exchange_mismatch\"", "critical  shop.example.com:443  answer does not match\n",
	  "a|b\\x0ac\\x1b[31m",
	  "TCP CRITICAL - shop.example.com:443 answer does not match: a/b\\x0ac\\x1b[31m, 3 ms | "
	  "time=0.003000s;0.300000;1.000000;0;10.000000 dns=0.002000s;;;0; connect=0.001000s;;;0;" },
};

static struct json *parsed(const char *text)
{
	struct error err = { 0 };
	struct json *json = json_parse(text, strlen(text), &err);

	ck_assert_msg(json != NULL, "%s in %s", err.text, text);
	return json;
}

static void check_width(const char *text)
{
	while (*text != '\0') {
		size_t bytes = strcspn(text, "\n");
		AUTO(string) char *line = mem_strndup(text, bytes);

		ck_assert_msg(table_width(line) <= COLUMNS, "%zu columns: %s", table_width(line), line);
		ck_assert_msg(bytes == 0 || line[bytes - 1] != ' ', "ends with a blank: %s|", line);
		text += bytes + (text[bytes] == '\n');
	}
}

START_TEST(a_probe)
{
	AUTO(string) char *text = json_of(&probes[_i].found);
	AUTO(str) struct str page = { 0 };
	AUTO(str) struct str plugin = { 0 };
	const struct page_style plain = { .columns = COLUMNS };
	struct json *json = parsed(text);

	has(text, probes[_i].json);
	probe_page(&page, json, &plain);
	ck_assert_msg(str_starts(page.data, probes[_i].page), "%s: begins\n%s", probes[_i].what, page.data);
	has(page.data, probes[_i].also);
	check_width(page.data);
	for (const char *p = page.data; *p != '\0'; p++)
		ck_assert_msg((*p >= ' ' && *p < 0x7f) || *p == '\n', "not ASCII:\n%s", page.data);
	probe_nagios(&plugin, json);
	ck_assert_str_eq(plugin.data, probes[_i].plugin);
	json_free(json);
}
END_TEST

/* An old cross-signed root that the server still sends, and the new one that it need not send. */
START_TEST(a_chain_is_judged_as_a_client_builds_it)
{
	const struct found found = { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, 80, REASON_OK, NULL };
	struct certificate_facts verified[2], sent[2];
	struct tls_facts facts = *facts_of(&found);
	struct target_config target = target_of(&found);
	const struct page_style plain = { .columns = COLUMNS };
	AUTO(str) struct str text = { 0 };
	AUTO(str) struct str page = { 0 };
	struct json_writer w;
	struct result result;
	struct probed probed;
	struct json *json;

	sent[0] = verified[0] = facts.chain[0];
	sent[1] = verified[1] = facts.chain[1];
	sent[1].subject = (char *)"CN=Old Root";
	sent[1].fingerprint[0] = 1;
	sent[1].not_after_unix_s = now_unix_s - DAY_S;
	verified[1].fingerprint[0] = 2;
	facts.chain = sent;
	facts.verified = verified;
	facts.verified_count = 2;
	facts.group = (char *)"X25519MLKEM768";
	facts.alpn = (char *)"h2";
	result_init(&result, 1);
	result.phase_us[PHASE_TOTAL] = 1000;
	result.started_unix_us = now_unix_s * US_PER_S;
	result.certificate = (struct certificate){
		.present = true,
		.not_before_unix_s = sent[0].not_before_unix_s,
		.not_after_unix_s = sent[0].not_after_unix_s,
		.chain_not_after_unix_s = verified[1].not_after_unix_s,
	};
	probed_judge(&probed, &target, &result, &facts, now_unix_s * US_PER_S);
	json_start(&w, &text);
	view_probe(&w, &probed);
	has(text.data, "\"days_left\":-1,\"level\":\"ok\",\"needed\":false,\"sent\":true");
	has(text.data, "\"group\":\"X25519MLKEM768\",\"alpn\":\"h2\"");
	json = parsed(text.data);
	ck_assert_str_eq(json_get_string(json, "level"), "ok");
	probe_page(&page, json, &plain);
	has(page.data, "TLS 1.3, TLS_AES_256_GCM_SHA384, group X25519MLKEM768, ALPN h2");
	has(page.data, "`-CN=Old Root\n      expired 1 d ago (2024-02-27 to 2026-11-22), RSA 2048,\n"
		       "      sha256WithRSAEncryption, not needed\n"
		       "      `-CN=R3,O=Example\n        1000 d left");
	has(page.data, "not sent, known here");
	check_width(page.data);
	json_free(json);
}
END_TEST

/* As the daemon knows it, whose inquirer asked the authority. */
START_TEST(what_an_authority_said_is_told)
{
	const struct found found = { REASON_OK, PHASE_TOTAL, NULL, 1000, 1000, 80, REASON_OK, NULL };
	struct tls_facts facts = *facts_of(&found);
	struct target_config target = target_of(&found);
	const struct page_style plain = { .columns = COLUMNS };
	AUTO(str) struct str text = { 0 };
	AUTO(str) struct str page = { 0 };
	struct json_writer w;
	struct result result;
	struct probed probed;
	struct json *json;

	facts.revocation_text = (char *)"revoked on 2026-11-23T11:00:00Z (keyCompromise)";
	result_init(&result, 1);
	result.started_unix_us = now_unix_s * US_PER_S;
	result.certificate = (struct certificate){
		.present = true,
		.not_before_unix_s = facts.chain[0].not_before_unix_s,
		.not_after_unix_s = facts.chain[0].not_after_unix_s,
		.chain_not_after_unix_s = facts.chain[1].not_after_unix_s,
		.revocation = REASON_CERT_REVOKED,
	};
	probed_judge(&probed, &target, &result, &facts, now_unix_s * US_PER_S);
	json_start(&w, &text);
	view_probe(&w, &probed);
	has(text.data, "\"revocation_text\":\"revoked on 2026-11-23T11:00:00Z (keyCompromise)\"");
	json = parsed(text.data);
	probe_page(&page, json, &plain);
	has(page.data, "  revoked on 2026-11-23T11:00:00Z (keyCompromise)\n");
	json_free(json);
}
END_TEST

START_TEST(a_page_with_all_that_a_terminal_can)
{
	const struct found found = { REASON_OK, PHASE_TOTAL, NULL, 12000, 30000, 12, REASON_CERT_HOSTNAME, NULL };
	const struct page_style style = { .signs = true, .blocks = true, .color = true, .columns = COLUMNS };
	AUTO(string) char *text = json_of(&found);
	AUTO(str) struct str page = { 0 };
	struct json *json = parsed(text);

	probe_page(&page, json, &style);
	ck_assert(str_starts(page.data, "\033[1;31m✖ \033[0m\033[1;31mcritical\033[0m  shop.example.com:443  certificate is"));
	has(page.data, "\033[32m████");
	has(page.data, "└ CN=R3,O=Example\n");
	json_free(json);
}
END_TEST

START_TEST(a_waterfall_stands_where_time_went)
{
	static const char *const text =
		"{\"target\":\"a:1\",\"at\":\"2026-11-23T12:00:00Z\",\"level\":\"ok\",\"check\":\"availability\","
		"\"phase\":\"total\",\"phases\":{\"dns\":0.25,\"connect\":0.25,\"tls\":0.5,\"total\":1}}";
	const struct page_style style = { .columns = 63 }; /* bars of 40 columns */
	AUTO(str) struct str page = { 0 };
	struct json *json = parsed(text);

	probe_page(&page, json, &style);
	has(page.data, "\n  dns          250 ms  ##########\n"
		       "  connect      250 ms            ##########\n"
		       "  tls          500 ms                      ####################\n"
		       "  total           1 s\n");
	json_free(json);
}
END_TEST

/* Long names, deep chains, strange figures: all stays within its columns. */
START_TEST(a_page_of_odd_values)
{
	AUTO(str) struct str text = { 0 };
	AUTO(str) struct str page = { 0 };
	const struct page_style style = { .signs = true, .blocks = true, .columns = COLUMNS };
	struct json *json;

	str_add(&text, "{\"target\":\"a:1\",\"address\":\"192.0.2.7:443\",\"at\":\"2026-11-23T12:00:00Z\",\"level\":\"critical\","
		       "\"check\":\"availability\",\"text\":\"connect timeout\",\"phase\":\"connect\",\"detail\":\"");
	for (int i = 0; i < 300; i++)
		str_add(&text, "\\u0416");
	str_add(&text, "\",\"checks\":{\"availability\":{\"level\":\"critical\",\"reason\":\"connect_timeout\"}},"
		       "\"phases\":{\"dns\":0,\"connect\":1e9,\"total\":0},\"retransmits\":4,\"addresses\":["
		       "{\"address\":\"[2001:db8:1111:2222:3333:4444:5555:6666]:65535\",\"reason\":\"connect_unreachable\","
		       "\"total\":0.1,\"detail\":\"No route to host\"},"
		       "{\"address\":\"192.0.2.7:443\",\"reason\":\"ok\",\"total\":0.2}],\"certificates\":[");
	for (int i = 0; i < 10; i++) {
		str_addf(&text, "%s{\"subject\":\"", i > 0 ? "," : "");
		for (int j = 0; j < 40; j++)
			str_add(&text, "OU=a long one,");
		str_add(&text, "\",\"issuer\":\"x\",\"not_before\":\"2020-01-01T00:00:00Z\"}");
	}
	str_add(&text, "],\"certificates_total\":12}");
	json = parsed(text.data);
	probe_page(&page, json, &style);
	has(page.data, "4 sent again: packets are lost");
	has(page.data, "✖ [2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	has(page.data, "✔ 192.0.2.7:443");
	has(page.data, "and 2 more");
	check_width(page.data);
	json_free(json);
	str_clear(&page);
	json = parsed("{}");
	probe_page(&page, json, &style);
	probe_line(&page, json, 1, &style);
	probe_nagios(&page, json);
	json_free(json);
}
END_TEST

/* Reading along */

static const struct {
	const char *what;
	struct probe_trace trace;
	const char *text;
} traces[] = {
	{ "a note", { PROBE_TRACE_NOTE, PHASE_CONNECT, false, false, NULL, "connected", 9, 0, 1500 },
	  "   1.5 ms  connect      * connected\n" },
	{ "lines are lines", { PROBE_TRACE_RECEIVED, PHASE_STARTTLS, false, false, NULL, "250-a\r\n250 b\r\n", 14, 0, 0 },
	  "      0 s  starttls     < 250-a\\x0d\\x0a\n      0 s  starttls     < 250 b\\x0d\\x0a\n" },
	{ "strange bytes are shown as such", { PROBE_TRACE_RECEIVED, PHASE_EXCHANGE, true, false, NULL, "\033[31m\0\xff", 7, 0, 0 },
	  "      0 s  exchange tls < \\x1b[31m\\x00\\xff\n" },
	{ "a message of TLS", { PROBE_TRACE_SENT, PHASE_TLS, false, true, NULL, "ClientHello", 11, 517, 0 },
	  "      0 s  tls          > ClientHello, 517 bytes\n" },
	{ "a login at a proxy is hidden", { PROBE_TRACE_SENT, PHASE_PROXY, false, false, NULL, "secret", 6, 0, 0 },
	  "      0 s  proxy        > (6 bytes, hidden)\n" },
	{ "its answer is not", { PROBE_TRACE_RECEIVED, PHASE_PROXY, false, false, NULL, "407 no", 6, 0, 0 },
	  "      0 s  proxy        < 407 no\n" },
	{ "what a file has sent is hidden", { PROBE_TRACE_SENT, PHASE_EXCHANGE, true, false, NULL, "secret", 6, 0, 0 },
	  "      0 s  exchange tls > (6 bytes, hidden)\n" },
	{ "a goodbye", { PROBE_TRACE_SENT, PHASE_TOTAL, true, false, NULL, "QUIT\r\n", 6, 0, 0 },
	  "      0 s  goodbye  tls > QUIT\\x0d\\x0a\n" },
};

START_TEST(a_trace)
{
	const struct trace_style style = { .hide_proxy = true, .hide_exchange = true };
	AUTO(str) struct str text = { 0 };

	probe_trace(&text, &traces[_i].trace, &style);
	ck_assert_str_eq(text.data, traces[_i].text);
}
END_TEST

START_TEST(a_flood_is_cut)
{
	static char flood[10000];
	const struct probe_trace trace = { .kind = PROBE_TRACE_RECEIVED, .data = flood, .bytes = sizeof(flood) };
	const struct trace_style style = { 0 };
	AUTO(str) struct str text = { 0 };

	memset(flood, '\n', sizeof(flood));
	probe_trace(&text, &trace, &style);
	has(text.data, "(7952 bytes more)\n");
	ck_assert_uint_lt(text.bytes, 100000);
}
END_TEST

/* Figures */

static void add_total(struct probe_stats *stats, int ms, bool good)
{
	AUTO(string) char *text = mem_printf("{\"checks\":{\"availability\":{\"level\":\"%s\"}},\"phases\":{\"total\":%d.%03d}}",
					     good ? "ok" : "critical", ms / 1000, ms % 1000);
	struct json *json = parsed(text);

	probe_stats_add(stats, json);
	json_free(json);
}

static const struct {
	const char *what;
	int values_ms[12];
	int figures_ms[6]; /* min avg p50 p95 p99 max */
	int deviation_us;
} series[] = {
	{ "one", { 5 }, { 5, 5, 5, 5, 5, 5 }, 0 },
	{ "two", { 30, 10 }, { 10, 20, 10, 30, 30, 30 }, 10000 },
	{ "mtr's own kind", { 2, 4, 4, 4, 5, 5, 7, 9 }, { 2, 5, 4, 9, 9, 9 }, 2000 },
	{ "all alike", { 7, 7, 7, 7 }, { 7, 7, 7, 7, 7, 7 }, 0 },
};

START_TEST(figures)
{
	const int *values = series[_i].values_ms, *want = series[_i].figures_ms;
	struct probe_stats stats = { 0 };
	struct probe_figures have;

	for (size_t i = 0; values[i] != 0; i++)
		add_total(&stats, values[i], true);
	add_total(&stats, 9999, false);
	ck_assert_uint_eq(stats.lost, 1);
	ck_assert(probe_stats_figures(&stats, PHASE_TOTAL, &have));
	ck_assert_int_eq(have.min_us, want[0] * 1000);
	ck_assert_int_eq(have.avg_us, want[1] * 1000);
	ck_assert_int_eq(have.p50_us, want[2] * 1000);
	ck_assert_int_eq(have.p95_us, want[3] * 1000);
	ck_assert_int_eq(have.p99_us, want[4] * 1000);
	ck_assert_int_eq(have.max_us, want[5] * 1000);
	ck_assert_int_eq(have.deviation_us, series[_i].deviation_us);
	ck_assert(!probe_stats_figures(&stats, PHASE_TLS, &have));
	probe_stats_done(&stats);
}
END_TEST

START_TEST(ninety_nine_of_a_hundred)
{
	struct probe_stats stats = { 0 };
	AUTO(str) struct str text = { 0 };
	struct probe_figures have;
	struct json_writer w;

	for (int i = 1; i <= 100; i++)
		add_total(&stats, 101 - i, true);
	ck_assert(probe_stats_figures(&stats, PHASE_TOTAL, &have));
	ck_assert_int_eq(have.p95_us, 95000);
	ck_assert_int_eq(have.p99_us, 99000);
	json_start(&w, &text);
	probe_stats_write(&w, &stats);
	has(text.data, "{\"sent\":100,\"lost\":0,\"loss_percent\":0.00,\"phases\":{\"total\":{\"min\":0.001,");
	probe_stats_done(&stats);
}
END_TEST

/* The whole command */

static struct {
	char *out;
	char *err;
	int listener;
	uint16_t port;
	pthread_t thread;
} f;

/* Greets like a mail server without TLS, one client after the other, until a connection says nothing. */
static void *serve(void *arg)
{
	static const char greeting[] = "220 mail.example.com ESMTP\r\n";
	int fd;

	(void)arg;
	while ((fd = accept(f.listener, NULL, NULL)) >= 0) {
		char buffer[256];

		if (send(fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL) > 0)
			while (recv(fd, buffer, sizeof(buffer), 0) > 0)
				if (send(fd, "250 hello\r\n", 11, MSG_NOSIGNAL) < 0)
					break;
		close(fd);
	}
	return NULL;
}

static void set_up(void)
{
	struct sockaddr_storage sockaddr;
	struct address address;
	socklen_t bytes;

	memset(&f, 0, sizeof(f));
	ck_assert(address_from_literal("127.0.0.1", 0, &address));
	bytes = address_to_sockaddr(&address, &sockaddr);
	f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(f.listener, (const struct sockaddr *)&sockaddr, bytes), 0);
	ck_assert_int_eq(listen(f.listener, 8), 0);
	bytes = sizeof(sockaddr);
	ck_assert_int_eq(getsockname(f.listener, (struct sockaddr *)&sockaddr, &bytes), 0);
	ck_assert(address_from_sockaddr((const struct sockaddr *)&sockaddr, &address));
	f.port = address.port;
	ck_assert_int_eq(pthread_create(&f.thread, NULL, serve, NULL), 0);
}

static void tear_down(void)
{
	shutdown(f.listener, SHUT_RDWR);
	pthread_join(f.thread, NULL);
	close(f.listener);
	free(f.out);
	free(f.err);
}

static const char *no_variable(const char *name, void *arg)
{
	(void)name;
	(void)arg;
	return NULL;
}

/* `line` is split at blanks; "@" is the server, "_" within a word a blank. */
static int run_line(const char *line)
{
	AUTO(string) char *text = mem_strdup(line);
	AUTO(string) char *server = mem_printf("127.0.0.1:%u", (unsigned)f.port);
	char *args[ARGS_MAX] = { (char *)"portbell" };
	struct cli_io io = {
		.variable = no_variable, .version = "1.2.3", .config_file = "/nowhere/portbell.yaml",
		.socket = "/nowhere/control.sock",
	};
	size_t out_bytes, err_bytes;
	char *rest = NULL;
	int count = 1;
	int result;

	free(f.out);
	free(f.err);
	for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		ck_assert_int_lt(count, ARGS_MAX);
		args[count++] = strcmp(word, "@") == 0 ? server : word;
		for (char *p = word; (p = strchr(p, '_')) != NULL;)
			*p = ' ';
	}
	io.out = open_memstream(&f.out, &out_bytes);
	io.err = open_memstream(&f.err, &err_bytes);
	result = (int)cli_main(&io, count, args);
	fclose(io.out);
	fclose(io.err);
	return result;
}

static const struct {
	const char *line;
	int result;
	const char *out; /* a part of it; "": nothing was printed */
	const char *err;
} lines[] = {
	{ "probe @", 0, "ok  127.0.0.1:", "" },
	{ "probe -q @", 0, "", "" },
	{ "probe --json @", 0, "\"level\":\"ok\"", "" },
	{ "probe --nagios @", 0, "TCP OK - 127.0.0.1:", "" },
	{ "probe 127.0.0.1:1", 2, "critical  127.0.0.1:1  connection refused\n", "" },
	{ "probe --nagios 127.0.0.1:1", 2, "TCP CRITICAL - 127.0.0.1:1 connection refused", "" },
	{ "probe --all 127.0.0.1:1", 2, "connection refused", "" },
	{ "probe --warning 1h @", 0, "ok  ", "" },
	{ "probe --expect ^220_ @", 0, "exchange", "" },
	{ "probe --expect ^220_ --send EHLO_me\\r\\n --expect ^250 @", 0, "ok  ", "" },
	{ "probe --expect ^220_ --send x\\x0d\\n --expect ^550 --timeout 300ms @", 2, "step 3, expect \"^550\"", "" },
	{ "probe --trace --expect ^220_ --send EHLO_me\\r\\n --expect ^250 @", 0, "ok  ", "> EHLO me\\x0d\\x0a\n" },
	{ "probe --json --trace --tls @", 2, "{\"target\":", "> ClientHello, " },
	{ "probe --trace shop", 3, "", "--trace goes with HOST:PORT" },
	{ "probe --tls @", 2, "TLS handshake failed", "" },
	{ "probe --verify off @", 2, "TLS handshake failed", "" },
	{ "probe --starttls smtp @", 2, "STARTTLS not offered", "" },
	{ "probe --proxy http://127.0.0.1:1 @", 2, "proxy", "" },
	{ "probe --count 3 --interval 10ms @", 0, ": 3 sent, 0 lost (0.0 %)\n", "" },
	{ "probe --count 2 --interval 10ms 127.0.0.1:1", 2, ": 2 sent, 2 lost (100.0 %)\n", "" },
	{ "probe --json --count 2 --interval 10ms @", 0, "\"summary\":{\"sent\":2,\"lost\":0,", "" },
	/* Usage is 3, as a plugin's. */
	{ "probe", 3, "", "probe needs HOST:PORT | NAME" },
	{ "probe a:1 b:1", 3, "", "one word too many" },
	{ "probe --bogus a:1", 3, "", "unknown option --bogus" },
	{ "probe --retry 1 a:1", 3, "", "probe does not take --retry" },
	{ "probe 127.0.0.1:0", 3, "", "127.0.0.1:0: " },
	{ "probe --timeout 5 @", 3, "", "--timeout: a duration needs a unit" },
	{ "probe --timeout 8d @", 3, "", "--timeout: " },
	{ "probe --verify none @", 3, "", "--verify: must be one of full, chain, off" },
	{ "probe --starttls gopher @", 3, "", "--starttls: " },
	{ "probe --ca-file /nowhere/ca.pem @", 3, "", "--ca-file: /nowhere/ca.pem: No such file or directory" },
	{ "probe --ca-file /etc/passwd @", 3, "", "--ca-file: " },
	{ "probe --proxy gopher://x @", 3, "", "--proxy: not a proxy" },
	{ "probe --server-name a_b @", 3, "", "--server-name: " },
	{ "probe --expect ( @", 3, "", "--expect: not a regular expression" },
	{ "probe --send \\q @", 3, "", "--send: a backslash stands before" },
	{ "probe --cert-warning soon @", 3, "", "--cert-warning: not a duration" },
	{ "probe --cert-critical 60d @", 3, "", "--cert-critical: warning must not come later than critical" },
	{ "probe --warning 2s --critical 1s @", 3, "", "--critical: critical must be longer than warning" },
	{ "probe --warning 2 --critical 1 @", 3, "", "portbell: --warning: a duration needs a unit" },
	{ "probe --warning 2 --critical 1 @", 3, "", "portbell: --critical: a duration needs a unit" },
	{ "probe --count 0 @", 3, "", "--count: a whole number from 1" },
	{ "probe --interval 1ms @", 3, "", "--interval: at least 10ms" },
	{ "probe -4 -6 @", 3, "", "--ipv4 and --ipv6 do not go together" },
	{ "probe --no-tls --verify off @", 3, "", "--no-tls and --verify do not go together" },
	{ "probe --profile web @", 3, "", "/nowhere/portbell.yaml: cannot be opened" },
	{ "probe --color pink @", 3, "", "--color is auto" },
	{ "probe --nagios --timeout 5 @", 3, "TCP UNKNOWN - --timeout: a duration needs a unit", "" },
	{ "probe --nagios --count 2 @", 3, "", "do not go together" },
	{ "probe shop", 3, "", "the daemon is not running" },
	{ "probe --nagios shop", 3, "TCP UNKNOWN - ", "the daemon is not running" },
	{ "probe --timeout 5s shop", 3, "", "--timeout goes with HOST:PORT; the daemon probes \"shop\"" },
	{ "probe --expect x shop", 3, "", "--expect goes with HOST:PORT" },
	{ "probe --help", 0, "Usage: portbell probe", "" },
};

START_TEST(a_line)
{
	ck_assert_msg(run_line(lines[_i].line) == lines[_i].result, "%s:\n%s%s", lines[_i].line, f.out, f.err);
	if (lines[_i].out[0] != '\0')
		has(f.out, lines[_i].out);
	else
		ck_assert_str_eq(f.out, "");
	if (lines[_i].err[0] != '\0')
		has(f.err, lines[_i].err);
	else
		ck_assert_str_eq(f.err, "");
	has_not(f.out, "\033");
}
END_TEST

/* What the file says of profiles and defaults counts; what else is in it is not looked at. */
static const struct {
	const char *yaml;
	const char *line; /* "%" is the file */
	int result;
	const char *out;
	const char *err;
} files[] = {
	{ "profiles: {web: {expect_reason: [connect_refused]}}\n", "probe -c % --profile web 127.0.0.1:1", 0, "ok  ", "" },
	{ "defaults: {expect_reason: [connect_refused]}\n", "probe -c % 127.0.0.1:1", 0, "ok  ", "" },
	{ "profiles: {web: {send_to: [mail]}}\nsenders: {mail: {type: email, password_file: /nowhere/secret}}\n"
	  "targets: [{name: x}]\n", "probe -c % --profile web @", 0, "ok  ", "" },
	{ "profiles: {web: {tls: on, certificate: {revocation: crl}}}\n", "probe -c % --profile web 127.0.0.1:1", 2,
	  "critical  ", "certificate.revocation: crl is asked by the daemon only\n" },
	{ "profiles: {web: {timeout: 5}}\n", "probe -c % --profile web @", 3, "", "profiles.web.timeout: a duration needs" },
	{ "profiles: {web: {group: x}}\n", "probe -c % --profile wep @", 3, "",
	  "--profile: there is no profile \"wep\" (did you mean \"web\"?)" },
	{ "profiles: {web: {exchange: [{expect: '^220'}, {send: \"PASS secret\\r\\n\"}, {expect: '^250'}]}}\n",
	  "probe -c % --trace --profile web @", 0, "ok  ", "exchange     > (13 bytes, hidden)\n" },
	{ "profiles: {web: {tls: off}}\n", "probe -c % --profile web --verify off @", 3, "", "--tls if there is" },
	{ "profiles: {web: {tls: on}}\n", "probe -c % --profile web --no-tls @", 0, "ok  ", "" },
	{ "profiles: {web: {timeout: 4s, interval: 5s}}\n", "probe -c % --profile web --json @", 0, "\"timeout\":4", "" },
	{ "profiles: {web: {timeout: 4s, interval: 5s}}\n", "probe -c % --profile web --timeout 9s --json @", 0,
	  "\"timeout\":9", "" },
	{ "profiles: {web: {latency: {warning: 1ms, phase: dns}}}\n", "probe -c % --profile web --critical 1h --json @", 0,
	  "\"phase\":\"total\",\"warning\":0.001,\"critical\":3600", "" },
};

START_TEST(a_profile)
{
	char path[] = "/tmp/portbell-probe-XXXXXX";
	AUTO(str) struct str line = { 0 };
	const char *percent = strchr(files[_i].line, '%');
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, files[_i].yaml, strlen(files[_i].yaml)), (ssize_t)strlen(files[_i].yaml));
	close(fd);
	str_add_bytes(&line, files[_i].line, (size_t)(percent - files[_i].line));
	str_addf(&line, "%s%s", path, percent + 1);
	ck_assert_msg(run_line(line.data) == files[_i].result, "%s\n%s%s", files[_i].yaml, f.out, f.err);
	has(f.out, files[_i].out);
	has(f.err, files[_i].err);
	has_not(f.err, "secret");
	unlink(path);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_probe, 0, (int)COUNT(probes));
	tcase_add_test(tcase, a_chain_is_judged_as_a_client_builds_it);
	tcase_add_test(tcase, what_an_authority_said_is_told);
	tcase_add_test(tcase, a_page_with_all_that_a_terminal_can);
	tcase_add_test(tcase, a_waterfall_stands_where_time_went);
	tcase_add_test(tcase, a_page_of_odd_values);
	tcase_add_loop_test(tcase, a_trace, 0, (int)COUNT(traces));
	tcase_add_test(tcase, a_flood_is_cut);
	tcase_add_loop_test(tcase, figures, 0, (int)COUNT(series));
	tcase_add_test(tcase, ninety_nine_of_a_hundred);
	tcase_add_loop_test(tcase, a_line, 0, (int)COUNT(lines));
	tcase_add_loop_test(tcase, a_profile, 0, (int)COUNT(files));
}

int main(void)
{
	Suite *suite = suite_create("cli_probe");
	TCase *tcase = tcase_create("cli_probe");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
