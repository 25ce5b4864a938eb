/* SPDX-License-Identifier: MIT
 *
 * fit_stream.c -- see fit.h: what does not fit the device may with the frozen
 * weights of some layers in host memory, if that holds them. The fewest layers
 * that will do leave the link the least to carry, but the other means with the
 * least memory: a few larger numbers are compared with it.
 */
#include "fit.h"
#include "machine.h"

enum { PARTS = 4 }; /* of the numbers that will do */

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
    hone_means best;   /* the host can hold it too; .streamed 0: none yet */
    double pace;
    hone_means fewest; /* that the device can hold */
    int64_t least;
} streams;

/* With COUNT layers; whether the device can hold the others. */
static hone_status attempt(streams *t, int count, int *fits)
{
    hone_session *s = t->s;
    hone_need_of need;
    hone_status status;
    double pace;

    s->means = (hone_means){ .streamed = count };
    status = hone_fit_resident(s, &need, t->err);
    *fits = status == HONE_OK;
    if (status == HONE_ENOMEM && need.bytes < t->least)
        t->least = need.bytes;
    if (*fits && (!t->fewest.streamed || count < t->fewest.streamed))
        t->fewest = s->means;
    if (*fits && hone_fit_host(s)) {
        pace = s->with_training ? hone_fit_pace(s) : count;
        if (!t->best.streamed || pace < t->pace) {
            t->best = s->means;
            t->pace = pace;
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
    for (step /= 2; step; step /= 2) {
        int at = t->best.streamed;

        if (at - step > fewest)
            hone_try(attempt(t, at - step, &fits));
        if (at + step < layers)
            hone_try(attempt(t, at + step, &fits));
    }
    return HONE_OK;
}

static hone_status choose(streams *t)
{
    int layers = hone_family_layers(t->s->family), fits;

    hone_try(attempt(t, layers, &fits));
    if (!fits)
        return HONE_OK;
    hone_try(find_fewest(t, layers));
    if (!t->best.streamed) /* for the message */
        t->best = t->fewest;
    else if (t->s->with_training)
        hone_try(find_fastest(t, t->fewest.streamed, layers));
    return HONE_OK;
}

hone_status hone_fit_make(hone_session *s, hone_need_of *need, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    streams t = { .s = s, .err = err, .least = INT64_MAX };
    hone_means means;
    hone_plan plan;
    hone_status status;
    int may = !s->machine.info.is_host && r->has_adapter;

    if (may && !s->stored && r->model.host_layers > 0)
        s->means.streamed = (int)(r->model.host_layers % INT32_MAX);
    status = hone_fit_resident(s, need, err);
    if (status != HONE_ENOMEM || !may || s->stored || r->model.host_layers >= 0)
        return status;
    means = s->means;
    plan = s->plan;
    hone_try(choose(&t));
    if (t.best.streamed) {
        s->means = t.best;
        return hone_session_lay_out(s, err);
    }
    need->bytes = t.least < need->bytes ? t.least : need->bytes;
    s->means = means;
    s->plan = plan;
    hone_try(hone_session_buckets(s, err));
    return hone_fail(err, HONE_ENOMEM, "it does not fit");
}
