/* SPDX-License-Identifier: MIT
 *
 * test_mix.c -- hone.mix from the recipe to the stream of rows: the parts that
 * weights give, epochs of sources at their own pace, held-out rows and
 * functions of each source, what is refused; and rows of two answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loader.h"
#include "rows.h"

typedef struct {
    hone_recipe recipe;
    hone_dataset data;
    const char *messages;
} work;

static hone_status read_recipe(work *w, const char *data)
{
    char text[4096];

    memset(w, 0, sizeof *w);
    snprintf(text, sizeof text,
             "local hone = require 'hone'\n"
             "return hone.train {\n"
             "  model = hone.model 'm', batch = hone.pack {},\n"
             "  optimizer = hone.adamw {}, steps = 1, global_batch = 1,\n"
             "  data = %s\n}\n", data);
    return hone_recipe_read(&w->recipe, put_file("r.lua", text), NULL,
                            &w->messages);
}

static hone_status open_mix(work *w, const char *data)
{
    hone_tokens t = byte_tokens();

    if (read_recipe(w, data) != HONE_OK)
        fail_msg("%s", w->messages);
    memset(&err, 0, sizeof err);
    return hone_dataset_open(&w->data, &w->recipe, &t, &err);
}

static void open_good(work *w, const char *data)
{
    if (open_mix(w, data) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void close_mix(work *w)
{
    hone_dataset_close(&w->data);
    hone_recipe_free(&w->recipe);
}

/* NAME: ROWS lines. */
static void put_rows(const char *name, int rows)
{
    char text[4096];
    size_t at = 0;

    for (int i = 0; i < rows; i++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "{\"text\": \"%c%02d\"}\n", name[0], i);
    put_file(name, text);
}

static void expect_take(const work *w, const int *take, int count)
{
    const hone_split *s = &w->data.train;

    assert_int_equal(s->shares, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(s->share[i].take, take[i]);
}

/* How often each row comes in EPOCHS epochs from the first on. */
static void count_rows(const work *w, int shuffle, int epochs, int *times)
{
    hone_loader_spec spec = { .split = &w->data.train, .seed = 3,
                              .shuffle = shuffle };
    int64_t epoch = hone_split_epoch(spec.split);

    memset(times, 0, (size_t)spec.split->rows * sizeof *times);
    for (int64_t at = 0; at < epochs * epoch; at++)
        times[hone_order_row(&spec, at)]++;
}

#define A "hone.data.text 'a.jsonl'"
#define B "hone.data.text 'b.jsonl'"

static void without_weights_every_row_once(void **state)
{
    int times[30];
    work w;

    (void)state;
    put_rows("a.jsonl", 10);
    put_rows("b.jsonl", 20);
    open_good(&w, "hone.mix { " A ", { " B " } }");
    expect_take(&w, (const int[]){ 10, 20 }, 2);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        count_rows(&w, shuffle, 1, times);
        for (int i = 0; i < 30; i++)
            assert_int_equal(times[i], 1);
    }
    close_mix(&w);
}

/* 30 rows an epoch, 3 : 1: 22.5 and 7.5, by the largest remainder 23 and 7. */
static void weights_give_parts(void **state)
{
    int times[30];
    work w;

    (void)state;
    open_good(&w, "hone.mix { { " A ", 3 }, { " B ", 1 } }");
    expect_take(&w, (const int[]){ 23, 7 }, 2);
    for (int epochs = 1; epochs < 9; epochs++) {
        count_rows(&w, 1, epochs, times);
        for (int i = 0; i < 30; i++) {
            int drawn = epochs * (i < 10 ? 23 : 7), of = i < 10 ? 10 : 20;

            assert_in_range(times[i], drawn / of, (drawn + of - 1) / of);
        }
    }
    close_mix(&w);
    open_good(&w, "hone.mix { { " A ", 0.5 }, { " B ", 0.5 }, { " A
                  ", 1 } }");
    expect_take(&w, (const int[]){ 10, 10, 20 }, 3);
    close_mix(&w);
}

/* The same source twice is two sources; each holds its own rows out. */
static void sources_have_options_of_their_own(void **state)
{
    char name[300];
    work w;

    (void)state;
    open_good(&w, "hone.mix { hone.data.text { 'a.jsonl', val = 3, map = "
                  "function(row) return { text = 'A' .. row.text } end }, "
                  "hone.data.text { 'b.jsonl', val = 0.1, max_tokens = 3, map = "
                  "function(row) return { text = 'B' .. row.text } end }, "
                  "hone.data.text { 'b.jsonl' } }");
    expect_take(&w, (const int[]){ 7, 18, 20 }, 3);
    assert_int_equal(w.data.val.rows, 5);
    assert_int_equal(w.data.train.length[0], 1 + 4 + 1);
    assert_int_equal(w.data.train.length[7], 3);
    assert_int_equal(w.data.train.length[25], 1 + 3 + 1);
    hone_split_name(&w.data.val, 4, name, sizeof name);
    assert_string_equal(strrchr(name, '/'), "/b.jsonl: row 20");
    hone_recipe_close_functions(&w.recipe);
    close_mix(&w);
}

static void expect_refusal(const char *data, const char *words)
{
    work w;
    const char *said;

    if (read_recipe(&w, data) != HONE_OK) {
        said = w.messages;
    } else {
        hone_tokens t = byte_tokens();

        assert_int_not_equal(hone_dataset_open(&w.data, &w.recipe, &t, &err),
                             HONE_OK);
        said = err.msg;
    }
    if (!strstr(said, words))
        fail_msg("%s\nand not: %s", said, words);
    hone_recipe_free(&w.recipe);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    put_file("empty.jsonl", "\n");
    expect_refusal("hone.mix { }", "takes 1 to 64 sources, got 0");
    expect_refusal("hone.mix { " A ", 3 }", "source 2 must be");
    expect_refusal("hone.mix { { " A ", 0 } }", "with a weight above 0");
    expect_refusal("hone.mix { { " A ", 'x' } }", "with a weight above 0");
    expect_refusal("hone.mix { hone.model 'x' }", "source 1 must be");
    expect_refusal("hone.mix { hone.mix { " A ", " B " } }",
                   "source 1 must be");
    expect_refusal("hone.mix { { " A ", 1 }, " B " }",
                   "1 of 2 sources have a weight");
    expect_refusal("hone.mix { { " A ", 1 }, { " B ", 0.001 } }",
                   "less than a row in an epoch of 30");
    expect_refusal("hone.mix { " A ", hone.data.text 'empty.jsonl' }",
                   "empty.jsonl: no row to train on");
    expect_refusal("hone.mix { " A ", hone.data.text { 'b.jsonl', lang = 1 } }",
                   "unknown option 'lang'");
    expect_refusal("hone.mix { " A ", hone.data.nothing 'b.jsonl' }",
                   "no such shape of data");
}

/* Other weights are the same prepared data, and another choice for a run. */
static void weights_are_choices(void **state)
{
    work one, two;
    int found = 0;

    (void)state;
    open_good(&one, "hone.mix { { " A ", 3 }, { " B ", 1 } }");
    open_good(&two, "hone.mix { { " A ", 1 }, { " B ", 1 } }");
    assert_string_equal(one.data.hash, two.data.hash);
    for (int i = 0; i < one.recipe.choices; i++)
        found += !strcmp(one.recipe.choice[i].key, "data.1.weight") &&
                 !strcmp(one.recipe.choice[i].text, "3");
    assert_int_equal(found, 1);
    close_mix(&one);
    close_mix(&two);
}

static void two_answers_are_two_rows(void **state)
{
    work w;

    (void)state;
    put_file("p.jsonl", "{\"prompt\": \"q\", \"chosen\": \"yes\", "
                        "\"rejected\": \"n\"}\n{\"chosen\": \"a\", "
                        "\"rejected\": \"b\"}\n");
    open_good(&w, "hone.data.preference 'p.jsonl'");
    assert_int_equal(w.data.train.rows, 4);
    expect_row(&w.data.train, 0, "q", "yes");
    expect_row(&w.data.train, 1, "q", "n");
    expect_row(&w.data.train, 3, "", "b");
    assert_true(w.data.train.shard.origin[0] == w.data.train.shard.origin[1]);
    assert_string_equal(w.data.untrained, "preference");
    close_mix(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_weights_every_row_once),
        cmocka_unit_test(weights_give_parts),
        cmocka_unit_test(sources_have_options_of_their_own),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(weights_are_choices),
        cmocka_unit_test(two_answers_are_two_rows),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
