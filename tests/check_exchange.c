/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/proto/exchange.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

#define SEND(text) { EXCHANGE_SEND, text, NULL, NULL }
#define EXPECT(text) { EXCHANGE_EXPECT, text, NULL, NULL }
#define EXPECT_NOT(text) { EXCHANGE_EXPECT_NOT, text, NULL, NULL }
#define SEND_HEX(text) { EXCHANGE_SEND_HEX, text, NULL, NULL }
#define EXPECT_HEX(text) { EXCHANGE_EXPECT_HEX, text, NULL, NULL }
#define STARTTLS { EXCHANGE_STARTTLS, "now", NULL, NULL }

enum { STEPS = 14, EVENTS = 14 };

/*
 * What happens: the peer says something; "[tls]": TLS is made; "[quiet]", "[closed]", "[deadline]": as the words say.
 * Whatever is to be sent is sent after each.
 */
struct row {
	const char *name;
	struct exchange_step steps[STEPS]; /* up to the first without a text */
	const char *events[EVENTS];
	const char *said;    /* in all */
	const char *outcome; /* "done", "waits", or "reason: text" */
};

static const struct row rows[] = {
	{ "an empty plan is done", { { 0 } }, { NULL }, "", "done" },
	{ "only sends: done when all is sent", { SEND("a"), SEND_HEX("00 0a") }, { NULL }, "a[0]\n", "done" },
	{ "a banner", { EXPECT("^SSH-2.0-") }, { "SSH-2.0-OpenSSH_9.2\r\n" }, "", "done" },
	{ "a banner in pieces", { EXPECT("^SSH-2.0-") }, { "SSH", "-2", ".0-" }, "", "done" },
	{ "a banner that is another",
	  { EXPECT("^SSH-2.0-") },
	  { "SSH-1.99-x\r\n", "[deadline]" },
	  "",
	  "exchange_mismatch: step 1, expect \"^SSH-2.0-\": received \"SSH-1.99-x\\r\\n\" until the time was over" },
	{ "the same, and the peer closes",
	  { EXPECT("^SSH-2.0-") },
	  { "SSH-1.99-x\r\n", "[closed]" },
	  "",
	  "exchange_mismatch: step 1, expect \"^SSH-2.0-\": received \"SSH-1.99-x\\r\\n\", then the peer closed" },
	{ "its beginning, no more",
	  { EXPECT("^220 ") },
	  { "22", "[deadline]" },
	  "",
	  "exchange_timeout: step 1, expect \"^220 \": received \"22\" until the time was over" },
	{ "nothing comes",
	  { EXPECT("^220") },
	  { "[deadline]" },
	  "",
	  "exchange_timeout: step 1, expect \"^220\": received nothing until the time was over" },
	{ "nothing comes, and the peer closes",
	  { EXPECT("^220") },
	  { "[closed]" },
	  "",
	  "exchange_closed: step 1, expect \"^220\": the peer closed and had sent nothing" },
	{ "after a good banner nothing more comes: its rest is no answer",
	  { EXPECT("^220"), SEND("HELO\r\n"), EXPECT("^250") },
	  { "220-first\r\n220 mx\r\n", "[deadline]" },
	  "HELO\r\n",
	  "exchange_timeout: step 3, expect \"^250\": received nothing until the time was over" },
	{ "not even the rest of its line that comes late",
	  { EXPECT("^220"), SEND("HELO\r\n"), EXPECT("^250") },
	  { "220", " mx\r\n", "[closed]" },
	  "HELO\r\n",
	  "exchange_closed: step 3, expect \"^250\": the peer closed and had sent nothing" },
	{ "but a wrong answer is one",
	  { EXPECT("^220"), SEND("HELO\r\n"), EXPECT("^250") },
	  { "220", " mx\r\n", "502 no\r\n", "[closed]" },
	  "HELO\r\n",
	  "exchange_mismatch: step 3, expect \"^250\": received \"502 no\\r\\n\", then the peer closed" },
	{ "two expects of one line",
	  { EXPECT("^220"), EXPECT("ESMTP") },
	  { "220 mx ESMTP\r\n" },
	  "",
	  "done" },
	{ "the second is not in it",
	  { EXPECT("^220"), EXPECT("ESMTP") },
	  { "220 mx SMTP\r\n", "[deadline]" },
	  "",
	  "exchange_mismatch: step 2, expect \"ESMTP\": received \" mx SMTP\\r\\n\" until the time was over" },
	{ "what is consumed matches no more",
	  { EXPECT("a"), EXPECT("a") },
	  { "ab", "[closed]" },
	  "",
	  "exchange_mismatch: step 2, expect \"a\": received \"b\", then the peer closed" },
	{ "what was received is cleaned and cut",
	  { EXPECT("^x$") },
	  { "\x1b[31m\t\xff\xe2\x80\xae\"\n", "[closed]" },
	  "",
	  "exchange_mismatch: step 1, expect \"^x$\": received \"\\x1b[31m\\t\\xff\\xe2\\x80\\xae\"\\n\", then the peer "
	  "closed" },
	/* settled or not */
	{ "what could grow waits", { EXPECT("^220 \\S+") }, { "220 mail" }, "", "waits" },
	{ "until more comes", { EXPECT("^220 \\S+") }, { "220 mail", "\r\n" }, "", "done" },
	{ "until it is quiet", { EXPECT("^220 \\S+") }, { "220 mail", "[quiet]" }, "", "done" },
	{ "until the peer closes", { EXPECT("^220 \\S+") }, { "220 mail", "[closed]" }, "", "done" },
	{ "until the time is over", { EXPECT("^220 \\S+") }, { "220 mail", "[deadline]" }, "", "done" },
	{ "quiet settles one match", { EXPECT("\\w+"), EXPECT("\\W+") }, { "ab+", "[quiet]" }, "", "done" },
	{ "and not what does not match",
	  { EXPECT("\\w+"), EXPECT("\\d+") },
	  { "ab", "[quiet]", "[quiet]", "1", "[quiet]" },
	  "",
	  "done" },
	{ "a prompt without line end",
	  { EXPECT(".*ogin: "), SEND("me\n"), EXPECT("^Password: ") },
	  { "mx login: ", "[quiet]", "Password: " },
	  "me\n",
	  "done" },
	{ "settled too late for what follows",
	  { EXPECT("hello.*"), SEND("bye\r\n") },
	  { "hello you", "[deadline]" },
	  "",
	  "exchange_timeout: step 1, expect \"hello.*\": what was received matches only if nothing follows, which was "
	  "not sure before the time was over: the expression should end where the answer does" },
	{ "a peer that is gone is told nothing",
	  { EXPECT("hello"), SEND("bye\r\n") },
	  { "[closed]" },
	  "",
	  "exchange_closed: step 1, expect \"hello\": the peer closed and had sent nothing" },
	/* guards */
	{ "a guard that matches ends it at once",
	  { EXPECT_NOT("^5"), EXPECT("^220") },
	  { "554 no service\r\n" },
	  "",
	  "exchange_mismatch: step 1, expect_not \"^5\": received \"554 no service\\r\\n\"" },
	{ "one that does not, does not", { EXPECT_NOT("^5"), EXPECT("^220") }, { "220 mx\r\n" }, "", "done" },
	{ "a guard before what is sent guards the answer to that",
	  { EXPECT("^220 mx\r\n"), EXPECT_NOT("^4"), SEND("EHLO\r\n"), EXPECT_NOT("^5"), SEND_HEX("00"),
	    EXPECT("^250") },
	  { "220 mx\r\n", "451 later\r\n" },
	  "EHLO\r\n[0]",
	  "exchange_mismatch: step 2, expect_not \"^4\": received \"451 later\\r\\n\"" },
	{ "the same, the nearer of two",
	  { EXPECT("^220 mx\r\n"), EXPECT_NOT("^4"), SEND("EHLO\r\n"), EXPECT_NOT("^5"), SEND_HEX("00"),
	    EXPECT("^250") },
	  { "220 mx\r\n", "500 what\r\n" },
	  "EHLO\r\n[0]",
	  "exchange_mismatch: step 4, expect_not \"^5\": received \"500 what\\r\\n\"" },
	{ "the same, content",
	  { EXPECT("^220 mx\r\n"), EXPECT_NOT("^4"), SEND("EHLO\r\n"), EXPECT_NOT("^5"), SEND_HEX("00"),
	    EXPECT("^250") },
	  { "220 mx\r\n", "250 hello\r\n" },
	  "EHLO\r\n[0]",
	  "done" },
	{ "a guard of hex that has nothing against it",
	  { EXPECT_NOT("^5"), SEND("a"), EXPECT_HEX("53 54") },
	  { "ST" },
	  "a",
	  "done" },
	{ "one that has", { EXPECT_NOT("T$"), EXPECT_HEX("53 54") }, { "ST" }, "",
	  "exchange_mismatch: step 1, expect_not \"T$\": received \"ST\"" },
	{ "wrong hex is the hex's, whatever its guards say",
	  { EXPECT_NOT("^5"), EXPECT_HEX("53") },
	  { "554 no\r\n" },
	  "",
	  "exchange_mismatch: step 2, expect_hex \"53\": received \"554 no\\r\\n\"" },
	{ "the second of two",
	  { EXPECT_NOT("^4"), EXPECT_NOT("^5"), EXPECT("^220") },
	  { "554 no\r\n" },
	  "",
	  "exchange_mismatch: step 2, expect_not \"^5\": received \"554 no\\r\\n\"" },
	{ "a guard before the match decides",
	  { EXPECT_NOT("warming up"), EXPECT("^ready") },
	  { "warming up\nready\n" },
	  "",
	  "exchange_mismatch: step 1, expect_not \"warming up\": received \"warming up\\nready\\n\"" },
	{ "within the match, too",
	  { EXPECT_NOT("fail$"), EXPECT("^status: .*$") },
	  { "status: fail\r\n" },
	  "",
	  "exchange_mismatch: step 1, expect_not \"fail$\": received \"status: fail\\r\\n\"" },
	{ "after the match it is not asked",
	  { EXPECT_NOT("error"), EXPECT("^ready") },
	  { "ready\nerror\n" },
	  "",
	  "done" },
	{ "a match that has begun before the guard's is awaited",
	  { EXPECT_NOT("b"), EXPECT("a(?!bcd)") },
	  { "abcx" },
	  "",
	  "done" },
	{ "a guard holds for one expect",
	  { EXPECT_NOT("b"), EXPECT("a"), EXPECT("b") },
	  { "ab" },
	  "",
	  "done" },
	{ "a guard that is not settled when the peer closes",
	  { EXPECT_NOT("^-ERR.*"), EXPECT("^\\+OK") },
	  { "-ERR no", "[closed]" },
	  "",
	  "exchange_mismatch: step 1, expect_not \"^-ERR.*\": received \"-ERR no\", then the peer closed" },
	{ "guards say nothing about silence",
	  { EXPECT_NOT(".*"), EXPECT("a") },
	  { "[closed]" },
	  "",
	  "exchange_closed: step 2, expect \"a\": the peer closed and had sent nothing" },
	/* hex */
	{ "hex", { SEND_HEX("0000 0008 04d2162f"), EXPECT_HEX("53") }, { "S" }, "[0][0][0]\x08\x04\xd2\x16/", "done" },
	{ "hex in pieces", { EXPECT_HEX("61 62 63") }, { "a", "b", "c" }, "", "done" },
	{ "the first wrong byte",
	  { EXPECT_HEX("61 62 63") },
	  { "a", "\x01" },
	  "",
	  "exchange_mismatch: step 1, expect_hex \"61 62 63\": received \"a\\x01\"" },
	{ "too few bytes",
	  { EXPECT_HEX("61 62 63") },
	  { "a", "[deadline]" },
	  "",
	  "exchange_timeout: step 1, expect_hex \"61 62 63\": received \"a\" until the time was over" },
	{ "no bytes",
	  { EXPECT_HEX("61") },
	  { "[closed]" },
	  "",
	  "exchange_closed: step 1, expect_hex \"61\": the peer closed and had sent nothing" },
	{ "more than these", { EXPECT_HEX("61"), EXPECT("^b") }, { "ab" }, "", "done" },
	/* captures */
	{ "what was captured is sent",
	  { EXPECT("^220 (?<host>\\S+)"), SEND("EHLO ${capture.host}\r\n"), EXPECT("^250") },
	  { "220 mx.example.com ESMTP\r\n", "250 mx.example.com\r\n" },
	  "EHLO mx.example.com\r\n",
	  "done" },
	{ "however it comes",
	  { EXPECT("^220 (?<host>\\S+)"), SEND("EHLO ${capture.host}\r\n"), EXPECT("^250") },
	  { "220 mx.exam", "ple.com ESMTP\r\n", "250 mx.example.com\r\n" },
	  "EHLO mx.example.com\r\n",
	  "done" },
	{ "the latest counts, and what had no part keeps the one before",
	  { EXPECT("a(?<x>\\d)"), EXPECT("a(?<x>\\d)"), EXPECT("a(?<x>\\d)?b"), SEND("${capture.x}") },
	  { "a1a2ab" },
	  "2",
	  "done" },
	{ "what never had a part is empty",
	  { EXPECT("a(?<x>\\d)?b"), SEND("<${capture.x}>") },
	  { "ab" },
	  "<>",
	  "done" },
	{ "twice, and beside other dollars",
	  { EXPECT("(?<x>\\d)"), SEND("$${capture.x} $ $$ ${$}{ ${capture.x}${capture.x}$") },
	  { "7" },
	  "${capture.x} $ $$ ${ 77$",
	  "done" },
	{ "what the peer said is not read again",
	  { EXPECT("^(?<x>.*)$"), SEND("${capture.x}") },
	  { "${capture.x}$${\n" },
	  "${capture.x}$${",
	  "done" },
	/* starttls */
	{ "the rest of the go-ahead's line is awaited",
	  { SEND("STARTTLS\r\n"), EXPECT("^220"), STARTTLS, SEND("EHLO\r\n"), EXPECT("^250") },
	  { "220", " go", " ahead\r\n", "[tls]", "250 mx\r\n" },
	  "STARTTLS\r\n[tls]EHLO\r\n",
	  "done" },
	{ "a match that takes the line end",
	  { EXPECT("^220.*\\n"), STARTTLS },
	  { "220 go\n", "[tls]" },
	  "[tls]",
	  "done" },
	{ "after bytes nothing is awaited",
	  { SEND_HEX("00 00 00 08 04 d2 16 2f"), EXPECT_HEX("53"), STARTTLS },
	  { "S", "[tls]" },
	  "[0][0][0]\x08\x04\xd2\x16/[tls]",
	  "done" },
	{ "TLS first thing", { STARTTLS, EXPECT("a") }, { "[tls]", "a" }, "[tls]", "done" },
	{ "a word between go-ahead and TLS",
	  { EXPECT("^220"), STARTTLS, EXPECT("^250") },
	  { "220 go\r\n250 I am an injection\r\n" },
	  "",
	  "exchange_mismatch: step 2, starttls: the peer spoke between the go-ahead and TLS: \"250 I am an "
	  "injection\\r\\n\"" },
	{ "a byte more",
	  { EXPECT_HEX("53"), STARTTLS },
	  { "SN" },
	  "",
	  "exchange_mismatch: step 2, starttls: the peer spoke between the go-ahead and TLS: \"N\"" },
	{ "a go-ahead without end",
	  { EXPECT("^S"), STARTTLS },
	  { "S", "[deadline]" },
	  "",
	  "exchange_timeout: step 2, starttls: the line of the go-ahead had no end until the time was over (expect_hex "
	  "is for protocols without lines)" },
	{ "the peer closes instead",
	  { EXPECT("^220"), STARTTLS },
	  { "220 go", "[closed]" },
	  "",
	  "exchange_closed: step 2, starttls: the peer closed before TLS" },
	{ "the peer closes before the handshake",
	  { EXPECT("^220"), STARTTLS },
	  { "220 go\r\n", "[closed]" },
	  "",
	  "exchange_closed: step 2, starttls: the peer closed before TLS" },
	/*
	 * blackbox_exporter's examples, one for one: its `send` adds a LF, its `expect` reads line by line, and a send
	 * beside an expect follows it.
	 */
	{ "blackbox: imap_starttls",
	  { EXPECT("OK.*STARTTLS"), SEND(". STARTTLS\n"), EXPECT("OK"), STARTTLS, SEND(". capability\n"),
	    EXPECT("CAPABILITY IMAP4rev1") },
	  { "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\n", ". OK Begin TLS negotiation now.\r\n", "[tls]",
	    "* CAPABILITY IMAP4rev1 SASL-IR\r\n. OK done\r\n" },
	  ". STARTTLS\n[tls]. capability\n",
	  "done" },
	{ "blackbox: smtp_starttls",
	  { EXPECT("^220 ([^ ]+) ESMTP (.+)$"), SEND("EHLO prober\r\n"), EXPECT("^250-STARTTLS"),
	    SEND("STARTTLS\r\n"), EXPECT("^220"), STARTTLS, SEND("EHLO prober\r\n"), EXPECT("^250-AUTH"),
	    SEND("QUIT\r\n") },
	  { "220 mx.example.com ESMTP Postfix\r\n", "250-mx.example.com\r\n250-STARTTLS\r\n250 DSN\r\n",
	    "220 2.0.0 Ready to start TLS\r\n", "[tls]", "250-mx.example.com\r\n250-AUTH PLAIN\r\n250 DSN\r\n" },
	  "EHLO prober\r\nSTARTTLS\r\n[tls]EHLO prober\r\nQUIT\r\n",
	  "done" },
	{ "blackbox: smtp_starttls, not offered",
	  { EXPECT("^220 ([^ ]+) ESMTP (.+)$"), SEND("EHLO prober\r\n"), EXPECT("^250-STARTTLS"),
	    SEND("STARTTLS\r\n"), EXPECT("^220"), STARTTLS },
	  { "220 mx.example.com ESMTP Postfix\r\n", "250-mx.example.com\r\n250 DSN\r\n", "[deadline]" },
	  "EHLO prober\r\n",
	  "exchange_mismatch: step 3, expect \"^250-STARTTLS\": received \"250-mx.example.com\\r\\n250 DSN\\r\\n\" until "
	  "the time was over" },
	{ "blackbox: irc_banner",
	  { SEND("NICK prober\n"), SEND("USER prober prober prober :prober\n"), EXPECT("PING :(?<token>[^ \\r\\n]+)"),
	    SEND("PONG ${capture.token}\n"), EXPECT("^:[^ ]+ 001") },
	  { ":irc.example.com NOTICE * :*** Looking up\r\nPING :1A2B3C\r\n", ":irc.example.com 001 prober :Welcome\r\n" },
	  "NICK prober\nUSER prober prober prober :prober\nPONG 1A2B3C\n",
	  "done" },
	{ "blackbox: pop3s_banner", { EXPECT("^\\+OK") }, { "+OK Dovecot ready.\r\n" }, "", "done" },
	{ "blackbox: ssh_banner",
	  { EXPECT("^SSH-2.0-"), SEND("SSH-2.0-blackbox-ssh-check\n") },
	  { "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" },
	  "SSH-2.0-blackbox-ssh-check\n",
	  "done" },
	{ "blackbox: ssh_banner_extract",
	  { EXPECT("^SSH-2.0-(?<version>[^ -]+)(?: (?<comment>.*))?$") },
	  { "SSH-2.0-OpenSSH_9.2p1 Debian\r\n" },
	  "",
	  "done" },
	{ "blackbox: rabbitmq",
	  { SEND("HELO\r\n"), SEND("\r\n"), SEND("\r\n"), SEND("\r\n"), EXPECT("AMQP") },
	  { "AMQP" },
	  "HELO\r\n\r\n\r\n\r\n",
	  "done" },
	{ "FTP with AUTH TLS",
	  { EXPECT("^220 "), SEND("AUTH TLS\r\n"), EXPECT_NOT("^5"), EXPECT("^234"), STARTTLS, SEND("QUIT\r\n"),
	    EXPECT("^221") },
	  { "220-Hello\r\n220 (vsFTPd 3.0.3)\r\n", "234 Proceed with negotiation.\r\n", "[tls]", "221 Goodbye.\r\n" },
	  "AUTH TLS\r\n[tls]QUIT\r\n",
	  "done" },
	{ "FTP without it",
	  { EXPECT("^220 "), SEND("AUTH TLS\r\n"), EXPECT_NOT("^5"), EXPECT("^234"), STARTTLS },
	  { "220 (vsFTPd 3.0.3)\r\n", "530 Please login with USER and PASS.\r\n" },
	  "AUTH TLS\r\n",
	  "exchange_mismatch: step 3, expect_not \"^5\": received \"530 Please login with USER and PASS.\\r\\n\"" },
	{ "Redis", { SEND("PING\r\n"), EXPECT("^\\+PONG$") }, { "+PONG\r\n" }, "PING\r\n", "done" },
};

static size_t count_steps(const struct exchange_step *steps)
{
	size_t count = 0;

	while (count < STEPS && steps[count].text != NULL)
		count++;
	return count;
}

static struct exchange_plan *make(const struct exchange_step *steps, size_t count)
{
	struct error err;
	size_t bad_step;
	struct exchange_plan *plan = exchange_plan_new(steps, count, &bad_step, &err);

	ck_assert_msg(plan != NULL, "step %zu: %s", bad_step, err.text);
	return plan;
}

/* Zeros as "[0]". */
static enum exchange_next send_all(struct exchange *exchange, enum exchange_next next, struct str *said, bool singly)
{
	size_t bytes;
	const char *data = exchange_output(exchange, &bytes);

	while (bytes > 0) {
		size_t part = singly ? 1 : bytes;

		for (size_t i = 0; i < part; i++)
			if (data[i] == '\0')
				str_add(said, "[0]");
			else
				str_add_char(said, data[i]);
		next = exchange_output_sent(exchange, part);
		data = exchange_output(exchange, &bytes);
	}
	return next;
}

static enum exchange_next happen(struct exchange *exchange, const char *event, struct str *said, bool singly)
{
	enum exchange_next next = EXCHANGE_GO_ON;

	if (strcmp(event, "[quiet]") == 0)
		return exchange_quiet(exchange);
	if (strcmp(event, "[closed]") == 0)
		return exchange_closed(exchange);
	if (strcmp(event, "[deadline]") == 0)
		return exchange_timed_out(exchange);
	if (strcmp(event, "[tls]") == 0) {
		str_add(said, "[tls]");
		return exchange_tls_started(exchange);
	}
	for (size_t i = 0; singly && event[i] != '\0'; i++)
		next = exchange_input(exchange, event + i, 1);
	return singly ? next : exchange_input(exchange, event, strlen(event));
}

static void check_row(const struct row *row, bool singly)
{
	struct exchange_plan *plan = make(row->steps, count_steps(row->steps));
	struct exchange *exchange = exchange_new(plan);
	struct str said = { 0 };
	enum exchange_next next = send_all(exchange, exchange_begin(exchange), &said, singly);
	AUTO(string) char *outcome = NULL;
	const char *text;
	enum reason reason;

	for (size_t i = 0; i < EVENTS && row->events[i] != NULL; i++) {
		bool is_tls = strcmp(row->events[i], "[tls]") == 0;

		ck_assert_msg((next == EXCHANGE_START_TLS) == is_tls || strcmp(row->events[i], "[closed]") == 0,
			      "%s: event %zu: %d", row->name, i, (int)next);
		next = send_all(exchange, happen(exchange, row->events[i], &said, singly), &said, singly);
	}
	reason = exchange_failure(exchange, &text);
	ck_assert_msg((next == EXCHANGE_FAILED) == (reason != REASON_OK), "%s", row->name);
	outcome = next == EXCHANGE_DONE    ? mem_strdup("done") :
		  next == EXCHANGE_FAILED  ? mem_printf("%s: %s", reason_name(reason), text) :
					     mem_strdup(next == EXCHANGE_GO_ON ? "waits" : "starts TLS");
	/* What had come when a mismatch was seen at once depends on the pieces; up to "received" all is the same. */
	if (singly && next == EXCHANGE_FAILED && strstr(row->outcome, "received \"") != NULL &&
	    strstr(outcome, "received \"") != NULL) {
		size_t same = (size_t)(strstr(row->outcome, "received \"") - row->outcome);

		ck_assert_msg(strncmp(outcome, row->outcome, same) == 0, "%s: %s", row->name, outcome);
	} else if (singly && next == EXCHANGE_FAILED && strstr(row->outcome, "TLS: \"") != NULL) {
		ck_assert_msg(strncmp(outcome, row->outcome, 40) == 0, "%s: %s", row->name, outcome);
	} else {
		ck_assert_msg(strcmp(outcome, row->outcome) == 0, "%s: %s", row->name, outcome);
	}
	ck_assert_msg(strcmp(said.data != NULL ? said.data : "", row->said) == 0, "%s: said %s", row->name, said.data);
	ck_assert_msg((next == EXCHANGE_DONE) == (exchange_step(exchange) == count_steps(row->steps)), "%s", row->name);
	exchange_free(exchange);
	exchange_plan_free(plan);
	str_done(&said);
}

START_TEST(talks_as_planned)
{
	check_row(&rows[_i], false);
}
END_TEST

START_TEST(talks_the_same_byte_by_byte)
{
	check_row(&rows[_i], true);
}
END_TEST

static const struct {
	struct exchange_step steps[STEPS];
	size_t bad_step;
	const char *report;
} mistakes[] = {
	{ { SEND("a"), EXPECT("(") }, 1, "not a regular expression: missing closing parenthesis (at character 2)" },
	{ { EXPECT_NOT("[") },
	  0,
	  "not a regular expression: missing terminating ] for character class (at character 2)" },
	{ { SEND("${capture.host}") }, 0, "no expect before this has a group (?<host>...)" },
	{ { EXPECT("(?<a>x)"), SEND("${capture.b}") }, 1, "no expect before this has a group (?<b>...)" },
	{ { SEND("${capture.a}"), EXPECT("(?<a>x)") }, 0, "no expect before this has a group (?<a>...)" },
	{ { EXPECT_NOT("(?<a>x)"), EXPECT("y"), SEND("${capture.a}") },
	  2,
	  "no expect before this has a group (?<a>...)" },
	{ { SEND("${HOME}") }, 0, "\"${\" must be \"${capture.NAME}\" (a literal one is written \"$${\")" },
	{ { SEND("${capture.a b}") }, 0, "\"${capture.\" needs a group's name and \"}\"" },
	{ { SEND("${capture.}") }, 0, "\"${capture.\" needs a group's name and \"}\"" },
	{ { SEND("${capture.a") }, 0, "\"${capture.\" needs a group's name and \"}\"" },
	{ { SEND_HEX("0") }, 0, "must be bytes of two hexadecimal digits, like \"00 ff\"" },
	{ { EXPECT_HEX(" ") }, 0, "must be at least one byte, like \"00 ff\"" },
	{ { EXPECT("a"), EXPECT_NOT("b") }, 1, "expect_not guards the next expect: an expect must follow it" },
	{ { EXPECT_NOT("b"), SEND("a") }, 1, "expect_not guards the next expect: an expect must follow it" },
	{ { EXPECT_NOT("b"), STARTTLS, EXPECT("a") },
	  1,
	  "expect_not guards the next expect: an expect must follow it" },
	{ { EXPECT_NOT("b"), SEND("a"), STARTTLS },
	  2,
	  "expect_not guards the next expect: an expect must follow it" },
	{ { STARTTLS, STARTTLS }, 1, "starttls can be only once" },
};

START_TEST(refuses_what_cannot_be)
{
	struct error err = { 0 };
	size_t bad_step;

	ck_assert_ptr_null(exchange_plan_new(mistakes[_i].steps, count_steps(mistakes[_i].steps), &bad_step, &err));
	ck_assert_str_eq(err.text, mistakes[_i].report);
	ck_assert_uint_eq(bad_step, mistakes[_i].bad_step);
}
END_TEST

START_TEST(caps_a_plan)
{
	struct exchange_step steps[EXCHANGE_STEPS_MAX + 1];
	AUTO(string) char *text = mem_alloc(EXCHANGE_SEND_BYTES_MAX + 2);
	struct error err;
	size_t bad_step;

	for (size_t i = 0; i <= EXCHANGE_STEPS_MAX; i++)
		steps[i] = (struct exchange_step)SEND("a");
	exchange_plan_free(make(steps, EXCHANGE_STEPS_MAX));
	ck_assert_ptr_null(exchange_plan_new(steps, EXCHANGE_STEPS_MAX + 1, &bad_step, &err));
	ck_assert_str_eq(err.text, "an exchange has at most 100 steps");
	memset(text, 'a', EXCHANGE_SEND_BYTES_MAX);
	steps[0].text = text;
	exchange_plan_free(make(steps, 1));
	text[EXCHANGE_SEND_BYTES_MAX] = 'a';
	ck_assert_ptr_null(exchange_plan_new(steps, 1, &bad_step, &err));
	ck_assert_str_eq(err.text, "is more than 64 KiB to send or expect");
}
END_TEST

START_TEST(knows_whether_it_starts_tls)
{
	static const struct exchange_step plain[] = { EXPECT("a") };
	static const struct exchange_step tls[] = { EXPECT("a"), STARTTLS };
	struct exchange_plan *plan = make(plain, 1);

	ck_assert(!exchange_plan_starts_tls(plan));
	exchange_plan_free(plan);
	plan = make(tls, 2);
	ck_assert(exchange_plan_starts_tls(plan));
	exchange_plan_free(plan);
}
END_TEST

static void check_failure(struct exchange *exchange, enum reason reason, const char *text)
{
	const char *is;

	ck_assert_int_eq(exchange_failure(exchange, &is), reason);
	ck_assert_str_eq(is, text);
}

/* Fed a flood of 'a' in parts: 64 KiB are kept, and one byte more is the end. */
START_TEST(ends_a_flood)
{
	static const struct exchange_step steps[] = { EXPECT("^220") };
	const size_t part_bytes = _i == 0 ? 1000 : _i == 1 ? 65536 : 200000;
	struct exchange_plan *plan = make(steps, 1);
	struct exchange *exchange = exchange_new(plan);
	AUTO(string) char *part = mem_alloc(part_bytes);
	enum exchange_next next = exchange_begin(exchange);
	size_t fed = 0;

	memset(part, 'a', part_bytes);
	while (next == EXCHANGE_GO_ON) {
		ck_assert_uint_le(fed, EXCHANGE_INPUT_BYTES_MAX);
		next = exchange_input(exchange, part, part_bytes);
		fed += part_bytes;
	}
	ck_assert_int_eq(next, EXCHANGE_FAILED);
	check_failure(exchange, REASON_EXCHANGE_TOO_LONG,
		      "step 1, expect \"^220\": received more than 64 KiB without a match");
	ck_assert_int_eq(exchange_input(exchange, "220", 3), EXCHANGE_FAILED);
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

/* Not the amount of what comes is bounded, but of what no step consumes. */
START_TEST(takes_more_than_64_kib_in_steps)
{
	static const struct exchange_step steps[] = { EXPECT("(?s)^.*?END"), EXPECT("END"), EXPECT("END") };
	struct exchange_plan *plan = make(steps, 3);
	struct exchange *exchange = exchange_new(plan);
	struct str data = { 0 };

	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 60000; j++)
			str_add_char(&data, 'a');
		str_add(&data, "END");
	}
	exchange_begin(exchange);
	ck_assert_int_eq(exchange_input(exchange, data.data, data.bytes), EXCHANGE_DONE);
	exchange_free(exchange);
	exchange_plan_free(plan);
	str_done(&data);
}
END_TEST

START_TEST(cuts_what_is_shown)
{
	static const struct exchange_step steps[] = { EXPECT("^this is an expression that nobody needs to read in "
							     "full, for it is longer than a line") };
	struct exchange_plan *plan = make(steps, 1);
	struct exchange *exchange = exchange_new(plan);
	AUTO(str) struct str text = { 0 };

	str_add(&text, "step 1, expect \"^this is an expression that nobody needs to read in full, for it is longer "
		       "than ...\": received \"");
	exchange_begin(exchange);
	for (int i = 0; i < 201; i++) {
		exchange_input(exchange, "x", 1);
		if (i < 200)
			str_add_char(&text, 'x');
	}
	str_add(&text, "...\" until the time was over");
	ck_assert_int_eq(exchange_timed_out(exchange), EXCHANGE_FAILED);
	check_failure(exchange, REASON_EXCHANGE_MISMATCH, text.data);
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

START_TEST(caps_a_capture)
{
	static const struct exchange_step steps[] = { EXPECT("^(?<word>\\w+)(?<rest>.*)$"), SEND("${capture.word}") };
	const size_t bytes = EXCHANGE_CAPTURE_BYTES_MAX + (size_t)_i;
	struct exchange_plan *plan = make(steps, 2);
	struct exchange *exchange = exchange_new(plan);
	enum exchange_next next = exchange_begin(exchange);
	size_t sent;

	for (size_t i = 0; i < bytes; i++)
		exchange_input(exchange, "x", 1);
	for (size_t i = 0; i < 1000; i++) /* one that is not used may be longer */
		exchange_input(exchange, ".", 1);
	next = exchange_input(exchange, "\n", 1);
	exchange_output(exchange, &sent);
	if (_i == 0) {
		ck_assert_int_eq(next, EXCHANGE_GO_ON);
		ck_assert_uint_eq(sent, bytes);
	} else {
		ck_assert_int_eq(next, EXCHANGE_FAILED);
		ck_assert_uint_eq(sent, 0);
		check_failure(exchange, REASON_EXCHANGE_TOO_LONG,
			      "step 1, expect \"^(?<word>\\w+)(?<rest>.*)$\": word captured more than 256 bytes");
	}
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

START_TEST(gives_up_an_expression_without_end)
{
	static const struct exchange_step steps[] = { EXPECT("(a+)+$") };
	static const char data[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n";
	struct exchange_plan *plan = make(steps, 1);
	struct exchange *exchange = exchange_new(plan);

	exchange_begin(exchange);
	ck_assert_int_eq(exchange_input(exchange, data, strlen(data)), EXCHANGE_FAILED);
	check_failure(exchange, REASON_EXCHANGE_MISMATCH,
		      "step 1, expect \"(a+)+$\": gave up: the expression takes too many steps on what was received");
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

/* Time and end while something is to be sent, which is not in the text: it may be a secret. */
START_TEST(does_not_tell_what_it_sends)
{
	static const struct exchange_step steps[] = { SEND("AUTH hunter2\r\n"), EXPECT("^235") };
	struct exchange_plan *plan = make(steps, 2);
	struct exchange *exchange = exchange_new(plan);
	size_t bytes;

	exchange_begin(exchange);
	ck_assert_int_eq(exchange_output_sent(exchange, 3), EXCHANGE_GO_ON);
	ck_assert_uint_eq(exchange_step(exchange), 0);
	if (_i == 0) {
		ck_assert_int_eq(exchange_timed_out(exchange), EXCHANGE_FAILED);
		check_failure(exchange, REASON_EXCHANGE_TIMEOUT,
			      "step 1, send: not all was sent until the time was over");
	} else {
		ck_assert_int_eq(exchange_closed(exchange), EXCHANGE_FAILED);
		check_failure(exchange, REASON_EXCHANGE_CLOSED, "step 1, send: the peer closed before all was sent");
	}
	exchange_output(exchange, &bytes);
	ck_assert_uint_eq(bytes, 0);
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

/* A server may repeat what it does not understand, also cut where we cut what we show. */
START_TEST(does_not_tell_what_is_repeated)
{
	static const struct exchange_step steps[] = { SEND("PASS ${[}hunter2${$}${]}\r\n"), EXPECT("^OK") };
	AUTO(str) struct str answer = { 0 };
	struct exchange_plan *plan = make(steps, 2);
	struct exchange *exchange = exchange_new(plan);
	const char *output;
	const char *text;
	size_t bytes;

	exchange_begin(exchange);
	output = exchange_output(exchange, &bytes);
	ck_assert_uint_eq(bytes, 15);
	ck_assert_int_eq(memcmp(output, "PASS hunter2$\r\n", bytes), 0);
	exchange_output_sent(exchange, bytes);
	for (int i = 0; i < 195; i++)
		str_add_char(&answer, 'x');
	str_add(&answer, "hunter2$\r\nunknown: PASS hunter2$\r\n");
	exchange_input(exchange, answer.data + (_i == 0 ? 197 + 8 : 0), answer.bytes - (_i == 0 ? 197 + 8 : 0));
	ck_assert_int_eq(exchange_closed(exchange), EXCHANGE_FAILED);
	exchange_failure(exchange, &text);
	ck_assert_ptr_null(strstr(text, "hunt"));
	if (_i == 0)
		check_failure(exchange, REASON_EXCHANGE_MISMATCH,
			      "step 2, expect \"^OK\": received \"unknown: PASS ********\\r\\n\", then the peer closed");
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

START_TEST(says_when_it_is_unsettled)
{
	static const struct exchange_step steps[] = { SEND("a"), EXPECT("\\w+"), EXPECT("b$") };
	struct exchange_plan *plan = make(steps, 3);
	struct exchange *exchange = exchange_new(plan);

	exchange_begin(exchange);
	exchange_input(exchange, "x", 1); /* before it is asked */
	ck_assert(!exchange_is_unsettled(exchange));
	exchange_output_sent(exchange, 1);
	ck_assert(exchange_is_unsettled(exchange));
	ck_assert_uint_eq(exchange_step(exchange), 1);
	exchange_input(exchange, " b", 2);
	ck_assert(exchange_is_unsettled(exchange));
	ck_assert_uint_eq(exchange_step(exchange), 2);
	exchange_input(exchange, "c", 1);
	ck_assert(!exchange_is_unsettled(exchange));
	exchange_input(exchange, "b\n", 2);
	ck_assert(!exchange_is_unsettled(exchange));
	ck_assert_uint_eq(exchange_step(exchange), 3);
	exchange_free(exchange);
	exchange_plan_free(plan);
}
END_TEST

static Suite *exchange_suite(void)
{
	Suite *suite = suite_create("exchange");
	TCase *tcase = tcase_create("exchange");

	tcase_add_loop_test(tcase, talks_as_planned, 0, ROWS(rows));
	tcase_add_loop_test(tcase, talks_the_same_byte_by_byte, 0, ROWS(rows));
	tcase_add_loop_test(tcase, refuses_what_cannot_be, 0, ROWS(mistakes));
	tcase_add_test(tcase, caps_a_plan);
	tcase_add_test(tcase, knows_whether_it_starts_tls);
	tcase_add_loop_test(tcase, ends_a_flood, 0, 3);
	tcase_add_test(tcase, takes_more_than_64_kib_in_steps);
	tcase_add_test(tcase, cuts_what_is_shown);
	tcase_add_loop_test(tcase, caps_a_capture, 0, 2);
	tcase_add_test(tcase, gives_up_an_expression_without_end);
	tcase_add_loop_test(tcase, does_not_tell_what_it_sends, 0, 2);
	tcase_add_loop_test(tcase, does_not_tell_what_is_repeated, 0, 2);
	tcase_add_test(tcase, says_when_it_is_unsettled);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(exchange_suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
