/* SPDX-License-Identifier: MIT
 *
 * lion.c -- Lion (Chen et al. 2023, arXiv:2302.06675): a step of one size, the
 * sign of a mean of momentum and gradient, and decoupled weight decay. One
 * state, and one element-wise program for the tensors that decay, one for the
 * others.
 */
#include "hone/plugin.h"

#include <stdlib.h>

typedef struct lion {
    double lr, beta1, beta2, weight_decay;
    int state;
} lion;

enum { STATE_FP32, STATE_BF16 };
static const char *const state_names[] = { "fp32", "bf16", NULL };

static const hone_option options[] = {
    HONE_OPT_REAL(lion, lr, 1e-5, 0, 10,
                  "learning rate at its peak; 3 to 10 times below AdamW's"),
    HONE_OPT_REAL(lion, beta1, 0.9, 0, 0.9999999,
                  "share of the momentum in the direction of a step"),
    HONE_OPT_REAL(lion, beta2, 0.99, 0, 0.9999999, "decay of the momentum"),
    HONE_OPT_REAL(lion, weight_decay, 0, 0, 1000,
                  "decay of tensors of two dimensions and more"),
    HONE_OPT_ENUM(lion, state, "fp32", state_names, "how momentum is held"),
    HONE_OPT_END
};

static hone_status states(const void *config, const char *name,
                          const hone_type *param, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    const lion *c = config;

    (void)name;
    (void)err;
    out[0].name = "m";
    out[0].type = *param;
    out[0].type.storage = c->state == STATE_BF16       ? HONE_BF16
                          : param->storage == HONE_F64 ? HONE_F64
                                                       : HONE_F32;
    *count = 1;
    return HONE_OK;
}

#define SCALARS 3

/* Scalars ok, lr, clip; x0 gradient, y0 parameter, y1 momentum. */
static void write_program(const lion *c, double decay, char *to, size_t bytes)
{
    int at = 0;

    if (decay != 0)
        at = snprintf(to, bytes, "y0 s1 %.17g * y0 * - =y0 ", decay);
    (void)snprintf(to + at, bytes - (size_t)at,
                   "x0 s2 * =r0 "
                   "y0 s1 y1 r0 %.17g lerp sign * - =y0 "
                   "y1 r0 %.17g lerp =y1",
                   1 - c->beta1, 1 - c->beta2);
}

/* The update of the tensors of two dimensions and more (MANY), or of the
 * others. LIST has room for SCALARS + 3 * count. */
static hone_status update_some(const lion *c, hone_builder *b,
                               const hone_group *g, int many, hone_id *list,
                               hone_err *err)
{
    char program[256];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", SCALARS, NULL },
                                { "reads", 1, NULL },
                                { "writes", 2, NULL },
                                { "guard", 1, NULL } };
    hone_id *in = list, *out = list + SCALARS + g->count;
    uint32_t i, n = 0;

    in[0] = g->ok;
    in[1] = g->lr;
    in[2] = g->clip;
    for (i = 0; i < g->count; i++) {
        if ((g->type[i].rank >= 2) != many)
            continue;
        in[SCALARS + n] = g->grad[i];
        out[2 * n] = g->param[i];
        out[2 * n + 1] = g->state[0][i];
        n++;
    }
    if (n == 0)
        return HONE_OK;
    write_program(c, many ? c->weight_decay : 0, program, sizeof program);
    return b->emit(b, "map", many ? "lion.matrices" : "lion.vectors", attrs, 5,
                   in, SCALARS + n, out, 2 * n, err);
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    hone_id *list = malloc((SCALARS + 3 * (size_t)g->count) * sizeof *list);
    hone_status status;

    if (!list)
        return hone_fail(err, HONE_ENOMEM, "hone.lion: out of memory");
    status = update_some(config, b, g, 1, list, err);
    if (status == HONE_OK)
        status = update_some(config, b, g, 0, list, err);
    free(list);
    return status;
}

static const hone_optimizer ops = { sizeof ops, states, update };

static const hone_component component = {
    .size = sizeof component,
    .kind = HONE_KIND_OPTIMIZER,
    .name = "lion",
    .help = "the sign of the momentum, with decoupled weight decay",
    .options = options,
    .config_size = sizeof(lion),
    .ops = &ops
};

HONE_PLUGIN("lion", "1.0", &component)
