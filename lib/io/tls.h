/* SPDX-License-Identifier: MIT */
/*
 * tls - OpenSSL for probes: a handshake on a non-blocking socket, step by step, and what it showed.
 * Facts first, verdict second: whatever the certificate is, the handshake goes on; the verdict is recorded beside it.
 *
 * struct tls_domain   an OSSL_LIB_CTX and a verdict cache; one per prober thread (on OpenSSL's default context two
 *                     threads decode no more certificates than one). Used by that thread only, but for making contexts.
 * struct tls_trust    an X509_STORE: a CA set parsed once, shared by all threads. Const after tls_trust_new().
 * struct tls_context  an SSL_CTX for one domain and one trust set; cheap. Made on the loader thread.
 * struct tls_session  one handshake. One thread.
 * Owns: each is freed by who made it, in the reverse order; a session must end before its context.
 */
#ifndef PORTBELL_IO_TLS_H
#define PORTBELL_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/rules.h"
#include "lib/eval/result.h"

struct tls_domain;
struct tls_trust;
struct tls_context;
struct tls_session;

struct tls_domain *tls_domain_new(struct error *err);
void tls_domain_free(struct tls_domain *domain);

/*
 * No files: the system's bundle ($SSL_CERT_FILE, else where OpenSSL or Debian keep it); to have none is an error.
 * With files a chain may end in any certificate of theirs: an intermediate, or the server's own. err names the
 * file. A verdict in the cache is of one tls_trust_new(), even if two read the same files.
 */
struct tls_trust *tls_trust_new(const char *const *files, size_t file_count, struct error *err);
void tls_trust_free(struct tls_trust *trust);

/*
 * A certificate of ours (and what stands between it and a root) with its key, in PEM; both may be in one file.
 * password: of the key; NULL: it has none. err names the file. Const, used by contexts only while they are made.
 */
struct tls_client;
struct tls_client *tls_client_new(const char *certificate_file, const char *key_file, const char *password,
				  struct error *err);
void tls_client_validity(const struct tls_client *client, int64_t *not_before_unix_s, int64_t *not_after_unix_s);
void tls_client_free(struct tls_client *client); /* NULL is fine; the key is wiped with its last context */

/* client: shown to servers that ask; NULL: none. */
struct tls_context *tls_context_new(struct tls_domain *domain, const struct tls_trust *trust,
				    const struct tls_client *client, struct error *err);
void tls_context_free(struct tls_context *context);

/*
 * What a probe offers, if less than all. ciphers: OpenSSL's list, in which suites of TLS 1.3 go by their names. A
 * list without any leaves TLS 1.3 as it is, one of nothing else offers TLS 1.3 alone. NULL: all. err has
 * only a text.
 * Const, shared by all threads.
 */
struct tls_offer;
struct tls_offer *tls_offer_new(enum tls_version max, const char *ciphers, const char *const *alpn,
				size_t alpn_count, struct error *err);
void tls_offer_free(struct tls_offer *offer); /* NULL is fine */

struct expect;

/* A regular expression with its own text, which people are shown and verdicts are kept under. */
struct tls_pattern {
	const struct expect *expect; /* NULL: anything goes */
	const char *text;
};

/* What must have been agreed on, judged after the handshake. Zeroed: nothing. */
struct tls_requirement {
	enum tls_version version;
	const char *alpn;          /* NULL: any or none */
	struct tls_pattern ciphers; /* matched against the names of RFCs and OpenSSL's */
	struct tls_pattern group;  /* what has no group does not match */
};

struct tls_wish {
	/* SNI and name to verify, never NULL; for an IP literal no SNI, its IP SAN is verified. */
	const char *server_name;
	enum verify verify;
	const struct tls_offer *offer; /* NULL: all that can show a certificate */
	struct tls_requirement require;
	const uint8_t (*pins)[PIN_BYTES]; /* the server's key must be one of them; none: any */
	size_t pin_count;
	struct tls_pattern issuer; /* of the leaf: against all of its text, its CN and its O */
	bool inquiry;              /* the facts say what is to be asked elsewhere about a revocation */
	bool staple;               /* an OCSP response is asked for and must be there, fresh and good */
};

enum tls_step {
	TLS_STEP_DONE,
	TLS_STEP_WANT_READ,
	TLS_STEP_WANT_WRITE,
	TLS_STEP_AGAIN, /* there is more to read, but others want their turn: do not wait for the socket */
	TLS_STEP_FAILED
};

/* NULL: out of memory inside OpenSSL, or a name longer than 255 (err says). The socket stays the caller's. `wish`
 * is lent until the end. Writing to a socket that the peer closed raises SIGPIPE: the program ignores it. */
struct tls_session *tls_session_new(struct tls_context *context, int fd, const struct tls_wish *wish,
				    struct error *err);
/* One step of the handshake; call again when the socket is ready. now_unix_s judges validity. After DONE or FAILED
 * the facts may be read. A step reads some 64 KiB, a handshake 1 MiB: a peer that has more to say is FAILED. */
enum tls_step tls_session_handshake(struct tls_session *session, int64_t now_unix_s);
/* After DONE: the server asked for a certificate of ours in TLS 1.3, where it refuses one, or none, only now. */
bool tls_session_may_be_refused(const struct tls_session *session);
/* Hears whether it says something next, never AGAIN. WANT_READ: nothing yet; DONE: it speaks to us (tls_session_read()
 * will get it), or has said 4 KiB that were nothing to us (tickets, new keys) and no refusal; FAILED as in the handshake. */
enum tls_step tls_session_listen(struct tls_session *session);
/* After the handshake. DONE: some bytes moved; AGAIN: it said much that was nothing to us; FAILED: tls_closed where the peer ended it in order. */
enum tls_step tls_session_read(struct tls_session *session, void *data, size_t capacity, size_t *got);
enum tls_step tls_session_write(struct tls_session *session, const void *data, size_t bytes, size_t *sent);
/* After FAILED: tls_alert, tls_protocol, tls_closed; the kernel's connect_reset, connect_unreachable, tls_timeout;
 * local_error without memory, in OpenSSL or the kernel. text is cleaned and lent; *error_number is errno or 0. */
enum reason tls_session_failure(const struct tls_session *session, const char **text, int *error_number);
/* What was shown, also after a failure in which the certificate had already come; present is false if none had. */
void tls_session_certificate(const struct tls_session *session, struct certificate *certificate);
/* Heap copies for people; the caller frees with tls_facts_free(). NULL if nothing was shown. */
struct tls_facts *tls_session_facts(struct tls_session *session);
/* Each message of the handshake, and each alert, in words ("ClientHello", "alert: bad certificate"): for who reads along.
 * Called from within the steps. */
typedef void tls_message_fn(void *arg, bool sent, const char *name, size_t bytes);
void tls_session_on_message(struct tls_session *session, tls_message_fn *on_message, void *arg);
/* Sends close_notify if it can without waiting; never blocks. */
void tls_session_goodbye(struct tls_session *session);
void tls_session_free(struct tls_session *session); /* NULL is fine */

/* Verdicts served from the cache and made anew, since the domain was made. */
void tls_domain_counts(const struct tls_domain *domain, uint64_t *cached, uint64_t *verified);

#endif
