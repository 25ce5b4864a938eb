/* SPDX-License-Identifier: MIT
 *
 * lua_host.h -- a Lua 5.4 state for text that somebody else wrote: recipes,
 * model families, data shapes. Only text chunks, no io, os, debug, load or
 * coroutines; undeclared globals are errors; time and memory are capped.
 *
 * Inside hone_lua_call() any Lua function may longjmp: C functions called from
 * Lua own nothing but arena memory and userdata.
 */
#ifndef HONE_LUA_HOST_H
#define HONE_LUA_HOST_H

#include <lauxlib.h>
#include <lua.h>

#include "arena.h"
#include "hone/plugin.h"

#define HONE_LUA_SECONDS 2.0
#define HONE_LUA_BYTES ((size_t)256 << 20)

/* FOLDERS (ends with NULL, copied): where require() looks for NAME.lua and
 * lib/NAME.lua, in this order and nowhere else. A must outlive the state. */
lua_State *hone_lua_open(hone_arena *a, const char *const *folders);
void hone_lua_close(lua_State *);

/* The whole text of a file of at most 16 MiB, in A, NUL behind it. */
hone_status hone_lua_read(hone_arena *a, const char *path, const char **text,
                          size_t *bytes, hone_err *);

/* Pushes the file as a function; messages call it PATH, however long. */
hone_status hone_lua_load(lua_State *, const char *path, hone_err *);

/* lua_pcall with the caps: each outermost call gets HONE_LUA_SECONDS of CPU
 * time and may make the state grow to HONE_LUA_BYTES. On failure the results
 * are not pushed and the message is the error's text, with file and line. */
hone_status hone_lua_call(lua_State *, int nargs, int nresults, hone_err *);

/* From now on no file is loaded. The texts of all that were, in the arena: what
 * functions of this state depend on. */
const char *hone_lua_seal(lua_State *, size_t *bytes);

/* Lines FIRST to LAST (from 1) of the file that was loaded as SOURCE ("@path");
 * NULL: no file. */
const char *hone_lua_lines(lua_State *, const char *source, int first,
                           int last, size_t *bytes);

/* What the functions with these references in the registry (0: none) depend
 * on, as bytes that are the same for the same functions wherever they stand in
 * a file: lines, upvalues. NULL if an upvalue cannot be told so, such as a
 * library's function or a table with itself in it. */
const char *hone_lua_print(lua_State *, hone_arena *, const int *refs,
                           int count, size_t *bytes);

/* Pops a value: what require(NAME) returns from now on. */
void hone_lua_module(lua_State *, const char *name);

/* The Lua code that called the running C function: the file as given to
 * hone_lua_load(), in the arena, and the line. "?" and 0 if there is none. */
void hone_lua_where(lua_State *, const char **file, int *line);

/* pairs() in an order that is the same in every state. */
int hone_lua_pairs(lua_State *);

#endif
