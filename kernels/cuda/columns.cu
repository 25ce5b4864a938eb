/* SPDX-License-Identifier: MIT
 *
 * columns.cu -- sums over rows: sum_rows, rmsnorm_dw. The rows are cut into
 * slices by the shape alone; each slice is summed by itself, then the slices in
 * one order, so that the result never depends on which block was faster.
 */
#include "slices.cuh"

#include "attrs.h"

struct columns {
    int64_t rows; /* groups of D */
    int64_t d;
    int64_t units; /* of eight columns */
    int slices;
    float eps;
    unsigned char dy, x, out, add;
    int wide; /* 16 bytes can be moved at a time */
};

static __global__ void __launch_bounds__(THREADS)
    inverse_rms(columns c, cell x, float *r)
{
    int64_t row = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    float squares = 0, v[VECTOR];

    if (row >= c.rows)
        return;
    for (int64_t k = threadIdx.x % 32 * VECTOR; k < c.d; k += 32 * VECTOR) {
        load(v, x, row * c.d + k, (int)min((int64_t)VECTOR, c.d - k), c.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += v[e] * v[e];
    }
    squares = team_sum<32>(squares, (float *)nullptr);
    if (threadIdx.x % 32 == 0)
        r[row] = 1.0f / sqrtf(squares / (float)c.d + c.eps);
}

/* PARTIAL [slices, d]; R NULL: dy alone is summed. A thread has eight columns
 * of a slice. */
static __global__ void __launch_bounds__(THREADS)
    sum_slices(columns c, cell dy, cell x, const float *r, float *partial)
{
    int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t slice = unit / c.units, k = unit % c.units * VECTOR;
    int64_t first = c.rows * slice / c.slices;
    int64_t last = c.rows * (slice + 1) / c.slices;
    int live = (int)min((int64_t)VECTOR, c.d - k);
    float sum[VECTOR] = {}, v[VECTOR], w[VECTOR];

    if (slice >= c.slices)
        return;
#pragma unroll 4
    for (int64_t row = first; row < last; row++) {
        load(v, dy, row * c.d + k, live, c.wide);
        if (r)
            load(w, x, row * c.d + k, live, c.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            sum[e] += r ? v[e] * w[e] * r[row] : v[e];
    }
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            partial[slice * c.d + k + e] = sum[e];
}

/* -------------------------------------------------------------- the calls */

static columns columns_of(const hone_call *c)
{
    const int dw = !strcmp(c->op, "rmsnorm_dw");
    columns s = {};

    s.d = cuda_count(c, c->nin);
    s.rows = cuda_count(c, 0) / s.d;
    s.units = cuda_ceil(s.d, VECTOR);
    s.slices = slices_for(s.rows, s.units);
    if (dw)
        s.eps = (float)((const hone_norm_attrs *)c->attrs)->eps;
    s.dy = cuda_storage(c, 0);
    s.x = dw ? cuda_storage(c, 1) : 0;
    s.out = cuda_storage(c, c->nin);
    s.add = (unsigned char)cuda_adds(c, 0);
    return s;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    columns s = columns_of(c);

    (void)threads;
    need->workspace_bytes =
        (s.slices * s.d + s.rows) * (int64_t)sizeof(float);
    return cuda_plain(c, need, sizeof(columns), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(columns *)prepared = columns_of(c);
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    columns c = *(const columns *)prepared;
    cudaStream_t s = (cudaStream_t)stream;
    float *partial = (float *)workspace, *r = partial + c.slices * c.d;
    int out = c.x ? 2 : 1;
    cell dy = cell_of(ptr, 0, c.dy), x = cell_of(ptr, out - 1, c.x);

    c.wide = c.d % VECTOR == 0 && cuda_aligned(ptr, (uint32_t)out);
    if (c.x)
        inverse_rms<<<blocks_for(c.rows, THREADS / 32), THREADS, 0, s>>>(
            c, x, r);
    sum_slices<<<blocks_for(c.units * c.slices, THREADS), THREADS, 0, s>>>(
        c, dy, x, c.x ? r : NULL, partial);
    join_slices<<<blocks_for(c.d, 32), THREADS, 0, s>>>(
        c.slices, c.d, partial, cell_of(ptr, out, c.out, c.add));
}

CUDA_KERNELS(columns) = {
    { "sum_rows", prepare, init, run },
    { "rmsnorm_dw", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
