/* SPDX-License-Identifier: MIT
 *
 * recipe_adapter.c -- hone.lora { init = "folder" }: the shape of an adapter
 * that training goes on from comes from its own config.
 */
#include "recipe_host.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

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
    int dora = json_is_true(json_object_get(config, "use_dora"));
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
    if (hone_made_given(lora, "dora") && c->dora != dora)
        differ(r, lora, "dora", c->dora, dora);
    if (targets && hone_made_given(lora, "targets") &&
        !(within(c->targets, targets) && within(targets, c->targets)))
        hone_reader_say(r, &where, "'targets' is \"%s\" here and \"%s\" in the "
                        "adapter that 'init' names; leave it out", c->targets,
                        targets);
    if (c->rank_pattern || c->alpha_pattern || c->saved)
        hone_reader_say(r, &where, "'%s' comes from the adapter that 'init' "
                        "names; leave it out",
                        c->rank_pattern    ? "rank_pattern"
                        : c->alpha_pattern ? "alpha_pattern"
                                           : "modules_to_save");
    c->r = rank;
    c->alpha = alpha;
    c->rslora = rslora;
    c->dora = dora;
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
