/* SPDX-License-Identifier: MIT */
/* Any bytes as one line to the control socket; what is taken for a request must hold together. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "daemon/control_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct control_request request;
	struct error err = { 0 };
	bool good = control_request_parse((const char *)data, bytes, &request, &err);

	assert(good ? request.command != NULL : err.text[0] != '\0');
	assert(request.argument == NULL || request.argument[0] != '\0');
	assert(memchr(err.text, '\n', strlen(err.text)) == NULL);
	control_request_done(&request);
	return 0;
}
