/* SPDX-License-Identifier: MIT */
#include "daemon/cli/probe_page.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "daemon/cli/table.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/words.h"

enum { MARGIN = 2, LABEL = 10, TIME = 9, BAR_MIN = 10, EIGHTHS = 8, TEXT_MAX_BYTES = 1024, NAMES_SHOWN = 12 };

struct page {
	struct str *out;
	const struct page_style *style;
	const struct json *probe;
};

/* What often is behind a reason. */
static const char *const hints[REASON_COUNT] = {
	[REASON_DNS_NOT_FOUND] =
		"the name has no address: a typo, or its record is gone (search domains are not used)",
	[REASON_DNS_TIMEOUT] =
		"no name server answered: the trouble may be with the resolver, not with the target",
	[REASON_DNS_FAILED] =
		"the name servers have trouble with this name: its zone or its signatures may be broken",
	[REASON_CONNECT_REFUSED] = "the host is there, but nothing listens on this port, or a firewall rejects it",
	[REASON_CONNECT_TIMEOUT] = "no answer at all: a firewall that drops, a host that is down, or no way back",
	[REASON_CONNECT_UNREACHABLE] = "a router, or the host itself, says that there is no way there",
	[REASON_CONNECT_RESET] = "what listens there, or a firewall before it, cut the connection",
	[REASON_STARTTLS_NOT_OFFERED] =
		"its certificate or key may not have been loaded; --no-tls looks at the port alone",
	[REASON_STARTTLS_PROTOCOL] =
		"another protocol may live on this port: --starttls names it, --no-tls asks for none",
	[REASON_STARTTLS_TIMEOUT] =
		"another protocol may live on this port: --starttls names it, --tls begins with TLS",
	[REASON_TLS_PROTOCOL] =
		"this may not be TLS: --starttls PROTOCOL where it begins later, --no-tls for the port alone",
	[REASON_TLS_TIMEOUT] =
		"this may not be TLS: --starttls PROTOCOL where it begins later, --no-tls for the port alone",
	[REASON_TLS_CLOSED] = "the server may want another name (--server-name), or not speak TLS here",
	[REASON_OPEN_UNEXPECTEDLY] = "something listens where nothing should",
	[REASON_CERT_EXPIRED] = "if it was renewed already, the server has not loaded the new one",
	[REASON_CERT_EXPIRING] = "if it was renewed already, the server has not loaded the new one",
	[REASON_CERT_NOT_YET_VALID] =
		"its time begins later, or a clock is wrong: the server's when it was made, or ours",
	[REASON_CERT_UNTRUSTED] =
		"an authority not known here (--ca-file), or an intermediate that the server does not send",
	[REASON_CERT_SELF_SIGNED] = "nobody vouches for it; --ca-file with this very certificate trusts it",
	[REASON_CERT_HOSTNAME] = "the names it is for are below; --server-name asks for another",
	[REASON_LOCAL_ERROR] = "this says nothing about the target",
};

/* Text */

static const char *text_of(const struct json *object, const char *key)
{
	const char *text = json_get_string(object, key);

	return text != NULL ? text : "";
}

static enum level level_of(const struct json *object)
{
	enum level level = LEVEL_UNKNOWN;

	level_parse(json_get_string(object, "level"), &level);
	return level;
}

static enum reason reason_of(const struct json *object)
{
	enum reason reason = REASON_NO_DATA;

	reason_parse(json_get_string(object, "reason"), &reason);
	return reason;
}

static int64_t us_of(const struct json *object, const char *key)
{
	const double seconds = json_get_number(object, key, -1);

	return seconds >= 0 && seconds < 1e12 ? (int64_t)(seconds * 1e6 + 0.5) : -1;
}

static void add_times(struct page *page, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		str_add(page->out, text);
}

static void add_styled(struct page *page, enum table_style style, const char *text)
{
	const bool styled = page->style->color && style != TABLE_PLAIN;

	str_add(page->out, styled ? table_escape(style) : "");
	str_add(page->out, text);
	str_add(page->out, styled ? table_normal() : "");
}

/* How many bytes of `text` fit into so many columns: up to a blank, if there is one in a good place. */
static size_t fitting_bytes(const char *text, size_t columns)
{
	size_t width = 0, end = 0, blank = 0;

	while (text[end] != '\0') {
		size_t bytes = str_utf8(text + end, strlen(text + end), &(uint32_t){ 0 });
		AUTO(string) char *one = mem_strndup(text + end, bytes > 0 ? bytes : 1);

		if (text[end] == ' ' && end > 0)
			blank = end;
		width += table_width(one);
		if (width > columns)
			return blank > end / 2 ? blank : end > 0 ? end : strlen(one);
		end += strlen(one);
	}
	return end;
}

/* Begins at column `at`; further lines begin at `hang`. Ends the line. What strangers wrote is cleaned here. */
static void add_wrapped(struct page *page, size_t at, size_t hang, enum table_style style, const char *text)
{
	AUTO(string) char *clean = str_clean(text, strlen(text), TEXT_MAX_BYTES);
	const char *rest = clean;
	const size_t columns = page->style->columns;

	do {
		size_t bytes = fitting_bytes(rest, columns > at ? columns - at : 1);
		AUTO(string) char *line = mem_strndup(rest, bytes);

		add_styled(page, style, line);
		str_add_char(page->out, '\n');
		rest += bytes;
		rest += strspn(rest, " ");
		if (*rest != '\0')
			add_times(page, " ", hang);
		at = hang;
	} while (*rest != '\0');
}

static void add_fact(struct page *page, const char *label, enum table_style style, const char *text)
{
	add_times(page, " ", MARGIN);
	str_addf(page->out, "%-*s", LABEL, label);
	add_wrapped(page, MARGIN + LABEL, MARGIN + LABEL, style, text);
}

/* How many columns it took. */
static size_t add_mark(struct page *page, enum level level)
{
	if (!page->style->signs)
		return 0;
	add_styled(page, table_level_style(level), table_level_sign(level));
	return table_width(table_level_sign(level));
}

/* The verdict */

static void add_headline(struct page *page)
{
	const enum level level = level_of(page->probe);
	AUTO(str) struct str words = { 0 };

	str_addf(&words, "%s  ", text_of(page->probe, "target"));
	if (level == LEVEL_OK)
		str_add_duration(&words, us_of(json_get(page->probe, "phases"), "total"));
	else
		str_add(&words, text_of(page->probe, "text"));

	const size_t mark = add_mark(page, level);

	add_styled(page, table_level_style(level), level_name(level));
	add_times(page, " ", MARGIN);
	add_wrapped(page, mark + strlen(level_name(level)) + MARGIN, MARGIN, TABLE_PLAIN, words.data);
}

/* "12 d left", "expired 3 h 2 min ago". */
static void add_left(struct str *text, const struct json *certificate, int64_t now_us)
{
	int64_t begin_us, end_us;

	if (table_parse_time(json_get_string(certificate, "not_before"), &begin_us) && begin_us > now_us) {
		str_add(text, "valid only in ");
		str_add_duration(text, (begin_us - now_us) / US_PER_S * US_PER_S);
	} else if (!table_parse_time(json_get_string(certificate, "not_after"), &end_us)) {
		str_add(text, "end not known");
	} else if (end_us < now_us) {
		str_add(text, "expired ");
		str_add_duration(text, (now_us - end_us) / US_PER_S * US_PER_S);
		str_add(text, " ago");
	} else {
		str_add_duration(text, (end_us - now_us) / US_PER_S * US_PER_S);
		str_add(text, " left");
	}
}

static int64_t now_of(const struct page *page)
{
	int64_t now_us = 0;

	table_parse_time(json_get_string(page->probe, "at"), &now_us);
	return now_us;
}

static const struct json *check_of(const struct page *page, enum check check)
{
	return json_get(json_get(page->probe, "checks"), check_name(check));
}

/* No phase is to blame. */
static bool ends_well(const struct page *page)
{
	return level_of(check_of(page, CHECK_AVAILABILITY)) == LEVEL_OK ||
	       str_equal(json_get_string(page->probe, "phase"), phase_name(PHASE_TOTAL));
}

/* The connection: in which phase it ended, when, and in whose words. */
static void explain_availability(struct page *page, struct str *text)
{
	const int64_t total_us = us_of(json_get(page->probe, "phases"), "total");
	const char *detail = json_get_string(page->probe, "detail");

	if (!ends_well(page))
		str_addf(text, "in phase %s", text_of(page->probe, "phase"));
	if (total_us >= 0) {
		str_add(text, text->bytes > 0 ? " after " : "after ");
		str_add_duration(text, total_us);
	}
	if (detail != NULL)
		str_addf(text, ": %s", detail);
}

static void explain_latency(struct page *page, struct str *text)
{
	const struct json *check = check_of(page, CHECK_LATENCY);
	const char *phase = text_of(check, "phase");

	str_addf(text, "%s took ", phase);
	str_add_duration(text, us_of(json_get(page->probe, "phases"), phase));
	str_addf(text, "; %s from ", level_name(level_of(check)));
	str_add_duration(text, us_of(check, level_name(level_of(check))));
}

static void explain_expiry_of(struct page *page, const struct json *certificates, struct str *text)
{
	const struct json *check = check_of(page, CHECK_CERTIFICATE);

	for (size_t i = 0; i < json_size(certificates); i++) {
		const struct json *certificate = json_at(certificates, i);

		if (level_of(certificate) != level_of(check))
			continue;
		add_left(text, certificate, now_of(page));
		str_addf(text, " (%.10s): %s", text_of(certificate, "not_after"), text_of(certificate, "subject"));
		if (reason_of(check) != REASON_CERT_EXPIRING || i > 0)
			return;
		str_addf(text, "; %s below ", level_name(level_of(check)));
		str_add_duration(text, us_of(check, level_name(level_of(check))));
		return;
	}
}

static void explain_certificate(struct page *page, struct str *text)
{
	const struct json *tls = json_get(page->probe, "tls");
	const enum reason reason = reason_of(check_of(page, CHECK_CERTIFICATE));

	if (reason == REASON_CERT_EXPIRED || reason == REASON_CERT_EXPIRING)
		explain_expiry_of(page, json_get(page->probe, "certificates"), text);
	if (text->bytes == 0 && (reason == REASON_CERT_EXPIRED || reason == REASON_CERT_EXPIRING))
		explain_expiry_of(page, json_get(page->probe, "verified_chain"), text);
	if (reason == REASON_CERT_WEAK_KEY || reason == REASON_CERT_WEAK_SIGNATURE)
		str_add(text, json_get_string(tls, "weak_text"));
	if (reason == REASON_CERT_REVOKED || reason == REASON_CERT_REVOCATION_UNKNOWN)
		str_add(text, json_get_string(tls, "revocation_text"));
	if (text->bytes == 0 && (reason == REASON_CERT_REVOKED || reason == REASON_CERT_REVOCATION_UNKNOWN))
		str_add(text, json_get_string(tls, "staple_text"));
	if (text->bytes == 0)
		str_add(text, json_get_string(tls, "verify_text"));
}

static void explain_tls(struct page *page, struct str *text)
{
	str_add(text, json_get_string(json_get(page->probe, "tls"), "tls_text"));
}

/* What the headline has said already is not said again. */
static void add_reason(struct page *page, enum check check, const char *explanation)
{
	const struct json *verdict = check_of(page, check);
	const bool known = str_equal(json_get_string(page->probe, "check"), check_name(check));
	AUTO(str) struct str text = { 0 };

	if (!known)
		str_addf(&text, "%s %s: %s", check_name(check), level_name(level_of(verdict)),
			 reason_text(reason_of(verdict)));
	if (explanation != NULL)
		str_addf(&text, "%s%s", known ? "" : ", ", explanation);
	if (text.bytes == 0)
		return;
	add_times(page, " ", MARGIN);
	add_wrapped(page, MARGIN, 2 * MARGIN, TABLE_PLAIN, text.data);
}

/* A line for each check that is not well, and what may be behind it. */
static void add_reasons(struct page *page)
{
	static void (*const explain[CHECK_COUNT])(struct page *page, struct str *text) = {
		[CHECK_AVAILABILITY] = explain_availability,
		[CHECK_LATENCY] = explain_latency,
		[CHECK_CERTIFICATE] = explain_certificate,
		[CHECK_TLS] = explain_tls,
	};

	for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++) {
		const struct json *verdict = check_of(page, check);
		const enum reason reason = reason_of(verdict);
		AUTO(str) struct str text = { 0 };

		if (verdict == NULL || level_of(verdict) == LEVEL_OK)
			continue;
		if (explain[check] != NULL)
			explain[check](page, &text);
		add_reason(page, check, text.data);
		if (hints[reason] == NULL)
			continue;
		add_times(page, " ", 2 * MARGIN);
		add_wrapped(page, 2 * MARGIN, 2 * MARGIN, TABLE_DIM, hints[reason]);
	}
}

/* A failure that the configuration expects: "connection refused, as expected". */
static void add_expected(struct page *page)
{
	const char *detail = json_get_string(page->probe, "detail");

	if (detail == NULL || level_of(check_of(page, CHECK_AVAILABILITY)) != LEVEL_OK)
		return;
	add_times(page, " ", MARGIN);
	add_wrapped(page, MARGIN, 2 * MARGIN, TABLE_PLAIN, detail);
}

/* The waterfall */

static void add_bar(struct page *page, int64_t from_us, int64_t took_us, int64_t all_us, enum table_style style)
{
	static const char *const parts[EIGHTHS] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	const size_t room = page->style->columns - MARGIN - LABEL - TIME - MARGIN;
	const int64_t width = (int64_t)(page->style->columns > room + BAR_MIN ? room : BAR_MIN) * EIGHTHS;
	const int64_t begin = from_us * width / all_us / EIGHTHS;
	int64_t length = (from_us + took_us) * width / all_us - begin * EIGHTHS;
	AUTO(str) struct str bar = { 0 };

	if (begin * EIGHTHS >= width)
		return;
	if (length < 1)
		length = 1;
	if (length > width - begin * EIGHTHS)
		length = width - begin * EIGHTHS;
	add_times(page, " ", MARGIN + (size_t)begin);
	for (int64_t cell = page->style->blocks ? length / EIGHTHS : (length + EIGHTHS - 1) / EIGHTHS; cell > 0;
	     cell--)
		str_add(&bar, page->style->blocks ? "█" : "#");
	if (page->style->blocks)
		str_add(&bar, parts[length % EIGHTHS]);
	add_styled(page, style, bar.data);
}

static void add_phase(struct page *page, enum phase phase, int64_t from_us, int64_t took_us, int64_t all_us)
{
	const bool failed = str_equal(json_get_string(page->probe, "phase"), phase_name(phase)) && !ends_well(page);
	AUTO(str) struct str time = { 0 };

	str_add_duration(&time, took_us);
	if (failed)
		add_styled(page, TABLE_BAD, page->style->signs ? table_level_sign(LEVEL_CRITICAL) : "! ");
	else
		add_times(page, " ", MARGIN);
	str_addf(page->out, "%-*s%*s", LABEL, phase_name(phase), TIME, time.data);
	if (phase != PHASE_TOTAL)
		add_bar(page, from_us, took_us, all_us, failed ? TABLE_BAD : TABLE_GOOD);
	str_add_char(page->out, '\n');
}

static void add_waterfall(struct page *page)
{
	const struct json *phases = json_get(page->probe, "phases");
	int64_t took_us[PHASE_COUNT];
	int64_t all_us = 0, from_us = 0;

	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++) {
		took_us[phase] = us_of(phases, phase_name(phase));
		if (phase != PHASE_TOTAL && took_us[phase] > 0)
			all_us += took_us[phase];
	}
	if (took_us[PHASE_TOTAL] > all_us)
		all_us = took_us[PHASE_TOTAL];
	str_add_char(page->out, '\n');
	for (enum phase phase = PHASE_DNS; phase < PHASE_COUNT; phase++) {
		if (took_us[phase] < 0)
			continue;
		add_phase(page, phase, from_us, took_us[phase], all_us > 0 ? all_us : 1);
		from_us += took_us[phase];
	}
}

/* What answered */

static void add_address(struct page *page, const struct json *address, size_t width)
{
	const enum reason reason = reason_of(address);
	const enum level level = reason == REASON_OK ? LEVEL_OK : LEVEL_CRITICAL;
	const char *detail = json_get_string(address, "detail");
	AUTO(str) struct str text = { 0 };

	str_add(&text, reason_text(reason));
	if (us_of(address, "total") >= 0) {
		str_add(&text, reason == REASON_OK ? ", " : " after ");
		str_add_duration(&text, us_of(address, "total"));
	}
	if (detail != NULL)
		str_addf(&text, ": %s", detail);
	add_times(page, " ", 2 * MARGIN);
	const size_t mark = add_mark(page, level);

	str_addf(page->out, "%-*s", (int)(width + MARGIN), text_of(address, "address"));
	add_wrapped(page, 2 * MARGIN + mark + width + MARGIN, 4 * MARGIN, table_level_style(level), text.data);
}

static void add_addresses(struct page *page)
{
	const struct json *addresses = json_get(page->probe, "addresses");
	const char *address = json_get_string(page->probe, "address");
	size_t width = 0;

	if (json_size(addresses) < 2) {
		if (address != NULL)
			add_fact(page, "address", TABLE_PLAIN, address);
		return;
	}
	str_addf(page->out, "%*saddresses\n", MARGIN, "");
	for (size_t i = 0; i < json_size(addresses); i++) {
		const size_t own = strlen(text_of(json_at(addresses, i), "address"));

		width = own > width ? own : width;
	}
	for (size_t i = 0; i < json_size(addresses); i++)
		add_address(page, json_at(addresses, i), width);
}

static void add_network(struct page *page)
{
	const int64_t retransmits = json_get_int(page->probe, "retransmits", 0);
	const int64_t rtt_us = us_of(page->probe, "rtt");
	AUTO(str) struct str text = { 0 };

	if (rtt_us >= 0) {
		str_add(&text, "round trip ");
		str_add_duration(&text, rtt_us);
		str_addf(&text, ", %" PRId64 " bytes sent, %" PRId64 " received",
			 json_get_int(page->probe, "bytes_sent", 0),
			 json_get_int(page->probe, "bytes_received", 0));
	}
	if (retransmits > 0)
		str_addf(&text, "%s%" PRId64 " sent again: packets are lost", text.bytes > 0 ? ", " : "",
			 retransmits);
	if (text.bytes > 0)
		add_fact(page, "network", retransmits > 0 ? TABLE_WARNING : TABLE_PLAIN, text.data);
}

static void add_part(struct str *text, const char *before, const char *part)
{
	if (part != NULL)
		str_addf(text, "%s%s%s", text->bytes > 0 ? ", " : "", before, part);
}

static void add_trust(struct page *page, const struct json *tls)
{
	const char *verify = text_of(tls, "verify");
	const char *verdict = json_get_string(tls, "verdict");
	const char *words = json_get_string(tls, "verify_text");
	enum reason reason = REASON_OK;
	AUTO(str) struct str text = { 0 };

	if (verdict == NULL || !reason_parse(verdict, &reason))
		return;
	if (strcmp(verify, "off") == 0)
		str_add(&text, "not verified (verify: off)");
	else if (reason != REASON_OK)
		str_addf(&text, "refused: %s%s%s", reason_text(reason), words != NULL ? ": " : "",
			 words != NULL ? words : "");
	else if (strcmp(verify, "chain") == 0)
		str_add(&text, "trusted; the name was not looked at (verify: chain)");
	else
		str_addf(&text, "trusted as %s", text_of(tls, "server_name"));
	add_fact(page, "verdict", reason != REASON_OK ? TABLE_BAD : TABLE_PLAIN, text.data);
}

static void add_tls(struct page *page)
{
	const struct json *tls = json_get(page->probe, "tls");
	AUTO(str) struct str text = { 0 };

	if (json_get_string(tls, "version") == NULL)
		return;
	add_part(&text, "", json_get_string(tls, "version"));
	add_part(&text, "", json_get_string(tls, "cipher"));
	add_part(&text, "group ", json_get_string(tls, "group"));
	add_part(&text, "ALPN ", json_get_string(tls, "alpn"));
	add_part(&text, "after STARTTLS of ", json_get_string(tls, "starttls"));
	if (json_get_bool(tls, "client_certificate_asked", false))
		add_part(&text, "", "asks for a client certificate");
	add_fact(page, "tls", TABLE_PLAIN, text.data);
	add_trust(page, tls);
}

/* The certificates */

static void add_names(struct page *page, const struct json *certificate, size_t indent)
{
	const struct json *sans = json_get(certificate, "sans");
	const int64_t total = json_get_int(certificate, "san_total", (int64_t)json_size(sans));
	const size_t shown = json_size(sans) < NAMES_SHOWN ? json_size(sans) : NAMES_SHOWN;
	AUTO(str) struct str text = { 0 };

	for (size_t i = 0; i < shown; i++) {
		const char *name = json_text(json_at(sans, i));

		if (name != NULL)
			add_part(&text, "", str_starts(name, "DNS:") ? name + 4 : name);
	}
	if (total > (int64_t)shown)
		str_addf(&text, " and %" PRId64 " more", total - (int64_t)shown);
	if (text.bytes == 0)
		return;
	str_addf(page->out, "%*sfor ", (int)indent, "");
	add_wrapped(page, indent + 4, indent + 4, TABLE_PLAIN, text.data);
}

static void add_certificate(struct page *page, const struct json *certificate, size_t depth)
{
	const size_t indent = 2 * MARGIN + MARGIN * depth;
	AUTO(str) struct str text = { 0 };

	add_times(page, " ", indent - MARGIN);
	str_add(page->out, depth == 0 ? "" : page->style->blocks ? "└ " : "`-");
	if (depth == 0)
		add_times(page, " ", MARGIN);
	add_wrapped(page, indent, indent + MARGIN, TABLE_PLAIN, text_of(certificate, "subject"));
	add_left(&text, certificate, now_of(page));
	str_addf(&text, " (%.10s to %.10s)", text_of(certificate, "not_before"),
		 text_of(certificate, "not_after"));
	add_part(&text, "", json_get_string(certificate, "key"));
	add_part(&text, "", json_get_string(certificate, "signature"));
	if (!json_get_bool(certificate, "needed", true))
		add_part(&text, "", "not needed");
	if (!json_get_bool(certificate, "sent", true))
		add_part(&text, "", "not sent, known here");
	add_times(page, " ", indent);
	add_wrapped(page, indent, indent,
		    level_of(certificate) == LEVEL_OK ? TABLE_PLAIN : table_level_style(level_of(certificate)),
		    text.data);
	if (depth == 0)
		add_names(page, certificate, indent);
}

static void add_root(struct page *page, const struct json *last, size_t depth)
{
	const size_t indent = 2 * MARGIN + MARGIN * depth;
	const char *issuer = text_of(last, "issuer");
	const bool self = strcmp(issuer, text_of(last, "subject")) == 0;
	AUTO(string) char *text = mem_printf("%s%s", self ? "signed by itself" : "signed by ", self ? "" : issuer);

	add_times(page, " ", indent);
	add_wrapped(page, indent, indent + MARGIN, TABLE_DIM, text);
}

static void add_certificates(struct page *page)
{
	const struct json *certificates = json_get(page->probe, "certificates");
	const struct json *verified = json_get(page->probe, "verified_chain");
	const size_t count = json_size(certificates);
	const int64_t total = json_get_int(page->probe, "certificates_total", 0);

	if (count == 0)
		return;
	str_addf(page->out, "\n%*scertificates\n", MARGIN, "");
	for (size_t i = 0; i < count; i++)
		add_certificate(page, json_at(certificates, i), i);
	if (total > (int64_t)count)
		str_addf(page->out, "%*sand %" PRId64 " more\n", 2 * MARGIN, "", total - (int64_t)count);
	if (json_size(verified) == 0) {
		add_root(page, json_at(certificates, count - 1), count - 1);
		return;
	}
	for (size_t i = 0, depth = count; i < json_size(verified); i++)
		if (!json_get_bool(json_at(verified, i), "sent", false))
			add_certificate(page, json_at(verified, i), depth++);
}

void probe_page(struct str *out, const struct json *probe, const struct page_style *style)
{
	struct page page = { .out = out, .style = style, .probe = probe };

	add_headline(&page);
	add_expected(&page);
	add_reasons(&page);
	add_waterfall(&page);
	str_add_char(out, '\n');
	add_addresses(&page);
	add_network(&page);
	add_tls(&page);
	add_certificates(&page);
}

void probe_line(struct str *out, const struct json *probe, size_t number, const struct page_style *style)
{
	struct page page = { .out = out, .style = style, .probe = probe };
	const enum level level = level_of(probe);
	const struct json *phases = json_get(probe, "phases");
	const char *address = json_get_string(probe, "address");
	AUTO(str) struct str text = { 0 };
	AUTO(str) struct str total = { 0 };

	str_add_duration(&total, us_of(phases, "total"));
	str_addf(out, "%4zu  ", number);
	const size_t mark = add_mark(&page, level);

	str_add(out, page.style->color ? table_escape(table_level_style(level)) : "");
	str_addf(out, "%-8s", level_name(level));
	str_add(out, page.style->color ? table_normal() : "");
	str_addf(out, " %*s  ", TIME, total.data);
	if (level != LEVEL_OK)
		str_addf(&text, "%s (%s)", text_of(probe, "text"), text_of(probe, "phase"));
	for (enum phase phase = PHASE_DNS; phase < PHASE_TOTAL && level == LEVEL_OK; phase++) {
		if (us_of(phases, phase_name(phase)) < 0)
			continue;
		str_addf(&text, "%s%s ", text.bytes > 0 ? ", " : "", phase_name(phase));
		str_add_duration(&text, us_of(phases, phase_name(phase)));
	}
	if (address != NULL)
		str_addf(&text, "%s%s", text.bytes > 0 ? "  " : "", address);
	add_wrapped(&page, 6 + mark + 9 + TIME + 2, 12, TABLE_PLAIN, text.data);
}
