/* SPDX-License-Identifier: MIT
 *
 * linear_fp8.c -- linear, linear_list and linear_dx where weights are held as
 * e4m3 with one scale. The other factor is quantised on the way, once for the
 * whole list, with a scale for each row; cuBLASLt applies both as vectors, the
 * weight's being one number many times. It takes both factors with the summed
 * axis innermost, so that linear_dx turns the weight first.
 */
#include "attrs.h"
#include "blas.h"
#include "cuda.h"
#include "fp8.h"

typedef struct {
    int64_t t, k; /* rows, the summed axis */
    int turned, count;
    uint32_t out, operands;
    int64_t m[CUDA_FP8_MOST]; /* columns of each result */
    cuda_matmul mm[CUDA_FP8_MOST];
} linear;

/* Parts of the workspace, in bytes from its start. */
typedef struct {
    int64_t codes, scales, spread[CUDA_FP8_MOST], turned, blas, end;
} room;

static int is_dx(const hone_call *c)
{
    return !strcmp(c->op, "linear_dx");
}

static int has_bias(const hone_call *c)
{
    return !strcmp(c->op, "linear") && c->nin > 2 &&
           c->type[2].storage != HONE_NOTHING;
}

static int64_t after(int64_t at, int64_t bytes)
{
    return at + cuda_ceil(bytes, HONE_ALIGN) * HONE_ALIGN;
}

static void describe(const hone_call *c, linear *l)
{
    l->t = c->type[0].dim[0];
    l->k = c->type[0].dim[1];
    l->turned = is_dx(c);
    l->count = (int)c->nout;
    l->out = c->nin;
    l->operands = c->nin + c->nout;
    for (uint32_t i = 0; i < c->nout; i++)
        l->m[i] = c->type[c->nin + i].dim[1];
}

static room lay_out(const linear *l)
{
    room r = { .codes = 0 };
    int64_t at = after(r.scales = after(0, l->t * l->k),
                       l->t * (int64_t)sizeof(float));

    for (int i = 0; i < l->count; i++) {
        r.spread[i] = at;
        at = after(at, l->m[i] * (int64_t)sizeof(float));
    }
    r.turned = at;
    r.blas = after(at, l->turned ? l->k * l->m[0] : 0);
    r.end = r.blas + CUDA_BLAS_WORKSPACE;
    return r;
}

/* Whether weight and result I are held as they must be. */
static hone_status covers(const hone_call *c, uint32_t i, hone_err *err)
{
    const hone_type *w = &c->type[1 + i];
    hone_storage out = c->type[c->nin + i].storage;

    if (w->storage != HONE_FP8)
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
    linear l;

    (void)threads;
    if (!CUDA_BLAS_ROW_SCALES)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 needs CUDA 12.9 or "
                         "newer, this pack was built with an older one",
                         c->op);
    if (c->compute != HONE_BF16 || c->nout > CUDA_FP8_MOST)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 weights go with "
                         "activations in bf16, %d in a call", c->op,
                         CUDA_FP8_MOST);
    if (c->device && c->device->arch && c->device->arch < 90)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 with a scale for "
                         "each row needs compute capability 9.0", c->op);
    need->want[0] = HONE_BF16;
    for (uint32_t i = 0; i < c->nout; i++) {
        hone_try(covers(c, i, err));
        need->want[c->nin + i] = HONE_BF16;
    }
    if (has_bias(c))
        need->want[2] = HONE_BF16;
    describe(c, &l);
    need->prepared_bytes = sizeof(linear);
    need->workspace_bytes = lay_out(&l).end;
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
    if (d->arch < 90)
        return hone_fail(err, HONE_EINVAL, "cuda: %s multiplies no fp8 with a "
                         "scale for each row; write storage = \"bf16\"",
                         d->name);
    describe(c, l);
    for (uint32_t i = 0; i < c->nout; i++) {
        cuda_product s;

        memset(&s, 0, sizeof s); /* compared as bytes */
        s.transa = CUBLAS_OP_T;
        s.transb = CUBLAS_OP_N;
        s.m = s.ldc = l->m[i];
        s.n = l->t;
        s.k = s.lda = s.ldb = l->k;
        s.in = CUDA_R_8F_E4M3;
        s.out = CUDA_R_16BF;
        s.align = 16;
        s.adds = cuda_adds(c, i);
        s.bias = has_bias(c);
        s.scaled = 1;
        hone_try(cuda_matmul_init(&l->mm[i], d->blas, &s, a->scale, err));
    }
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const linear *l = prepared;
    room r = lay_out(l);
    char *at = workspace;
    cuda_fp8_spread spread[CUDA_FP8_MOST];

    for (int i = 0; i < l->count; i++)
        spread[i] = (cuda_fp8_spread){ ptr[1 + i].part[1],
                                       (float *)(at + r.spread[i]), l->m[i] };
    cuda_fp8_rows(ptr[0].part[0], l->t, l->k, at + r.codes,
                  (float *)(at + r.scales), spread, l->count, stream);
    if (l->turned)
        cuda_fp8_transpose(ptr[1].part[0], l->k, l->m[0], at + r.turned,
                           stream);
    for (int i = 0; i < l->count; i++) {
        cuda_scales scales = { at + r.spread[i], at + r.scales };
        const void *w = l->turned ? at + r.turned : ptr[1 + i].part[0];
        uint32_t out = l->out + (uint32_t)i;

        cuda_matmul_run_scaled(&l->mm[i], &scales, w, at + r.codes,
                               ptr[2].part[0],
                               ptr[l->operands + (uint32_t)i].part[0],
                               ptr[out].part[0], at + r.blas, stream);
    }
}

CUDA_KERNELS(linear_fp8) = {
    { "linear", prepare, init, run },
    { "linear_list", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
