/* SPDX-License-Identifier: MIT
 *
 * factor_swiglu.cuh -- what a warp does for swiglu with the low-rank products
 * around it: its columns of 16 rows at a time, which come into shared memory
 * while it computes those before. What it has computed takes the place of what
 * it has read there, so that the tensor cores get it both ways round.
 */
#ifndef HONE_CUDA_FACTOR_SWIGLU_CUH
#define HONE_CUDA_FACTOR_SWIGLU_CUH

#include "factor.cuh"

enum {
    COLUMNS = 512,
    ROWS = 16, /* of a stage */
    RANK = 16, /* of a factor, at most; the rest is zeros */
    STAGES = 3
};

struct factors {
    int64_t rows, columns;
    int r[3];   /* of gate, up and what comes behind */
    int strips, slices;
    int add[3]; /* to the gradients of weights */
    float scale[3];
};

struct factors_job {
    const bf16 *wide[3];   /* gate, up, dy */
    const bf16 *narrow[3]; /* what gate's and up's products are of; du */
    const bf16 *weight[3]; /* [columns, r], [columns, r], [r, columns] */
    bf16 *out[2];          /* y; or dgate, dup */
    float *row_parts;      /* [sums of rows, strips, rows, RANK] */
    float *column_parts;   /* [3, slices, RANK, columns] */
    bf16 *row_sum[2];      /* [rows, r] */
    float *weight_sum[3];
    factors f;
};

/* Gradients: three wide operands come in, else two; of these parts of two
 * sums over columns stay, else of one. */
template <bool GRAD> constexpr int INPUTS = GRAD ? 3 : 2;
template <bool GRAD> constexpr int SUMS = GRAD ? 2 : 1;

/* Columns of a warp, and warps of a block: as many as there are registers for,
 * which hide each other's waiting. */
template <bool GRAD> constexpr int MINE = GRAD ? 64 : 32;
template <bool GRAD> constexpr int WARPS = COLUMNS / MINE<GRAD>;

template <bool GRAD> struct factors_stage {
    bf16 wide[INPUTS<GRAD>][WARPS<GRAD>][ROWS * MINE<GRAD>];
    bf16 narrow[INPUTS<GRAD>][ROWS * RANK];
};

template <bool GRAD> struct factors_shared {
    factors_stage<GRAD> stage[STAGES];
    bf16 weight[WARPS<GRAD>][3][MINE<GRAD> * RANK];
    float sums[SUMS<GRAD>][WARPS<GRAD>][ROWS * RANK];
};

/* Eights of a row change places by the row's number, so that eight rows below
 * each other lie in different banks: of C columns, and of 16. */
template <int C>
static __device__ __forceinline__ int wide_at(int row, int eight)
{
    return row * C + (eight ^ row * C / 64 % (C / 8)) * 8;
}

static __device__ __forceinline__ int narrow_at(int row, int eight)
{
    return row * RANK + (eight ^ row / 4 % 2) * 8;
}

/* C rows of [columns, r] from COLUMN on. */
template <int C>
static __device__ __forceinline__ void fetch_tall(bf16 *to, const bf16 *from,
                                                  int r, int64_t column,
                                                  int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < C * 2; i += 32) {
        const int c = i / 2, e = i % 2;
        const bool there = column + c < columns && 8 * e < r;

        copy_async(to + narrow_at(c, e),
                   there ? from + (column + c) * r + 8 * e : from, there);
    }
}

/* C columns of R rows of [.., columns]; behind them zeros. */
template <int C>
static __device__ __forceinline__ void fetch_columns(bf16 *to, const bf16 *from,
                                                  int64_t row, int64_t last,
                                                  int64_t column,
                                                  int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < ROWS * C / 8; i += 32) {
        const int r = i / (C / 8), e = i % (C / 8);
        const bool there = row + r < last && column + 8 * e < columns;

        copy_async(to + wide_at<C>(r, e),
                   there ? from + (row + r) * columns + column + 8 * e : from,
                   there);
    }
}

template <bool GRAD>
static __device__ __forceinline__ void fetch(factors_stage<GRAD> *to,
                                             const factors_job &j, int64_t row,
                                             int64_t last, int64_t column)
{
    const int warp = threadIdx.x / 32;

#pragma unroll
    for (int i = 0; i < INPUTS<GRAD>; i++)
        fetch_columns<MINE<GRAD>>(to->wide[i][warp], j.wide[i], row, last,
                                  column, j.f.columns);
    if (threadIdx.x < INPUTS<GRAD> * ROWS * 2) {
        const int i = threadIdx.x / (ROWS * 2), r = threadIdx.x / 2 % ROWS;
        const int e = threadIdx.x % 2;
        const bool there = row + r < last && 8 * e < j.f.r[i];

        copy_async(to->narrow[i] + narrow_at(r, e),
                   there ? j.narrow[i] + (row + r) * j.f.r[i] + 8 * e
                         : j.narrow[i], there);
    }
}

/* ------------------------------------------------------------ 16 x 16 tiles */

/* Which of the four 8 x 8 matrices a lane points at: as they follow each other
 * downwards, or sideways. */
struct lane_tile {
    int down, side; /* row, eight */
};

static __device__ __forceinline__ lane_tile downwards()
{
    const int lane = threadIdx.x % 32;

    return { lane % 16, lane / 16 };
}

static __device__ __forceinline__ lane_tile sideways()
{
    const int lane = threadIdx.x % 32;

    return { lane % 8 + lane / 16 * 8, lane / 8 % 2 };
}

/* acc (16 x 16) += a times the first and the second half of F. */
static __device__ __forceinline__ void both(float (&acc)[2][4],
                                            const uint32_t (&a)[4],
                                            const uint32_t (&f)[4])
{
    multiply(acc[0], a, f[0], f[1]);
    multiply(acc[1], a, f[2], f[3]);
}

/* The lane's pairs of a 16 x 16 tile, as an accumulator has them. */
template <int C>
static __device__ __forceinline__ uint32_t *pair_of(bf16 *tile, int s, int n,
                                                    int half)
{
    const int lane = threadIdx.x % 32;

    return (uint32_t *)(tile + wide_at<C>(lane / 4 + 8 * half, 2 * s + n) +
                        lane % 4 * 2);
}

static __device__ __forceinline__ float low(uint32_t w)
{
    return __uint_as_float(w << 16);
}

static __device__ __forceinline__ float high(uint32_t w)
{
    return __uint_as_float(w & 0xffff0000u);
}

static __device__ __forceinline__ float quick_sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + __expf(-x));
}

/* y of one element. */
static __device__ __forceinline__ float forward(float g, float h)
{
    return g * quick_sigmoid(g) * h;
}

/* D becomes y; G and H the gradients. */
static __device__ __forceinline__ void slopes(float &d, float &g, float &h)
{
    const float s = quick_sigmoid(g), gs = g * s, dh = d * gs;
    const float dg = d * h * s * (1.0f + g - gs);

    d = gs * h;
    g = dg;
    h = dh;
}

/* ------------------------------------------------------------ a warp's work */

/* What a warp keeps: sums over its rows of each of its columns, and over its
 * columns of the stage's rows. */
template <bool GRAD> struct kept {
    float column[GRAD ? 3 : 1][MINE<GRAD> / 8][4];
    float row[SUMS<GRAD>][2][4];
};

/* Columns [16 s, 16 s + 16) of a stage: the sums G, H and D with the low-rank
 * products, their use, and what comes of it back into shared memory. */
template <bool GRAD>
static __device__ __forceinline__ void
step(kept<GRAD> &k, bf16 *const (&tile)[INPUTS<GRAD>],
     const uint32_t (&u)[INPUTS<GRAD>][4],
     const uint32_t (&turned)[INPUTS<GRAD>][4],
     const bf16 (*w)[MINE<GRAD> * RANK], const factors &p, int s)
{
    constexpr int C = MINE<GRAD>;
    const lane_tile down = downwards(), side = sideways();
    float v[INPUTS<GRAD>][2][4] = {};
    uint32_t f[4], word[INPUTS<GRAD>][4];

#pragma unroll
    for (int i = 0; i < 2; i++) {
        load_rows(f, w[i] + narrow_at(16 * s + side.down, side.side));
        both(v[i], u[i], f);
    }
    if constexpr (GRAD) {
        load_columns(f, w[2] + wide_at<C>(down.down, 2 * s + down.side));
        both(v[2], u[2], f);
    }
#pragma unroll
    for (int q = 0; q < 4; q++) { /* pairs: as a first factor has them */
        const int n = q / 2, half = q % 2;
        float x[INPUTS<GRAD>][2];

#pragma unroll
        for (int i = 0; i < INPUTS<GRAD>; i++) {
            const uint32_t old = *pair_of<C>(tile[i], s, n, half);

            x[i][0] = low(old) + p.scale[i] * v[i][n][2 * half];
            x[i][1] = high(old) + p.scale[i] * v[i][n][2 * half + 1];
        }
#pragma unroll
        for (int e = 0; e < 2; e++)
            if constexpr (GRAD)
                slopes(x[2][e], x[0][e], x[1][e]);
            else
                x[0][e] = forward(x[0][e], x[1][e]);
#pragma unroll
        for (int i = 0; i < (GRAD ? 3 : 1); i++)
            *pair_of<C>(tile[i], s, n, half) = word[i][q] =
                two(x[i][0], x[i][1]);
    }
    if constexpr (GRAD) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            load_columns(f, w[i] + narrow_at(16 * s + down.down, down.side));
            both(k.row[i], word[i], f);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 3; i++) {
            load_columns(f, tile[i] + wide_at<C>(down.down,
                                                 2 * s + down.side));
            multiply(k.column[i][2 * s], turned[i], f[0], f[1]);
            multiply(k.column[i][2 * s + 1], turned[i], f[2], f[3]);
        }
    } else {
        load_rows(f, w[2] + wide_at<C>(side.down, 2 * s + side.side));
        both(k.row[0], word[0], f);
    }
}

/* A tile from shared memory to rows from ROW on. */
template <int C>
static __device__ __forceinline__ void put_tile(bf16 *to, const bf16 *tile,
                                                int64_t row, int64_t last,
                                                int64_t column,
                                                int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < ROWS * C / 8; i += 32) {
        const int r = i / (C / 8), e = i % (C / 8);

        if (row + r < last && column + 8 * e < columns)
            *(uint4 *)(to + (row + r) * columns + column + 8 * e) =
                *(const uint4 *)(tile + wide_at<C>(r, e));
    }
}

template <bool GRAD>
static __device__ __forceinline__ void
compute(kept<GRAD> &k, factors_shared<GRAD> *all, factors_stage<GRAD> *s,
        const factors_job &j, int64_t row, int64_t last, int64_t column)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const lane_tile down = downwards(), side = sideways();
    uint32_t u[INPUTS<GRAD>][4], turned[INPUTS<GRAD>][4];
    bf16 *tile[INPUTS<GRAD>];

#pragma unroll
    for (int i = 0; i < INPUTS<GRAD>; i++) {
        tile[i] = s->wide[i][warp];
        load_rows(u[i], s->narrow[i] + narrow_at(down.down, down.side));
        if constexpr (GRAD)
            load_columns(turned[i],
                         s->narrow[i] + narrow_at(side.down, side.side));
    }
    memset(k.row, 0, sizeof k.row);
#pragma unroll
    for (int q = 0; q < MINE<GRAD> / 16; q++)
        step<GRAD>(k, tile, u, turned, all->weight[warp], j.f, q);
#pragma unroll
    for (int i = 0; i < SUMS<GRAD>; i++)
#pragma unroll
        for (int q = 0; q < 4; q++)
            *(float2 *)(all->sums[i][warp] + (lane / 4 + q % 2 * 8) * RANK +
                        q / 2 * 8 + lane % 4 * 2) =
                { k.row[i][q / 2][q % 2 * 2], k.row[i][q / 2][q % 2 * 2 + 1] };
    __syncwarp();
#pragma unroll
    for (int i = 0; i < (GRAD ? 2 : 1); i++)
        put_tile<MINE<GRAD>>(j.out[i], tile[i], row, last, column,
                             j.f.columns);
}

#endif
