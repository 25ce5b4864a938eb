/* SPDX-License-Identifier: MIT
 *
 * load.c -- see load.h: which tensor gets its values from where.
 */
#include "load.h"

#include <string.h>

#include "machine.h"

typedef struct {
    const hone_source *source;
    hone_filling *list;
    int count;
} filler;

static void add(filler *f, hone_filling x)
{
    f->list[f->count++] = x;
}

static void add_weight(filler *f, const hone_kept *k, const hone_weights *file,
                       const hone_weight *w)
{
    add(f, (hone_filling){ .kept = k, .file = file, .weight = w });
}

static void initialise(filler *f, const hone_kept *k, hone_init rule)
{
    add(f, (hone_filling){ .kept = k, .rule = rule,
                           .seed = f->source->seed });
}

static hone_status add_peft(filler *f, const hone_kept *k,
                            const hone_weight *w, hone_err *err)
{
    const hone_source *s = f->source;

    if (!w || hone_count(&w->type) != hone_count(&k->type))
        return hone_fail(err, HONE_EINVAL, "%s: no tensor of the shape of %s",
                         s->peft_folder, k->name);
    add_weight(f, k, &s->peft->weights, w);
    return HONE_OK;
}

/* ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector": 'A', 'B', 'm'.
 * LENGTH: of the module's path before it. */
static char factor_of(const char *name, size_t *length)
{
    const char *end = strstr(name, ".lora_");

    while (strstr(end + 1, ".lora_"))
        end = strstr(end + 1, ".lora_");
    *length = (size_t)(end - name);
    return end[strlen(".lora_")];
}

static hone_status add_adapter(filler *f, const hone_kept *k, hone_err *err)
{
    size_t n;
    char which = factor_of(k->name, &n);
    const hone_peft_module *m;
    char path[512];

    if (!f->source->peft) { /* magnitudes come from the weights, later */
        initialise(f, k, which == 'A' ? hone_init_lora_a(k->type.dim[1])
                                      : hone_init_zeros());
        return HONE_OK;
    }
    snprintf(path, sizeof path, "%.*s", (int)n, k->name);
    m = hone_peft_find(f->source->peft, path);
    return add_peft(f, k, !m ? NULL : which == 'A' ? m->a : which == 'B' ? m->b
                                                                : m->m, err);
}

/* A weight that the adapter brings whole. */
static hone_status add_saved(filler *f, const hone_kept *k, hone_err *err)
{
    const hone_weight *w;

    hone_try(hone_peft_weight(f->source->peft, k->name, k->alias, &w, err));
    return add_peft(f, k, w, err);
}

static hone_status add_kept(filler *f, const hone_kept *k, hone_err *err)
{
    const hone_source *s = f->source;
    const hone_weight *w;

    if (k->kind == HONE_T_CONST)
        add(f, (hone_filling){ .kept = k, .data = k->data });
    if (k->kind != HONE_T_PARAM)
        return HONE_OK;
    if (k->adapter)
        return add_adapter(f, k, err);
    if (s->peft && k->trainable)
        return add_saved(f, k, err);
    if (!s->weights) {
        initialise(f, k, k->zeros ? hone_init_zeros()
                                  : hone_init_rule(k->name, k->type.rank,
                                                   s->range));
        return HONE_OK;
    }
    w = hone_weights_find(s->weights, k->name);
    if (!w && k->alias)
        w = hone_weights_find(s->weights, k->alias);
    if (!w)
        return hone_fail(err, HONE_EINVAL, "the model's files have no %s",
                         k->name);
    add_weight(f, k, s->weights, w);
    return HONE_OK;
}

/* What nothing is read for starts at zero. */
static void clear(const hone_store *store, const hone_machine *m,
                  const hone_kept *k)
{
    if (k->space == HONE_PINNED_SPACE)
        memset(hone_store_address(store, k), 0, (size_t)k->bytes);
    else
        m->api->fill(m->self, hone_store_address(store, k), 0, k->bytes,
                     m->stream[0]);
}

hone_status hone_store_load(const hone_store *store, hone_machine *m,
                            const hone_source *source, hone_err *err)
{
    filler f = { .source = source };
    hone_arena a = { 0 };
    hone_status status = HONE_OK;

    f.list = hone_alloc(&a, ((size_t)store->count + 1) * sizeof *f.list);
    for (int i = 0; i < store->count && status == HONE_OK; i++) {
        int before = f.count;

        status = add_kept(&f, &store->list[i], err);
        if (f.count == before)
            clear(store, m, &store->list[i]);
    }
    if (status == HONE_OK)
        status = hone_load_scales(store, m, f.list, f.count, err);
    if (status == HONE_OK)
        status = hone_load_ring(store, m, f.list, f.count, err);
    hone_arena_free(&a);
    return status;
}
