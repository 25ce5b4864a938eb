/* SPDX-License-Identifier: MIT
 *
 * softcap.c -- cap * tanh(x / cap): numbers bent so that none is beyond the
 * cap. The gradient follows from y alone, so that x need not be kept.
 */
#include "op.h"

REF(softcap)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    const real cap = (real)((const hone_softcap_attrs *)c->attrs)->cap;
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, cap * tanh(get(x, i) / cap));
}

REF(softcap_grad)
{
    view dy = input(c, p, 0), y = input(c, p, 1), dx = output(c, p, 0);
    const real cap = (real)((const hone_softcap_attrs *)c->attrs)->cap;
    int64_t i;

    for (i = 0; i < dx.count; i++) {
        real t = get(y, i) / cap;
        put(dx, i, get(dy, i) * (1 - t) * (1 + t));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_softcap_attrs *a = c->attrs;

    if (!(a->cap > 0))
        return hone_fail(err, HONE_EINVAL, "%s: cap must be given", c->op);
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_softcap_attrs *a = r->attrs;

    if (!r->need[0])
        return HONE_OK;
    return emit(b, "softcap_grad", ATTRS({ "cap", a->cap, NULL }),
                IDS(r->dout[0], r->out[0]), &r->din[0], err);
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "dy", 1, "y", err));
    return shape(c, out, err);
}

/* y as softcap makes it: below the cap. */
static void grad_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    const hone_type type[2] = { c->type[1], c->type[1] };
    const uint8_t mode[2] = { HONE_READ, HONE_WRITE };
    const hone_ptr ptr[2] = { p[1], p[1] };
    const hone_call forward = { sizeof forward, "softcap", c->attrs, 1, 1,
                                type, mode, c->compute, NULL };
    REF_DECLARE(softcap);

    (void)seed;
    if (c->type[1].storage == HONE_F64)
        hone_softcap_ref_f64(&forward, ptr);
    else
        hone_softcap_ref_f32(&forward, ptr);
}

static double flops(const hone_call *c)
{
    return 4.0 * (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_softcap_attrs, cap, 0, 0, ANY, "must be given"),
    HONE_OPT_END
};

OP(softcap, "cap * tanh(x / cap)", options, sizeof(hone_softcap_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = shape, .backward = backward, .flops = flops);

OP(softcap_grad, "gradient of softcap from its result", options,
   sizeof(hone_softcap_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "y", HONE_ROWS }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = grad_shape, .flops = flops, .sample = grad_sample);

EXPORT_OPS(softcap, &softcap_component, &softcap_grad_component);

#endif
