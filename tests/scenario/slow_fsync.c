/* SPDX-License-Identifier: MIT */
/* A disk that takes its time: LD_PRELOAD this, and each fsync(2) and fdatasync(2) waits $SLOW_FSYNC_MS first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_first(void)
{
	const char *text = getenv("SLOW_FSYNC_MS");
	const long ms = text != NULL ? atol(text) : 0;
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) != 0)
		;
}

int fsync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

	wait_first();
	return real(fd);
}

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

	wait_first();
	return real(fd);
}
