/* For operators: figures of a database, copies, and checks. */
#include <signal.h>
#include <string.h>

#include <pn/err.h>

#include "../glue/store.h"

static const char COPY[] = "pn.store.copy";
static const char CHECK[] = "pn.store.check";

/* info() -> table of numbers: struct pn_db_info, and erasing | nil, condition, text */
int pn_lua_info(lua_State *L) {
	struct pn_db *const db = pn_lua_check_db(L)->db;
	struct pn_db_info info = {0};
	uint64_t erasing = 0;
	int err = pn_db_info(db, &info);
	if (err == PN_OK)
		err = pn_store_erasing(db, &erasing);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_newtable(L);
	pn_glue_set_integer(L, "file_bytes", (lua_Integer)info.file_bytes);
	pn_glue_set_integer(L, "used_bytes", (lua_Integer)info.used_bytes);
	pn_glue_set_integer(L, "max_bytes", (lua_Integer)info.max_bytes);
	pn_glue_set_integer(L, "log_bytes", (lua_Integer)info.log_bytes);
	pn_glue_set_integer(L, "transaction", (lua_Integer)info.transaction);
	pn_glue_set_integer(L, "durable", (lua_Integer)info.durable);
	pn_glue_set_integer(L, "erasing", (lua_Integer)erasing);
	pn_glue_set_integer(L, "records", (lua_Integer)info.records);
	pn_glue_set_integer(L, "readers", (lua_Integer)info.readers);
	return 1;
}

/* verify() -> true | nil, condition, text: storage-corrupt or io-error if the file is damaged */
int pn_lua_verify(lua_State *L) {
	return pn_lua_result(L, pn_db_verify(pn_lua_check_db(L)->db));
}

/*
 * verification() -> { structure = "unknown", "sound" or "damaged", running = boolean, done =, total
 * = pages, bad_page = number or nil, problem = text or nil }
 */
int pn_lua_verification(lua_State *L) {
	static const char *const structures[] = {
		[PN_STRUCTURE_UNKNOWN] = "unknown",
		[PN_STRUCTURE_SOUND] = "sound",
		[PN_STRUCTURE_DAMAGED] = "damaged",
	};
	struct pn_verification now;
	pn_db_verification(pn_lua_check_db(L)->db, &now);
	lua_newtable(L);
	pn_glue_set_text(L, "structure", structures[now.structure]);
	lua_pushboolean(L, now.running);
	lua_setfield(L, -2, "running");
	pn_glue_set_integer(L, "done", (lua_Integer)now.done);
	pn_glue_set_integer(L, "total", (lua_Integer)now.total);
	if (now.problem != NULL)
		pn_glue_set_integer(L, "bad_page", (lua_Integer)now.bad_page);
	pn_glue_set_text(L, "problem", now.problem);
	return 1;
}

/* ---- Collections: collected in a buffer, because Lua must not run during an operation ---- */

enum { LIST_STEP = 256 }; /* collections at once: a few milliseconds */

static void put_collection(void *context, const struct pn_stat *found) {
	struct pn_buf *const buf = context;
	pn_wire_put_u8(buf, (uint8_t)found->type);
	pn_wire_put_bytes(buf, found->host.bytes, (uint32_t)found->host.len);
	pn_wire_put_bytes(buf, found->store.bytes, (uint32_t)found->store.len);
	pn_wire_put_u8(buf, found->user.bytes != NULL);
	pn_wire_put_bytes(buf, found->user.bytes, (uint32_t)found->user.len);
	pn_wire_put_u64(buf, found->entries);
	pn_wire_put_u64(buf, found->bytes);
}

static void set_string(lua_State *L, const char *name, struct pn_wire *wire) {
	struct pn_str value;
	value.bytes = pn_wire_bytes(wire, &value.len);
	pn_glue_set_str(L, name, value);
}

static void push_collection(lua_State *L, struct pn_wire *wire) {
	lua_createtable(L, 0, 6);
	pn_glue_set_text(L, "type", pn_wire_u8(wire) == PN_TYPE_ARCHIVE ? "archive" : "keyval");
	set_string(L, "host", wire);
	set_string(L, "store", wire);
	const bool has_user = pn_wire_u8(wire) != 0;
	set_string(L, "user", wire);
	if (!has_user)
		pn_glue_set_text(L, "user", NULL);
	pn_glue_set_integer(L, "entries", (lua_Integer)pn_wire_u64(wire));
	pn_glue_set_integer(L, "bytes", (lua_Integer)pn_wire_u64(wire));
}

/*
 * collections(position, counted) -> array of { type =, host =, store =, user =, entries =, bytes =
 * }, next position or nil | nil, condition, text. position: 0 at first.
 */
int pn_lua_collections(lua_State *L) {
	lua_settop(L, 3);
	uint32_t position = (uint32_t)pn_glue_integer(L, 2, 0, UINT32_MAX);
	const bool counted = lua_toboolean(L, 3);
	struct pn_buf *buf = pn_lua_buffer(L);
	const int more = pn_store_stat(pn_lua_check_db(L)->db, &position, LIST_STEP, counted,
				       put_collection, buf);
	const int err = more < 0 ? more : buf->err;
	if (err != PN_OK) {
		pn_buf_free(buf);
		return pn_glue_error(L, err);
	}
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_newtable(L);
	for (lua_Integer i = 1; wire.left > 0; i++) {
		push_collection(L, &wire);
		lua_rawseti(L, -2, i);
	}
	pn_buf_free(buf);
	if (more == 0)
		return 1;
	lua_pushinteger(L, position);
	return 2;
}

/* ---- Copies ---- */

struct copy_handle {
	struct pn_copy *copy; /* NULL once closed */
	struct pn_copy_change change;
	struct pn_archive_compression compression;
};

static int copy_close(lua_State *L) {
	struct copy_handle *copy = luaL_checkudata(L, 1, COPY);
	pn_copy_free(copy->copy);
	copy->copy = NULL;
	pn_archive_compression_free(&copy->compression);
	return 0;
}

static int push_progress(lua_State *L, int more, struct pn_progress progress) {
	if (more < 0)
		return pn_glue_error(L, more);
	lua_pushboolean(L, more);
	lua_pushinteger(L, (lua_Integer)progress.done);
	lua_pushinteger(L, (lua_Integer)progress.total);
	return 3;
}

/* copy:step() -> more, done, total | nil, condition, text */
static int copy_step(lua_State *L) {
	struct pn_progress progress = {0};
	const struct copy_handle *copy = luaL_checkudata(L, 1, COPY);
	luaL_argcheck(L, copy->copy != NULL, 1, "the copy is closed");
	const int more = pn_copy_step(copy->copy, &progress);
	return push_progress(L, more, progress);
}

/* copy:compressed() -> number of messages that were compressed, also once it is closed */
static int copy_compressed(lua_State *L) {
	const struct copy_handle *copy = luaL_checkudata(L, 1, COPY);
	lua_pushinteger(L, (lua_Integer)copy->compression.messages);
	return 1;
}

/* copy(file, compress) -> copy | nil, condition, text. compress: true to compress messages that are
 * not. */
int pn_lua_copy(lua_State *L) {
	lua_settop(L, 3);
	const char *file = pn_lua_check_path(L, 2);
	struct copy_handle *copy = pn_glue_handle(L, COPY, sizeof(*copy), 0);
	copy->change = (struct pn_copy_change){pn_archive_compress, &copy->compression};
	const int err = pn_copy_new(&copy->copy, pn_lua_check_db(L)->db, file,
				    lua_toboolean(L, 3) ? &copy->change : NULL);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* replace(directory, file) -> true | nil, condition, text */
int pn_lua_replace(lua_State *L) {
	const char *directory = pn_lua_check_path(L, 1);
	const char *file = pn_lua_check_path(L, 2);
	return pn_lua_result(L, pn_db_replace(directory, file));
}

/* ---- Checks ---- */

struct check_handle {
	struct pn_check *check; /* NULL once closed */
	struct pn_buf problems; /* bytes each, of the current step */
};

static int check_close(lua_State *L) {
	struct check_handle *check = luaL_checkudata(L, 1, CHECK);
	pn_check_free(check->check);
	check->check = NULL;
	pn_buf_free(&check->problems);
	return 0;
}

static void put_problem(void *context, const char *text) {
	pn_wire_put_bytes(context, text, (uint32_t)strlen(text));
}

/* check:step() -> more, done, total, array of problems | nil, condition, text */
static int check_step(lua_State *L) {
	struct pn_progress progress = {0};
	struct check_handle *check = luaL_checkudata(L, 1, CHECK);
	struct pn_buf *problems = pn_lua_buffer(L);
	luaL_argcheck(L, check->check != NULL, 1, "the check is closed");
	int more = pn_check_step(check->check, &progress);
	*problems = check->problems; /* moved: Lua may close the check from here on */
	check->problems = (struct pn_buf){0};
	if (problems->err != PN_OK)
		more = problems->err;
	const int results = push_progress(L, more, progress);
	if (more < 0)
		return results;
	pn_lua_push_strings(L, problems);
	pn_buf_free(problems);
	return results + 1;
}

/* check() -> check | nil, condition, text */
int pn_lua_check(lua_State *L) {
	struct check_handle *check = pn_glue_handle(L, CHECK, sizeof(*check), 0);
	const int err =
		pn_check_new(&check->check, pn_lua_check_db(L)->db, put_problem, &check->problems);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/*
 * end_on_interrupt(): from now on Ctrl-C ends the process at once. The program lua would only note
 * it for its main coroutine, which waits for that in which Prosody runs a command.
 */
int pn_lua_end_on_interrupt(lua_State *L) {
	(void)L;
	(void)signal(SIGINT, SIG_DFL);
	return 0;
}

static const luaL_Reg COPY_METHODS[] = {
	{"step", copy_step}, {"compressed", copy_compressed}, {NULL, NULL}};
static const luaL_Reg CHECK_METHODS[] = {{"step", check_step}, {NULL, NULL}};

void pn_lua_open_tools(lua_State *L) {
	pn_glue_type(L, COPY, COPY_METHODS, copy_close);
	pn_glue_type(L, CHECK, CHECK_METHODS, check_close);
}
