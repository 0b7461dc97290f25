/* SPDX-License-Identifier: MIT */
/* Dialogues as tables: what the server says in, what we say and how it ends out; each whole and byte by byte. */
#include "lib/proto/starttls.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

AUTO_DEFINE(starttls, struct starttls_talk *, starttls_free)

struct said {
	const char *data;
	size_t bytes;
};

#define S(text)                           \
	{                                 \
		"" text, sizeof(text) - 1 \
	} /* NULs and all */

struct dialogue {
	const char *name;
	enum starttls protocol;
	struct said server[10]; /* what it says at a time, each after what we said to the one before */
	struct said client;     /* all that we say */
	enum reason reason;     /* OK: the go-ahead; COUNT: it is not over */
	const char *text;       /* COUNT: what it waits for */
};

#define AHEAD       REASON_OK, ""
#define NOT_OFFERED REASON_STARTTLS_NOT_OFFERED
#define REFUSED     REASON_STARTTLS_REFUSED
#define STRANGE     REASON_STARTTLS_PROTOCOL
#define WAITS       REASON_COUNT
#define EARLY       "the server answered before it was asked"

#define EHLO          "EHLO mon.test\r\n"
#define EHLO_STARTTLS EHLO "STARTTLS\r\n"

static const struct dialogue replies[] = {
	/* smtp */
	{ "smtp", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250-SIZE 1\r\n250 STARTTLS\r\n"),
	  S("220 go\r\n") }, S(EHLO_STARTTLS), AHEAD },
	{ "smtp in many lines", STARTTLS_SMTP, { S("220-peer\r\n220 hi\r\n"),
	  S("250-peer\r\n250-starttls\r\n250 X\r\n"), S("220-go\n220 now\n") }, S(EHLO_STARTTLS), AHEAD },
	{ "smtp, but TLS from the first byte", STARTTLS_SMTP, { S("\x16\x03\x03\0\x04") }, S(""), STRANGE,
	  "greeting: the server speaks TLS from the first byte: tls without starttls?" },
	{ "smtp without it", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250-SIZE 1\r\n250 HELP\r\n") },
	  S(EHLO), NOT_OFFERED, "EHLO: no STARTTLS among: SIZE 1 HELP" },
	{ "smtp without any", STARTTLS_SMTP, { S("220 peer\r\n"), S("250 STARTTLS\r\n") }, S(EHLO), NOT_OFFERED,
	  "EHLO: no STARTTLS among: " },
	{ "smtp with something like it", STARTTLS_SMTP, { S("220 peer\r\n"),
	  S("250-peer\r\n250-STARTTLSX\r\n250 XSTARTTLS\r\n") }, S(EHLO), NOT_OFFERED,
	  "EHLO: no STARTTLS among: STARTTLSX XSTARTTLS" },
	{ "smtp without EHLO", STARTTLS_SMTP, { S("220 peer\r\n"), S("502 what?\r\n") }, S(EHLO), NOT_OFFERED,
	  "EHLO: 502 what?" },
	{ "smtp, not now", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250 STARTTLS\r\n"),
	  S("454 TLS not available\r\n") }, S(EHLO_STARTTLS), REFUSED, "STARTTLS: 454 TLS not available" },
	{ "smtp listed, then unknown", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250 STARTTLS\r\n"),
	  S("500-no\r\n500 such\x1b[2J\r\n") }, S(EHLO_STARTTLS), REFUSED, "STARTTLS: 500 no such\\x1b[2J" },
	{ "smtp greets with a no", STARTTLS_SMTP, { S("554 go away\r\n") }, S(""), REFUSED,
	  "greeting: 554 go away" },
	{ "smtp is too busy", STARTTLS_SMTP, { S("421-too many\r\n421 of you\r\n") }, S(""), REFUSED,
	  "greeting: 421 too many of you" },
	{ "smtp does not want us", STARTTLS_SMTP, { S("220 peer\r\n"), S("550 listed\r\n") }, S(EHLO), REFUSED,
	  "EHLO: 550 listed" },
	{ "smtp puts EHLO off", STARTTLS_SMTP, { S("220 peer\r\n"), S("421 later\r\n") }, S(EHLO), REFUSED,
	  "EHLO: 421 later" },
	{ "smtp, odd greeting", STARTTLS_SMTP, { S("354 eh\r\n") }, S(""), STRANGE, "greeting: not SMTP: 354 eh" },
	{ "smtp is ssh", STARTTLS_SMTP, { S("SSH-2.0-OpenSSH_9.2\r\n") }, S(""), STRANGE,
	  "greeting: not SMTP: SSH-2.0-OpenSSH_9.2" },
	{ "smtp with a NUL", STARTTLS_SMTP, { S("220 a\0b\r\n") }, S(""), STRANGE,
	  "greeting: not SMTP: 220 a\\x00b" },
	{ "smtp answers early", STARTTLS_SMTP, { S("220 peer\r\n250-peer\r\n250 STARTTLS\r\n") }, S(""), STRANGE,
	  "EHLO: " EARLY },
	{ "smtp goes ahead early", STARTTLS_SMTP, { S("220 peer\r\n"),
	  S("250-peer\r\n250 STARTTLS\r\n220 go\r\n") }, S(EHLO), STRANGE, "STARTTLS: " EARLY },
	{ "smtp refuses early", STARTTLS_SMTP, { S("220 peer\r\n421 shutting down\r\n") }, S(""), REFUSED,
	  "EHLO: 421 shutting down" },
	{ "smtp with a reply put in", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250 STARTTLS\r\n"),
	  S("220 go\r\n250 AUTH\r\n") }, S(EHLO_STARTTLS), STRANGE,
	  "STARTTLS: 10 bytes after the go-ahead, before TLS: injected? 250 AUTH\\x0d\\x0a" },
	{ "smtp with a byte put in", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-peer\r\n250 STARTTLS\r\n"),
	  S("220 go\r\n"), S("\n") }, S(EHLO_STARTTLS), STRANGE,
	  "STARTTLS: 1 byte after the go-ahead, before TLS: injected? \\x0a" },
	{ "smtp is silent", STARTTLS_SMTP, { S("") }, S(""), WAITS, "greeting" },
	{ "smtp stops in the list", STARTTLS_SMTP, { S("220 peer\r\n"), S("250-STARTTLS\r\n250-ST") }, S(EHLO),
	  WAITS, "EHLO" },
	{ "smtp stops before the go-ahead's end", STARTTLS_SMTP, { S("220 peer\r\n"),
	  S("250-peer\r\n250 STARTTLS\r\n"), S("220 go") }, S(EHLO_STARTTLS), WAITS, "STARTTLS" },

	/* lmtp */
	{ "lmtp", STARTTLS_LMTP, { S("220 peer\r\n"), S("250-peer\r\n250 STARTTLS\r\n"), S("220 go\r\n") },
	  S("LHLO mon.test\r\nSTARTTLS\r\n"), AHEAD },
	{ "lmtp without it", STARTTLS_LMTP, { S("220 peer\r\n"), S("250-peer\r\n250 PIPELINING\r\n") },
	  S("LHLO mon.test\r\n"), NOT_OFFERED, "LHLO: no STARTTLS among: PIPELINING" },
	{ "lmtp is smtp", STARTTLS_LMTP, { S("220 peer\r\n"), S("500 what?\r\n") }, S("LHLO mon.test\r\n"),
	  NOT_OFFERED, "LHLO: 500 what?" },

	/* ftp */
	{ "ftp", STARTTLS_FTP, { S("220 peer\r\n"), S("234 go\r\n") }, S("AUTH TLS\r\n"), AHEAD },
	{ "ftp with much to say", STARTTLS_FTP,
	  { S("220-Welcome\r\nto 220-ftp\r\n 221 x\r\n220-so\r\n\r\n220 there\r\n"),
	  S("234-go\r\n\r\n234 now\r\n") }, S("AUTH TLS\r\n"), AHEAD },
	{ "ftp is not ready yet", STARTTLS_FTP, { S("120 ready in 1 minute\r\n"), S("220 peer\r\n"),
	  S("234 go\r\n") }, S("AUTH TLS\r\n"), AHEAD },
	{ "ftp that does not know it", STARTTLS_FTP, { S("220 peer\r\n"), S("500 AUTH not understood\r\n") },
	  S("AUTH TLS\r\n"), NOT_OFFERED, "AUTH TLS: 500 AUTH not understood" },
	{ "ftp that wants a login first", STARTTLS_FTP, { S("220 peer\r\n"), S("530 Please login\r\n") },
	  S("AUTH TLS\r\n"), NOT_OFFERED, "AUTH TLS: 530 Please login" },
	{ "ftp of other kinds", STARTTLS_FTP, { S("220 peer\r\n"), S("504 no TLS\r\n") }, S("AUTH TLS\r\n"),
	  NOT_OFFERED, "AUTH TLS: 504 no TLS" },
	{ "ftp, not now", STARTTLS_FTP, { S("220 peer\r\n"), S("431 unable\r\n") }, S("AUTH TLS\r\n"), REFUSED,
	  "AUTH TLS: 431 unable" },
	{ "ftp, against the rules", STARTTLS_FTP, { S("220 peer\r\n"), S("534 policy\r\n") }, S("AUTH TLS\r\n"),
	  REFUSED, "AUTH TLS: 534 policy" },
	{ "ftp is full", STARTTLS_FTP, { S("421 too many\r\n") }, S(""), REFUSED, "greeting: 421 too many" },
	{ "ftp wants more", STARTTLS_FTP, { S("220 peer\r\n"), S("334 ADAT\r\n") }, S("AUTH TLS\r\n"), STRANGE,
	  "AUTH TLS: not FTP: 334 ADAT" },
	{ "ftp is http", STARTTLS_FTP, { S("HTTP/1.1 400 Bad\r\n") }, S(""), STRANGE,
	  "greeting: not FTP: HTTP/1.1 400 Bad" },
	{ "ftp goes ahead early", STARTTLS_FTP, { S("220 peer\r\n234 go\r\n") }, S(""), STRANGE,
	  "AUTH TLS: " EARLY },
	{ "ftp with a reply put in", STARTTLS_FTP, { S("220 peer\r\n"), S("234 go\r\n331 password?\r\n") },
	  S("AUTH TLS\r\n"), STRANGE,
	  "AUTH TLS: 15 bytes after the go-ahead, before TLS: injected? 331 password?\\x0d\\x0a" },
	{ "ftp does not end", STARTTLS_FTP, { S("220-peer\r\n220-x\r\n") }, S(""), WAITS, "greeting" },

	/* nntp */
	{ "nntp", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nVERSION 2\r\nSTARTTLS\r\nREADER\r\n.\r\n"),
	  S("382 go\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), AHEAD },
	{ "nntp without posting", STARTTLS_NNTP, { S("201 peer\r\n"), S("101\r\nSTARTTLS\r\n.\r\n"),
	  S("382\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), AHEAD },
	{ "nntp of old times", STARTTLS_NNTP, { S("200 peer\r\n"), S("500 what?\r\n"), S("382 go\r\n") },
	  S("CAPABILITIES\r\nSTARTTLS\r\n"), AHEAD },
	{ "nntp of old times without it", STARTTLS_NNTP, { S("200 peer\r\n"), S("500 what?\r\n"),
	  S("500 what?\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), NOT_OFFERED, "STARTTLS: 500 what?" },
	{ "nntp without it", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nVERSION 2\r\nREADER\r\n.\r\n") },
	  S("CAPABILITIES\r\n"), NOT_OFFERED, "list of CAPABILITIES: no STARTTLS among: VERSION 2 READER" },
	{ "nntp without a certificate", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nSTARTTLS\r\n.\r\n"),
	  S("580 Error initializing TLS\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), REFUSED,
	  "STARTTLS: 580 Error initializing TLS" },
	{ "nntp listed, then unknown", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nSTARTTLS\r\n.\r\n"),
	  S("500 what?\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), REFUSED, "STARTTLS: 500 what?" },
	{ "nntp not for us", STARTTLS_NNTP, { S("502 no permission\r\n") }, S(""), REFUSED,
	  "greeting: 502 no permission" },
	{ "nntp wants a login first", STARTTLS_NNTP, { S("200 peer\r\n"), S("480 login\r\n") },
	  S("CAPABILITIES\r\n"), REFUSED, "CAPABILITIES: 480 login" },
	{ "nntp is smtp", STARTTLS_NNTP, { S("220 peer\r\n") }, S(""), STRANGE, "greeting: not NNTP: 220 peer" },
	{ "nntp is not", STARTTLS_NNTP, { S("hello\r\n") }, S(""), STRANGE, "greeting: not NNTP: hello" },
	{ "nntp answers with another number", STARTTLS_NNTP, { S("200 peer\r\n"), S("500\r\n"), S("200\r\n") },
	  S("CAPABILITIES\r\nSTARTTLS\r\n"), STRANGE, "STARTTLS: not NNTP: 200" },
	{ "nntp lists early", STARTTLS_NNTP, { S("200 peer\r\n101 list\r\nSTARTTLS\r\n.\r\n") }, S(""), STRANGE,
	  "CAPABILITIES: not NNTP: 101 list" },
	{ "nntp with a reply put in", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nSTARTTLS\r\n.\r\n"),
	  S("382 go\r\n200 x\r\n") }, S("CAPABILITIES\r\nSTARTTLS\r\n"), STRANGE,
	  "STARTTLS: 7 bytes after the go-ahead, before TLS: injected? 200 x\\x0d\\x0a" },
	{ "nntp stops in the list", STARTTLS_NNTP, { S("200 peer\r\n"), S("101 list\r\nSTARTTLS\r\n") },
	  S("CAPABILITIES\r\n"), WAITS, "list of CAPABILITIES" },
};

#define ASK "a1 CAPABILITY\r\n"
#define TLS "a2 STARTTLS\r\n"

static const struct dialogue lines[] = {
	/* imap */
	{ "imap", STARTTLS_IMAP, { S("* OK peer\r\n"), S("* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n"),
	  S("a2 OK go\r\n") }, S(ASK TLS), AHEAD },
	{ "imap lists unasked", STARTTLS_IMAP, { S("* OK [CAPABILITY IMAP4rev1 starttls LOGINDISABLED] peer\r\n"),
	  S("a2 OK go\r\n") }, S(TLS), AHEAD },
	{ "imap lists unasked, last", STARTTLS_IMAP, { S("* ok [capability IMAP4rev1 STARTTLS]\r\n"),
	  S("a2 ok\r\n") }, S(TLS), AHEAD },
	{ "imap lists little unasked", STARTTLS_IMAP, { S("* OK [CAPABILITY IMAP4rev1] has STARTTLS\r\n"),
	  S("* CAPABILITY STARTTLS\r\na1 OK\r\n"), S("a2 OK\r\n") }, S(ASK TLS), AHEAD },
	{ "imap with things between", STARTTLS_IMAP, { S("* OK peer\r\n"),
	  S("* OK still\r\n* CAPABILITY STARTTLS\r\n* BAD x\r\na1 OK\r\n"), S("* OK still\r\na2 OK\r\n") },
	  S(ASK TLS), AHEAD },
	{ "imap without it", STARTTLS_IMAP, { S("* OK peer\r\n"),
	  S("* CAPABILITY IMAP4rev1 XSTARTTLS\r\na1 OK\r\n") }, S(ASK), NOT_OFFERED,
	  "CAPABILITY: no STARTTLS among: IMAP4rev1 XSTARTTLS" },
	{ "imap lists nothing", STARTTLS_IMAP, { S("* OK peer\r\n"), S("a1 OK\r\n") }, S(ASK), NOT_OFFERED,
	  "CAPABILITY: no STARTTLS among: " },
	{ "imap without asking who", STARTTLS_IMAP, { S("* PREAUTH [CAPABILITY STARTTLS] root\r\n") }, S(""),
	  NOT_OFFERED, "greeting: logged in already: * PREAUTH [CAPABILITY STARTTLS] root" },
	{ "imap is full", STARTTLS_IMAP, { S("* BYE too many\r\n") }, S(""), REFUSED, "greeting: * BYE too many" },
	{ "imap goes away", STARTTLS_IMAP, { S("* OK peer\r\n"), S("* BYE idle\r\n") }, S(ASK), REFUSED,
	  "CAPABILITY: * BYE idle" },
	{ "imap says no", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\n"), S("a2 NO not now\r\n") }, S(TLS),
	  REFUSED, "STARTTLS: a2 NO not now" },
	{ "imap says bad", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\n"), S("a2 BAD what?\r\n") }, S(TLS),
	  REFUSED, "STARTTLS: a2 BAD what?" },
	{ "imap lists nothing for us", STARTTLS_IMAP, { S("* OK peer\r\n"), S("a1 BAD what?\r\n") }, S(ASK),
	  REFUSED, "CAPABILITY: a1 BAD what?" },
	{ "imap is pop3", STARTTLS_IMAP, { S("+OK peer\r\n") }, S(""), STRANGE, "greeting: not IMAP: +OK peer" },
	{ "imap greets oddly", STARTTLS_IMAP, { S("* NO peer\r\n") }, S(""), STRANGE,
	  "greeting: not IMAP: * NO peer" },
	{ "imap answers another", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\n"), S("a1 OK\r\n") }, S(TLS),
	  STRANGE, "STARTTLS: not IMAP: a1 OK" },
	{ "imap wants more", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\n"), S("+ go on\r\n") }, S(TLS),
	  STRANGE, "STARTTLS: not IMAP: + go on" },
	{ "imap answers with another word", STARTTLS_IMAP, { S("* OK peer\r\n"), S("a1 YES\r\n") }, S(ASK),
	  STRANGE, "CAPABILITY: not IMAP: a1 YES" },
	{ "imap answers early", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\na2 OK\r\n") }, S(""), STRANGE,
	  "STARTTLS: " EARLY },
	{ "imap answers before it greets", STARTTLS_IMAP, { S("a1 OK\r\n") }, S(""), STRANGE,
	  "greeting: not IMAP: a1 OK" },
	{ "imap with an answer put in", STARTTLS_IMAP, { S("* OK [CAPABILITY STARTTLS]\r\n"),
	  S("a2 OK\r\n* PREAUTH hi\r\n") }, S(TLS), STRANGE,
	  "STARTTLS: 14 bytes after the go-ahead, before TLS: injected? * PREAUTH hi\\x0d\\x0a" },
	{ "imap stops", STARTTLS_IMAP, { S("* OK peer\r\n"), S("* CAPABILITY STARTTLS\r\na1 O") }, S(ASK), WAITS,
	  "CAPABILITY" },

	/* pop3 */
	{ "pop3", STARTTLS_POP3, { S("+OK peer\r\n"), S("+OK list\r\nTOP\r\nSTLS\r\nUIDL\r\n.\r\n"),
	  S("+OK go\r\n") }, S("CAPA\r\nSTLS\r\n"), AHEAD },
	{ "pop3 without a list", STARTTLS_POP3, { S("+OK\r\n"), S("-ERR what?\r\n"), S("+OK\r\n") },
	  S("CAPA\r\nSTLS\r\n"), AHEAD },
	{ "pop3 without a list and without it", STARTTLS_POP3, { S("+OK\r\n"), S("-ERR what?\r\n"),
	  S("-ERR eh?\r\n") }, S("CAPA\r\nSTLS\r\n"), NOT_OFFERED, "STLS: -ERR eh?" },
	{ "pop3 without it", STARTTLS_POP3, { S("+OK\r\n"), S("+OK\r\nTOP\r\nSTLSX\r\n.\r\n") }, S("CAPA\r\n"),
	  NOT_OFFERED, "list of CAPA: no STLS among: TOP STLSX" },
	{ "pop3 says no", STARTTLS_POP3, { S("+OK\r\n"), S("+OK\r\nSTLS\r\n.\r\n"), S("-ERR [SYS/TEMP] no\r\n") },
	  S("CAPA\r\nSTLS\r\n"), REFUSED, "STLS: -ERR [SYS/TEMP] no" },
	{ "pop3 is full", STARTTLS_POP3, { S("-ERR too many\r\n") }, S(""), REFUSED, "greeting: -ERR too many" },
	{ "pop3 is imap", STARTTLS_POP3, { S("* OK peer\r\n") }, S(""), STRANGE, "greeting: not POP3: * OK peer" },
	{ "pop3 greets oddly", STARTTLS_POP3, { S("+OKAY\r\n") }, S(""), STRANGE, "greeting: not POP3: +OKAY" },
	{ "pop3 answers early", STARTTLS_POP3, { S("+OK\r\n+OK\r\nSTLS\r\n.\r\n") }, S(""), STRANGE,
	  "CAPA: " EARLY },
	{ "pop3 with an answer put in", STARTTLS_POP3, { S("+OK\r\n"), S("+OK\r\nSTLS\r\n.\r\n"),
	  S("+OK\r\n+OK\r\n") }, S("CAPA\r\nSTLS\r\n"), STRANGE,
	  "STLS: 5 bytes after the go-ahead, before TLS: injected? +OK\\x0d\\x0a" },
	{ "pop3 stops in the list", STARTTLS_POP3, { S("+OK\r\n"), S("+OK\r\nSTLS\r\n") }, S("CAPA\r\n"), WAITS,
	  "list of CAPA" },

	/* sieve */
	{ "sieve", STARTTLS_SIEVE,
	  { S("\"IMPLEMENTATION\" \"x\"\r\n\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"),
	  S("OK\r\n") }, S("STARTTLS\r\n"), AHEAD },
	{ "sieve in literals", STARTTLS_SIEVE,
	  { S("{5}\r\nSIE\r\n {3+}\r\na\r\n\r\n{8+}\r\nstarttls\r\nOK {2}\r\nhi\r\n"),
	  S("ok (TAG {1}\r\nx) \"go\"\r\n") }, S("STARTTLS\r\n"), AHEAD },
	{ "sieve in an empty literal", STARTTLS_SIEVE, { S("\"LANGUAGE\" {0}\r\n\r\n\"STARTTLS\"\r\nOK\r\n"),
	  S("OK\r\n") }, S("STARTTLS\r\n"), AHEAD },
	{ "sieve with it as a value only", STARTTLS_SIEVE, { S("\"NOTIFY\" \"STARTTLS\"\r\nOK\r\n") }, S(""),
	  NOT_OFFERED, "greeting: no STARTTLS among: NOTIFY" },
	{ "sieve with it in a literal only", STARTTLS_SIEVE, { S("\"A\" {14}\r\nx\r\n\"STARTTLS\"\n\r\nOK\r\n") },
	  S(""), NOT_OFFERED, "greeting: no STARTTLS among: A" },
	{ "sieve says no", STARTTLS_SIEVE, { S("\"STARTTLS\"\r\nOK\r\n"), S("NO \"not now\"\r\n") },
	  S("STARTTLS\r\n"), REFUSED, "STARTTLS: NO \"not now\"" },
	{ "sieve is full", STARTTLS_SIEVE, { S("BYE \"too many\"\r\n") }, S(""), REFUSED,
	  "greeting: BYE \"too many\"" },
	{ "sieve is imap", STARTTLS_SIEVE, { S("* OK peer\r\n") }, S(""), STRANGE,
	  "greeting: not ManageSieve: * OK peer" },
	{ "sieve without an end of a string", STARTTLS_SIEVE, { S("\"STARTTLS\r\n") }, S(""), STRANGE,
	  "greeting: not ManageSieve: \"STARTTLS" },
	{ "sieve with a literal too long", STARTTLS_SIEVE, { S("{4097}\r\nx") }, S(""), STRANGE,
	  "greeting: too much: a line of more than 4096 bytes" },
	{ "sieve with a literal much too long", STARTTLS_SIEVE, { S("{99999999999999999999999}\r\nx") }, S(""),
	  STRANGE, "greeting: too much: a line of more than 4096 bytes" },
	{ "sieve answers early", STARTTLS_SIEVE, { S("\"STARTTLS\"\r\nOK\r\nOK\r\n") }, S(""), STRANGE,
	  "STARTTLS: " EARLY },
	{ "sieve with capabilities put in", STARTTLS_SIEVE, { S("\"STARTTLS\"\r\nOK\r\n"),
	  S("OK\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n") }, S("STARTTLS\r\n"), STRANGE,
	  "STARTTLS: 20 bytes after the go-ahead, before TLS: injected? "
	  "\"SASL\" \"PLAIN\"\\x0d\\x0aOK\\x0d\\x0a" },
	{ "sieve stops in a literal", STARTTLS_SIEVE, { S("{8}\r\nSTART") }, S(""), WAITS, "greeting" },

	/* irc */
	{ "irc", STARTTLS_IRC, { S(":irc.test CAP * LS :multi-prefix tls sasl\r\n"),
	  S(":irc.test 670 * :go\r\n") }, S("CAP LS 302\r\nSTARTTLS\r\n"), AHEAD },
	{ "irc in two lines, with notices", STARTTLS_IRC,
	  { S(":irc.test NOTICE * :*** Looking up\r\n\r\nPING x\r\n@time=1 :irc.test CAP * LS * :tls sasl\r\n"
	  ":irc.test CAP * LS :x\r\n"), S(":irc.test NOTICE * :*** Found\r\n670 * :go\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), AHEAD },
	{ "irc without colon", STARTTLS_IRC, { S("CAP * LS tls\r\n"), S("670\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), AHEAD },
	{ "irc without CAP", STARTTLS_IRC, { S(":x 421 * CAP :Unknown command\r\n"), S(":x 670 * :go\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), AHEAD },
	{ "irc without CAP and without it", STARTTLS_IRC, { S(":x 451 CAP :not registered\r\n"),
	  S(":x 451 STARTTLS :not registered\r\n") }, S("CAP LS 302\r\nSTARTTLS\r\n"), NOT_OFFERED,
	  "STARTTLS: :x 451 STARTTLS :not registered" },
	{ "irc without it", STARTTLS_IRC, { S(":x CAP * LS :multi-prefix tlsx\r\n") }, S("CAP LS 302\r\n"),
	  NOT_OFFERED, "CAP LS: no tls among: multi-prefix tlsx" },
	{ "irc says no", STARTTLS_IRC, { S("CAP * LS :tls\r\n"), S(":x 691 * :STARTTLS failed\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), REFUSED, "STARTTLS: :x 691 * :STARTTLS failed" },
	{ "irc listed, then unknown", STARTTLS_IRC, { S("CAP * LS :tls\r\n"), S(":x 421 * STARTTLS :eh\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), REFUSED, "STARTTLS: :x 421 * STARTTLS :eh" },
	{ "irc talks of other capabilities", STARTTLS_IRC, { S("CAP\r\nCAP *\r\nCAP * NEW :tls\r\nCAP * LS\r\n") },
	  S("CAP LS 302\r\n"), NOT_OFFERED, "CAP LS: no tls among: " },
	{ "irc closes", STARTTLS_IRC, { S("ERROR :Closing Link: throttled\r\n") }, S("CAP LS 302\r\n"), REFUSED,
	  "CAP LS: ERROR :Closing Link: throttled" },
	{ "irc bans", STARTTLS_IRC, { S(":x 465 * :You are banned\r\n") }, S("CAP LS 302\r\n"), REFUSED,
	  "CAP LS: :x 465 * :You are banned" },
	{ "irc is smtp", STARTTLS_IRC, { S("220-peer\r\nhello\r\n") }, S("CAP LS 302\r\n"), STRANGE,
	  "CAP LS: not IRC: hello" },
	{ "irc is ssh", STARTTLS_IRC, { S("SSH-2.0-x\r\n") }, S("CAP LS 302\r\n"), STRANGE,
	  "CAP LS: not IRC: SSH-2.0-x" },
	{ "irc goes ahead early", STARTTLS_IRC, { S("CAP * LS :tls\r\n670 * :go\r\n") }, S("CAP LS 302\r\n"),
	  STRANGE, "STARTTLS: " EARLY },
	{ "irc goes ahead of what was not asked", STARTTLS_IRC, { S("670 * :go\r\n") }, S("CAP LS 302\r\n"),
	  STRANGE, "CAP LS: not IRC: 670 * :go" },
	{ "irc with a line put in", STARTTLS_IRC, { S("CAP * LS :tls\r\n"), S("670\r\nNOTICE\r\n") },
	  S("CAP LS 302\r\nSTARTTLS\r\n"), STRANGE,
	  "STARTTLS: 8 bytes after the go-ahead, before TLS: injected? NOTICE\\x0d\\x0a" },
	{ "irc says only notices", STARTTLS_IRC, { S(":x NOTICE * :hi\r\n:x CAP * LS * :tls\r\n") },
	  S("CAP LS 302\r\n"), WAITS, "CAP LS" },
};

#define HEADER(kind)                                                                                \
	"<?xml version='1.0'?><stream:stream to='peer.test' version='1.0' xmlns='jabber:" kind "' " \
	"xmlns:stream='http://etherx.jabber.org/streams'>"
#define OPEN  "<?xml version='1.0'?><stream:stream from='peer.test' id='1' version='1.0' xmlns='jabber:client'>"
#define NS    "xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
#define OFFER "<stream:features><starttls " NS "/></stream:features>"
#define START HEADER("client") "<starttls " NS "/>"
#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct dialogue streams[] = {
	{ "xmpp", STARTTLS_XMPP, { S(OPEN OFFER), S("<proceed " NS "/>") }, S(START), AHEAD },
	{ "xmpp to servers", STARTTLS_XMPP_SERVER, { S(OPEN OFFER), S("<proceed " NS "/>") },
	  S(HEADER("server") "<starttls " NS "/>"), AHEAD },
	{ "xmpp in pieces", STARTTLS_XMPP, { S(OPEN), S("\n<stream:feat"),
	  S("ures><mechanisms><m>A&amp;B&#x26;</m></mechanisms><starttls\t" NS " ><required /"),
	  S("></starttls ></stream:features>"), S("\r\n<proceed " NS "></proceed>") }, S(START), AHEAD },
	{ "xmpp without declaration, double quotes", STARTTLS_XMPP,
	  { S("\n<stream:stream version = \"1.0\" a='&lt;\">/' >"),
	  S("<features><t:starttls xmlns:t=\"urn:ietf:params:xml:ns:xmpp-tls\"/></features>"), S("<proceed/>") },
	  S(START), AHEAD },
	{ "xmpp without it", STARTTLS_XMPP,
	  { S(OPEN "<stream:features><mechanisms><m>x</m></mechanisms><c/></stream:features>") },
	  S(HEADER("client")), NOT_OFFERED, "features: no starttls among: mechanisms c" },
	{ "xmpp without any", STARTTLS_XMPP, { S(OPEN "<stream:features/>") }, S(HEADER("client")), NOT_OFFERED,
	  "features: no starttls among: " },
	{ "xmpp with another's", STARTTLS_XMPP, { S(OPEN "<stream:features><starttls/><x><starttls " NS "/></x>"
	  "<starttls xmlns='x'/></stream:features>") }, S(HEADER("client")), NOT_OFFERED,
	  "features: no starttls among: starttls x starttls" },
	{ "xmpp, but TLS from the first byte", STARTTLS_XMPP, { S("\x15\x03\x03\0\2\2\x28") }, S(HEADER("client")), STRANGE,
	  "stream: the server speaks TLS from the first byte: tls without starttls?" },
	{ "xmpp of old times", STARTTLS_XMPP, { S("<stream:stream id='1'>") }, S(HEADER("client")), NOT_OFFERED,
	  "stream: a stream without a version" },
	{ "xmpp for others", STARTTLS_XMPP,
	  { S(OPEN "<stream:error><host-unknown/><text>not &lt;here></text></stream:error></stream:stream>") },
	  S(HEADER("client")), REFUSED, "features: stream error: host-unknown: not &lt;here>" },
	{ "xmpp with an error without words", STARTTLS_XMPP, { S(OPEN "<stream:error/>") }, S(HEADER("client")),
	  REFUSED, "features: stream error: " },
	{ "xmpp says no", STARTTLS_XMPP, { S(OPEN OFFER), S("<failure " NS "/></stream:stream>") }, S(START),
	  REFUSED, "STARTTLS: failure" },
	{ "xmpp closes", STARTTLS_XMPP, { S(OPEN "</stream:stream>") }, S(HEADER("client")), REFUSED,
	  "features: the server closed the stream" },
	{ "xmpp closes at once", STARTTLS_XMPP, { S("<stream:stream version='1.0'/>") }, S(HEADER("client")),
	  REFUSED, "features: the server closed the stream" },
	{ "xmpp is ssh", STARTTLS_XMPP, { S("SSH-2.0-x\r\n") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: text between elements" },
	{ "xmpp is html", STARTTLS_XMPP, { S("<html><body>") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: <html>" },
	{ "xmpp with a DTD", STARTTLS_XMPP, { S("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>") },
	  S(HEADER("client")), STRANGE, "stream: not XMPP: a comment, CDATA or DTD" },
	{ "xmpp with a comment", STARTTLS_XMPP, { S(OPEN "<!-- x -->") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: a comment, CDATA or DTD" },
	{ "xmpp with an entity", STARTTLS_XMPP, { S(OPEN "<a>&lol;</a>") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: an entity" },
	{ "xmpp with an entity in a value", STARTTLS_XMPP, { S("<stream:stream version='&x;'>") },
	  S(HEADER("client")), STRANGE, "stream: not XMPP: an entity" },
	{ "xmpp with an instruction", STARTTLS_XMPP, { S(OPEN "<?php ?>") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: an instruction" },
	{ "xmpp with another instruction first", STARTTLS_XMPP, { S("<?php ?>") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: an instruction" },
	{ "xmpp with a NUL", STARTTLS_XMPP, { S("<stream:\0stream>") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: a control character" },
	{ "xmpp ends what did not begin", STARTTLS_XMPP, { S(OPEN "<a><b></a></b>") }, S(HEADER("client")),
	  STRANGE, "features: not XMPP: an end of what did not begin" },
	{ "xmpp without quotes", STARTTLS_XMPP, { S("<stream:stream version=1.0>") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: a malformed attribute" },
	{ "xmpp without space", STARTTLS_XMPP, { S("<stream:stream a='1'b='2'>") }, S(HEADER("client")), STRANGE,
	  "stream: not XMPP: a malformed tag" },
	{ "xmpp with an entity without end", STARTTLS_XMPP, { S(OPEN "<a>&#000000000038;</a>") },
	  S(HEADER("client")), STRANGE, "features: not XMPP: an entity" },
	{ "xmpp with a slash in a tag", STARTTLS_XMPP, { S(OPEN "<a/b>") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: a malformed tag" },
	{ "xmpp with an attribute of no value", STARTTLS_XMPP, { S(OPEN "<a b>") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: a malformed attribute" },
	{ "xmpp with a tag in a value", STARTTLS_XMPP, { S(OPEN "<a b='<'>") }, S(HEADER("client")), STRANGE,
	  "features: not XMPP: a malformed attribute" },
	{ "xmpp with a value of any length", STARTTLS_XMPP, { S(OPEN "<a b='" FIFTY FIFTY "'>") },
	  S(HEADER("client")), WAITS, "features" },
	{ "xmpp with a name too long", STARTTLS_XMPP, { S(OPEN "<a" FIFTY FIFTY ">") }, S(HEADER("client")),
	  STRANGE, "features: not XMPP: a name too long" },
	{ "xmpp with an attribute too long", STARTTLS_XMPP, { S(OPEN "<a a" FIFTY FIFTY "=''>") },
	  S(HEADER("client")), STRANGE, "features: not XMPP: a name too long" },
	{ "xmpp with an end too long", STARTTLS_XMPP, { S(OPEN "<a></a" FIFTY FIFTY ">") }, S(HEADER("client")),
	  STRANGE, "features: not XMPP: an end of what did not begin" },
	{ "xmpp sixteen deep", STARTTLS_XMPP, { S(OPEN "<a><b><c><d><e><f><g><h><i><j><k><l><m><n><o/>") },
	  S(HEADER("client")), WAITS, "features" },
	{ "xmpp too deep", STARTTLS_XMPP, { S(OPEN "<a><b><c><d><e><f><g><h><i><j><k><l><m><n><o><p/>") },
	  S(HEADER("client")), STRANGE, "features: not XMPP: too deep" },
	{ "xmpp proceeds early", STARTTLS_XMPP, { S(OPEN OFFER "<proceed " NS "/>") }, S(HEADER("client")),
	  STRANGE, "STARTTLS: " EARLY },
	{ "xmpp proceeds in its features", STARTTLS_XMPP, { S(OPEN "<proceed " NS "/>") }, S(HEADER("client")),
	  STRANGE, "features: unexpected <proceed/>" },
	{ "xmpp with an element put in", STARTTLS_XMPP, { S(OPEN OFFER), S("<proceed " NS "/><a/>") }, S(START),
	  STRANGE, "STARTTLS: 4 bytes after the go-ahead, before TLS: injected? <a/>" },
	{ "xmpp stops", STARTTLS_XMPP, { S(OPEN "<stream:features><starttls " NS "/>") }, S(HEADER("client")),
	  WAITS, "features" },
	{ "xmpp stops at the start", STARTTLS_XMPP, { S("<?xml version='1.0'?") }, S(HEADER("client")), WAITS,
	  "stream" },
};

#define LDAP                       \
	"0\x1d\2\1\1w\x18\x80\x16" \
	"1.3.6.1.4.1.1466.20037"
#define SSL_REQUEST "\0\0\0\x08\x04\xd2\x16\x2f"
#define MYSQL_FLAGS(low, high) \
	"\x0a"                 \
	"8.0.1\0"              \
	"\1\0\0\0"             \
	"12345678"             \
	"\0" low "\x2d"        \
	"\2\0" high "\x15"     \
	"\0\0\0\0\0\0\0\0\0\0" \
	"123456789012\0"
#define MYSQL_REQUEST  \
	" \0\0\1"      \
	"\1\x8a\x08\0" \
	"\0\0\0\1"     \
	"\x2d"         \
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static const struct dialogue packets[] = {
	/* ldap */
	{ "ldap", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\0\4\0\4\0") }, S(LDAP), AHEAD },
	{ "ldap with a name and a text", STARTTLS_LDAP, { S("0\x28\2\1\1x\x23\x0a\1\0\4\0\4\2ok\x8a\x18"
	  "1.3.6.1.4.1.1466.20037xy") }, S(LDAP), AHEAD },
	{ "ldap in lengths of Active Directory", STARTTLS_LDAP,
	  { S("0\x84\0\0\0\x10\2\1\1x\x84\0\0\0\7\x0a\1\0\4\0\4\0") }, S(LDAP), AHEAD },
	{ "ldap with controls", STARTTLS_LDAP, { S("0\x0e\2\1\1x\7\x0a\1\0\4\0\4\0\xa0\0") }, S(LDAP), AHEAD },
	{ "ldap that does not know it", STARTTLS_LDAP, { S("0\x0f\2\1\1x\x0a\x0a\1\2\4\0\4\3" "eh?") }, S(LDAP),
	  NOT_OFFERED, "StartTLS: protocolError (2): eh?" },
	{ "ldap that is not willing", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\x35\4\0\4\0") }, S(LDAP),
	  NOT_OFFERED, "StartTLS: unwillingToPerform (53)" },
	{ "ldap that cannot", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\x34\4\0\4\0") }, S(LDAP), REFUSED,
	  "StartTLS: unavailable (52)" },
	{ "ldap with a code of its own", STARTTLS_LDAP, { S("0\x0d\2\1\1x\x08\x0a\2\x10\0\4\0\4\0") }, S(LDAP),
	  REFUSED, "StartTLS: result (4096)" },
	{ "ldap disconnects", STARTTLS_LDAP, { S("0\x24\2\1\0x\x1f\x0a\1\x34\4\0\4\0\x8a\x16"
	  "1.3.6.1.4.1.1466.20036") }, S(LDAP), REFUSED, "StartTLS: the server disconnects: unavailable (52)" },
	{ "ldap answers another", STARTTLS_LDAP, { S("0\x0c\2\1\2x\7\x0a\1\0\4\0\4\0") }, S(LDAP), STRANGE,
	  "StartTLS: an answer to message 2, not to ours" },
	{ "ldap answers a bind", STARTTLS_LDAP, { S("0\x0c\2\1\1a\7\x0a\1\0\4\0\4\0") }, S(LDAP), STRANGE,
	  "StartTLS: not an ExtendedResponse" },
	{ "ldap longer inside than outside", STARTTLS_LDAP, { S("0\x0c\2\1\1x\x08\x0a\1\0\4\0\4\0") }, S(LDAP),
	  STRANGE, "StartTLS: not an ExtendedResponse" },
	{ "ldap with less inside than it says", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\0\4\0\4\1") }, S(LDAP),
	  STRANGE, "StartTLS: not an ExtendedResponse" },
	{ "ldap with a byte too many inside", STARTTLS_LDAP, { S("0\x0d\2\1\1x\7\x0a\1\0\4\0\4\0\0") }, S(LDAP),
	  STRANGE, "StartTLS: not an ExtendedResponse" },
	{ "ldap with half a control", STARTTLS_LDAP, { S("0\x0e\2\1\1x\7\x0a\1\0\4\0\4\0\xa0\1") }, S(LDAP),
	  STRANGE, "StartTLS: not an ExtendedResponse" },
	{ "ldap with nothing inside", STARTTLS_LDAP, { S("0\0") }, S(LDAP), STRANGE,
	  "StartTLS: not an ExtendedResponse" },
	{ "ldap with a negative number", STARTTLS_LDAP, { S("0\x0c\2\1\xffx\7\x0a\1\0\4\0\4\0") }, S(LDAP),
	  STRANGE, "StartTLS: not an ExtendedResponse" },
	{ "ldap without a length", STARTTLS_LDAP, { S("0\x80\2\1\1") }, S(LDAP), STRANGE,
	  "StartTLS: not LDAP: 0\\x80" },
	{ "ldap with a length of a length", STARTTLS_LDAP, { S("0\x85\0\0\0\0\1") }, S(LDAP), STRANGE,
	  "StartTLS: not LDAP: 0\\x85" },
	{ "ldap with megabytes", STARTTLS_LDAP, { S("0\x84\x7f\xff\xff\xff") }, S(LDAP), STRANGE,
	  "StartTLS: too much: a packet of 2147483653 bytes" },
	{ "ldap is ssh", STARTTLS_LDAP, { S("SSH-2.0-x\r\n") }, S(LDAP), STRANGE, "StartTLS: not LDAP: SS" },
	{ "ldap with a byte put in", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\0\4\0\4\0\0") }, S(LDAP), STRANGE,
	  "StartTLS: 1 byte after the go-ahead, before TLS: injected? \\x00" },
	{ "ldap stops", STARTTLS_LDAP, { S("0\x0c\2\1\1x\7\x0a\1\0\4\0\4") }, S(LDAP), WAITS, "StartTLS" },

	/* postgres */
	{ "postgres", STARTTLS_POSTGRES, { S("S") }, S(SSL_REQUEST), AHEAD },
	{ "postgres, but TLS from the first byte", STARTTLS_POSTGRES, { S("\x15\x03\x03\0\2\2\x28") }, S(SSL_REQUEST),
	  STRANGE, "SSLRequest: the server speaks TLS from the first byte: tls without starttls?" },
	{ "postgres, not TLS and not postgres", STARTTLS_POSTGRES, { S("\x15\x04") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: not PostgreSQL: \\x15" },
	{ "postgres without it", STARTTLS_POSTGRES, { S("N") }, S(SSL_REQUEST), NOT_OFFERED, "SSLRequest: N" },
	{ "postgres is full", STARTTLS_POSTGRES, { S("E\0\0\0\x20SFATAL\0VFATAL\0C53300\0Mfull\0\0") },
	  S(SSL_REQUEST), REFUSED, "SSLRequest: FATAL 53300 full" },
	{ "postgres with an error that has no end", STARTTLS_POSTGRES, { S("E\0\0\0\x08Sabc") }, S(SSL_REQUEST),
	  STRANGE, "SSLRequest: an ErrorResponse that is none" },
	{ "postgres with an error too short", STARTTLS_POSTGRES, { S("E\0\0\0\4") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: not PostgreSQL: E\\x00\\x00\\x00\\x04" },
	{ "postgres with an error too long", STARTTLS_POSTGRES, { S("E\x7f\0\0\4") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: not PostgreSQL: E\\x7f\\x00\\x00\\x04" },
	{ "postgres with an error of nothing", STARTTLS_POSTGRES, { S("E\0\0\0\5\0") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: an ErrorResponse that is none" },
	{ "postgres is http", STARTTLS_POSTGRES, { S("HTTP/1.1 400 Bad\r\n") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: not PostgreSQL: H" },
	{ "postgres with bytes put in", STARTTLS_POSTGRES, { S("SN") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: 1 byte after the go-ahead, before TLS: injected? N" },
	{ "postgres is ssh", STARTTLS_POSTGRES, { S("SSH-2.0-x\r\n") }, S(SSL_REQUEST), STRANGE,
	  "SSLRequest: 10 bytes after the go-ahead, before TLS: injected? SH-2.0-x\\x0d\\x0a" },
	{ "postgres is silent", STARTTLS_POSTGRES, { S("") }, S(SSL_REQUEST), WAITS, "SSLRequest" },

	/* mysql */
	{ "mysql", STARTTLS_MYSQL, { S("\x33\0\0\0" MYSQL_FLAGS("\xff\xff", "\xff\xdf")) }, S(MYSQL_REQUEST),
	  AHEAD },
	{ "mysql with nothing but the flags", STARTTLS_MYSQL, { S("\x16\0\0\0" "\x0a" "5.5.5\0" "\1\0\0\0"
	  "12345678" "\0" "\0\x08") }, S(MYSQL_REQUEST), AHEAD },
	{ "mysql without it", STARTTLS_MYSQL, { S("\x33\0\0\0" MYSQL_FLAGS("\xff\xf7", "\xff\xdf")) }, S(""),
	  NOT_OFFERED, "greeting: no SSL among the flags of: 8.0.1" },
	{ "mysql blocks us", STARTTLS_MYSQL, { S("\x12\0\0\0\xff\x69\4Host is blocked") }, S(""), REFUSED,
	  "greeting: 1129 Host is blocked" },
	{ "mysql is full", STARTTLS_MYSQL, { S("\x0d\0\0\0\xff\x10\4#08004Full") }, S(""), REFUSED,
	  "greeting: 1040 Full" },
	{ "mysql with an error too short", STARTTLS_MYSQL, { S("\2\0\0\0\xff\x10") }, S(""), STRANGE,
	  "greeting: an error that is cut short" },
	{ "mysql cut before the flags", STARTTLS_MYSQL, { S("\x15\0\0\0" "\x0a" "5.5.5\0" "\1\0\0\0" "12345678"
	  "\0" "\0") }, S(""), STRANGE, "greeting: a greeting that is cut short" },
	{ "mysql with a version without end", STARTTLS_MYSQL, { S("\4\0\0\0\x0a" "5.5") }, S(""), STRANGE,
	  "greeting: a greeting that is cut short" },
	{ "mysql of another protocol", STARTTLS_MYSQL, { S("\4\0\0\0\x09" "3.2") }, S(""), STRANGE,
	  "greeting: not MySQL: \\x04\\x00\\x00\\x00\\x09" },
	{ "mysql out of sequence", STARTTLS_MYSQL, { S("\4\0\0\1\x0a" "5.5") }, S(""), STRANGE,
	  "greeting: not MySQL: \\x04\\x00\\x00\\x01\\x0a" },
	{ "mysql with megabytes", STARTTLS_MYSQL, { S("\xff\xff\xff\0\x0a") }, S(""), STRANGE,
	  "greeting: not MySQL: \\xff\\xff\\xff\\x00\\x0a" },
	{ "mysql is ssh", STARTTLS_MYSQL, { S("SSH-2.0-x\r\n") }, S(""), STRANGE, "greeting: not MySQL: SSH-2" },
	{ "mysql with a byte put in", STARTTLS_MYSQL, { S("\x33\0\0\0" MYSQL_FLAGS("\xff\xff", "\xff\xdf") "x") },
	  S(""), STRANGE, "SSLRequest: 1 byte after the go-ahead, before TLS: injected? x" },
	{ "mysql stops", STARTTLS_MYSQL, { S("\x40\0\0\0\x0a" "8.0") }, S(""), WAITS, "greeting" },
};

static struct starttls_talk *new_of(enum starttls protocol)
{
	const struct starttls_wish wish = { .protocol = protocol, .ehlo = "mon.test", .host = "peer.test" };

	return starttls_new(&wish);
}

static void take_output(struct starttls_talk *starttls, struct str *said, size_t most)
{
	size_t bytes;
	const char *data = starttls_output(starttls, &bytes);

	while (bytes > 0) {
		bytes = bytes < most ? bytes : most;
		str_add_bytes(said, data, bytes);
		starttls_output_sent(starttls, bytes);
		data = starttls_output(starttls, &bytes);
	}
}

/* All that the server says, `most` bytes at a time. */
static enum starttls_next converse(struct starttls_talk *starttls, const struct dialogue *dialogue, size_t most,
				   struct str *said)
{
	enum starttls_next next = STARTTLS_GO_ON;

	take_output(starttls, said, most);
	for (size_t i = 0; dialogue->server[i].data != NULL; i++) {
		const char *at = dialogue->server[i].data;

		for (size_t left = dialogue->server[i].bytes, bytes; left > 0; left -= bytes, at += bytes) {
			bytes = left < most ? left : most;
			next = starttls_input(starttls, at, bytes);
		}
		take_output(starttls, said, most);
	}
	return next;
}

static void check_ending(const struct dialogue *dialogue, struct starttls_talk *starttls, enum starttls_next next,
			 bool whole)
{
	const char *text;
	enum reason reason = starttls_failure(starttls, &text);
	bool injected = strstr(dialogue->text, "after the go-ahead") != NULL; /* how much, is known of a piece */

	if (dialogue->reason == WAITS) {
		ck_assert_msg(next == STARTTLS_GO_ON, "%s: %s", dialogue->name, text);
		ck_assert_msg(strcmp(starttls_waits_for(starttls), dialogue->text) == 0, "%s: %s", dialogue->name,
			      starttls_waits_for(starttls));
		return;
	}
	ck_assert_msg(reason == dialogue->reason, "%s: %s: %s", dialogue->name, reason_name(reason), text);
	ck_assert_msg(next == (reason == REASON_OK ? STARTTLS_GO_AHEAD : STARTTLS_BROKEN), "%s", dialogue->name);
	ck_assert_msg((injected && !whole) || strcmp(text, dialogue->text) == 0, "%s: %s", dialogue->name, text);
}

static void check_dialogue(const struct dialogue *dialogue)
{
	static const size_t most[] = { 1000000, 1, 7 };

	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		AUTO(starttls) struct starttls_talk *starttls = new_of(dialogue->protocol);
		AUTO(str) struct str said = { 0 };
		enum starttls_next next = converse(starttls, dialogue, most[i], &said);
		/* MySQL's answer is output of the same moment, which a byte put in can only undo in one piece. */
		bool comparable = i == 0 || dialogue->protocol != STARTTLS_MYSQL || next != STARTTLS_BROKEN;

		check_ending(dialogue, starttls, next, i == 0);
		ck_assert_msg(!comparable || (said.bytes == dialogue->client.bytes &&
					      (said.bytes == 0 ||
					       memcmp(said.data, dialogue->client.data, said.bytes) == 0)),
			      "%s: said:\n%s", dialogue->name, said.data);
	}
}

START_TEST(replies_go_as_they_should)
{
	check_dialogue(&replies[_i]);
}
END_TEST

START_TEST(lines_go_as_they_should)
{
	check_dialogue(&lines[_i]);
}
END_TEST

START_TEST(streams_go_as_they_should)
{
	check_dialogue(&streams[_i]);
}
END_TEST

START_TEST(packets_go_as_they_should)
{
	check_dialogue(&packets[_i]);
}
END_TEST

/* ---- what holds for all ---- */

static bool has_go_ahead(const struct dialogue *table, int rows, enum starttls protocol)
{
	for (int i = 0; i < rows; i++)
		if (table[i].protocol == protocol && table[i].reason == REASON_OK)
			return true;
	return false;
}

/* Else starttls_new() ends the program. */
START_TEST(every_protocol_has_a_row)
{
	for (int i = STARTTLS_NONE + 1; i < STARTTLS_COUNT; i++) {
		AUTO(starttls) struct starttls_talk *starttls = new_of((enum starttls)i);
		const char *text;
		size_t bytes;

		ck_assert_ptr_nonnull(starttls_output(starttls, &bytes));
		ck_assert_ptr_nonnull(starttls_waits_for(starttls));
		ck_assert_ptr_null(starttls_said(starttls));
		ck_assert_int_eq(starttls_failure(starttls, &text), REASON_OK);
		ck_assert_str_eq(text, "");
		ck_assert_int_eq(starttls_input(starttls, NULL, 0), STARTTLS_GO_ON);
		ck_assert((starttls_goodbye((enum starttls)i, &bytes) != NULL) == (bytes > 0));
		ck_assert_msg(has_go_ahead(replies, ROWS(replies), (enum starttls)i) ||
				      has_go_ahead(lines, ROWS(lines), (enum starttls)i) ||
				      has_go_ahead(streams, ROWS(streams), (enum starttls)i) ||
				      has_go_ahead(packets, ROWS(packets), (enum starttls)i),
			      "%s", starttls_name((enum starttls)i));
	}
}
END_TEST

START_TEST(ports_are_known)
{
	static const struct {
		uint16_t port;
		enum starttls protocol;
	} ports[] = {
		{ 25, STARTTLS_SMTP },       { 587, STARTTLS_SMTP },         { 24, STARTTLS_LMTP },
		{ 143, STARTTLS_IMAP },      { 110, STARTTLS_POP3 },         { 4190, STARTTLS_SIEVE },
		{ 21, STARTTLS_FTP },        { 119, STARTTLS_NNTP },         { 6667, STARTTLS_IRC },
		{ 5222, STARTTLS_XMPP },     { 5269, STARTTLS_XMPP_SERVER }, { 389, STARTTLS_LDAP },
		{ 5432, STARTTLS_POSTGRES }, { 3306, STARTTLS_MYSQL },       { 0, STARTTLS_NONE },
		{ 22, STARTTLS_NONE },       { 443, STARTTLS_NONE },         { 65535, STARTTLS_NONE },
	};

	for (int i = 0; i < ROWS(ports); i++)
		ck_assert_int_eq(starttls_of_port(ports[i].port), ports[i].protocol);
}
END_TEST

/* Whatever is sent without end, it ends; in one piece, and in many. */
START_TEST(floods_end)
{
	static const struct said floods[] = {
		S("x"),
		S("\n"),
		S("\0"),
		S("* OK x\r\n"),
		S("250-x\r\n"),
		S("220-x\r\n"),
		S("<a>"),
		S("<a b='c'/>"),
		S(" "),
		S("0\x82\xff\xff"),
		S(":x NOTICE * :x\r\n"),
		S("\"A\" {1}\r\n"),
		S("CAP * LS * :x\r\n"),
		S("<"),
		S("E\0\0\x40"),
		S("220 x\r\n"),
		S("+OK\r\n"),
		S("\xff"),
	};
	AUTO(str) struct str flood = { 0 };
	const struct said *unit = &floods[_i % ROWS(floods)];
	enum starttls protocol = (enum starttls)(_i / ROWS(floods) + 1);
	size_t most = 100000;

	while (flood.bytes < most)
		str_add_bytes(&flood, unit->data, unit->bytes);
	for (size_t step = most; step > 0; step /= 317) {
		AUTO(starttls) struct starttls_talk *starttls = new_of(protocol);
		AUTO(str) struct str said = { 0 };
		enum starttls_next next = STARTTLS_GO_ON;
		const char *text;

		for (size_t at = 0; at + step <= most; at += step) {
			take_output(starttls, &said, most);
			next = starttls_input(starttls, flood.data + at, step);
		}
		ck_assert_int_eq(next, STARTTLS_BROKEN);
		ck_assert_int_ne(starttls_failure(starttls, &text), REASON_OK);
		ck_assert_uint_le(strlen(text), 1000);
		ck_assert_uint_le(said.bytes, 1000);
	}
}
END_TEST

#define FLOODS (18 * (STARTTLS_COUNT - 1))

START_TEST(too_much_is_called_so)
{
	AUTO(starttls) struct starttls_talk *imap = new_of(STARTTLS_IMAP);
	AUTO(starttls) struct starttls_talk *sieve = new_of(STARTTLS_SIEVE);
	AUTO(str) struct str said = { 0 };
	char line[4099] = "\"A\" ";
	const char *text;

	ck_assert_int_eq(starttls_input(imap, "* OK\r\n", 6), STARTTLS_GO_ON);
	take_output(imap, &said, 100);
	for (int i = 0; i < 6553; i++)
		ck_assert_int_eq(starttls_input(imap, "* OK busy\n", 10), STARTTLS_GO_ON);
	ck_assert_int_eq(starttls_input(imap, "* OK busy\n", 10), STARTTLS_BROKEN);
	ck_assert_int_eq(starttls_failure(imap, &text), REASON_STARTTLS_PROTOCOL);
	ck_assert_str_eq(text, "CAPABILITY: too much: more than 65536 bytes");

	memset(line + 4, 'x', 4092);
	line[4096] = '\n';
	ck_assert_int_eq(starttls_input(sieve, line, 4097), STARTTLS_GO_ON);
	line[4096] = 'x';
	line[4097] = '\n';
	ck_assert_int_eq(starttls_input(sieve, line, 4098), STARTTLS_BROKEN);
	ck_assert_int_eq(starttls_failure(sieve, &text), REASON_STARTTLS_PROTOCOL);
	ck_assert_str_eq(text, "greeting: too much: a line of more than 4096 bytes");
}
END_TEST

/* What a close or a timeout is told with. */
START_TEST(last_words_are_kept)
{
	AUTO(starttls) struct starttls_talk *smtp = new_of(STARTTLS_SMTP);
	AUTO(starttls) struct starttls_talk *mysql = new_of(STARTTLS_MYSQL);
	AUTO(str) struct str said = { 0 };

	starttls_input(smtp, "220 pe", 6);
	ck_assert_str_eq(starttls_said(smtp), "220 pe");
	starttls_input(smtp, "er\r\n", 4);
	ck_assert_str_eq(starttls_said(smtp), "220 peer");
	take_output(smtp, &said, 100);
	starttls_input(smtp, "250-peer\r\n250-\xff\x1b", 16);
	ck_assert_str_eq(starttls_said(smtp), "250-\\xff\\x1b");
	ck_assert_str_eq(starttls_waits_for(smtp), "EHLO");
	starttls_input(mysql,
		       "\x20\0\0\0\x0a"
		       "8.0",
		       8);
	ck_assert_str_eq(starttls_waits_for(mysql), "greeting");
}
END_TEST

START_TEST(broken_stays)
{
	AUTO(starttls) struct starttls_talk *starttls = new_of(STARTTLS_POSTGRES);
	const char *text;
	size_t bytes;

	starttls_free(NULL);
	ck_assert_int_eq(starttls_input(starttls, "N", 1), STARTTLS_BROKEN);
	ck_assert_int_eq(starttls_input(starttls, "S", 1), STARTTLS_BROKEN);
	ck_assert_int_eq(starttls_failure(starttls, &text), REASON_STARTTLS_NOT_OFFERED);
	starttls_output(starttls, &bytes);
	ck_assert_uint_eq(bytes, 0);
}
END_TEST

/* Nothing that is said depends on more of the wish than names that are fit. */
START_TEST(names_are_fit)
{
	static const char *const names[] = { NULL, "", "a b", "a\r\nQUIT", "x'y", "<x>", "\xc3\xb6.test" };

	for (int i = 0; i < ROWS(names); i++) {
		const struct starttls_wish wish = {
			.protocol = STARTTLS_XMPP,
			.ehlo = names[i],
			.host = names[i],
		};
		AUTO(starttls) struct starttls_talk *starttls = starttls_new(&wish);
		size_t bytes;

		ck_assert_ptr_nonnull(strstr(starttls_output(starttls, &bytes), " to='localhost' "));
	}
}
END_TEST

START_TEST(goodbyes_are_said)
{
	size_t bytes;

	ck_assert_str_eq(starttls_goodbye(STARTTLS_SMTP, &bytes), "QUIT\r\n");
	ck_assert_uint_eq(bytes, 6);
	ck_assert_str_eq(starttls_goodbye(STARTTLS_IMAP, &bytes), "a9 LOGOUT\r\n");
	ck_assert_ptr_nonnull(starttls_goodbye(STARTTLS_LDAP, &bytes));
	ck_assert_uint_eq(bytes, 7);
	ck_assert_ptr_nonnull(starttls_goodbye(STARTTLS_MYSQL, &bytes));
	ck_assert_uint_eq(bytes, 4 + 0x40); /* as its first byte says */
	ck_assert_ptr_null(starttls_goodbye(STARTTLS_POSTGRES, &bytes));
	ck_assert_uint_eq(bytes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("starttls");
	TCase *tcase = tcase_create("starttls");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_loop_test(tcase, replies_go_as_they_should, 0, ROWS(replies));
	tcase_add_loop_test(tcase, lines_go_as_they_should, 0, ROWS(lines));
	tcase_add_loop_test(tcase, streams_go_as_they_should, 0, ROWS(streams));
	tcase_add_loop_test(tcase, packets_go_as_they_should, 0, ROWS(packets));
	tcase_add_test(tcase, every_protocol_has_a_row);
	tcase_add_test(tcase, ports_are_known);
	tcase_add_loop_test(tcase, floods_end, 0, FLOODS);
	tcase_add_test(tcase, too_much_is_called_so);
	tcase_add_test(tcase, last_words_are_kept);
	tcase_add_test(tcase, broken_stays);
	tcase_add_test(tcase, names_are_fit);
	tcase_add_test(tcase, goodbyes_are_said);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
