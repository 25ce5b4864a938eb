/* SPDX-License-Identifier: MIT
 *
 * test_order.c -- what a step is made of, by rows and by tokens: the same for
 * 1, 2, 3 and 8 ranks and after a restart at any step, every row once in an
 * epoch, sources at the pace they are given; and steps that go on without the
 * rows of a damaged frame.
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
#include "log.h"
#include "shards.h"

enum { EPOCHS = 3, MOST = 4 * ROWS };

static char folder[] = "/tmp/hone-order-XXXXXX";
static char path[64];
static hone_arena arena;
static hone_split split;
static hone_err err;

static void open_rows(void)
{
    static const char *const files[] = { "a.jsonl", "b.jsonl", NULL };

    memset(&split, 0, sizeof split);
    if (write_rows(path, 49152, 0, &err) != HONE_OK ||
        hone_shard_open(&split.shard, &arena, path, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    split.rows = ROWS;
    split.length = split.shard.length;
    split.targets = split.shard.targets;
    split.files = files;
}

static void close_rows(void)
{
    hone_shard_close(&split.shard);
    hone_arena_free(&arena);
}

/* The rows of rank RANK of RANKS from step FIRST on, at their places in the
 * stream; returns the steps. */
static int64_t stream(hone_loader_spec spec, int rank, int ranks,
                      int64_t first, int64_t *order)
{
    void *memory;
    hone_order at = { 0, 0 };
    const hone_rows *rows;
    hone_loader *l;
    int64_t steps = 0;

    spec.rank = rank;
    spec.ranks = ranks;
    spec.first_step = first;
    memory = aligned_alloc(64, (size_t)hone_loader_bytes(&spec));
    assert_int_equal(hone_loader_open(&l, &spec, memory, &err), HONE_OK);
    for (; hone_loader_next(l, &rows, &err) == HONE_OK; steps++) {
        int64_t tokens = 0;

        assert_int_equal(rows->step, first + steps);
        hone_order_seek(&spec, &at, rows->step);
        assert_int_equal(rows->all_rows, hone_order_count(&spec, at.at));
        for (int64_t i = 0; i < rows->all_rows; i++)
            tokens += split.length[hone_order_row(&spec, at.at + i)];
        assert_int_equal(rows->all_tokens, tokens);
        for (int i = 0; i < rows->count; i++) {
            const hone_sample *x = &rows->sample[i];

            assert_int_equal(x->index % ranks, rank);
            assert_int_equal(x->tokens[0], row_token((int)x->row, 0));
            order[at.at + x->index] = x->row;
        }
    }
    hone_loader_close(l);
    free(memory);
    return steps;
}

static void check_all(const hone_loader_spec *spec)
{
    static const int ranks[] = { 2, 3, 8 };
    int64_t one[MOST], many[MOST], rows = spec->total_rows;
    size_t bytes = (size_t)rows * sizeof *one;

    assert_true(rows <= MOST);
    assert_int_equal(stream(*spec, 0, 1, 0, one), spec->steps);
    for (int k = 0; k < 3; k++) {
        memset(many, 0xff, sizeof many);
        for (int rank = 0; rank < ranks[k]; rank++)
            assert_int_equal(stream(*spec, rank, ranks[k], 0, many),
                             spec->steps);
        assert_memory_equal(one, many, bytes);
    }
    for (int64_t first = 1; first < spec->steps; first += spec->steps / 5) {
        hone_order at = { 0, 0 };

        hone_order_seek(spec, &at, first);
        memset(many, 0xff, sizeof many);
        memcpy(many, one, (size_t)at.at * sizeof *one);
        assert_int_equal(stream(*spec, 0, 1, first, many),
                         spec->steps - first);
        assert_memory_equal(one, many, bytes);
    }
    for (int64_t epoch = 0; (epoch + 1) * ROWS <= rows; epoch++) {
        uint8_t seen[ROWS] = { 0 };

        for (int i = 0; i < ROWS && !split.shares; i++)
            assert_int_equal(seen[one[epoch * ROWS + i]]++, 0);
    }
}

static void by_rows(void **state)
{
    hone_loader_spec spec = { .split = &split, .seed = 5, .shuffle = 1,
                              .batch = 16, .total_rows = EPOCHS * ROWS,
                              .steps = (EPOCHS * ROWS + 15) / 16 };

    (void)state;
    open_rows();
    check_all(&spec);
    spec.shuffle = 0;
    check_all(&spec);
    close_rows();
}

static void by_tokens(void **state)
{
    hone_loader_spec spec = { .split = &split, .seed = 5, .shuffle = 1,
                              .tokens = 13000, .ranks = 1,
                              .total_rows = EPOCHS * ROWS };
    hone_order o = { 0, 0 };

    (void)state;
    open_rows();
    assert_int_equal(hone_order_measure(&spec, &err), HONE_OK);
    assert_int_equal(spec.total_rows, EPOCHS * ROWS);
    for (int64_t s = 0, most = 0; s < spec.steps; s++) {
        int64_t n, tokens = 0;

        hone_order_seek(&spec, &o, s);
        n = hone_order_count(&spec, o.at);
        for (int64_t i = 0; i < n; i++)
            tokens += split.length[hone_order_row(&spec, o.at + i)];
        assert_in_range(n, 1, spec.batch);
        assert_true(tokens <= spec.tokens);
        if (o.at + n < spec.total_rows) /* the next row does not fit */
            assert_true(tokens + split.length[hone_order_row(&spec, o.at + n)] >
                        spec.tokens);
        most = n > most ? n : most;
        if (s == spec.steps - 1)
            assert_int_equal(most, spec.batch);
    }
    check_all(&spec);
    spec = (hone_loader_spec){ .split = &split, .shuffle = 1, .seed = 1,
                               .tokens = 13000, .steps = 21 };
    assert_int_equal(hone_order_measure(&spec, &err), HONE_OK);
    assert_int_equal(spec.steps, 21);
    check_all(&spec);
    spec.tokens = 12 * HONE_FRAME_TOKENS;
    assert_int_equal(hone_order_measure(&spec, &err), HONE_EINVAL);
    assert_string_equal(err.msg, "b.jsonl: row 8: 12293 tokens do not fit "
                        "global_tokens = 12288; raise it, or set max_tokens "
                        "in the data to cut long rows");
    close_rows();
}

/* Rows 0 to 99 come twice as often as they are, 100 to 299 half as often, 300
 * once: each row of a share as often as any other, give or take one. */
static void sources_at_a_pace(void **state)
{
    static const hone_share share[] = { { 0, 100, 200 }, { 100, 200, 100 },
                                        { 300, 1, 1 } };
    hone_loader_spec spec = { .split = &split, .seed = 2, .batch = 7,
                              .total_rows = 3 * ROWS,
                              .steps = (3 * ROWS + 6) / 7 };
    int64_t order[MOST];

    (void)state;
    open_rows();
    split.share = share;
    split.shares = 3;
    assert_int_equal(hone_split_epoch(&split), ROWS);
    for (spec.shuffle = 0; spec.shuffle < 2; spec.shuffle++) {
        int times[ROWS] = { 0 }, half[ROWS] = { 0 };

        check_all(&spec);
        stream(spec, 0, 1, 0, order);
        for (int i = 0; i < 3 * ROWS; i++) {
            times[order[i]]++;
            half[order[i]] += i < 2 * ROWS;
        }
        for (int row = 0; row < ROWS; row++) {
            assert_in_range(times[row], row < 100 ? 6 : row < 300 ? 1 : 3,
                            row < 100 ? 6 : row < 300 ? 2 : 3);
            if (row >= 100 && row < 300) /* all of them in two epochs */
                assert_int_equal(half[row], 1);
        }
    }
    close_rows();
}

static void a_lost_row_is_counted(void **state)
{
    hone_loader_spec spec = { .split = &split, .batch = 16, .ranks = 1,
                              .total_rows = ROWS, .steps = (ROWS + 15) / 16,
                              .skip_broken = 1 };
    const hone_rows *rows;
    hone_loader *l;
    void *memory;
    int64_t lost = 0, all = 0, tokens = 0;
    FILE *f;

    (void)state;
    open_rows();
    f = fopen(path, "r+b");
    fseek(f, (long)split.shard.frame[21].at + 3, SEEK_SET);
    fputs("??", f);
    fclose(f);
    memory = aligned_alloc(64, (size_t)hone_loader_bytes(&spec));
    hone_log_level(HONE_LOG_ERROR);
    assert_int_equal(hone_loader_open(&l, &spec, memory, &err), HONE_OK);
    while (hone_loader_next(l, &rows, &err) == HONE_OK) {
        assert_int_equal(rows->count, rows->all_rows);
        assert_int_equal(rows->tokens, rows->all_tokens);
        assert_int_equal(rows->targets, rows->all_targets);
        lost += rows->lost;
        all += rows->all_rows;
        tokens += rows->all_tokens;
    }
    hone_loader_close(l);
    free(memory);
    assert_int_equal(lost, 54 - 51 + 1); /* test_loader has their names */
    assert_int_equal(all, ROWS - lost);
    for (int row = 50; row < 54; row++)
        tokens += split.length[row];
    assert_int_equal(tokens, split.shard.head->tokens);
    close_rows();
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/train.shard", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char rows[80];

    (void)state;
    snprintf(rows, sizeof rows, "%s/train.rows", folder);
    unlink(path);
    unlink(rows);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_rows),
        cmocka_unit_test(by_tokens),
        cmocka_unit_test(sources_at_a_pace),
        cmocka_unit_test(a_lost_row_is_counted),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
