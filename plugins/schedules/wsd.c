/* SPDX-License-Identifier: MIT
 *
 * wsd.c -- warm-up, stable, decay (MiniCPM, arXiv:2404.06395): the rate rises,
 * stays, and falls over the last steps. Both slopes run between min_ratio and
 * the full rate; a rise is the fall of its type, read backwards.
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct {
    double warmup, decay, min_ratio, cycles;
    int warmup_type, decay_type;
} config;

enum { LINEAR, COSINE, ONE_MINUS_SQRT };
static const char *const types[] = { "linear", "cosine", "1-sqrt", NULL };

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps up to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, decay, 0.1, 0, 1e12,
                  "steps down at the end; below 1: share of all"),
    HONE_OPT_ENUM(config, warmup_type, "linear", types, "way up"),
    HONE_OPT_ENUM(config, decay_type, "cosine", types, "way down"),
    HONE_OPT_REAL(config, min_ratio, 0, 0, 1,
                  "share of the full rate to start and end at"),
    HONE_OPT_REAL(config, cycles, 0.5, 0, 1e6,
                  "periods of a cosine decay; 0.5: down only"),
    HONE_OPT_END
};

/* From 1 at AT = 0 to 0 at AT = 1. */
static double fall(int type, double cycles, double at)
{
    switch (type) {
    case LINEAR: return 1 - at;
    case COSINE: return 0.5 * (1 + cos(acos(-1) * 2 * cycles * at));
    default: return 1 - sqrt(at);
    }
}

static double factor(const void *self, const void *state, int64_t step,
                     int64_t total)
{
    const config *c = self;
    double warmup = hone_warmup_steps(c->warmup, total);
    double decay = hone_warmup_steps(c->decay, total);
    double left = (double)(total - step), f;

    (void)state;
    if ((double)step < warmup)
        f = fall(c->warmup_type, 0.5, 1 - (double)step / warmup);
    else if (left > decay)
        f = 1;
    else
        f = left > 0 ? fall(c->decay_type, c->cycles, 1 - left / decay) : 0;
    return f * (1 - c->min_ratio) + c->min_ratio;
}

static const hone_schedule schedule = { sizeof schedule, factor, NULL };
static const hone_component wsd = {
    sizeof wsd, HONE_KIND_SCHEDULE, "wsd",
    "up, stable, and down over the last steps", options, sizeof(config),
    0, 0, NULL, NULL, &schedule
};
HONE_PLUGIN("wsd", "1.0", &wsd)
