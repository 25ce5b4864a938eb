/* SPDX-License-Identifier: MIT
 *
 * rope.c -- rotary positions (Su et al., "RoFormer", 2021), halves layout: in
 * each head, features i and m + i turn by position * inv_freq[i]. Sine and
 * cosine are computed once a token, for all its heads.
 */
#include "cpu.h"

#include "attrs.h"
#include "vmath.h"

typedef struct {
    int threads;
    int64_t rows, width, d, m; /* head size, frequencies */
    int64_t slice;             /* floats of workspace a thread */
    float factor;
    float sign; /* -1: turn back */
} rope;

typedef struct {
    const rope *r;
    const float *x, *freq;
    const int32_t *position;
    float *work, *y;
} rope_args;

static int64_t slice_floats(const hone_call *c)
{
    return 2 * cpu_align(cpu_count(c, 1) * (int64_t)sizeof(float)) /
           (int64_t)sizeof(float);
}

static hone_status rope_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    need->prepared_bytes = sizeof(rope);
    need->workspace_bytes = threads * slice_floats(c) * (int64_t)sizeof(float);
    return cpu_want_f32(c, need, err);
}

static hone_status rope_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    rope *r = prepared;
    const hone_rope_attrs *a = c->attrs;

    (void)ctx;
    (void)err;
    r->threads = threads;
    r->rows = c->type[0].dim[0];
    r->width = c->type[0].dim[1];
    r->m = cpu_count(c, 1);
    r->d = a->head_dim ? a->head_dim : 2 * r->m;
    r->slice = slice_floats(c);
    r->factor = (float)a->factor;
    r->sign = a->inverse ? -1.0f : 1.0f;
    return HONE_OK;
}

static void turn(const rope *r, const float *x, const float *cosine,
                 const float *sine, float *y)
{
    const int64_t m = r->m;

    CPU_SIMD
    for (int64_t i = 0; i < m; i++) {
        float a = x[i], b = x[m + i];
        y[i] = a * cosine[i] - b * sine[i];
        y[m + i] = b * cosine[i] + a * sine[i];
    }
    if (y != x && r->d > 2 * m)
        memcpy(y + 2 * m, x + 2 * m, (size_t)(r->d - 2 * m) * sizeof *y);
}

static void rope_range(const void *arg, int64_t first, int64_t last, int part)
{
    const rope_args *k = arg;
    const rope *r = k->r;
    float *cosine = k->work + part * r->slice, *sine = cosine + r->slice / 2;

    for (int64_t t = first; t < last; t++) {
        float position = (float)k->position[t];

        CPU_SIMD
        for (int64_t i = 0; i < r->m; i++) {
            float s, c;
            vm_sincos(position * k->freq[i], &s, &c); /* rounded as trained */
            cosine[i] = c * r->factor;
            sine[i] = s * r->factor * r->sign;
        }
        for (int64_t h = 0; h < r->width; h += r->d)
            turn(r, k->x + t * r->width + h, cosine, sine,
                 k->y + t * r->width + h);
    }
}

static void rope_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const rope *r = prepared;
    rope_args k = { r,         ptr[0].part[0], ptr[1].part[0], ptr[2].part[0],
                    workspace, ptr[3].part[0] };

    (void)stream;
    cpu_for(r->threads, r->rows, CPU_GRAIN / cpu_max(r->width, 1), rope_range,
            &k);
}

CPU_KERNELS(rope) = { { "rope", rope_prepare, rope_init, rope_run },
                      { NULL, NULL, NULL, NULL } };
