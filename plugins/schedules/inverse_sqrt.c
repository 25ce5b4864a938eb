/* SPDX-License-Identifier: MIT
 *
 * inverse_sqrt.c -- the rate rises over the warm-up, then falls with the
 * square root of the steps (arXiv:1706.03762), in the form of big_vision that
 * Transformers uses: full at the end of the warm-up, half 3 timescales later.
 */
#include "hone/plugin.h"

#include <math.h>

#define TIMESCALE 10000.0 /* when there is neither a timescale nor a warm-up */

typedef struct { double warmup, timescale; } config;

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps from 0 to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, timescale, 0, 0, 1e12,
                  "steps; 0: those of the warm-up, or 10000 without one"),
    HONE_OPT_END
};

static double factor(const void *self, const void *state, int64_t step,
                     int64_t total)
{
    const config *c = self;
    double warmup = hone_warmup_steps(c->warmup, total);
    double scale = c->timescale > 0 ? c->timescale
                   : warmup > 0     ? warmup
                                    : TIMESCALE;

    (void)state;
    if ((double)step < warmup)
        return (double)step / warmup;
    return 1 / sqrt(1 + ((double)step - warmup) / scale);
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component inverse_sqrt = {
    sizeof inverse_sqrt, HONE_KIND_SCHEDULE, "inverse_sqrt",
    "down with the square root of the steps, after an optional warm-up",
    options, sizeof(config), 0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("inverse_sqrt", "1.0", &inverse_sqrt)
