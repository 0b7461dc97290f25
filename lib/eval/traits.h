/* SPDX-License-Identifier: MIT */
/*
 * traits - what people notice when another certificate takes a certificate's place: issuer, strength, names, age.
 * Pure.
 * Owns: struct traits owns its strings; traits_free().
 */
#ifndef PORTBELL_EVAL_TRAITS_H
#define PORTBELL_EVAL_TRAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/rules.h"
#include "lib/base/str.h"
#include "lib/eval/result.h"

struct traits {
	char *issuer;
	int strength_bits;       /* 0: not known */
	int64_t not_before_unix_s;
	char **names;            /* "DNS:shop.example.com"; without any the subject */
	size_t name_count;
	bool cut;                /* it has more names than are here: none can be missed */
};

struct traits *traits_new(const struct certificate_facts *leaf);
void traits_free(struct traits *traits); /* NULL is fine */
/*
 * `now` beside all that are known (NULL entries are of none): what is so against each of them is said in `story`
 * ("another issuer, a name lost") and at length in `explanation`. False: nothing that changes.unusual tells.
 */
bool traits_compare(const struct traits *const *known, size_t count, const struct traits *now, struct str *story,
		    struct str *explanation);

#endif
