/* SPDX-License-Identifier: MIT
 *
 * xent.c -- the loss: the sum of -log softmax(logits)[target] over rows with
 * a target. lse is log sum exp of a row, 0 for rows without a target. What
 * the sum is divided by comes in with dloss: 1 / targets of the whole step.
 * xent_slopes is both in one, where dloss is known as early as that.
 */
#include "op.h"

REF(xent)
{
    view logits = input(c, p, 0), lse = output(c, p, 1);
    view loss = sum_into(output(c, p, 0));
    const int32_t *target = ints(p, 1);
    int64_t t, v, n = logits.cols;

    for (t = 0; t < logits.rows; t++) {
        real max, sum = 0;
        if (target[t] < 0) {
            put(lse, t, 0);
            continue;
        }
        max = get(logits, t * n);
        for (v = 1; v < n; v++)
            max = fmax(max, get(logits, t * n + v));
        for (v = 0; v < n; v++)
            sum += exp(get(logits, t * n + v) - max);
        put(lse, t, max + log(sum));
        put(loss, 0, max + log(sum) - get(logits, t * n + target[t]));
    }
}

REF(xent_grad)
{
    view dloss = input(c, p, 0), logits = input(c, p, 1), lse = input(c, p, 2);
    view dlogits = output(c, p, 0);
    const int32_t *target = ints(p, 3);
    int64_t t, v, n = logits.cols;

    for (t = 0; t < logits.rows; t++)
        for (v = 0; v < n; v++) {
            real d = 0;
            if (target[t] >= 0)
                d = (exp(get(logits, t * n + v) - get(lse, t)) -
                     (real)(v == target[t])) * get(dloss, 0);
            put(dlogits, t * n + v, d);
        }
}

/* Of a row all is read before its gradient is written, which may lie there. */
REF(xent_slopes)
{
    view logits = input(c, p, 0), dloss = input(c, p, 1);
    view loss = sum_into(output(c, p, 0)), dlogits = output(c, p, 1);
    const int32_t *target = ints(p, 2);
    int64_t t, v, n = logits.cols;

    for (t = 0; t < logits.rows; t++) {
        real max = get(logits, t * n), sum = 0;
        for (v = 1; v < n; v++)
            max = fmax(max, get(logits, t * n + v));
        for (v = 0; v < n; v++)
            sum += exp(get(logits, t * n + v) - max);
        max += log(sum);
        if (target[t] >= 0)
            put(loss, 0, max - get(logits, t * n + target[t]));
        for (v = 0; v < n; v++)
            put(dlogits, t * n + v,
                target[t] < 0 ? 0
                              : (exp(get(logits, t * n + v) - max) -
                                 (real)(v == target[t])) * get(dloss, 0));
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status xent_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "logits", 2, err));
    hone_try(want_ints(c, 1, "targets", c->type[0].dim[0], err));
    out[0] = hone_type_of(stat_storage(c), 1, 1, 1);
    out[1] = hone_type_of(stat_storage(c), 1, c->type[0].dim[0], 1);
    return HONE_OK;
}

static hone_status xent_backward(hone_builder *b, const hone_rule *r,
                                 hone_err *err)
{
    if (r->dout[1] != HONE_NONE)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: xent has no gradient through lse", r->name);
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "xent_grad", NO_ATTRS,
                IDS(r->dout[0], r->in[0], r->out[1], r->in[1]), &r->din[0],
                err);
}

static void xent_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    draw_ints(c, p, 1, -1, c->type[0].dim[1], seed);
    ((int32_t *)p[1].part[0])[0] = -1; /* a small V may draw none */
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "dloss", 1, err));
    hone_try(want_dim(c, 0, "dloss", 0, 1, err));
    hone_try(want_rank(c, 1, "logits", 2, err));
    hone_try(want_rank(c, 2, "lse", 1, err));
    hone_try(want_dim(c, 2, "lse", 0, c->type[1].dim[0], err));
    hone_try(want_ints(c, 3, "targets", c->type[1].dim[0], err));
    out[0] = activation(c, &c->type[1]);
    return HONE_OK;
}

REF_DECLARE(xent);

/* The lse of the drawn logits, from the op itself. */
static void grad_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    double loss = 0;
    hone_type type[4] = { c->type[1], c->type[3], c->type[2], c->type[2] };
    const uint8_t mode[4] = { HONE_READ, HONE_READ, HONE_WRITE, HONE_WRITE };
    hone_ptr ptr[4] = { p[1], p[3], { { &loss } }, p[2] };
    hone_call forward = { sizeof forward, "xent", NULL, 2, 2,
                          type, mode, c->compute, NULL };

    type[2] = hone_type_of(c->type[2].storage, 1, 1, 1);
    draw_ints(c, p, 3, -1, c->type[1].dim[1], seed);
    if (c->type[2].storage == HONE_F64)
        hone_xent_ref_f64(&forward, ptr);
    else
        hone_xent_ref_f32(&forward, ptr);
}

static hone_status slopes_shape(const hone_call *c, hone_type *out,
                                hone_err *err)
{
    hone_try(want_rank(c, 0, "logits", 2, err));
    hone_try(want_rank(c, 1, "dloss", 1, err));
    hone_try(want_dim(c, 1, "dloss", 0, 1, err));
    hone_try(want_ints(c, 2, "targets", c->type[0].dim[0], err));
    out[0] = hone_type_of(stat_storage(c), 1, 1, 1);
    out[1] = activation(c, &c->type[0]);
    return HONE_OK;
}

/* The gradient is there already; DLOSS is what flows into the loss. */
static hone_status slopes_backward(hone_builder *b, const hone_rule *r,
                                   hone_err *err)
{
    (void)b;
    if (r->dout[0] != r->in[1])
        return hone_fail(err, HONE_EINVAL, "%s: the loss has another gradient "
                         "than was said", r->name);
    r->din[0] = r->out[1];
    return HONE_OK;
}

static void slopes_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    draw_ints(c, p, 2, -1, c->type[0].dim[1], seed);
    ((int32_t *)p[2].part[0])[0] = -1;
}

/* As many columns as one block takes, as two take, as four. */
static void slopes_draw(uint64_t seed, int64_t rows, void *attrs,
                        hone_type *type, uint32_t *nin, uint32_t *nout)
{
    int64_t t = rows ? 1024 : 1 + draw(&seed, 12);
    int64_t v = rows ? 128256 : 8 * (1 + draw(&seed, 1 << (9 + draw(&seed, 6))));

    (void)attrs;
    type[0] = hone_type_of(HONE_F32, 2, t, v);
    type[1] = hone_type_of(HONE_F32, 1, 1, 1);
    type[2] = hone_type_of(HONE_I32, 1, t, 1);
    *nin = 3;
    *nout = 2;
}

static double slopes_flops(const hone_call *c)
{
    return 6.0 * (double)hone_count(&c->type[0]);
}

static double xent_flops(const hone_call *c)
{
    return 3.0 * (double)hone_count(&c->type[0]);
}

static double grad_flops(const hone_call *c)
{
    return 3.0 * (double)hone_count(&c->type[1]);
}

OP(xent, "cross-entropy summed over target tokens", NULL, 0,
   .in = OPERANDS({ "logits", HONE_ROWS },
                  { "targets", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "loss", HONE_SUMMED | HONE_CAN_ADD },
                   { "lse", HONE_ROWS }),
   .shape = xent_shape, .backward = xent_backward, .flops = xent_flops,
   .sample = xent_sample);

OP(xent_grad, "gradient of xent", NULL, 0,
   .in = OPERANDS({ "dloss", HONE_IMPLICIT }, { "logits", HONE_ROWS },
                  { "lse", HONE_ROWS },
                  { "targets", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "dlogits", HONE_ROWS | HONE_INPLACE(1) }),
   .shape = grad_shape, .flops = grad_flops, .sample = grad_sample);

OP(xent_slopes, "xent and its gradient", NULL, 0,
   .in = OPERANDS({ "logits", HONE_ROWS }, { "dloss", HONE_NO_GRAD },
                  { "targets", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "loss", HONE_SUMMED | HONE_CAN_ADD },
                   { "dlogits", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = slopes_shape, .backward = slopes_backward, .flops = slopes_flops,
   .sample = slopes_sample, .draw = slopes_draw);

EXPORT_OPS(xent, &xent_component, &xent_grad_component,
           &xent_slopes_component);

#endif
