/* SPDX-License-Identifier: MIT */
#include "daemon/ledger.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>

#include "daemon/log.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/eval/route.h"
#include "lib/io/store.h"

enum { CERTIFICATE_OPENS_AGAIN_AFTER_S = 7 * 86400, LABELS_MAX = 64 };

/* An incident in memory: open, or ended with notices that are not in a message yet. */
struct entry {
	struct incident *incident;
	char *key;               /* "availability:shop"; NULL once ended */
	size_t notices;          /* not grouped yet */
	UT_hash_handle by_number;
	UT_hash_handle by_key;
};

/* A certificate incident that was opened lately. */
struct recent {
	struct list node;
	char *target;
	uint8_t fingerprint[FINGERPRINT_BYTES];
	enum reason reason;
	enum level level;
	int64_t opened_unix_us;
};

struct ledger {
	struct ledger_options options;
	const struct config *config;
	struct notifier *notifier;
	struct entry *numbers;
	struct entry *keys;
	size_t self_count;       /* of the open ones */
	struct list recent;
	struct list pending;
	struct store_batch *batch;
	struct notice **notices; /* in the batch */
	size_t notice_count;
	size_t notice_capacity;
	int64_t next_incident;
	int64_t next_notice;
};

static enum level self_level(enum reason reason)
{
	return reason == REASON_CONFIG_REFUSED || reason == REASON_OVERLOAD ||
			       reason == REASON_OWN_CERTIFICATE ?
		       LEVEL_WARNING : LEVEL_CRITICAL;
}

static int64_t unix_us(const struct ledger *ledger)
{
	return ledger->options.now().unix_us;
}

/* Self incidents are told apart by their reason, others by their check. */
static char *key_of(const char *target, enum check check, enum reason reason)
{
	if (check == CHECK_SELF)
		return mem_printf("self:%s", reason_name(reason));
	return mem_printf("%s:%s", check_name(check), target);
}

static struct entry *find_key(const struct ledger *ledger, const char *target, enum check check, enum reason reason)
{
	AUTO(string) char *key = key_of(target, check, reason);
	struct entry *entry;

	HASH_FIND(by_key, ledger->keys, key, strlen(key), entry);
	return entry;
}

static struct entry *find_number(const struct ledger *ledger, int64_t number)
{
	struct entry *entry;

	HASH_FIND(by_number, ledger->numbers, &number, sizeof(number), entry);
	return entry;
}

static struct entry *add_entry(struct ledger *ledger, struct incident *incident)
{
	struct entry *entry = mem_new(struct entry);

	entry->incident = incident;
	HASH_ADD_KEYPTR(by_number, ledger->numbers, &incident->number, sizeof(incident->number), entry);
	if (incident->ended_unix_us == 0) {
		entry->key = key_of(incident->target, incident->check, incident->reason);
		HASH_ADD_KEYPTR(by_key, ledger->keys, entry->key, strlen(entry->key), entry);
		ledger->self_count += incident->check == CHECK_SELF;
	}
	return entry;
}

static void close_key(struct ledger *ledger, struct entry *entry)
{
	if (entry->key == NULL)
		return;
	HASH_DELETE(by_key, ledger->keys, entry);
	ledger->self_count -= entry->incident->check == CHECK_SELF;
	free(TAKE(entry->key));
}

static void free_entry(struct ledger *ledger, struct entry *entry)
{
	close_key(ledger, entry);
	HASH_DELETE(by_number, ledger->numbers, entry);
	incident_free(entry->incident);
	free(entry);
}

static void free_if_over(struct ledger *ledger, struct entry *entry)
{
	if (entry->incident->ended_unix_us > 0 && entry->notices == 0)
		free_entry(ledger, entry);
}

/* Certificates: once in 7 days */

static void note_recent(struct ledger *ledger, const struct incident *incident, enum level level, int64_t at_unix_us)
{
	struct recent *recent = mem_new(struct recent);

	recent->target = mem_strdup(incident->target);
	memcpy(recent->fingerprint, incident->fingerprint, FINGERPRINT_BYTES);
	recent->reason = incident->reason;
	recent->level = level;
	recent->opened_unix_us = at_unix_us;
	list_push(&ledger->recent, &recent->node);
}

static void free_recent(struct recent *recent)
{
	list_remove(&recent->node);
	free(recent->target);
	free(recent);
}

static bool opened_lately(struct ledger *ledger, const char *target, const struct change *change)
{
	const int64_t seven_days_us = CERTIFICATE_OPENS_AGAIN_AFTER_S * US_PER_S;
	const int64_t oldest_unix_us = unix_us(ledger) - seven_days_us;
	struct recent *recent;
	bool found = false;

	list_each(recent, &ledger->recent, struct recent, node) {
		/* One in the future was opened by a clock that was wrong. */
		if (recent->opened_unix_us < oldest_unix_us || recent->opened_unix_us > oldest_unix_us + seven_days_us) {
			free_recent(recent);
			continue;
		}
		found = found || (str_equal(recent->target, target) && recent->reason == change->reason &&
				  recent->level == change->level &&
				  memcmp(recent->fingerprint, change->certificate->fingerprint, FINGERPRINT_BYTES) == 0);
	}
	return found;
}

/* Notices */

static void fill_subject(const struct ledger *ledger, const struct incident *incident, enum event_kind event,
			 const struct ledger_subject *subject, struct route_subject *route)
{
	const struct target_config *config = subject->config;

	*route = (struct route_subject){ 0 };
	route->match.values[MATCH_TARGET] = incident->target;
	route->match.values[MATCH_CHECK] = check_name(incident->check);
	/* A recovery travels the way of what it ends. */
	route->match.values[MATCH_LEVEL] = level_name(incident->level != LEVEL_OK ? incident->level : incident->worst);
	route->match.values[MATCH_REASON] = reason_name(incident->reason);
	route->match.values[MATCH_EVENT] = event_name(event);
	route->match.values[MATCH_LOCATION] = ledger->config->location;
	if (config == NULL)
		return;
	route->match.values[MATCH_GROUP] = config->group;
	route->match.labels = config->labels;
	route->match.label_count = config->label_count;
	route->address = config->address;
	route->send_to = (const char *const *)config->send_to;
	route->send_to_count = config->send_to_count;
	route->send_to_set = config->send_to_set;
}

static char *chain_text(const struct tls_facts *facts)
{
	struct str text = { 0 };

	for (size_t i = 0; i < facts->verified_count; i++)
		str_addf(&text, "%s%s", i > 0 ? " < " : "", facts->verified[i].subject);
	return text.bytes > 0 ? str_take(&text) : NULL;
}

static char *tls_text(const struct tls_facts *facts)
{
	struct str text = { 0 };

	str_add(&text, facts->version);
	if (facts->cipher != NULL)
		str_addf(&text, ", %s", facts->cipher);
	if (facts->group != NULL)
		str_addf(&text, ", %s", facts->group);
	if (facts->alpn != NULL)
		str_addf(&text, ", ALPN %s", facts->alpn);
	if (facts->asked)
		str_add(&text, ", asks for a client certificate");
	return str_take(&text);
}

/* The leaf, or of the certificates that clients need the one that ends first, where the incident is about that. */
static const struct certificate_facts *pick_certificate(const struct tls_facts *facts, enum reason reason)
{
	const struct certificate_facts *chain = facts->verified_count > 0 ? facts->verified : facts->chain;
	const size_t count = facts->verified_count > 0 ? facts->verified_count : facts->chain_count;
	const struct certificate_facts *shown = &chain[0];

	if (reason != REASON_CERT_EXPIRING && reason != REASON_CERT_EXPIRED)
		return shown;
	for (size_t i = 1; i < count; i++)
		if (chain[i].not_after_unix_s < shown->not_after_unix_s)
			shown = &chain[i];
	return shown;
}

/* chain and tls are the caller's. */
static void fill_certificate(const struct tls_facts *facts, enum reason reason,
			     struct message_certificate *certificate, char *fingerprint)
{
	const struct certificate_facts *shown = pick_certificate(facts, reason);

	str_hex(shown->fingerprint, FINGERPRINT_BYTES, fingerprint);
	*certificate = (struct message_certificate){
		.subject = shown->subject,
		.issuer = shown->issuer,
		.not_before_unix_s = shown->not_before_unix_s,
		.not_after_unix_s = shown->not_after_unix_s,
		.fingerprint = fingerprint,
		.key = shown->key,
		.signature = shown->signature,
		.chain = chain_text(facts),
		.tls = tls_text(facts),
	};
}

/* Of several nodes the last one asked may show another certificate than the incident is about. */
static bool shows_certificate(const struct incident *incident, const struct tls_facts *facts)
{
	return !incident->has_fingerprint ||
	       memcmp(facts->chain[0].fingerprint, incident->fingerprint, FINGERPRINT_BYTES) == 0;
}

/* What labels are made of stays as it was when the incident opened: machines know it by them. */
static char *write_about(const struct target_config *config)
{
	struct str text = { 0 };
	struct json_writer w;

	json_start(&w, &text);
	json_object(&w);
	json_key_string(&w, "address", config->address);
	json_key_string(&w, "group", config->group);
	json_key(&w, "labels");
	json_object(&w);
	for (size_t i = 0; i < config->label_count; i++)
		json_key_string(&w, config->labels[i].name, config->labels[i].value);
	json_object_end(&w);
	json_object_end(&w);
	return str_take(&text);
}

/* The strings of `item` are lent by what is returned; the caller ends it when the item is written. */
static struct json *read_about(const struct incident *incident, struct message_item *item, struct label *labels,
			       size_t capacity)
{
	const struct json *value;
	struct json *about;
	struct error err;
	void *iter = NULL;
	const char *name;

	if (incident->about == NULL)
		return NULL;
	about = json_parse(incident->about, strlen(incident->about), &err);
	item->address = (char *)json_get_string(about, "address");
	item->group = (char *)json_get_string(about, "group");
	item->labels = labels;
	while (item->label_count < capacity && (name = json_next(json_get(about, "labels"), &iter, &value)) != NULL)
		labels[item->label_count++] = (struct label){ (char *)name, (char *)json_text(value) };
	return about;
}

/* What a message will show, as JSON; the item's strings are lent. */
static char *write_item(const struct ledger *ledger, const struct incident *incident, enum event_kind event,
			enum level before, bool unwatched, const struct ledger_subject *subject)
{
	const struct target_config *config = subject->config;
	struct message_certificate certificate = { 0 };
	char fingerprint[2 * FINGERPRINT_BYTES + 1];
	struct label labels[LABELS_MAX];
	struct json_writer w;
	struct str text = { 0 };
	struct message_item item = {
		.incident = incident->number,
		.event = event,
		.target = incident->target,
		.reached = incident->address,
		.location = ledger->config->location,
		.check = incident->check,
		.level = incident->level,
		.before = before,
		.reason = incident->reason,
		.phase = incident->phase,
		.detail = incident->detail,
		.since_unix_us = incident->since_unix_us,
		.ended_unix_us = incident->ended_unix_us,
		.unwatched = unwatched,
	};

	struct json *about = read_about(incident, &item, labels, LABELS_MAX);

	if (config != NULL) {
		item.description = config->description;
		item.runbook = config->runbook;
	}
	if (subject->facts != NULL && subject->facts->chain_count > 0 && shows_certificate(incident, subject->facts)) {
		fill_certificate(subject->facts, incident->reason, &certificate, fingerprint);
		certificate.changed = (char *)subject->changed;
		item.certificate = &certificate;
	}
	item.probe_count = subject->probe_count < MESSAGE_PROBES_MAX ? subject->probe_count : MESSAGE_PROBES_MAX;
	if (item.probe_count > 0)
		memcpy(item.probes, subject->probes, item.probe_count * sizeof(*item.probes));
	json_start(&w, &text);
	message_item_write(&w, &item);
	json_free(about);
	free(certificate.chain);
	free(certificate.tls);
	return str_take(&text);
}

static void take_address(struct incident *incident, const struct ledger_subject *subject)
{
	char address[ADDRESS_TEXT_BYTES];

	if (subject->reached == NULL || subject->reached->family == 0)
		return;
	address_print(subject->reached, address);
	free(incident->address);
	incident->address = mem_strdup(address);
}

struct telling {
	struct ledger *ledger;
	struct entry *entry;
	enum event_kind event;
	bool unwatched;
	const struct ledger_subject *subject;
	const struct route_subject *route_subject;
};

static void write_notice(const struct telling *telling, const struct route *route, const char *sender)
{
	struct ledger *ledger = telling->ledger;
	struct incident *incident = telling->entry->incident;
	const struct told *told = incident_told(incident, sender);
	struct notice *notice = mem_new(struct notice);
	struct str key = { 0 };

	route_group_key(&key, route, telling->route_subject);
	*notice = (struct notice){
		.id = ledger->next_notice++,
		.incident = incident->number,
		.sender = mem_strdup(sender),
		.event = telling->event,
		.level = incident->level,
		.group_key = str_take(&key),
		.created_unix_us = unix_us(ledger),
		.wait_ms = route->group_wait_ms,
		.item = write_item(ledger, incident, telling->event, told != NULL ? told->level : LEVEL_OK,
				   telling->unwatched, telling->subject),
	};
	incident_tell(incident, sender, incident->level, notice->created_unix_us);
	store_put_notice(ledger_batch(ledger), notice);
	telling->entry->notices++;
	ledger->notices = mem_grow(ledger->notices, &ledger->notice_capacity, ledger->notice_count + 1,
				   sizeof(struct notice *));
	ledger->notices[ledger->notice_count++] = notice;
}

static void tell_new(const struct route *route, const char *sender, void *arg)
{
	struct telling *telling = arg;

	if (incident_told(telling->entry->incident, sender) != NULL ||
	    config_sender(telling->ledger->config, sender) == NULL)
		return;
	write_notice(telling, route, sender);
}

static struct route_table route_table(const struct ledger *ledger)
{
	return (struct route_table){ .routes = ledger->config->routes, .count = ledger->config->route_count };
}

/* Tells those who heard of the incident before. */
static void tell_known(struct telling *telling)
{
	const struct incident *incident = telling->entry->incident;
	const struct route_table table = route_table(telling->ledger);

	for (size_t i = 0; i < incident->told_count; i++) {
		const char *sender = incident->told[i].sender;

		if (config_sender(telling->ledger->config, sender) != NULL)
			write_notice(telling, route_of(&table, telling->route_subject, sender), sender);
	}
}

/* An incident has become `event`: the row, and a notice for everyone whom it concerns. */
static void tell(struct ledger *ledger, struct entry *entry, enum event_kind event, bool unwatched)
{
	struct incident *incident = entry->incident;
	struct ledger_subject subject = { 0 };
	struct route_subject route_subject;
	struct telling telling = {
		.ledger = ledger,
		.entry = entry,
		.event = event,
		.unwatched = unwatched,
		.subject = &subject,
		.route_subject = &route_subject,
	};

	ledger->options.subject(ledger->options.arg, incident->target, &subject);
	fill_subject(ledger, incident, event, &subject, &route_subject);
	if (event != EVENT_PROBLEM)
		tell_known(&telling);
	if (event == EVENT_PROBLEM || event == EVENT_WORSE) {
		const struct route_table table = route_table(ledger);

		telling.event = EVENT_PROBLEM;
		route_subject.match.values[MATCH_EVENT] = event_name(EVENT_PROBLEM);
		route_each(&table, &route_subject, tell_new, &telling);
	}
	store_put_incident(ledger_batch(ledger), incident);
}

void ledger_notice_certificate(struct ledger *ledger, const char *target, const char *story,
			       const char *explanation)
{
	/* Nothing stays open and nothing is remembered: an incident without a number that nobody keeps. The
	 * certificate enters the set in the same batch, so that it is told once. */
	struct incident incident = {
		.target = mem_strdup(target),
		.check = CHECK_CERTIFICATE,
		.level = LEVEL_WARNING,
		.reason = REASON_OK,
		.phase = PHASE_TLS,
		.detail = mem_printf("certificate changed: %s", story),
	};
	struct entry entry = { .incident = &incident };
	struct ledger_subject subject = { 0 };
	struct route_subject route_subject;
	struct telling telling = {
		.ledger = ledger,
		.entry = &entry,
		.event = EVENT_NOTICE,
		.subject = &subject,
		.route_subject = &route_subject,
	};
	const struct route_table table = route_table(ledger);

	if (ledger->options.subject(ledger->options.arg, target, &subject)) {
		incident.about = write_about(subject.config);
		take_address(&incident, &subject);
	}
	subject.changed = explanation;
	fill_subject(ledger, &incident, EVENT_NOTICE, &subject, &route_subject);
	log_info("%s: %s%s%s", target, incident.detail, explanation != NULL ? ": " : "",
		 explanation != NULL ? explanation : "");
	route_each(&table, &route_subject, tell_new, &telling);
	incident_done(&incident);
}

static void log_incident(const struct incident *incident, enum log_event event, const char *what)
{
	const struct log_fields fields = {
		.target = incident->target,
		.check = check_name(incident->check),
		.level = level_name(incident->level),
		.reason = reason_name(incident->reason),
		.incident = incident->number,
	};

	log_write(incident->level == LEVEL_OK ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, event, &fields, "%s: %s%s%s",
		  incident->target, what, incident->level != LEVEL_OK && incident->detail != NULL ? ": " : "",
		  incident->level != LEVEL_OK && incident->detail != NULL ? incident->detail : "");
}

/* Incidents */

/* Of several addresses those that show the certificate; NULL where all do, or none does any longer. */
static char *who_shows(const struct ledger_subject *subject, const struct incident *incident)
{
	struct str text = { 0 };
	size_t count = 0;
	char address[ADDRESS_TEXT_BYTES];

	for (size_t i = 0; i < subject->address_count; i++) {
		const struct address_result *each = &subject->addresses[i];

		if (!each->certificate.present ||
		    memcmp(each->certificate.fingerprint, incident->fingerprint, FINGERPRINT_BYTES) != 0)
			continue;
		address_print_ip(&each->address, address);
		str_addf(&text, "%s%s", count++ > 0 ? ", " : "", address);
	}
	if (count == 0 || count == subject->address_count) {
		str_done(&text);
		return NULL;
	}
	str_addf(&text, " still show%s it, other addresses do not", count == 1 ? "s" : "");
	return str_take(&text);
}

static void name_who_shows(const struct ledger_subject *subject, struct incident *incident)
{
	AUTO(string) char *who = incident->has_fingerprint ? who_shows(subject, incident) : NULL;
	char *before = incident->detail;

	if (who == NULL)
		return;
	incident->detail = mem_printf("%s%s%s", before != NULL ? before : "", before != NULL ? "; " : "", who);
	free(before);
}

/* Which certificate of the chain ends, and when. NULL: the facts are of another one. The caller frees. */
static char *ending_text(const struct incident *incident, const struct tls_facts *facts)
{
	struct str text = { 0 };

	if (facts->chain_count == 0 || !shows_certificate(incident, facts))
		return NULL;
	const struct certificate_facts *shown = pick_certificate(facts, incident->reason);

	str_addf(&text, "%s ends ", shown->subject);
	str_add_time(&text, shown->not_after_unix_s * US_PER_S);
	return str_take(&text);
}

/* What the facts say of a reason; NULL: nothing. */
static const char *facts_text(const struct tls_facts *facts, enum reason reason)
{
	switch (reason) {
	case REASON_TLS_VERSION:
	case REASON_TLS_CIPHER:
	case REASON_TLS_ALPN:
	case REASON_TLS_GROUP:
		return facts->tls_text;
	case REASON_CERT_REVOKED:
	case REASON_CERT_REVOCATION_UNKNOWN:
		return facts->revocation_text != NULL ? facts->revocation_text : facts->staple_text;
	case REASON_CERT_WEAK_KEY:
	case REASON_CERT_WEAK_SIGNATURE:
		return facts->weak_text;
	default:
		return facts->verify_text;
	}
}

/* What the last probe adds: where, and in which words. */
static void take_circumstances(struct ledger *ledger, struct incident *incident)
{
	struct ledger_subject subject = { 0 };

	if (!ledger->options.subject(ledger->options.arg, incident->target, &subject))
		return;
	incident->phase = incident->check == CHECK_AVAILABILITY ? subject.phase : PHASE_TOTAL;
	if (incident->check == CHECK_CERTIFICATE || incident->check == CHECK_TLS)
		incident->phase = PHASE_TLS;
	free(TAKE(incident->detail));
	/* "connection refused: Connection refused" tells nothing twice. */
	if (incident->check == CHECK_AVAILABILITY && subject.detail != NULL &&
	    strcasecmp(subject.detail, reason_text(incident->reason)) != 0)
		incident->detail = mem_strdup(subject.detail);
	else if (incident->reason == REASON_CERT_EXPIRING && subject.facts != NULL)
		incident->detail = ending_text(incident, subject.facts);
	else if ((incident->check == CHECK_CERTIFICATE || incident->check == CHECK_TLS) && subject.facts != NULL)
		incident->detail = mem_strdup(facts_text(subject.facts, incident->reason));
	if (incident->check == CHECK_CERTIFICATE)
		name_who_shows(&subject, incident);
	take_address(incident, &subject);
}

static void take_change(struct incident *incident, const struct change *change)
{
	incident->level = change->level;
	if (change->level > incident->worst)
		incident->worst = change->level;
	if (change->level != LEVEL_OK)
		incident->reason = change->reason; /* an ended incident keeps why it was */
	if (change->certificate != NULL && change->level != LEVEL_OK) {
		incident->has_fingerprint = true;
		memcpy(incident->fingerprint, change->certificate->fingerprint, FINGERPRINT_BYTES);
	}
}

static void open_incident(struct ledger *ledger, const char *target, const struct change *change, const char *detail)
{
	struct incident *incident = mem_new(struct incident);
	struct ledger_subject subject;

	incident->number = ledger->next_incident++;
	incident->target = mem_strdup(target);
	incident->check = change->check;
	incident->since_unix_us = change->since_unix_us;
	incident->opened_unix_us = unix_us(ledger);
	incident->phase = PHASE_TOTAL;
	take_change(incident, change);
	if (ledger->options.subject(ledger->options.arg, target, &subject))
		incident->about = write_about(subject.config);
	take_circumstances(ledger, incident);
	if (detail != NULL)
		incident->detail = mem_strdup(detail);
	if (incident->has_fingerprint)
		note_recent(ledger, incident, incident->level, incident->opened_unix_us);
	log_incident(incident, LOG_INCIDENT_OPENED, reason_text(incident->reason));
	tell(ledger, add_entry(ledger, incident), EVENT_PROBLEM, false);
}

static void end_incident(struct ledger *ledger, struct entry *entry, enum event_kind event)
{
	struct incident *incident = entry->incident;

	incident->level = LEVEL_OK;
	incident->ended_unix_us = unix_us(ledger);
	close_key(ledger, entry);
	log_incident(incident, LOG_INCIDENT_ENDED, event == EVENT_RECOVERED ? "recovered" : "no longer watched");
	tell(ledger, entry, event, event == EVENT_NOTICE);
	free_if_over(ledger, entry);
}

static void change_incident(struct ledger *ledger, struct entry *entry, const struct change *change)
{
	struct incident *incident = entry->incident;
	const enum level before = incident->level;

	take_change(incident, change);
	take_circumstances(ledger, incident);
	if (incident->has_fingerprint && change->level > before)
		note_recent(ledger, incident, change->level, unix_us(ledger));
	log_incident(incident, LOG_INCIDENT_CHANGED, reason_text(incident->reason));
	if (change->level == before)
		store_put_incident(ledger_batch(ledger), incident);
	else
		tell(ledger, entry, change->level > before ? EVENT_WORSE : EVENT_BETTER, false);
}

void ledger_change(struct ledger *ledger, const char *target, const struct change *change)
{
	struct entry *entry = find_key(ledger, target, change->check, change->reason);

	if (change->quiet)
		return;
	if (entry != NULL && change->level == LEVEL_OK)
		end_incident(ledger, entry, EVENT_RECOVERED);
	else if (entry != NULL)
		change_incident(ledger, entry, change);
	else if (change->level != LEVEL_OK && (change->certificate == NULL || !opened_lately(ledger, target, change)))
		open_incident(ledger, target, change, NULL);
}

void ledger_self(struct ledger *ledger, enum reason reason, const char *text)
{
	struct entry *entry = find_key(ledger, "portbell", CHECK_SELF, reason);

	if (text == NULL && entry != NULL) {
		end_incident(ledger, entry, EVENT_RECOVERED);
	} else if (text != NULL && entry == NULL) {
		const struct change change = {
			.check = CHECK_SELF,
			.level = self_level(reason),
			.reason = reason,
			.since_unix_us = unix_us(ledger),
		};

		open_incident(ledger, "portbell", &change, text);
	} else if (text != NULL && !str_equal(entry->incident->detail, text)) {
		free(entry->incident->detail);
		entry->incident->detail = mem_strdup(text);
		store_put_incident(ledger_batch(ledger), entry->incident);
	}
}

void ledger_unwatch(struct ledger *ledger, const char *target, enum check check)
{
	for (enum check each = CHECK_AVAILABILITY; each < CHECK_SELF; each++) {
		struct entry *entry = find_key(ledger, target, each, REASON_OK);

		if (entry != NULL && (check == CHECK_COUNT || check == each))
			end_incident(ledger, entry, EVENT_NOTICE);
	}
}

void ledger_unwatch_missing(struct ledger *ledger)
{
	struct entry *entry, *next;
	struct ledger_subject subject;

	HASH_ITER(by_key, ledger->keys, entry, next)
		if (entry->incident->check != CHECK_SELF &&
		    !ledger->options.subject(ledger->options.arg, entry->incident->target, &subject))
			end_incident(ledger, entry, EVENT_NOTICE);
}

/* Reminders */

static void remind(struct ledger *ledger, struct entry *entry)
{
	const int64_t now_unix_us = unix_us(ledger);
	const struct route_table table = route_table(ledger);
	struct incident *incident = entry->incident;
	struct ledger_subject subject = { 0 };
	struct route_subject route_subject;
	struct telling telling = {
		.ledger = ledger,
		.entry = entry,
		.event = EVENT_REMINDER,
		.subject = &subject,
		.route_subject = &route_subject,
	};
	const size_t notices_before = entry->notices;
	bool somebody_knows = false;

	ledger->options.subject(ledger->options.arg, incident->target, &subject);
	if (subject.config != NULL && subject.config->paused)
		return;
	fill_subject(ledger, incident, EVENT_REMINDER, &subject, &route_subject);
	for (size_t i = 0; i < incident->told_count; i++) {
		struct told *told = &incident->told[i];
		const struct route *route = route_of(&table, &route_subject, told->sender);
		const int64_t every_ms = route_remind_ms(route, incident->check, incident->level);

		if (config_sender(ledger->config, told->sender) == NULL)
			continue;
		somebody_knows = true;
		if (told->at_unix_us > now_unix_us) /* the clock was set back */
			told->at_unix_us = now_unix_us;
		if (every_ms > 0 && now_unix_us - told->at_unix_us >= every_ms * US_PER_MS)
			write_notice(&telling, route, told->sender);
	}
	if (!somebody_knows) { /* whoever was told has left the configuration */
		telling.event = EVENT_PROBLEM;
		route_subject.match.values[MATCH_EVENT] = event_name(EVENT_PROBLEM);
		route_each(&table, &route_subject, tell_new, &telling);
	}
	if (entry->notices != notices_before)
		store_put_incident(ledger_batch(ledger), incident);
}

void ledger_remind(struct ledger *ledger)
{
	struct entry *entry, *next;

	HASH_ITER(by_key, ledger->keys, entry, next)
		remind(ledger, entry);
}

/* Commit */

struct store_batch *ledger_batch(struct ledger *ledger)
{
	if (ledger->batch == NULL)
		ledger->batch = store_batch_new();
	return ledger->batch;
}

/* Notices whose batch the store is writing. */
struct pending {
	struct list node;
	struct ledger *ledger;
	struct notice **notices;
	size_t count;
};

static void free_pending(struct pending *pending)
{
	list_remove(&pending->node);
	free(pending->notices);
	free(pending);
}

static void on_committed(void *arg, bool durable)
{
	struct pending *pending = arg;

	if (!durable && pending->count > 0)
		log_write(LOG_LEVEL_WARNING, LOG_STORE_FAILED, NULL,
			  "the store does not answer: %zu notices go on from memory and may be told twice after a crash",
			  pending->count);
	for (size_t i = 0; i < pending->count; i++)
		notifier_add(pending->ledger->notifier, pending->notices[i]);
	free_pending(pending);
}

void ledger_commit(struct ledger *ledger)
{
	struct pending *pending;

	if (ledger->batch == NULL)
		return;
	pending = mem_new(struct pending);
	*pending = (struct pending){
		.ledger = ledger, .notices = TAKE(ledger->notices), .count = ledger->notice_count
	};
	ledger->notice_count = 0;
	ledger->notice_capacity = 0;
	list_push(&ledger->pending, &pending->node);
	store_commit(ledger->options.store, TAKE(ledger->batch), ledger->options.now().mono_us, on_committed, pending);
}

/* Start and end */

struct ledger *ledger_new(const struct ledger_options *options)
{
	struct ledger *ledger = mem_new(struct ledger);

	ledger->options = *options;
	ledger->next_incident = 1;
	ledger->next_notice = 1;
	list_init(&ledger->recent);
	list_init(&ledger->pending);
	return ledger;
}

void ledger_free(struct ledger *ledger)
{
	struct entry *entry, *next;
	struct recent *recent;
	struct pending *pending;

	if (ledger == NULL)
		return;
	list_each(pending, &ledger->pending, struct pending, node) {
		for (size_t i = 0; i < pending->count; i++)
			notice_free(pending->notices[i]);
		free_pending(pending);
	}
	HASH_ITER(by_number, ledger->numbers, entry, next)
		free_entry(ledger, entry);
	list_each(recent, &ledger->recent, struct recent, node)
		free_recent(recent);
	for (size_t i = 0; i < ledger->notice_count; i++)
		notice_free(ledger->notices[i]);
	free(ledger->notices);
	store_batch_free(ledger->batch);
	free(ledger);
}

void ledger_set_notifier(struct ledger *ledger, struct notifier *notifier)
{
	ledger->notifier = notifier;
}

void ledger_set_config(struct ledger *ledger, const struct config *config)
{
	ledger->config = config;
}

void ledger_restore(struct ledger *ledger, struct store_state *state)
{
	ledger->next_incident = state->next_incident;
	ledger->next_notice = state->next_notice;
	for (size_t i = 0; i < state->incident_count; i++) {
		struct incident *incident = mem_new(struct incident);

		*incident = state->incidents[i];
		state->incidents[i] = (struct incident){ 0 };
		for (enum level level = LEVEL_WARNING; incident->has_fingerprint && level <= incident->worst; level++)
			note_recent(ledger, incident, level, incident->opened_unix_us);
		add_entry(ledger, incident);
	}
	for (size_t i = 0; i < state->notice_count; i++) {
		struct entry *entry = find_number(ledger, state->notices[i].incident);

		if (entry != NULL)
			entry->notices++;
	}
	struct entry *entry, *next;

	HASH_ITER(by_number, ledger->numbers, entry, next)
		free_if_over(ledger, entry);
}

/* Questions */

const struct incident *ledger_open_incident(const struct ledger *ledger, const char *target, enum check check)
{
	const struct entry *entry = find_key(ledger, target, check, REASON_OK);

	return entry != NULL ? entry->incident : NULL;
}

const struct incident *ledger_self_incident(const struct ledger *ledger, enum reason reason)
{
	const struct entry *entry = find_key(ledger, "portbell", CHECK_SELF, reason);

	return entry != NULL ? entry->incident : NULL;
}

size_t ledger_open_count(const struct ledger *ledger)
{
	return HASH_CNT(by_key, ledger->keys);
}

bool ledger_own_trouble(const struct ledger *ledger)
{
	return ledger->self_count > 0;
}

bool ledger_explains_unknown(const struct ledger *ledger)
{
	static const enum reason reasons[] = { REASON_OVERLOAD, REASON_OWN_NETWORK, REASON_RESOLVER_FAILED };

	for (size_t i = 0; ledger->self_count > 0 && i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (ledger_self_incident(ledger, reasons[i]) != NULL)
			return true;
	return false;
}

void ledger_sender_trouble(void *arg, const char *text)
{
	struct ledger *ledger = arg;

	ledger_self(ledger, REASON_SENDER_FAILED, text);
	ledger_commit(ledger);
}

const char *ledger_thread(void *arg, int64_t number, const char *sender)
{
	const struct entry *entry = find_number(arg, number);
	const struct told *told = entry != NULL ? incident_told(entry->incident, sender) : NULL;

	return told != NULL ? told->first_message : NULL;
}

void ledger_grouped(void *arg, int64_t number, const char *sender, const char *message_id, struct store_batch *batch)
{
	struct ledger *ledger = arg;
	struct entry *entry = find_number(ledger, number);
	struct told *told = entry != NULL ? incident_told(entry->incident, sender) : NULL;

	if (entry == NULL)
		return;
	if (told != NULL && told->first_message == NULL) {
		told->first_message = mem_strdup(message_id);
		store_put_incident(batch, entry->incident);
	}
	if (entry->notices > 0)
		entry->notices--;
	free_if_over(ledger, entry);
}
