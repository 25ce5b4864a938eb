/* SPDX-License-Identifier: MIT
 *
 * device.cuh -- what kernels share: elements of any plain storage as floats,
 * eight at a time where addresses allow it, and sums over teams of threads in
 * a fixed order. The storage is a value, the same for a whole launch: its
 * branch costs nothing beside the memory that it waits for, and one build of a
 * kernel serves fp32, bf16 and any mix.
 */
#ifndef HONE_CUDA_DEVICE_CUH
#define HONE_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda.h"

enum { THREADS = 256, VECTOR = 8 };

/* An operand on the device. */
struct cell {
    void *at;
    unsigned char storage;
    unsigned char add; /* an output: what is there counts */
};

static inline cell cell_of(const hone_ptr *ptr, uint32_t i, int storage,
                           int add = 0)
{
    return { ptr[i].part[0], (unsigned char)storage, (unsigned char)add };
}

/* What the compiler can rely on. */
template <bool IS_BF16> static __device__ __forceinline__ cell known(cell c)
{
    if (IS_BF16)
        c.storage = HONE_BF16;
    return c;
}

static inline unsigned blocks_for(int64_t n, int64_t each)
{
    return (unsigned)(n > 0 ? (n + each - 1) / each : 1);
}

/* ------------------------------------------------------------ one element */

static __device__ __forceinline__ float get(cell c, int64_t i)
{
    if (c.storage == HONE_F32)
        return ((const float *)c.at)[i];
    if (c.storage == HONE_BF16)
        return __bfloat162float(((const __nv_bfloat16 *)c.at)[i]);
    return __half2float(((const __half *)c.at)[i]);
}

static __device__ __forceinline__ void put(cell c, int64_t i, float x)
{
    if (c.add)
        x += get(c, i);
    if (c.storage == HONE_F32)
        ((float *)c.at)[i] = x;
    else if (c.storage == HONE_BF16)
        ((__nv_bfloat16 *)c.at)[i] = __float2bfloat16_rn(x);
    else
        ((__half *)c.at)[i] = __float2half_rn(x);
}

/* What a reader of the storage will see of X. */
static __device__ __forceinline__ float rounded(int storage, float x)
{
    if (storage == HONE_F32)
        return x;
    if (storage == HONE_BF16)
        return __bfloat162float(__float2bfloat16_rn(x));
    return __half2float(__float2half_rn(x));
}

/* --------------------------------------------------------- eight elements */

/* A pair of half-width numbers in a word. */
static __device__ __forceinline__ float2 unpack(int storage, uint32_t word)
{
    if (storage == HONE_BF16)
        return { __uint_as_float(word << 16),
                 __uint_as_float(word & 0xffff0000u) };
    return __half22float2(*reinterpret_cast<__half2 *>(&word));
}

static __device__ __forceinline__ uint32_t pack(int storage, float low,
                                                float high)
{
    uint32_t word;

    if (storage == HONE_BF16) {
        __nv_bfloat162 b = __floats2bfloat162_rn(low, high);
        memcpy(&word, &b, sizeof word);
    } else {
        __half2 h = __floats2half2_rn(low, high);
        memcpy(&word, &h, sizeof word);
    }
    return word;
}

/* Eight numbers in bf16. */
static __device__ __forceinline__ void spread(float (&v)[VECTOR], uint4 w)
{
    const uint32_t word[4] = { w.x, w.y, w.z, w.w };

#pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 f = unpack(HONE_BF16, word[k]);
        v[2 * k] = f.x, v[2 * k + 1] = f.y;
    }
}

/* Eight elements as they are stored. Who needs several of them fetches all, so
 * that they are on their way together, before it looks at the first. */
struct words {
    uint4 low, high; /* high: of f32 */
};

static __device__ __forceinline__ words fetch_wide(cell c, int64_t i)
{
    words w = {};

    if (c.storage == HONE_F32) {
        w.low = ((const uint4 *)((const float *)c.at + i))[0];
        w.high = ((const uint4 *)((const float *)c.at + i))[1];
    } else {
        w.low = *(const uint4 *)((const uint16_t *)c.at + i);
    }
    return w;
}

static __device__ __forceinline__ void spread(float (&v)[VECTOR],
                                              const words &w, int storage)
{
    const uint32_t word[VECTOR] = { w.low.x,  w.low.y,  w.low.z,  w.low.w,
                                    w.high.x, w.high.y, w.high.z, w.high.w };

    if (storage == HONE_F32) {
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
            v[k] = __uint_as_float(word[k]);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 f = unpack(storage, word[k]);
        v[2 * k] = f.x, v[2 * k + 1] = f.y;
    }
}

static __device__ __forceinline__ void load_wide(float (&v)[VECTOR], cell c,
                                                 int64_t i)
{
    spread(v, fetch_wide(c, i), c.storage);
}

static __device__ __forceinline__ void store_wide(cell c, int64_t i,
                                                  float (&v)[VECTOR])
{
    if (c.add) {
        float old[VECTOR];
        load_wide(old, c, i);
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
            v[k] += old[k];
    }
    if (c.storage == HONE_F32) {
        float4 *at = (float4 *)((float *)c.at + i);
        at[0] = { v[0], v[1], v[2], v[3] };
        at[1] = { v[4], v[5], v[6], v[7] };
    } else {
        *(uint4 *)((uint16_t *)c.at + i) = {
            pack(c.storage, v[0], v[1]), pack(c.storage, v[2], v[3]),
            pack(c.storage, v[4], v[5]), pack(c.storage, v[6], v[7])
        };
    }
}

/* LIVE of eight elements; the rest are 0, and are not stored. */
static __device__ __forceinline__ void load(float (&v)[VECTOR], cell c,
                                            int64_t i, int live, int wide)
{
    if (wide && live >= VECTOR) {
        load_wide(v, c, i);
        return;
    }
#pragma unroll
    for (int k = 0; k < VECTOR; k++)
        v[k] = k < live ? get(c, i + k) : 0.0f;
}

static __device__ __forceinline__ void store(cell c, int64_t i,
                                             float (&v)[VECTOR], int live,
                                             int wide)
{
    if (wide && live >= VECTOR) {
        store_wide(c, i, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < VECTOR; k++)
        if (k < live)
            put(c, i + k, v[k]);
}

/* ------------------------------------------------------------ teams' sums */

/* Over the threads of a part of a warp (W below 32), of a warp (W 32) or of the
 * block (W THREADS). SHARED: room for one number a warp. All threads get the
 * result. */
template <int W, class T>
static __device__ __forceinline__ T team_sum(T x, T *shared)
{
#pragma unroll
    for (int k = (W < 32 ? W : 32) / 2; k; k >>= 1)
        x += __shfl_xor_sync(~0u, x, k);
    if (W <= 32)
        return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
#pragma unroll
    for (int k = 0; k < W / 32; k++)
        x += shared[k];
    return x;
}

template <int W>
static __device__ __forceinline__ float team_max(float x, float *shared)
{
#pragma unroll
    for (int k = (W < 32 ? W : 32) / 2; k; k >>= 1)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, k));
    if (W <= 32)
        return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
#pragma unroll
    for (int k = 1; k < W / 32; k++)
        x = fmaxf(x, shared[k]);
    return x;
}

#endif
