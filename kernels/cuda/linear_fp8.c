/* SPDX-License-Identifier: MIT
 *
 * linear_fp8.c -- linear and linear_dx where the weight is held as e4m3 with
 * one scale. The other factor is quantised on the way, with a scale for each
 * row; cuBLASLt applies both as vectors, the weight's being one number many
 * times. It takes both factors with the summed axis innermost, so that
 * linear_dx turns the weight first.
 */
#include "attrs.h"
#include "blas.h"
#include "cuda.h"
#include "fp8.h"

typedef struct {
    cuda_matmul mm;
    int64_t t, k, m; /* rows, the summed axis, columns of the result */
    int turned, from, c;
} linear;

/* Parts of the workspace, in bytes from its start. */
typedef struct {
    int64_t codes, scales, spread, turned, blas, end;
} room;

static int is_dx(const hone_call *c)
{
    return !strcmp(c->op, "linear_dx");
}

static int has_bias(const hone_call *c)
{
    return c->nin > 2 && c->type[2].storage != HONE_NOTHING;
}

static int64_t after(int64_t at, int64_t bytes)
{
    return at + cuda_ceil(bytes, HONE_ALIGN) * HONE_ALIGN;
}

static room lay_out(int64_t t, int64_t k, int64_t m, int turned)
{
    room r = { .codes = 0 };

    r.scales = after(r.codes, t * k);
    r.spread = after(r.scales, t * (int64_t)sizeof(float));
    r.turned = after(r.spread, m * (int64_t)sizeof(float));
    r.blas = after(r.turned, turned ? k * m : 0);
    r.end = r.blas + CUDA_BLAS_WORKSPACE;
    return r;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const hone_type *w = &c->type[1];
    hone_storage out = c->type[c->nin].storage;

    (void)threads;
    if (w->storage != HONE_FP8)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: the weight is not fp8",
                         c->op);
    if (!CUDA_BLAS_ROW_SCALES)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 needs CUDA 12.9 or "
                         "newer, this pack was built with an older one",
                         c->op);
    if (c->compute != HONE_BF16)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 weights go with "
                         "activations in bf16", c->op);
    if (w->dim[0] % 16 || w->dim[1] % 16)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: an fp8 weight has "
                         "multiples of 16 for dimensions", c->op);
    if (out != HONE_BF16 && cuda_adds(c, 0))
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp8 cannot add into "
                         "'%s'", c->op, hone_parts(out)[0].name);
    need->want[0] = need->want[c->nin] = HONE_BF16;
    if (has_bias(c))
        need->want[2] = HONE_BF16;
    need->prepared_bytes = sizeof(linear);
    need->workspace_bytes = lay_out(c->type[0].dim[0], c->type[0].dim[1],
                                    c->type[c->nin].dim[1], is_dx(c)).end;
    need->adds_from = 1;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_linear_attrs *a = c->attrs;
    cuda_device *d = ctx;
    linear *l = prepared;
    cuda_product s;

    (void)threads;
    if (d->arch < 90)
        return hone_fail(err, HONE_EINVAL, "cuda: %s multiplies no fp8 with a "
                         "scale for each row; write storage = \"bf16\"",
                         d->name);
    l->t = c->type[0].dim[0];
    l->k = c->type[0].dim[1];
    l->m = c->type[c->nin].dim[1];
    l->turned = is_dx(c);
    l->c = (int)c->nin;
    l->from = (int)(c->nin + c->nout);
    memset(&s, 0, sizeof s); /* compared as bytes */
    s.transa = CUBLAS_OP_T;
    s.transb = CUBLAS_OP_N;
    s.m = s.ldc = l->m;
    s.n = l->t;
    s.k = s.lda = s.ldb = l->k;
    s.in = CUDA_R_8F_E4M3;
    s.out = CUDA_R_16BF;
    s.align = 16;
    s.adds = cuda_adds(c, 0);
    s.bias = has_bias(c);
    s.scaled = 1;
    return cuda_matmul_init(&l->mm, d->blas, &s, a->scale, err);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const linear *l = prepared;
    room r = lay_out(l->t, l->k, l->m, l->turned);
    char *at = workspace;
    const void *w = ptr[1].part[0];
    cuda_scales scales = { at + r.spread, at + r.scales };

    cuda_fp8_rows(ptr[0].part[0], l->t, l->k, at + r.codes,
                  (float *)(at + r.scales), ptr[1].part[1],
                  (float *)(at + r.spread), l->m, stream);
    if (l->turned) {
        cuda_fp8_transpose(w, l->k, l->m, at + r.turned, stream);
        w = at + r.turned;
    }
    cuda_matmul_run_scaled(&l->mm, &scales, w, at + r.codes, ptr[2].part[0],
                           ptr[l->from].part[0], ptr[l->c].part[0],
                           at + r.blas, stream);
}

CUDA_KERNELS(linear_fp8) = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
