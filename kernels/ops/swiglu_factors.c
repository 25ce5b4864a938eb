/* SPDX-License-Identifier: MIT
 *
 * swiglu_factors.c -- swiglu between linears that have low-rank updates: gate
 * and up are taken as their large products left them, and the updates' second
 * halves are added on the way; so is the first half of the update behind it.
 *
 *     g = gate + s_g * gate_u gate_w^T    h = up + s_h * up_u up_w^T
 *     y = silu(g) * h                     u = y w^T
 *
 * The gradient makes g, h and y once more and leaves the gradients of all
 * factors, so that nothing as wide as y moves for their sake.
 */
#include "op.h"

static real sigmoid(real x)
{
    return 1 / (1 + exp(-x));
}

/* WIDE[i] + SCALE * the product of row T of NARROW and row O of W. */
static real updated(view wide, view narrow, view w, int64_t t, int64_t o,
                    real scale)
{
    real sum = 0;

    for (int64_t r = 0; r < w.cols; r++)
        sum += get(narrow, t * w.cols + r) * get(w, o * w.cols + r);
    return get(wide, t * wide.cols + o) + scale * sum;
}

enum { AT_ONCE = 64 }; /* sums over a row that are kept as they are, unrounded */

REF(swiglu_factors)
{
    const hone_swiglu_factors_attrs *a = c->attrs;
    view gate = input(c, p, 0), up = input(c, p, 1), w = input(c, p, 6);
    view y = output(c, p, 0), u = output(c, p, 1);
    int64_t t, o, r, first;

    for (t = 0; t < y.rows; t++)
        for (first = 0; first < u.cols; first += AT_ONCE) {
            real sum[AT_ONCE] = { 0 };
            int64_t n = u.cols - first < AT_ONCE ? u.cols - first : AT_ONCE;

            for (o = 0; o < y.cols; o++) {
                real g = updated(gate, input(c, p, 2), input(c, p, 3), t, o,
                                 (real)a->gate_scale);
                real h = updated(up, input(c, p, 4), input(c, p, 5), t, o,
                                 (real)a->up_scale);
                real v = g * sigmoid(g) * h;

                put(y, t * y.cols + o, v);
                for (r = 0; r < n; r++)
                    sum[r] += v * get(w, (first + r) * y.cols + o);
            }
            for (r = 0; r < n; r++)
                put(u, t * u.cols + first + r, sum[r]);
        }
}

typedef struct slopes {
    real g, h, y;
} slopes;

/* Gradients of g and h at row T, column O, and y. */
static slopes slopes_at(const hone_call *c, const hone_ptr *p, int64_t t,
                        int64_t o)
{
    const hone_swiglu_factors_attrs *a = c->attrs;
    view dy = input(c, p, 0), w = input(c, p, 7), du = input(c, p, 8);
    real d = get(dy, t * dy.cols + o);
    real g = updated(input(c, p, 1), input(c, p, 3), input(c, p, 4), t, o,
                     (real)a->gate_scale);
    real h = updated(input(c, p, 2), input(c, p, 5), input(c, p, 6), t, o,
                     (real)a->up_scale);
    real s = sigmoid(g);

    for (int64_t r = 0; r < w.rows; r++)
        d += get(du, t * w.rows + r) * get(w, r * dy.cols + o);
    return (slopes){ d * h * s * (1 + g * (1 - s)), d * g * s, g * s * h };
}

/* TO = scale * the gradients of g, or of h, times W. */
static void narrow_slopes(const hone_call *c, const hone_ptr *p, int of_gate,
                          view w, view to, real scale)
{
    for (int64_t t = 0; t < to.rows; t++)
        for (int64_t first = 0; first < to.cols; first += AT_ONCE) {
            real sum[AT_ONCE] = { 0 };
            int64_t n = to.cols - first < AT_ONCE ? to.cols - first : AT_ONCE;

            for (int64_t o = 0; o < w.rows; o++) {
                slopes s = slopes_at(c, p, t, o);
                for (int64_t r = 0; r < n; r++)
                    sum[r] += (of_gate ? s.g : s.h) *
                              get(w, o * to.cols + first + r);
            }
            for (int64_t r = 0; r < n; r++)
                put(to, t * to.cols + first + r, scale * sum[r]);
        }
}

/* What flows into y and by way of u. All that reads gate and up is made before
 * the outputs that may have their bytes. */
REF(swiglu_factors_grad)
{
    const hone_swiglu_factors_attrs *a = c->attrs;
    view gu = input(c, p, 3), hu = input(c, p, 5), du = input(c, p, 8);
    view dgate = output(c, p, 0), dup = output(c, p, 1);
    view dgw = sum_into(output(c, p, 3)), dhw = sum_into(output(c, p, 5));
    view dw = sum_into(output(c, p, 6));
    const int64_t f = dgate.cols;

    narrow_slopes(c, p, 1, input(c, p, 4), output(c, p, 2),
                  (real)a->gate_scale);
    narrow_slopes(c, p, 0, input(c, p, 6), output(c, p, 4), (real)a->up_scale);
    for (int64_t t = 0; t < dgate.rows; t++)
        for (int64_t o = 0; o < f; o++) {
            slopes s = slopes_at(c, p, t, o);

            for (int64_t r = 0; r < gu.cols; r++)
                put(dgw, o * gu.cols + r,
                    (real)a->gate_scale * s.g * get(gu, t * gu.cols + r));
            for (int64_t r = 0; r < hu.cols; r++)
                put(dhw, o * hu.cols + r,
                    (real)a->up_scale * s.h * get(hu, t * hu.cols + r));
            for (int64_t r = 0; r < du.cols; r++)
                put(dw, r * f + o, get(du, t * du.cols + r) * s.y);
            put(dgate, t * f + o, s.g);
            put(dup, t * f + o, s.h);
        }
}

#ifndef HONE_REF_DOUBLE

/* Operands from AT on: gate, up, gate_u, gate_w, up_u, up_w, w. */
static hone_status want_factors(const hone_call *c, uint32_t at, hone_err *err)
{
    const hone_type *t = &c->type[at];
    const int64_t rows = t[0].dim[0], columns = t[0].dim[1];

    for (uint32_t i = 0; i < 7; i++)
        hone_try(want_rank(c, at + i, "a factor", 2, err));
    hone_try(want_same(c, at, "gate", at + 1, "up", err));
    for (uint32_t i = 2; i < 6; i += 2) {
        hone_try(want_dim(c, at + i, "u", 0, rows, err));
        hone_try(want_dim(c, at + i + 1, "w", 0, columns, err));
        hone_try(want_dim(c, at + i + 1, "w", 1, t[i].dim[1], err));
    }
    return want_dim(c, at + 6, "w", 1, columns, err);
}

static hone_status factors_shape(const hone_call *c, hone_type *out,
                                 hone_err *err)
{
    hone_try(want_factors(c, 0, err));
    out[0] = activation(c, &c->type[0]);
    out[1] = hone_type_of(c->compute, 2, c->type[0].dim[0],
                          c->type[6].dim[0]);
    return HONE_OK;
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_type *t = c->type;

    hone_try(want_same(c, 0, "dy", 1, "gate", err));
    /* w lies behind dy's other operands, du behind w. */
    hone_try(want_factors(c, 1, err));
    hone_try(want_rank(c, 8, "du", 2, err));
    hone_try(want_dim(c, 8, "du", 0, t[0].dim[0], err));
    hone_try(want_dim(c, 8, "du", 1, t[7].dim[0], err));
    out[0] = out[1] = activation(c, &t[0]);
    for (uint32_t i = 2; i < 6; i++)
        out[i] = t[i + 1];
    out[6] = t[7];
    for (uint32_t i = 2; i < 7; i++)
        out[i].storage = i % 2 && i < 6 ? stat_storage(c) : c->compute;
    out[6].storage = stat_storage(c);
    return HONE_OK;
}

static hone_status factors_backward(hone_builder *b, const hone_rule *r,
                                    hone_err *err)
{
    const hone_swiglu_factors_attrs *a = r->attrs;
    const hone_attr gate = { "gate_scale", a->gate_scale, NULL };
    const hone_attr up = { "up_scale", a->up_scale, NULL };
    const hone_id *in = r->in;
    hone_id out[7];

    for (int i = 0; i < 7; i++)
        out[i] = HONE_NONE;
    hone_try(b->emit(b, "swiglu_factors_grad", NULL, ATTRS(gate, up),
                     IDS(r->dout[0], in[0], in[1], in[2], in[3], in[4], in[5],
                         in[6], r->dout[1]), out, 7, err));
    for (int i = 0; i < 7; i++)
        r->din[i] = out[i];
    return HONE_OK;
}

static hone_status factors_decompose(hone_builder *b, const hone_rule *r,
                                     hone_err *err)
{
    const hone_swiglu_factors_attrs *a = r->attrs;
    const hone_attr scale[2] = { { "scale", a->gate_scale, NULL },
                                 { "scale", a->up_scale, NULL } };
    hone_id sum[2];

    for (int i = 0; i < 2; i++) {
        hone_id v;
        hone_try(emit(b, "linear", ATTRS(scale[i]),
                      IDS(r->in[2 + 2 * i], r->in[3 + 2 * i]), &v, err));
        hone_try(emit(b, "add", NO_ATTRS, IDS(r->in[i], v), &sum[i], err));
    }
    hone_try(emit(b, "swiglu", NO_ATTRS, IDS(sum[0], sum[1]), &r->out[0],
                  err));
    return emit(b, "linear", NO_ATTRS, IDS(r->out[0], r->in[6]), &r->out[1],
                err);
}

/* Three products of 16, say, an element, or eight. */
static double factors_flops(const hone_call *c)
{
    const hone_type *gate = &c->type[0], *t = c->type;

    return (double)hone_count(gate) *
           (5.0 + 2.0 * (double)(t[2].dim[1] + t[4].dim[1] + t[6].dim[0]));
}

static double grad_flops(const hone_call *c)
{
    const hone_type *t = c->type;

    return (double)hone_count(&t[0]) *
           (10.0 + 6.0 * (double)(t[3].dim[1] + t[5].dim[1]) +
            4.0 * (double)t[8].dim[1]);
}

static void factors_draw(uint64_t seed, int64_t rows, void *attrs,
                         hone_type *type, uint32_t *nin, uint32_t *nout)
{
    hone_swiglu_factors_attrs *a = attrs;
    int64_t t = rows ? rows : 1 + draw(&seed, 300);
    int64_t f = rows ? 8192 : 8 * (1 + draw(&seed, 150));
    int64_t r[3];

    for (int i = 0; i < 3; i++)
        r[i] = rows ? 16 : 8 * (1 + draw(&seed, 2));
    a->gate_scale = draw(&seed, 2) ? 0.25 : 0.125;
    a->up_scale = draw(&seed, 2) ? 0.25 : 0.125;
    type[0] = type[1] = hone_type_of(HONE_F32, 2, t, f);
    for (int i = 0; i < 2; i++) {
        type[2 + 2 * i] = hone_type_of(HONE_F32, 2, t, r[i]);
        type[3 + 2 * i] = hone_type_of(HONE_F32, 2, f, r[i]);
    }
    type[6] = hone_type_of(HONE_F32, 2, r[2], f);
    *nin = 7;
    *nout = 2;
}

static void grad_draw(uint64_t seed, int64_t rows, void *attrs,
                      hone_type *type, uint32_t *nin, uint32_t *nout)
{
    factors_draw(seed, rows, attrs, type + 1, nin, nout);
    type[0] = type[1];
    type[8] = hone_type_of(HONE_F32, 2, type[0].dim[0], type[7].dim[0]);
    *nin = 9;
    *nout = 7;
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_swiglu_factors_attrs, gate_scale, 1, -ANY, ANY,
                  "factor on the update of gate"),
    HONE_OPT_REAL(hone_swiglu_factors_attrs, up_scale, 1, -ANY, ANY,
                  "factor on the update of up"),
    HONE_OPT_END
};

static const hone_bind binds[] = { { "gate_scale", 0, "scale" },
                                   { "up_scale", 2, "scale" },
                                   { NULL, 0, NULL } };

/* Products of rounded factors: sums of thousands of them are that far off. */
#define TOLERANCE 0x1p-8

OP(swiglu_factors, "swiglu of sums with low-rank products, and one of it",
   options, sizeof(hone_swiglu_factors_attrs),
   .in = OPERANDS({ "gate", HONE_ROWS }, { "up", HONE_ROWS },
                  { "gate_u", HONE_ROWS }, { "gate_w", 0 },
                  { "up_u", HONE_ROWS }, { "up_w", 0 }, { "w", 0 }),
   .out = OPERANDS({ "y", HONE_ROWS }, { "u", HONE_ROWS }),
   .shape = factors_shape, .backward = factors_backward,
   .decompose = factors_decompose, .binds = binds, .flops = factors_flops,
   .tolerance = TOLERANCE, .draw = factors_draw);

OP(swiglu_factors_grad, "all gradients of swiglu_factors", options,
   sizeof(hone_swiglu_factors_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "gate", HONE_ROWS },
                  { "up", HONE_ROWS }, { "gate_u", HONE_ROWS },
                  { "gate_w", 0 }, { "up_u", HONE_ROWS }, { "up_w", 0 },
                  { "w", 0 }, { "du", HONE_ROWS }),
   .out = OPERANDS({ "dgate", HONE_ROWS | HONE_INPLACE(1) },
                   { "dup", HONE_ROWS | HONE_INPLACE(2) },
                   { "dgate_u", HONE_ROWS },
                   { "dgate_w", HONE_SUMMED | HONE_CAN_ADD },
                   { "dup_u", HONE_ROWS },
                   { "dup_w", HONE_SUMMED | HONE_CAN_ADD },
                   { "dw", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = grad_shape, .flops = grad_flops, .tolerance = TOLERANCE,
   .draw = grad_draw);

EXPORT_OPS(swiglu_factors, &swiglu_factors_component,
           &swiglu_factors_grad_component);

#endif
