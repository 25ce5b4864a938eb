/* SPDX-License-Identifier: MIT
 *
 * factor.cu -- products with a narrow result: u = x A^T for one factor or for
 * a list of them, du = dy B. A block has a few rows of x; its warps take turns
 * along them, 64 elements at a time, and add up at the end in a fixed order.
 *
 * A thread loads 16 bytes of a row of x, which are elements 8 t to 8 t + 7 of
 * 32, and uses them as what the tensor core calls 2 t, 2 t + 1, 2 t + 8 and
 * 2 t + 9 of two products: in which order a sum is taken is ours to choose, as
 * long as both factors agree.
 */
#include "factor.cuh"

enum { STEP = 64 }; /* elements of a row that a warp takes at a time */

struct narrow {
    int64_t rows;
    int k;        /* of the sum */
    int columns;  /* w has its narrow side as columns: [k, narrow] */
    int m;        /* tiles of 16 rows a block has */
    int n;        /* tiles of 8 columns that the kernel computes */
    uint32_t y;   /* operand of the first result */
    float scale;
    factor_tiles f;
};

struct narrow_job {
    const bf16 *x;
    int64_t rows;
    int k;
    float scale;
    struct {
        const bf16 *w;
        bf16 *y; /* NULL: no such tile; its w is one of another */
        int row; /* of y; of w where its narrow side is columns */
    } tile[FACTOR_TILES];
};

/* Where a lane finds its pieces of x: from AT on, rows of the block counted
 * from there; those behind the last row are the last one again, what comes of
 * them is not written. */
template <int M> struct narrow_rows {
    const bf16 *at;
    int row[M][2];
};

template <int M>
static __device__ __forceinline__ narrow_rows<M> rows_of(const narrow_job &j,
                                                         int64_t row0)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int last = (int)min(j.rows - 1 - row0, (int64_t)16 * M);
    narrow_rows<M> r;

    r.at = j.x + row0 * j.k + threadIdx.x / 32 * STEP + 8 * t;
#pragma unroll
    for (int i = 0; i < 2 * M; i++)
        r.row[i / 2][i % 2] = min(8 * i + g, last) * j.k;
    return r;
}

/* 16 rows of the step K elements further on. */
template <int M>
static __device__ __forceinline__ void load_x(uint4 (&x)[2][2],
                                              const narrow_rows<M> &r, int m,
                                              int k)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint4 *at = (const uint4 *)(r.at + (r.row[m][h] + k));

        x[h][0] = __ldg(at);
        x[h][1] = __ldg(at + 4);
    }
}

/* [STEP, 8 N] of a w with narrow rows into shared memory, in the order in which
 * the products want them: 0, 1, 8, 9, 16, 17, 24, 25, then those 2 behind. */
template <int N>
static __device__ __forceinline__ void stage(const narrow_job &j, bf16 *to,
                                             int k0)
{
    constexpr int ROW = 8 * N + 8;
    int lane = threadIdx.x % 32;

    __syncwarp();
#pragma unroll
    for (int i = lane; i < STEP * N; i += 32) {
        int k = i / N, n = i % N, l = k % 32;
        int at = l / 2 % 4 * 8 + l / 8 * 2 + l % 2;
        const uint4 piece = __ldg((const uint4 *)(
            j.tile[n].w + (int64_t)(k0 + k) * j.tile[n].row));

        *(uint4 *)(to + (k / 32 * 32 + at) * ROW + 8 * n) = piece;
    }
    __syncwarp();
}

/* Half C, of 32, of the warp's step of all tiles' w, from K0 on. */
template <int N, bool COLUMNS>
static __device__ __forceinline__ void load_w(uint32_t (&b)[N][4],
                                              const narrow_job &j, int k0,
                                              int c, bf16 *staged)
{
    const int lane = threadIdx.x % 32;
    const int at = lane / 4 * j.k + k0 + lane % 4 * 8;

    if (COLUMNS && !c)
        stage<N>(j, staged, k0);
#pragma unroll
    for (int n = 0; n < N; n++)
        if (COLUMNS) {
            load_columns(b[n], staged + (32 * c + lane) * (8 * N + 8) + 8 * n);
        } else {
            const uint4 w = __ldg((const uint4 *)(j.tile[n].w + at) + 4 * c);
            b[n][0] = w.x, b[n][1] = w.y, b[n][2] = w.z, b[n][3] = w.w;
        }
}

template <int N>
static __device__ __forceinline__ void add_rows(float (&acc)[N][4],
                                                const uint4 (&x)[2][2], int c,
                                                const uint32_t (&b)[N][4])
{
    const uint4 low = x[0][c], high = x[1][c];
    const uint32_t first[4] = { low.x, high.x, low.y, high.y };
    const uint32_t second[4] = { low.z, high.z, low.w, high.w };

#pragma unroll
    for (int n = 0; n < N; n++) {
        multiply(acc[n], first, b[n][0], b[n][1]);
        multiply(acc[n], second, b[n][2], b[n][3]);
    }
}

/* What the next step needs is asked for as soon as there are registers for it:
 * rows of x when the step is through with its own, behind them w. Of 16 tiles
 * half a step's w is held, and comes when it is needed. */
template <int M, int N, bool COLUMNS>
static __device__ __forceinline__ void accumulate(float (&acc)[M][N][4],
                                                  const narrow_job &j,
                                                  int64_t row0, bf16 *staged)
{
    constexpr int HELD = N > 8 ? 1 : 2;
    const int first = threadIdx.x / 32 * STEP;
    const narrow_rows<M> rows = rows_of<M>(j, row0);
    uint4 x[M][2][2];
    uint32_t b[HELD][N][4];

    if (first >= j.k)
        return;
#pragma unroll
    for (int m = 0; m < M; m++)
        load_x<M>(x[m], rows, m, 0);
#pragma unroll 1
    for (int k0 = first; k0 < j.k; k0 += FACTOR_WARPS * STEP) {
        const int next = k0 + FACTOR_WARPS * STEP;

#pragma unroll
        for (int c0 = 0; c0 < 2; c0 += HELD) {
#pragma unroll
            for (int c = c0; c < c0 + HELD; c++)
                load_w<N, COLUMNS>(b[c - c0], j, k0, c, staged);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int c = c0; c < c0 + HELD; c++)
                    add_rows<N>(acc[m], x[m], c, b[c - c0]);
                if (c0 + HELD == 2 && next < j.k)
                    load_x<M>(x[m], rows, m, next - first);
            }
        }
    }
}

/* The sums of all warps, in an order of its own: those of 4 to 7 are added to
 * those of 0 to 3; then each warp adds up some of the M N tiles. */
template <int M, int N>
static __device__ __forceinline__ void join_warps(float (&acc)[M][N][4],
                                                  float4 *sums)
{
    constexpr int HALF = FACTOR_WARPS / 2;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float4 *mine = sums + warp % HALF * (M * N * 32) + lane;

    __syncthreads();
    if (warp >= HALF)
#pragma unroll
        for (int i = 0; i < M * N; i++) {
            const float (&a)[4] = acc[i / N][i % N];
            mine[32 * i] = { a[0], a[1], a[2], a[3] };
        }
    __syncthreads();
    if (warp < HALF)
#pragma unroll
        for (int i = 0; i < M * N; i++) {
            const float (&a)[4] = acc[i / N][i % N];
            const float4 v = mine[32 * i];
            mine[32 * i] = { a[0] + v.x, a[1] + v.y, a[2] + v.z, a[3] + v.w };
        }
    __syncthreads();
}

static __device__ __forceinline__ float4 add(float4 a, float4 b)
{
    return { a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w };
}

template <int M, int N>
static __device__ __forceinline__ void put_tile(const narrow_job &j, int i,
                                                int64_t row0,
                                                const float4 *sums)
{
    const int m = i / N, n = i % N, lane = threadIdx.x % 32;
    const float4 *from = sums + 32 * i + lane;
    const float4 v = add(add(from[0], from[2 * M * N * 32]),
                         add(from[M * N * 32], from[3 * M * N * 32]));
    const int64_t row = row0 + 16 * m + lane / 4;
    bf16 *to = j.tile[n].y + row * j.tile[n].row + lane % 4 * 2;

    if (!j.tile[n].y)
        return;
    if (row < j.rows)
        *(uint32_t *)to = two(j.scale * v.x, j.scale * v.y);
    if (row + 8 < j.rows)
        *(uint32_t *)(to + 8 * j.tile[n].row) = two(j.scale * v.z,
                                                    j.scale * v.w);
}

/* Of a multiprocessor; where few registers do, the compiler is to know it. */
template <int M, int N> constexpr int BLOCKS = M == 1 && N <= 6 ? 2 : 1;

template <int M, int N, bool COLUMNS>
static __global__ void __launch_bounds__(FACTOR_THREADS, (BLOCKS<M, N>))
    narrow_product(const __grid_constant__ narrow_job j)
{
    extern __shared__ float4 shared[];
    const int warp = threadIdx.x / 32;
    const int64_t row0 = (int64_t)blockIdx.x * 16 * M;
    float acc[M][N][4] = {};

    accumulate<M, N, COLUMNS>(acc, j, row0,
                              (bf16 *)shared +
                                  warp * STEP * (8 * N + 8));
    join_warps<M, N>(acc, shared);
#pragma unroll
    for (int i = 0; i < M * N; i += FACTOR_WARPS)
        if (i + warp < M * N)
            put_tile<M, N>(j, i + warp, row0, shared);
}

/* -------------------------------------------------------------- the calls */

/* Blocks enough for a large card, and no fewer rows a block than that. */
static int rows_of_block(int64_t rows, int n)
{
    if (n <= 6 && rows >= 64 * 96)
        return 4;
    return rows >= 32 * 96 ? 2 : 1;
}

/* Sizes that kernels are compiled for. */
static int tiles_of_kernel(int count)
{
    static const int sizes[] = { 2, 4, 6, 8, 16 };
    int i = 0;

    while (sizes[i] < count)
        i++;
    return sizes[i];
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    factor_tiles f = {};
    int columns = !strcmp(c->op, "linear_dx");

    (void)threads;
    if (!factor_want(c, need) || c->type[0].dim[1] % STEP)
        return factor_none(c, err);
    if (!strcmp(c->op, "linear") && c->nin > 2 &&
        c->type[2].storage != HONE_NOTHING)
        return factor_none(c, err);
    for (uint32_t i = 0; i < c->nout; i++)
        if (c->type[c->nin + i].storage != HONE_BF16 || cuda_adds(c, i) ||
            !factor_add(&f, (int)i, c->type[1 + i].dim[columns]))
            return factor_none(c, err);
    need->prepared_bytes = sizeof(narrow);
    return HONE_OK;
}

template <int M, int N, bool COLUMNS> static size_t shared_bytes(void)
{
    size_t sums = 4 * M * N * 4 * 32 * sizeof(float);
    size_t staged = COLUMNS ? FACTOR_WARPS * STEP * (8 * N + 8) * sizeof(bf16)
                            : 0;

    return sums > staged ? sums : staged;
}

/* F<M, N, COLUMNS>() for the sizes of a prepared call. */
template <template <int, int, bool> class F, bool COLUMNS, class... A>
static auto choose(const narrow *w, A... a)
{
    const int key = w->m * 100 + w->n;

    switch (key) {
    case 402: return F<4, 2, COLUMNS>()(a...);
    case 404: return F<4, 4, COLUMNS>()(a...);
    case 406: return F<4, 6, COLUMNS>()(a...);
    case 202: return F<2, 2, COLUMNS>()(a...);
    case 204: return F<2, 4, COLUMNS>()(a...);
    case 206: return F<2, 6, COLUMNS>()(a...);
    case 208: return F<2, 8, COLUMNS>()(a...);
    case 216: return F<2, 16, COLUMNS>()(a...);
    case 102: return F<1, 2, COLUMNS>()(a...);
    case 104: return F<1, 4, COLUMNS>()(a...);
    case 106: return F<1, 6, COLUMNS>()(a...);
    case 108: return F<1, 8, COLUMNS>()(a...);
    default: return F<1, 16, COLUMNS>()(a...);
    }
}

template <int M, int N, bool COLUMNS> struct allow {
    cudaError_t operator()() const
    {
        return cudaFuncSetAttribute(
            narrow_product<M, N, COLUMNS>,
            cudaFuncAttributeMaxDynamicSharedMemorySize,
            (int)shared_bytes<M, N, COLUMNS>());
    }
};

template <int M, int N, bool COLUMNS> struct launch {
    void operator()(const narrow_job &j, cudaStream_t s) const
    {
        narrow_product<M, N, COLUMNS>
            <<<(unsigned)cuda_ceil(j.rows, 16 * M), FACTOR_THREADS,
               shared_bytes<M, N, COLUMNS>(), s>>>(j);
    }
};

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_linear_attrs *a = (const hone_linear_attrs *)c->attrs;
    narrow *w = (narrow *)prepared;
    cudaError_t e;

    (void)threads;
    hone_try(factor_card(c, ctx, err));
    w->rows = c->type[0].dim[0];
    w->k = (int)c->type[0].dim[1];
    w->columns = !strcmp(c->op, "linear_dx");
    w->scale = (float)a->scale;
    w->y = c->nin;
    for (uint32_t i = 0; i < c->nout; i++)
        factor_add(&w->f, (int)i, c->type[1 + i].dim[w->columns]);
    w->n = tiles_of_kernel(w->f.count);
    w->m = rows_of_block(w->rows, w->n);
    e = w->columns ? choose<allow, true>(w) : choose<allow, false>(w);
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: %s: %s", c->op,
                                        cudaGetErrorString(e));
}

/* Operands: x, a w for each factor, as many results. */
static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const narrow *w = (const narrow *)prepared;
    narrow_job j = {};

    (void)workspace;
    j.x = (const bf16 *)ptr[0].part[0];
    j.rows = w->rows;
    j.k = w->k;
    j.scale = w->scale;
    for (int i = 0; i < w->f.count; i++) {
        const factor_tile *t = &w->f.tile[i];
        j.tile[i].w = (const bf16 *)ptr[1 + t->part].part[0] +
                      (w->columns ? t->column : (int64_t)t->column * w->k);
        j.tile[i].y = (bf16 *)ptr[w->y + (uint32_t)t->part].part[0] +
                      t->column;
        j.tile[i].row = t->row;
    }
    for (int i = w->f.count; i < w->n; i++)
        j.tile[i] = { j.tile[0].w, NULL, j.tile[0].row };
    if (w->columns)
        choose<launch, true>(w, j, (cudaStream_t)stream);
    else
        choose<launch, false>(w, j, (cudaStream_t)stream);
}

CUDA_KERNELS(factor) = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { "linear_list", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
