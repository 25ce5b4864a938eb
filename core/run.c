/* SPDX-License-Identifier: MIT
 *
 * run.c -- see run.h. All texts are made before step 0; afterwards only
 * write(2) and rename(2) are called.
 */
#include "run.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "live.h"
#include "log.h"
#include "model_files.h"
#include "signals.h"
#include "train.h"

enum { PLAN_TEXT = 16384 };

typedef struct {
    hone_session s;
    hone_live live;
    const char *out;
    int64_t device_bytes, host_bytes;
    char plan[PLAN_TEXT];
    char state[8192]; /* run.json */
} run;

/* ------------------------------------------------------------- the folder */

const char *hone_run_text(hone_arena *a, const char *folder, const char *key)
{
    json_t *json = NULL;
    const char *text = NULL;

    if (hone_json_read(folder, "run.json", &json, NULL) != HONE_OK)
        return NULL;
    if (json_is_string(json_object_get(json, key)))
        text = hone_text(a, json_string_value(json_object_get(json, key)));
    json_decref(json);
    return text;
}

static hone_status set_aside(const char *out, hone_err *err)
{
    char to[4096];
    struct stat st;

    for (int i = 1; i < 100000; i++) {
        snprintf(to, sizeof to, "%s.%d", out, i);
        if (lstat(to, &st) != 0)
            break;
    }
    if (rename(out, to) != 0)
        return hone_fail(err, HONE_EIO, "%s: cannot be set aside as %s: %s",
                         out, to, strerror(errno));
    hone_log(HONE_LOG_NOTE, "%s is now %s", out, to);
    return HONE_OK;
}

static int is_finished(const char *out)
{
    hone_arena a = { 0 };
    const char *state = hone_run_text(&a, out, "state");
    int finished = state && !strcmp(state, "finished");

    hone_arena_free(&a);
    return finished;
}

/* An empty folder for the run; one that is there is set aside. */
static hone_status take_folder(const char *out, int fresh, hone_err *err)
{
    struct stat st;

    if (lstat(out, &st) != 0)
        return hone_make_folder(out, err);
    if (!fresh)
        hone_log(HONE_LOG_NOTE, "%s was not finished and has no checkpoint: "
                 "starting over", out);
    hone_try(set_aside(out, err));
    return hone_make_folder(out, err);
}

static hone_status write_state(run *r, const char *state, hone_err *err)
{
    char path[4096];
    const hone_recipe *recipe = r->s.recipe;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "hone",
                             HONE_VERSION, "recipe", recipe->file, "model",
                             recipe->model.path, "state", state, "device",
                             r->s.machine.component->name, "steps",
                             (json_int_t)r->s.steps, "seed",
                             (json_int_t)recipe->seed);
    size_t n = json ? json_dumpb(json, r->state, sizeof r->state - 1,
                                 JSON_INDENT(2)) : 0;

    json_decref(json);
    if (n == 0 || n >= sizeof r->state)
        return hone_fail(err, HONE_EIO, "run.json cannot be made");
    r->state[n] = '\n';
    snprintf(path, sizeof path, "%s/run.json", r->out);
    return hone_write_file(path, r->state, n + 1, err);
}

/* run.json again, with another state of the same length: no allocation. */
static hone_status finish_state(run *r, hone_err *err)
{
    char path[4096];
    static const char before[] = "\"state\": \"training\"";
    static const char after[] = "\"state\": \"finished\"";
    char *at = strstr(r->state, before);

    memcpy(at, after, strlen(after));
    snprintf(path, sizeof path, "%s/run.json", r->out);
    return hone_write_file(path, r->state, strlen(r->state), err);
}

static hone_status write_texts(run *r, hone_err *err)
{
    char path[4096];
    int n = hone_plan_json(&r->s.plan, r->plan, sizeof r->plan);

    snprintf(path, sizeof path, "%s/plan.json", r->out);
    hone_try(hone_write_file(path, r->plan, (size_t)n, err));
    snprintf(path, sizeof path, "%s/recipe.lua", r->out);
    hone_try(hone_write_file(path, r->s.recipe->source,
                             strlen(r->s.recipe->source), err));
    return write_state(r, "training", err);
}

/* ---------------------------------------------------------------- reports */

static hone_status log_eval(run *r, const hone_step_report *step, double loss,
                            int64_t targets, hone_err *err)
{
    hone_field f[] = { { "step", (double)step->step, 1 },
                       { "eval_loss", loss, 0 },
                       { "eval_target_tokens", (double)targets, 1 } };

    hone_live_eval(&r->live, step->step, loss);
    return hone_session_record(&r->s, f, 3, err);
}

static hone_status log_step(void *self, const hone_step_report *s,
                            double eval_loss, int64_t eval_targets,
                            hone_err *err)
{
    run *r = self;
    hone_field f[] = { { "step", (double)s->step, 1 },
                       { "loss", s->loss, 0 },
                       { "grad_norm", s->grad_norm, 0 },
                       { "lr", s->lr, 0 },
                       { "rows", (double)s->rows, 1 },
                       { "tokens", (double)s->tokens, 1 },
                       { "target_tokens", (double)s->targets, 1 },
                       { "tokens_per_s", (double)s->tokens / s->time_s, 0 },
                       { "device_bytes", (double)r->device_bytes, 1 },
                       { "host_bytes", (double)r->host_bytes, 1 },
                       { "time_s", s->time_s, 0 } };

    if (s->loss == 0 && s->rows == 0) /* an evaluation has no rows */
        return log_eval(r, s, eval_loss, eval_targets, err);
    hone_live_step(&r->live, s);
    return hone_session_record(&r->s, f, sizeof f / sizeof *f, err);
}

static void say_plan(const run *r)
{
    const hone_session *s = &r->s;
    char text[32];

    hone_log(HONE_LOG_NOTE,
             "%lld steps of %lld rows (%lld rows, %lld target tokens to learn "
             "from) on %s, %s planned", (long long)s->steps,
             (long long)s->batch, (long long)s->data.train.rows,
             (long long)s->data.train.target_tokens, s->machine.info.name,
             hone_bytes_text(r->host_bytes + r->device_bytes, text));
}

/* Also what an interrupted run has learned so far. */
static hone_status save(run *r, hone_err *err)
{
    hone_session *s = &r->s;

    hone_try(hone_results_save(&s->results, &s->store, &s->machine, err));
    hone_log(HONE_LOG_NOTE, "saved %s", s->results.folder);
    return HONE_OK;
}

static hone_status train(run *r, const hone_rank *rank, int fresh,
                         hone_err *err)
{
    hone_session *s = &r->s;
    hone_status status;

    hone_try(hone_session_open(s, r->s.recipe, rank, 1, r->out, err));
    hone_try(take_folder(r->out, fresh, err));
    hone_try(hone_session_start_loggers(s, err));
    r->device_bytes = hone_plan_total(&s->plan, HONE_PLAN_DEVICE);
    r->host_bytes = hone_plan_total(&s->plan, HONE_PLAN_HOST);
    hone_try(write_texts(r, err));
    say_plan(r);
    hone_try(hone_session_reserve(s, err));
    hone_try(hone_session_load(s, err));
    hone_live_start(&r->live, s->steps, r->device_bytes + r->host_bytes);
    hone_signals_catch();
    status = hone_train(s, log_step, r, err);
    if (status == HONE_EINTR) {
        hone_err why;
        if (save(r, &why) != HONE_OK)
            return hone_fail(err, why.code, "%s", why.msg);
    }
    hone_try(status);
    hone_try(save(r, err));
    return finish_state(r, err);
}

hone_status hone_run(const hone_recipe *recipe, const hone_rank *rank,
                     const char *out, int fresh, hone_err *err)
{
    run *r;
    hone_status status;

    if (!fresh && is_finished(out)) {
        hone_log(HONE_LOG_NOTE, "%s is a finished run; --fresh starts over",
                 out);
        return HONE_OK;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return hone_fail(err, HONE_ENOMEM, "no memory");
    r->out = out;
    r->s.recipe = recipe;
    status = train(r, rank, fresh, err);
    hone_session_close(&r->s);
    free(r);
    return status;
}
