/* SPDX-License-Identifier: MIT
 *
 * dataset_shape.c -- see dataset_shape.h. Everything that touches Lua values
 * runs inside one protected call a row; what it works on lies in the shape, so
 * that an error that jumps out leaks nothing.
 */
#include "dataset_shape.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "dataset_chat.h"
#include "dataset_map.h"
#include "lua_host.h"
#include "lua_json.h"
#include "registry.h"

enum { MOST_FIELDS = 64, MOST_SEGMENTS = 4096 };

typedef struct {
    const char *name, *source; /* in map(); in the data file */
    const char *type;
    json_t *other; /* the default, or NULL */
} field;

struct hone_shape {
    hone_arena arena;
    lua_State *lua;
    const char *name, *text;
    size_t bytes;
    const char *const *renames;
    const hone_data_functions *functions; /* or NULL */
    field field[MOST_FIELDS];
    int fields, whole_row, trains;
    int spec_ref; /* the table that the file returned */
    int loss;     /* hone_loss */
    int is_chat;  /* rows are conversations */
    int has_map;  /* or texts, if they are both */
    hone_chat_names names;
    hone_chat chat; /* api NULL: not opened */
    const char *no_chat; /* why not, if rows may be texts */
    const hone_tokens *tokens;
    /* of the row being mapped: */
    hone_arena ids; /* of its segments */
    json_t *row;
    hone_segment *segment;
    int segments, segment_cap;
};

/* ------------------------------------------------------- reading the file */

static const char *source_of(const hone_shape *s, const char *name)
{
    for (const char *const *r = s->renames; r && r[0]; r += 2)
        if (!strcmp(r[0], name))
            return r[1];
    return name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const field *)a)->name, ((const field *)b)->name);
}

/* The value of `fields` is on top: { NAME = { type =, default = }, ... }. Kept
 * in the order of the alphabet: lua_next's depends on addresses. */
static void read_fields(lua_State *L, hone_shape *s)
{
    hone_err err;

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
        s->fields++;
        if (lua_getfield(L, -2, "default") != LUA_TNIL) {
            f->other = hone_lua_to_json(L, -1, &err);
            if (!f->other)
                luaL_error(L, "the default of %s is %s", f->name, err.msg);
        }
        lua_pop(L, 3);
    }
    qsort(s->field, (size_t)s->fields, sizeof *s->field, by_name);
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
    lua_getfield(L, 1, "chat");
    s->is_chat = lua_toboolean(L, -1);
    s->has_map = lua_getfield(L, 1, "map") == LUA_TFUNCTION;
    if (!s->has_map && !s->is_chat)
        return luaL_error(L, "%s: map must be a function", s->name);
    if (lua_getfield(L, 1, "fields") == LUA_TTABLE)
        read_fields(L, s);
    else
        s->whole_row = 1;
    s->trains = lua_getfield(L, 1, "trains") == LUA_TNIL || lua_toboolean(L, -1);
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

/* What the rows call field NAME or, of a key or a role, what that is; NULL:
 * the shape has no such field. */
static const char *called(const hone_shape *s, const char *name)
{
    for (int i = 0; i < s->fields; i++) {
        const field *f = &s->field[i];
        int is_word = !strcmp(f->type, "key") || !strcmp(f->type, "role");

        if (!strcmp(f->name, name))
            return is_word && f->source == f->name
                       ? json_string_value(f->other)
                       : f->source;
    }
    return NULL;
}

/* The first of the fields NAMES that the shape has, as the rows call it. */
static const char *called_one_of(const hone_shape *s, const char *const *names)
{
    const char *column = NULL;

    for (; *names && !column; names++)
        column = called(s, *names);
    return column;
}

static hone_status open_chat(hone_shape *s, hone_err *err)
{
    static const char *const columns[] = { "messages", "conversations",
                                           "prompt", NULL };
    char *templates, *specials;
    hone_status status;

    s->names = (hone_chat_names){
        .messages = called_one_of(s, columns),
        .answer = { called(s, "chosen"), called(s, "rejected") },
        .system = called(s, "system"),
        .tools = called(s, "tools"),
        .settings = called(s, "chat_template_kwargs"),
        .role = called(s, "role"),
        .content = called(s, "content"),
        .roles = { called(s, "system_role"), called(s, "user"),
                   called(s, "assistant"), called(s, "tool"),
                   called(s, "call") },
    };
    if (!s->names.messages || !s->names.role || !s->names.content)
        return hone_fail(err, HONE_EINVAL, "%s: a shape of conversations needs "
                         "the fields messages, role and content", s->name);
    if (!s->tokens || (s->functions && s->functions->template))
        return HONE_OK;
    status = hone_chat_open(&s->chat, s->tokens->path, err);
    if (status != HONE_OK && s->has_map) {
        s->no_chat = hone_text(&s->arena, err->msg);
        return HONE_OK;
    }
    hone_try(status);
    templates = json_dumps(s->chat.texts, JSON_SORT_KEYS);
    specials = json_dumps(s->chat.specials, JSON_SORT_KEYS);
    s->text = hone_format_text(&s->arena, "%s%s%s", s->text, templates,
                               specials);
    s->bytes = strlen(s->text);
    free(templates);
    free(specials);
    return HONE_OK;
}

hone_status hone_shape_open(hone_shape **out, const hone_data_config *c,
                            const hone_tokens *tokens, hone_err *err)
{
    hone_arena arena = { 0 };
    hone_shape *s = hone_alloc(&arena, sizeof *s);
    hone_status status;

    s->arena = arena;
    s->name = hone_text(&s->arena, c->shape);
    s->renames = c->field;
    s->functions = c->functions;
    s->loss = c->loss;
    s->tokens = tokens;
    status = open_file(s, err);
    if (status == HONE_OK && s->is_chat)
        status = open_chat(s, err);
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
    hone_chat_close(&s->chat);
    for (int i = 0; i < s->fields; i++)
        json_decref(s->field[i].other);
    hone_arena_free(&s->ids);
    arena = s->arena; /* the shape itself lies in it */
    hone_arena_free(&arena);
}

const char *hone_shape_text(const hone_shape *s, size_t *bytes)
{
    *bytes = s->bytes;
    return s->text;
}

int hone_shape_trains(const hone_shape *s)
{
    return s->trains;
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

/* Pushes field F of the row. */
static void push_field(lua_State *L, const hone_shape *s, const field *f)
{
    const json_t *v = json_object_get(s->row, f->source);

    if (v && !json_is_null(v)) {
        if (strcmp(f->type, hone_json_type(v)) && strcmp(f->type, "any"))
            luaL_error(L, "field '%s' is of type %s, expected %s", f->source,
                       hone_json_type(v), f->type);
        hone_lua_push_json(L, v);
    } else if (f->other) {
        hone_lua_push_json(L, f->other);
    } else if (v) {
        luaL_error(L, "field '%s' is null", f->source);
    } else {
        luaL_error(L, "no field '%s'; %s; rename one with %s = \"...\"",
                   f->source, push_keys(L, s->row), f->name);
    }
}

static void push_row(lua_State *L, const hone_shape *s)
{
    if (s->whole_row) {
        hone_lua_push_json(L, s->row);
        return;
    }
    lua_createtable(L, 0, s->fields);
    for (int i = 0; i < s->fields; i++) {
        push_field(L, s, &s->field[i]);
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

static void add_segment(hone_shape *s, hone_segment g)
{
    if (s->loss == HONE_LOSS_ALL) {
        g.target = 1;
        g.mask = NULL;
    }
    hone_push(&s->arena, s->segment, s->segments, s->segment_cap);
    s->segment[s->segments++] = g;
}

/* The ids of the segment on top, and with mask = { ... } which of them are
 * targets. */
static void read_ids(lua_State *L, hone_shape *s, hone_segment *g)
{
    size_t n = (size_t)lua_rawlen(L, -1);
    int32_t *ids = hone_alloc(&s->ids, (n + 1) * sizeof *ids);
    uint8_t *mask = NULL;
    int is_table = lua_getfield(L, -2, "mask") == LUA_TTABLE;

    if (is_table)
        mask = hone_alloc(&s->ids, n + 1);
    if (is_table && lua_rawlen(L, -1) != n)
        luaL_error(L, "%d ids and a mask of %d", (int)n,
                   (int)lua_rawlen(L, -1));
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0 ||
            lua_tointeger(L, -1) > INT32_MAX)
            luaL_error(L, "id %d is %s, no id of a token", (int)i + 1,
                       lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1)
                                                      : luaL_typename(L, -1));
        ids[i] = (int32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
        if (mask) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            mask[i] = (uint8_t)lua_toboolean(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    g->ids = ids;
    g->mask = mask;
    g->count = (int64_t)n;
}

/* The segment on top. Its text stays where it is: in the list, on the stack
 * until the next row. */
static void read_segment(lua_State *L, hone_shape *s, int number)
{
    hone_segment g = { .target = flag(L, "target"),
                       .special = flag(L, "special"),
                       .begins = flag(L, "row") };
    int kinds = flag(L, "eos");

    if (lua_getfield(L, -1, "text") == LUA_TSTRING) {
        g.text = lua_tolstring(L, -1, &g.bytes);
        kinds++;
    }
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "ids") == LUA_TTABLE) {
        read_ids(L, s, &g);
        kinds++;
    }
    lua_pop(L, 1);
    if (kinds != 1)
        luaL_error(L, "%s: segment %d must have text = \"...\", ids = { ... } "
                   "or eos = true", s->name, number);
    add_segment(s, g);
}

/* Leaves the list of segments. */
static int map_row(lua_State *L)
{
    hone_shape *s = lua_touserdata(L, 1);
    lua_Integer count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->spec_ref);
    lua_getfield(L, 2, "map");
    push_row(L, s);
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

/* ------------------------------------------- the recipe's own functions */

/* The row as a template sees it: all of it, and the shape's fields under their
 * own names, with their defaults. */
static void complete_row(hone_shape *s)
{
    for (int i = 0; i < s->fields; i++) {
        const field *f = &s->field[i];
        json_t *v = json_object_get(s->row, f->source);

        if (!v || json_is_null(v))
            v = f->other;
        if (v && strcmp(f->type, "key") && strcmp(f->type, "role"))
            json_object_set(s->row, f->name, v);
    }
}

static hone_status apply_template(hone_shape *s, hone_err *err)
{
    hone_texts t;

    complete_row(s);
    hone_try(hone_map_template(s->functions, s->row, &t, err));
    if (!t.text[0])
        return HONE_OK;
    add_segment(s, (hone_segment){ .text = t.text[0], .bytes = t.bytes[0],
                                   .special = 1 });
    add_segment(s, (hone_segment){ .text = t.text[1], .bytes = t.bytes[1],
                                   .target = 1 });
    add_segment(s, (hone_segment){ .target = 1 }); /* the end token */
    return HONE_OK;
}

/* ------------------------------------------------------------ conversations */

static hone_status encode_chat(hone_shape *s, int which, json_t *variables,
                               hone_err *err)
{
    int last = s->loss == HONE_LOSS_LAST || s->names.answer[which];
    hone_learn learn = s->loss == HONE_LOSS_ALL ? HONE_LEARN_NOTHING
                       : last                   ? HONE_LEARN_LAST
                                                : HONE_LEARN_ASSISTANT;
    hone_rendered r = { .size = sizeof r };
    hone_status status = hone_chat_render(&s->chat, variables, learn, &r, err);

    if (status != HONE_OK && !r.raised && hone_chat_add_contents(variables)) {
        s->chat.api->release(&r);
        r = (hone_rendered){ .size = sizeof r };
        status = hone_chat_render(&s->chat, variables, learn, &r, err);
    }
    if (status == HONE_OK)
        status = hone_chat_check_roles(&s->chat, variables, &r, err);
    if (status == HONE_OK) {
        hone_chat_ids all = hone_chat_encode(&s->ids, s->tokens, &r);

        add_segment(s, (hone_segment){ .ids = all.ids, .mask = all.mask,
                                       .count = all.count, .begins = which });
    } else if (r.raised) {
        hone_fail(err, status, "the chat template refuses it: %.900s",
                  r.raised);
    } else {
        const char *path = s->tokens->path, *slash = strrchr(path, '/');
        hone_err why = *err;

        hone_fail(err, status, "the chat template of %.*s: %.700s",
                  slash ? (int)(slash - path) : 1, slash ? path : ".", why.msg);
    }
    s->chat.api->release(&r);
    return status;
}

/* A chat to a segment or, with two answers, to two. */
static hone_status map_chat(hone_shape *s, hone_err *err)
{
    const hone_chat *chat = s->chat.api ? &s->chat : NULL;
    int answers = s->names.answer[0] ? 2 : 1;
    hone_status status = HONE_OK;

    if (s->no_chat)
        return hone_fail(err, HONE_EINVAL, "the row is a conversation: %s",
                         s->no_chat);
    for (int i = 0; i < answers && status == HONE_OK; i++) {
        json_t *variables = NULL;

        status = hone_chat_row(&s->names, chat, s->row, i, &variables, err);
        if (status == HONE_OK && chat)
            status = encode_chat(s, i, variables, err);
        json_decref(variables);
    }
    return status;
}

/* s->row to segments; NULL afterwards: left out. */
static hone_status make_segments(hone_shape *s, hone_err *err)
{
    const hone_data_functions *f = s->functions;

    if (f && f->map)
        hone_try(hone_map_row(f, &s->row, err));
    if (!s->row)
        return HONE_OK;
    if (!json_is_object(s->row))
        return hone_fail(err, HONE_EINVAL, "expected an object, got %s",
                         hone_json_type(s->row));
    if (f && f->template)
        return apply_template(s, err);
    if (s->is_chat && hone_chat_is_row(&s->names, s->row))
        return map_chat(s, err);
    lua_settop(s->lua, 0);
    lua_pushcfunction(s->lua, map_row);
    lua_pushlightuserdata(s->lua, s);
    return hone_lua_call(s->lua, 1, 1, err);
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
    s->segments = 0;
    hone_arena_free(&s->ids);
    status = make_segments(s, err);
    json_decref(s->row);
    *out = s->segment;
    *count = s->segments;
    return status;
}
