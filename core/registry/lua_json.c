/* SPDX-License-Identifier: MIT
 *
 * lua_json.c -- see lua_json.h.
 */
#include "lua_json.h"

#include <math.h>

#include <lauxlib.h>

/* The metatable of empty arrays: nothing else tells {} from []. */
#define ARRAY "hone.array"

enum { DEEPEST = 200 };

void hone_lua_push_json(lua_State *L, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;

    luaL_checkstack(L, 4, "JSON is nested too deeply");
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        lua_createtable(L, 0, (int)json_object_size(v));
        json_object_foreach((json_t *)v, key, item) {
            hone_lua_push_json(L, item);
            lua_setfield(L, -2, key);
        }
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(v), 0);
        json_array_foreach(v, i, item) {
            hone_lua_push_json(L, item);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        if (!json_array_size(v)) {
            luaL_newmetatable(L, ARRAY);
            lua_setmetatable(L, -2);
        }
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(v));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(v));
        break;
    default:
        lua_pushnil(L);
    }
}

const char *hone_json_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        return "null";
    default:
        return "number";
    }
}

/* ------------------------------------------------------------- Lua to JSON */

static json_t *to_json(lua_State *L, int index, int depth, hone_err *err);

static int was_array(lua_State *L, int index)
{
    int same;

    if (!lua_getmetatable(L, index))
        return 0;
    same = luaL_getmetatable(L, ARRAY) == LUA_TTABLE && lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static json_t *array_at(lua_State *L, int index, int depth, hone_err *err)
{
    json_t *array = json_array(), *item;
    lua_Integer n = (lua_Integer)lua_rawlen(L, index);

    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        item = to_json(L, lua_gettop(L), depth, err);
        lua_pop(L, 1);
        if (!item) {
            json_decref(array);
            return NULL;
        }
        json_array_append_new(array, item);
    }
    return array;
}

static json_t *object_at(lua_State *L, int index, int depth, hone_err *err)
{
    json_t *object = json_object(), *item;

    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            hone_fail(err, HONE_EINVAL, "a table has names and a %s among its "
                      "keys", luaL_typename(L, -2));
            item = NULL;
        } else {
            item = to_json(L, lua_gettop(L), depth, err);
        }
        if (!item) {
            lua_pop(L, 2);
            json_decref(object);
            return NULL;
        }
        json_object_set_new_nocheck(object, lua_tostring(L, -2), item);
    }
    return object;
}

/* 1 to n and nothing else. */
static int is_array(lua_State *L, int index)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, index), keys = 0;

    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        keys++;
    return n ? keys == n : was_array(L, index) && !keys;
}

static json_t *table_at(lua_State *L, int index, int depth, hone_err *err)
{
    if (depth == DEEPEST || !lua_checkstack(L, 8)) {
        hone_fail(err, HONE_EINVAL, "tables nested more than %d deep; is one "
                  "in itself?", DEEPEST);
        return NULL;
    }
    return is_array(L, index) ? array_at(L, index, depth + 1, err)
                              : object_at(L, index, depth + 1, err);
}

/* INDEX: absolute. */
static json_t *to_json(lua_State *L, int index, int depth, hone_err *err)
{
    const char *text;
    size_t bytes;

    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return json_null();
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &bytes);
        return json_stringn_nocheck(text, bytes);
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return json_integer(lua_tointeger(L, index));
        if (isfinite(lua_tonumber(L, index)))
            return json_real(lua_tonumber(L, index));
        hone_fail(err, HONE_EINVAL, "a number that is not finite");
        return NULL;
    case LUA_TTABLE:
        return table_at(L, index, depth, err);
    default:
        hone_fail(err, HONE_EINVAL, "a %s", luaL_typename(L, index));
        return NULL;
    }
}

json_t *hone_lua_to_json(lua_State *L, int index, hone_err *err)
{
    return to_json(L, lua_absindex(L, index), 0, err);
}
