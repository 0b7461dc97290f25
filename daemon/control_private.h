/* SPDX-License-Identifier: MIT */
/*
 * control_private - one request line as a value: what control.c, its tests and its fuzz target share. Pure.
 */
#ifndef PORTBELL_CONTROL_PRIVATE_H
#define PORTBELL_CONTROL_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"
#include "lib/base/match.h"

enum {
	CONTROL_LINE_MAX_BYTES = 4096,                /* of a request, without its line end */
	CONTROL_CLIENTS_MAX = 16,
	CONTROL_WAITING_MAX_BYTES = 4 * 1024 * 1024,  /* of answers */
	CONTROL_STUCK_S = 30                          /* a reader that takes nothing for so long is dropped */
};

struct control_command;

struct control_request {
	const struct control_command *command;
	struct match match;  /* empty: everything */
	char *argument;      /* the sender or the id; NULL where the command takes none */
};

/* The bytes of one line, any bytes. The caller ends `request` also when it failed. */
bool control_request_parse(const char *line, size_t bytes, struct control_request *request, struct error *err);
void control_request_done(struct control_request *request);

#endif
