/* SPDX-License-Identifier: MIT
 *
 * block8.cuh -- what `map` reads and writes in blocks of eight bits
 * (dynamic8.h): eight elements a thread, so that a warp has a block of 256 and
 * agrees by itself on the largest magnitude.
 */
#ifndef HONE_CUDA_BLOCK8_CUH
#define HONE_CUDA_BLOCK8_CUH

#include "device.cuh"

#include "attrs.h"
#include "dynamic8.h"

static_assert(32 * VECTOR == HONE_BLOCK8, "a warp has a block");

static inline __host__ __device__ bool is_block8(int storage)
{
    return storage == HONE_INT8 || storage == HONE_UINT8;
}

typedef float block8_values[2][256]; /* of HONE_INT8, of HONE_UINT8 */

static __device__ void block8_fill(block8_values &t)
{
    for (int i = threadIdx.x; i < 512; i += blockDim.x)
        t[i / 256][i % 256] = hone_dynamic8_value(i % 256, i < 256);
}

/* Elements I to I + 7, of which LIVE are there. */
static __device__ void block8_load(float (&v)[VECTOR],
                                   const block8_values &value, cell c,
                                   const float *absmax, int64_t i, int live)
{
    const unsigned char *code = (const unsigned char *)c.at + i;
    const float top = live > 0 ? absmax[i / HONE_BLOCK8] : 0.0f;

#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        v[e] = e < live ? value[c.storage == HONE_UINT8][code[e]] * top : 0.0f;
}

/* All lanes of the warp call it. */
static __device__ void block8_store(const block8_values &value, cell c,
                                    float *absmax, int64_t i,
                                    const float (&v)[VECTOR], int live)
{
    unsigned char *code = (unsigned char *)c.at + i;
    float most = 0, scale;

#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            most = fmaxf(most, fabsf(v[e]));
#pragma unroll
    for (int lane = 16; lane; lane /= 2)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, lane));
    scale = hone_dynamic8_scale(most);
    if (live > 0 && i % HONE_BLOCK8 == 0)
        absmax[i / HONE_BLOCK8] = most;
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            code[e] = (unsigned char)hone_dynamic8_code(
                value[c.storage == HONE_UINT8], v[e] * scale);
}

#endif
