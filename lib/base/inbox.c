/* SPDX-License-Identifier: MIT */
#include "lib/base/inbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/mem.h"

struct inbox {
	pthread_mutex_t mutex;
	struct list items;
	int fd;
};

struct inbox *inbox_new(struct error *err)
{
	struct inbox *inbox;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0) {
		error_set(err, "eventfd: %s", strerror(errno));
		return NULL;
	}
	inbox = mem_new(struct inbox);
	pthread_mutex_init(&inbox->mutex, NULL);
	list_init(&inbox->items);
	inbox->fd = fd;
	return inbox;
}

void inbox_free(struct inbox *inbox)
{
	if (inbox == NULL)
		return;
	close(inbox->fd);
	pthread_mutex_destroy(&inbox->mutex);
	free(inbox);
}

int inbox_fd(const struct inbox *inbox)
{
	return inbox->fd;
}

/* EAGAIN says that the counter is full, so the owner is awake already. */
static void wake(int fd)
{
	static const uint64_t one = 1;
	ssize_t written;

	do {
		written = write(fd, &one, sizeof(one));
	} while (written < 0 && errno == EINTR);
	assert(written == (ssize_t)sizeof(one) || errno == EAGAIN);
}

/* Who makes the list non-empty wakes the owner; the others rely on that. Inside the lock, so that an owner that has
 * taken the last item and frees the inbox cannot find us still writing to a descriptor that is somebody else's now. */
void inbox_push(struct inbox *inbox, struct list *item)
{
	pthread_mutex_lock(&inbox->mutex);
	if (list_empty(&inbox->items))
		wake(inbox->fd);
	list_push(&inbox->items, item);
	pthread_mutex_unlock(&inbox->mutex);
}

void inbox_take(struct inbox *inbox, struct list *items)
{
	uint64_t count;
	ssize_t got;

	list_init(items);
	pthread_mutex_lock(&inbox->mutex);
	do {
		got = read(inbox->fd, &count, sizeof(count));
	} while (got < 0 && errno == EINTR);
	assert(got == (ssize_t)sizeof(count) || errno == EAGAIN);
	list_splice(items, &inbox->items);
	pthread_mutex_unlock(&inbox->mutex);
}
