/* SPDX-License-Identifier: MIT
 *
 * sdpa.h -- attention as a graph of cuDNN's: built for a shape, planned for a
 * GPU, run on addresses.
 */
#ifndef HONE_CUDNN_SDPA_H
#define HONE_CUDNN_SDPA_H

#include "library.h"

/* What tells one plan from another. Compared as bytes: no padding. */
typedef struct cudnn_shape {
    int64_t docs, tokens, keys; /* documents; their most queries and keys */
    int64_t heads, kv_heads, d;
    int64_t row_heads, row_kv_heads; /* in a row of the tensors */
    int64_t window;
    int32_t half; /* CUDNN_BF16 or CUDNN_F16 */
    int32_t grad;
    float scale;
    int32_t unused;
} cudnn_shape;

/* Operands of a plan; those of the gradients come behind. */
typedef enum {
    CUDNN_Q = 1,
    CUDNN_K,
    CUDNN_V,
    CUDNN_O,
    CUDNN_LSE,
    CUDNN_Q_AT, /* i32[docs + 1]: where each document's rows begin, in numbers */
    CUDNN_K_AT,
    CUDNN_LSE_AT,
    CUDNN_Q_LEN, /* i32[docs] */
    CUDNN_K_LEN,
    CUDNN_SCALE, /* f32 on the host, as CUDNN_ONE */
    CUDNN_NOTHING,
    CUDNN_WINDOW, /* i32 on the host */
    CUDNN_ONE,
    CUDNN_DO,
    CUDNN_DQ,
    CUDNN_DK,
    CUDNN_DV,
    CUDNN_DELTA,   /* f32[tokens, heads]: sums of do * o */
    CUDNN_DK_HEAD, /* [keys, heads, d]: dk before heads of a group are added */
    CUDNN_DV_HEAD,
    CUDNN_END
} cudnn_operand;

typedef struct cudnn_plan {
    cudnn_shape shape;
    cudnn_desc plan;
    int64_t workspace;
    float scale, nothing, one;
    int32_t window;
} cudnn_plan;

/* Built for the GPU of HANDLE; kept until the process ends. */
hone_status cudnn_plan_make(const cudnn_library *, cudnn_handle handle,
                            const cudnn_shape *, cudnn_plan *, hone_err *);

#endif
