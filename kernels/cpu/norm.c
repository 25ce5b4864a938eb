/* SPDX-License-Identifier: MIT
 *
 * norm.c -- rmsnorm, rmsnorm_dx and add_rmsnorm. A row of H features holds
 * H / d groups that are normed apart (d = H but for norms of heads).
 * Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
 */
#include <math.h>

#include "cpu.h"

#include "attrs.h"

typedef struct {
    int threads, add;
    int64_t groups, d;
    float eps, offset;
} norm;

typedef struct {
    const norm *n;
    const float *x, *other, *w;
    float *sum, *y;
} norm_args;

static hone_status norm_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(norm);
    return cpu_want_f32(c, need, err);
}

static hone_status norm_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    norm *n = prepared;
    const hone_norm_attrs *a = c->attrs;
    uint32_t w = c->nin - 1; /* the weight comes last */

    (void)ctx;
    (void)err;
    n->threads = threads;
    n->add = cpu_adds(c, 0);
    n->d = cpu_count(c, w);
    n->groups = n->d ? cpu_count(c, 0) / n->d : 0;
    n->eps = (float)a->eps;
    n->offset = (float)a->offset;
    return HONE_OK;
}

static float inverse_rms(const norm *n, const float *x)
{
    float sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n->d; j++)
        sum += x[j] * x[j];
    return 1.0f / sqrtf(sum / (float)n->d + n->eps);
}

static void forward(const norm *n, const float *x, const float *w, float *y)
{
    float r = inverse_rms(n, x);

    CPU_SIMD
    for (int64_t j = 0; j < n->d; j++)
        y[j] = x[j] * r * (w[j] + n->offset);
}

static void norm_range(const void *arg, int64_t first, int64_t last, int part)
{
    const norm_args *k = arg;

    (void)part;
    for (int64_t i = first; i < last; i++)
        forward(k->n, k->x + i * k->n->d, k->w, k->y + i * k->n->d);
}

static void add_norm_range(const void *arg, int64_t first, int64_t last,
                           int part)
{
    const norm_args *k = arg;
    const int64_t d = k->n->d;

    (void)part;
    for (int64_t i = first; i < last; i++) {
        const float *a = k->x + i * d, *b = k->other + i * d;
        float *sum = k->sum + i * d;

        CPU_SIMD
        for (int64_t j = 0; j < d; j++)
            sum[j] = a[j] + b[j];
        forward(k->n, sum, k->w, k->y + i * d);
    }
}

/* g = dy * w:  dx = r g - x r^3 mean(g x) */
static void norm_dx_range(const void *arg, int64_t first, int64_t last,
                          int part)
{
    const norm_args *k = arg;
    const norm *n = k->n;
    const float *w = k->w;

    (void)part;
    for (int64_t i = first; i < last; i++) {
        const float *dy = k->other + i * n->d, *x = k->x + i * n->d;
        float *dx = k->y + i * n->d;
        float r = inverse_rms(n, x), dot = 0, back;

#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < n->d; j++)
            dot += dy[j] * (w[j] + n->offset) * x[j];
        back = r * r * r * dot / (float)n->d;
        if (n->add) {
            CPU_SIMD
            for (int64_t j = 0; j < n->d; j++)
                dx[j] += r * dy[j] * (w[j] + n->offset) - back * x[j];
        } else {
            CPU_SIMD
            for (int64_t j = 0; j < n->d; j++)
                dx[j] = r * dy[j] * (w[j] + n->offset) - back * x[j];
        }
    }
}

static void run(const norm_args *k, cpu_body body)
{
    const norm *n = k->n;

    cpu_for(n->threads, n->groups, CPU_GRAIN / cpu_max(n->d, 1), body, k);
}

static void norm_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    norm_args k = { .n = prepared,
                    .x = ptr[0].part[0],
                    .w = ptr[1].part[0],
                    .y = ptr[2].part[0] };

    (void)workspace;
    (void)stream;
    run(&k, norm_range);
}

/* a, b, w, sum, y */
static void add_norm_run(const void *prepared, const hone_ptr *ptr,
                         void *workspace, hone_stream stream)
{
    norm_args k = { .n = prepared,
                    .x = ptr[0].part[0],
                    .other = ptr[1].part[0],
                    .w = ptr[2].part[0],
                    .sum = ptr[3].part[0],
                    .y = ptr[4].part[0] };

    (void)workspace;
    (void)stream;
    run(&k, add_norm_range);
}

/* dy, x, w, dx */
static void norm_dx_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    norm_args k = { .n = prepared,
                    .other = ptr[0].part[0],
                    .x = ptr[1].part[0],
                    .w = ptr[2].part[0],
                    .y = ptr[3].part[0] };

    (void)workspace;
    (void)stream;
    run(&k, norm_dx_range);
}

CPU_KERNELS(norm) = { { "rmsnorm", norm_prepare, norm_init, norm_run },
                      { "add_rmsnorm", norm_prepare, norm_init, add_norm_run },
                      { "rmsnorm_dx", norm_prepare, norm_init, norm_dx_run },
                      { NULL, NULL, NULL, NULL } };
