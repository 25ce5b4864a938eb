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
        const bf16 *w; /* NULL: no such tile */
        bf16 *y;
        int row; /* of y; of w where its narrow side is columns */
    } tile[FACTOR_TILES];
};

static __device__ __forceinline__ uint4 row_piece(const narrow_job &j,
                                                  int64_t row, int k)
{
    return row < j.rows ? __ldg((const uint4 *)(j.x + row * j.k + k))
                        : uint4{ 0, 0, 0, 0 };
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
        uint4 piece = { 0, 0, 0, 0 };

        if (j.tile[n].w)
            piece = __ldg((const uint4 *)(j.tile[n].w +
                                          (int64_t)(k0 + k) * j.tile[n].row));
        *(uint4 *)(to + (k / 32 * 32 + at) * ROW + 8 * n) = piece;
    }
    __syncwarp();
}

template <int M, int N, bool COLUMNS>
static __device__ __forceinline__ void accumulate(float (&acc)[M][N][4],
                                                  const narrow_job &j,
                                                  int64_t row0, bf16 *staged)
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

    for (int k0 = threadIdx.x / 32 * STEP; k0 < j.k;
         k0 += FACTOR_WARPS * STEP) {
        uint4 x[M][2][2];

#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int h = 0; h < 4; h++)
                x[m][h / 2][h % 2] = row_piece(j, row0 + 16 * m + h / 2 * 8 + g,
                                               k0 + h % 2 * 32 + 8 * t);
        if (COLUMNS)
            stage<N>(j, staged, k0);
#pragma unroll
        for (int c = 0; c < 2; c++)
#pragma unroll
            for (int n = 0; n < N; n++) {
                uint32_t b[4] = { 0, 0, 0, 0 };

                if (COLUMNS) {
                    load_columns(b, staged + (32 * c + lane) * (8 * N + 8) +
                                        8 * n);
                } else if (j.tile[n].w) {
                    uint4 w = __ldg((const uint4 *)(j.tile[n].w +
                                                    (int64_t)g * j.k + k0 +
                                                    32 * c + 8 * t));
                    b[0] = w.x, b[1] = w.y, b[2] = w.z, b[3] = w.w;
                }
#pragma unroll
                for (int m = 0; m < M; m++) {
                    uint4 low = x[m][0][c], high = x[m][1][c];
                    uint32_t first[4] = { low.x, high.x, low.y, high.y };
                    uint32_t second[4] = { low.z, high.z, low.w, high.w };
                    multiply(acc[m][n], first, b[0], b[1]);
                    multiply(acc[m][n], second, b[2], b[3]);
                }
            }
    }
}

/* The sums of warps [HALF, 2 HALF) are added to those of [0, HALF). */
template <int M, int N>
static __device__ __forceinline__ void join_warps(float (&acc)[M][N][4],
                                                  float *sums)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    for (int half = FACTOR_WARPS / 2; half; half /= 2) {
        float *mine = sums + warp % half * (M * N * 4 * 32) + lane;

        __syncthreads();
        if (warp >= half && warp < 2 * half)
#pragma unroll
            for (int i = 0; i < M * N * 4; i++)
                mine[32 * i] = acc[i / 4 / N][i / 4 % N][i % 4];
        __syncthreads();
        if (warp < half)
#pragma unroll
            for (int i = 0; i < M * N * 4; i++)
                acc[i / 4 / N][i / 4 % N][i % 4] += mine[32 * i];
    }
}

template <int M, int N, bool COLUMNS>
static __global__ void __launch_bounds__(FACTOR_THREADS, 1)
    narrow_product(const __grid_constant__ narrow_job j)
{
    extern __shared__ float4 shared[];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t row0 = (int64_t)blockIdx.x * 16 * M;
    float acc[M][N][4] = {};

    accumulate<M, N, COLUMNS>(acc, j, row0,
                              (bf16 *)shared +
                                  warp * STEP * (8 * N + 8));
    join_warps<M, N>(acc, (float *)shared);
    if (warp)
        return;
#pragma unroll
    for (int i = 0; i < M * N * 2; i++) {
        const int m = i / 2 / N, n = i / 2 % N, h = i % 2;
        int64_t row = row0 + 16 * m + 8 * h + lane / 4;

        if (row < j.rows && j.tile[n].y)
            *(uint32_t *)(j.tile[n].y + row * j.tile[n].row + lane % 4 * 2) =
                two(j.scale * acc[m][n][2 * h], j.scale * acc[m][n][2 * h + 1]);
    }
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
