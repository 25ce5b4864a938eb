/* SPDX-License-Identifier: MIT
 *
 * chunk.c -- runs a stretch of the program over a few rows at a time, so that
 * a tensor too big to exist (the logits, [T,V]; what is inside an MLP) never
 * does. What may be split follows from the operands' flags: rows are cut, sums
 * over rows add up, the rest is read whole by every run.
 */
#include <string.h>

#include "passes.h"

/* Of a tensor in the present stretch. */
typedef struct {
    int uses;        /* by its nodes */
    hone_id local;   /* its rows in the present run, + 1; 0: none yet */
    uint8_t inside;  /* written in the stretch, read nowhere else */
    uint8_t made;    /* written in it */
    uint8_t summed;  /* only whole behind it */
    uint8_t big;     /* larger than all that is cut and not inside */
} mark;

typedef struct {
    hone_graph *g;   /* its uses are counted */
    hone_arena own;
    int first, end;  /* the stretch */
    mark *mark;      /* [marks], of each tensor */
    int marks;
    int64_t total;   /* rows of the stretch */
    int64_t row, rows;
    int counts;      /* runs may be left out: hone_node.from_row */
    hone_node *to;   /* what becomes of the nodes */
    int count, cap;
} split;

static void put(split *s, const hone_node *node)
{
    hone_push(&s->own, s->to, s->count, s->cap);
    s->to[s->count++] = *node;
}

/* Nodes [from, end) as they are. */
static void put_plain(split *s, int from, int end)
{
    while (from < end)
        put(s, &s->g->node[from++]);
}

/* Of what a node reads, adds to and writes, in that order. */
static uint32_t operands(const hone_node *node)
{
    return node->nin + 2 * node->nout;
}

static hone_id operand(const hone_node *node, uint32_t i)
{
    return i < node->nin                ? node->in[i]
           : i < node->nin + node->nout ? node->acc[i - node->nin]
                                        : node->out[i - node->nin - node->nout];
}

/* Forgets what was said of what nodes [from, end) touch; LOCAL: of its rows. */
static void clear(split *s, int from, int end, int local)
{
    for (int n = from; n < end; n++) {
        const hone_node *node = &s->g->node[n];

        for (uint32_t i = 0; i < operands(node); i++) {
            hone_id id = operand(node, i);

            if (id != HONE_NONE && local)
                s->mark[id].local = 0;
            else if (id != HONE_NONE)
                s->mark[id] = (mark){ 0 };
        }
    }
}

/* For all tensors that there are; none is marked. */
static void make_room(split *s)
{
    if (s->marks >= s->g->tensors)
        return;
    s->marks = 2 * s->g->tensors;
    s->mark = hone_alloc(&s->own, (size_t)s->marks * sizeof *s->mark);
}

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

    for (int n = s->first; n < s->end; n++) {
        const hone_node *node = &g->node[n];

        for (uint32_t i = 0; i < node->nin + node->nout; i++)
            if (operand(node, i) != HONE_NONE)
                s->mark[operand(node, i)].uses++;
    }
    for (int n = s->first; n < s->end; n++)
        for (uint32_t i = 0; i < g->node[n].nout; i++) {
            hone_id id = g->node[n].out[i];

            s->mark[id].inside = g->tensor[id].kind == HONE_T_TEMP &&
                                 s->mark[id].uses == g->tensor[id].uses;
        }
}

/* The present rows of a tensor whose rows are cut. */
static hone_id rows_of(split *s, hone_id id)
{
    hone_graph *g = s->g;
    hone_type type = g->tensor[id].type;
    mark *m = &s->mark[id];

    type.dim[0] = s->rows;
    if (!m->local)
        m->local = 1 + (m->inside ? hone_graph_tensor(g, NULL, type,
                                                      HONE_T_TEMP)
                                  : hone_graph_view(g, id, s->row, s->rows));
    return m->local - 1;
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
        else if (s->mark[in[i]].inside)
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
    node.row = s->row;
    if (s->counts)
        node.from_row = s->row;
    hone_node_count(g, &node, 1);
    put(s, &node);
    return HONE_OK;
}

/* The stretch over ROWS rows at a time. */
static hone_status run_all(split *s, int64_t rows, hone_err *err)
{
    find_inside(s);
    for (s->row = 0; s->row < s->total; s->row += s->rows) {
        s->rows = s->total - s->row < rows ? s->total - s->row : rows;
        clear(s, s->first, s->end, 1);
        for (int n = s->first; n < s->end; n++)
            hone_try(run_node(s, n, err));
    }
    for (int n = s->first; n < s->end; n++)
        hone_node_count(s->g, &s->g->node[n], -1);
    return HONE_OK;
}

/* The nodes from AT on are as they were. */
static hone_status finish(split *s, int at, hone_status status)
{
    put_plain(s, at, s->g->nodes);
    if (status == HONE_OK)
        hone_graph_renew(s->g, s->to, s->count);
    hone_arena_free(&s->own);
    return status;
}

hone_status hone_pass_chunk(hone_graph *g, hone_id big, int64_t rows,
                            hone_err *err)
{
    split s = { .g = g, .total = g->tensor[big].type.dim[0], .counts = 1 };
    hone_status status;

    if (rows >= s.total)
        return HONE_OK;
    hone_try(find_stretch(&s, big, err));
    hone_graph_count(g);
    make_room(&s);
    put_plain(&s, 0, s.first);
    status = run_all(&s, rows, err);
    return finish(&s, s.end, status);
}

/* ------------------------------------------------------------------ layers */

enum { CHEAP = 16 }; /* operations an element: no product of matrices */

static int has_rows(const split *s, hone_id id)
{
    const hone_type *type = &s->g->tensor[id].type;

    return type->rank && type->dim[0] == s->total && hone_row_bytes(type) &&
           s->g->tensor[id].base == HONE_NONE;
}

/* Whether the stretch from s->first to node N can be run over rows. */
static int can_cut(const split *s, int n)
{
    const hone_graph *g = s->g;
    const hone_node *node = &g->node[n];

    if (node->stream)
        return 0;
    for (uint32_t i = 0; i < node->nin; i++) {
        hone_id id = node->in[i];

        if (id == HONE_NONE)
            continue;
        if (s->mark[id].summed || (hone_node_flags(node, i) & HONE_ROWS
                                       ? !has_rows(s, id)
                                       : s->mark[id].made))
            return 0;
    }
    for (uint32_t i = 0; i < node->nout; i++) {
        uint32_t flags = hone_node_flags(node, node->nin + i);
        hone_id acc = node->acc[i];

        if (flags & HONE_ROWS
                ? !has_rows(s, node->out[i]) ||
                      (acc != HONE_NONE && !has_rows(s, acc))
                : !(flags & HONE_SUMMED) || !(flags & HONE_CAN_ADD) ||
                      (acc != HONE_NONE && s->mark[acc].summed))
            return 0;
    }
    for (uint32_t i = 0; i < node->nout; i++) {
        mark *m = &s->mark[node->out[i]];

        m->made = g->tensor[node->out[i]].kind == HONE_T_TEMP;
        m->summed |= m->made &&
                     !(hone_node_flags(node, node->nin + i) & HONE_ROWS);
    }
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

/* Marks what is big; whether there is any. */
static int find_big(const split *s)
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
                if (pass == 0 && !s->mark[id].inside)
                    most = bytes > most ? bytes : most;
                else if (pass == 1 && s->mark[id].inside)
                    any |= s->mark[id].big = bytes > most;
            }
        }
    return any;
}

static int touches_big(const split *s, int n)
{
    const hone_node *node = &s->g->node[n];

    for (uint32_t i = 0; i < operands(node); i++)
        if (operand(node, i) != HONE_NONE && s->mark[operand(node, i)].big)
            return 1;
    return 0;
}

/* From the first op on what is big to the last, and cheap ones beside them. */
static void narrow(split *s)
{
    const int first = s->first, end = s->end;

    while (!touches_big(s, s->first))
        s->first++;
    while (!touches_big(s, s->end - 1))
        s->end--;
    while (s->first > first && is_cheap(s->g, s->first - 1))
        s->first--;
    while (s->end < end && is_cheap(s->g, s->end))
        s->end++;
}

/* The stretch from node N on: as long as it can be. */
static void stretch_from(split *s, int n)
{
    const hone_graph *g = s->g;
    const hone_node *node = &g->node[n];

    s->first = s->end = n;
    while (s->end < g->nodes && node->layer >= 0 &&
           g->node[s->end].layer == node->layer &&
           g->node[s->end].phase == node->phase && can_cut(s, s->end))
        s->end++;
    if (s->end == n)
        s->end++;
}

hone_status hone_pass_chunk_layers(hone_graph *g, int64_t total, int64_t rows,
                                   hone_err *err)
{
    split s = { .g = g, .total = total };
    hone_status status = HONE_OK;

    if (rows >= total)
        return HONE_OK;
    hone_graph_count(g);
    for (int n = 0, end; n < g->nodes && status == HONE_OK; n = s.end) {
        make_room(&s);
        stretch_from(&s, n);
        end = s.end;
        find_inside(&s);
        if (g->node[n].layer >= 0 && find_big(&s)) {
            narrow(&s);
            put_plain(&s, n, s.first);
            clear(&s, n, end, 0);
            status = run_all(&s, rows, err);
        } else {
            put_plain(&s, n, s.end);
        }
        clear(&s, n, end, 0);
    }
    return finish(&s, g->nodes, status);
}
