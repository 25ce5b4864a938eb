/* SPDX-License-Identifier: MIT
 *
 * pack.c -- lays whole rows end to end into micro-batches of at most `tokens`
 * tokens: best fit, longest rows first. No row is cut and none sees another.
 * The sizes come in eighths, so that the last, half-empty micro-batch of a
 * step costs what it holds.
 */
#include "hone/plugin.h"

#include "order.h"

enum { STEPS = 8, UNIT = 64 };

struct pack {
    int64_t tokens;
};

static const hone_option options[] = {
    HONE_OPT_INT(struct pack, tokens, 8192, 1, 1 << 30,
                 "most tokens of a micro-batch"),
    HONE_OPT_END
};

static hone_status too_long(const struct pack *c, int64_t length,
                            hone_err *err)
{
    return hone_fail(err, HONE_EINVAL,
                     "a row of %lld tokens does not fit tokens = "
                     "%lld; use tokens = %lld, or max_tokens = %lld in the "
                     "data to cut long rows",
                     (long long)length, (long long)c->tokens,
                     (long long)round_up(length, UNIT), (long long)c->tokens);
}

/* A step may be too small to fill `tokens`: no bucket is larger than the
 * largest step, or the plan would reserve memory that nothing can use. */
static hone_status buckets(const void *config, const hone_lengths *in,
                           hone_bucket *out, uint32_t *count, hone_err *err)
{
    const struct pack *c = config;
    int64_t top = c->tokens, shortest = in->min > 0 ? in->min : 1;

    if (in->max > c->tokens)
        return too_long(c, in->max, err);
    if (in->batch <= top / (in->max > 0 ? in->max : 1) &&
        round_up(in->batch * in->max, UNIT) < top)
        top = round_up(in->batch * in->max, UNIT);
    *count = 0;
    for (int64_t i = 1; i <= STEPS; i++) {
        int64_t tokens = round_up((top * i + STEPS - 1) / STEPS, UNIT);
        int64_t docs;

        if (tokens > top)
            tokens = top;
        docs = tokens / shortest < in->batch ? tokens / shortest : in->batch;
        if (docs < 1 || (*count && out[*count - 1].tokens == tokens))
            continue;
        out[*count].tokens = tokens;
        out[*count].docs = docs;
        ++*count;
    }
    return HONE_OK;
}

/* The open micro-batch with the least room that still holds LENGTH; or -1. */
static int32_t best_fit(const int32_t *room, int32_t micros, int32_t length)
{
    int32_t best = -1;

    for (int32_t m = 0; m < micros; m++)
        if (room[m] >= length && (best < 0 || room[m] < room[best]))
            best = m;
    return best;
}

static hone_status layout(const void *config, const hone_bucket *sizes,
                          uint32_t count, const int32_t *lengths, int64_t rows,
                          hone_layout *out, hone_err *err)
{
    const struct pack *c = config;
    int32_t *order = out->scratch, *room = order + rows;
    int64_t top = sizes[count - 1].tokens;

    out->micros = 0;
    order_by_length(order, lengths, rows);
    for (int64_t i = 0; i < rows; i++) {
        int32_t row = order[i], m;

        if (lengths[row] > top)
            return too_long(c, lengths[row], err);
        m = best_fit(room, out->micros, lengths[row]);
        if (m < 0) {
            m = out->micros++;
            room[m] = (int32_t)top;
        }
        out->micro[row] = m;
        out->start[row] = top - room[m];
        room[m] -= lengths[row];
    }
    for (int32_t m = 0; m < out->micros; m++) {
        int32_t b = 0;

        while (sizes[b].tokens < top - room[m])
            b++;
        out->bucket[m] = b;
    }
    return HONE_OK;
}

static const hone_collator ops = { sizeof ops, buckets, layout };

static const hone_component pack = {
    .size = sizeof pack,
    .kind = HONE_KIND_COLLATOR,
    .name = "pack",
    .help = "whole rows end to end, no attention across them",
    .options = options,
    .config_size = sizeof(struct pack),
    .ops = &ops
};

HONE_PLUGIN("pack", "1.0", &pack)
