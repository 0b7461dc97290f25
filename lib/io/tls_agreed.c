/* SPDX-License-Identifier: MIT */
/* What client and server agreed on, and whether that is as required. */
#include <string.h>

#include <openssl/ssl.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls_private.h"
#include "lib/proto/expect.h"

static const struct {
	int number;
	const char *text;
} versions[] = {
	[TLS_1_0] = { TLS1_VERSION, "TLS 1.0" }, [TLS_1_1] = { TLS1_1_VERSION, "TLS 1.1" },
	[TLS_1_2] = { TLS1_2_VERSION, "TLS 1.2" }, [TLS_1_3] = { TLS1_3_VERSION, "TLS 1.3" },
};

static const char *version_text(const SSL *ssl)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (versions[i].number == SSL_version(ssl))
			return versions[i].text;
	return SSL_get_version(ssl);
}

static const char *cipher_text(const SSL *ssl)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	return cipher != NULL ? SSL_CIPHER_standard_name(cipher) : NULL;
}

/* NULL without one: RSA key exchange. Hybrid ones have names too, where OpenSSL knows them. */
static const char *group_text(SSL *ssl)
{
	long group = SSL_get_negotiated_group(ssl);

	return group > 0 ? SSL_group_to_name(ssl, (int)group) : NULL;
}

struct alpn {
	const unsigned char *name;
	unsigned int bytes; /* 0: none */
};

static struct alpn alpn_of(const SSL *ssl)
{
	struct alpn alpn;

	SSL_get0_alpn_selected(ssl, &alpn.name, &alpn.bytes);
	return alpn;
}

bool tls_pattern_holds(const struct tls_pattern *pattern, const char *text)
{
	if (pattern->expect == NULL)
		return true;
	return text != NULL && expect_matches(pattern->expect, text, strlen(text)) == EXPECT_FOUND;
}

static bool is_cipher_fine(const struct tls_pattern *pattern, const SSL *ssl)
{
	return tls_pattern_holds(pattern, cipher_text(ssl)) ||
	       tls_pattern_holds(pattern, SSL_get_cipher_name(ssl));
}

static enum reason judge(const struct tls_session *session)
{
	const struct tls_requirement *require = &session->wish->require;

	if (SSL_version(session->ssl) < versions[require->version].number)
		return REASON_TLS_VERSION;
	if (!is_cipher_fine(&require->ciphers, session->ssl))
		return REASON_TLS_CIPHER;
	if (!tls_pattern_holds(&require->group, group_text(session->ssl)))
		return REASON_TLS_GROUP;
	if (require->alpn != NULL) {
		const struct alpn alpn = alpn_of(session->ssl);

		if (alpn.bytes != strlen(require->alpn) || memcmp(alpn.name, require->alpn, alpn.bytes) != 0)
			return REASON_TLS_ALPN;
	}
	return REASON_OK;
}

void agreed_judge(struct tls_session *session)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(session->ssl);
	const struct alpn alpn = alpn_of(session->ssl);
	const int64_t numbers[] = {
		SSL_version(session->ssl), cipher != NULL ? SSL_CIPHER_get_protocol_id(cipher) : 0,
		SSL_get_negotiated_group(session->ssl),
	};
	/* A hash of 0 would be taken for no handshake. */
	const uint64_t hash = str_hash(alpn.name, alpn.bytes, str_hash(numbers, sizeof(numbers), 0)) | 1;

	session->certificate.agreed = hash;
	session->certificate.tls = judge(session);
}

static char *explain(const struct tls_session *session, const struct tls_facts *facts)
{
	const struct tls_requirement *require = &session->wish->require;

	switch (session->certificate.tls) {
	case REASON_TLS_VERSION:
		return mem_printf("%s, at least %s is required", facts->version, versions[require->version].text);
	case REASON_TLS_CIPHER:
		return mem_printf("%s, one like \"%s\" is required", facts->cipher, require->ciphers.text);
	case REASON_TLS_GROUP:
		return mem_printf("%s, one like \"%s\" is required", facts->group != NULL ? facts->group : "none",
				  require->group.text);
	case REASON_TLS_ALPN:
		return mem_printf("%s, %s is required", facts->alpn != NULL ? facts->alpn : "none", require->alpn);
	default:
		return NULL;
	}
}

void agreed_explain(const struct tls_session *session, struct tls_facts *facts)
{
	const struct alpn alpn = alpn_of(session->ssl);

	facts->version = mem_strdup(version_text(session->ssl));
	facts->cipher = mem_strdup(cipher_text(session->ssl));
	facts->group = mem_strdup(group_text(session->ssl));
	facts->alpn = alpn.bytes > 0 ? str_clean(alpn.name, alpn.bytes, FACT_TEXT_BYTES) : NULL;
	facts->tls_text = explain(session, facts);
}
