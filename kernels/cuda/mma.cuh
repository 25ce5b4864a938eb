/* SPDX-License-Identifier: MIT
 *
 * mma.cuh -- tensor cores by hand: 16 x 16 tiles of bf16 or fp16 from shared
 * memory to registers, products of 16 x 8 x 16 with fp32 sums, copies that run
 * beside the arithmetic. From compute capability 8.0 on; at 7.5 there is fp16
 * alone, in two halves, and copies that hold up their thread.
 *
 * In an accumulator of 16 x 8, thread 4 g + t of a warp has columns 2 t and
 * 2 t + 1 of row g in [0], [1] and of row g + 8 in [2], [3].
 */
#ifndef HONE_CUDA_MMA_CUH
#define HONE_CUDA_MMA_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define MMA_TURING
#endif

#ifndef MMA_TURING
#define MMA_ASM(...) asm volatile(__VA_ARGS__)
#else
#define MMA_ASM(...) __trap()
#endif

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Four 8 x 8 matrices; each lane gives the address of one of their 32 rows. */
static __device__ __forceinline__ void load_rows(uint32_t (&r)[4],
                                                 const void *at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
            : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
            : "r"(shared_address(at)) : "memory");
}

static __device__ __forceinline__ void load_columns(uint32_t (&r)[4],
                                                    const void *at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, "
            "[%4];"
            : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
            : "r"(shared_address(at)) : "memory");
}

/* What load_rows() reads, back. From compute capability 9.0 on. */
static __device__ __forceinline__ void store_rows(void *at,
                                                  const uint32_t (&r)[4])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], "
                 "{%1,%2,%3,%4};"
                 :: "r"(shared_address(at)), "r"(r[0]), "r"(r[1]), "r"(r[2]),
                    "r"(r[3]) : "memory");
#else
    (void)at, (void)r;
    __trap();
#endif
}

/* c += a b */
template <bool FP16 = false>
static __device__ __forceinline__ void multiply(float (&c)[4],
                                                const uint32_t (&a)[4],
                                                uint32_t b0, uint32_t b1)
{
#define MULTIPLY(shape)                                                        \
    "mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "       \
    "{%0,%1,%2,%3};"                                                           \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                       \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)
    if constexpr (!FP16) {
        MMA_ASM(MULTIPLY("m16n8k16.row.col.f32.bf16.bf16.f32"));
    } else {
#ifndef MMA_TURING
        asm volatile(MULTIPLY("m16n8k16.row.col.f32.f16.f16.f32"));
#else
#pragma unroll
        for (int k = 0; k < 2; k++)
            asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                         "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                         : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                         : "r"(a[2 * k]), "r"(a[2 * k + 1]),
                           "r"(k ? b1 : b0));
#endif
    }
#undef MULTIPLY
}

/* 16 bytes to shared memory while the thread goes on; zeros if not THERE. */
static __device__ __forceinline__ void copy_async(void *to, const void *from,
                                                  bool there)
{
#ifdef MMA_TURING
    *(uint4 *)to = there ? *(const uint4 *)from : uint4{ 0, 0, 0, 0 };
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
#endif
}

static __device__ __forceinline__ void copies_close()
{
#ifndef MMA_TURING
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* All but the LEFT groups closed last have arrived. */
template <int LEFT> static __device__ __forceinline__ void copies_wait()
{
#ifndef MMA_TURING
    asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory");
#endif
}

template <bool FP16 = false>
static __device__ __forceinline__ uint32_t two(float low, float high)
{
    uint32_t word;

    if constexpr (FP16) {
        __half2 v = __floats2half2_rn(low, high);
        memcpy(&word, &v, sizeof word);
    } else {
        __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
        memcpy(&word, &v, sizeof word);
    }
    return word;
}

/* --------------------------------------------------- tiles of ROW elements */

/* Where a lane points for rows [i, i + 16) x columns [e, e + 16): as the first
 * factor (also, by load_columns, two second factors whose sums run over the
 * tile's rows) ... */
template <int ROW, class T>
static __device__ __forceinline__ const T *lane_rows(const T *m, int i, int e)
{
    int lane = threadIdx.x % 32;

    return m + (i + lane % 16) * ROW + e + lane / 16 * 8;
}

/* ... and as two second factors whose sums run over the tile's columns. */
template <int ROW, class T>
static __device__ __forceinline__ const T *lane_pairs(const T *m, int i, int e)
{
    int lane = threadIdx.x % 32;

    return m + (i + lane % 8 + lane / 16 * 8) * ROW + e + lane / 8 % 2 * 8;
}

/* Rows [i, i + 16) of a tile as first factors, kept in registers. */
template <int K, int ROW, class T>
static __device__ __forceinline__ void hold(uint32_t (&held)[K / 16][4],
                                            const T *a, int i)
{
#pragma unroll
    for (int e = 0; e < K; e += 16)
        load_rows(held[e / 16], lane_rows<ROW>(a, i, e));
}

/* s (16 x 8 N) = the rows held times rows [0, 8 N) of B, over K. */
template <bool FP16, int N, int K, int ROW, class T>
static __device__ __forceinline__ void outer(float (&s)[N][4],
                                             const uint32_t (&held)[K / 16][4],
                                             const T *b)
{
#pragma unroll
    for (int n = 0; n < N; n++)
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int e = 0; e < K; e += 16)
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t fb[4];
            load_rows(fb, lane_pairs<ROW>(b, 8 * n, e));
            multiply<FP16>(s[n], held[e / 16], fb[0], fb[1]);
            multiply<FP16>(s[n + 1], held[e / 16], fb[2], fb[3]);
        }
}

/* s (16 x 8 N) = rows [i, i + 16) of A times rows [0, 8 N) of B, over K. */
template <bool FP16, int N, int K, int ROW, class T>
static __device__ __forceinline__ void outer(float (&s)[N][4], const T *a,
                                             int i, const T *b)
{
#pragma unroll
    for (int n = 0; n < N; n++)
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int e = 0; e < K; e += 16) {
        uint32_t fa[4], fb[4];
        load_rows(fa, lane_rows<ROW>(a, i, e));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_rows(fb, lane_pairs<ROW>(b, 8 * n, e));
            multiply<FP16>(s[n], fa, fb[0], fb[1]);
            multiply<FP16>(s[n + 1], fa, fb[2], fb[3]);
        }
    }
}

/* acc (16 x 8 E) += p (16 x 8 N, rounded to bf16) times rows [0, 8 N) of M,
 * its columns from FIRST on. */
template <bool FP16, int N, int E, int ROW, class T>
static __device__ __forceinline__ void weigh(float (&acc)[E][4],
                                             const float (&p)[N][4],
                                             const T *m, int first)
{
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t fa[4] = { two<FP16>(p[n][0], p[n][1]), two<FP16>(p[n][2], p[n][3]),
                           two<FP16>(p[n + 1][0], p[n + 1][1]),
                           two<FP16>(p[n + 1][2], p[n + 1][3]) };
#pragma unroll
        for (int e = 0; e < E; e += 2) {
            uint32_t fb[4];
            load_columns(fb, lane_rows<ROW>(m, 8 * n, first + 8 * e));
            multiply<FP16>(acc[e], fa, fb[0], fb[1]);
            multiply<FP16>(acc[e + 1], fa, fb[2], fb[3]);
        }
    }
}

#endif
