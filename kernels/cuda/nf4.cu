/* SPDX-License-Identifier: MIT
 *
 * nf4.cu -- convert from nf4 at the speed of memory: a thread takes words of
 * eight codes, apart by what its block of threads takes at once, so that the
 * accesses of a warp are side by side, and has several under way. A word lies
 * in one block of 64 and has one scale.
 */
#include "device.cuh"

#include "hone/nf4.h"

enum { WORDS = 4 }; /* of a thread */

struct weight {
    const uint8_t *codes;
    const void *absmax; /* f32 of HONE_NF4_PLAIN, else u8 */
    const float *nested, *mean;
};

static __device__ const float values[16] = { HONE_NF4_VALUES };
static __device__ const float map[127] = { HONE_NF4_MAP };

template <int PLAIN>
static __device__ __forceinline__ float scale_of(const weight &w, int64_t i)
{
    int64_t block = i / HONE_NF4_BLOCK;

    if (PLAIN)
        return __ldg((const float *)w.absmax + block);
    int q = __ldg((const uint8_t *)w.absmax + block);
    float m = __ldg(&map[q > 127 ? min(q - 128, 126) : max(126 - q, 0)]);

    m = q == 0     ? __ldg(w.mean + 1)
        : q == 127 ? 0.0f
        : q == 255 ? 1.0f
        : q > 127  ? m
                   : -m;
    m = __fmul_rn(m, __ldg(w.nested + block / HONE_NF4_NEST));
    return __fadd_rn(m, __ldg(w.mean));
}

/* Eight codes from the even element I on; behind the last one zeros. */
static __device__ __forceinline__ uint32_t codes_at(const weight &w, int64_t i,
                                                    int live)
{
    uint32_t word = 0;

    if (live >= VECTOR)
        return __ldg((const uint32_t *)(w.codes + i / 2));
    for (int k = 0; 2 * k < live; k++)
        word |= (uint32_t)w.codes[i / 2 + k] << 8 * k;
    return word;
}

template <int PLAIN>
static __global__ void __launch_bounds__(THREADS)
    nf4_kernel(const weight w, int64_t n, cell y)
{
    __shared__ float value[16];
    const int64_t first =
        ((int64_t)blockIdx.x * THREADS * WORDS + threadIdx.x) * VECTOR;
    const int64_t step = THREADS * VECTOR;
    uint32_t word[WORDS];
    float scale[WORDS];

    if (threadIdx.x < 16)
        value[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < WORDS; k++) {
        int64_t i = first + k * step;
        if (i < n) {
            word[k] = codes_at(w, i, (int)min((int64_t)VECTOR, n - i));
            scale[k] = scale_of<PLAIN>(w, i);
        }
    }
#pragma unroll
    for (int k = 0; k < WORDS; k++) {
        int64_t i = first + k * step;
        float x[VECTOR];

        if (i >= n)
            return;
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            x[e] = value[word[k] >> (e ^ 1) * 4 & 15] * scale[k];
        store(y, i, x, (int)min((int64_t)VECTOR, n - i), 1);
    }
}

struct conversion {
    int64_t n;
    int plain;
    unsigned char to, add;
};

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(conversion);
    if (hone_is_nf4(c->type[0].storage) && cuda_is_float(c->type[1].storage))
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP, "cuda: convert: '%s' to '%s' is not "
                     "covered", hone_parts(c->type[0].storage)[0].name,
                     hone_parts(c->type[1].storage)[0].name);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    conversion *p = (conversion *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    p->n = cuda_count(c, 0);
    p->plain = c->type[0].storage == HONE_NF4_PLAIN;
    p->to = cuda_storage(c, 1);
    p->add = (unsigned char)cuda_adds(c, 0);
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const conversion *p = (const conversion *)prepared;
    weight w = { (const uint8_t *)ptr[0].part[0], ptr[0].part[1],
                 (const float *)ptr[0].part[2], (const float *)ptr[0].part[3] };
    auto kernel = p->plain ? nf4_kernel<1> : nf4_kernel<0>;

    (void)workspace;
    kernel<<<blocks_for(p->n, THREADS * WORDS * VECTOR), THREADS, 0,
             (cudaStream_t)stream>>>(w, p->n, cell_of(ptr, 1, p->to, p->add));
}

CUDA_KERNELS(nf4) = { { "convert", prepare, init, run },
                      { NULL, NULL, NULL, NULL } };
