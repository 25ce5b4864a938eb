/* SPDX-License-Identifier: MIT
 *
 * blas.c -- see blas.h. Descriptors are initialised in place, in the memory of
 * the prepared call: nothing is allocated, nothing has to be given back.
 */
#include "blas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LIBRARY "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

static void *open_library(void)
{
    static const char *const folders[] = { HONE_CUDA_LIBRARIES,
                                           "/usr/local/cuda/lib64",
                                           "/usr/local/cuda/lib", NULL };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    for (int i = 0; !library && folders[i]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folders[i], LIBRARY);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* Function pointers from void *, as POSIX wants it done. */
static int find(void *library, const char *name, void *to)
{
    void *symbol = dlsym(library, name);

    memcpy(to, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int find_all(cuda_blas *b)
{
    void *l = b->library;

    return find(l, "cublasLtCreate", &b->create) &&
           find(l, "cublasLtDestroy", &b->destroy) &&
           find(l, "cublasLtMatmul", &b->matmul) &&
           find(l, "cublasLtMatmulAlgoGetHeuristic", &b->heuristic) &&
           find(l, "cublasLtMatmulAlgoCheck", &b->check) &&
           find(l, "cublasLtGetVersion", &b->version) &&
           find(l, "cublasLtMatmulDescInit_internal", &b->desc) &&
           find(l, "cublasLtMatmulDescSetAttribute", &b->desc_set) &&
           find(l, "cublasLtMatrixLayoutInit_internal", &b->layout) &&
           find(l, "cublasLtMatmulPreferenceInit_internal", &b->preference) &&
           find(l, "cublasLtMatmulPreferenceSetAttribute", &b->preference_set);
}

hone_status cuda_blas_open(cuda_blas **out, hone_err *err)
{
    cuda_blas *b = calloc(1, sizeof *b);
    cublasStatus_t s;

    *out = NULL;
    if (!b)
        return hone_fail(err, HONE_ENOMEM, "cuda: no memory for cuBLASLt");
    b->library = open_library();
    if (!b->library || !find_all(b)) {
        const char *why = dlerror();
        hone_status status = hone_fail(
            err, HONE_EINVAL, "cuda: cuBLASLt is missing (%.300s); install "
            "CUDA %d's libcublas, or put the folder of %s into LD_LIBRARY_PATH",
            why ? why : LIBRARY, CUBLAS_VER_MAJOR, LIBRARY);
        cuda_blas_close(b);
        return status;
    }
    s = b->create(&b->handle);
    if (s != CUBLAS_STATUS_SUCCESS) {
        b->handle = NULL;
        cuda_blas_close(b);
        return hone_fail(err, HONE_EIO, "cuda: cuBLASLt does not start "
                         "(status %d); is the GPU's memory full?", (int)s);
    }
    cuda_counters_open(b);
    *out = b;
    return HONE_OK;
}

/* The library stays loaded: its threads and the driver know its code. */
void cuda_blas_close(cuda_blas *b)
{
    if (b && b->handle) {
        cuda_counters_close(b);
        (void)b->destroy(b->handle);
    }
    free(b);
}

/* ---------------------------------------------------------------- products */

/* A scale for each row of both factors. The heuristic refuses it without
 * addresses; they are others when it runs. Sums are in fp32 all along: that of
 * the tensor cores alone (fast accumulation) is too short for thousands. */
static void set_scaled(const cuda_blas *b, cublasLtMatmulDesc_t desc)
{
#if CUDA_BLAS_ROW_SCALES
    int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const void *somewhere = (const void *)(uintptr_t)HONE_ALIGN;
    const struct {
        cublasLtMatmulDescAttributes_t what;
        const void *value;
        size_t bytes;
    } all[] = {
        { CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode },
        { CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof mode },
        { CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &somewhere, sizeof somewhere },
        { CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &somewhere, sizeof somewhere }
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)b->desc_set(desc, all[i].what, all[i].value, all[i].bytes);
#else
    (void)b;
    (void)desc;
#endif
}

hone_status cuda_matmul_init(cuda_matmul *mm, cuda_blas *b,
                             const cuda_product *s, double alpha, hone_err *err)
{
    cublasOperation_t ta = (cublasOperation_t)s->transa;
    cublasOperation_t tb = (cublasOperation_t)s->transb;
    cudaDataType_t in = (cudaDataType_t)s->in, out = (cudaDataType_t)s->out;
    cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    int flip_a = ta != CUBLAS_OP_N, flip_b = tb != CUBLAS_OP_N;

    mm->blas = b;
    mm->alpha = (float)alpha;
    mm->beta = s->adds ? 1.0f : 0.0f;
    mm->bias = s->bias;
    (void)b->desc(&mm->desc, sizeof mm->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    (void)b->desc_set(&mm->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    (void)b->desc_set(&mm->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    if (s->bias)
        (void)b->desc_set(&mm->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias,
                          sizeof bias);
    if (s->scaled)
        set_scaled(b, &mm->desc);
    (void)b->layout(&mm->a, sizeof mm->a, in, (uint64_t)(flip_a ? s->k : s->m),
                    (uint64_t)(flip_a ? s->m : s->k), s->lda);
    (void)b->layout(&mm->b, sizeof mm->b, in, (uint64_t)(flip_b ? s->n : s->k),
                    (uint64_t)(flip_b ? s->k : s->n), s->ldb);
    (void)b->layout(&mm->c, sizeof mm->c, out, (uint64_t)s->m, (uint64_t)s->n,
                    s->ldc);
    mm->counters = NULL;
    hone_try(cuda_matmul_choose(mm, s, err));
    cuda_counters_take(mm);
    return HONE_OK;
}

/* cuBLAS takes handles that are not const. */
cublasStatus_t cuda_matmul_launch(const cuda_matmul *mm,
                                  const cuda_scales *scales, const void *a,
                                  const void *b, const void *bias,
                                  const void *from, void *c, void *workspace,
                                  hone_stream stream)
{
    cublasLtMatmulDescOpaque_t desc = mm->desc;
    cublasLtMatrixLayout_t la = (cublasLtMatrixLayout_t)(uintptr_t)&mm->a;
    cublasLtMatrixLayout_t lb = (cublasLtMatrixLayout_t)(uintptr_t)&mm->b;
    cublasLtMatrixLayout_t lc = (cublasLtMatrixLayout_t)(uintptr_t)&mm->c;

    if (scales) {
        (void)mm->blas->desc_set(&desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
                                 &scales->a, sizeof scales->a);
        (void)mm->blas->desc_set(&desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                                 &scales->b, sizeof scales->b);
    }
    if (mm->bias)
        (void)mm->blas->desc_set(&desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                 &bias, sizeof bias);
    return mm->blas->matmul(mm->blas->handle, &desc, &mm->alpha, a, la, b, lb,
                            &mm->beta, from, lc, c, lc, &mm->algo,
                            mm->counters ? mm->counters : workspace,
                            (size_t)(mm->counters ? CUDA_BLAS_COUNTERS
                                                  : CUDA_BLAS_WORKSPACE),
                            (cudaStream_t)stream);
}

/* A call that was accepted when it was prepared fails only if the GPU has; then
 * the next sync() says so. */
void cuda_matmul_run_scaled(const cuda_matmul *mm, const cuda_scales *scales,
                            const void *a, const void *b, const void *bias,
                            const void *from, void *c, void *workspace,
                            hone_stream stream)
{
    (void)cuda_matmul_launch(mm, scales, a, b, bias, from, c, workspace,
                             stream);
}

void cuda_matmul_run(const cuda_matmul *mm, const void *a, const void *b,
                     const void *bias, const void *from, void *c,
                     void *workspace, hone_stream stream)
{
    (void)cuda_matmul_launch(mm, NULL, a, b, bias, from, c, workspace, stream);
}
