/* SPDX-License-Identifier: MIT */
/*
 * error - why something of the user's or the system's did not work: a place and a text.
 * A function that can fail returns false (or NULL) and fills `struct error *err`, always its last parameter.
 * Texts are cut, never overrun; both are always terminated.
 */
#ifndef PORTBELL_BASE_ERROR_H
#define PORTBELL_BASE_ERROR_H

#include <stdbool.h>

struct error {
	char where[320]; /* "portbell.yaml:12:7", a file, an address; may be empty */
	char text[512];
};

/* Both return false, so that a failure is one line: `return error_set(err, "...")`. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool error_where(struct error *err, const char *where, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "where: text", or only the text. */
void error_print(const struct error *err, char *out, int out_bytes);

#endif
