/* SPDX-License-Identifier: MIT */
/*
 * probe_nagios - one probe as the one line of a monitoring plugin (Monitoring Plugins Development Guidelines,
 * "Plugin Output for Nagios" and "Performance data"):
 *     STATUS - text | 'label'=value[UOM];[warn];[crit];[min];[max] ...
 * Pure. Text has no pipe character and no line end, whatever the peer said.
 */
#ifndef PORTBELL_CLI_PROBE_NAGIOS_H
#define PORTBELL_CLI_PROBE_NAGIOS_H

#include "lib/base/json.h"
#include "lib/base/str.h"

void probe_nagios(struct str *out, const struct json *probe); /* without the line end */
/* There is no probe: `text` says why. */
void probe_nagios_unknown(struct str *out, const char *text);

#endif
