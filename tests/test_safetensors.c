/* SPDX-License-Identifier: MIT
 *
 * test_safetensors.c -- files written and read back, hostile headers refused
 * with file and tensor named, conversions against exact arithmetic.
 */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "safetensors.h"

static char folder[] = "/tmp/hone-safetensors-XXXXXX";
static char path[512];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_raw(const char *to, const void *data, size_t bytes)
{
    FILE *f = fopen(to, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

/* A file of a header and DATA_BYTES zeros. */
static size_t make_file(char *to, uint64_t length, const char *header,
                        size_t data_bytes)
{
    size_t n = strlen(header);

    for (int i = 0; i < 8; i++)
        to[i] = (char)(length >> 8 * i & 0xff);
    memcpy(to + 8, header, n);
    memset(to + 8 + n, 0, data_bytes);
    return 8 + n + data_bytes;
}

static void write_header(const char *to, const char *header, size_t data_bytes)
{
    char *raw = malloc(strlen(header) + data_bytes + 8);
    size_t n = make_file(raw, strlen(header), header, data_bytes);

    write_raw(to, raw, n);
    free(raw);
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

/* ------------------------------------------------------------ round trips */

static void save_three(const char *to)
{
    const char *names[] = { "z.half", "b.ids", "a.weight" };
    hone_type types[] = { hone_type_of(HONE_BF16, 2, 3, 1),
                          hone_type_of(HONE_I64, 1, 2, 1),
                          hone_type_of(HONE_F32, 2, 2, 2) };
    const uint16_t half[] = { 0x3f80, 0x4000, 0x4040 };
    const int64_t ids[] = { 7, -9 };
    const float weight[] = { 1, 2, 3, 4 };
    const void *data[] = { half, ids, weight };
    hone_arena arena = { 0 };
    hone_saver *s;
    hone_err err;
    int at = 0;

    assert_int_equal(hone_saver_prepare(&arena, to, names, types, 3,
                                        "format\0pt\0", &s, &err),
                     HONE_OK);
    assert_int_equal(hone_saver_begin(s, &err), HONE_OK);
    for (int i = 0; i < 3; i++) {
        int k = hone_saver_order(s, i);
        int64_t bytes = hone_part_bytes(types[k].storage, 0,
                                        hone_count(&types[k]));
        at = at * 10 + k;
        assert_int_equal(hone_saver_put(s, data[k], bytes, &err), HONE_OK);
    }
    assert_int_equal(at, 120); /* eight bytes, then four, then two */
    assert_int_equal(hone_saver_end(s, &err), HONE_OK);
    hone_arena_free(&arena);
}

static void round_trip(void **state)
{
    hone_weights w;
    hone_err err;
    struct stat st;
    const hone_weight *t;
    uint16_t half;

    (void)state;
    save_three(in_folder("model.safetensors"));
    assert_int_equal(stat(in_folder("model.safetensors.part"), &st), -1);
    assert_int_equal(hone_weights_open(&w, folder, "model", &err), HONE_OK);
    assert_int_equal(w.count, 3);
    assert_string_equal(w.list[0].name, "a.weight");
    t = hone_weights_find(&w, "a.weight");
    assert_int_equal(t->type.storage, HONE_F32);
    assert_int_equal(t->type.dim[1], 2);
    assert_memory_equal(t->data, ((float[]){ 1, 2, 3, 4 }), 16);
    t = hone_weights_find(&w, "b.ids");
    assert_memory_equal(t->data, ((int64_t[]){ 7, -9 }), 16);
    t = hone_weights_find(&w, "z.half");
    memcpy(&half, (const char *)t->data + 4, 2);
    assert_int_equal(half, 0x4040);
    assert_null(hone_weights_find(&w, "c"));
    hone_weights_close(&w);
}

static void misuse_leaves_old_file(void **state)
{
    const char *names[] = { "a" };
    hone_type type = hone_type_of(HONE_F32, 1, 2, 1);
    hone_arena arena = { 0 };
    hone_saver *s;
    hone_err err;
    char old[4] = "";
    int fd;

    (void)state;
    write_raw(in_folder("kept"), "old", 3);
    hone_saver_prepare(&arena, path, names, &type, 1, NULL, &s, &err);
    assert_int_equal(hone_saver_begin(s, &err), HONE_OK);
    assert_int_equal(hone_saver_put(s, "too many bytes", 14, &err), HONE_EIO);
    assert_int_equal(hone_saver_begin(s, &err), HONE_OK);
    assert_int_equal(hone_saver_end(s, &err), HONE_EIO);
    assert_int_equal(hone_saver_put(s, "1234", 4, &err), HONE_EIO);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, old, 3), 3);
    close(fd);
    assert_string_equal(old, "old");
    hone_arena_free(&arena);
}

static void small_file(void **state)
{
    char text[8] = "";
    hone_err err;
    FILE *f;

    (void)state;
    assert_int_equal(hone_write_file(in_folder("text"), "hello", 5, &err),
                     HONE_OK);
    f = fopen(path, "rb");
    assert_int_equal(fread(text, 1, 8, f), 5);
    fclose(f);
    assert_string_equal(text, "hello");
    assert_int_equal(hone_write_file(in_folder("no/such/folder"), "", 0, &err),
                     HONE_EIO);
    assert_non_null(strstr(err.msg, "no/such/folder"));
}

/* A tensor of 64 GiB in a sparse file: opening reads the header alone. */
static void header_only(void **state)
{
    const char *header = "{\"w\":{\"dtype\":\"F32\",\"shape\":[131072,131072],"
                         "\"data_offsets\":[0,68719476736]}}";
    hone_weights w;
    hone_err err;
    float last;

    (void)state;
    write_header(in_folder("huge.safetensors"), header, 0);
    if (truncate(path, (off_t)(8 + strlen(header)) + 68719476736)) {
        print_message("[  SKIP  ] no room for a sparse file of 64 GiB\n");
        return;
    }
    assert_int_equal(hone_weights_open(&w, path, "", &err), HONE_OK);
    assert_int_equal(w.list[0].bytes, 68719476736);
    memcpy(&last, (const char *)w.list[0].data + 68719476732, 4);
    assert_true(last == 0);
    hone_weights_close(&w);
    unlink(path);
}

/* ----------------------------------------------------------------- shards */

#define ONE(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[2],"             \
                  "\"data_offsets\":[0,2]}}"

static hone_status open_sharded(const char *index, hone_weights *w,
                                hone_err *err)
{
    write_raw(in_folder("sharded.safetensors.index.json"), index,
              strlen(index));
    write_header(in_folder("s-1.safetensors"), ONE("one"), 2);
    write_header(in_folder("s-2.safetensors"), ONE("two"), 2);
    return hone_weights_open(w, folder, "sharded", err);
}

static void sharded(void **state)
{
    static const struct {
        const char *index, *says;
    } wrong[] = {
        { "{\"weight_map\":{\"one\":\"../s-1.safetensors\"}}", "'one'" },
        { "{\"weight_map\":{\"one\":\"/etc/passwd\"}}", "'/etc/passwd'" },
        { "{\"weight_map\":{\"one\":\"..\"}}", "'..'" },
        { "{\"weight_map\":{\"one\":\"\"}}", "'one'" },
        { "{\"weight_map\":{\"one\":3}}", "'one'" },
        { "{\"weight_map\":{\"one\":\"a/b.safetensors\"}}", "a/b" },
        { "{\"weight_map\":{\"one\":\"gone.safetensors\"}}", "gone" },
        { "{\"weight_map\":{\"one\":\"s-2.safetensors\"}}", "'one'" },
        { "{\"weight_map\":{}}", "weight_map" },
        { "[]", "weight_map" },
        { "{\"weight_map\":", "JSON" },
    };
    hone_weights w;
    hone_err err;

    (void)state;
    assert_int_equal(open_sharded("{\"metadata\":{\"total_size\":4},"
                                  "\"weight_map\":{"
                                  "\"one\":\"s-1.safetensors\","
                                  "\"two\":\"s-2.safetensors\"}}",
                                  &w, &err),
                     HONE_OK);
    assert_int_equal(w.file_count, 2);
    assert_int_equal(hone_weights_find(&w, "two")->file, 1);
    hone_weights_close(&w);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(open_sharded(wrong[i].index, &w, &err), HONE_EINVAL);
        if (!strstr(err.msg, wrong[i].says) || !strstr(err.msg, folder))
            fail_msg("%s\n    says: %s", wrong[i].index, err.msg);
    }
}

static void same_name_in_two_shards(void **state)
{
    const char *index = "{\"weight_map\":{\"one\":\"t-1.safetensors\","
                        "\"two\":\"t-2.safetensors\"}}";
    hone_weights w;
    hone_err err;

    (void)state;
    write_raw(in_folder("twice.safetensors.index.json"), index, strlen(index));
    write_header(in_folder("t-1.safetensors"), ONE("one"), 2);
    write_header(in_folder("t-2.safetensors"), ONE("one"), 2);
    assert_int_equal(hone_weights_open(&w, folder, "twice", &err),
                     HONE_EINVAL);
    assert_non_null(strstr(err.msg, "'one' is in t-1.safetensors and in t-2"));
}

/* ---------------------------------------------------------- hostile files */

#define T(name, dtype, shape, from, to)                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape                   \
    ",\"data_offsets\":[" #from "," #to "]}"

static const struct {
    const char *header;
    size_t data_bytes;
    const char *says;
} hostile[] = {
    { "", 0, "not a safetensors" },
    { "[]", 0, "not a safetensors" },
    { " {}", 0, "not a safetensors" },
    { "{", 0, "JSON" },
    { "{} x", 0, "JSON" },
    { "{\"\\u0000\":{}}", 0, "JSON" },
    { "{\"\xff\":{}}", 0, "JSON" },
    { "{\"t\":[]}", 0, "'t'" },
    { "{\"t\":null}", 0, "'t'" },
    { "{\"t\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "'t'" },
    { "{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'t'" },
    { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "'t'" },
    { "{" T("t", "F7", "[1]", 0, 4) "}", 4, "'F7'" },
    { "{" T("t", "BOOL", "[4]", 0, 4) "}", 4, "'BOOL'" },
    { "{" T("t", "F32", "[-1]", 0, 4) "}", 4, "'t'" },
    { "{" T("t", "F32", "[1.0]", 0, 4) "}", 4, "'t'" },
    { "{" T("t", "F32", "\"1\"", 0, 4) "}", 4, "'t'" },
    { "{" T("t", "F32", "[1,1,1,1,1]", 0, 4) "}", 4, "'t'" },
    { "{" T("t", "F32", "[4611686018427387904,4]", 0, 4) "}", 4, "overflow" },
    { "{" T("t", "F32", "[9223372036854775808]", 0, 4) "}", 4, "JSON" },
    { "{" T("t", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "overflow" },
    { "{" T("t", "F32", "[2]", 0, 4) "}", 4, "'t'" },
    { "{" T("t", "F32", "[1]", 0, 8) "}", 8, "'t'" },
    { "{" T("t", "F32", "[1]", 4, 0) "}", 4, "'t'" },
    { "{" T("t", "F32", "[1]", -4, 0) "}", 4, "'t'" },
    { "{" T("t", "F32", "[1]", 0, 4) "}", 3, "'t'" },
    { "{" T("t", "F32", "[1]", 9223372036854775804, 9223372036854775807) "}",
      4, "'t'" },
    { "{" T("t", "F32", "[1]", 0, 4) "}", 8, "'t'" },
    { "{" T("t", "F32", "[1]", 4, 8) "}", 8, "hole" },
    { "{" T("t", "F32", "[1]", 0, 4) "," T("u", "F32", "[1]", 8, 12) "}", 12,
      "'u'" },
    { "{" T("t", "F32", "[2]", 0, 8) "," T("u", "F32", "[2]", 4, 12) "}", 12,
      "'u'" },
    { "{" T("t", "F32", "[1]", 0, 4) "," T("u", "F32", "[1]", 0, 4) "}", 4,
      "inside" },
    { "{" T("t", "F32", "[1]", 0, 4) "," T("t", "F32", "[1]", 4, 8) "}", 8,
      "duplicate" },
    { "{\"__metadata__\":3}", 0, "__metadata__" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__" },
    { "{}", 4, "belong to none" },
    { "{" T("a\\nb", "F32", "[1]", 0, 4) "}", 4, "control" },
};

static void hostile_headers(void **state)
{
    hone_weights w;
    hone_err err;

    (void)state;
    in_folder("hostile.safetensors");
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        write_header(path, hostile[i].header, hostile[i].data_bytes);
        if (hone_weights_open(&w, path, "", &err) != HONE_EINVAL)
            fail_msg("accepted: %s", hostile[i].header);
        if (!strstr(err.msg, hostile[i].says) || !strstr(err.msg, path) ||
            strchr(err.msg, '\n'))
            fail_msg("%s\n    says: %s", hostile[i].header, err.msg);
    }
}

static void hostile_lengths(void **state)
{
    static const uint64_t lengths[] = { 3, 100000001, 1ull << 62,
                                        0xffffffffffffffffull, 99999999 };
    char raw[64];
    hone_weights w;
    hone_err err;

    (void)state;
    in_folder("length.safetensors");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_raw(path, raw, make_file(raw, lengths[i], "{}", 0));
        assert_int_equal(hone_weights_open(&w, path, "", &err), HONE_EINVAL);
        assert_non_null(strstr(err.msg, path));
    }
    for (size_t n = 0; n < 8; n++) {
        write_raw(path, raw, n);
        assert_int_equal(hone_weights_open(&w, path, "", &err), HONE_EINVAL);
    }
    assert_int_equal(hone_weights_open(&w, "/dev/null", "", &err),
                     HONE_EINVAL);
    assert_int_equal(hone_weights_open(&w, "/nowhere", "", &err), HONE_EINVAL);
}

/* Reads every byte that the list claims. */
static unsigned touch(const hone_weights *w)
{
    unsigned sum = 0;

    for (int i = 0; i < w->count; i++)
        for (int64_t k = 0; k < w->list[i].bytes; k++)
            sum += ((const unsigned char *)w->list[i].data)[k];
    return sum;
}

static void mutated_files(void **state)
{
    char good[1024], raw[1024];
    size_t n;
    uint64_t rng = 88172645463325252ull;
    FILE *f;
    hone_weights w;
    hone_err err;

    (void)state;
    save_three(in_folder("good"));
    f = fopen(path, "rb");
    n = fread(good, 1, sizeof good, f);
    fclose(f);
    in_folder("fuzz");
    for (int i = 0; i < 2000; i++) {
        size_t size = n;
        memcpy(raw, good, n);
        for (int k = 0; k < 1 + i % 4; k++) {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            raw[rng % n] = (char)(k % 2 ? "0123456789[]{},\":-"[rng >> 32 & 15]
                                        : (int)(rng >> 40));
        }
        if (i % 16 == 0)
            size = rng % n;
        write_raw(path, raw, size);
        if (hone_weights_open(&w, path, "", &err) == HONE_OK) {
            touch(&w);
            hone_weights_close(&w);
        }
    }
}

static void micro_files(void **state)
{
    const char *data = getenv("HONE_TEST_DATA");
    char name[768], dir[512];
    struct dirent *e;
    hone_weights w;
    hone_err err;
    DIR *d;

    (void)state;
    snprintf(dir, sizeof dir, "%s/weights/safetensors-micro", data ? data : "");
    d = data ? opendir(dir) : NULL;
    if (!d) {
        print_message("[  SKIP  ] no $HONE_TEST_DATA/weights\n");
        return;
    }
    while ((e = readdir(d))) {
        if (!strstr(e->d_name, ".safetensors"))
            continue;
        snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
        if (hone_weights_open(&w, name, "", &err) != HONE_OK)
            fail_msg("%s", err.msg);
        assert_true(w.count > 0);
        touch(&w);
        hone_weights_close(&w);
    }
    closedir(d);
}

/* ------------------------------------------------------------ conversions */

/* Every 16-bit value but NaNs survives the way to fp32 and double and back. */
static void sixteen_bits_exact(void **state)
{
    static const hone_storage kinds[] = { HONE_F16, HONE_BF16 };
    uint16_t from[7], back[7];
    double wide[7];
    float f[7];

    (void)state;
    for (int k = 0; k < 2; k++)
        for (uint32_t u = 0; u < 65536; u++) {
            for (int i = 0; i < 7; i++)
                from[i] = (uint16_t)u;
            hone_convert(f, HONE_F32, from, kinds[k], 7);
            hone_convert(wide, HONE_F64, from, kinds[k], 7);
            hone_convert(back, kinds[k], f, HONE_F32, 7);
            assert_true(isnan(f[3]) ? isnan(wide[3])
                                    : (double)f[3] == wide[3]);
            if (isnan(f[3])) {
                hone_convert(f, HONE_F32, back, kinds[k], 7);
                assert_true(isnan(f[0]));
                continue;
            }
            assert_memory_equal(from, back, sizeof from);
            hone_convert(back, kinds[k], wide, HONE_F64, 7);
            assert_memory_equal(from, back, sizeof from);
        }
}

/* Between two neighbours the nearer wins, the middle goes to the even one. */
static void nearest_even(void **state)
{
    static const hone_storage kinds[] = { HONE_F16, HONE_BF16 };
    static const double at[] = { 0.25, 0.5, 0.75, 0.5 - 1e-9, 0.5 + 1e-9 };

    (void)state;
    for (int k = 0; k < 2; k++)
        for (uint32_t u = 0; u < (k ? 0x7f7fu : 0x7bffu); u += 5) {
            uint16_t low = (uint16_t)u, high = (uint16_t)(u + 1);
            double a, b;
            hone_convert(&a, HONE_F64, &low, kinds[k], 1);
            hone_convert(&b, HONE_F64, &high, kinds[k], 1);
            for (int i = 0; i < 5; i++) {
                double x = a + (b - a) * at[i];
                uint16_t want = at[i] < 0.5   ? low
                                : at[i] > 0.5 ? high
                                : u % 2       ? high
                                              : low;
                uint16_t got;
                hone_convert(&got, kinds[k], &x, HONE_F64, 1);
                assert_int_equal(got, want);
                x = -x;
                hone_convert(&got, kinds[k], &x, HONE_F64, 1);
                assert_int_equal(got, want | 0x8000);
            }
        }
}

static void overflows_and_unaligned(void **state)
{
    float big[] = { 65519, 65520, 3e38f, -INFINITY };
    uint16_t half[4];
    char bytes[64];
    double huge = 1e300;

    (void)state;
    hone_convert(half, HONE_F16, big, HONE_F32, 4);
    assert_memory_equal(half, ((uint16_t[]){ 0x7bff, 0x7c00, 0x7c00, 0xfc00 }),
                        8);
    hone_convert(half, HONE_BF16, &huge, HONE_F64, 1);
    assert_int_equal(half[0], 0x7f80);
    hone_convert(bytes + 1, HONE_BF16, big, HONE_F32, 4);
    hone_convert(bytes + 17, HONE_F32, bytes + 1, HONE_BF16, 4);
    assert_int_equal(hone_convert(bytes, HONE_F32, bytes + 32, HONE_I64, 1),
                     HONE_ENOSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(misuse_leaves_old_file),
        cmocka_unit_test(small_file),
        cmocka_unit_test(header_only),
        cmocka_unit_test(sharded),
        cmocka_unit_test(same_name_in_two_shards),
        cmocka_unit_test(hostile_headers),
        cmocka_unit_test(hostile_lengths),
        cmocka_unit_test(mutated_files),
        cmocka_unit_test(micro_files),
        cmocka_unit_test(sixteen_bits_exact),
        cmocka_unit_test(nearest_even),
        cmocka_unit_test(overflows_and_unaligned),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
