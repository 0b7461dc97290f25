/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/probe/probe_private.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { DETAIL_BYTES = 256 };
/* A socket can only have connected to itself where the way is this short. */
enum { SELF_RTT_US = 1000 };

/* dns */

static void on_found(const struct found *found, void *arg)
{
	struct probe *probe = arg;

	probe->lookup = NULL;
	probe->lookup_state = LOOKUP_ANSWERED;
	probe->lookup_status = found->status;
	probe->lookup_cached = found->cached;
	if (found->status == LOOKUP_OK) {
		probe->address_count = found->address_count;
		memcpy(probe->addresses, found->addresses, found->address_count * sizeof(*found->addresses));
		for (size_t i = 0; i < probe->address_count; i++)
			probe->addresses[i].port = probe->plan->port;
	} else if (found->text != NULL) {
		probe->result.detail = str_clean(found->text, strlen(found->text), DETAIL_BYTES);
	}
	probe_resume(probe);
}

void dns_ask(struct probe *probe)
{
	/* Our own deadline comes first; the lookup's is a little behind, so that both cannot race. */
	int64_t left_ms = (probe->deadline_us - probe->now_us) / US_PER_MS + 2;

	probe->lookup_state = LOOKUP_ASKED;
	probe->lookup = resolver_start(probe->loop->resolver, probe->plan->host, left_ms > 0 ? left_ms : 1,
				       on_found, probe);
}

static enum step dns_failed(struct probe *probe, enum reason reason)
{
	probe->result.reason = reason;
	return STEP_FAILED;
}

static enum step dns_answered(struct probe *probe)
{
	switch (probe->lookup_status) {
	case LOOKUP_OK:
		if (probe->address_count == 0)
			return dns_failed(probe, REASON_DNS_NOT_FOUND);
		return probe->lookup_cached ? STEP_SKIPPED : STEP_DONE;
	case LOOKUP_NOT_FOUND:
		return dns_failed(probe, REASON_DNS_NOT_FOUND);
	case LOOKUP_TIMEOUT:
		return dns_failed(probe, REASON_DNS_TIMEOUT);
	case LOOKUP_FAILED:
		break;
	}
	return dns_failed(probe, REASON_DNS_FAILED);
}

enum step phase_dns(struct probe *probe)
{
	if (probe->role == PROBE_MEMBER)
		return STEP_SKIPPED;
	if (probe->plan->literal.family != 0) {
		probe->addresses[0] = probe->plan->literal;
		probe->address_count = 1;
		return STEP_SKIPPED;
	}
	if (probe->lookup_state == LOOKUP_NOT_ASKED)
		dns_ask(probe);
	return probe->lookup_state == LOOKUP_ANSWERED ? dns_answered(probe) : STEP_WAIT;
}

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

/* True: under way. */
static bool attempt_start(struct probe *probe, const struct address *address)
{
	struct sockaddr_storage sockaddr;
	socklen_t bytes = address_to_sockaddr(address, &sockaddr);

	probe->attempt_started_us = clock_mono_us();
	probe->fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe->fd >= 0 && (connect(probe->fd, (const struct sockaddr *)&sockaddr, bytes) == 0 ||
			       errno == EINPROGRESS || errno == EINTR)) {
		probe->result.address = *address;
		return probe_watch(probe);
	}
	/* A way that is missing is the failure only if no other was tried. */
	if (!is_no_way(errno) || probe->result.reason == REASON_OK) {
		probe_fail(probe, connect_reason(errno, true), errno, NULL);
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
	return STEP_FAILED;
}

static enum step attempt_failed(struct probe *probe, enum reason reason, int error_number)
{
	probe_drop_socket(probe);
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
