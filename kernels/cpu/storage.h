/* SPDX-License-Identifier: MIT
 *
 * storage.h -- spans of a plain storage (fp32, bf16, fp16) to and from f32.
 */
#ifndef HONE_CPU_STORAGE_H
#define HONE_CPU_STORAGE_H

#include "hone/plugin.h"

#include "half.h"

static inline int storage_covers(hone_storage s)
{
    return s == HONE_F32 || s == HONE_BF16 || s == HONE_F16;
}

/* N elements from element AT on. */
static inline void storage_load(hone_storage s, const void *from, int64_t at,
                                int64_t n, float *to)
{
    const uint16_t *h = (const uint16_t *)from + at;

    if (s == HONE_F32)
        memcpy(to, (const float *)from + at, (size_t)n * sizeof *to);
    else if (s == HONE_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            to[i] = hone_bf16_load(h[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            to[i] = hone_f16_load(h[i]);
    }
}

static inline void storage_store(hone_storage s, const float *from, void *to,
                                 int64_t at, int64_t n)
{
    uint16_t *h = (uint16_t *)to + at;

    if (s == HONE_F32)
        memcpy((float *)to + at, from, (size_t)n * sizeof *from);
    else if (s == HONE_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            h[i] = hone_bf16_round(from[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            h[i] = hone_f16_round(from[i]);
    }
}

#endif
