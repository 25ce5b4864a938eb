/* SPDX-License-Identifier: MIT
 *
 * test_loader.c -- shards give back what was written, damage is named, rows
 * stay as long as they are lent and nothing is allocated.
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
#include "shards.h"

enum { BATCH = 16 };

static char folder[] = "/tmp/hone-loader-XXXXXX";
static char path[64];

/* The allocator is watched while `watched` is set: the loader has its own
 * thread, so that the whole process counts. */
static volatile int watched, allocations;
extern void *__libc_malloc(size_t);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *malloc(size_t bytes)
{
    allocations += watched;
    return __libc_malloc(bytes);
}
#endif

static void write_shard(int32_t vocab)
{
    hone_err err = { 0 };

    if (write_rows(path, vocab, 2, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void open_split(hone_split *s, hone_arena *a)
{
    hone_err err = { 0 };

    memset(s, 0, sizeof *s);
    if (hone_shard_open(&s->shard, a, path, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    s->rows = (int64_t)s->shard.head->rows;
    s->length = s->shard.length;
    s->targets = s->shard.targets;
}

static void check_sample(const hone_sample *x)
{
    int row = (int)x->row;

    assert_int_equal(x->length, row_length(row));
    for (int i = 0; i < x->length; i++) {
        assert_int_equal(x->tokens[i], row_token(row, i));
        assert_int_equal(x->mask[i], row_mask(row, i));
    }
}

static void round_trip(void **state)
{
    static const int32_t vocabs[] = { 49152, 128256 };

    (void)state;
    for (int v = 0; v < 2; v++) {
        hone_arena a = { 0 };
        hone_split s;
        int64_t targets = 0;

        write_shard(vocabs[v]);
        open_split(&s, &a);
        assert_int_equal(s.shard.head->token_bytes, v ? 4 : 2);
        assert_int_equal(s.rows, ROWS);
        assert_int_equal(s.shard.head->counts.skipped, 3);
        assert_int_equal(s.shard.max_length, row_length(7));
        assert_int_equal(s.shard.min_length, 2);
        assert_int_equal(hone_origin_file(s.shard.origin[4]), 0);
        assert_int_equal(hone_origin_row(s.shard.origin[5]), 6);
        for (int r = 0; r < ROWS; r++) {
            int32_t n = 0;
            for (int i = 1; i < row_length(r); i++)
                n += row_mask(r, i);
            assert_int_equal(s.targets[r], n);
            targets += n;
        }
        assert_int_equal(s.shard.head->targets, targets);
        hone_shard_close(&s.shard);
        hone_arena_free(&a);
    }
}

/* Runs a loader; ORDER gets the row at each place of the stream. */
static int64_t stream(const hone_loader_spec *spec, int64_t *order)
{
    hone_loader *l;
    const hone_rows *rows, *before = NULL;
    hone_err err = { 0 };
    void *memory = aligned_alloc(64, (size_t)hone_loader_bytes(spec));
    int64_t steps = 0;
    hone_status status;

    assert_int_equal(hone_loader_open(&l, spec, memory, &err), HONE_OK);
    allocations = 0;
    watched = 1;
    while ((status = hone_loader_next(l, &rows, &err)) == HONE_OK) {
        assert_int_equal(rows->step, spec->first_step + steps++);
        for (int i = 0; i < rows->count; i++) {
            const hone_sample *x = &rows->sample[i];
            assert_int_equal(x->index % spec->ranks, spec->rank);
            order[rows->step * spec->batch + x->index] = x->row;
            check_sample(x);
        }
        for (int i = 0; before && i < before->count; i++)
            check_sample(&before->sample[i]); /* still lent */
        before = rows;
    }
    watched = 0;
    assert_int_equal(allocations, 0);
    assert_int_equal(status, HONE_END);
    hone_loader_close(l);
    free(memory);
    return steps;
}

/* test_order.c has the order for several ranks and after restarts. */
static void rows_are_lent(void **state)
{
    hone_arena a = { 0 };
    hone_split s;
    int64_t order[4 * ROWS];
    hone_loader_spec spec = { .seed = 5, .shuffle = 1, .batch = BATCH,
                              .ranks = 1, .total_rows = 3 * ROWS,
                              .steps = (3 * ROWS + BATCH - 1) / BATCH };

    (void)state;
    write_shard(49152);
    open_split(&s, &a);
    spec.split = &s;
    assert_int_equal(stream(&spec, order), spec.steps);
    assert_memory_not_equal(order, order + ROWS, ROWS * sizeof *order);
    hone_shard_close(&s.shard);
    hone_arena_free(&a);
}

static void totals_are_of_the_whole_batch(void **state)
{
    hone_arena a = { 0 };
    hone_split s;
    hone_loader_spec spec = { .batch = 10, .steps = 31, .ranks = 3, .rank = 2 };
    hone_loader *l;
    const hone_rows *rows;
    hone_err err;
    void *memory;

    (void)state;
    write_shard(49152);
    open_split(&s, &a);
    spec.split = &s;
    spec.total_rows = ROWS;
    memory = aligned_alloc(64, (size_t)hone_loader_bytes(&spec));
    assert_int_equal(hone_loader_open(&l, &spec, memory, &err), HONE_OK);
    for (int step = 0; step < 31; step++) {
        int64_t tokens = 0, targets = 0;
        int count = step < 30 ? 10 : 1;

        assert_int_equal(hone_loader_next(l, &rows, &err), HONE_OK);
        assert_int_equal(rows->all_rows, count);
        assert_int_equal(rows->count, count == 10 ? 3 : 0);
        for (int i = step * 10; i < step * 10 + count; i++) {
            tokens += s.length[i];
            targets += s.targets[i];
        }
        assert_int_equal(rows->all_tokens, tokens);
        assert_int_equal(rows->all_targets, targets);
    }
    assert_int_equal(hone_loader_next(l, &rows, &err), HONE_END);
    hone_loader_seek(l, 29);
    assert_int_equal(hone_loader_next(l, &rows, &err), HONE_OK);
    assert_int_equal(rows->step, 29);
    assert_int_equal(rows->sample[0].row, 292);
    hone_loader_close(l);
    free(memory);
    hone_shard_close(&s.shard);
    hone_arena_free(&a);
}

static void permute_is_a_bijection(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 1200; n += n < 20 ? 1 : 97) {
        uint8_t *seen = calloc(1, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            int64_t to = hone_permute(3, 1, i, n);
            assert_in_range(to, 0, n - 1);
            assert_int_equal(seen[to]++, 0);
        }
        free(seen);
    }
    /* part of the contract: a resumed run of a later version continues it */
    assert_int_equal(hone_permute(0, 0, 0, 1000), 60);
    assert_int_equal(hone_permute(42, 7, 123456, 1000000),
                     655071);
}

/* ----------------------------------------------------------------- damage */

static void poke(int64_t at, int value)
{
    FILE *f = fopen(path, "r+b");
    int c;

    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    c = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(c ^ value, f);
    fclose(f);
}

static void expect_refused(const char *what)
{
    hone_arena a = { 0 };
    hone_shard s;
    hone_err err;
    char message[512];

    assert_int_equal(hone_shard_open(&s, &a, path, &err), HONE_EINVAL);
    snprintf(message, sizeof message,
             "%s: %s; delete the file, it is prepared again", path, what);
    assert_string_equal(err.msg, message);
    hone_arena_free(&a);
}

static void damage_is_named(void **state)
{
    hone_arena a = { 0 };
    hone_split s;
    hone_loader_spec spec = { .batch = BATCH, .steps = 40, .ranks = 1 };
    hone_loader *l;
    const hone_rows *rows;
    hone_err err;
    hone_status status;
    void *memory;
    char message[512];

    (void)state;
    write_shard(49152);
    poke(24, 1);
    expect_refused("its head is damaged");
    write_shard(49152);
    poke(-9, 1);
    expect_refused("its index is damaged");
    write_shard(49152);
    poke(0, 1);
    expect_refused("not a shard");
    write_shard(49152);
    assert_int_equal(truncate(path, 5000), 0);
    expect_refused("it is cut short or has bytes to spare");
    assert_int_equal(truncate(path, 50), 0);
    expect_refused("it is cut short");

    write_shard(49152);
    open_split(&s, &a);
    poke((int64_t)s.shard.frame[21].at + 3, 64);
    spec.split = &s;
    memory = aligned_alloc(64, (size_t)hone_loader_bytes(&spec));
    assert_int_equal(hone_loader_open(&l, &spec, memory, &err), HONE_OK);
    while ((status = hone_loader_next(l, &rows, &err)) == HONE_OK)
        ;
    assert_int_equal(status, HONE_EINVAL);
    snprintf(message, sizeof message,
             "%s: frame 22 of 71 (rows 51 to 54) is damaged: its checksum "
             "differs; delete the file, it is prepared again",
             path);
    assert_string_equal(err.msg, message);
    assert_int_equal(hone_shard_verify(&s.shard, &err), HONE_EINVAL);
    assert_string_equal(err.msg, message);
    assert_int_equal(hone_loader_next(l, &rows, &err), HONE_EINVAL);
    hone_loader_close(l);
    free(memory);
    hone_shard_close(&s.shard);
    hone_arena_free(&a);
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
        cmocka_unit_test(round_trip),
        cmocka_unit_test(rows_are_lent),
        cmocka_unit_test(totals_are_of_the_whole_batch),
        cmocka_unit_test(permute_is_a_bijection),
        cmocka_unit_test(damage_is_named),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
