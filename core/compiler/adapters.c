/* SPDX-License-Identifier: MIT
 *
 * adapters.c -- LoRA as a rewrite of the graph: beside each linear of the
 * targets two small ones, y = W x + scale * B (A dropout(x)). Hu et al.,
 * "LoRA: Low-Rank Adaptation of Large Language Models", 2021. With DoRA an op
 * more behind them, see magnify().
 */
#include <math.h>
#include <string.h>

#include "modules.h"
#include "passes.h"

#include <xxhash.h>

/* Length of the module's path: of the weight's name without ".weight". */
static size_t path_length(const char *weight)
{
    size_t n = strlen(weight), end = strlen(".weight");

    return n > end && !strcmp(weight + n - end, ".weight") ? n - end : n;
}

/* The last part of "model.layers.0.self_attn.q_proj.weight": "q_proj". */
static void module_name(const char *weight, char *to, size_t bytes)
{
    const char *end = weight + path_length(weight), *start;

    for (start = end; start > weight && start[-1] != '.'; start--)
        ;
    snprintf(to, bytes, "%.*s", (int)(end - start), start);
}

static hone_id adapter_weight(hone_graph *g, const char *path,
                              const char *which, int rank, int64_t rows,
                              int64_t cols)
{
    hone_storage s = g->compute == HONE_F64 ? HONE_F64 : HONE_F32;
    hone_id id = hone_graph_tensor(
        g, hone_format_text(g->arena, "%s.lora_%s", path, which),
        hone_type_of(s, rank, rows, cols), HONE_T_PARAM);

    g->tensor[id].trainable = 1;
    g->tensor[id].adapter = 1;
    return id;
}

static hone_attr scale_of(const hone_lora *lora, const char *path, int64_t r)
{
    double alpha = hone_pattern_number(lora->alpha_pattern, path, lora->alpha);

    return (hone_attr){ "scale", alpha / (lora->rslora ? sqrt((double)r)
                                                       : (double)r), NULL };
}

/* Appends an op with one new output. */
static hone_status emit(hone_graph *g, const char *op, const char *name,
                        const hone_attr *attrs, uint32_t nattrs,
                        const hone_id *in, uint32_t nin, hone_id *out,
                        hone_err *err)
{
    *out = HONE_NONE;
    return hone_graph_op(g, op, name, attrs, nattrs, in, nin, out, 1, err);
}

/* What the adapter sees of X. */
static hone_status drop(hone_graph *g, const hone_lora *lora, const char *path,
                        hone_id x, hone_id *dropped, hone_err *err)
{
    const char *name = hone_format_text(g->arena, "%s.lora_dropout", path);
    hone_attr attrs[2] = { { "p", lora->dropout, NULL },
                           { "key", (double)(XXH64(name, strlen(name), 0) >>
                                             12), NULL } };

    return emit(g, "dropout", name, attrs, 2, &x, 1, dropped, err);
}

/* v = scale * B A x, and y + v */
static hone_status low_rank(hone_graph *g, const hone_lora *lora,
                            const char *path, hone_type w, hone_id x, hone_id y,
                            hone_id *sum, hone_err *err)
{
    int64_t r = (int64_t)hone_pattern_number(lora->rank_pattern, path,
                                             (double)lora->r);
    hone_attr scale = scale_of(lora, path, r);
    hone_id u, v;
    hone_id a[2] = { x, adapter_weight(g, path, "A.weight", 2, r, w.dim[1]) };

    hone_try(emit(g, "linear", hone_format_text(g->arena, "%s.lora_A", path),
                  NULL, 0, a, 2, &u, err));
    hone_id b[2] = { u, adapter_weight(g, path, "B.weight", 2, w.dim[0], r) };
    hone_try(emit(g, "linear", hone_format_text(g->arena, "%s.lora_B", path),
                  &scale, 1, b, 2, &v, err));
    hone_id pair[2] = { y, v };
    return emit(g, "add", NULL, NULL, 0, pair, 2, sum, err);
}

#define NORM "norm:"

int hone_is_norm(const char *name)
{
    return !strncmp(name, NORM, sizeof NORM - 1);
}

/* y = m / n * x + bias; BIAS may be HONE_NONE. Liu et al., "DoRA:
 * Weight-Decomposed Low-Rank Adaptation", 2024. */
static hone_status magnify(hone_graph *g, const char *path, int64_t rows,
                           hone_id x, hone_id bias, hone_id *y, hone_err *err)
{
    hone_id m = adapter_weight(g, path, "magnitude_vector", 1, rows, 1);
    hone_id n = hone_graph_tensor(g, hone_format_text(g->arena, NORM "%s",
                                                      path),
                                  g->tensor[m].type, HONE_T_IMAGE);
    const hone_id in[4] = { x, m, n, bias };

    g->tensor[n].adapter = 1;
    g->tensor[n].alias = path;
    return emit(g, "dora", hone_format_text(g->arena, "%s.lora_dora", path),
                NULL, 0, in, bias == HONE_NONE ? 3 : 4, y, err);
}

/* PEFT lets DoRA's base see the dropped input as well, but for the part that
 * it has without the adapter: y = W (x - d) + bias + m / n * (W d + v), where
 * d = dropout(x). Node N becomes the first summand, the other takes its place.
 * What stands before node N: d and x - d. */
static hone_status split_input(hone_graph *g, int *n, const hone_lora *lora,
                               const char *path, hone_id *d, hone_err *err)
{
    const hone_attr minus = { "by", -1, NULL };
    hone_id pair[2] = { g->node[*n].in[0], HONE_NONE }, rest;

    hone_try(drop(g, lora, path, pair[0], d, err));
    hone_try(emit(g, "scale", NULL, &minus, 1, d, 1, &pair[1], err));
    hone_try(emit(g, "add", NULL, NULL, 0, pair, 2, &rest, err));
    hone_graph_move(g, 3, *n);
    *n += 3;
    g->node[*n].in[0] = rest;
    return HONE_OK;
}

/* The ops behind node N, whose result is in SUM. */
static hone_status adapt_dora(hone_graph *g, int *n, const hone_lora *lora,
                              const char *path, hone_id *sum, int *before,
                              hone_err *err)
{
    hone_node *node = &g->node[*n];
    hone_id x = node->in[0], y = node->out[0], bias = HONE_NONE, d;
    hone_type w = g->tensor[node->in[1]].type;

    if (lora->dropout > 0 && lora->train) {
        hone_id in[2] = { HONE_NONE, node->in[1] }, pair[2] = { HONE_NONE, y };

        hone_try(split_input(g, n, lora, path, &d, err));
        *before = g->nodes;
        in[0] = d;
        hone_try(emit(g, "linear", NULL, NULL, 0, in, 2, &x, err));
        hone_try(low_rank(g, lora, path, w, d, x, sum, err));
        hone_try(magnify(g, path, w.dim[0], *sum, bias, &pair[0], err));
        return emit(g, "add", NULL, NULL, 0, pair, 2, sum, err);
    }
    if (node->nin > 2) {
        bias = node->in[2];
        node->in[2] = HONE_NONE;
    }
    hone_try(low_rank(g, lora, path, w, x, y, sum, err));
    return magnify(g, path, w.dim[0], *sum, bias, sum, err);
}

/* Emits the update behind node N and lets the readers of y read the sum; so
 * does HIDDEN, if it is y. N: then the last node of it. */
static hone_status adapt(hone_graph *g, int *n, const hone_lora *lora,
                         hone_id *hidden, hone_err *err)
{
    hone_node node = g->node[*n];
    const char *weight = g->tensor[node.in[1]].name;
    char *path = hone_format_text(g->arena, "%.*s", (int)path_length(weight),
                                  weight);
    hone_id x = node.in[0], y = node.out[0], sum = HONE_NONE;
    int before = g->nodes, added;

    g->layer = node.layer;
    if (lora->dora) {
        hone_try(adapt_dora(g, n, lora, path, &sum, &before, err));
    } else {
        if (lora->dropout > 0 && lora->train)
            hone_try(drop(g, lora, path, x, &x, err));
        hone_try(low_rank(g, lora, path, g->tensor[node.in[1]].type, x, y,
                          &sum, err));
    }
    g->layer = -1;
    added = g->nodes - before;
    hone_graph_move(g, added, *n + 1);
    *n += added;
    hone_graph_replace(g, y, sum, *n + 1, g->nodes);
    *hidden = *hidden == y ? sum : *hidden;
    return HONE_OK;
}

hone_status hone_emit_norm(hone_graph *g, const hone_lora *lora,
                           const char *path, const hone_id *in, hone_id norm,
                           hone_err *err)
{
    hone_attr scale = scale_of(lora, path, g->tensor[in[0]].type.dim[0]);

    return hone_graph_op(g, "dora_norm", NULL, &scale, 1, in, 3, &norm, 1, err);
}

static hone_status no_match(const hone_graph *g, const hone_lora *lora,
                            const char *target, hone_err *err)
{
    char list[400] = "", name[128];

    if (lora->folder)
        return hone_fail(err, HONE_EINVAL, "%s: module %s is no linear of this "
                         "model: the adapter belongs to another one",
                         lora->folder, target);
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        if (strcmp(node->component->name, "linear"))
            continue;
        module_name(g->tensor[node->in[1]].name, name, sizeof name);
        if (!strstr(list, name) && strlen(list) + strlen(name) + 3 < 400) {
            strcat(list, *list ? ", " : "");
            strcat(list, name);
        }
    }
    return hone_fail(err, HONE_EINVAL,
                     "hone.lora: target '%s' names no linear of this model; "
                     "there are: %s", target, list);
}

/* The path of the linear's module, which may be adapted; NULL: no such one. */
static const char *module_path(const hone_graph *g, const hone_lora *lora,
                               const hone_node *node)
{
    const hone_tensor *w;

    if (strcmp(node->component->name, "linear"))
        return NULL;
    w = &g->tensor[node->in[1]];
    if (w->kind != HONE_T_PARAM || w->adapter ||
        hone_module_is_saved(lora->saved, w->name))
        return NULL;
    return hone_format_text(g->arena, "%.*s", (int)path_length(w->name),
                            w->name);
}

static int is_target(const char *path, const char *targets)
{
    const char *one;
    size_t n;

    if (!strcmp(targets, "all-linear"))
        return 1;
    while ((one = hone_target_next(&targets, &n)))
        if (hone_target_matches(one, n, path))
            return 1;
    return 0;
}

static int any_target(const hone_graph *g, const hone_lora *lora,
                      const char *targets)
{
    for (int n = 0; n < g->nodes; n++) {
        const char *path = module_path(g, lora, &g->node[n]);
        if (path && is_target(path, targets))
            return 1;
    }
    return 0;
}

/* Each of the targets must be one of the model's: a slip is not left out. */
static hone_status check_targets(hone_graph *g, const hone_lora *lora,
                                 hone_err *err)
{
    const char *list = lora->targets, *one;
    size_t n;

    if (!*list)
        return no_match(g, lora, "", err);
    while ((one = hone_target_next(&list, &n))) {
        if (!hone_target_is_name(one, n))
            hone_try(hone_pattern_check(one, n, err));
        one = hone_format_text(g->arena, "%.*s", (int)n, one);
        if (!any_target(g, lora, one))
            return no_match(g, lora, one, err);
    }
    return HONE_OK;
}

static hone_status check_saved(hone_graph *g, const hone_lora *lora,
                               hone_err *err)
{
    const char *list = lora->saved, *one;
    size_t length;

    while (list && (one = hone_target_next(&list, &length))) {
        const char *name = hone_format_text(g->arena, "%.*s", (int)length, one);
        int found = 0;

        for (hone_id i = 0; i < g->tensors && !found; i++) {
            const hone_tensor *t = &g->tensor[i];
            found = t->kind == HONE_T_PARAM && !t->adapter &&
                    (hone_module_is_saved(name, t->name) ||
                     (t->alias && hone_module_is_saved(name, t->alias)));
        }
        if (!found)
            return hone_fail(err, HONE_EINVAL, "hone.lora: modules_to_save: "
                             "'%s' is no module of this model, nor the end of "
                             "one's path (embed_tokens, lm_head, norm)", name);
    }
    return HONE_OK;
}

hone_status hone_pass_lora(hone_graph *g, const hone_lora *lora,
                           hone_id *hidden, hone_err *err)
{
    hone_try(check_saved(g, lora, err));
    hone_try(check_targets(g, lora, err));
    for (int n = 0; n < g->nodes; n++) {
        const char *path = module_path(g, lora, &g->node[n]);
        if (path && is_target(path, lora->targets))
            hone_try(adapt(g, &n, lora, hidden, err));
    }
    return HONE_OK;
}
