/* SPDX-License-Identifier: MIT
 *
 * fp16.c -- the pack `fp16` for the device cpu: linear and its gradients on
 * numbers held as fp16, by plain loops. With it a test trains in fp16, where
 * only a GPU would: scaled losses, steps that overflow and are done again.
 */
#include <string.h>

#include "half.h"
#include "hone/plugin.h"

/* y[r,c] = scale * sum over k of a[r,k] b[c,k], by strides. */
typedef struct {
    int64_t rows, cols, sum, a_row, a_sum, b_col, b_sum;
    int wide, add; /* y is held as f32 */
    uint32_t out;
    float scale;
} product;

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    hone_storage out = c->type[c->nin].storage;

    (void)threads;
    if (c->compute != HONE_F16 || c->nin > 2 + !strcmp(c->op, "linear") ||
        (c->nin == 3 && c->type[2].storage != HONE_NOTHING) ||
        (out != HONE_F16 && out != HONE_F32))
        return hone_fail(err, HONE_ENOSUP, "fp16: %s: not fp16", c->op);
    need->prepared_bytes = sizeof(product);
    need->want[0] = need->want[1] = HONE_F16;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const int64_t *a = c->type[0].dim, *b = c->type[1].dim;
    product *p = prepared;

    (void)threads;
    (void)ctx;
    (void)err;
    if (!strcmp(c->op, "linear"))
        *p = (product){ a[0], b[0], a[1], a[1], 1, b[1], 1, 0, 0, 0, 0 };
    else if (!strcmp(c->op, "linear_dx"))
        *p = (product){ a[0], b[1], a[1], a[1], 1, 1, b[1], 0, 0, 0, 0 };
    else
        *p = (product){ a[1], b[1], a[0], 1, a[1], 1, b[1], 0, 0, 0, 0 };
    p->wide = c->type[c->nin].storage == HONE_F32;
    p->add = c->mode[c->nin] == HONE_ADD;
    p->out = c->nin;
    p->scale = (float)*(const double *)c->attrs;
    return HONE_OK;
}

static void put(const product *p, void *y, int64_t i, float x)
{
    float *wide = y;
    uint16_t *half = y;

    if (p->wide)
        wide[i] = x + (p->add ? wide[i] : 0);
    else
        half[i] = hone_f16_round(x + (p->add ? hone_f16_load(half[i]) : 0));
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const product *p = prepared;
    const uint16_t *a = ptr[0].part[0], *b = ptr[1].part[0];

    (void)workspace;
    (void)stream;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t c = 0; c < p->cols; c++) {
            float sum = 0;

            for (int64_t k = 0; k < p->sum; k++)
                sum += hone_f16_load(a[r * p->a_row + k * p->a_sum]) *
                       hone_f16_load(b[c * p->b_col + k * p->b_sum]);
            put(p, ptr[p->out].part[0], r * p->cols + c, p->scale * sum);
        }
}

static const hone_kernel kernels[] = { { "linear", prepare, init, run },
                                       { "linear_dx", prepare, init, run },
                                       { "linear_dw", prepare, init, run },
                                       { NULL, NULL, NULL, NULL } };
static const hone_pack pack = { .size = sizeof pack, .device = "cpu",
                                .kernels = kernels };
static const hone_component fp16 = { .size = sizeof fp16,
                                     .kind = HONE_KIND_PACK, .name = "fp16",
                                     .help = "linears in fp16", .ops = &pack };

HONE_PLUGIN("fp16", "1.0", &fp16)
