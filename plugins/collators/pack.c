/* SPDX-License-Identifier: MIT
 *
 * pack.c -- lays whole rows end to end into micro-batches of at most `tokens`
 * tokens: best fit, longest rows first. No row is cut and none sees another.
 * All micro-batches of a step are full but the last, so there are a few sizes
 * for what is left over: those that waste least at the lengths of this data.
 */
#include "hone/plugin.h"

#include <math.h>
#include <string.h>

#include "order.h"

enum { SIZES = 8, UNIT = 64, MOST_BINS = 256 };

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

/* WEIGHT[i]: how likely what a step leaves over ends in bin i of BIN tokens.
 * The tokens of a step are about normally distributed; full micro-batches of
 * TOP take all but the rest. Long rows do not fill them so well: any rest has
 * some weight. */
static void weigh_rests(const hone_lengths *in, int64_t top, int64_t bin,
                        int bins, double *weight)
{
    double mean = (double)in->total / (double)(in->rows ? in->rows : 1);
    double squares = in->rows && in->size > offsetof(hone_lengths, squares)
                         ? in->squares / (double)in->rows : 0;
    double step = mean * (double)in->batch, sum = 0;
    double spread = squares > mean * mean
                        ? sqrt((double)in->batch * (squares - mean * mean))
                        : 0;

    spread = spread > (double)bin ? spread : (double)bin;
    for (int i = 0; i < bins; i++) {
        double at = ((double)i + 0.5) * (double)bin;
        double turn = floor((step - at) / (double)top);

        weight[i] = 0;
        for (int k = -2; k <= 3; k++) {
            double z = (at + (turn + k) * (double)top - step) / spread;
            weight[i] += turn + k < 0 ? 0 : exp(-z * z / 2);
        }
        sum += weight[i];
    }
    for (int i = 0; i < bins; i++)
        weight[i] = (sum > 0 ? weight[i] / sum : 0) + 0.1 / bins;
}

/* The SIZES ends of bins, the last of them BINS, that are least on average
 * over the weights: what lies between two ends costs the upper one. */
static int choose_ends(const double *weight, int bins, int *end)
{
    static const double never = 1e300;
    double below[MOST_BINS + 1], cost[MOST_BINS + 1], next[MOST_BINS + 1];
    uint8_t from[SIZES][MOST_BINS + 1];
    int sizes = bins < SIZES ? bins : SIZES;

    below[0] = 0;
    for (int i = 0; i < bins; i++)
        below[i + 1] = below[i] + weight[i];
    for (int j = 0; j <= bins; j++)
        cost[j] = j ? never : 0;
    for (int k = 0; k < sizes; k++) {
        for (int j = 0; j <= bins; j++) {
            next[j] = never;
            for (int i = 0; i < j; i++) {
                double c = cost[i] + (below[j] - below[i]) * j;
                if (c < next[j]) {
                    next[j] = c;
                    from[k][j] = (uint8_t)i;
                }
            }
        }
        memcpy(cost, next, sizeof cost);
    }
    for (int k = sizes - 1, j = bins; k >= 0; k--) {
        end[k] = j;
        j = from[k][j];
    }
    return sizes;
}

/* A step may be too small to fill `tokens`: no bucket is larger than the
 * largest step, or the plan would reserve memory that nothing can use. Nor
 * than what there is memory for. */
static hone_status buckets(const void *config, const hone_lengths *in,
                           hone_bucket *out, uint32_t *count, hone_err *err)
{
    const struct pack *c = config;
    int64_t top = c->tokens, shortest = in->min > 0 ? in->min : 1, bin;
    double weight[MOST_BINS];
    int end[SIZES], bins, sizes;

    if (in->max > c->tokens)
        return too_long(c, in->max, err);
    if (in->batch <= top / (in->max > 0 ? in->max : 1) &&
        round_up(in->batch * in->max, UNIT) < top)
        top = round_up(in->batch * in->max, UNIT);
    if (in->size > offsetof(hone_lengths, tokens) && in->tokens &&
        in->tokens < top)
        top = in->tokens > in->max ? in->tokens : in->max;
    bin = round_up((top + MOST_BINS - 1) / MOST_BINS, UNIT);
    bins = (int)((top + bin - 1) / bin);
    weigh_rests(in, top, bin, bins, weight);
    sizes = choose_ends(weight, bins, end);
    *count = 0;
    for (int i = 0; i < sizes; i++) {
        int64_t tokens = end[i] * bin < top ? end[i] * bin : top;
        int64_t docs = tokens / shortest < in->batch ? tokens / shortest
                                                     : in->batch;

        if (docs < 1)
            continue;
        out[*count].tokens = tokens;
        out[*count].docs = docs;
        ++*count;
    }
    return HONE_OK;
}

/* Open micro-batches by the room in them, the least first; those with as much
 * in the order they were opened. */
typedef struct {
    int32_t *room; /* [micros] */
    int32_t *list; /* [count] */
    int32_t count;
} shelf;

/* How many of the shelf come before micro-batch M with ROOM. */
static int32_t rank_of(const shelf *s, int32_t room, int32_t m)
{
    int32_t low = 0, high = s->count;

    while (low < high) {
        int32_t middle = low + (high - low) / 2, other = s->list[middle];

        if (s->room[other] < room || (s->room[other] == room && other < m))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Takes what is at AT from the list, and puts M with ROOM in its place there;
 * AT == count: M is new. */
static void reshelve(shelf *s, int32_t at, int32_t m, int32_t room)
{
    int32_t to = rank_of(s, room, m);

    memmove(s->list + to + 1, s->list + to,
            (size_t)(at - to) * sizeof *s->list);
    s->list[to] = m;
    s->room[m] = room;
}

static hone_status layout(const void *config, const hone_bucket *sizes,
                          uint32_t count, const int32_t *lengths, int64_t rows,
                          hone_layout *out, hone_err *err)
{
    const struct pack *c = config;
    int32_t *order = out->scratch;
    shelf s = { order + rows, order + 2 * rows, 0 };
    int64_t top = sizes[count - 1].tokens;

    order_by_length(order, lengths, rows);
    for (int64_t i = 0; i < rows; i++) {
        int32_t row = order[i], at, m, room;

        if (lengths[row] > top)
            return too_long(c, lengths[row], err);
        at = rank_of(&s, lengths[row], -1); /* the least that holds it */
        m = at < s.count ? s.list[at] : s.count;
        room = at < s.count ? s.room[m] : (int32_t)top;
        out->micro[row] = m;
        out->start[row] = top - room;
        reshelve(&s, at, m, room - lengths[row]);
        s.count += at == s.count;
    }
    out->micros = s.count;
    for (int32_t m = 0; m < out->micros; m++) {
        int32_t b = 0;

        while (sizes[b].tokens < top - s.room[m])
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
