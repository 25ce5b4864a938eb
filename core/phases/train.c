/* SPDX-License-Identifier: MIT
 *
 * train.c -- see train.h. A step: zero the gradients, unless its only micro-
 * batch writes them; for each micro-batch fill the inputs and run its program;
 * one update. What a step learns depends
 * on its rows alone, not on how they lie in micro-batches.
 *
 * Nothing of this waits for the device: a step is issued while the one before
 * it is computed, and its numbers are taken when the next one is issued. What
 * needs the weights, or a decision about the run, first lets all steps land.
 * In fp16 every step is waited for: one whose gradients were too large for it
 * has changed nothing but their scale, and is done again.
 */
#include "train.h"

#include <math.h>
#include <stdlib.h>

#include "log.h"
#include "machine.h"
#include "option.h"
#include "signals.h"

enum {
    MAX_SKIPPED = 5, /* steps in a row that may not be finite */
    MAX_AGAIN = 40   /* more often than a scale can be halved: compile.c */
};

/* Issues the micro-batches of one step through PROGRAMS (one a bucket). */
static hone_status run_micros(hone_session *s, const hone_rows *rows, float lr,
                              const hone_program *programs, hone_err *err)
{
    hone_feed *f = &s->feed;
    hone_step_inputs in = {
        .rng = { s->recipe->seed, rows->step },
        .dloss = 1.0f / (float)(rows->all_targets ? rows->all_targets : 1),
        .lr = lr };

    hone_try(hone_feed_step(f, rows, err));
    if (programs == s->train && s->single && f->layout.micros > 1)
        return hone_fail(err, HONE_EIO, "hone.%s lays a step out in %d micro-"
                         "batches, and said before that each is one",
                         s->collator.component->name, f->layout.micros);
    for (int m = 0; m < f->layout.micros; m++) {
        if (hone_interrupted()) /* nothing was updated: as if not begun */
            return hone_fail(err, HONE_EINTR, "interrupted");
        hone_try(hone_feed_micro(f, rows, m, &in, err));
        hone_program_run(&programs[f->layout.bucket[m]], &s->machine,
                         f->targets_here);
    }
    return HONE_OK;
}

static void observe(hone_session *s, const hone_report *seen)
{
    const hone_schedule *api = s->schedule.component->ops;

    if (api->observe)
        api->observe(s->schedule.config, s->schedule.state, seen);
}

/* The rate of STEP (from 0). Adaptive schedules see step s - 2 at step s, on
 * every device, even if step s - 1 has landed already. */
static double step_lr(hone_session *s, int64_t step)
{
    const hone_schedule *api = s->schedule.component->ops;
    hone_report *waiting = &s->progress.report;
    double base = hone_option_real(s->optimizer.component->options,
                                   s->optimizer.config, "lr");

    if (waiting->step && waiting->step < step) {
        observe(s, waiting);
        waiting->step = 0;
    }
    return base * api->factor(s->schedule.config, s->schedule.state, step,
                              s->steps);
}

/* ------------------------------------------------------------- evaluations */

/* That of the oldest step that is evaluated. */
static hone_status add_loss(hone_session *s, double *total, hone_err *err)
{
    int slot;

    hone_try(hone_scalars_take(&s->scalars, &slot, err));
    *total += (double)*s->scalars.loss_sum[slot];
    return HONE_OK;
}

hone_status hone_evaluate(hone_session *s, double *loss, int64_t *targets,
                          hone_err *err)
{
    hone_scalars *back = &s->scalars;
    const hone_rows *rows;
    hone_status status;
    double total = 0;

    *targets = 0;
    *loss = NAN;
    if (!s->data.val.rows)
        return HONE_OK;
    hone_loader_seek(s->val_loader, 0);
    while ((status = hone_loader_next(s->val_loader, &rows, err)) == HONE_OK) {
        hone_program_run(&s->zero_loss, &s->machine, 0);
        hone_try(run_micros(s, rows, 0, s->eval, err));
        if (s->reduce.name)
            hone_program_run(&s->reduce, &s->machine, 0);
        hone_scalars_send(back);
        if (back->sent - back->taken > hone_scalars_ahead(back))
            hone_try(add_loss(s, &total, err));
        *targets += rows->all_targets;
    }
    while (back->taken < back->sent)
        hone_try(add_loss(s, &total, err));
    if (status != HONE_END)
        return status;
    *loss = *targets ? total / (double)*targets : NAN;
    return HONE_OK;
}

static hone_status evaluate_now(hone_session *s, hone_watch watch, void *self,
                                hone_err *err)
{
    hone_step_report r = { .step = s->progress.step };
    hone_report seen = { .size = sizeof seen, .step = r.step, .loss = NAN,
                         .grad_norm = NAN };
    int64_t targets = 0;

    if (s->data.val.rows) {
        hone_try(hone_evaluate(s, &seen.eval_loss, &targets, err));
        observe(s, &seen);
    }
    s->progress.evaluated = r.step;
    return s->data.val.rows ? watch(self, &r, seen.eval_loss, targets, err)
                            : HONE_OK;
}

/* ------------------------------------------------------------------- steps */

/* A step that was issued: its numbers come later. */
typedef struct {
    hone_step_report r;
    double issued_s;
    int64_t first_row, last_row; /* in the prepared data; -1: none */
} flight;

typedef struct {
    hone_session *s;
    hone_watch watch;
    void *self;
    flight step[HONE_IN_FLIGHT];
    double landed_s; /* when the last one did */
    const hone_rows *rows; /* of the step that was issued last */
    int again;             /* so often it was too large for fp16, and is now */
} trainer;

/* Of the step that was laid out last. */
static double step_flops(const hone_session *s)
{
    const hone_layout *l = &s->feed.layout;
    double flops = s->zero.flops + s->update.flops;

    for (int m = 0; m < l->micros; m++)
        flops += s->train[l->bucket[m]].flops;
    return flops;
}

static hone_status issue(trainer *t, hone_err *err)
{
    hone_session *s = t->s;
    flight *x = &t->step[s->scalars.sent % HONE_IN_FLIGHT];
    const hone_rows *rows;
    int last;

    if (!t->again)
        hone_try(hone_loader_next(s->train_loader, &t->rows, err));
    rows = t->rows;
    last = rows->count - 1;
    *x = (flight){ .issued_s = hone_now_s(),
                   .r = { .step = rows->step + 1,
                          .lr = step_lr(s, rows->step),
                          .rows = rows->all_rows,
                          .tokens = rows->all_tokens,
                          .targets = rows->all_targets },
                   .first_row = last < 0 ? -1 : rows->sample[0].row,
                   .last_row = last < 0 ? -1 : rows->sample[last].row };
    hone_scalars_begin(&s->scalars);
    hone_program_run(s->single && rows->count ? &s->zero_loss : &s->zero,
                     &s->machine, 0);
    hone_try(run_micros(s, rows, (float)x->r.lr, s->train, err));
    x->r.flops = step_flops(s);
    hone_program_run(&s->update, &s->machine, 0);
    hone_scalars_send(&s->scalars);
    return HONE_OK;
}

/* What an adaptive schedule will see of a step once it may. */
static void tell_schedule(hone_session *s, const hone_step_report *r)
{
    if (s->progress.report.step)
        observe(s, &s->progress.report);
    s->progress.report = (hone_report){ .size = sizeof(hone_report),
                                        .step = r->step,
                                        .loss = r->loss,
                                        .grad_norm = r->grad_norm,
                                        .eval_loss = NAN };
}

static hone_status not_finite(const flight *x, int64_t *skipped, hone_err *err)
{
    const hone_step_report *r = &x->r;

    if (!r->skipped) {
        *skipped = 0;
        return HONE_OK;
    }
    hone_log(HONE_LOG_WARN, "step %lld: loss %g, gradient norm %g: not "
             "updated; rows %lld to %lld of the prepared data",
             (long long)r->step, r->loss, r->grad_norm,
             (long long)x->first_row, (long long)x->last_row);
    if (++*skipped < MAX_SKIPPED)
        return HONE_OK;
    return hone_fail(err, HONE_EIO, "%lld steps in a row were not finite: the "
                     "run has diverged; lower lr or raise warmup",
                     (long long)*skipped);
}

/* The oldest step that was issued is done. Its time is the device's, from when
 * it could begin: as the step before landed, or as it was issued. */
static hone_status land(trainer *t, hone_err *err)
{
    hone_session *s = t->s;
    flight *x = &t->step[s->scalars.taken % HONE_IN_FLIGHT];
    hone_step_report *r = &x->r;
    hone_status heard;
    double now;
    int slot;

    hone_try(hone_scalars_take(&s->scalars, &slot, err));
    now = hone_now_s();
    r->time_s = hone_scalars_seconds(&s->scalars, slot);
    if (r->time_s <= 0)
        r->time_s = now - (x->issued_s > t->landed_s ? x->issued_s
                                                     : t->landed_s);
    t->landed_s = now;
    r->scale = s->scalars.scale[slot] ? (double)*s->scalars.scale[slot] : 0;
    t->again = s->scalars.again[slot] && *s->scalars.again[slot] != 0
                   ? t->again + 1 : 0;
    if (t->again > MAX_AGAIN)
        return hone_fail(err, HONE_EIO, "step %lld was done %d times, and its "
                         "gradients are too large for fp16 even so; leave "
                         "'precision' out, or write \"fp32\"",
                         (long long)r->step, t->again);
    if (t->again) {
        hone_log(HONE_LOG_DETAIL, "step %lld: gradients too large for fp16; "
                 "done again, with a scale of %g", (long long)r->step,
                 r->scale);
        return HONE_OK;
    }
    r->loss = (double)*s->scalars.loss_sum[slot] / (double)r->targets;
    r->grad_norm = (double)*s->scalars.norm[slot];
    r->skipped = *s->scalars.ok[slot] == 0;
    s->progress.step = r->step;
    tell_schedule(s, r);
    heard = t->watch(t->self, r, NAN, 0, err);
    hone_try(not_finite(x, &s->progress.skipped, err));
    return heard;
}

/* How many steps may be under way. The first one is waited for: whoever
 * watches wants to see it. */
static int may_fly(const trainer *t)
{
    return t->landed_s > 0 && t->s->compute != HONE_F16
               ? hone_scalars_ahead(&t->s->scalars) : 0;
}

/* Until at most MOST steps are in flight. */
static hone_status land_to(trainer *t, int most, hone_err *err)
{
    const hone_scalars *back = &t->s->scalars;

    while (back->sent - back->taken > most)
        hone_try(land(t, err));
    return HONE_OK;
}

/* What is due between two steps. A run that is resumed comes by here again:
 * the progress says what was done. */
static hone_status between_steps(trainer *t, hone_err *err)
{
    hone_session *s = t->s;
    const hone_recipe *r = s->recipe;
    int64_t step = s->progress.step + s->scalars.sent - s->scalars.taken;
    int evaluate = s->progress.evaluated != step &&
                   (step == 0 || (r->eval_every && step % r->eval_every == 0));
    int save = step && r->save_every && step % r->save_every == 0;

    if (evaluate || save)
        hone_try(land_to(t, 0, err));
    if (evaluate)
        hone_try(evaluate_now(s, t->watch, t->self, err));
    if (save)
        hone_try(hone_resume_save(&s->resume, &s->store, &s->machine,
                                  &s->progress, err));
    return HONE_OK;
}

hone_status hone_train(hone_session *s, hone_watch watch, void *self,
                       hone_err *err)
{
    trainer t = { .s = s, .watch = watch, .self = self };
    hone_status status;

    do {
        if (!t.again)
            hone_try(between_steps(&t, err));
        status = issue(&t, err);
        if (status == HONE_OK)
            status = land_to(&t, may_fly(&t), err);
    } while (status == HONE_OK);
    if (status != HONE_END && status != HONE_EINTR)
        return status;
    hone_try(land_to(&t, 0, err));
    if (status == HONE_EINTR)
        return hone_fail(err, status, "interrupted");
    if (s->progress.evaluated != s->progress.step)
        return evaluate_now(s, watch, self, err);
    return HONE_OK;
}
