/* SPDX-License-Identifier: MIT */
/*
 * mem - memory that is there or the process ends with one line; systemd restarts us, nothing acknowledged is lost.
 * All memory is zeroed. free() it with free(3), secrets with mem_wipe_free().
 */
#ifndef PORTBELL_BASE_MEM_H
#define PORTBELL_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_array(size_t count, size_t bytes_each) __attribute__((malloc, returns_nonnull));
#define mem_new(type) ((type *)mem_alloc(sizeof(type)))
/* Grows to at least `needed` elements by doubling; what is new is zeroed. Updates *capacity. */
void *mem_grow(void *array, size_t *capacity, size_t needed, size_t bytes_each) __attribute__((returns_nonnull));
char *mem_strdup(const char *text); /* NULL gives NULL */
char *mem_strndup(const char *text, size_t bytes) __attribute__((returns_nonnull));
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2), nonnull(1), returns_nonnull));
void mem_wipe_free(char *secret); /* NULL is fine */

/* AUTO(buffer) releases at the end of the scope with buffer_auto(); TAKE(p) hands p on and leaves NULL behind. */
#define AUTO(type) __attribute__((cleanup(type##_auto)))
#define AUTO_DEFINE(type, pointer, release)                   \
	static inline void type##_auto(pointer *p)            \
	{                                                     \
		if (*p != NULL)                               \
			release(*p);                          \
	}
#define TAKE(p)                                 \
	({                                      \
		__typeof__(p) taken_ = (p);     \
		(p) = NULL;                     \
		taken_;                         \
	})
AUTO_DEFINE(string, char *, free)

#endif
