/* SPDX-License-Identifier: MIT
 *
 * peft.c -- reads adapters, see peft.h. PEFT's config has many keys, and grows:
 * one that is not known here must hold a value that switches it off.
 */
#include "peft.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model_files.h"
#include "modules.h"

/* ----------------------------------------------------------------- config */

/* Keys that say nothing about the maths, or that are read below. */
static const char *const known[] = {
    "alpha_pattern",  "rank_pattern",            "modules_to_save",
    "auto_mapping",   "base_model_name_or_path", "ensure_weight_tying",
    "inference_mode", "lora_alpha",              "lora_dropout",
    "megatron_core",  "peft_type",               "peft_version",
    "qalora_group_size", "r",                    "revision",
    "runtime_config", "target_modules",          "exclude_modules",
    "task_type",      "use_rslora",              "use_dora",
};

/* Values of init_lora_weights that leave the base model as it is. */
static const char *const harmless_inits[] = { "gaussian", "orthogonal",
                                              "eva" };

static int is_among(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; text && i < count; i++)
        if (!strcmp(text, list[i]))
            return 1;
    return 0;
}

/* Whether the value switches the key off. */
static int is_off(const char *key, const json_t *v)
{
    if (!strcmp(key, "bias"))
        return json_is_string(v) && !strcmp(json_string_value(v), "none");
    if (!strcmp(key, "init_lora_weights"))
        return json_is_boolean(v) ||
               is_among(json_string_value(v), harmless_inits,
                        sizeof harmless_inits / sizeof *harmless_inits);
    return json_is_null(v) || json_is_false(v) ||
           (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

static hone_status check_keys(json_t *config, const char *folder,
                              hone_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(config, key, value) {
        char *text;
        hone_status s;
        if (is_among(key, known, sizeof known / sizeof *known) ||
            is_off(key, value))
            continue;
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        s = hone_fail(err, HONE_EINVAL,
                      "%s/adapter_config.json: %.100s = %.100s is not "
                      "supported: only plain LoRA is",
                      folder, key, text ? text : "?");
        free(text);
        return s;
    }
    return HONE_OK;
}

/* {"q_proj": 4} as the lines of modules.h, in the order of the file. */
static hone_status read_pattern(hone_peft *p, const json_t *config,
                                const char *key, const char *folder,
                                const char **to, hone_err *err)
{
    json_t *table = json_object_get(config, key), *value;
    const char *pattern;

    json_object_foreach(table, pattern, value) {
        if (!(json_number_value(value) > 0) || strchr(pattern, '\n'))
            return hone_fail(err, HONE_EINVAL,
                             "%s/adapter_config.json: %s: '%.100s' has no "
                             "number above 0", folder, key, pattern);
        hone_err why;
        if (hone_pattern_check(pattern, strlen(pattern), &why) != HONE_OK)
            return hone_fail(err, HONE_EINVAL,
                             "%s/adapter_config.json: %s: %.300s", folder, key,
                             why.msg);
        *to = hone_format_text(&p->arena, "%s%s=%.17g\n", *to ? *to : "",
                               pattern, json_number_value(value));
    }
    return HONE_OK;
}

static const char *read_saved(hone_peft *p, const json_t *config)
{
    const json_t *list = json_object_get(config, "modules_to_save"), *item;
    const char *joined = NULL;
    size_t i;

    json_array_foreach(list, i, item)
        if (json_is_string(item))
            joined = hone_format_text(&p->arena, "%s%s%s",
                                      joined ? joined : "", joined ? "," : "",
                                      json_string_value(item));
    return joined;
}

/* Whether target_modules is more than names of modules. */
static int is_exact(const json_t *config)
{
    const json_t *targets = json_object_get(config, "target_modules"), *item;
    size_t i;

    json_array_foreach(targets, i, item)
        if (json_is_string(item) && strchr(json_string_value(item), '.'))
            return 1;
    return json_is_string(targets) &&
           strcmp(json_string_value(targets), "all-linear");
}

static hone_status read_config(hone_peft *p, json_t *config,
                               const char *folder, hone_err *err)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *base = json_string_value(
        json_object_get(config, "base_model_name_or_path"));
    const json_t *r = json_object_get(config, "r");
    const json_t *alpha = json_object_get(config, "lora_alpha");
    const json_t *dropout = json_object_get(config, "lora_dropout");

    if (!type || strcmp(type, "LORA"))
        return hone_fail(err, HONE_EINVAL,
                         "%s/adapter_config.json: peft_type is not LORA",
                         folder);
    hone_try(check_keys(config, folder, err));
    /* PEFT's defaults for what an old file leaves out. */
    p->spec.r = r ? json_integer_value(r) : 8;
    p->spec.alpha = alpha ? json_number_value(alpha) : 8;
    p->spec.dropout = json_number_value(dropout);
    p->spec.rslora = json_is_true(json_object_get(config, "use_rslora"));
    p->spec.dora = json_is_true(json_object_get(config, "use_dora"));
    p->spec.exact = is_exact(config);
    p->spec.saved = read_saved(p, config);
    hone_try(read_pattern(p, config, "rank_pattern", folder,
                          &p->spec.rank_pattern, err));
    hone_try(read_pattern(p, config, "alpha_pattern", folder,
                          &p->spec.alpha_pattern, err));
    p->spec.base = base ? hone_text(&p->arena, base) : NULL;
    if (p->spec.r < 1 || p->spec.r > 65536)
        return hone_fail(err, HONE_EINVAL,
                         "%s/adapter_config.json: r is not a whole number "
                         "from 1 to 65536",
                         folder);
    if (alpha && !json_is_number(alpha))
        return hone_fail(err, HONE_EINVAL,
                         "%s/adapter_config.json: lora_alpha is not a number",
                         folder);
    if (!(p->spec.dropout >= 0 && p->spec.dropout < 1))
        return hone_fail(err, HONE_EINVAL,
                         "%s/adapter_config.json: lora_dropout is not in "
                         "[0, 1)",
                         folder);
    return HONE_OK;
}

/* ---------------------------------------------------------------- tensors */

#define PREFIX "base_model.model."
#define SUFFIX_A ".lora_A.weight"
#define SUFFIX_B ".lora_B.weight"
#define SUFFIX_M ".lora_magnitude_vector"

/* Length of the module's path in a tensor's name, or 0. */
static size_t path_length(const char *name, const char *suffix)
{
    size_t n = strlen(name), head = strlen(PREFIX), tail = strlen(suffix);

    if (n <= head + tail || strncmp(name, PREFIX, head) ||
        strcmp(name + n - tail, suffix))
        return 0;
    return n - head - tail;
}

static int is_number_type(const hone_weight *t)
{
    hone_storage s = t->type.storage;

    return s == HONE_F32 || s == HONE_F16 || s == HONE_BF16;
}

/* The magnitudes of module M, where the adapter has such. */
static hone_status read_magnitudes(hone_peft *p, const char *folder,
                                   hone_peft_module *m, hone_err *err)
{
    const hone_weight *w = hone_weights_find(
        &p->weights,
        hone_format_text(&p->arena, PREFIX "%s" SUFFIX_M, m->path));

    if (!p->spec.dora)
        return HONE_OK;
    if (!w || !is_number_type(w) || hone_count(&w->type) != m->out)
        return hone_fail(err, HONE_EINVAL,
                         "%s: module '%s' must have %lld numbers in "
                         "lora_magnitude_vector, for use_dora is true", folder,
                         m->path, (long long)m->out);
    m->m = w;
    return HONE_OK;
}

/* The module whose lora_A is T. */
static hone_status read_module(hone_peft *p, const hone_weight *a,
                               const char *folder, hone_peft_module *m,
                               hone_err *err)
{
    size_t n = path_length(a->name, SUFFIX_A);
    char *path = hone_format_text(&p->arena, "%.*s", (int)n,
                                  a->name + strlen(PREFIX));
    const hone_weight *b = hone_weights_find(
        &p->weights,
        hone_format_text(&p->arena, PREFIX "%s" SUFFIX_B, path));

    int64_t r = (int64_t)hone_pattern_number(p->spec.rank_pattern, path,
                                             (double)p->spec.r);

    if (!b)
        return hone_fail(err, HONE_EINVAL,
                         "%s: module '%s' has lora_A but no lora_B", folder,
                         path);
    if (!is_number_type(a) || !is_number_type(b))
        return hone_fail(err, HONE_EINVAL,
                         "%s: module '%s': its tensors are not F32, F16 or "
                         "BF16",
                         folder, path);
    if (a->type.rank != 2 || b->type.rank != 2 ||
        a->type.dim[0] != r || b->type.dim[1] != r)
        return hone_fail(err, HONE_EINVAL,
                         "%s: module '%s': lora_A must be [%lld, in] and "
                         "lora_B [out, %lld], for r is %lld",
                         folder, path, (long long)r, (long long)r,
                         (long long)r);
    *m = (hone_peft_module){ path, a->type.dim[1], b->type.dim[0], r, a, b,
                             NULL };
    return read_magnitudes(p, folder, m, err);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const hone_peft_module *)a)->path,
                  ((const hone_peft_module *)b)->path);
}

static hone_status read_modules(hone_peft *p, const char *folder,
                                hone_err *err)
{
    const hone_weights *w = &p->weights;
    hone_peft_module *list =
        hone_alloc(&p->arena, (size_t)w->count * sizeof *list);

    for (int i = 0; i < w->count; i++) {
        const char *name = w->list[i].name;
        if (path_length(name, SUFFIX_A))
            hone_try(read_module(p, &w->list[i], folder,
                                 &list[p->spec.count++], err));
        else if (!strncmp(name, PREFIX, strlen(PREFIX)) &&
                 is_number_type(&w->list[i]) &&
                 hone_module_is_saved(p->spec.saved, name + strlen(PREFIX)))
            p->spec.weights++;
        else if (!path_length(name, SUFFIX_B) &&
                 !(p->spec.dora && path_length(name, SUFFIX_M)))
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s' is neither " PREFIX
                             "..." SUFFIX_A " nor ..." SUFFIX_B " nor of a "
                             "module in modules_to_save", folder, name);
    }
    if (p->spec.saved && !p->spec.weights)
        return hone_fail(err, HONE_EINVAL,
                         "%s: modules_to_save is \"%s\", and there is no "
                         "tensor of theirs", folder, p->spec.saved);
    if (hone_peft_each(&p->spec) * p->spec.count + p->spec.weights !=
            w->count || !w->count)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %d tensors for %d modules: each has a lora_A "
                         "and a lora_B%s",
                         folder, w->count, p->spec.count,
                         p->spec.dora ? " and a lora_magnitude_vector" : "");
    qsort(list, (size_t)p->spec.count, sizeof *list, by_path);
    p->spec.modules = list;
    return HONE_OK;
}

/* -------------------------------------------------------------- the whole */

static hone_status open_both(hone_peft *p, const char *folder, hone_err *err)
{
    json_t *config;
    hone_status s;

    hone_try(hone_json_read(folder, "adapter_config.json", &config, err));
    s = read_config(p, config, folder, err);
    json_decref(config);
    if (s != HONE_OK)
        return s;
    hone_try(hone_weights_open(&p->weights, folder, "adapter_model", err));
    return read_modules(p, folder, err);
}

hone_status hone_peft_open(hone_peft *p, const char *folder, hone_err *err)
{
    hone_status s;

    memset(p, 0, sizeof *p);
    s = open_both(p, folder, err);
    if (s != HONE_OK)
        hone_peft_close(p);
    return s;
}

const hone_peft_module *hone_peft_find(const hone_peft *p, const char *path)
{
    hone_peft_module key = { .path = path };

    return p->spec.count ? bsearch(&key, p->spec.modules,
                                   (size_t)p->spec.count, sizeof key, by_path)
                         : NULL;
}

hone_status hone_peft_weight(const hone_peft *p, const char *name,
                             const char *alias, const hone_weight **to,
                             hone_err *err)
{
    const char *names[2] = { name, alias };
    const hone_weight *w[2] = { NULL, NULL };

    for (int i = 0; i < 2; i++) {
        char full[1024];
        if (!names[i])
            continue;
        snprintf(full, sizeof full, PREFIX "%s", names[i]);
        w[i] = hone_weights_find(&p->weights, full);
    }
    *to = w[0];
    if (alias && (w[0] || w[1]) &&
        !(w[0] && w[1] && w[0]->bytes == w[1]->bytes &&
          !memcmp(w[0]->data, w[1]->data, (size_t)w[0]->bytes)))
        return hone_fail(err, HONE_EINVAL,
                         "the model ties %s to %s and the adapter does not: it "
                         "must have both in modules_to_save, and the same",
                         alias, name);
    return HONE_OK;
}

void hone_peft_close(hone_peft *p)
{
    hone_weights_close(&p->weights);
    hone_arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}

double hone_peft_scale(const hone_peft_spec *s, const char *path, int64_t r)
{
    return hone_pattern_number(s->alpha_pattern, path, s->alpha) /
           (s->rslora ? sqrt((double)r) : (double)r);
}

const char *hone_peft_targets(const hone_peft *p, hone_arena *a)
{
    size_t bytes = 1, at = 0;
    char *list;

    for (int i = 0; i < p->spec.count; i++)
        bytes += strlen(p->spec.modules[i].path) + 1;
    list = hone_alloc(a, bytes);
    for (int i = 0; i < p->spec.count; i++)
        at += (size_t)snprintf(list + at, bytes - at, "%s%s", i ? "," : "",
                               p->spec.modules[i].path);
    return list;
}
