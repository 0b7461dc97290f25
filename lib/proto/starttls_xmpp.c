/* SPDX-License-Identifier: MIT */
/*
 * xmpp and xmpp-server (RFC 6120 4, 5, 11). Two machines, one above the other: the upper cuts a strict subset of
 * XML into elements, byte by byte; the lower knows what they mean at their depth. No comments, no CDATA, no DTD,
 * no instruction but the declaration, and no entity but the five (RFC 6120 11.1); ASCII names, in one piece at
 * most NAME_BYTES_MAX. The namespace of TLS is looked for where every server declares it, on the element itself.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

enum { DEPTH_MAX = 16, NAME_BYTES_MAX = 63, ENTITY_BYTES_MAX = 8, DECLARATION_BYTES_MAX = 128 };

#define TLS_NAMESPACE "urn:ietf:params:xml:ns:xmpp-tls"

enum place {
	PLACE_START,
	PLACE_START_OPENED, /* where alone a declaration may be */
	PLACE_CONTENT,
	PLACE_OPENED /* '<' */,
	PLACE_DECLARATION,
	PLACE_NAME,
	PLACE_TAG,
	PLACE_EMPTY /* '/' */,
	PLACE_ATTRIBUTE,
	PLACE_EQUALS,
	PLACE_QUOTE,
	PLACE_VALUE,
	PLACE_VALUE_OVER,
	PLACE_CLOSING,
	PLACE_CLOSED
};

struct word { /* the beginning of one that is too long is as good as none: it equals nothing that we know */
	char text[NAME_BYTES_MAX + 1];
	size_t bytes;
};

struct xmpp {
	/* the cutting */
	enum place place;
	char quote;
	bool in_entity;
	struct word entity;
	struct word attribute;
	struct word value;
	struct word closing;
	size_t declaration_bytes;
	struct word open[DEPTH_MAX]; /* names of the elements we are in */
	size_t depth;
	/* of the newest of them */
	bool is_tls;
	bool has_version;
	/* the meaning */
	bool in_text;         /* of an error */
	struct str condition; /* "host-unknown" */
	struct str explanation;
};

static bool word_add(struct word *word, char c)
{
	if (word->bytes >= NAME_BYTES_MAX)
		return false;
	word->text[word->bytes++] = c;
	word->text[word->bytes] = '\0';
	return true;
}

static void word_clear(struct word *word)
{
	word->bytes = 0;
	word->text[0] = '\0';
}

/* Without its prefix. */
static const char *local_name(const struct word *word)
{
	const char *colon = strchr(word->text, ':');

	return colon != NULL ? colon + 1 : word->text;
}

static bool is_called(const struct word *word, const char *name)
{
	return strcmp(local_name(word), name) == 0;
}

/* ---- what the elements mean ---- */

static void say_header(struct starttls_talk *starttls)
{
	bool server = starttls->protocol == STARTTLS_XMPP_SERVER;

	starttls_say(starttls, "stream",
		     "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:%s' "
		     "xmlns:stream='http://etherx.jabber.org/streams'>",
		     starttls->host, server ? "server" : "client");
}

static void on_root(struct starttls_talk *starttls, const struct xmpp *xmpp)
{
	if (!is_called(&xmpp->open[0], "stream"))
		starttls_broken(starttls, "not XMPP: <%s>", xmpp->open[0].text);
	else if (!xmpp->has_version) /* RFC 6120 4.7.5: a server of before 1.0 has no features */
		starttls_not_offered(starttls, "a stream without a version");
	else
		starttls->waits_for = "features";
}

/* The start of the element at the top of `open`. */
static void on_open(struct starttls_talk *starttls, struct xmpp *xmpp)
{
	const struct word *child = &xmpp->open[1];
	const struct word *top = &xmpp->open[xmpp->depth - 1];

	if (xmpp->depth == 1) {
		on_root(starttls, xmpp);
	} else if (xmpp->depth == 3 && is_called(child, "features") && starttls_is_at(starttls, "features")) {
		starttls->listed |= xmpp->is_tls && is_called(top, "starttls");
		starttls_note_listed(starttls, local_name(top));
	} else if (xmpp->depth == 3 && is_called(child, "error")) {
		xmpp->in_text = is_called(top, "text");
		if (!xmpp->in_text && xmpp->condition.bytes == 0)
			str_add(&xmpp->condition, local_name(top));
	}
}

static void on_features(struct starttls_talk *starttls)
{
	if (starttls->listed)
		starttls_say(starttls, "STARTTLS", "<starttls xmlns='" TLS_NAMESPACE "'/>");
	else
		starttls_not_listed(starttls, "starttls");
}

static void on_error(struct starttls_talk *starttls, struct xmpp *xmpp)
{
	if (xmpp->explanation.bytes > 0)
		str_addf(&xmpp->condition, ": %s", xmpp->explanation.data);
	starttls_note_words(starttls, xmpp->condition.data != NULL ? xmpp->condition.data : "",
			    xmpp->condition.bytes);
	starttls_refused(starttls, "stream error");
}

/* An element ended and left us in the stream, or outside of it. */
static void on_close(struct starttls_talk *starttls, struct xmpp *xmpp)
{
	const struct word *closed = &xmpp->open[xmpp->depth];

	if (xmpp->depth == 0) {
		starttls_refused(starttls, "the server closed the stream");
	} else if (xmpp->depth == 2) {
		xmpp->in_text = false;
	} else if (xmpp->depth == 1 && is_called(closed, "error")) {
		on_error(starttls, xmpp);
	} else if (xmpp->depth == 1 && starttls_is_at(starttls, "features") && is_called(closed, "features")) {
		on_features(starttls);
	} else if (xmpp->depth == 1 && starttls_is_at(starttls, "STARTTLS") && is_called(closed, "proceed")) {
		starttls_go_ahead(starttls);
	} else if (xmpp->depth == 1 && starttls_is_at(starttls, "STARTTLS") && is_called(closed, "failure")) {
		starttls_note_words(starttls, "failure", strlen("failure"));
		starttls_refused(starttls, NULL);
	} else if (xmpp->depth == 1) {
		starttls_broken(starttls, "unexpected <%s/>", closed->text);
	}
}

/* ---- cutting ---- */

static void stray(struct starttls_talk *starttls, const char *what)
{
	starttls_broken(starttls, "not XMPP: %s", what);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' ||
	       c == '_' || c == '-' || c == '.';
}

static bool starts_name(char c)
{
	return is_name(c) && !(c >= '0' && c <= '9') && c != ':' && c != '-' && c != '.';
}

/* "amp", "#38", "#x26" */
static bool is_known_entity(const char *entity)
{
	static const char *const names[] = { "amp", "lt", "gt", "quot", "apos" };
	bool hex = strncmp(entity, "#x", 2) == 0;
	const char *digits = entity + (hex ? 2 : 1);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(entity, names[i]) == 0)
			return true;
	return entity[0] == '#' && digits[0] != '\0' &&
	       digits[strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789")] == '\0';
}

static void note_text(struct xmpp *xmpp, char c)
{
	if (xmpp->in_text && xmpp->explanation.bytes <= STARTTLS_WORDS_MAX)
		str_add_char(&xmpp->explanation, c);
}

/* In content and values. They are checked, not replaced: nothing that we look for has one. */
static void in_entity(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	note_text(xmpp, c);
	if (c != ';' && (xmpp->entity.bytes >= ENTITY_BYTES_MAX || !word_add(&xmpp->entity, c)))
		stray(starttls, "an entity");
	else if (c == ';' && !is_known_entity(xmpp->entity.text))
		stray(starttls, "an entity");
	xmpp->in_entity = c != ';';
}

static bool enter_entity(struct xmpp *xmpp, char c)
{
	xmpp->in_entity = c == '&';
	if (xmpp->in_entity)
		word_clear(&xmpp->entity);
	return xmpp->in_entity;
}

static void in_content(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c != '<')
		xmpp->place = PLACE_CONTENT;
	else
		xmpp->place = xmpp->place == PLACE_START ? PLACE_START_OPENED : PLACE_OPENED;
	if (c != '<')
		note_text(xmpp, c);
	if (c != '<' && xmpp->depth < 2 && !is_space(c))
		stray(starttls, "text between elements");
	else
		enter_entity(xmpp, c);
}

static void start_element(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (xmpp->depth == DEPTH_MAX) {
		stray(starttls, "too deep");
		return;
	}
	word_clear(&xmpp->open[xmpp->depth]);
	word_add(&xmpp->open[xmpp->depth++], c);
	xmpp->is_tls = false;
	xmpp->has_version = false;
	xmpp->place = PLACE_NAME;
}

static void after_opening(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c == '?' && xmpp->place == PLACE_START_OPENED)
		xmpp->place = PLACE_DECLARATION;
	else if (c == '/' && xmpp->depth > 0)
		xmpp->place = PLACE_CLOSING;
	else if (starts_name(c))
		start_element(starttls, xmpp, c);
	else
		stray(starttls, c == '!' ? "a comment, CDATA or DTD" : c == '?' ? "an instruction" : "a stray <");
	word_clear(&xmpp->closing);
}

/* It is not looked into: UTF-8 is all there is in XMPP. */
static void in_declaration(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	static const char head[] = "xml ";

	if (xmpp->declaration_bytes < strlen(head) ? c != head[xmpp->declaration_bytes] :
						     c == '<' || xmpp->declaration_bytes > DECLARATION_BYTES_MAX)
		stray(starttls, "an instruction");
	xmpp->declaration_bytes++;
	if (c == '>')
		xmpp->place = PLACE_CONTENT;
}

static void element_is_open(struct starttls_talk *starttls, struct xmpp *xmpp)
{
	xmpp->place = PLACE_CONTENT;
	on_open(starttls, xmpp);
}

static void element_is_closed(struct starttls_talk *starttls, struct xmpp *xmpp)
{
	xmpp->place = PLACE_CONTENT;
	xmpp->depth--;
	on_close(starttls, xmpp);
}

/* Between a tag's name, attributes and end. */
static void in_tag(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c == '>') {
		element_is_open(starttls, xmpp);
	} else if (c == '/') {
		xmpp->place = PLACE_EMPTY;
	} else if (is_space(c)) {
		xmpp->place = PLACE_TAG;
	} else if (xmpp->place == PLACE_TAG && starts_name(c)) {
		word_clear(&xmpp->attribute);
		word_add(&xmpp->attribute, c);
		xmpp->place = PLACE_ATTRIBUTE;
	} else {
		stray(starttls, "a malformed tag");
	}
}

static void in_name(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (!is_name(c))
		in_tag(starttls, xmpp, c);
	else if (!word_add(&xmpp->open[xmpp->depth - 1], c))
		stray(starttls, "a name too long");
}

static void after_slash(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c != '>') {
		stray(starttls, "a malformed tag");
		return;
	}
	element_is_open(starttls, xmpp);
	if (starttls->next == STARTTLS_GO_ON)
		element_is_closed(starttls, xmpp);
}

static void in_attribute(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (xmpp->place == PLACE_ATTRIBUTE && is_name(c)) {
		if (!word_add(&xmpp->attribute, c))
			stray(starttls, "a name too long");
	} else if (c == '=') {
		xmpp->place = PLACE_QUOTE;
	} else if (is_space(c)) {
		xmpp->place = PLACE_EQUALS;
	} else {
		stray(starttls, "a malformed attribute");
	}
}

static void before_value(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c == '"' || c == '\'') {
		xmpp->quote = c;
		xmpp->place = PLACE_VALUE;
		word_clear(&xmpp->value);
	} else if (!is_space(c)) {
		stray(starttls, "a malformed attribute");
	}
}

static void value_is_over(struct xmpp *xmpp)
{
	const struct word *element = &xmpp->open[xmpp->depth - 1];
	const char *name = xmpp->attribute.text;
	const char *colon = strchr(element->text, ':');
	size_t prefix_bytes = colon != NULL ? (size_t)(colon - element->text) : 0;
	bool is_namespace = colon == NULL ? strcmp(name, "xmlns") == 0 :
					    strncmp(name, "xmlns:", 6) == 0 && strlen(name + 6) == prefix_bytes &&
						    strncmp(name + 6, element->text, prefix_bytes) == 0;

	xmpp->place = PLACE_VALUE_OVER;
	xmpp->is_tls |= is_namespace && strcmp(xmpp->value.text, TLS_NAMESPACE) == 0;
	xmpp->has_version |= strcmp(name, "version") == 0;
}

static void in_value(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	if (c == xmpp->quote)
		value_is_over(xmpp);
	else if (c == '<')
		stray(starttls, "a malformed attribute");
	else if (!enter_entity(xmpp, c))
		word_add(&xmpp->value, c); /* the rest of a long one is let go */
}

static void in_closing(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	bool is_over = c == '>' || is_space(c);

	if (xmpp->place == PLACE_CLOSING && is_name(c) && word_add(&xmpp->closing, c))
		return;
	if (!is_over || strcmp(xmpp->closing.text, xmpp->open[xmpp->depth - 1].text) != 0)
		stray(starttls, "an end of what did not begin");
	else if (c == '>')
		element_is_closed(starttls, xmpp);
	else
		xmpp->place = PLACE_CLOSED;
}

static void cut(struct starttls_talk *starttls, struct xmpp *xmpp, char c)
{
	switch (xmpp->place) {
	case PLACE_START:
	case PLACE_CONTENT: in_content(starttls, xmpp, c); break;
	case PLACE_START_OPENED:
	case PLACE_OPENED: after_opening(starttls, xmpp, c); break;
	case PLACE_DECLARATION: in_declaration(starttls, xmpp, c); break;
	case PLACE_NAME: in_name(starttls, xmpp, c); break;
	case PLACE_TAG:
	case PLACE_VALUE_OVER: in_tag(starttls, xmpp, c); break;
	case PLACE_EMPTY: after_slash(starttls, xmpp, c); break;
	case PLACE_ATTRIBUTE:
	case PLACE_EQUALS: in_attribute(starttls, xmpp, c); break;
	case PLACE_QUOTE: before_value(starttls, xmpp, c); break;
	case PLACE_VALUE: in_value(starttls, xmpp, c); break;
	case PLACE_CLOSING:
	case PLACE_CLOSED: in_closing(starttls, xmpp, c); break;
	}
}

size_t starttls_xmpp_byte(struct starttls_talk *starttls, const uint8_t *packet, size_t bytes)
{
	struct xmpp *xmpp = starttls->own;
	char c = (char)packet[bytes - 1];

	if (packet[bytes - 1] < ' ' && !is_space(c))
		stray(starttls, "a control character");
	else if (xmpp->in_entity)
		in_entity(starttls, xmpp, c);
	else
		cut(starttls, xmpp, c);
	return 0;
}

void starttls_xmpp_start(struct starttls_talk *starttls)
{
	starttls->own = mem_new(struct xmpp);
	say_header(starttls);
}

void starttls_xmpp_done(struct starttls_talk *starttls)
{
	struct xmpp *xmpp = starttls->own;

	str_done(&xmpp->condition);
	str_done(&xmpp->explanation);
}
