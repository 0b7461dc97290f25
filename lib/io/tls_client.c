/* SPDX-License-Identifier: MIT */
/* Our own certificate and its key, for servers that ask who we are. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "lib/base/mem.h"
#include "lib/io/cert.h"
#include "lib/io/tls_private.h"

enum { FILE_BYTES_MAX = 1 << 20 };

struct tls_client {
	X509 *x509;
	STACK_OF(X509) *others; /* between it and a root */
	EVP_PKEY *key;
};

/* A file that may hold a key: wiped when it goes. */
struct file {
	char *data;
	size_t bytes;
};

static void file_auto(struct file *file)
{
	if (file->data != NULL)
		explicit_bzero(file->data, file->bytes);
	free(file->data);
}

static bool read_all(int fd, struct file *file)
{
	size_t wanted = file->bytes;

	file->data = mem_alloc(wanted + 1);
	file->bytes = 0;
	while (file->bytes < wanted) {
		ssize_t got = read(fd, file->data + file->bytes, wanted - file->bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0)
			break;
		file->bytes += (size_t)got;
	}
	return true;
}

static bool read_file(const char *name, struct file *file, struct error *err)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	bool good;

	if (fd < 0 || fstat(fd, &status) != 0) {
		error_where(err, name, "%m");
		if (fd >= 0)
			close(fd);
		return false;
	}
	file->bytes = S_ISREG(status.st_mode) && status.st_size <= FILE_BYTES_MAX ? (size_t)status.st_size : 0;
	good = file->bytes > 0 ? read_all(fd, file) || error_where(err, name, "%m") :
				 error_where(err, name, "is no file of 1 byte to 1 MiB");
	close(fd);
	return good;
}

/* Without a password OpenSSL would ask on the terminal. */
static int give_password(char *buffer, int capacity, int writing, void *arg)
{
	const char *password = arg;

	(void)writing;
	if (password == NULL || strlen(password) > (size_t)capacity)
		return -1;
	memcpy(buffer, password, strlen(password));
	return (int)strlen(password);
}

static bool read_certificates(struct tls_client *client, const char *name, const struct file *file,
			      struct error *err)
{
	BIO *bio = BIO_new_mem_buf(file->data, (int)file->bytes);
	X509 *x509;

	client->others = sk_X509_new_null();
	while (bio != NULL && client->others != NULL &&
	       (x509 = PEM_read_bio_X509(bio, NULL, give_password, NULL)) != NULL) {
		if (client->x509 == NULL)
			client->x509 = x509;
		else if (sk_X509_push(client->others, x509) <= 0)
			X509_free(x509);
	}
	BIO_free(bio);
	if (client->x509 == NULL)
		return error_where(err, name, "holds no certificate in PEM form: %s", tls_library_words());
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return error_where(err, name, "cannot be read as PEM: %s", tls_library_words());
	ERR_clear_error();
	return true;
}

static bool read_key(struct tls_client *client, const char *name, const struct file *file, const char *password,
		     struct error *err)
{
	BIO *bio = BIO_new_mem_buf(file->data, (int)file->bytes);
	const bool encrypted = memmem(file->data, file->bytes, "ENCRYPTED", strlen("ENCRYPTED")) != NULL;

	client->key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, give_password, (void *)password) : NULL;
	BIO_free(bio);
	if (client->key == NULL && encrypted && password == NULL)
		return error_where(err, name, "the key is encrypted: client_key_password_file is missing");
	if (client->key == NULL && encrypted)
		return error_where(err, name, "the key cannot be decrypted: another password?");
	if (client->key == NULL)
		return error_where(err, name, "holds no key in PEM form: %s", tls_library_words());
	return X509_check_private_key(client->x509, client->key) == 1 ||
	       error_where(err, name, "the key is not that of the certificate");
}

static bool client_read(struct tls_client *client, const char *certificate_file, const char *key_file,
			const char *password, struct error *err)
{
	__attribute__((cleanup(file_auto))) struct file certificates = { NULL, 0 };
	__attribute__((cleanup(file_auto))) struct file key = { NULL, 0 };

	return read_file(certificate_file, &certificates, err) &&
	       read_certificates(client, certificate_file, &certificates, err) && read_file(key_file, &key, err) &&
	       read_key(client, key_file, &key, password, err);
}

struct tls_client *tls_client_new(const char *certificate_file, const char *key_file, const char *password,
				  struct error *err)
{
	struct tls_client *client = mem_new(struct tls_client);

	ERR_clear_error();
	if (!client_read(client, certificate_file, key_file, password, err))
		tls_client_free(TAKE(client));
	ERR_clear_error();
	return client;
}

void tls_client_free(struct tls_client *client)
{
	if (client == NULL)
		return;
	X509_free(client->x509);
	sk_X509_pop_free(client->others, X509_free);
	EVP_PKEY_free(client->key);
	free(client);
}

void tls_client_validity(const struct tls_client *client, int64_t *not_before_unix_s, int64_t *not_after_unix_s)
{
	*not_before_unix_s = cert_not_before_unix_s(client->x509);
	*not_after_unix_s = cert_not_after_unix_s(client->x509);
}

bool tls_client_use(const struct tls_client *client, SSL_CTX *ctx)
{
	return SSL_CTX_use_cert_and_key(ctx, client->x509, client->key, client->others, 1) == 1;
}
