/* SPDX-License-Identifier: MIT
 *
 * split.c -- pre-tokenizers: each cuts a piece into smaller ones and hands
 * them to the next step; behind the last one stands the model. No list of
 * pieces is ever built.
 */
#include "tok.h"

typedef struct {
    tk_scratch *s;
    int next;           /* the step that gets the pieces */
    const char *text;
    size_t first;       /* as in tk_pre_tokenize */
    tk_behaviour behaviour;
    int held, was_match; /* a span is held back, for it may grow */
    size_t start, end;
} cutter;

/* How many bytes from START on stem from where the whole text begins. */
static size_t first_from(size_t first, size_t start)
{
    return first > start ? first - start : 0;
}

static void hand_on(cutter *c, size_t start, size_t end)
{
    if (end > start)
        tk_pre_tokenize(c->s, c->next,
                        (tk_text){ c->text + start, end - start },
                        first_from(c->first, start));
}

static void flush(cutter *c)
{
    if (c->held)
        hand_on(c, c->start, c->end);
    c->held = 0;
}

static void hold(cutter *c, size_t start, size_t end)
{
    flush(c);
    c->held = 1;
    c->start = start;
    c->end = end;
}

/* Whether the span joins the one before it, by the behaviour. */
static int joins(const cutter *c, int is_match)
{
    switch (c->behaviour) {
    case TK_CONTIGUOUS:
        return is_match == c->was_match;
    case TK_PREVIOUS:
        return is_match && !c->was_match;
    case TK_NEXT:
        return !is_match && c->was_match;
    default:
        return 0;
    }
}

static void span(cutter *c, size_t start, size_t end, int is_match)
{
    if (c->behaviour == TK_ISOLATED ||
        (c->behaviour == TK_REMOVED && !is_match))
        hand_on(c, start, end);
    else if (c->behaviour != TK_REMOVED) {
        if (c->held && joins(c, is_match))
            c->end = end;
        else
            hold(c, start, end);
        c->was_match = is_match;
    }
}

/* The usual case: a well-known expression, every match a piece. */
static void cut_by_scan(tk_scratch *s, int next, tk_text t, size_t first,
                        const tk_scanner *scan)
{
    int last = next == s->tok->pre.count;

    for (size_t at = 0, end; at < t.len; at = end) {
        end = tk_scan(scan, t.at, t.len, at);
        if (last)
            tk_word(s, (tk_text){ t.at + at, end - at });
        else
            tk_pre_tokenize(s, next, (tk_text){ t.at + at, end - at },
                            first_from(first, at));
    }
}

static void cut(tk_scratch *s, int next, tk_text t, size_t first,
                const tk_pattern *p, tk_behaviour behaviour, int invert)
{
    cutter c = { s, next, t.at, first, behaviour, 0, 0, 0, 0 };
    tk_search search = { p, t.at, t.len, 0, 0, 0 };
    size_t start, end, done = 0;

    if (p->scan && behaviour == TK_ISOLATED) {
        cut_by_scan(s, next, t, first, p->scan);
        return;
    }
    while (tk_next(&search, s, &start, &end)) {
        if (start != done)
            span(&c, done, start, invert);
        span(&c, start, end, !invert);
        done = end;
    }
    if (done != t.len)
        span(&c, done, t.len, invert);
    flush(&c);
}

static tk_text with_prefix(tk_scratch *s, tk_text prefix, tk_text t,
                           size_t *first)
{
    char *to = tk_alloc(&s->arena, prefix.len + t.len);

    memcpy(to, prefix.at, prefix.len);
    memcpy(to + prefix.len, t.at, t.len);
    *first += *first ? prefix.len : 0;
    return (tk_text){ to, prefix.len + t.len };
}

/* The piece in GPT-2's alphabet, for what does not take bytes. */
static void spelt(tk_scratch *s, int next, tk_text t, size_t first)
{
    char *to = tk_alloc(&s->arena, 2 * t.len);
    size_t n = tk_spell_bytes(t, to);

    if (first)
        first = tk_spell_bytes((tk_text){ t.at, first < t.len ? first : t.len },
                               to);
    tk_pre_tokenize(s, next, (tk_text){ to, n }, first);
}

static void byte_level(tk_scratch *s, int k, tk_text t, size_t first)
{
    const tk_step *step = &s->tok->pre.step[k];
    tk_search search;
    size_t start, end;

    if (step->prefix && t.at[0] != ' ')
        t = with_prefix(s, (tk_text){ " ", 1 }, t, &first);
    if (!step->spell) {
        if (step->split)
            cut(s, k + 1, t, first, &step->pattern, TK_ISOLATED, 0);
        else
            tk_pre_tokenize(s, k + 1, t, first);
        return;
    }
    if (!step->split) {
        spelt(s, k + 1, t, first);
        return;
    }
    search = (tk_search){ &step->pattern, t.at, t.len, 0, 0, 0 };
    while (tk_next(&search, s, &start, &end)) /* leaves no gaps */
        spelt(s, k + 1, (tk_text){ t.at + start, end - start },
              first_from(first, start));
}

static void metaspace(tk_scratch *s, int k, tk_text t, size_t first)
{
    static const tk_pattern space = { .literal = { " ", 1 } };
    const tk_step *step = &s->tok->pre.step[k];
    tk_text mark = step->text;

    if (first && t.at[0] == ' ')
        first = mark.len;
    t = tk_replace(s, &space, t, mark);
    if ((t.len < mark.len || memcmp(t.at, mark.at, mark.len) != 0) &&
        (step->scheme == TK_ALWAYS || (step->scheme == TK_FIRST && first)))
        t = with_prefix(s, mark, t, &first);
    if (step->split)
        cut(s, k + 1, t, first, &step->pattern, TK_NEXT, 0);
    else
        tk_pre_tokenize(s, k + 1, t, first);
}

/* Whitespace: \w+|[^\w\s]+ */
static void words(tk_scratch *s, int k, tk_text t, size_t first)
{
    const uint32_t either = TK_IS_RE_WORD | TK_IS_WHITE;
    size_t at = 0, len;

    while (at < t.len) {
        size_t start = at;
        uint32_t kind = tk_is(tk_char(t.at + at, &len)) & either;

        kind = kind & TK_IS_RE_WORD ? TK_IS_RE_WORD : kind;
        while (at < t.len) {
            uint32_t is = tk_is(tk_char(t.at + at, &len)) & either;
            if ((is & TK_IS_RE_WORD ? TK_IS_RE_WORD : is) != kind)
                break;
            at += len;
        }
        if (kind != TK_IS_WHITE)
            tk_pre_tokenize(s, k + 1, (tk_text){ t.at + start, at - start },
                            first_from(first, start));
    }
}

/* What cuts by script takes a character for; 0: any. */
static int script_of(int32_t c)
{
    return c == ' ' ? 0 : tk_split_script(c);
}

/* UnicodeScripts, which loses what stands before the first script, too. */
static void scripts(tk_scratch *s, int k, tk_text t, size_t first)
{
    int last = 0, found = 0;
    size_t start = 0, len;

    for (size_t at = 0; at < t.len; at += len) {
        int script = script_of(tk_char(t.at + at, &len));

        if (!script)
            continue;
        if (script != last) {
            if (found)
                tk_pre_tokenize(s, k + 1, (tk_text){ t.at + start, at - start },
                                first_from(first, start));
            start = at;
            found = 1;
        }
        last = script;
    }
    if (found)
        tk_pre_tokenize(s, k + 1, (tk_text){ t.at + start, t.len - start },
                        first_from(first, start));
}

/* FixedLength: so many characters each. */
static void fixed(tk_scratch *s, int k, tk_text t, size_t first)
{
    int64_t most = s->tok->pre.step[k].left;
    size_t at = 0, len;

    while (at < t.len) {
        size_t start = at;

        for (int64_t i = 0; i < most && at < t.len; i++, at += len)
            tk_char(t.at + at, &len);
        tk_pre_tokenize(s, k + 1, (tk_text){ t.at + start, at - start },
                        first_from(first, start));
    }
}

void tk_pre_tokenize(tk_scratch *s, int k, tk_text t, size_t first)
{
    const tk_steps *steps = &s->tok->pre;
    const tk_step *step = &steps->step[k];

    if (!t.len)
        return;
    if (k == steps->count) {
        tk_word(s, t);
        return;
    }
    switch (step->kind) {
    case TK_BYTE_LEVEL:
        byte_level(s, k, t, first);
        break;
    case TK_METASPACE:
        metaspace(s, k, t, first);
        break;
    case TK_WORDS:
        words(s, k, t, first);
        break;
    case TK_SCRIPTS:
        scripts(s, k, t, first);
        break;
    case TK_FIXED:
        fixed(s, k, t, first);
        break;
    default:
        cut(s, k + 1, t, first, &step->pattern, step->behaviour, step->invert);
    }
}
