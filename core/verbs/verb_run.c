/* SPDX-License-Identifier: MIT
 *
 * verb_run.c -- hone run, hone plan and hone eval: the verbs that open a
 * session from a recipe.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fit.h"
#include "log.h"
#include "run.h"
#include "train.h"
#include "verbs.h"

int hone_verb_run(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *out = NULL, *fresh = NULL;
    const hone_arg args[] = { { "--set", .list = sets },
                              { "--out", .value = &out },
                              { "--fresh", .value = &fresh, .flag = 1 },
                              { .name = NULL } };
    hone_recipe recipe;
    hone_err err = { 0 };
    hone_status status;
    int bad = hone_verb_recipe("run", &recipe, argc, argv, args, sets);

    if (bad)
        return bad;
    if (out)
        recipe.out = hone_absolute(&recipe.arena, NULL, out);
    signal(SIGPIPE, SIG_IGN); /* a run outlives who watches it */
    status = hone_run(&recipe, NULL, recipe.out, fresh != NULL, &err);
    hone_recipe_free(&recipe);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}

static int list_cards(void)
{
    hone_card c;
    char text[32];

    printf("%-20s %-20s %12s %9s %9s %9s\n", "card", "name", "memory",
           "GB/s", "Tflop/s", "measured");
    for (int i = 0; hone_card_at(&c, i); i++) {
        const char *file = strrchr(c.file, '/') + 1;
        const hone_curve *product = &c.rate[c.rate[HONE_CARD_BF16].points
                                                ? HONE_CARD_BF16
                                                : HONE_CARD_F32];

        printf("%-20.*s %-20s %12s %9.0f %9.0f %9s\n",
               (int)strlen(file) - 5, file, c.name,
               hone_bytes_text((int64_t)c.figure[HONE_CARD_MEMORY].value,
                               text),
               1e-9 * hone_curve_at(&c.rate[HONE_CARD_COPY], 1e30),
               1e-12 * hone_curve_at(product, 1e30),
               product->measured ? "yes" : "no");
    }
    return 0;
}

/* 0, or the exit status. The plan is there even if it does not fit. */
static int print_plan(const hone_recipe *r, int json, double price)
{
    static char text[16384];
    static hone_session s = { .explore = 1 };
    hone_err err;
    hone_status status = hone_session_open(&s, r, NULL, 1, r->out, &err);
    int at;

    if (s.plan.of.machine && json) {
        at = hone_plan_json(&s.plan, price, text, sizeof text) - 2;
        at += hone_means_runners_json(&s, text + at, (int)sizeof text - at - 2);
        printf("%.*s}\n", at, text);
    } else if (s.plan.of.machine) {
        hone_plan_print(&s.plan, price);
        hone_means_print(&s);
    }
    hone_session_close(&s);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}

int hone_verb_plan(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *json = NULL, *card = NULL;
    double price = 0;
    const hone_arg args[] = { { "--set", .list = sets },
                              { "--json", .value = &json, .flag = 1 },
                              { "--card", .value = &card },
                              { "--price", .number = &price, .max = 1e9 },
                              { .name = NULL } };
    hone_recipe recipe;
    int bad;

    for (int i = 0; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--card") && !strcmp(argv[i + 1], "list"))
            return list_cards();
    bad = hone_verb_recipe("plan", &recipe, argc, argv, args, sets);
    if (bad)
        return bad;
    recipe.card = card;
    bad = print_plan(&recipe, json != NULL, price);
    hone_recipe_free(&recipe);
    return bad;
}

/* Lets the recipe start from what --adapter or --run names. */
static hone_status take_trained(hone_recipe *r, const char *adapter,
                                const char *run, hone_err *err)
{
    const char *folder = adapter ? hone_absolute(&r->arena, NULL, adapter)
                                 : NULL;

    if (run && adapter)
        return hone_fail(err, HONE_EINVAL, "--adapter and --run: give one of "
                         "them");
    if (run) {
        run = hone_absolute(&r->arena, NULL, run);
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
    if (folder && !run &&
        access(hone_format_text(&r->arena, "%s/adapter_config.json", folder),
               F_OK) != 0)
        return hone_fail(err, HONE_EINVAL, "--adapter %s: no "
                         "adapter_config.json in it; --run names the folder "
                         "of a run", adapter);
    if (folder && !r->has_adapter)
        r->adapter = (hone_lora_config){ .r = 1, .alpha = 1, .lr_ratio = 1,
                                         .targets = "all-linear" };
    if (folder) {
        r->has_adapter = 1; /* its shape is that of the folder */
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
    const hone_arg args[] = { { "--set", .list = sets },
                              { "--json", .value = &json, .flag = 1 },
                              { "--adapter", .value = &adapter },
                              { "--run", .value = &run },
                              { .name = NULL } };
    static hone_session s;
    hone_recipe recipe;
    hone_err err;
    hone_status status;
    int bad = hone_verb_recipe("eval", &recipe, argc, argv, args, sets);

    if (bad)
        return bad;
    status = take_trained(&recipe, adapter, run, &err);
    if (status == HONE_OK)
        status = evaluate(&s, &recipe, json != NULL, &err);
    hone_session_close(&s);
    hone_recipe_free(&recipe);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}
