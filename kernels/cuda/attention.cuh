/* SPDX-License-Identifier: MIT
 *
 * attention.cuh -- what the attention kernels share: the call, the tiles of
 * packed documents, and which keys a query sees. How many tiles there are is
 * known on the device alone; a launch has as many blocks as there can be, and
 * those beyond the last tile leave at once.
 */
#ifndef HONE_CUDA_ATTENTION_CUH
#define HONE_CUDA_ATTENTION_CUH

#include "device.cuh"

struct attention {
    int64_t tokens, keys; /* rows of q, of k and v */
    int docs, heads, kv_heads, group, d;
    int window; /* 0: every earlier key */
    float scale, softcap;
    int storage; /* bf16 or fp16 on tensor cores, or fp32 */
    int turing;      /* code for compute capability 7.5 */
    int hopper;      /* the kernels for it */
    int processors;
    void *encode;    /* the driver's maker of tensor maps */
};

/* The operands; those of the gradients are NULL in the forward pass. */
struct attention_ptr {
    const void *q, *k, *v, *o, *d_o;
    void *out, *dq, *dk, *dv;
    float *lse, *delta;
    const int32_t *docs;
};

/* A tile of SIZE queries or keys of one document. */
struct tile {
    int first; /* within the document */
    int q_at, q_len, k_at, k_len;
};

/* Tile number WANTED, counted through all documents, by keys or by queries:
 * 32 documents at a time, the same by every warp. */
static __device__ inline bool find_tile(const attention &a,
                                        const int32_t *docs, int wanted,
                                        int size, bool by_keys, tile *t)
{
    int lane = threadIdx.x % 32, before = 0;

    for (int base = 0; base < a.docs; base += 32) {
        int4 d = { 0, 0, 0, 0 };
        if (base + lane < a.docs)
            d = ((const int4 *)docs)[base + lane];
        int length = d.y == 0 ? 0 : by_keys ? d.w : d.y;
        int tiles = (length + size - 1) / size, sum = tiles;
        for (int k = 1; k < 32; k *= 2) {
            int left = __shfl_up_sync(~0u, sum, k);
            sum += lane >= k ? left : 0;
        }
        unsigned beyond = __ballot_sync(~0u, before + sum > wanted);
        if (beyond) {
            int at = __ffs(beyond) - 1;
            int skipped = before + __shfl_sync(~0u, sum - tiles, at);
            t->first = (wanted - skipped) * size;
            t->q_at = __shfl_sync(~0u, d.x, at);
            t->q_len = __shfl_sync(~0u, d.y, at);
            t->k_at = __shfl_sync(~0u, d.z, at);
            t->k_len = __shfl_sync(~0u, d.w, at);
            return true;
        }
        before += __shfl_sync(~0u, sum, 31);
    }
    return false;
}

static inline unsigned most_tiles(int64_t rows, int docs, int size)
{
    return (unsigned)(rows / size + docs);
}

/* Query I of the document stands at this key. */
static __device__ __forceinline__ int place(const tile &t, int i)
{
    return i + t.k_len - t.q_len;
}

static __device__ __forceinline__ bool sees(const attention &a, const tile &t,
                                            int i, int j)
{
    int at = place(t, i);

    return i < t.q_len && j < t.k_len && j <= at &&
           (!a.window || j > at - a.window);
}

/* Keys [first, end) that queries [i, i + n) see at most; FIRST a multiple of
 * SIZE. */
static __device__ inline void key_range(const attention &a, const tile &t,
                                        int i, int n, int size, int *first,
                                        int *end)
{
    *end = min(t.k_len, place(t, min(i + n, t.q_len) - 1) + 1);
    *first = a.window ? max(0, place(t, i) - a.window + 1) : 0;
    *first = *first / size * size;
}

/* Queries [first, end) that see any of the keys [j, j + n). */
static __device__ inline void query_range(const attention &a, const tile &t,
                                          int j, int n, int size, int *first,
                                          int *end)
{
    int shift = t.k_len - t.q_len;

    *first = max(0, j - shift) / size * size;
    *end = t.q_len;
    if (a.window)
        *end = min(*end, min(j + n, t.k_len) - 1 + a.window - shift);
}

/* scale * x under the cap; *SLOPE: its derivative by scale * x. */
static __device__ __forceinline__ float score(const attention &a, float x,
                                              float *slope)
{
    x *= a.scale;
    *slope = 1.0f;
    if (a.softcap > 0) {
        float t = tanhf(x / a.softcap);
        *slope = 1.0f - t * t;
        x = a.softcap * t;
    }
    return x;
}

/* One build of a kernel for each size of head that it pads to. */
#define FOR_HEAD_SIZE(d, CALL)                                                 \
    do {                                                                       \
        if ((d) <= 64)                                                         \
            CALL(64);                                                          \
        else if ((d) <= 128)                                                   \
            CALL(128);                                                         \
        else                                                                   \
            CALL(256);                                                         \
    } while (0)

/* Lets the kernels have the shared memory that they want; the error says if
 * the card has less. */
cudaError_t attention_f32_open(const attention &, bool grad);
void attention_f32(const attention &, const attention_ptr &, cudaStream_t);
void attention_f32_grad(const attention &, const attention_ptr &, cudaStream_t);
cudaError_t attention_half_open(const attention &, bool grad);
void attention_half(const attention &, const attention_ptr &, cudaStream_t);
void attention_half_grad(const attention &, const attention_ptr &,
                         cudaStream_t);

/* The kernels for Hopper: bytes of workspace; open() fails where the build has
 * no code for it, as on any other card. */
static inline bool attention_sm90_covers(const attention &a)
{
    return a.storage == HONE_BF16 && a.d % 8 == 0 && a.d <= 256;
}
int64_t attention_sm90_bytes(const attention &, bool grad);
cudaError_t attention_sm90_open(attention &, bool grad);
void attention_sm90(const attention &, const attention_ptr &, void *workspace,
                    cudaStream_t);
void attention_sm90_grad(const attention &, const attention_ptr &,
                         void *workspace, cudaStream_t);

#endif
