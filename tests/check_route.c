/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/eval/route.h"

/* A route table in words: match words, then senders. */
struct route_words {
	const char *match[4];
	const char *send_to[4];
	bool go_on;
};

static struct group_by by_group_and_check[] = { { .key = GROUP_BY_GROUP }, { .key = GROUP_BY_CHECK } };

static struct route *make_routes(const struct route_words *words, size_t count)
{
	struct route *routes = mem_array(count, sizeof(*routes));

	for (size_t i = 0; i < count; i++) {
		size_t matches = 0;
		struct error err;

		while (matches < 4 && words[i].match[matches] != NULL)
			matches++;
		ck_assert(match_from_words(&routes[i].match, words[i].match, matches, &err));
		routes[i].send_to = mem_array(4, sizeof(char *));
		while (routes[i].send_to_count < 4 && words[i].send_to[routes[i].send_to_count] != NULL) {
			routes[i].send_to[routes[i].send_to_count] =
				mem_strdup(words[i].send_to[routes[i].send_to_count]);
			routes[i].send_to_count++;
		}
		routes[i].go_on = words[i].go_on;
		routes[i].group_by = by_group_and_check;
		routes[i].group_by_count = 2;
		routes[i].remind_ms[LEVEL_CRITICAL] = 1000 * (int64_t)(i + 1);
		routes[i].remind_certificate_ms = 77;
	}
	return routes;
}

static void free_routes(struct route *routes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		match_done(&routes[i].match);
		for (size_t j = 0; j < routes[i].send_to_count; j++)
			free(routes[i].send_to[j]);
		free(routes[i].send_to);
	}
	free(routes);
}

static const struct route_words table_words[] = {
	{ { "level=critical", "group=web" }, { "pager", "chat" }, false },
	{ { "group=db" }, { "dba", "chat" }, true },
	{ { "level=critical" }, { "pager", "dba" }, false },
	{ { NULL }, { "mail" }, false },
};
enum { ROUTES = sizeof(table_words) / sizeof(table_words[0]) };

struct row {
	const char *what;
	const char *group;
	const char *level;
	const char *senders; /* in order */
};

static const struct row rows[] = {
	{ "the first that matches, and no more", "web", "critical", "pager chat " },
	{ "both keys must hold", "web", "warning", "mail " },
	{ "continue looks further, nobody is told twice", "db", "critical", "dba chat pager " },
	{ "continue into the last one", "db", "warning", "dba chat mail " },
	{ "without a group", NULL, "warning", "mail " },
};

static void collect(const struct route *route, const char *sender, void *arg)
{
	(void)route;
	str_addf(arg, "%s ", sender);
}

START_TEST(test_senders)
{
	const struct row *row = &rows[_i];
	struct route *routes = make_routes(table_words, ROUTES);
	const struct route_table table = { routes, ROUTES };
	const struct route_subject subject = {
		.match.values = { [MATCH_GROUP] = row->group, [MATCH_LEVEL] = row->level }
	};
	struct str senders = { 0 };

	route_each(&table, &subject, collect, &senders);
	ck_assert_msg(strcmp(senders.data, row->senders) == 0, "%s: %s", row->what, senders.data);
	str_done(&senders);
	free_routes(routes, ROUTES);
}
END_TEST

START_TEST(test_own_send_to)
{
	static const char *const own[] = { "alice", "bob" };
	struct route *routes = make_routes(table_words, ROUTES);
	const struct route_table table = { routes, ROUTES };
	struct route_subject subject = {
		.match.values = { [MATCH_GROUP] = "web", [MATCH_LEVEL] = "critical" },
		.send_to = own,
		.send_to_count = 2,
		.send_to_set = true,
	};
	struct str senders = { 0 };

	route_each(&table, &subject, collect, &senders);
	ck_assert_str_eq(senders.data, "alice bob ");
	str_clear(&senders);
	subject.send_to_count = 0; /* watched, nobody told */
	route_each(&table, &subject, collect, &senders);
	ck_assert_uint_eq(senders.bytes, 0);
	str_done(&senders);
	free_routes(routes, ROUTES);
}
END_TEST

START_TEST(test_route_of_and_reminders)
{
	struct route *routes = make_routes(table_words, ROUTES);
	const struct route_table table = { routes, ROUTES };
	const struct route_subject subject = { .match.values = { [MATCH_GROUP] = "db", [MATCH_LEVEL] = "critical" } };

	ck_assert_ptr_eq(route_of(&table, &subject, "chat"), &routes[1]);
	ck_assert_ptr_eq(route_of(&table, &subject, "pager"), &routes[2]);
	ck_assert_ptr_eq(route_of(&table, &subject, "gone"), &routes[3]);
	ck_assert_int_eq(route_remind_ms(&routes[1], CHECK_AVAILABILITY, LEVEL_CRITICAL), 2000);
	ck_assert_int_eq(route_remind_ms(&routes[1], CHECK_AVAILABILITY, LEVEL_WARNING), 0);
	ck_assert_int_eq(route_remind_ms(&routes[1], CHECK_CERTIFICATE, LEVEL_CRITICAL), 77);
	free_routes(routes, ROUTES);
}
END_TEST

START_TEST(test_group_key)
{
	struct group_by all[] = {
		{ .key = GROUP_BY_TARGET },   { .key = GROUP_BY_ADDRESS },
		{ .key = GROUP_BY_REASON },   { .key = GROUP_BY_LOCATION },
		{ .key = GROUP_BY_LABEL, .label = (char *)"env" },
	};
	struct label label = { (char *)"env", (char *)"prod" };
	const struct route_subject subject = {
		.match = {
			.values = {
				[MATCH_TARGET] = "shop", [MATCH_GROUP] = "web", [MATCH_CHECK] = "availability",
				[MATCH_REASON] = "connect_refused", [MATCH_LOCATION] = "berlin",
			},
			.labels = &label,
			.label_count = 1,
		},
		.address = "shop:443",
	};
	struct route route = { .group_by = by_group_and_check, .group_by_count = 2 };
	struct str key = { 0 };

	route_group_key(&key, &route, &subject);
	ck_assert_str_eq(key.data, "group=web,check=availability");
	str_clear(&key);
	route.group_by = all;
	route.group_by_count = 5;
	route_group_key(&key, &route, &subject);
	ck_assert_str_eq(key.data, "target=shop,address=shop:443,reason=connect_refused,location=berlin,label.env=prod");
	str_done(&key);
	route.group_by_count = 0;
	route_group_key(&key, &route, &subject);
	ck_assert_uint_eq(key.bytes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("route");
	TCase *tests = tcase_create("route");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_senders, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(tests, test_own_send_to);
	tcase_add_test(tests, test_route_of_and_reminders);
	tcase_add_test(tests, test_group_key);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
