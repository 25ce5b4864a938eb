/* SPDX-License-Identifier: MIT
 *
 * mul.c -- a * b, element by element; its gradients are mul again.
 */
#include "op.h"

REF(mul)
{
    view a = input(c, p, 0), b = input(c, p, 1), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(a, i) * get(b, i));
}

#ifndef HONE_REF_DOUBLE

static hone_status mul_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "a", 1, "b", err));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status mul_backward(hone_builder *b, const hone_rule *r,
                                hone_err *err)
{
    int i;
    for (i = 0; i < 2; i++)
        if (r->need[i])
            hone_try(emit(b, "mul", NO_ATTRS, IDS(r->dout[0], r->in[1 - i]),
                          &r->din[i], err));
    return HONE_OK;
}

OP(mul, "a * b", NULL, 0,
   .in = OPERANDS({ "a", HONE_ROWS }, { "b", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = mul_shape, .backward = mul_backward);

EXPORT_OPS(mul, &mul_component);

#endif
