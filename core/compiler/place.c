/* SPDX-License-Identifier: MIT
 *
 * place.c -- from lifetimes to offsets. A temporary occupies bytes from its
 * first write to its last read; two that are never alive together may share
 * them. Offsets are found greedily, the biggest tensor first, in the lowest
 * gap that holds it (Pisarchyk and Lee, "Efficient Memory Management for Deep
 * Neural Net Inference", 2020).
 *
 * A tensor that a copy stream touches counts as alive until stream 0 has
 * waited for that copy, and such a copy starts after all that stands before
 * it: so shared bytes are safe across streams by position alone.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "passes.h"

static int64_t align_up(int64_t n)
{
    return (n + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
}

int64_t hone_tensor_bytes(const hone_type *t)
{
    int64_t bytes = 0;

    for (int p = 0; p < HONE_PARTS; p++)
        bytes += align_up(hone_type_bytes(t, p));
    return bytes;
}

int64_t hone_row_bytes(const hone_type *t)
{
    const hone_part *part = hone_parts(t->storage);

    if (part[1].bytes || part[0].per != 1)
        return 0;
    return t->rank ? hone_count(t) / t->dim[0] * part[0].bytes : 0;
}

static hone_id base_of(const hone_graph *g, hone_id id)
{
    return g->tensor[id].base == HONE_NONE ? id : g->tensor[id].base;
}

static hone_id root_of(const hone_graph *g, hone_id id)
{
    id = base_of(g, id);
    while (g->tensor[id].root != id)
        id = g->tensor[id].root;
    return id;
}

/* -------------------------------------------------------------- lifetimes */

static void touch(hone_graph *g, hone_id id, int at)
{
    hone_tensor *t;

    if (id == HONE_NONE)
        return;
    t = &g->tensor[base_of(g, id)];
    if (t->first < 0 || at < t->first)
        t->first = at;
    if (at > t->last)
        t->last = at;
}

/* What operand I reads: an input, what an output adds to or updates. */
static hone_id read_by(const hone_graph *g, const hone_node *node, uint32_t i)
{
    int updates = i >= node->nin && hone_node_flags(node, i) & HONE_UPDATED;
    const hone_id *out = updates ? node->out : node->acc;
    hone_id id = i < node->nin ? node->in[i] : out[i - node->nin];

    return id == HONE_NONE ? id : base_of(g, id);
}

/* Behind the nodes of the next layer, or other group, that come after N. */
static int behind_next(const hone_graph *g, int n)
{
    int layer = g->node[n].layer, i = n + 1;

    for (int runs = 0; runs < 2 && i < g->nodes; runs++) {
        while (i < g->nodes && (g->node[i].stream || g->node[i].layer == layer))
            i++;
        if (i < g->nodes)
            layer = g->node[i].layer;
    }
    return i;
}

/* Stream 0 waits for a copy before the first node that reads what it wrote;
 * for one that only sends away, behind the forward ops of its layer, or, if it
 * is no forward op, of the next one; at the latest at the end. */
static void find_joins(hone_graph *g)
{
    hone_arena own = { 0 };
    int layers = 0, *reader, *end; /* of a tensor, of a layer; 0: none yet */

    for (int n = 0; n < g->nodes; n++)
        layers = g->node[n].layer >= layers ? g->node[n].layer + 1 : layers;
    end = hone_alloc(&own, ((size_t)layers + 1) * sizeof *end);
    reader = hone_alloc(&own, ((size_t)g->tensors + 1) * sizeof *reader);
    for (int n = g->nodes - 1; n >= 0; n--) {
        hone_node *node = &g->node[n];
        int *last = &end[node->layer + 1];

        if (node->phase == HONE_FORWARD && !*last)
            *last = n + 1;
        if (node->stream)
            node->join = reader[node->out[0]]        ? reader[node->out[0]]
                         : node->phase == HONE_FORWARD ? *last
                                                       : behind_next(g, n);
        for (uint32_t i = 0; !node->stream && i < node->nin + node->nout; i++)
            if (read_by(g, node, i) != HONE_NONE)
                reader[read_by(g, node, i)] = n;
    }
    hone_arena_free(&own);
}

static void find_lifetimes(hone_graph *g)
{
    find_joins(g);
    for (hone_id i = 0; i < g->tensors; i++) {
        g->tensor[i].first = g->tensor[i].last = -1;
        g->tensor[i].root = i;
    }
    for (int n = 0; n < g->nodes; n++) {
        hone_node *node = &g->node[n];
        int until = node->stream ? node->join : n;

        for (uint32_t i = 0; i < node->nin; i++) {
            touch(g, node->in[i], n);
            touch(g, node->in[i], until);
        }
        for (uint32_t i = 0; i < node->nout; i++) {
            touch(g, node->out[i], n);
            touch(g, node->out[i], until);
            touch(g, node->acc[i], n);
        }
    }
}

/* ---------------------------------------------------------- sharing bytes */

static int is_temp(const hone_graph *g, hone_id id)
{
    return id != HONE_NONE && g->tensor[id].kind == HONE_T_TEMP &&
           g->tensor[id].base == HONE_NONE;
}

/* Lets OUT of node N live in the bytes of FROM, if that one ends here, READERS
 * inputs of the node are in them and no other output is. */
static void share(hone_graph *g, int n, hone_id from, hone_id out, int readers)
{
    const hone_node *node = &g->node[n];
    hone_id root;

    if (!is_temp(g, from) || !is_temp(g, out) ||
        g->tensor[from].space != g->tensor[out].space ||
        hone_tensor_bytes(&g->tensor[from].type) !=
            hone_tensor_bytes(&g->tensor[out].type))
        return;
    root = root_of(g, from);
    if (g->tensor[root].last > n || g->tensor[out].first != n ||
        g->tensor[out].root != out || root == out)
        return;
    for (uint32_t i = 0; i < node->nin; i++)
        readers -= node->in[i] != HONE_NONE && root_of(g, node->in[i]) == root;
    for (uint32_t i = 0; i < node->nout; i++)
        if (root_of(g, node->out[i]) == root)
            return;
    if (readers != 0)
        return;
    g->tensor[out].root = root;
    if (g->tensor[out].last > g->tensor[root].last)
        g->tensor[root].last = g->tensor[out].last;
}

static void share_all(hone_graph *g)
{
    for (int n = 0; n < g->nodes; n++) {
        hone_node *node = &g->node[n];

        for (uint32_t i = 0; i < node->nout; i++) {
            uint32_t flags = hone_node_flags(node, node->nin + i);
            int from = HONE_INPLACE_OF(flags);

            if (node->acc[i] != HONE_NONE && node->acc[i] != node->out[i])
                share(g, n, node->acc[i], node->out[i], 0);
            else if (node->acc[i] == HONE_NONE && from >= 0 &&
                     from < (int)node->nin)
                share(g, n, node->in[from], node->out[i], 1);
        }
    }
}

/* Whether each addition found its bytes; where not, and the kernel cannot add
 * to what lies elsewhere, the operand is copied into the output first. */
static hone_status copy_operands(hone_graph *g, int *inserted, hone_err *err)
{
    const int nodes = g->nodes;
    hone_status status = HONE_OK;
    hone_arena own = { 0 };
    int *at = NULL, cap = 0;

    *inserted = 0;
    for (int n = 0; n < nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nout && status == HONE_OK; i++) {
            hone_node *node = &g->node[n];
            hone_id acc = node->acc[i], out = node->out[i];

            if (acc == HONE_NONE || acc == out || node->adds_from ||
                root_of(g, acc) == root_of(g, out))
                continue;
            g->phase = node->phase;
            g->layer = node->layer;
            node->acc[i] = out;
            status = hone_graph_op(g, "copy", NULL, NULL, 0, &acc, 1, &out, 1,
                                   err);
            hone_push(&own, at, *inserted, cap);
            at[(*inserted)++] = n;
        }
    g->phase = HONE_FORWARD;
    g->layer = -1;
    if (status == HONE_OK && *inserted)
        hone_graph_spread(g, at, *inserted);
    hone_arena_free(&own);
    return status;
}

/* ---------------------------------------------------------------- offsets */

typedef struct {
    int64_t bytes, offset;
    int first, last;
    hone_id id;
} piece;

static int bigger_first(const void *a, const void *b)
{
    const piece *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first)
        return x->first - y->first;
    return x->id - y->id;
}

/* Pieces that are placed, by offset but for those that came last. */
typedef struct {
    piece **piece;
    int count, cap, sorted;
} shelf;

static int lower_first(const void *a, const void *b)
{
    int64_t x = (*(piece *const *)a)->offset, y = (*(piece *const *)b)->offset;

    return x < y ? -1 : x > y;
}

static void sort_in(hone_arena *a, shelf *s)
{
    int late = s->count - s->sorted, end = s->sorted;
    piece **came = hone_copy(a, s->piece + end, (size_t)late, (size_t)late,
                             sizeof *came);

    qsort(came, (size_t)late, sizeof *came, lower_first);
    for (int low = 0; late-- > 0; end = low, low = 0) {
        for (int high = end; low < high;)
            if (s->piece[(low + high) / 2]->offset > came[late]->offset)
                high = (low + high) / 2;
            else
                low = (low + high) / 2 + 1;
        memmove(s->piece + low + late + 1, s->piece + low,
                (size_t)(end - low) * sizeof *came);
        s->piece[low + late] = came[late];
    }
    s->sorted = s->count;
}

/* Only those that are alive together with P matter. */
static int64_t lowest_gap(const piece *p, const shelf *s)
{
    int64_t at = 0;

    for (int i = 0; i < s->count; i++) {
        const piece *q = s->piece[i];

        if (q->first > p->last || p->first > q->last)
            continue;
        if (q->offset - at >= p->bytes)
            return at;
        if (q->offset + q->bytes > at)
            at = q->offset + q->bytes;
    }
    return at;
}

/* Most pieces live briefly: shelf K of a level holds those alive in [K, K + 2) *
 * its span, all that matter to one that lives no longer than that. */
enum { LEVELS = 4 };
static const int spans[LEVELS] = { 64, 512, 4096, INT_MAX };

static int64_t place_pieces(hone_graph *g, hone_arena *own, piece *list,
                            int count)
{
    shelf *level[LEVELS], *near;
    int64_t top = 0;

    for (int i = 0; i < LEVELS; i++)
        level[i] = hone_alloc(own, ((size_t)(g->nodes / spans[i]) + 2) *
                                       sizeof **level);
    qsort(list, (size_t)count, sizeof *list, bigger_first);
    for (piece *p = list; p < list + count; p++) {
        int at = 0;

        while (p->last - p->first > spans[at])
            at++;
        near = &level[at][p->first / spans[at]];
        if (near->sorted < near->count)
            sort_in(own, near);
        p->offset = lowest_gap(p, near);
        for (int i = 0; i < LEVELS; i++)
            for (int k = p->first < spans[i] ? 0 : p->first / spans[i] - 1;
                 k <= p->last / spans[i]; k++) {
                near = &level[i][k];
                hone_push(own, near->piece, near->count, near->cap);
                near->piece[near->count++] = p;
            }
        g->tensor[p->id].offset = p->offset;
        if (p->offset + p->bytes > top)
            top = p->offset + p->bytes;
    }
    return top;
}

static int64_t place_space(hone_graph *g, hone_space space)
{
    hone_arena own = { 0 };
    piece *list = hone_alloc(&own, ((size_t)g->tensors + 1) * sizeof *list);
    int count = 0;
    int64_t top;

    for (hone_id i = 0; i < g->tensors; i++) {
        const hone_tensor *t = &g->tensor[i];
        if (!is_temp(g, i) || t->root != i || t->first < 0 ||
            t->space != space)
            continue;
        list[count++] = (piece){ .bytes = hone_tensor_bytes(&t->type),
                                 .first = t->first, .last = t->last, .id = i };
    }
    top = place_pieces(g, &own, list, count);
    hone_arena_free(&own);
    return top;
}

hone_status hone_pass_place(hone_graph *g, hone_placement *p, hone_err *err)
{
    int inserted;

    memset(p, 0, sizeof *p);
    do { /* again where copies moved the positions */
        find_lifetimes(g);
        share_all(g);
        hone_try(copy_operands(g, &inserted, err));
    } while (inserted);
    for (hone_id i = 0; i < g->tensors; i++) {
        hone_id base = g->tensor[i].base;
        if (base != HONE_NONE && !hone_row_bytes(&g->tensor[base].type))
            return hone_fail(err, HONE_ENOSUP,
                             "%s: rows of a tensor in blocks have no address",
                             g->tensor[base].name ? g->tensor[base].name
                                                  : "a temporary");
    }
    p->bytes[HONE_DEVICE_SPACE] = place_space(g, HONE_DEVICE_SPACE);
    p->bytes[HONE_PINNED_SPACE] = place_space(g, HONE_PINNED_SPACE);
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        int64_t *slot = &p->workspace_bytes[node->stream];
        if (node->workspace_bytes > *slot)
            *slot = node->workspace_bytes;
    }
    for (int s = 0; s < 2; s++)
        p->workspace_bytes[s] = align_up(p->workspace_bytes[s]);
    return HONE_OK;
}
