/* SPDX-License-Identifier: MIT
 *
 * adamw.c -- Adam with decoupled weight decay (Loshchilov and Hutter 2019).
 */
#include "adam.h"

typedef struct adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int state;
} adamw;

enum { STATE_FP32, STATE_BF16, STATE_INT8 };
enum { INT8_LEAST = 4096 }; /* elements; smaller tensors keep fp32 states, for
                               they cost nothing (as in bitsandbytes) */
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

/* How state I of a parameter is held; the mean square is never negative. */
static hone_storage storage(const adamw *c, const hone_type *param, int i)
{
    if (c->state == STATE_INT8 && hone_count(param) >= INT8_LEAST)
        return i == 0 ? HONE_INT8 : HONE_UINT8;
    if (c->state == STATE_BF16)
        return HONE_BF16;
    return param->storage == HONE_F64 ? HONE_F64 : HONE_F32;
}

static hone_status states(const void *config, const char *name,
                          const hone_type *param, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    int i;

    (void)name;
    (void)err;
    out[0].name = "m";
    out[1].name = "v";
    for (i = 0; i < 2; i++) {
        out[i].type = *param;
        out[i].type.storage = storage(config, param, i);
    }
    *count = 2;
    return HONE_OK;
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    const adamw *c = config;
    const adam arithmetic = { .rate = 1, .beta1 = c->beta1, .beta2 = c->beta2,
                              .eps = c->eps, .decay = c->weight_decay };
    uint8_t *kind = malloc(g->count + 1);
    hone_status status;
    uint32_t i;

    if (!kind)
        return hone_fail(err, HONE_ENOMEM, "hone.adamw: out of memory");
    for (i = 0; i < g->count; i++)
        kind[i] = g->type[i].rank >= 2 ? ADAM_MATRIX : ADAM_VECTOR;
    status = adam_update(&arithmetic, b, g, kind, err);
    free(kind);
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
