/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* struct ucred, accept4() */
#include "daemon/control.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control_private.h"
#include "daemon/log.h"
#include "lib/base/json.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/str.h"

enum {
	BACKLOG = 64,
	ACCEPT_PAUSE_MS = 200,
	GROUPS_MAX = 65536, /* NGROUPS_MAX of the kernel */
	MATCH_WORDS_MAX = 256,
	WORD_SHOWN_BYTES = 40
};

struct control {
	struct event_base *base;
	struct control_backend backend;
	char *path;
	dev_t device;           /* of the socket we made: another's is not ours to remove */
	ino_t inode;
	gid_t group;
	int fd;
	int reserve_fd;         /* given up for a client when descriptors have run out */
	struct event *accepting;
	struct event *pause;
	struct list clients;    /* the one silent longest first */
	size_t client_count;
};

struct client {
	struct list node;
	struct control *control;
	struct bufferevent *stream;
	struct control_call *call; /* the one that is not answered yet: answers come in the order of the requests */
	uid_t uid;
	bool reading;              /* in client_read(): what would free the client must wait */
	bool ended;                /* says no more: goes when it has got its answers */
	bool dropped;
};

struct control_call {
	struct client *client; /* NULL: has gone */
	uid_t uid;
};

struct control_command {
	const char *name;
	const char *argument; /* the one key that it takes, NULL if none */
	bool writes;
	void (*handler)(const struct control_backend *backend, const struct control_request *request,
			struct control_call *call);
};

static void handle_status(const struct control_backend *backend, const struct control_request *request,
			  struct control_call *call)
{
	backend->status(backend->arg, &request->match, call);
}

static void handle_probe(const struct control_backend *backend, const struct control_request *request,
			 struct control_call *call)
{
	backend->probe(backend->arg, request->argument, call);
}

static void handle_reload(const struct control_backend *backend, const struct control_request *request,
			  struct control_call *call)
{
	(void)request;
	backend->reload(backend->arg, call);
}

static void handle_test(const struct control_backend *backend, const struct control_request *request,
			struct control_call *call)
{
	backend->test(backend->arg, request->argument, call);
}

static void handle_outbox(const struct control_backend *backend, const struct control_request *request,
			  struct control_call *call)
{
	(void)request;
	backend->outbox(backend->arg, call);
}

static void handle_outbox_retry(const struct control_backend *backend, const struct control_request *request,
				struct control_call *call)
{
	backend->outbox_retry(backend->arg, request->argument, call);
}

static void handle_outbox_drop(const struct control_backend *backend, const struct control_request *request,
			       struct control_call *call)
{
	backend->outbox_drop(backend->arg, request->argument, call);
}

static const struct control_command commands[] = {
	{ "status", "match", false, handle_status },
	{ "probe", "target", true, handle_probe },
	{ "reload", NULL, true, handle_reload },
	{ "test", "sender", true, handle_test },
	{ "outbox", NULL, false, handle_outbox },
	{ "outbox_retry", "id", true, handle_outbox_retry },
	{ "outbox_drop", "id", true, handle_outbox_drop },
	{ NULL, NULL, false, NULL },
};

/* The request line */

static const struct control_command *find_command(const char *name)
{
	for (const struct control_command *command = commands; command->name != NULL; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static bool parse_match(const struct json *words, struct match *match, struct error *err)
{
	const char *texts[MATCH_WORDS_MAX];
	size_t count = json_size(words);

	if (count > MATCH_WORDS_MAX)
		return error_set(err, "match: more than %d words", MATCH_WORDS_MAX);
	for (size_t i = 0; i < count; i++) {
		texts[i] = json_text(json_at(words, i));
		if (texts[i] == NULL)
			return error_set(err, "match: must be a list of words");
	}
	return match_from_words(match, texts, count, err);
}

/* A missing list is everything; what is no list has no size either, and must not pass for everything. */
static bool is_list_or_missing(const struct json *value)
{
	AUTO(string) char *text = value != NULL ? json_dump(value) : NULL;

	return text == NULL || text[0] == '[';
}

static bool parse_argument(const struct json *root, struct control_request *request, struct error *err)
{
	const char *key = request->command->argument;
	const struct json *value;

	if (key == NULL)
		return true;
	value = json_get(root, key);
	if (strcmp(key, "match") == 0)
		return is_list_or_missing(value) ? parse_match(value, &request->match, err)
						 : error_set(err, "match: must be a list of words");
	if (json_text(value) == NULL || json_text(value)[0] == '\0')
		return error_set(err, "%s: missing, or not a text", key);
	request->argument = mem_strdup(json_text(value));
	return true;
}

static bool refuse_word(struct error *err, const char *who, const char *what, const char *word)
{
	AUTO(string) char *clean = str_clean(word, strlen(word), WORD_SHOWN_BYTES);

	return error_set(err, "%s %s \"%s\"", who, what, clean);
}

/* What an older daemon does not know must not be passed over: half a wish is another wish. */
static bool refuse_unknown_keys(const struct json *root, const struct control_command *command, struct error *err)
{
	void *iter = NULL;
	const char *key;
	const struct json *value;

	while ((key = json_next(root, &iter, &value)) != NULL) {
		if (strcmp(key, "command") == 0 || str_equal(key, command->argument))
			continue;
		return refuse_word(err, command->name, "does not take", key);
	}
	return true;
}

static bool parse_root(const struct json *root, struct control_request *request, struct error *err)
{
	const char *name = json_get_string(root, "command");

	if (name == NULL)
		return error_set(err, "no \"command\" in the request");
	request->command = find_command(name);
	if (request->command == NULL)
		return refuse_word(err, "the daemon", "does not know the command", name);
	return refuse_unknown_keys(root, request->command, err) && parse_argument(root, request, err);
}

bool control_request_parse(const char *line, size_t bytes, struct control_request *request, struct error *err)
{
	struct json *root;
	bool good;

	*request = (struct control_request){ 0 };
	if (bytes > CONTROL_LINE_MAX_BYTES)
		return error_set(err, "the request is longer than %d bytes", CONTROL_LINE_MAX_BYTES);
	root = json_parse(line, bytes, err);
	good = root != NULL && parse_root(root, request, err);
	json_free(root);
	return good;
}

void control_request_done(struct control_request *request)
{
	match_done(&request->match);
	free(request->argument);
	*request = (struct control_request){ 0 };
}

/* Clients */

static void take_reserve(struct control *control)
{
	if (control->reserve_fd < 0)
		control->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void client_drop(struct client *client)
{
	struct control *control = client->control;

	if (client->call != NULL)
		client->call->client = NULL;
	bufferevent_free(client->stream);
	list_remove(&client->node);
	control->client_count--;
	free(client);
	take_reserve(control);
}

static void client_touch(struct client *client)
{
	list_remove(&client->node);
	list_push(&client->control->clients, &client->node);
}

/* An answer that finds none waiting is taken whatever its size: what it holds is ours, and so is its bound. */
static void client_send(struct client *client, const struct str *line)
{
	size_t waiting = evbuffer_get_length(bufferevent_get_output(client->stream));

	if (waiting > 0 && waiting + line->bytes > CONTROL_WAITING_MAX_BYTES) {
		client->dropped = true;
		log_warning("control: a client (uid %u) does not read its answers: dropped", (unsigned)client->uid);
	} else if (bufferevent_write(client->stream, line->data, line->bytes) != 0) {
		client->dropped = true;
	}
}

static void write_error(struct str *line, const char *code, const char *message)
{
	struct json_writer w;

	json_start(&w, line);
	json_object(&w);
	json_key_bool(&w, "ok", false);
	json_key(&w, "error");
	json_object(&w);
	json_key_string(&w, "code", code);
	json_key_string(&w, "message", message);
	json_object_end(&w);
	json_object_end(&w);
	str_add_char(line, '\n');
}

static void client_send_error(struct client *client, const char *code, const char *message)
{
	AUTO(str) struct str line = { 0 };

	write_error(&line, code, message);
	client_send(client, &line);
}

static void client_request(struct client *client, const char *line, size_t bytes)
{
	struct control_request request;
	struct error err;

	if (control_request_parse(line, bytes, &request, &err)) {
		const struct control_command *command = request.command;

		if (command->writes)
			log_info("control: uid %u asks for %s%s%s", (unsigned)client->uid, command->name,
				 request.argument != NULL ? " " : "",
				 request.argument != NULL ? request.argument : "");
		client->call = mem_new(struct control_call);
		client->call->client = client;
		client->call->uid = client->uid;
		command->handler(&client->control->backend, &request, client->call);
	} else {
		client_send_error(client, "usage", err.text);
	}
	control_request_done(&request);
}

static void client_refuse_long_line(struct client *client, struct evbuffer *input)
{
	evbuffer_drain(input, evbuffer_get_length(input));
	bufferevent_disable(client->stream, EV_READ);
	client->ended = true;
	client_send_error(client, "usage", "the request is too long");
}

/* Takes one request off the input; false if there is no whole one. A last one needs no line end. */
static bool client_take_line(struct client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->stream);
	size_t waiting = evbuffer_get_length(input);
	struct evbuffer_ptr end = evbuffer_search_eol(input, NULL, NULL, EVBUFFER_EOL_LF);
	size_t bytes = end.pos >= 0 ? (size_t)end.pos : waiting;
	AUTO(string) char *line = NULL;

	if (waiting == 0 || (end.pos < 0 && waiting <= CONTROL_LINE_MAX_BYTES && !client->ended))
		return false;
	if (bytes > CONTROL_LINE_MAX_BYTES) {
		client_refuse_long_line(client, input);
		return false;
	}
	line = mem_alloc(bytes + 1);
	evbuffer_remove(input, line, bytes);
	if (end.pos >= 0)
		evbuffer_drain(input, 1);
	if (bytes > 0)
		client_request(client, line, bytes);
	return true;
}

static bool client_is_through(const struct client *client)
{
	return client->ended && client->call == NULL &&
	       evbuffer_get_length(bufferevent_get_input(client->stream)) == 0 &&
	       evbuffer_get_length(bufferevent_get_output(client->stream)) == 0;
}

/* May free the client. */
static void client_read(struct client *client)
{
	client->reading = true;
	while (client->call == NULL && !client->dropped && client_take_line(client))
		;
	client->reading = false;
	if (client->dropped || client_is_through(client))
		client_drop(client);
}

static void client_on_read(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;

	(void)stream;
	client_touch(client);
	client_read(client);
}

static void client_on_write(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;

	(void)stream;
	client_touch(client);
	if (client_is_through(client))
		client_drop(client);
}

static void client_on_event(struct bufferevent *stream, short what, void *arg)
{
	struct client *client = arg;

	(void)stream;
	if ((what & BEV_EVENT_EOF) == 0) {
		client_drop(client);
		return;
	}
	client->ended = true;
	client_read(client);
}

/* Calls */

static void answer_call(struct control_call *call, const struct str *line)
{
	struct client *client = call->client;

	free(call);
	if (client == NULL)
		return;
	client->call = NULL;
	client_send(client, line);
	if (client->reading)
		return;
	if (client->dropped)
		client_drop(client);
	else /* From the loop: the backend is not asked anew while it answers. */
		bufferevent_trigger(client->stream, EV_READ,
				    BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

void control_answer(struct control_call *call, const char *json)
{
	AUTO(str) struct str line = { 0 };

	if (call->client != NULL) {
		str_add(&line, "{\"ok\":true,\"data\":");
		str_add(&line, json);
		str_add(&line, "}\n");
	}
	answer_call(call, &line);
}

void control_answer_error(struct control_call *call, const char *code, const char *message)
{
	AUTO(str) struct str line = { 0 };

	write_error(&line, code, message);
	answer_call(call, &line);
}

uid_t control_caller(const struct control_call *call)
{
	return call->uid;
}

/* Who comes in */

static bool has_group(int fd, gid_t group)
{
	socklen_t bytes = 0;
	gid_t *groups;
	bool found = false;

	/* The kernel says how many there are by refusing the room for none. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &bytes) == 0 || errno != ERANGE)
		return false;
	if (bytes > GROUPS_MAX * sizeof(*groups))
		return false;
	groups = mem_alloc(bytes);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) == 0)
		for (size_t i = 0; i < bytes / sizeof(*groups) && !found; i++)
			found = groups[i] == group;
	free(groups);
	return found;
}

/* The socket's mode keeps others out already; this holds where the mode was changed by hand. */
static bool peer_may(const struct control *control, int fd, uid_t *uid)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
		return false;
	*uid = peer.uid;
	return peer.uid == 0 || peer.uid == geteuid() || peer.gid == control->group || has_group(fd, control->group);
}

static void turn_away(int fd, uid_t uid)
{
	AUTO(str) struct str line = { 0 };

	log_warning("control: uid %u may not use the control socket: refused", (unsigned)uid);
	write_error(&line, "no_permission", "you are not in the control socket's group");
	/* An empty socket takes a line; if it does not, there is nobody to tell. */
	if (send(fd, line.data, line.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("control: the refused client has gone");
	close(fd);
}

/* Who waits for an answer of ours is silent through no fault of its own. */
static void make_room(struct control *control)
{
	struct client *client = NULL;
	struct client *longest = NULL;

	list_each(client, &control->clients, struct client, node) {
		if (longest == NULL || (longest->call != NULL && client->call == NULL))
			longest = client;
	}
	if (longest != NULL)
		client_drop(longest);
}

static void welcome(struct control *control, int fd)
{
	const struct timeval stuck = { .tv_sec = CONTROL_STUCK_S };
	struct client *client;
	uid_t uid = (uid_t)-1;

	if (!peer_may(control, fd, &uid)) {
		turn_away(fd, uid);
		return;
	}
	if (control->client_count >= CONTROL_CLIENTS_MAX)
		make_room(control);
	client = mem_new(struct client);
	client->control = control;
	client->uid = uid;
	client->stream = bufferevent_socket_new(control->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (client->stream == NULL) {
		close(fd);
		free(client);
		return;
	}
	list_push(&control->clients, &client->node);
	control->client_count++;
	bufferevent_setcb(client->stream, client_on_read, client_on_write, client_on_event, client);
	bufferevent_setwatermark(client->stream, EV_READ, 0, CONTROL_LINE_MAX_BYTES + 1);
	bufferevent_set_timeouts(client->stream, NULL, &stuck);
	bufferevent_enable(client->stream, EV_READ | EV_WRITE);
}

static int accept_one(const struct control *control)
{
	return accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Out of descriptors, of all times, somebody wants to look: the reserve is for them. */
static int accept_with_reserve(struct control *control)
{
	if (control->reserve_fd < 0)
		return -1;
	close(control->reserve_fd);
	control->reserve_fd = -1;
	return accept_one(control);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	const struct timeval pause = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };
	struct control *control = arg;

	(void)listener;
	(void)what;
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		int fd = accept_one(control);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			fd = accept_with_reserve(control);
		if (fd >= 0) {
			welcome(control, fd);
			continue;
		}
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
			/* What waits keeps the socket readable: without a pause the loop would spin. */
			event_del(control->accepting);
			event_add(control->pause, &pause);
		}
		break;
	}
	take_reserve(control);
}

static void on_pause_end(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;

	(void)fd;
	(void)what;
	take_reserve(control);
	if (control->reserve_fd < 0)
		make_room(control);
	event_add(control->accepting, NULL);
}

/* The socket */

/* Whether a daemon answers at `address`; what is only left over is removed. */
static bool clear_the_way(const char *path, const struct sockaddr_un *address, struct error *err)
{
	struct stat status;
	int fd;
	int result;

	if (lstat(path, &status) != 0)
		return errno == ENOENT || error_where(err, path, "%s", strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_where(err, path, "is there and is not a socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_where(err, path, "%s", strerror(errno));
	result = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	if (result == 0 || result == EAGAIN || result == EINPROGRESS)
		return error_where(err, path, "in use: portbelld is already running");
	if (result != ECONNREFUSED && result != ENOENT)
		return error_where(err, path, "%s", strerror(result));
	if (unlink(path) != 0 && errno != ENOENT)
		return error_where(err, path, "%s", strerror(errno));
	return true;
}

static bool listen_at(struct control *control, const struct sockaddr_un *address, struct error *err)
{
	struct stat status;

	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Nobody can connect before listen(): there is no moment with another mode. */
	if (control->fd < 0 || bind(control->fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
		return error_where(err, control->path, "%s", strerror(errno));
	if (chmod(control->path, 0660) != 0 || stat(control->path, &status) != 0)
		return error_where(err, control->path, "%s", strerror(errno));
	control->device = status.st_dev;
	control->inode = status.st_ino;
	control->group = status.st_gid;
	return listen(control->fd, BACKLOG) == 0 || error_where(err, control->path, "%s", strerror(errno));
}

/* Two daemons that start at once must not both find the same leftover: the directory is locked meanwhile. */
static bool open_socket(struct control *control, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO(string) char *directory = mem_strdup(control->path);
	char *slash = strrchr(directory, '/');
	int lock;
	bool good;

	if (strlen(control->path) >= sizeof(address.sun_path))
		return error_where(err, control->path, "too long for a socket: at most %d bytes",
				   (int)sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, control->path, strlen(control->path) + 1);
	if (slash != NULL)
		slash[slash == directory ? 1 : 0] = '\0';
	if (slash != NULL && mkdir(directory, 0750) != 0 && errno != EEXIST)
		return error_where(err, directory, "%s", strerror(errno));
	lock = open(slash != NULL ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		return error_where(err, directory, "%s", strerror(errno));
	if (flock(lock, LOCK_EX | LOCK_NB) == 0)
		good = clear_the_way(control->path, &address, err) && listen_at(control, &address, err);
	else
		good = error_where(err, control->path, "another portbelld is starting");
	close(lock);
	return good;
}

struct control *control_new(struct event_base *base, const char *path, const struct control_backend *backend,
			    struct error *err)
{
	struct control *control = mem_new(struct control);

	control->base = base;
	control->backend = *backend;
	control->path = mem_strdup(path);
	control->fd = -1;
	control->reserve_fd = -1;
	list_init(&control->clients);
	if (!open_socket(control, err)) {
		control_free(control);
		return NULL;
	}
	control->accepting = event_new(base, control->fd, EV_READ | EV_PERSIST, on_accept, control);
	control->pause = event_new(base, -1, 0, on_pause_end, control);
	if (control->accepting == NULL || control->pause == NULL || event_add(control->accepting, NULL) != 0) {
		error_where(err, path, "the event loop takes no more events");
		control_free(control);
		return NULL;
	}
	take_reserve(control);
	return control;
}

static void remove_socket(const struct control *control)
{
	struct stat status;

	if (control->inode != 0 && lstat(control->path, &status) == 0 && status.st_dev == control->device &&
	    status.st_ino == control->inode)
		unlink(control->path);
}

void control_free(struct control *control)
{
	struct client *client = NULL;

	if (control == NULL)
		return;
	list_each(client, &control->clients, struct client, node)
		client_drop(client);
	if (control->accepting != NULL)
		event_free(control->accepting);
	if (control->pause != NULL)
		event_free(control->pause);
	remove_socket(control);
	if (control->fd >= 0)
		close(control->fd);
	if (control->reserve_fd >= 0)
		close(control->reserve_fd);
	free(control->path);
	free(control);
}
