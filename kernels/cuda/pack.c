/* SPDX-License-Identifier: MIT
 *
 * pack.c -- the plugin "cuda": the device and the pack of kernels.
 * gen/cuda.list names the files that bring kernels; their tables become one
 * when the plugin is loaded. Nothing here touches the driver: that begins when
 * the device is opened.
 */
#include "hone/plugin.h"

#include "tables.h"

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

static const hone_kernel none[1];
static hone_pack pack = {
    .size = sizeof(hone_pack), .device = "cuda", .kernels = none
};

__attribute__((constructor)) static void collect(void)
{
    const hone_kernel *all = hone_join_tables(files);

    pack.kernels = all ? all : none;
}

static const hone_component cuda_pack = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "cuda",
    .help = "fp32 and bf16 kernels: cuBLASLt for products, our own for the "
            "rest",
    .ops = &pack
};

HONE_PLUGIN("cuda", HONE_VERSION, &hone_cuda_device, &cuda_pack)
