/* SPDX-License-Identifier: MIT
 *
 * factor_swiglu.cu -- swiglu with the low-rank products around it, and all of
 * their gradients, in one pass over what is wide. A block has COLUMNS of the
 * columns over a slice of the rows; each warp has its own, keeps the factors'
 * part of them in shared memory and goes down the rows. What blocks
 * have in common is left in parts and added in their order: no result depends
 * on which was faster.
 */
#include "factor_swiglu.cuh"

#include <math.h>

enum {
    LEAST_STAGES = 8, /* of a slice */
    JOIN_COLUMNS = 8  /* few: a thread has one sum to wait for */
};

/* The warps' sums of the stage I, in their order: four a thread of some warps,
 * of other ones each time. */
template <bool GRAD>
static __device__ __forceinline__ void
leave_rows(const factors_job &j, factors_stage<GRAD> *s, const row_slice &slice,
           int i)
{
    constexpr int BLOCK = 32 * WARPS<GRAD>, EACH = ROWS * RANK / 4;
    const int t = (threadIdx.x + i * SUMS<GRAD> * EACH) % BLOCK;
    const int which = t / EACH, r = t % EACH / (RANK / 4);
    const int c = t % (RANK / 4) * 4, row = i * ROWS + r;
    float4 sum = { 0, 0, 0, 0 };

    if (which >= SUMS<GRAD> || row >= slice.count)
        return;
#pragma unroll
    for (int w = 0; w < WARPS<GRAD>; w++)
        add_to(sum, *(const float4 *)(sums_of(s, which, w) + sum_at(r, c)));
    __stcg((float4 *)(j.row_parts +
                      ((which * j.f.strips + blockIdx.x) * j.f.rows +
                       slice.first + row) * RANK + c), sum);
}

static __device__ __forceinline__ void
leave_columns(const kept<true> &k, const factors_job &j, int column)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int n = 0; n < 2 * STEPS<true>; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = lane / 4 + 8 * half;
                const int c = column + 8 * n + lane % 4 * 2;

                if (c < j.f.columns)
                    *(float2 *)(j.column_parts +
                                ((int64_t)(i * j.f.slices + blockIdx.y) *
                                     RANK + r) * j.f.columns + c) =
                        { k.column[i][n][2 * half],
                          k.column[i][n][2 * half + 1] };
            }
}

static __device__ __forceinline__ row_slice slice_of(const factors &f)
{
    const int64_t parts = (f.rows + ROWS - 1) / ROWS;
    const int64_t first = parts * blockIdx.y / f.slices * ROWS;
    const int64_t last = parts * (blockIdx.y + 1) / f.slices * ROWS;

    return { first, (int)(min(f.rows, last) - first) };
}

template <bool GRAD>
static __device__ __forceinline__ factors_stage<GRAD> *
stage_of(factors_shared<GRAD> *all, int i)
{
    return &all->stage[i % STAGES<GRAD>];
}

template <bool GRAD, bool EXACT>
static __global__ void __launch_bounds__(32 * WARPS<GRAD>, 1)
    factors_slice(const __grid_constant__ factors_job j)
{
    extern __shared__ float4 shared[];
    factors_shared<GRAD> *all = (factors_shared<GRAD> *)shared;
    const int warp = threadIdx.x / 32;
    const int tile = warp * MINE<GRAD>;
    const int column = (int)blockIdx.x * COLUMNS + WIDTH * tile;
    const row_slice slice = slice_of(j.f);
    const lane_place l =
        place_of<MINE<GRAD>>(slice.first, column, j.f.columns);
    const int count = (slice.count + ROWS - 1) / ROWS;
    kept<GRAD> k = {};
    held<GRAD> h;

#pragma unroll
    for (int t = 0; t < MINE<GRAD>; t++)
        fetch_weights(all->weight[tile + t], j, column + t * WIDTH);
    copies_close();
#pragma unroll
    for (int i = 0; i < AHEAD<GRAD>; i++) {
        fetch<GRAD>(&all->stage[i], j, l, slice, i * ROWS);
        copies_close();
    }
    copies_wait<AHEAD<GRAD>>();
    __syncwarp();
    hold<GRAD>(h, all->weight, tile);
    for (int i = 0; i < count; i++) {
        copies_wait<AHEAD<GRAD> - 1>();
        __syncthreads();
        fetch<GRAD>(stage_of(all, i + AHEAD<GRAD>), j, l, slice,
                    (i + AHEAD<GRAD>) * ROWS);
        copies_close();
        if (i)
            leave_rows<GRAD>(j, stage_of(all, i - 1), slice, i - 1);
        compute<GRAD, EXACT>(k, h, all, stage_of(all, i), j, l, i * ROWS,
                             slice.count);
    }
    next_may_start();
    __syncthreads();
    if (count)
        leave_rows<GRAD>(j, stage_of(all, count - 1), slice, count - 1);
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

    if (row >= j.f.rows || r >= width)
        return;
    const float4 sum = sum_of_parts(
        j.row_parts + ((int64_t)which * j.f.strips * j.f.rows + row) * RANK + r,
        j.f.rows * RANK, j.f.strips);
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

    wait_for_last();
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

/* A large card has a block on each of 132 multiprocessors: as many waves of
 * them as leave the fewest idle in the last, where a block costs what a few
 * rows do. */
static int slices_for(int64_t rows, int strips)
{
    int best = 1;
    int64_t least = INT64_MAX;

    for (int waves = 1; waves <= 4; waves++) {
        const int64_t slices = waves * 132 / strips;
        const int64_t most = rows / (LEAST_STAGES * ROWS);
        const int64_t n = slices > most ? most : slices;
        const int64_t cost =
            waves * (cuda_ceil(rows, n < 1 ? 1 : n) + 4 * ROWS);

        if (cost < least)
            least = cost, best = n < 1 ? 1 : (int)n;
    }
    return best;
}

/* Of a size that no element of bf16 is lost by. */
static int is_power_of_2(double x)
{
    int exponent;

    return fabs(frexp(x, &exponent)) == 0.5 && exponent > -8 && exponent <= 16;
}

static int describe(const hone_call *c, factors *f)
{
    const hone_swiglu_factors_attrs *a =
        (const hone_swiglu_factors_attrs *)c->attrs;
    const int grad = is_grad(c);
    const hone_type *t = c->type + grad;

    memset(f, 0, sizeof *f);
    f->rows = t[0].dim[0];
    f->columns = (int)t[0].dim[1];
    f->scale[0] = (float)a->gate_scale;
    f->scale[1] = (float)a->up_scale;
    f->scale[2] = 1;
    f->exact = is_power_of_2(a->gate_scale) && is_power_of_2(a->up_scale);
    for (int i = 0; i < 3; i++) {
        const int64_t r = i < 2 ? t[2 + 2 * i].dim[1] : t[6].dim[0];

        if (r != 8 && r != RANK)
            return 0;
        f->r[i] = (int)r;
        f->add[i] = grad && cuda_adds(c, i < 2 ? 3 + 2 * i : 6);
    }
    f->strips = (int)cuda_ceil(f->columns, COLUMNS);
    f->slices = slices_for(f->rows, f->strips);
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
         (grad ? (int64_t)3 * f.slices * f.columns * RANK : 0)) *
        (int64_t)sizeof(float);
    return HONE_OK;
}

template <bool GRAD> static cudaError_t allow()
{
    const auto what = cudaFuncAttributeMaxDynamicSharedMemorySize;
    const int bytes = (int)sizeof(factors_shared<GRAD>);
    const cudaError_t e = cudaFuncSetAttribute(factors_slice<GRAD, true>, what,
                                               bytes);

    return e == cudaSuccess ? cudaFuncSetAttribute(factors_slice<GRAD, false>,
                                                   what, bytes)
                            : e;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    cudaError_t e;

    (void)threads;
    hone_try(factor_card(c, ctx, err));
    (void)describe(c, (factors *)prepared);
    ((factors *)prepared)->early = factor_early(ctx);
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

    if (j.f.exact)
        factors_slice<GRAD, true>
            <<<grid, 32 * WARPS<GRAD>, sizeof(factors_shared<GRAD>), s>>>(j);
    else
        factors_slice<GRAD, false>
            <<<grid, 32 * WARPS<GRAD>, sizeof(factors_shared<GRAD>), s>>>(j);
    launch_behind(j.f.early, s, (unsigned)(SUMS<GRAD> * rows + 3 * columns),
                  factors_join<GRAD>, j, rows, columns);
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
