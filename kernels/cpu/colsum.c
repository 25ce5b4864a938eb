/* SPDX-License-Identifier: MIT
 *
 * colsum.c -- sums over rows: sum_rows, and rmsnorm_dw, whose gradient of the
 * weight is the sum of dy x / rms(x). Each thread sums a range of rows into a
 * slice of the workspace, the slices are added in order. Within a range, CPU_BLOCK
 * rows are summed apart first: the rounding error then grows with the number
 * of blocks, not of rows.
 */
#include <math.h>

#include "cpu.h"

#include "attrs.h"

typedef struct {
    int threads, add;
    int64_t rows, d;
    int64_t slice; /* floats: the sum of a range, and that of a block */
    float eps;
} colsum;

typedef struct {
    const colsum *c;
    const float *x, *dy; /* dy NULL: plain sums of x */
    float *work, *y;
} colsum_args;

/* The output, [H] or [d], is the last operand of both ops. */
static hone_status colsum_prepare(const hone_call *c, int threads,
                                  hone_need *need, hone_err *err)
{
    need->prepared_bytes = sizeof(colsum);
    need->workspace_bytes =
        threads * cpu_slice_floats(cpu_count(c, c->nin)) * (int64_t)sizeof(float);
    return cpu_want_f32(c, need, err);
}

static hone_status colsum_init(const hone_call *c, int threads, void *ctx,
                               void *prepared, hone_err *err)
{
    colsum *s = prepared;

    (void)ctx;
    (void)err;
    s->threads = threads;
    s->add = cpu_adds(c, 0);
    s->d = cpu_count(c, c->nin);
    s->rows = s->d ? cpu_count(c, 0) / s->d : 0;
    s->slice = cpu_slice_floats(s->d);
    if (!strcmp(c->op, "rmsnorm_dw"))
        s->eps = (float)((const hone_norm_attrs *)c->attrs)->eps;
    return HONE_OK;
}

static void add_row(const colsum_args *k, int64_t row, float *sum)
{
    const int64_t d = k->c->d;
    const float *x = k->x + row * d, *dy = k->dy + row * d;
    float square = 0, r;

    if (!k->dy) {
        CPU_SIMD
        for (int64_t j = 0; j < d; j++)
            sum[j] += x[j];
        return;
    }
#pragma omp simd reduction(+ : square)
    for (int64_t j = 0; j < d; j++)
        square += x[j] * x[j];
    r = 1.0f / sqrtf(square / (float)d + k->c->eps);
    CPU_SIMD
    for (int64_t j = 0; j < d; j++)
        sum[j] += dy[j] * (x[j] * r);
}

static void colsum_range(const void *arg, int64_t first, int64_t last, int part)
{
    const colsum_args *k = arg;
    const int64_t d = k->c->d;
    float *total = k->work + part * k->c->slice;
    float *block = total + k->c->slice / 2;

    memset(total, 0, (size_t)d * sizeof *total);
    for (int64_t row = first; row < last; row += CPU_BLOCK) {
        int64_t end = cpu_min(last, row + CPU_BLOCK);

        memset(block, 0, (size_t)d * sizeof *block);
        for (int64_t i = row; i < end; i++)
            add_row(k, i, block);
        CPU_SIMD
        for (int64_t j = 0; j < d; j++)
            total[j] += block[j];
    }
}

static void colsum_all(const colsum_args *k)
{
    const colsum *c = k->c;
    int64_t grain = CPU_GRAIN / cpu_max(c->d, 1);
    int parts = cpu_parts(c->threads, c->rows, grain);

    cpu_for(c->threads, c->rows, grain, colsum_range, k);
    if (!c->add)
        memset(k->y, 0, (size_t)c->d * sizeof *k->y);
    for (int i = 0; i < parts; i++) {
        const float *total = k->work + i * c->slice;

        CPU_SIMD
        for (int64_t j = 0; j < c->d; j++)
            k->y[j] += total[j];
    }
}

static void sum_rows_run(const void *prepared, const hone_ptr *ptr,
                         void *workspace, hone_stream stream)
{
    colsum_args k = { prepared, ptr[0].part[0], NULL, workspace,
                      ptr[1].part[0] };

    (void)stream;
    colsum_all(&k);
}

/* dy, x, dw */
static void norm_dw_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    colsum_args k = { prepared, ptr[1].part[0], ptr[0].part[0], workspace,
                      ptr[2].part[0] };

    (void)stream;
    colsum_all(&k);
}

CPU_KERNELS(colsum) = {
    { "sum_rows", colsum_prepare, colsum_init, sum_rows_run },
    { "rmsnorm_dw", colsum_prepare, colsum_init, norm_dw_run },
    { NULL, NULL, NULL, NULL }
};
