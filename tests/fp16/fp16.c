/* SPDX-License-Identifier: MIT
 *
 * fp16.c -- the pack `fp16` for the device cpu: linear and its gradients on
 * numbers held as fp16, by plain loops, and nf4 as fp16. With it a test trains
 * in fp16, where only a GPU would: scaled losses, steps that overflow and are
 * done again.
 */
#include <string.h>

#include "half.h"
#include "hone/nf4.h"
#include "hone/plugin.h"

/* What each code stands for: the loops take long enough. */
static float value[1 << 16];

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
    for (int i = value[1] > 0 ? 0 : 1 << 16; i > 0; i--)
        value[i - 1] = hone_f16_load((uint16_t)(i - 1));
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
                sum += value[a[r * p->a_row + k * p->a_sum]] *
                       value[b[c * p->b_col + k * p->b_sum]];
            put(p, ptr[p->out].part[0], r * p->cols + c, p->scale * sum);
        }
}

/* ---------------------------------------------------- weights held in nf4 */

typedef struct {
    hone_storage from;
    int64_t n;
} conversion;

static hone_status nf4_prepare(const hone_call *c, int threads,
                               hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(conversion);
    if (hone_is_nf4(c->type[0].storage) && c->type[1].storage == HONE_F16 &&
        c->mode[1] == HONE_WRITE)
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP, "fp16: convert: not nf4 to fp16");
}

static hone_status nf4_init(const hone_call *c, int threads, void *ctx,
                            void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(conversion *)prepared = (conversion){ c->type[0].storage,
                                            hone_count(&c->type[0]) };
    return HONE_OK;
}

static void nf4_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                    hone_stream stream)
{
    const conversion *c = prepared;
    uint16_t *to = ptr[1].part[0];

    (void)workspace;
    (void)stream;
    for (int64_t i = 0; i < c->n; i++)
        to[i] = hone_f16_round(hone_nf4_value(c->from, &ptr[0], i));
}

static const hone_kernel kernels[] = {
    { "linear", prepare, init, run },
    { "linear_dx", prepare, init, run },
    { "linear_dw", prepare, init, run },
    { "convert", nf4_prepare, nf4_init, nf4_run },
    { NULL, NULL, NULL, NULL }
};
static const hone_pack pack = { .size = sizeof pack, .device = "cpu",
                                .kernels = kernels };
static const hone_component fp16 = { .size = sizeof fp16,
                                     .kind = HONE_KIND_PACK, .name = "fp16",
                                     .help = "linears in fp16", .ops = &pack };

HONE_PLUGIN("fp16", "1.0", &fp16)
