/* SPDX-License-Identifier: MIT
 *
 * mapfixed.cuh -- programs of `map` that are compiled ahead, because whole
 * models go through them at every step: interpreting one takes longer than
 * moving its numbers. A program is known by its text, whatever its numbers;
 * tests/test_adamw.c sees to it that AdamW's are these.
 */
#ifndef HONE_CUDA_MAPFIXED_CUH
#define HONE_CUDA_MAPFIXED_CUH

#include "mapfixed.h"

/* One element: x, y and, in their order, scalars and then numbers. */
struct map_adam {
    enum { READS = 1, WRITES = 3 };
    static __device__ __forceinline__ void run(const float *x, float *y,
                                               const float *u)
    {
        const float *n = u + MAP_ADAM_SCALARS, g = x[0] * u[2];

        y[1] += n[0] * (g - y[1]);
        y[2] = y[2] * n[1] + g * n[2] * g;
        y[0] -= u[3] * y[1] / (sqrtf(y[2]) / u[4] + n[3]);
    }
};

struct map_adam_decay {
    enum { READS = 1, WRITES = 3 };
    static __device__ __forceinline__ void run(const float *x, float *y,
                                               const float *u)
    {
        const float *n = u + MAP_ADAM_SCALARS, g = x[0] * u[2];

        y[0] -= u[1] * n[0] * y[0];
        y[1] += n[1] * (g - y[1]);
        y[2] = y[2] * n[2] + g * n[3] * g;
        y[0] -= u[3] * y[1] / (sqrtf(y[2]) / u[4] + n[4]);
    }
};

#endif
