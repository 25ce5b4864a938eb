/* SPDX-License-Identifier: MIT
 *
 * factor_swiglu.cuh -- what a warp does for swiglu with the low-rank products
 * around it: its columns of 16 rows at a time, which come into shared memory
 * while it computes those before. What it has computed takes the place of what
 * it has read there, so that the tensor cores get it both ways round. What
 * bounds it, beside the memory, are instructions and bytes of shared memory: 16
 * x 16 tiles move at once, and factors stay in registers where there are any.
 */
#ifndef HONE_CUDA_FACTOR_SWIGLU_CUH
#define HONE_CUDA_FACTOR_SWIGLU_CUH

#include "factor.cuh"
#include "power.cuh"

enum {
    COLUMNS = 512, /* of a block */
    WIDTH = 32,    /* of a tile */
    TILES = COLUMNS / WIDTH,
    ROWS = 16,     /* of a stage */
    RANK = 16      /* of a factor, at most; the rest is zeros */
};

/* Tiles of a warp. Gradients have many sums to keep: few warps with many
 * registers each. */
template <bool GRAD> constexpr int MINE = GRAD ? 2 : 1;
template <bool GRAD> constexpr int WARPS = TILES / MINE<GRAD>;

struct factors {
    int64_t rows;
    int columns;
    int r[3];   /* of gate, up and what comes behind */
    int strips, slices;
    int add[3]; /* to the gradients of weights */
    float scale[3];
    int early, exact; /* exact: scales are powers of two, see use_step() */
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

/* Stages on their way while one is computed; what that one leaves for others
 * stays for another round. */
template <bool GRAD> constexpr int AHEAD = GRAD ? 1 : 2;
template <bool GRAD> constexpr int STAGES = AHEAD<GRAD> + 2;

template <bool GRAD> struct factors_stage {
    bf16 wide[INPUTS<GRAD>][TILES][ROWS * WIDTH];
    bf16 narrow[INPUTS<GRAD>][ROWS * RANK];
};

template <bool GRAD> struct factors_shared {
    factors_stage<GRAD> stage[STAGES<GRAD>];
    bf16 weight[TILES][3][WIDTH * RANK];
};

/* What a warp leaves of sum I over its columns, [ROWS, RANK], where its part of
 * wide operand I of the stage was. */
template <bool GRAD>
static __device__ __forceinline__ float *sums_of(factors_stage<GRAD> *s, int i,
                                                 int warp)
{
    static_assert(sizeof s->wide[0][0] >= ROWS * RANK * sizeof(float), "room");
    return (float *)s->wide[i][warp * MINE<GRAD>];
}

/* Where such a sum of a row's column C is: halves of a row change places, so
 * that four rows below each other lie in different banks. */
static __device__ __forceinline__ int sum_at(int row, int c)
{
    return row * RANK + (c ^ row / 2 % 2 * 8);
}

/* Eights of a row change places by the row's number, so that eight rows below
 * each other lie in different banks: of a tile, and of 16 columns. */
static __device__ __forceinline__ int wide_at(int row, int eight)
{
    return row * WIDTH + (eight ^ row / 2 % (WIDTH / 8)) * 8;
}

static __device__ __forceinline__ int narrow_at(int row, int eight)
{
    return row * RANK + (eight ^ row / 4 % 2) * 8;
}

/* The rows [first, first + count) of a block; what it counts from there fits
 * an int. */
struct row_slice {
    int64_t first;
    int count;
};

/* Rows of all MINE tiles of a warp that it moves at once: whole lines of what
 * is wide. Four lanes have what is next to each other of a tile, and the next
 * four the row below, in other banks. */
template <int MINE> constexpr int AT_ONCE = 8 / MINE;

/* Where a lane finds its eights: in shared memory, and in operands [.., columns]
 * for the slice's first rows and the warp's first tile; the others lie AT_ONCE
 * rows below each other. */
struct lane_place {
    int at, row;
    int there; /* the operands have such columns */
    int64_t from;
};

template <int MINE>
static __device__ __forceinline__ lane_place place_of(int64_t row, int column,
                                                      int columns)
{
    const int r = threadIdx.x % 32 / 4 % AT_ONCE<MINE>, e = threadIdx.x % 4;
    const int tile = threadIdx.x % 32 / 4 / AT_ONCE<MINE>;
    const int c = column + tile * WIDTH + 8 * e;

    static_assert(WIDTH == 32 && ROWS == 16, "rows of four eights");
    return { tile * ROWS * WIDTH + wide_at(r, e), r, c < columns,
             (row + r) * columns + c };
}

/* In shared memory H times AT_ONCE rows below AT: eights change places there by
 * what is added to the row's number, see wide_at(). */
template <int MINE>
static __device__ __forceinline__ int rows_below(int at, int h)
{
    return (at ^ h * AT_ONCE<MINE> / 2 % (WIDTH / 8) * 8) +
           h * AT_ONCE<MINE> * WIDTH;
}

/* WIDTH rows of [columns, r] from COLUMN on. */
static __device__ __forceinline__ void fetch_tall(bf16 *to, const bf16 *from,
                                                  int r, int column,
                                                  int columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < WIDTH * 2; i += 32) {
        const int c = i / 2, e = i % 2;
        const bool there = column + c < columns && 8 * e < r;

        copy_async(to + narrow_at(c, e),
                   there ? from + (int64_t)(column + c) * r + 8 * e : from,
                   there);
    }
}

/* The rows [row, last), 16 at most, of MINE tiles of COUNT operands; behind
 * them zeros. TO: the first tile of the first one, which lie STRIDE apart. */
template <int COUNT, int MINE>
static __device__ __forceinline__ void
fetch_tiles(bf16 *to, int stride, const bf16 *const *from,
            const lane_place &l, int row, int last, int columns)
{
#pragma unroll
    for (int h = 0; h < 2 * MINE; h++) {
        const int below = h * AT_ONCE<MINE>;
        const int64_t at = l.from + (int64_t)(row + below) * columns;
        const bool there = l.there && row + l.row + below < last;

#pragma unroll
        for (int i = 0; i < COUNT; i++)
            copy_async(to + i * stride + rows_below<MINE>(l.at, h),
                       from[i] + at, there);
    }
}

/* A tile's columns of all factors. */
static __device__ __forceinline__ void
fetch_weights(bf16 (*to)[WIDTH * RANK], const factors_job &j, int column)
{
    for (int i = 0; i < 2; i++)
        fetch_tall(to[i], j.weight[i], j.f.r[i], column, j.f.columns);
    fetch_tiles<1, 1>(to[2], 0, j.weight + 2,
                      place_of<1>(0, column, j.f.columns), 0, j.f.r[2],
                      j.f.columns);
}

template <bool GRAD>
static __device__ __forceinline__ void fetch(factors_stage<GRAD> *to,
                                             const factors_job &j,
                                             const lane_place &l,
                                             const row_slice &s, int row)
{
    const int tile = threadIdx.x / 32 * MINE<GRAD>;

    fetch_tiles<INPUTS<GRAD>, MINE<GRAD>>(to->wide[0][tile],
                                          TILES * ROWS * WIDTH, j.wide, l, row,
                                          s.count, j.f.columns);
    if (threadIdx.x < INPUTS<GRAD> * ROWS * 2) {
        const int i = threadIdx.x / (ROWS * 2), r = threadIdx.x / 2 % ROWS;
        const int e = threadIdx.x % 2;
        const bool there = row + r < s.count && 8 * e < j.f.r[i];

        copy_async(to->narrow[i] + narrow_at(r, e),
                   there ? j.narrow[i] + (s.first + row + r) * j.f.r[i] + 8 * e
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
    return quick_inverse(1.0f + power_of_2(-LOG2_E * x));
}

/* y of one element. */
static __device__ __forceinline__ float forward(float g, float h)
{
    return g * quick_sigmoid(g) * h;
}

/* D becomes y; G and H the gradients. */
static __device__ __forceinline__ void slopes(float &d, float &g, float &h)
{
    const float s = quick_sigmoid(g), gs = g * s, y = gs * h;

    g = d * h * (s + gs * (1.0f - s));
    h = d * gs;
    d = y;
}

/* ------------------------------------------------------------ a warp's work */

/* A warp goes through its part of a stage by steps of 16 columns. */
template <bool GRAD> constexpr int STEPS = MINE<GRAD> * WIDTH / 16;

/* Of the tile T of a block the columns from 16 S on. */
struct place {
    int s, t;
};

static __device__ __forceinline__ place place_of_step(int tile, int q)
{
    return { q % (WIDTH / 16), tile + q / (WIDTH / 16) };
}

/* What a warp keeps: sums over its rows of each of its columns, and over its
 * columns of the stage's rows. */
template <bool GRAD> struct kept {
    float column[GRAD ? 3 : 1][2 * STEPS<GRAD>][4];
    float row[SUMS<GRAD>][2][4];
};

/* Its factors for the sums over columns, which it holds all the time; where
 * there are registers for them those of the products, too. */
template <bool GRAD> constexpr int PRODUCTS = GRAD ? 0 : 2;

template <bool GRAD> struct held {
    uint32_t row[SUMS<GRAD>][STEPS<GRAD>][4];
    uint32_t product[GRAD ? 1 : 2][STEPS<GRAD>][4];
};

template <bool GRAD>
static __device__ __forceinline__ void hold(held<GRAD> &h,
                                            const bf16 (*w)[3][WIDTH * RANK],
                                            int tile)
{
    const lane_tile down = downwards(), side = sideways();

#pragma unroll
    for (int q = 0; q < STEPS<GRAD>; q++) {
        const place at = place_of_step(tile, q);

#pragma unroll
        for (int i = 0; i < SUMS<GRAD>; i++)
            if constexpr (GRAD)
                load_columns(h.row[i][q],
                             w[at.t][i] + narrow_at(16 * at.s + down.down,
                                                    down.side));
            else
                load_rows(h.row[i][q], w[at.t][2] + wide_at(side.down,
                                                            2 * at.s +
                                                                side.side));
#pragma unroll
        for (int i = 0; i < PRODUCTS<GRAD>; i++)
            load_rows(h.product[i][q],
                      w[at.t][i] + narrow_at(16 * at.s + side.down, side.side));
    }
}

template <bool GRAD> struct words {
    uint32_t of[INPUTS<GRAD>][4]; /* as an accumulator has them */
};

template <bool GRAD>
static __device__ __forceinline__ void load_step(words<GRAD> &w,
                                                 factors_stage<GRAD> *s,
                                                 place p)
{
    const lane_tile down = downwards();

#pragma unroll
    for (int i = 0; i < INPUTS<GRAD>; i++)
        load_rows(w.of[i], s->wide[i][p.t] +
                               wide_at(down.down, 2 * p.s + down.side));
}

/* The low-rank products that belong to the step's columns. */
template <bool GRAD>
static __device__ __forceinline__ void
multiply_step(float (&v)[INPUTS<GRAD>][2][4],
              const uint32_t (&u)[INPUTS<GRAD>][4], const held<GRAD> &h, int q,
              const bf16 (*w)[WIDTH * RANK], int s)
{
    const lane_tile down = downwards(), side = sideways();
    uint32_t f[4];

#pragma unroll
    for (int i = 0; i < PRODUCTS<GRAD>; i++)
        both(v[i], u[i], h.product[i][q]);
    if constexpr (GRAD) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            load_rows(f, w[i] + narrow_at(16 * s + side.down, side.side));
            both(v[i], u[i], f);
        }
        load_columns(f, w[2] + wide_at(down.down, 2 * s + down.side));
        both(v[2], u[2], f);
    }
}

/* Two elements times a power of two. */
static __device__ __forceinline__ uint32_t two_scaled(uint32_t w, float by)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm("mul.rn.bf16x2 %0, %0, %1;" : "+r"(w) : "r"(two(by, by)));
    return w;
#else
    return two(low(w) * by, high(w) * by);
#endif
}

/* From what was read to what is written: sums with the products V, and what
 * they are used for. A scale that is a power of two is in the products' first
 * factors already, which rounds nothing: sums begin with what was read. */
template <bool GRAD, bool EXACT>
static __device__ __forceinline__ void
use_step(words<GRAD> &w, const float (&v)[INPUTS<GRAD>][2][4],
         const factors &p)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int n = i / 2, half = i % 2;
        float x[INPUTS<GRAD>][2];

#pragma unroll
        for (int o = 0; o < INPUTS<GRAD>; o++) {
            x[o][0] = v[o][n][2 * half];
            x[o][1] = v[o][n][2 * half + 1];
            if constexpr (!EXACT) {
                x[o][0] = low(w.of[o][i]) + p.scale[o] * x[o][0];
                x[o][1] = high(w.of[o][i]) + p.scale[o] * x[o][1];
            }
        }
#pragma unroll
        for (int e = 0; e < 2; e++)
            if constexpr (GRAD)
                slopes(x[2][e], x[0][e], x[1][e]);
            else
                x[0][e] = forward(x[0][e], x[1][e]);
#pragma unroll
        for (int o = 0; o < (GRAD ? 3 : 1); o++)
            w.of[o][i] = two(x[o][0], x[o][1]);
    }
}

/* All steps: what comes of them back into shared memory, sums over columns.
 * What the next step needs is read before this one writes: the compiler cannot
 * know that they are not the same. */
template <bool GRAD, bool EXACT>
static __device__ __forceinline__ void
go_through(kept<GRAD> &k, const held<GRAD> &h, factors_stage<GRAD> *s,
           const factors_shared<GRAD> *all, const factors &p, int tile)
{
    const lane_tile down = downwards();
    uint32_t u[INPUTS<GRAD>][4];
    words<GRAD> w, next;

#pragma unroll
    for (int i = 0; i < INPUTS<GRAD>; i++)
        load_rows(u[i], s->narrow[i] + narrow_at(down.down, down.side));
    if constexpr (EXACT)
#pragma unroll
        for (int i = 0; i < 8; i++)
            u[i / 4][i % 4] = two_scaled(u[i / 4][i % 4], p.scale[i / 4]);
    load_step<GRAD>(next, s, place_of_step(tile, 0));
#pragma unroll
    for (int q = 0; q < STEPS<GRAD>; q++) {
        const place at = place_of_step(tile, q);
        float v[INPUTS<GRAD>][2][4] = {};

        w = next;
        if constexpr (EXACT)
#pragma unroll
            for (int i = 0; i < INPUTS<GRAD> * 8; i++) {
                const uint32_t word = w.of[i / 8][i / 4 % 2 * 2 + i / 2 % 2];
                v[i / 8][i / 4 % 2][i % 4] = i % 2 ? high(word) : low(word);
            }
        multiply_step<GRAD>(v, u, h, q, all->weight[at.t], at.s);
        if (q + 1 < STEPS<GRAD>)
            load_step<GRAD>(next, s, place_of_step(tile, q + 1));
        use_step<GRAD, EXACT>(w, v, p);
#pragma unroll
        for (int i = 0; i < (GRAD ? 3 : 1); i++)
            store_rows(s->wide[i][at.t] +
                           wide_at(down.down, 2 * at.s + down.side), w.of[i]);
#pragma unroll
        for (int i = 0; i < SUMS<GRAD>; i++)
            both(k.row[i], w.of[i], h.row[i][q]);
    }
    __syncwarp();
}

/* Sums over rows of what is in shared memory now. */
static __device__ __forceinline__ void
add_columns(kept<true> &k, const factors_stage<true> *s, int tile)
{
    const lane_tile down = downwards(), side = sideways();

#pragma unroll
    for (int i = 0; i < 3; i++) {
        uint32_t turned[4], f[4];

        load_columns(turned, s->narrow[i] + narrow_at(side.down, side.side));
#pragma unroll
        for (int q = 0; q < STEPS<true>; q++) {
            const place at = place_of_step(tile, q);

            load_columns(f, s->wide[i][at.t] +
                                wide_at(down.down, 2 * at.s + down.side));
            multiply(k.column[i][2 * q], turned, f[0], f[1]);
            multiply(k.column[i][2 * q + 1], turned, f[2], f[3]);
        }
    }
}

/* The warp's tiles from shared memory to rows from ROW on. */
template <int MINE>
static __device__ __forceinline__ void put_tiles(bf16 *to, const bf16 *tile,
                                                 const lane_place &l, int row,
                                                 int last, int columns)
{
#pragma unroll
    for (int h = 0; h < 2 * MINE; h++) {
        const int below = h * AT_ONCE<MINE>;

        if (l.there && row + l.row + below < last)
            *(uint4 *)(to + l.from + (int64_t)(row + below) * columns) =
                *(const uint4 *)(tile + rows_below<MINE>(l.at, h));
    }
}

template <bool GRAD, bool EXACT>
static __device__ __forceinline__ void
compute(kept<GRAD> &k, const held<GRAD> &held, factors_shared<GRAD> *all,
        factors_stage<GRAD> *s, const factors_job &j, const lane_place &l,
        int row, int last)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first = warp * MINE<GRAD>;

    memset(k.row, 0, sizeof k.row);
    go_through<GRAD, EXACT>(k, held, s, all, j.f, first);
    if constexpr (GRAD)
        add_columns(k, s, first);
#pragma unroll
    for (int i = 0; i < (GRAD ? 2 : 1); i++)
        put_tiles<MINE<GRAD>>(j.out[i], s->wide[i][first], l, row, last,
                              j.f.columns);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < SUMS<GRAD>; i++)
#pragma unroll
        for (int q = 0; q < 4; q++)
            *(float2 *)(sums_of(s, i, warp) +
                        sum_at(lane / 4 + q % 2 * 8,
                               q / 2 * 8 + lane % 4 * 2)) =
                { k.row[i][q / 2][q % 2 * 2], k.row[i][q / 2][q % 2 * 2 + 1] };
}

#endif
