/* SPDX-License-Identifier: MIT
 *
 * factor_swiglu.cu -- swiglu with the low-rank products around it, and all of
 * their gradients, in one pass over what is wide. A block has COLUMNS of the
 * columns over a slice of the rows; each warp has its own 64, keeps the
 * factors' part of them in shared memory and goes down 16 rows at a time. What
 * it has computed takes the place of what it has read there, so that the
 * tensor cores get it both ways round. What blocks have in common is left in
 * parts and added in their order: no result depends on which was faster.
 */
#include "factor.cuh"

enum {
    WARP_COLUMNS = 64,
    COLUMNS = WARP_COLUMNS * FACTOR_WARPS,
    ROWS = 16, /* of a stage */
    RANK = 16, /* of a factor, at most; the rest is zeros */
    STAGES = 3,
    LEAST_STAGES = 8, /* of a slice */
    JOIN_COLUMNS = 8 /* few, so that no thread waits for one sum after another */
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

template <bool GRAD> struct factors_stage {
    bf16 wide[INPUTS<GRAD>][FACTOR_WARPS][ROWS * WARP_COLUMNS];
    bf16 narrow[INPUTS<GRAD>][ROWS * RANK];
};

template <bool GRAD> struct factors_shared {
    factors_stage<GRAD> stage[STAGES];
    bf16 weight[FACTOR_WARPS][3][WARP_COLUMNS * RANK];
    float sums[SUMS<GRAD>][FACTOR_WARPS][ROWS * RANK];
};

/* Eights of a row change places by the row's number, so that eight rows below
 * each other lie in different banks: of 64 columns, and of 16. */
static __device__ __forceinline__ int wide_at(int row, int eight)
{
    return row * WARP_COLUMNS + (eight ^ row % 8) * 8;
}

static __device__ __forceinline__ int narrow_at(int row, int eight)
{
    return row * RANK + (eight ^ row / 4 % 2) * 8;
}

/* 64 rows of [columns, r] from COLUMN on. */
static __device__ __forceinline__ void fetch_tall(bf16 *to, const bf16 *from,
                                                  int r, int64_t column,
                                                  int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < WARP_COLUMNS * 2; i += 32) {
        const int c = i / 2, e = i % 2;
        const bool there = column + c < columns && 8 * e < r;

        copy_async(to + narrow_at(c, e),
                   there ? from + (column + c) * r + 8 * e : from, there);
    }
}

/* 64 columns of R rows of [.., columns]; behind them zeros. */
static __device__ __forceinline__ void fetch_wide(bf16 *to, const bf16 *from,
                                                  int64_t row, int64_t last,
                                                  int64_t column,
                                                  int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < ROWS * 8; i += 32) {
        const int r = i / 8, e = i % 8;
        const bool there = row + r < last && column + 8 * e < columns;

        copy_async(to + wide_at(r, e),
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
        fetch_wide(to->wide[i][warp], j.wide[i], row, last, column,
                   j.f.columns);
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
static __device__ __forceinline__ uint32_t *pair_of(bf16 *tile, int s, int n,
                                                    int half)
{
    const int lane = threadIdx.x % 32;

    return (uint32_t *)(tile + wide_at(lane / 4 + 8 * half, 2 * s + n) +
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
    float column[GRAD ? 3 : 1][WARP_COLUMNS / 8][4];
    float row[SUMS<GRAD>][2][4];
};

/* Columns [16 s, 16 s + 16) of a stage: the sums G, H and D with the low-rank
 * products, their use, and what comes of it back into shared memory. */
template <bool GRAD>
static __device__ __forceinline__ void
step(kept<GRAD> &k, bf16 *const (&tile)[INPUTS<GRAD>],
     const uint32_t (&u)[INPUTS<GRAD>][4],
     const uint32_t (&turned)[INPUTS<GRAD>][4], const bf16 (*w)[WARP_COLUMNS *
                                                                RANK],
     const factors &p, int s)
{
    const lane_tile down = downwards(), side = sideways();
    float v[INPUTS<GRAD>][2][4] = {};
    uint32_t f[4], word[INPUTS<GRAD>][4];

#pragma unroll
    for (int i = 0; i < 2; i++) {
        load_rows(f, w[i] + narrow_at(16 * s + side.down, side.side));
        both(v[i], u[i], f);
    }
    if constexpr (GRAD) {
        load_columns(f, w[2] + wide_at(down.down, 2 * s + down.side));
        both(v[2], u[2], f);
    }
#pragma unroll
    for (int q = 0; q < 4; q++) { /* pairs: as a first factor has them */
        const int n = q / 2, half = q % 2;
        float x[INPUTS<GRAD>][2];

#pragma unroll
        for (int i = 0; i < INPUTS<GRAD>; i++) {
            const uint32_t old = *pair_of(tile[i], s, n, half);

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
            *pair_of(tile[i], s, n, half) = word[i][q] =
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
            load_columns(f, tile[i] + wide_at(down.down, 2 * s + down.side));
            multiply(k.column[i][2 * s], turned[i], f[0], f[1]);
            multiply(k.column[i][2 * s + 1], turned[i], f[2], f[3]);
        }
    } else {
        load_rows(f, w[2] + wide_at(side.down, 2 * s + side.side));
        both(k.row[0], word[0], f);
    }
}

/* A tile from shared memory to rows from ROW on. */
static __device__ __forceinline__ void put_tile(bf16 *to, const bf16 *tile,
                                                int64_t row, int64_t last,
                                                int64_t column,
                                                int64_t columns)
{
#pragma unroll
    for (int i = threadIdx.x % 32; i < ROWS * 8; i += 32) {
        const int r = i / 8, e = i % 8;

        if (row + r < last && column + 8 * e < columns)
            *(uint4 *)(to + (row + r) * columns + column + 8 * e) =
                *(const uint4 *)(tile + wide_at(r, e));
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
    for (int q = 0; q < WARP_COLUMNS / 16; q++)
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
        put_tile(j.out[i], tile[i], row, last, column, j.f.columns);
}

/* The warps' sums of 16 rows from ROW on, in their order. */
template <bool GRAD>
static __device__ __forceinline__ void
leave_rows(const factors_job &j, const factors_shared<GRAD> *all, int64_t row,
           int64_t last)
{
    const int r = threadIdx.x / RANK, c = threadIdx.x % RANK;

    static_assert(FACTOR_THREADS == ROWS * RANK, "an element a thread");
#pragma unroll
    for (int i = 0; i < SUMS<GRAD>; i++) {
        float sum = 0;

#pragma unroll
        for (int w = 0; w < FACTOR_WARPS; w++)
            sum += all->sums[i][w][threadIdx.x];
        if (row + r < last)
            j.row_parts[((i * j.f.strips + blockIdx.x) * j.f.rows + row + r) *
                            RANK + c] = sum;
    }
}

static __device__ __forceinline__ void
leave_columns(const kept<true> &k, const factors_job &j, int64_t column)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int n = 0; n < WARP_COLUMNS / 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = lane / 4 + 8 * half;
                const int64_t c = column + 8 * n + lane % 4 * 2;

                if (c < j.f.columns)
                    *(float2 *)(j.column_parts +
                                ((int64_t)(i * j.f.slices + blockIdx.y) *
                                     RANK + r) * j.f.columns + c) =
                        { k.column[i][n][2 * half],
                          k.column[i][n][2 * half + 1] };
            }
}

template <bool GRAD>
static __global__ void __launch_bounds__(FACTOR_THREADS, 1)
    factors_slice(const __grid_constant__ factors_job j)
{
    extern __shared__ float4 shared[];
    factors_shared<GRAD> *all = (factors_shared<GRAD> *)shared;
    const int warp = threadIdx.x / 32;
    const int64_t column = (int64_t)blockIdx.x * COLUMNS + WARP_COLUMNS * warp;
    const int64_t parts = (j.f.rows + ROWS - 1) / ROWS;
    int64_t row = parts * blockIdx.y / j.f.slices * ROWS;
    const int64_t last = min(j.f.rows,
                             parts * (blockIdx.y + 1) / j.f.slices * ROWS);
    const int count = (int)((last - row + ROWS - 1) / ROWS);
    kept<GRAD> k = {};

    fetch_tall(all->weight[warp][0], j.weight[0], j.f.r[0], column,
               j.f.columns);
    fetch_tall(all->weight[warp][1], j.weight[1], j.f.r[1], column,
               j.f.columns);
    fetch_wide(all->weight[warp][2], j.weight[2], 0, j.f.r[2], column,
               j.f.columns);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        fetch<GRAD>(&all->stage[s], j, row + s * ROWS, last, column);
        copies_close();
    }
    for (int i = 0; i < count; i++, row += ROWS) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        fetch<GRAD>(&all->stage[(i + STAGES - 1) % STAGES], j,
                    row + (STAGES - 1) * ROWS, last, column);
        copies_close();
        if (i)
            leave_rows<GRAD>(j, all, row - ROWS, last);
        __syncthreads();
        compute<GRAD>(k, all, &all->stage[i % STAGES], j, row, last, column);
    }
    __syncthreads();
    if (count)
        leave_rows<GRAD>(j, all, row - ROWS, last);
    if constexpr (GRAD)
        leave_columns(k, j, column);
}

/* ------------------------------------------------------------- adding parts */

/* Four elements a thread of what is summed over columns. */
static __device__ __forceinline__ void
join_rows(const factors_job &j, int which, int64_t block, float scale,
          int width)
{
    const int64_t i = block * FACTOR_THREADS + threadIdx.x;
    const int64_t row = i / (RANK / 4);
    const int r = (int)(i % (RANK / 4)) * 4;
    float4 sum = { 0, 0, 0, 0 };

    if (row >= j.f.rows || r >= width)
        return;
#pragma unroll 8
    for (int s = 0; s < j.f.strips; s++) {
        const float4 v = *(const float4 *)(
            j.row_parts +
            (((int64_t)which * j.f.strips + s) * j.f.rows + row) * RANK + r);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    *(uint2 *)(j.row_sum[which] + row * width + r) = {
        two(scale * sum.x, scale * sum.y), two(scale * sum.z, scale * sum.w)
    };
}

/* JOIN_COLUMNS of the columns; they change places on their way to [columns,
 * r]. */
static __device__ __forceinline__ void join_columns(const factors_job &j,
                                                    int which, int block)
{
    __shared__ float sums[RANK][JOIN_COLUMNS + 1];
    const int64_t first = (int64_t)block * JOIN_COLUMNS;
    const int width = j.f.r[which];

#pragma unroll
    for (int i = threadIdx.x; i < RANK * JOIN_COLUMNS; i += FACTOR_THREADS) {
        const int r = i / JOIN_COLUMNS, c = i % JOIN_COLUMNS;
        float sum = 0;

        if (first + c < j.f.columns)
#pragma unroll 8
            for (int s = 0; s < j.f.slices; s++)
                sum += j.column_parts[((int64_t)(which * j.f.slices + s) *
                                           RANK + r) * j.f.columns +
                                      first + c];
        sums[r][c] = sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width * JOIN_COLUMNS; i += FACTOR_THREADS) {
        const int c = which < 2 ? i / width : i % JOIN_COLUMNS;
        const int r = which < 2 ? i % width : i / JOIN_COLUMNS;
        float *to = j.weight_sum[which] + (which < 2
                                               ? (first + c) * width + r
                                               : r * j.f.columns + first + c);

        if (first + c < j.f.columns)
            *to = j.f.scale[which] * sums[r][c] +
                  (j.f.add[which] ? *to : 0.0f);
    }
}

/* Blocks: ROW_BLOCKS for each sum over columns, then those over rows. */
template <bool GRAD>
static __global__ void __launch_bounds__(FACTOR_THREADS)
    factors_join(const __grid_constant__ factors_job j, int row_blocks,
                 int column_blocks)
{
    int b = (int)blockIdx.x;

    if (b < SUMS<GRAD> * row_blocks) {
        const int which = b / row_blocks;
        join_rows(j, which, b % row_blocks, GRAD ? j.f.scale[which] : 1.0f,
                  j.f.r[GRAD ? which : 2]);
    } else {
        b -= SUMS<GRAD> * row_blocks;
        join_columns(j, b / column_blocks, b % column_blocks);
    }
}

/* -------------------------------------------------------------- the calls */

static int is_grad(const hone_call *c)
{
    return !strcmp(c->op, "swiglu_factors_grad");
}

static int describe(const hone_call *c, factors *f)
{
    const hone_swiglu_factors_attrs *a =
        (const hone_swiglu_factors_attrs *)c->attrs;
    const int grad = is_grad(c);
    const hone_type *t = c->type + grad;

    memset(f, 0, sizeof *f);
    f->rows = t[0].dim[0];
    f->columns = t[0].dim[1];
    f->scale[0] = (float)a->gate_scale;
    f->scale[1] = (float)a->up_scale;
    f->scale[2] = 1;
    for (int i = 0; i < 3; i++) {
        const int64_t r = i < 2 ? t[2 + 2 * i].dim[1] : t[6].dim[0];

        if (r != 8 && r != RANK)
            return 0;
        f->r[i] = (int)r;
        f->add[i] = grad && cuda_adds(c, i < 2 ? 3 + 2 * i : 6);
    }
    f->strips = (int)cuda_ceil(f->columns, COLUMNS);
    f->slices = 132 / f->strips;
    if (f->slices > f->rows / (LEAST_STAGES * ROWS))
        f->slices = (int)(f->rows / (LEAST_STAGES * ROWS));
    if (f->slices < 1)
        f->slices = 1;
    return f->columns % 8 == 0;
}

static int64_t row_parts(const factors *f, int grad)
{
    return (int64_t)(grad ? SUMS<true> : SUMS<false>) * f->strips * f->rows *
           RANK;
}

/* A block needs more shared memory than cards for desks have. */
static int has_room(const hone_call *c)
{
    return c->device && c->device->arch >= 90 && c->device->arch < 120;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const int grad = is_grad(c);
    factors f;

    (void)threads;
    if (!factor_want(c, need) || !has_room(c) || !describe(c, &f))
        return factor_none(c, err);
    for (uint32_t i = 0; i < c->nout; i++) {
        const int sum = grad && (i == 3 || i == 5 || i == 6);

        if (c->type[c->nin + i].storage != (sum ? HONE_F32 : HONE_BF16))
            return factor_none(c, err);
    }
    need->prepared_bytes = sizeof f;
    need->workspace_bytes =
        (row_parts(&f, grad) +
         (grad ? 3 * f.slices * f.columns * RANK : 0)) *
        (int64_t)sizeof(float);
    return HONE_OK;
}

template <bool GRAD> static cudaError_t allow()
{
    return cudaFuncSetAttribute(factors_slice<GRAD>,
                                cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)sizeof(factors_shared<GRAD>));
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    cudaError_t e;

    (void)threads;
    hone_try(factor_card(c, ctx, err));
    (void)describe(c, (factors *)prepared);
    e = is_grad(c) ? allow<true>() : allow<false>();
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: %s: %s", c->op,
                                        cudaGetErrorString(e));
}

template <bool GRAD>
static void launch(const factors_job &j, cudaStream_t s)
{
    const dim3 grid((unsigned)j.f.strips, (unsigned)j.f.slices);
    const int rows = (int)cuda_ceil(j.f.rows * (RANK / 4), FACTOR_THREADS);
    const int columns = GRAD ? (int)cuda_ceil(j.f.columns, JOIN_COLUMNS) : 0;

    factors_slice<GRAD>
        <<<grid, FACTOR_THREADS, sizeof(factors_shared<GRAD>), s>>>(j);
    factors_join<GRAD>
        <<<(unsigned)(SUMS<GRAD> * rows + 3 * columns), FACTOR_THREADS, 0, s>>>(
            j, rows, columns);
}

/* Inputs from FIRST on: gate, up, gate_u, gate_w, up_u, up_w, w. */
static factors_job job_of(const void *prepared, const hone_ptr *in,
                          void *workspace, int grad)
{
    factors_job j = {};

    j.f = *(const factors *)prepared;
    for (int i = 0; i < 2; i++) {
        j.wide[i] = (const bf16 *)in[i].part[0];
        j.narrow[i] = (const bf16 *)in[2 + 2 * i].part[0];
        j.weight[i] = (const bf16 *)in[3 + 2 * i].part[0];
    }
    j.weight[2] = (const bf16 *)in[6].part[0];
    j.row_parts = (float *)workspace;
    j.column_parts = j.row_parts + row_parts(&j.f, grad);
    return j;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    factors_job j = job_of(prepared, ptr, workspace, 0);

    j.out[0] = (bf16 *)ptr[7].part[0];
    j.row_sum[0] = (bf16 *)ptr[8].part[0];
    launch<false>(j, (cudaStream_t)stream);
}

static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    factors_job j = job_of(prepared, ptr + 1, workspace, 1);
    const hone_ptr *out = ptr + 9;

    j.wide[2] = (const bf16 *)ptr[0].part[0];
    j.narrow[2] = (const bf16 *)ptr[8].part[0];
    for (int i = 0; i < 2; i++) {
        j.out[i] = (bf16 *)out[i].part[0];
        j.row_sum[i] = (bf16 *)out[2 + 2 * i].part[0];
        j.weight_sum[i] = (float *)out[3 + 2 * i].part[0];
    }
    j.weight_sum[2] = (float *)out[6].part[0];
    launch<true>(j, (cudaStream_t)stream);
}

CUDA_KERNELS(factor_swiglu) = {
    { "swiglu_factors", prepare, init, run },
    { "swiglu_factors_grad", prepare, init, grad_run },
    { NULL, NULL, NULL, NULL }
};
