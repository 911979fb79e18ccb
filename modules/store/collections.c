/* Listing every collection with its size. */
#include <pn/err.h>

#include "archive.h"

static int count_values(struct pn_store *store, uint32_t collection, struct pn_collection *found) {
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		found->entries++;
		found->bytes += cursor.size;
		err = pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

static int describe(struct pn_store *store, uint32_t collection, struct pn_wire value, bool counted,
		    struct pn_collection *found) {
	struct pn_names names;
	struct pn_state state;
	int err = pn_names_read(value, &names);
	if (err != PN_OK)
		return err;
	*found = (struct pn_collection){
		.type = names.type,
		.host = names.host,
		.store = names.store,
		.user = names.user,
	};
	if (names.type != PN_TYPE_ARCHIVE)
		return counted ? count_values(store, collection, found) : PN_OK;
	err = pn_state_read(store, collection, &state);
	if (err <= 0)
		return err < 0 ? err : PN_ECORRUPT;
	found->entries = state.count;
	found->bytes = state.bytes;
	return PN_OK;
}

int pn_store_collections(struct pn_store *store, uint32_t *position, unsigned limit, bool counted,
			 void (*each)(void *context, const struct pn_collection *collection),
			 void *context) {
	struct pn_cursor cursor;
	const struct pn_key start = pn_key_collection(PN_KIND_COLLECTION, *position + 1);
	uint32_t number;
	if (*position == UINT32_MAX)
		return 0;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	while (err > 0 && limit-- > 0 &&
	       pn_key_read_collection(cursor.key, PN_KIND_COLLECTION, &number)) {
		struct pn_collection found;
		err = describe(store, number, cursor.value, counted, &found);
		if (err != PN_OK)
			break;
		each(context, &found);
		*position = number;
		err = pn_cursor_next(&cursor);
	}
	const int more = err > 0 && pn_key_read_collection(cursor.key, PN_KIND_COLLECTION, &number);
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : more);
}
