/* SPDX-License-Identifier: MIT
 *
 * train.c -- see train.h. A step: zero the gradients; for each micro-batch
 * fill the inputs and run its program; one update. What a step learns depends
 * on its rows alone, not on how they lie in micro-batches.
 */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "log.h"
#include "machine.h"
#include "option.h"
#include "signals.h"

enum { MAX_SKIPPED = 5 }; /* steps in a row that may not be finite */

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static hone_status read_scalar(hone_session *s, const char *name, float *to,
                               hone_err *err)
{
    const hone_kept *k = hone_store_find(&s->store, name);

    return hone_machine_get(&s->machine, to, hone_store_address(&s->store, k),
                            sizeof *to, err);
}

/* The micro-batches of one step through PROGRAMS (one a bucket). */
static hone_status run_micros(hone_session *s, const hone_rows *rows,
                              const hone_program *programs, hone_err *err)
{
    hone_feed *f = &s->feed;
    int64_t rng[2] = { s->recipe->seed, rows->step };
    float dloss = 1.0f / (float)(rows->all_targets ? rows->all_targets : 1);

    hone_try(hone_feed_put(f, "rng", rng, sizeof rng, err));
    hone_try(hone_feed_put(f, "dloss", &dloss, sizeof dloss, err));
    hone_try(hone_feed_step(f, rows, err));
    for (int m = 0; m < f->layout.micros; m++) {
        if (hone_interrupted()) /* nothing was updated: as if not begun */
            return hone_fail(err, HONE_EINTR, "interrupted");
        hone_try(hone_feed_micro(f, rows, m, err));
        hone_program_run(&programs[f->layout.bucket[m]], &s->machine,
                         f->targets_here);
    }
    return HONE_OK;
}

static double step_lr(const hone_session *s, int64_t step)
{
    const hone_schedule *api = s->schedule.component->ops;
    double base = hone_option_real(s->optimizer.component->options,
                                   s->optimizer.config, "lr");

    return base * api->factor(s->schedule.config, s->schedule.state, step,
                              s->steps);
}

static hone_status train_step(hone_session *s, const hone_rows *rows,
                              hone_step_report *r, hone_err *err)
{
    double start = now_s();
    float lr, sum, norm, ok;

    r->step = rows->step + 1;
    r->lr = step_lr(s, rows->step);
    lr = (float)r->lr;
    hone_try(hone_feed_put(&s->feed, "lr", &lr, sizeof lr, err));
    hone_program_run(&s->zero, &s->machine, 0);
    hone_try(run_micros(s, rows, s->train, err));
    hone_program_run(&s->update, &s->machine, 0);
    hone_try(read_scalar(s, "loss_sum", &sum, err));
    hone_try(read_scalar(s, "step.norm", &norm, err));
    hone_try(read_scalar(s, "step.ok", &ok, err));
    r->loss = (double)sum / (double)rows->all_targets;
    r->grad_norm = norm;
    r->skipped = ok == 0;
    r->rows = rows->all_rows;
    r->tokens = rows->all_tokens;
    r->targets = rows->all_targets;
    r->time_s = now_s() - start;
    return HONE_OK;
}

hone_status hone_evaluate(hone_session *s, double *loss, int64_t *targets,
                          hone_err *err)
{
    const hone_rows *rows;
    hone_status status;
    double total = 0;
    float sum;

    *targets = 0;
    *loss = NAN;
    if (!s->data.val.rows)
        return HONE_OK;
    hone_loader_seek(s->val_loader, 0);
    while ((status = hone_loader_next(s->val_loader, &rows, err)) == HONE_OK) {
        hone_program_run(&s->zero_loss, &s->machine, 0);
        hone_try(run_micros(s, rows, s->eval, err));
        if (s->reduce.name)
            hone_program_run(&s->reduce, &s->machine, 0);
        hone_try(read_scalar(s, "loss_sum", &sum, err));
        total += (double)sum;
        *targets += rows->all_targets;
    }
    if (status != HONE_END)
        return status;
    *loss = *targets ? total / (double)*targets : NAN;
    return HONE_OK;
}

static void observe(hone_session *s, const hone_report *seen)
{
    const hone_schedule *api = s->schedule.component->ops;

    if (api->observe)
        api->observe(s->schedule.config, s->schedule.state, seen);
}

static hone_status evaluate_now(hone_session *s, hone_watch watch, void *self,
                                hone_err *err)
{
    hone_step_report r = { .step = s->progress.step };
    hone_report seen = { .size = sizeof seen, .step = r.step, .loss = NAN,
                         .grad_norm = NAN };
    int64_t targets;

    if (s->data.val.rows) {
        hone_try(hone_evaluate(s, &seen.eval_loss, &targets, err));
        observe(s, &seen);
        hone_try(watch(self, &r, seen.eval_loss, targets, err));
    }
    s->progress.evaluated = r.step;
    return HONE_OK;
}

/* Adaptive schedules see step s - 2 at step s, on every device. */
static void tell_schedule(hone_session *s, const hone_step_report *last)
{
    if (s->progress.report.step)
        observe(s, &s->progress.report);
    s->progress.report = (hone_report){ .size = sizeof(hone_report),
                                        .step = last->step,
                                        .loss = last->loss,
                                        .grad_norm = last->grad_norm,
                                        .eval_loss = NAN };
}

static hone_status not_finite(const hone_step_report *r, const hone_rows *rows,
                              int64_t *skipped, hone_err *err)
{
    if (!r->skipped) {
        *skipped = 0;
        return HONE_OK;
    }
    hone_log(HONE_LOG_WARN, "step %lld: loss %g, gradient norm %g: not "
             "updated; rows %lld to %lld of the prepared data",
             (long long)r->step, r->loss, r->grad_norm,
             (long long)(rows->count ? rows->sample[0].row : -1),
             (long long)(rows->count ? rows->sample[rows->count - 1].row : -1));
    if (++*skipped < MAX_SKIPPED)
        return HONE_OK;
    return hone_fail(err, HONE_EIO, "%lld steps in a row were not finite: the "
                     "run has diverged; lower lr or raise warmup",
                     (long long)*skipped);
}

static hone_status one_step(hone_session *s, hone_watch watch, void *self,
                            hone_err *err)
{
    const hone_rows *rows;
    hone_step_report r;

    hone_try(hone_loader_next(s->train_loader, &rows, err));
    hone_try(train_step(s, rows, &r, err));
    hone_try(watch(self, &r, NAN, 0, err));
    s->progress.step = r.step;
    tell_schedule(s, &r);
    return not_finite(&r, rows, &s->progress.skipped, err);
}

/* What is due between two steps. A run that is resumed comes by here again:
 * the progress says what was done. */
static hone_status between_steps(hone_session *s, hone_watch watch, void *self,
                                 hone_err *err)
{
    const hone_recipe *r = s->recipe;
    int64_t step = s->progress.step;

    if (s->progress.evaluated != step &&
        (step == 0 || (r->eval_every && step % r->eval_every == 0)))
        hone_try(evaluate_now(s, watch, self, err));
    if (step && r->save_every && step % r->save_every == 0)
        hone_try(hone_resume_save(&s->resume, &s->store, &s->machine,
                                  &s->progress, err));
    return HONE_OK;
}

hone_status hone_train(hone_session *s, hone_watch watch, void *self,
                       hone_err *err)
{
    hone_status status;

    do {
        hone_try(between_steps(s, watch, self, err));
        status = one_step(s, watch, self, err);
    } while (status == HONE_OK);
    if (status != HONE_END)
        return status;
    if (s->progress.evaluated != s->progress.step)
        return evaluate_now(s, watch, self, err);
    return HONE_OK;
}
