/* SPDX-License-Identifier: MIT */
#include "lib/io/tls.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum {
	STEP_BYTES = 64 * 1024,
	HANDSHAKE_BYTES = 1024 * 1024,
	LISTEN_BYTES = 4096,
	NAME_BYTES = 256 /* of a server name, with its end */
};

static const char list_too_long[] = "certificate list too big (more than 384 KiB)";
static const char endless[] = "handshake too long (more than 1 MiB and no end)";

/*
 * OpenSSL goes on as long as there is something to read, and some messages lead nowhere: HelloRequests in a
 * handshake, tickets and new keys after it. A peer that says nothing else and is fast would hold the loop for ever.
 */
static long on_bio(BIO *bio, int operation, const char *data, size_t bytes, int number, long larger, int status,
		   size_t *processed)
{
	struct tls_session *session = (struct tls_session *)BIO_get_callback_arg(bio);

	(void)data;
	(void)bytes;
	(void)number;
	(void)larger;
	if (operation == (BIO_CB_READ | BIO_CB_RETURN) && status > 0)
		session->bytes += *processed;
	if (operation != BIO_CB_READ || session->bytes < session->bytes_max)
		return status;
	session->cut = true;
	BIO_clear_retry_flags(bio);
	BIO_set_retry_read(bio);
	return -1;
}

/* What may be read from the socket until the next step. */
static void session_allow(struct tls_session *session, size_t bytes)
{
	session->bytes_max = session->bytes + bytes;
	session->cut = false;
	ERR_clear_error();
	errno = 0;
}

/* Session */

static bool session_set_name(struct tls_session *session, const char *name)
{
	char sni[NAME_BYTES];

	session->name_bytes = strlen(name);
	if (address_from_literal(name, 0, &session->literal))
		return true;
	session->literal.family = 0;
	if (session->name_bytes > 0 && name[session->name_bytes - 1] == '.')
		session->name_bytes--;
	if (session->name_bytes == 0 || session->name_bytes >= sizeof(sni))
		return false;
	memcpy(sni, name, session->name_bytes);
	sni[session->name_bytes] = '\0';
	return SSL_set_tlsext_host_name(session->ssl, sni) == 1;
}

struct tls_session *tls_session_new(struct tls_context *context, int fd, const struct tls_wish *wish,
				    struct error *err)
{
	struct tls_session *session = mem_new(struct tls_session);

	ERR_clear_error();
	session->context = context;
	session->wish = wish;
	session->ssl = SSL_new(context->ssl_ctx);
	if (session->ssl == NULL || SSL_set_fd(session->ssl, fd) != 1 ||
	    SSL_set_app_data(session->ssl, session) != 1 || !session_set_name(session, wish->server_name) ||
	    (wish->offer != NULL && !tls_offer_apply(wish->offer, session->ssl)) ||
	    (wish->staple && SSL_set_tlsext_status_type(session->ssl, TLSEXT_STATUSTYPE_ocsp) != 1)) {
		error_set(err, "a TLS session cannot be made: %s", tls_library_words());
		tls_session_free(TAKE(session));
		return NULL;
	}
	BIO_set_callback_ex(SSL_get_rbio(session->ssl), on_bio);
	BIO_set_callback_arg(SSL_get_rbio(session->ssl), (char *)session);
	return session;
}

/* What the error queue tells; it is empty afterwards. All strings are OpenSSL's constants. */
struct cause {
	const char *first;  /* the root of it */
	const char *newest;
	int ssl_reason;     /* SSL_R_*, the newest; 0: none */
	bool memory;
};

static struct cause cause_take(void)
{
	struct cause cause = { 0 };
	unsigned long code;

	while ((code = ERR_get_error()) != 0) {
		cause.newest = ERR_reason_error_string(code);
		if (cause.first == NULL)
			cause.first = cause.newest;
		if (ERR_GET_LIB(code) == ERR_LIB_SSL)
			cause.ssl_reason = ERR_GET_REASON(code);
		cause.memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
	}
	return cause;
}

/* The library's common reasons (ERR_R_ASN1_LIB) are far above those that stand for alerts. */
static bool is_alert(const struct cause *cause)
{
	return cause->ssl_reason >= SSL_AD_REASON_OFFSET && cause->ssl_reason <= SSL_AD_REASON_OFFSET + UINT8_MAX;
}

static char *alert_text(const struct cause *cause)
{
	int alert = cause->ssl_reason - SSL_AD_REASON_OFFSET;
	const char *name = SSL_alert_desc_string_long(alert);

	if (strcmp(name, "unknown") == 0)
		name = cause->newest != NULL ? cause->newest : "unknown alert";
	return mem_printf("%s (alert %d)", name, alert);
}

static char *protocol_text(const struct tls_session *session, const struct cause *cause)
{
	const char *newest = cause->newest != NULL ? cause->newest : "no reason given";

	if (session->refused != NULL)
		return mem_strdup(session->refused);
	switch (cause->ssl_reason) {
	case SSL_R_EXCESSIVE_MESSAGE_SIZE:
		if (SSL_get_state(session->ssl) == TLS_ST_CR_CERT)
			return mem_strdup(list_too_long);
		break;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_UNEXPECTED_RECORD:
		return mem_printf("%s (not TLS?)", newest);
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_WRONG_SSL_VERSION:
		return mem_printf("%s (older than TLS 1.0?)", newest);
	default:
		break;
	}
	if (cause->first != NULL && strcmp(cause->first, newest) != 0)
		return mem_printf("%s: %s", newest, cause->first);
	return mem_strdup(newest);
}

static char *errno_text(int error_number)
{
	errno = error_number;
	return mem_printf("%m");
}

static enum reason errno_reason(int error_number)
{
	switch (error_number) {
	case ECONNRESET:
		return REASON_CONNECT_RESET;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
		return REASON_CONNECT_UNREACHABLE;
	case ETIMEDOUT:
		return REASON_TLS_TIMEOUT;
	case ENOMEM:
	case ENOBUFS:
		return REASON_LOCAL_ERROR;
	default:
		return REASON_TLS_CLOSED;
	}
}

static void session_fail(struct tls_session *session, int ssl_error, int error_number)
{
	struct cause cause = cause_take();

	/* What comes after it, as of a goodbye, is no news. */
	if (session->failure != REASON_OK)
		return;
	if (session->local_trouble || cause.memory) {
		session->failure = REASON_LOCAL_ERROR;
		session->failure_text = mem_strdup("out of memory inside OpenSSL");
	} else if (is_alert(&cause)) {
		session->failure = REASON_TLS_ALERT;
		session->failure_text = alert_text(&cause);
	} else if (ssl_error == SSL_ERROR_SYSCALL && error_number != 0) {
		session->failure = errno_reason(error_number);
		session->error_number = error_number;
		session->failure_text = errno_text(error_number);
	} else if (ssl_error != SSL_ERROR_SSL || cause.ssl_reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		session->failure = REASON_TLS_CLOSED;
		session->failure_text = mem_strdup("closed by the peer during the handshake");
	} else {
		session->failure = REASON_TLS_PROTOCOL;
		session->failure_text = protocol_text(session, &cause);
	}
}

static enum tls_step session_step(struct tls_session *session, int status)
{
	const int error_number = errno;
	const int ssl_error = SSL_get_error(session->ssl, status);

	switch (ssl_error) {
	case SSL_ERROR_NONE:
		ERR_clear_error();
		return TLS_STEP_DONE;
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_STEP_WANT_WRITE;
	default:
		session_fail(session, ssl_error, error_number);
		return TLS_STEP_FAILED;
	}
}

static enum tls_step session_connect(struct tls_session *session)
{
	enum tls_step step;

	session_allow(session, STEP_BYTES);
	step = session_step(session, SSL_connect(session->ssl));
	if (step != TLS_STEP_WANT_READ || !session->cut)
		return step;
	if (session->bytes < HANDSHAKE_BYTES)
		return TLS_STEP_AGAIN;
	session->refused = endless;
	session_fail(session, SSL_ERROR_SSL, 0);
	return TLS_STEP_FAILED;
}

enum tls_step tls_session_handshake(struct tls_session *session, int64_t now_unix_s)
{
	enum tls_step step;

	assert(session->failure == REASON_OK);
	session->now_unix_s = now_unix_s;
	step = session_connect(session);
	if (step == TLS_STEP_DONE)
		agreed_judge(session);
	if (session->wish->staple && (step == TLS_STEP_DONE || step == TLS_STEP_FAILED))
		staple_judge(session, step == TLS_STEP_DONE);
	return step;
}

bool tls_session_may_be_refused(const struct tls_session *session)
{
	return session->asked && SSL_version(session->ssl) >= TLS1_3_VERSION;
}

enum tls_step tls_session_listen(struct tls_session *session)
{
	enum tls_step step;
	char unused;

	if (!session->listening) {
		session->listening = true;
		session_allow(session, LISTEN_BYTES);
		SSL_set_read_ahead(session->ssl, 0); /* else a read would take 16 KiB */
	}
	ERR_clear_error();
	errno = 0;
	step = session_step(session, SSL_peek(session->ssl, &unused, sizeof(unused)));
	return step == TLS_STEP_WANT_READ && session->cut ? TLS_STEP_DONE : step;
}

enum tls_step tls_session_read(struct tls_session *session, void *data, size_t capacity, size_t *got)
{
	enum tls_step step;

	*got = 0;
	session_allow(session, STEP_BYTES);
	step = session_step(session, SSL_read_ex(session->ssl, data, capacity, got));
	return step == TLS_STEP_WANT_READ && session->cut ? TLS_STEP_AGAIN : step;
}

/* A write that had to wait may be given again from another place, and part of it may go. */
enum tls_step tls_session_write(struct tls_session *session, const void *data, size_t bytes, size_t *sent)
{
	*sent = 0;
	session_allow(session, STEP_BYTES);
	return session_step(session, SSL_write_ex(session->ssl, data, bytes, sent));
}

enum reason tls_session_failure(const struct tls_session *session, const char **text, int *error_number)
{
	*text = session->failure_text;
	*error_number = session->error_number;
	return session->failure;
}

void tls_session_certificate(const struct tls_session *session, struct certificate *certificate)
{
	*certificate = session->certificate;
}

struct tls_facts *tls_session_facts(struct tls_session *session)
{
	const STACK_OF(X509) *chain = SSL_get_peer_cert_chain(session->ssl);
	struct tls_facts *facts;

	if (!session->certificate.present || chain == NULL)
		return NULL;
	facts = cert_chain_facts(chain);
	agreed_explain(session, facts);
	facts->asked = session->asked;
	facts->verified_not_after_unix_s = session->verdict.verified_not_after_unix_s;
	verdict_explain(session, facts);
	facts->staple_text = staple_explain(session);
	facts->inquiry = inquiry_new(session);
	return facts;
}

void tls_session_goodbye(struct tls_session *session)
{
	if (session->failure != REASON_OK || !SSL_is_init_finished(session->ssl))
		return;
	ERR_clear_error();
	SSL_shutdown(session->ssl);
	ERR_clear_error();
}

void tls_session_free(struct tls_session *session)
{
	if (session == NULL)
		return;
	SSL_free(session->ssl);
	way_done(&session->way);
	free(session->failure_text);
	free(session);
}
