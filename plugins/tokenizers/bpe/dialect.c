/* SPDX-License-Identifier: MIT
 *
 * dialect.c -- the regular expressions of tokenizer.json are Oniguruma's (its
 * Ruby syntax); this rewrites one for PCRE2 where the two would match other
 * texts in silence: \s \w \h and their opposites, (?m), and X{1,3}+, which is
 * possessive in PCRE2 only. What cannot be rewritten is refused.
 */
#include <string.h>

#include "bpe.h"

enum { MAX_REGEX = 1 << 15, LONGEST = 192, DEPTH = 250 };

#define SPACE                                                                  \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"           \
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD                                                                   \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}"                     \
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
/* Oniguruma counts these as \w, but not inside a class. */
#define WORD_ALONE "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX "0-9a-fA-F"

typedef struct {
    const char *at, *end;
    char *out;
    int in_class, depth;
    char *item;          /* where the last item began, for a '{' behind it */
    char *group[DEPTH];  /* where the open groups began */
} rewriter;

static void put(rewriter *r, const char *text, size_t n)
{
    memcpy(r->out, text, n);
    r->out += n;
}

static void copy(rewriter *r, size_t n)
{
    if (n > (size_t)(r->end - r->at))
        n = (size_t)(r->end - r->at);
    put(r, r->at, n);
    r->at += n;
}

static const char *items(char letter)
{
    switch (letter | 32) {
    case 's':
        return SPACE;
    case 'w':
        return WORD;
    case 'h':
        return HEX;
    default:
        return NULL;
    }
}

/* At a backslash. A negated kind inside a class has no list of items: PCRE2's
 * own is taken, which differs in a few rare characters only. */
static void rewrite_escape(rewriter *r)
{
    char letter = r->at + 1 < r->end ? r->at[1] : 0;
    const char *list = items(letter);
    int negated = letter && !(letter & 32);
    const char *brace = r->at + 2;

    if (!r->in_class)
        r->item = r->out;
    if (list && !(negated && r->in_class)) {
        if (!r->in_class)
            put(r, negated ? "[^" : "[", negated ? 2 : 1);
        put(r, list, strlen(list));
        if (!r->in_class && (letter | 32) == 'w')
            put(r, WORD_ALONE, sizeof WORD_ALONE - 1);
        if (!r->in_class)
            put(r, "]", 1);
        r->at += 2;
    } else if (brace < r->end && *brace == '{' && strchr("pPx", letter)) {
        const char *close = memchr(brace, '}', (size_t)(r->end - brace));
        copy(r, close ? (size_t)(close + 1 - r->at) : 2);
    } else {
        copy(r, 2);
    }
}

/* At a '['. Returns why it cannot be rewritten, or NULL. */
static const char *open_bracket(rewriter *r)
{
    if (r->in_class) {
        const char *close = r->at + 2 < r->end && r->at[1] == ':'
                                ? memchr(r->at, ']', (size_t)(r->end - r->at))
                                : NULL;
        if (!close)
            return "a class inside a class";
        copy(r, (size_t)(close + 1 - r->at)); /* [:alpha:] */
        return NULL;
    }
    r->in_class = 1;
    r->item = r->out;
    copy(r, 1);
    if (r->at < r->end && *r->at == '^')
        copy(r, 1);
    if (r->at < r->end && *r->at == ']')
        copy(r, 1); /* stands for itself here */
    return NULL;
}

/* At a '(': in flags like (?im-x: the letter m is PCRE2's s. */
static const char *open_group(rewriter *r)
{
    const char *p = r->at + 2;
    int flags;

    if (r->depth == DEPTH)
        return "too many groups inside each other";
    r->group[r->depth++] = r->out;
    if (r->end - r->at < 3 || r->at[1] != '?') {
        copy(r, 1);
        return NULL;
    }
    while (p < r->end && *p && strchr("imx-", *p))
        p++;
    flags = p < r->end && (*p == ':' || *p == ')');
    if (!flags)
        copy(r, 2);
    for (; flags && r->at < p; r->at++)
        put(r, *r->at == 'm' ? "s" : r->at, 1);
    return NULL;
}

static void close_group(rewriter *r)
{
    if (r->depth)
        r->item = r->group[--r->depth];
    copy(r, 1);
}

/* At a '{': X{1,3}+ becomes (?:X{1,3})+. */
static void open_brace(rewriter *r)
{
    const char *p = r->at + 1;

    while (p < r->end && ((*p >= '0' && *p <= '9') || *p == ','))
        p++;
    if (p == r->end || *p != '}' || p == r->at + 1) {
        copy(r, 1);
        return;
    }
    copy(r, (size_t)(p + 1 - r->at));
    if (r->item && r->at < r->end && *r->at == '+') {
        memmove(r->item + 3, r->item, (size_t)(r->out - r->item));
        memcpy(r->item, "(?:", 3);
        r->out += 3;
        put(r, ")", 1);
    }
}

static void in_class(rewriter *r)
{
    r->in_class = *r->at != ']';
    copy(r, 1);
}

static const char *rewrite(rewriter *r)
{
    switch (*r->at) {
    case '\\':
        rewrite_escape(r);
        return NULL;
    case '[':
        return open_bracket(r);
    case '&':
        if (r->in_class && r->at + 1 < r->end && r->at[1] == '&')
            return "an intersection of classes";
        break;
    case '(':
        if (!r->in_class)
            return open_group(r);
        break;
    case ')':
        if (!r->in_class) {
            close_group(r);
            return NULL;
        }
        break;
    case '{':
        if (!r->in_class) {
            open_brace(r);
            return NULL;
        }
        break;
    default:
        break;
    }
    if (r->in_class) {
        in_class(r);
        return NULL;
    }
    if (!strchr("*+?|", *r->at) && ((unsigned char)*r->at & 0xC0) != 0x80)
        r->item = r->out;
    copy(r, 1);
    return NULL;
}

hone_status bpe_dialect(bpe_arena *a, bpe_text *regex, const char *where,
                        hone_err *err)
{
    rewriter r = { .at = regex->at, .end = regex->at + regex->len };
    const char *why = regex->len > MAX_REGEX ? "more than 32768 bytes" : NULL;
    char *start = r.out = why ? NULL : bpe_alloc(a, (regex->len + 1) * LONGEST);

    while (!why && r.at < r.end)
        why = rewrite(&r);
    if (why)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: the regular expression '%.200s' has %s, which "
                         "is not supported", where, regex->at, why);
    *regex = (bpe_text){ start, (size_t)(r.out - start) };
    return HONE_OK;
}
