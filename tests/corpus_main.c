/* SPDX-License-Identifier: MIT */
/*
 * corpus_main - what `make check` runs a fuzz target with, under any compiler: some short inputs, then each file named
 * on the command line whole, and all of its beginnings.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FILE_BYTES_MAX = 65536, BEGINNINGS_MAX = 2000 };

/* In memory of exactly its size, so that a sanitizer sees a byte read too far. */
static void run(const uint8_t *data, size_t bytes)
{
	uint8_t *exact = calloc(bytes > 0 ? bytes : 1, 1);

	if (exact == NULL)
		abort();
	memcpy(exact, data, bytes);
	LLVMFuzzerTestOneInput(exact, bytes);
	free(exact);
}

static int run_file(const char *name)
{
	static uint8_t data[FILE_BYTES_MAX];
	FILE *file = fopen(name, "rb");
	size_t bytes;
	size_t step;

	if (file == NULL) {
		perror(name);
		return 1;
	}
	bytes = fread(data, 1, sizeof(data), file);
	fclose(file);
	step = bytes / BEGINNINGS_MAX + 1;
	for (size_t i = 0; i < bytes; i += step)
		run(data, i);
	run(data, bytes);
	return 0;
}

int main(int argc, char **argv)
{
	int failures = 0;

	run((const uint8_t *)"", 0);
	for (int c = 0; c < 256; c++) {
		uint8_t data[64];

		memset(data, c, sizeof(data));
		run(data, 1);
		run(data, sizeof(data));
	}
	for (int i = 1; i < argc; i++)
		failures += run_file(argv[i]);
	printf("%d files\n", argc - 1);
	return failures != 0;
}
