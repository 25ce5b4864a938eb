/* SPDX-License-Identifier: MIT
 *
 * power.cuh -- powers in one instruction each. The library's functions add
 * three or four for results below 2^-126, which are 0 here, and are what a
 * kernel that only reads and writes waits for: 16 of these fit a clock of a
 * multiprocessor, 128 of others.
 */
#ifndef HONE_CUDA_POWER_CUH
#define HONE_CUDA_POWER_CUH

#define LOG2_E 1.44269504088896340736f

/* 2^x, within 2 units in the last place. */
static __device__ __forceinline__ float power_of_2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / x, within 1; of infinity 0. */
static __device__ __forceinline__ float quick_inverse(float x)
{
    float y;

    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
