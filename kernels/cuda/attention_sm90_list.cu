/* SPDX-License-Identifier: MIT
 *
 * attention_sm90_list.cu -- before the attention kernels for Hopper: lists of
 * tiles, the longest first; zeros for rows that belong to no document; for the
 * gradients lse in powers of two and delta = sum of do * o, by heads. The
 * order within a list is of no consequence to any result.
 */
#include "attention_sm90.cuh"

enum { LENGTHS = THREADS, CLEAR_ROWS = 64, STAT_ROWS = 32 };

/* Rows to clear: of COUNT rows those that are no query (or key) of any
 * document, in up to two tensors of rows of so many bytes. */
struct cover {
    int64_t count;
    void *at[2];
    int bytes[2];
    int by_keys;
};

static __host__ __device__ int64_t clear_blocks(const cover &c)
{
    return (c.count + CLEAR_ROWS - 1) / CLEAR_ROWS;
}

/* Counted down: the longest have the smallest number. */
static __device__ int length_class(const attention &a, const tile &t, int rows,
                                   bool by_keys)
{
    int first, end;

    if (by_keys)
        query_range(a, t, t.first, rows, 1, &first, &end);
    else
        key_range(a, t, t.first, rows, 1, &first, &end);
    return LENGTHS - 1 - min(max(end - first, 0) / 64, LENGTHS - 1);
}

/* How many are in each class becomes where the class begins; one thread for
 * each. Returns how many there are in all. */
static __device__ int begin_classes(int *places, int *sums)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int n = places[threadIdx.x], sum = n, before = 0, all = 0;

    for (int k = 1; k < 32; k *= 2) {
        int left = __shfl_up_sync(~0u, sum, k);
        sum += lane >= k ? left : 0;
    }
    if (lane == 31)
        sums[warp] = sum;
    __syncthreads();
    for (int k = 0; k < THREADS / 32; k++) {
        before += k < warp ? sums[k] : 0;
        all += sums[k];
    }
    places[threadIdx.x] = before + sum - n;
    return all;
}

/* By one block; PLACES: one for each length, SUMS: one for each warp. */
static __device__ void make_list(const attention &a, const int32_t *docs,
                                 int rows, bool by_keys, int *places,
                                 int *sums, listed *list, int *count)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    places[threadIdx.x] = 0;
    __syncthreads();
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            int all = begin_classes(places, sums);
            if (threadIdx.x == 0)
                *count = all;
            __syncthreads();
        }
        for (int n = warp; n < a.docs; n += THREADS / 32) {
            int4 d = ((const int4 *)docs)[n];
            listed l = { { 0, d.x, d.y, d.z, d.w }, {} };
            int length = d.y == 0 ? 0 : by_keys ? d.w : d.y;
            for (int i = lane * rows; i < length; i += 32 * rows) {
                l.t.first = i;
                int c = length_class(a, l.t, rows, by_keys);
                int at = atomicAdd(places + c, 1);
                if (pass == 1)
                    list[at] = l;
            }
        }
        __syncthreads();
    }
}

static __device__ void clear_rows(const attention &a, const int32_t *docs,
                                  const cover &c, int64_t first, int *owned)
{
    for (int i = threadIdx.x; i < CLEAR_ROWS; i += THREADS)
        owned[i] = first + i >= c.count;
    __syncthreads();
    for (int n = threadIdx.x; n < a.docs; n += THREADS) {
        int4 d = ((const int4 *)docs)[n];
        int64_t at = (c.by_keys ? d.z : d.x) - first;
        int64_t length = d.y == 0 ? 0 : c.by_keys ? d.w : d.y;
        int64_t end = min(at + length, (int64_t)CLEAR_ROWS);
        for (int64_t i = max(at, (int64_t)0); i < end; i++)
            owned[i] = 1;
    }
    __syncthreads();
    for (int i = 0; i < CLEAR_ROWS; i++) {
        if (owned[i])
            continue;
        for (int k = 0; k < 2; k++) {
            int words = c.bytes[k] / 4;
            int *to = (int *)c.at[k] + (first + i) * words;
            for (int w = threadIdx.x; w < words; w += THREADS)
                to[w] = 0;
        }
    }
}

/* Eight threads for each token of a head; BLOCK counts token by token. */
static __device__ void make_stats(const attention &a, const attention_ptr &p,
                                  const lists &l, int64_t block)
{
    const int64_t tokens = (l.stat_row + STAT_ROWS - 1) / STAT_ROWS;
    const int64_t i = block % tokens * STAT_ROWS + threadIdx.x / 8;
    const int head = (int)(block / tokens);
    const int64_t at = (i * a.heads + head) * a.d;
    const cell o = { (void *)p.o, HONE_BF16, 0 };
    const cell d_o = { (void *)p.d_o, HONE_BF16, 0 };
    float sum = 0, x[VECTOR], y[VECTOR];

#pragma unroll 2
    for (int e = threadIdx.x % 8 * VECTOR; i < a.tokens && e < a.d;
         e += 8 * VECTOR) {
        load_wide(x, o, at + e);
        load_wide(y, d_o, at + e);
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
            sum += x[k] * y[k];
    }
    for (int k = 4; k; k >>= 1)
        sum += __shfl_xor_sync(~0u, sum, k);
    if (i < l.stat_row && threadIdx.x % 8 == 0) {
        float *to = l.stats + (int64_t)head * 2 * l.stat_row + i;
        to[0] = i < a.tokens ? p.lse[i * a.heads + head] * LOG2E : 0.0f;
        to[l.stat_row] = sum;
    }
}

/* Block 0 makes the lists, those behind it clear, then come statistics. */
static __global__ void __launch_bounds__(THREADS)
    make_lists(attention a, attention_ptr p, lists l, int query_rows,
               int key_rows, cover q, cover k)
{
    __shared__ int places[LENGTHS], sums[THREADS / 32];
    const int64_t q_blocks = clear_blocks(q), k_blocks = clear_blocks(k);
    const int64_t block = (int64_t)blockIdx.x - 1;

    if (block >= q_blocks + k_blocks)
        make_stats(a, p, l, block - q_blocks - k_blocks);
    else if (block >= q_blocks)
        clear_rows(a, p.docs, k, (block - q_blocks) * CLEAR_ROWS, places);
    else if (block >= 0)
        clear_rows(a, p.docs, q, block * CLEAR_ROWS, places);
    if (block >= 0)
        return;
    if (threadIdx.x < 2)
        l.counts[2 + threadIdx.x] = 0;
    make_list(a, p.docs, query_rows, false, places, sums, l.queries, l.counts);
    if (key_rows)
        make_list(a, p.docs, key_rows, true, places, sums, l.keys,
                  l.counts + 1);
}

void attention_sm90_lists(const attention &a, const attention_ptr &p,
                          const lists &l, bool grad, int query_rows,
                          int key_rows, cudaStream_t stream)
{
    const int q_bytes = 2 * a.heads * a.d, k_bytes = 2 * a.kv_heads * a.d;
    cover q = { a.tokens, { p.out, p.lse }, { q_bytes, 4 * a.heads }, 0 };
    cover k = { grad ? a.keys : 0, { p.dk, p.dv }, { k_bytes, k_bytes }, 1 };

    int64_t blocks = 1 + clear_blocks(q) + clear_blocks(k);

    if (grad) {
        q.at[0] = p.dq;
        q.bytes[1] = 0;
        blocks += blocks_for(l.stat_row, STAT_ROWS) * (int64_t)a.heads;
    }
    make_lists<<<(unsigned)blocks, THREADS, 0, stream>>>(a, p, l, query_rows, key_rows,
                                               q, k);
}
