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
        if (hone_interrupted())
            return hone_fail(err, HONE_EINTR, "interrupted while evaluating");
    }
    if (status != HONE_END)
        return status;
    *loss = *targets ? total / (double)*targets : NAN;
    return HONE_OK;
}

static hone_status evaluate_at(hone_session *s, int64_t step, hone_watch watch,
                               void *self, hone_err *err)
{
    hone_step_report r = { .step = step };
    hone_report seen = { .size = sizeof seen, .step = step, .loss = NAN,
                         .grad_norm = NAN };
    const hone_schedule *api = s->schedule.component->ops;
    int64_t targets;
    double loss;

    if (!s->data.val.rows)
        return HONE_OK;
    hone_try(hone_evaluate(s, &loss, &targets, err));
    seen.eval_loss = loss;
    if (api->observe)
        api->observe(s->schedule.config, s->schedule.state, &seen);
    return watch(self, &r, loss, targets, err);
}

/* Adaptive schedules see step s - 2 at step s, on every device. */
static void tell_schedule(hone_session *s, const hone_step_report *last,
                          hone_report *pending)
{
    const hone_schedule *api = s->schedule.component->ops;

    if (api->observe && pending->step)
        api->observe(s->schedule.config, s->schedule.state, pending);
    *pending = (hone_report){ .size = sizeof *pending, .step = last->step,
                              .loss = last->loss,
                              .grad_norm = last->grad_norm,
                              .eval_loss = NAN };
}

static hone_status not_finite(const hone_step_report *r, const hone_rows *rows,
                              int *skipped, hone_err *err)
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
    return hone_fail(err, HONE_EIO, "%d steps in a row were not finite: the "
                     "run has diverged; lower lr or raise warmup", *skipped);
}

hone_status hone_train(hone_session *s, hone_watch watch, void *self,
                       hone_err *err)
{
    int64_t every = s->recipe->eval_every, evaluated = 0;
    hone_report pending = { 0 };
    const hone_rows *rows;
    hone_step_report r = { 0 };
    hone_status status;
    int skipped = 0;

    hone_try(evaluate_at(s, 0, watch, self, err));
    while ((status = hone_loader_next(s->train_loader, &rows, err)) ==
           HONE_OK) {
        hone_try(train_step(s, rows, &r, err));
        hone_try(watch(self, &r, NAN, 0, err));
        hone_try(not_finite(&r, rows, &skipped, err));
        tell_schedule(s, &r, &pending);
        if (hone_interrupted())
            return hone_fail(err, HONE_EINTR, "interrupted after step %lld",
                             (long long)r.step);
        if (every && r.step % every == 0) {
            hone_try(evaluate_at(s, r.step, watch, self, err));
            evaluated = r.step;
        }
    }
    if (status != HONE_END)
        return status;
    if (evaluated != r.step)
        return evaluate_at(s, r.step, watch, self, err);
    return HONE_OK;
}
