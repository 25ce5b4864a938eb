/* SPDX-License-Identifier: MIT
 *
 * loader.c -- the reader thread and its ring of three steps: one that the
 * trainer works on, the one before it, which it may still look at, and one
 * being read. Which rows a step has is arithmetic; the thread holds no state
 * but the number of the next step.
 */
#include "loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { RING = 3, STACK_BYTES = 256 << 10 };

typedef struct {
    hone_rows rows;
    hone_status status;
    hone_err err;
    int32_t *tokens; /* [rows of this rank * longest] */
    uint8_t *mask;   /* as many */
} buffer;

struct hone_loader {
    hone_loader_spec spec;
    int64_t total, steps; /* rows of the stream; steps until it ends */
    hone_row_reader *reader;
    buffer ring[RING];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    /* under the lock: */
    int64_t first;        /* step of the first buffer since the last seek */
    int64_t made, taken;  /* buffers since then */
    int64_t seeks;
    int stop;
};

/* ------------------------------------------------------------------ order */

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

static int64_t row_of(const hone_loader_spec *s, int64_t at)
{
    int64_t rows = s->split->rows;

    return s->shuffle ? hone_permute(s->seed, at / rows, at % rows, rows)
                      : at % rows;
}

/* ---------------------------------------------------------------- reading */

static hone_status fill(hone_loader *l, buffer *b, int64_t step)
{
    const hone_loader_spec *s = &l->spec;
    const hone_split *split = s->split;
    int64_t from = step * s->batch, count = l->total - from;
    hone_rows *r = &b->rows;

    if (count > s->batch)
        count = s->batch;
    *r = (hone_rows){ .step = step, .sample = r->sample, .all_rows = count };
    for (int64_t j = 0; j < count; j++) {
        int64_t row = row_of(s, from + j);
        hone_sample *x = &r->sample[r->count];
        int32_t *tokens = b->tokens + r->tokens;
        uint8_t *mask = b->mask + r->tokens;

        r->all_tokens += split->length[row];
        r->all_targets += split->targets[row];
        if (j % s->ranks != s->rank)
            continue;
        hone_try(hone_row_read(l->reader, row, tokens, mask, &b->err));
        *x = (hone_sample){ (int32_t)j, row, split->length[row], tokens, mask };
        r->count++;
        r->tokens += split->length[row];
        r->targets += split->targets[row];
    }
    return HONE_OK;
}

/* A buffer may be filled when its last rows are no longer lent: those of the
 * last two calls of next() are. After an error there is nothing to add. */
static int may_fill(const hone_loader *l)
{
    if (l->made > 0 && l->ring[(l->made - 1) % RING].status != HONE_OK)
        return 0;
    return l->made <= l->taken && l->first + l->made < l->steps;
}

static void *read_steps(void *arg)
{
    hone_loader *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        int64_t step = l->first + l->made, seeks = l->seeks;
        buffer *b = &l->ring[l->made % RING];

        if (!may_fill(l)) {
            pthread_cond_wait(&l->freed, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        b->status = fill(l, b, step);
        pthread_mutex_lock(&l->lock);
        if (seeks == l->seeks) {
            l->made++;
            pthread_cond_signal(&l->filled);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---------------------------------------------------------------- opening */

static int64_t up64(int64_t n)
{
    return (n + 63) / 64 * 64;
}

/* Most rows of a step on this rank, and most tokens in them. */
static int64_t most_rows(const hone_loader_spec *s)
{
    return (s->batch + s->ranks - 1) / s->ranks;
}

static int64_t most_tokens(const hone_loader_spec *s)
{
    return most_rows(s) * s->split->shard.max_length;
}

int64_t hone_loader_bytes(const hone_loader_spec *s)
{
    int64_t step = up64(most_rows(s) * (int64_t)sizeof(hone_sample)) +
                   up64(most_tokens(s) * (int64_t)sizeof(int32_t)) +
                   up64(most_tokens(s));

    return up64(sizeof(hone_loader)) + RING * step +
           hone_row_reader_bytes(&s->split->shard);
}

static void *take(uint8_t **memory, int64_t bytes)
{
    void *p = *memory;

    *memory += up64(bytes);
    return p;
}

/* Signals stay with the threads that ask for them. */
static int start_thread(hone_loader *l)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&l->thread, &attr, read_steps, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed;
}

hone_status hone_loader_open(hone_loader **out, const hone_loader_spec *s,
                             void *memory, hone_err *err)
{
    uint8_t *at = memory;
    hone_loader *l = take(&at, sizeof *l);
    int failed;

    memset(l, 0, sizeof *l);
    l->spec = *s;
    l->first = s->first_step;
    l->total = s->total_rows ? s->total_rows : s->steps * s->batch;
    if (!s->split->rows)
        l->total = 0;
    l->steps = (l->total + s->batch - 1) / s->batch;
    if (l->steps > s->steps)
        l->steps = s->steps;
    for (int i = 0; i < RING; i++) {
        l->ring[i].rows.sample = take(&at, most_rows(s) *
                                               (int64_t)sizeof(hone_sample));
        l->ring[i].tokens = take(&at, most_tokens(s) *
                                          (int64_t)sizeof(int32_t));
        l->ring[i].mask = take(&at, most_tokens(s));
    }
    hone_try(hone_row_reader_open(&l->reader, &s->split->shard, at, err));
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    failed = start_thread(l);
    if (failed)
        return hone_fail(err, HONE_EIO, "the reader thread does not start: %s",
                         strerror(failed));
    *out = l;
    return HONE_OK;
}

hone_status hone_loader_next(hone_loader *l, const hone_rows **out,
                             hone_err *err)
{
    buffer *b;

    if (l->first + l->taken >= l->steps)
        return HONE_END;
    pthread_mutex_lock(&l->lock);
    while (l->made <= l->taken)
        pthread_cond_wait(&l->filled, &l->lock);
    b = &l->ring[l->taken % RING];
    if (b->status == HONE_OK)
        l->taken++;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    if (b->status != HONE_OK) {
        if (err)
            *err = b->err;
        return b->status;
    }
    *out = &b->rows;
    return HONE_OK;
}

void hone_loader_seek(hone_loader *l, int64_t step)
{
    pthread_mutex_lock(&l->lock);
    l->first = step;
    l->made = l->taken = 0;
    l->seeks++;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
}

void hone_loader_close(hone_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = 1;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->freed);
}
