/* SPDX-License-Identifier: MIT
 *
 * fp8.cuh -- a row of numbers as codes of e4m3 with one scale, amax / 448, for
 * the kernels that make the row: it is coded while they have it. The codes
 * are of what was stored, so that they are the same as those of `convert`; a
 * row's depend on nothing but the row, so that a batch's layout changes nothing.
 */
#ifndef HONE_CUDA_FP8_CUH
#define HONE_CUDA_FP8_CUH

#include <cuda_fp8.h>

#include "device.cuh"

/* An operand in HONE_FP8, or nothing. */
struct coded {
    uint8_t *codes;
    float *scales;
};

static inline coded coded_of(const hone_ptr *ptr, uint32_t i)
{
    return { (uint8_t *)ptr[i].part[0], (float *)ptr[i].part[1] };
}

static __device__ __forceinline__ float top_of(const float (&v)[VECTOR])
{
    float top = 0;

#pragma unroll
    for (int k = 0; k < VECTOR; k++)
        top = fmaxf(top, fabsf(v[k]));
    return top;
}

/* The largest of a row from those of its threads: a row of zeros has a scale,
 * too, and no code overflows its inverse. */
template <int W>
static __device__ __forceinline__ float row_top(float top, float *shared)
{
    return fmaxf(team_max<W>(top, shared), 1e-30f);
}

static __device__ __forceinline__ float scale_of(float top)
{
    return top / 448.0f;
}

static __device__ __forceinline__ uint32_t four_codes(const float *v,
                                                      float inverse)
{
    __nv_fp8x2_storage_t low = __nv_cvt_float2_to_fp8x2(
        { v[0] * inverse, v[1] * inverse }, __NV_SATFINITE, __NV_E4M3);
    __nv_fp8x2_storage_t high = __nv_cvt_float2_to_fp8x2(
        { v[2] * inverse, v[3] * inverse }, __NV_SATFINITE, __NV_E4M3);

    return low | (uint32_t)high << 16;
}

static __device__ __forceinline__ void put_codes(coded to, int64_t at,
                                                 const float (&v)[VECTOR],
                                                 float top)
{
    const float inverse = 448.0f / top;

    *(uint2 *)(to.codes + at) = { four_codes(v, inverse),
                                  four_codes(v + 4, inverse) };
}

/* The part of prepare() that is about outputs behind the op's own NOUT: the
 * first of those once more as codes. */
static inline hone_status cuda_twice(const hone_call *c, uint32_t nout,
                                     hone_need *need, hone_err *err)
{
    for (uint32_t i = c->nin + nout; i < c->nin + c->nout; i++)
        if (c->type[i].storage != HONE_FP8 || c->compute != HONE_BF16 ||
            c->type[i].rank != 2 || c->type[i].dim[1] % 16)
            return hone_fail(err, HONE_ENOSUP, "cuda: %s: only rows in bf16 "
                             "are coded besides, and as fp8", c->op);
    need->twice = c->nout > nout;
    return HONE_OK;
}

/* The call without those. */
static inline hone_call cuda_once(const hone_call *c, uint32_t nout)
{
    hone_call own = *c;

    own.nout = nout;
    return own;
}

#endif
