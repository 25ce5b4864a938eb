/* SPDX-License-Identifier: MIT
 *
 * attention_grad.c -- the gradient of attention (Dao et al. 2022, algorithm
 * 4): probabilities are made again from the scores and the kept lse. One item
 * of work is a document and a head of keys, with all heads of queries that
 * share it, so that dq, dk and dv have one writer each and sums one order.
 *
 *   P = exp(S - lse)         dV += P^T dO        dP = dO V^T
 *   dS = P (dP - delta)      dQ += c dS K        dK += c dS^T Q
 *
 * with S = c Q K^T and delta = rowsum(dO O), c the scale.
 */
#include "attention.h"

typedef struct {
    const att *a;
    const float *dout, *q, *k, *v, *o, *lse;
    const att_doc *docs;
    float *dq, *dk, *dv;
    float *delta, *work; /* [tokens, heads]; scratch of the threads */
} grad;

typedef struct {
    float p[ATT_Q * ATT_K], ds[ATT_Q * ATT_K];
} scratch;

/* One block: N queries from I on, M keys from J on, in their document. */
typedef struct {
    const att_doc *doc;
    int64_t head, kv, i, n, j, m;
} place;

static int64_t delta_bytes(int64_t tokens, int64_t heads)
{
    return cpu_align(tokens * heads * (int64_t)sizeof(float));
}

/* do, q, k, v, o, lse, docs, dq, dk, dv */
static hone_status grad_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    const hone_attention_attrs *a = c->attrs;

    need->prepared_bytes = sizeof(att);
    need->workspace_bytes = delta_bytes(c->type[1].dim[0], a->heads) +
                            threads * (int64_t)sizeof(scratch);
    return cpu_want_f32(c, need, err);
}

static hone_status grad_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    (void)ctx;
    (void)err;
    att_fill(prepared, c, threads, 1, 2);
    return HONE_OK;
}

static void delta_range(const void *arg, int64_t first, int64_t last, int part)
{
    const grad *g = arg;
    const att *a = g->a;

    (void)part;
    memset(g->dq + first * a->q_width, 0,
           (size_t)((last - first) * a->q_width) * sizeof *g->dq);
    for (int64_t i = first * a->heads; i < last * a->heads; i++) {
        const float *x = g->dout + i * a->d, *y = g->o + i * a->d;
        float sum = 0;

#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < a->d; j++)
            sum += x[j] * y[j];
        g->delta[i] = sum;
    }
}

static void clear_range(const void *arg, int64_t first, int64_t last, int part)
{
    const grad *g = arg;
    const int64_t w = g->a->k_width;
    const size_t bytes = (size_t)((last - first) * w) * sizeof *g->dk;

    (void)part;
    memset(g->dk + first * w, 0, bytes);
    memset(g->dv + first * w, 0, bytes);
}

/* C [n,m] += by * A B; rows of A, B and C are LDA, LDB and LDC apart. */
static void add_product(CBLAS_TRANSPOSE ta, int64_t n, int64_t m, int64_t k,
                        float by, const float *a, int64_t lda, const float *b,
                        int64_t ldb, float *c, int64_t ldc)
{
    cpu_sgemm(ta, CblasNoTrans, n, m, k, by, a, lda, b, ldb, 1.0f, c, ldc);
}

/* Scores and dP of a row become P and dS. */
static void row_grad(const att *a, float *p, float *ds, int64_t first,
                     int64_t last, int64_t m, float lse, float delta)
{
    const float uncap = a->softcap > 0 ? 1.0f / a->softcap : 0.0f;

    if (first >= last)
        first = last = m;
    memset(p, 0, (size_t)first * sizeof *p);
    memset(ds, 0, (size_t)first * sizeof *ds);
    CPU_SIMD
    for (int64_t j = first; j < last; j++) {
        float t = p[j] * uncap; /* the tanh, whose slope is 1 - t^2 */
        float e = vm_exp(p[j] - lse);
        p[j] = e;
        ds[j] = e * (ds[j] - delta) * (1.0f - t * t);
    }
    memset(p + last, 0, (size_t)(m - last) * sizeof *p);
    memset(ds + last, 0, (size_t)(m - last) * sizeof *ds);
}

static void block(const grad *g, const place *x, scratch *w)
{
    const att *a = g->a;
    const int64_t row = x->doc->q_start + x->i;
    const int64_t q = row * a->q_width + x->head * a->d;
    const int64_t k = (x->doc->k_start + x->j) * a->k_width + x->kv * a->d;

    att_scores(a, g->q + q, x->n, g->k + k, x->m, w->p);
    cpu_sgemm(CblasNoTrans, CblasTrans, x->n, x->m, a->d, 1.0f, g->dout + q,
              a->q_width, g->v + k, a->k_width, 0.0f, w->ds, ATT_K);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t at = (row + i) * a->heads + x->head, first, last;

        att_seen(a, x->doc, x->i + i, &first, &last);
        row_grad(a, w->p + i * ATT_K, w->ds + i * ATT_K,
                 cpu_max(0, first - x->j), cpu_min(x->m, last - x->j), x->m,
                 g->lse[at], g->delta[at]);
    }
    add_product(CblasTrans, x->m, a->d, x->n, 1.0f, w->p, ATT_K, g->dout + q,
                a->q_width, g->dv + k, a->k_width);
    add_product(CblasTrans, x->m, a->d, x->n, a->scale, w->ds, ATT_K, g->q + q,
                a->q_width, g->dk + k, a->k_width);
    add_product(CblasNoTrans, x->n, a->d, x->m, a->scale, w->ds, ATT_K,
                g->k + k, a->k_width, g->dq + q, a->q_width);
}

/* All queries that see a key of the block from X->j on. */
static void queries(const grad *g, place *x, scratch *w)
{
    const att *a = g->a;
    const int64_t lead = x->doc->k_len - x->doc->q_len;
    int64_t end = x->doc->q_len;

    if (a->window)
        end = cpu_min(end, x->j + x->m - 1 + a->window - lead);
    for (x->i = cpu_max(0, x->j - lead); x->i < end; x->i += ATT_Q) {
        x->n = cpu_min(ATT_Q, end - x->i);
        block(g, x, w);
    }
}

static void grad_item(const void *arg, int64_t item, int64_t end, int part)
{
    const grad *g = arg;
    const att *a = g->a;
    const int64_t group = a->heads / a->kv_heads;
    scratch *w = (scratch *)g->work + part;

    for (; item < end; item++) {
        place x = { .doc = &g->docs[item / a->kv_heads],
                    .kv = item % a->kv_heads };

        if (!x.doc->q_len)
            continue;
        for (x.j = 0; x.j < x.doc->k_len; x.j += ATT_K) {
            x.m = cpu_min(ATT_K, x.doc->k_len - x.j);
            for (x.head = x.kv * group; x.head < (x.kv + 1) * group; x.head++)
                queries(g, &x, w);
        }
    }
}

static void grad_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const att *a = prepared;
    grad g = { .a = a,
               .dout = ptr[0].part[0],
               .q = ptr[1].part[0],
               .k = ptr[2].part[0],
               .v = ptr[3].part[0],
               .o = ptr[4].part[0],
               .lse = ptr[5].part[0],
               .docs = ptr[6].part[0],
               .dq = ptr[7].part[0],
               .dk = ptr[8].part[0],
               .dv = ptr[9].part[0],
               .delta = workspace,
               .work = (float *)((char *)workspace +
                                 delta_bytes(a->tokens, a->heads)) };

    (void)stream;
    cpu_for(a->threads, a->tokens, CPU_GRAIN / a->q_width, delta_range, &g);
    cpu_for(a->threads, a->keys, CPU_GRAIN / a->k_width, clear_range, &g);
    cpu_each(a->threads, a->docs * a->kv_heads, grad_item, &g);
}

CPU_KERNELS(attention_grad) = { { "attention_grad", grad_prepare, grad_init,
                                  grad_run },
                                { NULL, NULL, NULL, NULL } };
