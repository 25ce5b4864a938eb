/* SPDX-License-Identifier: MIT
 *
 * linear_list.c -- several linears of one x, or several gradients of weights
 * of one x, in one op: the low-rank factors of q, k and v read x once. Nobody
 * names these: the group pass puts them where a pack covers them.
 */
#include "products.h"

/* y_i = scale * x w_i^T */
REF(linear_list)
{
    const hone_linear_attrs *a = c->attrs;
    uint32_t n;

    for (n = 0; n < c->nout; n++)
        product_y(input(c, p, 0), input(c, p, n + 1), NULL, output(c, p, n),
                  (real)a->scale);
}

/* dw_i = scale * dy_i^T x */
REF(linear_dw_list)
{
    const hone_linear_attrs *a = c->attrs;
    uint32_t n;

    for (n = 0; n < c->nout; n++)
        product_dw(input(c, p, n + 1), input(c, p, 0), output(c, p, n),
                   (real)a->scale);
}

#ifndef HONE_REF_DOUBLE

/* X and one more input for each output. */
static hone_status want_pairs(const hone_call *c, hone_err *err)
{
    uint32_t i;

    hone_try(want_rank(c, 0, "x", 2, err));
    if (c->nin != c->nout + 1)
        return hone_fail(err, HONE_EINVAL, "%s: %u inputs behind x for %u "
                         "outputs", c->op, c->nin - 1, c->nout);
    for (i = 1; i < c->nin; i++)
        hone_try(want_rank(c, i, "one of the list", 2, err));
    return HONE_OK;
}

static hone_status list_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    uint32_t i;

    hone_try(want_pairs(c, err));
    for (i = 0; i < c->nout; i++) {
        hone_try(want_dim(c, i + 1, "w", 1, c->type[0].dim[1], err));
        out[i] = hone_type_of(c->compute, 2, c->type[0].dim[0],
                              c->type[i + 1].dim[0]);
    }
    return HONE_OK;
}

static hone_status dw_list_shape(const hone_call *c, hone_type *out,
                                 hone_err *err)
{
    uint32_t i;

    hone_try(want_pairs(c, err));
    for (i = 0; i < c->nout; i++) {
        hone_try(want_dim(c, i + 1, "dy", 0, c->type[0].dim[0], err));
        out[i] = hone_type_of(stat_storage(c), 2, c->type[i + 1].dim[1],
                              c->type[0].dim[1]);
    }
    return HONE_OK;
}

static double list_flops(const hone_call *c)
{
    double sum = 0;
    uint32_t i;

    for (i = 1; i < c->nin; i++)
        sum += 2.0 * (double)c->type[0].dim[0] * (double)hone_count(&c->type[i]);
    return sum;
}

static double dw_list_flops(const hone_call *c)
{
    double sum = 0;
    uint32_t i;

    for (i = 1; i < c->nin; i++)
        sum += 2.0 * (double)c->type[0].dim[1] * (double)hone_count(&c->type[i]);
    return sum;
}

static void list_draw(uint64_t seed, int64_t rows, void *attrs, hone_type *type,
                      uint32_t *nin, uint32_t *nout)
{
    int64_t t = rows ? rows : 1 + draw(&seed, 300);
    int64_t h = rows ? 4096 : 64 * (1 + draw(&seed, 9));
    uint32_t i, n = rows ? 3 : 1 + (uint32_t)draw(&seed, 4);

    ((hone_linear_attrs *)attrs)->scale = draw(&seed, 2) ? 0.75 : 1;
    type[0] = hone_type_of(HONE_F32, 2, t, h);
    for (i = 0; i < n; i++)
        type[i + 1] = hone_type_of(HONE_F32, 2,
                                   rows ? 16 : 8 * (1 + draw(&seed, 4)), h);
    *nin = n + 1;
    *nout = n;
}

static void dw_list_draw(uint64_t seed, int64_t rows, void *attrs,
                         hone_type *type, uint32_t *nin, uint32_t *nout)
{
    uint32_t i;

    list_draw(seed, rows, attrs, type, nin, nout);
    for (i = 1; i < *nin; i++)
        type[i] = hone_type_of(HONE_F32, 2, type[0].dim[0], type[i].dim[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_linear_attrs, scale, 1, -ANY, ANY,
                  "factor on the products"),
    HONE_OPT_END
};

OP(linear_list, "several linears of one x", options, sizeof(hone_linear_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "w", HONE_VARIADIC }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_VARIADIC }),
   .shape = list_shape, .flops = list_flops, .draw = list_draw);

OP(linear_dw_list, "several gradients of weights of one x", options,
   sizeof(hone_linear_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "dy", HONE_ROWS | HONE_VARIADIC }),
   .out = OPERANDS({ "dw", HONE_SUMMED | HONE_CAN_ADD | HONE_VARIADIC }),
   .shape = dw_list_shape, .flops = dw_list_flops, .draw = dw_list_draw);

EXPORT_OPS(linear_list, &linear_list_component, &linear_dw_list_component);

#endif
