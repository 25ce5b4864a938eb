/* SPDX-License-Identifier: MIT
 *
 * fit_stream.c -- see fit.h: what does not fit the device may with the frozen
 * weights of some layers in host memory, if that holds them. The fewest layers
 * that will do leave the link the least to carry, but the other means with the
 * least memory: a few larger numbers are compared with it.
 */
#include "fit.h"

#include <string.h>

#include "machine.h"

enum { PARTS = 3 }; /* of the numbers that will do */
/* Copies that are waited for so little go on beside the computation. */
static const double HIDDEN = 0.03;

int64_t hone_fit_host_room(const hone_session *s)
{
    return s->recipe->card ? (int64_t)s->card.figure[HONE_CARD_HOST].value
                           : hone_machine_host_bytes();
}

int64_t hone_fit_host_needed(const hone_session *s)
{
    int64_t most = 0;

    for (int p = 0; p < HONE_PLAN_PHASES; p++) {
        int64_t all = hone_plan_phase_total(&s->plan, HONE_PLAN_PINNED,
                                            (hone_plan_phase)p) +
                      hone_plan_phase_total(&s->plan, HONE_PLAN_HOST,
                                            (hone_plan_phase)p);
        most = all > most ? all : most;
    }
    return most;
}

int hone_fit_host(const hone_session *s)
{
    int64_t room = hone_fit_host_room(s);

    return s->machine.info.is_host || room <= 0 ||
           hone_fit_host_needed(s) <= room;
}

typedef struct {
    hone_session *s;
    hone_err *err;
    int fits;    /* there is a best: a number that the host can hold too */
    int best;
    double step; /* seconds of the best; what is taken must be better */
    int fewest;  /* with which the device can hold the others */
} streams;

/* With COUNT layers; whether the device can hold the others. */
static hone_status attempt(streams *t, int count, int *fits)
{
    hone_session *s = t->s;
    hone_need_of need;
    hone_status status;
    double step = count;

    s->means = (hone_means){ .streamed = count };
    status = hone_fit_resident(s, &need, t->err);
    *fits = status == HONE_OK;
    if (*fits && count < t->fewest)
        t->fewest = count;
    if (*fits && hone_fit_host(s)) {
        if (s->with_training)
            hone_try(hone_fit_step(s, &step, t->err));
        if (!t->fits || step < t->step) {
            t->fits = 1;
            t->best = count;
            t->step = step;
        }
    }
    return status == HONE_ENOMEM ? HONE_OK : status;
}

/* The fewest layers that will do, at most HIGH, which do. */
static hone_status find_fewest(streams *t, int high)
{
    int low = 0, fits;

    while (high - low > 1) {
        int count = (low + high) / 2;

        hone_try(attempt(t, count, &fits));
        *(fits ? &high : &low) = count;
    }
    return HONE_OK;
}

/* Numbers from FEWEST to LAYERS, then those about the best. */
static hone_status find_fastest(streams *t, int fewest, int layers)
{
    int step = (layers - fewest) / PARTS, fits;

    for (int i = 1; i < PARTS && step; i++)
        hone_try(attempt(t, fewest + i * step, &fits));
    step /= 2;
    for (int i = -1, at = t->best; i <= 1 && step; i += 2)
        if (at + i * step > fewest && at + i * step < layers)
            hone_try(attempt(t, at + i * step, &fits));
    return HONE_OK;
}

static hone_status choose(streams *t)
{
    int layers = hone_family_layers(t->s->family), had = t->fits, fits;

    hone_try(attempt(t, layers, &fits));
    if ((!had && !fits) ||
        (t->best == layers && hone_fit_waits(t->s) < HIDDEN))
        return HONE_OK; /* as much room as can be, and nothing to pay for it */
    t->s->only_fits = 1;
    if (!had)
        hone_try(find_fewest(t, layers));
    if (!t->fits) /* for the message: the host cannot hold it */
        t->best = t->fewest;
    else if (t->s->with_training)
        hone_try(find_fastest(t, had ? 0 : t->fewest, layers));
    return HONE_OK;
}

/* By all sizes, with COUNT layers; where that does not fit, with all. */
static hone_status all_sizes(hone_session *s, int count, hone_need_of *need,
                             hone_err *err)
{
    const int layers = hone_family_layers(s->family);
    hone_status status;

    s->runners = 0;
    s->means = (hone_means){ .streamed = count };
    status = hone_fit_resident(s, need, err);
    return status == HONE_ENOMEM && count < layers
               ? all_sizes(s, layers, need, err) : status;
}

/* What the recipe leaves open, once all weights on the device either do not
 * fit, or fit by means that take time. */
static hone_status stream(hone_session *s, hone_need_of *need, int fits,
                          hone_err *err)
{
    streams t = { .s = s, .err = err, .fits = fits, .fewest = INT32_MAX };
    const hone_session was = *s;
    const int layers = hone_family_layers(s->family);
    double step = was.plan.of.step.seconds; /* 0: no card is known */
    hone_need_of late;
    hone_status status;

    if (fits)
        hone_try(hone_fit_step(s, &t.step, err));
    s->explore = 0;
    s->only_top = s->with_training; /* most of what it depends on */
    hone_try(choose(&t));
    s->only_top = was.only_top;
    s->only_fits = was.only_fits;
    s->explore = was.explore;
    if (!t.fits && s->only_fits)
        return hone_fail(err, HONE_ENOMEM, "it does not fit");
    if (t.best || !fits) {
        status = all_sizes(s, t.best ? t.best : layers, &late, err);
        /* In small micro-batches copies may not be hidden. */
        if (status != HONE_ENOMEM &&
            (status || !fits || s->plan.of.step.seconds < step || step <= 0))
            return status;
    }
    s->means = was.means;
    s->runners = was.runners;
    memcpy(s->runner, was.runner, sizeof was.runner);
    if (fits)
        return hone_session_lay_out(s, err);
    need->bytes = late.bytes < need->bytes ? late.bytes : need->bytes;
    s->plan = was.plan;
    hone_try(hone_session_buckets(s, err));
    return hone_fail(err, HONE_ENOMEM, "it does not fit");
}

hone_status hone_fit_make(hone_session *s, hone_need_of *need, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    hone_status status;

    if (r->model.host_layers > 0) /* of no use on the host, but done */
        s->means.streamed = (int)(r->model.host_layers % INT32_MAX);
    status = hone_fit_resident(s, need, err);
    if (s->stored || !r->has_adapter || r->model.host_layers >= 0 ||
        s->machine.info.is_host ||
        (status == HONE_OK && !(s->means.solved && s->with_training)) ||
        (status != HONE_OK && status != HONE_ENOMEM))
        return status;
    return stream(s, need, status == HONE_OK, err);
}
