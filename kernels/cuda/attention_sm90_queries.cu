/* SPDX-License-Identifier: MIT
 *
 * attention_sm90_queries.cu -- the gradient of queries on Hopper: an item of
 * work is a tile of queries of a head, and goes over the keys. The products of
 * a step and those of the last one's dS with its keys are issued at once, by
 * warpgroups in turn, as in the forward pass.
 */
#include "attention_sm90.cuh"

/* N keys a step, for WGS warpgroups of 64 queries; KS, VS: steps in flight: of
 * heads of 256 there is room for one step's values alone. CAPPED: scores
 * are. */
template <int D_, int WGS_, bool CAPPED_> struct queries_plan {
    static constexpr int D = D_, WGS = WGS_, N = 64;
    static constexpr int KS = D == 256 ? 2 : D == 128 ? 3 : 4;
    static constexpr int VS = D == 256 ? 1 : KS;
    static constexpr bool CAPPED = CAPPED_;
    static constexpr int ROWS = 64 * WGS, BLOCK = 128 * (WGS + 1);
    static constexpr int Q_BYTES = ROWS * D * 2, K_BYTES = N * D * 2;
    /* Registers: of a thread that computes, of one that copies. */
    static constexpr int MINE = D == 256 ? 240 : WGS == 2 ? 232 : 160;
    static constexpr int THEIRS = D == 256 ? 24 : WGS == 2 ? 40 : 32;
};

template <class P> struct room {
    alignas(1024) char q[P::Q_BYTES];
    alignas(1024) char d_o[P::Q_BYTES];
    alignas(1024) char k[P::KS][P::K_BYTES];
    alignas(1024) char v[P::VS][P::K_BYTES];
    uint64_t q_full, q_empty;
    uint64_t k_full[P::KS], k_empty[P::KS];
    uint64_t v_full[P::VS], v_empty[P::VS];
};

template <class P> struct rings {
    ring<P::KS> k;
    ring<P::VS> v;

    __device__ __forceinline__ void next()
    {
        k.next();
        v.next();
    }
};

template <class P>
static __device__ __forceinline__ void produce(room<P> *r, item *work,
                                               const maps &m,
                                               const attention &a,
                                               const lists &l)
{
    const int items = l.counts[0] * a.heads;
    rings<P> s;

    for (int n = blockIdx.x, round = 1;; round ^= 1) {
        await(&r->q_empty, round);
        if (n >= items) {
            work->head = -1;
            arrive(&r->q_full);
            return;
        }
        tile t = l.queries[n / a.heads].t;
        int head = n % a.heads, kv = head / a.group, begin, end;
        *work = { t, head };
        arrive_for(&r->q_full, 2 * P::Q_BYTES);
        copy_tile<P::D, P::ROWS>(r->q, &m.q, head, t.q_at + t.first,
                                 &r->q_full);
        copy_tile<P::D, P::ROWS>(r->d_o, &m.d_o, head, t.q_at + t.first,
                                 &r->q_full);
        key_range(a, t, t.first, P::ROWS, P::N, &begin, &end);
        for (int j = begin; j < end; j += P::N, s.next()) {
            await(&r->k_empty[s.k.at], s.k.parity ^ 1);
            arrive_for(&r->k_full[s.k.at], P::K_BYTES);
            copy_tile<P::D, P::N>(r->k[s.k.at], &m.k, kv, t.k_at + j,
                                  &r->k_full[s.k.at]);
            await(&r->v_empty[s.v.at], s.v.parity ^ 1);
            arrive_for(&r->v_full[s.v.at], P::K_BYTES);
            copy_tile<P::D, P::N>(r->v[s.v.at], &m.v, kv, t.k_at + j,
                                  &r->v_full[s.v.at]);
        }
        n = gridDim.x + atomicAdd(l.counts + 3, 1);
    }
}

/* Products of queries from I on and keys from J on become weights. */
template <class P>
static __device__ __forceinline__ void weights(const attention &a,
                                               const tile &t,
                                               float (&s)[P::N / 2], int i,
                                               int j, const float (&lse)[2])
{
    const float unit = a.scale * LOG2E;

    if (P::CAPPED)
        cap_scores(a, s);
    if (!all_seen(a, t, i, 64, j, P::N))
        mask<P::N>(a, t, s, i, j);
#pragma unroll
    for (int n = 0; n < P::N / 2; n++)
        s[n] = power_of_2(s[n] * unit - lse[n / 2 % 2]);
}

/* Weights S and DP become dS in DP, yet without the scale. */
template <class P>
static __device__ __forceinline__ void slopes(const attention &a,
                                              const float (&s)[P::N / 2],
                                              float (&dp)[P::N / 2],
                                              const float (&lse)[2],
                                              const float (&delta)[2])
{
#pragma unroll
    for (int n = 0; n < P::N / 2; n++) {
        float ds = s[n] * (dp[n] - delta[n / 2 % 2]);
        dp[n] = P::CAPPED ? ds * cap_slope(a, s[n], lse[n / 2 % 2]) : ds;
    }
}

template <class P>
static __device__ __forceinline__ void grad_tile(
    room<P> *r, const attention &a, const tile &t, rings<P> &now,
    const float (&lse)[2], const float (&delta)[2], float (&dq)[P::D / 2])
{
    constexpr int D = P::D, N = P::N;
    const int group = threadIdx.x / 128 - 1, mine = 64 * group;
    float s[N / 2], dp[N / 2];
    uint32_t w[N / 4] = {};
    int begin, end, last = now.k.at;

    key_range(a, t, t.first, P::ROWS, N, &begin, &end);
    if (begin >= end)
        return;
    for (int j = begin; j < end; j += N, now.next()) {
        const int k = now.k.at, v = now.v.at;
        await(&r->k_full[k], now.k.parity);
        await(&r->v_full[v], now.v.parity);
        meet(1 + group, 256);
        rows_by_rows<D, P::ROWS, N>(s, r->q, mine, r->k[k]);
        rows_by_rows<D, P::ROWS, N>(dp, r->d_o, mine, r->v[v]);
        weigh_rows<D, N>(dq, w, r->k[last]); /* zeros at first */
        pass(1 + (group + 1) % P::WGS, 256);
        products_wait<2>();
        pin(s);
        weights<P>(a, t, s, t.first + mine, j, lse);
        products_wait<0>();
        pin(dp);
        pin(dq);
        arrive_warp(&r->v_empty[v]);
        if (j > begin)
            arrive_warp(&r->k_empty[last]);
        slopes<P>(a, s, dp, lse, delta);
        halve(w, dp);
        last = k;
    }
    weigh_rows<D, N>(dq, w, r->k[last]);
    products_wait<0>();
    pin(dq);
    arrive_warp(&r->k_empty[last]);
}

template <class P>
static __device__ __forceinline__ void consume(room<P> *r, const item *work,
                                               const attention &a,
                                               const attention_ptr &p,
                                               const lists &l)
{
    const float scales[2] = { a.scale, a.scale };
    const int g = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    const int group = threadIdx.x / 128 - 1;
    rings<P> now;

    if (group == P::WGS - 1)
        pass(1, 256);
    for (int round = 0;; round ^= 1) {
        await(&r->q_full, round);
        const auto [t, head] = take_item(work);
        const int i = t.first + 64 * group;
        float dq[P::D / 2] = {}, lse[2], delta[2];
        if (head < 0)
            break;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float *at = l.stats + (int64_t)head * 2 * l.stat_row +
                              t.q_at + min(i + g + 8 * h, t.q_len - 1);
            lse[h] = at[0];
            delta[h] = at[l.stat_row];
        }
        grad_tile<P>(r, a, t, now, lse, delta, dq);
        arrive_warp(&r->q_empty);
        give_rows<P::D>(dq, scales,
                        (__nv_bfloat16 *)p.dq +
                            ((int64_t)(t.q_at + i) * a.heads + head) * a.d,
                        a.heads * a.d, t.q_len - i, a.d);
    }
    if (group == 0)
        meet(1, 256);
}

template <class P>
static __global__ void __launch_bounds__(P::BLOCK, 1)
    grad_queries(const __grid_constant__ maps m,
                 const __grid_constant__ attention a,
                 const __grid_constant__ attention_ptr p,
                 const __grid_constant__ lists l)
{
#ifdef HOPPER
    extern __shared__ char raw[];
    __shared__ item work;
    room<P> *r = (room<P> *)aligned_room(raw);

    if (threadIdx.x == 0) {
        barrier_init(&r->q_full, 1);
        barrier_init(&r->q_empty, 4 * P::WGS);
        for (int i = 0; i < P::KS; i++) {
            barrier_init(&r->k_full[i], 1);
            barrier_init(&r->k_empty[i], 4 * P::WGS);
        }
        for (int i = 0; i < P::VS; i++) {
            barrier_init(&r->v_full[i], 1);
            barrier_init(&r->v_empty[i], 4 * P::WGS);
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
        consume<P>(r, &work, a, p, l);
    }
#endif
}

/* -------------------------------------------------------------- launching */

template <int D, bool CAPPED>
using chosen = queries_plan<D, D == 64 ? 3 : 2, CAPPED>;

cudaError_t attention_sm90_queries_open(const attention &a)
{
    return with_plan<chosen>(a, [](auto p) {
        using P = decltype(p);
        return allow(grad_queries<P>, sizeof(room<P>) + 1024);
    });
}

int attention_sm90_queries_rows(const attention &a)
{
    return with_plan<chosen>(a, [](auto p) { return decltype(p)::ROWS; });
}

void attention_sm90_queries(const attention &a, const attention_ptr &p,
                            const maps &m, const lists &l, cudaStream_t stream)
{
    with_plan<chosen>(a, [&](auto plan) {
        using P = decltype(plan);
        grad_queries<P>
            <<<a.processors, P::BLOCK, sizeof(room<P>) + 1024, stream>>>(m, a,
                                                                         p, l);
    });
}
