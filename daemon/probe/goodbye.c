/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum {
	LIFE_US = 200 * 1000,
	FIRST_PAUSE_US = 1000,     /* after a round trip */
	GRID_US = 10 * 1000,       /* looks fall on it: one wake-up serves all of that time */
	DRAIN_BYTES = 1 << 12,     /* one call */
	DRAIN_CALLS = 64,          /* one look */
	SPARE_MAX = 512
};

/*
 * A close() while bytes lie unread, or before more come, is a reset to the peer. So: FIN, then what the peer still
 * says goes nowhere until its FIN comes. Nobody waits for that, so it is looked for by the clock, with growing
 * pauses, and for many at once: a wake-up costs more than what there is to do.
 */
struct goodbye {
	struct list node; /* in loop->goodbyes or loop->spare_goodbyes */
	struct probe_loop *loop;
	struct timer timer;
	int64_t until_us;
	int64_t pause_us;
	int fd;
};

static void goodbye_end(struct goodbye *goodbye)
{
	struct probe_loop *loop = goodbye->loop;

	close(goodbye->fd);
	list_remove(&goodbye->node);
	loop->goodbye_count--;
	if (loop->spare_goodbye_count < SPARE_MAX) {
		list_push(&loop->spare_goodbyes, &goodbye->node);
		loop->spare_goodbye_count++;
	} else {
		free(goodbye);
	}
	if (loop->room != NULL)
		loop->room(loop->room_arg);
}

/* True when the peer has said all it will. MSG_TRUNC: TCP throws the bytes away, without copying them; the buffer
 * is for sanitizers, which do not know that. */
static bool drain(int fd)
{
	char unused[DRAIN_BYTES];

	for (int i = 0; i < DRAIN_CALLS; i++) {
		ssize_t got = recv(fd, unused, sizeof(unused), MSG_DONTWAIT | MSG_TRUNC);

		if (got > 0 || (got < 0 && errno == EINTR))
			continue;
		return got == 0 || errno != EAGAIN;
	}
	return false;
}

static void goodbye_wait(struct goodbye *goodbye, int64_t now_us)
{
	int64_t next_us = now_us + goodbye->pause_us;

	next_us += GRID_US - next_us % GRID_US;
	if (next_us > goodbye->until_us)
		next_us = goodbye->until_us;
	wheel_arm(goodbye->loop->wheel, &goodbye->timer, next_us);
}

static void goodbye_look(struct timer *timer, int64_t now_us)
{
	struct goodbye *goodbye = list_entry(timer, struct goodbye, timer);

	if (drain(goodbye->fd) || now_us >= goodbye->until_us) {
		goodbye_end(goodbye);
		return;
	}
	goodbye->pause_us *= 4;
	goodbye_wait(goodbye, now_us);
}

static struct goodbye *goodbye_take(struct probe_loop *loop)
{
	struct goodbye *goodbye;

	if (!list_empty(&loop->spare_goodbyes)) {
		goodbye = list_entry(loop->spare_goodbyes.prev, struct goodbye, node);
		list_remove(&goodbye->node);
		loop->spare_goodbye_count--;
		return goodbye;
	}
	goodbye = mem_new(struct goodbye);
	list_init(&goodbye->node);
	timer_init(&goodbye->timer, goodbye_look);
	goodbye->loop = loop;
	return goodbye;
}

void goodbye_start(struct probe_loop *loop, int fd, int64_t now_us, int64_t rtt_us)
{
	struct goodbye *goodbye;

	/* The connection has gone already: nobody is left to say it to. */
	if (shutdown(fd, SHUT_WR) != 0) {
		close(fd);
		return;
	}
	goodbye = goodbye_take(loop);
	goodbye->fd = fd;
	goodbye->until_us = now_us + LIFE_US;
	goodbye->pause_us = FIRST_PAUSE_US + (rtt_us > 0 ? rtt_us : 0);
	list_push(&loop->goodbyes, &goodbye->node);
	loop->goodbye_count++;
	goodbye_wait(goodbye, now_us);
}

void probe_loop_part(struct probe_loop *loop, int64_t wait_us)
{
	const int64_t until_us = clock_mono_us() + wait_us;
	struct goodbye *goodbye;

	list_each(goodbye, &loop->goodbyes, struct goodbye, node) {
		struct pollfd said = { .fd = goodbye->fd, .events = POLLIN };
		int64_t left_us = 0;

		while (!drain(goodbye->fd) && (left_us = until_us - clock_mono_us()) > 0)
			poll(&said, 1, (int)((left_us + US_PER_MS - 1) / US_PER_MS));
	}
}

void goodbye_free_all(struct probe_loop *loop)
{
	struct goodbye *goodbye;

	list_each(goodbye, &loop->goodbyes, struct goodbye, node) {
		drain(goodbye->fd);
		close(goodbye->fd);
		wheel_cancel(loop->wheel, &goodbye->timer);
		free(goodbye);
	}
	list_each(goodbye, &loop->spare_goodbyes, struct goodbye, node)
		free(goodbye);
}
