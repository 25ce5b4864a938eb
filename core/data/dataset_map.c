/* SPDX-License-Identifier: MIT
 *
 * dataset_map.c -- see dataset_map.h. The functions run in the state that the
 * recipe was read in, with the same caps for every call.
 */
#include "dataset_map.h"

#include "lua_host.h"
#include "lua_json.h"

typedef struct {
    int function; /* reference in the registry */
    const json_t *row;
} call;

/* function(row), its first two results. */
static int call_function(lua_State *L)
{
    const call *c = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->function);
    hone_lua_push_json(L, c->row);
    lua_call(L, 1, 2);
    return 2;
}

/* Leaves the two results as the only values of the stack. */
static hone_status run(lua_State *L, int function, const json_t *row,
                       hone_err *err)
{
    call c = { function, row };

    if (!L)
        return hone_fail(err, HONE_EINVAL, "the functions of the recipe are "
                         "gone: its data was prepared before");
    lua_settop(L, 0);
    lua_pushcfunction(L, call_function);
    lua_pushlightuserdata(L, &c);
    return hone_lua_call(L, 1, 2, err);
}

hone_status hone_map_row(const hone_data_functions *f, json_t **row,
                         hone_err *err)
{
    json_t *made = NULL;
    hone_err why;

    hone_try(run(f->lua, f->map, *row, err));
    if (!lua_isnil(f->lua, 1)) {
        if (!lua_istable(f->lua, 1))
            return hone_fail(err, HONE_EINVAL, "map() must return a row or "
                             "nil, got a %s", luaL_typename(f->lua, 1));
        made = hone_lua_to_json(f->lua, 1, &why);
        if (!made)
            return hone_fail(err, HONE_EINVAL, "the row that map() returns has "
                             "in it what no row can have: %s", why.msg);
    }
    json_decref(*row);
    *row = made;
    return HONE_OK;
}

hone_status hone_map_template(const hone_data_functions *f, const json_t *row,
                              hone_texts *to, hone_err *err)
{
    *to = (hone_texts){ { NULL, NULL }, { 0, 0 } };
    hone_try(run(f->lua, f->template, row, err));
    if (lua_isnil(f->lua, 1))
        return HONE_OK;
    for (int i = 0; i < 2; i++) {
        if (lua_type(f->lua, i + 1) != LUA_TSTRING)
            return hone_fail(err, HONE_EINVAL, "template() must return two "
                             "texts, prompt and completion, or nil; the %s is "
                             "a %s", i ? "second" : "first",
                             luaL_typename(f->lua, i + 1));
        to->text[i] = lua_tolstring(f->lua, i + 1, &to->bytes[i]);
    }
    return HONE_OK;
}

void hone_data_functions_close(hone_data_functions *f)
{
    if (!f)
        return;
    if (!f->borrowed)
        hone_lua_close(f->lua);
    f->lua = NULL;
}
