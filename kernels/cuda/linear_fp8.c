/* SPDX-License-Identifier: MIT
 *
 * linear_fp8.c -- linear, linear_list and linear_dx where weights are held as
 * e4m3. The other factor comes as codes too, with a scale for each row;
 * cuBLASLt applies both scales as vectors on compute capability 9.0, and a
 * kernel that reads the product does so elsewhere. Both factors have the summed
 * axis innermost, as cuBLASLt wants them: linear_dx reads the weight turned.
 */
#include "attrs.h"
#include "blas.h"
#include "cuda.h"
#include "fp8.h"

enum { MOST = 8, OLDEST = 89 }; /* products of one call; a card with e4m3 */

typedef struct {
    int count, bare; /* cuBLASLt applies no scales */
    uint32_t out, operands;
    uint8_t adds[MOST];
    float alpha;
    int64_t rows, cols[MOST];
    cuda_matmul mm[MOST];
} linear;

static int is_bare(int arch)
{
    return !CUDA_BLAS_ROW_SCALES || (arch && arch != 90);
}

static int is_dx(const hone_call *c)
{
    return !strcmp(c->op, "linear_dx");
}

static int has_bias(const hone_call *c)
{
    return !strcmp(c->op, "linear") && c->nin > 2 &&
           c->type[2].storage != HONE_NOTHING;
}

/* Whether weight and result I are held as they must be. */
static hone_status covers(const hone_call *c, uint32_t i, hone_err *err)
{
    const hone_type *w = &c->type[1 + i];
    hone_storage out = c->type[c->nin + i].storage;

    if (w->storage != HONE_FP8 && w->storage != HONE_FP8_TURNED)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: the weight is not fp8",
                         c->op);
    if (w->dim[0] % 16 || w->dim[1] % 16)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: an fp8 weight has "
                         "multiples of 16 for dimensions", c->op);
    if (out != HONE_BF16 && cuda_adds(c, i))
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 cannot add into "
                         "'%s'", c->op, hone_parts(out)[0].name);
    return HONE_OK;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    int arch = c->device ? c->device->arch : 0;
    int64_t wide = 0;

    (void)threads;
    if (c->compute != HONE_BF16 || c->nout > MOST)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 weights go with "
                         "activations in bf16, %d in a call", c->op, MOST);
    if (arch && arch < OLDEST)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 needs compute "
                         "capability 8.9", c->op);
    need->want[0] = HONE_FP8;
    for (uint32_t i = 0; i < c->nout; i++) {
        hone_try(covers(c, i, err));
        need->want[1 + i] = is_dx(c) ? HONE_FP8_TURNED : HONE_FP8;
        need->want[c->nin + i] = HONE_BF16;
        if (cuda_count(c, c->nin + i) > wide)
            wide = cuda_count(c, c->nin + i);
    }
    if (has_bias(c))
        need->want[2] = HONE_BF16;
    need->prepared_bytes = sizeof(linear);
    need->workspace_bytes = CUDA_BLAS_WORKSPACE;
    if (is_bare(arch))
        need->workspace_bytes += wide * (int64_t)sizeof(uint16_t);
    need->adds_from = 1;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_linear_attrs *a = c->attrs;
    cuda_device *d = ctx;
    linear *l = prepared;

    (void)threads;
    if (d->arch < OLDEST)
        return hone_fail(err, HONE_EINVAL, "cuda: %s multiplies no fp8; write "
                         "storage = \"bf16\"", d->name);
    l->count = (int)c->nout;
    l->bare = is_bare(d->arch);
    l->alpha = (float)a->scale;
    l->rows = c->type[0].dim[0];
    l->out = c->nin;
    l->operands = c->nin + c->nout;
    for (uint32_t i = 0; i < c->nout; i++) {
        cuda_product s;

        memset(&s, 0, sizeof s); /* compared as bytes */
        s.transa = CUBLAS_OP_T;
        s.transb = CUBLAS_OP_N;
        s.m = s.ldc = l->cols[i] = c->type[c->nin + i].dim[1];
        s.n = l->rows;
        s.k = s.lda = s.ldb = c->type[0].dim[1];
        s.in = CUDA_R_8F_E4M3;
        s.out = CUDA_R_16BF;
        s.align = 16;
        l->adds[i] = (uint8_t)cuda_adds(c, i);
        s.adds = l->adds[i] && !l->bare;
        s.bias = has_bias(c) && !l->bare;
        s.scaled = !l->bare;
        hone_try(cuda_matmul_init(&l->mm[i], d->blas, &s,
                                  l->bare ? 1 : a->scale, err));
    }
    return HONE_OK;
}

/* The product into the workspace, from there scaled to where it belongs. */
static void run_bare(const linear *l, int i, const hone_ptr *ptr,
                     char *workspace, hone_stream stream)
{
    uint32_t out = l->out + (uint32_t)i;
    void *product = workspace + CUDA_BLAS_WORKSPACE;
    cuda_fp8_product p = {
        .product = product,
        .bias = l->out > 2 && l->count == 1 ? ptr[2].part[0] : NULL,
        .from = l->adds[i] ? ptr[l->operands + (uint32_t)i].part[0] : NULL,
        .row = ptr[0].part[1], .col = ptr[1 + i].part[1],
        .to = ptr[out].part[0], .rows = l->rows, .cols = l->cols[i],
        .alpha = l->alpha };

    cuda_matmul_run(&l->mm[i], ptr[1 + i].part[0], ptr[0].part[0], NULL,
                    product, product, workspace, stream);
    cuda_fp8_scale(&p, stream);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const linear *l = prepared;

    for (int i = 0; i < l->count; i++) {
        const hone_ptr *w = &ptr[1 + i];
        cuda_scales scales = { w->part[1], ptr[0].part[1] };

        if (l->bare) {
            run_bare(l, i, ptr, workspace, stream);
            continue;
        }
        cuda_matmul_run_scaled(&l->mm[i], &scales, w->part[0], ptr[0].part[0],
                               ptr[2].part[0],
                               ptr[l->operands + (uint32_t)i].part[0],
                               ptr[l->out + (uint32_t)i].part[0], workspace,
                               stream);
    }
}

CUDA_KERNELS(linear_fp8) = {
    { "linear", prepare, init, run },
    { "linear_list", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
