/* SPDX-License-Identifier: MIT
 *
 * split.c -- pre-tokenizers: each cuts a piece into smaller ones and hands
 * them to the next step; behind the last one stands the model. No list of
 * pieces is ever built.
 */
#include <string.h>

#include "bpe.h"

typedef struct {
    bpe_scratch *s;
    int next;           /* the step that gets the pieces */
    const char *text;
    int first;          /* as in bpe_pre_tokenize */
    bpe_behaviour behaviour;
    int held, was_match; /* a span is held back, for it may grow */
    size_t start, end;
} cutter;

static void hand_on(cutter *c, size_t start, size_t end)
{
    if (end > start)
        bpe_pre_tokenize(c->s, c->next,
                         (bpe_text){ c->text + start, end - start },
                         c->first && start == 0);
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
    case BPE_CONTIGUOUS:
        return is_match == c->was_match;
    case BPE_PREVIOUS:
        return is_match && !c->was_match;
    case BPE_NEXT:
        return !is_match && c->was_match;
    default:
        return 0;
    }
}

static void span(cutter *c, size_t start, size_t end, int is_match)
{
    if (c->behaviour == BPE_ISOLATED ||
        (c->behaviour == BPE_REMOVED && !is_match))
        hand_on(c, start, end);
    else if (c->behaviour != BPE_REMOVED) {
        if (c->held && joins(c, is_match))
            c->end = end;
        else
            hold(c, start, end);
        c->was_match = is_match;
    }
}

static void cut(bpe_scratch *s, int k, bpe_text t, int first,
                const bpe_pattern *p, bpe_behaviour behaviour, int invert)
{
    cutter c = { s, k + 1, t.at, first, behaviour, 0, 0, 0, 0 };
    bpe_search search = { p, t.at, t.len, 0, 0, 0 };
    size_t start, end, done = 0;

    while (bpe_next(&search, s, &start, &end)) {
        if (start != done)
            span(&c, done, start, invert);
        span(&c, start, end, !invert);
        done = end;
    }
    if (done != t.len)
        span(&c, done, t.len, invert);
    flush(&c);
}

static bpe_text with_prefix(bpe_scratch *s, bpe_text prefix, bpe_text t)
{
    char *to = bpe_alloc(&s->arena, prefix.len + t.len);

    memcpy(to, prefix.at, prefix.len);
    memcpy(to + prefix.len, t.at, t.len);
    return (bpe_text){ to, prefix.len + t.len };
}

static void byte_level(bpe_scratch *s, int k, bpe_text t, int first)
{
    const bpe_step *step = &s->tok->pre.step[k];

    if (step->prefix && t.at[0] != ' ')
        t = with_prefix(s, (bpe_text){ " ", 1 }, t);
    if (step->split)
        cut(s, k, t, first, &step->pattern, BPE_ISOLATED, 0);
    else
        bpe_pre_tokenize(s, k + 1, t, first);
}

static void metaspace(bpe_scratch *s, int k, bpe_text t, int first)
{
    static const bpe_pattern space = { .literal = { " ", 1 } };
    const bpe_step *step = &s->tok->pre.step[k];
    bpe_text mark = step->text;

    t = bpe_replace(s, &space, t, mark);
    if ((t.len < mark.len || memcmp(t.at, mark.at, mark.len) != 0) &&
        (step->scheme == BPE_ALWAYS || (step->scheme == BPE_FIRST && first)))
        t = with_prefix(s, mark, t);
    if (step->split)
        cut(s, k, t, first, &step->pattern, BPE_NEXT, 0);
    else
        bpe_pre_tokenize(s, k + 1, t, first);
}

void bpe_pre_tokenize(bpe_scratch *s, int k, bpe_text t, int first)
{
    const bpe_steps *steps = &s->tok->pre;
    const bpe_step *step = &steps->step[k];

    if (!t.len)
        return;
    if (k == steps->count)
        bpe_word(s, t);
    else if (step->kind == BPE_BYTE_LEVEL)
        byte_level(s, k, t, first);
    else if (step->kind == BPE_METASPACE)
        metaspace(s, k, t, first);
    else
        cut(s, k, t, first, &step->pattern, step->behaviour, step->invert);
}
