/* SPDX-License-Identifier: MIT
 *
 * attention_sm90_keys.cu -- gradients of keys and values on Hopper: an item of
 * work is a tile of keys under all query heads of its group, so that no sum
 * leaves the registers before it is whole, and two runs give the same bits. All
 * is transposed, rows are keys: weights and dS go from registers into the next
 * products.
 *
 * The backward pass takes seven products rather than five, because dq is made
 * by a kernel of its own (attention_sm90_queries.cu); but none of its blocks
 * waits for another one.
 */
#include "attention_sm90.cuh"

/* Q queries a step. Two warpgroups have 64 keys each; where sums of so many
 * features are too large for that, both have the same 64, and one makes dv, the
 * other one dk. CAPPED: scores are. */
template <int D_, int Q_, bool CAPPED_> struct keys_plan {
    static constexpr int D = D_, Q = Q_;
    static constexpr bool CAPPED = CAPPED_;
    static constexpr bool SHARED = D > 128;
    static constexpr int STAGES = SHARED ? 2 : 3;
    static constexpr int ROWS = SHARED ? 64 : 128, BLOCK = 3 * 128;
    static constexpr int K_BYTES = ROWS * D * 2, Q_BYTES = Q * D * 2;
    /* Registers: of a thread that computes, of one that copies. */
    static constexpr int MINE = D == 128 && CAPPED ? 240 : 232;
    static constexpr int THEIRS = MINE == 240 ? 24 : 40;
    /* A copy begins at a multiple of 16 bytes: up to 3 rows too early. */
    static constexpr int STATS = Q + 4, STAT_BYTES = STATS * 2 * 4;
    static constexpr int STAT_ROOM = (STAT_BYTES + 127) / 128 * 32;
};

template <class P> struct room {
    alignas(1024) char k[P::K_BYTES];
    alignas(1024) char v[P::K_BYTES];
    alignas(1024) char q[P::STAGES][P::Q_BYTES];
    alignas(1024) char d_o[P::STAGES][P::Q_BYTES];
    alignas(128) float stats[P::STAGES][P::STAT_ROOM];
    uint64_t kv_full, kv_empty;
    uint64_t q_full[P::STAGES], do_full[P::STAGES], empty[P::STAGES];
};

template <class P>
static __device__ __forceinline__ int queries_of(const attention &a,
                                                 const tile &t, int *begin)
{
    int end;

    query_range(a, t, t.first, P::ROWS, P::Q, begin, &end);
    return max(0, (end - *begin + P::Q - 1) / P::Q);
}

template <class P>
static __device__ __forceinline__ void produce(room<P> *r, item *work,
                                               const maps &m,
                                               const attention &a,
                                               const lists &l)
{
    const int items = l.counts[1] * a.kv_heads;
    ring<P::STAGES> s;

    for (int n = blockIdx.x, round = 1;; round ^= 1) {
        await(&r->kv_empty, round);
        if (n >= items) {
            work->head = -1;
            arrive(&r->kv_full);
            return;
        }
        tile t = l.keys[n / a.kv_heads].t;
        int kv = n % a.kv_heads, begin;
        *work = { t, kv };
        arrive_for(&r->kv_full, 2 * P::K_BYTES);
        copy_tile<P::D, P::ROWS>(r->k, &m.k, kv, t.k_at + t.first,
                                 &r->kv_full);
        copy_tile<P::D, P::ROWS>(r->v, &m.v, kv, t.k_at + t.first,
                                 &r->kv_full);
        const int tiles = queries_of<P>(a, t, &begin);
        for (int head = kv * a.group; head < (kv + 1) * a.group; head++)
            for (int i = 0; i < tiles; i++) {
                const int row = t.q_at + begin + i * P::Q;
                await(&r->empty[s.at], s.parity ^ 1);
                arrive_for(&r->q_full[s.at], P::Q_BYTES + P::STAT_BYTES);
                copy_tile<P::D, P::Q>(r->q[s.at], &m.q, head, row,
                                      &r->q_full[s.at]);
                copy_box(r->stats[s.at], &m.stats, row & ~3, 0, head,
                         &r->q_full[s.at]);
                arrive_for(&r->do_full[s.at], P::Q_BYTES);
                copy_tile<P::D, P::Q>(r->d_o[s.at], &m.d_o, head, row,
                                      &r->do_full[s.at]);
                s.next();
            }
        n = gridDim.x + atomicAdd(l.counts + 2, 1);
    }
}

/* Products of keys from J on (rows) and queries from I on: -infinity where
 * unseen. */
template <int N>
static __device__ __forceinline__ void mask_turned(const attention &a,
                                                   const tile &t, float (&s)[N],
                                                   int i, int j)
{
    const int g = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    const int c = threadIdx.x % 4 * 2;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int key = j + g + 8 * h, least = key - (t.k_len - t.q_len);
        int end = t.q_len;
        if (a.window)
            end = min(end, least + a.window);
        if (key >= t.k_len)
            end = 0;
        least -= i + c;
        end -= i + c;
#pragma unroll
        for (int n = 0; n < N / 4; n++)
#pragma unroll
            for (int k = 0; k < 2; k++)
                if (8 * n + k < least || 8 * n + k >= end)
                    s[4 * n + 2 * h + k] = -INFINITY;
    }
}

/* Products become weights; LSE: of the columns. */
template <int N>
static __device__ __forceinline__ void weights_turned(float unit, float (&s)[N],
                                                      const float *lse)
{
    lse += threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < N; n++)
        s[n] = power_of_2(s[n] * unit - lse[n / 4 * 8 + n % 2]);
}

/* Weights S and DP become dS in DP, yet without the scale. */
template <class P>
static __device__ __forceinline__ void slopes_turned(
    const attention &a, const float (&s)[P::Q / 2], float (&dp)[P::Q / 2],
    const float *stats)
{
    const float *lse = stats + threadIdx.x % 4 * 2, *delta = lse + P::STATS;

#pragma unroll
    for (int n = 0; n < P::Q / 2; n++) {
        const int column = n / 4 * 8 + n % 2;
        float ds = s[n] * (dp[n] - delta[column]);
        dp[n] = P::CAPPED ? ds * cap_slope(a, s[n], lse[column]) : ds;
    }
}

/* Over the steps of an item: a tile of queries under one head of the group. */
template <class P> struct steps {
    int begin, tiles, count;
    int n = 0, i;

    __device__ __forceinline__ steps(const attention &a, const tile &t)
    {
        tiles = queries_of<P>(a, t, &begin);
        count = tiles * a.group;
        i = begin;
    }

    __device__ __forceinline__ bool more() const
    {
        return n < count;
    }

    __device__ __forceinline__ void next()
    {
        n++;
        i = n % tiles == 0 ? begin : i + P::Q;
    }
};

/* Products of keys from J on and queries from I on become weights. */
template <class P>
static __device__ __forceinline__ void weigh_turned(const attention &a,
                                                    const tile &t,
                                                    float (&s)[P::Q / 2],
                                                    int i, int j,
                                                    const float *stats)
{
    if (P::CAPPED)
        cap_scores(a, s);
    if (!all_seen(a, t, i, P::Q, j, 64))
        mask_turned(a, t, s, i, j);
    weights_turned(a.scale * LOG2E, s, stats);
}

/* 64 keys of a warpgroup. The two take turns at the tensor cores: a pair of
 * products of one, a pair of the other. */
template <class P>
static __device__ __forceinline__ void grad_both(
    room<P> *r, const attention &a, const tile &t, ring<P::STAGES> &now,
    float (&dk)[P::D / 2], float (&dv)[P::D / 2])
{
    constexpr int D = P::D, Q = P::Q;
    const int group = threadIdx.x / 128 - 1, mine = 64 * group;
    float s[Q / 2], dp[Q / 2];
    uint32_t w[Q / 4], x[Q / 4];

    for (steps<P> k(a, t); k.more(); k.next(), now.next()) {
        const int at = now.at;
        const float *stats = r->stats[at] + (t.q_at + k.i) % 4;
        await(&r->q_full[at], now.parity);
        await(&r->do_full[at], now.parity);
        meet(1 + group, 256);
        rows_by_rows<D, P::ROWS, Q>(s, r->k, mine, r->q[at]);
        rows_by_rows<D, P::ROWS, Q>(dp, r->v, mine, r->d_o[at]);
        pass(2 - group, 256);
        products_wait<1>();
        pin(s);
        weigh_turned<P>(a, t, s, k.i, t.first + mine, stats);
        products_wait<0>();
        pin(dp);
        halve(w, s);
        slopes_turned<P>(a, s, dp, stats);
        halve(x, dp);
        meet(1 + group, 256);
        products_begin();
        weigh<D, Q>(dv, w, r->d_o[at]);
        weigh<D, Q>(dk, x, r->q[at]);
        products_close();
        pass(2 - group, 256);
        products_wait<0>();
        pin(dk);
        pin(dv);
        arrive_warp(&r->empty[at]);
    }
}

/* dv of the block's 64 keys. */
template <class P>
static __device__ __forceinline__ void grad_values(
    room<P> *r, const attention &a, const tile &t, ring<P::STAGES> &now,
    float (&dv)[P::D / 2])
{
    constexpr int D = P::D, Q = P::Q;
    float s[Q / 2];
    uint32_t w[Q / 4];

    for (steps<P> k(a, t); k.more(); k.next(), now.next()) {
        const int at = now.at;
        await(&r->q_full[at], now.parity);
        rows_by_rows<D, P::ROWS, Q>(s, r->k, 0, r->q[at]);
        products_wait<0>();
        pin(s);
        weigh_turned<P>(a, t, s, k.i, t.first,
                        r->stats[at] + (t.q_at + k.i) % 4);
        halve(w, s);
        await(&r->do_full[at], now.parity);
        weigh_rows<D, Q>(dv, w, r->d_o[at]);
        products_wait<0>();
        pin(dv);
        arrive_warp(&r->empty[at]);
    }
}

/* dk of the block's 64 keys. */
template <class P>
static __device__ __forceinline__ void grad_only_keys(
    room<P> *r, const attention &a, const tile &t, ring<P::STAGES> &now,
    float (&dk)[P::D / 2])
{
    constexpr int D = P::D, Q = P::Q;
    float s[Q / 2], dp[Q / 2];
    uint32_t x[Q / 4];

    for (steps<P> k(a, t); k.more(); k.next(), now.next()) {
        const int at = now.at;
        const float *stats = r->stats[at] + (t.q_at + k.i) % 4;
        await(&r->q_full[at], now.parity);
        rows_by_rows<D, P::ROWS, Q>(s, r->k, 0, r->q[at]);
        await(&r->do_full[at], now.parity);
        rows_by_rows<D, P::ROWS, Q>(dp, r->v, 0, r->d_o[at]);
        products_wait<1>();
        pin(s);
        weigh_turned<P>(a, t, s, k.i, t.first, stats);
        products_wait<0>();
        pin(dp);
        slopes_turned<P>(a, s, dp, stats);
        halve(x, dp);
        weigh_rows<D, Q>(dk, x, r->q[at]);
        products_wait<0>();
        pin(dk);
        arrive_warp(&r->empty[at]);
    }
}

/* A warpgroup's 64 keys from J on, in dk or dv. */
template <int D>
static __device__ __forceinline__ void give_keys(const attention &a,
                                                 const tile &t, int kv, int j,
                                                 const float (&sum)[D / 2],
                                                 float scale, void *to)
{
    const int64_t row = (int64_t)(t.k_at + j) * a.kv_heads + kv;
    const float factor[2] = { scale, scale };

    give_rows<D>(sum, factor, (__nv_bfloat16 *)to + row * a.d,
                 a.kv_heads * a.d, t.k_len - j, a.d);
}

template <class P>
static __device__ __forceinline__ void consume(room<P> *r, const item *work,
                                               const attention &a,
                                               const attention_ptr &p)
{
    const int group = threadIdx.x / 128 - 1;
    ring<P::STAGES> now;

    if (group == 1)
        pass(1, 256);
    for (int round = 0;; round ^= 1) {
        await(&r->kv_full, round);
        const auto [t, kv] = take_item(work);
        const int j = t.first + 64 * group;
        float dk[P::D / 2] = {}, dv[P::D / 2] = {};
        if (kv < 0)
            break;
        grad_both<P>(r, a, t, now, dk, dv);
        arrive_warp(&r->kv_empty);
        give_keys<P::D>(a, t, kv, j, dk, a.scale, p.dk);
        give_keys<P::D>(a, t, kv, j, dv, 1.0f, p.dv);
    }
    if (group == 0)
        meet(1, 256);
}

/* Where both warpgroups have the same keys; VALUES: this one makes dv. */
template <class P, bool VALUES>
static __device__ __forceinline__ void consume_shared(room<P> *r,
                                                      const item *work,
                                                      const attention &a,
                                                      const attention_ptr &p)
{
    ring<P::STAGES> now;

    for (int round = 0;; round ^= 1) {
        await(&r->kv_full, round);
        const auto [t, kv] = take_item(work);
        float sum[P::D / 2] = {};
        if (kv < 0)
            return;
        if constexpr (VALUES)
            grad_values<P>(r, a, t, now, sum);
        else
            grad_only_keys<P>(r, a, t, now, sum);
        arrive_warp(&r->kv_empty);
        give_keys<P::D>(a, t, kv, t.first, sum, VALUES ? 1.0f : a.scale,
                        VALUES ? p.dv : p.dk);
    }
}

template <class P>
static __global__ void __launch_bounds__(P::BLOCK, 1)
    grad_keys(const __grid_constant__ maps m,
              const __grid_constant__ attention a,
              const __grid_constant__ attention_ptr p,
              const __grid_constant__ lists l)
{
#ifdef HOPPER
    extern __shared__ char raw[];
    __shared__ item work;
    room<P> *r = (room<P> *)aligned_room(raw);

    if (threadIdx.x == 0) {
        barrier_init(&r->kv_full, 1);
        barrier_init(&r->kv_empty, 8);
        for (int i = 0; i < P::STAGES; i++) {
            barrier_init(&r->q_full[i], 1);
            barrier_init(&r->do_full[i], 1);
            barrier_init(&r->empty[i], 8);
        }
        barriers_made();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<P::THEIRS>();
        if (threadIdx.x == 0)
            produce<P>(r, &work, m, a, l);
    } else {
        registers_up<P::MINE>();
        if constexpr (!P::SHARED)
            consume<P>(r, &work, a, p);
        else if (threadIdx.x < 256)
            consume_shared<P, true>(r, &work, a, p);
        else
            consume_shared<P, false>(r, &work, a, p);
    }
#endif
}

/* -------------------------------------------------------------- launching */

template <int D, bool CAPPED>
using chosen = keys_plan<D, D == 64 ? 128 : 64, CAPPED>;

cudaError_t attention_sm90_keys_open(const attention &a)
{
    return with_plan<chosen>(a, [](auto p) {
        using P = decltype(p);
        return allow(grad_keys<P>, sizeof(room<P>) + 1024);
    });
}

int attention_sm90_keys_rows(const attention &a, int *stats)
{
    return with_plan<chosen>(a, [&](auto p) {
        *stats = decltype(p)::STATS;
        return decltype(p)::ROWS;
    });
}

void attention_sm90_keys(const attention &a, const attention_ptr &p,
                         const maps &m, const lists &l, cudaStream_t stream)
{
    with_plan<chosen>(a, [&](auto plan) {
        using P = decltype(plan);
        grad_keys<P>
            <<<a.processors, P::BLOCK, sizeof(room<P>) + 1024, stream>>>(m, a,
                                                                         p, l);
    });
}
