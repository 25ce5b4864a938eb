/* SPDX-License-Identifier: MIT
 *
 * recipe_auto.c -- hone.data.auto: reads the first row of the first file and
 * lets recipes/data/auto.lua say which shape it has, what its fields are
 * called, and why.
 */
#include "recipe_host.h"

#include "dataset_files.h"
#include "lua_json.h"
#include "tokens.h"

enum { ROWS_TRIED = 100, MOST_NAMES = 2 * HONE_MOST_FIELDS };

/* The first row that can be read; NULL: there is none. */
static json_t *first_row(hone_arena *a, const hone_data_config *d,
                         const char *path, hone_err *err)
{
    const hone_component *c;
    const hone_format *f;
    json_t *found = NULL;
    json_error_t why;
    void *reader;

    if (hone_format_find(path, &c, err) != HONE_OK ||
        hone_format_open(d, c, path, &reader, err) != HONE_OK)
        return NULL;
    f = c->ops;
    hone_fail(err, HONE_EINVAL, "%s: no row that can be read", path);
    for (int i = 0; i < ROWS_TRIED && !json_is_object(found); i++) {
        hone_row row = { NULL, 0, 0, 0 };
        hone_status s = f->next(reader, &row, err);
        size_t bytes;
        const char *text;

        if (s == HONE_END || (s != HONE_OK && !row.number))
            break;
        if (s != HONE_OK)
            continue;
        json_decref(found);
        text = hone_utf8_repair(a, row.json, row.bytes, &bytes);
        found = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (!json_is_object(found))
            hone_fail(err, HONE_EINVAL, "%s: no row that can be read; row "
                      "%lld: %s", path, (long long)row.number,
                      found ? "no object" : why.text);
    }
    f->close(reader);
    if (json_is_object(found))
        return found;
    json_decref(found);
    return NULL;
}

/* recognise(row) of the table that the file below returns. */
static int recognise(lua_State *L)
{
    lua_settop(L, 2); /* the file, the row */
    lua_pushvalue(L, 1);
    lua_call(L, 0, 1);
    lua_getfield(L, 3, "recognise");
    hone_lua_push_json(L, lua_touserdata(L, 2));
    lua_call(L, 1, 3);
    return 3;
}

/* The three results are on the stack. */
static void keep(hone_reader *r, lua_State *L, hone_rows *c)
{
    const char **names = hone_alloc(r->arena,
                                    sizeof *names * (MOST_NAMES + 1));
    int count = (int)lua_rawlen(L, -2);

    for (int i = 0; i < count && i < MOST_NAMES; i++) {
        lua_rawgeti(L, -2, i + 1);
        names[i] = hone_text(r->arena, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    c->shape = hone_text(r->arena, lua_tostring(L, -3));
    c->found = names;
    c->notes[1] = hone_format_text(r->arena, "%s: taken for %s: %s",
                                   c->files[0], c->shape, lua_tostring(L, -1));
}

static hone_status ask(hone_reader *r, hone_rows *c, json_t *row, hone_err *err)
{
    const char *const folders[] = { hone_share_dir(), NULL };
    const char *path = hone_format_text(r->arena, "%s/data/auto.lua",
                                        hone_share_dir());
    lua_State *L = hone_lua_open(r->arena, folders);
    hone_status s;

    lua_pushcfunction(L, recognise);
    s = hone_lua_load(L, path, err);
    if (s == HONE_OK) {
        lua_pushlightuserdata(L, row);
        s = hone_lua_call(L, 2, 3, err);
    }
    if (s == HONE_OK)
        keep(r, L, c);
    hone_lua_close(L);
    return s;
}

void hone_reader_recognise(hone_reader *r, const hone_made *data,
                           const hone_where *where)
{
    hone_rows *c = data->config;
    const hone_data_config d = {
        .formats = hone_made_formats(r->arena, data) };
    hone_err err;
    json_t *row;
    const char *why;

    if (c->map) {
        hone_reader_say(r, where, "with 'map' the shape must be named: hone."
                        "data.SHAPE { ... }");
        return;
    }
    row = first_row(r->arena, &d, c->files[0], &err);
    if (!row)
        hone_reader_say(r, where, "%s", err.msg);
    else if (ask(r, c, row, &err) != HONE_OK)
        hone_reader_say(r, where, "%s: %s", c->files[0], err.msg);
    else if (!hone_maker_find(r->arena, hone_format_text(r->arena, "data.%s",
                                                         c->shape), &why))
        hone_reader_say(r, where, "%s: rows of the shape %s: %s", c->files[0],
                        c->shape, why);
    json_decref(row);
}
