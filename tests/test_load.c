/* SPDX-License-Identifier: MIT
 *
 * test_load.c -- what loading puts into the store, on the CPU and on the test
 * device with late streams: more than the ring of pinned memory holds, with
 * and without a conversion, to codes with a scale, by rule, and zeros; a file
 * that became shorter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "e4m3.h"
#include "load.h"
#include "machine.h"
#include "registry.h"

enum { WIDE = 5000, LONG = 3001, SMALL = 7, TENSORS = 6 };

static char folder[] = "/tmp/hone-load-XXXXXX";
static char file[64];

static void must(hone_status status, const hone_err *err)
{
    if (status != HONE_OK)
        fail_msg("%s", err->msg);
}

static const char *const names[3] = { "a.weight", "b.weight", "c.weight" };

/* Values of all sizes, none of them NaN in any storage. */
static float value(int64_t i)
{
    return (float)((i * 2654435761u % 100003) - 50000) / 1024.0f;
}

static void write_file(void)
{
    const hone_type types[3] = { hone_type_of(HONE_F32, 2, LONG, WIDE),
                                 hone_type_of(HONE_F32, 2, LONG, WIDE),
                                 hone_type_of(HONE_BF16, 1, SMALL, 1) };
    hone_arena a = { 0 };
    hone_saver *s;
    hone_err err;
    float *x = hone_alloc(&a, sizeof *x * LONG * WIDE);

    must(hone_saver_prepare(&a, file, names, types, 3, NULL, &s, &err), &err);
    must(hone_saver_begin(s, &err), &err);
    for (int i = 0; i < 3; i++) {
        int t = hone_saver_order(s, i);
        int64_t n = hone_count(&types[t]);

        for (int64_t k = 0; k < n; k++)
            x[k] = value(k + t);
        if (t == 2)
            hone_convert(x + SMALL, HONE_BF16, x, HONE_F32, SMALL);
        must(hone_saver_put(s, t == 2 ? x + SMALL : x,
                            n * (int64_t)hone_parts(types[t].storage)->bytes,
                            &err), &err);
    }
    must(hone_saver_end(s, &err), &err);
    hone_arena_free(&a);
}

/* As it is, to half the bytes, to twice the bytes, by rule, nothing, codes. */
static void make_store(hone_store *s, hone_kept *list)
{
    const hone_type types[TENSORS] = {
        hone_type_of(HONE_F32, 2, LONG, WIDE),
        hone_type_of(HONE_BF16, 2, LONG, WIDE),
        hone_type_of(HONE_F32, 1, SMALL, 1),
        hone_type_of(HONE_BF16, 2, 3000, 1000),
        hone_type_of(HONE_F32, 1, 1000, 1),
        hone_type_of(HONE_FP8, 2, LONG, WIDE) };

    *s = (hone_store){ .list = list, .count = TENSORS };
    for (int i = 0; i < TENSORS; i++) {
        list[i] = (hone_kept){
            .name = i < 3    ? names[i]
                    : i == 3 ? "made.lora_A.weight"
                    : i == 4 ? "state"
                             : names[0],
            .type = types[i], .adapter = i == 3, .offset = s->bytes,
            .kind = i == 4 ? HONE_T_STATE : HONE_T_PARAM,
            .bytes = hone_tensor_bytes(&types[i]) };
        s->bytes += list[i].bytes;
    }
}

/* The largest of the values, at the end of the tensor or not, is 448. */
static void check_codes(const hone_kept *k, const char *got)
{
    int64_t n = hone_count(&k->type);
    uint8_t *want = malloc((size_t)n);
    float *x = malloc((size_t)n * sizeof *x), scale;

    for (int64_t i = 0; i < n; i++)
        x[i] = value(i);
    scale = hone_e4m3_scale(hone_e4m3_top(0, x, n));
    assert_true(scale > 48 / 448.0f && scale < 49 / 448.0f);
    hone_e4m3_codes(want, x, scale, n);
    assert_memory_equal(got, want, (size_t)n);
    got += (n + HONE_ALIGN - 1) / HONE_ALIGN * HONE_ALIGN;
    for (int64_t i = 0; i < n / k->type.dim[1]; i++) /* for every row */
        assert_memory_equal(got + i * (int64_t)sizeof scale, &scale,
                            sizeof scale);
    free(x);
    free(want);
}

static void check(const hone_store *s, const hone_kept *k, const char *got)
{
    int64_t n = hone_count(&k->type), size = hone_parts(k->type.storage)->bytes;
    char *want = calloc(1, (size_t)(n * size));
    float *x = malloc((size_t)n * sizeof *x);
    uint16_t half[SMALL];
    int t = (int)(k - s->list);

    for (int64_t i = 0; i < n; i++)
        x[i] = t < 3 ? value(i + t) : 0;
    if (t == 2) {
        hone_convert(half, HONE_BF16, x, HONE_F32, n);
        hone_convert(x, HONE_F32, half, HONE_BF16, n);
    }
    hone_convert(want, k->type.storage, x, HONE_F32, n);
    if (t == 3)
        hone_init_fill(want, k->type.storage, hone_init_lora_a(1000), 11,
                       k->name, 0, n);
    free(x);
    if (memcmp(got, want, (size_t)(n * size)))
        fail_msg("%s differs", k->name);
    free(want);
}

/* Loads on DEVICE and looks at every tensor; or says how it failed. */
static hone_status load(const char *device, int shorter, hone_err *err)
{
    hone_arena a = { 0 };
    hone_kept list[TENSORS];
    hone_store store;
    hone_machine m;
    hone_weights w;
    hone_source source = { .weights = &w, .seed = 11 };
    hone_status status;
    void *memory;
    char *got;

    make_store(&store, list);
    must(hone_machine_open(&m, device, NULL, &a, err), err);
    must(hone_weights_open(&w, file, "model", err), err);
    if (shorter && truncate(file, 40 << 20))
        fail_msg("%s cannot be cut", file);
    must(m.api->reserve(m.self, HONE_DEVICE_SPACE, store.bytes, &memory, err),
         err);
    store.base = memory;
    if (!m.info.is_host)
        assert_true(hone_load_bytes(&store, &m) < store.bytes);
    status = hone_store_load(&store, &m, &source, err);
    got = malloc((size_t)store.bytes);
    for (int i = 0; i < TENSORS && status == HONE_OK; i++) {
        must(hone_machine_get(&m, got, hone_store_address(&store, &list[i]),
                              list[i].bytes, err), err);
        if (list[i].type.storage == HONE_FP8)
            check_codes(&list[i], got);
        else
            check(&store, &list[i], got);
    }
    free(got);
    m.api->release(m.self, HONE_DEVICE_SPACE, memory);
    hone_weights_close(&w);
    hone_machine_close(&m);
    hone_arena_free(&a);
    return status;
}

/* The device's own pack, those that override it, those that it overrides. */
static void test_packs_in_order(void **state)
{
    static const char *const order[] = { "fake_z", "fake", "fake_a" };
    hone_arena a = { 0 };
    hone_machine m;
    hone_err err;

    (void)state;
    must(hone_machine_open(&m, "fake", NULL, &a, &err), &err);
    for (int i = 0; i < 3; i++)
        assert_string_equal(m.packs[i]->name, order[i]);
    assert_null(m.packs[3]);
    hone_machine_close(&m);
    must(hone_machine_open(&m, "fake", "fake_a,fake", &a, &err), &err);
    assert_string_equal(m.packs[0]->name, "fake_a");
    assert_string_equal(m.packs[1]->name, "fake");
    assert_null(m.packs[2]);
    hone_machine_close(&m);
    hone_arena_free(&a);
}

static void test_values(void **state)
{
    static const char *const devices[] = { "cpu", "fake" };
    hone_err err;

    (void)state;
    for (int i = 0; i < 2; i++)
        must(load(devices[i], 0, &err), &err);
}

static void test_a_file_that_became_shorter(void **state)
{
    static const char *const devices[] = { "cpu", "fake" };
    hone_err err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        write_file();
        assert_int_equal(load(devices[i], 1, &err), HONE_EIO);
        assert_non_null(strstr(err.msg, "it became shorter"));
        assert_non_null(strstr(err.msg, ".safetensors"));
    }
}

static int setup(void **state)
{
    static const char *const dirs[] = { HONE_BUILD "/tests/plugins", NULL };
    hone_err err;

    (void)state;
    setenv("HONE_PLUGIN_PATH", HONE_BUILD "/lib/hone/plugins", 1);
    setenv("HONE_FAKE_JITTER", "7", 1);
    if (!mkdtemp(folder) || hone_registry_open(dirs, &err) != HONE_OK)
        return -1;
    snprintf(file, sizeof file, "%s/x.safetensors", folder);
    write_file();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(file) || rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packs_in_order),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_file_that_became_shorter),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
