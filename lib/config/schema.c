/* SPDX-License-Identifier: MIT */
#include "lib/config/schema.h"

#include "lib/base/rules.h"
#include "lib/config/set.h"
#include "lib/config/value.h"

#define WORDS(...) (const char *const[]){ __VA_ARGS__, NULL }
#define SECTION(rows) { .keys = rows, .count = sizeof(rows) / sizeof((rows)[0]) }
#define LIST_AT(type, texts, number) .offset = offsetof(type, texts), .count_offset = offsetof(type, number)

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
#define DAY (INT64_C(24) * HOUR)

#define AT(member) .offset = offsetof(struct config, member)
static const struct key top_keys[] = {
	{ "include", KEY_PART, NOT_IN_INCLUDED, .help = "more files, or globs, relative to this one" },
	{ "location", KEY_TEXT, NOT_IN_INCLUDED, .max = 120, AT(location),
	  .help = "the name of the place that is probed from; the host name if not given" },
	{ "defaults", KEY_PART, .help = "keys of every target of this file; in the main file, of all files" },
	{ "profiles", KEY_PART, .help = "sets of target keys, by name" },
	{ "targets", KEY_PART, .help = "what is watched" },
	{ "senders", KEY_PART, .help = "ways to deliver messages, by name" },
	{ "routes", KEY_PART, NOT_IN_INCLUDED,
	  .help = "which incidents go to which senders; the first that matches" },
	{ "resolver", KEY_MAP, NOT_IN_INCLUDED, .fallback = "on", .help = "how host names are looked up" },
	{ "resolver.servers", KEY_LIST, .min = 1, .max = 16,
	  LIST_AT(struct config, resolver.servers, resolver.server_count), .check = value_is_nameserver,
	  .help = "name servers; those of /etc/resolv.conf if not given" },
	{ "resolver.timeout", KEY_DURATION, .min = 100, .max = MINUTE, .fallback = "2s", AT(resolver.timeout_ms),
	  .help = "how long one try may take" },
	{ "resolver.tries", KEY_COUNT, .min = 1, .max = 10, .fallback = "2", AT(resolver.tries),
	  .help = "how often each server is asked" },
	{ "resolver.cache", KEY_SWITCH, .fallback = "on", AT(resolver.cache),
	  .help = "whether answers are kept for their time to live" },
	{ "daemon", KEY_MAP, NOT_IN_INCLUDED, .fallback = "on", .help = "the daemon itself" },
	{ "daemon.workers", KEY_OTHER, .min = 1, .max = 64, .fallback = "auto", AT(daemon.workers),
	  .set = set_workers, .help = "threads that probe; auto: one for each core, at most 8" },
	{ "daemon.control_socket", KEY_PATH, .max = 107, AT(daemon.control_socket),
	  .help = "the socket that portbell talks to; in the runtime directory if not given" },
	{ "daemon.state_directory", KEY_PATH, AT(daemon.state_directory),
	  .help = "where the databases are; $STATE_DIRECTORY if not given" },
	{ "daemon.log_level", KEY_WORD, .fallback = "info", .words = WORDS("error", "warning", "info", "debug"),
	  AT(daemon.log_level), .help = "the least important lines that are logged" },
};
const struct section schema_top = {
	.keys = top_keys, .count = sizeof(top_keys) / sizeof(top_keys[0]), .extras = true,
};
#undef AT

#define AT(member) .offset = offsetof(struct target_config, member)
static const struct key target_keys[] = {
	{ "name", KEY_TEXT, NOT_IN_DEFAULTS, AT(name), .set = set_name,
	  .help = "what it is called everywhere; unique; the address if not given" },
	{ "address", KEY_OTHER, NOT_IN_DEFAULTS | KEY_REQUIRED, AT(address), .set = set_address,
	  .done = done_address, .help = "host:port" },
	{ "profile", KEY_PART, .help = "profiles that it takes keys from, in this order" },
	{ "group", KEY_TEXT, .max = 200, AT(group), .help = "for routes, views and metrics" },
	{ "labels", KEY_OTHER, KEY_MERGES, AT(labels), .set = set_labels, .done = done_labels,
	  .help = "names and values for routes, messages and metrics" },
	{ "description", KEY_TEXT, .max = 4000, AT(description), .check = value_is_prose,
	  .help = "for the messages" },
	{ "runbook", KEY_TEXT, AT(runbook), .help = "where it is written what to do; for the messages" },
	{ "paused", KEY_SWITCH, .fallback = "off", AT(paused), .help = "not probed" },
	{ "interval", KEY_DURATION, .min = SECOND, .max = 7 * DAY, .fallback = "30s", AT(interval_ms),
	  .help = "from one probe to the next" },
	{ "timeout", KEY_DURATION, .min = 10, .max = 7 * DAY, AT(timeout_ms),
	  .help = "for the whole probe; the smaller of 10s and 90% of the interval if not given" },
	{ "addresses", KEY_WORD, .fallback = "first", .words = WORDS("first", "all"), AT(all_addresses),
	  .set = set_all_addresses, .help = "first: one that works, in their order; all: every one, each time" },
	{ "require", KEY_OTHER, .min = 1, .max = 16, .fallback = "all", .words = WORDS("all", "any"), AT(need),
	  .set = set_need, .help = "with addresses: all: how many must be good; all, any, or a number" },
	{ "expect_reason", KEY_OTHER, .fallback = "ok", AT(expected), .set = set_reasons,
	  .help = "ways in which a probe may end that are well; [connect_refused]: must be closed" },
	{ "family", KEY_WORD, .fallback = "auto", .words = WORDS("auto", "ipv4", "ipv6"), AT(family),
	  .help = "which addresses of a name are tried; auto: all, in the order of RFC 6724" },
	{ "resolve", KEY_OTHER, .max = 16, LIST_AT(struct target_config, resolve, resolve_count),
	  .set = set_addresses, .done = done_addresses,
	  .help = "IP addresses instead of a lookup of the name, which is still sent and verified" },
	{ "source", KEY_OTHER, AT(source), .set = set_source, .done = done_source,
	  .help = "an address or an interface of this machine to connect from" },
	{ "proxy", KEY_OTHER, .fallback = "off", AT(proxy), .set = set_proxy, .done = done_proxy,
	  .help = "the way there: socks5:// (the name is resolved here), socks5h:// (by the proxy) or http://" },
	{ "proxy_password_file", KEY_SECRET_FILE, .one_of = "proxy_password", AT(proxy.password),
	  .help = "holds the password of the user in proxy" },
	{ "proxy_password_credential", KEY_CREDENTIAL, .one_of = "proxy_password", AT(proxy.password),
	  .help = "the same, from $CREDENTIALS_DIRECTORY" },
	{ "proxy_protocol", KEY_OTHER, .fallback = "off", AT(proxy_protocol), .set = set_proxy_protocol,
	  .help = "the PROXY protocol's header that the target is sent first: v1, v2 or a map with addresses" },
	{ "tls", KEY_MAP, MAP_MAY_BE_ON | MAP_MAY_BE_OFF | MAP_IS_STORED, .fallback = "off", AT(tls),
	  .help = "TLS, from the first byte unless starttls says how; its certificate is judged" },
	{ "tls.starttls", KEY_OTHER, AT(starttls), .set = set_starttls,
	  .help = "the protocol in which the server is asked to begin TLS" },
	{ "tls.ehlo", KEY_TEXT, .max = 253, AT(ehlo), .check = value_is_host,
	  .help = "what we call ourselves where a protocol asks; the host name if not given" },
	{ "tls.server_name", KEY_TEXT, .max = 253, AT(server_name), .check = value_is_host,
	  .help = "the name that is sent and verified; the host if not given" },
	{ "tls.verify", KEY_WORD, .fallback = "full", .words = WORDS("full", "chain", "off"), AT(rules.verify),
	  .help = "full: chain and name; chain: no name; off: expiry is still judged" },
	{ "tls.ca_file", KEY_TRUST, AT(trust),
	  .help = "authorities in PEM, a file or a list; the system's if not given" },
	{ "tls.client_certificate_file", KEY_SECRET_FILE, .one_of = "tls.client_certificate",
	  AT(client_certificate), .set = set_certificate_file, .done = done_text,
	  .help = "our own certificate in PEM, for a server that asks; it may hold the key too" },
	{ "tls.client_certificate_credential", KEY_CREDENTIAL, .one_of = "tls.client_certificate",
	  AT(client_certificate), .set = set_certificate_file, .done = done_text,
	  .help = "the same, from $CREDENTIALS_DIRECTORY" },
	{ "tls.client_key_file", KEY_SECRET_FILE, .one_of = "tls.client_key", AT(client_key), .set = set_key_file,
	  .done = done_text, .help = "its key, if that is not in the same file" },
	{ "tls.client_key_credential", KEY_CREDENTIAL, .one_of = "tls.client_key", AT(client_key),
	  .set = set_key_file, .done = done_text, .help = "the same, from $CREDENTIALS_DIRECTORY" },
	{ "tls.client_key_password_file", KEY_SECRET_FILE, .one_of = "tls.client_key_password",
	  AT(client_key_password), .help = "holds the key's password" },
	{ "tls.client_key_password_credential", KEY_CREDENTIAL, .one_of = "tls.client_key_password",
	  AT(client_key_password), .help = "the password, from $CREDENTIALS_DIRECTORY" },
	{ "tls.max_version", KEY_WORD, .fallback = "1.3", .words = WORDS("1.0", "1.1", "1.2", "1.3"),
	  AT(max_version), .help = "the newest version that is offered; from 1.0 up all are" },
	{ "tls.ciphers", KEY_TEXT, AT(ciphers), .set = set_ciphers,
	  .help = "what is offered, as OpenSSL lists it, suites of TLS 1.3 by name; all if not given" },
	{ "tls.alpn", KEY_LIST, .min = 1, .max = 32, LIST_AT(struct target_config, alpn, alpn_count),
	  .help = "protocols that are offered (ALPN)" },
	{ "tls.require", KEY_OTHER, KEY_MERGES, AT(require), .set = set_require, .done = done_require,
	  .help = "what must be agreed on: version, ciphers, group, alpn; level: how bad it is if not" },
	{ "exchange", KEY_OTHER, AT(exchange), .max = 100,
	  .words = WORDS("send", "expect", "expect_not", "send_hex", "expect_hex", "starttls"), .set = set_exchange,
	  .help = "a dialogue: a list of steps, each with one of these keys" },
	{ "latency", KEY_MAP, MAP_MAY_BE_OFF, .fallback = "on",
	  .help = "thresholds of the time that a probe takes" },
	{ "latency.warning", KEY_DURATION, .min = 1, .max = HOUR, .scale = 1000, AT(rules.latency_warning_us),
	  .help = "above this it is a warning; none if not given" },
	{ "latency.critical", KEY_DURATION, .min = 1, .max = HOUR, .scale = 1000, AT(rules.latency_critical_us),
	  .help = "above this it is critical; none if not given" },
	{ "latency.phase", KEY_OTHER, .fallback = "total", 
	  .words = WORDS("dns", "connect", "proxy", "starttls", "tls", "exchange", "total"),
	  AT(rules.latency_phase), .set = set_phase, .help = "which part of the probe is measured" },
	{ "latency.after", KEY_COUNT, .min = 1, .max = 1000, .fallback = "5", AT(rules.latency_after),
	  .help = "this many probes in a row decide" },
	{ "certificate", KEY_MAP, MAP_MAY_BE_ON | MAP_MAY_BE_OFF | MAP_IS_STORED, .fallback = "on",
	  AT(rules.certificate), .help = "how long certificates must still be valid" },
	{ "certificate.warning", KEY_OTHER, .fallback = "25% 21d", AT(rules.certificate_warning),
	  .set = set_expiry, .help = "less left is a warning; a share of the lifetime, a duration, or both" },
	{ "certificate.critical", KEY_OTHER, .fallback = "10% 7d", AT(rules.certificate_critical),
	  .set = set_expiry, .help = "less left is critical" },
	{ "certificate.scope", KEY_WORD, .fallback = "chain", .words = WORDS("chain", "leaf"),
	  AT(rules.certificate_leaf_only), .set = set_scope,
	  .help = "chain: every certificate of it; leaf: the server's own" },
	{ "certificate.weak", KEY_OTHER, .fallback = "warning", .words = WORDS("ok", "warning", "critical"),
	  AT(rules.certificate_weak), .set = set_level,
	  .help = "how bad a key or signature is that nobody should rely on any more" },
	{ "certificate.changes", KEY_WORD, .fallback = "unusual", .words = WORDS("unusual", "all", "ignore"),
	  AT(rules.certificate_changes), .help = "which changes of the certificate are told, once" },
	{ "certificate.revocation", KEY_WORD, .fallback = "off", .words = WORDS("off", "staple", "crl", "ocsp"),
	  AT(revocation),
	  .help = "staple: the server must show a fresh and good OCSP response; crl, ocsp: its authority is asked" },
	{ "certificate.revocation_private", KEY_SWITCH, .fallback = "off", AT(revocation_private),
	  .help = "the authority may be asked at private and loopback addresses too" },
	{ "certificate.issuer", KEY_OTHER, AT(issuer), .set = set_pattern,
	  .help = "a regular expression that who issued the server's certificate must match; any if not given" },
	{ "certificate.pins", KEY_OTHER, AT(pins), .set = set_pins, .done = done_pins,
	  .help = "the server's key must be one of these: sha256// and base64" },
	{ "alert", KEY_MAP, .fallback = "on", .help = "when a failure counts" },
	{ "alert.after", KEY_COUNT, .min = 1, .max = 1000, .fallback = "3", AT(rules.after),
	  .help = "this many failures in a row open an incident" },
	{ "alert.recover", KEY_COUNT, .min = 1, .max = 1000, .fallback = "2", AT(rules.recover),
	  .help = "this many successes in a row end it" },
	{ "alert.recheck", KEY_DURATION, .min = 100, .max = DAY, .fallback = "5s", AT(recheck_ms),
	  .help = "from the end of a failed probe to the next, until the failure is confirmed" },
	{ "send_to", KEY_LIST, LIST_AT(struct target_config, send_to, send_to_count), .set = set_target_send_to,
	  .help = "senders instead of the routes; []: nobody is told" },
};
const struct section schema_target = SECTION(target_keys);
#undef AT

#define AT(member) .offset = offsetof(struct route, member)
static const struct key route_keys[] = {
	{ "match", KEY_OTHER, AT(match), .set = set_match, .done = done_match,
	  .help = "which incidents; all if not given" },
	{ "send_to", KEY_LIST, KEY_REQUIRED, LIST_AT(struct route, send_to, send_to_count), .set = set_send_to,
	  .help = "senders; []: nobody is told" },
	{ "group_by", KEY_OTHER, .fallback = "group check", AT(group_by),
	  .words = WORDS("group", "check", "target", "address", "reason", "location", "label.NAME"),
	  .set = set_group_by, .done = done_group_by, .help = "what incidents of one message have in common" },
	{ "group_wait", KEY_DURATION, .max = HOUR, .fallback = "2s", AT(group_wait_ms),
	  .help = "how long the first message of a group waits for company" },
	{ "remind", KEY_MAP, MAP_MAY_BE_OFF, .fallback = "on",
	  .help = "how often an open incident is told again" },
	{ "remind.critical", KEY_DURATION, KEY_OFF_IS_ZERO, .min = MINUTE, .max = 365 * DAY, .fallback = "4h",
	  AT(remind_ms[LEVEL_CRITICAL]), .help = "while it is critical or unknown" },
	{ "remind.warning", KEY_DURATION, KEY_OFF_IS_ZERO, .min = MINUTE, .max = 365 * DAY, .fallback = "24h",
	  AT(remind_ms[LEVEL_WARNING]), .help = "while it is a warning" },
	{ "remind.certificate", KEY_DURATION, KEY_OFF_IS_ZERO, .min = MINUTE, .max = 365 * DAY, .fallback = "24h",
	  AT(remind_certificate_ms), .help = "of a certificate, at any level" },
	{ "continue", KEY_SWITCH, .fallback = "off", AT(go_on), .help = "look at the routes below too" },
};
const struct section schema_route = SECTION(route_keys);
#undef AT

/* A new type of sender: a word here (in the order of enum sender_kind), a table below. */
#define AT(member) .offset = offsetof(struct sender_config, member)
#define SENDER_KEYS \
	{ "type", KEY_WORD, KEY_REQUIRED, .words = WORDS("email", "webhook", "log"), AT(kind), \
	  .help = "how it delivers" }, \
	{ "rate", KEY_OTHER, .fallback = "10/m", AT(rate_count), .set = set_rate, \
	  .help = "the most messages in a time; what is over it is put together" }, \
	{ "give_up", KEY_DURATION, .min = SECOND, .max = 365 * DAY, .fallback = "24h", AT(give_up_ms), \
	  .help = "a message that could not be delivered for so long becomes a dead letter" }, \
	{ "timeout", KEY_DURATION, .min = 100, .max = 10 * MINUTE, .fallback = "15s", AT(timeout_ms), \
	  .help = "of one try" }, \
	{ "ca_file", KEY_TRUST, AT(trust), \
	  .help = "authorities in PEM, a file or a list; the system's if not given" }

static const struct key sender_keys[] = { SENDER_KEYS };
const struct section schema_sender = SECTION(sender_keys);

static const struct key email_keys[] = {
	SENDER_KEYS,
	{ "server", KEY_OTHER, KEY_REQUIRED, AT(as.email.host), .set = set_mail_server, .done = done_text,
	  .help = "smtp://host[:587] or smtps://host[:465]" },
	{ "starttls", KEY_WORD, .words = WORDS("required", "optional", "off"), AT(as.email.starttls),
	  .help = "required if not given; optional if the server is on loopback" },
	{ "username", KEY_TEXT, .max = 500, AT(as.email.username),
	  .help = "for the server; no login if not given" },
	{ "password_file", KEY_SECRET_FILE, .one_of = "password", AT(as.email.password),
	  .help = "holds the password" },
	{ "password_credential", KEY_CREDENTIAL, .one_of = "password", AT(as.email.password),
	  .help = "the password, from $CREDENTIALS_DIRECTORY" },
	{ "from", KEY_TEXT, KEY_REQUIRED, AT(as.email.from), .check = value_is_mailbox,
	  .help = "\"Name <user@example.com>\" or the address alone" },
	{ "to", KEY_LIST, KEY_REQUIRED, .min = 1, .max = 100,
	  LIST_AT(struct sender_config, as.email.to, as.email.to_count), .check = value_is_mailbox,
	  .help = "who gets it: an address or a list" },
};

static const struct key webhook_keys[] = {
	SENDER_KEYS,
	{ "url", KEY_TEXT, KEY_REQUIRED | KEY_IS_SECRET, .one_of = "url", .max = 8000, AT(as.webhook.url),
	  .check = value_is_url, .done = done_secret, .help = "where to; http or https" },
	{ "url_file", KEY_SECRET_FILE, .one_of = "url", AT(as.webhook.url), .check = value_is_url,
	  .help = "holds the URL" },
	{ "url_credential", KEY_CREDENTIAL, .one_of = "url", AT(as.webhook.url), .check = value_is_url,
	  .help = "the URL, from $CREDENTIALS_DIRECTORY" },
	{ "method", KEY_OTHER, .fallback = "POST", .words = WORDS("POST", "PUT"), AT(as.webhook.method),
	  .set = set_method, .done = done_text, .help = "the HTTP method" },
	{ "headers", KEY_OTHER, KEY_IS_SECRET, AT(as.webhook.headers), .set = set_headers, .done = done_headers,
	  .help = "more header fields, names and values" },
	{ "signing_secret_file", KEY_SECRET_FILE, .one_of = "signing_secret",
	  LIST_AT(struct sender_config, as.webhook.signing_secret, as.webhook.signing_secret_bytes),
	  .set = set_signing_secret, .done = done_signing_secret,
	  .help = "holds the secret that signs (Standard Webhooks): whsec_ and base64, or as it is" },
	{ "signing_secret_credential", KEY_CREDENTIAL, .one_of = "signing_secret",
	  LIST_AT(struct sender_config, as.webhook.signing_secret, as.webhook.signing_secret_bytes),
	  .set = set_signing_secret, .done = done_signing_secret,
	  .help = "the same, from $CREDENTIALS_DIRECTORY" },
};

const struct section schema_senders[SENDER_KIND_COUNT] = {
	[SENDER_EMAIL] = SECTION(email_keys),
	[SENDER_WEBHOOK] = SECTION(webhook_keys),
	[SENDER_LOG] = SECTION(sender_keys),
};
#undef AT

_Static_assert(sizeof(target_keys) / sizeof(target_keys[0]) <= SCHEMA_MAX_KEYS, "a layer holds a section");

static const struct {
	set_fn *set;
	done_fn *done;
} types[KEY_TYPE_COUNT] = {
	[KEY_TEXT] = { set_text, done_text },
	[KEY_SWITCH] = { set_switch, NULL },
	[KEY_COUNT] = { set_count, NULL },
	[KEY_DURATION] = { set_duration, NULL },
	[KEY_WORD] = { set_word, NULL },
	[KEY_LIST] = { set_list, done_list },
	[KEY_PATH] = { set_path, done_text },
	[KEY_TRUST] = { set_trust, NULL },
	[KEY_SECRET_FILE] = { set_secret, done_secret },
	[KEY_CREDENTIAL] = { set_secret, done_secret },
};

set_fn *schema_setter(const struct key *key)
{
	return key->set != NULL ? key->set : types[key->type].set;
}

done_fn *schema_done(const struct key *key)
{
	return key->done != NULL ? key->done : types[key->type].done;
}
