/* SPDX-License-Identifier: MIT
 *
 * recipe_lua.c -- the module "hone" inside a recipe: constructors, hone.data,
 * hone.extend. A wrong call leaves messages and returns a value all the same,
 * so that the rest of the recipe is read too.
 */
#include "recipe_host.h"

#include <stdlib.h>
#include <string.h>

#include "option.h"

#define MADE "hone.made" /* the metatable of values */

enum { MOST_CALLS = 1000, MOST_KEYS = 512 };

const hone_maker hone_maker_none = { .name = "?", .help = "" };

static hone_reader *reader_of(lua_State *L)
{
    hone_reader *r = lua_touserdata(L, lua_upvalueindex(1));

    if (r->done)
        luaL_error(L, "hone.* is there while the recipe is read, not in the "
                   "functions that it gives");
    return r;
}

hone_made *hone_made_at(lua_State *L, int index)
{
    hone_made **box = luaL_testudata(L, index, MADE);

    return box ? *box : NULL;
}

static void push_made(lua_State *L, hone_made *n)
{
    hone_made **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = n;
    luaL_setmetatable(L, MADE);
}

static int no_fields(lua_State *L)
{
    return luaL_error(L, "the value of hone.%s has no fields; use a local "
                      "variable for what you need twice",
                      hone_made_at(L, 1)->maker->name);
}

static int made_text(lua_State *L)
{
    lua_pushfstring(L, "hone.%s", hone_made_at(L, 1)->maker->name);
    return 1;
}

/* ------------------------------------------------------------ constructors */

/* The string keys of the table at INDEX in a fixed order: lua_next's depends
 * on addresses. Keys of other types than text and 1..n become a message. */
static int keys_of(hone_reader *r, int index, const char **keys,
                   const hone_where *where)
{
    lua_State *L = r->L;
    lua_Integer items = (lua_Integer)lua_rawlen(L, index);
    int count = 0;

    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            if (count == MOST_KEYS)
                luaL_error(L, "%s: more than %d options", where->label,
                           MOST_KEYS);
            keys[count++] = hone_text(r->arena, lua_tostring(L, -2));
        } else if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 ||
                   lua_tointeger(L, -2) > items) {
            hone_reader_say(r, where, "a key must be the name of an option, "
                            "not a %s", luaL_typename(L, -2));
        }
    }
    qsort(keys, (size_t)count, sizeof *keys, hone_by_text);
    return count;
}

/* { "folder", ... }: values without a key. */
static void set_positional(hone_reader *r, hone_made *n, int index,
                           const hone_where *where)
{
    lua_State *L = r->L;
    const hone_option *o = NULL;
    int items = (int)lua_rawlen(L, index);

    if (!items)
        return;
    if (n->maker->positional)
        o = hone_option_find(n->maker->options, n->maker->positional);
    if (o) {
        if (lua_getfield(L, index, o->name) != LUA_TNIL)
            hone_reader_say(r, where, "'%s' is given twice, once without its "
                            "name", o->name);
        lua_pop(L, 1);
    }
    if (!o) {
        hone_reader_say(r, where, "takes no value without a name");
    } else if (items == 1) {
        lua_rawgeti(L, index, 1);
        hone_made_set_lua(r, n, o, -1, where);
        lua_pop(L, 1);
    } else if (hone_form_of(o) != HONE_FORM_PATHS) {
        n->unknown = 1; /* not missing, though not understood */
        hone_reader_say(r, where, "takes one value without a name, got %d",
                        items);
    } else {
        lua_createtable(L, items, 0);
        for (int i = 1; i <= items; i++) {
            lua_rawgeti(L, index, i);
            lua_rawseti(L, -2, i);
        }
        hone_made_set_lua(r, n, o, -1, where);
        lua_pop(L, 1);
    }
}

static void set_key(hone_reader *r, hone_made *n, const char *key, int index,
                    const hone_where *where);

/* eval = { every = 100 } is the option "eval.every". 0: KEY is no such
 * group. */
static int set_group(hone_reader *r, hone_made *n, const char *key, int index,
                     const hone_where *where)
{
    const char *group = hone_format_text(r->arena, "%s.", key);
    const char *keys[MOST_KEYS], *example = hone_made_group(n, key);
    int count;

    if (!example)
        return 0;
    if (!lua_istable(r->L, index)) {
        hone_reader_say(r, where, "'%s' expects a table such as %s = "
                        "{ %s = 100 }, got a %s", key, key, example,
                        luaL_typename(r->L, index));
        return 1;
    }
    if (lua_rawlen(r->L, index))
        hone_reader_say(r, where, "'%s' takes no value without a name", key);
    count = keys_of(r, index, keys, where);
    for (int i = 0; i < count; i++) {
        lua_getfield(r->L, index, keys[i]);
        set_key(r, n, hone_format_text(r->arena, "%s%s", group, keys[i]),
                lua_gettop(r->L), where);
        lua_pop(r->L, 1);
    }
    return 1;
}

static void set_key(hone_reader *r, hone_made *n, const char *key, int index,
                    const hone_where *where)
{
    const hone_option *o = hone_option_find(n->maker->options, key);

    if (o)
        hone_made_set_lua(r, n, o, index, where);
    else if (strchr(key, '.') || !set_group(r, n, key, index, where))
        hone_made_unknown(r, n, key, where);
}

/* Every option of the table at INDEX, checked one by one. Those that are not
 * known come last: what is suggested depends on what the others made. */
static void set_all(hone_reader *r, hone_made *n, int index,
                    const hone_where *where)
{
    const char *keys[MOST_KEYS];
    int count = keys_of(r, index, keys, where);

    set_positional(r, n, index, where);
    for (int unknown = 0; unknown < 2; unknown++)
        for (int i = 0; i < count; i++) {
            int known = hone_option_find(n->maker->options, keys[i]) ||
                        hone_made_group(n, keys[i]);
            if (known == unknown)
                continue;
            lua_getfield(r->L, index, keys[i]);
            set_key(r, n, keys[i], lua_gettop(r->L), where);
            lua_pop(r->L, 1);
        }
}

static hone_made *new_made(hone_reader *r, const hone_maker *m,
                           hone_where *where)
{
    hone_made *n;

    if (r->calls++ == MOST_CALLS)
        luaL_error(r->L, "more than %d constructor calls", MOST_CALLS);
    hone_lua_where(r->L, &where->file, &where->line);
    n = hone_made_new(r, m, where->file, where->line);
    *where = hone_made_where(r, n);
    return n;
}

/* hone.NAME { ... }, hone.NAME "path", hone.NAME(): upvalue 2 is the maker. */
static int construct(lua_State *L)
{
    hone_reader *r = reader_of(L);
    const hone_maker *m = lua_touserdata(L, lua_upvalueindex(2));
    hone_where where = { 0 };
    hone_made *n;
    int type = lua_type(L, 1);

    luaL_checkstack(L, 20, NULL);
    n = new_made(r, m, &where);
    if (m == &hone_maker_none) {
        push_made(L, n); /* said already; its options are not known */
        return 1;
    }
    if (lua_gettop(L) > 1)
        hone_reader_say(r, &where, "takes one table, got %d values",
                        lua_gettop(L));
    else if (type == LUA_TTABLE)
        set_all(r, n, 1, &where);
    else if (type == LUA_TSTRING && m->positional)
        hone_made_set_lua(r, n, hone_option_find(m->options, m->positional), 1,
                          &where);
    else if (type != LUA_TNONE)
        hone_reader_say(r, &where, "expects a table { ... }, got a %s",
                        hone_made_at(L, 1) ? "constructor's value"
                                           : luaL_typename(L, 1));
    push_made(L, n);
    return 1;
}

/* --------------------------------------------------------------- extend */

/* Lets a table of overrides change options of a nested value: in
 * hone.extend("base.lua", { optimizer = { lr = 1e-4 } }) the rest of the
 * base's optimizer stays. */
static void override(hone_reader *r, hone_made *train, int index,
                     const hone_where *where)
{
    const char *keys[MOST_KEYS];
    int count = keys_of(r, index, keys, where);

    if (lua_rawlen(r->L, index))
        hone_reader_say(r, where, "takes no value without a name");
    for (int i = 0; i < count; i++)
        hone_made_displace(train, keys[i]);
    for (int i = 0; i < count; i++) {
        const hone_option *o =
            hone_option_find(train->maker->options, keys[i]);
        hone_made **child = o && hone_form_of(o) == HONE_FORM_MADE
                                ? (void *)((char *)train->config + o->offset)
                                : NULL;
        lua_getfield(r->L, index, keys[i]);
        if (child && *child && lua_istable(r->L, -1)) {
            hone_made *copy = hone_made_copy(r, *child);
            set_all(r, copy, lua_gettop(r->L), where);
            *child = copy;
        } else {
            set_key(r, train, keys[i], lua_gettop(r->L), where);
        }
        lua_pop(r->L, 1);
    }
}

/* The file of the base as messages show it: beside the file that calls. */
static const char *base_file(hone_reader *r, const char *from,
                             const char *base)
{
    const char *slash = strrchr(from, '/');

    if (base[0] == '/' || !slash)
        return hone_text(r->arena, base);
    return hone_format_text(r->arena, "%.*s%s", (int)(slash + 1 - from), from,
                            base);
}

static hone_made *run_base(hone_reader *r, const char *file)
{
    enum { DEEPEST = sizeof r->extending / sizeof *r->extending };
    hone_made *base;
    hone_err err;

    for (int i = 0; i < r->depth; i++)
        if (!strcmp(r->extending[i], file))
            luaL_error(r->L, "hone.extend: %s extends itself", file);
    if (r->depth == DEEPEST)
        luaL_error(r->L, "hone.extend: more than %d recipes deep", DEEPEST);
    r->extending[r->depth++] = file;
    if (hone_lua_load(r->L, file, &err) != HONE_OK) {
        luaL_where(r->L, 1);
        lua_pushfstring(r->L, "hone.extend: %s", err.msg);
        lua_concat(r->L, 2);
        lua_error(r->L);
    }
    lua_call(r->L, 0, 1);
    r->depth--;
    base = hone_made_at(r->L, -1);
    if (!base || base->maker != &hone_maker_train)
        luaL_error(r->L, "hone.extend: %s does not return hone.train { ... }",
                   file);
    return hone_made_copy(r, base);
}

/* hone.extend("base.lua", { ... }) */
static int extend(lua_State *L)
{
    hone_reader *r = reader_of(L);
    const char *base = luaL_checkstring(L, 1);
    hone_where where = { .label = "hone.extend" };
    hone_made *train;

    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checkstack(L, 20, NULL);
    hone_lua_where(L, &where.file, &where.line);
    train = run_base(r, base_file(r, where.file, base));
    train->file = where.file;
    train->line = where.line;
    if (lua_istable(L, 2))
        override(r, train, 2, &where);
    push_made(L, train);
    return 1;
}

/* ------------------------------------------------------------------ mix */

/* The source at I of the list: a value of hone.data, or one with its weight.
 * NULL: neither, which was said. */
static hone_made *source_at(hone_reader *r, int i, const hone_where *where)
{
    lua_State *L = r->L;
    hone_made *n, *copy = NULL;
    double weight = 0;

    lua_geti(L, 1, i);
    n = hone_made_at(L, -1);
    if (lua_istable(L, -1)) {
        lua_geti(L, -1, 1);
        n = hone_made_at(L, -1);
        lua_geti(L, -2, 2);
        weight = lua_isnil(L, -1) ? 0 : lua_tonumber(L, -1);
        if (!lua_isnil(L, -1) && !(weight > 0 && weight < 1e15))
            n = NULL;
    }
    lua_settop(L, 1);
    if (n && n->maker == &hone_maker_none)
        return NULL;
    if (n && hone_made_fits(n, "data") && !((hone_rows *)n->config)->next) {
        copy = hone_made_copy(r, n);
        ((hone_rows *)copy->config)->weight = weight;
    } else {
        hone_reader_say(r, where, "source %d must be { hone.data.alpaca "
                        "\"data.json\", weight }, with a weight above 0", i);
    }
    return copy;
}

/* hone.mix { { source, weight }, ... }: the first source, which the others
 * hang on. */
static int mix(lua_State *L)
{
    hone_reader *r = reader_of(L);
    hone_where where = { .label = "hone.mix" };
    hone_made *first = NULL, *last = NULL;
    int count, weights = 0, bad = 0;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    count = (int)lua_rawlen(L, 1);
    hone_lua_where(L, &where.file, &where.line);
    for (int i = 1; i <= count && i <= HONE_MOST_SOURCES; i++) {
        hone_made *n = source_at(r, i, &where);

        bad |= !n;
        if (!n)
            continue;
        weights += ((hone_rows *)n->config)->weight > 0;
        if (last)
            ((hone_rows *)last->config)->next = n;
        first = first ? first : n;
        last = n;
    }
    if (!count || count > HONE_MOST_SOURCES)
        hone_reader_say(r, &where, "takes 1 to %d sources, got %d",
                        HONE_MOST_SOURCES, count);
    else if (!bad && weights && weights < count)
        hone_reader_say(r, &where, "%d of %d sources have a weight; give all "
                        "of them one, or none", weights, count);
    push_made(L, first ? first : new_made(r, &hone_maker_none, &where));
    return 1;
}

/* ------------------------------------------------------------ the module */

static void push_constructor(hone_reader *r, const char *name)
{
    const char *why;
    const hone_maker *m = hone_maker_find(r->arena, name, &why);
    hone_where where = { 0 };

    if (!m) {
        hone_lua_where(r->L, &where.file, &where.line);
        where.label = hone_format_text(r->arena, "hone.%s", name);
        hone_reader_say(r, &where, "%s", why);
        m = &hone_maker_none;
    }
    lua_pushlightuserdata(r->L, r);
    lua_pushlightuserdata(r->L, (void *)m);
    lua_pushcclosure(r->L, construct, 2);
}

/* hone.NAME; upvalue 2 is the prefix, "" or "data." */
static int index_module(lua_State *L)
{
    hone_reader *r = reader_of(L);
    const char *prefix = lua_tostring(L, lua_upvalueindex(2));

    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "hone.%s needs a name", prefix);
    push_constructor(r, hone_format_text(r->arena, "%s%s", prefix,
                                         lua_tostring(L, 2)));
    return 1;
}

/* hone.data { ... } is hone.data.auto { ... }. */
static int call_data(lua_State *L)
{
    push_constructor(reader_of(L), "data.auto");
    lua_replace(L, 1); /* the table hone.data */
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int no_write(lua_State *L)
{
    return luaL_error(L, "the module hone cannot be changed");
}

/* An empty table that looks names up when they are used. */
static void push_module(hone_reader *r, const char *prefix)
{
    lua_State *L = r->L;

    lua_newtable(L);
    lua_newtable(L);
    lua_pushlightuserdata(L, r);
    lua_pushstring(L, prefix);
    lua_pushcclosure(L, index_module, 2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, no_write);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
}

void hone_reader_module(hone_reader *r)
{
    lua_State *L = r->L;

    luaL_newmetatable(L, MADE);
    lua_pushcfunction(L, no_fields);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, made_text);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);

    push_module(r, "");
    push_module(r, "data.");
    lua_getmetatable(L, -1);
    lua_pushlightuserdata(L, r);
    lua_pushcclosure(L, call_data, 1);
    lua_setfield(L, -2, "__call");
    lua_pop(L, 1);
    lua_pushstring(L, "data");
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pushstring(L, "extend");
    lua_pushlightuserdata(L, r);
    lua_pushcclosure(L, extend, 1);
    lua_rawset(L, -3);
    lua_pushstring(L, "mix");
    lua_pushlightuserdata(L, r);
    lua_pushcclosure(L, mix, 1);
    lua_rawset(L, -3);
    hone_lua_module(L, "hone");
}
