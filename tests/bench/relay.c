/*
 * Carries plain connections over TLS 1.3: relay PORT
 *
 * Listens on a port of 127.0.0.1, and prints its number. Each connection there is carried to PORT,
 * as the client of a TLS 1.3 connection; the certificate is not verified. It ends with its standard
 * input, and at the first failure of TLS.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, BACKLOG = 128 };

struct connection {
	int plain;
	SSL *tls;
};

/* An event's source: the listening socket and standard input have no connection. */
struct source {
	int fd;
	bool is_tls;
	struct connection *connection;
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static SSL_CTX *context;
static int epoll;

static void fail(const char *what) {
	fprintf(stderr, "relay: ");
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void *allocate(size_t size) {
	void *memory = calloc(1, size);
	if (memory == NULL)
		fail("calloc");
	return memory;
}

static void watch(int fd, struct connection *connection, bool is_tls) {
	struct source *source = allocate(sizeof(*source));
	*source = (struct source){.fd = fd, .is_tls = is_tls, .connection = connection};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static void send_at_once(int fd) {
	const int on = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		fail("setsockopt");
}

static void open_connection(int listener) {
	struct connection *connection = allocate(sizeof(*connection));
	connection->plain = accept(listener, NULL, NULL);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connection->plain < 0 || fd < 0)
		fail("accept");
	if (connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0)
		fail("connect");
	send_at_once(connection->plain);
	send_at_once(fd);
	connection->tls = SSL_new(context);
	if (connection->tls == NULL || SSL_set_fd(connection->tls, fd) != 1 ||
	    SSL_connect(connection->tls) != 1)
		fail("TLS");
	watch(connection->plain, connection, false);
	watch(fd, connection, true);
}

/* Both descriptors stay open until the end: the other side's may have an event in this turn. */
static void end_connection(struct connection *connection) {
	SSL_shutdown(connection->tls);
	shutdown(SSL_get_fd(connection->tls), SHUT_RDWR);
	shutdown(connection->plain, SHUT_RDWR);
	epoll_ctl(epoll, EPOLL_CTL_DEL, SSL_get_fd(connection->tls), NULL);
	epoll_ctl(epoll, EPOLL_CTL_DEL, connection->plain, NULL);
}

static bool write_all(int fd, const char *bytes, size_t len) {
	while (len > 0) {
		const ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool carry_out(struct connection *connection) {
	static char bytes[SSL3_RT_MAX_PLAIN_LENGTH];
	const ssize_t len = recv(connection->plain, bytes, sizeof(bytes), MSG_DONTWAIT);
	return len > 0 && SSL_write(connection->tls, bytes, (int)len) == len;
}

/* Without SSL_MODE_AUTO_RETRY a session ticket alone ends the read, and does not wait for data. */
static bool carry_in(struct connection *connection) {
	static char bytes[SSL3_RT_MAX_PLAIN_LENGTH];
	do {
		const int len = SSL_read(connection->tls, bytes, sizeof(bytes));
		if (len <= 0)
			return SSL_get_error(connection->tls, len) == SSL_ERROR_WANT_READ;
		if (!write_all(connection->plain, bytes, (size_t)len))
			return false;
	} while (SSL_pending(connection->tls) > 0);
	return true;
}

static void make_context(void) {
	context = SSL_CTX_new(TLS_client_method());
	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1)
		fail("SSL_CTX_new");
	SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
}

static int listen_on_loopback(void) {
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		fail("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static void carry(const struct source *source) {
	struct connection *connection = source->connection;
	if (!(source->is_tls ? carry_in(connection) : carry_out(connection)))
		end_connection(connection);
}

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: relay PORT\n");
		return 2;
	}
	server.sin_port = htons((uint16_t)atoi(argv[1]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	make_context();
	epoll = epoll_create1(0);
	const int listener = listen_on_loopback();
	watch(listener, NULL, false);
	watch(STDIN_FILENO, NULL, false);
	for (;;) {
		struct epoll_event events[EVENTS];
		const int ready = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < ready; i++) {
			const struct source *source = events[i].data.ptr;
			if (source->connection != NULL)
				carry(source);
			else if (source->fd == listener)
				open_connection(listener);
			else
				return 0;
		}
	}
}
