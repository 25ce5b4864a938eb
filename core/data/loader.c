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

#include "log.h"

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
    int64_t steps; /* until the stream ends */
    hone_order order; /* of the step read last */
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

/* ---------------------------------------------------------------- reading */

/* The row is in a damaged frame. Alone, and where the recipe says so, the
 * step goes on without it; several ranks would not agree on what a step is. */
static hone_status lose(hone_loader *l, buffer *b, int64_t row)
{
    const hone_split *split = l->spec.split;
    hone_rows *r = &b->rows;

    if (b->err.code != HONE_EINVAL || !l->spec.skip_broken ||
        l->spec.ranks > 1)
        return b->err.code;
    hone_log(HONE_LOG_WARN, "%s; row %lld left out of step %lld", b->err.msg,
             (long long)row + 1, (long long)r->step + 1);
    r->lost++;
    r->all_rows--;
    r->all_tokens -= split->length[row];
    r->all_targets -= split->targets[row];
    return HONE_OK;
}

static hone_status read_sample(hone_loader *l, buffer *b, int64_t j,
                               int64_t row)
{
    const hone_split *split = l->spec.split;
    hone_rows *r = &b->rows;
    int32_t *tokens = b->tokens + r->tokens;
    uint8_t *mask = b->mask + r->tokens;

    if (hone_row_read(l->reader, row, tokens, mask, &b->err) != HONE_OK)
        return lose(l, b, row);
    r->sample[r->count++] = (hone_sample){ (int32_t)j, row, split->length[row],
                                           tokens, mask };
    r->tokens += split->length[row];
    r->targets += split->targets[row];
    return HONE_OK;
}

/* The disk hears of all rows before the first is waited for. */
static hone_status fill(hone_loader *l, buffer *b, int64_t step)
{
    const hone_loader_spec *s = &l->spec;
    hone_rows *r = &b->rows;
    int64_t from, count;

    hone_order_seek(s, &l->order, step);
    from = l->order.at;
    count = hone_order_count(s, from);
    *r = (hone_rows){ .step = step, .sample = r->sample, .all_rows = count };
    for (int64_t j = 0; j < count; j++) {
        int64_t row = hone_order_row(s, from + j);

        r->all_tokens += s->split->length[row];
        r->all_targets += s->split->targets[row];
        if (j % s->ranks == s->rank)
            hone_row_expect(l->reader, row);
    }
    for (int64_t j = s->rank; j < count; j += s->ranks)
        hone_try(read_sample(l, b, j, hone_order_row(s, from + j)));
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
    int64_t tokens = most_rows(s) * s->split->shard.max_length;

    return s->tokens && s->tokens < tokens ? s->tokens : tokens;
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
    if (!s->total_rows)
        l->spec.total_rows = s->steps * s->batch;
    l->steps = s->steps;
    if (!s->tokens && l->steps > (l->spec.total_rows + s->batch - 1) / s->batch)
        l->steps = (l->spec.total_rows + s->batch - 1) / s->batch;
    if (!s->split->rows)
        l->steps = 0;
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
