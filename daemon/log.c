/* SPDX-License-Identifier: MIT */
#define SD_JOURNAL_SUPPRESS_LOCATION 1 /* it would be this file, always */
#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	LINE_MAX_BYTES = 4096,  /* PIPE_BUF: what a writable pipe takes whole, without blocking */
	TEXT_MAX_BYTES = 3072,
	FIELD_MAX_BYTES = 512,
	JOURNAL_FIELDS_MAX = 9
};

static struct {
	enum log_level level;
	bool journal;
	unsigned lost; /* lines that standard error would not take */
} log_state = { .level = LOG_LEVEL_INFO };

struct level_words {
	const char *name;
	int priority; /* syslog(3) */
};

static const struct level_words levels[] = {
	[LOG_LEVEL_ERROR] = { "error", 3 },
	[LOG_LEVEL_WARNING] = { "warning", 4 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

/* systemd/portbell.catalog.in explains each of them; an id never changes and is never given again. */
static const char *const message_ids[LOG_EVENT_COUNT] = {
	[LOG_PLAIN] = NULL,
	[LOG_STARTED] = "af948ca3ff804acfa7223818f74867bc",
	[LOG_STOPPING] = "3849b864bbee44a3b83b8c3e097d5431",
	[LOG_RELOADED] = "a759b65d5c8d4906bd1fc86aa03b9251",
	[LOG_RELOAD_REFUSED] = "b2f6d40b95e047839c90114341d776e0",
	[LOG_INCIDENT_OPENED] = "3899c20ad875401291c5e243b4feffed",
	[LOG_INCIDENT_CHANGED] = "a8d753df8cdd4fe29b7a0852bf51a3f2",
	[LOG_INCIDENT_ENDED] = "45b1df138a434a3581f55e29365dc622",
	[LOG_DELIVERY_FAILED] = "81a8fba9d59443cfb442320ad35286c1",
	[LOG_DEAD_LETTER] = "9fee7027f0bf4acba2c47aad35d430f8",
	[LOG_STORE_FAILED] = "68aa8b6814a14d29b421550b98052a52",
	[LOG_STATE_MOVED_ASIDE] = "c214f88be3324c3daaf9562bdd02c7ce",
};

struct event_record {
	enum log_level level;
	enum log_event event;
	const struct log_fields *fields; /* NULL: none */
	const char *text;
};

void log_open(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	uintmax_t device;
	uintmax_t inode;

	log_state.journal = stream != NULL && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 &&
			    fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
	log_state.level = LOG_LEVEL_INFO;
	log_state.lost = 0;
}

void log_set_level(enum log_level level)
{
	log_state.level = level;
}

const char *log_event_id(enum log_event event)
{
	assert(event < LOG_EVENT_COUNT);
	return message_ids[event];
}

static void add_field(struct str *iov_text, struct iovec *iov, size_t *count, const char *name, const char *value,
		      size_t max_bytes)
{
	struct str *text = &iov_text[*count];

	if (value == NULL)
		return;
	str_addf(text, "%s=", name);
	str_add_clean(text, value, strlen(value), max_bytes);
	iov[*count] = (struct iovec){ .iov_base = text->data, .iov_len = text->bytes };
	(*count)++;
}

static bool write_journal(const struct event_record *record)
{
	const struct log_fields *fields = record->fields;
	struct str texts[JOURNAL_FIELDS_MAX] = { { 0 } };
	struct iovec iov[JOURNAL_FIELDS_MAX];
	char priority[] = { (char)('0' + levels[record->level].priority), '\0' };
	char incident[24];
	size_t count = 0;
	bool sent;

	add_field(texts, iov, &count, "MESSAGE", record->text, TEXT_MAX_BYTES);
	add_field(texts, iov, &count, "PRIORITY", priority, sizeof(priority));
	add_field(texts, iov, &count, "SYSLOG_IDENTIFIER", "portbelld", FIELD_MAX_BYTES);
	add_field(texts, iov, &count, "MESSAGE_ID", message_ids[record->event], FIELD_MAX_BYTES);
	if (fields != NULL) {
		add_field(texts, iov, &count, "PORTBELL_TARGET", fields->target, FIELD_MAX_BYTES);
		add_field(texts, iov, &count, "PORTBELL_CHECK", fields->check, FIELD_MAX_BYTES);
		add_field(texts, iov, &count, "PORTBELL_LEVEL", fields->level, FIELD_MAX_BYTES);
		add_field(texts, iov, &count, "PORTBELL_REASON", fields->reason, FIELD_MAX_BYTES);
		snprintf(incident, sizeof(incident), "%" PRId64, fields->incident);
		add_field(texts, iov, &count, "PORTBELL_INCIDENT", fields->incident != 0 ? incident : NULL,
			  FIELD_MAX_BYTES);
	}
	sent = sd_journal_sendv(iov, (int)count) == 0;
	for (size_t i = 0; i < count; i++)
		str_done(&texts[i]);
	return sent;
}

/* Of what is left after cleaning, only the quote and the backslash can end or bend a quoted value. */
static void add_quoted(struct str *line, const char *clean)
{
	str_add_char(line, '"');
	for (const char *c = clean; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			str_add_char(line, '\\');
		str_add_char(line, *c);
	}
	str_add_char(line, '"');
}

static void add_pair(struct str *line, const char *key, const char *value, size_t max_bytes, bool quote)
{
	AUTO(string) char *clean = NULL;

	if (value == NULL)
		return;
	clean = str_clean(value, strlen(value), max_bytes);
	str_addf(line, "%s%s=", line->bytes > 0 ? " " : "", key);
	if (quote || clean[0] == '\0' || strpbrk(clean, " \"=\\") != NULL)
		add_quoted(line, clean);
	else
		str_add(line, clean);
}

static void add_time(struct str *line, int64_t unix_us)
{
	int64_t ms = unix_us / US_PER_MS;
	AUTO(str) struct str seconds = { 0 };

	/* Always with milliseconds, so that lines sort and columns stand. */
	str_add_time(&seconds, ms / MS_PER_S * US_PER_S);
	str_addf(line, "time=%.*s.%03dZ", (int)seconds.bytes - 1, seconds.data, (int)(ms % MS_PER_S));
}

static void build_line(struct str *line, const struct event_record *record, size_t text_max)
{
	const struct log_fields *fields = record->fields;
	size_t field_max = text_max < FIELD_MAX_BYTES ? text_max : FIELD_MAX_BYTES;

	str_clear(line);
	add_time(line, clock_unix_us());
	add_pair(line, "level", levels[record->level].name, FIELD_MAX_BYTES, false);
	add_pair(line, "msg", record->text, text_max, true);
	if (fields != NULL) {
		add_pair(line, "target", fields->target, field_max, false);
		add_pair(line, "check", fields->check, field_max, false);
		/* `level` is the line's own already. */
		add_pair(line, "check_level", fields->level, field_max, false);
		add_pair(line, "reason", fields->reason, field_max, false);
		if (fields->incident != 0)
			str_addf(line, " incident=%" PRId64, fields->incident);
	}
	str_add_char(line, '\n');
}

/* A stopped terminal or a pipe that nobody reads must not stop the loop: such a line is lost, and counted. */
static bool write_line(const struct str *line)
{
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t written;

	if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
		return false;
	do
		written = write(STDERR_FILENO, line->data, line->bytes);
	while (written < 0 && errno == EINTR);
	return written == (ssize_t)line->bytes;
}

static void write_stderr(const struct event_record *record)
{
	AUTO(str) struct str line = { 0 };

	/* Cleaning and quoting make text longer by what it holds; what is too long is tried again with less of it. */
	for (size_t text_max = TEXT_MAX_BYTES; text_max >= 16; text_max /= 2) {
		build_line(&line, record, text_max);
		if (line.bytes <= LINE_MAX_BYTES)
			break;
	}
	if (!write_line(&line))
		log_state.lost++;
}

static void tell_what_was_lost(void)
{
	unsigned lost = log_state.lost;
	AUTO(string) char *text = NULL;
	struct event_record record = { .level = LOG_LEVEL_WARNING, .event = LOG_PLAIN };

	if (lost == 0)
		return;
	text = mem_printf("%u lines of this log were lost: standard error was not read", lost);
	record.text = text;
	write_stderr(&record);
	if (log_state.lost == lost)
		log_state.lost = 0;
	else
		log_state.lost = lost;
}

void log_write(enum log_level level, enum log_event event, const struct log_fields *fields,
	       const char *format, ...)
{
	AUTO(str) struct str text = { 0 };
	struct event_record record = { .level = level, .event = event, .fields = fields };
	int saved_errno = errno;
	va_list args;

	assert(event < LOG_EVENT_COUNT);
	if (level > log_state.level)
		return;
	va_start(args, format);
	str_vaddf(&text, format, args);
	va_end(args);
	record.text = text.data != NULL ? text.data : "";
	if (!log_state.journal || !write_journal(&record)) {
		tell_what_was_lost();
		write_stderr(&record);
	}
	errno = saved_errno;
}
