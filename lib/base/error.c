/* SPDX-License-Identifier: MIT */
#include "lib/base/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* A text that was cut must not end in half a UTF-8 character: it goes to logs and JSON. */
static void trim_half_character(char *text)
{
	size_t end = strlen(text);
	size_t start = end;
	size_t length;

	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return;
	switch ((unsigned char)text[start - 1] >> 4) {
	case 0xf: length = 4; break;
	case 0xe: length = 3; break;
	case 0xc:
	case 0xd: length = 2; break;
	default: return;
	}
	if (end - (start - 1) < length)
		text[start - 1] = '\0';
}

static void __attribute__((format(printf, 3, 0))) print_cut(char *out, size_t bytes, const char *format, va_list args)
{
	int length = vsnprintf(out, bytes, format, args);

	if (length >= 0 && (size_t)length >= bytes)
		trim_half_character(out);
}

bool error_set(struct error *err, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return false;
	err->where[0] = '\0';
	va_start(args, format);
	print_cut(err->text, sizeof(err->text), format, args);
	va_end(args);
	return false;
}

bool error_where(struct error *err, const char *where, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return false;
	va_start(args, format);
	print_cut(err->text, sizeof(err->text), format, args);
	va_end(args);
	if (snprintf(err->where, sizeof(err->where), "%s", where) >= (int)sizeof(err->where))
		trim_half_character(err->where);
	return false;
}

void error_print(const struct error *err, char *out, int out_bytes)
{
	const char *colon = err->where[0] != '\0' ? ": " : "";

	if (out_bytes <= 0)
		return;
	if (snprintf(out, (size_t)out_bytes, "%s%s%s", err->where, colon, err->text) >= out_bytes)
		trim_half_character(out);
}
