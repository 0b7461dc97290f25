/* SPDX-License-Identifier: MIT */
/*
 * tls_world - a root, an intermediate, a context that trusts the root, and servers at the other end of a socket
 * pair: handshakes without a network and without a second thread.
 */
#ifndef PORTBELL_TESTS_TLS_WORLD_H
#define PORTBELL_TESTS_TLS_WORLD_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/base/mem.h"
#include "lib/io/tls.h"
#include "tests/make_cert.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(*(table)))

enum { TURNS_MAX = 1000000 };

static const int64_t noon = INT64_C(1795435200); /* 2026-11-23 */
static const int64_t day = 86400;

AUTO_DEFINE(facts, struct tls_facts *, tls_facts_free)

/* What all tests share: a root, an intermediate, the file that holds the root. */
struct world {
	char directory[64];
	char root_file[96];
	struct made root;
	struct made between;
	struct made stranger; /* a root nobody trusts */
	struct tls_domain *domain;
	struct tls_trust *trust;
	struct tls_context *context;
};

static inline struct made make_ca(const char *cn, const struct made *issuer, int64_t not_after_unix_s)
{
	return make_cert(&(struct cert_plan){ .cn = cn, .issuer = issuer, .ca = true,
					      .not_before_unix_s = noon - 100 * day,
					      .not_after_unix_s = not_after_unix_s });
}

static inline void world_init(struct world *world)
{
	const struct made *roots[] = { &world->root };
	const char *files[] = { world->root_file };
	struct error err;

	*world = (struct world){ .directory = "/tmp/check_tls.XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(world->directory));
	snprintf(world->root_file, sizeof(world->root_file), "%s/root.pem", world->directory);
	world->root = make_ca("Root", NULL, noon + 3000 * day);
	world->between = make_ca("Between", &world->root, noon + 1000 * day);
	world->stranger = make_ca("Stranger", NULL, noon + 3000 * day);
	made_write_pem(roots, 1, world->root_file);
	world->domain = tls_domain_new(&err);
	world->trust = tls_trust_new(files, 1, &err);
	ck_assert_ptr_nonnull(world->domain);
	ck_assert_msg(world->trust != NULL, "%s", err.text);
	world->context = tls_context_new(world->domain, world->trust, NULL, &err);
	ck_assert_ptr_nonnull(world->context);
}

static inline void world_auto(struct world *world)
{
	tls_context_free(world->context);
	tls_trust_free(world->trust);
	tls_domain_free(world->domain);
	made_done(&world->root);
	made_done(&world->between);
	made_done(&world->stranger);
	unlink(world->root_file);
	rmdir(world->directory);
}

static inline struct made make_leaf(const struct made *issuer, const char *sans)
{
	return make_cert(&(struct cert_plan){ .cn = "leaf", .issuer = issuer, .sans = sans,
					      .not_before_unix_s = noon - 10 * day,
					      .not_after_unix_s = noon + 80 * day });
}

/* A server at the other end of a socket pair, moved on by hand. */
struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
	int near; /* the client's end */
	int far;
};

static inline void pair_open(int pair[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

/* Shown in order: the leaf first; NULL entries are left out. */
static inline void peer_init(struct peer *peer, const struct made *leaf, const struct made *const *others,
			     size_t count)
{
	int pair[2];

	pair_open(pair);
	peer->near = pair[0];
	peer->far = pair[1];
	peer->ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_security_level(peer->ctx, 0);
	SSL_CTX_set_min_proto_version(peer->ctx, TLS1_VERSION);
	SSL_CTX_set_max_cert_list(peer->ctx, 1 << 24);
	ck_assert_int_eq(SSL_CTX_use_certificate(peer->ctx, leaf->x509), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(peer->ctx, leaf->key), 1);
	/* Else OpenSSL would complete the chain by itself. */
	SSL_CTX_set_mode(peer->ctx, SSL_MODE_NO_AUTO_CHAIN);
	for (size_t i = 0; i < count; i++) {
		if (others[i] != NULL)
			ck_assert_int_eq(SSL_CTX_add1_chain_cert(peer->ctx, others[i]->x509), 1);
	}
}

static inline void peer_listen(struct peer *peer)
{
	peer->ssl = SSL_new(peer->ctx);
	SSL_set_fd(peer->ssl, peer->far);
	SSL_set_accept_state(peer->ssl);
}

static inline void peer_auto(struct peer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->ctx);
	if (peer->near >= 0)
		close(peer->near);
	if (peer->far >= 0)
		close(peer->far);
}

/* Client and server in turns until the client is through. */
static inline enum tls_step shake(struct tls_session *session, struct peer *peer, int64_t now_unix_s)
{
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		enum tls_step step = tls_session_handshake(session, now_unix_s);

		ck_assert_uint_eq(ERR_peek_error(), 0);
		if (step == TLS_STEP_DONE || step == TLS_STEP_FAILED)
			return step;
		ERR_clear_error();
		SSL_do_handshake(peer->ssl);
		ERR_clear_error();
	}
	ck_abort_msg("the handshake does not end");
	return TLS_STEP_FAILED;
}

static inline struct tls_session *session_open(struct tls_context *context, int fd, const struct tls_wish *wish)
{
	struct error err = { 0 };
	struct tls_session *session = tls_session_new(context, fd, wish, &err);

	ck_assert_msg(session != NULL, "%s", err.text);
	return session;
}

/* One handshake with a fresh server that must be done; the verdict. */
static inline struct certificate probe(struct tls_context *context, const struct made *leaf,
				       const struct made *between, const struct tls_wish *wish, int64_t now_unix_s)
{
	__attribute__((cleanup(peer_auto))) struct peer peer = { 0 };
	struct tls_session *session;
	struct certificate certificate;

	peer_init(&peer, leaf, &between, 1);
	peer_listen(&peer);
	session = session_open(context, peer.near, wish);
	ck_assert_int_eq(shake(session, &peer, now_unix_s), TLS_STEP_DONE);
	tls_session_certificate(session, &certificate);
	tls_session_goodbye(session);
	tls_session_free(session);
	ck_assert(certificate.present);
	return certificate;
}

static const struct tls_wish shop = { .server_name = "shop.example.com", .verify = VERIFY_FULL };

#endif
