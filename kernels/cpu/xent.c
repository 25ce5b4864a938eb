/* SPDX-License-Identifier: MIT
 *
 * xent.c -- cross-entropy over a chunk of logits and its gradient. The
 * log-sum-exp of a row is made in one pass: blocks of the row stay in L1
 * between finding their maximum and summing (Milakov and Gimelshein, "Online
 * normalizer calculation for softmax", 2018). Losses are added in double in
 * the order of rows, whatever the number of threads.
 */
#include <math.h>

#include "cpu.h"

#include "vmath.h"

enum { BLOCK = 2048 };

typedef struct {
    int threads, add;
    int64_t rows, vocab;
} xent;

typedef struct {
    const xent *x;
    const float *logits, *lse_in, *dloss;
    const int32_t *targets;
    float *lse, *out;
    double *row_loss;
} xent_args;

static hone_status xent_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(xent);
    if (!strcmp(c->op, "xent"))
        need->workspace_bytes = c->type[0].dim[0] * (int64_t)sizeof(double);
    return cpu_want_f32(c, need, err);
}

static hone_status xent_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    xent *x = prepared;
    const hone_type *logits = &c->type[strcmp(c->op, "xent") ? 1 : 0];

    (void)ctx;
    (void)err;
    x->threads = threads;
    x->add = cpu_adds(c, 0);
    x->rows = logits->dim[0];
    x->vocab = logits->dim[1];
    return HONE_OK;
}

static float maximum(const float *x, int64_t n)
{
    float top = x[0];

#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++)
        top = x[j] > top ? x[j] : top;
    return top;
}

static float sum_exp(const float *x, int64_t n, float top)
{
    float sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += vm_exp(x[j] - top);
    return sum;
}

static double log_sum_exp(const float *x, int64_t n)
{
    double sum = 0;
    float top = -INFINITY;

    for (int64_t j = 0; j < n; j += BLOCK) {
        int64_t size = cpu_min(BLOCK, n - j);
        float here = maximum(x + j, size);

        if (here > top) {
            sum *= exp((double)top - (double)here);
            top = here;
        }
        sum += sum_exp(x + j, size, top);
    }
    return (double)top + log(sum);
}

static void xent_range(const void *arg, int64_t first, int64_t last, int part)
{
    const xent_args *k = arg;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        const float *x = k->logits + t * k->x->vocab;
        int32_t target = k->targets[t];
        double lse;

        k->lse[t] = 0;
        k->row_loss[t] = 0;
        if (target < 0)
            continue;
        lse = log_sum_exp(x, k->x->vocab);
        k->lse[t] = (float)lse;
        k->row_loss[t] = lse - (double)x[target];
    }
}

/* logits, targets, loss, lse */
static void xent_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const xent *x = prepared;
    xent_args k = { .x = x,
                    .logits = ptr[0].part[0],
                    .targets = ptr[1].part[0],
                    .lse = ptr[3].part[0],
                    .row_loss = workspace };
    float *loss = ptr[2].part[0];
    double sum = x->add ? *loss : 0;

    (void)stream;
    cpu_for(x->threads, x->rows, CPU_GRAIN / cpu_max(x->vocab, 1), xent_range,
            &k);
    for (int64_t t = 0; t < x->rows; t++)
        sum += k.row_loss[t];
    *loss = (float)sum;
}

static void xent_grad_range(const void *arg, int64_t first, int64_t last,
                            int part)
{
    const xent_args *k = arg;
    const int64_t vocab = k->x->vocab;
    const float scale = *k->dloss;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        const float *x = k->logits + t * vocab;
        float *y = k->out + t * vocab;
        float lse = k->lse_in[t];

        if (k->targets[t] < 0) {
            memset(y, 0, (size_t)vocab * sizeof *y);
            continue;
        }
        CPU_SIMD
        for (int64_t j = 0; j < vocab; j++)
            y[j] = vm_exp(x[j] - lse) * scale;
        y[k->targets[t]] -= scale;
    }
}

/* dloss, logits, lse, targets, dlogits */
static void xent_grad_run(const void *prepared, const hone_ptr *ptr,
                          void *workspace, hone_stream stream)
{
    const xent *x = prepared;
    xent_args k = { .x = x,
                    .dloss = ptr[0].part[0],
                    .logits = ptr[1].part[0],
                    .lse_in = ptr[2].part[0],
                    .targets = ptr[3].part[0],
                    .out = ptr[4].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(x->threads, x->rows, CPU_GRAIN / cpu_max(x->vocab, 1),
            xent_grad_range, &k);
}

CPU_KERNELS(xent) = { { "xent", xent_prepare, xent_init, xent_run },
                      { "xent_grad", xent_prepare, xent_init, xent_grad_run },
                      { NULL, NULL, NULL, NULL } };
