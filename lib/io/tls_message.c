/* SPDX-License-Identifier: MIT */
/* The messages of a handshake by their names, for who reads along. */
#include <openssl/ssl.h>
#include <stdio.h>

#include "lib/io/tls_private.h"

enum { NAME_BYTES = 80 };

/* HandshakeType: RFC 8446 section 4, RFC 5246 section 7.4, RFC 6066 section 8. */
static const char *const handshake_names[] = {
	[0] = "HelloRequest",	    [1] = "ClientHello",	 [2] = "ServerHello",
	[4] = "NewSessionTicket",   [8] = "EncryptedExtensions", [11] = "Certificate",
	[12] = "ServerKeyExchange", [13] = "CertificateRequest", [14] = "ServerHelloDone",
	[15] = "CertificateVerify", [16] = "ClientKeyExchange",	 [20] = "Finished",
	[22] = "CertificateStatus", [24] = "KeyUpdate",
};

static void on_message(int sent, int version, int content_type, const void *data, size_t bytes, SSL *ssl,
		       void *arg)
{
	const struct tls_session *session = arg;
	const uint8_t *message = data;
	const char *known = NULL;
	char name[NAME_BYTES];

	context_on_message(sent, version, content_type, data, bytes, ssl, NULL);
	if (content_type == SSL3_RT_CHANGE_CIPHER_SPEC) {
		session->on_message(session->on_message_arg, sent != 0, "ChangeCipherSpec", bytes);
	} else if (content_type == SSL3_RT_ALERT && bytes >= 2) {
		snprintf(name, sizeof(name), "alert: %s", SSL_alert_desc_string_long(message[1]));
		session->on_message(session->on_message_arg, sent != 0, name, bytes);
	} else if (content_type == SSL3_RT_HANDSHAKE && bytes >= 1) {
		if (message[0] < sizeof(handshake_names) / sizeof(handshake_names[0]))
			known = handshake_names[message[0]];
		snprintf(name, sizeof(name), "handshake message %u", (unsigned)message[0]);
		session->on_message(session->on_message_arg, sent != 0, known != NULL ? known : name, bytes);
	}
}

void tls_session_on_message(struct tls_session *session, tls_message_fn *callback, void *arg)
{
	session->on_message = callback;
	session->on_message_arg = arg;
	SSL_set_msg_callback(session->ssl, on_message);
	SSL_set_msg_callback_arg(session->ssl, session);
}
