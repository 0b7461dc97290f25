/* SPDX-License-Identifier: MIT */
/*
 * rules - what a target is judged by, how it is reached and who is told: plain values, which lib/config fills and
 * lib/eval and lib/proto read (the three are strangers to one another). Const once loaded.
 */
#ifndef PORTBELL_BASE_RULES_H
#define PORTBELL_BASE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/address.h"
#include "lib/base/match.h"
#include "lib/base/words.h"

enum verify { VERIFY_FULL, VERIFY_CHAIN, VERIFY_OFF };

/* Which changes of a certificate people are told of. */
enum certificate_changes { CHANGES_UNUSUAL, CHANGES_ALL, CHANGES_IGNORE };

/* How it is found out whether a certificate was revoked. */
enum revocation { REVOCATION_OFF, REVOCATION_STAPLE, REVOCATION_CRL, REVOCATION_OCSP };

/* A pin: SHA-256 of a public key (its SubjectPublicKeyInfo in DER). */
enum { PIN_BYTES = 32 };

enum tls_version { TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 };

/* A bound on time left: what is smaller of the two counts; 0 = not given. Percent is of the lifetime, leaf only. */
struct expiry_bound {
	int percent;
	int64_t left_s;
};

struct rules {
	/* alert */
	int after;            /* failures in a row until a check departs */
	int recover;          /* successes in a row until it returns */
	/* latency: 0 = no threshold */
	int64_t latency_warning_us;
	int64_t latency_critical_us;
	enum phase latency_phase;
	int latency_after;
	/* certificate */
	bool certificate;     /* judged at all */
	struct expiry_bound certificate_warning;
	struct expiry_bound certificate_critical;
	bool certificate_leaf_only; /* scope: leaf */
	enum level certificate_weak; /* of a weak key or signature; LEVEL_OK: all the same to us */
	enum certificate_changes certificate_changes;
	enum verify verify;
	/* tls.require */
	bool tls_required;    /* judged at all */
	enum level tls_level; /* of what is not as required */
};

/* ---- ways to a target ---- */

enum family { FAMILY_AUTO, FAMILY_IPV4, FAMILY_IPV6 };

enum proxy_kind {
	PROXY_KIND_NONE,
	PROXY_KIND_SOCKS5,  /* the target's name is resolved here */
	PROXY_KIND_SOCKS5H, /* by the proxy */
	PROXY_KIND_HTTP     /* CONNECT; by the proxy */
};

enum proxy_header_version { PROXY_HEADER_NONE, PROXY_HEADER_V1, PROXY_HEADER_V2 };

/* The PROXY protocol: the first bytes that a server gets say for whom the connection is. */
struct proxy_header {
	enum proxy_header_version version;
	struct address source;      /* as written; family 0: v1 says the connection's own addresses, v2 LOCAL */
	struct address destination; /* given if `source` is, and of its family */
};

/* ---- what is said there ---- */

/* One step of a target's dialogue. */
enum exchange_kind {
	EXCHANGE_SEND, EXCHANGE_EXPECT, EXCHANGE_EXPECT_NOT, EXCHANGE_SEND_HEX, EXCHANGE_EXPECT_HEX, EXCHANGE_STARTTLS
};

struct exchange_step {
	enum exchange_kind kind;
	/*
	 * send: ${capture.NAME} is what an expect captured, $${ a literal ${, ${$} a literal $; any other byte but NUL
	 * stands for itself. What is between ${[} and ${]} is a secret: it is not shown if the peer repeats it.
	 * expect, expect_not: the expression. Hex: as str_add_unhex() takes it.
	 */
	char *text;
	char *where; /* in the file, for mistakes found when the expressions are compiled */
	char *path;
};

/* ---- who is told ---- */

enum group_key {
	GROUP_BY_GROUP, GROUP_BY_CHECK, GROUP_BY_TARGET, GROUP_BY_ADDRESS, GROUP_BY_REASON, GROUP_BY_LOCATION,
	GROUP_BY_LABEL
};

struct group_by {
	enum group_key key;
	char *label; /* GROUP_BY_LABEL */
};

struct route {
	struct match match;
	char **send_to;        /* names of senders */
	size_t send_to_count;
	struct group_by *group_by;
	size_t group_by_count;
	int64_t group_wait_ms;
	int64_t remind_ms[LEVEL_COUNT]; /* by the incident's level; 0 = never */
	int64_t remind_certificate_ms;  /* instead, for the check certificate */
	bool go_on;            /* continue: look at the routes below too */
};

#endif
