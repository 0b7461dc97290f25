/* SPDX-License-Identifier: MIT */
/*
 * message - what people and machines are told: one or more items (one an incident) under one id.
 * A message is stored as one JSON text, its body, and rendered from it alone: each try, also after a restart, gives the
 * same bytes. Titles and words here; how they travel is the senders' business.
 * Owns: struct message owns all its strings; message_free().
 */
#ifndef PORTBELL_NOTIFY_MESSAGE_H
#define PORTBELL_NOTIFY_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/base/match.h"
#include "lib/base/str.h"
#include "lib/base/words.h"

enum { MESSAGE_PROBES_MAX = 10, MESSAGE_ID_BYTES = 40 };

/* One of the last probes, oldest first. */
struct message_probe {
	int64_t at_unix_us;
	enum reason reason;
	int64_t total_us;        /* -1 = it has none */
};

struct message_certificate {
	char *subject;
	char *issuer;
	int64_t not_before_unix_s;
	int64_t not_after_unix_s;
	char *fingerprint;       /* hex */
	char *key;               /* "RSA 2048"; these are NULL in what an older version wrote */
	char *signature;         /* "sha256WithRSAEncryption" */
	char *chain;             /* subjects up to what is trusted: "CN=shop < CN=R3 < CN=Root"; NULL: none is */
	char *changed;           /* in which way it is another than before, where that is the news */
	char *tls;               /* what was agreed on: "TLS 1.3, TLS_AES_256_GCM_SHA384, x25519, ALPN h2" */
};

/* What one notice shows. NULL: there is none. All text is cleaned already. */
struct message_item {
	int64_t incident;        /* 0: none (a test, "no longer watched" without one) */
	enum event_kind event;
	char *target;
	char *address;           /* as configured, host:port */
	char *reached;           /* "192.0.2.1:443", the IP tried last */
	char *group;
	char *location;
	struct label *labels;
	size_t label_count;
	char *description;
	char *runbook;
	enum check check;
	enum level level;        /* now */
	enum level before;       /* what this sender was told before; of a missed problem its worst */
	enum reason reason;      /* of the incident, also when it is over */
	enum phase phase;
	char *detail;            /* errno text, alert, ... */
	int64_t since_unix_us;
	int64_t ended_unix_us;   /* 0 = not over */
	bool missed;             /* over before anyone was told: one message tells both */
	bool unwatched;          /* over because the target is no longer in the configuration */
	struct message_certificate *certificate;
	struct message_probe probes[MESSAGE_PROBES_MAX];
	size_t probe_count;
};

struct message {
	char *id;                /* [0-9a-z.-], at most MESSAGE_ID_BYTES; Message-ID and webhook-id are made of it */
	char *sender;
	char *group_key;
	char *thread;            /* id of the first message of the (first) incident, NULL if this is the first */
	int64_t created_unix_us;
	bool drill;              /* portbell test */
	struct message_item *items;
	size_t item_count;
};

void message_item_write(struct json_writer *w, const struct message_item *item);
void message_item_done(struct message_item *item);
/* The body from items that message_item_write() made; at least one, and one an incident. */
char *message_compose(const char *id, const char *sender, const char *group_key, const char *thread,
		      int64_t created_unix_us, bool drill, const char *const *items, size_t item_count);
struct message *message_parse(const char *body, struct error *err); /* NULL: not a body of ours */
void message_free(struct message *message); /* NULL is fine */

bool message_item_is_over(const struct message_item *item);
/* What there is to say of one item: "connection refused", "up again after 4 min 12 s". */
void message_item_story(struct str *out, const struct message *message, const struct message_item *item);
enum level message_level(const struct message *message); /* the worst of its items; ok if all are over */
/* "[CRITICAL] shop: connection refused #412". The caller frees. */
char *message_title(const struct message *message);
/* The plain text of a mail, at `now` ("delivered 7 min late" when now is over 2 min after created). */
char *message_text(const struct message *message, int64_t now_unix_us);
char *message_html(const struct message *message, int64_t now_unix_us);

#endif
