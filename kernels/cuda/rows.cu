/* SPDX-License-Identifier: MIT
 *
 * rows.cu -- ops that move whole rows by an index: embed, embed_grad, gather,
 * scatter, cache_write. Source and destination keep the storages they have.
 */
#include "device.cuh"

struct move {
    int64_t n, width; /* rows of the index, features */
    int64_t out_rows;
    unsigned char from, to, add;
};

/* One row by the threads of a block; FROM_ROW < 0: zeros. */
static __device__ void move_row(const move &m, cell from, int64_t from_row,
                                cell to, int64_t to_row, int wide)
{
    for (int64_t k = (int64_t)threadIdx.x * VECTOR; k < m.width;
         k += blockDim.x * VECTOR) {
        int live = (int)min((int64_t)VECTOR, m.width - k);
        float v[VECTOR] = {};

        if (from_row >= 0)
            load(v, from, from_row * m.width + k, live, wide);
        store(to, to_row * m.width + k, v, live, wide);
    }
}

static __global__ void __launch_bounds__(THREADS)
    take_rows(move m, cell from, const int32_t *index, cell to, int wide)
{
    move_row(m, from, index[blockIdx.x], to, blockIdx.x, wide);
}

static __global__ void __launch_bounds__(THREADS)
    put_rows(move m, cell from, const int32_t *index, cell to, int wide)
{
    if (index[blockIdx.x] >= 0)
        move_row(m, from, blockIdx.x, to, index[blockIdx.x], wide);
}

/* Rows beyond the end of the cache are left out. */
static __global__ void __launch_bounds__(THREADS)
    write_cache(move m, cell from, const int32_t *first, cell to, int wide)
{
    int64_t row = (int64_t)*first + blockIdx.x;

    if (row < m.out_rows)
        move_row(m, from, blockIdx.x, to, row, wide);
}

/* The block of a token's first appearance adds up all of them, in the order
 * of rows: one writer for each row of the table, no sorting, no atomics. It
 * looks for the token 32 places a warp at a time; a thread has eight columns. */
static __global__ void __launch_bounds__(THREADS)
    sum_tokens(move m, cell dy, const int32_t *index, cell table, int wide)
{
    __shared__ int found[THREADS];
    __shared__ int count[THREADS / 32], earlier;
    const int64_t mine = blockIdx.x;
    const int token = index[mine], warp = threadIdx.x / 32;
    const int64_t k = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * VECTOR;
    const int live = (int)min((int64_t)VECTOR, m.width - k);
    float sum[VECTOR] = {}, v[VECTOR];

    if (threadIdx.x == 0)
        earlier = 0;
    __syncthreads();
    for (int64_t t = threadIdx.x; t < mine; t += THREADS)
        if (index[t] == token)
            earlier = 1;
    __syncthreads();
    if (earlier || token < 0)
        return;
    for (int64_t base = mine; base < m.n; base += THREADS) {
        int64_t t = base + threadIdx.x;
        int same = t < m.n && index[t] == token;
        unsigned ballot = __ballot_sync(~0u, same);
        int at = __popc(ballot & ((1u << (threadIdx.x % 32)) - 1)), total = 0;

        if (threadIdx.x % 32 == 0)
            count[warp] = __popc(ballot);
        __syncthreads();
        for (int w = 0; w < THREADS / 32; w++) {
            at += w < warp ? count[w] : 0;
            total += count[w];
        }
        if (same)
            found[at] = threadIdx.x;
        __syncthreads();
        for (int i = 0; i < total && live > 0; i++) {
            load(v, dy, (base + found[i]) * m.width + k, live, wide);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                sum[e] += v[e];
        }
        __syncthreads();
    }
    if (live > 0)
        store(table, token * m.width + k, sum, live, wide);
}

/* -------------------------------------------------------------- the calls */

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    return cuda_plain(c, need, sizeof(move), err);
}

/* Source, index, output. */
static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    move *m = (move *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    m->from = cuda_storage(c, 0);
    m->to = cuda_storage(c, 2);
    m->add = (unsigned char)cuda_adds(c, 0);
    m->width = c->type[2].dim[1];
    m->n = strcmp(c->op, "cache_write") ? cuda_count(c, 1) : c->type[0].dim[0];
    m->out_rows = c->type[2].dim[0];
    return HONE_OK;
}

typedef void (*mover)(move, cell, const int32_t *, cell, int);

static void launch(mover kernel, const void *prepared, const hone_ptr *ptr,
                   hone_stream stream)
{
    const move *m = (const move *)prepared;
    hone_ptr moved[2] = { ptr[0], ptr[2] };

    kernel<<<(unsigned)m->n, m->width > 1024 ? THREADS : 128, 0,
             (cudaStream_t)stream>>>(
        *m, cell_of(ptr, 0, m->from), (const int32_t *)ptr[1].part[0],
        cell_of(ptr, 2, m->to),
        m->width % VECTOR == 0 && cuda_aligned(moved, 2));
}

static void clear(const move *m, void *to, hone_stream stream)
{
    int64_t bytes = hone_part_bytes((hone_storage)m->to, 0,
                                    m->out_rows * m->width);

    (void)cudaMemsetAsync(to, 0, (size_t)bytes, (cudaStream_t)stream);
}

static void take_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    (void)workspace;
    launch(take_rows, prepared, ptr, stream);
}

static void scatter_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    (void)workspace;
    clear((const move *)prepared, ptr[2].part[0], stream);
    launch(put_rows, prepared, ptr, stream);
}

static void cache_run(const void *prepared, const hone_ptr *ptr,
                      void *workspace, hone_stream stream)
{
    (void)workspace;
    launch(write_cache, prepared, ptr, stream);
}

static void embed_grad_run(const void *prepared, const hone_ptr *ptr,
                           void *workspace, hone_stream stream)
{
    const move *m = (const move *)prepared;
    const hone_ptr moved[2] = { ptr[0], ptr[2] };
    dim3 grid((unsigned)m->n, blocks_for(m->width, THREADS * VECTOR));

    (void)workspace;
    if (!m->add)
        clear(m, ptr[2].part[0], stream);
    sum_tokens<<<grid, THREADS, 0, (cudaStream_t)stream>>>(
        *m, cell_of(ptr, 0, m->from), (const int32_t *)ptr[1].part[0],
        cell_of(ptr, 2, m->to, m->add),
        m->width % VECTOR == 0 && cuda_aligned(moved, 2));
}

CUDA_KERNELS(rows) = {
    { "embed", prepare, init, take_run },
    { "gather", prepare, init, take_run },
    { "scatter", prepare, init, scatter_run },
    { "cache_write", prepare, init, cache_run },
    { "embed_grad", prepare, init, embed_grad_run },
    { NULL, NULL, NULL, NULL }
};
