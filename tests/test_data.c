/* SPDX-License-Identifier: MIT
 *
 * test_data.c -- from data files to shards: formats, broken rows and what is
 * said about them, the loss mask, lengths, held-out rows, the cache; and the
 * same tokens as Transformers on real rows.
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

#include "dataset.h"
#include "dataset_shape.h"
#include "log.h"
#include "registry.h"
#include "rows.h"

/* ----------------------------------------------------------------- helpers */

typedef struct {
    hone_recipe recipe;
    const char *files[4];
    hone_dataset data;
} work;

static void setup(work *w, const char *file)
{
    memset(w, 0, sizeof *w);
    w->files[0] = file;
    w->recipe.has_data = 1;
    w->recipe.data.shape = "alpaca";
    w->recipe.data.files = w->files;
    w->recipe.data.too_long = HONE_LONG_CUT;
}

static hone_status open_with(work *w, const hone_tokens *t)
{
    memset(&err, 0, sizeof err);
    return hone_dataset_open(&w->data, &w->recipe, t, &err);
}

static void open_data(work *w)
{
    hone_tokens t = byte_tokens();

    if (open_with(w, &t) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void expect_error(work *w, const char *message)
{
    hone_tokens t = byte_tokens();

    assert_int_equal(open_with(w, &t), HONE_EINVAL);
    assert_string_equal(err.msg, message);
}

#define TASK "Below is an instruction that describes a task"
#define ASK "Write a response that appropriately completes the request.\n\n"
#define PLAIN(x)                                                               \
    TASK ". " ASK "### Instruction:\n" x "\n\n### Response:\n"
#define WITH(x, y)                                                             \
    TASK ", paired with an input that provides further context. " ASK          \
         "### Instruction:\n" x "\n\n### Input:\n" y "\n\n### Response:\n"

/* ------------------------------------------------------------------- tests */

static void alpaca_rows(void **state)
{
    work w;

    (void)state;
    setup(&w, put_file("a.json",
                       "\xef\xbb\xbf [\n {\"instruction\": \"Add.\", \"input\":"
                       " \"1 {output}, 2\", \"output\": \"3\"},\n"
                       "{\"output\": \"Hi \\u00e9\\u0000]\", \"more\": [1, {}],"
                       "\n\"instruction\": \"Say \\\"[\\\\\"} ,\n"
                       "{\"instruction\": \"b\", \"input\": \"\", \"output\": "
                       "\"c\"}, {\"instruction\": \"d\", \"input\": null, "
                       "\"output\": \"\"}\n]\n"));
    open_data(&w);
    assert_int_equal(w.data.train.rows, 4);
    assert_int_equal(w.data.val.rows, 0);
    expect_row(&w.data.train, 0, WITH("Add.", "1 {output}, 2"), "3");
    assert_int_equal(w.data.train.length[1],
                     1 + strlen(PLAIN("Say \"[\\")) + 7 + 1);
    expect_row(&w.data.train, 2, PLAIN("b"), "c");
    expect_row(&w.data.train, 3, PLAIN("d"), "");
    hone_dataset_close(&w.data);
}

static void lines_and_renames(void **state)
{
    static const char *const field[] = { "instruction", "question", "output",
                                         "answer", NULL };
    char name[300], expected[300];
    work w;

    (void)state;
    setup(&w, put_file("q.jsonl", "{\"question\": \"q\", \"answer\": \"1\"}\r\n"
                                  "\n  \n{\"question\": \"r\", \"answer\": "
                                  "\"2\"}"));
    w.recipe.data.field = field;
    open_data(&w);
    assert_int_equal(w.data.train.rows, 2);
    expect_row(&w.data.train, 0, PLAIN("q"), "1");
    expect_row(&w.data.train, 1, PLAIN("r"), "2");
    hone_split_name(&w.data.train, 1, name, sizeof name);
    snprintf(expected, sizeof expected, "%s: row 2", w.files[0]);
    assert_string_equal(name, expected);
    hone_dataset_close(&w.data);
}

/* Each text, what is said about it after the path; 0 rows can be kept. */
static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *name, *text, *message;
    } cases[] = {
        { "e1.json", "", ":1: the file is empty; expected a JSON array of "
                         "objects" },
        { "e2.json", "\n\"instruction\"",
          ":2: expected a JSON array of objects, or objects" },
        { "e16.json", "{\"instruction\": \"a\", \"output\": \"b\"}\n,{}",
          ":2: expected an object or the end of the file behind an object" },
        { "e3.json", "[\n{\"instruction\": \"a\",\n \"output\": \"b\"},\n\n"
                     "{\"instruction\": \"a\"",
          ":5: the row that begins here does not end: a bracket or a quote is "
          "missing in it or behind it" },
        { "e4.json", "[\n{\"instruction\": \"a\", \"output\": \"b\"}\n",
          ":3: the array does not end: ']' is missing" },
        { "e5.json", "[{\"instruction\": \"a\", \"output\": \"b\"}] x",
          ":1: something follows the array" },
        { "e6.json", "[{\"instruction\": \"a\", \"output\": \"b\"},]",
          ":1: expected a row" },
        { "e7.json", "[{\"instruction\": \"a\", \"output\": \"b\"} {}]",
          ":1: expected ',' or ']' behind a row" },
        { "e8.json", "[\n\n3]", ": row 1 (line 3): expected an object, got "
                                "number" },
        { "e9.json", "[\n{\"instruction\": \"a\",\n \"output\": b}]",
          ": row 1 (line 3): invalid token near 'b'" },
        { "e10.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n{\n",
          ": row 2 (line 2): string or '}' expected near end of file" },
        { "e11.jsonl", "{\"instruction\": \"a\", \"response\": \"b\"}",
          ": row 1 (line 1): no field 'output'; the row has 'instruction', "
          "'response'; rename one with output = \"...\"" },
        { "e12.jsonl", "{\"instruction\": 4, \"output\": \"b\"}",
          ": row 1 (line 1): field 'instruction' is of type number, expected "
          "string" },
        { "e13.jsonl", "{\"instruction\": \"a\", \"output\": null}",
          ": row 1 (line 1): field 'output' is null" },
        { "e14.json", "[]", ": no row to train on; 0 were read, 0 without a "
                            "target token, left out, broken or too long" },
        { "e15.pdf", "x", ": no format reads files that end in '.pdf'; there "
                          "are: .csv, .tsv, .json, .jsonl, .ndjson, .parquet, "
                          ".txt, .text" },
    };
    char message[600];
    work w;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setup(&w, put_file(cases[i].name, cases[i].text));
        snprintf(message, sizeof message, "%s%s", w.files[0],
                 cases[i].message);
        expect_error(&w, message);
    }
    setup(&w, in_folder("none.json"));
    snprintf(message, sizeof message, "%s: No such file or directory",
             w.files[0]);
    expect_error(&w, message);
}

static void broken_rows_are_skipped_and_counted(void **state)
{
    char path[512];
    FILE *f;
    long at;
    work w;

    (void)state;
    setup(&w, put_file("b.json", "[{\"instruction\": \"a\", \"output\": 1},\n"
                                 "{\"instruction\": \"a\", \"output\": \"b\"},"
                                 "7, {\"x\": nul},\n{\"instruction\": \"c\", "
                                 "\"output\": \"d\"}]"));
    w.recipe.data.skip_broken = 1;
    hone_log_level(HONE_LOG_ERROR);
    open_data(&w);
    assert_int_equal(w.data.train.rows, 2);
    assert_int_equal(w.data.train.skipped, 3);
    assert_int_equal(w.data.train.shard.head->counts.broken, 3);
    expect_row(&w.data.train, 1, PLAIN("c"), "d");
    snprintf(path, sizeof path, "%s", w.data.train.path);
    at = (long)w.data.train.shard.frame[0].at;
    hone_dataset_close(&w.data);
    f = fopen(path, "r+b"); /* a damaged frame is made again */
    fseek(f, at, SEEK_SET);
    fputc(0x77, f);
    fclose(f);
    open_data(&w);
    expect_row(&w.data.train, 1, PLAIN("c"), "d");
    hone_dataset_close(&w.data);
    hone_log_level(HONE_LOG_WARN);
}

static void a_row_may_not_be_too_large(void **state)
{
    enum { MOST = 64 << 20 };
    const char *path = in_folder("large.jsonl");
    FILE *f = fopen(path, "wb");
    char *fill = malloc(MOST), message[600];
    work w;

    (void)state;
    memset(fill, 'x', MOST);
    fputs("{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"",
          f);
    fwrite(fill, 1, MOST, f);
    fputs("\"}\n{\"instruction\": \"c\", \"output\": \"d\"}\n", f);
    fclose(f);
    free(fill);
    setup(&w, path);
    snprintf(message, sizeof message,
             "%s: row 2 (line 2): longer than 64 MiB; shorten it, or leave it "
             "out with broken = \"skip\"", path);
    expect_error(&w, message);
    w.recipe.data.skip_broken = 1;
    hone_log_level(HONE_LOG_ERROR);
    open_data(&w);
    hone_log_level(HONE_LOG_WARN);
    assert_int_equal(w.data.train.rows, 2);
    expect_row(&w.data.train, 1, PLAIN("c"), "d");
    hone_dataset_close(&w.data);
    unlink(path);
}

static void long_rows(void **state)
{
    const int64_t prompt = 1 + (int64_t)strlen(PLAIN("a"));
    char message[600];
    work w;

    (void)state;
    setup(&w, put_file("l.jsonl",
                       "{\"instruction\": \"a\", \"output\": \"0123456789\"}\n"
                       "{\"instruction\": \"a\", \"output\": \"01\"}\n"
                       "{\"instruction\": \"a long prompt\", \"output\": "
                       "\"01\"}\n"));
    w.recipe.data.max_tokens = prompt + 5;
    open_data(&w);
    assert_int_equal(w.data.train.rows, 2);
    assert_int_equal(w.data.train.cut, 2);
    assert_int_equal(w.data.train.skipped, 1);
    assert_int_equal(w.data.train.length[0], prompt + 5);
    assert_int_equal(w.data.train.targets[0], 5);
    assert_int_equal(w.data.train.length[1], prompt + 3);
    hone_dataset_close(&w.data);

    w.recipe.data.too_long = HONE_LONG_DROP;
    open_data(&w);
    assert_int_equal(w.data.train.rows, 1);
    assert_int_equal(w.data.train.cut, 0);
    assert_int_equal(w.data.train.skipped, 2);
    assert_int_equal(w.data.train.shard.head->counts.dropped, 2);
    hone_dataset_close(&w.data);

    w.recipe.data.too_long = HONE_LONG_SPLIT;
    open_data(&w);
    assert_int_equal(w.data.train.rows, 4);
    assert_int_equal(w.data.train.length[1], 6);
    assert_int_equal(w.data.train.targets[1], 5); /* its first does not count */
    assert_int_equal(w.data.train.shard.head->counts.split, 2);
    hone_dataset_close(&w.data);

    w.recipe.data.too_long = HONE_LONG_ERROR;
    snprintf(message, sizeof message,
             "%s: row 1 (line 1): %d tokens, more than max_tokens = %d; raise "
             "it, or choose long = \"cut\", \"drop\" or \"split\"",
             w.files[0], (int)prompt + 11, (int)prompt + 5);
    expect_error(&w, message);
}

static void held_out_rows(void **state)
{
    static const struct {
        double val;
        int64_t held;
    } cases[] = { { 0, 0 }, { 2, 2 }, { 0.1, 1 }, { 0.11, 2 }, { 0.5, 5 } };
    char text[1024] = "", message[600];
    size_t at = 0;
    work w;

    (void)state;
    for (int i = 0; i < 4; i++)
        at += (size_t)sprintf(text + at, "{\"instruction\": \"%d\", "
                                         "\"output\": \"x\"}\n", i);
    setup(&w, put_file("v1.jsonl", text));
    for (int i = 4, first = 1; i < 10; i++, first = 0)
        at = (size_t)sprintf(text + (first ? 0 : at), "{\"instruction\": \"%d\""
                             ", \"output\": \"x\"}\n", i) +
             (first ? 0 : at);
    w.files[1] = put_file("v2.jsonl", text);
    for (int i = 0; i < 5; i++) {
        w.recipe.data.val = cases[i].val;
        open_data(&w);
        assert_int_equal(w.data.val.rows, cases[i].held);
        assert_int_equal(w.data.train.rows, 10 - cases[i].held);
        if (cases[i].held)
            expect_row(&w.data.val, cases[i].held - 1, PLAIN("9"), "x");
        hone_dataset_close(&w.data);
    }
    w.recipe.data.val = 10;
    snprintf(message, sizeof message,
             "%s: 10 rows, 10 of them held out by val = 10: nothing is left "
             "to train on", w.files[0]);
    expect_error(&w, message);

    w.recipe.data.val = 0;
    w.recipe.data.val_file = w.files[1];
    w.files[1] = NULL;
    open_data(&w);
    assert_int_equal(w.data.train.rows, 4);
    assert_int_equal(w.data.val.rows, 6);
    hone_split_name(&w.data.val, 0, text, sizeof text);
    assert_non_null(strstr(text, "v2.jsonl: row 1"));
    hone_dataset_close(&w.data);
}

/* The time at which a shard was written, to see whether it was again. */
static int64_t written(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (int64_t)st.st_ino;
}

static void prepared_once(void **state)
{
    const char *row = "{\"instruction\": \"once\", \"output\": \"b\"}\n";
    char hash[65], path[512];
    int64_t first;
    FILE *f;
    work w;

    (void)state;
    setup(&w, put_file("once.jsonl", row));
    open_data(&w);
    snprintf(hash, sizeof hash, "%s", w.data.hash);
    snprintf(path, sizeof path, "%s", w.data.train.path);
    first = written(path);
    hone_dataset_close(&w.data);

    w.files[0] = put_file("renamed.jsonl", row); /* the same contents */
    open_data(&w);
    assert_string_equal(w.data.hash, hash);
    assert_int_equal(written(path), first);
    hone_dataset_close(&w.data);

    w.recipe.data.max_tokens = 900;
    open_data(&w);
    assert_string_not_equal(w.data.hash, hash);
    hone_dataset_close(&w.data);

    w.recipe.data.max_tokens = 0;
    f = fopen(path, "r+b"); /* damage */
    fseek(f, -1, SEEK_END);
    fputc(0x77, f);
    fclose(f);
    hone_log_level(HONE_LOG_ERROR);
    open_data(&w);
    hone_log_level(HONE_LOG_WARN);
    assert_string_equal(w.data.hash, hash);
    expect_row(&w.data.train, 0, PLAIN("once"), "b");
    hone_dataset_close(&w.data);
}

static void lengths_of_both_halves(void **state)
{
    char name[300];
    hone_lengths n;
    work w;

    (void)state;
    setup(&w, put_file("n.jsonl",
                       "{\"instruction\": \"a\", \"output\": \"1\"}\n"
                       "{\"instruction\": \"a\", \"output\": \"1234\"}\n"
                       "{\"instruction\": \"a\", \"output\": \"\"}\n"));
    w.recipe.data.val = 1;
    open_data(&w);
    n = hone_dataset_lengths(&w.data, 7);
    assert_int_equal(n.rows, 3);
    assert_int_equal(n.min, w.data.val.length[0]);
    assert_int_equal(n.max, w.data.train.length[1]);
    assert_int_equal(n.total, w.data.train.tokens + w.data.val.tokens);
    assert_int_equal(n.batch, 7);
    hone_dataset_longest(&w.data, name, sizeof name);
    assert_non_null(strstr(name, "n.jsonl: row 2"));
    hone_dataset_close(&w.data);
}

/* -------------------------------------------------------- other tools' ids */

static void same_tokens_as_transformers(void **state)
{
    const char *material = getenv("HONE_TEST_DATA");
    char file[512], model[512];
    static int32_t tokens[512];
    static uint8_t mask[512];
    hone_tokens t;
    FILE *golden;
    work w;
    int n, first, row = 0, c;

    (void)state;
    if (!material) {
        print_message("skipped: HONE_TEST_DATA is not set\n");
        return;
    }
    snprintf(model, sizeof model, "%s/weights/stories260K-hf", material);
    snprintf(file, sizeof file,
             "%s/instruct/alpaca_fmt/gsm8k_train_alpaca.json", material);
    if (hone_tokens_open(&t, model, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    setup(&w, file);
    w.recipe.data.max_tokens = 512;
    w.recipe.data.val = 16;
    if (open_with(&w, &t) != HONE_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(w.data.train.rows, 7453);
    assert_int_equal(w.data.train.cut, 1187);
    assert_int_equal(w.data.train.skipped, 4);
    assert_int_equal(w.data.val.rows, 16);
    assert_int_equal(w.data.val.target_tokens, 2621);
    golden = fopen(HONE_SOURCE "/tests/golden/alpaca_stories260k.txt", "r");
    while ((c = fgetc(golden)) == '#')
        while (fgetc(golden) != '\n')
            ;
    for (ungetc(c, golden); fscanf(golden, "%d %d", &n, &first) == 2; row++) {
        assert_int_equal(w.data.train.length[row], n);
        assert_int_equal(w.data.train.targets[row], n - first);
        read_row(&w.data.train, row, tokens, mask);
        for (int i = 0, id; i < n && fscanf(golden, "%d", &id) == 1; i++) {
            assert_int_equal(tokens[i], id);
            assert_int_equal(mask[i], i >= first);
        }
    }
    assert_int_equal(row, 8);
    fclose(golden);
    hone_dataset_close(&w.data);
    hone_tokens_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpaca_rows),
        cmocka_unit_test(lines_and_renames),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(broken_rows_are_skipped_and_counted),
        cmocka_unit_test(a_row_may_not_be_too_large),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(held_out_rows),
        cmocka_unit_test(prepared_once),
        cmocka_unit_test(lengths_of_both_halves),
        cmocka_unit_test(same_tokens_as_transformers),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
