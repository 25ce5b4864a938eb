/* SPDX-License-Identifier: MIT
 *
 * check.c -- runs a drawn call twice: by the kernel, on its device, and by the
 * op's reference in double, on the same values.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"

/* All but outputs must be what it was, and so must the workspace's end. */
static hone_status check_gaps(trial *t, const kernel_bench *b, hone_err *err)
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
    for (uint32_t i = t->c.call.nin; i < trial_operands(t); i++)
        memcpy(t->before + t->at[i], t->host + t->at[i],
               (size_t)type_bytes(&t->c.type[i]));
    for (int64_t i = 0; i < t->slab_bytes; i++)
        if (t->before[i] != t->host[i])
            return hone_fail(err, HONE_EIO, "%s: writes outside its outputs",
                             t->c.call.op);
    return HONE_OK;
}

/* Element K that operand I should have: what was written twice is to be what
 * the op's own output is. */
static double want_of(const trial *t, uint32_t i, int64_t k)
{
    uint32_t own = trial_operands(t) - (uint32_t)t->c.copies;
    uint32_t from = i < own ? i : t->c.call.nin + t->c.copied[i - own];

    return type_number(&t->ref_type[from], t->ref_ptr[from].part[0], k);
}

/* The largest number that operand I should have. */
static double largest(const trial *t, uint32_t i)
{
    int64_t n = hone_count(&t->c.type[i]);
    double top = 0;

    for (int64_t k = 0; k < n; k++)
        top = fmax(top, fabs(want_of(t, i, k)));
    return top;
}

/* FLOOR: of what is so small beside other outputs only this share counts. A
 * gradient whose terms cancel is all rounding. */
static void compare(const trial *t, uint32_t i, double floor_top,
                    kernel_verdict *v)
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
        double want = want_of(t, i, k);
        double got = type_number(&t->c.type[i], t->host + t->at[i], k);
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

hone_status kernel_check(const kernel_bench *b, const hone_kernel *k,
                         const hone_component *op, int cases,
                         kernel_verdict *v, hone_err *err)
{
    *v = (kernel_verdict){ 0 };
    for (int n = 0; n < cases; n++) {
        trial t;
        hone_status s = trial_open(&t, b, k, op, (uint64_t)n + 1, 0, err);

        if (s == HONE_OK)
            s = trial_run(&t, b, k, err);
        if (s == HONE_OK)
            s = check_gaps(&t, b, err);
        if (s == HONE_OK) {
            double top = 0;

            t.c.op->ref_f64(&t.ref, t.ref_ptr);
            for (uint32_t i = t.c.call.nin; i < trial_operands(&t); i++)
                top = fmax(top, largest(&t, i));
            for (uint32_t i = t.c.call.nin; i < trial_operands(&t); i++)
                compare(&t, i, top / 64, v);
            if (!(v->error <= 1) && !v->shapes[0])
                say_shapes(&t, v->shapes, sizeof v->shapes);
            v->cases++;
        }
        trial_close(&t, b);
        if (s != HONE_OK && s != HONE_ENOSUP)
            return s;
    }
    return v->cases ? HONE_OK : HONE_ENOSUP;
}
