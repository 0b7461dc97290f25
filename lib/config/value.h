/* SPDX-License-Identifier: MIT */
/*
 * value - what a text in the configuration means: durations, rates, URLs, addresses. Pure, but for value_expand(),
 * which asks `env` for variables. `err` gets only a text: the place is the caller's to know.
 * Units: as the name of the result says.
 */
#ifndef PORTBELL_CONFIG_VALUE_H
#define PORTBELL_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/config/config.h"

/* "250ms", "30s", "5m", "4h", "7d", "2w", "1y" (365 days). A bare number is refused with the remedy. */
bool value_duration(const char *text, int64_t *duration_ms, struct error *err);
bool value_count(const char *text, int64_t *count, struct error *err);
bool value_percent(const char *text, int *percent, struct error *err); /* "25%": 1 to 99 */
bool value_switch(const char *text, bool *on, struct error *err); /* true false yes no on off, any case */
bool value_rate(const char *text, int *count, int64_t *per_ms, struct error *err); /* "10/m", "1/30s"; off: 0, 0 */
/* "30s" for 30000: the largest unit that leaves no rest. */
void value_print_duration(int64_t duration_ms, char out[32]);

/* Checks: true if the text may stand where such a thing is meant. */
bool value_is_printable(const char *text, struct error *err);     /* UTF-8 without controls and hidden marks */
bool value_is_prose(const char *text, struct error *err);         /* the same, with line ends and tabs */
bool value_is_host(const char *text, struct error *err);          /* a name or an IP literal, no port */
bool value_is_mailbox(const char *text, struct error *err);       /* "a@b" or "Name <a@b>", never CR or LF */
bool value_is_url(const char *text, struct error *err);           /* http or https, with a host */
bool value_is_nameserver(const char *text, struct error *err);    /* an IP address, with a port or without */
bool value_is_label_name(const char *text, struct error *err);    /* Prometheus's rules, and none of ours */
bool value_is_header_name(const char *text, struct error *err);   /* a token (RFC 9110), and none that we set */
bool value_is_header_value(const char *text, struct error *err);

/* smtp://host[:port] (587) or smtps://host[:port] (465). The caller frees *host. */
bool value_mail_server(const char *text, bool *implicit_tls, char **host, uint16_t *port, struct error *err);
/*
 * socks5://, socks5h:// (port 1080 if none is given) or http:// (with a port: there is no usual one), a user
 * before "@" or none, percent-decoded. A password there is refused. Fills all but `password`, whose owner is the
 * caller.
 */
bool value_proxy(const char *text, struct proxy_config *proxy, struct error *err);
/* An IP address, or what may be an interface's name (there need not be one now). The caller owns source->text. */
bool value_source(const char *text, struct source_config *source, struct error *err);
/* A link-local IPv6 address that does not say its interface: fe80::1 for fe80::1%eth0. */
bool value_lacks_zone(const struct address *address);
/* What of a URL may be shown: "https://example.com/<hidden>". The caller frees. */
char *value_url_shown(const char *url);

enum expansion {
	EXPANSION_NONE,  /* nothing to do: the text stands for itself */
	EXPANSION_MADE,  /* *expanded is the result, the caller frees */
	EXPANSION_UNSET, /* a variable does not exist; err says which */
	EXPANSION_BAD,   /* "${" without a name or an end */
};

/*
 * ${NAME} is a variable, $${ a literal ${, a lone $ stays. ${capture.NAME}, which no variable can be called, stays too:
 * value_names_capture() tells where it must not.
 */
enum expansion value_expand(const char *text, const struct config_env *env, char **expanded, struct error *err);
bool value_names_capture(const char *text);
/*
 * The same for what an exchange sends, where captures are put in later: $${ stays, and a $ that a variable brings in is
 * ${$}; what it brings in stands between ${[} and ${]} (struct exchange_step). Never NONE.
 */
enum expansion value_expand_send(const char *text, const struct config_env *env, char **expanded,
				 struct error *err);

#endif
