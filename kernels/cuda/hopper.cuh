/* SPDX-License-Identifier: MIT
 *
 * hopper.cuh -- what compute capability 9.0 brings beyond mma.cuh: barriers
 * that count bytes, the bulk copy engine with its tensor maps, and products of
 * a warpgroup (128 threads), 64 x N x 16, that run while its threads go on.
 * Code for sm_90a alone.
 *
 * A tile of R rows lies in shared memory as slabs of 64 columns, a row 128
 * bytes, 16-byte pieces swizzled by the row modulo 8; slabs begin at multiples
 * of 1024 bytes. In an accumulator of 64 x N warp w has rows 16 w and up, and
 * within them thread 4 g + t has columns 8 n + 2 t and 8 n + 2 t + 1 of row g
 * in [4 n], [4 n + 1] and of row g + 8 in [4 n + 2], [4 n + 3].
 */
#ifndef HONE_CUDA_HOPPER_CUH
#define HONE_CUDA_HOPPER_CUH

#include <cuda.h>
#include <cuda_bf16.h>
#include <stdint.h>

/* Of other targets kernels leave their bodies out. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HOPPER
#endif
#define HOPPER_ASM(...) asm volatile(__VA_ARGS__)

enum { SLAB = 64, SLAB_ROW = 128 /* bytes */, BOX = 64 /* rows of a copy */ };

static __device__ __forceinline__ uint32_t room_of(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---------------------------------------------------------------- barriers */

static __device__ __forceinline__ void barrier_init(uint64_t *b, int count)
{
    HOPPER_ASM("mbarrier.init.shared::cta.b64 [%0], %1;"
               :: "r"(room_of(b)), "r"(count) : "memory");
}

/* Barriers that were made are seen by the copy engine. */
static __device__ __forceinline__ void barriers_made()
{
    HOPPER_ASM("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ void arrive(uint64_t *b)
{
    HOPPER_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];"
               :: "r"(room_of(b)) : "memory");
}

/* Arrives, and lets the phase end only when BYTES have come too. */
static __device__ __forceinline__ void arrive_for(uint64_t *b, int bytes)
{
    HOPPER_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"(room_of(b)), "r"(bytes) : "memory");
}

/* Until the phase of this parity is over. */
static __device__ __forceinline__ void await(uint64_t *b, int parity)
{
    HOPPER_ASM("{\n"
               ".reg .pred done;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@!done bra again;\n"
               "}\n" :: "r"(room_of(b)), "r"(parity) : "memory");
}

/* Barriers by number, of COUNT threads in all: some wait, some only come. */
static __device__ __forceinline__ void meet(int number, int count)
{
    HOPPER_ASM("bar.sync %0, %1;" :: "r"(number), "r"(count) : "memory");
}

static __device__ __forceinline__ void pass(int number, int count)
{
    HOPPER_ASM("bar.arrive %0, %1;" :: "r"(number), "r"(count) : "memory");
}

/* Registers of a warpgroup's threads, from what the launch gave each. */
template <int N> static __device__ __forceinline__ void registers_up()
{
    HOPPER_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N));
}

template <int N> static __device__ __forceinline__ void registers_down()
{
    HOPPER_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N));
}

/* ------------------------------------------------------------------ copies */

/* A box of 64 columns and BOX rows of one head; zeros beyond the tensor. */
static __device__ __forceinline__ void copy_box(void *to, const CUtensorMap *m,
                                                int column, int head, int row,
                                                uint64_t *b)
{
    HOPPER_ASM("cp.async.bulk.tensor.3d.shared::cluster.global"
               ".mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
               :: "r"(room_of(to)), "l"(m), "r"(column), "r"(head), "r"(row),
                  "r"(room_of(b)) : "memory");
}

/* ROWS rows of a head of D features as a tile. */
template <int D, int ROWS>
static __device__ __forceinline__ void copy_tile(char *to, const CUtensorMap *m,
                                                 int head, int row, uint64_t *b)
{
#pragma unroll
    for (int e = 0; e < D; e += SLAB)
#pragma unroll
        for (int i = 0; i < ROWS; i += BOX)
            copy_box(to + (e / SLAB * ROWS + i) * SLAB_ROW, m, e, head, row + i,
                     b);
}

/* Rows [FROM, ROWS) of a tile become 0 for a warpgroup that is about to
 * multiply by it; NUMBER: of a barrier of its own. */
template <int D, int ROWS>
static __device__ __forceinline__ void clear_behind(char *tile, int from,
                                                    int number)
{
    for (int e = 0; e < D; e += SLAB)
        for (int at = from * SLAB_ROW + threadIdx.x % 128 * 16;
             at < ROWS * SLAB_ROW; at += 128 * 16)
            *(uint4 *)(tile + e / SLAB * ROWS * SLAB_ROW + at) =
                uint4{ 0, 0, 0, 0 };
    HOPPER_ASM("fence.proxy.async.shared::cta;" ::: "memory");
    meet(number, 128);
}

/* --------------------------------------------------------------- operands */

/* Descriptor of a tile's part whose rows are the operand's rows (or, as second
 * factor, the product's columns): sums run along a row. */
static __device__ __forceinline__ uint64_t along_rows(const char *at)
{
    return (uint64_t)((room_of(at) & 0x3ffff) >> 4) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* As second factor: the product's columns are the tile's columns, ROWS rows in
 * each slab; sums run down the rows. */
template <int ROWS>
static __device__ __forceinline__ uint64_t down_rows(const char *at)
{
    return (uint64_t)((room_of(at) & 0x3ffff) >> 4) |
           (uint64_t)(ROWS * SLAB_ROW >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* Steps of a descriptor: bytes. */
static __device__ __forceinline__ uint64_t onward(uint64_t d, int bytes)
{
    return d + (uint64_t)(bytes >> 4);
}

/* --------------------------------------------------------------- products */

static __device__ __forceinline__ void products_begin()
{
    HOPPER_ASM("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void products_close()
{
    HOPPER_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All but the LEFT groups closed last are done. */
template <int LEFT> static __device__ __forceinline__ void products_wait()
{
    HOPPER_ASM("wgmma.wait_group.sync.aligned %0;" :: "n"(LEFT) : "memory");
}

/* Keeps the compiler from moving registers across a point in time. */
template <int N> static __device__ __forceinline__ void pin(float (&r)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(r[i]) :: "memory");
}

#define R8(r, i)                                                               \
    "+f"(r[i]), "+f"(r[i + 1]), "+f"(r[i + 2]), "+f"(r[i + 3]),                \
        "+f"(r[i + 4]), "+f"(r[i + 5]), "+f"(r[i + 6]), "+f"(r[i + 7])
#define R32(r, i) R8(r, i), R8(r, i + 8), R8(r, i + 16), R8(r, i + 24)
#define NAMES_32                                                               \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "   \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "   \
    "%30, %31"
#define NAMES_64                                                               \
    NAMES_32                                                                   \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
    "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "   \
    "%60, %61, %62, %63"

/* c (64 x N) = a b, or += if ADD; DOWN: b's sums run down the rows. */
template <bool DOWN>
static __device__ __forceinline__ void multiply(float (&c)[32], uint64_t a,
                                                uint64_t b, int add)
{
    HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
               NAMES_32 "}, %32, %33, p, 1, 1, 0, %35;\n}\n"
               : R32(c, 0) : "l"(a), "l"(b), "r"(add), "n"(DOWN));
}

template <bool DOWN>
static __device__ __forceinline__ void multiply(float (&c)[64], uint64_t a,
                                                uint64_t b, int add)
{
    HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               NAMES_64 "}, %64, %65, p, 1, 1, 0, %67;\n}\n"
               : R32(c, 0), R32(c, 32)
               : "l"(a), "l"(b), "r"(add), "n"(DOWN));
}

/* The same with the first factor in registers. */
template <bool DOWN>
static __device__ __forceinline__ void multiply(float (&c)[32],
                                                const uint32_t *a, uint64_t b,
                                                int add)
{
    HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
               NAMES_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
               : R32(c, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                 "n"(DOWN));
}

template <bool DOWN>
static __device__ __forceinline__ void multiply(float (&c)[64],
                                                const uint32_t *a, uint64_t b,
                                                int add)
{
    HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               NAMES_64 "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
               : R32(c, 0), R32(c, 32)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                 "n"(DOWN));
}

/* c (64 x N) = rows [ROW, ROW + 64) of tile A (ROWS rows, D columns) times the
 * rows of tile B (N of them). Opened and closed as one group. */
template <int D, int ROWS, int N>
static __device__ __forceinline__ void rows_by_rows(float (&c)[N / 2],
                                                    const char *a, int row,
                                                    const char *b)
{
    uint64_t da = along_rows(a + row * SLAB_ROW), db = along_rows(b);

    products_begin();
#pragma unroll
    for (int e = 0; e < D; e += 16)
        multiply<false>(
            c, onward(da, e / SLAB * ROWS * SLAB_ROW + e % SLAB * 2),
            onward(db, e / SLAB * N * SLAB_ROW + e % SLAB * 2), e > 0);
    products_close();
}

/* c (64 x D) += p (64 x N, in registers) times tile B (N rows, D columns), not
 * opened or closed; 128 columns at a time. */
template <int D, int N>
static __device__ __forceinline__ void weigh(float (&c)[D / 2],
                                             uint32_t (&p)[N / 4],
                                             const char *b)
{
    constexpr int WIDTH = D < 128 ? D : 128;
    uint64_t db = down_rows<N>(b);

#pragma unroll
    for (int i = 0; i < N; i += 16)
#pragma unroll
        for (int e = 0; e < D; e += WIDTH)
            multiply<true>(
                *reinterpret_cast<float(*)[WIDTH / 2]>(&c[e / 2]), p + i / 4,
                onward(db, (e / SLAB * N + i) * SLAB_ROW), 1);
}

template <int D, int N>
static __device__ __forceinline__ void weigh_rows(float (&c)[D / 2],
                                                  uint32_t (&p)[N / 4],
                                                  const char *b)
{
    products_begin();
    weigh<D, N>(c, p, b);
    products_close();
}

/* An accumulator as a first factor. */
template <int N>
static __device__ __forceinline__ void halve(uint32_t (&p)[N / 2],
                                             const float (&s)[N])
{
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        __nv_bfloat162 v = __floats2bfloat162_rn(s[2 * i], s[2 * i + 1]);
        p[i] = *reinterpret_cast<uint32_t *>(&v);
    }
}

#endif
