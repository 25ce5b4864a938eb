/* SPDX-License-Identifier: MIT
 *
 * rows.c -- ops that move whole rows by an index: embed, embed_grad, gather,
 * scatter, cache_write. embed reads its table in the storage it has, so that
 * a bf16 table is never converted whole.
 */
#include "cpu.h"

#include "storage.h"

typedef struct {
    int threads, add;
    int64_t n, width;  /* rows of the index, features */
    int64_t out_rows;  /* of the output, where it is larger */
    hone_storage from; /* of the source */
} move;

typedef struct {
    const move *m;
    const void *from;
    const int32_t *index;
    float *to;
} move_args;

static hone_status move_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    hone_storage table = c->type[0].storage;

    (void)threads;
    need->prepared_bytes = sizeof(move);
    hone_try(cpu_want_f32(c, need, err));
    if (!strcmp(c->op, "embed"))
        need->want[0] = table;
    return HONE_OK;
}

/* Source, index, output. */
static hone_status move_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    move *m = prepared;

    (void)ctx;
    (void)err;
    m->threads = threads;
    m->add = cpu_adds(c, 0);
    m->from = c->type[0].storage;
    m->width = c->type[2].dim[1];
    m->n = strcmp(c->op, "cache_write") ? cpu_count(c, 1) : c->type[0].dim[0];
    m->out_rows = c->type[2].dim[0];
    return HONE_OK;
}

static int64_t grain(const move *m)
{
    return CPU_GRAIN / cpu_max(m->width, 1);
}

/* Rows of the source by index; row of zeros where that is negative. */
static void take_range(const void *arg, int64_t first, int64_t last, int part)
{
    const move_args *k = arg;
    const int64_t w = k->m->width;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        if (k->index[t] < 0)
            memset(k->to + t * w, 0, (size_t)w * sizeof *k->to);
        else
            storage_load(k->m->from, k->from, k->index[t] * w, w,
                         k->to + t * w);
    }
}

static void zero_range(const void *arg, int64_t first, int64_t last, int part)
{
    const move_args *k = arg;
    const int64_t w = k->m->width;

    (void)part;
    memset(k->to + first * w, 0, (size_t)((last - first) * w) * sizeof *k->to);
}

static void put_range(const void *arg, int64_t first, int64_t last, int part)
{
    const move_args *k = arg;
    const int64_t w = k->m->width;
    const float *from = k->from;

    (void)part;
    for (int64_t t = first; t < last; t++)
        if (k->index[t] >= 0)
            memcpy(k->to + k->index[t] * w, from + t * w,
                   (size_t)w * sizeof *from);
}

/* A range of features, all tokens in order: one writer for each number. */
static void sum_range(const void *arg, int64_t first, int64_t last, int part)
{
    const move_args *k = arg;
    const int64_t w = k->m->width;

    (void)part;
    for (int64_t t = 0; t < k->m->n; t++) {
        const float *from = (const float *)k->from + t * w;
        float *to = k->to + k->index[t] * w;

        if (k->index[t] < 0)
            continue;
        CPU_SIMD
        for (int64_t j = first; j < last; j++)
            to[j] += from[j];
    }
}

static move_args args(const void *prepared, const hone_ptr *ptr)
{
    return (move_args){ prepared, ptr[0].part[0], ptr[1].part[0],
                        ptr[2].part[0] };
}

static void take_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    move_args k = args(prepared, ptr);

    (void)workspace;
    (void)stream;
    cpu_for(k.m->threads, k.m->n, grain(k.m), take_range, &k);
}

static void embed_grad_run(const void *prepared, const hone_ptr *ptr,
                           void *workspace, hone_stream stream)
{
    move_args k = args(prepared, ptr);

    (void)workspace;
    (void)stream;
    if (!k.m->add)
        cpu_for(k.m->threads, k.m->out_rows, grain(k.m), zero_range, &k);
    cpu_for(k.m->threads, k.m->width, CPU_LINE, sum_range, &k);
}

static void scatter_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    move_args k = args(prepared, ptr);

    (void)workspace;
    (void)stream;
    cpu_for(k.m->threads, k.m->out_rows, grain(k.m), zero_range, &k);
    cpu_for(k.m->threads, k.m->n, grain(k.m), put_range, &k);
}

/* x, cache_at, cache. Rows beyond the end of the cache are left out. */
static void cache_write_run(const void *prepared, const hone_ptr *ptr,
                            void *workspace, hone_stream stream)
{
    move_args k = args(prepared, ptr);
    int64_t n = cpu_min(k.m->n, k.m->out_rows - *k.index);

    (void)workspace;
    (void)stream;
    if (n > 0)
        memcpy(k.to + *k.index * k.m->width, k.from,
               (size_t)(n * k.m->width) * sizeof *k.to);
}

CPU_KERNELS(rows) = { { "embed", move_prepare, move_init, take_run },
                      { "embed_grad", move_prepare, move_init, embed_grad_run },
                      { "gather", move_prepare, move_init, take_run },
                      { "scatter", move_prepare, move_init, scatter_run },
                      { "cache_write", move_prepare, move_init,
                        cache_write_run },
                      { NULL, NULL, NULL, NULL } };
