/* SPDX-License-Identifier: MIT
 *
 * schedule.c -- trades memory for time: layers that are computed again before
 * their backward ops, and what enters them waiting in pinned memory meanwhile.
 * Recomputing is the same ops once more: random numbers are keyed, so that
 * dropout falls the same. Chen et al., "Training Deep Nets with Sublinear
 * Memory Cost", 2016.
 */
#include <string.h>

#include "passes.h"

typedef struct {
    hone_graph *g;
    int layer;
    uint8_t *again;   /* [nodes] forward nodes to run again */
    hone_id *twin;    /* [tensors] of what they write */
    int *producer;    /* [tensors] its node; -1 */
} redo;

static void find_producers(redo *r)
{
    const hone_graph *g = r->g;

    memset(r->producer, 0xff, (size_t)g->tensors * sizeof *r->producer);
    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            r->producer[g->node[n].out[i]] = n;
}

static int is_forward(const redo *r, int n)
{
    return n >= 0 && r->g->node[n].phase == HONE_FORWARD &&
           r->g->node[n].layer == r->layer;
}

static int is_backward(const redo *r, int n)
{
    return r->g->node[n].phase == HONE_BACKWARD &&
           r->g->node[n].layer == r->layer;
}

/* Marks the forward nodes of the layer behind ID. */
static void want(redo *r, hone_id id)
{
    const hone_graph *g = r->g;
    int n = id == HONE_NONE ? -1 : r->producer[id];

    if (!is_forward(r, n) || g->tensor[id].kind != HONE_T_TEMP || r->again[n])
        return;
    r->again[n] = 1;
    for (uint32_t i = 0; i < g->node[n].nin; i++)
        want(r, g->node[n].in[i]);
    for (uint32_t i = 0; i < g->node[n].nout; i++)
        want(r, g->node[n].acc[i]);
}

static hone_id *twins(redo *r, const hone_id *ids, uint32_t n)
{
    hone_id *out = hone_alloc(r->g->arena, (n + 1) * sizeof *out);

    for (uint32_t i = 0; i < n; i++)
        out[i] = ids[i] != HONE_NONE && r->twin[ids[i]] != HONE_NONE
                     ? r->twin[ids[i]]
                     : ids[i];
    return out;
}

/* Appends a copy of node N that writes twins. */
static void clone(redo *r, int n)
{
    hone_graph *g = r->g;
    hone_node node = g->node[n];

    node.phase = HONE_BACKWARD;
    node.in = twins(r, node.in, node.nin);
    node.acc = twins(r, node.acc, node.nout);
    for (uint32_t i = 0; i < node.nout; i++) {
        hone_id old = node.out[i];
        r->twin[old] =
            hone_graph_tensor(g, NULL, g->tensor[old].type, HONE_T_TEMP);
    }
    node.out = twins(r, node.out, node.nout);
    hone_push(g->arena, g->node, g->nodes, g->node_cap);
    g->node[g->nodes++] = node;
}

static int first_backward(const redo *r)
{
    for (int n = 0; n < r->g->nodes; n++)
        if (is_backward(r, n))
            return n;
    return -1;
}

static void redo_start(redo *r, hone_graph *g, int layer)
{
    size_t tensors = (size_t)g->tensors;

    *r = (redo){ .g = g, .layer = layer };
    r->again = hone_alloc(g->arena, (size_t)g->nodes + 1);
    r->twin = hone_alloc(g->arena, tensors * sizeof *r->twin);
    memset(r->twin, 0xff, tensors * sizeof *r->twin);
    r->producer = hone_alloc(g->arena, tensors * sizeof *r->producer);
    find_producers(r);
}

static void recompute(hone_graph *g, int layer)
{
    redo r;
    int at, forward, added;

    redo_start(&r, g, layer);
    at = first_backward(&r);
    if (at < 0)
        return;
    for (int n = at; n < g->nodes; n++) {
        if (!is_backward(&r, n))
            continue;
        for (uint32_t i = 0; i < g->node[n].nin; i++)
            want(&r, g->node[n].in[i]);
    }
    forward = g->nodes;
    for (int n = 0; n < forward; n++)
        if (r.again[n])
            clone(&r, n);
    added = g->nodes - forward;
    for (int n = at; n < forward; n++)
        if (is_backward(&r, n))
            g->node[n].in = twins(&r, g->node[n].in, g->node[n].nin);
    hone_graph_move(g, added, at);
}

/* ---------------------------------------------------------------- offload */

static hone_status emit_copy(hone_graph *g, hone_id from, hone_id to, int layer,
                             hone_phase phase, int at, hone_err *err)
{
    g->layer = layer;
    g->phase = phase;
    hone_try(hone_graph_op(g, "copy", NULL, NULL, 0, &from, 1, &to, 1, err));
    g->node[g->nodes - 1].stream = 1;
    g->layer = -1;
    g->phase = HONE_FORWARD;
    hone_graph_move(g, 1, at);
    return HONE_OK;
}

/* Sends ID out behind its producer and brings it back for the layer's
 * backward ops, one layer's work ahead. */
static hone_status send_out(hone_graph *g, hone_id id, int layer, hone_err *err)
{
    hone_type type = g->tensor[id].type;
    hone_id out = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    hone_id back = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    int at = hone_graph_producer(g, id) + 1, use = -1, ahead = -1;

    g->tensor[out].space = HONE_PINNED_SPACE;
    hone_try(emit_copy(g, id, out, layer, HONE_FORWARD, at, err));
    for (int n = 0; n < g->nodes; n++) {
        if (g->node[n].phase != HONE_BACKWARD)
            continue;
        if (ahead < 0 && (g->node[n].layer == layer + 1 ||
                          g->node[n].layer == layer))
            ahead = n;
        if (use < 0 && g->node[n].layer == layer)
            use = n;
    }
    for (int n = use; n < g->nodes; n++)
        if (g->node[n].layer == layer && g->node[n].phase == HONE_BACKWARD)
            hone_graph_replace(g, id, back, n, n + 1);
    return emit_copy(g, out, back, layer, HONE_BACKWARD, ahead, err);
}

static hone_status offload(hone_graph *g, int layer, hone_err *err)
{
    hone_id *sent = NULL;
    int count = 0, cap = 0;
    redo r;

    redo_start(&r, g, layer);
    for (int n = 0; n < g->nodes; n++) {
        if (!is_backward(&r, n))
            continue;
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];
            int p = id == HONE_NONE ? -1 : r.producer[id], seen = 0;

            if (p < 0 || g->tensor[id].kind != HONE_T_TEMP ||
                g->node[p].phase != HONE_FORWARD || g->node[p].layer == layer)
                continue;
            for (int k = 0; k < count; k++)
                seen |= sent[k] == id;
            if (seen)
                continue;
            hone_push(g->arena, sent, count, cap);
            sent[count++] = id;
        }
    }
    for (int k = 0; k < count; k++)
        hone_try(send_out(g, sent[k], layer, err));
    return HONE_OK;
}

hone_status hone_pass_recompute(hone_graph *g, const uint8_t *keep, int layers,
                                hone_err *err)
{
    for (int layer = layers - 1; layer >= 0; layer--)
        if (keep[layer] == HONE_KEEP_NONE || keep[layer] == HONE_KEEP_OFFLOAD)
            recompute(g, layer);
    for (int layer = layers - 1; layer >= 0; layer--)
        if (keep[layer] == HONE_KEEP_OFFLOAD)
            hone_try(offload(g, layer, err));
    return HONE_OK;
}
