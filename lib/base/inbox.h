/* SPDX-License-Identifier: MIT */
/*
 * inbox - how one thread hands things to another: a locked list and an eventfd.
 * Owns:  an item belongs to the inbox from push to take; then to the taker.
 * Calls: inbox_push() from any thread, never blocks for long; inbox_take() from the owner's thread only.
 * The owner watches inbox_fd() for reading with its own loop and takes everything each time it is readable.
 */
#ifndef PORTBELL_BASE_INBOX_H
#define PORTBELL_BASE_INBOX_H

#include <stdbool.h>

#include "lib/base/error.h"
#include "lib/base/list.h"

struct inbox;

struct inbox *inbox_new(struct error *err);
void inbox_free(struct inbox *inbox); /* NULL is fine; must be empty, or its items leak */
int inbox_fd(const struct inbox *inbox);
void inbox_push(struct inbox *inbox, struct list *item);
/* Moves all items, oldest first, to `items` (initialised here) and quiets the descriptor. */
void inbox_take(struct inbox *inbox, struct list *items);

#endif
