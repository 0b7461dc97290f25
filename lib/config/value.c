/* SPDX-License-Identifier: MIT */
#include "lib/config/value.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/address.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static const char digits[] = "0123456789";

struct unit {
	const char *name;
	int64_t ms;
};

/* The largest first: value_print_duration() takes the first that leaves no rest. */
static const struct unit units[] = {
	{ "y", INT64_C(365) * 86400000 }, { "w", INT64_C(7) * 86400000 }, { "d", 86400000 },
	{ "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

static const struct unit *unit_find(const char *name)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

/* At most 12 digits: nothing that follows can overflow 64 bits. */
static bool whole_number(const char *text, size_t length, int64_t *number)
{
	if (length == 0 || length > 12)
		return false;
	*number = 0;
	for (size_t i = 0; i < length; i++)
		*number = *number * 10 + (text[i] - '0');
	return true;
}

bool value_duration(const char *text, int64_t *duration_ms, struct error *err)
{
	size_t length = strspn(text, digits);
	const struct unit *unit = unit_find(text + length);
	int64_t number;

	if (!whole_number(text, length, &number) || (unit == NULL && text[length] != '\0'))
		return error_set(err,
				 "not a duration: write a whole number and a unit, like 250ms 30s 5m 4h 7d 2w 1y");
	if (unit == NULL)
		return error_set(err, "a duration needs a unit: write %ss if seconds are meant (ms s m h d w y)",
				 text);
	if (number > INT64_C(1000) * units[0].ms / unit->ms)
		return error_set(err, "is longer than 1000 years");
	*duration_ms = number * unit->ms;
	return true;
}

void value_print_duration(int64_t duration_ms, char out[32])
{
	size_t i = 0;

	/* Weeks and years read worse than days: 365d, not 1y; 0s, not 0y. */
	while (duration_ms == 0 ? units[i].ms != 1000 : i < 2 || duration_ms % units[i].ms != 0)
		i++;
	snprintf(out, 32, "%lld%s", (long long)(duration_ms / units[i].ms), units[i].name);
}

bool value_count(const char *text, int64_t *count, struct error *err)
{
	size_t length = strspn(text, digits);

	if (text[length] != '\0' || !whole_number(text, length, count))
		return error_set(err, "not a whole number");
	return true;
}

bool value_percent(const char *text, int *percent, struct error *err)
{
	size_t length = strspn(text, digits);
	int64_t number;

	if (strcmp(text + length, "%") != 0 || !whole_number(text, length, &number))
		return error_set(err, "not a percentage: write it like 25%%");
	if (number < 1 || number > 99)
		return error_set(err, "must be from 1%% to 99%%");
	*percent = (int)number;
	return true;
}

bool value_switch(const char *text, bool *on, struct error *err)
{
	static const char *const words[] = { "off", "on", "no", "yes", "false", "true" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*on = i % 2 == 1;
			return true;
		}
	}
	return error_set(err, "must be on or off");
}

bool value_rate(const char *text, int *count, int64_t *per_ms, struct error *err)
{
	size_t length = strspn(text, digits);
	const char *per = text + length + 1;
	AUTO(string) char *one = NULL;
	struct error ignored;
	int64_t number;

	*count = 0;
	*per_ms = 0;
	if (strcasecmp(text, "off") == 0)
		return true;
	if (!whole_number(text, length, &number) || text[length] != '/' || number < 1 || number > 10000)
		return error_set(err, "not a rate: write how many in which time, like 10/m or 1/30s, or off");
	one = mem_printf("%s%s", isdigit((unsigned char)per[0]) ? "" : "1", per);
	if (!value_duration(one, per_ms, &ignored) || *per_ms == 0)
		return error_set(err, "not a rate: write how many in which time, like 10/m or 1/30s, or off");
	*count = (int)number;
	return true;
}

bool value_is_printable(const char *text, struct error *err)
{
	AUTO(string) char *clean = NULL;
	const char *p = text;

	while (*p >= 0x20 && *p < 0x7f)
		p++;
	if (*p == '\0')
		return true;
	clean = str_clean(p, strlen(p), strlen(p));
	if (strcmp(clean, p) != 0)
		return error_set(err, "holds a control character, a hidden mark or bytes that are not UTF-8");
	return true;
}

bool value_is_prose(const char *text, struct error *err)
{
	AUTO(string) char *one_line = mem_strdup(text);

	for (char *p = one_line; *p != '\0'; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	return value_is_printable(one_line, err);
}

bool value_is_host(const char *text, struct error *err)
{
	struct address address;

	if (address_from_literal(text, 0, &address) || address_host_is_valid(text))
		return true;
	return error_set(err, "neither a host name nor an IP address");
}

/* RFC 5321 allows more (quoted local parts, literals); what real mailboxes use is enough and safe everywhere. */
static bool is_plain_mailbox(const char *text, size_t bytes)
{
	static const char allowed[] = "!#$%&'*+-/=?^_`{|}~.";
	const char *at = memchr(text, '@', bytes);
	AUTO(string) char *domain = NULL;
	size_t local;

	if (at == NULL)
		return false;
	local = (size_t)(at - text);
	if (local == 0 || local > 64)
		return false;
	for (size_t i = 0; i < local; i++)
		if (!isalnum((unsigned char)text[i]) && strchr(allowed, text[i]) == NULL)
			return false;
	domain = mem_strndup(at + 1, bytes - local - 1);
	return address_host_is_valid(domain);
}

bool value_is_mailbox(const char *text, struct error *err)
{
	const char *open = strrchr(text, '<');
	size_t bytes = strlen(text);

	if (!value_is_printable(text, err))
		return false;
	if (open == NULL && is_plain_mailbox(text, bytes))
		return true;
	if (open != NULL && text[bytes - 1] == '>' && is_plain_mailbox(open + 1, strlen(open + 1) - 1))
		return true;
	return error_set(err, "not an e-mail address: write user@example.com or \"Name <user@example.com>\"");
}

/* The part between "scheme://" and the path; without what stands before an "@". */
static char *url_authority(const char *after_scheme)
{
	size_t bytes = strcspn(after_scheme, "/?#");
	AUTO(string) char *authority = mem_strndup(after_scheme, bytes);
	char *at = strrchr(authority, '@');

	return mem_strdup(at != NULL ? at + 1 : authority);
}

/* "host" as "host:443"; what has a port already, "[::1]:8443" too, stays. The caller frees. */
static char *with_port(const char *authority, int port)
{
	const char *end = authority[0] == '[' ? strchr(authority, ']') : NULL;

	if (strchr(end != NULL ? end : authority, ':') != NULL)
		return mem_strdup(authority);
	return mem_printf("%s:%d", authority, port);
}

static const char *after_scheme(const char *text)
{
	if (strncasecmp(text, "https://", 8) == 0)
		return text + 8;
	if (strncasecmp(text, "http://", 7) == 0)
		return text + 7;
	return NULL;
}

bool value_is_url(const char *text, struct error *err)
{
	const char *rest = after_scheme(text);
	AUTO(string) char *authority = NULL;
	AUTO(string) char *address = NULL;
	AUTO(string) char *host = NULL;
	struct error ignored;
	uint16_t port;

	if (rest == NULL)
		return error_set(err, "not a URL: it begins with https:// or http://");
	if (!value_is_printable(text, err))
		return false;
	if (strchr(text, ' ') != NULL)
		return error_set(err, "a URL holds no spaces");
	authority = url_authority(rest);
	address = with_port(authority, 443);
	if (!address_split(address, &host, &port, &ignored))
		return error_set(err, "the URL has no valid host");
	return true;
}

char *value_url_shown(const char *url)
{
	const char *rest = after_scheme(url);
	AUTO(string) char *authority = NULL;

	if (rest == NULL)
		return mem_strdup("<hidden>");
	authority = url_authority(rest);
	return mem_printf("%.*s%s/<hidden>", (int)(rest - url), url, authority);
}

bool value_is_nameserver(const char *text, struct error *err)
{
	AUTO(string) char *host = NULL;
	struct address address;
	struct error ignored;
	uint16_t port;

	if (address_from_literal(text, 0, &address))
		return true;
	if (address_split(text, &host, &port, &ignored) && address_from_literal(host, port, &address))
		return true;
	return error_set(err, "not the address of a name server: write 192.0.2.53 or \"[2001:db8::53]:5353\"");
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcasecmp(text, *words) == 0)
			return true;
	return false;
}

bool value_is_label_name(const char *text, struct error *err)
{
	static const char *const ours[] = {
		"target", "group", "location", "check", "level", "reason", "phase", "instance", "job", "address",
		"severity", "alertname", "event", NULL,
	};
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	if (text[0] == '\0' || isdigit((unsigned char)text[0]) || text[strspn(text, allowed)] != '\0')
		return error_set(err, "a label's name has letters, digits and \"_\", and no digit first");
	if (str_starts(text, "__"))
		return error_set(err, "names that begin with \"__\" are Prometheus's own");
	if (is_one_of(text, ours))
		return error_set(err, "the label \"%s\" is set by portbell: choose another name", text);
	return true;
}

bool value_is_header_name(const char *text, struct error *err)
{
	static const char *const ours[] = {
		"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Expect",
		"webhook-id", "webhook-timestamp", "webhook-signature", NULL,
	};
	static const char marks[] = "!#$%&'*+-.^_`|~";

	if (text[0] == '\0' || strlen(text) > 200)
		return error_set(err, "a header's name has 1 to 200 characters");
	for (const char *p = text; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr(marks, *p) == NULL)
			return error_set(err, "a header's name has only letters, digits and %s", marks);
	if (is_one_of(text, ours))
		return error_set(err, "the header \"%s\" is set by portbell", text);
	return true;
}

bool value_is_header_value(const char *text, struct error *err)
{
	if (strlen(text) > 8000)
		return error_set(err, "a header's value has at most 8000 bytes");
	for (const char *p = text; *p != '\0'; p++)
		if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
			return error_set(err, "a header's value holds no line ends and no control characters");
	return true;
}

bool value_mail_server(const char *text, bool *implicit_tls, char **host, uint16_t *port, struct error *err)
{
	AUTO(string) char *address = NULL;
	const char *rest;

	*implicit_tls = str_starts(text, "smtps://");
	if (!*implicit_tls && !str_starts(text, "smtp://"))
		return error_set(err, "not a mail server: write smtp://host:587 or smtps://host");
	rest = strchr(text, ':') + 3;
	if (rest[strcspn(rest, "/@?#")] != '\0')
		return error_set(err, "only a host and a port may follow \"://\"");
	address = with_port(rest, *implicit_tls ? 465 : 587);
	return address_split(address, host, port, err);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 2.1, in place; false for a "%" without two digits, and for one that would end the text. */
static bool percent_decode(char *text)
{
	char *to = text;

	while (*text != '\0') {
		int high, low;

		if (*text != '%') {
			*to++ = *text++;
			continue;
		}
		high = hex_digit(text[1]);
		low = high >= 0 ? hex_digit(text[2]) : -1;
		if (high < 0 || low < 0 || high + low == 0)
			return false;
		*to++ = (char)(high << 4 | low);
		text += 3;
	}
	*to = '\0';
	return true;
}

static bool proxy_user(char *user, enum proxy_kind kind, struct error *err)
{
	if (strchr(user, ':') != NULL)
		return error_set(
			err, "a password does not belong here, where it is shown: write it into a file of its own "
			     "and name that in proxy_password_file");
	if (!percent_decode(user))
		return error_set(err,
				 "in the user a \"%%\" begins a byte in hexadecimal: %%25 is the \"%%\" itself");
	if (user[0] == '\0' || strlen(user) > 255)
		return error_set(err, "the user before \"@\" has 1 to 255 bytes");
	if (kind == PROXY_KIND_HTTP && strchr(user, ':') != NULL)
		return error_set(err, "the user of an HTTP proxy holds no colon (RFC 7617)");
	return value_is_printable(user, err);
}

static const struct proxy_scheme {
	const char *text;
	enum proxy_kind kind;
	int port; /* 0: none is usual */
} proxy_schemes[] = {
	{ "socks5://", PROXY_KIND_SOCKS5, 1080 },
	{ "socks5h://", PROXY_KIND_SOCKS5H, 1080 },
	{ "http://", PROXY_KIND_HTTP, 0 },
};

static const struct proxy_scheme *proxy_scheme_of(const char *text)
{
	for (size_t i = 0; i < sizeof(proxy_schemes) / sizeof(proxy_schemes[0]); i++)
		if (strncasecmp(text, proxy_schemes[i].text, strlen(proxy_schemes[i].text)) == 0)
			return &proxy_schemes[i];
	return NULL;
}

bool value_proxy(const char *text, struct proxy_config *proxy, struct error *err)
{
	const struct proxy_scheme *scheme = proxy_scheme_of(text);
	const char *rest = scheme != NULL ? text + strlen(scheme->text) : "";
	size_t bytes = strcspn(rest, "/?#");
	AUTO(string) char *authority = mem_strndup(rest, bytes);
	AUTO(string) char *address = NULL;
	AUTO(string) char *host = NULL;
	char *at = strrchr(authority, '@');
	const char *place = at != NULL ? at + 1 : authority;
	uint16_t port;

	if (scheme == NULL)
		return error_set(err, "not a proxy: write socks5://host:1080 (the name is resolved here), "
				      "socks5h://host:1080 (by the proxy) or http://host:3128 (CONNECT)");
	if (at != NULL)
		*at = '\0';
	if (at != NULL && !proxy_user(authority, scheme->kind, err))
		return false;
	if (rest[bytes] != '\0' && strcmp(rest + bytes, "/") != 0)
		return error_set(err, "only a user, a host and a port may follow \"://\"");
	address = with_port(place, scheme->port);
	if (scheme->port == 0 && strcmp(address, place) != 0)
		return error_set(err, "write the port of the proxy, like http://proxy.example.com:3128");
	if (!address_split(address, &host, &port, err))
		return false;
	*proxy = (struct proxy_config){ .kind = scheme->kind, .port = port, .password = proxy->password };
	if (!address_from_literal(host, port, &proxy->literal))
		proxy->literal = (struct address){ 0 };
	proxy->host = TAKE(host);
	proxy->username = at != NULL ? mem_strdup(authority) : NULL;
	return true;
}

static bool is_unspecified(const struct address *address)
{
	static const uint8_t zeros[16];

	return memcmp(address->bytes, zeros, address->family == 4 ? 4 : 16) == 0;
}

bool value_lacks_zone(const struct address *address)
{
	return address->family == 6 && address->scope == 0 && address->bytes[0] == 0xfe &&
	       (address->bytes[1] & 0xc0) == 0x80;
}

/* What the kernel takes (dev_valid_name()), without what looks like an address gone wrong. */
static bool is_interface(const char *text)
{
	size_t bytes = strlen(text);

	if (bytes == 0 || bytes > 15 || text[strspn(text, "0123456789.")] == '\0')
		return false;
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text >= 0x7f || *text == '/' || *text == ':')
			return false;
	return true;
}

bool value_source(const char *text, struct source_config *source, struct error *err)
{
	struct address address;

	if (!address_from_literal(text, 0, &address)) {
		address = (struct address){ 0 };
		if (!is_interface(text))
			return error_set(err,
					 "neither an IP address of this machine nor the name of an interface, "
					 "like eth1");
	} else if (is_unspecified(&address)) {
		return error_set(err, "no address to send from: leave it out if any will do");
	} else if (value_lacks_zone(&address)) {
		return error_set(err, "a link-local address needs its interface: %s%%eth0", text);
	}
	source->address = address;
	source->text = mem_strdup(text);
	return true;
}

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

/* The length of NAME in "${NAME}", or 0. */
static size_t variable_bytes(const char *dollar)
{
	size_t bytes = strspn(dollar + 2, name_characters);

	return isdigit((unsigned char)dollar[2]) || dollar[2 + bytes] != '}' ? 0 : bytes;
}

/* The length of "${capture.NAME}", or 0. */
static size_t capture_bytes(const char *dollar)
{
	static const char prefix[] = "${capture.";
	size_t bytes;

	if (!str_starts(dollar, prefix))
		return 0;
	bytes = strspn(dollar + strlen(prefix), name_characters);
	return bytes > 0 && dollar[strlen(prefix) + bytes] == '}' ? strlen(prefix) + bytes + 1 : 0;
}

static enum expansion expand_one(const char *dollar, size_t bytes, const struct config_env *env, bool for_send,
				 struct str *out, struct error *err)
{
	AUTO(string) char *name = mem_strndup(dollar + 2, bytes);
	const char *value;

	if (bytes == 0) {
		error_set(err, "\"${\" needs a variable's name and \"}\" (a literal one is written \"$${\")");
		return EXPANSION_BAD;
	}
	value = env->variable != NULL ? env->variable(name, env->arg) : NULL;
	if (value == NULL) {
		error_set(err, "the environment has no variable %.100s", name);
		return EXPANSION_UNSET;
	}
	str_add(out, for_send ? "${[}" : "");
	for (const char *p = value; *p != '\0'; p++)
		if (for_send && *p == '$')
			str_add(out, "${$}");
		else
			str_add_char(out, *p);
	str_add(out, for_send ? "${]}" : "");
	return EXPANSION_MADE;
}

static enum expansion expand(const char *text, const struct config_env *env, bool for_send, char **expanded,
			     struct error *err)
{
	struct str out = { 0 };
	const char *p = text;
	const char *dollar;

	while ((dollar = strstr(p, "${")) != NULL) {
		bool literal = dollar > p && dollar[-1] == '$';
		size_t capture = literal ? 0 : capture_bytes(dollar);
		size_t bytes = literal || capture > 0 ? 0 : variable_bytes(dollar);
		enum expansion one = EXPANSION_MADE;

		str_add_bytes(&out, p, (size_t)(dollar - p) - (literal && !for_send ? 1 : 0));
		if (literal)
			str_add(&out, "${");
		else if (capture > 0)
			str_add_bytes(&out, dollar, capture);
		else
			one = expand_one(dollar, bytes, env, for_send, &out, err);
		if (one != EXPANSION_MADE) {
			mem_wipe_free(str_take(&out));
			return one;
		}
		p = dollar + (literal ? 2 : capture > 0 ? capture : 2 + bytes + 1);
	}
	str_add(&out, p);
	*expanded = str_take(&out);
	return EXPANSION_MADE;
}

enum expansion value_expand(const char *text, const struct config_env *env, char **expanded, struct error *err)
{
	return strstr(text, "${") == NULL ? EXPANSION_NONE : expand(text, env, false, expanded, err);
}

enum expansion value_expand_send(const char *text, const struct config_env *env, char **expanded,
				 struct error *err)
{
	return expand(text, env, true, expanded, err);
}

bool value_names_capture(const char *text)
{
	const char *p = text;
	const char *dollar;

	while ((dollar = strstr(p, "${")) != NULL) {
		if ((dollar == p || dollar[-1] != '$') && capture_bytes(dollar) > 0)
			return true;
		p = dollar + 2;
	}
	return false;
}
