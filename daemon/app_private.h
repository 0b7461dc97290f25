/* SPDX-License-Identifier: MIT */
/* app_private - what the files of app share: the program's parts, and who waits for a reload. */
#ifndef PORTBELL_APP_PRIVATE_H
#define PORTBELL_APP_PRIVATE_H

#include <event2/util.h>

#include "daemon/app.h"
#include "daemon/board.h"
#include "daemon/control.h"
#include "daemon/inquirer.h"
#include "daemon/ledger.h"
#include "daemon/loader.h"
#include "daemon/notify/notifier.h"
#include "daemon/prober.h"
#include "lib/base/inbox.h"
#include "lib/base/list.h"
#include "lib/io/http_client.h"
#include "lib/io/resolver.h"
#include "lib/io/store.h"

enum { APP_EVENTS_MAX = 10, APP_STORE_CLOSE_MS = 800 };

/* A prober, and what it said last. */
struct crew {
	struct prober *prober;
	uint64_t settled;        /* generation */
	int64_t heard_mono_us;   /* of its last word */
	struct prober_stats stats; /* of the last second */
	int64_t crowded_since_mono_us; /* probes have waited or been discarded since; 0 = no */
};

struct app {
	struct event_base *base;
	struct event *events[APP_EVENTS_MAX];
	size_t event_count;
	char *file;
	char *host_name;
	struct generation *generation;
	struct generation *retired[8]; /* older ones still in use */
	size_t retired_count;
	struct crew *crew;
	size_t crew_count;
	struct tls_domain **domains;
	struct inbox *reports;
	struct board board;
	struct store *store;
	struct resolver *resolver;      /* of the senders */
	struct resolver *old_resolver;  /* deliveries that began before a reload may still ask it */
	bool resolver_is_stale;         /* the configuration has others settings */
	struct http_client *http;
	struct inquirer *inquirer;
	struct notifier *notifier;
	struct ledger *ledger;
	struct loader *loader;
	struct control *control;
	struct control_call *reload_call; /* who waits for the load under way; NULL: nobody */
	struct list probe_calls; /* who waits for a probe */
	bool loading;
	bool load_again;         /* asked for while loading */
	char *config_error;      /* why the last reload was refused; NULL: it was not */
	int64_t watchdog_mono_us; /* systemd heard of us last */
	int64_t stop_by_mono_us; /* 0 = running */
	char *status_shown;      /* what systemd shows of us */
	unsigned ticks;
};

/* app.c: what goes on while it runs. The callbacks' arg is the app. */
void app_on_reports(evutil_socket_t fd, short what, void *arg);
void app_on_tick(evutil_socket_t fd, short what, void *arg); /* events[0]: hurried when we stop */
void app_on_signal(evutil_socket_t number, short what, void *arg);
void app_on_loaded(void *arg, struct generation *generation, const struct report *report);
bool app_find_subject(void *arg, const char *name, struct ledger_subject *subject);
void app_drop_checks(void *arg, struct target *target, const struct target_config *next);
/* Those we show to servers: they end too. */
void app_watch_own_certificates(struct app *app);
/* Puts a generation to work. */
void app_apply(struct app *app, struct generation *generation);
struct resolver_options app_resolver_options(const struct config *config);
/* Asks for a reload; call (may be NULL) is answered when it has been applied or refused. */
void app_reload(struct app *app, struct control_call *call);

/* app_revocation.c: what the inquirer found out, as part of the certificate check. */
/* Before the result is judged: sets its certificate's revocation, and the text in the facts of it. True: it is
 * another than was known of the certificate. */
bool app_look_up_revocation(struct app *app, struct target *target, struct result *result);
/* Judges all targets anew that an authority is asked about. */
void app_judge_revocations(struct app *app);

/* app.c again, for app_revocation.c */
void app_store_certificate(struct app *app, const struct target *target, const struct seen_certificate *seen);
void app_take_changes(struct app *app, struct target *target, const struct changes *changes);

/* app_control.c: what the control socket asks */
struct control_backend app_control_backend(struct app *app);
void app_answer_reload(struct app *app, const struct report *report, bool applied);
/* The target has a new result. */
void app_answer_probes(struct app *app, const struct target *target);
/* Ends the waiting of those for whom none will come; of all when we stop. */
void app_end_probes(struct app *app, int64_t mono_us, bool all);
void app_count(const struct app *app, struct view_counts *counts);

#endif
