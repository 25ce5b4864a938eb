/* SPDX-License-Identifier: MIT
 *
 * add.c -- a + b, element by element. Both gradients are that of the sum.
 */
#include "op.h"

REF(add)
{
    view a = input(c, p, 0), b = input(c, p, 1), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(a, i) + get(b, i));
}

#ifndef HONE_REF_DOUBLE

/* Two operands of one storage keep it, so that gradients of parameters, which
 * are f32, are also summed in f32. */
static hone_status add_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "a", 1, "b", err));
    out[0] = c->type[0];
    if (c->type[0].storage != c->type[1].storage)
        out[0].storage = c->compute;
    return HONE_OK;
}

static hone_status add_backward(hone_builder *b, const hone_rule *r,
                                hone_err *err)
{
    (void)b;
    (void)err;
    r->din[0] = r->dout[0];
    r->din[1] = r->dout[0];
    return HONE_OK;
}

OP(add, "a + b", NULL, 0,
   .in = OPERANDS({ "a", HONE_ROWS }, { "b", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = add_shape, .backward = add_backward);

EXPORT_OPS(add, &add_component);

#endif
