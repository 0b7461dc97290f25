/* SPDX-License-Identifier: MIT */
/*
 * set - from a node to a field: the setters that the rows of the schema name. Each gets a good node (or the
 * default), reports what is wrong with it, and leaves the field alone then. done_...() frees what its setter made.
 */
#ifndef PORTBELL_CONFIG_SET_H
#define PORTBELL_CONFIG_SET_H

#include "lib/config/schema.h"

set_fn set_text, set_switch, set_count, set_duration, set_word, set_list, set_path, set_trust, set_secret;
set_fn set_name, set_address, set_labels, set_send_to, set_target_send_to, set_expiry, set_phase,
	set_scope, set_level, set_all_addresses, set_need, set_reasons, set_starttls, set_exchange;
set_fn set_addresses, set_source, set_proxy, set_proxy_protocol;
set_fn set_ciphers, set_require, set_pins, set_certificate_file, set_key_file, set_pattern;
set_fn set_match, set_group_by;
set_fn set_rate, set_mail_server, set_method, set_headers, set_signing_secret;
set_fn set_workers;

done_fn done_text, done_list, done_secret, done_address, done_labels, done_match, done_group_by, done_headers;
done_fn done_signing_secret, done_require, done_pins;
done_fn done_addresses, done_source, done_proxy;

/* For the setters of other files. NULL or -1: it was reported. */
const char *set_checked_text(const struct spot *spot, struct node *node, const struct path *path);
int set_word_index(const struct spot *spot, struct node *node, const char *text); /* in the row's words */
/* "internal-ca.pem" in /etc/portbell/portbell.yaml is /etc/portbell/internal-ca.pem. The caller frees. */
char *set_resolve(const struct node *node);

#endif
