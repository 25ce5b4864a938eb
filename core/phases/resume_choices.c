/* SPDX-License-Identifier: MIT
 *
 * resume_choices.c -- see resume.h: whether a folder holds the run that a
 * recipe describes. Not called after step 0: it allocates.
 */
#include <jansson.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "model_files.h"
#include "option.h"
#include "resume.h"

enum { SAMPLE_BYTES = 4096 }; /* of the data of a tensor, at both ends */

static json_t *hash_text(const XXH3_state_t *state)
{
    char text[32];

    snprintf(text, sizeof text, "%016llx",
             (unsigned long long)XXH3_64bits_digest(state));
    return json_string(text);
}

/* Names, shapes and the ends of all tensors: enough to tell a model from
 * another without reading gigabytes. */
static void hash_weights(XXH3_state_t *state, const hone_weights *w)
{
    for (int i = 0; i < w->count; i++) {
        const hone_weight *t = &w->list[i];
        size_t bytes = t->bytes < SAMPLE_BYTES ? (size_t)t->bytes
                                               : SAMPLE_BYTES;

        XXH3_64bits_update(state, t->name, strlen(t->name) + 1);
        XXH3_64bits_update(state, &t->type, sizeof t->type);
        XXH3_64bits_update(state, t->data, bytes);
        XXH3_64bits_update(state, (const char *)t->data + t->bytes - bytes,
                           bytes);
    }
}

static void hash_config(XXH3_state_t *state, const char *model)
{
    json_t *config;
    char *text;

    if (hone_json_read(model, "config.json", &config, NULL) != HONE_OK)
        return;
    text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
    if (text)
        XXH3_64bits_update(state, text, strlen(text));
    free(text);
    json_decref(config);
}

/* What the recipe says by itself. */
static json_t *written(const hone_recipe *r)
{
    json_t *all = json_object();

    for (int i = 0; i < r->choices; i++)
        json_object_set_new(all, r->choice[i].key,
                            json_string(r->choice[i].text));
    return all;
}

json_t *hone_resume_model(const char *model, const hone_weights *weights)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    hash_config(&state, model);
    if (weights)
        hash_weights(&state, weights);
    return hash_text(&state);
}

json_t *hone_resume_choices(const hone_recipe *r, const hone_contents *c)
{
    json_t *all = written(r);
    XXH3_state_t state;

    json_object_set_new(all, "data", json_string(c->data));
    json_object_set_new(all, "precision",
                        json_string(hone_parts(c->compute)[0].name));
    json_object_set_new(all, "model.path",
                        hone_resume_model(r->model.path, c->weights));
    if (c->adapter) {
        XXH3_64bits_reset(&state);
        hash_weights(&state, c->adapter);
        json_object_set_new(all, "adapter.init", hash_text(&state));
    }
    return all;
}

/* ------------------------------------------------------------- comparing */

/* One message a line, as many as fit. */
typedef struct {
    const hone_recipe *recipe;
    const char *out;
    char *text;
    size_t bytes, at;
} teller;

static void differ(teller *t, const char *key, const char *then,
                   const char *now)
{
    const hone_choice *c = NULL;
    int by_content = !strcmp(key, "data") || !strcmp(key, "model.path") ||
                     !strcmp(key, "adapter.init");

    for (int i = 0; i < t->recipe->choices && !c; i++)
        if (!strcmp(t->recipe->choice[i].key, key))
            c = &t->recipe->choice[i];
    if (t->at >= t->bytes)
        return;
    t->at += (size_t)snprintf(t->text + t->at, t->bytes - t->at,
                              "%s%s:%d: '%s' ", t->at ? "\n" : "",
                              c ? c->file : t->recipe->file,
                              c ? c->line : t->recipe->line, key);
    if (t->at >= t->bytes)
        return;
    if (by_content && then && now)
        t->at += (size_t)snprintf(t->text + t->at, t->bytes - t->at,
                                  "is not what it was when %s began", t->out);
    else
        t->at += (size_t)snprintf(t->text + t->at, t->bytes - t->at,
                                  "is %s and was %s when %s began",
                                  now ? now : "not given",
                                  then ? then : "not given", t->out);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void compare(teller *t, const json_t *then, const json_t *now)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)now, key, value) {
        const char *was = text_of(then, key);
        if (!was || strcmp(was, json_string_value(value)) != 0)
            differ(t, key, was, json_string_value(value));
    }
    json_object_foreach((json_t *)then, key, value)
        if (json_is_string(value) && !text_of(now, key))
            differ(t, key, json_string_value(value), NULL);
}

hone_status hone_resume_check(const char *out, const hone_recipe *recipe,
                              const json_t *choices, hone_err *err)
{
    char text[900] = "";
    teller t = { recipe, out, text, sizeof text, 0 };
    json_t *run, *then;

    hone_try(hone_json_read(out, "run.json", &run, err));
    then = json_object_get(run, "learns");
    if (json_is_object(then))
        compare(&t, then, choices);
    else
        snprintf(text, sizeof text, "%s/run.json does not say what it learns",
                 out);
    json_decref(run);
    if (!text[0])
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s\nput it back to go on, or start "
                     "over with --fresh", text);
}

/* Contents are taken to be what they were: to look costs as much as a run's
 * start. */
hone_status hone_resume_changed(const char *out, const hone_recipe *recipe,
                                hone_err *err)
{
    static const char *const contents[] = { "data", "precision", "model.path",
                                            "adapter.init" };
    json_t *run, *then, *now;
    char text[900] = "";
    teller t = { recipe, out, text, sizeof text, 0 };

    hone_try(hone_json_read(out, "run.json", &run, err));
    then = json_object_get(run, "learns");
    now = written(recipe);
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
        if (text_of(then, contents[i]))
            json_object_set(now, contents[i],
                            json_object_get(then, contents[i]));
    if (json_is_object(then))
        compare(&t, then, now);
    json_decref(now);
    json_decref(run);
    return text[0] ? hone_fail(err, HONE_EINVAL, "%s", text) : HONE_OK;
}
