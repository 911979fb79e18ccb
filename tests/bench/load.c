/*
 * Chat between pairs of clients that are logged in already: load WINDOW COUNT PAIR...
 *
 * A PAIR is four arguments: the sender's socket, the receiver's socket (file descriptors that were
 * inherited), how many stanzas the receiver has counted so far, and the message to send. Each
 * sender sends COUNT messages, WINDOW at a time: the next ones go out when the receiver has read
 * all of the last. The receiver answers every <r/> with an <a/>, before anything else is sent.
 *
 * Prints the messages received and the <r/> answered. Exits with 1 when a connection ends or
 * nothing happens for IDLE_MS.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { IDLE_MS = 20000, EVENTS = 64, ARGS_PER_PAIR = 4, NAME_SIZE = 16 };

struct pair {
	int sender;
	int receiver;
	uint32_t handled; /* the receiver's h */
	const char *message;
	unsigned long unsent;
	unsigned long outstanding; /* sent, and not received yet */
	bool in_name;              /* the receiver's stream stands in the name of a tag */
	size_t name_len;
	char name[NAME_SIZE]; /* the part of the name that has been read, with the '/' of an end tag
			       */
};

static unsigned long window, received, requests;

static void fail(const char *what) {
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long to_number(const char *text) {
	char *end;
	const unsigned long number = strtoul(text, &end, 10);
	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "load: not a number: %s\n", text);
		exit(2);
	}
	return number;
}

static void send_all(int fd, const char *bytes, size_t len) {
	while (len > 0) {
		const ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n >= 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd writable = {.fd = fd, .events = POLLOUT};
			if (poll(&writable, 1, IDLE_MS) <= 0)
				fail("cannot send");
		} else {
			fail("send");
		}
	}
}

/* All messages of a window in one write, as far as they fit. */
static void send_window(struct pair *pair) {
	static char bytes[1 << 20];
	const size_t len = strlen(pair->message);
	const unsigned long count = pair->unsent < window ? pair->unsent : window;
	size_t used = 0;
	for (unsigned long i = 0; i < count; i++) {
		if (used + len > sizeof(bytes)) {
			send_all(pair->sender, bytes, used);
			used = 0;
		}
		memcpy(bytes + used, pair->message, len);
		used += len;
	}
	pair->unsent -= count;
	pair->outstanding += count;
	send_all(pair->sender, bytes, used);
}

static void answer_request(struct pair *pair) {
	char ack[64];
	const int len =
		snprintf(ack, sizeof(ack), "<a xmlns='urn:xmpp:sm:3' h='%u'/>", pair->handled);
	requests++;
	send_all(pair->receiver, ack, (size_t)len);
}

static void take_tag(struct pair *pair) {
	const char *name = pair->name;
	pair->name[pair->name_len] = '\0';
	if (strcmp(name, "/message") == 0) {
		pair->handled++;
		pair->outstanding--;
		received++;
	} else if (strcmp(name, "r") == 0) {
		answer_request(pair);
	}
}

/* In Prosody's output '<' begins only tags. */
static void take_byte(struct pair *pair, char byte) {
	if (byte == '<') {
		pair->in_name = true;
		pair->name_len = 0;
	} else if (pair->in_name &&
		   (byte == ' ' || byte == '>' || (byte == '/' && pair->name_len > 0))) {
		pair->in_name = false;
		take_tag(pair);
	} else if (pair->in_name && pair->name_len < NAME_SIZE - 1) {
		pair->name[pair->name_len++] = byte;
	}
}

static size_t receive(int fd, char *bytes, size_t size) {
	const ssize_t n = recv(fd, bytes, size, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		fail("a connection ended");
	return (size_t)n;
}

static void on_readable(struct pair *pair, bool is_receiver) {
	static char bytes[1 << 16];
	const size_t len =
		receive(is_receiver ? pair->receiver : pair->sender, bytes, sizeof(bytes));
	if (!is_receiver)
		return;
	for (size_t i = 0; i < len; i++)
		take_byte(pair, bytes[i]);
	if (pair->outstanding == 0 && pair->unsent > 0)
		send_window(pair);
}

/* The event's number is the pair's index twice, and 1 more for its receiver. */
static void watch(int epoll, int fd, uint64_t number) {
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static struct pair *make_pairs(char **args, size_t count, unsigned long messages) {
	struct pair *pairs = calloc(count, sizeof(*pairs));
	if (pairs == NULL)
		fail("calloc");
	for (size_t i = 0; i < count; i++, args += ARGS_PER_PAIR) {
		pairs[i].sender = (int)to_number(args[0]);
		pairs[i].receiver = (int)to_number(args[1]);
		pairs[i].handled = (uint32_t)to_number(args[2]);
		pairs[i].message = args[3];
		pairs[i].unsent = messages;
	}
	return pairs;
}

int main(int argc, char **argv) {
	if (argc < 3 + ARGS_PER_PAIR || (argc - 3) % ARGS_PER_PAIR != 0) {
		fprintf(stderr, "usage: load WINDOW COUNT (SENDER RECEIVER HANDLED MESSAGE)...\n");
		return 2;
	}
	window = to_number(argv[1]);
	const unsigned long messages = to_number(argv[2]);
	const size_t count = (size_t)(argc - 3) / ARGS_PER_PAIR;
	struct pair *pairs = make_pairs(argv + 3, count, messages);
	const int epoll = epoll_create1(0);
	for (size_t i = 0; i < count; i++) {
		watch(epoll, pairs[i].sender, 2 * i);
		watch(epoll, pairs[i].receiver, 2 * i + 1);
		send_window(&pairs[i]);
	}
	while (received < messages * count) {
		struct epoll_event events[EVENTS];
		const int ready = epoll_wait(epoll, events, EVENTS, IDLE_MS);
		if (ready <= 0)
			fail("nothing happens");
		for (int i = 0; i < ready; i++) {
			const uint64_t number = events[i].data.u64;
			on_readable(&pairs[number / 2], number % 2 == 1);
		}
	}
	printf("%lu %lu\n", received, requests);
	free(pairs);
	return 0;
}
