/* SPDX-License-Identifier: MIT
 *
 * test_recipe.c -- what a recipe becomes, what it cannot reach, and what is
 * said about options that other tools have. test_bad.py has wrong recipes.
 */
#include "recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "lua_host.h"
#include "registry.h"

#define GOOD HONE_SOURCE "/tests/recipes/good/"

static hone_arena arena;

static const char *text_of(const char *path)
{
    const char *text;
    size_t bytes;
    hone_err err;

    if (hone_lua_read(&arena, path, &text, &bytes, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    return text;
}

/* ------------------------------------------- what other tools call it */

static void write_temporary(const char *path, const char *text, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    fclose(f);
}

/* What is said when hone.train is given KEY. */
static const char *said_about(const char *path, const char *key)
{
    const char *messages, *text = hone_format_text(
        &arena, "local hone = require 'hone'\n"
        "return hone.train { %s = hone.pack {} }\n", key);
    hone_recipe recipe;
    char *line;

    write_temporary(path, text, strlen(text));
    assert_int_equal(hone_recipe_read(&recipe, path, NULL, &messages),
                     HONE_EINVAL);
    line = hone_text(&arena, messages);
    line[strcspn(line, "\n")] = '\0';
    hone_recipe_free(&recipe);
    return line + strlen(path) + strlen(":2: ");
}

/* MEANING as names.lua has it: a place that exists, or why there is none. */
static void check_name(const char *path, const char *key, const char *meaning)
{
    const char *said = said_about(path, key);
    const char *head = hone_format_text(&arena, "hone.train: unknown option "
                                        "'%s'", key);
    size_t place = strcspn(meaning, ":");
    const char *dot = memchr(meaning, '.', place);
    const char *word = dot ? dot + 1 : meaning;
    char *option = hone_format_text(
        &arena, "%.*s", (int)(place - (size_t)(word - meaning)), word);

    if (strncmp(said, head, strlen(head)))
        fail_msg("%s: %s", key, said);
    if (!place && strcmp(said + strlen(head),
                         hone_format_text(&arena, ";%s", meaning + 1)))
        fail_msg("%s: %s", key, said);
    if (place && (!strstr(said, "did you mean '") || !strstr(said, option)))
        fail_msg("%s: no option is %s: %s", key, meaning, said);
}

static void test_names(void **state)
{
    const char *const folders[] = { NULL };
    const char *table = HONE_SOURCE "/recipes/names.lua";
    lua_State *L = hone_lua_open(&arena, folders);
    char path[] = "/tmp/hone-test-XXXXXX";
    int fd = mkstemp(path), count = 0;
    hone_err err;

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    if (hone_lua_load(L, table, &err) != HONE_OK ||
        hone_lua_call(L, 0, 1, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++)
        check_name(path, lua_tostring(L, -2), lua_tostring(L, -1));
    assert_true(count > 550);
    hone_lua_close(L);
    unlink(path);
}

/* No key of these tools is met with a list of options. */
static void test_other_tools(void **state)
{
    char path[] = "/tmp/hone-test-XXXXXX", *rest = NULL;
    char *text = hone_text(&arena, text_of("golden/other_tools.txt"));
    int fd = mkstemp(path), count = 0;

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (char *key = strtok_r(text, "\n", &rest); key;
         key = strtok_r(NULL, "\n", &rest)) {
        const char *said;
        if (key[0] == '#')
            continue;
        said = said_about(path, key);
        if (strstr(said, "; options:"))
            fail_msg("%s", said);
        count++;
    }
    assert_true(count > 500);
    unlink(path);
}

static void expect_message(const char *path, const char *message)
{
    const char *messages;
    hone_recipe recipe;

    assert_int_equal(hone_recipe_read(&recipe, path, NULL, &messages),
                     HONE_EINVAL);
    assert_string_equal(messages, message);
    hone_recipe_free(&recipe);
}

static void test_not_files(void **state)
{
    (void)state;
    expect_message("recipes/nobody.lua",
                   "recipes/nobody.lua: No such file or directory");
    expect_message("recipes", "recipes: is not a file");
    expect_message("/dev/zero", "/dev/zero: is not a file");
}

/* What a file from a stranger must not reach. */
static void test_sandbox(void **state)
{
    static const char *const reach[] = {
        "io.open('/etc/passwd')", "os.execute('true')", "load('return 1')",
        "loadfile('x')", "dofile('x')", "debug.getinfo(1)",
        "package.loadlib('x', 'y')", "require '_G'", "require 'os'",
        "require '../x'", "require '/tmp/x'", "string.dump(print)",
        "math.random()", "collectgarbage()", "setmetatable({}, {})",
        "getmetatable('').__index.rep", "rawset({}, 1, 2)", "rawget({}, 1)",
        "coroutine.create(print)", "_G.x", "_ENV.load",
        "(function() _ENV.print = 1 end)()",
        "(function() require('hone').x = 1 end)()",
    };
    char path[] = "/tmp/hone-test-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof reach / sizeof *reach; i++) {
        const char *messages;
        hone_recipe recipe;
        const char *text = hone_format_text(
            &arena, "local x = %s error('reached')", reach[i]);
        write_temporary(path, text, strlen(text));
        assert_int_equal(hone_recipe_read(&recipe, path, NULL, &messages),
                         HONE_EINVAL);
        if (strstr(messages, "reached"))
            fail_msg("%s could be reached", reach[i]);
        hone_recipe_free(&recipe);
    }
    write_temporary(path, "\x1bLua\x54\0", 6);
    expect_message(path, hone_format_text(&arena, "%s: is compiled Lua; only "
                                          "its text is accepted", path));
    unlink(path);
}

/* ------------------------------------------------------------ good recipes */

static void read_good(hone_recipe *r, const char *name, const char *const *sets)
{
    const char *messages;

    if (hone_recipe_read(r, hone_format_text(&arena, "%s%s", GOOD, name), sets,
                         &messages) != HONE_OK)
        fail_msg("%s", messages);
}

static double lr_of(const hone_recipe *r)
{
    return *(const double *)r->optimizer.config; /* adamw's first member */
}

static void test_plain(void **state)
{
    char here[4096];
    hone_recipe r;

    (void)state;
    read_good(&r, "plain.lua", NULL);
    assert_string_equal(r.model.path, GOOD "model");
    assert_int_equal(r.model.storage, 0);
    assert_null(r.model.init);
    assert_int_equal(r.has_adapter, 0);
    assert_string_equal(r.data.shape, "alpaca");
    assert_string_equal(r.data.files[0], GOOD "rows.json");
    assert_null(r.data.files[1]);
    assert_true(r.data.val == 0);
    assert_null(r.data.val_file);
    assert_null(r.data.field[0]);
    assert_int_equal(r.data.too_long, HONE_LONG_CUT);
    assert_string_equal(r.batch.component->name, "pack");
    assert_string_equal(r.optimizer.component->name, "adamw");
    assert_true(lr_of(&r) == 2e-4);
    assert_string_equal(r.schedule.component->name, "constant");
    assert_int_equal(r.schedule.line, 0);
    assert_int_equal(r.global_batch, 4);
    assert_int_equal(r.global_tokens, 0);
    assert_true(r.epochs == 1);
    assert_int_equal(r.steps, 0);
    assert_int_equal(r.seed, 0);
    assert_int_equal(r.shuffle, 1);
    assert_true(r.clip == 1);
    assert_int_equal(r.precision, HONE_PRECISION_AUTO);
    assert_string_equal(r.device, "auto");
    assert_null(r.memory);
    assert_int_equal(r.keep, HONE_KEEP_AUTO);
    assert_int_equal(r.master, 1);
    assert_int_equal(r.line, 3);
    assert_int_equal(r.model_line, 4);
    assert_int_equal(r.optimizer.line, 7);
    assert_non_null(getcwd(here, sizeof here));
    assert_string_equal(r.out, hone_format_text(&arena, "%s/runs/plain", here));
    assert_non_null(strstr(r.source, "As little as a recipe can say"));
    hone_recipe_free(&r);
}

static void test_full(void **state)
{
    hone_recipe r;

    (void)state;
    read_good(&r, "full.lua", NULL);
    assert_string_equal(r.model.path, "/models/one");
    assert_int_equal(r.model.storage, 1);
    assert_string_equal(r.model.init, "random");
    assert_int_equal(r.has_adapter, 1);
    assert_int_equal(r.adapter.r, 8);
    assert_true(r.adapter.alpha == 4 && r.adapter.dropout == 0.1);
    assert_string_equal(r.adapter.targets, "q_proj,v_proj");
    assert_int_equal(r.adapter.rslora, 1);
    assert_string_equal(r.data.files[1], HONE_SOURCE "/tests/recipes/b.jsonl");
    assert_null(r.data.files[2]);
    assert_true(r.data.val == 0.02);
    assert_int_equal(r.data.max_tokens, 512);
    assert_int_equal(r.data.too_long, HONE_LONG_DROP);
    assert_int_equal(r.data.skip_broken, 1);
    assert_string_equal(r.data.field[0], "instruction");
    assert_string_equal(r.data.field[1], "question");
    assert_string_equal(r.data.field[2], "output");
    assert_string_equal(r.data.field[3], "answer");
    assert_null(r.data.field[4]);
    assert_string_equal(r.batch.component->name, "pad");
    assert_true(lr_of(&r) == 0.5);
    assert_int_equal(r.optimizer.line, 3); /* in lib/parts.lua */
    assert_string_equal(r.schedule.component->name, "cosine");
    assert_int_equal(r.global_tokens, 4096);
    assert_int_equal(r.steps, 10);
    assert_true(r.epochs == 0 && r.clip == 0);
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.shuffle, 0);
    assert_int_equal(r.precision, HONE_PRECISION_FP32);
    assert_string_equal(r.memory, "1.5 GiB");
    assert_string_equal(r.packs, "mine,cpu");
    assert_int_equal(r.eval_every, 5);
    assert_int_equal(r.save_every, 3);
    assert_int_equal(r.save_keep, 1);
    assert_string_equal(r.keep_layers, "0=none,1=offload,3=all");
    assert_int_equal(r.logits_chunk, 128);
    assert_int_equal(r.master, 0);
    assert_string_equal(r.out, GOOD "out/full");
    hone_recipe_free(&r);
}

static void test_set(void **state)
{
    static const char *const sets[] = {
        "optimizer.lr=1e-3", "steps=7", "data.path=other.json",
        "data.val=rows.json", "model.path=/m", "keep=none", "eval.every=2",
        "schedule.warmup=0.5", "shuffle=false", "out=here", "global_tokens=99",
        "data.output=answer", NULL
    };
    char here[4096];
    hone_recipe r;

    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    read_good(&r, "plain.lua", sets);
    assert_true(lr_of(&r) == 1e-3);
    assert_int_equal(r.steps, 7);
    assert_true(r.epochs == 0); /* the recipe's, displaced */
    assert_int_equal(r.global_batch, 0);
    assert_int_equal(r.global_tokens, 99);
    assert_string_equal(r.data.files[0],
                        hone_format_text(&arena, "%s/other.json", here));
    assert_string_equal(r.data.val_file,
                        hone_format_text(&arena, "%s/rows.json", here));
    assert_string_equal(r.data.field[1], "answer");
    assert_string_equal(r.model.path, "/m");
    assert_int_equal(r.keep, HONE_KEEP_NONE);
    assert_int_equal(r.shuffle, 0);
    assert_true(*(const double *)r.schedule.config == 0.5);
    assert_string_equal(r.out, hone_format_text(&arena, "%s/here", here));
    hone_recipe_free(&r);
}

static void test_extend(void **state)
{
    hone_recipe r;

    (void)state;
    read_good(&r, "extended.lua", NULL);
    assert_true(lr_of(&r) == 1e-3);
    assert_string_equal(r.model.path, GOOD "other");
    assert_int_equal(r.model.storage, 2);
    assert_string_equal(r.data.files[0], GOOD "rows.json");
    assert_int_equal(r.steps, 5);
    assert_true(r.epochs == 0);
    /* The adapter's shape comes from its own config. */
    assert_int_equal(r.adapter.r, 8);
    assert_true(r.adapter.alpha == 16);
    assert_string_equal(r.adapter.targets, "q_proj,v_proj");
    assert_int_equal(r.adapter.rslora, 1);
    assert_string_equal(r.adapter.init, GOOD "adapter");
    hone_recipe_free(&r);
}

static int set_up(void **state)
{
    hone_err err;

    (void)state;
    unsetenv("HONE_PLUGIN_PATH");
    setenv("HONE_SHARE", "recipes/share", 1); /* as short as messages show it */
    hone_log_level(HONE_LOG_ERROR);
    if (chdir(HONE_SOURCE "/tests") != 0)
        return -1;
    return hone_registry_open(NULL, &err) == HONE_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_full),
        cmocka_unit_test(test_set),       cmocka_unit_test(test_extend),
        cmocka_unit_test(test_not_files), cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_names),     cmocka_unit_test(test_other_tools),
    };
    int failed = cmocka_run_group_tests(tests, set_up, NULL);

    hone_arena_free(&arena);
    return failed;
}
