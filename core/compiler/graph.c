/* SPDX-License-Identifier: MIT
 *
 * graph.c -- see graph.h. Nothing here knows any op: what an op's operands
 * are, their shapes and flags come from its definition.
 */
#include "graph.h"

#include <string.h>
#include <xxhash.h>

#include "option.h"
#include "registry.h"

static hone_status builder_emit(hone_builder *b, const char *op,
                                const char *name, const hone_attr *attrs,
                                uint32_t nattrs, const hone_id *in,
                                uint32_t nin, hone_id *out, uint32_t nout,
                                hone_err *err)
{
    return hone_graph_op(b->self, op, name, attrs, nattrs, in, nin, out, nout,
                         err);
}

static hone_id builder_temp(hone_builder *b, hone_type type)
{
    return hone_graph_tensor(b->self, NULL, type, HONE_T_TEMP);
}

static hone_type builder_type(hone_builder *b, hone_id id)
{
    const hone_graph *g = b->self;

    return g->tensor[id].type;
}

static hone_id builder_input(hone_builder *b, const char *name)
{
    return hone_graph_find(b->self, name);
}

void hone_graph_init(hone_graph *g, hone_arena *scratch, hone_arena *keep,
                     hone_storage compute)
{
    memset(g, 0, sizeof *g);
    g->arena = scratch;
    g->keep = keep;
    g->compute = compute;
    g->phase = HONE_FORWARD;
    g->layer = -1;
    g->builder = (hone_builder){ .size = sizeof g->builder,
                                 .emit = builder_emit,
                                 .temp = builder_temp,
                                 .type = builder_type,
                                 .input = builder_input,
                                 .self = g };
}

void hone_graph_clone(hone_graph *g, const hone_graph *from,
                      hone_arena *scratch, hone_arena *keep)
{
    size_t tensors = (size_t)from->tensors, nodes = (size_t)from->nodes;

    *g = *from;
    g->arena = scratch;
    g->keep = keep;
    g->builder.self = g;
    g->tensor_cap = 2 * g->tensors + 1; /* most passes add to it */
    g->node_cap = 2 * g->nodes + 1;
    g->named_cap = 2 * g->nameds + 1;
    g->tensor = hone_copy(scratch, from->tensor, tensors, 2 * tensors + 1,
                          sizeof *g->tensor);
    g->node = hone_copy(scratch, from->node, nodes, 2 * nodes + 1,
                        sizeof *g->node);
    g->named = hone_copy(scratch, from->named, (size_t)from->nameds,
                         (size_t)g->named_cap, sizeof *g->named);
    g->slot = hone_copy(scratch, from->slot, (size_t)from->slots,
                        (size_t)from->slots, sizeof *g->slot);
    for (int n = 0; n < g->nodes; n++) {
        hone_node *node = &g->node[n];

        node->in = hone_copy(scratch, node->in, node->nin, node->nin + 1,
                             sizeof *node->in);
        node->out = hone_copy(scratch, node->out, node->nout, node->nout + 1,
                              sizeof *node->out);
        node->acc = hone_copy(scratch, node->acc, node->nout, node->nout + 1,
                              sizeof *node->acc);
    }
}

/* Where the tensor of that name is, or would be. */
static hone_id *slot_of(const hone_graph *g, const char *name)
{
    uint64_t at = XXH3_64bits(name, strlen(name));

    for (;; at++) {
        hone_id *slot = &g->slot[at & (uint64_t)(g->slots - 1)];

        if (*slot == HONE_NONE || !strcmp(g->tensor[*slot].name, name))
            return slot;
    }
}

/* Takes in the last one named; at most half of the slots are taken. */
static void keep_slots(hone_graph *g)
{
    int from = g->nameds - 1;

    if (2 * g->nameds > g->slots) {
        g->slots = g->slots ? 2 * g->slots : 64;
        g->slot = hone_alloc(g->arena, (size_t)g->slots * sizeof *g->slot);
        memset(g->slot, 0xff, (size_t)g->slots * sizeof *g->slot);
        from = 0;
    }
    for (; from < g->nameds; from++) {
        hone_id *slot = slot_of(g, g->tensor[g->named[from]].name);

        if (*slot == HONE_NONE) /* the first of a name is the one found */
            *slot = g->named[from];
    }
}

hone_id hone_graph_tensor(hone_graph *g, const char *name, hone_type type,
                          hone_tensor_kind kind)
{
    hone_tensor *t;

    hone_push(g->arena, g->tensor, g->tensors, g->tensor_cap);
    t = &g->tensor[g->tensors];
    *t = (hone_tensor){ .name = name ? hone_text(g->arena, name) : NULL,
                        .type = type,
                        .kind = kind,
                        .space = HONE_DEVICE_SPACE,
                        .base = HONE_NONE };
    if (name && kind != HONE_T_TEMP) {
        hone_push(g->arena, g->named, g->nameds, g->named_cap);
        g->named[g->nameds++] = g->tensors;
        keep_slots(g);
    }
    return g->tensors++;
}

hone_id hone_graph_find(const hone_graph *g, const char *name)
{
    return g->slots ? *slot_of(g, name) : HONE_NONE;
}

hone_id hone_graph_view(hone_graph *g, hone_id base, int64_t row, int64_t rows)
{
    hone_type type = g->tensor[base].type;
    hone_id id;

    if (row == 0 && rows == type.dim[0])
        return base;
    type.dim[0] = rows;
    id = hone_graph_tensor(g, NULL, type, g->tensor[base].kind);
    g->tensor[id].base = base;
    g->tensor[id].row = row;
    g->tensor[id].space = g->tensor[base].space;
    return id;
}

/* --------------------------------------------------------------- operands */

static uint32_t count_operands(const hone_operand *table)
{
    uint32_t n = 0;

    while (table[n].name)
        n++;
    return n;
}

static uint32_t table_flags(const hone_operand *table, uint32_t i)
{
    uint32_t n = count_operands(table);

    if (i < n)
        return table[i].flags;
    return n > 0 && table[n - 1].flags & HONE_VARIADIC ? table[n - 1].flags : 0;
}

uint32_t hone_node_flags(const hone_node *node, uint32_t i)
{
    return i < node->nin ? table_flags(node->op->in, i)
                         : table_flags(node->op->out, i - node->nin);
}

/* Completes the inputs: absent optional ones, then those found by name. */
static hone_status take_inputs(hone_graph *g, const hone_component *c,
                               const hone_id *in, uint32_t nin,
                               hone_node *node, hone_err *err)
{
    const hone_op *op = c->ops;
    uint32_t n = count_operands(op->in), given = 0;
    int variadic = n > 0 && op->in[n - 1].flags & HONE_VARIADIC;
    uint32_t total = variadic ? nin : n;

    node->in = hone_alloc(g->arena, (total + 1) * sizeof *node->in);
    node->nin = total;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t flags = table_flags(op->in, i);
        const char *name = op->in[i < n ? i : n - 1].name;

        if (!(flags & HONE_IMPLICIT && nin < n))
            node->in[i] = given < nin ? in[given++] : HONE_NONE;
        else
            node->in[i] = HONE_NONE;
        if (flags & HONE_IMPLICIT && node->in[i] == HONE_NONE)
            node->in[i] = hone_graph_find(g, name);
        if (node->in[i] == HONE_NONE && !(flags & HONE_OPTIONAL))
            return hone_fail(err, HONE_EINVAL, "op %s: input '%s' is missing",
                             c->name, name);
    }
    if (given < nin)
        return hone_fail(err, HONE_EINVAL,
                         "op %s: %u inputs given, it takes %u", c->name, nin,
                         given);
    return HONE_OK;
}

/* Products of what an optimizer holds in fp32 are in fp32: squares of gradients
 * and one over their roots are 0 and infinite in fp16. What it holds as
 * activations are is theirs. */
static hone_storage computes_in(const hone_graph *g, const hone_node *node)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] != HONE_NONE &&
            g->tensor[node->in[i]].type.storage != HONE_F32)
            return g->compute;
    return node->updates && node->nin > 1 ? HONE_F32 : g->compute;
}

hone_call hone_node_call(const hone_graph *g, const hone_node *node)
{
    uint32_t n = node->nin + node->nout;
    hone_type *type = hone_alloc(g->arena, (n + 1) * sizeof *type);
    uint8_t *mode = hone_alloc(g->arena, n + 1);

    for (uint32_t i = 0; i < n; i++) {
        hone_id id = i < node->nin ? node->in[i] : node->out[i - node->nin];

        if (id != HONE_NONE)
            type[i] = g->tensor[id].type;
        mode[i] = HONE_READ;
        if (i < node->nin) {
            if (g->decoded && type[i].storage == HONE_FP8 &&
                strcmp(node->component->name, "convert"))
                type[i].storage = g->compute;
            continue;
        }
        mode[i] = HONE_WRITE;
        if (hone_node_flags(node, i) & HONE_UPDATED)
            mode[i] = HONE_UPDATE;
        else if (node->acc[i - node->nin] != HONE_NONE)
            mode[i] = HONE_ADD;
    }
    return (hone_call){ .size = sizeof(hone_call),
                        .op = node->component->name,
                        .attrs = node->attrs,
                        .nin = node->nin,
                        .nout = node->nout,
                        .type = type,
                        .mode = mode,
                        .compute = computes_in(g, node),
                        .device = g->device };
}

/* Makes the outputs that the caller did not give: NOUT of them are named. */
static hone_status make_outputs(hone_graph *g, hone_node *node,
                                const hone_id *out, uint32_t nout,
                                hone_err *err)
{
    hone_type *type = hone_alloc(g->arena, (node->nout + 1) * sizeof *type);
    hone_call call;

    for (uint32_t i = 0; i < node->nout; i++) {
        node->out[i] = i < nout ? out[i] : HONE_NONE;
        node->acc[i] = HONE_NONE;
    }
    call = hone_node_call(g, node);
    if (node->op->shape)
        hone_try(node->op->shape(&call, type, err));
    for (uint32_t i = 0; i < node->nout; i++) {
        uint32_t flags = hone_node_flags(node, node->nin + i);

        if (node->out[i] != HONE_NONE && !(flags & HONE_UPDATED) &&
            hone_count(&g->tensor[node->out[i]].type) != hone_count(&type[i]))
            return hone_fail(err, HONE_EINVAL, "op %s: output %u does not fit "
                             "the tensor given for it", node->component->name,
                             i);
        if (node->out[i] != HONE_NONE)
            continue;
        if (flags & HONE_UPDATED)
            return hone_fail(err, HONE_EINVAL,
                             "op %s: the tensor that it updates is missing",
                             node->component->name);
        node->out[i] = hone_graph_tensor(g, NULL, type[i], HONE_T_TEMP);
    }
    return HONE_OK;
}

/* Node N is where its outputs are written. */
static void note_outputs(hone_graph *g, int n)
{
    for (uint32_t i = 0; i < g->node[n].nout; i++)
        g->tensor[g->node[n].out[i]].near = n;
}

double hone_node_flops(const hone_graph *g, const hone_node *node)
{
    hone_call call = hone_node_call(g, node);

    if (node->op->flops)
        return node->op->flops(&call);
    return call.nout ? (double)hone_count(&call.type[call.nin]) : 0;
}

double hone_graph_flops(const hone_graph *g)
{
    double flops = 0;

    for (int n = 0; n < g->nodes; n++)
        flops += hone_node_flops(g, &g->node[n]);
    return flops;
}

hone_status hone_graph_emit(hone_graph *g, const hone_component *c,
                            const char *name, const void *attrs,
                            const hone_id *in, uint32_t nin, hone_id *out,
                            uint32_t nout, hone_err *err)
{
    const hone_op *op = c->ops;
    hone_err why;
    hone_node node = { .component = c,
                       .op = op,
                       .phase = g->phase,
                       .layer = g->layer,
                       .updates = g->updates,
                       .join = -1 };

    node.name = name ? hone_text(g->arena, name)
                     : hone_format_text(g->arena, "%s.%d", c->name,
                                        g->anonymous++);
    node.attrs = hone_copy(g->keep, attrs, c->config_size ? 1 : 0, 1,
                           c->config_size ? c->config_size : 1);
    node.nout = count_operands(op->out);
    if (op->out[node.nout - 1].flags & HONE_VARIADIC)
        node.nout = nout;
    if (nout > node.nout)
        return hone_fail(err, HONE_EINVAL, "op %s has %u outputs, not %u",
                         c->name, node.nout, nout);
    node.out = hone_alloc(g->arena, (node.nout + 1) * sizeof *node.out);
    node.acc = hone_alloc(g->arena, (node.nout + 1) * sizeof *node.acc);
    hone_try(take_inputs(g, c, in, nin, &node, err));
    if (make_outputs(g, &node, out, nout, &why) != HONE_OK)
        return hone_fail(err, HONE_EINVAL, "%s (%s): %.900s", node.name,
                         c->name, why.msg);
    memcpy(out, node.out, nout * sizeof *out);
    hone_push(g->arena, g->node, g->nodes, g->node_cap);
    g->node[g->nodes++] = node;
    note_outputs(g, g->nodes - 1);
    return HONE_OK;
}

hone_status hone_graph_attrs(hone_arena *arena, const hone_component *c,
                             const hone_attr *attrs, uint32_t count,
                             void **out, hone_err *err)
{
    void *config = hone_alloc(arena, c->config_size + 1);

    hone_option_defaults(c->options, config);
    for (uint32_t i = 0; i < count; i++) {
        const hone_option *o = hone_option_find(c->options, attrs[i].name);

        if (!o)
            return hone_fail(err, HONE_EINVAL, "op %s has no attribute '%s'",
                             c->name, attrs[i].name);
        if (attrs[i].str)
            hone_try(hone_option_set_str(o, config, attrs[i].str, arena, err));
        else if (o->type == HONE_BOOL)
            hone_try(hone_option_set_bool(o, config, attrs[i].num != 0, err));
        else
            hone_try(hone_option_set_num(o, config, attrs[i].num,
                                         o->type == HONE_INT, err));
    }
    *out = config;
    return HONE_OK;
}

hone_status hone_graph_op(hone_graph *g, const char *op, const char *name,
                          const hone_attr *attrs, uint32_t nattrs,
                          const hone_id *in, uint32_t nin, hone_id *out,
                          uint32_t nout, hone_err *err)
{
    const hone_component *c;
    void *config;

    hone_try(hone_need_component(HONE_KIND_OP, op, &c, err));
    hone_try(hone_graph_attrs(g->keep, c, attrs, nattrs, &config, err));
    return hone_graph_emit(g, c, name, config, in, nin, out, nout, err);
}

/* ---------------------------------------------------------------- editing */

int hone_graph_writes(const hone_graph *g, int n, hone_id id)
{
    if (n >= 0 && n < g->nodes)
        for (uint32_t i = 0; i < g->node[n].nout; i++)
            if (g->node[n].out[i] == id)
                return 1;
    return 0;
}

/* Passes move nodes, mostly by little: the search goes outwards from where it
 * was before. */
int hone_graph_producer(const hone_graph *g, hone_id id)
{
    hone_tensor *t = &g->tensor[id];

    if (t->kind == HONE_T_PARAM || t->kind == HONE_T_INPUT ||
        t->kind == HONE_T_CONST)
        return -1;
    for (int off = 0; t->near - off >= 0 || t->near + off < g->nodes; off++) {
        if (hone_graph_writes(g, t->near + off, id))
            return t->near += off;
        if (hone_graph_writes(g, t->near - off, id))
            return t->near -= off;
    }
    return -1;
}

int hone_node_reads(const hone_node *node, hone_id id)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] == id)
            return 1;
    return 0;
}

int hone_node_uses(const hone_node *node, hone_id id)
{
    for (uint32_t i = 0; i < node->nout; i++)
        if (node->acc[i] == id)
            return 1;
    return hone_node_reads(node, id);
}

int hone_graph_uses(const hone_graph *g, hone_id id, int from)
{
    int uses = 0;

    for (int n = from; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        for (uint32_t i = 0; i < node->nin; i++)
            uses += node->in[i] == id;
        for (uint32_t i = 0; i < node->nout; i++)
            uses += node->acc[i] == id;
    }
    return uses;
}

void hone_node_count(hone_graph *g, const hone_node *node, int by)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] != HONE_NONE)
            g->tensor[node->in[i]].uses += by;
    for (uint32_t i = 0; i < node->nout; i++)
        if (node->acc[i] != HONE_NONE)
            g->tensor[node->acc[i]].uses += by;
}

void hone_graph_count(hone_graph *g)
{
    for (hone_id i = 0; i < g->tensors; i++)
        g->tensor[i].uses = 0;
    for (int n = 0; n < g->nodes; n++)
        hone_node_count(g, &g->node[n], 1);
}

void hone_node_drop(hone_node *node)
{
    node->component = NULL;
    node->nin = node->nout = 0;
}

static void note_all(hone_graph *g)
{
    for (int n = 0; n < g->nodes; n++)
        note_outputs(g, n);
}

void hone_graph_renew(hone_graph *g, const hone_node *node, int count)
{
    g->node = hone_copy(g->arena, node, (size_t)count, (size_t)count + 1,
                        sizeof *node);
    g->nodes = g->node_cap = count;
    note_all(g);
}

void hone_graph_spread(hone_graph *g, const int *at, int count)
{
    hone_arena own = { 0 };
    int to = g->nodes, nodes = g->nodes - count;
    hone_node *made = hone_copy(&own, g->node + nodes, (size_t)count,
                                (size_t)count + 1, sizeof *made);
    int *next = hone_alloc(&own, ((size_t)count + 1) * sizeof *next);
    int *last = hone_alloc(&own, ((size_t)nodes + 1) * sizeof *last);

    for (int k = 0; k < count; k++) { /* lists of those at one place, + 1 */
        next[k] = last[at[k]];
        last[at[k]] = k + 1;
    }
    for (int n = nodes; to > n && n >= 0; n--) {
        for (int k = last[n]; k; k = next[k - 1])
            g->node[--to] = made[k - 1];
        if (n > 0)
            g->node[--to] = g->node[n - 1];
    }
    hone_arena_free(&own);
    note_all(g);
}

void hone_graph_compact(hone_graph *g)
{
    int n = 0;

    for (int i = 0; i < g->nodes; i++)
        if (g->node[i].component) {
            g->node[n] = g->node[i];
            note_outputs(g, n++);
        }
    g->nodes = n;
}

void hone_graph_replace(hone_graph *g, hone_id from, hone_id to, int at,
                        int end)
{
    for (int n = at; n < end; n++) {
        hone_node *node = &g->node[n];
        for (uint32_t i = 0; i < node->nin; i++)
            if (node->in[i] == from)
                node->in[i] = to;
        for (uint32_t i = 0; i < node->nout; i++)
            if (node->acc[i] == from)
                node->acc[i] = to;
    }
}

hone_id hone_graph_scalar(hone_graph *g, const char *name,
                          hone_tensor_kind kind)
{
    hone_id id = hone_graph_find(g, name);

    if (id != HONE_NONE)
        return id;
    return hone_graph_tensor(g, name, hone_type_of(HONE_F32, 1, 1, 1), kind);
}

hone_status hone_graph_copy(hone_graph *g, hone_id from, hone_id to, int at,
                            hone_err *err)
{
    hone_try(hone_graph_op(g, "copy", NULL, NULL, 0, &from, 1, &to, 1, err));
    g->node[g->nodes - 1].stream = 1;
    hone_graph_move(g, 1, at);
    return HONE_OK;
}

void hone_graph_move(hone_graph *g, int count, int at)
{
    int from = g->nodes - count;
    hone_node *moved;

    if (count == 0 || from == at)
        return;
    if (count == 1 && !g->node[at].component) { /* there is room */
        g->node[at] = g->node[--g->nodes];
        note_outputs(g, at);
        return;
    }
    moved = hone_copy(g->arena, &g->node[from], (size_t)count, (size_t)count,
                      sizeof *moved);
    memmove(&g->node[at + count], &g->node[at],
            (size_t)(from - at) * sizeof *moved);
    memcpy(&g->node[at], moved, (size_t)count * sizeof *moved);
    for (int i = 0; i < count; i++)
        note_outputs(g, at + i);
}
