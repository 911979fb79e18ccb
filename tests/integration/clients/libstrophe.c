/* libstrophe PORT HOST USER PASSWORD     see programs.py for its input and output */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>
#include <unistd.h>

#define NS_SM "urn:xmpp:sm:3"
#define TURN_MS 2
#define LINE_MAX_BYTES 65536

static xmpp_ctx_t *ctx;
static xmpp_conn_t *conn;
static unsigned short port;
static char bound_jid[1024];

static int on_message(xmpp_conn_t *c, xmpp_stanza_t *message, void *data) {
	(void)c;
	(void)data;
	char *body = xmpp_message_get_body(message);
	printf("received %s\n", body ? body : "");
	xmpp_free(ctx, body);
	return 1;
}

static void note_session(xmpp_conn_t *c) {
	snprintf(bound_jid, sizeof bound_jid, "%s", xmpp_conn_get_bound_jid(c));
	printf("bound %s\n", bound_jid);
}

/* Up to 0.12, XMPP_CONN_CONNECT comes before <enabled/>; later, instead of it. */
static int on_enabled(xmpp_conn_t *c, xmpp_stanza_t *enabled, void *data) {
	(void)enabled;
	(void)data;
	if (xmpp_version_check(0, 12))
		note_session(c);
	return 1;
}

static int on_ack(xmpp_conn_t *c, xmpp_stanza_t *ack, void *data) {
	(void)c;
	(void)data;
	printf("acked %s\n", xmpp_stanza_get_attribute(ack, "h"));
	return 1;
}

/* A session that could not be resumed gets another resource, of the server's making. */
static void on_connect(xmpp_conn_t *c) {
	if (strcmp(xmpp_conn_get_bound_jid(c), bound_jid) == 0)
		puts("resumed");
	else if (!xmpp_version_check(0, 12))
		note_session(c);
}

static void on_connection(xmpp_conn_t *c, xmpp_conn_event_t event, int error,
			  xmpp_stream_error_t *stream_error, void *data) {
	(void)error;
	(void)data;
	if (event == XMPP_CONN_CONNECT) {
		on_connect(c);
		return;
	}
	if (stream_error)
		fprintf(stderr, "stream error: %s\n", stream_error->text ? stream_error->text : "");
	puts("disconnected");
}

/* The connection object keeps the stream management state from one connection to the next. */
static void connect_again(void) {
	int err = xmpp_connect_client(conn, "127.0.0.1", port, on_connection, NULL);
	if (err != XMPP_EOK)
		fprintf(stderr, "cannot connect: %d\n", err);
}

static void send_message(const char *to, const char *body) {
	xmpp_stanza_t *message = xmpp_message_new(ctx, "chat", to, NULL);
	xmpp_message_set_body(message, body);
	xmpp_send(conn, message);
	xmpp_stanza_release(message);
	while (xmpp_conn_is_connected(conn) && xmpp_conn_send_queue_len(conn) > 0)
		xmpp_run_once(ctx, 0);
	printf("sent %s\n", body);
}

static void obey(char *line) {
	char *rest = strchr(line, ' ');
	if (!rest) {
		connect_again();
		return;
	}
	char *to = rest + 1, *space = strchr(to, ' ');
	if (!space)
		return;
	*space = '\0';
	send_message(to, space + 1);
}

/* Reads the available standard input; returns whether more can come. */
static bool read_commands(void) {
	static char buf[LINE_MAX_BYTES];
	static size_t used;
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	if (poll(&input, 1, 0) == 0)
		return true;
	ssize_t count = read(STDIN_FILENO, buf + used, sizeof buf - used);
	if (count <= 0)
		return count < 0 && errno == EINTR;
	used += (size_t)count;

	char *line = buf, *end;
	while ((end = memchr(line, '\n', used - (size_t)(line - buf)))) {
		*end = '\0';
		obey(line);
		line = end + 1;
	}
	used -= (size_t)(line - buf);
	memmove(buf, line, used);
	return used < sizeof buf;
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: %s PORT HOST USER PASSWORD\n", argv[0]);
		return 2;
	}
	port = (unsigned short)atoi(argv[1]);
	char jid[1024];
	snprintf(jid, sizeof jid, "%s@%s", argv[3], argv[2]);
	setvbuf(stdout, NULL, _IOLBF, 0);

	xmpp_initialize();
	ctx = xmpp_ctx_new(NULL, NULL);
	conn = xmpp_conn_new(ctx);
	xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_DISABLE_TLS);
	xmpp_conn_set_jid(conn, jid);
	xmpp_conn_set_pass(conn, argv[4]);
	xmpp_handler_add(conn, on_message, NULL, "message", NULL, NULL);
	xmpp_handler_add(conn, on_enabled, NS_SM, "enabled", NULL, NULL);
	xmpp_handler_add(conn, on_ack, NS_SM, "a", NULL, NULL);

	while (read_commands())
		xmpp_run_once(ctx, TURN_MS);

	xmpp_conn_release(conn);
	xmpp_ctx_free(ctx);
	xmpp_shutdown();
	return 0;
}
