/* SPDX-License-Identifier: MIT
 *
 * lists.cu -- fill and sumsq over lists of tensors. Chunks are summed each by
 * itself and then in their order, in double.
 */
#include "list.cuh"

#include "attrs.h"

struct entry {
    int64_t count;
    unsigned char storage;
};

struct lists {
    uint32_t tensors;
    float value;
    unsigned char out, add;
    entry tensor[1]; /* [tensors] */
};

template <class L>
static __global__ void __launch_bounds__(THREADS)
    fill_chunks(const __grid_constant__ L l, float value)
{
    int64_t first, last;
    cell x = list_cell(l, list_find(l, blockIdx.x, &first, &last));
    int wide = (uintptr_t)x.at % 16 == 0;
    float v[VECTOR];

    for (int64_t i = first + threadIdx.x * VECTOR; i < last;
         i += THREADS * VECTOR) {
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] = value;
        store(x, i, v, (int)min((int64_t)VECTOR, last - i), wide);
    }
}

template <class L>
static __global__ void __launch_bounds__(THREADS)
    square_chunks(const __grid_constant__ L l, double *partial)
{
    __shared__ double shared[THREADS / 32];
    int64_t first, last;
    cell x = list_cell(l, list_find(l, blockIdx.x, &first, &last));
    int wide = (uintptr_t)x.at % 16 == 0;
    float sum = 0, v[VECTOR];
    double total;

    for (int64_t i = first + threadIdx.x * VECTOR; i < last;
         i += THREADS * VECTOR) {
        load(v, x, i, (int)min((int64_t)VECTOR, last - i), wide);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            sum += v[e] * v[e];
    }
    total = team_sum<THREADS>((double)sum, shared);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = total;
}

static __global__ void __launch_bounds__(THREADS)
    sum_partials(int64_t n, const double *partial, cell out)
{
    __shared__ double shared[THREADS / 32];
    double sum = 0;

    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        sum += partial[i];
    sum = team_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0)
        put(out, 0, (float)sum);
}

/* -------------------------------------------------------------- the calls */

/* fill has its tensors among the outputs, sumsq among the inputs. */
static uint32_t tensors_of(const hone_call *c)
{
    return c->nin ? c->nin : c->nout;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    uint32_t n = tensors_of(c);
    int64_t chunks = 0;

    (void)threads;
    for (uint32_t i = 0; i < n; i++)
        chunks += list_chunks(cuda_count(c, i));
    if (c->nin)
        need->workspace_bytes = chunks * (int64_t)sizeof(double);
    return cuda_plain(c, need, (int64_t)(sizeof(lists) + n * sizeof(entry)),
                      err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    lists *l = (lists *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    l->tensors = tensors_of(c);
    if (!c->nin)
        l->value = (float)((const hone_fill_attrs *)c->attrs)->value;
    l->out = cuda_storage(c, c->nin);
    l->add = (unsigned char)cuda_adds(c, 0);
    for (uint32_t i = 0; i < l->tensors; i++)
        l->tensor[i] = { cuda_count(c, i), cuda_storage(c, i) };
    return HONE_OK;
}

/* Tensors from *AT on, as many as fit; 0: there are no more. */
template <class L>
static int next_table(const lists *l, const hone_ptr *ptr, uint32_t *at, L *t)
{
    list_open(t, 1);
    for (; *at < l->tensors && t->tensors < list_most<L>(1); ++*at) {
        int slot = list_add(t, l->tensor[*at].count);
        t->at[slot] = ptr[*at].part[0];
        t->storage[slot] = l->tensor[*at].storage;
    }
    return t->tensors;
}

template <class L>
static void fill_list(const lists *l, const hone_ptr *ptr, cudaStream_t s)
{
    uint32_t at = 0;
    L t;

    while (next_table(l, ptr, &at, &t))
        fill_chunks<<<(unsigned)t.chunk[t.tensors], THREADS, 0, s>>>(t,
                                                                     l->value);
}

static void fill_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const lists *l = (const lists *)prepared;

    (void)workspace;
    (list_is_short(l->tensors, 1) ? fill_list<list_short>
                                  : fill_list<list_table>)(
        l, ptr, (cudaStream_t)stream);
}

/* Returns the number of sums. */
template <class L>
static int64_t square_list(const lists *l, const hone_ptr *ptr,
                           double *partial, cudaStream_t s)
{
    int64_t chunks = 0;
    uint32_t at = 0;
    L t;

    while (next_table(l, ptr, &at, &t)) {
        square_chunks<<<(unsigned)t.chunk[t.tensors], THREADS, 0, s>>>(
            t, partial + chunks);
        chunks += t.chunk[t.tensors];
    }
    return chunks;
}

static void sumsq_run(const void *prepared, const hone_ptr *ptr,
                      void *workspace, hone_stream stream)
{
    const lists *l = (const lists *)prepared;
    cudaStream_t s = (cudaStream_t)stream;
    double *partial = (double *)workspace;
    int64_t chunks = (list_is_short(l->tensors, 1) ? square_list<list_short>
                                                   : square_list<list_table>)(
        l, ptr, partial, s);

    sum_partials<<<1, THREADS, 0, s>>>(
        chunks, partial, cell_of(ptr, l->tensors, l->out, l->add));
}

CUDA_KERNELS(lists) = {
    { "fill", prepare, init, fill_run },
    { "sumsq", prepare, init, sumsq_run },
    { NULL, NULL, NULL, NULL }
};
