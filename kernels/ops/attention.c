/* SPDX-License-Identifier: MIT
 *
 * attention.c -- softmax(scale q k^T) v over packed documents, with grouped
 * heads, a sliding window and soft-capped scores. Causal by document: its
 * last query sees its last key, so that a query at index i of q_len stands at
 * i + k_len - q_len. lse is log sum exp of the scores; o and lse are 0 where
 * a query belongs to no document or sees no key. The backward pass follows
 * Dao et al. 2022: P from lse, dS = P (dP - sum(dO O)).
 */
#include "op.h"

typedef struct job {
    view q, k, v;
    int64_t d, group;   /* size of a head; query heads per key head */
    const int32_t *doc; /* q_start, q_len, k_start, k_len */
    const hone_attention_attrs *a;
} job;

static real dot(view a, int64_t at, view b, int64_t bt, int64_t d)
{
    real sum = 0;
    int64_t i;
    for (i = 0; i < d; i++)
        sum += get(a, at + i) * get(b, bt + i);
    return sum;
}

/* Where head H of query I, or its key head of key J, begins in its tensor. */
static int64_t query_at(const job *w, int64_t i, int64_t h)
{
    return (w->doc[0] + i) * w->q.cols + h * w->d;
}

static int64_t key_at(const job *w, int64_t j, int64_t h)
{
    return (w->doc[2] + j) * w->k.cols + h / w->group * w->d;
}

/* Keys that query I of the document sees: [*first, *end). */
static void visible(const job *w, int64_t i, int64_t *first, int64_t *end)
{
    int64_t at = i + w->doc[3] - w->doc[1];
    *end = at + 1;
    *first = w->a->window ? at - w->a->window + 1 : 0;
    if (*first < 0)
        *first = 0;
}

/* The score, and in SLOPE its derivative by scale * q.k. */
static real score(const job *w, int64_t i, int64_t j, int64_t h, real *slope)
{
    const real cap = (real)w->a->softcap;
    real s = (real)w->a->scale *
             dot(w->q, query_at(w, i, h), w->k, key_at(w, j, h), w->d);
    *slope = 1;
    if (cap > 0) {
        real t = tanh(s / cap);
        *slope = 1 - t * t;
        s = cap * t;
    }
    return s;
}

static job open_job(const hone_call *c, const hone_ptr *p, uint32_t q)
{
    const hone_attention_attrs *a = c->attrs;
    job w = { input(c, p, q), input(c, p, q + 1), input(c, p, q + 2),
              0,              a->heads / a->kv_heads,
              NULL,           a };
    w.d = w.q.cols / a->heads;
    return w;
}

static void attend(const job *w, int64_t i, int64_t h, view o, view lse)
{
    real acc[HONE_HEAD_DIM_MAX] = { 0 }, max = -INFINITY, sum = 0, slope, l;
    int64_t first, end, j, e, at = query_at(w, i, h);

    visible(w, i, &first, &end);
    if (first >= end)
        return;
    for (j = first; j < end; j++)
        max = fmax(max, score(w, i, j, h, &slope));
    for (j = first; j < end; j++)
        sum += exp(score(w, i, j, h, &slope) - max);
    l = max + log(sum);
    for (j = first; j < end; j++) {
        real weight = exp(score(w, i, j, h, &slope) - l);
        for (e = 0; e < w->d; e++)
            acc[e] += weight * get(w->v, key_at(w, j, h) + e);
    }
    for (e = 0; e < w->d; e++)
        set(o, at + e, acc[e]);
    set(lse, (w->doc[0] + i) * lse.cols + h, l);
}

REF(attention)
{
    job w = open_job(c, p, 0);
    view o = output(c, p, 0), lse = output(c, p, 1);
    int64_t docs = c->type[3].dim[0], n, i, h;

    sum_into(o);
    sum_into(lse);
    for (n = 0; n < docs; n++) {
        w.doc = ints(p, 3) + 4 * n;
        for (i = 0; i < w.doc[1]; i++)
            for (h = 0; h < w.a->heads; h++)
                attend(&w, i, h, o, lse);
    }
}

/* What one pair of query and key adds: probability, and dS with its slope. */
typedef struct pair {
    real weight, ds;
} pair;

static pair pair_of(const job *w, view dout, view o, view lse, int64_t i,
                    int64_t j, int64_t h)
{
    int64_t at = query_at(w, i, h);
    real slope, s = score(w, i, j, h, &slope);
    pair r;
    r.weight = exp(s - get(lse, (w->doc[0] + i) * lse.cols + h));
    r.ds = r.weight * slope * (real)w->a->scale *
           (dot(dout, at, w->v, key_at(w, j, h), w->d) -
            dot(dout, at, o, at, w->d));
    return r;
}

static void grad_query(const job *w, view dout, view o, view lse, int64_t i,
                       int64_t h, view dq)
{
    real acc[HONE_HEAD_DIM_MAX] = { 0 };
    int64_t first, end, j, e;

    visible(w, i, &first, &end);
    for (j = first; j < end; j++) {
        pair r = pair_of(w, dout, o, lse, i, j, h);
        for (e = 0; e < w->d; e++)
            acc[e] += r.ds * get(w->k, key_at(w, j, h) + e);
    }
    for (e = 0; e < w->d; e++)
        set(dq, query_at(w, i, h) + e, acc[e]);
}

/* Key J under all heads of the group that starts at H. */
static void grad_key(const job *w, view dout, view o, view lse, int64_t j,
                     int64_t h, view dk, view dv)
{
    real k_acc[HONE_HEAD_DIM_MAX] = { 0 }, v_acc[HONE_HEAD_DIM_MAX] = { 0 };
    int64_t first, end, i, e, g, at = key_at(w, j, h);

    for (i = 0; i < w->doc[1]; i++) {
        visible(w, i, &first, &end);
        if (j < first || j >= end)
            continue;
        for (g = h; g < h + w->group; g++) {
            pair r = pair_of(w, dout, o, lse, i, j, g);
            for (e = 0; e < w->d; e++) {
                k_acc[e] += r.ds * get(w->q, query_at(w, i, g) + e);
                v_acc[e] += r.weight * get(dout, query_at(w, i, g) + e);
            }
        }
    }
    for (e = 0; e < w->d; e++) {
        set(dk, at + e, k_acc[e]);
        set(dv, at + e, v_acc[e]);
    }
}

REF(attention_grad)
{
    view dout = input(c, p, 0), o = input(c, p, 4), lse = input(c, p, 5);
    view dq = output(c, p, 0), dk = output(c, p, 1), dv = output(c, p, 2);
    job w = open_job(c, p, 1);
    int64_t docs = c->type[6].dim[0], n, i, h;

    sum_into(dq);
    sum_into(dk);
    sum_into(dv);
    for (n = 0; n < docs; n++) {
        w.doc = ints(p, 6) + 4 * n;
        if (w.doc[1] == 0)
            continue;
        for (i = 0; i < w.doc[1]; i++)
            for (h = 0; h < w.a->heads; h++)
                grad_query(&w, dout, o, lse, i, h, dq);
        for (i = 0; i < w.doc[3]; i++)
            for (h = 0; h < w.a->heads; h += w.group)
                grad_key(&w, dout, o, lse, i, h, dk, dv);
    }
}

#ifndef HONE_REF_DOUBLE

/* q, k, v from operand Q on, docs at DOCS. */
static hone_status check(const hone_call *c, uint32_t q, uint32_t docs,
                         hone_err *err)
{
    const hone_attention_attrs *a = c->attrs;
    const hone_type *t = &c->type[q];
    int64_t d;

    hone_try(want_rank(c, q, "q", 2, err));
    hone_try(want_rank(c, q + 1, "k", 2, err));
    hone_try(want_rank(c, q + 2, "v", 2, err));
    hone_try(want_same(c, q + 2, "v", q + 1, "k", err));
    hone_try(want_rank(c, docs, "docs", 2, err));
    hone_try(want_dim(c, docs, "docs", 1, 4, err));
    if (a->kv_heads < 1 || a->heads % a->kv_heads != 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: heads %lld is no multiple of kv_heads %lld",
                         c->op, (long long)a->heads, (long long)a->kv_heads);
    d = t->dim[1] / a->heads;
    if (t->dim[1] % a->heads != 0 || d > HONE_HEAD_DIM_MAX)
        return hone_fail(err, HONE_EINVAL,
                         "%s: q is %s: not %lld heads of at most %d", c->op,
                         shape_text(t).s, (long long)a->heads,
                         HONE_HEAD_DIM_MAX);
    if (!(a->scale > 0))
        return hone_fail(err, HONE_EINVAL,
                         "%s: scale must be given, usually 1 / sqrt(%lld)",
                         c->op, (long long)d);
    return want_dim(c, q + 1, "k", 1, a->kv_heads * d, err);
}

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_attention_attrs *a = c->attrs;
    hone_try(check(c, 0, 3, err));
    out[0] = activation(c, &c->type[0]);
    out[1] = hone_type_of(stat_storage(c), 2, c->type[0].dim[0], a->heads);
    return HONE_OK;
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_attention_attrs *a = c->attrs;
    int i;
    hone_try(check(c, 1, 6, err));
    hone_try(want_same(c, 0, "do", 1, "q", err));
    hone_try(want_same(c, 4, "o", 1, "q", err));
    hone_try(want_rank(c, 5, "lse", 2, err));
    hone_try(want_dim(c, 5, "lse", 0, c->type[1].dim[0], err));
    hone_try(want_dim(c, 5, "lse", 1, a->heads, err));
    for (i = 0; i < 3; i++)
        out[i] = activation(c, &c->type[1 + i]);
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_attention_attrs *a = r->attrs;
    hone_id out[3] = { HONE_NONE, HONE_NONE, HONE_NONE };
    int i;

    if (r->dout[1] != HONE_NONE)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: attention has no gradient through lse", r->name);
    hone_try(b->emit(b, "attention_grad", NULL,
                     ATTRS({ "heads", (double)a->heads, NULL },
                           { "kv_heads", (double)a->kv_heads, NULL },
                           { "scale", a->scale, NULL },
                           { "window", (double)a->window, NULL },
                           { "softcap", a->softcap, NULL }),
                     IDS(r->dout[0], r->in[0], r->in[1], r->in[2], r->out[0],
                         r->out[1], r->in[3]),
                     out, 3, err));
    for (i = 0; i < 3; i++)
        r->din[i] = out[i];
    return HONE_OK;
}

/* Documents end to end while there is room, in any order; their keys longer
 * than their queries where K > T, as with a cache. Unused rows stay 0. */
static void draw_docs(int32_t *doc, int64_t docs, int64_t t, int64_t k,
                      uint64_t seed)
{
    int64_t n, q_at = 0, k_at = 0, spare = k > t ? k - t : 0;
    int32_t *first = doc;

    memset(doc, 0, (size_t)docs * 4 * sizeof *doc);
    for (n = 0; n < docs && q_at < t && k_at < k; n++, doc += 4) {
        int64_t most = t - q_at < k - k_at ? t - q_at : k - k_at;
        int64_t q_len = 1 + draw(&seed, most), more = draw(&seed, spare + 1);
        spare -= more;
        doc[0] = (int32_t)q_at;
        doc[1] = (int32_t)q_len;
        doc[2] = (int32_t)k_at;
        doc[3] = (int32_t)(q_len + more);
        if (k_at + doc[3] > k)
            doc[3] = (int32_t)(k - k_at);
        q_at += doc[1];
        k_at += doc[3];
    }
    for (n = docs; n > 1; n--) {
        int32_t *a = first + 4 * (n - 1), *b = first + 4 * draw(&seed, n), c[4];
        memcpy(c, a, sizeof c);
        memmove(a, b, sizeof c);
        memcpy(b, c, sizeof c);
    }
}

static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    draw_docs((int32_t *)p[3].part[0], c->type[3].dim[0], c->type[0].dim[0],
              c->type[1].dim[0], seed);
}

/* o and lse of the drawn q, k, v, from the op itself. */
static void grad_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    const hone_type type[6] = { c->type[1], c->type[2], c->type[3],
                                c->type[6], c->type[4], c->type[5] };
    const uint8_t mode[6] = { HONE_READ, HONE_READ,  HONE_READ,
                              HONE_READ, HONE_WRITE, HONE_WRITE };
    const hone_ptr ptr[6] = { p[1], p[2], p[3], p[6], p[4], p[5] };
    const hone_call forward = { sizeof forward, "attention", c->attrs, 4, 2,
                                type, mode, c->compute, NULL };
    REF_DECLARE(attention);

    draw_docs((int32_t *)p[6].part[0], c->type[6].dim[0], c->type[1].dim[0],
              c->type[2].dim[0], seed);
    if (c->type[5].storage == HONE_F64)
        hone_attention_ref_f64(&forward, ptr);
    else
        hone_attention_ref_f32(&forward, ptr);
}

/* Half of the scores of all documents, as if there were as many as there may
 * be, of one length; what they hold is not known here. */
static double flops(const hone_call *c)
{
    return 2.0 * (double)hone_count(&c->type[0]) * (double)c->type[1].dim[0] /
           (double)c->type[3].dim[0];
}

static double grad_flops(const hone_call *c)
{
    return 5.0 * (double)hone_count(&c->type[1]) * (double)c->type[2].dim[0] /
           (double)c->type[6].dim[0];
}

static const hone_option options[] = {
    HONE_OPT_INT(hone_attention_attrs, heads, 1, 1, 65536, "heads of q"),
    HONE_OPT_INT(hone_attention_attrs, kv_heads, 1, 1, 65536,
                 "heads of k and v, a divisor of heads"),
    HONE_OPT_REAL(hone_attention_attrs, scale, 0, 0, 1e38,
                  "factor on q.k; must be given"),
    HONE_OPT_INT(hone_attention_attrs, window, 0, 0, 2147483647,
                 "keys a query sees at most, itself included; 0: all"),
    HONE_OPT_REAL(hone_attention_attrs, softcap, 0, 0, 1e38,
                  "scores become softcap * tanh(s / softcap); 0: not"),
    HONE_OPT_END
};

#define DOCS { "docs", HONE_IMPLICIT | HONE_NO_GRAD }

OP(attention, "causal attention by document", options,
   sizeof(hone_attention_attrs),
   .in = OPERANDS({ "q", 0 }, { "k", 0 }, { "v", 0 }, DOCS),
   .out = OPERANDS({ "o", 0 }, { "lse", 0 }),
   .shape = shape, .backward = backward, .flops = flops, .sample = sample);

OP(attention_grad, "gradients of attention", options,
   sizeof(hone_attention_attrs),
   .in = OPERANDS({ "do", 0 }, { "q", 0 }, { "k", 0 }, { "v", 0 }, { "o", 0 },
                  { "lse", 0 }, DOCS),
   .out = OPERANDS({ "dq", 0 }, { "dk", 0 }, { "dv", 0 }),
   .shape = grad_shape, .flops = grad_flops, .sample = grad_sample,
   .tolerance = 1e-4);

EXPORT_OPS(attention, &attention_component, &attention_grad_component);

#endif
