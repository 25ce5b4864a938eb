/* SPDX-License-Identifier: MIT
 *
 * test_merge.c -- a merged model equals W + scale * B A, its rows brought to
 * their magnitudes with dora, computed by the plain double loop and rounded
 * once, in every dtype and however it is read; the exporters of the build write
 * it and the adapter, through the verb.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "merge.h"

static char folder[] = "/tmp/hone-merge-XXXXXX";

enum { R = 3, IN = 7, OUT = 5 };

static const char *const names[] = { "model.a.weight", "model.b.weight",
                                     "model.norm.weight" };
static const hone_peft_module modules[] = {
    { .path = "model.a", .in = IN, .out = OUT, .r = R },
    { .path = "model.b", .in = OUT, .out = IN, .r = R },
};

/* Values from -1 to 1 that no short format holds exactly. */
static float value(int tensor, int64_t i)
{
    return (float)sin(1.7 * (double)i + 0.3 * tensor);
}

static const char *in_folder(hone_arena *a, const char *name)
{
    return hone_format_text(a, "%s/%s", folder, name);
}

static void save(hone_arena *a, const char *path, const char *const *list,
                 const hone_type *types, int count)
{
    hone_saver *s;
    hone_err err;
    float wide[64];
    char data[256];

    assert_int_equal(hone_saver_prepare(a, path, list, types, count,
                                        "format\0pt\0", &s, &err),
                     HONE_OK);
    assert_int_equal(hone_saver_begin(s, &err), HONE_OK);
    for (int i = 0; i < count; i++) {
        int k = hone_saver_order(s, i);
        int64_t n = hone_count(&types[k]);
        for (int64_t e = 0; e < n; e++)
            wide[e] = value(k, e);
        hone_convert(data, types[k].storage, wide, HONE_F32, n);
        assert_int_equal(
            hone_saver_put(s, data,
                           hone_part_bytes(types[k].storage, 0, n), &err),
            HONE_OK);
    }
    assert_int_equal(hone_saver_end(s, &err), HONE_OK);
}

/* model/: two shards; adapter/: for a and b; run.json names the model. */
static void make_run(hone_storage s, int rslora, int dora)
{
    hone_arena a = { 0 };
    hone_type types[] = { hone_type_of(s, 2, OUT, IN),
                          hone_type_of(s, 2, IN, OUT),
                          hone_type_of(s, 1, IN, 1) };
    hone_peft_spec spec = { .r = R, .alpha = 5, .rslora = rslora, .dora = dora,
                            .modules = modules, .count = 2 };
    hone_peft_saver *p;
    hone_err err;
    const char *index = "{\"weight_map\":{\"model.a.weight\":\"m-1\","
                        "\"model.b.weight\":\"m-2\","
                        "\"model.norm.weight\":\"m-2\"}}";
    float data[64];

    mkdir(in_folder(&a, "base"), 0755);
    mkdir(in_folder(&a, "adapter"), 0755);
    save(&a, in_folder(&a, "base/m-1"), names, types, 1);
    save(&a, in_folder(&a, "base/m-2"), names + 1, types + 1, 2);
    hone_write_file(in_folder(&a, "base/model.safetensors.index.json"), index,
                    strlen(index), &err);
    hone_write_file(in_folder(&a, "base/config.json"), "{}", 2, &err);
    mkdir(in_folder(&a, "base/chat_templates"), 0755);
    hone_write_file(in_folder(&a, "base/chat_templates/tool_use.jinja"), "t", 1,
                    &err);
    index = hone_format_text(&a, "{\"model\":\"%s/base\"}", folder);
    hone_write_file(in_folder(&a, "run.json"), index, strlen(index), &err);
    assert_int_equal(hone_peft_prepare(&a, in_folder(&a, "adapter"), &spec, &p,
                                       &err),
                     HONE_OK);
    assert_int_equal(hone_peft_begin(p, &err), HONE_OK);
    for (int i = 0; i < 4 + 2 * dora; i++) {
        int k = hone_peft_order(p, i), each = 2 + dora;
        int64_t n = k % each == 0 ? R * modules[k / each].in
                    : k % each == 1 ? R * modules[k / each].out
                                    : modules[k / each].out;
        for (int64_t e = 0; e < n; e++)
            data[e] = value(10 + k, e);
        assert_int_equal(hone_peft_put(p, data, n * 4, &err), HONE_OK);
    }
    assert_int_equal(hone_peft_end(p, &err), HONE_OK);
    hone_arena_free(&a);
}

/* Module k merged by the plain loop: W as the file has it. */
static void expect(int k, hone_storage s, double scale, int dora, void *to)
{
    int64_t in = modules[k].in, out = modules[k].out;
    int at = 10 + (2 + dora) * k;
    double merged[64];

    for (int64_t o = 0; o < out; o++) {
        double squares = 0, by;
        for (int64_t i = 0; i < in; i++) {
            /* m-2 numbers its tensors from 0 as well */
            float w = value(0, o * in + i);
            double sum = 0;
            char held[8];
            hone_convert(held, s, &w, HONE_F32, 1);
            hone_convert(&w, HONE_F32, held, s, 1);
            for (int r = 0; r < R; r++)
                sum += (double)value(at + 1, o * R + r) *
                       (double)value(at, r * in + i);
            merged[o * in + i] = (double)w + scale * sum;
            squares += merged[o * in + i] * merged[o * in + i];
        }
        by = dora ? (double)value(at + 2, o) / sqrt(squares) : 1;
        for (int64_t i = 0; i < in; i++)
            merged[o * in + i] *= by;
    }
    hone_convert(to, s, merged, HONE_F64, in * out);
}

/* Both are near: the order of a sum in double may move a tie. */
static void assert_near(const void *a, const void *b, hone_storage s,
                        int64_t n)
{
    double x[64], y[64];
    int same = 0;

    hone_convert(x, HONE_F64, a, s, n);
    hone_convert(y, HONE_F64, b, s, n);
    for (int64_t i = 0; i < n; i++) {
        assert_true(fabs(x[i] - y[i]) <= 1e-2 * fabs(y[i]));
        same += x[i] == y[i];
    }
    assert_true(same >= n - 1);
}

static void check_dtype(hone_storage s, int rslora, int dora)
{
    hone_arena a = { 0 };
    hone_weights base;
    hone_peft adapter;
    hone_merge m;
    hone_err err;
    hone_export e = { 0 };
    int64_t size = hone_parts(s)[0].bytes;
    char got[512], want[512];

    make_run(s, rslora, dora);
    assert_int_equal(hone_weights_open(&base, in_folder(&a, "base"), "model",
                                       &err),
                     HONE_OK);
    assert_int_equal(hone_peft_open(&adapter, in_folder(&a, "adapter"), &err),
                     HONE_OK);
    assert_int_equal(hone_merge_open(&m, &base, &adapter, &err), HONE_OK);
    hone_merge_lend(&m, &e);
    assert_int_equal(e.count, 3);
    for (int k = 0; k < 2; k++) {
        assert_string_equal(e.name(e.self, (uint32_t)k), names[k]);
        expect(k, s, rslora ? 5 / sqrt(R) : 5.0 / R, dora, want);
        assert_int_equal(e.read(e.self, (uint32_t)k, 0, IN * OUT * size, got,
                                &err),
                         HONE_OK);
        assert_near(got, want, s, IN * OUT);
        memcpy(want, got, sizeof got);
        memset(got, 0, sizeof got);
        for (int64_t at = 0; at < IN * OUT; at += 4) { /* across rows */
            int64_t n = IN * OUT - at < 4 ? IN * OUT - at : 4;
            assert_int_equal(e.read(e.self, (uint32_t)k, at * size, n * size,
                                    got + at * size, &err),
                             HONE_OK);
        }
        assert_memory_equal(got, want, (size_t)(IN * OUT * size));
    }
    assert_int_equal(e.read(e.self, 2, 0, IN * size, got, &err), HONE_OK);
    assert_memory_equal(got, base.list[2].data, (size_t)(IN * size));
    assert_int_equal(e.read(e.self, 2, size, IN * size, got, &err),
                     HONE_EINVAL);
    hone_merge_close(&m);
    hone_peft_close(&adapter);
    hone_weights_close(&base);
    hone_arena_free(&a);
}

static void equals_plain_loop(void **state)
{
    (void)state;
    check_dtype(HONE_F32, 0, 0);
    check_dtype(HONE_F32, 1, 0);
    check_dtype(HONE_F32, 0, 1);
    check_dtype(HONE_BF16, 1, 1);
    check_dtype(HONE_BF16, 0, 0);
    check_dtype(HONE_F16, 0, 0);
}

static void another_models_adapter(void **state)
{
    hone_arena a = { 0 };
    hone_type types[] = { hone_type_of(HONE_F32, 2, OUT, IN + 1),
                          hone_type_of(HONE_F32, 2, IN, OUT) };
    hone_weights base;
    hone_peft adapter;
    hone_merge m;
    hone_err err;

    (void)state;
    make_run(HONE_F32, 0, 0);
    assert_int_equal(hone_peft_open(&adapter, in_folder(&a, "adapter"), &err),
                     HONE_OK);
    for (int count = 1; count <= 2; count++) {
        types[0].dim[1] = IN + count - 1;
        save(&a, in_folder(&a, "x.safetensors"), names, types, count);
        assert_int_equal(hone_weights_open(&base,
                                           in_folder(&a, "x.safetensors"), "",
                                           &err),
                         HONE_OK);
        assert_int_equal(hone_merge_open(&m, &base, &adapter, &err),
                         HONE_EINVAL);
        assert_non_null(strstr(err.msg, count == 1 ? "'model.b'"
                                                   : "'model.a'"));
        hone_weights_close(&base);
    }
    hone_peft_close(&adapter);
    hone_arena_free(&a);
}

/* -------------------------------------------------------- through the verb */

static int hone_export_run(hone_arena *a, const char *rest)
{
    const char *command = hone_format_text(
        a, HONE_BUILD "/bin/hone export %s 2>'%s/log'", rest, folder);

    return WEXITSTATUS(system(command));
}

static void exported(void **state)
{
    hone_arena a = { 0 };
    hone_weights w;
    hone_peft p;
    hone_err err;
    char want[512];

    (void)state;
    make_run(HONE_BF16, 0, 0);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s --to merged --out %s/x/m",
                                             folder, folder)),
        0);
    if (hone_weights_open(&w, in_folder(&a, "x/m"), "model", &err) != HONE_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(w.file_count, 2);
    assert_string_equal(w.files[hone_weights_find(&w, names[1])->file], "m-2");
    for (int k = 0; k < 2; k++) {
        expect(k, HONE_BF16, 5.0 / R, 0, want);
        assert_near(w.list[k].data, want, HONE_BF16, IN * OUT);
    }
    hone_weights_close(&w);
    assert_int_equal(access(in_folder(&a, "x/m/config.json"), F_OK), 0);
    assert_int_equal(access(in_folder(&a, "x/m/chat_templates/tool_use.jinja"),
                            F_OK), 0);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s/base --adapter %s/adapter"
                                             " --to peft --out %s/p",
                                             folder, folder, folder)),
        0);
    assert_int_equal(hone_peft_open(&p, in_folder(&a, "p"), &err), HONE_OK);
    hone_peft_close(&p);
    hone_arena_free(&a);
}

static void wrong_orders(void **state)
{
    hone_arena a = { 0 };
    const char *base = in_folder(&a, "base");

    (void)state;
    make_run(HONE_F32, 0, 0);
    assert_int_equal(hone_export_run(&a, ""), 2);
    assert_int_equal(hone_export_run(&a, "/nowhere --to peft --out x"), 2);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s --to mergd --out x",
                                             base)),
        2);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s --to peft --out %s/n",
                                             base, folder)),
        2);
    assert_int_equal(access(in_folder(&a, "n"), F_OK), -1);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s --to merged --out %s",
                                             base, base)),
        2);
    mkdir(in_folder(&a, "o"), 0755);
    save(&a, in_folder(&a, "o/model.safetensors"), NULL, NULL, 0);
    assert_int_equal(
        hone_export_run(&a, hone_format_text(&a, "%s --to merged --out %s/o",
                                             base, folder)),
        2);
    hone_arena_free(&a);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_plain_loop),
        cmocka_unit_test(another_models_adapter),
        cmocka_unit_test(exported),
        cmocka_unit_test(wrong_orders),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
