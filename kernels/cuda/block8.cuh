/* SPDX-License-Identifier: MIT
 *
 * block8.cuh -- what `map` reads and writes in blocks of eight bits
 * (dynamic8.h): four elements a thread, so that 64 threads, two warps, have a
 * block of 256 and agree on its largest magnitude.
 */
#ifndef HONE_CUDA_BLOCK8_CUH
#define HONE_CUDA_BLOCK8_CUH

#include "device.cuh"

#include "attrs.h"
#include "dynamic8.h"
#include "mapcode.h"

static inline __host__ __device__ bool is_block8(int storage)
{
    return storage == HONE_INT8 || storage == HONE_UINT8;
}

template <int THREADS> struct block8_tables {
    float value[2][256]; /* of HONE_INT8, of HONE_UINT8 */
    /* By turns, so that one barrier a turn is enough. */
    float top[2][HONE_MAP_TENSORS][THREADS / 32];
};

template <int THREADS>
static __device__ void block8_fill(block8_tables<THREADS> *t)
{
    for (int i = threadIdx.x; i < 512; i += THREADS)
        t->value[i / 256][i % 256] = hone_dynamic8_value(i % 256, i < 256);
}

/* Elements I to I + 3, of which LIVE are there. */
static __device__ float4 block8_load(const float value[2][256], cell c,
                                     const float *absmax, int64_t i, int live)
{
    const unsigned char *code = (const unsigned char *)c.at + i;
    float v[4];

#pragma unroll
    for (int e = 0; e < 4; e++)
        v[e] = e < live ? value[c.storage == HONE_UINT8][code[e]] *
                              absmax[i / HONE_BLOCK8]
                        : 0.0f;
    return { v[0], v[1], v[2], v[3] };
}

/* A warp's share of the largest magnitude: to TOP[its number]. */
static __device__ void block8_top(float *top, float4 x, int live)
{
    const float v[4] = { x.x, x.y, x.z, x.w };
    float most = 0;

#pragma unroll
    for (int e = 0; e < 4; e++)
        if (e < live)
            most = fmaxf(most, fabsf(v[e]));
#pragma unroll
    for (int lane = 16; lane; lane /= 2)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, lane));
    if (threadIdx.x % 32 == 0)
        top[threadIdx.x / 32] = most;
}

static __device__ void block8_store(const float value[2][256], const float *top,
                                    cell c, float *absmax, int64_t i, float4 x,
                                    int live)
{
    const float v[4] = { x.x, x.y, x.z, x.w };
    const int warp = threadIdx.x / 64 * 2;
    const float most = fmaxf(top[warp], top[warp + 1]);
    const float scale = hone_dynamic8_scale(most);
    unsigned char *code = (unsigned char *)c.at + i;

    if (live > 0 && i % HONE_BLOCK8 == 0)
        absmax[i / HONE_BLOCK8] = most;
#pragma unroll
    for (int e = 0; e < 4; e++)
        if (e < live)
            code[e] = (unsigned char)hone_dynamic8_code(
                value[c.storage == HONE_UINT8], v[e] * scale);
}

#endif
