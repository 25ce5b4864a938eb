/* SPDX-License-Identifier: MIT
 *
 * lua_print.c -- see hone_lua_print() in lua_host.h. A function is the lines
 * it is written in and its upvalues: functions in turn, other values as JSON.
 */
#include <stdlib.h>
#include <string.h>

#include "lua_host.h"
#include "lua_json.h"

enum { DEEPEST = 16, MOST_BYTES = 16 << 20 };

typedef struct {
    lua_State *L;
    hone_arena *arena;
    char *text;
    size_t bytes, cap;
    const void *path[DEEPEST]; /* functions around this value */
    int depth, failed;
} printer;

/* Led by its kind and size, so that no two lists of items look the same. */
static void put(printer *p, char kind, const void *data, size_t bytes)
{
    size_t need = p->bytes + 1 + sizeof bytes + bytes;

    p->failed |= need > MOST_BYTES; /* shared upvalues are printed often */
    if (p->failed)
        return;
    if (need > p->cap) {
        p->text = hone_copy(p->arena, p->text, p->bytes, 2 * need, 1);
        p->cap = 2 * need;
    }
    p->text[p->bytes] = kind;
    memcpy(p->text + p->bytes + 1, &bytes, sizeof bytes);
    memcpy(p->text + p->bytes + 1 + sizeof bytes, data, bytes);
    p->bytes = need;
}

static void print_json(printer *p, int index)
{
    hone_err err;
    json_t *v = hone_lua_to_json(p->L, index, &err);
    char *text = v ? json_dumps(v, JSON_SORT_KEYS | JSON_ENCODE_ANY |
                                       JSON_REAL_PRECISION(17)) : NULL;

    if (text)
        put(p, 'v', text, strlen(text));
    else
        p->failed = 1;
    free(text);
    json_decref(v);
}

static void print_function(printer *p, int index)
{
    const void *self = lua_topointer(p->L, index);
    const char *lines, *name;
    size_t bytes;
    lua_Debug ar;

    for (int i = 0; i < p->depth; i++)
        if (p->path[i] == self) { /* it calls itself */
            put(p, 'r', &i, sizeof i);
            return;
        }
    lua_pushvalue(p->L, index);
    lua_getinfo(p->L, ">S", &ar);
    lines = hone_lua_lines(p->L, ar.source, ar.linedefined, ar.lastlinedefined,
                           &bytes);
    if (!lines || p->depth == DEEPEST || !lua_checkstack(p->L, 8)) {
        p->failed = 1; /* such as string.format */
        return;
    }
    p->path[p->depth++] = self;
    put(p, 'f', lines, bytes);
    for (int i = 1; !p->failed && (name = lua_getupvalue(p->L, index, i));
         i++) {
        put(p, 'u', name, strlen(name));
        if (lua_isfunction(p->L, -1))
            print_function(p, lua_gettop(p->L));
        else if (strcmp(name, "_ENV")) /* the same in every recipe */
            print_json(p, lua_gettop(p->L));
        lua_pop(p->L, 1);
    }
    p->depth--;
}

const char *hone_lua_print(lua_State *L, hone_arena *a, const int *refs,
                           int count, size_t *bytes)
{
    printer p = { .L = L, .arena = a };

    for (int i = 0; i < count; i++) {
        put(&p, 'n', &i, sizeof i);
        if (!refs[i])
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, refs[i]);
        print_function(&p, lua_gettop(L));
        lua_pop(L, 1);
    }
    *bytes = p.bytes;
    return p.failed ? NULL : p.text;
}
