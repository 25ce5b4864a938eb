/* SPDX-License-Identifier: MIT
 *
 * cosine_restarts.c -- the rate rises over the warm-up, then falls along half
 * a cosine as often as there are cycles, each starting at the full rate
 * (SGDR, arXiv:1608.03983, with cycles of one length).
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct { double warmup, cycles; } config;

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps from 0 to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, cycles, 1, 0, 1e6, "falls from the full rate to 0"),
    HONE_OPT_END
};

static double factor(const void *self, const void *state, int64_t step,
                     int64_t total)
{
    const config *c = self;
    double warmup = hone_warmup_steps(c->warmup, total);
    double progress;

    (void)state;
    if ((double)step < warmup)
        return (double)step / warmup;
    if (step >= total)
        return 0;
    progress = ((double)step - warmup) / ((double)total - warmup);
    return 0.5 * (1 + cos(acos(-1) * fmod(c->cycles * progress, 1)));
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component cosine_restarts = {
    sizeof cosine_restarts, HONE_KIND_SCHEDULE, "cosine_restarts",
    "half cosines one after another, after an optional warm-up", options,
    sizeof(config), 0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("cosine_restarts", "1.0", &cosine_restarts)
