/* SPDX-License-Identifier: MIT
 *
 * norm_rope.c -- heads that are normalised, then turned by their positions, as
 * Qwen3 does with queries and keys: fused from rmsnorm and rope, so that they
 * come from memory once; and the gradient of what went in. Heads turn whole:
 * there are half as many frequencies as |w|.
 */
#include "op.h"

/* Element I of a head AT and that of the other half, D / 2 on, as a pair that
 * is turned by position * freq[I]; SIGN -1 turns back. */
static void turn(const hone_call *c, view freq, int32_t position, int64_t i,
                 real sign, real *low, real *high)
{
    const hone_norm_rope_attrs *a = c->attrs;
    real angle = (real)position * get(freq, i), l = *low, h = *high;
    real co = cos(angle) * (real)a->factor;
    real si = sin(angle) * (real)a->factor * sign;

    *low = l * co - h * si;
    *high = h * co + l * si;
}

REF(norm_rope)
{
    view x = input(c, p, 0), w = input(c, p, 1), freq = input(c, p, 2);
    view y = output(c, p, 0);
    const hone_norm_rope_attrs *a = c->attrs;
    const int64_t d = w.count, m = d / 2;

    for (int64_t at = 0; at < x.count; at += d) {
        real r = inverse_rms(x, at, d, a->eps);
        for (int64_t i = 0; i < m; i++) {
            real low = get(x, at + i) * r * (get(w, i) + (real)a->offset);
            real high = get(x, at + m + i) * r *
                        (get(w, m + i) + (real)a->offset);
            turn(c, freq, ints(p, 3)[at / x.cols], i, 1, &low, &high);
            put(y, at + i, low);
            put(y, at + m + i, high);
        }
    }
}

/* Elements I and I + D / 2 of the head AT of dy turned back, times w + offset:
 * g, of which rmsnorm_dx makes dx. */
static void slopes(const hone_call *c, const hone_ptr *p, int64_t at, int64_t i,
                   real *low, real *high)
{
    view dy = input(c, p, 0), w = input(c, p, 2);
    const hone_norm_rope_attrs *a = c->attrs;
    const int64_t m = w.count / 2;

    *low = get(dy, at + i);
    *high = get(dy, at + m + i);
    turn(c, input(c, p, 3), ints(p, 4)[at / dy.cols], i, -1, low, high);
    *low *= get(w, i) + (real)a->offset;
    *high *= get(w, m + i) + (real)a->offset;
}

REF(norm_rope_dx)
{
    view x = input(c, p, 1), dx = output(c, p, 0);
    const hone_norm_rope_attrs *a = c->attrs;
    const int64_t d = input(c, p, 2).count, m = d / 2;

    for (int64_t at = 0; at < x.count; at += d) {
        real r = inverse_rms(x, at, d, a->eps), mean = 0, g[2];
        for (int64_t k = 0; k < d; k++) {
            slopes(c, p, at, k % m, &g[0], &g[1]);
            mean += g[k / m] * get(x, at + k);
        }
        mean /= (real)d;
        for (int64_t i = 0; i < m; i++) {
            slopes(c, p, at, i, &g[0], &g[1]);
            for (int64_t k = i, h = 0; k < d; k += m, h++)
                put(dx, at + k, r * (g[h] - get(x, at + k) * r * r * mean));
        }
    }
}

#ifndef HONE_REF_DOUBLE

/* Operands from AT on: x, w, inv_freq, positions. */
static hone_status want_heads(const hone_call *c, uint32_t at, hone_err *err)
{
    const hone_norm_rope_attrs *a = c->attrs;
    const int64_t d = c->type[at + 1].dim[0];

    hone_try(want_rank(c, at, "x", 2, err));
    hone_try(want_rank(c, at + 1, "w", 1, err));
    hone_try(want_rank(c, at + 2, "inv_freq", 1, err));
    hone_try(want_ints(c, at + 3, "positions", c->type[at].dim[0], err));
    if (d < 2 || d != 2 * c->type[at + 2].dim[0] ||
        (a->head_dim && a->head_dim != d) || c->type[at].dim[1] % d != 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: x is %s, its rows are not whole heads of %lld "
                         "with %lld turned", c->op,
                         shape_text(&c->type[at]).s, (long long)d,
                         (long long)(2 * c->type[at + 2].dim[0]));
    return HONE_OK;
}

static hone_status norm_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_heads(c, 0, err));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status dx_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_same(c, 0, "dy", 1, "x", err));
    hone_try(want_heads(c, 1, err));
    out[0] = activation(c, &c->type[1]);
    return HONE_OK;
}

/* Where the weight is trained, what is turned back serves its gradient too. */
static hone_status norm_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    const hone_norm_rope_attrs *a = r->attrs;
    const hone_attr eps = { "eps", a->eps, NULL };
    const hone_attr offset = { "offset", a->offset, NULL };
    const hone_attr head = { "head_dim", (double)a->head_dim, NULL };
    const hone_attr factor = { "factor", a->factor, NULL };
    const hone_id dy = r->dout[0], *in = r->in;
    hone_id dn;

    if (r->need[0] && !r->need[1])
        return emit(b, "norm_rope_dx", ATTRS(eps, offset, head, factor),
                    IDS(dy, in[0], in[1], in[2], in[3]), &r->din[0], err);
    if (!r->need[1])
        return HONE_OK;
    hone_try(emit(b, "rope", ATTRS(head, factor, { "inverse", 1, NULL }),
                  IDS(dy, in[2], in[3]), &dn, err));
    if (r->need[0])
        hone_try(emit(b, "rmsnorm_dx", ATTRS(eps, offset),
                      IDS(dn, in[0], in[1]), &r->din[0], err));
    return emit(b, "rmsnorm_dw",
                ATTRS(eps, { "d", (double)b->type(b, in[1]).dim[0], NULL }),
                IDS(dn, in[0]), &r->din[1], err);
}

static hone_status decompose(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_norm_rope_attrs *a = r->attrs;
    hone_id n;

    hone_try(emit(b, "rmsnorm",
                  ATTRS({ "eps", a->eps, NULL }, { "offset", a->offset, NULL }),
                  IDS(r->in[0], r->in[1]), &n, err));
    return emit(b, "rope",
                ATTRS({ "head_dim", (double)a->head_dim, NULL },
                      { "factor", a->factor, NULL }),
                IDS(n, r->in[2], r->in[3]), &r->out[0], err);
}

static const hone_bind binds[] = {
    { "eps", 0, "eps" }, { "offset", 0, "offset" },
    { "head_dim", 1, "head_dim" }, { "factor", 1, "factor" }, { NULL, 0, NULL }
};

/* Frequencies as a model has them; positions low enough for float angles. */
static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    view freq = input(c, p, c->nin - 2);
    int64_t i;
    for (i = 0; i < freq.count; i++)
        set(freq, i, pow(10000.0f, -(float)i / (float)freq.count));
    draw_ints(c, p, c->nin - 1, 0, 128, seed);
}

static void draw_heads(uint64_t seed, int64_t rows, void *attrs,
                       hone_type *type, uint32_t *nin, uint32_t *nout)
{
    hone_norm_rope_attrs *a = attrs;
    int64_t t = rows ? rows : 1 + draw(&seed, 60);
    int64_t d = rows ? 128 : 64 << draw(&seed, 3);

    a->eps = 1e-5;
    a->offset = (double)draw(&seed, 2);
    a->factor = draw(&seed, 2) ? 1.25 : 1;
    type[0] = hone_type_of(HONE_F32, 2, t, d * (rows ? 16 : 1 + draw(&seed, 9)));
    type[1] = hone_type_of(HONE_F32, 1, d, 1);
    type[2] = hone_type_of(HONE_F32, 1, d / 2, 1);
    type[3] = hone_type_of(HONE_I32, 1, t, 1);
    *nin = 4;
    *nout = 1;
}

static void draw_dx(uint64_t seed, int64_t rows, void *attrs, hone_type *type,
                    uint32_t *nin, uint32_t *nout)
{
    draw_heads(seed, rows, attrs, type + 1, nin, nout);
    type[0] = type[1];
    *nin = 5;
}

static double flops(const hone_call *c)
{
    return 8.0 * (double)hone_count(&c->type[0]);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_norm_rope_attrs, eps, 1e-6, 0, 1,
                  "added to the mean square"),
    HONE_OPT_REAL(hone_norm_rope_attrs, offset, 0, -ANY, ANY,
                  "added to the weight"),
    HONE_OPT_INT(hone_norm_rope_attrs, head_dim, 0, 0, 65536,
                 "size of a head; 0: that of the weight"),
    HONE_OPT_REAL(hone_norm_rope_attrs, factor, 1, -ANY, ANY,
                  "factor on cosine and sine"),
    HONE_OPT_END
};

OP(norm_rope, "rope of rmsnorm, by heads", options,
   sizeof(hone_norm_rope_attrs),
   .in = OPERANDS({ "x", HONE_ROWS }, { "w", 0 }, { "inv_freq", HONE_NO_GRAD },
                  { "positions", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = norm_shape, .backward = norm_backward, .decompose = decompose,
   .binds = binds, .flops = flops, .sample = sample, .draw = draw_heads);

OP(norm_rope_dx, "gradient of the input of norm_rope", options,
   sizeof(hone_norm_rope_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "x", HONE_ROWS }, { "w", 0 },
                  { "inv_freq", HONE_NO_GRAD },
                  { "positions", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_CAN_ADD | HONE_INPLACE(0) }),
   .shape = dx_shape, .flops = flops, .sample = sample, .draw = draw_dx);

EXPORT_OPS(norm_rope, &norm_rope_component, &norm_rope_dx_component);

#endif
