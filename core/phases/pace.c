/* SPDX-License-Identifier: MIT
 *
 * pace.c -- see pace.h. The collator lays out some steps of the run, spread
 * evenly over it, as it will when they come.
 */
#include "pace.h"

enum { STEPS_TRIED = 24 };

/* RUNS[b]: micro-batches of size b in a step, on average. */
static void count_micros(const hone_session *s, const hone_loader_spec *spec,
                         hone_arena *a, double *runs)
{
    const hone_collator *api = s->collator.component->ops;
    int64_t n = spec->steps < STEPS_TRIED ? spec->steps : STEPS_TRIED;
    size_t rows = (size_t)spec->batch;
    int32_t *lengths = hone_alloc(a, rows * sizeof *lengths);
    hone_layout to = { .micro = hone_alloc(a, rows * sizeof *to.micro),
                       .start = hone_alloc(a, rows * sizeof *to.start),
                       .bucket = hone_alloc(a, rows * sizeof *to.bucket),
                       .scratch = hone_alloc(a, 4 * rows *
                                                    sizeof *to.scratch) };
    hone_order at = { 0, 0 };

    for (int64_t i = 0; i < n; i++) {
        int64_t count, mine = 0;

        hone_order_seek(spec, &at, i * spec->steps / n);
        count = hone_order_count(spec, at.at);
        for (int64_t k = spec->rank; k < count; k += spec->ranks)
            lengths[mine++] =
                spec->split->length[hone_order_row(spec, at.at + k)];
        if (api->layout(s->collator.config, s->bucket, s->buckets, lengths,
                        mine, &to, NULL) != HONE_OK)
            continue; /* the step itself will say so */
        for (int32_t m = 0; m < to.micros; m++)
            runs[to.bucket[m]] += 1 / (double)n;
    }
}

double hone_pace_tokens(const hone_session *s)
{
    double runs[HONE_MAX_BUCKETS] = { 0 }, tokens = 0;
    hone_arena a = { 0 };

    count_micros(s, &s->train_rows, &a, runs);
    for (uint32_t i = 0; i < s->buckets; i++)
        tokens += runs[i] * (double)s->bucket[i].tokens;
    hone_arena_free(&a);
    return tokens;
}

/* A step of SPEC with the programs MICRO; ONCE: what is run once in it. */
static hone_cost step_of(const hone_session *s, const hone_loader_spec *spec,
                         hone_step_programs *programs)
{
    double runs[HONE_MAX_BUCKETS] = { 0 };
    hone_arena a = { 0 };
    hone_cost cost;

    count_micros(s, spec, &a, runs);
    programs->runs = runs;
    programs->buckets = s->buckets;
    cost = hone_step_cost(programs, &s->card);
    hone_arena_free(&a);
    return cost;
}

/* Bytes through something that may be unknown. */
static double through(double bytes, double rate)
{
    return rate > 0 ? bytes / rate : 0;
}

/* Evaluations: at the start, every so many steps, at the end. */
static double evaluations(const hone_session *s)
{
    int64_t every = s->recipe->eval_every;

    return 2 + (every > 0 ? (double)((s->steps - 1) / every) : 0);
}

void hone_pace(const hone_session *s, hone_plan_parts *p)
{
    hone_step_programs train = { .micro = s->train,
                                 .once = { &s->zero, &s->update } };
    hone_step_programs eval = { .micro = s->eval };
    const hone_figure *figure = s->card.figure;
    double disk = figure[HONE_CARD_DISK].value, weights = 0, saves = 1;

    if (!s->card.name[0])
        return;
    p->card = &s->card;
    for (int i = 0; i < s->store.count; i++)
        if (s->store.list[i].kind == HONE_T_PARAM)
            weights += (double)s->store.list[i].bytes;
    p->seconds[HONE_PLAN_LOAD] =
        through(weights, disk) +
        through(weights, figure[HONE_CARD_TO_DEVICE].value);
    if (s->train[0].name) {
        p->step = step_of(s, &s->train_rows, &train);
        p->seconds[HONE_PLAN_TRAIN] = p->step.seconds * (double)s->steps;
    }
    if (s->data.val.rows)
        p->seconds[HONE_PLAN_EVAL] =
            step_of(s, &s->val_rows, &eval).seconds *
            (double)s->val_rows.steps * (s->train[0].name ? evaluations(s) : 1);
    if (s->recipe->save_every > 0)
        saves += (double)((s->steps - 1) / s->recipe->save_every);
    p->seconds[HONE_PLAN_SAVE] =
        through((double)(p->results + p->checkpoint) * saves, disk);
}
