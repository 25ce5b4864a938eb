/* SPDX-License-Identifier: MIT
 *
 * compile.c -- see compile.h.
 */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- inputs */

static hone_id input(hone_graph *g, const char *name, hone_storage s,
                     int64_t rows, int64_t cols)
{
    return hone_graph_tensor(g, name,
                             hone_type_of(s, cols > 1 ? 2 : 1, rows, cols),
                             HONE_T_INPUT);
}

static void start(const hone_compiler *c, hone_program *p, const char *name)
{
    memset(p, 0, sizeof *p);
    p->name = hone_text(c->keep, name);
    p->span = c->span;
    hone_graph_init(&p->graph, c->scratch, c->keep, c->compute);
    p->graph.device = &c->machine->info;
}

static void inputs(hone_graph *g, hone_bucket b)
{
    input(g, "tokens", HONE_I32, b.tokens, 1);
    input(g, "positions", HONE_I32, b.tokens, 1);
    input(g, "rows", HONE_I32, b.tokens, 1);
    input(g, "docs", HONE_I32, b.docs, 4);
    input(g, "rng", HONE_I64, 2, 1);
}

static hone_status finish(const hone_compiler *c, hone_program *p,
                          hone_err *err)
{
    hone_try(hone_pass_sums(&p->graph, c->machine->packs, err));
    hone_try(hone_pass_group(&p->graph, c->machine->packs, err));
    hone_try(hone_pass_stream(&p->graph, err));
    hone_try(hone_pass_assign(&p->graph, c->machine->packs, &c->machine->info,
                              c->images, err));
    p->flops = hone_graph_flops(&p->graph);
    return hone_pass_place(&p->graph, &p->place, err);
}

/* ------------------------------------------------------------ micro-steps */

static hone_status model(const hone_compiler *c, hone_program *p, int train,
                         hone_id *hidden, hone_id *head, hone_err *err)
{
    hone_graph *g = &p->graph;
    hone_lora lora;

    hone_try(hone_family_build(c->family, g, hidden, head, err));
    p->vocab = g->tensor[*head].type.dim[0];
    if (c->lora) {
        lora = *c->lora;
        lora.train = train;
        hone_try(hone_pass_lora(g, &lora, hidden, err));
    }
    return HONE_OK;
}

/* TOTAL rows in runs of nearly one size, of about ROWS at most. */
static int64_t even_rows(int64_t total, int64_t rows)
{
    int64_t runs = (total + rows - 1) / rows;

    return ((total + runs - 1) / runs + 15) / 16 * 16;
}

/* Rows at a time through the LM head, in runs of nearly one size. On the host
 * logits of about 32 MiB: runs behind the last target are left out, so that
 * smaller ones waste less. A GPU needs more rows before the products take
 * longer than reading the head's weight does, or than adding to its gradient
 * where it has one. */
static int64_t chunk_rows(const hone_compiler *c, const hone_graph *g,
                          hone_id head, const hone_type *logits)
{
    int64_t rows = c->logits_chunk;

    if (rows)
        return rows;
    rows = c->machine->info.is_host
               ? ((int64_t)32 << 20) / hone_row_bytes(logits)
               : g->tensor[head].trainable ? 2048 : 1024;
    return even_rows(logits->dim[0], rows < 64 ? 64 : rows);
}

hone_status hone_keep_read(const hone_compiler *c, uint8_t *keep, int layers,
                           hone_err *err)
{
    const char *s = c->keep_layers;

    memset(keep, (int)c->keep_mode, (size_t)layers);
    while (s && *s) {
        int layer, used = 0;
        char word[16];

        if (sscanf(s, "%d=%15[a-z]%n", &layer, word, &used) != 2)
            return hone_fail(err, HONE_EINVAL, "keep: '%s' is not understood",
                             s);
        if (layer < 0 || layer >= layers)
            return hone_fail(err, HONE_EINVAL,
                             "keep: there is no layer %d; the model has 0 to "
                             "%d", layer, layers - 1);
        for (int k = 0; hone_keep_names[k]; k++)
            if (!strcmp(word, hone_keep_names[k]))
                keep[layer] = (uint8_t)(k + 1);
        s += used + (s[used] == ',');
    }
    return HONE_OK;
}

/* The ops around LOGITS, a few rows at a time. */
static hone_status chunk(const hone_compiler *c, hone_program *p,
                         hone_id head, hone_id logits, hone_err *err)
{
    const hone_type *type = &p->graph.tensor[logits].type;

    p->logits_rows = chunk_rows(c, &p->graph, head, type);
    if (p->logits_rows > type->dim[0])
        p->logits_rows = type->dim[0];
    return hone_pass_chunk(&p->graph, logits, p->logits_rows, err);
}

static hone_status chunk_layers(const hone_compiler *c, hone_program *p,
                                int64_t tokens, hone_err *err)
{
    int in_runs = c->mlp_chunk && c->mlp_chunk < tokens;

    p->mlp_rows = in_runs ? even_rows(tokens, c->mlp_chunk) : tokens;
    return hone_pass_chunk_layers(&p->graph, tokens, p->mlp_rows, err);
}

/* What a micro-step that trains is made of, before it is said what layers keep.
 */
typedef struct {
    hone_bucket bucket;
    int64_t chunk;
    hone_arena arena; /* of its graph and all of that */
    hone_program program;
    hone_id loss, head;
} front;

static hone_status back(const hone_compiler *c, hone_program *p,
                        const front *f, hone_err *err)
{
    hone_graph *g = &p->graph;
    int layers = hone_family_layers(c->family);
    uint8_t *keep = hone_alloc(c->scratch, (size_t)layers + 1);

    if (c->keep_layer)
        memcpy(keep, c->keep_layer, (size_t)layers);
    else
        hone_try(hone_keep_read(c, keep, layers, err));
    hone_try(hone_pass_recompute(g, keep, layers, err));
    hone_try(chunk_layers(c, p, f->bucket.tokens, err));
    if (c->single)
        hone_pass_gradients(g, f->head);
    return c->early ? hone_pass_early(g, f->loss, c->optimizer, c->states,
                                      c->lora ? c->lora->lr_ratio : 1, err)
                    : HONE_OK;
}

/* A scale that is 0, as it starts, stands for this. */
#define SCALE "y4 y4 65536 select"

/* fp16 ends near 6e-8: all gradients are made larger by a scale, which the
 * update takes out again. */
static hone_status scale_seed(hone_graph *g, hone_id *seed, hone_err *err)
{
    const hone_attr attrs[2] = { { "program", 0,
                                   "s0 s1 s1 65536 select * =y0" },
                                 { "scalars", 2, NULL } };
    hone_id in[2] = { *seed, hone_graph_scalar(g, "step.scale", HONE_T_STATE) };

    if (g->compute != HONE_F16)
        return HONE_OK;
    *seed = hone_graph_tensor(g, NULL, g->tensor[*seed].type, HONE_T_TEMP);
    return hone_graph_op(g, "map", "scale", attrs, 2, in, 2, seed, 1, err);
}

/* Added to LOSS. Where its gradient SEED is known and a pack covers it, that
 * of the logits is made along with it. */
static hone_status emit_loss(const hone_compiler *c, hone_graph *g,
                             hone_id logits, hone_id loss, hone_id seed,
                             hone_err *err)
{
    hone_id in[2] = { logits, seed }, out[2] = { loss, HONE_NONE };

    if (seed != HONE_NONE) {
        hone_try(hone_graph_op(g, "xent_slopes", "loss", NULL, 0, in, 2, out,
                               2, err));
        g->node[g->nodes - 1].acc[0] = loss;
        if (hone_node_is_covered(g, &g->node[g->nodes - 1], c->machine->packs))
            return HONE_OK;
        g->nodes--;
        out[1] = HONE_NONE;
    }
    hone_try(hone_graph_op(g, "xent", "loss", NULL, 0, in, 1, out, 2, err));
    g->node[g->nodes - 1].acc[0] = loss;
    return HONE_OK;
}

/* Forward, and backward with all kept if TRAIN. */
static hone_status make_front(const hone_compiler *c, front *f,
                              const char *name, int train, hone_err *err)
{
    hone_program *p = &f->program;
    hone_graph *g = &p->graph;
    hone_bucket bucket = f->bucket;
    hone_id hidden, seed, at, some = HONE_NONE, logits = HONE_NONE, last;

    start(c, p, name);
    /* Held-out losses are those of the weights: codes of activations are for
     * speed, and who uses the adapter may have none. */
    g->decoded = !train;
    inputs(g, bucket);
    input(g, "targets", HONE_I32, bucket.tokens, 1);
    at = input(g, "target_at", HONE_I32, bucket.tokens, 1);
    seed = hone_graph_scalar(g, "dloss", HONE_T_INPUT);
    f->loss = hone_graph_scalar(g, "loss_sum", HONE_T_STATE);
    if (train)
        hone_try(scale_seed(g, &seed, err));
    hone_try(model(c, p, train, &hidden, &f->head, err));
    hone_try(hone_pass_fuse(g, c->machine->packs, err));
    hone_id pick[2] = { hidden, at };
    hone_try(hone_graph_op(g, "gather", "targets", NULL, 0, pick, 2, &some, 1,
                           err));
    hone_id in[2] = { some, f->head };
    hone_try(hone_graph_op(g, "linear", "lm_head", NULL, 0, in, 2, &logits, 1,
                           err));
    last = logits;
    hone_try(hone_family_logits(c->family, &last, err));
    hone_try(emit_loss(c, g, last, f->loss, train ? seed : HONE_NONE, err));
    if (train)
        hone_try(hone_pass_autodiff(g, f->loss, seed, err));
    hone_pass_accumulate(g);
    if (train)
        hone_try(hone_pass_again(g, c->machine->packs, err));
    return chunk(c, p, f->head, logits, err);
}

enum { FRONTS = 6 };

struct hone_fronts {
    front list[FRONTS];
    int count, oldest;
};

hone_fronts *hone_fronts_make(void)
{
    return calloc(1, sizeof(hone_fronts));
}

void hone_fronts_free(hone_fronts *f)
{
    for (int i = 0; f && i < f->count; i++)
        hone_arena_free(&f->list[i].arena);
    free(f);
}

/* One that is there, or else a new one in the place of the oldest. */
static hone_status find_front(const hone_compiler *c, hone_bucket b,
                              const char *name, front **out, hone_err *err)
{
    hone_fronts *all = c->fronts;
    hone_compiler own = *c;
    hone_status status;
    front *f = all->list;

    while (f < all->list + all->count &&
           (f->bucket.tokens != b.tokens || f->bucket.docs != b.docs ||
            f->chunk != c->logits_chunk))
        f++;
    *out = f;
    if (f < all->list + all->count)
        return HONE_OK;
    if (all->count < FRONTS)
        all->count++;
    else
        *out = f = &all->list[all->oldest++ % FRONTS];
    hone_arena_free(&f->arena);
    *f = (front){ .bucket = b, .chunk = c->logits_chunk };
    own.scratch = own.keep = &f->arena;
    status = make_front(&own, f, name, 1, err);
    if (status != HONE_OK)
        f->chunk = -1; /* it is no one's */
    return status;
}

hone_status hone_compile_micro(const hone_compiler *c, hone_program *p,
                               const char *name, hone_bucket bucket, int train,
                               hone_err *err)
{
    front one = { .bucket = bucket }, *f = &one;

    if (c->fronts && train) {
        hone_try(find_front(c, bucket, name, &f, err));
        *p = f->program;
        hone_graph_clone(&p->graph, &f->program.graph, c->scratch, c->keep);
    } else {
        hone_try(make_front(c, f, name, train, err));
        *p = f->program;
        p->graph.builder.self = &p->graph;
    }
    if (train)
        hone_try(back(c, p, f, err));
    else
        hone_try(chunk_layers(c, p, bucket.tokens, err));
    return finish(c, p, err);
}

/* ----------------------------------------------------------------- update */

/* Tensors of KIND in the store, trainable ones where they are parameters. */
static hone_id *of_kind(const hone_compiler *c, hone_graph *g,
                        const hone_store *store, hone_tensor_kind kind,
                        uint32_t *count)
{
    hone_id *ids = hone_alloc(c->scratch,
                              ((size_t)store->count + 2) * sizeof *ids);

    *count = 0;
    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        if (k->kind != kind || (kind == HONE_T_PARAM && !k->trainable))
            continue;
        ids[*count] = hone_graph_tensor(g, k->name, k->type, kind);
        g->tensor[ids[*count]].trainable = k->trainable;
        g->tensor[ids[(*count)++]].adapter = k->adapter;
    }
    return ids;
}

hone_status hone_compile_zero(const hone_compiler *c, hone_program *p,
                              const hone_store *store, int grads,
                              hone_err *err)
{
    hone_graph *g = &p->graph;
    uint32_t n = 0;
    hone_id *ids;

    start(c, p, grads ? "zero" : "zero loss");
    g->phase = HONE_STEP;
    ids = of_kind(c, g, store, HONE_T_GRAD, &n);
    if (!grads)
        n = 0;
    ids[n++] = hone_graph_scalar(g, "loss_sum", HONE_T_STATE);
    hone_try(hone_graph_op(g, "fill", NULL, NULL, 0, NULL, 0, ids, n, err));
    return finish(c, p, err);
}

hone_status hone_compile_reduce(const hone_compiler *c, hone_program *p,
                                hone_err *err)
{
    hone_graph *g = &p->graph;
    hone_id loss;

    start(c, p, "reduce");
    g->phase = HONE_STEP;
    loss = hone_graph_scalar(g, "loss_sum", HONE_T_STATE);
    hone_try(hone_graph_op(g, "all_reduce", NULL, NULL, 0, NULL, 0, &loss, 1,
                           err));
    return finish(c, p, err);
}

/* norm, clip, ok and t of the step, from the sum of squares and the loss. In
 * fp16 also the scale of the gradients, doubled after 2000 steps that were
 * finite, up to 2^32. Where only gradients were not, it is halved, and the step
 * is to be done again; not if it is down to 1: then the step counts as it is. */
static const char step_text[] =
    "s0 sqrt dup =y0 =r0 %s =y1 "
    "s0 finite s1 finite * dup =y2 y3 + =y3";
static const char scaled_text[] =
    SCALE " =r1 s0 sqrt r1 / dup =y0 =r0 %s r1 / =y1 "
    "s0 finite s1 finite * dup =y2 dup =r2 y3 + =y3 "
    "1 r2 - s1 finite * r1 1 > * =y6 "
    "r2 y5 1 + 0 select =r3 "
    "r3 1999.5 > r1 2 * 4294967296 min y6 r1 0.5 * 1 max r1 select select =y4 "
    "r3 1999.5 > 0 r3 select =y5";

static hone_status step_scalars(hone_graph *g, hone_id squares, double clip,
                                hone_group *group, hone_err *err)
{
    static const char *const names[] = { "step.norm", "step.clip", "step.ok",
                                         "step.t", "step.scale", "step.good",
                                         "step.again" };
    const uint32_t count = g->compute == HONE_F16 ? 7 : 4;
    hone_id in[2] = { squares, hone_graph_scalar(g, "loss_sum", HONE_T_STATE) };
    hone_id out[7];
    char limit[64] = "1", text[512];

    for (uint32_t i = 0; i < count; i++)
        out[i] = hone_graph_scalar(g, names[i], HONE_T_STATE);
    if (clip > 0)
        snprintf(limit, sizeof limit, "%.9g r0 1e-6 + / 1 min", clip);
    if (count == 7)
        snprintf(text, sizeof text, scaled_text, limit);
    else
        snprintf(text, sizeof text, step_text, limit);
    hone_attr attrs[4] = { { "program", 0, text }, { "scalars", 2, NULL },
                           { "reads", 0, NULL }, { "writes", count, NULL } };
    group->clip = out[1];
    group->ok = out[2];
    group->t = out[3];
    return hone_graph_op(g, "map", "step", attrs, 4, in, 2, out, count, err);
}

/* The parameter of image K, and K, as tensors of the graph. */
static void image_pair(hone_graph *g, const hone_store *store,
                       const hone_kept *k, hone_id *from, hone_id *to)
{
    const hone_kept *p = hone_store_find(store, k->alias);

    *from = hone_graph_find(g, p->name);
    if (*from == HONE_NONE)
        *from = hone_graph_tensor(g, p->name, p->type, HONE_T_PARAM);
    *to = hone_graph_tensor(g, k->name, k->type, HONE_T_IMAGE);
}

/* The parameter PATH.WHICH of the store. */
static hone_id param_of(hone_graph *g, const hone_store *store,
                        const char *path, const char *which)
{
    const char *name = hone_format_text(g->arena, "%s.%s", path, which);
    hone_id id = hone_graph_find(g, name);
    const hone_kept *k;

    if (id != HONE_NONE)
        return id;
    k = hone_store_find(store, name);
    id = hone_graph_tensor(g, name, k->type, HONE_T_PARAM);
    g->tensor[id].space = k->space;
    return id;
}

/* DoRA's norms of the rows that weights have with their updates. */
static hone_status emit_norms(const hone_compiler *c, hone_graph *g,
                              const hone_store *store, hone_err *err)
{
    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        hone_id in[3];

        if (!hone_is_norm(k->name))
            continue;
        in[0] = param_of(g, store, k->alias, "lora_A.weight");
        in[1] = param_of(g, store, k->alias, "weight");
        in[2] = param_of(g, store, k->alias, "lora_B.weight");
        hone_try(hone_emit_norm(g, c->lora, k->alias, in,
                                hone_graph_tensor(g, k->name, k->type,
                                                  HONE_T_IMAGE), err));
    }
    return HONE_OK;
}

/* All images of trained parameters, in one go, and what else is made of
 * them. */
static hone_status emit_images(const hone_compiler *c, hone_graph *g,
                               const hone_store *store, hone_err *err)
{
    const hone_attr attrs[4] = { { "program", 0, "x0 =y0" },
                                 { "scalars", 0, NULL }, { "reads", 1, NULL },
                                 { "writes", 1, NULL } };
    size_t most = (size_t)store->count + 1;
    hone_id *from = hone_alloc(c->scratch, most * sizeof *from);
    hone_id *to = hone_alloc(c->scratch, most * sizeof *to);
    uint32_t n = 0;

    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];

        if (k->kind != HONE_T_IMAGE || !k->trainable)
            continue;
        image_pair(g, store, k, &from[n], &to[n]);
        n++;
    }
    if (n)
        hone_try(hone_graph_op(g, "map", "images", attrs, 4, from, n, to, n,
                               err));
    return emit_norms(c, g, store, err);
}

/* Those of frozen ones too, which are codes. */
hone_status hone_compile_images(const hone_compiler *c, hone_program *p,
                                const hone_store *store, hone_err *err)
{
    start(c, p, "images");
    p->graph.phase = HONE_STEP;
    hone_try(emit_images(c, &p->graph, store, err));
    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        hone_id from, to;

        if (k->kind != HONE_T_IMAGE || k->trainable || hone_is_norm(k->name))
            continue;
        image_pair(&p->graph, store, k, &from, &to);
        hone_try(hone_pass_convert(&p->graph, from, to, err));
    }
    return finish(c, p, err);
}

hone_status hone_compile_update(const hone_compiler *c, hone_program *p,
                                const hone_store *store,
                                const hone_instance *opt, double clip,
                                hone_err *err)
{
    hone_graph *g = &p->graph;
    hone_group group = { .size = sizeof group };
    hone_type *types;
    const char **names;
    hone_id *grads, squares = HONE_NONE;
    uint32_t n;

    start(c, p, "update");
    g->phase = HONE_STEP;
    if (c->early) {
        hone_try(emit_images(c, g, store, err));
        return finish(c, p, err);
    }
    group.param = of_kind(c, g, store, HONE_T_PARAM, &group.count);
    grads = hone_alloc(c->scratch, (group.count + 2) * sizeof *grads);
    types = hone_alloc(c->scratch, (group.count + 1) * sizeof *types);
    names = hone_alloc(c->scratch, (group.count + 1) * sizeof *names);
    for (n = 0; n < group.count; n++) {
        const hone_kept *k = hone_store_find(
            store, hone_format_text(c->scratch, "grad:%s",
                                    g->tensor[group.param[n]].name));
        types[n] = g->tensor[group.param[n]].type;
        names[n] = g->tensor[group.param[n]].name;
        grads[n] = hone_graph_tensor(g, k->name, k->type, HONE_T_GRAD);
    }
    group.grad = grads;
    group.type = types;
    group.name = names;
    group.lr = hone_graph_scalar(g, "lr", HONE_T_INPUT);
    if (c->ranks > 1) {
        grads[n] = hone_graph_scalar(g, "loss_sum", HONE_T_STATE);
        hone_try(hone_graph_op(g, "all_reduce", NULL, NULL, 0, NULL, 0, grads,
                               n + 1, err));
    }
    hone_try(hone_graph_op(g, "sumsq", NULL, NULL, 0, grads, n, &squares, 1,
                           err));
    hone_try(step_scalars(g, squares, clip, &group, err));
    hone_try(hone_emit_update(g, opt, &group, c->states,
                              c->lora ? c->lora->lr_ratio : 1, err));
    hone_try(emit_images(c, g, store, err));
    return finish(c, p, err);
}

/* ----------------------------------------------------------------- decode */

/* Lets every attention read its keys and values from a cache. */
static hone_status add_caches(hone_graph *g, int64_t length, hone_err *err)
{
    static const char *const names[3] = { NULL, "keys", "values" };

    for (int n = 0; n < g->nodes; n++) {
        if (strcmp(g->node[n].component->name, "attention"))
            continue;
        for (int i = 1; i <= 2; i++) {
            hone_id fresh = g->node[n].in[i], cache;
            hone_type type = g->tensor[fresh].type;

            type.dim[0] = length;
            cache = hone_graph_tensor(
                g, hone_format_text(g->arena, "cache:%s:%s", names[i],
                                    g->node[n].name), type, HONE_T_STATE);
            g->node[n].in[i] = cache;
            hone_try(hone_graph_op(g, "cache_write", NULL, NULL, 0, &fresh, 1,
                                   &cache, 1, err));
            hone_graph_move(g, 1, n++);
        }
    }
    return HONE_OK;
}

hone_status hone_compile_decode(const hone_compiler *c, hone_program *p,
                                const char *name, int64_t tokens,
                                int64_t length, hone_err *err)
{
    hone_graph *g = &p->graph;
    hone_id hidden, head, last, row = HONE_NONE, logits = HONE_NONE, named;

    start(c, p, name);
    inputs(g, (hone_bucket){ tokens, 1 });
    input(g, "cache_at", HONE_I32, 1, 1);
    last = input(g, "last", HONE_I32, 1, 1);
    hone_try(model(c, p, 0, &hidden, &head, err));
    hone_try(hone_pass_fuse(g, c->machine->packs, err));
    hone_pass_accumulate(g);
    hone_try(add_caches(g, length, err));
    hone_id pick[2] = { hidden, last };
    hone_try(hone_graph_op(g, "gather", NULL, NULL, 0, pick, 2, &row, 1, err));
    hone_id in[2] = { row, head };
    hone_try(hone_graph_op(g, "linear", "lm_head", NULL, 0, in, 2, &logits, 1,
                           err));
    hone_try(hone_family_logits(c->family, &logits, err));
    named = hone_graph_tensor(
        g, "logits", hone_type_of(HONE_F32, 2, 1, g->tensor[head].type.dim[0]),
        HONE_T_STATE);
    g->node[hone_graph_producer(g, logits)].out[0] = named;
    return finish(c, p, err);
}
