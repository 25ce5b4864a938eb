/* SPDX-License-Identifier: MIT
 *
 * peft_saver.c -- writes adapters, see peft.h: the config's text is made ahead
 * of time, so that writing it later is one write.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules.h"
#include "peft.h"

struct hone_peft_saver {
    hone_saver *tensors;
    const char *config_path, *config;
    size_t config_bytes;
};

/* The last component of each path, each once, in order: what PEFT matches
 * against the ends of module names; or whole paths, where names are too few. */
static json_t *target_modules(const hone_peft_spec *spec)
{
    json_t *list = json_array();

    for (int i = 0; i < spec->count; i++) {
        const char *dot = strrchr(spec->modules[i].path, '.');
        const char *name = dot && !spec->exact ? dot + 1
                                               : spec->modules[i].path;
        size_t k = 0;
        while (k < json_array_size(list) &&
               strcmp(json_string_value(json_array_get(list, k)), name))
            k++;
        if (k == json_array_size(list))
            json_array_append_new(list, json_string(name));
    }
    return list;
}

int hone_peft_is_exact(const char *targets)
{
    return strpbrk(targets, ".()[]{}*+?|^$\\") != NULL;
}

/* PEFT writes a whole alpha as an integer. */
static json_t *number(double x)
{
    return x == floor(x) && fabs(x) < 1e15 ? json_integer((json_int_t)x)
                                           : json_real(x);
}

/* Lines of modules.h as an object. */
static json_t *pattern_object(const char *lines)
{
    json_t *object = json_object();

    while (lines && *lines) {
        const char *end = strchr(lines, '\n'), *sign = end;
        json_t *value;

        while (*sign != '=')
            sign--;
        value = number(strtod(sign + 1, NULL));
        json_object_setn_new(object, lines, (size_t)(sign - lines), value);
        lines = end + 1;
    }
    return object;
}

static void set(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

/* The modules as they were given, and those of weights that have two names. */
static json_t *saved_modules(const hone_peft_spec *spec)
{
    const char *rest = spec->saved, *one;
    json_t *list = rest ? json_array() : json_null();
    size_t n;

    while (rest && (one = hone_target_next(&rest, &n)))
        json_array_append_new(list, json_stringn(one, n));
    for (int i = 0; i < spec->weights; i++)
        if (!hone_module_is_saved(spec->saved, spec->weight[i]))
            json_array_append_new(
                list, json_stringn(spec->weight[i],
                                   strlen(spec->weight[i]) -
                                       strlen(strrchr(spec->weight[i], '.'))));
    return list;
}

static json_t *make_config(const hone_peft_spec *spec)
{
    json_t *c = json_object();

    set(c, "alpha_pattern", pattern_object(spec->alpha_pattern));
    set(c, "auto_mapping", json_null());
    set(c, "base_model_name_or_path",
        spec->base ? json_string(spec->base) : json_null());
    set(c, "bias", json_string("none"));
    set(c, "fan_in_fan_out", json_false());
    set(c, "inference_mode", json_true());
    set(c, "init_lora_weights", json_true());
    set(c, "layers_pattern", json_null());
    set(c, "layers_to_transform", json_null());
    set(c, "lora_alpha", number(spec->alpha));
    set(c, "lora_bias", json_false());
    set(c, "lora_dropout", json_real(spec->dropout));
    set(c, "modules_to_save", saved_modules(spec));
    set(c, "peft_type", json_string("LORA"));
    set(c, "r", json_integer(spec->r));
    set(c, "rank_pattern", pattern_object(spec->rank_pattern));
    set(c, "revision", json_null());
    set(c, "target_modules", target_modules(spec));
    set(c, "task_type", json_string("CAUSAL_LM"));
    set(c, "use_dora", json_boolean(spec->dora));
    set(c, "use_rslora", json_boolean(spec->rslora));
    return c;
}

static hone_status prepare_config(hone_peft_saver *s, hone_arena *a,
                                  const char *folder,
                                  const hone_peft_spec *spec, hone_err *err)
{
    json_t *config = make_config(spec);
    char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15));

    json_decref(config);
    if (!text)
        return hone_fail(err, HONE_EINVAL,
                         "%s: adapter_config.json: the model's path is not "
                         "valid UTF-8",
                         folder);
    s->config = hone_format_text(a, "%s\n", text);
    s->config_bytes = strlen(s->config);
    s->config_path = hone_format_text(a, "%s/adapter_config.json", folder);
    free(text);
    return HONE_OK;
}

hone_status hone_peft_prepare(hone_arena *a, const char *folder,
                              const hone_peft_spec *spec,
                              hone_peft_saver **saver, hone_err *err)
{
    hone_peft_saver *s = hone_alloc(a, sizeof *s);
    int each = hone_peft_each(spec), pairs = each * spec->count;
    int n = pairs + spec->weights;
    const char **names = hone_alloc(a, (size_t)n * sizeof *names);
    hone_type *types = hone_alloc(a, (size_t)n * sizeof *types);

    for (int i = pairs; i < n; i++) {
        names[i] = hone_format_text(a, "base_model.model.%s",
                                    spec->weight[i - pairs]);
        types[i] = spec->weight_type[i - pairs];
        types[i].storage = HONE_F32;
    }
    for (int i = 0; i < pairs; i++) {
        static const char *const which[] = { "A.weight", "B.weight",
                                             "magnitude_vector" };
        const hone_peft_module *m = &spec->modules[i / each];
        hone_type type[] = { hone_type_of(HONE_F32, 2, m->r, m->in),
                             hone_type_of(HONE_F32, 2, m->out, m->r),
                             hone_type_of(HONE_F32, 1, m->out, 1) };

        names[i] = hone_format_text(a, "base_model.model.%s.lora_%s", m->path,
                                    which[i % each]);
        types[i] = type[i % each];
    }
    hone_try(hone_saver_prepare(
        a, hone_format_text(a, "%s/adapter_model.safetensors", folder), names,
        types, n, "format\0pt\0", &s->tensors, err));
    hone_try(prepare_config(s, a, folder, spec, err));
    *saver = s;
    return HONE_OK;
}

int64_t hone_peft_saver_bytes(const hone_peft_saver *s)
{
    return hone_saver_bytes(s->tensors) + (int64_t)s->config_bytes;
}

hone_status hone_peft_begin(hone_peft_saver *s, hone_err *err)
{
    return hone_saver_begin(s->tensors, err);
}

int hone_peft_order(const hone_peft_saver *s, int i)
{
    return hone_saver_order(s->tensors, i);
}

hone_status hone_peft_put(hone_peft_saver *s, const void *data, int64_t bytes,
                          hone_err *err)
{
    return hone_saver_put(s->tensors, data, bytes, err);
}

hone_status hone_peft_end(hone_peft_saver *s, hone_err *err)
{
    hone_try(hone_saver_end(s->tensors, err));
    return hone_write_file(s->config_path, s->config, s->config_bytes, err);
}
