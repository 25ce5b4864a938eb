/* SPDX-License-Identifier: MIT
 *
 * linear_grads.c -- gradients of linears in fewer passes over what is large in
 * them: both of one linear from one reading of dy, and the sum of several
 * gradients of one x. Nobody names these: the group pass puts them where a pack
 * covers them.
 */
#include "products.h"

/* dx = scale * dy w, dw = scale * dy^T x */
REF(linear_grads)
{
    const hone_linear_attrs *a = c->attrs;

    product_dx(input(c, p, 0), input(c, p, 1), output(c, p, 0),
               (real)a->scale);
    product_dw(input(c, p, 0), input(c, p, 2), output(c, p, 1),
               (real)a->scale);
}

/* dx = scale * (dy_0 w_0 + dy_1 w_1 + ...) */
REF(linear_dx_sum)
{
    view dx = output(c, p, 0);
    const hone_linear_attrs *a = c->attrs;
    int64_t t, o, i;
    uint32_t n;

    for (t = 0; t < dx.rows; t++)
        for (i = 0; i < dx.cols; i++) {
            real sum = 0;
            for (n = 0; n < c->nin; n += 2) {
                view dy = input(c, p, n), w = input(c, p, n + 1);
                for (o = 0; o < dy.cols; o++)
                    sum += get(dy, t * dy.cols + o) * get(w, o * dx.cols + i);
            }
            put(dx, t * dx.cols + i, (real)a->scale * sum);
        }
}

#ifndef HONE_REF_DOUBLE

static hone_status grads_shape(const hone_call *c, hone_type *out,
                               hone_err *err)
{
    const hone_type *t = c->type;

    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "w", 2, err));
    hone_try(want_rank(c, 2, "x", 2, err));
    hone_try(want_dim(c, 1, "w", 0, t[0].dim[1], err));
    hone_try(want_dim(c, 2, "x", 0, t[0].dim[0], err));
    hone_try(want_dim(c, 2, "x", 1, t[1].dim[1], err));
    out[0] = hone_type_of(c->compute, 2, t[0].dim[0], t[1].dim[1]);
    out[1] = hone_type_of(stat_storage(c), 2, t[0].dim[1], t[1].dim[1]);
    return HONE_OK;
}

static hone_status sum_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    uint32_t i;

    if (c->nin < 2 || c->nin % 2)
        return hone_fail(err, HONE_EINVAL, "%s: %u inputs, there must be a w "
                         "for each dy", c->op, c->nin);
    for (i = 0; i < c->nin; i += 2) {
        hone_try(want_rank(c, i, "dy", 2, err));
        hone_try(want_rank(c, i + 1, "w", 2, err));
        hone_try(want_dim(c, i, "dy", 0, c->type[0].dim[0], err));
        hone_try(want_dim(c, i + 1, "w", 0, c->type[i].dim[1], err));
        hone_try(want_dim(c, i + 1, "w", 1, c->type[1].dim[1], err));
    }
    out[0] = hone_type_of(c->compute, 2, c->type[0].dim[0],
                          c->type[1].dim[1]);
    return HONE_OK;
}

static double grads_flops(const hone_call *c)
{
    return 4.0 * (double)c->type[0].dim[0] * (double)hone_count(&c->type[1]);
}

static double sum_flops(const hone_call *c)
{
    double sum = 0;
    uint32_t i;

    for (i = 1; i < c->nin; i += 2)
        sum += 2.0 * (double)c->type[0].dim[0] *
               (double)hone_count(&c->type[i]);
    return sum;
}

static void grads_draw(uint64_t seed, int64_t rows, void *attrs,
                       hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t t = rows ? rows : 1 + draw(&seed, 700);
    int64_t o = rows ? 4096 : 8 * (1 + draw(&seed, 150));
    int64_t r = rows ? 16 : 8 * (1 + draw(&seed, 4));

    ((hone_linear_attrs *)attrs)->scale = draw(&seed, 2) ? 0.75 : 1;
    type[0] = hone_type_of(HONE_F32, 2, t, o);
    type[1] = hone_type_of(HONE_F32, 2, o, r);
    type[2] = hone_type_of(HONE_F32, 2, t, r);
    *nin = 3;
    *nout = 2;
}

static void sum_draw(uint64_t seed, int64_t rows, void *attrs,
                     hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t t = rows ? rows : 1 + draw(&seed, 700);
    int64_t i = rows ? 4096 : 8 * (1 + draw(&seed, 150));
    uint32_t k, n = rows ? 3 : 1 + (uint32_t)draw(&seed, 4);

    ((hone_linear_attrs *)attrs)->scale = draw(&seed, 2) ? 0.75 : 1;
    for (k = 0; k < n; k++) {
        int64_t r = rows ? 16 : 8 * (1 + draw(&seed, 4));

        type[2 * k] = hone_type_of(HONE_F32, 2, t, r);
        type[2 * k + 1] = hone_type_of(HONE_F32, 2, r, i);
    }
    *nin = 2 * n;
    *nout = 1;
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_linear_attrs, scale, 1, -ANY, ANY,
                  "factor on the products"),
    HONE_OPT_END
};

OP(linear_grads, "both gradients of a linear", options,
   sizeof(hone_linear_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "w", 0 }, { "x", HONE_ROWS }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD },
                   { "dw", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = grads_shape, .flops = grads_flops, .draw = grads_draw);

OP(linear_dx_sum, "the sum of several linear_dx", options,
   sizeof(hone_linear_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "w", 0 }, { "more", HONE_VARIADIC }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD }),
   .shape = sum_shape, .flops = sum_flops, .draw = sum_draw);

EXPORT_OPS(linear_grads, &linear_grads_component, &linear_dx_sum_component);

#endif
