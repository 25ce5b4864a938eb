/* SPDX-License-Identifier: MIT
 *
 * test_peft.c -- adapters written and read back; what is not plain LoRA, and
 * what does not fit together, is refused by name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model_files.h"
#include "peft.h"

static char folder[] = "/tmp/hone-peft-XXXXXX";

enum { R = 2, IN = 3, OUT = 4 };

static const hone_peft_module modules[] = {
    { .path = "model.layers.0.self_attn.q_proj", .in = IN, .out = OUT, .r = R },
    { .path = "model.layers.0.mlp.up_proj", .in = IN, .out = OUT, .r = R },
    { .path = "model.layers.1.self_attn.q_proj", .in = IN, .out = OUT, .r = R },
};

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[600];

    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* Tensor i is filled with i + 1. */
static void write_adapter(const hone_peft_spec *spec)
{
    hone_arena a = { 0 };
    hone_peft_saver *s;
    float data[OUT * R];
    hone_err err;
    size_t bytes;

    assert_int_equal(hone_peft_prepare(&a, folder, spec, &s, &err), HONE_OK);
    bytes = a.bytes;
    assert_true(hone_peft_saver_bytes(s) > 0);
    assert_int_equal(hone_peft_begin(s, &err), HONE_OK);
    for (int i = 0; i < hone_peft_each(spec) * spec->count; i++) {
        static const int count[] = { R * IN, OUT * R, OUT };
        int k = hone_peft_order(s, i);
        int n = count[k % hone_peft_each(spec)];
        for (int e = 0; e < n; e++)
            data[e] = (float)(k + 1);
        assert_int_equal(hone_peft_put(s, data, n * 4, &err), HONE_OK);
    }
    assert_int_equal(hone_peft_end(s, &err), HONE_OK);
    assert_int_equal(a.bytes, bytes);
    hone_arena_free(&a);
}

/* An adapter of SPEC, read again. */
static void reread(const hone_peft_spec *spec, hone_peft *p)
{
    hone_err err;

    write_adapter(spec);
    if (hone_peft_open(p, folder, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void round_trip(void **state)
{
    hone_peft_spec spec = { .r = R, .alpha = 32, .dropout = 0.1,
                            .base = "/models/\"tiny\"", .modules = modules,
                            .count = 3 };
    const hone_peft_module *m;
    hone_peft p;
    float x;

    (void)state;
    reread(&spec, &p);
    assert_int_equal(p.spec.r, R);
    assert_true(p.spec.alpha == 32 && p.spec.dropout == 0.1);
    assert_false(p.spec.rslora);
    assert_string_equal(p.spec.base, spec.base);
    assert_int_equal(p.spec.count, 3);
    assert_true(hone_peft_scale(&p.spec, "x", R) == 16);
    m = hone_peft_find(&p, modules[1].path);
    assert_int_equal(m->in, IN);
    assert_int_equal(m->out, OUT);
    memcpy(&x, m->a->data, 4);
    assert_true(x == 3);
    memcpy(&x, m->b->data, 4);
    assert_true(x == 4);
    assert_null(hone_peft_find(&p, "lm_head"));
    hone_peft_close(&p);
}

static void rslora(void **state)
{
    hone_peft_spec spec = { .r = R, .alpha = 2.5, .rslora = 1,
                            .modules = modules, .count = 1 };
    hone_peft p;

    (void)state;
    reread(&spec, &p);
    assert_true(p.spec.rslora && !p.spec.base);
    assert_true(fabs(hone_peft_scale(&p.spec, "x", R) - 2.5 / sqrt(2)) < 1e-15);
    hone_peft_close(&p);
}

static void dora(void **state)
{
    hone_peft_spec spec = { .r = R, .alpha = 2, .dora = 1, .modules = modules,
                            .count = 3 };
    const hone_peft_module *m;
    hone_peft p;
    float x;

    (void)state;
    reread(&spec, &p);
    assert_true(p.spec.dora && p.spec.count == 3);
    m = hone_peft_find(&p, modules[1].path);
    assert_int_equal(hone_count(&m->m->type), OUT);
    memcpy(&x, m->m->data, 4);
    assert_true(x == 6);
    assert_non_null(hone_weights_find(&p.weights,
                                      "base_model.model.model.layers.0.mlp."
                                      "up_proj.lora_magnitude_vector"));
    hone_peft_close(&p);
}

static void write_config(const char *text)
{
    char path[600];
    hone_err err;

    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    assert_int_equal(hone_write_file(path, text, strlen(text), &err), HONE_OK);
}

#define WITH(more) "{\"peft_type\":\"LORA\",\"r\":2," more "}"

static void configs(void **state)
{
    static const struct {
        const char *text, *says; /* NULL: accepted */
    } table[] = {
        { WITH("\"bias\":\"none\""), NULL },
        { WITH("\"target_modules\":\"all-linear\""), NULL },
        { WITH("\"target_modules\":\".*_proj\""), NULL },
        { WITH("\"modules_to_save\":[],\"rank_pattern\":{}"), NULL },
        { WITH("\"init_lora_weights\":\"gaussian\""), NULL },
        { WITH("\"some_later_key\":null"), NULL },
        { WITH("\"some_later_key\":1"), "some_later_key = 1" },
        { WITH("\"bias\":\"all\""), "bias" },
        { WITH("\"use_dora\":true"), "lora_magnitude_vector" },
        { WITH("\"use_dora\":false"), NULL },
        { WITH("\"rank_pattern\":{\".*_proj\":4}"), "r is 4" },
        { WITH("\"rank_pattern\":{\"other\":4}"), NULL },
        { WITH("\"rank_pattern\":{\"q_proj\":\"x\"}"), "rank_pattern" },
        { WITH("\"alpha_pattern\":{\"q_proj\":0}"), "alpha_pattern" },
        { WITH("\"alpha_pattern\":{\"q(_proj\":4}"), "regular expression" },
        { WITH("\"modules_to_save\":[\"lm_head\"]"), "modules_to_save" },
        { WITH("\"fan_in_fan_out\":true"), "fan_in_fan_out" },
        { WITH("\"layers_to_transform\":[1]"), "layers_to_transform" },
        { WITH("\"init_lora_weights\":\"pissa\""), "init_lora_weights" },
        { WITH("\"lora_bias\":true"), "lora_bias" },
        { WITH("\"lora_alpha\":\"x\""), "lora_alpha" },
        { WITH("\"lora_dropout\":1.5"), "lora_dropout" },
        { "{\"peft_type\":\"LORA\",\"r\":0}", "r is not" },
        { "{\"peft_type\":\"LORA\",\"r\":3}", "r is 3" },
        { "{\"peft_type\":\"LORA\",\"r\":-2}", "r is not" },
        { "{\"peft_type\":\"IA3\",\"r\":2}", "peft_type" },
        { "[]", "object" },
        { "{", "JSON" },
    };
    hone_peft_spec spec = { .r = R, .alpha = 1, .modules = modules,
                            .count = 2 };
    hone_peft p;
    hone_err err;

    (void)state;
    write_adapter(&spec);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        hone_status s;
        write_config(table[i].text);
        s = hone_peft_open(&p, folder, &err);
        if (!table[i].says) {
            if (s != HONE_OK)
                fail_msg("%s\n    says: %s", table[i].text, err.msg);
            hone_peft_close(&p);
        } else if (s != HONE_EINVAL || !strstr(err.msg, table[i].says) ||
                   !strstr(err.msg, folder)) {
            fail_msg("%s\n    says: %s", table[i].text,
                     s == HONE_OK ? "nothing" : err.msg);
        }
    }
}

static void wrong_tensors(void **state)
{
    static const struct {
        const char *names[2];
        int64_t a_rows;
        const char *says;
    } table[] = {
        { { "base_model.model.x.lora_A.weight", "base_model.model.a.stray" },
          R, "a.stray'" },
        { { "base_model.model.x.lora_A.weight",
            "base_model.model.z.lora_B.weight" }, R, "'x'" },
        { { "base_model.model.x.lora_A.weight",
            "base_model.model.x.lora_B.weight" }, R + 1, "'x'" },
    };
    hone_arena a = { 0 };
    hone_peft p;
    hone_err err;
    float data[64] = { 0 };

    (void)state;
    write_config(WITH("\"bias\":\"none\""));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        hone_type types[] = {
            hone_type_of(HONE_F32, 2, table[i].a_rows, IN),
            hone_type_of(HONE_F32, 2, OUT, R)
        };
        char *path = hone_format_text(&a, "%s/adapter_model.safetensors",
                                      folder);
        hone_saver *s;
        hone_saver_prepare(&a, path, table[i].names, types, 2, NULL, &s, &err);
        assert_int_equal(hone_saver_begin(s, &err), HONE_OK);
        hone_saver_put(s, data, (table[i].a_rows * IN + OUT * R) * 4, &err);
        assert_int_equal(hone_saver_end(s, &err), HONE_OK);
        assert_int_equal(hone_peft_open(&p, folder, &err), HONE_EINVAL);
        if (!strstr(err.msg, table[i].says))
            fail_msg("says: %s", err.msg);
    }
    hone_arena_free(&a);
}

static void carried_files(void **state)
{
    hone_arena a = { 0 };
    hone_model_files files;
    hone_err err;
    char to[600], path[700];
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(hone_write_file(path, "{}", 2, &err), HONE_OK);
    snprintf(path, sizeof path, "%s/README.md", folder);
    assert_int_equal(hone_write_file(path, "no", 2, &err), HONE_OK);
    snprintf(path, sizeof path, "mkdir '%s/chat_templates'", folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/chat_templates/tool_use.jinja", folder);
    assert_int_equal(hone_write_file(path, "{{ }}", 5, &err), HONE_OK);
    snprintf(to, sizeof to, "%s/to", folder);
    assert_int_equal(hone_model_files_prepare(&files, &a, folder, to, &err),
                     HONE_OK);
    assert_int_equal(files.count, 3); /* with the folder of templates */
    assert_int_equal(files.bytes, 7);
    assert_int_equal(hone_model_files_write(&files, &err), HONE_EIO);
    snprintf(path, sizeof path, "mkdir '%s'", to);
    assert_int_equal(system(path), 0);
    assert_int_equal(hone_model_files_write(&files, &err), HONE_OK);
    snprintf(path, sizeof path, "%s/tokenizer.json", to);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fgetc(f), '{');
    fclose(f);
    assert_int_equal(hone_model_files_write(&files, &err), HONE_OK);
    snprintf(path, sizeof path, "%s/chat_templates/tool_use.jinja", to);
    assert_int_equal(access(path, F_OK), 0);
    hone_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),    cmocka_unit_test(rslora),
        cmocka_unit_test(dora),
        cmocka_unit_test(configs),       cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(carried_files),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
