/* SPDX-License-Identifier: MIT
 *
 * split.c -- split and join: columns of rows, copied row by row.
 */
#include "cpu.h"

typedef struct {
    int threads;
    int64_t rows, left, right; /* columns of the two parts */
} cut;

typedef struct {
    const cut *c;
    float *whole, *left, *right;
} cut_args;

static hone_status cut_prepare(const hone_call *c, int threads,
                               hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(cut);
    return cpu_want_f32(c, need, err);
}

static hone_status cut_init(const hone_call *c, int threads, void *ctx,
                            void *prepared, hone_err *err)
{
    /* split: whole, left, right; join: left, right, whole */
    const hone_type *left = &c->type[strcmp(c->op, "join") ? 1 : 0];

    (void)ctx;
    (void)err;
    *(cut *)prepared = (cut){ threads, left->dim[0], left->dim[1],
                              left[1].dim[1] };
    return HONE_OK;
}

static void split_range(const void *arg, int64_t first, int64_t last, int part)
{
    const cut_args *k = arg;
    const int64_t l = k->c->left, r = k->c->right;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        const float *row = k->whole + t * (l + r);
        memcpy(k->left + t * l, row, (size_t)l * sizeof *row);
        memcpy(k->right + t * r, row + l, (size_t)r * sizeof *row);
    }
}

static void join_range(const void *arg, int64_t first, int64_t last, int part)
{
    const cut_args *k = arg;
    const int64_t l = k->c->left, r = k->c->right;

    (void)part;
    for (int64_t t = first; t < last; t++) {
        float *row = k->whole + t * (l + r);
        memcpy(row, k->left + t * l, (size_t)l * sizeof *row);
        memcpy(row + l, k->right + t * r, (size_t)r * sizeof *row);
    }
}

static void split_run(const void *prepared, const hone_ptr *ptr,
                      void *workspace, hone_stream stream)
{
    const cut *c = prepared;
    cut_args k = { c, ptr[0].part[0], ptr[1].part[0], ptr[2].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(c->threads, c->rows, CPU_GRAIN / (c->left + c->right), split_range,
            &k);
}

static void join_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const cut *c = prepared;
    cut_args k = { c, ptr[2].part[0], ptr[0].part[0], ptr[1].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(c->threads, c->rows, CPU_GRAIN / (c->left + c->right), join_range,
            &k);
}

CPU_KERNELS(split) = { { "split", cut_prepare, cut_init, split_run },
                       { "join", cut_prepare, cut_init, join_run },
                       { NULL, NULL, NULL, NULL } };
