/* SPDX-License-Identifier: MIT */
/* portbelld - the daemon: arguments, start, run, stop. See portbelld(8). */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/app.h"
#include "daemon/loader.h"
#include "daemon/log.h"
#include "lib/base/mem.h"

enum { EXIT_USAGE = 2 };

enum mode { MODE_RUN, MODE_CHECK, MODE_PRINT };

static const char usage[] =
	"usage: portbelld [-c FILE] [--check] [--print-config] [--version] [--help]\n"
	"\n"
	"  -c, --config FILE  the configuration (default: " PORTBELL_CONFIG_FILE ")\n"
	"      --check        say whether the configuration is good, with every mistake, and exit\n"
	"      --print-config print the effective configuration with the origin of each value, and exit\n"
	"      --version      print the version and exit\n"
	"  -h, --help         print this and exit\n"
	"\n"
	"Runs in the foreground. SIGHUP reloads, SIGTERM stops, SIGUSR1 logs the state.\n";

/* Outside the unit its credentials and variables are not there: to miss one is worth a note, not a refusal. */
static bool outside_the_unit(void)
{
	return getenv("CREDENTIALS_DIRECTORY") == NULL;
}

static int check(struct config *config, struct report *report)
{
	const bool good = config != NULL && loader_check_files(config, report);

	report_print(report, stderr);
	if (good)
		printf("configuration ok: %zu targets, %zu senders\n", config->target_count, config->sender_count);
	config_free(config);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void log_notes(const struct report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		AUTO(string) char *line = problem_print(&report->problems[i]);

		log_info("%s", line);
	}
}

static int run(struct config *config, struct report *report)
{
	struct error err = { 0 };
	struct app *app = config != NULL ? app_new(config, report, &err) : NULL;
	char text[1024];

	if (app == NULL && report->mistakes > 0) {
		report_print(report, stderr);
		return EXIT_FAILURE;
	}
	if (app == NULL) {
		error_print(&err, text, sizeof(text));
		fprintf(stderr, "portbelld: %s\n", text);
		return EXIT_FAILURE;
	}
	log_notes(report);
	app_run(app);
	app_free(app);
	return EXIT_SUCCESS;
}

static int print(const char *file, struct report *report)
{
	const struct config_env env = loader_env(true);
	const bool good = config_print(file, &env, stdout, report);

	report_print(report, stderr);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'k' },
		{ "print-config", no_argument, NULL, 'p' }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
	};
	const char *file = PORTBELL_CONFIG_FILE;
	enum mode mode = MODE_RUN;
	struct report report = { 0 };
	int option, status;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			mode = MODE_CHECK;
			break;
		case 'p':
			mode = MODE_PRINT;
			break;
		case 'V':
			puts("portbelld " PORTBELL_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fputs("Try 'portbelld --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "portbelld: unexpected argument \"%s\"\nTry 'portbelld --help'.\n", argv[optind]);
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Until there is a loop that hears them. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	log_open();
	if (mode == MODE_PRINT) {
		status = print(file, &report);
	} else {
		const struct config_env env = loader_env(mode == MODE_CHECK && outside_the_unit());
		struct config *config = config_load(file, &env, &report);

		status = mode == MODE_CHECK ? check(config, &report) : run(config, &report);
	}
	report_done(&report);
	return status;
}
