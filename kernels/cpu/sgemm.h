/* SPDX-License-Identifier: MIT
 *
 * sgemm.h -- C = alpha op(A) op(B) + beta C for one thread, row-major: large
 * products by OpenBLAS, small ones here. OpenBLAS has kernels of its own for
 * small products, but on some machines they call malloc() for scratch, and
 * nothing may allocate while a program runs.
 *
 * Here a block of B is copied into a panel on the stack, its columns padded
 * with zeros to whole vectors; rows of C then grow in registers.
 */
#ifndef HONE_CPU_SGEMM_H
#define HONE_CPU_SGEMM_H

#include <cblas.h>

#include "cpu.h"

enum {
#if defined(__AVX512F__)
    MM_LANES = 16, /* floats of a vector */
    MM_ROWS = 8,   /* rows of C in registers, two vectors each */
#elif defined(__AVX__)
    MM_LANES = 8,
    MM_ROWS = 4,
#else
    MM_LANES = 4,
    MM_ROWS = 4,
#endif
    MM_DEPTH = 64, /* of a panel of B: it stays in L1 */
    MM_COLS = 64,
    MM_SMALL = 1000000 /* multiplications that OpenBLAS calls small */
};

typedef float mm_vec __attribute__((vector_size(MM_LANES * sizeof(float))));

typedef struct {
    const float *a, *panel;
    float *c;
    int64_t lda, ldc, depth; /* of the panel */
    int ta;
    float alpha, beta;
} mm_block;

static inline mm_vec mm_load(const float *p)
{
    mm_vec v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* C[row .. row + ROWS, col .. col + COLS] from the panel; WIDE vectors hold
 * COLS. ROWS and WIDE are constants where this is called. */
__attribute__((always_inline)) static inline void
mm_rows(const mm_block *x, int64_t row, int rows, int64_t col, int64_t cols,
        int wide)
{
    const float *a = x->ta ? x->a + row : x->a + row * x->lda;
    int64_t across = x->ta ? 1 : x->lda, down = x->ta ? x->lda : 1;
    mm_vec sum[MM_ROWS][2] = { { { 0 } } };

    for (int64_t k = 0; k < x->depth; k++, a += down) {
        const float *b = x->panel + k * MM_COLS + col;
        mm_vec b0 = mm_load(b), b1 = wide > 1 ? mm_load(b + MM_LANES) : b0;

#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            sum[i][0] += b0 * a[i * across];
            if (wide > 1)
                sum[i][1] += b1 * a[i * across];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        float *c = x->c + (row + i) * x->ldc + col;
        float out[2 * MM_LANES];

        memcpy(out, sum[i], sizeof out);
        for (int64_t j = 0; j < cols; j++)
            c[j] = x->alpha * out[j] + (x->beta == 0 ? 0 : x->beta * c[j]);
    }
}

/* All rows of C in up to two vectors of columns. */
__attribute__((always_inline)) static inline void
mm_columns(const mm_block *x, int64_t m, int64_t col, int64_t cols, int wide)
{
    int64_t row = 0;

    for (; row + MM_ROWS <= m; row += MM_ROWS)
        mm_rows(x, row, MM_ROWS, col, cols, wide);
    for (; row < m; row++)
        mm_rows(x, row, 1, col, cols, wide);
}

static inline void mm_pack(float *panel, const float *b, int64_t ldb, int tb,
                           int64_t depth, int64_t cols)
{
    int64_t padded = (cols + MM_LANES - 1) / MM_LANES * MM_LANES;

    for (int64_t k = 0; k < depth; k++) {
        float *to = panel + k * MM_COLS;
        if (tb)
            for (int64_t j = 0; j < cols; j++)
                to[j] = b[j * ldb + k];
        else
            memcpy(to, b + k * ldb, (size_t)cols * sizeof *to);
        for (int64_t j = cols; j < padded; j++)
            to[j] = 0;
    }
}

static inline void mm_small(int ta, int tb, int64_t m, int64_t n, int64_t k,
                            float alpha, const float *a, int64_t lda,
                            const float *b, int64_t ldb, float beta, float *c,
                            int64_t ldc)
{
    float panel[MM_DEPTH * MM_COLS];

    for (int64_t j = 0; j < n; j += MM_COLS)
        for (int64_t d = 0; d < k || d == 0; d += MM_DEPTH) {
            int64_t cols = cpu_min(MM_COLS, n - j), at = 0;
            mm_block x = { .a = a + (ta ? d * lda : d),
                           .panel = panel,
                           .c = c + j,
                           .lda = lda,
                           .ldc = ldc,
                           .depth = cpu_min(MM_DEPTH, k - d),
                           .ta = ta,
                           .alpha = alpha,
                           .beta = d ? 1.0f : beta };

            mm_pack(panel, b + (tb ? j * ldb + d : d * ldb + j), ldb, tb,
                    x.depth, cols);
            for (; at + MM_LANES < cols; at += 2 * MM_LANES)
                mm_columns(&x, m, at, cpu_min(2 * MM_LANES, cols - at), 2);
            if (at < cols)
                mm_columns(&x, m, at, cols - at, 1);
        }
}

static inline void cpu_sgemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int64_t m,
                             int64_t n, int64_t k, float alpha, const float *a,
                             int64_t lda, const float *b, int64_t ldb,
                             float beta, float *c, int64_t ldc)
{
    if ((double)m * (double)n * (double)k > MM_SMALL)
        cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, alpha, a,
                    (int)lda, b, (int)ldb, beta, c, (int)ldc);
    else
        mm_small(ta == CblasTrans, tb == CblasTrans, m, n, k, alpha, a, lda, b,
                 ldb, beta, c, ldc);
}

#endif
