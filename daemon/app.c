/* SPDX-License-Identifier: MIT */
/* What goes on while the program runs: results, the tick of a second, a new configuration, signals. */
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "daemon/app_private.h"
#include "daemon/log.h"
#include "daemon/probe/outfit.h"
#include "daemon/service.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	STOP_WITHIN_MS = 3200,           /* then the store has APP_STORE_CLOSE_MS */
	CROWDED_FOR_S = 30,
	DEAD_LETTERS_KEPT_S = 30 * 86400,
	REMIND_EVERY_TICKS = 5,
	CLEAN_EVERY_TICKS = 3600,
};

/* The way of the data: what a probe found becomes levels, incidents and notices */

static void store_level(struct app *app, const struct target *target, const struct change *change)
{
	const struct verdict *verdict = &target->watched.standing.checks[change->check];

	store_put_level(ledger_batch(app->ledger), &(struct level_row){
							   .target = target->watched.config->name,
							   .check = change->check,
							   .level = verdict->level,
							   .reason = verdict->reason,
							   .since_unix_us = verdict->since_unix_us,
						   });
}

void app_store_certificate(struct app *app, const struct target *target, const struct seen_certificate *seen)
{
	const struct certificate *certificate = &seen->certificate;
	const struct tls_facts *facts = target->watched.facts;
	AUTO(string) char *text = facts != NULL ? view_certificate(facts, certificate) : NULL;
	struct certificate_row row = {
		.target = target->watched.config->name,
		.first_seen_unix_us = seen->first_seen_unix_us,
		.not_before_unix_s = certificate->not_before_unix_s,
		.not_after_unix_s = certificate->not_after_unix_s,
		.chain_not_after_unix_s = certificate->chain_not_after_unix_s,
		.verdict = certificate->verdict,
		.facts = text,
	};

	memcpy(row.fingerprint, certificate->fingerprint, FINGERPRINT_BYTES);
	store_put_certificate(ledger_batch(app->ledger), &row);
}

/* What came into the set, left it, or is known to be revoked since. */
static void store_certificates(struct app *app, const struct target *target, const struct changes *changes,
			       bool revocation_changed)
{
	for (size_t i = 0; i < changes->dropped_count; i++)
		store_drop_certificate(ledger_batch(app->ledger), target->watched.config->name,
				       changes->dropped[i]);
	if (changes->added == NULL && revocation_changed)
		app_store_certificate(app, target,
				      standing_certificate(&target->watched.standing,
							   target->watched.last.certificate.fingerprint));
	if (changes->added != NULL)
		app_store_certificate(
			app, target, standing_certificate(&target->watched.standing, changes->added->fingerprint));
}

static void set_pace(struct app *app, struct target *target)
{
	const enum pace pace = evaluator_wants_recheck(&target->watched.config->rules, &target->watched.standing) ?
				       PACE_RECHECK :
				       PACE_NORMAL;

	if (pace == target->pace)
		return;
	target->pace = pace;
	prober_post_pace(app->crew[target->prober].prober, target->index, pace);
}

static void log_first_verdict(const struct watched *watched)
{
	char address[ADDRESS_TEXT_BYTES];
	AUTO(str) struct str took = { 0 };

	if (watched->last.reason != REASON_OK)
		return; /* the incident says it */
	address_print(&watched->last.address, address);
	str_add_duration(&took, watched->last.phase_us[PHASE_TOTAL]);
	log_debug("%s: ok, reached %s in %s", watched->config->name, address, took.data);
}

void app_take_changes(struct app *app, struct target *target, const struct changes *changes)
{
	for (size_t i = 0; i < changes->count; i++) {
		if (!changes->list[i].quiet)
			store_level(app, target, &changes->list[i]);
		ledger_change(app->ledger, target->watched.config->name, &changes->list[i]);
	}
}

static void on_result(struct app *app, struct result *result)
{
	struct target *target = board_find_id(&app->board, result->target_id);
	struct changes changes;

	if (target == NULL || target->watched.config->paused)
		return; /* it was removed or changed while the probe was in flight */
	const bool pending = !target->watched.standing.judged;
	const bool revocation_changed = app_look_up_revocation(app, target, result);

	evaluator_next(&target->watched.config->rules, &target->watched.standing, result,
		       reason_is_ours(result->reason) && ledger_explains_unknown(app->ledger), clock_unix_us(), &changes);
	target_take_result(target, result);
	app_answer_probes(app, target);
	if (pending && target->watched.standing.judged)
		log_first_verdict(&target->watched);
	app_take_changes(app, target, &changes);
	store_certificates(app, target, &changes, revocation_changed);
	if (changes.certificate_change != NULL)
		ledger_notice_certificate(app->ledger, target->watched.config->name, changes.certificate_change,
					  changes.certificate_explanation);
	changes_done(&changes);
	set_pace(app, target);
}

static void app_on_results(struct app *app, struct prober_report *report)
{
	for (size_t i = 0; i < report->as.batch.count; i++)
		on_result(app, &report->as.batch.results[i]);
	ledger_commit(app->ledger);
}

/* Probers */

static bool generation_in_use(const struct app *app, const struct generation *generation)
{
	for (size_t i = 0; i < app->crew_count; i++)
		if (app->crew[i].settled <= generation->number)
			return true;
	return notifier_uses(app->notifier, generation->config);
}

static void free_retired(struct app *app)
{
	size_t kept = 0;

	for (size_t i = 0; i < app->retired_count; i++) {
		if (generation_in_use(app, app->retired[i]))
			app->retired[kept++] = app->retired[i];
		else
			generation_free(app->retired[i]);
	}
	app->retired_count = kept;
}

static void on_stats(struct app *app, struct prober_report *report, int64_t mono_us)
{
	struct crew *crew = &app->crew[report->prober];

	if (report->as.stats.resolver_refused && !crew->stats.resolver_refused)
		log_error("the resolver's new settings cannot be used, probes keep those before");
	crew->stats = report->as.stats;
	if (crew->stats.waiting == 0 && crew->stats.discarded == 0)
		crew->crowded_since_mono_us = 0;
	else if (crew->crowded_since_mono_us == 0)
		crew->crowded_since_mono_us = mono_us;
}

void app_on_reports(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;
	const int64_t mono_us = clock_mono_us();
	struct prober_report *report;
	struct list reports;

	(void)fd;
	(void)what;
	inbox_take(app->reports, &reports);
	list_each(report, &reports, struct prober_report, item) {
		app->crew[report->prober].heard_mono_us = mono_us;
		switch (report->kind) {
		case PROBER_RESULTS:
			app_on_results(app, report);
			break;
		case PROBER_SETTLED:
			app->crew[report->prober].settled = report->as.settled;
			free_retired(app);
			break;
		case PROBER_STATS:
			on_stats(app, report, mono_us);
			break;
		}
		prober_report_free(report);
	}
}

/* Trouble of our own */

static void watch_store(struct app *app, int64_t mono_us)
{
	struct store_health health;

	store_tick(app->store, mono_us);
	store_get_health(app->store, mono_us, &health);
	const bool slow = health.oldest_pending_us > 5 * US_PER_S;
	const char *text = health.failing ? health.error : "it does not answer";

	ledger_self(app->ledger, REASON_DISK_FULL, health.failing && health.disk_full ? text : NULL);
	ledger_self(app->ledger, REASON_STORE_FAILED, (health.failing || slow) && !health.disk_full ? text : NULL);
}

static void watch_crew(struct app *app, int64_t mono_us)
{
	AUTO(str) struct str text = { 0 };

	for (size_t i = 0; i < app->crew_count; i++) {
		const struct crew *crew = &app->crew[i];

		if (crew->crowded_since_mono_us != 0 &&
		    mono_us - crew->crowded_since_mono_us > CROWDED_FOR_S * US_PER_S)
			str_addf(&text, "%sprober %zu: %zu probes wait for a socket, %" PRIu64 " were discarded by a late loop",
				 text.bytes > 0 ? "; " : "", i, crew->stats.waiting, crew->stats.discarded);
	}
	/* The numbers change each second; the incident keeps the first. */
	if (text.bytes == 0 || ledger_self_incident(app->ledger, REASON_OVERLOAD) == NULL)
		ledger_self(app->ledger, REASON_OVERLOAD, text.data);
}

/* Tells systemd that we live, when every prober has spoken since it was told last: each does so once a second. */
static void feed_watchdog(struct app *app, int64_t mono_us)
{
	for (size_t i = 0; i < app->crew_count; i++)
		if (app->crew[i].heard_mono_us <= app->watchdog_mono_us)
			return;
	app->watchdog_mono_us = mono_us;
	service_watchdog();
}

/* The senders' resolver */

struct resolver_options app_resolver_options(const struct config *config)
{
	return (struct resolver_options){
		.servers = (const char *const *)config->resolver.servers,
		.server_count = config->resolver.server_count,
		.timeout_ms = config->resolver.timeout_ms,
		.tries = config->resolver.tries,
		.cache = config->resolver.cache,
	};
}

static bool resolvers_differ(const struct config *a, const struct config *b)
{
	if (a->resolver.server_count != b->resolver.server_count || a->resolver.timeout_ms != b->resolver.timeout_ms ||
	    a->resolver.tries != b->resolver.tries || a->resolver.cache != b->resolver.cache)
		return true;
	for (size_t i = 0; i < a->resolver.server_count; i++)
		if (!str_equal(a->resolver.servers[i], b->resolver.servers[i]))
			return true;
	return false;
}

/* The senders' resolver follows the configuration; the one before goes when no delivery can be asking it. */
static void renew_resolver(struct app *app)
{
	const struct resolver_options options = app_resolver_options(app->generation->config);
	struct resolver *resolver;
	struct error err;

	if (app->old_resolver != NULL && notifier_in_flight(app->notifier) == 0)
		resolver_free(TAKE(app->old_resolver));
	if (!app->resolver_is_stale || app->old_resolver != NULL)
		return;
	app->resolver_is_stale = false;
	resolver = resolver_new(app->base, &options, &err);
	if (resolver == NULL) {
		log_error("the resolver's new settings cannot be used, the senders keep those before: %s", err.text);
		return;
	}
	app->old_resolver = app->resolver;
	app->resolver = resolver;
	notifier_set_resolver(app->notifier, resolver);
	inquirer_set_resolver(app->inquirer, resolver);
}

/* The tick, once a second */

static void show_status(struct app *app)
{
	struct view_counts counts;
	AUTO(str) struct str text = { 0 };

	app_count(app, &counts);
	str_addf(&text, "%zu targets, %zu down", counts.targets, counts.levels[LEVEL_CRITICAL]);
	if (counts.levels[LEVEL_WARNING] > 0)
		str_addf(&text, ", %zu warning", counts.levels[LEVEL_WARNING]);
	if (counts.levels[LEVEL_UNKNOWN] > 0)
		str_addf(&text, ", %zu unknown", counts.levels[LEVEL_UNKNOWN]);
	if (counts.pending > 0)
		str_addf(&text, ", %zu pending", counts.pending);
	if (notifier_waiting(app->notifier) > 0)
		str_addf(&text, "; %zu messages wait", notifier_waiting(app->notifier));
	if (app->config_error != NULL)
		str_add(&text, "; the configuration on disk was refused, the one before runs on");
	if (ledger_own_trouble(app->ledger))
		str_add(&text, "; own trouble: see portbell status");
	if (str_equal(app->status_shown, text.data))
		return;
	service_status("%s", text.data);
	free(app->status_shown);
	app->status_shown = str_take(&text);
}

static void stop_if_done(struct app *app, int64_t mono_us)
{
	struct store_health health;

	store_get_health(app->store, mono_us, &health);
	if (mono_us >= app->stop_by_mono_us || (notifier_in_flight(app->notifier) == 0 && health.pending_batches == 0))
		event_base_loopbreak(app->base);
}

/* A certificate whose incident was held back because it had one in the last 7 days may be told when they are over. */
static void look_at_certificates_again(struct app *app)
{
	struct target *target, *next;
	struct change change;

	HASH_ITER(by_name, app->board.names, target, next) {
		const struct watched *watched = &target->watched;

		if (evaluator_certificate_change(&watched->config->rules, &watched->standing, clock_unix_us(), &change) &&
		    ledger_open_incident(app->ledger, watched->config->name, CHECK_CERTIFICATE) == NULL)
			ledger_change(app->ledger, watched->config->name, &change);
	}
}

void app_watch_own_certificates(struct app *app)
{
	AUTO(string) char *text = outfit_own_trouble(app->generation->outfit, clock_unix_us() / US_PER_S);

	ledger_self(app->ledger, REASON_OWN_CERTIFICATE, text);
}

static void every_hour(struct app *app)
{
	app_watch_own_certificates(app);
	store_drop_dead_before(ledger_batch(app->ledger), clock_unix_us() - DEAD_LETTERS_KEPT_S * US_PER_S);
	look_at_certificates_again(app);
	notifier_clean(app->notifier);
}

static void every_second(struct app *app, int64_t mono_us)
{
	app->ticks++;
	app_end_probes(app, mono_us, false);
	watch_store(app, mono_us);
	watch_crew(app, mono_us);
	if (inquirer_tick(app->inquirer))
		app_judge_revocations(app);
	if (app->ticks % REMIND_EVERY_TICKS == 0)
		ledger_remind(app->ledger);
	if (app->ticks % CLEAN_EVERY_TICKS == 0)
		every_hour(app);
	ledger_commit(app->ledger);
	free_retired(app);
	renew_resolver(app);
	show_status(app);
	feed_watchdog(app, mono_us);
}

void app_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;
	const int64_t mono_us = clock_mono_us();

	(void)fd;
	(void)what;
	if (app->stop_by_mono_us == 0)
		every_second(app, mono_us);
	else
		stop_if_done(app, mono_us);
}

/* A new configuration */

bool app_find_subject(void *arg, const char *name, struct ledger_subject *subject)
{
	const struct app *app = arg;
	const struct target *target = board_find(&app->board, name);

	*subject = (struct ledger_subject){ 0 };
	if (target == NULL)
		return false;
	const struct watched *watched = &target->watched;

	*subject = (struct ledger_subject){
		.config = watched->config,
		.reached = &watched->last.address,
		.phase = watched->last.phase,
		.detail = watched->last.detail,
		.facts = watched->facts,
		.addresses = watched->last.addresses,
		.address_count = watched->last.address_count,
		.probes = watched->probes,
		.probe_count = watched->probe_count,
	};
	return true;
}

static void on_target_removed(void *arg, struct target *target)
{
	struct app *app = arg;

	ledger_unwatch(app->ledger, target->watched.config->name, CHECK_COUNT);
	store_drop_target(ledger_batch(app->ledger), target->watched.config->name);
}

/* A check that no longer is has nothing left to return from. */
static void drop_check(struct app *app, struct target *target, enum check check)
{
	struct verdict *verdict = &target->watched.standing.checks[check];

	ledger_unwatch(app->ledger, target->watched.config->name, check);
	if (verdict->level == LEVEL_OK)
		return;
	*verdict = (struct verdict){ .since_unix_us = clock_unix_us() };
	store_level(app, target, &(struct change){ .check = check });
}

/* What another address or name showed says nothing of this one. */
static void drop_certificates(struct app *app, const struct target *target)
{
	const struct standing *standing = &target->watched.standing;

	for (size_t i = 0; i < standing->certificate_count; i++)
		store_drop_certificate(ledger_batch(app->ledger), target->watched.config->name,
				       standing->certificates[i].certificate.fingerprint);
}

void app_drop_checks(void *arg, struct target *target, const struct target_config *next)
{
	struct app *app = arg;

	if (target->watched.config->identity != next->identity)
		drop_certificates(app, target);
	if (next->rules.latency_warning_us == 0 && next->rules.latency_critical_us == 0)
		drop_check(arg, target, CHECK_LATENCY);
	if (!next->tls || !next->rules.certificate)
		drop_check(arg, target, CHECK_CERTIFICATE);
	if (!next->tls || !next->rules.tls_required)
		drop_check(arg, target, CHECK_TLS);
}

/* Puts a generation to work: board, routes, senders, probers, in this order, so that no result finds a stranger. */
void app_apply(struct app *app, struct generation *generation)
{
	const struct board_changes changes = {
		.removed = on_target_removed, .changed = app_drop_checks, .arg = app
	};
	const struct resolver_options resolver = app_resolver_options(generation->config);

	if (app->generation != NULL) {
		app->resolver_is_stale =
			app->resolver_is_stale || resolvers_differ(app->generation->config, generation->config);
		app->retired[app->retired_count++] = app->generation;
	}
	ledger_set_config(app->ledger, generation->config);
	board_put_up(&app->board, generation, &changes);
	app->generation = generation;
	notifier_set_config(app->notifier, generation->config);
	log_set_level(generation->config->daemon.log_level);
	for (size_t i = 0; i < app->crew_count; i++) {
		prober_post_resolver(app->crew[i].prober, &resolver);
		prober_post_targets(app->crew[i].prober, &generation->assignments[i]);
	}
	ledger_commit(app->ledger);
	renew_resolver(app);
	free_retired(app);
}

static void log_report(const struct report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		if (report->problems[i].note)
			log_info("%s", line);
		else
			log_write(LOG_LEVEL_ERROR, LOG_RELOAD_REFUSED, NULL, "%s", line);
	}
}

static void refuse(struct app *app, const struct report *report)
{
	free(app->config_error);
	app->config_error = NULL;
	for (size_t i = 0; i < report->count && app->config_error == NULL; i++)
		if (!report->problems[i].note)
			app->config_error = problem_print(&report->problems[i]);
	log_write(LOG_LEVEL_ERROR, LOG_RELOAD_REFUSED, NULL,
		  "reload refused: %zu mistakes in the configuration; the one before runs on", report->mistakes);
	ledger_self(app->ledger, REASON_CONFIG_REFUSED, app->config_error != NULL ? app->config_error : "refused");
}

/* What was decided at the start stays until the next one: better said than found out. */
static void note_what_needs_a_restart(const struct daemon_config *now, const struct daemon_config *next)
{
	if (now->workers != next->workers)
		log_warning("daemon.workers takes effect at the next restart");
	if (!str_equal(now->control_socket, next->control_socket))
		log_warning("daemon.control_socket takes effect at the next restart");
	if (!str_equal(now->state_directory, next->state_directory))
		log_warning("daemon.state_directory takes effect at the next restart");
}

static void take_up(struct app *app, struct generation *generation)
{
	const struct reload_summary *change = &generation->summary;

	note_what_needs_a_restart(&app->generation->config->daemon, &generation->config->daemon);
	free(TAKE(app->config_error));
	app_apply(app, generation);
	log_write(LOG_LEVEL_INFO, LOG_RELOADED, NULL,
		  "reloaded: generation %" PRIu64 ", %zu targets (%zu added, %zu changed, %zu removed, %zu unchanged)",
		  generation->number, generation->config->target_count, change->added, change->changed,
		  change->removed, change->unchanged);
	ledger_self(app->ledger, REASON_CONFIG_REFUSED, NULL);
	app_watch_own_certificates(app);
}

void app_on_loaded(void *arg, struct generation *generation, const struct report *report)
{
	struct app *app = arg;
	const bool good = generation != NULL;

	app->loading = false;
	log_report(report);
	if (good)
		take_up(app, generation);
	else
		refuse(app, report);
	ledger_commit(app->ledger);
	app_answer_reload(app, report, good);
	if (app->stop_by_mono_us != 0)
		return;
	show_status(app);
	service_ready();
	if (app->load_again) {
		app->load_again = false;
		app_reload(app, NULL);
	}
}

void app_reload(struct app *app, struct control_call *call)
{
	if (app->stop_by_mono_us != 0 || app->retired_count == sizeof(app->retired) / sizeof(app->retired[0])) {
		if (call != NULL)
			control_answer_error(call, "busy",
					     "portbelld stops, or earlier reloads are still settling: try again in a moment");
		else
			log_warning("SIGHUP is not heard: earlier reloads are still settling, or we stop");
		return;
	}
	if (app->loading && call != NULL) {
		/* The file may have been read before it was edited: only a load that starts now answers this. */
		control_answer_error(call, "busy", "a reload is under way: try again in a moment");
		return;
	}
	if (app->loading) {
		app->load_again = true;
		return;
	}
	app->reload_call = call;
	app->loading = true;
	service_reloading(clock_mono_us());
	loader_start(app->loader, app->file, app->generation);
}

/* Signals */

static void begin_to_stop(struct app *app)
{
	const struct timeval often = { .tv_usec = 20000 };

	if (app->stop_by_mono_us != 0)
		return;
	app->stop_by_mono_us = clock_mono_us() + STOP_WITHIN_MS * US_PER_MS;
	log_write(LOG_LEVEL_INFO, LOG_STOPPING, NULL, "stopping");
	service_stopping();
	notifier_pause(app->notifier);
	ledger_commit(app->ledger);
	event_add(app->events[0], &often); /* the tick, now asking whether all is done */
}

static void dump_state(const struct app *app)
{
	struct view_counts counts;

	app_count(app, &counts);
	log_info("state: generation %" PRIu64 ", %zu targets: %zu ok, %zu warning, %zu unknown, %zu critical, %zu pending, %zu paused",
		 app->generation->number, counts.targets, counts.levels[LEVEL_OK], counts.levels[LEVEL_WARNING],
		 counts.levels[LEVEL_UNKNOWN], counts.levels[LEVEL_CRITICAL], counts.pending, counts.paused);
	for (size_t i = 0; i < app->crew_count; i++) {
		const struct prober_stats *stats = &app->crew[i].stats;

		log_info("state: prober %zu: %" PRIu64 " probes/s, %zu in flight, %zu waiting, lag p99 %" PRId64
			 " us, loop late at most %" PRId64 " us, chains verified %" PRIu64 ", known %" PRIu64,
			 i, stats->started, stats->in_flight, stats->waiting,
			 histogram_percentile_us(&stats->lag, 99), stats->loop_late_us, stats->verdicts_made,
			 stats->verdicts_cached);
	}
	log_info("state: %zu incidents open, %zu messages waiting, %zu being delivered",
		 ledger_open_count(app->ledger), notifier_waiting(app->notifier), notifier_in_flight(app->notifier));
}

void app_on_signal(evutil_socket_t number, short what, void *arg)
{
	struct app *app = arg;

	(void)what;
	if (number == SIGHUP)
		app_reload(app, NULL);
	else if (number == SIGUSR1)
		dump_state(app);
	else
		begin_to_stop(app);
}
