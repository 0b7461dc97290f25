/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* nftw(), strchrnul() */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/config/schema.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

static char *directory; /* one for the run: each test writes its files anew */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void directory_make(void)
{
	char name[] = "/tmp/check_config.XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(name));
	directory = mem_strdup(name);
}

static void directory_remove(void)
{
	nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(directory);
}

static char *path_of(const char *name)
{
	return mem_printf("%s/%s", directory, name);
}

static void write_bytes(const char *name, const void *data, size_t bytes, mode_t mode)
{
	AUTO(string) char *path = path_of(name);
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text), 0600);
}

static const char *variable(const char *name, void *arg)
{
	(void)arg;
	if (strcmp(name, "HOST") == 0)
		return "variable.example.com";
	return strcmp(name, "LIST") == 0 ? "[a, b]" : NULL;
}

static bool check_ciphers(const char *text, struct error *err)
{
	return strstr(text, "NONSENSE") == NULL || error_set(err, "no such cipher");
}

/* The report, a line each, without the directory's name. */
static char *report_text(struct report *report)
{
	AUTO(string) char *prefix = path_of("");
	AUTO(string) char *all = NULL;
	struct str text = { 0 };
	size_t bytes = 0;
	FILE *out = open_memstream(&all, &bytes);

	report_print(report, out);
	fclose(out);
	for (const char *p = all; *p != '\0';) {
		if (str_starts(p, prefix))
			p += strlen(prefix);
		else
			str_add_char(&text, *p++);
	}
	report_done(report);
	return str_take(&text);
}

/* Loads portbell.yaml of the directory; *text is the report. */
static struct config *load(bool lenient, char **text)
{
	AUTO(string) char *file = path_of("portbell.yaml");
	AUTO(string) char *credentials = path_of("credentials");
	struct config_env env = { .variable = variable, .credentials_directory = credentials,
				  .check_ciphers = check_ciphers, .lenient = lenient };
	struct report report = { 0 };
	struct config *config = config_load(file, &env, &report);

	ck_assert((config == NULL) == (report.mistakes > 0));
	*text = report_text(&report);
	return config;
}

static struct config *load_yaml(const char *yaml)
{
	AUTO(string) char *text = NULL;
	struct config *config;

	write_file("portbell.yaml", yaml);
	config = load(false, &text);
	ck_assert_msg(config != NULL, "%s", text);
	return config;
}

/* Files that the rows name. */
static void write_companions(void)
{
	AUTO(string) char *credentials = path_of("credentials");
	char many[257] = "";

	mkdir(credentials, 0700);
	write_file("ca.pem", "not parsed here\n");
	write_file("password", "pa$$word\n");
	write_file("url", "https://example.com/T0KEN\n");
	write_file("bad-url", "example.com\n");
	write_file("empty", "\n");
	write_file("lines", "one\ntwo\n");
	memset(many, 'x', sizeof(many) - 1);
	write_file("long", many);
	write_file("whsec", "whsec_AAECAwQF\r\n");
	write_file("bad-whsec", "whsec_!!\n");
	write_file("raw", "raw secret");
	write_bytes("nul", "a\0b", 3, 0600);
	write_bytes("open", "secret\n", 7, 0644);
	write_file("credentials/mail", "from the unit\n");
}

#define TARGET(keys) "targets:\n- address: a.example:80\n  " keys "\n"
#define EMAIL "senders:\n  m: {type: email, server: 'smtp://h', from: a@b, to: [c@d]"
#define HOOK "senders:\n  h: {type: webhook"
#define ONE(line) "portbell.yaml:" line "\n"

struct row {
	const char *yaml;
	const char *report;
};

static const struct row mistakes[] = {
	/* YAML */
	{ "targets: [\n",
	  ONE("2:1: not valid YAML: did not find expected node content while parsing a flow node (begun in "
	      "line 2)") },
	{ "targets:\n\t- a:1\n",
	  ONE("2:1: not valid YAML: found character that cannot start any token while scanning for the next "
	      "token (begun in line 2) (tabs cannot indent: use spaces)") },
	{ "targets:\n- address: [2001:db8::1]:443\n",
	  ONE("2:25: not valid YAML: did not find expected key while parsing a block mapping (begun in line "
	      "2) (a text with \"[\" needs quotes: \"[2001:db8::1]:443\")") },
	{ "routes:\n- match: {target: *.example.com}\n",
	  ONE("2:20: not valid YAML: did not find expected alphabetic or numeric character while scanning an "
	      "alias (begun in line 2) (a text that begins with \"*\", like a glob, needs quotes: "
	      "\"*.example.com\")") },
	{ "location: *web\n",
	  ONE("1:11: location: there is no anchor &web before this (a text with \"*\" first needs quotes)") },
	{ "location: a: b\n",
	  ONE("1:12: not valid YAML: mapping values are not allowed in this context (wrong indentation, or a "
	      "text with \": \" that needs quotes)") },
	{ "location: a\nlocation: b\n", ONE("2:1: location: this key is here twice: first in line 1") },
	{ TARGET("tls: {verify: off, verify: off}"),
	  ONE("3:22: targets[0].tls.verify: this key is here twice: first in line 3") },
	{ "location: !!binary aGk=\n",
	  ONE("1:11: location: the tag tag:yaml.org,2002:binary has no meaning here: remove it") },
	{ "location: !env HOST\n", ONE("1:11: location: the tag !env has no meaning here: remove it") },
	{ "location: a\n---\nlocation: b\n", ONE("2:1: a second document begins here: a file holds one") },
	{ "? [a]\n: b\n", ONE("1:3: a key must be a text, not a list or a map") },
	{ "location: \"a\\0b\"\n", ONE("1:11: location: holds a NUL character") },
	{ "location: \xff\xfe\n", ONE("1:11: not valid YAML: invalid leading UTF-8 octet") },
	{ "x-a: &a [*a]\n", ONE("1:10: x-a[0]: the alias stands inside of what it names") },
	{ "x-a: {<<: 5}\n", ONE("1:11: x-a: \"<<\" merges a map, or a list of maps") },
	{ "- a\n", ONE("1:1: must be a map of keys") },
	{ "a text\n", ONE("1:1: must be a map of keys") },
	{ "location: ${NONE}\n", ONE("1:11: location: the environment has no variable NONE") },
	{ "location: ${\n",
	  ONE("1:11: location: \"${\" needs a variable's name and \"}\" (a literal one is written \"$${\")") },
	/* keys */
	{ "locatoin: a\n", ONE("1:1: locatoin: unknown key (did you mean \"location\"?)") },
	{ "zzz: a\n", ONE("1:1: zzz: unknown key") },
	{ "history: {}\n", ONE("1:1: history: unknown key") },
	/* exchange */
	{ TARGET("exchange: now"),
	  ONE("3:13: targets[0].exchange: must be a list of steps, like - expect: \"^220\"") },
	{ TARGET("exchange: {expect: a}"),
	  ONE("3:13: targets[0].exchange: must be a list of steps, like - expect: \"^220\"") },
	{ TARGET("exchange: [a]"),
	  ONE("3:14: targets[0].exchange[0]: must be one step: a map with one key, like expect: \"^220\"") },
	{ TARGET("exchange: [{expect: a, send: b}]"),
	  ONE("3:14: targets[0].exchange[0]: must be one step: a map with one key, like expect: \"^220\"") },
	{ TARGET("exchange: [{}]"),
	  ONE("3:14: targets[0].exchange[0]: must be one step: a map with one key, like expect: \"^220\"") },
	{ TARGET("exchange: [{expct: a}]"),
	  ONE("3:15: targets[0].exchange[0]: must be one of send, expect, expect_not, send_hex, expect_hex, starttls "
	      "(did you mean \"expect\"?)") },
	{ TARGET("exchange: [{expect: }]"), ONE("3:23: targets[0].exchange[0].expect: has no value") },
	{ TARGET("exchange: [{send: \"\"}]"), ONE("3:21: targets[0].exchange[0].send: has no value") },
	{ TARGET("exchange: [{send: [a]}]"),
	  ONE("3:21: targets[0].exchange[0].send: must be a single value, not a list (a text that begins with \"[\" "
	      "needs quotes)") },
	{ TARGET("exchange: [{send: \"${NONE}\"}]"),
	  ONE("3:21: targets[0].exchange[0].send: the environment has no variable NONE") },
	{ TARGET("exchange: [{expect: \"${capture.a}\"}]"),
	  ONE("3:23: targets[0].exchange[0].expect: ${capture.NAME} may stand only in what an exchange sends (a "
	      "literal \"${\" is written \"$${\")") },
	{ TARGET("group: \"${capture.a}\""),
	  ONE("3:10: targets[0].group: ${capture.NAME} may stand only in what an exchange sends (a literal \"${\" is "
	      "written \"$${\")") },
	{ TARGET("exchange: [{send_hex: 0}, {expect_hex: 0g}]"),
	  ONE("3:25: targets[0].exchange[0].send_hex: must be bytes of two hexadecimal digits, like \"00 ff\"")
	  ONE("3:42: targets[0].exchange[1].expect_hex: must be bytes of two hexadecimal digits, like \"00 ff\"") },
	{ TARGET("exchange: [{starttls: on}]"), ONE("3:25: targets[0].exchange[0].starttls: must be now") },
	{ TARGET("exchange: [{starttls: now}, {starttls: now}]"),
	  ONE("3:31: targets[0].exchange[1]: starttls can be only once") },
	{ TARGET("exchange: [{expect_not: a}]"),
	  ONE("3:14: targets[0].exchange[0]: guards the next expect: an expect must follow it") },
	{ TARGET("exchange: [{expect_not: a}, {send: b}, {starttls: now}, {expect: c}]"),
	  ONE("3:14: targets[0].exchange[0]: guards the next expect: an expect must follow it") },
	{ "defaults: {exchange: [{starttls: on}]}\ntargets: ['a:1', 'b:1']\n",
	  ONE("1:34: defaults.exchange[0].starttls: must be now") },
	{ TARGET("intervall: 3s"), ONE("3:3: targets[0].intervall: unknown key (did you mean \"interval\"?)") },
	{ TARGET("verify: off"), ONE("3:3: targets[0].verify: unknown key (is \"tls.verify\" meant?)") },
	{ TARGET("tls: {veryfy: off}"),
	  ONE("3:9: targets[0].tls.veryfy: unknown key (did you mean \"verify\"?)") },
	{ TARGET("\"bad\\e[31m\": 1"), ONE("3:3: targets[0].bad\\x1b[31m: unknown key") },
	{ "defaults: {name: a}\n", ONE("1:12: defaults.name: may not stand in defaults or profiles") },
	{ "profiles: {p: {address: 'a:1'}}\n",
	  ONE("1:16: profiles.p.address: may not stand in defaults or profiles") },
	{ "profiles: {p: {intervall: 1s}}\n",
	  ONE("1:16: profiles.p.intervall: unknown key (did you mean \"interval\"?)") },
	{ "targets: 5\n", ONE("1:10: targets: must be a list: each entry begins with \"- \"") },
	{ "targets: {a: b}\n", ONE("1:10: targets: must be a list: each entry begins with \"- \"") },
	{ "profiles: []\n", ONE("1:11: profiles: must be a map of names") },
	{ "senders: [a]\n", ONE("1:10: senders: must be a map of names") },
	{ "defaults: 5\n", ONE("1:11: defaults: must be a map of names") },
	{ "resolver: on\n", ONE("1:11: resolver: must be a map of keys") },
	/* targets */
	{ "targets: [[a]]\n", ONE("1:11: targets[0]: must be a map of keys") },
	{ "targets:\n-\n", ONE("2:2: targets[0].address: has no value") },
	{ "targets:\n- {name: a}\n", ONE("2:3: targets[0]: \"address\" is missing") },
	{ "targets: [a]\n", ONE("1:11: targets[0].address: a port is missing: host:port") },
	{ "targets: ['a:0']\n", ONE("1:11: targets[0].address: the port must be a number from 1 to 65535") },
	{ "targets: ['a:65536']\n", ONE("1:11: targets[0].address: the port must be a number from 1 to 65535") },
	{ "targets: ['2001:db8::1:443']\n",
	  ONE("1:11: targets[0].address: an IPv6 address is written [2001:db8::1]:443") },
	{ "targets: ['a b:1']\n", ONE("1:11: targets[0].address: the host is neither a name nor an IP address") },
	{ "targets:\n- address: [a]\n",
	  ONE("2:12: targets[0].address: must be a single value, not a list (a text that begins with \"[\" "
	      "needs quotes)") },
	{ "targets: ['a:1', 'b:1', 'a:1']\n",
	  "portbell.yaml:1:25: targets[2]: there is a target of the name \"a:1\" at portbell.yaml:1:11\n" },
	{ "targets: ['a:1', {name: 'a:1', address: 'b:1'}]\n",
	  "portbell.yaml:1:25: targets[1].name: there is a target of the name \"a:1\" at portbell.yaml:1:11\n" },
	{ TARGET("name: portbell"),
	  ONE("3:9: targets[0].name: the name \"portbell\" is reserved for portbell itself") },
	{ TARGET("name: \"\""), ONE("3:9: targets[0].name: has no value") },
	{ TARGET("name: \"a\\nb\""),
	  ONE("3:9: targets[0].name: holds a control character, a hidden mark or bytes that are not UTF-8") },
	{ TARGET("name:"), ONE("3:8: targets[0].name: has no value") },
	{ TARGET("profile: htps"), ONE("3:12: targets[0].profile: there is no profile \"htps\"") },
	{ "profiles: {https: {}, web: {}}\n" TARGET("profile: [web, htps]"),
	  ONE("4:18: targets[0].profile: there is no profile \"htps\" (did you mean \"https\"?)") },
	{ "profiles: {a: {profile: b}, b: {profile: [c]}, c: {profile: a}}\n",
	  ONE("1:61: profiles.c.profile: profiles name each other in a circle") },
	{ "profiles: {a: {profile: a}}\n" TARGET("profile: a"),
	  ONE("1:25: profiles.a.profile: profiles name each other in a circle") },
	{ "profiles: {a: {profile: b}}\n", ONE("1:25: profiles.a.profile: there is no profile \"b\"") },
	{ "defaults: {profile: b}\ntargets: ['a:1', 'b:1']\n",
	  ONE("1:21: defaults.profile: there is no profile \"b\"") },
	{ TARGET("group: [a]"),
	  ONE("3:10: targets[0].group: must be a single value, not a list (a text that begins with \"[\" "
	      "needs quotes)") },
	{ TARGET("labels: {target: a}"),
	  ONE("3:12: targets[0].labels.target: the label \"target\" is set by portbell: choose another name") },
	{ TARGET("labels: {a-b: a}"),
	  ONE("3:12: targets[0].labels.a-b: a label's name has letters, digits and \"_\", and no digit first") },
	{ TARGET("labels: {a: {}}"), ONE("3:15: targets[0].labels.a: must be a single value, not a map") },
	{ TARGET("labels: {a: }"), ONE("3:15: targets[0].labels.a: has no value") },
	{ TARGET("labels: [a]"), ONE("3:11: targets[0].labels: must be a map of names and values") },
	{ TARGET("labels: on"), ONE("3:11: targets[0].labels: must be a map of names and values") },
	{ TARGET("paused: maybe"), ONE("3:11: targets[0].paused: must be on or off") },
	{ TARGET("interval: 30"),
	  ONE("3:13: targets[0].interval: a duration needs a unit: write 30s if seconds are meant (ms s m h d "
	      "w y)") },
	{ TARGET("interval: 999ms"), ONE("3:13: targets[0].interval: must be from 1s to 7d") },
	{ TARGET("interval: 8d"), ONE("3:13: targets[0].interval: must be from 1s to 7d") },
	{ TARGET("interval: soon"),
	  ONE("3:13: targets[0].interval: not a duration: write a whole number and a unit, like 250ms 30s 5m "
	      "4h 7d 2w 1y") },
	{ TARGET("timeout: 30s"),
	  ONE("3:12: targets[0].timeout: the timeout (30s) must be shorter than the interval (30s)") },
	{ "defaults: {timeout: 8s}\ntargets: [{address: 'a:1', interval: 5s}, {address: 'b:1', interval: "
	  "6s}]\n",
	  "portbell.yaml:2:38: targets[0].timeout: the timeout (8s) must be shorter than the interval (5s)\n"
	  "portbell.yaml:2:70: targets[1].timeout: the timeout (8s) must be shorter than the interval (6s)\n" },
	{ "defaults: {timeout: 40s}\ntargets: ['a:1', 'b:1']\n",
	  ONE("1:21: targets[0].timeout: the timeout (40s) must be shorter than the interval (30s)") },
	{ TARGET("timeout: 1ms"), ONE("3:12: targets[0].timeout: must be from 10ms to 7d") },
	/* ways */
	{ TARGET("family: ip4"),
	  ONE("3:11: targets[0].family: must be one of auto, ipv4, ipv6 (did you mean \"ipv4\"?)") },
	{ "targets: [{address: '[2001:db8::1]:1', family: ipv4}]\n",
	  ONE("1:48: targets[0].family: ipv4, but the target's address is IPv6: take one of the two away") },
	{ "defaults: {family: ipv6}\ntargets: ['192.0.2.1:1']\n",
	  ONE("1:20: targets[0].family: ipv6, but the target's address is IPv4: take one of the two away") },
	{ TARGET("resolve: a.example"),
	  ONE("3:12: targets[0].resolve: not an IP address: write 192.0.2.7, 2001:db8::7 or fe80::7%eth0") },
	{ TARGET("resolve: [192.0.2.1, 192.0.2.1:80]"),
	  ONE("3:24: targets[0].resolve[1]: not an IP address: write 192.0.2.7, 2001:db8::7 or fe80::7%eth0 "
	      "(without a port)") },
	{ TARGET("resolve: 'fe80::1'"),
	  ONE("3:12: targets[0].resolve: a link-local address needs its interface: fe80::1%eth0, or \"source\"") },
	{ TARGET("resolve: 'fe80::1%lo'\n  proxy: socks5h://h"),
	  ONE("3:12: targets[0].resolve: an address with a zone means nothing to a proxy") },
	{ TARGET("resolve: 192.0.2.1\n  family: ipv6"),
	  ONE("3:12: targets[0].resolve: none of these addresses is IPv6, as is asked for") },
	{ TARGET("resolve: '::1'\n  source: 192.0.2.9"),
	  ONE("3:12: targets[0].resolve: none of these addresses is IPv4, as is asked for") },
	{ "targets: [{address: '192.0.2.1:1', resolve: 192.0.2.2}]\n",
	  ONE("1:45: targets[0].resolve: the target's address is an IP address, there is no name to resolve: "
	      "take one of the two away") },
	{ TARGET("source: eth0:1"),
	  ONE("3:11: targets[0].source: neither an IP address of this machine nor the name of an interface, like "
	      "eth1") },
	{ TARGET("source: 192.0.2.300"),
	  ONE("3:11: targets[0].source: neither an IP address of this machine nor the name of an interface, like "
	      "eth1") },
	{ TARGET("source: fe80::1"),
	  ONE("3:11: targets[0].source: a link-local address needs its interface: fe80::1%eth0") },
	{ TARGET("source: 0.0.0.0"),
	  ONE("3:11: targets[0].source: no address to send from: leave it out if any will do") },
	{ TARGET("source: 192.0.2.9\n  family: ipv6"),
	  ONE("3:11: targets[0].source: an IPv4 address, but family is ipv6") },
	{ "targets: [{address: '192.0.2.1:1', source: '2001:db8::9'}]\n",
	  ONE("1:44: targets[0].source: an IPv6 address cannot connect to an IPv4 address") },
	{ TARGET("source: 192.0.2.9\n  proxy: 'socks5://[::1]'"),
	  ONE("3:11: targets[0].source: an IPv4 address cannot connect to an IPv6 address") },
	{ TARGET("proxy: proxy:3128"),
	  ONE("3:10: targets[0].proxy: not a proxy: write socks5://host:1080 (the name is resolved here), "
	      "socks5h://host:1080 (by the proxy) or http://host:3128 (CONNECT)") },
	{ TARGET("proxy: http://proxy"),
	  ONE("3:10: targets[0].proxy: write the port of the proxy, like http://proxy.example.com:3128") },
	{ TARGET("proxy: socks5h://u:T0KEN@h"),
	  ONE("3:10: targets[0].proxy: a password does not belong here, where it is shown: write it into a file "
	      "of its own and name that in proxy_password_file") },
	{ "targets: [{address: '[fe80::1%lo]:1', proxy: 'socks5://h'}]\n",
	  ONE("1:46: targets[0].proxy: the target's address has a zone, which means nothing to a proxy") },
	{ "targets: ['[fe80::1%nothing0]:1']\n",
	  ONE("1:11: targets[0].address: this machine has no interface of the name that stands after \"%\"") },
	{ TARGET("proxy_password_file: password"),
	  ONE("3:24: targets[0].proxy_password_file: a password without \"proxy\"") },
	{ TARGET("proxy_password_file: password\n  proxy: socks5h://h"),
	  ONE("3:24: targets[0].proxy_password_file: a password without a user: write it into \"proxy\", like "
	      "socks5h://user@host:1080") },
	{ TARGET("proxy_password_file: long\n  proxy: socks5h://u@h"),
	  ONE("3:24: targets[0].proxy_password_file: the password of a SOCKS proxy has at most 255 bytes (RFC "
	      "1929)") },
	{ TARGET("proxy_password_file: none\n  proxy: socks5h://u@h"),
	  ONE("3:24: targets[0].proxy_password_file: none: No such file or directory") },
	{ TARGET("proxy_password_file: password\n  proxy_password_credential: mail\n  proxy: socks5h://u@h"),
	  ONE("4:30: targets[0].proxy_password_credential: only one of \"proxy_password_file\" and "
	      "\"proxy_password_credential\" may be given") },
	{ "profiles: {p: {proxy_password_file: password, proxy_password_credential: mail}}\n",
	  ONE("1:74: profiles.p.proxy_password_credential: only one of \"proxy_password_file\" and "
	      "\"proxy_password_credential\" may be given") },
	{ TARGET("proxy_protocol: v3"), ONE("3:19: targets[0].proxy_protocol: must be v1, v2, off or a map") },
	{ TARGET("proxy_protocol: on"), ONE("3:19: targets[0].proxy_protocol: must be v1, v2, off or a map") },
	{ TARGET("proxy_protocol: {version: 3}"), ONE("3:29: targets[0].proxy_protocol.version: must be 1 or 2") },
	{ TARGET("proxy_protocol: {}"), ONE("3:19: targets[0].proxy_protocol: \"version\" is missing") },
	{ TARGET("proxy_protocol: {version: 2, sourc: a}"),
	  ONE("3:32: targets[0].proxy_protocol.sourc: unknown key (did you mean \"source\"?)") },
	{ TARGET("proxy_protocol: {version: 2, source: '192.0.2.9:1'}"),
	  ONE("3:19: targets[0].proxy_protocol: \"source\" and \"destination\" go together") },
	{ TARGET("proxy_protocol: {version: 2, source: '192.0.2.9:1', destination: '[::1]:1'}"),
	  ONE("3:19: targets[0].proxy_protocol: \"source\" and \"destination\" must both be IPv4 or both IPv6") },
	{ TARGET("proxy_protocol: {version: 1, source: 'a.example:1', destination: 192.0.2.1}"),
	  "portbell.yaml:3:40: targets[0].proxy_protocol.source: must be an IP address with a port, and no zone\n"
	  "portbell.yaml:3:68: targets[0].proxy_protocol.destination: a port is missing: host:port\n" },
	{ TARGET("tls: maybe"), ONE("3:8: targets[0].tls: must be on, off or a map of keys") },
	{ TARGET("tls: [on]"), ONE("3:8: targets[0].tls: must be on, off or a map of keys") },
	{ TARGET("tls:"), ONE("3:7: targets[0].tls: has no value") },
	{ TARGET("tls: {verify: ful}"),
	  ONE("3:17: targets[0].tls.verify: must be one of full, chain, off (did you mean \"full\"?)") },
	{ TARGET("tls: {server_name: 'a b'}"),
	  ONE("3:22: targets[0].tls.server_name: neither a host name nor an IP address") },
	{ TARGET("tls: {ca_file: []}"), ONE("3:18: targets[0].tls.ca_file: is an empty list") },
	{ TARGET("tls: {client_certificate_file: absent.pem}"),
	  ONE("3:34: targets[0].tls.client_certificate_file: absent.pem: No such file or directory") },
	{ TARGET("tls: {client_key_file: ca.pem}"),
	  ONE("3:26: targets[0].tls.client_key_file: needs client_certificate_file or "
	      "client_certificate_credential") },
	{ TARGET("tls: {client_certificate_file: ca.pem, client_key_credential: a/b}"),
	  ONE("3:65: targets[0].tls.client_key_credential: a credential has a name, not a path") },
	{ TARGET("tls: {max_version: tls13}"),
	  ONE("3:22: targets[0].tls.max_version: must be one of 1.0, 1.1, 1.2, 1.3") },
	{ TARGET("tls: {ciphers: NONSENSE}"), ONE("3:18: targets[0].tls.ciphers: no such cipher") },
	{ TARGET("tls: {alpn: []}"), ONE("3:15: targets[0].tls.alpn: is an empty list") },
	{ TARGET("tls: {require: on}"), ONE("3:18: targets[0].tls.require: must be off or a map of keys") },
	{ TARGET("tls: {require: {versoin: 1.2}}"),
	  ONE("3:19: targets[0].tls.require.versoin: unknown key (did you mean \"version\"?)") },
	{ TARGET("tls: {require: {version: 2}}"),
	  ONE("3:28: targets[0].tls.require.version: must be one of 1.0, 1.1, 1.2, 1.3") },
	{ TARGET("tls: {require: {level: unknown}}"),
	  ONE("3:26: targets[0].tls.require.level: must be one of warning, critical") },
	{ TARGET("tls: {max_version: 1.2, require: {version: 1.3}}"),
	  ONE("3:36: targets[0].tls.require: a version above max_version cannot be agreed on") },
	{ TARGET("tls: {alpn: [h2], require: {alpn: http/1.1}}"),
	  ONE("3:30: targets[0].tls.require: \"http/1.1\" is not among what tls.alpn offers") },
	{ TARGET("latency: on"), ONE("3:12: targets[0].latency: must be off or a map of keys") },
	{ TARGET("latency: {warning: 300}"),
	  ONE("3:22: targets[0].latency.warning: a duration needs a unit: write 300s if seconds are meant (ms "
	      "s m h d w y)") },
	{ TARGET("latency: {warning: 2s, critical: 1s}"),
	  ONE("3:36: targets[0].latency.critical: critical must be longer than warning") },
	{ "defaults: {latency: {critical: 1s}}\n" TARGET("latency: {warning: 1s}"),
	  ONE("4:22: targets[0].latency.critical: critical must be longer than warning") },
	{ TARGET("latency: {phase: handshake}"),
	  ONE("3:20: targets[0].latency.phase: must be one of dns, connect, proxy, starttls, tls, exchange, total") },
	{ TARGET("latency: {phase: starttls}"),
	  ONE("2:3: targets[0]: latency.phase is starttls, but the target has none: tls: {starttls: ...}, or another phase") },
	{ TARGET("addresses: every"), ONE("3:14: targets[0].addresses: must be one of first, all") },
	{ TARGET("addresses: all\n  require: 0"),
	  ONE("4:12: targets[0].require: must be all, any, or a number from 1 to 16") },
	{ TARGET("addresses: all\n  require: most"),
	  ONE("4:12: targets[0].require: must be all, any, or a number from 1 to 16") },
	{ TARGET("require: 2"),
	  ONE("2:3: targets[0]: \"require\" without \"addresses: all\" has nothing to count") },
	{ TARGET("addresses: all\n  require: 3\n  resolve: [192.0.2.7, 192.0.2.8]"),
	  ONE("2:3: targets[0]: \"require\" is more than \"resolve\" has addresses") },
	{ TARGET("expect_reason: connection_refused"),
	  ONE("3:18: targets[0].expect_reason: \"connection_refused\" is no reason that a probe ends with"
	      " (did you mean \"connect_refused\"?)") },
	{ TARGET("expect_reason: [ok, cert_expired]"),
	  ONE("3:23: targets[0].expect_reason[1]: \"cert_expired\" is no reason that a probe ends with") },
	{ TARGET("expect_reason: []"), ONE("3:18: targets[0].expect_reason: is an empty list") },
	{ TARGET("tls: {starttls: smpt}"),
	  ONE("3:19: targets[0].tls.starttls: must be one of smtp, lmtp, imap, pop3, sieve, ftp, nntp, irc, xmpp,"
	      " xmpp-server, ldap, postgres, mysql (did you mean \"smtp\"?)") },
	{ TARGET("tls: {starttls: smtp, ehlo: \"a b\"}"),
	  ONE("3:31: targets[0].tls.ehlo: neither a host name nor an IP address") },
	{ TARGET("latency: {after: 0}"), ONE("3:20: targets[0].latency.after: must be from 1 to 1000") },
	{ TARGET("latency: {percentile: 95}"), ONE("3:13: targets[0].latency.percentile: unknown key") },
	{ TARGET("certificate: {warning: 0%}"),
	  ONE("3:26: targets[0].certificate.warning: must be from 1% to 99%") },
	{ TARGET("certificate: {warning: [25%, 30%]}"),
	  ONE("3:26: targets[0].certificate.warning: two bounds are a percentage and a duration: [25%, 21d]") },
	{ TARGET("certificate: {warning: [25%, 21d, 3d]}"),
	  ONE("3:26: targets[0].certificate.warning: has more than 2 entries") },
	{ TARGET("certificate: {warning: 21}"),
	  ONE("3:26: targets[0].certificate.warning: a duration needs a unit: write 21s if seconds are meant "
	      "(ms s m h d w y)") },
	{ TARGET("certificate: {warning: 3d}"),
	  ONE("3:26: targets[0].certificate.warning: warning must not come later than critical: give both") },
	{ TARGET("certificate: {issuer: [a, b]}"),
	  ONE("3:25: targets[0].certificate.issuer: must be a single value, not a list (a text that begins with "
	      "\"[\" needs quotes)") },
	{ TARGET("tls: {require: {group: ''}}"), ONE("3:26: targets[0].tls.require.group: has no value") },
	{ TARGET("certificate: {revocation: on}"),
	  ONE("3:29: targets[0].certificate.revocation: must be one of off, staple, crl, ocsp") },
	{ TARGET("certificate: {revocation_private: some}"),
	  ONE("3:37: targets[0].certificate.revocation_private: must be on or off") },
	{ TARGET("certificate: {changes: some}"),
	  ONE("3:26: targets[0].certificate.changes: must be one of unusual, all, ignore") },
	{ TARGET("certificate: {pins: sha256//AAAA}"), 
	  ONE("3:23: targets[0].certificate.pins: a pin is sha256// and the base64 of the 32 bytes of a public "
	      "key's SHA-256") },
	{ TARGET("certificate: {pins: [sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=, 'sha1//xxxx']}"),
	  ONE("3:78: targets[0].certificate.pins[1]: a pin is sha256// and the base64 of the 32 bytes of a public "
	      "key's SHA-256") },
	{ TARGET("certificate: {weak: unknown}"),
	  ONE("3:23: targets[0].certificate.weak: must be one of ok, warning, critical") },
	{ TARGET("certificate: {scope: root}"),
	  ONE("3:24: targets[0].certificate.scope: must be one of chain, leaf") },
	{ TARGET("alert: off"), ONE("3:10: targets[0].alert: must be a map of keys") },
	{ TARGET("alert: {after: 3 of 5}"), ONE("3:18: targets[0].alert.after: not a whole number") },
	{ TARGET("alert: {after: -1}"), ONE("3:18: targets[0].alert.after: not a whole number") },
	{ TARGET("alert: {recheck: 5}"),
	  ONE("3:20: targets[0].alert.recheck: a duration needs a unit: write 5s if seconds are meant (ms s m "
	      "h d w y)") },
	{ TARGET("send_to: [ops]"), ONE("3:13: targets[0].send_to[0]: there is no sender \"ops\"") },
	{ "defaults: {interval: x}\ntargets: ['a:1', 'b:1']\n",
	  ONE("1:22: defaults.interval: not a duration: write a whole number and a unit, like 250ms 30s 5m 4h "
	      "7d 2w 1y") },
	/* senders */
	{ "senders: {m: {}}\n", ONE("1:14: senders.m: \"type\" is missing") },
	{ "senders: {m: x}\n", ONE("1:14: senders.m: must be a map of keys") },
	{ "senders: {m: {type: mail}}\n",
	  ONE("1:21: senders.m.type: must be one of email, webhook, log (did you mean \"email\"?)") },
	{ "senders: {m: {type: log, server: x}}\n", ONE("1:26: senders.m.server: unknown key") },
	{ "senders: {\"a\\tb\": {type: log}}\n",
	  ONE("1:11: senders.a\\x09b: holds a control character, a hidden mark or bytes that are not UTF-8") },
	{ "senders: {m: {type: log, rate: 10}}\n",
	  ONE("1:32: senders.m.rate: not a rate: write how many in which time, like 10/m or 1/30s, or off") },
	{ "senders: {m: {type: email}}\n",
	  "portbell.yaml:1:14: senders.m: \"server\" is missing\n"
	  "portbell.yaml:1:14: senders.m: \"from\" is missing\n"
	  "portbell.yaml:1:14: senders.m: \"to\" is missing\n" },
	{ EMAIL", starttls: on}\n", ONE("2:72: senders.m.starttls: must be one of required, optional, off") },
	{ EMAIL", username: u}\n",
	  ONE("2:6: senders.m: \"username\" without \"password_file\" or \"password_credential\"") },
	{ EMAIL", password_file: password}\n", ONE("2:6: senders.m: a password without \"username\"") },
	{ EMAIL", password: x}\n", ONE("2:62: senders.m.password: unknown key") },
	{ EMAIL", username: u, password_file: empty}\n", ONE("2:90: senders.m.password_file: empty: empty") },
	{ EMAIL", username: u, password_file: lines}\n",
	  ONE("2:90: senders.m.password_file: lines: holds more than one line, or a NUL") },
	{ EMAIL", username: u, password_file: nul}\n",
	  ONE("2:90: senders.m.password_file: nul: holds more than one line, or a NUL") },
	{ EMAIL", username: u, password_file: none}\n",
	  ONE("2:90: senders.m.password_file: none: No such file or directory") },
	{ EMAIL", username: u, password_file: credentials}\n",
	  ONE("2:90: senders.m.password_file: credentials: not a regular file") },
	{ EMAIL", username: u, password_credential: none}\n",
	  ONE("2:96: senders.m.password_credential: credentials/none: No such file or directory") },
	{ EMAIL", username: u, password_credential: ../password}\n",
	  ONE("2:96: senders.m.password_credential: a credential has a name, not a path") },
	{ EMAIL", username: u, password_file: password, password_credential: mail}\n",
	  ONE("2:121: senders.m.password_credential: only one of \"password_file\" and "
	      "\"password_credential\" may be given") },
	{ EMAIL", ca_file: none.pem}\n", ONE("2:71: senders.m.ca_file: none.pem: No such file or directory") },
	{ "senders: {m: {type: email, server: mail, from: a@b, to: c@d}}\n",
	  ONE("1:36: senders.m.server: not a mail server: write smtp://host:587 or smtps://host") },
	{ "senders: {m: {type: email, server: 'smtp://h', from: a, to: [b@c, d]}}\n",
	  "portbell.yaml:1:54: senders.m.from: not an e-mail address: write user@example.com or \"Name "
	  "<user@example.com>\"\n"
	  "portbell.yaml:1:67: senders.m.to[1]: not an e-mail address: write user@example.com or \"Name "
	  "<user@example.com>\"\n" },
	{ "senders: {m: {type: email, server: 'smtp://h', from: \"a@b\\r\\nBcc: e@f\", to: []}}\n",
	  "portbell.yaml:1:54: senders.m.from: holds a control character, a hidden mark or bytes that are not "
	  "UTF-8\n"
	  "portbell.yaml:1:77: senders.m.to: is an empty list\n" },
	{ HOOK"}\n", ONE("2:6: senders.h: \"url\" is missing") },
	{ HOOK", url: 'file:///etc/passwd'}\n",
	  ONE("2:27: senders.h.url: not a URL: it begins with https:// or http://") },
	{ HOOK", url_file: bad-url}\n",
	  ONE("2:32: senders.h.url_file: not a URL: it begins with https:// or http://") },
	{ HOOK", url_file: url, url: 'http://a'}\n",
	  ONE("2:32: senders.h.url_file: only one of \"url\" and \"url_file\" may be given") },
	{ HOOK", url_file: url, method: GET}\n",
	  ONE("2:45: senders.h.method: must be one of POST, PUT (did you mean \"PUT\"?)") },
	{ HOOK", url_file: url, headers: {'A B': c}}\n",
	  ONE("2:47: senders.h.headers.A B: a header's name has only letters, digits and !#$%&'*+-.^_`|~") },
	{ HOOK", url_file: url, headers: {A: \"b\\r\\nC: d\"}}\n",
	  ONE("2:50: senders.h.headers.A: a header's value holds no line ends and no control characters") },
	{ HOOK", url_file: url, headers: {Host: d}}\n",
	  ONE("2:47: senders.h.headers.Host: the header \"Host\" is set by portbell") },
	{ HOOK", url_file: url, signing_secret_file: bad-whsec}\n",
	  ONE("2:58: senders.h.signing_secret_file: what follows \"whsec_\" in the file is not base64") },
	/* routes */
	{ "routes: []\n",
	  ONE("1:9: routes: is an empty list: leave it out to tell all senders, or write - send_to: []") },
	{ "routes: [a]\n", ONE("1:10: routes[0]: must be a map of keys") },
	{ "routes: [{}]\n", ONE("1:10: routes[0]: \"send_to\" is missing") },
	{ "routes: [{send_to: [a]}]\n", ONE("1:21: routes[0].send_to[0]: there is no sender \"a\"") },
	{ "routes: [{match: {level: critical}, send_to: []}]\n",
	  ONE("1:10: routes[0]: the last route must match everything: add one without \"match\" below it, "
	      "like - send_to: [...]") },
	{ "routes: [{match: {levl: critical}, send_to: []}, {send_to: []}]\n",
	  ONE("1:19: routes[0].match.levl: unknown key \"levl\" (did you mean \"level\"?)") },
	{ "routes: [{match: {level: [critcal]}, send_to: []}, {send_to: []}]\n",
	  ONE("1:27: routes[0].match.level[0]: unknown level \"critcal\" (did you mean \"critical\"?)") },
	{ "routes: [{match: [critical], send_to: []}, {send_to: []}]\n",
	  ONE("1:18: routes[0].match: must be a map, like {level: critical, group: [web, db]}") },
	{ "routes: [{match: {group: []}, send_to: []}, {send_to: []}]\n",
	  ONE("1:26: routes[0].match.group: is an empty list: nothing could match") },
	{ "routes: [{match: {not: {not: {group: a}}}, send_to: []}, {send_to: []}]\n",
	  ONE("1:25: routes[0].match.not.not: unknown key \"not\"") },
	{ "routes: [{send_to: [], group_by: [grup]}]\n",
	  ONE("1:35: routes[0].group_by[0]: must be one of group, check, target, address, reason, location, "
	      "label.NAME (did you mean \"group\"?)") },
	{ "routes: [{send_to: [], group_wait: 2}]\n",
	  ONE("1:36: routes[0].group_wait: a duration needs a unit: write 2s if seconds are meant (ms s m h d "
	      "w y)") },
	{ "routes: [{send_to: [], remind: {critical: 1s}}]\n",
	  ONE("1:43: routes[0].remind.critical: must be from 1m to 365d") },
	{ "routes: [{send_to: [], remind: on}]\n", ONE("1:32: routes[0].remind: must be off or a map of keys") },
	/* resolver and daemon */
	{ "resolver: {servers: [dns.example.com]}\n",
	  ONE("1:22: resolver.servers[0]: not the address of a name server: write 192.0.2.53 or "
	      "\"[2001:db8::53]:5353\"") },
	{ "resolver: {tries: 11}\n", ONE("1:19: resolver.tries: must be from 1 to 10") },
	{ "resolver: {timeout: 2m}\n", ONE("1:21: resolver.timeout: must be from 100ms to 1m") },
	{ "daemon: {workers: 65}\n", ONE("1:19: daemon.workers: must be from 1 to 64") },
	{ "daemon: {workers: many}\n", ONE("1:19: daemon.workers: not a whole number") },
	{ "daemon: {log_level: warn}\n",
	  ONE("1:21: daemon.log_level: must be one of error, warning, info, debug") },
	/* include */
	{ "include: [none.yaml]\n", ONE("1:11: include[0]: there is no file none.yaml") },
	{ "include: {}\n", ONE("1:10: include: must be a file's name or a glob") },
	/* notes beside a mistake, and all mistakes at once */
	{ "location: [a]\ntargets: ['a:443', 5]\nsenders: {a: {type: log, x: 1}}\n",
	  "portbell.yaml:1:11: location: must be a single value, not a list (a text that begins with \"[\" "
	  "needs quotes)\n"
	  "portbell.yaml:2:11: note: targets[0].address: port 443 without a \"tls\" key: only the TCP "
	  "connection is watched (tls: on, or tls: off if that is meant)\n"
	  "portbell.yaml:2:20: targets[1].address: a port is missing: host:port\n"
	  "portbell.yaml:3:26: senders.a.x: unknown key\n" },
};

START_TEST(reports_each_mistake_with_its_place)
{
	AUTO(string) char *text = NULL;

	write_companions();
	write_file("portbell.yaml", mistakes[_i].yaml);
	ck_assert_ptr_null(load(false, &text));
	ck_assert_msg(strcmp(text, mistakes[_i].report) == 0, "row %d\n%s\ngave\n%sinstead of\n%s", _i,
		      mistakes[_i].yaml, text, mistakes[_i].report);
}
END_TEST

static const struct row notes[] = {
	{ "targets: ['a:993']\n",
	  ONE("1:11: note: targets[0].address: port 993 without a \"tls\" key: only the TCP connection is "
	      "watched (tls: on, or tls: off if that is meant)") },
	{ "targets: [{address: 'a:443', tls: off}, {address: 'b:636', tls: on}]\n", "" },
	{ "defaults: {tls: off}\ntargets: ['a:853']\n", "" },
	{ "routes: [{send_to: []}, {match: {level: ok}, send_to: []}]\n",
	  ONE("1:25: note: routes[1]: can never match: a route above matches everything") },
	{ "routes: [{send_to: [], continue: on}, {send_to: []}]\n", "" },
	{ EMAIL", username: u, password_file: open}\n",
	  ONE("2:90: note: senders.m.password_file: open holds a secret and every user can read it: chmod o-r "
	      "it") },
	{ "location: ${NONE}\ntargets: ['${NONE}:80']\n",
	  "portbell.yaml:1:11: note: location: the environment has no variable NONE\n"
	  "portbell.yaml:2:11: note: targets[0]: the environment has no variable NONE\n" },
	{ EMAIL", username: u, password_credential: none}\n",
	  ONE("2:96: note: senders.m.password_credential: the credential is missing here") },
	{ EMAIL", username: u, password_credential: mail}\n", "" },
};

START_TEST(reports_notes_and_loads)
{
	AUTO(string) char *text = NULL;
	struct config *config;

	write_companions();
	write_file("portbell.yaml", notes[_i].yaml);
	config = load(true, &text);
	ck_assert_msg(config != NULL && strcmp(text, notes[_i].report) == 0, "row %d\n%s\ngave\n%sinstead of\n%s",
		      _i, notes[_i].yaml, text, notes[_i].report);
	config_free(config);
}
END_TEST

START_TEST(says_when_there_is_no_credentials_directory)
{
	AUTO(string) char *file = path_of("portbell.yaml");
	AUTO(string) char *text = NULL;
	struct config_env env = { .variable = variable };
	struct report report = { 0 };

	write_file("portbell.yaml", EMAIL ", username: u, password_credential: mail}\n");
	ck_assert_ptr_null(config_load(file, &env, &report));
	text = report_text(&report);
	ck_assert_str_eq(text, ONE("2:96: senders.m.password_credential: there is no $CREDENTIALS_DIRECTORY: "
				   "give the unit LoadCredential=mail:..."));
}
END_TEST

START_TEST(gives_a_target_its_defaults)
{
	struct config *config = load_yaml("targets: ['example.com:25']\n");
	const struct target_config *target = &config->targets[0];

	ck_assert_uint_eq(config->target_count, 1);
	ck_assert_ptr_nonnull(config->location);
	ck_assert_str_eq(target->name, "example.com:25");
	ck_assert_str_eq(target->address, "example.com:25");
	ck_assert_str_eq(target->host, "example.com");
	ck_assert_uint_eq(target->port, 25);
	ck_assert_uint_eq(target->literal.family, 0);
	ck_assert(target->group == NULL && target->description == NULL && target->runbook == NULL);
	ck_assert(!target->paused && !target->tls && !target->send_to_set);
	ck_assert_int_eq(target->interval_ms, 30000);
	ck_assert_int_eq(target->timeout_ms, 10000);
	ck_assert_int_eq(target->recheck_ms, 5000);
	ck_assert_int_eq(target->rules.after, 3);
	ck_assert_int_eq(target->rules.recover, 2);
	ck_assert_int_eq(target->rules.latency_warning_us, 0);
	ck_assert_int_eq(target->rules.latency_critical_us, 0);
	ck_assert_int_eq(target->rules.latency_phase, PHASE_TOTAL);
	ck_assert_int_eq(target->rules.latency_after, 5);
	ck_assert(target->rules.certificate && !target->rules.certificate_leaf_only);
	ck_assert_int_eq(target->rules.certificate_weak, LEVEL_WARNING);
	ck_assert_int_eq(target->rules.certificate_warning.percent, 25);
	ck_assert_int_eq(target->rules.certificate_warning.left_s, INT64_C(21) * 86400);
	ck_assert_int_eq(target->rules.certificate_critical.percent, 10);
	ck_assert_int_eq(target->rules.certificate_critical.left_s, INT64_C(7) * 86400);
	ck_assert_int_eq(target->rules.verify, VERIFY_FULL);
	config_free(config);
}
END_TEST

START_TEST(takes_an_empty_file)
{
	static const char *const files[] = {
		"", "\n# nothing\n", "---\n", "~\n", "targets:\nsenders:\nroutes:\n", "x-a: 1\n",
	};

	for (int i = 0; i < ROWS(files); i++) {
		struct config *config = load_yaml(files[i]);

		ck_assert_uint_eq(config->target_count, 0);
		ck_assert_uint_eq(config->route_count, 1);
		ck_assert_uint_eq(config->trust_count, 1);
		ck_assert(config->resolver.cache && config->resolver.tries == 2);
		ck_assert_int_eq(config->resolver.timeout_ms, 2000);
		ck_assert(config->daemon.workers == 0 && config->daemon.log_level == LOG_LEVEL_INFO);
		config_free(config);
	}
}
END_TEST

/* What the first target ends up with, as "interval tls verify warning phase certificate labels". */
static char *describe(const struct target_config *target)
{
	static const char *const verify[] = { "full", "chain", "off" };
	struct str text = { 0 };

	str_addf(&text, "%llds %s/%s %lldms/%s %s", (long long)(target->interval_ms / 1000),
		 target->tls ? "tls" : "tcp", verify[target->rules.verify],
		 (long long)(target->rules.latency_warning_us / 1000),
		 phase_name(target->rules.latency_phase), target->rules.certificate ? "cert" : "no-cert");
	if (target->exchange != 0)
		str_add(&text, " exchange");
	if (target->starttls != STARTTLS_NONE)
		str_addf(&text, " %s", starttls_name(target->starttls));
	for (size_t i = 0; i < target->label_count; i++)
		str_addf(&text, " %s=%s", target->labels[i].name, target->labels[i].value);
	if (target->tls && (target->ciphers != NULL || target->max_version != TLS_1_3))
		str_addf(&text, " 1.%d:%s", (int)target->max_version, target->ciphers);
	for (size_t i = 0; i < target->alpn_count; i++)
		str_addf(&text, " alpn:%s", target->alpn[i]);
	for (size_t i = 0; i < target->pin_count; i++)
		str_addf(&text, " pin:%02x", target->pins[i][0]);
	if (target->rules.tls_required)
		str_addf(&text, " must:1.%d,%s,%s", (int)target->require.version,
			 target->require.alpn != NULL ? target->require.alpn : "any",
			 level_name(target->rules.tls_level));
	return str_take(&text);
}

/* `defaults`, `profiles` and the target's own keys, and what comes out. */
static const struct {
	const char *what;
	const char *defaults;
	const char *profiles;
	const char *own;
	const char *result;
} merges[] = {
	{ "nothing", "", "", "", "30s tcp/full 0ms/total cert" },
	{ "defaults", "interval: 1m", "", "", "60s tcp/full 0ms/total cert" },
	{ "own over defaults", "interval: 1m", "", "interval: 2m", "120s tcp/full 0ms/total cert" },
	{ "profile over defaults", "interval: 1m", "p: {interval: 3m}", "profile: p",
	  "180s tcp/full 0ms/total cert" },
	{ "own over profile", "", "p: {interval: 3m}", "profile: p, interval: 2m",
	  "120s tcp/full 0ms/total cert" },
	{ "the later profile wins", "", "p: {interval: 3m}, q: {interval: 4m}", "profile: [q, p]",
	  "180s tcp/full 0ms/total cert" },
	{ "defaults name a profile", "profile: p", "p: {interval: 3m}", "", "180s tcp/full 0ms/total cert" },
	{ "own profile instead of the defaults'", "profile: p", "p: {interval: 3m}, q: {tls: on}", "profile: q",
	  "30s tls/full 0ms/total cert" },
	{ "no profile instead of the defaults'", "profile: p", "p: {interval: 3m}", "profile: []",
	  "30s tcp/full 0ms/total cert" },
	{ "a profile names another", "", "p: {profile: q, tls: on}, q: {interval: 3m, tls: off}", "profile: p",
	  "180s tls/full 0ms/total cert" },
	{ "two name the same: it counts once, first", "",
	  "b: {interval: 1m}, p: {profile: b, interval: 2m}, q: {profile: b, tls: on}", "profile: [p, q]",
	  "120s tls/full 0ms/total cert" },
	{ "maps merge", "latency: {phase: connect}", "p: {latency: {warning: 1s}}", "profile: p",
	  "30s tcp/full 1000ms/connect cert" },
	{ "off clears a map", "latency: {warning: 1s, phase: tls}", "p: {latency: off}",
	  "profile: p, latency: {warning: 2s}", "30s tcp/full 2000ms/total cert" },
	{ "a map over off means on", "tls: off", "", "tls: {verify: chain}", "30s tls/chain 0ms/total cert" },
	{ "a map over on means on", "tls: on", "", "tls: {verify: chain}", "30s tls/chain 0ms/total cert" },
	{ "on over a map keeps it", "tls: {verify: chain}", "", "tls: on", "30s tls/chain 0ms/total cert" },
	{ "on over off", "tls: off", "", "tls: on", "30s tls/full 0ms/total cert" },
	{ "off over a map, then on", "tls: {verify: chain}", "p: {tls: off}", "profile: p, tls: on",
	  "30s tls/full 0ms/total cert" },
	{ "off at last", "tls: {verify: chain}", "", "tls: 'Off'", "30s tcp/full 0ms/total cert" },
	{ "an empty map means on", "", "", "tls: {}", "30s tls/full 0ms/total cert" },
	{ "certificate off", "certificate: {scope: leaf}", "", "certificate: off",
	  "30s tcp/full 0ms/total no-cert" },
	{ "requirements merge, and what is required is offered",
	  "tls: {require: {version: 1.2, level: critical}}", "",
	  "tls: {require: {alpn: h2}}", "30s tls/full 0ms/total cert alpn:h2 must:1.2,h2,critical" },
	{ "a dialogue that begins TLS offers all of it", "", "", "exchange: [{starttls: now}]",
	  "30s tls/full 0ms/total cert exchange" },
	{ "requirements off", "tls: {require: {version: 1.2}}", "", "tls: {require: off}",
	  "30s tls/full 0ms/total cert" },
	{ "what is offered", "tls: {alpn: [h2, spdy/3], max_version: 1.2}", "",
	  "tls: {alpn: imap, ciphers: 'ECDHE:@x'}",
	  "30s tls/full 0ms/total cert 1.2:ECDHE:@x alpn:imap" },
	{ "no and false are off", "tls: {verify: chain}", "", "tls: {verify: No}", "30s tls/off 0ms/total cert" },
	{ "starttls stays", "tls: {starttls: smtp}", "", "tls: {verify: off}", "30s tls/off 0ms/total cert smtp" },
	{ "starttls off: from the first byte", "tls: {starttls: smtp}", "", "tls: {starttls: off}",
	  "30s tls/full 0ms/total cert" },
	{ "no pins any more", "certificate: {pins: sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=}", "",
	  "certificate: {pins: []}", "30s tcp/full 0ms/total cert" },
	{ "pins replace", "certificate: {pins: sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=}", "",
	  "certificate: {pins: [sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=]}",
	  "30s tcp/full 0ms/total cert pin:00" },
	{ "certificate on again", "certificate: off", "", "certificate: on", "30s tcp/full 0ms/total cert" },
	{ "labels merge", "labels: {a: 1, b: 2}", "p: {labels: {b: 3}}", "profile: p, labels: {c: 4}",
	  "30s tcp/full 0ms/total cert c=4 b=3 a=1" },
	{ "labels off", "labels: {a: 1}", "", "labels: off", "30s tcp/full 0ms/total cert" },
	{ "labels after off", "labels: {a: 1}", "p: {labels: off}", "profile: p, labels: {b: 2}",
	  "30s tcp/full 0ms/total cert b=2" },
};

START_TEST(merges_defaults_profiles_and_own_keys)
{
	AUTO(string) char *yaml = mem_printf("defaults: {%s}\nprofiles: {%s}\ntargets: [{address: 'a:1', %s}]\n",
					     merges[_i].defaults, merges[_i].profiles, merges[_i].own);
	struct config *config = load_yaml(yaml);
	AUTO(string) char *result = describe(&config->targets[0]);

	ck_assert_msg(strcmp(result, merges[_i].result) == 0, "%s: %s instead of %s", merges[_i].what, result,
		      merges[_i].result);
	config_free(config);
}
END_TEST

START_TEST(lists_replace)
{
	struct config *config = load_yaml("senders: {a: {type: log}, b: {type: log}}\n"
					  "defaults: {send_to: [a, b]}\n"
					  "targets:\n- a:1\n- {address: 'b:1', send_to: b}\n"
					  "- {address: 'c:1', send_to: []}\n");
	const struct target_config *targets = config->targets;

	ck_assert(targets[0].send_to_set && targets[0].send_to_count == 2);
	ck_assert(targets[1].send_to_set && targets[1].send_to_count == 1);
	ck_assert_str_eq(targets[1].send_to[0], "b");
	ck_assert(targets[2].send_to_set && targets[2].send_to_count == 0);
	config_free(config);
}
END_TEST

START_TEST(follows_yaml_merge_keys)
{
	struct config *config = load_yaml("x-slow: &slow {interval: 2m, group: slow}\n"
					  "x-web: &web {group: web, tls: on}\n"
					  "targets:\n"
					  "- {address: 'a:1', <<: *slow}\n"
					  "- {<<: [*web, *slow], address: 'b:1'}\n"
					  "- {<<: *slow, address: 'c:1', interval: 3m}\n");
	const struct target_config *targets = config->targets;

	ck_assert_int_eq(targets[0].interval_ms, 120000);
	ck_assert_str_eq(targets[0].group, "slow");
	ck_assert_int_eq(targets[1].interval_ms, 120000);
	ck_assert_str_eq(targets[1].group, "web");
	ck_assert(targets[1].tls);
	ck_assert_int_eq(targets[2].interval_ms, 180000);
	config_free(config);
}
END_TEST

START_TEST(variables_are_data)
{
	struct config *config = load_yaml("location: '${LIST}'\n"
					  "targets:\n- ${HOST}:80\n- {address: 'a:1', description: '$${X} $'}\n");

	ck_assert_str_eq(config->location, "[a, b]");
	ck_assert_str_eq(config->targets[0].host, "variable.example.com");
	ck_assert_str_eq(config->targets[1].description, "${X} $");
	config_free(config);
}
END_TEST

START_TEST(works_out_what_is_not_given)
{
	struct config *config = load_yaml("targets:\n"
					  "- {address: 'a:1', interval: 1s}\n"
					  "- {address: 'a.example:2', tls: on}\n"
					  "- {address: '[2001:db8::1]:3', tls: {server_name: other.example}}\n"
					  "- {address: '192.0.2.1:4', interval: 1m, timeout: 59s}\n");
	const struct target_config *targets = config->targets;

	ck_assert_int_eq(targets[0].timeout_ms, 900);
	ck_assert_ptr_null(targets[0].server_name);
	ck_assert_str_eq(targets[1].server_name, "a.example");
	ck_assert_str_eq(targets[2].host, "2001:db8::1");
	ck_assert_str_eq(targets[2].server_name, "other.example");
	ck_assert_uint_eq(targets[2].literal.family, 6);
	ck_assert_uint_eq(targets[2].literal.port, 3);
	ck_assert_uint_eq(targets[3].literal.family, 4);
	ck_assert_int_eq(targets[3].timeout_ms, 59000);
	ck_assert_ptr_nonnull(strstr(targets[3].where, "portbell.yaml:5:3"));
	config_free(config);
}
END_TEST

/* Addresses as texts, a blank between them. */
static char *addresses_text(const struct address *addresses, size_t count)
{
	struct str out = { 0 };
	char text[ADDRESS_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		address_print(&addresses[i], text);
		str_addf(&out, "%s%s", i > 0 ? " " : "", text);
	}
	return str_take(&out);
}

/* What family and source leave of "resolve", and which family is looked for. */
static const struct {
	const char *keys;
	enum family family;
	const char *resolve;
} families[] = {
	{ "resolve: []", FAMILY_AUTO, "" },
	{ "resolve: ['2001:db8::7', 192.0.2.7]", FAMILY_AUTO, "[2001:db8::7]:80 192.0.2.7:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], family: ipv4", FAMILY_IPV4, "192.0.2.7:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], family: ipv6", FAMILY_IPV6, "[2001:db8::7]:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], source: 192.0.2.9", FAMILY_IPV4, "192.0.2.7:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], source: '2001:db8::9'", FAMILY_IPV6, "[2001:db8::7]:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], source: eth0", FAMILY_AUTO, "[2001:db8::7]:80 192.0.2.7:80" },
	{ "resolve: ['2001:db8::7', 192.0.2.7], source: 192.0.2.9, proxy: 'socks5://h'", FAMILY_AUTO,
	  "[2001:db8::7]:80 192.0.2.7:80" },
	{ "resolve: 'fe80::7%lo'", FAMILY_AUTO, "[fe80::7%lo]:80" },
	{ "resolve: 'fe80::7', source: eth0", FAMILY_AUTO, "[fe80::7]:80" },
	{ "source: 192.0.2.9", FAMILY_IPV4, "" },
	{ "family: ipv6, source: 192.0.2.9, proxy: 'socks5://192.0.2.1'", FAMILY_IPV6, "" },
};

START_TEST(addresses_are_of_the_family)
{
	AUTO(string) char *yaml = mem_printf("targets: [{address: 'a:80', %s}]\n", families[_i].keys);
	struct config *config = load_yaml(yaml);
	AUTO(string) char *resolve = addresses_text(config->targets[0].resolve, config->targets[0].resolve_count);

	ck_assert_int_eq(config->targets[0].family, families[_i].family);
	ck_assert_str_eq(resolve, families[_i].resolve);
	config_free(config);
}
END_TEST

START_TEST(fills_ways)
{
	struct config *config;
	const struct target_config *targets;
	AUTO(string) char *source = NULL;
	AUTO(string) char *destination = NULL;

	write_companions();
	config = load_yaml(
		"defaults: {proxy: 'socks5h://u%40x@127.0.0.1', proxy_password_credential: mail,\n"
		"  proxy_protocol: v2, source: eth0, resolve: 192.0.2.7}\n"
		"profiles: {file: {proxy_password_file: password}}\n"
		"targets:\n"
		"- a:1\n"
		"- {address: 'b:1', profile: file, proxy_protocol: v1}\n"
		"- {address: 'c:1', proxy: off, proxy_protocol: off, source: off, resolve: []}\n"
		"- {address: 'd:1', source: 192.0.2.9, proxy: 'http://u@proxy.example:3128',\n"
		"   proxy_protocol: {version: 2, source: '192.0.2.9:1', destination: '192.0.2.1:443'}}\n"
		"- {address: 'e:1', proxy_protocol: {version: 1}}\n");
	targets = config->targets;
	ck_assert_int_eq(targets[0].proxy.kind, PROXY_KIND_SOCKS5H);
	ck_assert_str_eq(targets[0].proxy.host, "127.0.0.1");
	ck_assert_uint_eq(targets[0].proxy.port, 1080);
	ck_assert_uint_eq(targets[0].proxy.literal.family, 4);
	ck_assert_str_eq(targets[0].proxy.username, "u@x");
	ck_assert_str_eq(targets[0].proxy.password, "from the unit");
	ck_assert_int_eq(targets[0].proxy_protocol.version, PROXY_HEADER_V2);
	ck_assert_uint_eq(targets[0].proxy_protocol.source.family, 0);
	ck_assert_str_eq(targets[0].source.text, "eth0");
	ck_assert_uint_eq(targets[0].source.address.family, 0);
	ck_assert_str_eq(targets[1].proxy.password, "pa$$word"); /* the nearer of the two keys */
	ck_assert_int_eq(targets[1].proxy_protocol.version, PROXY_HEADER_V1);
	ck_assert_int_eq(targets[2].proxy.kind, PROXY_KIND_NONE);
	ck_assert_ptr_null(targets[2].proxy.host);
	ck_assert_int_eq(targets[2].proxy_protocol.version, PROXY_HEADER_NONE);
	ck_assert_ptr_null(targets[2].source.text);
	ck_assert_uint_eq(targets[2].resolve_count, 0);
	ck_assert_uint_eq(targets[3].source.address.family, 4);
	ck_assert_int_eq(targets[3].proxy.kind, PROXY_KIND_HTTP);
	ck_assert_str_eq(targets[3].proxy.host, "proxy.example");
	ck_assert_int_eq(targets[3].proxy_protocol.version, PROXY_HEADER_V2);
	source = addresses_text(&targets[3].proxy_protocol.source, 1);
	destination = addresses_text(&targets[3].proxy_protocol.destination, 1);
	ck_assert_str_eq(source, "192.0.2.9:1");
	ck_assert_str_eq(destination, "192.0.2.1:443");
	ck_assert_int_eq(targets[4].proxy_protocol.version, PROXY_HEADER_V1);
	config_free(config);
}
END_TEST

/* What many inherit is noted once. */
START_TEST(an_inherited_secret_is_noted_once)
{
	AUTO(string) char *text = NULL;
	struct config *config;

	write_companions();
	write_file("portbell.yaml", "defaults: {proxy: 'socks5://u@h', proxy_password_file: open}\n"
				    "targets: ['a:1', 'b:1', 'c:1']\n");
	config = load(false, &text);
	ck_assert_ptr_nonnull(config);
	ck_assert_str_eq(text,
	"portbell.yaml:1:56: note: defaults.proxy_password_file: open holds a secret and every "
			       "user can read it: chmod o-r it\n");
	config_free(config);
}
END_TEST

START_TEST(fills_senders)
{
	static const uint8_t key[] = { 0, 1, 2, 3, 4, 5 };
	struct config *config;
	const struct sender_config *mail;
	const struct sender_config *hook;

	write_companions();
	config = load_yaml("senders:\n"
			   "  mail: {type: email, server: 'smtps://mail.example', from: 'P <p@example.com>',\n"
			   "    to: [a@b, c@d], username: u, password_file: password, give_up: 1h, timeout: 5s,\n"
			   "    rate: 3/h, ca_file: ca.pem}\n"
			   "  near: {type: email, server: 'smtp://[::1]:25', from: p@b, to: a@b}\n"
			   "  unit: {type: email, server: 'smtp://h', starttls: off, from: p@b, to: a@b,\n"
			   "    username: u, password_credential: mail}\n"
			   "  hook: {type: webhook, url_file: url, method: PUT, headers: {X-A: 'b ${HOST}'},\n"
			   "    signing_secret_file: whsec}\n"
			   "  raw: {type: webhook, url: 'http://a/', signing_secret_file: raw, rate: off}\n"
			   "  log: {type: log}\n");
	ck_assert_uint_eq(config->sender_count, 6);
	mail = config_sender(config, "mail");
	ck_assert_str_eq(mail->as.email.host, "mail.example");
	ck_assert(mail->as.email.port == 465 && mail->as.email.implicit_tls && mail->as.email.to_count == 2);
	ck_assert_int_eq(mail->as.email.starttls, MAIL_STARTTLS_REQUIRED);
	ck_assert_str_eq(mail->as.email.password, "pa$$word");
	ck_assert(mail->give_up_ms == 3600000 && mail->timeout_ms == 5000);
	ck_assert(mail->rate_count == 3 && mail->rate_per_ms == 3600000 && mail->trust == 1);
	mail = config_sender(config, "near");
	ck_assert_int_eq(mail->as.email.starttls, MAIL_STARTTLS_OPTIONAL);
	ck_assert(mail->give_up_ms == 86400000 && mail->timeout_ms == 15000 && mail->trust == 0);
	ck_assert(mail->rate_count == 10 && mail->rate_per_ms == 60000);
	mail = config_sender(config, "unit");
	ck_assert_int_eq(mail->as.email.starttls, MAIL_STARTTLS_OFF);
	ck_assert_str_eq(mail->as.email.password, "from the unit");
	hook = config_sender(config, "hook");
	ck_assert_str_eq(hook->as.webhook.url, "https://example.com/T0KEN");
	ck_assert_str_eq(hook->as.webhook.method, "PUT");
	ck_assert_uint_eq(hook->as.webhook.header_count, 1);
	ck_assert_str_eq(hook->as.webhook.headers[0].value, "b variable.example.com");
	ck_assert_mem_eq(hook->as.webhook.signing_secret, key, sizeof(key));
	ck_assert_uint_eq(hook->as.webhook.signing_secret_bytes, sizeof(key));
	hook = config_sender(config, "raw");
	ck_assert_str_eq(hook->as.webhook.method, "POST");
	ck_assert_str_eq(hook->as.webhook.signing_secret, "raw secret");
	ck_assert_uint_eq(hook->as.webhook.signing_secret_bytes, 10);
	ck_assert_int_eq(hook->rate_per_ms, 0);
	ck_assert_int_eq(config_sender(config, "log")->kind, SENDER_LOG);
	ck_assert_ptr_null(config_sender(config, "none"));
	config_free(config);
}
END_TEST

START_TEST(fills_routes)
{
	struct config *config = load_yaml("senders: {a: {type: log}, b: {type: log}}\n"
					  "routes:\n"
					  "- match: {group: [web, 'db*'], not: {label.env: lab}}\n"
					  "  send_to: [b]\n"
					  "  group_by: [label.team, location]\n"
					  "  group_wait: 0s\n"
					  "  remind: {critical: off, certificate: 7d}\n"
					  "  continue: yes\n"
					  "- {send_to: a, group_by: [], remind: off}\n");
	const struct route *route = &config->routes[0];

	ck_assert_uint_eq(config->route_count, 2);
	ck_assert(route->match.term_count == 1 && route->match.terms[0].glob_count == 2);
	ck_assert_uint_eq(route->match.without->term_count, 1);
	ck_assert_str_eq(route->send_to[0], "b");
	ck_assert_uint_eq(route->group_by_count, 2);
	ck_assert(route->group_by[0].key == GROUP_BY_LABEL && route->group_by[1].key == GROUP_BY_LOCATION);
	ck_assert_str_eq(route->group_by[0].label, "team");
	ck_assert(route->group_wait_ms == 0 && route->go_on);
	ck_assert(route->remind_ms[LEVEL_CRITICAL] == 0 && route->remind_ms[LEVEL_UNKNOWN] == 0);
	ck_assert_int_eq(route->remind_ms[LEVEL_WARNING], 86400000);
	ck_assert_int_eq(route->remind_certificate_ms, INT64_C(604800000));
	route = &config->routes[1];
	ck_assert(route->group_by_count == 0 && !route->go_on && route->group_wait_ms == 2000);
	ck_assert(route->remind_ms[LEVEL_WARNING] == 0 && route->remind_certificate_ms == 0);
	config_free(config);
	config = load_yaml("senders: {a: {type: log}, b: {type: log}}\n");
	route = &config->routes[0];
	ck_assert(config->route_count == 1 && route->send_to_count == 2 && route->match.term_count == 0);
	ck_assert(route->group_by_count == 2 && route->group_by[0].key == GROUP_BY_GROUP &&
		  route->group_by[1].key == GROUP_BY_CHECK);
	ck_assert(route->remind_ms[LEVEL_CRITICAL] == 14400000 && route->remind_ms[LEVEL_UNKNOWN] == 14400000);
	config_free(config);
}
END_TEST

START_TEST(same_files_share_one_trust_set)
{
	AUTO(string) char *absolute = path_of("ca.pem");
	AUTO(string) char *yaml = NULL;
	struct config *config;
	const struct target_config *targets;

	write_companions();
	yaml = mem_printf("defaults: {tls: {ca_file: ca.pem}}\n"
			  "targets:\n- a:1\n- b:1\n- {address: 'c:1', tls: {ca_file: [%s]}}\n"
			  "- {address: 'd:1', tls: {ca_file: [ca.pem, password]}}\n- {address: 'e:1', tls: off}\n",
			  absolute);
	config = load_yaml(yaml);
	targets = config->targets;
	ck_assert_uint_eq(config->trust_count, 3);
	ck_assert(targets[0].trust == 1 && targets[1].trust == 1 && targets[2].trust == 1);
	ck_assert(targets[3].trust == 2 && targets[4].trust == 0);
	ck_assert_str_eq(config->trust[1].files[0], absolute);
	ck_assert_uint_eq(config->trust[2].file_count, 2);
	ck_assert_str_eq(config->trust[1].path, "defaults.tls.ca_file");
	config_free(config);
}
END_TEST

START_TEST(identity_is_what_is_probed)
{
	static const char *const same[] = {
		"interval: 1m", "group: g", "labels: {a: b}", "alert: {after: 1}", "name: n",
		"tls: {verify: full}", "tls: {server_name: a}", "family: auto", "proxy: off",
		"proxy_protocol: off",
		"source: off", "resolve: []",
	};
	static const char *const other[] = {
		"tls: off", "tls: {verify: off}", "tls: {server_name: b}", "tls: {ca_file: ca.pem}",
		"family: ipv4",
		"resolve: 192.0.2.1", "source: eth0", "source: 192.0.2.9", "proxy: 'socks5://h'",
		"proxy: 'socks5h://h'",
		"proxy: 'socks5://h:1'", "proxy: 'socks5://u@h'", "proxy_protocol: v1", "proxy_protocol: v2",
		"proxy_protocol: {version: 2, source: '192.0.2.9:1', destination: '192.0.2.1:1'}",
		"exchange: [{send: a}]", "exchange: [{send: b}]",
	};
	struct config *base;

	write_companions();
	base = load_yaml("targets: [{address: 'a:1', tls: on}]\n");
	for (int i = 0; i < ROWS(same) + ROWS(other); i++) {
		bool is_same = i < ROWS(same);
		AUTO(string) char *yaml = mem_printf("defaults: {tls: on}\ntargets: [{address: 'a:1', %s}]\n",
						     is_same ? same[i] : other[i - ROWS(same)]);
		struct config *config = load_yaml(yaml);

		ck_assert_msg((config->targets[0].identity == base->targets[0].identity) == is_same, "%s", yaml);
		config_free(config);
	}
	config_free(base);
}
END_TEST

static void check_step(const struct config *config, size_t target, size_t step, enum exchange_kind kind,
		       const char *text)
{
	const struct exchange_config *exchange = &config->exchanges[config->targets[target].exchange];

	ck_assert_uint_lt(step, exchange->count);
	ck_assert_int_eq(exchange->steps[step].kind, kind);
	ck_assert_str_eq(exchange->steps[step].text, text);
}

START_TEST(fills_an_exchange)
{
	struct config *config = load_yaml("profiles:\n"
					  "  smtp:\n"
					  "    exchange:\n"
					  "    - expect: \"^220 (?<host>\\\\S+)\"\n"
					  "    - expect_not: '^5'\n"
					  "    - expect: '^2$'\n"
					  "    - send: \"EHLO ${capture.host} ${HOST} $${x}\\r\\n\"\n"
					  "    - send_hex: '00 ff'\n"
					  "    - expect_hex: 53\n"
					  "    - starttls: now\n"
					  "targets:\n"
					  "- {address: 'a:25', profile: smtp}\n"
					  "- {address: 'b:25', profile: smtp, tls: {verify: chain, server_name: n}}\n"
					  "- {address: 'c:22', exchange: [{expect: '^SSH'}]}\n"
					  "- {address: 'd:22', exchange: [{expect: ^SSH}]}\n"
					  "- {address: 'e:25', profile: smtp, exchange: []}\n"
					  "- 'f:1'\n"
					  "- {address: 'g:1', exchange: [{expect_not: a}, {send: b}, "
					  "{expect_hex: 00}]}\n");

	check_step(config, 0, 0, EXCHANGE_EXPECT, "^220 (?<host>\\S+)");
	check_step(config, 0, 1, EXCHANGE_EXPECT_NOT, "^5");
	check_step(config, 0, 2, EXCHANGE_EXPECT, "^2$");
	check_step(config, 0, 3, EXCHANGE_SEND, "EHLO ${capture.host} ${[}variable.example.com${]} $${x}\r\n");
	check_step(config, 0, 4, EXCHANGE_SEND_HEX, "00 ff");
	check_step(config, 0, 5, EXCHANGE_EXPECT_HEX, "53");
	check_step(config, 0, 6, EXCHANGE_STARTTLS, "now");
	ck_assert_str_eq(config->exchanges[config->targets[0].exchange].steps[0].path,
			 "profiles.smtp.exchange[0].expect");
	ck_assert_ptr_nonnull(strstr(config->exchanges[config->targets[0].exchange].steps[0].where,
				     "portbell.yaml:4:15"));
	ck_assert(config->targets[0].tls);
	ck_assert_str_eq(config->targets[0].server_name, "a");
	ck_assert_int_eq(config->targets[0].rules.verify, VERIFY_FULL);
	ck_assert_uint_eq(config->targets[1].exchange, config->targets[0].exchange);
	ck_assert(config->targets[1].tls);
	ck_assert_str_eq(config->targets[1].server_name, "n");
	ck_assert_int_eq(config->targets[1].rules.verify, VERIFY_CHAIN);
	check_step(config, 2, 0, EXCHANGE_EXPECT, "^SSH");
	check_step(config, 6, 2, EXCHANGE_EXPECT_HEX, "00");
	ck_assert(!config->targets[2].tls);
	ck_assert_uint_eq(config->targets[3].exchange, config->targets[2].exchange);
	ck_assert_uint_eq(config->targets[4].exchange, 0);
	ck_assert(!config->targets[4].tls);
	ck_assert_uint_eq(config->targets[5].exchange, 0);
	ck_assert_uint_eq(config->exchange_count, 4);
	config_free(config);
}
END_TEST

/* A target of settings, and what it became or what is wrong with them. */
static const struct {
	const char *what;
	struct setting settings[5];
	const char *report; /* "": it is good */
	bool tls;
	enum starttls starttls;
	int64_t timeout_ms;
	size_t steps;
} singles[] = {
	{ "an address is enough", { { "address", NULL, "a.example:25", "a.example:25", false } }, "", false, STARTTLS_NONE,
	  10000, 0 },
	{ "a profile counts", { { "address", NULL, "a.example:25", "a.example:25", false },
				{ "profile", NULL, "web", "--profile", false } }, "", true, STARTTLS_NONE, 3000, 0 },
	{ "a setting wins over it", { { "address", NULL, "a.example:25", "a.example:25", false },
				      { "profile", NULL, "web", "--profile", false },
				      { "tls", NULL, "off", "--no-tls", false },
				      { "timeout", NULL, "4s", "--timeout", false } }, "", false, STARTTLS_NONE, 4000, 0 },
	{ "a weak one counts where nobody says anything", { { "address", NULL, "a.example:25", "a.example:25", false },
							    { "tls", NULL, "on", "port", true },
							    { "tls.starttls", NULL, "smtp", "port", true } },
	  "", true, STARTTLS_SMTP, 10000, 0 },
	{ "but not against a profile", { { "address", NULL, "a.example:25", "a.example:25", false },
					 { "profile", NULL, "web", "--profile", false },
					 { "tls", NULL, "on", "port", true },
					 { "tls.starttls", NULL, "smtp", "port", true } },
	  "", true, STARTTLS_NONE, 3000, 0 },
	{ "steps are a list", { { "address", NULL, "a.example:25", "a.example:25", false },
				{ "exchange", "expect", "^220", "--expect", false },
				{ "exchange", "send", "QUIT\r\n", "--send", false } }, "", false, STARTTLS_NONE, 10000, 2 },
	{ "even one alone", { { "address", NULL, "a.example:25", "a.example:25", false },
			      { "exchange", "expect", "^220", "--expect", false } }, "", false, STARTTLS_NONE, 10000, 1 },
	{ "mistakes stand where they were said", { { "address", NULL, "a.example:99999", "a.example:99999", false },
						   { "timeout", NULL, "5", "--timeout", false },
						   { "profile", NULL, "wep", "--profile", false } },
	  "--profile: profile: there is no profile \"wep\" (did you mean \"web\"?)\n"
	  "a.example:99999: address: the port must be a number from 1 to 65535\n"
	  "--timeout: timeout: a duration needs a unit: write 5s if seconds are meant (ms s m h d w y)\n",
	  false, STARTTLS_NONE, 0, 0 },
	{ "both of a pair are looked at", { { "address", NULL, "a.example:25", "a.example:25", false },
					    { "interval", NULL, "2s", "--interval", false },
					    { "timeout", NULL, "2s", "--timeout", false } },
	  "--timeout: timeout: the timeout (2s) must be shorter than the interval (2s)\n", false, STARTTLS_NONE, 0, 0 },
};

START_TEST(makes_a_target_of_settings)
{
	const struct config_env env = { .variable = variable };
	AUTO(string) char *file = path_of("portbell.yaml");
	AUTO(string) char *text = NULL;
	struct report report = { 0 };
	struct config *config;
	size_t count = 0;

	/* What is wrong with the rest of the file does not matter. */
	write_file("portbell.yaml", "defaults: {send_to: [mail]}\nprofiles: {web: {tls: on, timeout: 3s}}\n"
				    "senders: {mail: {type: email, password_file: gone}}\ntargets: [{name: x}]\n");
	while (count < 5 && singles[_i].settings[count].key != NULL)
		count++;
	config = config_load_target(file, singles[_i].settings, count, &env, &report);
	text = report_text(&report);
	ck_assert_str_eq(text, singles[_i].report);
	ck_assert_int_eq(config != NULL, singles[_i].report[0] == '\0');
	if (config == NULL)
		return;
	ck_assert_uint_eq(config->target_count, 1);
	ck_assert_int_eq(config->targets[0].tls, singles[_i].tls);
	ck_assert_int_eq(config->targets[0].starttls, singles[_i].starttls);
	ck_assert_int_eq(config->targets[0].timeout_ms, singles[_i].timeout_ms);
	ck_assert_uint_eq(config->exchanges[config->targets[0].exchange].count, singles[_i].steps);
	config_free(config);
}
END_TEST

START_TEST(includes_files)
{
	AUTO(string) char *targets = path_of("targets.d");
	AUTO(string) char *text = NULL;
	struct config *config;

	mkdir(targets, 0700);
	write_file("portbell.yaml", "include: [targets.d/*.yaml, targets.d/b.yaml, portbell.yaml, 'none/*.yaml']\n"
				    "defaults: {interval: 1m, group: main}\n"
				    "targets: [{address: 'm:1', profile: p}]\n");
	write_file("targets.d/a.yaml", "defaults: {interval: 2m}\ntargets: ['a:1']\n"
				       "profiles: {p: {group: from-a}}\n");
	write_file("targets.d/b.yaml", "targets: [{address: 'b:1', send_to: s}]\nsenders: {s: {type: log}}\n");
	write_file("targets.d/.hidden.yaml", "nonsense: [\n");
	config = load(false, &text);
	ck_assert_msg(config != NULL, "%s", text);
	ck_assert_uint_eq(config->target_count, 3);
	ck_assert_str_eq(config->targets[0].group, "from-a");
	ck_assert_int_eq(config->targets[0].interval_ms, 60000);
	ck_assert_int_eq(config->targets[1].interval_ms, 120000);
	ck_assert_str_eq(config->targets[1].group, "main");
	ck_assert_int_eq(config->targets[2].interval_ms, 60000);
	config_free(config);
}
END_TEST

START_TEST(reports_the_mistakes_of_all_files)
{
	AUTO(string) char *targets = path_of("targets.d");
	AUTO(string) char *text = NULL;

	mkdir(targets, 0700);
	write_file("portbell.yaml", "include: [targets.d/*.yaml]\n"
				    "targets: ['x', {address: 'a:1', profile: lost}]\n"
				    "senders: {s: {type: log}}\n");
	write_file("targets.d/a.yaml", "include: [b.yaml]\nroutes: []\ntargets: ['a:1', 'y']\n");
	write_file("targets.d/b.yaml", "senders: {s: {type: log}}\nprofiles: {p: {interval: x}}\n");
	write_file("targets.d/c.yaml", "profiles: {lost: {}\n");
	ck_assert_ptr_null(load(false, &text));
	ck_assert_str_eq(text, "targets.d/a.yaml:1:1: include: may not stand in an included file\n"
			       "targets.d/a.yaml:2:1: routes: may not stand in an included file\n"
			       "targets.d/c.yaml:2:1: not valid YAML: did not find expected ',' or '}' while "
			       "parsing a flow mapping (begun in line 1)\n"
			       "targets.d/b.yaml:1:11: senders.s: there is a sender of this name at "
			       "portbell.yaml:3:11\n"
			       "targets.d/b.yaml:2:26: profiles.p.interval: not a duration: write a whole number "
			       "and a unit, like 250ms 30s 5m 4h 7d 2w 1y\n"
			       "portbell.yaml:2:11: targets[0].address: a port is missing: host:port\n"
			       "targets.d/a.yaml:3:11: targets[0]: there is a target of the name \"a:1\" at "
			       "portbell.yaml:2:16\n"
			       "targets.d/a.yaml:3:18: targets[1].address: a port is missing: host:port\n");
}
END_TEST

START_TEST(includes_from_a_directory_with_a_strange_name)
{
	AUTO(string) char *strange = path_of("a[b] *c");
	AUTO(string) char *file = path_of("a[b] *c/portbell.yaml");
	struct config_env env = { .variable = variable };
	struct report report = { 0 };
	struct config *config;

	mkdir(strange, 0700);
	write_file("a[b] *c/portbell.yaml", "include: ['t*.yaml']\n");
	write_file("a[b] *c/t1.yaml", "targets: ['a:1']\n");
	config = config_load(file, &env, &report);
	ck_assert(config != NULL && config->target_count == 1);
	config_free(config);
	report_done(&report);
}
END_TEST

static void expect_refused(const char *part)
{
	AUTO(string) char *text = NULL;

	ck_assert_ptr_null(load(false, &text));
	ck_assert_msg(strstr(text, part) != NULL, "%s", text);
}

START_TEST(caps_an_exchange)
{
	AUTO(str) struct str yaml = { 0 };
	struct config *config;

	str_add(&yaml, "targets:\n- address: a:1\n  exchange:\n");
	for (int i = 0; i < 100; i++)
		str_add(&yaml, "  - send: a\n");
	config = load_yaml(yaml.data);
	ck_assert_uint_eq(config->exchanges[config->targets[0].exchange].count, 100);
	config_free(config);
	str_add(&yaml, "  - send: a\n");
	write_file("portbell.yaml", yaml.data);
	expect_refused("targets[0].exchange: has more than 100 entries");
	str_clear(&yaml);
	str_add(&yaml, "targets:\n- address: a:1\n  exchange:\n  - expect: '");
	for (int i = 0; i < 2001; i++)
		str_add_char(&yaml, 'a');
	str_add(&yaml, "'\n");
	write_file("portbell.yaml", yaml.data);
	expect_refused("targets[0].exchange[0].expect: is longer than 2000 bytes");
}
END_TEST

START_TEST(refuses_files_that_others_can_write)
{
	AUTO(string) char *path = path_of("portbell.yaml");

	write_bytes("portbell.yaml", "", 0, 0602);
	expect_refused("others than root and the daemon's user can write to it");
	if (geteuid() == 0) {
		write_file("portbell.yaml", "");
		ck_assert_int_eq(chown(path, 0, 4242), 0);
		ck_assert_int_eq(chmod(path, 0660), 0);
		expect_refused("others than root and the daemon's user can write to it");
		ck_assert_int_eq(chown(path, 4242, 0), 0);
		ck_assert_int_eq(chmod(path, 0600), 0);
		expect_refused("belongs to user 4242");
	}
	unlink(path);
	expect_refused("portbell.yaml: cannot be opened: No such file or directory");
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	expect_refused("portbell.yaml: is not a regular file");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	expect_refused("portbell.yaml: is not a regular file");
	rmdir(path);
}
END_TEST

START_TEST(reads_a_byte_order_mark_but_no_nul)
{
	struct config *config = load_yaml("\xef\xbb\xbflocation: a\n");

	ck_assert_str_eq(config->location, "a");
	config_free(config);
	write_bytes("portbell.yaml", "location: a\0b\n", 14, 0600);
	expect_refused("portbell.yaml: holds a NUL byte");
	write_bytes("portbell.yaml", "\xff\xfel\0:\0a\0", 8, 0600);
	expect_refused("portbell.yaml: holds a NUL byte");
}
END_TEST

static char *repeat(const char *before, const char *text, size_t count, const char *after)
{
	struct str all = { 0 };

	str_add(&all, before);
	for (size_t i = 0; i < count; i++)
		str_add(&all, text);
	str_add(&all, after);
	return str_take(&all);
}

static const struct {
	const char *before;
	const char *text;
	size_t count;
	const char *after;
	const char *part; /* NULL: fine */
} caps[] = {
	{ "x-a: ", "[", 100000, "", "nested deeper than 16" },
	{ "", "- ", 100000, "", "nested deeper than 16" },
	{ "x-a: ", "{a: ", 100000, "", "nested deeper than 16" },
	{ "", "? ", 100000, "", "a key must be a text" },
	{ "x-a: [[[[[[[[[[[[[[[", "", 0, "]]]]]]]]]]]]]]]", NULL },
	{ "x-a: [[[[[[[[[[[[[[[[", "", 0, "]]]]]]]]]]]]]]]]", "nested deeper than 16" },
	{ "x-a: &a [[[[[[[[]]]]]]]]\nx-b: [[[[[[[", "*a", 1, "]]]]]]]", NULL },
	{ "x-a: &a [[[[[[[[]]]]]]]]\nx-b: [[[[[[[[", "*a", 1, "]]]]]]]]", "nested deeper than 16" },
	{ "x-a: &a b\nx-b: [", "*a, ", 1000, "]\n", NULL },
	{ "x-a: &a b\nx-b: [", "*a, ", 1001, "]\n", "aliases stand for more than 1000 values" },
	{ "x-a: &a [b,b,b,b,b,b,b,b,b]\nx-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
	  "x-c: &c [*b,*b,*b,*b,*b,*b,*b]\nx-d: [",
	  "*c,", 9, "]\n", "aliases stand for more than 1000 values" },
	{ "", "%TAG !a! tag:x,2000:\n", 17, "--- {}\n", "has more than 16 %TAG directives" },
	{ "targets: [{address: 'a:1', group: ", "g", 200, "}]", NULL },
	{ "targets: [{address: 'a:1', group: ", "g", 201, "}]", "is longer than 200 bytes" },
	{ "targets: [{address: 'a:1', name: ", "n", 120, "}]", NULL },
	{ "targets: [{address: 'a:1', name: ", "n", 121, "}]", "is longer than 120 characters" },
	{ "targets: [{address: 'a:1', name: ", "\xc3\xa9", 120, "}]", NULL },
	{ "targets: [{address: 'a:1', description: ", "d", 4000, "}]", NULL },
	{ "targets: [{address: 'a:1', description: ", "d", 4001, "}]", "is longer than 4000 bytes" },
	{ "targets: [{address: 'a:1', runbook: ", "r", 2001, "}]", "is longer than 2000 bytes" },
	{ "targets: [{address: '", "a.", 60, "b:1'}]", "the address is too long to be the name" },
	{ "location: ", "l", 120, "", NULL },
	{ "location: ", "l", 121, "", "is longer than 120 bytes" },
	{ "resolver: {servers: [", "192.0.2.1,", 16, "]}", NULL },
	{ "resolver: {servers: [", "192.0.2.1,", 17, "]}", "has more than 16 entries" },
	{ "daemon: {control_socket: /", "s", 106, "}", NULL },
	{ "daemon: {control_socket: /", "s", 107, "}", "is longer than 107 bytes" },
};

START_TEST(stops_at_its_caps)
{
	AUTO(string) char *yaml = repeat(caps[_i].before, caps[_i].text, caps[_i].count, caps[_i].after);

	write_file("portbell.yaml", yaml);
	if (caps[_i].part != NULL)
		expect_refused(caps[_i].part);
	else
		config_free(load_yaml(yaml));
}
END_TEST

START_TEST(counts_many_keys_and_names)
{
	struct str yaml = { 0 };
	struct config *config;

	str_add(&yaml, "profiles:\n");
	for (int i = 0; i < 2000; i++)
		str_addf(&yaml, "  p%d: {interval: %ds}\n", i, i + 1);
	str_add(&yaml, "targets:\n");
	for (int i = 0; i < 2000; i++)
		str_addf(&yaml, "- {name: t%d, address: 'a:1', profile: p%d}\n", i, i);
	config = load_yaml(yaml.data);
	ck_assert_uint_eq(config->target_count, 2000);
	for (int i = 0; i < 2000; i++)
		ck_assert_int_eq(config->targets[i].interval_ms, (i + 1) * 1000);
	config_free(config);
	str_add(&yaml, "- {name: t77, address: 'b:1'}\n");
	write_file("portbell.yaml", yaml.data);
	expect_refused("there is a target of the name \"t77\"");
	str_done(&yaml);
}
END_TEST

/* A configuration that says something with every kind of value. */
static const char rich[] =
	"location: 'berlin: 1'\n"
	"defaults: {interval: 1m, labels: {env: prod}}\n"
	"profiles:\n"
	"  https: {tls: on, latency: {warning: 800ms, phase: connect},\n"
	"    certificate: {warning: 30d, critical: [7d, 5%], weak: critical, changes: all,\n"
	"      revocation: crl, revocation_private: on, issuer: '^R[0-9]$',\n"
	"      pins: sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=}}\n"
	"targets:\n"
	"- www.example.com:80\n"
	"- name: \"shop \\\"x\\\" \xc3\xa9 \\\\ # ${LIST}\"\n"
	"  address: shop.example.com:443\n"
	"  profile: https\n"
	"  group: 'on'\n"
	"  labels: {team: '[core]', odd: '$${x}', t: 'null', n: '1'}\n"
	"  description: |\n"
	"    The shop's front door\n"
	"    - second line: $${y}\n"
	"  runbook: https://wiki.example.com/shop?a=b&c=d\n"
	"  tls: {ca_file: [ca.pem, password], verify: chain, client_certificate_file: ca.pem,\n"
	"    client_key_file: password, client_key_password_file: password, max_version: 1.3,\n"
	"    ciphers: 'ECDHE:!RC4', alpn: [h2, b],\n"
	"    require: {version: 1.2, alpn: h2, level: critical}}\n"
	"  send_to: [mail]\n"
	"- {address: '[2001:db8::1]:993', tls: off, latency: off, certificate: off, send_to: [],\n"
	"  alert: {after: 1}}\n"
	"- {address: 'way:1', family: ipv4, resolve: [192.0.2.7, '2001:db8::7'], source: eth0,\n"
	"  proxy: 'socks5h://u%40x@[2001:db8::1]:1080', proxy_password_file: password,\n"
	"  proxy_protocol: {version: 2, source: '[2001:db8::9]:1', destination: '[2001:db8::1]:443'}}\n"
	"- address: mail.example.com:25\n"
	"  exchange:\n"
	"  - expect: \"^220 (?<host>\\\\S+) [\\\"']$\"\n"
	"  - {expect_not: '^5'}\n"
	"  - {expect: '^${HOST} $${x}'}\n"
	"  - send: \"EHLO ${capture.host} ${LIST} $${capture.host}\\r\\n\\t\\x01\\xff\"\n"
	"  - expect_hex: \"00 ff\"\n"
	"  - {send_hex: 00}\n"
	"  - starttls: now\n"
	"senders:\n"
	"  mail: {type: email, server: 'smtp://127.0.0.1:25', from: 'A \"B\" <a@b>', to: [c@d], username: u,\n"
	"    password_file: password}\n"
	"  'a: hook': {type: webhook, url: 'https://u:T0KEN@example.com/T0KEN?a=T0KEN',\n"
	"    headers: {Authorization: T0KEN}, signing_secret_file: whsec, rate: off}\n"
	"  other: {type: webhook, url_file: url, give_up: 10m}\n"
	"routes:\n"
	"- {match: {level: [critical], not: {group: 'lab*', label.env: '?'}}, send_to: ['a: hook'],\n"
	"  continue: on}\n"
	"- {send_to: mail, remind: {critical: off, warning: 2d}, group_by: [target, label.team], group_wait: 0s}\n"
	"resolver: {servers: ['[2001:db8::53]:5353', 192.0.2.53], cache: off}\n"
	"daemon: {workers: 3, control_socket: sock, state_directory: /var/lib/x, log_level: debug}\n";

static char *print(void)
{
	AUTO(string) char *file = path_of("portbell.yaml");
	struct config_env env = { .variable = variable };
	struct report report = { 0 };
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);
	bool fine = config_print(file, &env, out, &report);
	AUTO(string) char *problems = report_text(&report);

	fclose(out);
	ck_assert_msg(fine, "%s", problems);
	return text;
}

/* Without the comments that say where values come from. No value of `rich` has " # " behind its end. */
static void strip_origins(char *text)
{
	char *to = text;

	for (char *line = text; *line != '\0';) {
		char *end = strchrnul(line, '\n');
		char *origin = NULL;

		for (char *p = strstr(line, " # "); p != NULL && p < end; p = strstr(p + 1, " # "))
			origin = p;
		memmove(to, line, (size_t)((origin != NULL ? origin : end) - line));
		to += (origin != NULL ? origin : end) - line;
		*to++ = '\n';
		line = *end != '\0' ? end + 1 : end;
	}
	*to = '\0';
}

START_TEST(prints_what_loads_to_the_same)
{
	AUTO(string) char *first = NULL;
	AUTO(string) char *second = NULL;
	struct config *before;
	struct config *after;

	write_companions();
	before = load_yaml(rich);
	first = print();
	after = load_yaml(first);
	second = print();
	strip_origins(first);
	strip_origins(second);
	ck_assert_str_eq(first, second);
	ck_assert_ptr_null(strstr(first, "T0KEN"));
	ck_assert_ptr_null(strstr(first, "pa$$word"));
	ck_assert_ptr_nonnull(strstr(first, "url: https://example.com/<hidden>\n"));
	ck_assert_ptr_nonnull(strstr(first, "headers: {Authorization: <hidden>}\n"));
	ck_assert_uint_eq(before->target_count, after->target_count);
	for (size_t i = 0; i < before->target_count; i++) {
		AUTO(string) char *was = describe(&before->targets[i]);
		AUTO(string) char *is = describe(&after->targets[i]);

		ck_assert_str_eq(before->targets[i].name, after->targets[i].name);
		ck_assert_uint_eq(before->targets[i].identity, after->targets[i].identity);
		ck_assert_uint_eq(before->targets[i].label_count, after->targets[i].label_count);
		ck_assert_str_eq(was, is);
		ck_assert(str_equal(before->targets[i].proxy.password, after->targets[i].proxy.password));
		ck_assert(str_equal(before->targets[i].description, after->targets[i].description));
	}
	ck_assert_str_eq(config_sender(after, "mail")->as.email.password, "pa$$word");
	ck_assert_str_eq(config_sender(after, "other")->as.webhook.url, "https://example.com/T0KEN");
	ck_assert_str_eq(before->daemon.control_socket, after->daemon.control_socket);
	config_free(before);
	config_free(after);
}
END_TEST

START_TEST(prints_where_values_come_from)
{
	AUTO(string) char *text = NULL;

	write_file("portbell.yaml", "defaults: {interval: 1m}\ntargets: ['a:1']\n");
	text = print();
	ck_assert_ptr_nonnull(strstr(text, "portbell.yaml:1:22\n"));
	ck_assert_ptr_nonnull(strstr(text, "  - name: a:1 # default\n"));
	ck_assert_ptr_nonnull(strstr(text, "    timeout: 10s # default\n"));
	ck_assert_ptr_nonnull(strstr(text, "senders: {}\n"));
	ck_assert_ptr_nonnull(strstr(text, "  - send_to: [] # default\n"));
}
END_TEST

/* Loads whatever comes; only crashes and wrong counts can fail. */
static void load_any(const char *text, size_t bytes)
{
	AUTO(string) char *report = NULL;

	write_bytes("portbell.yaml", text, bytes, 0600);
	config_free(load(false, &report));
}

START_TEST(survives_mutations)
{
	static const char marks[] = "{}[]:,-?&*!|>'\"%@`#<\n\t ~${}\\\x80";
	const char *given = getenv("CHECK_CONFIG_SEED");
	unsigned int seed = given != NULL ? (unsigned int)strtoul(given, NULL, 10) : (unsigned int)time(NULL);
	char text[sizeof(rich) + 1];

	fprintf(stderr, "CHECK_CONFIG_SEED=%u\n", seed);
	write_companions();
	for (int i = 0; i < 300; i++) {
		int changes = 1 + rand_r(&seed) % 4;
		size_t bytes = sizeof(rich) - 1;

		memcpy(text, rich, sizeof(rich));
		while (changes-- > 0) {
			size_t at = (size_t)rand_r(&seed) % bytes;
			size_t from = (size_t)rand_r(&seed) % bytes;
			size_t length = (size_t)rand_r(&seed) % 40;

			if (length > bytes - at)
				length = bytes - at;
			if (length > bytes - from)
				length = bytes - from;
			switch (rand_r(&seed) % 4) {
			case 0:
				text[at] = marks[(size_t)rand_r(&seed) % (sizeof(marks) - 1)];
				break;
			case 1:
				memmove(text + at, text + from, length);
				break;
			case 2:
				memmove(text + at, text + at + length, bytes - at - length);
				bytes -= length;
				break;
			default:
				text[at] = (char)(rand_r(&seed) % 256);
				break;
			}
		}
		load_any(text, bytes);
	}
}
END_TEST

START_TEST(survives_every_cut)
{
	write_companions();
	for (size_t bytes = 0; bytes < sizeof(rich) - 1; bytes++)
		load_any(rich, bytes);
}
END_TEST

/* Every row has its line of help and its entry in the manual, which lies in the source tree. */
START_TEST(every_key_is_explained)
{
	const struct section *const sections[] = {
		&schema_top, &schema_target, &schema_route, &schema_senders[SENDER_EMAIL],
		&schema_senders[SENDER_WEBHOOK], &schema_senders[SENDER_LOG],
	};
	const char *source = getenv("srcdir");
	AUTO(string) char *path = mem_printf("%s/conf/portbell.yaml.5", source != NULL ? source : ".");
	AUTO(string) char *manual = mem_alloc(200000);
	FILE *file = fopen(path, "r");

	if (file != NULL) {
		ck_assert_uint_gt(fread(manual, 1, 199999, file), 0);
		fclose(file);
	}
	for (int i = 0; i < ROWS(sections); i++) {
		for (size_t j = 0; j < sections[i]->count; j++) {
			const struct key *key = &sections[i]->keys[j];
			const char *dot = strchr(key->name, '.');
			AUTO(string) char *entry = mem_printf(".It Ic %s : ", dot != NULL ? dot + 1 : key->name);

			ck_assert_msg(key->help != NULL, "%s", key->name);
			ck_assert_msg(file == NULL || strstr(manual, entry) != NULL, "%s", key->name);
		}
	}
}
END_TEST

static Suite *config_suite(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");

	tcase_add_unchecked_fixture(tcase, directory_make, directory_remove);
	tcase_add_loop_test(tcase, reports_each_mistake_with_its_place, 0, ROWS(mistakes));
	tcase_add_loop_test(tcase, reports_notes_and_loads, 0, ROWS(notes));
	tcase_add_test(tcase, says_when_there_is_no_credentials_directory);
	tcase_add_test(tcase, gives_a_target_its_defaults);
	tcase_add_test(tcase, takes_an_empty_file);
	tcase_add_loop_test(tcase, merges_defaults_profiles_and_own_keys, 0, ROWS(merges));
	tcase_add_test(tcase, lists_replace);
	tcase_add_test(tcase, follows_yaml_merge_keys);
	tcase_add_test(tcase, variables_are_data);
	tcase_add_test(tcase, works_out_what_is_not_given);
	tcase_add_loop_test(tcase, addresses_are_of_the_family, 0, ROWS(families));
	tcase_add_test(tcase, fills_ways);
	tcase_add_test(tcase, an_inherited_secret_is_noted_once);
	tcase_add_test(tcase, fills_senders);
	tcase_add_test(tcase, fills_routes);
	tcase_add_test(tcase, same_files_share_one_trust_set);
	tcase_add_test(tcase, identity_is_what_is_probed);
	tcase_add_test(tcase, fills_an_exchange);
	tcase_add_test(tcase, caps_an_exchange);
	tcase_add_loop_test(tcase, makes_a_target_of_settings, 0, ROWS(singles));
	tcase_add_test(tcase, includes_files);
	tcase_add_test(tcase, reports_the_mistakes_of_all_files);
	tcase_add_test(tcase, includes_from_a_directory_with_a_strange_name);
	tcase_add_test(tcase, refuses_files_that_others_can_write);
	tcase_add_test(tcase, reads_a_byte_order_mark_but_no_nul);
	tcase_add_loop_test(tcase, stops_at_its_caps, 0, ROWS(caps));
	tcase_add_test(tcase, counts_many_keys_and_names);
	tcase_add_test(tcase, prints_what_loads_to_the_same);
	tcase_add_test(tcase, prints_where_values_come_from);
	tcase_add_test(tcase, every_key_is_explained);
	tcase_add_test(tcase, survives_mutations);
	tcase_add_test(tcase, survives_every_cut);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(config_suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
