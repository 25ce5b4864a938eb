/* SPDX-License-Identifier: MIT
 *
 * rounding.c -- what a step keeps in less than fp32. Gradients of weights that
 * are held as bf16 are bf16 too, if they are written once and nothing is added
 * to them; that of the LM head is made in chunks. What an update keeps as bf16, weights and states, it rounds at
 * random: steps far smaller than the last bit would be lost otherwise. Every
 * optimizer's `map` gets two inputs more for it, the step's rng and a key for
 * each such output, from its name. Knows `map`.
 */
#include <string.h>

#include "option.h"
#include "passes.h"

#include <xxhash.h>

/* -------------------------------------------------------------- gradients */

void hone_pass_gradients(hone_graph *g, hone_id head)
{
    int *writers = hone_alloc(g->arena, ((size_t)g->tensors + 1) *
                                            sizeof *writers);

    for (int n = 0; n < g->nodes; n++) {
        hone_node *node = &g->node[n];

        for (uint32_t i = 0; i < node->nout; i++)
            if (g->tensor[node->out[i]].kind == HONE_T_GRAD &&
                writers[node->out[i]]++ == 0)
                node->acc[i] = HONE_NONE; /* the first writes it */
    }
    for (int i = 0; i < g->nameds; i++) {
        hone_id t = g->named[i], of;

        if (g->tensor[t].kind != HONE_T_GRAD || writers[t] != 1)
            continue;
        of = hone_graph_find(g, g->tensor[t].name + strlen("grad:"));
        if (of != HONE_NONE && of != head &&
            g->tensor[of].type.storage == HONE_BF16)
            g->tensor[t].type.storage = HONE_BF16;
    }
}

/* ---------------------------------------------------------------- updates */

/* The key of a tensor to be rounded at random; 0: it is not. */
static int64_t key_of(const hone_tensor *t)
{
    if (t->type.storage != HONE_BF16 ||
        (t->kind != HONE_T_PARAM && t->kind != HONE_T_STATE))
        return 0;
    return (int64_t)(XXH64(t->name, strlen(t->name), 0) | 1);
}

static hone_status round_outputs(hone_graph *g, hone_node *node, hone_err *err)
{
    const hone_option *o = hone_option_find(node->component->options,
                                            "stochastic");
    int64_t *keys = hone_alloc(g->arena, node->nout * sizeof *keys);
    hone_type type = hone_type_of(HONE_I64, 1, node->nout, 1);
    hone_id rng = hone_graph_find(g, "rng"), id;
    int any = 0;

    for (uint32_t i = 0; i < node->nout; i++)
        any |= (keys[i] = key_of(&g->tensor[node->out[i]])) != 0;
    if (!any)
        return HONE_OK;
    if (rng == HONE_NONE)
        rng = hone_graph_tensor(g, "rng", hone_type_of(HONE_I64, 1, 2, 1),
                                HONE_T_INPUT);
    id = hone_graph_tensor(g, hone_format_text(g->arena, "keys:%s:%d",
                                               node->name, g->tensors),
                           type, HONE_T_CONST);
    g->tensor[id].data = keys;
    node->in = hone_copy(g->arena, node->in, node->nin, node->nin + 2,
                         sizeof *node->in);
    node->in[node->nin++] = rng;
    node->in[node->nin++] = id;
    return hone_option_set_bool(o, node->attrs, 1, err);
}

hone_status hone_pass_round(hone_graph *g, int from, hone_err *err)
{
    for (int n = from; n < g->nodes; n++)
        if (!strcmp(g->node[n].component->name, "map"))
            hone_try(round_outputs(g, &g->node[n], err));
    return HONE_OK;
}
