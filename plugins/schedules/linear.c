/* SPDX-License-Identifier: MIT
 *
 * linear.c -- the rate rises over the warm-up, then falls in a straight line
 * that would reach 0 one step after the last.
 */
#include "hone/plugin.h"

typedef struct { double warmup; } config;

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps from 0 to the full rate; below 1: share of all"),
    HONE_OPT_END
};

static double factor(const void *self, const void *state, int64_t step,
                     int64_t total)
{
    double warmup = hone_warmup_steps(((const config *)self)->warmup, total);
    double rest = (double)total - warmup;

    (void)state;
    if ((double)step < warmup)
        return (double)step / warmup;
    return rest > 0 ? (double)(total - step) / rest : 0;
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component linear = {
    sizeof linear, HONE_KIND_SCHEDULE, "linear",
    "straight down to 0, after an optional warm-up", options, sizeof(config),
    0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("linear", "1.0", &linear)
