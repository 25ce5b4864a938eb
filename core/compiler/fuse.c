/* SPDX-License-Identifier: MIT
 *
 * fuse.c -- puts fused ops in place of their decompositions. The pattern is
 * the decomposition itself, recorded once per op without shapes; attributes
 * come through the op's bind table and are proved by recording again with
 * them. There is no code per op here.
 */
#include <string.h>

#include "option.h"
#include "passes.h"

enum { MAX_STEPS = 16, MAX_WIRES = 64, MAX_OPERANDS = 8 };

typedef struct {
    const hone_component *op;
    void *attrs;
    uint32_t nin, nout;
    int in[MAX_OPERANDS], out[MAX_OPERANDS]; /* wires; in: -1 if absent */
} step;

typedef struct {
    hone_arena *arena;
    step step[MAX_STEPS];
    int steps, wires;
    uint32_t nin, nout;
    int out[MAX_OPERANDS]; /* of the fused op; its inputs are 0..nin-1 */
    int last; /* the step that the others lead to: the root */
    uint32_t twice; /* bits: outputs that the fused op cannot code besides */
} pattern;

/* ---------------------------------------------- recording a decomposition */

static hone_status record_emit(hone_builder *b, const char *op,
                               const char *name, const hone_attr *attrs,
                               uint32_t nattrs, const hone_id *in,
                               uint32_t nin, hone_id *out, uint32_t nout,
                               hone_err *err)
{
    pattern *p = b->self;
    step *s = &p->step[p->steps];

    (void)name;
    if (p->steps == MAX_STEPS || nin > MAX_OPERANDS || nout > MAX_OPERANDS ||
        p->wires + (int)nout > MAX_WIRES)
        return hone_fail(err, HONE_ENOSUP, "op %s: too large a pattern", op);
    *s = (step){ .nin = nin, .nout = nout };
    hone_try(hone_need_component(HONE_KIND_OP, op, &s->op, err));
    hone_try(hone_graph_attrs(p->arena, s->op, attrs, nattrs, &s->attrs, err));
    for (uint32_t i = 0; i < nin; i++)
        s->in[i] = in[i];
    for (uint32_t i = 0; i < nout; i++)
        out[i] = s->out[i] = p->wires++;
    p->last = p->steps++;
    return HONE_OK;
}

static hone_id record_temp(hone_builder *b, hone_type type)
{
    (void)b;
    (void)type;
    return HONE_NONE; /* whatever is emitted makes its own outputs */
}

static hone_type record_type(hone_builder *b, hone_id id)
{
    (void)b;
    (void)id;
    return hone_type_of(HONE_F32, 2, 1, 1);
}

static hone_id record_input(hone_builder *b, const char *name)
{
    (void)b;
    (void)name;
    return HONE_NONE; /* implicit inputs are wired by the engine */
}

static uint32_t operands(const hone_operand *t)
{
    uint32_t n = 0;

    while (t[n].name)
        n++;
    return n;
}

static hone_status record(pattern *p, hone_arena *a, const hone_component *c,
                          const void *attrs, hone_err *err)
{
    const hone_op *op = c->ops;
    hone_id in[MAX_OPERANDS], out[MAX_OPERANDS], none[MAX_OPERANDS];
    uint8_t need[MAX_OPERANDS] = { 0 };
    hone_builder b = { .size = sizeof b, .emit = record_emit,
                       .temp = record_temp, .type = record_type,
                       .input = record_input, .self = p };

    memset(p, 0, sizeof *p);
    p->arena = a;
    p->nin = operands(op->in);
    p->nout = operands(op->out);
    if (p->nin > MAX_OPERANDS || p->nout > MAX_OPERANDS)
        return hone_fail(err, HONE_ENOSUP, "op %s: too large a pattern",
                         c->name);
    for (int i = 0; i < MAX_OPERANDS; i++) {
        in[i] = i;
        out[i] = none[i] = HONE_NONE;
    }
    p->wires = (int)p->nin;
    hone_rule rule = { .attrs = attrs, .name = c->name, .nin = p->nin,
                       .nout = p->nout, .in = in, .out = out, .dout = none,
                       .need = need, .din = none };
    hone_try(op->decompose(&b, &rule, err));
    for (uint32_t i = 0; i < p->nout; i++)
        p->out[i] = out[i];
    return HONE_OK;
}

/* --------------------------------------------------------------- matching */

typedef struct {
    const hone_graph *g;
    const pattern *p;
    hone_id wire[MAX_WIRES];
    int node[MAX_STEPS];
    int at; /* where the fused op will stand */
} match;

static int bind_wire(match *m, int wire, hone_id id)
{
    if (m->wire[wire] == HONE_NONE)
        m->wire[wire] = id;
    return id != HONE_NONE && m->wire[wire] == id;
}

static int step_of(const pattern *p, int wire)
{
    for (int s = 0; s < p->steps; s++)
        for (uint32_t i = 0; i < p->step[s].nout; i++)
            if (p->step[s].out[i] == wire)
                return s;
    return -1;
}

/* Whether node N is step S, and its inputs come from what leads to that. */
static int match_step(match *m, int s, int n)
{
    const step *st = &m->p->step[s];
    const hone_node *node = &m->g->node[n];

    if (m->node[s] >= 0)
        return m->node[s] == n;
    if (node->component != st->op)
        return 0;
    m->node[s] = n;
    for (uint32_t i = 0; i < st->nout; i++)
        if (node->acc[i] != HONE_NONE || !bind_wire(m, st->out[i],
                                                    node->out[i]))
            return 0;
    for (uint32_t i = 0; i < node->nin; i++) {
        int wire = i < st->nin ? st->in[i] : -1, below = step_of(m->p, wire);

        if (wire < 0 && node->in[i] != HONE_NONE &&
            !(hone_node_flags(node, i) & HONE_IMPLICIT))
            return 0; /* an optional input that the pattern does not have */
        if (wire >= 0 && !bind_wire(m, wire, node->in[i]))
            return 0;
        if (below >= 0) {
            int from = hone_graph_producer(m->g, node->in[i]);
            if (from < 0 || !match_step(m, below, from))
                return 0;
        }
    }
    return 1;
}

static int is_member(const match *m, int n)
{
    for (int s = 0; s < m->p->steps; s++)
        if (m->node[s] == n)
            return 1;
    return 0;
}

/* Whether a product could take the sum in, which is cheaper than fusing it;
 * not where it is a product of the pattern, which will be gone. */
static int is_free(const match *m, const hone_node *node)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] != HONE_NONE &&
            is_member(m, hone_graph_producer(m->g, node->in[i])))
            return 0;
    return hone_sum_is_free(m->g, node);
}

/* Whether a reader takes W as codes, which the fused op cannot write while it
 * is at it. */
static int is_coded(const match *m, hone_id w)
{
    for (int n = hone_graph_producer(m->g, w) + 1; n < m->g->nodes; n++) {
        const hone_node *node = &m->g->node[n];

        for (uint32_t i = 0; hone_node_reads(node, w) && i < node->nin; i++)
            if (node->in[i] != HONE_NONE &&
                m->g->tensor[node->in[i]].type.storage == HONE_FP8)
                return 1;
    }
    return 0;
}

/* The fused op stands before whoever reads an output, at the root at last;
 * all that it reads must be there by then. */
static int find_place(match *m)
{
    m->at = m->node[m->p->last];
    for (int w = (int)m->p->nin; w < m->p->wires; w++)
        for (int n = m->node[step_of(m->p, w)];
             m->wire[w] != HONE_NONE && n < m->at; n++)
            if (!is_member(m, n) && hone_node_reads(&m->g->node[n], m->wire[w]))
                m->at = n;
    for (uint32_t i = 0; i < m->p->nin; i++)
        if (m->wire[i] != HONE_NONE &&
            hone_graph_producer(m->g, m->wire[i]) >= m->at)
            return 0;
    return 1;
}

/* What the pattern keeps inside must not be read from outside. Not across
 * layers: recomputing one would then need the other's. */
static int self_contained(match *m)
{
    int root = m->node[m->p->last];

    for (int s = 0; s < m->p->steps; s++)
        if (m->node[s] < 0 ||
            m->g->node[m->node[s]].layer != m->g->node[root].layer ||
            is_free(m, &m->g->node[m->node[s]]))
            return 0;

    for (int w = (int)m->p->nin; w < m->p->wires; w++) {
        int inside = 0, is_output = 0;

        if (m->wire[w] == HONE_NONE)
            continue;
        for (uint32_t i = 0; i < m->p->nout; i++) {
            is_output |= m->p->out[i] == w;
            if (m->p->out[i] == w && m->p->twice >> i & 1 &&
                is_coded(m, m->wire[w]))
                return 0;
        }
        for (int s = 0; s < m->p->steps; s++)
            for (uint32_t i = 0; i < m->p->step[s].nin; i++)
                inside += m->p->step[s].in[i] == w;
        if (!is_output && m->g->tensor[m->wire[w]].uses != inside)
            return 0;
    }
    return find_place(m);
}

/* The fused op's attributes from the matched nodes; then the proof. */
static int take_attrs(const match *m, hone_arena *a, const hone_component *c,
                      void *attrs)
{
    const hone_op *op = c->ops;
    hone_err err;
    pattern again;

    hone_option_defaults(c->options, attrs);
    for (const hone_bind *b = op->binds; b && b->attr; b++) {
        const hone_node *node = &m->g->node[m->node[b->node]];
        const hone_option *to = hone_option_find(c->options, b->attr);
        const hone_option *from =
            hone_option_find(node->component->options, b->from);
        char text[128];

        if (!to || !from)
            return 0;
        hone_option_text(from, node->attrs, text, sizeof text);
        if (hone_option_parse(to, attrs, text, a, &err) != HONE_OK)
            return 0;
    }
    if (record(&again, a, c, attrs, &err) != HONE_OK ||
        again.steps != m->p->steps)
        return 0;
    for (int s = 0; s < again.steps; s++)
        if (!hone_options_agree(again.step[s].op->options, again.step[s].attrs,
                                again.step[s].op->options,
                                m->g->node[m->node[s]].attrs))
            return 0;
    return 1;
}

int hone_node_is_covered(hone_graph *g, const hone_node *node,
                         const hone_component *const *packs)
{
    hone_call call = hone_node_call(g, node);
    uint32_t n = call.nin + call.nout;
    hone_storage *want = hone_alloc(g->arena, (n + 1) * sizeof *want);

    for (; *packs; packs++) {
        const hone_pack *pack = (*packs)->ops;
        for (const hone_kernel *k = pack->kernels; k->op; k++) {
            hone_need need = { .size = sizeof need, .want = want };

            if (strcmp(k->op, call.op))
                continue;
            for (uint32_t i = 0; i < n; i++)
                want[i] = call.type[i].storage;
            if (k->prepare(&call, 1, &need, NULL) == HONE_OK)
                return 1;
        }
    }
    return 0;
}

/* Emits the fused op at the end and moves it to its place, if it takes these
 * shapes and a pack covers it. What it replaces stays, as nothing. */
static int replace(hone_graph *g, const match *m, const hone_component *c,
                   void *attrs, const hone_component *const *packs)
{
    const hone_node *root = &g->node[m->node[m->p->last]];
    const char *name = root->name;
    hone_id out[MAX_OPERANDS];
    hone_status status;

    for (uint32_t i = 0; i < m->p->nout; i++)
        out[i] = m->wire[m->p->out[i]];
    g->layer = root->layer;
    status = hone_graph_emit(g, c, name, attrs, m->wire, m->p->nin, out,
                             m->p->nout, NULL);
    g->layer = -1;
    if (status != HONE_OK)
        return 0;
    if (!hone_node_is_covered(g, &g->node[g->nodes - 1], packs)) {
        g->nodes--;
        return 0;
    }
    for (int s = 0; s < m->p->steps; s++) {
        hone_node_count(g, &g->node[m->node[s]], -1);
        hone_node_drop(&g->node[m->node[s]]);
    }
    hone_node_count(g, &g->node[g->nodes - 1], 1);
    hone_graph_move(g, 1, m->at);
    return 1;
}

/* The outputs that a step could write a second time, as codes (HONE_TWICE),
 * and the op C cannot. */
static uint32_t lost_copies(const pattern *p, const hone_component *c)
{
    uint32_t lost = 0;

    for (uint32_t i = 0; i < p->nout; i++) {
        const int s = step_of(p, p->out[i]);
        const hone_op *op = c->ops, *made = s < 0 ? op : p->step[s].op->ops;

        for (uint32_t k = 0; s >= 0 && made->out[k].name; k++)
            if (k < p->step[s].nout && p->step[s].out[k] == p->out[i] &&
                made->out[k].flags & ~op->out[i].flags & HONE_TWICE)
                lost |= 1u << i;
    }
    return lost;
}

static hone_status fuse_one(hone_graph *g, const hone_component *c,
                            const hone_component *const *packs, hone_err *err)
{
    pattern p;
    hone_status status;
    void *attrs = hone_alloc(g->arena, c->config_size + 1);

    hone_option_defaults(c->options, attrs);
    status = record(&p, g->arena, c, attrs, err);
    if (status == HONE_ENOSUP || p.steps == 0) /* nothing to look for */
        return HONE_OK;
    hone_try(status);
    p.twice = lost_copies(&p, c);
    for (int n = 0; n < g->nodes; n++) {
        match m = { .g = g, .p = &p };

        memset(m.wire, 0xff, sizeof m.wire);
        memset(m.node, 0xff, sizeof m.node);
        if (!match_step(&m, p.last, n) || !self_contained(&m) ||
            !take_attrs(&m, g->arena, c, attrs) ||
            !replace(g, &m, c, attrs, packs))
            continue;
        n += m.at < n; /* it came in before */
    }
    hone_graph_compact(g);
    return HONE_OK;
}

/* A fused op that a family asked for and no pack covers: its decomposition,
 * which writes the same tensors. */
static hone_status lower(hone_graph *g, int n, hone_err *err)
{
    hone_node node = g->node[n];
    int before = g->nodes, added;
    hone_id *out = hone_alloc(g->arena, (node.nout + 1) * sizeof *out);
    hone_rule rule = { .attrs = node.attrs, .name = node.name,
                       .nin = node.nin, .nout = node.nout, .in = node.in,
                       .out = out };

    memset(out, 0xff, node.nout * sizeof *out);
    g->layer = node.layer;
    hone_try(node.op->decompose(&g->builder, &rule, err));
    g->layer = -1;
    added = g->nodes - before;
    hone_graph_move(g, added, n + 1);
    for (int k = n + 1; k <= n + added; k++)
        for (uint32_t i = 0; i < node.nout; i++) {
            hone_graph_replace(g, out[i], node.out[i], k, k + 1);
            for (uint32_t o = 0; o < g->node[k].nout; o++)
                if (g->node[k].out[o] == out[i])
                    g->node[k].out[o] = node.out[i];
        }
    g->node[n].component = NULL;
    hone_graph_compact(g);
    return HONE_OK;
}

hone_status hone_pass_fuse(hone_graph *g, const hone_component *const *packs,
                           hone_err *err)
{
    const hone_component *c;

    for (int n = 0; n < g->nodes; n++)
        if (g->node[n].op->decompose &&
            !hone_node_is_covered(g, &g->node[n], packs))
            hone_try(lower(g, n--, err));
    hone_graph_count(g);
    for (int i = 0; (c = hone_component_at(i)); i++)
        if (c->kind == HONE_KIND_OP && ((const hone_op *)c->ops)->decompose)
            hone_try(fuse_one(g, c, packs, err));
    return HONE_OK;
}
