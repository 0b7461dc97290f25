/* SPDX-License-Identifier: MIT */
#include "lib/eval/traits.h"

#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"

enum { NAMES_SHOWN = 5 };

struct traits *traits_new(const struct certificate_facts *leaf)
{
	struct traits *traits = mem_new(struct traits);
	const bool nameless = leaf->san_count == 0;

	traits->issuer = mem_strdup(leaf->issuer);
	traits->strength_bits = leaf->strength_bits;
	traits->not_before_unix_s = leaf->not_before_unix_s;
	traits->cut = leaf->san_total > leaf->san_count;
	traits->name_count = nameless ? 1 : leaf->san_count;
	traits->names = mem_array(traits->name_count, sizeof(*traits->names));
	for (size_t i = 0; i < traits->name_count; i++)
		traits->names[i] = mem_strdup(nameless ? leaf->subject : leaf->sans[i]);
	return traits;
}

void traits_free(struct traits *traits)
{
	if (traits == NULL)
		return;
	free(traits->issuer);
	for (size_t i = 0; i < traits->name_count; i++)
		free(traits->names[i]);
	free(traits->names);
	free(traits);
}

/* RFC 6125 section 6.4.3: the star is the whole first label. */
static bool covers(const char *pattern, const char *name)
{
	const char *dot;

	if (strcasecmp(pattern, name) == 0)
		return true;
	if (!str_starts(pattern, "DNS:*.") || !str_starts(name, "DNS:"))
		return false;
	dot = strchr(name, '.');
	return dot != NULL && strcasecmp(pattern + strlen("DNS:*"), dot) == 0;
}

static bool has_name(const struct traits *traits, const char *name)
{
	for (size_t i = 0; i < traits->name_count; i++)
		if (covers(traits->names[i], name))
			return true;
	return false;
}

static size_t count_lost(const struct traits *before, const struct traits *now)
{
	size_t lost = 0;

	for (size_t i = 0; !now->cut && i < before->name_count; i++)
		lost += !has_name(now, before->names[i]);
	return lost;
}

/* What holds against each of the known ones. */
struct comparison {
	const struct traits *nearest; /* of the known ones, the one of whose names the fewest are lost */
	size_t lost;
	bool other_issuer;
	bool weaker;
	bool older;
};

static struct comparison compare(const struct traits *const *known, size_t count, const struct traits *now)
{
	struct comparison all = { .other_issuer = true, .weaker = true, .older = true };

	for (size_t i = 0; i < count; i++) {
		const struct traits *before = known[i];
		size_t lost;

		if (before == NULL)
			continue;
		lost = count_lost(before, now);
		if (all.nearest == NULL || lost < all.lost) {
			all.nearest = before;
			all.lost = lost;
		}
		all.other_issuer = all.other_issuer && !str_equal(before->issuer, now->issuer);
		all.weaker = all.weaker && now->strength_bits > 0 && now->strength_bits < before->strength_bits;
		all.older = all.older && now->not_before_unix_s < before->not_before_unix_s;
	}
	return all;
}

static void add_part(struct str *str, const char *separator, const char *part)
{
	str_add(str, str->bytes > 0 ? separator : "");
	str_add(str, part);
}

static void explain_lost(struct str *out, const struct comparison *all, const struct traits *now)
{
	size_t shown = 0;

	add_part(out, "; ", "no longer for ");
	for (size_t i = 0; i < all->nearest->name_count && shown < NAMES_SHOWN; i++) {
		const char *name = all->nearest->names[i];

		if (has_name(now, name))
			continue;
		str_addf(out, "%s%s", shown > 0 ? ", " : "", str_starts(name, "DNS:") ? name + 4 : name);
		shown++;
	}
	if (all->lost > shown)
		str_addf(out, " and %zu more", all->lost - shown);
}

bool traits_compare(const struct traits *const *known, size_t count, const struct traits *now, struct str *story,
		    struct str *explanation)
{
	const struct comparison all = compare(known, count, now);

	if (all.nearest == NULL)
		return false;
	if (all.other_issuer) {
		add_part(story, ", ", "another issuer");
		add_part(explanation, "; ", "issued by ");
		str_addf(explanation, "%s instead of %s", now->issuer, all.nearest->issuer);
	}
	if (all.weaker) {
		add_part(story, ", ", "a weaker key");
		add_part(explanation, "; ", "");
		str_addf(explanation, "a key of %d bits of strength instead of %d", now->strength_bits,
			 all.nearest->strength_bits);
	}
	if (all.lost > 0) {
		add_part(story, ", ", all.lost == 1 ? "a name lost" : "names lost");
		explain_lost(explanation, &all, now);
	}
	if (all.older) {
		add_part(story, ", ", "an old certificate is back");
		add_part(explanation, "; ", "valid from ");
		str_add_time(explanation, now->not_before_unix_s * INT64_C(1000000));
		str_add(explanation, ", before the one it replaces");
	}
	return story->bytes > 0;
}
