/* SPDX-License-Identifier: MIT
 *
 * xent.cu -- cross-entropy over rows of logits, and its gradient. A block has
 * a row and reads it once: each thread keeps a running maximum and the sum of
 * exponentials below it. Losses are added in the order of rows, in double.
 */
#include "device.cuh"

/* Few rows come at a time: a large block keeps the memory busy. */
enum { ROW_THREADS = 1024 };

struct xent {
    int64_t rows, vocab;
    unsigned char storage[8];
    unsigned char add;
};

/* The maximum so far, and the sum of exp(x - max). */
static __device__ __forceinline__ void include(float &max, float &sum,
                                               const float (&v)[VECTOR],
                                               int live)
{
    float top = max;

#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            top = fmaxf(top, v[e]);
    sum *= max == -INFINITY ? 0.0f : expf(max - top);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            sum += expf(v[e] - top);
    max = top;
}

/* LOSS [rows]: each row's, 0 where there is no target. */
static __global__ void __launch_bounds__(ROW_THREADS)
    xent_rows(xent x, cell logits, const int32_t *target, cell lse, float *loss,
              int wide)
{
    __shared__ float shared[ROW_THREADS / 32];
    int64_t t = blockIdx.x, at = t * x.vocab;
    float max = -INFINITY, sum = 0, v[VECTOR], top, l = 0;

    if (target[t] >= 0) {
        for (int64_t k = threadIdx.x * VECTOR; k < x.vocab;
             k += ROW_THREADS * VECTOR) {
            int live = (int)min((int64_t)VECTOR, x.vocab - k);
            load(v, logits, at + k, live, wide);
            include(max, sum, v, live);
        }
        top = team_max<ROW_THREADS>(max, shared);
        sum *= max == -INFINITY ? 0.0f : expf(max - top);
        l = top + logf(team_sum<ROW_THREADS>(sum, shared));
    }
    if (threadIdx.x)
        return;
    put(lse, t, l);
    loss[t] = target[t] >= 0 ? l - get(logits, at + target[t]) : 0.0f;
}

static __global__ void __launch_bounds__(THREADS)
    sum_losses(int64_t rows, const float *loss, cell out)
{
    __shared__ double shared[THREADS / 32];
    double sum = 0;

    for (int64_t t = threadIdx.x; t < rows; t += THREADS)
        sum += loss[t];
    sum = team_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0)
        put(out, 0, (float)sum);
}

static __global__ void __launch_bounds__(THREADS)
    xent_grad(xent x, cell dloss, cell logits, cell lse, const int32_t *target,
              cell dlogits, int wide)
{
    int64_t t = blockIdx.x;
    int64_t k = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * VECTOR;
    int live = (int)min((int64_t)VECTOR, x.vocab - k);
    float v[VECTOR] = {}, l, d;
    int mine;

    if (live <= 0)
        return;
    mine = (int)(target[t] - k); /* of my eight, or outside */
    l = get(lse, t);
    d = get(dloss, 0);
    if (target[t] >= 0) {
        load(v, logits, t * x.vocab + k, live, wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = (expf(v[e] - l) - (e == mine ? 1.0f : 0.0f)) * d;
    }
    store(dlogits, t * x.vocab + k, v, live, wide);
}

/* -------------------------------------------------------------- the calls */

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    if (!strcmp(c->op, "xent"))
        need->workspace_bytes = c->type[0].dim[0] * (int64_t)sizeof(float);
    return cuda_plain(c, need, sizeof(xent), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    xent *x = (xent *)prepared;
    const hone_type *logits = &c->type[strcmp(c->op, "xent") ? 1 : 0];

    (void)threads;
    (void)ctx;
    (void)err;
    x->rows = logits->dim[0];
    x->vocab = logits->dim[1];
    x->add = (unsigned char)cuda_adds(c, 0);
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        x->storage[i] = cuda_storage(c, i);
    return HONE_OK;
}

static void xent_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const xent *x = (const xent *)prepared;
    cudaStream_t s = (cudaStream_t)stream;

    xent_rows<<<(unsigned)x->rows, ROW_THREADS, 0, s>>>(
        *x, cell_of(ptr, 0, x->storage[0]), (const int32_t *)ptr[1].part[0],
        cell_of(ptr, 3, x->storage[3]), (float *)workspace,
        x->vocab % VECTOR == 0 && cuda_aligned(ptr, 1));
    sum_losses<<<1, THREADS, 0, s>>>(x->rows, (const float *)workspace,
                                     cell_of(ptr, 2, x->storage[2], x->add));
}

static void xent_grad_run(const void *prepared, const hone_ptr *ptr,
                          void *workspace, hone_stream stream)
{
    const xent *x = (const xent *)prepared;
    hone_ptr moved[2] = { ptr[1], ptr[4] };
    dim3 grid((unsigned)x->rows, blocks_for(x->vocab, THREADS * VECTOR));

    (void)workspace;
    xent_grad<<<grid, THREADS, 0, (cudaStream_t)stream>>>(
        *x, cell_of(ptr, 0, x->storage[0]), cell_of(ptr, 1, x->storage[1]),
        cell_of(ptr, 2, x->storage[2]), (const int32_t *)ptr[3].part[0],
        cell_of(ptr, 4, x->storage[4]),
        x->vocab % VECTOR == 0 && cuda_aligned(moved, 2));
}

CUDA_KERNELS(xent) = {
    { "xent", prepare, init, xent_run },
    { "xent_grad", prepare, init, xent_grad_run },
    { NULL, NULL, NULL, NULL }
};
