/* Lists collections with their sizes. */
#include <pn/collection.h>
#include <pn/err.h>

static bool describe(struct pn_txn *txn, uint32_t collection, struct pn_wire value, bool counted,
		     struct pn_stat *stat) {
	struct pn_owner owner;
	if (!pn_owner_read(txn, value, &owner))
		return false;
	*stat = (struct pn_stat){
		.type = owner.type,
		.host = owner.host,
		.store = owner.store,
		.user = owner.user,
	};
	if (owner.type == PN_TYPE_ARCHIVE || counted) {
		const struct pn_size size = pn_collection_size(txn, collection, owner.type);
		stat->entries = size.entries;
		stat->bytes = size.bytes;
	}
	return txn->err == PN_OK;
}

/* Whether the cursor is at a collection. A key of another shape, in a damaged database, ends the
 * walk. */
static bool at_collection(const struct pn_cursor *cursor, bool any, uint32_t *number) {
	return any && pn_key_read_collection(cursor->key, PN_KIND_COLLECTION, number);
}

int pn_store_stat(struct pn_db *db, uint32_t *position, unsigned limit, bool counted,
		  void (*each)(void *context, const struct pn_stat *stat), void *context) {
	const struct pn_key prefix = {.len = 1, .bytes = {PN_KIND_COLLECTION}};
	const struct pn_key start = pn_key_collection(PN_KIND_COLLECTION, *position + 1);
	struct pn_txn txn;
	struct pn_cursor cursor;
	struct pn_stat stat;
	uint32_t number;
	if (*position == UINT32_MAX)
		return 0;
	pn_txn_read(db, &txn);
	pn_cursor_open(&txn, &cursor, &prefix);
	bool more = at_collection(&cursor, pn_cursor_seek(&cursor, &start), &number);
	while (more && limit-- > 0 && describe(&txn, number, cursor.value, counted, &stat)) {
		each(context, &stat);
		*position = number;
		more = at_collection(&cursor, pn_cursor_next(&cursor), &number);
	}
	pn_cursor_close(&cursor);
	return pn_txn_end(&txn, more);
}
