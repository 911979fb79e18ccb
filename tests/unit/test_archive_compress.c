/* Archives whose messages are compressed, or were stored by a version that did not compress them.
 */
#include "raw.h"
#include "store_fixture.h"

enum { TEXT = 3000, MESSAGES = 300 };

/* ---- Messages as LMDB has them ---- */

static bool is_message(MDB_val key) {
	return key.mv_size == 11 && memcmp(key.mv_data, "r", 1) == 0 &&
	       ((char *)key.mv_data)[5] == 'm';
}

/* Where the stanza begins: behind version, flags, epoch, peer, when, [latest], [key]. */
static size_t stanza_at(MDB_val value) {
	struct pn_wire wire = pn_wire_open(value.mv_data, value.mv_size);
	size_t len;
	(void)pn_wire_u8(&wire);
	const uint8_t flags = pn_wire_u8(&wire);
	(void)pn_wire_take(&wire, 4 + 4 + 8 + (flags & 1 ? 8 : 0));
	if (flags & 2)
		(void)pn_wire_bytes(&wire, &len);
	REQUIRE(wire.err == PN_OK);
	return value.mv_size - wire.left;
}

/* Writes the records in `changes`: bytes key, bytes value. */
static void put_changes(struct raw *raw, const struct pn_buf *changes) {
	struct pn_wire wire = pn_wire_open(changes->data, changes->len);
	while (wire.left > 0) {
		MDB_val key, value;
		key.mv_data = (void *)pn_wire_bytes(&wire, &key.mv_size);
		value.mv_data = (void *)pn_wire_bytes(&wire, &value.mv_size);
		REQUIRE(mdb_put(raw->txn, raw->dbi, &key, &value, 0) == 0);
	}
}

/* Appends another stanza to `out`, and returns true; or returns false. */
typedef bool change_stanza(void *context, struct pn_str stanza, struct pn_buf *out);

/* Changes the stanzas of all messages of a closed database. Returns the number of those changed. */
static int change_messages(const char *directory, change_stanza *change, void *context) {
	struct raw raw = raw_open(directory);
	struct pn_buf changes = {0};
	MDB_cursor *cursor;
	MDB_val key, value;
	int changed = 0;
	REQUIRE(mdb_cursor_open(raw.txn, raw.dbi, &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		struct pn_buf out = {0};
		const size_t at = is_message(key) ? stanza_at(value) : 0;
		const struct pn_str stanza = {(char *)value.mv_data + at, value.mv_size - at};
		pn_buf_append(&out, value.mv_data, at);
		if (at > 0 && change(context, stanza, &out)) {
			pn_wire_put_bytes(&changes, key.mv_data, (uint32_t)key.mv_size);
			pn_wire_put_bytes(&changes, out.data, (uint32_t)out.len);
			changed++;
		}
		pn_buf_free(&out);
	}
	mdb_cursor_close(cursor);
	put_changes(&raw, &changes);
	pn_buf_free(&changes);
	raw_close(&raw);
	return changed;
}

struct uncompression {
	struct pn_compressor compressor;
	uint64_t random; /* 0: all messages */
};

static bool uncompress(void *context, struct pn_str stanza, struct pn_buf *out) {
	struct uncompression *const it = context;
	it->random = it->random * 6364136223846793005 + (it->random != 0);
	if (stanza.bytes[0] != PN_COMPRESSED || (it->random >> 33) % 2 != 0)
		return false;
	REQUIRE(pn_decompress(&it->compressor, stanza, out) == PN_OK);
	return true;
}

/* Gives compressed messages the form that the version before has stored: all, or about half of them
 * as `seed` says. Returns their number. */
static int uncompress_messages(const char *directory, uint64_t seed) {
	struct uncompression it = {.random = seed};
	const int count = change_messages(directory, uncompress, &it);
	pn_compressor_free(&it.compressor);
	return count;
}

static bool count_compressed(void *context, struct pn_str stanza, struct pn_buf *out) {
	(void)out;
	*(int *)context += stanza.bytes[0] == PN_COMPRESSED;
	return false;
}

static int compressed_messages(const char *directory) {
	int count = 0;
	change_messages(directory, count_compressed, &count);
	return count;
}

/* ---- A store ---- */

/* Most texts are compressed, and some are too short for it. */
static void append_some(struct fixture *f, int from, int to) {
	static const char *const peers[] = {"a@b/c", "a@b", "e@f", NULL};
	char text[TEXT], key[16];
	for (int i = from; i < to; i++) {
		int len = snprintf(text, sizeof(text), "%d", i);
		for (int words = (i * 7) % 40; i % 5 != 0 && words > 0; words--)
			len += snprintf(text + len, sizeof(text) - (size_t)len, ",words");
		snprintf(key, sizeof(key), "key %d", i);
		CHECK(append_to(f, JULIET, text, i % 9 == 0 ? i - 20 : i, peers[i % 4],
				i % 3 == 0 ? key : NULL, NULL) == PN_OK);
	}
	commit(f);
}

/* All texts, and the sizes that the state counts. */
struct contents {
	char texts[MESSAGES * 400];
	uint64_t bytes;
};

static void note_bytes(void *context, const struct pn_stat *found) {
	*(uint64_t *)context += found->bytes;
}

static void read_contents(struct fixture *f, struct contents *contents) {
	uint32_t position = 0;
	contents->bytes = 0;
	CHECK(find_texts(f, JULIET, &EVERYTHING, UINT64_MAX, contents->texts,
			 sizeof(contents->texts)) == PN_OK);
	CHECK(pn_store_stat(f->db, &position, 10, true, note_bytes, &contents->bytes) == 0);
	check_whole(f);
}

static bool same_contents(struct fixture *f, const struct contents *before) {
	static struct contents now;
	read_contents(f, &now);
	return strcmp(now.texts, before->texts) == 0 && now.bytes == before->bytes;
}

static struct contents contents;

/* ---- Both forms ---- */

TEST(messages_are_stored_compressed_and_counted_as_if_they_were_not) {
	struct fixture f;
	setup(&f);
	append_some(&f, 0, MESSAGES);
	read_contents(&f, &contents);
	close_db(&f);
	const int count = compressed_messages(f.directory);
	CHECK(count > MESSAGES / 2 && count < MESSAGES);
	CHECK(uncompress_messages(f.directory, 0) == count);
	CHECK(compressed_messages(f.directory) == 0);
	open_db(&f);
	CHECK(same_contents(&f, &contents));
	teardown(&f);
}

static int delete_of_peer(struct fixture *f) {
	const struct pn_archive_query query = {.peer = str("e@f"), .has_keep = true, .keep = 2};
	return (int)delete_matching(f, &query);
}

static int delete_range(struct fixture *f) {
	const struct pn_archive_query query = {
		.has_start = true, .start = 31, .has_end = true, .end = 60};
	return (int)delete_matching(f, &query);
}

static int replace_keys(struct fixture *f) {
	append_some(f, 90, 120);
	return 30;
}

static int change_some(struct fixture *f) {
	char key[16];
	int count = 0;
	for (int i = 120; i < 150; i += 3) {
		struct pn_buf stanza = packed("changed, changed, changed, changed, changed");
		const struct pn_archive_change change = {
			.stanza = {(char *)stanza.data, stanza.len}};
		snprintf(key, sizeof(key), "key %d", i);
		count += pn_archive_set(&f->archive, JULIET, str(key), &change) == PN_OK;
		pn_buf_free(&stanza);
	}
	return count;
}

TEST(every_operation_has_the_same_result_on_messages_of_both_forms) {
	static int (*const operations[])(struct fixture *) = {delete_of_peer, delete_range,
							      replace_keys, change_some};
	for (int try_ = 0; try_ < test_tries(4, 40); try_++) {
		const uint64_t seed = test_seed() + (uint64_t)try_;
		struct fixture f, mixed;
		setup(&f);
		setup(&mixed);
		append_some(&f, 0, MESSAGES / 2);
		append_some(&mixed, 0, MESSAGES / 2);
		close_db(&mixed);
		CHECK(uncompress_messages(mixed.directory, seed | 1) > 0);
		open_db(&mixed);
		for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
			const int count = operations[i](&f);
			CHECK(count > 0 && operations[i](&mixed) == count);
			read_contents(&f, &contents);
			CHECK(same_contents(&mixed, &contents));
		}
		teardown(&f);
		teardown(&mixed);
	}
}

/* ---- Copies ---- */

/* Copies the database of `f` to a new directory, and opens that as *to. Returns the messages that
 * the copy compressed. */
static uint64_t copy_compressed(struct fixture *f, struct fixture *to, bool compress) {
	struct pn_archive_compression compression = {0};
	const struct pn_copy_change change = {pn_archive_compress, &compression};
	struct pn_copy *copy;
	struct pn_progress progress;
	char file[PATH_SIZE + 16];
	int more;
	*to = (struct fixture){.options = {.interval = 60000, .verify = true}};
	directory_make(to->directory);
	to->options.directory = to->directory;
	snprintf(file, sizeof(file), "%s/data.mdb", to->directory);
	REQUIRE(pn_copy_new(&copy, f->db, file, compress ? &change : NULL) == PN_OK);
	do
		more = pn_copy_step(copy, &progress);
	while (more > 0);
	CHECK(more == 0);
	pn_copy_free(copy);
	pn_archive_compression_free(&compression);
	open_db(to);
	return compression.messages;
}

TEST(a_copy_compresses_the_messages_of_the_version_before_and_no_others) {
	struct fixture f, copy, again;
	setup(&f);
	append_some(&f, 0, MESSAGES);
	close_db(&f);
	const int all = compressed_messages(f.directory);
	const int plain = uncompress_messages(f.directory, 1);
	CHECK(plain > 0 && plain < all);
	open_db(&f);
	read_contents(&f, &contents);
	CHECK(copy_compressed(&f, &copy, true) == (uint64_t)plain);
	CHECK(same_contents(&copy, &contents));
	CHECK(copy_compressed(&copy, &again, true) == 0);
	CHECK(same_contents(&again, &contents));
	close_db(&copy);
	CHECK(compressed_messages(copy.directory) == all);
	directory_remove(copy.directory);
	teardown(&again);
	CHECK(copy_compressed(&f, &again, false) == 0);
	CHECK(same_contents(&again, &contents));
	close_db(&again);
	CHECK(compressed_messages(again.directory) == all - plain);
	directory_remove(again.directory);
	teardown(&f);
}

/* ---- Damage ---- */

/* Damages every third compressed stanza: in turn the size, the first block, and the last byte. */
static bool damage(void *context, struct pn_str stanza, struct pn_buf *out) {
	int *const count = context;
	const size_t places[] = {1, 4, stanza.len - 1};
	if (stanza.bytes[0] != PN_COMPRESSED || ++*count % 3 != 0)
		return false;
	const size_t at = out->len + places[*count / 3 % 3];
	pn_buf_append(out, stanza.bytes, stanza.len);
	out->data[at] ^= 0x7e;
	return true;
}

/* The numbers of messages that can be read, and of those that cannot. */
static void count_readable(struct fixture *f, int *readable, int *damaged) {
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	struct pn_wire tokens;
	*readable = *damaged = 0;
	REQUIRE(pn_archive_find(&cursor, &f->archive, JULIET, &EVERYTHING, UINT64_MAX, NULL) ==
		PN_OK);
	while (pn_archive_next(cursor, &message) > 0)
		++*(pn_unpack(message.stanza, &tokens) == PN_OK ? readable : damaged);
	pn_archive_cursor_free(cursor);
}

TEST(a_compressed_message_that_is_damaged_is_named_and_all_others_are_read) {
	struct fixture f, copy;
	int compressed = 0, readable, damaged;
	setup(&f);
	append_some(&f, 0, 60);
	close_db(&f);
	const int count = change_messages(f.directory, damage, &compressed);
	open_db(&f);
	count_readable(&f, &readable, &damaged);
	CHECK(readable + damaged == 60 && damaged > 0 && damaged <= count);
	CHECK(problems(f.db) >= damaged);
	CHECK(copy_compressed(&f, &copy, true) == 0);
	int readable_there, damaged_there;
	count_readable(&copy, &readable_there, &damaged_there);
	CHECK(readable_there == readable && damaged_there == damaged);
	teardown(&copy);
	CHECK(delete_matching(&f, &(struct pn_archive_query){.peer = str("a@b")}) == 30);
	CHECK(delete_matching(&f, &EVERYTHING) == 30);
	teardown(&f);
}

/* ---- The store of the version before: its format, and messages that are not compressed ---- */

static const char OLDER[] = "\1\0\0\0\1pn-store", NEWER[] = "\1\0\0\0\2pn-store";

/* Makes the database one of the version before. Returns the number of messages changed. */
static int make_older(const char *directory) {
	struct raw raw = raw_open(directory);
	MDB_val format = {1, "F"}, position = {1, "L"}, value;
	unsigned char bytes[64];
	REQUIRE(mdb_get(raw.txn, raw.dbi, &format, &value) == 0 && value.mv_size <= sizeof(bytes));
	memcpy(bytes, value.mv_data, value.mv_size);
	REQUIRE(memcmp(bytes, NEWER, sizeof(NEWER)) == 0);
	memcpy(bytes, OLDER, sizeof(OLDER));
	value.mv_data = bytes;
	REQUIRE(mdb_put(raw.txn, raw.dbi, &format, &value, 0) == 0);
	REQUIRE(mdb_del(raw.txn, raw.dbi, &position, NULL) == 0);
	raw_close(&raw);
	return uncompress_messages(directory, 0);
}

static bool has_format(const char *directory, const char *wanted) {
	struct raw raw = raw_open(directory);
	MDB_val format = {1, "F"}, value;
	REQUIRE(mdb_get(raw.txn, raw.dbi, &format, &value) == 0);
	const bool same = memcmp(value.mv_data, wanted, sizeof(OLDER)) == 0;
	raw_close(&raw);
	return same;
}

static void setup_older(struct fixture *f) {
	setup(f);
	append_some(f, 0, 100);
	read_contents(f, &contents);
	close_db(f);
	CHECK(make_older(f->directory) > 50);
}

TEST(a_store_of_the_version_before_is_opened_at_once_and_written_to_in_the_new_form) {
	struct fixture f;
	setup_older(&f);
	open_db(&f);
	CHECK(same_contents(&f, &contents));
	close_db(&f);
	CHECK(has_format(f.directory, NEWER) && compressed_messages(f.directory) == 0);
	open_db(&f);
	append_some(&f, 100, 200);
	check_whole(&f);
	close_db(&f);
	CHECK(compressed_messages(f.directory) > 50);
	directory_remove(f.directory);
}

/* A server of the version before has it open, and a tool of this one is started. */
TEST(a_store_that_the_version_before_has_open_is_refused_and_left_as_it_is) {
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
	struct fixture f;
	setup_older(&f);
	const int fd = directory_open(f.directory, "lock", O_RDWR | O_CREAT);
	REQUIRE(fcntl(fd, F_OFD_SETLK, &shared) == 0);
	CHECK(try_open(&f) == PN_EOUTDATED);
	CHECK(has_format(f.directory, OLDER) && compressed_messages(f.directory) == 0);
	close(fd);
	open_db(&f);
	CHECK(same_contents(&f, &contents));
	teardown(&f);
}

int main(void) {
	return test_run("archive compression");
}
