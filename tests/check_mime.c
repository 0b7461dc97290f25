/* SPDX-License-Identifier: MIT */
/* Rows of what goes in and what comes out; and 10,000 random names that Python's email module must read back. */
#include "lib/proto/mime.h"

#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"

extern char **environ;

static const struct {
	const char *name;
	const char *value;
	const char *header;
} headers[] = {
	{ "Subject", "[CRITICAL] shop: connection refused #412",
	  "Subject: [CRITICAL] shop: connection refused #412\r\n" },
	{ "Subject", "", "Subject: \r\n" },
	{ "Subject", NULL, "Subject: \r\n" },
	{ "Subject", "J\xc3\xb6rg", "Subject: =?UTF-8?Q?J=C3=B6rg?=\r\n" },
	{ "Subject", "two  blanks", "Subject: =?UTF-8?Q?two__blanks?=\r\n" },
	{ "Subject", " before", "Subject: =?UTF-8?Q?_before?=\r\n" },
	{ "Subject", "after ", "Subject: =?UTF-8?Q?after_?=\r\n" },
	{ "Subject", "=?UTF-8?Q?fake?=", "Subject: =?UTF-8?Q?=3D=3FUTF-8=3FQ=3Ffake=3F=3D?=\r\n" },
	{ "Subject", "a\r\nBcc: evil@example.com", "Subject: =?UTF-8?Q?a__Bcc=3A_evil=40example=2Ecom?=\r\n" },
	{ "Subject", "a\rb\x7f", "Subject: =?UTF-8?Q?a_b_?=\r\n" },
	{ "Subject", "a\tb", "Subject: a b\r\n" },
	{ "Subject", "a\xff" "b", "Subject: =?UTF-8?Q?a=EF=BF=BDb?=\r\n" },
	{ "Subject", "\xed\xa0\x80", "Subject: =?UTF-8?Q?=EF=BF=BD=EF=BF=BD=EF=BF=BD?=\r\n" },
	{ "Subject", "123456789 123456789 123456789 123456789 123456789 123456789 123456789",
	  "Subject: 123456789 123456789 123456789 123456789 123456789 123456789 123456789\r\n" },
	{ "Subject", "123456789 123456789 123456789 123456789 123456789 123456789 1234567890",
	  "Subject: 123456789 123456789 123456789 123456789 123456789 123456789\r\n 1234567890\r\n" },
	{ "X-Long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	  "X-Long: =?UTF-8?Q?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?=\r\n"
	  " =?UTF-8?Q?aaaaaaaaaaaaaaaaaaaaaaaaaaaa?=\r\n" },
	/* 63 characters are the first line's room: the euro sign does not fit and goes whole to the next. */
	{ "S", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xe2\x82\xac",
	  "S: =?UTF-8?Q?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?=\r\n =?UTF-8?Q?=E2=82=AC?=\r\n" },
	{ "Bad Name", "x", "" },
	{ "Bad:", "x", "" },
	{ "", "x", "" },
	{ "X\r\nY", "x", "" },
};

START_TEST(header)
{
	AUTO(str) struct str out = { 0 };

	mime_add_header(&out, headers[_i].name, headers[_i].value);
	ck_assert_str_eq(out.data != NULL ? out.data : "", headers[_i].header);
}
END_TEST

static const struct {
	const char *text;
	const char *bare;
	const char *name;
} addresses[] = {
	{ "ops@example.com", "ops@example.com", NULL },
	{ "  ops@example.com ", "ops@example.com", NULL },
	{ "<ops@example.com>", "ops@example.com", NULL },
	{ "Portbell <portbell@example.com>", "portbell@example.com", "Portbell" },
	{ "Portbell<portbell@example.com>", "portbell@example.com", "Portbell" },
	{ "\"Last, First\" <a@b>", "a@b", "Last, First" },
	{ "\"x <y@z> \\\"q\\\"\" <a@b>", "a@b", "x <y@z> \"q\"" },
	{ "J\xc3\xb6rg <j\xc3\xb6rg@b\xc3\xbc.example>", "j\xc3\xb6rg@b\xc3\xbc.example", "J\xc3\xb6rg" },
	{ "\"\" <a@b>", "a@b", "" },
	{ "", NULL, NULL },
	{ "ops", NULL, NULL },
	{ "@example.com", NULL, NULL },
	{ "ops@", NULL, NULL },
	{ "a b@c", NULL, NULL },
	{ "X <a@b", NULL, "X" },
	{ "X <a@b> y", NULL, "X" },
	{ "a@b\r\nRCPT TO:<c@d>", "c@d", "a@b\r\nRCPT TO:" },
	{ "a@b\r\nX", NULL, NULL },
	{ "X <a@b\nc>", NULL, "X" },
};

START_TEST(address)
{
	AUTO(string) char *bare = mime_bare_address(addresses[_i].text);
	AUTO(string) char *name = mime_display_name(addresses[_i].text);

	ck_assert_pstr_eq(bare, addresses[_i].bare);
	ck_assert_pstr_eq(name, addresses[_i].name);
}
END_TEST

static struct mime_message sample(void)
{
	static const char *const to[] = {
		"ops@example.com", "\"Doe, Jane\" <jane@example.com>", "J\xc3\xb6rg <joerg@example.com>",
	};
	static const char *const references[] = { "412.1.a@mon.example", "412.2.a@mon.example" };
	static const struct mime_header more[] = {
		{ "Auto-Submitted", "auto-generated" }, { "List-Id", "<alerts.portbell.mon.example>" },
		{ "X-Portbell-Target", "shop\r\nX-Evil: yes" },
	};

	return (struct mime_message){
		.date_unix_s = 1795455509, .id = "412.3.a@mon.example", .from = "Portbell <portbell@example.com>",
		.to = to, .to_count = 3, .subject = "[OK] shop: up again", .references = references,
		.reference_count = 2, .headers = more, .header_count = 3,
		.text = "It is up.\n\nline = 2 \nFrom here\r\n.\n", .html = "<p>It is up.</p>",
	};
}

static const char sample_bytes[] =
	"Date: Mon, 23 Nov 2026 17:38:29 +0000\r\n"
	"From: Portbell <portbell@example.com>\r\n"
	"To: <ops@example.com>,\r\n"
	" \"Doe, Jane\" <jane@example.com>,\r\n"
	" =?UTF-8?Q?J=C3=B6rg?= <joerg@example.com>\r\n"
	"Message-ID: <412.3.a@mon.example>\r\n"
	"In-Reply-To: <412.2.a@mon.example>\r\n"
	"References: <412.1.a@mon.example>\r\n"
	" <412.2.a@mon.example>\r\n"
	"Subject: [OK] shop: up again\r\n"
	"Auto-Submitted: auto-generated\r\n"
	"List-Id: <alerts.portbell.mon.example>\r\n"
	"X-Portbell-Target: =?UTF-8?Q?shop__X-Evil=3A_yes?=\r\n"
	"MIME-Version: 1.0\r\n"
	"Content-Type: multipart/alternative; boundary=\"=_BOUNDARY\"\r\n"
	"\r\n"
	"--=_BOUNDARY\r\n"
	"Content-Type: text/plain; charset=utf-8\r\n"
	"Content-Transfer-Encoding: quoted-printable\r\n"
	"\r\n"
	"It is up.\r\n"
	"\r\n"
	"line =3D 2=20\r\n"
	"=46rom here\r\n"
	".\r\n"
	"\r\n"
	"--=_BOUNDARY\r\n"
	"Content-Type: text/html; charset=utf-8\r\n"
	"Content-Transfer-Encoding: quoted-printable\r\n"
	"\r\n"
	"<p>It is up.</p>\r\n"
	"--=_BOUNDARY--\r\n";

START_TEST(whole_message)
{
	struct mime_message message = sample();
	AUTO(str) struct str out = { 0 };
	AUTO(str) struct str again = { 0 };
	AUTO(str) struct str wanted = { 0 };
	const char *boundary;
	const char *at = sample_bytes;
	const char *next;

	mime_add_message(&out, &message);
	mime_add_message(&again, &message);
	ck_assert_str_eq(out.data, again.data);
	boundary = strstr(out.data, "boundary=\"=_");
	ck_assert_ptr_nonnull(boundary);
	while ((next = strstr(at, "BOUNDARY")) != NULL) {
		str_add_bytes(&wanted, at, (size_t)(next - at));
		str_add_bytes(&wanted, boundary + 12, 16);
		at = next + 8;
	}
	str_add(&wanted, at);
	ck_assert_str_eq(out.data, wanted.data);
	message.id = "412.4.a@mon.example";
	str_clear(&again);
	mime_add_message(&again, &message);
	ck_assert(strncmp(strstr(again.data, "boundary=\"=_"), boundary, 28) != 0);
}
END_TEST

START_TEST(least_message)
{
	struct mime_message message = { .id = "<1@x\r\n>", .from = "a@b\r\nBcc: c@d", .text = NULL };
	AUTO(str) struct str out = { 0 };

	mime_add_message(&out, &message);
	ck_assert_str_eq(out.data, "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nFrom: <a@bBcc:c@d>\r\n"
				   "To: undisclosed-recipients:;\r\nMessage-ID: <1@x>\r\nSubject: \r\n"
				   "MIME-Version: 1.0\r\n"
				   "Content-Type: text/plain; charset=utf-8\r\n"
				   "Content-Transfer-Encoding: quoted-printable\r\n\r\n\r\n");
}
END_TEST

/* Every length around the end of a line, of plain, of encoded and of mixed characters. */
START_TEST(body_lines)
{
	static const char *const fill[] = { "a", "=", "\xe2\x82\xac", " ", "a=", "\t" };

	for (int count = 0; count < 200; count++) {
		struct mime_message message = { .id = "1@x", .from = "a@b" };
		AUTO(str) struct str text = { 0 };
		AUTO(str) struct str out = { 0 };
		size_t column = 0;

		for (int i = 0; i < count; i++)
			str_add(&text, fill[_i]);
		message.text = text.data != NULL ? text.data : "";
		mime_add_message(&out, &message);
		for (size_t i = (size_t)(strstr(out.data, "\r\n\r\n") - out.data) + 4; i < out.bytes; i++) {
			if (out.data[i] == '\r') {
				ck_assert_uint_le(column, 76);
				if (i > 0)
					ck_assert(out.data[i - 1] != ' ' && out.data[i - 1] != '\t');
			}
			column = out.data[i] == '\n' ? 0 : column + 1;
		}
	}
}
END_TEST

/* ---- what others read out of it ---- */

static const char reader[] =
	"import email, email.policy, re, sys\n"
	"def fit(s): return re.sub('[\\x00-\\x1f\\x7f]', ' ', s)\n"
	"def squeeze(s): return re.sub('\\s', '', fit(s))\n"
	"data = open(sys.argv[1], 'rb')\n"
	"names = 0\n"
	"while True:\n"
	"    head = data.readline().split()\n"
	"    if not head: break\n"
	"    subject, text, html = (bytes.fromhex(x.decode()[1:]).decode() for x in head[1:4])\n"
	"    to = [bytes.fromhex(x.decode()[1:]).decode() for x in head[4:]]\n"
	"    raw = data.read(int(head[0]))\n"
	"    assert b'\\n' not in raw.replace(b'\\r\\n', b'') and b'\\r' not in raw.replace(b'\\r\\n', b'')\n"
	"    for line in raw.split(b'\\r\\n'):\n"
	"        assert len(line) <= 78, line\n"
	"        assert b'=?UTF-8?Q?' not in line or len(line) <= 76, line\n"
	"        for word in re.findall(rb'=\\?UTF-8\\?Q\\?[^ ]*\\?=', line):\n"
	"            assert len(word) <= 75, word\n"
	"            re.sub(rb'=(..)', lambda m: bytes.fromhex(m[1].decode()), word[10:-2]).decode()\n"
	"    m = email.message_from_bytes(raw, policy=email.policy.default)\n"
	"    assert m.keys() == ['Date', 'From', 'To', 'Message-ID', 'Subject', 'X-Portbell-Target',\n"
	"                        'MIME-Version', 'Content-Type'], m.keys()\n"
	"    from email.header import decode_header, make_header\n"
	"    plain = email.message_from_bytes(raw)\n"
	"    for name in ('Subject', 'X-Portbell-Target'):\n"
	"        got = str(make_header(decode_header(plain[name].replace('\\r\\n', ''))))\n"
	"        assert got == fit(subject), (name, got, subject)\n"
	"    got = email.utils.getaddresses([plain['To'].replace('\\r\\n', '')])\n"
	"    got = [str(make_header(decode_header(name))) for name, address in got]\n"
	"    assert got == [fit(x) for x in to], (got, to)\n"
	/* The newer parser joins two encoded words with a blank and makes two blanks one. */
	"    got = [squeeze(a.display_name) for a in m['To'].addresses]\n"
	"    assert got == [squeeze(x) for x in to], (got, to)\n"
	"    got = [a.addr_spec for a in m['To'].addresses]\n"
	"    assert got == ['ops%d@example.com' % i for i in range(len(to))], got\n"
	"    assert squeeze(m['From'].addresses[0].display_name) == squeeze(to[0])\n"
	"    assert not m.defects and not m['To'].defects, (m.defects, m['To'].defects)\n"
	"    a, b = m.iter_parts()\n"
	"    assert (a.get_content_type(), b.get_content_type()) == ('text/plain', 'text/html')\n"
	"    for part, wanted in ((a, text), (b, html)):\n"
	"        got = part.get_payload(decode=True).decode()\n"
	"        assert got == re.sub('\\r\\n|\\r|\\n', '\\r\\n', wanted), (got, wanted)\n"
	"    names += len(to)\n"
	"print(names)\n";

static void add_character(struct str *out, unsigned c)
{
	if (c < 0x80) {
		str_add_char(out, (char)c);
	} else if (c < 0x800) {
		str_addf(out, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		str_addf(out, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3f)),
			 (int)(0x80 | (c & 0x3f)));
	} else {
		str_addf(out, "%c%c%c%c", (int)(0xf0 | c >> 18), (int)(0x80 | (c >> 12 & 0x3f)),
			 (int)(0x80 | (c >> 6 & 0x3f)), (int)(0x80 | (c & 0x3f)));
	}
}

/* Text of one temper: plain words, marks that mean something in a header, controls, all of Unicode. */
static void add_random(struct str *out, unsigned *seed, int longest)
{
	static const char marks[] = "\"\\<>()[]@,;:.=?_ '%&";
	int temper = rand_r(seed) % 4;
	int count = rand_r(seed) % longest + 1;

	for (int i = 0; i < count; i++) {
		unsigned c = 0;
		int kind = rand_r(seed) % 4;

		if (temper == 0 || kind == 0)
			c = rand_r(seed) % 8 == 0 ? ' ' : 'a' + (unsigned)rand_r(seed) % 26;
		else if (temper == 1)
			c = (unsigned char)marks[(size_t)rand_r(seed) % (sizeof(marks) - 1)];
		else if (temper == 2)
			c = (unsigned)rand_r(seed) % 127 + 1;
		while (c == 0 || (c >= 0xd800 && c < 0xe000))
			c = (unsigned)rand_r(seed) % (kind == 1 ? 0x250 : kind == 2 ? 0x10000 : 0x110000);
		add_character(out, c);
	}
}

static void add_quoted(struct str *out, const char *name)
{
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '\\')
			str_add_char(out, '\\');
		str_add_char(out, *name);
	}
}

static void write_hex(FILE *file, const struct str *text)
{
	AUTO(string) char *hex = mem_alloc(2 * text->bytes + 1);

	str_hex((const uint8_t *)(text->data != NULL ? text->data : ""), text->bytes, hex);
	fprintf(file, " x%s", hex);
}

enum { NAMES_A_MESSAGE = 10 };

static void write_message(FILE *file, unsigned *seed)
{
	struct str text[3 + NAMES_A_MESSAGE] = { { 0 } }; /* subject, text, html, names */
	char *to[NAMES_A_MESSAGE];
	struct mime_header more = { .name = "X-Portbell-Target" };
	struct mime_message message = {
		.date_unix_s = rand_r(seed), .to_count = NAMES_A_MESSAGE, .headers = &more, .header_count = 1,
	};
	AUTO(string) char *id = mem_printf("%u@example.com", *seed);
	AUTO(str) struct str out = { 0 };

	for (size_t i = 0; i < 3 + NAMES_A_MESSAGE; i++)
		add_random(&text[i], seed, i == 0 ? 150 : i < 3 ? 500 : 60);
	for (size_t i = 0; i < NAMES_A_MESSAGE; i++) {
		struct str one = { 0 };

		str_add_char(&one, '"');
		add_quoted(&one, text[3 + i].data);
		str_addf(&one, "\" <ops%zu@example.com>", i);
		to[i] = str_take(&one);
	}
	message.id = id;
	message.from = to[0];
	message.to = (const char *const *)to;
	message.subject = text[0].data;
	more.value = text[0].data;
	message.text = text[1].data;
	message.html = text[2].data;
	mime_add_message(&out, &message);
	fprintf(file, "%zu", out.bytes);
	for (size_t i = 0; i < 3 + NAMES_A_MESSAGE; i++) {
		write_hex(file, &text[i]);
		str_done(&text[i]);
	}
	fputc('\n', file);
	fwrite(out.data, 1, out.bytes, file);
	for (size_t i = 0; i < NAMES_A_MESSAGE; i++)
		free(to[i]);
}

START_TEST(python_reads_it_back)
{
	char path[] = "/tmp/check_mime.XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	FILE *from;
	const char *given = getenv("CHECK_SEED");
	unsigned first_seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	unsigned seed = first_seed;
	char *argv[] = { "python3", "-c", (char *)(uintptr_t)reader, path, NULL };
	posix_spawn_file_actions_t actions;
	char answer[32] = "";
	int status;
	int out[2];
	pid_t pid;

	ck_assert_ptr_nonnull(file);
	for (int i = 0; i < 1000; i++)
		write_message(file, &seed);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(pipe(out), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_addclose(&actions, out[0]);
	ck_assert_int_eq(posix_spawnp(&pid, "python3", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	from = fdopen(out[0], "r");
	ck_assert_ptr_nonnull(from);
	ck_assert_ptr_nonnull(fgets(answer, sizeof(answer), from));
	fclose(from);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	unlink(path);
	ck_assert_msg(status == 0 && strcmp(answer, "10000\n") == 0, "CHECK_SEED=%u: %s", first_seed, answer);
}
END_TEST

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

int main(void)
{
	Suite *suite = suite_create("mime");
	TCase *tcase = tcase_create("mime");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 300);
	tcase_add_loop_test(tcase, header, 0, COUNT(headers));
	tcase_add_loop_test(tcase, address, 0, COUNT(addresses));
	tcase_add_test(tcase, whole_message);
	tcase_add_test(tcase, least_message);
	tcase_add_loop_test(tcase, body_lines, 0, 6);
	tcase_add_test(tcase, python_reads_it_back);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
