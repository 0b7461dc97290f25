/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/notify/alerts.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

AUTO_DEFINE(message, struct message *, message_free)
AUTO_DEFINE(document, struct json *, json_free)

enum { ITEMS_MAX = 8 };
static const int64_t noon_s = 1795521509; /* 2026-11-24T11:58:29Z */

static int64_t at_us(int64_t after_s)
{
	return (noon_s + after_s) * US_PER_S;
}

static struct message_item shop(void)
{
	return (struct message_item){
		.incident = 412, .event = EVENT_PROBLEM, .target = "shop", .address = "shop.example.com:443",
		.group = "web", .check = CHECK_AVAILABILITY, .level = LEVEL_CRITICAL,
		.reason = REASON_CONNECT_REFUSED, .phase = PHASE_CONNECT, .since_unix_us = at_us(0),
	};
}

/* The body, parsed again by another reader than the one that wrote it. */
static struct json *body_of(const struct message_item *items, size_t count, const char *group_key)
{
	char *texts[ITEMS_MAX] = { NULL };
	struct error err = { 0 };

	for (size_t i = 0; i < count; i++) {
		struct str text = { 0 };
		struct json_writer w;

		json_start(&w, &text);
		message_item_write(&w, &items[i]);
		texts[i] = str_take(&text);
	}
	AUTO(string) char *stored = message_compose("412.1.a", "hook", group_key, NULL, at_us(30), false,
						    (const char *const *)texts, count);
	AUTO(message) struct message *message = message_parse(stored, &err);

	ck_assert_msg(message != NULL, "%s", err.text);
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	AUTO(string) char *body = alerts_body(message);
	AUTO(string) char *again = alerts_body(message);
	struct json *root = json_parse(body, strlen(body), &err);

	ck_assert_str_eq(body, again);
	ck_assert_msg(root != NULL, "%s: %s", err.text, body);
	return root;
}

static struct json *body_of_one(const struct message_item *item)
{
	return body_of(item, 1, "group=web,check=availability");
}

static const struct json *alert_of(const struct json *root, size_t index)
{
	return json_at(json_get(root, "alerts"), index);
}

static const char *label_of(const struct json *root, size_t index, const char *name)
{
	return json_get_string(json_get(alert_of(root, index), "labels"), name);
}

static size_t keys_of(const struct json *object)
{
	const struct json *value;
	void *iter = NULL;
	size_t count = 0;

	while (json_next(object, &iter, &value) != NULL)
		count++;
	return count;
}

START_TEST(shape_is_version_4)
{
	static const char *const strings[][2] = {
		{ "version", "4" }, { "groupKey", "group=web,check=availability" }, { "status", "firing" },
		{ "receiver", "hook" }, { "externalURL", "" },
	};
	struct message_item item = shop();
	AUTO(document) struct json *root = body_of_one(&item);
	const struct json *portbell = json_get(root, "portbell");

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		ck_assert_str_eq(json_get_string(root, strings[i][0]), strings[i][1]);
	ck_assert_int_eq(json_get_int(root, "truncatedAlerts", -1), 0);
	ck_assert_uint_eq(json_size(json_get(root, "alerts")), 1);
	ck_assert_uint_eq(keys_of(root), 11);
	ck_assert_uint_eq(keys_of(json_get(root, "groupLabels")), 2);
	ck_assert_str_eq(json_get_string(json_get(root, "groupLabels"), "group"), "web");
	ck_assert_str_eq(json_get_string(json_get(root, "groupLabels"), "check"), "availability");
	ck_assert_uint_eq(keys_of(json_get(root, "commonLabels")), 6);
	ck_assert_uint_eq(keys_of(json_get(root, "commonAnnotations")), 4);
	ck_assert_str_eq(json_get_string(portbell, "event"), "problem");
	ck_assert_uint_eq(json_size(json_get(portbell, "incidents")), 1);
	ck_assert_ptr_null(json_get(portbell, "missed"));
}
END_TEST

START_TEST(alert_has_labels_and_annotations)
{
	static const char *const labels[][2] = {
		{ "alertname", "PortbellAvailability" }, { "target", "shop" },
		{ "instance", "shop.example.com:443" }, { "group", "web" }, { "check", "availability" },
		{ "severity", "critical" }, { "team", "core" },
	};
	static const char *const annotations[][2] = {
		{ "summary", "shop: connection refused" }, { "reason", "connect_refused" },
		{ "locations", "berlin-1" },
		{ "runbook_url", "https://wiki.example.com/" }, { "incident", "412" },
		{ "description",
		  "The front door\nconnection refused at 192.0.2.1:443 in phase connect: ECONNREFUSED" },
	};
	struct label own[] = { { "team", "core" }, { "severity", "mild" } };
	struct message_item item = shop();

	item.labels = own;
	item.label_count = 2;
	item.reached = "192.0.2.1:443";
	item.detail = "ECONNREFUSED";
	item.description = "The front door";
	item.location = "berlin-1";
	item.runbook = "https://wiki.example.com/";
	AUTO(document) struct json *root = body_of_one(&item);
	const struct json *alert = alert_of(root, 0);

	ck_assert_uint_eq(keys_of(json_get(alert, "labels")), sizeof(labels) / sizeof(labels[0]));
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		ck_assert_str_eq(label_of(root, 0, labels[i][0]), labels[i][1]);
	ck_assert_uint_eq(keys_of(json_get(alert, "annotations")), sizeof(annotations) / sizeof(annotations[0]));
	for (size_t i = 0; i < sizeof(annotations) / sizeof(annotations[0]); i++)
		ck_assert_str_eq(json_get_string(json_get(alert, "annotations"), annotations[i][0]),
				 annotations[i][1]);
	ck_assert_str_eq(json_get_string(alert, "status"), "firing");
	ck_assert_str_eq(json_get_string(alert, "startsAt"), "2026-11-24T11:58:29Z");
	ck_assert_str_eq(json_get_string(alert, "endsAt"), "0001-01-01T00:00:00Z");
	ck_assert_str_eq(json_get_string(alert, "generatorURL"), "");
	ck_assert_uint_eq(strlen(json_get_string(alert, "fingerprint")), 16);
}
END_TEST

/* Computed elsewhere: alertname="PortbellAvailability", check="availability", severity="critical", target="a". */
START_TEST(fingerprint_is_prometheus_own)
{
	struct message_item item = shop();

	item.target = "a";
	item.address = NULL;
	item.group = NULL;
	AUTO(document) struct json *root = body_of_one(&item);

	ck_assert_str_eq(json_get_string(alert_of(root, 0), "fingerprint"), "283df76e1414301a");
}
END_TEST

struct life_row {
	const char *story;
	enum event_kind event;
	enum level before;
	enum level level;
	bool over;
	bool missed;
	const char *status;
	const char *alerts; /* "resolved warning, firing critical" */
};

static const struct life_row lives[] = {
	{ "it begins", EVENT_PROBLEM, LEVEL_OK, LEVEL_WARNING, false, false, "firing", "firing warning" },
	{ "it gets worse", EVENT_WORSE, LEVEL_WARNING, LEVEL_CRITICAL, false, false, "firing",
	  "resolved warning, firing critical" },
	{ "we remind", EVENT_REMINDER, LEVEL_CRITICAL, LEVEL_CRITICAL, false, false, "firing", "firing critical" },
	{ "it gets better", EVENT_BETTER, LEVEL_CRITICAL, LEVEL_WARNING, false, false, "firing",
	  "resolved critical, firing warning" },
	{ "it is over", EVENT_RECOVERED, LEVEL_WARNING, LEVEL_OK, true, false, "resolved", "resolved warning" },
	{ "it was over before we told", EVENT_RECOVERED, LEVEL_CRITICAL, LEVEL_OK, true, true, "resolved",
	  "resolved critical" },
	{ "nobody knows how bad it was", EVENT_RECOVERED, LEVEL_OK, LEVEL_OK, true, true, "resolved",
	  "resolved critical" },
	{ "unknown", EVENT_PROBLEM, LEVEL_OK, LEVEL_UNKNOWN, false, false, "firing", "firing unknown" },
	{ "a test", EVENT_TEST, LEVEL_OK, LEVEL_OK, false, false, "firing", "firing warning" },
	{ "a notice", EVENT_NOTICE, LEVEL_OK, LEVEL_WARNING, false, false, "resolved", "resolved warning" },
};

START_TEST(alerts_follow_the_life_of_an_incident)
{
	const struct life_row *row = &lives[_i];
	struct message_item item = shop();
	AUTO(str) struct str alerts = { 0 };

	item.event = row->event;
	item.before = row->before;
	item.level = row->level;
	item.missed = row->missed;
	item.ended_unix_us = row->over ? at_us(20) : 0;
	AUTO(document) struct json *root = body_of_one(&item);

	for (size_t i = 0; i < json_size(json_get(root, "alerts")); i++) {
		const char *status = json_get_string(alert_of(root, i), "status");
		const char *ends = json_get_string(alert_of(root, i), "endsAt");

		str_addf(&alerts, "%s%s %s", i > 0 ? ", " : "", status, label_of(root, i, "severity"));
		ck_assert_str_eq(json_get_string(alert_of(root, i), "startsAt"), "2026-11-24T11:58:29Z");
		ck_assert_str_eq(ends, strcmp(status, "firing") == 0 ? "0001-01-01T00:00:00Z" :
				 row->over			     ? "2026-11-24T11:58:49Z" :
								       "2026-11-24T11:58:59Z");
	}
	ck_assert_str_eq(alerts.data, row->alerts);
	ck_assert_str_eq(json_get_string(root, "status"), row->status);
	ck_assert_str_eq(json_get_string(json_get(root, "portbell"), "event"), event_name(row->event));
	ck_assert_int_eq(json_get_bool(json_get(root, "portbell"), "missed", false), row->missed);
}
END_TEST

/* The receiver closes what it opened only if the labels are the same to the byte. */
START_TEST(fingerprint_stays_while_the_incident_lives)
{
	struct message_item item = shop();
	AUTO(document) struct json *opened = body_of_one(&item);

	item.event = EVENT_RECOVERED;
	item.before = LEVEL_CRITICAL;
	item.level = LEVEL_OK;
	item.ended_unix_us = at_us(20);
	item.reason = REASON_CONNECT_TIMEOUT;
	item.reached = "192.0.2.9:443";
	item.detail = "other words";
	AUTO(document) struct json *closed = body_of_one(&item);

	ck_assert_str_eq(json_get_string(alert_of(opened, 0), "fingerprint"),
			 json_get_string(alert_of(closed, 0), "fingerprint"));
}
END_TEST

START_TEST(what_alerts_share_is_common)
{
	struct message_item items[] = { shop(), shop(), shop() };

	items[1].incident = 413;
	items[1].target = "cart";
	items[1].address = "cart.example.com:443";
	items[2].incident = 414;
	items[2].target = "till";
	items[2].level = LEVEL_OK;
	items[2].before = LEVEL_WARNING;
	items[2].event = EVENT_RECOVERED;
	items[2].ended_unix_us = at_us(3);
	AUTO(document) struct json *root = body_of(items, 3, "group=web,check=latency,target=shop");
	const struct json *common = json_get(root, "commonLabels");

	ck_assert_str_eq(json_get_string(root, "status"), "firing");
	ck_assert_uint_eq(keys_of(common), 3);
	ck_assert_str_eq(json_get_string(common, "alertname"), "PortbellAvailability");
	ck_assert_str_eq(json_get_string(common, "group"), "web");
	ck_assert_uint_eq(keys_of(json_get(root, "groupLabels")), 1);
	ck_assert_str_eq(json_get_string(json_get(root, "groupLabels"), "group"), "web");
	ck_assert_str_eq(json_get_string(json_get(root, "portbell"), "event"), "digest");
	ck_assert_uint_eq(json_size(json_get(json_get(root, "portbell"), "incidents")), 3);
	ck_assert_str_eq(json_get_string(json_get(root, "commonAnnotations"), "reason"), "connect_refused");
	ck_assert_ptr_null(json_get(json_get(root, "commonAnnotations"), "summary"));
}
END_TEST

START_TEST(hostile_text_stays_in_its_string)
{
	char hostile[] = "x\",\"status\":\"resolved\r\n\x1b\xff\\";
	struct message_item item = shop();

	item.target = item.group = item.detail = item.description = hostile;
	AUTO(document) struct json *root = body_of_one(&item);

	ck_assert_str_eq(json_get_string(root, "status"), "firing");
	ck_assert_str_eq(label_of(root, 0, "target"), "x\",\"status\":\"resolved\\x0d\\x0a\\x1b\xef\xbf\xbd\\");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("alerts");
	TCase *tcase = tcase_create("alerts");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, shape_is_version_4);
	tcase_add_test(tcase, alert_has_labels_and_annotations);
	tcase_add_test(tcase, fingerprint_is_prometheus_own);
	tcase_add_loop_test(tcase, alerts_follow_the_life_of_an_incident, 0,
			    (int)(sizeof(lives) / sizeof(lives[0])));
	tcase_add_test(tcase, fingerprint_stays_while_the_incident_lives);
	tcase_add_test(tcase, what_alerts_share_is_common);
	tcase_add_test(tcase, hostile_text_stays_in_its_string);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
