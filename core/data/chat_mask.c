/* SPDX-License-Identifier: MIT
 *
 * chat_mask.c -- see chat.h: which ids of a text lie in its spans. Tokenizers
 * give no places, so a place is found by encoding the text up to it: from the
 * place before if the ids agree, as at special tokens they do, else from the
 * start; inside of a token by what the tokens before it decode to.
 */
#include <stdlib.h>
#include <string.h>

#include "chat.h"

typedef struct {
    hone_arena *arena;
    const hone_tokens *t;
    const hone_rendered *r;
    hone_chat_ids all;
    int64_t byte, token; /* the last place found: token begins at byte */
} finder;

static int64_t encode(finder *f, int64_t from, int64_t to, int32_t **ids)
{
    const hone_tokens *t = f->t;
    const char *text = f->r->text + from;
    size_t bytes = (size_t)(to - from);
    int64_t cap = to - from + 16, n;

    *ids = hone_alloc(f->arena, (size_t)cap * sizeof **ids);
    n = t->api->encode(t->self, text, bytes, 0, *ids, cap);
    if (n > cap) { /* a normalizer made the text longer */
        *ids = hone_alloc(f->arena, (size_t)n * sizeof **ids);
        n = t->api->encode(t->self, text, bytes, 0, *ids, n);
    }
    return n;
}

static int64_t same(const int32_t *a, int64_t n, const int32_t *b, int64_t m)
{
    int64_t i = 0;

    while (i < n && i < m && a[i] == b[i])
        i++;
    return i;
}

/* Bytes that the first N tokens stand for, if decoding gives the text. */
static int64_t decoded(const finder *f, int64_t n)
{
    const hone_tokens *t = f->t;

    return t->api->decode(t->self, f->all.ids, n, 0, NULL, 0);
}

/* The token that byte AT lies in, of which FIRST agree with those before. */
static int64_t inside(const finder *f, int64_t at, int64_t first)
{
    int64_t lost = f->r->bytes - decoded(f, f->all.count), k = first;

    if (lost < -1 || lost > 1) /* decoding is not the way back */
        return first;
    while (k < f->all.count && decoded(f, k + 1) + lost <= at)
        k++;
    return k;
}

/* The first token that begins at byte AT or, if AT is inside of one, that
 * one: then *WITHIN is set. */
static int64_t place(finder *f, int64_t at, int *within)
{
    int32_t *ids;
    int64_t n = encode(f, f->byte, at, &ids), k;

    *within = 0;
    k = same(ids, n, f->all.ids + f->token, f->all.count - f->token);
    if (k == n) {
        f->token += n;
        f->byte = at;
        return f->token;
    }
    n = encode(f, 0, at, &ids);
    k = same(ids, n, f->all.ids, f->all.count);
    if (k == n) {
        f->token = n;
        f->byte = at;
        return n;
    }
    *within = 1;
    return inside(f, at, k);
}

/* A turn ends with its end token: white space that the template writes behind
 * it only parts the turns. */
static int64_t without_space(finder *f, int64_t from, int64_t to)
{
    finder probe = *f;
    int64_t end = to, k;
    int within;

    while (end > from && strchr(" \n\r\t", f->r->text[end - 1]) &&
           f->r->text[end - 1])
        end--;
    if (end == to || end == from)
        return to;
    k = place(&probe, end, &within);
    if (within || k == 0 ||
        !f->t->api->is_special(f->t->self, f->all.ids[k - 1]))
        return to;
    return end;
}

hone_chat_ids hone_chat_encode(hone_arena *a, const hone_tokens *t,
                               const hone_rendered *r)
{
    finder f = { .arena = a, .t = t, .r = r };

    f.all.count = encode(&f, 0, r->bytes, &f.all.ids);
    f.all.mask = hone_alloc(a, (size_t)f.all.count + 1);
    for (uint32_t i = 0; i < r->spans; i++) {
        int64_t from = r->span[i].from, to = r->span[i].to, first, last;
        int within;

        if (from >= to)
            continue;
        first = place(&f, from, &within);
        if (r->found)
            to = without_space(&f, from, to);
        last = place(&f, to, &within) + within;
        for (int64_t k = first; k < last && k < f.all.count; k++)
            f.all.mask[k] = 1;
    }
    return f.all;
}
