/* SPDX-License-Identifier: MIT */
/* What `portbell` asks over the control socket, answered from the program's parts. */
#include <string.h>

#include "daemon/app_private.h"
#include "daemon/view_probe.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

static void answer(struct control_call *call, struct str *json)
{
	control_answer(call, json->data);
	str_done(json);
}

/* status */

void app_count(const struct app *app, struct view_counts *counts)
{
	const struct target *target, *next;

	*counts = (struct view_counts){ 0 };
	HASH_ITER(by_name, app->board.names, target, next)
		view_count(counts, &target->watched);
}

static const struct watched **select_targets(const struct app *app, const struct match *match, size_t *count)
{
	const struct watched **selected = mem_array(board_count(&app->board) + 1, sizeof(struct watched *));
	const struct target *target, *next;

	*count = 0;
	HASH_ITER(by_name, app->board.names, target, next)
		if (view_matches(match, &target->watched, app->generation->config->location))
			selected[(*count)++] = &target->watched;
	qsort(selected, *count, sizeof(struct watched *), view_order);
	return selected;
}

static void write_targets(const struct app *app, const struct match *match, struct json_writer *w, int64_t now_unix_us)
{
	size_t count;
	const struct watched **selected = select_targets(app, match, &count);

	json_key(w, "targets");
	json_array(w);
	for (size_t i = 0; i < count; i++) {
		const struct incident *incidents[CHECK_COUNT] = { NULL };

		for (enum check check = CHECK_AVAILABILITY; check < CHECK_SELF; check++)
			incidents[check] = ledger_open_incident(app->ledger, selected[i]->config->name, check);
		view_target(w, selected[i], incidents, now_unix_us);
	}
	json_array_end(w);
	free(selected);
}

static void write_self(const struct app *app, struct json_writer *w)
{
	const struct incident *incidents[REASON_COUNT];
	struct view_self self = { .incidents = incidents };

	for (enum reason reason = REASON_OK; reason < REASON_COUNT; reason++) {
		const struct incident *incident = ledger_self_incident(app->ledger, reason);

		if (incident != NULL)
			incidents[self.count++] = incident;
	}
	view_self(w, &self);
}

static void on_status(void *arg, const struct match *match, struct control_call *call)
{
	const struct app *app = arg;
	const struct now now = clock_now();
	struct view_counts counts;
	struct str text = { 0 };
	struct json_writer w;

	app_count(app, &counts);
	json_start(&w, &text);
	json_object(&w);
	json_key_time(&w, "now", now.unix_us);
	json_key_string(&w, "location", app->generation->config->location);
	json_key_int(&w, "generation", (int64_t)app->generation->number);
	view_counts(&w, &counts);
	write_targets(app, match, &w, now.unix_us);
	write_self(app, &w);
	json_key_string(&w, "config_error", app->config_error);
	json_key_int(&w, "messages_waiting", (int64_t)notifier_waiting(app->notifier));
	json_object_end(&w);
	answer(call, &text);
}

/* probe */

enum { PROBE_GRACE_MS = 10000 };

struct probe_call {
	struct list item;
	struct control_call *call;
	uint32_t target;         /* its id */
	int64_t asked_unix_us;   /* a probe that began before does not count */
	int64_t until_mono_us;
};

static void probe_call_end(struct probe_call *waiting)
{
	list_remove(&waiting->item);
	free(waiting);
}

static void answer_probe(struct control_call *call, const struct watched *watched)
{
	const struct certificate *certificate = &watched->last.certificate;
	const struct tls_facts *facts = watched->facts;
	struct probed probed;
	struct str text = { 0 };
	struct json_writer w;

	/* Facts are kept of the last certificate that was shown; this probe may not have come so far. */
	if (!certificate->present || facts == NULL || facts->chain_count == 0 ||
	    memcmp(facts->chain[0].fingerprint, certificate->fingerprint, FINGERPRINT_BYTES) != 0)
		facts = NULL;
	probed_judge(&probed, watched->config, &watched->last, facts, clock_unix_us());
	json_start(&w, &text);
	view_probe(&w, &probed);
	answer(call, &text);
}

void app_answer_probes(struct app *app, const struct target *target)
{
	struct probe_call *waiting;

	list_each(waiting, &app->probe_calls, struct probe_call, item) {
		if (waiting->target != target->id || target->watched.last.started_unix_us < waiting->asked_unix_us)
			continue;
		answer_probe(waiting->call, &target->watched);
		probe_call_end(waiting);
	}
}

void app_end_probes(struct app *app, int64_t mono_us, bool all)
{
	struct probe_call *waiting;

	list_each(waiting, &app->probe_calls, struct probe_call, item) {
		const bool known = board_find_id(&app->board, waiting->target) != NULL;

		if (!all && known && mono_us < waiting->until_mono_us)
			continue;
		control_answer_error(waiting->call, "no_result",
				     all ? "portbelld stops" :
					   "no result came: the target was changed, or the machine is busy");
		probe_call_end(waiting);
	}
}

static void on_probe(void *arg, const char *name, struct control_call *call)
{
	struct app *app = arg;
	const struct target *target = board_find(&app->board, name);
	const struct now now = clock_now();
	struct probe_call *waiting;

	if (target == NULL || target->watched.config->paused) {
		AUTO(string) char *text = mem_printf(target == NULL ? "no target is called \"%s\"" :
								      "\"%s\" is paused in the configuration",
						     name);

		control_answer_error(call, target == NULL ? "not_found" : "paused", text);
		return;
	}
	waiting = mem_new(struct probe_call);
	*waiting = (struct probe_call){
		.call = call,
		.target = target->id,
		.asked_unix_us = now.unix_us,
		.until_mono_us =
			now.mono_us + (2 * target->watched.config->timeout_ms + PROBE_GRACE_MS) * US_PER_MS,
	};
	list_init(&waiting->item);
	list_push(&app->probe_calls, &waiting->item);
	prober_post_probe_now(app->crew[target->prober].prober, target->index);
}

/* reload */

static void on_reload(void *arg, struct control_call *call)
{
	app_reload(arg, call);
}

static char *mistakes(const struct report *report)
{
	struct str text = { 0 };

	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		str_addf(&text, "%s%s", i > 0 ? "\n" : "", line);
	}
	return str_take(&text);
}

static char *summary(const struct app *app, const struct report *report)
{
	const struct reload_summary *change = &app->generation->summary;
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_int(&w, "generation", (int64_t)app->generation->number);
	json_key_int(&w, "added", (int64_t)change->added);
	json_key_int(&w, "changed", (int64_t)change->changed);
	json_key_int(&w, "removed", (int64_t)change->removed);
	json_key_int(&w, "unchanged", (int64_t)change->unchanged);
	json_key(&w, "notes");
	json_array(&w);
	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		json_string(&w, line);
	}
	json_array_end(&w);
	json_object_end(&w);
	return str_take(&text);
}

void app_answer_reload(struct app *app, const struct report *report, bool applied)
{
	AUTO(string) char *text = applied ? summary(app, report) : mistakes(report);

	if (app->reload_call == NULL)
		return;
	if (applied)
		control_answer(TAKE(app->reload_call), text);
	else
		control_answer_error(TAKE(app->reload_call), "config_refused", text);
}

/* test */

struct drill_call {
	struct control_call *call;
	char *sender;
};

static void on_drill_ended(const struct delivery_outcome *outcome, void *arg)
{
	struct drill_call *drill = arg;
	struct str text = { 0 };
	struct json_writer w;

	if (outcome->status == DELIVERY_DONE) {
		json_start(&w, &text);
		json_object(&w);
		json_key_string(&w, "sender", drill->sender);
		json_key_string(&w, "text", outcome->text);
		json_object_end(&w);
		answer(drill->call, &text);
	} else {
		control_answer_error(drill->call, "delivery_failed", outcome->text);
	}
	free(drill->sender);
	free(drill);
}

static void on_test(void *arg, const char *sender, struct control_call *call)
{
	struct app *app = arg;
	struct drill_call *drill = mem_new(struct drill_call);

	drill->call = call;
	drill->sender = mem_strdup(sender);
	if (notifier_test(app->notifier, sender, on_drill_ended, drill))
		return;
	AUTO(string) char *text = mem_printf("no sender is called \"%s\"", sender);

	control_answer_error(call, "not_found", text);
	free(drill->sender);
	free(drill);
}

/* outbox */

static void on_outbox_listed(void *arg, const char *json, const char *error)
{
	struct control_call *call = arg;
	struct str text = { 0 };
	struct json_writer w;

	if (json == NULL) {
		control_answer_error(call, "store_failed", error);
		return;
	}
	json_start(&w, &text);
	json_object(&w);
	json_key(&w, "messages");
	json_raw(&w, json);
	json_object_end(&w);
	answer(call, &text);
}

static void on_outbox(void *arg, struct control_call *call)
{
	const struct app *app = arg;

	notifier_outbox(app->notifier, on_outbox_listed, call);
}

struct outbox_call {
	struct control_call *call;
	char *id;
};

static void on_outbox_changed(void *arg, const char *error)
{
	struct outbox_call *change = arg;
	struct str text = { 0 };
	struct json_writer w;

	if (error == NULL) {
		json_start(&w, &text);
		json_object(&w);
		json_key_string(&w, "id", change->id);
		json_object_end(&w);
		answer(change->call, &text);
	} else {
		control_answer_error(change->call, "not_found", error);
	}
	free(change->id);
	free(change);
}

static struct outbox_call *outbox_call(const char *id, struct control_call *call)
{
	struct outbox_call *change = mem_new(struct outbox_call);

	change->call = call;
	change->id = mem_strdup(id);
	return change;
}

static void on_outbox_retry(void *arg, const char *id, struct control_call *call)
{
	const struct app *app = arg;

	notifier_retry(app->notifier, id, on_outbox_changed, outbox_call(id, call));
}

static void on_outbox_drop(void *arg, const char *id, struct control_call *call)
{
	const struct app *app = arg;

	notifier_drop(app->notifier, id, on_outbox_changed, outbox_call(id, call));
}

struct control_backend app_control_backend(struct app *app)
{
	return (struct control_backend){
		.status = on_status,
		.probe = on_probe,
		.reload = on_reload,
		.test = on_test,
		.outbox = on_outbox,
		.outbox_retry = on_outbox_retry,
		.outbox_drop = on_outbox_drop,
		.arg = app,
	};
}
