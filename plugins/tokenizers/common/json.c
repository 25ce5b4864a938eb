/* SPDX-License-Identifier: MIT
 *
 * json.c -- see json.h. Items of an open list or object lie on a stack and
 * move to the arena when it closes. Strict as the library: one value, no
 * comments, no lone surrogates, no more than 127 levels.
 */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hone/plugin.h"
#include "unicode.h"

enum { DEPTH = 127 };

typedef struct {
    tk_arena *arena;
    char *at, *end, *start;
    const char *why;
    int depth;
    tk_json *stack;
    size_t used, cap;
} reader;

static int fail(reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return 0;
}

static void skip_white(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' ||
                              *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static int next_is(reader *r, char c)
{
    skip_white(r);
    if (r->at == r->end || *r->at != c)
        return 0;
    r->at++;
    return 1;
}

static tk_json *push(reader *r)
{
    void *stack = r->stack;

    tk_room(&stack, &r->cap, r->used + 1, sizeof *r->stack, r->used);
    r->stack = stack;
    return &r->stack[r->used++];
}

/* -------------------------------------------------------------- numbers */

/* As the library's reader has it: 64 bits of digits, then one multiplication
 * or division by a power of ten. The last bit may differ from the nearest. */
static int to_real(reader *r, uint64_t digits, int exponent, int negative,
                   tk_json *to)
{
    static const double tens[] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
    };
    double f = (double)digits, p = 1;
    int n = exponent < 0 ? -exponent : exponent;

    for (; exponent < 0 && n > 308 && f != 0; n -= 308)
        f /= 1e308;
    if (n <= 22) {
        p = tens[n];
    } else if (n <= 308) {
        char text[8];
        snprintf(text, sizeof text, "1e%d", n);
        p = strtod(text, NULL);
    } else if (f != 0) {
        return fail(r, "a number is out of range");
    }
    f = exponent < 0 ? f / p : f * p;
    if (f > 1.7976931348623157e308)
        return fail(r, "a number is out of range");
    to->type = TK_REAL;
    to->u.real = negative ? -f : f;
    return 1;
}

static int digit(const reader *r)
{
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

/* Takes digits as long as they fit; the rest only counts. */
static int take_digits(reader *r, uint64_t *value, int *taken, int *dropped)
{
    int any = digit(r);

    *taken = *dropped = 0;
    for (; digit(r); r->at++) {
        uint64_t d = (uint64_t)(*r->at - '0');

        if (*dropped || *value > UINT64_MAX / 10 ||
            (*value == UINT64_MAX / 10 && d > UINT64_MAX % 10)) {
            *dropped += *dropped < 100000;
        } else {
            *value = *value * 10 + d;
            *taken += 1;
        }
    }
    return any;
}

static int read_exponent(reader *r, int *exponent)
{
    int negative = 0, any, taken, dropped;
    uint64_t e = 0;

    if (r->at == r->end || (*r->at | 32) != 'e')
        return 1;
    r->at++;
    if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
        negative = *r->at++ == '-';
    any = take_digits(r, &e, &taken, &dropped);
    if (!any)
        return fail(r, "a number is broken");
    if (e > 100000)
        e = 100000;
    *exponent += negative ? -(int)e : (int)e;
    return 1;
}

static int read_number(reader *r, tk_json *to)
{
    int negative = *r->at == '-', exponent, taken, dropped, whole = 1;
    uint64_t v = 0;
    char *first;

    r->at += negative;
    first = r->at;
    if (!take_digits(r, &v, &taken, &exponent) ||
        (*first == '0' && r->at > first + 1))
        return fail(r, "a number is broken");
    if (exponent)
        whole = 0;
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!take_digits(r, &v, &taken, &dropped))
            return fail(r, "a number is broken");
        exponent -= exponent ? 0 : taken;
        whole = 0;
    }
    if (r->at < r->end && (*r->at | 32) == 'e')
        whole = 0;
    if (!read_exponent(r, &exponent))
        return 0;
    if (!whole || v > INT64_MAX || (negative && !v))
        return to_real(r, v, exponent, negative, to);
    to->type = TK_INTEGER;
    to->u.integer = negative ? -(int64_t)v : (int64_t)v;
    return 1;
}

/* ---------------------------------------------------------------- texts */

static int hex4(const char *at, const char *end, int32_t *to)
{
    if (end - at < 4)
        return 0;
    *to = 0;
    for (int i = 0; i < 4; i++) {
        int c = at[i], d = c >= '0' && c <= '9' ? c - '0' : -1;

        if ((c | 32) >= 'a' && (c | 32) <= 'f')
            d = (c | 32) - 'a' + 10;
        if (d < 0)
            return 0;
        *to = 16 * *to + d;
    }
    return 1;
}

/* At the letter behind a backslash; what it stands for goes to OUT. */
static char *escape(reader *r, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = *r->at ? strchr(from, *r->at) : NULL;
    int32_t c, low;

    if (known) {
        *out++ = to[known - from];
        r->at++;
        return out;
    }
    if (*r->at != 'u' || !hex4(r->at + 1, r->end, &c))
        return NULL;
    r->at += 5;
    if (c >= 0xD800 && c < 0xDC00) {
        if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u' ||
            !hex4(r->at + 2, r->end, &low) || low < 0xDC00 || low > 0xDFFF)
            return NULL;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        r->at += 6;
    } else if (c >= 0xDC00 && c < 0xE000) {
        return NULL;
    }
    return out + tk_put_char(c, out);
}

/* Behind the opening quote. What is not escaped stays where it is. */
static int read_text(reader *r, tk_json *to)
{
    char *out = r->at, *start = r->at;

    while (r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at;

        if (c == '\\') {
            if (++r->at == r->end || !(out = escape(r, out)))
                return fail(r, "an escape in a text is broken");
        } else if (c < 0x20) {
            return fail(r, "a control character in a text");
        } else if (c < 0x80) {
            *out++ = *r->at++;
        } else {
            int ok;
            size_t n = hone_utf8_step(r->at, (size_t)(r->end - r->at), &ok);

            if (!ok)
                return fail(r, "not UTF-8");
            memmove(out, r->at, n);
            out += n;
            r->at += n;
        }
    }
    if (r->at == r->end)
        return fail(r, "a text does not end");
    if (out - start > INT32_MAX)
        return fail(r, "a text is too long");
    r->at++;
    *out = 0; /* over the quote, or what lay before it */
    *to = (tk_json){ .type = TK_STRING, .count = (uint32_t)(out - start),
                     .u.text = start };
    return 1;
}

/* --------------------------------------------------------------- values */

static int read_value(reader *r, tk_json *to);

/* Moves what was pushed since FROM into the arena. */
static int close_items(reader *r, size_t from, tk_json_type type, tk_json *to)
{
    size_t n = r->used - from;
    tk_json *items;

    if (n > UINT32_MAX / 2)
        return fail(r, "too many items");
    items = tk_alloc(r->arena, n * sizeof *items);
    if (n)
        memcpy(items, r->stack + from, n * sizeof *items);
    r->used = from;
    *to = (tk_json){ .type = type,
                     .count = (uint32_t)(type == TK_OBJECT ? n / 2 : n),
                     .u.item = items };
    r->depth--;
    return 1;
}

static int read_list(reader *r, tk_json *to)
{
    size_t from = r->used;
    tk_json v;

    if (next_is(r, ']'))
        return close_items(r, from, TK_LIST, to);
    do {
        if (!read_value(r, &v))
            return 0;
        *push(r) = v;
    } while (next_is(r, ','));
    return next_is(r, ']') ? close_items(r, from, TK_LIST, to)
                           : fail(r, "',' or ']' expected");
}

static int read_object(reader *r, tk_json *to)
{
    size_t from = r->used;
    tk_json v;

    if (next_is(r, '}'))
        return close_items(r, from, TK_OBJECT, to);
    do {
        if (!next_is(r, '"'))
            return fail(r, "a key in quotes expected");
        if (!read_text(r, &v))
            return 0;
        *push(r) = v;
        if (!next_is(r, ':'))
            return fail(r, "':' expected");
        if (!read_value(r, &v))
            return 0;
        *push(r) = v;
    } while (next_is(r, ','));
    return next_is(r, '}') ? close_items(r, from, TK_OBJECT, to)
                           : fail(r, "',' or '}' expected");
}

static int read_word(reader *r, tk_json *to)
{
    static const struct {
        const char *word;
        tk_json_type type;
    } words[] = { { "null", TK_NULL }, { "true", TK_TRUE },
                  { "false", TK_FALSE } };

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i].word);

        if ((size_t)(r->end - r->at) >= n && !memcmp(r->at, words[i].word, n)) {
            r->at += n;
            *to = (tk_json){ .type = words[i].type };
            return 1;
        }
    }
    return fail(r, "a value expected");
}

static int read_value(reader *r, tk_json *to)
{
    memset(to, 0, sizeof *to);
    skip_white(r);
    if (r->at == r->end)
        return fail(r, "it ends too early");
    if (*r->at == '"') {
        r->at++;
        return read_text(r, to);
    }
    if (*r->at == '-' || digit(r))
        return read_number(r, to);
    if (*r->at != '[' && *r->at != '{')
        return read_word(r, to);
    if (r->depth++ == DEPTH)
        return fail(r, "too many levels");
    return *r->at++ == '[' ? read_list(r, to) : read_object(r, to);
}

const tk_json *tk_json_read(tk_arena *arena, char *text, size_t bytes,
                            const char **why, int *line)
{
    reader r = { .arena = arena, .at = text, .end = text + bytes,
                 .start = text };
    tk_json *root = tk_alloc(arena, sizeof *root);

    if (read_value(&r, root)) {
        skip_white(&r);
        if (r.at < r.end)
            fail(&r, "something stands behind the value");
    }
    free(r.stack);
    *why = r.why;
    *line = 1;
    for (char *p = text; r.why && p < r.at; p++)
        *line += *p == '\n';
    return r.why ? NULL : root;
}

const tk_json *tk_json_get(const tk_json *j, const char *key)
{
    size_t n = strlen(key);

    if (!tk_json_is(j, TK_OBJECT))
        return NULL;
    /* From the end: the last of two equal keys holds. */
    for (uint32_t i = j->count; i-- > 0;) {
        const tk_json *k = &j->u.item[2 * i];
        if (k->count == n && !memcmp(k->u.text, key, n))
            return k + 1;
    }
    return NULL;
}
