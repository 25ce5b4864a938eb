/* SPDX-License-Identifier: MIT
 *
 * attention_sm90.cuh -- what the attention kernels for Hopper share. Blocks
 * stay on their multiprocessor and take one item of work after another: a tile
 * of queries or keys of a document and a head, the longest first. A small
 * launch before them makes the lists, because where documents lie is known on
 * the device alone. One warp drives the copy engine, warpgroups of 64 rows each
 * compute; barriers in shared memory stand between them.
 *
 * Copies bring whole tiles: behind a document's last row come rows of others,
 * or zeros behind the tensor's last. Their pairs are masked; where they are a
 * factor of a weight of 0 they have to be finite, which the rows of a cache
 * behind its end need not be: the forward pass clears those.
 */
#ifndef HONE_CUDA_ATTENTION_SM90_CUH
#define HONE_CUDA_ATTENTION_SM90_CUH

#include "attention.cuh"
#include "hopper.cuh"
#include "power.cuh"

#define LOG2E 1.4426950408889634f

/* A tile as it lies in a list. */
struct alignas(16) listed {
    tile t;
    int spare[3];
};

/* What a block works on; head (of k and v in grad_keys) -1: no more. In static
 * shared memory, which a build without code for sm_90a has none of. */
struct item {
    tile t;
    int head;
};

/* In the workspace. counts: tiles of queries, of keys; items taken so far of
 * the first launch, of the second. stats: [heads][2][stat_row], lse in powers
 * of two and delta. */
struct lists {
    int *counts;
    listed *queries, *keys;
    float *stats;
    int64_t stat_row;
};

/* q, k, v, do and the stats as the copy engine reads them. */
struct maps {
    CUtensorMap q, k, v, d_o, stats;
};

/* Lays the workspace out; returns its size. */
int64_t attention_sm90_layout(const attention &, bool grad, void *workspace,
                              lists *);

/* Fills the lists and stats, and clears the rows that belong to no document.
 * QUERY_ROWS, KEY_ROWS: of a tile. */
void attention_sm90_lists(const attention &, const attention_ptr &,
                          const lists &, bool grad, int query_rows,
                          int key_rows, cudaStream_t);

/* The three kernels: open() lets one have the shared memory that it wants, and
 * fails if the build has no code for the card; rows() is the size of its
 * tiles, of stats what one copy brings. */
cudaError_t attention_sm90_forward_open(const attention &);
int attention_sm90_forward_rows(const attention &);
void attention_sm90_forward(const attention &, const attention_ptr &,
                            const maps &, const lists &, cudaStream_t);
cudaError_t attention_sm90_keys_open(const attention &);
int attention_sm90_keys_rows(const attention &, int *stats);
void attention_sm90_keys(const attention &, const attention_ptr &,
                         const maps &, const lists &, cudaStream_t);
cudaError_t attention_sm90_queries_open(const attention &);
int attention_sm90_queries_rows(const attention &);
void attention_sm90_queries(const attention &, const attention_ptr &,
                            const maps &, const lists &, cudaStream_t);

/* F of the plan for the call: one for each size of head, capped or not; small
 * capped ones are padded rather than built for. */
template <template <int, bool> class P, class F>
static auto with_plan(const attention &a, F f)
{
    if (a.d > 128)
        return a.softcap > 0 ? f(P<256, true>()) : f(P<256, false>());
    if (a.softcap > 0)
        return f(P<128, true>());
    return a.d > 64 ? f(P<128, false>()) : f(P<64, false>());
}

template <class K> static cudaError_t allow(K kernel, size_t bytes)
{
    cudaFuncAttributes f;
    cudaError_t e = cudaFuncGetAttributes(&f, kernel);

    if (e == cudaSuccess && !f.sharedSizeBytes)
        e = cudaErrorNoKernelImageForDevice;
    if (e != cudaSuccess)
        return e;
    return cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

/* ----------------------------------------------------------- in the kernels */

/* Place in a ring of N stages, and the parity of its round. */
template <int N> struct ring {
    int at = 0, parity = 0;

    __device__ __forceinline__ void next()
    {
        if (++at == N) {
            at = 0;
            parity ^= 1;
        }
    }
};

static __device__ __forceinline__ char *aligned_room(char *room)
{
    return room + (1024 - room_of(room) % 1024) % 1024;
}

/* For the whole warp, which is done with what the barrier guards. */
static __device__ __forceinline__ void arrive_warp(uint64_t *b)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        arrive(b);
}

/* What lies at WORK, for the whole warp. The lane that reads it is the one that
 * arrives when the warp is done with it: so a read is before the next item's
 * write by what these two threads do, and compute-sanitizer, which counts an
 * arrival for its thread alone, sees that it is. */
static __device__ __forceinline__ item take_item(const item *work)
{
    constexpr int WORDS = sizeof(item) / sizeof(int);
    item got = {};
    int *word = reinterpret_cast<int *>(&got);

    if (threadIdx.x % 32 == 0)
        got = *work;
#pragma unroll
    for (int i = 0; i < WORDS; i++)
        word[i] = __shfl_sync(~0u, word[i], 0);
    return got;
}

/* Over the four threads that share rows. */
static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

/* Whether queries [i, i + QUERIES) see all of the keys [j, j + n). */
static __device__ __forceinline__ bool all_seen(const attention &a,
                                                const tile &t, int i,
                                                int queries, int j, int n)
{
    return j + n - 1 <= place(t, i) && j + n <= t.k_len &&
           i + queries <= t.q_len &&
           (!a.window || j > place(t, i + queries - 1) - a.window);
}

/* Scores of a warpgroup's queries from I on and keys from J on: -infinity
 * where a key is unseen. */
template <int N>
static __device__ __forceinline__ void mask(const attention &a, const tile &t,
                                            float (&s)[N / 2], int i, int j)
{
    const int g = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    const int c = threadIdx.x % 4 * 2;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int at = place(t, i + g + 8 * h) - j - c;
        int last = min(at, t.k_len - 1 - j - c);
        int first = a.window ? at - a.window + 1 : -N;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int k = 0; k < 2; k++)
                if (8 * n + k > last || 8 * n + k < first)
                    s[4 * n + 2 * h + k] = -INFINITY;
    }
}

/* Products under the cap. tanh by one power: what it loses near 0 is 1e-7 of
 * the cap. */
template <int N>
static __device__ __forceinline__ void cap_scores(const attention &a,
                                                  float (&s)[N])
{
    const float to = 2.0f * LOG2E * a.scale / a.softcap;
    const float cap = a.softcap / a.scale;

#pragma unroll
    for (int n = 0; n < N; n++)
        s[n] = cap - 2.0f * cap * __frcp_rn(1.0f + power_of_2(s[n] * to));
}

/* The cap's slope at the score of which WEIGHT was made; LSE in powers of
 * two. */
static __device__ __forceinline__ float cap_slope(const attention &a,
                                                  float weight, float lse)
{
    float t = (__log2f(weight) + lse) / (LOG2E * a.softcap);

    t = fmaxf(t, -1.0f); /* -infinity if the weight is 0 */
    return 1.0f - t * t;
}

/* Columns in four threads, two each, become eight columns in each of them:
 * x[k] of thread c goes to thread k, into x[c]. */
static __device__ __forceinline__ void turn(uint32_t (&x)[4])
{
    const int t = threadIdx.x % 4;

#pragma unroll
    for (int b = 1; b <= 2; b *= 2)
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (!(k & b)) {
                uint32_t send = t & b ? x[k] : x[k | b];
                uint32_t got = __shfl_xor_sync(~0u, send, b);
                if (t & b)
                    x[k] = got;
                else
                    x[k | b] = got;
            }
}

/* A warpgroup's 64 rows of an accumulator to rows of a tensor from AT on, LIVE
 * of them, d of D columns; FACTOR: of a thread's two rows. */
template <int D>
static __device__ __forceinline__ void give_rows(const float (&acc)[D / 2],
                                                 const float (&factor)[2],
                                                 __nv_bfloat16 *at, int stride,
                                                 int live, int d)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int row = threadIdx.x % 128 / 32 * 16 + g;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        __nv_bfloat16 *to = at + (int64_t)(row + 8 * h) * stride;
#pragma unroll
        for (int m = 0; m < D / 32; m++) {
            uint32_t x[4];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                int n = 4 * (4 * m + k) + 2 * h;
                __nv_bfloat162 v = __floats2bfloat162_rn(
                    acc[n] * factor[h], acc[n + 1] * factor[h]);
                x[k] = *reinterpret_cast<uint32_t *>(&v);
            }
            turn(x);
            int column = 8 * (4 * m + t);
            if (row + 8 * h < live && column < d)
                *(uint4 *)(to + column) = { x[0], x[1], x[2], x[3] };
        }
    }
}

#endif
