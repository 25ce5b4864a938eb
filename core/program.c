/* SPDX-License-Identifier: MIT
 *
 * program.c -- see program.h. The order of the nodes is the order on stream 0.
 * A node on stream 1 starts after everything that stands before it, and
 * stream 0 waits for it where place.c found its join; lifetimes assume both.
 */
#include "program.h"

#include <string.h>

/* ------------------------------------------------------------------ store */

void hone_store_init(hone_store *s, hone_arena *arena)
{
    *s = (hone_store){ .arena = arena };
}

hone_kept *hone_store_find(const hone_store *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (!strcmp(s->list[i].name, name))
            return &s->list[i];
    return NULL;
}

static void store_place(hone_store *s)
{
    s->bytes = 0;
    for (int i = 0; i < s->count; i++) {
        s->list[i].offset = s->bytes;
        s->bytes += s->list[i].bytes;
    }
}

hone_kept *hone_store_add(hone_store *s, const hone_tensor *t)
{
    hone_kept *k = hone_store_find(s, t->name);
    int64_t bytes = hone_tensor_bytes(&t->type);

    if (!k) {
        hone_push(s->arena, s->list, s->count, s->cap);
        k = &s->list[s->count++];
        *k = (hone_kept){ .name = hone_text(s->arena, t->name),
                          .type = t->type,
                          .kind = t->kind,
                          .trainable = t->trainable,
                          .adapter = t->adapter,
                          .alias = t->alias ? hone_text(s->arena, t->alias)
                                            : NULL,
                          .bytes = bytes };
        if (t->data) {
            size_t n = (size_t)hone_part_bytes(t->type.storage, 0,
                                               hone_count(&t->type));
            k->data = hone_copy(s->arena, t->data, n, n, 1);
        }
    } else if (bytes > k->bytes) {
        k->type = t->type;
        k->bytes = bytes;
    }
    return k;
}

void hone_store_take(hone_store *s, const hone_graph *g)
{
    for (hone_id i = 0; i < g->tensors; i++)
        if (g->tensor[i].kind != HONE_T_TEMP && g->tensor[i].base == HONE_NONE)
            hone_store_add(s, &g->tensor[i]);
    store_place(s);
}

void *hone_store_address(const hone_store *s, const hone_kept *k)
{
    return s->base + k->offset;
}

int64_t hone_store_kind_bytes(const hone_store *s, hone_tensor_kind kind,
                              int adapter)
{
    int64_t bytes = 0;

    for (int i = 0; i < s->count; i++)
        if (s->list[i].kind == kind && s->list[i].adapter == adapter)
            bytes += s->list[i].bytes;
    return bytes;
}

/* ---------------------------------------------------------------- binding */

struct hone_op_run {
    void (*run)(const void *prepared, const hone_ptr *, void *workspace,
                hone_stream); /* NULL: a copy by the device */
    void *prepared;
    hone_ptr *ptr;
    void *workspace;
    int64_t bytes; /* of a copy */
    hone_way way;
    int stream;
    int started, done; /* events of a node on stream 1; -1 */
    int *wait;         /* events that stream 0 waits for first */
    int waits;
};

typedef struct {
    hone_program *p;
    const hone_store *store;
    const hone_regions *regions;
    hone_machine *m;
    hone_arena *arena;
} binder;

static char *address(const binder *b, hone_id id)
{
    const hone_graph *g = &b->p->graph;
    const hone_tensor *t = &g->tensor[id];
    int64_t skip = 0;

    if (t->base != HONE_NONE) {
        skip = t->row * hone_row_bytes(&g->tensor[t->base].type);
        t = &g->tensor[id = t->base];
    }
    if (t->kind != HONE_T_TEMP)
        return (char *)hone_store_address(
                   b->store, hone_store_find(b->store, t->name)) + skip;
    while (g->tensor[id].root != id)
        id = g->tensor[id].root;
    t = &g->tensor[id];
    return (t->space == HONE_PINNED_SPACE ? b->regions->pinned
                                          : b->regions->temps) +
           t->offset + skip;
}

static hone_ptr pointer(const binder *b, hone_id id)
{
    hone_ptr ptr = { { NULL } };
    const hone_type *type;
    char *at;

    if (id == HONE_NONE)
        return ptr;
    type = &b->p->graph.tensor[id].type;
    at = address(b, id);
    for (int i = 0; i < HONE_PARTS; i++) {
        int64_t n = hone_part_bytes(type->storage, i, hone_count(type));
        if (!n)
            break;
        ptr.part[i] = at;
        at += (n + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
    }
    return ptr;
}

static hone_way copy_way(const hone_graph *g, const hone_node *node)
{
    if (g->tensor[node->in[0]].space == HONE_PINNED_SPACE)
        return HONE_TO_DEVICE;
    return g->tensor[node->out[0]].space == HONE_PINNED_SPACE ? HONE_TO_HOST
                                                              : HONE_ON_DEVICE;
}

static hone_status bind_node(const binder *b, const hone_node *node,
                             hone_op_run *run, hone_err *err)
{
    const hone_graph *g = &b->p->graph;
    uint32_t n = node->nin + node->nout;

    run->stream = node->stream;
    run->started = run->done = -1;
    run->ptr = hone_alloc(b->arena, (n + 1) * sizeof *run->ptr);
    for (uint32_t i = 0; i < n; i++)
        run->ptr[i] = pointer(b, i < node->nin ? node->in[i]
                                               : node->out[i - node->nin]);
    if (!node->kernel) {
        run->way = copy_way(g, node);
        run->bytes = hone_tensor_bytes(&g->tensor[node->in[0]].type);
        return HONE_OK;
    }
    run->run = node->kernel->run;
    run->workspace = b->regions->workspace[node->stream];
    run->prepared = hone_alloc(b->arena, (size_t)node->prepared_bytes + 1);
    if (node->kernel->init) {
        hone_call call = hone_node_call(g, node);
        hone_try(node->kernel->init(&call, b->m->info.threads, b->m->self,
                                    run->prepared, err));
    }
    return HONE_OK;
}

/* Events of node N on stream 1: when it may start, and when it is done. */
static hone_status bind_events(const binder *b, int n, hone_err *err)
{
    hone_program *p = b->p;
    hone_op_run *run = &p->run[n], *join = &p->run[p->graph.node[n].join];

    for (int i = 0; i < 2; i++)
        hone_try(b->m->api->event_open(b->m->self, &p->event[p->events + i],
                                       err));
    run->started = p->events++;
    run->done = p->events++;
    join->wait = hone_copy(b->arena, join->wait, (size_t)join->waits,
                           (size_t)join->waits + 1, sizeof *join->wait);
    join->wait[join->waits++] = run->done;
    return HONE_OK;
}

hone_status hone_program_bind(hone_program *p, const hone_store *store,
                              const hone_regions *regions, hone_machine *m,
                              hone_arena *a, hone_err *err)
{
    binder b = { .p = p, .store = store, .regions = regions, .m = m,
                 .arena = a };
    int side = 0;

    p->count = p->graph.nodes;
    p->run = hone_alloc(a, ((size_t)p->count + 1) * sizeof *p->run);
    for (int n = 0; n < p->count; n++) {
        hone_try(bind_node(&b, &p->graph.node[n], &p->run[n], err));
        side += p->graph.node[n].stream == 1;
    }
    p->event = hone_alloc(a, (2 * (size_t)side + 1) * sizeof *p->event);
    for (int n = 0; n < p->count; n++)
        if (p->graph.node[n].stream == 1)
            hone_try(bind_events(&b, n, err));
    return HONE_OK;
}

void hone_program_run(const hone_program *p, const hone_machine *m)
{
    for (const hone_op_run *r = p->run; r < p->run + p->count; r++) {
        hone_stream stream = m->stream[r->stream];

        for (int i = 0; i < r->waits; i++)
            m->api->wait(m->self, m->stream[0], p->event[r->wait[i]]);
        if (r->stream == 1) {
            m->api->record(m->self, p->event[r->started], m->stream[0]);
            m->api->wait(m->self, stream, p->event[r->started]);
        }
        if (r->run)
            r->run(r->prepared, r->ptr, r->workspace, stream);
        else
            m->api->copy(m->self, r->ptr[1].part[0], r->ptr[0].part[0],
                         r->bytes, r->way, stream);
        if (r->stream == 1)
            m->api->record(m->self, p->event[r->done], stream);
    }
}

void hone_program_close(hone_program *p, const hone_machine *m)
{
    for (int i = 0; i < p->events; i++)
        m->api->event_close(m->self, p->event[i]);
    p->events = 0;
}
