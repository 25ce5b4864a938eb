/* SPDX-License-Identifier: MIT
 *
 * pack.c -- the plugin "cpu": the device and the pack of kernels. The kernels
 * are there once for each level of the instruction set (gen/cpu.list names
 * their files); the best one that this machine has is taken when the plugin
 * is loaded, before anyone can look at the table.
 */
#include "hone/plugin.h"

#include "tables.h"

extern const hone_component hone_cpu_device;

#define KERNELS(file) extern const hone_kernel hone_cpu_##file##_base[];
#include "cpu.list"
#undef KERNELS
#define KERNELS(file) hone_cpu_##file##_base,
static const hone_kernel *const base[] = {
#include "cpu.list"
    NULL
};
#undef KERNELS

#ifdef CPU_X86_LEVELS
#define KERNELS(file)                                                          \
    extern const hone_kernel hone_cpu_##file##_v3[], hone_cpu_##file##_v4[];
#include "cpu.list"
#undef KERNELS
#define KERNELS(file) hone_cpu_##file##_v3,
static const hone_kernel *const v3[] = {
#include "cpu.list"
    NULL
};
#undef KERNELS
#define KERNELS(file) hone_cpu_##file##_v4,
static const hone_kernel *const v4[] = {
#include "cpu.list"
    NULL
};
#undef KERNELS

/* The levels as the x86-64 psABI defines them, as far as compilers use them. */
static const hone_kernel *const *best_level(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi2"))
        return base;
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return v4;
    return v3;
}
#else
static const hone_kernel *const *best_level(void)
{
    return base;
}
#endif

static const hone_kernel none[1];
static hone_pack pack = { .size = sizeof(hone_pack),
                          .device = "cpu",
                          .kernels = none };

__attribute__((constructor)) static void collect(void)
{
    const hone_kernel *all = hone_join_tables(best_level());

    pack.kernels = all ? all : none;
}

static const hone_component cpu_pack = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "cpu",
    .help = "fp32 kernels: OpenBLAS for products, OpenMP for the rest",
    .ops = &pack
};

HONE_PLUGIN("cpu", HONE_VERSION, &hone_cpu_device, &cpu_pack)
