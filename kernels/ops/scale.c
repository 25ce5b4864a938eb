/* SPDX-License-Identifier: MIT
 *
 * scale.c -- x times a constant.
 */
#include "op.h"

REF(scale)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    const hone_scale_attrs *a = c->attrs;
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(x, i) * (real)a->by);
}

#ifndef HONE_REF_DOUBLE

static hone_status scale_shape(const hone_call *c, hone_type *out,
                               hone_err *err)
{
    (void)err;
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status scale_backward(hone_builder *b, const hone_rule *r,
                                  hone_err *err)
{
    const hone_scale_attrs *a = r->attrs;
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "scale", ATTRS({ "by", a->by, NULL }), IDS(r->dout[0]),
                &r->din[0], err);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_scale_attrs, by, 1, -ANY, ANY, "the factor"),
    HONE_OPT_END
};

OP(scale, "x times a constant", options, sizeof(hone_scale_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = scale_shape, .backward = scale_backward);

EXPORT_OPS(scale, &scale_component);

#endif
