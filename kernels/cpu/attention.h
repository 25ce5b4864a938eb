/* SPDX-License-Identifier: MIT
 *
 * attention.h -- what attention and its gradient share: the shape of a call,
 * one document of it, and which keys a query sees.
 */
#ifndef HONE_CPU_ATTENTION_H
#define HONE_CPU_ATTENTION_H

#include <math.h>

#include "cpu.h"

#include "attrs.h"
#include "sgemm.h"
#include "vmath.h"

enum {
    ATT_Q = 64, /* queries of a block */
    ATT_K = 64  /* keys of a block */
};

typedef struct {
    int threads;
    int64_t tokens, keys, docs;
    int64_t heads, kv_heads, d;
    int64_t q_width, k_width; /* features of a row of q, of k */
    int64_t window;           /* 0: all earlier keys */
    float scale, softcap;     /* 0: none */
} att;

typedef struct {
    int32_t q_start, q_len, k_start, k_len;
} att_doc;

static inline void att_fill(att *a, const hone_call *c, int threads, uint32_t q,
                            uint32_t k)
{
    const hone_attention_attrs *attrs = c->attrs;

    a->threads = threads;
    a->tokens = c->type[q].dim[0];
    a->keys = c->type[k].dim[0];
    a->docs = c->type[c->nin - 1].dim[0];
    a->heads = attrs->heads;
    a->kv_heads = attrs->kv_heads;
    a->q_width = c->type[q].dim[1];
    a->k_width = c->type[k].dim[1];
    a->d = a->q_width / a->heads;
    a->window = attrs->window;
    a->scale = (float)attrs->scale;
    a->softcap = (float)attrs->softcap;
}

/* Keys [*first, *last) of its document that query I sees. */
static inline void att_seen(const att *a, const att_doc *doc, int64_t i,
                            int64_t *first, int64_t *last)
{
    int64_t end = i + 1 + doc->k_len - doc->q_len;

    *last = cpu_max(0, cpu_min(end, doc->k_len));
    *first = a->window ? cpu_min(cpu_max(0, end - a->window), *last) : 0;
}

/* S [n,m] = scale * Q K^T, rows ATT_K apart, capped where asked for. */
static inline void att_scores(const att *a, const float *q, int64_t n,
                              const float *k, int64_t m, float *s)
{
    cpu_sgemm(CblasNoTrans, CblasTrans, n, m, a->d, a->scale, q, a->q_width, k,
              a->k_width, 0.0f, s, ATT_K);
    if (a->softcap == 0)
        return;
    for (int64_t i = 0; i < n; i++) {
        float *row = s + i * ATT_K;

        CPU_SIMD
        for (int64_t j = 0; j < m; j++)
            row[j] = a->softcap * vm_tanh(row[j] / a->softcap);
    }
}

#endif
