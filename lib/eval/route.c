/* SPDX-License-Identifier: MIT */
#include "lib/eval/route.h"

#include "lib/base/mem.h"

static const struct route *last_route(const struct route_table *table)
{
	return &table->routes[table->count - 1];
}

static bool named_before(const struct route_table *table, const struct route_subject *subject,
			 const struct route *until, const char *sender)
{
	for (const struct route *route = table->routes; route < until; route++) {
		if (!match_holds(&route->match, &subject->match))
			continue;
		for (size_t i = 0; i < route->send_to_count; i++)
			if (str_equal(route->send_to[i], sender))
				return true;
	}
	return false;
}

static bool first_mention(char *const *names, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (str_equal(names[i], names[index]))
			return false;
	return true;
}

void route_each(const struct route_table *table, const struct route_subject *subject, route_visit_fn *visit, void *arg)
{
	if (subject->send_to_set) {
		for (size_t i = 0; i < subject->send_to_count; i++)
			visit(last_route(table), subject->send_to[i], arg);
		return;
	}
	for (size_t i = 0; i < table->count; i++) {
		const struct route *route = &table->routes[i];

		if (!match_holds(&route->match, &subject->match))
			continue;
		for (size_t j = 0; j < route->send_to_count; j++)
			if (first_mention(route->send_to, j) &&
			    !named_before(table, subject, route, route->send_to[j]))
				visit(route, route->send_to[j], arg);
		if (!route->go_on)
			return;
	}
}

struct search {
	const char *sender;
	const struct route *found;
};

static void note_if_named(const struct route *route, const char *sender, void *arg)
{
	struct search *search = arg;

	if (search->found == NULL && str_equal(sender, search->sender))
		search->found = route;
}

const struct route *route_of(const struct route_table *table, const struct route_subject *subject, const char *sender)
{
	struct search search = { .sender = sender };

	route_each(table, subject, note_if_named, &search);
	return search.found != NULL ? search.found : last_route(table);
}

static const char *label_value(const struct match_subject *subject, const char *name)
{
	for (size_t i = 0; i < subject->label_count; i++)
		if (str_equal(subject->labels[i].name, name))
			return subject->labels[i].value;
	return NULL;
}

static const char *group_value(const struct group_by *by, const struct route_subject *subject)
{
	switch (by->key) {
	case GROUP_BY_GROUP:
		return subject->match.values[MATCH_GROUP];
	case GROUP_BY_CHECK:
		return subject->match.values[MATCH_CHECK];
	case GROUP_BY_TARGET:
		return subject->match.values[MATCH_TARGET];
	case GROUP_BY_REASON:
		return subject->match.values[MATCH_REASON];
	case GROUP_BY_LOCATION:
		return subject->match.values[MATCH_LOCATION];
	case GROUP_BY_ADDRESS:
		return subject->address;
	case GROUP_BY_LABEL:
		return label_value(&subject->match, by->label);
	}
	return NULL;
}

void route_group_key(struct str *key, const struct route *route, const struct route_subject *subject)
{
	static const char *const names[] = { "group", "check", "target", "address", "reason", "location", "label." };

	for (size_t i = 0; i < route->group_by_count; i++) {
		const struct group_by *by = &route->group_by[i];
		const char *value = group_value(by, subject);

		str_addf(key, "%s%s%s=%s", i > 0 ? "," : "", names[by->key], by->label != NULL ? by->label : "",
			 value != NULL ? value : "");
	}
}

int64_t route_remind_ms(const struct route *route, enum check check, enum level level)
{
	return check == CHECK_CERTIFICATE ? route->remind_certificate_ms : route->remind_ms[level];
}
