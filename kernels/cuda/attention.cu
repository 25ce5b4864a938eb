/* SPDX-License-Identifier: MIT
 *
 * attention.cu -- the calls of attention and attention_grad; their kernels are
 * in attention_f32.cu, attention_half.cu and, for Hopper, attention_sm90*.cu.
 * Rows that belong to no document are 0: outputs are cleared first. The
 * backward pass uses no atomics: one kernel has a tile of keys and goes over
 * the queries, another a tile of queries and goes over the keys, so that every
 * sum has one order.
 */
#include "attention.cuh"

#include "attrs.h"

enum { MOST_D = 256 };

/* delta [tokens, heads] = sum over a head of do * o: eight threads for each. */
static __global__ void __launch_bounds__(THREADS)
    head_sums(int64_t n, int d, cell a, cell b, float *delta, int wide)
{
    int64_t i = (int64_t)blockIdx.x * (THREADS / 8) + threadIdx.x / 8;
    float sum = 0, x[VECTOR], y[VECTOR];

    for (int e = threadIdx.x % 8 * VECTOR; i < n && e < d; e += 8 * VECTOR) {
        load(x, a, i * d + e, min(VECTOR, d - e), wide);
        load(y, b, i * d + e, min(VECTOR, d - e), wide);
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
            sum += x[k] * y[k];
    }
    for (int k = 4; k; k >>= 1)
        sum += __shfl_xor_sync(~0u, sum, k);
    if (i < n && threadIdx.x % 8 == 0)
        delta[i] = sum;
}

/* -------------------------------------------------------------- the calls */

/* Q: the operand that q is; DOCS alike. */
static attention attention_of(const hone_call *c, uint32_t q, uint32_t docs)
{
    const hone_attention_attrs *p = (const hone_attention_attrs *)c->attrs;
    attention a = {};

    a.tokens = c->type[q].dim[0];
    a.keys = c->type[q + 1].dim[0];
    a.docs = (int)c->type[docs].dim[0];
    a.heads = (int)p->heads;
    a.kv_heads = (int)p->kv_heads;
    a.group = a.heads / a.kv_heads;
    a.d = (int)(c->type[q].dim[1] / p->heads);
    a.window = p->window < a.keys ? (int)p->window : 0;
    a.scale = (float)p->scale;
    a.softcap = (float)p->softcap;
    a.storage = c->compute;
    return a;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    int grad = !strcmp(c->op, "attention_grad");
    attention a = attention_of(c, grad ? 1 : 0, grad ? 6 : 3);

    (void)threads;
    hone_try(cuda_plain(c, need, sizeof(attention), err));
    if (a.d > MOST_D || !cuda_is_float(c->compute))
        return hone_fail(err, HONE_ENOSUP,
                         "cuda: %s: heads of %d; up to %d in fp32, bf16 or "
                         "fp16 are covered", c->op, a.d, MOST_D);
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (cuda_is_float(c->type[i].storage))
            need->want[i] = c->compute;
    need->want[grad ? 5 : c->nin + 1] = HONE_F32; /* lse */
    if (grad)
        need->workspace_bytes =
            a.tokens * a.heads * (int64_t)sizeof(float);
    if (attention_sm90_covers(a)) /* more than what other cards want */
        need->workspace_bytes = attention_sm90_bytes(a, grad);
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    int grad = !strcmp(c->op, "attention_grad");
    const cuda_device *d = (const cuda_device *)ctx;
    attention *a = (attention *)prepared;
    cudaError_t e;

    (void)threads;
    *a = attention_of(c, grad ? 1 : 0, grad ? 6 : 3);
    if (a->storage == HONE_BF16 && d->arch < 80)
        return hone_fail(err, HONE_EINVAL, "cuda: %s has no bf16; write "
                         "precision = \"fp16\"", d->name);
    a->processors = d->processors;
    a->turing = d->arch < 80;
    if (d->arch == 90 && attention_sm90_covers(*a) &&
        attention_sm90_open(*a, grad) == cudaSuccess) {
        a->hopper = 1;
        return HONE_OK;
    }
    (void)cudaGetLastError();
    e = a->storage == HONE_F32 ? attention_f32_open(*a, grad)
                               : attention_half_open(*a, grad);
    if (e == cudaSuccess)
        return HONE_OK;
    (void)cudaGetLastError();
    return hone_fail(err, HONE_EINVAL,
                     "cuda: %s: heads of %d need more shared memory than a %s "
                     "has (%d KiB)", c->op, a->d, d->name,
                     d->shared_bytes >> 10);
}

static void clear(void *at, int64_t count, int storage, hone_stream stream)
{
    (void)cudaMemsetAsync(at, 0,
                          (size_t)(count * (storage == HONE_F32 ? 4 : 2)),
                          (cudaStream_t)stream);
}

static void forward_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const attention &a = *(const attention *)prepared;
    attention_ptr p = {};

    p.q = ptr[0].part[0];
    p.k = ptr[1].part[0];
    p.v = ptr[2].part[0];
    p.docs = (const int32_t *)ptr[3].part[0];
    p.out = ptr[4].part[0];
    p.lse = (float *)ptr[5].part[0];
    if (a.hopper) {
        attention_sm90(a, p, workspace, (cudaStream_t)stream);
        return;
    }
    clear(p.out, a.tokens * a.heads * a.d, a.storage, stream);
    clear(p.lse, a.tokens * a.heads, HONE_F32, stream);
    (a.storage == HONE_F32 ? attention_f32 : attention_half)(
        a, p, (cudaStream_t)stream);
}

static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const attention &a = *(const attention *)prepared;
    int64_t sums = a.tokens * a.heads;
    attention_ptr p = {};

    p.d_o = ptr[0].part[0];
    p.q = ptr[1].part[0];
    p.k = ptr[2].part[0];
    p.v = ptr[3].part[0];
    p.o = ptr[4].part[0];
    p.lse = (float *)ptr[5].part[0];
    p.docs = (const int32_t *)ptr[6].part[0];
    p.dq = ptr[7].part[0];
    p.dk = ptr[8].part[0];
    p.dv = ptr[9].part[0];
    if (a.hopper) {
        attention_sm90_grad(a, p, workspace, (cudaStream_t)stream);
        return;
    }
    p.delta = (float *)workspace;
    clear(p.dq, sums * a.d, a.storage, stream);
    clear(p.dk, a.keys * a.kv_heads * a.d, a.storage, stream);
    clear(p.dv, a.keys * a.kv_heads * a.d, a.storage, stream);
    head_sums<<<blocks_for(sums, THREADS / 8), THREADS, 0,
                (cudaStream_t)stream>>>(
        sums, a.d, cell_of(ptr, 0, a.storage), cell_of(ptr, 4, a.storage),
        p.delta, a.d % VECTOR == 0 && cuda_aligned(ptr, 5));
    (a.storage == HONE_F32 ? attention_f32_grad : attention_half_grad)(
        a, p, (cudaStream_t)stream);
}

CUDA_KERNELS(attention) = {
    { "attention", prepare, init, forward_run },
    { "attention_grad", prepare, init, grad_run },
    { NULL, NULL, NULL, NULL }
};
