/* SPDX-License-Identifier: MIT
 *
 * dora.c -- DoRA (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation",
 * 2024): of a linear with w [O,I] and the factors a [r,I] and b [O,r] the
 * norms of the rows of w + scale * b a, and the linear's result with each
 * column brought from that norm to a magnitude that is trained. The norm counts
 * as a constant of the backward pass, as section 4.3 of the paper says and PEFT
 * does. A row of norm 0 gives 0.
 */
#include "op.h"

REF(dora_norm)
{
    view a = input(c, p, 0), w = input(c, p, 1), b = input(c, p, 2);
    view n = output(c, p, 0);
    const real scale = (real)((const hone_linear_attrs *)c->attrs)->scale;
    int64_t o, i, k;

    for (o = 0; o < w.rows; o++) {
        real squares = 0;
        for (i = 0; i < w.cols; i++) {
            real x = 0;
            for (k = 0; k < a.rows; k++)
                x += get(b, o * a.rows + k) * get(a, k * w.cols + i);
            x = get(w, o * w.cols + i) + scale * x;
            squares += x * x;
        }
        put(n, o, sqrt(squares));
    }
}

static real ratio(real x, real by)
{
    return by != 0 ? x / by : 0;
}

REF(dora)
{
    view x = input(c, p, 0), m = input(c, p, 1), n = input(c, p, 2);
    view bias = input(c, p, c->nin - 1), y = output(c, p, 0);
    const int biased = c->nin > 3 && has(c, 3);
    int64_t t, o;

    for (t = 0; t < x.rows; t++)
        for (o = 0; o < x.cols; o++)
            put(y, t * x.cols + o,
                get(x, t * x.cols + o) * ratio(get(m, o), get(n, o)) +
                    (biased ? get(bias, o) : 0));
}

/* dm is the sum over rows of dy x / n, which is that of dy y / m. */
REF(dora_grad)
{
    view dy = input(c, p, 0), v = input(c, p, 1);
    view m = input(c, p, 2), n = input(c, p, 3);
    view dx = output(c, p, 0), dm = output(c, p, 1);
    const int is_x = ((const hone_dora_attrs *)c->attrs)->input;
    int64_t t, o;

    for (o = 0; o < v.cols; o++) {
        real by = get(is_x ? n : m, o), sum = 0;
        for (t = 0; t < v.rows; t++) {
            int64_t at = t * v.cols + o;
            real d = get(dy, at);
            sum += d * get(v, at);
            put(dx, at, d * ratio(get(m, o), get(n, o)));
        }
        put(dm, o, ratio(sum, by));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status norm_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_type *t = c->type;

    hone_try(want_rank(c, 0, "a", 2, err));
    hone_try(want_rank(c, 1, "w", 2, err));
    hone_try(want_rank(c, 2, "b", 2, err));
    hone_try(want_dim(c, 0, "a", 1, t[1].dim[1], err));
    hone_try(want_dim(c, 2, "b", 0, t[1].dim[0], err));
    hone_try(want_dim(c, 2, "b", 1, t[0].dim[0], err));
    out[0] = hone_type_of(stat_storage(c), 1, t[1].dim[0], 1);
    return HONE_OK;
}

/* Operand I is a vector, a number for each column of X. */
static hone_status want_column(const hone_call *c, uint32_t i, const char *name,
                               int64_t columns, hone_err *err)
{
    hone_try(want_rank(c, i, name, 1, err));
    return want_dim(c, i, name, 0, columns, err);
}

static hone_status dora_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const int64_t columns = c->type[0].dim[1];

    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_column(c, 1, "m", columns, err));
    hone_try(want_column(c, 2, "n", columns, err));
    if (c->nin > 3 && has(c, 3))
        hone_try(want_column(c, 3, "bias", columns, err));
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const int64_t columns = c->type[0].dim[1];

    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_rank(c, 1, "v", 2, err));
    hone_try(want_same(c, 0, "dy", 1, "v", err));
    hone_try(want_column(c, 2, "m", columns, err));
    hone_try(want_column(c, 3, "n", columns, err));
    out[0] = activation(c, &c->type[0]);
    out[1] = hone_type_of(stat_storage(c), 1, columns, 1);
    return HONE_OK;
}

/* From y, which others mostly keep as well; but a bias would have to be taken
 * from it, and with that go the digits: then from x. */
static hone_status dora_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    const int biased = r->nin > 3 && r->in[3] != HONE_NONE;
    const hone_attr input = { "input", biased, NULL };
    const hone_id in[] = { r->dout[0], biased ? r->in[0] : r->out[0], r->in[1],
                           r->in[2] };
    hone_id out[2] = { HONE_NONE, HONE_NONE };

    if (biased && r->need[3])
        hone_try(emit(b, "sum_rows", NO_ATTRS, IDS(r->dout[0]), &r->din[3],
                      err));
    if (!r->need[0] && !r->need[1])
        return HONE_OK;
    hone_try(b->emit(b, "dora_grad", NULL, &input, 1, in, 4, out, 2, err));
    r->din[0] = r->need[0] ? out[0] : HONE_NONE;
    r->din[1] = r->need[1] ? out[1] : HONE_NONE;
    return HONE_OK;
}

/* Magnitudes of either sign and norms, none near 0, from operand I on. */
static void magnitudes(const hone_call *c, const hone_ptr *p, uint32_t i,
                       uint64_t seed)
{
    view m = input(c, p, i), n = input(c, p, i + 1);
    int64_t k;

    for (k = 0; k < m.count; k++) {
        set(m, k, (real)(draw(&seed, 2) ? 1 : -1) *
                      (real)(32 + draw(&seed, 32)) / 32);
        set(n, k, (real)(32 + draw(&seed, 64)) / 32);
    }
}

static void dora_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    magnitudes(c, p, 1, seed);
    if (seed % 4 == 0) /* a row of norm 0 */
        set(input(c, p, 2), 0, 0);
}

static void grad_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    magnitudes(c, p, 2, seed);
    if (seed % 4 == 0) {
        set(input(c, p, 2), 0, 0);
        set(input(c, p, 3), 0, 0);
    }
}

static void norm_draw(uint64_t seed, int64_t rows, void *attrs,
                      hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t i = rows ? 4096 : 1 + draw(&seed, 700);
    int64_t o = rows ? 4096 : 1 + draw(&seed, 90);
    int64_t r = rows ? 16 : 1 + draw(&seed, 40);

    if (!rows && draw(&seed, 2))
        i = 16 * (1 + i / 16);
    if (!rows && draw(&seed, 8) == 0)
        r = 100 + draw(&seed, 100);
    ((hone_linear_attrs *)attrs)->scale = draw(&seed, 2) ? 0.75 : 1;
    type[0] = hone_type_of(HONE_F32, 2, r, i);
    type[1] = hone_type_of(HONE_F32, 2, o, i);
    type[2] = hone_type_of(HONE_F32, 2, o, r);
    *nin = 3;
    *nout = 1;
}

static void draw_both(uint64_t *seed, int64_t rows, int64_t *t, int64_t *o)
{
    *t = rows ? rows : 1 + draw(seed, 150);
    *o = rows ? 4096 : 1 + draw(seed, 300);
    if (!rows && draw(seed, 2))
        *o = 8 * (1 + *o / 8);
}

static void dora_draw(uint64_t seed, int64_t rows, void *attrs,
                      hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t t, o;

    (void)attrs;
    draw_both(&seed, rows, &t, &o);
    *nin = rows ? 3 : 3 + (uint32_t)draw(&seed, 2);
    *nout = 1;
    type[0] = hone_type_of(HONE_F32, 2, t, o);
    type[1] = type[2] = type[3] = hone_type_of(HONE_F32, 1, o, 1);
}

static void grad_draw(uint64_t seed, int64_t rows, void *attrs,
                      hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t t, o;

    draw_both(&seed, rows, &t, &o);
    ((hone_dora_attrs *)attrs)->input = (int)draw(&seed, 2);
    *nin = 4;
    *nout = 2;
    type[0] = type[1] = hone_type_of(HONE_F32, 2, t, o);
    type[2] = type[3] = hone_type_of(HONE_F32, 1, o, 1);
}

static double norm_flops(const hone_call *c)
{
    return 2.0 * (double)c->type[0].dim[0] * (double)hone_count(&c->type[1]);
}

static double dora_flops(const hone_call *c)
{
    return 2.0 * (double)hone_count(&c->type[0]);
}

static const hone_option norm_options[] = {
    HONE_OPT_REAL(hone_linear_attrs, scale, 1, -ANY, ANY,
                  "factor on the product"),
    HONE_OPT_END
};
static const hone_option grad_options[] = {
    HONE_OPT_BOOL(hone_dora_attrs, input, 0, "v is x, not y"),
    HONE_OPT_END
};

OP(dora_norm, "norms of the rows of w + scale * b a", norm_options,
   sizeof(hone_linear_attrs),
   .in = OPERANDS({ "a", HONE_NO_GRAD }, { "w", HONE_NO_GRAD },
                  { "b", HONE_NO_GRAD }),
   .out = OPERANDS({ "n", 0 }),
   .shape = norm_shape, .flops = norm_flops, .draw = norm_draw);

OP(dora, "x * m / n + bias, column by column", NULL, 0,
   .in = OPERANDS({ "x", HONE_ROWS }, { "m", 0 }, { "n", HONE_NO_GRAD },
                  { "bias", HONE_OPTIONAL }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = dora_shape, .backward = dora_backward, .flops = dora_flops,
   .draw = dora_draw, .sample = dora_sample);

OP(dora_grad, "gradients of x and m of dora, from y or x", grad_options,
   sizeof(hone_dora_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS }, { "v", HONE_ROWS }, { "m", 0 },
                  { "n", 0 }),
   .out = OPERANDS({ "dx", HONE_ROWS | HONE_INPLACE(0) },
                   { "dm", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = grad_shape, .flops = dora_flops, .draw = grad_draw,
   .sample = grad_sample);

EXPORT_OPS(dora, &dora_norm_component, &dora_component, &dora_grad_component);

#endif
