/* SPDX-License-Identifier: MIT
 *
 * load_scales.c -- see hone_load_scales() in load.h. Threads take pieces of
 * the weights in order; what they say of a tensor is put together in the order
 * of its pieces, so that it does not depend on the threads.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "e4m3.h"
#include "load.h"
#include "machine.h"
#include "nf4.h"

enum { THREADS = 16, PIECE = 1 << 20, BLOCK = 4096 };

/* A tensor: what its pieces say, in their order. */
typedef struct {
    hone_filling *of;
    double *piece;
} wanted;

typedef struct {
    wanted *list;
    int count;
    pthread_mutex_t lock;
    /* under the lock: */
    int next;
    int64_t at;
    hone_status status;
    hone_err err;
} pass;

static int is_wanted(const hone_filling *f)
{
    hone_storage s = f->kept->type.storage;

    if (f->data || (f->weight && f->weight->type.storage == s))
        return 0;
    return s == HONE_FP8 || s == HONE_NF4;
}

/* What is looked at: of numbers made at random some are enough for a mean. */
static int64_t measured(const hone_filling *f)
{
    int64_t n = hone_count(&f->kept->type);

    return !f->weight && f->kept->type.storage == HONE_NF4 && n > PIECE ? PIECE
                                                                       : n;
}

static int64_t pieces_of(const hone_filling *f)
{
    return (measured(f) + PIECE - 1) / PIECE;
}

/* The next piece: elements [FROM, FROM + PIECE) of a tensor. */
static wanted *take(pass *p, int64_t *from)
{
    wanted *w;

    if (p->next == p->count || p->status != HONE_OK)
        return NULL;
    w = &p->list[p->next];
    *from = p->at;
    p->at += PIECE;
    if (p->at >= measured(w->of)) {
        p->next++;
        p->at = 0;
    }
    return w;
}

/* Of fp8 the largest magnitude, of nf4 the sum of the blocks' scales. */
static hone_status measure(const hone_filling *f, int64_t from, double *out,
                           hone_err *err)
{
    int64_t end = from + PIECE;
    float x[BLOCK], tops[BLOCK / HONE_NF4_BLOCK], top = 0;
    double sum = 0;

    if (end > hone_count(&f->kept->type))
        end = hone_count(&f->kept->type);
    for (; from < end; from += BLOCK) {
        int64_t n = BLOCK < end - from ? BLOCK : end - from;

        hone_try(hone_filling_numbers(f, from, n, x, err));
        if (f->kept->type.storage == HONE_FP8) {
            top = hone_e4m3_top(top, x, n);
            continue;
        }
        hone_nf4_tops(tops, x, n);
        for (int64_t i = 0; i * HONE_NF4_BLOCK < n; i++)
            sum += (double)tops[i];
    }
    *out = f->kept->type.storage == HONE_FP8 ? (double)top : sum;
    return HONE_OK;
}

static void *measure_pieces(void *arg)
{
    pass *p = arg;
    wanted *w;
    int64_t from;

    pthread_mutex_lock(&p->lock);
    while ((w = take(p, &from))) {
        hone_status status;
        hone_err err;

        pthread_mutex_unlock(&p->lock);
        status = measure(w->of, from, &w->piece[from / PIECE], &err);
        pthread_mutex_lock(&p->lock);
        if (status != HONE_OK && p->status == HONE_OK) {
            p->status = status;
            p->err = err;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals stay with the threads that ask for them. The caller helps, so that
 * it goes on where no thread starts. */
static hone_status run_pass(pass *p, hone_err *err)
{
    pthread_t thread[THREADS];
    sigset_t all, before;
    int threads = 0;

    pthread_mutex_init(&p->lock, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (threads < THREADS &&
           !pthread_create(&thread[threads], NULL, measure_pieces, p))
        threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    measure_pieces(p);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    if (p->status != HONE_OK)
        *err = p->err;
    return p->status;
}

/* Its last part, which says nothing of single elements. */
static char *last_part(const hone_store *store, const hone_kept *k)
{
    char *at = hone_store_address(store, k);

    for (int p = 0; hone_parts(k->type.storage)[p].per > 0; p++)
        at += (hone_type_bytes(&k->type, p) + HONE_ALIGN - 1) / HONE_ALIGN *
              HONE_ALIGN;
    return at;
}

/* From what its pieces said. */
static void find_scale(const wanted *w)
{
    hone_filling *f = w->of;
    double top = 0, sum = 0;

    for (int64_t i = 0; i < pieces_of(f); i++) {
        top = w->piece[i] > top ? w->piece[i] : top;
        sum += w->piece[i];
    }
    if (f->kept->type.storage == HONE_FP8)
        f->scale = hone_e4m3_scale((float)top);
    else
        f->scale = (float)(sum / (double)((measured(f) + HONE_NF4_BLOCK - 1) /
                                          HONE_NF4_BLOCK));
}

/* ROWS: room for a number of each row; of fp8 they are all alike. */
static hone_status put_scale(const hone_store *store, hone_machine *m,
                             const hone_filling *f, float *rows, hone_err *err)
{
    hone_storage s = f->kept->type.storage;
    float mean[2] = { f->scale, hone_nf4_lowest() };
    int64_t bytes = s == HONE_FP8 ? hone_type_bytes(&f->kept->type, 1)
                                  : (int64_t)sizeof mean;
    const void *from = s == HONE_FP8 ? rows : mean;

    if (f->data || (s != HONE_FP8 && s != HONE_NF4))
        return HONE_OK;
    if (s == HONE_NF4 && f->weight && f->weight->type.storage == s)
        from = f->weight->codes->mean;
    for (int64_t i = 0; s == HONE_FP8 && i < bytes / (int64_t)sizeof *rows; i++)
        rows[i] = f->scale;
    if (f->kept->space != HONE_PINNED_SPACE)
        return hone_machine_put(m, last_part(store, f->kept), from, bytes, err);
    memcpy(last_part(store, f->kept), from, (size_t)bytes);
    return HONE_OK;
}

hone_status hone_load_scales(const hone_store *store, hone_machine *m,
                             hone_filling *list, int count, hone_err *err)
{
    hone_arena a = { 0 };
    pass p = { .list = hone_alloc(&a, ((size_t)count + 1) * sizeof *p.list) };
    hone_status s = HONE_OK;
    int64_t most = 0;
    float *rows;

    for (int i = 0; i < count; i++)
        if (list[i].kept->type.storage == HONE_FP8 &&
            hone_type_bytes(&list[i].kept->type, 1) > most)
            most = hone_type_bytes(&list[i].kept->type, 1);
    rows = hone_alloc(&a, (size_t)most + 1);
    for (int i = 0; i < count; i++)
        if (is_wanted(&list[i]))
            p.list[p.count++] = (wanted){
                &list[i], hone_alloc(&a, (size_t)pieces_of(&list[i]) *
                                             sizeof(double)) };
    if (p.count)
        s = run_pass(&p, err);
    for (int i = 0; i < p.count && s == HONE_OK; i++)
        find_scale(&p.list[i]);
    for (int i = 0; i < count && s == HONE_OK; i++)
        s = put_scale(store, m, &list[i], rows, err);
    hone_arena_free(&a);
    return s;
}
