/* SPDX-License-Identifier: MIT */
/*
 * control - the Unix socket on which `portbell` asks: one JSON object a line, one JSON object a line back.
 *   request   {"command": "status", "match": ["group=web"]}
 *   answer    {"ok": true, "data": ...}   or   {"ok": false, "error": {"code": "not_found", "message": "..."}}
 * Who may: root, the daemon's own user, and whom the socket's mode and group (0660) let in; SO_PEERCRED tells who.
 *   commands  status {match}, probe {target}, reload, test {sender}, outbox, outbox_retry {id}, outbox_drop {id}
 * Order: a client's requests are answered one after the other.
 * Caps:  a line 4 KiB, 16 clients (the one silent longest goes), 4 MiB of answers waiting for a reader, then it is
 *        dropped (a single answer may be longer), as is one that takes nothing for 30 s. Never blocks the loop.
 * Needs: SIGPIPE ignored. The directory of the socket is made (0750) if only it is missing.
 * Owns:  a call belongs to control from the request until the one control_answer*() for it, which must come, also when
 *        the client has gone.
 */
#ifndef PORTBELL_CONTROL_H
#define PORTBELL_CONTROL_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/error.h"
#include "lib/base/match.h"

struct event_base;
struct control;
struct control_call;

/* What the commands ask of the program; each must answer its call, at once or later. */
struct control_backend {
	void (*status)(void *arg, const struct match *match, struct control_call *call);
	void (*probe)(void *arg, const char *target, struct control_call *call);
	void (*reload)(void *arg, struct control_call *call);
	void (*test)(void *arg, const char *sender, struct control_call *call);
	void (*outbox)(void *arg, struct control_call *call);
	void (*outbox_retry)(void *arg, const char *id, struct control_call *call);
	void (*outbox_drop)(void *arg, const char *id, struct control_call *call);
	void *arg;
};

/* `path` is made with mode 0660; a stale socket is replaced, one that answers is an error ("already running"). */
struct control *control_new(struct event_base *base, const char *path, const struct control_backend *backend,
			    struct error *err);
void control_free(struct control *control); /* removes the socket; NULL is fine */
void control_answer(struct control_call *call, const char *json); /* a whole JSON value: "data" */
void control_answer_error(struct control_call *call, const char *code, const char *message);
uid_t control_caller(const struct control_call *call);

#endif
