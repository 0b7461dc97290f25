/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/app_private.h"
#include "daemon/log.h"
#include "daemon/service.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	DESCRIPTORS_KEPT = 128,          /* for everything that is not a probe */
	SOCKETS_MAX = 65536,             /* of all probers together */
	STOP_WITHIN_MS = 4000,
	STORE_CLOSE_MS = 800,
	CROWDED_FOR_S = 30,
	DEAD_LETTERS_KEPT_S = 30 * 86400,
	WORKERS_AUTO_MAX = 8,
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

static void store_certificates(struct app *app, const struct target *target, const struct changes *changes)
{
	char *name = target->watched.config->name;

	for (size_t i = 0; i < changes->dropped_count; i++)
		store_drop_certificate(ledger_batch(app->ledger), name, changes->dropped[i]);
	if (changes->added == NULL)
		return;
	const struct tls_facts *facts = target->watched.facts;
	AUTO(string) char *text = facts != NULL ? view_certificate(facts) : NULL;
	struct certificate_row row = {
		.target = name,
		.first_seen_unix_us = target->watched.last.started_unix_us,
		.not_before_unix_s = changes->added->not_before_unix_s,
		.not_after_unix_s = changes->added->not_after_unix_s,
		.chain_not_after_unix_s = changes->added->chain_not_after_unix_s,
		.verdict = changes->added->verdict,
		.facts = text,
	};

	memcpy(row.fingerprint, changes->added->fingerprint, FINGERPRINT_BYTES);
	store_put_certificate(ledger_batch(app->ledger), &row);
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

static void on_result(struct app *app, struct result *result)
{
	struct target *target = board_find_id(&app->board, result->target_id);
	struct changes changes;

	if (target == NULL || target->watched.config->paused)
		return; /* it was removed or changed while the probe was in flight */
	evaluator_next(&target->watched.config->rules, &target->watched.standing, result,
		       ledger_own_trouble(app->ledger), clock_unix_us(), &changes);
	target_take_result(target, result);
	for (size_t i = 0; i < changes.count; i++) {
		if (!changes.list[i].quiet)
			store_level(app, target, &changes.list[i]);
		ledger_change(app->ledger, target->watched.config->name, &changes.list[i]);
	}
	store_certificates(app, target, &changes);
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

	crew->stats = report->as.stats;
	if (crew->stats.waiting == 0 && crew->stats.discarded == 0)
		crew->crowded_since_mono_us = 0;
	else if (crew->crowded_since_mono_us == 0)
		crew->crowded_since_mono_us = mono_us;
}

static void on_reports(evutil_socket_t fd, short what, void *arg)
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
	const char *text = health.error[0] != '\0' ? health.error : "it does not answer";

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

static void on_sender_trouble(void *arg, const char *text)
{
	struct ledger *ledger = arg;

	ledger_self(ledger, REASON_SENDER_FAILED, text);
	ledger_commit(ledger);
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

static void every_second(struct app *app, int64_t mono_us)
{
	app->ticks++;
	watch_store(app, mono_us);
	watch_crew(app, mono_us);
	if (app->ticks % REMIND_EVERY_TICKS == 0)
		ledger_remind(app->ledger);
	if (app->ticks % CLEAN_EVERY_TICKS == 0)
		store_drop_dead_before(ledger_batch(app->ledger), clock_unix_us() - DEAD_LETTERS_KEPT_S * US_PER_S);
	ledger_commit(app->ledger);
	free_retired(app);
	show_status(app);
	feed_watchdog(app, mono_us);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
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

static bool find_subject(void *arg, const char *name, struct ledger_subject *subject)
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

static void on_target_changed(void *arg, struct target *target, const struct target_config *next)
{
	if (next->rules.latency_warning_us == 0 && next->rules.latency_critical_us == 0)
		drop_check(arg, target, CHECK_LATENCY);
	if (!next->tls || !next->rules.certificate)
		drop_check(arg, target, CHECK_CERTIFICATE);
}

static struct resolver_options resolver_options(const struct config *config)
{
	return (struct resolver_options){
		.servers = (const char *const *)config->resolver.servers,
		.server_count = config->resolver.server_count,
		.timeout_ms = config->resolver.timeout_ms,
		.tries = config->resolver.tries,
		.cache = config->resolver.cache,
	};
}

/* Puts a generation to work: board, routes, senders, probers, in this order, so that no result finds a stranger. */
static void apply(struct app *app, struct generation *generation)
{
	const struct board_changes changes = {
		.removed = on_target_removed, .changed = on_target_changed, .arg = app
	};
	const struct resolver_options resolver = resolver_options(generation->config);

	if (app->generation != NULL)
		app->retired[app->retired_count++] = app->generation;
	else
		ledger_set_config(app->ledger, generation->config);
	board_put_up(&app->board, generation, &changes);
	app->generation = generation;
	ledger_set_config(app->ledger, generation->config);
	notifier_set_config(app->notifier, generation->config);
	log_set_level(generation->config->daemon.log_level);
	for (size_t i = 0; i < app->crew_count; i++) {
		prober_post_resolver(app->crew[i].prober, &resolver);
		prober_post_targets(app->crew[i].prober, &generation->assignments[i]);
	}
	ledger_commit(app->ledger);
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

static void take_up(struct app *app, struct generation *generation)
{
	const struct reload_summary *change = &generation->summary;

	free(TAKE(app->config_error));
	apply(app, generation);
	log_write(LOG_LEVEL_INFO, LOG_RELOADED, NULL,
		  "reloaded: generation %" PRIu64 ", %zu targets (%zu added, %zu changed, %zu removed, %zu unchanged)",
		  generation->number, generation->config->target_count, change->added, change->changed,
		  change->removed, change->unchanged);
	ledger_self(app->ledger, REASON_CONFIG_REFUSED, NULL);
}

static void on_loaded(void *arg, struct generation *generation, const struct report *report)
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
			control_answer_error(call, "busy", "earlier reloads are still settling: try again in a moment");
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
	if (call != NULL) {
		app->reload_calls = mem_grow(app->reload_calls, &app->reload_call_capacity, app->reload_call_count + 1,
					     sizeof(struct control_call *));
		app->reload_calls[app->reload_call_count++] = call;
	}
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
	app->stop_by_mono_us = clock_mono_us() + STOP_WITHIN_MS * US_PER_MS - STORE_CLOSE_MS * US_PER_MS;
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
			 " us, loop late at most %" PRId64 " us",
			 i, stats->started, stats->in_flight, stats->waiting,
			 histogram_percentile_us(&stats->lag, 99), stats->loop_late_us);
	}
	log_info("state: %zu incidents open, %zu messages waiting, %zu being delivered",
		 ledger_open_count(app->ledger), notifier_waiting(app->notifier), notifier_in_flight(app->notifier));
}

static void on_signal(evutil_socket_t number, short what, void *arg)
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

/* Start */

static void on_store(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;

	(void)fd;
	(void)what;
	store_dispatch(app->store);
}

static void on_loader(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;

	(void)fd;
	(void)what;
	loader_dispatch(app->loader);
}

static void add_event(struct app *app, evutil_socket_t fd, short what, event_callback_fn callback,
		      const struct timeval *after)
{
	struct event *event = event_new(app->base, fd, (short)(what | EV_PERSIST), callback, app);

	event_add(event, after);
	app->events[app->event_count++] = event;
}

static void add_events(struct app *app)
{
	static const int signals[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1 };
	const struct timeval second = { .tv_sec = 1 };

	add_event(app, -1, 0, on_tick, &second); /* events[0]: begin_to_stop() hurries it */
	add_event(app, inbox_fd(app->reports), EV_READ, on_reports, NULL);
	add_event(app, store_fd(app->store), EV_READ, on_store, NULL);
	add_event(app, loader_fd(app->loader), EV_READ, on_loader, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		add_event(app, signals[i], EV_SIGNAL, on_signal, NULL);
}

/* As many descriptors as the system lets us have; what remains for probes is shared out. */
static size_t sockets_a_prober(size_t prober_count)
{
	struct rlimit limit = { .rlim_cur = 1024, .rlim_max = 1024 };
	rlim_t sockets;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	sockets = limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > SOCKETS_MAX ? SOCKETS_MAX : limit.rlim_cur;
	/* With very few, probes get half. */
	sockets = sockets > 2 * DESCRIPTORS_KEPT ? sockets - DESCRIPTORS_KEPT : sockets / 2;
	return (size_t)sockets / prober_count > 0 ? (size_t)sockets / prober_count : 1;
}

static size_t worker_count(const struct config *config)
{
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (config->daemon.workers > 0)
		return (size_t)config->daemon.workers;
	return cores < 1 ? 1 : cores > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : (size_t)cores;
}

static bool start_crew(struct app *app, const struct config *config, struct error *err)
{
	const size_t count = worker_count(config);
	const size_t sockets = sockets_a_prober(count);

	app->crew = mem_array(count, sizeof(*app->crew));
	app->domains = mem_array(count, sizeof(*app->domains));
	for (size_t i = 0; i < count; i++) {
		const struct prober_options options = {
			.number = (int)i,
			.max_sockets = sockets,
			.resolver = resolver_options(config),
			.reports = app->reports,
		};

		app->crew[i].prober = prober_new(&options, err);
		if (app->crew[i].prober == NULL)
			return false;
		app->crew[i].heard_mono_us = clock_mono_us();
		app->domains[i] = prober_tls_domain(app->crew[i].prober);
		app->crew_count++;
	}
	return true;
}

/* The first directory systemd gave us, or the user's own; NULL: neither is known. */
static char *own_directory(const char *systemd, const char *xdg, const char *below_home)
{
	const char *given = getenv(systemd);

	if (given != NULL && given[0] != '\0')
		return mem_strndup(given, strcspn(given, ":"));
	given = getenv(xdg);
	if (given != NULL && given[0] != '\0')
		return mem_printf("%s/portbell", given);
	given = getenv("HOME");
	if (below_home != NULL && given != NULL && given[0] != '\0')
		return mem_printf("%s/%s/portbell", given, below_home);
	return NULL;
}

static char *state_path(const struct config *config, struct error *err)
{
	AUTO(string) char *directory = config->daemon.state_directory != NULL ?
					       mem_strdup(config->daemon.state_directory) :
					       own_directory("STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state");

	if (directory != NULL)
		return mem_printf("%s/state.db", directory);
	error_set(err, "no directory to keep state in: set daemon.state_directory, $STATE_DIRECTORY or $HOME");
	return NULL;
}

static char *control_path(const struct config *config)
{
	if (config->daemon.control_socket != NULL)
		return mem_strdup(config->daemon.control_socket);
	AUTO(string) char *directory = own_directory("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", NULL);

	if (directory == NULL)
		directory = mem_strdup("/run/portbell");
	mkdir(directory, 0750); /* it may be there; if not and it cannot be made, the socket's error says so */
	return mem_printf("%s/control.sock", directory);
}

static bool open_store(struct app *app, const struct config *config, struct store_state **state, struct error *err)
{
	AUTO(string) char *path = state_path(config, err);

	if (path == NULL)
		return false;
	app->store = store_open(path, clock_unix_us(), state, err);
	if (app->store == NULL)
		return false;
	if ((*state)->moved_aside)
		log_write(LOG_LEVEL_ERROR, LOG_STATE_MOVED_ASIDE, NULL,
			  "the state in %s cannot be used (%s): it was moved to %s and a new one is begun; open incidents are "
			  "found and told again",
			  path, (*state)->moved_why, (*state)->moved_to);
	return true;
}

static bool start_notifying(struct app *app, const struct config *config, struct error *err)
{
	const struct resolver_options resolver = resolver_options(config);
	struct ledger_options ledger = {
		.store = app->store, .subject = find_subject, .arg = app, .now = clock_now
	};

	app->resolver = resolver_new(app->base, &resolver, err);
	if (app->resolver == NULL)
		return false;
	app->http = http_client_new(app->base, err);
	if (app->http == NULL)
		return false;
	app->ledger = ledger_new(&ledger);
	app->notifier = notifier_new(&(struct notifier_options){
		.base = app->base,
		.store = app->store,
		.world = {
			.base = app->base,
			.http = app->http,
			.resolver = app->resolver,
			.host_name = app->host_name,
		},
		.hooks = {
			.thread = ledger_thread,
			.grouped = ledger_grouped,
			.trouble = on_sender_trouble,
			.arg = app->ledger,
		},
		.now = clock_now,
	});
	ledger_set_notifier(app->ledger, app->notifier);
	return true;
}

/* What an unknown that has an incident was before the restart, it still is. */
static void restore_unknown(struct app *app)
{
	struct target *target, *next;

	HASH_ITER(by_name, app->board.names, target, next) {
		struct standing *standing = &target->watched.standing;

		standing->unknown_opened =
			standing->checks[CHECK_AVAILABILITY].level == LEVEL_UNKNOWN &&
			ledger_open_incident(app->ledger, target->watched.config->name, CHECK_AVAILABILITY) != NULL;
	}
}

static void restore(struct app *app, struct store_state *state)
{
	ledger_restore(app->ledger, state);
	board_restore(&app->board, state);
	restore_unknown(app);
	notifier_restore(app->notifier, state);
	if (ledger_self_incident(app->ledger, REASON_SENDER_FAILED) != NULL)
		notifier_assume_trouble(app->notifier);
	ledger_self(app->ledger, REASON_CONFIG_REFUSED, NULL);
	ledger_unwatch_missing(app->ledger);
	ledger_commit(app->ledger);
}

static bool start_control(struct app *app, const struct config *config, struct error *err)
{
	AUTO(string) char *path = control_path(config);
	const struct control_backend backend = app_control_backend(app);

	app->control = control_new(app->base, path, &backend, err);
	return app->control != NULL;
}

static bool start_base(struct app *app, struct error *err)
{
	char name[256] = "localhost";

	gethostname(name, sizeof(name) - 1);
	app->host_name = mem_strdup(name);
	app->base = event_base_new();
	if (app->base == NULL)
		return error_set(err, "no event loop can be made: %s", strerror(errno));
	app->reports = inbox_new(err);
	return app->reports != NULL;
}

/* The first configuration is loaded before there is a loop, in the order in which things stand on one another. */
static bool start(struct app *app, struct config *config, struct report *report, struct error *err)
{
	struct store_state *state = NULL;
	struct generation *generation;

	if (!start_base(app, err) || !open_store(app, config, &state, err) || !start_crew(app, config, err) ||
	    !start_notifying(app, config, err) || !start_control(app, config, err)) {
		store_state_free(state);
		config_free(config);
		return false;
	}
	generation = generation_build(config, app->domains, app->crew_count, NULL, report);
	app->loader = generation != NULL ? loader_new(app->domains, app->crew_count, on_loaded, app, err) : NULL;
	if (app->loader == NULL) {
		store_state_free(state);
		if (generation == NULL)
			return error_set(err, "the files that the configuration names cannot be used");
		generation_free(generation);
		return false;
	}
	apply(app, generation);
	restore(app, state);
	store_state_free(state);
	add_events(app);
	return true;
}

struct app *app_new(struct config *config, struct report *report, struct error *err)
{
	struct app *app = mem_new(struct app);

	app->file = mem_strdup(config->file);
	if (start(app, config, report, err))
		return app;
	app_free(app);
	return NULL;
}

void app_run(struct app *app)
{
	const struct generation *generation = app->generation;

	log_write(LOG_LEVEL_INFO, LOG_STARTED, NULL, "started: %zu targets, %zu senders, %zu probers, %zu incidents open",
		  generation->config->target_count, generation->config->sender_count, app->crew_count,
		  ledger_open_count(app->ledger));
	service_ready();
	event_base_dispatch(app->base);
}

/* The reverse of the start. */
void app_free(struct app *app)
{
	if (app == NULL)
		return;
	control_free(app->control);
	for (size_t i = 0; i < app->crew_count; i++)
		prober_free(app->crew[i].prober);
	loader_free(app->loader);
	notifier_free(app->notifier);
	if (app->store != NULL)
		store_close(app->store, STORE_CLOSE_MS);
	ledger_free(app->ledger);
	http_client_free(app->http);
	resolver_free(app->resolver);
	board_done(&app->board);
	for (size_t i = 0; i < app->retired_count; i++)
		generation_free(app->retired[i]);
	generation_free(app->generation);
	for (size_t i = 0; i < app->event_count; i++)
		event_free(app->events[i]);
	inbox_free(app->reports);
	if (app->base != NULL)
		event_base_free(app->base);
	free(app->reload_calls);
	free(app->config_error);
	free(app->status_shown);
	free(app->crew);
	free(app->domains);
	free(app->host_name);
	free(app->file);
	free(app);
}
