/* SPDX-License-Identifier: MIT */
/*
 * alerts - a message as machines are told it: the body of Alertmanager's webhook, version 4, and an object
 * `portbell`. Pure: the same message gives the same bytes.
 * An alert's labels, and so its fingerprint, stay while the incident lives; when the severity changes, the alert
 * with the old one is resolved and one with the new one begins.
 */
#ifndef PORTBELL_NOTIFY_ALERTS_H
#define PORTBELL_NOTIFY_ALERTS_H

#include "daemon/notify/message.h"

char *alerts_body(const struct message *message); /* the caller frees */

#endif
