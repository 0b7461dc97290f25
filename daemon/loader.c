/* SPDX-License-Identifier: MIT */
#include "daemon/loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <uthash.h>

#include "daemon/probe/outfit.h"
#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

/* What is the same in two generations */

static bool labels_equal(const struct target_config *a, const struct target_config *b)
{
	if (a->label_count != b->label_count)
		return false;
	for (size_t i = 0; i < a->label_count; i++)
		if (!str_equal(a->labels[i].name, b->labels[i].name) ||
		    !str_equal(a->labels[i].value, b->labels[i].value))
			return false;
	return true;
}

static bool send_to_equal(const struct target_config *a, const struct target_config *b)
{
	if (a->send_to_set != b->send_to_set || a->send_to_count != b->send_to_count)
		return false;
	for (size_t i = 0; i < a->send_to_count; i++)
		if (!str_equal(a->send_to[i], b->send_to[i]))
			return false;
	return true;
}

static bool rules_equal(const struct rules *a, const struct rules *b)
{
	return a->after == b->after && a->recover == b->recover && a->latency_warning_us == b->latency_warning_us &&
	       a->latency_critical_us == b->latency_critical_us && a->latency_phase == b->latency_phase &&
	       a->latency_after == b->latency_after && a->certificate == b->certificate &&
	       a->certificate_warning.percent == b->certificate_warning.percent &&
	       a->certificate_warning.left_s == b->certificate_warning.left_s &&
	       a->certificate_critical.percent == b->certificate_critical.percent &&
	       a->certificate_critical.left_s == b->certificate_critical.left_s &&
	       a->certificate_leaf_only == b->certificate_leaf_only && a->verify == b->verify &&
	       a->certificate_weak == b->certificate_weak && a->certificate_changes == b->certificate_changes &&
	       a->tls_required == b->tls_required &&
	       a->tls_level == b->tls_level;
}

static bool requirements_equal(const struct require_config *a, const struct require_config *b)
{
	return a->version == b->version && str_equal(a->alpn, b->alpn);
}

static bool pins_equal(const struct target_config *a, const struct target_config *b)
{
	return a->pin_count == b->pin_count &&
	       (a->pin_count == 0 || memcmp(a->pins, b->pins, a->pin_count * sizeof(*a->pins)) == 0);
}

static bool targets_equal(const struct target_config *a, const struct target_config *b)
{
	return a->identity == b->identity && str_equal(a->proxy.password, b->proxy.password) &&
	       str_equal(a->group, b->group) && labels_equal(a, b) &&
	       str_equal(a->description, b->description) && str_equal(a->runbook, b->runbook) &&
	       a->paused == b->paused && a->interval_ms == b->interval_ms && a->timeout_ms == b->timeout_ms &&
	       a->recheck_ms == b->recheck_ms && rules_equal(&a->rules, &b->rules) &&
	       requirements_equal(&a->require, &b->require) && pins_equal(a, b) &&
	       a->revocation == b->revocation && a->revocation_private == b->revocation_private &&
	       a->patterns == b->patterns && send_to_equal(a, b);
}

bool loader_check_files(const struct config *config, struct report *report)
{
	return outfit_check(config, report);
}

/* Targets to probers */

struct known {
	const struct target_config *config;
	const struct watch *watch;
	UT_hash_handle hh;
};

static struct known *index_targets(const struct generation *previous, struct known **all)
{
	const size_t count = previous != NULL ? previous->config->target_count : 0;
	struct known *index = NULL;

	*all = mem_array(count + 1, sizeof(struct known));
	for (size_t i = 0; i < count; i++) {
		struct known *known = &(*all)[i];

		known->config = &previous->config->targets[i];
		known->watch = &previous->watches[i];
		HASH_ADD_KEYPTR(hh, index, known->config->name, strlen(known->config->name), known);
	}
	return index;
}

static void count_change(struct reload_summary *summary, const struct known *known,
			 const struct target_config *target)
{
	if (known == NULL)
		summary->added++;
	else if (targets_equal(known->config, target))
		summary->unchanged++;
	else
		summary->changed++;
}

/* The same name goes to the same prober in every generation. */
static int prober_of(const struct target_config *target, size_t prober_count)
{
	return (int)(str_hash(target->name, strlen(target->name), 1) % prober_count);
}

static void count_shares(struct generation *generation)
{
	const struct config *config = generation->config;

	for (size_t i = 0; i < config->target_count; i++) {
		struct watch *watch = &generation->watches[i];

		watch->prober = prober_of(&config->targets[i], generation->prober_count);
		watch->index = generation->assignments[watch->prober].count++;
	}
	for (size_t i = 0; i < generation->prober_count; i++) {
		struct assignment *share = &generation->assignments[i];

		share->generation = generation->number;
		share->plans = mem_array(share->count + 1, sizeof(struct plan));
	}
}

static bool deal_targets(struct generation *generation, const struct generation *previous, struct report *report)
{
	const struct config *config = generation->config;
	struct known *all;
	struct known *index = index_targets(previous, &all);
	bool good = true;

	count_shares(generation);
	for (size_t i = 0; i < config->target_count; i++) {
		const struct target_config *target = &config->targets[i];
		struct watch *watch = &generation->watches[i];
		struct plan *plan = &generation->assignments[watch->prober].plans[watch->index];
		struct known *known;

		HASH_FIND(hh, index, target->name, strlen(target->name), known);
		count_change(&generation->summary, known, target);
		watch->id = known != NULL && known->config->identity == target->identity ? known->watch->id :
											   generation->next_id++;
		good = outfit_plan(generation->outfit, (size_t)watch->prober, i, plan, report) && good;
		plan->target_id = watch->id;
		if (known != NULL && known->watch->prober == watch->prober)
			plan->previous = (int32_t)known->watch->index;
		if (known != NULL)
			HASH_DELETE(hh, index, known);
	}
	generation->summary.removed = HASH_COUNT(index);
	HASH_CLEAR(hh, index);
	free(all);
	return good;
}

struct generation *generation_build(struct config *config, struct tls_domain *const *domains, size_t domain_count,
				    const struct generation *previous, struct report *report)
{
	struct generation *generation = mem_new(struct generation);

	generation->config = config;
	generation->number = previous != NULL ? previous->number + 1 : 1;
	generation->next_id = previous != NULL ? previous->next_id : 1;
	generation->prober_count = domain_count;
	generation->watches = mem_array(config->target_count + 1, sizeof(struct watch));
	generation->assignments = mem_array(domain_count + 1, sizeof(struct assignment));
	generation->outfit = outfit_new(config, domains, domain_count, report);
	if (generation->outfit != NULL && deal_targets(generation, previous, report))
		return generation;
	generation_free(generation);
	return NULL;
}

void generation_free(struct generation *generation)
{
	if (generation == NULL)
		return;
	outfit_free(generation->outfit);
	for (size_t i = 0; i < generation->prober_count; i++)
		free(generation->assignments[i].plans);
	free(generation->assignments);
	free(generation->watches);
	config_free(generation->config);
	free(generation);
}

/* The thread */

struct load {
	struct list item;        /* in the inbox, when it is done */
	char *file;
	const struct generation *previous;
	struct generation *generation;
	struct report report;
};

struct loader {
	struct tls_domain *const *domains;
	size_t domain_count;
	loader_done_fn *done;
	void *arg;
	struct inbox *outcomes;
	pthread_t thread;
	bool busy;               /* a thread has been started and was not joined */
	struct load *load;       /* what it works on */
};

static void load_free(struct load *load)
{
	generation_free(load->generation);
	report_done(&load->report);
	free(load->file);
	free(load);
}

static void *run_load(void *arg)
{
	struct loader *loader = arg;
	struct load *load = loader->load;
	const struct config_env env = loader_env(false);
	struct config *config = config_load(load->file, &env, &load->report);

	if (config != NULL)
		load->generation = generation_build(config, loader->domains, loader->domain_count, load->previous,
						    &load->report);
	inbox_push(loader->outcomes, &load->item);
	return NULL;
}

struct loader *loader_new(struct tls_domain *const *domains, size_t domain_count, loader_done_fn *done, void *arg,
			  struct error *err)
{
	struct inbox *outcomes = inbox_new(err);
	struct loader *loader;

	if (outcomes == NULL)
		return NULL;
	loader = mem_new(struct loader);
	*loader = (struct loader){
		.domains = domains,
		.domain_count = domain_count,
		.done = done,
		.arg = arg,
		.outcomes = outcomes,
	};
	return loader;
}

void loader_free(struct loader *loader)
{
	struct list outcomes;
	struct load *load;

	if (loader == NULL)
		return;
	if (loader->busy)
		pthread_join(loader->thread, NULL);
	inbox_take(loader->outcomes, &outcomes);
	list_each(load, &outcomes, struct load, item)
		load_free(load);
	inbox_free(loader->outcomes);
	free(loader);
}

int loader_fd(const struct loader *loader)
{
	return inbox_fd(loader->outcomes);
}

void loader_dispatch(struct loader *loader)
{
	struct list outcomes;
	struct load *load;

	inbox_take(loader->outcomes, &outcomes);
	list_each(load, &outcomes, struct load, item) {
		if (loader->busy)
			pthread_join(loader->thread, NULL);
		loader->busy = false;
		loader->done(loader->arg, TAKE(load->generation), &load->report);
		load_free(load);
	}
}

void loader_start(struct loader *loader, const char *file, const struct generation *previous)
{
	struct load *load = mem_new(struct load);
	sigset_t all, before;

	load->file = mem_strdup(file);
	load->previous = previous;
	loader->load = load;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	loader->busy = pthread_create(&loader->thread, NULL, run_load, loader) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (loader->busy)
		return;
	report_add(&load->report, false, file, "", "no thread could be started to load it: try again");
	inbox_push(loader->outcomes, &load->item);
}

static const char *variable(const char *name, void *arg)
{
	(void)arg;
	return getenv(name);
}

struct config_env loader_env(bool lenient)
{
	return (struct config_env){
		.variable = variable,
		.credentials_directory = getenv("CREDENTIALS_DIRECTORY"),
		.check_ciphers = outfit_check_ciphers,
		.lenient = lenient,
	};
}
