/* SPDX-License-Identifier: MIT
 *
 * hone/nf4.h -- what the codes of HONE_NF4 and HONE_NF4_PLAIN stand for, to
 * the bit: for packs that read them. Dettmers et al., "QLoRA", 2023; the layout
 * is that of bitsandbytes.
 *
 * A byte holds two codes, the first in its high half. 64 in flattened order
 * are a block, and x = value[code] * scale, where scale is in HONE_NF4_PLAIN
 *     absmax[block]
 * and in HONE_NF4
 *     map[absmax[block]] * nested[block / 256] + mean[0]
 * each product and sum rounded to f32: compile with -ffp-contract=off. Of the
 * map's 256 numbers 127 is 0; above it come those of HONE_NF4_MAP and 1, below
 * it their negatives, and the lowest of all is mean[1], which some versions of
 * bitsandbytes made -1.
 */
#ifndef HONE_NF4_H
#define HONE_NF4_H

#include "hone/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HONE_NF4_BLOCK = 64, HONE_NF4_NEST = 256 };

#define HONE_NF4_VALUES                                                        \
    -1.f, -0.696192801f, -0.525073051f, -0.394917488f, -0.284441382f,          \
    -0.18477343f, -0.0910500363f, 0.f, 0.0795802996f, 0.160930201f,            \
    0.246112302f, 0.337915242f, 0.440709829f, 0.562617004f, 0.722956836f, 1.f

#define HONE_NF4_MAP                                                           \
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f, 2.1249998e-05f, 4.375e-05f,     \
    6.625e-05f, 8.875e-05f, 0.00015625001f, 0.00026875004f, 0.00038125002f,    \
    0.00049375003f, 0.0006062501f, 0.00071875006f, 0.00083125f,                \
    0.0009437501f, 0.0012812499f, 0.00184375f, 0.00240625f, 0.00296875f,       \
    0.0035312497f, 0.00409375f, 0.0046562497f, 0.0052187503f, 0.00578125f,     \
    0.00634375f, 0.00690625f, 0.00746875f, 0.00803125f, 0.00859375f,           \
    0.009156249f, 0.00971875f, 0.01140625f, 0.01421875f, 0.01703125f,          \
    0.019843752f, 0.02265625f, 0.02546875f, 0.028281251f, 0.03109375f,         \
    0.03390625f, 0.036718752f, 0.03953125f, 0.042343747f, 0.04515625f,         \
    0.04796875f, 0.05078125f, 0.05359375f, 0.05640625f, 0.059218753f,          \
    0.06203125f, 0.06484375f, 0.067656256f, 0.070468746f, 0.07328125f,         \
    0.07609375f, 0.07890625f, 0.08171876f, 0.08453125f, 0.08734375f,           \
    0.09015625f, 0.092968754f, 0.09578126f, 0.09859375f, 0.107031256f,         \
    0.12109375f, 0.13515624f, 0.14921875f, 0.16328125f, 0.17734376f,           \
    0.19140625f, 0.20546874f, 0.21953125f, 0.23359375f, 0.24765624f,           \
    0.26171875f, 0.27578127f, 0.28984374f, 0.30390626f, 0.31796873f,           \
    0.33203125f, 0.34609374f, 0.36015624f, 0.37421876f, 0.38828123f,           \
    0.40234375f, 0.41640624f, 0.43046874f, 0.44453126f, 0.45859373f,           \
    0.47265625f, 0.4867187f, 0.50078124f, 0.5148437f, 0.5289062f,              \
    0.54296875f, 0.5570313f, 0.5710938f, 0.58515626f, 0.5992187f,              \
    0.61328125f, 0.6273438f, 0.6414063f, 0.65546876f, 0.6695312f,              \
    0.68359375f, 0.6976563f, 0.7117188f, 0.72578126f, 0.7398437f,              \
    0.75390625f, 0.7679688f, 0.78203124f, 0.79609376f, 0.8101562f,             \
    0.82421875f, 0.8382813f, 0.85234374f, 0.86640626f, 0.8804687f,             \
    0.89453125f, 0.9085938f, 0.92265624f, 0.93671876f, 0.9507812f,             \
    0.96484375f, 0.9789063f, 0.99296874f

/* Number Q of the map, whose lowest is LOW. */
static inline float hone_nf4_map(int q, float low)
{
    static const float map[] = { HONE_NF4_MAP };

    if (q == 0 || q == 255)
        return q ? 1.0f : low;
    return q == 127 ? 0.0f : q > 127 ? map[q - 128] : -map[126 - q];
}

/* Of the map as it is made. */
static inline float hone_nf4_lowest(void)
{
    static const float map[] = { HONE_NF4_MAP };

    return -map[126];
}

static inline int hone_is_nf4(hone_storage s)
{
    return s == HONE_NF4 || s == HONE_NF4_PLAIN;
}

static inline float hone_nf4_scale(hone_storage s, const hone_ptr *p,
                                   int64_t block)
{
    const float *mean = (const float *)p->part[3];
    float product;

    if (s == HONE_NF4_PLAIN)
        return ((const float *)p->part[1])[block];
    product = hone_nf4_map(((const uint8_t *)p->part[1])[block], mean[1]) *
              ((const float *)p->part[2])[block / HONE_NF4_NEST];
    return product + mean[0];
}

static inline float hone_nf4_value(hone_storage s, const hone_ptr *p, int64_t i)
{
    static const float value[16] = { HONE_NF4_VALUES };
    int pair = ((const uint8_t *)p->part[0])[i / 2];

    return value[i % 2 ? pair & 15 : pair >> 4] *
           hone_nf4_scale(s, p, i / HONE_NF4_BLOCK);
}

#ifdef __cplusplus
}
#endif
#endif
