/* SPDX-License-Identifier: MIT
 *
 * fill.c -- every element of a list of tensors becomes one value.
 */
#include "op.h"

REF(fill)
{
    const hone_fill_attrs *a = c->attrs;
    uint32_t k;

    for (k = 0; k < c->nout; k++) {
        view x = output(c, p, k);
        int64_t i;
        for (i = 0; i < x.count; i++)
            set(x, i, (real)a->value);
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    uint32_t k;
    for (k = 0; k < c->nout; k++) {
        if (!is_float(c->type[c->nin + k].storage))
            return hone_fail(err, HONE_EINVAL,
                             "%s: x%u must hold f32, bf16 or f16", c->op, k);
        out[k] = c->type[c->nin + k];
    }
    return HONE_OK;
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_fill_attrs, value, 0, -ANY, ANY, "the value"),
    HONE_OPT_END
};

OP(fill, "every element becomes one value", options, sizeof(hone_fill_attrs),
   .in = NO_OPERANDS, .out = OPERANDS({ "x", HONE_VARIADIC | HONE_UPDATED }),
   .shape = shape);

EXPORT_OPS(fill, &fill_component);

#endif
