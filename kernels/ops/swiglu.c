/* SPDX-License-Identifier: MIT
 *
 * swiglu.c -- silu(gate) * up (Shazeer 2020), fused from silu and mul, and
 * both gradients in one pass.
 */
#include "op.h"

static real sigmoid(real x)
{
    return 1 / (1 + exp(-x));
}

REF(swiglu)
{
    view gate = input(c, p, 0), up = input(c, p, 1), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(gate, i) * sigmoid(get(gate, i)) * get(up, i));
}

REF(swiglu_grad)
{
    view dy = input(c, p, 0), gate = input(c, p, 1), up = input(c, p, 2);
    view dgate = output(c, p, 0), dup = output(c, p, 1);
    int64_t i;

    for (i = 0; i < dy.count; i++) {
        real d = get(dy, i), g = get(gate, i), u = get(up, i);
        real s = sigmoid(g);
        put(dgate, i, d * u * s * (1 + g * (1 - s)));
        put(dup, i, d * g * s);
    }
}

/* An input's bytes may be an output's: all three are read first. */
REF(swiglu_regrad)
{
    view dy = input(c, p, 0), gate = input(c, p, 1), up = input(c, p, 2);
    view dgate = output(c, p, 0), dup = output(c, p, 1), y = output(c, p, 2);
    int64_t i;

    for (i = 0; i < dy.count; i++) {
        real d = get(dy, i), g = get(gate, i), u = get(up, i);
        real s = sigmoid(g);
        put(dgate, i, d * u * s * (1 + g * (1 - s)));
        put(dup, i, d * g * s);
        put(y, i, g * s * u);
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status swiglu_shape(const hone_call *c, hone_type *out,
                                hone_err *err)
{
    hone_try(want_same(c, 0, "gate", 1, "up", err));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status swiglu_backward(hone_builder *b, const hone_rule *r,
                                   hone_err *err)
{
    hone_id out[2] = { HONE_NONE, HONE_NONE };
    hone_try(b->emit(b, "swiglu_grad", NULL, NO_ATTRS,
                     IDS(r->dout[0], r->in[0], r->in[1]), out, 2, err));
    r->din[0] = out[0];
    r->din[1] = out[1];
    return HONE_OK;
}

static hone_status swiglu_decompose(hone_builder *b, const hone_rule *r,
                                    hone_err *err)
{
    hone_id act;
    hone_try(emit(b, "silu", NO_ATTRS, IDS(r->in[0]), &act, err));
    return emit(b, "mul", NO_ATTRS, IDS(act, r->in[1]), &r->out[0], err);
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 1, "gate", 0, "dy", err));
    hone_try(want_same(c, 2, "up", 0, "dy", err));
    out[0] = activation(c, &c->type[1]);
    out[1] = activation(c, &c->type[2]);
    if (c->nout > 2)
        out[2] = activation(c, &c->type[0]);
    return HONE_OK;
}

static double swiglu_flops(const hone_call *c)
{
    return 5.0 * (double)hone_count(&c->type[0]);
}

OP(swiglu, "silu(gate) * up", NULL, 0,
   .in = OPERANDS({ "gate", HONE_ROWS }, { "up", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_TWICE }),
   .shape = swiglu_shape, .backward = swiglu_backward,
   .decompose = swiglu_decompose, .flops = swiglu_flops);

OP(swiglu_grad, "both gradients of swiglu", NULL, 0,
   .in = OPERANDS({ "dy", HONE_ROWS }, { "gate", HONE_ROWS },
                  { "up", HONE_ROWS }),
   .out = OPERANDS({ "dgate", HONE_ROWS | HONE_TWICE | HONE_INPLACE(1) },
                   { "dup", HONE_ROWS | HONE_TWICE | HONE_INPLACE(2) }),
   .shape = grad_shape, .flops = swiglu_flops,
   .again = "swiglu_regrad", .again_of = "swiglu");

OP(swiglu_regrad, "both gradients of swiglu, and swiglu again", NULL, 0,
   .in = OPERANDS({ "dy", HONE_ROWS }, { "gate", HONE_ROWS },
                  { "up", HONE_ROWS }),
   .out = OPERANDS({ "dgate", HONE_ROWS | HONE_TWICE | HONE_INPLACE(1) },
                   { "dup", HONE_ROWS | HONE_TWICE | HONE_INPLACE(2) },
                   { "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = grad_shape, .flops = swiglu_flops);

EXPORT_OPS(swiglu, &swiglu_component, &swiglu_grad_component,
           &swiglu_regrad_component);

#endif
