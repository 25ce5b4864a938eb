/* SPDX-License-Identifier: MIT
 *
 * elementwise.cu -- ops whose operands all have one shape: one kernel over the
 * elements, eight a thread, with the arithmetic as its parameter.
 */
#include "elementwise.cuh"

#include "attrs.h"

/* An output may have the bytes of an input: a thread has read all of its
 * elements before it writes one. */
template <int IN, int OUT, class F>
static __global__ void __launch_bounds__(THREADS)
    each(operands<IN, OUT> o, int64_t n, int wide, F f)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    float x[IN][VECTOR], y[OUT][VECTOR];
    int live = (int)min((int64_t)VECTOR, n - i), whole = wide && live == VECTOR;
    words w[IN];

    if (live <= 0)
        return;
#pragma unroll
    for (int k = 0; whole && k < IN; k++)
        w[k] = fetch_wide(o.x[k], i);
#pragma unroll
    for (int k = 0; k < IN; k++)
        if (whole)
            spread(x[k], w[k], o.x[k].storage);
        else
            load(x[k], o.x[k], i, live, wide);
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        float a[IN], b[OUT];
#pragma unroll
        for (int k = 0; k < IN; k++)
            a[k] = x[k][e];
        f(a, b);
#pragma unroll
        for (int k = 0; k < OUT; k++)
            y[k][e] = b[k];
    }
#pragma unroll
    for (int k = 0; k < OUT; k++)
        store(o.y[k], i, y[k], live, wide);
}

/* ------------------------------------------------------------- arithmetic */

struct plus_of {
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = x[0] + x[1];
    }
};

struct product_of {
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = x[0] * x[1];
    }
};

struct times {
    float by;
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = x[0] * by;
    }
};

struct silu_of {
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = x[0] * sigmoid(x[0]);
    }
};

struct silu_slope { /* dy, x */
    __device__ void operator()(const float *x, float *y) const
    {
        float s = sigmoid(x[1]);
        y[0] = x[0] * s * (1.0f + x[1] * (1.0f - s));
    }
};

/* tanh(sqrt(2 / pi) (x + 0.044715 x^3)) */
static __device__ __forceinline__ float gelu_bend(float x)
{
    return tanhf(0.797884561f * x * (1.0f + 0.044715f * x * x));
}

struct gelu_of {
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = 0.5f * x[0] * (1.0f + gelu_bend(x[0]));
    }
};

struct gelu_slope { /* dy, x */
    __device__ void operator()(const float *x, float *y) const
    {
        float v = x[1], t = gelu_bend(v);
        float slope = 0.797884561f * (1.0f + 0.134145f * v * v);

        y[0] = 0.5f * x[0] * (1.0f + t + v * (1.0f - t * t) * slope);
    }
};

struct softcap_of {
    float cap;
    __device__ void operator()(const float *x, float *y) const
    {
        y[0] = cap * tanhf(x[0] / cap);
    }
};

struct softcap_slope { /* dy, y */
    float cap;
    __device__ void operator()(const float *x, float *y) const
    {
        float t = x[1] / cap;

        y[0] = x[0] * (1.0f - t) * (1.0f + t);
    }
};

/* -------------------------------------------------------------- the calls */

struct flat {
    int64_t count;
    float by; /* of scale the factor, of softcap the cap */
    unsigned char storage[8];
};

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    return cuda_plain(c, need, sizeof(flat), err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    flat *f = (flat *)prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    f->count = cuda_count(c, 0);
    if (!strcmp(c->op, "scale"))
        f->by = (float)((const hone_scale_attrs *)c->attrs)->by;
    if (!strncmp(c->op, "softcap", 7))
        f->by = (float)((const hone_softcap_attrs *)c->attrs)->cap;
    for (uint32_t i = 0; i < c->nin + c->nout && i < sizeof f->storage; i++)
        f->storage[i] = cuda_storage(c, i);
    return HONE_OK;
}

template <int IN, int OUT, class F>
static void launch(const void *prepared, const hone_ptr *ptr,
                   hone_stream stream, F f)
{
    const flat *p = (const flat *)prepared;
    operands<IN, OUT> o;

    for (int i = 0; i < IN; i++)
        o.x[i] = cell_of(ptr, i, p->storage[i]);
    for (int i = 0; i < OUT; i++)
        o.y[i] = cell_of(ptr, IN + i, p->storage[IN + i]);
    each<<<blocks_for(p->count, THREADS * VECTOR), THREADS, 0,
           (cudaStream_t)stream>>>(o, p->count, cuda_aligned(ptr, IN + OUT), f);
}

#define RUN(name, in, out, functor)                                            \
    static void name##_run(const void *prepared, const hone_ptr *ptr,          \
                           void *workspace, hone_stream stream)                \
    {                                                                          \
        (void)workspace;                                                       \
        launch<in, out>(prepared, ptr, stream, functor);                       \
    }

RUN(add, 2, 1, plus_of{})
RUN(mul, 2, 1, product_of{})
RUN(scale, 1, 1, times{ ((const flat *)prepared)->by })
RUN(convert, 1, 1, times{ 1.0f })
RUN(silu, 1, 1, silu_of{})
RUN(silu_grad, 2, 1, silu_slope{})
RUN(gelu_tanh, 1, 1, gelu_of{})
RUN(gelu_tanh_grad, 2, 1, gelu_slope{})
RUN(softcap, 1, 1, softcap_of{ ((const flat *)prepared)->by })
RUN(softcap_grad, 2, 1, softcap_slope{ ((const flat *)prepared)->by })
RUN(swiglu, 2, 1, swiglu_of{})
RUN(swiglu_grad, 3, 2, swiglu_slopes{})
RUN(swiglu_regrad, 3, 3, swiglu_again{})

CUDA_KERNELS(elementwise) = {
    { "add", prepare, init, add_run },
    { "mul", prepare, init, mul_run },
    { "scale", prepare, init, scale_run },
    { "convert", prepare, init, convert_run },
    { "silu", prepare, init, silu_run },
    { "silu_grad", prepare, init, silu_grad_run },
    { "gelu_tanh", prepare, init, gelu_tanh_run },
    { "gelu_tanh_grad", prepare, init, gelu_tanh_grad_run },
    { "softcap", prepare, init, softcap_run },
    { "softcap_grad", prepare, init, softcap_grad_run },
    { "swiglu", prepare, init, swiglu_run },
    { "swiglu_grad", prepare, init, swiglu_grad_run },
    { "swiglu_regrad", prepare, init, swiglu_regrad_run },
    { NULL, NULL, NULL, NULL }
};
