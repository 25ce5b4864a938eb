/* SPDX-License-Identifier: MIT
 *
 * backoff.c -- a constant rate that gives way to spikes: when the norm of a
 * gradient is more than `ratio` times what is usual, the rate falls by
 * `factor` and comes back little by little. A spike often announces worse;
 * clipping bounds one step, this also the next ones. It is seen two steps
 * later, as all that schedules are told.
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct {
    double warmup, ratio, factor, usual;
    int64_t recover;
} config;

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps up to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, ratio, 3, 1, 1e6,
                  "times the usual norm that make a spike"),
    HONE_OPT_REAL(config, factor, 0.5, 0, 1, "what the rate falls by"),
    HONE_OPT_INT(config, recover, 100, 1, 1e9,
                 "steps in which two thirds of a fall are made good"),
    HONE_OPT_REAL(config, usual, 0.98, 0, 0.9999999,
                  "decay of the mean norm that counts as usual"),
    HONE_OPT_END
};

enum { LEARN = 20 }; /* norms without which nothing is usual */

/* All of it in checkpoints. */
typedef struct {
    double fall;       /* 1 - factor on the rate */
    double mean;       /* of the norms, not yet divided by WEIGHT */
    double weight;
    int64_t norms;
} state;

static double factor(const void *self, const void *st, int64_t step,
                     int64_t total)
{
    const config *c = self;
    const state *s = st;
    double warmup = hone_warmup_steps(c->warmup, total);
    double ramp = (double)step < warmup ? (double)step / warmup : 1;

    return ramp * (1 - s->fall);
}

static void observe(const void *self, void *st, const hone_report *r)
{
    const config *c = self;
    state *s = st;
    double norm = r->grad_norm, most;

    if (!isnan(r->eval_loss)) /* an evaluation */
        return;
    most = s->norms < LEARN ? INFINITY : c->ratio * s->mean / s->weight;
    if (!(norm <= most)) { /* NaN is a spike too */
        s->fall = 1 - (1 - s->fall) * c->factor;
        norm = most;
    } else {
        s->fall -= s->fall / (double)c->recover;
    }
    if (!isfinite(norm))
        return;
    s->mean = c->usual * s->mean + (1 - c->usual) * norm;
    s->weight = c->usual * s->weight + (1 - c->usual);
    s->norms++;
}

static const hone_schedule schedule = { sizeof schedule, factor, observe };
static const hone_component backoff = {
    sizeof backoff, HONE_KIND_SCHEDULE, "backoff",
    "constant, but lower for a while after a spike of the gradient", options,
    sizeof(config), sizeof(state), sizeof(state), NULL, NULL, &schedule
};
HONE_PLUGIN("backoff", "1.0", &backoff)
