/* SPDX-License-Identifier: MIT */
#include "lib/io/cert.h"

#include <arpa/inet.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { SERIAL_BYTES_MAX = 64, OBJECT_TEXT_BYTES = 128, WEAK_BITS = 2048, WEAK_EC_BITS = 224 };

/* Dates */

int64_t cert_time_unix_s(const ASN1_TIME *time)
{
	struct tm tm;

	if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
		return 0;
	return timegm(&tm);
}

int64_t cert_not_before_unix_s(const X509 *x509)
{
	return cert_time_unix_s(X509_get0_notBefore(x509));
}

int64_t cert_not_after_unix_s(const X509 *x509)
{
	return cert_time_unix_s(X509_get0_notAfter(x509));
}

int64_t cert_earliest_end_unix_s(const STACK_OF(X509) *chain, int first)
{
	int64_t earliest = INT64_MAX;

	for (int i = first; i < sk_X509_num(chain); i++) {
		int64_t end = cert_not_after_unix_s(sk_X509_value(chain, i));

		if (end < earliest)
			earliest = end;
	}
	return earliest;
}

static void bound_sooner(int64_t *bound, int64_t candidate, int64_t now_unix_s)
{
	if (candidate > now_unix_s && candidate < *bound)
		*bound = candidate;
}

int64_t cert_next_bound_unix_s(const STACK_OF(X509) *chain, int64_t now_unix_s)
{
	int64_t bound = INT64_MAX;

	for (int i = 0; i < sk_X509_num(chain); i++) {
		const X509 *x509 = sk_X509_value(chain, i);

		bound_sooner(&bound, cert_not_before_unix_s(x509), now_unix_s);
		bound_sooner(&bound, cert_not_after_unix_s(x509), now_unix_s);
	}
	return bound;
}

/* Verdicts */

/* By its names and key identifiers; the signature would cost more than it tells. */
static bool cert_is_self_signed(X509 *x509)
{
	return (X509_get_extension_flags(x509) & EXFLAG_SS) != 0;
}

bool cert_is_for_name(X509 *x509, const char *name, size_t name_bytes)
{
	/* To OpenSSL a leading dot means "any name below", and nobody can mean that by the name of a server. */
	if (name_bytes == 0 || name[0] == '.')
		return false;
	return X509_check_host(x509, name, name_bytes, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

bool cert_is_for_address(X509 *x509, const struct address *address)
{
	return X509_check_ip(x509, address->bytes, address->family == 6 ? 16 : 4, 0) == 1;
}

enum reason cert_reason(int verify_error)
{
	switch (verify_error) {
	case X509_V_OK:
		return REASON_OK;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return REASON_CERT_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return REASON_CERT_NOT_YET_VALID;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		return REASON_CERT_SELF_SIGNED;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return REASON_CERT_HOSTNAME;
	case X509_V_ERR_CERT_REVOKED:
		return REASON_CERT_REVOKED;
	default:
		return REASON_CERT_UNTRUSTED;
	}
}

static bool is_key_weak(const EVP_PKEY *key)
{
	switch (key != NULL ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
	case EVP_PKEY_DSA:
	case EVP_PKEY_DH:
		return EVP_PKEY_get_bits(key) < WEAK_BITS;
	case EVP_PKEY_EC:
		return EVP_PKEY_get_bits(key) < WEAK_EC_BITS;
	default:
		return false;
	}
}

static bool is_signature_weak(X509 *x509)
{
	int digest = NID_undef;

	if (X509_get_signature_info(x509, &digest, NULL, NULL, NULL) != 1 && digest == NID_undef)
		return false;
	switch (digest) {
	case NID_md2:
	case NID_md4:
	case NID_md5:
	case NID_md5_sha1:
	case NID_sha1:
		return true;
	default:
		return false;
	}
}

enum reason cert_weakness(X509 *x509, bool anchor)
{
	if (is_key_weak(X509_get0_pubkey(x509)))
		return REASON_CERT_WEAK_KEY;
	if (!anchor && !cert_is_self_signed(x509) && is_signature_weak(x509))
		return REASON_CERT_WEAK_SIGNATURE;
	return REASON_OK;
}

/* Text */

/* RFC 4514 section 2.4, on bytes that are cleaned afterwards. */
static void add_escaped(struct str *str, const unsigned char *value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		bool first = i == 0 && (value[i] == ' ' || value[i] == '#');
		bool last = i == bytes - 1 && value[i] == ' ';

		if (first || last || (value[i] != '\0' && strchr(",+\"\\<>;", value[i]) != NULL))
			str_add_char(str, '\\');
		str_add_char(str, (char)value[i]);
	}
}

static void add_object(struct str *str, const ASN1_OBJECT *object)
{
	char text[OBJECT_TEXT_BYTES];
	int nid = OBJ_obj2nid(object);

	if (nid != NID_undef)
		str_add(str, OBJ_nid2sn(nid));
	else if (OBJ_obj2txt(text, sizeof(text), object, 1) > 0)
		str_add(str, text);
	else
		str_add(str, "?");
}

/* Wide strings (BMPString) and Latin-1 become UTF-8; where that fails the bytes are shown as they are. */
static void add_value(struct str *str, const ASN1_STRING *value)
{
	unsigned char *utf8 = NULL;
	int converted = ASN1_STRING_to_UTF8(&utf8, value);
	size_t bytes = (size_t)(converted >= 0 ? converted : ASN1_STRING_length(value));

	/* One whole character more than is shown, so that the cut is told and splits none. */
	if (bytes > FACT_TEXT_BYTES + 4)
		bytes = FACT_TEXT_BYTES + 4;
	add_escaped(str, converted >= 0 ? utf8 : ASN1_STRING_get0_data(value), bytes);
	OPENSSL_free(utf8);
}

/* RFC 4514 section 2.4: what has no name but its number is "#" and the hex of the DER. */
static void add_hex(struct str *str, ASN1_STRING *value)
{
	const ASN1_TYPE any = { .type = ASN1_STRING_type(value), .value = { .asn1_string = value } };
	unsigned char *der = NULL;
	const int bytes = i2d_ASN1_TYPE(&any, &der);

	str_add_char(str, '#');
	for (int i = 0; i < bytes && i < FACT_TEXT_BYTES; i++)
		str_addf(str, "%02x", der[i]);
	OPENSSL_free(der);
}

/* RFC 4514: the last part first, parts of one RDN joined by a plus. */
static char *name_text(const X509_NAME *name)
{
	struct str raw = { 0 };
	char *text;
	int set = -1;

	for (int i = X509_NAME_entry_count(name) - 1; i >= 0 && raw.bytes <= FACT_TEXT_BYTES; i--) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);

		if (set != -1)
			str_add_char(&raw, set == X509_NAME_ENTRY_set(entry) ? '+' : ',');
		set = X509_NAME_ENTRY_set(entry);
		add_object(&raw, X509_NAME_ENTRY_get_object(entry));
		str_add_char(&raw, '=');
		if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_undef)
			add_value(&raw, X509_NAME_ENTRY_get_data(entry));
		else
			add_hex(&raw, X509_NAME_ENTRY_get_data(entry));
	}
	text = str_clean(raw.data, raw.bytes, FACT_TEXT_BYTES);
	str_done(&raw);
	return text;
}

char *cert_subject_text(const X509 *x509)
{
	return name_text(X509_get_subject_name(x509));
}

char *cert_issuer_text(const X509 *x509)
{
	return name_text(X509_get_issuer_name(x509));
}

char *cert_issuer_part(const X509 *x509, int nid)
{
	const X509_NAME *name = X509_get_issuer_name(x509);
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	unsigned char *utf8 = NULL;
	char *text = NULL;
	int bytes;

	if (at < 0)
		return NULL;
	bytes = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (bytes >= 0)
		text = str_clean(utf8, (size_t)bytes, FACT_TEXT_BYTES);
	OPENSSL_free(utf8);
	return text;
}

char *cert_issuer_url(const X509 *x509)
{
	AUTHORITY_INFO_ACCESS *infos = X509_get_ext_d2i(x509, NID_info_access, NULL, NULL);
	char *url = NULL;

	for (int i = 0; url == NULL && i < sk_ACCESS_DESCRIPTION_num(infos); i++) {
		const ACCESS_DESCRIPTION *info = sk_ACCESS_DESCRIPTION_value(infos, i);

		if (OBJ_obj2nid(info->method) == NID_ad_ca_issuers && info->location->type == GEN_URI) {
			const ASN1_STRING *uri = info->location->d.uniformResourceIdentifier;

			url = str_clean(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri),
					FACT_TEXT_BYTES);
		}
	}
	AUTHORITY_INFO_ACCESS_free(infos);
	return url;
}

static char *serial_text(const ASN1_INTEGER *serial)
{
	char hex[2 * SERIAL_BYTES_MAX + 1];
	size_t bytes = (size_t)ASN1_STRING_length(serial);
	bool cut = bytes > SERIAL_BYTES_MAX;

	str_hex(ASN1_STRING_get0_data(serial), cut ? SERIAL_BYTES_MAX : bytes, hex);
	return mem_printf("%s%s%s", (ASN1_STRING_type(serial) & V_ASN1_NEG) != 0 ? "-" : "", hex,
			  cut ? "..." : "");
}

static char *object_text(const ASN1_OBJECT *object)
{
	char text[OBJECT_TEXT_BYTES];

	if (object == NULL || OBJ_obj2txt(text, sizeof(text), object, 0) <= 0)
		return mem_strdup("unknown");
	return str_clean(text, strlen(text), FACT_TEXT_BYTES);
}

char *cert_signature_text(const X509 *x509)
{
	const X509_ALGOR *algorithm;
	const ASN1_OBJECT *object;

	X509_get0_signature(NULL, &algorithm, x509);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	return object_text(object);
}

static char *unknown_key_text(const X509 *x509)
{
	ASN1_OBJECT *object = NULL;

	X509_PUBKEY_get0_param(&object, NULL, NULL, NULL, X509_get_X509_PUBKEY(x509));
	return object_text(object);
}

static char *ec_key_text(const EVP_PKEY *key)
{
	char group[OBJECT_TEXT_BYTES];
	const char *nist;

	if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1)
		return mem_printf("EC %d", EVP_PKEY_get_bits(key));
	nist = EC_curve_nid2nist(OBJ_sn2nid(group));
	return mem_printf("EC %s", nist != NULL ? nist : group);
}

char *cert_key_text(const X509 *x509)
{
	const EVP_PKEY *key = X509_get0_pubkey(x509);

	if (key == NULL || EVP_PKEY_get0_type_name(key) == NULL)
		return unknown_key_text(x509);
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_EC:
		return ec_key_text(key);
	case EVP_PKEY_ED25519:
		return mem_strdup("Ed25519");
	case EVP_PKEY_ED448:
		return mem_strdup("Ed448");
	default:
		return mem_printf("%s %d", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
	}
}

/* Subject alternative names */

static void add_ip(struct str *str, const ASN1_OCTET_STRING *ip)
{
	char text[INET6_ADDRSTRLEN];
	int bytes = ASN1_STRING_length(ip);

	if ((bytes == 4 || bytes == 16) &&
	    inet_ntop(bytes == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof(text)) != NULL)
		str_addf(str, "IP:%s", text);
	else
		str_addf(str, "IP:(%d bytes)", bytes);
}

static void add_tagged(struct str *str, const char *tag, const ASN1_STRING *value)
{
	str_add(str, tag);
	str_add_clean(str, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value), FACT_TEXT_BYTES);
}

static char *san_text(const GENERAL_NAME *name)
{
	struct str str = { 0 };
	char *text = NULL;

	switch (name->type) {
	case GEN_DNS:
		add_tagged(&str, "DNS:", name->d.dNSName);
		break;
	case GEN_EMAIL:
		add_tagged(&str, "email:", name->d.rfc822Name);
		break;
	case GEN_URI:
		add_tagged(&str, "URI:", name->d.uniformResourceIdentifier);
		break;
	case GEN_IPADD:
		add_ip(&str, name->d.iPAddress);
		break;
	case GEN_DIRNAME:
		text = name_text(name->d.directoryName);
		str_addf(&str, "DirName:%s", text);
		break;
	case GEN_RID:
		text = object_text(name->d.registeredID);
		str_addf(&str, "RID:%s", text);
		break;
	default:
		str_add(&str, "other");
	}
	free(text);
	return str_take(&str);
}

static void read_sans(const X509 *x509, struct certificate_facts *facts)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
	int total = names == NULL ? 0 : sk_GENERAL_NAME_num(names);

	facts->san_total = (size_t)total;
	facts->san_count = total < FACT_SAN_MAX ? (size_t)total : FACT_SAN_MAX;
	facts->sans = facts->san_count == 0 ? NULL : mem_array(facts->san_count, sizeof(*facts->sans));
	for (size_t i = 0; i < facts->san_count; i++)
		facts->sans[i] = san_text(sk_GENERAL_NAME_value(names, (int)i));
	GENERAL_NAMES_free(names);
}

static void read_facts(X509 *x509, struct certificate_facts *facts)
{
	const EVP_PKEY *key = X509_get0_pubkey(x509);

	facts->subject = cert_subject_text(x509);
	facts->issuer = cert_issuer_text(x509);
	facts->serial = serial_text(X509_get0_serialNumber(x509));
	read_sans(x509, facts);
	facts->not_before_unix_s = cert_not_before_unix_s(x509);
	facts->not_after_unix_s = cert_not_after_unix_s(x509);
	facts->key = cert_key_text(x509);
	facts->key_bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;
	facts->strength_bits = key != NULL ? EVP_PKEY_get_security_bits(key) : 0;
	facts->signature = cert_signature_text(x509);
	facts->ca = X509_check_ca(x509) > 0;
	facts->self_signed = cert_is_self_signed(x509);
	X509_digest(x509, EVP_sha256(), facts->fingerprint, NULL);
}

struct certificate_facts *cert_read_chain(const STACK_OF(X509) *chain, size_t *count)
{
	int total = sk_X509_num(chain) > 0 ? sk_X509_num(chain) : 0;
	struct certificate_facts *facts;

	/* What a strange certificate leaves in OpenSSL's error queue is not the caller's. */
	ERR_set_mark();
	*count = total < FACT_CHAIN_MAX ? (size_t)total : FACT_CHAIN_MAX;
	facts = mem_array(*count, sizeof(*facts));
	for (size_t i = 0; i < *count; i++)
		read_facts(sk_X509_value(chain, (int)i), &facts[i]);
	ERR_pop_to_mark();
	return facts;
}

struct tls_facts *cert_chain_facts(const STACK_OF(X509) *chain)
{
	struct tls_facts *facts = mem_new(struct tls_facts);

	facts->chain_total = sk_X509_num(chain) > 0 ? (size_t)sk_X509_num(chain) : 0;
	facts->chain = cert_read_chain(chain, &facts->chain_count);
	return facts;
}
