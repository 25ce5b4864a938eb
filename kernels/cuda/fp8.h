/* SPDX-License-Identifier: MIT
 *
 * fp8.h -- what linear_fp8.c calls of fp8.cu: numbers in e4m3 with a scale for
 * each row, and the other layout of a matrix of them.
 */
#ifndef HONE_CUDA_FP8_H
#define HONE_CUDA_FP8_H

#include <stdint.h>

#include "hone/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_FP8_MOST 8 /* products of one call */

/* One number for many: EACH times *ONE at TO. */
typedef struct cuda_fp8_spread {
    const float *one;
    float *to;
    int64_t each;
} cuda_fp8_spread;

/* Rows of X, bf16 [rows, cols] with cols a multiple of 16, become codes of
 * e4m3 with the scale amax / 448. COUNT numbers are spread besides. */
void cuda_fp8_rows(const void *x, int64_t rows, int64_t cols, void *codes,
                   float *scales, const cuda_fp8_spread *, int count,
                   hone_stream);
/* Bytes [rows, cols] to [cols, rows], both multiples of 16. */
void cuda_fp8_transpose(const void *from, int64_t rows, int64_t cols, void *to,
                        hone_stream);

#ifdef __cplusplus
}
#endif
#endif
