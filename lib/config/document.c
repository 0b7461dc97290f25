/* SPDX-License-Identifier: MIT */
#include "lib/config/document.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/names.h"
#include "lib/config/value.h"

enum { CHUNK_BYTES = 64 << 10, LINEAR_KEYS = 16, MAX_TAG_DIRECTIVES = 16 };

/* Memory of one document: never given back piece by piece, wiped as a whole. */
struct chunk {
	struct chunk *next;
	size_t used;
	size_t bytes;
	_Alignas(max_align_t) char data[];
};

struct document {
	struct source source;
	struct chunk *chunks;
	struct node *root;
};

/* A list or map that has begun and not ended. Items and keys and values are gathered in `nodes`. */
struct frame {
	struct node *node;
	struct node **nodes;
	size_t count;
	size_t capacity;
};

struct builder {
	struct document *document;
	const struct config_env *env;
	struct report *report;
	struct names anchors;
	struct frame frames[DOCUMENT_MAX_DEPTH];
	size_t depth;
	size_t documents;
	size_t aliased;
};

void *document_alloc(struct document *document, size_t bytes)
{
	size_t needed = (bytes + 15) & ~(size_t)15;
	struct chunk *chunk = document->chunks;

	if (chunk == NULL || chunk->bytes - chunk->used < needed) {
		size_t size = needed > CHUNK_BYTES ? needed : CHUNK_BYTES;

		chunk = mem_alloc(sizeof(*chunk) + size);
		chunk->bytes = size;
		chunk->next = document->chunks;
		document->chunks = chunk;
	}
	chunk->used += needed;
	return chunk->data + chunk->used - needed;
}

static char *take_text(struct document *document, const char *text, size_t bytes)
{
	char *copy = document_alloc(document, bytes + 1);

	memcpy(copy, text, bytes);
	return copy;
}

char *document_text(struct document *document, const char *text)
{
	return take_text(document, text, strlen(text));
}

struct document *document_new(void)
{
	struct document *document = mem_new(struct document);

	document->source.file = mem_strdup("");
	document->source.directory = mem_strdup(".");
	document->root = document_alloc(document, sizeof(*document->root));
	*document->root = (struct node){ .kind = NODE_MAP, .source = &document->source };
	return document;
}

void document_free(struct document *document)
{
	if (document == NULL)
		return;
	for (struct chunk *next, *chunk = document->chunks; chunk != NULL; chunk = next) {
		next = chunk->next;
		explicit_bzero(chunk->data, chunk->used);
		free(chunk);
	}
	free(document->source.file);
	free(document->source.directory);
	free(document);
}

struct node *document_root(const struct document *document)
{
	return document->root;
}

const struct source *document_source(const struct document *document)
{
	return &document->source;
}

struct node *document_scalar(struct document *document, const char *origin, const char *text)
{
	struct source *source = document_alloc(document, sizeof(*source));
	struct node *node = document_alloc(document, sizeof(*node));

	source->file = document_text(document, origin);
	source->directory = document_text(document, ".");
	node->kind = NODE_SCALAR;
	node->source = source;
	node->text = document_text(document, text);
	node->written = node->text;
	return node;
}

char *document_where(const struct node *node)
{
	if (node->line == 0)
		return mem_strdup(node->source->file);
	return mem_printf("%s:%u:%u", node->source->file, node->line, node->column);
}

struct node *document_get(const struct node *map, const char *key)
{
	if (map == NULL || map->kind != NODE_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->count; i++)
		if (strcmp(map->pairs[i].key->text, key) == 0)
			return map->pairs[i].value;
	return NULL;
}

struct node *document_merge(struct document *document, const struct node *base, const struct node *over)
{
	struct node *merged = document_alloc(document, sizeof(*merged));

	*merged = *over;
	merged->memo = 0;
	merged->pairs = document_alloc(document, ((size_t)over->count + base->count) * sizeof(*merged->pairs));
	if (over->count > 0)
		memcpy(merged->pairs, over->pairs, over->count * sizeof(*merged->pairs));
	for (uint32_t i = 0; i < base->count; i++)
		if (document_get(over, base->pairs[i].key->text) == NULL)
			merged->pairs[merged->count++] = base->pairs[i];
	return merged;
}

/* "targets[3].tls": where in the document the builder is. */
static char *builder_path(const struct builder *builder)
{
	struct str path = { 0 };

	for (size_t i = 0; i < builder->depth; i++) {
		const struct frame *frame = &builder->frames[i];

		if (frame->node->kind == NODE_LIST)
			str_addf(&path, "[%zu]", frame->count);
		else if (frame->count % 2 == 1)
			str_addf(&path, "%s%s", path.bytes > 0 ? "." : "", frame->nodes[frame->count - 1]->text);
	}
	return str_take(&path);
}

/* Reports a mistake (or a note) at `node` and marks it. False ends the file where the caller passes it on. */
static bool complain(struct builder *builder, bool note, struct node *node, const char *text)
{
	AUTO(string) char *where = document_where(node);
	AUTO(string) char *path = builder_path(builder);
	AUTO(string) char *clean = str_clean(path, strlen(path), 300);

	report_add(builder->report, note, where, clean, "%s", text);
	node->bad = true;
	return false;
}

static struct node *node_new(struct builder *builder, enum node_kind kind, const yaml_mark_t *mark)
{
	struct node *node = document_alloc(builder->document, sizeof(*node));

	node->kind = kind;
	node->line = (uint32_t)mark->line + 1;
	node->column = (uint32_t)mark->column + 1;
	node->source = &builder->document->source;
	return node;
}

/* A key is complained about under its own name, a value under its key's. */
static bool is_key_next(const struct builder *builder)
{
	const struct frame *top;

	if (builder->depth == 0)
		return false;
	top = &builder->frames[builder->depth - 1];
	return top->node->kind == NODE_MAP && top->count % 2 == 0;
}

static bool push(struct builder *builder, struct node *node)
{
	struct frame *top;

	if (builder->depth == 0) {
		builder->document->root = node;
		return true;
	}
	if (is_key_next(builder) && node->kind != NODE_SCALAR)
		return complain(builder, false, node, "a key must be a text, not a list or a map");
	top = &builder->frames[builder->depth - 1];
	top->nodes = mem_grow(top->nodes, &top->capacity, top->count + 1, sizeof(struct node *));
	top->nodes[top->count++] = node;
	return true;
}

/* YAML's own types say what we take a value for anyway; other tags would mean code that is not here. */
static void check_tag(struct builder *builder, struct node *node, const yaml_char_t *tag)
{
	static const char *const fine[][3] = {
		[NODE_SCALAR] = { YAML_STR_TAG, "!", NULL },
		[NODE_LIST] = { YAML_SEQ_TAG, "!", NULL },
		[NODE_MAP] = { YAML_MAP_TAG, "!", NULL },
	};
	static const char *const plain[] = {
		YAML_INT_TAG, YAML_FLOAT_TAG, YAML_BOOL_TAG, YAML_NULL_TAG, YAML_TIMESTAMP_TAG, NULL,
	};
	AUTO(string) char *clean = NULL;
	AUTO(string) char *text = NULL;

	if (tag == NULL)
		return;
	for (size_t i = 0; fine[node->kind][i] != NULL; i++) {
		if (strcmp((const char *)tag, fine[node->kind][i]) == 0) {
			node->null = false;
			return;
		}
	}
	for (size_t i = 0; node->kind == NODE_SCALAR && plain[i] != NULL; i++)
		if (strcmp((const char *)tag, plain[i]) == 0)
			return;
	clean = str_clean(tag, strlen((const char *)tag), 80);
	text = mem_printf("the tag %s has no meaning here: remove it", clean);
	complain(builder, false, node, text);
}

/* Variables are data: what they hold is never read as YAML, and never null. */
static void expand(struct builder *builder, struct node *node)
{
	AUTO(string) char *expanded = NULL;
	struct error err;

	switch (value_expand(node->text, builder->env, &expanded, &err)) {
	case EXPANSION_NONE: break;
	case EXPANSION_MADE:
		node->text = take_text(builder->document, expanded, strlen(expanded));
		explicit_bzero(expanded, strlen(expanded));
		break;
	case EXPANSION_UNSET: complain(builder, builder->env->lenient, node, err.text); break;
	case EXPANSION_BAD: complain(builder, false, node, err.text); break;
	}
}

static bool is_null(const char *text)
{
	return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
	       strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static struct node *scalar_new(struct builder *builder, const yaml_event_t *event)
{
	struct node *node = node_new(builder, NODE_SCALAR, &event->start_mark);
	const char *text = (const char *)event->data.scalar.value;
	size_t bytes = event->data.scalar.length;

	node->text = take_text(builder->document, text, bytes);
	node->written = node->text;
	node->null = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && is_null(text);
	/* `<<` merges only where it is plain; quoted it is a key like any other, and unknown. */
	if (is_key_next(builder)) {
		node->memo = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(text, "<<") == 0;
		node->null = false;
	} else {
		expand(builder, node);
		node->captures = value_names_capture(node->written);
	}
	check_tag(builder, node, event->data.scalar.tag);
	if (strlen(text) != bytes)
		complain(builder, false, node, "holds a NUL character");
	return node;
}

/* How many nodes hang from `node`, itself included; stops counting beyond `limit`. */
static size_t weight(const struct node *node, size_t limit)
{
	size_t sum = 1;

	for (uint32_t i = 0; i < node->count && sum <= limit; i++) {
		if (node->kind == NODE_LIST)
			sum += weight(node->items[i], limit - sum);
		else if (node->kind == NODE_MAP)
			sum += 1 + weight(node->pairs[i].value, limit - sum);
	}
	return sum;
}

static bool is_open(const struct builder *builder, const struct node *node)
{
	for (size_t i = 0; i < builder->depth; i++)
		if (builder->frames[i].node == node)
			return true;
	return false;
}

/* How deep `node` goes: a scalar 0. Aliases make the tree deeper than what was written. */
static size_t height(const struct node *node)
{
	size_t highest = 0;

	if (node->kind == NODE_SCALAR)
		return 0;
	for (uint32_t i = 0; i < node->count; i++) {
		size_t below = height(node->kind == NODE_LIST ? node->items[i] : node->pairs[i].value);

		highest = below > highest ? below : highest;
	}
	return highest + 1;
}

static bool on_alias(struct builder *builder, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	struct node *node = names_find(&builder->anchors, name);
	struct node *here = node_new(builder, NODE_SCALAR, &event->start_mark);
	AUTO(string) char *text = NULL;

	here->text = take_text(builder->document, name, strlen(name));
	here->written = here->text;
	if (node == NULL) {
		text = mem_printf("there is no anchor &%.80s before this (a text with \"*\" first needs quotes)",
				  name);
		complain(builder, false, here, text);
		return push(builder, here);
	}
	if (is_open(builder, node)) {
		complain(builder, false, here, "the alias stands inside of what it names");
		return push(builder, here);
	}
	builder->aliased += weight(node, DOCUMENT_MAX_ALIASED_NODES);
	if (builder->aliased > DOCUMENT_MAX_ALIASED_NODES)
		return complain(builder, false, here, "aliases stand for more than 1000 values in all");
	if (builder->depth + height(node) > DOCUMENT_MAX_DEPTH)
		return complain(builder, false, here, "nested deeper than 16");
	return push(builder, node);
}

static bool on_begin(struct builder *builder, struct node *node)
{
	struct frame *frame;

	if (builder->depth == DOCUMENT_MAX_DEPTH)
		return complain(builder, false, node, "nested deeper than 16");
	if (is_key_next(builder))
		return complain(builder, false, node, "a key must be a text, not a list or a map");
	frame = &builder->frames[builder->depth++];
	frame->node = node;
	frame->count = 0;
	return true;
}

static void list_end(struct builder *builder, struct frame *frame)
{
	struct node *list = frame->node;

	list->items = document_alloc(builder->document, frame->count * sizeof(struct node *));
	if (frame->count > 0)
		memcpy(list->items, frame->nodes, frame->count * sizeof(struct node *));
	list->count = (uint32_t)frame->count;
}

static struct node *seen_key(const struct node *map, struct names *names, struct node *key)
{
	if (map->count >= LINEAR_KEYS)
		return names_find(names, key->text);
	for (uint32_t i = 0; i < map->count; i++)
		if (strcmp(map->pairs[i].key->text, key->text) == 0)
			return map->pairs[i].key;
	return NULL;
}

/* Puts a pair in; false if the key is there already. `names` is used once the map is large. */
static bool pair_add(struct node *map, struct names *names, struct node *key, struct node *value)
{
	if (seen_key(map, names, key) != NULL)
		return false;
	map->pairs[map->count++] = (struct pair){ key, value };
	if (map->count == LINEAR_KEYS)
		for (uint32_t i = 0; i < map->count; i++)
			names_put(names, map->pairs[i].key->text, map->pairs[i].key);
	else if (map->count > LINEAR_KEYS)
		names_put(names, key->text, key);
	return true;
}

/* What a `<<` may bring in: at most so many pairs. */
static size_t merge_room(const struct node *value)
{
	size_t room = value->kind == NODE_MAP ? value->count : 0;

	for (uint32_t i = 0; value->kind == NODE_LIST && i < value->count; i++)
		room += value->items[i]->kind == NODE_MAP ? value->items[i]->count : 0;
	return room;
}

static void merge_from(struct builder *builder, struct node *map, struct names *names, struct node *value)
{
	if (value->kind != NODE_MAP) {
		if (!value->bad)
			complain(builder, false, value, "\"<<\" merges a map, or a list of maps");
		return;
	}
	for (uint32_t i = 0; i < value->count; i++)
		pair_add(map, names, value->pairs[i].key, value->pairs[i].value);
}

static void report_twice(struct builder *builder, struct frame *frame, size_t at, const struct node *first)
{
	AUTO(string) char *text = mem_printf("this key is here twice: first in line %u", first->line);
	size_t count = frame->count;

	frame->count = at + 1; /* so that the path ends in this key */
	complain(builder, false, frame->nodes[at], text);
	frame->count = count;
}

static void merge_all(struct builder *builder, struct node *map, struct names *names, struct node *value)
{
	if (value->kind != NODE_LIST)
		merge_from(builder, map, names, value);
	for (uint32_t i = 0; value->kind == NODE_LIST && i < value->count; i++)
		merge_from(builder, map, names, value->items[i]);
}

/* What is written here wins over what `<<` brings, wherever the `<<` stands. */
static void map_end(struct builder *builder, struct frame *frame)
{
	struct node *map = frame->node;
	struct names names = { 0 };
	size_t room = frame->count / 2;

	for (size_t i = 0; i < frame->count; i += 2)
		if (frame->nodes[i]->memo == 1)
			room += merge_room(frame->nodes[i + 1]);
	map->pairs = document_alloc(builder->document, room * sizeof(*map->pairs));
	for (size_t i = 0; i < frame->count; i += 2) {
		struct node *key = frame->nodes[i];

		if (key->memo != 1 && !pair_add(map, &names, key, frame->nodes[i + 1]))
			report_twice(builder, frame, i, seen_key(map, &names, key));
	}
	for (size_t i = 0; i < frame->count; i += 2)
		if (frame->nodes[i]->memo == 1)
			merge_all(builder, map, &names, frame->nodes[i + 1]);
	names_done(&names);
}

static bool on_end(struct builder *builder)
{
	struct frame *frame = &builder->frames[builder->depth - 1];

	if (frame->node->kind == NODE_LIST)
		list_end(builder, frame);
	else
		map_end(builder, frame);
	builder->depth--;
	return push(builder, frame->node);
}

static void anchor(struct builder *builder, const yaml_char_t *name, struct node *node)
{
	if (name == NULL)
		return;
	names_put(&builder->anchors, document_text(builder->document, (const char *)name), node);
}

/* False: the file ends here, for good or bad. */
static bool on_event(struct builder *builder, const yaml_event_t *event)
{
	struct node *node;

	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (builder->documents++ == 0)
			return true;
		node = node_new(builder, NODE_SCALAR, &event->start_mark);
		return complain(builder, false, node, "a second document begins here: a file holds one");
	case YAML_ALIAS_EVENT: return on_alias(builder, event);
	case YAML_SCALAR_EVENT:
		node = scalar_new(builder, event);
		anchor(builder, event->data.scalar.anchor, node);
		return push(builder, node);
	case YAML_SEQUENCE_START_EVENT:
		node = node_new(builder, NODE_LIST, &event->start_mark);
		check_tag(builder, node, event->data.sequence_start.tag);
		anchor(builder, event->data.sequence_start.anchor, node);
		return on_begin(builder, node);
	case YAML_MAPPING_START_EVENT:
		node = node_new(builder, NODE_MAP, &event->start_mark);
		check_tag(builder, node, event->data.mapping_start.tag);
		anchor(builder, event->data.mapping_start.anchor, node);
		return on_begin(builder, node);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return on_end(builder);
	case YAML_STREAM_END_EVENT: return false;
	default: return true;
	}
}

/* The line at `number` (from 0) of a text. */
static char *line_at(const char *text, size_t number)
{
	while (number > 0 && (text = strchr(text, '\n')) != NULL) {
		text++;
		number--;
	}
	return text != NULL ? mem_strndup(text, strcspn(text, "\n")) : mem_strdup("");
}

/* What most often is behind it, in words that say what to write instead. */
static const char *hint_for(const yaml_parser_t *parser, const char *line)
{
	const char *problem = parser->problem != NULL ? parser->problem : "";
	const char *context = parser->context != NULL ? parser->context : "";

	if (strstr(context, "alias") != NULL)
		return " (a text that begins with \"*\", like a glob, needs quotes: \"*.example.com\")";
	if (strchr(line, '\t') != NULL && strstr(problem, "cannot start any token") != NULL)
		return " (tabs cannot indent: use spaces)";
	if (strchr(line, '[') != NULL)
		return " (a text with \"[\" needs quotes: \"[2001:db8::1]:443\")";
	if (strstr(problem, "mapping values are not allowed") != NULL)
		return " (wrong indentation, or a text with \": \" that needs quotes)";
	return "";
}

/* What libyaml says: "did not find expected key while parsing a block mapping (begun in line 3)". */
static void report_syntax(struct builder *builder, const yaml_parser_t *parser, const char *text)
{
	yaml_mark_t mark = parser->problem_mark;
	AUTO(string) char *begun = NULL;
	AUTO(string) char *line = NULL;
	AUTO(string) char *where = NULL;

	if (parser->error == YAML_READER_ERROR) {
		mark = (yaml_mark_t){ 0 };
		for (size_t i = 0; i < parser->problem_offset && text[i] != '\0'; i++, mark.column++)
			if (text[i] == '\n') {
				mark.line++;
				mark.column = SIZE_MAX;
			}
	}
	line = line_at(text, mark.line);
	where = mem_printf("%s:%zu:%zu", builder->document->source.file, mark.line + 1, mark.column + 1);
	begun = parser->context == NULL ?
			mem_strdup("") :
			mem_printf(" %s (begun in line %zu)", parser->context, parser->context_mark.line + 1);
	report_add(builder->report, false, where, "", "not valid YAML: %s%s%s",
		   parser->problem != NULL ? parser->problem : "out of memory", begun, hint_for(parser, line));
}

static void parse(struct builder *builder, const char *text, size_t bytes)
{
	yaml_parser_t parser;
	yaml_event_t event;
	bool more = true;

	if (yaml_parser_initialize(&parser) == 0) {
		report_add(builder->report, false, builder->document->source.file, "", "out of memory");
		return;
	}
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
	while (more) {
		if (yaml_parser_parse(&parser, &event) == 0) {
			report_syntax(builder, &parser, text);
			break;
		}
		more = on_event(builder, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
}

/* What libyaml must not see: a NUL, which ends a text, and many directives, over which it takes square time. */
static bool text_is_usable(struct report *report, const char *file, const char *text, size_t bytes)
{
	const char *p = text;
	size_t directives = 0;

	if (memchr(text, '\0', bytes) != NULL) {
		report_add(report, false, file, "", "holds a NUL byte: not a text in UTF-8");
		return false;
	}
	while ((p = strstr(p, "%TAG")) != NULL && directives <= MAX_TAG_DIRECTIVES) {
		directives += p == text || p[-1] == '\n';
		p += 4;
	}
	if (directives > MAX_TAG_DIRECTIVES) {
		report_add(report, false, file, "", "has more than %d %%TAG directives: remove them",
			   MAX_TAG_DIRECTIVES);
		return false;
	}
	return true;
}

/* The user's own group, with nobody else in it: what a umask of 002 makes writable stays the user's alone. */
static bool group_is_private(uid_t uid, gid_t gid)
{
	struct group group, *found = NULL;
	char buffer[4096];

	return uid == gid && getgrgid_r(gid, &group, buffer, sizeof(buffer), &found) == 0 && found != NULL &&
	       found->gr_mem[0] == NULL;
}

/* root, whoever we are, or the daemon's user (root may check its file). */
static bool user_is_trusted(uid_t uid)
{
	struct passwd passwd, *found = NULL;
	char buffer[4096];

	if (uid == 0 || uid == geteuid())
		return true;
	return getpwnam_r("portbell", &passwd, buffer, sizeof(buffer), &found) == 0 && found != NULL &&
	       found->pw_uid == uid;
}

static bool file_is_trusted(struct report *report, const char *file, const struct stat *status)
{
	if (!S_ISREG(status->st_mode)) {
		report_add(report, false, file, "", "is not a regular file");
		return false;
	}
	if (!user_is_trusted(status->st_uid)) {
		report_add(report, false, file, "",
			   "belongs to user %u, who is neither root nor the daemon's: chown root it",
			   (unsigned int)status->st_uid);
		return false;
	}
	if ((status->st_mode & S_IWOTH) != 0 ||
	    ((status->st_mode & S_IWGRP) != 0 && !group_is_private(status->st_uid, status->st_gid))) {
		report_add(report, false, file, "",
			   "others than root and the daemon's user can write to it: chmod go-w it");
		return false;
	}
	if (status->st_size > DOCUMENT_MAX_BYTES) {
		report_add(report, false, file, "", "is larger than 256 MiB");
		return false;
	}
	return true;
}

/* The whole file, terminated; NULL if it grew meanwhile or cannot be read. */
static char *read_whole(int fd, size_t expected, size_t *bytes)
{
	char *text = mem_alloc(expected + 2);
	size_t used = 0;
	ssize_t got;

	do {
		got = read(fd, text + used, expected + 1 - used);
		used += got > 0 ? (size_t)got : 0;
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got == 0 && used <= expected) {
		*bytes = used;
		return text;
	}
	if (got == 0)
		errno = EFBIG;
	explicit_bzero(text, expected + 1);
	free(text);
	return NULL;
}

static char *directory_of(const char *file)
{
	const char *slash = strrchr(file, '/');
	size_t bytes = slash != NULL ? (size_t)(slash - file) + 1 : 0;
	AUTO(string) char *written = mem_printf("%.*s.", (int)bytes, file);
	char *absolute = realpath(written, NULL);

	return absolute != NULL ? absolute : mem_strdup(written);
}

/* The text of the file, or NULL and a report. O_NONBLOCK: a FIFO must not hold us up before we see what it is. */
static char *load_text(struct document *document, struct report *report, size_t *bytes)
{
	const char *file = document->source.file;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	char *text = NULL;

	if (fd < 0 || fstat(fd, &status) < 0) {
		report_add(report, false, file, "", "cannot be opened: %s", strerror(errno));
	} else if (file_is_trusted(report, file, &status)) {
		document->source.device = status.st_dev;
		document->source.inode = status.st_ino;
		text = read_whole(fd, (size_t)status.st_size, bytes);
		if (text == NULL)
			report_add(report, false, file, "", "cannot be read: %s", strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return text;
}

struct document *document_read(const char *file, const struct config_env *env, struct report *report)
{
	static const yaml_mark_t begin = { 0, 0, 0 };
	struct document *document = mem_new(struct document);
	struct builder builder = { .document = document, .env = env, .report = report };
	size_t mistakes = report->mistakes;
	size_t bytes = 0;
	char *text;

	document->source.file = mem_strdup(file);
	document->source.directory = directory_of(file);
	text = load_text(document, report, &bytes);
	if (text == NULL) {
		document_free(document);
		return NULL;
	}
	if (text_is_usable(report, file, text, bytes)) {
		size_t mark = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

		parse(&builder, text + mark, bytes - mark);
	}
	explicit_bzero(text, bytes);
	free(text);
	for (size_t i = 0; i < DOCUMENT_MAX_DEPTH; i++)
		free(builder.frames[i].nodes);
	names_done(&builder.anchors);
	if (document->root == NULL ? report->mistakes == mistakes : document->root->null)
		document->root = node_new(&builder, NODE_MAP, &begin);
	return document;
}
