/* SPDX-License-Identifier: MIT
 *
 * codes.c -- the pack `codes` for the device cpu: linear and linear_dx of
 * factors held as e4m3, the conversions to those, and swiglu that codes its
 * result on the way, by plain loops. A test runs with it what else only a GPU
 * does: loading codes, holding them twice, planning and training with them.
 */
#include <math.h>
#include <string.h>

#include "hone/plugin.h"

typedef struct {
    int64_t t, o, i;
    int dx, add, bias, out;
    double scale;
} product;

static hone_status product_prepare(const hone_call *c, int threads,
                                   hone_need *need, hone_err *err)
{
    int dx = !strcmp(c->op, "linear_dx");
    hone_storage w = c->type[1].storage;

    (void)threads;
    if ((w != HONE_FP8 && w != HONE_FP8_TURNED) || c->compute != HONE_F32)
        return hone_fail(err, HONE_ENOSUP, "codes: %s: not fp8 in fp32", c->op);
    need->prepared_bytes = sizeof(product);
    need->workspace_bytes = hone_count(&c->type[1]) * (int64_t)sizeof(float);
    need->want[0] = HONE_FP8;
    need->want[1] = dx ? HONE_FP8_TURNED : HONE_FP8;
    need->want[c->nin] = HONE_F32;
    return HONE_OK;
}

static hone_status product_init(const hone_call *c, int threads, void *ctx,
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

/* Both factors have the summed axis innermost, and a scale for each row. */
static void product_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const product *p = prepared;
    const unsigned char *x = ptr[0].part[0], *w = ptr[1].part[0];
    const float *xs = ptr[0].part[1], *ws = ptr[1].part[1];
    const float *bias = ptr[2].part[0];
    float *y = ptr[p->out].part[0], *lines = workspace, of[256];
    int64_t from = p->dx ? p->o : p->i, to = p->dx ? p->i : p->o;

    (void)stream;
    for (unsigned c = 0; c < 256; c++)
        of[c] = number(c);
    for (int64_t k = 0; k < to; k++)
        for (int64_t f = 0; f < from; f++)
            lines[f * to + k] = of[w[k * from + f]] * ws[k];
    for (int64_t t = 0; t < p->t; t++) {
        float *row = y + t * to;

        for (int64_t k = 0; k < to && !p->add; k++)
            row[k] = p->bias ? bias[k] : 0;
        for (int64_t f = 0; f < from; f++) {
            float one = of[x[t * from + f]] * xs[t] * (float)p->scale;

            for (int64_t k = 0; k < to; k++)
                row[k] += one * lines[f * to + k];
        }
    }
}

/* --------------------------------------------------------------- to codes */

typedef struct {
    int64_t rows, columns;
    int back; /* to numbers */
} matrix;

/* Of what is at most 448. */
static unsigned code(float x)
{
    int exponent, eighths;

    (void)frexpf(x, &exponent);
    /* Below that they are equally far apart. */
    exponent = x == 0 || exponent < -5 ? -5 : exponent;
    eighths = (int)rintf(ldexpf(fabsf(x), 4 - exponent)); /* 16: the next */
    return (unsigned)((exponent + 5) * 8 + eighths) | (signbit(x) ? 0x80 : 0);
}

static void code_row(const float *x, int64_t n, unsigned char *to, float *scale)
{
    float top = 1e-30f;

    for (int64_t i = 0; i < n; i++)
        top = fmaxf(top, fabsf(x[i]));
    *scale = top / 448;
    for (int64_t i = 0; i < n; i++)
        to[i] = (unsigned char)code(x[i] / *scale);
}

static hone_status matrix_init(const hone_call *c, int threads, void *ctx,
                               void *prepared, hone_err *err)
{
    (void)threads;
    (void)ctx;
    (void)err;
    *(matrix *)prepared = (matrix){ c->type[0].dim[0], c->type[0].dim[1],
                                    c->type[1].storage == HONE_F32 };
    return HONE_OK;
}

static hone_status convert_prepare(const hone_call *c, int threads,
                                   hone_need *need, hone_err *err)
{
    hone_storage from = c->type[0].storage, to = c->type[1].storage;

    (void)threads;
    if (!(from == HONE_F32 && to == HONE_FP8) &&
        !(from == HONE_FP8 && (to == HONE_FP8_TURNED || to == HONE_F32)))
        return hone_fail(err, HONE_ENOSUP, "codes: convert: no codes");
    need->prepared_bytes = sizeof(matrix);
    return HONE_OK;
}

static void convert_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const matrix *m = prepared;
    const unsigned char *from = ptr[0].part[0];
    const float *one = ptr[0].part[1];
    unsigned char *to = ptr[1].part[0];
    float *scale = ptr[1].part[1];

    (void)workspace;
    (void)stream;
    for (int64_t i = 0; i < m->rows * m->columns && m->back; i++)
        ((float *)ptr[1].part[0])[i] = number(from[i]) * one[i / m->columns];
    if (m->back)
        return;
    for (int64_t r = 0; r < m->rows && !one; r++)
        code_row((const float *)ptr[0].part[0] + r * m->columns, m->columns,
                 to + r * m->columns, &scale[r]);
    for (int64_t i = 0; i < m->columns && one; i++) {
        scale[i] = *one;
        for (int64_t r = 0; r < m->rows; r++)
            to[i * m->rows + r] = from[r * m->columns + i];
    }
}

static hone_status swiglu_prepare(const hone_call *c, int threads,
                                  hone_need *need, hone_err *err)
{
    (void)threads;
    if (c->nout != 2 || c->type[3].storage != HONE_FP8)
        return hone_fail(err, HONE_ENOSUP, "codes: swiglu: no codes");
    need->prepared_bytes = sizeof(matrix);
    need->twice = 1;
    return HONE_OK;
}

static void swiglu_run(const void *prepared, const hone_ptr *ptr,
                       void *workspace, hone_stream stream)
{
    const matrix *m = prepared;
    const float *gate = ptr[0].part[0], *up = ptr[1].part[0];
    float *y = ptr[2].part[0];

    (void)workspace;
    (void)stream;
    for (int64_t i = 0; i < m->rows * m->columns; i++)
        y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
    for (int64_t r = 0; r < m->rows; r++)
        code_row(y + r * m->columns, m->columns,
                 (unsigned char *)ptr[3].part[0] + r * m->columns,
                 (float *)ptr[3].part[1] + r);
}

static const hone_kernel kernels[] = {
    { "linear", product_prepare, product_init, product_run },
    { "linear_dx", product_prepare, product_init, product_run },
    { "convert", convert_prepare, matrix_init, convert_run },
    { "swiglu", swiglu_prepare, matrix_init, swiglu_run },
    { NULL, NULL, NULL, NULL }
};
static const hone_pack pack = { .size = sizeof pack, .device = "cpu",
                                .kernels = kernels };
static const hone_component codes = { .size = sizeof codes,
                                      .kind = HONE_KIND_PACK, .name = "codes",
                                      .help = "linears of fp8 factors",
                                      .ops = &pack };

HONE_PLUGIN("codes", "1.0", &codes)
