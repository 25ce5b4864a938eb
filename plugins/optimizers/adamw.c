/* SPDX-License-Identifier: MIT
 *
 * adamw.c -- Adam with decoupled weight decay (Loshchilov and Hutter 2019) in
 * the order of arithmetic of torch.optim.AdamW. Two element-wise programs:
 * one for the two scalars of the bias correction, one for all tensors, which
 * reads and writes each number once.
 */
#include "hone/plugin.h"

#include <math.h>
#include <stdlib.h>

typedef struct adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int state;
} adamw;

enum { STATE_FP32, STATE_BF16, STATE_INT8 };
static const char *const state_names[] = { "fp32", "bf16", "int8", NULL };

static const hone_option options[] = {
    HONE_OPT_REAL(adamw, lr, 1e-4, 0, 10, "learning rate at its peak"),
    HONE_OPT_REAL(adamw, beta1, 0.9, 0, 0.9999999, "decay of the mean"),
    HONE_OPT_REAL(adamw, beta2, 0.999, 0, 0.9999999,
                  "decay of the mean square"),
    HONE_OPT_REAL(adamw, eps, 1e-8, 0, 1, "added to the denominator"),
    HONE_OPT_REAL(adamw, weight_decay, 0, 0, 1000,
                  "decay of tensors of two dimensions and more"),
    HONE_OPT_ENUM(adamw, state, "fp32", state_names,
                  "how mean and mean square are held"),
    HONE_OPT_END
};

static hone_status states(const void *config, const hone_type *param,
                          hone_state_spec *out, uint32_t *count, hone_err *err)
{
    const adamw *c = config;
    int i;

    if (c->state == STATE_INT8)
        return hone_fail(err, HONE_EINVAL,
                         "hone.adamw: state = \"int8\" is not there yet; use "
                         "\"fp32\" or \"bf16\"");
    out[0].name = "m";
    out[1].name = "v";
    for (i = 0; i < 2; i++) {
        out[i].type = *param;
        out[i].type.storage = c->state == STATE_BF16 ? HONE_BF16
                              : param->storage == HONE_F64 ? HONE_F64
                                                           : HONE_F32;
    }
    *count = 2;
    return HONE_OK;
}

/* The log of a decay; that of 0 as a number whose power is 0 from step 1. */
static double log_of(double beta)
{
    return beta > 0 ? log(beta) : -1e4;
}

/* out[0] = lr / (1 - beta1^t), out[1] = sqrt(1 - beta2^t). */
static hone_status corrections(const adamw *c, hone_builder *b,
                               const hone_group *g, hone_id out[2],
                               hone_err *err)
{
    char program[256];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", 2, NULL },
                                { "writes", 2, NULL } };
    const hone_id in[] = { g->lr, g->t };

    (void)snprintf(program, sizeof program,
                   "s0 s1 %.17g * expm1 neg / =y0 "
                   "s1 %.17g * expm1 neg sqrt =y1",
                   log_of(c->beta1), log_of(c->beta2));
    out[0] = b->temp(b, b->type(b, g->lr));
    out[1] = b->temp(b, b->type(b, g->lr));
    return b->emit(b, "map", "adamw.corrections", attrs, 3, in, 2, out, 2,
                   err);
}

#define SCALARS 5

/* Scalars ok, lr, clip, lr / bias correction 1, sqrt(bias correction 2);
 * x0 gradient, y0 parameter, y1 mean, y2 mean square. */
static void write_program(const adamw *c, double decay, char *to, size_t bytes)
{
    int at = 0;

    if (decay != 0)
        at = snprintf(to, bytes, "y0 s1 %.17g * y0 * - =y0 ", decay);
    (void)snprintf(to + at, bytes - (size_t)at,
                   "x0 s2 * =r0 "
                   "y1 r0 %.17g lerp =y1 "
                   "y2 %.17g * r0 %.17g * r0 * + =y2 "
                   "y0 s3 y1 * y2 sqrt s4 / %.17g + / - =y0",
                   1 - c->beta1, c->beta2, 1 - c->beta2, c->eps);
}

/* The update of the tensors of two dimensions and more (MANY), or of the
 * others. LIST has room for SCALARS + 4 * count. */
static hone_status update_some(const adamw *c, hone_builder *b,
                               const hone_group *g, const hone_id *scalars,
                               int many, hone_id *list, hone_err *err)
{
    char program[384];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", SCALARS, NULL },
                                { "reads", 1, NULL },
                                { "writes", 3, NULL },
                                { "guard", 1, NULL } };
    hone_id *in = list, *out = list + SCALARS + g->count;
    uint32_t i, n = 0;

    for (i = 0; i < SCALARS; i++)
        in[i] = scalars[i];
    for (i = 0; i < g->count; i++) {
        if ((g->type[i].rank >= 2) != many)
            continue;
        in[SCALARS + n] = g->grad[i];
        out[3 * n] = g->param[i];
        out[3 * n + 1] = g->state[0][i];
        out[3 * n + 2] = g->state[1][i];
        n++;
    }
    if (n == 0)
        return HONE_OK;
    write_program(c, many ? c->weight_decay : 0, program, sizeof program);
    return b->emit(b, "map", many ? "adamw.matrices" : "adamw.vectors", attrs,
                   5, in, SCALARS + n, out, 3 * n, err);
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    const adamw *c = config;
    hone_id scalars[SCALARS] = { g->ok, g->lr, g->clip, HONE_NONE, HONE_NONE };
    hone_id *list = malloc((SCALARS + 4 * (size_t)g->count) * sizeof *list);
    hone_status status;

    if (!list)
        return hone_fail(err, HONE_ENOMEM, "hone.adamw: out of memory");
    status = corrections(c, b, g, scalars + 3, err);
    if (status == HONE_OK)
        status = update_some(c, b, g, scalars, 1, list, err);
    if (status == HONE_OK)
        status = update_some(c, b, g, scalars, 0, list, err);
    free(list);
    return status;
}

static const hone_optimizer ops = { sizeof ops, states, update };

static const hone_component component = {
    .size = sizeof component,
    .kind = HONE_KIND_OPTIMIZER,
    .name = "adamw",
    .help = "Adam with decoupled weight decay",
    .options = options,
    .config_size = sizeof(adamw),
    .ops = &ops
};

HONE_PLUGIN("adamw", "1.0", &component)
