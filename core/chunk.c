/* SPDX-License-Identifier: MIT
 *
 * chunk.c -- runs a stretch of the program over a few rows at a time, so that
 * a tensor too big to exist (the logits, [T,V]; what is inside an MLP) never
 * does. What may be split follows from the operands' flags: rows are cut, sums
 * over rows add up, the rest is read whole by every run.
 */
#include <string.h>

#include "passes.h"

typedef struct {
    hone_graph *g;
    int first, end;  /* the stretch */
    uint8_t *inside; /* [tensors] written in the stretch, read nowhere else */
    hone_id *local;  /* [tensors] its rows in the present run */
    int64_t total;   /* rows of the stretch */
    int64_t row, rows;
    int counts;      /* runs may be left out: hone_node.from_row */
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

/* Sums over the columns of BIG with a weight: no activation of it, even where
 * it has its size, as the gradient of what goes in where that is as wide. */
static int has_weight(const hone_graph *g, const hone_node *node)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] != HONE_NONE &&
            g->tensor[node->in[i]].kind == HONE_T_PARAM)
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
        reads &= !has_weight(g, node);
        for (uint32_t i = 0; reads && i < node->nout; i++)
            if (hone_count(&g->tensor[node->out[i]].type) == count &&
                hone_node_flags(node, node->nin + i) & HONE_ROWS)
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
    hone_type type = g->tensor[id].type;

    if (s->local[id] != HONE_NONE)
        return s->local[id];
    type.dim[0] = s->rows;
    s->local[id] = s->inside[id]
                       ? hone_graph_tensor(g, NULL, type, HONE_T_TEMP)
                       : hone_graph_view(g, id, s->row, s->rows);
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

        if (flags & HONE_ROWS) {
            out[i] = rows_of(s, out[i]);
            acc[i] = acc[i] == HONE_NONE ? HONE_NONE : rows_of(s, acc[i]);
        } else if (flags & HONE_SUMMED)
            acc[i] = s->row > 0 ? out[i] : acc[i];
        else
            return hone_fail(err, HONE_ENOSUP,
                             "%s: output %u cannot be made in chunks",
                             node.name, i);
    }
    node.in = in;
    node.out = out;
    node.acc = acc;
    if (s->counts)
        node.from_row = s->row;
    hone_push(g->arena, g->node, g->nodes, g->node_cap);
    g->node[g->nodes++] = node;
    return HONE_OK;
}

/* The stretch over ROWS rows at a time, in its place. */
static hone_status run_all(split *s, int64_t rows, hone_err *err)
{
    hone_graph *g = s->g;
    int before = g->nodes, tensors = g->tensors;

    find_inside(s);
    for (s->row = 0; s->row < s->total; s->row += s->rows) {
        s->rows = s->total - s->row < rows ? s->total - s->row : rows;
        memset(s->local, 0xff, (size_t)tensors * sizeof *s->local);
        for (int n = s->first; n < s->end; n++)
            hone_try(run_node(s, n, err));
    }
    for (int n = s->first; n < s->end; n++)
        g->node[n].component = NULL;
    hone_graph_move(g, g->nodes - before, s->end);
    hone_graph_compact(g);
    return HONE_OK;
}

hone_status hone_pass_chunk(hone_graph *g, hone_id big, int64_t rows,
                            hone_err *err)
{
    split s = { .g = g, .total = g->tensor[big].type.dim[0], .counts = 1 };

    if (rows >= s.total)
        return HONE_OK;
    hone_try(find_stretch(&s, big, err));
    return run_all(&s, rows, err);
}

/* ------------------------------------------------------------------ layers */

enum { CHEAP = 16 }; /* operations an element: no product of matrices */

static int has_rows(const split *s, hone_id id)
{
    const hone_type *type = &s->g->tensor[id].type;

    return type->rank && type->dim[0] == s->total && hone_row_bytes(type) &&
           s->g->tensor[id].base == HONE_NONE;
}

static int is_made_inside(const split *s, hone_id id)
{
    return s->g->tensor[id].kind == HONE_T_TEMP &&
           hone_graph_producer(s->g, id) >= s->first;
}

/* Whether the stretch from s->first to node N can be run over rows. SUMMED:
 * what is only whole behind it. */
static int can_cut(const split *s, int n, uint8_t *summed)
{
    const hone_graph *g = s->g;
    const hone_node *node = &g->node[n];

    if (node->stream)
        return 0;
    for (uint32_t i = 0; i < node->nin; i++) {
        hone_id id = node->in[i];

        if (id == HONE_NONE)
            continue;
        if (summed[id] || (hone_node_flags(node, i) & HONE_ROWS
                               ? !has_rows(s, id)
                               : is_made_inside(s, id)))
            return 0;
    }
    for (uint32_t i = 0; i < node->nout; i++) {
        uint32_t flags = hone_node_flags(node, node->nin + i);
        hone_id acc = node->acc[i];

        if (flags & HONE_ROWS
                ? !has_rows(s, node->out[i]) ||
                      (acc != HONE_NONE && !has_rows(s, acc))
                : !(flags & HONE_SUMMED) || !(flags & HONE_CAN_ADD) ||
                      (acc != HONE_NONE && summed[acc]))
            return 0;
    }
    for (uint32_t i = 0; i < node->nout; i++)
        summed[node->out[i]] |=
            !(hone_node_flags(node, node->nin + i) & HONE_ROWS) &&
            g->tensor[node->out[i]].kind == HONE_T_TEMP;
    return 1;
}

static int is_cheap(const hone_graph *g, int n)
{
    const hone_node *node = &g->node[n];
    double elements = 0;

    for (uint32_t i = 0; i < node->nout; i++)
        elements += (double)hone_count(&g->tensor[node->out[i]].type);
    return hone_node_flops(g, node) < CHEAP * elements;
}

/* Marks of BIG what is inside the stretch and larger than all that is cut and
 * is not; whether there is any. */
static int find_big(const split *s, uint8_t *big)
{
    const hone_graph *g = s->g;
    int64_t most = 0;
    int any = 0;

    for (int pass = 0; pass < 2; pass++)
        for (int n = s->first; n < s->end; n++) {
            const hone_node *node = &g->node[n];

            for (uint32_t i = 0; i < node->nin + node->nout; i++) {
                hone_id id = i < node->nin ? node->in[i]
                                           : node->out[i - node->nin];
                int64_t bytes;

                if (id == HONE_NONE || !(hone_node_flags(node, i) & HONE_ROWS))
                    continue;
                bytes = hone_tensor_bytes(&g->tensor[id].type);
                if (pass == 0 && !s->inside[id])
                    most = bytes > most ? bytes : most;
                else if (pass == 1 && s->inside[id])
                    any |= big[id] = bytes > most;
            }
        }
    return any;
}

/* From the first op on what is big to the last, and cheap ones beside them. */
static void narrow(split *s, const uint8_t *big)
{
    const int first = s->first, end = s->end;

    while (!touches(&s->g->node[s->first], big))
        s->first++;
    while (!touches(&s->g->node[s->end - 1], big))
        s->end--;
    while (s->first > first && is_cheap(s->g, s->first - 1))
        s->first--;
    while (s->end < end && is_cheap(s->g, s->end))
        s->end++;
}

hone_status hone_pass_chunk_layers(hone_graph *g, int64_t total, int64_t rows,
                                   hone_err *err)
{
    split s = { .g = g, .total = total };

    for (int n = 0; n < g->nodes && rows < total; n = s.end) {
        uint8_t *summed = hone_alloc(g->arena, (size_t)g->tensors + 1);
        uint8_t *big = hone_alloc(g->arena, (size_t)g->tensors + 1);
        const hone_node *node = &g->node[n];
        int left;

        s.first = s.end = n;
        while (s.end < g->nodes && node->layer >= 0 &&
               g->node[s.end].layer == node->layer &&
               g->node[s.end].phase == node->phase &&
               can_cut(&s, s.end, summed))
            s.end++;
        if (s.end == n)
            s.end++;
        find_inside(&s);
        if (node->layer < 0 || !find_big(&s, big))
            continue;
        narrow(&s, big);
        left = g->nodes - s.end;
        hone_try(run_all(&s, rows, err));
        s.end = g->nodes - left;
    }
    return HONE_OK;
}
