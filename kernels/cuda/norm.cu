/* SPDX-License-Identifier: MIT
 *
 * norm.cu -- rmsnorm, its input's gradient and add_rmsnorm. A team of threads
 * has a group of d features: a warp where d is small, a part of one where it is
 * that of a head, else a block. Each thread keeps its features, HELD times
 * eight, in registers between the sums and the results, so that they come from
 * memory once. What is known of them when a kernel is compiled (KIND) lets
 * every load be on its way before the first number is needed.
 */
#include "fp8.cuh"

#include "attrs.h"

enum kind {
    ANY,
    EIGHTS, /* d is a multiple of 8, all is aligned, and bf16 but for w */
    FULL    /* d is what the team can hold besides, and w is bf16 */
};

struct norming {
    int64_t groups;
    int d;
    float eps, offset;
    unsigned char storage[8];
    /* halves: all operands are bf16, halves_but_w: all others; twice: the
     * result in codes, too */
    unsigned char add, halves, halves_but_w, twice;
};

/* The group of this thread's team, its place in the team, what it needs. */
template <int W, int KIND> struct team {
    int64_t group, at;
    int lane, d, wide;

    __device__ team(const norming &n, int aligned)
        : group((int64_t)blockIdx.x * (THREADS / W) + threadIdx.x / W),
          at(group * n.d), lane(threadIdx.x % W), d(n.d),
          wide(KIND != ANY || (aligned && n.d % VECTOR == 0))
    {
        if (W < 32 && group >= n.groups)
            d = 0; /* its warp has others, whose sums it takes part in */
    }
    __device__ bool is_behind(const norming &n) const
    {
        return W >= 32 && group >= n.groups;
    }
    /* Feature of the thread's piece C, and how many of eight there are. */
    __device__ int feature(int c) const { return (c * W + lane) * VECTOR; }
    __device__ int live(int c) const
    {
        if (KIND == FULL && W >= 32)
            return VECTOR;
        if (KIND != ANY)
            return feature(c) < d ? VECTOR : 0;
        return min(VECTOR, d - feature(c));
    }
};

template <int W>
static __device__ float inverse_rms(const norming &n, float squares,
                                    float *sums)
{
    return 1.0f / sqrtf(team_sum<W>(squares, sums) / (float)n.d + n.eps);
}

/* The features held, as they were stored, once more as codes. */
template <int W, int HELD, int KIND>
static __device__ __forceinline__ void
code_held(const team<W, KIND> &t, const float (&v)[HELD][VECTOR], coded to,
          float *shared)
{
    float top = 0;

#pragma unroll
    for (int c = 0; c < HELD; c++)
        if (t.live(c) > 0)
            top = fmaxf(top, top_of(v[c]));
    top = row_top<W>(top, shared);
#pragma unroll
    for (int c = 0; c < HELD; c++)
        if (t.live(c) > 0)
            put_codes(to, t.at + t.feature(c), v[c], top);
    if (t.lane == 0 && t.d)
        to.scales[t.group] = scale_of(top);
}

/* y = x r (w + offset) of the features held, which become y. */
template <int W, int HELD, int KIND>
static __device__ __forceinline__ void
scale_held(const norming &n, const team<W, KIND> &t, float (&x)[HELD][VECTOR],
           float r, cell w, cell y)
{
    float v[VECTOR], g[VECTOR];

#pragma unroll
    for (int c = 0; c < HELD; c++) {
        if (t.live(c) <= 0)
            break;
        load(g, w, t.feature(c), t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = x[c][e] * r * (g[e] + n.offset);
        store(y, t.at + t.feature(c), v, t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            x[c][e] = rounded(y.storage, v[e]);
    }
}

template <int W, int HELD, int KIND>
static __global__ void __launch_bounds__(THREADS)
    rmsnorm(norming n, cell x, cell w, cell y, coded twice, int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W, KIND> t(n, aligned);
    float squares = 0, v[HELD][VECTOR];

    x = known<KIND != ANY>(x), y = known<KIND != ANY>(y);
    w = known<KIND == FULL>(w);
    if (t.is_behind(n))
        return;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        load(v[c], x, t.at + t.feature(c), t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += v[c][e] * v[c][e];
    }
    scale_held(n, t, v, inverse_rms<W>(n, squares, sums), w, y);
    if (twice.codes)
        code_held(t, v, twice, sums);
}

/* The sum is rounded to its storage before the norm reads it. */
template <int W, int HELD, int KIND>
static __global__ void __launch_bounds__(THREADS)
    add_rmsnorm(norming n, cell a, cell b, cell w, cell sum, cell y,
                coded twice, int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W, KIND> t(n, aligned);
    float squares = 0, v[HELD][VECTOR], g[VECTOR];

    a = known<KIND != ANY>(a), b = known<KIND != ANY>(b);
    sum = known<KIND != ANY>(sum), y = known<KIND != ANY>(y);
    w = known<KIND == FULL>(w);
    if (t.is_behind(n))
        return;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        load(v[c], a, t.at + t.feature(c), t.live(c), t.wide);
        load(g, b, t.at + t.feature(c), t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            v[c][e] = rounded(sum.storage, v[c][e] + g[e]);
            squares += v[c][e] * v[c][e];
        }
        store(sum, t.at + t.feature(c), v[c], t.live(c), t.wide);
    }
    scale_held(n, t, v, inverse_rms<W>(n, squares, sums), w, y);
    if (twice.codes)
        code_held(t, v, twice, sums);
}

/* With g = dy (w + offset): dx = r (g - x r^2 mean(g x)). dx may have the
 * bytes of dy: the sums are complete before the first is written. What dx adds
 * to is loaded with the rest. */
template <int W, int HELD, int KIND>
static __global__ void __launch_bounds__(THREADS)
    rmsnorm_dx(norming n, cell dy, cell x, cell w, cell dx, coded twice,
               int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W, KIND> t(n, aligned);
    float squares = 0, mean = 0, v[HELD][VECTOR], g[HELD][VECTOR], s[VECTOR], r;
    float old[HELD][VECTOR] = {};
    cell to = known<KIND != ANY>(dx);

    dy = known<KIND != ANY>(dy), x = known<KIND != ANY>(x);
    w = known<KIND == FULL>(w);
    to.add = 0;
    if (t.is_behind(n))
        return;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        load(v[c], x, t.at + t.feature(c), t.live(c), t.wide);
        load(g[c], dy, t.at + t.feature(c), t.live(c), t.wide);
        if (dx.add)
            load(old[c], to, t.at + t.feature(c), t.live(c), t.wide);
        load(s, w, t.feature(c), t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            g[c][e] *= s[e] + n.offset;
            squares += v[c][e] * v[c][e];
            mean += g[c][e] * v[c][e];
        }
    }
    r = inverse_rms<W>(n, squares, sums);
    mean = team_sum<W>(mean, sums) / (float)n.d * r * r;
#pragma unroll
    for (int c = 0; c < HELD; c++) {
        if (t.live(c) <= 0)
            break;
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            s[e] = r * (g[c][e] - v[c][e] * mean) + old[c][e];
        store(to, t.at + t.feature(c), s, t.live(c), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[c][e] = rounded(dx.storage, s[e]);
    }
    if (twice.codes)
        code_held(t, v, twice, sums);
}

/* -------------------------------------------------------------- the calls */

enum { MOST_FEATURES = 8 * THREADS * VECTOR };

static uint32_t outputs(const hone_call *c)
{
    return strcmp(c->op, "add_rmsnorm") ? 1 : 2;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    hone_call own = cuda_once(c, outputs(c));
    int64_t d = cuda_count(c, c->nin - 1); /* w is the last input */

    (void)threads;
    if (d > MOST_FEATURES)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: groups of more than %d "
                         "features", c->op, (int)MOST_FEATURES);
    hone_try(cuda_twice(c, own.nout, need, err));
    if (need->twice && d != c->type[0].dim[1])
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: codes have a scale a "
                         "row, not a group", c->op);
    return cuda_plain(&own, need, sizeof(norming), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_norm_attrs *a = (const hone_norm_attrs *)c->attrs;
    norming *n = (norming *)prepared;
    int64_t d = cuda_count(c, c->nin - 1); /* w is the last input */

    (void)threads;
    (void)ctx;
    (void)err;
    n->d = (int)d;
    n->groups = cuda_count(c, 0) / d;
    n->eps = (float)a->eps;
    n->offset = (float)a->offset;
    n->add = (unsigned char)cuda_adds(c, 0);
    n->twice = c->nout > outputs(c);
    n->halves_but_w = 1;
    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        n->storage[i] = cuda_storage(c, i);
        n->halves_but_w &= i + 1 == c->nin || i >= c->nin + outputs(c) ||
                           n->storage[i] == HONE_BF16;
    }
    n->halves = n->halves_but_w && n->storage[c->nin - 1] == HONE_BF16;
    return HONE_OK;
}

/* ALIGNED is what the run found of its operands. */
#define LAUNCH_TEAM(kernel, W, HELD, n, stream, ...)                           \
    do {                                                                       \
        auto k = aligned && (n)->halves && (n)->d == W * HELD * VECTOR         \
                     ? kernel<W, HELD, FULL>                                   \
                 : aligned && (n)->halves_but_w && (n)->d % VECTOR == 0        \
                     ? kernel<W, HELD, W <= 32 ? EIGHTS : ANY>                 \
                     : kernel<W, HELD, ANY>;                                   \
        k<<<blocks_for((n)->groups, THREADS / W), THREADS, 0,                  \
            (cudaStream_t)(stream)>>>(*(n), __VA_ARGS__, aligned);             \
    } while (0)

/* A warp holds 256 features at a time, a block 2048. */
#define LAUNCH(kernel, n, stream, ...)                                         \
    do {                                                                       \
        if ((n)->d <= 64)                                                      \
            LAUNCH_TEAM(kernel, 8, 1, n, stream, __VA_ARGS__);                 \
        else if ((n)->d <= 128)                                                \
            LAUNCH_TEAM(kernel, 16, 1, n, stream, __VA_ARGS__);                \
        else if ((n)->d <= 256)                                                \
            LAUNCH_TEAM(kernel, 32, 1, n, stream, __VA_ARGS__);                \
        else if ((n)->d <= 768)                                                \
            LAUNCH_TEAM(kernel, 32, 3, n, stream, __VA_ARGS__);                \
        else if ((n)->d <= 1024)                                               \
            LAUNCH_TEAM(kernel, 32, 4, n, stream, __VA_ARGS__);                \
        else if ((n)->d <= 2048)                                               \
            LAUNCH_TEAM(kernel, THREADS, 1, n, stream, __VA_ARGS__);           \
        else if ((n)->d <= 4096)                                               \
            LAUNCH_TEAM(kernel, THREADS, 2, n, stream, __VA_ARGS__);           \
        else if ((n)->d <= 8192)                                               \
            LAUNCH_TEAM(kernel, THREADS, 4, n, stream, __VA_ARGS__);           \
        else                                                                   \
            LAUNCH_TEAM(kernel, THREADS, 8, n, stream, __VA_ARGS__);           \
    } while (0)

static void rmsnorm_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;
    const int aligned = cuda_aligned(ptr, 3);

    (void)workspace;
    LAUNCH(rmsnorm, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           n->twice ? coded_of(ptr, 3) : coded{});
}

static void rmsnorm_dx_run(const void *prepared, const hone_ptr *ptr,
                           void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;
    const int aligned = cuda_aligned(ptr, 4);

    (void)workspace;
    LAUNCH(rmsnorm_dx, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           cell_of(ptr, 3, n->storage[3], n->add),
           n->twice ? coded_of(ptr, 4) : coded{});
}

static void add_rmsnorm_run(const void *prepared, const hone_ptr *ptr,
                            void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;
    const int aligned = cuda_aligned(ptr, 5);

    (void)workspace;
    LAUNCH(add_rmsnorm, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           cell_of(ptr, 3, n->storage[3]), cell_of(ptr, 4, n->storage[4]),
           n->twice ? coded_of(ptr, 5) : coded{});
}

CUDA_KERNELS(norm) = {
    { "rmsnorm", prepare, init, rmsnorm_run },
    { "rmsnorm_dx", prepare, init, rmsnorm_dx_run },
    { "add_rmsnorm", prepare, init, add_rmsnorm_run },
    { NULL, NULL, NULL, NULL }
};
