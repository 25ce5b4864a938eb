/* SPDX-License-Identifier: MIT
 *
 * constant.c -- the rate rises over the warm-up and then stays.
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

    (void)state;
    return (double)step < warmup ? (double)step / warmup : 1;
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component constant = {
    sizeof constant, HONE_KIND_SCHEDULE, "constant",
    "the full rate all the time, after an optional warm-up", options,
    sizeof(config), 0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("constant", "1.0", &constant)
