/* SPDX-License-Identifier: MIT
 *
 * sumsq.c -- the sum of squares over a list of tensors: the square of the
 * norm of the gradient.
 */
#include "op.h"

REF(sumsq)
{
    view y = output(c, p, 0);
    real total = 0;
    uint32_t k;

    for (k = 0; k < c->nin; k++) {
        view x = input(c, p, k);
        real sum = 0; /* one tensor at a time loses fewer digits */
        int64_t i;
        for (i = 0; i < x.count; i++)
            sum += get(x, i) * get(x, i);
        total += sum;
    }
    put(y, 0, total);
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    uint32_t k;
    for (k = 0; k < c->nin; k++)
        if (!is_float(c->type[k].storage))
            return hone_fail(err, HONE_EINVAL,
                             "%s: x%u must hold f32, bf16 or f16", c->op, k);
    out[0] = hone_type_of(stat_storage(c), 1, 1, 1);
    return HONE_OK;
}

static double flops(const hone_call *c)
{
    double n = 0;
    uint32_t k;
    for (k = 0; k < c->nin; k++)
        n += 2.0 * (double)hone_count(&c->type[k]);
    return n;
}

OP(sumsq, "the sum of squares over a list of tensors", NULL, 0,
   .in = OPERANDS({ "x", HONE_VARIADIC | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_CAN_ADD }), .shape = shape, .flops = flops);

EXPORT_OPS(sumsq, &sumsq_component);

#endif
