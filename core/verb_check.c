/* SPDX-License-Identifier: MIT
 *
 * verb_check.c -- `hone check RECIPE`: reads the recipe, then opens what it names:
 * model, tokenizer, adapter, data. No device, no weights read beyond their
 * headers. Every problem is said, then what was found.
 */
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "model_files.h"
#include "recipe.h"
#include "safetensors.h"
#include "tokens.h"
#include "verbs.h"

/* Rows of a data file that are looked at; `hone prep` reads them all. */
enum { ROWS_TRIED = 1000 };

typedef struct {
    const hone_recipe *recipe;
    int problems;
    hone_status worst;
} report;

static void problem(report *r, int line, const char *label,
                    const hone_err *err)
{
    fprintf(stderr, "%s:%d: hone.%s: %s\n", r->recipe->file, line, label,
            err->msg);
    if (!r->problems++ || r->worst == HONE_EINVAL)
        r->worst = err->code;
}

static void found(const char *what, const char *path, const char *rest)
{
    printf("%-10s %s: %s\n", what, path, rest);
}

/* The headers of the safetensors files; the mapping is not touched. */
static hone_status check_weights(const char *what, const char *path,
                                 const char *stem, hone_err *err)
{
    hone_weights weights;
    char text[128];
    int64_t elements = 0;

    hone_try(hone_weights_open(&weights, path, stem, err));
    for (int i = 0; i < weights.count; i++)
        elements += hone_count(&weights.list[i].type);
    snprintf(text, sizeof text, "%d tensors, %.1f million parameters",
             weights.count, 1e-6 * (double)elements);
    found(what, path, text);
    hone_weights_close(&weights);
    return HONE_OK;
}

static hone_status check_config(const char *path, hone_err *err)
{
    struct json_t *config;
    const char *type;

    hone_try(hone_json_read(path, "config.json", &config, err));
    type = json_string_value(json_object_get(config, "model_type"));
    if (type)
        found("model", path, type);
    else
        (void)hone_fail(err, HONE_EINVAL, "%s/config.json: no model_type; is "
                        "this a Hugging Face model?", path);
    json_decref(config);
    return type ? HONE_OK : HONE_EINVAL;
}

static hone_status check_tokenizer(const char *path, hone_err *err)
{
    hone_tokens tokens;
    char text[64];

    hone_try(hone_tokens_open(&tokens, path, err));
    snprintf(text, sizeof text, "%d ids, end token %d",
             (int)tokens.api->vocab(tokens.self), (int)tokens.eos);
    found("tokenizer", path, text);
    hone_tokens_close(&tokens);
    return HONE_OK;
}

static void check_model(report *r)
{
    const hone_model_config *m = &r->recipe->model;
    int line = r->recipe->model_line;
    hone_err err;

    if (check_config(m->path, &err) != HONE_OK) {
        problem(r, line, "model", &err);
        return; /* no model: the rest would say it again */
    }
    if (!m->init && check_weights("weights", m->path, "model", &err))
        problem(r, line, "model", &err);
    if (check_tokenizer(m->path, &err) != HONE_OK)
        problem(r, line, "model", &err);
}

/* ------------------------------------------------------------------- data */

static const hone_component *format_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (int i = 0; dot && hone_component_at(i); i++) {
        const hone_component *c = hone_component_at(i);
        const hone_format *f = c->ops;
        if (c->kind != HONE_KIND_FORMAT)
            continue;
        for (const char *const *e = f->endings; *e; e++)
            if (!strcmp(*e, dot + 1))
                return c;
    }
    return NULL;
}

static hone_status try_rows(const hone_format *f, void *reader,
                            int skip_broken, const char *path, hone_err *err)
{
    hone_row row;
    char text[64];
    int n = 0, broken = 0;
    hone_status s = HONE_OK;

    while (n + broken < ROWS_TRIED) {
        s = f->next(reader, &row, err);
        if (s == HONE_END)
            break;
        if (s != HONE_OK && !skip_broken)
            return s;
        n += s == HONE_OK;
        broken += s != HONE_OK;
    }
    if (!n)
        return hone_fail(err, HONE_EINVAL, "%s: no rows", path);
    snprintf(text, sizeof text, "%s%d rows%s", s == HONE_END ? "" : "the first ",
             n, broken ? ", and broken ones" : "");
    found("data", path, text);
    return HONE_OK;
}

static hone_status check_file(const char *path, int skip_broken, hone_err *err)
{
    const hone_component *c = format_of(path);
    const hone_format *f;
    void *reader = NULL;
    hone_status s;

    if (!c)
        return hone_fail(err, HONE_EINVAL, "%s: no plugin reads files with "
                         "this ending; hone plugins lists formats", path);
    f = c->ops;
    hone_try(f->open(&hone_the_host, path, &reader, err));
    s = try_rows(f, reader, skip_broken, path, err);
    f->close(reader);
    return s;
}

static void check_data(report *r)
{
    const hone_data_config *d = &r->recipe->data;
    const char *label = d->shape;
    char name[96];
    hone_err err;

    snprintf(name, sizeof name, "data.%s", label);
    for (int i = 0; d->files[i]; i++)
        if (check_file(d->files[i], d->skip_broken, &err) != HONE_OK)
            problem(r, r->recipe->data_line, name, &err);
    if (d->val_file && check_file(d->val_file, d->skip_broken, &err) != HONE_OK)
        problem(r, r->recipe->data_line, name, &err);
}

/* ------------------------------------------------------------- components */

/* A component may refuse options that only it can judge. */
static void check_instance(report *r, const hone_instance *in)
{
    hone_arena scratch = { 0 };
    hone_instance opened = *in;
    hone_err err;

    if (hone_instance_open(&opened, in->component, in->config, &scratch,
                           &err) != HONE_OK)
        problem(r, in->line, in->component->name, &err);
    hone_instance_close(&opened);
    hone_arena_free(&scratch);
}

static void check_all(report *r)
{
    const hone_recipe *recipe = r->recipe;
    hone_err err;

    check_model(r);
    if (recipe->has_adapter && recipe->adapter.init &&
        check_weights("adapter", recipe->adapter.init, "adapter_model", &err))
        problem(r, recipe->adapter_line, "lora", &err);
    check_data(r);
    check_instance(r, &recipe->batch);
    check_instance(r, &recipe->optimizer);
    check_instance(r, &recipe->schedule);
}

int hone_verb_check(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *file[2], *messages;
    const hone_arg args[] = { { "--set", NULL, sets, 0 },
                              { NULL, NULL, NULL, 0 } };
    hone_recipe recipe;
    report r = { .recipe = &recipe };
    hone_err err;
    hone_status s = hone_args(argc, argv, args, file, 1, &err);

    if (s == HONE_OK && !file[0])
        s = hone_fail(&err, HONE_EINVAL, "check which RECIPE?");
    if (s != HONE_OK)
        return hone_report_error(&err);
    s = hone_recipe_read(&recipe, file[0], sets, &messages);
    if (s != HONE_OK) {
        fprintf(stderr, "%s\n", messages);
    } else {
        check_all(&r);
        s = r.worst;
        if (s == HONE_OK)
            found("recipe", recipe.file, "everything it names is there");
    }
    hone_recipe_free(&recipe);
    return hone_exit_status(s);
}
