/* SPDX-License-Identifier: MIT
 *
 * loader_order.c -- which rows a step has: arithmetic on seed, epoch and the
 * lengths of the rows, the same for every rank and after every restart.
 */
#include "loader.h"

#include <math.h>

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* A Feistel network permutes the smallest even power of two that is not below
 * N; walking the cycle until it is below N again permutes [0, N) (Black and
 * Rogaway, Ciphers with arbitrary finite domains). At most four steps are
 * expected. */
int64_t hone_permute(int64_t seed, int64_t epoch, int64_t i, int64_t n)
{
    uint64_t key = mix(mix((uint64_t)seed) + (uint64_t)epoch *
                                                 0x9e3779b97f4a7c15u);
    uint64_t x = (uint64_t)i, mask;
    int half = 1;

    while ((uint64_t)1 << 2 * half < (uint64_t)n)
        half++;
    mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = x >> half, right = x & mask;

        for (uint64_t round = 1; round <= 6; round++) {
            uint64_t swap = left ^ (mix(right + mix(key + round)) & mask);
            left = right;
            right = swap;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}

int64_t hone_split_epoch(const hone_split *s)
{
    int64_t rows = 0;

    for (int i = 0; i < s->shares; i++)
        rows += s->share[i].take;
    return s->shares ? rows : s->rows;
}

/* Row AT of share K in epoch EPOCH: where the share goes through its rows at
 * a pace of its own, its epochs have orders of their own. */
static int64_t row_of_share(const hone_loader_spec *s, int k, int64_t epoch,
                            int64_t at)
{
    const hone_share *h = &s->split->share[k];

    if (h->take != h->rows) {
        int64_t q = epoch * h->take + at;
        int64_t key = (int64_t)mix((uint64_t)s->seed + (uint64_t)k + 1);

        at = s->shuffle ? hone_permute(key, q / h->rows, q % h->rows, h->rows)
                        : q % h->rows;
    }
    return h->first + at;
}

int64_t hone_order_row(const hone_loader_spec *s, int64_t at)
{
    int64_t rows = hone_split_epoch(s->split), epoch = at / rows;
    int k = 0;

    at %= rows;
    if (s->shuffle)
        at = hone_permute(s->seed, epoch, at, rows);
    if (!s->split->shares)
        return at;
    while (at >= s->split->share[k].take)
        at -= s->split->share[k++].take;
    return row_of_share(s, k, epoch, at);
}

/* ---------------------------------------------------------- rows of a step */

int64_t hone_order_count(const hone_loader_spec *s, int64_t at)
{
    int64_t end = s->total_rows ? s->total_rows : INT64_MAX, tokens = 0;
    int64_t from = at;

    if (!s->tokens)
        return end - at < s->batch ? end - at : s->batch;
    for (; at < end; at++) {
        tokens += s->split->length[hone_order_row(s, at)];
        if (tokens > s->tokens)
            break;
    }
    return at - from;
}

void hone_order_seek(const hone_loader_spec *s, hone_order *o, int64_t step)
{
    if (!s->tokens) {
        *o = (hone_order){ step, step * s->batch };
        return;
    }
    if (step < o->step)
        *o = (hone_order){ 0, 0 };
    for (; o->step < step; o->step++)
        o->at += hone_order_count(s, o->at);
}

static hone_status too_long(const hone_loader_spec *s, int64_t row,
                            hone_err *err)
{
    char name[700];

    hone_split_name(s->split, row, name, sizeof name);
    return hone_fail(err, HONE_EINVAL, "%s: %d tokens do not fit global_tokens "
                     "= %lld; raise it, or set max_tokens in the data to cut "
                     "long rows", name, (int)s->split->length[row],
                     (long long)s->tokens);
}

hone_status hone_order_measure(hone_loader_spec *s, hone_err *err)
{
    int64_t steps = s->steps ? s->steps : INT64_MAX;
    hone_order o = { 0, 0 };

    if (s->split->shard.max_length > s->tokens)
        for (int64_t i = 0; i < s->split->rows; i++)
            if (s->split->length[i] > s->tokens)
                return too_long(s, i, err);
    s->batch = 1;
    while (o.step < steps && (!s->total_rows || o.at < s->total_rows)) {
        int64_t rows = hone_order_count(s, o.at);

        s->batch = rows > s->batch ? rows : s->batch;
        o.at += rows;
        o.step++;
    }
    s->steps = o.step;
    s->total_rows = o.at;
    return HONE_OK;
}

/* ------------------------------------------------------- those of a recipe */

hone_status hone_loader_specs(const hone_recipe *r, const hone_dataset *d,
                              hone_loader_spec *train, hone_loader_spec *val,
                              hone_err *err)
{
    double epoch = (double)hone_split_epoch(&d->train);

    *train = (hone_loader_spec){ .split = &d->train, .seed = r->seed,
                                 .shuffle = r->shuffle,
                                 .batch = r->global_batch,
                                 .tokens = r->global_tokens,
                                 .steps = r->steps, .ranks = 1,
                                 .skip_broken = r->data.skip_broken };
    if (!r->steps)
        train->total_rows = (int64_t)ceil(r->epochs * epoch - 1e-9);
    *val = *train;
    val->split = &d->val;
    val->shuffle = 0;
    val->total_rows = d->val.rows;
    val->steps = 0;
    if (r->global_tokens) {
        if (d->train.rows)
            hone_try(hone_order_measure(train, err));
        return d->val.rows ? hone_order_measure(val, err) : HONE_OK;
    }
    if (r->steps)
        train->total_rows = r->steps * r->global_batch;
    train->steps = (train->total_rows + train->batch - 1) / train->batch;
    val->steps = (val->total_rows + val->batch - 1) / val->batch;
    return HONE_OK;
}
