/* SPDX-License-Identifier: MIT
 *
 * pad.c -- lays `rows` rows side by side, each padded to the longest of its
 * micro-batch, rounded up to `multiple`. The rows of a step are sorted by
 * length first. Row r of a micro-batch starts at r * L, and a bucket of D rows
 * and T tokens has L = T / D.
 */
#include "hone/plugin.h"

#include <math.h>

#include "order.h"

struct pad {
    int64_t rows, multiple;
};

static const hone_option options[] = {
    HONE_OPT_INT(struct pad, rows, 8, 1, 1 << 20, "rows of a micro-batch"),
    HONE_OPT_INT(struct pad, multiple, 64, 1, 1 << 20,
                 "row lengths are rounded up to a multiple of this"),
    HONE_OPT_END
};

/* Adds buckets of ROWS rows: lengths from the shortest to the longest row, each
 * multiple of `multiple`; where that would be too many, each longer than the
 * one before by the same factor, so that short rows are padded no more than
 * long ones. */
static void add_lengths(const struct pad *c, const hone_lengths *in,
                        int64_t rows, int64_t most, hone_bucket *out,
                        uint32_t *count)
{
    int64_t max = round_up(in->max, c->multiple);
    int64_t min = round_up(in->min > 0 ? in->min : 1, c->multiple);
    int64_t levels = (max - min) / c->multiple + 1, last = 0;
    double factor = levels > most ? pow((double)max / (double)min,
                                        1.0 / (double)(most - 1)) : 1;

    for (int64_t i = 0; last < max; i++) {
        int64_t n = min + i * c->multiple;

        if (levels > most)
            n = i == most - 1 ? max
                              : round_up((int64_t)((double)min *
                                                   pow(factor, (double)i)),
                                         c->multiple);
        if (n <= last)
            continue;
        last = n < max ? n : max;
        out[*count].tokens = rows * last;
        out[*count].docs = rows;
        ++*count;
    }
}

/* A step of B rows is B / rows full micro-batches and one of the rest, which
 * has buckets of its own where there is a rest. */
static hone_status buckets(const void *config, const hone_lengths *in,
                           hone_bucket *out, uint32_t *count, hone_err *err)
{
    const struct pad *c = config;
    int64_t rows = c->rows < in->batch ? c->rows : in->batch, rest;

    if (in->size > offsetof(hone_lengths, tokens) && in->tokens) {
        int64_t most = in->tokens / round_up(in->max, c->multiple);

        rows = rows < most ? rows : most > 1 ? most : 1;
    }
    rest = in->batch % rows;
    if (round_up(in->max, c->multiple) > INT32_MAX / rows)
        return hone_fail(err, HONE_EINVAL,
                         "%lld rows of %lld tokens are too many for "
                         "a micro-batch; use fewer rows, or max_tokens in the "
                         "data to cut long rows",
                         (long long)rows, (long long)in->max);
    *count = 0;
    if (rest)
        add_lengths(c, in, rest, HONE_MAX_BUCKETS / 2, out, count);
    add_lengths(c, in, rows, rest ? HONE_MAX_BUCKETS / 2 : HONE_MAX_BUCKETS,
                out, count);
    return HONE_OK;
}

/* The smallest bucket that holds ROWS rows of LENGTH tokens; or -1. */
static int32_t smallest(const hone_bucket *sizes, uint32_t count, int64_t rows,
                        int64_t length)
{
    int32_t best = -1;

    for (uint32_t b = 0; b < count; b++)
        if (sizes[b].docs >= rows && sizes[b].tokens / sizes[b].docs >= length
            && (best < 0 || sizes[b].tokens < sizes[best].tokens))
            best = (int32_t)b;
    return best;
}

/* The first micro-batch takes the rest: the longest rows are padded least
 * where there are few of them. */
static hone_status layout(const void *config, const hone_bucket *sizes,
                          uint32_t count, const int32_t *lengths, int64_t rows,
                          hone_layout *out, hone_err *err)
{
    int64_t most = sizes[count - 1].docs, at = 0;
    int64_t n = rows % most ? rows % most : most;

    (void)config;
    out->micros = 0;
    order_by_length(out->scratch, lengths, rows);
    for (; at < rows; at += n, n = most) {
        const int32_t *group = out->scratch + at;
        int32_t b = smallest(sizes, count, n, lengths[group[0]]);

        if (b < 0)
            return hone_fail(err, HONE_EINVAL,
                             "a row of %d tokens does not fit; the "
                             "longest it was planned for has %lld. Set "
                             "max_tokens in the data to cut long rows",
                             lengths[group[0]],
                             (long long)(sizes[count - 1].tokens / most));
        for (int64_t r = 0; r < n; r++) {
            out->micro[group[r]] = out->micros;
            out->start[group[r]] = r * (sizes[b].tokens / sizes[b].docs);
        }
        out->bucket[out->micros++] = b;
    }
    return HONE_OK;
}

static const hone_collator ops = { sizeof ops, buckets, layout };

static const hone_component pad = {
    .size = sizeof pad,
    .kind = HONE_KIND_COLLATOR,
    .name = "pad",
    .help = "rows side by side, padded to the longest",
    .options = options,
    .config_size = sizeof(struct pad),
    .ops = &ops
};

HONE_PLUGIN("pad", "1.0", &pad)
