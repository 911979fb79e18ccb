/* Pages of an archive as encoded results of XEP-0313. */
#include <pn/err.h>
#include <pn/result.h>

#include "lua_archive.h"

/* What is read of a page: sequences of `bytes` of pn/wire.h. */
struct page {
	struct pn_buf *results; /* encoded */
	struct pn_buf *ids;     /* of these */
	struct pn_buf *damaged; /* ids of messages that cannot be read */
	uint64_t left;          /* results that may be appended */
	bool more;              /* a message is left */
};

static void put_str(struct pn_buf *buf, struct pn_str str) {
	pn_wire_put_bytes(buf, str.bytes, (uint32_t)str.len);
}

/* Appends a result, or notes that the message is damaged. */
static int put_result(struct page *page, const struct pn_result *result) {
	struct pn_buf *const results = page->results;
	const size_t at = results->len;
	pn_wire_put_u32(results, 0);
	const int err = pn_result_encode(results, result);
	if (err == PN_ECORRUPT || err == PN_EVERSION) {
		results->len = at;
		put_str(page->damaged, result->id);
		return page->damaged->err;
	}
	if (err != PN_OK)
		return err;
	pn_wire_set_u32(results, at, (uint32_t)(results->len - at - 4));
	put_str(page->ids, result->id);
	page->left--;
	return page->ids->err;
}

/* result: with what all results have in common */
static int read_page(struct pn_archive_cursor *cursor, struct pn_result *result,
		     struct page *page) {
	struct pn_message message;
	int found = 0;
	while ((found = pn_archive_next(cursor, &message)) > 0) {
		if (page->left == 0) {
			page->more = true;
			return PN_OK;
		}
		result->id = message.id;
		result->stanza = message.stanza;
		result->when = message.when;
		const int err = put_result(page, result);
		if (err != PN_OK)
			return err;
	}
	return found;
}

static int find_page(const struct pn_store *store, struct pn_user user,
		     const struct pn_archive_query *query, struct pn_result *result,
		     struct page *page, uint64_t *total) {
	struct pn_archive_cursor *cursor;
	int err = pn_archive_find(&cursor, store, user, query, page->left + 1, total);
	if (err != PN_OK)
		return err;
	err = read_page(cursor, result, page);
	pn_archive_cursor_free(cursor);
	return err;
}

static void report_all(lua_State *L, int owner, const struct pn_buf *damaged) {
	struct pn_wire wire = pn_wire_open(damaged->data, damaged->len);
	while (wire.left > 0) {
		struct pn_str id;
		id.bytes = pn_wire_bytes(&wire, &id.len);
		pn_lua_report_damage(L, owner, id);
	}
}

/*
 * page(user, query, size, to or nil, from or nil, id of the query or nil [, without_to])
 *   -> { [i] = a result as XML; ids = { of these }; more = boolean; total = integer }
 *    | nil, condition, text
 * query: as for find(), whose fields limit and total are ignored. size: the most results.
 * without_to: the messages have no "to".
 */
int pn_lua_archive_page(lua_State *L) {
	struct pn_lua_db *db;
	uint64_t total = 0;
	lua_settop(L, 8);
	const struct pn_user user = pn_lua_check_user(L, 2);
	struct page page = {.left = (uint64_t)pn_glue_integer(L, 4, 0, INT32_MAX)};
	struct pn_result result = {.to = pn_lua_optional_str(L, 5),
				   .from = pn_lua_optional_str(L, 6),
				   .query = pn_lua_optional_str(L, 7),
				   .without_to = lua_toboolean(L, 8)};
	struct pn_archive_query query = pn_lua_check_query(L, 3);
	page.results = pn_lua_buffer(L);
	page.ids = pn_lua_buffer(L);
	page.damaged = pn_lua_buffer(L);
	const struct pn_store *store = pn_lua_check_queried(L, &db, &query);
	const int owner = lua_gettop(L);
	result.whole_seconds = db->whole_seconds;
	const int err = find_page(store, user, &query, &result, &page, &total);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	pn_lua_push_strings(L, page.results);
	pn_buf_free(page.results);
	pn_lua_push_strings(L, page.ids);
	lua_setfield(L, -2, "ids");
	pn_glue_set_boolean(L, "more", page.more);
	pn_glue_set_integer(L, "total", (lua_Integer)total);
	report_all(L, owner, page.damaged);
	return 1;
}
