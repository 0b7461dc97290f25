/* SPDX-License-Identifier: MIT */
/*
 * mime - builds an email message (RFC 5322, 2045 to 2047) out of typed parts: the same parts give the same bytes.
 * Headers: what is not plain ASCII becomes encoded words (UTF-8, Q, at most 75 characters, none split inside a
 *          character), folded at 78 where that can be. CR, LF and every other control character of a value become
 *          a space, so a value cannot end its header or begin another; what is not UTF-8 becomes U+FFFD.
 * Bodies:  quoted-printable, lines of at most 76. Line ends are CRLF, whatever they were.
 * Addresses are written "Name <a@b>", "\"Last, First\" <a@b>" or "a@b". They are not judged here: the parts before
 * and after the @ go out as they are (IDN and UTF-8 are the caller's), without what would break a header.
 */
#ifndef PORTBELL_PROTO_MIME_H
#define PORTBELL_PROTO_MIME_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

struct mime_header {
	const char *name;
	const char *value;
};

struct mime_message {
	int64_t date_unix_s;            /* written in UTC */
	const char *id;                 /* "412.3.portbell@example.com"; the boundary is made of it too */
	const char *from;
	const char *const *to;          /* none: undisclosed */
	size_t to_count;
	const char *subject;
	const char *const *references;  /* ids as above, the oldest first; the last is replied to as well */
	size_t reference_count;
	const struct mime_header *headers; /* further ones, as text; a name that is not one is left out */
	size_t header_count;
	const char *text;
	const char *html;               /* NULL: only the text */
};

void mime_add_message(struct str *out, const struct mime_message *message);
/* "Name: value" CRLF, as above. */
void mime_add_header(struct str *out, const char *name, const char *value);
/* The bare "a@b", or NULL if there is none. The caller frees. */
char *mime_bare_address(const char *text);
/* The name of "Name <a@b>", without its quotes; NULL if there is none. The caller frees. */
char *mime_display_name(const char *text);

#endif
