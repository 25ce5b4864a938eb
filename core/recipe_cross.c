/* SPDX-License-Identifier: MIT
 *
 * recipe_cross.c -- the second pass over a recipe: what is missing, and what
 * does not go together. Runs when every option is known, --set included.
 */
#include "recipe_host.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "option.h"

/* Options that a constructor cannot do without. */
static void check_required(hone_reader *r, const hone_made *n)
{
    hone_where where = hone_made_where(r, n);

    for (const hone_option *o = n->maker->options; o && o->name; o++) {
        const void *value = (const char *)n->config + o->offset;
        int pointer = o->type == HONE_STR || o->type == HONE_VALUE;

        if (!(o->flags & HONE_REQUIRED) || n->unknown ||
            hone_made_given(n, o->name) ||
            (pointer && *(const void *const *)value))
            continue;
        hone_reader_say(r, &where, "'%s' is missing: %s", o->name, o->help);
    }
}

/* The parts of a training. Unset ones that were written and refused have had
 * their message. */
static void check_parts(hone_reader *r, const hone_made *train)
{
    static const char *const parts[] = { "model", "data", "batch",
                                         "optimizer", NULL };
    hone_where where = hone_made_where(r, train);

    for (int i = 0; parts[i]; i++) {
        const hone_option *o =
            hone_option_find(train->maker->options, parts[i]);
        const void *value = *(const void *const *)((const char *)train->config +
                                                  o->offset);
        if (!value && !train->unknown && !hone_made_given(train, parts[i]))
            hone_reader_say(r, &where, "'%s' is missing; add %s = %s", o->name,
                            o->name, o->sdef);
    }
}

static void check_one_of(hone_reader *r, const hone_made *train,
                         const char *a, const char *b)
{
    hone_where where = hone_made_where(r, train);
    int given = hone_made_given(train, a) + hone_made_given(train, b);

    if (given == 2)
        hone_reader_say(r, &where, "both '%s' and '%s' are given; leave one "
                        "out", a, b);
    else if (given == 0 && !train->unknown)
        hone_reader_say(r, &where, "neither '%s' nor '%s' is given; add one",
                        a, b);
}

static void check_model(hone_reader *r, const hone_made *model,
                        const hone_train *t)
{
    const hone_model_config *c = model->config;
    hone_where where = hone_made_where(r, model);

    if (c->init && strcmp(c->init, "random"))
        hone_reader_say(r, &where, "'init' is \"%s\", must be \"random\"",
                        c->init);
    /* "nf4" and "fp8" hold a frozen model; file, bf16 and fp32 come first. */
    if (c->storage > 2 && !t->adapter)
        hone_reader_say(r, &where, "'storage' of a model that is trained whole "
                        "must be fp32 or bf16; or add an adapter");
}

static void check_data(hone_reader *r, const hone_made *data)
{
    const hone_rows *c = data->config;
    hone_where where = hone_made_where(r, data);

    if (hone_made_given(data, "path") && hone_made_given(data, "files"))
        hone_reader_say(r, &where, "both 'path' and 'files' are given; leave "
                        "one out");
    if (hone_made_given(data, "long") && !c->max_tokens)
        hone_reader_say(r, &where, "'long' says what happens to rows beyond "
                        "'max_tokens', which is not given");
}

void hone_reader_cross_check(hone_reader *r, hone_made *train)
{
    const hone_train *t = train->config;
    const hone_made *const parts[] = { t->model, t->adapter,   t->data,
                                       t->batch, t->optimizer, t->schedule };
    hone_where where = hone_made_where(r, train);

    check_parts(r, train);
    check_one_of(r, train, "epochs", "steps");
    check_one_of(r, train, "global_batch", "global_tokens");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i])
            check_required(r, parts[i]);
    if (t->model)
        check_model(r, t->model, t);
    if (t->data) {
        const hone_val *val = &((hone_rows *)t->data->config)->val;
        check_data(r, t->data);
        if (t->eval_every && !val->file && !(val->rows > 0))
            hone_reader_say(r, &where, "'eval.every' needs held-out rows; "
                            "give the data val = 0.02 or so");
    }
    if (t->adapter)
        hone_reader_adapter_init(r, t->adapter);
}

/* ----------------------------------------------- the shape of an adapter */

static void differ(hone_reader *r, const hone_made *lora, const char *option,
                   double here, double there)
{
    hone_where where = hone_made_where(r, lora);

    hone_reader_say(r, &where, "'%s' is %g here and %g in the adapter that "
                    "'init' names; leave it out", option, here, there);
}

/* The names of a list joined by commas; NULL: none, such as a pattern. */
static const char *targets_of(hone_arena *a, const json_t *targets)
{
    const char *joined = "";
    const json_t *item;
    size_t i;

    json_array_foreach(targets, i, item)
        joined = hone_format_text(a, "%s%s%s", joined, i ? "," : "",
                                  json_is_string(item) ? json_string_value(item)
                                                       : "?");
    return joined[0] ? joined : NULL;
}

static int has_name(const char *list, const char *name, size_t length)
{
    for (;; list++) {
        size_t n = strcspn(list, ",");
        if (n == length && !strncmp(list, name, n))
            return 1;
        list += n;
        if (!*list)
            return 0;
    }
}

/* Every name of A is in B. */
static int within(const char *a, const char *b)
{
    for (;; a++) {
        size_t n = strcspn(a, ",");
        if (!has_name(b, a, n))
            return 0;
        a += n;
        if (!*a)
            return 1;
    }
}

static void take_shape(hone_reader *r, hone_made *lora, const json_t *config)
{
    hone_lora_config *c = lora->config;
    const json_t *r_json = json_object_get(config, "r");
    const json_t *alpha_json = json_object_get(config, "lora_alpha");
    const char *targets =
        targets_of(r->arena, json_object_get(config, "target_modules"));
    int rslora = json_is_true(json_object_get(config, "use_rslora"));
    hone_where where = hone_made_where(r, lora);
    int64_t rank = json_integer_value(r_json);
    double alpha = json_number_value(alpha_json);

    if (rank < 1 || alpha <= 0) {
        hone_reader_say(r, &where, "%s/adapter_config.json: r or lora_alpha "
                        "is missing or wrong; is it a LoRA adapter of PEFT?",
                        c->init);
        return;
    }
    if (hone_made_given(lora, "r") && c->r != rank)
        differ(r, lora, "r", (double)c->r, (double)rank);
    if (hone_made_given(lora, "alpha") && c->alpha != alpha)
        differ(r, lora, "alpha", c->alpha, alpha);
    if (hone_made_given(lora, "rslora") && c->rslora != rslora)
        differ(r, lora, "rslora", c->rslora, rslora);
    if (targets && hone_made_given(lora, "targets") &&
        !(within(c->targets, targets) && within(targets, c->targets)))
        hone_reader_say(r, &where, "'targets' is \"%s\" here and \"%s\" in the "
                        "adapter that 'init' names; leave it out", c->targets,
                        targets);
    c->r = rank;
    c->alpha = alpha;
    c->rslora = rslora;
    c->targets = targets ? targets : c->targets;
}

void hone_reader_adapter_init(hone_reader *r, hone_made *lora)
{
    const hone_lora_config *c = lora->config;
    hone_where where = hone_made_where(r, lora);
    const char *path;
    json_error_t error;
    json_t *config;

    if (!c->init)
        return;
    path = hone_format_text(r->arena, "%s/adapter_config.json", c->init);
    if (access(path, R_OK) != 0) {
        hone_reader_say(r, &where, "'init': %s: %s", path, strerror(errno));
        return;
    }
    config = json_load_file(path, 0, &error);
    if (!json_is_object(config))
        hone_reader_say(r, &where, "'init': %s:%d: %s", path, error.line,
                        config ? "is not an object" : error.text);
    else
        take_shape(r, lora, config);
    json_decref(config);
}
