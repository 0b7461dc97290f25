/* SPDX-License-Identifier: MIT */
/*
 * words - the vocabulary: one word per thing, the same in YAML, log, mail, webhook, database and command line.
 * The enums are stable in order (levels compare by value) but not on disk: what is stored is the word.
 * Every *_name() returns a static string; every *_parse() returns false for a word that is not of its table.
 */
#ifndef PORTBELL_BASE_WORDS_H
#define PORTBELL_BASE_WORDS_H

#include <stdbool.h>
#include <stdint.h>

enum level { LEVEL_OK, LEVEL_WARNING, LEVEL_UNKNOWN, LEVEL_CRITICAL, LEVEL_COUNT };

/* What a target is doing, beside its level. */
enum state { STATE_PENDING, STATE_ACTIVE, STATE_PAUSED, STATE_MAINTENANCE, STATE_COUNT };

enum check { CHECK_AVAILABILITY, CHECK_LATENCY, CHECK_CERTIFICATE, CHECK_TLS, CHECK_SELF, CHECK_COUNT };

enum phase {
	PHASE_DNS, PHASE_CONNECT, PHASE_PROXY, PHASE_STARTTLS, PHASE_TLS, PHASE_EXCHANGE, PHASE_TOTAL, PHASE_COUNT
};

/* The dialogues in which a server is asked to go over to TLS. NONE is no word: there is none. */
enum starttls {
	STARTTLS_NONE,
	STARTTLS_SMTP, STARTTLS_LMTP, STARTTLS_IMAP, STARTTLS_POP3, STARTTLS_SIEVE, STARTTLS_FTP, STARTTLS_NNTP,
	STARTTLS_IRC, STARTTLS_XMPP, STARTTLS_XMPP_SERVER, STARTTLS_LDAP, STARTTLS_POSTGRES, STARTTLS_MYSQL,
	STARTTLS_COUNT
};

enum event_kind {
	EVENT_PROBLEM, EVENT_WORSE, EVENT_BETTER, EVENT_RECOVERED, EVENT_REMINDER, EVENT_ESCALATION, EVENT_NOTICE,
	EVENT_FLAPPING, EVENT_DIGEST, EVENT_TEST, EVENT_COUNT
};

enum reason {
	REASON_OK,
	REASON_DNS_NOT_FOUND, REASON_DNS_TIMEOUT, REASON_DNS_FAILED,
	REASON_CONNECT_REFUSED, REASON_CONNECT_TIMEOUT, REASON_CONNECT_UNREACHABLE, REASON_CONNECT_RESET,
	REASON_PROXY_REFUSED, REASON_PROXY_FAILED, REASON_PROXY_TIMEOUT,
	REASON_STARTTLS_NOT_OFFERED, REASON_STARTTLS_REFUSED, REASON_STARTTLS_TIMEOUT, REASON_STARTTLS_CLOSED,
	REASON_STARTTLS_PROTOCOL,
	REASON_TLS_TIMEOUT, REASON_TLS_ALERT, REASON_TLS_PROTOCOL, REASON_TLS_CLOSED,
	REASON_TLS_VERSION, REASON_TLS_CIPHER, REASON_TLS_ALPN, REASON_TLS_GROUP,
	REASON_EXCHANGE_MISMATCH, REASON_EXCHANGE_TIMEOUT, REASON_EXCHANGE_CLOSED, REASON_EXCHANGE_TOO_LONG,
	REASON_OPEN_UNEXPECTEDLY, REASON_SOME_ADDRESSES, REASON_SOME_LOCATIONS,
	REASON_LATENCY_HIGH,
	REASON_CERT_EXPIRED, REASON_CERT_EXPIRING, REASON_CERT_NOT_YET_VALID, REASON_CERT_UNTRUSTED,
	REASON_CERT_SELF_SIGNED, REASON_CERT_HOSTNAME, REASON_CERT_REVOKED, REASON_CERT_REVOCATION_UNKNOWN,
	REASON_CERT_WEAK_KEY, REASON_CERT_WEAK_SIGNATURE, REASON_CERT_PIN, REASON_CERT_ISSUER, REASON_CERT_MISSING,
	/* Unknown: our side, never the target's. own_network is also a self reason. */
	REASON_LOCAL_ERROR, REASON_OWN_NETWORK, REASON_NO_DATA, REASON_QUORUM_LOST, REASON_BAD_CLOCK,
	/* self */
	REASON_RESOLVER_FAILED, REASON_SENDER_FAILED, REASON_OUTBOX_STUCK, REASON_STORE_FAILED, REASON_DISK_FULL,
	REASON_CONFIG_REFUSED, REASON_CLOCK_JUMP, REASON_OVERLOAD, REASON_LOCATION_SILENT, REASON_OWN_CERTIFICATE,
	REASON_SECRET_MISSING,
	REASON_COUNT
};

/* A set of reasons; all zero is the empty one. */
struct reason_set {
	uint64_t bits[2];
};
_Static_assert(REASON_COUNT <= 128, "a set holds every reason");

const char *level_name(enum level level);         /* "critical" */
const char *level_shout(enum level level);        /* "CRITICAL", for titles */
bool level_parse(const char *word, enum level *level);
const char *state_name(enum state state);
const char *check_name(enum check check);
bool check_parse(const char *word, enum check *check);
const char *phase_name(enum phase phase);
bool phase_parse(const char *word, enum phase *phase);
const char *starttls_name(enum starttls starttls); /* "xmpp-server"; "none" is not read back */
bool starttls_parse(const char *word, enum starttls *starttls);
const char *event_name(enum event_kind event);
bool event_parse(const char *word, enum event_kind *event);
const char *reason_name(enum reason reason);      /* "connect_refused" */
const char *reason_text(enum reason reason);      /* "connection refused", for people */
bool reason_parse(const char *word, enum reason *reason);
bool reason_is_of_connection(enum reason reason); /* a way in which a probe may end without TLS facts being judged */
void reason_set_add(struct reason_set *set, enum reason reason);
bool reason_set_has(const struct reason_set *set, enum reason reason);
bool reason_set_empty(const struct reason_set *set);
bool reason_is_ours(enum reason reason);          /* our own trouble: a probe that ended so is unknown, not bad */

#endif
