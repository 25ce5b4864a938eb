/* SPDX-License-Identifier: MIT
 *
 * rng.h -- random numbers that are functions of what they are for: Philox4x32
 * with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011), keyed by a seed, counted by (stream, index). No state, so any
 * order and any number of threads draw the same.
 */
#ifndef HONE_RNG_H
#define HONE_RNG_H

#include <stdint.h>

/* Four uniform 32-bit numbers: number INDEX of the stream STREAM. */
static inline void hone_rng_draw(uint64_t seed, uint64_t stream,
                                 uint64_t index, uint32_t r[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c0;
        uint64_t b = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    r[0] = c0;
    r[1] = c1;
    r[2] = c2;
    r[3] = c3;
}

/* In (0, 1), never an end: the middle of one of 2^32 intervals. */
static inline double hone_rng_unit(uint32_t r)
{
    return ((double)r + 0.5) * 0x1p-32;
}

#endif
