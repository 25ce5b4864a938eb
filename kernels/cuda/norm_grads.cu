/* SPDX-License-Identifier: MIT
 *
 * norm_grads.cu -- rmsnorm_dw, the sum of dy x / rms(x) over all groups, and
 * rmsnorm_grads, which makes the input's gradient on the way. A team of
 * threads has a group at a time, in registers, so that it comes from memory
 * once; a block has a range of groups, and the sums of its teams and of the
 * blocks are added in their order: the shape alone decides which that is.
 */
#include "slices.cuh"

#include "attrs.h"

struct norm_grads {
    int64_t groups;
    int d, slices;
    float eps, offset;
    /* halves: dy, x and dx are bf16 in eights */
    unsigned char dy, x, w, dx, dw, add_dx, add_dw, halves;
};

struct norm_cells {
    cell dy, x, w, dx;
};

/* A team's sums of D columns into those of its block, where that has others. */
template <int W, int HELD>
static __device__ void join_teams(const float (&sum)[HELD][VECTOR], int d,
                                  float *rows, float *partial)
{
    const int team = threadIdx.x / W, lane = threadIdx.x % W;

    rows = W == THREADS ? partial : rows;
#pragma unroll
    for (int c = 0; c < HELD; c++)
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            if ((c * W + lane) * VECTOR + e < d)
                rows[team * d + (c * W + lane) * VECTOR + e] = sum[c][e];
    if (W == THREADS)
        return;
    __syncthreads();
    for (int k = threadIdx.x; k < d; k += THREADS) {
        float all = 0;
        for (int t = 0; t < THREADS / W; t++)
            all += rows[t * d + k];
        partial[k] = all;
    }
}

/* Eight elements as they are kept in registers: bf16 stays what it is. */
template <bool HALVES> struct eight {
    uint32_t word[HALVES ? 4 : VECTOR];
};

static __device__ __forceinline__ void read(float (&v)[VECTOR],
                                            const eight<true> &x)
{
    spread(v, { x.word[0], x.word[1], x.word[2], x.word[3] });
}

static __device__ __forceinline__ void read(float (&v)[VECTOR],
                                            const eight<false> &x)
{
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        v[e] = __uint_as_float(x.word[e]);
}

static __device__ __forceinline__ void take(eight<true> &x, cell from,
                                            int64_t at, int live, int)
{
    const uint4 w = live == VECTOR
                        ? *(const uint4 *)((const __nv_bfloat16 *)from.at + at)
                        : uint4{ 0, 0, 0, 0 };

    x.word[0] = w.x, x.word[1] = w.y, x.word[2] = w.z, x.word[3] = w.w;
}

static __device__ __forceinline__ void take(eight<false> &x, cell from,
                                            int64_t at, int live, int wide)
{
    float v[VECTOR];

    load(v, from, at, live, wide);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        x.word[e] = __float_as_uint(v[e]);
}

/* The thread's elements of a group of D at AT; D 0: the team has none. */
template <int W, int HELD, bool HALVES>
static __device__ __forceinline__ void
take_group(eight<HALVES> (&x)[HELD], cell from, int64_t at, int d, int wide)
{
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        const int k = (c * W + threadIdx.x % W) * VECTOR;
        take(x[c], from, at + k, min(VECTOR, d - k), wide);
    }
}

/* g = dy (w + offset), of piece C. */
template <int W>
static __device__ __forceinline__ void
weigh(float (&g)[VECTOR], const norm_grads &n, cell w, int c, int d, int wide)
{
    const int k = (c * W + threadIdx.x % W) * VECTOR;
    float s[VECTOR];

    load(s, w, k, min(VECTOR, d - k), wide);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        g[e] *= s[e] + n.offset;
}

/* dx = r (g - x r^2 mean(g x)), as norm.cu has it; OLD is added. */
template <int W, int HELD, bool HALVES>
static __device__ __forceinline__ void
write_dx(const norm_grads &n, cell w, cell dx, int64_t at, int d, int wide,
         const eight<HALVES> (&x)[HELD], const eight<HALVES> (&dy)[HELD],
         const eight<HALVES> (&old)[HELD], float r, float *sums)
{
    float v[VECTOR], g[VECTOR], o[VECTOR], mean = 0;

    if (HALVES)
        dx.storage = HONE_BF16;
    dx.add = 0;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        read(v, x[c]);
        read(g, dy[c]);
        weigh<W>(g, n, w, c, d, wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            mean += g[e] * v[e];
    }
    mean = team_sum<W>(mean, sums) / (float)n.d * r * r;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        const int k = (c * W + threadIdx.x % W) * VECTOR;
        read(v, x[c]);
        read(g, dy[c]);
        read(o, old[c]);
        weigh<W>(g, n, w, c, d, wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            o[e] += r * (g[e] - v[e] * mean);
        store(dx, at + k, o, min(VECTOR, d - k), HALVES || wide);
    }
}

/* PARTIAL [slices, d]. All teams of a warp go on together. dx may have the
 * bytes of dy: a group is read before it is written. */
template <int W, int HELD, bool DX, bool HALVES>
static __global__ void __launch_bounds__(THREADS, HELD < 4 && HALVES ? 2 : 1)
    sum_groups(norm_grads n, norm_cells p, float *partial, int wide)
{
    extern __shared__ float rows[];
    __shared__ float sums[THREADS / 32];
    const int64_t last = n.groups * (blockIdx.x + 1) / n.slices;
    int64_t group = n.groups * blockIdx.x / n.slices + threadIdx.x / W;
    int64_t first = n.groups * blockIdx.x / n.slices;
    float sum[HELD][VECTOR] = {}, v[VECTOR], g[VECTOR];
    eight<HALVES> x[HELD], dy[HELD], old[HELD] = {};

    for (; first < last; first += THREADS / W, group += THREADS / W) {
        const int64_t at = group * n.d;
        const int d = group < last ? n.d : 0;
        float squares = 0, r;

        take_group<W, HELD, HALVES>(x, p.x, at, d, wide);
        take_group<W, HELD, HALVES>(dy, p.dy, at, d, wide);
        if (DX && p.dx.add)
            take_group<W, HELD, HALVES>(old, p.dx, at, d, wide);
#pragma unroll
        for (int c = 0; c < HELD; c++) {
            read(v, x[c]);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                squares += v[e] * v[e];
        }
        squares = team_sum<W>(squares, sums);
        r = 1.0f / sqrtf(squares / (float)n.d + n.eps);
#pragma unroll
        for (int c = 0; c < HELD; c++) {
            read(v, x[c]);
            read(g, dy[c]);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                sum[c][e] += g[e] * v[e] * r;
        }
        if (DX)
            write_dx<W, HELD, HALVES>(n, p.w, p.dx, at, d, wide, x, dy, old, r,
                                      sums);
    }
    join_teams<W, HELD>(sum, n.d, rows, partial + (int64_t)blockIdx.x * n.d);
}

/* -------------------------------------------------------------- the calls */

enum { MOST_FEATURES = 8 * THREADS * VECTOR, GROUPS_EACH = 4 };

typedef void (*summing)(norm_grads, norm_cells, float *, int);

/* Kernels for groups of so many features, at most, and their teams. Without
 * and with dx, which is for groups that leave it enough registers; of what
 * comes, and of bf16 in eights. */
#define SUMS(W, HELD) { sum_groups<W, HELD, false, false>,                     \
                        sum_groups<W, HELD, false, true> }
#define GRADS(W, HELD) { sum_groups<W, HELD, true, false>,                     \
                         sum_groups<W, HELD, true, true> }
static const struct {
    int features, teams;
    summing kernel[2][2];
} kernels[] = {
    { 64, THREADS / 8, { SUMS(8, 1), GRADS(8, 1) } },
    { 128, THREADS / 16, { SUMS(16, 1), GRADS(16, 1) } },
    { 256, THREADS / 32, { SUMS(32, 1), GRADS(32, 1) } },
    { 768, THREADS / 32, { SUMS(32, 3), GRADS(32, 3) } },
    { 1024, THREADS / 32, { SUMS(32, 4), GRADS(32, 4) } },
    { 2048, 1, { SUMS(THREADS, 1), GRADS(THREADS, 1) } },
    { 4096, 1, { SUMS(THREADS, 2), GRADS(THREADS, 2) } },
    { 8192, 1, { SUMS(THREADS, 4), { NULL, NULL } } },
    { MOST_FEATURES, 1, { SUMS(THREADS, 8), { NULL, NULL } } },
};

static int kernel_for(int64_t d)
{
    int i = 0;

    while (kernels[i].features < d)
        i++;
    return i;
}

static int has_dx(const hone_call *c)
{
    return !strcmp(c->op, "rmsnorm_grads");
}

/* At most 512 slices of GROUPS_EACH groups a team, and no shorter ones. */
static norm_grads of_call(const hone_call *c, int64_t d)
{
    const hone_norm_attrs *a = (const hone_norm_attrs *)c->attrs;
    const int dx = has_dx(c);
    norm_grads n = {};
    int64_t slices;

    n.d = (int)d;
    n.groups = cuda_count(c, 0) / d;
    slices = n.groups / (GROUPS_EACH * kernels[kernel_for(d)].teams);
    n.slices = (int)(slices < 1 ? 1 : slices > 512 ? 512 : slices);
    n.eps = (float)a->eps;
    n.offset = (float)a->offset;
    n.dy = cuda_storage(c, 0);
    n.x = cuda_storage(c, 1);
    n.w = dx ? cuda_storage(c, 2) : n.x;
    n.dx = dx ? cuda_storage(c, 3) : n.x;
    n.add_dx = (unsigned char)(dx && cuda_adds(c, 0));
    n.dw = cuda_storage(c, dx ? 4 : 2);
    n.add_dw = (unsigned char)cuda_adds(c, (uint32_t)dx);
    n.halves = n.d % VECTOR == 0 && n.dy == HONE_BF16 && n.x == HONE_BF16 &&
               n.dx == HONE_BF16;
    return n;
}

static int64_t group_of(const hone_call *c)
{
    return has_dx(c) ? cuda_count(c, 2)
                     : ((const hone_norm_attrs *)c->attrs)->d;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const int64_t d = group_of(c);

    (void)threads;
    if (d > MOST_FEATURES || !kernels[kernel_for(d)].kernel[has_dx(c)][0])
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: groups of %lld features",
                         c->op, (long long)d);
    need->workspace_bytes = of_call(c, d).slices * d * (int64_t)sizeof(float);
    return cuda_plain(c, need, sizeof(norm_grads), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(norm_grads *)prepared = of_call(c, group_of(c));
    return HONE_OK;
}

static void launch(const norm_grads *n, int dx, const hone_ptr *ptr,
                   void *workspace, hone_stream stream)
{
    const int i = kernel_for(n->d), aligned = cuda_aligned(ptr, dx ? 4 : 2);
    const int shared = kernels[i].teams > 1 ? kernels[i].teams * n->d : 0;
    const norm_cells p = { cell_of(ptr, 0, n->dy), cell_of(ptr, 1, n->x),
                           dx ? cell_of(ptr, 2, n->w) : cell{},
                           dx ? cell_of(ptr, 3, n->dx, n->add_dx) : cell{} };
    float *partial = (float *)workspace;

    kernels[i].kernel[dx][n->halves && aligned]
        <<<(unsigned)n->slices, THREADS, (size_t)shared * sizeof(float),
           (cudaStream_t)stream>>>(*n, p, partial,
                                   aligned && n->d % VECTOR == 0);
    join_slices<<<blocks_for(n->d, 32), JOINERS, 0, (cudaStream_t)stream>>>(
        n->slices, n->d, partial,
        cell_of(ptr, dx ? 4 : 2, n->dw, n->add_dw));
}

static void dw_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                   hone_stream stream)
{
    launch((const norm_grads *)prepared, 0, ptr, workspace, stream);
}

static void grads_run(const void *prepared, const hone_ptr *ptr,
                      void *workspace, hone_stream stream)
{
    launch((const norm_grads *)prepared, 1, ptr, workspace, stream);
}

CUDA_KERNELS(norm_grads) = {
    { "rmsnorm_dw", prepare, init, dw_run },
    { "rmsnorm_grads", prepare, init, grads_run },
    { NULL, NULL, NULL, NULL }
};
