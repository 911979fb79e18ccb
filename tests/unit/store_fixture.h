/* A database in a directory of its own, with a key-value store, an archive store and users. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/archive.h>
#include <pn/db.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/wire.h>

#include "../oom/alloc.h"
#include "test.h"
#include "tokens.h"

enum { PATH_SIZE = 256, SLICE = 500 };

static const struct pn_user JULIET = {"juliet", 6};
static const struct pn_user ROMEO = {"romeo", 5};
static const struct pn_user HOST = {NULL, 0};
static const struct pn_str NONE = {NULL, 0};
static const struct pn_archive_query EVERYTHING = {0};

struct fixture {
	char directory[PATH_SIZE];
	struct pn_db_options options;
	struct pn_db *db;
	struct pn_store keyval;
	struct pn_store archive;
};

/* ---- Directories ---- */

static inline void directory_make(char directory[PATH_SIZE]) {
	const char *parent = getenv("TMPDIR");
	snprintf(directory, PATH_SIZE, "%s/pn-store-XXXXXX", parent != NULL ? parent : P_tmpdir);
	REQUIRE(mkdtemp(directory) != NULL);
}

static inline void directory_remove(const char *directory) {
	DIR *entries = opendir(directory);
	REQUIRE(entries != NULL);
	for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
		if (entry->d_name[0] != '.')
			REQUIRE(unlinkat(dirfd(entries), entry->d_name, 0) == 0);
	}
	closedir(entries);
	REQUIRE(rmdir(directory) == 0);
}

static inline int directory_open(const char *directory, const char *name, int flags) {
	char path[2 * PATH_SIZE];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	const int fd = open(path, flags | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0);
	return fd;
}

/* ---- The fixture ---- */

/* The number of open databases. If it is 0, no memory may be allocated. */
static unsigned databases_open;

/* Opens the database, and makes the stores if that succeeds. */
static inline int try_open(struct fixture *f) {
	const int err = pn_db_open(&f->db, &f->options);
	if (err != PN_OK)
		return err;
	REQUIRE(pn_store_init(&f->keyval, f->db, PN_TYPE_KEYVAL, str("host"), str("kv")) == PN_OK);
	REQUIRE(pn_store_init(&f->archive, f->db, PN_TYPE_ARCHIVE, str("host"), str("mam")) ==
		PN_OK);
	return PN_OK;
}

static inline void open_db(struct fixture *f) {
	REQUIRE(try_open(f) == PN_OK);
	databases_open++;
}

static inline void setup_with(struct fixture *f, struct pn_db_options options) {
	*f = (struct fixture){.options = options};
	directory_make(f->directory);
	f->options.directory = f->directory;
	open_db(f);
}

static inline void setup(struct fixture *f) {
	setup_with(f, (struct pn_db_options){.interval = 60000, .verify = true});
}

static inline void close_db(struct fixture *f) {
	pn_db_close(f->db);
	f->db = NULL;
	databases_open--;
	CHECK(databases_open > 0 || (test_alloc.blocks == 0 && test_alloc.bytes == 0));
}

static inline void reopen(struct fixture *f) {
	close_db(f);
	open_db(f);
}

static inline void teardown(struct fixture *f) {
	close_db(f);
	directory_remove(f->directory);
}

static inline void commit(struct fixture *f) {
	CHECK(pn_db_commit(f->db) == PN_OK);
}

/* ---- The checker ---- */

static inline void count_problem(void *context, const char *text) {
	unsigned *problems = context;
	*problems += 1;
	printf("# %s\n", text);
}

/* Runs a check to its end. Returns the number of problems, or an error. */
static inline int problems(struct pn_db *db) {
	struct pn_check *check;
	struct pn_progress progress;
	unsigned count = 0;
	int more = pn_check_new(&check, db, count_problem, &count);
	if (more != PN_OK)
		return more;
	do
		more = pn_check_step(check, &progress);
	while (more > 0);
	pn_check_free(check);
	return more < 0 ? more : (int)count;
}

static inline void check_whole(struct fixture *f) {
	commit(f);
	CHECK(problems(f->db) == 0);
}

/* ---- Key-value ---- */

/* value = NULL removes the record. */
static inline int put(struct fixture *f, struct pn_user user, const char *key, const char *value) {
	const struct pn_record record = {str(key), value != NULL ? str(value) : NONE};
	return pn_kv_set(&f->keyval, user, &record, 1);
}

static inline int drop(struct fixture *f, struct pn_user user, const char *key) {
	return put(f, user, key, NULL);
}

/* Whether the record has the value; value = NULL: whether it does not exist. */
static inline bool holds(struct fixture *f, struct pn_user user, const char *key,
			 const char *value) {
	struct pn_buf buf = {0};
	const int found = pn_kv_get(&f->keyval, user, str(key), &buf);
	bool same = value == NULL ? found == 0 && buf.len == 0 : found == 1;
	if (value != NULL)
		same = same && buf.len == strlen(value) &&
		       (buf.len == 0 || memcmp(buf.data, value, buf.len) == 0);
	pn_buf_free(&buf);
	return same;
}

/* The number of the user's records, or an error. */
static inline int count_records(struct fixture *f, struct pn_user user) {
	struct pn_buf buf = {0};
	const int count = pn_kv_load(&f->keyval, user, &buf);
	pn_buf_free(&buf);
	return count;
}

/* ---- Archives ---- */

struct id {
	char bytes[PN_ARCHIVE_ID_LEN];
};

static inline struct pn_str id_str(const struct id *id) {
	return (struct pn_str){id->bytes, sizeof(id->bytes)};
}

/* A stanza with it is stored compressed. */
#define COMPRESSED_TEXT "again and again and again and again and again and again"

/* Fills a text with bytes, none of them NUL, that cannot be compressed. */
static inline void fill_noise(char *text, size_t len) {
	uint64_t random = 1;
	for (size_t i = 0; i < len; i++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		text[i] = (char)(1 + (random >> 33) % 255);
	}
}

/* A packed <message><body>TEXT</body></message>. Free it. */
static inline struct pn_buf packed(const char *text) {
	struct pn_buf buf = {0};
	struct pn_pack pack;
	pn_pack_init(&pack, &buf);
	pn_pack_start(&pack, str("message"));
	pn_pack_start(&pack, str("body"));
	pn_pack_text(&pack, str(text));
	pn_pack_end(&pack);
	pn_pack_end(&pack);
	return buf;
}

/* peer, key: NULL for none. id: NULL if it is not wanted. */
static inline int append_to(struct fixture *f, struct pn_user user, const char *text, double when,
			    const char *peer, const char *key, struct id *id) {
	struct id unwanted;
	struct pn_buf stanza = packed(text);
	const struct pn_message message = {
		.stanza = {(char *)stanza.data, stanza.len},
		.id = key != NULL ? str(key) : NONE,
		.peer = peer != NULL ? str(peer) : NONE,
		.when = when,
	};
	const int err = stanza.err != PN_OK
				? stanza.err
				: pn_archive_append(&f->archive, user, &message, 0,
						    id != NULL ? id->bytes : unwanted.bytes);
	pn_buf_free(&stanza);
	return err;
}

static inline int append(struct fixture *f, const char *text, double when, const char *peer,
			 struct id *id) {
	return append_to(f, JULIET, text, when, peer, NULL, id);
}

/* The text of a packed body. */
static inline struct pn_str body(struct pn_str stanza) {
	struct pn_wire wire;
	struct pn_str text = {"", 0};
	if (!CHECK(pn_unpack(stanza, &wire) == PN_OK))
		return text;
	for (int strings = 0; strings < 3; strings++) {
		(void)pn_wire_u8(&wire);
		(void)pn_unpack_string(&wire, &text);
	}
	return text;
}

/* Sets `texts` to the bodies of the messages found, separated by blanks. Returns 0 or an error. */
static inline int find_texts(struct fixture *f, struct pn_user user,
			     const struct pn_archive_query *query, uint64_t limit, char *texts,
			     size_t size) {
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	size_t len = 0;
	texts[0] = '\0';
	int err = pn_archive_find(&cursor, &f->archive, user, query, limit, NULL);
	if (err != PN_OK)
		return err;
	while ((err = pn_archive_next(cursor, &message)) > 0 && len < size - 1) {
		const struct pn_str text = body(message.stanza);
		len += (size_t)snprintf(texts + len, size - len, "%s%.*s", len > 0 ? " " : "",
					(int)text.len, text.bytes);
	}
	pn_archive_cursor_free(cursor);
	return err;
}

/* Checks that the query finds exactly these messages. */
static inline void check_found(struct fixture *f, const struct pn_archive_query *query,
			       const char *want) {
	char got[4096];
	CHECK(find_texts(f, JULIET, query, UINT64_MAX, got, sizeof(got)) == PN_OK);
	CHECK_STR(got, want);
}

static inline void check_all(struct fixture *f, const char *want) {
	check_found(f, &EVERYTHING, want);
}

/* The number of matches of the query, or an error. */
static inline int64_t total(struct fixture *f, struct pn_user user,
			    const struct pn_archive_query *query) {
	struct pn_archive_cursor *cursor;
	uint64_t count = 0;
	const int err = pn_archive_find(&cursor, &f->archive, user, query, 0, &count);
	if (err != PN_OK)
		return err;
	pn_archive_cursor_free(cursor);
	return (int64_t)count;
}

/* Deletes all matches, a slice at a time. Returns the number of messages, or an error. */
static inline int64_t delete_slices(struct fixture *f, const struct pn_archive_query *query,
				    uint64_t slice) {
	uint64_t count = 0;
	int more;
	do
		more = pn_archive_delete(&f->archive, JULIET, query, slice, &count);
	while (more > 0);
	return more < 0 ? more : (int64_t)count;
}

static inline int64_t delete_matching(struct fixture *f, const struct pn_archive_query *query) {
	return delete_slices(f, query, SLICE);
}

#endif
