/* SPDX-License-Identifier: MIT */
#include "lib/config/names.h"

#include <stdint.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

struct names_slot {
	const char *name; /* NULL: empty */
	void *value;
};

/* The slot of `name`, or the empty one where it belongs. The table is never full. */
static struct names_slot *slot_for(const struct names *names, const char *name)
{
	size_t mask = names->capacity - 1;
	size_t at = (size_t)str_hash(name, strlen(name), 0) & mask;

	while (names->slots[at].name != NULL && strcmp(names->slots[at].name, name) != 0)
		at = (at + 1) & mask;
	return &names->slots[at];
}

static void grow(struct names *names)
{
	struct names old = *names;

	names->capacity = old.capacity == 0 ? 16 : old.capacity * 2;
	names->slots = mem_array(names->capacity, sizeof(*names->slots));
	for (size_t i = 0; i < old.capacity; i++)
		if (old.slots[i].name != NULL)
			*slot_for(names, old.slots[i].name) = old.slots[i];
	free(old.slots);
}

/* The slot of `name`, which is in the table now: with its old value, or with NULL. */
static struct names_slot *slot_made(struct names *names, const char *name)
{
	struct names_slot *slot;

	if (names->count + 1 > names->capacity / 4 * 3)
		grow(names);
	slot = slot_for(names, name);
	if (slot->name == NULL) {
		slot->name = name;
		names->count++;
	}
	return slot;
}

void *names_find(const struct names *names, const char *name)
{
	return names->capacity > 0 ? slot_for(names, name)->value : NULL;
}

void *names_add(struct names *names, const char *name, void *value)
{
	struct names_slot *slot = slot_made(names, name);

	if (slot->value != NULL)
		return slot->value;
	slot->value = value;
	return NULL;
}

void names_put(struct names *names, const char *name, void *value)
{
	slot_made(names, name)->value = value;
}

const char **names_words(const struct names *names)
{
	const char **words = mem_array(names->count + 1, sizeof(*words));
	size_t count = 0;

	for (size_t i = 0; i < names->capacity; i++)
		if (names->slots[i].name != NULL)
			words[count++] = names->slots[i].name;
	return words;
}

void names_done(struct names *names)
{
	free(names->slots);
	*names = (struct names){ 0 };
}
