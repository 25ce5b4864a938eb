/* SPDX-License-Identifier: MIT
 *
 * load_scales.c -- see hone_load_scales() in load.h. Threads take pieces of
 * the weights in order; a tensor's largest magnitude is the largest of its
 * pieces', in whatever order those come.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "e4m3.h"
#include "load.h"
#include "machine.h"

enum { THREADS = 16, PIECE = 1 << 20, BLOCK = 16 << 10 };

typedef struct {
    hone_filling *list;
    int count;
    pthread_mutex_t lock;
    /* under the lock; a filling's scale is its largest magnitude so far: */
    int next;
    int64_t at;
    hone_status status;
    hone_err err;
} pass;

static int is_wanted(const hone_filling *f)
{
    return f->weight && f->kept->type.storage == HONE_FP8 &&
           f->weight->type.storage != HONE_FP8;
}

/* The next piece: elements [FROM, FROM + PIECE) of a weight. */
static hone_filling *take(pass *p, int64_t *from)
{
    hone_filling *f;

    while (p->next < p->count && !is_wanted(&p->list[p->next]))
        p->next++;
    if (p->next == p->count || p->status != HONE_OK)
        return NULL;
    f = &p->list[p->next];
    *from = p->at;
    p->at += PIECE;
    if (p->at >= hone_count(&f->kept->type)) {
        p->next++;
        p->at = 0;
    }
    return f;
}

static hone_status top_of(const hone_filling *f, int64_t from, float *top,
                          hone_err *err)
{
    hone_storage as = f->weight->type.storage;
    int64_t size = hone_part_bytes(as, 0, 1), end = from + PIECE;
    char bytes[BLOCK * sizeof(double)];
    float block[BLOCK];

    if (end > hone_count(&f->kept->type))
        end = hone_count(&f->kept->type);
    for (; from < end; from += BLOCK) {
        int64_t n = BLOCK < end - from ? BLOCK : end - from;

        hone_try(hone_weights_read(f->file, f->weight, from * size, n * size,
                                   bytes, err));
        if (hone_convert(block, HONE_F32, bytes, as, n) != HONE_OK)
            return hone_fail(err, HONE_ENOSUP, "%s: its storage cannot be "
                             "converted", f->kept->name);
        *top = hone_e4m3_top(*top, block, n);
    }
    return HONE_OK;
}

static void *find_tops(void *arg)
{
    pass *p = arg;
    hone_filling *f;
    int64_t from;

    pthread_mutex_lock(&p->lock);
    while ((f = take(p, &from))) {
        hone_status status;
        hone_err err;
        float top = 0;

        pthread_mutex_unlock(&p->lock);
        status = top_of(f, from, &top, &err);
        pthread_mutex_lock(&p->lock);
        if (top > f->scale)
            f->scale = top;
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
           !pthread_create(&thread[threads], NULL, find_tops, p))
        threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    find_tops(p);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    if (p->status != HONE_OK)
        *err = p->err;
    return p->status;
}

/* Behind the codes, as every part it begins at HONE_ALIGN. */
static char *scale_address(const hone_store *store, const hone_kept *k)
{
    int64_t codes = hone_part_bytes(HONE_FP8, 0, hone_count(&k->type));

    return (char *)hone_store_address(store, k) +
           (codes + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
}

hone_status hone_load_scales(const hone_store *store, hone_machine *m,
                             hone_filling *list, int count, hone_err *err)
{
    pass p = { .list = list, .count = count };
    int wanted = 0;

    for (int i = 0; i < count; i++)
        wanted += is_wanted(&list[i]);
    if (!wanted)
        return HONE_OK;
    hone_try(run_pass(&p, err));
    for (int i = 0; i < count; i++) {
        hone_filling *f = &list[i];

        if (!is_wanted(f))
            continue;
        f->scale = hone_e4m3_scale(f->scale);
        hone_try(hone_machine_put(m, scale_address(store, f->kept), &f->scale,
                                  sizeof f->scale, err));
    }
    return HONE_OK;
}
