/* SPDX-License-Identifier: MIT
 *
 * linear.c -- linear, linear_dx and linear_dw by cuBLASLt. It counts columns
 * first, so each of our row-major matrices is its transpose to it, and the
 * product is written the other way round. fp32 is fp32: no TF32.
 */
#include "attrs.h"
#include "blas.h"
#include "cuda.h"
#include "hone/nf4.h"

typedef struct {
    cuda_matmul mm;
    int a, b, c; /* operands of ours: the two factors, the product */
    int from;    /* what it is added to */
} linear;

static int has_bias(const hone_call *c)
{
    return c->nin > 2 && c->type[2].storage != HONE_NOTHING;
}

/* On a card that is too old for it; not known while none is there. */
static int lacks_bf16(const hone_call *c)
{
    const hone_device_info *d = c->device;

    return c->compute == HONE_BF16 && d && d->arch && d->arch < 80;
}

static int32_t number_type(hone_storage s)
{
    return s == HONE_BF16  ? CUDA_R_16BF
           : s == HONE_F16 ? CUDA_R_16F
                           : CUDA_R_32F;
}

/* Both factors are held as the products are computed, a bias as the result;
 * that may be f32. A weight in nf4 is converted for the call. */
static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    hone_storage out = c->type[c->nin].storage;
    hone_call plain = *c;
    hone_type type[4]; /* at most three inputs */

    (void)threads;
    memcpy(type, c->type, (c->nin + c->nout) * sizeof *type);
    if (hone_is_nf4(type[1].storage))
        type[1].storage = c->compute;
    plain.type = type;
    hone_try(cuda_plain(&plain, need, sizeof(linear), err));
    if (!cuda_is_float(c->compute) || lacks_bf16(c))
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: fp32, fp16 and, from "
                         "compute capability 8.0 on, bf16 are covered", c->op);
    need->want[0] = need->want[1] = c->compute;
    need->workspace_bytes = CUDA_BLAS_WORKSPACE;
    need->adds_from = 1;
    if (out != HONE_F32 && out != c->compute) {
        if (cuda_adds(c, 0))
            return hone_fail(err, HONE_ENOSUP, "cuda: %s: cannot add into "
                             "'%s'", c->op, hone_parts(out)[0].name);
        need->want[c->nin] = out = HONE_F32;
    }
    if (has_bias(c))
        need->want[2] = out;
    return HONE_OK;
}

/* The largest power of two that divides all rows, up to 16 bytes. */
static int32_t row_alignment(const hone_call *c)
{
    int64_t bits = 16;

    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (i != 2 || c->nin == 2)
            bits |= c->type[i].dim[1] * hone_parts(c->type[i].storage)[0].bytes;
    return (int32_t)(bits & -bits);
}

/* With column-major eyes: y = w^T x, dx = w dy, dw = x dy^T. */
static cuda_product shape(const hone_call *c, linear *l)
{
    const hone_type *first = &c->type[0], *second = &c->type[1];
    const hone_type *out = &c->type[c->nin];
    int dw = !strcmp(c->op, "linear_dw"), dx = !strcmp(c->op, "linear_dx");
    cuda_product s;

    memset(&s, 0, sizeof s); /* compared as bytes */
    l->a = 1;
    l->b = 0;
    l->c = (int)c->nin;
    l->from = (int)(c->nin + c->nout);
    s.transa = dw || dx ? CUBLAS_OP_N : CUBLAS_OP_T;
    s.transb = dw ? CUBLAS_OP_T : CUBLAS_OP_N;
    s.m = out->dim[1];
    s.n = out->dim[0];
    s.k = dw ? first->dim[0] : first->dim[1];
    s.lda = second->dim[1];
    s.ldb = first->dim[1];
    s.ldc = out->dim[1];
    s.in = number_type(c->compute);
    s.out = number_type(out->storage);
    s.align = row_alignment(c);
    s.adds = cuda_adds(c, 0);
    s.bias = has_bias(c);
    return s;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_linear_attrs *a = c->attrs;
    cuda_device *d = ctx;
    linear *l = prepared;
    cuda_product s = shape(c, l);

    (void)threads;
    if (c->compute == HONE_BF16 && d->arch < 80)
        return hone_fail(err, HONE_EINVAL, "cuda: %s has no bf16; write "
                         "precision = \"fp32\"", d->name);
    return cuda_matmul_init(&l->mm, d->blas, &s, a->scale, err);
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const linear *l = prepared;

    cuda_matmul_run(&l->mm, ptr[l->a].part[0], ptr[l->b].part[0],
                    ptr[2].part[0], ptr[l->from].part[0], ptr[l->c].part[0],
                    workspace, stream);
}

CUDA_KERNELS(linear) = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { "linear_dw", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
