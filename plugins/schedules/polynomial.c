/* SPDX-License-Identifier: MIT
 *
 * polynomial.c -- the rate rises over the warm-up, then falls to a share of
 * itself along a power of what is left; Transformers' lr_end is that share
 * times the rate.
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct { double warmup, power, lr_end; } config;

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps from 0 to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, power, 1, 0, 100,
                  "of the part that is left; 1: a straight line"),
    HONE_OPT_REAL(config, lr_end, 0, 0, 1,
                  "share of the full rate to end at"),
    HONE_OPT_END
};

static double factor(const void *self, const void *state, int64_t step,
                     int64_t total)
{
    const config *c = self;
    double warmup = hone_warmup_steps(c->warmup, total);
    double rest = (double)total - warmup;

    (void)state;
    if ((double)step < warmup)
        return (double)step / warmup;
    if (rest <= 0 || step > total)
        return c->lr_end;
    return (1 - c->lr_end) * pow((double)(total - step) / rest, c->power) +
           c->lr_end;
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component polynomial = {
    sizeof polynomial, HONE_KIND_SCHEDULE, "polynomial",
    "down along a power, after an optional warm-up", options, sizeof(config),
    0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("polynomial", "1.0", &polynomial)
