/* SPDX-License-Identifier: MIT
 *
 * resume.c -- see resume.h: from the store and the components to the tensors
 * of a checkpoint and back, a staging buffer at a time.
 */
#include "resume.h"

#include <stdio.h>
#include <string.h>

#include "machine.h"

/* ----------------------------------------------------------------- the list */

static hone_memory *append(hone_resume *r, const char *name, hone_type type)
{
    hone_memory *m = &r->list[r->count++];

    *m = (hone_memory){ .name = name, .type = type };
    return m;
}

static void append_host(hone_resume *r, const char *name, hone_storage s,
                        int64_t count, void *host)
{
    append(r, name, hone_type_of(s, 1, count, 1))->host = host;
}

/* A storage of several parts is as many tensors of plain bytes or floats. */
static void append_kept(hone_resume *r, hone_arena *a, const hone_kept *k)
{
    const hone_part *part = hone_parts(k->type.storage);
    int64_t at = 0;

    if (!part[1].bytes) {
        append(r, k->name, k->type)->kept = k;
        return;
    }
    for (int i = 0; i < HONE_PARTS && part[i].bytes; i++) {
        int64_t bytes = hone_type_bytes(&k->type, i);
        hone_storage as = part[i].bytes == 4 ? HONE_F32 : HONE_U8;
        hone_memory *m = append(
            r, hone_format_text(a, "%s:%s", k->name, part[i].name),
            hone_type_of(as, 1, bytes / part[i].bytes, 1));

        m->kept = k;
        m->offset = at;
        at += (bytes + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
    }
}

/* What the next step needs and nothing else gives. */
static int outlives_step(const hone_kept *k)
{
    return (k->kind == HONE_T_PARAM && k->trainable) || k->kind == HONE_T_STATE;
}

static void append_progress(hone_resume *r, hone_progress *p)
{
    append_host(r, "run:step", HONE_I64, 1, &p->step);
    append_host(r, "run:evaluated", HONE_I64, 1, &p->evaluated);
    append_host(r, "run:skipped", HONE_I64, 1, &p->skipped);
    append_host(r, "run:report.step", HONE_I64, 1, &p->report.step);
    append_host(r, "run:report.loss", HONE_F64, 1, &p->report.loss);
    append_host(r, "run:report.grad_norm", HONE_F64, 1, &p->report.grad_norm);
}

static void append_instance(hone_resume *r, hone_arena *a, hone_instance *i)
{
    const hone_component *c = i->component;

    if (c->persist_size)
        append_host(r, hone_format_text(a, "%s:%s", hone_kind_name(c->kind),
                                        c->name),
                    HONE_U8, (int64_t)c->persist_size, i->state);
}

static hone_status prepare_files(hone_resume *r, hone_arena *a, const char *out,
                                 int64_t keep, hone_err *err)
{
    const char **names = hone_alloc(a, (size_t)r->count * sizeof *names);
    hone_type *types = hone_alloc(a, (size_t)r->count * sizeof *types);

    for (int i = 0; i < r->count; i++) {
        names[i] = r->list[i].name;
        types[i] = r->list[i].type;
    }
    return hone_checkpoint_prepare(&r->files, a, out, names, types, r->count,
                                   keep, err);
}

hone_status hone_resume_prepare(hone_resume *r, hone_arena *a, const char *out,
                                const hone_store *store, hone_progress *p,
                                hone_instance *const *instances,
                                int64_t keep, char *staging,
                                int64_t staging_bytes, hone_err *err)
{
    size_t most = 16 + HONE_PARTS * (size_t)store->count;

    *r = (hone_resume){ .staging = staging, .staging_bytes = staging_bytes };
    for (hone_instance *const *i = instances; *i; i++)
        most++;
    r->list = hone_alloc(a, most * sizeof *r->list);
    for (int i = 0; i < store->count; i++)
        if (outlives_step(&store->list[i]))
            append_kept(r, a, &store->list[i]);
    append_progress(r, p);
    for (; *instances; instances++)
        append_instance(r, a, *instances);
    return prepare_files(r, a, out, keep, err);
}

/* ----------------------------------------------------------- there and back */

static int64_t bytes_of(const hone_memory *m)
{
    return hone_part_bytes(m->type.storage, 0, hone_count(&m->type));
}

static hone_status put_tensor(hone_resume *r, const hone_memory *m,
                              const hone_store *store, hone_machine *machine,
                              hone_err *err)
{
    int64_t left = bytes_of(m);
    const char *from;

    if (!m->kept)
        return hone_checkpoint_put(&r->files, m->host, left, err);
    from = (const char *)hone_store_address(store, m->kept) + m->offset;
    if (m->kept->space == HONE_PINNED_SPACE)
        return hone_checkpoint_put(&r->files, from, left, err);
    while (left > 0) {
        int64_t n = left < r->staging_bytes ? left : r->staging_bytes;

        hone_try(hone_machine_get(machine, r->staging, from, n, err));
        hone_try(hone_checkpoint_put(&r->files, r->staging, n, err));
        from += n;
        left -= n;
    }
    return HONE_OK;
}

static hone_status write_all(hone_resume *r, const hone_store *store,
                             hone_machine *machine, int64_t step, hone_err *err)
{
    hone_try(hone_checkpoint_begin(&r->files, err));
    for (int i = 0; i < r->count; i++)
        hone_try(put_tensor(r, &r->list[hone_checkpoint_order(&r->files, i)],
                            store, machine, err));
    return hone_checkpoint_end(&r->files, step, err);
}

hone_status hone_resume_save(hone_resume *r, const hone_store *store,
                             hone_machine *machine, const hone_progress *p,
                             hone_err *err)
{
    int64_t before = r->files.saved;
    hone_status status;
    hone_err why;

    if (!r->files.folder || before == p->step)
        return HONE_OK;
    status = write_all(r, store, machine, p->step, &why);
    if (status == HONE_OK)
        return HONE_OK;
    hone_checkpoint_drop(&r->files);
    if (before < 0)
        return hone_fail(err, status, "%.800s; no checkpoint was there before",
                         why.msg);
    return hone_fail(err, status, "%.800s; the checkpoint of step %lld is "
                     "whole: the same command goes on from there", why.msg,
                     (long long)before);
}

static hone_status get_tensor(hone_resume *r, const hone_memory *m,
                              const hone_store *store, hone_machine *machine,
                              hone_err *err)
{
    int64_t left = bytes_of(m);
    char *to;

    if (!m->kept)
        return hone_checkpoint_get(&r->files, m->host, left, err);
    to = (char *)hone_store_address(store, m->kept) + m->offset;
    if (m->kept->space == HONE_PINNED_SPACE)
        return hone_checkpoint_get(&r->files, to, left, err);
    while (left > 0) {
        int64_t n = left < r->staging_bytes ? left : r->staging_bytes;

        hone_try(hone_checkpoint_get(&r->files, r->staging, n, err));
        hone_try(hone_machine_put(machine, to, r->staging, n, err));
        to += n;
        left -= n;
    }
    return HONE_OK;
}

hone_status hone_resume_load(hone_resume *r, const hone_store *store,
                             hone_machine *machine, int64_t step, hone_err *err)
{
    hone_status status = hone_checkpoint_open(&r->files, step, err);

    for (int i = 0; i < r->count && status == HONE_OK; i++)
        status = get_tensor(r, &r->list[hone_checkpoint_order(&r->files, i)],
                            store, machine, err);
    hone_checkpoint_close(&r->files);
    return status;
}
