/* SPDX-License-Identifier: MIT */
/*
 * client - one question to the daemon's control socket and its answer. Blocks, at most for the timeout.
 * Fails: the outcome says what kind of trouble, `err` has the words (where: the socket).
 */
#ifndef PORTBELL_CLI_CLIENT_H
#define PORTBELL_CLI_CLIENT_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/json.h"

enum client_outcome { CLIENT_ANSWERED, CLIENT_NOT_RUNNING, CLIENT_NO_PERMISSION, CLIENT_FAILED };

/* `request` is one JSON object without a line end. The caller frees *answer; NULL unless CLIENT_ANSWERED. */
enum client_outcome client_ask(const char *socket_path, const char *request, int64_t timeout_ms,
			       struct json **answer, struct error *err);

#endif
