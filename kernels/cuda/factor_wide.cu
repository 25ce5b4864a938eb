/* SPDX-License-Identifier: MIT
 *
 * factor_wide.cu -- products over a narrow side, or sums of several: v = u B^T,
 * dx = du A, dx = du_q A_q + du_k A_k + du_v A_v. They write far more than they
 * read. A warp holds its columns of w in registers and goes down the rows, what
 * it reads next on its way meanwhile; nothing is shared and nobody waits. Where
 * a result is added to, its old value is taken in fp32 and rounded once.
 *
 * Which column of w is which of the tensor core is ours to choose: of 32 of
 * them thread t gets 8 t to 8 t + 7 as what four products call 2 t and 2 t + 1,
 * so that it writes 16 bytes at once. So is the order of a sum: 4 t to 4 t + 3
 * are what the core calls 2 t, 2 t + 1, 2 t + 8 and 2 t + 9.
 */
#include "factor.cuh"

enum {
    STEPS = 6,         /* of 16 along the narrow sides, at most */
    GROUP = 32,        /* columns */
    GROUPS = 2,        /* of a warp: a line of 128 bytes */
    MINE = GROUP * GROUPS
};

/* Warps of a block, by steps, and blocks of a multiprocessor. */
template <int S> constexpr int WARPS = S > 2 ? 4 : 8;
template <int S> constexpr int BLOCKS = S == 3 ? 3 : 2;

/* 16 of the narrow side of operands U and U + 1; from FIRST on. */
struct wide_step {
    int u, first, k;
};

struct wide {
    int64_t rows, columns;
    int tall; /* w is [columns, k], else [k, columns] */
    int add, steps;
    uint32_t y; /* operand */
    float scale;
    wide_step step[STEPS];
};

struct wide_job {
    const bf16 *from; /* what is added to; NULL: nothing */
    bf16 *y;
    int64_t rows, columns;
    float scale;
    int rows_of_block;
    struct {
        const bf16 *u, *w; /* at the step's first element */
        int k, left;       /* elements of a row of u; of the step */
    } step[STEPS];
};

/* b: what the group's 32 columns from COLUMN on are to the tensor core. */
template <bool TALL>
static __device__ __forceinline__ void hold_columns(uint32_t (&b)[4][2],
                                                    const wide_job &j, int s,
                                                    int64_t column)
{
    const int g = threadIdx.x % 32 / 4, k = threadIdx.x % 4 * 4;
    const int64_t first = column + g / 2 * 8;
    const bool there = first < j.columns && k < j.step[s].left;

    if constexpr (TALL) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const bf16 *at = j.step[s].w +
                             (first + 2 * n + g % 2) * j.step[s].k + k;
            uint2 v = there ? __ldg((const uint2 *)at) : uint2{ 0, 0 };
            b[n][0] = v.x, b[n][1] = v.y;
        }
    } else {
        const uint32_t which = g % 2 ? 0x7632 : 0x5410;
        uint4 v[4];

#pragma unroll
        for (int i = 0; i < 4; i++)
            v[i] = there ? __ldg((const uint4 *)(j.step[s].w +
                                                 (k + i) * j.columns + first))
                         : uint4{ 0, 0, 0, 0 };
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint4 &p = v[2 * i], &q = v[2 * i + 1];
            b[0][i] = __byte_perm(p.x, q.x, which);
            b[1][i] = __byte_perm(p.y, q.y, which);
            b[2][i] = __byte_perm(p.z, q.z, which);
            b[3][i] = __byte_perm(p.w, q.w, which);
        }
    }
}

/* What 16 rows need: those of u, and what their results are added to. */
template <int S> struct wide_rows {
    uint2 u[S][2];
    uint4 old[GROUPS][2];
};

template <int S>
static __device__ __forceinline__ void fetch(wide_rows<S> &r,
                                             const wide_job &j, int64_t row,
                                             int64_t last, int64_t column)
{
    const int lane = threadIdx.x % 32, k = lane % 4 * 4;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int64_t at = row + 8 * h + lane / 4;

#pragma unroll
        for (int s = 0; s < S; s++)
            r.u[s][h] = at < last && k < j.step[s].left
                            ? __ldg((const uint2 *)(j.step[s].u +
                                                    at * j.step[s].k + k))
                            : uint2{ 0, 0 };
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            const int64_t c = column + GROUP * i + lane % 4 * 8;
            r.old[i][h] = j.from && at < last && c < j.columns
                              ? *(const uint4 *)(j.from + at * j.columns + c)
                              : uint4{ 0, 0, 0, 0 };
        }
    }
}

static __device__ __forceinline__ uint32_t sum_of(float low, float high,
                                                  uint32_t old, float scale)
{
    return two(scale * low + __uint_as_float(old << 16),
               scale * high + __uint_as_float(old & 0xffff0000u));
}

/* By value, that nothing goes by way of memory. */
static __device__ __forceinline__ uint4 either(bool first, uint4 a, uint4 b)
{
    return { first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z,
             first ? a.w : b.w };
}

/* Eight threads write a whole line each time: of a pair of rows the thread of
 * the even one has the first group of both in the end, its neighbour the
 * second. */
static __device__ __forceinline__ void put_lines(const wide_job &j,
                                                 const uint4 (&v)[GROUPS],
                                                 int64_t row, int64_t last,
                                                 int64_t column)
{
    const int lane = threadIdx.x % 32;
    const bool odd = lane / 4 % 2;
    const uint4 send = either(odd, v[0], v[1]);
    const uint4 got = { __shfl_xor_sync(~0u, send.x, 4),
                        __shfl_xor_sync(~0u, send.y, 4),
                        __shfl_xor_sync(~0u, send.z, 4),
                        __shfl_xor_sync(~0u, send.w, 4) };
    const int64_t even = row + lane / 8 * 2;
    const int64_t c = column + GROUP * odd + lane % 4 * 8;

    if (c < j.columns && even < last)
        *(uint4 *)(j.y + even * j.columns + c) = either(odd, got, v[0]);
    if (c < j.columns && even + 1 < last)
        *(uint4 *)(j.y + (even + 1) * j.columns + c) = either(odd, v[1], got);
}

template <int S>
static __device__ __forceinline__ void
put(const wide_rows<S> &r, const uint32_t (&b)[S][GROUPS][4][2],
    const wide_job &j, int64_t row, int64_t last, int64_t column)
{
    uint4 out[2][GROUPS];

#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        float v[4][4] = {};

#pragma unroll
        for (int s = 0; s < S; s++) {
            const uint32_t a[4] = { r.u[s][0].x, r.u[s][1].x, r.u[s][0].y,
                                    r.u[s][1].y };
#pragma unroll
            for (int n = 0; n < 4; n++)
                multiply(v[n], a, b[s][i][n][0], b[s][i][n][1]);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint4 &o = r.old[i][h];

            out[h][i] = { sum_of(v[0][2 * h], v[0][2 * h + 1], o.x, j.scale),
                          sum_of(v[1][2 * h], v[1][2 * h + 1], o.y, j.scale),
                          sum_of(v[2][2 * h], v[2][2 * h + 1], o.z, j.scale),
                          sum_of(v[3][2 * h], v[3][2 * h + 1], o.w, j.scale) };
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++)
        put_lines(j, out[h], row + 8 * h, last, column);
}

/* S: steps along the narrow sides. */
template <int S, bool TALL>
static __global__ void __launch_bounds__(32 * WARPS<S>, BLOCKS<S>)
    wide_product(const __grid_constant__ wide_job j)
{
    const int64_t column = ((int64_t)blockIdx.x * WARPS<S> +
                            threadIdx.x / 32) * MINE;
    int64_t row = (int64_t)blockIdx.y * j.rows_of_block;
    const int64_t last = min(j.rows, row + j.rows_of_block);
    uint32_t b[S][GROUPS][4][2];
    wide_rows<S> now, next;

    if (column >= j.columns)
        return;
    fetch(now, j, row, last, column);
#pragma unroll
    for (int s = 0; s < S; s++)
#pragma unroll
        for (int i = 0; i < GROUPS; i++)
            hold_columns<TALL>(b[s][i], j, s, column + GROUP * i);
    for (; row < last; row += 16) {
        fetch(next, j, row + 16, last, column);
        put(now, b, j, row, last, column);
        now = next;
    }
}

/* -------------------------------------------------------------- the calls */

/* Pairs of x [T,k] and w: [columns, k] of linear, [k, columns] of the others.
 * 0: there are too many of them. */
static int describe(const hone_call *c, wide *d)
{
    const uint32_t inputs = strcmp(c->op, "linear_dx_sum") ? 2 : c->nin;

    memset(d, 0, sizeof *d);
    d->tall = !strcmp(c->op, "linear");
    d->rows = c->type[0].dim[0];
    d->columns = c->type[1].dim[d->tall ? 0 : 1];
    d->add = cuda_adds(c, 0);
    d->y = c->nin;
    d->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    for (uint32_t i = 0; i < inputs; i += 2) {
        const int k = (int)c->type[i].dim[1];

        if (!factor_narrow(k))
            return 0;
        for (int first = 0; first < k; first += 16) {
            if (d->steps == STEPS)
                return 0;
            d->step[d->steps++] = { (int)i, first, k };
        }
    }
    return d->columns % 8 == 0;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    wide d;

    (void)threads;
    if (!factor_want(c, need) || !describe(c, &d) ||
        c->type[c->nin].storage != HONE_BF16 ||
        (d.tall && c->nin > 2 && c->type[2].storage != HONE_NOTHING))
        return factor_none(c, err);
    need->prepared_bytes = sizeof d;
    need->adds_from = 1;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)describe(c, (wide *)prepared);
    return factor_card(c, ctx, err);
}

/* Many rows a block, as long as there are blocks for every multiprocessor. */
template <int S>
static void launch(const wide *d, wide_job &j, cudaStream_t s)
{
    const int64_t across = cuda_ceil(d->columns, WARPS<S> * MINE);

    j.rows_of_block = 128;
    while (j.rows_of_block > 16 &&
           across * cuda_ceil(d->rows, j.rows_of_block) < 2 * 132)
        j.rows_of_block /= 2;
    dim3 grid((unsigned)across,
              (unsigned)cuda_ceil(d->rows, j.rows_of_block));
    if (d->tall)
        wide_product<S, true><<<grid, 32 * WARPS<S>, 0, s>>>(j);
    else
        wide_product<S, false><<<grid, 32 * WARPS<S>, 0, s>>>(j);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const wide *d = (const wide *)prepared;
    cudaStream_t s = (cudaStream_t)stream;
    wide_job j = {};

    (void)workspace;
    j.from = d->add ? (const bf16 *)ptr[d->y + 1].part[0] : NULL;
    j.y = (bf16 *)ptr[d->y].part[0];
    j.rows = d->rows;
    j.columns = d->columns;
    j.scale = d->scale;
    for (int i = 0; i < d->steps; i++) {
        const wide_step *t = &d->step[i];

        j.step[i] = { (const bf16 *)ptr[t->u].part[0] + t->first,
                      (const bf16 *)ptr[t->u + 1].part[0] +
                          (d->tall ? t->first : t->first * d->columns),
                      t->k, t->k - t->first };
    }
    switch (d->steps) {
    case 1: launch<1>(d, j, s); break;
    case 2: launch<2>(d, j, s); break;
    case 3: launch<3>(d, j, s); break;
    case 4: launch<4>(d, j, s); break;
    default: launch<6>(d, j, s);
    }
}

CUDA_KERNELS(factor_wide) = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { "linear_dx_sum", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
