/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/config/config.h"

/* A socket can only have connected to itself where the way is this short. */
enum { SELF_RTT_US = 1000 };

/* connect */

/*
 * What connect() itself says is about us, but for a refusal and an explicit "unreachable"; what comes later has
 * come from the network, ICMP's rarer words included.
 */
static enum reason connect_reason(int error_number, bool at_once)
{
	switch (error_number) {
	case ECONNREFUSED:
		return REASON_CONNECT_REFUSED;
	case ETIMEDOUT:
		return REASON_CONNECT_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return REASON_CONNECT_RESET;
	case EHOSTUNREACH:
		return REASON_CONNECT_UNREACHABLE;
	case ENOBUFS:
	case ENOMEM:
	case EADDRNOTAVAIL:
		return REASON_LOCAL_ERROR;
	default:
		return at_once ? REASON_LOCAL_ERROR : REASON_CONNECT_UNREACHABLE;
	}
}

/* This host has no way to addresses of that kind, as one without IPv6 has not: there may be another kind. */
static bool is_no_way(int error_number)
{
	return error_number == ENETUNREACH || error_number == EADDRNOTAVAIL || error_number == EAFNOSUPPORT;
}

/* 0, or errno. Of a source only the address matters: the kernel shares its ports among all of its connections. */
static int bind_source(int fd, const struct source_config *source, uint8_t family)
{
	struct sockaddr_storage sockaddr;
	const int on = 1;
	socklen_t bytes;

	if (source->address.family == 0)
		return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, source->text, (socklen_t)strlen(source->text)) == 0 ?
			       0 :
			       errno;
	if (source->address.family != family)
		return EAFNOSUPPORT;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	bytes = address_to_sockaddr(&source->address, &sockaddr);
	return bind(fd, (const struct sockaddr *)&sockaddr, bytes) == 0 ? 0 : errno;
}

/* A socket that is connecting; else -1 and errno. */
static int connect_socket(const struct probe *probe, const struct address *address)
{
	const struct target_config *way = probe->plan->way;
	struct sockaddr_storage sockaddr;
	socklen_t bytes = address_to_sockaddr(address, &sockaddr);
	int fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int failed = 0;

	if (fd < 0)
		return -1;
	if (way != NULL && way->source.text != NULL)
		failed = bind_source(fd, &way->source, address->family);
	if (failed == 0 && (connect(fd, (const struct sockaddr *)&sockaddr, bytes) == 0 || errno == EINPROGRESS ||
			    errno == EINTR))
		return fd;
	failed = failed != 0 ? failed : errno;
	close(fd);
	errno = failed;
	return -1;
}

/* The address that was tried last did not work. */
static void attempt_tell(struct probe *probe, enum reason reason, int error_number)
{
	struct result *result = &probe->result;

	stream_trace_note(probe, "%s", reason_text(reason));
	if (!probe->plan->tell_attempts || probe->role != PROBE_ALONE ||
	    result->address_count >= RESOLVER_ADDRESSES_MAX)
		return;
	if (result->addresses == NULL)
		result->addresses = mem_array(RESOLVER_ADDRESSES_MAX, sizeof(*result->addresses));
	errno = error_number;
	result->addresses[result->address_count++] = (struct address_result){
		.address = probe->addresses[probe->address_next - 1],
		.reason = reason,
		.phase = PHASE_CONNECT,
		.total_us = clock_mono_us() - probe->attempt_started_us,
		.detail = mem_printf("%m"),
	};
}

/* True: under way. */
static bool attempt_start(struct probe *probe, const struct address *address)
{
	probe->attempt_started_us = clock_mono_us();
	probe->fd = connect_socket(probe, address);
	const int error_number = errno;

	if (probe->loop->on_trace != NULL) {
		char text[ADDRESS_TEXT_BYTES];

		address_print(address, text);
		stream_trace_note(probe, "to %s", text);
	}
	if (probe->fd >= 0) {
		probe->result.address = *address;
		return probe_watch(probe);
	}

	attempt_tell(probe, connect_reason(error_number, true), error_number);
	/* A way that is missing is the failure only if no other was tried. */
	if (!is_no_way(error_number) || probe->result.reason == REASON_OK) {
		probe_fail(probe, connect_reason(error_number, true), error_number, NULL);
		probe->result.address = *address;
	}
	return false;
}

static bool is_starved(int error_number)
{
	return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
	       error_number == ENOMEM;
}

static enum step connect_next(struct probe *probe)
{
	while (probe->address_next < probe->address_count) {
		const struct address *address = &probe->addresses[probe->address_next];
		int64_t left_us = probe->deadline_us - probe->now_us;
		int64_t sharers = (int64_t)(probe->address_count - probe->address_next);

		probe->share_until_us = probe->now_us + left_us / sharers;
		probe->address_next++;
		if (attempt_start(probe, address))
			return STEP_WAIT;
		probe_drop_socket(probe);
		if (is_starved(probe->result.error_number))
			break;
	}
	if (probe->asks_for_proxy)
		probe_blame_proxy(probe);
	return STEP_FAILED;
}

static enum step attempt_failed(struct probe *probe, enum reason reason, int error_number)
{
	probe_drop_socket(probe);
	attempt_tell(probe, reason, error_number);
	probe_fail(probe, reason, error_number, NULL);
	return connect_next(probe);
}

static int socket_error(int fd)
{
	int error_number = 0;
	socklen_t bytes = sizeof(error_number);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &bytes) != 0)
		return errno;
	return error_number != 0 ? error_number : ECONNRESET;
}

/* Where nobody listens at a port of the range that the kernel takes our own from, a socket may meet itself. */
static bool is_self(const struct probe *probe)
{
	struct sockaddr_storage sockaddr;
	socklen_t bytes = sizeof(sockaddr);
	struct address own;

	return getsockname(probe->fd, (struct sockaddr *)&sockaddr, &bytes) == 0 &&
	       address_from_sockaddr((const struct sockaddr *)&sockaddr, &own) &&
	       own.port == probe->result.address.port && address_equal(&own, &probe->result.address);
}

/* tcpi_rtt is the time from SYN to its answer as long as that is all there was, without the loop's share in it. */
static enum step attempt_done(struct probe *probe, const struct tcp_info *info)
{
	if (info->tcpi_rtt < SELF_RTT_US && is_self(probe))
		return attempt_failed(probe, REASON_CONNECT_REFUSED, ECONNREFUSED);
	probe_forgive(probe);
	stream_trace_note(probe, "connected");
	probe->connected = true;
	if (info->tcpi_rtt > 0)
		probe->result.rtt_us = info->tcpi_rtt;
	if (info->tcpi_rtt > 0 && info->tcpi_total_retrans == 0)
		probe->better_us = probe->attempt_started_us - probe->phase_started_us + info->tcpi_rtt;
	return STEP_DONE;
}

static enum step attempt_look(struct probe *probe)
{
	struct tcp_info info = { 0 };
	socklen_t bytes = sizeof(info);

	if (getsockopt(probe->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0)
		return attempt_failed(probe, REASON_LOCAL_ERROR, errno);
	switch (info.tcpi_state) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		if (probe->now_us < probe->share_until_us)
			return STEP_WAIT;
		probe->result.retransmits += info.tcpi_total_retrans;
		return attempt_failed(probe, REASON_CONNECT_TIMEOUT, ETIMEDOUT);
	case TCP_CLOSE: {
		int error_number = socket_error(probe->fd);

		probe->result.retransmits += info.tcpi_total_retrans;
		return attempt_failed(probe, connect_reason(error_number, false), error_number);
	}
	default:
		probe->connect_retransmits = info.tcpi_total_retrans;
		probe->result.retransmits += info.tcpi_total_retrans;
		return attempt_done(probe, &info);
	}
}

enum step phase_connect(struct probe *probe)
{
	return probe->fd >= 0 ? attempt_look(probe) : connect_next(probe);
}
