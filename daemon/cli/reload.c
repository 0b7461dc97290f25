/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "daemon/cli/cli_private.h"

static void print_difference(const struct cli *cli, const struct json *data)
{
	const struct json *notes = json_get(data, "notes");

	for (size_t i = 0; i < json_size(notes); i++)
		if (json_text(json_at(notes, i)) != NULL && !cli_given(cli, CLI_OPTION_QUIET))
			cli_print_lines(cli->io->err, json_text(json_at(notes, i)));
	fprintf(cli->out,
		"reloaded, generation %" PRId64 ": %" PRId64 " added, %" PRId64 " changed, %" PRId64 " removed, %" PRId64
		" unchanged\n",
		json_get_int(data, "generation", 0), json_get_int(data, "added", 0), json_get_int(data, "changed", 0),
		json_get_int(data, "removed", 0), json_get_int(data, "unchanged", 0));
}

enum cli_exit cli_reload(const struct cli *cli)
{
	struct json *answer = NULL;
	const struct json *data = NULL;
	enum cli_exit result = cli_ask(cli, "{\"command\":\"reload\"}", CLI_SLOW_ANSWER_MS, &answer, &data);

	if (result == CLI_FINE && cli_given(cli, CLI_OPTION_JSON))
		cli_print_json(cli, data);
	else if (result == CLI_FINE)
		print_difference(cli, data);
	json_free(answer);
	return result;
}
