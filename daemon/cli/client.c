/* SPDX-License-Identifier: MIT */
#include "daemon/cli/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum { ANSWER_MAX_BYTES = 256 * 1024 * 1024, READ_BYTES = 65536 };

struct question {
	const char *path;
	int64_t timeout_ms;
	int64_t end_mono_us;
	int fd;
	struct str answer;
};

static enum client_outcome fail(const struct question *question, enum client_outcome outcome, const char *text,
				struct error *err)
{
	error_where(err, question->path, "%s", text);
	return outcome;
}

static enum client_outcome no_answer(const struct question *question, struct error *err)
{
	error_where(err, question->path, "no answer within %lld s", (long long)(question->timeout_ms / MS_PER_S));
	return CLIENT_FAILED;
}

static enum client_outcome open_socket(struct question *question, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval timeout = { .tv_sec = question->timeout_ms / MS_PER_S,
				   .tv_usec = question->timeout_ms % MS_PER_S * US_PER_MS };

	if (strlen(question->path) >= sizeof(address.sun_path))
		return fail(question, CLIENT_FAILED, "too long for a socket", err);
	memcpy(address.sun_path, question->path, strlen(question->path) + 1);
	question->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* connect() waits where the daemon's queue is full, send() where it does not read. */
	if (question->fd < 0 ||
	    setsockopt(question->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0)
		return fail(question, CLIENT_FAILED, strerror(errno), err);
	if (connect(question->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return CLIENT_ANSWERED;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
		return fail(question, CLIENT_NOT_RUNNING, strerror(errno), err);
	case EACCES:
	case EPERM:
		return fail(question, CLIENT_NO_PERMISSION, strerror(errno), err);
	case EAGAIN:
		return no_answer(question, err);
	default:
		return fail(question, CLIENT_FAILED, strerror(errno), err);
	}
}

static enum client_outcome send_request(const struct question *question, const char *request, struct error *err)
{
	AUTO(str) struct str line = { 0 };
	size_t sent = 0;

	str_addf(&line, "%s\n", request);
	while (sent < line.bytes) {
		ssize_t bytes = send(question->fd, line.data + sent, line.bytes - sent, MSG_NOSIGNAL);

		if (bytes >= 0)
			sent += (size_t)bytes;
		else if (errno == EAGAIN)
			return no_answer(question, err);
		else if (errno == EPIPE || errno == ECONNRESET)
			break; /* who turns us away may have said why */
		else if (errno != EINTR)
			return fail(question, CLIENT_FAILED, strerror(errno), err);
	}
	return CLIENT_ANSWERED;
}

static enum client_outcome wait_for_bytes(const struct question *question, struct error *err)
{
	struct pollfd ready = { .fd = question->fd, .events = POLLIN };
	int64_t left_us = question->end_mono_us - clock_mono_us();
	int count = left_us > 0 ? poll(&ready, 1, (int)(left_us / US_PER_MS) + 1) : 0;

	if (count > 0 || (count < 0 && errno == EINTR))
		return CLIENT_ANSWERED;
	return count == 0 ? no_answer(question, err) : fail(question, CLIENT_FAILED, strerror(errno), err);
}

static enum client_outcome read_answer(struct question *question, struct error *err)
{
	static const char ended[] = "the daemon closed the connection without an answer";
	char buffer[READ_BYTES];

	for (;;) {
		enum client_outcome outcome = wait_for_bytes(question, err);
		ssize_t bytes;

		if (outcome != CLIENT_ANSWERED)
			return outcome;
		bytes = recv(question->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (bytes == 0 || (bytes < 0 && errno == ECONNRESET))
			return fail(question, CLIENT_FAILED, ended, err);
		if (bytes < 0 && errno != EAGAIN && errno != EINTR)
			return fail(question, CLIENT_FAILED, strerror(errno), err);
		if (bytes < 0)
			continue;
		str_add_bytes(&question->answer, buffer, (size_t)bytes);
		if (memchr(buffer, '\n', (size_t)bytes) != NULL)
			return CLIENT_ANSWERED;
		if (question->answer.bytes > ANSWER_MAX_BYTES)
			return fail(question, CLIENT_FAILED, "the answer is too long", err);
	}
}

static enum client_outcome parse_answer(const struct question *question, struct json **answer, struct error *err)
{
	const char *end = memchr(question->answer.data, '\n', question->answer.bytes);
	struct error why;

	*answer = json_parse(question->answer.data, (size_t)(end - question->answer.data), &why);
	if (*answer != NULL)
		return CLIENT_ANSWERED;
	error_where(err, question->path, "not an answer of portbelld: %s", why.text);
	return CLIENT_FAILED;
}

enum client_outcome client_ask(const char *socket_path, const char *request, int64_t timeout_ms,
			       struct json **answer, struct error *err)
{
	struct question question = { .path = socket_path, .timeout_ms = timeout_ms, .fd = -1,
				     .end_mono_us = clock_mono_us() + timeout_ms * US_PER_MS };
	enum client_outcome outcome;

	*answer = NULL;
	outcome = open_socket(&question, err);
	if (outcome == CLIENT_ANSWERED)
		outcome = send_request(&question, request, err);
	if (outcome == CLIENT_ANSWERED)
		outcome = read_answer(&question, err);
	if (outcome == CLIENT_ANSWERED)
		outcome = parse_answer(&question, answer, err);
	if (question.fd >= 0)
		close(question.fd);
	str_done(&question.answer);
	return outcome;
}
