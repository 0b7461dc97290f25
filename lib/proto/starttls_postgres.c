/* SPDX-License-Identifier: MIT */
/*
 * postgres (manual, "Message Flow" and "Message Formats": SSLRequest, ErrorResponse). One byte answers the
 * request: S or N; a server that cannot even do that (too many clients, out of memory) sends an ErrorResponse in
 * its place.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

enum { ERROR_BYTES_MAX = 30000 };

void starttls_postgres_start(struct starttls_talk *starttls)
{
	static const uint8_t request[] = { 0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f }; /* its own length, 80877103 */

	starttls_say_bytes(starttls, "SSLRequest", request, sizeof(request));
}

/* Fields of a type, a text and NUL, ended by a NUL: "FATAL 53300 sorry, too many clients already". */
static bool note_error(struct starttls_talk *starttls, const uint8_t *field, const uint8_t *end)
{
	AUTO(str) struct str words = { 0 };

	while (field < end && *field != '\0') {
		const uint8_t *nul = memchr(field, '\0', (size_t)(end - field));

		if (nul == NULL)
			return false;
		if (strchr("SCM", *field) != NULL) {
			if (words.bytes > 0)
				str_add_char(&words, ' ');
			str_add_bytes(&words, field + 1, (size_t)(nul - field - 1));
		}
		field = nul + 1;
	}
	if (field + 1 != end || words.bytes == 0)
		return false;
	starttls_note_words(starttls, words.data, words.bytes);
	return true;
}

static size_t on_error(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	size_t length;

	if (bytes < 5)
		return 5;
	length = (size_t)packet[1] << 24 | (size_t)packet[2] << 16 | (size_t)packet[3] << 8 | packet[4];
	if (length < 5 || length > ERROR_BYTES_MAX) {
		starttls_note_words(starttls, packet, bytes);
		starttls_strange(starttls);
	} else if (bytes < length + 1) { /* which counts all but the type */
		return length + 1;
	} else if (note_error(starttls, packet + 5, packet + bytes)) {
		starttls_refused(starttls, NULL);
	} else {
		starttls_broken(starttls, "an ErrorResponse that is none");
	}
	return 0;
}

size_t starttls_postgres_packet(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	if (packet[0] == 'E')
		return on_error(starttls, packet, bytes);
	starttls_note_words(starttls, packet, bytes);
	if (packet[0] == 'S')
		starttls_go_ahead(starttls);
	else if (packet[0] == 'N')
		starttls_not_offered(starttls, NULL);
	else
		starttls_strange(starttls);
	return 0;
}
