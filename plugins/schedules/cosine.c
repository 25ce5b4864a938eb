/* SPDX-License-Identifier: MIT
 *
 * cosine.c -- the rate rises over the warm-up, then falls along half a period
 * of a cosine (SGDR without restarts, arXiv:1608.03983) that would reach 0
 * one step after the last.
 */
#include "hone/plugin.h"

#include <math.h>

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
    return 0.5 * (1 + cos(acos(-1) * ((double)step - warmup) / fmax(rest, 1)));
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component cosine = {
    sizeof cosine, HONE_KIND_SCHEDULE, "cosine",
    "half a cosine down to 0, after an optional warm-up", options,
    sizeof(config), 0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("cosine", "1.0", &cosine)
