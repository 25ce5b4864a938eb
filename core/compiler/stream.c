/* SPDX-License-Identifier: MIT
 *
 * stream.c -- weights that wait in pinned memory (family_hold.c says which) are
 * copied, as they are stored, into temporaries ahead of the ops that read them:
 * once for the forward pass and once for the backward pass. The copies go on
 * the stream beside, in the order of use, as far ahead as the bytes of one
 * layer: while a tensor is multiplied, those that the next streamed layer has
 * before it are under way, and the link never waits for a whole layer to end.
 * Pudipeddi et al., "Training Large Neural Networks with Constant Memory using
 * a New Execution Algorithm", 2020.
 */
#include "passes.h"

/* A tensor in one of the two passes: the first node that reads it. */
typedef struct {
    hone_id from, here;
    int first, layer;
    hone_phase phase;
    int64_t bytes;
} use;

typedef struct {
    hone_graph *g;
    use *list; /* in the order of their first nodes */
    int count, cap;
    int64_t ahead; /* bytes that may be under way */
} stream;

/* A table of embeddings stays in pinned memory: its rows are picked there. */
static int is_streamed(const hone_graph *g, const hone_node *node, uint32_t i)
{
    hone_id id = node->in[i];

    return node->layer >= 0 && node->stream == 0 && id != HONE_NONE &&
           g->tensor[id].kind == HONE_T_PARAM &&
           g->tensor[id].space == HONE_PINNED_SPACE;
}

static use *find(const stream *s, hone_id id, hone_phase phase)
{
    for (int i = s->count - 1; i >= 0; i--)
        if (s->list[i].from == id && s->list[i].phase == phase)
            return &s->list[i];
    return NULL;
}

static void collect(stream *s)
{
    hone_graph *g = s->g;

    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            hone_node *node = &g->node[n];
            hone_id id = node->in[i];
            use *u = is_streamed(g, node, i) ? find(s, id, node->phase) : NULL;

            if (!u && !is_streamed(g, node, i))
                continue;
            if (!u) {
                hone_type type = g->tensor[id].type;

                hone_push(g->arena, s->list, s->count, s->cap);
                u = &s->list[s->count++];
                *u = (use){ id, HONE_NONE, n, node->layer, node->phase,
                            hone_tensor_bytes(&type) };
                u->here = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
            }
            node->in[i] = u->here;
        }
}

/* The bytes of the largest layer. */
static void find_ahead(stream *s)
{
    for (int i = 0, k = 0; i < s->count; i = k) {
        int64_t bytes = 0;

        for (; k < s->count && s->list[k].layer == s->list[i].layer &&
               s->list[k].phase == s->list[i].phase; k++)
            bytes += s->list[k].bytes;
        s->ahead = bytes > s->ahead ? bytes : s->ahead;
    }
}

hone_status hone_pass_stream(hone_graph *g, hone_err *err)
{
    stream s = { .g = g };
    int64_t under_way = 0; /* from FROM to before what is looked at */
    int from = 0, *at;

    collect(&s);
    find_ahead(&s);
    at = hone_alloc(g->arena, ((size_t)s.count + 1) * sizeof *at);
    for (int i = 0; i < s.count; i++) {
        const use *u = &s.list[i];

        while (under_way > s.ahead)
            under_way -= s.list[from++].bytes;
        at[i] = from ? s.list[from].first : 0;
        g->layer = u->layer;
        g->phase = u->phase;
        hone_try(hone_graph_copy(g, u->from, u->here, g->nodes, err));
        under_way += u->bytes;
    }
    hone_graph_spread(g, at, s.count);
    g->layer = -1;
    g->phase = HONE_FORWARD;
    return HONE_OK;
}
