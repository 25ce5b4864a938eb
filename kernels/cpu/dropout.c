/* SPDX-License-Identifier: MIT
 *
 * dropout.c -- Philox gives four features their numbers at once. A strip of
 * numbers is made first, in a loop over independent blocks that vectorises.
 */
#include "cpu.h"

#include "attrs.h"
#include "philox.h"

enum { BLOCKS = 64 }; /* of four features, drawn at once */

typedef struct {
    int threads;
    int64_t rows, width, key;
    double p;
} dropout;

typedef struct {
    const dropout *d;
    const float *x;
    const int32_t *position, *row;
    const int64_t *rng;
    float *y;
} dropout_args;

static hone_status dropout_prepare(const hone_call *c, int threads,
                                   hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(dropout);
    return cpu_want_f32(c, need, err);
}

static hone_status dropout_init(const hone_call *c, int threads, void *ctx,
                                void *prepared, hone_err *err)
{
    dropout *d = prepared;
    const hone_dropout_attrs *a = c->attrs;

    (void)ctx;
    (void)err;
    d->threads = threads;
    d->rows = c->type[0].dim[0];
    d->width = c->type[0].dim[1];
    d->key = a->key;
    d->p = a->p;
    return HONE_OK;
}

/* The numbers of some blocks, each feature's in a plane; then in turn. */
static void draw_strip(hone_philox philox, uint32_t row, uint32_t position,
                       uint32_t first, uint32_t blocks, uint32_t *number)
{
    uint32_t plane[4][BLOCKS];

    /* No omp simd: it would keep R in memory, and that does not vectorise. */
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t r[4];

        hone_philox_draw(philox, row, position, first + i, r);
        plane[0][i] = r[0];
        plane[1][i] = r[1];
        plane[2][i] = r[2];
        plane[3][i] = r[3];
    }
    CPU_SIMD
    for (int64_t i = 0; i < blocks; i++) {
        number[4 * i] = plane[0][i];
        number[4 * i + 1] = plane[1][i];
        number[4 * i + 2] = plane[2][i];
        number[4 * i + 3] = plane[3][i];
    }
}

static void dropout_range(const void *arg, int64_t first, int64_t last,
                          int part)
{
    const dropout_args *k = arg;
    const dropout *d = k->d;
    const hone_philox philox = hone_philox_open(k->rng[0], k->rng[1], d->key);
    const uint32_t drop = hone_drop_below(d->p);
    const float keep = (float)(1 / (1 - d->p));
    uint32_t number[4 * BLOCKS];

    (void)part;
    for (int64_t t = first; t < last; t++)
        for (int64_t h = 0; h < d->width; h += 4 * BLOCKS) {
            const float *x = k->x + t * d->width + h;
            float *y = k->y + t * d->width + h;
            int64_t n = cpu_min(4 * BLOCKS, d->width - h);

            draw_strip(philox, (uint32_t)k->row[t], (uint32_t)k->position[t],
                       (uint32_t)(h / 4), (uint32_t)((n + 3) / 4), number);
            CPU_SIMD
            for (int64_t j = 0; j < n; j++)
                y[j] = number[j] < drop ? 0.0f : x[j] * keep;
        }
}

/* x, positions, rows, rng, y */
static void dropout_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    dropout_args k = { prepared,       ptr[0].part[0], ptr[1].part[0],
                       ptr[2].part[0], ptr[3].part[0], ptr[4].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(k.d->threads, k.d->rows, CPU_GRAIN / 4 / cpu_max(k.d->width, 1),
            dropout_range, &k);
}

CPU_KERNELS(dropout) = { { "dropout", dropout_prepare, dropout_init,
                           dropout_run },
                         { NULL, NULL, NULL, NULL } };
