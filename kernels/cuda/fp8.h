/* SPDX-License-Identifier: MIT
 *
 * fp8.h -- what linear_fp8.c calls of fp8.cu.
 */
#ifndef HONE_CUDA_FP8_H
#define HONE_CUDA_FP8_H

#include <stdint.h>

#include "hone/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A product of codes, bf16 [rows, cols], waiting for its scales. */
typedef struct cuda_fp8_product {
    const void *product, *bias, *from; /* those are NULL where there is none */
    const float *row, *col;            /* scales */
    void *to;
    int64_t rows, cols;
    float alpha;
} cuda_fp8_product;

/* Each number times alpha and both its scales, and what is added. */
void cuda_fp8_scale(const cuda_fp8_product *, hone_stream);

#ifdef __cplusplus
}
#endif
#endif
