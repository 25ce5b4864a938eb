/* SPDX-License-Identifier: MIT
 *
 * sums.c -- a gradient that is a sum of large products and of small ones: the
 * small ones, which only write it again and again, become one call that writes
 * it once. Which op adds up several of another is data in the op (`sum`);
 * whether it pays is for the packs to say, which refuse what is not small.
 */
#include <string.h>

#include "passes.h"

enum { MOST = 8 }; /* summands in one call */

typedef struct {
    hone_graph *g;
    const hone_component *const *packs;
    int member[MOST], members;
    int *uses; /* [tensors] inputs and accumulations that read it */
} sums;

static int can_be_summed(const hone_node *node)
{
    const hone_op *op = node->op;

    return op->size >= offsetof(hone_op, sum) + sizeof op->sum && op->sum &&
           node->nin == 2 && node->nout == 1 && node->stream == 0;
}

static int alike(const hone_node *a, const hone_node *b)
{
    return a->component == b->component && b->nin == 2 &&
           a->from_row == b->from_row &&
           !memcmp(a->attrs, b->attrs, a->component->config_size);
}

/* The members as one call, in the place and with the result of the first. */
static hone_status describe(const sums *s, hone_node *to, hone_err *err)
{
    hone_graph *g = s->g;
    const hone_node *first = &g->node[s->member[0]];

    *to = *first;
    hone_try(hone_need_component(HONE_KIND_OP, first->op->sum, &to->component,
                                 err));
    to->op = to->component->ops;
    to->nin = 2 * (uint32_t)s->members;
    to->in = hone_alloc(g->arena, to->nin * sizeof *to->in);
    for (int i = 0; i < s->members; i++) {
        to->in[2 * i] = g->node[s->member[i]].in[0];
        to->in[2 * i + 1] = g->node[s->member[i]].in[1];
    }
    return HONE_OK;
}

/* The node to whose result node N adds, if that is all that it is for. */
static int before(const sums *s, const hone_node *node)
{
    const hone_graph *g = s->g;
    const hone_id into = node->acc[0];
    int p = into == HONE_NONE ? -1 : hone_graph_producer(g, into);
    const hone_node *made = p < 0 ? NULL : &g->node[p];

    return made && made->nout == 1 && made->layer == node->layer &&
                   made->phase == node->phase && made->stream == 0 &&
                   s->uses[into] == 1
               ? p : -1;
}

static hone_status sum_up(sums *s, int n, hone_err *err)
{
    hone_graph *g = s->g;
    hone_node all;
    int last = n, p; /* last: of those that stay */

    s->members = 1;
    s->member[0] = n;
    while (s->members < MOST && (p = before(s, &g->node[last])) >= 0) {
        int taken = 0;

        if (alike(&g->node[n], &g->node[p])) {
            s->member[s->members++] = p;
            hone_try(describe(s, &all, err));
            taken = hone_node_is_covered(g, &all, s->packs);
            s->members -= !taken;
        }
        if (taken) {
            g->node[last].acc[0] = g->node[p].acc[0];
            g->node[p].acc[0] = HONE_NONE;
        } else {
            last = p;
        }
    }
    if (s->members == 1)
        return HONE_OK;
    hone_try(describe(s, &all, err));
    for (int i = 1; i < s->members; i++)
        g->node[s->member[i]].component = NULL;
    g->node[n] = all;
    return HONE_OK;
}

hone_status hone_pass_sums(hone_graph *g, const hone_component *const *packs,
                           hone_err *err)
{
    sums s = { .g = g, .packs = packs,
               .uses = hone_alloc(g->arena, (size_t)(g->tensors + 1) *
                                                sizeof *s.uses) };

    for (int n = 0; n < g->nodes; n++) {
        for (uint32_t i = 0; i < g->node[n].nin; i++)
            if (g->node[n].in[i] != HONE_NONE)
                s.uses[g->node[n].in[i]]++;
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            if (g->node[n].acc[i] != HONE_NONE)
                s.uses[g->node[n].acc[i]]++;
    }
    for (int n = g->nodes - 1; n >= 0; n--)
        if (g->node[n].component && can_be_summed(&g->node[n]))
            hone_try(sum_up(&s, n, err));
    hone_graph_compact(g);
    return HONE_OK;
}
