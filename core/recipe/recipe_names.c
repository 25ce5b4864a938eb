/* SPDX-License-Identifier: MIT
 *
 * recipe_names.c -- what is said about an option that is not there: it is what
 * another tool calls it (recipes/names.lua), a slip, or an option of another
 * constructor.
 */
#include "recipe_host.h"

#include <stdlib.h>
#include <string.h>

#include "option.h"
#include "registry.h"

/* The options of hone.train that hold constructors, in the order in which they
 * are searched: what two have is more often meant for the first. */
static const char *const parts[] = { "adapter", "data",      "schedule",
                                     "batch",   "optimizer", "model" };

enum { PARTS = sizeof parts / sizeof *parts };

/* ------------------------------------------------------------- the table */

/* Runs names.lua: name, meaning, ..., NULL. Without the file, none. */
static const char *const *read_names(hone_arena *a)
{
    const char *const folders[] = { NULL };
    const char *path = hone_format_text(a, "%s/names.lua", hone_share_dir());
    const char **list = NULL;
    lua_State *L = hone_lua_open(a, folders);
    int n = 0, cap = 0;
    hone_err err;

    if (hone_lua_load(L, path, &err) == HONE_OK &&
        hone_lua_call(L, 0, 1, &err) == HONE_OK && lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
            for (int i = -2; i < 0; i++) {
                hone_push(a, list, n, cap);
                list[n++] = lua_type(L, i) == LUA_TSTRING
                                ? hone_text(a, lua_tostring(L, i))
                                : "";
            }
    hone_lua_close(L);
    hone_push(a, list, n, cap);
    list[n] = NULL;
    return list;
}

static const char *meaning_of(hone_reader *r, const char *name)
{
    if (!r->names)
        r->names = read_names(r->arena);
    for (const char *const *at = r->names; at[0]; at += 2)
        if (!strcmp(at[0], name))
            return at[1];
    return NULL;
}

/* ------------------------------------------------------------ what is meant */

/* "hone.pack { tokens = 8192 }" -> hone.pack. */
static const hone_maker *example_maker(hone_arena *a, const hone_option *o)
{
    const char *name = o->sdef + strlen("hone."), *why;

    return hone_maker_find(a, hone_format_text(a, "%.*s",
                                               (int)strcspn(name, " "), name),
                           &why);
}

static int has_option(const hone_maker *m, const char *option)
{
    return m && hone_option_find(m->options, option);
}

/* The constructor that has OPTION among those for PART: N itself, the one that
 * the training has, the usual one, any. */
static const hone_maker *maker_for(hone_reader *r, const hone_made *n,
                                   const char *part, const char *option)
{
    const hone_option *o = hone_option_find(hone_maker_train.options, part);
    const hone_maker *m = n->maker;
    const char *why;

    if (m == &hone_maker_train) {
        const hone_made *child =
            *(hone_made *const *)((const char *)n->config + o->offset);
        m = child ? child->maker : NULL;
    } else if (!hone_made_fits(n, part)) {
        m = NULL;
    }
    if (has_option(m, option))
        return m;
    m = example_maker(r->arena, o);
    for (int i = 0; !has_option(m, option); i++) {
        const hone_component *c = hone_component_at(i);
        hone_made any = { 0 };

        if (!c)
            return NULL;
        any.maker = m = hone_maker_find(r->arena, c->name, &why);
        if (m && !hone_made_fits(&any, part))
            m = NULL;
    }
    return m;
}

/* "'lr' of hone.adamw", as it is written in N; NULL: nothing of that name. */
static const char *spelled(hone_reader *r, const hone_made *n,
                           const char *place, const hone_where *where)
{
    const hone_option *whole = hone_option_find(hone_maker_train.options,
                                                place);
    const char *dot = strchr(place, '.'), *head;
    int here = n->maker == &hone_maker_train;
    const hone_maker *m;

    if (where->set)
        return hone_format_text(r->arena, "'%s'", place);
    head = dot ? hone_format_text(r->arena, "%.*s", (int)(dot - place), place)
               : place;
    if (whole)
        return hone_format_text(r->arena, dot ? "'%s = { %s = ... }'%s"
                                              : "'%s%s'%s",
                                head, dot ? dot + 1 : "",
                                here ? "" : " of hone.train");
    m = dot ? maker_for(r, n, head, dot + 1) : NULL;
    if (!m)
        return NULL;
    return hone_format_text(r->arena, "'%s'%s%s", dot + 1,
                            m == n->maker ? "" : " of hone.",
                            m == n->maker ? "" : m->name);
}

/* What names.lua knows about KEY: ", did you mean 'clip'?" or "; why". */
static const char *by_other_tools(hone_reader *r, const hone_made *n,
                                  const char *key, const hone_where *where)
{
    const char *meaning = meaning_of(r, key), *colon, *place, *text;

    if (!meaning)
        return NULL;
    colon = strchr(meaning, ':');
    if (colon == meaning)
        return hone_format_text(r->arena, ";%s", colon + 1);
    place = hone_format_text(r->arena, "%.*s", (int)strcspn(meaning, ":"),
                             meaning);
    text = spelled(r, n, place, where);
    if (!text)
        return NULL;
    return hone_format_text(r->arena, ", did you mean %s?%s%s%s", text,
                            colon ? " (" : "", colon ? colon + 2 : "",
                            colon ? ")" : "");
}

/* An option of another constructor, by its own name. */
static const char *by_place(hone_reader *r, const hone_made *n,
                            const char *key, const hone_where *where)
{
    const char *text = NULL;

    if (n->maker != &hone_maker_train &&
        hone_option_find(hone_maker_train.options, key))
        text = spelled(r, n, key, where);
    for (int i = 0; !text && i < PARTS; i++) {
        const char *place = hone_format_text(r->arena, "%s.%s", parts[i], key);
        const hone_maker *m = maker_for(r, n, parts[i], key);
        if (m && where->set && hone_made_fits(n, parts[i]))
            text = hone_format_text(r->arena, "'%s' of hone.%s", key, m->name);
        else if (m)
            text = spelled(r, n, place, where);
    }
    return text ? hone_format_text(r->arena, ", did you mean %s?", text) : NULL;
}

void hone_made_unknown(hone_reader *r, hone_made *n, const char *key,
                       const hone_where *where)
{
    char suggestion[900];
    const char *text = by_other_tools(r, n, key, where);

    n->unknown = 1;
    hone_option_suggest(n->maker->options, key, suggestion, sizeof suggestion);
    if (!text && suggestion[0] == ';' && !strchr(key, '.'))
        text = by_place(r, n, key, where);
    hone_reader_say(r, where, "unknown option '%s'%s", key,
                    text ? text : suggestion);
}
