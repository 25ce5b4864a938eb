/* SPDX-License-Identifier: MIT
 *
 * factor.cuh -- what the kernels for low-rank factors share. A factor is a
 * matrix with one narrow side, of NARROW at most: its products move as many
 * bytes as x or y have and compute next to nothing, so that all that counts is
 * to read each wide operand once. Columns of the narrow side go by tiles of
 * eight; the factors of one call lie tile behind tile.
 */
#ifndef HONE_CUDA_FACTOR_CUH
#define HONE_CUDA_FACTOR_CUH

#include "attrs.h"
#include "cuda.h"
#include "mma.cuh"

enum { NARROW = 64, FACTOR_TILES = 16, FACTOR_WARPS = 8,
       FACTOR_THREADS = 32 * FACTOR_WARPS };

/* Eight columns of one operand: the first of them, and how far rows lie. */
struct factor_tile {
    int part, column, row;
};

struct factor_tiles {
    int count;
    factor_tile tile[FACTOR_TILES];
};

static inline int factor_narrow(int64_t n)
{
    return n >= 8 && n <= NARROW && n % 8 == 0;
}

/* Adds the tiles of operand PART with WIDTH columns; 0: there is no room. */
static inline int factor_add(factor_tiles *f, int part, int64_t width)
{
    if (!factor_narrow(width) || f->count + width / 8 > FACTOR_TILES)
        return 0;
    for (int64_t k = 0; k < width; k += 8)
        f->tile[f->count++] = { part, (int)k, (int)width };
    return 1;
}

static inline hone_status factor_none(const hone_call *c, hone_err *err)
{
    return hone_fail(err, HONE_ENOSUP, "cuda: %s: not a narrow factor in bf16",
                     c->op);
}

/* All inputs that there are, a bias need not be, are wanted as bf16; the call
 * must compute in it. */
static inline int factor_want(const hone_call *c, hone_need *need)
{
    for (uint32_t i = 0; i < c->nin; i++) {
        if (c->type[i].storage == HONE_NOTHING)
            continue;
        if (!cuda_is_float(c->type[i].storage))
            return 0;
        need->want[i] = HONE_BF16;
    }
    return c->compute == HONE_BF16 &&
           !(c->device && c->device->arch && c->device->arch < 80);
}

static __device__ __forceinline__ void add_to(float4 &sum, float4 v)
{
    sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
}

/* The sum of COUNT times four floats that lie STRIDE apart, in their order;
 * eight times four are on their way at once. */
static __device__ __forceinline__ float4 sum_of_parts(const float *from,
                                                      int64_t stride, int count)
{
    float4 sum = { 0, 0, 0, 0 };

    for (int first = 0; first < count; first += 8) {
        float4 v[8];

#pragma unroll
        for (int k = 0; k < 8; k++, from += stride)
            v[k] = first + k < count ? __ldcg((const float4 *)from)
                                     : float4{ 0, 0, 0, 0 };
#pragma unroll
        for (int k = 0; k < 8; k++)
            add_to(sum, v[k]);
    }
    return sum;
}

/* A kernel that adds up what the one before it leaves may be put on its way
 * before that one is through: from compute capability 9.0 on. The first one
 * says from where on ... */
static __device__ __forceinline__ void next_may_start()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* ... and the other waits until it is through and all it wrote is there. */
static __device__ __forceinline__ void wait_for_last()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* EARLY: the kernel begins with wait_for_last(), in code for such a card. */
template <class... A>
static void launch_behind(int early, cudaStream_t s, unsigned blocks,
                          void (*kernel)(A...), A... a)
{
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute attribute = {};

    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = dim3(blocks);
    c.blockDim = dim3(FACTOR_THREADS);
    c.stream = s;
    c.attrs = &attribute;
    c.numAttrs = early ? 1 : 0;
    (void)cudaLaunchKernelEx(&c, kernel, a...);
}

static inline int factor_early(const void *ctx)
{
    return ((const cuda_device *)ctx)->arch >= 90;
}

/* Products are in registers of a card with bf16; older ones never get here. */
static inline hone_status factor_card(const hone_call *c, void *ctx,
                                      hone_err *err)
{
    const cuda_device *d = (const cuda_device *)ctx;

    if (d->arch >= 80)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "cuda: %s: %s has no bf16; write "
                     "precision = \"fp32\"", c->op, d->name);
}

#endif
