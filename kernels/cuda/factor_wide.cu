/* SPDX-License-Identifier: MIT
 *
 * factor_wide.cu -- products over a narrow side: v = u B^T, dx = du A. They
 * write far more than they read, so a warp's results change places in shared
 * memory and leave as whole lines. Where a result is added to, its old value is
 * taken in fp32 and rounded once.
 */
#include "factor.cuh"

enum {
    ROWS = 16 * FACTOR_WARPS, /* of a block */
    CHUNK = 64,               /* columns at a time */
    SLAB = 512,               /* columns of a block */
    LINE = CHUNK + 4          /* floats of a row of results */
};

struct wide {
    int64_t rows, columns;
    int k, tall; /* tall: w is [columns, k], else [k, columns] */
    int add;
    uint32_t y; /* operand */
    float scale;
};

struct wide_job {
    const bf16 *u, *w;
    const bf16 *from; /* what is added to; NULL: nothing */
    bf16 *y;
    int64_t rows, columns;
    float scale;
    int k;
};

/* W for columns [c, c + CHUNK): rows of w are rows here. Behind the last
 * column and behind k there are zeros. */
template <int K, bool TALL>
static __device__ __forceinline__ void fetch(bf16 *to, const wide_job &j,
                                             int64_t c)
{
    constexpr int LONG = TALL ? K : CHUNK, COUNT = K * CHUNK / 8;

#pragma unroll
    for (int i = threadIdx.x; i < COUNT; i += FACTOR_THREADS) {
        int row = i / (LONG / 8), at = i % (LONG / 8) * 8;
        bool there = TALL ? c + row < j.columns && at < j.k
                          : c + at < j.columns && row < j.k;
        const bf16 *from = TALL ? j.w + (c + row) * j.k + at
                                : j.w + row * j.columns + c + at;
        copy_async(to + row * (LONG + 8) + at, there ? from : j.w, there);
    }
}

/* The warp's 16 rows of u as first factors. */
template <int K>
static __device__ __forceinline__ void hold_rows(uint32_t (&a)[K / 16][4],
                                                 const wide_job &j, int64_t row)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < K / 4; i++) {
        int64_t r = row + lane / 4 + i % 2 * 8;
        int k = i / 4 * 16 + i / 2 % 2 * 8 + lane % 4 * 2;
        a[i / 4][i % 4] = r < j.rows && k < j.k
                              ? *(const uint32_t *)(j.u + r * j.k + k)
                              : 0;
    }
}

template <int K, bool TALL>
static __device__ __forceinline__ void multiply_chunk(
    float (&acc)[CHUNK / 8][4], const uint32_t (&a)[K / 16][4], const bf16 *w)
{
    const int lane = threadIdx.x % 32;
    constexpr int LONG = (TALL ? K : CHUNK) + 8;

#pragma unroll
    for (int k = 0; k < K; k += 16)
#pragma unroll
        for (int n = 0; n < CHUNK / 8; n += 2) {
            uint32_t b[4];

            if (TALL)
                load_rows(b, w + (8 * n + lane % 8 + lane / 16 * 8) * LONG +
                                 k + lane / 8 % 2 * 8);
            else
                load_columns(b, w + (k + lane % 16) * LONG + 8 * n +
                                    lane / 16 * 8);
            multiply(acc[n], a[k / 16], b[0], b[1]);
            multiply(acc[n + 1], a[k / 16], b[2], b[3]);
        }
}

/* The warp's 16 x CHUNK results, by way of LINES, to rows from ROW on. */
static __device__ __forceinline__ void leave(const float (&acc)[CHUNK / 8][4],
                                             float *lines, const wide_job &j,
                                             int64_t row, int64_t c)
{
    const int lane = threadIdx.x % 32;

    __syncwarp();
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++)
        *(float2 *)(lines + (lane / 4 + i % 2 * 8) * LINE + i / 2 * 8 +
                    lane % 4 * 2) = { acc[i / 2][i % 2 * 2],
                                      acc[i / 2][i % 2 * 2 + 1] };
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * CHUNK / 8; i += 32) {
        int r = i / (CHUNK / 8), at = i % (CHUNK / 8) * 8;
        float4 low = *(const float4 *)(lines + r * LINE + at);
        float4 high = *(const float4 *)(lines + r * LINE + at + 4);
        float v[8] = { low.x, low.y, low.z, low.w,
                       high.x, high.y, high.z, high.w };
        const int64_t place = (row + r) * j.columns + c + at;
        uint32_t old[4] = { 0, 0, 0, 0 };

        if (row + r >= j.rows || c + at >= j.columns)
            continue;
        if (j.from) {
            uint4 o = *(const uint4 *)(j.from + place);
            old[0] = o.x, old[1] = o.y, old[2] = o.z, old[3] = o.w;
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
            old[e] = two(j.scale * v[2 * e] + __uint_as_float(old[e] << 16),
                         j.scale * v[2 * e + 1] +
                             __uint_as_float(old[e] & 0xffff0000u));
        *(uint4 *)(j.y + place) = { old[0], old[1], old[2], old[3] };
    }
}

template <int K, bool TALL>
static __global__ void __launch_bounds__(FACTOR_THREADS, 2)
    wide_product(const __grid_constant__ wide_job j)
{
    constexpr int TILE = TALL ? CHUNK * (K + 8) : K * (CHUNK + 8);
    constexpr int TILES = K > 32 ? 1 : 2; /* 48 KB are all there is */
    __shared__ float lines[FACTOR_WARPS][16 * LINE];
    __shared__ __align__(16) bf16 w[TILES][TILE];
    const int warp = threadIdx.x / 32;
    const int64_t row = (int64_t)blockIdx.x * ROWS + 16 * warp;
    const int64_t first = (int64_t)blockIdx.y * SLAB;
    const int64_t last = min(j.columns, first + SLAB);
    uint32_t a[K / 16][4];

    fetch<K, TALL>(w[0], j, first);
    copies_close();
    hold_rows<K>(a, j, row);
    for (int64_t c = first; c < last; c += CHUNK) {
        float acc[CHUNK / 8][4] = {};
        const int now = (int)((c - first) / CHUNK) % TILES;

        copies_wait<0>();
        __syncthreads();
        if (TILES > 1 && c + CHUNK < last)
            fetch<K, TALL>(w[(now + 1) % TILES], j, c + CHUNK);
        multiply_chunk<K, TALL>(acc, a, w[now]);
        if (TILES == 1) {
            __syncthreads();
            if (c + CHUNK < last)
                fetch<K, TALL>(w[0], j, c + CHUNK);
        }
        copies_close();
        leave(acc, lines[warp], j, row, c);
    }
}

/* -------------------------------------------------------------- the calls */

/* x [T,k] times w: [columns, k] of linear, [k, columns] of linear_dx. */
static wide describe(const hone_call *c)
{
    wide d = {};

    d.tall = !strcmp(c->op, "linear");
    d.rows = c->type[0].dim[0];
    d.k = (int)c->type[0].dim[1];
    d.columns = c->type[1].dim[d.tall ? 0 : 1];
    d.add = cuda_adds(c, 0);
    d.y = c->nin;
    d.scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    return d;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    if (!factor_want(c, need) || !factor_narrow(c->type[0].dim[1]) ||
        describe(c).columns % 8 || c->type[c->nin].storage != HONE_BF16 ||
        (c->nin > 2 && c->type[2].storage != HONE_NOTHING))
        return factor_none(c, err);
    need->prepared_bytes = sizeof(wide);
    need->adds_from = 1;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    *(wide *)prepared = describe(c);
    return factor_card(c, ctx, err);
}

template <int K>
static void launch(const wide *d, const wide_job &j, cudaStream_t s)
{
    dim3 grid((unsigned)cuda_ceil(d->rows, ROWS),
              (unsigned)cuda_ceil(d->columns, SLAB));

    if (d->tall)
        wide_product<K, true><<<grid, FACTOR_THREADS, 0, s>>>(j);
    else
        wide_product<K, false><<<grid, FACTOR_THREADS, 0, s>>>(j);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const wide *d = (const wide *)prepared;
    const bf16 *from = (const bf16 *)ptr[d->y + 1].part[0];
    const wide_job j = { (const bf16 *)ptr[0].part[0],
                         (const bf16 *)ptr[1].part[0],
                         d->add ? from : NULL, (bf16 *)ptr[d->y].part[0],
                         d->rows, d->columns, d->scale, d->k };
    cudaStream_t s = (cudaStream_t)stream;

    (void)workspace;
    if (d->k <= 16)
        launch<16>(d, j, s);
    else if (d->k <= 32)
        launch<32>(d, j, s);
    else
        launch<64>(d, j, s);
}

CUDA_KERNELS(factor_wide) = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
