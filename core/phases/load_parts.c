/* SPDX-License-Identifier: MIT
 *
 * load_parts.c -- see load.h: elements of one tensor, from whatever they are
 * made of to what the tensor holds. Called from many threads; all is on their
 * stacks.
 */
#include <string.h>

#include "e4m3.h"
#include "load.h"
#include "nf4.h"

enum {
    STEP = 64 << 10, /* bytes converted at once */
    BLOCK = 1024,    /* numbers */
    UNIT = HONE_FILLING_UNIT
};

static int64_t size_of(hone_storage s)
{
    return hone_part_bytes(s, 0, 1);
}

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static hone_status by_rule(const hone_filling *f, hone_storage as,
                           int64_t from, int64_t count, void *to, hone_err *err)
{
    if (hone_init_fill(to, as, f->rule, f->seed, f->kept->name, from, count) !=
        HONE_OK)
        return hone_fail(err, HONE_ENOSUP, "%s: its storage cannot be "
                         "initialised", f->kept->name);
    return HONE_OK;
}

hone_status hone_filling_numbers(const hone_filling *f, int64_t from,
                                 int64_t count, float *to, hone_err *err)
{
    if (f->weight)
        return hone_weights_numbers(f->file, f->weight, from, count, to, err);
    return by_rule(f, HONE_F32, from, count, to, err);
}

/* Of a file: without a copy where the storage is the same. */
static hone_status read_plain(const hone_filling *f, int64_t from,
                              int64_t count, char *to, hone_err *err)
{
    hone_storage as = f->weight->type.storage, want = f->kept->type.storage;
    int64_t size = size_of(as), step = STEP / size;
    char buffer[STEP];

    if (as == want)
        return hone_weights_read(f->file, f->weight, from * size, count * size,
                                 to, err);
    for (int64_t i = 0; i < count; i += step) {
        int64_t n = less(step, count - i);

        hone_try(hone_weights_read(f->file, f->weight, (from + i) * size,
                                   n * size, buffer, err));
        if (hone_convert(to, want, buffer, as, n) != HONE_OK)
            return hone_fail(err, HONE_ENOSUP, "%s: its storage cannot be "
                             "converted", f->kept->name);
        to += n * size_of(want);
    }
    return HONE_OK;
}

/* From codes to plain numbers. */
static hone_status decode(const hone_filling *f, int64_t from, int64_t count,
                          char *to, hone_err *err)
{
    hone_storage want = f->kept->type.storage;
    float x[UNIT];

    for (int64_t i = 0; i < count; i += UNIT) {
        int64_t n = less(UNIT, count - i);

        hone_try(hone_filling_numbers(f, from + i, n, x, err));
        hone_try(hone_convert(to + i * size_of(want), want, x, HONE_F32, n));
    }
    return HONE_OK;
}

static hone_status make_fp8(const hone_filling *f, int64_t from, int64_t count,
                            uint8_t *to, hone_err *err)
{
    float x[BLOCK];

    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t n = less(BLOCK, count - i);

        hone_try(hone_filling_numbers(f, from + i, n, x, err));
        hone_e4m3_codes(to + i, x, f->scale, n);
    }
    return HONE_OK;
}

static hone_status make_nf4(const hone_filling *f, int64_t from, int64_t count,
                            const hone_ptr *to, hone_err *err)
{
    hone_storage s = f->kept->type.storage;
    float x[UNIT];

    for (int64_t i = 0; i < count; i += UNIT) {
        int64_t n = less(UNIT, count - i);

        hone_try(hone_filling_numbers(f, from + i, n, x, err));
        hone_nf4_group(s, f->scale, x, n, (uint8_t *)to->part[0] + i / 2,
                       (char *)to->part[1] + hone_part_bytes(s, 1, i),
                       s == HONE_NF4 ? (float *)to->part[2] + i / UNIT : NULL);
    }
    return HONE_OK;
}

/* Codes of a file as they are. */
static hone_status read_codes(const hone_filling *f, int64_t from,
                              int64_t count, const hone_ptr *to, hone_err *err)
{
    hone_storage s = f->weight->type.storage;

    for (int p = 0; p < 3 && hone_parts(s)[p].per; p++)
        hone_try(hone_weights_read(f->file, &f->weight->codes->part[p],
                                   hone_part_bytes(s, p, from),
                                   hone_part_bytes(s, p, count), to->part[p],
                                   err));
    return HONE_OK;
}

hone_status hone_filling_parts(const hone_filling *f, int64_t from,
                               int64_t count, const hone_ptr *to, hone_err *err)
{
    hone_storage want = f->kept->type.storage;

    if (f->data) {
        memcpy(to->part[0], (const char *)f->data + from * size_of(want),
               (size_t)(count * size_of(want)));
        return HONE_OK;
    }
    if (want == HONE_FP8)
        return make_fp8(f, from, count, to->part[0], err);
    if (hone_is_nf4(want))
        return f->weight && f->weight->type.storage == want
                   ? read_codes(f, from, count, to, err)
                   : make_nf4(f, from, count, to, err);
    if (!f->weight)
        return by_rule(f, want, from, count, to->part[0], err);
    return f->weight->codes ? decode(f, from, count, to->part[0], err)
                            : read_plain(f, from, count, to->part[0], err);
}
