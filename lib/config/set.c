/* SPDX-License-Identifier: MIT */
#include "lib/config/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/config/load.h"
#include "lib/config/value.h"

enum { TEXT_MAX_BYTES = 2000, SECRET_MAX_BYTES = 64 << 10, NAME_MAX_CHARACTERS = 120, MAX_ITEMS = 1000,
       STEP_MAX_BYTES = 64 << 10 };

static void *field(const struct spot *spot)
{
	return (char *)spot->object + spot->key->offset;
}

static void *field_of(const struct key *key, void *object)
{
	return (char *)object + key->offset;
}

static size_t *count_of(const struct key *key, void *object)
{
	return (size_t *)(void *)((char *)object + key->count_offset);
}

/* Reports what value_...() found. */
static void complain(const struct spot *spot, struct node *node, const struct error *err)
{
	mistake(spot->load, node, spot->path, "%s", err->text);
}

/* The text of a scalar; NULL, and reported, if it is something else. It may name captures. */
static const char *scalar_at(const struct spot *spot, struct node *node, const struct path *path)
{
	if (node->bad)
		return NULL;
	if (node->kind == NODE_SCALAR && !node->null && node->text[0] != '\0')
		return node->text;
	if (node->kind == NODE_SCALAR)
		mistake(spot->load, node, path, "has no value");
	else if (node->kind == NODE_LIST)
		mistake(spot->load, node, path,
			"must be a single value, not a list (a text that begins with \"[\" needs quotes)");
	else
		mistake(spot->load, node, path, "must be a single value, not a map");
	return NULL;
}

static const char *text_at(const struct spot *spot, struct node *node, const struct path *path)
{
	const char *text = scalar_at(spot, node, path);

	if (text == NULL || !node->captures)
		return text;
	mistake(spot->load, node, path,
		"${capture.NAME} may stand only in what an exchange sends (a literal \"${\" is written \"$${\")");
	return NULL;
}

static const char *text_of(const struct spot *spot, struct node *node)
{
	return text_at(spot, node, spot->path);
}

/* A text that the key's row allows, else NULL and reported. */
static const char *checked_text(const struct spot *spot, struct node *node, const struct path *path)
{
	int64_t max = spot->key->max != 0 && spot->key->type != KEY_LIST ? spot->key->max : TEXT_MAX_BYTES;
	const char *text = text_at(spot, node, path);
	struct error err;

	if (text == NULL)
		return NULL;
	if (strlen(text) > (size_t)max)
		mistake(spot->load, node, path, "is longer than %lld bytes", (long long)max);
	else if (spot->key->check != NULL ? !spot->key->check(text, &err) : !value_is_printable(text, &err))
		mistake(spot->load, node, path, "%s", err.text);
	return node->bad ? NULL : text;
}

/* Items of a list, or a single value as a list of one. */
static uint32_t item_count(const struct node *node)
{
	return node->kind == NODE_LIST ? node->count : 1;
}

static struct node *item_at(struct node *node, uint32_t index)
{
	return node->kind == NODE_LIST ? node->items[index] : node;
}

static bool count_is_fine(const struct spot *spot, struct node *node, int64_t min, int64_t max)
{
	if (node->kind != NODE_LIST || ((int64_t)node->count >= min && (int64_t)node->count <= max))
		return true;
	if (node->count == 0)
		mistake(spot->load, node, spot->path, "is an empty list");
	else
		mistake(spot->load, node, spot->path, "has more than %lld entries", (long long)max);
	return false;
}

void set_text(const struct spot *spot, struct node *node)
{
	const char *text = checked_text(spot, node, spot->path);

	if (text != NULL)
		*(char **)field(spot) = mem_strdup(text);
}

void done_text(const struct key *key, void *object)
{
	char **text = field_of(key, object);

	free(*text);
	*text = NULL;
}

void set_switch(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);
	struct error err;

	if (text != NULL && !value_switch(text, field(spot), &err))
		complain(spot, node, &err);
}

void set_count(const struct spot *spot, struct node *node)
{
	const struct key *key = spot->key;
	const char *text = text_of(spot, node);
	struct error err;
	int64_t count;

	if (text == NULL)
		return;
	if (!value_count(text, &count, &err))
		complain(spot, node, &err);
	else if (count < key->min || count > key->max)
		mistake(spot->load, node, spot->path, "must be from %lld to %lld", (long long)key->min,
			(long long)key->max);
	else
		*(int *)field(spot) = (int)count;
}

void set_duration(const struct spot *spot, struct node *node)
{
	const struct key *key = spot->key;
	const char *text = text_of(spot, node);
	struct error err;
	char least[32];
	char most[32];
	int64_t ms;
	bool on;

	if (text == NULL)
		return;
	if ((key->flags & KEY_OFF_IS_ZERO) != 0 && value_switch(text, &on, &err) && !on) {
		*(int64_t *)field(spot) = 0;
		return;
	}
	if (!value_duration(text, &ms, &err)) {
		complain(spot, node, &err);
		return;
	}
	if (ms >= key->min && ms <= key->max) {
		*(int64_t *)field(spot) = ms * (key->scale != 0 ? key->scale : 1);
		return;
	}
	value_print_duration(key->min, least);
	value_print_duration(key->max, most);
	mistake(spot->load, node, spot->path, "must be from %s to %s", least, most);
}

/* The index of `text` in `words`, or -1 and reported. */
static int word_among(const struct spot *spot, struct node *node, const char *text, const char *const *words)
{
	AUTO(str) struct str all = { 0 };
	AUTO(string) char *hint = NULL;

	for (int i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], text) == 0)
			return i;
		str_addf(&all, "%s%s", i > 0 ? ", " : "", words[i]);
	}
	hint = did_you_mean(text, words);
	mistake(spot->load, node, spot->path, "must be one of %s%s", all.data, hint);
	return -1;
}

static int word_index(const struct spot *spot, struct node *node, const char *text)
{
	return word_among(spot, node, text, spot->key->words);
}

static bool is_off(const char *text)
{
	struct error ignored;
	bool on;

	return value_switch(text, &on, &ignored) && !on;
}

/* Where off is a word, the other ways to write it are, too. */
static bool means_off(const struct key *key, const char *text)
{
	for (size_t i = 0; key->words[i] != NULL; i++)
		if (strcmp(key->words[i], "off") == 0)
			return is_off(text);
	return false;
}

void set_word(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);
	int index = text != NULL ? word_index(spot, node, means_off(spot->key, text) ? "off" : text) : -1;
	unsigned int value = (unsigned int)index;

	/* An enum without negative values is an unsigned int here (GCC and clang alike). */
	if (index >= 0)
		memcpy(field(spot), &value, sizeof(value));
}

/* The texts of a list into a new array; what is wrong with one is reported under its index. */
static char **texts_of(const struct spot *spot, struct node *node, size_t *count)
{
	char **texts = mem_array(item_count(node) + 1, sizeof(*texts));

	*count = 0;
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };
		const char *text =
			checked_text(spot, item_at(node, i), node->kind == NODE_LIST ? &item : spot->path);

		if (text != NULL)
			texts[(*count)++] = mem_strdup(text);
	}
	return texts;
}

void set_list(const struct spot *spot, struct node *node)
{
	int64_t max = spot->key->max != 0 ? spot->key->max : MAX_ITEMS;

	if (count_is_fine(spot, node, spot->key->min, max))
		*(char ***)field(spot) = texts_of(spot, node, count_of(spot->key, spot->object));
}

void done_list(const struct key *key, void *object)
{
	char ***texts = field_of(key, object);
	size_t *count = count_of(key, object);

	for (size_t i = 0; i < *count; i++)
		free((*texts)[i]);
	free(*texts);
	*texts = NULL;
	*count = 0;
}

char *set_resolve(const struct node *node)
{
	if (node->text[0] == '/' || node->source == NULL)
		return mem_strdup(node->text);
	return mem_printf("%s/%s", strcmp(node->source->directory, "/") == 0 ? "" : node->source->directory,
			  node->text);
}

void set_path(const struct spot *spot, struct node *node)
{
	AUTO(string) char *file = NULL;

	if (checked_text(spot, node, spot->path) == NULL)
		return;
	file = set_resolve(node);
	if (spot->key->max != 0 && strlen(file) > (size_t)spot->key->max)
		mistake(spot->load, node, spot->path, "%s is longer than %lld bytes", file,
			(long long)spot->key->max);
	else
		*(char **)field(spot) = TAKE(file);
}

/* An open regular file, or -1 and reported. */
static int open_file(const struct spot *spot, struct node *node, const struct path *path, const char *file,
		     struct stat *status)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0 && fstat(fd, status) == 0 && S_ISREG(status->st_mode))
		return fd;
	mistake(spot->load, node, path, "%s: %s", file, fd < 0 ? strerror(errno) : "not a regular file");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The set of these files in config->trust, new or old. `key` is their names, a line each. */
static size_t trust_index(const struct spot *spot, const struct node *node, const char *key, char **files,
			  size_t count)
{
	struct load *load = spot->load;
	struct config *config = load->config;
	uintptr_t index = (uintptr_t)names_find(&load->trusts, key);
	struct trust_config *trust;
	size_t capacity = config->trust_count;

	if (index != 0) {
		for (size_t i = 0; i < count; i++)
			free(files[i]);
		free(files);
		return index;
	}
	index = config->trust_count++;
	config->trust = mem_grow(config->trust, &capacity, config->trust_count, sizeof(*config->trust));
	trust = &config->trust[index];
	*trust = (struct trust_config){ .files = files, .file_count = count };
	trust->where = document_where(node);
	trust->path = path_text(spot->path);
	names_put(&load->trusts, document_text(load->files[0].document, key), (void *)index);
	return index;
}

void set_trust(const struct spot *spot, struct node *node)
{
	AUTO(str) struct str key = { 0 };
	size_t *trust = field(spot);
	char **files;
	size_t count = 0;

	if (node->memo != 0) {
		*trust = node->memo - 1;
		return;
	}
	if (!count_is_fine(spot, node, 1, 100))
		return;
	files = mem_array(item_count(node), sizeof(*files));
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };
		const struct path *path = node->kind == NODE_LIST ? &item : spot->path;
		struct stat status;
		int fd;

		if (checked_text(spot, item_at(node, i), path) == NULL)
			continue;
		files[count] = set_resolve(item_at(node, i));
		str_addf(&key, "%s\n", files[count]);
		fd = open_file(spot, item_at(node, i), path, files[count++], &status);
		if (fd >= 0)
			close(fd);
	}
	*trust = trust_index(spot, node, key.data != NULL ? key.data : "", files, count);
	node->memo = (uint32_t)*trust + 1;
}

/* Of a secret that many targets inherit. */
static void note_once(const struct spot *spot, struct node *node, const char *text)
{
	if (node->memo == 0)
		note(spot->load, node, spot->path, "%s", text);
	node->memo = 1;
}

/* The file that a *_file or *_credential key names; NULL, and reported, if it names none. */
static char *secret_path(const struct spot *spot, struct node *node)
{
	const struct config_env *env = spot->load->env;
	const char *text = text_of(spot, node); /* the row's check is for what the file holds */
	struct error err;

	if (text != NULL && !value_is_printable(text, &err))
		complain(spot, node, &err);
	if (text == NULL || node->bad)
		return NULL;
	if (spot->key->type == KEY_SECRET_FILE)
		return set_resolve(node);
	if (strchr(text, '/') != NULL || strcmp(text, "..") == 0 || strcmp(text, ".") == 0) {
		mistake(spot->load, node, spot->path, "a credential has a name, not a path");
		return NULL;
	}
	if (env->credentials_directory != NULL)
		return mem_printf("%s/%s", env->credentials_directory, text);
	if (env->lenient)
		note_once(spot, node, "not checked: no $CREDENTIALS_DIRECTORY outside the service");
	else
		mistake(spot->load, node, spot->path,
			"there is no $CREDENTIALS_DIRECTORY: give the unit LoadCredential=%s:...", text);
	return NULL;
}

/* All of an open file, without the line end at its end; NULL if it cannot be. */
static char *read_secret(int fd, size_t *bytes, const char **why)
{
	char buffer[SECRET_MAX_BYTES + 1];
	size_t used = 0;
	ssize_t got;
	char *secret;

	do {
		got = read(fd, buffer + used, sizeof(buffer) - used);
		used += got > 0 ? (size_t)got : 0;
	} while ((got > 0 && used < sizeof(buffer)) || (got < 0 && errno == EINTR));
	*why = got < 0 ? strerror(errno) : used > SECRET_MAX_BYTES ? "larger than 64 KiB" : NULL;
	if (used > 0 && buffer[used - 1] == '\n')
		used -= used > 1 && buffer[used - 2] == '\r' ? 2 : 1;
	if (*why == NULL && used == 0)
		*why = "empty";
	secret = mem_alloc(used + 1);
	memcpy(secret, buffer, used);
	explicit_bzero(buffer, sizeof(buffer));
	*bytes = used;
	return secret;
}

/* What a secret's file holds; NULL if that was reported. */
static char *secret_of(const struct spot *spot, struct node *node, size_t *bytes)
{
	AUTO(string) char *file = secret_path(spot, node);
	AUTO(string) char *open_to_all = NULL;
	const char *why = NULL;
	struct stat status;
	char *secret;
	int fd;

	if (file == NULL)
		return NULL;
	if (spot->key->type == KEY_CREDENTIAL && spot->load->env->lenient && access(file, F_OK) < 0) {
		note_once(spot, node, "the credential is missing here");
		return NULL;
	}
	fd = open_file(spot, node, spot->path, file, &status);
	if (fd < 0)
		return NULL;
	if (spot->key->type == KEY_SECRET_FILE && (status.st_mode & S_IROTH) != 0) {
		open_to_all = mem_printf("%s holds a secret and every user can read it: chmod o-r it", file);
		note_once(spot, node, open_to_all);
	}
	secret = read_secret(fd, bytes, &why);
	close(fd);
	if (why == NULL && (memchr(secret, '\n', *bytes) != NULL || memchr(secret, '\0', *bytes) != NULL))
		why = "holds more than one line, or a NUL";
	if (why == NULL)
		return secret;
	mistake(spot->load, node, spot->path, "%s: %s", file, why);
	explicit_bzero(secret, *bytes);
	free(secret);
	return NULL;
}

void set_secret(const struct spot *spot, struct node *node)
{
	struct error err;
	size_t bytes = 0;
	char *secret = secret_of(spot, node, &bytes);

	if (secret == NULL)
		return;
	done_secret(spot->key, spot->object); /* two keys of one field: reported, the last stays */
	if (spot->key->check == NULL || spot->key->check(secret, &err)) {
		*(char **)field(spot) = secret;
		return;
	}
	complain(spot, node, &err);
	mem_wipe_free(secret);
}

/* A file that somebody else reads: only that it is there, and who may read it. */
static void set_readable(const struct spot *spot, struct node *node, bool holds_secret)
{
	AUTO(string) char *file = secret_path(spot, node);
	struct stat status;
	int fd;

	if (file == NULL)
		return;
	if (spot->key->type == KEY_CREDENTIAL && spot->load->env->lenient && access(file, F_OK) < 0) {
		note(spot->load, node, spot->path, "the credential is missing here");
		return;
	}
	fd = open_file(spot, node, spot->path, file, &status);
	if (fd < 0)
		return;
	close(fd);
	if (holds_secret && spot->key->type == KEY_SECRET_FILE && (status.st_mode & S_IROTH) != 0)
		note(spot->load, node, spot->path, "%s holds a secret and every user can read it: chmod o-r it",
		     file);
	done_text(spot->key, spot->object); /* two keys of one field: reported, the last stays */
	*(char **)field(spot) = TAKE(file);
}

void set_certificate_file(const struct spot *spot, struct node *node)
{
	set_readable(spot, node, false);
}

void set_key_file(const struct spot *spot, struct node *node)
{
	set_readable(spot, node, true);
}

void done_secret(const struct key *key, void *object)
{
	char **secret = field_of(key, object);

	mem_wipe_free(*secret);
	*secret = NULL;
}

void set_signing_secret(const struct spot *spot, struct node *node)
{
	static const char prefix[] = "whsec_";
	size_t bytes = 0;
	char *secret = secret_of(spot, node, &bytes);
	uint8_t *decoded;

	if (secret == NULL)
		return;
	if (str_starts(secret, prefix)) {
		decoded = mem_alloc(bytes + 1);
		if (!str_unbase64(secret + strlen(prefix), decoded, bytes, &bytes) || bytes == 0) {
			mistake(spot->load, node, spot->path, "what follows \"whsec_\" in the file is not base64");
			bytes = 0;
		}
		mem_wipe_free(secret);
		secret = (char *)decoded;
	}
	done_signing_secret(spot->key, spot->object);
	*(char **)field(spot) = secret;
	*count_of(spot->key, spot->object) = bytes;
}

/* It may hold any byte: its length says how much to wipe. */
void done_signing_secret(const struct key *key, void *object)
{
	char **secret = field_of(key, object);

	if (*secret != NULL)
		explicit_bzero(*secret, *count_of(key, object));
	free(*secret);
	*secret = NULL;
	*count_of(key, object) = 0;
}

static size_t characters(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += (*text & 0xc0) != 0x80;
	return count;
}

void set_name(const struct spot *spot, struct node *node)
{
	const char *text = checked_text(spot, node, spot->path);

	if (text == NULL)
		return;
	if (strcmp(text, "portbell") == 0)
		mistake(spot->load, node, spot->path, "the name \"portbell\" is reserved for portbell itself");
	else if (characters(text) > NAME_MAX_CHARACTERS)
		mistake(spot->load, node, spot->path, "is longer than %d characters", NAME_MAX_CHARACTERS);
	else
		*(char **)field(spot) = mem_strdup(text);
}

void set_address(const struct spot *spot, struct node *node)
{
	struct target_config *target = spot->object;
	const char *text = text_of(spot, node);
	struct error err;

	if (text == NULL)
		return;
	if (!address_split(text, &target->host, &target->port, &err)) {
		complain(spot, node, &err);
		return;
	}
	target->address = mem_strdup(text);
	if (!address_from_literal(target->host, target->port, &target->literal))
		target->literal = (struct address){ 0 };
}

void done_address(const struct key *key, void *object)
{
	struct target_config *target = object;

	(void)key;
	free(target->address);
	free(target->host);
	target->address = NULL;
	target->host = NULL;
}

/* Whether a map of the user's own keys is one; off is none at all. */
static bool is_own_map(const struct spot *spot, struct node *node, uint32_t max)
{
	struct error ignored;
	bool on;

	if (node->kind == NODE_SCALAR && value_switch(node->text, &on, &ignored) && !on)
		return false;
	if (node->kind != NODE_MAP)
		mistake(spot->load, node, spot->path, "must be a map of names and values");
	else if (node->count > max)
		mistake(spot->load, node, spot->path, "has more than %u entries", max);
	return !node->bad;
}

void set_labels(const struct spot *spot, struct node *node)
{
	struct target_config *target = spot->object;
	struct error err;

	if (!is_own_map(spot, node, 64))
		return;
	target->labels = mem_array(node->count, sizeof(*target->labels));
	for (uint32_t i = 0; i < node->count; i++) {
		struct pair *pair = &node->pairs[i];
		struct path here = { spot->path, pair->key->text, 0 };
		const char *value;

		if (!pair->key->bad && !value_is_label_name(pair->key->text, &err))
			mistake(spot->load, pair->key, &here, "%s", err.text);
		value = checked_text(spot, pair->value, &here);
		if (value == NULL || pair->key->bad)
			continue;
		target->labels[target->label_count].name = mem_strdup(pair->key->text);
		target->labels[target->label_count++].value = mem_strdup(value);
	}
}

void done_labels(const struct key *key, void *object)
{
	struct target_config *target = object;

	(void)key;
	for (size_t i = 0; i < target->label_count; i++) {
		free(target->labels[i].name);
		free(target->labels[i].value);
	}
	free(target->labels);
	target->labels = NULL;
	target->label_count = 0;
}

void set_send_to(const struct spot *spot, struct node *node)
{
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };
		const struct path *path = node->kind == NODE_LIST ? &item : spot->path;
		struct node *name = item_at(node, i);

		if (text_at(spot, name, path) != NULL && names_find(&spot->load->senders, name->text) == NULL)
			mistake_unknown(spot->load, name, path, "sender", &spot->load->senders);
	}
	set_list(spot, node);
}

void set_target_send_to(const struct spot *spot, struct node *node)
{
	((struct target_config *)spot->object)->send_to_set = true;
	set_send_to(spot, node);
}

/* ---- ways to a target ---- */

static bool set_one_address(const struct spot *spot, struct node *node, const struct path *path,
			    struct address *address)
{
	const char *text = text_at(spot, node, path);

	if (text != NULL && !address_from_literal(text, 0, address))
		mistake(spot->load, node, path,
			"not an IP address: write 192.0.2.7, 2001:db8::7 or fe80::7%%eth0%s",
			strchr(text, ':') != NULL && strchr(text, '.') != NULL ? " (without a port)" : "");
	return !node->bad;
}

void set_addresses(const struct spot *spot, struct node *node)
{
	struct address *addresses;
	size_t *count = count_of(spot->key, spot->object);

	if (!count_is_fine(spot, node, spot->key->min, spot->key->max))
		return;
	addresses = mem_array(item_count(node), sizeof(*addresses));
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };
		const struct path *path = node->kind == NODE_LIST ? &item : spot->path;

		if (set_one_address(spot, item_at(node, i), path, &addresses[*count]))
			(*count)++;
	}
	*(struct address **)field(spot) = addresses;
}

void done_addresses(const struct key *key, void *object)
{
	struct address **addresses = field_of(key, object);

	free(*addresses);
	*addresses = NULL;
	*count_of(key, object) = 0;
}

void set_source(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);
	struct error err;

	if (text != NULL && !is_off(text) && !value_source(text, field(spot), &err))
		complain(spot, node, &err);
}

void done_source(const struct key *key, void *object)
{
	struct source_config *source = field_of(key, object);

	free(source->text);
	source->text = NULL;
}

void set_proxy(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);
	struct error err;

	if (text != NULL && !is_off(text) && !value_proxy(text, field(spot), &err))
		complain(spot, node, &err);
}

/* The password has its own keys. */
void done_proxy(const struct key *key, void *object)
{
	struct proxy_config *proxy = field_of(key, object);

	free(proxy->host);
	free(proxy->username);
	proxy->host = NULL;
	proxy->username = NULL;
}

static void header_version(const struct spot *spot, struct node *node, const struct path *path,
			   struct proxy_header *header)
{
	const char *text = text_at(spot, node, path);

	if (text == NULL)
		return;
	text += text[0] == 'v';
	if (strcmp(text, "1") == 0)
		header->version = PROXY_HEADER_V1;
	else if (strcmp(text, "2") == 0)
		header->version = PROXY_HEADER_V2;
	else
		mistake(spot->load, node, path,
			node->kind == NODE_SCALAR && path == spot->path ? "must be v1, v2, off or a map" :
									  "must be 1 or 2");
}

static void header_address(const struct spot *spot, struct node *node, const struct path *path,
			   struct address *address)
{
	const char *text = text_at(spot, node, path);
	AUTO(string) char *host = NULL;
	struct error err;
	uint16_t port;

	if (text == NULL)
		return;
	if (!address_split(text, &host, &port, &err))
		mistake(spot->load, node, path, "%s", err.text);
	else if (!address_from_literal(host, port, address) || address->scope != 0)
		mistake(spot->load, node, path, "must be an IP address with a port, and no zone");
}

static void header_key(const struct spot *spot, struct pair *pair, struct proxy_header *header)
{
	static const char *const keys[] = { "version", "source", "destination", NULL };
	struct path here = { spot->path, pair->key->text, 0 };
	AUTO(string) char *hint = NULL;

	if (pair->key->bad)
		return;
	if (strcmp(pair->key->text, "version") == 0) {
		header_version(spot, pair->value, &here, header);
	} else if (strcmp(pair->key->text, "source") == 0) {
		header_address(spot, pair->value, &here, &header->source);
	} else if (strcmp(pair->key->text, "destination") == 0) {
		header_address(spot, pair->value, &here, &header->destination);
	} else {
		hint = did_you_mean(pair->key->text, keys);
		mistake(spot->load, pair->key, &here, "unknown key%s", hint);
	}
}

void set_proxy_protocol(const struct spot *spot, struct node *node)
{
	struct proxy_header header = { .version = PROXY_HEADER_NONE };
	size_t mistakes = spot->load->report->mistakes;

	if (node->kind == NODE_SCALAR && !node->null && is_off(node->text))
		return;
	if (node->kind != NODE_MAP)
		header_version(spot, node, spot->path, &header);
	for (uint32_t i = 0; node->kind == NODE_MAP && i < node->count; i++)
		header_key(spot, &node->pairs[i], &header);
	if (spot->load->report->mistakes != mistakes)
		return;
	if (header.version == PROXY_HEADER_NONE)
		mistake(spot->load, node, spot->path, "\"version\" is missing");
	else if ((header.source.family != 0) != (header.destination.family != 0))
		mistake(spot->load, node, spot->path, "\"source\" and \"destination\" go together");
	else if (header.source.family != header.destination.family)
		mistake(spot->load, node, spot->path,
			"\"source\" and \"destination\" must both be IPv4 or both IPv6");
	else
		*(struct proxy_header *)field(spot) = header;
}

/* ---- rules ---- */

/* One part of a bound: a percentage, or a time left. */
static bool set_expiry_part(const struct spot *spot, struct node *node, const struct path *path,
			    struct expiry_bound *bound)
{
	const char *text = text_at(spot, node, path);
	struct error err;
	int64_t ms = 0;

	if (text == NULL)
		return false;
	if (strchr(text, '%') != NULL ? !value_percent(text, &bound->percent, &err) :
					!value_duration(text, &ms, &err))
		mistake(spot->load, node, path, "%s", err.text);
	else if (strchr(text, '%') == NULL && (ms < 60000 || ms > INT64_C(10) * 365 * 86400000))
		mistake(spot->load, node, path, "must be from 1m to 10y");
	else if (ms != 0)
		bound->left_s = ms / 1000;
	return !node->bad;
}

void set_expiry(const struct spot *spot, struct node *node)
{
	struct expiry_bound bound = { 0, 0 };
	bool fine = true;

	if (!count_is_fine(spot, node, 1, 2))
		return;
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };
		const struct path *path = node->kind == NODE_LIST ? &item : spot->path;

		fine = set_expiry_part(spot, item_at(node, i), path, &bound) && fine;
	}
	if (fine && item_count(node) == 2 && (bound.percent == 0 || bound.left_s == 0))
		mistake(spot->load, node, spot->path, "two bounds are a percentage and a duration: [25%%, 21d]");
	else if (fine)
		*(struct expiry_bound *)field(spot) = bound;
}

static void steps_free(struct exchange_step *steps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		mem_wipe_free(steps[i].text); /* what is sent may be a password */
		free(steps[i].where);
		free(steps[i].path);
	}
	free(steps);
}

/* What a step says, fit for struct exchange_step; NULL, and reported, if it cannot be. The caller frees. */
static char *step_text(const struct spot *spot, struct node *node, enum exchange_kind kind)
{
	const bool sends = kind == EXCHANGE_SEND;
	const size_t max = kind == EXCHANGE_EXPECT || kind == EXCHANGE_EXPECT_NOT ? (size_t)TEXT_MAX_BYTES :
										       (size_t)STEP_MAX_BYTES;
	const char *text = sends ? scalar_at(spot, node, spot->path) : text_of(spot, node);
	AUTO(str) struct str bytes = { 0 };
	AUTO(string) char *expanded = NULL;
	struct error err;

	if (text == NULL)
		return NULL;
	if (strlen(text) > max)
		mistake(spot->load, node, spot->path, "is longer than %zu bytes", max);
	else if (sends && value_expand_send(node->written, spot->load->env, &expanded, &err) != EXPANSION_MADE)
		complain(spot, node, &err);
	else if ((kind == EXCHANGE_SEND_HEX || kind == EXCHANGE_EXPECT_HEX) &&
		 (!str_add_unhex(&bytes, text) || bytes.bytes == 0))
		mistake(spot->load, node, spot->path, "must be bytes of two hexadecimal digits, like \"00 ff\"");
	else if (kind == EXCHANGE_STARTTLS && strcmp(text, "now") != 0)
		mistake(spot->load, node, spot->path, "must be now");
	if (node->bad)
		return NULL;
	return sends ? TAKE(expanded) : mem_strdup(text);
}

/* {expect: "^220"} into the next of `steps`. */
static void add_step(const struct spot *spot, struct node *node, const struct path *path,
		     struct exchange_step *steps, size_t *count)
{
	struct spot here = { spot->load, spot->key, path, spot->object };
	struct path value = { path, NULL, 0 };
	struct pair *pair;
	char *text;
	int kind;

	if (node->bad)
		return;
	if (node->kind != NODE_MAP || node->count != 1) {
		mistake(spot->load, node, path, "must be one step: a map with one key, like expect: \"^220\"");
		return;
	}
	pair = &node->pairs[0];
	kind = pair->key->bad ? -1 : word_index(&here, pair->key, pair->key->text);
	if (kind < 0)
		return;
	value.key = pair->key->text;
	here.path = &value;
	text = step_text(&here, pair->value, (enum exchange_kind)kind);
	if (text != NULL)
		steps[(*count)++] = (struct exchange_step){ .kind = (enum exchange_kind)kind, .text = text,
							    .where = document_where(pair->value),
							    .path = path_text(&value) };
}

/* Whether an expect follows the guard steps[guard] before TLS begins; sends and other guards may stand between. */
static bool guard_has_expect(const struct exchange_step *steps, size_t count, size_t guard)
{
	size_t next = guard + 1;

	while (next < count && (steps[next].kind == EXCHANGE_EXPECT_NOT || steps[next].kind == EXCHANGE_SEND ||
				steps[next].kind == EXCHANGE_SEND_HEX))
		next++;
	return next < count && steps[next].kind != EXCHANGE_STARTTLS;
}

/* What is wrong between the steps, which `node` has one for one. */
static void check_steps(const struct spot *spot, struct node *node, const struct exchange_step *steps)
{
	bool starts_tls = false;

	for (uint32_t i = 0; i < node->count; i++) {
		const enum exchange_kind kind = steps[i].kind;
		struct path path = { spot->path, NULL, i };

		if (kind == EXCHANGE_EXPECT_NOT && !guard_has_expect(steps, node->count, i))
			mistake(spot->load, node->items[i], &path, "guards the next expect: an expect must follow it");
		if (kind == EXCHANGE_STARTTLS && starts_tls)
			mistake(spot->load, node->items[i], &path, "starttls can be only once");
		starts_tls = starts_tls || kind == EXCHANGE_STARTTLS;
		if (node->items[i]->bad)
			node->bad = true;
	}
}

/* The exchange of these steps in config->exchanges, new or old. Takes them. */
static size_t exchange_index(struct load *load, struct exchange_step *steps, size_t count)
{
	struct config *config = load->config;
	size_t capacity = config->exchange_count;
	AUTO(str) struct str key = { 0 };
	uintptr_t index;

	for (size_t i = 0; i < count; i++)
		str_addf(&key, "%d %zu %s\n", (int)steps[i].kind, strlen(steps[i].text), steps[i].text);
	index = (uintptr_t)names_find(&load->exchanges, key.data);
	if (index != 0) {
		steps_free(steps, count);
	} else {
		index = config->exchange_count++;
		config->exchanges =
			mem_grow(config->exchanges, &capacity, config->exchange_count, sizeof(*config->exchanges));
		config->exchanges[index] = (struct exchange_config){ steps, count };
		names_put(&load->exchanges, document_text(load->files[0].document, key.data), (void *)index);
	}
	explicit_bzero(key.data, key.bytes);
	return index;
}

void set_exchange(const struct spot *spot, struct node *node)
{
	size_t *exchange = field(spot);
	struct exchange_step *steps;
	size_t count = 0;

	if (node->memo != 0) {
		*exchange = node->memo - 1;
		return;
	}
	if (node->kind != NODE_LIST) {
		mistake(spot->load, node, spot->path, "must be a list of steps, like - expect: \"^220\"");
		return;
	}
	if (!count_is_fine(spot, node, 0, spot->key->max))
		return;
	steps = mem_array((size_t)node->count + 1, sizeof(*steps));
	for (uint32_t i = 0; i < node->count; i++) {
		struct path item = { spot->path, NULL, i };

		add_step(spot, node->items[i], &item, steps, &count);
	}
	if (count == node->count)
		check_steps(spot, node, steps);
	if (count < node->count || count == 0 || node->bad) {
		steps_free(steps, count);
		return;
	}
	*exchange = exchange_index(spot->load, steps, count);
	node->memo = (uint32_t)*exchange + 1;
}

/* Only some phases have a figure to judge: the row's words; the others' enum values are not theirs. */
void set_phase(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && word_index(spot, node, text) >= 0)
		phase_parse(text, field(spot));
}

void set_scope(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && word_index(spot, node, text) >= 0)
		*(bool *)field(spot) = strcmp(text, "leaf") == 0;
}

void set_all_addresses(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && word_index(spot, node, text) >= 0)
		*(bool *)field(spot) = strcmp(text, "all") == 0;
}

void set_need(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);
	struct error err;
	int64_t count;

	if (text == NULL)
		return;
	if (strcmp(text, "all") == 0)
		*(int *)field(spot) = 0;
	else if (strcmp(text, "any") == 0)
		*(int *)field(spot) = 1;
	else if (!value_count(text, &count, &err) || count < spot->key->min || count > spot->key->max)
		mistake(spot->load, node, spot->path, "must be all, any, or a number from %lld to %lld",
			(long long)spot->key->min, (long long)spot->key->max);
	else
		*(int *)field(spot) = (int)count;
}

/* The word of a reason that a probe can end with; false, and reported, if it is none. */
static bool reason_at(const struct spot *spot, struct node *node, const struct path *path, enum reason *reason)
{
	const char *text = text_at(spot, node, path);
	const char *words[REASON_COUNT + 1] = { NULL };
	AUTO(string) char *hint = NULL;
	int count = 0;

	if (text == NULL)
		return false;
	if (reason_parse(text, reason) && reason_is_of_connection(*reason))
		return true;
	for (enum reason each = REASON_OK; each < REASON_COUNT; each++)
		if (reason_is_of_connection(each))
			words[count++] = reason_name(each);
	hint = did_you_mean(text, words);
	mistake(spot->load, node, path, "\"%s\" is no reason that a probe ends with%s", text, hint);
	return false;
}

void set_reasons(const struct spot *spot, struct node *node)
{
	struct reason_set *set = field(spot);
	enum reason reason;

	if (!count_is_fine(spot, node, 1, REASON_COUNT))
		return;
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };

		if (reason_at(spot, item_at(node, i), node->kind == NODE_LIST ? &item : spot->path, &reason))
			reason_set_add(set, reason);
	}
}

void set_starttls(const struct spot *spot, struct node *node)
{
	const char *words[STARTTLS_COUNT] = { NULL };
	const char *text = text_of(spot, node);

	for (enum starttls each = STARTTLS_NONE + 1; each < STARTTLS_COUNT; each++)
		words[each - 1] = starttls_name(each);
	if (text != NULL && !is_off(text) && word_among(spot, node, text, words) >= 0)
		starttls_parse(text, field(spot));
}

/* One of the levels that the row's words allow. */
void set_level(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && word_index(spot, node, text) >= 0)
		level_parse(text, field(spot));
}

/* A word that is kept as a text. */
void set_method(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && word_index(spot, node, text) >= 0)
		*(char **)field(spot) = mem_strdup(text);
}

static void match_values(const struct spot *spot, struct match *match, const struct path *path, struct pair *pair)
{
	for (uint32_t i = 0; i < item_count(pair->value); i++) {
		struct path item = { path, NULL, i };
		const struct path *here = pair->value->kind == NODE_LIST ? &item : path;
		struct node *value = item_at(pair->value, i);
		const char *text = text_at(spot, value, here);
		struct error err;

		if (text != NULL && !match_add(match, pair->key->text, text, &err))
			mistake(spot->load, value, here, "%s", err.text);
	}
	if (pair->value->kind == NODE_LIST && pair->value->count == 0)
		mistake(spot->load, pair->value, path, "is an empty list: nothing could match");
}

static void set_match_map(const struct spot *spot, struct node *map, const struct path *path, struct match *match,
			  bool may_exclude)
{
	if (map->kind != NODE_MAP)
		mistake(spot->load, map, path, "must be a map, like {level: critical, group: [web, db]}");
	for (uint32_t i = 0; map->kind == NODE_MAP && i < map->count; i++) {
		struct pair *pair = &map->pairs[i];
		struct path here = { path, pair->key->text, 0 };
		struct match unused = { 0 };
		struct error err;

		if (strcmp(pair->key->text, "not") == 0 && may_exclude) {
			match->without = mem_new(struct match);
			set_match_map(spot, pair->value, &here, match->without, false);
		} else if (!match_add(&unused, pair->key->text, "*", &err)) {
			mistake(spot->load, pair->key, &here, "%s", err.text);
		} else {
			match_values(spot, match, &here, pair);
		}
		match_done(&unused);
	}
}

void set_match(const struct spot *spot, struct node *node)
{
	set_match_map(spot, node, spot->path, field(spot), true);
}

void done_match(const struct key *key, void *object)
{
	match_done(field_of(key, object));
}

static void add_group_key(const struct spot *spot, struct node *node, const struct path *path, struct route *route)
{
	const char *text = text_at(spot, node, path);
	struct group_by *group_by = &route->group_by[route->group_by_count];
	struct spot here = { spot->load, spot->key, path, spot->object };
	struct error err;
	int index;

	if (text == NULL)
		return;
	if (str_starts(text, "label.")) {
		if (!value_is_label_name(text + 6, &err)) {
			mistake(spot->load, node, path, "%s", err.text);
			return;
		}
		group_by->key = GROUP_BY_LABEL;
		group_by->label = mem_strdup(text + 6);
		route->group_by_count++;
		return;
	}
	index = word_index(&here, node, text);
	if (index < 0 || index == GROUP_BY_LABEL)
		return;
	group_by->key = (enum group_key)index;
	route->group_by_count++;
}

void set_group_by(const struct spot *spot, struct node *node)
{
	struct route *route = spot->object;

	if (!count_is_fine(spot, node, 0, 20))
		return;
	route->group_by = mem_array(item_count(node), sizeof(*route->group_by));
	for (uint32_t i = 0; i < item_count(node); i++) {
		struct path item = { spot->path, NULL, i };

		add_group_key(spot, item_at(node, i), node->kind == NODE_LIST ? &item : spot->path, route);
	}
}

void done_group_by(const struct key *key, void *object)
{
	struct route *route = object;

	(void)key;
	for (size_t i = 0; i < route->group_by_count; i++)
		free(route->group_by[i].label);
	free(route->group_by);
	route->group_by = NULL;
	route->group_by_count = 0;
}

void set_rate(const struct spot *spot, struct node *node)
{
	struct sender_config *sender = spot->object;
	const char *text = text_of(spot, node);
	struct error err;

	if (text != NULL && !value_rate(text, &sender->rate_count, &sender->rate_per_ms, &err))
		complain(spot, node, &err);
}

void set_mail_server(const struct spot *spot, struct node *node)
{
	struct email_config *email = &((struct sender_config *)spot->object)->as.email;
	const char *text = text_of(spot, node);
	struct error err;

	if (text != NULL && !value_mail_server(text, &email->implicit_tls, &email->host, &email->port, &err))
		complain(spot, node, &err);
}

void set_headers(const struct spot *spot, struct node *node)
{
	struct webhook_config *webhook = &((struct sender_config *)spot->object)->as.webhook;
	struct error err;

	if (!is_own_map(spot, node, 64))
		return;
	webhook->headers = mem_array(node->count, sizeof(*webhook->headers));
	for (uint32_t i = 0; i < node->count; i++) {
		struct pair *pair = &node->pairs[i];
		struct path here = { spot->path, pair->key->text, 0 };
		const char *value = text_at(spot, pair->value, &here);

		if (!value_is_header_name(pair->key->text, &err))
			mistake(spot->load, pair->key, &here, "%s", err.text);
		else if (value != NULL && !value_is_header_value(value, &err))
			mistake(spot->load, pair->value, &here, "%s", err.text);
		else if (value != NULL)
			webhook->headers[webhook->header_count++] =
				(struct header_config){ mem_strdup(pair->key->text), mem_strdup(value) };
	}
}

void done_headers(const struct key *key, void *object)
{
	struct webhook_config *webhook = &((struct sender_config *)object)->as.webhook;

	(void)key;
	for (size_t i = 0; i < webhook->header_count; i++) {
		free(webhook->headers[i].name);
		mem_wipe_free(webhook->headers[i].value);
	}
	free(webhook->headers);
	webhook->headers = NULL;
	webhook->header_count = 0;
}

void set_workers(const struct spot *spot, struct node *node)
{
	const char *text = text_of(spot, node);

	if (text != NULL && strcmp(text, "auto") != 0)
		set_count(spot, node);
}

const char *set_checked_text(const struct spot *spot, struct node *node, const struct path *path)
{
	return checked_text(spot, node, path);
}

int set_word_index(const struct spot *spot, struct node *node, const char *text)
{
	return word_index(spot, node, text);
}
