/* SPDX-License-Identifier: MIT */
#include "lib/proto/proxy.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	SOCKS_TEXT_BYTES_MAX = 255,     /* a name, a user, a password: their length is a byte */
	BASIC_BYTES_MAX = 4096,         /* user and password */
	HEAD_BYTES_MAX = 16 << 10,
	WORDS_BYTES_MAX = 200,          /* of the proxy's, that are shown */
	SCHEMES_BYTES_MAX = 100         /* the same, of the logins it offers */
};

enum { SOCKS_VERSION = 5, LOGIN_VERSION = 1 };
enum { METHOD_NONE = 0, METHOD_LOGIN = 2, METHOD_REFUSED = 0xff };
enum { COMMAND_CONNECT = 1, KIND_IPV4 = 1, KIND_NAME = 3, KIND_IPV6 = 4 };

/* What was said last, and so what the next answer belongs to. */
enum step { STEP_GREETING, STEP_LOGIN, STEP_REQUEST, STEP_HTTP };

struct answer { /* of HTTP, as far as it has come */
	int status;             /* 0: its status line is not there yet */
	size_t head_bytes;      /* of all heads */
	struct str reason;      /* as the proxy wrote it */
	struct str why;         /* the same, of a header that says more */
	struct str schemes;     /* of logins, "Negotiate, NTLM" */
	bool basic;             /* is one of them */
};

struct proxy {
	enum proxy_kind kind;
	char *username;
	char *password;
	char *host;             /* NULL: `address` is asked for */
	struct address address;
	uint16_t port;

	enum step step;
	enum proxy_next next;
	struct str in;          /* a SOCKS message, or a line of HTTP, that is not whole */
	struct answer answer;
	struct str out;
	size_t out_sent;
	enum reason reason;
	struct str text;
};

static void wipe(struct str *str)
{
	if (str->data != NULL)
		explicit_bzero(str->data, str->capacity);
	str_clear(str);
}

static bool all_is_sent(const struct proxy *proxy)
{
	return proxy->out_sent == proxy->out.bytes;
}

static const char *text_of(const struct str *str)
{
	return str->data != NULL ? str->data : "";
}

/* ---- how it ends ---- */

static void broken(struct proxy *proxy, enum reason reason, const char *text)
{
	str_add(&proxy->text, text);
	proxy->reason = reason;
	proxy->next = PROXY_BROKEN;
}

static void failed(struct proxy *proxy, const char *text)
{
	broken(proxy, REASON_PROXY_FAILED, text);
}

/* The way is there, if the answer is one to what we asked. */
static void opened(struct proxy *proxy)
{
	if (all_is_sent(proxy))
		proxy->next = PROXY_OPEN;
	else
		failed(proxy, "the proxy answers before it was asked");
}

/* ---- what we say: SOCKS ---- */

static void say_clear(struct proxy *proxy, enum step step)
{
	wipe(&proxy->out); /* a password, perhaps */
	str_clear(&proxy->in);
	proxy->out_sent = 0;
	proxy->step = step;
}

static void say_byte(struct proxy *proxy, unsigned int byte)
{
	str_add_char(&proxy->out, (char)(unsigned char)byte);
}

/* Its length, then the text. */
static void say_counted(struct proxy *proxy, const char *text)
{
	size_t bytes = strlen(text);

	assert(bytes <= SOCKS_TEXT_BYTES_MAX);
	say_byte(proxy, (unsigned int)bytes);
	str_add_bytes(&proxy->out, text, bytes);
}

/* RFC 1928 3. No login is offered, too: a proxy that needs none is not told ours. */
static void say_greeting(struct proxy *proxy)
{
	say_clear(proxy, STEP_GREETING);
	say_byte(proxy, SOCKS_VERSION);
	say_byte(proxy, proxy->username != NULL ? 2 : 1);
	say_byte(proxy, METHOD_NONE);
	if (proxy->username != NULL)
		say_byte(proxy, METHOD_LOGIN);
}

/* RFC 1929 2 */
static void say_login(struct proxy *proxy)
{
	say_clear(proxy, STEP_LOGIN);
	say_byte(proxy, LOGIN_VERSION);
	say_counted(proxy, proxy->username);
	say_counted(proxy, proxy->password);
}

/* RFC 1928 4 and 5 */
static void say_request(struct proxy *proxy)
{
	say_clear(proxy, STEP_REQUEST);
	say_byte(proxy, SOCKS_VERSION);
	say_byte(proxy, COMMAND_CONNECT);
	say_byte(proxy, 0);
	if (proxy->host != NULL) {
		say_byte(proxy, KIND_NAME);
		say_counted(proxy, proxy->host);
	} else {
		say_byte(proxy, proxy->address.family == 4 ? KIND_IPV4 : KIND_IPV6);
		str_add_bytes(&proxy->out, proxy->address.bytes, proxy->address.family == 4 ? 4 : 16);
	}
	say_byte(proxy, proxy->port >> 8);
	say_byte(proxy, proxy->port & 0xff);
}

/* ---- what a SOCKS proxy says ---- */

static const struct {
	enum reason reason;
	const char *text;
} replies[] = { /* RFC 1928 6 */
	[1] = { REASON_PROXY_REFUSED, "general failure" },
	[2] = { REASON_PROXY_REFUSED, "not allowed" },
	[3] = { REASON_PROXY_REFUSED, "network unreachable" },
	[4] = { REASON_PROXY_REFUSED, "host unreachable" },
	[5] = { REASON_PROXY_REFUSED, "connection refused" },
	[6] = { REASON_PROXY_REFUSED, "timed out" },
	[7] = { REASON_PROXY_FAILED, "no connections are made" },
	[8] = { REASON_PROXY_FAILED, "this kind of address is not supported" },
};

static void reply_failed(struct proxy *proxy, unsigned int reply)
{
	bool known = reply < sizeof(replies) / sizeof(replies[0]);
	bool by_name = proxy->host != NULL;

	str_addf(&proxy->text, "the proxy says: %s%s%s (SOCKS reply %u)", known ? replies[reply].text : "no",
		 reply == 4 && by_name ? ", or its name not found" : "",
		 reply == 8 ? by_name ? " (is socks5:// meant?)" : " (is socks5h:// meant?)" : "", reply);
	broken(proxy, known ? replies[reply].reason : REASON_PROXY_REFUSED, "");
}

static void method_chosen(struct proxy *proxy, unsigned int method)
{
	if (!all_is_sent(proxy))
		failed(proxy, "the proxy answers before it was asked");
	else if (method == METHOD_NONE)
		say_request(proxy);
	else if (method == METHOD_LOGIN && proxy->username != NULL)
		say_login(proxy);
	else if (method == METHOD_REFUSED && proxy->username == NULL)
		failed(proxy, "the proxy wants a login, and none is configured");
	else if (method == METHOD_REFUSED)
		failed(proxy, "the proxy takes no login by user and password");
	else
		failed(proxy, "the proxy chose a login that was not offered");
}

static void login_answered(struct proxy *proxy, unsigned int status)
{
	if (status != 0)
		failed(proxy, proxy->password[0] != '\0' ? "the proxy refuses the login" :
							   "the proxy refuses the login, which has no password");
	else if (!all_is_sent(proxy))
		failed(proxy, "the proxy answers before it was asked");
	else
		say_request(proxy);
}

static unsigned int byte_at(const struct proxy *proxy, size_t index)
{
	return (unsigned char)proxy->in.data[index];
}

/*
 * How long the message is, from what has come of it: RFC 1928 6. A reply that says no is whole with its second
 * byte: some proxies end there.
 */
static size_t socks_needed(const struct proxy *proxy)
{
	size_t have = proxy->in.bytes;

	if (proxy->step != STEP_REQUEST || have < 2 || byte_at(proxy, 1) != 0)
		return 2;
	if (have < 5)
		return 5;
	switch (byte_at(proxy, 3)) {
	case KIND_IPV4: return 4 + 4 + 2;
	case KIND_IPV6: return 4 + 16 + 2;
	case KIND_NAME: return 4 + 1 + byte_at(proxy, 4) + 2;
	default: return 5;
	}
}

static void socks_message(struct proxy *proxy)
{
	unsigned int second = byte_at(proxy, 1);

	switch (proxy->step) {
	case STEP_GREETING: method_chosen(proxy, second); break;
	case STEP_LOGIN: login_answered(proxy, second); break;
	case STEP_REQUEST:
	case STEP_HTTP:
		if (second != 0)
			reply_failed(proxy, second);
		else if (proxy->in.bytes == 5 /* neither of the three kinds */)
			failed(proxy, "what the proxy says is not SOCKS5: an address of no known kind");
		else
			opened(proxy);
		break;
	}
}

/* Some say 5 where RFC 1929 has 1. */
static bool socks_version_is_fine(const struct proxy *proxy)
{
	unsigned int version = byte_at(proxy, 0);

	return version == SOCKS_VERSION || (proxy->step == STEP_LOGIN && version == LOGIN_VERSION);
}

static void socks_foreign(struct proxy *proxy)
{
	static const struct {
		unsigned int first;
		const char *text;
	} others[] = {
		{ 'H', " but speaks HTTP (is http:// meant?)" },
		{ 0x15, " but speaks TLS" }, /* an alert, RFC 8446 5.1 */
		{ 0x00, " but perhaps SOCKS4" },
	};

	str_add(&proxy->text, "what answers is no SOCKS5 proxy");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (proxy->step == STEP_GREETING && byte_at(proxy, 0) == others[i].first)
			str_add(&proxy->text, others[i].text);
	failed(proxy, "");
}

static size_t socks_input(struct proxy *proxy, const char *data, size_t bytes)
{
	size_t used = 0;

	while (proxy->next == PROXY_GO_ON && used < bytes) {
		size_t wanted = socks_needed(proxy) - proxy->in.bytes;
		size_t taken = bytes - used < wanted ? bytes - used : wanted;

		str_add_bytes(&proxy->in, data + used, taken);
		used += taken;
		if (!socks_version_is_fine(proxy))
			socks_foreign(proxy);
		else if (proxy->in.bytes == socks_needed(proxy))
			socks_message(proxy);
	}
	return used;
}

/* ---- HTTP ---- */

/* "shop.example.com:443", "[2001:db8::1]:443" */
static char *authority_of(const struct proxy *proxy)
{
	struct address address = proxy->address;
	char text[ADDRESS_TEXT_BYTES];

	if (proxy->host != NULL)
		return mem_printf("%s:%u", proxy->host, (unsigned int)proxy->port);
	address.port = proxy->port;
	address_print(&address, text);
	return mem_strdup(text);
}

/* RFC 7617 2: what stands behind "Basic ". */
static void add_basic(const struct proxy *proxy, struct str *out)
{
	struct str pair = { 0 };

	str_addf(&pair, "%s:%s", proxy->username, proxy->password);
	str_add_base64(out, pair.data, pair.bytes);
	wipe(&pair);
	str_done(&pair);
}

static void say_connect(struct proxy *proxy)
{
	AUTO(string) char *authority = authority_of(proxy);

	say_clear(proxy, STEP_HTTP);
	str_addf(&proxy->out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: portbell\r\n", authority, authority);
	if (proxy->username != NULL) {
		str_add(&proxy->out, "Proxy-Authorization: Basic ");
		add_basic(proxy, &proxy->out);
		str_add(&proxy->out, "\r\n");
	}
	str_add(&proxy->out, "\r\n");
}

/* A proxy may repeat what it was told. Scrubbed first, for cutting or escaping could split a secret. */
static void add_words(const struct proxy *proxy, struct str *out, const struct str *words, size_t bytes_max)
{
	AUTO(str) struct str scrubbed = { 0 };
	struct str token = { 0 };

	str_add_bytes(&scrubbed, text_of(words), words->bytes);
	if (proxy->username != NULL) {
		add_basic(proxy, &token);
		str_scrub(&scrubbed, token.data, token.bytes);
		str_scrub(&scrubbed, proxy->password, strlen(proxy->password));
		wipe(&token);
		str_done(&token);
	}
	str_add_clean(out, text_of(&scrubbed), scrubbed.bytes, bytes_max);
}

static void add_status(struct proxy *proxy, const char *before)
{
	const struct answer *answer = &proxy->answer;

	str_addf(&proxy->text, "%s%d", before, answer->status);
	if (answer->reason.bytes > 0)
		str_add_char(&proxy->text, ' ');
	add_words(proxy, &proxy->text, &answer->reason, WORDS_BYTES_MAX);
	if (answer->why.bytes == 0)
		return;
	str_add(&proxy->text, " (");
	add_words(proxy, &proxy->text, &answer->why, WORDS_BYTES_MAX);
	str_add_char(&proxy->text, ')');
}

static void login_wanted(struct proxy *proxy)
{
	const struct answer *answer = &proxy->answer;

	add_status(proxy, proxy->username == NULL ? "the proxy wants a login, and none is configured: " :
						    "the proxy refuses the login: ");
	if (answer->schemes.bytes > 0 && !answer->basic) {
		str_add(&proxy->text, "; it takes ");
		add_words(proxy, &proxy->text, &answer->schemes, SCHEMES_BYTES_MAX);
		str_add(&proxy->text, ", not Basic");
	}
	failed(proxy, "");
}

static bool is_refusal(int status)
{
	return status == 403 || status == 429 || status == 451 ||
	       (status >= 500 && status != 501 && status != 505 && status != 511);
}

static void connect_answered(struct proxy *proxy)
{
	int status = proxy->answer.status;

	if (status >= 200 && status <= 299) {
		opened(proxy); /* RFC 9110 9.3.6: no body, whatever its head says */
	} else if (status == 407) {
		login_wanted(proxy);
	} else if (is_refusal(status)) {
		add_status(proxy, "the proxy says: ");
		broken(proxy, REASON_PROXY_REFUSED, "");
	} else {
		add_status(proxy, "what answers is no proxy for CONNECT, it says: ");
		failed(proxy, "");
	}
}

/* RFC 9112 4: "HTTP/1.1 200 OK"; the reason may be missing, and the space before it, too. */
static bool status_is_read(struct answer *answer, const char *line, size_t bytes)
{
	const char *digits = line + 9;

	if (bytes < 12 || line[7] < '0' || line[7] > '9' || line[8] != ' ' || (bytes > 12 && line[12] != ' '))
		return false;
	for (size_t i = 0; i < 3; i++)
		if (digits[i] < '0' || digits[i] > '9')
			return false;
	answer->status = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
	str_clear(&answer->reason);
	str_clear(&answer->why);
	str_clear(&answer->schemes);
	answer->basic = false;
	if (bytes > 13)
		str_add_bytes(&answer->reason, line + 13, bytes - 13);
	return answer->status >= 100 && answer->status <= 599;
}

/* The value of a field, without the white space around; NULL if it is another. */
static const char *field_value(const char *line, size_t bytes, const char *name, size_t *value_bytes)
{
	size_t name_bytes = strlen(name);
	const char *value = line + name_bytes + 1;
	const char *end = line + bytes;

	if (bytes <= name_bytes || strncasecmp(line, name, name_bytes) != 0 || line[name_bytes] != ':')
		return NULL;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*value_bytes = (size_t)(end - value);
	return value;
}

/* A proxy's own word for what went wrong says more than its status: RFC 9209, and what squid has. */
static void field_is_read(struct answer *answer, const char *line, size_t bytes)
{
	static const char *const telling[] = { "Proxy-Status", "X-Squid-Error" };
	size_t value_bytes = 0;
	const char *value = field_value(line, bytes, "Proxy-Authenticate", &value_bytes);
	size_t scheme_bytes = 0;

	if (value != NULL) {
		while (scheme_bytes < value_bytes && value[scheme_bytes] != ' ' && value[scheme_bytes] != ',')
			scheme_bytes++;
		answer->basic |= scheme_bytes == 5 && strncasecmp(value, "Basic", 5) == 0;
		str_add(&answer->schemes, answer->schemes.bytes > 0 && scheme_bytes > 0 ? ", " : "");
		str_add_bytes(&answer->schemes, value, scheme_bytes);
	}
	for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]) && answer->why.bytes == 0; i++) {
		value = field_value(line, bytes, telling[i], &value_bytes);
		if (value != NULL)
			str_add_bytes(&answer->why, value, value_bytes);
	}
}

static void http_line(struct proxy *proxy)
{
	const char *line = proxy->in.data;
	size_t bytes = proxy->in.bytes - 1; /* without its LF */
	struct answer *answer = &proxy->answer;

	if (bytes > 0 && line[bytes - 1] == '\r')
		bytes--;
	if (answer->status == 0) {
		if (!status_is_read(answer, line, bytes))
			failed(proxy, "what the proxy says is not HTTP: a status line of the wrong form");
	} else if (bytes > 0) {
		field_is_read(answer, line, bytes);
	} else if (answer->status < 200 && answer->status != 101) {
		answer->status = 0; /* RFC 9110 15.2: the answer comes after it */
	} else {
		connect_answered(proxy);
	}
	str_clear(&proxy->in);
}

static bool is_http(const struct proxy *proxy)
{
	static const char start[] = "HTTP/1.";
	size_t bytes = proxy->in.bytes < sizeof(start) - 1 ? proxy->in.bytes : sizeof(start) - 1;

	return proxy->answer.status != 0 || memcmp(proxy->in.data, start, bytes) == 0;
}

static size_t http_input(struct proxy *proxy, const char *data, size_t bytes)
{
	struct answer *answer = &proxy->answer;
	size_t used = 0;

	while (proxy->next == PROXY_GO_ON && used < bytes) {
		size_t room = HEAD_BYTES_MAX - answer->head_bytes;
		size_t left = bytes - used < room ? bytes - used : room;
		const char *end = memchr(data + used, '\n', left);
		size_t taken = end != NULL ? (size_t)(end + 1 - data) - used : left;

		str_add_bytes(&proxy->in, data + used, taken);
		used += taken;
		answer->head_bytes += taken;
		if (!is_http(proxy))
			failed(proxy, "what answers is no HTTP proxy");
		else if (end != NULL)
			http_line(proxy);
		if (proxy->next == PROXY_GO_ON && answer->head_bytes == HEAD_BYTES_MAX)
			failed(proxy, "the proxy's answer has a head without end");
	}
	return used;
}

/* ---- the dialogue ---- */

enum proxy_next proxy_input(struct proxy *proxy, const void *data, size_t bytes, size_t *used)
{
	*used = 0;
	if (proxy->next == PROXY_GO_ON)
		*used = proxy->step == STEP_HTTP ? http_input(proxy, data, bytes) :
						   socks_input(proxy, data, bytes);
	return proxy->next;
}

enum proxy_next proxy_closed(struct proxy *proxy)
{
	if (proxy->next != PROXY_GO_ON)
		return proxy->next;
	if (proxy->answer.status >= 300) { /* it has said enough */
		connect_answered(proxy);
	} else {
		str_addf(&proxy->text, "the proxy closed the connection instead of answering to \"%s\"",
			 proxy_waits_for(proxy));
		failed(proxy, "");
	}
	return proxy->next;
}

const char *proxy_output(const struct proxy *proxy, size_t *bytes)
{
	*bytes = proxy->next == PROXY_GO_ON ? proxy->out.bytes - proxy->out_sent : 0;
	return *bytes > 0 ? proxy->out.data + proxy->out_sent : "";
}

void proxy_output_sent(struct proxy *proxy, size_t bytes)
{
	assert(bytes <= proxy->out.bytes - proxy->out_sent);
	proxy->out_sent += bytes;
}

enum reason proxy_failure(const struct proxy *proxy, const char **text)
{
	*text = text_of(&proxy->text);
	return proxy->reason;
}

const char *proxy_waits_for(const struct proxy *proxy)
{
	static const char *const names[] = {
		[STEP_GREETING] = "greeting",
		[STEP_LOGIN] = "login",
		[STEP_REQUEST] = "connect",
		[STEP_HTTP] = "CONNECT",
	};

	return names[proxy->step];
}

/* RFC 7617 2: no control characters, and no colon in the user's name. */
static bool is_basic(const char *text, bool colon_is_fine)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f || (*text == ':' && !colon_is_fine))
			return false;
	return true;
}

static bool login_fits(const struct proxy *proxy, struct error *err)
{
	if (proxy->username == NULL)
		return true;
	if (proxy->kind == PROXY_KIND_HTTP) {
		if (!is_basic(proxy->username, false))
			return error_set(err,
					 "the user of an HTTP proxy holds no colon and no control characters");
		if (!is_basic(proxy->password, true))
			return error_set(err, "the password of an HTTP proxy holds no control characters");
		if (strlen(proxy->username) + strlen(proxy->password) > BASIC_BYTES_MAX)
			return error_set(err, "the login of an HTTP proxy has at most %d bytes", BASIC_BYTES_MAX);
		return true;
	}
	if (proxy->username[0] == '\0' || strlen(proxy->username) > SOCKS_TEXT_BYTES_MAX)
		return error_set(err, "the user of a SOCKS proxy has 1 to 255 bytes");
	if (strlen(proxy->password) > SOCKS_TEXT_BYTES_MAX)
		return error_set(err, "the password of a SOCKS proxy has at most 255 bytes");
	return true;
}

/* What is asked for: an address, or a name that cannot end its line. */
static bool target_fits(struct proxy *proxy, const struct proxy_wish *wish, struct error *err)
{
	if (wish->port == 0)
		return error_set(err, "a port is missing");
	if (wish->address != NULL)
		proxy->address = *wish->address;
	else if (!address_from_literal(wish->host, wish->port, &proxy->address)) {
		if (!address_host_is_valid(wish->host))
			return error_set(err, "the host is neither a name nor an IP address");
		proxy->host = mem_strdup(wish->host);
	}
	if (proxy->address.scope != 0)
		return error_set(err, "an address with a zone means nothing to a proxy");
	return true;
}

struct proxy *proxy_new(const struct proxy_wish *wish, struct error *err)
{
	struct proxy *proxy = mem_new(struct proxy);

	assert(wish->kind != PROXY_KIND_NONE);
	proxy->kind = wish->kind;
	proxy->port = wish->port;
	proxy->reason = REASON_OK;
	proxy->username = mem_strdup(wish->username);
	proxy->password = mem_strdup(wish->password != NULL ? wish->password : "");
	if (!target_fits(proxy, wish, err) || !login_fits(proxy, err)) {
		proxy_free(proxy);
		return NULL;
	}
	if (proxy->kind == PROXY_KIND_HTTP)
		say_connect(proxy);
	else
		say_greeting(proxy);
	return proxy;
}

void proxy_free(struct proxy *proxy)
{
	if (proxy == NULL)
		return;
	wipe(&proxy->out);
	str_done(&proxy->out);
	str_done(&proxy->in);
	str_done(&proxy->answer.reason);
	str_done(&proxy->answer.why);
	str_done(&proxy->answer.schemes);
	str_done(&proxy->text);
	mem_wipe_free(proxy->username);
	mem_wipe_free(proxy->password);
	free(proxy->host);
	free(proxy);
}
