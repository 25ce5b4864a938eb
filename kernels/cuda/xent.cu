/* SPDX-License-Identifier: MIT
 *
 * xent.cu -- cross-entropy over rows of logits, and its gradient. A block has
 * a row and reads it once: each thread keeps a running maximum and the sum of
 * exponentials below it. Losses are added in the order of rows, in double.
 *
 * From compute capability 9.0 on both go in one: a row is what a cluster of
 * blocks has in registers, so that it is read once and its gradient written.
 */
#include "device.cuh"
#include "power.cuh"

#include <cooperative_groups.h>

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

/* ------------------------------------------------------------ both in one */

/* A block takes HELD groups of eight a thread of a row. */
enum { MOST_BLOCKS = 8, MOST_HELD = 16 };

template <int HELD>
static __device__ __forceinline__ float largest(const uint4 (&held)[HELD])
{
    __nv_bfloat162 most = __float2bfloat162_rn(-INFINITY);

#pragma unroll
    for (int h = 0; h < HELD; h++) {
        const uint32_t word[4] = { held[h].x, held[h].y, held[h].z,
                                   held[h].w };

#pragma unroll
        for (int k = 0; k < 4; k++) {
            __nv_bfloat162 pair;

            memcpy(&pair, &word[k], sizeof pair);
            most = __hmax2(most, pair);
        }
    }
    return fmaxf(__low2float(most), __high2float(most));
}

/* LOSS [rows] as above. DLOGITS may lie where LOGITS do: when the first block
 * of a row writes, all of them have read. */
template <int HELD, int RESIDENT>
static __global__ void __launch_bounds__(THREADS, RESIDENT)
    xent_slopes(int64_t vocab, const __nv_bfloat16 *logits,
                const int32_t *target, cell dloss, __nv_bfloat16 *dlogits,
                float *loss)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    cg::cluster_group row = cg::this_cluster();
    __shared__ float shared[THREADS / 32], tops[MOST_BLOCKS];
    __shared__ float sums[MOST_BLOCKS];
    const unsigned mine = row.block_rank(), blocks = row.num_blocks();
    const int64_t t = blockIdx.x / blocks;
    const int64_t first = (int64_t)mine * HELD * THREADS * VECTOR;
    const int wanted = target[t];
    const __nv_bfloat16 *from = logits + t * vocab;
    uint4 held[HELD];
    float v[VECTOR], top = -INFINITY, sum = 0, l, scale = get(dloss, 0);
    float right = 0, shift;

    cg::cluster_group::arrival_token begun = row.barrier_arrive();
    if (wanted >= 0) {
#pragma unroll
        for (int h = 0; h < HELD; h++) {
            const int64_t k = first + (h * THREADS + threadIdx.x) * VECTOR;

            held[h] = k < vocab ? *(const uint4 *)(from + k)
                                : uint4{ 0xff80ff80u, 0xff80ff80u, 0xff80ff80u,
                                         0xff80ff80u }; /* -infinity */
        }
        right = __bfloat162float(from[wanted]);
        top = largest(held);
        top = team_max<THREADS>(top, shared);
        /* A block behind the row's end, and a row of -infinity, have none. */
        shift = top == -INFINITY ? 0.0f : -LOG2_E * top;
#pragma unroll
        for (int h = 0; h < HELD; h++) {
            spread(v, held[h]);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                sum += power_of_2(LOG2_E * v[e] + shift);
        }
        sum = team_sum<THREADS>(sum, shared);
    }
    row.barrier_wait(std::move(begun));
    if (threadIdx.x < blocks) {
        row.map_shared_rank(tops, threadIdx.x)[mine] = top;
        row.map_shared_rank(sums, threadIdx.x)[mine] = sum;
    }
    row.sync();
    top = tops[0];
    for (unsigned b = 1; b < blocks; b++)
        top = fmaxf(top, tops[b]);
    sum = 0;
    for (unsigned b = 0; b < blocks; b++)
        sum += tops[b] == -INFINITY ? 0.0f : sums[b] * expf(tops[b] - top);
    l = top + logf(sum);
    shift = -LOG2_E * l;
    if (mine == 0 && threadIdx.x == 0)
        loss[t] = wanted >= 0 ? l - right : 0.0f;
#pragma unroll
    for (int h = 0; h < HELD; h++) {
        const int64_t k = first + (h * THREADS + threadIdx.x) * VECTOR;

        if (k >= vocab)
            break;
        if (wanted >= 0) {
            spread(v, held[h]);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                v[e] = power_of_2(LOG2_E * v[e] + shift) * scale;
        }
        *(uint4 *)(dlogits + t * vocab + k) =
            wanted < 0 ? uint4{ 0, 0, 0, 0 }
                       : uint4{ pack(HONE_BF16, v[0], v[1]),
                                pack(HONE_BF16, v[2], v[3]),
                                pack(HONE_BF16, v[4], v[5]),
                                pack(HONE_BF16, v[6], v[7]) };
    }
    if (wanted >= first && wanted < first + HELD * THREADS * VECTOR &&
        wanted / VECTOR % THREADS == threadIdx.x)
        dlogits[t * vocab + wanted] = __float2bfloat16_rn(
            (power_of_2(LOG2_E * right + shift) - 1.0f) * scale);
#endif
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
    const hone_type *logits = &c->type[strcmp(c->op, "xent_grad") ? 0 : 1];

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

typedef void (*slopes)(int64_t, const __nv_bfloat16 *, const int32_t *, cell,
                       __nv_bfloat16 *, float *);

/* With few groups a thread more blocks are on a processor, and one of them
 * moves what it has while another one waits for its row. */
static const struct {
    int held;
    slopes kernel;
} kernels[] = { { 8, xent_slopes<8, 4> }, { 10, xent_slopes<10, 3> },
                { MOST_HELD, xent_slopes<MOST_HELD, 2> } };

/* Blocks of a row's cluster where a thread holds so much. */
static unsigned blocks_of(int64_t vocab, int held)
{
    return (unsigned)cuda_ceil(vocab, held * THREADS * VECTOR);
}

/* The first kernel that a cluster can hold the row with. */
static int kernel_for(int64_t vocab)
{
    int i = 0;

    while (kernels[i].held < MOST_HELD &&
           blocks_of(vocab, kernels[i].held) > MOST_BLOCKS)
        i++;
    return i;
}

static hone_status slopes_prepare(const hone_call *c, int threads,
                                  hone_need *need, hone_err *err)
{
    const int64_t vocab = c->type[0].dim[1];

    (void)threads;
    if (!c->device || c->device->arch < 90 || vocab % VECTOR ||
        blocks_of(vocab, MOST_HELD) > MOST_BLOCKS ||
        c->type[0].storage != HONE_BF16 || c->type[4].storage != HONE_BF16)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: bf16 logits of a card "
                         "with clusters, a multiple of %d and at most %d",
                         c->op, VECTOR,
                         MOST_BLOCKS * MOST_HELD * THREADS * VECTOR);
    need->workspace_bytes = c->type[0].dim[0] * (int64_t)sizeof(float);
    return cuda_plain(c, need, sizeof(xent), err);
}

static hone_status slopes_init(const hone_call *c, int threads, void *ctx,
                               void *prepared, hone_err *err)
{
    const cuda_device *d = (const cuda_device *)ctx;

    hone_try(init(c, threads, ctx, prepared, err));
    return d->arch >= 90 ? HONE_OK
                         : hone_fail(err, HONE_EINVAL, "cuda: %s: the code in "
                                     "use is for older cards than %s", c->op,
                                     d->name);
}

static void slopes_run(const void *prepared, const hone_ptr *ptr,
                       void *workspace, hone_stream stream)
{
    const xent *x = (const xent *)prepared;
    const int k = kernel_for(x->vocab);
    const unsigned blocks = blocks_of(x->vocab, kernels[k].held);
    cudaLaunchAttribute cluster = {};
    cudaLaunchConfig_t launch = {};

    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = { blocks, 1, 1 };
    launch.gridDim = (unsigned)x->rows * blocks;
    launch.blockDim = THREADS;
    launch.stream = (cudaStream_t)stream;
    launch.attrs = &cluster;
    launch.numAttrs = 1;
    (void)cudaLaunchKernelEx(
        &launch, kernels[k].kernel, x->vocab,
        (const __nv_bfloat16 *)ptr[0].part[0],
        (const int32_t *)ptr[2].part[0], cell_of(ptr, 1, x->storage[1]),
        (__nv_bfloat16 *)ptr[4].part[0], (float *)workspace);
    sum_losses<<<1, THREADS, 0, (cudaStream_t)stream>>>(
        x->rows, (const float *)workspace,
        cell_of(ptr, 3, x->storage[3], x->add));
}

CUDA_KERNELS(xent) = {
    { "xent", prepare, init, xent_run },
    { "xent_grad", prepare, init, xent_grad_run },
    { "xent_slopes", slopes_prepare, slopes_init, slopes_run },
    { NULL, NULL, NULL, NULL }
};
