/* For operators: figures of a database, copies, and checks. */
#include <signal.h>
#include <string.h>

#include <pn/err.h>

#include "../glue/store.h"

static const char COPY[] = "pn.store.copy";
static const char COMPACTION[] = "pn.store.compaction";
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

/* is_damaged(directory) -> whether damage was found in its data file */
int pn_lua_is_damaged(lua_State *L) {
	lua_pushboolean(L, pn_db_is_damaged(pn_lua_check_path(L, 1)));
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
};

static int copy_close(lua_State *L) {
	struct copy_handle *copy = luaL_checkudata(L, 1, COPY);
	pn_copy_free(copy->copy);
	copy->copy = NULL;
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

/* Pushes an error that names the place of the damage. */
static int push_damage(lua_State *L, const char *place) {
	lua_pushnil(L);
	lua_pushstring(L, pn_err_condition(PN_ECORRUPT));
	lua_pushfstring(L, "%s (%s)", pn_err_text(PN_ECORRUPT), place);
	return 3;
}

/* copy:step() -> more, done, total | nil, condition, text */
static int copy_step(lua_State *L) {
	struct pn_progress progress = {0};
	char place[PN_COPY_PLACE];
	const struct copy_handle *copy = luaL_checkudata(L, 1, COPY);
	luaL_argcheck(L, copy->copy != NULL, 1, "the copy is closed");
	const int more = pn_copy_step(copy->copy, &progress);
	if (more != PN_ECORRUPT)
		return push_progress(L, more, progress);
	pn_copy_place(copy->copy, place);
	return push_damage(L, place);
}

/* copy(file) -> copy | nil, condition, text */
int pn_lua_copy(lua_State *L) {
	const char *file = pn_lua_check_path(L, 2);
	struct copy_handle *copy = pn_glue_handle(L, COPY, sizeof(*copy), 0);
	const int err = pn_copy_new(&copy->copy, pn_lua_check_db(L)->db, file, NULL);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* replace(directory, file) -> true | nil, condition, text */
int pn_lua_replace(lua_State *L) {
	const char *directory = pn_lua_check_path(L, 1);
	const char *file = pn_lua_check_path(L, 2);
	return pn_lua_result(L, pn_db_replace(directory, file));
}

/* ---- Compactions ---- */

struct compaction_handle {
	struct pn_compaction *compaction; /* NULL once closed */
	struct pn_archive_compression compression;
	struct pn_copy_change change;
};

static int compaction_close(lua_State *L) {
	struct compaction_handle *handle = luaL_checkudata(L, 1, COMPACTION);
	struct pn_compaction *const open = handle->compaction;
	handle->compaction = NULL;
	pn_compact_free(open);
	pn_archive_compression_free(&handle->compression);
	return 0;
}

static struct pn_compaction *check_compaction(lua_State *L) {
	const struct compaction_handle *handle = luaL_checkudata(L, 1, COMPACTION);
	luaL_argcheck(L, handle->compaction != NULL, 1, "the compaction is closed");
	return handle->compaction;
}

/* compaction:step() -> more, done, total | nil, condition, text */
static int compaction_step(lua_State *L) {
	struct pn_progress progress = {0};
	char place[PN_COPY_PLACE];
	struct pn_compaction *const compaction = check_compaction(L);
	const int more = pn_compact_step(compaction, &progress);
	if (more != PN_ECORRUPT)
		return push_progress(L, more, progress);
	pn_compact_place(compaction, place);
	return push_damage(L, place);
}

/* compaction:switch() -> true; false: go on with step() | nil, condition, text */
static int compaction_switch(lua_State *L) {
	const int more = pn_compact_switch(check_compaction(L));
	if (more < 0)
		return pn_glue_error(L, more);
	lua_pushboolean(L, more == 0);
	return 1;
}

/* compaction:compressed() -> number of messages that were compressed, once all are copied, also
 * once it is closed */
static int compaction_compressed(lua_State *L) {
	const struct compaction_handle *handle = luaL_checkudata(L, 1, COMPACTION);
	lua_pushinteger(L, (lua_Integer)handle->compression.messages);
	return 1;
}

/* compact(background) -> compaction | nil, condition, text. background: a boolean, see pn/db.h */
int pn_lua_compact(lua_State *L) {
	const bool background = lua_toboolean(L, 2);
	struct compaction_handle *handle = pn_glue_handle(L, COMPACTION, sizeof(*handle), 0);
	handle->change = (struct pn_copy_change){pn_archive_compress, &handle->compression};
	const int err = pn_compact_new(&handle->compaction, pn_lua_check_db(L)->db, background,
				       &handle->change);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* others() -> array of the ids of the other processes that have the database open */
int pn_lua_others(lua_State *L) {
	enum { MOST = 16 };
	pid_t pids[MOST];
	const size_t count = pn_db_others(pn_lua_check_db(L)->db, pids, MOST);
	lua_createtable(L, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		lua_pushinteger(L, pids[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
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

static const luaL_Reg COPY_METHODS[] = {{"step", copy_step}, {NULL, NULL}};
static const luaL_Reg COMPACTION_METHODS[] = {
	{"step", compaction_step},
	{"switch", compaction_switch},
	{"compressed", compaction_compressed},
	{NULL, NULL},
};
static const luaL_Reg CHECK_METHODS[] = {{"step", check_step}, {NULL, NULL}};

void pn_lua_open_tools(lua_State *L) {
	pn_glue_type(L, COPY, COPY_METHODS, copy_close);
	pn_glue_type(L, COMPACTION, COMPACTION_METHODS, compaction_close);
	pn_glue_type(L, CHECK, CHECK_METHODS, check_close);
}
