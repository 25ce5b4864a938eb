/* SPDX-License-Identifier: MIT
 *
 * split.c -- the first columns of a matrix and the others, for projections
 * that are stored as one; join, its gradient, puts them side by side again.
 */
#include "op.h"

/* Copies the rows of FROM into columns [AT, AT + cols) of TO, or back. */
static void side(view whole, view part, int64_t at, int into)
{
    int64_t t, k;

    for (t = 0; t < part.rows; t++)
        for (k = 0; k < part.cols; k++)
            if (into)
                put(whole, t * whole.cols + at + k,
                    get(part, t * part.cols + k));
            else
                put(part, t * part.cols + k,
                    get(whole, t * whole.cols + at + k));
}

REF(split)
{
    view x = input(c, p, 0), left = output(c, p, 0), right = output(c, p, 1);

    side(x, left, 0, 0);
    side(x, right, left.cols, 0);
}

REF(join)
{
    view left = input(c, p, 0), right = input(c, p, 1), y = output(c, p, 0);

    side(y, left, 0, 1);
    side(y, right, left.cols, 1);
}

#ifndef HONE_REF_DOUBLE

static hone_status split_shape(const hone_call *c, hone_type *out,
                               hone_err *err)
{
    const hone_split_attrs *a = c->attrs;
    const hone_type *x = &c->type[0];

    hone_try(want_rank(c, 0, "x", 2, err));
    if (a->at < 1 || a->at >= x->dim[1])
        return hone_fail(err, HONE_EINVAL,
                         "%s: x is %s, it cannot be split at column %lld",
                         c->op, shape_text(x).s, (long long)a->at);
    out[0] = hone_type_of(c->compute, 2, x->dim[0], a->at);
    out[1] = hone_type_of(c->compute, 2, x->dim[0], x->dim[1] - a->at);
    return HONE_OK;
}

/* The gradient of output I; zeros where none flows. */
static hone_status whole(hone_builder *b, const hone_rule *r, int i,
                         hone_id *d, hone_err *err)
{
    *d = r->dout[i];
    if (*d != HONE_NONE)
        return HONE_OK;
    return emit(b, "scale", ATTRS({ "by", 0, NULL }), IDS(r->out[i]), d, err);
}

static hone_status split_backward(hone_builder *b, const hone_rule *r,
                                  hone_err *err)
{
    hone_id left, right;

    if (!r->need[0])
        return HONE_OK;
    hone_try(whole(b, r, 0, &left, err));
    hone_try(whole(b, r, 1, &right, err));
    return emit(b, "join", NO_ATTRS, IDS(left, right), &r->din[0], err);
}

static hone_status join_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_type *left = &c->type[0], *right = &c->type[1];

    hone_try(want_rank(c, 0, "left", 2, err));
    hone_try(want_rank(c, 1, "right", 2, err));
    hone_try(want_dim(c, 1, "right", 0, left->dim[0], err));
    out[0] = hone_type_of(c->compute, 2, left->dim[0],
                          left->dim[1] + right->dim[1]);
    return HONE_OK;
}

static hone_status join_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    hone_id out[2] = { HONE_NONE, HONE_NONE };
    hone_type left = b->type(b, r->in[0]);

    hone_try(b->emit(b, "split", NULL,
                     ATTRS({ "at", (double)left.dim[1], NULL }),
                     IDS(r->dout[0]), out, 2, err));
    r->din[0] = out[0];
    r->din[1] = out[1];
    return HONE_OK;
}

static const hone_option options[] = {
    HONE_OPT_INT(hone_split_attrs, at, 1, 1, 2147483647,
                 "columns of the left part"),
    HONE_OPT_END
};

OP(split, "the first columns and the others", options,
   sizeof(hone_split_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "left", HONE_ROWS }, { "right", HONE_ROWS }),
   .shape = split_shape, .backward = split_backward);

OP(join, "columns side by side", NULL, 0,
   .in = OPERANDS({ "left", HONE_ROWS }, { "right", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS }),
   .shape = join_shape, .backward = join_backward);

EXPORT_OPS(split, &split_component, &join_component);

#endif
