/* SPDX-License-Identifier: MIT
 *
 * attention_f32.cu -- attention in fp32 by plain multiply-adds: the one that
 * is compared with other devices digit by digit. Tiles of B queries and B keys
 * lie in shared memory; 8 x 16 threads share the scores and the sums.
 */
#include "attention.cuh"

enum { LANES = 16, BANDS = 8, F32_THREADS = LANES * BANDS };

template <int D> struct sizes {
    static constexpr int B = D <= 64 ? 32 : 16; /* queries, keys of a tile */
    static constexpr int R = B / BANDS;         /* rows of a thread */
    static constexpr int C = B / LANES;         /* columns of a thread */
    static constexpr int E = D / LANES;         /* features of a thread */
    static constexpr int ROW = D + 1;           /* floats: other banks */
    static constexpr int BYTES = 4 * B * ROW + 2 * B * (B + 1);
};

/* Rows [first, end) of a document's head, 0 where there is none. */
template <int D>
static __device__ void take(float *to, const void *from, int64_t row,
                            int stride, int head, int d, int first, int end)
{
    using S = sizes<D>;
    const float *at = (const float *)from + head * d;

    for (int n = threadIdx.x; n < S::B * D; n += F32_THREADS) {
        int i = n / D, e = n % D;
        to[i * S::ROW + e] = first + i < end && e < d
                                 ? at[(row + first + i) * stride + e]
                                 : 0.0f;
    }
}

/* s[r][c] = a[row r] . b[column c] */
template <int D>
static __device__ void dots(float (&s)[sizes<D>::R][sizes<D>::C],
                            const float *a, const float *b)
{
    using S = sizes<D>;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;

#pragma unroll
    for (int r = 0; r < S::R; r++)
#pragma unroll
        for (int c = 0; c < S::C; c++)
            s[r][c] = 0;
#pragma unroll 8
    for (int e = 0; e < D; e++)
#pragma unroll
        for (int r = 0; r < S::R; r++)
#pragma unroll
            for (int c = 0; c < S::C; c++)
                s[r][c] += a[(band + r) * S::ROW + e] *
                           b[(lane + LANES * c) * S::ROW + e];
}

/* acc[row r] += sum over j of p[row r][j] * m[j] */
template <int D>
static __device__ void weigh(float (&acc)[sizes<D>::R][sizes<D>::E],
                             const float *p, const float *m)
{
    using S = sizes<D>;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;

#pragma unroll 4
    for (int j = 0; j < S::B; j++)
#pragma unroll
        for (int r = 0; r < S::R; r++)
#pragma unroll
            for (int e = 0; e < S::E; e++)
                acc[r][e] += p[(band + r) * (S::B + 1) + j] *
                             m[j * S::ROW + lane + LANES * e];
}

template <int D>
static __device__ void give(const float (&acc)[sizes<D>::R][sizes<D>::E],
                            const float *factor, void *to, int64_t row,
                            int stride, int head, int d, int first, int end)
{
    using S = sizes<D>;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;
    float *at = (float *)to + head * d;

#pragma unroll
    for (int r = 0; r < S::R; r++)
#pragma unroll
        for (int e = 0; e < S::E; e++)
            if (first + band + r < end && lane + LANES * e < d)
                at[(row + first + band + r) * stride + lane + LANES * e] =
                    acc[r][e] * (factor ? factor[r] : 1.0f);
}

/* Over the 16 threads that share rows. */
static __device__ __forceinline__ float lanes_max(float x)
{
#pragma unroll
    for (int k = LANES / 2; k; k /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, k));
    return x;
}

static __device__ __forceinline__ float lanes_sum(float x)
{
#pragma unroll
    for (int k = LANES / 2; k; k /= 2)
        x += __shfl_xor_sync(~0u, x, k);
    return x;
}

template <int D>
static __global__ void __launch_bounds__(F32_THREADS)
    forward(attention a, attention_ptr p)
{
    using S = sizes<D>;
    extern __shared__ float room[];
    float *q = room, *k = q + S::B * S::ROW, *v = k + S::B * S::ROW;
    float *weight = v + S::B * S::ROW;
    const int head = blockIdx.y, kv = head / a.group;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;
    float acc[S::R][S::E] = {}, max[S::R], sum[S::R], s[S::R][S::C], slope;
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, gridDim.x - 1 - blockIdx.x, S::B, false, &t))
        return;
    key_range(a, t, t.first, S::B, S::B, &begin, &end);
    take<D>(q, p.q, t.q_at, a.heads * a.d, head, a.d, t.first, t.q_len);
    for (int r = 0; r < S::R; r++)
        max[r] = -INFINITY, sum[r] = 0;
    for (int j = begin; j < end; j += S::B) {
        __syncthreads();
        take<D>(k, p.k, t.k_at, a.kv_heads * a.d, kv, a.d, j, t.k_len);
        take<D>(v, p.v, t.k_at, a.kv_heads * a.d, kv, a.d, j, t.k_len);
        __syncthreads();
        dots<D>(s, q, k);
#pragma unroll
        for (int r = 0; r < S::R; r++) {
            float top = max[r], factor, total = 0;
#pragma unroll
            for (int c = 0; c < S::C; c++) {
                bool seen = sees(a, t, t.first + band + r,
                                 j + lane + LANES * c);
                s[r][c] = seen ? score(a, s[r][c], &slope) : -INFINITY;
                top = fmaxf(top, s[r][c]);
            }
            top = lanes_max(top);
            factor = max[r] == -INFINITY ? 0.0f : expf(max[r] - top);
#pragma unroll
            for (int c = 0; c < S::C; c++) {
                float w = s[r][c] == -INFINITY ? 0.0f : expf(s[r][c] - top);
                weight[(band + r) * (S::B + 1) + lane + LANES * c] = w;
                total += w;
            }
            sum[r] = sum[r] * factor + lanes_sum(total);
            max[r] = top;
#pragma unroll
            for (int e = 0; e < S::E; e++)
                acc[r][e] *= factor;
        }
        __syncthreads();
        weigh<D>(acc, weight, v);
    }
#pragma unroll
    for (int r = 0; r < S::R; r++) {
        int i = t.first + band + r;
        if (lane == 0 && i < t.q_len)
            p.lse[(t.q_at + i) * (int64_t)a.heads + head] =
                sum[r] > 0 ? max[r] + logf(sum[r]) : 0.0f;
        sum[r] = sum[r] > 0 ? 1.0f / sum[r] : 0.0f;
    }
    give<D>(acc, sum, p.out, t.q_at, a.heads * a.d, head, a.d, t.first,
            t.q_len);
}

/* The weight of a pair and its dS, from the products q.k and do.v. */
static __device__ __forceinline__ void pair(const attention &a, const tile &t,
                                            const attention_ptr &p, int head,
                                            int i, int j, float &qk, float &dov)
{
    int64_t at = (int64_t)(t.q_at + i) * a.heads + head;
    float slope, s;

    if (!sees(a, t, i, j)) {
        qk = dov = 0;
        return;
    }
    s = score(a, qk, &slope);
    qk = expf(s - p.lse[at]);
    dov = qk * slope * a.scale * (dov - p.delta[at]);
}

template <int D>
static __global__ void __launch_bounds__(F32_THREADS)
    grad_queries(attention a, attention_ptr p)
{
    using S = sizes<D>;
    extern __shared__ float room[];
    float *q = room, *d_o = q + S::B * S::ROW, *k = d_o + S::B * S::ROW;
    float *v = k + S::B * S::ROW, *ds = v + S::B * S::ROW;
    const int head = blockIdx.y, kv = head / a.group;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;
    float acc[S::R][S::E] = {}, s[S::R][S::C], g[S::R][S::C];
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, gridDim.x - 1 - blockIdx.x, S::B, false, &t))
        return;
    key_range(a, t, t.first, S::B, S::B, &begin, &end);
    take<D>(q, p.q, t.q_at, a.heads * a.d, head, a.d, t.first, t.q_len);
    take<D>(d_o, p.d_o, t.q_at, a.heads * a.d, head, a.d, t.first, t.q_len);
    for (int j = begin; j < end; j += S::B) {
        __syncthreads();
        take<D>(k, p.k, t.k_at, a.kv_heads * a.d, kv, a.d, j, t.k_len);
        take<D>(v, p.v, t.k_at, a.kv_heads * a.d, kv, a.d, j, t.k_len);
        __syncthreads();
        dots<D>(s, q, k);
        dots<D>(g, d_o, v);
#pragma unroll
        for (int r = 0; r < S::R; r++)
#pragma unroll
            for (int c = 0; c < S::C; c++) {
                pair(a, t, p, head, t.first + band + r, j + lane + LANES * c,
                     s[r][c], g[r][c]);
                ds[(band + r) * (S::B + 1) + lane + LANES * c] = g[r][c];
            }
        __syncthreads();
        weigh<D>(acc, ds, k);
    }
    give<D>(acc, NULL, p.dq, t.q_at, a.heads * a.d, head, a.d, t.first,
            t.q_len);
}

/* Rows are keys here, columns queries, of all heads of the group. */
template <int D>
static __global__ void __launch_bounds__(F32_THREADS)
    grad_keys(attention a, attention_ptr p)
{
    using S = sizes<D>;
    extern __shared__ float room[];
    float *q = room, *d_o = q + S::B * S::ROW, *k = d_o + S::B * S::ROW;
    float *v = k + S::B * S::ROW, *ds = v + S::B * S::ROW;
    float *weight = ds + S::B * (S::B + 1);
    const int kv = blockIdx.y;
    const int band = threadIdx.x / LANES * S::R, lane = threadIdx.x % LANES;
    float dk[S::R][S::E] = {}, dv[S::R][S::E] = {};
    float s[S::R][S::C], g[S::R][S::C];
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, blockIdx.x, S::B, true, &t))
        return;
    query_range(a, t, t.first, S::B, S::B, &begin, &end);
    take<D>(k, p.k, t.k_at, a.kv_heads * a.d, kv, a.d, t.first, t.k_len);
    take<D>(v, p.v, t.k_at, a.kv_heads * a.d, kv, a.d, t.first, t.k_len);
    for (int head = kv * a.group; head < (kv + 1) * a.group; head++)
        for (int i = begin; i < end; i += S::B) {
            __syncthreads();
            take<D>(q, p.q, t.q_at, a.heads * a.d, head, a.d, i, t.q_len);
            take<D>(d_o, p.d_o, t.q_at, a.heads * a.d, head, a.d, i, t.q_len);
            __syncthreads();
            dots<D>(s, k, q);
            dots<D>(g, v, d_o);
#pragma unroll
            for (int r = 0; r < S::R; r++)
#pragma unroll
                for (int c = 0; c < S::C; c++) {
                    int at = (band + r) * (S::B + 1) + lane + LANES * c;
                    pair(a, t, p, head, i + lane + LANES * c,
                         t.first + band + r, s[r][c], g[r][c]);
                    weight[at] = s[r][c];
                    ds[at] = g[r][c];
                }
            __syncthreads();
            weigh<D>(dk, ds, q);
            weigh<D>(dv, weight, d_o);
        }
    give<D>(dk, NULL, p.dk, t.k_at, a.kv_heads * a.d, kv, a.d, t.first,
            t.k_len);
    give<D>(dv, NULL, p.dv, t.k_at, a.kv_heads * a.d, kv, a.d, t.first,
            t.k_len);
}

/* -------------------------------------------------------------- launching */

template <int D> static int room_bytes()
{
    return sizes<D>::BYTES * (int)sizeof(float);
}

template <class K> static cudaError_t allow(K kernel, int bytes)
{
    return cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <int D> static cudaError_t open(bool grad)
{
    cudaError_t e;

    if (!grad)
        return allow(forward<D>, room_bytes<D>());
    e = allow(grad_queries<D>, room_bytes<D>());
    return e == cudaSuccess ? allow(grad_keys<D>, room_bytes<D>()) : e;
}

cudaError_t attention_f32_open(const attention &a, bool grad)
{
#define OPEN(D) return open<D>(grad)
    FOR_HEAD_SIZE(a.d, OPEN);
#undef OPEN
}

template <int D>
static void run(const attention &a, const attention_ptr &p, cudaStream_t s)
{
    dim3 grid(most_tiles(a.tokens, a.docs, sizes<D>::B), (unsigned)a.heads);

    forward<D><<<grid, F32_THREADS, room_bytes<D>(), s>>>(a, p);
}

void attention_f32(const attention &a, const attention_ptr &p, cudaStream_t s)
{
#define RUN(D) run<D>(a, p, s)
    FOR_HEAD_SIZE(a.d, RUN);
#undef RUN
}

template <int D>
static void run_grad(const attention &a, const attention_ptr &p,
                     cudaStream_t s)
{
    constexpr int B = sizes<D>::B;
    dim3 queries(most_tiles(a.tokens, a.docs, B), (unsigned)a.heads);
    dim3 keys(most_tiles(a.keys, a.docs, B), (unsigned)a.kv_heads);

    grad_keys<D><<<keys, F32_THREADS, room_bytes<D>(), s>>>(a, p);
    grad_queries<D><<<queries, F32_THREADS, room_bytes<D>(), s>>>(a, p);
}

void attention_f32_grad(const attention &a, const attention_ptr &p,
                        cudaStream_t s)
{
#define RUN(D) run_grad<D>(a, p, s)
    FOR_HEAD_SIZE(a.d, RUN);
#undef RUN
}
