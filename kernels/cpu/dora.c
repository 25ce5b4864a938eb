/* SPDX-License-Identifier: MIT
 *
 * dora.c -- dora_norm, dora and dora_grad. A norm is summed up column block by
 * column block, so that the sum of w and its low-rank update never leaves the
 * cache; the gradient of the magnitudes is summed as in colsum.c, ranges of
 * rows apart and blocks of them within.
 */
#include <math.h>

#include "cpu.h"

#include "attrs.h"
#include "storage.h"

enum { BLOCK = 512 }; /* columns of a norm at a time */

/* ------------------------------------------------------------------- norms */

typedef struct {
    int threads;
    int64_t rows, cols, r;
    float scale;
    hone_storage held; /* of w */
} norms;

typedef struct {
    const norms *n;
    const float *a, *b;
    const void *w;
    float *out;
} norm_args;

static hone_status norm_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(norms);
    hone_try(cpu_want_f32(c, need, err));
    if (storage_covers(c->type[1].storage))
        need->want[1] = c->type[1].storage; /* read as it is */
    return HONE_OK;
}

static hone_status norm_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    norms *n = prepared;

    (void)ctx;
    (void)err;
    n->threads = threads;
    n->rows = c->type[1].dim[0];
    n->cols = c->type[1].dim[1];
    n->r = c->type[0].dim[0];
    n->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    n->held = c->type[1].storage;
    return HONE_OK;
}

/* Of columns [FROM, FROM + COUNT) of a row. */
static float squares(const norm_args *k, int64_t row, int64_t from, int64_t n)
{
    const float *b = k->b + row * k->n->r;
    float x[BLOCK], sum = 0;

    storage_load(k->n->held, k->w, row * k->n->cols + from, n, x);
    for (int64_t i = 0; i < k->n->r; i++) {
        const float by = k->n->scale * b[i];
        const float *a = k->a + i * k->n->cols + from;

        CPU_SIMD
        for (int64_t j = 0; j < n; j++)
            x[j] += by * a[j];
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += x[j] * x[j];
    return sum;
}

static void norm_range(const void *arg, int64_t first, int64_t last, int part)
{
    const norm_args *k = arg;

    (void)part;
    for (int64_t row = first; row < last; row++)
        k->out[row] = 0;
    for (int64_t from = 0; from < k->n->cols; from += BLOCK)
        for (int64_t row = first; row < last; row++)
            k->out[row] +=
                squares(k, row, from, cpu_min(BLOCK, k->n->cols - from));
    for (int64_t row = first; row < last; row++)
        k->out[row] = sqrtf(k->out[row]);
}

/* a, w, b, n */
static void norm_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    norm_args k = { .n = prepared,
                    .a = ptr[0].part[0],
                    .w = ptr[1].part[0],
                    .b = ptr[2].part[0],
                    .out = ptr[3].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(k.n->threads, k.n->rows,
            CPU_GRAIN / cpu_max(k.n->cols * k.n->r, 1), norm_range, &k);
}

/* --------------------------------------------------------------- magnitudes */

typedef struct {
    int threads, add, of_x;
    uint32_t inputs;
    int64_t rows, d;
    int64_t slice; /* floats: the sum of a range, and that of some rows */
} dora;

typedef struct {
    const dora *d;
    const float *x, *v, *m, *n, *bias;
    float *y, *dm, *work;
} dora_args;

static int is_grad(const hone_call *c)
{
    return !strcmp(c->op, "dora_grad");
}

static hone_status dora_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    need->prepared_bytes = sizeof(dora);
    if (is_grad(c))
        need->workspace_bytes = threads * cpu_slice_floats(c->type[0].dim[1]) *
                                (int64_t)sizeof(float);
    return cpu_want_f32(c, need, err);
}

static hone_status dora_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    dora *d = prepared;

    (void)ctx;
    (void)err;
    d->threads = threads;
    d->inputs = c->nin;
    d->rows = c->type[0].dim[0];
    d->d = c->type[0].dim[1];
    d->slice = cpu_slice_floats(d->d);
    if (is_grad(c)) {
        d->add = cpu_adds(c, 1);
        d->of_x = ((const hone_dora_attrs *)c->attrs)->input;
    }
    return HONE_OK;
}

static float ratio(float x, float by)
{
    return by != 0 ? x / by : 0;
}

static void dora_range(const void *arg, int64_t first, int64_t last, int part)
{
    const dora_args *k = arg;
    const int64_t d = k->d->d;

    (void)part;
    for (int64_t row = first; row < last; row++) {
        const float *x = k->x + row * d;
        float *y = k->y + row * d;

        CPU_SIMD
        for (int64_t j = 0; j < d; j++)
            y[j] = x[j] * ratio(k->m[j], k->n[j]);
        for (int64_t j = 0; k->bias && j < d; j++)
            y[j] += k->bias[j];
    }
}

static void grad_range(const void *arg, int64_t first, int64_t last, int part)
{
    const dora_args *k = arg;
    const int64_t d = k->d->d;
    float *total = k->work + part * k->d->slice;
    float *some = total + k->d->slice / 2;

    memset(total, 0, (size_t)d * sizeof *total);
    for (int64_t row = first; row < last; row += CPU_BLOCK) {
        int64_t end = cpu_min(last, row + CPU_BLOCK);

        memset(some, 0, (size_t)d * sizeof *some);
        for (int64_t i = row; i < end; i++) {
            const float *dy = k->x + i * d, *v = k->v + i * d;
            float *dx = k->y + i * d;

            CPU_SIMD
            for (int64_t j = 0; j < d; j++) {
                some[j] += dy[j] * v[j];
                dx[j] = dy[j] * ratio(k->m[j], k->n[j]);
            }
        }
        CPU_SIMD
        for (int64_t j = 0; j < d; j++)
            total[j] += some[j];
    }
}

static void sum_up(const dora_args *k, int parts)
{
    const float *by = k->d->of_x ? k->n : k->m;

    for (int64_t j = 0; j < k->d->d; j++) {
        float sum = 0;

        for (int i = 0; i < parts; i++)
            sum += k->work[i * k->d->slice + j];
        k->dm[j] = (k->d->add ? k->dm[j] : 0) + ratio(sum, by[j]);
    }
}

/* x, m, n, perhaps a bias, y */
static void dora_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const dora *d = prepared;
    dora_args k = { .d = d,
                    .x = ptr[0].part[0],
                    .m = ptr[1].part[0],
                    .n = ptr[2].part[0],
                    .bias = d->inputs > 3 ? ptr[3].part[0] : NULL,
                    .y = ptr[d->inputs].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(d->threads, d->rows, CPU_GRAIN / cpu_max(d->d, 1), dora_range, &k);
}

/* dy, v, m, n, dx, dm */
static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const dora *d = prepared;
    const int64_t grain = CPU_GRAIN / cpu_max(d->d, 1);
    dora_args k = { .d = d,
                    .x = ptr[0].part[0],
                    .v = ptr[1].part[0],
                    .m = ptr[2].part[0],
                    .n = ptr[3].part[0],
                    .y = ptr[4].part[0],
                    .dm = ptr[5].part[0],
                    .work = workspace };

    (void)stream;
    cpu_for(d->threads, d->rows, grain, grad_range, &k);
    sum_up(&k, cpu_parts(d->threads, d->rows, grain));
}

CPU_KERNELS(dora) = { { "dora_norm", norm_prepare, norm_init, norm_run },
                      { "dora", dora_prepare, dora_init, dora_run },
                      { "dora_grad", dora_prepare, dora_init, grad_run },
                      { NULL, NULL, NULL, NULL } };
