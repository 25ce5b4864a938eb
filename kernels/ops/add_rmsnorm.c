/* SPDX-License-Identifier: MIT
 *
 * add_rmsnorm.c -- the residual sum and its normalisation in one pass: fused
 * from add and rmsnorm. The norm reads the sum as it was stored, so that the
 * fused op and its decomposition agree in every storage.
 */
#include "op.h"

REF(add_rmsnorm)
{
    view a = input(c, p, 0), b = input(c, p, 1), w = input(c, p, 2);
    view sum = output(c, p, 0), y = output(c, p, 1);
    const hone_norm_attrs *attrs = c->attrs;
    int64_t at, k, d = w.count;

    for (at = 0; at < a.count; at += d) {
        real square = 0, r;
        for (k = at; k < at + d; k++) {
            put(sum, k, get(a, k) + get(b, k));
            square += get(sum, k) * get(sum, k);
        }
        r = 1 / sqrt(square / (real)d + (real)attrs->eps);
        for (k = 0; k < d; k++)
            put(y, at + k,
                get(sum, at + k) * r * (get(w, k) + (real)attrs->offset));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "a", 2, err));
    hone_try(want_same(c, 0, "a", 1, "b", err));
    hone_try(want_rank(c, 2, "w", 1, err));
    if (c->type[2].dim[0] < 1 || c->type[0].dim[1] % c->type[2].dim[0] != 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: a is %s, its rows are not whole groups of %lld",
                         c->op, shape_text(&c->type[0]).s,
                         (long long)c->type[2].dim[0]);
    out[0] = activation(c, &c->type[0]);
    out[1] = out[0];
    return HONE_OK;
}

/* Gradients reach the sum from its other readers (dout[0]) and the norm. */
static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_norm_attrs *a = r->attrs;
    const hone_attr eps = { "eps", a->eps, NULL };
    hone_id dsum = r->dout[0], dy = r->dout[1], sum = r->out[0], w = r->in[2];

    if (dy != HONE_NONE && r->need[2])
        hone_try(emit(b, "rmsnorm_dw",
                      ATTRS(eps, { "d", (double)b->type(b, w).dim[0], NULL }),
                      IDS(dy, sum), &r->din[2], err));
    if (!r->need[0] && !r->need[1])
        return HONE_OK;
    if (dy != HONE_NONE) {
        hone_id dx;
        hone_try(emit(b, "rmsnorm_dx",
                      ATTRS(eps, { "offset", a->offset, NULL }),
                      IDS(dy, sum, w), &dx, err));
        if (dsum == HONE_NONE)
            dsum = dx;
        else
            hone_try(emit(b, "add", NO_ATTRS, IDS(dx, r->dout[0]), &dsum, err));
    }
    r->din[0] = dsum;
    r->din[1] = dsum;
    return HONE_OK;
}

static hone_status decompose(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_norm_attrs *a = r->attrs;
    hone_try(emit(b, "add", NO_ATTRS, IDS(r->in[0], r->in[1]), &r->out[0],
                  err));
    return emit(b, "rmsnorm",
                ATTRS({ "eps", a->eps, NULL }, { "offset", a->offset, NULL }),
                IDS(r->out[0], r->in[2]), &r->out[1], err);
}

static const hone_bind binds[] = {
    { "eps", 1, "eps" }, { "offset", 1, "offset" }, { NULL, 0, NULL }
};

static double flops(const hone_call *c)
{
    return 6.0 * (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_norm_attrs, eps, 1e-6, 0, 1, "added to the mean square"),
    HONE_OPT_REAL(hone_norm_attrs, offset, 0, -ANY, ANY, "added to the weight"),
    HONE_OPT_END
};

OP(add_rmsnorm, "sum = a + b and rmsnorm of the sum", options,
   sizeof(hone_norm_attrs),
   .in = OPERANDS({ "a", HONE_ROWS }, { "b", HONE_ROWS }, { "w", 0 }),
   .out = OPERANDS({ "sum", HONE_ROWS | HONE_INPLACE(0) },
                   { "y", HONE_ROWS | HONE_TWICE }),
   .shape = shape, .backward = backward, .decompose = decompose,
   .binds = binds, .flops = flops);

EXPORT_OPS(add_rmsnorm, &add_rmsnorm_component);

#endif
