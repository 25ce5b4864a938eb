/* SPDX-License-Identifier: MIT
 *
 * elementwise.cuh -- the arithmetic of swiglu and its gradients on the numbers
 * of one element, and the operands that a kernel has of such ops.
 */
#ifndef HONE_CUDA_ELEMENTWISE_CUH
#define HONE_CUDA_ELEMENTWISE_CUH

#include "device.cuh"

template <int IN, int OUT> struct operands {
    cell x[IN], y[OUT];
};

static __device__ __forceinline__ float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

struct swiglu_of { /* gate, up */
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = x[0] * sigmoid(x[0]) * x[1];
    }
};

struct swiglu_slopes { /* dy, gate, up */
    __device__ void operator()(const float *x, float *y) const
    {
        float s = sigmoid(x[1]);
        y[0] = x[0] * x[2] * s * (1.0f + x[1] * (1.0f - s));
        y[1] = x[0] * x[1] * s;
    }
};

struct swiglu_again { /* dy, gate, up */
    __device__ void operator()(const float *x, float *y) const
    {
        swiglu_slopes{}(x, y);
        swiglu_of{}(x + 1, y + 2);
    }
};

#endif
