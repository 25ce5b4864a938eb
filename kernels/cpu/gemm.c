/* SPDX-License-Identifier: MIT
 *
 * gemm.c -- linear and its gradients: C [m,n] = scale * A B (+ bias, + C) by
 * sgemm.h, that is by OpenBLAS when they are large. We cut C into one tile a
 * thread and call the single-threaded sgemm on each: the cut is then ours, so
 * results depend on the number of threads alone, and OpenBLAS' threaded
 * driver, which allocates, stays out.
 */
#include "cpu.h"

#include "attrs.h"
#include "sgemm.h"

enum {
    TILE = 16,      /* rows and columns of C that OpenBLAS' kernels take */
    PANEL = 1024,   /* rows of C a call: bounds what sgemm packs, and with it
                        the buffers that cpu/device.c touches before step 0 */
    FEW = 3,        /* rows up to which dot products beat packing */
    WORTH = 1 << 16 /* multiplications below which one thread does it all */
};

typedef struct {
    int threads, by_rows, by_cols; /* tiles: by_rows x by_cols = threads */
    int add, dots, has_bias;
    uint32_t out; /* operand C */
    CBLAS_TRANSPOSE ta, tb;
    int64_t m, n, k, lda, ldb;
    float scale;
} gemm;

typedef struct {
    const gemm *g;
    const float *a, *b, *bias;
    float *c;
} gemm_args;

static hone_status gemm_prepare(const hone_call *c, int threads,
                                hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(gemm);
    return cpu_want_f32(c, need, err);
}

/* The grid of tiles with the least to pack: each packs its rows and columns. */
static void cut(gemm *g, int threads)
{
    double best = 0;

    g->threads = g->by_rows = g->by_cols = 1;
    if (g->m * g->n * cpu_max(g->k, 1) < WORTH)
        return;
    g->threads = threads;
    for (int r = 1; r <= threads; r++) {
        double cost;
        if (threads % r)
            continue;
        cost = (double)cpu_max(g->m / r, TILE) +
               (double)cpu_max(g->n / (threads / r), TILE);
        if (best == 0 || cost < best) {
            best = cost;
            g->by_rows = r;
        }
    }
    g->by_cols = threads / g->by_rows;
}

static hone_status gemm_init(const hone_call *c, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    gemm *g = prepared;
    const hone_type *a = &c->type[0], *b = &c->type[1];

    (void)ctx;
    (void)err;
    g->scale = (float)((const hone_linear_attrs *)c->attrs)->scale;
    g->add = cpu_adds(c, 0);
    g->lda = a->dim[1];
    g->ldb = b->dim[1];
    g->ta = g->tb = CblasNoTrans;
    g->m = a->dim[0];
    g->n = b->dim[1];
    g->k = a->dim[1];
    if (!strcmp(c->op, "linear")) { /* x [T,I], w [O,I] */
        g->tb = CblasTrans;
        g->n = b->dim[0];
        g->dots = g->m <= FEW;
    } else if (!strcmp(c->op, "linear_dw")) { /* dy [T,O], x [T,I] */
        g->ta = CblasTrans;
        g->m = a->dim[1];
        g->k = a->dim[0];
    }
    g->out = c->nin;
    g->has_bias = c->nin > 2 && !cpu_absent(c, 2);
    cut(g, threads);
    return HONE_OK;
}

/* What the product is added to; returns beta. */
static float start(const gemm *g, const float *bias, float *c, int64_t rows,
                   int64_t cols)
{
    if (!bias)
        return g->add ? 1.0f : 0.0f;
    for (int64_t i = 0; i < rows; i++) {
        float *row = c + i * g->n;
        if (!g->add)
            memcpy(row, bias, (size_t)cols * sizeof *row);
        else
            for (int64_t j = 0; j < cols; j++)
                row[j] += bias[j];
    }
    return 1.0f;
}

/* A few rows: every weight is read once, at memory speed. */
static void dots(const gemm_args *x, int64_t row, int64_t rows, int64_t col,
                 int64_t cols)
{
    const gemm *g = x->g;

    for (int64_t j = col; j < col + cols; j++)
        for (int64_t i = row; i < row + rows; i++) {
            const float *a = x->a + i * g->lda, *b = x->b + j * g->ldb;
            float *y = x->c + i * g->n + j;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < g->k; k++)
                sum += a[k] * b[k];
            sum = g->scale * sum + (x->bias ? x->bias[j] : 0);
            *y = g->add ? *y + sum : sum;
        }
}

static void product(const gemm_args *x, int64_t row, int64_t rows, int64_t col,
                    int64_t cols)
{
    const gemm *g = x->g;
    const float *a = x->a + (g->ta == CblasTrans ? row : row * g->lda);
    const float *b = x->b + (g->tb == CblasTrans ? col * g->ldb : col);
    float *c = x->c + row * g->n + col;
    float beta = start(g, x->bias ? x->bias + col : NULL, c, rows, cols);

    cpu_sgemm(g->ta, g->tb, rows, cols, g->k, g->scale, a, g->lda, b, g->ldb,
              beta, c, g->n);
}

static int64_t edge(int64_t n, int64_t i, int64_t parts)
{
    return i == parts ? n : cpu_min(n, n * i / parts / TILE * TILE);
}

static void tile(const void *arg, int64_t first, int64_t last, int part)
{
    const gemm_args *x = arg;
    const gemm *g = x->g;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        int64_t r = t / g->by_cols, q = t % g->by_cols;
        int64_t row = edge(g->m, r, g->by_rows);
        int64_t end = edge(g->m, r + 1, g->by_rows);
        int64_t col = edge(g->n, q, g->by_cols);
        int64_t cols = edge(g->n, q + 1, g->by_cols) - col;

        for (; row < end && cols > 0; row += PANEL) {
            int64_t rows = cpu_min(PANEL, end - row);
            (g->dots ? dots : product)(x, row, rows, col, cols);
        }
    }
}

/* A, B, perhaps a bias, C */
static void gemm_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    const gemm *g = prepared;
    gemm_args x = { .g = g,
                    .a = ptr[0].part[0],
                    .b = ptr[1].part[0],
                    .bias = g->has_bias ? ptr[2].part[0] : NULL,
                    .c = ptr[g->out].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(g->threads, g->by_rows * g->by_cols, 1, tile, &x);
}

CPU_KERNELS(gemm) = { { "linear", gemm_prepare, gemm_init, gemm_run },
                      { "linear_dx", gemm_prepare, gemm_init, gemm_run },
                      { "linear_dw", gemm_prepare, gemm_init, gemm_run },
                      { NULL, NULL, NULL, NULL } };
