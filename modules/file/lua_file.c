/* pn/file.h for Lua: file.so, luaopen_file. A comment above each function describes its arguments
 * and results. */
#include <errno.h>
#include <string.h>

#include <pn/err.h>
#include <pn/file.h>

#include "../glue/glue.h"

enum { PRIVATE = 0600 };

/* Returns true, or nil, condition, and the text of the operating system. */
static int finish(lua_State *L, int err) {
	const int why = errno;
	if (err == PN_OK) {
		lua_pushboolean(L, 1);
		return 1;
	}
	pn_glue_error(L, err);
	lua_pop(L, 1);
	lua_pushstring(L, strerror(why));
	return 3;
}

/* write(path, text, like) -> true | nil, condition, text. The new file gets the owner and the mode
 * of the file `like`; without `like` only its owner may use it. */
static int file_write(lua_State *L) {
	const char *path = luaL_checkstring(L, 1);
	const struct pn_str text = pn_glue_str(L, 2);
	const char *like = luaL_optstring(L, 3, NULL);
	struct pn_file_rights rights = {(uid_t)-1, (gid_t)-1, PRIVATE};
	int err = like != NULL ? pn_file_rights(like, &rights) : PN_OK;
	if (err == PN_OK)
		err = pn_file_write(path, text, rights);
	return finish(L, err);
}

/* sync(directory) -> true | nil, condition, text */
static int file_sync(lua_State *L) {
	return finish(L, pn_file_sync_directory(luaL_checkstring(L, 1)));
}

static const luaL_Reg FUNCTIONS[] = {{"write", file_write}, {"sync", file_sync}, {NULL, NULL}};

PN_EXPORT int luaopen_file(lua_State *L);

int luaopen_file(lua_State *L) {
	luaL_newlib(L, FUNCTIONS);
	return 1;
}
