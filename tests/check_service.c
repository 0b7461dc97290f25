/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/service.h"
#include "lib/base/mem.h"

/* The service manager's end. */
struct fixture {
	char directory[64];
	char path[96];
	int fd;
	char heard[2048];
};

static struct fixture f;

static void set_up(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(&f, 0, sizeof(f));
	strcpy(f.directory, "/tmp/portbell-service-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f.directory));
	snprintf(f.path, sizeof(f.path), "%s/notify", f.directory);
	strcpy(address.sun_path, f.path);
	f.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(f.fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", f.path, 1);
}

static void tear_down(void)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	close(f.fd);
	unlink(f.path);
	rmdir(f.directory);
}

static const char *heard(void)
{
	ssize_t bytes = recv(f.fd, f.heard, sizeof(f.heard) - 1, MSG_DONTWAIT);

	f.heard[bytes > 0 ? bytes : 0] = '\0';
	return f.heard;
}

START_TEST(what_systemd_hears)
{
	service_ready();
	ck_assert_str_eq(heard(), "READY=1");
	service_reloading(1234567890123);
	ck_assert_str_eq(heard(), "RELOADING=1\nMONOTONIC_USEC=1234567890123");
	service_watchdog();
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	service_stopping();
	ck_assert_str_eq(heard(), "STOPPING=1");
}
END_TEST

START_TEST(status_is_one_line)
{
	service_status("%d targets, %d down", 512, 3);
	ck_assert_str_eq(heard(), "STATUS=512 targets, 3 down");
	service_status("refused: a\nREADY=1");
	ck_assert_str_eq(heard(), "STATUS=refused: a\\x0aREADY=1");
	service_status("%s", "");
	ck_assert_str_eq(heard(), "STATUS=");
	service_status("%02000d", 7);
	ck_assert_uint_lt(strlen(heard()), 600);
}
END_TEST

START_TEST(nobody_listens)
{
	unsetenv("NOTIFY_SOCKET");
	service_ready();
	service_status("x");
	service_watchdog();
	setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
	service_ready();
	ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(watchdog)
{
	AUTO(string) char *pid = mem_printf("%ld", (long)getpid());

	ck_assert_int_eq(service_watchdog_us(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	ck_assert_int_eq(service_watchdog_us(), 15000000);
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert_int_eq(service_watchdog_us(), 15000000);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_int_eq(service_watchdog_us(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "rubbish", 1);
	ck_assert_int_eq(service_watchdog_us(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service");
	TCase *tcase = tcase_create("service");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, what_systemd_hears);
	tcase_add_test(tcase, status_is_one_line);
	tcase_add_test(tcase, nobody_listens);
	tcase_add_test(tcase, watchdog);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
