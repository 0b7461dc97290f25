/* SPDX-License-Identifier: MIT */
#include "daemon/notify/alerts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"

/* Alertmanager's own labels and annotations are maps without order: ours are sorted by name. */
struct pair {
	const char *name;
	const char *value;
};

struct pairs {
	struct pair *all;
	size_t count;
	size_t capacity;
};

struct alert {
	const struct message_item *item;
	enum level severity;
	bool resolved;
	int64_t starts_unix_us;
	int64_t ends_unix_us;
	struct pairs labels;
	struct pairs annotations;
	char *summary;
	char *description;
	char incident[24];
};

struct alerts {
	const struct message *message;
	struct alert *all;
	size_t count;
};

static const char *pairs_find(const struct pairs *pairs, const char *name)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (strcmp(pairs->all[i].name, name) == 0)
			return pairs->all[i].value;
	return NULL;
}

/* A name that is there already wins; an empty value is the same as none. */
static void pairs_add(struct pairs *pairs, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0' || pairs_find(pairs, name) != NULL)
		return;
	pairs->all = mem_grow(pairs->all, &pairs->capacity, pairs->count + 1, sizeof(*pairs->all));
	pairs->all[pairs->count++] = (struct pair){ name, value };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

static void pairs_sort(struct pairs *pairs)
{
	if (pairs->count > 0)
		qsort(pairs->all, pairs->count, sizeof(*pairs->all), by_name);
}

static void write_pairs(struct json_writer *w, const char *key, const struct pairs *pairs)
{
	json_key(w, key);
	json_object(w);
	for (size_t i = 0; i < pairs->count; i++)
		json_key_string(w, pairs->all[i].name, pairs->all[i].value);
	json_object_end(w);
}

static void set_labels(struct alert *alert)
{
	static const char *const alert_names[CHECK_COUNT] = {
		[CHECK_AVAILABILITY] = "PortbellAvailability", [CHECK_LATENCY] = "PortbellLatency",
		[CHECK_CERTIFICATE] = "PortbellCertificate", [CHECK_TLS] = "PortbellTls",
		[CHECK_SELF] = "PortbellSelf",
	};
	const struct message_item *item = alert->item;
	struct pairs *labels = &alert->labels;

	pairs_add(labels, "alertname", alert_names[item->check]);
	pairs_add(labels, "target", item->target);
	pairs_add(labels, "instance", item->address);
	pairs_add(labels, "group", item->group);
	pairs_add(labels, "check", check_name(item->check));
	pairs_add(labels, "severity", level_name(alert->severity));
	for (size_t i = 0; i < item->label_count; i++)
		pairs_add(labels, item->labels[i].name, item->labels[i].value);
	pairs_sort(labels);
}

/* "connection refused at 192.0.2.1:443 in phase connect: ...", below what the configuration says of the target. */
static char *describe(const struct message_item *item)
{
	struct str text = { 0 };

	if (item->description != NULL)
		str_addf(&text, "%s\n", item->description);
	if (item->event == EVENT_NOTICE && item->reason == REASON_OK && item->detail != NULL) {
		str_add(&text, item->detail);
		if (item->certificate != NULL && item->certificate->changed != NULL)
			str_addf(&text, ": %s", item->certificate->changed);
		return str_take(&text);
	}
	str_add(&text, reason_text(item->reason));
	if (item->reached != NULL)
		str_addf(&text, " at %s", item->reached);
	if (item->phase != PHASE_TOTAL && item->check != CHECK_SELF)
		str_addf(&text, " in phase %s", phase_name(item->phase));
	if (item->detail != NULL)
		str_addf(&text, ": %s", item->detail);
	return str_take(&text);
}

static void set_annotations(struct alert *alert, const struct message *message)
{
	const struct message_item *item = alert->item;
	struct pairs *annotations = &alert->annotations;
	struct str summary = { 0 };

	str_addf(&summary, "%s: ", item->target);
	message_item_story(&summary, message, item);
	alert->summary = str_take(&summary);
	alert->description = describe(item);
	if (item->incident != 0)
		snprintf(alert->incident, sizeof(alert->incident), "%lld", (long long)item->incident);
	pairs_add(annotations, "description", alert->description);
	pairs_add(annotations, "incident", alert->incident);
	pairs_add(annotations, "locations", item->location);
	pairs_add(annotations, "reason", reason_name(item->reason));
	pairs_add(annotations, "runbook_url", item->runbook);
	pairs_add(annotations, "summary", alert->summary);
}

static void add_alert(struct alerts *alerts, const struct message_item *item, enum level severity, bool resolved)
{
	const struct message *message = alerts->message;
	struct alert *alert = &alerts->all[alerts->count++];

	alert->item = item;
	alert->severity = severity;
	alert->resolved = resolved;
	alert->starts_unix_us = item->since_unix_us != 0 ? item->since_unix_us : message->created_unix_us;
	alert->ends_unix_us = item->ended_unix_us != 0 ? item->ended_unix_us : message->created_unix_us;
	set_labels(alert);
	set_annotations(alert, message);
}

/* The severity of a problem that is over is what the receiver knows it by. */
static enum level severity_when_over(const struct message_item *item)
{
	if (item->before != LEVEL_OK)
		return item->before;
	if (item->level != LEVEL_OK)
		return item->level;
	return item->check == CHECK_AVAILABILITY ? LEVEL_CRITICAL : LEVEL_WARNING;
}

static void alerts_init(struct alerts *alerts, const struct message *message)
{
	*alerts = (struct alerts){ .message = message };
	alerts->all = mem_array(2 * message->item_count, sizeof(*alerts->all));
	for (size_t i = 0; i < message->item_count; i++) {
		const struct message_item *item = &message->items[i];

		/* A notice tells of a moment: nothing stays open. */
		if (message_item_is_over(item) || item->event == EVENT_NOTICE) {
			add_alert(alerts, item, severity_when_over(item), true);
			continue;
		}
		if (item->before != LEVEL_OK && item->before != item->level)
			add_alert(alerts, item, item->before, true);
		/* A test is at level ok, which is no severity. */
		add_alert(alerts, item, item->level != LEVEL_OK ? item->level : LEVEL_WARNING, false);
	}
}

static void alerts_auto(struct alerts *alerts)
{
	for (size_t i = 0; i < alerts->count; i++) {
		free(alerts->all[i].labels.all);
		free(alerts->all[i].annotations.all);
		free(alerts->all[i].summary);
		free(alerts->all[i].description);
	}
	free(alerts->all);
}

static const struct pairs *pairs_of(const struct alert *alert, bool labels)
{
	return labels ? &alert->labels : &alert->annotations;
}

/* What all alerts have, with the same value. */
static void add_common(struct pairs *common, const struct alerts *alerts, bool labels)
{
	const struct pairs *pairs = pairs_of(&alerts->all[0], labels);

	for (size_t i = 0; i < pairs->count; i++) {
		bool shared = true;

		for (size_t j = 1; j < alerts->count && shared; j++)
			shared = str_equal(pairs->all[i].value,
					   pairs_find(pairs_of(&alerts->all[j], labels), pairs->all[i].name));
		if (shared)
			pairs_add(common, pairs->all[i].name, pairs->all[i].value);
	}
}

/* "group=web" for the label group, "label.team=core" for one of the target's: as it stands in a group key. */
static char *group_key_part(const struct pair *label)
{
	static const struct pair keys[] = {
		{ "group", "group" }, { "check", "check" }, { "target", "target" }, { "instance", "address" },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(label->name, keys[i].name) == 0)
			return mem_printf("%s=%s", keys[i].value, label->value);
	return mem_printf("label.%s=%s", label->name, label->value);
}

static bool is_grouped_by(const char *group_key, const struct pair *label)
{
	AUTO(string) char *part = group_key_part(label);
	size_t bytes = strlen(part);
	const char *at = group_key;

	while (at != NULL && (at = strstr(at, part)) != NULL) {
		if ((at == group_key || at[-1] == ',') && (at[bytes] == '\0' || at[bytes] == ','))
			return true;
		at++;
	}
	return false;
}

static void write_group_labels(struct json_writer *w, const struct message *message, const struct pairs *common)
{
	json_key(w, "groupLabels");
	json_object(w);
	for (size_t i = 0; i < common->count; i++)
		if (is_grouped_by(message->group_key, &common->all[i]))
			json_key_string(w, common->all[i].name, common->all[i].value);
	json_object_end(w);
}

/* As Prometheus computes it: FNV-1a of the sorted labels, each name and value closed by a byte no text has. */
static void write_fingerprint(struct json_writer *w, const struct pairs *labels)
{
	AUTO(str) struct str text = { 0 };
	char hex[17];

	for (size_t i = 0; i < labels->count; i++)
		str_addf(&text, "%s\xff%s\xff", labels->all[i].name, labels->all[i].value);
	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)str_hash(text.data, text.bytes, 0));
	json_key_string(w, "fingerprint", hex);
}

static void write_alert(struct json_writer *w, const struct alert *alert)
{
	json_object(w);
	json_key_string(w, "status", alert->resolved ? "resolved" : "firing");
	write_pairs(w, "labels", &alert->labels);
	write_pairs(w, "annotations", &alert->annotations);
	json_key_time(w, "startsAt", alert->starts_unix_us);
	if (alert->resolved)
		json_key_time(w, "endsAt", alert->ends_unix_us);
	else
		json_key_string(w, "endsAt", "0001-01-01T00:00:00Z"); /* Go's zero time: not known yet */
	json_key_string(w, "generatorURL", "");
	write_fingerprint(w, &alert->labels);
	json_object_end(w);
}

static void write_alerts(struct json_writer *w, const struct alerts *alerts)
{
	json_key(w, "alerts");
	json_array(w);
	for (size_t i = 0; i < alerts->count; i++)
		write_alert(w, &alerts->all[i]);
	json_array_end(w);
}

static const char *status_of(const struct alerts *alerts)
{
	for (size_t i = 0; i < alerts->count; i++)
		if (!alerts->all[i].resolved)
			return "firing";
	return "resolved";
}

/* What is not Alertmanager's. */
static void write_portbell(struct json_writer *w, const struct message *message)
{
	enum event_kind event = message->items[0].event;
	bool missed = false;

	json_key(w, "portbell");
	json_object(w);
	json_key(w, "incidents");
	json_array(w);
	for (size_t i = 0; i < message->item_count; i++) {
		const struct message_item *item = &message->items[i];

		if (item->incident != 0)
			json_int(w, item->incident);
		if (item->event != event)
			event = EVENT_DIGEST;
		missed = missed || item->missed;
	}
	json_array_end(w);
	json_key_string(w, "event", event_name(message->drill ? EVENT_TEST : event));
	if (missed)
		json_key_bool(w, "missed", true);
	json_object_end(w);
}

char *alerts_body(const struct message *message)
{
	AUTO(alerts) struct alerts alerts;
	struct pairs common_labels = { 0 };
	struct pairs common_annotations = { 0 };
	struct str body = { 0 };
	struct json_writer w;

	alerts_init(&alerts, message);
	add_common(&common_labels, &alerts, true);
	add_common(&common_annotations, &alerts, false);
	json_start(&w, &body);
	json_object(&w);
	json_key_string(&w, "receiver", message->sender != NULL ? message->sender : "");
	json_key_string(&w, "status", status_of(&alerts));
	write_alerts(&w, &alerts);
	write_group_labels(&w, message, &common_labels);
	write_pairs(&w, "commonLabels", &common_labels);
	write_pairs(&w, "commonAnnotations", &common_annotations);
	json_key_string(&w, "externalURL", "");
	json_key_string(&w, "version", "4");
	json_key_string(&w, "groupKey", message->group_key != NULL ? message->group_key : "");
	json_key_int(&w, "truncatedAlerts", 0);
	write_portbell(&w, message);
	json_object_end(&w);
	free(common_labels.all);
	free(common_annotations.all);
	return str_take(&body);
}
