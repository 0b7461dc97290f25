/* SPDX-License-Identifier: MIT */
#include "lib/config/config.h"

#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/config/load.h"
#include "lib/config/set.h"
#include "lib/config/value.h"

enum { MAX_FILES = 10000, MAX_PROFILE_DEPTH = 16 };

/* A set of target keys with a name. Others that it names come before it. */
struct profile {
	struct node *map;
	struct node *parents; /* its key `profile`, or NULL */
	struct layer layer;
	enum { PROFILE_NEW, PROFILE_BUSY, PROFILE_DONE } state;
	size_t stamp; /* of the target that had it last */
};

/* files */

static bool is_loaded(const struct load *load, const struct source *source)
{
	for (size_t i = 0; i < load->file_count; i++) {
		const struct source *other = document_source(load->files[i].document);

		if (other->device == source->device && other->inode == source->inode)
			return true;
	}
	return false;
}

/* A file that two patterns name, or that names itself, is read once. */
static void add_file(struct load *load, const char *name, unsigned int where)
{
	struct document *document = document_read(name, load->env, load->report);
	struct file *file;

	if (document == NULL || is_loaded(load, document_source(document))) {
		load->broken = load->broken || document == NULL;
		document_free(document);
		return;
	}
	load->files = mem_grow(load->files, &load->file_capacity, load->file_count + 1, sizeof(*load->files));
	file = &load->files[load->file_count++];
	file->document = document;
	if (document_root(document) == NULL)
		load->broken = true;
	else
		layer_read(load, &schema_top, document_root(document), NULL, where, &file->top);
}

/* The pattern from where we stand; what is special in the directory's own name is not meant as a glob. */
static char *include_pattern(const struct node *node)
{
	const char *file = node->source->file;
	const char *slash = strrchr(file, '/');
	AUTO(str) struct str pattern = { 0 };

	if (node->text[0] == '/' || slash == NULL)
		return mem_strdup(node->text);
	for (const char *p = file; p <= slash; p++) {
		if (strchr("*?[\\", *p) != NULL)
			str_add_char(&pattern, '\\');
		str_add_char(&pattern, *p);
	}
	str_add(&pattern, node->text);
	return str_take(&pattern);
}

static void include(struct load *load, struct node *node, const struct path *path)
{
	AUTO(string) char *pattern = NULL;
	glob_t found;
	int status;

	if (node->bad)
		return;
	if (node->kind != NODE_SCALAR || node->text[0] == '\0') {
		mistake(load, node, path, "must be a file's name or a glob");
		return;
	}
	pattern = include_pattern(node);
	status = glob(pattern, GLOB_MARK, NULL, &found);
	if (status == GLOB_NOMATCH && strpbrk(node->text, "*?[") == NULL)
		mistake(load, node, path, "there is no file %s", pattern);
	else if (status != 0 && status != GLOB_NOMATCH)
		mistake(load, node, path, "could not be searched: %s", strerror(errno));
	for (size_t i = 0; status == 0 && i < found.gl_pathc; i++) {
		if (load->file_count < MAX_FILES)
			add_file(load, found.gl_pathv[i], PLACE_INCLUDED);
		else if (!node->bad)
			mistake(load, node, path, "these are more than %d files", MAX_FILES);
	}
	if (status == 0)
		globfree(&found);
	load->broken = load->broken || node->bad;
}

static void include_all(struct load *load)
{
	struct node *node = layer_get(&schema_top, &load->files[0].top, "include");
	struct path path = { NULL, "include", 0 };

	if (node == NULL || node->bad)
		return;
	if (node->kind != NODE_LIST)
		include(load, node, &path);
	for (uint32_t i = 0; node->kind == NODE_LIST && i < node->count; i++) {
		struct path item = { &path, NULL, i };

		include(load, node->items[i], &item);
	}
}

/* A part of a file, if it is of the right kind. */
static struct node *part_of(struct load *load, struct file *file, const char *key, enum node_kind kind)
{
	struct node *node = layer_get(&schema_top, &file->top, key);
	struct path path = { NULL, key, 0 };

	if (node == NULL || node->bad || node->kind == kind)
		return node == NULL || node->bad ? NULL : node;
	mistake(load, node, &path,
		kind == NODE_LIST ? "must be a list: each entry begins with \"- \"" : "must be a map of names");
	return NULL;
}

/* profiles and defaults */

/* Tries the values out, so that a mistake is reported where it stands and only once. */
static void try_layer(struct load *load, const struct layer *layer, const struct path *path)
{
	struct target_config scratch = { 0 };

	layer_check_pairs(load, &schema_target, layer, path);
	layer_set(load, &schema_target, layer, &scratch, path);
	section_done(&schema_target, &scratch);
}

static void add_profile(struct load *load, struct pair *pair)
{
	struct path profiles = { NULL, "profiles", 0 };
	struct path path = { &profiles, pair->key->text, 0 };
	struct profile *profile = document_alloc(load->files[0].document, sizeof(*profile));
	struct profile *other = names_add(&load->profiles, pair->key->text, profile);

	if (other != NULL) {
		AUTO(string) char *where = document_where(other->map);

		mistake(load, pair->key, &path, "there is a profile of this name at %s", where);
		return;
	}
	profile->map = pair->value;
	layer_read(load, &schema_target, pair->value, &path, PLACE_DEFAULTS, &profile->layer);
	profile->parents = layer_get(&schema_target, &profile->layer, "profile");
	try_layer(load, &profile->layer, &path);
}

static void add_profiles(struct load *load)
{
	for (size_t i = 0; i < load->file_count; i++) {
		struct node *map = part_of(load, &load->files[i], "profiles", NODE_MAP);

		for (uint32_t j = 0; map != NULL && j < map->count; j++)
			if (!map->pairs[j].key->bad)
				add_profile(load, &map->pairs[j]);
	}
}

/* The profile that an entry of `profile` names; NULL, and reported, if there is none. */
static struct profile *named_profile(struct load *load, struct node *name, const struct path *path)
{
	struct profile *profile;

	if (name->bad)
		return NULL;
	if (name->kind != NODE_SCALAR) {
		mistake(load, name, path, "must be the name of a profile, or a list of names");
		return NULL;
	}
	profile = names_find(&load->profiles, name->text);
	if (profile == NULL)
		mistake_unknown(load, name, path, "profile", &load->profiles);
	return profile;
}

static uint32_t entry_count(const struct node *node)
{
	return node == NULL ? 0 : node->kind == NODE_LIST ? node->count : 1;
}

static struct node *entry_at(struct node *node, uint32_t index)
{
	return node->kind == NODE_LIST ? node->items[index] : node;
}

/* Finds dangling names and circles below `profile`. What would close a circle becomes bad: nobody follows it. */
static void check_profile(struct load *load, struct profile *profile, const struct path *path, size_t depth)
{
	struct path key = { path, "profile", 0 };

	profile->state = PROFILE_BUSY;
	for (uint32_t i = 0; i < entry_count(profile->parents); i++) {
		struct node *entry = entry_at(profile->parents, i);
		struct profile *parent = named_profile(load, entry, &key);

		if (parent == NULL || parent->state == PROFILE_DONE)
			continue;
		if (parent->state == PROFILE_BUSY) {
			mistake(load, entry, &key, "profiles name each other in a circle");
		} else if (depth == MAX_PROFILE_DEPTH) {
			mistake(load, entry, &key, "profiles name one another more than %d deep",
				MAX_PROFILE_DEPTH);
		} else {
			struct path profiles = { NULL, "profiles", 0 };
			struct path below = { &profiles, entry->text, 0 };

			check_profile(load, parent, &below, depth + 1);
		}
	}
	profile->state = PROFILE_DONE;
}

static void check_profiles(struct load *load)
{
	for (size_t i = 0; i < load->file_count; i++) {
		struct node *map = part_of(load, &load->files[i], "profiles", NODE_MAP);

		for (uint32_t j = 0; map != NULL && j < map->count; j++) {
			struct path profiles = { NULL, "profiles", 0 };
			struct path path = { &profiles, map->pairs[j].key->text, 0 };
			struct profile *profile = names_find(&load->profiles, map->pairs[j].key->text);

			if (profile != NULL && profile->state == PROFILE_NEW)
				check_profile(load, profile, &path, 1);
		}
	}
}

/* Each profile counts once, where it is named first: [a, b] that both name base is base, a, b. */
static void apply_profiles(struct load *load, struct node *names, const struct path *path, struct layer *layer)
{
	for (uint32_t i = 0; i < entry_count(names) && !names->bad; i++) {
		struct profile *profile = named_profile(load, entry_at(names, i), path);

		if (profile == NULL || profile->stamp == load->stamp)
			continue;
		profile->stamp = load->stamp;
		apply_profiles(load, profile->parents, path, layer);
		layer_merge(load, &schema_target, layer, &profile->layer);
	}
}

/* The main file's defaults hold for all files, an included file's for its own targets, over the others. */
static void add_defaults(struct load *load)
{
	struct path path = { NULL, "defaults", 0 };

	for (size_t i = 0; i < load->file_count; i++) {
		struct file *file = &load->files[i];
		struct node *map = part_of(load, file, "defaults", NODE_MAP);
		struct path profile = { &path, "profile", 0 };
		struct layer own = { 0 };
		struct node *names;

		if (map != NULL)
			layer_read(load, &schema_target, map, &path, PLACE_DEFAULTS, &own);
		try_layer(load, &own, &path);
		names = layer_get(&schema_target, &own, "profile");
		for (uint32_t j = 0; j < entry_count(names); j++)
			named_profile(load, entry_at(names, j), &profile);
		if (i > 0)
			file->defaults = load->files[0].defaults;
		layer_merge(load, &schema_target, &file->defaults, &own);
	}
}

/* targets */

/* For a rule between two keys: the value that the target itself wrote, else what it inherited. */
static struct node *to_blame(const struct layer *own, const struct layer *all, const char *key, const char *other)
{
	struct node *nodes[] = {
		layer_get(&schema_target, own, key),
		layer_get(&schema_target, own, other),
		layer_get(&schema_target, all, key),
		layer_get(&schema_target, all, other),
	};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (nodes[i] != NULL)
			return nodes[i];
	return NULL;
}

/* What a target is made from, while it is. */
struct making {
	struct load *load;
	struct node *node;
	const struct path *path;
	struct layer own;
	struct layer all;
};

static void mistake_between(struct making *making, const char *key, const char *other, const char *text)
{
	struct node *node = to_blame(&making->own, &making->all, key, other);
	struct path path = { making->path, key, 0 };

	if (node != NULL && !node->bad)
		mistake(making->load, node, &path, "%s", text);
}

static void finish_timing(struct making *making, struct target_config *target)
{
	AUTO(string) char *text = NULL;
	char timeout[32];
	char interval[32];

	if (target->timeout_ms == 0) {
		target->timeout_ms = target->interval_ms * 9 / 10;
		if (target->timeout_ms > 10000)
			target->timeout_ms = 10000;
		return;
	}
	if (target->timeout_ms < target->interval_ms || target->interval_ms == 0)
		return;
	value_print_duration(target->timeout_ms, timeout);
	value_print_duration(target->interval_ms, interval);
	text = mem_printf("the timeout (%s) must be shorter than the interval (%s)", timeout, interval);
	mistake_between(making, "timeout", "interval", text);
}

static void finish_rules(struct making *making, const struct rules *rules)
{
	const struct expiry_bound *warning = &rules->certificate_warning;
	const struct expiry_bound *critical = &rules->certificate_critical;

	if (rules->latency_warning_us > 0 && rules->latency_critical_us > 0 &&
	    rules->latency_critical_us <= rules->latency_warning_us)
		mistake_between(making, "latency.critical", "latency.warning",
				"critical must be longer than warning");
	if ((warning->percent > 0 && warning->percent < critical->percent) ||
	    (warning->left_s > 0 && warning->left_s < critical->left_s))
		mistake_between(making, "certificate.warning", "certificate.critical",
				"warning must not come later than critical: give both");
}

static struct node *given(const struct making *making, const char *key)
{
	return layer_get(&schema_target, &making->all, key);
}

/* A password that many targets may inherit needs no proxy; one of its own, and one with a proxy, needs a user. */
static void finish_login(struct making *making, const struct proxy_config *proxy)
{
	static const char *const keys[] = { "proxy_password_file", "proxy_password_credential" };
	bool is_off = proxy->kind == PROXY_KIND_NONE && given(making, "proxy") != NULL;
	const char *trouble = NULL;

	if (proxy->username == NULL)
		trouble = proxy->kind == PROXY_KIND_NONE ? "a password without \"proxy\"" :
							   "a password without a user: write it into \"proxy\", "
							   "like socks5h://user@host:1080";
	else if (proxy->password != NULL && proxy->kind != PROXY_KIND_HTTP && strlen(proxy->password) > 255)
		trouble = "the password of a SOCKS proxy has at most 255 bytes (RFC 1929)";
	else if (proxy->password != NULL && proxy->kind == PROXY_KIND_HTTP && strlen(proxy->password) > 2000)
		trouble = "the password of an HTTP proxy has at most 2000 bytes";
	for (size_t i = 0; trouble != NULL && i < sizeof(keys) / sizeof(keys[0]); i++) {
		bool own = layer_get(&schema_target, &making->own, keys[i]) != NULL;

		if (given(making, keys[i]) != NULL && (own || proxy->kind != PROXY_KIND_NONE) && !is_off)
			mistake_between(making, keys[i], "proxy", trouble);
	}
}

/* The addresses that may be used, with their port. */
static void finish_resolve(struct making *making, struct target_config *target)
{
	size_t count = 0;

	if (target->resolve_count > 0 && target->literal.family != 0)
		mistake_between(making, "resolve", "resolve",
				"the target's address is an IP address, there is no name "
				"to resolve: take one of the two away");
	for (size_t i = 0; i < target->resolve_count; i++) {
		struct address address = target->resolve[i];

		address.port = target->port;
		if (value_lacks_zone(&address) &&
		    (target->source.text == NULL || target->source.address.family != 0))
			mistake_between(making, "resolve", "resolve",
					"a link-local address needs its interface: fe80::1%eth0, or \"source\"");
		if (address.scope != 0 && target->proxy.kind != PROXY_KIND_NONE)
			mistake_between(making, "resolve", "proxy",
					"an address with a zone means nothing to a proxy");
		if (target->family == FAMILY_AUTO || address.family == (target->family == FAMILY_IPV4 ? 4 : 6))
			target->resolve[count++] = address;
	}
	if (count == 0 && target->resolve_count > 0)
		mistake_between(making, "resolve", target->source.address.family != 0 ? "source" : "family",
				target->family == FAMILY_IPV4 ?
					"none of these addresses is IPv4, as is asked for" :
					"none of these addresses is IPv6, as is asked for");
	target->resolve_count = count;
}

/* Every two of what says IPv4 or IPv6 must say the same. */
static void finish_family(struct making *making, struct target_config *target)
{
	bool by_proxy = target->proxy.kind != PROXY_KIND_NONE;
	const struct address *source = &target->source.address;
	const struct address *peer = by_proxy ? &target->proxy.literal : &target->literal;
	uint8_t wanted = target->family == FAMILY_IPV4 ? 4 : target->family == FAMILY_IPV6 ? 6 : 0;

	if (wanted != 0 && target->literal.family != 0 && wanted != target->literal.family)
		mistake_between(making, "family", "family",
				wanted == 4 ? "ipv4, but the target's address is IPv6: take one of the two away" :
					      "ipv6, but the target's address is IPv4: take one of the two away");
	else if (wanted != 0 && source->family != 0 && wanted != source->family && !by_proxy)
		mistake_between(making, "source", "family",
				wanted == 4 ? "an IPv6 address, but family is ipv4" :
					      "an IPv4 address, but family is ipv6");
	else if (source->family != 0 && peer->family != 0 && source->family != peer->family)
		mistake_between(making, "source", by_proxy ? "proxy" : "source",
				source->family == 4 ? "an IPv4 address cannot connect to an IPv6 address" :
						      "an IPv6 address cannot connect to an IPv4 address");
	else if (wanted == 0 && source->family != 0 && !by_proxy)
		target->family = source->family == 4 ? FAMILY_IPV4 : FAMILY_IPV6;
	if (by_proxy && target->literal.scope != 0)
		mistake_between(making, "proxy", "proxy",
				"the target's address has a zone, which means nothing to a proxy");
}

static void finish_way(struct making *making, struct target_config *target)
{
	finish_login(making, &target->proxy);
	finish_family(making, target);
	finish_resolve(making, target);
}

static void finish_name(struct making *making, struct target_config *target)
{
	struct load *load = making->load;
	struct node *node = layer_get(&schema_target, &making->own, "name");
	struct path path = { making->path, "name", 0 };
	struct target_config *other;

	if (node == NULL && target->address != NULL) {
		if (strlen(target->address) > 120)
			mistake(load, making->node, making->path,
				"the address is too long to be the name: give one");
		target->name = mem_strdup(target->address);
	}
	if (target->name == NULL)
		return;
	other = names_add(&load->targets, target->name, target);
	if (other != NULL)
		mistake(load, node != NULL ? node : making->node, node != NULL ? &path : making->path,
			"there is a target of the name \"%s\" at %s", target->name, other->where);
}

static void note_port(struct making *making, const struct target_config *target)
{
	static const uint16_t tls_ports[] = { 443, 465, 636, 853, 993, 995 };
	struct node *node = layer_get(&schema_target, &making->own, "address");
	struct path path = { making->path, "address", 0 };

	for (size_t i = 0; i < sizeof(tls_ports) / sizeof(tls_ports[0]); i++)
		if (target->port == tls_ports[i] && layer_get(&schema_target, &making->all, "tls") == NULL)
			note(making->load, node, &path,
			     "port %u without a \"tls\" key: only the TCP connection is watched "
			     "(tls: on, or tls: off if that is meant)",
			     (unsigned int)target->port);
}

static uint64_t hash_text(uint64_t seed, const char *text)
{
	return str_hash(text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 0, seed);
}

static uint64_t hash_address(uint64_t seed, const struct address *address)
{
	char text[ADDRESS_TEXT_BYTES];

	address_print(address, text);
	return hash_text(seed, text);
}

static uint64_t hash_number(uint64_t seed, unsigned int number)
{
	return str_hash(&number, sizeof(number), seed);
}

/* The plain way adds nothing. */
static uint64_t hash_way(uint64_t hash, const struct target_config *target)
{
	const struct proxy_config *proxy = &target->proxy;
	const struct proxy_header *header = &target->proxy_protocol;

	if (target->family != FAMILY_AUTO)
		hash = hash_number(hash_text(hash, "family"), target->family);
	for (size_t i = 0; i < target->resolve_count; i++)
		hash = hash_address(hash_text(hash, "resolve"), &target->resolve[i]);
	if (target->source.text != NULL)
		hash = hash_text(hash_text(hash, "source"), target->source.text);
	if (proxy->kind != PROXY_KIND_NONE) {
		hash = hash_number(hash_text(hash, "proxy"), proxy->kind);
		hash = hash_text(hash_number(hash_text(hash, proxy->host), proxy->port), proxy->username);
	}
	if (header->version != PROXY_HEADER_NONE) {
		hash = hash_number(hash_text(hash, "proxy_protocol"), header->version);
		hash = hash_address(hash_address(hash, &header->source), &header->destination);
	}
	return hash;
}

static bool exchange_starts_tls(const struct exchange_config *exchange)
{
	for (size_t i = 0; i < exchange->count; i++)
		if (exchange->steps[i].kind == EXCHANGE_STARTTLS)
			return true;
	return false;
}

/* What is probed, and so what a measurement means: if it changes, what was measured before says nothing. */
static uint64_t identity(const struct config *config, const struct target_config *target)
{
	const struct trust_config *trust = &config->trust[target->trust];
	const struct exchange_config *exchange = &config->exchanges[target->exchange];
	uint64_t hash = hash_way(hash_text(0, target->address), target);

	hash = hash_text(hash, target->all_addresses ? "all" : "");
	hash = str_hash(&target->need, sizeof(target->need), hash);
	hash = str_hash(&target->expected, sizeof(target->expected), hash);
	for (size_t i = 0; i < exchange->count; i++) {
		hash = str_hash(&exchange->steps[i].kind, sizeof(exchange->steps[i].kind), hash);
		hash = hash_text(hash, exchange->steps[i].text);
	}
	hash = hash_text(hash, target->tls ? "tls" : "");
	if (!target->tls)
		return hash;
	hash = str_hash(&target->starttls, sizeof(target->starttls), hash);
	hash = hash_text(hash, target->ehlo);
	hash = hash_text(hash, target->server_name);
	hash = str_hash(&target->rules.verify, sizeof(target->rules.verify), hash);
	for (size_t i = 0; i < trust->file_count; i++)
		hash = hash_text(hash, trust->files[i]);
	hash = hash_text(hash, target->client_certificate);
	hash = hash_text(hash, target->client_key);
	hash = str_hash(&target->max_version, sizeof(target->max_version), hash);
	hash = hash_text(hash, target->ciphers);
	for (size_t i = 0; i < target->alpn_count; i++)
		hash = hash_text(hash, target->alpn[i]);
	return hash;
}

/* A threshold on a phase that the target never enters would never be met. */
static void finish_phase(struct making *making, const struct target_config *target)
{
	const enum phase phase = target->rules.latency_phase;

	if (layer_get(&schema_target, &making->all, "latency") == NULL)
		return;
	if (phase == PHASE_TLS && !target->tls)
		mistake(making->load, making->node, making->path,
			"latency.phase is tls, but the target has none: tls: on, or another phase");
	if (phase == PHASE_PROXY && target->proxy.kind == PROXY_KIND_NONE)
		mistake(making->load, making->node, making->path,
			"latency.phase is proxy, but the target has none: proxy: ..., or another phase");
	if (phase == PHASE_STARTTLS && target->starttls == STARTTLS_NONE)
		mistake(making->load, making->node, making->path,
			"latency.phase is starttls, but the target has none: tls: {starttls: ...}, or another phase");
	if (phase == PHASE_EXCHANGE && target->exchange == 0)
		mistake(making->load, making->node, making->path,
			"latency.phase is exchange, but the target has none: exchange: [...], or another phase");
}

/* How TLS begins is said once. */
static void finish_starttls(struct making *making, struct target_config *target)
{
	const bool in_exchange = exchange_starts_tls(&making->load->config->exchanges[target->exchange]);

	if (in_exchange && target->tls && target->starttls != STARTTLS_NONE)
		mistake(making->load, making->node, making->path,
			"TLS begins twice: with tls.starttls, and with the step starttls of the exchange; take one away");
	if (!target->tls)
		target->starttls = STARTTLS_NONE; /* switched off over a profile that has it */
	/* TLS is made there, with the keys of tls or their defaults; `tls: off` says only that it is not before. */
	if (in_exchange && !target->tls) {
		target->tls = true;
		target->max_version = TLS_1_3;
	}
	if (target->starttls != STARTTLS_NONE && target->ehlo == NULL)
		target->ehlo = mem_strdup(making->load->config->host_name);
}

static void finish_addresses(struct making *making, const struct target_config *target)
{
	if (!target->all_addresses && target->need != 0 && layer_get(&schema_target, &making->own, "require") != NULL)
		mistake(making->load, making->node, making->path,
			"\"require\" without \"addresses: all\" has nothing to count");
	if (target->all_addresses && target->resolve_count > 0 && target->need > (int)target->resolve_count)
		mistake(making->load, making->node, making->path,
			"\"require\" is more than \"resolve\" has addresses");
	if (target->all_addresses && target->resolve_count == 0 && target->proxy.kind != PROXY_KIND_NONE &&
	    target->proxy.kind != PROXY_KIND_SOCKS5)
		mistake(making->load, making->node, making->path,
			"\"addresses: all\" needs the addresses, but this proxy looks the name up itself: socks5://, or "
			"\"resolve\"");
}

static uint64_t hash_patterns(const struct config *config, const struct target_config *target)
{
	uint64_t hash = hash_text(0, config->patterns[target->issuer].text);

	hash = hash_text(hash, config->patterns[target->require.ciphers].text);
	return hash_text(hash, config->patterns[target->require.group].text);
}

static bool offers_alpn(const struct target_config *target, const char *protocol)
{
	for (size_t i = 0; i < target->alpn_count; i++)
		if (strcmp(target->alpn[i], protocol) == 0)
			return true;
	return false;
}

static size_t client_index(struct making *making, const struct target_config *target, const struct node *node,
			   const struct path *path)
{
	struct load *load = making->load;
	struct config *config = load->config;
	const char *key_file = target->client_key != NULL ? target->client_key : target->client_certificate;
	AUTO(string) char *name = mem_printf("%s\n%s\n%llx", target->client_certificate, key_file,
					     (unsigned long long)hash_text(0, target->client_key_password));
	uintptr_t index = (uintptr_t)names_find(&load->clients, name);
	size_t capacity = config->client_count;

	if (index != 0)
		return index;
	index = config->client_count++;
	config->clients = mem_grow(config->clients, &capacity, config->client_count, sizeof(*config->clients));
	config->clients[index] = (struct client_config){
		.certificate_file = mem_strdup(target->client_certificate),
		.key_file = mem_strdup(key_file),
		.password = mem_strdup(target->client_key_password),
		.where = document_where(node),
		.path = path_text(path),
	};
	names_put(&load->clients, document_text(load->files[0].document, name), (void *)index);
	return index;
}

/* The first of these keys that is given; NULL if none is. */
static struct node *first_given(const struct layer *layer, const char *const *keys, struct path *path)
{
	for (; *keys != NULL; keys++) {
		struct node *node = layer_get(&schema_target, layer, *keys);

		path->key = *keys;
		if (node != NULL)
			return node;
	}
	return NULL;
}

static void finish_client(struct making *making, struct target_config *target)
{
	static const char *const certificate_keys[] = {
		"tls.client_certificate_file", "tls.client_certificate_credential", NULL
	};
	static const char *const other_keys[] = {
		"tls.client_key_file", "tls.client_key_credential", "tls.client_key_password_file",
		"tls.client_key_password_credential", NULL
	};
	struct path path = { making->path, NULL, 0 };
	struct path other_path = { making->path, NULL, 0 };
	struct node *node = first_given(&making->all, certificate_keys, &path);
	struct node *other = first_given(&making->all, other_keys, &other_path);

	if (node == NULL && other != NULL)
		mistake(making->load, other, &other_path,
			"needs client_certificate_file or client_certificate_credential");
	else if (node != NULL && !node->bad && target->client_certificate != NULL)
		target->client = client_index(making, target, node, &path);
}

/* What is required has to be offered. */
static void finish_tls(struct making *making, struct target_config *target)
{
	struct path path = { making->path, "tls.require", 0 };
	struct node *node = layer_get(&schema_target, &making->all, "tls.require");

	if (!target->tls || !target->rules.tls_required || node->bad)
		return;
	if (target->require.version > target->max_version)
		mistake(making->load, node, &path, "a version above max_version cannot be agreed on");
	if (target->require.alpn == NULL || offers_alpn(target, target->require.alpn))
		return;
	if (target->alpn_count > 0) {
		mistake(making->load, node, &path, "\"%s\" is not among what tls.alpn offers",
			target->require.alpn);
		return;
	}
	target->alpn = mem_array(1, sizeof(*target->alpn));
	target->alpn[target->alpn_count++] = mem_strdup(target->require.alpn);
}

static void finish_target(struct making *making, struct target_config *target)
{
	target->where = document_where(making->node);
	finish_starttls(making, target);
	finish_name(making, target);
	finish_timing(making, target);
	finish_rules(making, &target->rules);
	finish_addresses(making, target);
	finish_phase(making, target);
	if (target->address == NULL)
		return;
	finish_way(making, target);
	if (target->tls && target->server_name == NULL)
		target->server_name = mem_strdup(target->host);
	if (target->tls)
		finish_client(making, target);
	finish_tls(making, target);
	note_port(making, target);
	target->identity = identity(making->load->config, target);
	target->patterns = hash_patterns(making->load->config, target);
}

static void add_target(struct load *load, const struct file *file, struct node *node, const struct path *path)
{
	struct target_config *target = &load->config->targets[load->config->target_count++];
	struct making making = { .load = load, .node = node, .path = path, .all = file->defaults };
	struct path profile = { path, "profile", 0 };
	struct node *names;

	load->stamp++;
	if (node->kind == NODE_SCALAR && !node->bad) {
		for (size_t i = 0; i < schema_target.count; i++)
			if (strcmp(schema_target.keys[i].name, "address") == 0)
				making.own.values[i] = node;
	} else {
		layer_read(load, &schema_target, node, path, PLACE_OWN, &making.own);
	}
	names = layer_get(&schema_target, &making.own, "profile");
	if (names == NULL)
		names = layer_get(&schema_target, &file->defaults, "profile");
	apply_profiles(load, names, &profile, &making.all);
	layer_merge(load, &schema_target, &making.all, &making.own);
	if (node->kind == NODE_MAP)
		layer_check(load, &schema_target, &making.own, node, path);
	layer_set(load, &schema_target, &making.all, target, path);
	finish_target(&making, target);
	print_object(load, &schema_target, &making.all, target, NULL, true);
}

static void add_targets(struct load *load)
{
	struct path targets = { NULL, "targets", 0 };
	size_t count = 0;

	for (size_t i = 0; i < load->file_count; i++) {
		const struct node *list = part_of(load, &load->files[i], "targets", NODE_LIST);

		count += list != NULL ? list->count : 0;
	}
	load->config->targets = mem_array(count, sizeof(*load->config->targets));
	print_title(load, count > 0 ? "targets:" : "targets: []");
	for (size_t i = 0; i < load->file_count; i++) {
		struct node *list = part_of(load, &load->files[i], "targets", NODE_LIST);

		for (uint32_t j = 0; list != NULL && j < list->count; j++) {
			struct path path = { &targets, NULL, j };

			add_target(load, &load->files[i], list->items[j], &path);
		}
	}
}

/* senders */

static void finish_email(struct load *load, const struct layer *layer, struct node *node, const struct path *path,
			 struct email_config *email)
{
	const struct section *section = &schema_senders[SENDER_EMAIL];
	struct node *starttls = layer_get(section, layer, "starttls");
	bool has_password = layer_get(section, layer, "password_file") != NULL ||
			    layer_get(section, layer, "password_credential") != NULL;
	struct address address;

	if (starttls == NULL && email->host != NULL &&
	    (strcmp(email->host, "localhost") == 0 ||
	     (address_from_literal(email->host, email->port, &address) && address_is_loopback(&address))))
		email->starttls = MAIL_STARTTLS_OPTIONAL;
	if (has_password != (layer_get(section, layer, "username") != NULL))
		mistake(load, node, path,
			has_password ? "a password without \"username\"" :
				       "\"username\" without \"password_file\" or \"password_credential\"");
}

/* The section of the sender's type; NULL, and reported, if that is not known. */
static const struct section *sender_section(struct load *load, struct node *map, const struct path *path)
{
	struct node *type = document_get(map, "type");
	struct sender_config scratch = { .kind = SENDER_KIND_COUNT };
	const struct key *key = &schema_sender.keys[0];
	struct path here = { path, key->name, 0 };
	struct spot spot = { load, key, &here, &scratch };

	if (map->bad)
		return NULL;
	if (map->kind != NODE_MAP) {
		mistake(load, map, path, "must be a map of keys");
		return NULL;
	}
	if (type == NULL) {
		mistake(load, map, path, "\"%s\" is missing", key->name);
		return NULL;
	}
	if (!type->bad)
		schema_setter(key)(&spot, type);
	return scratch.kind < SENDER_KIND_COUNT ? &schema_senders[scratch.kind] : NULL;
}

static void add_sender(struct load *load, struct pair *pair)
{
	struct path senders = { NULL, "senders", 0 };
	struct path path = { &senders, pair->key->text, 0 };
	struct sender_config *sender = &load->config->senders[load->config->sender_count++];
	const struct sender_config *other = names_add(&load->senders, pair->key->text, sender);
	const struct section *section = sender_section(load, pair->value, &path);
	struct layer layer = { 0 };
	struct error err;

	sender->kind = SENDER_KIND_COUNT;
	sender->name = mem_strdup(pair->key->text);
	sender->where = document_where(pair->key);
	if (other != NULL)
		mistake(load, pair->key, &path, "there is a sender of this name at %s", other->where);
	else if (!value_is_printable(sender->name, &err))
		mistake(load, pair->key, &path, "%s", err.text);
	else if (sender->name[0] == '\0' || strlen(sender->name) > 120)
		mistake(load, pair->key, &path, "a sender's name has 1 to 120 bytes");
	if (section == NULL)
		return;
	sender->kind = (enum sender_kind)(section - schema_senders);
	layer_read(load, section, pair->value, &path, PLACE_OWN, &layer);
	layer_check(load, section, &layer, pair->value, &path);
	layer_set(load, section, &layer, sender, &path);
	if (sender->kind == SENDER_EMAIL)
		finish_email(load, &layer, pair->value, &path, &sender->as.email);
	print_object(load, section, &layer, sender, sender->name, false);
}

static void add_senders(struct load *load)
{
	size_t count = 0;

	for (size_t i = 0; i < load->file_count; i++) {
		const struct node *map = part_of(load, &load->files[i], "senders", NODE_MAP);

		count += map != NULL ? map->count : 0;
	}
	load->config->senders = mem_array(count, sizeof(*load->config->senders));
	print_title(load, count > 0 ? "senders:" : "senders: {}");
	for (size_t i = 0; i < load->file_count; i++) {
		struct node *map = part_of(load, &load->files[i], "senders", NODE_MAP);

		for (uint32_t j = 0; map != NULL && j < map->count; j++)
			if (!map->pairs[j].key->bad)
				add_sender(load, &map->pairs[j]);
	}
}

/* routes */

static bool matches_everything(const struct route *route)
{
	return route->match.term_count == 0 &&
	       (route->match.without == NULL || route->match.without->term_count == 0);
}

static void set_route(struct load *load, const struct layer *layer, struct route *route, const struct path *path)
{
	layer_set(load, &schema_route, layer, route, path);
	route->remind_ms[LEVEL_UNKNOWN] = route->remind_ms[LEVEL_CRITICAL];
}

static void add_default_route(struct load *load)
{
	struct config *config = load->config;
	struct path path = { NULL, "routes", 0 };
	struct layer layer = { 0 };
	struct route *route;

	config->routes = mem_array(1, sizeof(*config->routes));
	config->route_count = 1;
	route = &config->routes[0];
	set_route(load, &layer, route, &path);
	route->send_to = mem_array(config->sender_count, sizeof(*route->send_to));
	for (size_t i = 0; i < config->sender_count; i++)
		route->send_to[route->send_to_count++] = mem_strdup(config->senders[i].name);
	print_title(load, "routes:");
	print_object(load, &schema_route, &layer, route, NULL, true);
}

static void add_routes(struct load *load)
{
	struct config *config = load->config;
	struct path routes = { NULL, "routes", 0 };
	struct node *list = part_of(load, &load->files[0], "routes", NODE_LIST);
	bool caught = false;

	if (list == NULL) {
		add_default_route(load);
		return;
	}
	if (list->count == 0)
		mistake(load, list, &routes,
			"is an empty list: leave it out to tell all senders, or write - send_to: []");
	print_title(load, "routes:");
	config->routes = mem_array(list->count, sizeof(*config->routes));
	for (uint32_t i = 0; i < list->count; i++) {
		struct path path = { &routes, NULL, i };
		struct route *route = &config->routes[config->route_count++];
		struct layer layer = { 0 };
		struct node *node = list->items[i];
		size_t mistakes = load->report->mistakes;

		layer_read(load, &schema_route, node, &path, PLACE_OWN, &layer);
		if (!node->bad)
			layer_check(load, &schema_route, &layer, node, &path);
		set_route(load, &layer, route, &path);
		if (caught)
			note(load, node, &path, "can never match: a route above matches everything");
		else if (i + 1 == list->count && !matches_everything(route) && load->report->mistakes == mistakes)
			mistake(load, node, &path,
				"the last route must match everything: add one without \"match\" below it, "
				"like - send_to: [...]");
		/* What a route with a mistake was meant to match is not known. */
		if (matches_everything(route) && !route->go_on && load->report->mistakes == mistakes)
			caught = true;
		print_object(load, &schema_route, &layer, route, NULL, true);
	}
}

/* the whole */

static void add_top(struct load *load)
{
	struct config *config = load->config;
	char host[256] = "";

	layer_set(load, &schema_top, &load->files[0].top, config, NULL);
	if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
		snprintf(host, sizeof(host), "localhost");
	config->host_name = str_clean(host, strlen(host), 120);
	if (config->location == NULL)
		config->location = mem_strdup(config->host_name);
	print_object(load, &schema_top, &load->files[0].top, config, NULL, false);
}

static void load_done(struct load *load)
{
	names_done(&load->profiles);
	names_done(&load->senders);
	names_done(&load->targets);
	names_done(&load->trusts);
	names_done(&load->clients);
	names_done(&load->patterns);
	names_done(&load->exchanges);
	for (size_t i = 0; i < load->file_count; i++)
		document_free(load->files[i].document);
	free(load->files);
}

static void start(struct load *load, const char *file)
{
	load->config = mem_new(struct config);
	load->config->file = mem_strdup(file);
	load->config->trust = mem_new(struct trust_config);
	load->config->trust_count = 1;
	load->config->clients = mem_new(struct client_config);
	load->config->client_count = 1;
	load->config->patterns = mem_new(struct pattern_config);
	load->config->pattern_count = 1;
	load->config->exchanges = mem_new(struct exchange_config);
	load->config->exchange_count = 1;
}

static struct config *finish(struct load *load)
{
	load_done(load);
	report_sort(load->report);
	if (load->report->mistakes == 0)
		return load->config;
	config_free(load->config);
	return NULL;
}

/* The order is that of who names whom: targets and routes name senders, targets name profiles. */
static struct config *run(struct load *load, const char *file)
{
	start(load, file);
	add_file(load, file, PLACE_OWN);
	if (load->file_count > 0) {
		include_all(load);
		add_top(load);
		add_senders(load);
		add_profiles(load);
		check_profiles(load);
		add_defaults(load);
		add_routes(load);
		add_targets(load);
	}
	return finish(load);
}

/* one target without a file */

static size_t row_of(const char *key, size_t bytes)
{
	size_t row = 0;

	while (row < schema_target.count && (strncmp(schema_target.keys[row].name, key, bytes) != 0 ||
					     schema_target.keys[row].name[bytes] != '\0'))
		row++;
	assert(row < schema_target.count);
	return row;
}

/* "- send: text" */
static struct node *step_of(struct document *document, const struct setting *setting)
{
	struct node *value = document_scalar(document, setting->origin, setting->text);
	struct node *map = document_alloc(document, sizeof(*map));

	*map = (struct node){ .kind = NODE_MAP, .source = value->source, .count = 1 };
	map->pairs = document_alloc(document, sizeof(*map->pairs));
	map->pairs[0] = (struct pair){ document_scalar(document, setting->origin, setting->step), value };
	return map;
}

/* One more value of a key: the second makes a list of it. */
static struct node *joined(struct document *document, struct node *before, struct node *value)
{
	const uint32_t count = before == NULL ? 0 : before->kind == NODE_LIST ? before->count : 1;
	struct node *list;

	if (before == NULL && value->kind == NODE_SCALAR)
		return value;
	list = document_alloc(document, sizeof(*list));
	*list = (struct node){ .kind = NODE_LIST, .source = value->source };
	list->items = document_alloc(document, (count + 1) * sizeof(*list->items));
	for (uint32_t i = 0; i < count; i++)
		list->items[i] = entry_at(before, i);
	list->items[count] = value;
	list->count = count + 1;
	return list;
}

/* `known` says what others than the weak settings have said. */
static void read_settings(struct load *load, const struct setting *settings, size_t count, const struct layer *known,
			  struct layer *layer)
{
	struct document *document = load->files[0].document;

	for (size_t i = 0; i < count; i++) {
		const struct setting *setting = &settings[i];
		const size_t row = row_of(setting->key, strlen(setting->key));

		if (setting->weak != (known != NULL) ||
		    (known != NULL && known->values[row_of(setting->key, strcspn(setting->key, "."))] != NULL))
			continue;
		layer->values[row] = joined(document, layer->values[row],
					    setting->step != NULL ?
						    step_of(document, setting) :
						    document_scalar(document, setting->origin, setting->text));
	}
}

static void add_single_target(struct load *load, const struct setting *settings, size_t count)
{
	struct config *config = load->config;
	struct making making = { .load = load, .all = load->files[0].defaults };
	struct path profile = { NULL, "profile", 0 };
	struct layer weak = { 0 };
	struct node *names;

	config->targets = mem_array(1, sizeof(*config->targets));
	config->target_count = 1;
	load->stamp++;
	read_settings(load, settings, count, NULL, &making.own);
	making.node = layer_get(&schema_target, &making.own, "address");
	names = layer_get(&schema_target, &making.own, "profile");
	if (names == NULL)
		names = layer_get(&schema_target, &load->files[0].defaults, "profile");
	apply_profiles(load, names, &profile, &making.all);
	layer_merge(load, &schema_target, &making.all, &making.own);
	read_settings(load, settings, count, &making.all, &weak);
	for (size_t i = 0; i < schema_target.count; i++)
		if (weak.values[i] != NULL && making.all.values[i] == NULL)
			making.all.values[i] = weak.values[i];
	layer_set(load, &schema_target, &making.all, &config->targets[0], NULL);
	finish_target(&making, &config->targets[0]);
}

/* Names are enough for a profile that has a send_to. */
static void name_senders(struct load *load)
{
	for (size_t i = 0; i < load->file_count; i++) {
		struct node *map = part_of(load, &load->files[i], "senders", NODE_MAP);

		for (uint32_t j = 0; map != NULL && j < map->count; j++)
			names_add(&load->senders, map->pairs[j].key->text, &map->pairs[j]);
	}
}

static void add_no_file(struct load *load)
{
	load->files = mem_grow(load->files, &load->file_capacity, 1, sizeof(*load->files));
	load->files[0].document = document_new();
	load->file_count = 1;
}

struct config *config_load_target(const char *file, const struct setting *settings, size_t count,
				  const struct config_env *env, struct report *report)
{
	struct load load = { .env = env, .report = report };

	start(&load, file != NULL ? file : "");
	if (file != NULL)
		add_file(&load, file, PLACE_OWN);
	else
		add_no_file(&load);
	if (load.file_count > 0) {
		include_all(&load);
		add_top(&load);
		name_senders(&load);
		add_profiles(&load);
		check_profiles(&load);
		add_defaults(&load);
		add_single_target(&load, settings, count);
	}
	return finish(&load);
}

struct config *config_load(const char *file, const struct config_env *env, struct report *report)
{
	struct load load = { .env = env, .report = report };

	return run(&load, file);
}

bool config_print(const char *file, const struct config_env *env, FILE *out, struct report *report)
{
	AUTO(str) struct str print = { 0 };
	struct load load = { .env = env, .report = report, .print = &print };
	struct config *config = run(&load, file);

	if (config == NULL)
		return false;
	config_free(config);
	return fwrite(print.data, 1, print.bytes, out) == print.bytes && fflush(out) == 0;
}

static void trust_done(struct trust_config *trust)
{
	for (size_t i = 0; i < trust->file_count; i++)
		free(trust->files[i]);
	free(trust->files);
	free(trust->where);
	free(trust->path);
}

static void pattern_done(struct pattern_config *pattern)
{
	free(pattern->text);
	free(pattern->where);
	free(pattern->path);
}

static void client_done(struct client_config *client)
{
	free(client->certificate_file);
	free(client->key_file);
	mem_wipe_free(client->password);
	free(client->where);
	free(client->path);
}

static void exchange_done(struct exchange_config *exchange)
{
	for (size_t i = 0; i < exchange->count; i++) {
		mem_wipe_free(exchange->steps[i].text); /* what is sent may be a password */
		free(exchange->steps[i].where);
		free(exchange->steps[i].path);
	}
	free(exchange->steps);
}

static void target_done(struct target_config *target)
{
	section_done(&schema_target, target);
	free(target->where);
}

static void sender_done(struct sender_config *sender)
{
	if (sender->kind < SENDER_KIND_COUNT)
		section_done(&schema_senders[sender->kind], sender);
	free(sender->name);
	free(sender->where);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->target_count; i++)
		target_done(&config->targets[i]);
	for (size_t i = 0; i < config->sender_count; i++)
		sender_done(&config->senders[i]);
	for (size_t i = 0; i < config->route_count; i++)
		section_done(&schema_route, &config->routes[i]);
	for (size_t i = 0; i < config->trust_count; i++)
		trust_done(&config->trust[i]);
	for (size_t i = 0; i < config->client_count; i++)
		client_done(&config->clients[i]);
	for (size_t i = 0; i < config->pattern_count; i++)
		pattern_done(&config->patterns[i]);
	for (size_t i = 0; i < config->exchange_count; i++)
		exchange_done(&config->exchanges[i]);
	section_done(&schema_top, config);
	free(config->targets);
	free(config->senders);
	free(config->routes);
	free(config->trust);
	free(config->clients);
	free(config->patterns);
	free(config->exchanges);
	free(config->file);
	free(config->host_name);
	free(config);
}

const struct sender_config *config_sender(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->sender_count; i++)
		if (strcmp(config->senders[i].name, name) == 0)
			return &config->senders[i];
	return NULL;
}
