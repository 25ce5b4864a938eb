/* SPDX-License-Identifier: MIT
 *
 * group.c -- calls that read the same large tensor and do little with it, done
 * in one call that reads it once: the low-rank factors of q, k and v, the two
 * gradients of one of them. Which op does several of another, or that and
 * another one, is data in the op (`list`, `pair`); whether it pays is for the
 * packs to say, which refuse what is not small.
 */
#include <string.h>

#include "option.h"
#include "passes.h"

enum { MOST = 16 }; /* calls in one */

typedef struct {
    hone_graph *g;
    const hone_component *const *packs;
    int *producer; /* [tensors] the last node that writes it; -1 */
    struct { int first, end; } *span; /* of the nodes of a layer and phase */
    int member[MOST], members;
    int at;        /* the member in whose place the call will stand */
} group;

static const char *list_of(const hone_node *node)
{
    const hone_op *op = node->op;

    return op->size >= offsetof(hone_op, shared) + sizeof op->shared
               ? op->list : NULL;
}

static uint32_t shared_of(const hone_node *node)
{
    return node->op->shared;
}

/* Whose bytes it is: rows of a tensor are written one by one, and read all. */
static hone_id whole(const hone_graph *g, hone_id id)
{
    return id == HONE_NONE || g->tensor[id].base == HONE_NONE
               ? id : g->tensor[id].base;
}

/* Two inputs, one of them shared; other inputs, if any, are absent. */
static int is_plain(const hone_node *node)
{
    for (uint32_t i = 2; i < node->nin; i++)
        if (node->in[i] != HONE_NONE)
            return 0;
    return node->nin >= 2 && node->nout == 1 && node->stream == 0;
}

static int alike(const hone_node *a, const hone_node *b)
{
    return a->component == b->component && a->phase == b->phase &&
           a->layer == b->layer && is_plain(a) && is_plain(b) &&
           a->in[shared_of(a)] == b->in[shared_of(b)] &&
           a->from_row == b->from_row &&
           !memcmp(a->attrs, b->attrs, a->component->config_size);
}

/* Whether node N could stand at position AT, earlier. */
static int could_be_earlier(const group *s, int n, int at)
{
    const hone_node *node = &s->g->node[n];

    if (node->acc[0] != HONE_NONE)
        return 0;
    for (uint32_t i = 0; i < 2; i++)
        if (s->producer[whole(s->g, node->in[i])] >= at)
            return 0;
    return 1;
}

/* Whether node N could stand at position AT, later. */
static int could_be_later(const group *s, int n, int at)
{
    const hone_graph *g = s->g;
    const hone_id out = whole(g, g->node[n].out[0]);

    for (int k = n + 1; k <= at; k++) {
        const hone_node *node = &g->node[k];
        for (uint32_t i = 0; i < node->nin; i++)
            if (whole(g, node->in[i]) == out)
                return 0;
        for (uint32_t i = 0; i < node->nout; i++)
            if (whole(g, node->acc[i]) == out ||
                whole(g, node->out[i]) == out)
                return 0;
    }
    return 1;
}

/* All members at the place of the first or of the last one. */
static int find_place(group *s, int count)
{
    int first = s->member[0], last = s->member[count - 1], can = 1;

    for (int i = 1; i < count && can; i++)
        can = could_be_earlier(s, s->member[i], first);
    s->at = first;
    if (can)
        return 1;
    for (int i = 0; i < count - 1; i++)
        if (!could_be_later(s, s->member[i], last))
            return 0;
    s->at = last;
    return 1;
}

static hone_status describe(const group *s, int count, hone_node *to,
                            hone_err *err)
{
    hone_graph *g = s->g;
    const hone_node *first = &g->node[s->member[0]];
    uint32_t n = (uint32_t)count;

    *to = *first;
    hone_try(hone_need_component(HONE_KIND_OP, list_of(first), &to->component,
                                 err));
    to->op = to->component->ops;
    to->nin = n + 1;
    to->nout = n;
    to->in = hone_alloc(g->arena, (n + 1) * sizeof *to->in);
    to->out = hone_alloc(g->arena, n * sizeof *to->out);
    to->acc = hone_alloc(g->arena, n * sizeof *to->acc);
    to->in[0] = first->in[shared_of(first)];
    for (uint32_t i = 0; i < n; i++) {
        const hone_node *node = &g->node[s->member[i]];
        to->in[i + 1] = node->in[!shared_of(node)];
        to->out[i] = node->out[0];
        to->acc[i] = node->acc[0];
    }
    return HONE_OK;
}

/* Takes node N into the group, if a pack covers them all together. */
static hone_status try_member(group *s, int n, hone_err *err)
{
    hone_node all;

    s->member[s->members] = n;
    if (!find_place(s, s->members + 1))
        return HONE_OK;
    hone_try(describe(s, s->members + 1, &all, err));
    s->members += hone_node_is_covered(s->g, &all, s->packs);
    return HONE_OK;
}

/* Where node N's layer and phase are in the list of spans. */
static int span_of(const hone_graph *g, int n)
{
    return (g->node[n].layer + 1) * (HONE_STEP + 1) + (int)g->node[n].phase;
}

static void find_spans(group *s)
{
    const hone_graph *g = s->g;
    int most = 0;

    for (int n = 0; n < g->nodes; n++)
        most = span_of(g, n) > most ? span_of(g, n) : most;
    s->span = hone_alloc(g->arena, ((size_t)most + 1) * sizeof *s->span);
    for (int n = 0; n < g->nodes; n++) {
        if (!s->span[span_of(g, n)].end)
            s->span[span_of(g, n)].first = n;
        s->span[span_of(g, n)].end = n + 1;
    }
}

static hone_status group_from(group *s, int n, hone_err *err)
{
    hone_graph *g = s->g;
    hone_node all;
    const int end = s->span[span_of(g, n)].end;

    s->members = 1;
    s->member[0] = n;
    for (int k = n + 1; k < end && s->members < MOST; k++)
        if (g->node[k].component && alike(&g->node[n], &g->node[k]))
            hone_try(try_member(s, k, err));
    if (s->members == 1)
        return HONE_OK;
    (void)find_place(s, s->members);
    hone_try(describe(s, s->members, &all, err));
    for (int i = 0; i < s->members; i++)
        g->node[s->member[i]].component = NULL;
    g->node[s->at] = all;
    return HONE_OK;
}

/* ------------------------------------------------------------------- pairs */

static int is_pair(const hone_node *a, const hone_node *b)
{
    return b->component && b->nin && a->in[0] == b->in[0] &&
           !strcmp(b->component->name, a->op->pair_of) &&
           a->phase == b->phase && a->layer == b->layer && !a->stream &&
           !b->stream && a->from_row == b->from_row &&
           hone_options_agree(a->component->options, a->attrs,
                              b->component->options, b->attrs);
}

/* The one that goes with node N: the next, or else the last before; -1. */
static int partner_of(const group *s, int n)
{
    const hone_graph *g = s->g;
    const int at = span_of(g, n);

    for (int k = n + 1; k < s->span[at].end; k++)
        if (is_pair(&g->node[n], &g->node[k]))
            return k;
    for (int k = n - 1; k >= s->span[at].first; k--)
        if (is_pair(&g->node[n], &g->node[k]))
            return k;
    return -1;
}

/* What A reads, and what B does besides; 0: not what the op takes. */
static int join_inputs(hone_graph *g, const hone_node *a, const hone_node *b,
                       hone_node *both)
{
    both->in = hone_alloc(g->arena, (a->nin + b->nin + 1) * sizeof *both->in);
    both->nin = 0;
    for (uint32_t i = 0; i < a->nin; i++)
        if (a->in[i] != HONE_NONE)
            both->in[both->nin++] = a->in[i];
    for (uint32_t i = 0; i < b->nin; i++)
        if (b->in[i] != HONE_NONE && !hone_node_reads(a, b->in[i]))
            both->in[both->nin++] = b->in[i];
    for (uint32_t i = 0; i < both->nin; i++)
        if (!both->op->in[i].name)
            return 0;
    return !both->op->in[both->nin].name;
}

/* Node N with the one that goes with it, in the place of the later one. */
static hone_status pair_from(group *s, int n, hone_err *err)
{
    hone_graph *g = s->g;
    const hone_node *a = &g->node[n], *b;
    hone_node both = *a;
    int k = partner_of(s, n), first = k < n ? k : n, last = k < n ? n : k;

    if (k < 0 || !could_be_later(s, first, last))
        return HONE_OK;
    b = &g->node[k];
    hone_try(hone_need_component(HONE_KIND_OP, a->op->pair, &both.component,
                                 err));
    both.op = both.component->ops;
    both.nout = 2;
    both.out = hone_copy(g->arena, a->out, 1, 2, sizeof *both.out);
    both.acc = hone_copy(g->arena, a->acc, 1, 2, sizeof *both.acc);
    both.out[1] = b->out[0];
    both.acc[1] = b->acc[0];
    if (!join_inputs(g, a, b, &both) ||
        !hone_node_is_covered(g, &both, s->packs))
        return HONE_OK;
    g->node[first].component = NULL;
    g->node[last] = both;
    return HONE_OK;
}

static int has_pair(const hone_node *node)
{
    return node->op->size >= offsetof(hone_op, pair_of) +
                                 sizeof node->op->pair_of && node->op->pair;
}

hone_status hone_pass_group(hone_graph *g, const hone_component *const *packs,
                            hone_err *err)
{
    group s = { .g = g, .packs = packs };

    find_spans(&s);
    for (int n = 0; n < g->nodes; n++)
        if (g->node[n].component && has_pair(&g->node[n]))
            hone_try(pair_from(&s, n, err));
    hone_graph_compact(g);
    find_spans(&s);
    s.producer = hone_alloc(g->arena,
                            (size_t)(g->tensors + 1) * sizeof *s.producer);
    memset(s.producer, 0xff, (size_t)g->tensors * sizeof *s.producer);
    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            s.producer[whole(g, g->node[n].out[i])] = n;
    for (int n = 0; n < g->nodes; n++)
        if (g->node[n].component && list_of(&g->node[n]))
            hone_try(group_from(&s, n, err));
    hone_graph_compact(g);
    return HONE_OK;
}
