/* SPDX-License-Identifier: MIT
 *
 * slices.cuh -- the second half of sums over rows: partial sums [slices, d] are
 * added in one order, so that the result never depends on which block was
 * faster.
 */
#ifndef HONE_CUDA_SLICES_CUH
#define HONE_CUDA_SLICES_CUH

#include "device.cuh"

enum { JOINERS = 1024 }; /* threads: there are few blocks, and all must wait */

/* A block has 32 columns; each warp adds some slices, then one adds the
 * warps' sums in their order. */
static __global__ void __launch_bounds__(JOINERS)
    join_slices(int slices, int64_t d, const float *partial, cell out)
{
    __shared__ float sums[JOINERS / 32][32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first = slices * warp / (JOINERS / 32);
    const int last = slices * (warp + 1) / (JOINERS / 32);
    int64_t k = (int64_t)blockIdx.x * 32 + lane;
    float sum = 0;

#pragma unroll 8
    for (int s = first; s < last; s++)
        sum += k < d ? partial[s * d + k] : 0.0f;
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp || k >= d)
        return;
#pragma unroll
    for (int w = 1; w < JOINERS / 32; w++)
        sum += sums[w][lane];
    put(out, k, sum);
}

/* Enough slices of UNITS threads each to fill a large GPU, none of less than
 * 16 rows. */
static inline int slices_for(int64_t rows, int64_t units)
{
    int64_t slices = 131072 / units;

    if (slices > rows / 16)
        slices = rows / 16;
    return (int)(slices < 1 ? 1 : slices > 4096 ? 4096 : slices);
}

#endif
