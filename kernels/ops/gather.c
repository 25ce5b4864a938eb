/* SPDX-License-Identifier: MIT
 *
 * gather.c -- rows by index, and back. An index below 0 means no row: gather
 * gives 0, scatter leaves it out. An index stands at most once in a list, so
 * that each is the other's gradient.
 */
#include "op.h"

REF(gather)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    const int32_t *index = ints(p, 1);
    int64_t n, h;

    for (n = 0; n < y.rows; n++)
        for (h = 0; h < y.cols; h++)
            put(y, n * y.cols + h,
                index[n] < 0 ? 0 : get(x, index[n] * y.cols + h));
}

REF(scatter)
{
    view dy = input(c, p, 0), dx = sum_into(output(c, p, 0));
    const int32_t *index = ints(p, 1);
    int64_t n, h;

    for (n = 0; n < dy.rows; n++)
        for (h = 0; h < dy.cols && index[n] >= 0; h++)
            put(dx, index[n] * dy.cols + h, get(dy, n * dy.cols + h));
}

#ifndef HONE_REF_DOUBLE

static hone_status gather_shape(const hone_call *c, hone_type *out,
                                hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_ints(c, 1, "index", -1, err));
    out[0] = hone_type_of(c->compute, 2, c->type[1].dim[0], c->type[0].dim[1]);
    return HONE_OK;
}

static hone_status scatter_shape(const hone_call *c, hone_type *out,
                                 hone_err *err)
{
    const hone_scatter_attrs *a = c->attrs;
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_ints(c, 1, "index", c->type[0].dim[0], err));
    out[0] = hone_type_of(c->compute, 2, a->rows, c->type[0].dim[1]);
    return HONE_OK;
}

static hone_status gather_backward(hone_builder *b, const hone_rule *r,
                                   hone_err *err)
{
    if (!r->need[0])
        return HONE_OK;
    return emit(
        b, "scatter",
        ATTRS({ "rows", (double)b->type(b, r->in[0]).dim[0], NULL }),
        IDS(r->dout[0], r->in[1]), &r->din[0], err);
}

static hone_status scatter_backward(hone_builder *b, const hone_rule *r,
                                    hone_err *err)
{
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "gather", NO_ATTRS, IDS(r->dout[0], r->in[1]), &r->din[0],
                err);
}

/* N indices below ROWS, each at most once, about a quarter of them -1. */
static void draw_index(int32_t *to, int64_t n, int64_t rows, uint64_t seed)
{
    int64_t i, first = draw(&seed, rows);
    for (i = 0; i < n; i++)
        to[i] = i >= rows || draw(&seed, 4) == 0
                    ? -1
                    : (int32_t)((first + i) % rows);
}

static void gather_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    draw_index((int32_t *)p[1].part[0], c->type[1].dim[0], c->type[0].dim[0],
               seed);
}

static void scatter_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    const hone_scatter_attrs *a = c->attrs;
    draw_index((int32_t *)p[1].part[0], c->type[1].dim[0], a->rows, seed);
}

static const hone_option options[] = {
    HONE_OPT_INT(hone_scatter_attrs, rows, 1, 1, 2147483647, "rows of dx"),
    HONE_OPT_END
};

OP(gather, "rows by index", NULL, 0,
   .in = OPERANDS({ "x", 0 }, { "index", HONE_NO_GRAD }),
   .out = OPERANDS({ "y", 0 }),
   .shape = gather_shape, .backward = gather_backward, .sample = gather_sample);

OP(scatter, "rows to their index, 0 elsewhere", options,
   sizeof(hone_scatter_attrs),
   .in = OPERANDS({ "dy", 0 }, { "index", HONE_NO_GRAD }),
   .out = OPERANDS({ "dx", 0 }),
   .shape = scatter_shape, .backward = scatter_backward,
   .sample = scatter_sample);

EXPORT_OPS(gather, &gather_component, &scatter_component);

#endif
