/* SPDX-License-Identifier: MIT */
/*
 * app - the whole program: builds the modules, connects them, applies a new configuration. Main thread only.
 */
#ifndef PORTBELL_APP_H
#define PORTBELL_APP_H

#include <stdbool.h>

#include "lib/base/error.h"
#include "lib/config/config.h"

struct app;

/* Starts everything but the loop; takes `config`, which was loaded from config->file. Mistakes in the files that it
 * names go to the report (NULL is returned and err says that there are some). */
struct app *app_new(struct config *config, struct report *report, struct error *err);
/* Runs until SIGTERM or SIGINT, then stops in order, within 5 s. */
void app_run(struct app *app);
void app_free(struct app *app); /* NULL is fine */

#endif
