/* SPDX-License-Identifier: MIT
 *
 * dora.cu -- dora_norm, dora, dora_grad. A block has 16 rows of
 * w + scale * b a: a thread makes four columns of all of them from one reading
 * of a, so that a, which every block reads, comes from the cache a 16th as
 * often as w has rows, and w itself once. Magnitudes and their gradients are a pass over the rows,
 * summed in slices as columns.cu does.
 */
#include <cuda_fp8.h>

#include "slices.cuh"

#include "attrs.h"
#include "hone/nf4.h"

enum {
    ROWS = 16, /* of w, of a block */
    COLS = 4,  /* of a thread, at a time */
    RANKS = 128 /* of b, in shared memory at a time */
};

/* ------------------------------------------------------------------- norms */

struct norms {
    int64_t rows, cols;
    int r;
    float scale;
    unsigned char a, w, b, out;
};

/* An operand's elements from I on; RUNTIME: whatever it holds, one by one. */
enum { RUNTIME = 0 };

template <int STORAGE>
static __device__ __forceinline__ void four(float (&v)[COLS], cell c, int64_t i,
                                            int live)
{
    if (STORAGE == HONE_F32) {
        float4 x = *(const float4 *)((const float *)c.at + i);
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    } else if (STORAGE == HONE_FP8) {
        uint32_t x = *(const uint32_t *)((const uint8_t *)c.at + i);
#pragma unroll
        for (int e = 0; e < COLS; e++) {
            __nv_fp8_e4m3 code;
            code.__x = (uint8_t)(x >> 8 * e);
            v[e] = (float)code;
        }
    } else if (STORAGE) {
        uint2 x = *(const uint2 *)((const uint16_t *)c.at + i);
        float2 low = unpack(STORAGE, x.x), high = unpack(STORAGE, x.y);
        v[0] = low.x, v[1] = low.y, v[2] = high.x, v[3] = high.y;
    } else {
#pragma unroll
        for (int e = 0; e < COLS; e++) {
            __nv_fp8_e4m3 code;
            if (c.storage == HONE_FP8 && e < live)
                code.__x = ((const uint8_t *)c.at)[i + e];
            v[e] = e >= live                 ? 0.0f
                   : c.storage == HONE_FP8 ? (float)code
                                           : get(c, i + e);
        }
    }
}

/* scale * b of the block's rows and of RANKS ranks from K on. */
static __device__ __forceinline__ void take_b(const norms &n, cell b,
                                              int64_t row, int k,
                                              float (*held)[ROWS])
{
    for (int i = threadIdx.x; i < RANKS * ROWS; i += THREADS) {
        int64_t o = row + i / RANKS;
        int rank = k + i % RANKS;

        held[i % RANKS][i / RANKS] =
            o < n.rows && rank < n.r ? n.scale * get(b, o * n.r + rank) : 0.0f;
    }
}

/* Behind the last row the last one is read again, for nothing. SCALES: of w
 * where it is codes, one a row; else NULL. */
template <int A, int W>
static __global__ void __launch_bounds__(THREADS, 2)
    norm_rows(norms n, cell a, cell w, const float *scales, cell b, cell out)
{
    __shared__ __align__(16) float held[RANKS][ROWS];
    __shared__ float sums[THREADS / 32][ROWS];
    const int64_t row = (int64_t)blockIdx.x * ROWS;
    float squares[ROWS] = {};

    take_b(n, b, row, 0, held);
    __syncthreads();
    for (int64_t from = 0; from < n.cols; from += THREADS * COLS) {
        const int64_t i = from + threadIdx.x * COLS;
        const int live = (int)max((int64_t)0, min((int64_t)COLS, n.cols - i));
        float x[ROWS][COLS] = {};

        if (live)
#pragma unroll
            for (int o = 0; o < ROWS; o++)
                four<W>(x[o], w, min(row + o, n.rows - 1) * n.cols + i, live);
#pragma unroll
        for (int o = 0; scales && o < ROWS; o++)
#pragma unroll
            for (int e = 0; e < COLS; e++)
                x[o][e] *= scales[min(row + o, n.rows - 1)];
        for (int k = 0; k < n.r; k += RANKS) {
            const int ranks = min(n.r - k, (int)RANKS);

            if (n.r > RANKS) {
                __syncthreads();
                take_b(n, b, row, k, held);
                __syncthreads();
            }
#pragma unroll 4
            for (int j = 0; j < (live ? ranks : 0); j++) {
                float v[COLS];

                four<A>(v, a, (k + j) * n.cols + i, live);
#pragma unroll
                for (int o = 0; o < ROWS; o++)
#pragma unroll
                    for (int e = 0; e < COLS; e++)
                        x[o][e] += held[j][o] * v[e];
            }
        }
#pragma unroll
        for (int o = 0; o < ROWS; o++)
#pragma unroll
            for (int e = 0; e < COLS; e++)
                squares[o] += x[o][e] * x[o][e];
    }
#pragma unroll
    for (int o = 0; o < ROWS; o++) {
        float sum = team_sum<32>(squares[o], (float *)nullptr);

        if (threadIdx.x % 32 == 0)
            sums[threadIdx.x / 32][o] = sum;
    }
    __syncthreads();
    if (threadIdx.x < ROWS && row + threadIdx.x < n.rows) {
        float sum = 0;

        for (int k = 0; k < THREADS / 32; k++)
            sum += sums[k][threadIdx.x];
        put(out, row + threadIdx.x, sqrtf(sum));
    }
}

static hone_status norm_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    hone_type type[4];
    hone_call plain = *c;

    (void)threads;
    memcpy(type, c->type, sizeof type);
    plain.type = type;
    if (hone_is_nf4(type[1].storage) || type[1].storage == HONE_FP8)
        type[1].storage = c->compute;
    hone_try(cuda_plain(&plain, need, sizeof(norms), err));
    if (c->type[1].storage != HONE_FP8)
        need->want[1] = type[1].storage;
    return HONE_OK;
}

static hone_status norm_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    norms *n = (norms *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    n->rows = c->type[1].dim[0];
    n->cols = c->type[1].dim[1];
    n->r = (int)c->type[0].dim[0];
    n->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    n->a = cuda_storage(c, 0);
    n->w = cuda_storage(c, 1);
    n->b = cuda_storage(c, 2);
    n->out = cuda_storage(c, 3);
    return HONE_OK;
}

template <int A, int W>
static void launch(const norms &n, const hone_ptr *ptr, hone_stream stream)
{
    const float *scales = n.w == HONE_FP8 ? (const float *)ptr[1].part[1]
                                          : NULL;

    norm_rows<A, W><<<blocks_for(n.rows, ROWS), THREADS, 0,
                      (cudaStream_t)stream>>>(
        n, cell_of(ptr, 0, n.a), cell_of(ptr, 1, n.w), scales,
        cell_of(ptr, 2, n.b), cell_of(ptr, 3, n.out));
}

/* a, w, b, n */
static void norm_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const norms &n = *(const norms *)prepared;

    (void)workspace;
    if (n.a != HONE_F32 || n.cols % COLS || !cuda_aligned(ptr, 2))
        launch<RUNTIME, RUNTIME>(n, ptr, stream);
    else if (n.w == HONE_F32)
        launch<HONE_F32, HONE_F32>(n, ptr, stream);
    else if (n.w == HONE_BF16)
        launch<HONE_F32, HONE_BF16>(n, ptr, stream);
    else if (n.w == HONE_F16)
        launch<HONE_F32, HONE_F16>(n, ptr, stream);
    else
        launch<HONE_F32, HONE_FP8>(n, ptr, stream);
}

/* --------------------------------------------------------------- magnitudes */

enum { STEP = 4 }; /* rows that a thread has under way */

struct dora {
    int64_t rows, d;
    int64_t units; /* of eight columns */
    int slices, of_x;
    uint32_t inputs;
    unsigned char storage[6];
    unsigned char add;
    int wide; /* 16 bytes can be moved at a time */
};

/* x / by of eight columns, or 1 / by without x; 0 where that would divide by
 * 0. */
static __device__ __forceinline__ void ratios(float (&to)[VECTOR], cell x,
                                              cell by, int64_t k, int live,
                                              int wide)
{
    float d[VECTOR];

    load(d, by, k, live, wide);
    if (x.at)
        load(to, x, k, live, wide);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        to[e] = d[e] != 0 ? (x.at ? to[e] : 1.0f) / d[e] : 0.0f;
}

static __global__ void __launch_bounds__(THREADS)
    to_magnitude(dora c, cell x, cell m, cell n, cell bias, cell y)
{
    const int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t row = unit / c.units * STEP, k = unit % c.units * VECTOR;
    const int live = (int)min((int64_t)VECTOR, c.d - k);
    float by[VECTOR], more[VECTOR] = {}, v[STEP][VECTOR];

    if (row >= c.rows)
        return;
#pragma unroll
    for (int t = 0; t < STEP; t++)
        if (row + t < c.rows)
            load(v[t], x, (row + t) * c.d + k, live, c.wide);
    ratios(by, m, n, k, live, c.wide);
    if (bias.at)
        load(more, bias, k, live, c.wide);
#pragma unroll
    for (int t = 0; t < STEP; t++) {
        if (row + t >= c.rows)
            continue;
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[t][e] = v[t][e] * by[e] + more[e];
        store(y, (row + t) * c.d + k, v[t], live, c.wide);
    }
}

/* PARTIAL [slices, d]. A thread has eight columns of a slice; it has read what
 * it overwrites. */
static __global__ void __launch_bounds__(THREADS)
    grad_slices(dora c, cell dy, cell v, cell m, cell n, cell dx,
                float *partial)
{
    const int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t slice = unit / c.units, k = unit % c.units * VECTOR;
    const int64_t first = c.rows * slice / c.slices;
    const int64_t last = c.rows * (slice + 1) / c.slices;
    const int live = (int)min((int64_t)VECTOR, c.d - k);
    float by[VECTOR], sum[VECTOR] = {}, g[STEP][VECTOR], o[STEP][VECTOR];

    if (slice >= c.slices)
        return;
    ratios(by, m, n, k, live, c.wide);
    for (int64_t row = first; row < last; row += STEP) {
#pragma unroll
        for (int t = 0; t < STEP; t++)
            if (row + t < last) {
                load(g[t], dy, (row + t) * c.d + k, live, c.wide);
                load(o[t], v, (row + t) * c.d + k, live, c.wide);
            }
#pragma unroll
        for (int t = 0; t < STEP; t++) {
            if (row + t >= last)
                continue;
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                sum[e] += g[t][e] * o[t][e];
                g[t][e] *= by[e];
            }
            store(dx, (row + t) * c.d + k, g[t], live, c.wide);
        }
    }
    ratios(by, { NULL, 0, 0 }, c.of_x ? n : m, k, live, c.wide);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            partial[slice * c.d + k + e] = sum[e] * by[e];
}

static dora dora_of(const hone_call *c)
{
    dora d = {};

    d.rows = c->type[0].dim[0];
    d.d = c->type[0].dim[1];
    d.units = cuda_ceil(d.d, VECTOR);
    d.slices = slices_for(d.rows, d.units);
    d.inputs = c->nin;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        d.storage[i] = cuda_storage(c, i);
    if (c->nout == 2) {
        d.add = (unsigned char)cuda_adds(c, 1);
        d.of_x = ((const hone_dora_attrs *)c->attrs)->input;
    }
    return d;
}

static hone_status dora_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    dora d = dora_of(c);

    (void)threads;
    if (c->nout == 2)
        need->workspace_bytes = d.slices * d.d * (int64_t)sizeof(float);
    return cuda_plain(c, need, sizeof(dora), err);
}

static hone_status dora_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(dora *)prepared = dora_of(c);
    return HONE_OK;
}

static cell operand(const dora &d, const hone_ptr *ptr, uint32_t i)
{
    return cell_of(ptr, i, d.storage[i]);
}

/* x, m, n, perhaps a bias, y */
static void dora_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    dora d = *(const dora *)prepared;
    const int64_t threads = d.units * cuda_ceil(d.rows, STEP);
    cell bias = {};

    (void)workspace;
    if (d.inputs > 3)
        bias = operand(d, ptr, 3);
    d.wide = d.d % VECTOR == 0 && cuda_aligned(ptr, d.inputs + 1);
    to_magnitude<<<blocks_for(threads, THREADS), THREADS, 0,
                   (cudaStream_t)stream>>>(
        d, operand(d, ptr, 0), operand(d, ptr, 1), operand(d, ptr, 2), bias,
        operand(d, ptr, d.inputs));
}

/* dy, v, m, n, dx, dm */
static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    dora d = *(const dora *)prepared;
    float *partial = (float *)workspace;
    cudaStream_t s = (cudaStream_t)stream;

    d.wide = d.d % VECTOR == 0 && cuda_aligned(ptr, 5);
    grad_slices<<<blocks_for(d.units * d.slices, THREADS), THREADS, 0, s>>>(
        d, operand(d, ptr, 0), operand(d, ptr, 1), operand(d, ptr, 2),
        operand(d, ptr, 3), operand(d, ptr, 4), partial);
    join_slices<<<blocks_for(d.d, 32), JOINERS, 0, s>>>(
        d.slices, d.d, partial, cell_of(ptr, 5, d.storage[5], d.add));
}

CUDA_KERNELS(dora) = {
    { "dora_norm", norm_prepare, norm_init, norm_run },
    { "dora", dora_prepare, dora_init, dora_run },
    { "dora_grad", dora_prepare, dora_init, grad_run },
    { NULL, NULL, NULL, NULL }
};
