/* SPDX-License-Identifier: MIT
 *
 * plateau.c -- the rate falls when the held-out loss no longer does, as
 * torch.optim.lr_scheduler.ReduceLROnPlateau has it: by `factor` after more
 * than `patience` evaluations without one that is better than the best by
 * `threshold`. Evaluations come as often as the recipe's eval.every says; the
 * one at the start is the first.
 */
#include "hone/plugin.h"

#include <math.h>

typedef struct {
    double warmup, factor, threshold, min_ratio;
    int64_t patience, cooldown;
    int threshold_mode;
} config;

enum { RELATIVE, ABSOLUTE };
static const char *const modes[] = { "rel", "abs", NULL };

static const hone_option options[] = {
    HONE_OPT_REAL(config, warmup, 0, 0, 1e12,
                  "steps up to the full rate; below 1: share of all"),
    HONE_OPT_REAL(config, factor, 0.1, 0, 1, "what the rate falls by"),
    HONE_OPT_INT(config, patience, 10, 0, 1e9,
                 "evaluations without a better one that are borne"),
    HONE_OPT_REAL(config, threshold, 1e-4, 0, 1e6,
                  "how much better is better: a share of the best, or a loss"),
    HONE_OPT_ENUM(config, threshold_mode, "rel", modes, "which of the two"),
    HONE_OPT_INT(config, cooldown, 0, 0, 1e9,
                 "evaluations after a fall that count for nothing"),
    HONE_OPT_REAL(config, min_ratio, 0, 0, 1,
                  "share of the full rate below which it does not fall"),
    HONE_OPT_END
};

typedef struct {
    struct {
        double best, ratio;
        int64_t bad, cooling; /* evaluations */
    } kept; /* in checkpoints */
    const hone_host *host;
    int warned;
} state;

static hone_status start(const hone_host *host, const void *cfg, void *self,
                         hone_err *err)
{
    state *s = self;

    (void)cfg;
    (void)err;
    s->kept.best = INFINITY;
    s->kept.ratio = 1;
    s->host = host;
    return HONE_OK;
}

static double factor(const void *self, const void *st, int64_t step,
                     int64_t total)
{
    const config *c = self;
    double warmup = hone_warmup_steps(c->warmup, total);

    if ((double)step < warmup)
        return (double)step / warmup;
    return ((const state *)st)->kept.ratio;
}

static int is_better(const config *c, const state *s, double loss)
{
    return c->threshold_mode == ABSOLUTE
               ? loss < s->kept.best - c->threshold
               : loss < s->kept.best * (1 - c->threshold);
}

/* The first evaluation comes before step 1: by then there is one or never. */
static void warn(state *s)
{
    if (isinf(s->kept.best) && !s->warned)
        s->host->log(s->host, 1, "hone.plateau: there is no held-out loss to "
                     "look at; give the data `val` and the recipe eval = { "
                     "every = N }");
    s->warned = 1;
}

static void observe(const void *self, void *st, const hone_report *r)
{
    const config *c = self;
    state *s = st;

    if (isnan(r->eval_loss)) { /* a step of training */
        warn(s);
        return;
    }
    s->kept.bad++;
    if (is_better(c, s, r->eval_loss)) {
        s->kept.best = r->eval_loss;
        s->kept.bad = 0;
    }
    if (s->kept.cooling > 0) {
        s->kept.cooling--;
        s->kept.bad = 0;
    }
    if (s->kept.bad > c->patience) {
        s->kept.ratio = fmax(s->kept.ratio * c->factor, c->min_ratio);
        s->kept.cooling = c->cooldown;
        s->kept.bad = 0;
    }
}

static const hone_schedule schedule = { sizeof schedule, factor, observe };
static const hone_component plateau = {
    sizeof plateau, HONE_KIND_SCHEDULE, "plateau",
    "down whenever the held-out loss stands still", options, sizeof(config),
    sizeof(state), sizeof(((state *)0)->kept), start, NULL, &schedule
};
HONE_PLUGIN("plateau", "1.0", &plateau)
