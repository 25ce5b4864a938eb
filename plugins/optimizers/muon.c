/* SPDX-License-Identifier: MIT
 *
 * muon.c -- Muon (Jordan et al. 2024, github.com/KellerJordan/Muon): the
 * momentum of a hidden matrix, made nearly orthogonal by five Newton-Schulz
 * steps, is the direction of its update. Embeddings, the LM head and vectors
 * are AdamW's, with a rate of their own, as the authors do.
 *
 * Products are the ordinary ops: `linear` is x w^T, `linear_dx` is x w and
 * `linear_dw` is w^T x, so that no matrix is ever turned over. The temporaries
 * of one matrix lie where those of the one before it lay.
 */
#include "adam.h"

#include <string.h>

typedef struct muon {
    double lr, momentum, weight_decay, adam_lr, beta1, beta2, eps;
    int64_t iterations;
    int nesterov;
    const char *except;
} muon;

static const hone_option options[] = {
    HONE_OPT_REAL(muon, lr, 0.02, 0, 10,
                  "learning rate of hidden matrices at its peak"),
    HONE_OPT_REAL(muon, momentum, 0.95, 0, 0.9999999, "decay of the momentum"),
    HONE_OPT_BOOL(muon, nesterov, 1, "look one step of the momentum ahead"),
    HONE_OPT_INT(muon, iterations, 5, 1, 20, "Newton-Schulz steps"),
    HONE_OPT_REAL(muon, weight_decay, 0, 0, 1000,
                  "decay of tensors of two dimensions and more"),
    HONE_OPT_STR(muon, except, "embed,lm_head",
                 "words in the names of matrices that are left to AdamW"),
    HONE_OPT_REAL(muon, adam_lr, 3e-4, 0, 10,
                  "AdamW's learning rate at its peak"),
    HONE_OPT_REAL(muon, beta1, 0.9, 0, 0.9999999, "AdamW's decay of the mean"),
    HONE_OPT_REAL(muon, beta2, 0.95, 0, 0.9999999,
                  "AdamW's decay of the mean square"),
    HONE_OPT_REAL(muon, eps, 1e-10, 0, 1,
                  "added to AdamW's denominator"),
    HONE_OPT_END
};

static int is_excepted(const char *name, const char *words)
{
    char word[128];

    while (words && *words) {
        size_t n = strcspn(words, ",");

        (void)snprintf(word, sizeof word, "%.*s", (int)n, words);
        if (n > 0 && strstr(name, word))
            return 1;
        words += n + (words[n] == ',');
    }
    return 0;
}

static int is_hidden(const muon *c, const char *name, const hone_type *type)
{
    return type->rank == 2 && !is_excepted(name, c->except);
}

static hone_status states(const void *config, const char *name,
                          const hone_type *type, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    uint32_t i;

    (void)err;
    *count = is_hidden(config, name, type) ? 1 : 2;
    out[0].name = *count == 1 ? "momentum" : "m";
    out[1].name = "v";
    for (i = 0; i < *count; i++) {
        out[i].type = *type;
        out[i].type.storage = type->storage == HONE_F64 ? HONE_F64 : HONE_F32;
    }
    return HONE_OK;
}

/* ----------------------------------------------------------------- emitting */

/* One map over IN (the scalars first) and OUT, all of one matrix. */
static hone_status map(hone_builder *b, const char *name, const char *program,
                       int guard, uint32_t scalars, const hone_id *in,
                       uint32_t nin, hone_id *out, uint32_t nout, hone_err *err)
{
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", scalars, NULL },
                                { "reads", nin - scalars, NULL },
                                { "writes", nout, NULL },
                                { "guard", guard, NULL } };

    return b->emit(b, "map", name, attrs, 5, in, nin, out, nout, err);
}

static hone_status product(hone_builder *b, const char *op, hone_id x,
                           hone_id w, hone_id *y, hone_err *err)
{
    const hone_id in[] = { x, w };

    *y = HONE_NONE;
    return b->emit(b, op, NULL, NULL, 0, in, 2, y, 1, err);
}

/* The momentum takes the gradient in; DIRECTION is what goes on, held as
 * activations are, its Frobenius norm 1: in fp16 gradients would be 0. */
static hone_status start(const muon *c, hone_builder *b, const hone_group *g,
                         uint32_t i, hone_id *direction, hone_err *err)
{
    const hone_id in[] = { g->ok, g->clip, g->grad[i] };
    hone_id out[2] = { g->state[0][i], HONE_NONE }, squares = HONE_NONE;
    char program[160];

    out[1] = b->temp(b, b->type(b, g->state[0][i]));
    (void)snprintf(program, sizeof program,
                   "x0 s1 * =r0 y0 r0 %.17g lerp =y0 r0 y0 %.17g lerp =y1",
                   1 - c->momentum, c->nesterov ? c->momentum : 1);
    hone_try(map(b, "muon.momentum", program, 1, 2, in, 3, out, 2, err));
    hone_try(b->emit(b, "sumsq", NULL, NULL, 0, &out[1], 1, &squares, 1, err));
    hone_try(map(b, "muon.norm", "y0 s0 sqrt 1e-7 + / =y0", 0, 1, &squares, 1,
                 &out[1], 1, err));
    *direction = HONE_NONE;
    return b->emit(b, "scale", NULL, NULL, 0, &out[1], 1, direction, 1, err);
}

/* X becomes a X + (b A + c A A) X with A = X X^T; for a tall matrix, which the
 * authors turn over, X (b A + c A A) with A = X^T X. A is symmetric. */
static hone_status newton_schulz(hone_builder *b, int tall, hone_id *x,
                                 hone_err *err)
{
    hone_id square, fourth, next, in;

    hone_try(product(b, tall ? "linear_dw" : "linear", *x, *x, &square, err));
    hone_try(product(b, "linear", square, square, &fourth, err));
    hone_try(map(b, "muon.polynomial", "x0 -4.7750 * y0 2.0315 * + =y0", 0, 0,
                 &square, 1, &fourth, 1, err));
    hone_try(tall ? product(b, "linear", *x, fourth, &next, err)
                  : product(b, "linear_dx", fourth, *x, &next, err));
    in = *x;
    *x = next;
    return map(b, "muon.step", "x0 3.4445 * y0 + =y0", 0, 0, &in, 1, x, 1,
               err);
}

static hone_status update_matrix(const muon *c, hone_builder *b,
                                 const hone_group *g, uint32_t i, hone_err *err)
{
    const double rows = (double)g->type[i].dim[0];
    const double cols = (double)g->type[i].dim[1];
    const double factor = rows > cols ? sqrt(rows / cols) : 1;
    hone_id param = g->param[i], x, in[3] = { g->ok, g->lr, HONE_NONE };
    char program[160];
    int64_t k;

    hone_try(start(c, b, g, i, &x, err));
    for (k = 0; k < c->iterations; k++)
        hone_try(newton_schulz(b, rows > cols, &x, err));
    in[2] = x;
    (void)snprintf(program, sizeof program,
                   "y0 s1 %.17g * y0 * - s1 %.17g * x0 * - =y0",
                   c->weight_decay, factor);
    return map(b, "muon.update", program, 1, 2, in, 3, &param, 1, err);
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *g, hone_err *err)
{
    const muon *c = config;
    const adam rest = { .rate = c->lr > 0 ? c->adam_lr / c->lr : 0,
                        .beta1 = c->beta1, .beta2 = c->beta2, .eps = c->eps,
                        .decay = c->weight_decay };
    uint8_t *kind = malloc(g->count + 1);
    hone_status status = HONE_OK;
    uint32_t i;

    if (!kind)
        return hone_fail(err, HONE_ENOMEM, "hone.muon: out of memory");
    for (i = 0; i < g->count && status == HONE_OK; i++) {
        kind[i] = g->type[i].rank >= 2 ? ADAM_MATRIX : ADAM_VECTOR;
        if (!is_hidden(c, g->name[i], &g->type[i]))
            continue;
        kind[i] = ADAM_LEAVE;
        status = update_matrix(c, b, g, i, err);
    }
    if (status == HONE_OK)
        status = adam_update(&rest, b, g, kind, err);
    free(kind);
    return status;
}

static const hone_optimizer ops = { sizeof ops, states, update };

static const hone_component component = {
    .size = sizeof component,
    .kind = HONE_KIND_OPTIMIZER,
    .name = "muon",
    .help = "orthogonal updates of hidden matrices, AdamW for the rest",
    .options = options,
    .config_size = sizeof(muon),
    .ops = &ops
};

HONE_PLUGIN("muon", "1.0", &component)
