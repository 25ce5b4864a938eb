/* SPDX-License-Identifier: MIT
 *
 * assign.c -- chooses a kernel for every node and gives operands the storage
 * that it takes. A converted operand is a temporary beside the one call that
 * needs it: it is made again for the next, never saved.
 */
#include <string.h>

#include "passes.h"

/* --------------------------------------- the reference as the last resort */

static hone_status reference_prepare(const hone_call *call, int threads,
                                     hone_need *need, hone_err *err)
{
    uint32_t n = call->nin + call->nout;

    (void)threads;
    (void)err;
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
    if (can_refer && a->info->is_host)
        return try_kernel(a, node, call, &reference_kernel, "reference", want);
    return hone_fail(err, HONE_ENOSUP,
                     "no pack for %s covers op %s (%s); hone plugins lists the "
                     "packs", a->info->name, node->component->name, node->name);
}

/* `convert` of operand I, before the node at N (inputs) or behind (outputs).
 * Returns how many nodes came in before it. */
static const char *const storage_names[HONE_STORAGES] = {
    [HONE_F32] = "f32", [HONE_BF16] = "bf16", [HONE_F16] = "f16",
    [HONE_F64] = "f64", [HONE_NF4] = "nf4", [HONE_FP8] = "fp8",
    [HONE_INT8] = "int8", [HONE_UINT8] = "uint8",
    [HONE_NF4_PLAIN] = "nf4_plain" };

/* Lets an input read its parameter's image, if it may have one. */
static int take_image(const assigner *a, const hone_node *node, uint32_t i,
                      hone_storage want)
{
    hone_graph *g = a->g;
    const hone_tensor *t = &g->tensor[node->in[i]];
    hone_type type = t->type;
    const char *name;
    hone_id image;

    if (!a->images || node->phase == HONE_STEP || t->kind != HONE_T_PARAM ||
        !t->trainable || t->base != HONE_NONE)
        return 0;
    type.storage = want;
    name = hone_format_text(g->arena, "%s:%s", storage_names[want], t->name);
    image = hone_graph_find(g, name);
    if (image == HONE_NONE) {
        image = hone_graph_tensor(g, name, type, HONE_T_IMAGE);
        g->tensor[image].alias = g->tensor[node->in[i]].name;
        g->tensor[image].adapter = g->tensor[node->in[i]].adapter;
    }
    node->in[i] = image;
    return 1;
}

static hone_status convert(const assigner *a, int n, uint32_t i,
                           hone_storage want, int *before, hone_err *err)
{
    hone_graph *g = a->g;
    hone_node *node = &g->node[n];
    int input = i < node->nin;
    hone_id *slot = input ? &node->in[i] : &node->out[i - node->nin];
    hone_id old = *slot, made;
    hone_type type = g->tensor[old].type;
    hone_attr to;

    if (!input && (hone_node_flags(node, i) & HONE_UPDATED ||
                   node->acc[i - node->nin] != HONE_NONE))
        return hone_fail(err, HONE_ENOSUP,
                         "%s: pack %s takes no %s where it updates or adds; "
                         "name another pack before it", node->name, node->pack,
                         hone_parts(type.storage)->name);
    to = (hone_attr){ "to", 0, storage_names[input ? want : type.storage] };
    type.storage = want;
    made = hone_graph_tensor(g, NULL, type, HONE_T_TEMP);
    *slot = made;
    g->layer = node->layer;
    g->phase = node->phase;
    if (!to.str)
        return hone_fail(err, HONE_ENOSUP, "%s: storage cannot be converted",
                         node->name);
    hone_try(hone_graph_op(g, "convert", NULL, &to, 1, input ? &old : &made, 1,
                           input ? &made : &old, 1, err));
    hone_graph_move(g, 1, input ? n : n + 1);
    *before = input;
    g->layer = -1;
    g->phase = HONE_FORWARD;
    return HONE_OK;
}

static hone_status assign_node(const assigner *a, int *n, hone_err *err)
{
    hone_graph *g = a->g;
    hone_node *node = &g->node[*n];
    hone_call call = hone_node_call(g, node);
    uint32_t count = call.nin + call.nout;
    hone_storage *want = hone_alloc(g->arena, (count + 1) * sizeof *want);
    int converted = 0;

    if (!strcmp(node->component->name, "copy"))
        return HONE_OK; /* the device does it */
    call.device = a->info;
    hone_try(choose(a, node, &call, want, err));
    for (uint32_t i = 0; i < count; i++) {
        int before = 0;

        if (want[i] == call.type[i].storage ||
            (i < call.nin && take_image(a, node, i, want[i])))
            continue;
        hone_try(convert(a, *n, i, want[i], &before, err));
        *n += before;
        converted = 1;
    }
    if (!converted)
        return HONE_OK;
    /* The new nodes before it need kernels too: begin again with the first. */
    while (*n > 0 && !g->node[*n - 1].kernel &&
           !strcmp(g->node[*n - 1].component->name, "convert"))
        --*n;
    --*n;
    return HONE_OK;
}

hone_status hone_pass_assign(hone_graph *g, const hone_component *const *packs,
                             const hone_device_info *info, int images,
                             hone_err *err)
{
    assigner a = { .g = g, .packs = packs, .info = info, .images = images };

    for (int n = 0; n < g->nodes; n++)
        hone_try(assign_node(&a, &n, err));
    return HONE_OK;
}
