/* SPDX-License-Identifier: MIT
 *
 * rope.c -- rotary position embedding (Su et al. 2021) in the layout of
 * halves: in each head, element i < m is turned with element i + m by the
 * angle position * inv_freq[i]. What a head has beyond 2m passes through.
 * The gradient turns back: rope with `inverse`.
 */
#include "op.h"

REF(rope)
{
    view x = input(c, p, 0), freq = input(c, p, 1), y = output(c, p, 0);
    const hone_rope_attrs *a = c->attrs;
    const int32_t *position = ints(p, 2);
    int64_t m = freq.count, d = a->head_dim ? a->head_dim : 2 * m, t, head, i;

    for (t = 0; t < x.rows; t++)
        for (head = t * x.cols; head < (t + 1) * x.cols; head += d) {
            for (i = 0; i < m; i++) {
                real angle = (real)position[t] * get(freq, i);
                real co = cos(angle) * (real)a->factor;
                real si = sin(angle) * (real)(a->inverse ? -a->factor
                                                         : a->factor);
                real x1 = get(x, head + i), x2 = get(x, head + m + i);
                put(y, head + i, x1 * co - x2 * si);
                put(y, head + m + i, x2 * co + x1 * si);
            }
            for (i = 2 * m; i < d; i++)
                put(y, head + i, get(x, head + i));
        }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_rope_attrs *a = c->attrs;
    int64_t m, d;

    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_rank(c, 1, "inv_freq", 1, err));
    hone_try(want_ints(c, 2, "positions", c->type[0].dim[0], err));
    m = c->type[1].dim[0];
    d = a->head_dim ? a->head_dim : 2 * m;
    if (d < 1 || d < 2 * m || c->type[0].dim[1] % d != 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: x is %s, its rows are not whole heads of %lld "
                         "with %lld turned",
                         c->op, shape_text(&c->type[0]).s, (long long)d,
                         (long long)(2 * m));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_rope_attrs *a = r->attrs;
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "rope",
                ATTRS({ "head_dim", (double)a->head_dim, NULL },
                      { "factor", a->factor, NULL },
                      { "inverse", !a->inverse, NULL }),
                IDS(r->dout[0], r->in[1], r->in[2]), &r->din[0], err);
}

/* Frequencies as a model has them; positions low enough for float angles. */
static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    view freq = input(c, p, 1);
    int64_t i;
    for (i = 0; i < freq.count; i++)
        set(freq, i, pow(10000.0f, -(float)i / (float)freq.count));
    draw_ints(c, p, 2, 0, 128, seed);
}

static double flops(const hone_call *c)
{
    return 3.0 * (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_INT(hone_rope_attrs, head_dim, 0, 0, 65536,
                 "size of a head; 0: twice the number of frequencies"),
    HONE_OPT_REAL(hone_rope_attrs, factor, 1, -ANY, ANY,
                  "factor on cosine and sine"),
    HONE_OPT_BOOL(hone_rope_attrs, inverse, 0, "turns back"),
    HONE_OPT_END
};

OP(rope, "rotary position embedding", options, sizeof(hone_rope_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "inv_freq", HONE_NO_GRAD },
                  { "positions", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_TWICE | HONE_INPLACE(0) }),
   .shape = shape, .backward = backward, .flops = flops, .sample = sample);

EXPORT_OPS(rope, &rope_component);

#endif
