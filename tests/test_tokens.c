/* SPDX-License-Identifier: MIT
 *
 * test_tokens.c -- a model folder's tokenizer: which ids end a text, from
 * which file; broken files are named; broken UTF-8 is repaired.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "registry.h"
#include "tokens.h"

static char folder[64];

static void write_file(const char *name, const char *content)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!content) {
        unlink(path);
        return;
    }
    f = fopen(path, "wb");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* The pieces <unk> <s> </s> have the ids 0, 1, 2; "cat" comes late. */
static int setup(void **state)
{
    json_t *root = json_load_file(HONE_SOURCE "/tests/tokenizer/cases.json",
                                  JSON_ALLOW_NUL, NULL);
    char *dump = json_dumps(
        json_object_get(json_object_get(root, "bases"), "pieces"), 0);
    const char *no_dirs[] = { NULL };
    hone_err err;

    (void)state;
    assert_int_equal(hone_registry_open(no_dirs, &err), HONE_OK);
    strcpy(folder, "/tmp/hone-tokens-XXXXXX");
    assert_non_null(mkdtemp(folder));
    write_file("tokenizer.json", dump);
    free(dump);
    json_decref(root);
    return 0;
}

static void clear(void)
{
    write_file("tokenizer_config.json", NULL);
    write_file("special_tokens_map.json", NULL);
    write_file("generation_config.json", NULL);
    write_file("config.json", NULL);
}

static int teardown(void **state)
{
    (void)state;
    clear();
    write_file("tokenizer.json", NULL);
    return rmdir(folder);
}

static void opened(hone_tokens *t, const char *path)
{
    hone_err err = { 0 };

    if (hone_tokens_open(t, path, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void a_folder_and_a_file(void **state)
{
    char path[256];
    hone_tokens t, u;

    (void)state;
    clear();
    opened(&t, folder);
    assert_int_equal(t.eos, -1);
    assert_int_equal(t.bos, -1);
    assert_int_equal(t.pad, -1);
    assert_int_equal(t.eos_count, 0);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    opened(&u, path);
    assert_string_equal(t.hash, u.hash);
    assert_int_equal(strlen(t.hash), 64);
    assert_string_equal(t.path, u.path);
    hone_tokens_close(&t);
    hone_tokens_close(&u);
}

static void the_first_file_that_knows_an_end_wins(void **state)
{
    hone_tokens t;

    (void)state;
    clear();
    write_file("config.json", "{\"eos_token_id\": 5, \"bos_token_id\": 6}");
    opened(&t, folder);
    assert_int_equal(t.eos, 5);
    assert_int_equal(t.bos, 6);
    hone_tokens_close(&t);

    write_file("generation_config.json",
               "{\"eos_token_id\": [7, 8, 99999], \"pad_token_id\": 0}");
    opened(&t, folder);
    assert_int_equal(t.eos, 7);
    assert_int_equal(t.pad, 0);
    assert_int_equal(t.eos_count, 3); /* 7, 8 and config.json's 5 */
    hone_tokens_close(&t);

    write_file("special_tokens_map.json", "{\"bos_token\": \"<s>\"}");
    write_file("tokenizer_config.json",
               "{\"eos_token\": {\"content\": \"</s>\"}, \"pad_token\": null, "
               "\"model_max_length\": 1000000000000000019884624838656}");
    opened(&t, folder);
    assert_int_equal(t.eos, 2);
    assert_int_equal(t.bos, 1);
    assert_int_equal(t.pad, 0);
    assert_int_equal(t.eos_list[0], 2);
    hone_tokens_close(&t);
}

static void refused(const char *path, const char *want)
{
    hone_err err = { 0 };
    hone_tokens t;

    assert_int_not_equal(hone_tokens_open(&t, path, &err), HONE_OK);
    if (!strstr(err.msg, want))
        fail_msg("'%s' does not say '%s'", err.msg, want);
}

static void broken_files_are_named(void **state)
{
    char other[256];

    (void)state;
    clear();
    refused("/nowhere", "/nowhere: No such file");
    write_file("tokenizer_config.json", "{\"eos_token\": ");
    refused(folder, "tokenizer_config.json:1: not valid JSON");
    clear();
    snprintf(other, sizeof other, "%s/other.json", folder);
    write_file("other.json", "{\"model\": {\"type\": \"Fancy\"}}");
    refused(other, "type 'Fancy'");
    write_file("other.json", "{\"a\": 1}");
    refused(other, "no 'model'");
    write_file("other.json", "{\"model\": {\"merges\": [], \"vocab\": 3}}");
    refused(other, "other.json: model: 'vocab'");
    write_file("other.json", "");
    refused(other, "other.json");
    write_file("other.json", NULL);
}

static void repaired(const char *in, size_t n, const char *want)
{
    hone_arena a = { 0 };
    size_t len;
    const char *out = hone_utf8_repair(&a, in, n, &len);

    assert_int_equal(len, strlen(want));
    assert_memory_equal(out, want, len);
    hone_arena_free(&a);
}

#define R "\xEF\xBF\xBD"

/* The examples of the Unicode standard, chapter 3.9, and the borders. */
static void broken_utf8_becomes_u_fffd(void **state)
{
    static const char whole[] =
        "long enough for a word \xC3\xA9 \xF0\x9F\x98\x80";

    (void)state;
    repaired(whole, sizeof whole - 1, whole);
    repaired("", 0, "");
    repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
    repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
    repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
    repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
    repaired("ab\xE2\x82", 4, "ab" R);
    repaired("0123456\xC3", 8, "0123456" R);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_and_a_file),
        cmocka_unit_test(the_first_file_that_knows_an_end_wins),
        cmocka_unit_test(broken_files_are_named),
        cmocka_unit_test(broken_utf8_becomes_u_fffd),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
