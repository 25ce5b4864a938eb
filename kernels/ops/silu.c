/* SPDX-License-Identifier: MIT
 *
 * silu.c -- x * sigmoid(x) (Elfwing et al. 2017) and its gradient.
 */
#include "op.h"

static real sigmoid(real x)
{
    return 1 / (1 + exp(-x));
}

REF(silu)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(x, i) * sigmoid(get(x, i)));
}

REF(silu_grad)
{
    view dy = input(c, p, 0), x = input(c, p, 1), dx = output(c, p, 0);
    int64_t i;

    for (i = 0; i < dx.count; i++) {
        real v = get(x, i), s = sigmoid(v);
        put(dx, i, get(dy, i) * s * (1 + v * (1 - s)));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status silu_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    (void)err;
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status silu_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "silu_grad", NO_ATTRS, IDS(r->dout[0], r->in[0]),
                &r->din[0], err);
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "dy", 1, "x", err));
    out[0] = activation(c, &c->type[1]);
    return HONE_OK;
}

static double silu_flops(const hone_call *c)
{
    return 4.0 * (double)hone_count(&c->type[0]);
}

OP(silu, "x * sigmoid(x)", NULL, 0,
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = silu_shape, .backward = silu_backward, .flops = silu_flops);

OP(silu_grad, "gradient of silu", NULL, 0,
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = grad_shape, .flops = silu_flops);

EXPORT_OPS(silu, &silu_component, &silu_grad_component);

#endif
