/* SPDX-License-Identifier: MIT
 *
 * code.cu -- for which cards this plugin was compiled, as the runtime found
 * code for the one that is here: all of the plugin is compiled alike.
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
