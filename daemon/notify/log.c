/* SPDX-License-Identifier: MIT */
/*
 * The `log` sender: a line for each item. An incident was logged under its catalog id when it happened; this is
 * what was told of it, like any other delivery, so these lines have none.
 */
#include "daemon/log.h"

#include "daemon/notify/sender_private.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static enum log_level log_level_of(const struct message_item *item)
{
	if (message_item_is_over(item) || item->level == LEVEL_OK)
		return LOG_LEVEL_INFO;
	return item->level == LEVEL_CRITICAL ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING;
}

static void log_item(const struct message *message, const struct message_item *item)
{
	const struct message alone = {
		.created_unix_us = message->created_unix_us, .drill = message->drill,
		.items = &message->items[item - message->items], .item_count = 1,
	};
	AUTO(string) char *title = message_title(&alone);
	const struct log_fields fields = {
		.target = item->target,
		.check = check_name(item->check),
		.level = level_name(message_level(&alone)),
		.reason = reason_name(item->reason),
		.incident = item->incident,
	};

	log_write(log_level_of(item), LOG_PLAIN, &fields, "%s%s%s", title, item->detail != NULL ? ": " : "",
		  item->detail != NULL ? item->detail : "");
}

static struct delivery *log_start(const struct sender_world *world, const struct sender_config *config,
				  const struct message *message, int64_t now_unix_us, delivery_done_fn *done,
				  void *arg)
{
	struct delivery *delivery = delivery_new(world, config, message, now_unix_us, done, arg);

	for (size_t i = 0; i < message->item_count; i++)
		log_item(message, &message->items[i]);
	delivery_end_later(delivery, DELIVERY_DONE, "written to the log");
	return delivery;
}

const struct sender sender_log = {
	.kind = SENDER_LOG,
	.name = "log",
	.start = log_start,
	.cancel = delivery_cancel,
};
