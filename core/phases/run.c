/* SPDX-License-Identifier: MIT
 *
 * run.c -- see run.h. All texts are made before step 0; afterwards only
 * write(2) and rename(2) are called.
 */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels_limits.h"
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
    char state[65536]; /* run.json */
    json_t *learns;    /* part of it: what the recipe says now */
    int lock;          /* its folder, open and locked */
    int began;         /* steps of this process */
    hone_err beside;   /* what went wrong beside the training; "": nothing */
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

/* But for what a kill may leave before there is a run.json, and what a file
 * system has where it is mounted. */
static int is_empty(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    int names = 0;

    while (d && (e = readdir(d)))
        names += strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
                 strcmp(e->d_name, "run.json.part") &&
                 strcmp(e->d_name, "lost+found");
    if (d)
        closedir(d);
    return names == 0;
}

/* What starts over sets its folder aside: only what may be a run's is one. */
static hone_status check_out(const char *out, int fresh, hone_err *err)
{
    char path[PATH_MAX];
    json_t *json = NULL;
    struct stat st;
    hone_err why;

    if (lstat(out, &st) != 0)
        return HONE_OK;
    if (stat(out, &st) != 0 || !S_ISDIR(st.st_mode))
        return hone_fail(err, HONE_EINVAL, "%s: is there and no folder: give "
                         "another one with --out", out);
    snprintf(path, sizeof path, "%s/run.json", out);
    if (is_empty(out))
        return HONE_OK;
    if (access(path, F_OK) == 0) {
        if (fresh)
            return HONE_OK;
        if (hone_json_read(out, "run.json", &json, &why) != HONE_OK)
            return hone_fail(err, HONE_EINVAL, "%s; --fresh starts over",
                             why.msg);
        json_decref(json);
        return HONE_OK;
    }
    return hone_fail(err, HONE_EINVAL, "%s: holds files that are of no run (no "
                     "run.json): give another folder with --out, or move "
                     "them away", out);
}

/* run.json names both. */
static hone_status check_names(const hone_recipe *r, hone_err *err)
{
    const char *const names[] = { r->file, r->model.path };

    for (int i = 0; i < 2; i++) {
        json_t *text = json_string(names[i]);

        if (!text)
            return hone_fail(err, HONE_EINVAL, "%s: this name is not UTF-8, "
                             "and run.json has to hold it: rename the folder "
                             "or file", names[i]);
        json_decref(text);
    }
    return HONE_OK;
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
        return hone_fail(err, HONE_EIO, "%s: cannot be set aside as %s: %s; "
                         "give another folder with --out", out, to,
                         strerror(errno));
    hone_log(HONE_LOG_NOTE, "%s is now %s", out, to);
    return HONE_OK;
}

/* "training", "finished"; "": no run of ours, or one that cannot be read. */
static void read_state(const char *out, char to[16])
{
    hone_arena a = { 0 };
    const char *state = hone_run_text(&a, out, "state");

    snprintf(to, 16, "%s", state ? state : "");
    hone_arena_free(&a);
}

/* One process trains into a folder; the lock goes with the process. File
 * systems that cannot lock are not asked twice. */
static hone_status lock(run *r, hone_err *err)
{
    r->lock = open(r->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock >= 0 && flock(r->lock, LOCK_EX | LOCK_NB) != 0 &&
        errno == EWOULDBLOCK)
        return hone_fail(err, HONE_EIO, "%s: another hone trains into it; wait "
                         "for it, or give another folder with --out", r->out);
    return HONE_OK;
}

static void unlock(run *r)
{
    if (r->lock >= 0)
        close(r->lock);
    r->lock = -1;
}

/* The folder of the run: one that began goes on, from its newest checkpoint or
 * from the start; anything else in its place is set aside. */
static hone_status take_folder(run *r, int fresh, hone_err *err)
{
    char state[16];
    int64_t from = -1;

    hone_try(lock(r, err));
    read_state(r->out, state);
    if (!fresh && !strcmp(state, "finished"))
        return hone_fail(err, HONE_EINVAL, "%s: another hone has finished this "
                         "run meanwhile; --fresh starts over", r->out);
    if (!fresh && !strcmp(state, "training")) {
        hone_try(hone_checkpoint_find(r->out, &from, err));
        if (from >= 0)
            hone_try(hone_resume_check(r->out, r->s.recipe, r->learns, err));
        else
            hone_log(HONE_LOG_NOTE, "%s has no checkpoint yet: it starts from "
                     "step 0", r->out);
        r->s.resume_from = from;
        return HONE_OK;
    }
    if (!is_empty(r->out)) {
        hone_try(set_aside(r->out, err));
        unlock(r);
    }
    hone_try(hone_make_folder(r->out, err));
    return r->lock >= 0 ? HONE_OK : lock(r, err);
}

/* Whether the folder that was taken has another's name by now, or none. */
static int is_gone(const run *r)
{
    struct stat ours, there;

    if (stat(r->out, &there) != 0)
        return errno == ENOENT;
    return r->lock >= 0 && fstat(r->lock, &ours) == 0 &&
           (ours.st_ino != there.st_ino || ours.st_dev != there.st_dev);
}

static int is_run(const run *r)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/run.json", r->out);
    return !is_gone(r) && (access(path, F_OK) == 0 || errno != ENOENT);
}

static hone_status write_state(run *r, const char *state, hone_err *err)
{
    char path[4096];
    const hone_recipe *recipe = r->s.recipe;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:O}", "hone",
                             HONE_VERSION, "recipe", recipe->file, "model",
                             recipe->model.path, "state", state, "device",
                             r->s.machine.component->name, "steps",
                             (json_int_t)r->s.steps, "seed",
                             (json_int_t)recipe->seed, "learns", r->learns);
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
    int n = hone_plan_json(&r->s.plan, 0, r->plan, sizeof r->plan);

    hone_try(write_state(r, "training", err)); /* makes it a run: first */
    snprintf(path, sizeof path, "%s/plan.json", r->out);
    hone_try(hone_write_file(path, r->plan, (size_t)n, err));
    snprintf(path, sizeof path, "%s/recipe.lua", r->out);
    return hone_write_file(path, r->s.recipe->source,
                           strlen(r->s.recipe->source), err);
}

static hone_status say_gone(const run *r, hone_err *err)
{
    return hone_fail(err, HONE_EIO, "%s: was deleted, moved or emptied while "
                     "hone trained into it", r->out);
}

/* Somebody did that. What is learnt is still here, and goes where it was to
 * go. */
static hone_status make_again(run *r, hone_err *err)
{
    if (!r->beside.msg[0])
        (void)say_gone(r, &r->beside);
    if (is_gone(r)) {
        unlock(r);
        hone_try(hone_make_folder(r->out, err));
        hone_try(lock(r, err));
        if (!is_empty(r->out))
            return hone_fail(err, HONE_EIO, "%s: is another folder by now: "
                             "nothing is saved into it", r->out);
    }
    r->s.resume.files.saved = -1; /* no checkpoint is there */
    return write_texts(r, err);
}

/* ---------------------------------------------------------------- reports */

/* To the loggers. What goes wrong beside the training ends it as a signal
 * does: what is learnt is saved first. */
static hone_status record(run *r, const hone_field *f, uint32_t count)
{
    hone_err why;
    hone_status status = hone_session_record(&r->s, f, count, &why);

    if (status == HONE_OK && !is_run(r))
        status = say_gone(r, &why);
    if (status == HONE_OK || r->beside.msg[0])
        return HONE_OK;
    r->beside = why;
    return HONE_EINTR;
}

static hone_status log_eval(run *r, const hone_step_report *step, double loss,
                            int64_t targets)
{
    hone_field f[] = { { "step", (double)step->step, 1 },
                       { "eval_loss", loss, 0 },
                       { "eval_target_tokens", (double)targets, 1 } };

    hone_live_eval(&r->live, step->step, loss);
    return record(r, f, 3);
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
                       { "time_s", s->time_s, 0 },
                       { "loss_scale", s->scale, 0 } };
    uint32_t count = sizeof f / sizeof *f - (s->scale == 0);

    (void)err;
    if (s->loss == 0 && s->rows == 0) /* an evaluation has no rows */
        return log_eval(r, s, eval_loss, eval_targets);
    if (!r->began++)
        hone_log_time("first step");
    hone_live_step(&r->live, s);
    return record(r, f, count);
}

static void say_plan(const run *r)
{
    const hone_session *s = &r->s;
    char text[32];

    hone_log(HONE_LOG_NOTE,
             "%lld steps of %s%lld rows (%lld rows, %lld target tokens to learn "
             "from) on %s, %s planned", (long long)s->steps,
             s->recipe->global_tokens ? "at most " : "",
             (long long)s->batch, (long long)s->data.train.rows,
             (long long)s->data.train.target_tokens, s->machine.info.name,
             hone_bytes_text(r->host_bytes + r->device_bytes, text));
}

/* The state to go on from, and what was learned so far: the one even where the
 * other has no room. */
static hone_status save(run *r, hone_err *err)
{
    hone_session *s = &r->s;
    hone_status resume, results;
    hone_err why;

    if (!is_run(r))
        hone_try(make_again(r, err));
    resume = hone_resume_save(&s->resume, &s->store, &s->machine, &s->progress,
                              err);
    results = hone_results_save(&s->results, &s->store, &s->machine,
                                resume == HONE_OK ? err : &why);
    if (results == HONE_OK)
        hone_log(HONE_LOG_NOTE, "saved %s", s->results.folder);
    return resume != HONE_OK ? resume : results;
}

/* Behind the last step, or the last one before a signal or a mishap. */
static hone_status end(run *r, int interrupted, hone_err *err)
{
    const char *mishap = r->beside.msg;
    long long step = r->s.progress.step;
    hone_err why;
    hone_status status = save(r, &why);

    if (status != HONE_OK)
        return hone_fail(err, status, "%.450s%s%.450s%s", mishap,
                         *mishap ? "; " : "", why.msg,
                         r->s.resume.files.saved < step ? "" : "; but where the "
                         "run stands is saved: the same command goes on");
    if (*mishap)
        return hone_fail(err, HONE_EIO, "%.900s; step %lld is saved: the same "
                         "command goes on from there", mishap, step);
    if (interrupted)
        return hone_fail(err, HONE_EINTR, "interrupted after step %lld, which "
                         "is saved; the same command goes on from there",
                         step);
    return finish_state(r, err);
}

/* Opens the session and the folder: all that can be refused without touching
 * the device. */
static hone_status prepare(run *r, const hone_rank *rank, int fresh,
                           hone_err *err)
{
    hone_session *s = &r->s;
    hone_contents contents;

    s->fresh = fresh;
    hone_try(hone_session_open(s, s->recipe, rank, 1, r->out, err));
    contents = (hone_contents){
        .weights = s->has_weights ? &s->weights : NULL,
        .adapter = s->has_peft ? &s->peft.weights : NULL,
        .data = s->data.hash, .compute = s->compute };
    r->learns = hone_resume_choices(s->recipe, &contents);
    hone_try(take_folder(r, fresh, err));
    r->device_bytes = hone_plan_total(&s->plan, HONE_PLAN_DEVICE);
    r->host_bytes = hone_plan_total(&s->plan, HONE_PLAN_HOST);
    hone_try(write_texts(r, err));
    s->folder = r->out;
    hone_log_time("the run's folder");
    return hone_session_start_loggers(s, err);
}

/* What the device does at best, to say how near a step comes; in memory that
 * holds nothing yet. 0: that is too little. Not on the CPU, whose cores others
 * use too. */
static double measure_limit(const hone_session *s)
{
    const hone_machine *m = &s->machine;
    hone_bench bench = { .device = m->api, .info = &m->info,
                         .dev = m->self, .threads = m->info.threads,
                         .compute = s->compute,
                         .scratch = s->device_memory,
                         .scratch_bytes = hone_plan_arena(&s->plan) };
    double flops_per_s = 0;
    hone_err err;

    if (!m->info.is_host)
        (void)hone_limits_flops(&bench, m->component->name, &flops_per_s, &err);
    return flops_per_s;
}

static hone_status train(run *r, const hone_rank *rank, int fresh,
                         hone_err *err)
{
    hone_session *s = &r->s;
    hone_status status;
    double limit;

    hone_try(prepare(r, rank, fresh, err));
    say_plan(r);
    hone_try(hone_session_reserve(s, err));
    limit = measure_limit(s);
    hone_log_time("the device's limit");
    hone_try(hone_session_load(s, err));
    if (s->resume_from >= 0)
        hone_log(HONE_LOG_NOTE, "going on after step %lld",
                 (long long)s->resume_from);
    hone_live_start(&r->live, s->progress.step, s->steps,
                    r->device_bytes + r->host_bytes, limit);
    hone_signals_catch();
    status = hone_train(s, log_step, r, err);
    if (status != HONE_OK && status != HONE_EINTR)
        return status;
    return end(r, status == HONE_EINTR, err);
}

static hone_status say_finished(const char *out, const hone_recipe *recipe)
{
    hone_err err = { 0 };

    hone_log(HONE_LOG_NOTE, "%s is a finished run; --fresh starts over", out);
    if (hone_resume_changed(out, recipe, &err) != HONE_OK)
        hone_log(HONE_LOG_WARN, "the recipe is not what ran there:\n%s",
                 err.msg);
    return HONE_OK;
}

hone_status hone_run(const hone_recipe *recipe, const hone_rank *rank,
                     const char *out, int fresh, hone_err *err)
{
    char state[16];
    run *r;
    hone_status status;

    hone_try(check_names(recipe, err));
    hone_try(check_out(out, fresh, err));
    read_state(out, state);
    if (!fresh && !strcmp(state, "finished"))
        return say_finished(out, recipe);
    r = calloc(1, sizeof *r);
    if (!r)
        return hone_fail(err, HONE_ENOMEM, "no memory");
    r->out = out;
    r->lock = -1;
    r->s.recipe = recipe;
    status = train(r, rank, fresh, err);
    hone_session_close(&r->s);
    json_decref(r->learns);
    unlock(r);
    free(r);
    return status;
}
