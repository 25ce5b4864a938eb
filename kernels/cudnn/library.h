/* SPDX-License-Identifier: MIT
 *
 * library.h -- the part of cuDNN 9 that is used here, declared by itself: eleven
 * functions, most of its graph API, and the numbers of what is set through them.
 * They are fixed for all of version 9, so that building needs no file of
 * cuDNN's, and the library is opened by name when it is needed.
 */
#ifndef HONE_CUDNN_LIBRARY_H
#define HONE_CUDNN_LIBRARY_H

#include "hone/plugin.h"

typedef void *cudnn_desc;
typedef void *cudnn_handle;

typedef enum { /* what a descriptor is of */
    CUDNN_POINTWISE = 0,
    CUDNN_CONFIG = 3,
    CUDNN_HEURISTICS = 4,
    CUDNN_PLAN = 5,
    CUDNN_POINTWISE_OP = 13,
    CUDNN_GRAPH = 15,
    CUDNN_VARIANT = 16,
    CUDNN_TENSOR = 17,
    CUDNN_MATMUL = 18,
    CUDNN_MATMUL_OP = 19,
    CUDNN_REDUCTION = 21,
    CUDNN_REDUCTION_OP = 22,
    CUDNN_RESHAPE_OP = 31
} cudnn_kind;

typedef enum {
    CUDNN_POINTWISE_MODE = 0,
    CUDNN_POINTWISE_MATH = 1,
    CUDNN_POINTWISE_AXIS = 9,
    CUDNN_HEURISTICS_MODE = 200,
    CUDNN_HEURISTICS_GRAPH = 201,
    CUDNN_HEURISTICS_RESULTS = 202,
    CUDNN_PLAN_HANDLE = 400,
    CUDNN_PLAN_CONFIG = 401,
    CUDNN_PLAN_WORKSPACE = 402,
    CUDNN_POINTWISE_OP_MODE = 750,
    CUDNN_POINTWISE_OP_X = 751,
    CUDNN_POINTWISE_OP_B = 752,
    CUDNN_POINTWISE_OP_Y = 753,
    CUDNN_POINTWISE_OP_T = 758,
    CUDNN_GRAPH_HANDLE = 800,
    CUDNN_GRAPH_OPS = 801,
    CUDNN_TENSOR_ALIGN = 900,
    CUDNN_TENSOR_TYPE = 901,
    CUDNN_TENSOR_DIMS = 902,
    CUDNN_TENSOR_STRIDES = 903,
    CUDNN_TENSOR_ID = 906,
    CUDNN_TENSOR_VIRTUAL = 907,
    CUDNN_TENSOR_BY_VALUE = 908,
    CUDNN_TENSOR_RAGGED = 913,
    CUDNN_VARIANT_IDS = 1000,
    CUDNN_VARIANT_POINTERS = 1001,
    CUDNN_VARIANT_WORKSPACE = 1003,
    CUDNN_MATMUL_TYPE = 1500,
    CUDNN_MATMUL_OP_A = 1520,
    CUDNN_MATMUL_OP_B = 1521,
    CUDNN_MATMUL_OP_C = 1522,
    CUDNN_MATMUL_OP_HOW = 1523,
    CUDNN_MATMUL_OP_M = 1525, /* rows of each document instead of all */
    CUDNN_MATMUL_OP_N = 1526,
    CUDNN_MATMUL_OP_K = 1527,
    CUDNN_REDUCTION_HOW = 1600,
    CUDNN_REDUCTION_TYPE = 1601,
    CUDNN_REDUCTION_OP_X = 1610,
    CUDNN_REDUCTION_OP_Y = 1611,
    CUDNN_REDUCTION_OP_HOW = 1612,
    CUDNN_RESHAPE_OP_X = 2200,
    CUDNN_RESHAPE_OP_Y = 2201
} cudnn_attr;

typedef enum { /* what an attribute's value is */
    CUDNN_IS_HANDLE = 0,
    CUDNN_IS_TYPE = 1,
    CUDNN_IS_BOOL = 2,
    CUDNN_IS_I64 = 3,
    CUDNN_IS_POINTER = 6,
    CUDNN_IS_HEURISTICS = 8,
    CUDNN_IS_POINTWISE = 14,
    CUDNN_IS_DESC = 15,
    CUDNN_IS_REDUCTION = 18
} cudnn_is;

typedef enum {
    CUDNN_F32 = 0,
    CUDNN_F16 = 2,
    CUDNN_I32 = 4,
    CUDNN_BF16 = 9,
    CUDNN_BOOL = 11
} cudnn_type;

typedef enum {
    CUDNN_ADD = 0,
    CUDNN_MUL = 1,
    CUDNN_DIV = 6,
    CUDNN_SUB = 9,
    CUDNN_EXP = 13,
    CUDNN_LOG = 15,
    CUDNN_GREATER = 302,
    CUDNN_NOT_LESS = 303,
    CUDNN_LESS = 304,
    CUDNN_AND = 400,
    CUDNN_INDEX = 501,
    CUDNN_SELECT = 601
} cudnn_point;

typedef enum { CUDNN_SUM = 0, CUDNN_MAX = 3 } cudnn_reduce;
typedef enum { CUDNN_FALLBACK = 2, CUDNN_BEST = 3 } cudnn_mode;

typedef struct cudnn_library {
    void *library;
    size_t version; /* 91900 for 9.19.0 */
    size_t (*get_version)(void);
    int (*create)(cudnn_handle *);
    int (*set_stream)(cudnn_handle, hone_stream);
    const char *(*error_text)(int);
    void (*last_error)(char *, size_t);
    int (*desc_create)(int kind, cudnn_desc *);
    int (*desc_destroy)(cudnn_desc);
    int (*desc_finish)(cudnn_desc);
    int (*desc_set)(cudnn_desc, int attr, int is, int64_t count, const void *);
    int (*desc_get)(cudnn_desc, int attr, int is, int64_t room, int64_t *count,
                    void *);
    int (*execute)(cudnn_handle, cudnn_desc plan, cudnn_desc variant);
} cudnn_library;

/* The library, opened once for the process; no GPU is needed for it. */
hone_status cudnn_library_open(const cudnn_library **, hone_err *);

#endif
