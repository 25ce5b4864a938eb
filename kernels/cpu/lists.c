/* SPDX-License-Identifier: MIT
 *
 * lists.c -- fill and sumsq, over lists of tensors. The sum of squares is made
 * in double, chunk by chunk, and added in the order of chunks: it is the same
 * for any number of threads.
 */
#include "list.h"

#include "attrs.h"
#include "storage.h"

typedef struct {
    int threads, add;
    float value;
    list tensors; /* then a storage, one byte, for each */
} lists;

static uint8_t *storages(const lists *l)
{
    return (uint8_t *)&l->tensors + list_bytes(l->tensors.n);
}

/* The COUNT tensors of the call from operand FIRST on. */
static void take_list(lists *l, const hone_call *c, uint32_t first,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        list_add(&l->tensors, cpu_count(c, first + i));
    for (uint32_t i = 0; i < count; i++)
        storages(l)[i] = (uint8_t)c->type[first + i].storage;
}

typedef struct {
    const lists *l;
    const hone_ptr *ptr;
    double *partial;
} lists_args;

static hone_status fill_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes =
        (int64_t)offsetof(lists, tensors) + list_bytes(c->nout) + c->nout;
    for (uint32_t i = 0; i < c->nout; i++) {
        hone_storage s = c->type[c->nin + i].storage;
        if (!storage_covers(s))
            return hone_fail(err, HONE_ENOSUP,
                             "cpu: fill: fp32, bf16 and fp16 are covered, not "
                             "'%s'",
                             hone_parts(s)[0].name);
    }
    return HONE_OK;
}

static hone_status fill_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    lists *l = prepared;

    (void)ctx;
    (void)err;
    l->threads = threads;
    l->value = (float)((const hone_fill_attrs *)c->attrs)->value;
    take_list(l, c, c->nin, c->nout);
    return HONE_OK;
}

static void fill_range(const void *arg, int64_t first, int64_t last, int part)
{
    const lists_args *k = arg;
    const lists *l = k->l;

    (void)part;
    for (int64_t c = first; c < last; c++) {
        int64_t from, to;
        int64_t t = list_find(&l->tensors, c, &from, &to);
        void *x = k->ptr[t].part[0];
        hone_storage s = (hone_storage)storages(l)[t];
        uint16_t half = s == HONE_BF16 ? hone_bf16_round(l->value)
                                       : hone_f16_round(l->value);

        if (s == HONE_F32)
            for (int64_t i = from; i < to; i++)
                ((float *)x)[i] = l->value;
        else
            for (int64_t i = from; i < to; i++)
                ((uint16_t *)x)[i] = half;
    }
}

static void fill_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const lists *l = prepared;
    lists_args k = { l, ptr, NULL };

    (void)workspace;
    (void)stream;
    cpu_for(l->threads, list_chunks(&l->tensors), 1, fill_range, &k);
}

static hone_status sumsq_prepare(const hone_call *c, int threads,
                                 hone_need *need, hone_err *err)
{
    int64_t chunks = 0;

    (void)threads;
    for (uint32_t i = 0; i < c->nin; i++)
        chunks += (cpu_count(c, i) + LIST_CHUNK - 1) / LIST_CHUNK;
    need->prepared_bytes =
        (int64_t)offsetof(lists, tensors) + list_bytes(c->nin) + c->nin;
    need->workspace_bytes = chunks * (int64_t)sizeof(double);
    for (uint32_t i = 0; i <= c->nin; i++)
        if (!storage_covers(c->type[i].storage) ||
            (i == c->nin && c->type[i].storage != HONE_F32))
            return hone_fail(err, HONE_ENOSUP,
                             "cpu: sumsq: of fp32, bf16 and fp16 into fp32, "
                             "not '%s'", hone_parts(c->type[i].storage)->name);
    return HONE_OK;
}

static hone_status sumsq_init(const hone_call *c, int threads, void *ctx,
                              void *prepared, hone_err *err)
{
    lists *l = prepared;

    (void)ctx;
    (void)err;
    l->threads = threads;
    l->add = cpu_adds(c, 0);
    take_list(l, c, 0, c->nin);
    return HONE_OK;
}

static double squares(const float *x, int64_t n)
{
    double sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += (double)x[j] * (double)x[j];
    return sum;
}

static void sumsq_range(const void *arg, int64_t first, int64_t last, int part)
{
    const lists_args *k = arg;

    (void)part;
    for (int64_t c = first; c < last; c++) {
        int64_t from, to;
        int64_t i = list_find(&k->l->tensors, c, &from, &to);
        hone_storage s = (hone_storage)storages(k->l)[i];
        const void *x = k->ptr[i].part[0];
        float strip[1024];
        double sum = 0;

        if (s == HONE_F32)
            sum = squares((const float *)x + from, to - from);
        for (; s != HONE_F32 && from < to; from += 1024) {
            int64_t n = cpu_min(1024, to - from);

            storage_load(s, x, from, n, strip);
            sum += squares(strip, n);
        }
        k->partial[c] = sum;
    }
}

static void sumsq_run(const void *prepared, const hone_ptr *ptr,
                      void *workspace, hone_stream stream)
{
    const lists *l = prepared;
    lists_args k = { l, ptr, workspace };
    int64_t chunks = list_chunks(&l->tensors);
    float *y = ptr[l->tensors.n].part[0];
    double sum = l->add ? *y : 0;

    (void)stream;
    cpu_for(l->threads, chunks, 1, sumsq_range, &k);
    for (int64_t c = 0; c < chunks; c++)
        sum += k.partial[c];
    *y = (float)sum;
}

CPU_KERNELS(lists) = { { "fill", fill_prepare, fill_init, fill_run },
                       { "sumsq", sumsq_prepare, sumsq_init, sumsq_run },
                       { NULL, NULL, NULL, NULL } };
