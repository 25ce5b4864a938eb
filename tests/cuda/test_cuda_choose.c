/* SPDX-License-Identifier: MIT
 *
 * test_cuda_choose.c -- measuring which algorithm a product runs by, without a
 * GPU: what the runtime and cuBLASLt would do stands here. Whatever the numbers
 * are held as, operands and workspace lie beside each other in the scratch
 * memory (an algorithm that splits a sum counts in its workspace: a product
 * written over it lets the GPU wait for ever); without room nothing runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "blas.h"
#include "cuda.h"

enum { PIECES = 7 };

typedef struct {
    uintptr_t first;
    int64_t bytes;
} range;

/* Of the product that is chosen: what its runs touch. */
static const cuda_product *asked;
static int64_t in_bytes, out_bytes;
static range piece[PIECES];
static int launches;

/* ---------------------------------------------- instead of the CUDA runtime */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    (void)flags;
    *s = NULL;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s,
                                   enum cudaStreamCaptureMode mode)
{
    (void)s;
    (void)mode;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    (void)s;
    *graph = NULL;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags)
{
    (void)graph;
    (void)flags;
    *exec = NULL;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    (void)graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    (void)exec;
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    (void)exec;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *e)
{
    *e = NULL;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    (void)e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    (void)e;
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    (void)e;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    (void)from;
    (void)to;
    *ms = 1;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

/* --------------------------------- instead of kernels, and of the product */

void cuda_noise(void *to, int64_t bytes, hone_stream s)
{
    (void)to;
    (void)bytes;
    (void)s;
}

cublasStatus_t cuda_matmul_launch(const cuda_matmul *mm,
                                  const cuda_scales *scales, const void *a,
                                  const void *b, const void *bias,
                                  const void *from, void *c, void *workspace,
                                  hone_stream s)
{
    const cuda_product *p = asked;
    const range all[PIECES] = {
        { (uintptr_t)a, in_bytes * p->m * p->k },
        { (uintptr_t)b, in_bytes * p->n * p->k },
        { (uintptr_t)c, out_bytes * p->m * p->n },
        { (uintptr_t)bias, out_bytes * p->m },
        { (uintptr_t)workspace, CUDA_BLAS_WORKSPACE },
        { scales ? (uintptr_t)scales->a : 0, scales ? 4 * p->m : 0 },
        { scales ? (uintptr_t)scales->b : 0, scales ? 4 * p->n : 0 }
    };

    (void)mm;
    (void)s;
    assert_ptr_equal(from, c);
    memcpy(piece, all, sizeof piece);
    launches++;
    return CUBLAS_STATUS_SUCCESS;
}

/* ------------------------------------------------------ instead of cuBLASLt */

static size_t version(void)
{
    return 1;
}

static cublasStatus_t check(cublasLtHandle_t h, cublasLtMatmulDesc_t d,
                            cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t to,
                            const cublasLtMatmulAlgo_t *algo,
                            cublasLtMatmulHeuristicResult_t *result)
{
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)to, (void)algo;
    memset(result, 0, sizeof *result);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t heuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d,
                                cublasLtMatrixLayout_t a,
                                cublasLtMatrixLayout_t b,
                                cublasLtMatrixLayout_t c,
                                cublasLtMatrixLayout_t to,
                                cublasLtMatmulPreference_t preference, int most,
                                cublasLtMatmulHeuristicResult_t *list,
                                int *found)
{
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)to, (void)preference;
    *found = most < 3 ? most : 3;
    memset(list, 0, (size_t)*found * sizeof *list);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t
preference(cublasLtMatmulPreferenceOpaque_t *p, size_t bytes)
{
    memset(p, 0, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_set(cublasLtMatmulPreference_t p,
                                     cublasLtMatmulPreferenceAttributes_t what,
                                     const void *value, size_t bytes)
{
    (void)p, (void)what, (void)value, (void)bytes;
    return CUBLAS_STATUS_SUCCESS;
}

/* ------------------------------------------------------------- the engine's */

static const char *find(void *self, const char *key)
{
    (void)self;
    (void)key;
    return NULL;
}

static void keep(void *self, const char *key, const char *value)
{
    (void)self;
    (void)key;
    (void)value;
}

/* Chooses for P in BYTES at SCRATCH, which nobody reads. */
static void choose(const cuda_product *p, char *scratch, int64_t bytes)
{
    static const hone_choices choices = { .size = sizeof choices,
                                          .find = find, .keep = keep };
    cuda_blas *b = calloc(1, sizeof *b);
    cuda_matmul mm = { .blas = b };
    hone_err err;

    assert_non_null(b);
    b->card = "none";
    b->version = version;
    b->check = check;
    b->heuristic = heuristic;
    b->preference = preference;
    b->preference_set = preference_set;
    b->choices = &choices;
    b->scratch = scratch;
    b->scratch_bytes = bytes;
    asked = p;
    launches = 0;
    assert_int_equal(cuda_matmul_choose(&mm, p, &err), HONE_OK);
    free(b);
}

static uintptr_t end_of(const range *x)
{
    return x->first + (uintptr_t)x->bytes;
}

/* How many bytes from SCRATCH on are used, none of them twice. */
static int64_t check_pieces(const char *scratch)
{
    uintptr_t start = (uintptr_t)scratch, end = start;

    for (int i = 0; i < PIECES; i++) {
        const range *x = &piece[i];

        if (!x->bytes)
            continue;
        assert_true(x->first >= start);
        if (end_of(x) > end)
            end = end_of(x);
        for (int k = 0; k < i; k++)
            assert_true(!piece[k].bytes || x->first >= end_of(&piece[k]) ||
                        piece[k].first >= end_of(x));
    }
    return (int64_t)(end - start);
}

static void test_places(void **state)
{
    static const struct {
        int32_t type;
        int64_t bytes;
    } types[] = { { CUDA_R_32F, 4 },
                  { CUDA_R_16F, 2 },
                  { CUDA_R_16BF, 2 },
                  { CUDA_R_8F_E4M3, 1 } };
    /* Addresses: never touched. */
    char *scratch = (char *)(uintptr_t)(1 << 20);
    const int64_t plenty = (int64_t)1 << 30;

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int wide = 0; wide < 2; wide++) {
            cuda_product p = { .m = 640, .n = 256, .k = 1536, .lda = 640,
                               .ldb = 1536, .ldc = 640, .in = types[i].type,
                               .out = wide ? CUDA_R_32F : types[i].type,
                               .align = 16, .bias = 1,
                               .scaled = types[i].bytes == 1 };
            int64_t least;

            in_bytes = types[i].bytes;
            out_bytes = wide ? 4 : types[i].bytes;
            choose(&p, scratch, plenty);
            assert_true(launches > 0);
            least = check_pieces(scratch);
            choose(&p, scratch, least);
            assert_true(launches > 0);
            choose(&p, scratch, least - HONE_ALIGN);
            assert_int_equal(launches, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_places) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
