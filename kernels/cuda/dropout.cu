/* SPDX-License-Identifier: MIT
 *
 * dropout.cu -- the numbers of philox.h, bit for bit those of every pack.
 */
#include "device.cuh"

#include "attrs.h"
#include "philox.h"

struct dropout {
    int64_t rows, width, key;
    uint32_t below;
    float keep;
    unsigned char x, y;
};

/* A thread has two blocks of four features of one row. */
static __global__ void __launch_bounds__(THREADS)
    dropout_kernel(dropout d, cell x, const int32_t *position,
                   const int32_t *row, const int64_t *rng, cell y, int wide)
{
    int64_t t = blockIdx.x;
    hone_philox philox = hone_philox_open(rng[0], rng[1], d.key);

    for (int64_t h = (blockIdx.y * THREADS + threadIdx.x) * VECTOR;
         h < d.width; h += (int64_t)gridDim.y * THREADS * VECTOR) {
        int live = (int)min((int64_t)VECTOR, d.width - h);
        uint32_t r[VECTOR];
        float v[VECTOR];

        load(v, x, t * d.width + h, live, wide);
        hone_philox_draw(philox, (uint32_t)row[t], (uint32_t)position[t],
                         (uint32_t)(h / 4), r);
        hone_philox_draw(philox, (uint32_t)row[t], (uint32_t)position[t],
                         (uint32_t)(h / 4 + 1), r + 4);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = r[e] < d.below ? 0.0f : v[e] * d.keep;
        store(y, t * d.width + h, v, live, wide);
    }
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    return cuda_plain(c, need, sizeof(dropout), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_dropout_attrs *a = (const hone_dropout_attrs *)c->attrs;
    dropout *d = (dropout *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    d->rows = c->type[0].dim[0];
    d->width = c->type[0].dim[1];
    d->key = a->key;
    d->below = hone_drop_below(a->p);
    d->keep = (float)(1 / (1 - a->p));
    d->x = cuda_storage(c, 0);
    d->y = cuda_storage(c, 4);
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const dropout *d = (const dropout *)prepared;
    hone_ptr moved[2] = { ptr[0], ptr[4] };
    unsigned parts = blocks_for(d->width, THREADS * VECTOR);

    (void)workspace;
    dropout_kernel<<<dim3((unsigned)d->rows, parts), THREADS, 0,
                     (cudaStream_t)stream>>>(
        *d, cell_of(ptr, 0, d->x), (const int32_t *)ptr[1].part[0],
        (const int32_t *)ptr[2].part[0], (const int64_t *)ptr[3].part[0],
        cell_of(ptr, 4, d->y),
        d->width % VECTOR == 0 && cuda_aligned(moved, 2));
}

CUDA_KERNELS(dropout) = {
    { "dropout", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
