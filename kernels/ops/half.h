/* SPDX-License-Identifier: MIT
 *
 * half.h -- bf16 and f16 to float and back, rounding to nearest even. Shared
 * by the reference and by packs; plain integer code, no intrinsics.
 */
#ifndef HONE_HALF_H
#define HONE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t hone_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float hone_float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float hone_bf16_load(uint16_t h)
{
    return hone_float_of((uint32_t)h << 16);
}

static inline uint16_t hone_bf16_round(float f)
{
    uint32_t u = hone_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) /* a NaN stays one */
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float hone_f16_load(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 31u, mantissa = h & 1023u;
    if (exponent == 0) /* zero or subnormal: mantissa * 2^-24, exact */
        return hone_float_of(sign | hone_float_bits((float)mantissa *
                                                    5.9604644775390625e-8f));
    if (exponent == 31)
        return hone_float_of(sign | 0x7f800000u | mantissa << 13);
    return hone_float_of(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t hone_f16_round(float f)
{
    uint32_t u = hone_float_bits(f);
    uint32_t sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* subnormal: the spacing of floats at 0.5 is ours */
        a = hone_float_bits(hone_float_of(a) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | a);
    }
    a += 0xfffu + (a >> 13 & 1u) - (112u << 23);
    return (uint16_t)(sign | a >> 13);
}

#endif
