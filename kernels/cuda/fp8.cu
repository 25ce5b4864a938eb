/* SPDX-License-Identifier: MIT
 *
 * fp8.cu -- see fp8.h. A row is quantised by one block, which reads it once
 * and holds it in registers up to 16384 columns; a row's codes depend on
 * nothing but the row, so that the layout of a batch changes nothing.
 * Transposing goes by squares of 128 bytes through shared memory.
 */
#include <cuda_fp8.h>

#include "device.cuh"
#include "fp8.h"

enum { SIDE = 128, LANES = 32, WARPS = THREADS / LANES };

static __device__ __forceinline__ uint32_t four_codes(const float *v,
                                                      float inverse)
{
    __nv_fp8x2_storage_t low = __nv_cvt_float2_to_fp8x2(
        { v[0] * inverse, v[1] * inverse }, __NV_SATFINITE, __NV_E4M3);
    __nv_fp8x2_storage_t high = __nv_cvt_float2_to_fp8x2(
        { v[2] * inverse, v[3] * inverse }, __NV_SATFINITE, __NV_E4M3);

    return low | (uint32_t)high << 16;
}

static __device__ __forceinline__ void take(float (&v)[VECTOR], const void *x,
                                            int64_t at)
{
    cell c = { const_cast<void *>(x), HONE_BF16, 0 };
    load_wide(v, c, at);
}

static __device__ __forceinline__ void give(uint8_t *codes, int64_t at,
                                            const float (&v)[VECTOR],
                                            float inverse)
{
    *(uint2 *)(codes + at) = { four_codes(v, inverse),
                               four_codes(v + 4, inverse) };
}

static __device__ __forceinline__ float top_of(const float (&v)[VECTOR])
{
    float top = 0;

#pragma unroll
    for (int k = 0; k < VECTOR; k++)
        top = fmaxf(top, fabsf(v[k]));
    return top;
}

struct spreads {
    cuda_fp8_spread of[CUDA_FP8_MOST];
};

/* HELD: groups of eight that a thread keeps; 0: the row is read twice. Blocks
 * behind the rows spread: each has an equal part of all lists. */
template <int HELD>
static __global__ void rows_kernel(const void *x, int64_t rows, int64_t cols,
                                   uint8_t *codes, float *scales,
                                   const spreads s, int count)
{
    __shared__ float shared[WARPS];
    const int64_t step = THREADS * VECTOR, first = threadIdx.x * VECTOR;
    const int64_t row = blockIdx.x, base = row * cols;
    float v[HELD ? HELD : 1][VECTOR], top = 0, inverse;

    if (row >= rows) {
        int64_t stride = (int64_t)(gridDim.x - rows) * THREADS;
#pragma unroll
        for (int k = 0; k < CUDA_FP8_MOST; k++)
            if (k < count)
                for (int64_t i = (row - rows) * THREADS + threadIdx.x;
                     i < s.of[k].each; i += stride)
                    s.of[k].to[i] = *s.of[k].one;
        return;
    }
    if (HELD) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                take(v[k], x, base + first + k * step);
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                top = fmaxf(top, top_of(v[k]));
    } else {
        for (int64_t i = first; i < cols; i += step) {
            take(v[0], x, base + i);
            top = fmaxf(top, top_of(v[0]));
        }
    }
    /* A row of zeros has a scale, too, and no code overflows its inverse. */
    top = fmaxf(team_max<THREADS>(top, shared), 1e-30f);
    inverse = 448.0f / top;
    if (threadIdx.x == 0)
        scales[row] = top / 448.0f;
    if (HELD) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (first + k * step < cols)
                give(codes, base + first + k * step, v[k], inverse);
    } else {
        for (int64_t i = first; i < cols; i += step) {
            take(v[0], x, base + i);
            give(codes, base + i, v[0], inverse);
        }
    }
}

void cuda_fp8_rows(const void *x, int64_t rows, int64_t cols, void *codes,
                   float *scales, const cuda_fp8_spread *list, int count,
                   hone_stream stream)
{
    int64_t held = cuda_ceil(cols, THREADS * VECTOR), most = 0;
    auto kernel = held <= 1   ? rows_kernel<1>
                  : held <= 2 ? rows_kernel<2>
                  : held <= 4 ? rows_kernel<4>
                  : held <= 8 ? rows_kernel<8>
                              : rows_kernel<0>;
    spreads s = {};

    for (int i = 0; i < count; i++) {
        s.of[i] = list[i];
        most = most > list[i].each ? most : list[i].each;
    }
    kernel<<<(unsigned)(rows + cuda_ceil(most, THREADS)), THREADS, 0,
             (cudaStream_t)stream>>>(x, rows, cols, (uint8_t *)codes, scales,
                                     s, count);
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
static __global__ void transpose_kernel(const uint8_t *from, int64_t rows,
                                        int64_t cols, uint8_t *to)
{
    __shared__ uint32_t square[SIDE][LANES];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int64_t row0 = (int64_t)blockIdx.y * SIDE;
    const int64_t col0 = (int64_t)blockIdx.x * SIDE;
    uint32_t w[LANES / WARPS][4];

#pragma unroll
    for (int k = 0; k < LANES / WARPS; k++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int64_t row = row0 + 4 * (warp + WARPS * k) + j;
            int64_t col = col0 + 4 * lane;
            w[k][j] = row < rows && col < cols
                          ? *(const uint32_t *)(from + row * cols + col)
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
            *(uint32_t *)(to + (col0 + c) * rows + row0 + 4 * lane) =
                square[c][lane ^ (c / 4)];
}

void cuda_fp8_transpose(const void *from, int64_t rows, int64_t cols, void *to,
                        hone_stream stream)
{
    dim3 grid((unsigned)cuda_ceil(cols, SIDE), (unsigned)cuda_ceil(rows, SIDE));

    transpose_kernel<<<grid, THREADS, 0, (cudaStream_t)stream>>>(
        (const uint8_t *)from, rows, cols, (uint8_t *)to);
}
