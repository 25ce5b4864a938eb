/* SPDX-License-Identifier: MIT
 *
 * test_checkpoint.c -- checkpoints on the disk: how many stay, what a kill left
 * is swept, and a damaged one is named and never read.
 */
#include "checkpoint.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"

enum { COUNT = 5 };

static char out[] = "/tmp/hone-test-XXXXXX";
static hone_arena arena;
static hone_checkpoint c;

static const char *path_of(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof path, "%s/checkpoints/%s", out, name);
    return path;
}

static int there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static void prepare(int64_t keep)
{
    static const char *const names[] = { "model.norm.weight", "step" };
    const hone_type types[] = { hone_type_of(HONE_F32, 1, COUNT, 1),
                                hone_type_of(HONE_F32, 1, 1, 1) };
    hone_err err;

    assert_int_equal(hone_checkpoint_prepare(&c, &arena, out, names, types, 2,
                                             keep, &err), HONE_OK);
}

/* Every number of the checkpoint is its step. */
static void save(int64_t step)
{
    float numbers[COUNT];
    hone_err err;

    for (int i = 0; i < COUNT; i++)
        numbers[i] = (float)step;
    assert_int_equal(hone_checkpoint_begin(&c, &err), HONE_OK);
    for (int i = 0; i < 2; i++) {
        int n = hone_checkpoint_order(&c, i) == 0 ? COUNT : 1;
        assert_int_equal(hone_checkpoint_put(&c, numbers, 4 * n, &err),
                         HONE_OK);
    }
    assert_int_equal(hone_checkpoint_end(&c, step, &err), HONE_OK);
    assert_int_equal(c.saved, step);
}

static void load(int64_t step)
{
    float numbers[COUNT + 1];
    hone_err err;

    assert_int_equal(hone_checkpoint_open(&c, step, &err), HONE_OK);
    assert_int_equal(hone_checkpoint_get(&c, numbers, sizeof numbers, &err),
                     HONE_OK);
    hone_checkpoint_close(&c);
    for (int i = 0; i < COUNT + 1; i++)
        assert_true(numbers[i] == (float)step);
}

static int64_t newest(void)
{
    hone_err err;
    int64_t step;

    assert_int_equal(hone_checkpoint_find(out, &step, &err), HONE_OK);
    return step;
}

/* The file NAME with byte AT changed, or cut off there. */
static void damage(const char *name, off_t at, int cut)
{
    int fd = open(path_of(name), O_RDWR);
    char byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    if (cut)
        assert_int_equal(ftruncate(fd, at), 0);
    else
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void the_newest_stay(void **state)
{
    (void)state;
    assert_int_equal(newest(), -1);
    prepare(2);
    for (int64_t step = 3; step <= 12; step += 3)
        save(step);
    assert_false(there("step-00000003") || there("step-00000006"));
    assert_true(there("step-00000009") && there("step-00000012"));
    assert_int_equal(newest(), 12);
    load(12);
}

/* Killed while it deleted, or while it wrote: resuming ends what it began. */
static void leftovers_are_swept(void **state)
{
    (void)state;
    prepare(2);
    for (int64_t step = 1; step <= 2; step++)
        save(step);
    assert_int_equal(mkdir(path_of(".tmp-old"), 0755), 0);
    write_file(".tmp-old/state.safetensors", "half");
    assert_int_equal(mkdir(path_of(".tmp-new"), 0755), 0);
    write_file(".tmp-new/state.safetensors.part", "half");
    prepare(1);
    load(newest());
    assert_false(there(".tmp-old") || there(".tmp-new"));
    assert_false(there("step-00000001"));
    assert_true(there("step-00000002"));
}

/* What others put into a folder of ours is not deleted, nor in the way. */
static void strange_files_stay(void **state)
{
    (void)state;
    prepare(1);
    save(1);
    write_file("step-00000001/notes", "mine");
    write_file("step-x", "");
    write_file("step-2x", "");
    save(2);
    assert_int_equal(newest(), 2);
    assert_true(there(".tmp-old/notes") && there("step-x") && there("step-2x"));
    assert_int_equal(unlink(path_of(".tmp-old/notes")), 0);
}

/* NAME is damaged: a warning, and the one before it is taken; it is gone once
 * the run has gone on. */
static void fall_back(const char *name, off_t at, int cut)
{
    prepare(3);
    save(1);
    save(2);
    damage(name, at, cut);
    assert_int_equal(newest(), 1);
    load(1);
    assert_false(there("step-00000002"));
    save(2);
    assert_int_equal(newest(), 2);
}

static void damaged_ones_are_passed_over(void **state)
{
    (void)state;
    fall_back("step-00000002/state.safetensors", 150, 0);
    fall_back("step-00000002/state.safetensors", 150, 1);
    fall_back("step-00000002/manifest.json", 20, 0);
    fall_back("step-00000002/manifest.json", 20, 1);
    prepare(3);
    save(3);
    assert_int_equal(unlink(path_of("step-00000003/state.safetensors")), 0);
    assert_int_equal(newest(), 2);
    assert_int_equal(unlink(path_of("step-00000003/manifest.json")), 0);
    assert_int_equal(newest(), 2);
}

static void of_another_step(void **state)
{
    char from[256];
    hone_err err;
    int64_t step;

    (void)state;
    prepare(1);
    save(1);
    (void)snprintf(from, sizeof from, "%s", path_of("step-00000001"));
    assert_int_equal(rename(from, path_of("step-00000007")), 0);
    assert_int_equal(hone_checkpoint_find(out, &step, &err), HONE_EIO);
    assert_non_null(strstr(err.msg, "every checkpoint is damaged; --fresh"));
}

static void of_another_recipe(void **state)
{
    static const char *const names[] = { "model.norm.bias", "step" };
    const hone_type types[] = { hone_type_of(HONE_F32, 1, COUNT, 1),
                                hone_type_of(HONE_F32, 1, 1, 1) };
    hone_err err;

    (void)state;
    prepare(1);
    save(1);
    assert_int_equal(hone_checkpoint_prepare(&c, &arena, out, names, types, 2,
                                             1, &err), HONE_OK);
    assert_int_equal(hone_checkpoint_open(&c, 1, &err), HONE_EINVAL);
    assert_non_null(strstr(err.msg, "holds other tensors than this recipe"));
    hone_checkpoint_close(&c);
}

/* A save that fails leaves what was there. */
static void a_failed_save(void **state)
{
    hone_err err;

    (void)state;
    prepare(1);
    save(1);
    assert_int_equal(hone_checkpoint_begin(&c, &err), HONE_OK);
    assert_int_equal(hone_checkpoint_put(&c, "abcd", 4, &err), HONE_OK);
    assert_true(there(".tmp-new"));
    hone_checkpoint_drop(&c);
    assert_false(there(".tmp-new"));
    assert_int_equal(newest(), 1);
    assert_int_equal(hone_checkpoint_open(&c, 5, &err), HONE_EIO);
    assert_non_null(strstr(err.msg, "step-00000005/state.safetensors: No such "
                                    "file"));
}

static int make_folder(void **state)
{
    (void)state;
    memcpy(out + strlen(out) - 6, "XXXXXX", 6);
    hone_log_level(HONE_LOG_ERROR);
    return mkdtemp(out) ? 0 : -1;
}

static int delete_folder(void **state)
{
    char command[64];

    (void)state;
    hone_arena_free(&arena);
    (void)snprintf(command, sizeof command, "rm -r '%s'", out);
    return system(command);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, delete_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_stay),   TEST(leftovers_are_swept),
        TEST(strange_files_stay), TEST(damaged_ones_are_passed_over),
        TEST(of_another_step),   TEST(of_another_recipe),
        TEST(a_failed_save),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
