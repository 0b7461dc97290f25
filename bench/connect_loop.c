/* SPDX-License-Identifier: MIT */
/*
 * connect_loop - the least that a TCP probe can cost: connect() without blocking, epoll, SO_ERROR, close() with a
 * FIN. Starts them one by one at an even pace, records and judges nothing. The anchor of bench/run.
 *
 * connect_loop RATE SECONDS PORT ADDRESSES     probes 127.0.0.1 to 127.0.0.ADDRESSES in turn
 * Prints one line: probes, failures, microseconds of CPU a probe.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, NS_PER_US = 1000 };
#define NS_PER_S INT64_C(1000000000)

struct run {
	int epoll_fd;
	in_port_t port;
	uint32_t addresses;
	uint32_t next;
	long started;
	long ended;
	long failed;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void start(struct run *run)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = run->port,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK + run->next) };
	struct epoll_event event = { .events = EPOLLOUT };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	run->next = (run->next + 1) % run->addresses;
	run->started++;
	event.data.fd = fd;
	if (fd < 0 || (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) ||
	    epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		run->failed++;
		run->ended++;
		if (fd >= 0)
			close(fd);
	}
}

static void end(struct run *run, int fd)
{
	int error_number = 0;
	socklen_t bytes = sizeof(error_number);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &bytes) != 0 || error_number != 0)
		run->failed++;
	run->ended++;
	close(fd);
}

static void wait_until(struct run *run, int64_t until_ns)
{
	struct epoll_event events[EVENTS];
	int64_t left_ns = until_ns - now_ns();
	struct timespec left = { 0 };
	int count;

	if (left_ns > 0)
		left = (struct timespec){ .tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S };
	count = epoll_pwait2(run->epoll_fd, events, EVENTS, &left, NULL);
	for (int i = 0; i < count; i++)
		end(run, events[i].data.fd);
}

static void run_paced(struct run *run, int64_t rate, int64_t seconds)
{
	int64_t begun_ns = now_ns();
	long total = (long)(rate * seconds);

	while (run->started < total) {
		int64_t due_ns = begun_ns + run->started * NS_PER_S / rate;

		if (now_ns() >= due_ns)
			start(run);
		else
			wait_until(run, due_ns);
	}
	while (run->ended < run->started)
		wait_until(run, now_ns() + NS_PER_S);
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
	struct run run = { 0 };
	double before_us;

	if (argc != 5 || atol(argv[1]) <= 0 || atol(argv[2]) <= 0 || atoi(argv[4]) <= 0) {
		fprintf(stderr, "usage: connect_loop RATE SECONDS PORT ADDRESSES\n");
		return 2;
	}
	run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run.port = htons((uint16_t)atoi(argv[3]));
	run.addresses = (uint32_t)atoi(argv[4]);
	before_us = cpu_us();
	run_paced(&run, atol(argv[1]), atol(argv[2]));
	printf("%ld %ld %.2f\n", run.ended, run.failed, (cpu_us() - before_us) / (double)run.ended);
	return run.failed != 0;
}
