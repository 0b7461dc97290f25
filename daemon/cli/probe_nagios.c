/* SPDX-License-Identifier: MIT */
#include "daemon/cli/probe_nagios.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/words.h"

enum { TEXT_MAX_BYTES = 400 };

static const char service[] = "TCP";

/* The pipe parts text and numbers. */
static void add_text(struct str *out, const char *text)
{
	AUTO(string) char *clean = str_clean(text, strlen(text), TEXT_MAX_BYTES);

	for (char *p = clean; (p = strchr(p, '|')) != NULL; p++)
		*p = '/';
	str_add(out, clean);
}

static void add_seconds(struct str *out, const struct json *object, const char *key)
{
	const double seconds = json_get_number(object, key, -1);

	if (seconds >= 0)
		str_addf(out, "%.6f", seconds);
}

static void add_phase(struct str *out, const struct json *probe, enum phase phase)
{
	const struct json *phases = json_get(probe, "phases");
	const struct json *latency = json_get(json_get(probe, "checks"), check_name(CHECK_LATENCY));
	const bool judged = str_equal(json_get_string(latency, "phase"), phase_name(phase));

	if (json_get_number(phases, phase_name(phase), -1) < 0)
		return;
	str_addf(out, " %s=", phase == PHASE_TOTAL ? "time" : phase_name(phase));
	add_seconds(out, phases, phase_name(phase));
	str_add(out, "s;");
	add_seconds(out, judged ? latency : NULL, "warning");
	str_add_char(out, ';');
	add_seconds(out, judged ? latency : NULL, "critical");
	str_add(out, ";0;");
	if (phase == PHASE_TOTAL)
		add_seconds(out, probe, "timeout");
}

/* "21:" alerts below 21. */
static void add_floor(struct str *out, const struct json *check, const char *key)
{
	const double days = json_get_number(check, key, -1) / (double)S_PER_DAY;

	if (days >= 0)
		str_addf(out, "%.2f:", days);
}

static void add_days(struct str *out, const struct json *probe)
{
	const struct json *leaf = json_at(json_get(probe, "certificates"), 0);
	const struct json *check = json_get(json_get(probe, "checks"), check_name(CHECK_CERTIFICATE));

	if (leaf == NULL)
		return;
	str_addf(out, " cert_days=%" PRId64 ";", json_get_int(leaf, "days_left", 0));
	add_floor(out, check, "warning");
	str_add_char(out, ';');
	add_floor(out, check, "critical");
}

static void add_story(struct str *text, const struct json *probe, enum level level)
{
	const struct json *leaf = json_at(json_get(probe, "certificates"), 0);
	const char *detail = json_get_string(probe, "detail");
	const double total = json_get_number(json_get(probe, "phases"), "total", -1);
	const char *words = json_get_string(probe, "text");

	str_addf(text, "%s ", json_get_string(probe, "target"));
	if (level != LEVEL_OK)
		str_addf(text, "%s%s%s", words != NULL ? words : "", detail != NULL ? ": " : "",
			 detail != NULL ? detail : "");
	else
		str_add(text, "ok");
	if (total >= 0) {
		str_add(text, ", ");
		str_add_duration(text, (int64_t)(total * 1e6 + 0.5));
	}
	if (leaf != NULL)
		str_addf(text, ", certificate %" PRId64 " d left", json_get_int(leaf, "days_left", 0));
}

void probe_nagios(struct str *out, const struct json *probe)
{
	enum level level = LEVEL_UNKNOWN;
	AUTO(str) struct str text = { 0 };

	level_parse(json_get_string(probe, "level"), &level);
	add_story(&text, probe, level);
	str_addf(out, "%s %s - ", service, level_shout(level));
	add_text(out, text.data);
	str_add(out, " |");
	add_phase(out, probe, PHASE_TOTAL);
	for (enum phase phase = PHASE_DNS; phase < PHASE_TOTAL; phase++)
		add_phase(out, probe, phase);
	add_days(out, probe);
}

void probe_nagios_unknown(struct str *out, const char *text)
{
	str_addf(out, "%s %s - ", service, level_shout(LEVEL_UNKNOWN));
	add_text(out, text);
}
