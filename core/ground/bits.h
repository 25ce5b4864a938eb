/* SPDX-License-Identifier: MIT
 *
 * bits.h -- a float as its bits and back: for conversions without branches.
 */
#ifndef HONE_BITS_H
#define HONE_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t hone_bits_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float hone_float_of(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

#endif
