/* SPDX-License-Identifier: MIT
 *
 * adam.h -- Adam's arithmetic as programs of `map`, in the order of
 * torch.optim.AdamW: for adamw.c, and for muon.c, which leaves to it what is
 * no hidden matrix. One program for the two scalars of the bias correction,
 * one for all tensors, which reads and writes each number once.
 */
#ifndef HONE_ADAM_H
#define HONE_ADAM_H

#include "hone/plugin.h"

#include <math.h>
#include <stdlib.h>

typedef struct adam {
    double rate; /* factor on the rate of the step */
    double beta1, beta2, eps;
    double decay; /* of matrices */
} adam;

enum { ADAM_LEAVE, ADAM_MATRIX, ADAM_VECTOR }; /* kinds of tensors */
#define ADAM_SCALARS 5

/* The log of a decay; that of 0 as a number whose power is 0 from step 1. */
static inline double adam_log(double beta)
{
    return beta > 0 ? log(beta) : -1e4;
}

/* What all tensors share: ok, lr, clip, rate * lr / (1 - beta1^t) and
 * sqrt(1 - beta2^t). */
static inline hone_status adam_scalars(const adam *c, hone_builder *b,
                                       const hone_group *g,
                                       hone_id out[ADAM_SCALARS], hone_err *err)
{
    char program[256];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", 2, NULL },
                                { "writes", 2, NULL } };
    const hone_id in[] = { g->lr, g->t };

    (void)snprintf(program, sizeof program,
                   "s0 %.17g * s1 %.17g * expm1 neg / =y0 "
                   "s1 %.17g * expm1 neg sqrt =y1",
                   c->rate, adam_log(c->beta1), adam_log(c->beta2));
    out[0] = g->ok;
    out[1] = g->lr;
    out[2] = g->clip;
    out[3] = b->temp(b, b->type(b, g->lr));
    out[4] = b->temp(b, b->type(b, g->lr));
    return b->emit(b, "map", "adam.corrections", attrs, 3, in, 2, out + 3, 2,
                   err);
}

/* x0 gradient, y0 parameter, y1 mean, y2 mean square. */
static inline void adam_program(const adam *c, double decay, char *to,
                                size_t bytes)
{
    int at = 0;

    if (decay != 0)
        at = snprintf(to, bytes, "y0 s1 %.17g * y0 * - =y0 ", c->rate * decay);
    (void)snprintf(to + at, bytes - (size_t)at,
                   "x0 s2 * =r0 "
                   "y1 r0 %.17g lerp =y1 "
                   "y2 %.17g * r0 %.17g * r0 * + =y2 "
                   "y0 s3 y1 * y2 sqrt s4 / %.17g + / - =y0",
                   1 - c->beta1, c->beta2, 1 - c->beta2, c->eps);
}

/* The tensors whose kind is WHICH, in one map. LIST has room for
 * ADAM_SCALARS + 4 * count. */
static inline hone_status adam_some(const adam *c, hone_builder *b,
                                    const hone_group *g,
                                    const hone_id scalars[ADAM_SCALARS],
                                    const uint8_t *kind, uint8_t which,
                                    hone_id *list, hone_err *err)
{
    char program[384];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", ADAM_SCALARS, NULL },
                                { "reads", 1, NULL },
                                { "writes", 3, NULL },
                                { "guard", 1, NULL } };
    hone_id *in = list, *out = list + ADAM_SCALARS + g->count;
    uint32_t i, n = 0;

    for (i = 0; i < ADAM_SCALARS; i++)
        in[i] = scalars[i];
    for (i = 0; i < g->count; i++) {
        if (kind[i] != which)
            continue;
        in[ADAM_SCALARS + n] = g->grad[i];
        out[3 * n] = g->param[i];
        out[3 * n + 1] = g->state[0][i];
        out[3 * n + 2] = g->state[1][i];
        n++;
    }
    if (n == 0)
        return HONE_OK;
    adam_program(c, which == ADAM_MATRIX ? c->decay : 0, program,
                 sizeof program);
    return b->emit(b, "map", which == ADAM_MATRIX ? "adam.matrices"
                                                  : "adam.vectors",
                   attrs, 5, in, ADAM_SCALARS + n, out, 3 * n, err);
}

/* KIND of each tensor of the group; state 0 is the mean, 1 the mean square. */
static inline hone_status adam_update(const adam *c, hone_builder *b,
                                      const hone_group *g, const uint8_t *kind,
                                      hone_err *err)
{
    hone_id scalars[ADAM_SCALARS];
    hone_id *list = malloc((ADAM_SCALARS + 4 * (size_t)g->count) *
                           sizeof *list);
    hone_status status;

    if (!list)
        return hone_fail(err, HONE_ENOMEM, "hone.adamw: out of memory");
    status = adam_scalars(c, b, g, scalars, err);
    if (status == HONE_OK)
        status = adam_some(c, b, g, scalars, kind, ADAM_MATRIX, list, err);
    if (status == HONE_OK)
        status = adam_some(c, b, g, scalars, kind, ADAM_VECTOR, list, err);
    free(list);
    return status;
}

#endif
