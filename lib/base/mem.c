/* SPDX-License-Identifier: MIT */
#include "lib/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* No stdio: it may want memory itself. */
static void __attribute__((noreturn)) out_of_memory(void)
{
	static const char line[] = "out of memory: giving up\n";

	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		abort();
	abort();
}

void *mem_alloc(size_t bytes)
{
	return mem_array(1, bytes);
}

void *mem_array(size_t count, size_t bytes_each)
{
	void *memory;

	if (count == 0 || bytes_each == 0) {
		count = 1;
		bytes_each = 1;
	}
	memory = calloc(count, bytes_each);
	if (memory == NULL)
		out_of_memory();
	return memory;
}

void *mem_grow(void *array, size_t *capacity, size_t needed, size_t bytes_each)
{
	size_t grown = *capacity;
	char *memory;

	if (array != NULL && needed <= grown)
		return array;
	if (grown < 8)
		grown = 8;
	while (grown < needed) {
		if (grown > SIZE_MAX / 2)
			out_of_memory();
		grown *= 2;
	}
	memory = reallocarray(array, grown, bytes_each);
	if (memory == NULL)
		out_of_memory();
	if (array == NULL)
		*capacity = 0;
	memset(memory + *capacity * bytes_each, 0, (grown - *capacity) * bytes_each);
	*capacity = grown;
	return memory;
}

char *mem_strdup(const char *text)
{
	return text != NULL ? mem_strndup(text, strlen(text)) : NULL;
}

char *mem_strndup(const char *text, size_t bytes)
{
	size_t length = strnlen(text, bytes);
	char *copy = mem_alloc(length + 1);

	memcpy(copy, text, length);
	return copy;
}

char *mem_printf(const char *format, ...)
{
	va_list args;
	char *text;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		out_of_memory();
	text = mem_alloc((size_t)length + 1);
	va_start(args, format);
	vsnprintf(text, (size_t)length + 1, format, args);
	va_end(args);
	return text;
}

void mem_wipe_free(char *secret)
{
	if (secret == NULL)
		return;
	explicit_bzero(secret, strlen(secret));
	free(secret);
}
