/* SPDX-License-Identifier: MIT
 *
 * adagrad.c -- an optimizer from outside: Adagrad (Duchi et al. 2011). It
 * declares a state and emits one element-wise program; hone places the state,
 * checkpoints it, and runs the program on whatever device there is.
 */
#include <hone/plugin.h>
#include <stdlib.h>

struct adagrad {
    double lr, eps;
};

static const hone_option options[] = {
    HONE_OPT_REAL(struct adagrad, lr, 1e-2, 0, 10, "learning rate at its peak"),
    HONE_OPT_REAL(struct adagrad, eps, 1e-10, 0, 1, "added to the denominator"),
    HONE_OPT_END
};

/* One state: the sum of the squares of all gradients, as the parameter is. */
static hone_status states(const void *config, const char *name,
                          const hone_type *type, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    (void)config;
    (void)name;
    (void)err;
    out[0].name = "sum";
    out[0].type = *type;
    out[0].type.storage = HONE_F32;
    *count = 1;
    return HONE_OK;
}

/* For all tensors at once. Scalars: s0 is 0 where the step must leave all as
 * it is (guard), s1 the rate, s2 the factor on gradients that clips; x0 is the
 * gradient, y0 the parameter, y1 the sum. docs/ops.md has the language. */
static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    const struct adagrad *c = config;
    char program[128];
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", 3, NULL },
                                { "reads", 1, NULL },
                                { "writes", 2, NULL },
                                { "guard", 1, NULL } };
    hone_id *in = malloc((3 + 3 * (size_t)g->count) * sizeof *in);
    hone_id *out = in + 3 + g->count;
    hone_status status;

    if (!in)
        return hone_fail(err, HONE_ENOMEM, "hone.adagrad: out of memory");
    (void)snprintf(program, sizeof program,
                   "x0 s2 * =r0 y1 r0 dup * + =y1 "
                   "y0 s1 r0 * y1 sqrt %.17g + / - =y0", c->eps);
    in[0] = g->ok;
    in[1] = g->lr;
    in[2] = g->clip;
    for (uint32_t i = 0; i < g->count; i++) {
        in[3 + i] = g->grad[i];
        out[2 * i] = g->param[i];
        out[2 * i + 1] = g->state[0][i];
    }
    status = b->emit(b, "map", "adagrad", attrs, 5, in, 3 + g->count, out,
                     2 * g->count, err);
    free(in);
    return status;
}

static const hone_optimizer optimizer = { sizeof optimizer, states, update };

static const hone_component adagrad = {
    .size = sizeof adagrad, .kind = HONE_KIND_OPTIMIZER, .name = "adagrad",
    .help = "rates by the sum of squared gradients", .options = options,
    .config_size = sizeof(struct adagrad), .ops = &optimizer
};

HONE_PLUGIN("adagrad", "1.0", &adagrad)
