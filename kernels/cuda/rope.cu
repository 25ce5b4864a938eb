/* SPDX-License-Identifier: MIT
 *
 * rope.cu -- rotary positions, in place or not. A block has a token, or some of
 * few heads: sines and cosines are made once, for all heads.
 */
#include "fp8.cuh"

#include "attrs.h"

struct rope {
    int64_t tokens;
    int heads, m, d; /* m pairs of a head of d turn */
    int each;        /* tokens of a block */
    float factor, sign;
    unsigned char x, freq, y, twice;
};

/* Pairs STEP at a time: 8 where they lie well, else 1. COUNT tokens, whose
 * first row begins at element AT. */
template <int STEP>
static __device__ void turn(const rope &r, cell x, cell y, int64_t at,
                            int count, const float *co, const float *si)
{
    const int pairs = r.heads * r.m;

    for (int p = threadIdx.x * STEP; p < count * pairs;
         p += blockDim.x * STEP) {
        const int turned = p / pairs * r.m + p % r.m;
        const int64_t low = at + (int64_t)(p / r.m) * r.d + p % r.m;
        float a[VECTOR], b[VECTOR];

        if (STEP == VECTOR) {
            const words v = fetch_wide(x, low), w = fetch_wide(x, low + r.m);
            spread(a, v, x.storage);
            spread(b, w, x.storage);
        } else {
            a[0] = get(x, low), b[0] = get(x, low + r.m);
        }
#pragma unroll
        for (int e = 0; e < STEP; e++) {
            float was = a[e];
            a[e] = was * co[turned + e] - b[e] * si[turned + e];
            b[e] = b[e] * co[turned + e] + was * si[turned + e];
        }
        store(y, low, a, STEP, STEP == VECTOR);
        store(y, low + r.m, b, STEP, STEP == VECTOR);
    }
}

/* The block's row of y, which it has just written, once more as codes. */
static __device__ void code_row(cell y, int64_t row, int cols, coded to,
                                float *tops)
{
    float v[VECTOR], top = 0;

    __syncthreads();
    for (int i = threadIdx.x * VECTOR; i < cols; i += THREADS * VECTOR) {
        load_wide(v, y, row + i);
        top = fmaxf(top, top_of(v));
    }
    top = row_top<THREADS>(top, tops);
    for (int i = threadIdx.x * VECTOR; i < cols; i += THREADS * VECTOR) {
        load_wide(v, y, row + i);
        put_codes(to, row + i, v, top);
    }
    if (threadIdx.x == 0)
        to.scales[blockIdx.x] = scale_of(top);
}

static __global__ void __launch_bounds__(THREADS)
    rope_kernel(rope r, cell x, cell freq, const int32_t *position, cell y,
                coded twice, int wide)
{
    extern __shared__ float co[];
    __shared__ float tops[THREADS / 32];
    float *si = co + r.each * r.m;
    const int64_t first = (int64_t)blockIdx.x * r.each;
    const int64_t row = first * r.heads * r.d;
    const int count = (int)min((int64_t)r.each, r.tokens - first);
    const int rest = r.d - 2 * r.m;

    for (int i = threadIdx.x; i < count * r.m; i += blockDim.x) {
        float s, c;
        sincosf((float)position[first + i / r.m] * get(freq, i % r.m), &s, &c);
        co[i] = c * r.factor;
        si[i] = s * r.factor * r.sign;
    }
    __syncthreads();
    if (wide)
        turn<VECTOR>(r, x, y, row, count, co, si);
    else
        turn<1>(r, x, y, row, count, co, si);
    for (int p = threadIdx.x; p < count * r.heads * rest; p += blockDim.x) {
        int64_t at = row + (int64_t)(p / rest) * r.d + 2 * r.m + p % rest;
        put(y, at, get(x, at));
    }
    if (twice.codes)
        code_row(y, row, r.heads * r.d, twice, tops);
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    hone_call own = cuda_once(c, 1);

    (void)threads;
    hone_try(cuda_twice(c, 1, need, err));
    if (cuda_count(c, 1) > 4096)
        return hone_fail(err, HONE_ENOSUP, "cuda: rope: %lld frequencies, "
                         "4096 are covered", (long long)cuda_count(c, 1));
    return cuda_plain(&own, need, sizeof(rope), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_rope_attrs *a = (const hone_rope_attrs *)c->attrs;
    rope *r = (rope *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    r->m = (int)cuda_count(c, 1);
    r->d = a->head_dim ? (int)a->head_dim : 2 * r->m;
    r->tokens = c->type[0].dim[0];
    r->heads = (int)(c->type[0].dim[1] / r->d);
    r->factor = (float)a->factor;
    r->sign = a->inverse ? -1.0f : 1.0f;
    r->x = cuda_storage(c, 0);
    r->freq = cuda_storage(c, 1);
    r->y = cuda_storage(c, 3);
    r->twice = c->nout > 1;
    r->each = THREADS * VECTOR / (r->heads * r->m);
    r->each = r->twice || r->each < 1 ? 1 : r->each < 32 ? r->each : 32;
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const rope *r = (const rope *)prepared;
    hone_ptr moved[2] = { ptr[0], ptr[3] };
    int wide = r->m % VECTOR == 0 && r->d % VECTOR == 0 &&
               cuda_aligned(moved, 2);

    (void)workspace;
    rope_kernel<<<blocks_for(r->tokens, r->each), THREADS,
                  2 * (size_t)(r->each * r->m) * sizeof(float),
                  (cudaStream_t)stream>>>(
        *r, cell_of(ptr, 0, r->x), cell_of(ptr, 1, r->freq),
        (const int32_t *)ptr[2].part[0], cell_of(ptr, 3, r->y),
        r->twice ? coded_of(ptr, 4) : coded{}, wide);
}

CUDA_KERNELS(rope) = {
    { "rope", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};
