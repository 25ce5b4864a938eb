/* SPDX-License-Identifier: MIT
 *
 * program.c -- see program.h. The order of the nodes is the order on stream 0.
 * A node on stream 1 starts after everything that stands before it, and
 * stream 0 waits for it where place.c found its join; lifetimes assume both.
 */
#include "program.h"

#include <string.h>
#include <xxhash.h>

/* ------------------------------------------------------------------ store */

void hone_store_init(hone_store *s, hone_arena *arena)
{
    *s = (hone_store){ .arena = arena };
}

/* NEXT: where it is if programs name the tensors in one order, as they do. */
/* Where the index of that name is, or would be. */
static int *slot_of(const hone_store *s, const char *name, uint64_t key)
{
    for (uint64_t at = key;; at++) {
        int *slot = &s->slot[at & (uint64_t)(s->slots - 1)];

        if (!*slot || (s->list[*slot - 1].key == key &&
                       !strcmp(s->list[*slot - 1].name, name)))
            return slot;
    }
}

hone_kept *hone_store_find(const hone_store *s, const char *name)
{
    int at = s->slots ? *slot_of(s, name, XXH3_64bits(name, strlen(name))) : 0;

    return at ? &s->list[at - 1] : NULL;
}

/* Takes in the last of the list; at most half of the slots are taken. */
static void keep_slots(hone_store *s)
{
    int from = s->count - 1;

    if (2 * s->count > s->slots) {
        s->slots = s->slots ? 2 * s->slots : 64;
        s->slot = hone_alloc(s->arena, (size_t)s->slots * sizeof *s->slot);
        from = 0;
    }
    for (; from < s->count; from++)
        *slot_of(s, s->list[from].name, s->list[from].key) = from + 1;
}

/* What waits in pinned memory is the last part, a region of its own. */
static int part_of_store(const hone_kept *k)
{
    if (k->space == HONE_PINNED_SPACE)
        return 3;
    if (k->kind == HONE_T_INPUT)
        return 0;
    return k->kind == HONE_T_STATE && hone_count(&k->type) == 1 ? 1 : 2;
}

static void store_place(hone_store *s)
{
    int64_t end[4], at = 0;

    for (int part = 0; part < 4; part++) {
        at = part == 3 ? 0 : at;
        for (int i = 0; i < s->count; i++) {
            if (part_of_store(&s->list[i]) != part)
                continue;
            s->list[i].offset = at;
            at += s->list[i].bytes;
        }
        end[part] = at;
    }
    s->input_bytes = end[0];
    s->scalar_bytes = end[1] - end[0];
    s->bytes = end[2];
    s->pinned_bytes = end[3];
}

/* Adds, or widens an input that another program has smaller. */
static void add(hone_store *s, const hone_tensor *t)
{
    hone_kept *k = hone_store_find(s, t->name);
    int64_t bytes = hone_tensor_bytes(&t->type);

    if (!k) {
        hone_push(s->arena, s->list, s->count, s->cap);
        k = &s->list[s->count++];
        *k = (hone_kept){ .name = hone_text(s->arena, t->name),
                          .key = XXH3_64bits(t->name, strlen(t->name)),
                          .type = t->type,
                          .kind = t->kind,
                          .space = t->space,
                          .trainable = t->trainable,
                          .adapter = t->adapter,
                          .zeros = t->zeros,
                          .alias = t->alias ? hone_text(s->arena, t->alias)
                                            : NULL,
                          .bytes = bytes };
        if (t->data) {
            size_t n = (size_t)hone_part_bytes(t->type.storage, 0,
                                               hone_count(&t->type));
            k->data = hone_copy(s->arena, t->data, n, n, 1);
        }
        keep_slots(s);
    } else if (bytes > k->bytes) {
        k->type = t->type;
        k->bytes = bytes;
    }
}

void hone_store_take(hone_store *s, const hone_graph *g)
{
    for (hone_id i = 0; i < g->tensors; i++)
        if (g->tensor[i].kind != HONE_T_TEMP && g->tensor[i].base == HONE_NONE)
            add(s, &g->tensor[i]);
    store_place(s);
}

void *hone_store_address(const hone_store *s, const hone_kept *k)
{
    return (k->space == HONE_PINNED_SPACE ? s->pinned : s->base) + k->offset;
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
    int64_t from_row;
    int done; /* event of a node on stream 1; -1 */
    int *wait;         /* events that stream 0 waits for first */
    int waits;
    int at_end;        /* of stream 1: waited for behind the last node */
    int again;         /* an earlier call of the program needs the same code */
};

/* Hands out pieces of one block; without a block it only adds up. */
typedef struct {
    char *base;
    size_t used;
} bump;

static void *take(bump *b, size_t bytes)
{
    void *p = b->base ? b->base + b->used : NULL;

    b->used += (bytes + 15) / 16 * 16;
    return p;
}

typedef struct {
    hone_op_run *run;
    hone_event *event;
    int *wait;
} pieces;

/* Everything that a bound program takes, in one order for both callers. */
static void take_all(const hone_program *p, bump *b, pieces *out)
{
    const hone_graph *g = &p->graph;
    size_t n = (size_t)g->nodes, side = 0;

    for (int i = 0; i < g->nodes; i++)
        side += g->node[i].stream == 1;
    out->run = take(b, n * sizeof *out->run);
    out->event = take(b, (side + 1) * sizeof *out->event);
    out->wait = take(b, side * sizeof *out->wait);
    for (int i = 0; i < g->nodes; i++) {
        const hone_node *node = &g->node[i];
        void *ptr = take(b, (node->nin + 2 * node->nout) * sizeof(hone_ptr));
        void *prepared = take(b, (size_t)node->prepared_bytes);

        if (!b->base)
            continue;
        out->run[i].ptr = ptr;
        out->run[i].prepared = prepared;
    }
}

int64_t hone_program_bytes(const hone_program *p)
{
    bump b = { 0 };
    pieces out;

    take_all(p, &b, &out);
    return (int64_t)b.used;
}

int64_t hone_program_graph_bytes(const hone_program *p, const hone_machine *m,
                                 const hone_sizes *like)
{
    const hone_device *api = m->component->ops; /* there may be none */
    const int count = like ? like->count : 1;
    int64_t use[HONE_MAX_BUCKETS][HONE_GRAPH_USE] = { { 0 } };
    hone_arena arena = { 0 };
    hone_graph g = p->graph;
    int64_t bytes[HONE_MAX_BUCKETS] = { 0 }, all = 0;

    if (!p->name || !m->info.can_capture || !hone_device_has(api, graph_bytes))
        return 0;
    g.arena = &arena;
    for (int n = 0; n < g.nodes; n++) {
        const hone_call call = hone_node_call(&g, &g.node[n]);

        /* What begins behind the rows of a size is not in its program. */
        for (int i = 0; i < count; i++)
            if (!like || like->bucket[i].tokens > g.node[n].row)
                bytes[i] = api->graph_bytes(&call, use[i]);
        hone_arena_clear(&arena);
    }
    hone_arena_free(&arena);
    for (int i = 0; i < count; i++)
        all += bytes[i];
    return all;
}

typedef struct {
    hone_program *p;
    const hone_store *store;
    const hone_regions *regions;
    hone_machine *m;
} binder;

static char *address(binder *b, hone_id id)
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

static hone_ptr pointer(binder *b, hone_id id)
{
    hone_ptr ptr = { { NULL } };
    const hone_type *type;
    char *at;

    if (id == HONE_NONE)
        return ptr;
    type = &b->p->graph.tensor[id].type;
    at = address(b, id);
    for (int i = 0; i < HONE_PARTS; i++) {
        int64_t n = hone_type_bytes(type, i);
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

static hone_status bind_node(binder *b, const hone_node *node,
                             hone_op_run *run, hone_err *err)
{
    const hone_graph *g = &b->p->graph;
    uint32_t n = node->nin + node->nout;

    run->stream = node->stream;
    run->from_row = node->from_row;
    run->done = -1;
    for (uint32_t i = 0; i < n; i++)
        run->ptr[i] = pointer(b, i < node->nin ? node->in[i]
                                               : node->out[i - node->nin]);
    for (uint32_t i = 0; i < node->nout; i++)
        run->ptr[n + i] = node->acc[i] == HONE_NONE ? run->ptr[node->nin + i]
                                                    : pointer(b, node->acc[i]);
    if (!node->kernel) {
        run->way = copy_way(g, node);
        run->bytes = hone_tensor_bytes(&g->tensor[node->in[0]].type);
        return HONE_OK;
    }
    run->run = node->kernel->run;
    run->workspace = b->regions->workspace[node->stream];
    if (node->kernel->init) {
        hone_call call = hone_node_call(g, node);
        void *context = b->m->collective &&
                                !strcmp(node->pack, b->m->collective->name)
                            ? b->m->group
                            : b->m->self;
        hone_try(node->kernel->init(&call, b->m->info.threads, context,
                                    run->prepared, err));
    }
    return HONE_OK;
}

/* Whether two nodes differ in nothing by which a kernel can choose its code:
 * the call, or how their operands are aligned. */
static int same_call(const hone_graph *g, const hone_node *a,
                     const hone_op_run *x, const hone_node *b,
                     const hone_op_run *y)
{
    if (a->component != b->component || a->kernel != b->kernel ||
        a->nin != b->nin || a->nout != b->nout ||
        memcmp(a->attrs, b->attrs, a->component->config_size))
        return 0;
    for (uint32_t i = 0; i < a->nin + a->nout; i++) {
        hone_id p = i < a->nin ? a->in[i] : a->out[i - a->nin];
        hone_id q = i < b->nin ? b->in[i] : b->out[i - b->nin];

        if ((p == HONE_NONE) != (q == HONE_NONE) ||
            (i >= a->nin && (a->acc[i - a->nin] == HONE_NONE) !=
                                (b->acc[i - b->nin] == HONE_NONE)))
            return 0;
        if (p != HONE_NONE &&
            (memcmp(&g->tensor[p].type, &g->tensor[q].type,
                    sizeof(hone_type)) ||
             ((uintptr_t)x->ptr[i].part[0] ^ (uintptr_t)y->ptr[i].part[0]) %
                 HONE_ALIGN))
            return 0;
    }
    return 1;
}

/* Marks those that a rehearsal can leave out. */
static void find_again(hone_program *p)
{
    const hone_graph *g = &p->graph;
    int *distinct = hone_alloc(g->arena, (size_t)g->nodes * sizeof *distinct);
    int count = 0;

    for (int n = 0; n < g->nodes; n++) {
        for (int i = 0; i < count && !p->run[n].again; i++)
            p->run[n].again = same_call(g, &g->node[n], &p->run[n],
                                        &g->node[distinct[i]],
                                        &p->run[distinct[i]]);
        if (!p->run[n].again)
            distinct[count++] = n;
    }
}

static hone_status add_event(const binder *b, hone_err *err)
{
    hone_program *p = b->p;

    hone_try(b->m->api->event_open(b->m->self, &p->event[p->events], err));
    p->events++;
    return HONE_OK;
}

/* Events of the nodes on stream 1: when each is done, for which stream 0 waits
 * where place.c said. Behind them one for all that says that a node may start:
 * it is waited for as soon as it is recorded. */
static hone_status bind_events(const binder *b, int *wait, hone_err *err)
{
    hone_program *p = b->p;
    const hone_graph *g = &p->graph;

    for (int n = 0; n < g->nodes; n++) {
        if (g->node[n].stream == 0)
            continue;
        p->run[n].done = p->events;
        hone_try(add_event(b, err));
    }
    if (p->events)
        hone_try(add_event(b, err));
    for (int n = 0; n < g->nodes && p->events; n++) {
        p->run[n].wait = wait;
        for (int i = 0; i < n; i++)
            if (g->node[i].stream == 1 && g->node[i].join == n)
                wait[p->run[n].waits++] = p->run[i].done;
        wait += p->run[n].waits;
        p->run[n].at_end = g->node[n].stream == 1 &&
                           g->node[n].join >= g->nodes;
    }
    return HONE_OK;
}

hone_status hone_program_bind(hone_program *p, const hone_store *store,
                              const hone_regions *regions, hone_machine *m,
                              void *memory, hone_err *err)
{
    binder b = { .p = p, .store = store, .regions = regions, .m = m };
    bump block = { .base = memory };
    pieces out;

    take_all(p, &block, &out);
    p->count = p->graph.nodes;
    p->run = out.run;
    p->event = out.event;
    for (int n = 0; n < p->count; n++)
        hone_try(bind_node(&b, &p->graph.node[n], &p->run[n], err));
    find_again(p);
    return bind_events(&b, out.wait, err);
}

static void issue(const hone_op_run *r, const hone_machine *m,
                  hone_stream stream)
{
    if (r->run)
        r->run(r->prepared, r->ptr, r->workspace, stream);
    else
        m->api->copy(m->self, r->ptr[1].part[0], r->ptr[0].part[0], r->bytes,
                     r->way, stream);
}

static void walk(const hone_program *p, const hone_machine *m,
                 int64_t live_rows)
{
    hone_event may_start = p->events ? p->event[p->events - 1] : NULL;

    for (const hone_op_run *r = p->run; r < p->run + p->count; r++) {
        hone_stream stream = m->stream[r->stream];

        for (int i = 0; i < r->waits; i++)
            m->api->wait(m->self, m->stream[0], p->event[r->wait[i]]);
        if (r->from_row > 0 && r->from_row >= live_rows)
            continue; /* what joins here was waited for all the same */
        if (r->stream == 1) {
            m->api->record(m->self, may_start, m->stream[0]);
            m->api->wait(m->self, stream, may_start);
        }
        issue(r, m, stream);
        if (r->stream == 1)
            m->api->record(m->self, p->event[r->done], stream);
    }
    for (const hone_op_run *r = p->run; r < p->run + p->count; r++)
        if (r->at_end)
            m->api->wait(m->self, m->stream[0], p->event[r->done]);
}

hone_status hone_program_rehearse(const hone_program *p,
                                  const hone_store *store,
                                  const hone_regions *regions,
                                  const hone_machine *m, hone_err *err)
{
    if (!m->info.can_capture)
        return HONE_OK;
    m->api->fill(m->self, store->base, 0, store->bytes, m->stream[0]);
    m->api->fill(m->self, regions->temps, 0, p->place.bytes[HONE_DEVICE_SPACE],
                 m->stream[0]);
    for (const hone_op_run *r = p->run; r < p->run + p->count; r++)
        if (!r->again)
            issue(r, m, m->stream[0]);
    return m->api->sync(m->self, m->stream[0], err);
}

hone_status hone_program_capture(hone_program *p, const hone_machine *m,
                                 hone_err *err)
{
    hone_graph_exec captured;

    if (!m->info.can_capture || p->count == 0)
        return HONE_OK;
    hone_try(m->api->capture(m->self, m->stream[0], err));
    walk(p, m, INT64_MAX);
    hone_try(m->api->capture_end(m->self, m->stream[0], &captured, err));
    p->captured = captured;
    return HONE_OK;
}

void hone_program_run(const hone_program *p, const hone_machine *m,
                      int64_t live_rows)
{
    if (p->captured)
        m->api->launch(m->self, p->captured, m->stream[0]);
    else
        walk(p, m, live_rows);
}

void hone_program_close(hone_program *p, const hone_machine *m)
{
    if (p->captured)
        m->api->graph_close(m->self, p->captured);
    p->captured = NULL;
    for (int i = 0; i < p->events; i++)
        m->api->event_close(m->self, p->event[i]);
    p->events = 0;
}
