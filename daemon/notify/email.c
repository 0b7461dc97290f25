/* SPDX-License-Identifier: MIT */
/* The `email` sender: one mail a message, text and HTML, by SMTP. */
#include <stdlib.h>
#include <string.h>

#include "daemon/notify/sender_private.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/proto/mime.h"

enum { OUR_HEADERS_MAX = 8, INCIDENTS_SHOWN_MAX = 50 };

/* Our host name as a domain, whatever the system calls us: ids and List-Id must be well-formed. */
static char *domain_of(const char *host_name)
{
	struct str domain = { 0 };

	for (const char *c = host_name != NULL ? host_name : ""; *c != '\0'; c++) {
		bool fits = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') ||
			    *c == '-' || (*c == '.' && c != host_name && c[-1] != '.' && c[1] != '\0');

		str_add_char(&domain, fits ? *c : '-');
	}
	if (domain.bytes == 0)
		str_add(&domain, "localhost");
	return str_take(&domain);
}

struct headers {
	struct mime_header all[OUR_HEADERS_MAX];
	size_t count;
	struct str list_id;
	struct str incidents;
	struct str targets;
};

static void headers_auto(struct headers *headers)
{
	str_done(&headers->list_id);
	str_done(&headers->incidents);
	str_done(&headers->targets);
}

static void headers_add(struct headers *headers, const char *name, const char *value)
{
	headers->all[headers->count++] = (struct mime_header){ name, value };
}

/* Of a digest: all targets, up to a number, and the check where all share it. */
static void add_item_headers(struct headers *headers, const struct message *message)
{
	const struct message_item *first = &message->items[0];
	bool same_check = true;
	size_t shown = 0, named = 0;

	for (size_t i = 0; i < message->item_count; i++) {
		const struct message_item *item = &message->items[i];

		/* Several incidents of one target stand together. */
		if ((i == 0 || !str_equal(item->target, item[-1].target)) && named++ < INCIDENTS_SHOWN_MAX)
			str_addf(&headers->targets, "%s%s", named > 1 ? ", " : "", item->target);
		same_check = same_check && item->check == first->check;
		if (item->incident != 0 && shown++ < INCIDENTS_SHOWN_MAX)
			str_addf(&headers->incidents, "%s%lld", shown > 1 ? " " : "", (long long)item->incident);
	}
	headers_add(headers, "X-Portbell-Target", headers->targets.data);
	if (same_check)
		headers_add(headers, "X-Portbell-Check", check_name(first->check));
	headers_add(headers, "X-Portbell-Level", level_name(message_level(message)));
	if (headers->incidents.data != NULL)
		headers_add(headers, "X-Portbell-Incident", headers->incidents.data);
}

static void add_headers(struct headers *headers, const struct message *message, const char *domain)
{
	headers_add(headers, "Auto-Submitted", "auto-generated");    /* RFC 3834: no vacation answers */
	headers_add(headers, "X-Auto-Response-Suppress", "All");     /* the same for Exchange */
	str_addf(&headers->list_id, "<alerts.portbell.%s>", domain); /* RFC 2919 */
	headers_add(headers, "List-Id", headers->list_id.data);
	add_item_headers(headers, message);
}

/* The whole mail; only `now` can make two tries differ, and only by the line that says how late it is. */
static void build_mail(struct str *mail, const struct delivery *delivery)
{
	const struct message *message = delivery->message;
	const struct email_config *email = &delivery->config->as.email;
	AUTO(string) char *domain = domain_of(delivery->world->host_name);
	AUTO(string) char *id = mem_printf("%s@%s", message->id, domain);
	AUTO(string) char *thread = mem_printf("%s@%s", message->thread != NULL ? message->thread : "", domain);
	AUTO(string) char *title = message_title(message);
	AUTO(string) char *text = message_text(message, delivery->now_unix_us);
	AUTO(string) char *html = message_html(message, delivery->now_unix_us);
	AUTO(headers) struct headers headers = { .count = 0 };

	add_headers(&headers, message, domain);
	const struct mime_message parts = {
		.date_unix_s = message->created_unix_us / US_PER_S,
		.id = id,
		.from = email->from,
		.to = (const char *const *)email->to,
		.to_count = email->to_count,
		.subject = title,
		.references = (const char *const *)&thread,
		.reference_count = message->thread != NULL ? 1 : 0,
		.headers = headers.all,
		.header_count = headers.count,
		.text = text,
		.html = html,
	};

	mime_add_message(mail, &parts);
}

static enum mail_tls tls_of(const struct email_config *email)
{
	if (email->implicit_tls)
		return MAIL_TLS_IMPLICIT;
	switch (email->starttls) {
	case MAIL_STARTTLS_REQUIRED:
		return MAIL_TLS_REQUIRED;
	case MAIL_STARTTLS_OPTIONAL:
		return MAIL_TLS_IF_OFFERED;
	case MAIL_STARTTLS_OFF:
		return MAIL_TLS_NONE;
	}
	return MAIL_TLS_REQUIRED;
}

/* As written where there is no bare address in it: the server will say what it thinks of it. */
static char *envelope_address(const char *text)
{
	char *bare = mime_bare_address(text);

	return bare != NULL ? bare : mem_strdup(text);
}

static char **envelope_to(const struct email_config *email)
{
	char **to = mem_array(email->to_count, sizeof(*to));

	for (size_t i = 0; i < email->to_count; i++)
		to[i] = envelope_address(email->to[i]);
	return to;
}

static struct transfer *email_send(struct delivery *delivery, const struct address *addresses, size_t count)
{
	const struct email_config *email = &delivery->config->as.email;
	AUTO(str) struct str mail = { 0 };
	AUTO(string) char *from = envelope_address(email->from);
	AUTO(string) char *ehlo = domain_of(delivery->world->host_name);
	char **to = envelope_to(email);
	struct transfer *transfer;

	build_mail(&mail, delivery);
	struct mail_request request = {
		.host = email->host,
		.port = email->port,
		.tls = tls_of(email),
		.ehlo = ehlo,
		.username = email->username,
		.password = email->password,
		.envelope_from = from,
		.envelope_to = (const char *const *)to,
		.envelope_to_count = email->to_count,
		.data = mail.data,
		.data_bytes = mail.bytes,
		.addresses = addresses,
		.address_count = count,
		.timeout_ms = delivery_left_ms(delivery),
	};
	if (delivery->trust != NULL) {
		request.ca_files = (const char *const *)delivery->trust->files;
		request.ca_file_count = delivery->trust->file_count;
	}
	transfer = transfer_start_mail(delivery->world->http, &request, delivery_on_answer, delivery);
	for (size_t i = 0; i < email->to_count; i++)
		free(to[i]);
	free(to);
	return transfer;
}

/* RFC 5321 4.2.1: 4xx asks to try again, 5xx is final. But a login that is refused (RFC 4954 section 6: 530, 534, 535,
 * 538) says nothing of the message: somebody will mend the password, and then all that waited goes out. */
static bool is_about_login(int status)
{
	return status >= 530 && status <= 539;
}

static void email_judge(const struct delivery *delivery, const struct transfer_answer *answer,
			struct delivery_outcome *outcome)
{
	(void)delivery;
	if (answer->kind == TRANSFER_ANSWERED)
		outcome->status = DELIVERY_DONE;
	else if ((answer->status >= 400 && answer->status <= 499) || is_about_login(answer->status))
		outcome->status = DELIVERY_RETRY;
	outcome->partly = answer->partly;
}

static const struct manner email_manner = { .send = email_send, .judge = email_judge };

static struct delivery *email_start(const struct sender_world *world, const struct sender_config *config,
				    const struct message *message, int64_t now_unix_us, delivery_done_fn *done,
				    void *arg)
{
	struct delivery *delivery = delivery_new(world, config, message, now_unix_us, done, arg);

	delivery_start(delivery, &email_manner, config->as.email.host, config->as.email.port);
	return delivery;
}

const struct sender sender_email = {
	.kind = SENDER_EMAIL,
	.name = "email",
	.start = email_start,
	.cancel = delivery_cancel,
};
