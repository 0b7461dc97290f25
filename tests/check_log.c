/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* unshare() */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "lib/base/mem.h"

enum { TEXT_BYTES = 65536, LINE_BYTES = 4096 };

/* Standard error is a pipe while a test runs; what came through it is in `text`. */
struct fixture {
	int saved;
	int reader;
	char text[TEXT_BYTES];
};

static struct fixture f;

static void set_up(void)
{
	int ends[2];

	unsetenv("JOURNAL_STREAM");
	memset(&f, 0, sizeof(f));
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	f.saved = dup(STDERR_FILENO);
	f.reader = ends[0];
	ck_assert_int_eq(fcntl(f.reader, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	log_open();
}

static void tear_down(void)
{
	dup2(f.saved, STDERR_FILENO);
	close(f.saved);
	close(f.reader);
}

static const char *logged(void)
{
	ssize_t bytes = read(f.reader, f.text, sizeof(f.text) - 1);

	f.text[bytes > 0 ? bytes : 0] = '\0';
	return f.text;
}

/* What stands behind the time, which is checked. */
static const char *logged_after_time(void)
{
	const char *line = logged();
	regex_t time;

	ck_assert_int_eq(regcomp(&time, "^time=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
					"\\.[0-9]{3}Z level=", REG_EXTENDED | REG_NOSUB), 0);
	ck_assert_msg(regexec(&time, line, 0, NULL, 0) == 0, "%s", line);
	regfree(&time);
	return strchr(line, ' ') + 1;
}

static const struct {
	const char *text;
	const char *line;
} texts[] = {
	{ "plain", "level=info msg=\"plain\"\n" },
	{ "", "level=info msg=\"\"\n" },
	{ "it's 100% x", "level=info msg=\"it's 100% x\"\n" },
	{ "a \"quote\" and \\", "level=info msg=\"a \\\"quote\\\" and \\\\\"\n" },
	{ "end\" level=error msg=\"forged", "level=info msg=\"end\\\" level=error msg=\\\"forged\"\n" },
	{ "two\nlines", "level=info msg=\"two\\\\x0alines\"\n" },
	{ "two\r\ntime=2026", "level=info msg=\"two\\\\x0d\\\\x0atime=2026\"\n" },
	{ "\x1b[31mred\x7f\t", "level=info msg=\"\\\\x1b[31mred\\\\x7f\\\\x09\"\n" },
	{ "grün", "level=info msg=\"grün\"\n" },
	{ "\xff\xc3", "level=info msg=\"\\\\xff\\\\xc3\"\n" },
	{ "\xe2\x80\xae" "bidi", "level=info msg=\"\\\\xe2\\\\x80\\\\xaebidi\"\n" },
};

START_TEST(a_text)
{
	log_info("%s", texts[_i].text);
	ck_assert_str_eq(logged_after_time(), texts[_i].line);
}
END_TEST

static const struct {
	struct log_fields fields;
	const char *line;
} records[] = {
	{ { "shop", "availability", "critical", "connect_refused", 412 },
	  "level=warning msg=\"m\" target=shop check=availability check_level=critical reason=connect_refused "
	  "incident=412\n" },
	{ { NULL, NULL, NULL, NULL, 0 }, "level=warning msg=\"m\"\n" },
	{ { "two words", NULL, NULL, NULL, 0 }, "level=warning msg=\"m\" target=\"two words\"\n" },
	{ { "", NULL, NULL, NULL, 0 }, "level=warning msg=\"m\" target=\"\"\n" },
	{ { "a=b", NULL, NULL, NULL, 0 }, "level=warning msg=\"m\" target=\"a=b\"\n" },
	{ { "a\nlevel=error", NULL, NULL, NULL, 0 }, "level=warning msg=\"m\" target=\"a\\\\x0alevel=error\"\n" },
	{ { "\" incident=1", NULL, NULL, NULL, 2 },
	  "level=warning msg=\"m\" target=\"\\\" incident=1\" incident=2\n" },
	{ { "[::1]:443", NULL, NULL, NULL, 0 }, "level=warning msg=\"m\" target=[::1]:443\n" },
};

START_TEST(a_record)
{
	log_write(LOG_LEVEL_WARNING, LOG_INCIDENT_OPENED, &records[_i].fields, "m");
	ck_assert_str_eq(logged_after_time(), records[_i].line);
}
END_TEST

START_TEST(levels)
{
	log_debug("not shown");
	ck_assert_str_eq(logged(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("shown");
	ck_assert_str_eq(logged_after_time(), "level=debug msg=\"shown\"\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("not shown");
	ck_assert_str_eq(logged(), "");
	log_error("shown %d", 7);
	ck_assert_str_eq(logged_after_time(), "level=error msg=\"shown 7\"\n");
}
END_TEST

START_TEST(errno_stays)
{
	errno = ENOTTY;
	log_info("x");
	ck_assert_int_eq(errno, ENOTTY);
}
END_TEST

/* Long texts of the kinds that grow most: still one whole line that a pipe takes at once. */
START_TEST(long_texts)
{
	static const char fill[] = { 'x', '"', '\n', '\xff', '\\' };
	char text[20000];
	char name[2000];
	const struct log_fields long_fields = { .target = name, .reason = name };

	memset(text, fill[_i], sizeof(text) - 1);
	memset(name, fill[_i], sizeof(name) - 1);
	text[sizeof(text) - 1] = '\0';
	name[sizeof(name) - 1] = '\0';
	log_write(LOG_LEVEL_INFO, LOG_PLAIN, &long_fields, "%s", text);
	logged_after_time();
	ck_assert_uint_le(strlen(f.text), LINE_BYTES);
	ck_assert_ptr_eq(strchr(f.text, '\n'), f.text + strlen(f.text) - 1);
	ck_assert_ptr_nonnull(strstr(f.text, "...\" target="));
	ck_assert_ptr_nonnull(strstr(f.text, " reason="));
}
END_TEST

START_TEST(a_pipe_that_nobody_reads)
{
	char text[1001];
	size_t lines = 0;
	unsigned lost = 0;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_gt(fcntl(f.reader, F_SETPIPE_SZ, 16384), 0);
	for (int i = 0; i < 100; i++)
		log_info("%s", text);
	while (logged()[0] != '\0')
		for (const char *c = f.text; *c != '\0'; c++)
			lines += *c == '\n';
	ck_assert_uint_gt(lines, 0);
	ck_assert_uint_lt(lines, 100);
	log_info("again");
	ck_assert_int_eq(sscanf(strchr(logged(), ' ') + 1, "level=warning msg=\"%u lines of this log were lost",
				&lost), 1);
	ck_assert_uint_eq(lost + lines, 100);
	ck_assert_ptr_nonnull(strstr(f.text, "\n"));
	ck_assert_ptr_nonnull(strstr(f.text, "msg=\"again\"\n"));
	log_info("once more");
	ck_assert_str_eq(logged_after_time(), "level=info msg=\"once more\"\n");
}
END_TEST

START_TEST(a_closed_standard_error)
{
	close(STDERR_FILENO);
	log_info("nobody hears");
}
END_TEST

/* The ids in the catalog are those that are logged. */
START_TEST(catalog)
{
	const char *source = getenv("srcdir");
	const char *slash = strrchr(__FILE__, '/');
	AUTO(string) char *beside = mem_printf("%.*s/..", slash != NULL ? (int)(slash - __FILE__) : 1,
					       slash != NULL ? __FILE__ : ".");
	AUTO(string) char *path = mem_printf("%s/systemd/portbell.catalog.in", source != NULL ? source : beside);
	FILE *file = fopen(path, "re");
	char line[512];
	int found = 0;

	if (file == NULL)
		return; /* the sources are not here */
	while (fgets(line, sizeof(line), file) != NULL) {
		bool known = false;

		if (strncmp(line, "-- ", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		for (int event = LOG_PLAIN + 1; event < LOG_EVENT_COUNT; event++)
			known = known || strcmp(log_event_id((enum log_event)event), line + 3) == 0;
		ck_assert_msg(known, "%s is never logged", line + 3);
		found++;
	}
	fclose(file);
	ck_assert_int_eq(found, LOG_EVENT_COUNT - 1);
	ck_assert_ptr_null(log_event_id(LOG_PLAIN));
}
END_TEST

/* A journal of our own at the place where the real one would be, in a mount namespace; -1 if that may not be. */
static int own_journal(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (unshare(CLONE_NEWNS | (getuid() != 0 ? CLONE_NEWUSER : 0)) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) != 0)
		return -1;
	if (mkdir("/run/systemd", 0755) != 0 || mkdir("/run/systemd/journal", 0755) != 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return -1;
	return fd;
}

static bool has_field(const char *entry, size_t bytes, const char *field)
{
	AUTO(string) char *line = mem_printf("%s\n", field);

	return memmem(entry, bytes, line, strlen(line)) != NULL;
}

static int try_journal(void)
{
	static const char *const expected[] = {
		"MESSAGE=shop: down\\x0aPRIORITY=0", "PRIORITY=4", "SYSLOG_IDENTIFIER=portbelld",
		"MESSAGE_ID=3899c20ad875401291c5e243b4feffed", "PORTBELL_TARGET=shop\\x0aPORTBELL_LEVEL=ok",
		"PORTBELL_CHECK=availability", "PORTBELL_LEVEL=critical", "PORTBELL_REASON=connect_refused",
		"PORTBELL_INCIDENT=412",
	};
	const struct log_fields fields = { "shop\nPORTBELL_LEVEL=ok", "availability", "critical", "connect_refused",
					   412 };
	AUTO(string) char *stream = NULL;
	struct stat status;
	char entry[4096];
	ssize_t bytes;
	int fd = own_journal();

	if (fd < 0)
		return 77;
	if (fstat(STDERR_FILENO, &status) != 0)
		return 10;
	stream = mem_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open();
	log_write(LOG_LEVEL_WARNING, LOG_INCIDENT_OPENED, &fields, "shop: down\nPRIORITY=0");
	bytes = recv(fd, entry, sizeof(entry), MSG_DONTWAIT);
	if (bytes <= 0)
		return 11;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (!has_field(entry, (size_t)bytes, expected[i]))
			return 20 + (int)i;
	if (logged()[0] != '\0')
		return 12;
	log_info("plain");
	bytes = recv(fd, entry, sizeof(entry), MSG_DONTWAIT);
	if (bytes <= 0 || memmem(entry, (size_t)bytes, "MESSAGE_ID", 10) != NULL ||
	    memmem(entry, (size_t)bytes, "PORTBELL", 8) != NULL)
		return 13;
	return 0;
}

START_TEST(journal)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(try_journal());
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_msg(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77, "%d", WEXITSTATUS(status));
}
END_TEST

START_TEST(another_ones_journal)
{
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open();
	log_info("here");
	ck_assert_str_eq(logged_after_time(), "level=info msg=\"here\"\n");
	setenv("JOURNAL_STREAM", "rubbish", 1);
	log_open();
	log_info("here");
	ck_assert_str_eq(logged_after_time(), "level=info msg=\"here\"\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, a_text, 0, (int)(sizeof(texts) / sizeof(texts[0])));
	tcase_add_loop_test(tcase, a_record, 0, (int)(sizeof(records) / sizeof(records[0])));
	tcase_add_test(tcase, levels);
	tcase_add_test(tcase, errno_stays);
	tcase_add_loop_test(tcase, long_texts, 0, 5);
	tcase_add_test(tcase, a_pipe_that_nobody_reads);
	tcase_add_test(tcase, a_closed_standard_error);
	tcase_add_test(tcase, catalog);
	tcase_add_test(tcase, journal);
	tcase_add_test(tcase, another_ones_journal);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
