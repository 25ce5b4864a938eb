/* SPDX-License-Identifier: MIT
 *
 * chunk.c -- runs a stretch of the program over a few rows at a time, so that
 * a tensor too big to exist (the logits, [T,V]) never does. What may be split
 * follows from the operands' flags: rows are cut, sums over rows add up, the
 * rest is read whole by every run.
 */
#include <string.h>

#include "passes.h"

typedef struct {
    hone_graph *g;
    int first, end;  /* the stretch */
    uint8_t *inside; /* [tensors] written in the stretch, read nowhere else */
    hone_id *local;  /* [tensors] its rows in the present run */
    int64_t row, rows;
} split;

static int touches(const hone_node *node, const uint8_t *set)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] != HONE_NONE && set[node->in[i]])
            return 1;
    for (uint32_t i = 0; i < node->nout; i++)
        if (set[node->out[i]])
            return 1;
    return 0;
}

/* BIG and what is made of it in its size: its gradient, its activations. */
static uint8_t *grow(const hone_graph *g, hone_id big)
{
    uint8_t *set = hone_alloc(g->arena, (size_t)g->tensors + 1);
    int64_t count = hone_count(&g->tensor[big].type);

    set[big] = 1;
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        int reads = 0;

        for (uint32_t i = 0; i < node->nin; i++)
            reads |= node->in[i] != HONE_NONE && set[node->in[i]];
        for (uint32_t i = 0; reads && i < node->nout; i++)
            if (hone_count(&g->tensor[node->out[i]].type) == count)
                set[node->out[i]] = 1;
    }
    return set;
}

static hone_status find_stretch(split *s, hone_id big, hone_err *err)
{
    const hone_graph *g = s->g;
    uint8_t *set = grow(g, big);

    s->first = -1;
    for (int n = 0; n < g->nodes; n++)
        if (touches(&g->node[n], set)) {
            s->first = s->first < 0 ? n : s->first;
            s->end = n + 1;
        }
    for (int n = s->first; n < s->end; n++)
        if (!touches(&g->node[n], set))
            return hone_fail(err, HONE_ENOSUP,
                             "%s stands between the ops to be run in chunks",
                             g->node[n].name);
    return HONE_OK;
}

static void find_inside(split *s)
{
    const hone_graph *g = s->g;

    s->inside = hone_alloc(g->arena, (size_t)g->tensors + 1);
    s->local = hone_alloc(g->arena, (size_t)(g->tensors + 1) * sizeof(hone_id));
    for (int n = s->first; n < s->end; n++)
        for (uint32_t i = 0; i < g->node[n].nout; i++) {
            hone_id id = g->node[n].out[i];
            s->inside[id] = g->tensor[id].kind == HONE_T_TEMP;
        }
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];

        if (n >= s->first && n < s->end)
            continue;
        for (uint32_t i = 0; i < node->nin; i++)
            if (node->in[i] != HONE_NONE)
                s->inside[node->in[i]] = 0;
        for (uint32_t i = 0; i < node->nout; i++)
            if (node->acc[i] != HONE_NONE)
                s->inside[node->acc[i]] = 0;
    }
}

/* The present rows of a tensor whose rows are cut. */
static hone_id rows_of(split *s, hone_id id)
{
    hone_graph *g = s->g;
    hone_type type;

    if (!s->inside[id])
        return hone_graph_view(g, id, s->row, s->rows);
    if (s->local[id] == HONE_NONE) {
        type = g->tensor[id].type;
        type.dim[0] = s->rows;
        s->local[id] = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    }
    return s->local[id];
}

static hone_status run_node(split *s, int n, hone_err *err)
{
    hone_graph *g = s->g;
    hone_node node = g->node[n];
    hone_id *in = hone_copy(g->arena, node.in, node.nin, node.nin + 1,
                            sizeof *in);
    hone_id *out = hone_copy(g->arena, node.out, node.nout, node.nout + 1,
                             sizeof *out);
    hone_id *acc = hone_copy(g->arena, node.acc, node.nout, node.nout + 1,
                             sizeof *acc);

    for (uint32_t i = 0; i < node.nin; i++) {
        if (in[i] == HONE_NONE)
            continue;
        if (hone_node_flags(&node, i) & HONE_ROWS)
            in[i] = rows_of(s, in[i]);
        else if (s->inside[in[i]])
            return hone_fail(err, HONE_ENOSUP,
                             "%s: input %u is needed whole and made in chunks",
                             node.name, i);
    }
    for (uint32_t i = 0; i < node.nout; i++) {
        uint32_t flags = hone_node_flags(&node, node.nin + i);

        if (flags & HONE_ROWS && acc[i] == HONE_NONE)
            out[i] = rows_of(s, out[i]);
        else if (flags & HONE_SUMMED)
            acc[i] = s->row > 0 ? out[i] : acc[i];
        else
            return hone_fail(err, HONE_ENOSUP,
                             "%s: output %u cannot be made in chunks",
                             node.name, i);
    }
    node.in = in;
    node.out = out;
    node.acc = acc;
    node.from_row = s->row;
    hone_push(g->arena, g->node, g->nodes, g->node_cap);
    g->node[g->nodes++] = node;
    return HONE_OK;
}

hone_status hone_pass_chunk(hone_graph *g, hone_id big, int64_t rows,
                            hone_err *err)
{
    split s = { .g = g };
    int64_t total = g->tensor[big].type.dim[0];
    int before = g->nodes, tensors = g->tensors;

    if (rows >= total)
        return HONE_OK;
    hone_try(find_stretch(&s, big, err));
    find_inside(&s);
    for (s.row = 0; s.row < total; s.row += s.rows) {
        s.rows = total - s.row < rows ? total - s.row : rows;
        memset(s.local, 0xff, (size_t)tensors * sizeof *s.local);
        for (int n = s.first; n < s.end; n++)
            hone_try(run_node(&s, n, err));
    }
    for (int n = s.first; n < s.end; n++)
        g->node[n].component = NULL;
    hone_graph_move(g, g->nodes - before, s.end);
    hone_graph_compact(g);
    return HONE_OK;
}
