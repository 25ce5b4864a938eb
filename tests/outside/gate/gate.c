/* SPDX-License-Identifier: MIT
 *
 * gate.c -- an op from outside: "mine.gate", y = x / (1 + exp(-beta x)), the
 * op of its gradient, plain code that says what both compute, and kernels for
 * the CPU. gated.lua is a model family that uses it.
 */
#include <hone/plugin.h>
#include <math.h>

/* 1. Attributes: a struct, and the same as a table. */
struct gate {
    double beta;
};

static const hone_option options[] = {
    HONE_OPT_REAL(struct gate, beta, 1.702, -100, 100, "steepness"),
    HONE_OPT_END
};

/* 2. What the op computes, element by element. */
static double gate(double x, double beta)
{
    return x / (1 + exp(-beta * x));
}

static double gate_slope(double x, double beta)
{
    double s = 1 / (1 + exp(-beta * x));

    return s + beta * x * s * (1 - s);
}

/* 3. The reference: plain loops over whatever the operands are held in, fp32
 *    or fp64. Operands are numbered inputs first, then outputs. */
static double get(const hone_call *c, const hone_ptr *p, int i, int64_t k)
{
    return c->type[i].storage == HONE_F64 ? ((double *)p[i].part[0])[k]
                                          : ((float *)p[i].part[0])[k];
}

static void put(const hone_call *c, const hone_ptr *p, int i, int64_t k,
                double y)
{
    if (c->type[i].storage == HONE_F64)
        ((double *)p[i].part[0])[k] = y;
    else
        ((float *)p[i].part[0])[k] = (float)y;
}

static void gate_reference(const hone_call *c, const hone_ptr *p)
{
    const struct gate *a = c->attrs;

    for (int64_t k = 0; k < hone_count(&c->type[0]); k++)
        put(c, p, 1, k, gate(get(c, p, 0, k), a->beta));
}

static void grad_reference(const hone_call *c, const hone_ptr *p)
{
    const struct gate *a = c->attrs;

    for (int64_t k = 0; k < hone_count(&c->type[0]); k++)
        put(c, p, 2, k,
            get(c, p, 0, k) * gate_slope(get(c, p, 1, k), a->beta));
}

/* 4. The types of the outputs: activations have the call's storage. */
static hone_status gate_shape(const hone_call *c, hone_type *out,
                              hone_err *err)
{
    (void)err;
    out[0] = c->type[0];
    out[0].storage = c->compute;
    return HONE_OK;
}

static hone_status grad_shape(const hone_call *c, hone_type *out,
                              hone_err *err)
{
    if (hone_count(&c->type[0]) != hone_count(&c->type[1]))
        return hone_fail(err, HONE_EINVAL, "%s: dy and x differ in size",
                         c->op);
    return gate_shape(c, out, err);
}

/* 5. The backward rule emits ops. It names x, so x is kept until then. */
static hone_status gate_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    const struct gate *a = r->attrs;
    const hone_attr beta = { "beta", a->beta, NULL };
    const hone_id in[] = { r->dout[0], r->in[0] };

    r->din[0] = HONE_NONE; /* a new tensor */
    return b->emit(b, "mine.gate_grad", NULL, &beta, 1, in, 2, &r->din[0], 1,
                   err);
}

static const hone_operand x[] = { { "x", HONE_ROWS }, { NULL, 0 } };
static const hone_operand dy_x[] = { { "dy", HONE_ROWS },
                                     { "x", HONE_ROWS },
                                     { NULL, 0 } };
static const hone_operand y[] = { { "y", HONE_ROWS | HONE_INPLACE(0) },
                                  { NULL, 0 } };

static const hone_op gate_op = { .size = sizeof gate_op,
                                 .in = x,
                                 .out = y,
                                 .shape = gate_shape,
                                 .backward = gate_backward,
                                 .ref_f32 = gate_reference,
                                 .ref_f64 = gate_reference };
static const hone_op grad_op = { .size = sizeof grad_op,
                                 .in = dy_x,
                                 .out = y,
                                 .shape = grad_shape,
                                 .ref_f32 = grad_reference,
                                 .ref_f64 = grad_reference };

static const hone_component gate_component = {
    .size = sizeof gate_component, .kind = HONE_KIND_OP, .name = "mine.gate",
    .help = "x / (1 + exp(-beta x))", .options = options,
    .config_size = sizeof(struct gate), .ops = &gate_op
};
static const hone_component grad_component = {
    .size = sizeof grad_component, .kind = HONE_KIND_OP,
    .name = "mine.gate_grad", .help = "the gradient of mine.gate",
    .options = options, .config_size = sizeof(struct gate), .ops = &grad_op
};

/* 6. Kernels. prepare() answers without a device; init() fills what it asked
 *    for; run() only computes. */
struct prepared {
    int64_t count;
    float beta;
};

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (c->type[i].storage != HONE_F32)
            return hone_fail(err, HONE_ENOSUP, "%s: fp32 is covered", c->op);
    need->prepared_bytes = sizeof(struct prepared);
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    struct prepared *p = prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    p->count = hone_count(&c->type[0]);
    p->beta = (float)((const struct gate *)c->attrs)->beta;
    return HONE_OK;
}

static void gate_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const struct prepared *p = prepared;
    const float *in = ptr[0].part[0];
    float *out = ptr[1].part[0];

    (void)workspace;
    (void)stream;
    for (int64_t k = 0; k < p->count; k++)
        out[k] = in[k] / (1 + expf(-p->beta * in[k]));
}

static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const struct prepared *p = prepared;
    const float *dy = ptr[0].part[0], *in = ptr[1].part[0];
    float *out = ptr[2].part[0];

    (void)workspace;
    (void)stream;
    for (int64_t k = 0; k < p->count; k++) {
        float s = 1 / (1 + expf(-p->beta * in[k]));
        out[k] = dy[k] * (s + p->beta * in[k] * s * (1 - s));
    }
}

static const hone_kernel kernels[] = {
    { "mine.gate", prepare, init, gate_run },
    { "mine.gate_grad", prepare, init, grad_run },
    { NULL, NULL, NULL, NULL }
};
static const hone_pack pack = { .size = sizeof pack, .device = "cpu",
                                .kernels = kernels };
static const hone_component pack_component = {
    .size = sizeof pack_component, .kind = HONE_KIND_PACK, .name = "gate_cpu",
    .help = "mine.gate on the CPU", .ops = &pack
};

HONE_PLUGIN("gate", "1.0", &gate_component, &grad_component, &pack_component)
