/* SPDX-License-Identifier: MIT */
/*
 * config - portbell.yaml as values: read with libyaml, merged, checked by the schema table.
 * Owns:    a struct config owns everything that hangs from it; const once loaded, config_free() ends it.
 * Fails:   config_load() returns NULL when there was any mistake; `report` then has every one of all files. Notes are in
 *          the report of a good load too.
 *          So does config_load_target(), for one target that is made of the options of a command line.
 * Blocks:  reads files. Runs on the loader thread or before the loop, never on it.
 */
#ifndef PORTBELL_CONFIG_CONFIG_H
#define PORTBELL_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/address.h"
#include "lib/base/match.h"
#include "lib/base/rules.h"

struct problem {
	bool note;       /* worth knowing, not a mistake */
	char *where;     /* "portbell.yaml:12:7" */
	char *path;      /* "targets[3].intervall"; may be "" */
	char *text;      /* "unknown key (did you mean \"interval\"?)" */
};

/* Every mistake of one run. problem_print() gives "where: path: text" ("where: note: path: text"). */
struct report {
	struct problem *problems;
	size_t count;
	size_t capacity;
	size_t mistakes; /* of them, those that are not notes */
};

void report_add(struct report *report, bool note, const char *where, const char *path, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
void report_sort(struct report *report); /* within each file by line */
char *problem_print(const struct problem *problem); /* the caller frees */
void report_print(const struct report *report, FILE *out); /* a line each */
void report_done(struct report *report);

/* A set of CA files: targets and senders that name the same files share one. Index 0 is the system's store (no files). */
struct trust_config {
	char **files;    /* resolved paths */
	size_t file_count;
	char *where;     /* of its first use, for mistakes found when the files are parsed */
	char *path;
};

struct proxy_config {
	enum proxy_kind kind;
	char *host;            /* NULL: no proxy */
	uint16_t port;
	struct address literal; /* family 0 unless host is an IP literal */
	char *username;        /* NULL: no login */
	char *password;        /* secret; NULL: none */
};

struct source_config {
	char *text;            /* as written; NULL: whatever the kernel takes */
	struct address address; /* to bind to, port 0; family 0: `text` is an interface's name */
};

/* A certificate of ours with its key: targets that name the same files share one. Index 0 is none. */
struct client_config {
	char *certificate_file;
	char *key_file;        /* may be the same */
	char *password;        /* secret; NULL: the key has none */
	char *where;           /* of its first use, for mistakes found when the files are read */
	char *path;
};

/* A regular expression: keys that say the same share one. Index 0 is none. Compiled by the loader. */
struct pattern_config {
	char *text;
	char *where;           /* of its first use */
	char *path;
};

/* What a handshake must have come to; rules say whether and how bad it is if not. NULL: anything. */
struct require_config {
	enum tls_version version;
	char *alpn;
	size_t ciphers;        /* indexes into config->patterns */
	size_t group;
};

/* The steps of a dialogue: targets that say the same share one. Index 0 is none (no steps). */
struct exchange_config {
	struct exchange_step *steps;
	size_t count;
};

struct target_config {
	char *name;
	char *address;         /* as written, "shop.example.com:443" */
	char *host;
	uint16_t port;
	struct address literal; /* family 0 unless host is an IP literal */
	/*
	 * Of which family an address that was looked up must be. With a source address and without a proxy it is
	 * never AUTO: it is the source's. To a proxy, too, a source address can only connect within its own
	 * family.
	 */
	enum family family;
	struct address *resolve; /* instead of DNS, with the port; all of `family`. Of any kind of proxy, too */
	size_t resolve_count;
	struct source_config source; /* of the connection to the target, or to the proxy */
	struct proxy_config proxy;
	struct proxy_header proxy_protocol; /* to the target, also through a proxy */
	char *group;           /* NULL if none */
	struct label *labels;
	size_t label_count;
	char *description;     /* NULL if none */
	char *runbook;         /* NULL if none */
	bool paused;
	int64_t interval_ms;
	int64_t timeout_ms;
	int64_t recheck_ms;
	bool all_addresses;    /* each of the name's, each time; else one that works */
	int need;              /* of all addresses, how many must be good; 0 = all */
	struct reason_set expected; /* reasons that are well; empty: only ok */
	bool tls;
	enum starttls starttls; /* how TLS begins; STARTTLS_NONE: with the first byte */
	char *ehlo;            /* what we call ourselves where a protocol asks; never NULL with starttls */
	char *server_name;     /* SNI and the name verified; an IP literal here means no SNI and an IP SAN */
	size_t trust;          /* index into config->trust */
	size_t client;         /* index into config->clients */
	char *client_certificate; /* a file, as the three keys below name it: clients has them all */
	char *client_key;
	char *client_key_password; /* secret */
	enum tls_version max_version;
	char *ciphers;         /* what is offered; NULL: all */
	char **alpn;
	size_t alpn_count;
	struct require_config require;
	enum revocation revocation;
	bool revocation_private; /* also at addresses that are not of the internet */
	size_t issuer;         /* index into config->patterns */
	uint64_t patterns;     /* hash of what it and those of `require` say */
	uint8_t (*pins)[PIN_BYTES];
	size_t pin_count;
	size_t exchange;       /* index into config->exchanges. With a starttls step TLS begins there, and tls is true */
	struct rules rules;
	char **send_to;        /* instead of the routes, if send_to_set; may be empty: nobody told */
	size_t send_to_count;
	bool send_to_set;
	uint64_t identity;     /* hash of what, when changed, resets windows and counters (address, tls, ...) */
	char *where;           /* "portbell.yaml:12:7" */
};

enum mail_starttls { MAIL_STARTTLS_REQUIRED, MAIL_STARTTLS_OPTIONAL, MAIL_STARTTLS_OFF };

struct email_config {
	char *host;            /* of server: smtp://host:port or smtps://host:port */
	uint16_t port;
	bool implicit_tls;     /* smtps */
	enum mail_starttls starttls;
	char *username;        /* NULL: no AUTH */
	char *password;        /* secret */
	char *from;            /* as written: "Portbell <portbell@example.com>" */
	char **to;             /* as written */
	size_t to_count;
};

struct header_config {
	char *name;
	char *value;           /* may hold a secret: never shown */
};

struct webhook_config {
	char *url;             /* secret: may hold a token; shown as scheme://host/... at most */
	char *method;          /* "POST" or "PUT" */
	struct header_config *headers;
	size_t header_count;
	char *signing_secret;  /* Standard Webhooks, decoded from whsec_ + base64, or raw bytes; NULL: not signed */
	size_t signing_secret_bytes;
};

enum sender_kind { SENDER_EMAIL, SENDER_WEBHOOK, SENDER_LOG, SENDER_KIND_COUNT };

struct sender_config {
	char *name;
	enum sender_kind kind;
	int64_t give_up_ms;
	int64_t timeout_ms;
	int rate_count;        /* rate: rate_count messages ... */
	int64_t rate_per_ms;   /* ... in this time; 0 = no limit */
	size_t trust;          /* index into config->trust */
	union {
		struct email_config email;
		struct webhook_config webhook;
	} as;
	char *where;
};

struct resolver_config {
	char **servers;        /* "192.0.2.53", "[2001:db8::53]:5353"; none: /etc/resolv.conf */
	size_t server_count;
	int64_t timeout_ms;
	int tries;
	bool cache;
};

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct daemon_config {
	int workers;           /* 0 = auto */
	char *control_socket;  /* NULL: the default */
	char *state_directory; /* NULL: the default */
	enum log_level log_level;
};

struct config {
	char *file;
	char *location;        /* never NULL */
	char *host_name;       /* of this machine; never NULL */
	struct target_config *targets;
	size_t target_count;
	struct sender_config *senders;
	size_t sender_count;
	struct route *routes;  /* as written, or the one default route */
	size_t route_count;
	struct trust_config *trust;
	size_t trust_count;    /* at least 1 */
	struct client_config *clients;
	size_t client_count;   /* at least 1 */
	struct pattern_config *patterns;
	size_t pattern_count;  /* at least 1 */
	struct exchange_config *exchanges;
	size_t exchange_count; /* at least 1 */
	struct resolver_config resolver;
	struct daemon_config daemon;
};

/* What a load may look at besides files. Tests give their own. */
struct config_env {
	const char *(*variable)(const char *name, void *arg); /* NULL: no such variable */
	void *arg;
	const char *credentials_directory; /* NULL: none */
	/* Whether `text` is a list of ciphers; NULL: any text is taken for one. */
	bool (*check_ciphers)(const char *text, struct error *err);
	bool lenient;          /* --check outside the unit: a missing credential or variable is a note */
};

struct config *config_load(const char *file, const struct config_env *env, struct report *report);
/* What is said of a target that stands in no file. */
struct setting {
	const char *key;       /* as in the schema, "tls.verify"; several of one key are a list */
	const char *step;      /* not NULL: an item of the list that `key` is, a map of this one key */
	const char *text;
	const char *origin;    /* "--verify": the place of its mistakes */
	bool weak;             /* counts only if nobody else says anything of its map, or of a key that is in none */
};

/* A configuration with that target alone, made by the rules of all targets; the first setting is its address. Of
 * `file` (NULL: none) come the defaults, the profiles and the resolver; the rest of it is not looked at. */
struct config *config_load_target(const char *file, const struct setting *settings, size_t count,
				  const struct config_env *env, struct report *report);
void config_free(struct config *config); /* NULL is fine; secrets are wiped */
/* The effective configuration as YAML with the origin of each value as a comment, secrets as <hidden>. */
bool config_print(const char *file, const struct config_env *env, FILE *out, struct report *report);
const struct sender_config *config_sender(const struct config *config, const char *name); /* NULL if none */

#endif
