/* SPDX-License-Identifier: MIT
 *
 * dropout.c -- keeps an element with probability 1 - p and scales it by
 * 1 / (1 - p). The choice is a function of (seed, step, key, row of the global
 * batch, position, feature): the gradient is the op itself, and recomputing
 * or laying a step out otherwise changes nothing.
 */
#include "op.h"
#include "philox.h"

REF(dropout)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    const hone_dropout_attrs *a = c->attrs;
    const int32_t *position = ints(p, 1), *row = ints(p, 2);
    const int64_t *rng = (const int64_t *)p[3].part[0];
    hone_philox philox = hone_philox_open(rng[0], rng[1], a->key);
    const uint32_t drop = hone_drop_below(a->p);
    const real keep = (real)(1 / (1 - a->p));
    int64_t t, h;

    for (t = 0; t < x.rows; t++) {
        uint32_t r[4] = { 0 };
        for (h = 0; h < x.cols; h++) {
            int64_t i = t * x.cols + h;
            if (h % 4 == 0)
                hone_philox_draw(philox, (uint32_t)row[t],
                                 (uint32_t)position[t], (uint32_t)(h / 4), r);
            put(y, i, r[h % 4] < drop ? 0 : get(x, i) * keep);
        }
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_ints(c, 1, "positions", c->type[0].dim[0], err));
    hone_try(want_ints(c, 2, "rows", c->type[0].dim[0], err));
    hone_try(want_rank(c, 3, "rng", 1, err));
    if (c->type[3].storage != HONE_I64 || c->type[3].dim[0] != 2)
        return hone_fail(err, HONE_EINVAL, "%s: rng must be i64[2]", c->op);
    out[0] = activation(c, &c->type[0]);
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_dropout_attrs *a = r->attrs;
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "dropout",
                ATTRS({ "p", a->p, NULL }, { "key", (double)a->key, NULL }),
                IDS(r->dout[0], r->in[1], r->in[2], r->in[3]), &r->din[0],
                err);
}

static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    int64_t *rng = (int64_t *)p[3].part[0];
    draw_ints(c, p, 1, 0, 2048, seed);
    draw_ints(c, p, 2, 0, 64, seed + 1);
    rng[0] = draw(&seed, 1 << 30);
    rng[1] = draw(&seed, 1000);
}

static const hone_option options[] = {
    HONE_OPT_REAL(hone_dropout_attrs, p, 0, 0, 0.999, "share that is dropped"),
    HONE_OPT_INT(hone_dropout_attrs, key, 0, 0, 9007199254740992.0,
                 "which dropout of the graph this is"),
    HONE_OPT_END
};

OP(dropout, "drops elements at random", options, sizeof(hone_dropout_attrs),
   .in = OPERANDS({ "x", HONE_ROWS },
                  { "positions", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD },
                  { "rows", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD },
                  { "rng", HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_ROWS | HONE_INPLACE(0) }),
   .shape = shape, .backward = backward, .sample = sample);

EXPORT_OPS(dropout, &dropout_component);

#endif
