/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/io/store_private.h"

/* The head of an SQLite file (sqlite.org/fileformat2.html, 1.3), numbers big-endian. */
enum {
	HEAD_BYTES = 100, HEAD_WRITE_VERSION = 18, HEAD_READ_VERSION = 19, HEAD_USER_VERSION = 60,
	HEAD_APPLICATION_ID = 68, HEAD_VERSION_MAX = 2
};

static const char head_magic[16] = "SQLite format 3";

/* What SQLite keeps beside a database. The database first: if we die between two renames, what is left shows as
 * odd at the next start, while a database without its log would look whole. */
static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
enum { SUFFIX_COUNT = sizeof(suffixes) / sizeof(suffixes[0]) };

static void sync_directory_of(const char *path)
{
	AUTO(string) char *directory = mem_strdup(path);
	char *slash = strrchr(directory, '/');
	int fd;

	if (slash == NULL)
		return;
	slash[slash == directory ? 1 : 0] = '\0';
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

static bool make_directories(char *directory, struct error *err)
{
	for (char *slash = strchr(directory + 1, '/');; slash = strchr(slash + 1, '/')) {
		bool made;

		if (slash != NULL)
			*slash = '\0';
		made = mkdir(directory, 0700) == 0;
		if (made)
			sync_directory_of(directory);
		else if (errno != EEXIST)
			return error_where(err, directory, "cannot make the directory: %s", strerror(errno));
		if (slash == NULL)
			return true;
		*slash = '/';
	}
}

char *file_resolve(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	AUTO(string) char *directory = slash == NULL ? mem_strdup(".") : mem_strndup(path, (size_t)(slash - path));
	AUTO(string) char *real = NULL;

	if (name[0] == '\0') {
		error_where(err, path, "not the name of a file");
		return NULL;
	}
	if (directory[0] != '\0' && !make_directories(directory, err))
		return NULL;
	real = realpath(directory[0] != '\0' ? directory : "/", NULL);
	if (real == NULL) {
		error_where(err, directory, "%s", strerror(errno));
		return NULL;
	}
	return mem_printf("%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
}

/* Who holds the lock wrote its process id there, for people. */
static bool lock_taken(int fd, const char *path, struct error *err)
{
	char holder[16];
	ssize_t bytes = pread(fd, holder, sizeof(holder) - 1, 0);

	holder[bytes > 0 ? bytes : 0] = '\0';
	holder[strspn(holder, "0123456789")] = '\0';
	if (holder[0] == '\0')
		return error_where(err, path, "in use by another portbelld");
	return error_where(err, path, "in use by another portbelld (process %s)", holder);
}

/* A file of its own, which stays: SQLite's locks end when any descriptor of the database is closed, and the
 * database may be renamed aside. */
int file_lock(const char *path, struct error *err)
{
	AUTO(string) char *name = mem_printf("%s.lock", path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0) {
		error_where(err, name, "cannot open: %s", strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			lock_taken(fd, path, err);
		else
			error_where(err, name, "cannot lock: %s", strerror(errno));
		close(fd);
		return -1;
	}
	if (ftruncate(fd, 0) == 0)
		dprintf(fd, "%ld\n", (long)getpid());
	return fd;
}

static bool has_content(const char *path, const char *suffix)
{
	AUTO(string) char *name = mem_printf("%s%s", path, suffix);
	struct stat st;

	return lstat(name, &st) == 0 && st.st_size > 0;
}

static enum file_verdict refuse(struct error *err, const char *path, const char *what)
{
	error_where(err, path, "%s: %s", what, strerror(errno));
	return FILE_REFUSED;
}

static enum file_verdict unusable(struct error *err, const char *path, const char *why)
{
	error_where(err, path, "%s", why);
	return FILE_UNUSABLE;
}

static uint32_t read_be32(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* A version that is only in the log yet is seen by database_open(). */
static enum file_verdict inspect_head(int fd, const char *path, struct error *err)
{
	unsigned char head[HEAD_BYTES];
	ssize_t bytes = pread(fd, head, sizeof(head), 0);
	uint32_t version;

	if (bytes < 0)
		return unusable(err, path, strerror(errno));
	if (bytes < HEAD_BYTES || memcmp(head, head_magic, sizeof(head_magic)) != 0)
		return unusable(err, path, "not an SQLite database");
	if (head[HEAD_WRITE_VERSION] > HEAD_VERSION_MAX || head[HEAD_READ_VERSION] > HEAD_VERSION_MAX)
		return unusable(err, path, "of an unknown SQLite version");
	version = read_be32(head + HEAD_USER_VERSION);
	if (read_be32(head + HEAD_APPLICATION_ID) == STORE_APPLICATION_ID && version > STORE_SCHEMA_VERSION) {
		error_where(err, path, "written by a newer portbell (schema %u, this one knows %d)", version,
			    STORE_SCHEMA_VERSION);
		return FILE_REFUSED;
	}
	return FILE_USABLE;
}

static enum file_verdict inspect_open(int fd, const char *path, struct error *err)
{
	enum file_verdict verdict;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return refuse(err, path, "cannot look at it");
	if (st.st_size == 0 && (has_content(path, "-wal") || has_content(path, "-journal")))
		return unusable(err, path, "empty, although its log is not");
	verdict = st.st_size == 0 ? FILE_USABLE : inspect_head(fd, path, err);
	/* SQLite makes its other files with the mode of this one. */
	if (verdict == FILE_USABLE && (st.st_mode & 0777) != 0600 && fchmod(fd, 0600) != 0)
		return refuse(err, path, "cannot set its mode");
	return verdict;
}

static enum file_verdict make_file(const char *path, struct error *err)
{
	int fd;

	if (has_content(path, "-wal") || has_content(path, "-journal"))
		return unusable(err, path, "missing, although its log is there");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return refuse(err, path, "cannot make it");
	if (fchmod(fd, 0600) != 0) {
		refuse(err, path, "cannot set its mode");
		close(fd);
		return FILE_REFUSED;
	}
	close(fd);
	sync_directory_of(path);
	return FILE_USABLE;
}

/* A symbolic link is refused rather than renamed: somebody meant it, and what it leads to is not known. */
enum file_verdict file_inspect(const char *path, struct error *err)
{
	enum file_verdict verdict;
	struct stat st;
	int fd;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? make_file(path, err) : refuse(err, path, "cannot look at it");
	if (S_ISLNK(st.st_mode)) {
		error_where(err, path, "a symbolic link, which is not followed");
		return FILE_REFUSED;
	}
	if (!S_ISREG(st.st_mode))
		return unusable(err, path, "not a file");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return refuse(err, path, "cannot open");
	verdict = inspect_open(fd, path, err);
	close(fd);
	return verdict;
}

static bool any_exists(const char *path)
{
	bool exists = false;

	for (int i = 0; i < SUFFIX_COUNT; i++) {
		AUTO(string) char *name = mem_printf("%s%s", path, suffixes[i]);
		struct stat st;

		exists |= lstat(name, &st) == 0;
	}
	return exists;
}

static char *free_name(const char *path, int64_t now_unix_us)
{
	time_t now_s = (time_t)(now_unix_us / US_PER_S);
	struct tm tm;
	char stamp[32];
	char *name;

	gmtime_r(&now_s, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	name = mem_printf("%s.aside-%s", path, stamp);
	for (int i = 2; any_exists(name); i++) {
		free(name);
		name = mem_printf("%s.aside-%s.%d", path, stamp, i);
	}
	return name;
}

bool file_move_aside(const char *path, int64_t now_unix_us, char **moved_to, struct error *err)
{
	AUTO(string) char *target = free_name(path, now_unix_us);

	for (int i = 0; i < SUFFIX_COUNT; i++) {
		AUTO(string) char *from = mem_printf("%s%s", path, suffixes[i]);
		AUTO(string) char *to = mem_printf("%s%s", target, suffixes[i]);

		if (rename(from, to) != 0 && errno != ENOENT)
			return error_where(err, from, "cannot rename it to %s: %s", to, strerror(errno));
	}
	sync_directory_of(path);
	*moved_to = TAKE(target);
	return true;
}
