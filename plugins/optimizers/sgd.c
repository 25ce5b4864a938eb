/* SPDX-License-Identifier: MIT
 *
 * sgd.c -- gradient descent with momentum in the order of arithmetic of
 * torch.optim.SGD with dampening 0: weight decay is part of the gradient and
 * so of the momentum. One element-wise program for the tensors that decay, one
 * for the others; without momentum there is no state.
 */
#include "hone/plugin.h"

#include <stdlib.h>

typedef struct sgd {
    double lr, momentum, weight_decay;
    int nesterov;
} sgd;

static const hone_option options[] = {
    HONE_OPT_REAL(sgd, lr, 1e-2, 0, 10, "learning rate at its peak"),
    HONE_OPT_REAL(sgd, momentum, 0, 0, 0.9999999,
                  "share of the last update's direction that is kept"),
    HONE_OPT_BOOL(sgd, nesterov, 0, "look one step of the momentum ahead"),
    HONE_OPT_REAL(sgd, weight_decay, 0, 0, 1000,
                  "decay of tensors of two dimensions and more"),
    HONE_OPT_END
};

static hone_status states(const void *config, const char *name,
                          const hone_type *param, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    const sgd *c = config;

    (void)name;
    if (c->nesterov && c->momentum == 0)
        return hone_fail(err, HONE_EINVAL,
                         "hone.sgd: nesterov = true needs a momentum above 0, "
                         "such as momentum = 0.9");
    *count = c->momentum > 0;
    if (*count) {
        out[0].name = "m";
        out[0].type = *param;
        out[0].type.storage = param->storage == HONE_F64 ? HONE_F64 : HONE_F32;
    }
    return HONE_OK;
}

#define SCALARS 3

/* Scalars ok, lr, clip; x0 gradient, y0 parameter, y1 momentum. */
static void write_program(const sgd *c, double decay, char *to, size_t bytes)
{
    int at = snprintf(to, bytes, "x0 s2 * ");

    if (decay != 0)
        at += snprintf(to + at, bytes - (size_t)at, "%.17g y0 * + ", decay);
    if (c->momentum > 0)
        at += snprintf(to + at, bytes - (size_t)at,
                       c->nesterov ? "dup %.17g y1 * + =y1 %.17g y1 * + "
                                   : "%.17g y1 * + =y1 y1 ",
                       c->momentum, c->momentum);
    (void)snprintf(to + at, bytes - (size_t)at, "s1 * y0 swap - =y0");
}

/* The update of the tensors of two dimensions and more (MANY), or of the
 * others. LIST has room for SCALARS + 3 * count. */
static hone_status update_some(const sgd *c, hone_builder *b,
                               const hone_group *g, int many, hone_id *list,
                               hone_err *err)
{
    char program[256];
    const uint32_t writes = c->momentum > 0 ? 2 : 1;
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", SCALARS, NULL },
                                { "reads", 1, NULL },
                                { "writes", writes, NULL },
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
        out[writes * n] = g->param[i];
        if (writes == 2)
            out[2 * n + 1] = g->state[0][i];
        n++;
    }
    if (n == 0)
        return HONE_OK;
    write_program(c, many ? c->weight_decay : 0, program, sizeof program);
    return b->emit(b, "map", many ? "sgd.matrices" : "sgd.vectors", attrs, 5,
                   in, SCALARS + n, out, writes * n, err);
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    hone_id *list = malloc((SCALARS + 3 * (size_t)g->count) * sizeof *list);
    hone_status status;

    if (!list)
        return hone_fail(err, HONE_ENOMEM, "hone.sgd: out of memory");
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
    .name = "sgd",
    .help = "gradient descent, with momentum",
    .options = options,
    .config_size = sizeof(sgd),
    .ops = &ops
};

HONE_PLUGIN("sgd", "1.0", &component)
