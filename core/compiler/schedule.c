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

/* Where nodes of a layer stand: [first, end) has them all. */
typedef struct {
    int first, end;
} span;

/* Nodes stay where they are, and what is made stands behind them, until all
 * layers are done. */
typedef struct {
    hone_graph *g;
    hone_arena own;
    int layer, layers;
    span *span[2];    /* [layers] of forward and of backward nodes */
    uint8_t *again;   /* [nodes] forward nodes to run again */
    hone_id *twin;    /* [tensors] of what they write */
    int *producer;    /* [tensors] its node; -1 */
    int *reads;       /* [tensors] inputs of backward nodes that read it */
    struct { int layer, count; } *here; /* [tensors] those of one layer */
    uint8_t *kept;    /* [tensors] of the forward pass, read by backward nodes:
                         HERE of this layer alone, or else ELSEWHERE too */
    uint8_t *cheap;   /* [nodes] of the layer, forward */
    int *at;          /* before which nodes those that were made belong */
    int made, cap;
    int64_t enters;   /* bytes of what enters the layer */
    int64_t small;    /* of a tensor that is not worth the work */
    int64_t most;     /* of one that may be kept */
} redo;
enum { HERE = 1, ELSEWHERE };

const char *const hone_keep_names[] = { "auto", "all", "none", "offload",
                                        "light", "away", NULL };

static span forward(const redo *r)
{
    return r->span[0][r->layer];
}

static span backward(const redo *r)
{
    return r->span[1][r->layer];
}

static void find_spans(redo *r)
{
    const hone_graph *g = r->g;

    for (int k = 0; k < 2; k++)
        r->span[k] = hone_alloc(&r->own, ((size_t)r->layers + 1) *
                                              sizeof *r->span[k]);
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        span *s = r->span[node->phase != HONE_FORWARD];

        for (uint32_t i = 0; i < node->nout; i++)
            r->producer[node->out[i]] = n;
        if (node->phase == HONE_BACKWARD)
            for (uint32_t i = 0; i < node->nin; i++)
                if (node->in[i] != HONE_NONE)
                    r->reads[node->in[i]]++;
        if (node->phase == HONE_STEP || node->layer < 0 ||
            node->layer >= r->layers)
            continue;
        s += node->layer;
        s->first = s->end ? s->first : n;
        s->end = n + 1;
    }
}

/* Room for a twin of each tensor. */
static void start(redo *r, hone_graph *g, int layers)
{
    size_t room = 2 * (size_t)g->tensors + 1, nodes = (size_t)g->nodes + 1;

    *r = (redo){ .g = g, .layers = layers };
    r->again = hone_alloc(&r->own, nodes);
    r->cheap = hone_alloc(&r->own, nodes);
    r->kept = hone_alloc(&r->own, room);
    r->twin = hone_alloc(&r->own, room * sizeof *r->twin);
    r->producer = hone_alloc(&r->own, room * sizeof *r->producer);
    r->reads = hone_alloc(&r->own, room * sizeof *r->reads);
    r->here = hone_alloc(&r->own, room * sizeof *r->here);
    memset(r->twin, 0xff, room * sizeof *r->twin);
    memset(r->producer, 0xff, room * sizeof *r->producer);
    find_spans(r);
}

/* The last node was made, to stand before the one at AT. */
static void note_made(redo *r, int at)
{
    hone_push(&r->own, r->at, r->made, r->cap);
    r->at[r->made++] = at;
}

/* What was made comes to its place. */
static void finish(redo *r)
{
    hone_graph_spread(r->g, r->at, r->made);
    hone_arena_free(&r->own);
}

static int is_forward(const redo *r, int n)
{
    return n >= 0 && r->g->node[n].phase == HONE_FORWARD &&
           r->g->node[n].layer == r->layer;
}

static int is_backward(const redo *r, int n)
{
    return r->g->node[n].phase == HONE_BACKWARD && !r->g->node[n].stream &&
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

/* Lets node N read twins. */
static void read_twins(redo *r, int n)
{
    hone_node *node = &r->g->node[n];
    const hone_id *old = node->in;

    node->in = twins(r, old, node->nin);
    for (uint32_t i = 0; i < node->nin; i++)
        if (old[i] != node->in[i]) {
            r->reads[old[i]]--;
            r->reads[node->in[i]]++;
        }
}

/* Appends a copy of node N that writes twins and belongs before that at AT. */
static void clone(redo *r, int n, int at)
{
    hone_graph *g = r->g;
    hone_node node = g->node[n];

    node.phase = HONE_BACKWARD;
    node.in = twins(r, node.in, node.nin);
    node.acc = twins(r, node.acc, node.nout);
    for (uint32_t i = 0; i < node.nin; i++)
        if (node.in[i] != HONE_NONE)
            r->reads[node.in[i]]++;
    for (uint32_t i = 0; i < node.nout; i++) {
        hone_id old = node.out[i];
        r->twin[old] =
            hone_graph_tensor(g, NULL, g->tensor[old].type, HONE_T_TEMP);
    }
    node.out = twins(r, node.out, node.nout);
    hone_push(g->arena, g->node, g->nodes, g->node_cap);
    g->node[g->nodes++] = node;
    note_made(r, at);
}

/* What enters the layer says how small a tensor is. */
static void find_small(redo *r)
{
    const hone_graph *g = r->g;

    r->enters = 0;
    for (int n = forward(r).first; n < forward(r).end; n++)
        for (uint32_t i = 0; is_forward(r, n) && i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];

            if (id != HONE_NONE && g->tensor[id].kind == HONE_T_TEMP &&
                !is_forward(r, r->producer[id]) &&
                bytes_of(r, id) > r->enters)
                r->enters = bytes_of(r, id);
        }
    r->small = r->enters / SMALL;
}

static void start_layer(redo *r, int layer)
{
    r->layer = layer;
    find_small(r);
}

/* ------------------------------------------------------- what is cheap */

static void keep(redo *r, hone_id id)
{
    int here;

    if (id == HONE_NONE)
        return;
    here = r->here[id].layer == r->layer ? r->here[id].count : 0;
    r->kept[id] = (uint8_t)((here ? HERE : 0) |
                            (r->reads[id] > here ? ELSEWHERE : 0));
}

/* Of what the layer's forward nodes touch. */
static void find_kept(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = backward(r).first; n < backward(r).end; n++)
        for (uint32_t i = 0; is_backward(r, n) && i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];

            if (id == HONE_NONE)
                continue;
            if (r->here[id].layer != r->layer)
                r->here[id].count = 0;
            r->here[id].layer = r->layer;
            r->here[id].count++;
        }
    for (int n = forward(r).first; n < forward(r).end; n++) {
        const hone_node *node = &g->node[n];

        if (!is_forward(r, n))
            continue;
        for (uint32_t i = 0; i < node->nin; i++)
            keep(r, node->in[i]);
        for (uint32_t i = 0; i < node->nout; i++) {
            keep(r, node->out[i]);
            keep(r, node->acc[i]);
        }
    }
}

static void find_cheap(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = forward(r).first; n < forward(r).end; n++) {
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

    for (int n = forward(r).end - 1; n >= forward(r).first; n--)
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

    for (int n = forward(r).end - 1; n >= forward(r).first; n--) {
        const hone_node *node = &g->node[n];
        int64_t saved = 0;

        if (!is_forward(r, n) || !r->cheap[n])
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

static void want_all(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = backward(r).first; n < backward(r).end; n++)
        for (uint32_t i = 0; is_backward(r, n) && i < g->node[n].nin; i++)
            want(r, g->node[n].in[i]);
}

static int first_backward(const redo *r)
{
    int n = backward(r).first;

    while (n < backward(r).end && !is_backward(r, n))
        n++;
    return n;
}

/* All of it before the layer's first backward node. */
static void redo_at_once(redo *r)
{
    for (int n = forward(r).first; n < forward(r).end; n++)
        if (r->again[n])
            clone(r, n, first_backward(r));
    for (int n = backward(r).first; n < backward(r).end; n++)
        if (is_backward(r, n))
            read_twins(r, n);
}

/* What makes ID again, and before it what that needs, before the node at AT. */
static void redo_for(redo *r, hone_id id, int at)
{
    int n = id == HONE_NONE ? -1 : r->producer[id];

    if (n < 0 || !r->again[n] || r->twin[id] != HONE_NONE)
        return;
    for (uint32_t i = 0; i < r->g->node[n].nin; i++)
        redo_for(r, r->g->node[n].in[i], at);
    for (uint32_t i = 0; i < r->g->node[n].nout; i++)
        redo_for(r, r->g->node[n].acc[i], at);
    clone(r, n, at);
}

/* Each right before the first backward node that needs it. */
static void redo_in_turn(redo *r)
{
    for (int n = backward(r).first; n < backward(r).end; n++) {
        if (!is_backward(r, n))
            continue;
        for (uint32_t i = 0; i < r->g->node[n].nin; i++)
            redo_for(r, r->g->node[n].in[i], n);
        read_twins(r, n);
    }
}

/* Twins are for one layer. */
static void forget_twins(redo *r)
{
    const hone_graph *g = r->g;

    for (int n = forward(r).first; n < forward(r).end; n++) {
        if (!is_forward(r, n))
            continue;
        r->again[n] = 0;
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            r->twin[g->node[n].out[i]] = HONE_NONE;
    }
}

static void recompute(redo *r, int layer, int how)
{
    start_layer(r, layer);
    if (how == HONE_KEEP_LIGHT || how == HONE_KEEP_AWAY) {
        find_kept(r);
        find_cheap(r);
        r->most = how == HONE_KEEP_AWAY ? r->enters : INT64_MAX;
        want_large(r);
        want_cheap(r);
        redo_in_turn(r);
    } else {
        want_all(r);
        redo_at_once(r);
    }
    forget_twins(r);
}

/* ---------------------------------------------------------------- offload */

/* What waits in pinned memory of one layer. */
typedef struct {
    hone_id *id, *back; /* back: what it is when it is here again */
    int count, cap, back_cap;
    int layer;
    int64_t bytes;
} waiting;

static hone_status emit_copy(redo *r, hone_id from, hone_id to,
                             hone_phase phase, int at, hone_err *err)
{
    hone_graph *g = r->g;

    g->layer = r->layer;
    g->phase = phase;
    hone_try(hone_graph_copy(g, from, to, g->nodes, err));
    g->layer = -1;
    g->phase = HONE_FORWARD;
    note_made(r, at);
    return HONE_OK;
}

/* Where the layer's backward ops begin, or those of the next, before them. */
static int one_layer_ahead(const redo *r)
{
    redo next = *r;
    int at = first_backward(r), ahead;

    if (++next.layer == r->layers)
        return at;
    ahead = first_backward(&next);
    return ahead < backward(&next).end && ahead < at ? ahead : at;
}

/* Behind the last use of BEFORE, its like in the LAYER that went before, whose
 * bytes are free then; -1: that would be too late for what is to come. */
static int in_its_place(const redo *r, hone_id id, hone_id before, int layer,
                        int64_t bytes)
{
    const hone_graph *g = r->g;
    const span of = r->span[1][layer];
    int at = -1, use = backward(r).first;
    double flops = 0;

    for (int n = of.first; n < of.end; n++)
        if (g->node[n].phase == HONE_BACKWARD && !g->node[n].stream &&
            hone_node_uses(&g->node[n], before))
            at = n + 1;
    while (use < backward(r).end &&
           !(is_backward(r, use) && hone_node_uses(&g->node[use], id)))
        use++;
    if (at < 0 || hone_tensor_bytes(&g->tensor[before].type) !=
                      hone_tensor_bytes(&g->tensor[id].type))
        return -1;
    for (int n = at; n < use; n++)
        flops += hone_node_flops(g, &g->node[n]);
    return flops < PER_BYTE * (double)bytes ? -1 : at;
}

/* Sends the K-th out behind its producer and brings it back for the layer's
 * backward ops in time. */
static hone_status send_out(redo *r, waiting *w, int k, const waiting *before,
                            hone_err *err)
{
    hone_graph *g = r->g;
    const hone_id id = w->id[k];
    hone_type type = g->tensor[id].type;
    hone_id out = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    hone_id back = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    int at = -1;

    g->tensor[out].space = HONE_PINNED_SPACE;
    hone_try(emit_copy(r, id, out, HONE_FORWARD, r->producer[id] + 1, err));
    if (before->count == w->count)
        at = in_its_place(r, id, before->back[k], before->layer, w->bytes);
    at = at < 0 ? one_layer_ahead(r) : at;
    for (int n = backward(r).first; n < backward(r).end; n++)
        if (n >= at && is_backward(r, n))
            hone_graph_replace(g, id, back, n, n + 1);
    w->back[k] = back;
    return emit_copy(r, out, back, HONE_BACKWARD, at, err);
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
static hone_status offload(redo *r, int layer, int away, waiting *last,
                           hone_err *err)
{
    hone_graph *g = r->g;
    waiting w = { .layer = layer };

    start_layer(r, layer);
    for (int n = backward(r).first; n < backward(r).end; n++) {
        if (!is_backward(r, n))
            continue;
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            hone_id id = g->node[n].in[i];
            int p = id == HONE_NONE ? -1 : r->producer[id];

            if (p < 0 || g->tensor[id].kind != HONE_T_TEMP ||
                g->node[p].phase != HONE_FORWARD ||
                (g->node[p].layer == layer &&
                 (!away || bytes_of(r, id) <= r->small)) ||
                is_waiting(&w, id))
                continue;
            hone_push(g->arena, w.id, w.count, w.cap);
            hone_push(g->arena, w.back, w.count, w.back_cap);
            w.id[w.count++] = id;
            w.bytes += bytes_of(r, id);
        }
    }
    for (int k = 0; k < w.count; k++)
        hone_try(send_out(r, &w, k, last, err));
    *last = w;
    return HONE_OK;
}

hone_status hone_pass_recompute(hone_graph *g, const uint8_t *how, int layers,
                                hone_err *err)
{
    hone_status status = HONE_OK;
    waiting last = { 0 };
    redo r;

    start(&r, g, layers);
    for (int layer = layers - 1; layer >= 0; layer--)
        if (how[layer] > HONE_KEEP_ALL)
            recompute(&r, layer, how[layer]);
    finish(&r);
    start(&r, g, layers);
    for (int layer = layers - 1; layer >= 0 && status == HONE_OK; layer--)
        if (how[layer] == HONE_KEEP_OFFLOAD || how[layer] == HONE_KEEP_AWAY)
            status = offload(&r, layer, how[layer] == HONE_KEEP_AWAY, &last,
                             err);
    finish(&r);
    return status;
}
