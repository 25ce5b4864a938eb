/* SPDX-License-Identifier: MIT
 *
 * test_shapes.c -- the shapes of data beside alpaca, and what a recipe's own
 * functions make of rows: mapped, left out and counted, laid into a template;
 * their mistakes with file, row and line; and that other functions are other
 * prepared data.
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

#include "dataset_map.h"
#include "rows.h"

typedef struct {
    hone_recipe recipe;
    hone_dataset data;
} work;

/* A recipe whose data is DATA, over rows.jsonl with the lines ROWS. */
static hone_status open_rows(work *w, const char *data, const char *rows)
{
    char text[4096];
    const char *messages;
    hone_tokens t = byte_tokens();

    memset(w, 0, sizeof *w);
    put_file("rows.jsonl", rows);
    snprintf(text, sizeof text,
             "local hone = require 'hone'\n"
             "local function first(row)\n"
             "  return { text = row.a[1] }\n"
             "end\n"
             "return hone.train {\n"
             "  model = hone.model 'm', batch = hone.pack {},\n"
             "  optimizer = hone.adamw {}, steps = 1, global_batch = 1,\n"
             "  data = %s\n}\n", data);
    if (hone_recipe_read(&w->recipe, put_file("r.lua", text), NULL,
                         &messages) != HONE_OK)
        fail_msg("%s", messages);
    memset(&err, 0, sizeof err);
    return hone_dataset_open(&w->data, &w->recipe, &t, &err);
}

static void close_rows(work *w)
{
    hone_dataset_close(&w->data);
    hone_recipe_free(&w->recipe);
}

static void open_good(work *w, const char *data, const char *rows)
{
    if (open_rows(w, data, rows) != HONE_OK)
        fail_msg("%s", err.msg);
}

/* MESSAGE: behind "FOLDER/rows.jsonl: "; "DIR" in it stands for the folder. */
static void expect_error(const char *data, const char *rows,
                         const char *message)
{
    char expected[1024];
    const char *dir = strstr(message, "DIR");
    work w;

    assert_int_equal(open_rows(&w, data, rows), HONE_EINVAL);
    if (dir)
        snprintf(expected, sizeof expected, "%s/rows.jsonl: %.*s%s%s", folder,
                 (int)(dir - message), message, folder, dir + 3);
    else
        snprintf(expected, sizeof expected, "%s/rows.jsonl: %s", folder,
                 message);
    assert_string_equal(err.msg, expected);
    hone_recipe_free(&w.recipe);
}

/* --------------------------------------------------------------- the shapes */

static void prompt_and_completion(void **state)
{
    work w;

    (void)state;
    open_good(&w, "hone.data.prompt_completion { 'rows.jsonl' }",
              "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\n"
              "{\"prompt\": \"\", \"completion\": \" x\"}\n");
    assert_int_equal(w.data.train.rows, 2);
    expect_row(&w.data.train, 0, "2+2=", "4");
    expect_row(&w.data.train, 1, "", " x");
    close_rows(&w);
    open_good(&w, "hone.data.prompt_completion { 'rows.jsonl', "
                  "prompt = 'question', completion = 'answer' }",
              "{\"question\": \"a\", \"answer\": \"b\", \"prompt\": 3}\n");
    expect_row(&w.data.train, 0, "a", "b");
    close_rows(&w);
}

static void whole_texts(void **state)
{
    int32_t tokens[16];
    uint8_t mask[16];
    work w;

    (void)state;
    open_good(&w, "hone.data.text { 'rows.jsonl', text = 'body' }",
              "{\"body\": \"abc\"}\n{\"body\": \"\"}\n");
    assert_int_equal(w.data.train.rows, 2); /* the end is learnt: no skip */
    assert_int_equal(w.data.train.length[0], 5);
    assert_int_equal(w.data.train.targets[0], 4);
    read_row(&w.data.train, 0, tokens, mask);
    assert_int_equal(tokens[0], 1);
    assert_int_equal(tokens[1], 10 + 'a');
    assert_int_equal(tokens[4], 2);
    assert_int_equal(mask[1] + mask[2] + mask[3] + mask[4], 4);
    close_rows(&w);
}

static void expect_ids(const work *w, int64_t row, int n, const int32_t *ids,
                       const uint8_t *learnt)
{
    int32_t tokens[16];
    uint8_t mask[16];

    assert_int_equal(w->data.train.length[row], n);
    read_row(&w->data.train, row, tokens, mask);
    for (int i = 0; i < n; i++) {
        assert_int_equal(tokens[i], ids[i]);
        assert_int_equal(mask[i], learnt[i]);
    }
}

static void tokens_of_others(void **state)
{
    static const int32_t ids[] = { 1, 30, 265, 0 };
    static const uint8_t all[] = { 1, 1, 1, 1 }, some[] = { 0, 0, 1, 1 };
    const char *shape = "hone.data.tokenized { 'rows.jsonl' }";
    work w;

    (void)state;
    open_good(&w, shape,
              "{\"input_ids\": [1, 30, 265, 0]}\n"
              "{\"input_ids\": [1, 30, 265, 0], \"labels\": "
              "[-100, -100, 265, 0], \"attention_mask\": [1, 1, 1, 1]}\n"
              "{\"input_ids\": [1, 30, 265, 0], \"mask\": [0, 0, 1, 1]}\n"
              "{\"input_ids\": [1, 30, 265, 0], \"mask\": "
              "[false, false, true, true], \"labels\": null}\n"
              "{\"input_ids\": [], \"labels\": []}\n");
    assert_int_equal(w.data.train.rows, 4);
    assert_int_equal(w.data.train.skipped, 1);
    expect_ids(&w, 0, 4, ids, all);
    for (int64_t row = 1; row < 4; row++)
        expect_ids(&w, row, 4, ids, some);
    close_rows(&w);
    expect_error(shape, "{\"input_ids\": [1], \"labels\": [7]}",
                 "row 1 (line 1): label 1 is 7, neither -100 nor input_ids' 1");
    expect_error(shape, "{\"input_ids\": [1, 2], \"labels\": [1]}",
                 "row 1 (line 1): 2 input_ids and 1 labels");
    expect_error(shape, "{\"input_ids\": [1, 2], \"mask\": [1]}",
                 "row 1 (line 1): 2 input_ids and a mask of 1");
    expect_error(shape, "{\"input_ids\": [1], \"mask\": [1], \"labels\": [1]}",
                 "row 1 (line 1): both labels and mask; leave one out of the "
                 "row with map");
    expect_error(shape, "{\"input_ids\": [1, 266]}",
                 "row 1 (line 1): id 266, and the tokenizer knows ids below "
                 "266; are the rows another model's?");
    expect_error(shape, "{\"input_ids\": [1, -1]}",
                 "row 1 (line 1): id 2 is -1, no id of a token");
    expect_error(shape, "{\"input_ids\": [1, \"2\"]}",
                 "row 1 (line 1): id 2 is string, no id of a token");
    expect_error(shape, "{\"input_ids\": \"1 2\"}",
                 "row 1 (line 1): field 'input_ids' is of type string, "
                 "expected array");
}

/* ------------------------------------------------------------ the functions */

static void rows_are_mapped(void **state)
{
    work w;

    (void)state;
    open_good(&w,
              "hone.data.prompt_completion { 'rows.jsonl', "
              "map = function(row)\n"
              "  if row.score < 3 then return nil end\n"
              "  return { prompt = row.q .. '?', completion = row.a[#row.a],\n"
              "           more = row.empty }\n"
              "end }",
              "{\"q\": \"one\", \"a\": [\"x\", \"1\"], \"score\": 5}\n"
              "{\"q\": \"two\", \"a\": [\"2\"], \"score\": 2.5}\n"
              "{\"q\": \"three\", \"a\": [\"3\"], \"score\": 3, "
              "\"empty\": []}\n");
    assert_int_equal(w.data.train.rows, 2);
    assert_int_equal(w.data.train.skipped, 1);
    expect_row(&w.data.train, 0, "one?", "1");
    expect_row(&w.data.train, 1, "three?", "3");
    /* The recipe's state is there until the data is prepared, no longer. */
    assert_non_null(w.recipe.data.functions->lua);
    hone_data_functions_close(w.recipe.data.functions);
    assert_null(w.recipe.data.functions->lua);
    close_rows(&w);
}

/* What a row holds goes through map and back: empty arrays, nesting, numbers,
 * broken UTF-8 cut out of a text. */
static void rows_survive_a_map(void **state)
{
    static const int32_t ids[] = { 1, 30 };
    static const uint8_t all[] = { 1, 1 };
    work w;

    (void)state;
    open_good(&w, "hone.data.tokenized { 'rows.jsonl', "
                  "map = function(row) return row end }",
              "{\"input_ids\": [1, 30], \"more\": {\"a\": [[]], \"b\": {}, "
              "\"c\": 1.5, \"d\": true, \"e\": null}}\n"
              "{\"input_ids\": [], \"labels\": []}\n");
    assert_int_equal(w.data.train.rows, 1);
    expect_ids(&w, 0, 2, ids, all);
    close_rows(&w);
    open_good(&w, "hone.data.prompt_completion { 'rows.jsonl', map = "
                  "function(row)\n"
                  "  return { prompt = 'p', completion = row.t:sub(1, 1) }\n"
                  "end }", "{\"t\": \"\u00e9\"}\n");
    expect_row(&w.data.train, 0, "p", "\xef\xbf\xbd");
    close_rows(&w);
}

static void templates(void **state)
{
    work w;

    (void)state;
    open_good(&w, "hone.data.alpaca { 'rows.jsonl', template = function(row)\n"
                  "  if row.output == '' then return nil end\n"
                  "  return 'Q: ' .. row.instruction .. row.input .. ' A:',\n"
                  "    ' ' .. row.output\n"
                  "end, instruction = 'question' }",
              "{\"question\": \"a\", \"output\": \"b\"}\n"
              "{\"question\": \"a\", \"output\": \"\"}\n");
    assert_int_equal(w.data.train.rows, 1);
    assert_int_equal(w.data.train.skipped, 1);
    expect_row(&w.data.train, 0, "Q: a A:", " b");
    close_rows(&w);
    /* The whole row is there, the shape's fields need not be. */
    open_good(&w, "hone.data.alpaca { 'rows.jsonl',\n"
                  "  map = function(row) return { p = row.x, c = row.y } end,\n"
                  "  template = function(row) return row.p, row.c end }",
              "{\"x\": \"a\", \"y\": \"b\"}\n");
    expect_row(&w.data.train, 0, "a", "b");
    close_rows(&w);
}

static void mistakes_have_a_place(void **state)
{
    const char *row = "{\"text\": \"a\"}\n{\"text\": 1}\n";

    (void)state;
    expect_error("hone.data.text { 'rows.jsonl',\n"
                 "  map = function(row)\n"
                 "    return { text = row.text:upper() }\n"
                 "  end }", row,
                 "row 2 (line 2): DIR/r.lua:10: attempt to index a number "
                 "value (field 'text')");
    expect_error("hone.data.text { 'rows.jsonl', map = first }", row,
                 "row 1 (line 1): DIR/r.lua:3: attempt to index a nil value "
                 "(field 'a')");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  return row.text\n end }", row,
                 "row 1 (line 1): map() must return a row or nil, got a "
                 "string");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  return { 'text' }\n end }", row,
                 "row 1 (line 1): expected an object, got array");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  row.me = row\n  return row\n end }", row,
                 "row 1 (line 1): the row that map() returns has in it what "
                 "no row can have: tables nested more than 200 deep; is one "
                 "in itself?");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  row.f = first\n  return row\n end }", row,
                 "row 1 (line 1): the row that map() returns has in it what "
                 "no row can have: a function");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  row[2.5] = 1\n  return row\n end }", row,
                 "row 1 (line 1): the row that map() returns has in it what "
                 "no row can have: a table has names and a number among its "
                 "keys");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  row.list = { 1, x = 2 }\n  return row\n end }", row,
                 "row 1 (line 1): the row that map() returns has in it what "
                 "no row can have: a table has names and a number among its "
                 "keys");
    expect_error("hone.data.text { 'rows.jsonl', template = function(row)\n"
                 "  return 'prompt'\n end }", row,
                 "row 1 (line 1): template() must return two texts, prompt "
                 "and completion, or nil; the second is a nil");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  return hone.adamw {}\n end }", row,
                 "row 1 (line 1): DIR/r.lua:9: hone.* is there while the "
                 "recipe is read, not in the functions that it gives");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  require 'other'\n end }", row,
                 "row 1 (line 1): DIR/r.lua:9: require 'other' in the recipe, "
                 "outside of the functions that it gives");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  while true do end\n end }", row,
                 "row 1 (line 1): DIR/r.lua:9: ran longer than 2 s; is there "
                 "an endless loop?");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  return { text = ('x'):rep(1 << 30) }\n end }", row,
                 "row 1 (line 1): DIR/r.lua: needs more than 256 MiB");
    expect_error("hone.data.text { 'rows.jsonl', map = function(row)\n"
                 "  return nil\n end }", row,
                 "no row to train on; 2 were read, 2 without a target token, "
                 "left out, broken or too long");
}

/* broken = "skip": a row that a function cannot take is a broken row. */
static void mistakes_are_skipped(void **state)
{
    work w;

    (void)state;
    hone_log_level(HONE_LOG_ERROR);
    open_good(&w, "hone.data.text { 'rows.jsonl', broken = 'skip', map = "
                  "function(row)\n  return { text = row.text:upper() }\n end }",
              "{\"text\": 1}\n{\"text\": \"a\"}\n");
    hone_log_level(HONE_LOG_WARN);
    assert_int_equal(w.data.train.rows, 1);
    assert_int_equal(w.data.train.skipped, 1);
    assert_int_equal(w.data.train.shard.head->counts.broken, 1);
    close_rows(&w);
}

/* The name of the data that a recipe prepares: HEAD in front of hone.train,
 * DATA in it. */
static const char *hash_with(const char *head, const char *data)
{
    static char hash[65];
    char text[2048];
    const char *messages;
    hone_tokens t = byte_tokens();
    work w = { 0 };

    put_file("rows.jsonl", "{\"text\": \"a\"}\n");
    snprintf(text, sizeof text,
             "local hone = require 'hone'\n%s\nreturn hone.train {\n"
             "model = hone.model 'm', batch = hone.pack {}, steps = 1,\n"
             "optimizer = hone.adamw {}, global_batch = 1,\n"
             "data = hone.data.text { 'rows.jsonl', %s } }\n", head, data);
    if (hone_recipe_read(&w.recipe, put_file("h.lua", text), NULL,
                         &messages) != HONE_OK)
        fail_msg("%s", messages);
    if (hone_dataset_open(&w.data, &w.recipe, &t, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    snprintf(hash, sizeof hash, "%s", w.data.hash);
    close_rows(&w);
    return hash;
}

#define IDENTITY "map = function(r) return r end"
#define WITH_A "map = function(r) return r, a end"

/* Prepared data is found again by the functions that it went through... */
static void other_functions_other_data(void **state)
{
    static const struct { const char *head, *data; } forms[] = {
        { "", "" },
        { "", IDENTITY },
        { "", "map = function(r) return r, 1 end" },
        { "", "template = function(r) return r.text, r.text end" },
        { "local a = 1", WITH_A },
        { "local a = 2", WITH_A },
        { "local a = 2.0", WITH_A },
        { "local a = '2'", WITH_A },
        { "local a = true", WITH_A },
        { "local a = {}", WITH_A },
        { "local a = { 1, x = 1 }", WITH_A },
        { "local a = { 1, x = { 1 } }", WITH_A },
        { "local a = string.upper", WITH_A },
        { "local a = string.lower", WITH_A },
        { "local function a() return 1 end", WITH_A },
        { "local function a() return 2 end", WITH_A },
        { "local function a() return a end", WITH_A },
        { "local a = {}; a.a = a", WITH_A },
        { "local a = { [true] = 1 }", WITH_A },
        { "local a = hone.pack", WITH_A },
    };
    enum { FORMS = sizeof forms / sizeof *forms };
    char hash[FORMS][65];

    (void)state;
    for (int i = 0; i < FORMS; i++) {
        strcpy(hash[i], hash_with(forms[i].head, forms[i].data));
        for (int k = 0; k < i; k++)
            if (!strcmp(hash[k], hash[i]))
                fail_msg("%s: the same data as %s", forms[i].head,
                         forms[k].head);
        assert_string_equal(hash_with(forms[i].head, forms[i].data), hash[i]);
    }
}

/* ...wherever these stand in the file, whatever else is in it. */
static void other_places_same_data(void **state)
{
    static const char *const pairs[][3] = {
        { IDENTITY, "", "\n-- a comment\nlocal b = 3\n" },
        { WITH_A, "local a = { x = 1, y = { 2, 3 }, z = 'z' }",
          "local a = { z = 'z', y = {} }; a.x = 1; a.y[2] = 3; a.y[1] = 2" },
        { WITH_A, "local function a() return a end",
          "local b\nlocal function a() return a end" },
    };
    char hash[65];

    (void)state;
    for (int i = 0; i < 3; i++) {
        strcpy(hash, hash_with(pairs[i][1], pairs[i][0]));
        assert_string_equal(hash_with(pairs[i][2], pairs[i][0]), hash);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_and_completion),
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(tokens_of_others),
        cmocka_unit_test(rows_are_mapped),
        cmocka_unit_test(rows_survive_a_map),
        cmocka_unit_test(templates),
        cmocka_unit_test(mistakes_have_a_place),
        cmocka_unit_test(mistakes_are_skipped),
        cmocka_unit_test(other_functions_other_data),
        cmocka_unit_test(other_places_same_data),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
