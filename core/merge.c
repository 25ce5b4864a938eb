/* SPDX-License-Identifier: MIT
 *
 * merge.c -- see merge.h. Rows of W are independent of one another, so that a
 * merge needs one row and the A of one module, whatever the size of the model.
 */
#include "merge.h"

#include <string.h>

static int is_float(hone_storage s)
{
    return s == HONE_F32 || s == HONE_F16 || s == HONE_BF16 || s == HONE_F64;
}

/* The weight of a module. Files of a bare backbone leave "model." out. */
static const hone_weight *find_weight(hone_merge *m, const char *path)
{
    const char *name = hone_format_text(&m->arena, "%s.weight", path);
    const hone_weight *w = hone_weights_find(m->base, name);

    if (!w && !strncmp(name, "model.", 6))
        w = hone_weights_find(m->base, name + 6);
    return w;
}

static hone_status add_module(hone_merge *m, const hone_peft_module *p,
                              hone_err *err)
{
    const hone_weight *w = find_weight(m, p->path);

    if (!w)
        return hone_fail(err, HONE_EINVAL,
                         "adapter module '%s': the model has no tensor "
                         "'%s.weight' (tied to another one?); it cannot be "
                         "merged",
                         p->path, p->path);
    if (w->type.rank != 2 || w->type.dim[0] != p->out ||
        w->type.dim[1] != p->in)
        return hone_fail(err, HONE_EINVAL,
                         "adapter module '%s' is for a weight [%lld,%lld], "
                         "the model's is [%lld,%lld]: another model's adapter",
                         p->path, (long long)p->out, (long long)p->in,
                         (long long)w->type.dim[0], (long long)w->type.dim[1]);
    if (!is_float(w->type.storage))
        return hone_fail(err, HONE_ENOSUP,
                         "tensor '%s' is not F32, F16 or BF16: it cannot be "
                         "merged",
                         w->name);
    m->module[w - m->base->list] = p;
    return HONE_OK;
}

/* What the adapter has instead of weights of the base. A head that is tied is
 * in the adapter alone. */
static hone_status add_saved(hone_merge *m, const hone_peft *adapter,
                             hone_err *err)
{
    static const char head[] = "lm_head.weight";
    static const char words[] = "model.embed_tokens.weight";
    const char *tied = hone_weights_find(m->base, head) ? NULL : head;
    int found = 0;

    for (int i = 0; i < m->base->count; i++) {
        const hone_weight *w = &m->base->list[i];
        const hone_weight **to = &m->saved[i];
        const char *alias = strcmp(w->name, words) ? NULL : tied;

        hone_try(hone_peft_weight(adapter, w->name, alias, to, err));
        if (*to && (*to)->type.rank == w->type.rank &&
            hone_count(&(*to)->type) == hone_count(&w->type))
            found += 1 + (alias != NULL);
        else if (*to)
            return hone_fail(err, HONE_EINVAL, "tensor '%s' of the adapter has "
                             "another shape than the model's: another model's "
                             "adapter", w->name);
    }
    if (found != adapter->spec.weights)
        return hone_fail(err, HONE_EINVAL, "the adapter brings %d whole "
                         "tensors, and the model has %d of them: another "
                         "model's adapter", adapter->spec.weights, found);
    return HONE_OK;
}

static hone_status add_modules(hone_merge *m, const hone_peft_spec *spec,
                               hone_err *err)
{
    int64_t widest = 0, r = 0;

    for (int i = 0; i < spec->count; i++) {
        hone_try(add_module(m, &spec->modules[i], err));
        if (spec->modules[i].in > widest)
            widest = spec->modules[i].in;
        if (spec->modules[i].r > r)
            r = spec->modules[i].r;
    }
    m->adapter = spec;
    m->a = hone_alloc(&m->arena, (size_t)(r * widest) * sizeof *m->a);
    m->b = hone_alloc(&m->arena, (size_t)r * sizeof *m->b);
    m->row = hone_alloc(&m->arena, (size_t)widest * sizeof *m->row);
    return HONE_OK;
}

hone_status hone_merge_open(hone_merge *m, const hone_weights *base,
                            const hone_peft *adapter, hone_err *err)
{
    hone_status s = HONE_OK;

    memset(m, 0, sizeof *m);
    m->base = base;
    m->at = (uint32_t)base->count;
    m->module = hone_alloc(&m->arena, (size_t)base->count * sizeof *m->module);
    m->saved = hone_alloc(&m->arena, (size_t)base->count * sizeof *m->saved);
    if (adapter)
        s = add_modules(m, &adapter->spec, err);
    if (adapter && s == HONE_OK)
        s = add_saved(m, adapter, err);
    if (s != HONE_OK)
        hone_merge_close(m);
    return s;
}

static void take_a(hone_merge *m, uint32_t i)
{
    const hone_weight *a = m->module[i]->a;

    if (m->at != i)
        hone_convert(m->a, HONE_F32, a->data, a->type.storage,
                     hone_count(&a->type));
    m->at = i;
}

/* Columns [FROM, FROM + N) of row O into m->row. */
static void merge_row(hone_merge *m, uint32_t i, int64_t o, int64_t from,
                      int64_t n)
{
    const hone_weight *w = &m->base->list[i];
    const hone_peft_module *p = m->module[i];
    const hone_weight *b = p->b;
    double scale = hone_peft_scale(m->adapter, p->path, p->r);
    int64_t in = w->type.dim[1];
    int64_t w_bytes = (int64_t)hone_parts(w->type.storage)[0].bytes;
    int64_t b_bytes = (int64_t)hone_parts(b->type.storage)[0].bytes;

    hone_convert(m->row, HONE_F64,
                 (const char *)w->data + (o * in + from) * w_bytes,
                 w->type.storage, n);
    hone_convert(m->b, HONE_F32, (const char *)b->data + o * p->r * b_bytes,
                 b->type.storage, p->r);
    for (int64_t k = 0; k < p->r; k++) {
        double by = scale * (double)m->b[k];
        const float *restrict a = m->a + k * in + from;
        double *restrict row = m->row;
        for (int64_t c = 0; c < n; c++)
            row[c] += by * (double)a[c];
    }
}

hone_status hone_merge_read(hone_merge *m, uint32_t i, int64_t offset,
                            int64_t bytes, void *to, hone_err *err)
{
    const hone_weight *w = &m->base->list[i];
    int64_t size = (int64_t)hone_parts(w->type.storage)[0].bytes;
    int64_t at = offset / size, end = (offset + bytes) / size;
    int64_t in = w->type.dim[1];
    char *out = to;

    if (offset < 0 || bytes < 0 || offset > w->bytes ||
        bytes > w->bytes - offset || offset % size || bytes % size)
        return hone_fail(err, HONE_EINVAL,
                         "tensor '%s': %lld bytes from %lld on are not part "
                         "of it",
                         w->name, (long long)bytes, (long long)offset);
    if (m->saved[i]) {
        const hone_weight *s = m->saved[i];
        return hone_convert(to, w->type.storage, (const char *)s->data +
                            at * (int64_t)hone_parts(s->type.storage)[0].bytes,
                            s->type.storage, end - at);
    }
    if (!m->module[i]) {
        memcpy(to, (const char *)w->data + offset, (size_t)bytes);
        return HONE_OK;
    }
    take_a(m, i);
    while (at < end) {
        int64_t from = at % in;
        int64_t n = end - at < in - from ? end - at : in - from;
        merge_row(m, i, at / in, from, n);
        hone_convert(out, w->type.storage, m->row, HONE_F64, n);
        out += n * size;
        at += n;
    }
    return HONE_OK;
}

/* ------------------------------------------------------------ as an export */

static const char *lend_name(void *self, uint32_t i)
{
    return ((hone_merge *)self)->base->list[i].name;
}

static hone_type lend_type(void *self, uint32_t i)
{
    return ((hone_merge *)self)->base->list[i].type;
}

static hone_status lend_read(void *self, uint32_t i, int64_t offset,
                             int64_t bytes, void *to, hone_err *err)
{
    return hone_merge_read(self, i, offset, bytes, to, err);
}

void hone_merge_lend(hone_merge *m, hone_export *e)
{
    e->self = m;
    e->count = (uint32_t)m->base->count;
    e->name = lend_name;
    e->type = lend_type;
    e->read = lend_read;
}

void hone_merge_close(hone_merge *m)
{
    hone_arena_free(&m->arena);
    memset(m, 0, sizeof *m);
}
