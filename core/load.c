/* SPDX-License-Identifier: MIT
 *
 * load.c -- see load.h. A buffer at a time, so that nothing is held twice.
 */
#include "load.h"

#include <string.h>

#include "machine.h"
#include "random_init.h"

typedef struct {
    const hone_store *store;
    hone_machine *machine;
    const hone_source *source;
} filler;

enum { LOAD_BYTES = 1 << 20 };

static hone_status upload(const filler *f, const hone_kept *k, const void *from,
                          hone_storage as, char *buffer, hone_err *err)
{
    int64_t size = hone_part_bytes(k->type.storage, 0, 1);
    int64_t in_size = hone_part_bytes(as, 0, 1), left = hone_count(&k->type);
    char *to = hone_store_address(f->store, k);
    const char *at = from;

    while (left > 0) {
        int64_t n = LOAD_BYTES / 8 < left ? LOAD_BYTES / 8 : left;

        if (hone_convert(buffer, k->type.storage, at, as, n) != HONE_OK)
            return hone_fail(err, HONE_ENOSUP,
                             "%s: its storage cannot be converted", k->name);
        hone_try(hone_machine_put(f->machine, to, buffer, n * size, err));
        at += n * in_size;
        to += n * size;
        left -= n;
    }
    return HONE_OK;
}

static hone_status initialise(const filler *f, const hone_kept *k,
                              hone_init rule, char *buffer, hone_err *err)
{
    int64_t size = hone_part_bytes(k->type.storage, 0, 1);
    int64_t count = hone_count(&k->type);
    char *to = hone_store_address(f->store, k);

    for (int64_t at = 0; at < count;) {
        int64_t n = LOAD_BYTES / 8 < count - at ? LOAD_BYTES / 8 : count - at;

        if (hone_init_fill(buffer, k->type.storage, rule, f->source->seed,
                           k->name, at, n) != HONE_OK)
            return hone_fail(err, HONE_ENOSUP, "%s: its storage cannot be "
                             "initialised", k->name);
        hone_try(hone_machine_put(f->machine, to + at * size, buffer, n * size,
                                  err));
        at += n;
    }
    return HONE_OK;
}

static hone_status load_adapter(const filler *f, const hone_kept *k,
                                char *buffer, hone_err *err)
{
    size_t n = strlen(k->name) - strlen(".lora_A.weight");
    int is_a = k->name[n + strlen(".lora_")] == 'A';
    const hone_peft_module *m;
    const hone_weight *w;
    char path[512];

    if (!f->source->peft)
        return initialise(f, k, is_a ? hone_init_lora_a(k->type.dim[1])
                                     : hone_init_zeros(), buffer, err);
    snprintf(path, sizeof path, "%.*s", (int)n, k->name);
    m = hone_peft_find(f->source->peft, path);
    w = !m ? NULL : is_a ? m->a : m->b;
    if (!w || hone_count(&w->type) != hone_count(&k->type))
        return hone_fail(err, HONE_EINVAL, "%s: no tensor of the shape of %s",
                         f->source->peft_folder, k->name);
    return upload(f, k, w->data, w->type.storage, buffer, err);
}

/* A weight that the adapter brings whole. */
static hone_status load_saved(const filler *f, const hone_kept *k,
                              char *buffer, hone_err *err)
{
    const hone_weight *w;

    hone_try(hone_peft_weight(f->source->peft, k->name, k->alias, &w, err));
    if (!w || hone_count(&w->type) != hone_count(&k->type))
        return hone_fail(err, HONE_EINVAL, "%s: no tensor of the shape of %s",
                         f->source->peft_folder, k->name);
    return upload(f, k, w->data, w->type.storage, buffer, err);
}

static hone_status load_one(const filler *f, const hone_kept *k, char *buffer,
                            hone_err *err)
{
    const hone_weight *w = NULL;

    if (k->kind == HONE_T_CONST)
        return upload(f, k, k->data, k->type.storage, buffer, err);
    if (k->kind != HONE_T_PARAM) {
        f->machine->api->fill(f->machine->self, hone_store_address(f->store, k),
                             0, k->bytes, f->machine->stream[0]);
        return HONE_OK;
    }
    if (k->adapter)
        return load_adapter(f, k, buffer, err);
    if (f->source->peft && k->trainable)
        return load_saved(f, k, buffer, err);
    if (!f->source->weights)
        return initialise(f, k, k->zeros ? hone_init_zeros()
                                         : hone_init_rule(k->name, k->type.rank,
                                                          f->source->range),
                          buffer, err);
    w = hone_weights_find(f->source->weights, k->name);
    if (!w && k->alias)
        w = hone_weights_find(f->source->weights, k->alias);
    return upload(f, k, w->data, w->type.storage, buffer, err);
}

hone_status hone_store_load(const hone_store *store, hone_machine *m,
                            const hone_source *source, hone_err *err)
{
    filler f = { .store = store, .machine = m, .source = source };
    hone_arena a = { 0 };
    char *buffer = hone_alloc(&a, LOAD_BYTES);
    hone_status status = HONE_OK;

    for (int i = 0; i < store->count && status == HONE_OK; i++)
        status = load_one(&f, &store->list[i], buffer, err);
    hone_arena_free(&a);
    hone_try(status);
    return hone_machine_sync(m, err);
}
