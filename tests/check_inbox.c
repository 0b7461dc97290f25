/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/inbox.h"
#include "lib/base/mem.h"

enum { SENDERS = 2, ITEMS_EACH = 20000, DEADLINE_MS = 20000 };

struct item {
	struct list node;
	int sender;
	int number;
};

struct sender {
	struct inbox *inbox;
	int number;
};

static bool is_readable(const struct inbox *inbox, int timeout_ms)
{
	struct pollfd pollfd = { .fd = inbox_fd(inbox), .events = POLLIN };

	return poll(&pollfd, 1, timeout_ms) == 1;
}

static struct item *item_new(int sender, int number)
{
	struct item *item = mem_new(struct item);

	list_init(&item->node);
	item->sender = sender;
	item->number = number;
	return item;
}

static void *send_all(void *arg)
{
	const struct sender *sender = arg;

	for (int i = 0; i < ITEMS_EACH; i++)
		inbox_push(sender->inbox, &item_new(sender->number, i)->node);
	return NULL;
}

START_TEST(one_thread)
{
	struct error err;
	struct inbox *inbox = inbox_new(&err);
	struct item *item;
	struct list items;
	int next = 0;

	ck_assert_ptr_nonnull(inbox);
	ck_assert(!is_readable(inbox, 0));
	for (int i = 0; i < 3; i++)
		inbox_push(inbox, &item_new(0, i)->node);
	ck_assert(is_readable(inbox, 0));
	inbox_take(inbox, &items);
	ck_assert(!is_readable(inbox, 0));
	list_each(item, &items, struct item, node) {
		ck_assert_int_eq(item->number, next++);
		list_remove(&item->node);
		free(item);
	}
	ck_assert_int_eq(next, 3);
	inbox_take(inbox, &items);
	ck_assert(list_empty(&items));
	inbox_free(inbox);
	inbox_free(NULL);
}
END_TEST

/* Nothing is lost, nothing comes twice, each sender's items keep their order, and the descriptor always tells. */
START_TEST(several_threads)
{
	struct error err;
	struct inbox *inbox = inbox_new(&err);
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	int next[SENDERS] = { 0 };
	int taken = 0;

	ck_assert_ptr_nonnull(inbox);
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .inbox = inbox, .number = i };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	while (taken < SENDERS * ITEMS_EACH) {
		struct item *item;
		struct list items;

		ck_assert_msg(is_readable(inbox, DEADLINE_MS), "nobody woke us after %d items", taken);
		inbox_take(inbox, &items);
		list_each(item, &items, struct item, node) {
			ck_assert_int_eq(item->number, next[item->sender]++);
			taken++;
			free(item);
		}
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert(!is_readable(inbox, 0));
	inbox_free(inbox);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inbox");
	TCase *tcase = tcase_create("inbox");
	SRunner *runner = srunner_create(suite);
	int failures;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, one_thread);
	tcase_add_test(tcase, several_threads);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
