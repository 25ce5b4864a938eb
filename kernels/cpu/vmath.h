/* SPDX-License-Identifier: MIT
 *
 * vmath.h -- elementary functions without branches, so that loops over them
 * vectorise. Errors are relative, measured over the whole range by
 * tests/test_cpu.c: below 2e-7 for exp, sin and cos (absolute for the last
 * two). NaN goes through everything.
 */
#ifndef HONE_CPU_VMATH_H
#define HONE_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

static inline int32_t vm_bits(float x)
{
    int32_t i;

    memcpy(&i, &x, sizeof i);
    return i;
}

static inline float vm_float(int32_t i)
{
    float x;

    memcpy(&x, &i, sizeof x);
    return x;
}

/* 2^n for -127 < n < 128; any float for others, which NaN brings about. */
static inline float vm_power(int32_t n)
{
    return vm_float((int32_t)((uint32_t)(n + 127) << 23));
}

/* exp(x) = 2^n p(r), r = x - n ln 2, |r| <= ln 2 / 2; p from Cephes' expf.
 * 1.5 * 2^23 added to a float leaves its rounded value in the low bits. 2^n is
 * applied in two halves: n = 128 and subnormal results are then exact. */
static inline float vm_exp(float x)
{
    const float magic = 12582912.0f;
    float k, r, p;
    int32_t n;

    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    k = x * 1.44269504088896341f + magic;
    n = vm_bits(k) - vm_bits(magic);
    k -= magic;
    r = x - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return p * vm_power(n >> 1) * vm_power(n - (n >> 1));
}

/* 1 / (1 + exp(-x)) */
static inline float vm_sigmoid(float x)
{
    return 1.0f / (1.0f + vm_exp(-x));
}

/* tanh by exp(-2|x|); near 0, where that cancels, by Cephes' polynomial. */
static inline float vm_tanh(float x)
{
    float a = x < 0 ? -x : x;
    float e = vm_exp(-2.0f * a);
    float big = (1.0f - e) / (1.0f + e);
    float z = x * x;
    float p = -5.70498872745e-3f;

    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    big = x < 0 ? -big : big;
    return a < 0.625f ? p : big;
}

/* Sine and cosine of ANGLE, |angle| < 2^31: the quadrant is taken off in
 * double, where a product position * frequency is still exact enough; the
 * rest is Cephes' sinf and cosf. */
static inline void vm_sincos(double angle, float *sine, float *cosine)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    double k = angle * 0.63661977236758134308 + magic;
    int64_t q;
    float r, z, s, c;
    int32_t swap, flip_s, flip_c;
    int32_t sb, cb;

    memcpy(&q, &k, sizeof q);
    r = (float)(angle - (k - magic) * 1.57079632679489661923);
    z = r * r;
    s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) *
            z * r +
        r;
    c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z +
         4.166664568298827e-2f) *
            z * z -
        0.5f * z + 1.0f;
    /* Quadrants 1 and 3 swap the two; the signs follow from bit 1. */
    swap = -(int32_t)(q & 1);
    flip_s = (int32_t)((q & 2) << 30);
    flip_c = (int32_t)(((q + 1) & 2) << 30);
    sb = vm_bits(s);
    cb = vm_bits(c);
    *sine = vm_float(((sb & ~swap) | (cb & swap)) ^ flip_s);
    *cosine = vm_float(((cb & ~swap) | (sb & swap)) ^ flip_c);
}

#endif
