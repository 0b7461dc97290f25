/* SPDX-License-Identifier: MIT */
/*
 * ftp (RFC 4217). AUTH TLS is asked for at once: FEAT would cost a round trip, and what it lists has many forms. A
 * reply of many lines is one as in RFC 959 4.2: anything may stand between "220-" and "220 ".
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/proto/starttls_private.h"

struct ftp {
	int code; /* of the reply whose last line has not come, or 0 */
};

void starttls_ftp_start(struct starttls_talk *starttls)
{
	starttls->own = mem_new(struct ftp);
}

/* Unknown, not implemented, not this kind (RFC 2228 5); vsftpd without TLS wants a login first (530). */
static bool is_unknown(int code)
{
	return code == 500 || code == 502 || code == 504 || code == 530;
}

static void on_reply(struct starttls_talk *starttls, int code)
{
	bool at_auth = starttls_is_at(starttls, "AUTH TLS");

	if (at_auth && is_unknown(code))
		starttls_not_offered(starttls, NULL);
	else if (code >= 400)
		starttls_refused(starttls, NULL);
	else if (at_auth && code == 234)
		starttls_go_ahead(starttls);
	else if (!at_auth && code / 100 == 2)
		starttls_say(starttls, "AUTH TLS", "AUTH TLS\r\n");
	else if (at_auth || code != 120) /* "ready in 5 minutes": wait, if we may */
		starttls_strange(starttls);
}

void starttls_ftp_line(struct starttls_talk *starttls, const char *line)
{
	struct ftp *ftp = starttls->own;
	int code = starttls_code(line);
	bool more = code != 0 && line[3] == '-';

	if (ftp->code != 0) {
		if (code != ftp->code || more)
			return;
		ftp->code = 0;
		on_reply(starttls, code);
	} else if (code < 100 || code > 599) {
		starttls_strange(starttls);
	} else if (more) {
		ftp->code = code;
	} else {
		on_reply(starttls, code);
	}
}
