/* SPDX-License-Identifier: MIT */
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cli/cli.h"
#include "daemon/loader.h"

/* PORTBELL_VERSION and PORTBELL_CONFIG_FILE come from the build. */
static const char system_socket[] = "/run/portbell/control.sock";

static const char *environment_variable(const char *name, void *arg)
{
	(void)arg;
	return getenv(name);
}

int main(int argc, char **argv)
{
	struct cli_io io = {
		.out = stdout, .err = stderr, .terminal = isatty(STDOUT_FILENO) == 1,
		.variable = environment_variable, .version = PORTBELL_VERSION,
		.config_file = PORTBELL_CONFIG_FILE, .socket = system_socket, .check_files = loader_check_files,
	};

	io.utf8 = setlocale(LC_CTYPE, "") != NULL && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	return (int)cli_main(&io, argc, argv);
}
