/* SPDX-License-Identifier: MIT
 *
 * pack.c -- the plugin "cuda": the device and the pack of kernels.
 * gen/cuda.list names the files that bring kernels; their tables become one
 * when the plugin is loaded. Nothing here touches the driver: that begins when the device is
 * opened.
 */
#include "hone/plugin.h"

extern const hone_component hone_cuda_device;

#define KERNELS(file) extern const hone_kernel hone_cuda_##file[];
#include "cuda.list"
#undef KERNELS
#define KERNELS(file) hone_cuda_##file,
static const hone_kernel *const files[] = {
#include "cuda.list"
    NULL
};
#undef KERNELS

enum { MOST = 128 }; /* kernels; those behind the last are all 0 */

static hone_kernel kernels[MOST];

__attribute__((constructor)) static void collect(void)
{
    int n = 0;

    for (const hone_kernel *const *file = files; *file; file++)
        for (const hone_kernel *k = *file; k->op && n < MOST - 1; k++)
            kernels[n++] = *k;
}

static const hone_pack pack = {
    .size = sizeof(hone_pack), .device = "cuda", .kernels = kernels
};

static const hone_component cuda_pack = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "cuda",
    .help = "fp32 and bf16 kernels: cuBLASLt for products, our own for the "
            "rest",
    .ops = &pack
};

HONE_PLUGIN("cuda", HONE_VERSION, &hone_cuda_device, &cuda_pack)
