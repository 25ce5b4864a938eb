/* SPDX-License-Identifier: MIT
 *
 * dynamic8.h -- numbers of [-1, 1] in eight bits whose exponent is unary: the
 * larger the number, the fewer bits it takes and the more are left for the
 * fraction (Dettmers, "8-Bit Approximations for Parallelism in Deep
 * Learning", 2016). A code is an index into 256 values in rising order; the
 * signed ones hold both signs, the others twice as many of one. The values
 * are those of bitsandbytes to the bit.
 *
 * Held in blocks of HONE_BLOCK8, each beside its largest magnitude (Dettmers
 * et al., "8-bit Optimizers via Block-wise Quantization", 2022).
 */
#ifndef HONE_DYNAMIC8_H
#define HONE_DYNAMIC8_H

#include <math.h>

#ifdef __CUDACC__
#define HONE_DYNAMIC8 static __host__ __device__ inline
#else
#define HONE_DYNAMIC8 static inline
#endif

enum { HONE_BLOCK8 = 256 };

/* Boundary J of N steps between 0.1 and 1, from the nearer end. */
HONE_DYNAMIC8 float hone_dynamic8_edge(int j, int n)
{
    const float step = (1.0f - 0.1f) / (float)n;

    return j < (n + 1) / 2 ? fmaf(step, (float)j, 0.1f)
                           : fmaf(-step, (float)(n - j), 1.0f);
}

/* Positive value K, from 0 on: the middle between two boundaries of its
 * decade, each of which has twice as many as the one below. */
HONE_DYNAMIC8 float hone_dynamic8_positive(int k, int is_signed)
{
    const float decade[7] = { 1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f };
    int n = is_signed ? 1 : 2, i = 0;

    for (; i < 7 && k >= n; i++, n *= 2)
        k -= n;
    if (i == 7)
        return 1.0f;
    return decade[i] * ((hone_dynamic8_edge(k, n) +
                         hone_dynamic8_edge(k + 1, n)) / 2.0f);
}

HONE_DYNAMIC8 float hone_dynamic8_value(int code, int is_signed)
{
    const int zero = is_signed ? 127 : 0;

    if (code == zero)
        return 0.0f;
    return code > zero ? hone_dynamic8_positive(code - zero - 1, is_signed)
                       : -hone_dynamic8_positive(zero - 1 - code, is_signed);
}

/* The code of the nearest of the 256 values to X; of two the lower one. */
HONE_DYNAMIC8 int hone_dynamic8_code(const float *value, float x)
{
    int low = 0, high = 255;

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (value[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return x <= (value[low] + value[high]) / 2.0f ? low : high;
}

/* What the numbers of a block are multiplied by before they are coded. */
HONE_DYNAMIC8 float hone_dynamic8_scale(float top)
{
    return top > 0 ? 1.0f / top : 0.0f;
}

#endif
