/* SPDX-License-Identifier: MIT
 *
 * rmsnorm.c -- root mean square normalisation (Zhang and Sennrich 2019) over
 * groups of d = |w| features: a row of [T,H] holds H / d groups, so that the
 * same op normalises whole rows and single heads.
 */
#include "op.h"

REF(rmsnorm)
{
    view x = input(c, p, 0), w = input(c, p, 1), y = output(c, p, 0);
    const hone_norm_attrs *a = c->attrs;
    int64_t at, k, d = w.count;

    for (at = 0; at < x.count; at += d) {
        real r = inverse_rms(x, at, d, a->eps);
        for (k = 0; k < d; k++)
            put(y, at + k, get(x, at + k) * r * (get(w, k) + (real)a->offset));
    }
}

/* Of the group at AT, with g = dy (w + offset), r the inverse rms:
 * dx = r (g - x r^2 mean(g x)). */
static void group_dx(view dy, view x, view w, view dx, int64_t at, real r,
                     real offset)
{
    const int64_t d = w.count;
    real mean = 0;
    int64_t k;

    for (k = 0; k < d; k++)
        mean += get(dy, at + k) * (get(w, k) + offset) * get(x, at + k);
    mean /= (real)d;
    for (k = 0; k < d; k++) {
        real g = get(dy, at + k) * (get(w, k) + offset);
        put(dx, at + k, r * (g - get(x, at + k) * r * r * mean));
    }
}

static void group_dw(view dy, view x, view dw, int64_t at, int64_t d, real r)
{
    int64_t k;

    for (k = 0; k < d; k++)
        put(dw, k, get(dy, at + k) * get(x, at + k) * r);
}

REF(rmsnorm_dx)
{
    view dy = input(c, p, 0), x = input(c, p, 1), w = input(c, p, 2);
    view dx = output(c, p, 0);
    const hone_norm_attrs *a = c->attrs;
    int64_t at;

    for (at = 0; at < x.count; at += w.count)
        group_dx(dy, x, w, dx, at, inverse_rms(x, at, w.count, a->eps),
                 (real)a->offset);
}

REF(rmsnorm_dw)
{
    view dy = input(c, p, 0), x = input(c, p, 1);
    view dw = sum_into(output(c, p, 0));
    const hone_norm_attrs *a = c->attrs;
    int64_t at;

    for (at = 0; at < x.count; at += a->d)
        group_dw(dy, x, dw, at, a->d, inverse_rms(x, at, a->d, a->eps));
}

/* dx may have the bytes of dy, which is read first. */
REF(rmsnorm_grads)
{
    view dy = input(c, p, 0), x = input(c, p, 1), w = input(c, p, 2);
    view dx = output(c, p, 0), dw = sum_into(output(c, p, 1));
    const hone_norm_attrs *a = c->attrs;
    int64_t at;

    for (at = 0; at < x.count; at += w.count) {
        real r = inverse_rms(x, at, w.count, a->eps);
        group_dw(dy, x, dw, at, w.count, r);
        group_dx(dy, x, w, dx, at, r, (real)a->offset);
    }
}

#ifndef HONE_REF_DOUBLE

/* Rows of operand X must be whole groups of D. */
static hone_status want_groups(const hone_call *c, uint32_t x, int64_t d,
                               hone_err *err)
{
    if (d < 1 || c->type[x].dim[1] % d != 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: x is %s, its rows are not whole groups of %lld",
                         c->op, shape_text(&c->type[x]).s, (long long)d);
    return HONE_OK;
}

static hone_status norm_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_rank(c, 1, "w", 1, err));
    hone_try(want_groups(c, 0, c->type[1].dim[0], err));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status norm_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    const hone_norm_attrs *a = r->attrs;
    hone_id dy = r->dout[0], x = r->in[0], w = r->in[1];

    if (r->need[0])
        hone_try(emit(b, "rmsnorm_dx",
                      ATTRS({ "eps", a->eps, NULL },
                            { "offset", a->offset, NULL }),
                      IDS(dy, x, w), &r->din[0], err));
    if (r->need[1])
        hone_try(emit(b, "rmsnorm_dw",
                      ATTRS({ "eps", a->eps, NULL },
                            { "d", (double)b->type(b, w).dim[0], NULL }),
                      IDS(dy, x), &r->din[1], err));
    return HONE_OK;
}

static hone_status dx_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "x", 2, err));
    hone_try(want_same(c, 0, "dy", 1, "x", err));
    hone_try(want_rank(c, 2, "w", 1, err));
    hone_try(want_groups(c, 1, c->type[2].dim[0], err));
    out[0] = activation(c, &c->type[1]);
    if (c->nout > 1)
        out[1] = hone_type_of(stat_storage(c), 1, c->type[2].dim[0], 1);
    return HONE_OK;
}

static hone_status dw_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_norm_attrs *a = c->attrs;
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "x", 2, err));
    hone_try(want_same(c, 0, "dy", 1, "x", err));
    hone_try(want_groups(c, 1, a->d, err));
    out[0] = hone_type_of(stat_storage(c), 1, a->d, 1);
    return HONE_OK;
}

static double norm_flops(const hone_call *c)
{
    return 5.0 * (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_norm_attrs, eps, 1e-6, 0, 1, "added to the mean square"),
    HONE_OPT_REAL(hone_norm_attrs, offset, 0, -ANY, ANY, "added to the weight"),
    HONE_OPT_END
};
static const hone_option dw_options[] = {
    HONE_OPT_REAL(hone_norm_attrs, eps, 1e-6, 0, 1, "added to the mean square"),
    HONE_OPT_INT(hone_norm_attrs, d, 1, 1, 2147483647, "features of a group"),
    HONE_OPT_END
};

OP(rmsnorm, "x / sqrt(mean x^2 + eps) * (w + offset)", options,
   sizeof(hone_norm_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "w", 0 }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_TWICE }),
   .shape = norm_shape, .backward = norm_backward, .flops = norm_flops);

OP(rmsnorm_dx, "gradient of the input of rmsnorm", options,
   sizeof(hone_norm_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }, { "w", 0 }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD | HONE_TWICE |
                               HONE_INPLACE(0) }),
   .shape = dx_shape, .flops = norm_flops, .pair = "rmsnorm_grads",
   .pair_of = "rmsnorm_dw");

OP(rmsnorm_dw, "gradient of the weight of rmsnorm", dw_options,
   sizeof(hone_norm_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }),
   .out = OPERANDS({ "dw", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = dw_shape, .flops = norm_flops);

OP(rmsnorm_grads, "both gradients of rmsnorm", options,
   sizeof(hone_norm_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }, { "w", 0 }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD | HONE_INPLACE(0) },
                   { "dw", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = dx_shape, .flops = norm_flops);

EXPORT_OPS(rmsnorm, &rmsnorm_component, &rmsnorm_dx_component,
           &rmsnorm_dw_component, &rmsnorm_grads_component);

#endif
