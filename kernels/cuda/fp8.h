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

/* Rows of X, bf16 [rows, cols] with cols a multiple of 16, become codes of
 * e4m3 with the scale amax / 448. EACH numbers at SPREAD become *ONE. */
void cuda_fp8_rows(const void *x, int64_t rows, int64_t cols, void *codes,
                   float *scales, const float *one, float *spread, int64_t each,
                   hone_stream);
/* Bytes [rows, cols] to [cols, rows], both multiples of 16. */
void cuda_fp8_transpose(const void *from, int64_t rows, int64_t cols, void *to,
                        hone_stream);

#ifdef __cplusplus
}
#endif
#endif
