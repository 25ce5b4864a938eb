/* SPDX-License-Identifier: MIT
 *
 * dialect.c -- the regular expressions of tokenizer.json are Oniguruma's (its
 * Ruby syntax); this rewrites one for PCRE2 where the two would match other
 * texts in silence: classes and kinds of characters (with the library's
 * version of Unicode, whatever PCRE2's is), (?m), a lone (?i), X{1,3}+, X{,3},
 * \b, \u, \O. What cannot be rewritten is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dialect.h"

enum { MAX_REGEX = 1 << 15 };


void tk_put(tk_rewriter *r, const char *text, size_t n)
{
    void *out = r->out;

    tk_room(&out, &r->cap, r->used + n + 1, 1, r->used);
    r->out = out;
    memcpy(r->out + r->used, text, n);
    r->used += n;
    r->out[r->used] = 0;
}

void tk_say(tk_rewriter *r, const char *text)
{
    tk_put(r, text, strlen(text));
}

static void copy(tk_rewriter *r, size_t n)
{
    if (n > (size_t)(r->end - r->at))
        n = (size_t)(r->end - r->at);
    tk_put(r, r->at, n);
    r->at += n;
}

void tk_refuse(tk_rewriter *r, const char *why)
{
    if (!r->why)
        r->why = why;
    r->at = r->end;
}

/* \b and \B by what Oniguruma counts as a word. */
static void put_boundary(tk_rewriter *r, int inside)
{
    static const char *const parts[2][5] = {
        { "(?:(?<=", ")(?!", ")|(?<!", ")(?=", "))" },
        { "(?:(?<=", ")(?=", ")|(?<!", ")(?!", "))" },
    };

    for (int i = 0; i < 5; i++) {
        tk_say(r, parts[inside][i]);
        if (i < 4)
            tk_put_kind(r, 'w');
    }
}

static void rewrite_escape(tk_rewriter *r)
{
    char letter = r->at + 1 < r->end ? r->at[1] : 0;
    int32_t code;

    r->item = r->used;
    if (letter == 'b' || letter == 'B') {
        put_boundary(r, letter == 'B');
        r->at += 2;
        return;
    }
    if (letter == 'O') {
        tk_say(r, "(?s:.)");
        r->at += 2;
        return;
    }
    if (letter == 'u' && tk_hex_digits(r->at + 2, r->end, 4, &code) == 4) {
        char text[24];
        snprintf(text, sizeof text, "\\x{%x}", (unsigned)code);
        tk_say(r, text);
        r->at += 6;
        return;
    }
    if (letter && strchr("pPsSwWdDhH", letter)) {
        tk_rewrite_kind(r);
        return;
    }
    if (letter == 'x' && r->at + 2 < r->end && r->at[2] == '{') {
        const char *close = memchr(r->at, '}', (size_t)(r->end - r->at));
        copy(r, close ? (size_t)(close + 1 - r->at) : 2);
        return;
    }
    copy(r, 2);
}

/* At a '(': in flags like (?im-x: the letter m is PCRE2's s. Flags alone,
 * (?i), hold up to the end of the group, whatever '|' comes. */
static void open_group(tk_rewriter *r)
{
    const char *p = r->at + 2;
    int flags = 0;

    if (r->end - r->at >= 3 && r->at[1] == '?') {
        while (p < r->end && *p && strchr("imx-", *p))
            p++;
        flags = p < r->end && (*p == ':' || (*p == ')' && p > r->at + 2));
    }
    if (flags && *p == ')') {
        r->closes[r->depth]++;
        for (; r->at < p; r->at++)
            tk_put(r, *r->at == 'm' ? "s" : r->at, 1);
        tk_say(r, ":");
        r->at++;
        return;
    }
    if (r->depth == TK_DEPTH) {
        tk_refuse(r, "too many groups inside each other");
        return;
    }
    r->group[r->depth++] = r->used;
    r->closes[r->depth] = 0;
    if (r->end - r->at < 3 || r->at[1] != '?') {
        copy(r, 1);
        return;
    }
    if (!flags)
        copy(r, 2);
    for (; flags && r->at < p; r->at++)
        tk_put(r, *r->at == 'm' ? "s" : r->at, 1);
}

static void close_flags(tk_rewriter *r)
{
    for (; r->closes[r->depth] > 0; r->closes[r->depth]--)
        tk_say(r, ")");
}

static void close_group(tk_rewriter *r)
{
    close_flags(r);
    if (r->depth)
        r->item = r->group[--r->depth];
    copy(r, 1);
}

/* At a '{': X{1,3}+ becomes (?:X{1,3})+, and X{,3} X{0,3}. */
static void open_brace(tk_rewriter *r)
{
    const char *p = r->at + 1;

    while (p < r->end && ((*p >= '0' && *p <= '9') || *p == ','))
        p++;
    if (p == r->end || *p != '}' || p == r->at + 1) {
        tk_say(r, "\\");
        copy(r, 1);
        return;
    }
    if (r->at[1] == ',') {
        tk_say(r, "{0");
        r->at++;
    }
    copy(r, (size_t)(p + 1 - r->at));
    if (r->at < r->end && *r->at == '+') {
        size_t n = r->used - r->item;

        tk_say(r, "(?:)");
        memmove(r->out + r->item + 3, r->out + r->item, n);
        memcpy(r->out + r->item, "(?:", 3);
        r->out[r->used - 1] = ')';
    }
}

static void rewrite(tk_rewriter *r)
{
    switch (*r->at) {
    case '\\':
        rewrite_escape(r);
        break;
    case '[':
        r->item = r->used;
        tk_rewrite_class(r);
        break;
    case '(':
        open_group(r);
        break;
    case ')':
        close_group(r);
        break;
    case '{':
        open_brace(r);
        break;
    default:
        if (!strchr("*+?|", *r->at) && ((unsigned char)*r->at & 0xC0) != 0x80)
            r->item = r->used;
        copy(r, 1);
    }
}

hone_status tk_dialect(tk_arena *a, tk_text *regex, const char *where,
                       hone_err *err)
{
    tk_rewriter r = { .at = regex->at, .end = regex->at + regex->len };
    const char *said = regex->at;

    if (regex->len > MAX_REGEX)
        tk_refuse(&r, "more than 32768 bytes");
    while (r.at < r.end)
        rewrite(&r);
    r.depth = 0;
    close_flags(&r);
    if (!r.why)
        *regex = tk_keep(a, r.out ? r.out : "", r.used);
    free(r.out);
    if (r.why)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: the regular expression '%.200s' has %s, which "
                         "is not supported", where, said, r.why);
    return HONE_OK;
}
