/* SPDX-License-Identifier: MIT
 *
 * attention_sm90.cu -- the forward pass on Hopper, after Shah et al.,
 * "FlashAttention-3" (2024): scores of the next keys are made by the tensor
 * cores while the weights of these ones meet their values; warpgroups take
 * turns at that, so that the exponentials of one hide behind the products of
 * another.
 */
#include "attention_sm90.cuh"

/* D features, WGS warpgroups of 64 queries, N keys a step; queries of two items
 * of work where there is room. CAPPED: scores are. */
template <int D_, int WGS_, int N_, bool CAPPED_> struct forward_plan {
    static constexpr int D = D_, WGS = WGS_, N = N_, STAGES = 2;
    static constexpr bool CAPPED = CAPPED_;
    static constexpr int ITEMS = D <= 128 ? 2 : 1;
    static constexpr int ROWS = 64 * WGS, BLOCK = 128 * (WGS + 1);
    static constexpr int Q_BYTES = ROWS * D * 2, K_BYTES = N * D * 2;
    static constexpr int MINE = WGS == 2 ? 240 : 160;
    static constexpr int THEIRS = WGS == 2 ? 24 : 32;
};

template <class P> struct room {
    alignas(1024) char q[P::ITEMS][P::Q_BYTES];
    alignas(1024) char k[P::STAGES][P::K_BYTES];
    alignas(1024) char v[P::STAGES][P::K_BYTES];
    uint64_t q_full[P::ITEMS], q_empty[P::ITEMS];
    uint64_t k_full[P::STAGES], k_empty[P::STAGES];
    uint64_t v_full[P::STAGES], v_empty[P::STAGES];
};

template <class P>
static __device__ __forceinline__ void produce(room<P> *r, item *work,
                                               const maps &m,
                                               const attention &a,
                                               const lists &l)
{
    const int items = l.counts[0] * a.heads;
    ring<P::ITEMS> o;
    ring<P::STAGES> s;
    int begin, end;

    for (int n = blockIdx.x;; o.next()) {
        await(&r->q_empty[o.at], o.parity ^ 1);
        if (n >= items) {
            work[o.at].head = -1;
            arrive(&r->q_full[o.at]);
            return;
        }
        tile t = l.queries[n / a.heads].t;
        int head = n % a.heads, kv = head / a.group;
        work[o.at] = { t, head };
        arrive_for(&r->q_full[o.at], P::Q_BYTES);
        copy_tile<P::D, P::ROWS>(r->q[o.at], &m.q, head, t.q_at + t.first,
                                 &r->q_full[o.at]);
        key_range(a, t, t.first, P::ROWS, P::N, &begin, &end);
        for (int j = (end - 1) / P::N * P::N; j >= begin && end > begin;
             j -= P::N) {
            await(&r->k_empty[s.at], s.parity ^ 1);
            arrive_for(&r->k_full[s.at], P::K_BYTES);
            copy_tile<P::D, P::N>(r->k[s.at], &m.k, kv, t.k_at + j,
                                  &r->k_full[s.at]);
            await(&r->v_empty[s.at], s.parity ^ 1);
            arrive_for(&r->v_full[s.at], P::K_BYTES);
            copy_tile<P::D, P::N>(r->v[s.at], &m.v, kv, t.k_at + j,
                                  &r->v_full[s.at]);
            s.next();
        }
        n = gridDim.x + atomicAdd(l.counts + 2, 1);
    }
}

/* Scores become weights; SUM: this thread's share. */
template <int N>
static __device__ __forceinline__ void soften(float unit, float (&s)[N],
                                              float (&max)[2], float (&sum)[2],
                                              float (&factor)[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = max[h], total = 0, base;
#pragma unroll
        for (int n = 2 * h; n < N; n += 4)
            top = fmaxf(top, fmaxf(s[n], s[n + 1]));
        top = quad_max(top);
        base = top == -INFINITY ? 0.0f : top * unit;
        factor[h] = power_of_2(max[h] * unit - base);
#pragma unroll
        for (int n = 2 * h; n < N; n += 4) {
            s[n] = power_of_2(s[n] * unit - base);
            s[n + 1] = power_of_2(s[n + 1] * unit - base);
            total += s[n] + s[n + 1];
        }
        sum[h] = sum[h] * factor[h] + total;
        max[h] = top;
    }
}

/* Products of queries from I on and keys from J on: capped, -infinity where
 * unseen. */
template <class P>
static __device__ __forceinline__ void look(const attention &a, const tile &t,
                                            float (&s)[P::N / 2], int i, int j)
{
    if (P::CAPPED)
        cap_scores(a, s);
    if (!all_seen(a, t, i, 64, j, P::N))
        mask<P::N>(a, t, s, i, j);
}

/* What a thread has of its two rows. */
template <class P> struct sums {
    float o[P::D / 2] = {}, max[2] = { -INFINITY, -INFINITY }, sum[2] = {};
};

/* The tile Q of queries, of which this warpgroup's begin at I, from the last
 * key that any of them sees to the first. */
template <class P>
static __device__ __forceinline__ void attend(room<P> *r, const attention &a,
                                              const tile &t, const char *q,
                                              uint64_t *q_empty, int i,
                                              ring<P::STAGES> &now, sums<P> &x)
{
    constexpr int D = P::D, N = P::N;
    const int group = threadIdx.x / 128 - 1;
    const float unit = a.scale * LOG2E;
    float s[N / 2], factor[2];
    uint32_t w[N / 4];
    int begin, end, j;

    key_range(a, t, t.first, P::ROWS, N, &begin, &end);
    if (begin >= end) {
        arrive_warp(q_empty);
        return;
    }
    j = (end - 1) / N * N;
    await(&r->k_full[now.at], now.parity);
    rows_by_rows<D, P::ROWS, N>(s, q, 64 * group, r->k[now.at]);
    products_wait<0>();
    pin(s);
    arrive_warp(&r->k_empty[now.at]);
    look<P>(a, t, s, i, j);
    soften(unit, s, x.max, x.sum, factor);
    halve(w, s);
    ring<P::STAGES> v = now;
    if (j + N > t.k_len) { /* may be no numbers, as in a cache */
        await(&r->v_full[v.at], v.parity);
        clear_behind<D, N>(r->v[v.at], t.k_len - j, 4 + group);
    }
    now.next();
    for (j -= N; j >= begin; j -= N) {
        await(&r->k_full[now.at], now.parity);
        meet(1 + group, 256);
        rows_by_rows<D, P::ROWS, N>(s, q, 64 * group, r->k[now.at]);
        await(&r->v_full[v.at], v.parity);
        weigh_rows<D, N>(x.o, w, r->v[v.at]);
        pass(1 + (group + 1) % P::WGS, 256);
        products_wait<1>();
        pin(s);
        arrive_warp(&r->k_empty[now.at]);
        look<P>(a, t, s, i, j);
        soften(unit, s, x.max, x.sum, factor);
        products_wait<0>();
        pin(x.o);
        arrive_warp(&r->v_empty[v.at]);
#pragma unroll
        for (int n = 0; n < D / 2; n++)
            x.o[n] *= factor[n / 2 % 2];
        halve(w, s);
        v = now;
        now.next();
    }
    arrive_warp(q_empty);
    await(&r->v_full[v.at], v.parity);
    weigh_rows<D, N>(x.o, w, r->v[v.at]);
    products_wait<0>();
    pin(x.o);
    arrive_warp(&r->v_empty[v.at]);
}

/* The rows from I on of the document, for HEAD. */
template <class P>
static __device__ __forceinline__ void give(const attention &a,
                                            const attention_ptr &p,
                                            const tile &t, int head, int i,
                                            sums<P> &x)
{
    const int64_t row = (int64_t)(t.q_at + i) * a.heads + head;
    const int g = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int n = g + 8 * h;
        float sum = x.sum[h];

        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (threadIdx.x % 4 == 0 && i + n < t.q_len)
            p.lse[row + (int64_t)n * a.heads] =
                sum > 0 ? x.max[h] * a.scale + logf(sum) : 0.0f;
        x.sum[h] = sum > 0 ? 1.0f / sum : 0.0f;
    }
    give_rows<P::D>(x.o, x.sum, (__nv_bfloat16 *)p.out + row * a.d,
                    a.heads * a.d, t.q_len - i, a.d);
}

template <class P>
static __device__ __forceinline__ void consume(room<P> *r, const item *work,
                                               const attention &a,
                                               const attention_ptr &p)
{
    const int group = threadIdx.x / 128 - 1;
    ring<P::ITEMS> order;
    ring<P::STAGES> now;

    if (group == P::WGS - 1)
        pass(1, 256);
    for (;; order.next()) {
        await(&r->q_full[order.at], order.parity);
        const auto [t, head] = take_item(&work[order.at]);
        const int i = t.first + 64 * group;
        sums<P> x;
        if (head < 0)
            break;
        attend<P>(r, a, t, r->q[order.at], &r->q_empty[order.at], i, now, x);
        give<P>(a, p, t, head, i, x);
    }
    if (group == 0)
        meet(1, 256);
}

template <class P>
static __global__ void __launch_bounds__(P::BLOCK, 1)
    forward(const __grid_constant__ maps m,
            const __grid_constant__ attention a,
            const __grid_constant__ attention_ptr p,
            const __grid_constant__ lists l)
{
#ifdef HOPPER
    extern __shared__ char raw[];
    __shared__ item work[P::ITEMS];
    room<P> *r = (room<P> *)aligned_room(raw);

    if (threadIdx.x == 0) {
        for (int i = 0; i < P::ITEMS; i++) {
            barrier_init(&r->q_full[i], 1);
            barrier_init(&r->q_empty[i], 4 * P::WGS);
        }
        for (int i = 0; i < P::STAGES; i++) {
            barrier_init(&r->k_full[i], 1);
            barrier_init(&r->v_full[i], 1);
            barrier_init(&r->k_empty[i], 4 * P::WGS);
            barrier_init(&r->v_empty[i], 4 * P::WGS);
        }
        barriers_made();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<P::THEIRS>();
        if (threadIdx.x == 0)
            produce<P>(r, work, m, a, l);
    } else {
        registers_up<P::MINE>();
        consume<P>(r, work, a, p);
    }
#endif
}

/* -------------------------------------------------------------- launching */

template <int D, bool CAPPED>
using wide = forward_plan<D, D == 64 ? 3 : 2, D == 256 ? 64 : 128, CAPPED>;
typedef forward_plan<64, 2, 128, false> narrow;

/* Where there are only a few tiles of 192 queries for each processor, smaller
 * ones are shared out more evenly. */
template <class F> static auto with_forward_plan(const attention &a, F f)
{
    const bool few = a.tokens * a.heads < (int64_t)4 * 192 * a.processors;

    return few && a.d <= 64 && !(a.softcap > 0) ? f(narrow())
                                                : with_plan<wide>(a, f);
}

cudaError_t attention_sm90_forward_open(const attention &a)
{
    return with_forward_plan(a, [](auto p) {
        using P = decltype(p);
        return allow(forward<P>, sizeof(room<P>) + 1024);
    });
}

int attention_sm90_forward_rows(const attention &a)
{
    return with_forward_plan(a, [](auto p) { return decltype(p)::ROWS; });
}

void attention_sm90_forward(const attention &a, const attention_ptr &p,
                            const maps &m, const lists &l, cudaStream_t stream)
{
    with_forward_plan(a, [&](auto plan) {
        using P = decltype(plan);
        forward<P><<<a.processors, P::BLOCK, sizeof(room<P>) + 1024, stream>>>(
            m, a, p, l);
    });
}
