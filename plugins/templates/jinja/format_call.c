/* SPDX-License-Identifier: MIT
 *
 * format_call.c -- "{}".format(x): replacement fields {name.attr[item]!r:spec},
 * looked up by the sandbox's rules.
 */
#include <string.h>

#include "format.h"

typedef struct {
    const ji_args *args;
    int automatic; /* next of {} */
} fields;

static const char *field_end(const char *at, const char *end)
{
    while (at < end && *at != '.' && *at != '[')
        at++;
    return at;
}

static ji_val argument(ji_run *r, fields *f, ji_str *name)
{
    int64_t i;

    if (!name->len)
        i = f->automatic++;
    else if (!ji_parse_int(r, name, 10, &i)) {
        for (int k = 0; k < f->args->names; k++)
            if (ji_same(f->args->name[k], name))
                return f->args->named[k];
        ji_fail(r, "format: no argument '%.*s'", (int)(name->len % 100),
                name->at);
    }
    if (i < 0 || i >= f->args->n)
        ji_fail(r, "replacement index out of range for positional args");
    return f->args->at[i];
}

/* name.attr[item] between AT and END */
static ji_val field(ji_run *r, fields *f, const char *at, const char *end)
{
    const char *to = field_end(at, end);
    ji_val v = argument(r, f, ji_wrap(r, at, (size_t)(to - at)));
    int64_t i;

    for (at = to; at < end; at = to) {
        ji_str *key;

        ji_step(r, 1);
        if (*at == '.') {
            to = field_end(at + 1, end);
            key = ji_wrap(r, at + 1, (size_t)(to - at - 1));
            v = ji_getattr(r, v, key);
            continue;
        }
        to = *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
        if (!to)
            ji_fail(r, "format: a broken field");
        key = ji_wrap(r, at + 1, (size_t)(to - at - 1));
        v = ji_getitem(r, v, ji_parse_int(r, key, 10, &i) ? ji_int(i)
                                                          : ji_string(key));
        to++;
    }
    return v;
}

/* The brace that closes the one before AT, or NULL. */
static const char *closing(const char *at, const char *end)
{
    int depth = 1;

    for (; at < end; at++) {
        depth += *at == '{';
        depth -= *at == '}';
        if (!depth)
            return at;
    }
    return NULL;
}

static void put_text(ji_run *r, ji_buf *b, fields *f, const char *at,
                     const char *end, int level);

static void replacement(ji_run *r, ji_buf *b, fields *f, const char *at,
                        const char *end, int level)
{
    const char *colon = at, *mark;
    ji_buf spec = { NULL, 0, 0 };
    int bracket = 0;
    char convert = 0;
    ji_val v;

    for (; colon < end && (bracket || (*colon != ':' && *colon != '!'));
         colon++) {
        bracket += *colon == '[';
        bracket -= *colon == ']' && bracket;
    }
    mark = colon;
    if (colon < end && *colon == '!') {
        if (colon + 1 >= end || !strchr("rsa", colon[1]))
            ji_fail(r, "format: an unknown conversion");
        convert = colon[1];
        colon += 2;
        if (colon < end && *colon != ':')
            ji_fail(r, "format: expected ':' after conversion specifier");
    }
    v = field(r, f, at, mark);
    if (colon < end)
        put_text(r, &spec, f, colon + 1, end, level + 1);
    if (convert == 's')
        v = ji_string(ji_tostr(r, v));
    else if (convert)
        v = ji_string(ji_repr_of(r, v));
    ji_put_spec(r, b, v, ji_take(r, &spec));
}

static void put_text(ji_run *r, ji_buf *b, fields *f, const char *at,
                     const char *end, int level)
{
    if (level > 2)
        ji_fail(r, "format: max string recursion exceeded");
    while (at < end) {
        const char *to = at;

        while (to < end && *to != '{' && *to != '}')
            to++;
        ji_step(r, 1);
        ji_put(r, b, at, (size_t)(to - at));
        if (to == end)
            return;
        if (to + 1 < end && to[1] == *to) {
            ji_put(r, b, to, 1);
            at = to + 2;
            continue;
        }
        if (*to == '}' || !(at = closing(to + 1, end)))
            ji_fail(r, "format: a single '%c'", *to);
        replacement(r, b, f, to + 1, at, level);
        at++;
    }
}

ji_str *ji_format_call(ji_run *r, ji_str *s, const ji_args *a)
{
    fields f = { a, 0 };
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    put_text(r, &b, &f, s->at, s->at + s->len, 0);
    out = ji_take(r, &b);
    out->markup = s->markup;
    return out;
}
