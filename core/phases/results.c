/* SPDX-License-Identifier: MIT
 *
 * results.c -- see results.h.
 */
#include "results.h"

#include <string.h>

#include "machine.h"

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m && !strcmp(s + n - m, end);
}

/* The weights of modules that were trained whole, under both of their names. */
static void add_weights(hone_results *r, hone_arena *a, hone_peft_spec *spec,
                        const hone_store *store)
{
    size_t most = 2 * (size_t)store->count + 1;
    hone_type *types = hone_alloc(a, most * sizeof *types);

    spec->weight = hone_alloc(a, most * sizeof *spec->weight);
    spec->weight_type = types;
    spec->weights = 0;
    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        const char *names[2] = { k->name, k->alias };

        if (k->kind != HONE_T_PARAM || k->adapter || !k->trainable)
            continue;
        for (int n = 0; n < 2 && names[n]; n++) {
            types[spec->weights] = k->type;
            spec->weight[spec->weights++] = names[n];
            r->tensor[r->count++] = k;
        }
    }
}

/* lora_A, lora_B and what else a module has, in the order of the store. */
static hone_status prepare_adapter(hone_results *r, hone_arena *a,
                                   const hone_peft_spec *adapter,
                                   const hone_store *store, hone_err *err)
{
    hone_peft_spec spec = *adapter;
    hone_peft_module *modules =
        hone_alloc(a, ((size_t)store->count + 1) * sizeof *modules);
    int each = hone_peft_each(&spec);

    spec.count = 0;
    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        const hone_kept *b;

        if (k->kind != HONE_T_PARAM || !k->adapter ||
            !ends_with(k->name, ".lora_A.weight"))
            continue;
        char *path = hone_text(a, k->name);
        path[strlen(path) - strlen(".lora_A.weight")] = '\0';
        b = hone_store_find(store,
                            hone_format_text(a, "%s.lora_B.weight", path));
        r->tensor[each * spec.count] = k;
        r->tensor[each * spec.count + 1] = b;
        if (spec.dora)
            r->tensor[each * spec.count + 2] = hone_store_find(
                store, hone_format_text(a, "%s.lora_magnitude_vector", path));
        modules[spec.count++] = (hone_peft_module){
            .path = path, .in = k->type.dim[1], .out = b->type.dim[0],
            .r = k->type.dim[0] };
    }
    spec.modules = modules;
    r->count = each * spec.count;
    add_weights(r, a, &spec, store);
    for (int i = 0; i < r->count; i++) {
        r->type[i] = r->tensor[i]->type;
        r->type[i].storage = HONE_F32;
    }
    return hone_peft_prepare(a, r->folder, &spec, &r->peft, err);
}

static hone_status prepare_model(hone_results *r, hone_arena *a,
                                 const char *model,
                                 const hone_weights *weights,
                                 const hone_store *store, hone_err *err)
{
    const char **names = hone_alloc(a, ((size_t)store->count + 1) *
                                           sizeof *names);

    for (int i = 0; i < store->count; i++) {
        const hone_kept *k = &store->list[i];
        const hone_weight *w = NULL;

        if (k->kind != HONE_T_PARAM || k->adapter)
            continue;
        names[r->count] = k->name;
        if (weights && !(w = hone_weights_find(weights, k->name)) && k->alias &&
            (w = hone_weights_find(weights, k->alias)))
            names[r->count] = k->alias;
        r->type[r->count] = k->type;
        r->type[r->count].storage = w ? w->type.storage : HONE_F32;
        r->tensor[r->count++] = k;
    }
    hone_try(hone_model_files_prepare(&r->files, a, model, r->folder, err));
    return hone_saver_prepare(
        a, hone_format_text(a, "%s/model.safetensors", r->folder), names,
        r->type, r->count, "format\0pt\0", &r->model, err);
}

hone_status hone_results_prepare(hone_results *r, hone_arena *a,
                                 const char *out, const char *model,
                                 const hone_weights *weights,
                                 const hone_peft_spec *adapter,
                                 const hone_store *store, hone_err *err)
{
    size_t n = 2 * (size_t)store->count + 1;

    memset(r, 0, sizeof *r);
    r->folder = hone_format_text(a, "%s/%s", out, adapter ? "adapter" : "model");
    r->tensor = hone_alloc(a, n * sizeof *r->tensor);
    r->type = hone_alloc(a, n * sizeof *r->type);
    for (int i = 0; i < 2; i++)
        r->staging[i] = hone_alloc(a, HONE_STAGING_BYTES);
    return adapter ? prepare_adapter(r, a, adapter, store, err)
                   : prepare_model(r, a, model, weights, store, err);
}

int64_t hone_results_bytes(const hone_results *r)
{
    if (!r->folder)
        return 0;
    return r->peft ? hone_peft_saver_bytes(r->peft)
                   : hone_saver_bytes(r->model) + r->files.bytes;
}

/* Tensor I to the open saver, a staging buffer at a time. */
static hone_status put_tensor(hone_results *r, int i, const hone_store *store,
                              hone_machine *m, hone_err *err)
{
    const hone_kept *k = r->tensor[i];
    const char *from = hone_store_address(store, k);
    int64_t size = hone_part_bytes(k->type.storage, 0, 1);
    int64_t out_size = hone_part_bytes(r->type[i].storage, 0, 1);
    int64_t left = hone_count(&k->type);

    while (left > 0) {
        int64_t most = HONE_STAGING_BYTES / 8, n = most < left ? most : left;

        hone_try(hone_machine_get(m, r->staging[0], from, n * size, err));
        if (hone_convert(r->staging[1], r->type[i].storage, r->staging[0],
                         k->type.storage, n) != HONE_OK)
            return hone_fail(err, HONE_ENOSUP, "%s: cannot be written in the "
                             "storage of its source", k->name);
        hone_try(r->peft ? hone_peft_put(r->peft, r->staging[1], n * out_size,
                                         err)
                         : hone_saver_put(r->model, r->staging[1], n * out_size,
                                          err));
        from += n * size;
        left -= n;
    }
    return HONE_OK;
}

hone_status hone_results_save(hone_results *r, const hone_store *store,
                              hone_machine *m, hone_err *err)
{
    hone_try(hone_make_folder(r->folder, err));
    hone_try(r->peft ? hone_peft_begin(r->peft, err)
                     : hone_saver_begin(r->model, err));
    for (int i = 0; i < r->count; i++)
        hone_try(put_tensor(r, r->peft ? hone_peft_order(r->peft, i)
                                       : hone_saver_order(r->model, i),
                            store, m, err));
    if (r->peft)
        return hone_peft_end(r->peft, err);
    hone_try(hone_saver_end(r->model, err));
    return hone_model_files_write(&r->files, err);
}
