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
    LEAST_STAGES = 8, /* of a slice */
    JOIN_COLUMNS = 8 /* few: a thread has one sum in the end */
};

struct pair {
    int64_t rows, columns;
    int r, n; /* n: parts of 16 of the narrow side */
    int strips, slices;
    int add; /* to dw */
    float scale;
    int early;
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

/* What a thread brings: of each stage eight columns of every EVERY-th row of
 * dy, and a piece of u. Pointers go on with the stages, LEFT counts down: how
 * many rows there are from its first one on, none where there is no such
 * column. */
enum { EVERY = FACTOR_THREADS / (COLUMNS / 8) };

struct pair_reader {
    const bf16 *dy, *u;
    int64_t step; /* EVERY rows of dy */
    int left, u_left, u_step;
};

template <int N>
static __device__ __forceinline__ pair_reader reader_of(const pair_job &j,
                                                        int64_t row, int count)
{
    const int r = threadIdx.x / (COLUMNS / 8), u_r = threadIdx.x / (2 * N);
    const int c = (int)blockIdx.x * COLUMNS + threadIdx.x % (COLUMNS / 8) * 8;
    const int u_c = threadIdx.x % (2 * N) * 8;

    return { j.dy + (row + r) * j.columns + c, j.u + (row + u_r) * j.r + u_c,
             EVERY * j.columns, c < j.columns ? count - r : 0,
             u_c < j.r ? count - u_r : 0, ROWS * j.r };
}

/* The next ROWS rows; behind the slice, and behind the operands, zeros. */
template <int N>
static __device__ __forceinline__ void fetch(pair_stage<N> *to, pair_reader &l)
{
    bf16 *wide = to->wide + threadIdx.x / (COLUMNS / 8) * WIDE +
                 threadIdx.x % (COLUMNS / 8) * 8;

#pragma unroll
    for (int h = 0; h < ROWS; h += EVERY, l.dy += l.step)
        copy_async(wide + h * WIDE, l.dy, h < l.left);
    l.left -= ROWS;
    if (threadIdx.x < ROWS * 2 * N)
        copy_async(to->narrow + threadIdx.x / (2 * N) * (16 * N + 8) +
                       threadIdx.x % (2 * N) * 8, l.u, l.u_left > 0);
    l.u += l.u_step;
    l.u_left -= ROWS;
}

/* The block's rows of w, to where the sums are afterwards. */
template <int N>
static __device__ __forceinline__ void fetch_weight(bf16 *to, const pair_job &j)
{
    const int64_t first = (int64_t)blockIdx.x * COLUMNS;

#pragma unroll
    for (int h = 0; h < COLUMNS * 2 * N; h += FACTOR_THREADS) {
        const int c = (h + threadIdx.x) / (2 * N);
        const int e = (h + threadIdx.x) % (2 * N) * 8;

        copy_async(to + c * (16 * N + 8) + e, j.w + (first + c) * j.r + e,
                   first + c < j.columns && e < j.r);
    }
}

/* The warp's rows of w as second factors: sums run along its columns. */
template <int N>
static __device__ __forceinline__ void
hold_weight(uint32_t (&b)[WARP_COLUMNS / 16][2 * N][2], const bf16 *w)
{
    const int warp = threadIdx.x / 32;

#pragma unroll
    for (int k = 0; k < WARP_COLUMNS / 16; k++)
#pragma unroll
        for (int n = 0; n < N; n++) {
            uint32_t f[4];

            load_columns(f, lane_rows<16 * N + 8>(
                                w, WARP_COLUMNS * warp + 16 * k, 16 * n));
            b[k][2 * n][0] = f[0], b[k][2 * n][1] = f[1];
            b[k][2 * n + 1][0] = f[2], b[k][2 * n + 1][1] = f[3];
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

/* The warps' shares of du in the stage I, in their order, to rows of the slice
 * from TO on: 16 bytes a thread of some warps, of other ones each time. Where
 * eight threads read two rows at once, these are no neighbours: rows of 24 sums
 * begin in every eighth bank, and those of 16 of neighbours would meet. */
template <int N>
static __device__ __forceinline__ void
leave_rows(float *to, const float (&sums)[FACTOR_WARPS][ROWS * (16 * N + 8)],
           int i, int count)
{
    constexpr int EACH = ROWS * 4 * N;
    const int t = (threadIdx.x + i * EACH) % FACTOR_THREADS;
    const int k = t / (4 * N), c = t % (4 * N) * 4;
    const int r = N > 1 ? k : k / 4 * 4 + k % 2 * 2 + k / 2 % 2;
    float4 sum = { 0, 0, 0, 0 };

    if (t >= EACH || i * ROWS + r >= count)
        return;
#pragma unroll
    for (int w = 0; w < FACTOR_WARPS; w++)
        add_to(sum, *(const float4 *)(sums[w] + r * (16 * N + 8) + c));
    __stcg((float4 *)(to + (i * ROWS + r) * (16 * N) + c), sum);
}

static_assert(sizeof(pair_shared<2>) < 99 * 1024, "shared memory");
static_assert(sizeof(pair_shared<1>::sums) >=
                  COLUMNS * (16 + 8) * sizeof(bf16), "w is there at first");

template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS, 3 - N)
    pair_slice(const __grid_constant__ pair_job j)
{
    extern __shared__ float4 shared[];
    pair_shared<N> *all = (pair_shared<N> *)shared;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t column = (int64_t)blockIdx.x * COLUMNS + WARP_COLUMNS * warp;
    const int64_t parts = (j.rows + ROWS - 1) / ROWS;
    const int64_t row = parts * blockIdx.y / j.slices * ROWS;
    const int64_t last = min(j.rows, parts * (blockIdx.y + 1) / j.slices * ROWS);
    const int rows = (int)(last - row), count = (rows + ROWS - 1) / ROWS;
    float *du = j.du_parts + (blockIdx.x * j.rows + row) * (16 * N);
    pair_reader reader = reader_of<N>(j, row, rows);
    uint32_t b[WARP_COLUMNS / 16][2 * N][2];
    float acc[N][WARP_COLUMNS / 8][4] = {};
    int now = 0, next = STAGES<N> - 1;

    fetch_weight<N>((bf16 *)all->sums, j);
    copies_close();
#pragma unroll
    for (int s = 0; s < STAGES<N> - 1; s++) {
        fetch<N>(&all->stage[s], reader);
        copies_close();
    }
    copies_wait<STAGES<N> - 1>();
    __syncthreads();
    hold_weight<N>(b, (const bf16 *)all->sums);
    for (int i = 0; i < count; i++) {
        copies_wait<STAGES<N> - 2>();
        __syncthreads();
        fetch<N>(&all->stage[next], reader);
        copies_close();
        if (i)
            leave_rows<N>(du, all->sums[(i - 1) % 2], i - 1, rows);
        add_rows<N>(all->sums[i % 2][warp], &all->stage[now], b);
        add_columns<N>(acc, &all->stage[now]);
        next = now;
        now = now + 1 < STAGES<N> ? now + 1 : 0;
    }
    next_may_start();
    __syncthreads();
    if (count)
        leave_rows<N>(du, all->sums[(count - 1) % 2], count - 1, rows);
    float *dw = j.dw_parts +
                ((int64_t)blockIdx.y * 16 * N + lane / 4) * j.columns + column +
                lane % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2 * N; h++, dw += 8 * j.columns)
#pragma unroll
        for (int c = 0; c < WARP_COLUMNS / 8; c++)
            if (column + 8 * c < j.columns)
                __stcg((float2 *)(dw + 8 * c),
                       float2{ acc[h / 2][c][h % 2 * 2],
                               acc[h / 2][c][h % 2 * 2 + 1] });
}

/* ------------------------------------------------------------ adding parts */

/* Four elements of du a thread. */
template <int N>
static __device__ __forceinline__ void join_rows(const pair_job &j)
{
    const int64_t i = (int64_t)blockIdx.x * FACTOR_THREADS + threadIdx.x;
    const int64_t row = i / (4 * N);
    const int r = (int)(i % (4 * N)) * 4;

    if (row >= j.rows || r >= j.r)
        return;
    const float4 sum = sum_of_parts(j.du_parts + row * (16 * N) + r,
                                    j.rows * (16 * N), j.strips);
    *(uint2 *)(j.du + row * j.r + r) = { two(j.scale * sum.x, j.scale * sum.y),
                                         two(j.scale * sum.z,
                                             j.scale * sum.w) };
}

/* JOIN_COLUMNS rows of dw a block; they change places on their way. Each thread
 * adds up four sums over a part of the slices, so that all it waits for is on
 * its way at once; the parts are added in their order. */
template <int N>
static __device__ __forceinline__ void join_columns(const pair_job &j,
                                                    int block)
{
    constexpr int WIDE_SUMS = 16 * N * JOIN_COLUMNS / 4;
    constexpr int PARTS = FACTOR_THREADS / WIDE_SUMS;
    __shared__ float sums[PARTS][16 * N][JOIN_COLUMNS + 1];
    const int64_t first = (int64_t)block * JOIN_COLUMNS;
    const int part = threadIdx.x / WIDE_SUMS, i = threadIdx.x % WIDE_SUMS;
    const int r = i / (JOIN_COLUMNS / 4), c = i % (JOIN_COLUMNS / 4) * 4;
    const int c_to = (int)threadIdx.x / j.r, r_to = (int)threadIdx.x % j.r;
    const bool mine = c_to < JOIN_COLUMNS && first + c_to < j.columns;
    float *to = j.dw + (first + c_to) * j.r + r_to;
    const float old = mine && j.add ? *to : 0.0f;
    const int begin = j.slices * part / PARTS;
    const int count = j.slices * (part + 1) / PARTS - begin;
    const float4 sum = sum_of_parts(
        j.dw_parts + ((int64_t)begin * 16 * N + r) * j.columns + first + c,
        16 * N * j.columns, first + c < j.columns ? count : 0);

    sums[part][r][c] = sum.x, sums[part][r][c + 1] = sum.y;
    sums[part][r][c + 2] = sum.z, sums[part][r][c + 3] = sum.w;
    __syncthreads();
    if (mine) {
        float all = 0;

#pragma unroll
        for (int k = 0; k < PARTS; k++)
            all += sums[k][r_to][c_to];
        *to = j.scale * all + old;
    }
}

static_assert(32 * JOIN_COLUMNS <= FACTOR_THREADS, "one sum a thread");

template <int N>
static __global__ void __launch_bounds__(FACTOR_THREADS)
    pair_join(const __grid_constant__ pair_job j, int row_blocks)
{
    wait_for_last();
    if ((int)blockIdx.x < row_blocks)
        join_rows<N>(j);
    else
        join_columns<N>(j, (int)blockIdx.x - row_blocks);
}

/* -------------------------------------------------------------- the calls */

/* A block on each of 132 multiprocessors: more of them leave more parts. */
static int slices_for(int64_t rows, int strips)
{
    const int64_t most = rows / (LEAST_STAGES * ROWS);
    const int64_t slices = most < 132 / strips ? most : 132 / strips;

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
    p->early = factor_early(ctx);
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
    launch_behind(p->early, s, (unsigned)(rows + columns), pair_join<N>, j,
                  rows);
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
