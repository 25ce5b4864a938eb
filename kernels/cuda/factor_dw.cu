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
    JOIN_COLUMNS = 8 /* few: a thread has one sum to wait for */
};

struct factor_dw {
    int64_t rows, wide; /* wide: columns of the wide operand */
    int slices, n;
    int tall; /* dw is [wide, narrow]; else [narrow, wide] */
    int wide_at, narrow_at, out_at; /* operands; of a list the first ones */
    float scale;
    unsigned char add[FACTOR_TILES];
    factor_tiles f;
};

struct dw_job {
    const bf16 *wide;
    float *partial; /* [slices, columns, 8 n] */
    int64_t rows, columns;
    int slices, tall, n;
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

/* Rows [row, row + ROWS) of the slice; behind LAST there are zeros. */
template <int N>
static __device__ __forceinline__ void fetch(dw_stage<N> *to, const dw_job &j,
                                             int64_t row, int64_t last)
{
    const int64_t first = (int64_t)blockIdx.x * COLUMNS;

#pragma unroll
    for (int i = threadIdx.x; i < ROWS * COLUMNS / 8; i += FACTOR_THREADS) {
        int r = i / (COLUMNS / 8), c = i % (COLUMNS / 8) * 8;
        bool there = row + r < last && first + c < j.columns;
        copy_async(to->wide + r * WIDE + c,
                   there ? j.wide + (row + r) * j.columns + first + c : j.wide,
                   there);
    }
    for (int i = threadIdx.x; i < ROWS * N; i += FACTOR_THREADS) {
        int r = i / N, n = i % N;
        bool there = row + r < last && j.tile[n].narrow;
        copy_async(to->narrow + r * (8 * N + 8) + 8 * n,
                   there ? j.tile[n].narrow + (row + r) * j.tile[n].row
                         : j.wide, there);
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
    int64_t parts = (j.rows + ROWS - 1) / ROWS;
    int64_t row = parts * blockIdx.y / j.slices * ROWS;
    int64_t last = min(j.rows, parts * (blockIdx.y + 1) / j.slices * ROWS);
    float acc[N][4] = {};

#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        fetch<N>(&stage[s], j, row + s * ROWS, last);
        copies_close();
    }
    for (int s = 0; row < last; s = (s + 1) % STAGES, row += ROWS) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        fetch<N>(&stage[(s + STAGES - 1) % STAGES], j,
                 row + (STAGES - 1) * ROWS, last);
        copies_close();
        add_stage<N>(acc, &stage[s]);
    }
#pragma unroll
    for (int i = 0; i < 2 * N; i++) {
        int64_t column = (int64_t)blockIdx.x * COLUMNS + 16 * warp +
                         i % 2 * 8 + lane / 4;
        if (column < j.columns)
            *(float2 *)(j.partial +
                        (blockIdx.y * j.columns + column) * (8 * N) +
                        i / 2 * 8 + lane % 4 * 2) =
                { acc[i / 2][i % 2 * 2], acc[i / 2][i % 2 * 2 + 1] };
    }
}

static __device__ __forceinline__ void put_sum(const dw_job &j, int n,
                                               int64_t column, float sum)
{
    const auto &t = j.tile[n / 8];
    float *to = t.dw + (j.tall ? column * t.row + n % 8
                               : n % 8 * j.columns + column);

    *to = j.scale * sum + (t.add ? *to : 0.0f);
}

/* A block has JOIN_COLUMNS columns; they change places on their way where dw
 * lies the other way round. */
static __global__ void __launch_bounds__(FACTOR_THREADS)
    dw_join(const __grid_constant__ dw_job j)
{
    __shared__ float sums[8 * FACTOR_TILES][JOIN_COLUMNS + 1];
    const int width = 8 * j.n, count = JOIN_COLUMNS * width;
    const int64_t first = (int64_t)blockIdx.x * JOIN_COLUMNS;

    for (int i = threadIdx.x; i < count; i += FACTOR_THREADS) {
        int64_t column = first + i / width;
        float sum = 0;

        if (column < j.columns)
#pragma unroll 16
            for (int s = 0; s < j.slices; s++)
                sum += j.partial[(s * j.columns + column) * width +
                                 i % width];
        if (!j.tall)
            sums[i % width][i / width] = sum;
        else if (column < j.columns && j.tile[i % width / 8].dw)
            put_sum(j, i % width, column, sum);
    }
    if (j.tall)
        return;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += FACTOR_THREADS) {
        int n = i / JOIN_COLUMNS, c = i % JOIN_COLUMNS;
        if (first + c < j.columns && j.tile[n / 8].dw)
            put_sum(j, n, first + c, sums[n][c]);
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
    d->slices = (int)cuda_ceil(2 * 132, cuda_ceil(d->wide, COLUMNS));
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
    j.n = d->n;
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
    dw_join<<<(unsigned)cuda_ceil(d->wide, JOIN_COLUMNS), FACTOR_THREADS, 0,
              (cudaStream_t)stream>>>(j);
}

CUDA_KERNELS(factor_dw) = {
    { "linear_dw", prepare, init, run },
    { "linear_dw_list", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
