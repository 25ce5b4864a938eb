/* SPDX-License-Identifier: MIT
 *
 * schedule.c -- trades memory for time: layers that are computed again before
 * their backward ops, whole or only what is cheap, and what enters them waiting
 * in pinned memory meanwhile. Recomputing is the same ops once more: random
 * numbers are keyed, so that dropout falls the same. Chen et al., "Training
 * Deep Nets with Sublinear Memory Cost", 2016.
 */
#include <string.h>

#include "passes.h"

enum {
    SMALL = 64, /* as many tensors fit what enters a layer: not made again */
    CHEAP = 16, /* operations an element: no product of matrices */
    PER_BYTE = 8000 /* operations of a card while a byte comes from the host */
};

typedef struct {
    hone_graph *g;
    int layer;
    uint8_t *again;   /* [nodes] forward nodes to run again */
    hone_id *twin;    /* [tensors] of what they write */
    int *producer;    /* [tensors] its node; -1 */
    uint8_t *kept;    /* [tensors] of the forward pass, read by backward nodes:
                         HERE of this layer alone, or else ELSEWHERE too */
    uint8_t *cheap;   /* [nodes] of the layer, forward */
    int64_t enters;   /* bytes of what enters the layer */
    int64_t small;    /* of a tensor that is not worth the work */
    int64_t most;     /* of one that may be kept */
} redo;
enum { HERE = 1, ELSEWHERE };

const char *const hone_keep_names[] = { "auto", "all", "none", "offload",
                                        "light", "away", NULL };

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

static int64_t bytes_of(const redo *r, hone_id id)
{
    return hone_tensor_bytes(&r->g->tensor[id].type);
}

/* Marks the forward nodes of the layer behind ID. */
static void want(redo *r, hone_id id)
{
    const hone_graph *g = r->g;
    int n = id == HONE_NONE ? -1 : r->producer[id];

    if (!is_forward(r, n) || g->tensor[id].kind != HONE_T_TEMP ||
        r->again[n] || bytes_of(r, id) <= r->small)
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

/* What enters the layer says how small a tensor is. */
static void find_small(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; is_forward(r, n) && i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];

            if (id != HONE_NONE && g->tensor[id].kind == HONE_T_TEMP &&
                !is_forward(r, r->producer[id]) &&
                bytes_of(r, id) > r->enters)
                r->enters = bytes_of(r, id);
        }
    r->small = r->enters / SMALL;
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
    find_small(r);
}

/* ------------------------------------------------------- what is cheap */

static void find_kept(redo *r)
{
    const hone_graph *g = r->g;

    r->kept = hone_alloc(g->arena, (size_t)g->tensors);
    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];

            if (g->node[n].phase == HONE_BACKWARD && id != HONE_NONE)
                r->kept[id] |= is_backward(r, n) ? HERE : ELSEWHERE;
        }
}

static void find_cheap(redo *r)
{
    const hone_graph *g = r->g;

    r->cheap = hone_alloc(g->arena, (size_t)g->nodes);
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        double elements = 0;

        if (!is_forward(r, n))
            continue;
        for (uint32_t i = 0; i < node->nout; i++)
            elements += (double)hone_count(&g->tensor[node->out[i]].type);
        r->cheap[n] = hone_node_flops(g, node) < CHEAP * elements;
    }
}

static int64_t price_of(const redo *r, hone_id id);

/* Bytes to keep for node N to run again. */
static int64_t price(const redo *r, int n)
{
    const hone_node *node = &r->g->node[n];
    int64_t bytes = 0;

    for (uint32_t i = 0; i < node->nin; i++)
        bytes += price_of(r, node->in[i]);
    for (uint32_t i = 0; i < node->nout; i++)
        bytes += price_of(r, node->acc[i]);
    return bytes;
}

/* Bytes to keep so that ID can be had: its own, or those it is made of. */
static int64_t price_of(const redo *r, hone_id id)
{
    int64_t own, made;

    if (id == HONE_NONE || r->g->tensor[id].kind != HONE_T_TEMP || r->kept[id])
        return 0;
    own = bytes_of(r, id);
    if (!is_forward(r, r->producer[id]) ||
        (own <= r->most && !r->cheap[r->producer[id]]))
        return own;
    made = price(r, r->producer[id]);
    return made < own || own > r->most ? made : own;
}

static void fetch(redo *r, int n);

static void fetch_one(redo *r, hone_id id)
{
    if (id == HONE_NONE || r->g->tensor[id].kind != HONE_T_TEMP || r->kept[id])
        return;
    if (price_of(r, id) < bytes_of(r, id) ||
        (bytes_of(r, id) > r->most && is_forward(r, r->producer[id])))
        fetch(r, r->producer[id]);
    else
        r->kept[id] = HERE;
}

/* Node N runs again: so do those before it that make what is not kept. */
static void fetch(redo *r, int n)
{
    const hone_node *node = &r->g->node[n];

    if (r->again[n])
        return;
    r->again[n] = 1;
    for (uint32_t i = 0; i < node->nin; i++)
        fetch_one(r, node->in[i]);
    for (uint32_t i = 0; i < node->nout; i++)
        fetch_one(r, node->acc[i]);
}

/* Marks what is too large to be kept. */
static void want_large(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = g->nodes - 1; n >= 0; n--)
        for (uint32_t i = 0; is_forward(r, n) && i < g->node[n].nout; i++) {
            hone_id id = g->node[n].out[i];

            if (r->kept[id] != HERE || bytes_of(r, id) <= r->most)
                continue;
            r->kept[id] = 0;
            fetch(r, n);
        }
}

/* Marks what is cheap to make again from what is kept for less. */
static void want_cheap(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = g->nodes - 1; n >= 0; n--) {
        const hone_node *node = &g->node[n];
        int64_t saved = 0;

        if (!r->cheap[n])
            continue;
        for (uint32_t i = 0; i < node->nout; i++)
            if (r->kept[node->out[i]] == HERE)
                saved += bytes_of(r, node->out[i]);
        if (saved <= r->small || saved <= price(r, n))
            continue;
        for (uint32_t i = 0; i < node->nout; i++)
            r->kept[node->out[i]] &= ELSEWHERE;
        fetch(r, n);
    }
}

/* ----------------------------------------------------------------- layers */

static void want_all(redo *r, int at)
{
    const hone_graph *g = r->g;

    for (int n = at; n < g->nodes; n++)
        for (uint32_t i = 0; is_backward(r, n) && i < g->node[n].nin; i++)
            want(r, g->node[n].in[i]);
}

/* All of it before the layer's first backward node, at AT. */
static void redo_at_once(redo *r, int at)
{
    hone_graph *g = r->g;
    int nodes = g->nodes;

    for (int n = 0; n < nodes; n++)
        if (r->again[n])
            clone(r, n);
    for (int n = at; n < nodes; n++)
        if (is_backward(r, n))
            g->node[n].in = twins(r, g->node[n].in, g->node[n].nin);
    hone_graph_move(g, g->nodes - nodes, at);
}

/* What makes ID again, and before it what that needs, at the end. */
static void redo_for(redo *r, hone_id id)
{
    int n = id == HONE_NONE ? -1 : r->producer[id];

    if (n < 0 || !r->again[n] || r->twin[id] != HONE_NONE)
        return;
    for (uint32_t i = 0; i < r->g->node[n].nin; i++)
        redo_for(r, r->g->node[n].in[i]);
    for (uint32_t i = 0; i < r->g->node[n].nout; i++)
        redo_for(r, r->g->node[n].acc[i]);
    clone(r, n);
}

/* Each right before the first backward node that needs it. */
static void redo_in_turn(redo *r, int at)
{
    hone_graph *g = r->g;

    for (int n = at; n < g->nodes; n++) {
        int nodes = g->nodes;

        if (!is_backward(r, n))
            continue;
        for (uint32_t i = 0; i < g->node[n].nin; i++)
            redo_for(r, g->node[n].in[i]);
        g->node[n].in = twins(r, g->node[n].in, g->node[n].nin);
        hone_graph_move(g, g->nodes - nodes, n);
        n += g->nodes - nodes;
    }
}

static void recompute(hone_graph *g, int layer, int keep)
{
    redo r;
    int at;

    redo_start(&r, g, layer);
    at = first_backward(&r);
    if (at < 0)
        return;
    if (keep == HONE_KEEP_LIGHT || keep == HONE_KEEP_AWAY) {
        find_kept(&r);
        find_cheap(&r);
        r.most = keep == HONE_KEEP_AWAY ? r.enters : INT64_MAX;
        want_large(&r);
        want_cheap(&r);
        redo_in_turn(&r, at);
    } else {
        want_all(&r, at);
        redo_at_once(&r, at);
    }
}

/* ---------------------------------------------------------------- offload */

static hone_status emit_copy(hone_graph *g, hone_id from, hone_id to, int layer,
                             hone_phase phase, int at, hone_err *err)
{
    g->layer = layer;
    g->phase = phase;
    hone_try(hone_graph_copy(g, from, to, at, err));
    g->layer = -1;
    g->phase = HONE_FORWARD;
    return HONE_OK;
}

/* What waits in pinned memory of one layer. */
typedef struct {
    hone_id *id, *back; /* back: what it is when it is here again */
    int count, cap, back_cap;
    int64_t bytes;
} waiting;

/* Where the layer's backward ops begin, or those of the next, before them. */
static int one_layer_ahead(const hone_graph *g, int layer)
{
    for (int n = 0; n < g->nodes; n++) /* copies stand ahead of theirs */
        if (g->node[n].phase == HONE_BACKWARD && !g->node[n].stream &&
            (g->node[n].layer == layer || g->node[n].layer == layer + 1))
            return n;
    return g->nodes;
}

/* Behind the last use of BEFORE, its like in the layer that went before, whose
 * bytes are free then; -1: that would be too late for what is to come. */
static int in_its_place(const hone_graph *g, hone_id id, int layer,
                        hone_id before, int64_t bytes)
{
    int at = -1, use = -1;
    double flops = 0;

    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];

        if (node->phase != HONE_BACKWARD || node->stream)
            continue;
        if (hone_node_uses(node, before))
            at = n + 1;
        if (use < 0 && node->layer == layer && hone_node_uses(node, id))
            use = n;
    }
    if (at < 0 || hone_tensor_bytes(&g->tensor[before].type) !=
                      hone_tensor_bytes(&g->tensor[id].type))
        return -1;
    for (int n = at; n < use; n++)
        flops += hone_node_flops(g, &g->node[n]);
    return flops < PER_BYTE * (double)bytes ? -1 : at;
}

/* Sends the K-th out behind its producer and brings it back for the layer's
 * backward ops in time. */
static hone_status send_out(hone_graph *g, waiting *w, int k, int layer,
                            const waiting *before, hone_err *err)
{
    const hone_id id = w->id[k];
    hone_type type = g->tensor[id].type;
    hone_id out = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    hone_id back = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    int at = -1;

    g->tensor[out].space = HONE_PINNED_SPACE;
    hone_try(emit_copy(g, id, out, layer, HONE_FORWARD,
                       hone_graph_producer(g, id) + 1, err));
    if (before->count == w->count)
        at = in_its_place(g, id, layer, before->back[k], w->bytes);
    at = at < 0 ? one_layer_ahead(g, layer) : at;
    for (int n = at; n < g->nodes; n++)
        if (g->node[n].layer == layer && g->node[n].phase == HONE_BACKWARD)
            hone_graph_replace(g, id, back, n, n + 1);
    w->back[k] = back;
    return emit_copy(g, out, back, layer, HONE_BACKWARD, at, err);
}

static int is_waiting(const waiting *w, hone_id id)
{
    for (int k = 0; k < w->count; k++)
        if (w->id[k] == id)
            return 1;
    return 0;
}

/* What enters the layer, or, if it is to be AWAY, all that it keeps. LAST: of
 * the layer before in the backward pass, and then of this one. */
static hone_status offload(hone_graph *g, int layer, int away, waiting *last,
                           hone_err *err)
{
    waiting w = { 0 };
    redo r;

    redo_start(&r, g, layer);
    for (int n = 0; n < g->nodes; n++) {
        if (!is_backward(&r, n))
            continue;
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];
            int p = id == HONE_NONE ? -1 : r.producer[id];

            if (p < 0 || g->tensor[id].kind != HONE_T_TEMP ||
                g->node[p].phase != HONE_FORWARD ||
                (g->node[p].layer == layer &&
                 (!away || bytes_of(&r, id) <= r.small)) ||
                is_waiting(&w, id))
                continue;
            hone_push(g->arena, w.id, w.count, w.cap);
            hone_push(g->arena, w.back, w.count, w.back_cap);
            w.id[w.count++] = id;
            w.bytes += bytes_of(&r, id);
        }
    }
    for (int k = 0; k < w.count; k++)
        hone_try(send_out(g, &w, k, layer, last, err));
    *last = w;
    return HONE_OK;
}

hone_status hone_pass_recompute(hone_graph *g, const uint8_t *keep, int layers,
                                hone_err *err)
{
    waiting last = { 0 };

    for (int layer = layers - 1; layer >= 0; layer--)
        if (keep[layer] > HONE_KEEP_ALL)
            recompute(g, layer, keep[layer]);
    for (int layer = layers - 1; layer >= 0; layer--)
        if (keep[layer] == HONE_KEEP_OFFLOAD || keep[layer] == HONE_KEEP_AWAY)
            hone_try(offload(g, layer, keep[layer] == HONE_KEEP_AWAY, &last,
                             err));
    return HONE_OK;
}
