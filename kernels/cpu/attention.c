/* SPDX-License-Identifier: MIT
 *
 * attention.c -- causal attention by blocks over packed documents (Dao et al.,
 * "FlashAttention", 2022): the scores of ATT_Q queries against ATT_K keys live
 * in L1, a row's maximum and sum are carried along, T x T never exists. One
 * item of work is a block of queries of one head of one document; the two
 * products are small single-threaded ones (sgemm.h).
 */
#include "attention.h"

typedef struct {
    const att *a;
    const float *q, *k, *v;
    const att_doc *docs;
    const int64_t *first_item; /* [docs + 1] */
    float *o, *lse, *work;
    int64_t slice; /* floats of workspace a thread */
} forward;

/* A thread's scratch: scores, the unscaled output, maxima and sums. */
typedef struct {
    float s[ATT_Q * ATT_K], top[ATT_Q], sum[ATT_Q];
    float o[];
} scratch;

static int64_t slice_bytes(int64_t d)
{
    return cpu_align((int64_t)sizeof(scratch) +
                     ATT_Q * d * (int64_t)sizeof(float));
}

static int64_t index_bytes(int64_t docs)
{
    return cpu_align((docs + 1) * (int64_t)sizeof(int64_t));
}

static hone_status attention_prepare(const hone_call *c, int threads,
                                     hone_need *need, hone_err *err)
{
    const hone_attention_attrs *a = c->attrs;

    need->prepared_bytes = sizeof(att);
    need->workspace_bytes = index_bytes(c->type[3].dim[0]) +
                            threads * slice_bytes(c->type[0].dim[1] / a->heads);
    return cpu_want_f32(c, need, err);
}

static hone_status attention_init(const hone_call *c, int threads, void *ctx,
                                  void *prepared, hone_err *err)
{
    (void)ctx;
    (void)err;
    att_fill(prepared, c, threads, 0, 1);
    return HONE_OK;
}

/* Row I of a block of scores becomes exp(s - max) over the keys it sees, 0
 * elsewhere; what was summed so far shrinks to the new maximum. */
static void soften(const att *a, scratch *w, int64_t i, int64_t first,
                   int64_t last, int64_t m)
{
    float *s = w->s + i * ATT_K, *o = w->o + i * a->d;
    float top = w->top[i], sum = 0, shrink;

    if (first >= last) {
        memset(s, 0, (size_t)m * sizeof *s);
        return;
    }
#pragma omp simd reduction(max : top)
    for (int64_t j = first; j < last; j++)
        top = s[j] > top ? s[j] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = first; j < last; j++) {
        float e = vm_exp(s[j] - top);
        s[j] = e;
        sum += e;
    }
    memset(s, 0, (size_t)first * sizeof *s);
    memset(s + last, 0, (size_t)(m - last) * sizeof *s);
    if (top > w->top[i] && w->sum[i] > 0) {
        shrink = vm_exp(w->top[i] - top);
        w->sum[i] *= shrink;
        CPU_SIMD
        for (int64_t j = 0; j < a->d; j++)
            o[j] *= shrink;
    }
    w->top[i] = top;
    w->sum[i] += sum;
}

static void finish(const forward *f, const scratch *w, int64_t head,
                   int64_t row, int64_t n)
{
    const att *a = f->a;

    for (int64_t i = 0; i < n; i++) {
        float *o = f->o + (row + i) * a->q_width + head * a->d;
        float by = w->sum[i] == 0 ? 0.0f : 1.0f / w->sum[i];

        CPU_SIMD
        for (int64_t j = 0; j < a->d; j++)
            o[j] = w->o[i * a->d + j] * by;
        f->lse[(row + i) * a->heads + head] =
            w->sum[i] == 0 ? 0.0f : w->top[i] + logf(w->sum[i]);
    }
}

/* Queries [from, from + n) of DOC, one head. */
static void block(const forward *f, const att_doc *doc, int64_t head,
                  int64_t from, int64_t n, scratch *w)
{
    const att *a = f->a;
    const int64_t kv = head / (a->heads / a->kv_heads);
    const float *q = f->q + (doc->q_start + from) * a->q_width + head * a->d;
    int64_t first, last, none;

    att_seen(a, doc, from, &first, &none);
    att_seen(a, doc, from + n - 1, &none, &last);
    for (int64_t i = 0; i < n; i++) {
        w->top[i] = -INFINITY;
        w->sum[i] = 0;
    }
    memset(w->o, 0, (size_t)(n * a->d) * sizeof *w->o);
    for (int64_t j = first; j < last; j += ATT_K) {
        int64_t m = cpu_min(ATT_K, last - j);
        int64_t at = (doc->k_start + j) * a->k_width + kv * a->d;

        att_scores(a, q, n, f->k + at, m, w->s);
        for (int64_t i = 0; i < n; i++) {
            int64_t lo, hi;
            att_seen(a, doc, from + i, &lo, &hi);
            soften(a, w, i, cpu_max(0, lo - j), cpu_min(m, hi - j), m);
        }
        cpu_sgemm(CblasNoTrans, CblasNoTrans, n, a->d, m, 1.0f, w->s, ATT_K,
                  f->v + at, a->k_width, 1.0f, w->o, a->d);
    }
    finish(f, w, head, doc->q_start + from, n);
}

/* Items count heads fastest: the heads of a group share keys in the cache. */
static void attention_item(const void *arg, int64_t item, int64_t end, int part)
{
    const forward *f = arg;
    const att *a = f->a;
    scratch *w = (scratch *)(f->work + part * f->slice);
    int64_t d = 0;

    for (; item < end; item++) {
        const att_doc *doc;
        int64_t from, blocks, size;

        while (item >= f->first_item[d + 1])
            d++;
        doc = &f->docs[d];
        blocks = (doc->q_len + ATT_Q - 1) / ATT_Q;
        size = (doc->q_len + blocks - 1) / blocks;
        from = (item - f->first_item[d]) / a->heads * size;
        block(f, doc, (item - f->first_item[d]) % a->heads, from,
              cpu_min(size, doc->q_len - from), w);
    }
}

static void clear_range(const void *arg, int64_t first, int64_t last, int part)
{
    const forward *f = arg;
    const int64_t width = f->a->q_width, heads = f->a->heads;

    (void)part;
    memset(f->o + first * width, 0,
           (size_t)((last - first) * width) * sizeof *f->o);
    memset(f->lse + first * heads, 0,
           (size_t)((last - first) * heads) * sizeof *f->lse);
}

/* q, k, v, docs, o, lse */
static void attention_run(const void *prepared, const hone_ptr *ptr,
                          void *workspace, hone_stream stream)
{
    const att *a = prepared;
    int64_t *first_item = workspace;
    forward f = { .a = a,
                  .q = ptr[0].part[0],
                  .k = ptr[1].part[0],
                  .v = ptr[2].part[0],
                  .docs = ptr[3].part[0],
                  .first_item = first_item,
                  .o = ptr[4].part[0],
                  .lse = ptr[5].part[0],
                  .work = (float *)((char *)workspace + index_bytes(a->docs)),
                  .slice = slice_bytes(a->d) / (int64_t)sizeof(float) };

    (void)stream;
    first_item[0] = 0;
    for (int64_t d = 0; d < a->docs; d++)
        first_item[d + 1] =
            first_item[d] + (f.docs[d].q_len + ATT_Q - 1) / ATT_Q * a->heads;
    cpu_for(a->threads, a->tokens, CPU_GRAIN / a->q_width, clear_range, &f);
    cpu_each(a->threads, first_item[a->docs], attention_item, &f);
}

CPU_KERNELS(attention) = { { "attention", attention_prepare, attention_init,
                             attention_run },
                           { NULL, NULL, NULL, NULL } };
