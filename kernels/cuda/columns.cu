/* SPDX-License-Identifier: MIT
 *
 * columns.cu -- sum_rows. The rows are cut into slices by the shape alone; each
 * slice is summed by itself, then the slices in one order, so that the result
 * never depends on which block was faster.
 */
#include "slices.cuh"

struct columns {
    int64_t rows; /* groups of D */
    int64_t d;
    int64_t units; /* of eight columns */
    int slices;
    unsigned char dy, out, add;
    int wide; /* 16 bytes can be moved at a time */
};

/* PARTIAL [slices, d]. A thread has eight columns of a slice. */
static __global__ void __launch_bounds__(THREADS)
    sum_slices(columns c, cell dy, float *partial)
{
    int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t slice = unit / c.units, k = unit % c.units * VECTOR;
    int64_t first = c.rows * slice / c.slices;
    int64_t last = c.rows * (slice + 1) / c.slices;
    int live = (int)min((int64_t)VECTOR, c.d - k);
    float sum[VECTOR] = {}, v[VECTOR];

    if (slice >= c.slices)
        return;
#pragma unroll 4
    for (int64_t row = first; row < last; row++) {
        load(v, dy, row * c.d + k, live, c.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            sum[e] += v[e];
    }
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            partial[slice * c.d + k + e] = sum[e];
}

/* -------------------------------------------------------------- the calls */

static columns columns_of(const hone_call *c)
{
    columns s = {};

    s.d = cuda_count(c, c->nin);
    s.rows = cuda_count(c, 0) / s.d;
    s.units = cuda_ceil(s.d, VECTOR);
    s.slices = slices_for(s.rows, s.units);
    s.dy = cuda_storage(c, 0);
    s.out = cuda_storage(c, c->nin);
    s.add = (unsigned char)cuda_adds(c, 0);
    return s;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    columns s = columns_of(c);

    (void)threads;
    need->workspace_bytes = s.slices * s.d * (int64_t)sizeof(float);
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
    float *partial = (float *)workspace;

    c.wide = c.d % VECTOR == 0 && cuda_aligned(ptr, 1);
    sum_slices<<<blocks_for(c.units * c.slices, THREADS), THREADS, 0, s>>>(
        c, cell_of(ptr, 0, c.dy), partial);
    join_slices<<<blocks_for(c.d, 32), JOINERS, 0, s>>>(
        c.slices, c.d, partial, cell_of(ptr, 1, c.out, c.add));
}

CUDA_KERNELS(columns) = {
    { "sum_rows", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
