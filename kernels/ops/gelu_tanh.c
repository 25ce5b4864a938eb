/* SPDX-License-Identifier: MIT
 *
 * gelu_tanh.c -- x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the
 * approximation of GELU that Hendrycks and Gimpel (2016) give, and its
 * gradient.
 */
#include "op.h"

#define ROOT_2_PI 0.79788456080286535588
#define CUBIC 0.044715

static real bend(real x)
{
    return tanh((real)ROOT_2_PI * (x + (real)CUBIC * x * x * x));
}

REF(gelu_tanh)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(x, i) / 2 * (1 + bend(get(x, i))));
}

REF(gelu_tanh_grad)
{
    view dy = input(c, p, 0), x = input(c, p, 1), dx = output(c, p, 0);
    int64_t i;

    for (i = 0; i < dx.count; i++) {
        real v = get(x, i), t = bend(v);
        real slope = (real)ROOT_2_PI * (1 + 3 * (real)CUBIC * v * v);
        put(dx, i, get(dy, i) / 2 * (1 + t + v * (1 - t * t) * slope));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    (void)err;
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "gelu_tanh_grad", NO_ATTRS, IDS(r->dout[0], r->in[0]),
                &r->din[0], err);
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "dy", 1, "x", err));
    out[0] = activation(c, &c->type[1]);
    return HONE_OK;
}

static double flops(const hone_call *c)
{
    return 8.0 * (double)hone_count(&c->type[0]);
}

OP(gelu_tanh, "x * Phi(x), Phi approximated by a tanh", NULL, 0,
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = shape, .backward = backward, .flops = flops);

OP(gelu_tanh_grad, "gradient of gelu_tanh", NULL, 0,
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = grad_shape, .flops = flops);

EXPORT_OPS(gelu_tanh, &gelu_tanh_component, &gelu_tanh_grad_component);

#endif
