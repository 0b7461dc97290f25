/* SPDX-License-Identifier: MIT */
#include "lib/eval/incident.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

void incident_done(struct incident *incident)
{
	free(incident->target);
	free(incident->address);
	free(incident->detail);
	free(incident->about);
	for (size_t i = 0; i < incident->told_count; i++) {
		free(incident->told[i].sender);
		free(incident->told[i].first_message);
	}
	free(incident->told);
	memset(incident, 0, sizeof(*incident));
}

void incident_free(struct incident *incident)
{
	if (incident == NULL)
		return;
	incident_done(incident);
	free(incident);
}

struct told *incident_told(struct incident *incident, const char *sender)
{
	for (size_t i = 0; i < incident->told_count; i++)
		if (strcmp(incident->told[i].sender, sender) == 0)
			return &incident->told[i];
	return NULL;
}

struct told *incident_tell(struct incident *incident, const char *sender, enum level level, int64_t at_unix_us)
{
	struct told *told = incident_told(incident, sender);

	if (told == NULL) {
		size_t capacity = incident->told_count;

		incident->told = mem_grow(incident->told, &capacity, incident->told_count + 1, sizeof(*told));
		told = &incident->told[incident->told_count++];
		told->sender = mem_strdup(sender);
	}
	told->level = level;
	told->at_unix_us = at_unix_us;
	return told;
}

void notice_done(struct notice *notice)
{
	free(notice->sender);
	free(notice->group_key);
	free(notice->item);
	memset(notice, 0, sizeof(*notice));
}

void notice_free(struct notice *notice)
{
	if (notice == NULL)
		return;
	notice_done(notice);
	free(notice);
}
