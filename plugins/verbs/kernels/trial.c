/* SPDX-License-Identifier: MIT
 *
 * trial.c -- a drawn call with its memory on a device and, in double, for the
 * reference of its op: the same values for both. See kernels.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hone/nf4.h"
#include "kernels.h"

uint32_t trial_operands(const trial *t)
{
    return t->c.call.nin + t->c.call.nout;
}

int64_t type_part_at(const hone_type *t, int p)
{
    int64_t at = 0;

    for (int i = 0; i < p; i++)
        at += (hone_type_bytes(t, i) + HONE_ALIGN - 1) / HONE_ALIGN *
              HONE_ALIGN;
    return at;
}

int64_t type_bytes(const hone_type *t)
{
    int p = 0;

    while (p + 1 < HONE_PARTS && hone_parts(t->storage)[p + 1].bytes)
        p++;
    return type_part_at(t, p) + hone_type_bytes(t, p);
}

int trial_is_output(const trial *t, uint32_t i)
{
    return i >= t->c.call.nin;
}

static const hone_operand *operand(const hone_op *op, int output, uint32_t i)
{
    const hone_operand *o = output ? op->out : op->in;

    while (i-- && o[1].name && !(o->flags & HONE_VARIADIC))
        o++;
    return o;
}

/* Every second time an output takes the bytes of the input that it may. */
static int shares(const trial *t, uint32_t out, uint64_t seed)
{
    const hone_operand *o = operand(t->c.op, 1, out);
    int in = HONE_INPLACE_OF(o->flags);

    out += t->c.call.nin;
    if (in < 0 || seed % 2 || t->c.mode[out] != HONE_WRITE ||
        type_bytes(&t->c.type[in]) != type_bytes(&t->c.type[out]))
        return -1;
    return in;
}

static int64_t lay_one(const trial *t, uint32_t i, int64_t *end)
{
    int64_t at = *end;

    *end += (type_bytes(&t->c.type[i]) / HONE_ALIGN + 2) * HONE_ALIGN;
    return at;
}

static void lay(trial *t, uint64_t seed)
{
    int64_t end = HONE_ALIGN;

    for (uint32_t i = 0; i < trial_operands(t); i++) {
        int in = trial_is_output(t, i) ? shares(t, i - t->c.call.nin, seed)
                                       : -1;
        int apart = t->adds_from && t->c.mode[i] == HONE_ADD && seed % 2;

        t->at[i] = in >= 0 ? t->at[in] : lay_one(t, i, &end);
        t->from[i] = apart ? lay_one(t, i, &end) : t->at[i];
    }
    t->slab_bytes = end;
}

/* ------------------------------------------------------------------ values */

static double value(uint64_t seed, uint32_t operand_index, int64_t i)
{
    uint32_t r[4];

    case_random(seed, operand_index + 1, (uint64_t)i, r);
    /* The middle of one of 2^32 intervals, never an end. */
    return (double)(float)(4 * (((double)r[0] + 0.5) * 0x1p-32) - 2);
}

/* Codes and scales of all kinds: any bytes, and any numbers. */
static void draw_parts(trial *t, uint32_t i, uint64_t seed)
{
    const hone_type *type = &t->ref_type[i];
    uint32_t r[4];

    for (int p = 0; p < HONE_PARTS && t->ref_ptr[i].part[p]; p++) {
        int64_t bytes = hone_type_bytes(type, p);
        int is_float = hone_parts(type->storage)[p].bytes % 4 == 0;

        for (int64_t k = 0; k < (is_float ? bytes / 4 : bytes); k++) {
            case_random(seed, 64 * (i + 1) + (uint32_t)p, (uint64_t)k, r);
            if (is_float)
                ((float *)t->ref_ptr[i].part[p])[k] = (float)value(seed, i, k);
            else
                ((uint8_t *)t->ref_ptr[i].part[p])[k] = (uint8_t)r[0];
        }
    }
}

/* Operand I of the reference; what is not plain numbers stays 0. */
static void draw_values(trial *t, uint32_t i, uint64_t seed)
{
    const hone_type *type = &t->ref_type[i];
    double *x = t->ref_ptr[i].part[0];
    uint16_t *h = t->ref_ptr[i].part[0];
    int64_t n = hone_count(type);

    if (hone_is_nf4(type->storage))
        draw_parts(t, i, seed);
    for (int64_t k = 0; k < n; k++) {
        double v = value(seed, i, k);
        int sign = v * 4096 - floor(v * 4096) < 0.5 ? 0x8000 : 0;

        if (type->storage == HONE_F64)
            x[k] = v;
        else if (type->storage == HONE_BF16) /* a few bits of the exponent */
            h[k] = (uint16_t)(sign | (0x3f80 - 256 + (int)(v * 128)));
        else if (type->storage == HONE_F16)
            h[k] = (uint16_t)(sign | (0x3c00 - 1024 + (int)(v * 1024)));
    }
}

static int is_codes(hone_storage s)
{
    return s == HONE_FP8 || s == HONE_FP8_TURNED;
}

/* e4m3: a sign, 4 bits of exponent with a bias of 7, 3 of mantissa. */
static double e4m3_value(int code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    double x = exponent ? ldexp(8 + mantissa, exponent - 10)
                        : ldexp(mantissa, -9);

    if ((code & 0x7f) == 0x7f)
        x = NAN;
    return code & 0x80 ? -x : x;
}

/* The nearest, of two the even one; 448 for what is larger. */
static uint8_t e4m3_code(float x)
{
    int e, code;

    frexpf(x, &e);
    e = x != 0 && e > -5 ? e - 1 : -6;
    code = 8 * (e + 6) + (int)rintf(ldexpf(fabsf(x), 3 - e));
    return (uint8_t)((code < 0x7e ? code : 0x7e) | (signbit(x) ? 0x80 : 0));
}

/* Where element K of a matrix of codes has its code; and its scale. */
static int64_t code_at(const hone_type *t, int64_t k, int64_t *scale)
{
    int64_t row = k / t->dim[1], column = k % t->dim[1];
    int turned = t->storage == HONE_FP8_TURNED;

    *scale = turned ? column : row;
    return turned ? column * t->dim[0] + row : k;
}

/* Numbers to codes and their scales, with which the largest becomes 448.
 * ALIKE: one scale for all. */
static void to_codes(const hone_type *type, int alike, double *x, char *to)
{
    int64_t n = hone_count(type), at, s;
    float *scale = (float *)(to + type_part_at(type, 1)), top = 0;

    memset(scale, 0, (size_t)hone_type_bytes(type, 1));
    for (int64_t k = 0; k < n; k++) {
        code_at(type, k, &s);
        scale[s] = fmaxf(scale[s], fabsf((float)x[k]));
        top = fmaxf(top, scale[s]);
    }
    for (s = 0; s < hone_type_bytes(type, 1) / (int64_t)sizeof *scale; s++) {
        scale[s] = alike ? top : scale[s];
        scale[s] = scale[s] > 0 ? scale[s] / 448 : 1;
    }
    for (int64_t k = 0; k < n; k++) {
        at = code_at(type, k, &s);
        to[at] = (char)e4m3_code((float)x[k] / scale[s]);
        x[k] = e4m3_value((uint8_t)to[at]) * (double)scale[s];
    }
}

double type_number(const hone_type *type, const void *at, int64_t k)
{
    hone_storage s = type->storage;
    uint32_t bits, half;
    int64_t code, scale;
    float f;

    if (is_codes(s)) {
        code = code_at(type, k, &scale);
        return e4m3_value(((const uint8_t *)at)[code]) *
               (double)((const float *)((const char *)at +
                                        type_part_at(type, 1)))[scale];
    }
    if (s == HONE_F64)
        return ((const double *)at)[k];
    if (s == HONE_F32)
        return (double)((const float *)at)[k];
    half = ((const uint16_t *)at)[k];
    if (s == HONE_BF16) {
        bits = half << 16;
        memcpy(&f, &bits, sizeof f);
        return (double)f;
    }
    if ((half & 0x7c00) == 0x7c00)
        return half & 0x3ff ? NAN : half & 0x8000 ? -INFINITY : INFINITY;
    return (half & 0x8000 ? -1 : 1) *
           ldexp((half & 0x3ff) + (half & 0x7c00 ? 1024 : 0),
                 (int)(half >> 10 & 31 ? half >> 10 & 31 : 1) - 25);
}

/* From the reference's operand to the slab; its own copy is rounded too. */
static void to_slab(trial *t, uint32_t i)
{
    int64_t n = hone_count(&t->c.type[i]);
    double *x = t->ref_ptr[i].part[0];
    float *to = (float *)(t->before + t->from[i]);

    if (t->c.type[i].storage == HONE_NOTHING)
        return;
    if (is_codes(t->c.type[i].storage)) { /* only weights are turned */
        to_codes(&t->c.type[i], !strcmp(t->c.call.op, "convert"), x,
                 t->before + t->from[i]);
        return;
    }
    if (t->ref_type[i].storage != HONE_F64) {
        memcpy(to, x, (size_t)type_bytes(&t->c.type[i]));
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        to[k] = (float)x[k];
        x[k] = (double)to[k];
    }
}

/* Zeroed; NULL, and the error, where there is none. */
static void *take(int64_t bytes, hone_err *err)
{
    void *memory = calloc(1, (size_t)bytes + 1);

    if (!memory)
        hone_fail(err, HONE_EIO, "out of memory for %lld bytes",
                  (long long)bytes);
    return memory;
}

static hone_status draw_all(trial *t, uint64_t seed, int sample, hone_err *err)
{
    t->ref = t->c.call;
    t->ref.type = t->ref_type;
    t->ref.compute = HONE_F64;
    for (uint32_t i = 0; i < trial_operands(t); i++) {
        hone_type *type = &t->ref_type[i];

        *type = t->c.type[i];
        if (type->storage == HONE_F32 || is_codes(type->storage))
            type->storage = HONE_F64;
        if (type->storage == HONE_NOTHING)
            continue; /* absent */
        t->ref_ptr[i].part[0] = take(type_bytes(type), err);
        if (!t->ref_ptr[i].part[0])
            return HONE_EIO;
        for (int p = 1; p < HONE_PARTS && hone_parts(type->storage)[p].bytes;
             p++)
            t->ref_ptr[i].part[p] = (char *)t->ref_ptr[i].part[0] +
                                    type_part_at(type, p);
        if (!trial_is_output(t, i) || t->c.mode[i] != HONE_WRITE)
            draw_values(t, i, seed);
    }
    if (sample && t->c.op->sample)
        t->c.op->sample(&t->ref, seed, t->ref_ptr);
    return HONE_OK;
}

/* Integers without the op's sample, which for a call this large takes the
 * reference minutes: one document, tokens below the limit. */
static void big_integers(trial *t, uint64_t seed)
{
    for (uint32_t i = 0; i < t->c.call.nin; i++) {
        int32_t *x = t->ref_ptr[i].part[0];
        int64_t n = hone_count(&t->c.type[i]);
        const char *name = operand(t->c.op, 0, i)->name;

        if (t->c.type[i].storage != HONE_I32)
            continue;
        for (int64_t k = 0; k < n; k++) {
            uint32_t r[4];
            case_random(seed, i + 1, (uint64_t)k, r);
            x[k] = (int32_t)(r[0] % (uint64_t)t->c.limit);
            if (!strcmp(name, "index")) /* no row twice */
                x[k] = (int32_t)(k % t->c.limit);
        }
        if (!strcmp(name, "docs")) {
            x[0] = x[2] = 0;
            x[1] = x[3] = (int32_t)t->c.type[i - 1].dim[0];
        }
    }
}

/* ------------------------------------------------------------- the machine */

static hone_status prepare(trial *t, const kernel_bench *b,
                           const hone_kernel *k, hone_err *err)
{
    hone_storage want[CASE_OPERANDS];
    hone_need need = { .size = sizeof need, .want = want };

    for (uint32_t i = 0; i < trial_operands(t); i++)
        want[i] = t->c.type[i].storage;
    t->c.call.device = b->info;
    hone_try(k->prepare(&t->c.call, b->threads, &need, err));
    if (t->c.copies && !need.twice)
        return hone_fail(err, HONE_ENOSUP, "%s: nothing is written twice",
                         k->op);
    for (uint32_t i = 0; i < t->c.call.nin; i++)
        t->c.type[i].storage = want[i]; /* as if it had been converted */
    t->prepared = take(need.prepared_bytes, err);
    if (!t->prepared)
        return HONE_EIO;
    t->workspace_bytes = need.workspace_bytes;
    t->adds_from = need.adds_from;
    return k->init(&t->c.call, b->threads, b->dev, t->prepared, err);
}

static hone_status reserve(trial *t, const kernel_bench *b, hone_err *err)
{
    hone_try(b->device->stream_open(b->dev, &t->stream, err));
    t->streaming = 1;
    hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE, t->slab_bytes,
                                &t->slab, err));
    hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE,
                                t->workspace_bytes + HONE_ALIGN, &t->workspace,
                                err));
    for (uint32_t i = 0; i < trial_operands(t); i++)
        for (int p = 0; p < HONE_PARTS; p++)
            if (hone_parts(t->c.type[i].storage)[p].bytes)
                t->ptr[i].part[p] = (char *)t->slab + t->at[i] +
                                    type_part_at(&t->c.type[i], p);
    for (uint32_t i = t->c.call.nin; i < trial_operands(t); i++)
        t->ptr[i + t->c.call.nout].part[0] = (char *)t->slab + t->from[i];
    return HONE_OK;
}

void trial_close(trial *t, const kernel_bench *b)
{
    if (t->workspace)
        b->device->release(b->dev, HONE_DEVICE_SPACE, t->workspace);
    if (t->slab)
        b->device->release(b->dev, HONE_DEVICE_SPACE, t->slab);
    if (t->streaming)
        b->device->stream_close(b->dev, t->stream);
    for (int i = 0; i < CASE_OPERANDS; i++)
        free(t->ref_ptr[i].part[0]);
    free(t->before);
    free(t->prepared);
    free(t->attrs);
}

/* The slab three times over, and in the first what the call starts from. */
static hone_status take_images(trial *t, hone_err *err)
{
    t->before = take(3 * t->slab_bytes, err);
    if (!t->before)
        return HONE_EIO;
    t->host = t->before + t->slab_bytes;
    t->again = t->host + t->slab_bytes;
    memset(t->before, GAP, (size_t)t->slab_bytes);
    for (uint32_t i = 0; i < trial_operands(t); i++)
        if (!trial_is_output(t, i) || t->c.mode[i] != HONE_WRITE)
            to_slab(t, i);
    return HONE_OK;
}

hone_status trial_open(trial *t, const kernel_bench *b, const hone_kernel *k,
                       const hone_component *op, uint64_t seed, int big,
                       hone_err *err)
{
    *t = (trial){ .slab = NULL };
    t->attrs = take((int64_t)op->config_size, err);
    if (!t->attrs)
        return HONE_EIO;
    hone_try(case_draw(&t->c, op, seed, big, b->compute, t->attrs, err));
    hone_try(prepare(t, b, k, err));
    lay(t, seed / 2);
    hone_try(draw_all(t, seed, !big, err));
    if (big)
        big_integers(t, seed);
    hone_try(take_images(t, err));
    return reserve(t, b, err);
}

/* One run on the operands as they were drawn; the slab comes to TO. */
static hone_status run_into(trial *t, const kernel_bench *b,
                            const hone_kernel *k, char *to, hone_err *err)
{
    b->device->fill(b->dev, t->workspace, GAP, t->workspace_bytes + HONE_ALIGN,
                    t->stream);
    b->device->copy(b->dev, t->slab, t->before, t->slab_bytes, HONE_TO_DEVICE,
                    t->stream);
    k->run(t->prepared, t->ptr, t->workspace, t->stream);
    b->device->copy(b->dev, to, t->slab, t->slab_bytes, HONE_TO_HOST,
                    t->stream);
    return b->device->sync(b->dev, t->stream, err);
}

hone_status trial_run(trial *t, const kernel_bench *b, const hone_kernel *k,
                      hone_err *err)
{
    hone_try(run_into(t, b, k, t->host, err));
    hone_try(run_into(t, b, k, t->again, err));
    if (memcmp(t->host, t->again, (size_t)t->slab_bytes))
        return hone_fail(err, HONE_EIO, "%s: two runs give different bits",
                         t->c.call.op);
    return HONE_OK;
}
