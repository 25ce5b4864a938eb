/* SPDX-License-Identifier: MIT
 *
 * fp8.cu -- `convert` to codes: rows in bf16 that no kernel coded as it made
 * them, and weights to the layout in which linear_dx reads them; and back to
 * bf16. A row is read once, by one block, and held in registers up to 16384
 * columns. Transposing goes by squares of 128 bytes through shared memory. And
 * the scales of a product, for cards whose cuBLASLt applies none of vectors.
 */
#include "fp8.cuh"

#include "fp8.h"

enum { SIDE = 128, LANES = 32, WARPS = THREADS / LANES };

/* HELD: groups of eight that a thread keeps; 0: the row is read twice. */
template <int HELD>
static __global__ void rows_kernel(cell x, int64_t cols, coded to)
{
    __shared__ float shared[WARPS];
    const int64_t step = THREADS * VECTOR, first = threadIdx.x * VECTOR;
    const int64_t base = blockIdx.x * cols;
    float v[HELD ? HELD : 1][VECTOR], top = 0;

    if (HELD) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                load_wide(v[k], x, base + first + k * step);
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                top = fmaxf(top, top_of(v[k]));
    } else {
        for (int64_t i = first; i < cols; i += step) {
            load_wide(v[0], x, base + i);
            top = fmaxf(top, top_of(v[0]));
        }
    }
    top = row_top<THREADS>(top, shared);
    if (threadIdx.x == 0)
        to.scales[blockIdx.x] = scale_of(top);
    if (HELD) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                put_codes(to, base + first + k * step, v[k], top);
    } else {
        for (int64_t i = first; i < cols; i += step) {
            load_wide(v[0], x, base + i);
            put_codes(to, base + i, v[0], top);
        }
    }
}

/* Four words of four bytes, turned. */
static __device__ __forceinline__ void turn_four(uint32_t (&w)[4])
{
    uint32_t a = __byte_perm(w[0], w[1], 0x5140);
    uint32_t b = __byte_perm(w[2], w[3], 0x5140);
    uint32_t c = __byte_perm(w[0], w[1], 0x7362);
    uint32_t d = __byte_perm(w[2], w[3], 0x7362);

    w[0] = __byte_perm(a, b, 0x5410);
    w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410);
    w[3] = __byte_perm(c, d, 0x7632);
}

/* A warp reads four rows of the square, a lane four bytes of each; it writes
 * rows of the result. The exclusive or keeps the banks apart both ways. */
static __global__ void turn_kernel(coded from, int64_t rows, int64_t cols,
                                   coded to)
{
    __shared__ uint32_t square[SIDE][LANES];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int64_t row0 = (int64_t)blockIdx.y * SIDE;
    const int64_t col0 = (int64_t)blockIdx.x * SIDE;
    uint32_t w[LANES / WARPS][4];

    if (blockIdx.y == 0 && threadIdx.x < SIDE && col0 + threadIdx.x < cols)
        to.scales[col0 + threadIdx.x] = from.scales[0];
#pragma unroll
    for (int k = 0; k < LANES / WARPS; k++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int64_t row = row0 + 4 * (warp + WARPS * k) + j;
            int64_t col = col0 + 4 * lane;
            w[k][j] = row < rows && col < cols
                          ? *(const uint32_t *)(from.codes + row * cols + col)
                          : 0;
        }
#pragma unroll
    for (int k = 0; k < LANES / WARPS; k++) {
        turn_four(w[k]);
#pragma unroll
        for (int j = 0; j < 4; j++)
            square[4 * lane + j][(warp + WARPS * k) ^ lane] = w[k][j];
    }
    __syncthreads();
    for (int c = warp; c < SIDE; c += WARPS)
        if (col0 + c < cols && row0 + 4 * lane < rows)
            *(uint32_t *)(to.codes + (col0 + c) * rows + row0 + 4 * lane) =
                square[c][lane ^ (c / 4)];
}

static __global__ void __launch_bounds__(THREADS)
    scale_kernel(cuda_fp8_product p, cell product, cell bias, cell from,
                 cell col, cell to)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    int64_t row = i / p.cols, at = i % p.cols;
    float v[VECTOR], s[VECTOR], more[VECTOR];

    if (i >= p.rows * p.cols)
        return;
    load_wide(v, product, i);
    load_wide(s, col, at);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        v[e] *= p.alpha * p.row[row] * s[e];
    if (p.bias) {
        load_wide(more, bias, at);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] += more[e];
    }
    if (p.from) {
        load_wide(more, from, i);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            v[e] += more[e];
    }
    store_wide(to, i, v);
}

void cuda_fp8_scale(const cuda_fp8_product *p, hone_stream stream)
{
    const hone_ptr ptr[] = { { { (void *)p->product } }, { { (void *)p->bias } },
                             { { (void *)p->from } }, { { (void *)p->col } },
                             { { p->to } } };

    scale_kernel<<<blocks_for(p->rows * p->cols, THREADS * VECTOR), THREADS, 0,
                   (cudaStream_t)stream>>>(
        *p, cell_of(ptr, 0, HONE_BF16), cell_of(ptr, 1, HONE_BF16),
        cell_of(ptr, 2, HONE_BF16), cell_of(ptr, 3, HONE_F32),
        cell_of(ptr, 4, HONE_BF16));
}

/* -------------------------------------------------------------- the calls */

/* Sixteen codes a thread; no row ends within them. */
static __global__ void __launch_bounds__(THREADS)
    numbers_kernel(coded from, int64_t rows, int64_t cols, cell y)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 2 * VECTOR;
    uint4 word;
    float scale, v[2][VECTOR];

    if (i >= rows * cols)
        return;
    word = __ldg((const uint4 *)(from.codes + i));
    scale = __ldg(from.scales + i / cols);
    const uint32_t four[4] = { word.x, word.y, word.z, word.w };
#pragma unroll
    for (int k = 0; k < 2 * VECTOR; k += 2) {
        uint32_t two = four[k / 4] >> k % 4 * 8 & 0xffff;
        __half2_raw raw = __nv_cvt_fp8x2_to_halfraw2(
            (__nv_fp8x2_storage_t)two, __NV_E4M3);
        float2 x = __half22float2(__half2(raw));

        v[k / VECTOR][k % VECTOR] = x.x * scale;
        v[k / VECTOR][k % VECTOR + 1] = x.y * scale;
    }
    store_wide(y, i, v[0]);
    store_wide(y, i + VECTOR, v[1]);
}

struct coding {
    int64_t rows, cols;
    int back;
};

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    hone_storage from = c->type[0].storage, to = c->type[1].storage;

    (void)threads;
    if (!(from == HONE_BF16 && to == HONE_FP8) &&
        !(from == HONE_FP8 && (to == HONE_FP8_TURNED || to == HONE_BF16)))
        return hone_fail(err, HONE_ENOSUP, "cuda: convert: codes are of bf16, "
                         "or turned, or become bf16");
    if (cuda_adds(c, 0))
        return hone_fail(err, HONE_ENOSUP, "cuda: convert: nothing is added "
                         "to by codes");
    if (c->type[0].rank != 2 || c->type[0].dim[1] % 16 ||
        (from == HONE_FP8 && c->type[0].dim[0] % 16))
        return hone_fail(err, HONE_ENOSUP, "cuda: convert: codes have "
                         "multiples of 16 for dimensions");
    need->prepared_bytes = sizeof(coding);
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(coding *)prepared = { c->type[0].dim[0], c->type[0].dim[1],
                            c->type[1].storage == HONE_BF16 };
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const coding *c = (const coding *)prepared;
    int64_t held = cuda_ceil(c->cols, THREADS * VECTOR);
    auto kernel = held <= 1   ? rows_kernel<1>
                  : held <= 2 ? rows_kernel<2>
                  : held <= 4 ? rows_kernel<4>
                  : held <= 8 ? rows_kernel<8>
                              : rows_kernel<0>;
    dim3 squares((unsigned)cuda_ceil(c->cols, SIDE),
                 (unsigned)cuda_ceil(c->rows, SIDE));

    (void)workspace;
    if (c->back)
        numbers_kernel<<<blocks_for(c->rows * c->cols, THREADS * 2 * VECTOR),
                         THREADS, 0, (cudaStream_t)stream>>>(
            coded_of(ptr, 0), c->rows, c->cols, cell_of(ptr, 1, HONE_BF16));
    else if (ptr[0].part[1]) /* codes already */
        turn_kernel<<<squares, THREADS, 0, (cudaStream_t)stream>>>(
            coded_of(ptr, 0), c->rows, c->cols, coded_of(ptr, 1));
    else
        kernel<<<(unsigned)c->rows, THREADS, 0, (cudaStream_t)stream>>>(
            cell_of(ptr, 0, HONE_BF16), c->cols, coded_of(ptr, 1));
}

CUDA_KERNELS(fp8) = {
    { "convert", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
