/* SPDX-License-Identifier: MIT
 *
 * kernels_check.c -- runs a drawn call twice: by the kernel, on its device,
 * and by the op's reference in double, on the same values. All operands lie in
 * one slab, gaps of a known byte between them: the whole slab comes back, so
 * that a write outside an output shows.
 */
#include "kernels_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "e4m3.h"
#include "hone/nf4.h"
#include "rng.h"

enum { GAP = 0xA5 };

/* Of timing: sets of operands are more than caches hold. */
enum { MOST_SETS = 16, RUNS = 2, BATCHES = 15, DEVICE_BYTES = 256 << 20,
       HOST_BYTES = 64 << 20 };

/* A call with its memory, and images of the slab: before the run, after it,
 * after another one. */
typedef struct {
    hone_case c;
    int64_t at[HONE_CASE_OPERANDS]; /* offsets in the slab */
    int64_t from[HONE_CASE_OPERANDS]; /* of what outputs add to */
    int adds_from;
    int64_t slab_bytes, workspace_bytes;
    char *before, *host, *again;
    void *slab, *workspace, *prepared;
    hone_ptr ptr[2 * HONE_CASE_OPERANDS];
    hone_call ref; /* the call of the reference, fp32 as fp64 */
    hone_type ref_type[HONE_CASE_OPERANDS];
    hone_ptr ref_ptr[HONE_CASE_OPERANDS];
    hone_stream stream;
    int streaming; /* the stream is open */
    hone_arena arena;
} trial;

static uint32_t operands(const trial *t)
{
    return t->c.call.nin + t->c.call.nout;
}

/* Where part P of an operand begins. */
static int64_t part_at(const hone_type *t, int p)
{
    int64_t at = 0;

    for (int i = 0; i < p; i++)
        at += (hone_type_bytes(t, i) + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
    return at;
}

static int64_t bytes_of(const hone_type *t)
{
    int p = 0;

    while (p + 1 < HONE_PARTS && hone_parts(t->storage)[p + 1].bytes)
        p++;
    return part_at(t, p) + hone_type_bytes(t, p);
}

static int is_output(const trial *t, uint32_t i)
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

    if (in < 0 || seed % 2 || t->c.mode[t->c.call.nin + out] != HONE_WRITE ||
        bytes_of(&t->c.type[in]) != bytes_of(&t->c.type[t->c.call.nin + out]))
        return -1;
    return in;
}

static int64_t lay_one(const trial *t, uint32_t i, int64_t *end)
{
    int64_t at = *end;

    *end += (bytes_of(&t->c.type[i]) / HONE_ALIGN + 2) * HONE_ALIGN;
    return at;
}

static void lay(trial *t, uint64_t seed)
{
    int64_t end = HONE_ALIGN;

    for (uint32_t i = 0; i < operands(t); i++) {
        int in = is_output(t, i) ? shares(t, i - t->c.call.nin, seed) : -1;
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

    hone_rng_draw(seed, operand_index + 1, (uint64_t)i, r);
    return (double)(float)(4 * hone_rng_unit(r[0]) - 2);
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
            hone_rng_draw(seed, 64 * (i + 1) + (uint32_t)p, (uint64_t)k, r);
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

/* Where element K of a matrix of codes has its code; and its scale. */
static int64_t code_at(const hone_type *t, int64_t k, int64_t *scale)
{
    int64_t row = k / t->dim[1], column = k % t->dim[1];
    int turned = t->storage == HONE_FP8_TURNED;

    *scale = turned ? column : row;
    return turned ? column * t->dim[0] + row : k;
}

/* Numbers to codes and their scales. ALIKE: one scale for all. */
static void to_codes(const hone_type *type, int alike, double *x, char *to)
{
    int64_t n = hone_count(type), at, s;
    float *scale = (float *)(to + part_at(type, 1)), top = 0, one;

    memset(scale, 0, (size_t)hone_type_bytes(type, 1));
    for (int64_t k = 0; k < n; k++) {
        code_at(type, k, &s);
        one = (float)x[k];
        top = hone_e4m3_top(top, &one, 1);
        scale[s] = hone_e4m3_top(scale[s], &one, 1);
    }
    for (s = 0; s < hone_type_bytes(type, 1) / (int64_t)sizeof *scale; s++)
        scale[s] = hone_e4m3_scale(alike ? top : scale[s]);
    for (int64_t k = 0; k < n; k++) {
        at = code_at(type, k, &s);
        one = (float)x[k];
        hone_e4m3_codes((uint8_t *)to + at, &one, scale[s], 1);
        x[k] = (double)hone_e4m3_load((uint8_t)to[at]) * (double)scale[s];
    }
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
        memcpy(to, x, (size_t)bytes_of(&t->c.type[i]));
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        to[k] = (float)x[k];
        x[k] = (double)to[k];
    }
}

static void draw_all(trial *t, uint64_t seed, int sample)
{
    t->ref = t->c.call;
    t->ref.type = t->ref_type;
    t->ref.compute = HONE_F64;
    for (uint32_t i = 0; i < operands(t); i++) {
        hone_type *type = &t->ref_type[i];

        *type = t->c.type[i];
        if (type->storage == HONE_F32 || is_codes(type->storage))
            type->storage = HONE_F64;
        if (type->storage == HONE_NOTHING)
            continue;
        t->ref_ptr[i].part[0] =
            hone_alloc(&t->arena, (size_t)bytes_of(type) + 1);
        for (int p = 1; p < HONE_PARTS && hone_parts(type->storage)[p].bytes;
             p++)
            t->ref_ptr[i].part[p] = (char *)t->ref_ptr[i].part[0] +
                                    part_at(type, p);
        if (!is_output(t, i) || t->c.mode[i] != HONE_WRITE)
            draw_values(t, i, seed);
    }
    if (sample && t->c.op->sample)
        t->c.op->sample(&t->ref, seed, t->ref_ptr);
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
            hone_rng_draw(seed, i + 1, (uint64_t)k, r);
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

static hone_status prepare(trial *t, const hone_bench *b, const hone_kernel *k,
                           hone_err *err)
{
    hone_storage want[HONE_CASE_OPERANDS];
    hone_need need = { .size = sizeof need, .want = want };

    for (uint32_t i = 0; i < operands(t); i++)
        want[i] = t->c.type[i].storage;
    t->c.call.device = b->info;
    hone_try(k->prepare(&t->c.call, b->threads, &need, err));
    if (t->c.copies && !need.twice)
        return hone_fail(err, HONE_ENOSUP, "%s: nothing is written twice",
                         k->op);
    for (uint32_t i = 0; i < t->c.call.nin; i++)
        t->c.type[i].storage = want[i]; /* as if it had been converted */
    t->prepared = hone_alloc(&t->arena, (size_t)need.prepared_bytes + 1);
    t->workspace_bytes = need.workspace_bytes;
    t->adds_from = need.adds_from;
    return k->init(&t->c.call, b->threads, b->dev, t->prepared, err);
}

static hone_status reserve(trial *t, const hone_bench *b, hone_err *err)
{
    hone_try(b->device->stream_open(b->dev, &t->stream, err));
    t->streaming = 1;
    hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE, t->slab_bytes,
                                &t->slab, err));
    hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE,
                                t->workspace_bytes + HONE_ALIGN, &t->workspace,
                                err));
    for (uint32_t i = 0; i < operands(t); i++)
        for (int p = 0; p < HONE_PARTS; p++)
            if (hone_parts(t->c.type[i].storage)[p].bytes)
                t->ptr[i].part[p] = (char *)t->slab + t->at[i] +
                                    part_at(&t->c.type[i], p);
    for (uint32_t i = t->c.call.nin; i < operands(t); i++)
        t->ptr[i + t->c.call.nout].part[0] = (char *)t->slab + t->from[i];
    return HONE_OK;
}

static void release(trial *t, const hone_bench *b)
{
    if (t->workspace)
        b->device->release(b->dev, HONE_DEVICE_SPACE, t->workspace);
    if (t->slab)
        b->device->release(b->dev, HONE_DEVICE_SPACE, t->slab);
    if (t->streaming)
        b->device->stream_close(b->dev, t->stream);
    hone_arena_free(&t->arena);
}

/* Draws a call and sets it up as far as run(). */
static hone_status set_up(trial *t, const hone_bench *b, const hone_kernel *k,
                          const hone_component *op, uint64_t seed, int big,
                          hone_err *err)
{
    hone_try(hone_case_draw(&t->c, op, seed, big, b->compute, &t->arena, err));
    hone_try(prepare(t, b, k, err));
    lay(t, seed / 2);
    draw_all(t, seed, !big);
    if (big)
        big_integers(t, seed);
    t->before = hone_alloc(&t->arena, (size_t)t->slab_bytes);
    t->host = hone_alloc(&t->arena, (size_t)t->slab_bytes);
    t->again = hone_alloc(&t->arena, (size_t)t->slab_bytes);
    memset(t->before, GAP, (size_t)t->slab_bytes);
    for (uint32_t i = 0; i < operands(t); i++)
        if (!is_output(t, i) || t->c.mode[i] != HONE_WRITE)
            to_slab(t, i);
    return reserve(t, b, err);
}

/* One run on the operands as they were drawn; the slab comes to TO. */
static hone_status run_into(trial *t, const hone_bench *b, const hone_kernel *k,
                            char *to, hone_err *err)
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

/* Twice: the bits must be the same. */
static hone_status run(trial *t, const hone_bench *b, const hone_kernel *k,
                       hone_err *err)
{
    hone_try(run_into(t, b, k, t->host, err));
    hone_try(run_into(t, b, k, t->again, err));
    if (memcmp(t->host, t->again, (size_t)t->slab_bytes))
        return hone_fail(err, HONE_EIO, "%s: two runs give different bits",
                         t->c.call.op);
    return HONE_OK;
}

/* ------------------------------------------------------------- the verdict */

/* All but outputs must be what it was, and so must the workspace's end. */
static hone_status check_gaps(trial *t, const hone_bench *b, hone_err *err)
{
    unsigned char end[HONE_ALIGN];

    b->device->copy(b->dev, end, (char *)t->workspace + t->workspace_bytes,
                    HONE_ALIGN, HONE_TO_HOST, t->stream);
    hone_try(b->device->sync(b->dev, t->stream, err));
    for (int i = 0; i < HONE_ALIGN; i++)
        if (end[i] != GAP)
            return hone_fail(err, HONE_EIO,
                             "%s: writes beyond the %lld bytes of workspace "
                             "that it asked for",
                             t->c.call.op, (long long)t->workspace_bytes);
    for (uint32_t i = t->c.call.nin; i < operands(t); i++)
        memcpy(t->before + t->at[i], t->host + t->at[i],
               (size_t)bytes_of(&t->c.type[i]));
    for (int64_t i = 0; i < t->slab_bytes; i++)
        if (t->before[i] != t->host[i])
            return hone_fail(err, HONE_EIO, "%s: writes outside its outputs",
                             t->c.call.op);
    return HONE_OK;
}

/* Element K of an operand as a number. */
static double number(const hone_type *type, const void *at, int64_t k)
{
    hone_storage s = type->storage;
    uint32_t bits, half;
    int64_t code, scale;
    float f;

    if (is_codes(s)) {
        code = code_at(type, k, &scale);
        return (double)hone_e4m3_load(((const uint8_t *)at)[code]) *
               (double)((const float *)((const char *)at +
                                        part_at(type, 1)))[scale];
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

/* The largest number that operand I should have. */
static double largest(const trial *t, uint32_t i)
{
    double top = 0;

    for (int64_t k = 0; k < hone_count(&t->ref_type[i]); k++)
        top = fmax(top, fabs(number(&t->ref_type[i], t->ref_ptr[i].part[0],
                                    k)));
    return top;
}

/* FLOOR: of what is so small beside other outputs only this share counts. A
 * gradient whose terms cancel is all rounding. */
static void compare(const trial *t, uint32_t i, double floor_top,
                    hone_verdict *v)
{
    hone_storage s = t->c.type[i].storage;
    double bound = t->c.op->tolerance > 0 ? t->c.op->tolerance : 1e-5;
    double top = fmax(largest(t, i), floor_top), worst = 0;
    int64_t n = hone_count(&t->c.type[i]), other = 0;

    v->bound = bound;
    if (s == HONE_BF16 && bound > 1e-5)
        bound = 0x1p-6; /* factors of the sums are rounded too */
    else if (s == HONE_BF16)
        bound = 0x1p-7; /* one unit, where the rounding is a close call */
    else if (s == HONE_F16)
        bound = bound > 1e-5 ? 0x1p-9 : 0x1p-10;
    if (s == HONE_FP8)
        bound = 0x1p-4; /* half a unit of 3 bits, of what is rounded already */
    for (int64_t k = 0; k < n; k++) {
        double want = number(&t->ref_type[i], t->ref_ptr[i].part[0], k);
        double got = number(&t->c.type[i], t->host + t->at[i], k);
        double off = fabs(got - want);

        other += got != want;
        if (got != want && !(off <= worst)) /* NaN counts as infinite */
            worst = off == off ? off : INFINITY;
    }
    worst /= fmax(top, 1e-30);
    v->worst = fmax(v->worst, worst);
    v->error = fmax(v->error, worst / bound);
    /* Wrong random bits are off by one unit, as close calls are; but often. */
    if (s == HONE_BF16 && !strcmp(t->c.call.op, "map") && other > n / 16 + 4)
        v->error = INFINITY;
}

/* What was written twice is to be what the op's own output is. */
static void reference_copies(trial *t)
{
    uint32_t to = operands(t) - (uint32_t)t->c.copies;

    for (int n = 0; n < t->c.copies; n++, to++) {
        uint32_t from = t->c.call.nin + t->c.copied[n];

        t->ref_ptr[to] = t->ref_ptr[from];
        t->ref_type[to] = t->ref_type[from];
    }
}

static void say_shapes(const trial *t, char *to, size_t bytes)
{
    size_t at = 0;

    for (uint32_t i = 0; i < t->c.call.nin && at < bytes; i++) {
        const hone_type *type = &t->c.type[i];

        at += (size_t)snprintf(to + at, bytes - at, "%s%s[%lld,%lld]",
                               i ? " " : "", hone_parts(type->storage)[0].name,
                               (long long)type->dim[0],
                               (long long)type->dim[1]);
    }
}

hone_status hone_kernel_check(const hone_bench *b, const hone_kernel *k,
                              const hone_component *op, int cases,
                              hone_verdict *v, hone_err *err)
{
    *v = (hone_verdict){ 0 };
    for (int n = 0; n < cases; n++) {
        trial t = { .slab = NULL };
        hone_status s = set_up(&t, b, k, op, (uint64_t)n + 1, 0, err);

        if (s == HONE_OK)
            s = run(&t, b, k, err);
        if (s == HONE_OK)
            s = check_gaps(&t, b, err);
        if (s == HONE_OK) {
            double top = 0;

            t.c.op->ref_f64(&t.ref, t.ref_ptr);
            reference_copies(&t);
            for (uint32_t i = t.c.call.nin; i < operands(&t); i++)
                top = fmax(top, largest(&t, i));
            for (uint32_t i = t.c.call.nin; i < operands(&t); i++)
                compare(&t, i, top / 64, v);
            if (!(v->error <= 1) && !v->shapes[0])
                say_shapes(&t, v->shapes, sizeof v->shapes);
            v->cases++;
        }
        release(&t, b);
        if (s != HONE_OK && s != HONE_ENOSUP)
            return s;
    }
    return v->cases ? HONE_OK : HONE_ENOSUP;
}

/* ------------------------------------------------------------------ timing */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of tables only the rows that an index names are touched: as many bytes as
 * another operand has. */
static const struct {
    const char *op;
    uint32_t table, like;
} tables[] = { { "embed", 0, 2 }, { "gather", 0, 2 }, { "cache_write", 2, 0 },
               { NULL, 0, 0 } };

static double traffic(const trial *t)
{
    double bytes = 0;

    for (uint32_t i = 0; i < operands(t); i++) {
        uint32_t of = i;

        for (int n = 0; tables[n].op; n++)
            if (!strcmp(tables[n].op, t->c.call.op) && tables[n].table == i)
                of = tables[n].like;
        bytes += (double)bytes_of(&t->c.type[of]) *
                 (of == i && is_output(t, i) && t->c.mode[i] != HONE_WRITE
                      ? 2 : 1);
    }
    return bytes;
}

/* Operands once more, each set at other addresses. */
typedef struct {
    void *slab[MOST_SETS]; /* the first is the trial's */
    int count;
} sets;

static hone_status more_sets(trial *t, const hone_bench *b, sets *x,
                             hone_err *err)
{
    const int64_t most = b->scale ? DEVICE_BYTES : HOST_BYTES;
    int64_t count = most / t->slab_bytes + 1;

    x->slab[0] = t->slab;
    x->count = count < MOST_SETS ? (int)count : MOST_SETS;
    for (int i = 1; i < x->count; i++) {
        hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE, t->slab_bytes,
                                    &x->slab[i], err));
        b->device->copy(b->dev, x->slab[i], t->before, t->slab_bytes,
                        HONE_TO_DEVICE, t->stream);
    }
    return b->device->sync(b->dev, t->stream, err);
}

static void run_all(const trial *t, const hone_kernel *k, const sets *x)
{
    for (int i = 0; i < RUNS * x->count; i++) {
        hone_ptr ptr[HONE_CASE_OPERANDS];
        int64_t by = (char *)x->slab[i % x->count] - (char *)t->slab;

        memcpy(ptr, t->ptr, sizeof ptr);
        for (uint32_t n = 0; n < operands(t); n++)
            for (int p = 0; p < HONE_PARTS; p++)
                if (ptr[n].part[p])
                    ptr[n].part[p] = (char *)ptr[n].part[p] + by;
        k->run(t->prepared, ptr, t->workspace, t->stream);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* GRAPH: all runs, or NULL. Batches of some milliseconds each. */
static hone_status time_batches(const trial *t, const hone_bench *b,
                                const hone_kernel *k, const sets *x,
                                hone_graph_exec graph, hone_timing *out,
                                hone_err *err)
{
    double seconds[BATCHES], start, each = 1;
    int64_t launches = 1;

    for (int n = -2; n < BATCHES; n++) { /* two to warm up */
        start = now();
        for (int64_t i = 0; i < launches; i++)
            if (graph)
                b->device->launch(b->dev, graph, t->stream);
            else
                run_all(t, k, x);
        hone_try(b->device->sync(b->dev, t->stream, err));
        each = (now() - start) / (double)launches;
        if (n >= 0)
            seconds[n] = each / (RUNS * x->count);
        else
            launches = (int64_t)(0.015 / each) + 1;
    }
    qsort(seconds, BATCHES, sizeof *seconds, by_size);
    out->seconds = seconds[BATCHES / 2];
    return HONE_OK;
}

static hone_status time_runs(trial *t, const hone_bench *b,
                             const hone_kernel *k, hone_timing *out,
                             hone_err *err)
{
    sets x = { .count = 0 };
    hone_graph_exec graph = NULL;
    hone_status s = run(t, b, k, err); /* warm */

    if (s == HONE_OK)
        s = more_sets(t, b, &x, err);
    if (s == HONE_OK && b->can_capture) {
        s = b->device->capture(b->dev, t->stream, err);
        if (s == HONE_OK) {
            run_all(t, k, &x);
            s = b->device->capture_end(b->dev, t->stream, &graph, err);
        }
    }
    if (s == HONE_OK)
        s = time_batches(t, b, k, &x, graph, out, err);
    if (graph)
        b->device->graph_close(b->dev, graph);
    for (int i = 1; i < x.count; i++)
        if (x.slab[i])
            b->device->release(b->dev, HONE_DEVICE_SPACE, x.slab[i]);
    return s;
}

hone_status hone_kernel_time(const hone_bench *b, const hone_kernel *k,
                             const hone_component *op, hone_timing *out,
                             hone_err *err)
{
    trial t = { .slab = NULL };
    hone_status s = set_up(&t, b, k, op, 1, b->scale ? b->scale : 1, err);

    if (s == HONE_OK)
        s = time_runs(&t, b, k, out, err);
    if (s == HONE_OK) {
        out->bytes = traffic(&t);
        out->flops = t.c.op->flops
                         ? t.c.op->flops(&t.c.call)
                         : (double)hone_count(&t.c.type[t.c.call.nin]);
    }
    release(&t, b);
    return s;
}
