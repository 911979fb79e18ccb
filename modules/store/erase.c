/* Erases the records of removed collections, and of deleted messages, in the background. */
#include <pn/archive.h>
#include <pn/collection.h>
#include <pn/err.h>

enum {
	ERASE_PUTS = 4,  /* x, and the leaves at both ends */
	PER_LEAF = 16,   /* records with which erasing takes a leaf: it removes neighbours */
	MOST = 500,      /* records that one operation erases */
	PER_MESSAGE = 4, /* records: of the message, and in indexes */
};

/* The first collection from `from` on that has a record of the kind; 0 if there is none. */
static uint32_t first_of(struct pn_db *db, enum pn_kind kind, uint32_t from, int *err) {
	const struct pn_key prefix = {.len = 1, .bytes = {(unsigned char)kind}};
	const struct pn_key start = pn_key_collection(kind, from);
	struct pn_txn txn;
	struct pn_cursor cursor;
	uint32_t collection = 0;
	pn_txn_read(db, &txn);
	if (pn_cursor_find(&txn, &cursor, &prefix, &start)) {
		if (!pn_key_read_collection(cursor.key, kind, &collection))
			collection = 0;
		pn_cursor_close(&cursor);
	}
	*err = pn_txn_end(&txn, PN_OK);
	return *err == PN_OK ? collection : 0;
}

/* ---- Removed collections ---- */

/* Erases up to `limit` records with the prefix. Returns the rest of the limit. */
static unsigned erase_prefix(struct pn_txn *txn, const struct pn_key *prefix, unsigned limit) {
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, prefix);
	for (bool any = pn_cursor_first(&cursor); any && limit > 0; any = pn_cursor_next(&cursor)) {
		pn_cursor_remove(&cursor);
		limit--;
	}
	pn_cursor_close(&cursor);
	return limit;
}

/* Erases records of a removed collection, and its record x at the end. Returns how many. */
static unsigned erase_collection(struct pn_db *db, uint32_t collection, unsigned limit, int *err) {
	const struct pn_key records = pn_key_collection(PN_KIND_RECORD, collection);
	const struct pn_key trash = pn_key_collection(PN_KIND_TRASH, collection);
	struct pn_txn txn;
	pn_txn_write(db, &txn,
		     (struct pn_claim){.puts = ERASE_PUTS + limit / PER_LEAF, .removes = true});
	unsigned left = erase_prefix(&txn, &records, limit);
	if (left > 0)
		left = erase_prefix(&txn, &trash, left);
	*err = pn_txn_end(&txn, PN_OK);
	return limit - left;
}

/* The progress of pn_store_erase(). */
struct erasing {
	struct pn_db *db;
	unsigned limit; /* records that may still be erased */
	bool any;       /* something was erased */
	bool damaged;   /* an archive was skipped */
	int err;
};

static void spend(struct erasing *erasing, unsigned records) {
	erasing->any = erasing->any || records > 0;
	erasing->limit -= erasing->limit < records ? erasing->limit : records;
}

static void erase_collections(struct erasing *erasing) {
	struct pn_db *const db = erasing->db;
	while (erasing->limit > 0 && erasing->err == PN_OK) {
		const unsigned most = erasing->limit < MOST ? erasing->limit : MOST;
		const uint32_t collection = first_of(db, PN_KIND_TRASH, 0, &erasing->err);
		if (collection == 0)
			return;
		const unsigned erased = erase_collection(db, collection, most, &erasing->err);
		if (erasing->err == PN_OK)
			spend(erasing, erased);
	}
}

/* ---- Deleted messages ---- */

static bool is_damage(int err) {
	return err == PN_ECORRUPT || err == PN_EVERSION;
}

static void erase_messages(struct erasing *erasing) {
	uint32_t archive = 0;
	while (erasing->limit > 0 && erasing->err == PN_OK) {
		unsigned erased = 0;
		archive = first_of(erasing->db, PN_KIND_MARKS, archive, &erasing->err);
		if (archive == 0)
			return;
		const int more = pn_archive_erase(erasing->db, archive,
						  erasing->limit / PER_MESSAGE + 1, &erased);
		if (is_damage(more))
			erasing->damaged = true;
		else if (more < 0)
			erasing->err = more;
		else
			spend(erasing, erased * PER_MESSAGE + 1); /* 1 for the mark */
		archive += more <= 0;
	}
}

int pn_store_erase(struct pn_db *db, unsigned limit) {
	struct erasing erasing = {.db = db, .limit = limit};
	erase_collections(&erasing);
	erase_messages(&erasing);
	if (erasing.err != PN_OK)
		return erasing.err;
	if (erasing.damaged && !erasing.any)
		return PN_ECORRUPT;
	return erasing.limit == 0 || erasing.damaged;
}

/* ---- For operators ---- */

static uint64_t count_of(struct pn_txn *txn, enum pn_kind kind) {
	const struct pn_key prefix = {.len = 1, .bytes = {(unsigned char)kind}};
	struct pn_cursor cursor;
	uint64_t count = 0;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor))
		count++;
	pn_cursor_close(&cursor);
	return count;
}

int pn_store_erasing(struct pn_db *db, uint64_t *count) {
	struct pn_txn txn;
	pn_txn_read(db, &txn);
	const uint64_t found = count_of(&txn, PN_KIND_TRASH) + count_of(&txn, PN_KIND_MARKS);
	const int err = pn_txn_end(&txn, PN_OK);
	if (err == PN_OK)
		*count = found;
	return err;
}
