/* SPDX-License-Identifier: MIT
 *
 * linear.c -- y = scale * x w^T + bias with w [O,I], its two gradients, and
 * the sum over rows, which is the gradient of the bias.
 */
#include "products.h"

static real scale_of(const hone_call *c)
{
    return (real)((const hone_linear_attrs *)c->attrs)->scale;
}

REF(linear)
{
    view bias = input(c, p, c->nin - 1);

    product_y(input(c, p, 0), input(c, p, 1),
              c->nin > 2 && has(c, 2) ? &bias : NULL, output(c, p, 0),
              scale_of(c));
}

REF(linear_dx)
{
    product_dx(input(c, p, 0), input(c, p, 1), output(c, p, 0), scale_of(c));
}

REF(linear_dw)
{
    product_dw(input(c, p, 0), input(c, p, 1), output(c, p, 0), scale_of(c));
}

REF(sum_rows)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    int64_t t, h;

    for (h = 0; h < x.cols; h++) {
        real sum = 0;
        for (t = 0; t < x.rows; t++)
            sum += get(x, t * x.cols + h);
        put(y, h, sum);
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status linear_shape(const hone_call *c, hone_type *out,
                                hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_rank(c, 1, "w", 2, err));
    hone_try(want_dim(c, 1, "w", 1, c->type[0].dim[1], err));
    if (c->nin > 2 && has(c, 2)) {
        hone_try(want_rank(c, 2, "bias", 1, err));
        hone_try(want_dim(c, 2, "bias", 0, c->type[1].dim[0], err));
    }
    out[0] = hone_type_of(c->compute, 2, c->type[0].dim[0], c->type[1].dim[0]);
    return HONE_OK;
}

static hone_status linear_backward(hone_builder *b, const hone_rule *r,
                                   hone_err *err)
{
    const hone_linear_attrs *a = r->attrs;
    const hone_attr scale = { "scale", a->scale, NULL };
    hone_id dy = r->dout[0];

    if (r->need[0])
        hone_try(emit(b, "linear_dx", ATTRS(scale), IDS(dy, r->in[1]),
                      &r->din[0], err));
    if (r->need[1])
        hone_try(emit(b, "linear_dw", ATTRS(scale), IDS(dy, r->in[0]),
                      &r->din[1], err));
    if (r->nin > 2 && r->need[2])
        hone_try(emit(b, "sum_rows", NO_ATTRS, IDS(dy), &r->din[2], err));
    return HONE_OK;
}

static hone_status dx_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "w", 2, err));
    hone_try(want_dim(c, 1, "w", 0, c->type[0].dim[1], err));
    out[0] = hone_type_of(c->compute, 2, c->type[0].dim[0], c->type[1].dim[1]);
    return HONE_OK;
}

static hone_status dw_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "x", 2, err));
    hone_try(want_dim(c, 1, "x", 0, c->type[0].dim[0], err));
    out[0] = hone_type_of(stat_storage(c), 2, c->type[0].dim[1],
                          c->type[1].dim[1]);
    return HONE_OK;
}

static hone_status sum_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    out[0] = hone_type_of(stat_storage(c), 1, c->type[0].dim[1], 1);
    return HONE_OK;
}

/* y [T,O], x [T,I], dw [O,I]: each of the three products is 2 T O I. */
static double linear_flops(const hone_call *c)
{
    return 2.0 * (double)c->type[0].dim[0] * (double)c->type[1].dim[0] *
           (double)c->type[1].dim[1];
}

static double dw_flops(const hone_call *c)
{
    return 2.0 * (double)c->type[0].dim[0] * (double)c->type[0].dim[1] *
           (double)c->type[1].dim[1];
}

static double sum_flops(const hone_call *c)
{
    return (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_linear_attrs, scale, 1, -ANY, ANY,
                  "factor on the product"),
    HONE_OPT_END
};

OP(linear, "scale * x w^T + bias", options, sizeof(hone_linear_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "w", 0 }, { "bias", HONE_OPTIONAL }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_CAN_ADD }),
   .shape = linear_shape, .backward = linear_backward, .flops = linear_flops,
   .list = "linear_list", .shared = 0);

OP(linear_dx, "scale * dy w", options, sizeof(hone_linear_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "w", 0 }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD }),
   .shape = dx_shape, .flops = linear_flops,
   .pair = "linear_grads", .pair_of = "linear_dw", .sum = "linear_dx_sum");

OP(linear_dw, "scale * dy^T x", options, sizeof(hone_linear_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }),
   .out = OPERANDS({ "dw", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = dw_shape, .flops = dw_flops,
   .list = "linear_dw_list", .shared = 1);

OP(sum_rows, "the sum over rows", NULL, 0,
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = sum_shape, .flops = sum_flops);

EXPORT_OPS(linear, &linear_component, &linear_dx_component,
           &linear_dw_component, &sum_rows_component);

#endif
