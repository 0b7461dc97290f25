/* SPDX-License-Identifier: MIT */
/*
 * view_probe - one probe, judged by itself, as JSON: what `portbell probe` prints, and what its page is drawn
 * from. Judged by the rules of the target, as the daemon does, but for what needs several probes: the numbers in a
 * row are 1.
 * Pure. Owns: nothing; all is lent.
 */
#ifndef PORTBELL_VIEW_PROBE_H
#define PORTBELL_VIEW_PROBE_H

#include <stdint.h>

#include "lib/base/json.h"
#include "lib/config/config.h"
#include "lib/eval/evaluator.h"
#include "lib/eval/result.h"

struct probed {
	const struct target_config *config;
	const struct result *result;
	const struct tls_facts *facts; /* of this handshake; NULL: there was none */
	struct verdict checks[CHECK_COUNT];
	enum check worst;
	int64_t now_unix_us;
};

void probed_judge(struct probed *probed, const struct target_config *config, const struct result *result,
		  const struct tls_facts *facts, int64_t now_unix_us);
void view_probe(struct json_writer *w, const struct probed *probed);

#endif
