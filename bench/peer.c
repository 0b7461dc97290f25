/* SPDX-License-Identifier: MIT */
/*
 * peer - what bench/run probes: accepts, waits for the client's FIN, closes.
 *
 * peer ADDRESSES     listens on 127.0.0.1 to 127.0.0.ADDRESSES, all at one port, which it prints. For each line on
 *                    its standard input it prints how many it has accepted; it ends with that input.
 */
/*
 * peer - what bench/run probes: accepts, waits for the client's FIN, closes.
 * peer ADDRESSES     listens on 127.0.0.1 to 127.0.0.ADDRESSES, all at one port, which it prints. For each line on
 *its
 *                    standard input it prints how many it has accepted; it ends with that input.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BACKLOG = 4096 };

/* Listeners are watched with their descriptor negated, so that one number tells both what and which. */
static void watch(int epoll_fd, int fd, int32_t name)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0 };

	event.data.fd = name;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		perror("epoll_ctl");
}

static in_port_t listen_at(int epoll_fd, uint32_t number, in_port_t port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = port,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number) };
	socklen_t bytes = sizeof(own);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (bind(fd, (const struct sockaddr *)&own, sizeof(own)) != 0 || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &bytes) != 0) {
		perror("peer");
		exit(1);
	}
	watch(epoll_fd, fd, -fd);
	return own.sin_port;
}

static long accept_all(int epoll_fd, int listener)
{
	long count = 0;
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		watch(epoll_fd, fd, fd);
		count++;
	}
	return count;
}

static void answer(long accepted)
{
	char line[256];

	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		exit(0);
	printf("%ld\n", accepted);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	in_port_t port = 0;
	long accepted = 0;
	int addresses = argc == 2 ? atoi(argv[1]) : 0;
	char bytes[4096];

	if (addresses <= 0) {
		fprintf(stderr, "usage: peer ADDRESSES\n");
		return 2;
	}
	for (int i = 0; i < addresses; i++)
		port = listen_at(epoll_fd, (uint32_t)i, port);
	watch(epoll_fd, STDIN_FILENO, STDIN_FILENO);
	printf("%d\n", ntohs(port));
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd == STDIN_FILENO)
				answer(accepted);
			else if (fd < 0)
				accepted += accept_all(epoll_fd, -fd);
			else if (read(fd, bytes, sizeof(bytes)) <= 0)
				close(fd);
		}
	}
}
