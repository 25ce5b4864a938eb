/* SPDX-License-Identifier: MIT
 *
 * philox.h -- Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011), keyed by (seed, step, key of the op) and counted by
 * (row in the global batch, position in the row, block of four features): a
 * number depends on what it is for, never on how the step is laid out.
 */
#ifndef HONE_PHILOX_H
#define HONE_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define HONE_PHILOX_FN static inline __host__ __device__
#else
#define HONE_PHILOX_FN static inline
#endif

typedef struct hone_philox {
    uint32_t key[2];
} hone_philox;

/* Finaliser of splitmix64: every bit of X moves every bit of the result. */
HONE_PHILOX_FN uint64_t hone_mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

HONE_PHILOX_FN hone_philox hone_philox_open(int64_t seed, int64_t step,
                                            int64_t key)
{
    uint64_t k = hone_mix64((uint64_t)seed);
    hone_philox philox;
    k = hone_mix64(k ^ (uint64_t)step);
    k = hone_mix64(k ^ (uint64_t)key);
    philox.key[0] = (uint32_t)k;
    philox.key[1] = (uint32_t)(k >> 32);
    return philox;
}

/* Four uniform 32-bit numbers for features 4 * block .. 4 * block + 3. */
HONE_PHILOX_FN void hone_philox_draw(hone_philox p, uint32_t row,
                                     uint32_t position, uint32_t block,
                                     uint32_t r[4])
{
    uint32_t c0 = block, c1 = position, c2 = row, c3 = 0;
    uint32_t k0 = p.key[0], k1 = p.key[1];
    int round;

    for (round = 0; round < 10; round++) {
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

/* A feature is dropped where its number is below this. */
HONE_PHILOX_FN uint32_t hone_drop_below(double p)
{
    return (uint32_t)(p * 4294967296.0);
}

#endif
