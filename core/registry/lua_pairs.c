/* SPDX-License-Identifier: MIT
 *
 * lua_pairs.c -- pairs() of the sandbox: 1 to n, then numbers, then texts in
 * the order of the alphabet. Lua's own order follows a seed that each state
 * draws for itself, and what a function makes of a row must not depend on
 * which state runs it.
 */
#include "lua_host.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int type;
    lua_Number number;
    const char *text; /* held by the table */
    size_t bytes;
    lua_Integer at; /* where the key is in the list of keys */
} key;

static int by_value(const void *a, const void *b)
{
    const key *x = a, *y = b;
    int c;

    if (x->type != y->type)
        return x->type - y->type;
    if (x->type == LUA_TNUMBER && x->number != y->number)
        return x->number < y->number ? -1 : 1;
    if (x->type == LUA_TSTRING) {
        c = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
        if (c || x->bytes != y->bytes)
            return c ? c : x->bytes < y->bytes ? -1 : 1;
    }
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Upvalues: the table, the list of its keys in order, how far it is. A key
 * whose value was taken away meanwhile is passed over. */
static int next_pair(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3));

    do {
        lua_settop(L, 0);
        if (lua_rawgeti(L, lua_upvalueindex(2), ++i) == LUA_TNIL)
            return 1;
        lua_pushvalue(L, 1);
    } while (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL);
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
}

/* The keys of the table at 1 behind its items, into the list at 2. */
static void add_keys(lua_State *L, lua_Integer items)
{
    lua_Integer count = 0;
    key *list;

    lua_newtable(L); /* as they come */
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 &&
            lua_tointeger(L, -2) <= items)
            continue;
        lua_pushvalue(L, -2);
        lua_rawseti(L, 3, ++count);
    }
    list = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *list, 0);
    for (lua_Integer i = 0; i < count; i++) {
        list[i] = (key){ .type = lua_rawgeti(L, 3, i + 1), .at = i + 1 };
        if (list[i].type == LUA_TNUMBER)
            list[i].number = lua_tonumber(L, -1);
        else if (list[i].type == LUA_TSTRING)
            list[i].text = lua_tolstring(L, -1, &list[i].bytes);
        lua_pop(L, 1);
    }
    qsort(list, (size_t)count, sizeof *list, by_value);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, 3, list[i].at);
        lua_rawseti(L, 2, items + i + 1);
    }
}

int hone_lua_pairs(lua_State *L)
{
    lua_Integer items;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    items = (lua_Integer)lua_rawlen(L, 1);
    lua_createtable(L, (int)items, 0);
    for (lua_Integer i = 1; i <= items; i++) {
        lua_pushinteger(L, i);
        lua_rawseti(L, 2, i);
    }
    add_keys(L, items);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_pair, 3);
    return 1;
}
