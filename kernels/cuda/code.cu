/* SPDX-License-Identifier: MIT
 *
 * code.cu -- for which cards this plugin was compiled, as the runtime found
 * code for the one that is here: all of the plugin is compiled alike. And noise
 * for those who measure it.
 */
#include <cuda_runtime_api.h>

#include "cuda.h"

static __global__ void nothing()
{
}

cudaError_t cuda_code_arch(int *arch)
{
    cudaFuncAttributes a;
    cudaError_t e = cudaFuncGetAttributes(&a, nothing);

    *arch = e == cudaSuccess ? a.ptxVersion : 0;
    return e;
}

/* Of two bytes the high one is near 1 in bf16, fp16, f32 and e4m3 alike,
 * with both signs; the others are anything. */
static __global__ void make_noise(uint32_t *to, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    for (; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t x = (uint32_t)i * 2654435761u;

        x = (x ^ x >> 15) * 2246822519u;
        x = (x ^ x >> 13) * 3266489917u;
        to[i] = ((x ^ x >> 16) & 0x80ff80ffu) | 0x3f003f00u;
    }
}

void cuda_noise(void *to, int64_t bytes, hone_stream stream)
{
    make_noise<<<1024, 256, 0, (cudaStream_t)stream>>>((uint32_t *)to,
                                                       bytes / 4);
}
