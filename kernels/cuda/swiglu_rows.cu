/* SPDX-License-Identifier: MIT
 *
 * swiglu_rows.cu -- swiglu and its gradients where their results are wanted as
 * codes, too. A block has a row; its threads hold what they have computed
 * until they know the row's largest number, which every code needs.
 */
#include "elementwise.cuh"
#include "fp8.cuh"

/* Groups of eight that a thread reads ahead of what it writes. */
enum { AHEAD = 2, WARP = 32, MOST_THREADS = 1024, MOST_HELD = 4 };

struct both {
    coded of[2];
};

static __device__ __forceinline__ uint4 gather(const float (&v)[VECTOR])
{
    return { pack(HONE_BF16, v[0], v[1]), pack(HONE_BF16, v[2], v[3]),
             pack(HONE_BF16, v[4], v[5]), pack(HONE_BF16, v[6], v[7]) };
}

/* Of each row of TOP over all threads, whose warps meet in SHARED. */
template <int N>
static __device__ __forceinline__ void block_max(float (&top)[N],
                                                 float (*shared)[WARP])
{
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;

#pragma unroll
    for (int n = 0; n < N; n++) {
        top[n] = team_max<WARP>(top[n], NULL);
        if (lane == 0)
            shared[n][threadIdx.x / WARP] = top[n];
    }
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; n++)
        top[n] = row_top<WARP>(lane < warps ? shared[n][lane] : 0.0f, NULL);
}

/* HELD: groups that a thread has. The first TWICE outputs are coded. All in
 * bf16; an output may have the bytes of an input, which its thread has read by
 * then. */
template <int HELD, int IN, int OUT, int TWICE, class F>
static __global__ void __launch_bounds__(MOST_THREADS)
    each_row(operands<IN, OUT> o, int groups, both twice, F f)
{
    __shared__ float tops[TWICE][WARP];
    const int64_t base = (int64_t)blockIdx.x * groups;
    uint4 held[TWICE][HELD];
    float top[TWICE] = {};

#pragma unroll
    for (int h = 0; h < HELD; h += AHEAD) {
        uint4 ahead[AHEAD][IN];

#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            int g = (h + a) * blockDim.x + threadIdx.x;
#pragma unroll
            for (int k = 0; k < IN; k++)
                if (g < groups)
                    ahead[a][k] = ((const uint4 *)o.x[k].at)[base + g];
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            int g = (h + a) * blockDim.x + threadIdx.x;
            float x[IN][VECTOR], y[OUT][VECTOR];

            if (g >= groups)
                break;
#pragma unroll
            for (int k = 0; k < IN; k++)
                spread(x[k], ahead[a][k]);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                float in[IN], out[OUT];
#pragma unroll
                for (int k = 0; k < IN; k++)
                    in[k] = x[k][e];
                f(in, out);
#pragma unroll
                for (int k = 0; k < OUT; k++)
                    y[k][e] = out[k];
            }
#pragma unroll
            for (int k = 0; k < OUT; k++) {
                uint4 w = gather(y[k]);

                ((uint4 *)o.y[k].at)[base + g] = w;
                if (k < TWICE) {
                    held[k][h + a] = w;
                    top[k] = fmaxf(top[k], top_of(y[k]));
                }
            }
        }
    }
#pragma unroll
    for (int k = 0; k < TWICE; k++) /* rounding keeps the order */
        top[k] = rounded(HONE_BF16, top[k]);
    block_max(top, tops);
#pragma unroll
    for (int k = 0; k < TWICE; k++) {
#pragma unroll
        for (int h = 0; h < HELD; h++) {
            int g = h * blockDim.x + threadIdx.x;
            float v[VECTOR];

            if (g >= groups)
                break;
            spread(v, held[k][h]);
            put_codes(twice.of[k], (base + g) * VECTOR, v, top[k]);
        }
        if (threadIdx.x == 0)
            twice.of[k].scales[blockIdx.x] = scale_of(top[k]);
    }
}

/* -------------------------------------------------------------- the calls */

struct rows {
    int64_t count;
    int groups;
};

/* Outputs of the op, and how many of them are coded. */
static uint32_t outputs(const char *op, uint32_t *coded)
{
    *coded = strcmp(op, "swiglu") ? 2 : 1;
    return *coded + !strcmp(op, "swiglu_regrad");
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    uint32_t coded, nout = outputs(c->op, &coded);

    (void)threads;
    if (c->nout != nout + coded)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: nothing is coded",
                         c->op);
    hone_try(cuda_twice(c, nout, need, err));
    for (uint32_t i = 0; i < c->nin + nout; i++)
        if (c->type[i].storage != HONE_BF16)
            return hone_fail(err, HONE_ENOSUP, "cuda: %s: rows are coded as "
                             "they are made in bf16 alone", c->op);
    if (c->type[0].dim[1] > MOST_HELD * MOST_THREADS * VECTOR)
        return hone_fail(err, HONE_ENOSUP, "cuda: %s: rows of %lld are too "
                         "long to be coded as they are made", c->op,
                         (long long)c->type[0].dim[1]);
    need->prepared_bytes = sizeof(rows);
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(rows *)prepared = { c->type[0].dim[0],
                          (int)(c->type[0].dim[1] / VECTOR) };
    return HONE_OK;
}

template <int IN, int OUT, int TWICE, class F>
static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const rows *r = (const rows *)prepared;
    const int held = r->groups <= AHEAD * MOST_THREADS ? AHEAD : MOST_HELD;
    const unsigned warps = (unsigned)cuda_ceil(r->groups, held * WARP);
    auto kernel = held == AHEAD ? each_row<AHEAD, IN, OUT, TWICE, F>
                                : each_row<MOST_HELD, IN, OUT, TWICE, F>;
    operands<IN, OUT> o;
    both twice = {};

    (void)workspace;
    for (int i = 0; i < IN; i++)
        o.x[i] = cell_of(ptr, i, HONE_BF16);
    for (int i = 0; i < OUT; i++)
        o.y[i] = cell_of(ptr, IN + i, HONE_BF16);
    for (int i = 0; i < TWICE; i++)
        twice.of[i] = coded_of(ptr, IN + OUT + i);
    kernel<<<(unsigned)r->count, WARP * warps, 0, (cudaStream_t)stream>>>(
        o, r->groups, twice, F{});
}

CUDA_KERNELS(swiglu_rows) = {
    { "swiglu", prepare, init, run<2, 1, 1, swiglu_of> },
    { "swiglu_grad", prepare, init, run<3, 2, 2, swiglu_slopes> },
    { "swiglu_regrad", prepare, init, run<3, 3, 2, swiglu_again> },
    { NULL, NULL, NULL, NULL }
};
