/* SPDX-License-Identifier: MIT
 *
 * attention_half.cu -- attention on tensor cores in bf16 and fp16, after Dao,
 * "FlashAttention-2" (2023): scores never leave the registers. A warp has 16
 * rows of a tile of 64: queries in the forward pass and for dq, keys for dk and
 * dv, where all is transposed, so that each result of one product is the first
 * factor of the next one without a detour. Heads are padded to D features with
 * zeros.
 */
#include "attention.cuh"
#include "mma.cuh"
#include "power.cuh"

#define LOG2E 1.4426950408889634f

enum { ROWS = 64, WARPS = 4, HALF_THREADS = 32 * WARPS };

typedef uint16_t word; /* bf16 or fp16 */

/* SMALL: for cards of compute capability 7.5, whose blocks have 64 KiB. */
enum halves { BF16, FP16, FP16_SMALL };

template <int D_, halves H> struct sizes {
    static constexpr int D = D_;
    static constexpr bool SMALL = H == FP16_SMALL, FP16 = H != BF16;
#ifdef __CUDA_ARCH__
    static constexpr bool BUILT = SMALL == (__CUDA_ARCH__ < 800);
#else
    static constexpr bool BUILT = false;
#endif
    static constexpr int ROW = D + 8; /* elements: other banks for each row */
    /* Keys of a step / 8. */
    static constexpr int N = SMALL ? 512 / D : D <= 128 ? 8 : 4;
    static constexpr int KEYS = 8 * N;
    static constexpr int QN = 4;                    /* queries of a step / 8 */
    static constexpr int QUERIES = 8 * QN;
    static constexpr bool HOLD = D <= 64; /* queries stay in registers */
    static constexpr int SPLIT = D <= 128 ? 1 : 2;  /* warps that share rows
                                                       of dk and dv */
    static constexpr int FORWARD = (ROWS + 2 * KEYS) * ROW * 2;
    /* In flight, backward. */
    static constexpr int STAGES = D <= 128 && !SMALL ? 2 : 1;
    static constexpr int PAIR = 2 * KEYS * ROW;     /* elements: k, v */
    static constexpr int GRAD_QUERIES = (2 * ROWS * ROW + STAGES * PAIR) * 2;
    /* q, do, lse, delta: elements of 2 bytes */
    static constexpr int QUERY = 2 * QUERIES * ROW + 4 * QUERIES;
    static constexpr int GRAD_KEYS = (2 * ROWS * ROW + STAGES * QUERY) * 2;
};

/* N rows from FIRST on of a document's head, 0 beyond END and d. */
template <class S, int N>
static __device__ __forceinline__ void take(word *to, const void *from,
                                            int64_t row, int stride, int head,
                                            int d, int first, int end)
{
    constexpr int D = S::D;
    const word *at = (const word *)from + row * stride + head * d;

    if (d % 8 == 0) {
#pragma unroll 4
        for (int n = threadIdx.x; n < N * D / 8; n += blockDim.x) {
            int i = n / (D / 8), e = n % (D / 8) * 8;
            bool there = first + i < end && e < d;
            copy_async(to + i * S::ROW + e,
                       there ? at + (int64_t)(first + i) * stride + e : at,
                       there);
        }
        return;
    }
    for (int n = threadIdx.x; n < N * D; n += blockDim.x) {
        int i = n / D, e = n % D;
        to[i * S::ROW + e] =
            first + i < end && e < d ? at[(int64_t)(first + i) * stride + e]
                                     : 0;
    }
}

/* A warp's 16 rows from FIRST on, columns from COLUMN on; FACTOR: of rows g
 * and g + 8. */
template <bool FP16, int E>
static __device__ __forceinline__ void give(const float (&acc)[E][4],
                                            const float (&factor)[2], void *to,
                                            int64_t row, int stride, int head,
                                            int d, int first, int end,
                                            int column)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    word *at = (word *)to + row * stride + head * d;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = first + g + 8 * h;
        if (i >= end)
            continue;
#pragma unroll
        for (int n = 0; n < E; n++) {
            int e = column + 8 * n + 2 * t;
            word *out = at + (int64_t)i * stride + e;
            float x = acc[n][2 * h] * factor[h];
            float y = acc[n][2 * h + 1] * factor[h];
            if (e + 1 < d && d % 2 == 0) {
                *(uint32_t *)out = two<FP16>(x, y);
                continue;
            }
            if (e < d)
                out[0] = (word)two<FP16>(x, x);
            if (e + 1 < d)
                out[1] = (word)two<FP16>(y, y);
        }
    }
}

/* Over the four threads that share rows. */
static __device__ __forceinline__ float four_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

static __device__ __forceinline__ float four_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

/* Whether queries [i, i + 16) see all of the keys [j, j + n), uncapped: most
 * tiles, for which nothing has to be looked at twice. */
static __device__ __forceinline__ bool plain(const attention &a, const tile &t,
                                             int i, int j, int n, int queries)
{
    return a.softcap == 0 && j + n - 1 <= place(t, i) && j + n <= t.k_len &&
           (!a.window || j > place(t, i + queries - 1) - a.window);
}

/* Products q.k as they shall be scaled: capped, -infinity where unseen. */
template <int N>
static __device__ __forceinline__ void look(const attention &a, const tile &t,
                                            float (&s)[N][4], int i, int j)
{
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4 * 2;

#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float slope, x = s[n][k];
            if (a.softcap > 0)
                x = score(a, x, &slope) / a.scale;
            s[n][k] = sees(a, t, i + g + k / 2 * 8, j + 8 * n + c + k % 2)
                          ? x : -INFINITY;
        }
}

/* Products become weights 2^(unit * (s - the new maximum)); what was summed so
 * far shrinks by *FACTOR. */
template <int N>
static __device__ __forceinline__ void soften(float unit, float (&s)[N][4],
                                              float (&max)[2], float (&sum)[2],
                                              float (&factor)[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = max[h], total = 0, base;
#pragma unroll
        for (int n = 0; n < N; n++)
            top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top = four_max(top);
        base = top == -INFINITY ? 0.0f : top * unit; /* none seen so far */
        factor[h] = power_of_2(max[h] * unit - base);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int k = 2 * h; k < 2 * h + 2; k++) {
                s[n][k] = power_of_2(s[n][k] * unit - base);
                total += s[n][k];
            }
        sum[h] = sum[h] * factor[h] + four_sum(total);
        max[h] = top;
    }
}

template <class S>
static __device__ __forceinline__ void forward_tile(const attention &a,
                                               const attention_ptr &p)
{
    constexpr int D = S::D;
    extern __shared__ __align__(16) word room[];
    word *q = room, *k = q + ROWS * S::ROW, *v = k + S::KEYS * S::ROW;
    const int head = blockIdx.y, kv = head / a.group;
    const int row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4;
    const int q_stride = a.heads * a.d, k_stride = a.kv_heads * a.d;
    float acc[D / 8][4] = {}, s[S::N][4], factor[2], sum[2] = {};
    float max[2] = { -INFINITY, -INFINITY };
    const float unit = a.scale * LOG2E;
    uint32_t held[S::HOLD ? D / 16 : 1][4];
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, gridDim.x - 1 - blockIdx.x, ROWS, false, &t))
        return;
    key_range(a, t, t.first, ROWS, S::KEYS, &begin, &end);
    take<S, ROWS>(q, p.q, t.q_at, q_stride, head, a.d, t.first, t.q_len);
    if (begin < end)
        take<S, S::KEYS>(k, p.k, t.k_at, k_stride, kv, a.d, begin, t.k_len);
    copies_close();
    /* The next keys travel while weights are made, values before that. */
    for (int j = begin; j < end; j += S::KEYS) {
        take<S, S::KEYS>(v, p.v, t.k_at, k_stride, kv, a.d, j, t.k_len);
        copies_close();
        copies_wait<1>();
        __syncthreads();
        if constexpr (S::HOLD) {
            if (j == begin)
                hold<D, S::ROW>(held, q, row);
            outer<S::FP16, S::N, D, S::ROW>(s, held, k);
        } else {
            outer<S::FP16, S::N, D, S::ROW>(s, q, row, k);
        }
        __syncthreads();
        if (j + S::KEYS < end)
            take<S, S::KEYS>(k, p.k, t.k_at, k_stride, kv, a.d, j + S::KEYS,
                             t.k_len);
        copies_close();
        if (!plain(a, t, t.first + row, j, S::KEYS, 16))
            look<S::N>(a, t, s, t.first + row, j);
        soften<S::N>(unit, s, max, sum, factor);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            acc[n][0] *= factor[0], acc[n][1] *= factor[0];
            acc[n][2] *= factor[1], acc[n][3] *= factor[1];
        }
        copies_wait<1>();
        __syncthreads();
        weigh<S::FP16, S::N, D / 8, S::ROW>(acc, s, v, 0);
        __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = t.first + row + g + 8 * h;
        if (threadIdx.x % 4 == 0 && i < t.q_len)
            p.lse[(int64_t)(t.q_at + i) * a.heads + head] =
                sum[h] > 0 ? max[h] * a.scale + logf(sum[h]) : 0.0f;
        sum[h] = sum[h] > 0 ? 1.0f / sum[h] : 0.0f;
    }
    give<S::FP16, D / 8>(acc, sum, p.out, t.q_at, q_stride, head, a.d,
                         t.first + row, t.q_len, 0);
}

/* The weight of a pair in QK and its dS, without the scale, in DOV, from the
 * two products. LSE in powers of two. */
static __device__ __forceinline__ void pair(const attention &a, float lse,
                                            float delta, float &qk, float &dov)
{
    qk = power_of_2(qk * (a.scale * LOG2E) - lse);
    dov = qk * (dov - delta);
}

#define FOR_PAIRS(N, n, e)                                                     \
    _Pragma("unroll") for (int n = 0; n < (N); n++)                            \
        _Pragma("unroll") for (int e = 0; e < 4; e++)

/* The same where a pair may be unseen or capped. */
static __device__ __forceinline__ void pair_looked_at(
    const attention &a, const tile &t, int i, int j, float lse, float delta,
    float &qk, float &dov)
{
    float slope, s = score(a, qk, &slope);
    bool seen = sees(a, t, i, j);

    qk = seen ? power_of_2(s * LOG2E - lse) : 0.0f;
    dov = seen ? qk * slope * (dov - delta) : 0.0f;
}

/* Keys and values [j, j + KEYS) into one stage. */
template <class S>
static __device__ __forceinline__ void take_keys(const attention &a,
                                                 const attention_ptr &p,
                                                 const tile &t, int kv, int j,
                                                 word *stage)
{
    const int stride = a.kv_heads * a.d;

    take<S, S::KEYS>(stage, p.k, t.k_at, stride, kv, a.d, j, t.k_len);
    take<S, S::KEYS>(stage + S::KEYS * S::ROW, p.v, t.k_at, stride, kv, a.d, j,
                     t.k_len);
}

template <class S>
static __device__ __forceinline__ void grad_queries_tile(const attention &a,
                                               const attention_ptr &p)
{
    constexpr int D = S::D;
    extern __shared__ __align__(16) word room[];
    word *q = room, *d_o = q + ROWS * S::ROW, *stages = d_o + ROWS * S::ROW;
    const int head = blockIdx.y, kv = head / a.group;
    const int row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4;
    const int c = threadIdx.x % 4 * 2;
    const int q_stride = a.heads * a.d;
    const float scales[2] = { a.scale, a.scale };
    float acc[D / 8][4] = {}, s[S::N][4], ds[S::N][4], lse[2], delta[2];
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, gridDim.x - 1 - blockIdx.x, ROWS, false, &t))
        return;
    key_range(a, t, t.first, ROWS, S::KEYS, &begin, &end);
    take<S, ROWS>(q, p.q, t.q_at, q_stride, head, a.d, t.first, t.q_len);
    take<S, ROWS>(d_o, p.d_o, t.q_at, q_stride, head, a.d, t.first, t.q_len);
    for (int h = 0; h < 2; h++) {
        int i = min(t.first + row + g + 8 * h, t.q_len - 1);
        lse[h] = p.lse[(int64_t)(t.q_at + i) * a.heads + head] * LOG2E;
        delta[h] = p.delta[(int64_t)(t.q_at + i) * a.heads + head];
    }
    if (begin < end)
        take_keys<S>(a, p, t, kv, begin, stages);
    copies_close();
    for (int j = begin, now = 0; j < end; j += S::KEYS) {
        const word *k = stages + now * S::PAIR, *v = k + S::KEYS * S::ROW;

        if (S::STAGES == 2 && j + S::KEYS < end)
            take_keys<S>(a, p, t, kv, j + S::KEYS,
                         stages + (1 - now) * S::PAIR);
        copies_close();
        copies_wait<1>();
        __syncthreads();
        outer<S::FP16, S::N, D, S::ROW>(s, q, row, k);
        outer<S::FP16, S::N, D, S::ROW>(ds, d_o, row, v);
        if (plain(a, t, t.first + row, j, S::KEYS, 16))
            FOR_PAIRS(S::N, n, e)
                pair(a, lse[e / 2], delta[e / 2], s[n][e], ds[n][e]);
        else
            FOR_PAIRS(S::N, n, e)
                pair_looked_at(a, t, t.first + row + g + e / 2 * 8,
                               j + 8 * n + c + e % 2, lse[e / 2],
                               delta[e / 2], s[n][e], ds[n][e]);
        weigh<S::FP16, S::N, D / 8, S::ROW>(acc, ds, k, 0);
        __syncthreads();
        if (S::STAGES == 1 && j + S::KEYS < end)
            take_keys<S>(a, p, t, kv, j + S::KEYS, stages);
        if (S::STAGES == 1)
            copies_close();
        now = S::STAGES - 1 - now;
    }
    give<S::FP16, D / 8>(acc, scales, p.dq, t.q_at, q_stride, head, a.d,
                         t.first + row, t.q_len, 0);
}

/* Queries of tile N, counted through the heads of the group, into one stage:
 * q, do, lse and delta. Those beyond the end become zeros, never NaN. */
template <class S>
static __device__ __forceinline__ void take_queries(
    const attention &a, const attention_ptr &p, const tile &t, int head, int i,
    word *stage)
{
    const int stride = a.heads * a.d;
    float *lse = (float *)(stage + 2 * S::QUERIES * S::ROW);

    take<S, S::QUERIES>(stage, p.q, t.q_at, stride, head, a.d, i, t.q_len);
    take<S, S::QUERIES>(stage + S::QUERIES * S::ROW, p.d_o, t.q_at, stride,
                        head, a.d, i, t.q_len);
    for (int n = threadIdx.x; n < S::QUERIES; n += blockDim.x) {
        int64_t at = (int64_t)(t.q_at + i + n) * a.heads + head;
        lse[n] = i + n < t.q_len ? p.lse[at] * LOG2E : 0.0f;
        lse[S::QUERIES + n] = i + n < t.q_len ? p.delta[at] : 0.0f;
    }
}

/* Rows are keys here, columns queries, of all heads of the group. */
template <class S>
static __device__ __forceinline__ void grad_keys_tile(const attention &a,
                                                      const attention_ptr &p)
{
    constexpr int D = S::D;
    constexpr int E = D / 8 / S::SPLIT;
    extern __shared__ __align__(16) word room[];
    word *k = room, *v = k + ROWS * S::ROW, *stages = v + ROWS * S::ROW;
    const int kv = blockIdx.y, row = threadIdx.x / 32 % WARPS * 16;
    const int column = threadIdx.x / HALF_THREADS * 8 * E;
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4 * 2;
    const int k_stride = a.kv_heads * a.d;
    const float ones[2] = { 1.0f, 1.0f }, scales[2] = { a.scale, a.scale };
    float dk[E][4] = {}, dv[E][4] = {}, s[S::QN][4], ds[S::QN][4];
    tile t;
    int begin, end;

    if (!find_tile(a, p.docs, blockIdx.x, ROWS, true, &t))
        return;
    query_range(a, t, t.first, ROWS, S::QUERIES, &begin, &end);
    take<S, ROWS>(k, p.k, t.k_at, k_stride, kv, a.d, t.first, t.k_len);
    take<S, ROWS>(v, p.v, t.k_at, k_stride, kv, a.d, t.first, t.k_len);
    const int tiles = max(0, (end - begin + S::QUERIES - 1) / S::QUERIES);
    const int count = tiles * a.group, head = kv * a.group;
    if (count > 0)
        take_queries<S>(a, p, t, head, begin, stages);
    copies_close();
    for (int n = 0, now = 0; n < count; n++) {
        const word *q = stages + now * S::QUERY, *d_o = q + S::QUERIES * S::ROW;
        const float *lse = (const float *)(d_o + S::QUERIES * S::ROW);
        const float *delta = lse + S::QUERIES;
        const int i = begin + n % tiles * S::QUERIES, next = n + 1;

        if (S::STAGES == 2 && next < count)
            take_queries<S>(a, p, t, head + next / tiles,
                            begin + next % tiles * S::QUERIES,
                            stages + (1 - now) * S::QUERY);
        copies_close();
        copies_wait<1>();
        __syncthreads();
        outer<S::FP16, S::QN, D, S::ROW>(s, k, row, q);
        outer<S::FP16, S::QN, D, S::ROW>(ds, v, row, d_o);
        /* Queries behind the last one are zeros, and add nothing. */
        if (plain(a, t, i, t.first + row, 16, S::QUERIES))
            FOR_PAIRS(S::QN, m, e)
                pair(a, lse[8 * m + c + e % 2], delta[8 * m + c + e % 2],
                     s[m][e], ds[m][e]);
        else
            FOR_PAIRS(S::QN, m, e)
                pair_looked_at(a, t, i + 8 * m + c + e % 2,
                               t.first + row + g + e / 2 * 8,
                               lse[8 * m + c + e % 2],
                               delta[8 * m + c + e % 2], s[m][e], ds[m][e]);
        weigh<S::FP16, S::QN, E, S::ROW>(dv, s, d_o, column);
        weigh<S::FP16, S::QN, E, S::ROW>(dk, ds, q, column);
        __syncthreads();
        if (S::STAGES == 1 && next < count)
            take_queries<S>(a, p, t, head + next / tiles,
                            begin + next % tiles * S::QUERIES, stages);
        if (S::STAGES == 1)
            copies_close();
        now = S::STAGES - 1 - now;
    }
    give<S::FP16, E>(dk, scales, p.dk, t.k_at, k_stride, kv, a.d,
                     t.first + row, t.k_len, column);
    give<S::FP16, E>(dv, ones, p.dv, t.k_at, k_stride, kv, a.d,
                     t.first + row, t.k_len, column);
}

/* -------------------------------------------------------------- launching */

template <class S>
static __global__ void __launch_bounds__(HALF_THREADS)
    forward(attention a, attention_ptr p)
{
    if constexpr (S::BUILT)
        forward_tile<S>(a, p);
}

template <class S>
static __global__ void __launch_bounds__(HALF_THREADS)
    grad_queries(attention a, attention_ptr p)
{
    if constexpr (S::BUILT)
        grad_queries_tile<S>(a, p);
}

template <class S>
static __global__ void __launch_bounds__(HALF_THREADS *S::SPLIT,
                                         S::D <= 64 ? 3 : 1)
    grad_keys(attention a, attention_ptr p)
{
    if constexpr (S::BUILT)
        grad_keys_tile<S>(a, p);
}

template <class K> static cudaError_t allow(K kernel, int bytes)
{
    return cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

/* F of the sizes for the call. */
template <halves H, class F> static auto with_size(const attention &a, F f)
{
    if (a.d <= 64)
        return f(sizes<64, H>());
    return a.d <= 128 ? f(sizes<128, H>()) : f(sizes<256, H>());
}

template <class F> static auto with_sizes(const attention &a, F f)
{
    if (a.storage == HONE_BF16)
        return with_size<BF16>(a, f);
    return a.turing ? with_size<FP16_SMALL>(a, f) : with_size<FP16>(a, f);
}

cudaError_t attention_half_open(const attention &a, bool grad)
{
    return with_sizes(a, [&](auto s) {
        using S = decltype(s);
        cudaError_t e;

        if (!grad)
            return allow(forward<S>, S::FORWARD);
        e = allow(grad_queries<S>, S::GRAD_QUERIES);
        return e == cudaSuccess ? allow(grad_keys<S>, S::GRAD_KEYS) : e;
    });
}

void attention_half(const attention &a, const attention_ptr &p,
                    cudaStream_t stream)
{
    with_sizes(a, [&](auto s) {
        using S = decltype(s);
        dim3 grid(most_tiles(a.tokens, a.docs, ROWS), (unsigned)a.heads);

        forward<S><<<grid, HALF_THREADS, S::FORWARD, stream>>>(a, p);
    });
}

void attention_half_grad(const attention &a, const attention_ptr &p,
                         cudaStream_t stream)
{
    with_sizes(a, [&](auto s) {
        using S = decltype(s);
        dim3 queries(most_tiles(a.tokens, a.docs, ROWS), (unsigned)a.heads);
        dim3 keys(most_tiles(a.keys, a.docs, ROWS), (unsigned)a.kv_heads);

        grad_keys<S><<<keys, HALF_THREADS * S::SPLIT, S::GRAD_KEYS, stream>>>(
            a, p);
        grad_queries<S><<<queries, HALF_THREADS, S::GRAD_QUERIES, stream>>>(
            a, p);
    });
}
