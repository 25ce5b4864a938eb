/* SPDX-License-Identifier: MIT
 *
 * autodiff.c -- reverse mode over the graph: walks the forward nodes from the
 * last to the first and lets each op's backward rule emit ops. Nothing is
 * saved by anybody: a rule names the tensors it reads, and liveness keeps
 * them.
 */
#include <string.h>

#include "passes.h"

typedef struct {
    hone_graph *g;
    hone_id *grad;     /* of each of the first `known` tensors */
    uint8_t *need;     /* a trainable parameter lies behind it */
    int known;
    int first;         /* of the nodes that the present rule emitted */
    hone_err *err;
} diff;

static int find_producer_output(const hone_graph *g, hone_id id, uint32_t *out)
{
    int n = hone_graph_producer(g, id);

    for (uint32_t i = 0; n >= 0 && i < g->node[n].nout; i++)
        if (g->node[n].out[i] == id)
            *out = i;
    return n;
}

/* The node that could add ID into INTO (HONE_NONE: whatever is there already)
 * instead of writing it. Not one from before the present rule: a gradient that
 * the rule only hands on may be that of another tensor as well. */
static hone_node *adder(const diff *d, hone_id id, hone_id into, uint32_t *out)
{
    hone_graph *g = d->g;
    int n = find_producer_output(g, id, out);
    hone_node *node;

    if (n < d->first ||
        (into != HONE_NONE && hone_graph_producer(g, into) >= n))
        return NULL;
    node = &g->node[n];
    if (!(hone_node_flags(node, node->nin + *out) & HONE_CAN_ADD) ||
        node->acc[*out] != HONE_NONE || hone_graph_uses(g, id, n) != 0)
        return NULL;
    return node;
}

static hone_id parameter_grad(hone_graph *g, hone_id param)
{
    const char *name =
        hone_format_text(g->arena, "grad:%s", g->tensor[param].name);
    hone_id id = hone_graph_find(g, name);
    hone_type type = g->tensor[param].type;

    type.storage = g->compute == HONE_F64 ? HONE_F64 : HONE_F32;
    return id != HONE_NONE ? id : hone_graph_tensor(g, name, type, HONE_T_GRAD);
}

/* One more summand of the gradient of tensor T. ALONE: the rule gave PART for
 * one input only. */
static hone_status contribute(diff *d, hone_id t, hone_id part, int alone)
{
    hone_graph *g = d->g;
    uint32_t out = 0;
    hone_node *node = alone ? adder(d, part, d->grad[t], &out) : NULL;

    if (g->tensor[t].kind == HONE_T_PARAM) {
        hone_id into = parameter_grad(g, t);

        if (!node)
            return hone_fail(d->err, HONE_ENOSUP,
                             "the gradient of %s comes from an op that cannot "
                             "add into it: declare its output HONE_CAN_ADD",
                             g->tensor[t].name);
        node->out[out] = node->acc[out] = into;
        return HONE_OK;
    }
    if (d->grad[t] == HONE_NONE) {
        d->grad[t] = part;
        return HONE_OK;
    }
    if (node) {
        node->acc[out] = d->grad[t];
        d->grad[t] = part;
        return HONE_OK;
    }
    hone_id pair[2] = { d->grad[t], part }, sum = HONE_NONE;
    hone_try(hone_graph_op(g, "add", NULL, NULL, 0, pair, 2, &sum, 1, d->err));
    d->grad[t] = sum;
    return HONE_OK;
}

/* Takes in the tensors made since the last time and what nodes from FIRST on
 * say about them. */
static void find_needs(diff *d, int first)
{
    const hone_graph *g = d->g;
    size_t known = (size_t)d->known, all = (size_t)g->tensors;

    d->grad = hone_copy(g->arena, d->grad, known, all, sizeof *d->grad);
    d->need = hone_copy(g->arena, d->need, known, all, 1);
    for (hone_id t = d->known; t < g->tensors; t++) {
        d->grad[t] = HONE_NONE;
        d->need[t] = g->tensor[t].kind == HONE_T_PARAM &&
                     g->tensor[t].trainable;
    }
    d->known = g->tensors;
    for (int n = first; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        int any = 0;

        for (uint32_t i = 0; i < node->nin; i++)
            any |= node->in[i] != HONE_NONE && d->need[node->in[i]] &&
                   !(hone_node_flags(node, i) & HONE_NO_GRAD);
        for (uint32_t i = 0; i < node->nout; i++)
            d->need[node->out[i]] |= (uint8_t)any;
    }
}

/* Of nodes [first, last) those that nobody reads. */
static void drop_unused(hone_graph *g, int first, int last)
{
    for (int n = last - 1; n >= first; n--) {
        hone_node *node = &g->node[n];
        int uses = 0;

        for (uint32_t i = 0; i < node->nout; i++)
            uses += hone_graph_uses(g, node->out[i], n);
        if (uses)
            continue;
        node->nin = 0;
        node->component = NULL;
    }
    hone_graph_compact(g);
}

static hone_status differentiate(diff *d, int n);

/* A fused op without a rule of its own: its decomposition is computed once
 * more, as far as it is needed, and that is differentiated. */
static hone_status through_decomposition(diff *d, const hone_node *node,
                                         const hone_rule *r)
{
    hone_graph *g = d->g;
    int first = g->nodes, last;
    hone_rule again = *r;

    again.out = hone_alloc(g->arena, (r->nout + 1) * sizeof *again.out);
    memset(again.out, 0xff, r->nout * sizeof *again.out);
    hone_try(node->op->decompose(&g->builder, &again, d->err));
    last = g->nodes;
    find_needs(d, first);
    for (uint32_t i = 0; i < r->nout; i++)
        d->grad[again.out[i]] = r->dout[i];
    for (int n = last - 1; n >= first; n--)
        hone_try(differentiate(d, n));
    drop_unused(g, first, last);
    return HONE_OK;
}

static hone_status differentiate(diff *d, int n)
{
    hone_graph *g = d->g;
    hone_node node = g->node[n]; /* a copy: emitting moves the array */
    hone_id *dout = hone_alloc(g->arena, (node.nout + 1) * sizeof *dout);
    hone_id *din = hone_alloc(g->arena, (node.nin + 1) * sizeof *din);
    uint8_t *need = hone_alloc(g->arena, node.nin + 1);
    int flows = 0, wanted = 0;

    for (uint32_t i = 0; i < node.nout; i++) {
        dout[i] = d->grad[node.out[i]];
        flows |= dout[i] != HONE_NONE;
    }
    for (uint32_t i = 0; i < node.nin; i++) {
        din[i] = HONE_NONE;
        need[i] = node.in[i] != HONE_NONE && d->need[node.in[i]] &&
                  !(hone_node_flags(&node, i) & HONE_NO_GRAD);
        wanted |= need[i];
    }
    if (!flows || !wanted)
        return HONE_OK;
    if (!node.op->backward && !node.op->decompose)
        return hone_fail(d->err, HONE_ENOSUP,
                         "%s: op %s has no backward rule, so nothing before it "
                         "can be trained", node.name, node.component->name);
    hone_rule rule = { .attrs = node.attrs, .name = node.name,
                       .nin = node.nin, .nout = node.nout, .in = node.in,
                       .out = node.out, .dout = dout, .need = need,
                       .din = din };
    g->layer = node.layer;
    d->first = g->nodes;
    if (!node.op->backward)
        return through_decomposition(d, &node, &rule);
    hone_try(node.op->backward(&g->builder, &rule, d->err));
    for (uint32_t i = 0; i < node.nin; i++) {
        int given = 0;

        if (!need[i] || din[i] == HONE_NONE)
            continue;
        for (uint32_t k = 0; k < node.nin; k++)
            given += need[k] && din[k] == din[i];
        hone_try(contribute(d, node.in[i], din[i], given == 1));
    }
    return HONE_OK;
}

hone_status hone_pass_autodiff(hone_graph *g, hone_id loss, hone_id seed,
                               hone_err *err)
{
    diff d = { .g = g, .err = err };

    find_needs(&d, 0);
    d.grad[loss] = seed;
    g->phase = HONE_BACKWARD;
    for (int n = g->nodes - 1; n >= 0; n--)
        hone_try(differentiate(&d, n));
    g->layer = -1;
    g->phase = HONE_FORWARD;
    return HONE_OK;
}

/* y = add(a, b), where b comes from an op that can add and is read by nobody
 * else: that op adds into a, and the sum costs nothing. If it stands before
 * the op that makes a, it takes the place of the sum. */
static int fold(hone_graph *g, int at, int which)
{
    hone_node *sum = &g->node[at];
    hone_id part = sum->in[which], other = sum->in[!which];
    int p, q;
    uint32_t i = 0;
    hone_node *node;

    p = find_producer_output(g, part, &i);
    q = hone_graph_producer(g, other);
    if (p < 0 || part == other || g->tensor[part].uses != 1)
        return 0;
    node = &g->node[p];
    if (!(hone_node_flags(node, node->nin + i) & HONE_CAN_ADD) ||
        node->acc[i] != HONE_NONE || node->phase != sum->phase ||
        node->layer != sum->layer || (q >= p && node->nout > 1))
        return 0;
    node->acc[i] = other;
    node->out[i] = sum->out[0];
    if (q >= p) {
        *sum = *node;
        hone_node_drop(node);
    } else {
        hone_node_drop(sum);
    }
    return 1;
}

/* y = x + (v + W h): v takes x in on its way, so that W h adds into both. */
static int fold_chain(hone_graph *g, int at, int which)
{
    hone_node *sum = &g->node[at], *node, *first;
    hone_id part = sum->in[which], other = sum->in[!which], v;
    int p, q, o;
    uint32_t i = 0, k = 0;

    p = find_producer_output(g, part, &i);
    o = hone_graph_producer(g, other);
    if (p < 0 || part == other || g->tensor[part].uses != 1)
        return 0;
    node = &g->node[p];
    v = node->acc[i];
    q = v == HONE_NONE ? -1 : find_producer_output(g, v, &k);
    first = q < 0 ? NULL : &g->node[q];
    if (q <= o || q >= p || node->layer != sum->layer ||
        node->phase != sum->phase || g->tensor[v].uses != 1 ||
        first->layer != sum->layer ||
        first->acc[k] != HONE_NONE ||
        !(hone_node_flags(first, first->nin + k) & HONE_CAN_ADD))
        return 0;
    first->acc[k] = other;
    node->out[i] = sum->out[0];
    hone_node_drop(sum);
    return 1;
}

/* What it takes to make ID; 0 for what no op makes. */
static double work(const hone_graph *g, hone_id id)
{
    int n = hone_graph_producer(g, id);
    hone_call call;

    if (n < 0)
        return 0;
    call = hone_node_call(g, &g->node[n]);
    return g->node[n].op->flops ? g->node[n].op->flops(&call)
                                : (double)hone_count(&g->tensor[id].type);
}

int hone_sum_is_free(const hone_graph *g, const hone_node *sum)
{
    if (strcmp(sum->component->name, "add") != 0)
        return 0;
    for (int k = 0; k < 2; k++) {
        uint32_t i = 0;
        int p = find_producer_output(g, sum->in[k], &i);
        const hone_node *node = p < 0 ? NULL : &g->node[p];

        if (node && node->layer == sum->layer &&
            g->tensor[sum->in[k]].uses == 1 &&
            (hone_node_flags(node, node->nin + i) & HONE_CAN_ADD ||
             hone_sum_is_free(g, node)))
            return 1;
    }
    return 0;
}

/* The larger op adds into the result of the smaller: a large product hides
 * the reading of what it adds to, a low-rank one would only write it twice. */
void hone_pass_accumulate(hone_graph *g)
{
    hone_graph_count(g);
    for (int n = 0; n < g->nodes; n++) {
        hone_node *node = &g->node[n];
        int larger;

        if (!node->component || strcmp(node->component->name, "add") != 0)
            continue;
        larger = work(g, node->in[1]) >= work(g, node->in[0]);
        (void)(fold(g, n, larger) || fold(g, n, !larger) ||
               fold_chain(g, n, 0) || fold_chain(g, n, 1));
    }
    hone_graph_compact(g);
}
