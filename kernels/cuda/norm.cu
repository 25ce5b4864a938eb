/* SPDX-License-Identifier: MIT
 *
 * norm.cu -- rmsnorm, its input's gradient and add_rmsnorm. A team of threads
 * has a group of d features: a warp where d is small, else a block. It goes
 * over them twice; the second time they come from the cache.
 */
#include "device.cuh"

#include "attrs.h"

struct norming {
    int64_t groups;
    int d;
    float eps, offset;
    unsigned char storage[8];
    unsigned char add;
};

/* The group of this thread's team, its place in the team, what it needs. */
template <int W> struct team {
    int64_t group, at;
    int lane, d, wide;

    __device__ team(const norming &n, int aligned)
        : group((int64_t)blockIdx.x * (THREADS / W) + threadIdx.x / W),
          at(group * n.d), lane(threadIdx.x % W), d(n.d),
          wide(aligned && n.d % VECTOR == 0)
    {
    }
    __device__ int live(int k) const { return min(VECTOR, d - k); }
};

#define FOR_FEATURES(k, t)                                                     \
    for (int k = (t).lane * VECTOR; k < (t).d; k += W * VECTOR)

template <int W>
static __device__ float inverse_rms(const norming &n, float squares,
                                    float *sums)
{
    return 1.0f / sqrtf(team_sum<W>(squares, sums) / (float)n.d + n.eps);
}

template <int W>
static __global__ void __launch_bounds__(THREADS)
    rmsnorm(norming n, cell x, cell w, cell y, int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W> t(n, aligned);
    float squares = 0, v[VECTOR], g[VECTOR], r;

    if (t.group >= n.groups)
        return;
    FOR_FEATURES(k, t) {
        load(v, x, t.at + k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += v[e] * v[e];
    }
    r = inverse_rms<W>(n, squares, sums);
    FOR_FEATURES(k, t) {
        load(v, x, t.at + k, t.live(k), t.wide);
        load(g, w, k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = v[e] * r * (g[e] + n.offset);
        store(y, t.at + k, v, t.live(k), t.wide);
    }
}

/* The sum is rounded to its storage before the norm reads it. */
template <int W>
static __global__ void __launch_bounds__(THREADS)
    add_rmsnorm(norming n, cell a, cell b, cell w, cell sum, cell y,
                int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W> t(n, aligned);
    float squares = 0, v[VECTOR], g[VECTOR], r;

    if (t.group >= n.groups)
        return;
    FOR_FEATURES(k, t) {
        load(v, a, t.at + k, t.live(k), t.wide);
        load(g, b, t.at + k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            v[e] = rounded(sum.storage, v[e] + g[e]);
            squares += v[e] * v[e];
        }
        store(sum, t.at + k, v, t.live(k), t.wide);
    }
    r = inverse_rms<W>(n, squares, sums);
    FOR_FEATURES(k, t) {
        load(v, sum, t.at + k, t.live(k), t.wide);
        load(g, w, k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = v[e] * r * (g[e] + n.offset);
        store(y, t.at + k, v, t.live(k), t.wide);
    }
}

/* With g = dy (w + offset): dx = r (g - x r^2 mean(g x)). dx may have the
 * bytes of dy: the sums are complete before the first is written. */
template <int W>
static __global__ void __launch_bounds__(THREADS)
    rmsnorm_dx(norming n, cell dy, cell x, cell w, cell dx, int aligned)
{
    __shared__ float sums[THREADS / 32];
    team<W> t(n, aligned);
    float squares = 0, mean = 0, v[VECTOR], g[VECTOR], s[VECTOR], r;

    if (t.group >= n.groups)
        return;
    FOR_FEATURES(k, t) {
        load(v, x, t.at + k, t.live(k), t.wide);
        load(g, dy, t.at + k, t.live(k), t.wide);
        load(s, w, k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            squares += v[e] * v[e];
            mean += g[e] * (s[e] + n.offset) * v[e];
        }
    }
    r = inverse_rms<W>(n, squares, sums);
    mean = team_sum<W>(mean, sums) / (float)n.d * r * r;
    FOR_FEATURES(k, t) {
        load(v, x, t.at + k, t.live(k), t.wide);
        load(g, dy, t.at + k, t.live(k), t.wide);
        load(s, w, k, t.live(k), t.wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            g[e] = r * (g[e] * (s[e] + n.offset) - v[e] * mean);
        store(dx, t.at + k, g, t.live(k), t.wide);
    }
}

/* -------------------------------------------------------------- the calls */

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    return cuda_plain(c, need, sizeof(norming), err);
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
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        n->storage[i] = cuda_storage(c, i);
    return HONE_OK;
}

/* A warp reads 256 features at a time. */
#define LAUNCH(kernel, n, stream, ...)                                         \
    do {                                                                       \
        if ((n)->d <= 1024)                                                    \
            kernel<32><<<blocks_for((n)->groups, THREADS / 32), THREADS, 0,    \
                         (cudaStream_t)(stream)>>>(*(n), __VA_ARGS__);         \
        else                                                                   \
            kernel<THREADS><<<blocks_for((n)->groups, 1), THREADS, 0,          \
                              (cudaStream_t)(stream)>>>(*(n), __VA_ARGS__);    \
    } while (0)

static void rmsnorm_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;

    (void)workspace;
    LAUNCH(rmsnorm, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           cuda_aligned(ptr, 3));
}

static void rmsnorm_dx_run(const void *prepared, const hone_ptr *ptr,
                           void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;

    (void)workspace;
    LAUNCH(rmsnorm_dx, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           cell_of(ptr, 3, n->storage[3], n->add), cuda_aligned(ptr, 4));
}

static void add_rmsnorm_run(const void *prepared, const hone_ptr *ptr,
                            void *workspace, hone_stream stream)
{
    const norming *n = (const norming *)prepared;

    (void)workspace;
    LAUNCH(add_rmsnorm, n, stream, cell_of(ptr, 0, n->storage[0]),
           cell_of(ptr, 1, n->storage[1]), cell_of(ptr, 2, n->storage[2]),
           cell_of(ptr, 3, n->storage[3]), cell_of(ptr, 4, n->storage[4]),
           cuda_aligned(ptr, 5));
}

CUDA_KERNELS(norm) = {
    { "rmsnorm", prepare, init, rmsnorm_run },
    { "rmsnorm_dx", prepare, init, rmsnorm_dx_run },
    { "add_rmsnorm", prepare, init, add_rmsnorm_run },
    { NULL, NULL, NULL, NULL }
};
