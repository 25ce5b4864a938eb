/* SPDX-License-Identifier: MIT
 *
 * verb_run.c -- hone run, hone plan and hone eval: the verbs that open a
 * session from a recipe.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "run.h"
#include "train.h"
#include "verbs.h"

static const char *absolute(hone_arena *a, const char *path)
{
    char here[PATH_MAX];

    if (path[0] == '/' || !getcwd(here, sizeof here))
        return path;
    return hone_format_text(a, "%s/%s", here, path);
}

int hone_verb_run(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *out = NULL, *fresh = NULL;
    const hone_arg args[] = { { "--set", NULL, sets, 0 },
                              { "--out", &out, NULL, 0 },
                              { "--fresh", &fresh, NULL, 1 },
                              { NULL, NULL, NULL, 0 } };
    hone_recipe recipe;
    hone_err err = { 0 };
    hone_status status;
    int bad = hone_verb_recipe(&recipe, argc, argv, args, sets,
                               "hone run RECIPE [--set KEY=VALUE]... "
                               "[--out DIR] [--fresh]");

    if (bad)
        return bad;
    status = hone_run(&recipe, NULL,
                      out ? absolute(&recipe.arena, out) : recipe.out,
                      fresh != NULL, &err);
    hone_recipe_free(&recipe);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}

int hone_verb_plan(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *json = NULL;
    const hone_arg args[] = { { "--set", NULL, sets, 0 },
                              { "--json", &json, NULL, 1 },
                              { NULL, NULL, NULL, 0 } };
    static char text[16384];
    hone_session *s;
    hone_recipe recipe;
    hone_err err = { 0 };
    hone_status status;
    int bad = hone_verb_recipe(&recipe, argc, argv, args, sets,
                               "hone plan RECIPE [--json]");

    if (bad)
        return bad;
    s = calloc(1, sizeof *s);
    status = s ? hone_session_open(s, &recipe, NULL, 1, recipe.out, &err)
               : hone_fail(&err, HONE_ENOMEM, "no memory");
    if (status == HONE_OK && json) {
        hone_plan_json(&s->plan, text, sizeof text);
        fputs(text, stdout);
    } else if (status == HONE_OK) {
        hone_plan_print(&s->plan);
    }
    if (s)
        hone_session_close(s);
    free(s);
    hone_recipe_free(&recipe);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}

/* Lets the recipe start from what --adapter or --run names. */
static hone_status take_trained(hone_recipe *r, const char *adapter,
                                const char *run, hone_err *err)
{
    const char *folder = adapter ? absolute(&r->arena, adapter) : NULL;

    if (run) {
        run = absolute(&r->arena, run);
        folder = hone_format_text(&r->arena, "%s/adapter", run);
        if (access(folder, F_OK) != 0) {
            folder = hone_format_text(&r->arena, "%s/model", run);
            if (access(folder, F_OK) != 0)
                return hone_fail(err, HONE_EINVAL, "%s: neither adapter/ nor "
                                 "model/ in it; is the run finished?", run);
            r->model.path = folder;
            r->model.init = NULL;
            return HONE_OK;
        }
    }
    if (folder) {
        r->has_adapter = 1;
        r->adapter.init = folder;
    }
    return HONE_OK;
}

static hone_status evaluate(hone_session *s, const hone_recipe *r, int json,
                            hone_err *err)
{
    double loss;
    int64_t targets;

    hone_try(hone_session_open(s, r, NULL, 0, NULL, err));
    if (!s->data.val.rows)
        return hone_fail(err, HONE_EINVAL, "%s: no held-out rows; give val to "
                         "hone.data (rows, a share, or a file)", r->file);
    hone_try(hone_session_reserve(s, err));
    hone_try(hone_session_load(s, err));
    hone_try(hone_evaluate(s, &loss, &targets, err));
    if (json)
        printf("{\"loss\": %.9g, \"target_tokens\": %lld}\n", loss,
               (long long)targets);
    else
        printf("held-out loss %.6f over %lld target tokens\n", loss,
               (long long)targets);
    return HONE_OK;
}

int hone_verb_eval(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *json = NULL;
    const char *adapter = NULL, *run = NULL;
    const hone_arg args[] = { { "--set", NULL, sets, 0 },
                              { "--json", &json, NULL, 1 },
                              { "--adapter", &adapter, NULL, 0 },
                              { "--run", &run, NULL, 0 },
                              { NULL, NULL, NULL, 0 } };
    hone_session *s;
    hone_recipe recipe;
    hone_err err = { 0 };
    hone_status status;
    int bad = hone_verb_recipe(&recipe, argc, argv, args, sets,
                               "hone eval RECIPE [--adapter DIR | --run DIR] "
                               "[--json]");

    if (bad)
        return bad;
    status = take_trained(&recipe, adapter, run, &err);
    s = calloc(1, sizeof *s);
    if (status == HONE_OK)
        status = s ? evaluate(s, &recipe, json != NULL, &err)
                   : hone_fail(&err, HONE_ENOMEM, "no memory");
    if (s)
        hone_session_close(s);
    free(s);
    hone_recipe_free(&recipe);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}
