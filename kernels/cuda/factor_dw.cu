/* SPDX-License-Identifier: MIT
 *
 * factor_dw.cu -- gradients of low-rank factors: dA = du^T x for one factor or
 * for a list of them, dB = dy^T u. The wide operand is read once: a block has
 * 128 of its columns over a slice of the rows, and leaves a partial sum; the
 * slices are added in their order, so that no result depends on which block
 * was faster.
 */
#include "factor.cuh"

enum {
    COLUMNS = 16 * FACTOR_WARPS,
    ROWS = 32,   /* of a stage */
    STAGES = 4,
    WIDE = COLUMNS + 8,
    JOIN_COLUMNS = 8 /* there are always whole eights of them */
};

struct factor_dw {
    int64_t rows, wide; /* wide: columns of the wide operand */
    int slices, n;
    int tall; /* dw is [wide, narrow]; else [narrow, wide] */
    int wide_at, narrow_at, out_at; /* operands; of a list the first ones */
    float scale;
    int early;
    unsigned char add[FACTOR_TILES];
    factor_tiles f;
};

struct dw_job {
    const bf16 *wide;
    float *partial; /* [slices, columns, 8 n] */
    int64_t rows, columns;
    int slices, tall;
    float scale;
    struct {
        const bf16 *narrow; /* NULL: no such tile */
        float *dw;
        int row, add;
    } tile[FACTOR_TILES];
};

template <int N> struct dw_stage {
    bf16 wide[ROWS * WIDE], narrow[ROWS * (8 * N + 8)];
};

/* What a thread brings: of each stage eight columns of every EVERY-th row, and
 * of one tile those of every NARROW_EVERY-th row. Pointers go on with the
 * stages, what is LEFT counts down: how many rows there are from the first one
 * on, none where there is no such column or tile. */
enum { EVERY = FACTOR_THREADS / (COLUMNS / 8) };
template <int N> constexpr int NARROW_EVERY = N > 8 ? FACTOR_THREADS / N : ROWS;

struct dw_reader {
    const bf16 *wide, *narrow;
    int64_t step; /* EVERY rows of wide */
    int left, narrow_left, narrow_step;
};

template <int N>
static __device__ __forceinline__ dw_reader reader_of(const dw_job &j,
                                                      int64_t row, int count)
{
    const int r = threadIdx.x / (COLUMNS / 8), tile_r = threadIdx.x / N;
    const int c = (int)blockIdx.x * COLUMNS + threadIdx.x % (COLUMNS / 8) * 8;
    const auto &t = j.tile[threadIdx.x % N];
    const bool there = t.narrow && tile_r < ROWS;

    return { j.wide + (row + r) * j.columns + c,
             there ? t.narrow + (row + tile_r) * t.row : j.wide,
             EVERY * j.columns, c < j.columns ? count - r : 0,
             there ? count - tile_r : 0,
             there ? NARROW_EVERY<N> * t.row : 0 };
}

/* The next ROWS rows of the slice; behind it there are zeros. */
template <int N>
static __device__ __forceinline__ void fetch(dw_stage<N> *to, dw_reader &l)
{
    bf16 *wide = to->wide + threadIdx.x / (COLUMNS / 8) * WIDE +
                 threadIdx.x % (COLUMNS / 8) * 8;
    bf16 *narrow = to->narrow + threadIdx.x / N * (8 * N + 8) +
                   threadIdx.x % N * 8;

#pragma unroll
    for (int h = 0; h < ROWS; h += EVERY, l.wide += l.step)
        copy_async(wide + h * WIDE, l.wide, h < l.left);
    l.left -= ROWS;
    if (N >= 8 || threadIdx.x < ROWS * N) {
#pragma unroll
        for (int h = 0; h < ROWS; h += NARROW_EVERY<N>) {
            copy_async(narrow + h * (8 * N + 8), l.narrow, h < l.narrow_left);
            l.narrow += l.narrow_step;
        }
        l.narrow_left -= ROWS;
    }
}

/* acc (16 columns x 8 N) += wide^T narrow over the rows of a stage. */
template <int N>
static __device__ __forceinline__ void add_stage(float (&acc)[N][4],
                                                 const dw_stage<N> *s)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

#pragma unroll
    for (int k = 0; k < ROWS; k += 16) {
        uint32_t a[4], b[4];

        load_columns(a, s->wide + (k + lane % 8 + lane / 16 * 8) * WIDE +
                            16 * warp + lane / 8 % 2 * 8);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_columns(b, s->narrow + (k + lane % 16) * (8 * N + 8) + 8 * n +
                                lane / 16 * 8);
            multiply(acc[n], a, b[0], b[1]);
            multiply(acc[n + 1], a, b[2], b[3]);
        }
    }
}

template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS)
    dw_slice(const __grid_constant__ dw_job j)
{
    extern __shared__ float4 shared[];
    dw_stage<N> *stage = (dw_stage<N> *)shared;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t parts = (j.rows + ROWS - 1) / ROWS;
    const int64_t row = parts * blockIdx.y / j.slices * ROWS;
    const int64_t end = parts * (blockIdx.y + 1) / j.slices * ROWS;
    const int rows = (int)(min(j.rows, end) - row);
    dw_reader reader = reader_of<N>(j, row, rows);
    float acc[N][4] = {};

#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        fetch<N>(&stage[s], reader);
        copies_close();
    }
    for (int i = 0; i * ROWS < rows; i++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        fetch<N>(&stage[(i + STAGES - 1) % STAGES], reader);
        copies_close();
        add_stage<N>(acc, &stage[i % STAGES]);
    }
    next_may_start();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int64_t column = (int64_t)blockIdx.x * COLUMNS + 16 * warp +
                               8 * h + lane / 4;
        float *to = j.partial +
                    (blockIdx.y * j.columns + column) * (8 * N) + lane % 4 * 2;

        if (column < j.columns)
#pragma unroll
            for (int n = 0; n < N; n++)
                __stcg((float2 *)(to + 8 * n),
                       float2{ acc[n][2 * h], acc[n][2 * h + 1] });
    }
}

/* Of the block's sums the one that a thread has in the end: neighbours of it
 * are neighbours in dw. */
struct dw_place {
    int c, n;
    float *to; /* NULL: there is none */
    float old;
};

template <int N>
static __device__ __forceinline__ dw_place place_of(const dw_job &j, int i)
{
    dw_place p = { i % JOIN_COLUMNS, i / JOIN_COLUMNS, NULL, 0 };

    if (j.tall)
        p.c = i / (8 * N), p.n = i % (8 * N);
    if (i < JOIN_COLUMNS * 8 * N && j.tile[p.n / 8].dw) {
        const auto &t = j.tile[p.n / 8];
        const int64_t column = (int64_t)blockIdx.x * JOIN_COLUMNS + p.c;

        p.to = t.dw + (j.tall ? column * t.row + p.n % 8
                              : p.n % 8 * j.columns + column);
        p.old = t.add ? *p.to : 0.0f;
    }
    return p;
}

/* A block has JOIN_COLUMNS columns; they change places on their way where dw
 * lies the other way round. Each thread adds up four sums over a part of the
 * slices, so that all it waits for is on its way at once; the parts are added
 * in their order. */
template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS)
    dw_join(const __grid_constant__ dw_job j)
{
    constexpr int ROW = 8 * N, WIDE_SUMS = JOIN_COLUMNS * ROW / 4;
    constexpr int PARTS = FACTOR_THREADS / WIDE_SUMS;
    constexpr int MINE = (4 * WIDE_SUMS + FACTOR_THREADS - 1) / FACTOR_THREADS;
    __shared__ __align__(16) float sums[PARTS][JOIN_COLUMNS][ROW + 4];
    const int part = threadIdx.x / WIDE_SUMS;
    const int i = threadIdx.x % WIDE_SUMS * 4;
    const int begin = j.slices * part / PARTS;
    const int count = j.slices * (part + 1) / PARTS - begin;
    dw_place mine[MINE];

    wait_for_last();
#pragma unroll
    for (int k = 0; k < MINE; k++)
        mine[k] = place_of<N>(j, threadIdx.x + k * FACTOR_THREADS);
    if (part < PARTS) {
        const float4 sum = sum_of_parts(
            j.partial + (begin * j.columns +
                         (int64_t)blockIdx.x * JOIN_COLUMNS) * ROW + i,
            j.columns * ROW, count);
        float *to = &sums[part][i / ROW][i % ROW];

        to[0] = sum.x, to[1] = sum.y, to[2] = sum.z, to[3] = sum.w;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < MINE; k++) {
        float all = 0;

        if (!mine[k].to)
            continue;
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            all += sums[p][mine[k].c][mine[k].n];
        *mine[k].to = j.scale * all + mine[k].old;
    }
}

/* -------------------------------------------------------------- the calls */

static int tiles_of_kernel(int count)
{
    return count <= 8 ? count + count % 2 : 16;
}

/* linear_dw has dy and x, one of them narrow; of a list x is wide. */
static int describe(const hone_call *c, factor_dw *d)
{
    int list = c->nin != 2 || !strcmp(c->op, "linear_dw_list");

    memset(d, 0, sizeof *d);
    d->out_at = (int)c->nin;
    d->tall = !list && !factor_narrow(c->type[0].dim[1]);
    d->wide_at = list || d->tall ? 0 : 1;
    d->narrow_at = list || d->tall ? 1 : 0;
    for (uint32_t i = 0; i < c->nout; i++) {
        if (!factor_add(&d->f, (int)i,
                        c->type[d->narrow_at + (int)i].dim[1]) ||
            c->type[c->nin + i].storage != HONE_F32)
            return 0;
        d->add[i] = (unsigned char)cuda_adds(c, i);
    }
    d->rows = c->type[0].dim[0];
    d->wide = c->type[d->wide_at].dim[1];
    d->n = tiles_of_kernel(d->f.count);
    d->slices = (int)(2 * 132 / cuda_ceil(d->wide, COLUMNS));
    if (d->slices > d->rows / (8 * ROWS))
        d->slices = (int)(d->rows / (8 * ROWS));
    if (d->slices < 1)
        d->slices = 1;
    d->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    return d->wide % 8 == 0;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    factor_dw d;

    (void)threads;
    if (!factor_want(c, need) || !describe(c, &d))
        return factor_none(c, err);
    need->prepared_bytes = sizeof d;
    need->workspace_bytes =
        d.slices * d.wide * 8 * d.n * (int64_t)sizeof(float);
    return HONE_OK;
}

#define BY_TILES(n, what)                                                      \
    ((n) == 2   ? what<2>                                                      \
     : (n) == 4 ? what<4>                                                      \
     : (n) == 6 ? what<6>                                                      \
     : (n) == 8 ? what<8>                                                      \
                : what<16>)

template <int N> static int shared_of()
{
    return (int)(STAGES * sizeof(dw_stage<N>));
}

static int shared_bytes(int n)
{
    return BY_TILES(n, shared_of)();
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    factor_dw *d = (factor_dw *)prepared;
    cudaError_t e;

    (void)threads;
    hone_try(factor_card(c, ctx, err));
    (void)describe(c, d);
    d->early = factor_early(ctx);
    e = cudaFuncSetAttribute(BY_TILES(d->n, dw_slice),
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared_bytes(d->n));
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: %s: %s", c->op,
                                        cudaGetErrorString(e));
}

static dw_job job_of(const factor_dw *d, const hone_ptr *ptr, void *workspace)
{
    dw_job j = {};

    j.wide = (const bf16 *)ptr[d->wide_at].part[0];
    j.partial = (float *)workspace;
    j.rows = d->rows;
    j.columns = d->wide;
    j.slices = d->slices;
    j.tall = d->tall;
    j.scale = d->scale;
    for (int i = 0; i < d->f.count; i++) {
        const factor_tile *t = &d->f.tile[i];
        j.tile[i].narrow =
            (const bf16 *)ptr[d->narrow_at + t->part].part[0] + t->column;
        j.tile[i].dw = (float *)ptr[d->out_at + t->part].part[0] +
                       (d->tall ? t->column : t->column * d->wide);
        j.tile[i].row = t->row;
        j.tile[i].add = d->add[t->part];
    }
    return j;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const factor_dw *d = (const factor_dw *)prepared;
    const dw_job j = job_of(d, ptr, workspace);
    dim3 grid((unsigned)cuda_ceil(d->wide, COLUMNS), (unsigned)d->slices);

    BY_TILES(d->n, dw_slice)<<<grid, FACTOR_THREADS, (size_t)shared_bytes(d->n),
                               (cudaStream_t)stream>>>(j);
    launch_behind(d->early, (cudaStream_t)stream,
                  (unsigned)(d->wide / JOIN_COLUMNS), BY_TILES(d->n, dw_join),
                  j);
}

CUDA_KERNELS(factor_dw) = {
    { "linear_dw", prepare, init, run },
    { "linear_dw_list", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
