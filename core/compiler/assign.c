/* SPDX-License-Identifier: MIT
 *
 * assign.c -- chooses a kernel for every node and gives operands the storage
 * that it takes. A converted operand is a temporary beside the one call that
 * needs it: it is made again for the next, never saved.
 */
#include <stdlib.h>
#include <string.h>

#include "passes.h"

/* --------------------------------------- the reference as the last resort */

static hone_status reference_prepare(const hone_call *call, int threads,
                                     hone_need *need, hone_err *err)
{
    uint32_t n = call->nin + call->nout;

    (void)threads;
    for (uint32_t i = 0; i < n; i++)
        if (hone_parts(call->type[i].storage)[1].bytes)
            return hone_fail(err, HONE_ENOSUP, "%s: the reference takes no "
                             "codes", call->op);
    need->workspace_bytes = 0;
    need->prepared_bytes = (int64_t)(sizeof(hone_op *) + sizeof(hone_call) +
                                     n * (sizeof(hone_type) + 1) + 64);
    return HONE_OK;
}

typedef struct {
    const hone_op *op;
    hone_call call;
} reference;

static hone_status reference_init(const hone_call *call, int threads, void *ctx,
                                  void *prepared, hone_err *err)
{
    reference *r = prepared;
    uint32_t n = call->nin + call->nout;
    hone_type *type = (hone_type *)(r + 1);
    uint8_t *mode = (uint8_t *)(type + n);
    const hone_component *c;

    (void)threads;
    (void)ctx;
    hone_try(hone_need_component(HONE_KIND_OP, call->op, &c, err));
    memcpy(type, call->type, n * sizeof *type);
    memcpy(mode, call->mode, n);
    r->op = c->ops;
    r->call = *call; /* attributes live as long as the program */
    r->call.type = type;
    r->call.mode = mode;
    return HONE_OK;
}

static void reference_run(const void *prepared, const hone_ptr *ptr,
                          void *workspace, hone_stream stream)
{
    const reference *r = prepared;

    (void)workspace;
    (void)stream;
    if (r->call.compute == HONE_F64)
        r->op->ref_f64(&r->call, ptr);
    else
        r->op->ref_f32(&r->call, ptr);
}

static const hone_kernel reference_kernel = { "reference", reference_prepare,
                                              reference_init, reference_run };

/* --------------------------------------------------------------- choosing */

typedef struct {
    hone_graph *g;
    const hone_component *const *packs;
    const hone_device_info *info;
    int images;
    int *at; /* before which nodes those that came in belong */
    int came, cap;
} assigner;

static hone_status try_kernel(const assigner *a, hone_node *node,
                              const hone_call *call, const hone_kernel *k,
                              const char *pack, hone_storage *want)
{
    hone_need need = { .size = sizeof need, .want = want };

    for (uint32_t i = 0; i < call->nin + call->nout; i++)
        want[i] = call->type[i].storage;
    hone_try(k->prepare(call, a->info->threads, &need, NULL));
    node->kernel = k;
    node->pack = pack;
    node->workspace_bytes = need.workspace_bytes;
    node->prepared_bytes = need.prepared_bytes;
    node->adds_from = need.adds_from;
    node->twice = need.twice;
    return HONE_OK;
}

static hone_status choose(const assigner *a, hone_node *node,
                          const hone_call *call, hone_storage *want,
                          hone_err *err)
{
    int can_refer = call->compute == HONE_F64 ? !!node->op->ref_f64
                                              : !!node->op->ref_f32;

    for (int p = 0; a->packs[p] && call->compute != HONE_F64; p++) {
        const hone_pack *pack = a->packs[p]->ops;

        for (const hone_kernel *k = pack->kernels; k->op; k++)
            if (k->op[0] == call->op[0] && !strcmp(k->op, call->op) &&
                try_kernel(a, node, call, k, a->packs[p]->name, want) ==
                    HONE_OK)
                return HONE_OK;
    }
    if (can_refer && a->info->is_host &&
        try_kernel(a, node, call, &reference_kernel, "reference", want) ==
            HONE_OK)
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP,
                     "no pack for %s covers op %s (%s); hone plugins lists the "
                     "packs", a->info->name, node->component->name, node->name);
}

static const char *const storage_names[HONE_STORAGES] = {
    [HONE_F32] = "f32", [HONE_BF16] = "bf16", [HONE_F16] = "f16",
    [HONE_F64] = "f64", [HONE_NF4] = "nf4", [HONE_FP8] = "fp8",
    [HONE_INT8] = "int8", [HONE_UINT8] = "uint8",
    [HONE_NF4_PLAIN] = "nf4_plain", [HONE_FP8_TURNED] = "fp8_turned" };

/* Whether a parameter may be held in storage WANT as well: a trained one, or
 * one that is frozen as codes and stays codes. */
static int may_have_image(const assigner *a, const hone_tensor *t,
                          hone_storage want)
{
    if (t->kind != HONE_T_PARAM || t->base != HONE_NONE)
        return 0;
    if (t->trainable)
        return a->images & HONE_IMAGES_TRAINED;
    return a->images & HONE_IMAGES_FROZEN && hone_parts(want)[1].bytes &&
           hone_parts(t->type.storage)[1].bytes;
}

/* Lets an input read its parameter's image, if it may have one. */
static int take_image(const assigner *a, const hone_node *node, uint32_t i,
                      hone_storage want)
{
    hone_graph *g = a->g;
    const hone_tensor *t = &g->tensor[node->in[i]];
    hone_type type = t->type;
    const char *name;
    hone_id image;

    if (node->phase == HONE_STEP || !may_have_image(a, t, want))
        return 0;
    type.storage = want;
    name = hone_format_text(g->arena, "%s:%s", storage_names[want], t->name);
    image = hone_graph_find(g, name);
    if (image == HONE_NONE) {
        image = hone_graph_tensor(g, name, type, HONE_T_IMAGE);
        g->tensor[image].alias = g->tensor[node->in[i]].name;
        g->tensor[image].adapter = g->tensor[node->in[i]].adapter;
        g->tensor[image].trainable = g->tensor[node->in[i]].trainable;
    }
    node->in[i] = image;
    return 1;
}

hone_status hone_pass_convert(hone_graph *g, hone_id from, hone_id to,
                              hone_err *err)
{
    const char *name = storage_names[g->tensor[to].type.storage];
    const hone_attr attr = { "to", 0, name };

    if (!name)
        return hone_fail(err, HONE_ENOSUP, "integers cannot be converted");
    return hone_graph_op(g, "convert", NULL, &attr, 1, &from, 1, &to, 1, err);
}

/* Adds an output in storage TO for each of node N that can be written twice,
 * if a kernel does so and takes all else as it is. */
static int add_twice(const assigner *a, int n, hone_storage to)
{
    hone_graph *g = a->g;
    hone_node both = g->node[n];
    uint32_t nout = both.nout, count;
    hone_storage *want;
    hone_call call;

    both.out = hone_copy(g->arena, both.out, nout, 2 * nout, sizeof *both.out);
    both.acc = hone_copy(g->arena, both.acc, nout, 2 * nout, sizeof *both.acc);
    for (uint32_t i = 0; i < nout; i++) {
        hone_type type = g->tensor[both.out[i]].type;

        if (!(hone_node_flags(&both, both.nin + i) & HONE_TWICE))
            continue;
        type.storage = to;
        both.acc[both.nout] = HONE_NONE;
        both.out[both.nout] = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
        g->tensor[both.out[both.nout++]].near = n;
    }
    call = hone_node_call(g, &both);
    call.device = a->info;
    count = call.nin + call.nout;
    want = hone_alloc(g->arena, count * sizeof *want);
    if (both.nout == nout || choose(a, &both, &call, want, NULL) != HONE_OK ||
        !both.twice)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (want[i] != call.type[i].storage)
            return 0;
    g->node[n] = both;
    return 1;
}

/* Lets an input read what its maker wrote a second time, unless that is so far
 * back that it would rather be saved than passed on. The maker is at `near`:
 * nodes stand still here. */
static int take_twice(const assigner *a, hone_node *node, uint32_t i,
                      hone_storage want)
{
    hone_graph *g = a->g;
    hone_id id = node->in[i];
    int n = g->tensor[id].near;
    const hone_node *maker = g->tensor[id].kind == HONE_T_TEMP &&
                             hone_graph_writes(g, n, id) ? &g->node[n] : node;
    uint32_t at = 0, first = 0;

    if (maker == node || !maker->kernel || maker->phase != node->phase ||
        abs(maker->layer - node->layer) > 1)
        return 0;
    while (maker->op->out[first].name)
        first++;
    if (maker->nout == first && !add_twice(a, n, want))
        return 0;
    for (uint32_t k = 0, next = first; k < first; k++) {
        if (!(hone_node_flags(maker, maker->nin + k) & HONE_TWICE))
            continue;
        if (maker->out[k] == id)
            at = next;
        next++;
    }
    if (!at || g->tensor[maker->out[at]].type.storage != want)
        return 0;
    node->in[i] = maker->out[at];
    return 1;
}

static hone_status assign_node(assigner *a, int n, int at, hone_err *err);

/* `convert` of operand I of node N, which stands at AT: before it (inputs) or
 * behind (outputs). It comes in at the end, until all are moved. */
static hone_status convert(assigner *a, int n, uint32_t i, hone_storage want,
                           int at, hone_err *err)
{
    hone_graph *g = a->g;
    hone_node *node = &g->node[n];
    int input = i < node->nin;
    hone_id *slot = input ? &node->in[i] : &node->out[i - node->nin];
    hone_id old = *slot, made;
    hone_type type = g->tensor[old].type;

    if (n >= g->nodes - a->came)
        return hone_fail(err, HONE_ENOSUP, "%s: pack %s cannot convert it",
                         node->name, node->pack);
    if (!input && (hone_node_flags(node, i) & HONE_UPDATED ||
                   node->acc[i - node->nin] != HONE_NONE))
        return hone_fail(err, HONE_ENOSUP,
                         "%s: pack %s takes no %s where it updates or adds; "
                         "name another pack before it", node->name, node->pack,
                         hone_parts(type.storage)->name);
    type.storage = want;
    made = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    g->tensor[made].near = n;
    *slot = made;
    g->layer = node->layer;
    g->phase = node->phase;
    hone_try(hone_pass_convert(g, input ? old : made, input ? made : old, err));
    g->layer = -1;
    g->phase = HONE_FORWARD;
    hone_push(g->arena, a->at, a->came, a->cap);
    a->at[a->came++] = input ? at : at + 1;
    return assign_node(a, g->nodes - 1, a->at[a->came - 1], err);
}

/* Node N, which stands before that at AT + 1. */
static hone_status assign_node(assigner *a, int n, int at, hone_err *err)
{
    hone_graph *g = a->g;
    hone_call call = hone_node_call(g, &g->node[n]);
    uint32_t count = call.nin + call.nout;
    hone_storage *want = hone_alloc(g->arena, (count + 1) * sizeof *want);
    int converted = 0;

    if (!strcmp(g->node[n].component->name, "copy"))
        return HONE_OK; /* the device does it */
    call.device = a->info;
    hone_try(choose(a, &g->node[n], &call, want, err));
    for (uint32_t i = 0; i < count; i++) {
        hone_node *node = &g->node[n]; /* moved where others come in */
        hone_id id = i < call.nin ? node->in[i] : node->out[i - call.nin];

        if (id == HONE_NONE || want[i] == g->tensor[id].type.storage ||
            (i < call.nin && (take_image(a, node, i, want[i]) ||
                              take_twice(a, node, i, want[i]))))
            continue;
        hone_try(convert(a, n, i, want[i], at, err));
        converted = 1;
    }
    return converted ? assign_node(a, n, at, err) : HONE_OK;
}

hone_status hone_pass_assign(hone_graph *g, const hone_component *const *packs,
                             const hone_device_info *info, int images,
                             hone_err *err)
{
    assigner a = { .g = g, .packs = packs, .info = info, .images = images };
    const int nodes = g->nodes;

    for (int n = 0; n < nodes; n++)
        hone_try(assign_node(&a, n, n, err));
    hone_graph_spread(g, a.at, a.came);
    return HONE_OK;
}
