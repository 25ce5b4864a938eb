/* SPDX-License-Identifier: MIT
 *
 * adafactor.c -- Adafactor (Shazeer and Stern 2018) as Transformers has it:
 * of the mean square of a matrix only the means of its rows and of its columns
 * are held, so that states cost next to nothing. No momentum.
 *
 * Means and the outer product are the ordinary ops: with a row of ones,
 * `linear` is 1 x^T, `linear_dx` is 1 x, and `linear_dw` of two rows their
 * outer product. The temporaries of one matrix lie where those of the one
 * before it lay.
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct adafactor {
    double lr, decay_rate, clip_threshold, eps, eps_scale, weight_decay;
    int scale_parameter;
} adafactor;

static const hone_option options[] = {
    HONE_OPT_REAL(adafactor, lr, 1e-3, 0, 10, "learning rate at its peak"),
    HONE_OPT_REAL(adafactor, decay_rate, -0.8, -10, -0.01,
                  "the mean square of step t takes in t^decay_rate of it"),
    HONE_OPT_REAL(adafactor, clip_threshold, 1, 1e-6, 1e6,
                  "the root mean square of an update is at most this"),
    HONE_OPT_REAL(adafactor, eps, 1e-30, 0, 1, "added to squared gradients"),
    HONE_OPT_REAL(adafactor, eps_scale, 1e-3, 0, 1,
                  "least root mean square of a parameter that scales lr"),
    HONE_OPT_REAL(adafactor, weight_decay, 0, 0, 1000,
                  "decay of tensors of two dimensions and more"),
    HONE_OPT_BOOL(adafactor, scale_parameter, 0,
                  "lr is times the root mean square of the parameter"),
    HONE_OPT_END
};

/* What all tensors share. */
enum { OK, LR, CLIP, SHARE, SCALARS }; /* SHARE: t^decay_rate */

static hone_storage storage(const hone_type *param)
{
    return param->storage == HONE_F64 ? HONE_F64 : HONE_F32;
}

static hone_status states(const void *config, const char *name,
                          const hone_type *param, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    (void)config;
    (void)name;
    (void)err;
    *count = param->rank == 2 ? 2 : 1;
    out[0].name = *count == 2 ? "rows" : "squares";
    out[0].type = *count == 2 ? hone_type_of(storage(param), 2, 1,
                                             param->dim[0])
                              : *param;
    out[0].type.storage = storage(param);
    out[1].name = "columns";
    out[1].type = hone_type_of(storage(param), 2, 1, param->dim[1]);
    return HONE_OK;
}

/* ----------------------------------------------------------------- emitting */

/* One map over IN (the scalars first) and one OUT. */
static hone_status map(hone_builder *b, const char *name, const char *program,
                       int guard, uint32_t scalars, const hone_id *in,
                       uint32_t nin, hone_id *out, hone_err *err)
{
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", scalars, NULL },
                                { "reads", nin - scalars, NULL },
                                { "writes", 1, NULL },
                                { "guard", guard, NULL } };

    return b->emit(b, "map", name, attrs, 5, in, nin, out, 1, err);
}

static hone_status product(hone_builder *b, const char *op, double scale,
                           hone_id x, hone_id w, hone_id *y, hone_err *err)
{
    const hone_attr attrs[] = { { "scale", scale, NULL } };
    const hone_id in[] = { x, w };

    *y = HONE_NONE;
    return b->emit(b, op, NULL, attrs, 1, in, 2, y, 1, err);
}

static hone_status ones(hone_builder *b, int64_t n, hone_storage s, hone_id *x,
                        hone_err *err)
{
    const hone_attr attrs[] = { { "value", 1, NULL } };

    *x = b->temp(b, hone_type_of(s, 2, 1, n));
    return b->emit(b, "fill", NULL, attrs, 1, NULL, 0, x, 1, err);
}

static hone_status sum_of_squares(hone_builder *b, hone_id x, hone_id *y,
                                  hone_err *err)
{
    *y = HONE_NONE;
    return b->emit(b, "sumsq", NULL, NULL, 0, &x, 1, y, 1, err);
}

/* MEAN of a step goes into STATE; FACTOR: one over the root of that, times
 * the root of the scalar OVER if there is one. */
static hone_status take_in(hone_builder *b, const hone_id *s, hone_id mean,
                           hone_id state, hone_err *err)
{
    const hone_id in[] = { s[OK], s[SHARE], mean };

    return map(b, "adafactor.mean", "y0 x0 s1 lerp =y0", 1, 2, in, 3, &state,
               err);
}

/* The direction of a matrix, but for its gradient: what the square root of its
 * factored mean square is divided by. */
static hone_status factored(const adafactor *c, hone_builder *b,
                            const hone_group *g, uint32_t i, const hone_id *s,
                            hone_id *out, hone_err *err)
{
    const hone_type *type = &g->type[i];
    const int64_t rows = type->dim[0], cols = type->dim[1];
    const hone_id row = g->state[0][i], column = g->state[1][i];
    hone_id in[2] = { s[CLIP], g->grad[i] }, squares, along, across, mean, r, k;
    char program[96];

    (void)snprintf(program, sizeof program, "x0 s0 * dup * %.17g + =y0",
                   c->eps);
    squares = b->temp(b, b->type(b, g->param[i]));
    hone_try(map(b, "adafactor.squares", program, 0, 1, in, 2, &squares, err));
    hone_try(ones(b, cols, storage(type), &along, err));
    hone_try(ones(b, rows, storage(type), &across, err));
    hone_try(product(b, "linear", 1.0 / (double)cols, along, squares, &mean,
                     err));
    hone_try(take_in(b, s, mean, row, err));
    hone_try(product(b, "linear_dx", 1.0 / (double)rows, across, squares,
                     &mean, err));
    hone_try(take_in(b, s, mean, column, err));
    hone_try(product(b, "linear", 1.0 / (double)rows, across, row, &mean, err));
    r = b->temp(b, b->type(b, row));
    k = b->temp(b, b->type(b, column));
    in[0] = mean;
    in[1] = row;
    hone_try(map(b, "adafactor.rows", "s0 x0 / sqrt =y0", 0, 1, in, 2, &r,
                 err));
    in[1] = column;
    hone_try(map(b, "adafactor.columns", "1 x0 / sqrt =y0", 0, 0, in + 1, 1, &k,
                 err));
    return product(b, "linear_dw", 1, r, k, out, err);
}

static hone_status whole(const adafactor *c, hone_builder *b,
                         const hone_group *g, uint32_t i, const hone_id *s,
                         hone_id *out, hone_err *err)
{
    const hone_id in[] = { s[OK], s[SHARE], s[CLIP], g->grad[i] };
    hone_id state = g->state[0][i];
    char program[96];

    (void)snprintf(program, sizeof program,
                   "y0 x0 s2 * dup * %.17g + s1 lerp =y0", c->eps);
    hone_try(map(b, "adafactor.mean", program, 1, 3, in, 4, &state, err));
    *out = b->temp(b, b->type(b, state));
    return map(b, "adafactor.root", "1 x0 / sqrt =y0", 0, 0, &state, 1, out,
               err);
}

static hone_status update_one(const adafactor *c, hone_builder *b,
                              const hone_group *g, uint32_t i, const hone_id *s,
                              hone_err *err)
{
    const double n = (double)hone_count(&g->type[i]);
    hone_id in[6] = { s[CLIP], g->grad[i] }, direction, param = g->param[i];
    char program[320], size[96] = "1";

    hone_try(g->type[i].rank == 2
                 ? factored(c, b, g, i, s, &direction, err)
                 : whole(c, b, g, i, s, &direction, err));
    hone_try(map(b, "adafactor.direction", "y0 x0 s0 * * =y0", 0, 1, in, 2,
                 &direction, err));
    in[0] = s[OK];
    in[1] = s[LR];
    hone_try(sum_of_squares(b, direction, &in[2], err));
    hone_try(sum_of_squares(b, param, &in[3], err));
    in[4] = direction;
    if (c->scale_parameter)
        (void)snprintf(size, sizeof size, "s3 %.17g / sqrt %.17g max", n,
                       c->eps_scale);
    (void)snprintf(program, sizeof program,
                   "s1 %s * =r0 y0 y0 %.17g r0 * * - =y0 "
                   "y0 x0 r0 * s2 %.17g / sqrt %.17g / 1 max / - =y0",
                   size, g->type[i].rank >= 2 ? c->weight_decay : 0, n,
                   c->clip_threshold);
    return map(b, "adafactor.update", program, 1, 4, in, 5, &param, err);
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    const adafactor *c = config;
    hone_id s[SCALARS] = { [OK] = g->ok, [LR] = g->lr, [CLIP] = g->clip };
    char program[96];
    uint32_t i;

    s[SHARE] = b->temp(b, b->type(b, g->lr));
    (void)snprintf(program, sizeof program, "s0 log %.17g * exp =y0",
                   c->decay_rate);
    hone_try(map(b, "adafactor.share", program, 0, 1, &g->t, 1, &s[SHARE],
                 err));
    for (i = 0; i < g->count; i++)
        hone_try(update_one(c, b, g, i, s, err));
    return HONE_OK;
}

static const hone_optimizer ops = { sizeof ops, states, update };

static const hone_component component = {
    .size = sizeof component,
    .kind = HONE_KIND_OPTIMIZER,
    .name = "adafactor",
    .help = "mean squares by rows and columns alone: hardly any states",
    .options = options,
    .config_size = sizeof(adafactor),
    .ops = &ops
};

HONE_PLUGIN("adafactor", "1.0", &component)
