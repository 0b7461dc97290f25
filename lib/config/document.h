/* SPDX-License-Identifier: MIT */
/*
 * document - a YAML file as a tree of nodes that know where they stand; libyaml behind it.
 * Done here: size, depth and alias caps, duplicate keys, tags, `<<` merge keys, ${NAME}. What libyaml cannot read
 * is one mistake and the end of the file; the other mistakes are reported and reading goes on.
 * Owns:   nodes and texts live in the document until document_free(), which wipes it all (secrets may be there).
 *         An aliased node stands in several places of the tree.
 * Blocks: reads a file.
 */
#ifndef PORTBELL_CONFIG_DOCUMENT_H
#define PORTBELL_CONFIG_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/config/config.h"

enum { DOCUMENT_MAX_DEPTH = 16, DOCUMENT_MAX_ALIASED_NODES = 1000, DOCUMENT_MAX_BYTES = 256 << 20 };

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct source {
	char *file;      /* as it was named, for people */
	char *directory; /* absolute: where the names of files in it begin */
	dev_t device;
	ino_t inode;
};

struct pair {
	struct node *key; /* a scalar */
	struct node *value;
};

struct node {
	enum node_kind kind;
	bool null;       /* a plain scalar that says nothing: empty, ~ or null */
	bool captures;   /* names a ${capture.NAME}, which has a meaning only in what an exchange sends */
	bool bad;        /* reported: whoever meets it again stays quiet */
	uint32_t line;   /* from 1; 0: not of a file */
	uint32_t column; /* from 1, in characters */
	uint32_t count;  /* items or pairs */
	uint32_t memo;   /* what its setter made of it, plus 1; 0: not yet */
	const struct source *source;
	union {
		struct {
			char *text;
			const char *written; /* with its ${NAME}, for printing */
		};
		struct node **items;
		struct pair *pairs;
	};
};

struct document; /* a document */

/* NULL: the file could not be opened or may not be used; reported. */
struct document *document_read(const char *file, const struct config_env *env, struct report *report);
/* One without a file, {}; for nodes that are made. */
struct document *document_new(void);
void document_free(struct document *document); /* NULL is fine */
struct node *document_root(const struct document *document); /* NULL: broken; reported. An empty file is {} */
const struct source *document_source(const struct document *document);
struct node *document_get(const struct node *map, const char *key); /* NULL if it is none, or has no such key */
/* A new map: all pairs of `over`, and those of `base` that it has not. Lives as long as `document`. */
struct node *document_merge(struct document *document, const struct node *base, const struct node *over);
void *document_alloc(struct document *document, size_t bytes); /* zeroed; lives as long as `document` */
char *document_text(struct document *document, const char *text); /* a copy, likewise */
/* A scalar that stands in no file: `origin` is all that is known of its place; file names begin where we are. */
struct node *document_scalar(struct document *document, const char *origin, const char *text);
char *document_where(const struct node *node); /* "portbell.yaml:12:7", or the origin; the caller frees */

#endif
