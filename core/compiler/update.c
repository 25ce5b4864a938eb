/* SPDX-License-Identifier: MIT
 *
 * update.c -- where the optimizer's ops stand and where its states wait. After
 * the gradients of a whole step, all at once; or within the only micro-step of
 * a step, layer by layer as soon as a layer's gradients are there (Lv et al.,
 * "Full Parameter Fine-tuning for Large Language Models with Limited
 * Resources", 2023). States in pinned memory come and go on the stream beside,
 * one group of parameters ahead.
 */
#include <stdlib.h>
#include <string.h>

#include "passes.h"

enum { STREAMED_BYTES = 256 << 20 }; /* states of a group, about */

/* --------------------------------------------------------------- the states */

static hone_status make_states(hone_graph *g, const hone_instance *opt,
                               hone_group *group, hone_space space,
                               hone_err *err)
{
    const hone_optimizer *api = opt->component->ops;

    for (uint32_t i = 0; i < group->count; i++) {
        hone_state_spec spec[HONE_MAX_STATES];
        uint32_t n = HONE_MAX_STATES;

        hone_try(api->states(opt->config, group->name[i], &group->type[i],
                             spec, &n, err));
        if (n > HONE_MAX_STATES)
            return hone_fail(err, HONE_EINVAL, "hone.%s: %u states a "
                             "parameter, at most %d are possible",
                             opt->component->name, n, HONE_MAX_STATES);
        for (uint32_t k = 0; k < HONE_MAX_STATES; k++) {
            hone_id *ids = (hone_id *)group->state[k];
            if (!ids)
                group->state[k] = ids =
                    hone_alloc(g->arena, group->count * sizeof *ids);
            ids[i] = HONE_NONE;
            if (k >= n)
                continue;
            ids[i] = hone_graph_tensor(
                g, hone_format_text(g->arena, "state:%s:%s", spec[k].name,
                                    g->tensor[group->param[i]].name),
                spec[k].type, HONE_T_STATE);
            if (space)
                g->tensor[ids[i]].space = space;
        }
    }
    return HONE_OK;
}

static int64_t state_bytes(const hone_graph *g, const hone_group *group,
                           uint32_t i)
{
    int64_t bytes = 0;

    for (int k = 0; k < HONE_MAX_STATES; k++)
        if (group->state[k][i] != HONE_NONE)
            bytes += hone_tensor_bytes(&g->tensor[group->state[k][i]].type);
    return bytes;
}

/* ------------------------------------------- bringing and sending them back */

/* All that reads or writes FROM in nodes [at, end) does so with TO. */
static void rename_from(hone_graph *g, hone_id from, hone_id to, int at,
                        int end)
{
    hone_graph_replace(g, from, to, at, end);
    for (int n = at; n < end; n++)
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            if (g->node[n].out[i] == from)
                g->node[n].out[i] = to;
}

/* The start of the nodes of one layer that end before AT, and of those of the
 * layer before them: where a copy for what stands at AT may begin. */
static int one_ahead(const hone_graph *g, int at)
{
    for (int runs = 0; runs < 2; runs++) {
        int layer;

        while (at > 0 && g->node[at - 1].stream)
            at--;
        if (at == 0)
            break;
        layer = g->node[at - 1].layer;
        while (at > 0 && (g->node[at - 1].stream ||
                          g->node[at - 1].layer == layer))
            at--;
    }
    return at;
}

/* Of the last 2 * COUNT nodes, which were made in turn, those that send stay
 * there, and those that bring come to AHEAD; the last ones first. */
static void put_copies(hone_graph *g, int count, int ahead)
{
    hone_arena own = { 0 };
    hone_node *to = g->node + ahead, *made = g->node + g->nodes - 2 * count;
    size_t n = 2 * (size_t)count;
    const hone_node *copy = hone_copy(&own, made, n, n, sizeof *made);

    memmove(to + count, to, (size_t)(made - to) * sizeof *made);
    for (int i = 0; i < count; i++) {
        to[i] = copy[n - 1 - 2 * (size_t)i];
        g->node[g->nodes - 1 - i] = copy[2 * i];
    }
    hone_arena_free(&own);
}

/* The update of GROUP begins at AT: its states are copies there. */
static hone_status bring_states(hone_graph *g, const hone_group *group, int at,
                                hone_err *err)
{
    int ahead = one_ahead(g, at), end = g->nodes, count = 0;

    for (uint32_t i = 0; i < group->count; i++)
        for (int k = 0; k < HONE_MAX_STATES; k++) {
            hone_id kept = group->state[k][i], here;

            if (kept == HONE_NONE)
                continue;
            here = hone_graph_tensor(g, NULL, g->tensor[kept].type,
                                     HONE_T_TEMP);
            rename_from(g, kept, here, at, end);
            hone_try(hone_graph_copy(g, here, kept, g->nodes, err));
            hone_try(hone_graph_copy(g, kept, here, g->nodes, err));
            count++;
        }
    put_copies(g, count, ahead);
    return HONE_OK;
}

/* ------------------------------------------------------------ all at once */

static hone_group part_of(const hone_group *all, uint32_t first, uint32_t count)
{
    hone_group part = *all;

    part.count = count;
    part.param += first;
    part.grad += first;
    part.type += first;
    part.name += first;
    for (int k = 0; k < HONE_MAX_STATES; k++)
        part.state[k] += first;
    return part;
}

/* A map of scalars at the end of the graph. */
static hone_status emit_scalars(hone_graph *g, const char *name,
                                const char *program, const hone_id *in,
                                uint32_t nin, hone_id *out, uint32_t nout,
                                hone_err *err)
{
    const hone_attr attrs[4] = { { "program", 0, program },
                                 { "scalars", nin, NULL },
                                 { "reads", 0, NULL },
                                 { "writes", nout, NULL } };

    return hone_graph_op(g, "map", name, attrs, 4, in, nin, out, nout, err);
}

/* What learns faster in LoRA+ (Hayou et al., "LoRA+: Efficient Low Rank
 * Adaptation of Large Models", 2024), by the rule of PEFT's optimizer. */
static int is_fast(const hone_group *group, uint32_t i)
{
    return group->type[i].rank == 1 || strstr(group->name[i], ".lora_B.");
}

/* Those of the group that are fast, or those that are not. */
static hone_group some_of(hone_arena *a, const hone_group *all, int fast)
{
    size_t n = all->count + 1;
    hone_id *list[2 + HONE_MAX_STATES]; /* parameters, gradients, states */
    hone_type *type = hone_alloc(a, n * sizeof *type);
    const char **name = hone_alloc(a, n * sizeof *name);
    hone_group some = *all;

    for (int k = 0; k < 2 + HONE_MAX_STATES; k++)
        list[k] = hone_alloc(a, n * sizeof *list[k]);
    some.count = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        if (is_fast(all, i) != fast)
            continue;
        list[0][some.count] = all->param[i];
        list[1][some.count] = all->grad[i];
        for (int k = 0; k < HONE_MAX_STATES; k++)
            list[2 + k][some.count] = all->state[k][i];
        type[some.count] = all->type[i];
        name[some.count++] = all->name[i];
    }
    some.param = list[0];
    some.grad = list[1];
    for (int k = 0; k < HONE_MAX_STATES; k++)
        some.state[k] = list[2 + k];
    some.type = type;
    some.name = name;
    return some;
}

/* The update of a group whose states are made; its first node. */
static hone_status emit_group(hone_graph *g, const hone_instance *opt,
                              const hone_group *group, double ratio, int *first,
                              hone_err *err)
{
    const hone_optimizer *api = opt->component->ops;
    hone_group slow = *group, fast;
    char program[64];

    *first = g->nodes;
    g->updates = 1;
    if (ratio != 0 && ratio != 1) {
        slow = some_of(g->arena, group, 0);
        fast = some_of(g->arena, group, 1);
        fast.lr = hone_graph_tensor(g, NULL, g->tensor[group->lr].type,
                                    HONE_T_TEMP);
        snprintf(program, sizeof program, "s0 %.17g * =y0", ratio);
        hone_try(emit_scalars(g, "lr.fast", program, &group->lr, 1, &fast.lr, 1,
                              err));
        if (fast.count)
            hone_try(api->update(opt->config, &g->builder, &fast, err));
    }
    if (slow.count)
        hone_try(api->update(opt->config, &g->builder, &slow, err));
    g->updates = 0;
    return hone_pass_round(g, *first, err);
}

hone_status hone_emit_update(hone_graph *g, const hone_instance *opt,
                             hone_group *group, hone_space states,
                             double ratio, hone_err *err)
{
    int first;

    hone_try(make_states(g, opt, group, states, err));
    if (states != HONE_PINNED_SPACE)
        return emit_group(g, opt, group, ratio, &first, err);
    for (uint32_t i = 0, n; i < group->count; i += n) {
        int64_t bytes = state_bytes(g, group, i);
        hone_group part;

        for (n = 1; i + n < group->count && bytes < STREAMED_BYTES; n++)
            bytes += state_bytes(g, group, i + n);
        part = part_of(group, i, n);
        g->layer = (int)i; /* tells the groups apart */
        hone_try(emit_group(g, opt, &part, ratio, &first, err));
        hone_try(bring_states(g, &part, first, err));
    }
    g->layer = -1;
    return HONE_OK;
}

/* ------------------------------------------------------ as gradients arise */

typedef struct {
    hone_id param, grad;
    int last; /* node that touches one of them */
} trained;

/* The graph is made anew: nodes of the micro-step go over to it one by one. */
typedef struct {
    hone_graph *g;
    const hone_instance *opt;
    hone_space states;
    double ratio;
    hone_group all;  /* every parameter that trains */
    trained *list;   /* [count] of it, by where they are touched last */
    hone_id squares; /* of the gradients so far; NONE: none yet */
    hone_node *node; /* of the micro-step */
    int taken;
    hone_arena own;
} early;

static void find_last(hone_graph *g)
{
    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nin + g->node[n].nout; i++) {
            const hone_node *node = &g->node[n];
            hone_id id = i < node->nin ? node->in[i] : node->out[i - node->nin];

            for (; id != HONE_NONE; id = g->tensor[id].base)
                g->tensor[id].last = n;
        }
}

/* Behind the loss: whether this step counts. */
static hone_status begin_step(early *e, hone_id loss, hone_err *err)
{
    hone_graph *g = e->g;
    hone_id out[3] = { hone_graph_scalar(g, "step.ok", HONE_T_STATE),
                       hone_graph_scalar(g, "step.t", HONE_T_STATE),
                       hone_graph_scalar(g, "step.clip", HONE_T_STATE) };

    e->all.ok = out[0];
    e->all.t = out[1];
    e->all.clip = out[2];
    e->all.lr = hone_graph_scalar(g, "lr", HONE_T_INPUT);
    find_last(g);
    hone_try(emit_scalars(g, "step", "s0 finite dup =y0 y1 + =y1 1 =y2", &loss,
                          1, out, 3, err));
    hone_graph_move(g, 1, g->tensor[loss].last + 1);
    return HONE_OK;
}

/* Nodes of the micro-step up to LAST. */
static void take_nodes(early *e, int last)
{
    hone_graph *g = e->g;

    for (; e->taken <= last; e->taken++) {
        hone_push(g->arena, g->node, g->nodes, g->node_cap);
        g->node[g->nodes++] = e->node[e->taken];
    }
}

/* Gradients that are not finite are not taken, nor are any behind them. */
static hone_status add_squares(early *e, const hone_group *part, hone_err *err)
{
    hone_graph *g = e->g;
    hone_id before = e->squares;

    e->squares = HONE_NONE;
    hone_try(hone_graph_op(g, "sumsq", NULL, NULL, 0, part->grad, part->count,
                           &e->squares, 1, err));
    g->node[g->nodes - 1].acc[0] = before;
    return emit_scalars(g, "step.ok", "y0 s0 finite * =y0", &e->squares, 1,
                        &e->all.ok, 1, err);
}

/* The update of COUNT parameters from FIRST on, behind the last that touches
 * one of them, in layer LAYER. */
static hone_status emit_part(early *e, uint32_t first, uint32_t count,
                             int layer, hone_err *err)
{
    hone_group part = part_of(&e->all, first, count);
    hone_graph *g = e->g;
    int at, node;

    take_nodes(e, e->list[first + count - 1].last);
    at = g->nodes;
    g->phase = HONE_BACKWARD;
    g->layer = layer;
    hone_try(add_squares(e, &part, err));
    hone_try(emit_group(g, e->opt, &part, e->ratio, &node, err));
    if (e->states == HONE_PINNED_SPACE)
        hone_try(bring_states(g, &part, at, err));
    g->phase = HONE_FORWARD;
    g->layer = -1;
    return HONE_OK;
}

static int by_last(const void *a, const void *b)
{
    const trained *x = a, *y = b;

    return x->last != y->last ? x->last - y->last : x->grad - y->grad;
}

/* Parameters with gradients, in the order in which they are touched last. */
static void collect(early *e)
{
    hone_graph *g = e->g;
    size_t most = (size_t)g->nameds + 1;
    hone_id *param = hone_alloc(g->arena, most * sizeof *param);
    hone_id *grad = hone_alloc(g->arena, most * sizeof *grad);
    hone_type *type = hone_alloc(g->arena, most * sizeof *type);
    const char **name = hone_alloc(g->arena, most * sizeof *name);
    uint32_t n = 0;

    e->list = hone_alloc(&e->own, most * sizeof *e->list);
    e->all.param = param;
    e->all.grad = grad;
    e->all.type = type;
    e->all.name = name;
    find_last(g);
    for (int i = 0; i < g->nameds; i++) {
        hone_tensor *t = &g->tensor[g->named[i]], *of;

        if (t->kind != HONE_T_GRAD)
            continue;
        t->kind = HONE_T_TEMP;
        e->list[n].grad = g->named[i];
        e->list[n].param = hone_graph_find(g, t->name + strlen("grad:"));
        of = &g->tensor[e->list[n].param];
        e->list[n++].last = t->last > of->last ? t->last : of->last;
    }
    qsort(e->list, n, sizeof *e->list, by_last);
    e->all.count = n;
    while (n-- > 0) {
        param[n] = e->list[n].param;
        grad[n] = e->list[n].grad;
        type[n] = g->tensor[param[n]].type;
        name[n] = g->tensor[param[n]].name;
    }
}

static hone_status emit_all(early *e, hone_id loss, hone_err *err)
{
    const int nodes = e->g->nodes + 1;

    hone_try(begin_step(e, loss, err));
    collect(e);
    hone_try(make_states(e->g, e->opt, &e->all, e->states, err));
    e->node = hone_copy(&e->own, e->g->node, (size_t)nodes, (size_t)nodes,
                        sizeof *e->node);
    e->g->nodes = 0;
    for (uint32_t i = 0, n; i < e->all.count; i += n) {
        const int layer = e->node[e->list[i].last].layer;

        for (n = 1; i + n < e->all.count && layer >= 0 &&
                    e->node[e->list[i + n].last].layer == layer; n++)
            ;
        hone_try(emit_part(e, i, n, layer, err));
    }
    take_nodes(e, nodes - 1);
    return HONE_OK;
}

hone_status hone_pass_early(hone_graph *g, hone_id loss,
                            const hone_instance *opt, hone_space states,
                            double ratio, hone_err *err)
{
    early e = { .g = g, .opt = opt, .states = states, .ratio = ratio,
                .squares = HONE_NONE, .all = { .size = sizeof e.all } };
    hone_status status = emit_all(&e, loss, err);
    hone_id norm;

    hone_arena_free(&e.own);
    hone_try(status);
    norm = hone_graph_scalar(g, "step.norm", HONE_T_STATE);
    g->phase = HONE_BACKWARD;
    hone_try(emit_scalars(g, "step.norm", "s0 sqrt =y0", &e.squares, 1, &norm,
                          1, err));
    g->phase = HONE_FORWARD;
    hone_graph_compact(g); /* notes where nodes are now */
    return HONE_OK;
}
