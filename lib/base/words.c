/* SPDX-License-Identifier: MIT */
#include "lib/base/words.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const char *const level_names[LEVEL_COUNT] = {
	[LEVEL_OK] = "ok", [LEVEL_WARNING] = "warning", [LEVEL_UNKNOWN] = "unknown", [LEVEL_CRITICAL] = "critical",
};

static const char *const level_shouts[LEVEL_COUNT] = {
	[LEVEL_OK] = "OK", [LEVEL_WARNING] = "WARNING", [LEVEL_UNKNOWN] = "UNKNOWN", [LEVEL_CRITICAL] = "CRITICAL",
};

static const char *const state_names[STATE_COUNT] = {
	[STATE_PENDING] = "pending", [STATE_ACTIVE] = "active", [STATE_PAUSED] = "paused",
	[STATE_MAINTENANCE] = "maintenance",
};

static const char *const check_names[CHECK_COUNT] = {
	[CHECK_AVAILABILITY] = "availability", [CHECK_LATENCY] = "latency", [CHECK_CERTIFICATE] = "certificate",
	[CHECK_TLS] = "tls", [CHECK_SELF] = "self",
};

static const char *const phase_names[PHASE_COUNT] = {
	[PHASE_DNS] = "dns", [PHASE_CONNECT] = "connect", [PHASE_PROXY] = "proxy", [PHASE_STARTTLS] = "starttls",
	[PHASE_TLS] = "tls", [PHASE_EXCHANGE] = "exchange", [PHASE_TOTAL] = "total",
};

static const char *const starttls_names[STARTTLS_COUNT] = {
	[STARTTLS_NONE] = "none", [STARTTLS_SMTP] = "smtp", [STARTTLS_LMTP] = "lmtp", [STARTTLS_IMAP] = "imap",
	[STARTTLS_POP3] = "pop3", [STARTTLS_SIEVE] = "sieve", [STARTTLS_FTP] = "ftp", [STARTTLS_NNTP] = "nntp",
	[STARTTLS_IRC] = "irc", [STARTTLS_XMPP] = "xmpp", [STARTTLS_XMPP_SERVER] = "xmpp-server",
	[STARTTLS_LDAP] = "ldap", [STARTTLS_POSTGRES] = "postgres", [STARTTLS_MYSQL] = "mysql",
};

static const char *const event_names[EVENT_COUNT] = {
	[EVENT_PROBLEM] = "problem", [EVENT_WORSE] = "worse", [EVENT_BETTER] = "better",
	[EVENT_RECOVERED] = "recovered", [EVENT_REMINDER] = "reminder", [EVENT_ESCALATION] = "escalation",
	[EVENT_NOTICE] = "notice", [EVENT_FLAPPING] = "flapping", [EVENT_DIGEST] = "digest", [EVENT_TEST] = "test",
};

struct reason_words {
	const char *name;
	const char *text;
};

static const struct reason_words reasons[REASON_COUNT] = {
	[REASON_OK] = { "ok", "ok" },
	[REASON_DNS_NOT_FOUND] = { "dns_not_found", "name not found" },
	[REASON_DNS_TIMEOUT] = { "dns_timeout", "name lookup timeout" },
	[REASON_DNS_FAILED] = { "dns_failed", "name lookup failed" },
	[REASON_CONNECT_REFUSED] = { "connect_refused", "connection refused" },
	[REASON_CONNECT_TIMEOUT] = { "connect_timeout", "connect timeout" },
	[REASON_CONNECT_UNREACHABLE] = { "connect_unreachable", "host unreachable" },
	[REASON_CONNECT_RESET] = { "connect_reset", "connection reset" },
	[REASON_PROXY_REFUSED] = { "proxy_refused", "refused by the proxy" },
	[REASON_PROXY_FAILED] = { "proxy_failed", "proxy failed" },
	[REASON_PROXY_TIMEOUT] = { "proxy_timeout", "proxy timeout" },
	[REASON_STARTTLS_NOT_OFFERED] = { "starttls_not_offered", "STARTTLS not offered" },
	[REASON_STARTTLS_REFUSED] = { "starttls_refused", "STARTTLS refused" },
	[REASON_STARTTLS_TIMEOUT] = { "starttls_timeout", "STARTTLS timeout" },
	[REASON_STARTTLS_CLOSED] = { "starttls_closed", "connection closed during STARTTLS" },
	[REASON_STARTTLS_PROTOCOL] = { "starttls_protocol", "unexpected answer to STARTTLS" },
	[REASON_TLS_TIMEOUT] = { "tls_timeout", "TLS handshake timeout" },
	[REASON_TLS_ALERT] = { "tls_alert", "TLS handshake refused with an alert" },
	[REASON_TLS_PROTOCOL] = { "tls_protocol", "TLS handshake failed" },
	[REASON_TLS_CLOSED] = { "tls_closed", "connection closed during the TLS handshake" },
	[REASON_TLS_VERSION] = { "tls_version", "TLS version below what is required" },
	[REASON_TLS_CIPHER] = { "tls_cipher", "TLS cipher is not one of the required" },
	[REASON_TLS_ALPN] = { "tls_alpn", "ALPN protocol is not the required one" },
	[REASON_TLS_GROUP] = { "tls_group", "TLS group is not one of the required" },
	[REASON_EXCHANGE_MISMATCH] = { "exchange_mismatch", "answer does not match" },
	[REASON_EXCHANGE_TIMEOUT] = { "exchange_timeout", "answer timeout" },
	[REASON_EXCHANGE_CLOSED] = { "exchange_closed", "connection closed before the answer" },
	[REASON_EXCHANGE_TOO_LONG] = { "exchange_too_long", "answer too long" },
	[REASON_OPEN_UNEXPECTEDLY] = { "open_unexpectedly", "open unexpectedly" },
	[REASON_SOME_ADDRESSES] = { "some_addresses", "some addresses are down" },
	[REASON_SOME_LOCATIONS] = { "some_locations", "down from some locations" },
	[REASON_LATENCY_HIGH] = { "latency_high", "latency high" },
	[REASON_CERT_EXPIRED] = { "cert_expired", "certificate expired" },
	[REASON_CERT_EXPIRING] = { "cert_expiring", "certificate expires soon" },
	[REASON_CERT_NOT_YET_VALID] = { "cert_not_yet_valid", "certificate not yet valid" },
	[REASON_CERT_UNTRUSTED] = { "cert_untrusted", "certificate not trusted" },
	[REASON_CERT_SELF_SIGNED] = { "cert_self_signed", "certificate self-signed" },
	[REASON_CERT_HOSTNAME] = { "cert_hostname", "certificate is for another name" },
	[REASON_CERT_REVOKED] = { "cert_revoked", "certificate revoked" },
	[REASON_CERT_REVOCATION_UNKNOWN] = { "cert_revocation_unknown", "certificate revocation not knowable" },
	[REASON_CERT_WEAK_KEY] = { "cert_weak_key", "certificate has a weak key" },
	[REASON_CERT_WEAK_SIGNATURE] = { "cert_weak_signature", "certificate has a weak signature" },
	[REASON_CERT_PIN] = { "cert_pin", "certificate key is not a pinned one" },
	[REASON_CERT_ISSUER] = { "cert_issuer", "certificate from another issuer" },
	[REASON_CERT_MISSING] = { "cert_missing", "no certificate shown" },
	[REASON_LOCAL_ERROR] = { "local_error", "could not probe: trouble on our side" },
	[REASON_OWN_NETWORK] = { "own_network", "our own network is down" },
	[REASON_NO_DATA] = { "no_data", "no data" },
	[REASON_QUORUM_LOST] = { "quorum_lost", "too few locations report" },
	[REASON_BAD_CLOCK] = { "bad_clock", "our clock is wrong" },
	[REASON_RESOLVER_FAILED] = { "resolver_failed", "resolver failed" },
	[REASON_SENDER_FAILED] = { "sender_failed", "sender failed" },
	[REASON_OUTBOX_STUCK] = { "outbox_stuck", "messages are not leaving" },
	[REASON_STORE_FAILED] = { "store_failed", "database failed" },
	[REASON_DISK_FULL] = { "disk_full", "disk full" },
	[REASON_CONFIG_REFUSED] = { "config_refused", "configuration refused" },
	[REASON_CLOCK_JUMP] = { "clock_jump", "clock jumped" },
	[REASON_OVERLOAD] = { "overload", "overloaded" },
	[REASON_LOCATION_SILENT] = { "location_silent", "location is silent" },
	[REASON_OWN_CERTIFICATE] = { "own_certificate", "our own certificate expires soon" },
	[REASON_SECRET_MISSING] = { "secret_missing", "secret missing" },
};

/* The index of `word`, or -1. */
static int find(const char *const *names, int count, const char *word)
{
	if (word == NULL)
		return -1;
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	return -1;
}

const char *level_name(enum level level)
{
	assert(level < LEVEL_COUNT);
	return level_names[level];
}

const char *level_shout(enum level level)
{
	assert(level < LEVEL_COUNT);
	return level_shouts[level];
}

bool level_parse(const char *word, enum level *level)
{
	int index = find(level_names, LEVEL_COUNT, word);

	if (index >= 0)
		*level = (enum level)index;
	return index >= 0;
}

const char *state_name(enum state state)
{
	assert(state < STATE_COUNT);
	return state_names[state];
}

const char *check_name(enum check check)
{
	assert(check < CHECK_COUNT);
	return check_names[check];
}

bool check_parse(const char *word, enum check *check)
{
	int index = find(check_names, CHECK_COUNT, word);

	if (index >= 0)
		*check = (enum check)index;
	return index >= 0;
}

const char *phase_name(enum phase phase)
{
	assert(phase < PHASE_COUNT);
	return phase_names[phase];
}

bool phase_parse(const char *word, enum phase *phase)
{
	int index = find(phase_names, PHASE_COUNT, word);

	if (index >= 0)
		*phase = (enum phase)index;
	return index >= 0;
}

const char *starttls_name(enum starttls starttls)
{
	assert(starttls < STARTTLS_COUNT);
	return starttls_names[starttls];
}

bool starttls_parse(const char *word, enum starttls *starttls)
{
	int index = find(starttls_names, STARTTLS_COUNT, word);

	if (index > STARTTLS_NONE)
		*starttls = (enum starttls)index;
	return index > STARTTLS_NONE;
}

const char *event_name(enum event_kind event)
{
	assert(event < EVENT_COUNT);
	return event_names[event];
}

bool event_parse(const char *word, enum event_kind *event)
{
	int index = find(event_names, EVENT_COUNT, word);

	if (index >= 0)
		*event = (enum event_kind)index;
	return index >= 0;
}

const char *reason_name(enum reason reason)
{
	assert(reason < REASON_COUNT);
	return reasons[reason].name;
}

const char *reason_text(enum reason reason)
{
	assert(reason < REASON_COUNT);
	return reasons[reason].text;
}

bool reason_parse(const char *word, enum reason *reason)
{
	if (word == NULL)
		return false;
	for (int i = 0; i < REASON_COUNT; i++) {
		if (strcmp(reasons[i].name, word) == 0) {
			*reason = (enum reason)i;
			return true;
		}
	}
	return false;
}

bool reason_is_ours(enum reason reason)
{
	return reason >= REASON_LOCAL_ERROR && reason <= REASON_BAD_CLOCK;
}

bool reason_is_of_connection(enum reason reason)
{
	return reason >= REASON_OK && reason <= REASON_EXCHANGE_TOO_LONG &&
	       !(reason >= REASON_TLS_VERSION && reason <= REASON_TLS_GROUP);
}

void reason_set_add(struct reason_set *set, enum reason reason)
{
	set->bits[reason / 64] |= UINT64_C(1) << reason % 64;
}

bool reason_set_has(const struct reason_set *set, enum reason reason)
{
	return (set->bits[reason / 64] >> reason % 64 & 1) != 0;
}

bool reason_set_empty(const struct reason_set *set)
{
	return (set->bits[0] | set->bits[1]) == 0;
}
