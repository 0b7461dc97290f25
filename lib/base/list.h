/* SPDX-License-Identifier: MIT */
/*
 * list - a doubly linked ring through a member of what is listed; no memory of its own.
 * A node that is in no list points to itself (list_init) and list_remove() on it does nothing.
 */
#ifndef PORTBELL_BASE_LIST_H
#define PORTBELL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *prev;
};

static inline void list_init(struct list *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_insert(struct list *before, struct list *node)
{
	node->prev = before->prev;
	node->next = before;
	before->prev->next = node;
	before->prev = node;
}

/* At the end of `list`. */
static inline void list_push(struct list *list, struct list *node)
{
	list_insert(list, node);
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Moves all of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))
/* The current entry may be removed inside the loop. */
#define list_each(pos, head, type, member)                                                      \
	for (struct list *pos##_at_ = (head)->next, *pos##_after_ = pos##_at_->next;            \
	     pos##_at_ != (head) && ((pos) = list_entry(pos##_at_, type, member), 1);         \
	     pos##_at_ = pos##_after_, pos##_after_ = pos##_at_->next)

#endif
