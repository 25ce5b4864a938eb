/* SPDX-License-Identifier: MIT
 *
 * blas.h -- cuBLASLt, opened by name when the device is: a machine without it
 * gets a message instead of a plugin that does not load. Algorithms are kept
 * by shape, so that the many linears of one size are looked up, or measured,
 * once.
 */
#ifndef HONE_CUDA_BLAS_H
#define HONE_CUDA_BLAS_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "hone/plugin.h"

/* What tells one product from another. */
typedef struct cuda_product {
    int64_t m, n, k;         /* column-major, as cuBLAS counts */
    int64_t lda, ldb, ldc;
    int32_t transa, transb;  /* cublasOperation_t */
    int32_t in, out;         /* cudaDataType_t */
    int32_t align;           /* bytes that all addresses are multiples of */
    int32_t adds, bias;      /* one number for each of the m rows */
    int32_t scaled;          /* factors in fp8, with cuda_scales */
} cuda_product;

enum { CUDA_BLAS_KEPT = 128 };

typedef struct cuda_blas {
    void *library;
    cublasLtHandle_t handle;
    __typeof__(&cublasLtCreate) create;
    __typeof__(&cublasLtDestroy) destroy;
    __typeof__(&cublasLtMatmul) matmul;
    __typeof__(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    __typeof__(&cublasLtMatmulAlgoCheck) check;
    __typeof__(&cublasLtGetVersion) version;
    __typeof__(&cublasLtMatmulDescInit_internal) desc;
    __typeof__(&cublasLtMatmulDescSetAttribute) desc_set;
    __typeof__(&cublasLtMatrixLayoutInit_internal) layout;
    __typeof__(&cublasLtMatmulPreferenceInit_internal) preference;
    __typeof__(&cublasLtMatmulPreferenceSetAttribute) preference_set;
    int kept;
    cuda_product shape[CUDA_BLAS_KEPT];
    cublasLtMatmulAlgo_t algo[CUDA_BLAS_KEPT];
    unsigned char chosen[CUDA_BLAS_KEPT]; /* as CHOICES have it */
    const char *card; /* its name */
    /* Where algorithms are kept, while they may be measured; NULL. */
    const hone_choices *choices;
    char *scratch;
    int64_t scratch_bytes;
    double spent_ms, heated_ms; /* in measuring; before it */
    char *counters; /* see counters.c; or NULL */
    int slots;      /* of them that are taken */
} cuda_blas;

/* A product ready to be run: no pointers to what could move. */
typedef struct cuda_matmul {
    cuda_blas *blas;
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    float alpha, beta;
    int bias;
    void *counters; /* its workspace; NULL: the one that it is given */
} cuda_matmul;

#define CUDA_BLAS_WORKSPACE ((int64_t)32 << 20)
enum { CUDA_BLAS_COUNTERS = 1024 }; /* bytes of a product's own, at most */

/* Whether the Toolkit knows a scale for each row of both factors. */
#define CUDA_BLAS_ROW_SCALES (CUDART_VERSION >= 12090)

/* f32 [m] and f32 [n], multiplied to the product's rows and columns. */
typedef struct cuda_scales {
    const void *a, *b;
} cuda_scales;

hone_status cuda_blas_open(cuda_blas **, hone_err *);
void cuda_blas_close(cuda_blas *);
hone_status cuda_matmul_init(cuda_matmul *, cuda_blas *, const cuda_product *,
                             double alpha, hone_err *);
/* blas_choose.c: the algorithm of a product that is described. */
hone_status cuda_matmul_choose(cuda_matmul *, const cuda_product *,
                               hone_err *);
/* counters.c: workspaces of products that need a few bytes, and graphs that
 * clear all of these at once. */
void cuda_counters_open(cuda_blas *);
void cuda_counters_close(cuda_blas *);
void cuda_counters_take(cuda_matmul *);
void cuda_counters_clear_once(const cuda_blas *, cudaGraph_t);
/* C = alpha A B, or what lies at FROM is added. */
void cuda_matmul_run(const cuda_matmul *, const void *a, const void *b,
                     const void *bias, const void *from, void *c,
                     void *workspace, hone_stream);
void cuda_matmul_run_scaled(const cuda_matmul *, const cuda_scales *,
                            const void *a, const void *b, const void *bias,
                            const void *from, void *c, void *workspace,
                            hone_stream);
/* The same, with what cuBLASLt says to it. */
cublasStatus_t cuda_matmul_launch(const cuda_matmul *, const cuda_scales *,
                                  const void *a, const void *b,
                                  const void *bias, const void *from, void *c,
                                  void *workspace, hone_stream);

#endif
