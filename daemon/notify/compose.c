/* SPDX-License-Identifier: MIT */
#include "daemon/notify/compose.h"

#include "daemon/notify/message.h"
#include "lib/base/mem.h"

static char *write_body(const struct compose_frame *frame, const char *const *items, size_t count)
{
	return message_compose(frame->id, frame->sender, frame->group_key, frame->thread, frame->created_unix_us, false,
			       items, count);
}

static bool told_twice(struct notice *const *notices, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t j = 0; j < i; j++)
			if (notices[i]->incident != 0 && notices[i]->incident == notices[j]->incident)
				return true;
	return false;
}

static enum level worse_of(enum level a, enum level b)
{
	return a > b ? a : b;
}

/* `later` says how things stand; what was to be said before decides how it is told. */
static void join(const struct message_item *earlier, struct message_item *later)
{
	if (earlier->event != EVENT_PROBLEM) {
		later->before = earlier->before;
	} else if (later->ended_unix_us != 0) {
		later->missed = true; /* told with how bad it was at worst */
		later->before = worse_of(worse_of(earlier->before, earlier->level), later->before);
	} else {
		later->event = EVENT_PROBLEM;
		later->before = worse_of(earlier->before, earlier->level);
	}
}

static char *compose_joined(const struct compose_frame *frame, struct message *message)
{
	char **items = mem_array(message->item_count, sizeof(*items));
	size_t count = 0;

	for (size_t i = 0; i < message->item_count; i++) {
		struct message_item *item = &message->items[i];
		bool superseded = false;

		for (size_t j = i + 1; j < message->item_count && !superseded; j++)
			if (item->incident != 0 && message->items[j].incident == item->incident) {
				join(item, &message->items[j]);
				superseded = true;
			}
		if (superseded)
			continue;
		if (item->event == EVENT_PROBLEM) /* nobody heard of it before, however bad it was meanwhile */
			item->before = LEVEL_OK;
		struct str text = { 0 };
		struct json_writer w;

		json_start(&w, &text);
		message_item_write(&w, item);
		items[count++] = str_take(&text);
	}
	char *body = write_body(frame, (const char *const *)items, count);

	for (size_t i = 0; i < count; i++)
		free(items[i]);
	free(items);
	return body;
}

char *compose_body(const struct compose_frame *frame, struct notice *const *notices, size_t count)
{
	const char **items = mem_array(count, sizeof(*items));
	struct error err;

	for (size_t i = 0; i < count; i++)
		items[i] = notices[i]->item;
	char *body = write_body(frame, items, count);

	free(items);
	if (!told_twice(notices, count))
		return body;
	struct message *message = message_parse(body, &err);

	if (message == NULL)
		return body;
	free(body);
	body = compose_joined(frame, message);
	message_free(message);
	return body;
}
