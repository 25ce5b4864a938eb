/* SPDX-License-Identifier: MIT
 *
 * e4m3.c -- see e4m3.h. The loops have no branches, so that the compiler
 * vectorises them: every weight of a model goes through here as it is loaded.
 */
#include "e4m3.h"

#include <math.h>
#include <string.h>

#include "bits.h"

float hone_e4m3_load(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    float x = exponent ? ldexpf((float)(8 + mantissa), exponent - 10)
                       : ldexpf((float)mantissa, -9);

    if ((code & 0x7f) == 0x7f)
        x = NAN;
    return code & 0x80 ? -x : x;
}

/* Of a float without its sign. Below 2^-6 codes are equally far apart, as the
 * floats from 2^14 on are: the addition rounds to them. */
static uint32_t code_of(uint32_t a)
{
    uint32_t small = hone_bits_of(hone_float_of(a) + 16384.0f) - 0x46800000;
    uint32_t normal = (a - (120u << 23) + 0x7ffff + (a >> 20 & 1)) >> 20;
    uint32_t code = a < 0x3c800000 ? small : normal;

    code = a >= 0x43e00000 ? 0x7e : code;
    return a > 0x7f800000 ? 0x7f : code;
}

void hone_e4m3_codes(uint8_t *restrict to, const float *restrict x, float scale,
                    int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t u = hone_bits_of(x[i] / scale);

        to[i] = (uint8_t)(code_of(u & 0x7fffffff) | (u >> 24 & 0x80));
    }
}

float hone_e4m3_top(float top, const float *x, int64_t count)
{
    uint32_t most = hone_bits_of(top);

    for (int64_t i = 0; i < count; i++) { /* as integers they compare alike */
        uint32_t a = hone_bits_of(x[i]) & 0x7fffffff;

        a = a > 0x7f800000 ? 0 : a;
        most = a > most ? a : most;
    }
    return hone_float_of(most);
}

float hone_e4m3_scale(float top)
{
    return top > 0 && top < INFINITY ? top / HONE_E4M3_MOST : 1.0f;
}
