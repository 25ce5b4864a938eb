/* SPDX-License-Identifier: MIT
 *
 * test_choices.c -- what packs chose by measuring is found again by the next
 * run; a run keeps a copy of what it used, which counts more than the cache; a
 * damaged file costs a warning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "choices.h"

static char root[] = "/tmp/hone-choices-XXXXXX";
static char cache[64], run[64], other[64];

static void write_file(const char *folder, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/algorithms.json", folder);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int begin(void **state)
{
    (void)state;
    if (!mkdtemp(root))
        return -1;
    snprintf(cache, sizeof cache, "%s/cache", root);
    snprintf(run, sizeof run, "%s/run", root);
    snprintf(other, sizeof other, "%s/other", root);
    if (mkdir(run, 0777) || mkdir(other, 0777))
        return -1;
    return setenv("HONE_CACHE", cache, 1);
}

static int end(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static const hone_choices *given;
static char memory[16];

static void choose(void *dev, const hone_choices *choices, void *scratch,
                   int64_t bytes)
{
    assert_ptr_equal(dev, memory);
    assert_ptr_equal(scratch, choices ? memory : NULL);
    assert_int_equal(bytes, choices ? sizeof memory : 0);
    given = choices;
}

static const hone_device device = { .size = sizeof device, .choose = choose };

static void open_book(hone_choice_book *b, const char *folder)
{
    hone_choices_begin(b, &device, memory, folder, memory, sizeof memory);
    assert_ptr_equal(given, &b->api);
}

static void close_book(hone_choice_book *b)
{
    hone_err err;

    if (hone_choices_end(b, HONE_OK, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    assert_null(given);
}

static const char *find(hone_choice_book *b, const char *key)
{
    return b->api.find(b->api.self, key);
}

/* In the order in which they stand: the first one measures. */
static void test_first_run_keeps(void **state)
{
    hone_choice_book b;

    (void)state;
    open_book(&b, run);
    assert_null(find(&b, "a product"));
    b.api.keep(b.api.self, "a product", "17");
    assert_string_equal(find(&b, "a product"), "17");
    close_book(&b);
}

static void test_others_find(void **state)
{
    hone_choice_book b;

    (void)state;
    open_book(&b, other);
    assert_string_equal(find(&b, "a product"), "17");
    b.api.keep(b.api.self, "another product", "18");
    close_book(&b);
    open_book(&b, NULL);
    assert_string_equal(find(&b, "a product"), "17"); /* still in the cache */
    assert_string_equal(find(&b, "another product"), "18");
    close_book(&b);
}

/* The cache was measured anew meanwhile. */
static void test_run_goes_on_with_its_own(void **state)
{
    hone_choice_book b;

    (void)state;
    write_file(cache, "{\"a product\": \"99\"}");
    open_book(&b, run);
    assert_int_equal(b.of_run, 1);
    assert_string_equal(find(&b, "a product"), "17");
    assert_int_equal(b.missing, 0);
    close_book(&b);
    open_book(&b, other);
    assert_string_equal(find(&b, "a product"), "17"); /* it had used that */
    assert_null(find(&b, "of another library"));
    assert_int_equal(b.missing, 1);
    close_book(&b);
}

static void test_damaged(void **state)
{
    hone_choice_book b;

    (void)state;
    write_file(cache, "{\"a product\": ");
    open_book(&b, NULL);
    assert_null(find(&b, "a product"));
    b.api.keep(b.api.self, "a product", "20");
    close_book(&b);
    write_file(run, "[1]");
    open_book(&b, run);
    assert_int_equal(b.of_run, 0);
    assert_string_equal(find(&b, "a product"), "20");
    close_book(&b);
}

/* A value of another kind is none. */
static void test_no_text(void **state)
{
    hone_choice_book b;

    (void)state;
    write_file(cache, "{\"a product\": 3}");
    open_book(&b, NULL);
    assert_null(find(&b, "a product"));
    close_book(&b);
}

/* Devices of older plugins end before `choose`; others have none. */
static void test_devices_that_choose_nothing(void **state)
{
    const hone_device older = { .size = offsetof(hone_device, choose),
                                .choose = choose };
    const hone_device none = { .size = sizeof none };
    hone_choice_book b;

    (void)state;
    given = NULL;
    hone_choices_begin(&b, &older, memory, run, memory, sizeof memory);
    assert_null(given);
    assert_int_equal(hone_choices_end(&b, HONE_EIO, NULL), HONE_EIO);
    hone_choices_begin(&b, &none, memory, run, memory, sizeof memory);
    assert_int_equal(hone_choices_end(&b, HONE_OK, NULL), HONE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_run_keeps),
        cmocka_unit_test(test_others_find),
        cmocka_unit_test(test_run_goes_on_with_its_own),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_devices_that_choose_nothing),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
