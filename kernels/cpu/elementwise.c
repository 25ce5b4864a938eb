/* SPDX-License-Identifier: MIT
 *
 * elementwise.c -- add, mul, scale, silu, swiglu, gelu_tanh, softcap and their
 * gradients: flat loops at memory speed. An output may lie on an input exactly, never askew,
 * so each loop is free of dependences between its elements.
 */
#include "cpu.h"

#include "attrs.h"
#include "vmath.h"

typedef struct {
    int threads;
    int64_t n;
    float by;
} flat;

typedef struct {
    const flat *f;
    const float *a, *b, *c;
    float *y, *z, *y2;
} flat_args;

static hone_status flat_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(flat);
    return cpu_want_f32(c, need, err);
}

static hone_status flat_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    flat *f = prepared;

    (void)ctx;
    (void)err;
    f->threads = threads;
    f->n = cpu_count(c, 0);
    if (!strcmp(c->op, "scale"))
        f->by = (float)((const hone_scale_attrs *)c->attrs)->by;
    else if (!strncmp(c->op, "softcap", 7))
        f->by = (float)((const hone_softcap_attrs *)c->attrs)->cap;
    return HONE_OK;
}

static void add_range(const void *arg, int64_t first, int64_t last, int part)
{
    const flat_args *k = arg;
    const float *a = k->a, *b = k->b;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = a[i] + b[i];
}

static void mul_range(const void *arg, int64_t first, int64_t last, int part)
{
    const flat_args *k = arg;
    const float *a = k->a, *b = k->b;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = a[i] * b[i];
}

static void scale_range(const void *arg, int64_t first, int64_t last, int part)
{
    const flat_args *k = arg;
    const float *a = k->a;
    const float by = k->f->by;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = by * a[i];
}

static void silu_range(const void *arg, int64_t first, int64_t last, int part)
{
    const flat_args *k = arg;
    const float *a = k->a;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = a[i] * vm_sigmoid(a[i]);
}

/* silu'(x) = s + x s (1 - s) with s = sigmoid(x) */
static void silu_grad_range(const void *arg, int64_t first, int64_t last,
                            int part)
{
    const flat_args *k = arg;
    const float *dy = k->a, *x = k->b;
    float *dx = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float s = vm_sigmoid(x[i]);
        dx[i] = dy[i] * (s + x[i] * s * (1.0f - s));
    }
}

static void swiglu_range(const void *arg, int64_t first, int64_t last, int part)
{
    const flat_args *k = arg;
    const float *gate = k->a, *up = k->b;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = gate[i] * vm_sigmoid(gate[i]) * up[i];
}

static void swiglu_grad_range(const void *arg, int64_t first, int64_t last,
                              int part)
{
    const flat_args *k = arg;
    const float *dy = k->a, *gate = k->b, *up = k->c;
    float *dgate = k->y, *dup = k->z;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        float s = vm_sigmoid(g);
        dgate[i] = d * u * (s + g * s * (1.0f - s));
        dup[i] = d * g * s;
    }
}

static void swiglu_regrad_range(const void *arg, int64_t first, int64_t last,
                                int part)
{
    const flat_args *k = arg;
    const float *dy = k->a, *gate = k->b, *up = k->c;
    float *dgate = k->y, *dup = k->z, *y = k->y2;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        float s = vm_sigmoid(g);
        dgate[i] = d * u * (s + g * s * (1.0f - s));
        dup[i] = d * g * s;
        y[i] = g * s * u;
    }
}

static void softcap_range(const void *arg, int64_t first, int64_t last,
                          int part)
{
    const flat_args *k = arg;
    const float *a = k->a;
    const float cap = k->f->by;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++)
        y[i] = cap * vm_tanh(a[i] / cap);
}

static void softcap_grad_range(const void *arg, int64_t first, int64_t last,
                               int part)
{
    const flat_args *k = arg;
    const float *dy = k->a, *b = k->b;
    const float by = 1.0f / k->f->by;
    float *dx = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float t = b[i] * by;
        dx[i] = dy[i] * (1.0f - t) * (1.0f + t);
    }
}

#define ROOT_2_PI 0.79788456080286535588f
#define CUBIC 0.044715f

static void gelu_tanh_range(const void *arg, int64_t first, int64_t last,
                            int part)
{
    const flat_args *k = arg;
    const float *a = k->a;
    float *y = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float x = a[i];
        y[i] = 0.5f * x *
               (1.0f + vm_tanh(ROOT_2_PI * (x + CUBIC * x * x * x)));
    }
}

static void gelu_tanh_grad_range(const void *arg, int64_t first, int64_t last,
                                 int part)
{
    const flat_args *k = arg;
    const float *dy = k->a, *b = k->b;
    float *dx = k->y;

    (void)part;
    CPU_SIMD
    for (int64_t i = first; i < last; i++) {
        float x = b[i], t = vm_tanh(ROOT_2_PI * (x + CUBIC * x * x * x));
        float slope = ROOT_2_PI * (1.0f + 3.0f * CUBIC * x * x);
        dx[i] = 0.5f * dy[i] * (1.0f + t + x * (1.0f - t * t) * slope);
    }
}

/* y = f(a), f(a, b): which operands there are follows from the op. */
#define FLAT_RUN(NAME, A, B, C, ...)                                           \
    static void NAME##_run(const void *prepared, const hone_ptr *ptr,          \
                           void *workspace, hone_stream stream)                \
    {                                                                          \
        const flat *f = prepared;                                              \
        flat_args k = { f, A, B, C, __VA_ARGS__ };                             \
                                                                               \
        (void)workspace;                                                       \
        (void)stream;                                                          \
        cpu_for(f->threads, f->n, CPU_GRAIN, NAME##_range, &k);                \
    }
#define P(i) ptr[i].part[0]

FLAT_RUN(add, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(mul, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(scale, P(0), NULL, NULL, P(1), NULL, NULL)
FLAT_RUN(silu, P(0), NULL, NULL, P(1), NULL, NULL)
FLAT_RUN(silu_grad, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(softcap, P(0), NULL, NULL, P(1), NULL, NULL)
FLAT_RUN(softcap_grad, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(gelu_tanh, P(0), NULL, NULL, P(1), NULL, NULL)
FLAT_RUN(gelu_tanh_grad, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(swiglu, P(0), P(1), NULL, P(2), NULL, NULL)
FLAT_RUN(swiglu_grad, P(0), P(1), P(2), P(3), P(4), NULL)
FLAT_RUN(swiglu_regrad, P(0), P(1), P(2), P(3), P(4), P(5))

CPU_KERNELS(elementwise) = {
    { "add", flat_prepare, flat_init, add_run },
    { "mul", flat_prepare, flat_init, mul_run },
    { "scale", flat_prepare, flat_init, scale_run },
    { "silu", flat_prepare, flat_init, silu_run },
    { "silu_grad", flat_prepare, flat_init, silu_grad_run },
    { "softcap", flat_prepare, flat_init, softcap_run },
    { "softcap_grad", flat_prepare, flat_init, softcap_grad_run },
    { "gelu_tanh", flat_prepare, flat_init, gelu_tanh_run },
    { "gelu_tanh_grad", flat_prepare, flat_init, gelu_tanh_grad_run },
    { "swiglu", flat_prepare, flat_init, swiglu_run },
    { "swiglu_grad", flat_prepare, flat_init, swiglu_grad_run },
    { "swiglu_regrad", flat_prepare, flat_init, swiglu_regrad_run },
    { NULL, NULL, NULL, NULL }
};
