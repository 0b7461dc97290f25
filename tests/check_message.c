/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/notify/message.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

AUTO_DEFINE(message, struct message *, message_free)

enum { MIN = 60, HOUR = 3600, DAY = 86400, ITEMS_MAX = 20 };
static const int64_t noon_s = 1795521509; /* 2026-11-24T11:58:29Z */

static int64_t at_us(int64_t after_s)
{
	return (noon_s + after_s) * US_PER_S;
}

/* A message as it comes back from the store. */
static struct message *message_of(const struct message_item *items, size_t count, bool drill, int64_t created_s)
{
	char *texts[ITEMS_MAX] = { NULL };
	struct error err = { 0 };

	ck_assert_uint_le(count, ITEMS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct str text = { 0 };
		struct json_writer w;

		json_start(&w, &text);
		message_item_write(&w, &items[i]);
		texts[i] = str_take(&text);
	}
	AUTO(string) char *body = message_compose("412.1.a", "mail", "group=web", NULL, at_us(created_s), drill,
						  (const char *const *)texts, count);
	struct message *message = message_parse(body, &err);

	ck_assert_msg(message != NULL, "%s in %s", err.text, body);
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	return message;
}

static struct message *message_of_one(const struct message_item *item)
{
	return message_of(item, 1, false, 10);
}

/* shop is refused since noon. */
static struct message_item shop(void)
{
	return (struct message_item){
		.incident = 412, .event = EVENT_PROBLEM, .target = "shop", .address = "shop.example.com:443",
		.check = CHECK_AVAILABILITY, .level = LEVEL_CRITICAL, .reason = REASON_CONNECT_REFUSED,
		.phase = PHASE_CONNECT, .since_unix_us = at_us(0),
	};
}

static struct message_certificate certificate_until(int64_t after_s)
{
	return (struct message_certificate){
		.subject = "CN=shop.example.com", .issuer = "CN=Test CA", .not_before_unix_s = noon_s - 90 * DAY,
		.not_after_unix_s = noon_s + 10 + after_s, .fingerprint = "00ff",
		.key = "EC P-256", .signature = "ecdsa-with-SHA256", .chain = "CN=shop < CN=R3 < CN=Root",
		.tls = "TLS 1.3, TLS_AES_256_GCM_SHA384, x25519, ALPN h2",
	};
}

struct title_row {
	const char *title;
	struct message_item change; /* over shop(): what is not zero counts */
	int64_t ends_in_s;          /* with a certificate that ends then */
};

static const struct title_row titles[] = {
	{ "[CRITICAL] shop: connection refused #412", { 0 }, 0 },
	{ "[WARNING] shop: latency high #412",
	  { .check = CHECK_LATENCY, .level = LEVEL_WARNING, .reason = REASON_LATENCY_HIGH }, 0 },
	{ "[UNKNOWN] shop: could not probe: trouble on our side #412",
	  { .level = LEVEL_UNKNOWN, .reason = REASON_LOCAL_ERROR }, 0 },
	{ "[CRITICAL] shop: latency high #412",
	  { .event = EVENT_WORSE, .check = CHECK_LATENCY, .before = LEVEL_WARNING,
	    .reason = REASON_LATENCY_HIGH }, 0 },
	{ "[WARNING] shop: latency high #412",
	  { .event = EVENT_BETTER, .check = CHECK_LATENCY, .level = LEVEL_WARNING, .before = LEVEL_CRITICAL,
	    .reason = REASON_LATENCY_HIGH }, 0 },
	{ "[OK] shop: up again after 4 min 12 s #412",
	  { .event = EVENT_RECOVERED, .before = LEVEL_CRITICAL, .ended_unix_us = 252 }, 0 },
	{ "[OK] shop: fast again after 1 h 1 min #412",
	  { .event = EVENT_RECOVERED, .check = CHECK_LATENCY, .ended_unix_us = HOUR + MIN }, 0 },
	{ "[OK] shop: certificate is good again after 2 d #412",
	  { .event = EVENT_RECOVERED, .check = CHECK_CERTIFICATE, .ended_unix_us = 2 * DAY }, -DAY },
	{ "[OK] shop: TLS is as required again after 30 s #412",
	  { .event = EVENT_RECOVERED, .check = CHECK_TLS, .ended_unix_us = 30 }, 0 },
	{ "[OK] shop: up again after 40 s #412",
	  { .event = EVENT_RECOVERED, .ended_unix_us = 40, .missed = true }, 0 },
	{ "[WARNING] shop: certificate expires in 12 d #412",
	  { .check = CHECK_CERTIFICATE, .level = LEVEL_WARNING, .reason = REASON_CERT_EXPIRING }, 13 * DAY - 1 },
	{ "[CRITICAL] shop: certificate expires in 23 h #412",
	  { .check = CHECK_CERTIFICATE, .reason = REASON_CERT_EXPIRING }, DAY - 1 },
	{ "[CRITICAL] shop: certificate expires in 0 min #412",
	  { .check = CHECK_CERTIFICATE, .reason = REASON_CERT_EXPIRING }, 59 },
	{ "[CRITICAL] shop: certificate expired 3 d ago #412",
	  { .check = CHECK_CERTIFICATE, .reason = REASON_CERT_EXPIRED }, -3 * DAY },
	{ "[CRITICAL] shop: certificate expired #412",
	  { .check = CHECK_CERTIFICATE, .reason = REASON_CERT_EXPIRED }, 0 },
	{ "[CRITICAL] shop: certificate is for another name #412",
	  { .check = CHECK_CERTIFICATE, .reason = REASON_CERT_HOSTNAME }, 40 * DAY },
	{ "Reminder: [CRITICAL] shop: connection refused #412", { .event = EVENT_REMINDER }, 0 },
	{ "Escalated: [CRITICAL] shop: connection refused #412", { .event = EVENT_ESCALATION }, 0 },
	{ "Notice: shop: no longer watched #412",
	  { .event = EVENT_RECOVERED, .unwatched = true, .ended_unix_us = 60 }, 0 },
	{ "Notice: shop: no longer watched #412", { .event = EVENT_NOTICE, .unwatched = true }, 0 },
	{ "[FLAPPING] shop: connection refused #412", { .event = EVENT_FLAPPING }, 0 },
	{ "[TEST] shop: test message #412", { .event = EVENT_TEST }, 0 },
	{ "[WARNING] portbell: sender failed #412",
	  { .target = "portbell", .check = CHECK_SELF, .level = LEVEL_WARNING,
	    .reason = REASON_SENDER_FAILED }, 0 },
	{ "[OK] portbell: working again after 30 s #412",
	  { .target = "portbell", .event = EVENT_RECOVERED, .check = CHECK_SELF, .reason = REASON_STORE_FAILED,
	    .ended_unix_us = 30 }, 0 },
};

static void apply(struct message_item *item, const struct message_item *change)
{
	if (change->target != NULL)
		item->target = change->target;
	if (change->event != EVENT_PROBLEM)
		item->event = change->event;
	if (change->check != CHECK_AVAILABILITY)
		item->check = change->check;
	if (change->level != LEVEL_OK)
		item->level = change->level;
	if (change->reason != REASON_OK)
		item->reason = change->reason;
	if (change->ended_unix_us != 0)
		item->ended_unix_us = at_us(change->ended_unix_us);
	if (item->event == EVENT_RECOVERED)
		item->level = LEVEL_OK;
	item->before = change->before;
	item->missed = change->missed;
	item->unwatched = change->unwatched;
}

START_TEST(title_of_one)
{
	const struct title_row *row = &titles[_i];
	struct message_certificate certificate = certificate_until(row->ends_in_s);
	struct message_item item = shop();

	apply(&item, &row->change);
	if (row->ends_in_s != 0)
		item.certificate = &certificate;
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(string) char *title = message_title(message);

	ck_assert_str_eq(title, row->title);
	ck_assert_int_eq(message_level(message), message_item_is_over(&item) ? LEVEL_OK : item.level);
}
END_TEST

START_TEST(title_without_an_incident)
{
	struct message_item item = shop();

	item.incident = 0;
	item.event = EVENT_TEST;
	AUTO(message) struct message *test = message_of(&item, 1, true, 0);
	AUTO(string) char *title = message_title(test);

	ck_assert_str_eq(title, "[TEST] shop: test message");
	item = shop();
	AUTO(message) struct message *drill = message_of(&item, 1, true, 0);
	AUTO(string) char *drill_title = message_title(drill);

	ck_assert_str_eq(drill_title, "[TEST] shop: connection refused #412");
}
END_TEST

START_TEST(news_of_a_certificate)
{
	struct message_certificate certificate = certificate_until(90 * DAY);
	struct message_item items[] = { shop(), shop() };

	for (size_t i = 0; i < 2; i++) {
		items[i].incident = 0;
		items[i].event = EVENT_NOTICE;
		items[i].check = CHECK_CERTIFICATE;
		items[i].level = LEVEL_WARNING;
		items[i].reason = REASON_OK;
		items[i].since_unix_us = 0;
		items[i].detail = (char *)"certificate changed: another issuer";
		items[i].certificate = &certificate;
	}
	certificate.changed = (char *)"issued by CN=R4 instead of CN=R3";
	AUTO(message) struct message *one = message_of_one(&items[0]);
	AUTO(string) char *title = message_title(one);
	AUTO(string) char *text = message_text(one, one->created_unix_us);

	ck_assert_str_eq(title, "Notice: shop: certificate changed: another issuer");
	ck_assert_ptr_nonnull(strstr(text, "changed      issued by CN=R4 instead of CN=R3\n"));
	ck_assert_ptr_null(strstr(text, "level"));
	items[1].target = (char *)"mail";
	AUTO(message) struct message *two = message_of(items, 2, false, 0);
	AUTO(string) char *both = message_title(two);

	ck_assert_msg(str_starts(both, "Notice: 2 targets"), "%s", both);
	ck_assert_ptr_nonnull(strstr(both, ": certificates changed"));
}
END_TEST

/* One letter an item: target a..., then what is different from shop() in group dc2, timed out. */
static struct message_item item_of(const char *word, size_t index)
{
	static char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n" };
	struct message_item item = shop();

	item.incident = 414 + (int64_t)index;
	item.target = names[index];
	item.group = "dc2";
	item.reason = REASON_CONNECT_TIMEOUT;
	if (strchr(word, 'w') != NULL)
		item.level = LEVEL_WARNING;
	if (strchr(word, 'r') != NULL)
		item.reason = REASON_CONNECT_REFUSED;
	if (strchr(word, 'g') != NULL)
		item.group = NULL;
	if (strchr(word, 's') != NULL)
		item.target = names[0];
	if (strchr(word, 'l') != NULL)
		item.check = CHECK_LATENCY;
	if (strchr(word, 'm') != NULL)
		item.event = EVENT_REMINDER;
	if (strpbrk(word, "ou") != NULL) {
		item.event = EVENT_RECOVERED;
		item.level = LEVEL_OK;
		item.ended_unix_us = at_us(60 + (int64_t)index);
		item.unwatched = strchr(word, 'u') != NULL;
	}
	return item;
}

/* Letters: w warning, r refused, g no group, s same target, l latency, m reminder, o over, u unwatched. */
struct digest_row {
	const char *items;
	const char *title;
};

static const struct digest_row digests[] = {
	{ ". .", "[CRITICAL] 2 targets in dc2: connect timeout #414" },
	{ ". . . . . . . . . . . . . .", "[CRITICAL] 14 targets in dc2: connect timeout #414" },
	{ "w w", "[WARNING] 2 targets in dc2: connect timeout #414" },
	{ "w . w", "[CRITICAL] 3 targets in dc2: connect timeout #414" },
	{ ". r", "[CRITICAL] 2 targets in dc2: various reasons #414" },
	{ ". g", "[CRITICAL] 2 targets: connect timeout #414" },
	{ "g g", "[CRITICAL] 2 targets: connect timeout #414" },
	{ "s s", "[CRITICAL] a: connect timeout #414" },
	{ ". sr l", "[CRITICAL] 2 targets in dc2: various reasons #414" },
	{ "o o", "[OK] 2 targets in dc2: up again #414" },
	{ "o ol", "[OK] 2 targets in dc2: good again #414" },
	{ "o .", "[CRITICAL] b: connect timeout, 1 recovered #415" },
	{ "o o . w", "[CRITICAL] 2 targets in dc2: connect timeout, 2 recovered #416" },
	{ "u u", "Notice: 2 targets in dc2: no longer watched #414" },
	{ "u o", "[OK] 2 targets in dc2: up again #414" },
	{ "m m", "Reminder: [CRITICAL] 2 targets in dc2: connect timeout #414" },
	{ "m .", "[CRITICAL] 2 targets in dc2: connect timeout #414" },
};

static size_t items_of(const char *words, struct message_item *items)
{
	AUTO(string) char *copy = mem_strdup(words);
	char *rest = copy;
	size_t count = 0;
	char *word;

	while ((word = strsep(&rest, " ")) != NULL) {
		items[count] = item_of(word, count);
		count++;
	}
	return count;
}

START_TEST(title_of_a_digest)
{
	struct message_item items[ITEMS_MAX];
	size_t count = items_of(digests[_i].items, items);
	AUTO(message) struct message *message = message_of(items, count, false, 10);
	AUTO(string) char *title = message_title(message);

	ck_assert_str_eq(title, digests[_i].title);
}
END_TEST

/* An item in which every field says something. */
static struct message_item full_item(struct message_certificate *certificate, struct label *labels)
{
	struct message_item item = shop();

	*certificate = certificate_until(5 * DAY);
	labels[0] = (struct label){ "team", "core" };
	labels[1] = (struct label){ "env", "prod" };
	item.before = LEVEL_WARNING;
	item.reached = "192.0.2.1:443";
	item.group = "web";
	item.location = "berlin-1";
	item.labels = labels;
	item.label_count = 2;
	item.description = "The shop's front door";
	item.runbook = "https://wiki.example.com/shop?a=1&b=2";
	item.detail = "Connection refused";
	item.ended_unix_us = at_us(5);
	item.missed = true;
	item.unwatched = true;
	item.certificate = certificate;
	item.probes[0] = (struct message_probe){ at_us(-30), REASON_OK, 12300 };
	item.probes[1] = (struct message_probe){ at_us(0), REASON_CONNECT_REFUSED, -1 };
	item.probes[2] = (struct message_probe){ at_us(5), REASON_LOCAL_ERROR, -1 };
	item.probe_count = 3;
	return item;
}

START_TEST(round_trip)
{
	struct message_certificate certificate;
	struct label labels[2];
	struct message_item item = full_item(&certificate, labels);
	AUTO(message) struct message *message = message_of_one(&item);
	const struct message_item *back = &message->items[0];
	AUTO(str) struct str first = { 0 };
	AUTO(str) struct str second = { 0 };
	struct json_writer w;

	ck_assert_str_eq(message->id, "412.1.a");
	ck_assert_str_eq(message->sender, "mail");
	ck_assert_str_eq(message->group_key, "group=web");
	ck_assert_ptr_null(message->thread);
	ck_assert_int_eq(message->created_unix_us, at_us(10));
	ck_assert_str_eq(back->labels[1].name, "env");
	ck_assert_int_eq(back->probes[0].total_us, 12300);
	ck_assert(back->missed && back->unwatched);
	json_start(&w, &first);
	message_item_write(&w, &item);
	json_start(&w, &second);
	message_item_write(&w, back);
	ck_assert_str_eq(first.data, second.data);
}
END_TEST

START_TEST(text_tells_the_story)
{
	static const char expected[] =
		"shop.example.com:443: connection refused\n"
		"since 2026-11-24 11:58:29 +0000\n"
		"\n"
		"target       shop\n"
		"address      shop.example.com:443\n"
		"check        availability\n"
		"level        critical, was warning\n"
		"time         since 2026-11-24 11:58:29 +0000\n"
		"incident     #412\n"
		"reason       connect_refused (connection refused)\n"
		"phase        connect\n"
		"reached      192.0.2.1:443\n"
		"detail       Connection refused\n"
		"description  The shop's front door\n"
		"runbook      https://wiki.example.com/shop?a=1&b=2\n"
		"group        web\n"
		"labels       team=core, env=prod\n"
		"location     berlin-1\n"
		"look again   portbell status shop\n"
		"\n"
		"Last probes +x?\n"
		"11:57:59     + ok, 12 ms\n"
		"11:58:29     x connect_refused\n"
		"11:58:34     ? local_error\n"
		"\n"
		"Certificate\n"
		"subject      CN=shop.example.com\n"
		"issuer       CN=Test CA\n"
		"not before   2026-08-26 11:58:29 +0000\n"
		"not after    2026-11-29 11:58:39 +0000 (in 5 d)\n"
		"key          EC P-256\n"
		"signature    ecdsa-with-SHA256\n"
		"chain        CN=shop < CN=R3 < CN=Root\n"
		"tls          TLS 1.3, TLS_AES_256_GCM_SHA384, x25519, ALPN h2\n"
		"fingerprint  00ff\n";
	struct message_certificate certificate;
	struct label labels[2];
	struct message_item item = full_item(&certificate, labels);

	item.ended_unix_us = 0;
	item.missed = false;
	item.unwatched = false;
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(string) char *text = message_text(message, at_us(20));

	ck_assert_str_eq(text, expected);
}
END_TEST

START_TEST(text_of_a_missed_problem_has_both_times)
{
	struct message_item item = shop();

	item.event = EVENT_RECOVERED;
	item.level = LEVEL_OK;
	item.missed = true;
	item.ended_unix_us = at_us(252);
	AUTO(message) struct message *message = message_of(&item, 1, false, 260);
	AUTO(string) char *text = message_text(message, at_us(260));

	ck_assert(str_starts(text, "shop.example.com:443: up again after 4 min 12 s\n"
				   "from 2026-11-24 11:58:29 +0000 to 2026-11-24 12:02:41 +0000\n"));
	ck_assert_ptr_nonnull(strstr(text, "nobody was told"));
	ck_assert_ptr_nonnull(strstr(text, "reason       connect_refused"));
}
END_TEST

START_TEST(text_of_a_digest_names_all)
{
	struct message_item items[ITEMS_MAX];
	size_t count = items_of(". r w o .", items);
	AUTO(message) struct message *message = message_of(items, count, false, 10);
	AUTO(string) char *text = message_text(message, at_us(10));

	ck_assert(str_starts(text, "shop.example.com:443, shop.example.com:443, shop.example.com:443 and 1 more: "
				   "various reasons, 1 recovered\nsince 2026-11-24 11:58:29 +0000\n\n"
				   "[CRITICAL] a: connect timeout #414, since"));
	ck_assert_ptr_nonnull(strstr(text, "\n[CRITICAL] b: connection refused #415, since"));
	ck_assert_ptr_nonnull(strstr(text, "\n[WARNING] c: connect timeout #416, since"));
	ck_assert_ptr_nonnull(strstr(text, "\n[OK] d: up again after 1 min 3 s #417, from"));
	ck_assert_ptr_nonnull(strstr(text, "portbell status e\n"));
}
END_TEST

struct late_row {
	int64_t after_s;
	const char *line; /* NULL: none */
};

static const struct late_row late_rows[] = {
	{ -60, NULL }, { 0, NULL }, { 120, NULL }, { 121, "delivered 2 min late" },
	{ 7 * MIN + 59, "delivered 7 min late" }, { 3 * HOUR, "delivered 3 h late" },
};

/* Whatever the time of the try, nothing else may change. */
START_TEST(late_is_all_that_a_later_try_adds)
{
	const struct late_row *row = &late_rows[_i];
	struct message_item item = shop();
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(string) char *first = message_text(message, message->created_unix_us);
	AUTO(string) char *text = message_text(message, message->created_unix_us + row->after_s * US_PER_S);
	AUTO(string) char *html = message_html(message, message->created_unix_us + row->after_s * US_PER_S);
	AUTO(string) char *line = row->line != NULL ? mem_printf("%s\n", row->line) : mem_strdup("");
	char *at = strstr(text, line);

	ck_assert_ptr_nonnull(at);
	memmove(at, at + strlen(line), strlen(at + strlen(line)) + 1);
	ck_assert_str_eq(text, first);
	ck_assert(row->line == NULL || strstr(html, row->line) != NULL);
	ck_assert(row->line != NULL || strstr(html, "late") == NULL);
}
END_TEST

struct command_row {
	char *name;
	const char *command;
};

static const struct command_row commands[] = {
	{ "shop", "portbell status shop\n" },
	{ "www.example.com:443", "portbell status www.example.com:443\n" },
	{ "the shop", "portbell status 'the shop'\n" },
	{ "it's", "portbell status 'it'\\''s'\n" },
	{ "$(reboot)", "portbell status '$(reboot)'\n" },
	{ "a;b`c`\"", "portbell status 'a;b`c`\"'\n" },
	{ "[2001:db8::1]:443", "portbell status '[2001:db8::1]:443'\n" },
	{ "-x", "portbell status -- -x\n" },
	{ "a=b", "portbell status target=a=b\n" },
	{ "a=b,c", "portbell status target='a=b?c'\n" },
	{ "tür", "portbell status 'tür'\n" },
};

START_TEST(command_is_one_word_for_a_shell)
{
	struct message_item item = shop();

	item.target = commands[_i].name;
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(string) char *text = message_text(message, at_us(10));
	const char *command = strstr(text, "portbell status");

	ck_assert_ptr_nonnull(command);
	ck_assert_msg(str_starts(command, commands[_i].command), "%s", command);
}
END_TEST

static char hostile[] = "x\r\nBcc: a@b\x1b[31m\xe2\x80\xae<script>alert(1)</script>\"'&\xff";

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	while ((text = strstr(text, part)) != NULL) {
		count++;
		text += strlen(part);
	}
	return count;
}

START_TEST(hostile_text_stays_text)
{
	struct label labels[] = { { hostile, hostile } };
	struct message_certificate certificate = { hostile, hostile, INT64_MIN, INT64_MAX, hostile,
						   hostile, hostile, hostile, hostile, hostile };
	struct message_item item = shop();
	struct message_item tame = item;

	item.target = item.address = item.reached = item.group = item.location = hostile;
	item.description = item.detail = hostile;
	item.runbook = "javascript:alert('\"><script>')";
	item.labels = labels;
	item.label_count = 1;
	item.certificate = &certificate;
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(message) struct message *other = message_of_one(&tame);
	AUTO(string) char *title = message_title(message);
	AUTO(string) char *text = message_text(message, at_us(10));
	AUTO(string) char *html = message_html(message, at_us(10));
	AUTO(string) char *tame_html = message_html(other, at_us(10));

	ck_assert_ptr_null(strpbrk(title, "\r\n\x1b"));
	ck_assert_ptr_null(strpbrk(text, "\r\x1b"));
	ck_assert_ptr_null(strstr(text, "\nBcc:"));
	ck_assert_ptr_null(strstr(text, "\xe2\x80\xae"));
	ck_assert_ptr_null(strpbrk(html, "\r\x1b"));
	ck_assert_ptr_null(strstr(html, "<script"));
	ck_assert_ptr_null(strstr(html, "href"));
	/* No element more than rows more. */
	ck_assert_uint_eq(count_of(html, "<td"), 2 * count_of(html, "<tr"));
	ck_assert_uint_eq(count_of(html, "<p"), count_of(tame_html, "<p"));
}
END_TEST

START_TEST(html_links_to_the_web)
{
	struct message_item item = shop();

	item.runbook = "https://wiki.example.com/?a=1&b=\"2\"";
	AUTO(message) struct message *message = message_of_one(&item);
	AUTO(string) char *html = message_html(message, at_us(10));

	ck_assert_ptr_nonnull(strstr(html, "<a href=\"https://wiki.example.com/?a=1&amp;b=&quot;2&quot;\">https"));
}
END_TEST

static const char *const not_ours[] = {
	"", "{", "[]", "{}", "null", "\"x\"",
	"{\"id\":\"a\",\"created_unix_us\":1,\"items\":[]}",
	"{\"id\":\"a\",\"created_unix_us\":1,\"items\":[{}]}",
	"{\"id\":\"a\",\"created_unix_us\":1,\"items\":[{\"incident\":1,\"target\":\"x\"}]}",
	"{\"id\":\"a\",\"created_unix_us\":1,\"items\":\"x\"}",
};

START_TEST(what_is_not_ours_is_refused)
{
	struct error err = { 0 };

	ck_assert_ptr_null(message_parse(not_ours[_i], &err));
	ck_assert_str_ne(err.text, "");
}
END_TEST

struct field_row {
	const char *key;   /* of the good body */
	const char *value; /* instead */
};

static const struct field_row bad_fields[] = {
	{ "id", "\"A\"" }, { "id", "\"a\\r\\nX: y\"" }, { "id", "\"\"" }, { "id", "7" },
	{ "id", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"" }, { "thread", "\"a b\"" },
	{ "created_unix_us", "-1" }, { "created_unix_us", "9223372036854775807" }, { "incident", "-1" },
	{ "event", "\"party\"" }, { "check", "\"self \"" }, { "level", "null" }, { "before", "\"down\"" },
	{ "reason", "\"nope\"" }, { "phase", "1" }, { "since_unix_us", "1e3" }, { "ended_unix_us", "null" },
	{ "target", "\"\"" }, { "labels", "{\"a\":1}" }, { "probes", "[{}]" },
	{ "probes", "[1,2,3,4,5,6,7,8,9,10,11]" },
};

START_TEST(a_wrong_field_is_refused)
{
	const struct field_row *row = &bad_fields[_i];
	struct message_item item = shop();
	struct str text = { 0 };
	struct json_writer w;
	struct error err = { 0 };

	json_start(&w, &text);
	message_item_write(&w, &item);
	AUTO(string) char *one = str_take(&text);
	const char *items[] = { one };
	AUTO(string) char *body = message_compose("a", "mail", "k", NULL, 1, false, items, 1);
	AUTO(string) char *key = mem_printf("\"%s\":", row->key);
	char *at = strstr(body, key);

	ck_assert_ptr_nonnull(at);
	at += strlen(key);
	size_t old = at[0] == '{' ? strcspn(at, "}") + 1 : at[0] == '[' ? strcspn(at, "]") + 1 : strcspn(at, ",}");
	AUTO(string) char *bad = mem_printf("%.*s%s%s", (int)(at - body), body, row->value, at + old);

	ck_assert_msg(message_parse(bad, &err) == NULL, "%s", bad);
	ck_assert_str_ne(err.text, "");
}
END_TEST

/* Every cut of a good body is refused, none is read beyond. */
START_TEST(a_cut_body_is_refused)
{
	struct message_certificate certificate;
	struct label labels[2];
	struct message_item item = full_item(&certificate, labels);
	struct str text = { 0 };
	struct json_writer w;
	struct error err = { 0 };

	json_start(&w, &text);
	message_item_write(&w, &item);
	AUTO(string) char *one = str_take(&text);
	const char *items[] = { one };
	AUTO(string) char *body = message_compose("a", "mail", "k", "b", 1, false, items, 1);

	for (size_t bytes = 0; bytes < strlen(body); bytes++) {
		AUTO(string) char *cut = mem_strndup(body, bytes);

		ck_assert_ptr_null(message_parse(cut, &err));
	}
	AUTO(message) struct message *message = message_parse(body, &err);

	ck_assert_ptr_nonnull(message);
	ck_assert_str_eq(message->thread, "b");
}
END_TEST

static void in_utc(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
}

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("message");
	TCase *tcase = tcase_create("message");
	SRunner *runner = srunner_create(suite);
	int failures;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, in_utc, NULL);
	tcase_add_loop_test(tcase, title_of_one, 0, ROWS(titles));
	tcase_add_test(tcase, title_without_an_incident);
	tcase_add_test(tcase, news_of_a_certificate);
	tcase_add_loop_test(tcase, title_of_a_digest, 0, ROWS(digests));
	tcase_add_test(tcase, round_trip);
	tcase_add_test(tcase, text_tells_the_story);
	tcase_add_test(tcase, text_of_a_missed_problem_has_both_times);
	tcase_add_test(tcase, text_of_a_digest_names_all);
	tcase_add_loop_test(tcase, late_is_all_that_a_later_try_adds, 0, ROWS(late_rows));
	tcase_add_loop_test(tcase, command_is_one_word_for_a_shell, 0, ROWS(commands));
	tcase_add_test(tcase, hostile_text_stays_text);
	tcase_add_test(tcase, html_links_to_the_web);
	tcase_add_loop_test(tcase, what_is_not_ours_is_refused, 0, ROWS(not_ours));
	tcase_add_loop_test(tcase, a_wrong_field_is_refused, 0, ROWS(bad_fields));
	tcase_add_test(tcase, a_cut_body_is_refused);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
