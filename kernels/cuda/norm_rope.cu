/* SPDX-License-Identifier: MIT
 *
 * norm_rope.cu -- norm_rope and norm_rope_dx: heads of 64, 128 or 256 that are
 * normalised and turned. A block has some tokens, whose sines and cosines it
 * makes once for all of their heads; W threads of a warp have a head, eight
 * elements each, and the other half of a pair is with thread ^ W / 2.
 */
#include "device.cuh"

#include "attrs.h"

struct norm_rope {
    int64_t tokens;
    int d, heads, each; /* tokens of a block */
    float eps, offset, factor;
    unsigned char dy, x, w, freq, out, add;
};

/* Cosines, then sines of the block's tokens, [each, d / 2] each. */
static __device__ void make_turns(const norm_rope &n, cell freq,
                                  const int32_t *position, int64_t first,
                                  float *co)
{
    const int m = n.d / 2, count = n.each * m;

    for (int i = threadIdx.x; i < count; i += THREADS) {
        int64_t t = min(first + i / m, n.tokens - 1);
        float s, c;
        sincosf((float)position[t] * get(freq, i % m), &s, &c);
        co[i] = c * n.factor;
        co[count + i] = s * n.factor;
    }
    __syncthreads();
}

/* What turns the thread's elements of a token's heads. */
struct turns {
    int token;
    float co[VECTOR], si[VECTOR];
};

template <int W>
static __device__ __forceinline__ void
take_turns(turns &to, const norm_rope &n, const float4 *co, int token)
{
    const int m = n.d / 2;
    const int at = (token * m + threadIdx.x % (W / 2) * VECTOR) / 4;

    to.token = token;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const float4 c = co[at + k], s = co[at + k + n.each * m / 4];
        float *cs = to.co + 4 * k, *ss = to.si + 4 * k;
        cs[0] = c.x, cs[1] = c.y, cs[2] = c.z, cs[3] = c.w;
        ss[0] = s.x, ss[1] = s.y, ss[2] = s.z, ss[3] = s.w;
    }
}

/* The thread's elements of a head turned, or with SIGN -1 turned back. */
template <int W>
static __device__ __forceinline__ void turn(const turns &t, float sign,
                                            float (&v)[VECTOR])
{
    sign = threadIdx.x % W < W / 2 ? -sign : sign;
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        float other = __shfl_xor_sync(~0u, v[e], W / 2);
        v[e] = v[e] * t.co[e] + sign * other * t.si[e];
    }
}

/* A team has heads that lie behind each other, mostly of one token. Where the
 * I-th of them is, and of which of the block's tokens: one that is behind the
 * team's last, or the block's, is worked on as that is, and not stored. The
 * next one is on its way while one is worked on, the first one while the sines
 * are made. */
struct place {
    int64_t at;
    int token;
    bool stores;
};

template <int W> struct team {
    int64_t first; /* head of the block, among all */
    int heads, each, begin;

    __device__ team(const norm_rope &n)
        : first((int64_t)blockIdx.x * n.each * n.heads),
          heads(n.heads * (int)min((int64_t)n.each,
                                   n.tokens - (int64_t)blockIdx.x * n.each)),
          each((heads + THREADS / W - 1) / (THREADS / W)),
          begin(threadIdx.x / W * each)
    {
    }
    __device__ place at(const norm_rope &n, int i) const
    {
        const int head = min(begin + min(i, each - 1), heads - 1);

        return { (first + head) * n.d + threadIdx.x % W * VECTOR,
                 head / n.heads, begin + i < heads };
    }
};

static __device__ __forceinline__ void copy(float (&to)[VECTOR],
                                            const float (&from)[VECTOR])
{
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        to[e] = from[e];
}

template <int W, bool HALVES>
static __global__ void __launch_bounds__(THREADS)
    norm_rope_kernel(norm_rope n, cell x, cell w, cell freq,
                     const int32_t *position, cell y)
{
    extern __shared__ float4 co[];
    const team<W> mine(n);
    place p = mine.at(n, 0), next;
    turns t;
    float v[VECTOR], g[VECTOR], coming[VECTOR];

    x = known<HALVES>(x), y = known<HALVES>(y);
    load_wide(coming, x, p.at);
    load_wide(g, w, threadIdx.x % W * VECTOR);
    make_turns(n, freq, position, (int64_t)blockIdx.x * n.each, (float *)co);
    take_turns<W>(t, n, co, p.token);
    for (int i = 0; i < mine.each; i++, p = next) {
        float squares = 0, r;

        copy(v, coming);
        next = mine.at(n, i + 1);
        load_wide(coming, x, next.at);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += v[e] * v[e];
        squares = team_sum<W>(squares, (float *)nullptr);
        r = 1.0f / sqrtf(squares / (float)n.d + n.eps);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] *= r * (g[e] + n.offset);
        if (p.token != t.token)
            take_turns<W>(t, n, co, p.token);
        turn<W>(t, 1.0f, v);
        if (p.stores)
            store_wide(y, p.at, v);
    }
}

/* dx may have the bytes of dy: a thread reads what it writes before. */
template <int W, bool HALVES>
static __global__ void __launch_bounds__(THREADS)
    norm_rope_dx_kernel(norm_rope n, cell dy, cell x, cell w, cell freq,
                        const int32_t *position, cell dx)
{
    extern __shared__ float4 co[];
    const team<W> mine(n);
    place p = mine.at(n, 0), next;
    turns t;
    float v[VECTOR], g[VECTOR], s[VECTOR], x_next[VECTOR], dy_next[VECTOR];

    dy = known<HALVES>(dy), x = known<HALVES>(x), dx = known<HALVES>(dx);
    load_wide(x_next, x, p.at);
    load_wide(dy_next, dy, p.at);
    load_wide(s, w, threadIdx.x % W * VECTOR);
    make_turns(n, freq, position, (int64_t)blockIdx.x * n.each, (float *)co);
    take_turns<W>(t, n, co, p.token);
    for (int i = 0; i < mine.each; i++, p = next) {
        float squares = 0, mean = 0, r;

        copy(v, x_next);
        copy(g, dy_next);
        next = mine.at(n, i + 1);
        load_wide(x_next, x, next.at);
        load_wide(dy_next, dy, next.at);
        if (p.token != t.token)
            take_turns<W>(t, n, co, p.token);
        turn<W>(t, -1.0f, g);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            g[e] *= s[e] + n.offset;
            squares += v[e] * v[e];
            mean += g[e] * v[e];
        }
        squares = team_sum<W>(squares, (float *)nullptr);
        mean = team_sum<W>(mean, (float *)nullptr) / (float)n.d;
        r = 1.0f / sqrtf(squares / (float)n.d + n.eps);
        mean *= r * r;
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = r * (g[e] - v[e] * mean);
        if (p.stores)
            store_wide(dx, p.at, v);
    }
}

/* -------------------------------------------------------------- the calls */

static int is_dx(const hone_call *c)
{
    return !strcmp(c->op, "norm_rope_dx");
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const int64_t d = cuda_count(c, 1 + (uint32_t)is_dx(c));

    (void)threads;
    if (d != 64 && d != 128 && d != 256)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: heads of %lld; 64, 128 "
                         "and 256 are covered", c->op, (long long)d);
    return cuda_plain(c, need, sizeof(norm_rope), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_norm_rope_attrs *a = (const hone_norm_rope_attrs *)c->attrs;
    const uint32_t at = (uint32_t)is_dx(c);
    norm_rope *n = (norm_rope *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    n->tokens = c->type[at].dim[0];
    n->d = (int)cuda_count(c, at + 1);
    n->heads = (int)(c->type[at].dim[1] / n->d);
    n->each = 2 * THREADS / n->d;
    n->eps = (float)a->eps;
    n->offset = (float)a->offset;
    n->factor = (float)a->factor;
    n->dy = cuda_storage(c, 0);
    n->x = cuda_storage(c, at);
    n->w = cuda_storage(c, at + 1);
    n->freq = cuda_storage(c, at + 2);
    n->out = cuda_storage(c, at + 4);
    n->add = (unsigned char)cuda_adds(c, 0);
    return HONE_OK;
}

/* Every operand that is moved by sixteen bytes starts at HONE_ALIGN of them,
 * and so does each head. */
#define LAUNCH(kernel, n, stream, ...)                                         \
    do {                                                                       \
        const bool h = (n)->dy == HONE_BF16 && (n)->x == HONE_BF16 &&          \
                       (n)->out == HONE_BF16;                                  \
        auto k = (n)->d == 64 ? (h ? kernel<8, true> : kernel<8, false>)       \
                 : (n)->d == 128                                               \
                     ? (h ? kernel<16, true> : kernel<16, false>)              \
                     : (h ? kernel<32, true> : kernel<32, false>);             \
        k<<<blocks_for((n)->tokens, (n)->each), THREADS,                       \
            (size_t)((n)->each * (n)->d) * sizeof(float),                      \
            (cudaStream_t)(stream)>>>(*(n), __VA_ARGS__);                      \
    } while (0)

static void norm_rope_run(const void *prepared, const hone_ptr *ptr,
                          void *workspace, hone_stream stream)
{
    const norm_rope *n = (const norm_rope *)prepared;

    (void)workspace;
    LAUNCH(norm_rope_kernel, n, stream, cell_of(ptr, 0, n->x),
           cell_of(ptr, 1, n->w), cell_of(ptr, 2, n->freq),
           (const int32_t *)ptr[3].part[0], cell_of(ptr, 4, n->out));
}

static void norm_rope_dx_run(const void *prepared, const hone_ptr *ptr,
                             void *workspace, hone_stream stream)
{
    const norm_rope *n = (const norm_rope *)prepared;

    (void)workspace;
    LAUNCH(norm_rope_dx_kernel, n, stream, cell_of(ptr, 0, n->dy),
           cell_of(ptr, 1, n->x), cell_of(ptr, 2, n->w),
           cell_of(ptr, 3, n->freq), (const int32_t *)ptr[4].part[0],
           cell_of(ptr, 5, n->out, n->add));
}

CUDA_KERNELS(norm_rope) = {
    { "norm_rope", prepare, init, norm_rope_run },
    { "norm_rope_dx", prepare, init, norm_rope_dx_run },
    { NULL, NULL, NULL, NULL }
};
