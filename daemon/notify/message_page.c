/* SPDX-License-Identifier: MIT */
/* The body of a mail: one story, as text and as HTML. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/notify/message_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum {
	LINES_MAX = 500,      /* of a digest's list */
	DETAILS_MAX = 10      /* items of a digest shown in full */
};
#define LATE_AFTER_US (120 * US_PER_S)
#define FULL_TIME "%Y-%m-%d %H:%M:%S %z"

enum format { FORMAT_TEXT, FORMAT_HTML };

struct page {
	struct str out;
	enum format format;
};

/* A text fits between tags and in a double-quoted attribute alike. */
static void add_escaped(struct str *out, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '&': str_add(out, "&amp;"); break;
		case '<': str_add(out, "&lt;"); break;
		case '>': str_add(out, "&gt;"); break;
		case '"': str_add(out, "&quot;"); break;
		case '\'': str_add(out, "&#39;"); break;
		default: str_add_char(out, *text); break;
		}
	}
}

static void page_put(struct page *page, const char *text)
{
	if (page->format == FORMAT_HTML)
		add_escaped(&page->out, text);
	else
		str_add(&page->out, text);
}

/* Markup of ours, only where there is markup. */
static void page_tag(struct page *page, const char *html)
{
	if (page->format == FORMAT_HTML)
		str_add(&page->out, html);
}

static void page_line(struct page *page, const char *tag, const char *text)
{
	page_tag(page, tag);
	page_put(page, text);
	page_tag(page, "</p>");
	str_add_char(&page->out, '\n');
}

static void page_table(struct page *page, const char *heading)
{
	page_tag(page, heading != NULL ? "<h3 style=\"margin:1em 0 .3em;font-size:1em\">" : "");
	if (page->format == FORMAT_TEXT)
		str_add_char(&page->out, '\n');
	if (heading != NULL) {
		page_put(page, heading);
		page_tag(page, "</h3>");
		str_add_char(&page->out, '\n');
	}
	page_tag(page, "<table style=\"border-collapse:collapse\">\n");
}

static void page_table_end(struct page *page)
{
	page_tag(page, "</table>\n");
}

/* The value comes in between these two. */
static void page_row_open(struct page *page, const char *name)
{
	if (page->format == FORMAT_TEXT) {
		str_addf(&page->out, "%-12s ", name);
		return;
	}
	str_add(&page->out, "<tr><td style=\"padding:1px 12px 1px 0;color:#666;vertical-align:top\">");
	add_escaped(&page->out, name);
	str_add(&page->out, "</td><td style=\"padding:1px 0\">");
}

static void page_row_close(struct page *page)
{
	page_tag(page, "</td></tr>");
	str_add_char(&page->out, '\n');
}

/* No text, no row. */
static void page_row(struct page *page, const char *name, const char *text)
{
	if (text == NULL || text[0] == '\0')
		return;
	page_row_open(page, name);
	page_put(page, text);
	page_row_close(page);
}

static void __attribute__((format(printf, 3, 4)))
page_rowf(struct page *page, const char *name, const char *format, ...)
{
	AUTO(str) struct str text = { 0 };
	va_list args;

	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	page_row(page, name, text.data);
}

/* A link only to the web: javascript: and the like stay text. */
static void page_row_link(struct page *page, const char *name, const char *url)
{
	bool web = url != NULL && (str_starts(url, "https://") || str_starts(url, "http://"));

	if (!web || page->format == FORMAT_TEXT) {
		page_row(page, name, url);
		return;
	}
	page_row_open(page, name);
	str_add(&page->out, "<a href=\"");
	add_escaped(&page->out, url);
	str_add(&page->out, "\">");
	add_escaped(&page->out, url);
	str_add(&page->out, "</a>");
	page_row_close(page);
}

/* ---- the parts of the page ---- */

/* Local time with its offset: "2026-11-23 18:38:29 +0100". */
static void add_local_time(struct str *out, int64_t unix_us, const char *format)
{
	time_t unix_s = (time_t)(unix_us / US_PER_S);
	struct tm tm;
	char text[64];

	if (localtime_r(&unix_s, &tm) == NULL || strftime(text, sizeof(text), format, &tm) == 0)
		str_add_time(out, unix_us);
	else
		str_add(out, text);
}

static void render_late(struct page *page, const struct message *message, int64_t now_unix_us)
{
	AUTO(str) struct str line = { 0 };
	int64_t late_us = now_unix_us - message->created_unix_us;

	if (late_us <= LATE_AFTER_US)
		return;
	str_add(&line, "delivered ");
	str_add_duration(&line, late_us - late_us % (60 * US_PER_S));
	str_add(&line, " late");
	page_line(page, "<p style=\"margin:.2em 0;color:#a60\">", line.data);
}

/* "since ...", "from ... to ...". */
static void add_when(struct str *out, const struct message_item *item, int64_t created_unix_us)
{
	if (item->since_unix_us == 0) {
		str_add(out, "at ");
		add_local_time(out, created_unix_us, FULL_TIME);
		return;
	}
	str_add(out, item->ended_unix_us != 0 ? "from " : "since ");
	add_local_time(out, item->since_unix_us, FULL_TIME);
	if (item->ended_unix_us != 0) {
		str_add(out, " to ");
		add_local_time(out, item->ended_unix_us, FULL_TIME);
	} else if (created_unix_us - item->since_unix_us >= 60 * US_PER_S) {
		str_add(out, ", for ");
		str_add_duration(out, created_unix_us - item->since_unix_us);
	}
}

/* Where: the addresses, the first three by name. */
static void add_where(struct str *out, const struct digest *digest)
{
	const struct message_item *first = digest->shown[0];

	if (digest->shown_count == 1) {
		str_add(out, first->address != NULL ? first->address : first->target);
		return;
	}
	for (size_t i = 0; i < digest->shown_count && i < 3; i++) {
		const struct message_item *item = digest->shown[i];

		str_addf(out, "%s%s", i > 0 ? ", " : "", item->address != NULL ? item->address : item->target);
	}
	if (digest->shown_count > 3)
		str_addf(out, " and %zu more", digest->shown_count - 3);
}

static const struct message_item *oldest(const struct digest *digest)
{
	const struct message_item *oldest = digest->shown[0];

	for (size_t i = 1; i < digest->shown_count; i++)
		if (digest->shown[i]->since_unix_us < oldest->since_unix_us)
			oldest = digest->shown[i];
	return oldest;
}

/* The two lines that a phone shows of a mail. */
static void render_lead(struct page *page, const struct digest *digest)
{
	AUTO(str) struct str line = { 0 };

	add_where(&line, digest);
	str_add(&line, ": ");
	digest_add_story(&line, digest);
	page_line(page, "<p style=\"margin:.2em 0;font-weight:bold\">", line.data);
	str_clear(&line);
	add_when(&line, oldest(digest), digest->message->created_unix_us);
	page_line(page, "<p style=\"margin:.2em 0\">", line.data);
}

static void render_level(struct page *page, const struct message_item *item)
{
	static const char *const colours[LEVEL_COUNT] = {
		[LEVEL_OK] = "<b style=\"color:#070\">", [LEVEL_WARNING] = "<b style=\"color:#a60\">",
		[LEVEL_UNKNOWN] = "<b style=\"color:#555\">", [LEVEL_CRITICAL] = "<b style=\"color:#b00\">",
	};
	enum level level = message_item_is_over(item) ? LEVEL_OK : item->level;

	page_row_open(page, "level");
	page_tag(page, colours[level]);
	page_put(page, level_name(level));
	page_tag(page, "</b>");
	if (item->before != LEVEL_OK && item->before != level) {
		page_put(page, ", was ");
		page_put(page, level_name(item->before));
	}
	page_row_close(page);
}

static void render_why(struct page *page, const struct message_item *item)
{
	if (item->reason != REASON_OK)
		page_rowf(page, "reason", "%s (%s)", reason_name(item->reason), reason_text(item->reason));
	if (item->reason != REASON_OK && item->phase != PHASE_TOTAL && item->check != CHECK_SELF)
		page_row(page, "phase", phase_name(item->phase));
	page_row(page, "reached", item->reached);
	page_row(page, "detail", item->detail);
	if (item->missed)
		page_row(page, "note", "nobody was told while it lasted: this message tells both");
	if (item->unwatched)
		page_row(page, "note", "the target is no longer in the configuration");
	if (item->event == EVENT_TEST)
		page_row(page, "note", "this is a test: nothing is wrong");
}

static void add_labels(struct str *out, const struct message_item *item)
{
	for (size_t i = 0; i < item->label_count; i++)
		str_addf(out, "%s%s=%s", i > 0 ? ", " : "", item->labels[i].name, item->labels[i].value);
}

/* What the configuration says of the target. */
static void render_target(struct page *page, const struct message_item *item)
{
	AUTO(str) struct str labels = { 0 };

	add_labels(&labels, item);
	page_row(page, "description", item->description);
	page_row_link(page, "runbook", item->runbook);
	page_row(page, "group", item->group);
	page_row(page, "labels", labels.data);
	page_row(page, "location", item->location);
}

/* A name as one word of a shell, which `portbell status` takes for this name and no other. */
static void add_command(struct str *out, const char *name)
{
	static const char harmless[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@%+,=-";
	bool assignment = strchr(name, '=') != NULL; /* a bare word with = would be read as key=value */

	str_add(out, "portbell status ");
	if (name[0] == '-')
		str_add(out, "-- ");
	if (assignment)
		str_add(out, "target=");
	if (name[strspn(name, harmless)] == '\0' && !(assignment && strchr(name, ',') != NULL)) {
		str_add(out, name);
		return;
	}
	str_add_char(out, '\'');
	for (; *name != '\0'; name++) {
		if (*name == '\'')
			str_add(out, "'\\''");
		else if (*name == ',' && assignment)
			str_add_char(out, '?'); /* a comma would end the value */
		else
			str_add_char(out, *name);
	}
	str_add_char(out, '\'');
}

static void render_command(struct page *page, const struct message_item *item)
{
	AUTO(str) struct str command = { 0 };

	if (item->event == EVENT_TEST || item->unwatched)
		return;
	if (item->check == CHECK_SELF)
		str_add(&command, "portbell status");
	else
		add_command(&command, item->target);
	page_row_open(page, "look again");
	page_tag(page, "<code>");
	page_put(page, command.data);
	page_tag(page, "</code>");
	page_row_close(page);
}

static const char *probe_mark(const struct message_probe *probe)
{
	if (probe->reason == REASON_OK)
		return "+";
	return reason_is_ours(probe->reason) ? "?" : "x";
}

static void render_probe(struct page *page, const struct message_probe *probe)
{
	AUTO(str) struct str when = { 0 };
	AUTO(str) struct str what = { 0 };

	add_local_time(&when, probe->at_unix_us, "%H:%M:%S");
	str_addf(&what, "%s %s", probe_mark(probe), reason_name(probe->reason));
	if (probe->total_us >= 0) {
		str_add(&what, ", ");
		str_add_duration(&what, probe->total_us);
	}
	page_row(page, when.data, what.data);
}

static void render_probes(struct page *page, const struct message_item *item)
{
	AUTO(str) struct str heading = { 0 };

	if (item->probe_count == 0)
		return;
	str_add(&heading, "Last probes ");
	for (size_t i = 0; i < item->probe_count; i++)
		str_add(&heading, probe_mark(&item->probes[i]));
	page_table(page, heading.data);
	for (size_t i = 0; i < item->probe_count; i++)
		render_probe(page, &item->probes[i]);
	page_table_end(page);
}

static void render_certificate(struct page *page, const struct message *message,
			       const struct message_certificate *certificate)
{
	AUTO(str) struct str from = { 0 };
	AUTO(str) struct str until = { 0 };
	int64_t left_s;

	if (certificate == NULL)
		return;
	left_s = message_certificate_left_s(message, certificate);
	add_local_time(&from, certificate->not_before_unix_s * US_PER_S, FULL_TIME);
	add_local_time(&until, certificate->not_after_unix_s * US_PER_S, FULL_TIME);
	str_add(&until, left_s >= 0 ? " (in " : " (");
	message_add_days(&until, left_s >= 0 ? left_s : -left_s);
	str_add(&until, left_s >= 0 ? ")" : " ago)");
	page_table(page, "Certificate");
	page_row(page, "changed", certificate->changed);
	page_row(page, "subject", certificate->subject);
	page_row(page, "issuer", certificate->issuer);
	page_row(page, "not before", from.data);
	page_row(page, "not after", until.data);
	page_row(page, "key", certificate->key);
	page_row(page, "signature", certificate->signature);
	page_row(page, "chain", certificate->chain);
	page_row(page, "tls", certificate->tls);
	page_row(page, "fingerprint", certificate->fingerprint);
	page_table_end(page);
}

static void render_item(struct page *page, const struct message *message, const struct message_item *item,
			const char *heading)
{
	AUTO(str) struct str when = { 0 };

	add_when(&when, item, message->created_unix_us);
	page_table(page, heading);
	page_row(page, "target", item->target);
	page_row(page, "address", item->address);
	page_row(page, "check", check_name(item->check));
	if (!message_item_is_news(item))
		render_level(page, item);
	page_row(page, "time", when.data);
	if (item->incident != 0)
		page_rowf(page, "incident", "#%lld", (long long)item->incident);
	render_why(page, item);
	render_target(page, item);
	render_command(page, item);
	page_table_end(page);
	render_probes(page, item);
	render_certificate(page, message, item->certificate);
}

/* One line an item; what was said and changed again within the message is there too. */
static void render_list(struct page *page, const struct message *message)
{
	page_table(page, NULL);
	for (size_t i = 0; i < message->item_count && i < LINES_MAX; i++) {
		AUTO(str) struct str line = { 0 };

		message_add_item_title(&line, message, &message->items[i]);
		str_add(&line, ", ");
		add_when(&line, &message->items[i], message->created_unix_us);
		page_line(page, "<tr><td><p style=\"margin:1px 0\">", line.data);
		page_tag(page, "</td></tr>\n");
	}
	page_table_end(page);
	if (message->item_count > LINES_MAX) {
		AUTO(string) char *more = mem_printf("and %zu more", message->item_count - LINES_MAX);

		page_line(page, "<p>", more);
	}
}

static void render(struct page *page, const struct message *message, int64_t now_unix_us)
{
	AUTO(digest) struct digest digest;

	digest_init(&digest, message);
	render_lead(page, &digest);
	render_late(page, message, now_unix_us);
	if (message->item_count == 1) {
		render_item(page, message, &message->items[0], NULL);
		return;
	}
	render_list(page, message);
	for (size_t i = 0; i < digest.shown_count && i < DETAILS_MAX; i++)
		render_item(page, message, digest.shown[i], digest.shown[i]->target);
	if (digest.shown_count > DETAILS_MAX) {
		AUTO(string) char *more = mem_printf("%zu more are not shown in full: portbell status",
						     digest.shown_count - DETAILS_MAX);

		page_line(page, "<p>", more);
	}
}

char *message_text(const struct message *message, int64_t now_unix_us)
{
	struct page page = { .format = FORMAT_TEXT };

	render(&page, message, now_unix_us);
	return str_take(&page.out);
}

char *message_html(const struct message *message, int64_t now_unix_us)
{
	struct page page = { .format = FORMAT_HTML };
	AUTO(string) char *title = message_title(message);

	str_add(&page.out, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
	add_escaped(&page.out, title);
	str_add(&page.out, "</title></head>\n<body style=\"font-family:sans-serif;font-size:14px\">\n");
	render(&page, message, now_unix_us);
	str_add(&page.out, "</body></html>\n");
	return str_take(&page.out);
}
