/* SPDX-License-Identifier: MIT */
/*
 * ldap (RFC 4511 4.12, 4.14, 5.1; BER of X.690). The answer is read strictly: definite lengths of at most four
 * bytes (of which the first may be zero: Active Directory pads), each element exactly inside the one around it.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

enum {
	TAG_INTEGER = 0x02,
	TAG_OCTETS = 0x04,
	TAG_ENUMERATED = 0x0a,
	TAG_SEQUENCE = 0x30,
	TAG_EXTENDED_RESPONSE = 0x78,
	TAG_RESPONSE_NAME = 0x8a,
	INTEGER_BYTES_MAX = 4
};

enum { RESULT_SUCCESS = 0, RESULT_PROTOCOL_ERROR = 2, RESULT_UNWILLING = 53 };

static const char starttls_oid[] = "1.3.6.1.4.1.1466.20037";
static const char disconnection_oid[] = "1.3.6.1.4.1.1466.20036"; /* 4.4.1, under message id 0 */

static const struct {
	uint32_t code;
	const char *name;
} results[] = {
	{ 1, "operationsError" },
	{ 2, "protocolError" },
	{ 3, "timeLimitExceeded" },
	{ 8, "strongerAuthRequired" },
	{ 10, "referral" },
	{ 11, "adminLimitExceeded" },
	{ 13, "confidentialityRequired" },
	{ 50, "insufficientAccessRights" },
	{ 51, "busy" },
	{ 52, "unavailable" },
	{ 53, "unwillingToPerform" },
	{ 80, "other" },
};

/* An ExtendedRequest under message id 1: [APPLICATION 23] { [0] requestName }. */
void starttls_ldap_start(struct starttls_talk *starttls)
{
	static const uint8_t head[] = {
		TAG_SEQUENCE, 29, TAG_INTEGER, 1, 1, 0x77, 24, 0x80, sizeof(starttls_oid) - 1
	};
	AUTO(str) struct str request = { 0 };

	str_add_bytes(&request, head, sizeof(head));
	str_add(&request, starttls_oid);
	starttls_say_bytes(starttls, "StartTLS", request.data, request.bytes);
}

struct element {
	uint8_t tag;
	const uint8_t *data;
	size_t bytes;
};

/* How long the header at `data` is, of which two bytes are there, or 0 if it is none that we take. */
static size_t header_bytes(const uint8_t *data)
{
	if (data[1] < 0x80)
		return 2;
	return data[1] >= 0x81 && data[1] <= 0x84 ? 2u + (data[1] & 0x7fu) : 0;
}

static size_t content_bytes(const uint8_t *data, size_t header)
{
	size_t bytes = 0;

	if (header == 2)
		return data[1];
	for (size_t i = 2; i < header; i++)
		bytes = bytes << 8 | data[i];
	return bytes;
}

/* The next element of *rest, which it is taken from. */
static bool take_element(struct element *rest, struct element *element)
{
	size_t header = rest->bytes >= 2 ? header_bytes(rest->data) : 0;
	size_t content;

	if (header == 0 || header > rest->bytes)
		return false;
	content = content_bytes(rest->data, header);
	if (content > rest->bytes - header)
		return false;
	*element = (struct element){ rest->data[0], rest->data + header, content };
	rest->data += header + content;
	rest->bytes -= header + content;
	return true;
}

static bool take_tagged(struct element *rest, uint8_t tag, struct element *element)
{
	return take_element(rest, element) && element->tag == tag;
}

/* Of those that are not negative. */
static bool take_number(struct element *rest, uint8_t tag, uint32_t *number)
{
	struct element element;

	if (!take_tagged(rest, tag, &element) || element.bytes == 0 || element.bytes > INTEGER_BYTES_MAX ||
	    element.data[0] >= 0x80)
		return false;
	*number = 0;
	for (size_t i = 0; i < element.bytes; i++)
		*number = *number << 8 | element.data[i];
	return true;
}

struct response {
	uint32_t message_id;
	uint32_t result;
	struct element diagnostic;
	struct element name;
};

/* LDAPMessage { id, ExtendedResponse { result, matchedDN, diagnostic, ... }, controls } */
static bool read_response(const uint8_t *packet, size_t bytes, struct response *response)
{
	struct element rest = { 0, packet, bytes };
	struct element message;
	struct element extended;
	struct element element;

	*response = (struct response){ 0 };
	if (!take_tagged(&rest, TAG_SEQUENCE, &message) || rest.bytes > 0 ||
	    !take_number(&message, TAG_INTEGER, &response->message_id) ||
	    !take_tagged(&message, TAG_EXTENDED_RESPONSE, &extended) ||
	    !take_number(&extended, TAG_ENUMERATED, &response->result) ||
	    !take_tagged(&extended, TAG_OCTETS, &element) ||
	    !take_tagged(&extended, TAG_OCTETS, &response->diagnostic))
		return false;
	while (extended.bytes > 0) {
		if (!take_element(&extended, &element))
			return false;
		if (element.tag == TAG_RESPONSE_NAME)
			response->name = element;
	}
	while (message.bytes > 0)
		if (!take_element(&message, &element))
			return false;
	return true;
}

static bool is_named(const struct response *response, const char *oid)
{
	return response->name.bytes == strlen(oid) && memcmp(response->name.data, oid, strlen(oid)) == 0;
}

/* "protocolError (2): unsupported extended operation" */
static void note_response(struct starttls_talk *starttls, const struct response *response)
{
	AUTO(str) struct str words = { 0 };
	const char *name = "result";

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i].code == response->result)
			name = results[i].name;
	str_addf(&words, "%s (%u)", name, response->result);
	if (response->diagnostic.bytes > 0) {
		str_add(&words, ": ");
		str_add_bytes(&words, response->diagnostic.data, response->diagnostic.bytes);
	}
	starttls_note_words(starttls, words.data, words.bytes);
}

static void on_message(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	struct response response;

	if (!read_response(packet, bytes, &response)) {
		starttls_broken(starttls, "not an ExtendedResponse");
		return;
	}
	if (response.result != RESULT_SUCCESS)
		note_response(starttls, &response);
	if (response.message_id == 0 && is_named(&response, disconnection_oid))
		starttls_refused(starttls, "the server disconnects");
	else if (response.message_id != 1)
		starttls_broken(starttls, "an answer to message %u, not to ours", response.message_id);
	else if (response.result == RESULT_SUCCESS)
		starttls_go_ahead(starttls);
	else if (response.result == RESULT_PROTOCOL_ERROR || response.result == RESULT_UNWILLING)
		starttls_not_offered(starttls, NULL);
	else
		starttls_refused(starttls, NULL);
}

size_t starttls_ldap_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	size_t header;
	size_t all;

	if (bytes < 2)
		return 2;
	header = header_bytes(packet);
	if (packet[0] != TAG_SEQUENCE || header == 0) {
		starttls_note_words(starttls, packet, bytes);
		starttls_strange(starttls);
		return 0;
	}
	if (bytes < header)
		return header;
	all = header + content_bytes(packet, header);
	if (bytes < all)
		return all;
	on_message(starttls, packet, bytes);
	return 0;
}
