/* SPDX-License-Identifier: MIT
 *
 * export.c -- hone export RUN|MODEL --to NAME --out DIR [--adapter DIR]: finds
 * the model and its adapter, merges them on the fly and hands the result to
 * the exporter of that name, a plugin.
 */
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "hub.h"
#include "log.h"
#include "merge.h"
#include "model_files.h"
#include "peft.h"
#include "registry.h"
#include "resume.h"
#include "safetensors.h"
#include "verbs.h"

typedef struct {
    const char *source; /* RUN or MODEL, as typed */
    const char *to, *out, *adapter;
    hone_storage held; /* of a run with its model as nf4; else 0 */
} order;

static int has(hone_arena *a, const char *folder, const char *name)
{
    return !access(hone_format_text(a, "%s/%s", folder, name), F_OK);
}

static hone_storage held_by(const json_t *run)
{
    const json_t *learns = json_object_get(run, "learns");
    const char *storage = json_string_value(json_object_get(learns,
                                                            "model.storage"));
    const char *nested = json_string_value(json_object_get(learns,
                                                           "model.nested"));

    if (!storage || strcmp(storage, "\"nf4\""))
        return HONE_NOTHING;
    return nested && !strcmp(nested, "false") ? HONE_NF4_PLAIN : HONE_NF4;
}

/* Whether a run read no weights of its model: init = "random". */
static int was_random(const json_t *run, const char *model)
{
    const json_t *learns = json_object_get(run, "learns");
    json_t *config = hone_resume_model(model, NULL);
    int same = json_equal(config, json_object_get(learns, "model.path"));

    json_decref(config);
    return same;
}

/* The model that a run started from, and the adapter that it made; or the
 * model that it made. */
static hone_status find_run(hone_arena *a, order *o, const char **model,
                            hone_err *err)
{
    json_t *run;
    const char *path;
    int random;

    if (has(a, o->source, "model/config.json")) {
        *model = hone_format_text(a, "%s/model", o->source);
        return HONE_OK;
    }
    if (!o->adapter && !has(a, o->source, "adapter/adapter_config.json"))
        return hone_fail(err, HONE_EINVAL, "%s: the run has neither adapter/ "
                         "nor model/: is it finished? hone run resumes it",
                         o->source);
    if (!o->adapter)
        o->adapter = hone_format_text(a, "%s/adapter", o->source);
    hone_try(hone_json_read(o->source, "run.json", &run, err));
    path = json_string_value(json_object_get(run, "model"));
    *model = path ? hone_text(a, path) : NULL;
    o->held = held_by(run);
    random = path && was_random(run, path);
    json_decref(run);
    if (!path)
        return hone_fail(err, HONE_EINVAL, "%s/run.json: no \"model\": not a "
                         "run of hone", o->source);
    if (access(*model, F_OK) != 0)
        return hone_fail(err, HONE_EINVAL, "%s: its model %s is not there any "
                         "more; name it where it is: hone export MODEL "
                         "--adapter %s", o->source, *model, o->adapter);
    if (random)
        return hone_fail(err, HONE_EINVAL, "%s: its adapter was trained on "
                         "random first values (init = \"random\"), which are "
                         "in no file, and is of no use without them; train "
                         "the whole model first, without an adapter, and then "
                         "an adapter on the model/ of that run", o->source);
    return HONE_OK;
}

static hone_status find_source(hone_arena *a, order *o, const char **model,
                               hone_err *err)
{
    if (has(a, o->source, "run.json"))
        return find_run(a, o, model, err);
    *model = o->source;
    if (has(a, o->source, "config.json"))
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s: neither a run (no run.json) nor a "
                     "model (no config.json)", o->source);
}

/* An export never lands in a folder that it reads. */
static hone_status check_out(const order *o, const char *model, hone_err *err)
{
    char out[PATH_MAX], in[PATH_MAX];

    if (!realpath(o->out, out))
        return HONE_OK; /* not there yet */
    if ((realpath(model, in) && !strcmp(in, out)) ||
        (o->adapter && realpath(o->adapter, in) && !strcmp(in, out)))
        return hone_fail(err, HONE_EINVAL, "--out %s is the folder that is "
                         "exported: name another one", o->out);
    return HONE_OK;
}

static hone_status write_with(const hone_component *c, const hone_export *e,
                              hone_arena *a, hone_err *err)
{
    const hone_exporter *api = c->ops;
    hone_instance instance;
    hone_status s;

    hone_try(hone_instance_open(&instance, c, NULL, a, err));
    s = hone_make_folder(e->out, err);
    if (s == HONE_OK)
        s = api->write(instance.config, e, err);
    if (s != HONE_OK)
        rmdir(e->out); /* if nothing was written */
    hone_instance_close(&instance);
    return s;
}

static hone_status export_model(const hone_component *c, const order *o,
                                const char *model, hone_arena *a,
                                hone_err *err)
{
    hone_export e = { .size = sizeof e, .out = o->out, .model = model,
                      .adapter = o->adapter };
    hone_weights base = { 0 };
    hone_peft adapter = { 0 };
    hone_merge merge = { 0 };
    hone_status s;

    s = hone_weights_open(&base, model, "model", err);
    if (s == HONE_OK && o->adapter)
        s = hone_peft_open(&adapter, o->adapter, err);
    if (s == HONE_OK)
        s = hone_merge_open(&merge, &base, o->adapter ? &adapter : NULL, err);
    if (s == HONE_OK) {
        merge.held = o->held;
        hone_merge_lend(&merge, &e);
        s = write_with(c, &e, a, err);
    }
    hone_merge_close(&merge);
    hone_peft_close(&adapter);
    hone_weights_close(&base);
    return s;
}

static hone_status export_order(order *o, hone_arena *a, hone_err *err)
{
    const hone_component *c;
    const char *model = NULL;

    if (!o->source || !o->to || !o->out)
        return hone_usage("export", err);
    hone_try(hone_need_component(HONE_KIND_EXPORTER, o->to, &c, err));
    hone_try(find_source(a, o, &model, err));
    hone_try(check_out(o, model, err));
    hone_try(export_model(c, o, model, a, err));
    hone_log(HONE_LOG_NOTE, "%s: written (%s of %s%s%s)", o->out, o->to, model,
             o->adapter ? " + " : "", o->adapter ? o->adapter : "");
    return HONE_OK;
}

int hone_verb_export(int argc, char **argv)
{
    const char *positional[2] = { NULL };
    order o = { 0 };
    const hone_arg args[] = { { "--to", .value = &o.to },
                              { "--out", .value = &o.out },
                              { "--adapter", .value = &o.adapter },
                              { .name = NULL } };
    hone_arena a = { 0 };
    hone_err err = { 0 };
    hone_status s;

    s = hone_args(argc, argv, args, positional, 1, &err);
    o.source = hone_hub_model(positional[0]);
    if (s == HONE_OK)
        s = export_order(&o, &a, &err);
    hone_arena_free(&a);
    return s == HONE_OK ? 0 : hone_report_error(&err);
}
