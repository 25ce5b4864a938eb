/* SPDX-License-Identifier: MIT
 *
 * recipe_value.c -- values and their options: from Lua values, from --set, with
 * one message for each thing that is wrong. Called inside hone_lua_call(), so
 * everything lies in the recipe's arena.
 */
#include "recipe_host.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub.h"
#include "modules.h"
#include "option.h"
#include "passes.h"

enum { MOST_MESSAGES = 200, MOST_TEXT = 4096, MOST_ITEMS = 4096,
       MOST_LAYERS = 1024, MOST_PATTERNS = 64, MOST_BYTES = 64 << 20 };

void hone_reader_say(hone_reader *r, const hone_where *where, const char *fmt,
                     ...)
{
    char text[1024];
    hone_message *m;
    va_list ap;

    if (r->count == MOST_MESSAGES)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* one message, one line */
        if (iscntrl((unsigned char)*p))
            *p = ' ';
    hone_push(r->arena, r->messages, r->count, r->cap);
    m = &r->messages[r->count++];
    m->file = where->file;
    m->line = where->set ? INT_MAX : where->line; /* --set comes last */
    if (where->set)
        m->text = hone_format_text(r->arena, "--set %s: %s%s%s", where->set,
                                   where->label ? where->label : "",
                                   where->label ? ": " : "", text);
    else
        m->text = hone_format_text(r->arena, "%s:%d: %s%s%s", where->file,
                                   where->line,
                                   where->label ? where->label : "",
                                   where->label ? ": " : "", text);
}

hone_made *hone_made_new(hone_reader *r, const hone_maker *m, const char *file,
                         int line)
{
    hone_made *n = hone_alloc(r->arena, sizeof *n);

    n->maker = m;
    n->config = hone_alloc(r->arena, m->config_size);
    n->from = hone_alloc(r->arena, 64 * sizeof *n->from);
    n->file = file;
    n->line = line;
    hone_option_defaults(m->options, n->config);
    if (m == &hone_maker_train)
        ((hone_train *)n->config)->keep.all = HONE_KEEP_AUTO;
    return n;
}

hone_made *hone_made_copy(hone_reader *r, const hone_made *n)
{
    hone_made *copy = hone_copy(r->arena, n, 1, 1, sizeof *n);

    copy->config = hone_copy(r->arena, n->config, 1, 1, n->maker->config_size);
    copy->from = hone_copy(r->arena, n->from, 64, 64, sizeof *n->from);
    return copy;
}

hone_where hone_made_where(hone_reader *r, const hone_made *n)
{
    return (hone_where){ .file = n->file, .line = n->line,
                         .label = hone_format_text(r->arena, "hone.%s",
                                                   n->maker->name) };
}

static void mark_given(hone_made *n, const hone_option *o,
                       const hone_where *where)
{
    ptrdiff_t i = o - n->maker->options;

    if (i >= 64)
        return;
    n->given |= (uint64_t)1 << i;
    n->from[i] = *where;
}

int hone_made_given(const hone_made *n, const char *option)
{
    const hone_option *o = hone_option_find(n->maker->options, option);

    return o && o - n->maker->options < 64 &&
           (n->given >> (o - n->maker->options) & 1);
}

int hone_made_typed(const hone_made *n, const char *option)
{
    const hone_option *o = hone_option_find(n->maker->options, option);

    return hone_made_given(n, option) &&
           n->from[o - n->maker->options].set != NULL;
}

const char *hone_made_group(const hone_made *n, const char *group)
{
    size_t length = strlen(group);

    for (const hone_option *o = n->maker->options; o && o->name; o++)
        if (!strncmp(o->name, group, length) && o->name[length] == '.')
            return o->name + length + 1;
    return NULL;
}

void hone_made_displace(hone_made *train, const char *option)
{
    static const char *const pairs[][2] = {
        { "steps", "epochs" }, { "epochs", "steps" },
        { "global_batch", "global_tokens" },
        { "global_tokens", "global_batch" },
    };

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const hone_option *o;
        hone_option unset[2] = { { 0 } };
        if (strcmp(pairs[i][0], option))
            continue;
        o = hone_option_find(train->maker->options, pairs[i][1]);
        unset[0] = *o;
        hone_option_defaults(unset, train->config);
        train->given &= ~((uint64_t)1 << (o - train->maker->options));
    }
}

int hone_made_fits(const hone_made *n, const char *option)
{
    const hone_maker *m = n->maker;
    hone_kind kind = m->component ? m->component->kind : 0;

    if (!strcmp(option, "model"))
        return m == &hone_maker_model;
    if (!strcmp(option, "adapter"))
        return m == &hone_maker_lora;
    if (!strcmp(option, "data"))
        return m->shape != NULL;
    if (!strcmp(option, "batch"))
        return kind == HONE_KIND_COLLATOR;
    if (!strcmp(option, "optimizer"))
        return kind == HONE_KIND_OPTIMIZER;
    return !strcmp(option, "schedule") && kind == HONE_KIND_SCHEDULE;
}

static void *member(hone_made *n, const hone_option *o)
{
    return (char *)n->config + o->offset;
}

/* ------------------------------------------------------------------ paths */

static int ends_in_parent(const char *path, size_t n)
{
    return n >= 3 && !memcmp(path + n - 3, "/..", 3);
}

/* Without "." and empty parts, and without "x/.." where x is a folder: behind
 * a link, or what is not there, ".." is another folder. */
static const char *straight(char *path)
{
    const char *from = path;
    size_t n = 0, part;
    struct stat st;

    for (; *from; from += part + (from[part] == '/')) {
        part = strcspn(from, "/");
        if (part == 0 || (part == 1 && from[0] == '.'))
            continue;
        if (part == 2 && !memcmp(from, "..", 2) && !ends_in_parent(path, n)) {
            char next = path[n];

            path[n] = '\0';
            if (n == 0 || (!lstat(path, &st) && S_ISDIR(st.st_mode))) {
                while (n > 0 && path[--n] != '/')
                    ;
                continue;
            }
            path[n] = next;
        }
        path[n++] = '/';
        memmove(path + n, from, part);
        n += part;
    }
    if (n == 0)
        path[n++] = '/';
    path[n] = '\0';
    return path;
}

const char *hone_absolute(hone_arena *a, const char *file, const char *path)
{
    char here[PATH_MAX] = "";
    const char *slash = file ? strrchr(file, '/') : NULL;
    const char *folder = "";

    if (path[0] == '/')
        return straight(hone_text(a, path));
    if (slash)
        folder = hone_format_text(a, "%.*s", (int)(slash + 1 - file), file);
    if (folder[0] != '/' && !getcwd(here, sizeof here))
        here[0] = '\0';
    return straight(hone_format_text(a, "%s/%s%s", here, folder, path));
}

static const char *path_from(hone_reader *r, const hone_where *where,
                             const char *path)
{
    return hone_absolute(r->arena, where->set ? NULL : where->file, path);
}

/* A path, or "org/name" where no folder org is: that may be in the Hub's
 * cache, once its revision is known. */
static const char *path_or_hub(hone_reader *r, const hone_where *where,
                               const char *path)
{
    const char *full = path_from(r, where, path);
    const char *org = hone_format_text(r->arena, "%.*s",
                                       (int)strcspn(path, "/"), path);
    const char *behind;

    if (!hone_hub_is_name(path, &behind) ||
        !access(path_from(r, where, org), F_OK))
        return full;
    return hone_format_text(r->arena, HONE_HUB_MARK "%s", path);
}

/* ----------------------------------------------------------- from a text */

/* The hone_keep of a word; 0, with a message, for another one. */
static int keep_of(hone_reader *r, const char *word, const hone_where *where)
{
    static const hone_option row = { "keep", NULL, HONE_ENUM, 0, 0, 0, 0, 0,
                                     NULL, hone_keep_names };
    hone_err err;
    int choice;

    if (hone_option_set_str(&row, &choice, word, r->arena, &err) == HONE_OK)
        return choice + 1; /* hone_keep counts from 1 */
    hone_reader_say(r, where, "%s", err.msg);
    return 0;
}

static void set_files(hone_reader *r, hone_made *n, const hone_option *o,
                      const char *const *paths, int count,
                      const hone_where *where)
{
    const char **list =
        hone_alloc(r->arena, sizeof *list * ((size_t)count + 1));

    for (int i = 0; i < count; i++)
        list[i] = path_or_hub(r, where, paths[i]);
    *(const char *const **)member(n, o) = list;
}

static void set_val(hone_reader *r, hone_made *n, const hone_option *o,
                    double rows, const hone_where *where)
{
    hone_val *val = member(n, o);

    if (!(rows >= 0 && rows < 1e15) ||
        (rows >= 1 && rows != (double)(int64_t)rows)) {
        hone_reader_say(r, where, "'%s' is %g, must be a number of rows or a "
                        "share of them below 1", o->name, rows);
        return;
    }
    *val = (hone_val){ .rows = rows };
}

/* "16gb", "16 G", "16": the unit is missing or not spelled so. */
static void say_bytes(hone_reader *r, const hone_option *o, const char *text,
                      const hone_where *where)
{
    char *unit;
    double n = strtod(text, &unit);
    int letter;

    unit += strspn(unit, " ");
    letter = unit[0] ? toupper((unsigned char)unit[0]) : 'G';
    if (n > 0 && strlen(unit) <= 3 && strchr("KMGT", letter))
        hone_reader_say(r, where, "'%s' is \"%s\", did you mean \"%g%ciB\"?",
                        o->name, text, n, letter);
    else
        hone_reader_say(r, where, "'%s' is \"%s\", must be bytes such as "
                        "\"16GiB\"", o->name, text);
}

/* The forms that a string can give, the same in a recipe and on the command
 * line. 0: none of them. */
static int set_form(hone_reader *r, hone_made *n, const hone_option *o,
                    const char *text, const hone_where *where)
{
    switch (hone_form_of(o)) {
    case HONE_FORM_PATH:
        *(const char **)member(n, o) = path_from(r, where, text);
        return 1;
    case HONE_FORM_MODEL:
        *(const char **)member(n, o) = path_or_hub(r, where, text);
        return 1;
    case HONE_FORM_PATHS:
        set_files(r, n, o, &text, 1, where);
        return 1;
    case HONE_FORM_NUMBERS:
        hone_reader_say(r, where, "'%s' expects %s", o->name,
                        hone_form_words(o)->expected);
        return 1;
    case HONE_FORM_BYTES:
        if (hone_bytes_parse(text) > 0)
            return 0; /* an ordinary string from here on */
        say_bytes(r, o, text, where);
        return 1;
    case HONE_FORM_VAL:
        *(hone_val *)member(n, o) =
            (hone_val){ .file = path_or_hub(r, where, text) };
        return 1;
    case HONE_FORM_KEEP:
        *(hone_keeping *)member(n, o) =
            (hone_keeping){ keep_of(r, text, where), NULL };
        return 1;
    default:
        return 0;
    }
}

void hone_made_set_text(hone_reader *r, hone_made *n, const hone_option *o,
                        const char *text, const hone_where *where)
{
    hone_err err;
    char *end;
    double v = strtod(text, &end);

    mark_given(n, o, where);
    if (hone_form_of(o) == HONE_FORM_FUNCTION)
        hone_reader_say(r, where, "'%s' is a function, which only a recipe can "
                        "give", o->name);
    else if (hone_form_of(o) == HONE_FORM_VAL && end != text && !*end)
        set_val(r, n, o, v, where);
    else if (!set_form(r, n, o, text, where) &&
             hone_option_parse(o, n->config, text, r->arena, &err) != HONE_OK)
        hone_reader_say(r, where, "%s", err.msg);
}

/* ------------------------------------------------------- from a Lua value */

/* A string that C can hold. */
static const char *text_at(hone_reader *r, const hone_option *o, int index,
                           const hone_where *where)
{
    size_t bytes;
    const char *text = lua_tolstring(r->L, index, &bytes);

    if (r->arena->bytes > MOST_BYTES)
        luaL_error(r->L, "the recipe's options take more than %d MiB",
                   MOST_BYTES >> 20);
    if (strlen(text) == bytes && bytes <= MOST_TEXT)
        return hone_text(r->arena, text);
    hone_reader_say(r, where, "'%s' %s", o->name,
                    bytes > MOST_TEXT ? "is longer than 4096 bytes"
                                      : "has a zero byte in it");
    return NULL;
}

/* Strings of the list at INDEX; -1 if it is none. */
static int list_at(hone_reader *r, const hone_option *o, int index,
                   const char **items, const hone_where *where)
{
    int count = (int)lua_rawlen(r->L, index), others = 0;

    lua_pushnil(r->L);
    while (lua_next(r->L, index)) {
        others++;
        lua_pop(r->L, 1);
    }
    for (int i = 0; i < count && i < MOST_ITEMS && others == count; i++) {
        int is_text = lua_rawgeti(r->L, index, i + 1) == LUA_TSTRING;
        items[i] = is_text ? text_at(r, o, -1, where) : NULL;
        lua_pop(r->L, 1);
        if (!items[i])
            others = -1;
    }
    if (others == count && count > 0 && count <= MOST_ITEMS)
        return count;
    hone_reader_say(r, where, "'%s' expects a string or a list of strings",
                    o->name);
    return -1;
}

static void set_list(hone_reader *r, hone_made *n, const hone_option *o,
                     int index, const hone_where *where)
{
    size_t cap = (size_t)lua_rawlen(r->L, index);
    const char **items = hone_alloc(
        r->arena, sizeof *items * (cap < MOST_ITEMS ? cap : MOST_ITEMS));
    int count = list_at(r, o, index, items, where);
    size_t bytes = 1;
    char *joined;

    if (count < 0)
        return;
    if (hone_form_of(o) == HONE_FORM_PATHS) {
        set_files(r, n, o, items, count, where);
        return;
    }
    for (int i = 0; i < count; i++)
        bytes += strlen(items[i]) + 1;
    joined = hone_alloc(r->arena, bytes);
    for (int i = 0; i < count; i++) {
        if (i)
            strcat(joined, ",");
        strcat(joined, items[i]);
    }
    *(const char **)member(n, o) = joined;
}

/* keep = { [0] = "none", [1] = "all" }: layers that are not named stay
 * "auto". Written in the order of the layers, so that equal tables give equal
 * plans. */
static void set_keep_layers(hone_reader *r, hone_made *n, const hone_option *o,
                            int index, const hone_where *where)
{
    const char *text = "";
    lua_Integer last = -1;
    lua_State *L = r->L;

    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        lua_Integer layer = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : -1;
        if (layer < 0 || layer >= MOST_LAYERS ||
            lua_type(L, -1) != LUA_TSTRING) {
            hone_reader_say(r, where, "'keep' by layer is written "
                            "{ [0] = \"none\", [1] = \"all\" }");
            lua_pop(L, 2);
            return;
        }
        last = layer > last ? layer : last;
    }
    for (lua_Integer i = 0; i <= last; i++) {
        if (lua_rawgeti(L, index, i) == LUA_TSTRING) {
            const char *word = text_at(r, o, -1, where);
            if (word && keep_of(r, word, where))
                text = hone_format_text(r->arena, "%s%s%d=%s", text,
                                        text[0] ? "," : "", (int)i, word);
        }
        lua_pop(L, 1);
    }
    *(hone_keeping *)member(n, o) = (hone_keeping){ HONE_KEEP_AUTO, text };
}

/* Longer patterns first, so that what is said of fewer modules comes first;
 * Lua tables have no order of their own. */
static int by_length(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    size_t n = strlen(x), m = strlen(y);

    return n == m ? strcmp(x, y) : n < m ? 1 : -1;
}

/* { ["mlp.*"] = 8 } */
static void set_numbers(hone_reader *r, hone_made *n, const hone_option *o,
                        int index, const hone_where *where)
{
    const char *lines[MOST_PATTERNS], *text = "";
    int count = 0, whole = !strcmp(o->name, "rank_pattern");
    lua_State *L = r->L;
    hone_err err;

    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING
                              ? text_at(r, o, -2, where) : NULL;
        double x = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;

        if (!key || !(x > 0 && x < 1e9) || (whole && x != floor(x)) ||
            strchr(key, '\n') || count == MOST_PATTERNS) {
            hone_reader_say(r, where, "'%s' is written { [\"mlp.*\"] = 8 }, "
                            "with %s above 0, %d at most", o->name,
                            whole ? "whole numbers" : "numbers",
                            MOST_PATTERNS);
            lua_pop(L, 2);
            return;
        }
        if (hone_pattern_check(key, strlen(key), &err) != HONE_OK)
            hone_reader_say(r, where, "'%s': %s", o->name, err.msg);
        lines[count++] = hone_format_text(r->arena, "%s=%.17g\n", key, x);
    }
    qsort(lines, (size_t)count, sizeof *lines, by_length);
    for (int i = 0; i < count; i++)
        text = hone_format_text(r->arena, "%s%s", text, lines[i]);
    *(const char **)member(n, o) = text;
}

static void set_child(hone_reader *r, hone_made *n, const hone_option *o,
                     int index, const hone_where *where)
{
    hone_made *child = hone_made_at(r->L, index);
    hone_made **to = member(n, o);
    const char *got = luaL_typename(r->L, index);

    if (child && hone_made_fits(child, o->name)) {
        *to = child;
        return;
    }
    if (child && child->maker == &hone_maker_none)
        return; /* an unknown constructor, said there */
    if (child)
        got = hone_format_text(r->arena, "hone.%s", child->maker->name);
    hone_reader_say(r, where, "'%s' expects a constructor's value such as %s, "
                    "got %s%s", o->name, o->sdef, child ? "" : "a ", got);
}

const hone_words *hone_form_words(const hone_option *o)
{
    static const hone_words forms[] = {
        [HONE_FORM_PATH] = { "path", "a string" },
        [HONE_FORM_PATHS] = { "path or list", "a path or a list of paths" },
        [HONE_FORM_MODEL] = { "path or name", "a string" },
        [HONE_FORM_LIST] = { "name or list", "a name or a list of names" },
        [HONE_FORM_NUMBERS] = { "table",
                                "a table such as { [\"mlp.*\"] = 8 }" },
        [HONE_FORM_BYTES] = { "bytes", "a string" },
        [HONE_FORM_MADE] = { "constructor", "a constructor's value" },
        [HONE_FORM_VAL] = { "number or path",
                            "rows, a share below 1 or a path" },
        [HONE_FORM_KEEP] = { "word or table", "a word or a table by layer" },
        [HONE_FORM_FUNCTION] = { "function", "a function" },
    };
    static const hone_words types[] = {
        [HONE_BOOL] = { "boolean", "true or false" },
        [HONE_INT] = { "integer", "a whole number" },
        [HONE_REAL] = { "number", "a number" },
        [HONE_STR] = { "string", "a string" },
        [HONE_ENUM] = { "word", "a string" },
        [HONE_VALUE] = { "value", "a value" },
    };

    return hone_form_of(o) ? &forms[hone_form_of(o)] : &types[o->type];
}

static void wrong_type(hone_reader *r, const hone_option *o, int index,
                       const hone_where *where)
{
    hone_made *got = hone_made_at(r->L, index);

    hone_reader_say(r, where, "'%s' expects %s, got %s%s", o->name,
                    hone_form_words(o)->expected, got ? "hone." : "a ",
                    got ? got->maker->name : luaL_typename(r->L, index));
}

/* Lists and tables, for the forms that take them. 0: this one does not. */
static int set_table(hone_reader *r, hone_made *n, const hone_option *o,
                     int index, const hone_where *where)
{
    switch (hone_form_of(o)) {
    case HONE_FORM_PATHS:
    case HONE_FORM_LIST:
        set_list(r, n, o, index, where);
        return 1;
    case HONE_FORM_KEEP:
        set_keep_layers(r, n, o, index, where);
        return 1;
    case HONE_FORM_NUMBERS:
        set_numbers(r, n, o, index, where);
        return 1;
    default:
        return 0;
    }
}

void hone_made_set_lua(hone_reader *r, hone_made *n, const hone_option *o,
                       int index, const hone_where *where)
{
    hone_form form = hone_form_of(o);
    lua_State *L = r->L;
    hone_status s = HONE_OK;
    hone_err err;
    const char *text;
    int type = lua_type(L, index);

    index = lua_absindex(L, index);
    mark_given(n, o, where);
    if (form == HONE_FORM_MADE) {
        set_child(r, n, o, index, where);
    } else if (form == HONE_FORM_FUNCTION && type == LUA_TFUNCTION) {
        lua_pushvalue(L, index);
        *(int *)member(n, o) = luaL_ref(L, LUA_REGISTRYINDEX);
    } else if (type == LUA_TNUMBER && form == HONE_FORM_VAL) {
        set_val(r, n, o, lua_tonumber(L, index), where);
    } else if (type == LUA_TNUMBER && form == HONE_FORM_BYTES) {
        hone_reader_say(r, where, "'%s' is %g without a unit, must be bytes "
                        "such as \"16GiB\"", o->name, lua_tonumber(L, index));
    } else if (type == LUA_TNUMBER && o->type != HONE_VALUE) {
        s = hone_option_set_num(o, n->config, lua_tonumber(L, index),
                                lua_isinteger(L, index), &err);
    } else if (type == LUA_TBOOLEAN && o->type != HONE_VALUE) {
        s = hone_option_set_bool(o, n->config, lua_toboolean(L, index), &err);
    } else if (type == LUA_TSTRING && form != HONE_FORM_FUNCTION) {
        text = text_at(r, o, index, where);
        if (text && !set_form(r, n, o, text, where))
            s = hone_option_set_str(o, n->config, text, r->arena, &err);
    } else if (type != LUA_TTABLE || !set_table(r, n, o, index, where)) {
        wrong_type(r, o, index, where);
    }
    if (s != HONE_OK)
        hone_reader_say(r, where, "%s", err.msg);
}
