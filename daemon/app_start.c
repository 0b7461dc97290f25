/* SPDX-License-Identifier: MIT */
/* Start and stop: the parts are made in the order in which they stand on one another, and go in the reverse. */
#include <errno.h>
#include <event2/event.h>
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
	WORKERS_AUTO_MAX = 8,
};

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

	add_event(app, -1, 0, app_on_tick, &second); /* events[0]: begin_to_stop() hurries it */
	add_event(app, inbox_fd(app->reports), EV_READ, app_on_reports, NULL);
	add_event(app, store_fd(app->store), EV_READ, on_store, NULL);
	add_event(app, loader_fd(app->loader), EV_READ, on_loader, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		add_event(app, signals[i], EV_SIGNAL, app_on_signal, NULL);
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
			.resolver = app_resolver_options(config),
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
	if ((*state)->skipped_rows > 0)
		log_warning("%zu rows of %s are not understood and left out: written by another version, or damaged",
			    (*state)->skipped_rows, path);
	if ((*state)->moved_aside)
		log_write(LOG_LEVEL_ERROR, LOG_STATE_MOVED_ASIDE, NULL,
			  "the state in %s cannot be used (%s): it was moved to %s and a new one is begun; open incidents are "
			  "found and told again",
			  path, (*state)->moved_why, (*state)->moved_to);
	return true;
}

static bool start_notifying(struct app *app, const struct config *config, struct error *err)
{
	const struct resolver_options resolver = app_resolver_options(config);
	struct ledger_options ledger = {
		.store = app->store, .subject = app_find_subject, .arg = app, .now = clock_now
	};

	app->resolver = resolver_new(app->base, &resolver, err);
	if (app->resolver == NULL)
		return false;
	app->http = http_client_new(app->base, err);
	if (app->http == NULL)
		return false;
	app->inquirer = inquirer_new(&(struct inquirer_options){ .base = app->base,
								 .http = app->http,
								 .resolver = app->resolver,
								 .now = clock_now },
				     err);
	if (app->inquirer == NULL)
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
			.trouble = ledger_sender_trouble,
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

/* The configuration may have changed while we were not running. */
static void drop_what_is_not_watched(struct app *app, const struct store_state *state)
{
	struct target *target, *next;

	for (size_t i = 0; i < state->level_count; i++)
		if (board_find(&app->board, state->levels[i].target) == NULL)
			store_drop_target(ledger_batch(app->ledger), state->levels[i].target);
	for (size_t i = 0; i < state->certificate_count; i++)
		if (board_find(&app->board, state->certificates[i].target) == NULL)
			store_drop_target(ledger_batch(app->ledger), state->certificates[i].target);
	HASH_ITER(by_name, app->board.names, target, next)
		app_drop_checks(app, target, target->watched.config);
}

/* A level whose incident is not there was told to nobody: it has to be found again. A certificate's may have been held
 * back, and is looked at each hour. */
static void forget_untold_levels(struct app *app)
{
	static const enum check checks[] = { CHECK_AVAILABILITY, CHECK_LATENCY, CHECK_TLS };
	struct target *target, *next;

	HASH_ITER(by_name, app->board.names, target, next)
		for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
			if (ledger_open_incident(app->ledger, target->watched.config->name, checks[i]) == NULL)
				target->watched.standing.checks[checks[i]] = (struct verdict){ 0 };
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
	app_watch_own_certificates(app);
	ledger_unwatch_missing(app->ledger);
	drop_what_is_not_watched(app, state);
	forget_untold_levels(app);
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
	app->loader = generation != NULL ? loader_new(app->domains, app->crew_count, app_on_loaded, app, err) : NULL;
	if (app->loader == NULL) {
		store_state_free(state);
		if (generation == NULL)
			return error_set(err, "the files that the configuration names cannot be used");
		generation_free(generation);
		return false;
	}
	app_apply(app, generation);
	restore(app, state);
	store_state_free(state);
	add_events(app);
	return true;
}

struct app *app_new(struct config *config, struct report *report, struct error *err)
{
	struct app *app = mem_new(struct app);

	list_init(&app->probe_calls);
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

/* What the probers said last. */
static void free_reports(struct app *app)
{
	struct prober_report *report;
	struct list reports;

	if (app->reports == NULL)
		return;
	inbox_take(app->reports, &reports);
	list_each(report, &reports, struct prober_report, item)
		prober_report_free(report);
}

/* The reverse of the start. */
void app_free(struct app *app)
{
	if (app == NULL)
		return;
	app_end_probes(app, 0, true);
	control_free(app->control);
	/* Contexts are made in the probers' domains: those go last. */
	for (size_t i = 0; i < app->crew_count; i++)
		prober_stop(app->crew[i].prober);
	loader_free(app->loader);
	inquirer_free(app->inquirer);
	notifier_free(app->notifier);
	if (app->store != NULL)
		store_close(app->store, APP_STORE_CLOSE_MS);
	ledger_free(app->ledger);
	http_client_free(app->http);
	resolver_free(app->old_resolver);
	resolver_free(app->resolver);
	board_done(&app->board);
	for (size_t i = 0; i < app->retired_count; i++)
		generation_free(app->retired[i]);
	generation_free(app->generation);
	for (size_t i = 0; i < app->crew_count; i++)
		prober_free(app->crew[i].prober);
	for (size_t i = 0; i < app->event_count; i++)
		event_free(app->events[i]);
	free_reports(app);
	inbox_free(app->reports);
	if (app->base != NULL)
		event_base_free(app->base);
	free(app->config_error);
	free(app->status_shown);
	free(app->crew);
	free(app->domains);
	free(app->host_name);
	free(app->file);
	free(app);
}
