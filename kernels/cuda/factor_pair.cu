/* SPDX-License-Identifier: MIT
 *
 * factor_pair.cu -- both gradients of y = u B^T, du = dy B and dB = dy^T u,
 * from one reading of dy. A block has COLUMNS of its columns over a slice of
 * the rows: each warp has its own columns, of which it keeps B in registers and
 * dB as sums, and adds its share of du to that of the other warps. What blocks
 * have in common is left in parts and added in their order, so that no result
 * depends on which block was faster.
 */
#include "factor.cuh"

enum {
    WARP_COLUMNS = 64,
    COLUMNS = WARP_COLUMNS * FACTOR_WARPS,
    ROWS = 16, /* of a stage */
    WIDE = COLUMNS + 8,
    LEAST_STAGES = 8, /* of a slice; half of them where blocks are few */
    JOIN_COLUMNS = 8 /* few: a thread has one sum to wait for */
};

struct pair {
    int64_t rows, columns;
    int r, n; /* n: parts of 16 of the narrow side */
    int strips, slices;
    int add; /* to dw */
    float scale;
};

struct pair_job {
    const bf16 *dy, *w, *u;
    float *du_parts; /* [strips, rows, 16 n] */
    float *dw_parts; /* [slices, 16 n, columns] */
    bf16 *du;
    float *dw;
    int64_t rows, columns;
    int r, strips, slices, add;
    float scale;
};

template <int N> struct pair_stage {
    bf16 wide[ROWS * WIDE], narrow[ROWS * (16 * N + 8)];
};

/* Below 99 KB, which is what a block has at most on cards for desks. */
template <int N> constexpr int STAGES = N == 1 ? 4 : 3;

template <int N> struct pair_shared {
    pair_stage<N> stage[STAGES<N>];
    float sums[2][FACTOR_WARPS][ROWS * (16 * N + 8)];
};

/* Rows [row, row + ROWS); behind LAST, and behind the operands, zeros. */
template <int N>
static __device__ __forceinline__ void fetch(pair_stage<N> *to,
                                             const pair_job &j, int64_t row,
                                             int64_t last)
{
    const int64_t first = (int64_t)blockIdx.x * COLUMNS;

#pragma unroll
    for (int i = threadIdx.x; i < ROWS * COLUMNS / 8; i += FACTOR_THREADS) {
        const int r = i / (COLUMNS / 8), c = i % (COLUMNS / 8) * 8;
        const bool there = row + r < last && first + c < j.columns;
        copy_async(to->wide + r * WIDE + c,
                   there ? j.dy + (row + r) * j.columns + first + c : j.dy,
                   there);
    }
    if (threadIdx.x < ROWS * 2 * N) {
        const int r = threadIdx.x / (2 * N), c = threadIdx.x % (2 * N) * 8;
        const bool there = row + r < last && c < j.r;
        copy_async(to->narrow + r * (16 * N + 8) + c,
                   there ? j.u + (row + r) * j.r + c : j.u, there);
    }
}

/* The warp's rows of w as second factors: sums run along its columns. */
template <int N>
static __device__ __forceinline__ void
hold_weight(uint32_t (&b)[WARP_COLUMNS / 16][2 * N][2], const pair_job &j,
            int64_t column)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int k = 0; k < WARP_COLUMNS / 16; k++)
#pragma unroll
        for (int n = 0; n < 2 * N; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int64_t c = column + 16 * k + 8 * i + lane % 4 * 2;
                const int r = 8 * n + lane / 4;
                const unsigned short *at =
                    (const unsigned short *)j.w + c * j.r + r;

                b[k][n][i] = c < j.columns && r < j.r
                                 ? __ldg(at) | (uint32_t)__ldg(at + j.r) << 16
                                 : 0;
            }
}

/* du's share of the warp, to SUMS: 16 rows of the stage x 16 N. */
template <int N>
static __device__ __forceinline__ void
add_rows(float *sums, const pair_stage<N> *s,
         const uint32_t (&b)[WARP_COLUMNS / 16][2 * N][2])
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float acc[2 * N][4] = {};

#pragma unroll
    for (int k = 0; k < WARP_COLUMNS / 16; k++) {
        uint32_t a[4];

        load_rows(a, lane_rows<WIDE>(s->wide, 0, WARP_COLUMNS * warp + 16 * k));
#pragma unroll
        for (int n = 0; n < 2 * N; n++)
            multiply(acc[n], a, b[k][n][0], b[k][n][1]);
    }
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        *(float2 *)(sums + (lane / 4 + i % 2 * 8) * (16 * N + 8) + i / 2 * 8 +
                    lane % 4 * 2) = { acc[i / 2][i % 2 * 2],
                                      acc[i / 2][i % 2 * 2 + 1] };
}

/* dB (16 N x 64 columns of the warp) += u^T dy over the rows of the stage. */
template <int N>
static __device__ __forceinline__ void
add_columns(float (&acc)[N][WARP_COLUMNS / 8][4], const pair_stage<N> *s)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t a[N][4];

#pragma unroll
    for (int n = 0; n < N; n++)
        load_columns(a[n], s->narrow + (lane % 8 + lane / 16 * 8) *
                                           (16 * N + 8) +
                               16 * n + lane / 8 % 2 * 8);
#pragma unroll
    for (int c = 0; c < WARP_COLUMNS / 16; c++) {
        uint32_t b[4];

        load_columns(b, lane_rows<WIDE>(s->wide, 0,
                                        WARP_COLUMNS * warp + 16 * c));
#pragma unroll
        for (int n = 0; n < N; n++) {
            multiply(acc[n][2 * c], a[n], b[0], b[1]);
            multiply(acc[n][2 * c + 1], a[n], b[2], b[3]);
        }
    }
}

/* The warps' shares of du in 16 rows from ROW on, in their order. */
template <int N>
static __device__ __forceinline__ void
leave_rows(const pair_job &j, const float (&sums)[FACTOR_WARPS]
                                                 [ROWS * (16 * N + 8)],
           int64_t row, int64_t last)
{
#pragma unroll
    for (int i = threadIdx.x; i < ROWS * 16 * N; i += FACTOR_THREADS) {
        const int r = i / (16 * N), c = i % (16 * N);
        float sum = 0;

#pragma unroll
        for (int w = 0; w < FACTOR_WARPS; w++)
            sum += sums[w][r * (16 * N + 8) + c];
        if (row + r < last)
            j.du_parts[(blockIdx.x * j.rows + row + r) * (16 * N) + c] = sum;
    }
}

static_assert(sizeof(pair_shared<2>) < 99 * 1024, "shared memory");

template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS, 3 - N)
    pair_slice(const __grid_constant__ pair_job j)
{
    extern __shared__ float4 shared[];
    pair_shared<N> *all = (pair_shared<N> *)shared;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t column = (int64_t)blockIdx.x * COLUMNS + WARP_COLUMNS * warp;
    const int64_t parts = (j.rows + ROWS - 1) / ROWS;
    int64_t row = parts * blockIdx.y / j.slices * ROWS;
    const int64_t last = min(j.rows, parts * (blockIdx.y + 1) / j.slices * ROWS);
    const int count = (int)((last - row + ROWS - 1) / ROWS);
    uint32_t b[WARP_COLUMNS / 16][2 * N][2];
    float acc[N][WARP_COLUMNS / 8][4] = {};

#pragma unroll
    for (int s = 0; s < STAGES<N> - 1; s++) {
        fetch<N>(&all->stage[s], j, row + s * ROWS, last);
        copies_close();
    }
    hold_weight<N>(b, j, column);
    for (int i = 0; i < count; i++, row += ROWS) {
        pair_stage<N> *s = &all->stage[i % STAGES<N>];

        copies_wait<STAGES<N> - 2>();
        __syncthreads();
        fetch<N>(&all->stage[(i + STAGES<N> - 1) % STAGES<N>], j,
                 row + (STAGES<N> - 1) * ROWS, last);
        copies_close();
        if (i)
            leave_rows<N>(j, all->sums[(i - 1) % 2], row - ROWS, last);
        add_rows<N>(all->sums[i % 2][warp], s, b);
        add_columns<N>(acc, s);
    }
    __syncthreads();
    if (count)
        leave_rows<N>(j, all->sums[(count - 1) % 2], row - ROWS, last);
#pragma unroll
    for (int i = 0; i < N * WARP_COLUMNS / 4; i++) {
        const int n = i / (WARP_COLUMNS / 4), c = i / 2 % (WARP_COLUMNS / 8);
        const int r = 16 * n + i % 2 * 8 + lane / 4;
        const int64_t at = column + 8 * c + lane % 4 * 2;

        if (at < j.columns)
            *(float2 *)(j.dw_parts +
                        ((int64_t)blockIdx.y * 16 * N + r) * j.columns + at) =
                { acc[n][c][i % 2 * 2], acc[n][c][i % 2 * 2 + 1] };
    }
}

/* ------------------------------------------------------------ adding parts */

/* Four elements of du a thread. */
template <int N>
static __device__ __forceinline__ void join_rows(const pair_job &j)
{
    const int64_t i = (int64_t)blockIdx.x * FACTOR_THREADS + threadIdx.x;
    const int64_t row = i / (4 * N);
    const int r = (int)(i % (4 * N)) * 4;
    float4 sum = { 0, 0, 0, 0 };

    if (row >= j.rows || r >= j.r)
        return;
#pragma unroll 4
    for (int s = 0; s < j.strips; s++) {
        const float4 v = *(const float4 *)(j.du_parts +
                                           (s * j.rows + row) * (16 * N) + r);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    *(uint2 *)(j.du + row * j.r + r) = { two(j.scale * sum.x, j.scale * sum.y),
                                         two(j.scale * sum.z,
                                             j.scale * sum.w) };
}

/* JOIN_COLUMNS rows of dw a block; they change places on their way. */
template <int N>
static __device__ __forceinline__ void join_columns(const pair_job &j,
                                                    int block)
{
    __shared__ float sums[16 * N][JOIN_COLUMNS + 1];
    const int64_t first = (int64_t)block * JOIN_COLUMNS;

#pragma unroll
    for (int i = threadIdx.x; i < 16 * N * JOIN_COLUMNS; i += FACTOR_THREADS) {
        const int r = i / JOIN_COLUMNS, c = i % JOIN_COLUMNS;
        float sum = 0;

        if (first + c < j.columns)
#pragma unroll 16
            for (int s = 0; s < j.slices; s++)
                sum += j.dw_parts[((int64_t)s * 16 * N + r) * j.columns +
                                  first + c];
        sums[r][c] = sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < j.r * JOIN_COLUMNS; i += FACTOR_THREADS) {
        const int c = i / j.r, r = i % j.r;
        float *to = j.dw + (first + c) * j.r + r;

        if (first + c < j.columns)
            *to = j.scale * sums[r][c] + (j.add ? *to : 0.0f);
    }
}

template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS)
    pair_join(const __grid_constant__ pair_job j, int row_blocks)
{
    if ((int)blockIdx.x < row_blocks)
        join_rows<N>(j);
    else
        join_columns<N>(j, (int)blockIdx.x - row_blocks);
}

/* -------------------------------------------------------------- the calls */

/* Two blocks on each of 132 multiprocessors, or one, of fewer stages. */
static int slices_for(int64_t rows, int strips)
{
    const int64_t most = rows / (LEAST_STAGES * ROWS);
    const int64_t one = 132 / strips, two = 2 * one;
    int64_t slices = two < most ? two : most;

    if (slices < one)
        slices = one < 2 * most ? one : 2 * most;
    return slices < 1 ? 1 : (int)slices;
}

/* dy [T,O], w [O,r], x [T,r]; dx [T,r], dw [O,r]. */
static int describe(const hone_call *c, pair *p)
{
    const int64_t r = c->type[1].dim[1];

    memset(p, 0, sizeof *p);
    if (r < 8 || r > 32 || r % 8 || c->type[0].dim[1] % 8 || cuda_adds(c, 0))
        return 0;
    p->rows = c->type[0].dim[0];
    p->columns = c->type[0].dim[1];
    p->r = (int)r;
    p->n = r > 16 ? 2 : 1;
    p->strips = (int)cuda_ceil(p->columns, COLUMNS);
    p->slices = slices_for(p->rows, p->strips);
    p->add = cuda_adds(c, 1);
    p->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    return 1;
}

static int64_t row_parts(const pair *p)
{
    return p->strips * p->rows * 16 * p->n;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    pair p;

    (void)threads;
    if (!factor_want(c, need) || !describe(c, &p) ||
        c->type[c->nin].storage != HONE_BF16 ||
        c->type[c->nin + 1].storage != HONE_F32)
        return factor_none(c, err);
    need->prepared_bytes = sizeof p;
    need->workspace_bytes =
        (row_parts(&p) + p.slices * p.columns * 16 * p.n) *
        (int64_t)sizeof(float);
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    pair *p = (pair *)prepared;
    cudaError_t e;

    (void)threads;
    hone_try(factor_card(c, ctx, err));
    (void)describe(c, p);
    e = p->n == 1 ? cudaFuncSetAttribute(
                        pair_slice<1>,
                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                        (int)sizeof(pair_shared<1>))
                  : cudaFuncSetAttribute(
                        pair_slice<2>,
                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                        (int)sizeof(pair_shared<2>));
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: %s: %s", c->op,
                                        cudaGetErrorString(e));
}

template <int N>
static void launch(const pair *p, const pair_job &j, cudaStream_t s)
{
    const dim3 grid((unsigned)p->strips, (unsigned)p->slices);
    const int rows = (int)cuda_ceil(p->rows * 4 * N, FACTOR_THREADS);
    const int columns = (int)cuda_ceil(p->columns, JOIN_COLUMNS);

    pair_slice<N><<<grid, FACTOR_THREADS, sizeof(pair_shared<N>), s>>>(j);
    pair_join<N><<<(unsigned)(rows + columns), FACTOR_THREADS, 0, s>>>(j, rows);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const pair *p = (const pair *)prepared;
    const pair_job j = { (const bf16 *)ptr[0].part[0],
                         (const bf16 *)ptr[1].part[0],
                         (const bf16 *)ptr[2].part[0],
                         (float *)workspace,
                         (float *)workspace + row_parts(p),
                         (bf16 *)ptr[3].part[0],
                         (float *)ptr[4].part[0],
                         p->rows, p->columns,
                         p->r, p->strips, p->slices, p->add, p->scale };

    if (p->n == 1)
        launch<1>(p, j, (cudaStream_t)stream);
    else
        launch<2>(p, j, (cudaStream_t)stream);
}

CUDA_KERNELS(factor_pair) = {
    { "linear_grads", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
