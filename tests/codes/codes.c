/* SPDX-License-Identifier: MIT
 *
 * codes.c -- the pack `codes` for the device cpu: linear and linear_dx of
 * weights held as e4m3, by plain loops. A test runs with it what else only a
 * GPU does: loading codes, planning for them, training beside them.
 */
#include <math.h>
#include <string.h>

#include "hone/plugin.h"

typedef struct {
    int64_t t, o, i;
    int dx, add, bias, out;
    double scale;
} product;

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    if (c->type[1].storage != HONE_FP8 || c->compute != HONE_F32)
        return hone_fail(err, HONE_ENOSUP, "codes: %s: not fp8 in fp32", c->op);
    need->prepared_bytes = sizeof(product);
    need->workspace_bytes = hone_count(&c->type[1]) * (int64_t)sizeof(float);
    need->want[0] = need->want[c->nin] = HONE_F32;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(product *)prepared = (product){
        .t = c->type[0].dim[0], .o = c->type[1].dim[0],
        .i = c->type[1].dim[1], .dx = !strcmp(c->op, "linear_dx"),
        .add = c->mode[c->nin] == HONE_ADD,
        .bias = c->nin > 2 && c->type[2].storage != HONE_NOTHING,
        .out = (int)c->nin, .scale = *(const double *)c->attrs };
    return HONE_OK;
}

static float number(unsigned code)
{
    int exponent = (int)(code >> 3 & 15), mantissa = (int)(code & 7);
    float x = ldexpf((float)(exponent ? 8 + mantissa : mantissa),
                     (exponent ? exponent : 1) - 10);

    return code & 0x80 ? -x : x;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const product *p = prepared;
    const unsigned char *codes = ptr[1].part[0];
    const float *x = ptr[0].part[0], *bias = ptr[2].part[0];
    float *y = ptr[p->out].part[0];
    float scale = (float)p->scale * *(const float *)ptr[1].part[1];
    float *w = workspace, of[256];
    int64_t from = p->dx ? p->o : p->i, to = p->dx ? p->i : p->o;

    (void)stream;
    for (unsigned c = 0; c < 256; c++)
        of[c] = number(c) * scale;
    for (int64_t o = 0; o < p->o; o++) /* w as [from, to] */
        for (int64_t i = 0; i < p->i; i++)
            w[p->dx ? o * p->i + i : i * p->o + o] = of[codes[o * p->i + i]];
    for (int64_t t = 0; t < p->t; t++) {
        float *row = y + t * to;

        for (int64_t k = 0; k < to && !p->add; k++)
            row[k] = 0;
        for (int64_t k = 0; k < to && p->bias; k++)
            row[k] += bias[k];
        for (int64_t f = 0; f < from; f++)
            for (int64_t k = 0; k < to; k++)
                row[k] += x[t * from + f] * w[f * to + k];
    }
}

static const hone_kernel kernels[] = { { "linear", prepare, init, run },
                                       { "linear_dx", prepare, init, run },
                                       { NULL, NULL, NULL, NULL } };
static const hone_pack pack = { .size = sizeof pack, .device = "cpu",
                                .kernels = kernels };
static const hone_component codes = { .size = sizeof codes,
                                      .kind = HONE_KIND_PACK, .name = "codes",
                                      .help = "linears of fp8 weights",
                                      .ops = &pack };

HONE_PLUGIN("codes", "1.0", &codes)
