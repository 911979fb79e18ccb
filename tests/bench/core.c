/*
 * The database's core without Lua: fills archives and measures them.
 *
 *      core facts CORPUS              prints the numbers of users, of busy users, of late messages
 *      core rows CORPUS               prints rows for the table of Prosody's SQL driver, for COPY
 *      core fill CORPUS DIR           stores the same messages in a database
 *      core pages CORPUS DIR          us of CPU: the last page and the total, a page by time, the
 *                                     same among messages that are out of order
 *      core append CORPUS DIR FIRST PER_TURN TURNS RATE INTERVAL
 *                                     us of CPU a message; ms: the longest time that a turn took,
 *                                     and that of one turn in a thousand
 *      core durable CORPUS DIR FIRST COUNT
 *                                     us from a write until it is durable: median, one in a hundred
 *      core kill CORPUS DIR FIRST COUNT    appends, and is killed
 *      core open DIR                  seconds to open, turns that only the log had
 *      core copy DIR FILE SECONDS     copies to a new file, in so many seconds; prints its bytes
 *
 * CORPUS: one|many chats|mixed SIZE, see messages.h. FIRST: the number of the first message, that
 * of the filling's last plus 1 or more. RATE: turns a second, 0: as many as possible. INTERVAL: ms,
 * see pn/db.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pn/archive.h>
#include <pn/err.h>
#include <pn/pack.h>

#include "messages.h"

enum {
	PAGE = 50,
	PAGES = 400,      /* pages that are read */
	FILL_TURN = 100,  /* messages of a turn while filling */
	INTERVAL_MIN = 1, /* ms: a sync in the background as soon as there is something to sync */
	INTERVAL_FILL = 1000,
	DURABLE_PAUSE = 5, /* ms between two writes whose sync is timed: the disk is idle again */
};

#define HOST "prosody.test"

struct archive {
	struct pn_db *db;
	struct pn_store store;
};

static void fail(const char *what, const char *why) {
	fprintf(stderr, "core: %s: %s\n", what, why);
	exit(1);
}

static void check(int result, const char *what) {
	if (result < 0)
		fail(what, pn_err_text(result));
}

static uint64_t to_number(const char *text) {
	char *end;
	const unsigned long long number = strtoull(text, &end, 10);
	if (*text == '\0' || *end != '\0')
		fail(text, "not a number");
	return number;
}

static struct pn_str str(const char *text) {
	return (struct pn_str){text, strlen(text)};
}

static struct pn_user user(const char *name) {
	return (struct pn_user){name, strlen(name)};
}

static double seconds_of(clockid_t clock) {
	struct timespec time;
	clock_gettime(clock, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double elapsed(void) {
	return seconds_of(CLOCK_MONOTONIC);
}

/* Of all threads. */
static double cpu(void) {
	return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void *allocate(size_t count, size_t size) {
	void *const memory = calloc(count, size);
	if (memory == NULL)
		fail("calloc", strerror(errno));
	return memory;
}

static int compare_numbers(const void *a, const void *b) {
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Of sorted numbers. */
static double quantile(const double *sorted, size_t count, double share) {
	const size_t at = (size_t)((double)count * share);
	return sorted[at < count ? at : count - 1];
}

/* ---- The database ---- */

static struct archive open_with(const struct pn_db_options *options) {
	struct archive archive;
	check(pn_db_open(&archive.db, options), options->directory);
	check(pn_store_init(&archive.store, archive.db, PN_TYPE_ARCHIVE, str(HOST), str("archive")),
	      "store");
	return archive;
}

static struct archive open_archive(const char *directory, unsigned interval) {
	return open_with(&(struct pn_db_options){.directory = directory, .interval = interval});
}

/* As the event loop calls it at the end of a turn, by a timer, and when a sync has ended. Returns
 * the ms until the next call. */
static int sync_archive(const struct archive *archive) {
	int wait;
	pn_db_event_clear(archive->db);
	check(pn_db_sync(archive->db, (uint64_t)(elapsed() * 1000), &wait), "sync");
	return wait;
}

/* Until an event, at most `limit` ms; -1: no limit. */
static void wait_for_event(const struct archive *archive, int limit) {
	struct pollfd event = {.fd = pn_db_event_fd(archive->db), .events = POLLIN};
	(void)poll(&event, 1, limit);
}

/* ---- Stanzas ---- */

/* Packs a stanza from its tokens, as the binding does from Lua's tables. */
static void pack_stanza(struct pn_buf *out, const struct pn_buf *tokens) {
	struct pn_pack pack;
	struct pn_str key, value;
	struct pn_wire wire = pn_wire_open(tokens->data, tokens->len);
	pn_buf_reset(out, XML_SIZE);
	pn_pack_init(&pack, out);
	while (wire.left > 0 && wire.err == PN_OK) {
		switch (pn_wire_u8(&wire)) {
		case PN_TOKEN_START:
			key.bytes = pn_wire_bytes(&wire, &key.len);
			pn_pack_start(&pack, key);
			break;
		case PN_TOKEN_ATTR:
			key.bytes = pn_wire_bytes(&wire, &key.len);
			value.bytes = pn_wire_bytes(&wire, &value.len);
			pn_pack_attr(&pack, key, value);
			break;
		case PN_TOKEN_TEXT:
			key.bytes = pn_wire_bytes(&wire, &key.len);
			pn_pack_text(&pack, key);
			break;
		case PN_TOKEN_END:
			pn_pack_end(&pack);
			break;
		default: /* xmlns, the same as the parent's */
			break;
		}
	}
	check(pn_pack_error(&pack), "pack");
}

/* A message before it is packed. */
struct raw {
	struct message message; /* without its XML */
	struct pn_buf tokens;
};

static void decode(struct raw *raw) {
	pn_buf_reset(&raw->tokens, XML_SIZE);
	check(pn_stanza_decode(&raw->tokens, (struct pn_str){raw->message.xml, raw->message.len},
			       (struct pn_decode_limits){0}),
	      "decode");
}

static void append_raw(const struct archive *archive, const struct raw *raw) {
	static struct pn_buf stanza;
	char id[PN_ARCHIVE_ID_LEN];
	pack_stanza(&stanza, &raw->tokens);
	const struct pn_message message = {
		.stanza = {(char *)stanza.data, stanza.len},
		.peer = str(raw->message.peer),
		.when = raw->message.when,
	};
	check(pn_archive_append(&archive->store, user(raw->message.owner), &message, 0, id),
	      "append");
}

/* ---- Filling ---- */

typedef void make(const struct corpus *corpus, uint64_t n, struct message *message);

static void fill_with(const struct archive *archive, const struct corpus *corpus, make *make_one,
		      uint64_t count) {
	static struct raw raw;
	for (uint64_t n = 1; n <= count; n++) {
		make_one(corpus, n, &raw.message);
		decode(&raw);
		append_raw(archive, &raw);
		if (n % FILL_TURN == 0 || n == count) {
			check(pn_db_commit(archive->db), "commit");
			(void)sync_archive(archive);
		}
	}
}

static int fill(const struct corpus *corpus, char **args) {
	const struct archive archive = open_archive(args[0], INTERVAL_FILL);
	pn_db_keep_open(archive.db);
	fill_with(&archive, corpus, make_message, corpus->size);
	fill_with(&archive, corpus, make_late_message, 2 * late_messages(corpus));
	check(pn_db_flush(archive.db), "flush");
	pn_db_close(archive.db);
	return 0;
}

/* Columns in the order of the table: sort_id is given by the table. */
static void print_row(const struct message *message) {
	printf(HOST "\t%s\tarchive\t%s\t%.0f\t%s\txml\t%.*s\n", message->owner, message->key,
	       message->when, message->peer, (int)message->len, message->xml);
}

static int rows(const struct corpus *corpus, char **args) {
	static struct message message;
	(void)args;
	for (uint64_t n = 1; n <= corpus->size; n++) {
		make_message(corpus, n, &message);
		print_row(&message);
	}
	for (uint64_t n = 1; n <= 2 * late_messages(corpus); n++) {
		make_late_message(corpus, n, &message);
		print_row(&message);
	}
	return 0;
}

static int facts(const struct corpus *corpus, char **args) {
	(void)args;
	printf("%u %u %" PRIu64 "\n", all_users(corpus), busy_users(corpus), late_messages(corpus));
	return 0;
}

/* ---- Pages ---- */

static double read_page(const struct archive *archive, const char *owner,
			const struct pn_archive_query *query, uint64_t *total) {
	struct pn_archive_cursor *cursor = NULL;
	struct pn_message message;
	unsigned count = 0;
	const double began = cpu();
	check(pn_archive_find(&cursor, &archive->store, user(owner), query, PAGE, total), "find");
	while (pn_archive_next(cursor, &message) == 1)
		count++;
	pn_archive_cursor_free(cursor);
	const double spent = cpu() - began;
	if (count != PAGE)
		fail(owner, "the page is not full");
	return spent;
}

static int pages(const struct corpus *corpus, char **args) {
	const struct archive archive = open_archive(args[0], INTERVAL_FILL);
	const uint64_t late = late_messages(corpus);
	double last = 0, by_time = 0, late_by_time = 0;
	uint64_t total;
	for (uint64_t i = 0; i < PAGES; i++) {
		char owner[NAME_SIZE];
		busy_user(corpus, i, owner);
		last += read_page(&archive, owner, &(struct pn_archive_query){.reverse = true},
				  &total);
		const uint64_t middle = corpus->size / 4 + corpus->size / 4 * i / PAGES;
		by_time += read_page(
			&archive, owner,
			&(struct pn_archive_query){.has_start = true, .start = sent_at(middle)},
			NULL);
		late_by_time += read_page(
			&archive, "late",
			&(struct pn_archive_query){.has_start = true,
						   .start = sent_at(late + late * i / PAGES / 2)},
			NULL);
	}
	printf("%.3f %.3f %.3f\n", last / PAGES * 1e6, by_time / PAGES * 1e6,
	       late_by_time / PAGES * 1e6);
	pn_db_close(archive.db);
	return 0;
}

/* ---- Appending ---- */

static struct raw *make_raws(const struct corpus *corpus, uint64_t first, size_t count) {
	static struct raw one;
	struct raw *const raws = allocate(count, sizeof(*raws));
	for (size_t i = 0; i < count; i++) {
		make_message(corpus, first + i, &one.message);
		decode(&one);
		raws[i] = one;
		one.tokens = (struct pn_buf){0};
	}
	return raws;
}

static void free_raws(struct raw *raws, size_t count) {
	for (size_t i = 0; i < count; i++)
		pn_buf_free(&raws[i].tokens);
	free(raws);
}

/* Serves events and timers until `at`. Returns the longest time that one of them took. */
static double serve_until(const struct archive *archive, double at, int wait) {
	double longest = 0;
	for (;;) {
		const double left = (at - elapsed()) * 1000;
		if (left <= 0)
			return longest;
		const int limit = (int)left + 1;
		wait_for_event(archive, wait >= 0 && wait < limit ? wait : limit);
		const double began = elapsed();
		if (began >= at)
			return longest;
		wait = sync_archive(archive);
		const double took = elapsed() - began;
		longest = took > longest ? took : longest;
	}
}

struct plan {
	uint64_t first;
	size_t per_turn;
	size_t turns;
	double rate; /* turns a second, 0: as many as possible */
};

/* Sets the time that each turn took, or the timers before it. */
static void run_turns(const struct archive *archive, const struct plan *plan,
		      const struct raw *raws, double *times) {
	const double began = elapsed();
	int wait = -1;
	for (size_t turn = 0; turn < plan->turns; turn++) {
		const double due = plan->rate > 0 ? began + (double)turn / plan->rate : began;
		const double served = serve_until(archive, due, wait);
		const double start = elapsed();
		for (size_t i = 0; i < plan->per_turn; i++)
			append_raw(archive, raws++);
		check(pn_db_commit(archive->db), "commit");
		wait = sync_archive(archive);
		const double took = elapsed() - start;
		times[turn] = took > served ? took : served;
	}
}

static int append(const struct corpus *corpus, char **args) {
	const struct plan plan = {
		.first = to_number(args[1]),
		.per_turn = to_number(args[2]),
		.turns = to_number(args[3]),
		.rate = (double)to_number(args[4]),
	};
	const size_t count = plan.per_turn * plan.turns;
	struct raw *const raws = make_raws(corpus, plan.first, count);
	double *const times = allocate(plan.turns, sizeof(*times));
	const struct archive archive = open_archive(args[0], (unsigned)to_number(args[5]));
	pn_db_keep_open(archive.db);
	const double began = cpu();
	run_turns(&archive, &plan, raws, times);
	const double spent = cpu() - began;
	check(pn_db_flush(archive.db), "flush");
	pn_db_close(archive.db); /* with the last commit of LMDB's transaction */
	qsort(times, plan.turns, sizeof(*times), compare_numbers);
	printf("%.3f %.3f %.3f\n", spent / (double)count * 1e6, times[plan.turns - 1] * 1e3,
	       quantile(times, plan.turns, 0.999) * 1e3);
	free(times);
	free_raws(raws, count);
	return 0;
}

static int durable(const struct corpus *corpus, char **args) {
	const size_t count = to_number(args[2]);
	struct raw *const raws = make_raws(corpus, to_number(args[1]), count);
	double *const times = allocate(count, sizeof(*times));
	const struct archive archive = open_archive(args[0], INTERVAL_MIN);
	pn_db_keep_open(archive.db);
	for (size_t i = 0; i < count; i++) {
		(void)serve_until(&archive, elapsed() + DURABLE_PAUSE * 1e-3,
				  sync_archive(&archive));
		const double began = elapsed();
		append_raw(&archive, &raws[i]);
		check(pn_db_commit(archive.db), "commit");
		int wait = sync_archive(&archive);
		while (pn_db_durable(archive.db) < pn_db_committed(archive.db)) {
			wait_for_event(&archive, wait);
			wait = sync_archive(&archive);
		}
		times[i] = elapsed() - began;
	}
	pn_db_close(archive.db);
	qsort(times, count, sizeof(*times), compare_numbers);
	printf("%.1f %.1f\n", quantile(times, count, 0.5) * 1e6,
	       quantile(times, count, 0.99) * 1e6);
	free(times);
	free_raws(raws, count);
	return 0;
}

/* ---- Opening and copying ---- */

static int kill_self(const struct corpus *corpus, char **args) {
	const size_t turns = to_number(args[2]);
	const struct plan plan = {.first = to_number(args[1]), .per_turn = 1, .turns = turns};
	struct raw *const raws = make_raws(corpus, plan.first, turns);
	const struct archive archive = open_archive(args[0], INTERVAL_FILL);
	pn_db_keep_open(archive.db);
	run_turns(&archive, &plan, raws, allocate(turns, sizeof(double)));
	raise(SIGKILL);
	return 1;
}

static int open_only(const struct corpus *corpus, char **args) {
	(void)corpus;
	/* as the server does by default */
	const struct pn_db_options options = {
		.directory = args[0], .interval = INTERVAL_FILL, .verify = true};
	const double began = elapsed();
	const struct archive archive = open_with(&options);
	printf("%.6f %" PRIu64 "\n", elapsed() - began, pn_db_replayed(archive.db));
	pn_db_close(archive.db);
	return 0;
}

static void sleep_until(double at) {
	const double left = at - elapsed();
	if (left > 0)
		(void)poll(NULL, 0, (int)(left * 1000));
}

static int copy(const struct corpus *corpus, char **args) {
	(void)corpus;
	const struct archive archive = open_archive(args[0], INTERVAL_FILL);
	const double seconds = (double)to_number(args[2]), began = elapsed();
	struct pn_progress progress = {0};
	struct pn_copy *copying = NULL;
	int more;
	check(pn_copy_new(&copying, archive.db, args[1], NULL), args[1]);
	while ((more = pn_copy_step(copying, &progress)) == 1 && progress.total > 0)
		sleep_until(began + seconds * (double)progress.done / (double)progress.total);
	check(more, args[1]);
	pn_copy_free(copying);
	pn_db_close(archive.db);
	FILE *const file = fopen(args[1], "r");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		fail(args[1], strerror(errno));
	printf("%ld\n", ftell(file));
	fclose(file);
	return 0;
}

/* ---- Commands ---- */

static const struct command {
	const char *name;
	bool of_corpus; /* begins with CORPUS */
	int args;       /* number of the others */
	int (*run)(const struct corpus *corpus, char **args);
} commands[] = {
	{"facts", true, 0, facts},    {"rows", true, 0, rows},       {"fill", true, 1, fill},
	{"pages", true, 1, pages},    {"append", true, 6, append},   {"durable", true, 3, durable},
	{"kill", true, 3, kill_self}, {"open", false, 1, open_only}, {"copy", false, 3, copy},
};

enum { CORPUS_ARGS = 3 };

int main(int argc, char **argv) {
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *const command = &commands[i];
		const int skip = command->of_corpus ? CORPUS_ARGS : 0;
		if (strcmp(argv[1], command->name) != 0 || argc != 2 + skip + command->args)
			continue;
		struct corpus corpus = {0};
		if (command->of_corpus)
			corpus = (struct corpus){
				.many_users = strcmp(argv[2], "many") == 0,
				.mixed = strcmp(argv[3], "mixed") == 0,
				.size = to_number(argv[4]),
			};
		return command->run(&corpus, argv + 2 + skip);
	}
	fprintf(stderr, "usage: see tests/bench/core.c\n");
	return 2;
}
