/* SPDX-License-Identifier: MIT */
/* What a probe offers, where that is less than all. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/io/tls_private.h"

struct tls_offer {
	int min;           /* 0: as it is */
	int max;
	char *ciphers;     /* up to TLS 1.2; NULL: as they are */
	char *suites;      /* of TLS 1.3 */
	uint8_t *alpn;     /* as on the wire (RFC 7301 section 3.1) */
	size_t alpn_bytes;
};

static const int versions[] = {
	[TLS_1_0] = TLS1_VERSION, [TLS_1_1] = TLS1_1_VERSION,
	[TLS_1_2] = TLS1_2_VERSION, [TLS_1_3] = TLS1_3_VERSION,
};

static const char separators[] = ":, ;";

/* Older suites have key exchange and authentication in their names. */
static bool is_suite_of_13(const char *word)
{
	return str_starts(word, "TLS_") && strstr(word, "_WITH_") == NULL;
}

static bool is_among(const char *word, const char *list)
{
	const size_t bytes = strlen(word);

	for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word))
		if ((at == list || at[-1] == ':') && (at[bytes] == ':' || at[bytes] == '\0'))
			return true;
	return false;
}

/* OpenSSL ignores a word that it does not know beside one that it does: each is asked about alone. */
static bool check_word(SSL_CTX *ctx, const char *word, struct error *err)
{
	AUTO(string) char *clean = str_clean(word, strlen(word), 100);

	if (is_suite_of_13(word))
		return is_among(word, tls_probe_ciphersuites) ||
		       error_set(err, "there is no TLS 1.3 cipher suite \"%s\"", clean);
	/* What is excluded need not exist, and a command is no cipher. */
	if (word[0] == '!' || word[0] == '-' || word[0] == '@')
		return true;
	return SSL_CTX_set_cipher_list(ctx, word[0] == '+' ? word + 1 : word) == 1 ||
	       error_set(err, "no cipher is called \"%s\"", clean);
}

static void add_word(struct str *list, const char *word)
{
	str_add(list, list->bytes > 0 ? ":" : "");
	str_add(list, word);
}

/* The words of a list, to those of TLS 1.3 and to the others. */
static bool split_ciphers(SSL_CTX *ctx, const char *ciphers, struct str *old, struct str *suites,
			  struct error *err)
{
	AUTO(string) char *words = mem_strdup(ciphers);
	char *rest = words;
	char *word;

	while ((word = strsep(&rest, separators)) != NULL) {
		if (word[0] == '\0')
			continue;
		if (!check_word(ctx, word, err))
			return false;
		add_word(is_suite_of_13(word) ? suites : old, word);
	}
	if (old->bytes == 0 && suites->bytes == 0)
		return error_set(err, "names no cipher");
	return old->bytes == 0 || SSL_CTX_set_cipher_list(ctx, old->data) == 1 ||
	       error_set(err, "no cipher is left of this list");
}

static bool set_ciphers(struct tls_offer *offer, const char *ciphers, struct error *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct str old = { 0 };
	struct str suites = { 0 };
	bool good = ctx != NULL ? split_ciphers(ctx, ciphers, &old, &suites, err) :
				  error_set(err, "out of memory inside OpenSSL");

	if (good && old.bytes == 0)
		offer->min = TLS1_3_VERSION;
	if (good && old.bytes == 0 && offer->max < TLS1_3_VERSION)
		good = error_set(err, "names only suites of TLS 1.3, which max_version does not allow");
	offer->ciphers = old.bytes > 0 ? str_take(&old) : NULL;
	offer->suites = suites.bytes > 0 ? str_take(&suites) : NULL;
	str_done(&old);
	str_done(&suites);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return good;
}

static bool set_alpn(struct tls_offer *offer, const char *const *alpn, size_t count, struct error *err)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		if (alpn[i][0] == '\0' || strlen(alpn[i]) > 255)
			return error_set(err, "an ALPN protocol has 1 to 255 bytes");
		bytes += 1 + strlen(alpn[i]);
	}
	offer->alpn = mem_array(bytes, 1);
	for (size_t i = 0; i < count; i++) {
		const size_t name_bytes = strlen(alpn[i]);

		offer->alpn[offer->alpn_bytes++] = (uint8_t)name_bytes;
		memcpy(offer->alpn + offer->alpn_bytes, alpn[i], name_bytes);
		offer->alpn_bytes += name_bytes;
	}
	return true;
}

struct tls_offer *tls_offer_new(enum tls_version max, const char *ciphers, const char *const *alpn,
				size_t alpn_count, struct error *err)
{
	struct tls_offer *offer = mem_new(struct tls_offer);

	offer->max = versions[max];
	if ((ciphers != NULL && !set_ciphers(offer, ciphers, err)) || !set_alpn(offer, alpn, alpn_count, err))
		tls_offer_free(TAKE(offer));
	return offer;
}

void tls_offer_free(struct tls_offer *offer)
{
	if (offer == NULL)
		return;
	free(offer->ciphers);
	free(offer->suites);
	free(offer->alpn);
	free(offer);
}

bool tls_offer_apply(const struct tls_offer *offer, SSL *ssl)
{
	if (SSL_set_max_proto_version(ssl, offer->max) != 1 ||
	    (offer->min != 0 && SSL_set_min_proto_version(ssl, offer->min) != 1))
		return false;
	if ((offer->ciphers != NULL && SSL_set_cipher_list(ssl, offer->ciphers) != 1) ||
	    (offer->suites != NULL && SSL_set_ciphersuites(ssl, offer->suites) != 1))
		return false;
	/* Of OpenSSL's functions the one whose 0 is success. */
	return offer->alpn_bytes == 0 ||
	       SSL_set_alpn_protos(ssl, offer->alpn, (unsigned int)offer->alpn_bytes) == 0;
}
