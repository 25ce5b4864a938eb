/* SPDX-License-Identifier: MIT
 *
 * merge.c -- see merge.h. Rows of W are independent of one another, so that a
 * merge needs one row and the A of one module, whatever the size of the model.
 */
#include "merge.h"

#include <math.h>
#include <string.h>

#include "nf4.h"

enum { RUN = 16384 }; /* numbers at a time */

static int is_float(hone_storage s)
{
    return s == HONE_F32 || s == HONE_F16 || s == HONE_BF16 || s == HONE_F64;
}

/* In which a tensor is lent. */
static hone_storage plain_of(const hone_weight *w)
{
    return w->codes ? w->codes->plain : w->type.storage;
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
    if (!is_float(plain_of(w)))
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
    m->at = m->held_at = (uint32_t)base->count;
    m->module = hone_alloc(&m->arena, (size_t)base->count * sizeof *m->module);
    m->saved = hone_alloc(&m->arena, (size_t)base->count * sizeof *m->saved);
    m->x = hone_alloc(&m->arena, RUN * sizeof *m->x);
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

/* ------------------------------------------------------- held as codes */

/* Linears of layers: what hone.model { storage = "nf4" } holds as codes. */
static int is_matrix_of_layer(const hone_weight *w)
{
    size_t n = strlen(w->name);

    return w->type.rank == 2 && strstr(w->name, "layers.") && n > 7 &&
           !strcmp(w->name + n - 7, ".weight") && is_float(w->type.storage);
}

typedef struct {
    hone_merge *m;
    uint32_t i;
} tensor;

static hone_status numbers_of_base(void *self, int64_t from, int64_t count,
                                   float *to, hone_err *err)
{
    const tensor *t = self;

    return hone_weights_numbers(t->m->base, &t->m->base->list[t->i], from,
                                count, to, err);
}

/* The codes of tensor I as a run held it, in an order of bytes of our own. */
static hone_status hold(hone_merge *m, uint32_t i, hone_err *err)
{
    int64_t n = hone_count(&m->base->list[i].type);
    tensor t = { m, i };

    if (m->held_at == i)
        return HONE_OK;
    if (!m->codes.part[0]) { /* for the largest of them */
        int64_t most = 0;

        for (int k = 0; k < m->base->count; k++)
            if (is_matrix_of_layer(&m->base->list[k]) &&
                hone_count(&m->base->list[k].type) > most)
                most = hone_count(&m->base->list[k].type);
        for (int p = 0; p < HONE_PARTS && hone_parts(m->held)[p].bytes; p++)
            m->codes.part[p] = hone_alloc(
                &m->arena, (size_t)hone_part_bytes(m->held, p, most));
    }
    m->held_at = i;
    return hone_nf4_make(m->held, n, numbers_of_base, &t, &m->codes, err);
}

/* Elements of the base, at most RUN, into m->x. */
static hone_status read_base(hone_merge *m, uint32_t i, int64_t from,
                             int64_t n, hone_err *err)
{
    tensor t = { m, i };

    if (!m->held || !is_matrix_of_layer(&m->base->list[i]))
        return numbers_of_base(&t, from, n, m->x, err);
    hone_try(hold(m, i, err));
    for (int64_t k = 0; k < n; k++)
        m->x[k] = hone_nf4_value(m->held, &m->codes, from + k);
    return HONE_OK;
}

/* Whether the base is not read as its file has it. */
static int is_coded(const hone_merge *m, uint32_t i)
{
    return m->base->list[i].codes ||
           (m->held && is_matrix_of_layer(&m->base->list[i]));
}

static hone_status read_row(hone_merge *m, uint32_t i, int64_t at, int64_t n,
                            hone_err *err)
{
    const hone_weight *w = &m->base->list[i];
    int64_t size = (int64_t)hone_parts(w->type.storage)[0].bytes;

    if (!is_coded(m, i))
        return hone_convert(m->row, HONE_F64, (const char *)w->data + at * size,
                            w->type.storage, n);
    for (int64_t k = 0; k < n; k += RUN) {
        int64_t some = n - k < RUN ? n - k : RUN;

        hone_try(read_base(m, i, at + k, some, err));
        for (int64_t c = 0; c < some; c++)
            m->row[k + c] = (double)m->x[c];
    }
    return HONE_OK;
}

static hone_status copy_coded(hone_merge *m, uint32_t i, int64_t at,
                              int64_t end, char *to, hone_err *err)
{
    hone_storage as = plain_of(&m->base->list[i]);

    for (; at < end; at += RUN) {
        int64_t n = end - at < RUN ? end - at : RUN;

        hone_try(read_base(m, i, at, n, err));
        hone_try(hone_convert(to, as, m->x, HONE_F32, n));
        to += n * (int64_t)hone_parts(as)[0].bytes;
    }
    return HONE_OK;
}

/* ---------------------------------------------------------------- merging */

/* Of row O of W + scale * B A columns [FROM, FROM + N), into m->row. */
static hone_status add_update(hone_merge *m, uint32_t i, int64_t o,
                              int64_t from, int64_t n, hone_err *err)
{
    const hone_weight *w = &m->base->list[i];
    const hone_peft_module *p = m->module[i];
    const hone_weight *b = p->b;
    double scale = hone_peft_scale(m->adapter, p->path, p->r);
    int64_t in = w->type.dim[1];
    int64_t b_bytes = (int64_t)hone_parts(b->type.storage)[0].bytes;

    hone_try(read_row(m, i, o * in + from, n, err));
    hone_convert(m->b, HONE_F32, (const char *)b->data + o * p->r * b_bytes,
                 b->type.storage, p->r);
    for (int64_t k = 0; k < p->r; k++) {
        double by = scale * (double)m->b[k];
        const float *restrict a = m->a + k * in + from;
        double *restrict row = m->row;
        for (int64_t c = 0; c < n; c++)
            row[c] += by * (double)a[c];
    }
    return HONE_OK;
}

/* What a row that is whole in m->row must be multiplied by, with dora. */
static double to_magnitude(const hone_merge *m, uint32_t i, int64_t o)
{
    const hone_weight *w = m->module[i]->m;
    int64_t in = m->base->list[i].type.dim[1];
    int64_t bytes = (int64_t)hone_parts(w->type.storage)[0].bytes;
    double squares = 0, magnitude;

    hone_convert(&magnitude, HONE_F64, (const char *)w->data + o * bytes,
                 w->type.storage, 1);
    for (int64_t c = 0; c < in; c++)
        squares += m->row[c] * m->row[c];
    return squares > 0 ? magnitude / sqrt(squares) : 0;
}

/* Columns [FROM, FROM + N) of row O to the start of m->row. */
static hone_status merge_row(hone_merge *m, uint32_t i, int64_t o,
                             int64_t from, int64_t n, hone_err *err)
{
    double by;

    if (!m->module[i]->m)
        return add_update(m, i, o, from, n, err);
    hone_try(add_update(m, i, o, 0, m->base->list[i].type.dim[1], err));
    by = to_magnitude(m, i, o);
    for (int64_t c = 0; c < n; c++)
        m->row[c] = by * m->row[from + c];
    return HONE_OK;
}

hone_status hone_merge_read(hone_merge *m, uint32_t i, int64_t offset,
                            int64_t bytes, void *to, hone_err *err)
{
    const hone_weight *w = &m->base->list[i];
    hone_storage as = plain_of(w);
    int64_t size = (int64_t)hone_parts(as)[0].bytes;
    int64_t at = offset / size, end = (offset + bytes) / size;
    int64_t in = w->type.dim[1], all = hone_count(&w->type) * size;
    char *out = to;

    if (offset < 0 || bytes < 0 || offset > all || bytes > all - offset ||
        offset % size || bytes % size)
        return hone_fail(err, HONE_EINVAL,
                         "tensor '%s': %lld bytes from %lld on are not part "
                         "of it",
                         w->name, (long long)bytes, (long long)offset);
    if (m->saved[i]) {
        const hone_weight *s = m->saved[i];
        return hone_convert(to, as, (const char *)s->data +
                            at * (int64_t)hone_parts(s->type.storage)[0].bytes,
                            s->type.storage, end - at);
    }
    if (!m->module[i] && is_coded(m, i))
        return copy_coded(m, i, at, end, to, err);
    if (!m->module[i]) {
        memcpy(to, (const char *)w->data + offset, (size_t)bytes);
        return HONE_OK;
    }
    take_a(m, i);
    while (at < end) {
        int64_t from = at % in;
        int64_t n = end - at < in - from ? end - at : in - from;
        hone_try(merge_row(m, i, at / in, from, n, err));
        hone_convert(out, as, m->row, HONE_F64, n);
        out += n * size;
        at += n;
    }
    return HONE_OK;
}

/* As merged, rounded to the dtype in which it is lent. */
static hone_status numbers_merged(void *self, int64_t from, int64_t count,
                                  float *to, hone_err *err)
{
    const tensor *t = self;
    hone_storage as = plain_of(&t->m->base->list[t->i]);
    int64_t size = (int64_t)hone_parts(as)[0].bytes;
    double raw[RUN / 4];

    for (int64_t i = 0; i < count; i += RUN / 4) {
        int64_t n = count - i < RUN / 4 ? count - i : RUN / 4;

        hone_try(hone_merge_read(t->m, t->i, (from + i) * size, n * size, raw,
                                 err));
        hone_try(hone_convert(to + i, HONE_F32, raw, as, n));
    }
    return HONE_OK;
}

hone_status hone_merge_codes(hone_merge *m, uint32_t i, hone_storage s,
                             const hone_ptr *to, hone_err *err)
{
    const hone_weight *w = &m->base->list[i];
    tensor t = { m, i };

    if (!w->codes || w->type.storage != s || m->module[i] || m->saved[i])
        return hone_nf4_make(s, hone_count(&w->type), numbers_merged, &t, to,
                             err);
    for (int p = 0; p < 3 && hone_parts(s)[p].bytes; p++) /* as they are */
        memcpy(to->part[p], w->codes->part[p].data,
               (size_t)w->codes->part[p].bytes);
    if (to->part[3])
        memcpy(to->part[3], w->codes->mean, sizeof w->codes->mean);
    return HONE_OK;
}

/* ------------------------------------------------------------ as an export */

static const char *lend_name(void *self, uint32_t i)
{
    return ((hone_merge *)self)->base->list[i].name;
}

static hone_type lend_type(void *self, uint32_t i)
{
    const hone_weight *w = &((hone_merge *)self)->base->list[i];
    hone_type type = w->type;

    type.storage = plain_of(w);
    return type;
}

static hone_status lend_read(void *self, uint32_t i, int64_t offset,
                             int64_t bytes, void *to, hone_err *err)
{
    return hone_merge_read(self, i, offset, bytes, to, err);
}

static hone_status lend_codes(void *self, uint32_t i, hone_storage s,
                              const hone_ptr *parts, hone_err *err)
{
    return hone_merge_codes(self, i, s, parts, err);
}

void hone_merge_lend(hone_merge *m, hone_export *e)
{
    e->self = m;
    e->count = (uint32_t)m->base->count;
    e->name = lend_name;
    e->type = lend_type;
    e->read = lend_read;
    e->codes = lend_codes;
}

void hone_merge_close(hone_merge *m)
{
    hone_arena_free(&m->arena);
    memset(m, 0, sizeof *m);
}
