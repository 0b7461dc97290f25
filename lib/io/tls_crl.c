/* SPDX-License-Identifier: MIT */
/*
 * A certificate revocation list (RFC 5280 section 5), read without OpenSSL's X509_CRL, which would need a few
 * hundred bytes for each entry: the entries are walked where they lie, and the serial numbers kept. OpenSSL reads
 * the rest and verifies the signature.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum {
	TAG_BOOLEAN = 0x01, TAG_INTEGER = 0x02, TAG_BITS = 0x03, TAG_OCTETS = 0x04, TAG_OBJECT = 0x06,
	TAG_ENUMERATED = 0x0a, TAG_UTC_TIME = 0x17, TAG_TIME = 0x18, TAG_SEQUENCE = 0x30, TAG_EXTENSIONS = 0xa0
};
enum { NO_REASON = 0xff, POINTS_MAX = 8, EXTENSIONS_MAX = 64 };

struct entry {
	uint8_t serial[INQUIRY_SERIAL_BYTES]; /* the rest is 0 */
	uint8_t serial_bytes;                 /* right behind: both together are compared */
	uint8_t reason;
	int64_t revoked_unix_s;
};
enum { ENTRY_KEY_BYTES = INQUIRY_SERIAL_BYTES + 1 };
_Static_assert(offsetof(struct entry, serial_bytes) == INQUIRY_SERIAL_BYTES, "serial and its length are one key");

struct crl {
	uint8_t issuer_id[FINGERPRINT_BYTES];
	int64_t from_unix_s;
	int64_t until_unix_s;
	bool only_user;       /* about no authorities */
	bool only_ca;         /* about nothing else */
	char *points[POINTS_MAX]; /* it is a part, for certificates that name one of these; none: the whole */
	size_t point_count;
	struct entry *entries; /* sorted */
	size_t entry_count;
};

/* DER (X.690), as far as lists need it: tags of one byte, lengths that are known. */
struct element {
	int tag;
	const uint8_t *start;
	size_t whole_bytes;
	const uint8_t *data;
	size_t bytes;
};

struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

static bool read_length(struct reader *reader, size_t *bytes)
{
	size_t left = (size_t)(reader->end - reader->at);
	size_t digits;

	if (left == 0)
		return false;
	*bytes = *reader->at++;
	if (*bytes < 0x80)
		return true;
	digits = *bytes & 0x7f;
	if (digits == 0 || digits > 4 || digits > left - 1)
		return false;
	for (*bytes = 0; digits > 0; digits--)
		*bytes = *bytes << 8 | *reader->at++;
	return true;
}

static bool next(struct reader *reader, struct element *element)
{
	struct reader after = *reader;

	if (after.at == after.end)
		return false;
	element->start = after.at;
	element->tag = *after.at++;
	if ((element->tag & 0x1f) == 0x1f || !read_length(&after, &element->bytes) ||
	    element->bytes > (size_t)(after.end - after.at))
		return false;
	element->data = after.at;
	after.at += element->bytes;
	element->whole_bytes = (size_t)(after.at - element->start);
	*reader = after;
	return true;
}

static bool next_of(struct reader *reader, int tag, struct element *element)
{
	return reader->at != reader->end && *reader->at == tag && next(reader, element);
}

static struct reader inside(const struct element *element)
{
	return (struct reader){ element->data, element->data + element->bytes };
}

static bool two_digits(const uint8_t **at, int *number)
{
	if ((*at)[0] < '0' || (*at)[0] > '9' || (*at)[1] < '0' || (*at)[1] > '9')
		return false;
	*number = ((*at)[0] - '0') * 10 + (*at)[1] - '0';
	*at += 2;
	return true;
}

/* RFC 5280 section 5.1.2.4: to the second, in Z. A list has a million of these. */
static bool time_of(const struct element *element, int64_t *unix_s)
{
	const uint8_t *at = element->data;
	int century = 20;
	struct tm tm = { 0 };

	if (element->tag == TAG_TIME ? element->bytes != 15 || !two_digits(&at, &century) :
				       element->tag != TAG_UTC_TIME || element->bytes != 13)
		return false;
	if (!two_digits(&at, &tm.tm_year) || !two_digits(&at, &tm.tm_mon) || !two_digits(&at, &tm.tm_mday) ||
	    !two_digits(&at, &tm.tm_hour) || !two_digits(&at, &tm.tm_min) || !two_digits(&at, &tm.tm_sec) ||
	    *at != 'Z')
		return false;
	if (element->tag == TAG_UTC_TIME && tm.tm_year >= 50)
		century = 19;
	tm.tm_year += century * 100 - 1900;
	tm.tm_mon--;
	*unix_s = timegm(&tm);
	return true;
}

/* Extensions, of the list or of an entry */

struct extension {
	struct element object;
	bool critical;
	struct element value; /* the octets' inside */
};

static bool next_extension(struct reader *reader, struct extension *extension)
{
	struct element whole, flag;
	struct reader in;

	if (!next_of(reader, TAG_SEQUENCE, &whole))
		return false;
	in = inside(&whole);
	extension->critical = false;
	if (!next_of(&in, TAG_OBJECT, &extension->object))
		return false;
	if (next_of(&in, TAG_BOOLEAN, &flag))
		extension->critical = flag.bytes == 1 && flag.data[0] != 0;
	return next_of(&in, TAG_OCTETS, &extension->value) && in.at == in.end;
}

/* id-ce, 2.5.29.x */
static bool is_ce(const struct extension *extension, uint8_t arc)
{
	const struct element *object = &extension->object;

	return object->bytes == 3 && object->data[0] == 0x55 && object->data[1] == 0x1d && object->data[2] == arc;
}

enum { CE_REASON_CODE = 21, CE_DELTA = 27, CE_POINT = 28 };

/* Entries */

static bool read_entry_extensions(const struct element *all, struct entry *entry, struct error *err)
{
	struct reader reader = inside(all);
	struct extension extension;

	while (reader.at != reader.end) {
		if (!next_extension(&reader, &extension))
			return error_set(err, "the list is broken: an entry's extension cannot be read");
		struct reader in = inside(&extension.value);
		struct element code;

		if (is_ce(&extension, CE_REASON_CODE) && next_of(&in, TAG_ENUMERATED, &code) && code.bytes == 1)
			entry->reason = code.data[0];
		else if (extension.critical)
			return error_set(err, "the list has entries of a kind that is not supported (indirect)");
	}
	return true;
}

/* Whether the entry can be one that we look for. */
static bool read_entry(const struct element *whole, struct entry *entry, bool *kept, struct error *err)
{
	struct reader reader = inside(whole);
	struct element serial, date, extensions;

	*entry = (struct entry){ .reason = NO_REASON };
	*kept = false;
	if (!next_of(&reader, TAG_INTEGER, &serial) || !next(&reader, &date) ||
	    !time_of(&date, &entry->revoked_unix_s))
		return error_set(err, "the list is broken: an entry cannot be read");
	if (next_of(&reader, TAG_SEQUENCE, &extensions) && !read_entry_extensions(&extensions, entry, err))
		return false;
	*kept = serial.bytes > 0 && serial.bytes <= INQUIRY_SERIAL_BYTES;
	if (*kept) {
		memcpy(entry->serial, serial.data, serial.bytes);
		entry->serial_bytes = (uint8_t)serial.bytes;
	}
	return reader.at == reader.end || error_set(err, "the list is broken: an entry has too much in it");
}

static size_t count_entries(struct reader reader)
{
	struct element element;
	size_t count = 0;

	while (next_of(&reader, TAG_SEQUENCE, &element))
		count++;
	return count;
}

static int compare_entries(const void *a, const void *b)
{
	return memcmp(a, b, ENTRY_KEY_BYTES);
}

static bool read_entries(struct crl *crl, const struct element *all, struct error *err)
{
	struct reader reader = inside(all);
	struct element element;

	crl->entries = mem_array(count_entries(reader) + 1, sizeof(*crl->entries));
	while (next_of(&reader, TAG_SEQUENCE, &element)) {
		bool kept;

		if (!read_entry(&element, &crl->entries[crl->entry_count], &kept, err))
			return false;
		crl->entry_count += kept;
	}
	if (reader.at != reader.end)
		return error_set(err, "the list is broken: an entry cannot be read");
	qsort(crl->entries, crl->entry_count, sizeof(*crl->entries), compare_entries);
	return true;
}

/* What the list is about (RFC 5280 section 5.2.5) */

static bool add_points(struct crl *crl, const DIST_POINT_NAME *name, struct error *err)
{
	if (name->type != 0)
		return error_set(err, "the list is a part that is named in a way that is not supported");
	for (int i = 0; i < sk_GENERAL_NAME_num(name->name.fullname) && crl->point_count < POINTS_MAX; i++) {
		const GENERAL_NAME *general = sk_GENERAL_NAME_value(name->name.fullname, i);

		if (general->type == GEN_URI)
			crl->points[crl->point_count++] = mem_strndup(
				(const char *)ASN1_STRING_get0_data(general->d.uniformResourceIdentifier),
				(size_t)ASN1_STRING_length(general->d.uniformResourceIdentifier));
	}
	return crl->point_count > 0 ||
	       error_set(err, "the list is a part that is named in a way that is not supported");
}

static bool read_point(struct crl *crl, const struct element *value, struct error *err)
{
	const uint8_t *at = value->data;
	ISSUING_DIST_POINT *point = d2i_ISSUING_DIST_POINT(NULL, &at, (long)value->bytes);
	bool good = point != NULL;

	if (!good) {
		error_set(err, "the list is broken: it does not say clearly what it is about");
	} else if (point->indirectCRL > 0 || point->onlysomereasons != NULL || point->onlyattr > 0) {
		good = error_set(
			err, "the list is of a kind that is not supported (indirect, or for some reasons only)");
	} else {
		crl->only_user = point->onlyuser > 0;
		crl->only_ca = point->onlyCA > 0;
		good = point->distpoint == NULL || add_points(crl, point->distpoint, err);
	}
	ISSUING_DIST_POINT_free(point);
	return good;
}

static bool read_extensions(struct crl *crl, const struct element *all, struct error *err)
{
	struct reader outer = inside(all);
	struct element list;
	struct extension extension;
	int left = EXTENSIONS_MAX;

	if (!next_of(&outer, TAG_SEQUENCE, &list) || outer.at != outer.end)
		return error_set(err, "the list is broken: its extensions cannot be read");
	for (struct reader reader = inside(&list); reader.at != reader.end; left--) {
		if (left == 0 || !next_extension(&reader, &extension))
			return error_set(err, "the list is broken: its extensions cannot be read");
		if (is_ce(&extension, CE_DELTA))
			return error_set(err, "the list has only changes to another (a delta CRL)");
		if (is_ce(&extension, CE_POINT)) {
			if (!read_point(crl, &extension.value, err))
				return false;
		} else if (extension.critical) {
			return error_set(err, "the list has an extension that must be understood, and is not");
		}
	}
	return true;
}

/* Who signed it */

struct parts {
	struct element tbs;
	struct element algorithm;
	struct element signature;
	struct element issuer;
};

static bool is_signed(const struct parts *parts, X509 *issuer)
{
	const uint8_t *tbs_at = parts->tbs.start;
	const uint8_t *algorithm_at = parts->algorithm.start;
	const uint8_t *signature_at = parts->signature.start;
	/* As one value of any kind the list is encoded again as it came. */
	ASN1_TYPE *tbs = d2i_ASN1_TYPE(NULL, &tbs_at, (long)parts->tbs.whole_bytes);
	X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &algorithm_at, (long)parts->algorithm.whole_bytes);
	ASN1_BIT_STRING *signature = d2i_ASN1_BIT_STRING(NULL, &signature_at, (long)parts->signature.whole_bytes);
	bool good = tbs != NULL && algorithm != NULL && signature != NULL &&
		    ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), algorithm, signature, tbs,
				     X509_get0_pubkey(issuer)) == 1;

	ASN1_BIT_STRING_free(signature);
	X509_ALGOR_free(algorithm);
	ASN1_TYPE_free(tbs);
	return good;
}

static bool is_issuer(const struct parts *parts, const X509_NAME *name, X509 *issuer, struct error *err)
{
	if (X509_NAME_cmp(name, X509_get_subject_name(issuer)) != 0)
		return error_set(err, "the list is of another issuer");
	if ((X509_get_key_usage(issuer) & X509v3_KU_CRL_SIGN) == 0)
		return error_set(err, "the issuer's certificate is not made for signing lists");
	return is_signed(parts, issuer) || error_set(err, "the list is not signed by the issuer");
}

static bool find_issuer(struct crl *crl, const struct parts *parts, const struct crl_issuer *issuers, size_t count,
			struct error *err)
{
	const uint8_t *at = parts->issuer.start;
	X509_NAME *name = d2i_X509_NAME(NULL, &at, (long)parts->issuer.whole_bytes);
	bool found = false;

	error_set(err, "the list is of another issuer");
	for (size_t i = 0; i < count && !found && name != NULL; i++) {
		const uint8_t *der = issuers[i].der;
		X509 *issuer = d2i_X509(NULL, &der, (long)issuers[i].der_bytes);

		found = issuer != NULL && is_issuer(parts, name, issuer, err);
		if (found)
			memcpy(crl->issuer_id, issuers[i].id, FINGERPRINT_BYTES);
		X509_free(issuer);
	}
	X509_NAME_free(name);
	return found;
}

/* The whole */

/* RFC 5280 section 5.1. Entries are read last: before that it is known that the list is the issuer's. */
static bool read_list(struct crl *crl, struct reader reader, const struct crl_issuer *issuers, size_t issuer_count,
		      struct error *err)
{
	struct element whole, inner, version, from, until, entries, extensions;
	struct parts parts;
	bool ended;

	if (!next_of(&reader, TAG_SEQUENCE, &whole) || reader.at != reader.end)
		return error_set(err, "what came is no list (CRL)");
	reader = inside(&whole);
	if (!next_of(&reader, TAG_SEQUENCE, &parts.tbs) || !next_of(&reader, TAG_SEQUENCE, &parts.algorithm) ||
	    !next_of(&reader, TAG_BITS, &parts.signature) || reader.at != reader.end)
		return error_set(err, "what came is no list (CRL)");
	reader = inside(&parts.tbs);
	next_of(&reader, TAG_INTEGER, &version);
	if (!next_of(&reader, TAG_SEQUENCE, &inner) || !next_of(&reader, TAG_SEQUENCE, &parts.issuer) ||
	    !next(&reader, &from) || !time_of(&from, &crl->from_unix_s))
		return error_set(err, "what came is no list (CRL)");
	if (inner.whole_bytes != parts.algorithm.whole_bytes ||
	    memcmp(inner.start, parts.algorithm.start, inner.whole_bytes) != 0)
		return error_set(err, "the list is broken: it names two ways in which it is signed");
	ended = (next_of(&reader, TAG_UTC_TIME, &until) || next_of(&reader, TAG_TIME, &until)) &&
		time_of(&until, &crl->until_unix_s);
	if (issuers != NULL && !find_issuer(crl, &parts, issuers, issuer_count, err))
		return false;
	if (!ended)
		return error_set(err, "the list does not say how long it holds");
	if (!next_of(&reader, TAG_SEQUENCE, &entries))
		entries = (struct element){ .data = reader.at };
	if (next_of(&reader, TAG_EXTENSIONS, &extensions) && !read_extensions(crl, &extensions, err))
		return false;
	if (reader.at != reader.end)
		return error_set(err, "the list is broken: it cannot be read to its end");
	return read_entries(crl, &entries, err);
}

/* What stands in PEM; NULL: nothing. The caller: OPENSSL_free(). */
static uint8_t *read_pem(const uint8_t *data, size_t bytes, long *der_bytes)
{
	BIO *bio = BIO_new_mem_buf(data, (int)bytes);
	char *name = NULL;
	char *header = NULL;
	uint8_t *der = NULL;

	if (bio == NULL || PEM_read_bio(bio, &name, &header, &der, der_bytes) != 1)
		der = NULL;
	OPENSSL_free(name);
	OPENSSL_free(header);
	BIO_free(bio);
	return der;
}

/* issuers NULL: whoever signed it. */
static struct crl *read_any(const uint8_t *data, size_t bytes, const struct crl_issuer *issuers,
			    size_t issuer_count, struct error *err)
{
	struct reader reader = { data, data + bytes };
	struct crl *crl = mem_new(struct crl);
	uint8_t *der = NULL;
	long der_bytes = 0;
	bool good;

	ERR_set_mark();
	if (bytes > CRL_BYTES_MAX)
		reader.end = reader.at;
	if (bytes > 0 && data[0] == '-' && bytes <= CRL_BYTES_MAX)
		der = read_pem(data, bytes, &der_bytes);
	if (der != NULL)
		reader = (struct reader){ der, der + der_bytes };
	good = read_list(crl, reader, issuers, issuer_count, err);
	OPENSSL_free(der);
	ERR_pop_to_mark();
	if (good)
		return crl;
	crl_free(crl);
	return NULL;
}

struct crl *crl_read(const uint8_t *data, size_t bytes, const struct crl_issuer *issuers, size_t issuer_count,
		     struct error *err)
{
	assert(issuers != NULL);
	return read_any(data, bytes, issuers, issuer_count, err);
}

struct crl *crl_read_unsigned(const uint8_t *data, size_t bytes, struct error *err)
{
	return read_any(data, bytes, NULL, 0, err);
}

void crl_free(struct crl *crl)
{
	if (crl == NULL)
		return;
	for (size_t i = 0; i < crl->point_count; i++)
		free(crl->points[i]);
	free(crl->entries);
	free(crl);
}

void crl_validity(const struct crl *crl, int64_t *from_unix_s, int64_t *until_unix_s)
{
	*from_unix_s = crl->from_unix_s;
	*until_unix_s = crl->until_unix_s;
}

size_t crl_entry_count(const struct crl *crl)
{
	return crl->entry_count;
}

/* Judgement */

static bool is_part_for(const struct crl *crl, const struct inquiry *inquiry)
{
	for (size_t i = 0; i < crl->point_count; i++)
		for (size_t j = 0; j < inquiry->crl_url_count; j++)
			if (str_equal(crl->points[i], inquiry->crl_urls[j]))
				return true;
	return crl->point_count == 0;
}

/* NULL, or why the list says nothing about the certificate. */
static const char *why_not_about(const struct crl *crl, const struct inquiry *inquiry)
{
	if (memcmp(crl->issuer_id, inquiry->issuer_id, FINGERPRINT_BYTES) != 0)
		return "the list is of another issuer";
	if (inquiry->ca ? crl->only_user : crl->only_ca)
		return "the list is about certificates of another kind";
	return is_part_for(crl, inquiry) ? NULL : "the list is a part that is about other certificates";
}

static const struct entry *find_entry(const struct crl *crl, const struct inquiry *inquiry)
{
	struct entry key = { .serial_bytes = (uint8_t)inquiry->serial_bytes };

	memcpy(key.serial, inquiry->serial, inquiry->serial_bytes);
	if (crl->entry_count == 0)
		return NULL;
	return bsearch(&key, crl->entries, crl->entry_count, sizeof(key), compare_entries);
}

static void say(struct str *text, const char *what, int64_t unix_s)
{
	if (text == NULL)
		return;
	str_add(text, what);
	if (unix_s != 0)
		str_add_time(text, unix_s * US_PER_S);
}

void crl_judge(const struct crl *crl, const struct inquiry *inquiry, int64_t now_unix_s,
	       struct revocation_verdict *revocation, struct str *text)
{
	const char *why = why_not_about(crl, inquiry);
	const struct entry *entry = why == NULL ? find_entry(crl, inquiry) : NULL;

	*revocation = (struct revocation_verdict){
		.reason = REASON_CERT_REVOCATION_UNKNOWN,
		.from_unix_s = crl->from_unix_s,
		.until_unix_s = crl->until_unix_s,
	};
	if (why != NULL) {
		say(text, why, 0);
	} else if (entry != NULL) {
		/* That does not become untrue by age. */
		revocation->reason = REASON_CERT_REVOKED;
		say(text, "revoked on ", entry->revoked_unix_s);
		if (text != NULL && entry->reason != NO_REASON)
			str_addf(text, " (%s)", OCSP_crl_reason_str(entry->reason));
	} else if (now_unix_s < crl->from_unix_s - REVOCATION_SLACK_S) {
		say(text, "the list holds only from ", crl->from_unix_s);
	} else if (now_unix_s > crl->until_unix_s + REVOCATION_SLACK_S) {
		say(text, "the list is too old: it held until ", crl->until_unix_s);
	} else {
		revocation->reason = REASON_OK;
		say(text, "good until ", crl->until_unix_s);
	}
}
