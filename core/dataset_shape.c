/* SPDX-License-Identifier: MIT
 *
 * dataset_shape.c -- see dataset_shape.h. Everything that touches Lua values
 * runs inside one protected call a row; what it works on lies in the shape, so
 * that an error that jumps out leaks nothing.
 */
#include "dataset_shape.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "lua_host.h"
#include "registry.h"

enum { MOST_FIELDS = 64, MOST_SEGMENTS = 4096 };

typedef struct {
    const char *name, *source; /* in map(); in the data file */
    const char *type;
    int has_default;
} field;

struct hone_shape {
    hone_arena arena;
    lua_State *lua;
    const char *name, *text;
    size_t bytes;
    const char *const *renames;
    field field[MOST_FIELDS];
    int fields, whole_row;
    int spec_ref; /* the table that the file returned */
    /* of the row being mapped: */
    json_t *row;
    hone_segment *segment;
    int segments, segment_cap;
};

/* ------------------------------------------------------- JSON to Lua */

static void push_json(lua_State *L, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;

    luaL_checkstack(L, 4, "a row is nested too deeply");
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        lua_createtable(L, 0, (int)json_object_size(v));
        json_object_foreach((json_t *)v, key, item) {
            push_json(L, item);
            lua_setfield(L, -2, key);
        }
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(v), 0);
        json_array_foreach(v, i, item) {
            push_json(L, item);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
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
    case JSON_NULL:
        lua_pushnil(L);
        break;
    }
}

static const char *type_name(const json_t *v)
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

/* ------------------------------------------------------- reading the file */

static const char *source_of(const hone_shape *s, const char *name)
{
    for (const char *const *r = s->renames; r && r[0]; r += 2)
        if (!strcmp(r[0], name))
            return r[1];
    return name;
}

/* The value of `fields` is on top: { NAME = { type =, default = }, ... }. */
static void read_fields(lua_State *L, hone_shape *s)
{
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        field *f = &s->field[s->fields];

        if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
            luaL_error(L, "fields must be { name = { type = ... }, ... }");
        if (s->fields == MOST_FIELDS)
            luaL_error(L, "more than %d fields", MOST_FIELDS);
        f->name = hone_text(&s->arena, lua_tostring(L, -2));
        f->source = source_of(s, f->name);
        lua_getfield(L, -1, "type");
        f->type = hone_text(&s->arena, luaL_optstring(L, -1, "string"));
        lua_getfield(L, -2, "default");
        f->has_default = !lua_isnil(L, -1);
        lua_pop(L, 3);
        s->fields++;
    }
}

/* Runs the file (the function below the shape) and keeps what it returns. */
static int read_spec(lua_State *L)
{
    hone_shape *s = lua_touserdata(L, 2);

    lua_settop(L, 1);
    lua_call(L, 0, 1);
    if (!lua_istable(L, 1))
        return luaL_error(L, "%s: must return a table with map = function",
                          s->name);
    if (lua_getfield(L, 1, "map") != LUA_TFUNCTION)
        return luaL_error(L, "%s: map must be a function", s->name);
    if (lua_getfield(L, 1, "fields") == LUA_TTABLE)
        read_fields(L, s);
    else
        s->whole_row = 1;
    lua_pushvalue(L, 1);
    s->spec_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static hone_status open_file(hone_shape *s, hone_err *err)
{
    const char *share = hone_share_dir();
    const char *const folders[] = { share, NULL };
    const char *path = hone_format_text(&s->arena, "%s/data/%s.lua", share,
                                        s->name);

    hone_try(hone_lua_read(&s->arena, path, &s->text, &s->bytes, err));
    s->lua = hone_lua_open(&s->arena, folders);
    lua_pushcfunction(s->lua, read_spec);
    hone_try(hone_lua_load(s->lua, path, err));
    lua_pushlightuserdata(s->lua, s);
    return hone_lua_call(s->lua, 2, 0, err);
}

hone_status hone_shape_open(hone_shape **out, const char *name,
                            const char *const *renames, hone_err *err)
{
    hone_arena arena = { 0 };
    hone_shape *s = hone_alloc(&arena, sizeof *s);
    hone_status status;

    s->arena = arena;
    s->name = hone_text(&s->arena, name);
    s->renames = renames;
    status = open_file(s, err);
    if (status != HONE_OK) {
        hone_shape_close(s);
        return status;
    }
    *out = s;
    return HONE_OK;
}

void hone_shape_close(hone_shape *s)
{
    hone_arena arena;

    if (!s)
        return;
    hone_lua_close(s->lua);
    arena = s->arena; /* the shape itself lies in it */
    hone_arena_free(&arena);
}

const char *hone_shape_text(const hone_shape *s, size_t *bytes)
{
    *bytes = s->bytes;
    return s->text;
}

/* ---------------------------------------------------------- mapping a row */

/* "; the row has: a, b, c" */
static const char *push_keys(lua_State *L, const json_t *row)
{
    luaL_Buffer b;
    const char *key;
    json_t *item;
    int n = 0;

    luaL_buffinit(L, &b);
    luaL_addstring(&b, "the row has");
    json_object_foreach((json_t *)row, key, item) {
        if (n == 12) {
            luaL_addstring(&b, "...");
            break;
        }
        luaL_addstring(&b, n++ ? ", '" : " '");
        luaL_addstring(&b, key);
        luaL_addstring(&b, "'");
    }
    if (!n)
        luaL_addstring(&b, " nothing");
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

/* Pushes field F of the row; FIELDS is the stack index of the table. */
static void push_field(lua_State *L, const hone_shape *s, const field *f,
                       int fields)
{
    const json_t *v = json_object_get(s->row, f->source);

    if (v && !json_is_null(v)) {
        if (strcmp(f->type, type_name(v)) && strcmp(f->type, "any"))
            luaL_error(L, "field '%s' is of type %s, expected %s", f->source,
                       type_name(v), f->type);
        push_json(L, v);
    } else if (f->has_default) {
        lua_getfield(L, fields, f->name);
        lua_getfield(L, -1, "default");
        lua_remove(L, -2);
    } else if (v) {
        luaL_error(L, "field '%s' is null", f->source);
    } else {
        luaL_error(L, "no field '%s'; %s; rename one with %s = \"...\"",
                   f->source, push_keys(L, s->row), f->name);
    }
}

static void push_row(lua_State *L, const hone_shape *s, int spec)
{
    int fields;

    if (s->whole_row) {
        push_json(L, s->row);
        return;
    }
    lua_getfield(L, spec, "fields");
    fields = lua_gettop(L);
    lua_createtable(L, 0, s->fields);
    for (int i = 0; i < s->fields; i++) {
        push_field(L, s, &s->field[i], fields);
        lua_setfield(L, -2, s->field[i].name);
    }
}

static int flag(lua_State *L, const char *name)
{
    int value;

    lua_getfield(L, -1, name);
    value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The segment on top. Its text stays where it is: in the list, on the stack
 * until the next row. */
static void read_segment(lua_State *L, hone_shape *s, int number)
{
    hone_segment g = { NULL, 0, flag(L, "target"), flag(L, "special") };
    int eos = flag(L, "eos");

    if (lua_getfield(L, -1, "text") == LUA_TSTRING)
        g.text = lua_tolstring(L, -1, &g.bytes);
    if (eos == (g.text != NULL))
        luaL_error(L, "%s: segment %d must have text = \"...\" or eos = true",
                   s->name, number);
    lua_pop(L, 1);
    hone_push(&s->arena, s->segment, s->segments, s->segment_cap);
    s->segment[s->segments++] = g;
}

/* Leaves the list of segments. */
static int map_row(lua_State *L)
{
    hone_shape *s = lua_touserdata(L, 1);
    lua_Integer count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->spec_ref);
    lua_getfield(L, 2, "map");
    push_row(L, s, 2);
    lua_replace(L, 2);
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1))
        return luaL_error(L, "%s: map must return a list of segments",
                          s->name);
    count = luaL_len(L, -1);
    if (count > MOST_SEGMENTS)
        return luaL_error(L, "%s: more than %d segments", s->name,
                          MOST_SEGMENTS);
    for (int i = 1; i <= (int)count; i++) {
        if (lua_geti(L, 3, i) != LUA_TTABLE)
            return luaL_error(L, "%s: segment %d is not a table", s->name, i);
        read_segment(L, s, i);
        lua_pop(L, 1);
    }
    return 1;
}

hone_status hone_shape_map(hone_shape *s, const char *json, size_t bytes,
                           const hone_segment **out, int *count, int *line,
                           hone_err *err)
{
    json_error_t error;
    hone_status status;

    *line = 1;
    s->row = json_loadb(json, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!s->row) {
        *line = error.line > 0 ? error.line : 1;
        return hone_fail(err, HONE_EINVAL, "%s", error.text);
    }
    if (!json_is_object(s->row)) {
        hone_fail(err, HONE_EINVAL, "expected an object, got %s",
                  type_name(s->row));
        json_decref(s->row);
        return HONE_EINVAL;
    }
    lua_settop(s->lua, 0);
    s->segments = 0;
    lua_pushcfunction(s->lua, map_row);
    lua_pushlightuserdata(s->lua, s);
    status = hone_lua_call(s->lua, 1, 1, err);
    json_decref(s->row);
    *out = s->segment;
    *count = s->segments;
    return status;
}
