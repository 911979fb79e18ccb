/*
 * Sends stanzas on streams that are logged in already, and counts the answers:
 *
 *	load WINDOW COUNT PATIENCE <PLAN
 *
 * The plan has a line for each stream, a file descriptor that was inherited. Lines come in groups:
 *
 *	send FD TEXT
 *		begins a group, which sends TEXT COUNT times, WINDOW at a time
 *	hear FD HANDLED [NAME=NUMBER]...
 *		expects NUMBER elements NAME there for each TEXT
 *
 * A group sends the next window when it has heard everything that it expects. Each <r/> is answered
 * with an <a/> before anything else is sent: HANDLED stanzas were received there before.
 *
 * More elements than expected, an <error/>, the end of a connection, or nothing for PATIENCE
 * milliseconds is a failure.
 *
 * Prints the number of texts, of answered <r/>, and the elapsed seconds; then the number of handled
 * stanzas of each stream, in the order of the plan.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { EVENTS = 64, NAME_SIZE = 24, EXPECTED = 8, TEXT_SIZE = 1 << 20 };

struct expected {
	char name[NAME_SIZE];
	unsigned long each; /* elements for each text */
	unsigned long left; /* elements that have not come yet */
};

struct group {
	int sender;
	char *text;
	size_t len;
	unsigned long unsent;  /* texts */
	unsigned long missing; /* elements that the group has not heard yet */
	size_t first;          /* its streams: first to last - 1 */
	size_t last;
};

struct stream {
	int fd;
	size_t group;
	uint32_t handled; /* its h */
	struct expected expected[EXPECTED];
	size_t expects;
	unsigned long depth; /* 0 between stanzas */
	bool in_tag;
	bool in_name;
	char before; /* the last byte of the tag */
	size_t name_len;
	char name[NAME_SIZE]; /* as far as it has been read, with the '/' of an end tag */
};

static unsigned long window, unfinished, texts, requests;
static int patience; /* milliseconds */
static struct group *groups;
static struct stream *streams;
static size_t group_count, stream_count;

static void fail(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static unsigned long to_number(const char *text) {
	char *end;
	const unsigned long number = text ? strtoul(text, &end, 10) : 0;
	if (text == NULL || *text == '\0' || *end != '\0')
		fail("not a number: %s", text ? text : "nothing");
	return number;
}

/* ---- Sending ---- */

static void send_all(int fd, const char *bytes, size_t len) {
	while (len > 0) {
		const ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n >= 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd writable = {.fd = fd, .events = POLLOUT};
			if (poll(&writable, 1, patience) <= 0)
				fail("a connection accepts no bytes");
		} else {
			fail("send: %s", strerror(errno));
		}
	}
}

static void expect(struct group *group, unsigned long count) {
	for (size_t i = group->first; i < group->last; i++) {
		for (size_t j = 0; j < streams[i].expects; j++) {
			struct expected *expected = &streams[i].expected[j];
			expected->left += expected->each * count;
			group->missing += expected->each * count;
		}
	}
}

/* All texts of a window in one write, as far as they fit. */
static void send_window(struct group *group) {
	static char bytes[TEXT_SIZE];
	const unsigned long count = group->unsent < window ? group->unsent : window;
	size_t used = 0;
	expect(group, count);
	for (unsigned long i = 0; i < count; i++) {
		if (used + group->len > sizeof(bytes)) {
			send_all(group->sender, bytes, used);
			used = 0;
		}
		memcpy(bytes + used, group->text, group->len);
		used += group->len;
	}
	group->unsent -= count;
	texts += count;
	send_all(group->sender, bytes, used);
}

/* ---- Hearing ---- */

static void answer_request(const struct stream *stream) {
	char ack[64];
	const int len =
		snprintf(ack, sizeof(ack), "<a xmlns='urn:xmpp:sm:3' h='%u'/>", stream->handled);
	requests++;
	send_all(stream->fd, ack, (size_t)len);
}

static void count_element(struct stream *stream, const char *name) {
	for (size_t i = 0; i < stream->expects; i++) {
		struct expected *expected = &stream->expected[i];
		if (strcmp(name, expected->name) != 0)
			continue;
		if (expected->left == 0)
			fail("more <%s/> than expected", name);
		expected->left--;
		groups[stream->group].missing--;
	}
}

static bool is_stanza(const char *name) {
	return strcmp(name, "message") == 0 || strcmp(name, "presence") == 0 ||
	       strcmp(name, "iq") == 0;
}

/* An element is complete. */
static void take_element(struct stream *stream, const char *name) {
	if (strcmp(name, "error") == 0 || strcmp(name, "stream:error") == 0)
		fail("the server sent an error");
	if (stream->depth == 0 && is_stanza(name))
		stream->handled++;
	else if (stream->depth == 0 && strcmp(name, "r") == 0)
		answer_request(stream);
	count_element(stream, name);
}

static void take_tag(struct stream *stream) {
	stream->name[stream->name_len] = '\0';
	if (stream->name[0] == '/') {
		if (stream->depth == 0)
			fail("the server ended a stream");
		stream->depth--;
		take_element(stream, stream->name + 1);
	} else if (stream->before == '/') {
		take_element(stream, stream->name);
	} else {
		stream->depth++;
	}
}

/* A byte of a tag. Servers write '<' and '>' of attributes as entities. */
static void take_byte(struct stream *stream, char byte) {
	if (byte == '>') {
		stream->in_tag = false;
		take_tag(stream);
	} else if (byte == ' ' || (byte == '/' && stream->name_len > 0)) {
		stream->in_name = false;
	} else if (stream->in_name && stream->name_len < NAME_SIZE - 1) {
		stream->name[stream->name_len++] = byte;
	}
	stream->before = byte;
}

static void take_bytes(struct stream *stream, const char *bytes, size_t len) {
	const char *end = bytes + len;
	while (bytes < end) {
		if (stream->in_tag) {
			take_byte(stream, *bytes++);
			continue;
		}
		bytes = memchr(bytes, '<', (size_t)(end - bytes));
		if (bytes == NULL)
			return;
		stream->in_tag = stream->in_name = true;
		stream->before = *bytes++;
		stream->name_len = 0;
	}
}

static void on_readable(struct stream *stream) {
	static char bytes[1 << 16];
	struct group *group = &groups[stream->group];
	const ssize_t len = recv(stream->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0)
		fail("a connection ended");
	const bool was_waiting = group->missing > 0;
	take_bytes(stream, bytes, (size_t)len);
	if (!was_waiting || group->missing > 0)
		return;
	if (group->unsent > 0)
		send_window(group);
	else
		unfinished--;
}

/* ---- The plan ---- */

static void *grown(void *array, size_t count, size_t size) {
	array = realloc(array, (count + 1) * size);
	if (array == NULL)
		fail("out of memory");
	memset((char *)array + count * size, 0, size);
	return array;
}

static void plan_group(int sender, const char *text, unsigned long count) {
	groups = grown(groups, group_count, sizeof(*groups));
	struct group *group = &groups[group_count++];
	group->sender = sender;
	group->text = text ? strdup(text) : NULL;
	if (group->text == NULL)
		fail("a group without text");
	group->len = strlen(group->text);
	group->unsent = count;
	group->first = group->last = stream_count;
}

static void plan_expected(struct stream *stream, char *word) {
	char *number = strchr(word, '=');
	if (number == NULL || number - word >= NAME_SIZE || stream->expects == EXPECTED)
		fail("the plan cannot expect %s", word);
	struct expected *expected = &stream->expected[stream->expects++];
	*number = '\0';
	strcpy(expected->name, word);
	expected->each = to_number(number + 1);
}

static void plan_stream(int fd, char *words) {
	if (group_count == 0)
		fail("a stream without a group");
	streams = grown(streams, stream_count, sizeof(*streams));
	struct stream *stream = &streams[stream_count++];
	char *word = strtok(words, " ");
	stream->fd = fd;
	stream->group = group_count - 1;
	stream->handled = (uint32_t)to_number(word);
	while ((word = strtok(NULL, " ")) != NULL)
		plan_expected(stream, word);
	groups[group_count - 1].last = stream_count;
}

static void read_plan(unsigned long count) {
	static char line[TEXT_SIZE];
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *rest = line;
		line[strcspn(line, "\n")] = '\0';
		const char *word = strsep(&rest, " ");
		const int fd = (int)to_number(strsep(&rest, " "));
		if (strcmp(word, "send") == 0)
			plan_group(fd, rest, count);
		else
			plan_stream(fd, rest);
	}
}

/* ---- Running ---- */

static bool within_element(void) {
	for (size_t i = 0; i < stream_count; i++) {
		if (streams[i].depth > 0 || streams[i].in_tag)
			return true;
	}
	return false;
}

static void watch_streams(int epoll) {
	for (size_t i = 0; i < stream_count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, streams[i].fd, &event) != 0)
			fail("epoll_ctl: %s", strerror(errno));
	}
}

static void run(int epoll) {
	for (size_t i = 0; i < group_count; i++) {
		send_window(&groups[i]);
		if (groups[i].missing == 0)
			fail("group %zu expects nothing", i);
	}
	unfinished = group_count;
	while (unfinished > 0 || within_element()) {
		struct epoll_event events[EVENTS];
		const int ready = epoll_wait(epoll, events, EVENTS, patience);
		if (ready <= 0)
			fail("nothing happens, %lu groups wait", unfinished);
		for (int i = 0; i < ready; i++)
			on_readable(&streams[events[i].data.u64]);
	}
}

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
	if (argc != 4) {
		fprintf(stderr, "usage: load WINDOW COUNT PATIENCE <PLAN\n");
		return 2;
	}
	window = to_number(argv[1]);
	patience = (int)to_number(argv[3]);
	read_plan(to_number(argv[2]));
	const int epoll = epoll_create1(0);
	watch_streams(epoll);
	const double began = now();
	run(epoll);
	printf("%lu %lu %.9f\n", texts, requests, now() - began);
	for (size_t i = 0; i < stream_count; i++)
		printf("%u\n", streams[i].handled);
	for (size_t i = 0; i < group_count; i++)
		free(groups[i].text);
	free(groups);
	free(streams);
	return 0;
}
